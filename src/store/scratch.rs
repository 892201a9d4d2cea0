//! A folder in the state folder for what one command makes and nobody needs afterwards.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use cap_std::fs::Dir;
use data_encoding::HEXLOWER;

use super::at::{self, Lock};
use super::error::{StoreError, shown};
use super::state::StateDir;

/// Folders are `scratch-<16 hex>`, each with a lock of that name beside it, which is there first and goes last: a free
/// lock means that its process is dead.
const PREFIX: &str = "scratch-";
const LOCK: &str = ".lock";

/// A folder (0700) that is removed when this is dropped. What a killed process leaves is removed by the next one.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    dir: Dir,
    /// Last, so that it is dropped when the folder is not open any more: on Windows it would not go before.
    _place: Place,
}

/// Where it is. Dropping it removes what is there.
#[derive(Debug)]
struct Place {
    state: Dir,
    name: String,
    _lock: Option<File>,
}

impl Scratch {
    /// Makes one in the state folder, and removes those of dead processes.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn new(state: &StateDir) -> Result<Scratch, StoreError> {
        let failed = |error| StoreError::io("write in", shown(state.path()), error);
        clean(state.dir()).map_err(failed)?;
        let name = format!("{PREFIX}{}", HEXLOWER.encode(&at::random::<8>().map_err(failed)?));
        let lock = match at::lock(state.dir(), &format!("{name}{LOCK}")).map_err(failed)? {
            Lock::Held(file) => Some(file),
            // Nobody else knows the name; where nobody can lock, nobody cleans up either.
            Lock::Busy | Lock::Unknown => None,
        };
        let make = || -> io::Result<(Dir, Dir)> {
            at::create_dir(state.dir(), &name, at::PRIVATE_DIR)?;
            Ok((at::open_dir(state.dir(), &name)?, state.dir().try_clone()?))
        };
        let (dir, state_dir) = make().map_err(failed)?;
        let path = state.path().join(&name);
        Ok(Scratch { path, dir, _place: Place { state: state_dir, name, _lock: lock } })
    }

    /// Makes the file `name`, which is not there.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn file(&self, name: &str) -> io::Result<File> {
        at::create_file(&self.dir, name, at::PRIVATE_FILE)
    }

    /// Removes the file `name`; if that fails, it goes with the folder.
    pub fn remove(&self, name: &str) {
        let _ = self.dir.remove_file(name);
    }

    /// Where it is, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What can't be removed now is tried again by the next command.
        let _ = remove(&self.state, &self.name);
    }
}

fn clean(state: &Dir) -> io::Result<()> {
    for entry in state.entries()? {
        let Ok(name) = entry?.file_name().into_string() else { continue };
        let folder = name.strip_suffix(LOCK).unwrap_or(&name);
        if folder.starts_with(PREFIX)
            && let Ok(Lock::Held(_held)) = at::lock(state, &format!("{folder}{LOCK}"))
        {
            // Perhaps by another clean-up at the same moment.
            let _ = remove(state, folder);
        }
    }
    Ok(())
}

fn remove(state: &Dir, name: &str) -> io::Result<()> {
    match at::open_dir(state, name) {
        Ok(dir) => {
            for entry in dir.entries()? {
                dir.remove_file(entry?.file_name())?;
            }
            drop(dir);
            state.remove_dir(name)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    state.remove_file(format!("{name}{LOCK}"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn names(state: &StateDir) -> usize {
        std::fs::read_dir(state.path()).unwrap().count()
    }

    #[test]
    fn it_goes_with_what_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(Some(&folder.path().join("state"))).unwrap();
        let scratch = Scratch::new(&state).unwrap();
        scratch.file("1").unwrap().write_all(b"something").unwrap();
        assert_eq!(std::fs::read(scratch.path().join("1")).unwrap(), b"something");
        assert!(scratch.file("1").is_err(), "it is there already");
        drop(scratch);
        assert_eq!(names(&state), 0);
    }

    #[test]
    fn that_of_a_dead_process_is_removed_and_that_of_a_living_one_stays() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(Some(&folder.path().join("state"))).unwrap();
        let living = Scratch::new(&state).unwrap();
        living.file("1").unwrap();
        let dead = state.path().join("scratch-0123456789abcdef");
        std::fs::create_dir(&dead).unwrap();
        std::fs::write(dead.join("1"), "left behind").unwrap();
        std::fs::write(state.path().join("scratch-fedcba9876543210.lock"), "").unwrap();
        drop(Scratch::new(&state).unwrap());
        assert!(!dead.exists());
        assert!(living.path().join("1").exists());
        drop(living);
        assert_eq!(names(&state), 0);
    }
}
