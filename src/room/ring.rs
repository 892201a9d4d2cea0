//! What was said in the last minute, once for everybody.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::wire::{News, What, frame};

/// For how long a member may be away and miss nothing.
pub(super) const KEPT: Duration = Duration::from_secs(60);

/// What is kept at most: a minute of 1,000 short messages a second is half of it.
const KEPT_BYTES: usize = 32 * 1024 * 1024;

/// What a line costs beside its texts, about.
const LINE_BYTES: usize = 256;

/// Something that happened, and the frame that says so: made once, whoever it goes to.
pub struct Line {
    /// What happened.
    pub news: News,
    /// Its frame; it may hold the secret of an offer.
    pub frame: Zeroizing<Vec<u8>>,
}

impl Line {
    fn bytes(&self) -> usize {
        let text = match &self.news.what {
            What::Text(text) => text.len(),
            _ => 0,
        };
        LINE_BYTES + text + self.frame.len()
    }
}

/// Lines in their order, without a gap; the oldest go first.
#[derive(Default)]
pub(super) struct Ring {
    lines: VecDeque<(Instant, Arc<Line>)>,
    bytes: usize,
    last: u64,
}

impl Ring {
    /// The number of the last line.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// The number before the oldest line that is kept.
    pub(super) fn floor(&self) -> u64 {
        self.last - self.lines.len() as u64
    }

    /// Gives the next number to what happened.
    pub(super) fn push(&mut self, by: u32, turn: u64, time_ms: u64, what: What, now: Instant) -> u64 {
        self.last += 1;
        let news = News { number: self.last, time_ms, by, turn, what };
        let frame = Zeroizing::new(frame(&news));
        let line = Arc::new(Line { news, frame });
        self.bytes += line.bytes();
        self.lines.push_back((now, line));
        self.trim(now);
        self.last
    }

    /// Lets go of what is old or too much.
    pub(super) fn trim(&mut self, now: Instant) {
        while let Some((since, line)) = self.lines.front() {
            if self.bytes <= KEPT_BYTES && now.saturating_duration_since(*since) <= KEPT {
                break;
            }
            self.bytes -= line.bytes();
            self.lines.pop_front();
        }
    }

    /// The lines after `seen`, up to about `bytes` of frames; `None` if the first of them is no longer kept.
    pub(super) fn after(&self, seen: u64, bytes: usize) -> Option<Vec<Arc<Line>>> {
        let skip = usize::try_from(seen.checked_sub(self.floor())?).ok()?;
        let mut room = bytes;
        let fits = |(_, line): &&(Instant, Arc<Line>)| {
            let fits = room > 0;
            room = room.saturating_sub(line.frame.len());
            fits
        };
        Some(self.lines.iter().skip(skip).take_while(fits).map(|(_, line)| Arc::clone(line)).collect())
    }

    /// Who is the sayer of a line that is kept.
    pub(super) fn sayers(&self) -> impl Iterator<Item = u32> {
        self.lines.iter().map(|(_, line)| line.news.by)
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}
