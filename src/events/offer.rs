//! What a transfer is: who, what, how it was paired.

use std::net::SocketAddr;

use serde::Serialize;

/// How many entries of an offer are told to a script; the rest is counted in `entries_left_out`.
pub const ENTRIES_TOLD: usize = 1_000;

/// What the pairing proves, carried by every transfer: on screen, in JSON, in the log (`security.md` P9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum Label {
    /// Both ends know each other's key.
    #[serde(rename = "verified")]
    Verified,
    /// Encrypted, but someone able to tamper with the network could have stood in between.
    #[serde(rename = "private, not verified")]
    Private,
    /// Nothing is protected.
    #[serde(rename = "open")]
    Open,
}

impl Label {
    /// The words shown to a person; the same as in JSON.
    pub fn words(self) -> &'static str {
        match self {
            Label::Verified => "verified",
            Label::Private => "private, not verified",
            Label::Open => "open",
        }
    }
}

/// Which of the three dialects of the port a peer speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// TLS 1.3 with ALPN `qrdrop/1`.
    Native,
    /// HTTP/1.1.
    Web,
    /// The tutorial's header.
    Classic,
}

/// Who is at the other end. `name` is whatever the peer says; `id` is what it proved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Peer {
    /// Key mark of the peer's key (see `pairing::Fingerprint::mark`), or its address where it has no key.
    pub id: String,
    /// The name that the peer gave itself, already inert (`names`); empty while unknown.
    pub name: String,
    /// `ip:port`.
    pub address: SocketAddr,
    /// How it talks.
    pub dialect: Dialect,
}

/// What an offered entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A folder, told so that empty ones and their times survive.
    Folder,
    /// A short text for the receiver's screen.
    Text,
}

/// One line of an offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OfferedEntry {
    /// Relative path as offered.
    pub name: String,
    /// Size in bytes; `None` while unknown.
    pub bytes: Option<u64>,
    /// File, folder or text.
    pub kind: EntryKind,
}

/// What somebody wants to send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Offer {
    /// Names the transfer in every later event.
    pub transfer: String,
    /// Who offers.
    pub peer: Peer,
    /// What the pairing proves.
    pub label: Label,
    /// Number of files, folders not counted.
    pub files: u64,
    /// Sum of their sizes in bytes; `None` while one is unknown.
    pub bytes: Option<u64>,
    /// The first [`ENTRIES_TOLD`] entries.
    pub entries: Vec<OfferedEntry>,
    /// How many entries are not listed.
    pub entries_left_out: u64,
}
