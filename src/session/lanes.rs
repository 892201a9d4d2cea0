//! Further connections of a paired session, each proven with the session's own secret.

use std::collections::HashMap;
use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use zeroize::Zeroizing;

use crate::pairing::proof::{self, Direction, EXPORTER_BYTES, Purpose};
use crate::pairing::{Binding, Fingerprint};
use crate::transfer::{Incoming, LaneError};

/// A lane on which nothing moved for this long is dead. Longer than any stall of a disk: a peer that has gone is found
/// out much sooner by its silence on the control connection, which ends the session and cuts its lanes.
const LANE_SILENCE: Duration = Duration::from_secs(5 * 60);

/// The session's secret, from which every lane is proven.
pub(super) type LaneSecret = Zeroizing<[u8; EXPORTER_BYTES]>;

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
    pub(super) incoming: Arc<Incoming>,
    lanes: Lanes,
    faults: UnboundedSender<LaneError>,
}

/// The sockets of a session's lanes, so that they can be cut.
#[derive(Default)]
pub(super) struct Lanes {
    open: Mutex<HashMap<u16, TcpStream>>,
}

/// Takes the session out of the registry, and cuts its lanes, when dropped.
pub(super) struct Registration<'a> {
    registry: &'a LaneRegistry,
    name: [u8; 16],
    pub(super) session: Arc<OpenSession>,
}

/// Takes a lane off the books when dropped.
pub(super) struct LaneHandle {
    pub(super) session: Arc<OpenSession>,
    lane: u16,
}

impl LaneRegistry {
    /// Lets `guest` open up to `most` lanes under `name`.
    pub(super) fn register(
        &self,
        name: [u8; 16],
        secret: LaneSecret,
        guest: Fingerprint,
        most: u16,
        incoming: Arc<Incoming>,
        faults: UnboundedSender<LaneError>,
    ) -> Registration<'_> {
        let session = Arc::new(OpenSession { secret, guest, most, incoming, lanes: Lanes::default(), faults });
        lock(&self.open).insert(name, Arc::clone(&session));
        Registration { registry: self, name, session }
    }

    /// The host's proof for a lane that proves itself and is not there yet.
    pub(super) fn admit(
        &self,
        name: &[u8; 16],
        lane: u16,
        theirs: &[u8],
        binding: &Binding,
    ) -> Option<(LaneProof, Arc<OpenSession>)> {
        let session = lock(&self.open).get(name).cloned()?;
        let proven = proof::verify(session.secret.as_slice(), Purpose::Lane, Direction::Client, binding, theirs);
        let free = lane < session.most && !lock(&session.lanes.open).contains_key(&lane);
        if !proven || !free || session.guest != binding.client {
            return None;
        }
        let ours = proof::prove(session.secret.as_slice(), Purpose::Lane, Direction::Server, binding);
        Some((ours, session))
    }
}

/// A proof as it goes over the wire.
pub(super) type LaneProof = [u8; proof::PROOF_BYTES];

impl OpenSession {
    /// Notes the socket of an admitted lane; `None` if another was quicker to take its number.
    pub(super) fn enter(self: &Arc<Self>, lane: u16, socket: &TcpStream) -> Option<LaneHandle> {
        self.lanes.enter(lane, socket).ok()?.then(|| LaneHandle { session: Arc::clone(self), lane })
    }

    /// How a lane ended. A sender that misbehaves on one has lost the whole session; a cut lane may be followed by
    /// another.
    pub(super) fn report(&self, ended: Result<(), LaneError>) {
        if let Err(error) = ended
            && error.is_misbehaviour()
        {
            // The session may have ended first.
            let _ = self.faults.send(error);
        }
    }

    pub(super) fn open_lanes(&self) -> usize {
        lock(&self.lanes.open).len()
    }
}

impl Lanes {
    /// Notes a lane's socket, made blocking and impatient; `false` if the number is taken.
    pub(super) fn enter(&self, lane: u16, socket: &TcpStream) -> io::Result<bool> {
        socket.set_nonblocking(false)?;
        socket.set_read_timeout(Some(LANE_SILENCE))?;
        socket.set_write_timeout(Some(LANE_SILENCE))?;
        let mut open = lock(&self.open);
        if open.contains_key(&lane) {
            return Ok(false);
        }
        open.insert(lane, socket.try_clone()?);
        Ok(true)
    }

    /// Ends every lane, whatever it is waiting for.
    pub(super) fn cut(&self) {
        for socket in lock(&self.open).values() {
            // A socket that the peer has closed already needs no cutting.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for LaneHandle {
    fn drop(&mut self) {
        lock(&self.session.lanes.open).remove(&self.lane);
    }
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        lock(&self.registry.open).remove(&self.name);
        self.session.incoming.stop();
        self.session.lanes.cut();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
