use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use cap_std::fs::Dir;

use super::area::{self, Area};
use super::at::{self, Node};
use super::error::{StoreError, shown};
use super::intake::Intake;
use super::journal::Keepsake;
use super::plan::{IfExists, Listing, Plan};
use super::resume::Left;
use super::taken::Taken;
use crate::names::RelPath;

pub use super::area::{Cleaned, Kept};

/// Room that is never given to transfers, so that the machine goes on working: 1 % of the disk, at most this.
const MOST_RESERVE_BYTES: u64 = 16 * 1024 * 1024;
const RESERVE_FRACTION: u64 = 100;

/// What a disk of untold size has free: more than any has, and small enough that sums of claims do not overflow.
const UNTOLD_BYTES: u64 = i64::MAX as u64;

/// The receive folder. Share it: transfers know of each other's names and space through it.
pub struct Folder {
    path: PathBuf,
    root: Mutex<Arc<Root>>,
    reserved: AtomicU64,
}

/// The folder as it was opened; replaced when it went away and came back.
pub(super) struct Root {
    pub(super) dir: Arc<Dir>,
    node: Node,
    is_mount: bool,
    /// Permission bits of a file put in place: what the umask and the folder's ACL make of 0666.
    pub(super) file_mode: u32,
    /// See [`at::syncs_whole`].
    pub(super) syncs_whole: bool,
    taken: Mutex<Weak<Mutex<Taken>>>,
}

/// A file that is there already, open for comparison.
#[derive(Debug)]
pub struct Existing {
    /// Size in bytes.
    pub bytes: u64,
    /// Open for reading.
    pub file: File,
}

impl Folder {
    /// Opens a receive folder and tries it out: files can be created in it, and `.qrdrop-partial/` is ours.
    ///
    /// # Errors
    /// It is not there, not a folder, not writable, or its `.qrdrop-partial` is a link or another user's.
    pub fn open(path: &Path) -> Result<Arc<Folder>, StoreError> {
        let path = dunce::canonicalize(path).map_err(|error| cannot_open(path, error))?;
        let root = Arc::new(Root::open(&path)?);
        Ok(Arc::new(Folder { path, root: Mutex::new(root), reserved: AtomicU64::new(0) }))
    }

    /// Where it is: absolute, links resolved.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes that a new transfer may take: what is free, less what running transfers reserved and a small reserve.
    /// Where the system does not tell, the disk counts as one of `i64::MAX` bytes.
    ///
    /// # Errors
    /// The folder is gone.
    pub fn free_bytes(&self) -> Result<u64, StoreError> {
        self.free_in(&*self.current()?).map(|(free, _)| free)
    }

    /// Removes the partial files that dead processes left, and those that have waited too long to go on. Those of living
    /// ones are told by their lock and stay.
    ///
    /// # Errors
    /// The folder is gone, or `.qrdrop-partial` is not ours.
    pub fn clean(&self) -> Result<Cleaned, StoreError> {
        self.forget(|_| false)
    }

    /// The regular file at `path`, if there is one that can be read; links are not followed.
    pub fn existing(&self, path: &RelPath) -> Option<Existing> {
        let path = path.clone().top_level();
        let root = self.current().ok()?;
        let parent = match path.parent() {
            Some(parent) => Some(open_below(&root.dir, &parent).ok()?),
            None => None,
        };
        let file = at::open_file(parent.as_ref().unwrap_or(&root.dir), path.leaf().as_str()).ok()?;
        Some(Existing { bytes: file.metadata().ok()?.len(), file })
    }

    /// Plans a transfer: checks the list, reserves its space and makes its partial area. Nothing visible is created.
    ///
    /// # Errors
    /// The list contradicts itself, its sizes do not fit, or the folder is gone or unwritable.
    pub fn begin(self: &Arc<Self>, listing: impl Listing + 'static, if_exists: IfExists) -> Result<Intake, StoreError> {
        self.plan(listing, if_exists, None)
    }

    /// As [`Folder::begin`], for a transfer that can be continued when it ends early: this goes on with what an earlier
    /// attempt of that key has left, see [`Intake::take_held`].
    ///
    /// # Errors
    /// As there.
    pub fn go_on(
        self: &Arc<Self>,
        listing: impl Listing + 'static,
        if_exists: IfExists,
        keep: &Keepsake,
    ) -> Result<Intake, StoreError> {
        self.plan(listing, if_exists, Some(keep))
    }

    fn plan(
        self: &Arc<Self>,
        listing: impl Listing + 'static,
        if_exists: IfExists,
        keep: Option<&Keepsake>,
    ) -> Result<Intake, StoreError> {
        let root = self.current()?;
        let block = self.space_of(&root)?.map_or(1, |space| space.block);
        let mut plan = Plan::new(listing, block)?;
        let earlier = keep.and_then(|keep| Area::reopen(&root.dir, &keep.key)).map(|(area, replayed)| {
            let left = Left::find(&area, &root, &plan, if_exists, replayed);
            (area, left)
        });
        let mut on_disk = 0;
        if let Some((_, left)) = &earlier {
            on_disk = left.parts.iter().map(|part| part.on_disk).sum();
            left.stored.ids().for_each(|id| plan.uncharge(id));
        }
        let claim = self.claim(&root, plan.charge - on_disk)?;
        let (area, left) = match earlier {
            Some(earlier) => earlier,
            None => (Area::create(&root.dir, keep)?, Left::default()),
        };
        Ok(Intake::new(Arc::clone(self), root, area, claim, plan, if_exists, left))
    }

    /// The transfers that wait here to go on, those aside that run.
    ///
    /// # Errors
    /// The folder is gone, or `.qrdrop-partial` is not ours.
    pub fn kept(&self) -> Result<Vec<Kept>, StoreError> {
        area::kept(&self.current()?.dir)
    }

    /// What the transfers are known by that wait here to go on or run.
    ///
    /// # Errors
    /// As [`Folder::kept`].
    pub fn keepsakes(&self) -> Result<Vec<Keepsake>, StoreError> {
        area::keepsakes(&self.current()?.dir)
    }

    /// Removes the transfers that waited under a key which `is_unwanted`, and what [`Folder::clean`] does.
    ///
    /// # Errors
    /// As there.
    pub fn forget(&self, is_unwanted: impl Fn(&Keepsake) -> bool) -> Result<Cleaned, StoreError> {
        area::clean(&self.current()?.dir, is_unwanted)
    }

    /// The open folder; opened again when another one has taken its place, as after a remount.
    fn current(&self) -> Result<Arc<Root>, StoreError> {
        let mut root = locked(&self.root);
        let failed = |error| cannot_open(&self.path, error);
        let now = at::reach_ambient_dir(&self.path).map_err(failed)?;
        if at::node(&now).map_err(failed)? != root.node {
            // an empty mount point is not the folder that was asked for
            if root.is_mount && !is_mount(&self.path, &now) {
                return Err(StoreError::Gone { action: "use", subject: shown(&self.path) });
            }
            *root = Arc::new(Root::open(&self.path).map_err(|error| match error {
                // also where this process is held to the folder that it was started with
                StoreError::Denied { .. } => StoreError::Replaced { subject: shown(&self.path) },
                error => error,
            })?);
        }
        Ok(Arc::clone(&root))
    }

    fn space_of(&self, root: &Root) -> Result<Option<at::Space>, StoreError> {
        at::space(&root.dir, &self.path).map_err(|error| StoreError::io("measure", shown(&self.path), error))
    }

    /// Bytes to give, and the reserved bytes that were counted. Those are read first: bytes written meanwhile are then
    /// counted twice and never missed.
    pub(super) fn free_in(&self, root: &Root) -> Result<(u64, u64), StoreError> {
        let reserved = self.reserved.load(Ordering::Acquire);
        let free = self.space_of(root)?.map_or(UNTOLD_BYTES, |space| {
            let reserve = MOST_RESERVE_BYTES.min(space.total / RESERVE_FRACTION);
            space.free.saturating_sub(reserve)
        });
        Ok((free.saturating_sub(reserved), reserved))
    }

    fn claim(self: &Arc<Self>, root: &Root, bytes: u64) -> Result<Claim, StoreError> {
        loop {
            let (free_bytes, reserved) = self.free_in(root)?;
            if bytes > free_bytes {
                return Err(StoreError::NoSpaceFor { needed_bytes: bytes, free_bytes });
            }
            let total = reserved.saturating_add(bytes);
            if self.reserved.compare_exchange(reserved, total, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return Ok(Claim { folder: Arc::clone(self), bytes: AtomicU64::new(total - reserved) });
            }
        }
    }
}

impl Root {
    fn open(path: &Path) -> Result<Root, StoreError> {
        let failed = |error| cannot_open(path, error);
        let dir = at::open_ambient_dir(path).map_err(failed)?;
        check_writable(&dir).map_err(|error| StoreError::io("write into", shown(path), error))?;
        let area = Area::create(&dir, None)?;
        let file_mode = probe_mode(&area).map_err(|error| StoreError::io("write into", shown(path), error))?;
        drop(area);
        Ok(Root {
            node: at::node(&dir).map_err(failed)?,
            is_mount: is_mount(path, &dir),
            file_mode,
            syncs_whole: at::syncs_whole(&dir),
            taken: Mutex::default(),
            dir: Arc::new(dir),
        })
    }

    /// The names taken in the folder: one list, shared by the transfers that run at the same time.
    pub(super) fn taken(&self) -> io::Result<Arc<Mutex<Taken>>> {
        let mut shared = locked(&self.taken);
        if let Some(taken) = shared.upgrade() {
            return Ok(taken);
        }
        let taken = Arc::new(Mutex::new(Taken::list(&self.dir)?));
        *shared = Arc::downgrade(&taken);
        Ok(taken)
    }
}

/// Disk space that is promised to one transfer and not used yet.
pub(super) struct Claim {
    folder: Arc<Folder>,
    bytes: AtomicU64,
}

impl Claim {
    /// Gives `bytes` back: they are on the disk now, or not needed. Never more in all than was claimed.
    pub(super) fn release(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        self.folder.reserved.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// Takes back what was released for a partial file that is gone again.
    pub(super) fn restore(&self, bytes: u64) {
        self.folder.reserved.fetch_add(bytes, Ordering::AcqRel);
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.folder.reserved.fetch_sub(*self.bytes.get_mut(), Ordering::AcqRel);
    }
}

/// Locks; a panic elsewhere leaves nothing half done in what the store guards.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens the directory `path` below `dir`, following no link.
pub(super) fn open_below(dir: &Dir, path: &RelPath) -> io::Result<Dir> {
    let mut components = path.components();
    let first = components.next().ok_or(io::ErrorKind::NotFound)?;
    components.try_fold(at::open_dir(dir, first)?, |dir, name| at::open_dir(&dir, name))
}

fn cannot_open(path: &Path, error: io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::NotADirectory => StoreError::NotAFolder { subject: shown(path) },
        _ => StoreError::io("use", shown(path), error),
    }
}

/// Whether entries can be made in `dir`, asked without making one: the partial folder may exist and so prove nothing.
fn check_writable(dir: &Dir) -> io::Result<()> {
    #[cfg(unix)]
    {
        use rustix::fs::{Access, AtFlags, accessat};
        accessat(dir, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)?;
    }
    #[cfg(not(unix))]
    let _ = dir;
    Ok(())
}

/// The permission bits that a new file gets here, found by making one. Reading the umask itself means setting it, for
/// every thread; and a default ACL overrules it anyway.
fn probe_mode(area: &Area) -> io::Result<u32> {
    let (temp, file) = area.create_temp(0o666)?;
    #[cfg(unix)]
    let mode = at::mode(&file)? & 0o666;
    #[cfg(not(unix))]
    let mode = 0o666;
    drop(file);
    area.remove_temp(temp)?;
    Ok(mode)
}

/// Whether a file system is mounted exactly here.
fn is_mount(path: &Path, dir: &Dir) -> bool {
    let device = |dir: &Dir| at::node(dir).map(|node| node.device);
    let Some(Ok(parent)) = path.parent().map(at::reach_ambient_dir) else { return false };
    matches!((device(&parent), device(dir)), (Ok(parent), Ok(own)) if parent != own)
}
