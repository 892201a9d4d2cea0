//! Files that the person names: a log that is added to, settings that are read.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;

use super::at;
use super::error::{StoreError, shown};
use super::state::split;

/// Settings that nobody writes by hand: more is not read into memory.
const SETTINGS_CAP: u64 = 1024 * 1024;

/// Makes the file `path` with mode 0600 if it is not there, and adds `line`, which ends with its newline. Several programs
/// may do that at the same time: a line goes there in one piece, behind what others have added meanwhile, and not onto the
/// rest of one that found the disk full.
///
/// # Errors
/// `path` is a link or anything else but a file, or the disk refuses.
pub fn append(path: &Path, line: &str) -> Result<(), StoreError> {
    let failed = |error| StoreError::io("write", shown(path), error);
    let (parent, name) = split(path)?;
    let dir = at::open_ambient_dir(parent).map_err(failed)?;
    let mut file = at::append_file(&dir, name).map_err(|error| match at::is_link(&error) {
        true => StoreError::Unsafe { subject: shown(path), why: "a link, not a file" },
        false => failed(error),
    })?;
    let torn = is_torn(&mut file).map_err(failed)?;
    let line = if torn && !line.is_empty() { Cow::Owned(format!("\n{line}")) } else { Cow::Borrowed(line) };
    file.write_all(line.as_bytes()).map_err(failed)
}

/// Whether the last line has no end.
fn is_torn(file: &mut File) -> io::Result<bool> {
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

/// Where settings are read from if no other place is named; `None` where a user has no such place.
pub fn settings_path() -> Option<PathBuf> {
    let base = etcetera::choose_base_strategy().ok()?;
    Some(base.config_dir().join("qrdrop").join("config.toml"))
}

/// Reads a file of settings, following links; `None` if it is not there.
///
/// # Errors
/// It can't be read, is no text or longer than 1 MiB, or another user may change it: settings can name a command.
pub fn read_settings(path: &Path) -> Result<Option<String>, StoreError> {
    let failed = |error| StoreError::io("read", shown(path), error);
    let unsafe_because = |why| StoreError::Unsafe { subject: shown(path), why };
    let file = match File::open(path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        opened => opened.map_err(failed)?,
    };
    if is_in_strange_hands(&file).map_err(failed)? {
        return Err(unsafe_because("of another user, or every user may change it"));
    }
    let mut bytes = Vec::new();
    file.take(SETTINGS_CAP + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > SETTINGS_CAP {
        return Err(unsafe_because("too long for settings"));
    }
    String::from_utf8(bytes).map(Some).map_err(|_| unsafe_because("not UTF-8 text"))
}

/// Whether somebody else, not counting root and a group that the owner let in, may change a file.
#[cfg(unix)]
fn is_in_strange_hands(file: &File) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let about = file.metadata()?;
    let ours = [0, rustix::process::geteuid().as_raw()].contains(&about.uid());
    Ok(about.is_file() && (!ours || about.mode() & 0o002 != 0))
}

#[cfg(not(unix))]
fn is_in_strange_hands(_: &File) -> io::Result<bool> {
    Ok(false)
}
