use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::at;
use super::error::{StoreError, shown};
use super::source::{SourceEntry, SourceIdentity, SourceKind};
use super::state::StateDir;

/// Beginning of the names of spooled streams in the state folder.
pub const SPOOL_PREFIX: &str = "spool-";

/// A stream that was read to its end into a file for this user alone, since it is sent more than once or its size has to be
/// known. Dropping it removes the file.
pub struct Spool {
    path: PathBuf,
}

impl Spool {
    /// Reads `from` to its end into the state folder, at `state` or else at the platform's place; what is there is offered
    /// as `name`.
    ///
    /// # Errors
    /// The stream or the disk fails.
    pub fn of(state: Option<&Path>, name: &str, mut from: impl Read) -> Result<(Spool, SourceEntry), StoreError> {
        let state = StateDir::open(state)?;
        let random: [u8; 8] = at::random().map_err(|error| StoreError::io("keep", name, error))?;
        let file = format!("{SPOOL_PREFIX}{}", data_encoding::HEXLOWER.encode(&random));
        let spool = Spool { path: state.path().join(&file) };
        let failed = |error| StoreError::io("keep", shown(&spool.path), error);
        let mut kept = at::create_file(state.dir(), &file, at::PRIVATE_FILE).map_err(failed)?;
        io::copy(&mut from, &mut kept).map_err(failed)?;
        let about = kept.metadata().map_err(failed)?;
        let entry = SourceEntry {
            offered: name.to_owned(),
            kind: SourceKind::File,
            bytes: about.len(),
            modified: None,
            path: spool.path.clone(),
            identity: SourceIdentity::of(&about),
            holes: 0,
            stand_in: None,
            is_link: false,
        };
        Ok((spool, entry))
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        // What can't be removed now goes when it is old.
        let _ = std::fs::remove_file(&self.path);
    }
}
