//! What the receiver makes of a sender that lies (security.md D14, D15).

use super::*;
use crate::transfer::{ChunkHasher, Hash, LaneError};
use crate::wire::{
    CHUNK_LEN, Chunk, ChunkEnd, Codec, Fault, FileEnd, LaneEnd, PIECE_CAP, Pack, Packed, Ping, Withdraw, frame,
    header_of_piece,
};

fn root_of(bytes: &[u8]) -> Hash {
    *blake3::hash(bytes).as_bytes()
}

/// The chaining value of a chunk of a file that has several.
fn subtree(offset: u64, bytes: &[u8]) -> Hash {
    let mut hasher = ChunkHasher::new(offset);
    hasher.update(bytes);
    hasher.finish(false)
}

fn begin(id: u32, offset: u64, len: u64) -> Vec<u8> {
    frame(&Chunk { id, offset, len: len as u32, codec: Codec::Raw })
}

fn pieces(bytes: &[u8]) -> Vec<u8> {
    bytes.chunks(PIECE_CAP).flat_map(|piece| [&header_of_piece(piece.len())[..], piece].concat()).collect()
}

fn chunk(id: u32, offset: u64, bytes: &[u8], value: Hash) -> Vec<u8> {
    [begin(id, offset, bytes.len() as u64), pieces(bytes), frame(&ChunkEnd { subtree: value })].concat()
}

fn end(id: u32, bytes: &[u8]) -> Vec<u8> {
    frame(&FileEnd { id, size: bytes.len() as u64, root: root_of(bytes) })
}

/// All of a file, as an honest sender sends a large one.
fn whole(id: u32, bytes: &[u8]) -> Vec<u8> {
    let step = CHUNK_LEN as usize;
    let one = bytes.len() <= step;
    let chunks = bytes.chunks(step).enumerate().flat_map(|(index, part)| {
        let offset = index as u64 * CHUNK_LEN;
        chunk(id, offset, part, if one { root_of(part) } else { subtree(offset, part) })
    });
    chunks.chain(end(id, bytes)).collect()
}

fn pack(files: &[(u32, &[u8])]) -> Vec<u8> {
    let packed = files.iter().map(|(id, bytes)| Packed { id: *id, len: bytes.len() as u32, hash: root_of(bytes) });
    let bytes: Vec<u8> = files.iter().flat_map(|file| file.1.to_vec()).collect();
    [frame(&Pack { codec: Codec::Raw, files: packed.collect() }), pieces(&bytes)].concat()
}

impl Receiver {
    /// Hears what a sender says, then the end of the connection.
    fn hear(&self, says: impl AsRef<[u8]>) -> Result<(), LaneError> {
        receive_lane(&mut Script::new(says.as_ref().to_vec()), &self.incoming)
    }

    /// The sender broke the protocol.
    fn refuses(&self, says: impl AsRef<[u8]>) {
        let ended = self.hear(says);
        assert!(matches!(&ended, Err(error) if error.is_misbehaviour()), "{ended:?}");
    }

    /// The connection was cut, and nothing is wrong with what came before.
    fn hears(&self, says: impl AsRef<[u8]>) {
        let ended = self.hear(says);
        assert!(matches!(&ended, Err(LaneError::Cut(_))), "{ended:?}");
    }

    fn stores(&mut self, id: u32, content: &[u8]) {
        let outcome = self.outcomes(1).pop().unwrap();
        assert!(matches!(outcome, Outcome::Stored { .. }), "{outcome:?}");
        assert!(self.stored(&format!("f{id}")) == content);
    }
}

#[test]
fn a_chunk_with_another_hash_fails_its_file_and_no_other() {
    let content = pattern(CHUNK_LEN + 3);
    let mut receiver = Receiver::awaiting(&[Some(CHUNK_LEN + 3), Some(4)]);
    receiver.hears(chunk(0, CHUNK_LEN, &content[CHUNK_LEN as usize..], [9; 32]));
    let not = receiver.failure();
    assert_eq!((not.id, not.fault), (0, Fault::Sender));
    // What still comes of it is thrown away, and nothing more is said of it.
    receiver.hears([whole(0, &content), pack(&[(1, b"good")])].concat());
    receiver.stores(1, b"good");
    assert!(receiver.outcomes.try_recv().is_err());
}

#[test]
fn a_file_with_another_root_is_not_stored() {
    let content = pattern(2 * CHUNK_LEN);
    let mut receiver = Receiver::awaiting(&[Some(2 * CHUNK_LEN)]);
    let (first, second) = content.split_at(CHUNK_LEN as usize);
    receiver.hears(
        [
            chunk(0, 0, first, subtree(0, first)),
            chunk(0, CHUNK_LEN, second, subtree(CHUNK_LEN, second)),
            frame(&FileEnd { id: 0, size: 2 * CHUNK_LEN, root: [1; 32] }),
        ]
        .concat(),
    );
    assert_eq!(receiver.failure().fault, Fault::Sender);
}

#[test]
fn a_packed_file_with_another_hash_is_not_stored_and_its_pack_is() {
    let mut receiver = Receiver::awaiting(&[Some(3), Some(3)]);
    let files = vec![Packed { id: 0, len: 3, hash: [0; 32] }, Packed { id: 1, len: 3, hash: root_of(b"two") }];
    receiver.hears([frame(&Pack { codec: Codec::Raw, files }), pieces(b"onetwo")].concat());
    let outcomes = receiver.outcomes(2);
    assert!(matches!(&outcomes[0], Outcome::NotStored(not) if not.fault == Fault::Sender));
    assert!(matches!(outcomes[1], Outcome::Stored { .. }));
    assert_eq!(receiver.visible(), ["f1"]);
}

#[test]
fn what_was_not_accepted_is_refused_in_every_form() {
    for says in [
        chunk(7, 0, b"x", root_of(b"x")),
        pack(&[(7, b"x")]),
        end(7, b""),
        frame(&Withdraw { id: 7, reason: String::new() }),
    ] {
        let mut receiver = Receiver::awaiting(&[Some(1)]);
        receiver.refuses(says);
        receiver.no_outcome();
    }
}

#[test]
fn a_chunk_beyond_the_size_or_of_another_length_is_refused() {
    let size = CHUNK_LEN + 10;
    for (offset, len) in [(2 * CHUNK_LEN, 1), (CHUNK_LEN, 11), (CHUNK_LEN, 9), (0, 10), (CHUNK_LEN << 40, 10)] {
        let mut receiver = Receiver::awaiting(&[Some(size)]);
        receiver.refuses(begin(0, offset, len));
        receiver.no_outcome();
    }
}

#[test]
fn an_empty_file_has_no_chunks_and_arrives_by_its_end_alone() {
    let mut receiver = Receiver::awaiting(&[Some(0)]);
    receiver.refuses(begin(0, 0, 1));
    receiver.hears(end(0, b""));
    receiver.stores(0, b"");
}

#[test]
fn a_chunk_that_comes_twice_is_refused() {
    let content = pattern(2 * CHUNK_LEN);
    let first = &content[..CHUNK_LEN as usize];
    let mut receiver = Receiver::awaiting(&[Some(2 * CHUNK_LEN)]);
    receiver.hears(chunk(0, 0, first, subtree(0, first)));
    receiver.refuses(begin(0, 0, CHUNK_LEN));
    receiver.no_outcome();
}

#[test]
fn an_entry_that_comes_twice_is_refused_and_stored_once() {
    let content = pattern(CHUNK_LEN + 1);
    let mut receiver = Receiver::awaiting(&[Some(CHUNK_LEN + 1), Some(2)]);
    receiver.refuses([whole(0, &content), begin(0, 0, CHUNK_LEN)].concat());
    receiver.stores(0, &content);
    receiver.refuses([pack(&[(1, b"ab")]), pack(&[(1, b"ab")])].concat());
    receiver.stores(1, b"ab");
    receiver.refuses(pack(&[(1, b"ab"), (1, b"ab")]));
    receiver.refuses(end(1, b"ab"));
    receiver.refuses(end(0, &content));
    assert!(receiver.outcomes.try_recv().is_err());
    assert_eq!(receiver.visible().len(), 2);
}

#[test]
fn a_file_under_way_can_not_also_come_in_a_pack() {
    let mut receiver = Receiver::awaiting(&[Some(4)]);
    receiver.refuses([begin(0, 0, 4), header_of_piece(1).to_vec(), b"a".to_vec(), pack(&[(0, b"abcd")])].concat());
    receiver.refuses(pack(&[(0, b"abcd")]));
    receiver.no_outcome();
}

#[test]
fn an_end_with_another_size_or_a_second_end_is_refused() {
    let mut receiver = Receiver::awaiting(&[Some(CHUNK_LEN * 2)]);
    receiver.refuses(frame(&FileEnd { id: 0, size: 1, root: [0; 32] }));
    let honest = frame(&FileEnd { id: 0, size: CHUNK_LEN * 2, root: [0; 32] });
    receiver.refuses([honest.clone(), honest].concat());
    receiver.no_outcome();
}

#[test]
fn a_packed_file_of_another_size_than_offered_is_refused() {
    for bytes in [b"abc".as_slice(), b"abcde"] {
        let mut receiver = Receiver::awaiting(&[Some(4)]);
        receiver.refuses(pack(&[(0, bytes)]));
        receiver.no_outcome();
    }
}

#[test]
fn pieces_that_are_empty_or_longer_than_what_is_due_are_refused() {
    for len in [0, 5] {
        let mut receiver = Receiver::awaiting(&[Some(4), Some(4)]);
        receiver.refuses([begin(0, 0, 4), header_of_piece(len).to_vec()].concat());
        let files = vec![Packed { id: 1, len: 4, hash: root_of(b"abcd") }];
        receiver.refuses([frame(&Pack { codec: Codec::Raw, files }), header_of_piece(len).to_vec()].concat());
        receiver.no_outcome();
    }
}

#[test]
fn frames_out_of_place_are_refused() {
    let piece = [&header_of_piece(1)[..], b"a"].concat();
    let chunk_end = frame(&ChunkEnd { subtree: [0; 32] });
    let in_chunk = |says: &[u8]| [&begin(0, 0, 4), says].concat();
    let after_chunk = |says: &[u8]| [&begin(0, 0, 4), &pieces(b"abcd"), says].concat();
    for says in [
        piece.clone(),
        chunk_end.clone(),
        frame(&Ping),
        vec![0xee, 0, 0, 0],
        in_chunk(&chunk_end),
        in_chunk(&frame(&LaneEnd)),
        in_chunk(&begin(0, 0, 4)),
        after_chunk(&piece),
        after_chunk(&frame(&LaneEnd)),
    ] {
        let mut receiver = Receiver::awaiting(&[Some(4)]);
        receiver.refuses(says);
        receiver.no_outcome();
    }
}

#[test]
fn a_withdrawal_within_a_chunk_must_be_of_that_file() {
    let other = frame(&Withdraw { id: 1, reason: "gone".into() });
    let own = frame(&Withdraw { id: 0, reason: "gone".into() });
    for after in [Vec::new(), pieces(b"ab"), pieces(b"abcd")] {
        let mut receiver = Receiver::awaiting(&[Some(4), Some(4)]);
        receiver.refuses([begin(0, 0, 4), after.clone(), other.clone()].concat());
        receiver.no_outcome();
        receiver.hears([begin(0, 0, 4), after, own.clone()].concat());
        assert_eq!(receiver.failure().message, "gone");
    }
}

#[test]
fn a_withdrawal_said_again_and_again_is_one_outcome() {
    let withdraw = frame(&Withdraw { id: 0, reason: "gone".into() });
    let mut receiver = Receiver::awaiting(&[Some(CHUNK_LEN * 2)]);
    receiver.hears([withdraw.clone(), withdraw.clone(), whole(0, &pattern(CHUNK_LEN * 2)), withdraw].concat());
    assert_eq!(receiver.failure().id, 0);
}

#[test]
fn two_lanes_that_withdraw_at_the_same_moment_are_one_outcome() {
    for _ in 0..40 {
        let mut receiver = Receiver::awaiting(&[Some(4), Some(4)]);
        let says = [begin(0, 0, 4), frame(&Withdraw { id: 0, reason: "gone".into() })].concat();
        let also = frame(&Withdraw { id: 0, reason: "gone".into() });
        thread::scope(|scope| {
            let receiver = &receiver;
            scope.spawn(move || drop(receiver.hear(says)));
            scope.spawn(move || drop(receiver.hear(also)));
        });
        receiver.failure();
    }
}

#[test]
fn a_lane_that_dies_within_a_chunk_leaves_the_chunk_to_another() {
    let content = pattern(2 * CHUNK_LEN + 5);
    let sent = whole(0, &content);
    let mut receiver = Receiver::awaiting(&[Some(content.len() as u64)]);
    receiver.hears(&sent[..CHUNK_LEN as usize / 2]);
    receiver.hears(sent);
    receiver.stores(0, &content);
}

#[test]
fn a_lane_that_dies_within_a_pack_leaves_the_rest_to_another() {
    let sent = pack(&[(0, b"one"), (1, b"two"), (2, b"three")]);
    let mut receiver = Receiver::awaiting(&[Some(3), Some(3), Some(5)]);
    receiver.hears(&sent[..sent.len() - 6]);
    receiver.stores(0, b"one");
    receiver.hears(pack(&[(1, b"two"), (2, b"three")]));
    assert_eq!(receiver.outcomes(2).len(), 2);
    assert_eq!((receiver.stored("f1"), receiver.stored("f2")), (b"two".to_vec(), b"three".to_vec()));
}

#[test]
fn two_lanes_share_one_file() {
    let content = pattern(4 * CHUNK_LEN);
    let chunks: Vec<_> = content.chunks(CHUNK_LEN as usize).collect();
    let one = |index: usize| {
        let offset = index as u64 * CHUNK_LEN;
        chunk(0, offset, chunks[index], subtree(offset, chunks[index]))
    };
    let mut receiver = Receiver::awaiting(&[Some(4 * CHUNK_LEN)]);
    let (left, right) = ([one(0), one(3), frame(&LaneEnd)].concat(), [end(0, &content), one(2), one(1)].concat());
    thread::scope(|scope| {
        let receiver = &receiver;
        scope.spawn(move || receiver.hear(left).unwrap());
        scope.spawn(move || receiver.hears(right));
    });
    receiver.stores(0, &content);
}

#[test]
fn the_end_of_a_lane_with_files_outstanding_is_answered_and_decides_nothing() {
    let mut receiver = Receiver::awaiting(&[Some(4)]);
    let mut script = Script::new(frame(&LaneEnd));
    receive_lane(&mut script, &receiver.incoming).unwrap();
    assert_eq!(script.told, frame(&LaneEnd));
    receiver.no_outcome();
}

#[test]
fn a_file_of_unknown_size_arrives_whole() {
    for len in [0, 1, CHUNK_LEN - 1, CHUNK_LEN, CHUNK_LEN + 1, 3 * CHUNK_LEN] {
        let content = pattern(len);
        let mut receiver = Receiver::awaiting(&[None]);
        receiver.hears(whole(0, &content));
        receiver.stores(0, &content);
    }
}

#[test]
fn an_unknown_size_that_turns_out_impossible_is_no_panic() {
    for size in [u64::MAX, u64::MAX - 1, 1 << 63, CHUNK_LEN << 40] {
        let receiver = Receiver::awaiting(&[None]);
        receiver
            .hears([chunk(0, 0, b"abc", subtree(0, b"abc")), frame(&FileEnd { id: 0, size, root: [0; 32] })].concat());
    }
}

#[test]
fn an_unknown_size_does_not_outgrow_the_limit() {
    let mut receiver = Receiver::with_limit(&[None, Some(1)], Some(CHUNK_LEN));
    receiver.hears(whole(0, &pattern(2 * CHUNK_LEN)));
    assert_eq!(receiver.failure().fault, Fault::Receiver);
    assert_eq!(receiver.intake_len(), 0);
}

#[test]
fn every_cut_of_an_honest_lane_is_a_cut_and_stores_nothing_half() {
    let content = pattern(300);
    let sent = [begin(0, 0, 300), pieces(&content), frame(&ChunkEnd { subtree: root_of(&content) })].concat();
    for cut in 0..sent.len() {
        let mut receiver = Receiver::awaiting(&[Some(300)]);
        receiver.hears(&sent[..cut]);
        receiver.no_outcome();
    }
}

fn squeezed(bytes: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(bytes, 1).unwrap()
}

/// A chunk that says to hold `len` bytes in `packed`.
fn squeezed_chunk(len: u64, packed: &[u8], value: Hash) -> Vec<u8> {
    let codec = Codec::Zstd { packed: packed.len() as u32 };
    let begin = frame(&Chunk { id: 0, offset: 0, len: len as u32, codec });
    [begin, pieces(packed), frame(&ChunkEnd { subtree: value })].concat()
}

fn squeezed_pack(files: &[&[u8]], packed: &[u8]) -> Vec<u8> {
    let codec = Codec::Zstd { packed: packed.len() as u32 };
    let files = files.iter().zip(0..).map(|(bytes, id)| Packed { id, len: bytes.len() as u32, hash: root_of(bytes) });
    [frame(&Pack { codec, files: files.collect() }), pieces(packed)].concat()
}

#[test]
fn what_is_compressed_as_it_should_be_arrives() {
    let content = pattern(100_000);
    let mut receiver = Receiver::awaiting(&[Some(100_000)]);
    receiver.hears([squeezed_chunk(100_000, &squeezed(&content), root_of(&content)), end(0, &content)].concat());
    receiver.stores(0, &content);
    let (one, two) = (pattern(5_000), pattern(4_000));
    let mut receiver = Receiver::awaiting(&[Some(5_000), Some(4_000)]);
    receiver.hears(squeezed_pack(&[&one, &two], &squeezed(&[&one[..], &two].concat())));
    assert_eq!(receiver.outcomes(2).len(), 2);
    assert_eq!((receiver.stored("f0"), receiver.stored("f1")), (one, two));
}

#[test]
fn d17_bombs_and_lies_in_what_is_compressed_are_refused() {
    let content = pattern(100_000);
    let honest = squeezed(&content);
    let skippable = [0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 9];
    for packed in [
        squeezed(&vec![0; 64 * 1024 * 1024]),
        squeezed(&pattern(99_999)),
        squeezed(&pattern(100_001)),
        honest[..honest.len() - 1].to_vec(),
        [&honest[..], b"x"].concat(),
        [&skippable[..], &honest].concat(),
        [&honest[..], &skippable].concat(),
        b"no frame".to_vec(),
    ] {
        let mut receiver = Receiver::awaiting(&[Some(100_000)]);
        receiver.refuses(squeezed_chunk(100_000, &packed, root_of(&content)));
        receiver.refuses(squeezed_pack(&[&content], &packed));
        receiver.no_outcome();
        assert_eq!(receiver.intake_len(), 0);
    }
}

#[test]
fn what_is_compressed_but_not_what_was_said_fails_its_file_and_no_other() {
    let content = pattern(100_000);
    let mut receiver = Receiver::awaiting(&[Some(100_000), Some(4)]);
    receiver.hears([squeezed_chunk(100_000, &squeezed(&content), [9; 32]), pack(&[(1, b"good")])].concat());
    let outcomes = receiver.outcomes(2);
    assert!(matches!(&outcomes[0], Outcome::NotStored(not) if not.fault == Fault::Sender));
    // What is thrown away is not taken apart.
    receiver.hears(squeezed_chunk(100_000, b"no frame", [9; 32]));
}

#[test]
fn compressed_pieces_that_are_longer_than_what_is_due_are_refused() {
    let codec = Codec::Zstd { packed: 20 };
    let mut receiver = Receiver::awaiting(&[Some(100)]);
    let begin = frame(&Chunk { id: 0, offset: 0, len: 100, codec });
    receiver.refuses([begin.clone(), pieces(&[0; 21])].concat());
    receiver.refuses([begin.clone(), header_of_piece(0).to_vec()].concat());
    receiver.refuses([begin.clone(), pieces(&[0; 19]), frame(&ChunkEnd { subtree: [0; 32] })].concat());
    let files = vec![Packed { id: 0, len: 100, hash: [0; 32] }];
    receiver.refuses([frame(&Pack { codec, files }), pieces(&[0; 21])].concat());
    receiver.no_outcome();
    receiver.hears([begin, pieces(&[0; 7]), frame(&Withdraw { id: 0, reason: "gone".into() })].concat());
    assert_eq!(receiver.failure().message, "gone");
}

impl Receiver {
    /// Bytes of partial files on the disk.
    fn intake_len(&self) -> u64 {
        let areas = fs::read_dir(self.folder.path().join(".qrdrop-partial")).unwrap();
        let files = areas.flat_map(|area| fs::read_dir(area.unwrap().path()).unwrap());
        files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
    }
}
