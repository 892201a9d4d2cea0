//! What the sender makes of verdicts, and of a receiver that misbehaves on a lane.

use super::*;
use crate::transfer::{LaneError, send_lane};
use crate::wire::{CHUNK_LEN, FileEnd, Kind, Message, Ping, Taken, frame};

/// What a sender says to a receiver that only listens.
fn said(outgoing: &Outgoing) -> Vec<(Kind, Vec<u8>)> {
    let mut listener = Listener::default();
    send_lane(&mut listener, outgoing, 0).unwrap();
    listener.frames()
}

fn kinds(frames: &[(Kind, Vec<u8>)]) -> Vec<Kind> {
    frames.iter().map(|frame| frame.0).filter(|kind| *kind != Kind::Piece).collect()
}

#[test]
fn chunks_that_the_receiver_holds_are_hashed_and_not_sent() {
    let content = pattern(5 * CHUNK_LEN + 9);
    let source = Source::of(std::slice::from_ref(&content));
    let outgoing = source.outgoing_as(|_| Verdict::TakeRest(vec![(0, 2), (4, 1)]));
    let frames = said(&outgoing);
    let chunks: Vec<u64> = frames
        .iter()
        .filter(|frame| frame.0 == Kind::Chunk)
        .map(|frame| crate::wire::Chunk::decode(&frame.1).unwrap().offset / CHUNK_LEN)
        .collect();
    assert_eq!(chunks, [2, 3, 5]);
    let end = frames.iter().find(|frame| frame.0 == Kind::FileEnd).unwrap();
    assert_eq!(FileEnd::decode(&end.1).unwrap().root, *blake3::hash(&content).as_bytes());
    assert_eq!(outgoing.bytes(), content.len() as u64);
}

#[test]
fn a_file_that_the_receiver_has_is_confirmed_without_its_bytes() {
    let content = pattern(CHUNK_LEN + 1);
    let source = Source::of(std::slice::from_ref(&content));
    let outgoing = source.outgoing_as(|_| Verdict::Have(*blake3::hash(&content).as_bytes()));
    let frames = said(&outgoing);
    assert_eq!(kinds(&frames), [Kind::FileEnd, Kind::LaneEnd]);
    assert_eq!(outgoing.take_hash(0), Some(*blake3::hash(&content).as_bytes()));
}

#[test]
fn a_file_that_differs_from_the_receivers_is_sent() {
    let source = Source::of(&[pattern(10), pattern(CHUNK_LEN + 1)]);
    let frames = said(&source.outgoing_as(|_| Verdict::Have([7; 32])));
    assert_eq!(
        kinds(&frames),
        [Kind::Pack, Kind::Chunk, Kind::ChunkEnd, Kind::Chunk, Kind::ChunkEnd, Kind::FileEnd, Kind::LaneEnd]
    );
}

#[test]
fn a_hash_is_given_out_once_and_not_before_the_file_was_sent() {
    let source = Source::of(&[pattern(10)]);
    let outgoing = source.outgoing();
    assert_eq!(outgoing.take_hash(0), None);
    said(&outgoing);
    assert!(outgoing.take_hash(0).is_some());
    assert_eq!(outgoing.take_hash(0), None);
}

#[test]
fn anything_but_the_end_of_the_lane_is_refused() {
    let source = Source::of(&[pattern(10)]);
    let ended = send_lane(&mut Script::new(frame(&Ping)), &source.outgoing(), 0);
    assert!(matches!(ended, Err(LaneError::Misplaced { kind: Kind::Ping, .. })));
}

#[test]
fn a_receiver_that_hangs_up_ends_the_lane_as_cut() {
    let source = Source::of(&[pattern(3 * CHUNK_LEN)]);
    let (mut ours, theirs) = duplex(64);
    drop(theirs);
    let ended = send_lane(&mut ours, &source.outgoing(), 0);
    assert!(matches!(ended, Err(LaneError::Cut(_))));
    let ended = send_lane(&mut Script::new(Vec::new()), &source.outgoing(), 0);
    assert!(matches!(ended, Err(LaneError::Cut(_))), "it must read everything before it may close");
}

#[test]
fn a_word_that_nothing_was_said_for_is_refused() {
    let source = Source::of(&[pattern(10)]);
    let twice = [frame(&Taken), frame(&Taken)].concat();
    let ended = send_lane(&mut Script::new(twice), &source.outgoing(), 0);
    assert!(matches!(ended, Err(LaneError::Misplaced { kind: Kind::Taken, .. })));
}

#[test]
fn an_end_before_everything_is_taken_is_refused() {
    let source = Source::of(&[pattern(10)]);
    let ended = send_lane(&mut Script::new(frame(&crate::wire::LaneEnd)), &source.outgoing(), 0);
    assert!(matches!(ended, Err(LaneError::Misplaced { kind: Kind::LaneEnd, .. })));
}

#[test]
fn no_more_than_a_chunk_waits_to_be_taken_when_another_begins() {
    let source = Source::of(&[pattern(9 * CHUNK_LEN)]);
    let mut script = Script::new([frame(&Taken), frame(&Taken)].concat());
    let ended = send_lane(&mut script, &source.outgoing(), 0);
    assert!(matches!(ended, Err(LaneError::Cut(_))), "it waits for a third word");
    let listener = Listener { told: script.told, ..Listener::default() };
    let chunks = listener.frames().iter().filter(|(kind, _)| *kind == Kind::Chunk).count();
    assert_eq!(chunks, 4, "two that are taken, one on its way, and the next");
}

#[test]
fn what_was_on_its_way_on_a_lost_lane_is_said_again_and_nothing_else() {
    let contents = [pattern(10), pattern(5 * CHUNK_LEN + 3)];
    let source = Source::of(&contents);
    let outgoing = source.outgoing();
    let mut script = Script::new([frame(&Taken), frame(&Taken)].concat());
    assert!(send_lane(&mut script, &outgoing, 7).is_err());
    let first = Listener { told: script.told, ..Listener::default() };
    assert!(!outgoing.say_again(6), "another lane was not lost");
    assert!(outgoing.say_again(7));
    let rest = said(&outgoing);
    let chunks = |frames: &[(Kind, Vec<u8>)]| -> Vec<u64> {
        let chunks = frames.iter().filter(|frame| frame.0 == Kind::Chunk);
        chunks.map(|frame| crate::wire::Chunk::decode(&frame.1).unwrap().offset / CHUNK_LEN).collect()
    };
    let (before, mut after) = (chunks(&first.frames()), chunks(&rest));
    // The pack and the first chunk were taken; of the others, those on their way come again, then the rest.
    assert_eq!(before, [0, 1, 2]);
    after.sort_unstable();
    assert_eq!(after, [1, 2, 3, 4, 5]);
    assert!(!rest.iter().any(|frame| frame.0 == Kind::Pack));
    assert_eq!(rest.iter().filter(|frame| frame.0 == Kind::FileEnd).count(), 1);
    assert_eq!(outgoing.bytes(), 13 + 5 * CHUNK_LEN);
}

#[test]
fn a_file_that_changed_before_a_chunk_of_it_is_said_again_is_withdrawn() {
    let source = Source::of(&[pattern(2 * CHUNK_LEN)]);
    let outgoing = source.outgoing();
    let mut script = Script::new(Vec::new());
    assert!(send_lane(&mut script, &outgoing, 0).is_err(), "both chunks are on their way, and the file was whole");
    let mut content = pattern(2 * CHUNK_LEN);
    content[5] ^= 1;
    std::fs::write(source.path("f0"), content).unwrap();
    assert!(outgoing.say_again(0));
    // The end, and a chunk that turns into a withdrawal.
    let mut script = Script::new([frame(&Taken), frame(&Taken), frame(&LaneEnd)].concat());
    send_lane(&mut script, &outgoing, 1).unwrap();
    let frames = Listener { told: script.told, ..Listener::default() }.frames();
    assert!(frames.iter().any(|(kind, _)| *kind == Kind::Withdraw));
    assert!(!frames.iter().any(|(kind, _)| *kind == Kind::ChunkEnd), "nothing of the other one is vouched for");
    assert!(outgoing.has_failed(0));
}
