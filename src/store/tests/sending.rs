use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

use super::*;
use crate::store::{SourceEntry, SourceKind, SourceList, Walk, WalkOptions, walk};

fn walk_all(paths: &[PathBuf]) -> Result<Walk, StoreError> {
    walk(paths, &WalkOptions::default())
}

fn offered(walk: &Walk) -> Vec<String> {
    walk.entries.iter().map(|entry| entry.offered.clone()).collect()
}

fn entry(walk: &Walk, id: u32) -> SourceEntry {
    SourceEntry::clone(&walk.entries.get(id).unwrap())
}

fn left_out(walk: &Walk) -> Vec<(&str, &str)> {
    walk.left_out.iter().map(|out| (out.path.file_name().unwrap().to_str().unwrap(), out.reason.as_str())).collect()
}

fn only_entry(path: &Path) -> SourceEntry {
    entry(&walk_all(&[path.to_owned()]).unwrap(), 0)
}

#[test]
fn a_folder_is_offered_under_its_name_in_a_fixed_order_with_hidden_and_empty_things() {
    let bench = Bench::new();
    let top = bench.inbox().join("photos");
    fs::create_dir_all(top.join("empty")).unwrap();
    fs::create_dir_all(top.join("b")).unwrap();
    for name in ["b/2", "b/1", ".hidden", "a.txt"] {
        fs::write(top.join(name), name).unwrap();
    }
    let walk = walk_all(&[top.clone(), bench.outside().join("victim")]).unwrap();
    let expected =
        ["photos", "photos/.hidden", "photos/a.txt", "photos/b", "photos/b/1", "photos/b/2", "photos/empty", "victim"];
    assert_eq!(offered(&walk), expected);
    assert!(!walk.entries.is_empty() && walk_all(&[]).unwrap().entries.is_empty());
    let same: SourceList = walk.entries.iter().map(|entry| (*entry).clone()).collect();
    assert_eq!((same.len(), same.files(), same.bytes()), (8, 5, Some(3 + 3 + 7 + 5 + 8)));
    assert!((0..9).filter(|id| same.is_file(*id)).eq([1, 2, 4, 5, 7]));
    assert!(same.tops().map(|top| top.offered.clone()).eq(["photos", "victim"]));
    assert_eq!(entry(&walk, 0).kind, SourceKind::Folder);
    assert_eq!((entry(&walk, 4).kind, entry(&walk, 4).bytes), (SourceKind::File, 3));
    assert_eq!(entry(&walk, 4).modified, fs::metadata(top.join("b/1")).unwrap().modified().ok());
}

#[test]
fn a_folder_of_thousands_is_offered_in_order_and_what_is_left_out_is_told_in_order() {
    let bench = Bench::new();
    let (mut expected, mut links) = (vec!["many".to_owned()], Vec::new());
    let top = bench.inbox().join("many");
    for folder in 0..9 {
        let name = format!("many/{folder}");
        fs::create_dir_all(bench.inbox().join(&name)).unwrap();
        expected.push(name);
        for file in 0..300 {
            let name = format!("many/{folder}/{file:03}");
            if file % 100 == 7 {
                symlink("nowhere", bench.inbox().join(&name)).unwrap();
                links.push(bench.inbox().join(&name));
            } else {
                fs::write(bench.inbox().join(&name), vec![0; folder + file]).unwrap();
                expected.push(name);
            }
        }
    }
    let walk = walk_all(&[top]).unwrap();
    assert_eq!(offered(&walk), expected);
    assert!(walk.left_out.iter().map(|out| &out.path).eq(&links));
    let is_its_own = |entry: &SourceEntry| fs::metadata(&entry.path).unwrap().len() == entry.bytes;
    assert!(walk.entries.iter().all(|entry| entry.kind == SourceKind::Folder || is_its_own(&entry)));
}

#[test]
fn what_stands_in_for_a_file_has_its_own_size_and_identity_and_the_name_and_time_of_that_file() {
    let bench = Bench::new();
    let [photo, smaller] = ["photo", "smaller"].map(|name| bench.inbox().join(name));
    // Of the first all but the end is a hole.
    let sparse = fs::File::create(&photo).unwrap();
    sparse.set_len(64 * 1024 * 1024).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"end", 64 * 1024 * 1024 - 3).unwrap();
    fs::write(&smaller, "small").unwrap();
    let link = bench.inbox().join("link");
    symlink(&photo, &link).unwrap();
    let entry = only_entry(&link);
    if entry.holes == 0 {
        return skipped("no holes here");
    }
    let stood_in = entry.with_content_of(&smaller).unwrap();
    assert_eq!((stood_in.offered.as_str(), stood_in.modified), ("link", entry.modified));
    assert_eq!((stood_in.bytes, stood_in.holes, &stood_in.path), (5, 0, &entry.path));
    let (mut content, source) = ([0; 9], stood_in.open().unwrap());
    assert_eq!((source.read_at(0, &mut content).unwrap(), &content[..5]), (5, &b"small"[..]));
    source.check_unchanged().unwrap();
    assert!(entry.with_content_of(&bench.inbox().join("none")).is_err());
}

#[test]
fn dots_and_trailing_slashes_are_named_after_the_folder_they_mean() {
    let bench = Bench::new();
    for path in ["outside/.", "outside/", "outside/deep/..", "inbox/../outside"] {
        let walk = walk_all(&[bench.home.path().join(path)]).unwrap();
        assert_eq!(offered(&walk), ["outside", "outside/deep", "outside/deep/victim", "outside/victim"], "{path}");
    }
}

#[test]
fn one_name_given_twice_is_numbered() {
    let bench = Bench::new();
    let paths = [bench.outside().join("victim"), bench.outside().join("deep/victim")];
    assert_eq!(offered(&walk_all(&paths).unwrap()), ["victim", "victim (1)"]);
}

#[test]
fn names_that_are_not_utf_8_are_repaired_and_stay_apart() {
    let bench = Bench::new();
    for name in [&b"\xff"[..], b"\xfe", b"fine"] {
        fs::write(bench.inbox().join(OsStr::from_bytes(name)), "x").unwrap();
    }
    let walk = walk_all(&[bench.inbox()]).unwrap();
    assert_eq!(offered(&walk), ["inbox", "inbox/fine", "inbox/\u{fffd}", "inbox/\u{fffd} (1)"]);
}

#[test]
fn links_are_left_out_unless_they_are_to_be_followed() {
    let bench = Bench::new();
    symlink(bench.outside(), bench.inbox().join("folder")).unwrap();
    symlink(bench.outside().join("victim"), bench.inbox().join("link")).unwrap();
    symlink("nowhere", bench.inbox().join("dangling")).unwrap();
    let walked = walk_all(&[bench.inbox()]).unwrap();
    assert_eq!(offered(&walked), ["inbox"]);
    assert_eq!(left_out(&walked), ["dangling", "folder", "link"].map(|name| (name, "symbolic link")));

    let walked = walk(&[bench.inbox()], &WalkOptions { follow_links: true }).unwrap();
    let expected =
        ["inbox", "inbox/folder", "inbox/folder/deep", "inbox/folder/deep/victim", "inbox/folder/victim", "inbox/link"];
    assert_eq!(offered(&walked), expected);
    assert_eq!(left_out(&walked), [("dangling", "symbolic link to nothing")]);
    let followed = entry(&walked, 5).open().unwrap();
    followed.check_unchanged().unwrap();
}

#[test]
fn a_link_that_is_named_is_followed() {
    let bench = Bench::new();
    symlink(bench.outside(), bench.inbox().join("folder")).unwrap();
    symlink(bench.outside().join("victim"), bench.inbox().join("link")).unwrap();
    let walk = walk_all(&[bench.inbox().join("folder"), bench.inbox().join("link")]).unwrap();
    assert_eq!(offered(&walk), ["folder", "folder/deep", "folder/deep/victim", "folder/victim", "link"]);
    entry(&walk, 4).open().unwrap().check_unchanged().unwrap();
}

#[test]
fn s07_a_loop_of_links_ends() {
    let bench = Bench::new();
    symlink("..", bench.inbox().join("up")).unwrap();
    symlink("self", bench.inbox().join("self")).unwrap();
    symlink("nowhere", bench.inbox().join("gone")).unwrap();
    let walked = walk(&[bench.inbox()], &WalkOptions { follow_links: true }).unwrap();
    let above = "symbolic link that leads back to a folder above it";
    let mut told = left_out(&walked);
    told.sort_unstable();
    // What is below is there once more by way of `up`.
    told.dedup();
    let [gone, this, .., up] = &told[..] else { panic!("{told:?}") };
    assert_eq!([gone, this], [&("gone", "symbolic link to nothing"), &("self", "symbolic link that leads to itself")]);
    assert_eq!(up.1, above, "{told:?}");
    assert!(walk_all(&[bench.inbox().join("self")]).is_err());
}

#[test]
fn s07_pipes_sockets_and_devices_do_not_hang() {
    let bench = Bench::new();
    make_fifo(&bench.inbox().join("pipe"));
    let _socket = UnixListener::bind(bench.inbox().join("socket")).unwrap();
    let walk = walk_all(&[bench.inbox()]).unwrap();
    assert_eq!(left_out(&walk), [("pipe", "a named pipe"), ("socket", "a socket")]);
    let named = [(bench.inbox().join("pipe"), "a named pipe"), (bench.inbox().join("socket"), "a socket")];
    for (path, what) in named.into_iter().chain([("/dev/zero".into(), "a device")]) {
        let refused = walk_all(std::slice::from_ref(&path)).unwrap_err();
        assert!(matches!(refused, StoreError::NotSendable { what: told, .. } if told == what), "{path:?}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn s07_a_file_of_the_kernel_is_not_sent_as_an_empty_one() {
    let refused = walk_all(&["/proc/self/status".into()]).unwrap_err();
    assert!(matches!(refused, StoreError::NotSendable { .. }), "{refused}");
}

#[test]
fn s07_what_is_missing_or_unreadable_by_name_stops_everything() {
    let bench = Bench::new();
    let missing = walk_all(&[bench.outside().join("victim"), bench.inbox().join("none")]).unwrap_err();
    assert!(matches!(missing, StoreError::Gone { .. }), "{missing}");
    if !bound_by_rights() {
        return;
    }
    fs::set_permissions(bench.outside().join("victim"), fs::Permissions::from_mode(0o000)).unwrap();
    assert!(matches!(walk_all(&[bench.outside().join("victim")]), Err(StoreError::Denied { .. })));
    let walk = walk_all(&[bench.outside()]).unwrap();
    assert_eq!(walk.unreadable.len(), 1);
    assert_eq!(walk.entries.len(), 3);
}

#[test]
fn s07_a_huge_sparse_file_is_listed_at_once_and_read_anywhere() {
    let bench = Bench::new();
    let path = bench.inbox().join("sparse");
    fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    let entry = only_entry(&path);
    assert_eq!(entry.bytes, 1 << 40);
    let mut buf = [1; 100];
    assert_eq!(entry.open().unwrap().read_at((1 << 40) - 50, &mut buf).unwrap(), 50);
    assert_eq!(buf[..50], [0; 50]);
    assert_eq!(entry.holes, 1 << 40);
}

#[test]
fn s07_holes_are_counted_where_a_whole_unit_is_one() {
    use std::os::unix::fs::FileExt;

    const MIB: u64 = 1024 * 1024;
    let bench = Bench::new();
    let path = bench.inbox().join("sparse");
    let file = fs::File::create(&path).unwrap();
    file.set_len(100 * MIB + 5).unwrap();
    for (offset, bytes) in [(0, 1), (10 * MIB - 1, 2), (20 * MIB, 2 * MIB)] {
        file.write_all_at(&vec![7; bytes as usize], offset).unwrap();
    }
    let entry = only_entry(&path);
    // Units 0, 9, 10, 20 and 21 have data, the 5 bytes at the end have none.
    assert_eq!(entry.holes, 95 * MIB + 5);
    let source = entry.open().unwrap();
    let has_data = |unit: u64| !source.is_hole(unit * MIB, MIB.min(100 * MIB + 5 - unit * MIB));
    assert_eq!((0..=100).filter(|unit| has_data(*unit)).collect::<Vec<_>>(), [0, 9, 10, 20, 21]);
    assert_eq!(only_entry(&bench.outside().join("victim")).holes, 0);
}

#[test]
fn what_is_not_received_whole_is_not_sent_on() {
    let bench = Bench::new();
    let intake = bench.folder().begin(vec![file(0, "a", 1)], IfExists::Rename).unwrap();
    let _open = intake.open_partial(0).unwrap();
    let walk = walk_all(&[bench.inbox()]).unwrap();
    assert_eq!(offered(&walk), ["inbox"]);
    assert_eq!(walk.left_out.len(), 1);
}

#[test]
fn r13_every_way_to_change_a_file_while_it_is_sent_is_noticed() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 6] = [
        ("appended", |path| fs::write(path, "0123456789+").unwrap()),
        ("truncated", |path| fs::write(path, "01234").unwrap()),
        ("overwritten", |path| fs::write(path, "9876543210").unwrap()),
        ("replaced", |path| {
            fs::write(path.with_extension("new"), "0123456789").unwrap();
            fs::rename(path.with_extension("new"), path).unwrap();
        }),
        ("deleted", |path| fs::remove_file(path).unwrap()),
        ("overwritten, and its time set back", |path| {
            let modified = fs::metadata(path).unwrap().modified().unwrap();
            fs::write(path, "9876543210").unwrap();
            fs::File::open(path).unwrap().set_modified(modified).unwrap();
        }),
    ];
    for (what, change) in changes {
        let bench = Bench::new();
        let path = bench.inbox().join("source");
        fs::write(&path, "0123456789").unwrap();
        let entry = only_entry(&path);
        let source = entry.open().unwrap();
        let mut buf = [0; 4];
        assert_eq!(source.read_at(8, &mut buf).unwrap(), 2);
        source.check_unchanged().unwrap();
        let (handle, mut whole) = (entry.open_unchecked().unwrap(), b"before ".to_vec());
        entry.read_whole(&mut whole).unwrap();
        // file systems with coarse clocks see two changes in one tick as one
        let before = fs::metadata(&path).unwrap().modified().unwrap();
        while before.elapsed().is_ok_and(|elapsed| elapsed.as_millis() < 20) {
            std::thread::yield_now();
        }
        change(&path);
        assert!(matches!(source.check_unchanged(), Err(StoreError::SourceChanged { .. })), "{what}");
        assert!(entry.open().is_err(), "{what}");
        assert!(matches!(entry.check(&handle), Err(StoreError::SourceChanged { .. })), "{what}");
        assert!(entry.read_whole(&mut whole).is_err(), "{what}");
        assert_eq!(whole, b"before 0123456789", "{what}");
    }
}

#[test]
fn r13_a_file_that_ends_early_is_an_error_and_not_a_short_read() {
    let bench = Bench::new();
    let path = bench.inbox().join("source");
    fs::write(&path, "0123456789").unwrap();
    let source = only_entry(&path).open().unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_len(3).unwrap();
    assert!(matches!(source.read_at(0, &mut [0; 10]), Err(StoreError::SourceChanged { .. })));
}

#[test]
fn a_file_of_the_kernel_that_is_shorter_than_it_says_is_not_filled_up() {
    let path = Path::new("/sys/kernel/uevent_seqnum");
    if !fs::metadata(path).is_ok_and(|about| about.len() > 1024) {
        return skipped("no such file here");
    }
    let mut whole = Vec::new();
    let read = only_entry(path).read_whole(&mut whole);
    assert!(matches!(read, Err(StoreError::SourceChanged { .. })) && whole.is_empty(), "{read:?}");
}

#[test]
fn a_file_that_became_a_pipe_after_listing_does_not_hang() {
    let bench = Bench::new();
    let path = bench.inbox().join("source");
    fs::write(&path, "x").unwrap();
    let entry = only_entry(&path);
    fs::remove_file(&path).unwrap();
    make_fifo(&path);
    assert!(matches!(entry.open(), Err(StoreError::SourceChanged { .. })));
    assert!(entry.read_whole(&mut Vec::new()).is_err());
}

#[test]
fn a_path_that_grows_too_long_when_it_is_repaired_is_named_and_the_rest_goes() {
    let bench = Bench::new();
    let top = bench.inbox().join("top");
    let level = OsStr::from_bytes(&[0xff; 250]);
    let deep = (0..6).fold(top.clone(), |path, _| path.join(level));
    fs::create_dir_all(&deep).unwrap();
    fs::write(top.join("short"), b"").unwrap();
    let walk = walk_all(&[top]).unwrap();
    assert!(offered(&walk).contains(&"top/short".to_owned()));
    assert!(walk.entries.iter().all(|entry| entry.offered.len() <= crate::names::PATH_BYTES_MAX));
    assert!(walk.unreadable.iter().any(|out| out.path == deep), "{:?}", walk.unreadable);
}
