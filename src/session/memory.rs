//! What a device remembers of transfers that can go on, in its state folder.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::returning::{ResumeKey, Ticket};
use crate::pairing::{Fingerprint, Identity};
use crate::store::{Folder, SPOOL_PREFIX, SourceList, StateClaim, StateDir, StoreError};

/// How long a transfer can go on after it was cut; the store gives partial files up as soon.
const REMEMBERED: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The layout of a ticket on the disk.
const TICKET_VERSION: u8 = 1;
const TICKET_BYTES: usize = 1 + 16 + 32;

/// Beginnings of file names: the key of a receive folder, a sender's tickets, an outbox's ticket and key.
const INBOX: &str = "inbox-";
const SENT: &str = "sent-";
const OUTBOX: &str = "outbox-";

/// The same of the key that this device has in somebody's room.
const ROOM: &str = "room-";

/// The key of an earlier run in PKCS#8.
pub type KeptKey = Zeroizing<Vec<u8>>;

/// The state folder, as far as transfers need it. It is made when there is something to remember.
#[derive(Debug, Clone)]
pub struct Memory {
    path: Option<PathBuf>,
}

/// What an outbox is known by to those who come back.
#[derive(Clone)]
pub struct OutboxMemory {
    /// Of everything that it gives.
    pub(super) ticket: Ticket,
    /// Where it is kept, once somebody takes something.
    memory: Memory,
    name: String,
}

/// What this device is known by in one room, for as long as it sits there, and after it was killed.
pub struct RoomMemory {
    memory: Memory,
    name: String,
    /// The key of a process that did not leave.
    pub key: Option<KeptKey>,
    _claim: StateClaim,
}

impl Memory {
    /// In the folder at `path`, or else at the platform's place for one.
    ///
    /// # Errors
    /// It is there, and is not this user's alone.
    pub fn open(path: Option<PathBuf>) -> Result<Memory, StoreError> {
        if let Some(state) = StateDir::find(path.as_deref())? {
            state.expire(REMEMBERED, |name| {
                [INBOX, SENT, OUTBOX, SPOOL_PREFIX, ROOM].iter().any(|kind| name.starts_with(kind))
            })?;
        }
        Ok(Memory { path })
    }

    fn recall(&self, name: &str) -> Result<Option<KeptKey>, StoreError> {
        StateDir::find(self.path.as_deref())?.map_or(Ok(None), |state| state.read_secret(name))
    }

    fn keep(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        StateDir::open(self.path.as_deref())?.write_secret(name, bytes)
    }

    /// What stays is given up after [`REMEMBERED`].
    fn forget(&self, name: &str) {
        let _ = StateDir::find(self.path.as_deref()).map(|state| state.map(|state| state.remove(name)));
    }

    /// The key that `folder` is known by to those whose transfers wait there.
    ///
    /// # Errors
    /// It is there, and is not this user's alone.
    pub fn inbox_key(&self, folder: &Folder) -> Result<Option<KeptKey>, StoreError> {
        let name = inbox_name(folder);
        if folder.keepsakes()?.is_empty() {
            self.forget(&name);
            return Ok(None);
        }
        self.recall(&name)
    }

    /// Remembers the key that `folder` is known by.
    pub(super) fn keep_inbox_key(&self, folder: &Folder, identity: &Identity) -> Result<(), StoreError> {
        self.keep(&inbox_name(folder), identity.secret())
    }

    /// The ticket of an earlier attempt to send these sources to the holder of that key, unless a process that lives is
    /// at it. It is taken for as long as the claim lives.
    pub(super) fn take_sent(&self, to: &Fingerprint, sources: &[u8; 16]) -> Option<(Ticket, StateClaim)> {
        let name = sent_name(to, sources);
        let state = StateDir::find(self.path.as_deref()).ok()??;
        let ticket = read_ticket(&state.read_secret(&name).ok()??)?;
        Some((ticket, state.claim(&lock_name(&name)).ok()??))
    }

    /// Remembers the ticket for as long as the transfer is not finished, unless another process sends the same.
    pub(super) fn keep_sent(&self, to: &Fingerprint, sources: &[u8; 16], ticket: &Ticket) -> Option<StateClaim> {
        let name = sent_name(to, sources);
        let state = StateDir::open(self.path.as_deref()).ok()?;
        let claim = state.claim(&lock_name(&name)).ok()??;
        state.write_secret(&name, &ticket_bytes(ticket)).ok().map(|()| claim)
    }

    pub(super) fn forget_sent(&self, to: &Fingerprint, sources: &[u8; 16]) {
        let name = sent_name(to, sources);
        self.forget(&name);
        self.forget(&lock_name(&name));
    }

    /// What this device is known by in the room of the host whose key begins so; `None` if another process sits there, or
    /// nothing can be remembered.
    pub fn room(&self, host: &[u8; 16]) -> Option<RoomMemory> {
        let name = format!("{ROOM}{}", hex(host));
        let state = StateDir::open(self.path.as_deref()).ok()?;
        let claim = state.claim(&lock_name(&name)).ok()??;
        let key = state.read_secret(&name).ok()?;
        Some(RoomMemory { memory: self.clone(), name, key, _claim: claim })
    }

    /// What an outbox with these sources was known by, with its key; or else something new, without one.
    ///
    /// # Errors
    /// What is remembered is not this user's alone.
    pub fn outbox(
        &self,
        entries: &SourceList,
        text: Option<&str>,
    ) -> Result<(OutboxMemory, Option<KeptKey>), StoreError> {
        let name = format!("{OUTBOX}{}", hex(&sources_id(entries, text)));
        let kept = self.recall(&name)?.and_then(|bytes| {
            let (ticket, key) = bytes.split_at_checked(TICKET_BYTES)?;
            Some((read_ticket(ticket)?, Zeroizing::new(key.to_vec())))
        });
        let (ticket, key) = kept.map_or_else(|| (Ticket::draw(), None), |(ticket, key)| (ticket, Some(key)));
        Ok((OutboxMemory { ticket, memory: self.clone(), name }, key))
    }
}

impl OutboxMemory {
    /// Remembers it, with the key that those who come back know.
    pub(super) fn keep(&self, identity: &Identity) -> Result<(), StoreError> {
        let mut bytes = ticket_bytes(&self.ticket);
        bytes.extend_from_slice(identity.secret());
        self.memory.keep(&self.name, &bytes)
    }

    /// Everybody has everything.
    pub(super) fn forget(&self) {
        self.memory.forget(&self.name);
    }
}

impl RoomMemory {
    /// Remembers it. Where that fails, whoever is killed comes back as somebody else.
    pub fn keep(&self, identity: &Identity) {
        let _ = self.memory.keep(&self.name, identity.secret());
    }

    /// This device has left.
    pub fn forget(self) {
        self.memory.forget(&self.name);
        self.memory.forget(&lock_name(&self.name));
    }
}

fn inbox_name(folder: &Folder) -> String {
    let path = blake3::hash(folder.path().as_os_str().as_encoded_bytes());
    format!("{INBOX}{}", hex(&path.as_bytes()[..16]))
}

fn lock_name(name: &str) -> String {
    format!("{name}.lock")
}

fn sent_name(to: &Fingerprint, sources: &[u8; 16]) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(to.as_bytes()).update(sources);
    format!("{SENT}{}", hex(&hasher.finalize().as_bytes()[..16]))
}

/// Names what was asked to be sent: the paths, whatever they hold by now.
pub(super) fn sources_id(entries: &SourceList, text: Option<&str>) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    for entry in entries.tops() {
        let path = std::path::absolute(&entry.path).unwrap_or_else(|_| entry.path.clone());
        hasher.update(path.as_os_str().as_encoded_bytes()).update(&[0]);
    }
    hasher.update(&[text.is_some().into()]).update(text.unwrap_or_default().as_bytes());
    let mut id = [0; 16];
    hasher.finalize_xof().fill(&mut id);
    id
}

pub(super) fn ticket_bytes(ticket: &Ticket) -> Zeroizing<Vec<u8>> {
    // Room for a key behind it: a vector that grows leaves copies of its bytes.
    let mut bytes = Zeroizing::new(Vec::with_capacity(TICKET_BYTES + 512));
    bytes.push(TICKET_VERSION);
    bytes.extend_from_slice(&ticket.transfer);
    bytes.extend_from_slice(ticket.key.as_bytes());
    bytes
}

/// `None` for what another edition wrote.
pub(super) fn read_ticket(bytes: &[u8]) -> Option<Ticket> {
    let (version, rest) = bytes.split_first()?;
    let (transfer, key) = rest.split_first_chunk()?;
    let key = ResumeKey::from_bytes(*key.first_chunk()?);
    (*version == TICKET_VERSION).then_some(Ticket { transfer: *transfer, key: Arc::new(key) })
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_remembered_for_its_receiver_and_sources_only() {
        let state = tempfile::tempdir().unwrap();
        let memory = Memory::open(Some(state.path().join("state"))).unwrap();
        let (to, other) = (Fingerprint::from_bytes([1; 32]), Fingerprint::from_bytes([2; 32]));
        let ticket = Ticket::draw();
        assert!(memory.take_sent(&to, &[7; 16]).is_none(), "nothing was made by looking");
        assert!(!state.path().join("state").exists());
        let claim = memory.keep_sent(&to, &[7; 16], &ticket).unwrap();
        assert!(memory.take_sent(&to, &[7; 16]).is_none(), "somebody is at it");
        drop(claim);
        let (kept, claim) = memory.take_sent(&to, &[7; 16]).unwrap();
        assert_eq!((kept.transfer, kept.key.hash()), (ticket.transfer, ticket.key.hash()));
        assert!(memory.take_sent(&other, &[7; 16]).is_none());
        assert!(memory.take_sent(&to, &[8; 16]).is_none());
        memory.forget_sent(&to, &[7; 16]);
        assert!(memory.take_sent(&to, &[7; 16]).is_none());
        drop(claim);
        assert_eq!(std::fs::read_dir(state.path().join("state")).unwrap().count(), 0);
    }

    #[test]
    fn a_seat_in_a_room_is_one_process_s_and_is_found_again_until_it_is_left() {
        let state = tempfile::tempdir().unwrap();
        let memory = Memory::open(Some(state.path().join("state"))).unwrap();
        let identity = Identity::fresh(&[]).unwrap();
        let seat = memory.room(&[7; 16]).unwrap();
        assert!(seat.key.is_none() && memory.room(&[7; 16]).is_none() && memory.room(&[8; 16]).is_some());
        seat.keep(&identity);
        drop(seat);
        let again = memory.room(&[7; 16]).unwrap();
        assert_eq!(again.key.as_deref().map(Vec::as_slice), Some(identity.secret()));
        again.forget();
        assert!(memory.room(&[7; 16]).unwrap().key.is_none());
    }

    #[test]
    fn an_outbox_is_known_by_the_same_key_again() {
        let state = tempfile::tempdir().unwrap();
        let memory = Memory::open(Some(state.path().join("state"))).unwrap();
        let (first, none) = memory.outbox(&SourceList::default(), Some("hello")).unwrap();
        assert!(none.is_none());
        let identity = Identity::fresh(&[]).unwrap();
        first.keep(&identity).unwrap();
        let (second, key) = memory.outbox(&SourceList::default(), Some("hello")).unwrap();
        assert_eq!(second.ticket.key.hash(), first.ticket.key.hash());
        let again = Identity::kept(&key.unwrap(), &[]).unwrap();
        assert_eq!(again.fingerprint(), identity.fingerprint());
        second.forget();
        assert!(memory.outbox(&SourceList::default(), Some("hello")).unwrap().1.is_none());
    }
}
