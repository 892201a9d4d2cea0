//! What passes over a lane from here to there: frames, and content in pieces.

use std::time::{Duration, Instant};

use super::lane::{LaneError, LaneStream, write_message};
use super::outgoing::{Outgoing, Work};
use super::squeeze::Squeezer;
use super::tree::Hash;
use super::untaken::Untaken;
use crate::store::StoreError;
use crate::wire::{Chunk, ChunkEnd, Codec, FileEnd, HEADER_LEN, Message, PIECE_CAP, Withdraw, header_of_piece};

/// What is read, hashed and sent in one go: it stays in the cache of its core from the first to the last of these, which a
/// longer piece does not. No longer than a frame may be.
pub(super) const PIECE: usize = 64 * 1024;
const _: () = assert!(PIECE <= PIECE_CAP);

/// Content that could not be read, before anything of it was said or after.
pub(super) enum Unfilled {
    Before(StoreError),
    Within(StoreError),
}

/// A lane's stream while something passes.
pub(super) struct Writer<'a, 'b, S> {
    pub(super) stream: &'a mut S,
    pub(super) outgoing: &'a Outgoing,
    pub(super) untaken: &'a mut Untaken<'b>,
    /// When the lane turned to it.
    pub(super) started: Instant,
    /// How long writing took, and waiting until there was room.
    pub(super) writing: Duration,
    /// How its content is coded.
    pub(super) codec: Codec,
}

impl<S: LaneStream> Writer<'_, '_, S> {
    /// Begins to say something that holds so many `bytes` of content.
    pub(super) fn begin(&mut self, work: Work, bytes: u64) -> Result<(), LaneError> {
        let started = Instant::now();
        self.untaken.begin(self.stream, work, bytes)?;
        self.writing += started.elapsed();
        Ok(())
    }

    pub(super) fn message<M: Message>(&mut self, message: &M) -> Result<(), LaneError> {
        let started = Instant::now();
        write_message(self.stream, message)?;
        self.writing += started.elapsed();
        Ok(())
    }

    /// Says a chunk up to its last piece, compressed if that pays; `fill` gives its content from an offset on. What comes
    /// back is why that failed, if it did.
    pub(super) fn content(
        &mut self,
        work: Work,
        chunk: Chunk,
        squeezer: &mut Squeezer<'_>,
        buffer: &mut [u8],
        fill: &mut impl FnMut(u64, &mut [u8]) -> Result<(), StoreError>,
    ) -> Result<Option<Unfilled>, LaneError> {
        let len = u64::from(chunk.len);
        if squeezer.is_on() {
            return self.gathered(work, chunk, squeezer, fill);
        }
        self.begin(work, len)?;
        self.message(&chunk)?;
        let mut done = 0;
        while done < len {
            let piece = PIECE.min((len - done) as usize);
            let framed = &mut buffer[..HEADER_LEN + piece];
            if let Err(error) = fill(done, &mut framed[HEADER_LEN..]) {
                return Ok(Some(Unfilled::Within(error)));
            }
            squeezer.glance(&framed[HEADER_LEN..]);
            self.pieces(framed, piece as u64)?;
            done += piece as u64;
        }
        Ok(None)
    }

    /// The same for one that is looked at as a whole, to be compressed if it becomes shorter.
    fn gathered(
        &mut self,
        work: Work,
        mut chunk: Chunk,
        squeezer: &mut Squeezer<'_>,
        fill: &mut impl FnMut(u64, &mut [u8]) -> Result<(), StoreError>,
    ) -> Result<Option<Unfilled>, LaneError> {
        let outgoing = self.outgoing;
        let mut plain = outgoing.press.plain.lend();
        plain.resize(HEADER_LEN + chunk.len as usize, 0);
        if let Err(error) = fill(0, &mut plain[HEADER_LEN..]) {
            return Ok(Some(Unfilled::Before(error)));
        }
        chunk.codec = squeezer.squeeze(&plain[HEADER_LEN..]);
        self.codec = chunk.codec;
        // If it is sent in another form, others may gather in it while this lane waits for the link.
        let mut plain = (chunk.codec == Codec::Raw).then_some(plain);
        self.begin(work, u64::from(chunk.len))?;
        self.message(&chunk)?;
        let bytes = plain.as_mut().map_or_else(|| squeezer.packed(), |plain| plain.as_mut_slice());
        self.pieces(bytes, u64::from(chunk.len))?;
        Ok(None)
    }

    /// Says a whole chunk that is nothing but zeros, hashed as `value`.
    pub(super) fn hole(&mut self, work: Work, chunk: Chunk, value: Hash) -> Result<(), LaneError> {
        let len = u64::from(chunk.len);
        self.begin(work, len)?;
        self.message(&Chunk { codec: Codec::Zeros, ..chunk })?;
        self.message(&ChunkEnd { subtree: value })?;
        self.outgoing.count(len);
        self.untaken.count(len);
        Ok(())
    }

    /// Ends a chunk of `len` bytes, and learns from how long it took.
    pub(super) fn chunk_end(&mut self, value: Hash, len: u64, squeezer: &mut Squeezer<'_>) -> Result<(), LaneError> {
        self.message(&ChunkEnd { subtree: value })?;
        squeezer.sent(self.codec, len, self.started.elapsed(), self.writing);
        Ok(())
    }

    pub(super) fn end(&mut self, end: FileEnd) -> Result<(), LaneError> {
        self.begin(Work::End(end.clone()), 0)?;
        self.message(&end)
    }

    pub(super) fn withdraw(&mut self, withdraw: Withdraw) -> Result<(), LaneError> {
        self.begin(Work::Withdraw(withdraw.clone()), 0)?;
        self.message(&withdraw)
    }

    /// Withdraws a file in the middle of the chunk that was begun.
    pub(super) fn break_off(&mut self, withdraw: Withdraw) -> Result<(), LaneError> {
        self.untaken.turn_into(Work::Withdraw(withdraw.clone()));
        self.message(&withdraw)
    }

    /// Sends what is behind the room for a frame header in pieces; it stands for `plain` bytes of content. The header of
    /// each but the first goes where the end of the one before was.
    pub(super) fn pieces(&mut self, bytes: &mut [u8], plain: u64) -> Result<(), LaneError> {
        let started = Instant::now();
        let len = bytes.len() - HEADER_LEN;
        let counted = |done: usize| (done as u64 * plain).checked_div(len as u64).unwrap_or(0);
        let brake = self.outgoing.manner.brake.as_deref();
        let most = brake.map_or(PIECE, |brake| PIECE.min(brake.step()));
        let mut done = 0;
        while done < len {
            let piece = most.min(len - done);
            let framed = &mut bytes[done..done + HEADER_LEN + piece];
            framed[..HEADER_LEN].copy_from_slice(&header_of_piece(piece));
            if let Some(brake) = brake {
                brake.pass(framed.len());
            }
            self.stream.write_all(framed)?;
            let more = counted(done + piece) - counted(done);
            self.outgoing.count(more);
            self.untaken.count(more);
            done += piece;
        }
        self.writing += started.elapsed();
        Ok(())
    }
}
