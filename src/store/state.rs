use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cap_std::fs::Dir;
use data_encoding::HEXLOWER;
use etcetera::BaseStrategy;
use zeroize::Zeroizing;

use super::at::{self, Lock};
use super::error::{StoreError, shown};

/// The tool's own folder. Only its user may enter it.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    dir: Dir,
}

impl StateDir {
    /// Opens the state folder, `path` or else the platform's place for one, and makes it (0700) if it is not there.
    ///
    /// # Errors
    /// It can't be made, or it exists and is a link, another user's, or open to others.
    pub fn open(path: Option<&Path>) -> Result<StateDir, StoreError> {
        let path = absolute(path)?;
        let failed = |error| StoreError::io("use", shown(&path), error);
        let (parent, name) = split(&path)?;
        std::fs::create_dir_all(parent).map_err(failed)?;
        let parent = at::reach_ambient_dir(parent).map_err(failed)?;
        match at::create_dir(&parent, name, at::PRIVATE_DIR) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
            _ => {}
        }
        StateDir::check(path)
    }

    /// As [`StateDir::open`], but makes nothing: `None` if it is not there.
    ///
    /// # Errors
    /// As there.
    pub fn find(path: Option<&Path>) -> Result<Option<StateDir>, StoreError> {
        let path = absolute(path)?;
        match std::fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            _ => StateDir::check(path).map(Some),
        }
    }

    fn check(path: PathBuf) -> Result<StateDir, StoreError> {
        let failed = |error| StoreError::io("use", shown(&path), error);
        let (parent, name) = split(&path)?;
        let parent = at::reach_ambient_dir(parent).map_err(failed)?;
        let dir = at::open_dir(&parent, name).map_err(|error| match at::is_no_dir(&error) {
            true => StoreError::Unsafe { subject: shown(&path), why: "a link or a file, not a folder" },
            false => failed(error),
        })?;
        let about = dir.try_clone().map_err(failed)?.into_std_file();
        check_private(&about, &path)?;
        Ok(StateDir { path, dir })
    }

    /// Takes `name` for this process, until what is returned is dropped; `None` while another has it. Where the file
    /// system can't lock, everybody has it.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn claim(&self, name: &str) -> Result<Option<StateClaim>, StoreError> {
        match at::lock(&self.dir, name).map_err(|error| StoreError::io("lock", shown(&self.path.join(name)), error))? {
            Lock::Held(file) => Ok(Some(StateClaim { _lock: Some(file) })),
            Lock::Unknown => Ok(Some(StateClaim { _lock: None })),
            Lock::Busy => Ok(None),
        }
    }

    /// Removes the file `name` if it is there.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn remove(&self, name: &str) -> Result<(), StoreError> {
        match self.dir.remove_file(name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::io("remove", shown(&self.path.join(name)), error))
            }
            _ => Ok(()),
        }
    }

    /// Removes the files whose name `matches` and that were written longer than `age` ago.
    ///
    /// # Errors
    /// The folder can't be listed.
    pub fn expire(&self, age: Duration, matches: impl Fn(&str) -> bool) -> Result<(), StoreError> {
        let entries = self.dir.entries().map_err(|error| StoreError::io("list", shown(&self.path), error))?;
        for entry in entries.flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            let written = entry.metadata().and_then(|about| about.modified()).map(cap_std::time::SystemTime::into_std);
            let is_old = written.is_ok_and(|written| written.elapsed().is_ok_and(|passed| passed > age));
            if is_old && matches(&name) {
                self.remove(&name)?;
            }
        }
        Ok(())
    }

    /// Where it is, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Writes the file `name` as [`write_secret_file`] does.
    ///
    /// # Errors
    /// As there.
    pub fn write_secret(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        write_secret_in(&self.dir, name, &self.path.join(name), bytes)
    }

    /// As [`StateDir::write_secret`], but of those who write `name` at the same time the first one wins: whether this one
    /// did.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn create_secret(&self, name: &str, bytes: &[u8]) -> Result<bool, StoreError> {
        let path = self.path.join(name);
        match place_secret(&self.dir, bytes, |temp| at::rename_new(&self.dir, temp, &self.dir, name)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(StoreError::io("write", shown(&path), error)),
        }
    }

    /// Reads the file `name`; `None` if it is not there.
    ///
    /// # Errors
    /// It is a link or no file, another user's, or open to others: it is refused, never made anew.
    pub fn read_secret(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        let path = self.path.join(name);
        let failed = |error| StoreError::io("read", shown(&path), error);
        match self.dir.symlink_metadata(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
            Ok(about) if !about.is_file() => return Err(not_a_file(&path)),
            Ok(_) => {}
        }
        let file = at::open_file(&self.dir, name).map_err(failed)?;
        check_private(&file, &path)?;
        let size = file.metadata().map_err(failed)?.len();
        // reserved at once: a vector that grows leaves copies behind
        let mut bytes = Zeroizing::new(Vec::with_capacity(size as usize + 1));
        file.take(size).read_to_end(&mut bytes).map_err(failed)?;
        Ok(Some(bytes))
    }
}

/// A name in the state folder that this process has taken.
#[derive(Debug)]
pub struct StateClaim {
    _lock: Option<File>,
}

/// Writes a file that only its user may read: exclusively under a temporary name beside `path`, mode 0600, synced, then
/// renamed over a regular file that may be there. Readers see the old content or the new, nothing in between.
///
/// # Errors
/// `path` is a link, a folder or a device; or the disk refuses.
pub fn write_secret_file(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let (parent, name) = split(path)?;
    let dir = at::open_ambient_dir(parent).map_err(|error| StoreError::io("write", shown(path), error))?;
    write_secret_in(&dir, name, path, bytes)
}

fn write_secret_in(dir: &Dir, name: &str, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let failed = |error| StoreError::io("write", shown(path), error);
    match dir.symlink_metadata(name) {
        Ok(about) if !about.is_file() => return Err(not_a_file(path)),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    place_secret(dir, bytes, |temp| at::rename_over(dir, temp, dir, name)).map_err(failed)
}

/// Writes a private file under a temporary name, and has `place` give it its own.
fn place_secret(dir: &Dir, bytes: &[u8], place: impl FnOnce(&str) -> io::Result<()>) -> io::Result<()> {
    let random: [u8; 8] = at::random()?;
    let temp = format!(".qrdrop-{}", HEXLOWER.encode(&random));
    let mut file = at::create_file(dir, &temp, at::PRIVATE_FILE)?;
    let written = at::set_mode(&file, at::PRIVATE_FILE)
        .and_then(|()| file.write_all(bytes))
        .and_then(|()| at::sync_file(&file))
        .and_then(|()| place(&temp));
    if let Err(error) = written {
        // ours, created exclusively above
        let _ = dir.remove_file(&temp);
        return Err(error);
    }
    at::sync_dir(dir)
}

fn absolute(path: Option<&Path>) -> Result<PathBuf, StoreError> {
    match path {
        Some(path) => std::path::absolute(path).map_err(|error| StoreError::io("use", shown(path), error)),
        None => default_path(),
    }
}

fn default_path() -> Result<PathBuf, StoreError> {
    let base = etcetera::choose_base_strategy()
        .map_err(|error| StoreError::io("find", "the home folder", io::Error::other(error)))?;
    Ok(base.state_dir().unwrap_or_else(|| base.data_dir()).join("qrdrop"))
}

/// The folder and the name of a path.
pub(super) fn split(path: &Path) -> Result<(&Path, &str), StoreError> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| StoreError::Unsafe { subject: shown(path), why: "no name for a file" })?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok((parent, name))
}

fn not_a_file(path: &Path) -> StoreError {
    StoreError::Unsafe { subject: shown(path), why: "a link or something else that is not a file" }
}

/// Refuses what others own or may look into.
fn check_private(file: &std::fs::File, path: &Path) -> Result<(), StoreError> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let about = file.metadata().map_err(|error| StoreError::io("look at", shown(path), error))?;
        if about.uid() != rustix::process::geteuid().as_raw() {
            return Err(StoreError::Unsafe { subject: shown(path), why: "of another user" });
        }
        let mode = about.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(StoreError::Loose { subject: shown(path), mode });
        }
    }
    #[cfg(not(unix))]
    let _ = (file, path);
    Ok(())
}
