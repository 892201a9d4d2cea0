//! What became of each accepted file.

use super::tree::Hash;
use crate::store::{Placed, StoreError};
use crate::wire::Fault;

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
    /// An earlier attempt of this transfer has stored it.
    Before {
        /// Which entry.
        id: u32,
        /// Where it was put; it may have been moved since.
        placed: Placed,
        /// Its BLAKE3.
        hash: Hash,
        /// Whether this process has told of it already.
        told: bool,
    },
    /// A text, whole and checked. It is kept nowhere else.
    Text {
        /// Which entry.
        id: u32,
        /// What it says.
        text: String,
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
    pub(super) fn by_sender(id: u32, message: impl Into<String>) -> Self {
        let message = message.into();
        NotStoredHere { id, fault: Fault::Sender, for_peer: message.clone(), message }
    }

    pub(super) fn by_disk(id: u32, error: &StoreError) -> Self {
        let fault = if error.is_disk_full() { Fault::DiskFull } else { Fault::Receiver };
        NotStoredHere { id, fault, message: error.to_string(), for_peer: error.for_peer().to_owned() }
    }

    pub(super) fn too_much(id: u32) -> Self {
        let message = "more came than is taken here".to_owned();
        NotStoredHere { id, fault: Fault::Receiver, for_peer: message.clone(), message }
    }
}
