//! What a transfer leaves on the disk so that it can go on later: one JSON object a line, appended as things happen.
//!
//! It is written without a sync: what it says of a partial file is checked against the file before it is believed, and
//! what it says of a stored one is said after that one survives a power cut. A torn last line is cut off.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use cap_std::fs::Dir;
use serde::{Deserialize, Serialize};

use super::at;
use super::folder::locked;
use super::plan::PlannedFile;
use super::replayed::Replayed;

/// Its name in the area of the transfer.
pub(super) const JOURNAL: &str = "journal";

pub(super) const VERSION: u32 = 1;

/// The longest line that is read: a path of 4,096 bytes, each of them escaped, and what stands around it.
pub(super) const LINE_CAP: u64 = 64 * 1024;

/// Most lines are shorter.
const LINE: usize = 256;

/// This process, as journals know it.
pub(super) static RUN: LazyLock<u64> = LazyLock::new(|| at::random().map_or(0, u64::from_ne_bytes));

/// What a transfer is known by while it waits to go on.
#[derive(Clone, PartialEq, Eq)]
pub struct Keepsake {
    /// Who knows this may continue it; a secret of the two ends.
    pub key: [u8; 32],
    /// What the caller has to remember of it; nothing is made of it here.
    pub about: String,
}

impl std::fmt::Debug for Keepsake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keepsake").field("key", &"<secret>").field("about", &self.about).finish()
    }
}

/// What is declared of a file: the same in another attempt if, by all that can be told, it is the same file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Mark(#[serde(with = "hex")] pub(super) [u8; 16]);

impl Mark {
    pub(super) fn of(file: &PlannedFile) -> Mark {
        let mut hasher = blake3::Hasher::new();
        let (sign, modified) = match file.modified.map(|modified| modified.duration_since(UNIX_EPOCH)) {
            None => (0, 0),
            Some(Ok(after)) => (1, after.as_nanos()),
            Some(Err(before)) => (2, before.duration().as_nanos()),
        };
        hasher.update(&file.size.unwrap_or(u64::MAX).to_be_bytes());
        hasher.update(&[sign]).update(&modified.to_be_bytes()).update(file.path.as_str().as_bytes());
        let mut mark = [0; 16];
        hasher.finalize_xof().fill(&mut mark);
        Mark(mark)
    }
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Record {
    /// The first one.
    Head {
        version: u32,
        #[serde(with = "hex")]
        key: [u8; 32],
        about: String,
    },
    /// A large file has this partial file.
    Part { mark: Mark, temp: u64 },
    /// A chunk of it was verified and written.
    Chunk {
        temp: u64,
        chunk: u32,
        #[serde(with = "hex")]
        value: [u8; 32],
    },
    /// A partial file is whole, verified, synced, and about to be put in place.
    Whole {
        mark: Mark,
        temp: u64,
        #[serde(with = "hex")]
        hash: [u8; 32],
        bytes: u64,
        device: u64,
        inode: u64,
    },
    /// It is in place, and survives a power cut.
    Stored { temp: u64, name: String, run: u64 },
    /// An offered folder is there under this name.
    Folder { offered: String, name: String, device: u64, inode: u64 },
}

impl Record {
    /// A file that is in place, said in this run of the program.
    pub(super) fn stored(temp: u64, name: &str) -> Record {
        Record::Stored { temp, name: name.to_owned(), run: *RUN }
    }
}

/// The journal of one transfer, open to be added to.
pub(super) struct Journal {
    file: Mutex<File>,
    /// Whether it says anything that is worth coming back to.
    says_something: AtomicBool,
    /// It could not be written, or a disk failed: nothing that is here is to be relied on.
    broken: AtomicBool,
}

impl Journal {
    /// Begins one in `area`.
    pub(super) fn create(area: &Dir, keepsake: &Keepsake) -> io::Result<Journal> {
        let file = Mutex::new(at::create_file(area, JOURNAL, at::PRIVATE_FILE)?);
        let journal = Journal { file, says_something: AtomicBool::new(false), broken: AtomicBool::new(false) };
        let Keepsake { key, about } = keepsake.clone();
        journal.write(&[Record::Head { version: VERSION, key, about }])?;
        Ok(journal)
    }

    /// Goes on with the one in `area`; also says what it says.
    pub(super) fn reopen(area: &Dir) -> io::Result<(Journal, Replayed)> {
        let mut file = at::reopen_file(area, JOURNAL)?;
        let replayed = Replayed::read(&file)?;
        file.set_len(replayed.len)?;
        io::Seek::seek(&mut file, io::SeekFrom::End(0))?;
        let says_something = AtomicBool::new(replayed.says_something());
        Ok((Journal { file: Mutex::new(file), says_something, broken: AtomicBool::new(false) }, replayed))
    }

    /// What the one in `area` is kept under, and when it was last added to.
    pub(super) fn peek(area: &Dir) -> Option<(Keepsake, SystemTime)> {
        let file = at::open_file(area, JOURNAL).ok()?;
        let touched = file.metadata().ok()?.modified().ok()?;
        let mut line = Vec::new();
        BufReader::new(file).take(LINE_CAP).read_until(b'\n', &mut line).ok()?;
        Some((Replayed::read(line.as_slice()).ok()?.keepsake?, touched))
    }

    /// Adds `records`, in one write. What can't be written is not worth failing for: the transfer then can't be
    /// continued.
    pub(super) fn add(&self, records: &[Record]) {
        let written = self.write(records);
        self.says_something.store(true, Ordering::Relaxed);
        if written.is_err() {
            self.distrust();
        }
    }

    fn write(&self, records: &[Record]) -> io::Result<()> {
        let mut lines = Vec::with_capacity(records.len() * LINE);
        for record in records {
            serde_json::to_writer(&mut lines, record)?;
            lines.push(b'\n');
        }
        locked(&self.file).write_all(&lines)
    }

    /// Nothing here is to be continued.
    pub(super) fn distrust(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }

    /// Whether the transfer is to be kept when it ends before its time.
    pub(super) fn is_worth_keeping(&self) -> bool {
        self.says_something.load(Ordering::Relaxed) && !self.broken.load(Ordering::Relaxed)
    }
}

/// Bytes as hexadecimal digits.
mod hex {
    use data_encoding::HEXLOWER;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&HEXLOWER.encode_display(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>, const N: usize>(deserializer: D) -> Result<[u8; N], D::Error> {
        let bytes = HEXLOWER.decode(String::deserialize(deserializer)?.as_bytes()).map_err(de::Error::custom)?;
        bytes.try_into().map_err(|_| de::Error::custom("another length"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_that_says_anything_is_worth_keeping_when_it_is_opened_again() {
        let stored = Record::Whole { mark: Mark([2; 16]), temp: 6, hash: [8; 32], bytes: 4, device: 1, inode: 2 };
        for (records, is_worth_keeping) in [
            (vec![], false),
            (vec![Record::Part { mark: Mark([1; 16]), temp: 5 }], true),
            (vec![stored, Record::stored(6, "a")], true),
        ] {
            let home = tempfile::tempdir().unwrap();
            let area = at::open_ambient_dir(home.path()).unwrap();
            Journal::create(&area, &Keepsake { key: [7; 32], about: "x".into() }).unwrap().add(&records);
            assert_eq!(Journal::reopen(&area).unwrap().0.is_worth_keeping(), is_worth_keeping, "{records:?}");
        }
    }
}
