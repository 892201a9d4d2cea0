//! A receive folder, as it can be looked at from outside.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

const PARTIAL_DIR: &str = ".qrdrop-partial";

/// What a person sees in the folder.
pub(super) fn visible(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut visible: Vec<_> = entries.filter(|path| !path.ends_with(PARTIAL_DIR)).collect();
    visible.sort();
    visible
}

fn areas(folder: &Path) -> Vec<PathBuf> {
    let areas = fs::read_dir(folder.join(PARTIAL_DIR)).into_iter().flatten();
    areas.map(|area| area.unwrap().path()).collect()
}

/// The lines of the journals; numbers that are drawn are given in the order in which they appear.
pub(super) fn journal(folder: &Path) -> Vec<Value> {
    let mut temps = Vec::new();
    let journals = areas(folder).into_iter().filter_map(|area| fs::read_to_string(area.join("journal")).ok());
    let lines = journals.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>());
    let read = lines.map(|line| {
        let mut line: Value = serde_json::from_str(&line).unwrap();
        for record in line.as_object_mut().into_iter().flat_map(|line| line.values_mut()) {
            for drawn in ["device", "inode", "run"] {
                record.as_object_mut().unwrap().remove(drawn);
            }
            if let Some(temp) = record.get_mut("temp") {
                let known = temps.iter().position(|known| known == temp);
                *temp = known
                    .unwrap_or_else(|| {
                        temps.push(temp.clone());
                        temps.len() - 1
                    })
                    .into();
            }
        }
        line
    });
    read.collect()
}

/// What a process that was killed leaves: the same files, and nobody who holds the locks.
pub(super) fn link_all(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let there = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&there).unwrap();
            fs::set_permissions(&there, Permissions::from_mode(0o700)).unwrap();
            link_all(&entry.path(), &there);
        } else if entry.file_name() == "lock" {
            File::create(&there).unwrap().set_permissions(Permissions::from_mode(0o600)).unwrap();
        } else {
            fs::hard_link(entry.path(), there).unwrap();
        }
    }
}
