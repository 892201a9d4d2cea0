//! What was accepted and is on its way to the disk, shared by the lanes of one transfer.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use fixedbitset::FixedBitSet;
use tokio::sync::mpsc::Sender;

use super::committer::{BATCH, Committer, Hashed};
use super::held::{Earlier, HeldFile, HeldFiles};
use super::lane::LaneError;
use super::lock;
use super::outcome::{NotStoredHere, Outcome};
use super::outlet::Outlet;
use super::recall::Recalled;
use super::tree::{ChunkHasher, Forest, Hash};
use crate::store::{Intake, PartialFile, StoreError};
use crate::wire::{CHUNK_LEN, Chunk, FileEnd};

/// One transfer's accepted files on their way to the disk; shared by its lanes.
///
/// Each accepted file gets exactly one [`Outcome`], unless its lanes end before it is whole.
pub struct Incoming {
    pub(super) intake: Arc<Intake>,
    pub(super) files: Mutex<Slots>,
    committer: Committer,
    outcomes: Sender<Outcome>,
    /// Most bytes that are taken in all, for offers that can't say how many they hold.
    most: u64,
    bytes: AtomicU64,
    /// A lane was lost: what the sender does not know to be here may come again.
    forbearing: AtomicBool,
    pub(super) stopped: AtomicBool,
}

/// The accepted entries without an outcome.
pub(super) struct Slots {
    /// Files of which nothing was seen yet: they may be a million.
    awaited: FixedBitSet,
    /// Of those, the ones of which a whole file is there.
    held: HeldFiles,
    seen: HashMap<u32, Slot>,
}

impl Slots {
    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut Slot> {
        if let Some(slot) = self.take_awaited(id) {
            self.seen.insert(id, slot);
        }
        self.seen.get_mut(&id)
    }

    pub(super) fn insert(&mut self, id: u32, slot: Slot) {
        self.take_awaited(id);
        self.seen.insert(id, slot);
    }

    pub(super) fn remove(&mut self, id: u32) -> Option<Slot> {
        self.take_awaited(id).or_else(|| self.seen.remove(&id))
    }

    fn take_awaited(&mut self, id: u32) -> Option<Slot> {
        let is_awaited = self.awaited.contains(id as usize);
        is_awaited.then(|| {
            self.awaited.remove(id as usize);
            self.held.get(id).map_or(Slot::Awaited, Slot::Held)
        })
    }
}

pub(super) enum Slot {
    /// Accepted, of the size that the intake knows.
    Awaited,
    /// A file is there already: only one that differs is to be sent.
    Held(HeldFile),
    /// A text of this many bytes, which comes whole and goes to no disk.
    Text(u64),
    UnderWay(Arc<Receiving>),
    /// It failed here while the sender may still be sending it.
    Drained,
}

/// A large file under way.
pub(super) struct Receiving {
    pub(super) id: u32,
    pub(super) size: Option<u64>,
    /// Lanes that write hold it shared; `None` once it was handed on or given up, which waits for them.
    file: RwLock<Option<PartialFile>>,
    pub(super) parts: Mutex<Parts>,
}

#[derive(Default)]
pub(super) struct Parts {
    pub(super) forest: Forest,
    /// Chunks that a lane is receiving.
    pub(super) claimed: HashSet<u64>,
    /// What the sender said at the end.
    pub(super) end: Option<FileEnd>,
}

impl Incoming {
    /// For the files that wait in `intake`, of which at most `most` bytes are to be stored by it; or else written to
    /// `outlet`, if there is one.
    ///
    /// # Errors
    /// The system has no thread left for the committer.
    pub fn new(
        intake: Arc<Intake>,
        most: Option<u64>,
        outlet: Option<Arc<Outlet>>,
        outcomes: Sender<Outcome>,
    ) -> io::Result<Self> {
        let files = Slots { awaited: intake.waiting(), held: HeldFiles::default(), seen: HashMap::new() };
        let committer = Committer::start(Arc::clone(&intake), outlet, outcomes.clone())?;
        Ok(Incoming {
            intake,
            files: Mutex::new(files),
            committer,
            outcomes,
            most: most.unwrap_or(u64::MAX),
            bytes: AtomicU64::new(0),
            forbearing: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
        })
    }

    /// Notes that these files are there, before any lane runs: one that the sender has as well ends with
    /// [`Outcome::Same`], or with [`Outcome::Before`] if an earlier attempt has put it there.
    pub fn hold(&self, held: HeldFiles) {
        lock(&self.files).held = held;
    }

    /// Goes on with a part of a file that was found to be there, before any lane runs.
    pub fn hold_part(&self, recalled: Recalled) {
        let Recalled { file, size, forest, bytes, .. } = recalled;
        let id = file.id();
        let parts = Mutex::new(Parts { forest, ..Parts::default() });
        let receiving = Receiving { id, size: Some(size), file: RwLock::new(Some(file)), parts };
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        lock(&self.files).insert(id, Slot::UnderWay(Arc::new(receiving)));
    }

    /// Notes that a text of `size` bytes was accepted, before any lane runs. It is held in memory as a whole, and ends
    /// with [`Outcome::Text`].
    pub fn expect_text(&self, id: u32, size: u64) {
        lock(&self.files).insert(id, Slot::Text(size));
    }

    /// Bytes of file content received so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether whole files are on their way to the disk: then it is not the sender who is slow.
    pub fn is_committing(&self) -> bool {
        self.committer.is_busy()
    }

    /// Makes every lane end at its next step.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// From here on, what is there already may come again: it is thrown away.
    pub fn forbear(&self) {
        self.forbearing.store(true, Ordering::Release);
    }

    pub(super) fn is_forbearing(&self) -> bool {
        self.forbearing.load(Ordering::Acquire)
    }

    pub(super) fn tell(&self, outcome: NotStoredHere) {
        self.tell_outcome(Outcome::NotStored(outcome));
    }

    /// Waits while the session is behind.
    pub(super) fn tell_outcome(&self, outcome: Outcome) {
        // It may have gone; then nobody needs to know.
        let _ = self.outcomes.blocking_send(outcome);
    }

    /// The file that a chunk belongs to; `None` where its bytes are to be thrown away.
    pub(super) fn receiving(&self, id: u32) -> Result<Option<Arc<Receiving>>, LaneError> {
        let mut files = lock(&self.files);
        let slot = match files.get_mut(id) {
            Some(slot) => slot,
            None if self.is_forbearing() => return Ok(None),
            None => return Err(LaneError::NotAsked(id)),
        };
        let size = match slot {
            Slot::UnderWay(receiving) => return Ok(Some(Arc::clone(receiving))),
            Slot::Drained => return Ok(None),
            Slot::Awaited => self.intake.declared_bytes(id),
            Slot::Held(held) => Some(held.bytes),
            Slot::Text(_) => return Err(LaneError::NotAsked(id)),
        };
        match self.intake.open_lasting(id) {
            Ok(file) => {
                let file = RwLock::new(Some(file));
                let receiving = Arc::new(Receiving { id, size, file, parts: Mutex::default() });
                *slot = Slot::UnderWay(Arc::clone(&receiving));
                Ok(Some(receiving))
            }
            Err(error) => {
                *slot = Slot::Drained;
                self.fail(NotStoredHere::by_disk(id, &error));
                Ok(None)
            }
        }
    }

    /// Takes an entry that turns out to be there already.
    pub(super) fn take_same(&self, end: &FileEnd) -> Option<Outcome> {
        let FileEnd { id, size, root: hash } = *end;
        let mut files = lock(&self.files);
        let Some(Slot::Held(held)) = files.get_mut(id) else { return None };
        if (held.bytes, held.hash) != (size, hash) {
            return None;
        }
        let outcome = match held.earlier.take() {
            None => Outcome::Same { id, hash },
            Some(Earlier { name, told }) => {
                Outcome::Before { id, placed: self.intake.placed_as(name, size), hash, told }
            }
        };
        files.remove(id);
        self.bytes.fetch_add(size, Ordering::Relaxed);
        Some(outcome)
    }

    /// Takes an entry of `len` bytes that arrives whole in one message.
    pub(super) fn take_awaited(&self, id: u32, len: u64) -> Result<Slot, LaneError> {
        let mut files = lock(&self.files);
        let due = match files.get_mut(id) {
            Some(Slot::Awaited) => self.intake.declared_bytes(id).is_none_or(|size| size == len),
            Some(Slot::Held(HeldFile { bytes, .. }) | Slot::Text(bytes)) => *bytes == len,
            Some(Slot::UnderWay(_) | Slot::Drained) | None => false,
        };
        due.then(|| files.remove(id)).flatten().ok_or(LaneError::NotAsked(id))
    }

    /// Puts an entry back whose message did not arrive whole: it may come on another lane.
    pub(super) fn put_back(&self, id: u32, slot: Slot) {
        lock(&self.files).insert(id, slot);
    }

    /// Tells that an entry won't be stored, whose partial file is gone: its space is free for the others.
    pub(super) fn fail(&self, outcome: NotStoredHere) {
        self.intake.discard(outcome.id);
        self.tell(outcome);
    }

    /// Gives a file up. What still comes of it is thrown away.
    pub(super) fn give_up(&self, receiving: &Receiving, outcome: NotStoredHere) {
        if let Some(file) = receiving.take_file() {
            file.remove();
            lock(&self.files).insert(receiving.id, Slot::Drained);
            self.fail(outcome);
        }
    }

    /// Says that a chunk of a file has come.
    pub(super) fn look(&self, receiving: &Arc<Receiving>) {
        self.committer.look(receiving);
    }

    /// Takes a file that is verified. What is to be stored joins those in `gathered`, which its lane hands over.
    pub(super) fn complete(
        &self,
        file: PartialFile,
        bytes: u64,
        hash: Hash,
        gathered: &mut Vec<Hashed>,
    ) -> Result<(), LaneError> {
        if self.committer.has_outlet() {
            return self.committer.let_out(file, bytes, hash);
        }
        let id = file.id();
        match file.complete(bytes) {
            Ok(whole) => gathered.push((whole.hashed(hash), hash)),
            Err(error) => self.fail(NotStoredHere::by_disk(id, &error)),
        }
        if gathered.len() == BATCH { self.commit(gathered) } else { Ok(()) }
    }

    /// Hands over what a lane has gathered.
    pub(super) fn commit(&self, gathered: &mut Vec<Hashed>) -> Result<(), LaneError> {
        if gathered.is_empty() { Ok(()) } else { self.committer.commit(std::mem::take(gathered)) }
    }

    /// Forgets bytes that were counted, and will come again.
    pub(super) fn uncount(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Counts what arrived; `false` once it is more than is taken.
    pub(super) fn count(&self, bytes: usize) -> bool {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed).saturating_add(bytes as u64) <= self.most
    }
}

impl Receiving {
    /// Does something with the file, unless it was handed on or given up.
    pub(super) fn with_file<T>(&self, what: impl FnOnce(&PartialFile) -> T) -> Option<T> {
        self.file.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(what)
    }

    /// Writes a piece, unless the file is not wanted any more.
    pub(super) fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        self.with_file(|file| file.write_at(offset, bytes)).unwrap_or(Ok(()))
    }

    /// Makes a hole where `bytes` of zeros go, unless the file is not wanted any more.
    pub(super) fn clear_at(&self, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        self.with_file(|file| file.clear(offset, bytes.len())).unwrap_or(Ok(()))
    }

    /// Notes a chunk that is written and verified, for another attempt.
    pub(super) fn note_chunk(&self, chunk: u64, value: Hash) {
        self.with_file(|file| file.note_chunk(chunk, value));
    }

    /// Takes the file from the lanes once none is writing to it; only one of them gets it.
    pub(super) fn take_file(&self) -> Option<PartialFile> {
        self.file.write().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Whether a chunk's hash is the one that the sender says. A chunk that is the whole file has its ordinary hash;
    /// where the size is unknown, the first chunk may be that.
    pub(super) fn matches(&self, chunk: &Chunk, hasher: &ChunkHasher, theirs: Hash) -> bool {
        match self.size {
            Some(size) => hasher.finish(size <= CHUNK_LEN) == theirs,
            None => hasher.finish(false) == theirs || (chunk.offset == 0 && hasher.finish(true) == theirs),
        }
    }
}
