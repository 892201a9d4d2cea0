use std::io;
use std::path::Path;

use crate::names::{human_bytes, inert};

/// Whose fault a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The peer asked for or did something that it must not.
    Peer,
    /// This machine: its disk, its folders, its rights.
    Here,
}

/// What can go wrong on the disk. `subject` is a name or path that is safe to show.
///
/// The text may hold local paths and is for this side only; [`StoreError::for_peer`] is what the other side may hear.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system, the quota or the file size limit is exhausted.
    #[error("the disk is full: can't {action} `{subject}`")]
    DiskFull {
        /// What was tried.
        action: &'static str,
        /// On what.
        subject: String,
    },
    /// The sizes that were declared do not fit, counted before anything was written.
    #[error("not enough space on this disk: {} needed, {} to give", human_bytes(*needed_bytes), human_bytes(*free_bytes))]
    NoSpaceFor {
        /// Bytes that the transfer would take.
        needed_bytes: u64,
        /// Bytes free, less what other transfers reserved and the reserve that is kept.
        free_bytes: u64,
    },
    /// The file system is mounted read-only.
    #[error("the file system is read-only: can't {action} `{subject}`")]
    ReadOnly {
        /// What was tried.
        action: &'static str,
        /// On what.
        subject: String,
    },
    /// The rights do not allow it.
    #[error("permission denied: can't {action} `{subject}`")]
    Denied {
        /// What was tried.
        action: &'static str,
        /// On what.
        subject: String,
    },
    /// Something that must be there is not, or not any more.
    #[error("`{subject}` is not there: can't {action} it")]
    Gone {
        /// What was tried.
        action: &'static str,
        /// On what.
        subject: String,
    },
    /// Another folder than the one that was opened has taken its place, and may not be used.
    #[error("`{subject}` was replaced by another folder: can't use it")]
    Replaced {
        /// Where it is.
        subject: String,
    },
    /// A folder is needed.
    #[error("`{subject}` is not a folder")]
    NotAFolder {
        /// What is there instead of a folder.
        subject: String,
    },
    /// Going on could touch something that is not ours.
    #[error("refused: `{subject}` is {why}")]
    Unsafe {
        /// What was met.
        subject: String,
        /// What it is.
        why: &'static str,
    },
    /// More bytes came than were declared.
    #[error("the sender sent more than the {declared_bytes} bytes that it declared for `{subject}`")]
    BeyondDeclared {
        /// Which file.
        subject: String,
        /// Its declared size in bytes.
        declared_bytes: u64,
    },
    /// A file was to be put in place that is not whole.
    #[error("`{subject}` is incomplete: {got_bytes} of {expected_bytes} bytes")]
    Incomplete {
        /// Which file.
        subject: String,
        /// Bytes that it should have.
        expected_bytes: u64,
        /// Bytes that it has.
        got_bytes: u64,
    },
    /// One path is offered both as a file and as a folder, or an id twice, or more folders than the cap.
    #[error("the sender's list contradicts itself at `{subject}`: {why}")]
    BadPlan {
        /// Where.
        subject: String,
        /// How.
        why: &'static str,
    },
    /// Every numbered name that was tried is taken.
    #[error("no free name for `{subject}`: thousands like it are there already")]
    NoFreeName {
        /// The wanted name.
        subject: String,
    },
    /// The id was never planned, or is open, placed or discarded.
    #[error("entry {id} is not waiting to be received")]
    Unplanned {
        /// The id.
        id: u32,
    },
    /// The disk could not promise that the file survives a power cut. Never retried on the same data.
    #[error("the disk failed to keep `{subject}`: {source}")]
    NotDurable {
        /// Which file.
        subject: String,
        /// What the system said.
        source: io::Error,
    },
    /// A source is not what it was when it was listed.
    #[error("`{subject}` changed while it was being sent")]
    SourceChanged {
        /// Which file.
        subject: String,
    },
    /// A named path is not something that can be sent.
    #[error("can't send `{subject}`: it is {what}")]
    NotSendable {
        /// Which path.
        subject: String,
        /// What it is.
        what: &'static str,
    },
    /// A file or folder that holds secrets may be read or changed by others.
    #[error("refused: `{subject}` is open to other users (mode {mode:03o})")]
    Loose {
        /// Which one.
        subject: String,
        /// Its permission bits.
        mode: u32,
    },
    /// Anything else that the system says.
    #[error("can't {action} `{subject}`: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        subject: String,
        /// What the system said.
        source: io::Error,
    },
}

impl StoreError {
    /// A stream that is read once could not be read on.
    pub fn unreadable(subject: &str, source: io::Error) -> StoreError {
        StoreError::io("read", subject, source)
    }

    /// The stream that a file was to be written to takes no more.
    pub fn unwritable(source: io::Error) -> StoreError {
        StoreError::io("write to", "standard output", source)
    }

    /// Sorts a system error into the kinds that matter to people and peers.
    pub(super) fn io(action: &'static str, subject: impl Into<String>, source: io::Error) -> StoreError {
        let subject = subject.into();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                StoreError::DiskFull { action, subject }
            }
            io::ErrorKind::ReadOnlyFilesystem => StoreError::ReadOnly { action, subject },
            io::ErrorKind::PermissionDenied => StoreError::Denied { action, subject },
            io::ErrorKind::NotFound | io::ErrorKind::StaleNetworkFileHandle => StoreError::Gone { action, subject },
            _ => StoreError::Io { action, subject, source },
        }
    }

    /// The same failure of a sync, told for one of the files that it was for.
    pub(super) fn not_durable(subject: &str, source: &io::Error) -> StoreError {
        let copy = match source.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => io::Error::new(source.kind(), source.to_string()),
        };
        match StoreError::io("keep", subject, copy) {
            full @ StoreError::DiskFull { .. } => full,
            StoreError::Io { subject, source, .. } => StoreError::NotDurable { subject, source },
            other => other,
        }
    }

    /// What to try; empty where nothing can be tried.
    pub fn hint(&self) -> &str {
        match self {
            StoreError::DiskFull { .. } | StoreError::NoSpaceFor { .. } => {
                "free some space, or receive into another folder"
            }
            StoreError::ReadOnly { .. } => "make it writable again, or receive into another folder",
            StoreError::Denied { .. } => "check who owns it and what its permissions are",
            StoreError::Gone { .. } => "check the path, and that the disk it is on is mounted",
            StoreError::Replaced { .. } => {
                "start again: qrdrop limits itself to the folder that it finds when it starts"
            }
            StoreError::NotAFolder { .. } => "name a folder that exists",
            StoreError::Unsafe { .. } => "look at what it is, and move it away if it does not belong there",
            StoreError::BeyondDeclared { .. } | StoreError::BadPlan { .. } => {
                "the sender's program is faulty or hostile; ask for it to be sent in another way"
            }
            StoreError::Incomplete { .. } => "send it again",
            StoreError::NoFreeName { .. } => "tidy the folder, or receive into another one",
            StoreError::Unplanned { .. } => "",
            StoreError::NotDurable { .. } | StoreError::Io { .. } => {
                "check the disk, and the system's log for its errors"
            }
            StoreError::SourceChanged { .. } => "send it again when nothing writes to it any more",
            StoreError::NotSendable { .. } => {
                "only files and folders can be sent; a stream can be piped into `qrdrop send -`"
            }
            StoreError::Loose { .. } => {
                "take the rights of others away (`chmod go=`), or remove it if it may have been read"
            }
        }
    }

    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            StoreError::BeyondDeclared { .. }
            | StoreError::Incomplete { .. }
            | StoreError::BadPlan { .. }
            | StoreError::Unplanned { .. } => Fault::Peer,
            _ => Fault::Here,
        }
    }

    /// Whether more space is all that it takes.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, StoreError::DiskFull { .. } | StoreError::NoSpaceFor { .. })
    }

    /// The failure in words that give no local path away.
    pub fn for_peer(&self) -> &'static str {
        match self {
            StoreError::DiskFull { .. } => "disk full",
            StoreError::NoSpaceFor { .. } => "not enough free space",
            StoreError::ReadOnly { .. } => "the folder is read-only",
            StoreError::Denied { .. } => "the folder can't be written",
            StoreError::Gone { .. } | StoreError::Replaced { .. } | StoreError::NotAFolder { .. } => {
                "the folder is not there any more"
            }
            StoreError::Unsafe { .. } | StoreError::Loose { .. } => "the name leads somewhere unsafe",
            StoreError::BeyondDeclared { .. } => "more bytes than declared",
            StoreError::Incomplete { .. } => "incomplete",
            StoreError::BadPlan { .. } => "the list contradicts itself",
            StoreError::NoFreeName { .. } => "no free name",
            StoreError::Unplanned { .. } => "not an accepted entry",
            StoreError::SourceChanged { .. } => "the source changed while it was read",
            StoreError::NotSendable { .. } => "the source can't be sent",
            StoreError::NotDurable { .. } | StoreError::Io { .. } => "disk error",
        }
    }
}

/// A local path as it may be shown.
pub(super) fn shown(path: &Path) -> String {
    inert(&path.to_string_lossy())
}
