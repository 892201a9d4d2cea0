//! What a transfer leaves on the disk so that it can go on later: one JSON object a line, appended as things happen.
//!
//! It is written without a sync: what it says of a partial file is checked against the file before it is believed, and
//! what it says of a stored one is said after that one survives a power cut. A torn last line is cut off.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use cap_std::fs::Dir;
use serde::{Deserialize, Serialize};

use super::at::{self, Node};
use super::folder::locked;
use super::plan::PlannedFile;
use super::resume::StoredBefore;
use crate::names::RelPath;
use crate::roll::Roll;

/// Its name in the area of the transfer.
pub(super) const JOURNAL: &str = "journal";

const VERSION: u32 = 1;

/// The longest line that is read: a path of 4,096 bytes, each of them escaped, and what stands around it.
const LINE_CAP: u64 = 64 * 1024;

/// This process, as journals know it.
static RUN: LazyLock<u64> = LazyLock::new(|| at::random().map_or(0, u64::from_ne_bytes));

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
pub(super) struct Mark(#[serde(with = "hex")] [u8; 16]);

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

/// A large file that is not whole.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) temp: u64,
    /// By index.
    pub(super) chunks: HashMap<u32, [u8; 32]>,
}

/// A file that was whole, and is not known to have got its final name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Done {
    pub(super) mark: Mark,
    pub(super) hash: [u8; 32],
    pub(super) bytes: u64,
    pub(super) node: Node,
}

/// The files that are in place, of which there may be a million.
#[derive(Debug, Default, PartialEq)]
pub(super) struct StoredFiles {
    files: Roll<StoredBefore>,
    /// The place of the last one of a mark.
    last: HashMap<Mark, u32>,
    /// By place: the place of the one of the same mark before it, or its own.
    before: Vec<u32>,
}

impl StoredFiles {
    fn push(&mut self, mark: Mark, file: StoredBefore) {
        let place = self.before.len() as u32;
        self.before.push(self.last.insert(mark, place).unwrap_or(place));
        self.files.push(file);
    }

    /// Takes one of that mark; its place.
    pub(super) fn take(&mut self, mark: &Mark) -> Option<u32> {
        let last = self.last.get_mut(mark)?;
        let (place, before) = (*last, self.before[*last as usize]);
        *last = before;
        if before == place {
            self.last.remove(mark);
        }
        Some(place)
    }

    /// All of them, by place.
    pub(super) fn into_files(self) -> Roll<StoredBefore> {
        self.files
    }
}

/// What a journal says in all.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Replayed {
    pub(super) keepsake: Option<Keepsake>,
    pub(super) parts: HashMap<Mark, Vec<Part>>,
    pub(super) stored: StoredFiles,
    /// By the number of their partial file.
    pub(super) unsaid: BTreeMap<u64, Done>,
    /// By the path that they were offered under: final path, node.
    pub(super) folders: HashMap<String, (String, Node)>,
    /// Bytes up to the last line that makes sense.
    pub(super) len: u64,
}

impl Replayed {
    /// Reads a journal until its end, or until a line makes no sense.
    pub(super) fn read(bytes: impl Read) -> io::Result<Replayed> {
        let (mut replayed, mut reader, mut line) = (Replayed::default(), BufReader::new(bytes), Vec::new());
        let mut part_of = HashMap::new();
        loop {
            line.clear();
            (&mut reader).take(LINE_CAP).read_until(b'\n', &mut line)?;
            if line.last() != Some(&b'\n') {
                return Ok(replayed);
            }
            let Ok(record) = serde_json::from_slice(&line) else { return Ok(replayed) };
            if !replayed.apply(record, &mut part_of) {
                return Ok(replayed);
            }
            replayed.len += line.len() as u64;
        }
    }

    /// The partial files that may be there by what it says.
    pub(super) fn temps(&self) -> impl Iterator<Item = u64> {
        self.parts.values().flatten().map(|part| part.temp).chain(self.unsaid.keys().copied())
    }

    /// Whether it says anything of a file.
    fn says_something(&self) -> bool {
        !(self.parts.is_empty() && self.stored.last.is_empty() && self.unsaid.is_empty())
    }

    fn apply(&mut self, record: Record, part_of: &mut HashMap<u64, Mark>) -> bool {
        match record {
            Record::Head { version, key, about } => {
                let first = version == VERSION && self.keepsake.is_none();
                if first {
                    self.keepsake = Some(Keepsake { key, about });
                }
                return first;
            }
            _ if self.keepsake.is_none() => return false,
            Record::Part { mark, temp } => {
                if part_of.insert(temp, mark).is_none() {
                    self.parts.entry(mark).or_default().push(Part { temp, ..Part::default() });
                }
            }
            Record::Chunk { temp, chunk, value } => {
                let parts = part_of.get(&temp).and_then(|mark| self.parts.get_mut(mark));
                if let Some(part) = parts.and_then(|parts| parts.iter_mut().find(|part| part.temp == temp)) {
                    part.chunks.insert(chunk, value);
                }
            }
            Record::Whole { mark, temp, hash, bytes, device, inode } => {
                self.unsaid.insert(temp, Done { mark, hash, bytes, node: Node { device, inode } });
            }
            Record::Stored { temp, name, run } => {
                // One whose name makes no sense is sent again.
                if let (Some(done), Ok(name)) = (self.unsaid.remove(&temp), RelPath::from_stranger(&name)) {
                    let Done { mark, hash, bytes, .. } = done;
                    self.stored.push(mark, StoredBefore { name, bytes, hash, told: run == *RUN });
                }
            }
            Record::Folder { offered, name, device, inode } => {
                self.folders.insert(offered, (name, Node { device, inode }));
            }
        }
        true
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
        let mut lines = Vec::new();
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
        serializer.serialize_str(&HEXLOWER.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>, const N: usize>(deserializer: D) -> Result<[u8; N], D::Error> {
        let bytes = HEXLOWER.decode(String::deserialize(deserializer)?.as_bytes()).map_err(de::Error::custom)?;
        bytes.try_into().map_err(|_| de::Error::custom("another length"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEAD: &str = r#"{"head":{"version":1,"key":"0707070707070707070707070707070707070707070707070707070707070707","about":"x"}}"#;

    fn mark(byte: u8) -> Mark {
        Mark([byte; 16])
    }

    fn in_place(name: &str, told: bool) -> StoredBefore {
        StoredBefore { name: RelPath::from_stranger(name).unwrap(), bytes: 4, hash: [8; 32], told }
    }

    fn lines(records: &[Record]) -> Vec<u8> {
        let mut bytes = format!("{HEAD}\n").into_bytes();
        for record in records {
            serde_json::to_writer(&mut bytes, record).unwrap();
            bytes.push(b'\n');
        }
        bytes
    }

    #[test]
    fn what_was_written_is_read_again() {
        let records = [
            Record::Part { mark: mark(1), temp: 5 },
            Record::Chunk { temp: 5, chunk: 3, value: [9; 32] },
            Record::Whole { mark: mark(2), temp: 6, hash: [8; 32], bytes: 4, device: 1, inode: u64::MAX },
            Record::stored(6, "a/b"),
            Record::Whole { mark: mark(2), temp: 7, hash: [8; 32], bytes: 4, device: 1, inode: u64::MAX },
            Record::Folder { offered: "a".into(), name: "a (1)".into(), device: 1, inode: 2 },
        ];
        let replayed = Replayed::read(lines(&records).as_slice()).unwrap();
        assert_eq!(replayed.keepsake, Some(Keepsake { key: [7; 32], about: "x".into() }));
        assert_eq!(replayed.parts[&mark(1)], [Part { temp: 5, chunks: HashMap::from([(3, [9; 32])]) }]);
        let unsaid = Done { mark: mark(2), hash: [8; 32], bytes: 4, node: Node { device: 1, inode: u64::MAX } };
        assert_eq!(replayed.unsaid, BTreeMap::from([(7, unsaid)]));
        assert_eq!(*replayed.stored.files.get(0).unwrap(), in_place("a/b", true));
        assert_eq!(replayed.folders["a"].0, "a (1)");
    }

    #[test]
    fn a_journal_that_says_anything_is_worth_keeping_when_it_is_opened_again() {
        let stored = Record::Whole { mark: mark(2), temp: 6, hash: [8; 32], bytes: 4, device: 1, inode: 2 };
        for (records, is_worth_keeping) in [
            (vec![], false),
            (vec![Record::Part { mark: mark(1), temp: 5 }], true),
            (vec![stored, Record::stored(6, "a")], true),
        ] {
            let home = tempfile::tempdir().unwrap();
            let area = at::open_ambient_dir(home.path()).unwrap();
            Journal::create(&area, &Keepsake { key: [7; 32], about: "x".into() }).unwrap().add(&records);
            assert_eq!(Journal::reopen(&area).unwrap().0.is_worth_keeping(), is_worth_keeping, "{records:?}");
        }
    }

    #[test]
    fn what_another_process_told_is_to_be_told_again() {
        let whole = Record::Whole { mark: mark(2), temp: 6, hash: [8; 32], bytes: 4, device: 1, inode: 2 };
        let stored = Record::Stored { temp: 6, name: "a".into(), run: RUN.wrapping_add(1) };
        let replayed = Replayed::read(lines(&[whole, stored]).as_slice()).unwrap();
        assert_eq!(*replayed.stored.files.get(0).unwrap(), in_place("a", false));
    }

    #[test]
    fn each_of_the_files_that_nothing_tells_apart_is_taken_once() {
        let whole =
            |temp, byte| Record::Whole { mark: mark(byte), temp, hash: [8; 32], bytes: 4, device: 1, inode: temp };
        let all = (0..5).flat_map(|temp| [whole(temp, temp as u8 % 2), Record::stored(temp, &temp.to_string())]);
        let mut replayed = Replayed::read(lines(&all.collect::<Vec<_>>()).as_slice()).unwrap();
        let mut take = |byte| replayed.stored.take(&mark(byte));
        assert_eq!([take(0), take(1), take(0), take(0), take(0)], [Some(4), Some(3), Some(2), Some(0), None]);
        assert_eq!([take(1), take(1), take(7)], [Some(1), None, None]);
        assert_eq!(replayed.stored.into_files().get(3).unwrap().name.as_str(), "3");
    }

    #[test]
    fn a_file_that_got_a_name_which_is_none_is_not_known() {
        let whole = Record::Whole { mark: mark(2), temp: 6, hash: [8; 32], bytes: 4, device: 1, inode: 2 };
        let replayed = Replayed::read(lines(&[whole, Record::stored(6, "../x")]).as_slice()).unwrap();
        assert!(replayed.stored.files.is_empty() && replayed.unsaid.is_empty());
    }

    #[test]
    fn a_journal_of_another_version_or_without_a_head_says_nothing() {
        let later = HEAD.replace("\"version\":1", "\"version\":2");
        let part = serde_json::to_string(&Record::Part { mark: mark(1), temp: 5 }).unwrap();
        for text in [format!("{later}\n{part}\n"), format!("{part}\n"), String::new()] {
            assert_eq!(Replayed::read(text.as_bytes()).unwrap(), Replayed::default(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_journal_cut_anywhere_says_what_its_whole_lines_say(cut in 0usize..1000) {
            let records: Vec<_> = (0..5).map(|chunk| Record::Chunk { temp: 5, chunk, value: [chunk as u8; 32] }).collect();
            let mut all = vec![Record::Part { mark: mark(1), temp: 5 }];
            all.extend(records);
            let bytes = lines(&all);
            let cut = cut.min(bytes.len());
            let whole_lines = bytes[..cut].iter().filter(|byte| **byte == b'\n').count();
            let replayed = Replayed::read(&bytes[..cut]).unwrap();
            let chunks = replayed.parts.get(&mark(1)).map_or(0, |parts| parts[0].chunks.len());
            prop_assert_eq!(chunks, whole_lines.saturating_sub(2));
            prop_assert_eq!(replayed.len as usize, bytes[..cut].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1));
        }

        #[test]
        fn no_bytes_upset_it(mut bytes in proptest::collection::vec(any::<u8>(), 0..2000), at in 0usize..500, flip in 1u8..) {
            let _ = Replayed::read(bytes.as_slice());
            bytes = lines(&[Record::Part { mark: mark(1), temp: 5 }, Record::Chunk { temp: 5, chunk: 1, value: [3; 32] }]);
            let at = at.min(bytes.len() - 1);
            bytes[at] ^= flip;
            let _ = Replayed::read(bytes.as_slice());
        }
    }
}
