//! The files of an offer that are there before anything is sent: maybe a million, so they are kept packed.

use serde::{Deserialize, Serialize};

use super::tree::Hash;
use crate::names::RelPath;
use crate::roll::{Record, Roll, Tail};

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

/// The step from one [`HeldFile`] to the next.
#[derive(Serialize, Deserialize)]
pub struct HeldStep {
    bytes: u64,
    hash: Hash,
    earlier: Option<(Tail, bool)>,
}

impl HeldFile {
    fn name(&self) -> Option<&str> {
        self.earlier.as_ref().map(|earlier| earlier.name.as_str())
    }
}

impl Record for HeldFile {
    type Step = HeldStep;

    fn step(&self, before: Option<&Self>) -> HeldStep {
        let name = before.and_then(HeldFile::name).unwrap_or_default();
        let earlier = self.earlier.as_ref().map(|earlier| (Tail::of(earlier.name.as_str(), name), earlier.told));
        HeldStep { bytes: self.bytes, hash: self.hash, earlier }
    }

    fn after(before: Option<&Self>, HeldStep { bytes, hash, earlier }: HeldStep) -> Self {
        let before = before.and_then(HeldFile::name).unwrap_or_default();
        let earlier = earlier.map(|(name, told)| Earlier { name: RelPath::from_own(name.after(before)), told });
        HeldFile { bytes, hash, earlier }
    }
}

/// Files that are there already, by the id of their entry.
#[derive(Default)]
pub struct HeldFiles {
    files: Roll<HeldFile>,
    /// Ids, ascending, and where their files are in the roll.
    places: Vec<(u32, u32)>,
}

impl HeldFiles {
    /// Adds the file of an entry, in place of one that it has already. Cheap where ids ascend.
    pub fn insert(&mut self, id: u32, file: HeldFile) {
        let place = self.files.len() as u32;
        self.files.push(file);
        match self.places.binary_search_by_key(&id, |(id, _)| *id) {
            Ok(at) => self.places[at].1 = place,
            Err(at) => self.places.insert(at, (id, place)),
        }
    }

    /// The file of an entry, if it is there.
    pub fn get(&self, id: u32) -> Option<HeldFile> {
        let at = self.places.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        self.files.get(self.places[at].1 as usize).map(|file| (*file).clone())
    }

    /// All of them, by ascending ids.
    pub fn iter(&self) -> impl Iterator<Item = (u32, HeldFile)> {
        self.places.iter().filter_map(|(id, _)| Some((*id, self.get(*id)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(bytes: u64) -> HeldFile {
        HeldFile { bytes, hash: [7; 32], earlier: None }
    }

    #[test]
    fn a_file_of_an_earlier_attempt_comes_back_from_a_roll_with_its_name() {
        let names = [None, Some("a/one"), Some("a/two"), None, Some("b")];
        let mut files = HeldFiles::default();
        let all = names.map(|name| {
            let name = name.map(|name| RelPath::from_stranger(name).unwrap());
            HeldFile { earlier: name.map(|name| Earlier { told: name.as_str() == "b", name }), ..held(9) }
        });
        // Often enough that they are packed.
        (0..1000).for_each(|id| files.insert(id, all[id as usize % all.len()].clone()));
        assert!((0..1000).all(|id| files.get(id).as_ref() == Some(&all[id as usize % all.len()])));
    }

    #[test]
    fn the_last_that_is_said_of_an_entry_counts_and_ids_ascend() {
        let mut files = HeldFiles::default();
        for (id, bytes) in [(1, 10), (5, 50), (900, 9), (3, 30), (5, 51)] {
            files.insert(id, held(bytes));
        }
        let all: Vec<_> = files.iter().map(|(id, file)| (id, file.bytes)).collect();
        assert_eq!(all, [(1, 10), (3, 30), (5, 51), (900, 9)]);
        assert_eq!((files.get(5), files.get(2)), (Some(held(51)), None));
    }
}
