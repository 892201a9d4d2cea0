//! What a page sends: one transfer from the list of files to the last "stored". It belongs to the session, so that it
//! outlives connections and reloads.

mod commit;
mod state;

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
use super::returning::There;
use crate::names::inert;
use crate::pairing::Token;
use crate::session::Inbox;
use crate::store::{Intake, Keepsake};

use self::state::{FileState, State, expected, is_over, seen_file, sha256};
pub(super) use self::state::{PARTS, Phase, StoredAs};

/// Transfers of one session that are remembered, the ended ones among them; those under way are never forgotten.
const TRANSFERS: usize = 8;

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

/// What came of an accepted transfer.
pub(super) struct Tally {
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) failed: u64,
    pub(super) first_failure: Option<String>,
}

impl Transfer {
    fn new(id: &str, inbox: Arc<Inbox>, address: IpAddr) -> Transfer {
        let told = HEXLOWER.encode(Token::random().as_bytes());
        let (state, version) = (Mutex::default(), watch::Sender::new(0));
        Transfer { id: id.to_owned(), told, inbox, address, state, version }
    }

    /// Adds a page of the list. What is there already is not added again, so that a page can repeat itself after a cut.
    /// Returns how many entries it has, and whether this froze the list.
    pub(super) fn list(
        &self,
        first: usize,
        entries: Vec<Entry>,
        last: bool,
        resume: Option<[u8; 32]>,
    ) -> Result<(usize, bool), Failure> {
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
            (state.phase, state.resume) = (Phase::Asking, resume);
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

    /// Ends it, unless it is over. What is there in part is removed, unless it can be gone on with; what was stored stays.
    pub(super) fn end(&self, phase: Phase) {
        let mut state = lock(&self.state);
        if !is_over(&state.phase) {
            state.phase = phase;
            state.intake = None;
            for part in std::mem::take(&mut state.parts) {
                if let FileState::UnderWay(receiving) = state.leave(part, FileState::Waiting) {
                    receiving.let_go();
                }
            }
            self.changed();
        }
    }

    /// What it is kept as, from a page of the name `peer`, when it ends early.
    pub(super) fn keepsake(&self, peer: &str) -> Option<Keepsake> {
        let state = lock(&self.state);
        self.inbox.keepsake_of_page(state.resume?, &self.told, peer, state.manifest.bytes)
    }

    /// Whether the page wants no more of it.
    pub(super) fn is_cancelled(&self) -> bool {
        lock(&self.state).phase == Phase::Cancelled
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

    /// Its files may come, what is `there` of them aside; its texts are here already. `false` if it was ended meanwhile.
    pub(super) fn accept(&self, intake: Arc<Intake>, there: There) -> bool {
        let mut state = lock(&self.state);
        if state.phase != Phase::Asking {
            return false;
        }
        state.phase = Phase::Accepted;
        state.intake = Some(intake);
        state.resumed = there.bytes;
        for (id, receiving) in there.parts {
            state.files[id as usize] = FileState::UnderWay(receiving);
            state.parts.push(id);
        }
        for (id, stored, told) in there.stored {
            state.files[id as usize] = FileState::Held(Box::new(stored), told);
        }
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

    /// Whether each of its files is stored, withdrawn or failed.
    pub(super) fn has_all(&self) -> bool {
        lock(&self.state).has_all()
    }

    /// The same, and nothing is on its way to its name.
    pub(super) fn is_settled(&self) -> bool {
        let state = lock(&self.state);
        state.has_all() && !state.committing
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
            Phase::Refused(reason) => ("refused", Some(reason.as_str())),
            Phase::Accepted => ("accepted", None),
            Phase::Finished => ("finished", None),
            Phase::Cancelled => ("failed", Some("cancelled")),
            Phase::Failed(reason) => ("failed", Some(reason.as_str())),
        };
        json!({
            "transfer": self.id,
            "version": *self.version.borrow(),
            "state": phase,
            "reason": reason,
            "files": state.manifest.files,
            "bytes": state.manifest.bytes,
            "resumed": state.resumed,
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
        if matches!(file, FileState::Waiting | FileState::UnderWay(_) | FileState::Held(..)) {
            if let FileState::UnderWay(receiving) = state.leave(id, FileState::Failed) {
                receiving.remove();
            }
            let reason: String = inert(reason).chars().take(REASON_CHARS).collect();
            state.fail(id, if reason.is_empty() { "withdrawn".to_owned() } else { reason });
            self.changed();
        }
        Ok(())
    }

    /// What is there of a file is not what the page has of it: the file comes from its beginning.
    pub(super) fn begin_anew(&self, id: u32) -> Result<(), Failure> {
        let mut state = lock(&self.state);
        let state = &mut *state;
        let file = expected(&state.phase, &state.manifest, &mut state.files, id)?;
        if matches!(file, FileState::UnderWay(_) | FileState::Held(..)) {
            if let FileState::UnderWay(receiving) = state.leave(id, FileState::Waiting) {
                receiving.remove();
            }
            self.changed();
        }
        Ok(())
    }

    /// What a request that brings content of a file from `offset` on may do with it.
    pub(super) fn enter(&self, id: u32, offset: u64) -> Result<Found, Failure> {
        let mut state = lock(&self.state);
        let state = &mut *state;
        let bytes = state.manifest.entries.get(id as usize).map_or(0, |entry| entry.bytes);
        match expected(&state.phase, &state.manifest, &mut state.files, id)? {
            FileState::UnderWay(receiving) => return Ok(Found::Receiving(Arc::clone(receiving))),
            FileState::Committing(_) | FileState::Stored(_) => return Ok(Found::Whole),
            FileState::Failed => return Err(Failure::conflict("over", "this file is given up")),
            FileState::Held(..) if offset != bytes => return Err(Failure::offset(bytes)),
            FileState::Held(..) => {
                self.take_held(state, id);
                return Ok(Found::Whole);
            }
            FileState::Waiting => {}
        }
        state.make_room()?;
        let intake = state.intake.as_ref().ok_or_else(|| Failure::conflict("over", "the transfer is over"))?;
        let file = intake.open_lasting(id).map_err(|error| Failure::by_disk(&error))?;
        let receiving = Arc::new(Receiving::new(file, state.manifest.entries[id as usize].declared()));
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
}
