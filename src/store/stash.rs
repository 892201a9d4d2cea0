use std::fs::{self, DirBuilder};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use data_encoding::HEXLOWER;

use super::area::PARTIAL_DIR;
use super::at;
use super::error::{StoreError, shown};

/// A folder of this user's alone, for what only passes through. It goes when the last piece of it is dropped; after a
/// sudden death it stays where the system keeps what is temporary, until the system clears that.
#[derive(Debug)]
pub struct Stash(PathBuf);

/// Files and folders in a [`Stash`]; dropping it removes them.
#[derive(Debug)]
pub struct Stashed {
    paths: Vec<PathBuf>,
    /// The folder outlives what is in it.
    _stash: Arc<Stash>,
}

impl Stash {
    /// Makes one.
    ///
    /// # Errors
    /// The system has no place for it.
    pub fn new() -> Result<Arc<Stash>, StoreError> {
        let temporary = std::env::temp_dir();
        let failed = |error| StoreError::io("use", shown(&temporary), error);
        // As a `Folder` below it knows itself.
        let parent = dunce::canonicalize(&temporary).map_err(failed)?;
        let name = format!("qrdrop-{}", HEXLOWER.encode(&at::random::<16>().map_err(failed)?));
        let path = parent.join(name);
        create(&path).map_err(failed)?;
        Ok(Arc::new(Stash(path)))
    }

    /// An empty folder of that name in it.
    ///
    /// # Errors
    /// It is there already, or can't be made.
    pub fn folder(self: &Arc<Self>, name: &str) -> Result<(PathBuf, Stashed), StoreError> {
        let path = self.0.join(name);
        create(&path).map_err(|error| StoreError::io("use", shown(&path), error))?;
        Ok((path.clone(), self.keep(vec![path])))
    }

    /// Has `paths` in it removed when the answer is dropped.
    pub fn keep(self: &Arc<Self>, paths: Vec<PathBuf>) -> Stashed {
        let inside = |path: &PathBuf| path.starts_with(&self.0) && *path != self.0;
        Stashed { paths: paths.into_iter().filter(inside).collect(), _stash: Arc::clone(self) }
    }
}

impl Stashed {
    /// Where it is.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }
}

impl Drop for Stash {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

impl Drop for Stashed {
    fn drop(&mut self) {
        self.paths.iter().for_each(|path| remove(path));
    }
}

/// What a receive folder holds, in the order of names; what is on its way aside.
///
/// # Errors
/// It can't be read.
pub fn contents(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let failed = |error| StoreError::io("read", shown(folder), error);
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name() != PARTIAL_DIR {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

fn create(path: &Path) -> io::Result<()> {
    #[cfg_attr(not(unix), expect(unused_mut))]
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, at::PRIVATE_DIR);
    builder.create(path)
}

/// What can't be removed stays in a place that the system clears.
fn remove(path: &Path) {
    // Neither follows a link.
    let _ = fs::remove_dir_all(path).or_else(|_| fs::remove_file(path));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stash_is_private_and_goes_with_the_last_piece_of_it() {
        let stash = Stash::new().unwrap();
        let root = stash.0.clone();
        let (folder, piece) = stash.folder("7").unwrap();
        fs::write(folder.join("a.txt"), "x").unwrap();
        fs::create_dir(folder.join(PARTIAL_DIR)).unwrap();
        assert_eq!(contents(&folder).unwrap(), [folder.join("a.txt")]);
        #[cfg(unix)]
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&root).unwrap().permissions()) & 0o777, 0o700);
        let (other, passing) = stash.folder("8").unwrap();
        drop(passing);
        assert!(!other.exists() && folder.exists(), "each goes with its own");
        drop(stash);
        assert!(folder.exists());
        drop(piece);
        assert!(!root.exists());
    }

    #[test]
    fn nothing_outside_of_a_stash_is_removed() {
        let (stash, other) = (Stash::new().unwrap(), tempfile::tempdir().unwrap());
        drop(stash.keep(vec![other.path().to_owned(), stash.0.clone()]));
        assert!(other.path().exists() && stash.0.exists());
    }
}
