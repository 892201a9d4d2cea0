//! The loop that reads one lane.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};

use super::committer::Hashed;
use super::expand::Buffers;
use super::incoming::{Incoming, Parts, Receiving, Slot};
use super::lane::{LaneError, LaneStream, read_header, read_message, write_message};
use super::lock;
use super::outcome::{NotStoredHere, Outcome};
use super::tree::{ChunkHasher, ZEROS};
use crate::store::StoreError;
use crate::wire::{CHUNK_LEN, Chunk, ChunkEnd, Codec, FileEnd, Header, Kind, LaneEnd, Pack, Packed, Taken, Withdraw};

/// Reads one lane until the sender ends it; answers the end, so that the sender may close.
///
/// # Errors
/// When the connection is cut, the sender misbehaves, or [`Incoming::stop`] was called. Chunks that were under way on
/// this lane may then come on another one.
pub fn receive_lane(stream: &mut impl LaneStream, incoming: &Incoming) -> Result<(), LaneError> {
    let mut buffers = Buffers::new();
    loop {
        if incoming.stopped.load(Ordering::Relaxed) {
            return Err(LaneError::Stopped);
        }
        let header = read_header(stream)?;
        match header.kind {
            Kind::Chunk => receive_chunk(stream, incoming, header, &mut buffers)?,
            Kind::Pack => receive_pack(stream, incoming, header, &mut buffers)?,
            Kind::FileEnd => receive_file_end(incoming, read_message(stream, header)?)?,
            Kind::Withdraw => receive_withdraw(incoming, read_message(stream, header)?)?,
            Kind::LaneEnd => {
                read_message::<LaneEnd>(stream, header)?;
                write_message(stream, &LaneEnd)?;
                return Ok(stream.flush()?);
            }
            kind => return Err(LaneError::Misplaced { kind, place: "between the chunks of a lane" }),
        }
        write_message(stream, &Taken)?;
    }
}

fn receive_chunk(
    stream: &mut impl LaneStream,
    incoming: &Incoming,
    header: Header,
    buffers: &mut Buffers,
) -> Result<(), LaneError> {
    let chunk: Chunk = read_message(stream, header)?;
    let Some(receiving) = incoming.receiving(chunk.id)? else {
        return drain(stream, incoming, &chunk, &mut buffers.wire);
    };
    let index = chunk.offset / CHUNK_LEN;
    let is_of_unknown = receiving.size.is_none() && chunk.codec == Codec::Zeros;
    let fits = !is_of_unknown
        && receiving
            .size
            .is_none_or(|size| chunk.offset < size && u64::from(chunk.len) == CHUNK_LEN.min(size - chunk.offset));
    if !fits {
        return Err(LaneError::NotAsked(chunk.id));
    }
    let mut parts = lock(&receiving.parts);
    if parts.forest.contains(index) && incoming.is_forbearing() {
        drop(parts);
        return drain(stream, incoming, &chunk, &mut buffers.wire);
    }
    if parts.forest.contains(index) || !parts.claimed.insert(index) {
        return Err(LaneError::NotAsked(chunk.id));
    }
    drop(parts);
    let mut counted = 0;
    let received = receive_content(stream, incoming, &receiving, &chunk, buffers, &mut counted);
    if received.is_err() {
        incoming.uncount(counted);
    }
    let verified = match &received {
        Ok(Some((theirs, hasher))) => receiving.matches(&chunk, hasher, theirs.subtree).then_some(theirs.subtree),
        Ok(None) | Err(_) => None,
    };
    if let Some(value) = verified {
        receiving.note_chunk(index, value);
    }
    let mut parts = lock(&receiving.parts);
    parts.claimed.remove(&index);
    if received?.is_none() {
        return Ok(());
    }
    let Some(value) = verified else {
        drop(parts);
        let message = format!("chunk {index} does not match its hash");
        incoming.give_up(&receiving, NotStoredHere::by_sender(receiving.id, message));
        return Ok(());
    };
    parts.forest.insert(index, value);
    complete(incoming, &receiving, parts)?;
    incoming.look(&receiving);
    Ok(())
}

/// How content gets to its place in a file.
type Write = fn(&Receiving, u64, &[u8]) -> Result<(), StoreError>;

/// The content of a chunk, hashed and written; `None` if the sender withdrew the file in the middle.
fn receive_content(
    stream: &mut impl LaneStream,
    incoming: &Incoming,
    receiving: &Receiving,
    chunk: &Chunk,
    buffers: &mut Buffers,
    counted: &mut u64,
) -> Result<Option<(ChunkEnd, ChunkHasher)>, LaneError> {
    let mut hasher = ChunkHasher::new(chunk.offset);
    let len = chunk.len as usize;
    let mut keep = |done: usize, bytes: &[u8], write: Write| {
        hasher.update(bytes);
        *counted += bytes.len() as u64;
        if !incoming.count(bytes.len()) {
            incoming.give_up(receiving, NotStoredHere::too_much(receiving.id));
        } else if let Err(error) = write(receiving, chunk.offset + done as u64, bytes) {
            incoming.give_up(receiving, NotStoredHere::by_disk(receiving.id, &error));
        }
    };
    match chunk.codec {
        Codec::Zeros => {
            for done in (0..len).step_by(ZEROS.len()) {
                keep(done, &ZEROS[..ZEROS.len().min(len - done)], Receiving::clear_at);
            }
        }
        Codec::Raw => {
            let mut done = 0;
            while done < len {
                let Some(piece) = next_piece(stream, incoming, chunk.id, len - done)? else { return Ok(None) };
                let bytes = &mut buffers.wire[..piece];
                stream.read_exact(bytes)?;
                keep(done, bytes, Receiving::write_at);
                done += piece;
            }
        }
        Codec::Zstd { packed } => {
            let mut left = buffers.packed(packed as usize);
            while !left.is_empty() {
                let Some(piece) = next_piece(stream, incoming, chunk.id, left.len())? else { return Ok(None) };
                let (bytes, rest) = left.split_at_mut(piece);
                stream.read_exact(bytes)?;
                left = rest;
            }
            keep(0, buffers.expand(packed as usize, len)?, Receiving::write_at);
        }
    }
    Ok(chunk_end(stream, incoming, chunk.id)?.map(|end| (end, hasher)))
}

/// Reads a chunk of a file that failed here, and forgets it.
fn drain(stream: &mut impl LaneStream, incoming: &Incoming, chunk: &Chunk, buffer: &mut [u8]) -> Result<(), LaneError> {
    let mut left = chunk.codec.wire_len(u64::from(chunk.len)) as usize;
    while left > 0 {
        let Some(len) = next_piece(stream, incoming, chunk.id, left)? else { return Ok(()) };
        stream.read_exact(&mut buffer[..len])?;
        left -= len;
    }
    chunk_end(stream, incoming, chunk.id).map(drop)
}

/// The length of the next piece of a chunk of which `left` bytes are due; `None` if the sender withdrew it instead.
fn next_piece(
    stream: &mut impl LaneStream,
    incoming: &Incoming,
    id: u32,
    left: usize,
) -> Result<Option<usize>, LaneError> {
    let header = read_header(stream)?;
    match header.kind {
        Kind::Piece if (1..=left).contains(&header.len) => Ok(Some(header.len)),
        Kind::Withdraw => receive_withdraw_of(incoming, id, read_message(stream, header)?).map(|()| None),
        kind => Err(LaneError::Misplaced { kind, place: "within a chunk" }),
    }
}

/// What follows the last piece of a chunk; `None` if the sender withdrew the file instead.
fn chunk_end(stream: &mut impl LaneStream, incoming: &Incoming, id: u32) -> Result<Option<ChunkEnd>, LaneError> {
    let header = read_header(stream)?;
    match header.kind {
        Kind::ChunkEnd => read_message(stream, header).map(Some),
        Kind::Withdraw => receive_withdraw_of(incoming, id, read_message(stream, header)?).map(|()| None),
        kind => Err(LaneError::Misplaced { kind, place: "at the end of a chunk" }),
    }
}

fn receive_file_end(incoming: &Incoming, end: FileEnd) -> Result<(), LaneError> {
    if let Some(outcome) = incoming.take_same(&end) {
        incoming.intake.discard(end.id);
        incoming.tell_outcome(outcome);
        return Ok(());
    }
    let Some(receiving) = incoming.receiving(end.id)? else { return Ok(()) };
    if receiving.size.is_some_and(|size| size != end.size) {
        return Err(LaneError::NotAsked(end.id));
    }
    let mut parts = lock(&receiving.parts);
    if parts.end.replace(end).is_some() && !incoming.is_forbearing() {
        return Err(LaneError::NotAsked(receiving.id));
    }
    complete(incoming, &receiving, parts)
}

/// Hands a file on once every chunk and its end are there.
fn complete(incoming: &Incoming, receiving: &Receiving, parts: MutexGuard<'_, Parts>) -> Result<(), LaneError> {
    let Some((end, root)) = parts.end.as_ref().and_then(|end| Some((end, parts.forest.root(end.size)?))) else {
        return Ok(());
    };
    let (size, matches) = (end.size, end.root == root);
    drop(parts);
    if !matches {
        let outcome = NotStoredHere::by_sender(receiving.id, "the whole file does not match its hash");
        incoming.give_up(receiving, outcome);
        return Ok(());
    }
    let Some(file) = receiving.take_file() else { return Ok(()) };
    lock(&incoming.files).remove(receiving.id);
    let mut gathered = Vec::new();
    incoming.complete(file, size, root, &mut gathered)?;
    incoming.commit(&mut gathered)
}

/// A withdrawal within a chunk, which must be of the file that the chunk belongs to.
fn receive_withdraw_of(incoming: &Incoming, id: u32, withdraw: Withdraw) -> Result<(), LaneError> {
    if withdraw.id == id { receive_withdraw(incoming, withdraw) } else { Err(LaneError::NotAsked(withdraw.id)) }
}

fn receive_withdraw(incoming: &Incoming, withdraw: Withdraw) -> Result<(), LaneError> {
    let outcome = NotStoredHere::by_sender(withdraw.id, withdraw.reason);
    let mut files = lock(&incoming.files);
    let slot = match files.get_mut(outcome.id) {
        Some(slot) => slot,
        None if incoming.is_forbearing() => return Ok(()),
        None => return Err(LaneError::NotAsked(outcome.id)),
    };
    match slot {
        Slot::Drained => {}
        Slot::UnderWay(receiving) => {
            let receiving = Arc::clone(receiving);
            drop(files);
            incoming.give_up(&receiving, outcome);
        }
        Slot::Awaited | Slot::Held(_) | Slot::Text(_) => {
            *slot = Slot::Drained;
            incoming.fail(outcome);
        }
    }
    Ok(())
}

fn receive_pack(
    stream: &mut impl LaneStream,
    incoming: &Incoming,
    header: Header,
    buffers: &mut Buffers,
) -> Result<(), LaneError> {
    let pack: Pack = read_message(stream, header)?;
    let len = pack.bytes() as usize;
    let (mut pieces, buffer) = match pack.codec {
        Codec::Raw => (Pieces { left: len, in_piece: 0, expanded: &[] }, buffers.wire.as_mut_slice()),
        Codec::Zeros => return Err(LaneError::NotExpandable),
        Codec::Zstd { packed } => {
            let mut pieces = Pieces { left: packed as usize, in_piece: 0, expanded: &[] };
            let mut left = buffers.packed(packed as usize);
            while !left.is_empty() {
                let read = pieces.next(stream, left.len(), left)?.len();
                left = &mut left[read..];
            }
            (Pieces { left: 0, in_piece: 0, expanded: buffers.expand(packed as usize, len)? }, [].as_mut_slice())
        }
    };
    let mut gathered = Vec::new();
    let received = receive_files(stream, incoming, &pack, &mut pieces, buffer, &mut gathered);
    // also of a pack that is cut
    incoming.commit(&mut gathered)?;
    received
}

fn receive_files(
    stream: &mut impl LaneStream,
    incoming: &Incoming,
    pack: &Pack,
    pieces: &mut Pieces<'_>,
    buffer: &mut [u8],
    gathered: &mut Vec<Hashed>,
) -> Result<(), LaneError> {
    for packed in &pack.files {
        let slot = match incoming.take_awaited(packed.id, u64::from(packed.len)) {
            Ok(slot) => slot,
            Err(_) if incoming.is_forbearing() => {
                pieces.skip(stream, packed.len as usize, buffer)?;
                continue;
            }
            Err(error) => return Err(error),
        };
        let received = match slot {
            Slot::Text(_) => receive_text(stream, incoming, packed, pieces, buffer),
            _ => receive_packed(stream, incoming, packed, pieces, buffer, gathered),
        };
        if let Err(error) = received {
            incoming.put_back(packed.id, slot);
            return Err(error);
        }
    }
    Ok(())
}

fn receive_packed(
    stream: &mut impl LaneStream,
    incoming: &Incoming,
    packed: &Packed,
    pieces: &mut Pieces<'_>,
    buffer: &mut [u8],
    gathered: &mut Vec<Hashed>,
) -> Result<(), LaneError> {
    let file = incoming.intake.open_partial(packed.id);
    let mut disk = file.as_ref().map(drop).map_err(|error| NotStoredHere::by_disk(packed.id, error));
    let mut hasher = blake3::Hasher::new();
    let mut offset = 0;
    while offset < u64::from(packed.len) {
        let bytes = pieces.next(stream, packed.len as usize - offset as usize, buffer);
        let bytes = bytes.inspect_err(|_| incoming.uncount(offset))?;
        hasher.update(bytes);
        if !incoming.count(bytes.len()) {
            disk = Err(NotStoredHere::too_much(packed.id));
        }
        if let (Ok(()), Ok(file)) = (&disk, &file) {
            disk = file.write_at(offset, bytes).map_err(|error| NotStoredHere::by_disk(packed.id, &error));
        }
        offset += bytes.len() as u64;
    }
    let hash = *hasher.finalize().as_bytes();
    if disk.is_ok() && hash != packed.hash {
        disk = Err(NotStoredHere::by_sender(packed.id, "the file does not match its hash"));
    }
    match (disk, file) {
        (Ok(()), Ok(file)) => incoming.complete(file, u64::from(packed.len), hash, gathered),
        (Err(outcome), file) => {
            drop(file);
            incoming.fail(outcome);
            Ok(())
        }
        (Ok(()), Err(_)) => unreachable!("a file that could not be opened has an outcome"),
    }
}

/// A text is as long as was declared before it was accepted, and so fits into memory.
fn receive_text(
    stream: &mut impl LaneStream,
    incoming: &Incoming,
    packed: &Packed,
    pieces: &mut Pieces<'_>,
    buffer: &mut [u8],
) -> Result<(), LaneError> {
    let mut bytes = Vec::new();
    while bytes.len() < packed.len as usize {
        let piece = pieces.next(stream, packed.len as usize - bytes.len(), buffer);
        let piece = piece.inspect_err(|_| incoming.uncount(bytes.len() as u64))?;
        incoming.count(piece.len());
        bytes.extend_from_slice(piece);
    }
    let hash = *blake3::hash(&bytes).as_bytes();
    let outcome = match String::from_utf8(bytes) {
        Ok(text) if hash == packed.hash => Outcome::Text { id: packed.id, text, hash },
        Ok(_) => Outcome::NotStored(NotStoredHere::by_sender(packed.id, "the text does not match its hash")),
        Err(_) => Outcome::NotStored(NotStoredHere::by_sender(packed.id, "the text is no UTF-8")),
    };
    incoming.tell_outcome(outcome);
    Ok(())
}

/// The bytes of a pack, which pieces and files cut in different places.
struct Pieces<'a> {
    /// On the wire, of the whole pack.
    left: usize,
    /// Of the piece that was begun.
    in_piece: usize,
    /// What was taken apart already.
    expanded: &'a [u8],
}

impl<'a> Pieces<'a> {
    /// Passes over the next `len` bytes.
    fn skip(&mut self, stream: &mut impl LaneStream, mut len: usize, buffer: &mut [u8]) -> Result<(), LaneError> {
        while len > 0 {
            len -= self.next(stream, len, buffer)?.len();
        }
        Ok(())
    }

    /// Some of the next bytes, at most `most`.
    fn next<'b>(
        &mut self,
        stream: &mut impl LaneStream,
        most: usize,
        buffer: &'b mut [u8],
    ) -> Result<&'b [u8], LaneError>
    where
        'a: 'b,
    {
        if !self.expanded.is_empty() {
            let (bytes, rest) = self.expanded.split_at(most.min(self.expanded.len()));
            self.expanded = rest;
            return Ok(bytes);
        }
        if self.in_piece == 0 {
            let header = read_header(stream)?;
            if header.kind != Kind::Piece || !(1..=self.left).contains(&header.len) {
                return Err(LaneError::Misplaced { kind: header.kind, place: "within a pack" });
            }
            self.in_piece = header.len;
        }
        let bytes = &mut buffer[..most.min(self.in_piece)];
        stream.read_exact(bytes)?;
        self.in_piece -= bytes.len();
        self.left -= bytes.len();
        Ok(bytes)
    }
}
