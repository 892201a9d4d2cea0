//! The guest's half of pairing: from addresses to a host that has proven itself, and lanes beside it.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::client;

use super::acquaintance::{Acquaintance, recognise};
use super::conn::Conn;
use super::consent::Standing;
use super::devices::{Device, Devices};
use super::error::{SessionError, Unconfirmed};
use super::growth::{Distance, grow};
use super::lanes::Running;
use super::opening::{PAIRING_LIMIT, Paired, compare, hello, named, part, unnamed};
use super::proving::{LaneWay, Proving, open_lane, prove, secure};
use super::returning::ResumeHash;
use crate::events::{Event, Reporter};
use crate::net::{Load, NetError, dial};
use crate::pairing::tls::{self, Pin};
use crate::pairing::{Binding, Fingerprint, Identity, Invitation};
use crate::wire::{Hello, Refuse, RefuseCode, Role, VERSION};

/// Whom a guest means.
pub enum Target {
    /// The holder of the key in a link.
    Invited(Invitation),
    /// Whoever answers at these addresses; two people compare a code.
    Unproven(Vec<SocketAddr>),
    /// The holder of that key, who knows ours.
    Known(SocketAddr, Fingerprint),
    /// A device that is remembered, wherever its key answers.
    Remembered {
        /// Which one.
        device: Device,
        /// Where it may be; anybody can claim to be it.
        addresses: Vec<SocketAddr>,
    },
}

/// A host that has proven itself to this end.
#[derive(Debug, Clone, Copy)]
pub struct Met {
    /// Where it was.
    pub address: SocketAddr,
    /// Its key.
    pub key: Fingerprint,
    role: Role,
    holds_room: bool,
}

impl Met {
    /// # Errors
    /// It holds no room.
    pub fn must_hold_room(&self) -> Result<(), SessionError> {
        if self.holds_room { Ok(()) } else { Err(SessionError::NoRoom(self.role)) }
    }
}

/// How a guest goes about its visits.
pub(super) struct Errand<'a> {
    pub(super) identity: &'a Identity,
    pub(super) devices: &'a Devices,
    /// The name that the host is shown.
    pub(super) name: &'a str,
    pub(super) role: Role,
    /// The address to dial from, if one was asked for.
    pub(super) source: Option<IpAddr>,
    pub(super) reporter: &'a dyn Reporter,
    /// How long a host is looked for after a cut.
    pub(super) retry: Duration,
}

/// Where a host was, and which key it has.
#[derive(Clone)]
pub(super) struct Home {
    address: SocketAddr,
    key: Fingerprint,
}

/// How long after a failed attempt another is made; then twice as long, up to the second one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The guest's end of a control connection, and what it takes to open lanes beside it.
pub(super) struct Visit {
    pub(super) paired: Paired<client::TlsStream<TcpStream>>,
    /// Whether the host holds a room.
    holds_room: bool,
    pub(super) address: SocketAddr,
    /// This end's address of the connection.
    pub(super) local: IpAddr,
    source: Option<IpAddr>,
}

impl Visit {
    pub(super) fn lane_way(&self) -> LaneWay {
        let Paired { binding, lane_secret, .. } = &self.paired;
        LaneWay { address: self.address, source: self.source, server: binding.server, secret: lane_secret.clone() }
    }

    /// Who it is, for whoever wants to talk there too.
    pub(super) fn met(&self) -> Met {
        let Visit { paired, holds_room, address, .. } = self;
        Met { address: *address, key: paired.binding.server, role: paired.role, holds_room: *holds_room }
    }

    /// Where to come back to.
    pub(super) fn home(&self) -> Home {
        Home { address: self.address, key: self.paired.binding.server }
    }

    /// The host.
    pub(super) fn acquaintance(&self) -> Acquaintance {
        let Paired { peer, binding, bond, .. } = &self.paired;
        Acquaintance { peer: peer.clone(), key: binding.server, bond: *bond }
    }

    /// Remembers the host, if that is wanted: what this end has come with says who it is.
    pub(super) async fn befriend(&self, devices: &Devices, reporter: &dyn Reporter) {
        self.acquaintance().befriend(devices, reporter, true).await;
    }

    /// Fails if the host is not there for what this end came for.
    pub(super) fn must_be(&self, role: Role) -> Result<(), SessionError> {
        if self.paired.role == role { Ok(()) } else { Err(SessionError::Mismatch(self.paired.role)) }
    }

    /// Dials the first lane of `session`, and sets it to work. Nothing but a refusal is due on the control connection
    /// meanwhile. What comes back opens further ones, `most` in all, for as long as it is polled.
    pub(super) async fn dial_lanes(
        &mut self,
        identity: &Identity,
        session: [u8; 16],
        running: &Running,
        most: u16,
    ) -> Result<impl Future<Output = Infallible> + use<>, SessionError> {
        let (way, began) = (self.lane_way(), Instant::now());
        let lane = open_lane(&way, identity, session, 0);
        let stream = self.paired.conn.attentive_during(lane).await?;
        let opening = began.elapsed();
        let distance = Distance::of_opening(opening, &stream.sock);
        let entered = running.lanes.enter(0, most, &stream.sock, distance);
        let entered = entered.map_err(SessionError::Cut)?;
        entered.ok_or_else(|| SessionError::broke("a lane number that is taken"))?.run(stream)?;
        Ok(grow(way, identity.clone(), session, most, Arc::clone(&running.lanes), (opening, distance)))
    }
}

impl Errand<'_> {
    /// Connects, pairs and says hello. Where `kept` knows a transfer that was begun with the key that answers, that proves
    /// this end; else its own key does, where the host is remembered. If the host knows nothing of that, it pairs as if for
    /// the first time.
    pub(super) async fn visit(
        &self,
        target: &Target,
        kept: impl Fn(&Fingerprint) -> Option<ResumeHash>,
    ) -> Result<Visit, SessionError> {
        let (addresses, pin) = match target {
            Target::Invited(invitation) => (vec![invitation.address], invitation.pin()),
            Target::Unproven(addresses) => (addresses.clone(), Pin::Unknown),
            Target::Known(address, key) => (vec![*address], Pin::Prefix(key.prefix())),
            Target::Remembered { device, addresses } => (addresses.clone(), Pin::Prefix(device.key.prefix())),
        };
        let mut stream = self.connect(&addresses, pin).await.map_err(|error| target.blame(error))?;
        let key = self.binding_of(&stream)?.server;
        let mut ways = self.ways(target, &key, kept(&key))?.into_iter();
        let mut refused = None;
        while let Some(way) = ways.next() {
            match self.pair(stream, &way).await {
                Err(SessionError::Refused(refuse)) if is_unknown_there(&refuse) && ways.len() > 0 => {
                    refused = Some(refuse);
                    stream = self.connect(&addresses, Pin::Prefix(key.prefix())).await?;
                }
                // Nobody is here for the next way, so what is in the way is that the first one did not do.
                Err(SessionError::CodeDiffers(Unconfirmed::NoTerminal)) if refused.is_some() => break,
                Ok(visit) => {
                    // Whom this end knows by then was told of already.
                    if !matches!(target, Target::Known(..)) {
                        self.tell_of(&visit);
                    }
                    return Ok(visit);
                }
                Err(error) => return Err(error),
            }
        }
        Err(refused.map_or(SessionError::Silent, SessionError::Refused))
    }

    /// What this end may prove itself with to the holder of `key`, best first.
    fn ways<'t>(
        &self,
        target: &'t Target,
        key: &Fingerprint,
        kept: Option<ResumeHash>,
    ) -> Result<Vec<Proving<'t>>, SessionError> {
        let mut ways: Vec<Proving<'t>> = kept.map(Proving::Again).into_iter().collect();
        match target {
            Target::Invited(invitation) => ways.push(Proving::Invited(invitation)),
            Target::Unproven(_) | Target::Remembered { .. } => {
                ways.extend(self.devices.known()?.holder(key).map(|_| Proving::Key));
                ways.push(Proving::Code);
            }
            Target::Known(..) => ways.push(Proving::Key),
        }
        Ok(ways)
    }

    /// Goes back to a host after a cut, and tries until it is there again or the time is over; then the error is that of
    /// the last attempt.
    pub(super) async fn come_back(
        &self,
        target: &Target,
        home: &Home,
        hash: &ResumeHash,
    ) -> Result<Visit, SessionError> {
        let (began, mut pause) = (Instant::now(), FIRST_PAUSE);
        let (ways, mut way) = (self.ways(target, &home.key, Some(*hash))?, 0);
        loop {
            let back = async {
                let stream = self.connect(&[home.address], Pin::Prefix(home.key.prefix())).await?;
                self.pair(stream, &ways[way]).await
            };
            let left = self.retry.saturating_sub(began.elapsed());
            match timeout(left, back).await.unwrap_or(Err(SessionError::Silent)) {
                Err(SessionError::Refused(refuse)) if is_unknown_there(&refuse) && way + 1 < ways.len() => way += 1,
                Err(error) if error.is_passing() && began.elapsed() + pause < self.retry => {
                    sleep(pause).await;
                    pause = LONGEST_PAUSE.min(2 * pause);
                }
                Ok(back) => {
                    self.tell_of(&back);
                    return Ok(back);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn tell_of(&self, visit: &Visit) {
        let Paired { peer, standing, .. } = &visit.paired;
        self.reporter.tell(Event::Peer { peer: peer.clone(), label: standing.label });
    }

    /// Connects to the first address at which the pinned key answers. Anybody can announce an address of their own beside
    /// those of the one who is meant; that one has another key is the error then.
    async fn connect(&self, addresses: &[SocketAddr], pin: Pin) -> Result<client::TlsStream<TcpStream>, SessionError> {
        let (mut left, mut failure) = (addresses.to_vec(), None);
        loop {
            let socket = match dial::dial_any(&left, self.source.as_slice(), Load::Talk).await {
                Ok(socket) => socket,
                Err(error) => return Err(failure.unwrap_or(SessionError::Unreachable(error))),
            };
            let there = socket.peer_addr().map_err(SessionError::Cut)?;
            let secured = timeout(PAIRING_LIMIT, secure(socket, self.identity, pin)).await;
            match secured.unwrap_or(Err(SessionError::Silent)) {
                Err(_) if matches!(failure, Some(SessionError::WrongKey)) => {}
                Err(error) => failure = Some(error),
                secured => return secured,
            }
            let tried = left.len();
            left.retain(|address| (address.ip(), address.port()) != (there.ip(), there.port()));
            // An address such as 0.0.0.0 answers as another one: it would be tried for ever.
            if left.is_empty() || left.len() == tried {
                return Err(failure.unwrap_or(SessionError::Unreachable(NetError::NoAddress)));
            }
        }
    }

    fn binding_of(&self, stream: &client::TlsStream<TcpStream>) -> Result<Binding, SessionError> {
        let binding = tls::client_binding(stream.get_ref().1, self.identity);
        binding.map_err(|error| SessionError::Pairing(error.to_string()))
    }

    async fn pair(&self, stream: client::TlsStream<TcpStream>, how: &Proving<'_>) -> Result<Visit, SessionError> {
        let address = stream.get_ref().0.peer_addr().map_err(SessionError::Cut)?;
        let local = stream.get_ref().0.local_addr().map_err(SessionError::Cut)?.ip();
        let binding = self.binding_of(&stream)?;
        let lane_secret =
            tls::lane_secret(stream.get_ref().1).map_err(|error| SessionError::Pairing(error.to_string()))?;
        let mut conn = Conn::new(stream);
        let proven = timeout(PAIRING_LIMIT, prove(&mut conn, how, &binding)).await;
        let proven = match proven.unwrap_or(Err(SessionError::Silent)) {
            Ok(Some(code)) => compare(&mut conn, self.reporter, unnamed(&binding.server, address), code).await,
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = proven {
            return Err(part(conn, error).await);
        }
        let hellos = timeout(PAIRING_LIMIT, async {
            conn.send(&hello(self.role, self.name, self.devices)).await?;
            let theirs: Hello = conn.expect().await?;
            if theirs.version != VERSION {
                let version = theirs.version;
                return Err(SessionError::broke(format!("it goes on in version {version} of the protocol")));
            }
            let mut peer = named(&binding.server, address, &theirs);
            let bond = recognise(self.devices, &binding.server, &theirs, &mut peer)?;
            Ok((theirs.role, theirs.holds_room(), peer, bond))
        });
        let (role, holds_room, peer, bond) = match hellos.await.unwrap_or(Err(SessionError::Silent)) {
            Ok(met) => met,
            Err(error) => return Err(part(conn, error).await),
        };
        let standing = Standing::VERIFIED;
        let paired = Paired { conn, peer, standing, role, bond, binding, lane_secret, returning: None };
        Ok(Visit { paired, holds_room, address, local, source: self.source })
    }
}

impl Target {
    /// The same error; an alarm by the name of the device that was meant.
    fn blame(&self, error: SessionError) -> SessionError {
        match (self, error) {
            (Target::Remembered { device, .. }, SessionError::WrongKey) => {
                SessionError::NotThatDevice { name: device.name.clone(), mark: device.key.mark() }
            }
            (_, error) => error,
        }
    }
}

/// Whether the host does not know what this end has proven itself with.
fn is_unknown_there(refuse: &Refuse) -> bool {
    refuse.code == RefuseCode::Pairing
}
