//! Files to send, and what became of them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// What stands under a relative path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    Folder { modified: SystemTime },
    File { bytes: u64, blake3: String, modified: SystemTime },
    Other,
}

/// Writes a file, making the folders above it.
pub fn write(path: &Path, bytes: &[u8]) -> PathBuf {
    fs::create_dir_all(path.parent().expect("a file has a folder")).expect("folders can be made");
    fs::write(path, bytes).expect("a file can be written");
    path.to_owned()
}

/// BLAKE3 in hexadecimal, as in `stored`.
pub fn hash(path: &Path) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut file = File::open(path).unwrap_or_else(|error| panic!("`{}`: {error}", path.display()));
    io::copy(&mut file, &mut hasher).expect("a file can be read");
    hasher.finalize().to_hex().to_string()
}

/// All that is under `root`, by relative path. An empty `.qrdrop-partial` is nothing.
pub fn tree(root: &Path) -> BTreeMap<String, Node> {
    let mut nodes = BTreeMap::new();
    for entry in walkdir::WalkDir::new(root).min_depth(1) {
        let entry = entry.expect("the folder can be walked");
        let meta = entry.metadata().expect("an entry has metadata");
        let name = entry.path().strip_prefix(root).expect("below the root").to_string_lossy().into_owned();
        let modified = meta.modified().expect("this system has modification times");
        let node = if meta.is_dir() {
            Node::Folder { modified }
        } else if meta.is_file() {
            Node::File { bytes: meta.len(), blake3: hash(entry.path()), modified }
        } else {
            Node::Other
        };
        nodes.insert(name, node);
    }
    if !nodes.keys().any(|name| name.starts_with(".qrdrop-partial/")) {
        nodes.remove(".qrdrop-partial");
    }
    nodes
}

/// The names under `root`, sorted.
pub fn names(root: &Path) -> Vec<String> {
    tree(root).into_keys().collect()
}

/// Fails with what differs, not with two whole trees.
#[track_caller]
pub fn assert_same(one: &Path, other: &Path) {
    let (one, other) = (tree(one), tree(other));
    let odd: Vec<String> = one
        .keys()
        .chain(other.keys().filter(|name| !one.contains_key(*name)))
        .filter(|name| one.get(*name) != other.get(*name))
        .take(10)
        .map(|name| format!("`{name}`: {:?} and {:?}", one.get(name), other.get(name)))
        .collect();
    assert!(odd.is_empty(), "the trees differ:\n{}", odd.join("\n"));
}

/// `bytes` that no compressor can shorten, the same for the same `seed`.
pub fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut noise);
    noise
}

/// A moment some years ago, whole seconds, different for each `n`.
pub fn moment(n: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_500_000_000 + n * 86_400)
}

/// Gives everything under `root`, and `root`, a time of its own; deepest first, since writing touches the folder above.
pub fn date(root: &Path) {
    for (n, entry) in walkdir::WalkDir::new(root).contents_first(true).sort_by_file_name().into_iter().enumerate() {
        let entry = entry.expect("the folder can be walked");
        File::open(entry.path()).and_then(|file| file.set_modified(moment(n as u64))).expect("times can be set");
    }
}

/// A folder of everything that a folder may hold: `small` small files, unicode names, empty files and folders, depths,
/// sizes around the limits of a chunk, and one file of `large` bytes.
pub fn motley(root: &Path, small: usize, large: usize) {
    const MIB: usize = 1024 * 1024;
    for n in 0..small {
        write(&root.join(format!("small/{:02}/{n:04}.bin", n % 25)), &noise(n as u64, n * 37 % 8_000));
    }
    for name in
        ["Grüße aus Köln.txt", "写真/東京.jpg", "👩‍👩‍👧‍👦 family.md", "می‌خواهم.txt", "-rf", "a..b.txt", ".hidden/.keep"]
    {
        write(&root.join(name), name.as_bytes());
    }
    for bytes in [0, 1, 1_024, 1_025, MIB - 1, MIB, MIB + 1, 3 * MIB + 1] {
        write(&root.join(format!("sizes/{bytes}")), &noise(bytes as u64, bytes));
    }
    write(&root.join("large.bin"), &noise(99, large));
    write(&root.join("empty file"), b"");
    fs::create_dir_all(root.join("empty/folder/in a folder")).expect("folders can be made");
    write(&root.join("d/e/e/p/e/r/leaf"), b"leaf");
    date(root);
}
