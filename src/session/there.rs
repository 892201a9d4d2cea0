//! What a receiver has of an offer before anything is sent.

use std::collections::BTreeMap;

use crate::store::{Folder, Held, Intake, PlannedEntry, PlannedKind};
use crate::transfer::{Earlier, Hash, Incoming, Recalled};
use crate::wire::{CHUNK_LEN, Verdict};

/// The planned files that may be there already, with size and hash: those whose size is the same.
pub(super) fn held(folder: &Folder, plan: impl Iterator<Item = PlannedEntry>) -> Vec<(u32, u64, Hash)> {
    let files = plan.filter(|entry| entry.kind == PlannedKind::File);
    let same_size = files.filter_map(|entry| {
        let existing = folder.existing(&entry.path)?;
        let mut hasher = blake3::Hasher::new();
        // A file that can't be read is not the same for all we know.
        (Some(existing.bytes) == entry.size).then(|| hasher.update_reader(existing.file).ok())??;
        Some((entry.id, existing.bytes, *hasher.finalize().as_bytes()))
    });
    same_size.collect()
}

/// What is there of a transfer before anything is sent.
#[derive(Default)]
pub(super) struct There {
    /// Files that were there already, and those that an earlier attempt has stored, as (id, size, hash).
    whole: Vec<(u32, u64, Hash, Option<Earlier>)>,
    parts: Vec<Recalled>,
}

impl There {
    /// What the intake and, if they are to be skipped, files of the same name have.
    pub(super) fn look(intake: &Intake, held: Vec<(u32, u64, Hash)>, sizes: impl Fn(u32) -> Option<u64>) -> There {
        let mut there = There::default();
        for (id, size, hash) in held {
            there.whole.push((id, size, hash, None));
        }
        for held in intake.take_held() {
            match held {
                Held::Stored { id, placed, hash, told } => {
                    there.whole.retain(|(same, ..)| *same != id);
                    there.whole.push((id, placed.bytes, hash, Some(Earlier { placed, told })));
                }
                Held::Part { file, chunks } => match sizes(file.id()) {
                    Some(size) if size > CHUNK_LEN => there.parts.push(Recalled::verify(file, size, &chunks)),
                    _ => file.remove(),
                },
            }
        }
        let whole: Vec<u32> = there.whole.iter().map(|(id, ..)| *id).collect();
        there.parts.retain(|part| !whole.contains(&part.id()));
        there
    }

    /// What is said of it.
    pub(super) fn verdicts(&self) -> BTreeMap<u32, Verdict> {
        let whole = self.whole.iter().map(|(id, _, hash, earlier)| match earlier {
            None => (*id, Verdict::Have(*hash)),
            Some(_) => (*id, Verdict::Stored(*hash)),
        });
        let parts = self.parts.iter().map(|part| (part.id(), Verdict::TakeRest(part.runs().to_vec())));
        whole.chain(parts).collect()
    }

    /// Bytes that need not be sent, of this transfer's own.
    pub(super) fn kept_bytes(&self) -> u64 {
        let whole = self.whole.iter().filter(|(.., earlier)| earlier.is_some()).map(|(_, size, ..)| *size);
        whole.chain(self.parts.iter().map(Recalled::bytes)).sum()
    }

    pub(super) fn hand_over(self, incoming: &Incoming) {
        for (id, size, hash, earlier) in self.whole {
            incoming.hold(id, size, hash, earlier);
        }
        self.parts.into_iter().for_each(|part| incoming.hold_part(part));
    }
}
