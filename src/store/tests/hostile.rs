use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::store::Cleaned;

#[test]
fn a05_a_leading_dot_at_the_top_level_is_neutralised() {
    let bench = Bench::new();
    let offered = [(".bashrc", "x"), (".ssh/authorized_keys", "x"), (".config/autostart/x.desktop", "x")];
    for placed in send(&bench.folder(), &offered) {
        assert!(!placed.unwrap().name.as_str().starts_with('.'));
    }
    assert!(names(&bench.inbox()).iter().all(|name| !name.starts_with('.')));
}

#[test]
fn a20_modes_follow_the_umask_and_nothing_is_executable() {
    let bench = Bench::new();
    let probe = bench.home.path().join("probe");
    fs::write(&probe, "").unwrap();
    let expected = fs::metadata(&probe).unwrap().permissions().mode();
    fs::remove_file(probe).unwrap();
    let receive_folder = bench.folder();
    let intake = receive_folder.begin(vec![file(0, "run.sh", 1)], IfExists::Rename).unwrap();
    let partial = intake.open_partial(0).unwrap();
    let mode = |path: PathBuf| fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777;
    for name in names(&bench.inbox()) {
        let private = if name.ends_with(".part") || name.ends_with("lock") { 0o600 } else { 0o700 };
        assert_eq!(mode(bench.inbox().join(&name)), private, "{name}");
    }
    partial.append(b"x").unwrap();
    let placed = intake.commit(vec![partial.complete(1).unwrap()]).pop().unwrap().1.unwrap();
    assert_eq!(mode(placed.path), expected & 0o666);
}

#[test]
fn a22_a_name_like_our_own_files_reaches_no_partial() {
    let bench = Bench::new();
    let receive_folder = bench.folder();
    let running = receive_folder.begin(vec![file(0, "honest", 6)], IfExists::Rename).unwrap();
    let partial = running.open_partial(0).unwrap();
    let own: Vec<_> = names(&bench.inbox()).into_iter().filter(|name| name.ends_with(".part")).collect();
    for placed in send_as(&receive_folder, &[(&own[0], "hostile"), (".qrdrop-partial/x", "hostile")], IfExists::Replace)
    {
        assert!(!placed.unwrap().name.as_str().starts_with('.'));
    }
    partial.append(b"honest").unwrap();
    let placed = running.commit(vec![partial.complete(6).unwrap()]).pop().unwrap().1.unwrap();
    assert_eq!(fs::read(placed.path).unwrap(), b"honest");
}

#[test]
fn a24_dangerous_kinds_are_stored_inert() {
    let bench = Bench::new();
    let offered =
        ["desktop.ini", "autorun.inf", "x.lnk", "x.url", "x.html", "x.exe", "x.desktop"].map(|name| (name, "x"));
    for placed in send(&bench.folder(), &offered) {
        assert_eq!(fs::metadata(placed.unwrap().path).unwrap().permissions().mode() & 0o111, 0);
    }
}

#[test]
fn b01_a_link_to_a_folder_is_not_entered() {
    for if_exists in [IfExists::Rename, IfExists::Skip, IfExists::Replace] {
        let bench = Bench::new();
        symlink(bench.outside(), bench.inbox().join("out")).unwrap();
        let receive_folder = bench.folder();
        let intake = receive_folder.begin(vec![file(0, "out/x", 1), file(1, "good", 1)], if_exists).unwrap();
        match receive(&intake, 0, b"x") {
            Ok(placed) => assert_eq!(placed.name, rel("out (1)/x")),
            Err(error) => {
                assert_eq!(if_exists, IfExists::Replace);
                assert!(matches!(error, StoreError::Unsafe { .. }), "{error}");
            }
        }
        receive(&intake, 1, b"x").unwrap();
        assert!(receive_folder.existing(&rel("out/victim")).is_none());
        bench.assert_canary();
    }
}

#[test]
fn b01_a_link_deeper_down_is_not_entered_when_merging() {
    let bench = Bench::new();
    fs::create_dir_all(bench.inbox().join("a/b")).unwrap();
    symlink("../../../outside", bench.inbox().join("a/b/deep")).unwrap();
    let placed = send_as(&bench.folder(), &[("a/b/deep/victim", "x"), ("a/b/ok", "x")], IfExists::Replace);
    assert!(matches!(placed[0], Err(StoreError::Unsafe { .. })));
    assert_eq!(placed[1].as_ref().unwrap().name, rel("a/b/ok"));
    bench.assert_canary();
}

#[test]
fn b02_a_link_with_the_name_of_the_file_is_not_followed() {
    let bench = Bench::new();
    symlink(bench.outside().join("victim"), bench.inbox().join("a.txt")).unwrap();
    let placed = send(&bench.folder(), &[("a.txt", "x")]).pop().unwrap().unwrap();
    assert_eq!(placed.name, rel("a (1).txt"));
    bench.assert_canary();
}

#[test]
fn b02_replacing_a_link_replaces_the_link_itself() {
    let bench = Bench::new();
    symlink(bench.outside().join("victim"), bench.inbox().join("a.txt")).unwrap();
    let placed = send_as(&bench.folder(), &[("a.txt", "x")], IfExists::Replace).pop().unwrap().unwrap();
    assert_eq!(placed.name, rel("a.txt"));
    assert!(fs::symlink_metadata(placed.path).unwrap().is_file());
    bench.assert_canary();
}

#[test]
fn b03_the_target_of_a_dangling_link_is_not_created() {
    let bench = Bench::new();
    symlink(bench.outside().join("new"), bench.inbox().join("a")).unwrap();
    symlink(bench.outside().join("newdir"), bench.inbox().join("d")).unwrap();
    let placed = send(&bench.folder(), &[("a", "x"), ("d/x", "x")]);
    assert_eq!(placed[0].as_ref().unwrap().name, rel("a (1)"));
    assert_eq!(placed[1].as_ref().unwrap().name, rel("d (1)/x"));
    bench.assert_canary();
}

#[test]
fn b05_a_folder_that_is_swapped_for_a_link_all_the_time_lets_nothing_escape() {
    receive_into_a_swapped_folder(500);
}

#[test]
#[ignore = "takes a minute: docs/testing.md"]
fn b05_a_folder_that_is_swapped_for_a_link_lets_nothing_escape_in_20_000_receives() {
    receive_into_a_swapped_folder(20_000);
}

fn receive_into_a_swapped_folder(receives: u32) {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    let bench = Bench::new();
    fs::create_dir(bench.inbox().join("sub")).unwrap();
    symlink(bench.outside(), bench.inbox().join("other")).unwrap();
    let stop = AtomicBool::new(false);
    let (sub, other) = (bench.inbox().join("sub"), bench.inbox().join("other"));
    let receive_folder = bench.folder();
    let stored = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                renameat_with(CWD, &sub, CWD, &other, RenameFlags::EXCHANGE).unwrap();
            }
        });
        let one = |n: u32| send_as(&receive_folder, &[(&format!("sub/{n}"), "x")], IfExists::Replace).pop().unwrap();
        let stored = (0..receives).filter(|&n| one(n).is_ok()).count();
        stop.store(true, Ordering::Relaxed);
        stored
    });
    bench.assert_canary();
    assert!(stored > 0, "the race was never won, so it tells nothing");
}

#[test]
fn b06_a_partial_folder_that_is_a_link_or_a_file_is_refused() {
    let bench = Bench::new();
    let planted = bench.inbox().join(".qrdrop-partial");
    let refused = || Folder::open(&bench.inbox()).err().unwrap();
    symlink(bench.outside(), &planted).unwrap();
    assert!(matches!(refused(), StoreError::Unsafe { why: "a symbolic link", .. }));
    fs::remove_file(&planted).unwrap();
    fs::write(&planted, "").unwrap();
    assert!(matches!(refused(), StoreError::Unsafe { why: "not a folder", .. }));
    bench.assert_canary();
}

#[test]
fn b06_a_partial_folder_of_another_user_is_refused() {
    if !is_root() {
        return skipped("only root can make a folder of another user");
    }
    let bench = Bench::new();
    let planted = bench.inbox().join(".qrdrop-partial");
    fs::create_dir(&planted).unwrap();
    std::os::unix::fs::chown(&planted, Some(65_534), None).unwrap();
    assert!(matches!(Folder::open(&bench.inbox()), Err(StoreError::Unsafe { .. })));
}

#[test]
fn b12_a_partial_folder_that_others_may_enter_is_closed_to_them() {
    let bench = Bench::new();
    let loose = bench.inbox().join(".qrdrop-partial");
    fs::create_dir(&loose).unwrap();
    fs::set_permissions(&loose, fs::Permissions::from_mode(0o777)).unwrap();
    let intake = bench.folder().begin(vec![file(0, "a", 1)], IfExists::Rename).unwrap();
    assert!(!loose.exists() || fs::metadata(&loose).unwrap().permissions().mode() & 0o777 == 0o700);
    drop(intake);
    assert_eq!(names(&bench.inbox()), [""; 0]);
}

#[test]
fn cleaning_removes_the_partials_of_the_dead_and_nothing_else() {
    let bench = Bench::new();
    let partial = bench.inbox().join(".qrdrop-partial");
    let dead = partial.join(format!("t-{}", "ab".repeat(16)));
    let odd = partial.join(format!("t-{}", "cd".repeat(16)));
    for area in [&dead, &odd] {
        fs::create_dir_all(area).unwrap();
        fs::write(area.join("lock"), "").unwrap();
        fs::write(area.join("0123456789abcdef.part"), "12345").unwrap();
    }
    let others = [
        odd.join("not ours"),
        odd.join("beef.part"),
        odd.join("0123456789ABCDEF.part"),
        partial.join("holiday/0123456789abcdef.part"),
        partial.join("t-beef/0123456789abcdef.part"),
        partial.join(format!("t-{}/0123456789abcdef.part", "no".repeat(16))),
    ];
    for other in &others {
        fs::create_dir_all(other.parent().unwrap()).unwrap();
        fs::write(other, "x").unwrap();
    }
    symlink(bench.outside(), partial.join(format!("t-{}", "ef".repeat(16)))).unwrap();
    let receive_folder = bench.folder();
    let living = receive_folder.begin(vec![file(0, "a", 1)], IfExists::Rename).unwrap();
    let open = living.open_partial(0).unwrap();

    assert_eq!(receive_folder.clean().unwrap(), Cleaned { transfers: 1, files: 2, bytes: 10 });
    assert!(!dead.exists());
    assert!(others.iter().all(|other| other.exists()));
    bench.assert_canary();
    open.append(b"x").unwrap();
    assert!(living.commit(vec![open.complete(1).unwrap()])[0].1.is_ok());
}

#[test]
fn an_abandoned_transfer_leaves_only_what_was_stored() {
    let bench = Bench::new();
    let intake = bench.folder().begin(vec![file(0, "a", 1), file(1, "b", 9)], IfExists::Rename).unwrap();
    receive(&intake, 0, b"a").unwrap();
    let unfinished = intake.open_partial(1).unwrap();
    unfinished.append(b"half").unwrap();
    drop(intake);
    drop(unfinished);
    assert_eq!(names(&bench.inbox()), ["a"]);
}
