//! A tutorial sender: one header, the bytes, the end. Nothing is encrypted, and nothing can be answered.

use std::io::{self, Read};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use tokio::sync::oneshot;
use tokio::time::{interval, timeout_at};

use super::consent::{Standing, consent, refusal};
use super::error::SessionError;
use super::host::Place;
use super::inbox::{Classic, Inbox, PROGRESS_EVERY, wire_name};
use crate::classic::{Claim, Repair, Scan};
use crate::events::{Dialect, EntryKind, Event, ExitCode, Offer, OfferedEntry, Peer, Way};
use crate::names::{FileName, RelPath};
use crate::net::accept::Arrival;
use crate::store::{PartialFile, PlannedEntry, PlannedKind, Whole};
use crate::transfer::Hash;
use crate::wire::RefuseCode;

/// A tutorial sender that says nothing for this long is gone.
const IDLE: Duration = Duration::from_secs(60);

/// What is read at once. Large enough that a full buffer can't be taken for the end of a header.
const READ_LEN: usize = 256 * 1024;

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
    pub(super) async fn serve_classic(&self, arrival: Arrival) -> Result<(), SessionError> {
        let address = arrival.peer;
        if self.rules.classic == Classic::Off {
            let text = "a sender that speaks the tutorial's protocol was turned away by `--classic off`";
            return Err(SessionError::Declined(refusal(RefuseCode::Declined, text)));
        }
        let Arrival { mut stream, pass, head_deadline, .. } = arrival;
        let announced = timeout_at(head_deadline, read_header(&mut stream)).await;
        let announced = announced.map_err(|_| SessionError::TooSlow)??;
        pass.promote();
        let peer = Peer { id: address.ip().to_string(), name: String::new(), address, dialect: Dialect::Classic };
        self.host.introduce(peer.clone(), Standing::OPEN.label);
        let transfer = data_encoding::HEXLOWER.encode(&wire_name());
        let offer = offer_of(&transfer, peer, &announced);
        self.host.reporter.tell(Event::Offer(offer.clone()));
        let place = match self.consent_to_classic(offer, &announced).await {
            Ok(place) => place,
            Err(SessionError::Declined(refuse)) => {
                self.host.reporter.tell(Event::Refused { transfer, reason: refuse.text });
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        self.host.reporter.tell(Event::Accepted { transfer: transfer.clone() });
        let (_, stream) = stream.into_parts();
        match self.receive_classic(stream, announced, &transfer).await {
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
    ) -> Result<Event, SessionError> {
        let path = RelPath::from(FileName::from_stranger(&announced.name));
        let entry = PlannedEntry { id: 0, path, kind: PlannedKind::File, size: None, modified: None };
        let (folder, if_exists) = (Arc::clone(&self.folder), self.rules.if_exists);
        let started = Instant::now();
        let (name, claim) = (announced.name.clone(), announced.claim);
        let socket = stream.into_std().map_err(SessionError::Cut)?;
        socket.set_nonblocking(false).map_err(SessionError::Cut)?;
        socket.set_read_timeout(Some(IDLE)).map_err(SessionError::Cut)?;
        let shared = Arc::new(Shared::default());
        let cut = Cut { socket: socket.try_clone().map_err(SessionError::Cut)?, shared: Arc::clone(&shared) };
        let most = self.rules.max_size;
        let (done, mut stored) = oneshot::channel();
        let theirs = Arc::clone(&shared);
        let store = move || {
            let intake = folder.begin(vec![entry], if_exists)?;
            let (whole, hash) = store_stream(socket, announced, intake.open_partial(0)?, most, &theirs)?;
            let (_, placed) = intake.commit(vec![whole]).pop().expect("one result for one file");
            let placed = placed?;
            intake.finish()?;
            Ok::<_, SessionError>((placed, hash))
        };
        // A thread of its own, since it waits for the sender: many slow ones would starve tokio's pool, which the
        // other sessions need.
        let spawned = std::thread::Builder::new().spawn(move || {
            // The session may have ended first.
            let _ = done.send(store());
        });
        spawned.map_err(SessionError::Cut)?;
        let mut progress = interval(PROGRESS_EVERY);
        let mut seen = 0;
        let (placed, hash) = loop {
            tokio::select! {
                stored = &mut stored => {
                    break stored.map_err(|_| SessionError::broke("something that this program can't handle"))??;
                }
                _ = progress.tick() => {
                    let bytes = shared.moved.load(Ordering::Relaxed);
                    if bytes != seen {
                        seen = bytes;
                        let (transfer, total) = (transfer.to_owned(), Some(claim.at_most.max(bytes)));
                        self.host.reporter.tell(Event::Progress { transfer, bytes, total });
                    }
                }
            }
        };
        drop(cut);
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

/// What the session and its blocking reader tell each other.
#[derive(Default)]
struct Shared {
    /// File bytes so far.
    moved: AtomicU64,
    /// The session is over: the end of the stream is our own doing.
    cut: AtomicBool,
}

/// Ends the blocking reader when the session is dropped.
struct Cut {
    socket: std::net::TcpStream,
    shared: Arc<Shared>,
}

impl Drop for Cut {
    fn drop(&mut self) {
        self.shared.cut.store(true, Ordering::Release);
        // A socket that the peer has closed already needs no cutting.
        let _ = self.socket.shutdown(Shutdown::Both);
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
    let mut buffer = vec![0; READ_LEN];
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

/// Reads to the end of the stream, then solves what was the size and what was the file.
fn store_stream(
    mut socket: std::net::TcpStream,
    announced: Announced,
    file: PartialFile,
    most: Option<u64>,
    shared: &Shared,
) -> Result<(Whole, Hash), SessionError> {
    let Announced { mut scan, first, .. } = announced;
    let mut hasher = blake3::Hasher::new();
    let mut take = |bytes: &[u8]| {
        hasher.update(bytes);
        let total = shared.moved.fetch_add(bytes.len() as u64, Ordering::Relaxed) + bytes.len() as u64;
        if most.is_some_and(|most| total > most) {
            let text = format!("at most {} are taken here", crate::names::human_bytes(most.unwrap_or_default()));
            return Err(SessionError::Declined(refusal(RefuseCode::TooLarge, text)));
        }
        Ok(file.append(bytes)?)
    };
    take(&first)?;
    let mut buffer = vec![0; READ_LEN];
    loop {
        let count = match socket.read(&mut buffer) {
            Ok(0) if shared.cut.load(Ordering::Acquire) => return Err(SessionError::Interrupted),
            Ok(0) => break,
            Ok(count) => count,
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => continue,
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => return Err(SessionError::Silent),
                _ => return Err(SessionError::Cut(error)),
            },
        };
        let parts = scan.push(&buffer[..count]).map_err(|error| SessionError::broke(error.to_string()))?;
        parts.into_iter().try_for_each(&mut take)?;
    }
    let whole = scan.finish().map_err(|error| SessionError::Incomplete(error.to_string()))?;
    let hash = match whole.repair {
        Repair::None => *hasher.finalize().as_bytes(),
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

/// Moves the file back, the last bytes first, to put `front` before it.
fn insert_front(file: &PartialFile, front: &[u8]) -> Result<(), SessionError> {
    let mut buffer = vec![0; READ_LEN];
    let mut left = file.end();
    while left > 0 {
        let count = left.min(READ_LEN as u64) as usize;
        left -= count as u64;
        file.read_at(left, &mut buffer[..count])?;
        file.write_at(left + front.len() as u64, &buffer[..count])?;
    }
    Ok(file.write_at(0, front)?)
}

/// Moves the file forward over its first `count` bytes.
fn drop_front(file: &PartialFile, count: u64) -> Result<(), SessionError> {
    let mut buffer = vec![0; READ_LEN];
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
    let mut buffer = vec![0; READ_LEN];
    let mut offset = 0;
    loop {
        match file.read_at(offset, &mut buffer)? {
            0 => return Ok(*hasher.finalize().as_bytes()),
            count => {
                hasher.update(&buffer[..count]);
                offset += count as u64;
            }
        }
    }
}
