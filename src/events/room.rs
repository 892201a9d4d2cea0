//! Who is in a room, and what is offered there.

use serde::Serialize;

/// Somebody in a room. `from` is whatever it calls itself; `id` is what it proved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Speaker {
    /// The name that it gave itself, already inert.
    pub from: String,
    /// Key mark of its key.
    pub id: String,
    /// Its number in the room.
    pub member: u32,
    /// Whether somebody else in the room is called the same, so that only `id` tells them apart.
    pub double: bool,
    /// Whether it is this end itself.
    pub own: bool,
}

/// Files that somebody offers to everybody in a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RoomOffer {
    /// Its number, as `/get` takes it.
    pub offer: u32,
    /// Who offers.
    #[serde(flatten)]
    pub by: Speaker,
    /// What it is called, already inert.
    pub name: String,
    /// How many files.
    pub files: u32,
    /// Their bytes.
    pub bytes: u64,
    /// Whether the host gives it for somebody who has only a page: what came from there is private, not verified.
    pub relayed: bool,
}
