//! One file on its way in from a page: which request may write to it, and what is there so far.

use std::sync::Mutex;
use std::time::SystemTime;

use ring::digest::{self, SHA256};
use tokio::sync::{MutexGuard, watch};

use super::lock;
use crate::store::{PartialFile, StoreError, Whole};
use crate::transfer::{ChunkHasher, Forest, Hash};
use crate::wire::CHUNK_LEN;

/// Bytes that are read back and hashed in one go.
pub(super) const STEP: usize = 64 * 1024;

/// BLAKE3 and SHA-256 of a file: the first is told, the second is what a browser can check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Digests {
    pub(super) blake3: [u8; 32],
    pub(super) sha256: [u8; 32],
}

/// Size in bytes and time of a file, as its page says.
pub(super) type Declared = (u64, Option<SystemTime>);

/// The SHA-256 of what `context` was given.
pub(super) fn sha256_of(context: &digest::Context) -> [u8; 32] {
    let mut sha256 = [0; 32];
    sha256.copy_from_slice(context.clone().finish().as_ref());
    sha256
}

/// A file of which something is there, without a gap.
pub(super) struct Receiving {
    bytes: u64,
    modified: Option<SystemTime>,
    /// The request that came last; the others end.
    latest: watch::Sender<u64>,
    turn: tokio::sync::Mutex<()>,
    content: Mutex<Content>,
}

struct Content {
    /// `None` once it was handed on, or let go.
    file: Option<PartialFile>,
    have: u64,
    hashes: Hashes,
}

/// Of what is there.
#[derive(Clone)]
struct Hashes {
    forest: Forest,
    /// Of the chunk that is not whole.
    chunk: ChunkHasher,
    sha256: digest::Context,
}

impl Hashes {
    fn new() -> Hashes {
        Hashes { forest: Forest::default(), chunk: ChunkHasher::new(0), sha256: digest::Context::new(&SHA256) }
    }

    /// Takes the `bytes` at `offset`, of a file of `size`, which end no later than its chunk. Returns index and value of the
    /// chunk if they are its end.
    fn update(&mut self, offset: u64, bytes: &[u8], size: u64) -> Option<(u64, Hash)> {
        let end = offset + bytes.len() as u64;
        self.chunk.update(bytes);
        self.sha256.update(bytes);
        if bytes.is_empty() || (end < size && !end.is_multiple_of(CHUNK_LEN)) {
            return None;
        }
        let (chunk, value) = (offset / CHUNK_LEN, self.chunk.finish(size <= CHUNK_LEN));
        self.forest.insert(chunk, value);
        self.chunk = ChunkHasher::new((chunk + 1) * CHUNK_LEN);
        Some((chunk, value))
    }
}

/// The right of one request to write to a file, until another one comes.
pub(super) struct Turn<'a> {
    receiving: &'a Receiving,
    latest: watch::Receiver<u64>,
    own: u64,
    _turn: MutexGuard<'a, ()>,
}

impl Receiving {
    /// Begins with an empty file, which is to have so many bytes and that time.
    pub(super) fn new(file: PartialFile, (bytes, modified): Declared) -> Receiving {
        Receiving::of((bytes, modified), Content { file: Some(file), have: 0, hashes: Hashes::new() })
    }

    /// Goes on with the `file` of an earlier attempt, as far as its `chunks` are there in a row and what they were then.
    /// Blocks for the disk.
    pub(super) fn recalled(file: PartialFile, (bytes, modified): Declared, chunks: &[(u64, Hash)]) -> Receiving {
        let (mut have, mut hashes, mut buffer) = (0, Hashes::new(), vec![0; STEP]);
        for known in chunks.iter().take_while(|(chunk, _)| *chunk < bytes.div_ceil(CHUNK_LEN)) {
            let mut ahead = hashes.clone();
            let end = bytes.min(have + CHUNK_LEN);
            let mut found = None;
            for offset in (have..end).step_by(STEP) {
                let step = &mut buffer[..STEP.min((end - offset) as usize)];
                if file.read_at(offset, step).ok() != Some(step.len()) {
                    break;
                }
                found = ahead.update(offset, step, bytes);
            }
            if found != Some(*known) {
                break;
            }
            (have, hashes) = (end, ahead);
        }
        Receiving::of((bytes, modified), Content { file: Some(file), have, hashes })
    }

    fn of((bytes, modified): Declared, content: Content) -> Receiving {
        let (latest, turn) = (watch::Sender::new(0), tokio::sync::Mutex::default());
        Receiving { bytes, modified, latest, turn, content: Mutex::new(content) }
    }

    /// Its declared size in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes that are there and verified.
    pub(super) fn have(&self) -> u64 {
        lock(&self.content).have
    }

    /// Bytes that are there and verified, and their SHA-256.
    pub(super) fn so_far(&self) -> (u64, [u8; 32]) {
        let content = lock(&self.content);
        (content.have, sha256_of(&content.hashes.sha256))
    }

    /// Ends whatever request writes to it.
    fn interrupt(&self) {
        self.latest.send_modify(|latest| *latest += 1);
    }

    /// Nothing more comes. What is there may be gone on with, if its transfer can be.
    pub(super) fn let_go(&self) {
        self.interrupt();
        drop(lock(&self.content).file.take());
    }

    /// The same, and what is there is removed.
    pub(super) fn remove(&self) {
        self.interrupt();
        if let Some(file) = lock(&self.content).file.take() {
            file.remove();
        }
    }

    /// Whether no request writes to it at the moment.
    pub(super) fn is_quiet(&self) -> bool {
        self.turn.try_lock().is_ok()
    }

    /// Ends the request before and takes its place. `None` if another one comes meanwhile.
    pub(super) async fn turn(&self) -> Option<Turn<'_>> {
        let mut latest = self.latest.subscribe();
        self.interrupt();
        let own = *latest.borrow_and_update();
        let turn = self.turn.lock().await;
        let turn = Turn { receiving: self, latest, own, _turn: turn };
        turn.holds().then_some(turn)
    }
}

impl Turn<'_> {
    /// Whether no later request has come.
    pub(super) fn holds(&self) -> bool {
        *self.latest.borrow() == self.own
    }

    /// Waits until a later request comes.
    pub(super) async fn lost(&mut self) {
        let own = self.own;
        // The sender lives as long as what it is borrowed from.
        let _ = self.latest.wait_for(|latest| *latest != own).await;
    }

    pub(super) fn have(&self) -> u64 {
        self.receiving.have()
    }

    /// Writes the next bytes. Blocks for the disk.
    pub(super) fn append(&self, bytes: &[u8]) -> Result<(), StoreError> {
        let mut content = lock(&self.receiving.content);
        let Content { file, have, hashes } = &mut *content;
        let Some(file) = file else { return Ok(()) };
        file.write_at(*have, bytes)?;
        let mut rest = bytes;
        while !rest.is_empty() {
            let to_boundary = (CHUNK_LEN - *have % CHUNK_LEN) as usize;
            let (part, after) = rest.split_at(to_boundary.min(rest.len()));
            if let Some((chunk, value)) = hashes.update(*have, part, self.receiving.bytes) {
                file.note_chunk(chunk, value);
            }
            *have += part.len() as u64;
            rest = after;
        }
        Ok(())
    }

    /// The file, if all of it is there; only the first who asks gets it.
    pub(super) fn complete(&self) -> Option<Result<(Whole, Digests), StoreError>> {
        let mut content = lock(&self.receiving.content);
        if content.have != self.receiving.bytes {
            return None;
        }
        let blake3 = content.hashes.forest.root(self.receiving.bytes)?;
        let file = content.file.take()?;
        if let Some(modified) = self.receiving.modified {
            file.set_modified(modified);
        }
        let digests = Digests { blake3, sha256: sha256_of(&content.hashes.sha256) };
        Some(file.complete(self.receiving.bytes).map(|whole| (whole.hashed(blake3), digests)))
    }
}
