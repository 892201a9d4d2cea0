//! The loop that reads one lane.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};

use super::expand::Buffers;
use super::incoming::{Incoming, Parts, Receiving, Slot};
use super::lane::{LaneError, LaneStream, read_header, read_message, write_message};
use super::lock;
use super::outcome::NotStoredHere;
use super::receive_pack::receive_pack;
use super::tree::{ChunkHasher, ZEROS};
use crate::store::StoreError;
use crate::wire::{CHUNK_LEN, Chunk, ChunkEnd, Codec, FileEnd, Header, Kind, LaneEnd, Taken, Withdraw};

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
        if matches!(header.kind, Kind::Chunk | Kind::Pack) {
            buffers.turn();
        }
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
