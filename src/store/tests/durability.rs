//! What the system sees of a transfer: the order of its calls, and what happens when one of them fails.

use std::fs;
use std::process::Command;

use super::*;
use crate::store::at;

const FILES: [(&str, &str); 3] = [("tree/a", "content of a"), ("tree/deep/b", "content of b"), ("c", "content of c")];
const PLACE: &str = "QRDROP_TEST_PLACE";

/// The transfer that the tests below watch: into `$QRDROP_TEST_PLACE/inbox`, telling in `outcome` what was stored.
#[test]
#[ignore = "run by its siblings under strace"]
fn subject() {
    let place = PathBuf::from(std::env::var_os(PLACE).unwrap());
    let stored = transfer(&place.join("inbox")).unwrap_or_default();
    fs::write(place.join("outcome"), stored.join("\n")).unwrap();
}

fn transfer(inbox: &Path) -> Result<Vec<String>, StoreError> {
    let entries = (0..).zip(FILES).map(|(id, (path, content))| file(id, path, content.len() as u64));
    let intake = Folder::open(inbox)?.begin(entries.collect(), IfExists::Rename)?;
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
    let trace = place.join("trace");
    let status = Command::new("strace")
        .args(["-f", "-qq", "-e", "trace=openat2,mkdirat,pwrite64,fchmod,utimensat,fsync,renameat2"])
        .args(options)
        .arg("-o")
        .arg(&trace)
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "store::tests::durability::subject"])
        .env(PLACE, place)
        .output()
        .ok()?;
    let outcome = fs::read_to_string(place.join("outcome")).ok()?;
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stdout));
    Some((fs::read_to_string(trace).unwrap(), outcome.lines().map(str::to_owned).collect()))
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
