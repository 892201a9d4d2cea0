//! One source for several receivers: what one of them needs is read and hashed once and kept for the others, as long as
//! there is memory for what the slower ones still have to take. Beyond that they read it again, and hash it no more.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::tree::Hash;
use crate::store::StoreError;

/// Receivers of one source: as many as there are bits in what is noted for each chunk.
pub const TAKERS: usize = u64::BITS as usize;

/// Bytes, where it is not told how much memory is available.
const SPARE_UNTOLD: u64 = 256 * 1024 * 1024;

/// What is read of a source at a time: a chunk of a file, or a small file as a whole.
type Place = (u32, u64);

/// The content of a place.
pub(super) type Content = Arc<Vec<u8>>;

/// What the takers of one source share.
struct Shared {
    state: Mutex<State>,
    /// Something was read, or could not be.
    changed: Condvar,
    /// Bytes that are kept at most.
    most: u64,
}

struct State {
    /// The takers that are there, a bit each.
    there: u64,
    places: HashMap<Place, Kept>,
    /// By entry, the takers that do not take it from the others, a bit each.
    apart: HashMap<u32, u64>,
    /// Bytes that are kept.
    bytes: u64,
}

/// What is known of a place that somebody has yet to take.
enum Kept {
    /// Somebody reads it.
    BeingRead,
    Read {
        /// `None` where there was no memory for it.
        content: Option<Content>,
        hash: Hash,
        /// Who has taken it, a bit each.
        taken: u64,
    },
}

/// One receiver's part in a source; when it is dropped, nothing is kept for it any more.
pub struct Taker {
    shared: Arc<Shared>,
    bit: u64,
}

/// What to do to know a place.
pub(super) enum Task {
    /// Read it and hash it.
    ReadAndHash,
    /// Read it; this is its hash.
    Read(Hash),
}

impl Task {
    /// The hash, made by `hash` if it is not known.
    pub(super) fn hash_of(self, hash: impl FnOnce() -> Hash) -> Hash {
        match self {
            Task::ReadAndHash => hash(),
            Task::Read(hash) => hash,
        }
    }
}

impl Taker {
    /// For `count` receivers of one source, at most [`TAKERS`].
    pub fn several(count: usize) -> Vec<Taker> {
        Taker::within(count, memory_to_spare())
    }

    /// The same, with `most` bytes kept for the slower ones.
    fn within(count: usize, most: u64) -> Vec<Taker> {
        assert!(count <= TAKERS, "each receiver has a bit of its own");
        let there = if count == TAKERS { u64::MAX } else { (1 << count) - 1 };
        let state = State { there, places: HashMap::new(), apart: HashMap::new(), bytes: 0 };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new(), most });
        (0..count).map(|n| Taker { shared: Arc::clone(&shared), bit: 1 << n }).collect()
    }

    /// Keeps nothing of these entries for this one: it does not want them, or goes its own way with them.
    pub(super) fn leave_out(&self, entries: impl IntoIterator<Item = u32>) {
        let mut state = self.shared.lock();
        for entry in entries {
            *state.apart.entry(entry).or_default() |= self.bit;
        }
        state.sweep();
    }

    /// Keeps nothing for this one any more; it reads for itself.
    pub(super) fn leave(&self) {
        let mut state = self.shared.lock();
        state.there &= !self.bit;
        state.sweep();
    }

    /// Content and hash of a place, read by `read` if nobody has.
    pub(super) fn take(
        &self,
        place: Place,
        mut read: impl FnMut(Task) -> Result<(Content, Hash), StoreError>,
    ) -> Result<(Content, Hash), StoreError> {
        let mut state = self.shared.lock();
        if state.waiting(place.0) & self.bit == 0 {
            drop(state);
            return read(Task::ReadAndHash);
        }
        loop {
            match state.places.get(&place) {
                Some(Kept::BeingRead) => {
                    state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                Some(Kept::Read { content: Some(content), hash, .. }) => {
                    let found = (Arc::clone(content), *hash);
                    state.note_taken(place, self.bit);
                    return Ok(found);
                }
                Some(Kept::Read { content: None, hash, .. }) => {
                    let task = Task::Read(*hash);
                    state.note_taken(place, self.bit);
                    drop(state);
                    return read(task);
                }
                None => break,
            }
        }
        if state.waiting(place.0) == self.bit {
            drop(state);
            return read(Task::ReadAndHash);
        }
        state.places.insert(place, Kept::BeingRead);
        drop(state);
        let reading = Reading { shared: &self.shared, place };
        let (content, hash) = read(Task::ReadAndHash)?;
        reading.done(&content, hash, self.bit);
        Ok((content, hash))
    }
}

impl Drop for Taker {
    fn drop(&mut self) {
        self.leave();
    }
}

/// What may be kept for receivers that are slower than others: a quarter of the memory that no program uses. The system
/// keeps what was read of a file as well, so that running out of it costs little.
fn memory_to_spare() -> u64 {
    #[cfg(target_os = "linux")]
    {
        let known = std::fs::read_to_string("/proc/meminfo").ok();
        let line = known.as_deref().and_then(|known| known.lines().find_map(|line| line.strip_prefix("MemAvailable:")));
        let kib: Option<u64> = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
        if let Some(kib) = kib {
            return kib * 1024 / 4;
        }
    }
    SPARE_UNTOLD
}

/// A place that is being read; those who wait for it read it themselves if that fails.
struct Reading<'a> {
    shared: &'a Shared,
    place: Place,
}

impl Reading<'_> {
    fn done(self, content: &Content, hash: Hash, by: u64) {
        let mut state = self.shared.lock();
        let len = content.len() as u64;
        let content = (state.bytes + len <= self.shared.most).then(|| Arc::clone(content));
        state.bytes += content.as_ref().map_or(0, |_| len);
        state.places.insert(self.place, Kept::Read { content, hash, taken: 0 });
        state.note_taken(self.place, by);
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if let Some(Kept::BeingRead) = state.places.get(&self.place) {
            state.places.remove(&self.place);
        }
        drop(state);
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Who takes this entry from the others, a bit each.
    fn waiting(&self, entry: u32) -> u64 {
        self.there & !self.apart.get(&entry).copied().unwrap_or_default()
    }

    fn note_taken(&mut self, place: Place, by: u64) {
        let waiting = self.waiting(place.0);
        let Some(kept) = self.places.get_mut(&place) else { return };
        if let Kept::Read { taken, .. } = kept {
            *taken |= by;
        }
        if !kept.is_wanted_by(waiting) {
            self.bytes -= kept.bytes();
            self.places.remove(&place);
        }
    }

    /// Lets go of what nobody waits for any more.
    fn sweep(&mut self) {
        let places = std::mem::take(&mut self.places);
        let (wanted, rest) = places.into_iter().partition(|(place, kept)| kept.is_wanted_by(self.waiting(place.0)));
        self.places = wanted;
        let rest: HashMap<Place, Kept> = rest;
        self.bytes -= rest.values().map(Kept::bytes).sum::<u64>();
    }
}

impl Kept {
    fn is_wanted_by(&self, waiting: u64) -> bool {
        match self {
            Kept::BeingRead => true,
            Kept::Read { taken, .. } => waiting & !taken != 0,
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Kept::Read { content: Some(content), .. } => content.len() as u64,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    fn content(place: Place) -> (Content, Hash) {
        let bytes = [place.0 as u8, place.1 as u8, 7];
        (Arc::new(bytes.to_vec()), *blake3::hash(&bytes).as_bytes())
    }

    #[test]
    fn each_place_is_read_once_for_takers_of_any_pace() {
        let takers = Taker::within(3, u64::MAX);
        let reads = AtomicUsize::new(0);
        thread::scope(|scope| {
            for taker in takers {
                let reads = &reads;
                scope.spawn(move || {
                    for chunk in 0..500 {
                        let place = (1, chunk);
                        let found = taker.take(place, |_| {
                            reads.fetch_add(1, Ordering::Relaxed);
                            Ok(content(place))
                        });
                        assert_eq!(found.unwrap(), content(place));
                    }
                });
            }
        });
        assert_eq!(reads.into_inner(), 500);
    }

    #[test]
    fn nothing_is_kept_that_all_have_taken_or_nobody_waits_for() {
        let mut takers = Taker::within(2, u64::MAX);
        let shared = Arc::clone(&takers[0].shared);
        for chunk in 0..3 {
            takers[0].take((0, chunk), |_| Ok(content((0, chunk)))).unwrap();
        }
        assert_eq!(shared.lock().bytes, 9);
        takers[1].take((0, 0), |_| panic!("it is there")).unwrap();
        assert_eq!(shared.lock().bytes, 6);
        drop(takers.pop());
        assert_eq!(shared.lock().bytes, 0);
        assert!(shared.lock().places.is_empty());
    }

    #[test]
    fn beyond_its_memory_it_is_read_again_and_not_hashed() {
        let takers = Taker::within(2, 4);
        for chunk in 0..3 {
            takers[0].take((0, chunk), |_| Ok(content((0, chunk)))).unwrap();
        }
        takers[1].take((0, 0), |_| panic!("it is there")).unwrap();
        let mut again = 0;
        for chunk in 1..3 {
            takers[1]
                .take((0, chunk), |task| {
                    assert!(matches!(task, Task::Read(hash) if hash == content((0, chunk)).1));
                    again += 1;
                    Ok(content((0, chunk)))
                })
                .unwrap();
        }
        assert_eq!(again, 2);
        assert_eq!(takers[0].shared.lock().bytes, 0);
    }

    #[test]
    fn what_could_not_be_read_is_tried_by_the_next() {
        let takers = Taker::within(2, u64::MAX);
        let gone = || StoreError::SourceChanged { subject: "x".into() };
        assert!(takers[0].take((0, 0), |_| Err(gone())).is_err());
        assert!(takers[1].take((0, 0), |_| Ok(content((0, 0)))).is_ok());
    }

    #[test]
    fn who_leaves_an_entry_out_neither_takes_it_nor_is_waited_for_with_it() {
        let takers = Taker::within(2, u64::MAX);
        takers[1].leave_out([4]);
        let shared = Arc::clone(&takers[0].shared);
        takers[0].take((4, 0), |_| Ok(content((4, 0)))).unwrap();
        assert_eq!(shared.lock().bytes, 0, "nobody else takes it");
        takers[1].take((4, 0), |_| Ok(content((4, 0)))).unwrap();
        assert_eq!(shared.lock().bytes, 0);
    }
}
