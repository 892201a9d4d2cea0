//! Times as numbers: whole seconds since 1970, which may be negative, and nanoseconds under 10^9 after them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::roll::Moment;

/// A time as seconds and nanoseconds; `None` if there is no such number.
pub fn seconds_of(time: SystemTime) -> Option<(i64, u32)> {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => Some((i64::try_from(after.as_secs()).ok()?, after.subsec_nanos())),
        Err(before) => {
            let before = before.duration();
            let seconds = -i64::try_from(before.as_secs()).ok()?;
            Some(match before.subsec_nanos() {
                0 => (seconds, 0),
                nanos => (seconds.checked_sub(1)?, 1_000_000_000 - nanos),
            })
        }
    }
}

/// The time of these seconds and nanoseconds; `None` if the system has no such time.
pub fn time_at((seconds, nanos): (i64, u32)) -> Option<SystemTime> {
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let whole = if seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
    whole?.checked_add(Duration::from_nanos(u64::from(nanos)))
}

/// A time as lists say it.
pub(super) fn stamp(time: SystemTime) -> Option<Moment> {
    seconds_of(time).map(|(seconds, nanos)| (seconds, i64::from(nanos)))
}

/// The time of a stamp.
pub(super) fn stamped((seconds, nanos): Moment) -> Option<SystemTime> {
    time_at((seconds, u32::try_from(nanos).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_come_back_as_they_were() {
        // nanoseconds of a tick of the system's clock
        let tick = if cfg!(windows) { 100 } else { 1 };
        for (seconds, nanos) in [(0, 0), (1, 5), (-1, 999_999_999), (-7, 0), (1_700_000_000, 123_456_789)] {
            let moment = (seconds, nanos / tick * tick);
            assert_eq!(time_at(moment).and_then(seconds_of), Some(moment));
        }
    }
}
