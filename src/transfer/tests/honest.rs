use std::fs::{self, OpenOptions};
use std::thread;

use super::*;
use crate::store::StoreError;
use crate::transfer::outgoing::{Active, Work};
use crate::transfer::{HeldFiles, LaneError, send_lane};
use crate::wire::{CHUNK_LEN, Fault, Verdict};

/// Sends everything over `lanes` lanes of pipes that hold `capacity` bytes, and checks it.
fn passes(contents: &[Vec<u8>], capacity: usize, lanes: usize) {
    for compress in [Compress::Never, Compress::Auto, Compress::Always] {
        passes_with(contents, capacity, lanes, u16::MAX, compress);
    }
}

/// The same with `most` lanes that may stay.
fn passes_with(contents: &[Vec<u8>], capacity: usize, lanes: usize, most: u16, compress: Compress) {
    let source = Source::of(contents);
    let mut receiver = Receiver::awaiting(&source.sizes());
    let outgoing = source.outgoing_with(|_| Verdict::Take, compress);
    outgoing.keep(most);
    thread::scope(|scope| {
        for _ in 0..lanes {
            let (mut ours, theirs) = duplex(capacity);
            let lane = receive_on(theirs, &receiver.incoming);
            let outgoing = &outgoing;
            scope.spawn(move || {
                send_lane(&mut ours, outgoing, 0).unwrap();
                lane.join().unwrap().unwrap();
            });
        }
    });
    for (id, outcome) in receiver.outcomes(contents.len()).into_iter().enumerate() {
        let Outcome::Stored { placed, hash, .. } = outcome else { panic!("{outcome:?}") };
        assert_eq!(hash, *blake3::hash(&contents[id]).as_bytes());
        assert_eq!(outgoing.take_hash(id as u32), Some(hash));
        assert_eq!(placed.bytes, contents[id].len() as u64);
        assert!(receiver.stored(&format!("f{id}")) == contents[id], "file {id} differs");
    }
    let total: u64 = contents.iter().map(|content| content.len() as u64).sum();
    assert_eq!((outgoing.bytes(), receiver.incoming.bytes()), (total, total));
    assert!(!receiver.incoming.is_committing());
    receiver.intake.finish().unwrap();
}

#[test]
fn the_more_lanes_there_are_the_smaller_are_the_packs() {
    let source = Source::of(&vec![vec![7; 100_000]; 40]);
    for (lanes, files) in [(1, 10), (2, 5), (4, 2), (16, 1)] {
        let outgoing = source.outgoing();
        let _active: Vec<_> = (0..lanes).map(|_| Active::begin(&outgoing)).collect();
        let Some(Work::Pack(pack)) = outgoing.next_work() else { panic!("small files travel in packs") };
        assert_eq!(pack.len(), files, "{lanes} lanes");
    }
}

#[test]
fn lanes_that_are_too_many_end_and_the_one_that_stays_sends_the_rest() {
    for most in [0, 1, 2] {
        passes_with(&[pattern(9 * CHUNK_LEN), pattern(7)], 64 * 1024, 4, most, Compress::Never);
    }
}

#[test]
fn files_of_every_awkward_size_arrive_exactly() {
    let mib = CHUNK_LEN;
    let sizes = [0, 1, 1024, 1025, mib - 1, mib, mib + 1, 3 * mib, 5 * mib, 7 * mib + 1, 128 * 1024, 128 * 1024 + 1];
    let contents: Vec<_> = sizes.into_iter().map(pattern).collect();
    passes(&contents, 64 * 1024, 1);
    passes(&contents, 64 * 1024, 3);
}

/// All that a sender says of one file to a receiver that only listens.
fn said(content: &[u8], compress: Compress) -> Vec<u8> {
    let source = Source::of(&[content.to_vec()]);
    let mut listener = Listener::default();
    send_lane(&mut listener, &source.outgoing_with(|_| Verdict::Take, compress), 0).unwrap();
    listener.told
}

/// Bytes without any pattern, by xorshift (Marsaglia, 2003).
fn noise(len: u64) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}

#[test]
fn text_takes_less_than_it_holds_and_noise_no_more_than_uncompressed() {
    for len in [1, 300, 20_000, 128 * 1024, CHUNK_LEN, 3 * CHUNK_LEN + 7] {
        let (text, noise) = (pattern(len), noise(len));
        let plain = said(&text, Compress::Never);
        assert!(plain.len() as u64 > len);
        let smaller = len >= 300;
        assert_eq!(said(&text, Compress::Always).len() < plain.len(), smaller, "{len} bytes of text");
        assert_eq!(said(&noise, Compress::Always).len(), plain.len(), "{len} bytes of noise");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(24))]
    #[test]
    fn anything_arrives_as_it_was(
        contents in proptest::collection::vec((0u64..3 * CHUNK_LEN, proptest::prelude::any::<bool>()), 1..5),
        lanes in 1usize..3,
    ) {
        let content = |(len, text)| if text { pattern(len) } else { noise(len) };
        let contents: Vec<_> = contents.into_iter().map(content).collect();
        passes_with(&contents, 64 * 1024, lanes, u16::MAX, Compress::Always);
    }
}

#[test]
fn a_lane_passes_through_a_pipe_of_one_byte() {
    passes(&[pattern(0), pattern(1), pattern(700), pattern(3)], 1, 1);
}

#[test]
fn a_lane_passes_through_a_pipe_of_eight_bytes() {
    passes(&[pattern(20), pattern(0), pattern(6_000)], 8, 2);
}

#[test]
fn more_small_files_than_fit_into_a_pack_arrive() {
    let contents: Vec<_> = (0..1_300).map(|i| pattern(i % 7)).collect();
    passes(&contents, 64 * 1024, 2);
}

#[test]
fn small_files_that_fill_more_than_one_pack_arrive() {
    let contents: Vec<_> = (0..20).map(|i| pattern(128 * 1024 - i)).collect();
    passes(&contents, 64 * 1024, 1);
}

#[test]
fn nothing_to_send_ends_the_lane_in_order() {
    let source = Source::of(&[pattern(1)]);
    let outgoing = source.outgoing_as(|_| Verdict::Take);
    let receiver = Receiver::awaiting(&source.sizes());
    for _ in 0..2 {
        let (mut ours, theirs) = duplex(64);
        let lane = receive_on(theirs, &receiver.incoming);
        send_lane(&mut ours, &outgoing, 0).unwrap();
        lane.join().unwrap().unwrap();
    }
}

/// A receiver that changes the source once the first `after` bytes have come.
struct Meddling<F: FnMut()> {
    end: End,
    after: usize,
    meddle: Option<F>,
}

impl<F: FnMut()> Read for Meddling<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.end.read(buffer)
    }
}

impl<F: FnMut()> Write for Meddling<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.end.write(bytes)?;
        self.after = self.after.saturating_sub(written);
        if self.after == 0
            && let Some(mut meddle) = self.meddle.take()
        {
            meddle();
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn meddled_with(meddle: impl Fn(&std::path::Path)) {
    for compress in [Compress::Never, Compress::Always] {
        meddled_while(compress, &meddle);
    }
}

fn meddled_while(compress: Compress, meddle: impl Fn(&std::path::Path)) {
    let contents = [pattern(2 * CHUNK_LEN + 7), pattern(10), pattern(CHUNK_LEN + 1)];
    let source = Source::of(&contents);
    let mut receiver = Receiver::awaiting(&source.sizes());
    let outgoing = source.outgoing_with(|_| Verdict::Take, compress);
    let (end, theirs) = duplex(64 * 1024);
    let lane = receive_on(theirs, &receiver.incoming);
    let victim = source.path("f0");
    // Before its second chunk is read, however short the first one was on the wire.
    let after = if compress == Compress::Never { CHUNK_LEN as usize / 2 } else { 1 };
    let mut stream = Meddling { end, after, meddle: Some(|| meddle(&victim)) };
    send_lane(&mut stream, &outgoing, 0).unwrap();
    lane.join().unwrap().unwrap();
    let [first, second, third] = receiver.outcomes(3).try_into().unwrap();
    let Outcome::NotStored(not) = first else { panic!("{first:?}") };
    assert_eq!(not.fault, Fault::Sender);
    assert!(!not.message.contains('/'), "a path of the sender: `{}`", not.message);
    assert!(matches!((second, third), (Outcome::Stored { .. }, Outcome::Stored { .. })));
    let failed = outgoing.take_failed();
    assert_eq!(failed.len(), 1);
    assert!(failed[0].reason.contains("changed while it was being sent"), "{}", failed[0].reason);
    assert_eq!(outgoing.take_hash(0), None);
    let mut names = receiver.visible();
    names.sort();
    assert_eq!(names, ["f1", "f2"]);
}

#[test]
fn a_file_that_is_cut_while_it_is_sent_is_withdrawn_and_the_rest_arrives() {
    meddled_with(|path| OpenOptions::new().write(true).open(path).unwrap().set_len(CHUNK_LEN).unwrap());
}

#[test]
fn a_file_that_grows_while_it_is_sent_is_withdrawn_and_the_rest_arrives() {
    meddled_with(|path| OpenOptions::new().append(true).open(path).unwrap().write_all(b"more").unwrap());
}

#[test]
fn a_file_that_is_replaced_while_it_is_sent_is_withdrawn_and_the_rest_arrives() {
    meddled_with(|path| {
        let other = path.with_extension("other");
        fs::write(&other, pattern(2 * CHUNK_LEN + 7)).unwrap();
        fs::rename(other, path).unwrap();
    });
}

#[test]
fn a_small_file_that_has_gone_is_withdrawn_and_its_pack_still_goes() {
    let source = Source::of(&[pattern(5), pattern(6), pattern(7)]);
    let mut receiver = Receiver::awaiting(&source.sizes());
    fs::remove_file(source.path("f1")).unwrap();
    let outgoing = source.outgoing();
    let (mut ours, theirs) = duplex(64);
    let lane = receive_on(theirs, &receiver.incoming);
    send_lane(&mut ours, &outgoing, 0).unwrap();
    lane.join().unwrap().unwrap();
    let outcomes = receiver.outcomes(3);
    assert!(matches!(outcomes[1], Outcome::NotStored(_)));
    assert_eq!((receiver.stored("f0"), receiver.stored("f2")), (pattern(5), pattern(7)));
    assert_eq!(outgoing.take_failed()[0].id, 1);
}

#[test]
fn a_stopped_lane_ends_at_its_next_step() {
    let source = Source::of(&[pattern(3 * CHUNK_LEN)]);
    let receiver = Receiver::awaiting(&source.sizes());
    let outgoing = source.outgoing();
    outgoing.stop();
    receiver.incoming.stop();
    let (mut ours, theirs) = duplex(4 * 1024 * 1024);
    assert!(matches!(receive_on(theirs, &receiver.incoming).join().unwrap(), Err(LaneError::Stopped)));
    assert!(send_lane(&mut ours, &outgoing, 0).is_err());
}

#[test]
fn a_claimed_exabyte_is_refused_before_it_costs_anything() {
    let folder = tempfile::tempdir().unwrap();
    let entry = PlannedEntry {
        id: 0,
        path: path("huge"),
        kind: PlannedKind::File,
        size: Some(10u64.pow(18)),
        holes: 0,
        modified: None,
    };
    let refused = Folder::open(folder.path()).unwrap().begin(vec![entry], IfExists::Rename);
    assert!(matches!(refused.err(), Some(StoreError::NoSpaceFor { .. })));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn what_the_receiver_holds_is_sent_only_if_it_differs() {
    let contents = [pattern(0), pattern(500), pattern(500), pattern(3 * CHUNK_LEN + 7), pattern(3 * CHUNK_LEN + 7)];
    let hash = |id: usize| *blake3::hash(&contents[id]).as_bytes();
    // Files 2 and 4 differ from what is there.
    let theirs = |id: u32| if id == 2 || id == 4 { [7; 32] } else { hash(id as usize) };
    let source = Source::of(&contents);
    let mut receiver = Receiver::awaiting(&source.sizes());
    let mut held = HeldFiles::default();
    for (id, content) in (0..).zip(&contents) {
        held.insert(id, content.len() as u64, theirs(id));
    }
    receiver.incoming.hold(held);
    let outgoing = source.outgoing_as(|id| Verdict::Have(theirs(id)));
    let (mut ours, lane) = duplex(64 * 1024);
    let lane = receive_on(lane, &receiver.incoming);
    send_lane(&mut ours, &outgoing, 0).unwrap();
    lane.join().unwrap().unwrap();
    for (id, outcome) in receiver.outcomes(contents.len()).into_iter().enumerate() {
        let stored = matches!(outcome, Outcome::Stored { .. });
        assert_eq!(stored, id == 2 || id == 4, "file {id}: {outcome:?}");
        assert_eq!(outgoing.was_same(id as u32), !stored);
        assert_eq!(outgoing.take_hash(id as u32), Some(hash(id)));
    }
    assert!(receiver.stored("f4") == contents[4]);
    assert_eq!(receiver.visible().len(), 2);
}
