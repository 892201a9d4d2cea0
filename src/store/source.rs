use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use fixedbitset::FixedBitSet;
use serde::{Deserialize, Serialize};

use super::at;
use super::direct::{self, SendError};
use super::error::{StoreError, shown};
use super::holes;
use crate::roll::{Kept, Roll};

/// What a source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SourceKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
}

/// What tells whether a file is still the same with the same content: where it is on the disk, its size and times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceIdentity {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) bytes: u64,
    pub(super) modified: Option<SystemTime>,
    /// Seconds and nanoseconds of the last change of content or inode: it moves even when someone sets `modified` back.
    pub(super) changed: (i64, i64),
}

impl SourceIdentity {
    pub(super) fn of(about: &Metadata) -> SourceIdentity {
        #[cfg(unix)]
        let (device, inode, changed) = {
            use std::os::unix::fs::MetadataExt;
            (about.dev(), about.ino(), (about.ctime(), about.ctime_nsec()))
        };
        #[cfg(windows)]
        let (device, inode, changed) = {
            use std::os::windows::fs::MetadataExt;
            (0, 0, (about.creation_time() as i64, about.last_write_time() as i64))
        };
        SourceIdentity { device, inode, bytes: about.len(), modified: about.modified().ok(), changed }
    }
}

/// A file or folder that can be sent.
#[derive(Debug, Clone)]
pub struct SourceEntry {
    /// The name it is offered under: `/`-joined, the top level being the name of the given path.
    pub offered: String,
    /// File or folder.
    pub kind: SourceKind,
    /// Size in bytes; 0 for folders.
    pub bytes: u64,
    /// Modification time.
    pub modified: Option<SystemTime>,
    /// Where it is.
    pub path: PathBuf,
    /// What the content was when it was listed.
    pub identity: SourceIdentity,
    /// Bytes of it that are in holes, counted in whole units of [`HOLE_UNIT`](super::HOLE_UNIT).
    pub holes: u64,
    /// Where the content is, if something stands in for the file at `path`.
    pub(super) stand_in: Option<OsString>,
    /// Whether the path itself is a link that was followed.
    pub(super) is_link: bool,
}

impl SourceEntry {
    /// The same entry, under its name and time, with the content of the file at `path`, which is to stay there and as it
    /// is for as long as the entry is used.
    ///
    /// # Errors
    /// There is no such file.
    pub fn with_content_of(&self, path: &Path) -> Result<SourceEntry, StoreError> {
        let about = fs::symlink_metadata(path).map_err(|error| StoreError::io("read", shown(path), error))?;
        let (bytes, identity) = (about.len(), SourceIdentity::of(&about));
        Ok(SourceEntry {
            bytes,
            identity,
            holes: 0,
            stand_in: Some(path.as_os_str().to_owned()),
            is_link: false,
            ..self.clone()
        })
    }

    /// Where the content is.
    fn content(&self) -> &Path {
        self.stand_in.as_deref().map_or(&self.path, Path::new)
    }

    /// Opens the file for reading. Never waits, even if a FIFO has taken its place.
    ///
    /// # Errors
    /// It can't be opened, or is not the file that was listed.
    pub fn open(&self) -> Result<SourceFile, StoreError> {
        let file = self.open_unchecked()?;
        self.check(&file)?;
        Ok(SourceFile { file, entry: self.clone() })
    }

    /// Appends the whole content to `bytes`, of a file that is small enough for that.
    ///
    /// # Errors
    /// As [`SourceEntry::open`], or it changed meanwhile. Then `bytes` are as they were.
    pub fn read_whole(&self, bytes: &mut Vec<u8>) -> Result<(), StoreError> {
        let start = bytes.len();
        let read = self.open_unchecked().and_then(|file| {
            bytes.resize(start + self.bytes as usize, 0);
            match at::read_full_at(&file, &mut bytes[start..], 0) {
                // Once is enough: nothing of it is used before, and whoever writes to it or takes its name away changes it.
                Ok(read) if read == bytes.len() - start => self.check(&file),
                Ok(_) => Err(self.changed()),
                Err(error) => Err(StoreError::io("read", shown(&self.path), error)),
            }
        });
        read.inspect_err(|_| bytes.truncate(start))
    }

    pub(super) fn open_unchecked(&self) -> Result<File, StoreError> {
        open_for_reading(self.content()).map_err(|error| StoreError::io("read", shown(&self.path), error))
    }

    /// Whether an open file is the one that was listed, as it was.
    pub(super) fn check(&self, file: &File) -> Result<(), StoreError> {
        match file.metadata() {
            Ok(about) if about.is_file() && SourceIdentity::of(&about) == self.identity => Ok(()),
            Ok(_) => Err(self.changed()),
            Err(error) => Err(StoreError::io("read", shown(&self.path), error)),
        }
    }

    fn changed(&self) -> StoreError {
        StoreError::SourceChanged { subject: shown(&self.path) }
    }
}

/// What can be sent, in a fixed order: the place of an entry is its id.
#[derive(Debug, Default)]
pub struct SourceList {
    entries: Roll<SourceEntry>,
    /// Which of them are files.
    files: FixedBitSet,
    /// Those that are in none of the others.
    tops: Vec<u32>,
    bytes: u128,
}

impl SourceList {
    /// Adds an entry.
    pub fn push(&mut self, entry: SourceEntry) {
        let place = self.entries.len();
        self.files.grow(place + 1);
        self.files.set(place, entry.kind == SourceKind::File);
        if !entry.offered.contains('/') {
            self.tops.push(place as u32);
        }
        self.bytes += u128::from(entry.bytes);
        self.entries.push(entry);
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many of them are files.
    pub fn files(&self) -> usize {
        self.files.count_ones(..)
    }

    /// Whether the entry of this id is a file.
    pub fn is_file(&self, id: u32) -> bool {
        self.files.contains(id as usize)
    }

    /// The entries that are in none of the others, in the order of their ids.
    pub fn tops(&self) -> impl Iterator<Item = Kept<SourceEntry>> {
        self.tops.iter().filter_map(|id| self.get(*id))
    }

    /// Sum of their sizes in bytes; `None` if it is beyond 64 bits.
    pub fn bytes(&self) -> Option<u64> {
        u64::try_from(self.bytes).ok()
    }

    /// The entry of this id.
    pub fn get(&self, id: u32) -> Option<Kept<SourceEntry>> {
        self.entries.get(id as usize)
    }

    /// All of them, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = Kept<SourceEntry>> {
        self.entries.iter()
    }
}

impl FromIterator<SourceEntry> for SourceList {
    fn from_iter<I: IntoIterator<Item = SourceEntry>>(entries: I) -> Self {
        let mut list = SourceList::default();
        entries.into_iter().for_each(|entry| list.push(entry));
        list
    }
}

/// A file that is being sent.
pub struct SourceFile {
    file: File,
    entry: SourceEntry,
}

impl SourceFile {
    /// A handle of the same file, for another process to read. Both share where they are in it.
    ///
    /// # Errors
    /// The system has no more of them.
    pub fn handle(&self) -> Result<File, StoreError> {
        self.file.try_clone().map_err(|error| StoreError::io("read", shown(&self.entry.path), error))
    }

    /// Fills `buf` from `offset` on, as far as the listed size goes; returns how many bytes that are.
    ///
    /// # Errors
    /// The file ends before its listed size ([`StoreError::SourceChanged`]), or the disk fails.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, StoreError> {
        let left = self.entry.bytes.saturating_sub(offset);
        let wanted = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        match at::read_full_at(&self.file, &mut buf[..wanted], offset) {
            Ok(read) if read == wanted => Ok(read),
            Ok(_) => Err(self.entry.changed()),
            Err(error) => Err(StoreError::io("read", shown(&self.entry.path), error)),
        }
    }

    /// Whether the `len` bytes from `offset` on are a hole: they read as zeros.
    pub fn is_hole(&self, offset: u64, len: u64) -> bool {
        self.entry.holes > 0 && holes::is_hole(&self.file, offset, len)
    }

    /// Sends up to `most` bytes from `offset` on, as far as the listed size goes, without their passing through this
    /// program; returns how many the socket took. They are lent to it rather than copied: until the peer has them, a
    /// change of the file changes them too. `None` if this system can't: then read and write.
    ///
    /// # Errors
    /// The file ends before its listed size, or the disk fails; or the socket does, as a write to it would.
    pub fn send_to(&self, socket: &TcpStream, offset: u64, most: usize) -> Result<Option<usize>, SendError> {
        let left = self.entry.bytes.saturating_sub(offset);
        let wanted = most.min(usize::try_from(left).unwrap_or(usize::MAX));
        match direct::send_file(&self.file, offset, socket, wanted) {
            Some(Ok(0)) if wanted > 0 => Err(self.entry.changed().into()),
            Some(Ok(count)) => Ok(Some(count)),
            Some(Err(error)) if direct::is_of_the_disk(&error) => {
                Err(StoreError::io("read", shown(&self.entry.path), error).into())
            }
            Some(Err(error)) => Err(SendError::Socket(error)),
            None => Ok(None),
        }
    }

    /// Whether the file is still what was listed: the one that is open, and the one under its path. To be asked after
    /// the last byte was read.
    ///
    /// # Errors
    /// [`StoreError::SourceChanged`] if it was written, replaced, moved or deleted meanwhile.
    pub fn check_unchanged(&self) -> Result<(), StoreError> {
        // Where the path tells which file it stands for, what holds of that one holds of the open one.
        #[cfg(not(unix))]
        self.entry.check(&self.file)?;
        let path = self.entry.content();
        let about = if self.entry.is_link { fs::metadata(path) } else { fs::symlink_metadata(path) };
        match about {
            Ok(about) if SourceIdentity::of(&about) == self.entry.identity => Ok(()),
            _ => Err(self.entry.changed()),
        }
    }
}

/// Opens for reading without ever waiting for the other end of a FIFO or a device.
pub(super) fn open_for_reading(path: &Path) -> std::io::Result<File> {
    let mut options = fs::OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits() as i32);
    }
    options.open(path)
}

/// Bytes of the file at `path` that are in holes. One that can't be opened now fails when it is sent.
pub(super) fn holes_in(path: &Path, about: &Metadata) -> u64 {
    if !holes::are_possible(about) {
        return 0;
    }
    open_for_reading(path).map_or(0, |file| holes::count(&file, about.len()))
}
