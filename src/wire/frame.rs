//! The frame: one byte of kind, three of payload length, the payload (protocol.md 3).

use super::caps::{CONTROL_CAP, HEADER_LEN, MESSAGE_CAP, OPENING_CAP, PAGE_CAP, PIECE_CAP};
use super::codec::Message;

/// What a frame carries. The numbers are the protocol's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs, reason = "each kind is the message of the same name")]
pub enum Kind {
    Open = 0x01,
    Proof = 0x02,
    Commit = 0x03,
    Nonce = 0x04,
    Reveal = 0x05,
    Confirm = 0x06,
    Hello = 0x07,
    Offer = 0x10,
    Page = 0x11,
    OfferEnd = 0x12,
    Verdicts = 0x13,
    Go = 0x14,
    Chunk = 0x20,
    Piece = 0x21,
    ChunkEnd = 0x22,
    FileEnd = 0x23,
    Pack = 0x24,
    Withdraw = 0x25,
    LaneEnd = 0x26,
    Taken = 0x27,
    Stored = 0x30,
    NotStored = 0x31,
    Finished = 0x32,
    LaneLost = 0x33,
    Ping = 0x3d,
    Refuse = 0x3e,
    Bye = 0x3f,
    Join = 0x40,
    Welcome = 0x41,
    Say = 0x42,
    News = 0x43,
    Seen = 0x44,
}

impl Kind {
    /// Every kind, for tables and tests.
    pub const ALL: [Kind; 32] = [
        Kind::Open,
        Kind::Proof,
        Kind::Commit,
        Kind::Nonce,
        Kind::Reveal,
        Kind::Confirm,
        Kind::Hello,
        Kind::Offer,
        Kind::Page,
        Kind::OfferEnd,
        Kind::Verdicts,
        Kind::Go,
        Kind::Chunk,
        Kind::Piece,
        Kind::ChunkEnd,
        Kind::FileEnd,
        Kind::Pack,
        Kind::Withdraw,
        Kind::LaneEnd,
        Kind::Taken,
        Kind::Stored,
        Kind::NotStored,
        Kind::Finished,
        Kind::LaneLost,
        Kind::Ping,
        Kind::Refuse,
        Kind::Bye,
        Kind::Join,
        Kind::Welcome,
        Kind::Say,
        Kind::News,
        Kind::Seen,
    ];

    /// The largest payload that a frame of this kind may have, in bytes.
    pub fn cap(self) -> usize {
        match self {
            Kind::Open | Kind::Proof | Kind::Commit | Kind::Nonce | Kind::Reveal | Kind::Confirm | Kind::Hello => {
                OPENING_CAP
            }
            Kind::Page | Kind::Verdicts => PAGE_CAP,
            Kind::Piece => PIECE_CAP,
            Kind::Stored | Kind::Pack | Kind::Welcome => CONTROL_CAP,
            Kind::Say | Kind::News => MESSAGE_CAP + OPENING_CAP,
            Kind::Refuse | Kind::NotStored | Kind::Withdraw => 2 * OPENING_CAP,
            Kind::Offer
            | Kind::OfferEnd
            | Kind::Go
            | Kind::Chunk
            | Kind::ChunkEnd
            | Kind::FileEnd
            | Kind::LaneEnd
            | Kind::Taken
            | Kind::Finished
            | Kind::LaneLost
            | Kind::Ping
            | Kind::Bye
            | Kind::Join
            | Kind::Seen => OPENING_CAP,
        }
    }

    fn from_byte(byte: u8) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// A frame header that can't be gone on from. Always the peer's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The first byte is no kind of this version.
    #[error("unknown frame kind `{0:#04x}`")]
    UnknownKind(u8),
    /// The length is over the cap of its kind.
    #[error("`{kind:?}` frame of `{len}` bytes, at most `{cap}` are allowed")]
    OverCap {
        /// The kind.
        kind: Kind,
        /// What it claims.
        len: usize,
        /// What is allowed.
        cap: usize,
    },
}

/// A checked frame header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What follows.
    pub kind: Kind,
    /// How many bytes of it.
    pub len: usize,
}

impl Header {
    /// Checks kind and length before a byte of payload is read.
    pub fn parse(bytes: [u8; HEADER_LEN]) -> Result<Header, FrameError> {
        let [kind, a, b, c] = bytes;
        let kind = Kind::from_byte(kind).ok_or(FrameError::UnknownKind(kind))?;
        let len = u32::from_be_bytes([0, a, b, c]) as usize;
        if len > kind.cap() {
            return Err(FrameError::OverCap { kind, len, cap: kind.cap() });
        }
        Ok(Header { kind, len })
    }

    /// The bytes of this header.
    pub fn bytes(self) -> [u8; HEADER_LEN] {
        let [.., a, b, c] = (self.len as u32).to_be_bytes();
        [self.kind as u8, a, b, c]
    }
}

/// A whole frame: header and payload.
pub fn frame<M: Message>(message: &M) -> Vec<u8> {
    let mut out = vec![0; HEADER_LEN];
    message.encode(&mut out);
    let len = out.len() - HEADER_LEN;
    debug_assert!(len <= M::KIND.cap(), "{:?} of {len} bytes is over its cap", M::KIND);
    out[..HEADER_LEN].copy_from_slice(&Header { kind: M::KIND, len }.bytes());
    out
}

/// The header of a piece of `len` bytes of bulk data, which the lane writes itself. `len` is at most [`PIECE_CAP`].
pub fn header_of_piece(len: usize) -> [u8; HEADER_LEN] {
    debug_assert!(len <= PIECE_CAP);
    Header { kind: Kind::Piece, len }.bytes()
}
