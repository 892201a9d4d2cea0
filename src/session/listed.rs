//! How the entries of a manifest are kept: a million of them in a few megabytes.

use serde::{Deserialize, Serialize};

use crate::roll::{Moment, Record, Tail, apart, later};
use crate::wire::{Entry, EntryKind, Modified};

/// The step from one [`Entry`] to the next.
#[derive(Serialize, Deserialize)]
pub struct EntryStep {
    kind: EntryKind,
    path: Tail,
    size: Option<u64>,
    holes: u64,
    modified: Option<Moment>,
}

fn moment(modified: Modified) -> Moment {
    (modified.seconds, i64::from(modified.nanos))
}

/// Of an entry, what those after it are told by: path and time.
fn basis(entry: Option<&Entry>) -> (&str, Moment) {
    entry.map_or(("", (0, 0)), |entry| (entry.path.as_str(), entry.modified.map(moment).unwrap_or_default()))
}

impl Record for Entry {
    type Step = EntryStep;

    fn step(&self, before: Option<&Self>) -> EntryStep {
        let (path, time) = basis(before);
        let &Entry { kind, size, holes, modified, .. } = self;
        let modified = modified.map(|modified| apart(moment(modified), time));
        EntryStep { kind, path: Tail::of(&self.path, path), size, holes, modified }
    }

    fn after(before: Option<&Self>, step: EntryStep) -> Self {
        let (path, time) = basis(before);
        let modified = step.modified.map(|since| {
            let (seconds, nanos) = later(time, since);
            Modified { seconds, nanos: nanos as u32 }
        });
        Entry { kind: step.kind, path: step.path.after(path), size: step.size, holes: step.holes, modified }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn modified() -> impl Strategy<Value = Option<Modified>> {
        let seconds = prop_oneof![Just(i64::MIN), -3i64..3, Just(i64::MAX)];
        prop::option::of((seconds, 0u32..1_000_000_000).prop_map(|(seconds, nanos)| Modified { seconds, nanos }))
    }

    fn entries() -> impl Strategy<Value = Entry> {
        let kind = prop_oneof![Just(EntryKind::File), Just(EntryKind::Folder), Just(EntryKind::Text)];
        let all = (kind, "[ab/ä]{0,5}", any::<Option<u64>>(), any::<u64>(), modified());
        all.prop_map(|(kind, path, size, holes, modified)| Entry { kind, path, size, holes, modified })
    }

    proptest! {
        #[test]
        fn an_entry_comes_back_from_a_roll_as_it_was(before in prop::option::of(entries()), entry in entries()) {
            let packed = postcard::to_allocvec(&entry.step(before.as_ref())).unwrap();
            let back = Entry::after(before.as_ref(), postcard::from_bytes(&packed).unwrap());
            prop_assert_eq!(back, entry);
        }
    }
}
