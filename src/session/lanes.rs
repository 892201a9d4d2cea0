//! Further connections of a paired session, each proven with the session's own secret. The guest dials them, whichever
//! way the files go.

use std::collections::{HashMap, HashSet};
use std::io::{self, BufReader, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::{ConnectionCommon, SideData, StreamOwned};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use zeroize::Zeroizing;

use super::error::SessionError;
use super::growth::Distance;
use super::host::lock;
use crate::net::cuttable::Cuttable;
use crate::net::prefer_bbr;
use crate::pairing::proof::{self, Direction, EXPORTER_BYTES, Purpose};
use crate::pairing::{Binding, Fingerprint};
use crate::transfer::{Incoming, LaneError, LaneStream, Outgoing, receive_lane, send_lane};

/// A lane on which nothing moved for this long is dead. Longer than any stall of a disk: a peer that has gone is found
/// out much sooner by its silence on the control connection, which ends the session and cuts its lanes.
const LANE_SILENCE: Duration = Duration::from_secs(5 * 60);

/// What a lane takes from its socket in one call: rustls alone asks for 4 KiB at a time. More does not stay in the cache.
const READ_AHEAD: usize = 64 * 1024;

/// Records that a lane holds for its socket: a piece of 64 KiB with its frame goes out in one call. The 64 KiB of rustls
/// leave a few bytes of it for another one; much more is more than the allocator keeps from one piece to the next.
const WRITE_ROOM: usize = 72 * 1024;

/// The session's secret, from which every lane is proven.
pub(super) type LaneSecret = Zeroizing<[u8; EXPORTER_BYTES]>;

/// What the lanes of a transfer do, on this side.
pub(super) enum LaneWork {
    /// Take what comes.
    Receive(Arc<Incoming>),
    /// Send what was asked for.
    Send(Arc<Outgoing>),
}

/// The lanes of one accepted transfer.
pub(super) struct Lanes {
    work: LaneWork,
    open: Mutex<OpenLanes>,
    ends: UnboundedSender<LaneEnded>,
    /// Whether what is lost on its way does not slow them down.
    bears_loss: AtomicBool,
}

#[derive(Default)]
struct OpenLanes {
    /// Their sockets, so that they can be cut.
    sockets: HashMap<u16, TcpStream>,
    /// Numbers that were used, or were lost before their lanes came.
    used: HashSet<u16>,
}

impl OpenLanes {
    /// Whether there is room for one of this number, with `most` at once.
    fn admits(&self, lane: u16, most: u16) -> bool {
        self.sockets.len() < usize::from(most) && !self.used.contains(&lane)
    }
}

/// Which lane ended, and how.
pub(super) type LaneEnded = (u16, Result<(), LaneError>);

/// The lanes of a transfer that runs; dropping it stops and cuts them, whatever they are waiting for.
pub(super) struct Running {
    pub(super) lanes: Arc<Lanes>,
    /// How each lane ended.
    pub(super) ends: UnboundedReceiver<LaneEnded>,
}

/// An open lane; told as ended, and off the books, when dropped.
pub(super) struct LaneHandle {
    lanes: Arc<Lanes>,
    lane: u16,
    ended: Result<(), LaneError>,
}

/// A lane's socket: reads run ahead, writes go straight through.
struct LaneSocket(BufReader<Cuttable>);

impl Read for LaneSocket {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.read(bytes)
    }
}

impl Write for LaneSocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.get_ref().write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.get_ref().write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.get_ref().flush()
    }
}

/// The sessions of a host that lanes may join now.
#[derive(Default)]
pub(super) struct LaneRegistry {
    open: Mutex<HashMap<[u8; 16], Arc<OpenSession>>>,
}

/// One session that lanes may join.
pub(super) struct OpenSession {
    secret: LaneSecret,
    guest: Fingerprint,
    most: u16,
    lanes: Arc<Lanes>,
}

/// Takes the session out of the registry when dropped.
pub(super) struct Registration<'a> {
    registry: &'a LaneRegistry,
    name: [u8; 16],
}

impl LaneWork {
    fn run(&self, stream: &mut impl LaneStream, lane: u16) -> Result<(), LaneError> {
        match self {
            LaneWork::Receive(incoming) => receive_lane(stream, incoming),
            LaneWork::Send(outgoing) => send_lane(stream, outgoing, lane),
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            LaneWork::Receive(incoming) => incoming.bytes(),
            LaneWork::Send(outgoing) => outgoing.bytes(),
        }
    }

    fn stop(&self) {
        match self {
            LaneWork::Receive(incoming) => incoming.stop(),
            LaneWork::Send(outgoing) => outgoing.stop(),
        }
    }
}

impl Lanes {
    /// Of a transfer whose lanes do `work`; none is open yet.
    pub(super) fn running(work: LaneWork) -> Running {
        let (ends, ended) = unbounded_channel();
        Running {
            lanes: Arc::new(Lanes { work, open: Mutex::default(), ends, bears_loss: AtomicBool::new(false) }),
            ends: ended,
        }
    }

    /// Notes a lane's socket; `None` if the number was used, or `most` are open.
    pub(super) fn enter(
        self: &Arc<Self>,
        lane: u16,
        most: u16,
        socket: &TcpStream,
        distance: Distance,
    ) -> io::Result<Option<LaneHandle>> {
        if let LaneWork::Send(outgoing) = &self.work {
            // Near by there is next to no loss, and pacing costs more than it brings.
            self.bears_loss.store(distance != Distance::Near && prefer_bbr(socket), Ordering::Relaxed);
            if lane == 0 && distance == Distance::Far {
                outgoing.presume_slow();
            }
        }
        let mut open = lock(&self.open);
        if !open.admits(lane, most) {
            return Ok(None);
        }
        open.used.insert(lane);
        open.sockets.insert(lane, socket.try_clone()?);
        // Whoever drops it before the work is done has panicked.
        Ok(Some(LaneHandle { lanes: Arc::clone(self), lane, ended: Err(LaneError::Stopped) }))
    }

    /// Cuts one, which then ends early; `false` if it is not open, and then it will never be.
    pub(super) fn cut(&self, lane: u16) -> bool {
        let mut open = lock(&self.open);
        open.used.insert(lane);
        // A socket that the peer has closed already needs no cutting.
        open.sockets.get(&lane).map(|socket| _ = socket.shutdown(Shutdown::Both)).is_some()
    }

    /// Whether loss does not slow them down; no if the peer sends, who alone knows.
    pub(super) fn bear_loss(&self) -> bool {
        self.bears_loss.load(Ordering::Relaxed)
    }

    /// How many are open.
    pub(super) fn count(&self) -> usize {
        lock(&self.open).sockets.len()
    }

    /// Bytes of file content that they have carried so far.
    pub(super) fn bytes(&self) -> u64 {
        self.work.bytes()
    }

    /// Lets those beyond `most` end before their time. Only who sends can end a lane.
    pub(super) fn keep(&self, most: u16) {
        if let LaneWork::Send(outgoing) = &self.work {
            outgoing.keep(most);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.lanes.work.stop();
        for socket in lock(&self.lanes.open).sockets.values() {
            // A socket that the peer has closed already needs no cutting.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

impl LaneHandle {
    /// Does the lane's work on a thread of its own.
    pub(super) fn run<C, S>(self, stream: StreamOwned<C, TcpStream>) -> Result<(), SessionError>
    where
        C: DerefMut + Deref<Target = ConnectionCommon<S>> + Send + 'static,
        S: SideData + 'static,
    {
        let (mut conn, socket) = stream.into_parts();
        let socket = Cuttable::new(socket, LANE_SILENCE).map_err(SessionError::Cut)?;
        let work = move || {
            let mut handle = self;
            conn.set_buffer_limit(Some(WRITE_ROOM));
            let mut stream = StreamOwned::new(conn, LaneSocket(BufReader::with_capacity(READ_AHEAD, socket)));
            handle.ended = handle.lanes.work.run(&mut stream, handle.lane);
            // The other end may be waiting for ours before it closes; if it has gone, nobody does.
            stream.conn.send_close_notify();
            let _ = stream.conn.complete_io(&mut stream.sock);
        };
        std::thread::Builder::new().spawn(work).map(drop).map_err(SessionError::Cut)
    }
}

impl Drop for LaneHandle {
    fn drop(&mut self) {
        lock(&self.lanes.open).sockets.remove(&self.lane);
        // The session may have ended first.
        let _ = self.lanes.ends.send((self.lane, std::mem::replace(&mut self.ended, Ok(()))));
    }
}

impl LaneRegistry {
    /// Lets `guest` open up to `most` lanes under `name`. Fails if another session has that name.
    pub(super) fn register(
        &self,
        name: [u8; 16],
        secret: LaneSecret,
        guest: Fingerprint,
        most: u16,
        running: &Running,
    ) -> Result<Registration<'_>, SessionError> {
        let session = Arc::new(OpenSession { secret, guest, most, lanes: Arc::clone(&running.lanes) });
        let mut open = lock(&self.open);
        if open.contains_key(&name) {
            return Err(SessionError::broke("a session name that is taken"));
        }
        open.insert(name, session);
        Ok(Registration { registry: self, name })
    }

    /// The host's proof for a lane that proves itself and is not there yet. Who does not can't tell whether there is such a
    /// session.
    pub(super) fn admit(
        &self,
        name: &[u8; 16],
        lane: u16,
        theirs: &[u8],
        binding: &Binding,
    ) -> Result<(LaneProof, Arc<OpenSession>), SessionError> {
        let session = lock(&self.open).get(name).cloned().ok_or(SessionError::NoSession)?;
        let proven = proof::verify(session.secret.as_slice(), Purpose::Lane, Direction::Client, binding, theirs);
        let free = lock(&session.lanes.open).admits(lane, session.most);
        if !proven || !free || session.guest != binding.client {
            return Err(SessionError::Pairing("no such session".to_owned()));
        }
        let ours = proof::prove(session.secret.as_slice(), Purpose::Lane, Direction::Server, binding);
        Ok((ours, session))
    }
}

/// A proof as it goes over the wire.
pub(super) type LaneProof = [u8; proof::PROOF_BYTES];

impl OpenSession {
    /// Notes the socket of an admitted lane; `None` if another was quicker to take its number.
    pub(super) fn enter(&self, lane: u16, socket: &TcpStream, distance: Distance) -> Option<LaneHandle> {
        self.lanes.enter(lane, self.most, socket, distance).ok()?
    }
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        lock(&self.registry.open).remove(&self.name);
    }
}
