//! The chat room: who is in it, the one order of what is said, and what a person types.
//!
//! No socket and no clock: time is an argument. The host of a room has a [`Room`]; each member, the host's own person
//! among them, has a [`View`] of it, made of what the host says.
//!
//! - **Order** is the host's: everything that happens gets the next number, and everybody is told by number.
//! - **Nothing is lost or doubled.** A member counts what it says; the host takes each turn once. A member that was cut
//!   comes back under its key, says what it has seen, and hears the rest.
//! - **Bounded.** What was said in the last minute is kept once, for everybody, up to a limit in bytes. A member is a
//!   place in it, so one that does not read holds nothing, and is told how much it has missed.

mod host;
mod input;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod oracle;
mod pace;
mod ring;
#[cfg(test)]
mod tests;
mod view;

pub use host::{AWAY, Entered, NotEntered, OFFERS_OF_ONE, Room, Session, Unheard};
pub use input::{COMMANDS, Input, parse};
pub use pace::Pace;
pub use ring::Line;
pub use view::{Card, Change, OfferCard, View};
