//! Sending as the tutorial does: the header alone, a pause so that it is read alone, the bytes, the end.

use std::future::pending;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::classic_bulk::{self as bulk, Meter, SILENCE, STEP};
use super::consent::Standing;
use super::error::SessionError;
use super::inbox::wire_name;
use crate::classic;
use crate::events::{Dialect, EntryKind, Event, ExitCode, Failure, Offer, OfferedEntry, Peer, Reporter};
use crate::net::cuttable::Cuttable;
use crate::net::{Load, dial, prefer_bbr, within_machine};
use crate::store::{SendError, SourceEntry, SourceFile};
use crate::transfer::Brake;

/// How long the peer's system may take to acknowledge the header.
const HEADER_ACK: Duration = Duration::from_secs(2);

/// How often that is looked at.
const ACK_POLL: Duration = Duration::from_millis(10);

/// How long a receiver that has the header may take to read it, before data follows it into the same buffer.
const HEADER_READ: Duration = Duration::from_millis(100);

/// A receiver that is reached within this time is on a cable or this machine: a round trip.
const NEAR: Duration = Duration::from_millis(2);

/// One file for a tutorial receiver.
pub struct ClassicSender {
    /// What is sent.
    pub entry: SourceEntry,
    /// What keeps it below a rate.
    pub brake: Option<Arc<Brake>>,
    /// The address to send from, if one was asked for.
    pub source: Option<IpAddr>,
    /// Where it is told.
    pub reporter: Arc<dyn Reporter>,
}

impl ClassicSender {
    /// Sends the file to the first of `addresses` that answers. `Ok` means that the receiver took every byte and closed
    /// in order: sent, not confirmed.
    ///
    /// # Errors
    /// The failure, with the exit code that stands for it.
    pub async fn send(&self, addresses: &[SocketAddr]) -> Result<(), (Option<String>, Failure)> {
        let began = Instant::now();
        let dialled = dial::dial_any(addresses, self.source.as_slice(), Load::Bulk).await;
        let socket = dialled.map_err(|error| (None, SessionError::from(error).failure()))?;
        let near = began.elapsed() < NEAR;
        let transfer = data_encoding::HEXLOWER.encode(&wire_name());
        let failed = |error: SessionError| {
            let mut failure = error.failure();
            if failure.code == ExitCode::Incomplete {
                failure.hint = "the receiver may have kept a part; look there, and send again".to_owned();
            }
            (Some(transfer.clone()), failure)
        };
        let address = socket.peer_addr().map_err(|error| failed(SessionError::Cut(error)))?;
        self.announce(&transfer, address);
        let started = Instant::now();
        self.stream(socket, near, &transfer).await.map_err(failed)?;
        self.reporter.tell(Event::Finished {
            transfer: transfer.clone(),
            files: 1,
            bytes: self.entry.bytes,
            seconds: started.elapsed().as_secs_f64(),
            label: Standing::OPEN.label,
        });
        Ok(())
    }

    fn announce(&self, transfer: &str, address: SocketAddr) {
        let peer = Peer { id: address.ip().to_string(), name: String::new(), address, dialect: Dialect::Classic };
        let bytes = Some(self.entry.bytes);
        self.reporter.tell(Event::Peer { peer: peer.clone(), label: Standing::OPEN.label });
        self.reporter.tell(Event::Offer(Offer {
            transfer: transfer.to_owned(),
            peer,
            label: Standing::OPEN.label,
            files: 1,
            bytes,
            entries: vec![OfferedEntry { name: self.entry.offered.clone(), bytes, kind: EntryKind::File }],
            entries_left_out: 0,
        }));
    }

    async fn stream(&self, mut socket: TcpStream, near: bool, transfer: &str) -> Result<(), SessionError> {
        let source = self.entry.open()?;
        let bytes = self.entry.bytes;
        let header = classic::header(&self.entry.offered, bytes);
        let told = timeout(SILENCE, socket.write_all(&header)).await;
        told.map_err(|_| SessionError::Silent)?.map_err(SessionError::Cut)?;
        header_alone(&socket).await;
        let progress = |moved| {
            let (transfer, total) = (transfer.to_owned(), Some(bytes));
            self.reporter.tell(Event::Progress { transfer, bytes: moved, total });
        };
        let brake = self.brake.clone();
        let give = move |socket: &Cuttable, meter: &Meter| {
            if !near && !within_machine(socket) {
                prefer_bbr(socket);
            }
            give(&source, bytes, brake.as_deref(), socket, meter)
        };
        // Whoever gives it up has nothing here that would stay behind.
        bulk::apart(socket, progress, pending(), give).await
    }
}

/// Sends the file, says that this is the end, and waits for the peer's.
fn give(
    source: &SourceFile,
    bytes: u64,
    brake: Option<&Brake>,
    mut socket: &Cuttable,
    meter: &Meter,
) -> Result<(), SessionError> {
    let sent = send_all(source, bytes, brake, socket, meter).and_then(|()| Ok(source.check_unchanged()?));
    if let Err(SessionError::Store(_)) = sent {
        // An end in order would tell the peer that it has the file. If this fails, a length that is short has to do.
        let _ = SockRef::from(&**socket).set_linger(Some(Duration::ZERO));
    }
    sent?;
    socket.shutdown(Shutdown::Write).map_err(SessionError::Cut)?;
    let mut rest = [0; 1024];
    loop {
        match socket.read(&mut rest) {
            Ok(0) => break,
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(bulk::broken(error)),
            _ => {}
        }
    }
    // Bytes that were on their way until now were lent by the file, and changed with it.
    Ok(source.check_unchanged()?)
}

fn send_all(
    source: &SourceFile,
    bytes: u64,
    brake: Option<&Brake>,
    mut socket: &Cuttable,
    meter: &Meter,
) -> Result<(), SessionError> {
    let step = brake.map_or(STEP, |brake| STEP.min(brake.step()));
    let due = |sent| {
        if let Some(brake) = brake {
            brake.pass(step.min(usize::try_from(bytes - sent).unwrap_or(usize::MAX)));
        }
    };
    let mut sent = 0;
    while sent < bytes {
        due(sent);
        match source.send_to(socket, sent, step).map_err(unsent)? {
            Some(count) => sent = meter.count(count),
            None => break,
        }
    }
    let mut buffer = vec![0; if sent < bytes { step } else { 0 }];
    while sent < bytes {
        due(sent);
        let count = source.read_at(sent, &mut buffer)?;
        socket.write_all(&buffer[..count]).map_err(bulk::broken)?;
        sent = meter.count(count);
    }
    Ok(())
}

fn unsent(error: SendError) -> SessionError {
    match error {
        SendError::Source(error) => error.into(),
        SendError::Socket(error) => bulk::broken(error),
    }
}

/// Waits until the receiver's system has the header, and gives the receiver time to read it: a tutorial receiver takes
/// its header from one read, and what comes with it would be lost.
async fn header_alone(socket: &TcpStream) {
    let waiting = async {
        while unacknowledged(socket).is_ok_and(|bytes| bytes > 0) {
            sleep(ACK_POLL).await;
        }
    };
    // A receiver whose system is that slow gets the plain pause.
    let _ = timeout(HEADER_ACK, waiting).await;
    sleep(HEADER_READ).await;
}

/// Bytes that the peer's system has not acknowledged, by `tx_queue` in `/proc/net/tcp`.
#[cfg(target_os = "linux")]
fn unacknowledged(socket: &TcpStream) -> io::Result<u64> {
    let (local, remote) = (proc_form(socket.local_addr()?), proc_form(socket.peer_addr()?));
    let table = if socket.local_addr()?.is_ipv4() { "/proc/net/tcp" } else { "/proc/net/tcp6" };
    let table = std::fs::read_to_string(table)?;
    let queue = table.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let ours = fields.next() == Some(&local) && fields.next() == Some(&remote);
        let (queue, _) = fields.nth(1).filter(|_| ours)?.split_once(':')?;
        u64::from_str_radix(queue, 16).ok()
    });
    queue.ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// An address as `/proc/net/tcp` writes it: 32-bit words in the machine's byte order, then the port.
#[cfg(target_os = "linux")]
fn proc_form(address: SocketAddr) -> String {
    let octets = match address.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let words = octets.chunks_exact(4).map(|word| u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
    words.map(|word| format!("{word:08X}")).collect::<String>() + &format!(":{:04X}", address.port())
}

/// Unknown here: the plain pause has to do.
#[cfg(not(target_os = "linux"))]
fn unacknowledged(_: &TcpStream) -> io::Result<u64> {
    Err(io::ErrorKind::Unsupported.into())
}
