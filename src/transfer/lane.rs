//! A lane's stream: blocking, whole frames, every length checked before a byte of payload is read.

use std::io::{self, Read, Write};

use crate::wire::{FrameError, HEADER_LEN, Header, Kind, Malformed, Message, frame};

/// What a lane reads from and writes to: TLS over a blocking socket, or a pipe in a test.
pub trait LaneStream: Read + Write {}

impl<T: Read + Write> LaneStream for T {}

/// Why a lane ended early. What it carried can be sent again on another one.
#[derive(Debug, thiserror::Error)]
pub enum LaneError {
    /// The connection broke, or nothing moved for too long.
    #[error("the connection was cut: {0}")]
    Cut(#[from] io::Error),
    /// The peer sent something that is no frame.
    #[error("the other side broke the protocol: {0}")]
    Frame(#[from] FrameError),
    /// The peer sent a frame with bad fields.
    #[error("the other side broke the protocol: {0}")]
    Malformed(#[from] Malformed),
    /// The peer sent a frame that has no place there.
    #[error("the other side broke the protocol: `{kind:?}` {place}")]
    Misplaced {
        /// What came.
        kind: Kind,
        /// Where.
        place: &'static str,
    },
    /// The peer named an entry that was not accepted, or sent it twice.
    #[error("the other side sent entry {0}, which was not asked for")]
    NotAsked(u32),
    /// The peer sent compressed bytes that are not one frame of the length that it said.
    #[error("the other side broke the protocol: what it compressed can't be taken apart")]
    NotExpandable,
    /// This side has no use for the lane any more.
    #[error("the transfer was stopped here")]
    Stopped,
}

impl LaneError {
    /// Whether the peer did what the protocol forbids: then nothing else it says is worth waiting for.
    pub fn is_misbehaviour(&self) -> bool {
        !matches!(self, LaneError::Cut(_) | LaneError::Stopped)
    }
}

/// Reads the next frame header.
pub(super) fn read_header(stream: &mut impl Read) -> Result<Header, LaneError> {
    let mut bytes = [0; HEADER_LEN];
    stream.read_exact(&mut bytes)?;
    Ok(Header::parse(bytes)?)
}

/// Reads the payload of a small message whose header was read.
pub(super) fn read_message<M: Message>(stream: &mut impl Read, header: Header) -> Result<M, LaneError> {
    debug_assert_eq!(header.kind, M::KIND);
    let mut payload = vec![0; header.len];
    stream.read_exact(&mut payload)?;
    Ok(M::decode(&payload)?)
}

/// Writes a small message.
pub(super) fn write_message<M: Message>(stream: &mut impl Write, message: &M) -> Result<(), LaneError> {
    Ok(stream.write_all(&frame(message))?)
}
