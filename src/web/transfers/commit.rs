//! From whole files to names on the disk.

use std::sync::Arc;

use data_encoding::HEXLOWER;

use super::Transfer;
use super::state::{FileState, State, StoredAs};
use crate::events::Event;
use crate::names::RelPath;
use crate::store::{IfExists, Intake, Placed, Whole};
use crate::web::lock;
use crate::web::receiving::Digests;

impl Transfer {
    /// Takes a whole file on. The committer runs on a thread of its own; files that become whole while it syncs share
    /// the next sync.
    pub(in crate::web) fn commit(self: &Arc<Self>, id: u32, whole: Whole, digests: Digests) {
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
    pub(in crate::web) fn give_up(&self, id: u32, reason: String) {
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
            let path = RelPath::from_stranger(&path).ok();
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
        let mut state = lock(&self.state);
        self.tell_stored(&state, id, placed, &digests);
        let name = placed.name.as_str().to_owned();
        state.count_stored(id, StoredAs { name, digests });
        self.changed();
    }

    /// The page has the same as an earlier attempt has stored.
    pub(super) fn take_held(&self, state: &mut State, id: u32) {
        let FileState::Held(stored, told) = std::mem::replace(&mut state.files[id as usize], FileState::Waiting) else {
            return;
        };
        let bytes = state.manifest.entries[id as usize].bytes;
        if let (false, Some(intake), Ok(name)) = (told, &state.intake, RelPath::from_stranger(&stored.name)) {
            self.tell_stored(state, id, &intake.placed_as(name, bytes), &stored.digests);
        }
        state.settled_bytes += bytes;
        state.count_stored(id, *stored);
        self.changed();
    }

    fn tell_stored(&self, state: &State, id: u32, placed: &Placed, digests: &Digests) {
        self.inbox.host.reporter.tell(Event::Stored {
            transfer: self.told.clone(),
            name: placed.name.as_str().to_owned(),
            offered: state.manifest.entries[id as usize].path.to_string(),
            path: Some(placed.path.to_string_lossy().into_owned()),
            bytes: placed.bytes,
            blake3: HEXLOWER.encode(&digests.blake3),
        });
    }
}
