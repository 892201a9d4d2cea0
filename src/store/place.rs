//! Putting things in place: the folders of one transfer as they come to be, and the names that its files get.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::sync::{Arc, Mutex};

use cap_std::fs::Dir;

use super::at::{self, Node};
use super::error::StoreError;
use super::folder::{Root, locked, open_below};
use super::journal::Record;
use super::partial::{FEW, Whole};
use super::plan::{IfExists, PlannedFolder, TOP, final_path};
use super::resume::Folders;
use super::taken::{Lists, Taken};
use crate::names::{FileName, RelPath};

/// Folders kept open for one transfer. Files arrive folder by folder, so few are in use at a time; 500 transfers at
/// once must not run out of descriptors.
const KEPT_OPEN: usize = 16;

/// The folders of one transfer.
pub(super) struct Tree {
    root: Arc<Root>,
    if_exists: IfExists,
    folders: Vec<TreeFolder>,
    /// The folders used last, latest at the end.
    open: Vec<(usize, Arc<Dir>)>,
    taken: Lists,
    /// Folders whose entries may not survive a power cut yet.
    dirty: BTreeSet<usize>,
    /// What an earlier attempt has made.
    earlier: Folders,
    /// Folders that were made and are not noted for a later one.
    made: Vec<Record>,
    /// A sync failed. What later ones say about data written before is worth nothing (the system reports an error
    /// once), so nothing of this transfer is promised any more.
    pub(super) broken: bool,
}

struct TreeFolder {
    planned: PlannedFolder,
    /// Where it is, once it is there.
    spot: Option<Spot>,
}

struct Spot {
    /// `None`: the receive folder itself.
    path: Option<RelPath>,
    /// Names that this transfer put here, which it must not replace itself. Kept under [`IfExists::Replace`] only.
    own: HashSet<FileName>,
    created: bool,
}

/// A file in place.
pub(super) struct Placement {
    pub(super) path: RelPath,
    folder: usize,
    /// Something else had the name, and is gone.
    replaced: bool,
}

impl Tree {
    pub(super) fn new(root: Arc<Root>, folders: Vec<PlannedFolder>, if_exists: IfExists, earlier: Folders) -> Tree {
        let folders = folders.into_iter().map(|planned| TreeFolder { planned, spot: None }).collect();
        let (open, dirty, made) = (Vec::new(), BTreeSet::new(), Vec::new());
        Tree { root, if_exists, folders, open, taken: Lists::default(), dirty, earlier, made, broken: false }
    }

    /// Takes what is to be noted of the folders that were made since the last call.
    pub(super) fn take_made(&mut self) -> Vec<Record> {
        std::mem::take(&mut self.made)
    }

    /// Puts a durable file under its final name, next to whatever is there.
    pub(super) fn place(&mut self, area: &Dir, whole: &Whole) -> Result<Placement, StoreError> {
        let planned = whole.planned();
        let (folder, wanted) = (planned.folder, planned.path.leaf());
        let failed = |error| StoreError::io("put in place", planned.path.as_str(), error);
        let dir = self.open(folder)?;
        let taken = self.taken(folder, &dir)?;
        let replace = self.if_exists == IfExists::Replace;
        let spot = self.spot(folder);
        let may_replace = replace
            && !spot.own.contains(&wanted)
            && dir.symlink_metadata(wanted.as_str()).is_ok_and(|about| about.is_file() || about.is_symlink());
        let name = if may_replace {
            at::rename_over(area, &whole.temp(), &dir, wanted.as_str()).map_err(failed)?;
            locked(&taken).insert(&wanted);
            wanted
        } else {
            claim(&taken, &wanted, |name| at::rename_new(area, &whole.temp(), &dir, name.as_str()))
                .map_err(failed)?
                .ok_or_else(|| StoreError::NoFreeName { subject: planned.path.as_str().into() })?
        };
        let path = final_path(spot.path.as_ref(), &planned.path, &name);
        if replace {
            spot.own.insert(name);
        }
        self.dirty.insert(folder);
        Ok(Placement { path, folder, replaced: may_replace })
    }

    /// Takes a file out of its place again, since it can't be promised to stay there. It returns to its temporary
    /// name; what is not the very file that was placed is left alone.
    pub(super) fn withdraw(&mut self, area: &Dir, placement: &Placement, whole: &Whole) -> bool {
        let name = placement.path.leaf();
        !placement.replaced
            && self.open(placement.folder).is_ok_and(|dir| {
                at::name_node(&dir, name.as_str()).is_ok_and(|node| node == whole.node())
                    && at::rename_new(&dir, name.as_str(), area, &whole.temp()).is_ok()
            })
    }

    /// Makes what was put in place survive a power cut, each folder once.
    pub(super) fn sync(&mut self, area: &Dir) -> io::Result<()> {
        if self.dirty.len() > FEW && self.root.syncs_whole {
            at::sync_everything(area)?;
            self.dirty.clear();
        }
        while let Some(&folder) = self.dirty.last() {
            let dir = self.open(folder).map_err(io::Error::other)?;
            at::sync_dir(&dir)?;
            self.dirty.remove(&folder);
        }
        Ok(())
    }

    /// Makes the declared folders that no file has made yet, and then sets the times of all that are new.
    pub(super) fn finish(&mut self) -> Result<(), StoreError> {
        for folder in 1..self.folders.len() {
            if self.folders[folder].planned.declared && !self.is_there_already(folder) {
                self.open(folder)?;
            }
        }
        for folder in 1..self.folders.len() {
            let TreeFolder { planned, spot } = &self.folders[folder];
            if let (Some(modified), Some(Spot { created: true, .. })) = (planned.modified, spot) {
                let dir = self.open(folder)?;
                // a time that this file system can't hold is no reason to fail
                let _ = at::set_dir_modified(&dir, modified);
                self.dirty.insert(folder);
            }
        }
        Ok(())
    }

    /// Whether [`IfExists::Skip`] leaves this folder out: nothing of its tree was placed, and it exists.
    fn is_there_already(&self, folder: usize) -> bool {
        let mut top = folder;
        while self.folders[top].planned.parent != TOP {
            top = self.folders[top].planned.parent;
        }
        self.if_exists == IfExists::Skip
            && self.folders[top].spot.is_none()
            && self.folders[folder].planned.path.as_ref().is_some_and(|path| open_below(&self.root.dir, path).is_ok())
    }

    fn spot(&mut self, folder: usize) -> &mut Spot {
        self.folders[folder].spot.as_mut().expect("`open` came first, and gives every folder its spot")
    }

    /// Opens a folder, making it and its parents if they are not there yet. At most 64 deep, as paths are.
    fn open(&mut self, folder: usize) -> Result<Arc<Dir>, StoreError> {
        if let Some(at) = self.open.iter().position(|(open, _)| *open == folder) {
            let hit = self.open.remove(at);
            let dir = Arc::clone(&hit.1);
            self.open.push(hit);
            return Ok(dir);
        }
        let dir = if folder == TOP { self.open_top()? } else { self.open_child(folder)? };
        if self.open.len() == KEPT_OPEN {
            self.open.remove(0);
        }
        self.open.push((folder, Arc::clone(&dir)));
        Ok(dir)
    }

    fn open_top(&mut self) -> Result<Arc<Dir>, StoreError> {
        if self.folders[TOP].spot.is_none() {
            let own = self.own_before(None);
            self.folders[TOP].spot = Some(Spot { path: None, own, created: false });
        }
        Ok(Arc::clone(&self.root.dir))
    }

    fn open_child(&mut self, folder: usize) -> Result<Arc<Dir>, StoreError> {
        let parent = self.open(self.folders[folder].planned.parent)?;
        if let Some(Spot { path: Some(path), .. }) = &self.folders[folder].spot {
            return at::open_dir(&parent, path.leaf().as_str()).map(Arc::new).map_err(|error| not_opened(path, error));
        }
        let (dir, spot) = self.settle(folder, &parent)?;
        self.folders[folder].spot = Some(spot);
        Ok(Arc::new(dir))
    }

    /// The names that are taken in a folder, which is open as `dir`.
    fn taken(&mut self, folder: usize, dir: &Dir) -> Result<Arc<Mutex<Taken>>, StoreError> {
        let Tree { root, taken, folders, .. } = self;
        let list = || if folder == TOP { root.taken() } else { Ok(Arc::new(Mutex::new(Taken::list(dir)?))) };
        taken.of(folder, list).map_err(|error| {
            let path = folders[folder].planned.path.as_ref();
            StoreError::io("list", path.map_or("the receive folder", RelPath::as_str), error)
        })
    }

    /// The names that an earlier attempt gave to files in the folder at `path`, where that matters.
    fn own_before(&self, path: Option<&RelPath>) -> HashSet<FileName> {
        if self.if_exists == IfExists::Replace { self.earlier.own(path) } else { HashSet::new() }
    }

    /// Finds the place of a new folder below its open parent: the one that an earlier attempt made, an existing one only
    /// to merge, else a fresh one.
    fn settle(&mut self, folder: usize, parent_dir: &Dir) -> Result<(Dir, Spot), StoreError> {
        let TreeFolder { planned, .. } = &self.folders[folder];
        let (parent, replace) = (planned.parent, self.if_exists == IfExists::Replace);
        let offered = planned.path.clone().expect("only the receive folder has none");
        let wanted = offered.leaf();
        if let Some((dir, path)) = self.earlier.find(&offered, parent_dir) {
            let own = self.own_before(Some(&path));
            // that attempt may have died before it synced what holds the folder
            self.dirty.insert(parent);
            return Ok((dir, Spot { path: Some(path), own, created: true }));
        }
        let own = self.own_before(Some(&offered));
        let taken = self.taken(parent, parent_dir)?;
        if replace {
            match at::open_dir(parent_dir, wanted.as_str()) {
                Ok(dir) => {
                    locked(&taken).insert(&wanted);
                    let path = Some(final_path(self.spot(parent).path.as_ref(), &offered, &wanted));
                    return Ok((dir, Spot { path, own, created: false }));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(not_opened(&offered, error)),
            }
        }
        let mut made = None;
        let make = |name: &FileName| {
            at::create_dir(parent_dir, name.as_str(), at::OPEN_DIR)?;
            let opened = at::open_dir(parent_dir, name.as_str());
            // an empty folder under the good name would push the next attempt to `tree (1)`
            let opened = opened.inspect_err(|_| drop(parent_dir.remove_dir(name.as_str())));
            made = Some(opened?);
            Ok(())
        };
        let name = claim(&taken, &wanted, make).map_err(|error| not_opened(&offered, error))?;
        let (Some(name), Some(dir)) = (name, made) else {
            return Err(StoreError::NoFreeName { subject: offered.as_str().into() });
        };
        let path = final_path(self.spot(parent).path.as_ref(), &offered, &name);
        if let Ok(Node { device, inode }) = at::node(&dir) {
            let (offered, name) = (offered.as_str().to_owned(), path.as_str().to_owned());
            self.made.push(Record::Folder { offered, name, device, inode });
        }
        self.dirty.insert(parent);
        Ok((dir, Spot { path: Some(path), own: HashSet::new(), created: true }))
    }
}

/// Does `attempt` with the first name that turns out to be free; `None` when none does.
fn claim(
    taken: &Mutex<Taken>,
    wanted: &FileName,
    mut attempt: impl FnMut(&FileName) -> io::Result<()>,
) -> io::Result<Option<FileName>> {
    loop {
        let Some(name) = locked(taken).claim(wanted) else { return Ok(None) };
        match attempt(&name) {
            Ok(()) => return Ok(Some(name)),
            // somebody else took it since the folder was listed: it stays marked, so this ends
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                locked(taken).release(&name);
                return Err(error);
            }
        }
    }
}

fn not_opened(path: &RelPath, error: io::Error) -> StoreError {
    if at::is_no_dir(&error) {
        return StoreError::Unsafe { subject: path.as_str().into(), why: "a link or file where a folder is needed" };
    }
    StoreError::io("use", path.as_str(), error)
}
