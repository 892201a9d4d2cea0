//! Tells when this machine's addresses change, so that the code is drawn again.

use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval};

use super::NetError;
use super::addresses::{Candidate, candidates};

/// How often the addresses are looked at. Listing them takes less than a millisecond, and a person who changes networks
/// looks at the screen a few seconds later.
const EVERY: Duration = Duration::from_secs(2);

/// A watch over the [`candidates`].
#[derive(Debug)]
pub struct Watch {
    only: Option<String>,
    last: Vec<Candidate>,
    ticks: Interval,
}

impl Watch {
    /// Starts from the present candidates.
    ///
    /// # Errors
    /// As [`candidates`].
    pub fn start(only: Option<&str>) -> Result<Watch, NetError> {
        let last = candidates(only)?;
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        Ok(Watch { only: only.map(str::to_owned), last, ticks })
    }

    /// The candidates last seen, best first.
    pub fn current(&self) -> &[Candidate] {
        &self.last
    }

    /// Waits until the candidates are others than before. Cancelling loses nothing.
    ///
    /// While there are none at all (the cable is out), the last ones stay: there is nothing better to show.
    pub async fn changed(&mut self) -> &[Candidate] {
        loop {
            self.ticks.tick().await;
            match candidates(self.only.as_deref()) {
                Ok(now) if now != self.last => {
                    self.last = now;
                    return &self.last;
                }
                _ => {}
            }
        }
    }
}
