//! Lists as long as a million entries, held small: a list of files says nearly the same again and again.
//!
//! A [`Roll`] is appended to and read by place. Every 256 records are packed together: each is said as a [`Record::Step`] from
//! the one before (serde's data model in [postcard](https://postcard.jamesmunns.com/wire-format) form), and all of them go through
//! zstd (RFC 8878). Those that were looked at last are kept as they are. A file's name, size and times take some 4 to 13
//! bytes that way, and some 300 as they are.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::iter;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zstd::bulk::{Compressor, Decompressor};

/// Records that are packed together: enough that they have much in common, few enough that reading one of them is cheap.
const BLOCK: usize = 256;

/// Blocks whose bytes are kept together.
const RUN: usize = 64;

/// Blocks that are kept unpacked: as many as the lanes of one transfer are at, and a few that come late.
const UNPACKED: usize = 8;

/// Packing is to cost less than listing the files does.
const LEVEL: i32 = 1;

/// What a [`Roll`] holds. Neighbours in a list have much in common, which need not be said of each: the file lists of rsync and
/// the database of `locate` are made of such steps, too.
pub trait Record: Clone {
    /// What makes a record of the one before it.
    type Step: Serialize + DeserializeOwned;

    /// The step from the record before, if there is one.
    fn step(&self, before: Option<&Self>) -> Self::Step;

    /// The record that is this step after the one before.
    fn after(before: Option<&Self>, step: Self::Step) -> Self;
}

/// A text as the step from another one: front coding.
#[derive(Debug, Serialize, Deserialize)]
pub struct Tail {
    /// Bytes that both begin with.
    shared: usize,
    rest: String,
}

impl Tail {
    /// The step from `before` to `text`.
    pub fn of(text: &str, before: &str) -> Tail {
        let same = text.bytes().zip(before.bytes()).take_while(|(one, other)| one == other).count();
        // At most three bytes back.
        let shared = (0..=same).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
        Tail { shared, rest: text[shared..].to_owned() }
    }

    /// The text that is this step after `before`.
    pub fn after(&self, before: &str) -> String {
        [&before[..self.shared], &self.rest].concat()
    }
}

/// A moment, or how far two are apart: seconds and nanoseconds.
pub type Moment = (i64, i64);

/// The step from one moment to another; whatever they are, [`later`] goes it.
pub fn apart(moment: Moment, before: Moment) -> Moment {
    (moment.0.wrapping_sub(before.0), moment.1.wrapping_sub(before.1))
}

/// The moment that is this step after `before`.
pub fn later(before: Moment, step: Moment) -> Moment {
    (before.0.wrapping_add(step.0), before.1.wrapping_add(step.1))
}

/// An append-only list. Its memory is that of what its records do not have in common, and of some thousand of them.
pub struct Roll<T> {
    /// The full blocks, [`RUN`] of them behind each other: an allocation for each would scatter them among what comes and goes
    /// meanwhile, and one for all of them be moved again and again.
    packed: Vec<Vec<u8>>,
    /// Where each of them ends in its run.
    ends: Vec<usize>,
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

impl<T: Record + PartialEq> PartialEq for Roll<T> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().zip(other.iter()).all(|(one, other)| *one == *other)
    }
}

impl<T> Default for Roll<T> {
    fn default() -> Self {
        Roll { packed: Vec::new(), ends: Vec::new(), rest: Arc::default(), unpacked: Mutex::default() }
    }
}

impl<T> Roll<T> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len() * BLOCK + self.rest.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: Record> Roll<T> {
    /// Adds a record; its place is the number of those before it.
    ///
    /// # Panics
    /// If the record can't be serialized, which is a fault of its type.
    pub fn push(&mut self, record: T) {
        let rest = Arc::make_mut(&mut self.rest);
        rest.push(record);
        if rest.len() == BLOCK {
            if self.ends.len().is_multiple_of(RUN) {
                self.packed.push(Vec::new());
            }
            let run = self.packed.last_mut().expect("the first block begins one");
            pack(rest, run);
            self.ends.push(run.len());
            if self.ends.len().is_multiple_of(RUN) {
                run.shrink_to_fit();
            }
            rest.clear();
        }
    }

    /// The record at this place.
    pub fn get(&self, place: usize) -> Option<Kept<T>> {
        let (number, at) = (place / BLOCK, place % BLOCK);
        let block = if number < self.ends.len() { self.block(number) } else { Arc::clone(&self.rest) };
        (number <= self.ends.len() && at < block.len()).then_some(Kept { block, at })
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = Kept<T>> {
        let blocks = (0..self.ends.len()).map(|number| Arc::new(unpack(self.packed(number))));
        blocks
            .chain([Arc::clone(&self.rest)])
            .flat_map(|block| (0..block.len()).map(move |at| Kept { block: Arc::clone(&block), at }))
    }

    fn packed(&self, number: usize) -> &[u8] {
        let start = if number.is_multiple_of(RUN) { 0 } else { self.ends[number - 1] };
        &self.packed[number / RUN][start..self.ends[number]]
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
        let block = Arc::new(unpack(self.packed(number)));
        let mut unpacked = lock();
        if unpacked.len() == UNPACKED {
            unpacked.pop_front();
        }
        unpacked.push_back((number, Arc::clone(&block)));
        block
    }
}

impl<T: Record> Extend<T> for Roll<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, records: I) {
        records.into_iter().for_each(|record| self.push(record));
    }
}

impl<T: Record> FromIterator<T> for Roll<T> {
    fn from_iter<I: IntoIterator<Item = T>>(records: I) -> Self {
        let mut roll = Roll::default();
        roll.extend(records);
        roll
    }
}

/// Records of some of many ids, packed as in a [`Roll`]. Cheap where ids ascend with places.
pub struct ById<T> {
    records: Roll<T>,
    /// Ids, ascending, and the place of the record of each.
    places: Vec<(u32, u32)>,
}

impl<T> Default for ById<T> {
    fn default() -> Self {
        ById::from(Roll::default())
    }
}

/// None of the records has an id yet.
impl<T> From<Roll<T>> for ById<T> {
    fn from(records: Roll<T>) -> Self {
        ById { records, places: Vec::new() }
    }
}

impl<T> ById<T> {
    /// The ids that have a record, ascending.
    pub fn ids(&self) -> impl Iterator<Item = u32> {
        self.places.iter().map(|(id, _)| *id)
    }

    /// Gives an id to the record at a place; one that had it has none any more.
    pub fn assign(&mut self, id: u32, place: u32) {
        match self.places.binary_search_by_key(&id, |(id, _)| *id) {
            Ok(at) => self.places[at].1 = place,
            Err(at) => self.places.insert(at, (id, place)),
        }
    }
}

impl<T: Record> ById<T> {
    /// Adds the record of an id, in place of one that it has already.
    pub fn insert(&mut self, id: u32, record: T) {
        let place = self.records.len() as u32;
        self.records.push(record);
        self.assign(id, place);
    }

    /// The record of an id.
    pub fn get(&self, id: u32) -> Option<Kept<T>> {
        let at = self.places.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        self.records.get(self.places[at].1 as usize)
    }

    /// All that have an id, by ascending ids.
    pub fn iter(&self) -> impl Iterator<Item = (u32, Kept<T>)> {
        self.places.iter().filter_map(|(id, place)| Some((*id, self.records.get(*place as usize)?)))
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

/// Appends the length, then zstd of the steps.
fn pack<T: Record>(records: &[T], packed: &mut Vec<u8>) {
    let before = iter::once(None).chain(records.iter().map(Some));
    let steps: Vec<T::Step> = records.iter().zip(before).map(|(record, before)| record.step(before)).collect();
    let plain = postcard::to_allocvec(&steps).expect("a buffer takes all that can be serialized");
    let len = u32::try_from(plain.len()).expect("the caps of the wire are far below that");
    let squeezed = COMPRESSOR.with_borrow_mut(|compressor| compressor.compress(&plain));
    packed.extend_from_slice(&len.to_le_bytes());
    packed.extend(squeezed.expect("its buffer is as large as it gets"));
}

fn unpack<T: Record>(packed: &[u8]) -> Vec<T> {
    let (len, packed) = packed.split_first_chunk().expect("the length comes first");
    let len = u32::from_le_bytes(*len) as usize;
    let plain = DECOMPRESSOR.with_borrow_mut(|decompressor| decompressor.decompress(packed, len));
    let steps: Vec<T::Step> =
        postcard::from_bytes(&plain.expect("it was compressed here")).expect("it was serialized here");
    let mut records = Vec::with_capacity(steps.len());
    for step in steps {
        let record = T::after(records.last(), step);
        records.push(record);
    }
    records
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl Record for String {
        type Step = Tail;

        fn step(&self, before: Option<&String>) -> Tail {
            Tail::of(self, before.map_or("", |before| before))
        }

        fn after(before: Option<&String>, step: Tail) -> String {
            step.after(before.map_or("", |before| before))
        }
    }

    proptest! {
        #[test]
        fn a_step_leads_from_any_text_to_any_other(before in "[aä€😀]{0,6}", text in "[aä€😀]{0,6}") {
            let step = Tail::of(&text, &before);
            prop_assert_eq!(step.after(&before), text.as_str());
            prop_assert!(step.rest.len() <= text.len());
        }

        #[test]
        fn a_step_leads_from_any_moment_to_any_other(before: (i64, i64), moment: (i64, i64)) {
            prop_assert_eq!(later(before, apart(moment, before)), moment);
        }
    }

    #[test]
    fn what_two_texts_begin_with_is_said_once() {
        assert_eq!(Tail::of("folder/two.txt", "folder/twelve.txt").rest, "o.txt");
        // The first two of the three bytes of both signs are the same.
        assert_eq!(Tail::of("a€", "a₭").rest, "€");
    }

    fn name(place: usize) -> String {
        format!("folder {}/photo {place}.jpg", place / 100)
    }

    #[test]
    fn every_record_is_at_its_place_whatever_the_number_of_blocks() {
        for count in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 20 * BLOCK + 7, RUN * BLOCK, RUN * BLOCK + 1, 130 * BLOCK] {
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
    fn the_last_record_of_an_id_counts_and_ids_ascend() {
        let mut some: ById<String> = ById::from((0..1000).map(name).collect::<Roll<_>>());
        [(7, 3), (5, 999), (900, 0)].into_iter().for_each(|(id, place)| some.assign(id, place));
        some.insert(6, "new".to_owned());
        some.insert(5, "newer".to_owned());
        let all: Vec<_> = some.iter().map(|(id, record)| (id, record.clone().to_string())).collect();
        assert_eq!(all, [(5, "newer".to_owned()), (6, "new".to_owned()), (7, name(3)), (900, name(0))]);
        assert!(some.ids().eq([5, 6, 7, 900]));
        assert_eq!(some.get(900).as_deref(), Some(&name(0)));
        assert!(some.get(0).is_none(), "no record has that id");
    }

    #[test]
    fn a_hundred_thousand_names_take_a_few_bytes_each() {
        let roll: Roll<String> = (0..100_000).map(name).collect();
        let bytes: usize = roll.packed.iter().map(Vec::len).sum();
        assert!(bytes < 250_000, "{bytes} bytes");
        assert!(
            roll.iter().count() == 100_000 && roll.unpacked.lock().unwrap().is_empty(),
            "reading all keeps nothing"
        );
        (0..100_000).for_each(|place| drop(roll.get(place)));
        assert_eq!(roll.unpacked.lock().unwrap().len(), UNPACKED);
    }
}
