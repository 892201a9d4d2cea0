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
use super::tree::{ChunkHasher, Hash};
use super::untaken::Untaken;
use crate::store::{SourceEntry, StoreError};
use crate::wire::{
    CHUNK_LEN, Chunk, ChunkEnd, Codec, FileEnd, HEADER_LEN, LaneEnd, Message, PIECE_CAP, Pack, Packed, Verdict,
    Withdraw, header_of_piece,
};

/// What is read, hashed and sent in one go: it stays in the cache of its core from the first to the last of these, which a
/// longer piece does not. No longer than a frame may be.
const PIECE: usize = 64 * 1024;
const _: () = assert!(PIECE <= PIECE_CAP);

/// Sends on one lane until nothing is left, then waits until the receiver has taken it all.
///
/// # Errors
/// When the connection is cut, the receiver misbehaves, or [`Outgoing::stop`] was called. What was on its way on this lane
/// is then kept under its number, see [`Outgoing::say_again`].
pub fn send_lane(stream: &mut impl LaneStream, outgoing: &Outgoing, lane: u16) -> Result<(), LaneError> {
    let mut untaken = Untaken::new(&outgoing.untaken);
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
    let mut squeezer = Squeezer::new(outgoing.manner.compress, &outgoing.pace);
    let mut active = Active::begin(outgoing);
    while !active.leaves() {
        let Some(work) = outgoing.next_work() else { break };
        untaken.turn_to(Some(work.clone()));
        let mut wire = {
            let (started, writing, codec) = (Instant::now(), Duration::ZERO, Codec::Raw);
            Wire { stream, outgoing, untaken, started, writing, codec }
        };
        match work {
            Work::Chunk(file, index) => send_chunk(&mut wire, &file, index, &mut squeezer, &mut buffer)?,
            Work::Pack(ids) => send_pack(&mut wire, &ids, &mut squeezer)?,
            Work::Compare(id, verdict) => compare(&mut wire, id, &verdict, &mut buffer)?,
            Work::Piped(id) => send_piped(&mut wire, id, &mut squeezer, &mut buffer)?,
            Work::Part(id, part) => send_part(&mut wire, id, part, &mut squeezer, &mut buffer)?,
            Work::End(end) => wire.end(end)?,
            Work::Withdraw(message) => wire.withdraw(message)?,
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
    wire: &mut Wire<'_, '_, impl LaneStream>,
    file: &Arc<Sending>,
    index: u64,
    squeezer: &mut Squeezer<'_>,
    buffer: &mut Vec<u8>,
) -> Result<(), LaneError> {
    if file.failed.load(Ordering::Relaxed) {
        return Ok(());
    }
    let offset = index * CHUNK_LEN;
    let len = CHUNK_LEN.min(file.size - offset);
    let held = file.is_held(index);
    let shared = wire.outgoing.sources.taker().map(|taker| {
        taker.take((file.id, index), |task| {
            let mut content = vec![0; len as usize];
            file.source.read_at(offset, &mut content)?;
            let hash = task.hash_of(|| hash_chunk(offset, &content, file.size <= CHUNK_LEN));
            Ok((content.into(), hash))
        })
    });
    let shared = match shared.transpose() {
        Ok(shared) => shared,
        Err(error) => return wire.withdraw(file.fail(wire.outgoing, &error)),
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
    let chunk = Chunk { id: file.id, offset, len: len as u32, codec: Codec::Raw };
    if held {
        let mut done = 0;
        while done < len {
            let piece = PIECE.min((len - done) as usize);
            if let Err(error) = fill(done, &mut buffer[..piece]) {
                return wire.withdraw(file.fail(wire.outgoing, &error));
            }
            wire.outgoing.count(piece as u64);
            done += piece as u64;
        }
    } else if let Some(unfilled) =
        wire.content(Work::Chunk(Arc::clone(file), index), chunk, squeezer, buffer, &mut fill)?
    {
        return match unfilled {
            Unfilled::Before(error) => wire.withdraw(file.fail(wire.outgoing, &error)),
            Unfilled::Within(error) => wire.break_off(file.fail(wire.outgoing, &error)),
        };
    }
    let value = shared.map_or_else(|| hasher.finish(file.size <= CHUNK_LEN), |(_, hash)| hash);
    if !held {
        wire.chunk_end(value, len, squeezer)?;
    }
    let first = lock(&file.forest).insert(index, value);
    // One that is said again has been counted.
    if first && file.chunks_left.fetch_sub(1, Ordering::AcqRel) == 1 { end_file(wire, file) } else { Ok(()) }
}

/// Sends what a stream yields next.
fn send_piped(
    wire: &mut Wire<'_, '_, impl LaneStream>,
    id: u32,
    squeezer: &mut Squeezer<'_>,
    buffer: &mut Vec<u8>,
) -> Result<(), LaneError> {
    let piped = piped(wire.outgoing, id);
    match piped.next() {
        Ok(Some(part)) => {
            wire.untaken.turn_to(Some(Work::Part(id, part.clone())));
            send_part(wire, id, part, squeezer, buffer)
        }
        Ok(None) => piped.end(id).map_or(Ok(()), |end| end_piped(wire, end)),
        Err(error) => {
            piped.give_up();
            wire.withdraw(wire.outgoing.fail(id, &StoreError::unreadable(piped.name(), error)))
        }
    }
}

fn send_part(
    wire: &mut Wire<'_, '_, impl LaneStream>,
    id: u32,
    part: Part,
    squeezer: &mut Squeezer<'_>,
    buffer: &mut Vec<u8>,
) -> Result<(), LaneError> {
    let work = Work::Part(id, part.clone());
    match part {
        Part::Whole(content) => {
            let hash = *blake3::hash(&content).as_bytes();
            wire.outgoing.sent(id, hash);
            let files = vec![Packed { id, len: content.len() as u32, hash }];
            wire.begin(work, content.len() as u64)?;
            wire.message(&Pack { codec: Codec::Raw, files })?;
            let mut framed = vec![0; HEADER_LEN];
            framed.extend_from_slice(&content);
            wire.pieces(&mut framed, content.len() as u64)
        }
        Part::Chunk(index, content) => {
            let offset = index * CHUNK_LEN;
            let chunk = Chunk { id, offset, len: content.len() as u32, codec: Codec::Raw };
            let mut fill = |from: u64, bytes: &mut [u8]| {
                bytes.copy_from_slice(&content[from as usize..][..bytes.len()]);
                Ok(())
            };
            let unfilled = wire.content(work, chunk, squeezer, buffer, &mut fill)?;
            debug_assert!(unfilled.is_none(), "what is in memory can't fail to be there");
            let value = hash_chunk(offset, &content, false);
            wire.chunk_end(value, content.len() as u64, squeezer)?;
            let piped = piped(wire.outgoing, id);
            piped.note(index, value);
            piped.end(id).map_or(Ok(()), |end| end_piped(wire, end))
        }
    }
}

fn end_piped(wire: &mut Wire<'_, '_, impl LaneStream>, end: FileEnd) -> Result<(), LaneError> {
    wire.outgoing.sent(end.id, end.root);
    wire.end(end)
}

fn piped(outgoing: &Outgoing, id: u32) -> &Piped {
    match outgoing.sources.get(id) {
        Source::Piped(piped) => piped,
        _ => unreachable!("only streams are taken as such"),
    }
}

/// Content that could not be read, before anything of it was said or after.
enum Unfilled {
    Before(StoreError),
    Within(StoreError),
}

/// The value of a chunk, given as a whole.
fn hash_chunk(offset: u64, content: &[u8], whole_file: bool) -> Hash {
    let mut hasher = ChunkHasher::new(offset);
    hasher.update(content);
    hasher.finish(whole_file)
}

/// A lane's stream while something passes.
struct Wire<'a, 'b, S> {
    stream: &'a mut S,
    outgoing: &'a Outgoing,
    untaken: &'a mut Untaken<'b>,
    /// When the lane turned to it.
    started: Instant,
    /// How long writing took, and waiting until there was room.
    writing: Duration,
    /// How its content is coded.
    codec: Codec,
}

impl<S: LaneStream> Wire<'_, '_, S> {
    /// Begins to say something that holds so many `bytes` of content.
    fn begin(&mut self, work: Work, bytes: u64) -> Result<(), LaneError> {
        let started = Instant::now();
        self.untaken.begin(self.stream, work, bytes)?;
        self.writing += started.elapsed();
        Ok(())
    }

    fn message<M: Message>(&mut self, message: &M) -> Result<(), LaneError> {
        let started = Instant::now();
        write_message(self.stream, message)?;
        self.writing += started.elapsed();
        Ok(())
    }

    /// Says a chunk up to its last piece, compressed if that pays; `fill` gives its content from an offset on. What comes
    /// back is why that failed, if it did.
    fn content(
        &mut self,
        work: Work,
        mut chunk: Chunk,
        squeezer: &mut Squeezer<'_>,
        buffer: &mut Vec<u8>,
        fill: &mut impl FnMut(u64, &mut [u8]) -> Result<(), StoreError>,
    ) -> Result<Option<Unfilled>, LaneError> {
        let len = u64::from(chunk.len);
        if squeezer.is_on() {
            buffer.resize(HEADER_LEN + CHUNK_LEN as usize, 0);
            let whole = &mut buffer[..HEADER_LEN + len as usize];
            if let Err(error) = fill(0, &mut whole[HEADER_LEN..]) {
                return Ok(Some(Unfilled::Before(error)));
            }
            let (codec, bytes) = squeezer.squeeze(whole);
            chunk.codec = codec;
            self.codec = codec;
            self.begin(work, len)?;
            self.message(&chunk)?;
            self.pieces(bytes, len)?;
            return Ok(None);
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

    /// Ends a chunk of `len` bytes, and learns from how long it took.
    fn chunk_end(&mut self, value: Hash, len: u64, squeezer: &mut Squeezer<'_>) -> Result<(), LaneError> {
        self.message(&ChunkEnd { subtree: value })?;
        squeezer.sent(self.codec, len, self.started.elapsed(), self.writing);
        Ok(())
    }

    fn end(&mut self, end: FileEnd) -> Result<(), LaneError> {
        self.begin(Work::End(end.clone()), 0)?;
        self.message(&end)
    }

    fn withdraw(&mut self, withdraw: Withdraw) -> Result<(), LaneError> {
        self.begin(Work::Withdraw(withdraw.clone()), 0)?;
        self.message(&withdraw)
    }

    /// Withdraws a file in the middle of the chunk that was begun.
    fn break_off(&mut self, withdraw: Withdraw) -> Result<(), LaneError> {
        self.untaken.turn_into(Work::Withdraw(withdraw.clone()));
        self.message(&withdraw)
    }

    /// Sends what is behind the room for a frame header in pieces; it stands for `plain` bytes of content. The header of
    /// each but the first goes where the end of the one before was.
    fn pieces(&mut self, bytes: &mut [u8], plain: u64) -> Result<(), LaneError> {
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

fn end_file(wire: &mut Wire<'_, '_, impl LaneStream>, file: &Sending) -> Result<(), LaneError> {
    if let Err(error) = file.source.check_unchanged() {
        return wire.withdraw(file.fail(wire.outgoing, &error));
    }
    let root = lock(&file.forest).root(file.size).expect("the lane that sends the last chunk comes after all others");
    wire.outgoing.sent(file.id, root);
    wire.end(FileEnd { id: file.id, size: file.size, root })
}

/// Small files are read whole before a byte is sent, so that a bad one is withdrawn and the rest still goes.
fn send_pack(
    wire: &mut Wire<'_, '_, impl LaneStream>,
    ids: &[u32],
    squeezer: &mut Squeezer<'_>,
) -> Result<(), LaneError> {
    let mut pack = Pack { codec: Codec::Raw, files: Vec::with_capacity(ids.len()) };
    let mut bytes = vec![0; HEADER_LEN];
    for &id in ids {
        match take_small(wire.outgoing, id, &mut bytes) {
            Ok((len, hash)) => {
                wire.outgoing.sent(id, hash);
                pack.files.push(Packed { id, len, hash });
            }
            Err(error) => wire.withdraw(wire.outgoing.fail(id, &error))?,
        }
    }
    if pack.files.is_empty() {
        return Ok(());
    }
    let plain = pack.bytes();
    let (codec, bytes) = if squeezer.is_on() {
        squeezer.squeeze(&mut bytes)
    } else {
        squeezer.glance(&bytes[HEADER_LEN..]);
        (Codec::Raw, bytes.as_mut_slice())
    };
    pack.codec = codec;
    wire.begin(Work::Pack(pack.files.iter().map(|file| file.id).collect()), plain)?;
    wire.message(&pack)?;
    wire.pieces(bytes, plain)?;
    squeezer.sent(codec, plain, wire.started.elapsed(), wire.writing);
    Ok(())
}

/// Appends the file to `bytes`, or leaves them as they were.
fn take_small(outgoing: &Outgoing, id: u32, bytes: &mut Vec<u8>) -> Result<(u32, Hash), StoreError> {
    let source = outgoing.sources.get(id);
    let Some(taker) = outgoing.sources.taker() else { return read_small(source, bytes) };
    let (content, hash) = taker.take((id, 0), |_| {
        let mut content = Vec::new();
        let (_, hash) = read_small(source, &mut content)?;
        Ok((content.into(), hash))
    })?;
    bytes.extend_from_slice(&content);
    Ok((content.len() as u32, hash))
}

/// Appends the file to `bytes`, or leaves them as they were.
fn read_small(source: Source<'_>, bytes: &mut Vec<u8>) -> Result<(u32, Hash), StoreError> {
    let start = bytes.len();
    match source {
        Source::Text(text) => bytes.extend_from_slice(text.as_bytes()),
        Source::Piped(_) => unreachable!("a stream is taken part by part"),
        Source::Entry(entry) => {
            let read = entry.open().and_then(|source| {
                bytes.resize(start + entry.bytes as usize, 0);
                source.read_at(0, &mut bytes[start..])?;
                source.check_unchanged()
            });
            if let Err(error) = read {
                bytes.truncate(start);
                return Err(error);
            }
        }
    }
    Ok((source.bytes() as u32, *blake3::hash(&bytes[start..]).as_bytes()))
}

/// Hashes a file that the receiver seems to have, and queues it in full if it differs.
fn compare(
    wire: &mut Wire<'_, '_, impl LaneStream>,
    id: u32,
    verdict: &Verdict,
    buffer: &mut [u8],
) -> Result<(), LaneError> {
    let outgoing = wire.outgoing;
    let entry = outgoing.entry(id);
    let acknowledged = outgoing.acknowledged.get(&id);
    match acknowledged.map_or_else(|| hash_source(entry, buffer), |hash| Ok(*hash)) {
        Ok(ours) if matches!(verdict, Verdict::Have(theirs) | Verdict::Stored(theirs) if *theirs == ours) => {
            outgoing.sent(id, ours);
            if let Verdict::Have(_) = verdict {
                outgoing.found_same(id);
            }
            outgoing.count(entry.bytes);
            wire.end(FileEnd { id, size: entry.bytes, root: ours })
        }
        Ok(_) => {
            outgoing.send_whole(id);
            Ok(())
        }
        Err(error) => wire.withdraw(outgoing.fail(id, &error)),
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
