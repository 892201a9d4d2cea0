//! Lists as long as a million entries, held small: a list of files says nearly the same again and again.
//!
//! A [`Roll`] is appended to and read by place. Every 256 records are packed together (serde's data model in
//! [postcard](https://postcard.jamesmunns.com/wire-format) form, then zstd, RFC 8878); those that were looked at last are kept as
//! they are. A file's name, size and times take some 10 to 20 bytes that way, and some 300 as they are.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;
use zstd::bulk::{Compressor, Decompressor};

/// Records that are packed together: enough that they have much in common, few enough that reading one of them is cheap.
const BLOCK: usize = 256;

/// Blocks that are kept unpacked: as many as the lanes of one transfer are at, and a few that come late.
const UNPACKED: usize = 8;

/// Packing is to cost less than listing the files does.
const LEVEL: i32 = 1;

/// An append-only list. Its memory is that of what its records do not have in common, and of some thousand of them.
pub struct Roll<T> {
    packed: Vec<Box<[u8]>>,
    /// Those after the last full block.
    rest: Arc<Vec<T>>,
    /// Blocks by number, the one that was asked for last at the end.
    unpacked: Mutex<VecDeque<(usize, Arc<Vec<T>>)>>,
}

/// A record of a [`Roll`], for reading.
pub struct Kept<T> {
    block: Arc<Vec<T>>,
    at: usize,
}

impl<T> fmt::Debug for Roll<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Roll of {}", self.len())
    }
}

impl<T> Default for Roll<T> {
    fn default() -> Self {
        Roll { packed: Vec::new(), rest: Arc::default(), unpacked: Mutex::default() }
    }
}

impl<T> Roll<T> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.packed.len() * BLOCK + self.rest.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: Serialize + DeserializeOwned + Clone> Roll<T> {
    /// Adds a record; its place is the number of those before it.
    ///
    /// # Panics
    /// If the record can't be serialized, which is a fault of its type.
    pub fn push(&mut self, record: T) {
        let rest = Arc::make_mut(&mut self.rest);
        rest.push(record);
        if rest.len() == BLOCK {
            self.packed.push(pack(rest));
            rest.clear();
        }
    }

    /// The record at this place.
    pub fn get(&self, place: usize) -> Option<Kept<T>> {
        let (number, at) = (place / BLOCK, place % BLOCK);
        let block = if number < self.packed.len() { self.block(number) } else { Arc::clone(&self.rest) };
        (number <= self.packed.len() && at < block.len()).then_some(Kept { block, at })
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = Kept<T>> {
        let blocks = self.packed.iter().map(|packed| Arc::new(unpack(packed)));
        blocks
            .chain([Arc::clone(&self.rest)])
            .flat_map(|block| (0..block.len()).map(move |at| Kept { block: Arc::clone(&block), at }))
    }

    fn block(&self, number: usize) -> Arc<Vec<T>> {
        let lock = || self.unpacked.lock().unwrap_or_else(PoisonError::into_inner);
        let mut unpacked = lock();
        if let Some(found) = unpacked.iter().rposition(|(known, _)| *known == number) {
            let hit = unpacked.remove(found).expect("it was just found");
            let block = Arc::clone(&hit.1);
            unpacked.push_back(hit);
            return block;
        }
        // Others need not wait; two that want the same one unpack it twice.
        drop(unpacked);
        let block = Arc::new(unpack(&self.packed[number]));
        let mut unpacked = lock();
        if unpacked.len() == UNPACKED {
            unpacked.pop_front();
        }
        unpacked.push_back((number, Arc::clone(&block)));
        block
    }
}

impl<T: Serialize + DeserializeOwned + Clone> Extend<T> for Roll<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, records: I) {
        records.into_iter().for_each(|record| self.push(record));
    }
}

impl<T: Serialize + DeserializeOwned + Clone> FromIterator<T> for Roll<T> {
    fn from_iter<I: IntoIterator<Item = T>>(records: I) -> Self {
        let mut roll = Roll::default();
        roll.extend(records);
        roll
    }
}

impl<T> Deref for Kept<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.block[self.at]
    }
}

impl<T> Clone for Kept<T> {
    fn clone(&self) -> Self {
        Kept { block: Arc::clone(&self.block), at: self.at }
    }
}

thread_local! {
    // Made once for each thread: to make one takes longer than what it does to a block.
    static COMPRESSOR: RefCell<Compressor<'static>> = RefCell::new(Compressor::new(LEVEL).expect("there is memory for its tables"));
    static DECOMPRESSOR: RefCell<Decompressor<'static>> = RefCell::new(Decompressor::new().expect("there is memory for its tables"));
}

/// The length, then zstd of the records.
fn pack<T: Serialize>(records: &Vec<T>) -> Box<[u8]> {
    let plain = postcard::to_allocvec(records).expect("a buffer takes all that can be serialized");
    let mut packed =
        u32::try_from(plain.len()).expect("the caps of the wire are far below that").to_le_bytes().to_vec();
    let squeezed = COMPRESSOR.with_borrow_mut(|compressor| compressor.compress(&plain));
    packed.extend(squeezed.expect("its buffer is as large as it gets"));
    packed.into_boxed_slice()
}

fn unpack<T: DeserializeOwned>(packed: &[u8]) -> Vec<T> {
    let (len, packed) = packed.split_first_chunk().expect("the length comes first");
    let len = u32::from_le_bytes(*len) as usize;
    let plain = DECOMPRESSOR.with_borrow_mut(|decompressor| decompressor.decompress(packed, len));
    postcard::from_bytes(&plain.expect("it was compressed here")).expect("it was serialized here")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(place: usize) -> String {
        format!("folder {}/photo {place}.jpg", place / 100)
    }

    #[test]
    fn every_record_is_at_its_place_whatever_the_number_of_blocks() {
        for count in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 20 * BLOCK + 7] {
            let roll: Roll<String> = (0..count).map(name).collect();
            assert_eq!(roll.len(), count);
            assert!(roll.iter().map(|kept| kept.clone().to_string()).eq((0..count).map(name)), "{count} in order");
            // there and back by leaps, so that blocks come and go
            for place in (0..count).step_by(97).chain((0..count).rev().step_by(61)) {
                assert_eq!(*roll.get(place).unwrap(), name(place));
            }
            for beyond in [count, count + 1, count + BLOCK, count + 5 * BLOCK] {
                assert!(roll.get(beyond).is_none(), "{beyond} of {count}");
            }
        }
    }

    #[test]
    fn a_record_stays_as_it_is_while_others_are_added() {
        let mut roll = Roll::default();
        roll.push(name(0));
        let first = roll.get(0).unwrap();
        roll.extend((1..2 * BLOCK).map(name));
        assert_eq!(*first, name(0));
        assert_eq!(*roll.get(0).unwrap(), name(0));
    }

    #[test]
    fn a_hundred_thousand_names_take_a_few_bytes_each() {
        let roll: Roll<String> = (0..100_000).map(name).collect();
        let bytes: usize = roll.packed.iter().map(|packed| packed.len()).sum();
        assert!(bytes < 500_000, "{bytes} bytes");
        assert!(
            roll.iter().count() == 100_000 && roll.unpacked.lock().unwrap().is_empty(),
            "reading all keeps nothing"
        );
        (0..100_000).for_each(|place| drop(roll.get(place)));
        assert_eq!(roll.unpacked.lock().unwrap().len(), UNPACKED);
    }
}
