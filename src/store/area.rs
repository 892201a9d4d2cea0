//! `.qrdrop-partial/`: where files are until they are whole.

use std::collections::HashSet;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use cap_std::fs::Dir;
use data_encoding::HEXLOWER;

use super::at::{self, Lock};
use super::error::StoreError;
use super::folder::locked;
use super::journal::{JOURNAL, Journal, Keepsake, Record};
use super::replayed::Replayed;

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

/// How long a transfer waits to go on, from the last that came of it.
pub(super) const KEPT_FOR: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The part of `.qrdrop-partial/` that belongs to one transfer. Dropping it removes it, unless its journal says something
/// that is worth coming back to.
pub(super) struct Area {
    dir: Dir,
    lock: Mutex<Option<File>>,
    journal: Option<Journal>,
    seed: RandomState,
    drawn: AtomicU64,
    /// Last, so that it is dropped when nothing in the area is open any more: on Windows no folder goes before.
    place: Place,
}

/// Where an area is. Dropping it removes the area that has been emptied.
struct Place {
    receive_dir: Dir,
    name: String,
    is_emptied: AtomicBool,
}

impl Area {
    /// Makes a new area below the receive folder, with `.qrdrop-partial/` if it is not there; with a journal if it is to
    /// be kept.
    pub(super) fn create(receive_dir: &Dir, keep: Option<&Keepsake>) -> Result<Area, StoreError> {
        for _ in 0..RACE_TRIES {
            let partial_dir = open_or_create_partial_dir(receive_dir)?;
            match Area::create_in(receive_dir, &partial_dir, keep) {
                Ok(Some(area)) => return Ok(area),
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(StoreError::io("write in", PARTIAL_DIR, error)),
            }
        }
        Err(StoreError::Gone { action: "keep", subject: PARTIAL_DIR.into() })
    }

    /// `None` and `NotFound`: a clean-up came in between.
    fn create_in(receive_dir: &Dir, partial_dir: &Dir, keep: Option<&Keepsake>) -> io::Result<Option<Area>> {
        let name = format!("{AREA_PREFIX}{}", HEXLOWER.encode(&at::random::<{ AREA_HEX / 2 }>()?));
        at::create_dir(partial_dir, &name, at::PRIVATE_DIR)?;
        let dir = at::open_dir(partial_dir, &name)?;
        let lock = match at::lock(&dir, LOCK)? {
            Lock::Held(file) => Some(file),
            // nobody can tell then that we live, and so nobody cleans up either
            Lock::Unknown => None,
            Lock::Busy => return Ok(None),
        };
        // who can't tell that somebody lives could take a transfer from under another
        let journal = keep.filter(|_| lock.is_some()).map(|keep| Journal::create(&dir, keep)).transpose()?;
        let place = Place::new(receive_dir, name)?;
        let (lock, seed, drawn) = (Mutex::new(lock), RandomState::new(), AtomicU64::new(0));
        Ok(Some(Area { dir, lock, journal, seed, drawn, place }))
    }

    /// Opens the area that is kept under `key` and that nobody works in; also what its journal says. Partial files that
    /// it does not speak of are removed.
    pub(super) fn reopen(receive_dir: &Dir, key: &[u8; 32]) -> Option<(Area, Replayed)> {
        let partial_dir = open_partial_dir(receive_dir).ok()??;
        let (name, dir) = areas(&partial_dir)
            .ok()?
            .find(|(_, dir)| Journal::peek(dir).is_some_and(|(kept, touched)| kept.key == *key && !is_over(touched)))?;
        let Ok(Lock::Held(lock)) = at::lock(&dir, LOCK) else { return None };
        let (journal, replayed) = Journal::reopen(&dir).ok()?;
        let spoken_of: HashSet<u64> = replayed.temps().collect();
        sweep(&dir, |temp| !spoken_of.contains(&temp)).ok()?;
        let place = Place::new(receive_dir, name).ok()?;
        let (lock, seed, drawn) = (Mutex::new(Some(lock)), RandomState::new(), AtomicU64::new(0));
        Some((Area { dir, lock, journal: Some(journal), seed, drawn, place }, replayed))
    }

    /// Where the partial files are.
    pub(super) fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Whether what is here outlives the transfer's end.
    pub(super) fn is_kept(&self) -> bool {
        self.journal.as_ref().is_some_and(Journal::is_worth_keeping)
    }

    /// Where it is said what came of the transfer so far, if that is kept.
    pub(super) fn journal(&self) -> Option<&Journal> {
        self.journal.as_ref()
    }

    /// Says what happened, if that is kept.
    pub(super) fn note(&self, records: &[Record]) {
        if let Some(journal) = self.journal.as_ref().filter(|_| !records.is_empty()) {
            journal.add(records);
        }
    }

    /// Creates a partial file of permission bits `mode`; its number is drawn at random (from a keyed hash, since a system
    /// call for each of 100,000 small files is not free).
    pub(super) fn create_temp(&self, mode: u32) -> io::Result<(u64, File)> {
        loop {
            let temp = self.seed.hash_one(self.drawn.fetch_add(1, Ordering::Relaxed));
            match at::create_file(&self.dir, &temp_name(temp), mode) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                outcome => return outcome.map(|file| (temp, file)),
            }
        }
    }

    /// Opens a partial file of an earlier attempt.
    pub(super) fn reopen_temp(&self, temp: u64) -> io::Result<File> {
        at::reopen_file(&self.dir, &temp_name(temp))
    }

    /// Removes a partial file.
    pub(super) fn remove_temp(&self, temp: u64) -> io::Result<()> {
        self.dir.remove_file(temp_name(temp))
    }
}

/// The name of the partial file of this number.
pub(super) fn temp_name(temp: u64) -> String {
    format!("{temp:016x}{TEMP_SUFFIX}")
}

impl Area {
    /// Removes it, and `.qrdrop-partial/` with it if nobody else is in there. A second time there is nothing to do.
    pub(super) fn remove(&self) {
        // best effort: what stays is recognised and removed by a later `Folder::clean`
        let _ = sweep(&self.dir, |_| true);
        let _ = self.dir.remove_file(JOURNAL);
        drop(locked(&self.lock).take());
        let _ = self.dir.remove_file(LOCK);
        self.place.is_emptied.store(true, Ordering::Relaxed);
        self.place.remove();
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        if !self.is_kept() {
            self.remove();
        }
    }
}

impl Place {
    fn new(receive_dir: &Dir, name: String) -> io::Result<Place> {
        Ok(Place { receive_dir: receive_dir.try_clone()?, name, is_emptied: AtomicBool::new(false) })
    }

    /// Neither folder goes that is not empty, nor, on Windows, one that is open.
    fn remove(&self) {
        if let Ok(partial_dir) = at::open_dir(&self.receive_dir, PARTIAL_DIR) {
            let _ = partial_dir.remove_dir(&self.name);
        }
        let _ = self.receive_dir.remove_dir(PARTIAL_DIR);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_emptied.load(Ordering::Relaxed) {
            self.remove();
        }
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

/// Removes the areas of dead processes that are not kept, and `.qrdrop-partial/` when nothing is left in it. Only what is
/// recognisably ours goes: a name that we would draw, in a folder that nobody holds.
pub(super) fn clean(receive_dir: &Dir, is_unwanted: impl Fn(&Keepsake) -> bool) -> Result<Cleaned, StoreError> {
    let mut cleaned = Cleaned::default();
    let Some(partial_dir) = open_partial_dir(receive_dir)? else { return Ok(cleaned) };
    let failed = |error| StoreError::io("clean", PARTIAL_DIR, error);
    for (name, dir) in areas(&partial_dir).map_err(failed)? {
        let waits = |(kept, touched): (Keepsake, SystemTime)| !is_over(touched) && !is_unwanted(&kept);
        if Journal::peek(&dir).is_some_and(waits) {
            continue;
        }
        let Ok(Lock::Held(lock)) = at::lock(&dir, LOCK) else { continue };
        if let Ok((files, bytes)) = sweep(&dir, |_| true) {
            cleaned.files += files;
            cleaned.bytes += bytes;
        }
        let _ = dir.remove_file(JOURNAL);
        // on Windows nothing goes that is open; elsewhere a second cleaner in this gap removes the same things
        drop(lock);
        let _ = dir.remove_file(LOCK);
        drop(dir);
        if partial_dir.remove_dir(name).is_ok() {
            cleaned.transfers += 1;
        }
    }
    drop(partial_dir);
    // fails when it is not empty, as it should
    let _ = receive_dir.remove_dir(PARTIAL_DIR);
    Ok(cleaned)
}

/// A transfer that waits to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// What it is known by.
    pub keepsake: Keepsake,
    /// What its partial files take on the disk, in bytes.
    pub bytes: u64,
    /// When it is given up.
    pub until: SystemTime,
}

/// The transfers that wait to go on, those aside that somebody works on.
pub(super) fn kept(receive_dir: &Dir) -> Result<Vec<Kept>, StoreError> {
    let Some(partial_dir) = open_partial_dir(receive_dir)? else { return Ok(Vec::new()) };
    let areas = areas(&partial_dir).map_err(|error| StoreError::io("list", PARTIAL_DIR, error))?;
    let kept = areas.filter_map(|(_, dir)| {
        let (keepsake, touched) = Journal::peek(&dir).filter(|(_, touched)| !is_over(*touched))?;
        let Ok(Lock::Held(_)) = at::lock(&dir, LOCK) else { return None };
        let sizes = dir.entries().ok()?.filter_map(|entry| Some(at::taken_by(&entry.ok()?.metadata().ok()?)));
        Some(Kept { keepsake, bytes: sizes.sum(), until: touched + KEPT_FOR })
    });
    Ok(kept.collect())
}

/// What all transfers are known by that can go on or run.
pub(super) fn keepsakes(receive_dir: &Dir) -> Result<Vec<Keepsake>, StoreError> {
    let Some(partial_dir) = open_partial_dir(receive_dir)? else { return Ok(Vec::new()) };
    let areas = areas(&partial_dir).map_err(|error| StoreError::io("list", PARTIAL_DIR, error))?;
    let kept = areas.filter_map(|(_, dir)| Journal::peek(&dir).filter(|(_, touched)| !is_over(*touched)));
    Ok(kept.map(|(keepsake, _)| keepsake).collect())
}

/// The areas in `.qrdrop-partial/`, each open.
fn areas(partial_dir: &Dir) -> io::Result<impl Iterator<Item = (String, Dir)>> {
    let names = partial_dir.entries()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let areas = names.filter(|name| is_area_name(name)).filter_map(|name| {
        let dir = at::open_dir(partial_dir, &name).ok()?;
        Some((name, dir))
    });
    Ok(areas)
}

fn is_over(touched: SystemTime) -> bool {
    // a time in the future is a clock that was set back
    touched.elapsed().is_ok_and(|age| age > KEPT_FOR)
}

/// Removes the partial files in an area that `goes` says; returns how many and their size in bytes.
fn sweep(dir: &Dir, goes: impl Fn(u64) -> bool) -> io::Result<(u64, u64)> {
    let (mut files, mut bytes) = (0, 0);
    for entry in dir.entries()? {
        let name = entry?.file_name();
        let Some(name) = name.to_str().filter(|name| temp_of(name).is_some_and(&goes)) else { continue };
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

/// The number of the partial file of this name.
fn temp_of(name: &str) -> Option<u64> {
    let hex = name.strip_suffix(TEMP_SUFFIX).filter(|hex| is_hex(hex, TEMP_HEX))?;
    u64::from_str_radix(hex, 16).ok()
}

fn is_hex(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}
