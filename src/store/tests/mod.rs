#[cfg(target_os = "linux")]
mod direct;
mod durability;
mod faults;
mod hostile;
mod named;
mod naming;
mod property;
mod secrets;
mod sending;
mod space;
mod waiting;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use super::{Folder, IfExists, Intake, Placed, PlannedEntry, PlannedKind, StoreError};
use crate::names::RelPath;

/// A receive folder, and beside it a tree that nothing may touch.
struct Bench {
    home: TempDir,
}

impl Bench {
    fn new() -> Bench {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir_all(home.path().join("outside/deep")).unwrap();
        fs::create_dir(home.path().join("inbox")).unwrap();
        fs::write(home.path().join("outside/victim"), "precious").unwrap();
        fs::write(home.path().join("outside/deep/victim"), "precious").unwrap();
        Bench { home }
    }

    fn inbox(&self) -> PathBuf {
        self.home.path().join("inbox")
    }

    fn outside(&self) -> PathBuf {
        self.home.path().join("outside")
    }

    fn folder(&self) -> Arc<Folder> {
        Folder::open(&self.inbox()).unwrap()
    }

    /// Everything outside the receive folder is as it was made.
    fn assert_canary(&self) {
        let expected = [("deep", None), ("deep/victim", Some("precious")), ("victim", Some("precious"))];
        let expected = expected.map(|(path, text)| (path.to_owned(), text.map(str::to_owned)));
        assert_eq!(tree(&self.outside()), BTreeMap::from(expected));
        assert_eq!(fs::read_dir(self.home.path()).unwrap().count(), 2);
    }
}

/// Every path below `top` with its content; `None` for folders, and where a link leads for links.
fn tree(top: &Path) -> BTreeMap<String, Option<String>> {
    let mut found = BTreeMap::new();
    for entry in walkdir::WalkDir::new(top).min_depth(1) {
        let entry = entry.unwrap();
        let name = entry.path().strip_prefix(top).unwrap().to_string_lossy().into_owned();
        let content = if entry.file_type().is_dir() {
            None
        } else if entry.file_type().is_symlink() {
            Some(format!("-> {}", fs::read_link(entry.path()).unwrap().display()))
        } else {
            Some(String::from_utf8_lossy(&fs::read(entry.path()).unwrap()).into_owned())
        };
        found.insert(name, content);
    }
    found
}

fn names(top: &Path) -> Vec<String> {
    tree(top).into_keys().collect()
}

fn rel(path: &str) -> RelPath {
    RelPath::from_stranger(path).unwrap()
}

fn file(id: u32, path: &str, size: u64) -> PlannedEntry {
    PlannedEntry { id, path: rel(path), kind: PlannedKind::File, size: Some(size), holes: 0, modified: None }
}

fn folder(id: u32, path: &str) -> PlannedEntry {
    PlannedEntry { id, path: rel(path), kind: PlannedKind::Folder, size: None, holes: 0, modified: None }
}

/// Receives one planned file whole and commits it alone.
fn receive(intake: &Intake, id: u32, content: &[u8]) -> Result<Placed, StoreError> {
    let partial = intake.open_partial(id)?;
    partial.write_at(0, content)?;
    let whole = partial.complete(content.len() as u64)?;
    intake.commit(vec![whole]).pop().unwrap().1
}

/// A whole transfer of some files, in one batch.
fn send_as(folder: &Arc<Folder>, files: &[(&str, &str)], if_exists: IfExists) -> Vec<Result<Placed, StoreError>> {
    let ids = 0..files.len() as u32;
    let entries = ids.clone().zip(files).map(|(id, (path, content))| file(id, path, content.len() as u64));
    let intake = folder.begin(entries.collect::<Vec<_>>(), if_exists).unwrap();
    let wholes = ids.zip(files).map(|(id, (_, content))| {
        let partial = intake.open_partial(id).unwrap();
        partial.append(content.as_bytes()).unwrap();
        partial.complete(content.len() as u64).unwrap()
    });
    let results = intake.commit(wholes.collect());
    intake.finish().unwrap();
    results.into_iter().map(|(_, result)| result).collect()
}

fn send(folder: &Arc<Folder>, files: &[(&str, &str)]) -> Vec<Result<Placed, StoreError>> {
    send_as(folder, files, IfExists::Rename)
}

fn make_fifo(path: &Path) {
    assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Whether the rights of files bind this process at all.
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether the rights of files bind this process. If they don't, as for root, the test runs in another one that they bind.
fn bound_by_rights() -> bool {
    let closed = tempfile::NamedTempFile::new().unwrap();
    fs::set_permissions(closed.path(), fs::Permissions::from_mode(0o000)).unwrap();
    if fs::File::open(closed.path()).is_err() {
        return true;
    }
    let this = std::thread::current().name().expect("a test has a thread of its name").to_owned();
    let without = "--bounding-set=-dac_override,-dac_read_search";
    if std::env::var_os("QRDROP_BOUND").is_some() || !run("setpriv", &[without, "true"]) {
        skipped("nothing is closed to this user");
        return false;
    }
    let mut bound = std::process::Command::new("setpriv");
    bound.arg(without).arg(std::env::current_exe().unwrap()).args(["--exact", &this]).env("QRDROP_BOUND", "1");
    let said = bound.output().unwrap();
    let text = String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success() && text.contains(" 1 passed"), "{text}");
    false
}

/// Whether the program succeeds; its words are dropped.
fn run(program: &str, arguments: &[&str]) -> bool {
    std::process::Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

/// Says that a test could not run here: to a person, and to `tests/run`, which counts it.
fn skipped(why: &str) {
    use std::io::Write;
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    assert!(std::env::var_os("QRDROP_REQUIRE_ALL").is_none_or(|all| all != "1"), "{test} can't run here: {why}");
    // the harness swallows `eprintln!`
    let mut screen = std::io::stderr();
    writeln!(screen, "SKIPPED: {why}").unwrap();
    if let Some(path) = std::env::var_os("QRDROP_SKIPS") {
        let skips = std::fs::File::options().append(true).create(true).open(path);
        skips.unwrap().write_all(format!("{test}: {why}\n").as_bytes()).unwrap();
    }
}
