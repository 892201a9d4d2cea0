//! Content on its way out: read by a thread of its own, handed over piece by piece, never further ahead than a few
//! pieces.

use std::io::{self, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use tokio::sync::mpsc;

use super::answer::Body;
use super::seal::{RECORD_BYTES, Sealer, TAG_BYTES};
use crate::transfer::Brake;

/// Pieces between the thread that reads and the connection.
const AHEAD: usize = 4;

/// Bytes handed over at once, at most.
pub(super) const PIECE_BYTES: usize = 256 * 1024;

/// A body made by a thread.
struct Outflow {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    /// Bytes still to come, if that is known.
    left: Option<u64>,
}

/// A body of `bytes`, if that is known, that `write` makes on a thread of its own. What `write` fails with ends the
/// connection, so that nobody takes a part for the whole.
pub(super) fn body(
    bytes: Option<u64>,
    brake: Option<Arc<Brake>>,
    write: impl FnOnce(&mut Pieces) -> io::Result<()> + Send + 'static,
) -> io::Result<Body> {
    let (sender, pieces) = mpsc::channel(AHEAD);
    // Not of tokio's pool, which many slow takers would use up.
    std::thread::Builder::new().spawn(move || {
        let mut pieces = Pieces { sender, brake };
        if let Err(error) = write(&mut pieces) {
            // The taker may have gone, which is then the error.
            let _ = pieces.sender.blocking_send(Err(error));
        }
    })?;
    Ok(Outflow { pieces, left: bytes }.boxed_unsync())
}

/// Where a thread puts what it has read.
pub(super) struct Pieces {
    sender: mpsc::Sender<io::Result<Bytes>>,
    brake: Option<Arc<Brake>>,
}

impl Pieces {
    /// Waits until there is room.
    ///
    /// # Errors
    /// The taker has gone.
    pub(super) fn push(&mut self, piece: Vec<u8>) -> io::Result<()> {
        let mut piece = Bytes::from(piece);
        while !piece.is_empty() {
            let mut part = piece.len();
            if let Some(brake) = &self.brake {
                part = part.min(brake.step());
                brake.pass(part);
            }
            let pushed = self.sender.blocking_send(Ok(piece.split_to(part)));
            pushed.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        }
        Ok(())
    }
}

impl hyper::body::Body for Outflow {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let piece = std::task::ready!(self.pieces.poll_recv(cx));
        if let (Some(left), Some(Ok(piece))) = (&mut self.left, &piece) {
            *left = left.saturating_sub(piece.len() as u64);
        }
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// Content in the clear, gathered into pieces.
pub(super) struct Clear<'a> {
    pieces: &'a mut Pieces,
    piece: Vec<u8>,
}

impl<'a> Clear<'a> {
    pub(super) fn new(pieces: &'a mut Pieces) -> Self {
        Clear { pieces, piece: Vec::new() }
    }

    /// Hands over what is left.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.flush()
    }
}

impl Write for Clear<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(PIECE_BYTES - self.piece.len());
        self.piece.extend_from_slice(&bytes[..count]);
        if self.piece.len() == PIECE_BYTES {
            self.flush()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        match std::mem::take(&mut self.piece) {
            piece if piece.is_empty() => Ok(()),
            piece => self.pieces.push(piece),
        }
    }
}

/// Content sealed for a page. The last record says that it is, so each waits until the next has begun.
pub(super) struct Sealed<'a> {
    pieces: &'a mut Pieces,
    sealer: Sealer,
    record: Vec<u8>,
}

impl<'a> Sealed<'a> {
    pub(super) fn new(pieces: &'a mut Pieces, sealer: Sealer) -> Self {
        Sealed { pieces, sealer, record: Vec::new() }
    }

    /// Seals the last record.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.hand_over(true)
    }

    fn hand_over(&mut self, last: bool) -> io::Result<()> {
        let mut record = std::mem::replace(&mut self.record, Vec::with_capacity(RECORD_BYTES + TAG_BYTES));
        self.sealer.seal(&mut record, 0, last);
        self.pieces.push(record)
    }
}

impl Write for Sealed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.record.len() == RECORD_BYTES && !bytes.is_empty() {
            self.hand_over(false)?;
        }
        let count = bytes.len().min(RECORD_BYTES - self.record.len());
        self.record.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
