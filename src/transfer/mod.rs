//! The data plane: accepted entries pass over lanes, in chunks and packs, hashed on both sides.
//!
//! Once an offer is accepted, each further connection of the session becomes a lane: one small blocking loop on a
//! thread of its own. The control connection stays with `session`, which hears of each file through a channel.

mod brake;
mod committer;
mod expand;
mod held;
mod incoming;
mod lane;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod oracle;
mod outcome;
mod outgoing;
mod outlet;
mod pace;
mod piped;
mod pool;
mod recall;
mod receipts;
mod receive;
mod receive_pack;
mod send;
mod sharing;
mod sources;
mod squeeze;
mod tree;
mod untaken;
mod writer;

#[cfg(test)]
mod tests;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use brake::Brake;
pub use held::HeldFiles;
pub use incoming::Incoming;
pub use lane::{LaneError, LaneStream};
pub use outcome::{NotStoredHere, Outcome};
pub use outgoing::{Manner, Outgoing, SourceFailed};
pub use outlet::Outlet;
pub use piped::Piped;
pub use recall::Recalled;
pub use receipts::Receipts;
pub use receive::receive_lane;
pub use send::send_lane;
pub use sharing::{TAKERS, Taker};
pub use sources::{Source, Sources};
pub use squeeze::Compress;
pub use tree::{ChunkHasher, Forest, Hash};

/// A lane that panicked has poisoned nothing that the others rely on: every update under these locks is one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
