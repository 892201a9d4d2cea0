//! The files of an offer that are there before anything is sent: maybe a million, so they are kept packed.

use std::iter;

use super::tree::Hash;
use crate::names::RelPath;
use crate::roll::{ById, Record};
use crate::store::StoredBefore;

/// A whole file that is there already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldFile {
    /// Its size in bytes.
    pub bytes: u64,
    /// Its BLAKE3.
    pub hash: Hash,
    /// What is told of it, if an earlier attempt of the transfer has stored it.
    pub earlier: Option<Earlier>,
}

/// What is told of a file that an earlier attempt has stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Earlier {
    /// Where it was put, below the receive folder.
    pub name: RelPath,
    /// Whether this process has told of it already.
    pub told: bool,
}

impl From<&StoredBefore> for HeldFile {
    fn from(stored: &StoredBefore) -> Self {
        let earlier = Earlier { name: stored.name.clone(), told: stored.told };
        HeldFile { bytes: stored.bytes, hash: stored.hash, earlier: Some(earlier) }
    }
}

/// A file that was there before: its size in bytes, its BLAKE3.
#[derive(Debug, Clone, Copy)]
struct Other(u64, Hash);

impl From<&Other> for HeldFile {
    fn from(Other(bytes, hash): &Other) -> Self {
        HeldFile { bytes: *bytes, hash: *hash, earlier: None }
    }
}

/// They have nothing in common.
impl Record for Other {
    type Step = (u64, Hash);

    fn step(&self, _: Option<&Self>) -> (u64, Hash) {
        (self.0, self.1)
    }

    fn after(_: Option<&Self>, (bytes, hash): (u64, Hash)) -> Self {
        Other(bytes, hash)
    }
}

/// Files that are there already, by the id of their entry.
#[derive(Default)]
pub struct HeldFiles {
    /// What an earlier attempt has stored; it goes before the others.
    stored: ById<StoredBefore>,
    others: ById<Other>,
}

impl HeldFiles {
    /// These, and what an earlier attempt of the transfer has stored.
    pub fn with_stored(self, stored: ById<StoredBefore>) -> Self {
        HeldFiles { stored, ..self }
    }

    /// Adds a file of `bytes` that was there before under the name of an entry.
    pub fn insert(&mut self, id: u32, bytes: u64, hash: Hash) {
        self.others.insert(id, Other(bytes, hash));
    }

    /// The file of an entry, if it is there.
    pub fn get(&self, id: u32) -> Option<HeldFile> {
        let stored = self.stored.get(id).map(|stored| HeldFile::from(&*stored));
        stored.or_else(|| self.others.get(id).map(|other| HeldFile::from(&*other)))
    }

    /// All of them, by ascending ids.
    pub fn iter(&self) -> impl Iterator<Item = (u32, HeldFile)> {
        let mut stored = self.stored.iter().map(|(id, stored)| (id, HeldFile::from(&*stored))).peekable();
        let mut others = self.others.iter().map(|(id, other)| (id, HeldFile::from(&*other))).peekable();
        iter::from_fn(move || {
            let Some((id, _)) = stored.peek() else { return others.next() };
            let (id, other) = (*id, others.next_if(|(other, _)| other <= id));
            if other.as_ref().is_some_and(|(other, _)| *other < id) { other } else { stored.next() }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_earlier_attempt_stored_goes_before_what_was_there() {
        let stored = |name: &str| StoredBefore {
            name: RelPath::from_stranger(name).unwrap(),
            bytes: 7,
            hash: [7; 32],
            told: name == "b",
        };
        let mut before = ById::default();
        [(2, "a"), (5, "b"), (9, "c")].into_iter().for_each(|(id, name)| before.insert(id, stored(name)));
        let mut files = HeldFiles::default();
        [1, 3, 5, 6, 9].into_iter().for_each(|id| files.insert(id, u64::from(id), [0; 32]));
        let files = files.with_stored(before);
        let shown =
            |file: HeldFile| (file.bytes, file.earlier.map(|earlier| (earlier.name.as_str().to_owned(), earlier.told)));
        let was_stored = |name: &str| (7, Some((name.to_owned(), name == "b")));
        let all: Vec<_> = files.iter().map(|(id, file)| (id, shown(file))).collect();
        let due = [
            (1, (1, None)),
            (2, was_stored("a")),
            (3, (3, None)),
            (5, was_stored("b")),
            (6, (6, None)),
            (9, was_stored("c")),
        ];
        assert_eq!(all, due);
        assert!(due.iter().all(|(id, file)| files.get(*id).map(shown).as_ref() == Some(file)));
        assert!(files.get(4).is_none());
    }
}
