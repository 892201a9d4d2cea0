use std::fs;

use super::*;
use crate::store::Keepsake;

const MIB: u64 = 1024 * 1024;

/// A file system of its own, of a few MiB; gone with the value.
struct SmallDisk {
    place: TempDir,
}

impl SmallDisk {
    /// `None` where this process may not mount.
    fn mount(mib: u64) -> Option<SmallDisk> {
        let disk = SmallDisk { place: tempfile::tempdir().unwrap() };
        let options = format!("size={mib}m,mode=700");
        run("mount", &["-t", "tmpfs", "-o", &options, "qrdrop-test", disk.place.path().to_str()?]).then_some(disk)
    }

    fn remount(&self, how: &str) -> bool {
        run("mount", &["-o", &format!("remount,{how}"), self.place.path().to_str().unwrap()])
    }

    fn unmount(&self) -> bool {
        run("umount", &["-l", self.place.path().to_str().unwrap()])
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        self.unmount();
    }
}

#[test]
fn d09_a_claim_beyond_the_disk_is_refused_before_anything_is_made() {
    let bench = Bench::new();
    let receive_folder = bench.folder();
    for claims in [vec![10 << 40], vec![u64::MAX], vec![u64::MAX / 2, u64::MAX / 2, 5]] {
        let entries = claims.iter().zip(0..).map(|(&size, id)| file(id, &format!("{id}"), size));
        let refused = receive_folder.begin(entries.collect::<Vec<_>>(), IfExists::Rename).err().unwrap();
        assert!(matches!(refused, StoreError::NoSpaceFor { .. }) && refused.is_disk_full(), "{refused}");
    }
    assert_eq!(names(&bench.inbox()), [""; 0]);
}

#[test]
fn a_reservation_ends_with_its_transfer_and_shrinks_as_it_is_used() {
    let Some(disk) = SmallDisk::mount(64) else { return skipped("no tmpfs can be mounted here") };
    let receive_folder = Folder::open(disk.place.path()).unwrap();
    let free = receive_folder.free_bytes().unwrap();
    let intake = receive_folder.begin(vec![file(0, "a", 8 * MIB), file(1, "b", MIB)], IfExists::Rename).unwrap();
    let reserved = receive_folder.free_bytes().unwrap();
    assert_eq!(free - reserved, 9 * MIB);
    let partial = intake.open_partial(0).unwrap();
    partial.append(&vec![1; 8 * MIB as usize]).unwrap();
    assert_eq!(receive_folder.free_bytes().unwrap(), reserved);
    drop(partial);
    assert_eq!(receive_folder.free_bytes().unwrap(), reserved);
    intake.discard(1);
    assert_eq!(receive_folder.free_bytes().unwrap(), reserved + MIB);
    drop(intake);
    assert_eq!(receive_folder.free_bytes().unwrap(), free);
}

#[test]
fn what_an_earlier_attempt_has_stored_is_not_reserved_again() {
    let Some(disk) = SmallDisk::mount(64) else { return skipped("no tmpfs can be mounted here") };
    let receive_folder = Folder::open(disk.place.path()).unwrap();
    let keep = Keepsake { key: [7; 32], about: String::new() };
    let entries = || vec![file(0, "a", 8 * MIB), file(1, "b", 4 * MIB)];
    let intake = receive_folder.go_on(entries(), IfExists::Rename, &keep).unwrap();
    let content = vec![1; 8 * MIB as usize];
    let partial = intake.open_lasting(0).unwrap();
    partial.append(&content).unwrap();
    let whole = partial.complete(8 * MIB).unwrap().hashed(*blake3::hash(&content).as_bytes());
    assert!(intake.commit(vec![whole])[0].1.is_ok());
    drop(intake);
    let free = receive_folder.free_bytes().unwrap();
    let intake = receive_folder.go_on(entries(), IfExists::Rename, &keep).unwrap();
    assert_eq!(free - receive_folder.free_bytes().unwrap(), 4 * MIB);
    intake.discard(0);
    assert_eq!(free - receive_folder.free_bytes().unwrap(), 4 * MIB, "it had none to give back");
    drop(intake);
    assert_eq!(receive_folder.free_bytes().unwrap(), free);
}

#[test]
fn h11_the_claims_of_all_senders_together_fit_and_a_reserve_is_kept() {
    let Some(disk) = SmallDisk::mount(100) else { return skipped("no tmpfs can be mounted here") };
    let receive_folder = Folder::open(disk.place.path()).unwrap();
    let accepted: Vec<_> = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..20)
            .map(|_| scope.spawn(|| receive_folder.begin(vec![file(0, "a", 20 * MIB)], IfExists::Rename).ok()))
            .collect();
        senders.into_iter().filter_map(|sender| sender.join().unwrap()).collect()
    });
    assert_eq!(accepted.len(), 4);
    for intake in &accepted {
        receive(intake, 0, &vec![7; 20 * MIB as usize]).unwrap();
    }
}

#[test]
fn r07_a_full_disk_is_told_and_when_it_is_freed_all_works_again() {
    let Some(disk) = SmallDisk::mount(8) else { return skipped("no tmpfs can be mounted here") };
    let receive_folder = Folder::open(disk.place.path()).unwrap();
    let stored = send(&receive_folder, &[("first", "exact")]).pop().unwrap().unwrap();
    let intake = receive_folder.begin(vec![file(0, "second", 4 * MIB)], IfExists::Rename).unwrap();
    // somebody else fills the disk after the space was promised
    let filler = disk.place.path().join("filler");
    let _ = fs::write(&filler, vec![0; 8 * MIB as usize]);
    let partial = intake.open_partial(0).unwrap();
    let full = (0..4).find_map(|n| partial.write_at(n * MIB, &[1; MIB as usize]).err()).unwrap();
    assert!(matches!(full, StoreError::DiskFull { .. }), "{full}");
    assert_eq!(full.for_peer(), "disk full");
    drop(partial);
    fs::remove_file(filler).unwrap();
    receive(&intake, 0, &vec![1; 4 * MIB as usize]).unwrap();
    assert_eq!(fs::read(stored.path).unwrap(), b"exact");
}

#[test]
fn a_file_of_unknown_size_stops_before_the_disk_is_full() {
    let Some(disk) = SmallDisk::mount(64) else { return skipped("no tmpfs can be mounted here") };
    let receive_folder = Folder::open(disk.place.path()).unwrap();
    let entry = PlannedEntry { size: None, ..file(0, "endless", 0) };
    let intake = receive_folder.begin(vec![entry], IfExists::Rename).unwrap();
    let partial = intake.open_partial(0).unwrap();
    let full = (0..64).find_map(|_| partial.append(&[1; MIB as usize]).err()).unwrap();
    assert!(matches!(full, StoreError::DiskFull { .. }), "{full}");
    assert!(receive_folder.free_bytes().unwrap() > 0);
}

#[test]
fn holes_take_no_room_and_hold_nothing_of_what_was_there() {
    let Some(disk) = SmallDisk::mount(64) else { return skipped("no tmpfs can be mounted here") };
    let receive_folder = Folder::open(disk.place.path()).unwrap();
    let size = 1024 * MIB + 7;
    let entry = PlannedEntry { holes: size - 2 * MIB, ..file(0, "disk.img", size) };
    let intake = receive_folder.begin(vec![entry], IfExists::Rename).unwrap();
    let partial = intake.open_partial(0).unwrap();
    partial.write_at(5 * MIB, &[1; MIB as usize]).unwrap();
    partial.write_at(7 * MIB, &[2; MIB as usize]).unwrap();
    for chunk in (0..1024).filter(|chunk| *chunk != 7) {
        partial.clear(chunk * MIB, MIB as usize).unwrap();
    }
    partial.clear(1024 * MIB, 7).unwrap();
    let placed = intake.commit(vec![partial.complete(size).unwrap()]).pop().unwrap().1.unwrap();
    let about = fs::metadata(&placed.path).unwrap();
    assert_eq!(about.len(), size);
    assert!(std::os::unix::fs::MetadataExt::blocks(&about) * 512 < 2 * MIB);
    let (mut expected, content) = (vec![0; size as usize], fs::read(&placed.path).unwrap());
    expected[7 * MIB as usize..][..MIB as usize].fill(2);
    assert!(content == expected);
}

#[test]
fn d09_more_data_than_a_sparse_file_was_said_to_have_stops_before_the_disk_is_full() {
    let Some(disk) = SmallDisk::mount(64) else { return skipped("no tmpfs can be mounted here") };
    let receive_folder = Folder::open(disk.place.path()).unwrap();
    let entry = PlannedEntry { holes: 1023 * MIB, ..file(0, "a", 1024 * MIB) };
    let intake = receive_folder.begin(vec![entry], IfExists::Rename).unwrap();
    let partial = intake.open_partial(0).unwrap();
    // From the end to the start: how far into the file it is says nothing.
    let full = (0..1024).rev().find_map(|chunk| partial.write_at(chunk * MIB, &[1; MIB as usize]).err()).unwrap();
    assert!(matches!(full, StoreError::DiskFull { .. }), "{full}");
    assert!(receive_folder.free_bytes().unwrap() > 0);
}

#[test]
fn r12_a_disk_that_becomes_read_only_is_told_and_works_again_after() {
    let Some(disk) = SmallDisk::mount(8) else { return skipped("no tmpfs can be mounted here") };
    let receive_folder = Folder::open(disk.place.path()).unwrap();
    assert!(disk.remount("ro"));
    let refused = receive_folder.begin(vec![file(0, "a", 1)], IfExists::Rename).err().unwrap();
    assert!(matches!(refused, StoreError::ReadOnly { .. }), "{refused}");
    assert!(matches!(Folder::open(disk.place.path()), Err(StoreError::ReadOnly { .. })));
    assert!(disk.remount("rw"));
    assert!(send(&receive_folder, &[("a", "x")])[0].is_ok());
}

#[test]
fn b10_an_unmounted_disk_is_told_and_its_mount_point_stays_empty() {
    let Some(disk) = SmallDisk::mount(8) else { return skipped("no tmpfs can be mounted here") };
    let receive_folder = Folder::open(disk.place.path()).unwrap();
    assert!(disk.unmount());
    let refused = receive_folder.begin(vec![file(0, "a", 1)], IfExists::Rename).err().unwrap();
    assert!(matches!(refused, StoreError::Gone { .. }), "{refused}");
    assert_eq!(names(disk.place.path()), [""; 0]);
}

#[test]
fn what_is_forgotten_of_a_partial_file_takes_no_room_and_reads_as_zeros() {
    let bench = Bench::new();
    let intake = bench.folder().begin(vec![file(0, "a", 4 * MIB)], IfExists::Rename).unwrap();
    let partial = intake.open_partial(0).unwrap();
    partial.append(&[7; 4 * MIB as usize]).unwrap();
    let area = fs::read_dir(bench.inbox().join(".qrdrop-partial")).unwrap().next().unwrap().unwrap().path();
    let on_disk = || {
        let files = fs::read_dir(&area).unwrap().map(|entry| entry.unwrap().metadata().unwrap());
        files.map(|about| std::os::unix::fs::MetadataExt::blocks(&about) * 512).max().unwrap()
    };
    let before = on_disk();
    partial.forget_before(3 * MIB);
    let mut byte = [1];
    partial.read_at(3 * MIB - 1, &mut byte).unwrap();
    if byte != [0] {
        return skipped("no holes here");
    }
    assert!(on_disk() <= before - 3 * MIB, "{} of {before}", on_disk());
    partial.read_at(3 * MIB, &mut byte).unwrap();
    assert_eq!(byte, [7]);
}
