//! How things end.

use serde::Serialize;

/// The documented exit codes, which are also `code` in [`Event::Failed`](super::Event::Failed).
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
