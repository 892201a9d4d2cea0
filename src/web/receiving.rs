//! One file on its way in from a page: which request may write to it, and what is there so far.

use std::sync::Mutex;

use ring::digest::{self, SHA256};
use tokio::sync::{MutexGuard, watch};

use super::lock;
use crate::store::{PartialFile, StoreError, Whole};

/// BLAKE3 and SHA-256 of a file: the first is told, the second is what a browser can check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Digests {
    pub(super) blake3: [u8; 32],
    pub(super) sha256: [u8; 32],
}

/// A file of which something is there, without a gap.
pub(super) struct Receiving {
    bytes: u64,
    /// The request that came last; the others end.
    latest: watch::Sender<u64>,
    turn: tokio::sync::Mutex<()>,
    content: Mutex<Content>,
}

struct Content {
    /// `None` once it was handed on.
    file: Option<PartialFile>,
    have: u64,
    blake3: blake3::Hasher,
    sha256: digest::Context,
}

/// The right of one request to write to a file, until another one comes.
pub(super) struct Turn<'a> {
    receiving: &'a Receiving,
    latest: watch::Receiver<u64>,
    own: u64,
    _turn: MutexGuard<'a, ()>,
}

impl Receiving {
    pub(super) fn new(file: PartialFile, bytes: u64) -> Receiving {
        let (blake3, sha256) = (blake3::Hasher::new(), digest::Context::new(&SHA256));
        Receiving {
            bytes,
            latest: watch::Sender::new(0),
            turn: tokio::sync::Mutex::default(),
            content: Mutex::new(Content { file: Some(file), have: 0, blake3, sha256 }),
        }
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
        (content.have, sha256(&content.sha256))
    }

    /// Ends whatever request writes to it.
    pub(super) fn interrupt(&self) {
        self.latest.send_modify(|latest| *latest += 1);
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
        let Content { file, have, blake3, sha256 } = &mut *content;
        if let Some(file) = file {
            file.write_at(*have, bytes)?;
            blake3.update(bytes);
            sha256.update(bytes);
            *have += bytes.len() as u64;
        }
        Ok(())
    }

    /// The file, if all of it is there; only the first who asks gets it.
    pub(super) fn complete(&self) -> Option<Result<(Whole, Digests), StoreError>> {
        let mut content = lock(&self.receiving.content);
        if content.have != self.receiving.bytes {
            return None;
        }
        let file = content.file.take()?;
        let blake3 = *content.blake3.finalize().as_bytes();
        let digests = Digests { blake3, sha256: sha256(&content.sha256) };
        Some(file.complete(self.receiving.bytes).map(|whole| (whole, digests)))
    }
}

fn sha256(context: &digest::Context) -> [u8; 32] {
    let mut sha256 = [0; 32];
    sha256.copy_from_slice(context.clone().finish().as_ref());
    sha256
}
