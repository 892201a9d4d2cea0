//! A tutorial sender's stream on its way into a file, and to its hash.

use std::io::{self, BufReader, PipeReader, PipeWriter, Read, Write};
use std::panic::resume_unwind;

use super::classic_bulk::{self as bulk, Meter, STEP};
use super::consent::refusal;
use super::error::SessionError;
use crate::classic::{Repair, Scan};
use crate::names::human_bytes;
use crate::net::cuttable::Cuttable;
use crate::store::{PartialFile, Pipe, Whole, roomy_pipe};
use crate::transfer::Hash;
use crate::wire::RefuseCode;

/// A stream whose header was read.
pub(super) struct Begun {
    pub(super) scan: Scan,
    /// File bytes that came with the header.
    pub(super) first: Vec<u8>,
}

/// What the bytes go through without coming into memory of the thread that moves them, as far as the system has it.
pub(super) struct Pipes {
    /// On their way to the file.
    to_file: Option<Pipe>,
    /// A copy of them, to a second thread that hashes it.
    to_hash: Option<(PipeReader, PipeWriter)>,
}

impl Pipes {
    pub(super) fn new() -> Pipes {
        Pipes { to_file: Pipe::new(), to_hash: roomy_pipe().ok() }
    }
}

/// Takes the stream to its end, then solves what was the size and what was the file.
pub(super) fn store_stream(
    socket: &Cuttable,
    Begun { mut scan, first }: Begun,
    file: PartialFile,
    most: Option<u64>,
    meter: &Meter,
    pipes: Pipes,
) -> Result<(Whole, Hash), SessionError> {
    let (copy, hashing) = match pipes.to_hash {
        Some((outlet, inlet)) => {
            let hashing = std::thread::Builder::new().spawn(move || hash_of_stream(outlet));
            (Some(inlet), Some(hashing.map_err(SessionError::Cut)?))
        }
        None => (None, None),
    };
    let mut taking = Taking { socket, file: &file, most, meter, pipe: pipes.to_file, copy };
    let taken = taking.take(&mut scan, &first);
    // Without it the hash comes to its end.
    let is_copied = taking.copy.take().is_some();
    let hash = hashing.and_then(|hashing| hashing.join().unwrap_or_else(|panic| resume_unwind(panic)).ok());
    let hash = hash.filter(|_| is_copied);
    taken?;
    let whole = scan.finish().map_err(|error| SessionError::Incomplete(error.to_string()))?;
    let hash = match whole.repair {
        Repair::None => hash.map_or_else(|| hash_of(&file), Ok)?,
        Repair::Prepend(digits) => {
            insert_front(&file, &digits)?;
            hash_of(&file)?
        }
        Repair::DropFront(count) => {
            drop_front(&file, count as u64)?;
            hash_of(&file)?
        }
    };
    Ok((file.complete(whole.size)?, hash))
}

/// A stream on its way into a file.
struct Taking<'a> {
    socket: &'a Cuttable,
    file: &'a PartialFile,
    /// What the file may have, in bytes.
    most: Option<u64>,
    meter: &'a Meter,
    pipe: Option<Pipe>,
    /// Where all of it goes as well, to be hashed, if that can be.
    copy: Option<PipeWriter>,
}

impl Taking<'_> {
    /// Takes everything up to the end of the stream, after `first`, which came with the header.
    fn take(&mut self, scan: &mut Scan, first: &[u8]) -> Result<(), SessionError> {
        self.write(first)?;
        let mut buffer = vec![0; STEP];
        loop {
            // What is evidence, or could be too much, has to be looked at; all else is moved unseen.
            let room = self.most.map_or(u64::MAX, |most| most.saturating_sub(self.meter.moved()));
            let moved = match scan.opaque().min(room) {
                0 => None,
                most => self.splice(scan, most)?,
            };
            let count = match moved {
                Some(count) => count,
                None => self.read(scan, &mut buffer)?,
            };
            match count {
                0 if self.meter.is_cut() => return Err(SessionError::Interrupted),
                0 => return Ok(()),
                _ => {}
            }
        }
    }

    /// Moves up to `most` bytes into the file by way of the pipe; `None` if that can't be done here.
    fn splice(&mut self, scan: &mut Scan, most: u64) -> Result<Option<usize>, SessionError> {
        let Some(pipe) = &self.pipe else { return Ok(None) };
        let Some(count) = pipe.fill(self.socket, most).map_err(bulk::broken)? else {
            self.pipe = None;
            return Ok(None);
        };
        let mut left = count;
        while left > 0 {
            let given = self.copy.as_ref().map(|copy| pipe.tee(copy, left)).transpose().map_err(SessionError::Cut)?;
            // A copy with a gap is of no use.
            if given == Some(None) {
                self.copy = None;
            }
            let step = given.flatten().unwrap_or(left);
            self.file.append_piped(pipe, step)?;
            left -= step;
        }
        scan.pass(count as u64);
        self.meter.count(count);
        Ok(Some(count))
    }

    fn read(&mut self, scan: &mut Scan, buffer: &mut [u8]) -> Result<usize, SessionError> {
        let count = loop {
            match { self.socket }.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => break outcome.map_err(bulk::broken)?,
            }
        };
        let parts = scan.push(&buffer[..count]).map_err(|error| SessionError::broke(error.to_string()))?;
        parts.into_iter().try_for_each(|part| self.write(part))?;
        Ok(count)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), SessionError> {
        let total = self.meter.moved() + bytes.len() as u64;
        if let Some(most) = self.most.filter(|most| total > *most) {
            let text = format!("at most {} are taken here", human_bytes(most));
            return Err(SessionError::Declined(refusal(RefuseCode::TooLarge, text)));
        }
        if let Some(copy) = &mut self.copy {
            copy.write_all(bytes).map_err(SessionError::Cut)?;
        }
        self.file.append(bytes)?;
        self.meter.count(bytes.len());
        Ok(())
    }
}

/// Moves the file back, the last bytes first, to put `front` before it.
fn insert_front(file: &PartialFile, front: &[u8]) -> Result<(), SessionError> {
    let mut buffer = vec![0; STEP];
    let mut left = file.end();
    while left > 0 {
        let count = left.min(STEP as u64) as usize;
        left -= count as u64;
        file.read_at(left, &mut buffer[..count])?;
        file.write_at(left + front.len() as u64, &buffer[..count])?;
    }
    Ok(file.write_at(0, front)?)
}

/// Moves the file forward over its first `count` bytes.
fn drop_front(file: &PartialFile, count: u64) -> Result<(), SessionError> {
    let mut buffer = vec![0; STEP];
    let mut offset = count;
    loop {
        match file.read_at(offset, &mut buffer)? {
            0 => return Ok(file.truncate(offset - count)?),
            read => {
                file.write_at(offset - count, &buffer[..read])?;
                offset += read as u64;
            }
        }
    }
}

fn hash_of(file: &PartialFile) -> Result<Hash, SessionError> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; STEP];
    let mut done = 0;
    loop {
        match file.read_at(done, &mut buffer)? {
            0 => return Ok(*hasher.finalize().as_bytes()),
            read => {
                hasher.update(&buffer[..read]);
                done += read as u64;
            }
        }
    }
}

fn hash_of_stream(stream: PipeReader) -> io::Result<Hash> {
    let mut hasher = blake3::Hasher::new();
    io::copy(&mut BufReader::with_capacity(STEP, stream), &mut hasher)?;
    Ok(*hasher.finalize().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::RelPath;
    use crate::store::{Folder, IfExists, PlannedEntry, PlannedKind};

    /// What is stored of a stream, and the hash that is told of it.
    fn stored(stream: &[u8], pipes: Pipes) -> (Vec<u8>, Hash) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut from = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let socket = Cuttable::new(listener.accept().unwrap().0, bulk::SILENCE).unwrap();
        let (head, rest) = stream.split_at(stream.len().min(8 * 1024));
        let rest = rest.to_vec();
        let sending = std::thread::spawn(move || from.write_all(&rest));
        let mut scan = Scan::new();
        let first = scan.push(head).unwrap().concat();
        let home = tempfile::tempdir().unwrap();
        let path = RelPath::from_stranger("x").unwrap();
        let entry = PlannedEntry { id: 0, path, kind: PlannedKind::File, size: None, holes: 0, modified: None };
        let intake = Folder::open(home.path()).unwrap().begin(vec![entry], IfExists::Rename).unwrap();
        let file = intake.open_partial(0).unwrap();
        let (whole, hash) = store_stream(&socket, Begun { scan, first }, file, None, &Meter::default(), pipes).unwrap();
        let placed = intake.commit(vec![whole]).pop().unwrap().1.unwrap();
        sending.join().unwrap().unwrap();
        (std::fs::read(placed.path).unwrap(), hash)
    }

    #[test]
    fn with_or_without_pipes_the_same_is_stored_and_the_hash_is_that_of_the_file() {
        let text: Vec<u8> = (0..3_000_000u32).map(|at| b'a' + (at % 23) as u8).collect();
        // What it begins with runs into its size.
        let digits = [&b"12345"[..], &text].concat();
        for content in [&text[..], &digits, b"x"] {
            let stream = [format!("x<SEPARATOR>{}", content.len()).as_bytes(), content].concat();
            for (to_file, to_hash) in [(true, true), (true, false), (false, true), (false, false)] {
                let pipes = Pipes {
                    to_file: to_file.then(Pipe::new).flatten(),
                    to_hash: to_hash.then(|| roomy_pipe().unwrap()),
                };
                let (file, hash) = stored(&stream, pipes);
                assert!(file == content, "{} bytes, {to_file}, {to_hash}", content.len());
                assert_eq!(hash, *blake3::hash(content).as_bytes(), "{} bytes, {to_file}, {to_hash}", content.len());
            }
        }
    }
}
