//! All that the core may tell a person or a script, and all that it may ask.
//!
//! The rooms below `ui` never print: they hand an [`Event`] or a [`Question`] to a [`Reporter`].
//! The serialised form of [`Event`] is the contract of `--json`: one object a line, `event` names the variant;
//! fields may be added, never changed.

mod check;
mod ending;
mod offer;
mod question;
mod room;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::SystemTime;

use serde::Serialize;

pub use check::{Check, Finding, Verdict};
pub use ending::{ExitCode, Failure};
pub use offer::{Dialect, ENTRIES_TOLD, EntryKind, Label, Offer, OfferedEntry, Peer};
pub use question::{Answer, Board, NoReason, Question, Way};
pub use room::{RoomOffer, Speaker};

/// Something that happened. See `docs/guide.md` for each event as a script sees it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The port is open. The link is deliberately not here: `--invite-file` is for that.
    Listening {
        /// The shown name of this receiver.
        name: String,
        /// The address in the code.
        address: SocketAddr,
        /// Every address under which the port may be reached.
        addresses: Vec<SocketAddr>,
        /// The port.
        port: u16,
        /// Interface of `address`.
        interface: String,
        /// Absolute path of the receive folder; `None` for an outbox or room.
        directory: Option<String>,
        /// Whether it is advertised over mDNS.
        discoverable: bool,
    },
    /// Six digits to compare with the other person's.
    Code {
        /// Who the code stands for.
        peer: Peer,
        /// Six decimal digits.
        code: String,
    },
    /// A peer is paired.
    Peer {
        /// Who.
        peer: Peer,
        /// What the pairing proves.
        label: Label,
    },
    /// Something is offered.
    Offer(Offer),
    /// The offer was accepted.
    Accepted {
        /// Which transfer.
        transfer: String,
    },
    /// The offer was refused.
    Refused {
        /// Which transfer.
        transfer: String,
        /// Why.
        reason: String,
    },
    /// Bytes moved so far; at most four a second for each transfer.
    Progress {
        /// Which transfer.
        transfer: String,
        /// Bytes so far.
        bytes: u64,
        /// Bytes in all; `None` while unknown.
        total: Option<u64>,
    },
    /// One file is whole, checked and would survive a power cut.
    Stored {
        /// Which transfer.
        transfer: String,
        /// Final relative path.
        name: String,
        /// Relative path as offered.
        offered: String,
        /// Absolute path; on the receiver only.
        #[serde(skip_serializing_if = "Option::is_none")]
        path: Option<String>,
        /// Size in bytes.
        bytes: u64,
        /// BLAKE3 in lower-case hexadecimal.
        blake3: String,
    },
    /// A text arrived.
    Text {
        /// Which transfer.
        transfer: String,
        /// The text, as sent.
        text: String,
    },
    /// The connection was cut and is tried again.
    Retry {
        /// Which transfer.
        transfer: String,
        /// Bytes that need not be sent again.
        from_bytes: u64,
        /// Why.
        reason: String,
    },
    /// An entry was left out.
    Skipped {
        /// Which transfer.
        transfer: String,
        /// Its relative path.
        name: String,
        /// Why.
        reason: String,
    },
    /// A transfer ended with everything accepted stored.
    Finished {
        /// Which transfer.
        transfer: String,
        /// Files stored.
        files: u64,
        /// Their bytes.
        bytes: u64,
        /// Seconds from accept to the last acknowledgement.
        seconds: f64,
        /// What the pairing proved.
        label: Label,
    },
    /// A transfer, a peer or the command failed.
    Failed {
        /// Which transfer, if one was under way.
        transfer: Option<String>,
        /// Code, message, hint.
        #[serde(flatten)]
        failure: Failure,
    },
    /// A receiver was found on the LAN.
    Receiver {
        /// The name it shows.
        name: String,
        /// Where it listens.
        address: SocketAddr,
        /// Its key mark.
        id: String,
        /// Whether it is a remembered device.
        trusted: bool,
    },
    /// A peer is remembered from now on.
    Remembered {
        /// Who, by the name that it is remembered by.
        peer: Peer,
    },
    /// A peer was to be remembered, and is not.
    NotRemembered {
        /// Who.
        peer: Peer,
        /// Why.
        reason: String,
    },
    /// A remembered device.
    Device {
        /// The name that it is remembered by.
        name: String,
        /// Its key mark.
        id: String,
        /// When it was first met, RFC 3339 in UTC.
        since: String,
        /// When it was last met, likewise; `None` if not again.
        last_seen: Option<String>,
    },
    /// Files are being made smaller, before anything is offered; at most four a second.
    Optimizing {
        /// Bytes looked at so far.
        bytes: u64,
        /// Bytes in all.
        total: u64,
    },
    /// A file was made smaller or freed of its location, or not, in which case both sizes are the same.
    Optimized {
        /// The name it is offered under.
        name: String,
        /// `jpeg`, `png`, `webp` or `pdf`; `None` if it was left as it is.
        format: Option<&'static str>,
        /// Its size in bytes on the disk.
        before: u64,
        /// The size in bytes that it is offered with.
        after: u64,
        /// What was done, or why nothing was, in a few words.
        what: String,
        /// Whether a location was found in it and is gone.
        location_removed: bool,
    },
    /// `doctor` has looked at something.
    Finding(Finding),
    /// A message of the room.
    Message {
        /// Who said it.
        #[serde(flatten)]
        by: Speaker,
        /// What was said.
        text: String,
        /// Its place in the order of the room, which counts everything that happens there.
        number: u64,
        /// When, by the clock of the room's host.
        #[serde(serialize_with = "rfc3339")]
        time: SystemTime,
    },
    /// Somebody came into the room; this end itself is told of too.
    Joined {
        /// Who.
        #[serde(flatten)]
        by: Speaker,
    },
    /// Somebody left the room.
    Left {
        /// Who.
        #[serde(flatten)]
        by: Speaker,
    },
    /// Somebody offers files to everybody in the room.
    Shared(RoomOffer),
    /// Such an offer is over.
    Unshared {
        /// The number of the offer.
        offer: u32,
    },
    /// Who is in the room and what there is to take: at the beginning, after a cut, and when asked for.
    Room {
        /// Everybody who is here.
        members: Vec<Speaker>,
        /// What there is.
        offers: Vec<RoomOffer>,
        /// How many lines were said while this end was away and are lost to it.
        missed: u64,
    },
    /// The connection to the room was cut, and is tried again.
    Cut {
        /// Why.
        reason: String,
    },
    /// The command is over.
    Closed {
        /// Why.
        reason: String,
    },
}

/// A boxed future, so that [`Reporter`] can be a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where the core tells and asks. Implemented by `ui`, and by recorders in tests.
///
/// `tell` and `show` never block on a slow reader for longer than it takes to queue.
pub trait Reporter: Send + Sync {
    /// Tells what happened.
    fn tell(&self, event: Event);
    /// Shows or redraws the invitation of a hosting command.
    fn show(&self, board: Board);
    /// Takes the code off the screen: nobody may scan it any more.
    fn hide(&self);
    /// Asks a person. Dropping the future withdraws the question.
    fn ask(&self, question: Question) -> BoxFuture<'_, Answer>;
}

fn rfc3339<S: serde::Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_millis(*time))
}
