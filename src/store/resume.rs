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
use super::journal::{Mark, Record};
use super::partial::PartialFile;
use super::plan::{IfExists, Plan, PlannedFile};
use super::replayed::{Done, Part, Replayed};
use crate::names::{FileName, RelPath};
use crate::roll::{self, ById, Tail};

/// What is there of the accepted entries from an earlier attempt. Nothing of it was looked at yet.
#[derive(Default)]
pub struct Held {
    /// Of some a part.
    pub parts: Vec<HeldPart>,
    /// Of the others all.
    pub stored: ById<StoredBefore>,
}

/// A part of a file.
pub struct HeldPart {
    /// To go on with.
    pub file: PartialFile,
    /// The chunks that were verified then, as (index, value), ascending.
    pub chunks: Vec<(u64, [u8; 32])>,
}

/// A file that was stored, and may have been moved since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBefore {
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
    name: Tail,
    bytes: u64,
    hash: [u8; 32],
    told: bool,
}

impl roll::Record for StoredBefore {
    type Step = StoredStep;

    fn step(&self, before: Option<&Self>) -> StoredStep {
        let name = Tail::of(self.name.as_str(), before.map_or("", |before| before.name.as_str()));
        StoredStep { name, bytes: self.bytes, hash: self.hash, told: self.told }
    }

    fn after(before: Option<&Self>, StoredStep { name, bytes, hash, told }: StoredStep) -> Self {
        let name = RelPath::from_own(name.after(before.map_or("", |before| before.name.as_str())));
        StoredBefore { name, bytes, hash, told }
    }
}

/// What is left of an earlier attempt, by the entries of this one.
#[derive(Default)]
pub(super) struct Left {
    pub(super) parts: Vec<LeftPart>,
    pub(super) stored: ById<StoredBefore>,
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
    pub(super) fn find(area: &Area, root: &Root, plan: &Plan, if_exists: IfExists, replayed: Replayed) -> Left {
        let Replayed { mut parts, mut stored, unsaid, folders, .. } = replayed;
        let mut whole: HashMap<Mark, Vec<_>> = HashMap::new();
        unsaid.into_iter().for_each(|(temp, done)| whole.entry(done.mark).or_default().push((temp, done)));
        let (mut left, mut places, mut found) = (Left::default(), Vec::new(), Vec::new());
        for (id, planned) in plan.files.iter() {
            let mark = Mark::of(&planned);
            // what nobody could say is what happened last
            if let Some((temp, done)) = whole.get_mut(&mark).and_then(Vec::pop)
                && let Some(name) = placed_unsaid(area, root, &planned, temp, &done, &folders)
            {
                let Done { bytes, hash, .. } = done;
                found.push((id, temp, StoredBefore { name, bytes, hash, told: false }));
                continue;
            }
            if let Some(place) = stored.take(&mark) {
                places.push((id, place));
            } else if let Some(part) = parts.get_mut(&mark).and_then(Vec::pop)
                && let Ok((file, on_disk)) = open_part(area, &planned, part.temp)
            {
                left.parts.push(LeftPart { id, part, file, on_disk });
            }
        }
        left.stored = stored.into_files().into();
        places.into_iter().for_each(|(id, place)| left.stored.assign(id, place));
        // their process may have died before it synced their folders; what is not known to last is sent again
        if sync_folders(root, found.iter().map(|(_, _, stored)| &stored.name)).is_ok() {
            let said: Vec<_> =
                found.iter().map(|(_, temp, stored)| Record::stored(*temp, stored.name.as_str())).collect();
            area.note(&said);
            found.into_iter().for_each(|(id, _, stored)| left.stored.insert(id, stored));
        }
        left.folders.made = folders;
        if if_exists == IfExists::Replace {
            for (_, stored) in left.stored.iter() {
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
    temp: u64,
    done: &Done,
    folders: &HashMap<String, (String, Node)>,
) -> Option<RelPath> {
    if area.reopen_temp(temp).is_ok() {
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
    use crate::roll::Roll;

    #[test]
    fn what_was_stored_before_comes_back_from_a_roll_as_it_was() {
        let stored = |id: u32| StoredBefore {
            name: RelPath::from_stranger(&format!("tree/{id}")).unwrap(),
            bytes: u64::from(id) << 3,
            hash: *blake3::hash(&id.to_le_bytes()).as_bytes(),
            told: id.is_multiple_of(2),
        };
        let roll: Roll<StoredBefore> = (0..600).map(stored).collect();
        assert!(roll.iter().map(|kept| (*kept).clone()).eq((0..600).map(stored)));
    }
}
