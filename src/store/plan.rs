use std::collections::HashMap;
use std::time::SystemTime;

use fixedbitset::FixedBitSet;

use super::error::StoreError;
use crate::names::{FileName, RelPath};

/// Folders of one transfer, declared or implied by files. A list of a million files stays under it, and a hostile one
/// of deep paths costs no more than some 100 MiB.
const MAX_FOLDERS: usize = 1_000_000;

/// What becomes of a file whose name exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfExists {
    /// `name (1).ext`; a folder as a whole: `tree (1)`.
    Rename,
    /// As `Rename`; files that are there already are left out before they are planned (see `Folder::existing`), and
    /// folders that are there are not made again.
    Skip,
    /// Files are replaced, each atomically; folders are merged.
    Replace,
}

/// What a planned entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlannedKind {
    /// A regular file.
    File,
    /// A folder; told so that empty ones and their times survive.
    Folder,
}

/// An entry of an accepted offer.
#[derive(Debug, Clone)]
pub struct PlannedEntry {
    /// Names the entry within its transfer. Ids ascend, with few gaps: what is between them takes room, too.
    pub id: u32,
    /// Where it goes, below the receive folder, if the name is free.
    pub path: RelPath,
    /// File or folder.
    pub kind: PlannedKind,
    /// Size in bytes of a file; `None` while unknown.
    pub size: Option<u64>,
    /// Bytes of it that will be holes, and take no room.
    pub holes: u64,
    /// Modification time that it gets.
    pub modified: Option<SystemTime>,
}

/// The entries of an accepted offer, as whoever has heard it keeps them: there may be a million, which are not kept twice.
pub trait Listing: Send + Sync {
    /// All of them, by ascending ids.
    fn entries(&self) -> Box<dyn Iterator<Item = PlannedEntry> + '_>;

    /// The one with this id: the same whenever it is asked for.
    fn entry(&self, id: u32) -> Option<PlannedEntry>;

    /// Its size in bytes, if it is known: asked for alone, and so not worth making the rest of it.
    fn size(&self, id: u32) -> Option<u64>;
}

/// Ids ascend.
impl Listing for Vec<PlannedEntry> {
    fn entries(&self) -> Box<dyn Iterator<Item = PlannedEntry> + '_> {
        Box::new(self.iter().cloned())
    }

    fn entry(&self, id: u32) -> Option<PlannedEntry> {
        self.binary_search_by_key(&id, |entry| entry.id).ok().map(|place| self[place].clone())
    }

    fn size(&self, id: u32) -> Option<u64> {
        self.entry(id)?.size
    }
}

/// A file that waits to be received.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PlannedFile {
    pub(super) path: RelPath,
    pub(super) folder: usize,
    pub(super) size: Option<u64>,
    pub(super) has_holes: bool,
    pub(super) modified: Option<SystemTime>,
    /// Bytes of disk that are reserved for it.
    pub(super) charge: u64,
}

/// A folder that will be needed. Index 0 is the receive folder itself, and a parent comes before its children.
#[derive(Debug)]
pub(super) struct PlannedFolder {
    pub(super) parent: usize,
    pub(super) path: Option<RelPath>,
    pub(super) declared: bool,
    pub(super) modified: Option<SystemTime>,
}

/// The files of a plan, by id, and which of them wait to be received.
pub(super) struct PlannedFiles {
    listing: Box<dyn Listing>,
    /// The folders by path.
    folders: HashMap<String, usize>,
    /// The unit of disk space in bytes.
    block: u64,
    waiting: FixedBitSet,
    /// Those that need no reservation.
    uncharged: FixedBitSet,
}

impl PlannedFiles {
    /// The ids of those that wait.
    pub(super) fn waiting(&self) -> &FixedBitSet {
        &self.waiting
    }

    /// Those that wait, in the order of their ids.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, PlannedFile)> {
        let waiting = self.listing.entries().filter(|entry| self.waits(entry.id));
        waiting.map(|entry| (entry.id, self.planned(entry)))
    }

    /// One that waits.
    fn get(&self, id: u32) -> Option<PlannedFile> {
        Some(self.planned(self.entry(id)?))
    }

    /// The declared size in bytes of one that waits, if it is known.
    pub(super) fn size(&self, id: u32) -> Option<u64> {
        if self.waits(id) { self.listing.size(id) } else { None }
    }

    /// Takes one out of those that wait.
    pub(super) fn take(&mut self, id: u32) -> Option<PlannedFile> {
        let file = self.get(id)?;
        self.waiting.remove(id as usize);
        Some(file)
    }

    /// Lets one wait again that was taken.
    pub(super) fn put_back(&mut self, id: u32) {
        self.waiting.insert(id as usize);
    }

    fn entry(&self, id: u32) -> Option<PlannedEntry> {
        if self.waits(id) { self.listing.entry(id) } else { None }
    }

    fn waits(&self, id: u32) -> bool {
        self.waiting.contains(id as usize)
    }

    fn planned(&self, entry: PlannedEntry) -> PlannedFile {
        let charge = if self.uncharged.contains(entry.id as usize) { 0 } else { charge(&entry, self.block) };
        let path = entry.path.top_level();
        let folder = path.above().map_or(TOP, |above| self.folders[above]);
        PlannedFile { path, folder, size: entry.size, has_holes: entry.holes > 0, modified: entry.modified, charge }
    }
}

/// Bytes of disk that a file may take.
fn charge(entry: &PlannedEntry, block: u64) -> u64 {
    let bytes = entry.size.unwrap_or(0).saturating_sub(entry.holes);
    bytes.checked_next_multiple_of(block).unwrap_or(u64::MAX)
}

/// A checked list: every file knows its folder, and nothing is both.
pub(super) struct Plan {
    pub(super) files: PlannedFiles,
    pub(super) folders: Vec<PlannedFolder>,
    pub(super) charge: u64,
}

/// Index of the receive folder in [`Plan::folders`].
pub(super) const TOP: usize = 0;

impl Plan {
    /// Checks the list; `block` is the unit of disk space in bytes.
    pub(super) fn new(listing: impl Listing + 'static, block: u64) -> Result<Plan, StoreError> {
        let bad = |path: RelPath, why| Err(StoreError::BadPlan { subject: path.as_str().into(), why });
        let top = PlannedFolder { parent: TOP, path: None, declared: false, modified: None };
        let (mut folders, mut index) = (vec![top], HashMap::new());
        let (mut waiting, mut sum, mut next_id) = (FixedBitSet::new(), 0u64, 0);
        let (mut is_in_order, mut declared, mut before) = (true, 0, String::new());
        for entry in listing.entries() {
            let charge = charge(&entry, block);
            let PlannedEntry { id, path, kind, modified, .. } = entry;
            let path = path.top_level();
            if id < next_id {
                return bad(path, "its id does not come after the one before");
            }
            next_id = id.saturating_add(1);
            // As a tree is walked: folders before what is in them, siblings by name.
            is_in_order &= before.split('/').lt(path.as_str().split('/'));
            before.clear();
            before.push_str(path.as_str());
            match kind {
                PlannedKind::Folder => {
                    declared += 1;
                    let folder = enter(path, &mut folders, &mut index)?;
                    folders[folder].declared = true;
                    folders[folder].modified = modified;
                }
                PlannedKind::File => {
                    let is_new = path.above().is_some_and(|above| !index.contains_key(above));
                    if let (true, Some(parent)) = (is_new, path.parent()) {
                        enter(parent, &mut folders, &mut index)?;
                    }
                    sum = sum.saturating_add(charge);
                    waiting.grow_and_insert(id as usize);
                }
            }
        }
        // Where every folder is declared and nothing comes twice, nothing is both, and the list need not be gone through again.
        let is_told_apart = is_in_order && declared == index.len();
        if !is_told_apart && let Some(both) = file_and_folder(&listing, &index) {
            return bad(both, "it is offered as a file and as a folder");
        }
        let (listing, uncharged) = (Box::new(listing), FixedBitSet::new());
        let files = PlannedFiles { listing, folders: index, block, waiting, uncharged };
        Ok(Plan { files, folders, charge: sum })
    }

    /// Reserves nothing for a file that is there already.
    pub(super) fn uncharge(&mut self, id: u32) {
        if let Some(file) = self.files.get(id) {
            self.charge -= file.charge;
            self.files.uncharged.grow_and_insert(id as usize);
        }
    }
}

/// The first file that is one of the folders, too.
fn file_and_folder(listing: &impl Listing, folders: &HashMap<String, usize>) -> Option<RelPath> {
    let files = listing.entries().filter(|entry| entry.kind == PlannedKind::File);
    files.map(|file| file.path.top_level()).find(|path| folders.contains_key(path.as_str()))
}

/// The index of a folder, entered with its parents if it is new.
fn enter(
    path: RelPath,
    folders: &mut Vec<PlannedFolder>,
    index: &mut HashMap<String, usize>,
) -> Result<usize, StoreError> {
    if let Some(&known) = index.get(path.as_str()) {
        return Ok(known);
    }
    if folders.len() > MAX_FOLDERS {
        return Err(StoreError::BadPlan { subject: path.as_str().into(), why: "too many folders" });
    }
    let parent = match path.parent() {
        // bounded: a path has at most 64 components
        Some(parent) => enter(parent, folders, index)?,
        None => TOP,
    };
    let number = folders.len();
    index.insert(path.as_str().to_owned(), number);
    folders.push(PlannedFolder { parent, path: Some(path), declared: false, modified: None });
    Ok(number)
}

/// Where `name` ends up below `folder` (`None`: the receive folder); `offered` is the entry's own path.
pub(super) fn final_path(folder: Option<&RelPath>, offered: &RelPath, name: &FileName) -> RelPath {
    match folder {
        Some(folder) => folder.join(name),
        None => offered.with_first(name),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn entry(id: u32) -> PlannedEntry {
        let path = RelPath::from_stranger(&format!("tree {}/{id}", id % 3)).unwrap();
        let size = (!id.is_multiple_of(7)).then_some(u64::from(id));
        let holes = if id.is_multiple_of(4) { size.unwrap_or(0) / 2 } else { 0 };
        PlannedEntry { id, path, kind: PlannedKind::File, size, holes, modified: None }
    }

    proptest! {
        #[test]
        fn what_is_offered_as_a_file_and_as_a_folder_is_refused_in_whatever_order(
            offered in prop::collection::vec(("[ab](/[ab]){0,2}", any::<bool>()), 0..6),
            sorted in any::<bool>(),
        ) {
            let mut offered = offered;
            if sorted {
                offered.sort_by(|(one, _), (other, _)| one.split('/').cmp(other.split('/')));
                offered.dedup_by(|(one, _), (other, _)| one == other);
            }
            let entries = (0..).zip(&offered).map(|(id, (path, is_folder))| {
                let kind = if *is_folder { PlannedKind::Folder } else { PlannedKind::File };
                let path = RelPath::from_stranger(path).unwrap();
                PlannedEntry { id, path, kind, size: Some(1), holes: 0, modified: None }
            });
            let is_both = offered.iter().any(|(file, is_folder)| {
                let is_folder_of = |(path, is_folder): &(String, bool)| {
                    path.starts_with(&format!("{file}/")) || (*is_folder && path == file)
                };
                !is_folder && offered.iter().any(is_folder_of)
            });
            prop_assert_eq!(Plan::new(entries.collect::<Vec<_>>(), 512).is_err(), is_both);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn a_plan_gives_and_takes_like_a_map(
            ids in prop::collection::btree_set(0u32..1_500, 0..700),
            steps in prop::collection::vec((0u32..1_600, 0u8..3), 0..300),
        ) {
            let Plan { mut files, folders, charge, .. } =
                Plan::new(ids.iter().copied().map(entry).collect::<Vec<_>>(), 512).unwrap();
            let file = |id: u32| {
                let PlannedEntry { path, size, holes, modified, .. } = entry(id);
                let folder = folders.iter().position(|folder| folder.path == path.parent()).unwrap();
                let charge = (size.unwrap_or(0) - holes).next_multiple_of(512);
                PlannedFile { path, folder, size, has_holes: holes > 0, modified, charge }
            };
            let mut model: BTreeMap<_, _> = ids.iter().map(|id| (*id, file(*id))).collect();
            prop_assert_eq!(charge, model.values().map(|file| file.charge).sum::<u64>());
            for (id, step) in steps {
                match step {
                    0 => {
                        prop_assert_eq!(files.take(id), model.remove(&id));
                    }
                    1 if ids.contains(&id) => {
                        files.put_back(id);
                        model.insert(id, file(id));
                    }
                    _ => prop_assert_eq!(files.get(id), model.get(&id).cloned()),
                }
            }
            prop_assert_eq!(files.iter().collect::<Vec<_>>(), model.into_iter().collect::<Vec<_>>());
            prop_assert!(files.get(u32::MAX).is_none());
        }
    }
}
