//! Keeps what is sent below a rate.

use std::num::NonZeroU64;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use super::lock;

/// Pieces in a second, at least: a lane that stands still for longer looks dead, and a bar that does looks broken.
const STEPS: u64 = 4;

/// The smallest piece that is worth a system call.
const LEAST_STEP: usize = 1024;

/// A rate that everything which shares it keeps together. Each piece books its time behind the one before, and saves
/// nothing up while nobody sends (virtual scheduling, ITU-T I.371 annex A, without tolerance).
#[derive(Debug)]
pub struct Brake {
    /// Bytes a second.
    rate: NonZeroU64,
    /// When everything booked so far has passed.
    free: Mutex<Instant>,
}

impl Brake {
    /// The lowest rate in bytes a second that is of any use.
    pub const LEAST: u64 = 1000;

    /// At most `rate` bytes a second.
    pub fn new(rate: NonZeroU64) -> Self {
        Brake { rate, free: Mutex::new(Instant::now()) }
    }

    /// How many bytes to pass at once, at most.
    pub fn step(&self) -> usize {
        usize::try_from(self.rate.get() / STEPS).unwrap_or(usize::MAX).max(LEAST_STEP)
    }

    /// Waits until `bytes` more may go.
    pub fn pass(&self, bytes: usize) {
        let now = Instant::now();
        thread::sleep(self.book(bytes, now).saturating_duration_since(now));
    }

    /// When `bytes` may go that are asked for `now`.
    fn book(&self, bytes: usize, now: Instant) -> Instant {
        let mut free = lock(&self.free);
        let due = now.max(*free);
        *free = due + Duration::from_secs_f64(bytes as f64 / self.rate.get() as f64);
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brake(rate: u64) -> Brake {
        Brake::new(NonZeroU64::new(rate).unwrap())
    }

    #[test]
    fn pieces_are_spread_over_the_time_that_they_take_at_that_rate() {
        let (brake, now) = (brake(1_000_000), Instant::now() + Duration::from_secs(1));
        let due = [250_000, 500_000, 1, 0].map(|bytes| brake.book(bytes, now).duration_since(now).as_micros());
        assert_eq!(due, [0, 250_000, 750_000, 750_001]);
    }

    #[test]
    fn time_in_which_nobody_sends_is_not_saved_up() {
        let (brake, now) = (brake(1000), Instant::now() + Duration::from_secs(1));
        brake.book(1000, now);
        let later = now + Duration::from_secs(60);
        assert_eq!(brake.book(1000, later), later);
        assert_eq!(brake.book(1, later), later + Duration::from_secs(1));
    }

    #[test]
    fn a_piece_takes_a_quarter_of_a_second_or_is_as_small_as_pays() {
        assert_eq!([brake(4_000_000).step(), brake(Brake::LEAST).step()], [1_000_000, 1024]);
    }
}
