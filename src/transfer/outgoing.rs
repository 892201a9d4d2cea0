//! The sender's side of the data plane: what is still to be sent, and the loop that sends it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::brake::Brake;
use super::lane::{LaneError, LaneStream, read_header, read_message, write_message};
use super::lock;
use super::pace::Pace;
use super::sources::{Source, Sources};
use super::squeeze::{Compress, Squeezer};
use super::tree::{ChunkHasher, Forest, Hash};
use crate::store::{SourceEntry, SourceFile, StoreError};
use crate::wire::{
    CHUNK_LEN, Chunk, ChunkEnd, Codec, FileEnd, HEADER_LEN, Kind, LaneEnd, Message, PACK_FILES, PACK_LEN, PIECE_CAP,
    Pack, Packed, Verdict, Withdraw, header_of_piece,
};

/// What is read, hashed and sent in one go: it stays in the cache of its core from the first to the last of these, which a
/// longer piece does not. No longer than a frame may be.
const PIECE: usize = 64 * 1024;
const _: () = assert!(PIECE <= PIECE_CAP);

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
    sources: Sources,
    queue: Mutex<Queue>,
    /// What was acknowledged in an earlier session of this run, and need not be read again.
    acknowledged: HashMap<u32, Hash>,
    /// What was sent of entries that are not acknowledged yet.
    hashes: Mutex<HashMap<u32, Hash>>,
    /// What the receiver turned out to have.
    same: Mutex<HashSet<u32>>,
    failed: Mutex<Vec<SourceFailed>>,
    manner: Manner,
    pace: Mutex<Pace>,
    bytes: AtomicU64,
    /// Lanes that send, and how many of them may.
    active: AtomicU16,
    most: AtomicU16,
    stopped: AtomicBool,
}

struct Queue {
    todo: VecDeque<(u32, Verdict)>,
    current: Option<Current>,
}

struct Current {
    file: Arc<Sending>,
    next_chunk: u64,
}

/// A large file under way.
struct Sending {
    id: u32,
    size: u64,
    source: SourceFile,
    /// Chunks that the receiver has: hashed for the root, not sent.
    held: Vec<(u32, u32)>,
    forest: Mutex<Forest>,
    chunks_left: AtomicU64,
    failed: AtomicBool,
}

enum Work {
    Chunk(Arc<Sending>, u64),
    Pack(Vec<u32>),
    /// Only send if it differs from what the receiver has.
    Compare(u32, Verdict),
    Withdraw(Withdraw),
}

impl Sending {
    /// Whether the receiver has this chunk. What it says ascends, however long the list is.
    fn is_held(&self, chunk: u64) -> bool {
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
        acknowledged: HashMap<u32, Hash>,
        manner: Manner,
    ) -> Self {
        let todo = wanted.into_iter().collect();
        Outgoing {
            sources: sources.into(),
            queue: Mutex::new(Queue { todo, current: None }),
            acknowledged,
            hashes: Mutex::default(),
            same: Mutex::default(),
            failed: Mutex::default(),
            manner,
            pace: Mutex::default(),
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

    fn next_work(&self) -> Option<Work> {
        let mut queue = lock(&self.queue);
        if let Some(current) = &mut queue.current {
            let work = Work::Chunk(Arc::clone(&current.file), current.next_chunk);
            current.next_chunk += 1;
            if current.next_chunk * CHUNK_LEN >= current.file.size {
                queue.current = None;
            }
            return Some(work);
        }
        let mut pack = Vec::new();
        let mut room = PACK_LEN;
        while let Some((id, verdict)) = queue.todo.front() {
            let id = *id;
            let size = self.sources.get(id).bytes();
            if let Verdict::Have(_) | Verdict::Stored(_) = verdict {
                if !pack.is_empty() {
                    break;
                }
                let work = Work::Compare(id, verdict.clone());
                queue.todo.pop_front();
                return Some(work);
            }
            if size > SMALL {
                if !pack.is_empty() {
                    break;
                }
                let held = match queue.todo.pop_front() {
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
            queue.todo.pop_front();
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
    fn entry(&self, id: u32) -> &SourceEntry {
        match self.sources.get(id) {
            Source::Entry(entry) => entry,
            Source::Text(_) => unreachable!("a text is small, and taken as a whole"),
        }
    }

    fn fail(&self, id: u32, error: &StoreError) -> Withdraw {
        let mut failed = lock(&self.failed);
        if !failed.iter().any(|failure| failure.id == id) {
            failed.push(SourceFailed { id, reason: error.to_string() });
        }
        Withdraw { id, reason: error.for_peer().to_owned() }
    }

    fn sent(&self, id: u32, hash: Hash) {
        lock(&self.hashes).insert(id, hash);
    }
}

/// A lane that sends, counted as long as it does.
struct Active<'a> {
    outgoing: &'a Outgoing,
    counted: bool,
}

impl<'a> Active<'a> {
    fn begin(outgoing: &'a Outgoing) -> Self {
        outgoing.active.fetch_add(1, Ordering::Relaxed);
        Active { outgoing, counted: true }
    }

    /// Whether this one is too many. Those that leave are off the count at once, so that never all of them do.
    fn leaves(&mut self) -> bool {
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

/// Sends on one lane until nothing is left, then waits until the receiver has read it all.
///
/// # Errors
/// When the connection is cut, the receiver misbehaves, or [`Outgoing::stop`] was called. What was under way on this
/// lane is then not sent.
pub fn send_lane(stream: &mut impl LaneStream, outgoing: &Outgoing) -> Result<(), LaneError> {
    let mut buffer = vec![0; HEADER_LEN + PIECE];
    let mut squeezer = Squeezer::new(outgoing.manner.compress, &outgoing.pace);
    let mut active = Active::begin(outgoing);
    while !active.leaves() {
        let Some(work) = outgoing.next_work() else { break };
        match work {
            Work::Chunk(file, index) => send_chunk(stream, outgoing, &file, index, &mut squeezer, &mut buffer)?,
            Work::Pack(ids) => send_pack(stream, outgoing, &ids, &mut squeezer)?,
            Work::Compare(id, verdict) => compare(stream, outgoing, id, &verdict, &mut buffer)?,
            Work::Withdraw(message) => write_message(stream, &message)?,
        }
        if outgoing.stopped.load(Ordering::Relaxed) {
            return Err(LaneError::Stopped);
        }
    }
    write_message(stream, &LaneEnd)?;
    stream.flush()?;
    let header = read_header(stream)?;
    if header.kind != Kind::LaneEnd {
        return Err(LaneError::Misplaced { kind: header.kind, place: "where the end of the lane was due" });
    }
    read_message::<LaneEnd>(stream, header)?;
    Ok(())
}

fn send_chunk(
    stream: &mut impl LaneStream,
    outgoing: &Outgoing,
    file: &Sending,
    index: u64,
    squeezer: &mut Squeezer<'_>,
    buffer: &mut Vec<u8>,
) -> Result<(), LaneError> {
    if file.failed.load(Ordering::Relaxed) {
        return Ok(());
    }
    let started = Instant::now();
    let offset = index * CHUNK_LEN;
    let len = CHUNK_LEN.min(file.size - offset);
    let held = file.is_held(index);
    let mut hasher = ChunkHasher::new(offset);
    let mut wire = Wire { stream, outgoing, writing: Duration::ZERO };
    let mut chunk = Chunk { id: file.id, offset, len: len as u32, codec: Codec::Raw };
    if !held && squeezer.is_on() {
        buffer.resize(HEADER_LEN + CHUNK_LEN as usize, 0);
        let whole = &mut buffer[..HEADER_LEN + len as usize];
        if let Err(error) = file.source.read_at(offset, &mut whole[HEADER_LEN..]) {
            return withdraw(wire.stream, outgoing, file, &error);
        }
        hasher.update(&whole[HEADER_LEN..]);
        let (codec, bytes) = squeezer.squeeze(whole);
        chunk.codec = codec;
        wire.message(&chunk)?;
        wire.pieces(bytes, len)?;
    } else {
        if !held {
            wire.message(&chunk)?;
        }
        let mut done = 0;
        while done < len {
            let piece = PIECE.min((len - done) as usize);
            let framed = &mut buffer[..HEADER_LEN + piece];
            if let Err(error) = file.source.read_at(offset + done, &mut framed[HEADER_LEN..]) {
                return withdraw(wire.stream, outgoing, file, &error);
            }
            hasher.update(&framed[HEADER_LEN..]);
            if held {
                outgoing.bytes.fetch_add(piece as u64, Ordering::Relaxed);
            } else {
                squeezer.glance(&framed[HEADER_LEN..]);
                wire.pieces(framed, piece as u64)?;
            }
            done += piece as u64;
        }
    }
    let value = hasher.finish(file.size <= CHUNK_LEN);
    if !held {
        wire.message(&ChunkEnd { subtree: value })?;
        squeezer.sent(chunk.codec, len, started.elapsed(), wire.writing);
    }
    lock(&file.forest).insert(index, value);
    if file.chunks_left.fetch_sub(1, Ordering::AcqRel) == 1 { end_file(stream, outgoing, file) } else { Ok(()) }
}

/// A lane's stream while content passes.
struct Wire<'a, S> {
    stream: &'a mut S,
    outgoing: &'a Outgoing,
    /// How long writing took.
    writing: Duration,
}

impl<S: LaneStream> Wire<'_, S> {
    fn message<M: Message>(&mut self, message: &M) -> Result<(), LaneError> {
        let started = Instant::now();
        write_message(self.stream, message)?;
        self.writing += started.elapsed();
        Ok(())
    }

    /// Sends what is behind the room for a frame header in pieces; it stands for `plain` bytes of content. The header of
    /// each but the first goes where the end of the one before was.
    fn pieces(&mut self, bytes: &mut [u8], plain: u64) -> Result<(), LaneError> {
        let started = Instant::now();
        let len = bytes.len() - HEADER_LEN;
        let counted = |done: usize| (done as u64 * plain).checked_div(len as u64).unwrap_or(0);
        let brake = self.outgoing.manner.brake.as_deref();
        let most = brake.map_or(PIECE, |brake| PIECE.min(brake.step()));
        let mut done = 0;
        while done < len {
            let piece = most.min(len - done);
            let framed = &mut bytes[done..done + HEADER_LEN + piece];
            framed[..HEADER_LEN].copy_from_slice(&header_of_piece(piece));
            if let Some(brake) = brake {
                brake.pass(framed.len());
            }
            self.stream.write_all(framed)?;
            self.outgoing.bytes.fetch_add(counted(done + piece) - counted(done), Ordering::Relaxed);
            done += piece;
        }
        self.writing += started.elapsed();
        Ok(())
    }
}

fn end_file(stream: &mut impl LaneStream, outgoing: &Outgoing, file: &Sending) -> Result<(), LaneError> {
    if let Err(error) = file.source.check_unchanged() {
        return withdraw(stream, outgoing, file, &error);
    }
    let root = lock(&file.forest).root(file.size).expect("the lane that sends the last chunk comes after all others");
    outgoing.sent(file.id, root);
    write_message(stream, &FileEnd { id: file.id, size: file.size, root })
}

fn withdraw(
    stream: &mut impl LaneStream,
    outgoing: &Outgoing,
    file: &Sending,
    error: &StoreError,
) -> Result<(), LaneError> {
    file.failed.store(true, Ordering::Relaxed);
    write_message(stream, &outgoing.fail(file.id, error))
}

/// Small files are read whole before a byte is sent, so that a bad one is withdrawn and the rest still goes.
fn send_pack(
    stream: &mut impl LaneStream,
    outgoing: &Outgoing,
    ids: &[u32],
    squeezer: &mut Squeezer<'_>,
) -> Result<(), LaneError> {
    let started = Instant::now();
    let mut pack = Pack { codec: Codec::Raw, files: Vec::with_capacity(ids.len()) };
    let mut bytes = vec![0; HEADER_LEN];
    for &id in ids {
        match read_small(outgoing.sources.get(id), &mut bytes) {
            Ok((len, hash)) => {
                outgoing.sent(id, hash);
                pack.files.push(Packed { id, len, hash });
            }
            Err(error) => write_message(stream, &outgoing.fail(id, &error))?,
        }
    }
    if pack.files.is_empty() {
        return Ok(());
    }
    let plain = pack.bytes();
    let (codec, bytes) = if squeezer.is_on() {
        squeezer.squeeze(&mut bytes)
    } else {
        squeezer.glance(&bytes[HEADER_LEN..]);
        (Codec::Raw, bytes.as_mut_slice())
    };
    pack.codec = codec;
    let mut wire = Wire { stream, outgoing, writing: Duration::ZERO };
    wire.message(&pack)?;
    wire.pieces(bytes, plain)?;
    squeezer.sent(codec, plain, started.elapsed(), wire.writing);
    Ok(())
}

/// Appends the file to `bytes`, or leaves them as they were.
fn read_small(source: Source<'_>, bytes: &mut Vec<u8>) -> Result<(u32, Hash), StoreError> {
    let start = bytes.len();
    match source {
        Source::Text(text) => bytes.extend_from_slice(text.as_bytes()),
        Source::Entry(entry) => {
            let read = entry.open().and_then(|source| {
                bytes.resize(start + entry.bytes as usize, 0);
                source.read_at(0, &mut bytes[start..])?;
                source.check_unchanged()
            });
            if let Err(error) = read {
                bytes.truncate(start);
                return Err(error);
            }
        }
    }
    Ok((source.bytes() as u32, *blake3::hash(&bytes[start..]).as_bytes()))
}

/// Hashes a file that the receiver seems to have, and queues it in full if it differs.
fn compare(
    stream: &mut impl LaneStream,
    outgoing: &Outgoing,
    id: u32,
    verdict: &Verdict,
    buffer: &mut [u8],
) -> Result<(), LaneError> {
    let entry = outgoing.entry(id);
    let acknowledged = outgoing.acknowledged.get(&id);
    match acknowledged.map_or_else(|| hash_source(entry, buffer), |hash| Ok(*hash)) {
        Ok(ours) if matches!(verdict, Verdict::Have(theirs) | Verdict::Stored(theirs) if *theirs == ours) => {
            outgoing.sent(id, ours);
            if let Verdict::Have(_) = verdict {
                lock(&outgoing.same).insert(id);
            }
            outgoing.bytes.fetch_add(entry.bytes, Ordering::Relaxed);
            write_message(stream, &FileEnd { id, size: entry.bytes, root: ours })
        }
        Ok(_) => {
            lock(&outgoing.queue).todo.push_back((id, Verdict::Take));
            Ok(())
        }
        Err(error) => write_message(stream, &outgoing.fail(id, &error)),
    }
}

fn hash_source(entry: &SourceEntry, buffer: &mut [u8]) -> Result<Hash, StoreError> {
    let source = entry.open()?;
    let mut hasher = blake3::Hasher::new();
    let mut done = 0;
    while done < entry.bytes {
        let bytes = &mut buffer[..PIECE.min((entry.bytes - done) as usize)];
        source.read_at(done, bytes)?;
        hasher.update(bytes);
        done += bytes.len() as u64;
    }
    source.check_unchanged()?;
    Ok(*hasher.finalize().as_bytes())
}
