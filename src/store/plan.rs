use std::collections::HashMap;
use std::time::SystemTime;

use fixedbitset::FixedBitSet;
use serde::{Deserialize, Serialize};

use super::error::StoreError;
use super::moment::{stamp, stamped};
use crate::names::{FileName, RelPath};
use crate::roll::{Kept, Moment, Record, Roll, Tail, apart, later};

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

/// The step from one [`PlannedFile`] to the next.
#[derive(Serialize, Deserialize)]
pub struct PlannedStep {
    path: Tail,
    folder: isize,
    size: Option<u64>,
    has_holes: bool,
    modified: Option<Moment>,
    charge: u64,
}

impl Record for Option<PlannedFile> {
    type Step = Option<PlannedStep>;

    fn step(&self, before: Option<&Self>) -> Option<PlannedStep> {
        let (path, folder, time) = basis(before);
        self.as_ref().map(|file| PlannedStep {
            path: Tail::of(file.path.as_str(), path),
            folder: file.folder.wrapping_sub(folder) as isize,
            size: file.size,
            has_holes: file.has_holes,
            modified: file.modified.and_then(stamp).map(|stamp| apart(stamp, time)),
            charge: file.charge,
        })
    }

    fn after(before: Option<&Self>, step: Option<PlannedStep>) -> Self {
        let (path, folder, time) = basis(before);
        step.map(|step| PlannedFile {
            path: RelPath::from_own(step.path.after(path)),
            folder: folder.wrapping_add_signed(step.folder),
            size: step.size,
            has_holes: step.has_holes,
            modified: step.modified.and_then(|since| stamped(later(time, since))),
            charge: step.charge,
        })
    }
}

/// Of a file, what those after it are told by: path, folder, time.
fn basis(file: Option<&Option<PlannedFile>>) -> (&str, usize, Moment) {
    file.and_then(Option::as_ref).map_or(("", 0, (0, 0)), |file| {
        (file.path.as_str(), file.folder, file.modified.and_then(stamp).unwrap_or_default())
    })
}

/// A folder that will be needed. Index 0 is the receive folder itself, and a parent comes before its children.
#[derive(Debug)]
pub(super) struct PlannedFolder {
    pub(super) parent: usize,
    pub(super) path: Option<RelPath>,
    pub(super) declared: bool,
    pub(super) modified: Option<SystemTime>,
}

/// The files of a plan, by id: held small, and marked while they wait to be received.
#[derive(Default)]
pub(super) struct PlannedFiles {
    /// `None` where an id stands for something else.
    by_id: Roll<Option<PlannedFile>>,
    waiting: FixedBitSet,
    /// Those that need no reservation.
    uncharged: FixedBitSet,
}

impl PlannedFiles {
    /// Adds a file, whose id is beyond all others.
    fn add(&mut self, id: u32, file: PlannedFile) {
        let place = id as usize;
        self.by_id.extend((self.by_id.len()..place).map(|_| None));
        self.by_id.push(Some(file));
        self.waiting.grow_and_insert(place);
    }

    /// The ids of those that wait.
    pub(super) fn waiting(&self) -> &FixedBitSet {
        &self.waiting
    }

    /// Those that wait, in the order of their ids.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, PlannedFile)> {
        let files = self.by_id.iter().enumerate().filter(|(place, _)| self.waiting.contains(*place));
        files.filter_map(|(place, file)| Some((place as u32, self.charged(place, (*file).clone()?))))
    }

    /// One that waits.
    fn get(&self, id: u32) -> Option<PlannedFile> {
        let file = self.kept(id)?;
        (*file).clone().map(|file| self.charged(id as usize, file))
    }

    /// The declared size in bytes of one that waits, if it is known.
    pub(super) fn size(&self, id: u32) -> Option<u64> {
        self.kept(id)?.as_ref()?.size
    }

    fn kept(&self, id: u32) -> Option<Kept<Option<PlannedFile>>> {
        self.by_id.get(id as usize).filter(|_| self.waiting.contains(id as usize))
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

    fn charged(&self, place: usize, file: PlannedFile) -> PlannedFile {
        let charge = if self.uncharged.contains(place) { 0 } else { file.charge };
        PlannedFile { charge, ..file }
    }
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
    pub(super) fn new(entries: impl IntoIterator<Item = PlannedEntry>, block: u64) -> Result<Plan, StoreError> {
        let bad = |subject: &str, why| StoreError::BadPlan { subject: subject.into(), why };
        let top = PlannedFolder { parent: TOP, path: None, declared: false, modified: None };
        let mut plan = Plan { files: PlannedFiles::default(), folders: vec![top], charge: 0 };
        let mut index = HashMap::new();
        let mut next_id = 0;
        for PlannedEntry { id, path, kind, size, holes, modified } in entries {
            let path = path.top_level();
            if id < next_id {
                return Err(bad(path.as_str(), "its id does not come after the one before"));
            }
            next_id = id.saturating_add(1);
            match kind {
                PlannedKind::Folder => {
                    let folder = plan.folder(path, &mut index)?;
                    plan.folders[folder].declared = true;
                    plan.folders[folder].modified = modified;
                }
                PlannedKind::File => {
                    let folder = match path.parent() {
                        Some(parent) => plan.folder(parent, &mut index)?,
                        None => TOP,
                    };
                    let charge =
                        size.unwrap_or(0).saturating_sub(holes).checked_next_multiple_of(block).unwrap_or(u64::MAX);
                    plan.charge = plan.charge.saturating_add(charge);
                    plan.files.add(id, PlannedFile { path, folder, size, has_holes: holes > 0, modified, charge });
                }
            }
        }
        let is_folder = |(_, file): &(u32, PlannedFile)| index.contains_key(file.path.as_str());
        if let Some((_, file)) = plan.files.iter().find(is_folder) {
            return Err(bad(file.path.as_str(), "it is offered as a file and as a folder"));
        }
        Ok(plan)
    }

    /// Reserves nothing for a file that is there already.
    pub(super) fn uncharge(&mut self, id: u32) {
        if let Some(file) = self.files.get(id) {
            self.charge -= file.charge;
            self.files.uncharged.grow_and_insert(id as usize);
        }
    }

    /// The index of a folder, entered with its parents if it is new.
    fn folder(&mut self, path: RelPath, index: &mut HashMap<String, usize>) -> Result<usize, StoreError> {
        if let Some(&known) = index.get(path.as_str()) {
            return Ok(known);
        }
        if self.folders.len() > MAX_FOLDERS {
            return Err(StoreError::BadPlan { subject: path.as_str().into(), why: "too many folders" });
        }
        let parent = match path.parent() {
            // bounded: a path has at most 64 components
            Some(parent) => self.folder(parent, index)?,
            None => TOP,
        };
        let number = self.folders.len();
        index.insert(path.as_str().to_owned(), number);
        self.folders.push(PlannedFolder { parent, path: Some(path), declared: false, modified: None });
        Ok(number)
    }
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

    fn file(id: u32) -> PlannedFile {
        let path = RelPath::from_stranger(&format!("tree/{id}")).unwrap();
        let modified = (!id.is_multiple_of(5)).then(|| stamped((1_700_000_000, i64::from(id % 9))).unwrap());
        let size = (!id.is_multiple_of(7)).then_some(u64::from(id));
        let (folder, has_holes, charge) = (id as usize % 3, id.is_multiple_of(4), u64::from(id) * 4096);
        PlannedFile { path, folder, size, has_holes, modified, charge }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn a_packed_plan_gives_and_takes_like_a_map(
            ids in prop::collection::btree_set(0u32..1_500, 0..700),
            steps in prop::collection::vec((0u32..1_600, 0u8..3), 0..300),
        ) {
            let (mut files, mut model) = (PlannedFiles::default(), BTreeMap::new());
            for &id in &ids {
                files.add(id, file(id));
                model.insert(id, file(id));
            }
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
