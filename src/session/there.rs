//! What a receiver has of an offer before anything is sent.

use std::collections::BTreeMap;

use crate::store::{Folder, HeldPart, Intake, PlannedEntry, PlannedKind};
use crate::transfer::{HeldFiles, Incoming, Recalled};
use crate::wire::{CHUNK_LEN, Verdict};

/// The planned files that may be there already: those whose size is the same.
pub(super) fn held(folder: &Folder, plan: impl Iterator<Item = PlannedEntry>) -> HeldFiles {
    let mut same_size = HeldFiles::default();
    for entry in plan.filter(|entry| entry.kind == PlannedKind::File) {
        let Some(existing) = folder.existing(&entry.path).filter(|there| Some(there.bytes) == entry.size) else {
            continue;
        };
        let mut hasher = blake3::Hasher::new();
        // A file that can't be read is not the same for all we know.
        if hasher.update_reader(existing.file).is_ok() {
            let hash = *hasher.finalize().as_bytes();
            same_size.insert(entry.id, existing.bytes, hash);
        }
    }
    same_size
}

/// What is there of a transfer before anything is sent.
#[derive(Default)]
pub(super) struct There {
    /// Files that were there already, and those that an earlier attempt has stored.
    whole: HeldFiles,
    /// By id, none of which is whole.
    parts: BTreeMap<u32, Recalled>,
}

impl There {
    /// What the intake has, and, if they are to be skipped, files of the same name: the `whole` ones.
    pub(super) fn look(intake: &Intake, whole: HeldFiles, sizes: impl Fn(u32) -> Option<u64>) -> There {
        let held = intake.take_held();
        let whole = whole.with_stored(held.stored);
        let mut parts = BTreeMap::new();
        for HeldPart { file, chunks } in held.parts {
            let id = file.id();
            match sizes(id).filter(|size| *size > CHUNK_LEN && whole.get(id).is_none()) {
                Some(size) => drop(parts.insert(id, Recalled::verify(file, size, &chunks))),
                None => file.remove(),
            }
        }
        There { whole, parts }
    }

    /// What is said of it, by ascending ids.
    pub(super) fn verdicts(&self) -> impl Iterator<Item = (u32, Verdict)> {
        let mut whole = self.whole.iter().peekable();
        let mut parts = self.parts.iter().map(|(id, part)| (*id, Verdict::TakeRest(part.runs().to_vec()))).peekable();
        std::iter::from_fn(move || {
            let is_part_next = match (whole.peek(), parts.peek()) {
                (Some((whole, _)), Some((part, _))) => part < whole,
                (whole, _) => whole.is_none(),
            };
            if is_part_next {
                return parts.next();
            }
            let (id, file) = whole.next()?;
            Some((id, if file.earlier.is_some() { Verdict::Stored(file.hash) } else { Verdict::Have(file.hash) }))
        })
    }

    /// Bytes that need not be sent, of this transfer's own.
    pub(super) fn kept_bytes(&self) -> u64 {
        let whole = self.whole.iter().filter(|(_, file)| file.earlier.is_some()).map(|(_, file)| file.bytes);
        whole.chain(self.parts.values().map(Recalled::bytes)).sum()
    }

    pub(super) fn hand_over(self, incoming: &Incoming) {
        incoming.hold(self.whole);
        self.parts.into_values().for_each(|part| incoming.hold_part(part));
    }
}
