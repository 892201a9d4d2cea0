//! What the entries of a folder are: asked for many at once, since each may have to wait for the disk.

use std::collections::VecDeque;
use std::fs::{FileType, Metadata};
use std::io;
use std::panic::resume_unwind;
use std::path::Path;
use std::thread::{self, JoinHandle};

use walkdir::DirEntry;

use super::at;
use super::source::{holes_in, open_for_reading};

/// Entries that one thread looks at.
const SHARE: usize = 128;

/// Threads that look while others are found.
const THREADS: usize = 4;

/// An entry of a folder, with the name that it is offered under.
pub(super) struct Found {
    pub(super) entry: DirEntry,
    pub(super) offered: String,
    pub(super) look: Look,
}

/// What it turns out to be.
pub(super) enum Look {
    Sendable { about: Metadata, holes: u64 },
    NotSendable(&'static str),
    Unreadable(String),
}

/// Entries with their names, and what they turn out to be.
type Share = (Vec<(DirEntry, String)>, Vec<Look>);

/// Entries on their way to being looked at, which come back in the order in which they were added.
#[derive(Default)]
pub(super) struct Looking {
    found: Vec<(DirEntry, String)>,
    shares: VecDeque<JoinHandle<Share>>,
}

impl Looking {
    /// Adds an entry; gives those that were looked at meanwhile.
    ///
    /// # Errors
    /// The system has no thread left.
    pub(super) fn add(&mut self, entry: DirEntry, offered: String) -> io::Result<Vec<Found>> {
        self.found.push((entry, offered));
        if self.found.len() < SHARE {
            return Ok(Vec::new());
        }
        let share = std::mem::replace(&mut self.found, Vec::with_capacity(SHARE));
        // What a thread allocates itself comes from memory that is kept for threads.
        let looks = Vec::with_capacity(SHARE);
        self.shares.push_back(thread::Builder::new().spawn(move || look_at(share, looks))?);
        let first = (self.shares.len() > THREADS).then(|| self.shares.pop_front()).flatten();
        Ok(first.map(joined).into_iter().flat_map(all).collect())
    }

    /// Gives all that was not given yet.
    pub(super) fn rest(self) -> impl Iterator<Item = Found> {
        let Looking { found, shares } = self;
        let last = look_at(found, Vec::new());
        shares.into_iter().map(joined).chain([last]).flat_map(all)
    }
}

fn joined(share: JoinHandle<Share>) -> Share {
    share.join().unwrap_or_else(|panic| resume_unwind(panic))
}

fn look_at(found: Vec<(DirEntry, String)>, mut looks: Vec<Look>) -> Share {
    looks.extend(found.iter().map(|(entry, _)| look(entry)));
    (found, looks)
}

fn all((found, looks): Share) -> impl Iterator<Item = Found> {
    found.into_iter().zip(looks).map(|((entry, offered), look)| Found { entry, offered, look })
}

fn look(entry: &DirEntry) -> Look {
    if let Some(why) = why_not(entry.file_type()) {
        return Look::NotSendable(why);
    }
    let path = entry.path();
    let about = match entry.metadata() {
        Ok(about) => about,
        Err(error) => return Look::Unreadable(error.to_string()),
    };
    if !about.is_file() {
        return Look::Sendable { about, holes: 0 };
    }
    match readable(path, &about).and_then(|()| claims_to_be_empty(path, &about)) {
        Ok(false) => Look::Sendable { holes: holes_in(path, &about), about },
        Ok(true) => Look::NotSendable(ENDLESS),
        Err(error) => Look::Unreadable(error.to_string()),
    }
}

pub(super) const ENDLESS: &str = "a file of the kernel, whose size is not told";

/// What something is that is neither file nor folder.
pub(super) fn why_not(kind: FileType) -> Option<&'static str> {
    if kind.is_file() || kind.is_dir() {
        return None;
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if kind.is_fifo() {
            return Some("a named pipe");
        }
        if kind.is_socket() {
            return Some("a socket");
        }
        if kind.is_block_device() || kind.is_char_device() {
            return Some("a device");
        }
    }
    Some(if kind.is_symlink() { "symbolic link" } else { "neither a file nor a folder" })
}

/// Whether the rights allow to read, asked without opening.
pub(super) fn readable(path: &Path, about: &Metadata) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        // Of the owner's rights the owner's bit alone tells, and the system need not be asked.
        let owner_may = about.uid() == *USER && about.mode() & 0o400 != 0;
        if !owner_may {
            rustix::fs::access(path, rustix::fs::Access::READ_OK)?;
        }
    }
    #[cfg(not(unix))]
    let _ = (path, about);
    Ok(())
}

/// Whom this program runs as.
#[cfg(unix)]
static USER: std::sync::LazyLock<u32> = std::sync::LazyLock::new(|| rustix::process::geteuid().as_raw());

/// Whether a file of size 0 has content all the same, as those in `/proc` do: it would be sent as an empty one.
pub(super) fn claims_to_be_empty(path: &Path, about: &Metadata) -> io::Result<bool> {
    if about.len() > 0 {
        return Ok(false);
    }
    let file = open_for_reading(path)?;
    match at::read_full_at(&file, &mut [0], 0) {
        Ok(read) => Ok(read > 0),
        // not seekable, or a log of the kernel that has nothing to say just now: no file of the ordinary kind
        Err(_) => Ok(true),
    }
}
