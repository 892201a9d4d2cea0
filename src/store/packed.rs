//! What is written of a source into a [`Roll`](crate::roll::Roll): what can be told from the rest, or from the one before, is left
//! out, since there may be a million of them.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::moment::{stamp, stamped};
use super::source::{SourceEntry, SourceIdentity, SourceKind};
use crate::roll::{Moment, Record, Tail, apart, later};

/// The step from one [`SourceEntry`] to the next.
#[derive(Serialize, Deserialize)]
pub struct Packed {
    offered: Tail,
    /// `None`: before its name comes what came before the other's.
    place: Option<Place>,
    kind: SourceKind,
    bytes: u64,
    modified: Option<Moment>,
    device: i64,
    inode: i64,
    /// Size and modification time by which the content is known; `None`: those of the entry.
    known_by: Option<(u64, Option<Moment>)>,
    /// `None`: just when it was modified.
    changed: Option<Moment>,
    holes: u64,
    stand_in: Option<OsString>,
    is_link: bool,
}

/// Where it is.
#[derive(Serialize, Deserialize)]
enum Place {
    /// What comes before the offered name.
    Before(String),
    Whole(OsString),
}

/// Of an entry, what those after it are told by.
struct Basis<'a> {
    offered: &'a str,
    /// What comes before the offered name.
    parent: Option<&'a str>,
    modified: Moment,
    identity: (u64, u64),
    changed: Moment,
}

impl Basis<'_> {
    fn of(entry: Option<&SourceEntry>) -> Basis<'_> {
        Basis {
            offered: entry.map_or("", |entry| &entry.offered),
            parent: entry.and_then(parent),
            modified: entry.and_then(|entry| entry.modified).and_then(stamp).unwrap_or_default(),
            identity: entry.map_or((0, 0), |entry| (entry.identity.device, entry.identity.inode)),
            changed: entry.map_or((0, 0), |entry| entry.identity.changed),
        }
    }
}

fn parent(entry: &SourceEntry) -> Option<&str> {
    entry.path.to_str()?.strip_suffix(entry.offered.as_str())
}

impl Record for SourceEntry {
    type Step = Packed;

    fn step(&self, before: Option<&Self>) -> Packed {
        let before = Basis::of(before);
        let SourceEntry { offered, kind, bytes, modified, path, identity, holes, stand_in, is_link } = self;
        let place = match parent(self) {
            parent @ Some(_) if parent == before.parent => None,
            Some(parent) => Some(Place::Before(parent.to_owned())),
            None => Some(Place::Whole(path.clone().into_os_string())),
        };
        let SourceIdentity { device, inode, changed, .. } = identity;
        let since = |time: &Option<SystemTime>| time.and_then(stamp).map(|stamp| apart(stamp, before.modified));
        let is_known = (identity.bytes, identity.modified) == (*bytes, *modified);
        let is_new = identity.modified.and_then(stamp) == Some(*changed);
        Packed {
            offered: Tail::of(offered, before.offered),
            place,
            kind: *kind,
            bytes: *bytes,
            modified: since(modified),
            device: device.wrapping_sub(before.identity.0) as i64,
            inode: inode.wrapping_sub(before.identity.1) as i64,
            known_by: (!is_known).then(|| (identity.bytes, since(&identity.modified))),
            changed: (!is_new).then(|| apart(*changed, before.changed)),
            holes: *holes,
            stand_in: stand_in.clone(),
            is_link: *is_link,
        }
    }

    fn after(before: Option<&Self>, step: Packed) -> SourceEntry {
        let before = Basis::of(before);
        let Packed { kind, bytes, holes, stand_in, is_link, .. } = step;
        let offered = step.offered.after(before.offered);
        let path = match step.place {
            None => PathBuf::from(before.parent.unwrap_or_default().to_owned() + &offered),
            Some(Place::Before(parent)) => PathBuf::from(parent + &offered),
            Some(Place::Whole(path)) => PathBuf::from(path),
        };
        let at = |since: Option<Moment>| since.and_then(|since| stamped(later(before.modified, since)));
        let modified = at(step.modified);
        let (known_bytes, known) = step.known_by.map_or((bytes, modified), |(bytes, modified)| (bytes, at(modified)));
        let identity = SourceIdentity {
            device: before.identity.0.wrapping_add_signed(step.device),
            inode: before.identity.1.wrapping_add_signed(step.inode),
            bytes: known_bytes,
            modified: known,
            // It is left out only where the other time gives it.
            changed: match step.changed {
                Some(since) => later(before.changed, since),
                None => known.and_then(stamp).unwrap_or_default(),
            },
        };
        SourceEntry { offered, kind, bytes, modified, path, identity, holes, stand_in, is_link }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn times()(seconds in -3i64..3, nanos in 0i64..3) -> Option<SystemTime> {
            stamped((seconds, nanos))
        }
    }

    prop_compose! {
        fn entries()(
            offered in "[ab/]{1,4}",
            before in prop_oneof![Just(b"/home/".to_vec()), Just(Vec::new()), Just(b"/\xff/".to_vec())],
            is_elsewhere in any::<bool>(),
            bytes in 0u64..3,
            modified in prop::option::of(times()).prop_map(Option::flatten),
            identity in (0u64..3, 0u64..3, 0u64..3, times(), (-3i64..3, 0i64..3)),
            stand_in in prop::option::of(Just(OsString::from("smaller"))),
            is_link in any::<bool>(),
        ) -> SourceEntry {
            let leaf = if is_elsewhere { "elsewhere" } else { offered.as_str() };
            let path = PathBuf::from(OsStr::from_bytes(&[before.as_slice(), leaf.as_bytes()].concat()));
            let (device, inode, known, known_modified, changed) = identity;
            let identity = SourceIdentity { device, inode, bytes: known, modified: known_modified, changed };
            let kind = if is_link { SourceKind::File } else { SourceKind::Folder };
            SourceEntry { offered, kind, bytes, modified, path, identity, holes: 5, stand_in, is_link }
        }
    }

    proptest! {
        #[test]
        fn a_source_comes_back_from_a_roll_as_it_was(before in prop::option::of(entries()), entry in entries()) {
            let packed = postcard::to_allocvec(&entry.step(before.as_ref())).unwrap();
            let back = SourceEntry::after(before.as_ref(), postcard::from_bytes(&packed).unwrap());
            prop_assert_eq!(format!("{back:?}"), format!("{entry:?}"));
        }
    }
}
