use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};

use super::area::Area;
use super::error::StoreError;
use super::folder::{Claim, Folder, Root, locked};
use super::partial::{PartialFile, Whole, sync_batch};
use super::place::Tree;
use super::plan::{IfExists, Plan, PlannedFile};
use crate::names::RelPath;

/// One transfer on its way in. Dropping it, and what is open of it, removes its partial area and gives its reserved
/// space back; what was committed stays.
pub struct Intake {
    shared: Arc<Shared>,
}

/// What the files of a transfer share.
pub(super) struct Shared {
    pub(super) folder: Arc<Folder>,
    pub(super) root: Arc<Root>,
    pub(super) area: Area,
    pub(super) claim: Claim,
    /// How many whole files keep their descriptor.
    pub(super) held: AtomicUsize,
    waiting: Mutex<HashMap<u32, PlannedFile>>,
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
    ) -> Intake {
        let tree = Mutex::new(Tree::new(Arc::clone(&root), plan.folders, if_exists));
        let (held, waiting) = (AtomicUsize::new(0), Mutex::new(plan.files));
        Intake { shared: Arc::new(Shared { folder, root, area, claim, held, waiting, tree }) }
    }

    /// Opens the partial file of a planned entry.
    ///
    /// # Errors
    /// The entry is not planned, or already open, placed or discarded; or the disk refuses.
    pub fn open_partial(&self, id: u32) -> Result<PartialFile, StoreError> {
        PartialFile::create(&self.shared, id)
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
            tree.broken = true;
            return batch.into_iter().map(|whole| (whole.id(), Err(lost(&whole, &error)))).collect();
        }
        let outcomes: Vec<_> = batch
            .into_iter()
            .map(|whole| {
                let placement = tree.place(area, &whole);
                (whole, placement)
            })
            .collect();
        let kept = tree.sync(area);
        tree.broken = kept.is_err();
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

    /// Ends the transfer: makes the folders that no file made, sets the times of folders, removes the partial area.
    ///
    /// # Errors
    /// A folder can't be made or kept. Files that were stored stay stored.
    pub fn finish(&self) -> Result<(), StoreError> {
        let mut tree = locked(&self.shared.tree);
        if tree.broken {
            return Err(StoreError::not_durable("the received folders", &earlier_failure()));
        }
        let made = tree.finish();
        let kept = tree.sync(self.shared.area.dir());
        self.shared.area.remove();
        made.and(kept.map_err(|error| StoreError::not_durable("the received folders", &error)))
    }
}

impl Shared {
    /// Takes an entry out of those that wait.
    pub(super) fn take(&self, id: u32) -> Result<PlannedFile, StoreError> {
        locked(&self.waiting).remove(&id).ok_or(StoreError::Unplanned { id })
    }

    /// Lets an entry wait again.
    pub(super) fn put_back(&self, id: u32, planned: PlannedFile) {
        locked(&self.waiting).insert(id, planned);
    }

    fn placed(&self, whole: Whole, placement: super::place::Placement) -> Placed {
        let path = self.folder.path().join(placement.path.as_str());
        let bytes = whole.bytes();
        whole.settle();
        Placed { name: placement.path, path, bytes }
    }
}

fn earlier_failure() -> io::Error {
    io::Error::other("an earlier sync of this transfer failed")
}

fn lost(whole: &Whole, error: &io::Error) -> StoreError {
    StoreError::not_durable(whole.planned().path.as_str(), error)
}
