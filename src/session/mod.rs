//! The control plane: one paired connection from its first byte to the last acknowledgement, for each dialect.
//!
//! A session goes through its phases in one order: pair, greet, offer, verdict, lanes, acknowledgements, farewell. In
//! each phase only the frames of that phase are read (`conn`), so nothing can be said out of turn.

mod classic_inbox;
mod classic_sender;
mod conn;
mod consent;
mod enter;
mod error;
mod host;
mod inbox;
mod lanes;
mod offer;
mod opening;
mod receiving;
mod sender;
mod visit;

#[cfg(test)]
mod tests;

pub use classic_sender::ClassicSender;
pub use consent::{Level, Standing};
pub use enter::{SecureVisitor, Visitor};
pub use error::{SessionError, Unconfirmed};
pub use host::{Ended, Host};
pub use inbox::{Classic, Inbox, InboxRules};
pub use sender::Sender;
pub use visit::Target;
