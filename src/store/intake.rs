use std::io;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};

use fixedbitset::FixedBitSet;

use super::area::Area;
use super::error::StoreError;
use super::folder::{Claim, Folder, Root, locked};
use super::journal::Record;
use super::partial::{PartialFile, Whole, sync_batch};
use super::place::{Placement, Tree};
use super::plan::{IfExists, Plan, PlannedFile, PlannedFiles};
use super::resume::{Held, Left};
use crate::names::RelPath;

/// One transfer on its way in. Dropping it, and what is open of it, removes its partial area, unless that is kept for
/// another attempt, and gives its reserved space back; what was committed stays.
pub struct Intake {
    shared: Arc<Shared>,
    held: Mutex<Held>,
}

/// What the files of a transfer share.
pub(super) struct Shared {
    pub(super) folder: Arc<Folder>,
    pub(super) root: Arc<Root>,
    pub(super) area: Area,
    pub(super) claim: Claim,
    /// How many whole files keep their descriptor.
    pub(super) held: AtomicUsize,
    files: Mutex<PlannedFiles>,
    /// Locked for as long as a batch takes, its syncs included: what one batch relies on is durable before the next.
    tree: Mutex<Tree>,
}

/// A file that is stored: whole, durable, under its final name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Its final path below the receive folder.
    pub name: RelPath,
    /// The same, absolute.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
}

impl Intake {
    pub(super) fn new(
        folder: Arc<Folder>,
        root: Arc<Root>,
        area: Area,
        claim: Claim,
        plan: Plan,
        if_exists: IfExists,
        left: Left,
    ) -> Intake {
        let tree = Mutex::new(Tree::new(Arc::clone(&root), plan.folders, if_exists, left.folders));
        let (held, files) = (AtomicUsize::new(0), Mutex::new(plan.files));
        let shared = Arc::new(Shared { folder, root, area, claim, held, files, tree });
        let parts = left.parts.into_iter().filter_map(|part| part.take_up(&shared)).collect();
        let held = Mutex::new(Held { parts, stored: left.stored });
        Intake { shared, held }
    }

    /// Takes what an earlier attempt has left, once.
    pub fn take_held(&self) -> Held {
        std::mem::take(&mut locked(&self.held))
    }

    /// What is told of a file of `bytes` that was put in place as `name`.
    pub fn placed_as(&self, name: RelPath, bytes: u64) -> Placed {
        let path = self.shared.folder.path().join(name.as_str());
        Placed { name, path, bytes }
    }

    /// The ids of the files that wait to be received.
    pub fn waiting(&self) -> FixedBitSet {
        locked(&self.shared.files).waiting().clone()
    }

    /// The declared size in bytes of a file that waits, if it is known.
    pub fn declared_bytes(&self, id: u32) -> Option<u64> {
        locked(&self.shared.files).size(id)
    }

    /// Opens the partial file of a planned entry.
    ///
    /// # Errors
    /// The entry is not planned, or already open, placed or discarded; or the disk refuses.
    pub fn open_partial(&self, id: u32) -> Result<PartialFile, StoreError> {
        PartialFile::create(&self.shared, id, false)
    }

    /// As [`Intake::open_partial`]; if the transfer is kept and ends early, the file is there for another attempt.
    ///
    /// # Errors
    /// As there.
    pub fn open_lasting(&self, id: u32) -> Result<PartialFile, StoreError> {
        PartialFile::create(&self.shared, id, self.shared.area.journal().is_some())
    }

    /// Stores a batch: all of it durable, then all in place, then every touched folder durable, then the results, in
    /// the order of the batch. Batches of one transfer go one after another.
    ///
    /// A sync that fails fails the whole batch, and every later one of this transfer; files that were in place by then
    /// are taken out again. A file that can't be put in place fails alone.
    pub fn commit(&self, batch: Vec<Whole>) -> Vec<(u32, Result<Placed, StoreError>)> {
        let (shared, area) = (&*self.shared, self.shared.area.dir());
        let mut tree = locked(&shared.tree);
        let synced = match tree.broken {
            true => Err(earlier_failure()),
            false => sync_batch(shared, &batch),
        };
        if let Err(error) = synced {
            shared.give_up(&mut tree);
            return batch.into_iter().map(|whole| (whole.id(), Err(lost(&whole, &error)))).collect();
        }
        let whole: Vec<_> = batch.iter().filter_map(Whole::record).collect();
        shared.area.note(&whole);
        let outcomes: Vec<_> = batch
            .into_iter()
            .map(|whole| {
                let placement = tree.place(area, &whole);
                shared.area.note(&tree.take_made());
                (whole, placement)
            })
            .collect();
        let kept = tree.sync(area);
        match kept {
            Ok(()) => shared.area.note(&stored(&outcomes)),
            Err(_) => shared.give_up(&mut tree),
        }
        let settle = |(whole, placement): (Whole, _)| {
            let id = whole.id();
            let result = match (placement, &kept) {
                (Err(error), _) => Err(error),
                (Ok(placement), Ok(())) => Ok(shared.placed(whole, placement)),
                (Ok(placement), Err(error)) => {
                    let error = lost(&whole, error);
                    if !tree.withdraw(area, &placement, &whole) {
                        whole.settle();
                    }
                    Err(error)
                }
            };
            (id, result)
        };
        outcomes.into_iter().map(settle).collect()
    }

    /// Forgets an entry that won't come, and gives its reserved space back. Its partial file must be dropped before.
    pub fn discard(&self, id: u32) {
        if let Ok(planned) = self.shared.take(id) {
            self.shared.claim.release(planned.charge);
        }
    }

    /// Makes the folders that no file made, sets the times of folders, and removes the partial area unless it is kept for
    /// another attempt.
    ///
    /// # Errors
    /// A folder can't be made or kept. Files that were stored stay stored.
    pub fn finish(&self) -> Result<(), StoreError> {
        let mut tree = locked(&self.shared.tree);
        if tree.broken {
            return Err(StoreError::not_durable("the received folders", &earlier_failure()));
        }
        tree.finish()?;
        if let Err(error) = tree.sync(self.shared.area.dir()) {
            self.shared.give_up(&mut tree);
            return Err(StoreError::not_durable("the received folders", &error));
        }
        self.leave();
        Ok(())
    }

    /// Removes the partial area unless it is kept for another attempt. So does dropping the last of a transfer, but nobody
    /// can wait for that where others have a part in it.
    pub fn leave(&self) {
        if !self.shared.area.is_kept() {
            self.close();
        }
    }

    /// Removes the partial area: nobody will come back.
    pub fn close(&self) {
        self.shared.area.remove();
    }
}

impl Shared {
    /// Takes an entry out of those that wait.
    pub(super) fn take(&self, id: u32) -> Result<PlannedFile, StoreError> {
        locked(&self.files).take(id).ok_or(StoreError::Unplanned { id })
    }

    /// Lets an entry wait again.
    pub(super) fn put_back(&self, id: u32) {
        locked(&self.files).put_back(id);
    }

    /// After a sync that failed, nothing that was written before is to be relied on, by another attempt neither.
    fn give_up(&self, tree: &mut Tree) {
        tree.broken = true;
        if let Some(journal) = self.area.journal() {
            journal.distrust();
        }
    }

    fn placed(&self, whole: Whole, placement: Placement) -> Placed {
        let path = self.folder.path().join(placement.path.as_str());
        let bytes = whole.bytes();
        whole.settle();
        Placed { name: placement.path, path, bytes }
    }
}

/// What the journal says of a batch that is in place.
fn stored(batch: &[(Whole, Result<Placement, StoreError>)]) -> Vec<Record> {
    let placed = batch.iter().filter_map(|(whole, placement)| Some((whole, placement.as_ref().ok()?)));
    placed.map(|(whole, placement)| whole.stored_as(placement.path.as_str())).collect()
}

fn earlier_failure() -> io::Error {
    io::Error::other("an earlier sync of this transfer failed")
}

fn lost(whole: &Whole, error: &io::Error) -> StoreError {
    StoreError::not_durable(whole.planned().path.as_str(), error)
}
