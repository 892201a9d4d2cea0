//! A place in a room, whoever hosts it.

use std::net::IpAddr;

use tokio::sync::mpsc;

use crate::wire::{News, Welcome, Word};

/// News that may wait for whoever shows them.
const WAITING: usize = 256;

/// Words that may wait to be said.
const UNSAID: usize = 16;

/// What one who sits in a room is told.
#[derive(Debug)]
pub enum Heard {
    /// The room as it is: at the beginning, and after each cut.
    Welcome {
        /// The room.
        welcome: Welcome,
        /// This end's address on the way to the host, where others of the room may reach it too; `None` at the host.
        local: Option<IpAddr>,
    },
    /// Something happened.
    News(News),
    /// The connection was cut, for that reason, and is tried again.
    Cut(String),
}

/// How a stay in a room ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// This end left.
    Left,
    /// The host closed the room.
    Closed,
}

/// The two ends of what passes between a seat and whoever sits in it.
pub struct Seat {
    /// What is to be said, in its order. Dropping it leaves the room.
    pub words: mpsc::Sender<Word>,
    /// What is told.
    pub heard: mpsc::Receiver<Heard>,
}

/// The other ends of a [`Seat`].
pub struct Legs {
    pub(super) words: mpsc::Receiver<Word>,
    pub(super) heard: mpsc::Sender<Heard>,
}

impl Seat {
    /// A seat, and what the room holds of it.
    pub fn new() -> (Seat, Legs) {
        let (words, to_say) = mpsc::channel(UNSAID);
        let (heard, told) = mpsc::channel(WAITING);
        (Seat { words, heard: told }, Legs { words: to_say, heard })
    }
}
