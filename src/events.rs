//! All that the core may tell a person or a script, and all that it may ask.
//!
//! The rooms below `ui` never print: they hand an [`Event`] or a [`Question`] to a [`Reporter`].
//! The serialised form of [`Event`] is the contract of `--json`: one object a line, `event` names the variant;
//! fields may be added, never changed.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::SystemTime;

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

/// The documented exit codes, which are also `code` in [`Event::Failed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ExitCode {
    /// Everything was stored.
    Ok = 0,
    /// A defect of qrdrop.
    Internal = 1,
    /// Wrong usage or a malformed link.
    Usage = 2,
    /// Refused, wholly or in part.
    Refused = 3,
    /// Nobody found, unreachable, or nobody came.
    Nobody = 4,
    /// The transfer is incomplete.
    Incomplete = 5,
    /// Wrong token, wrong or changed key, code not compared.
    Pairing = 6,
    /// File, folder, disk or port on this machine.
    Local = 7,
    /// Interrupted while something was under way.
    Interrupted = 130,
}

impl Serialize for ExitCode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(*self as u8)
    }
}

/// A failure as a person reads it: what happened and whose fault it is, then what to try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// What the process will exit with if this is what ends it.
    pub code: ExitCode,
    /// What happened, in lower case without a full stop.
    pub message: String,
    /// What to try; empty where nothing can be tried.
    pub hint: String,
}

impl Failure {
    /// A failure of `code` with its two sentences.
    pub fn new(code: ExitCode, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Failure { code, message: message.into(), hint: hint.into() }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// What `doctor` looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Check {
    /// One network interface and its addresses.
    Interface,
    /// The address that goes into the code.
    Address,
    /// IPv6 beside or instead of IPv4.
    Ipv6,
    /// A VPN or tunnel that takes traffic.
    Vpn,
    /// A container around this program.
    Container,
    /// Windows around this Linux.
    Wsl,
    /// Whether the port is free.
    Port,
    /// Whether the port can be connected to.
    Reach,
    /// Packet filters of this machine.
    Firewall,
    /// Whether our own advertisement is heard.
    Mdns,
    /// Whether anybody else is heard.
    Neighbours,
}

impl Check {
    /// The word for it, the same as in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Check::Interface => "interface",
            Check::Address => "address",
            Check::Ipv6 => "ipv6",
            Check::Vpn => "vpn",
            Check::Container => "container",
            Check::Wsl => "wsl",
            Check::Port => "port",
            Check::Reach => "reach",
            Check::Firewall => "firewall",
            Check::Mdns => "mdns",
            Check::Neighbours => "neighbours",
        }
    }
}

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Nothing stands in the way.
    Good,
    /// Worth knowing; may be in the way of somebody.
    Odd,
    /// In the way.
    Bad,
}

/// What `doctor` found about one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub check: Check,
    /// How it came out.
    pub verdict: Verdict,
    /// What is so, and why it matters.
    pub message: String,
    /// What to try; empty where nothing needs to be done.
    pub remedy: String,
    /// The command that does it, where one can be named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// `ip:port` in the code; of [`Check::Address`] alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<SocketAddr>,
}

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

fn rfc3339<S: serde::Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_millis(*time))
}

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

/// What a hosting screen shows beside events. Holds the secret link: never logged, never in JSON.
#[derive(Clone, PartialEq, Eq)]
pub struct Board {
    /// The link in the code; secret.
    pub link: String,
    /// `ip:port` in the link.
    pub address: SocketAddr,
    /// Interface of that address.
    pub interface: String,
    /// Every other address that may work.
    pub others: Vec<SocketAddr>,
    /// The shown name.
    pub name: String,
    /// Absolute path of the receive folder, if there is one.
    pub directory: Option<String>,
    /// What an outbox has to give, in a few words.
    pub offers: Option<String>,
    /// What to do on the other device, in a sentence or two.
    pub advice: String,
    /// Whether receivers nearby can find it by name.
    pub discoverable: bool,
    /// This side's key mark, which a sender sees too.
    pub mark: String,
    /// A sentence worth a person's attention, e.g. that no other device can reach the address.
    pub warning: Option<String>,
}

impl std::fmt::Debug for Board {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Board").field("address", &self.address).field("link", &"<secret>").finish_non_exhaustive()
    }
}

/// Which way an offer would go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The peer offers it to us.
    In,
    /// The peer wants what is offered here.
    Out,
}

/// Something only a person can decide. Everything but an explicit yes is a no.
#[derive(Debug, Clone, PartialEq)]
pub enum Question {
    /// Take what is offered, or give it?
    Accept {
        /// Which of the two.
        way: Way,
        /// What is offered.
        offer: Offer,
        /// A sentence that belongs above the question, e.g. why `--yes` did not answer it.
        note: Option<String>,
    },
    /// Let somebody into the room?
    Join {
        /// Who wants to come in.
        peer: Peer,
        /// What the pairing proves.
        label: Label,
        /// A sentence that belongs above the question.
        note: Option<String>,
    },
    /// Is the same code on the other screen?
    SameCode {
        /// Who claims to be there.
        peer: Peer,
        /// Six decimal digits.
        code: String,
    },
}

/// A person's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// An explicit yes.
    Yes,
    /// A no, whoever gave it.
    No(NoReason),
}

/// Where a no came from, so that the message can name the way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoReason {
    /// A person said so.
    Person,
    /// Nobody answered within the limit.
    Timeout,
    /// There is no terminal to ask at.
    NoTerminal,
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
