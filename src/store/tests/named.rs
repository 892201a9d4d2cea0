//! Files that a person names, and the names that are found while one is typed.

use std::fs::File;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use super::*;
use crate::store::{History, SPOOL_PREFIX, Spool, append, complete_path, read_settings};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn lines_are_added_to_a_log_of_this_user_alone() {
    let home = tempfile::tempdir().unwrap();
    let log = home.path().join("log");
    append(&log, "one\n").unwrap();
    append(&log, "two\n").unwrap();
    assert_eq!(fs::read_to_string(&log).unwrap(), "one\ntwo\n");
    assert_eq!(mode(&log), 0o600);
}

#[test]
fn a_line_never_goes_onto_the_rest_of_a_torn_one() {
    let home = tempfile::tempdir().unwrap();
    let log = home.path().join("log");
    fs::write(&log, "whole\nto").unwrap();
    append(&log, "").unwrap();
    assert_eq!(fs::read_to_string(&log).unwrap(), "whole\nto");
    append(&log, "one\n").unwrap();
    append(&log, "two\n").unwrap();
    assert_eq!(fs::read_to_string(&log).unwrap(), "whole\nto\none\ntwo\n");
}

#[test]
fn a_log_that_is_a_link_or_a_fifo_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let [link, pipe] = ["link", "pipe"].map(|name| home.path().join(name));
    symlink(home.path().join("elsewhere"), &link).unwrap();
    make_fifo(&pipe);
    assert!(matches!(append(&link, "one\n"), Err(StoreError::Unsafe { .. })));
    assert!(append(&pipe, "one\n").is_err());
    assert!(!home.path().join("elsewhere").exists());
}

#[test]
fn a_history_goes_on_where_it_ended_and_never_waits_for_a_reader() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("history");
    for line in ["one\n", "two\n"] {
        History::open(&path).unwrap().add(line).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\n");
    assert_eq!(mode(&path), 0o600);
    let pipe = home.path().join("pipe");
    make_fifo(&pipe);
    assert!(History::open(&pipe).is_err());
    let _reader = File::options().read(true).write(true).open(&pipe).unwrap();
    assert!(matches!(History::open(&pipe), Err(StoreError::Unsafe { .. })));
}

#[test]
fn settings_are_read_from_a_file_or_a_link_up_to_a_mebibyte() {
    let home = tempfile::tempdir().unwrap();
    let [settings, link] = ["settings", "link"].map(|name| home.path().join(name));
    assert_eq!(read_settings(&settings).unwrap(), None);
    assert_eq!(read_settings(&settings.join("below")).unwrap(), None);
    symlink(&settings, &link).unwrap();
    let longest = "#".repeat(1024 * 1024);
    fs::write(&settings, &longest).unwrap();
    assert_eq!(read_settings(&settings.join("below")).unwrap(), None, "a file where a folder would be");
    assert_eq!(read_settings(&link).unwrap(), Some(longest.clone()));
    fs::write(&settings, longest + "#").unwrap();
    assert!(matches!(read_settings(&settings), Err(StoreError::Unsafe { .. })));
    fs::write(&settings, [0xff]).unwrap();
    assert!(matches!(read_settings(&settings), Err(StoreError::Unsafe { .. })));
    assert!(read_settings(home.path()).is_err(), "a folder");
    symlink("round", home.path().join("round")).unwrap();
    assert!(read_settings(&home.path().join("round")).is_err(), "there is something, and it can't be read");
}

#[test]
fn settings_that_others_may_change_are_refused() {
    let home = tempfile::tempdir().unwrap();
    let settings = home.path().join("settings");
    fs::write(&settings, "once = true").unwrap();
    for (mode, good) in [(0o600, true), (0o664, true), (0o444, true), (0o602, false), (0o666, false)] {
        fs::set_permissions(&settings, fs::Permissions::from_mode(mode)).unwrap();
        let read = read_settings(&settings);
        assert_eq!(read.is_ok(), good, "{mode:o}");
        assert!(good || matches!(read, Err(StoreError::Unsafe { .. })));
    }
    if !is_root() {
        return;
    }
    fs::set_permissions(&settings, fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::chown(&settings, Some(65_534), None).unwrap();
    assert!(matches!(read_settings(&settings), Err(StoreError::Unsafe { .. })), "of another user");
}

#[test]
fn a_path_is_completed_by_what_is_there_and_not_by_what_hides() {
    let home = tempfile::tempdir().unwrap();
    for file in ["photo.jpg", "phone.txt", ".phidden", "other"] {
        fs::write(home.path().join(file), "").unwrap();
    }
    fs::create_dir(home.path().join("photos")).unwrap();
    let at = |typed: &str| format!("{}/{typed}", home.path().display());
    let completed = |typed: &str| complete_path(&at(typed));
    assert_eq!(completed("pho"), ["phone.txt", "photo.jpg", "photos/"].map(at));
    assert_eq!(completed(""), ["other", "phone.txt", "photo.jpg", "photos/"].map(at));
    assert_eq!(completed(".p"), [at(".phidden")]);
    assert_eq!(completed("nothing"), [""; 0]);
    assert_eq!(completed("no/such/folder"), [""; 0]);
    assert!(complete_path("Cargo.t").contains(&"Cargo.toml".to_owned()), "where the program runs");
}

#[test]
fn a_stream_is_kept_for_this_user_alone_until_it_was_sent() {
    let home = tempfile::tempdir().unwrap();
    let (spool, entry) = Spool::of(Some(&home.path().join("state")), "notes.txt", &b"from a pipe"[..]).unwrap();
    assert_eq!((entry.offered.as_str(), entry.bytes), ("notes.txt", 11));
    assert!(entry.path.file_name().unwrap().to_str().unwrap().starts_with(SPOOL_PREFIX));
    assert_eq!(fs::read_to_string(&entry.path).unwrap(), "from a pipe");
    assert_eq!(mode(&entry.path), 0o600);
    drop(spool);
    assert!(!entry.path.exists());
}
