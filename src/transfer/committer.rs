//! Group commit: while one batch is made durable the next one gathers, so that one sync serves as many files as came in
//! the meantime.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use tokio::sync::mpsc::UnboundedSender;

use super::lane::LaneError;
use super::outcome::{NotStoredHere, Outcome};
use super::tree::Hash;
use crate::store::{Intake, Whole};

/// Files that wait to be made durable: enough that one sync serves many, few enough that open files stay within the
/// usual limit of 1,024 descriptors with many senders at once.
const COMMIT_QUEUE: usize = 128;

struct Ready {
    whole: Whole,
    hash: Hash,
}

/// The thread that puts whole files in place, one batch after the other. It ends when this is dropped, after what it was
/// given.
pub(super) struct Committer {
    queue: SyncSender<Ready>,
    /// Files given and not answered for.
    waiting: Arc<AtomicUsize>,
}

impl Committer {
    /// Starts it; each file gets an outcome.
    ///
    /// # Errors
    /// The system has no thread left.
    pub(super) fn start(intake: Arc<Intake>, outcomes: UnboundedSender<Outcome>) -> io::Result<Self> {
        let (queue, ready) = sync_channel(COMMIT_QUEUE);
        let waiting = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&waiting);
        thread::Builder::new().spawn(move || commit_all(&intake, &ready, &outcomes, &count))?;
        Ok(Committer { queue, waiting })
    }

    /// Hands a whole file over; waits while the disk is behind.
    pub(super) fn commit(&self, whole: Whole, hash: Hash) -> Result<(), LaneError> {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        self.queue.send(Ready { whole, hash }).map_err(|_| LaneError::Stopped)
    }

    /// Whether files are on their way to the disk.
    pub(super) fn is_busy(&self) -> bool {
        // The thread holds the other one: if it died, nothing is on its way any more.
        Arc::strong_count(&self.waiting) > 1 && self.waiting.load(Ordering::Acquire) > 0
    }
}

fn commit_all(intake: &Intake, ready: &Receiver<Ready>, outcomes: &UnboundedSender<Outcome>, waiting: &AtomicUsize) {
    while let Ok(first) = ready.recv() {
        let mut hashes = HashMap::new();
        let batch: Vec<Whole> = std::iter::once(first)
            .chain(ready.try_iter().take(COMMIT_QUEUE))
            .map(|ready| {
                hashes.insert(ready.whole.id(), ready.hash);
                ready.whole
            })
            .collect();
        for (id, placed) in intake.commit(batch) {
            let outcome = match placed {
                Ok(placed) => Outcome::Stored { id, placed, hash: hashes[&id] },
                Err(error) => {
                    intake.discard(id);
                    Outcome::NotStored(NotStoredHere::by_disk(id, &error))
                }
            };
            waiting.fetch_sub(1, Ordering::AcqRel);
            // The session may have gone; what is stored stays stored.
            let _ = outcomes.send(outcome);
        }
    }
}
