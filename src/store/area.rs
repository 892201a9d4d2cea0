//! `.qrdrop-partial/`: where files are until they are whole.

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use cap_std::fs::Dir;
use data_encoding::HEXLOWER;
use ring::rand::{SecureRandom, SystemRandom};

use super::at::{self, Lock};
use super::error::StoreError;
use super::folder::locked;

/// The folder in the receive folder that holds what is not whole yet. Offered names can't reach it: a leading dot is
/// neutralised at the top level.
pub(super) const PARTIAL_DIR: &str = ".qrdrop-partial";
const LOCK: &str = "lock";
const AREA_PREFIX: &str = "t-";
const AREA_HEX: usize = 32;
const TEMP_SUFFIX: &str = ".part";
const TEMP_HEX: usize = 16;

/// How often a step is tried again that another qrdrop's clean-up may undo at the same moment.
const RACE_TRIES: u32 = 32;

/// The part of `.qrdrop-partial/` that belongs to one transfer. Dropping it removes it.
pub(super) struct Area {
    partial_dir: Dir,
    receive_dir: Dir,
    name: String,
    dir: Dir,
    lock: Mutex<Option<File>>,
    seed: RandomState,
    drawn: AtomicU64,
}

impl Area {
    /// Makes a new area below the receive folder, with `.qrdrop-partial/` if it is not there.
    pub(super) fn create(receive_dir: &Dir) -> Result<Area, StoreError> {
        for _ in 0..RACE_TRIES {
            let partial_dir = open_or_create_partial_dir(receive_dir)?;
            match Area::create_in(receive_dir, partial_dir) {
                Ok(Some(area)) => return Ok(area),
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(StoreError::io("write in", PARTIAL_DIR, error)),
            }
        }
        Err(StoreError::Gone { action: "keep", subject: PARTIAL_DIR.into() })
    }

    /// `None` and `NotFound`: a clean-up came in between.
    fn create_in(receive_dir: &Dir, partial_dir: Dir) -> io::Result<Option<Area>> {
        let mut random = [0; AREA_HEX / 2];
        SystemRandom::new().fill(&mut random).map_err(|_| io::Error::other("the system has no random numbers"))?;
        let name = format!("{AREA_PREFIX}{}", HEXLOWER.encode(&random));
        at::create_dir(&partial_dir, &name, at::PRIVATE_DIR)?;
        let dir = at::open_dir(&partial_dir, &name)?;
        let lock = match at::lock(&dir, LOCK)? {
            Lock::Held(file) => Some(file),
            // nobody can tell then that we live, and so nobody cleans up either
            Lock::Unknown => None,
            Lock::Busy => return Ok(None),
        };
        let receive_dir = receive_dir.try_clone()?;
        let (seed, drawn) = (RandomState::new(), AtomicU64::new(0));
        Ok(Some(Area { partial_dir, receive_dir, name, dir, lock: Mutex::new(lock), seed, drawn }))
    }

    /// Where the partial files are.
    pub(super) fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Creates a partial file of permission bits `mode`; its name is drawn at random (from a keyed hash, since a system
    /// call for each of 100,000 small files is not free).
    pub(super) fn create_temp(&self, mode: u32) -> io::Result<(String, File)> {
        loop {
            let name = format!("{:016x}{TEMP_SUFFIX}", self.seed.hash_one(self.drawn.fetch_add(1, Ordering::Relaxed)));
            match at::create_file(&self.dir, &name, mode) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                outcome => return outcome.map(|file| (name, file)),
            }
        }
    }
}

impl Area {
    /// Removes it, and `.qrdrop-partial/` with it if nobody else is in there. A second time there is nothing to do.
    pub(super) fn remove(&self) {
        // best effort: what stays is recognised and removed by a later `Folder::clean`
        let _ = sweep(&self.dir);
        drop(locked(&self.lock).take());
        let _ = self.dir.remove_file(LOCK);
        let _ = self.partial_dir.remove_dir(&self.name);
        let _ = self.receive_dir.remove_dir(PARTIAL_DIR);
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Opens `.qrdrop-partial/` and makes sure that nobody else could have planted it or can look into it.
fn open_or_create_partial_dir(receive_dir: &Dir) -> Result<Dir, StoreError> {
    let failed = |error| StoreError::io("create", PARTIAL_DIR, error);
    for _ in 0..RACE_TRIES {
        match at::create_dir(receive_dir, PARTIAL_DIR, at::PRIVATE_DIR) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error)),
        }
        match open_partial_dir(receive_dir)? {
            Some(dir) => return Ok(dir),
            None => continue,
        }
    }
    Err(failed(io::ErrorKind::NotFound.into()))
}

/// Opens `.qrdrop-partial/` if it is there.
fn open_partial_dir(receive_dir: &Dir) -> Result<Option<Dir>, StoreError> {
    let refused = |why| StoreError::Unsafe { subject: PARTIAL_DIR.into(), why };
    match at::open_dir(receive_dir, PARTIAL_DIR) {
        Ok(dir) => {
            #[cfg(unix)]
            {
                use rustix::fs::Mode;
                let about = rustix::fs::fstat(&dir).map_err(|e| StoreError::io("look at", PARTIAL_DIR, e.into()))?;
                if about.st_uid != rustix::process::geteuid().as_raw() {
                    return Err(refused("a folder of another user"));
                }
                if about.st_mode & 0o077 != 0 {
                    // ours, only looser than we make it: file systems without modes answer no, and show nothing less
                    let _ = rustix::fs::fchmod(&dir, Mode::RWXU);
                }
            }
            Ok(Some(dir))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => match receive_dir.symlink_metadata(PARTIAL_DIR) {
            Ok(about) if about.is_symlink() => Err(refused("a symbolic link")),
            Ok(about) if !about.is_dir() => Err(refused("not a folder")),
            _ => Err(StoreError::io("open", PARTIAL_DIR, error)),
        },
    }
}

/// What a clean-up removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Transfers whose process is dead.
    pub transfers: u64,
    /// Their partial files.
    pub files: u64,
    /// The size of those in bytes.
    pub bytes: u64,
}

/// Removes the areas of dead processes, and `.qrdrop-partial/` when nothing is left in it. Only what is recognisably
/// ours goes: a name that we would draw, in a folder that nobody holds.
pub(super) fn clean(receive_dir: &Dir) -> Result<Cleaned, StoreError> {
    let mut cleaned = Cleaned::default();
    let Some(partial_dir) = open_partial_dir(receive_dir)? else { return Ok(cleaned) };
    let failed = |error| StoreError::io("clean", PARTIAL_DIR, error);
    for entry in partial_dir.entries().map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let Some(name) = name.to_str().filter(|name| is_area_name(name)) else { continue };
        let Ok(dir) = at::open_dir(&partial_dir, name) else { continue };
        let Ok(Lock::Held(lock)) = at::lock(&dir, LOCK) else { continue };
        if let Ok((files, bytes)) = sweep(&dir) {
            cleaned.files += files;
            cleaned.bytes += bytes;
        }
        // on Windows a file that is open can't go; elsewhere a second cleaner in this gap removes the same things
        drop(lock);
        let _ = dir.remove_file(LOCK);
        if partial_dir.remove_dir(name).is_ok() {
            cleaned.transfers += 1;
        }
    }
    // fails when it is not empty, as it should
    let _ = receive_dir.remove_dir(PARTIAL_DIR);
    Ok(cleaned)
}

/// Removes the partial files in an area; returns how many and their size in bytes.
fn sweep(dir: &Dir) -> io::Result<(u64, u64)> {
    let (mut files, mut bytes) = (0, 0);
    for entry in dir.entries()? {
        let name = entry?.file_name();
        let Some(name) = name.to_str().filter(|name| is_temp_name(name)) else { continue };
        let size = dir.symlink_metadata(name).map_or(0, |about| about.len());
        if dir.remove_file(name).is_ok() {
            files += 1;
            bytes += size;
        }
    }
    Ok((files, bytes))
}

fn is_area_name(name: &str) -> bool {
    name.strip_prefix(AREA_PREFIX).is_some_and(|hex| is_hex(hex, AREA_HEX))
}

fn is_temp_name(name: &str) -> bool {
    name.strip_suffix(TEMP_SUFFIX).is_some_and(|hex| is_hex(hex, TEMP_HEX))
}

fn is_hex(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}
