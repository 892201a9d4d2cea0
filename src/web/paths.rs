//! The one-time paths of an outbox (protocol.md 11.6): what they stand for, and until when.

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::capability::Capability;
use super::lock;
use super::taking::Taking;

/// How long a path is good after its content was delivered.
const STAYS_GOOD: Duration = Duration::from_secs(60);

/// Paths that are good at once: one for each file that a busy phone has asked for. The oldest goes first.
const PATHS: usize = 1_024;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// One file, by its place.
    File(u32),
    /// All files.
    Zip,
}

/// The paths that may be fetched.
#[derive(Default)]
pub(super) struct Paths(Mutex<Vec<Path>>);

/// One path, by the digest of its capability.
struct Path {
    digest: [u8; 32],
    content: Content,
    /// Whose it is; `None` for curl: whoever asks is then asked about.
    taking: Option<Arc<Taking>>,
    delivered: Vec<Range<u64>>,
    whole: Option<Instant>,
}

impl Paths {
    /// Draws one for `content`, and gives it as the path is written. It is a secret.
    pub(super) fn issue(&self, taking: Option<Arc<Taking>>, content: Content) -> Zeroizing<String> {
        let capability = Capability::draw();
        let mut paths = lock(&self.0);
        paths.retain(Path::is_good);
        if paths.len() == PATHS {
            paths.remove(0);
        }
        let digest = capability.digest();
        paths.push(Path { digest, content, taking, delivered: Vec::new(), whole: None });
        capability.into_text()
    }

    /// What a path stands for, and whose it is, while it is good.
    pub(super) fn find(&self, digest: &[u8; 32]) -> Option<(Content, Option<Arc<Taking>>)> {
        let paths = lock(&self.0);
        let path = paths.iter().find(|path| path.digest == *digest && path.is_good())?;
        Some((path.content, path.taking.clone()))
    }

    /// Notes that bytes of a content of `len` have gone out; whether that makes it whole for the first time.
    pub(super) fn deliver(&self, digest: &[u8; 32], part: Range<u64>, len: u64) -> bool {
        let mut paths = lock(&self.0);
        let Some(path) = paths.iter_mut().find(|path| path.digest == *digest) else { return false };
        merge(&mut path.delivered, part);
        let whole = len == 0 || path.delivered.first() == Some(&(0..len));
        whole && path.whole.replace(Instant::now()).is_none()
    }
}

impl Path {
    fn is_good(&self) -> bool {
        self.whole.is_none_or(|whole| whole.elapsed() < STAYS_GOOD)
    }
}

/// Adds a range to ranges that are apart and ascending.
fn merge(ranges: &mut Vec<Range<u64>>, mut part: Range<u64>) {
    ranges.retain(|range| {
        let touches = range.start <= part.end && part.start <= range.end;
        if touches {
            part = range.start.min(part.start)..range.end.max(part.end);
        }
        !touches
    });
    let at = ranges.partition_point(|range| range.start < part.start);
    ranges.insert(at, part);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_is_whole_once_every_byte_of_it_went_out_in_whatever_order() {
        let mut ranges = Vec::new();
        for part in [5..10, 0..3, 8..12, 3..5] {
            merge(&mut ranges, part);
        }
        assert_eq!((ranges.len(), &ranges[0]), (1, &(0..12)));
        merge(&mut ranges, 20..30);
        assert_eq!(ranges, [0..12, 20..30]);
    }
}
