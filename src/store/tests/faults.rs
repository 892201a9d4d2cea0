use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::store::Fault;

#[test]
fn b09_a_folder_that_is_missing_or_a_file_is_refused_at_the_start() {
    let bench = Bench::new();
    assert!(matches!(Folder::open(&bench.inbox().join("none")), Err(StoreError::Gone { .. })));
    let not_a_folder = Folder::open(&bench.outside().join("victim")).err().unwrap();
    assert!(matches!(not_a_folder, StoreError::NotAFolder { .. }), "{not_a_folder}");
    assert!(!not_a_folder.hint().is_empty());
}

#[test]
fn b09_a_folder_that_can_not_be_written_is_refused_at_the_start() {
    if !bound_by_rights() {
        return;
    }
    let bench = Bench::new();
    // What is there of another receiver can be written, and the folder still can't.
    for partial in [None, Some(bench.inbox().join(".qrdrop-partial"))] {
        partial.into_iter().for_each(|partial| fs::create_dir(partial).unwrap());
        fs::set_permissions(bench.inbox(), fs::Permissions::from_mode(0o555)).unwrap();
        assert!(matches!(Folder::open(&bench.inbox()), Err(StoreError::Denied { .. })));
        fs::set_permissions(bench.inbox(), fs::Permissions::from_mode(0o755)).unwrap();
    }
}

#[test]
fn b10_a_folder_that_was_away_works_again_when_it_is_back() {
    let bench = Bench::new();
    let receive_folder = bench.folder();
    let away = bench.home.path().join("away");
    let running = receive_folder.begin(vec![file(0, "a", 1)], IfExists::Rename).unwrap();
    fs::rename(bench.inbox(), &away).unwrap();
    assert!(matches!(receive_folder.free_bytes(), Err(StoreError::Gone { .. })));
    assert!(receive_folder.begin(vec![file(0, "b", 1)], IfExists::Rename).is_err());
    drop(running);
    fs::create_dir(bench.inbox()).unwrap();
    assert!(send(&receive_folder, &[("b", "x")])[0].is_ok());
    assert_eq!(names(&bench.inbox()), ["b"]);
    fs::remove_dir(away).unwrap();
}

#[test]
fn b10_a_folder_that_is_deleted_under_a_transfer_fails_that_transfer_alone() {
    let bench = Bench::new();
    let receive_folder = bench.folder();
    let running = receive_folder.begin(vec![file(0, "a", 1)], IfExists::Rename).unwrap();
    fs::remove_dir_all(bench.inbox()).unwrap();
    let error = receive(&running, 0, b"x").unwrap_err();
    assert_eq!(error.fault(), Fault::Here);
    drop(running);
    fs::create_dir(bench.inbox()).unwrap();
    assert!(send(&receive_folder, &[("a", "x")])[0].is_ok());
}

#[test]
fn b11_odd_paths_of_the_receive_folder_work() {
    let bench = Bench::new();
    for odd in ["with space", "with\nnewline", "ünï 文字", "trailing/", "./dotted/../dotted"] {
        let path = bench.home.path().join(odd);
        fs::create_dir_all(bench.home.path().join("dotted")).unwrap();
        fs::create_dir_all(&path).unwrap();
        let receive_folder = Folder::open(&path).unwrap();
        assert!(receive_folder.path().is_absolute());
        assert!(send(&receive_folder, &[("a", "x")])[0].is_ok(), "{odd:?}");
        assert_eq!(names(&path), ["a"]);
    }
    let here = std::env::current_dir().unwrap();
    let up: PathBuf = here.components().skip(1).map(|_| "..").collect();
    let relative = up.join(bench.inbox().strip_prefix("/").unwrap());
    let placed = send(&Folder::open(&relative).unwrap(), &[("a", "x")]).pop().unwrap().unwrap();
    assert_eq!(placed.path, fs::canonicalize(bench.inbox()).unwrap().join("a"));
}

#[test]
fn d10_not_one_byte_beyond_the_declared_size_is_written() {
    let bench = Bench::new();
    let intake = bench.folder().begin(vec![file(0, "a", 1_024)], IfExists::Rename).unwrap();
    let partial = intake.open_partial(0).unwrap();
    partial.write_at(0, &[0; 1_000]).unwrap();
    for (offset, len) in [(1_000, 25), (1_025, 0), (u64::MAX, 1), (1_024, 1)] {
        let refused = partial.write_at(offset, &vec![0; len]).unwrap_err();
        let StoreError::BeyondDeclared { subject, declared_bytes: 1_024 } = &refused else { panic!("{refused}") };
        assert_eq!((subject.as_str(), refused.fault(), refused.is_disk_full()), ("a", Fault::Peer, false));
    }
    assert_eq!(partial.end(), 1_000);
}

#[test]
fn p3_a_file_that_is_not_whole_never_gets_its_name() {
    let bench = Bench::new();
    let receive_folder = bench.folder();
    let intake = receive_folder.begin(vec![file(0, "a", 10)], IfExists::Rename).unwrap();
    for written in [0, 9] {
        let partial = intake.open_partial(0).unwrap();
        partial.append(&vec![1; written]).unwrap();
        assert!(matches!(partial.complete(written as u64), Err(StoreError::Incomplete { .. })));
    }
    let partial = intake.open_partial(0).unwrap();
    partial.append(&[1; 9]).unwrap();
    assert!(matches!(partial.complete(10), Err(StoreError::Incomplete { .. })));
    intake.finish().unwrap();
    assert_eq!(names(&bench.inbox()), [""; 0]);
}

#[test]
fn p5_only_planned_entries_can_be_opened_and_each_once() {
    let bench = Bench::new();
    let intake =
        bench.folder().begin(vec![file(0, "a", 1), folder(1, "d"), file(2, "b", 1)], IfExists::Rename).unwrap();
    let open = intake.open_partial(0).unwrap();
    for id in [0, 1, 3] {
        assert!(matches!(intake.open_partial(id), Err(StoreError::Unplanned { .. })));
    }
    drop(open);
    receive(&intake, 0, b"x").unwrap();
    intake.discard(2);
    for id in [0, 2] {
        assert!(matches!(intake.open_partial(id), Err(StoreError::Unplanned { .. })));
    }
}

#[test]
fn a_partial_file_can_be_read_back() {
    let bench = Bench::new();
    let entry = PlannedEntry { size: None, ..file(0, "a", 0) };
    let intake = bench.folder().begin(vec![entry], IfExists::Rename).unwrap();
    let partial = intake.open_partial(0).unwrap();
    partial.append(b"hello").unwrap();
    partial.append(b" world").unwrap();
    let mut buf = [0; 32];
    assert_eq!(partial.read_at(6, &mut buf).unwrap(), 5);
    assert_eq!(&buf[..5], b"world");
    assert_eq!(intake.commit(vec![partial.complete(11).unwrap()])[0].1.as_ref().unwrap().bytes, 11);
}

#[test]
fn names_run_out_with_an_error_and_not_with_a_loop() {
    let mut taken = crate::store::taken::Taken::default();
    let wanted = crate::names::FileName::from_stranger("a");
    for number in 1..=10_000 {
        taken.insert(&wanted.with_number(number));
    }
    assert_eq!(taken.claim(&wanted), Some(wanted.clone()));
    assert_eq!(taken.claim(&wanted), None);
}

#[test]
fn without_rename_noreplace_a_name_that_exists_is_safe_too() {
    use crate::store::at;
    let bench = Bench::new();
    let dir = at::open_ambient_dir(&bench.inbox()).unwrap();
    for put in [at::rename_new, at::link_new, at::rename_over_placeholder] {
        fs::write(bench.inbox().join("from"), "new").unwrap();
        fs::write(bench.inbox().join("taken"), "old").unwrap();
        let error = put(&dir, "from", &dir, "taken").unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
        put(&dir, "from", &dir, "free").unwrap();
        let expected = [("free".into(), Some("new".into())), ("taken".into(), Some("old".into()))];
        assert_eq!(tree(&bench.inbox()), BTreeMap::from(expected));
        fs::remove_file(bench.inbox().join("free")).unwrap();
    }
}

#[test]
fn every_error_tells_the_peer_something_without_a_path() {
    let bench = Bench::new();
    let error = Folder::open(&bench.inbox().join("secret-place")).err().unwrap();
    assert!(error.to_string().contains("secret-place"));
    assert!(!error.for_peer().contains("secret-place") && !error.for_peer().is_empty());
}
