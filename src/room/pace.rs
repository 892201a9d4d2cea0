//! How fast one member may talk.

use std::time::{Duration, Instant};

/// Messages in a second, for as long as it likes: more than a person or a log file says, and a tenth of what a host
/// passes on.
const MESSAGES_PER_S: u32 = 1_000;

/// Bytes in a second: half of what is kept of a minute, for one member that says nothing but long messages.
const BYTES_PER_S: u32 = 256 * 1024;

/// What may be said at once after a silence: this many seconds' worth.
const BURST: Duration = Duration::from_secs(4);

/// Keeps one member below a rate. Who talks faster is heard later, and nobody else with it.
#[derive(Debug)]
pub struct Pace {
    /// When everything said so far would have been said at the rate.
    paid: Instant,
}

impl Pace {
    /// The pace of a member that has said nothing yet.
    pub fn new(now: Instant) -> Pace {
        Pace { paid: now }
    }

    /// A message of so many bytes was heard: until when nothing more of that member is.
    pub fn heard(&mut self, bytes: usize, now: Instant) -> Instant {
        let cost =
            Duration::from_secs(1) / MESSAGES_PER_S + Duration::from_secs_f64(bytes as f64 / f64::from(BYTES_PER_S));
        self.paid = self.paid.max(now) + cost;
        self.paid.checked_sub(BURST).map_or(now, |until| until.max(now))
    }
}
