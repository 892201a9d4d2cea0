use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::Barrier;
use std::time::{Duration, SystemTime};

use super::*;

#[test]
fn a_file_arrives_whole_with_its_time_and_leaves_no_trace_of_how() {
    let bench = Bench::new();
    let folder = bench.folder();
    let modified = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789);
    let entry = PlannedEntry { modified: Some(modified), ..file(7, "report.pdf", 6) };
    let intake = folder.begin(vec![entry], IfExists::Rename).unwrap();
    let partial = intake.open_partial(7).unwrap();
    partial.write_at(3, b"def").unwrap();
    partial.write_at(0, b"abc").unwrap();
    assert_eq!(names(&bench.inbox()).iter().filter(|name| !name.starts_with(".qrdrop-partial")).count(), 0);
    let placed = intake.commit(vec![partial.complete(6).unwrap()]).pop().unwrap().1.unwrap();
    intake.finish().unwrap();

    assert_eq!(placed.name, rel("report.pdf"));
    assert_eq!(placed.path, fs::canonicalize(bench.inbox()).unwrap().join("report.pdf"));
    assert_eq!(placed.bytes, 6);
    assert_eq!(tree(&bench.inbox()), BTreeMap::from([("report.pdf".into(), Some("abcdef".into()))]));
    assert_eq!(fs::metadata(placed.path).unwrap().modified().unwrap(), modified);
}

#[test]
fn a06_a_name_that_exists_is_left_alone_even_when_read_only() {
    let bench = Bench::new();
    let old = bench.inbox().join("report.pdf");
    fs::write(&old, "old").unwrap();
    fs::set_permissions(&old, fs::Permissions::from_mode(0o444)).unwrap();
    let before = fs::metadata(&old).unwrap();
    let placed = send(&bench.folder(), &[("report.pdf", "new")]).pop().unwrap().unwrap();
    let after = fs::metadata(&old).unwrap();
    assert_eq!(placed.name, rel("report (1).pdf"));
    assert_eq!((before.ino(), before.mode(), before.mtime_nsec()), (after.ino(), after.mode(), after.mtime_nsec()));
    assert_eq!(fs::read(&old).unwrap(), b"old");
    assert_eq!(fs::read(placed.path).unwrap(), b"new");
}

#[test]
fn a15_names_that_differ_in_case_alone_are_all_kept_apart() {
    let bench = Bench::new();
    let placed = send(&bench.folder(), &[("README", "1"), ("readme", "2"), ("Readme", "3")]);
    let names: Vec<_> = placed.into_iter().map(|placed| placed.unwrap().name.as_str().to_owned()).collect();
    assert_eq!(names, ["README", "readme (1)", "Readme (2)"]);
    assert_eq!(tree(&bench.inbox()).into_values().flatten().collect::<Vec<_>>(), ["1", "3", "2"]);
}

#[test]
fn a15_a_name_that_differs_in_case_from_one_in_the_folder_gets_a_number() {
    let bench = Bench::new();
    fs::write(bench.inbox().join("README"), "old").unwrap();
    let placed = send(&bench.folder(), &[("readme", "new")]).pop().unwrap().unwrap();
    assert_eq!(placed.name, rel("readme (1)"));
}

#[test]
fn a16_composed_and_decomposed_spellings_are_both_kept() {
    let bench = Bench::new();
    let placed = send(&bench.folder(), &[("caf\u{e9}", "composed"), ("cafe\u{301}", "decomposed")]);
    assert!(placed.iter().all(Result::is_ok));
    let mut contents: Vec<_> = tree(&bench.inbox()).into_values().flatten().collect();
    contents.sort();
    assert_eq!(contents, ["composed", "decomposed"]);
    assert_ne!(
        placed[0].as_ref().unwrap().name.leaf().collision_key(),
        placed[1].as_ref().unwrap().name.leaf().collision_key()
    );
}

#[test]
fn a17_a_path_that_is_file_and_folder_is_refused_before_anything_is_written() {
    let bench = Bench::new();
    let receive_folder = bench.folder();
    for entries in [
        vec![file(0, "a", 1), file(1, "a/b", 1)],
        vec![file(0, "a/b", 1), file(1, "a", 1)],
        vec![folder(0, "x/a"), file(1, "x/a", 1)],
    ] {
        let refused = receive_folder.begin(entries, IfExists::Rename).err().unwrap();
        assert!(matches!(refused, StoreError::BadPlan { .. }), "{refused}");
        assert_eq!(refused.fault(), crate::store::Fault::Peer);
    }
    assert_eq!(names(&bench.inbox()), [""; 0]);
}

#[test]
fn an_id_used_twice_is_refused() {
    let bench = Bench::new();
    let refused = bench.folder().begin(vec![file(3, "a", 1), file(3, "b", 1)], IfExists::Rename).err().unwrap();
    assert!(matches!(refused, StoreError::BadPlan { .. }));
}

#[test]
fn a_folder_is_renamed_as_a_whole_and_never_merged() {
    let bench = Bench::new();
    fs::create_dir(bench.inbox().join("tree")).unwrap();
    fs::write(bench.inbox().join("tree/mine"), "old").unwrap();
    let placed = send(&bench.folder(), &[("tree/mine", "new"), ("tree/sub/leaf", "leaf"), ("other", "x")]);
    let names: Vec<_> = placed.into_iter().map(|placed| placed.unwrap().name.as_str().to_owned()).collect();
    assert_eq!(names, ["tree (1)/mine", "tree (1)/sub/leaf", "other"]);
    assert_eq!(fs::read(bench.inbox().join("tree/mine")).unwrap(), b"old");
    assert_eq!(tree(&bench.inbox().join("tree")).len(), 1);
}

#[test]
fn two_transfers_of_one_folder_do_not_mix() {
    let bench = Bench::new();
    let receive_folder = bench.folder();
    let begin = || receive_folder.begin(vec![file(0, "tree/a", 1), file(1, "tree/b", 1)], IfExists::Rename).unwrap();
    let (one, two) = (begin(), begin());
    receive(&one, 0, b"1").unwrap();
    receive(&two, 0, b"2").unwrap();
    assert_eq!(receive(&one, 1, b"1").unwrap().name, rel("tree/b"));
    assert_eq!(receive(&two, 1, b"2").unwrap().name, rel("tree (1)/b"));
}

#[test]
fn empty_folders_arrive_and_every_folder_gets_its_time() {
    let bench = Bench::new();
    let at = |seconds| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
    let mut entries =
        vec![folder(0, "tree"), folder(1, "tree/empty"), folder(2, "tree/full"), file(3, "tree/full/x", 1)];
    for (entry, seconds) in entries.iter_mut().zip(1_000..) {
        entry.modified = at(seconds);
    }
    let intake = bench.folder().begin(entries, IfExists::Rename).unwrap();
    receive(&intake, 3, b"x").unwrap();
    intake.finish().unwrap();
    assert_eq!(names(&bench.inbox()), ["tree", "tree/empty", "tree/full", "tree/full/x"]);
    for (name, seconds) in names(&bench.inbox()).into_iter().zip(1_000..) {
        assert_eq!(fs::metadata(bench.inbox().join(name)).unwrap().modified().ok(), at(seconds));
    }
}

#[test]
fn replace_replaces_files_whole_and_merges_folders() {
    let bench = Bench::new();
    fs::create_dir_all(bench.inbox().join("tree/kept")).unwrap();
    fs::write(bench.inbox().join("tree/a"), "old").unwrap();
    fs::write(bench.inbox().join("tree/untouched"), "old").unwrap();
    let files = [("tree/a", "new"), ("tree/b", "b"), ("tree/A", "upper"), ("tree/kept", "a file"), ("tree/a", "twin")];
    let placed = send_as(&bench.folder(), &files, IfExists::Replace);
    let names: Vec<_> = placed.into_iter().map(|placed| placed.unwrap().name.as_str().to_owned()).collect();
    assert_eq!(names, ["tree/a", "tree/b", "tree/A (1)", "tree/kept (1)", "tree/a (2)"]);
    assert_eq!(fs::read(bench.inbox().join("tree/a")).unwrap(), b"new");
    assert_eq!(fs::read(bench.inbox().join("tree/untouched")).unwrap(), b"old");
}

#[test]
fn skip_finds_what_is_there_and_makes_no_second_folder() {
    let bench = Bench::new();
    fs::create_dir_all(bench.inbox().join("tree/sub")).unwrap();
    fs::write(bench.inbox().join("tree/sub/a"), "same").unwrap();
    let receive_folder = bench.folder();
    let existing = receive_folder.existing(&rel("tree/sub/a")).unwrap();
    assert_eq!(existing.bytes, 4);
    assert_eq!(std::io::read_to_string(existing.file).unwrap(), "same");
    assert!(receive_folder.existing(&rel("tree/sub")).is_none());
    assert!(receive_folder.existing(&rel("tree/none")).is_none());
    let entries = vec![folder(0, "tree"), folder(1, "tree/sub"), folder(2, "new")];
    receive_folder.begin(entries, IfExists::Skip).unwrap().finish().unwrap();
    assert_eq!(names(&bench.inbox()), ["new", "tree", "tree/sub", "tree/sub/a"]);
}

#[test]
fn h06_fifty_senders_of_one_name_give_fifty_files() {
    let bench = Bench::new();
    let receive_folder = bench.folder();
    let barrier = Barrier::new(50);
    let mut placed: Vec<_> = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..50)
            .map(|sender| {
                let (receive_folder, barrier) = (&receive_folder, &barrier);
                scope.spawn(move || {
                    let content = format!("from {sender:02}");
                    barrier.wait();
                    let intake = receive_folder.begin(vec![file(0, "notes.txt", 7)], IfExists::Rename).unwrap();
                    let placed = receive(&intake, 0, content.as_bytes()).unwrap();
                    intake.finish().unwrap();
                    assert_eq!(fs::read_to_string(&placed.path).unwrap(), content);
                    placed.name.as_str().to_owned()
                })
            })
            .collect();
        senders.into_iter().map(|sender| sender.join().unwrap()).collect()
    });
    placed.sort();
    placed.dedup();
    assert_eq!(placed.len(), 50);
    assert_eq!(names(&bench.inbox()).len(), 50);
}

#[test]
fn r24_two_receivers_on_one_folder_coexist() {
    let bench = Bench::new();
    let (one, two) = (bench.folder(), bench.folder());
    let running = one.begin(vec![file(0, "a", 1)], IfExists::Rename).unwrap();
    let partial = running.open_partial(0).unwrap();
    partial.append(b"1").unwrap();
    assert_eq!(two.clean().unwrap(), crate::store::Cleaned::default());
    assert_eq!(send(&two, &[("a", "2")]).pop().unwrap().unwrap().name, rel("a"));
    let placed = running.commit(vec![partial.complete(1).unwrap()]).pop().unwrap().1.unwrap();
    assert_eq!(placed.name, rel("a (1)"));
}

#[test]
fn ten_thousand_small_files_are_stored_in_one_batch_with_few_descriptors() {
    let bench = Bench::new();
    let receive_folder = bench.folder();
    let entries = (0..10_000).map(|id| file(id, &format!("tree/{}/{id}", id / 500), 4));
    let intake = receive_folder.begin(entries.collect::<Vec<_>>(), IfExists::Rename).unwrap();
    let wholes: Vec<_> = (0..10_000)
        .map(|id| {
            let partial = intake.open_partial(id).unwrap();
            partial.append(&id.to_be_bytes()).unwrap();
            partial.complete(4).unwrap()
        })
        .collect();
    assert!(intake.commit(wholes).into_iter().all(|(_, placed)| placed.is_ok()));
    intake.finish().unwrap();
    assert_eq!(names(&bench.inbox()).len(), 10_021);
    assert_eq!(fs::read(bench.inbox().join("tree/19/9999")).unwrap(), 9_999_u32.to_be_bytes());
}
