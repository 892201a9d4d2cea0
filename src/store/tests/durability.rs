//! What the system sees of a transfer: the order of its calls, and what happens when one of them fails.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Output};

use super::*;
use crate::store::{Keepsake, at};

const FILES: [(&str, &str); 3] = [("tree/a", "content of a"), ("tree/deep/b", "content of b"), ("c", "content of c")];
const PLACE: &str = "QRDROP_TEST_PLACE";
const ONLY: &str = "QRDROP_TEST_ONLY";

/// The transfer that the tests below watch: into `$QRDROP_TEST_PLACE/inbox`, telling in `outcome` what was stored.
#[test]
#[ignore = "run by its siblings under strace"]
fn subject() {
    let place = PathBuf::from(std::env::var_os(PLACE).unwrap());
    let stored = transfer(&place.join("inbox")).unwrap_or_default();
    fs::write(place.join("outcome"), stored.join("\n")).unwrap();
}

/// One that is kept, and goes on with what is there of an earlier attempt; of the one file in `$QRDROP_TEST_ONLY`, if that
/// is set.
#[test]
#[ignore = "run by its siblings under strace"]
fn kept_subject() {
    let place = PathBuf::from(std::env::var_os(PLACE).unwrap());
    let only = std::env::var(ONLY).ok();
    let wanted: Vec<_> =
        (0..).zip(FILES).filter(|(_, (path, _))| only.as_deref().is_none_or(|only| only == *path)).collect();
    let entries: Vec<_> = wanted.iter().map(|(id, (path, content))| file(*id, path, content.len() as u64)).collect();
    let keep = Keepsake { key: [7; 32], about: String::new() };
    let intake = Folder::open(&place.join("inbox")).unwrap().go_on(entries, IfExists::Rename, &keep).unwrap();
    let held = intake.take_held();
    let mut stored: BTreeMap<_, _> = held.stored.iter().map(|(id, stored)| (id, stored.name.clone())).collect();
    let missing = wanted.iter().filter(|(id, _)| !stored.contains_key(id));
    let whole = missing.map(|(id, (_, content))| {
        let partial = intake.open_partial(*id).unwrap();
        partial.append(content.as_bytes()).unwrap();
        partial.complete(content.len() as u64).unwrap().hashed(*blake3::hash(content.as_bytes()).as_bytes())
    });
    stored.extend(intake.commit(whole.collect()).into_iter().map(|(id, placed)| (id, placed.unwrap().name)));
    let stored: Vec<_> = stored.values().map(RelPath::as_str).collect();
    fs::write(place.join("outcome"), stored.join("\n")).unwrap();
}

/// Stores two batches, one after the other, of a transfer that can be gone on with.
#[test]
#[ignore = "run by its siblings under strace"]
fn two_batches_subject() {
    let Some(place) = std::env::var_os(PLACE).map(PathBuf::from) else { return };
    let keep = Keepsake { key: [7; 32], about: String::new() };
    let entries = vec![file(0, "a", 1), file(1, "b", 1)];
    let intake = Folder::open(&place.join("inbox")).unwrap().go_on(entries, IfExists::Rename, &keep).unwrap();
    let stored = [0, 1].map(|id| {
        let partial = intake.open_lasting(id).unwrap();
        partial.append(b"x").unwrap();
        let whole = partial.complete(1).unwrap().hashed(*blake3::hash(b"x").as_bytes());
        intake.commit(vec![whole])[0].1.is_ok()
    });
    let left = names(&place.join("inbox")).into_iter().filter(|name| name.ends_with(".part"));
    fs::write(place.join("outcome"), format!("{stored:?} {} {}", left.count(), intake.finish().is_ok())).unwrap();
}

fn transfer(inbox: &Path) -> Result<Vec<String>, StoreError> {
    let entries = (0..).zip(FILES).map(|(id, (path, content))| file(id, path, content.len() as u64));
    let intake = Folder::open(inbox)?.begin(entries.collect::<Vec<_>>(), IfExists::Rename)?;
    let whole = |(id, (_, content)): (u32, (&str, &str))| {
        let partial = intake.open_partial(id).ok()?;
        partial.append(content.as_bytes()).ok()?;
        partial.complete(content.len() as u64).ok()
    };
    let batch = (0..).zip(FILES).filter_map(whole).collect();
    let stored = intake.commit(batch).into_iter().filter_map(|(_, placed)| Some(placed.ok()?.name.as_str().to_owned()));
    Ok(stored.collect())
}

/// Runs the subject under strace; `None` where there is none. The trace and the names told as stored.
fn traced(place: &Path, options: &[&str]) -> Option<(String, Vec<String>)> {
    let output = strace(place, "subject", options, None)?;
    let outcome = fs::read_to_string(place.join("outcome")).ok()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    Some((fs::read_to_string(place.join("trace")).unwrap(), outcome.lines().map(str::to_owned).collect()))
}

fn strace(place: &Path, subject: &str, options: &[&str], only: Option<&str>) -> Option<Output> {
    let mut command = Command::new("strace");
    command
        .args(["-f", "-qq", "-e", "trace=openat2,mkdirat,pwrite64,fchmod,utimensat,fsync,renameat2"])
        .args(options)
        .arg("-o")
        .arg(place.join("trace"))
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", &format!("store::tests::durability::{subject}")])
        .env(PLACE, place)
        .envs(only.map(|only| (ONLY, only)));
    command.output().ok()
}

/// The folders that the last run has synced, below the home of the bench.
fn synced_folders(run: &Traced) -> BTreeSet<String> {
    let trace = fs::read_to_string(run.place.path().join("trace")).unwrap();
    let home = fs::canonicalize(run.bench.home.path()).unwrap();
    let paths = trace.lines().filter_map(|line| line.split_once("fsync(")?.1.split_once('<')?.1.split_once(">)"));
    let below = paths.filter_map(|(path, _)| Some(Path::new(path).strip_prefix(&home).ok()?.display().to_string()));
    below.filter(|path| !path.contains(".qrdrop-partial")).collect()
}

/// Runs [`kept_subject`] until it has moved its files, and dies before it syncs the first folder; `None` without strace.
fn died_after_the_moves(run: &Traced) -> Option<()> {
    // three files are synced before
    let killed = strace(run.place.path(), "kept_subject", &["-e", "inject=fsync:signal=KILL:when=4"], None)?;
    assert!(!killed.status.success() && !run.place.path().join("outcome").exists());
    assert_eq!(final_names(&run.bench).len(), FILES.len());
    Some(())
}

/// The files under final names, each of which must be exact.
fn final_names(bench: &Bench) -> Vec<String> {
    let contents = BTreeMap::from(FILES);
    let files = tree(&bench.inbox()).into_iter().filter_map(|(name, content)| Some((name, content?)));
    let files: Vec<_> = files.filter(|(name, _)| !name.starts_with(".qrdrop-partial")).collect();
    for (name, content) in &files {
        assert_eq!(contents.get(name.as_str()), Some(&content.as_str()), "{name}");
    }
    files.into_iter().map(|(name, _)| name).collect()
}

struct Traced {
    bench: Bench,
    place: TempDir,
}

impl Traced {
    fn new() -> Traced {
        let traced = Traced { bench: Bench::new(), place: tempfile::tempdir().unwrap() };
        std::os::unix::fs::symlink(traced.bench.inbox(), traced.place.path().join("inbox")).unwrap();
        traced
    }
}

#[test]
fn r26_files_are_synced_then_renamed_then_every_folder_up_to_the_top_is_synced() {
    let run = Traced::new();
    let Some((trace, stored)) = traced(run.place.path(), &[]) else { return skipped("no strace here") };
    assert_eq!(stored, FILES.map(|(path, _)| path));
    let calls: Vec<_> = trace.lines().filter_map(|line| line.split_once(' ')?.1.trim().split_once('(')).collect();
    let places = |name| calls.iter().enumerate().filter(move |(_, call)| call.0 == name).map(|(place, _)| place);
    let (syncs, renames): (Vec<_>, Vec<_>) = (places("fsync").collect(), places("renameat2").collect());
    // three files and three folders: the top, `tree`, `tree/deep`
    assert_eq!((syncs.len(), renames.len()), (6, 3), "{trace}");
    assert!(syncs[2] < renames[0] && renames[2] < syncs[3], "{trace}");
}

#[test]
fn r26_what_was_moved_just_before_a_death_is_synced_before_it_is_told() {
    let run = Traced::new();
    let Some(()) = died_after_the_moves(&run) else { return skipped("no strace here") };
    assert!(strace(run.place.path(), "kept_subject", &["-y"], None).unwrap().status.success());
    let told = fs::read_to_string(run.place.path().join("outcome")).unwrap();
    assert_eq!(told.lines().collect::<Vec<_>>(), FILES.map(|(path, _)| path), "it is found, and not stored again");
    assert_eq!(synced_folders(&run), ["inbox", "inbox/tree", "inbox/tree/deep"].map(str::to_owned).into());
}

#[test]
fn r26_a_folder_that_was_made_just_before_a_death_is_synced_with_what_is_put_there() {
    let run = Traced::new();
    let Some(()) = died_after_the_moves(&run) else { return skipped("no strace here") };
    FILES.iter().for_each(|(path, _)| fs::remove_file(run.bench.inbox().join(path)).unwrap());
    assert!(strace(run.place.path(), "kept_subject", &["-y"], Some("tree/deep/b")).unwrap().status.success());
    assert_eq!(final_names(&run.bench), ["tree/deep/b"]);
    assert_eq!(synced_folders(&run), ["inbox", "inbox/tree", "inbox/tree/deep"].map(str::to_owned).into());
}

#[test]
fn r09_any_call_that_fails_once_is_told_and_leaves_nothing_half_stored() {
    for call in ["openat2", "mkdirat", "pwrite64", "fchmod", "fsync", "renameat2"] {
        for nth in 1.. {
            let run = Traced::new();
            let inject = format!("inject={call}:error=EIO:when={nth}");
            let Some((trace, mut stored)) = traced(run.place.path(), &["-e", &inject]) else {
                return skipped("no strace here");
            };
            if !trace.contains("(INJECTED)") {
                break;
            }
            stored.sort();
            assert_eq!(final_names(&run.bench), stored, "{call} {nth}");
            assert!(call == "openat2" || stored.len() < FILES.len(), "{call} {nth} failed and nobody was told");
            run.bench.folder().clean().unwrap();
            assert!(!run.bench.inbox().join(".qrdrop-partial").exists(), "{call} {nth}");
            run.bench.assert_canary();
        }
    }
}

#[test]
fn r09_after_a_sync_that_failed_nothing_of_the_transfer_is_stored_or_waits() {
    // that of the file, then that of its folder
    for failing in [1, 2] {
        let run = Traced::new();
        let inject = format!("inject=fsync:error=EIO:when={failing}");
        let Some(output) = strace(run.place.path(), "two_batches_subject", &["-e", &inject], None) else {
            return skipped("no strace here");
        };
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        assert_eq!(fs::read_to_string(run.place.path().join("outcome")).unwrap(), "[false, false] 0 false");
        assert_eq!(names(&run.bench.inbox()), [""; 0], "sync {failing}");
    }
}

#[test]
fn r11_interrupted_calls_are_repeated() {
    for error in ["EINTR", "EAGAIN"] {
        for call in ["openat2", "pwrite64", "fchmod"] {
            let run = Traced::new();
            let inject = format!("inject={call}:error={error}:when=2+3");
            let Some((_, stored)) = traced(run.place.path(), &["-e", &inject]) else {
                return skipped("no strace here");
            };
            assert_eq!(stored, FILES.map(|(path, _)| path), "{call} {error}");
            assert_eq!(final_names(&run.bench).len(), 3);
        }
    }
}

#[test]
#[cfg(target_os = "linux")]
fn one_sync_for_all_is_trusted_from_linux_5_8_on() {
    let releases =
        [("5.8.0", true), ("6.18.44-x", true), ("10.0", true), ("5.7.19", false), ("4.19", false), ("", false)];
    for (release, trusted) in releases {
        assert_eq!(at::reports_sync_errors(release), trusted, "{release}");
    }
}
