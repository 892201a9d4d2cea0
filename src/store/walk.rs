use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use super::area::PARTIAL_DIR;
use super::at;
use super::error::{StoreError, shown};
use super::look::{ENDLESS, Found, Look, Looking, claims_to_be_empty, readable, why_not};
use super::source::{SourceEntry, SourceIdentity, SourceKind, SourceList, holes_in};
use crate::names::{FileName, PATH_BYTES_MAX};

/// What [`walk`] does about links.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WalkOptions {
    /// Follows symbolic links inside folders, in place of leaving them out. A path that is named is always followed.
    pub follow_links: bool,
}

/// Something below a named folder that is not sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Where it is.
    pub path: PathBuf,
    /// Why, in a few words.
    pub reason: String,
}

/// What the named paths hold, in a fixed order: folders before what is in them, siblings by name.
#[derive(Debug, Default)]
pub struct Walk {
    /// What can be sent.
    pub entries: SourceList,
    /// What is left out on purpose: links, devices and the like.
    pub left_out: Vec<LeftOut>,
    /// What should have been sent and can't be read.
    pub unreadable: Vec<LeftOut>,
}

/// Lists what the named paths hold. Nothing is opened but empty files, to tell those that only claim to be empty.
///
/// # Errors
/// A *named* path is not there, can't be read or is neither file nor folder: nothing is to be sent then.
pub fn walk(paths: &[PathBuf], options: &WalkOptions) -> Result<Walk, StoreError> {
    let mut walker = Walker { walk: Walk::default(), options: *options };
    let mut names = HashSet::new();
    for path in paths {
        let name = fresh(&mut names, top_name(path)?);
        walker.named(path, name)?;
    }
    Ok(walker.walk)
}

struct Walker {
    walk: Walk,
    options: WalkOptions,
}

impl Walker {
    fn named(&mut self, path: &Path, name: String) -> Result<(), StoreError> {
        let failed = |error| StoreError::io("read", shown(path), error);
        let about = fs::metadata(path).map_err(failed)?;
        if about.is_dir() {
            fs::read_dir(path).map_err(failed)?;
            return self.folder(path, name).map_err(failed);
        }
        if let Some(what) = why_not(about.file_type()) {
            return Err(StoreError::NotSendable { subject: shown(path), what });
        }
        readable(path, &about).map_err(failed)?;
        if claims_to_be_empty(path, &about).map_err(failed)? {
            return Err(StoreError::NotSendable { subject: shown(path), what: ENDLESS });
        }
        let is_link = fs::symlink_metadata(path).is_ok_and(|about| about.is_symlink());
        self.push(name, path, &about, holes_in(path, &about), is_link);
        Ok(())
    }

    fn folder(&mut self, path: &Path, name: String) -> io::Result<()> {
        // the offered names of the folders above the current entry, each with the repaired names used in it
        let mut above: Vec<Level> = Vec::new();
        // with a slash at its end a link is the folder that it leads to
        let entries = WalkDir::new(path.join("")).follow_links(self.options.follow_links).sort_by_file_name();
        let mut entries = entries.into_iter();
        let mut looking = Looking::default();
        while let Some(entry) = entries.next() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    self.failed(path, &error);
                    continue;
                }
            };
            above.truncate(entry.depth());
            let offered = match above.last_mut() {
                None => name.clone(),
                Some(level) => level.offer(entry.file_name()),
            };
            let kind = entry.file_type();
            if kind.is_dir() && entry.depth() > 0 && entry.file_name() == OsStr::new(PARTIAL_DIR) {
                entries.skip_current_dir();
                self.leave_out(&entry, "what qrdrop has not received whole yet");
                continue;
            }
            if kind.is_dir() {
                above.push(Level { offered: offered.clone(), repaired: HashSet::new() });
            }
            looking.add(entry, offered)?.into_iter().for_each(|found| self.add(found));
        }
        looking.rest().for_each(|found| self.add(found));
        Ok(())
    }

    fn add(&mut self, Found { entry, offered, look }: Found) {
        match look {
            Look::Sendable { about, holes } => {
                self.push(offered, entry.path(), &about, holes, entry.path_is_symlink());
            }
            Look::NotSendable(why) => self.leave_out(&entry, why),
            Look::Unreadable(reason) => self.unreadable(entry.path(), reason),
        }
    }

    fn failed(&mut self, top: &Path, error: &walkdir::Error) {
        let path = error.path().unwrap_or(top);
        let reason = match error.io_error() {
            None => "symbolic link that leads back to a folder above it".to_owned(),
            Some(io) if io.kind() == io::ErrorKind::NotFound && path.is_symlink() => {
                "symbolic link to nothing".to_owned()
            }
            Some(io) if at::is_no_dir(io) && path.is_symlink() => "symbolic link that leads to itself".to_owned(),
            Some(io) => return self.unreadable(path, io.to_string()),
        };
        self.walk.left_out.push(LeftOut { path: path.to_owned(), reason });
    }

    fn push(&mut self, offered: String, path: &Path, about: &Metadata, holes: u64, is_link: bool) {
        if offered.len() > PATH_BYTES_MAX {
            return self.unreadable(path, format!("its path is longer than {PATH_BYTES_MAX} bytes"));
        }
        let (kind, bytes) = match about.is_dir() {
            true => (SourceKind::Folder, 0),
            false => (SourceKind::File, about.len()),
        };
        let (modified, identity) = (about.modified().ok(), SourceIdentity::of(about));
        self.walk.entries.push(SourceEntry {
            offered,
            kind,
            bytes,
            modified,
            path: path.to_owned(),
            identity,
            holes,
            stand_in: None,
            is_link,
        });
    }

    fn leave_out(&mut self, entry: &DirEntry, reason: &str) {
        self.walk.left_out.push(LeftOut { path: entry.path().to_owned(), reason: reason.to_owned() });
    }

    fn unreadable(&mut self, path: &Path, reason: String) {
        self.walk.unreadable.push(LeftOut { path: path.to_owned(), reason });
    }
}

/// A folder on the way to the current entry.
struct Level {
    offered: String,
    /// Names in it with a replacement character, which two different names on the disk may have become.
    repaired: HashSet<String>,
}

impl Level {
    fn offer(&mut self, name: &OsStr) -> String {
        let mut name = name.to_string_lossy().into_owned();
        if name.contains(char::REPLACEMENT_CHARACTER) {
            name = fresh(&mut self.repaired, name);
        }
        format!("{}/{name}", self.offered)
    }
}

/// `name`, numbered if it is taken.
fn fresh(taken: &mut HashSet<String>, name: String) -> String {
    if taken.insert(name.clone()) {
        return name;
    }
    let base = FileName::from_stranger(&name);
    let numbered = (1..).map(|number| base.with_number(number).as_str().to_owned());
    numbered.into_iter().find(|name| taken.insert(name.clone())).expect("there are more numbers than names")
}

/// The name of a given path; `.`, `..` and the like have that of the folder they stand for.
fn top_name(path: &Path) -> Result<String, StoreError> {
    if let Some(name) = path.file_name() {
        return Ok(name.to_string_lossy().into_owned());
    }
    let real = fs::canonicalize(path).map_err(|error| StoreError::io("read", shown(path), error))?;
    Ok(real.file_name().map_or_else(|| "root".to_owned(), |name| name.to_string_lossy().into_owned()))
}
