//! A tutorial sender: one header, the bytes, the end. Nothing is encrypted, and nothing can be answered.

use std::io::{self, BufReader, PipeReader, PipeWriter, Read, Write};
use std::net::{Shutdown, TcpStream as Socket};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Instant;

use tokio::io::AsyncReadExt;
use tokio::sync::watch;
use tokio::time::timeout_at;

use super::classic_bulk::{self as bulk, Meter, STEP};
use super::consent::{Standing, consent, refusal};
use super::error::SessionError;
use super::host::{Place, raised, unless_leaving};
use super::inbox::{Classic, Inbox, wire_name};
use crate::classic::{Claim, Repair, Scan};
use crate::events::{Dialect, EntryKind, Event, ExitCode, Offer, OfferedEntry, Peer, Way};
use crate::names::{FileName, RelPath, human_bytes};
use crate::net::accept::Arrival;
use crate::store::{PartialFile, Pipe, PlannedEntry, PlannedKind, Whole, roomy_pipe};
use crate::transfer::Hash;
use crate::wire::RefuseCode;

/// A header that was read, and what came with it.
struct Announced {
    scan: Scan,
    /// File bytes that came with the header.
    first: Vec<u8>,
    name: String,
    claim: Claim,
}

impl Inbox {
    /// Serves a tutorial sender to the end of its stream.
    pub(super) async fn serve_classic(
        &self,
        arrival: Arrival,
        leaving: &mut watch::Receiver<bool>,
    ) -> Result<(), SessionError> {
        let address = arrival.peer;
        if self.rules.classic == Classic::Off {
            let text = "a sender that speaks the tutorial's protocol was turned away by `--classic off`";
            return Err(SessionError::Declined(refusal(RefuseCode::Declined, text)));
        }
        let Arrival { mut stream, pass, head_deadline, .. } = arrival;
        let header =
            async { timeout_at(head_deadline, read_header(&mut stream)).await.unwrap_or(Err(SessionError::TooSlow)) };
        let announced = unless_leaving(leaving, header).await?;
        pass.promote();
        let peer = Peer { id: address.ip().to_string(), name: String::new(), address, dialect: Dialect::Classic };
        self.host.introduce(peer.clone(), Standing::OPEN.label);
        let transfer = data_encoding::HEXLOWER.encode(&wire_name());
        let offer = offer_of(&transfer, peer, &announced);
        self.host.reporter.tell(Event::Offer(offer.clone()));
        let place = match unless_leaving(leaving, self.consent_to_classic(offer, &announced)).await {
            Ok(place) => place,
            Err(error) => {
                self.host.reporter.tell(Event::Refused { transfer, reason: error.to_string() });
                return if matches!(error, SessionError::Declined(_)) { Ok(()) } else { Err(error) };
            }
        };
        self.host.reporter.tell(Event::Accepted { transfer: transfer.clone() });
        let (_, stream) = stream.into_parts();
        match self.receive_classic(stream, announced, &transfer, leaving).await {
            Ok(finished) => {
                place.keep();
                self.host.reporter.tell(finished);
                self.host.ended(ExitCode::Ok, address.ip());
            }
            Err(error) => {
                drop(place);
                let failure = error.failure();
                let code = failure.code;
                self.host.reporter.tell(Event::Failed { transfer: Some(transfer), failure });
                self.host.ended(code, address.ip());
            }
        }
        Ok(())
    }

    async fn consent_to_classic(&self, offer: Offer, announced: &Announced) -> Result<Place, SessionError> {
        // More digits may still turn out to be data, so only a settled size can be too large.
        if announced.scan.is_settled() && announced.claim.likely == announced.claim.at_most {
            self.within_limits(Some(announced.claim.at_most))?;
        }
        if self.rules.classic == Classic::Ask {
            let reporter = &*self.host.reporter;
            consent(reporter, Way::In, self.rules.yes, Standing::OPEN, offer).await.map_err(SessionError::Declined)?;
        }
        self.host.take_place()
    }

    async fn receive_classic(
        &self,
        stream: tokio::net::TcpStream,
        announced: Announced,
        transfer: &str,
        leaving: &mut watch::Receiver<bool>,
    ) -> Result<Event, SessionError> {
        let path = RelPath::from(FileName::from_stranger(&announced.name));
        let entry = PlannedEntry { id: 0, path, kind: PlannedKind::File, size: None, holes: 0, modified: None };
        let (folder, if_exists) = (Arc::clone(&self.folder), self.rules.if_exists);
        let started = Instant::now();
        let (name, claim, most) = (announced.name.clone(), announced.claim, self.rules.max_size);
        let progress = |bytes: u64| {
            let (transfer, total) = (transfer.to_owned(), Some(claim.at_most.max(bytes)));
            self.host.reporter.tell(Event::Progress { transfer, bytes, total });
        };
        let store = move |socket: &Socket, meter: &Meter| {
            let intake = folder.begin(vec![entry], if_exists)?;
            let (whole, hash) = store_stream(socket, announced, intake.open_partial(0)?, most, meter, Pipes::new())?;
            // The peer need not wait for the disk, and could not be told what came of it.
            let _ = socket.shutdown(Shutdown::Both);
            let (_, placed) = intake.commit(vec![whole]).pop().expect("one result for one file");
            let placed = placed?;
            intake.finish()?;
            Ok((placed, hash))
        };
        let (placed, hash) = bulk::apart(stream, progress, raised(leaving), store).await?;
        self.host.reporter.tell(Event::Stored {
            transfer: transfer.to_owned(),
            name: placed.name.as_str().to_owned(),
            offered: name,
            path: Some(placed.path.to_string_lossy().into_owned()),
            bytes: placed.bytes,
            blake3: data_encoding::HEXLOWER.encode(&hash),
        });
        Ok(Event::Finished {
            transfer: transfer.to_owned(),
            files: 1,
            bytes: placed.bytes,
            seconds: started.elapsed().as_secs_f64(),
            label: Standing::OPEN.label,
        })
    }
}

fn offer_of(transfer: &str, peer: Peer, announced: &Announced) -> Offer {
    let bytes = Some(announced.claim.at_most);
    let entry = OfferedEntry { name: announced.name.clone(), bytes, kind: EntryKind::File };
    Offer {
        transfer: transfer.to_owned(),
        peer,
        label: Standing::OPEN.label,
        files: 1,
        bytes,
        entries: vec![entry],
        entries_left_out: 0,
    }
}

/// Reads until name and size stand, in the pieces in which they arrived.
async fn read_header(stream: &mut crate::net::prefixed::Prefixed) -> Result<Announced, SessionError> {
    let ends = stream.read_ends().to_vec();
    let mut scan = Scan::new();
    let mut first = Vec::new();
    let mut take = |scan: &mut Scan, read: &[u8]| {
        let parts = scan.push(read).map_err(|error| SessionError::broke(error.to_string()))?;
        parts.iter().for_each(|part| first.extend_from_slice(part));
        Ok::<_, SessionError>(())
    };
    let mut prefix = vec![0; stream.prefix().len()];
    stream.read_exact(&mut prefix).await.map_err(SessionError::Cut)?;
    let mut start = 0;
    for end in ends {
        take(&mut scan, &prefix[start..end])?;
        start = end;
    }
    // A last read that had no room for more ended nowhere: its bytes and the next ones count as one read.
    let mut buffer = vec![0; STEP];
    let mut held = prefix.len() - start;
    buffer[..held].copy_from_slice(&prefix[start..]);
    while scan.claim().is_none() {
        let count = stream.read(&mut buffer[held..]).await.map_err(SessionError::Cut)?;
        if held + count == 0 {
            return Err(SessionError::broke("it closed the connection within its header"));
        }
        take(&mut scan, &buffer[..held + count])?;
        held = 0;
    }
    let name = scan.name().unwrap_or_default().to_owned();
    let claim = scan.claim().expect("the loop ends when there is one");
    Ok(Announced { scan, first, name, claim })
}

/// What the bytes go through without coming into memory of the thread that moves them, as far as the system has it.
struct Pipes {
    /// On their way to the file.
    to_file: Option<Pipe>,
    /// A copy of them, to a second thread that hashes it.
    to_hash: Option<(PipeReader, PipeWriter)>,
}

impl Pipes {
    fn new() -> Pipes {
        Pipes { to_file: Pipe::new(), to_hash: roomy_pipe().ok() }
    }
}

/// Takes the stream to its end, then solves what was the size and what was the file.
fn store_stream(
    socket: &Socket,
    announced: Announced,
    file: PartialFile,
    most: Option<u64>,
    meter: &Meter,
    pipes: Pipes,
) -> Result<(Whole, Hash), SessionError> {
    let Announced { mut scan, first, .. } = announced;
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
    socket: &'a Socket,
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
    use crate::store::{Folder, IfExists};

    /// What is stored of a stream, and the hash that is told of it.
    fn stored(stream: &[u8], pipes: Pipes) -> (Vec<u8>, Hash) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut from = Socket::connect(listener.local_addr().unwrap()).unwrap();
        let socket = listener.accept().unwrap().0;
        let (head, rest) = stream.split_at(stream.len().min(8 * 1024));
        let rest = rest.to_vec();
        let sending = std::thread::spawn(move || {
            from.write_all(&rest).unwrap();
            drop(from);
        });
        let mut scan = Scan::new();
        let first = scan.push(head).unwrap().concat();
        let claim = scan.claim().unwrap();
        let announced = Announced { scan, first, name: "x".to_owned(), claim };
        let home = tempfile::tempdir().unwrap();
        let path = RelPath::from_stranger("x").unwrap();
        let entry = PlannedEntry { id: 0, path, kind: PlannedKind::File, size: None, holes: 0, modified: None };
        let intake = Folder::open(home.path()).unwrap().begin(vec![entry], IfExists::Rename).unwrap();
        let file = intake.open_partial(0).unwrap();
        let (whole, hash) = store_stream(&socket, announced, file, None, &Meter::default(), pipes).unwrap();
        let placed = intake.commit(vec![whole]).pop().unwrap().1.unwrap();
        sending.join().unwrap();
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
