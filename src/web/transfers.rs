//! What a page sends: one transfer from the list of files to the last "stored". It belongs to the session, so that it
//! outlives connections and reloads.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::answer::Failure;
use super::lock;
use super::manifest::{Entry, Manifest};
use super::receiving::{Digests, Receiving};
use crate::events::Event;
use crate::names::inert;
use crate::pairing::Token;
use crate::session::Inbox;
use crate::store::{IfExists, Intake, Placed, Whole};

/// Transfers of one session that are remembered, the ended ones among them; those under way are never forgotten.
const TRANSFERS: usize = 8;

/// Files of one transfer that are there in part, each an open descriptor; one that nobody writes to starts again.
const PARTS: usize = 16;

/// Files listed in one answer.
const LISTED: usize = 1_000;

/// The longest reason that a page gives, in characters.
const REASON_CHARS: usize = 200;

/// The transfers of a session.
#[derive(Default)]
pub(super) struct Transfers(Mutex<Vec<Arc<Transfer>>>);

impl Transfers {
    pub(super) fn find(&self, id: &str) -> Option<Arc<Transfer>> {
        lock(&self.0).iter().find(|transfer| transfer.id == id).cloned()
    }

    /// The transfer of that name, begun if it is new. `None` if too many are under way.
    pub(super) fn find_or_begin(&self, id: &str, inbox: &Arc<Inbox>, address: IpAddr) -> Option<Arc<Transfer>> {
        let mut transfers = lock(&self.0);
        if let Some(known) = transfers.iter().find(|transfer| transfer.id == id) {
            return Some(Arc::clone(known));
        }
        if transfers.len() >= TRANSFERS {
            let over = transfers.iter().position(|transfer| transfer.is_over())?;
            transfers.remove(over);
        }
        let transfer = Arc::new(Transfer::new(id, Arc::clone(inbox), address));
        transfers.push(Arc::clone(&transfer));
        Some(transfer)
    }

    /// Those that are not over, as the page sees them.
    pub(super) fn under_way(&self) -> Vec<Value> {
        lock(&self.0).iter().filter(|transfer| !transfer.is_over()).map(|transfer| transfer.seen()).collect()
    }

    pub(super) fn is_any_under_way(&self) -> bool {
        lock(&self.0).iter().any(|transfer| transfer.is_under_way())
    }
}

/// How far a transfer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its list is not whole yet.
    Listing,
    /// A person is asked, or the disk prepared.
    Asking,
    Refused(String),
    Accepted,
    Finished,
    Failed(String),
}

/// How far a file is.
enum FileState {
    Waiting,
    UnderWay(Arc<Receiving>),
    /// Whole, and on its way to its name.
    Committing(Box<Digests>),
    Stored(Box<StoredAs>),
    Failed,
}

struct StoredAs {
    name: String,
    digests: Digests,
}

/// What a request to write finds.
pub(super) enum Found {
    /// It may come.
    Receiving(Arc<Receiving>),
    /// It is here: see [`Transfer::outcome`].
    Whole,
}

/// One transfer.
pub(super) struct Transfer {
    /// What the page calls it.
    id: String,
    /// What it is called here: two pages may draw the same name, or one on purpose that of another.
    pub(super) told: String,
    pub(super) inbox: Arc<Inbox>,
    /// Where it was begun from.
    pub(super) address: IpAddr,
    state: Mutex<State>,
    version: watch::Sender<u64>,
}

struct State {
    phase: Phase,
    manifest: Manifest,
    files: Vec<FileState>,
    /// Which of them are [`FileState::UnderWay`], the oldest first.
    parts: Vec<u32>,
    intake: Option<Arc<Intake>>,
    done_files: u64,
    /// Of files that are whole.
    settled_bytes: u64,
    stored_files: u64,
    stored_bytes: u64,
    failed_files: u64,
    first_failure: Option<String>,
    /// Whole files that wait for the committer, and whether it runs.
    ready: Vec<(Whole, Digests)>,
    committing: bool,
}

/// What came of an accepted transfer.
pub(super) struct Tally {
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) failed: u64,
    pub(super) first_failure: Option<String>,
}

impl Transfer {
    fn new(id: &str, inbox: Arc<Inbox>, address: IpAddr) -> Transfer {
        let state = State {
            phase: Phase::Listing,
            manifest: Manifest::default(),
            files: Vec::new(),
            parts: Vec::new(),
            intake: None,
            done_files: 0,
            settled_bytes: 0,
            stored_files: 0,
            stored_bytes: 0,
            failed_files: 0,
            first_failure: None,
            ready: Vec::new(),
            committing: false,
        };
        let told = HEXLOWER.encode(Token::random().as_bytes());
        let (state, version) = (Mutex::new(state), watch::Sender::new(0));
        Transfer { id: id.to_owned(), told, inbox, address, state, version }
    }

    /// Adds a page of the list. What is there already is not added again, so that a page can repeat itself after a cut.
    /// Returns how many entries it has, and whether this froze the list.
    pub(super) fn list(&self, first: usize, entries: Vec<Entry>, last: bool) -> Result<(usize, bool), Failure> {
        let mut state = lock(&self.state);
        let next = state.manifest.entries.len();
        if state.phase != Phase::Listing || first != next {
            return Ok((next, false));
        }
        state.manifest.add(entries).map_err(|error| Failure::refused("list", error.to_string()))?;
        if last {
            if state.manifest.entries.is_empty() {
                return Err(Failure::refused("list", "nothing is offered"));
            }
            state.phase = Phase::Asking;
            state.files = state.manifest.entries.iter().map(|_| FileState::Waiting).collect();
            self.changed();
        }
        Ok((state.manifest.entries.len(), last))
    }

    /// What was offered; whole once the list is frozen.
    pub(super) fn with_manifest<T>(&self, look: impl FnOnce(&Manifest) -> T) -> T {
        look(&lock(&self.state).manifest)
    }

    /// What is offered for the screen.
    pub(super) fn texts(&self) -> Vec<String> {
        self.with_manifest(|manifest| manifest.texts().map(str::to_owned).collect())
    }

    /// Ends it, unless it is over. What is there in part is removed; what was stored stays.
    pub(super) fn end(&self, phase: Phase) {
        let mut state = lock(&self.state);
        if !is_over(&state.phase) {
            state.phase = phase;
            state.intake = None;
            for part in std::mem::take(&mut state.parts) {
                if let FileState::UnderWay(receiving) = state.leave(part, FileState::Waiting) {
                    receiving.interrupt();
                }
            }
            self.changed();
        }
    }

    /// Whether all of it was stored.
    pub(super) fn is_finished(&self) -> bool {
        lock(&self.state).phase == Phase::Finished
    }

    pub(super) fn is_over(&self) -> bool {
        is_over(&lock(&self.state).phase)
    }

    /// Whether it is worth keeping its session for.
    fn is_under_way(&self) -> bool {
        matches!(lock(&self.state).phase, Phase::Asking | Phase::Accepted)
    }

    /// Its files may come; its texts are here already. `false` if it was ended meanwhile.
    pub(super) fn accept(&self, intake: Arc<Intake>) -> bool {
        let mut state = lock(&self.state);
        if state.phase != Phase::Asking {
            return false;
        }
        state.phase = Phase::Accepted;
        state.intake = Some(intake);
        let State { manifest, files, done_files, settled_bytes, .. } = &mut *state;
        for (entry, file) in manifest.entries.iter().zip(files) {
            if let Some(text) = entry.text() {
                let digests = Digests { blake3: *blake3::hash(text.as_bytes()).as_bytes(), sha256: sha256(text) };
                *file = FileState::Stored(Box::new(StoredAs { name: String::new(), digests }));
                (*done_files, *settled_bytes) = (*done_files + 1, *settled_bytes + entry.bytes);
            }
        }
        self.changed();
        true
    }

    /// Whether each of its files is stored, withdrawn or failed, and none on its way to its name.
    pub(super) fn is_settled(&self) -> bool {
        let state = lock(&self.state);
        state.done_files + state.failed_files == state.manifest.files && !state.committing
    }

    pub(super) fn is_committing(&self) -> bool {
        lock(&self.state).committing
    }

    /// Bytes that have come and were verified.
    pub(super) fn done_bytes(&self) -> u64 {
        lock(&self.state).done_bytes()
    }

    pub(super) fn tally(&self) -> Tally {
        let state = lock(&self.state);
        Tally {
            files: state.stored_files,
            bytes: state.stored_bytes,
            failed: state.failed_files,
            first_failure: state.first_failure.clone(),
        }
    }

    /// Where what was stored of it is: the files and folders at its top.
    pub(super) fn tops(&self) -> BTreeSet<PathBuf> {
        let state = lock(&self.state);
        let stored = state.files.iter().filter_map(|file| match file {
            FileState::Stored(stored) => stored.name.split('/').next().filter(|top| !top.is_empty()),
            _ => None,
        });
        stored.map(|top| self.inbox.folder.path().join(top)).collect()
    }

    /// Tells of every change but progress.
    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    fn changed(&self) {
        self.version.send_modify(|version| *version += 1);
    }

    /// As the page sees it.
    pub(super) fn seen(&self) -> Value {
        let state = lock(&self.state);
        let (phase, reason) = match &state.phase {
            // A page that was loaded again can't go on with a list that it has lost.
            Phase::Listing | Phase::Asking => ("asking", None),
            Phase::Refused(reason) => ("refused", Some(reason)),
            Phase::Accepted => ("accepted", None),
            Phase::Finished => ("finished", None),
            Phase::Failed(reason) => ("failed", Some(reason)),
        };
        json!({
            "transfer": self.id,
            "version": *self.version.borrow(),
            "state": phase,
            "reason": reason,
            "files": state.manifest.files,
            "bytes": state.manifest.bytes,
            "done_files": state.done_files,
            "done_bytes": state.done_bytes(),
            "failed_files": state.failed_files,
        })
    }

    /// The files, the first `first` of them left out.
    pub(super) fn listed(&self, first: usize) -> Value {
        let state = lock(&self.state);
        let known = state.manifest.entries.iter().zip(&state.files).enumerate();
        let listed = known.filter(|(_, (entry, _))| entry.is_file()).skip(first).take(LISTED);
        let listed: Vec<Value> = listed.map(|(id, (entry, file))| seen_file(id, entry, file)).collect();
        json!({ "files": listed, "total": state.manifest.entries.iter().filter(|entry| entry.is_file()).count() })
    }

    /// The page can't send a file any more.
    pub(super) fn withdraw(&self, id: u32, reason: &str) -> Result<(), Failure> {
        let mut state = lock(&self.state);
        let state = &mut *state;
        let file = expected(&state.phase, &state.manifest, &mut state.files, id)?;
        if matches!(file, FileState::Waiting | FileState::UnderWay(_)) {
            if let FileState::UnderWay(receiving) = state.leave(id, FileState::Failed) {
                receiving.interrupt();
            }
            let reason: String = inert(reason).chars().take(REASON_CHARS).collect();
            state.fail(id, if reason.is_empty() { "withdrawn".to_owned() } else { reason });
            self.changed();
        }
        Ok(())
    }

    /// What a request that brings content of a file may do with it.
    pub(super) fn enter(&self, id: u32) -> Result<Found, Failure> {
        let mut state = lock(&self.state);
        let state = &mut *state;
        let bytes = state.manifest.entries.get(id as usize).map_or(0, |entry| entry.bytes);
        match expected(&state.phase, &state.manifest, &mut state.files, id)? {
            FileState::UnderWay(receiving) => return Ok(Found::Receiving(Arc::clone(receiving))),
            FileState::Committing(_) | FileState::Stored(_) => return Ok(Found::Whole),
            FileState::Failed => return Err(Failure::conflict("over", "this file is given up")),
            FileState::Waiting => {}
        }
        state.make_room()?;
        let intake = state.intake.as_ref().ok_or_else(|| Failure::conflict("over", "the transfer is over"))?;
        let file = intake.open_partial(id).map_err(|error| Failure::by_disk(&error))?;
        let receiving = Arc::new(Receiving::new(file, bytes));
        state.files[id as usize] = FileState::UnderWay(Arc::clone(&receiving));
        state.parts.push(id);
        Ok(Found::Receiving(receiving))
    }

    /// What became of a whole file; `None` while it is on its way to its name.
    pub(super) fn outcome(&self, id: u32) -> Result<Option<Value>, Failure> {
        let state = lock(&self.state);
        let bytes = state.manifest.entries.get(id as usize).map_or(0, |entry| entry.bytes);
        match state.files.get(id as usize) {
            Some(FileState::Committing(_)) => Ok(None),
            Some(FileState::Stored(stored)) => Ok(Some(stored.told(bytes))),
            Some(FileState::Failed) => Err(Failure::by_host("this file could not be stored")),
            _ => Err(Failure::conflict("over", "this file is not wanted any more")),
        }
    }

    /// Takes a whole file on. The committer runs on a thread of its own; files that become whole while it syncs share
    /// the next sync.
    pub(super) fn commit(self: &Arc<Self>, id: u32, whole: Whole, digests: Digests) {
        let mut state = lock(&self.state);
        if !matches!(state.files.get(id as usize), Some(FileState::UnderWay(_))) {
            return;
        }
        state.files[id as usize] = FileState::Committing(Box::new(digests));
        state.parts.retain(|part| *part != id);
        state.settled_bytes += whole.bytes();
        state.ready.push((whole, digests));
        if !std::mem::replace(&mut state.committing, true) {
            let transfer = Arc::clone(self);
            let intake = state.intake.clone();
            tokio::task::spawn_blocking(move || transfer.commit_ready(intake.as_deref()));
        }
    }

    /// A file that can't be stored.
    pub(super) fn give_up(&self, id: u32, reason: String) {
        let mut state = lock(&self.state);
        if let Some(FileState::UnderWay(_) | FileState::Committing(_)) = state.files.get(id as usize) {
            state.leave(id, FileState::Failed);
            state.fail(id, reason);
            self.changed();
        }
    }

    fn commit_ready(&self, intake: Option<&Intake>) {
        loop {
            let batch = {
                let mut state = lock(&self.state);
                state.committing = !state.ready.is_empty() && intake.is_some();
                std::mem::take(&mut state.ready)
            };
            let Some(intake) = intake.filter(|_| !batch.is_empty()) else {
                // Only now is it settled.
                return self.changed();
            };
            let (batch, digests) = self.without_same(intake, batch);
            for ((id, placed), digests) in intake.commit(batch).into_iter().zip(digests) {
                match placed {
                    Ok(placed) => self.stored(id, &placed, digests),
                    Err(error) => {
                        intake.discard(id);
                        self.give_up(id, error.to_string());
                    }
                }
            }
        }
    }

    /// With `--if-exists skip`: leaves out the files that are there already.
    fn without_same(&self, intake: &Intake, batch: Vec<(Whole, Digests)>) -> (Vec<Whole>, Vec<Digests>) {
        if self.inbox.rules.if_exists != IfExists::Skip {
            return batch.into_iter().unzip();
        }
        let is_new = |(whole, digests): &(Whole, Digests)| {
            let id = whole.id();
            let path = self.with_manifest(|manifest| manifest.entries[id as usize].path.clone());
            let path = crate::names::RelPath::from_stranger(&path).ok();
            let existing = path.as_ref().and_then(|path| self.inbox.folder.existing(path));
            let same = existing.filter(|existing| existing.bytes == whole.bytes()).is_some_and(|existing| {
                let mut hasher = blake3::Hasher::new();
                // A file that can't be read is not the same for all we know.
                hasher.update_reader(existing.file).is_ok() && *hasher.finalize().as_bytes() == digests.blake3
            });
            if let (true, Some(path)) = (same, path) {
                self.is_there(id, path.top_level().as_str(), *digests);
            }
            !same
        };
        let (new, same): (Vec<_>, Vec<_>) = batch.into_iter().partition(is_new);
        for (whole, _) in same {
            let id = whole.id();
            drop(whole);
            intake.discard(id);
        }
        new.into_iter().unzip()
    }

    fn is_there(&self, id: u32, name: &str, digests: Digests) {
        let mut state = lock(&self.state);
        state.files[id as usize] = FileState::Stored(Box::new(StoredAs { name: name.to_owned(), digests }));
        state.done_files += 1;
        let (transfer, reason) = (self.told.clone(), "the same file is there already".to_owned());
        self.inbox.host.reporter.tell(Event::Skipped { transfer, name: name.to_owned(), reason });
        self.changed();
    }

    fn stored(&self, id: u32, placed: &Placed, digests: Digests) {
        let name = placed.name.as_str().to_owned();
        let mut state = lock(&self.state);
        self.inbox.host.reporter.tell(Event::Stored {
            transfer: self.told.clone(),
            name: name.clone(),
            offered: state.manifest.entries[id as usize].path.to_string(),
            path: Some(placed.path.to_string_lossy().into_owned()),
            bytes: placed.bytes,
            blake3: HEXLOWER.encode(&digests.blake3),
        });
        state.files[id as usize] = FileState::Stored(Box::new(StoredAs { name, digests }));
        state.done_files += 1;
        state.stored_files += 1;
        state.stored_bytes += placed.bytes;
        self.changed();
    }
}

impl State {
    fn fail(&mut self, id: u32, reason: String) {
        self.failed_files += 1;
        let name = inert(&self.manifest.entries[id as usize].path);
        self.first_failure.get_or_insert_with(|| format!("`{name}`: {reason}"));
        // The place of a file that may still be open is given back with the transfer.
        if let Some(intake) = &self.intake {
            intake.discard(id);
        }
    }

    /// Gives up what is there of a file. Returns the state that it was in.
    fn leave(&mut self, id: u32, next: FileState) -> FileState {
        self.parts.retain(|part| *part != id);
        let before = std::mem::replace(&mut self.files[id as usize], next);
        if let FileState::Committing(_) = before {
            self.settled_bytes -= self.manifest.entries[id as usize].bytes;
        }
        before
    }

    fn done_bytes(&self) -> u64 {
        let part = |part: &u32| match &self.files[*part as usize] {
            FileState::UnderWay(receiving) => receiving.have(),
            _ => 0,
        };
        self.settled_bytes + self.parts.iter().map(part).sum::<u64>()
    }

    /// Drops a part that nobody writes to, if there are too many.
    fn make_room(&mut self) -> Result<(), Failure> {
        if self.parts.len() < PARTS {
            return Ok(());
        }
        let is_quiet = |part: &&u32| match &self.files[**part as usize] {
            FileState::UnderWay(receiving) => receiving.is_quiet(),
            _ => false,
        };
        let quiet = self.parts.iter().find(is_quiet).copied();
        let quiet = quiet.ok_or_else(|| Failure::busy("too many files of this transfer are under way"))?;
        self.leave(quiet, FileState::Waiting);
        Ok(())
    }
}

impl StoredAs {
    fn told(&self, bytes: u64) -> Value {
        json!({
            "have": bytes,
            "stored": { "name": self.name, "blake3": HEXLOWER.encode(&self.digests.blake3) },
        })
    }
}

fn is_over(phase: &Phase) -> bool {
    matches!(phase, Phase::Refused(_) | Phase::Finished | Phase::Failed(_))
}

/// The state of a file of an accepted transfer.
fn expected<'a>(
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

fn seen_file(id: usize, entry: &Entry, file: &FileState) -> Value {
    let (have, sha256, state, name) = match file {
        FileState::Waiting => (0, sha256(""), "waiting", None),
        FileState::UnderWay(receiving) => {
            let (have, sha256) = receiving.so_far();
            (have, sha256, "waiting", None)
        }
        FileState::Committing(digests) => (entry.bytes, digests.sha256, "waiting", None),
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

fn sha256(text: &str) -> [u8; 32] {
    let mut sha256 = [0; 32];
    sha256.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, text.as_bytes()).as_ref());
    sha256
}
