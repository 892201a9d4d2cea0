//! Small files and texts, which come many in a message.

use super::committer::{BATCH, Hashed};
use super::expand::Buffers;
use super::incoming::{Incoming, Slot};
use super::lane::{LaneError, LaneStream, read_header, read_message};
use super::outcome::{NotStoredHere, Outcome};
use crate::wire::{Codec, Header, Kind, Pack, Packed};

/// Takes a pack apart; what of it is whole is handed on, also if the rest does not come.
pub(super) fn receive_pack(
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
            pieces.next(stream, packed as usize, buffers.packed(packed as usize))?;
            (Pieces { left: 0, in_piece: 0, expanded: buffers.expand(packed as usize, len)? }, [].as_mut_slice())
        }
    };
    let mut gathered = Vec::with_capacity(pack.files.len().min(BATCH));
    let received = receive_files(stream, incoming, &pack, &mut pieces, buffer, &mut gathered);
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

    /// The next bytes, at most `most`, as far as there is room for them.
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
        let len = most.min(buffer.len());
        let mut done = 0;
        while done < len {
            if self.in_piece == 0 {
                let header = read_header(stream)?;
                if header.kind != Kind::Piece || !(1..=self.left).contains(&header.len) {
                    return Err(LaneError::Misplaced { kind: header.kind, place: "within a pack" });
                }
                self.in_piece = header.len;
            }
            let part = self.in_piece.min(len - done);
            stream.read_exact(&mut buffer[done..done + part])?;
            self.in_piece -= part;
            self.left -= part;
            done += part;
        }
        Ok(&buffer[..len])
    }
}
