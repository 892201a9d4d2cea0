//! Transfers that were cut, and wait to go on.

use std::fs::File;
use std::time::{Duration, SystemTime};

use super::*;
use crate::store::area::Area;
use crate::store::journal::Record;
use crate::store::{Cleaned, HeldPart, Keepsake, at};

const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const MINUTE: Duration = Duration::from_secs(60);

fn keepsake(key: u8) -> Keepsake {
    Keepsake { key: [key; 32], about: format!("the transfer {key}") }
}

fn begin(folder: &Arc<Folder>, key: u8, entries: &[PlannedEntry]) -> Intake {
    folder.go_on(entries.to_vec(), IfExists::Rename, &keepsake(key)).unwrap()
}

/// Leaves the first half of a file of eight bytes under this key.
fn cut(folder: &Arc<Folder>, key: u8) {
    let intake = begin(folder, key, &[file(7, "x", 8)]);
    let partial = intake.open_lasting(7).unwrap();
    partial.write_at(0, b"half").unwrap();
    partial.note_chunk(1, [11; 32]);
    partial.note_chunk(0, [10; 32]);
}

/// What is there of a file, and its chunks.
type Part = (String, Vec<(u64, [u8; 32])>);

/// The parts that are there; anything else is a failure.
fn parts(intake: &Intake) -> Vec<Part> {
    let part = |held| {
        let HeldPart { file, chunks } = held;
        assert_eq!(file.id(), 7);
        let mut content = vec![0; 100];
        let bytes = file.read_at(0, &mut content).unwrap();
        (String::from_utf8_lossy(&content[..bytes]).into_owned(), chunks)
    };
    let held = intake.take_held();
    assert_eq!(held.stored.ids().next(), None, "this is stored");
    held.parts.into_iter().map(part).collect()
}

/// The one journal in the receive folder.
fn journal(bench: &Bench) -> PathBuf {
    let mut names = names(&bench.inbox());
    names.retain(|name| name.ends_with("/journal"));
    let [name] = &names[..] else { panic!("one journal is expected: {names:?}") };
    bench.inbox().join(name)
}

fn last_said(bench: &Bench, when: SystemTime) {
    File::options().write(true).open(journal(bench)).unwrap().set_modified(when).unwrap();
}

#[test]
fn a_cut_transfer_goes_on_with_what_is_there() {
    let bench = Bench::new();
    cut(&bench.folder(), 1);
    let intake = begin(&bench.folder(), 1, &[file(7, "x", 8)]);
    assert_eq!(parts(&intake), [("half".to_owned(), vec![(0, [10; 32]), (1, [11; 32])])]);
    assert_eq!(parts(&intake), [], "once");
}

#[test]
fn nobody_goes_on_under_another_key_with_another_file_or_where_somebody_works() {
    let bench = Bench::new();
    let folder = bench.folder();
    cut(&folder, 1);
    let working = begin(&folder, 1, &[file(7, "x", 8)]);
    assert_eq!(parts(&begin(&folder, 1, &[file(7, "x", 8)])), []);
    assert_eq!(parts(&working).len(), 1);
    drop(working);

    cut(&folder, 2);
    assert_eq!(parts(&begin(&folder, 3, &[file(7, "x", 8)])), []);
    assert_eq!(parts(&begin(&folder, 2, &[file(7, "y", 8)])), []);
}

#[test]
fn what_stands_beyond_the_declared_end_is_cut_off() {
    let bench = Bench::new();
    cut(&bench.folder(), 1);
    let area = journal(&bench).parent().unwrap().to_owned();
    let part = names(&area).into_iter().find(|name| name.ends_with(".part")).unwrap();
    fs::write(area.join(part), "half and much more").unwrap();
    assert_eq!(parts(&begin(&bench.folder(), 1, &[file(7, "x", 8)]))[0].0, "half and");
}

#[test]
fn a_transfer_of_which_nothing_is_there_does_not_wait() {
    let bench = Bench::new();
    drop(begin(&bench.folder(), 1, &[file(7, "x", 8)]));
    assert_eq!(names(&bench.inbox()), [""; 0]);
}

#[test]
fn a_transfer_whose_data_may_be_lost_does_not_wait() {
    let bench = Bench::new();
    let inbox = at::open_ambient_dir(&bench.inbox()).unwrap();
    let area = Area::create(&inbox, Some(&keepsake(1))).unwrap();
    area.note(&[Record::stored(5, "x")]);
    assert!(area.is_kept());
    area.journal().unwrap().distrust();
    assert!(!area.is_kept());
    drop(area);
    assert_eq!(names(&bench.inbox()), [""; 0]);
}

#[test]
fn a_transfer_waits_for_a_week_from_its_last_word() {
    let bench = Bench::new();
    let folder = bench.folder();
    cut(&folder, 1);
    let now = SystemTime::now();
    let waits = || (folder.kept().unwrap().len(), folder.keepsakes().unwrap().len());
    // A time to come is that of a clock which was set back.
    for said in [now, now - WEEK + MINUTE, now + WEEK] {
        last_said(&bench, said);
        assert_eq!(waits(), (1, 1));
        assert_eq!(folder.kept().unwrap()[0].until, said + WEEK);
        assert_eq!(folder.clean().unwrap(), Cleaned::default());
    }
    last_said(&bench, now - WEEK - MINUTE);
    assert_eq!(waits(), (0, 0));
    assert_eq!(folder.clean().unwrap(), Cleaned { transfers: 1, files: 1, bytes: 4 });
    assert_eq!(names(&bench.inbox()), [""; 0]);
}

#[test]
fn a_transfer_that_waited_too_long_begins_anew() {
    let bench = Bench::new();
    cut(&bench.folder(), 1);
    last_said(&bench, SystemTime::now() - WEEK - MINUTE);
    assert_eq!(parts(&begin(&bench.folder(), 1, &[file(7, "x", 8)])), []);
}

#[test]
fn who_works_is_known_but_does_not_wait() {
    let bench = Bench::new();
    let folder = bench.folder();
    cut(&folder, 1);
    let kept = folder.kept().unwrap();
    assert_eq!((kept.len(), &kept[0].keepsake), (1, &keepsake(1)));
    assert!(kept[0].bytes >= 4, "{}", kept[0].bytes);
    let working = begin(&folder, 1, &[file(7, "x", 8)]);
    assert_eq!((folder.kept().unwrap(), folder.keepsakes().unwrap()), (vec![], vec![keepsake(1)]));
    assert_eq!(folder.clean().unwrap(), Cleaned::default());
    drop(working);
}

#[test]
fn one_transfer_is_forgotten_and_the_other_waits_on() {
    let bench = Bench::new();
    let folder = bench.folder();
    cut(&folder, 1);
    cut(&folder, 2);
    let forgotten = folder.forget(|kept| *kept == keepsake(1)).unwrap();
    assert_eq!(forgotten, Cleaned { transfers: 1, files: 1, bytes: 4 });
    assert_eq!(folder.keepsakes().unwrap(), [keepsake(2)]);
}

#[test]
fn a_stored_file_is_known_to_the_next_attempt_where_it_was_put() {
    let bench = Bench::new();
    let folder = bench.folder();
    fs::write(bench.inbox().join("x"), "another").unwrap();
    let entries = [file(0, "x", 4), file(1, "y", 8)];
    let intake = begin(&folder, 1, &entries);
    let partial = intake.open_lasting(0).unwrap();
    partial.write_at(0, b"done").unwrap();
    let hash = *blake3::hash(b"done").as_bytes();
    assert!(intake.commit(vec![partial.complete(4).unwrap().hashed(hash)])[0].1.is_ok());
    drop(intake);

    let intake = begin(&folder, 1, &entries);
    let held = intake.take_held();
    let known = held.stored.get(0).expect("it is known");
    assert!(known.told && held.stored.ids().eq([0]) && held.parts.is_empty());
    assert_eq!((known.name.as_str(), known.bytes, known.hash), ("x (1)", 4, hash));
    assert_eq!(intake.placed_as(known.name.clone(), 4).path, fs::canonicalize(bench.inbox().join("x (1)")).unwrap());
}

#[test]
fn of_a_transfer_that_waits_only_what_lasts_is_there() {
    let bench = Bench::new();
    let folder = bench.folder();
    let intake = begin(&folder, 1, &[file(7, "lasts", 8), file(8, "does not", 8), file(9, "removed", 8)]);
    let lasting = intake.open_lasting(7).unwrap();
    lasting.write_at(0, b"half").unwrap();
    lasting.note_chunk(0, [10; 32]);
    intake.open_partial(8).unwrap().write_at(0, b"half").unwrap();
    let removed = intake.open_lasting(9).unwrap();
    removed.note_chunk(0, [11; 32]);
    removed.remove();
    drop((lasting, intake));
    assert_eq!(names(&bench.inbox()).iter().filter(|name| name.ends_with(".part")).count(), 1);
    assert_eq!(parts(&begin(&folder, 1, &[file(7, "lasts", 8), file(9, "removed", 8)])).len(), 1);
}

#[test]
fn files_wait_until_they_are_open_and_again_when_they_were_given_up() {
    let bench = Bench::new();
    let intake =
        bench.folder().begin(vec![file(3, "a", 4), folder(4, "d"), file(5, "b", 9)], IfExists::Rename).unwrap();
    let waiting = || intake.waiting().ones().collect::<Vec<_>>();
    assert_eq!((waiting(), intake.declared_bytes(3), intake.declared_bytes(4)), (vec![3, 5], Some(4), None));
    let partial = intake.open_partial(3).unwrap();
    assert_eq!((waiting(), intake.declared_bytes(3), intake.declared_bytes(5)), (vec![5], None, Some(9)));
    drop(partial);
    assert_eq!(waiting(), [3, 5]);
    receive(&intake, 3, b"four").unwrap();
    assert_eq!(waiting(), [5]);
    let partial = intake.open_partial(5).unwrap();
    partial.append(b"nine more").unwrap();
    let whole = partial.complete(9).unwrap();
    assert_eq!((whole.id(), whole.bytes()), (5, 9));
    assert_eq!(intake.commit(vec![whole])[0].0, 5);
}

#[test]
fn with_replace_what_this_transfer_has_stored_before_is_not_replaced_by_the_rest_of_it() {
    let bench = Bench::new();
    let folder = bench.folder();
    fs::write(bench.inbox().join("photo"), "of yesterday").unwrap();
    let entries = [file(0, "photo", 4), file(1, "photo", 5)];
    let begin = || folder.go_on(entries.to_vec(), IfExists::Replace, &keepsake(1)).unwrap();
    let intake = begin();
    let partial = intake.open_lasting(0).unwrap();
    partial.append(b"one.").unwrap();
    let hash = *blake3::hash(b"one.").as_bytes();
    assert!(intake.commit(vec![partial.complete(4).unwrap().hashed(hash)])[0].1.is_ok());
    drop(intake);
    let placed = receive(&begin(), 1, b"other").unwrap();
    assert_eq!(placed.name.as_str(), "photo (1)");
    assert_eq!(fs::read(bench.inbox().join("photo")).unwrap(), b"one.");
}

#[test]
fn what_is_kept_of_a_transfer_shows_no_key() {
    let said = format!("{:?}", Keepsake { key: [0xa7; 32], about: "files of Ada".into() });
    assert!(said.contains("<secret>") && said.contains("files of Ada"), "{said}");
    assert!(!said.contains("167") && !said.contains("a7"), "{said}");
}
