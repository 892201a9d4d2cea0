//! What a journal says in all, when it is read again.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufRead, BufReader, Read};

use super::at::Node;
use super::journal::{Keepsake, LINE_CAP, Mark, RUN, Record, VERSION};
use super::resume::StoredBefore;
use crate::names::RelPath;
use crate::roll::Roll;

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
    pub(super) fn says_something(&self) -> bool {
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
