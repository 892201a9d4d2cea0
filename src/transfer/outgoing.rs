//! What was accepted and is still to be sent, shared by the lanes of one transfer.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use fixedbitset::FixedBitSet;

use super::brake::Brake;
use super::lock;
use super::piped::Part;
use super::receipts::Receipts;
use super::sources::{Source, Sources};
use super::squeeze::{Compress, Press};
use super::tree::{Forest, Hash};
use super::untaken::{Transit, Untaken};
use crate::roll::Kept;
use crate::store::{SourceEntry, SourceFile, StoreError};
use crate::wire::{CHUNK_LEN, FileEnd, PACK_FILES, PACK_LEN, Run, Verdict, Withdraw};

/// Files up to this many bytes travel in packs: below it the cost of a file is its frames and system calls, above it
/// its bytes.
const SMALL: u64 = 128 * 1024;

/// An accepted entry that could not be read as it was offered. The fault is on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFailed {
    /// Which entry.
    pub id: u32,
    /// What happened.
    pub reason: String,
}

/// How content is sent.
#[derive(Debug, Clone, Default)]
pub struct Manner {
    /// When it is compressed.
    pub compress: Compress,
    /// What keeps it below a rate, together with everything else that shares it.
    pub brake: Option<Arc<Brake>>,
}

/// Everything that was accepted and is not sent yet; shared by the lanes of one transfer.
pub struct Outgoing {
    pub(super) sources: Sources,
    queue: Mutex<Queue>,
    /// What was on its way on lanes that were cut, and how much of it was counted, until the receiver has let go of them, too.
    lost: Mutex<HashMap<u16, (Vec<Work>, u64)>>,
    pub(super) transit: Transit,
    /// What was acknowledged in this run, and need not be read again in another session.
    pub(super) acknowledged: Arc<Receipts>,
    /// What was sent of entries that are not acknowledged yet: many where files are small, and in the order of their ids.
    hashes: Mutex<BTreeMap<u32, Hash>>,
    /// What the receiver turned out to have.
    same: Mutex<HashSet<u32>>,
    failed: Mutex<Vec<SourceFailed>>,
    pub(super) manner: Manner,
    pub(super) press: Press,
    bytes: AtomicU64,
    /// Lanes that send, and how many of them may.
    active: AtomicU16,
    most: AtomicU16,
    pub(super) stopped: AtomicBool,
}

struct Queue {
    /// What was lost with a lane.
    again: Vec<Work>,
    todo: Todo,
    current: Option<Current>,
}

/// What was not begun yet, in order: neighbours of one verdict together.
#[derive(Default)]
struct Todo(VecDeque<Run>);

impl Todo {
    fn push(&mut self, (id, verdict): (u32, Verdict)) {
        match self.0.back_mut() {
            Some(run) if verdict == Verdict::Take && run.verdict == verdict && run.first + run.count == id => {
                run.count += 1;
            }
            _ => self.0.push_back(Run { first: id, count: 1, verdict }),
        }
    }

    fn front(&self) -> Option<(u32, &Verdict)> {
        self.0.front().map(|run| (run.first, &run.verdict))
    }

    fn pop(&mut self) -> Option<(u32, Verdict)> {
        let run = self.0.front_mut()?;
        if run.count == 1 {
            return self.0.pop_front().map(|run| (run.first, run.verdict));
        }
        let id = run.first;
        run.first += 1;
        run.count -= 1;
        Some((id, run.verdict.clone()))
    }

    /// The entries that are sent, as a whole or in part.
    fn sent(&self) -> impl Iterator<Item = u32> {
        let sent = self.0.iter().filter(|run| matches!(run.verdict, Verdict::Take | Verdict::TakeRest(_)));
        sent.flat_map(|run| run.first..run.first + run.count)
    }
}

struct Current {
    file: Arc<Sending>,
    next_chunk: u64,
}

/// A large file under way.
pub(super) struct Sending {
    pub(super) id: u32,
    pub(super) size: u64,
    pub(super) source: SourceFile,
    /// Chunks that the receiver has: hashed for the root, not sent.
    held: Vec<(u32, u32)>,
    pub(super) forest: Mutex<Forest>,
    pub(super) chunks_left: AtomicU64,
    pub(super) failed: AtomicBool,
}

/// What a lane does next.
#[derive(Clone)]
pub(super) enum Work {
    Chunk(Arc<Sending>, u64),
    Pack(Vec<u32>),
    /// Only send if it differs from what the receiver has.
    Compare(u32, Verdict),
    /// Send what a stream yields next.
    Piped(u32),
    Part(u32, Part),
    End(FileEnd),
    Withdraw(Withdraw),
}

impl Sending {
    /// It can't be sent as it was offered; what the receiver is told.
    pub(super) fn fail(&self, outgoing: &Outgoing, error: &StoreError) -> Withdraw {
        self.failed.store(true, Ordering::Relaxed);
        outgoing.fail(self.id, error)
    }

    /// Whether the receiver has this chunk. What it says ascends, however long the list is.
    pub(super) fn is_held(&self, chunk: u64) -> bool {
        let after = self.held.partition_point(|(first, _)| u64::from(*first) <= chunk);
        after.checked_sub(1).is_some_and(|last| {
            let (first, count) = self.held[last];
            chunk - u64::from(first) < u64::from(count)
        })
    }
}

impl Outgoing {
    /// Those of `sources` are sent that are `wanted`: each has content, and a text is taken as a whole. What was
    /// `acknowledged` before, with its hash, is not read again if the receiver says that it has stored it.
    pub fn new(
        sources: impl Into<Sources>,
        wanted: impl IntoIterator<Item = (u32, Verdict)>,
        acknowledged: Arc<Receipts>,
        manner: Manner,
    ) -> Self {
        let (sources, mut todo): (Sources, _) = (sources.into(), Todo::default());
        wanted.into_iter().for_each(|wanted| todo.push(wanted));
        if let Some(taker) = sources.taker() {
            let mut left_out = FixedBitSet::with_capacity(sources.count());
            left_out.insert_range(..);
            todo.sent().for_each(|id| left_out.remove(id as usize));
            taker.leave_out(left_out.ones().map(|id| id as u32));
        }
        Outgoing {
            sources,
            queue: Mutex::new(Queue { again: Vec::new(), todo, current: None }),
            lost: Mutex::default(),
            transit: Transit::default(),
            acknowledged,
            hashes: Mutex::default(),
            same: Mutex::default(),
            failed: Mutex::default(),
            manner,
            press: Press::default(),
            bytes: AtomicU64::new(0),
            active: AtomicU16::new(0),
            most: AtomicU16::new(u16::MAX),
            stopped: AtomicBool::new(false),
        }
    }

    /// Bytes of file content handed to the lanes so far, those that need not be sent included.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Says before the first lane runs that the link is far, and so hardly one that is quicker than compressing.
    pub fn presume_slow(&self) {
        lock(&self.press.pace).presume_slow(Instant::now());
    }

    /// Takes the hash under which an entry was sent, once, to compare it with the receiver's.
    pub fn take_hash(&self, id: u32) -> Option<Hash> {
        lock(&self.hashes).remove(&id)
    }

    /// Whether an entry was not sent because the receiver has the same file.
    pub fn was_same(&self, id: u32) -> bool {
        lock(&self.same).contains(&id)
    }

    /// Whether an entry failed here.
    pub fn has_failed(&self, id: u32) -> bool {
        lock(&self.failed).iter().any(|failed| failed.id == id)
    }

    /// Takes the entries that failed here since the last call.
    pub fn take_failed(&self) -> Vec<SourceFailed> {
        std::mem::take(&mut *lock(&self.failed))
    }

    /// Lets the lanes beyond `most`, which is at least 1, end after what they are at; the others send the rest.
    pub fn keep(&self, most: u16) {
        self.most.store(most.max(1), Ordering::Relaxed);
    }

    /// Makes every lane end at its next step.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    pub(super) fn next_work(&self) -> Option<Work> {
        let mut queue = lock(&self.queue);
        if let Some(work) = queue.again.pop() {
            return Some(work);
        }
        if let Some(current) = &mut queue.current {
            let work = Work::Chunk(Arc::clone(&current.file), current.next_chunk);
            current.next_chunk += 1;
            if current.next_chunk * CHUNK_LEN >= current.file.size {
                queue.current = None;
            }
            return Some(work);
        }
        let mut pack = Vec::new();
        // Many lanes go over a slow link, where a few long packs would leave some of them with nothing at the end.
        let mut room = (PACK_LEN / u64::from(self.active.load(Ordering::Relaxed)).max(1)).max(SMALL);
        while let Some((id, verdict)) = queue.todo.front() {
            let source = self.sources.get(id);
            if let Source::Piped(piped) = source {
                if !pack.is_empty() {
                    break;
                }
                if piped.total().is_none() {
                    return Some(Work::Piped(id));
                }
                queue.todo.pop();
                continue;
            }
            let size = source.bytes();
            if let Verdict::Have(_) | Verdict::Stored(_) = verdict {
                if !pack.is_empty() {
                    break;
                }
                let work = Work::Compare(id, verdict.clone());
                queue.todo.pop();
                return Some(work);
            }
            if size > SMALL {
                if !pack.is_empty() {
                    break;
                }
                let held = match queue.todo.pop() {
                    Some((_, Verdict::TakeRest(held))) => held,
                    _ => Vec::new(),
                };
                match self.begin(id, held) {
                    Ok(file) => {
                        queue.current = (size > CHUNK_LEN).then(|| Current { file: Arc::clone(&file), next_chunk: 1 });
                        return Some(Work::Chunk(file, 0));
                    }
                    Err(error) => return Some(Work::Withdraw(self.fail(id, &error))),
                }
            }
            if size > room || pack.len() == PACK_FILES {
                break;
            }
            room -= size;
            pack.push(id);
            queue.todo.pop();
        }
        (!pack.is_empty()).then_some(Work::Pack(pack))
    }

    fn begin(&self, id: u32, held: Vec<(u32, u32)>) -> Result<Arc<Sending>, StoreError> {
        let entry = self.entry(id);
        Ok(Arc::new(Sending {
            id,
            size: entry.bytes,
            source: entry.open()?,
            held,
            forest: Mutex::default(),
            chunks_left: AtomicU64::new(entry.bytes.div_ceil(CHUNK_LEN)),
            failed: AtomicBool::new(false),
        }))
    }

    /// A file that does not travel in a pack.
    pub(super) fn entry(&self, id: u32) -> Kept<SourceEntry> {
        match self.sources.get(id) {
            Source::Entry(entry) => entry,
            Source::Text(_) => unreachable!("a text is small, and taken as a whole"),
            Source::Piped(_) => unreachable!("a stream is no file on the disk"),
        }
    }

    pub(super) fn fail(&self, id: u32, error: &StoreError) -> Withdraw {
        let mut failed = lock(&self.failed);
        if !failed.iter().any(|failure| failure.id == id) {
            failed.push(SourceFailed { id, reason: error.to_string() });
        }
        Withdraw { id, reason: error.for_peer().to_owned() }
    }

    pub(super) fn sent(&self, id: u32, hash: Hash) {
        lock(&self.hashes).insert(id, hash);
    }

    /// Keeps what was on its way when `lane` was cut.
    pub(super) fn lose(&self, lane: u16, untaken: Untaken<'_>) {
        lock(&self.lost).insert(lane, untaken.into_work());
    }

    /// Has what was on its way on `lane` said again: the receiver has let go of it. `false` if the lane was not lost.
    pub fn say_again(&self, lane: u16) -> bool {
        let Some((work, counted)) = lock(&self.lost).remove(&lane) else { return false };
        self.bytes.fetch_sub(counted, Ordering::Relaxed);
        lock(&self.queue).again.extend(work);
        true
    }

    /// Counts bytes of content that were handed on, or need not be.
    pub(super) fn count(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The receiver turned out to have this one.
    pub(super) fn found_same(&self, id: u32) {
        lock(&self.same).insert(id);
    }

    /// What the receiver has is another file: this one is sent as a whole.
    pub(super) fn send_whole(&self, id: u32) {
        lock(&self.queue).todo.push((id, Verdict::Take));
    }
}

/// A lane that sends, counted as long as it does.
pub(super) struct Active<'a> {
    outgoing: &'a Outgoing,
    counted: bool,
}

impl<'a> Active<'a> {
    pub(super) fn begin(outgoing: &'a Outgoing) -> Self {
        outgoing.active.fetch_add(1, Ordering::Relaxed);
        Active { outgoing, counted: true }
    }

    /// Whether this one is too many. Those that leave are off the count at once, so that never all of them do.
    pub(super) fn leaves(&mut self) -> bool {
        let most = self.outgoing.most.load(Ordering::Relaxed);
        let one_less = |active: u16| (active > most).then(|| active - 1);
        let leaves = self.outgoing.active.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok();
        self.counted = !leaves;
        leaves
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        if self.counted {
            self.outgoing.active.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
