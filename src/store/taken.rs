use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::{Arc, Mutex};

use cap_std::fs::Dir;

use crate::names::FileName;

/// Numbered names that are tried for one file before giving up: more than any person has, and few enough to end fast.
const TRIES: u32 = 10_000;

/// The names that are taken in one directory, up to case and Unicode form: listed once, then kept in step.
///
/// Holds keyed 64-bit hashes in place of names, since directories of a million entries exist; two names of one hash
/// cost a needless number in a file name, once in 10^7 directories of a million.
#[derive(Default)]
pub(super) struct Taken {
    hasher: RandomState,
    keys: HashSet<u64>,
    /// From which number on a name that collided before may be free.
    next: HashMap<u64, u32>,
}

impl Taken {
    /// The names that are in `dir` now.
    pub(super) fn list(dir: &Dir) -> io::Result<Taken> {
        let mut taken = Taken::default();
        for entry in dir.entries()? {
            // tidied like an offered name, so that the same text has the same key; a name that this changes can't be
            // offered, and equals another only by a needless number
            let name = FileName::from_stranger(&entry?.file_name().to_string_lossy());
            let key = taken.key(&name);
            taken.keys.insert(key);
        }
        Ok(taken)
    }

    /// Takes the first free name of `wanted`, `wanted (1)`, …; `None` when thousands are taken.
    pub(super) fn claim(&mut self, wanted: &FileName) -> Option<FileName> {
        let wanted_key = self.key(wanted);
        if self.keys.insert(wanted_key) {
            return Some(wanted.clone());
        }
        let first = self.next.get(&wanted_key).copied().unwrap_or(1);
        for number in first..first.saturating_add(TRIES) {
            let name = wanted.with_number(number);
            let key = self.key(&name);
            if self.keys.insert(key) {
                self.next.insert(wanted_key, number.saturating_add(1));
                return Some(name);
            }
        }
        None
    }

    /// Gives a claimed name back that was not used after all.
    pub(super) fn release(&mut self, name: &FileName) {
        let key = self.key(name);
        self.keys.remove(&key);
    }

    /// Takes exactly this name, taken or not.
    pub(super) fn insert(&mut self, name: &FileName) {
        let key = self.key(name);
        self.keys.insert(key);
    }

    fn key(&self, name: &FileName) -> u64 {
        self.hasher.hash_one(name.collision_key())
    }
}

/// How many folders have their names at hand. Files arrive folder by folder, so few are in use at a time.
const RECENT: usize = 16;

/// The names taken in the folders of one transfer. A million of them are not kept: those of folders that were used long ago
/// are dropped, and listed again if one is come back to. Then they stay, or else files that go there and back would cost a
/// list each.
#[derive(Default)]
pub(super) struct Lists {
    /// The folders used last, latest at the end.
    recent: Vec<(usize, Arc<Mutex<Taken>>)>,
    /// Those whose names were dropped.
    left: HashSet<usize>,
    returned: HashMap<usize, Arc<Mutex<Taken>>>,
}

impl Lists {
    /// The names in a folder, which `list` reads if they are not at hand.
    pub(super) fn of(
        &mut self,
        folder: usize,
        list: impl FnOnce() -> io::Result<Arc<Mutex<Taken>>>,
    ) -> io::Result<Arc<Mutex<Taken>>> {
        if let Some(taken) = self.returned.get(&folder) {
            return Ok(Arc::clone(taken));
        }
        if let Some(at) = self.recent.iter().position(|(recent, _)| *recent == folder) {
            self.recent[at..].rotate_left(1);
            return Ok(Arc::clone(&self.recent[self.recent.len() - 1].1));
        }
        let taken = list()?;
        if self.left.remove(&folder) {
            self.returned.insert(folder, Arc::clone(&taken));
            return Ok(taken);
        }
        if self.recent.len() == RECENT {
            self.left.insert(self.recent.remove(0).0);
        }
        self.recent.push((folder, Arc::clone(&taken)));
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_listed_once_for_folders_in_turn_and_twice_for_those_that_are_come_back_to() {
        let (mut lists, mut listed) = (Lists::default(), Vec::new());
        let mut look = |folder| {
            lists.of(folder, || {
                listed.push(folder);
                Ok(Arc::default())
            })
        };
        for folder in 0..100 {
            for _ in 0..3 {
                look(folder).unwrap();
            }
        }
        for _ in 0..3 {
            (0..100).for_each(|folder| drop(look(folder).unwrap()));
        }
        assert_eq!(listed.len(), 100 + 100 - RECENT, "{listed:?}");
        assert!(lists.recent.len() == RECENT && lists.left.is_empty());
    }

    #[test]
    fn a_folder_that_is_used_again_and_again_stays_at_hand() {
        let mut lists = Lists::default();
        let first = lists.of(0, || Ok(Arc::default())).unwrap();
        for folder in 1..100 {
            lists.of(folder, || Ok(Arc::default())).unwrap();
            assert!(Arc::ptr_eq(&first, &lists.of(0, || unreachable!("listed before")).unwrap()));
        }
    }
}
