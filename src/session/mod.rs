//! The control plane: one paired connection from its first byte to the last acknowledgement, for each dialect.
//!
//! A session goes through its phases in one order: pair, greet, offer, verdict, lanes, acknowledgements, farewell. In
//! each phase only the frames of that phase are read (`conn`), so nothing can be said out of turn.
//!
//! Who dialled and who sends are two questions. `sending` and `receiving` know only the second; `inbox` and `outbox` are
//! hosts, `sender` and `fetcher` guests, which bring one of them together with lanes that come or are dialled.

mod acquaintance;
mod classic_bulk;
mod classic_inbox;
mod classic_sender;
mod classic_stream;
mod conn;
mod consent;
mod devices;
mod enter;
mod error;
mod fetcher;
mod growth;
mod host;
mod inbox;
mod lanes;
mod listed;
mod lost_lanes;
mod memory;
mod offer;
mod opening;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod oracle;
mod outbox;
mod parcel;
mod proving;
mod receiving;
mod relay;
mod returning;
mod room_guest;
mod room_host;
mod seat;
mod sender;
mod sending;
mod there;
mod visit;

#[cfg(test)]
mod tests;

pub use classic_sender::ClassicSender;
pub use consent::{Level, Standing};
pub use devices::{Device, Devices, DevicesError, Impostor, Known};
pub use enter::{SecureVisitor, Visitor};
pub use error::{SessionError, Unconfirmed};
pub use fetcher::Fetcher;
pub(crate) use host::Place;
pub use host::{Ended, Host};
pub use inbox::{Classic, Inbox, InboxRules};
pub use memory::{KeptKey, Memory, OutboxMemory, RoomMemory};
pub use outbox::{Outbox, OutboxRules};
pub use parcel::check_text;
pub use relay::{Ready, Relay, Space, Wish};
pub use returning::{Waiting, waiting};
pub use room_guest::RoomGuest;
pub use room_host::RoomHost;
pub use seat::{Heard, Over, Seat};
pub use sender::Sender;
pub use visit::{Met, Target};
