//! What is written of a source into a [`Roll`](crate::roll::Roll): what can be told from the rest is left out, since there
//! may be a million of them.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::moment;
use super::source::{SourceEntry, SourceIdentity, SourceKind};

/// A [`SourceEntry`], said once.
#[derive(Serialize, Deserialize)]
pub(super) struct Packed {
    offered: String,
    place: Place,
    kind: SourceKind,
    bytes: u64,
    #[serde(with = "moment")]
    modified: Option<SystemTime>,
    device: u64,
    inode: u64,
    /// Size and modification time by which the content is known; `None`: those of the entry.
    known_by: Option<Known>,
    /// `None`: just when it was modified.
    changed: Option<(i64, i64)>,
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

#[derive(Serialize, Deserialize)]
struct Known {
    bytes: u64,
    #[serde(with = "moment")]
    modified: Option<SystemTime>,
}

/// As [`SourceIdentity`] says times.
fn stamp(time: SystemTime) -> Option<(i64, i64)> {
    moment::seconds_of(time).map(|(seconds, nanos)| (seconds, i64::from(nanos)))
}

impl From<SourceEntry> for Packed {
    fn from(entry: SourceEntry) -> Packed {
        let SourceEntry { offered, kind, bytes, modified, path, identity, holes, stand_in, is_link } = entry;
        let before = path.to_str().and_then(|path| path.strip_suffix(offered.as_str())).map(str::to_owned);
        let place = before.map_or_else(|| Place::Whole(path.into_os_string()), Place::Before);
        let SourceIdentity { device, inode, changed, .. } = identity;
        let is_known = (identity.bytes, identity.modified) == (bytes, modified);
        let known_by = (!is_known).then_some(Known { bytes: identity.bytes, modified: identity.modified });
        let changed = (identity.modified.and_then(stamp) != Some(changed)).then_some(changed);
        Packed { offered, place, kind, bytes, modified, device, inode, known_by, changed, holes, stand_in, is_link }
    }
}

impl From<Packed> for SourceEntry {
    fn from(packed: Packed) -> SourceEntry {
        let Packed { offered, kind, modified, device, inode, known_by, changed, holes, stand_in, is_link, .. } = packed;
        let path = match packed.place {
            Place::Before(before) => PathBuf::from(before + &offered),
            Place::Whole(path) => PathBuf::from(path),
        };
        let Known { bytes, modified: known } = known_by.unwrap_or(Known { bytes: packed.bytes, modified });
        // The one is left out only where the other gives it.
        let changed = changed.or_else(|| known.and_then(stamp)).unwrap_or_default();
        let identity = SourceIdentity { device, inode, bytes, modified: known, changed };
        let bytes = packed.bytes;
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
        fn times()(seconds in -3i64..3, nanos in 0u32..3) -> Option<SystemTime> {
            moment::time_at((seconds, nanos))
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
        fn a_source_comes_back_from_a_roll_as_it_was(entry in entries()) {
            let packed = postcard::to_allocvec(&entry).unwrap();
            let back: SourceEntry = postcard::from_bytes(&packed).unwrap();
            prop_assert_eq!(format!("{back:?}"), format!("{entry:?}"));
        }
    }
}
