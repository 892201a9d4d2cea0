//! The data plane: accepted entries pass over lanes, in chunks and packs, hashed on both sides.
//!
//! Once an offer is accepted, each further connection of the session becomes a lane: one small blocking loop on a
//! thread of its own. The control connection stays with `session`, which hears of each file through a channel.

mod incoming;
mod lane;
mod outgoing;
mod tree;

#[cfg(test)]
mod tests;

pub use incoming::{Incoming, NotStoredHere, Outcome, receive_lane};
pub use lane::{LaneError, LaneStream};
pub use outgoing::{Outgoing, SourceFailed, send_lane};
pub use tree::{ChunkHasher, Forest, Hash};
