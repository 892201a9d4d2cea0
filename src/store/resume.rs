//! Taking up what an earlier attempt has left.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::sync::Arc;

use cap_std::fs::Dir;
use serde::{Deserialize, Serialize};

use super::area::Area;
use super::at::{self, Node};
use super::folder::{Root, open_below};
use super::intake::Shared;
use super::journal::{Done, Mark, Part, Record, Replayed};
use super::partial::PartialFile;
use super::plan::{IfExists, Plan, PlannedFile};
use crate::names::{FileName, RelPath};
use crate::roll::{self, Roll, Tail};

/// What is there of the accepted entries from an earlier attempt. Nothing of it was looked at yet.
#[derive(Default)]
pub struct Held {
    /// Of some a part.
    pub parts: Vec<HeldPart>,
    /// Of the others all; ids ascend, but for a few at the end.
    pub stored: Roll<StoredBefore>,
}

/// A part of a file.
pub struct HeldPart {
    /// To go on with.
    pub file: PartialFile,
    /// The chunks that were verified then, as (index, value), ascending.
    pub chunks: Vec<(u64, [u8; 32])>,
}

/// A file that was stored, and may have been moved since.
#[derive(Debug, Clone)]
pub struct StoredBefore {
    /// Which entry.
    pub id: u32,
    /// Where it was put, below the receive folder.
    pub name: RelPath,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its BLAKE3.
    pub hash: [u8; 32],
    /// Whether this very process said so.
    pub told: bool,
}

/// The step from one [`StoredBefore`] to the next.
#[derive(Serialize, Deserialize)]
pub struct StoredStep {
    id: i64,
    name: Tail,
    bytes: u64,
    hash: [u8; 32],
    told: bool,
}

impl roll::Record for StoredBefore {
    type Step = StoredStep;

    fn step(&self, before: Option<&Self>) -> StoredStep {
        let (id, name) = before.map_or((0, ""), |before| (before.id, before.name.as_str()));
        StoredStep {
            id: i64::from(self.id) - i64::from(id),
            name: Tail::of(self.name.as_str(), name),
            bytes: self.bytes,
            hash: self.hash,
            told: self.told,
        }
    }

    fn after(before: Option<&Self>, step: StoredStep) -> Self {
        let (id, name) = before.map_or((0, ""), |before| (before.id, before.name.as_str()));
        let StoredStep { bytes, hash, told, .. } = step;
        let name = RelPath::from_own(step.name.after(name));
        StoredBefore { id: (i64::from(id) + step.id) as u32, name, bytes, hash, told }
    }
}

/// What is left of an earlier attempt, by the entries of this one.
#[derive(Default)]
pub(super) struct Left {
    pub(super) parts: Vec<LeftPart>,
    pub(super) stored: Roll<StoredBefore>,
    pub(super) folders: Folders,
}

/// A partial file of an earlier attempt, open.
pub(super) struct LeftPart {
    pub(super) id: u32,
    part: Part,
    file: File,
    /// Bytes of the entry's share of the disk that are used already.
    pub(super) on_disk: u64,
}

/// The folders that an earlier attempt made, and what it put there.
#[derive(Default)]
pub(super) struct Folders {
    made: HashMap<String, (String, Node)>,
    /// By folder; `None`: the receive folder. Kept under [`IfExists::Replace`] only.
    own: HashMap<Option<RelPath>, HashSet<FileName>>,
}

impl Folders {
    /// The folder that was made for the offered one, below its open parent, if it is still there.
    pub(super) fn find(&self, offered: &RelPath, parent: &Dir) -> Option<(Dir, RelPath)> {
        let (name, node) = self.made.get(offered.as_str())?;
        let path = RelPath::from_stranger(name).ok()?;
        let dir = at::open_dir(parent, path.leaf().as_str()).ok()?;
        (at::node(&dir).ok()? == *node).then_some((dir, path))
    }

    /// The names that were given to files in the folder at `path`, or in the receive folder.
    pub(super) fn own(&self, path: Option<&RelPath>) -> HashSet<FileName> {
        self.own.get(&path.cloned()).cloned().unwrap_or_default()
    }
}

impl Left {
    /// Compares what was left with the plan. What is found in place though nobody could say so any more is noted.
    pub(super) fn find(area: &Area, root: &Root, plan: &Plan, if_exists: IfExists, mut replayed: Replayed) -> Left {
        let (mut left, mut unsaid) = (Left::default(), Vec::new());
        for (id, planned) in plan.files.iter() {
            let mark = Mark::of(&planned);
            if let Some(done) = replayed.done.get_mut(&mark).and_then(Vec::pop) {
                let name = match &done.name {
                    Some(name) => RelPath::from_stranger(name).ok(),
                    None => placed_unsaid(area, root, &planned, &done, &replayed.folders),
                };
                if let Some(name) = name {
                    let stored = StoredBefore { id, name, bytes: done.bytes, hash: done.hash, told: done.told };
                    match done.name {
                        Some(_) => left.stored.push(stored),
                        None => unsaid.push((done.temp, stored)),
                    }
                    continue;
                }
            }
            let Some(part) = replayed.parts.get_mut(&mark).and_then(Vec::pop) else { continue };
            if let Ok((file, on_disk)) = open_part(area, &planned, part.temp) {
                left.parts.push(LeftPart { id, part, file, on_disk });
            }
        }
        // their process may have died before it synced their folders; what is not known to last is sent again
        if sync_folders(root, unsaid.iter().map(|(_, stored)| &stored.name)).is_ok() {
            let said: Vec<_> =
                unsaid.iter().map(|(temp, stored)| Record::stored(*temp, stored.name.as_str())).collect();
            area.note(&said);
            left.stored.extend(unsaid.into_iter().map(|(_, stored)| stored));
        }
        left.folders.made = replayed.folders;
        if if_exists == IfExists::Replace {
            for stored in left.stored.iter() {
                left.folders.own.entry(stored.name.parent()).or_default().insert(stored.name.leaf());
            }
        }
        left
    }
}

impl LeftPart {
    /// As it is handed out.
    pub(super) fn take_up(self, shared: &Arc<Shared>) -> Option<HeldPart> {
        let file = PartialFile::reopened(shared, self.id, self.part.temp, self.file, self.on_disk)?;
        let mut chunks: Vec<_> = self.part.chunks.into_iter().map(|(chunk, value)| (u64::from(chunk), value)).collect();
        chunks.sort_unstable_by_key(|(chunk, _)| *chunk);
        Some(HeldPart { file, chunks })
    }
}

/// Opens a partial file, without what was written beyond the declared end.
fn open_part(area: &Area, planned: &PlannedFile, temp: u64) -> io::Result<(File, u64)> {
    let file = area.reopen_temp(temp)?;
    // whoever had it whole has loosened its mode
    at::set_mode(&file, at::PRIVATE_FILE)?;
    let about = cap_std::fs::Metadata::from_file(&file)?;
    if let Some(size) = planned.size.filter(|size| about.len() > *size) {
        file.set_len(size)?;
    }
    Ok((file, at::taken_by(&about).min(planned.charge)))
}

/// Where a file was put in place just before its process died, so that nobody said so.
fn placed_unsaid(
    area: &Area,
    root: &Root,
    planned: &PlannedFile,
    done: &Done,
    folders: &HashMap<String, (String, Node)>,
) -> Option<RelPath> {
    if area.reopen_temp(done.temp).is_ok() {
        return None;
    }
    let parent = planned.path.parent().map(|offered| match folders.get(offered.as_str()) {
        Some((name, _)) => RelPath::from_stranger(name).ok(),
        None => Some(offered),
    });
    let (dir, parent) = match parent {
        None => (root.dir.try_clone().ok()?, None),
        Some(path) => (open_below(&root.dir, path.as_ref()?).ok()?, path),
    };
    let name = dir.entries().ok()?.find_map(|entry| {
        let name = entry.ok()?.file_name().into_string().ok()?;
        (at::name_node(&dir, &name).ok()? == done.node).then_some(name)
    })?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(at::open_file(&dir, &name).ok()?).ok()?;
    if *hasher.finalize().as_bytes() != done.hash {
        return None;
    }
    let name = FileName::from_stranger(&name);
    match parent {
        Some(parent) => Some(parent.join(&name)),
        None => RelPath::from_stranger(name.as_str()).ok(),
    }
}

/// Makes the names of these files survive a power cut: every folder above them, each once.
fn sync_folders<'a>(root: &Root, files: impl Iterator<Item = &'a RelPath>) -> io::Result<()> {
    let mut synced = HashSet::new();
    for file in files {
        let mut above = file.parent();
        while let Some(folder) = above.take_if(|folder| synced.insert(Some(folder.as_str().to_owned()))) {
            at::sync_dir(&open_below(&root.dir, &folder)?)?;
            above = folder.parent();
        }
        if above.is_none() && synced.insert(None) {
            at::sync_dir(&root.dir)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stored_before_comes_back_from_a_roll_as_it_was() {
        // The last ids come after greater ones.
        let ids = || (0..600u32).chain([3, u32::MAX, 0]);
        let name = |id| RelPath::from_stranger(&format!("tree/{id}")).unwrap();
        let stored = |id: u32| StoredBefore {
            id,
            name: name(id),
            bytes: u64::from(id) << 3,
            hash: *blake3::hash(&id.to_le_bytes()).as_bytes(),
            told: id.is_multiple_of(2),
        };
        let roll: Roll<StoredBefore> = ids().map(stored).collect();
        assert!(roll.iter().map(|kept| format!("{:?}", *kept)).eq(ids().map(|id| format!("{:?}", stored(id)))));
    }
}
