//! Group commit: while one batch is made durable the next one gathers, so that one sync serves as many files as came in
//! the meantime.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use tokio::sync::mpsc::Sender;

use super::incoming::Receiving;
use super::lane::LaneError;
use super::outcome::{NotStoredHere, Outcome};
use super::outlet::Outlet;
use super::tree::Hash;
use crate::store::{Intake, PartialFile, Placed, StoreError, Whole};

/// Files of a pack that are handed over at once: enough that neither end of the queue wakes the other for each, few enough
/// that they don't wait for each other on a slow link.
pub(super) const BATCH: usize = 32;

/// Jobs that wait to be made durable, each a large file or a batch of small ones: enough that one sync serves many, also
/// where a sync takes long.
const COMMIT_QUEUE: usize = 16;

/// A whole file, and its BLAKE3.
pub(super) type Hashed = (Whole, Hash);

enum Job {
    /// To be put in place.
    Store(Vec<Hashed>),
    /// A chunk of a file has come that is to be let out.
    Look(Arc<Receiving>),
    /// A file of so many bytes is whole, to be let out.
    LetOut(PartialFile, u64, Hash),
}

/// The thread that puts whole files in place, one batch after the other. It ends when this is dropped, after what it was
/// given.
pub(super) struct Committer {
    queue: SyncSender<Job>,
    /// Files given and not answered for.
    waiting: Arc<AtomicUsize>,
    has_outlet: bool,
}

impl Committer {
    /// Starts it; each file gets an outcome. With an `outlet` files go there.
    ///
    /// # Errors
    /// The system has no thread left.
    pub(super) fn start(
        intake: Arc<Intake>,
        outlet: Option<Arc<Outlet>>,
        outcomes: Sender<Outcome>,
    ) -> io::Result<Self> {
        let (queue, jobs) = sync_channel(COMMIT_QUEUE);
        let waiting = Arc::new(AtomicUsize::new(0));
        let has_outlet = outlet.is_some();
        let desk = Desk { intake, outlet, outcomes, waiting: Arc::clone(&waiting) };
        thread::Builder::new().spawn(move || desk.work(&jobs))?;
        Ok(Committer { queue, waiting, has_outlet })
    }

    /// Whether files are let out rather than stored.
    pub(super) fn has_outlet(&self) -> bool {
        self.has_outlet
    }

    /// Says that a chunk of a file has come, which may be let out.
    pub(super) fn look(&self, receiving: &Arc<Receiving>) {
        if self.has_outlet {
            // A full queue means that it will be looked at anyway.
            let _ = self.queue.try_send(Job::Look(Arc::clone(receiving)));
        }
    }

    /// Hands over a whole file that is to be let out.
    pub(super) fn let_out(&self, file: PartialFile, bytes: u64, hash: Hash) -> Result<(), LaneError> {
        self.give(1, Job::LetOut(file, bytes, hash))
    }

    /// Hands whole files over; waits while the disk is behind.
    pub(super) fn commit(&self, files: Vec<Hashed>) -> Result<(), LaneError> {
        self.give(files.len(), Job::Store(files))
    }

    fn give(&self, files: usize, job: Job) -> Result<(), LaneError> {
        self.waiting.fetch_add(files, Ordering::AcqRel);
        self.queue.send(job).map_err(|_| LaneError::Stopped)
    }

    /// Whether files are on their way to the disk.
    pub(super) fn is_busy(&self) -> bool {
        // The thread holds the other one: if it died, nothing is on its way any more.
        Arc::strong_count(&self.waiting) > 1 && self.waiting.load(Ordering::Acquire) > 0
    }
}

/// What the thread works with.
struct Desk {
    intake: Arc<Intake>,
    outlet: Option<Arc<Outlet>>,
    outcomes: Sender<Outcome>,
    waiting: Arc<AtomicUsize>,
}

impl Desk {
    fn work(&self, jobs: &Receiver<Job>) {
        while let Ok(first) = jobs.recv() {
            let (mut batch, mut hashes) = (Vec::with_capacity(BATCH), Vec::with_capacity(BATCH));
            for job in std::iter::once(first).chain(jobs.try_iter().take(COMMIT_QUEUE)) {
                match job {
                    Job::Store(files) => files.into_iter().for_each(|(whole, hash)| {
                        batch.push(whole);
                        hashes.push(hash);
                    }),
                    Job::Look(receiving) => self.look(&receiving),
                    Job::LetOut(file, bytes, hash) => self.let_out(file, bytes, hash),
                }
            }
            if batch.is_empty() {
                continue;
            }
            for ((id, placed), hash) in self.intake.commit(batch).into_iter().zip(hashes) {
                let outcome = match placed {
                    Ok(placed) => Outcome::Stored { id, placed, hash },
                    Err(error) => {
                        self.intake.discard(id);
                        Outcome::NotStored(NotStoredHere::by_disk(id, &error))
                    }
                };
                self.waiting.fetch_sub(1, Ordering::AcqRel);
                self.tell(outcome);
            }
        }
    }

    fn look(&self, receiving: &Receiving) {
        let Some(Err(error)) = self.outlet.as_ref().map(|outlet| outlet.advance(receiving)) else { return };
        // Nobody takes it: what still comes is thrown away.
        if let Some(file) = receiving.take_file() {
            file.remove();
            self.intake.discard(receiving.id);
            self.tell(unwritten(receiving.id, error));
        }
    }

    fn let_out(&self, file: PartialFile, bytes: u64, hash: Hash) {
        let (id, name) = (file.id(), file.path());
        let written = self.outlet.as_ref().map_or(Ok(()), |outlet| outlet.finish(&file, bytes));
        file.remove();
        self.intake.discard(id);
        self.waiting.fetch_sub(1, Ordering::AcqRel);
        self.tell(match written {
            Ok(()) => Outcome::Stored { id, placed: Placed { name, path: STDOUT.into(), bytes }, hash },
            Err(error) => unwritten(id, error),
        });
    }

    fn tell(&self, outcome: Outcome) {
        // The session may have gone; what is stored stays stored.
        let _ = self.outcomes.blocking_send(outcome);
    }
}

/// What stands for the place of a file that was let out.
const STDOUT: &str = "-";

fn unwritten(id: u32, error: io::Error) -> Outcome {
    Outcome::NotStored(NotStoredHere::by_disk(id, &StoreError::unwritable(error)))
}
