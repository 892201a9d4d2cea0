use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, SystemTime};

use super::*;
use crate::store::{StateDir, write_secret_file};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn b12_the_state_folder_and_what_is_in_it_are_private() {
    let bench = Bench::new();
    let path = bench.inbox().join("new/state");
    let state = StateDir::open(Some(&path)).unwrap();
    assert_eq!(mode(&path), 0o700);
    assert!(state.read_secret("key").unwrap().is_none());
    state.write_secret("key", b"one").unwrap();
    state.write_secret("key", b"two").unwrap();
    assert_eq!(mode(&path.join("key")), 0o600);
    assert_eq!(state.read_secret("key").unwrap().unwrap().as_slice(), b"two");
    assert_eq!(names(&path), ["key"]);
    assert!(StateDir::open(Some(&path)).is_ok());
}

#[test]
fn a_state_folder_is_found_where_it_is_and_not_made() {
    let bench = Bench::new();
    let place = bench.home.path().join("state");
    assert!(StateDir::find(Some(&place)).unwrap().is_none() && !place.exists());
    let made = StateDir::open(Some(&place)).unwrap();
    made.write_secret("key", b"one").unwrap();
    let found = StateDir::find(Some(&place)).unwrap().expect("it is there");
    assert_eq!(found.read_secret("key").unwrap().as_deref().map(Vec::as_slice), Some(&b"one"[..]));
    fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(StateDir::find(Some(&place)).is_err(), "others may look into it");
}

#[test]
fn b12_a_loose_state_folder_is_refused() {
    let bench = Bench::new();
    fs::set_permissions(bench.inbox(), fs::Permissions::from_mode(0o750)).unwrap();
    assert!(matches!(StateDir::open(Some(&bench.inbox())), Err(StoreError::Loose { mode: 0o750, .. })));
    assert_eq!(mode(&bench.inbox()), 0o750);
}

#[test]
fn b12_a_state_folder_that_is_a_link_is_refused() {
    let bench = Bench::new();
    let link = bench.inbox().join("state");
    symlink(bench.outside(), &link).unwrap();
    assert!(matches!(StateDir::open(Some(&link)), Err(StoreError::Unsafe { .. })));
    bench.assert_canary();
}

#[test]
fn e21_a_loose_or_linked_key_file_is_refused_and_not_made_anew() {
    let bench = Bench::new();
    let state = StateDir::open(Some(&bench.inbox().join("state"))).unwrap();
    state.write_secret("key", b"secret").unwrap();
    let path = state.path().join("key");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(state.read_secret("key"), Err(StoreError::Loose { mode: 0o644, .. })));
    assert_eq!(fs::read(&path).unwrap(), b"secret");
    fs::remove_file(&path).unwrap();
    symlink(bench.outside().join("victim"), &path).unwrap();
    assert!(matches!(state.read_secret("key"), Err(StoreError::Unsafe { .. })));
    assert!(matches!(state.write_secret("key", b"x"), Err(StoreError::Unsafe { .. })));
    bench.assert_canary();
}

#[test]
fn an_invite_file_replaces_a_file_and_follows_no_link() {
    let bench = Bench::new();
    let path = bench.inbox().join("invite");
    fs::write(&path, "old and longer").unwrap();
    write_secret_file(&path, b"new").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(mode(&path), 0o600);
    fs::remove_file(&path).unwrap();
    symlink(bench.outside().join("victim"), &path).unwrap();
    assert!(matches!(write_secret_file(&path, b"x"), Err(StoreError::Unsafe { .. })));
    assert!(matches!(write_secret_file(&bench.inbox(), b"x"), Err(StoreError::Unsafe { .. })));
    assert!(matches!(write_secret_file(Path::new("/"), b"x"), Err(StoreError::Unsafe { .. })));
    assert!(matches!(write_secret_file(&bench.inbox().join("no/invite"), b"x"), Err(StoreError::Gone { .. })));
    assert_eq!(names(&bench.inbox()), ["invite"]);
    bench.assert_canary();
}

fn state(bench: &Bench) -> StateDir {
    StateDir::open(Some(&bench.inbox().join("state"))).unwrap()
}

#[test]
fn of_two_who_make_one_secret_the_first_wins() {
    let bench = Bench::new();
    let state = state(&bench);
    assert!(state.create_secret("key", b"one").unwrap());
    assert!(!state.create_secret("key", b"two").unwrap());
    assert_eq!(state.read_secret("key").unwrap().unwrap().as_slice(), b"one");
    assert_eq!(names(state.path()), ["key"]);
}

#[test]
fn a_secret_whose_name_the_disk_refuses_leaves_nothing_behind() {
    let bench = Bench::new();
    let state = state(&bench);
    assert!(state.write_secret(&"k".repeat(300), b"one").is_err());
    assert!(state.create_secret(&"k".repeat(300), b"one").is_err());
    assert_eq!(names(state.path()), [""; 0]);
}

#[test]
fn what_is_old_goes_by_its_name_and_what_is_new_or_of_the_future_stays() {
    let bench = Bench::new();
    let state = state(&bench);
    let hour = Duration::from_secs(3600);
    let now = SystemTime::now();
    for (name, written) in [("x-old", now - 2 * hour), ("y-old", now - 2 * hour), ("x-new", now), ("x-odd", now + hour)]
    {
        state.write_secret(name, b"").unwrap();
        fs::File::options().write(true).open(state.path().join(name)).unwrap().set_modified(written).unwrap();
    }
    state.expire(hour, |name| name.starts_with("x-")).unwrap();
    assert_eq!(
        names(state.path()).into_iter().collect::<BTreeSet<_>>(),
        ["x-new", "x-odd", "y-old"].map(String::from).into()
    );
}

#[test]
fn a_name_is_claimed_by_one_at_a_time_and_what_is_not_there_is_removed_already() {
    let bench = Bench::new();
    let state = state(&bench);
    let claim = state.claim("turn").unwrap();
    assert!(claim.is_some() && state.claim("turn").unwrap().is_none());
    drop(claim);
    assert!(state.claim("turn").unwrap().is_some());
    state.remove("turn").unwrap();
    state.remove("turn").unwrap();
    fs::create_dir(state.path().join("folder")).unwrap();
    assert!(state.remove("folder").is_err());
}
