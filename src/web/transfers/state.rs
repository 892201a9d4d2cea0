//! How far a transfer and its files are.

use std::sync::Arc;

use data_encoding::HEXLOWER;
use serde_json::{Value, json};

use crate::names::inert;
use crate::store::{Intake, Whole};
use crate::web::answer::Failure;
use crate::web::manifest::{Entry, Manifest};
use crate::web::receiving::{Digests, Receiving};

/// Files of one transfer that are there in part, each an open descriptor; one that nobody writes to starts again.
pub(in crate::web) const PARTS: usize = 16;

/// How far a transfer is.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(in crate::web) enum Phase {
    /// Its list is not whole yet.
    #[default]
    Listing,
    /// A person is asked, or the disk prepared.
    Asking,
    Refused(String),
    Accepted,
    Finished,
    /// By the page.
    Cancelled,
    Failed(String),
}

/// How far a file is.
pub(super) enum FileState {
    Waiting,
    UnderWay(Arc<Receiving>),
    /// Whole, and on its way to its name.
    Committing(Box<Digests>),
    Stored(Box<StoredAs>),
    /// As an earlier attempt has stored it, if it is still the same at the page; and whether this process has told of it.
    Held(Box<StoredAs>, bool),
    Failed,
}

pub(in crate::web) struct StoredAs {
    pub(in crate::web) name: String,
    pub(in crate::web) digests: Digests,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) phase: Phase,
    pub(super) manifest: Manifest,
    /// What it is known by if the page offers it again.
    pub(super) resume: Option<[u8; 32]>,
    pub(super) files: Vec<FileState>,
    /// Which of them are [`FileState::UnderWay`], the oldest first.
    pub(super) parts: Vec<u32>,
    pub(super) intake: Option<Arc<Intake>>,
    /// Bytes that were there of an earlier attempt.
    pub(super) resumed: u64,
    pub(super) done_files: u64,
    /// Of files that are whole.
    pub(super) settled_bytes: u64,
    pub(super) stored_files: u64,
    pub(super) stored_bytes: u64,
    pub(super) failed_files: u64,
    pub(super) first_failure: Option<String>,
    /// Whole files that wait for the committer, and whether it runs.
    pub(super) ready: Vec<(Whole, Digests)>,
    pub(super) committing: bool,
}

impl State {
    pub(super) fn fail(&mut self, id: u32, reason: String) {
        self.failed_files += 1;
        let name = inert(&self.manifest.entries[id as usize].path);
        self.first_failure.get_or_insert_with(|| format!("`{name}`: {reason}"));
        // The place of a file that may still be open is given back with the transfer.
        if let Some(intake) = &self.intake {
            intake.discard(id);
        }
    }

    pub(super) fn count_stored(&mut self, id: u32, stored: StoredAs) {
        self.files[id as usize] = FileState::Stored(Box::new(stored));
        self.done_files += 1;
        self.stored_files += 1;
        self.stored_bytes += self.manifest.entries[id as usize].bytes;
    }

    /// Gives up what is there of a file. Returns the state that it was in.
    pub(super) fn leave(&mut self, id: u32, next: FileState) -> FileState {
        self.parts.retain(|part| *part != id);
        let before = std::mem::replace(&mut self.files[id as usize], next);
        if let FileState::Committing(_) = before {
            self.settled_bytes -= self.manifest.entries[id as usize].bytes;
        }
        before
    }

    pub(super) fn has_all(&self) -> bool {
        self.done_files + self.failed_files == self.manifest.files
    }

    pub(super) fn done_bytes(&self) -> u64 {
        let part = |part: &u32| match &self.files[*part as usize] {
            FileState::UnderWay(receiving) => receiving.have(),
            _ => 0,
        };
        self.settled_bytes + self.parts.iter().map(part).sum::<u64>()
    }

    /// Drops a part that nobody writes to, if there are too many.
    pub(super) fn make_room(&mut self) -> Result<(), Failure> {
        if self.parts.len() < PARTS {
            return Ok(());
        }
        let is_quiet = |part: &&u32| match &self.files[**part as usize] {
            FileState::UnderWay(receiving) => receiving.is_quiet(),
            _ => false,
        };
        let quiet = self.parts.iter().find(is_quiet).copied();
        let quiet = quiet.ok_or_else(|| Failure::busy("too many files of this transfer are under way"))?;
        if let FileState::UnderWay(receiving) = self.leave(quiet, FileState::Waiting) {
            receiving.remove();
        }
        Ok(())
    }
}

impl StoredAs {
    pub(super) fn told(&self, bytes: u64) -> Value {
        json!({
            "have": bytes,
            "stored": { "name": self.name, "blake3": HEXLOWER.encode(&self.digests.blake3) },
        })
    }
}

pub(super) fn is_over(phase: &Phase) -> bool {
    matches!(phase, Phase::Refused(_) | Phase::Finished | Phase::Cancelled | Phase::Failed(_))
}

/// The state of a file of an accepted transfer.
pub(super) fn expected<'a>(
    phase: &Phase,
    manifest: &Manifest,
    files: &'a mut [FileState],
    id: u32,
) -> Result<&'a mut FileState, Failure> {
    match phase {
        Phase::Accepted => {}
        Phase::Listing | Phase::Asking => return Err(Failure::conflict("state", "the transfer is not accepted")),
        _ => return Err(Failure::conflict("over", "the transfer is over")),
    }
    let is_file = manifest.entries.get(id as usize).is_some_and(Entry::is_file);
    let file = files.get_mut(id as usize).filter(|_| is_file);
    file.ok_or_else(|| Failure::missing("file", "no such file was offered"))
}

pub(super) fn seen_file(id: usize, entry: &Entry, file: &FileState) -> Value {
    let (have, sha256, state, name) = match file {
        FileState::Waiting => (0, sha256(""), "waiting", None),
        FileState::UnderWay(receiving) => {
            let (have, sha256) = receiving.so_far();
            (have, sha256, "waiting", None)
        }
        FileState::Committing(digests) => (entry.bytes, digests.sha256, "waiting", None),
        FileState::Held(stored, _) => (entry.bytes, stored.digests.sha256, "waiting", None),
        FileState::Stored(stored) => (entry.bytes, stored.digests.sha256, "stored", Some(&stored.name)),
        FileState::Failed => (0, sha256(""), "failed", None),
    };
    json!({
        "id": id,
        "path": entry.path,
        "bytes": entry.bytes,
        "have": have,
        "sha256": HEXLOWER.encode(&sha256),
        "state": state,
        "name": name,
    })
}

pub(super) fn sha256(text: &str) -> [u8; 32] {
    let mut sha256 = [0; 32];
    sha256.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, text.as_bytes()).as_ref());
    sha256
}
