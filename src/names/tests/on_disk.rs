//! Names against the real file system, which is the oracle: nothing escapes, nothing is lost.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

use super::properties::stranger;
use super::*;

/// Names that are in one folder at a time.
const BATCH: usize = 500;

/// Writes a file under each of these names, in a folder with another beside it, as a receiver would: numbered where a name is
/// taken. Then all of them are there, and nothing else is anywhere.
fn all_are_kept(texts: &[String], sandbox: &Path) {
    let inbox = sandbox.join("inbox");
    fs::create_dir(&inbox).unwrap();
    let mut taken = HashSet::new();
    let mut written = Vec::new();
    for (number, text) in texts.iter().enumerate() {
        let name = FileName::from_stranger(text);
        let mut numbered = (1..).map(|number| name.with_number(number));
        let free = |name: &FileName| taken.insert(name.collision_key());
        let name = std::iter::once(name.clone()).chain(numbered.by_ref()).find(free).unwrap();
        let path = inbox.join(name.as_str());
        let mut file = File::create_new(&path).unwrap_or_else(|error| panic!("{text:?} as {name:?}: {error}"));
        file.write_all(&number.to_be_bytes()).unwrap();
        written.push(path);
    }
    for (number, (path, text)) in written.iter().zip(texts).enumerate() {
        assert_eq!(fs::read(path).unwrap(), number.to_be_bytes(), "{text:?} is lost");
        assert_eq!(&fs::canonicalize(path).unwrap(), path, "{text:?} is elsewhere");
    }
    assert_eq!(fs::read_dir(&inbox).unwrap().count(), texts.len());
    fs::remove_dir_all(&inbox).unwrap();

    fs::create_dir(&inbox).unwrap();
    for path in texts.iter().filter_map(|text| RelPath::from_stranger(text).ok()).map(RelPath::top_level) {
        let path = inbox.join(path.as_str());
        // Two of these may want one place; only then is one of them not made.
        if fs::create_dir_all(path.parent().unwrap()).is_ok() && File::create(&path).is_ok() {
            assert_eq!(fs::canonicalize(&path).unwrap(), path);
        }
    }
    fs::remove_dir_all(&inbox).unwrap();
    assert_eq!(fs::read_dir(sandbox).unwrap().count(), 0, "something is beside the folder");
}

/// `QRDROP_NAMES` says how many.
#[test]
#[ignore = "ten million names take 20 minutes"]
fn any_number_of_names_stays_in_the_folder_and_none_is_lost() {
    let most: usize = std::env::var("QRDROP_NAMES").map_or(100_000, |most| most.parse().expect("a number"));
    let sandbox = tempfile::tempdir().unwrap();
    let home = fs::canonicalize(sandbox.path()).unwrap();
    let texts = proptest::collection::vec(stranger(), BATCH);
    let mut runner = TestRunner::default();
    for _ in 0..most.div_ceil(BATCH) {
        all_are_kept(&texts.new_tree(&mut runner).unwrap().current(), &home);
    }
}
