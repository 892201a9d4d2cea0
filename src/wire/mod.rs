//! The header-plus-chunks protocol `qrdrop/1`: bytes to messages and back, nothing else.
//!
//! `docs/protocol.md` is normative and numbers the sections these files implement; `docs/vectors/wire.json` holds
//! bytes for every message. There is no socket, file, clock or terminal here, and no allocation before a named cap.

mod caps;
mod codec;
mod data;
mod frame;
mod offer;
mod opening;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod oracle;
mod outcome;
mod room;

#[cfg(test)]
mod tests;

pub use caps::*;
pub use codec::{Malformed, Message, Reader};
pub use data::{Chunk, ChunkEnd, Codec, FileEnd, LaneEnd, Pack, Packed, Taken, Withdraw};
pub use frame::{FrameError, Header, Kind, frame, header_of_piece};
pub use offer::{Entry, EntryKind, Go, Modified, Offer, OfferEnd, Page, Run, Verdict, Verdicts};
pub use opening::{Commit, Confirm, Hello, Method, Nonce, Open, Proof, Reveal, Role};
pub use outcome::{Bye, Fault, Finished, LaneLost, NotStored, Ping, Refuse, RefuseCode, Stored, StoredItem};
pub use room::{Join, Member, News, OfferLink, Say, Seen, Shared, Standing, Welcome, What, Word};
