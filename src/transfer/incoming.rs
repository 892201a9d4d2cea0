//! The receiver's side of the data plane: what was accepted, the loop that reads a lane, and the group commit.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread;

use tokio::sync::mpsc::UnboundedSender;

use super::lane::{LaneError, LaneStream, read_header, read_message, write_message};
use super::tree::{ChunkHasher, Forest, Hash};
use crate::store::{Intake, PartialFile, Placed, StoreError, Whole};
use crate::wire::{
    CHUNK_LEN, Chunk, ChunkEnd, Fault, FileEnd, Header, Kind, LaneEnd, PIECE_CAP, Pack, Packed, Withdraw,
};

/// Files that wait to be made durable: enough that one sync serves many, few enough that open files stay within the
/// usual limit of 1,024 descriptors with many senders at once.
const COMMIT_QUEUE: usize = 128;

/// What became of an accepted file.
#[derive(Debug)]
pub enum Outcome {
    /// Whole, checked, durable, in place.
    Stored {
        /// Which entry.
        id: u32,
        /// Where it is.
        placed: Placed,
        /// Its BLAKE3.
        hash: Hash,
    },
    /// The same file was there already and stays.
    Same {
        /// Which entry.
        id: u32,
        /// Its BLAKE3.
        hash: Hash,
    },
    /// It will not be stored.
    NotStored(NotStoredHere),
}

/// An accepted file that will not be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotStoredHere {
    /// Which entry.
    pub id: u32,
    /// Whose fault.
    pub fault: Fault,
    /// What happened.
    pub message: String,
    /// The same in words for the sender, which give no local path away.
    pub for_peer: String,
}

impl NotStoredHere {
    fn by_sender(id: u32, message: impl Into<String>) -> Self {
        let message = message.into();
        NotStoredHere { id, fault: Fault::Sender, for_peer: message.clone(), message }
    }

    fn by_disk(id: u32, error: &StoreError) -> Self {
        let fault = if error.is_disk_full() { Fault::DiskFull } else { Fault::Receiver };
        NotStoredHere { id, fault, message: error.to_string(), for_peer: error.for_peer().to_owned() }
    }

    fn too_much(id: u32) -> Self {
        let message = "more came than is taken here".to_owned();
        NotStoredHere { id, fault: Fault::Receiver, for_peer: message.clone(), message }
    }
}

/// One transfer's accepted files on their way to the disk; shared by its lanes.
///
/// Each accepted file gets exactly one [`Outcome`], unless its lanes end before it is whole.
pub struct Incoming {
    intake: Arc<Intake>,
    files: Mutex<HashMap<u32, Slot>>,
    commits: SyncSender<Ready>,
    outcomes: UnboundedSender<Outcome>,
    /// Most bytes that are taken in all, for offers that can't say how many they hold.
    most: u64,
    bytes: AtomicU64,
    /// Files handed to the committer that it has not answered for.
    committing: Arc<AtomicUsize>,
    stopped: AtomicBool,
}

enum Slot {
    /// Accepted; `None` while the size is unknown.
    Awaited(Option<u64>),
    /// A file of this size with this hash is there already: only one that differs is to be sent.
    Held(u64, Hash),
    UnderWay(Arc<Receiving>),
    /// It failed here while the sender may still be sending it.
    Drained,
}

/// A large file under way.
struct Receiving {
    id: u32,
    size: Option<u64>,
    /// Lanes that write hold it shared; `None` once it was handed on or given up, which waits for them.
    file: RwLock<Option<PartialFile>>,
    parts: Mutex<Parts>,
}

#[derive(Default)]
struct Parts {
    forest: Forest,
    /// Chunks that a lane is receiving.
    claimed: HashSet<u64>,
    /// What the sender said at the end.
    end: Option<FileEnd>,
}

struct Ready {
    whole: Whole,
    hash: Hash,
}

impl Incoming {
    /// For the accepted `files` as (id, declared bytes), of which at most `most` bytes are to be stored by `intake`.
    ///
    /// # Errors
    /// The system has no thread left for the committer.
    pub fn new(
        intake: Arc<Intake>,
        files: impl IntoIterator<Item = (u32, Option<u64>)>,
        most: Option<u64>,
        outcomes: UnboundedSender<Outcome>,
    ) -> io::Result<Self> {
        let (commits, ready) = sync_channel(COMMIT_QUEUE);
        let files = files.into_iter().map(|(id, size)| (id, Slot::Awaited(size))).collect();
        let committing = Arc::new(AtomicUsize::new(0));
        let (committer, told, waiting) = (Arc::clone(&intake), outcomes.clone(), Arc::clone(&committing));
        // Ends when the last lane has gone and this struct with it.
        thread::Builder::new().spawn(move || commit_all(&committer, &ready, &told, &waiting))?;
        Ok(Incoming {
            intake,
            files: Mutex::new(files),
            commits,
            outcomes,
            most: most.unwrap_or(u64::MAX),
            bytes: AtomicU64::new(0),
            committing,
            stopped: AtomicBool::new(false),
        })
    }

    /// Notes that a file of `size` bytes is there whose BLAKE3 is `hash`, before any lane runs: if the sender has the
    /// same, it ends with [`Outcome::Same`].
    pub fn hold(&self, id: u32, size: u64, hash: Hash) {
        lock(&self.files).insert(id, Slot::Held(size, hash));
    }

    /// Bytes of file content received so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether whole files are on their way to the disk: then it is not the sender who is slow.
    pub fn is_committing(&self) -> bool {
        // The committer holds the other one: if it died, nothing is on its way any more.
        Arc::strong_count(&self.committing) > 1 && self.committing.load(Ordering::Acquire) > 0
    }

    /// Makes every lane end at its next step.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    fn tell(&self, outcome: NotStoredHere) {
        // The session may have gone; then nobody needs to know.
        let _ = self.outcomes.send(Outcome::NotStored(outcome));
    }

    /// The file that a chunk belongs to; `None` where its bytes are to be thrown away.
    fn receiving(&self, id: u32) -> Result<Option<Arc<Receiving>>, LaneError> {
        let mut files = lock(&self.files);
        let slot = files.get_mut(&id).ok_or(LaneError::NotAsked(id))?;
        let size = match slot {
            Slot::UnderWay(receiving) => return Ok(Some(Arc::clone(receiving))),
            Slot::Drained => return Ok(None),
            Slot::Awaited(size) => *size,
            Slot::Held(size, _) => Some(*size),
        };
        match self.intake.open_partial(id) {
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
    fn is_same(&self, end: &FileEnd) -> bool {
        let mut files = lock(&self.files);
        let same = matches!(files.get(&end.id), Some(Slot::Held(size, hash)) if (*size, *hash) == (end.size, end.root));
        if same {
            files.remove(&end.id);
            self.bytes.fetch_add(end.size, Ordering::Relaxed);
        }
        same
    }

    /// Takes an entry that arrives whole in one message.
    fn take_awaited(&self, id: u32) -> Result<Option<u64>, LaneError> {
        let mut files = lock(&self.files);
        match files.remove(&id) {
            Some(Slot::Awaited(size)) => Ok(size),
            Some(Slot::Held(size, _)) => Ok(Some(size)),
            Some(other) => {
                files.insert(id, other);
                Err(LaneError::NotAsked(id))
            }
            None => Err(LaneError::NotAsked(id)),
        }
    }

    /// Tells that an entry won't be stored, whose partial file is gone: its space is free for the others.
    fn fail(&self, outcome: NotStoredHere) {
        self.intake.discard(outcome.id);
        self.tell(outcome);
    }

    /// Gives a file up. What still comes of it is thrown away.
    fn give_up(&self, receiving: &Receiving, outcome: NotStoredHere) {
        if receiving.take_file().is_some() {
            lock(&self.files).insert(receiving.id, Slot::Drained);
            self.fail(outcome);
        }
    }

    fn commit(&self, file: PartialFile, bytes: u64, hash: Hash) -> Result<(), LaneError> {
        let id = file.id();
        match file.complete(bytes) {
            Ok(whole) => {
                self.committing.fetch_add(1, Ordering::AcqRel);
                self.commits.send(Ready { whole, hash }).map_err(|_| LaneError::Stopped)
            }
            Err(error) => {
                self.fail(NotStoredHere::by_disk(id, &error));
                Ok(())
            }
        }
    }

    /// Counts what arrived; `false` once it is more than is taken.
    fn count(&self, bytes: usize) -> bool {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed).saturating_add(bytes as u64) <= self.most
    }
}

impl Receiving {
    /// Writes a piece, unless the file is not wanted any more.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let file = self.file.read().unwrap_or_else(PoisonError::into_inner);
        file.as_ref().map_or(Ok(()), |file| file.write_at(offset, bytes))
    }

    /// Takes the file from the lanes once none is writing to it; only one of them gets it.
    fn take_file(&self) -> Option<PartialFile> {
        self.file.write().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Whether a chunk's hash is the one that the sender says. A chunk that is the whole file has its ordinary hash;
    /// where the size is unknown, the first chunk may be that.
    fn matches(&self, chunk: &Chunk, hasher: &ChunkHasher, theirs: Hash) -> bool {
        match self.size {
            Some(size) => hasher.finish(size <= CHUNK_LEN) == theirs,
            None => hasher.finish(false) == theirs || (chunk.offset == 0 && hasher.finish(true) == theirs),
        }
    }
}

/// Reads one lane until the sender ends it; answers the end, so that the sender may close.
///
/// # Errors
/// When the connection is cut, the sender misbehaves, or [`Incoming::stop`] was called. Chunks that were under way on
/// this lane may then come on another one.
pub fn receive_lane(stream: &mut impl LaneStream, incoming: &Incoming) -> Result<(), LaneError> {
    let mut buffer = vec![0; PIECE_CAP];
    loop {
        if incoming.stopped.load(Ordering::Relaxed) {
            return Err(LaneError::Stopped);
        }
        let header = read_header(stream)?;
        match header.kind {
            Kind::Chunk => receive_chunk(stream, incoming, header, &mut buffer)?,
            Kind::Pack => receive_pack(stream, incoming, header, &mut buffer)?,
            Kind::FileEnd => receive_file_end(incoming, read_message(stream, header)?)?,
            Kind::Withdraw => receive_withdraw(incoming, read_message(stream, header)?)?,
            Kind::LaneEnd => {
                read_message::<LaneEnd>(stream, header)?;
                write_message(stream, &LaneEnd)?;
                return Ok(stream.flush()?);
            }
            kind => return Err(LaneError::Misplaced { kind, place: "between the chunks of a lane" }),
        }
    }
}

fn receive_chunk(
    stream: &mut impl LaneStream,
    incoming: &Incoming,
    header: Header,
    buffer: &mut [u8],
) -> Result<(), LaneError> {
    let chunk: Chunk = read_message(stream, header)?;
    let Some(receiving) = incoming.receiving(chunk.id)? else {
        return drain(stream, incoming, &chunk, buffer);
    };
    let index = chunk.offset / CHUNK_LEN;
    let fits = receiving
        .size
        .is_none_or(|size| chunk.offset < size && u64::from(chunk.len) == CHUNK_LEN.min(size - chunk.offset));
    let fresh = || {
        let mut parts = lock(&receiving.parts);
        !parts.forest.contains(index) && parts.claimed.insert(index)
    };
    if !fits || !fresh() {
        return Err(LaneError::NotAsked(chunk.id));
    }
    let received = receive_pieces(stream, incoming, &receiving, &chunk, buffer);
    let mut parts = lock(&receiving.parts);
    parts.claimed.remove(&index);
    let Some((theirs, hasher)) = received? else { return Ok(()) };
    if !receiving.matches(&chunk, &hasher, theirs.subtree) {
        drop(parts);
        let message = format!("chunk {index} does not match its hash");
        incoming.give_up(&receiving, NotStoredHere::by_sender(receiving.id, message));
        return Ok(());
    }
    parts.forest.insert(index, theirs.subtree);
    complete(incoming, &receiving, parts)
}

/// The pieces of a chunk, hashed and written; `None` if the sender withdrew the file in the middle.
fn receive_pieces(
    stream: &mut impl LaneStream,
    incoming: &Incoming,
    receiving: &Receiving,
    chunk: &Chunk,
    buffer: &mut [u8],
) -> Result<Option<(ChunkEnd, ChunkHasher)>, LaneError> {
    let mut hasher = ChunkHasher::new(chunk.offset);
    let mut left = chunk.len as usize;
    while left > 0 {
        let Some(len) = next_piece(stream, incoming, chunk.id, left)? else { return Ok(None) };
        let bytes = &mut buffer[..len];
        stream.read_exact(bytes)?;
        hasher.update(bytes);
        let offset = chunk.offset + u64::from(chunk.len) - left as u64;
        if !incoming.count(len) {
            incoming.give_up(receiving, NotStoredHere::too_much(receiving.id));
        } else if let Err(error) = receiving.write_at(offset, bytes) {
            incoming.give_up(receiving, NotStoredHere::by_disk(receiving.id, &error));
        }
        left -= len;
    }
    Ok(chunk_end(stream, incoming, chunk.id)?.map(|end| (end, hasher)))
}

/// Reads a chunk of a file that failed here, and forgets it.
fn drain(stream: &mut impl LaneStream, incoming: &Incoming, chunk: &Chunk, buffer: &mut [u8]) -> Result<(), LaneError> {
    let mut left = chunk.len as usize;
    while left > 0 {
        let Some(len) = next_piece(stream, incoming, chunk.id, left)? else { return Ok(()) };
        stream.read_exact(&mut buffer[..len])?;
        left -= len;
    }
    chunk_end(stream, incoming, chunk.id).map(drop)
}

/// The length of the next piece of a chunk of which `left` bytes are due; `None` if the sender withdrew it instead.
fn next_piece(
    stream: &mut impl LaneStream,
    incoming: &Incoming,
    id: u32,
    left: usize,
) -> Result<Option<usize>, LaneError> {
    let header = read_header(stream)?;
    match header.kind {
        Kind::Piece if (1..=left).contains(&header.len) => Ok(Some(header.len)),
        Kind::Withdraw => receive_withdraw_of(incoming, id, read_message(stream, header)?).map(|()| None),
        kind => Err(LaneError::Misplaced { kind, place: "within a chunk" }),
    }
}

/// What follows the last piece of a chunk; `None` if the sender withdrew the file instead.
fn chunk_end(stream: &mut impl LaneStream, incoming: &Incoming, id: u32) -> Result<Option<ChunkEnd>, LaneError> {
    let header = read_header(stream)?;
    match header.kind {
        Kind::ChunkEnd => read_message(stream, header).map(Some),
        Kind::Withdraw => receive_withdraw_of(incoming, id, read_message(stream, header)?).map(|()| None),
        kind => Err(LaneError::Misplaced { kind, place: "at the end of a chunk" }),
    }
}

fn receive_file_end(incoming: &Incoming, end: FileEnd) -> Result<(), LaneError> {
    if incoming.is_same(&end) {
        incoming.intake.discard(end.id);
        // The session may have gone; then nobody needs to know.
        let _ = incoming.outcomes.send(Outcome::Same { id: end.id, hash: end.root });
        return Ok(());
    }
    let Some(receiving) = incoming.receiving(end.id)? else { return Ok(()) };
    if receiving.size.is_some_and(|size| size != end.size) {
        return Err(LaneError::NotAsked(end.id));
    }
    let mut parts = lock(&receiving.parts);
    if parts.end.replace(end).is_some() {
        return Err(LaneError::NotAsked(receiving.id));
    }
    complete(incoming, &receiving, parts)
}

/// Hands a file on once every chunk and its end are there.
fn complete(incoming: &Incoming, receiving: &Receiving, parts: MutexGuard<'_, Parts>) -> Result<(), LaneError> {
    let Some((end, root)) = parts.end.as_ref().and_then(|end| Some((end, parts.forest.root(end.size)?))) else {
        return Ok(());
    };
    let (size, matches) = (end.size, end.root == root);
    drop(parts);
    if !matches {
        let outcome = NotStoredHere::by_sender(receiving.id, "the whole file does not match its hash");
        incoming.give_up(receiving, outcome);
        return Ok(());
    }
    let Some(file) = receiving.take_file() else { return Ok(()) };
    lock(&incoming.files).remove(&receiving.id);
    incoming.commit(file, size, root)
}

/// A withdrawal within a chunk, which must be of the file that the chunk belongs to.
fn receive_withdraw_of(incoming: &Incoming, id: u32, withdraw: Withdraw) -> Result<(), LaneError> {
    if withdraw.id == id { receive_withdraw(incoming, withdraw) } else { Err(LaneError::NotAsked(withdraw.id)) }
}

fn receive_withdraw(incoming: &Incoming, withdraw: Withdraw) -> Result<(), LaneError> {
    let outcome = NotStoredHere::by_sender(withdraw.id, withdraw.reason);
    let mut files = lock(&incoming.files);
    let slot = files.get_mut(&outcome.id).ok_or(LaneError::NotAsked(outcome.id))?;
    match slot {
        Slot::Drained => {}
        Slot::UnderWay(receiving) => {
            let receiving = Arc::clone(receiving);
            drop(files);
            incoming.give_up(&receiving, outcome);
        }
        Slot::Awaited(_) | Slot::Held(..) => {
            *slot = Slot::Drained;
            incoming.fail(outcome);
        }
    }
    Ok(())
}

fn receive_pack(
    stream: &mut impl LaneStream,
    incoming: &Incoming,
    header: Header,
    buffer: &mut [u8],
) -> Result<(), LaneError> {
    let pack: Pack = read_message(stream, header)?;
    let mut pieces = Pieces { left: pack.bytes() as usize, in_piece: 0 };
    for packed in &pack.files {
        let declared = incoming.take_awaited(packed.id)?;
        if declared.is_some_and(|size| size != u64::from(packed.len)) {
            return Err(LaneError::NotAsked(packed.id));
        }
        if let Err(error) = receive_packed(stream, incoming, packed, &mut pieces, buffer) {
            // It may come on another lane.
            lock(&incoming.files).insert(packed.id, Slot::Awaited(declared));
            return Err(error);
        }
    }
    Ok(())
}

fn receive_packed(
    stream: &mut impl LaneStream,
    incoming: &Incoming,
    packed: &Packed,
    pieces: &mut Pieces,
    buffer: &mut [u8],
) -> Result<(), LaneError> {
    let file = incoming.intake.open_partial(packed.id);
    let mut disk = file.as_ref().map(drop).map_err(|error| NotStoredHere::by_disk(packed.id, error));
    let mut hasher = blake3::Hasher::new();
    let mut offset = 0;
    while offset < u64::from(packed.len) {
        let bytes = pieces.next(stream, packed.len as usize - offset as usize, buffer)?;
        hasher.update(bytes);
        if !incoming.count(bytes.len()) {
            disk = Err(NotStoredHere::too_much(packed.id));
        }
        if let (Ok(()), Ok(file)) = (&disk, &file) {
            disk = file.write_at(offset, bytes).map_err(|error| NotStoredHere::by_disk(packed.id, &error));
        }
        offset += bytes.len() as u64;
    }
    let hash = *hasher.finalize().as_bytes();
    if disk.is_ok() && hash != packed.hash {
        disk = Err(NotStoredHere::by_sender(packed.id, "the file does not match its hash"));
    }
    match (disk, file) {
        (Ok(()), Ok(file)) => incoming.commit(file, u64::from(packed.len), hash),
        (Err(outcome), file) => {
            drop(file);
            incoming.fail(outcome);
            Ok(())
        }
        (Ok(()), Err(_)) => unreachable!("a file that could not be opened has an outcome"),
    }
}

/// The bytes of a pack, which pieces and files cut in different places.
struct Pieces {
    /// Of the whole pack.
    left: usize,
    /// Of the piece that was begun.
    in_piece: usize,
}

impl Pieces {
    /// Some of the next bytes, at most `most`.
    fn next<'b>(
        &mut self,
        stream: &mut impl LaneStream,
        most: usize,
        buffer: &'b mut [u8],
    ) -> Result<&'b [u8], LaneError> {
        if self.in_piece == 0 {
            let header = read_header(stream)?;
            if header.kind != Kind::Piece || !(1..=self.left).contains(&header.len) {
                return Err(LaneError::Misplaced { kind: header.kind, place: "within a pack" });
            }
            self.in_piece = header.len;
        }
        let bytes = &mut buffer[..most.min(self.in_piece)];
        stream.read_exact(bytes)?;
        self.in_piece -= bytes.len();
        self.left -= bytes.len();
        Ok(bytes)
    }
}

/// Group commit: while one batch is made durable the next one gathers, so that one sync serves as many files as came
/// in the meantime.
fn commit_all(intake: &Intake, ready: &Receiver<Ready>, outcomes: &UnboundedSender<Outcome>, committing: &AtomicUsize) {
    while let Ok(first) = ready.recv() {
        let mut hashes = HashMap::new();
        let batch: Vec<Whole> = std::iter::once(first)
            .chain(ready.try_iter().take(COMMIT_QUEUE))
            .map(|ready| {
                hashes.insert(ready.whole.id(), ready.hash);
                ready.whole
            })
            .collect();
        for (id, placed) in intake.commit(batch) {
            let outcome = match placed {
                Ok(placed) => Outcome::Stored { id, placed, hash: hashes[&id] },
                Err(error) => {
                    intake.discard(id);
                    Outcome::NotStored(NotStoredHere::by_disk(id, &error))
                }
            };
            committing.fetch_sub(1, Ordering::AcqRel);
            // The session may have gone; what is stored stays stored.
            let _ = outcomes.send(outcome);
        }
    }
}

/// A lane that panicked has poisoned nothing that the others rely on: every update under these locks is one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
