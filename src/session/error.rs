//! How a session fails: what happened, whose fault it is, what to try.

use std::io;

use super::devices::{DevicesError, Impostor};
use crate::events::{ExitCode, Failure};
use crate::names::inert;
use crate::net::NetError;
use crate::pairing::{self, PairingError};
use crate::store::StoreError;
use crate::wire::{FrameError, Kind, Malformed, Refuse, RefuseCode, Role};

/// Why a session ended without everything stored.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The connection broke.
    #[error("the connection was cut ({0})")]
    Cut(#[source] io::Error),
    /// The peer gave no sign of life.
    #[error("the other side gave no sign of life for too long")]
    Silent,
    /// The peer did not get through pairing in time.
    #[error("the other side took too long to pair")]
    TooSlow,
    /// The peer broke the protocol.
    #[error("the other side broke the protocol: {0}")]
    Broke(String),
    /// The peer refused.
    #[error("{}", told(.0))]
    Refused(Refuse),
    /// The host is there for something else.
    #[error("{}", found(*.0))]
    Mismatch(Role),
    /// The host holds no room.
    #[error("there is no room there")]
    NoRoom(Role),
    /// The host's key is not the one in the link.
    #[error("the device that answers does not hold the key of the invitation")]
    WrongKey,
    /// What answers in the place of a remembered device has another key.
    #[error("alarm: what answers as `{name}` does not hold its key `{mark}`")]
    NotThatDevice {
        /// The name that the device is remembered by.
        name: String,
        /// The mark of its key.
        mark: String,
    },
    /// Somebody has the name of a remembered device, and another key.
    #[error(transparent)]
    Impostor(#[from] Impostor),
    /// What is remembered of devices can't be used.
    #[error(transparent)]
    Devices(#[from] DevicesError),
    /// The peer could not prove that it knows the secret, or its TLS is not ours.
    #[error("pairing failed: {0}")]
    Pairing(String),
    /// A lane of a session that is over, or never was.
    #[error("pairing failed: no such session")]
    NoSession,
    /// Somebody did not confirm the six digits.
    #[error("the codes were not confirmed as the same: {0}")]
    CodeDiffers(Unconfirmed),
    /// No connection could be made.
    #[error(transparent)]
    Unreachable(#[from] NetError),
    /// A file, folder or disk on this machine.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// This side declined, and has told the peer.
    #[error("{}", .0.text)]
    Declined(Refuse),
    /// Some of what was accepted was not stored.
    #[error("{0}")]
    Incomplete(String),
    /// A source is not what an earlier attempt has sent of it.
    #[error("the source has changed since it was sent in part")]
    Changed,
    /// This program is leaving.
    #[error("interrupted")]
    Interrupted,
}

/// Why a compared code does not count as the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unconfirmed {
    /// The person at this side said no.
    #[error("the answer here was no")]
    Here,
    /// The other side said no.
    #[error("the answer at the other side was no")]
    There,
    /// Nobody answered at this side.
    #[error("nobody answered here in time")]
    NoAnswerHere,
    /// Nobody answered at the other side.
    #[error("nobody answered at the other side in time")]
    NoAnswerThere,
    /// Nobody can be asked at this side.
    #[error("there is no terminal here to ask at; use the link instead")]
    NoTerminal,
}

/// The peer's refusal in our words where the code is known, in its own, made inert, where that says more.
fn told(refuse: &Refuse) -> String {
    match refuse.code {
        RefuseCode::Version => {
            format!("the other side speaks version {} of the protocol", list(&refuse.versions))
        }
        RefuseCode::Declined => "the person at the other side said no".to_owned(),
        RefuseCode::NoAnswer => "nobody answered at the other side in time".to_owned(),
        _ => format!("the other side refused: {}", inert(&refuse.text)),
    }
}

/// What a host turned out to be.
fn found(role: Role) -> &'static str {
    match role {
        Role::Inbox => "that is an inbox: it takes files, and has none to fetch",
        Role::Outbox => "that is an outbox: it has files to fetch, and takes none",
        Role::Room => "that is a room: it neither takes files nor gives them",
        Role::Sends | Role::Fetches | Role::Joins => "that is no host",
    }
}

fn list(versions: &[u16]) -> String {
    versions.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")
}

impl SessionError {
    /// Whether it is of the network or of a peer that was interrupted, and may be over in a moment.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            SessionError::Cut(_) | SessionError::Silent | SessionError::Unreachable(_) | SessionError::Changed => true,
            SessionError::Refused(refuse) => refuse.code == RefuseCode::Busy,
            _ => false,
        }
    }

    pub(super) fn broke(what: impl Into<String>) -> Self {
        SessionError::Broke(what.into())
    }

    pub(super) fn malformed(error: Malformed) -> Self {
        SessionError::Broke(error.to_string())
    }

    pub(super) fn bad_frame(error: FrameError) -> Self {
        SessionError::Broke(error.to_string())
    }

    pub(super) fn misplaced(kind: Kind) -> Self {
        SessionError::Broke(format!("`{kind:?}` has no place here"))
    }

    /// The peer refused, for whatever reason.
    pub(super) fn refused(refuse: Refuse) -> Self {
        SessionError::Refused(refuse)
    }

    /// A TLS handshake that failed: a wrong key is an alarm, everything else a peer that isn't ours.
    pub(super) fn handshake(error: io::Error) -> Self {
        match pairing::tls::refusal(&error) {
            Some(PairingError::WrongKey) => SessionError::WrongKey,
            Some(other) => SessionError::Pairing(other.to_string()),
            None if error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) => {
                SessionError::Pairing(error.to_string())
            }
            None => SessionError::Cut(error),
        }
    }

    /// What to tell the peer before hanging up; `None` where it has gone or has said the last word itself.
    pub(super) fn parting(&self) -> Option<Refuse> {
        let (code, text) = match self {
            SessionError::Broke(_) => (RefuseCode::Malformed, self.to_string()),
            SessionError::TooSlow | SessionError::Pairing(_) | SessionError::NoSession => {
                (RefuseCode::Pairing, self.to_string())
            }
            SessionError::Impostor(_) => {
                (RefuseCode::Pairing, "a device of this name is known there by another key: choose another `--name`, or have that one forgotten there".to_owned())
            }
            SessionError::Devices(_) => (RefuseCode::Storage, "what is remembered there can't be used".to_owned()),
            SessionError::CodeDiffers(_) => (RefuseCode::CodeDiffers, self.to_string()),
            SessionError::Store(error) if error.is_disk_full() => (RefuseCode::DiskFull, error.for_peer().to_owned()),
            SessionError::Store(error) => (RefuseCode::Storage, error.for_peer().to_owned()),
            SessionError::Mismatch(_) | SessionError::NoRoom(_) => (RefuseCode::Role, "this is not what it came for".to_owned()),
            SessionError::Declined(refuse) => return Some(refuse.clone()),
            SessionError::Interrupted => (RefuseCode::Cancelled, "the other side has left".to_owned()),
            SessionError::Cut(_)
            | SessionError::Silent
            | SessionError::Refused(_)
            | SessionError::WrongKey
            | SessionError::NotThatDevice { .. }
            | SessionError::Unreachable(_)
            | SessionError::Changed
            | SessionError::Incomplete(_) => return None,
        };
        Some(super::consent::refusal(code, text))
    }

    /// As [`SessionError::failure`], of a transfer that can go on later by doing `what`.
    pub(crate) fn failure_of_kept(&self, what: &str) -> Failure {
        let failure = self.failure();
        let is_early = match self {
            SessionError::Cut(_) | SessionError::Silent | SessionError::Interrupted => true,
            SessionError::Refused(refuse) => refuse.code == RefuseCode::Cancelled,
            _ => false,
        };
        match is_early {
            true => {
                Failure { hint: format!("what has arrived is kept for 7 days: {what} to go on from there"), ..failure }
            }
            false => failure,
        }
    }

    /// As a person and a script are told.
    pub fn failure(&self) -> Failure {
        let (code, hint) = match self {
            SessionError::Cut(_) | SessionError::Silent => {
                (ExitCode::Incomplete, "nothing half-done was kept under a final name; check the network and try again")
            }
            SessionError::TooSlow | SessionError::Pairing(_) | SessionError::NoSession => {
                (ExitCode::Pairing, "scan the code that is on the other screen now")
            }
            SessionError::Broke(_) => (
                ExitCode::Incomplete,
                "use the same version of qrdrop on both sides; if they are, this is a defect: report it",
            ),
            SessionError::Refused(refuse) | SessionError::Declined(refuse) => refused(refuse),
            SessionError::Mismatch(role) => (ExitCode::Refused, what_for(*role)),
            SessionError::NoRoom(role) => (ExitCode::Refused, with_chat(*role)),
            SessionError::WrongKey => (
                ExitCode::Pairing,
                "nothing was said; another device has this address now, or someone is in between: scan the code again",
            ),
            SessionError::NotThatDevice { .. } => (
                ExitCode::Pairing,
                "nothing was said; somebody may pose as it. If you know that it has a new key, `qrdrop devices forget` it and pair again",
            ),
            SessionError::Impostor(impostor) => return impostor.failure(),
            SessionError::Devices(error) => return error.failure(),
            SessionError::CodeDiffers(_) => (
                ExitCode::Pairing,
                "nothing was said; scan the code there or give its link with `--to` or `--from`; if the digits differed, someone is in between",
            ),
            SessionError::Unreachable(error) => (ExitCode::Nobody, error.hint().unwrap_or_default()),
            SessionError::Store(error) => (ExitCode::Local, error.hint()),
            SessionError::Incomplete(_) | SessionError::Changed => {
                (ExitCode::Incomplete, "what was stored stays; try the rest again")
            }
            SessionError::Interrupted => (ExitCode::Interrupted, ""),
        };
        Failure::new(code, self.to_string(), hint)
    }
}

/// What a host of this kind is good for.
fn what_for(role: Role) -> &'static str {
    match role {
        Role::Inbox => "send there with `qrdrop send --to`",
        Role::Outbox => "fetch from there with `qrdrop receive --from`",
        _ => "look at what the other side is running",
    }
}

/// How a host of this kind is started with a room.
fn with_chat(role: Role) -> &'static str {
    match role {
        Role::Inbox => "that is an inbox: start it with `qrdrop receive --chat`",
        Role::Outbox => "that is an outbox: start it with `qrdrop send --chat`",
        _ => "start one there with `qrdrop chat`",
    }
}

fn refused(refuse: &Refuse) -> (ExitCode, &'static str) {
    match refuse.code {
        RefuseCode::Pairing => (ExitCode::Pairing, "scan the code that is on the other screen now"),
        RefuseCode::CodeDiffers => (
            ExitCode::Pairing,
            "nothing was said; scan the code there or give its link with `--to` or `--from`; if the digits differed, someone is in between",
        ),
        RefuseCode::Version => (ExitCode::Refused, "use the same version of qrdrop on both sides"),
        RefuseCode::NobodyToAsk => {
            (ExitCode::Refused, "start the other side in a terminal, or with the flag that it names")
        }
        RefuseCode::NoAnswer => (ExitCode::Refused, "ask the person there to answer, and try again"),
        RefuseCode::DiskFull => (ExitCode::Refused, "free space at the receiver, or move less"),
        RefuseCode::TooLarge => (ExitCode::Refused, "take less, or start the receiver with a larger `--max-size`"),
        RefuseCode::Name => (ExitCode::Refused, "rename it at the sender, and try again"),
        RefuseCode::Busy => (ExitCode::Refused, "try again in a moment"),
        RefuseCode::Cancelled => (ExitCode::Incomplete, "start the other side, and try again"),
        RefuseCode::Malformed => (ExitCode::Incomplete, "use the same version of qrdrop on both sides"),
        RefuseCode::Declined => (ExitCode::Refused, "ask the person there, and try again"),
        RefuseCode::Storage => (ExitCode::Refused, "the receiver's folder needs a look; then try again"),
        RefuseCode::Role => (ExitCode::Refused, "look at what the other side is running"),
        RefuseCode::Other => (ExitCode::Refused, "ask the person there"),
    }
}
