//! The loop that sends on one lane.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::lane::{LaneError, LaneStream, write_message};
use super::lock;
use super::outgoing::{Active, Outgoing, Sending, Work};
use super::piped::{Part, Piped};
use super::sources::Source;
use super::squeeze::Squeezer;
use super::tree::{ChunkHasher, Hash, hash_zeros};
use super::untaken::Untaken;
use super::writer::{PIECE, Unfilled, Writer};
use crate::store::{SourceEntry, StoreError};
use crate::wire::{CHUNK_LEN, Chunk, Codec, FileEnd, HEADER_LEN, LaneEnd, Pack, Packed, Verdict};

/// Sends on one lane until nothing is left, then waits until the receiver has taken it all.
///
/// # Errors
/// When the connection is cut, the receiver misbehaves, or [`Outgoing::stop`] was called. What was on its way on this lane
/// is then kept under its number, see [`Outgoing::say_again`].
pub fn send_lane(stream: &mut impl LaneStream, outgoing: &Outgoing, lane: u16) -> Result<(), LaneError> {
    let mut untaken = Untaken::new(&outgoing.transit);
    match send_all(stream, outgoing, &mut untaken) {
        // Nothing is lost with the receiver's last word.
        Err(Stage::Ending(LaneError::Cut(_))) if untaken.is_empty() => Ok(()),
        Err(Stage::Sending(error) | Stage::Ending(error)) => {
            outgoing.lose(lane, untaken);
            Err(error)
        }
        Ok(()) => Ok(()),
    }
}

/// How far a lane got that ended early.
enum Stage {
    Sending(LaneError),
    Ending(LaneError),
}

impl From<LaneError> for Stage {
    fn from(error: LaneError) -> Self {
        Stage::Sending(error)
    }
}

fn send_all<'a>(stream: &mut impl LaneStream, outgoing: &'a Outgoing, untaken: &mut Untaken<'a>) -> Result<(), Stage> {
    let mut buffer = vec![0; HEADER_LEN + PIECE];
    let mut small = Vec::new();
    let mut squeezer = Squeezer::new(outgoing.manner.compress, &outgoing.press, &outgoing.transit);
    let mut active = Active::begin(outgoing);
    while !active.leaves() {
        let Some(work) = outgoing.next_work() else { break };
        untaken.turn_to(Some(work.clone()));
        let mut writer = {
            let (started, writing, codec) = (Instant::now(), Duration::ZERO, Codec::Raw);
            Writer { stream, outgoing, untaken, started, writing, codec }
        };
        match work {
            Work::Chunk(file, index) => send_chunk(&mut writer, &file, index, &mut squeezer, &mut buffer)?,
            Work::Pack(ids) => send_pack(&mut writer, &ids, &mut squeezer, &mut small)?,
            Work::Compare(id, verdict) => compare(&mut writer, id, &verdict, &mut buffer)?,
            Work::Piped(id) => send_piped(&mut writer, id, &mut squeezer, &mut buffer)?,
            Work::Part(id, part) => send_part(&mut writer, id, part, &mut squeezer, &mut buffer)?,
            Work::End(end) => writer.end(end)?,
            Work::Withdraw(message) => writer.withdraw(message)?,
        }
        untaken.turn_to(None);
        if outgoing.stopped.load(Ordering::Relaxed) {
            return Err(LaneError::Stopped.into());
        }
    }
    write_message(stream, &LaneEnd)?;
    stream.flush().map_err(LaneError::from)?;
    untaken.hear_end(stream).map_err(Stage::Ending)
}

fn send_chunk(
    writer: &mut Writer<'_, '_, impl LaneStream>,
    file: &Arc<Sending>,
    index: u64,
    squeezer: &mut Squeezer<'_>,
    buffer: &mut [u8],
) -> Result<(), LaneError> {
    if file.failed.load(Ordering::Relaxed) {
        return Ok(());
    }
    let offset = index * CHUNK_LEN;
    let len = CHUNK_LEN.min(file.size - offset);
    let held = file.is_held(index);
    let chunk = Chunk { id: file.id, offset, len: len as u32, codec: Codec::Raw };
    if file.source.is_hole(offset, len) {
        let value = hash_zeros(offset, len, file.size <= CHUNK_LEN);
        match held {
            true => writer.outgoing.count(len),
            false => writer.hole(Work::Chunk(Arc::clone(file), index), chunk, value)?,
        }
        return end_chunk(writer, file, index, value);
    }
    let shared = writer.outgoing.sources.taker().map(|taker| {
        taker.take((file.id, index), |task| {
            let mut content = vec![0; len as usize];
            file.source.read_at(offset, &mut content)?;
            let hash = task.hash_of(|| hash_chunk(offset, &content, file.size <= CHUNK_LEN));
            Ok((content.into(), hash))
        })
    });
    let shared = match shared.transpose() {
        Ok(shared) => shared,
        Err(error) => return writer.withdraw(file.fail(writer.outgoing, &error)),
    };
    let mut hasher = ChunkHasher::new(offset);
    let mut fill = |from: u64, bytes: &mut [u8]| {
        match &shared {
            Some((content, _)) => bytes.copy_from_slice(&content[from as usize..][..bytes.len()]),
            None => {
                file.source.read_at(offset + from, bytes)?;
                hasher.update(bytes);
            }
        }
        Ok::<_, StoreError>(())
    };
    if held {
        let mut done = 0;
        while done < len {
            let piece = PIECE.min((len - done) as usize);
            if let Err(error) = fill(done, &mut buffer[..piece]) {
                return writer.withdraw(file.fail(writer.outgoing, &error));
            }
            writer.outgoing.count(piece as u64);
            done += piece as u64;
        }
    } else if let Some(unfilled) =
        writer.content(Work::Chunk(Arc::clone(file), index), chunk, squeezer, buffer, &mut fill)?
    {
        return match unfilled {
            Unfilled::Before(error) => writer.withdraw(file.fail(writer.outgoing, &error)),
            Unfilled::Within(error) => writer.break_off(file.fail(writer.outgoing, &error)),
        };
    }
    let value = shared.map_or_else(|| hasher.finish(file.size <= CHUNK_LEN), |(_, hash)| hash);
    // What is said again was read before, and the file may have been found unchanged since.
    if !held
        && lock(&file.forest).contains(index)
        && let Err(error) = file.source.check_unchanged()
    {
        return writer.break_off(file.fail(writer.outgoing, &error));
    }
    if !held {
        writer.chunk_end(value, len, squeezer)?;
    }
    end_chunk(writer, file, index, value)
}

/// Notes what a chunk of a file was hashed as; with the last one the file ends.
fn end_chunk(
    writer: &mut Writer<'_, '_, impl LaneStream>,
    file: &Sending,
    index: u64,
    value: Hash,
) -> Result<(), LaneError> {
    let first = lock(&file.forest).insert(index, value);
    // One that is said again has been counted.
    if first && file.chunks_left.fetch_sub(1, Ordering::AcqRel) == 1 { end_file(writer, file) } else { Ok(()) }
}

/// Sends what a stream yields next.
fn send_piped(
    writer: &mut Writer<'_, '_, impl LaneStream>,
    id: u32,
    squeezer: &mut Squeezer<'_>,
    buffer: &mut [u8],
) -> Result<(), LaneError> {
    let piped = piped(writer.outgoing, id);
    match piped.next() {
        Ok(Some(part)) => {
            writer.untaken.turn_to(Some(Work::Part(id, part.clone())));
            send_part(writer, id, part, squeezer, buffer)
        }
        Ok(None) => piped.end(id).map_or(Ok(()), |end| end_piped(writer, end)),
        Err(error) => {
            piped.give_up();
            writer.withdraw(writer.outgoing.fail(id, &StoreError::unreadable(piped.name(), error)))
        }
    }
}

fn send_part(
    writer: &mut Writer<'_, '_, impl LaneStream>,
    id: u32,
    part: Part,
    squeezer: &mut Squeezer<'_>,
    buffer: &mut [u8],
) -> Result<(), LaneError> {
    let work = Work::Part(id, part.clone());
    match part {
        Part::Whole(content) => {
            let hash = *blake3::hash(&content).as_bytes();
            writer.outgoing.sent(id, hash);
            let files = vec![Packed { id, len: content.len() as u32, hash }];
            writer.begin(work, content.len() as u64)?;
            writer.message(&Pack { codec: Codec::Raw, files })?;
            let mut framed = vec![0; HEADER_LEN];
            framed.extend_from_slice(&content);
            writer.pieces(&mut framed, content.len() as u64)
        }
        Part::Chunk(index, content) => {
            let offset = index * CHUNK_LEN;
            let chunk = Chunk { id, offset, len: content.len() as u32, codec: Codec::Raw };
            let mut fill = |from: u64, bytes: &mut [u8]| {
                bytes.copy_from_slice(&content[from as usize..][..bytes.len()]);
                Ok(())
            };
            let unfilled = writer.content(work, chunk, squeezer, buffer, &mut fill)?;
            debug_assert!(unfilled.is_none(), "what is in memory can't fail to be there");
            let value = hash_chunk(offset, &content, false);
            writer.chunk_end(value, content.len() as u64, squeezer)?;
            let piped = piped(writer.outgoing, id);
            piped.note(index, value);
            piped.end(id).map_or(Ok(()), |end| end_piped(writer, end))
        }
    }
}

fn end_piped(writer: &mut Writer<'_, '_, impl LaneStream>, end: FileEnd) -> Result<(), LaneError> {
    writer.outgoing.sent(end.id, end.root);
    writer.end(end)
}

fn piped(outgoing: &Outgoing, id: u32) -> &Piped {
    match outgoing.sources.get(id) {
        Source::Piped(piped) => piped,
        _ => unreachable!("only streams are taken as such"),
    }
}

/// The value of a chunk, given as a whole.
fn hash_chunk(offset: u64, content: &[u8], whole_file: bool) -> Hash {
    let mut hasher = ChunkHasher::new(offset);
    hasher.update(content);
    hasher.finish(whole_file)
}

fn end_file(writer: &mut Writer<'_, '_, impl LaneStream>, file: &Sending) -> Result<(), LaneError> {
    if let Err(error) = file.source.check_unchanged() {
        return writer.withdraw(file.fail(writer.outgoing, &error));
    }
    let root = lock(&file.forest).root(file.size).expect("the lane that sends the last chunk comes after all others");
    writer.outgoing.sent(file.id, root);
    writer.end(FileEnd { id: file.id, size: file.size, root })
}

/// Small files are read whole before a byte is sent, so that a bad one is withdrawn and the rest still goes.
fn send_pack(
    writer: &mut Writer<'_, '_, impl LaneStream>,
    ids: &[u32],
    squeezer: &mut Squeezer<'_>,
    bytes: &mut Vec<u8>,
) -> Result<(), LaneError> {
    let mut pack = Pack { codec: Codec::Raw, files: Vec::with_capacity(ids.len()) };
    bytes.clear();
    bytes.resize(HEADER_LEN, 0);
    for &id in ids {
        match take_small(writer.outgoing, id, bytes) {
            Ok((len, hash)) => {
                writer.outgoing.sent(id, hash);
                pack.files.push(Packed { id, len, hash });
            }
            Err(error) => writer.withdraw(writer.outgoing.fail(id, &error))?,
        }
    }
    if pack.files.is_empty() {
        return Ok(());
    }
    let plain = pack.bytes();
    if squeezer.is_on() {
        pack.codec = squeezer.squeeze(&bytes[HEADER_LEN..]);
    } else {
        squeezer.glance(&bytes[HEADER_LEN..]);
    }
    writer.begin(Work::Pack(pack.files.iter().map(|file| file.id).collect()), plain)?;
    writer.message(&pack)?;
    writer.pieces(if pack.codec == Codec::Raw { bytes } else { squeezer.packed() }, plain)?;
    squeezer.sent(pack.codec, plain, writer.started.elapsed(), writer.writing);
    Ok(())
}

/// Appends the file to `bytes`, or leaves them as they were.
fn take_small(outgoing: &Outgoing, id: u32, bytes: &mut Vec<u8>) -> Result<(u32, Hash), StoreError> {
    let source = outgoing.sources.get(id);
    let Some(taker) = outgoing.sources.taker() else { return read_small(&source, bytes) };
    let (content, hash) = taker.take((id, 0), |_| {
        let mut content = Vec::new();
        let (_, hash) = read_small(&source, &mut content)?;
        Ok((content.into(), hash))
    })?;
    bytes.extend_from_slice(&content);
    Ok((content.len() as u32, hash))
}

/// Appends the file to `bytes`, or leaves them as they were.
fn read_small(source: &Source<'_>, bytes: &mut Vec<u8>) -> Result<(u32, Hash), StoreError> {
    let start = bytes.len();
    match source {
        Source::Text(text) => bytes.extend_from_slice(text.as_bytes()),
        Source::Piped(_) => unreachable!("a stream is taken part by part"),
        Source::Entry(entry) => entry.read_whole(bytes)?,
    }
    Ok((source.bytes() as u32, *blake3::hash(&bytes[start..]).as_bytes()))
}

/// Hashes a file that the receiver seems to have, and queues it in full if it differs.
fn compare(
    writer: &mut Writer<'_, '_, impl LaneStream>,
    id: u32,
    verdict: &Verdict,
    buffer: &mut [u8],
) -> Result<(), LaneError> {
    let outgoing = writer.outgoing;
    let entry = outgoing.entry(id);
    let (Verdict::Have(theirs) | Verdict::Stored(theirs)) = verdict else {
        unreachable!("only what the receiver has is compared");
    };
    let ours = match outgoing.acknowledged.holds(id, theirs) {
        true => Ok(*theirs),
        false => hash_source(&entry, buffer),
    };
    match ours {
        Ok(ours) if *theirs == ours => {
            outgoing.sent(id, ours);
            if let Verdict::Have(_) = verdict {
                outgoing.found_same(id);
            }
            outgoing.count(entry.bytes);
            writer.end(FileEnd { id, size: entry.bytes, root: ours })
        }
        Ok(_) => {
            outgoing.send_whole(id);
            Ok(())
        }
        Err(error) => writer.withdraw(outgoing.fail(id, &error)),
    }
}

fn hash_source(entry: &SourceEntry, buffer: &mut [u8]) -> Result<Hash, StoreError> {
    let source = entry.open()?;
    let mut hasher = blake3::Hasher::new();
    let mut done = 0;
    while done < entry.bytes {
        let bytes = &mut buffer[..PIECE.min((entry.bytes - done) as usize)];
        source.read_at(done, bytes)?;
        hasher.update(bytes);
        done += bytes.len() as u64;
    }
    source.check_unchanged()?;
    Ok(*hasher.finalize().as_bytes())
}
