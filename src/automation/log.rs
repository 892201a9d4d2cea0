//! The transfer log: one JSON object a line for each transfer that ended.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use serde::Serialize;

use super::ledger::Transfer;
use crate::confine::Errands;
use crate::events::{ExitCode, Failure, Label, Peer, Way};
use crate::names::json_line;
use crate::store::{StoreError, append};

/// One line. Fields may be added, never changed.
#[derive(Serialize)]
struct Line<'a> {
    /// When it ended (RFC 3339, UTC).
    time: String,
    direction: &'static str,
    transfer: &'a str,
    peer: &'a Peer,
    label: Label,
    offered_files: u64,
    offered_bytes: Option<u64>,
    /// What was stored, also of a transfer that failed.
    files: u64,
    bytes: u64,
    /// From accept to the end.
    seconds: f64,
    outcome: &'static str,
    /// The exit code that it stands for.
    code: ExitCode,
    reason: Option<&'a str>,
}

/// The file of `--log`. It is opened for each line, so that it may be moved away at any time.
pub(super) struct TransferLog {
    path: PathBuf,
    direction: &'static str,
    errands: Errands,
    told: AtomicBool,
}

impl TransferLog {
    /// Makes the file if it is not there.
    ///
    /// # Errors
    /// It can't be written.
    pub(super) fn open(path: PathBuf, way: Way, errands: Errands) -> Result<TransferLog, StoreError> {
        let direction = match way {
            Way::In => "in",
            Way::Out => "out",
        };
        let log = TransferLog { path, direction, errands, told: AtomicBool::new(false) };
        log.append(String::new())?;
        Ok(log)
    }

    /// Everything accepted is stored.
    ///
    /// # Errors
    /// The line is missing: why, the first time.
    pub(super) fn finished(
        &self,
        transfer: &Transfer,
        files: u64,
        bytes: u64,
        seconds: f64,
    ) -> Result<(), Option<StoreError>> {
        self.add(Line { files, bytes, seconds, ..self.line(transfer, "finished", ExitCode::Ok, None) })
    }

    /// It was not accepted.
    ///
    /// # Errors
    /// As above.
    pub(super) fn refused(&self, transfer: &Transfer, reason: &str) -> Result<(), Option<StoreError>> {
        self.add(self.line(transfer, "refused", ExitCode::Refused, Some(reason)))
    }

    /// It ended before its end.
    ///
    /// # Errors
    /// As above.
    pub(super) fn failed(&self, transfer: &Transfer, failure: &Failure) -> Result<(), Option<StoreError>> {
        self.add(self.line(transfer, "failed", failure.code, Some(&failure.message)))
    }

    fn line<'a>(
        &self,
        transfer: &'a Transfer,
        outcome: &'static str,
        code: ExitCode,
        reason: Option<&'a str>,
    ) -> Line<'a> {
        Line {
            time: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            direction: self.direction,
            transfer: &transfer.origin.transfer,
            peer: &transfer.origin.peer,
            label: transfer.origin.label,
            offered_files: transfer.offered_files,
            offered_bytes: transfer.offered_bytes,
            files: transfer.files,
            bytes: transfer.bytes,
            seconds: transfer.begun.map_or(0.0, |begun| begun.elapsed().as_secs_f64()),
            outcome,
            code,
            reason,
        }
    }

    fn add(&self, line: Line<'_>) -> Result<(), Option<StoreError>> {
        self.append(json_line(&line)).map_err(|error| (!self.told.swap(true, Ordering::Relaxed)).then_some(error))
    }

    fn append(&self, line: String) -> Result<(), StoreError> {
        let path = self.path.clone();
        self.errands.run(move || append(&path, &line))
    }
}
