use std::fs;
use std::path::Path;

/// More names of a folder are not looked at.
const LOOKED_AT: usize = 10_000;

/// The paths that begin with `typed`, sorted; folders end with a slash. What begins with a dot is left out unless it was
/// typed. A folder that can't be read has none.
pub fn complete_path(typed: &str) -> Vec<String> {
    let (folder, begun) = typed.rfind('/').map_or(("", typed), |slash| typed.split_at(slash + 1));
    let Ok(entries) = fs::read_dir(if folder.is_empty() { Path::new(".") } else { Path::new(folder) }) else {
        return Vec::new();
    };
    let named = entries.take(LOOKED_AT).filter_map(|entry| {
        let entry = entry.ok()?;
        let name = entry.file_name().into_string().ok()?;
        let wanted = name.starts_with(begun) && (!name.starts_with('.') || begun.starts_with('.'));
        wanted.then(|| format!("{folder}{name}{}", if entry.path().is_dir() { "/" } else { "" }))
    });
    let mut paths: Vec<String> = named.collect();
    paths.sort();
    paths
}
