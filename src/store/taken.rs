use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::io;

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
