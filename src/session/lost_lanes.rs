//! Lanes that broke, seen from the sender.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::error::SessionError;
use super::lanes::Lanes;
use crate::transfer::{LaneError, Outgoing};

/// How long the receiver may take to say why a lane broke, or that it has let go of it.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// Lanes that are lost, until both ends have let go of them.
#[derive(Default)]
pub(super) struct LostLanes {
    /// This end has; the receiver has to say so.
    waiting: HashSet<u16>,
    /// The receiver has; here the lane is being cut.
    told: HashSet<u16>,
    /// When the session ends, and why, if the receiver has not said so by then.
    until: Option<(Instant, LaneError)>,
}

impl LostLanes {
    /// A lane broke here. Whether the receiver has yet to be told.
    pub(super) fn here(&mut self, lane: u16, error: LaneError, outgoing: &Outgoing) -> bool {
        if self.told.remove(&lane) && !error.is_misbehaviour() {
            outgoing.say_again(lane);
            return false;
        }
        // The receiver may be telling the reason on the control connection.
        self.waiting.insert(lane);
        self.until.get_or_insert((Instant::now() + LAST_WORDS, error));
        true
    }

    /// The receiver has let go of a lane.
    pub(super) fn there(&mut self, lane: u16, lanes: &Lanes, outgoing: &Outgoing) {
        if self.waiting.remove(&lane) {
            outgoing.say_again(lane);
            if self.waiting.is_empty() {
                self.until = None;
            }
        } else if lanes.cut(lane) {
            self.told.insert(lane);
        }
    }

    /// Why the session ends once the receiver's time is up; nothing while no lane is lost.
    pub(super) async fn patience(&mut self) -> Option<SessionError> {
        sleep_until(self.until.as_ref()?.0).await;
        let (_, error) = self.until.take()?;
        Some(match error {
            LaneError::Cut(error) => SessionError::Cut(error),
            error if error.is_misbehaviour() => SessionError::Broke(error.to_string()),
            error => SessionError::Cut(std::io::Error::other(error)),
        })
    }
}
