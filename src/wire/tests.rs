//! The bytes of every message, good and bad, and what `docs/protocol.md` says about them.

mod document;
mod limits;
mod properties;
mod tree;
mod vectors;

use super::*;

/// Takes a frame of any kind apart and says `then` with its message: `with_message!(kind, payload, M => …)`.
macro_rules! with_message {
    ($kind:expr, $($name:ident)|+, $message:ident => $then:expr) => {
        match $kind {
            $(Kind::$name => { type $message = $name; $then })+
            Kind::Piece => unreachable!("a piece has no fields"),
        }
    };
    ($kind:expr, $message:ident => $then:expr) => {
        with_message!(
            $kind,
            Open | Proof | Commit | Nonce | Reveal | Confirm | Hello | Offer | Page | OfferEnd | Verdicts | Go | Chunk
                | ChunkEnd | FileEnd | Pack | Withdraw | LaneEnd | Taken | Stored | NotStored | Finished | LaneLost | Ping
                | Refuse | Bye | Join | Welcome | Say | News | Seen,
            $message => $then
        )
    };
}
use with_message;

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
