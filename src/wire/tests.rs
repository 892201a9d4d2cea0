//! The bytes of every message, good and bad, and what `docs/protocol.md` says about them.

mod document;
mod limits;
mod properties;
mod tree;
mod vectors;

use super::oracle::with_message;
use super::*;

/// Every kind that carries a message with fields, even if none.
fn kinds_of_messages() -> impl Iterator<Item = Kind> {
    Kind::ALL.into_iter().filter(|kind| *kind != Kind::Piece)
}

/// The header and the rest of a frame. `Err` where the header already says too much.
fn split(frame: &[u8]) -> Result<(Header, &[u8]), FrameError> {
    let (header, payload) = frame.split_first_chunk().expect("a frame begins with a header");
    Ok((Header::parse(*header)?, payload))
}

fn payload<M: Message>(message: &M) -> Vec<u8> {
    let mut payload = Vec::new();
    message.encode(&mut payload);
    payload
}

#[test]
fn a_hello_tells_of_a_room_and_of_a_lasting_key_by_one_bit_each() {
    let told = |role, features| {
        let hello = Hello { version: 1, role, features, name: String::new(), software: String::new() };
        (hello.holds_room(), hello.has_lasting_key())
    };
    assert_eq!(told(Role::Inbox, 0), (false, false));
    assert_eq!(told(Role::Inbox, Hello::LASTING_KEY), (false, true));
    assert_eq!(told(Role::Outbox, Hello::ROOM), (true, false));
    assert_eq!(told(Role::Outbox, !(Hello::ROOM | Hello::LASTING_KEY)), (false, false));
    assert_eq!(told(Role::Room, 0), (true, false));
}
