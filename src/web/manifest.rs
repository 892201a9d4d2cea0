//! What a page offers, as it lists it and as it is planned. Pure.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;

use super::receiving::Declared;
use crate::events::{ENTRIES_TOLD, EntryKind, OfferedEntry};
use crate::names::{RelPath, inert};
use crate::store::{PlannedEntry, PlannedKind};

/// Entries of one offer.
const ENTRIES_CAP: usize = 100_000;

/// Bytes of all paths and texts of one offer: those of 100,000 photos several times over.
const LIST_CAP: usize = 32 * 1024 * 1024;

/// A text is for the screen.
const TEXT_CAP: usize = 64 * 1024;

/// An entry as a page lists it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Entry {
    /// Where it goes, joined by `/`.
    #[serde(default)]
    pub(super) path: Box<str>,
    /// Size in bytes.
    #[serde(default)]
    pub(super) bytes: u64,
    #[serde(default = "file")]
    kind: Kind,
    /// Milliseconds since 1970.
    #[serde(default)]
    modified: Option<i64>,
    #[serde(default)]
    text: Option<Box<str>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    File,
    Folder,
    Text,
}

fn file() -> Kind {
    Kind::File
}

impl Entry {
    pub(super) fn is_file(&self) -> bool {
        self.kind == Kind::File
    }

    /// When it was changed last. Some phones give another time whenever a file is chosen, so none is known by it.
    pub(super) fn modified(&self) -> Option<SystemTime> {
        self.modified.and_then(time)
    }

    /// What it says of a file.
    pub(super) fn declared(&self) -> Declared {
        (self.bytes, self.modified())
    }

    /// What is for the screen, if this is a text.
    pub(super) fn text(&self) -> Option<&str> {
        self.text.as_deref().filter(|_| self.kind == Kind::Text)
    }

    /// Whether something of it comes or has come: a folder is no more than its name.
    pub(super) fn has_content(&self) -> bool {
        self.kind != Kind::Folder
    }
}

/// Why a list is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unlisted {
    #[error("more than {ENTRIES_CAP} entries in one transfer are not taken")]
    TooMany,
    #[error("the list of files is too long")]
    TooLong,
    #[error("a text has more than {TEXT_CAP} bytes, or none")]
    BadText,
    #[error("sizes that no disk has")]
    TooLarge,
}

/// Everything that one transfer offers.
#[derive(Debug, Default)]
pub(super) struct Manifest {
    pub(super) entries: Vec<Entry>,
    list_bytes: usize,
    /// Files and texts.
    pub(super) files: u64,
    /// Sum of their sizes.
    pub(super) bytes: u64,
}

impl Manifest {
    /// Adds a page of the list, as a whole or not at all.
    pub(super) fn add(&mut self, mut page: Vec<Entry>) -> Result<(), Unlisted> {
        if self.entries.len() + page.len() > ENTRIES_CAP {
            return Err(Unlisted::TooMany);
        }
        let (mut list_bytes, mut files, mut bytes) = (self.list_bytes, self.files, self.bytes);
        for entry in &mut page {
            let text = entry.text.as_ref().map_or(0, |text| text.len());
            entry.bytes = match entry.kind {
                Kind::File => entry.bytes,
                Kind::Folder => 0,
                Kind::Text if entry.text.is_none() || text > TEXT_CAP => return Err(Unlisted::BadText),
                Kind::Text => text as u64,
            };
            list_bytes += entry.path.len() + text;
            files += u64::from(entry.has_content());
            bytes = bytes.checked_add(entry.bytes).ok_or(Unlisted::TooLarge)?;
        }
        if list_bytes > LIST_CAP {
            return Err(Unlisted::TooLong);
        }
        (self.list_bytes, self.files, self.bytes) = (list_bytes, files, bytes);
        self.entries.append(&mut page);
        Ok(())
    }

    /// What the store is to expect. A file gets its time when it is whole, see [`Entry::modified`]. A name that could leave
    /// the folder refuses all of it; the text says which.
    pub(super) fn plan(&self) -> Result<Vec<PlannedEntry>, String> {
        let planned = |(id, entry): (usize, &Entry)| {
            let kind = match entry.kind {
                Kind::File => PlannedKind::File,
                Kind::Folder => PlannedKind::Folder,
                Kind::Text => return None,
            };
            let path = RelPath::from_stranger(&entry.path).map(RelPath::top_level);
            let path = path.map_err(|error| format!("`{}`: {error}", inert(&entry.path)));
            let modified = entry.modified().filter(|_| !entry.is_file());
            let size = entry.is_file().then_some(entry.bytes);
            Some(path.map(|path| PlannedEntry { id: id as u32, path, kind, size, holes: 0, modified }))
        };
        self.entries.iter().enumerate().filter_map(planned).collect()
    }

    /// The texts, in their order.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().filter_map(Entry::text)
    }

    /// The first entries as they are told, and how many are left out.
    pub(super) fn told(&self) -> (Vec<OfferedEntry>, u64) {
        let told = self.entries.iter().take(ENTRIES_TOLD).map(|entry| OfferedEntry {
            name: entry.path.to_string(),
            bytes: Some(entry.bytes),
            kind: match entry.kind {
                Kind::File => EntryKind::File,
                Kind::Folder => EntryKind::Folder,
                Kind::Text => EntryKind::Text,
            },
        });
        (told.collect(), self.entries.len().saturating_sub(ENTRIES_TOLD) as u64)
    }
}

fn time(milliseconds: i64) -> Option<SystemTime> {
    let distance = Duration::from_millis(milliseconds.unsigned_abs());
    if milliseconds < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(json: &str) -> Result<Vec<Entry>, serde_json::Error> {
        serde_json::from_str(json)
    }

    fn added(json: &str) -> Result<Manifest, Unlisted> {
        let mut manifest = Manifest::default();
        manifest.add(page(json).unwrap()).map(|()| manifest)
    }

    #[test]
    fn a_list_becomes_a_plan_with_times_and_without_texts() {
        let json = r#"[{"path":"d","kind":"folder","modified":1500000000123,"later":{"a":[1]}},
            {"path":"d/.x","bytes":7},{"kind":"text","text":"hello"},{"path":".y","kind":"file","bytes":1}]"#;
        let manifest = added(json).unwrap();
        assert_eq!((manifest.files, manifest.bytes), (3, 13));
        let plan = manifest.plan().unwrap();
        let plain: Vec<_> = plan.iter().map(|entry| (entry.id, entry.path.as_str(), entry.size)).collect();
        assert_eq!(plain, [(0, "d", None), (1, "d/.x", Some(7)), (3, "_.y", Some(1))]);
        assert_eq!(plan[0].modified, Some(UNIX_EPOCH + Duration::from_millis(1_500_000_000_123)));
    }

    #[test]
    fn a_name_that_could_leave_the_folder_refuses_the_whole_list() {
        for path in ["../x", "a/../../x", "/etc/passwd", "C:/x", "//h/s", "", "a//b", ".", "..\\\\x", "file:///x"] {
            let json = format!(r#"[{{"path":"good","bytes":1}},{{"path":"{path}","bytes":1}}]"#);
            assert!(added(&json).unwrap().plan().is_err(), "{path}");
        }
    }

    #[test]
    fn lies_about_sizes_and_kinds_are_refused() {
        let huge = format!(r#"[{{"path":"a","bytes":{0}}},{{"path":"b","bytes":{0}}}]"#, u64::MAX);
        assert_eq!(added(&huge).unwrap_err(), Unlisted::TooLarge);
        assert_eq!(added(r#"[{"kind":"text"}]"#).unwrap_err(), Unlisted::BadText);
        let long = format!(r#"[{{"kind":"text","text":"{}"}}]"#, "x".repeat(TEXT_CAP + 1));
        assert_eq!(added(&long).unwrap_err(), Unlisted::BadText);
        for json in [
            r#"[{"path":"a","bytes":-1}]"#,
            r#"[{"path":"a","bytes":1.5}]"#,
            r#"[{"path":"a","bytes":18446744073709551616}]"#,
            r#"[{"path":"a","path":"b"}]"#,
            r#"[{"path":"a","kind":"link"}]"#,
            r#"[{"path":7}]"#,
        ] {
            assert!(page(json).is_err(), "{json}");
        }
        let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(page(&format!(r#"[{{"path":{deep}}}]"#)).is_err());
        assert!(page(&format!(r#"[{{"path":"a","later":{deep}}}]"#)).is_ok(), "passed over without recursion");
    }

    #[test]
    fn a_list_is_bounded() {
        let mut manifest = Manifest::default();
        let entries = |count| vec![page(r#"[{"path":"a"}]"#).unwrap().remove(0); count];
        manifest.add(entries(ENTRIES_CAP)).unwrap();
        assert_eq!(manifest.add(entries(1)), Err(Unlisted::TooMany));
        assert_eq!(manifest.entries.len(), ENTRIES_CAP);
    }

    #[test]
    fn times_before_1970_and_far_away_are_no_reason_to_fail() {
        assert_eq!(time(-1), UNIX_EPOCH.checked_sub(Duration::from_millis(1)));
        for odd in [i64::MIN, i64::MAX] {
            let _ = time(odd);
        }
    }
}
