//! The guest's half of pairing: from addresses to a host that has proven itself, and lanes beside it.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::{TlsConnector, client};

use super::conn::{Channel, Conn};
use super::consent::Standing;
use super::error::SessionError;
use super::growth::grow;
use super::lanes::{LaneSecret, Running};
use super::opening::{PAIRING_LIMIT, Paired, compare, hello, named, part, unnamed};
use super::returning::{ResumeHash, key_id};
use crate::events::{Event, Reporter};
use crate::net::dial;
use crate::pairing::code::{Awaiting, SixDigits};
use crate::pairing::proof::{self, Direction, Purpose};
use crate::pairing::tls::{self, Pin};
use crate::pairing::{Binding, Fingerprint, Identity, Invitation};
use crate::wire::{Commit, Hello, Method, Nonce, Open, Proof, RefuseCode, Reveal, Role, VERSION};

/// Whom a guest means.
pub enum Target {
    /// The holder of the key in a link.
    Invited(Invitation),
    /// Whoever answers at these addresses; two people compare a code.
    Unproven(Vec<SocketAddr>),
    /// The holder of that key, who knows ours.
    Known(SocketAddr, Fingerprint),
}

/// How a guest goes about its visits.
pub(super) struct Errand<'a> {
    pub(super) identity: &'a Identity,
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
    pub(super) address: SocketAddr,
    /// This end's address of the connection.
    pub(super) local: IpAddr,
    source: Option<IpAddr>,
}

/// What it takes to open lanes beside a visit, without the visit itself, which goes on meanwhile.
pub(super) struct LaneWay {
    address: SocketAddr,
    source: Option<IpAddr>,
    server: Fingerprint,
    secret: LaneSecret,
}

impl Visit {
    pub(super) fn lane_way(&self) -> LaneWay {
        let Paired { binding, lane_secret, .. } = &self.paired;
        LaneWay { address: self.address, source: self.source, server: binding.server, secret: lane_secret.clone() }
    }

    /// Where to come back to.
    pub(super) fn home(&self) -> Home {
        Home { address: self.address, key: self.paired.binding.server }
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
        let entered = running.lanes.enter(0, most, &stream.sock).map_err(SessionError::Cut)?;
        entered.ok_or_else(|| SessionError::broke("a lane number that is taken"))?.run(stream)?;
        Ok(grow(way, identity.clone(), session, most, Arc::clone(&running.lanes), opening))
    }
}

impl Errand<'_> {
    /// Connects, pairs and says hello. Where `kept` knows a transfer that was begun with the key that answers, that proves
    /// this end; if the host knows nothing of it, it pairs as if for the first time.
    pub(super) async fn visit(
        &self,
        target: &Target,
        kept: impl Fn(&Fingerprint) -> Option<ResumeHash>,
    ) -> Result<Visit, SessionError> {
        let (addresses, pin) = match target {
            Target::Invited(invitation) => (vec![invitation.address], invitation.pin()),
            Target::Unproven(addresses) => (addresses.clone(), Pin::Unknown),
            Target::Known(address, key) => (vec![*address], Pin::Prefix(key.prefix())),
        };
        let stream = self.connect(&addresses, pin).await?;
        let key = self.binding_of(&stream)?.server;
        let Some(hash) = kept(&key) else { return self.pair(stream, Proving::First(target)).await };
        match self.pair(stream, Proving::Again(&hash)).await {
            Err(SessionError::Refused(refuse)) if refuse.code == RefuseCode::Pairing => {
                let stream = self.connect(&addresses, Pin::Prefix(key.prefix())).await?;
                self.pair(stream, Proving::First(target)).await
            }
            visited => visited,
        }
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
        let mut known = true;
        loop {
            let back = async {
                let stream = self.connect(&[home.address], Pin::Prefix(home.key.prefix())).await?;
                self.pair(stream, if known { Proving::Again(hash) } else { Proving::First(target) }).await
            };
            match back.await {
                Err(SessionError::Refused(refuse)) if refuse.code == RefuseCode::Pairing && known => known = false,
                Err(error) if error.is_passing() && began.elapsed() + pause < self.retry => {
                    sleep(pause).await;
                    pause = LONGEST_PAUSE.min(2 * pause);
                }
                back => return back,
            }
        }
    }

    async fn connect(&self, addresses: &[SocketAddr], pin: Pin) -> Result<client::TlsStream<TcpStream>, SessionError> {
        let socket = dial::dial_any(addresses, self.source.as_slice()).await?;
        let limit = timeout(PAIRING_LIMIT, secure(socket, self.identity, pin));
        limit.await.map_err(|_| SessionError::Silent)?
    }

    fn binding_of(&self, stream: &client::TlsStream<TcpStream>) -> Result<Binding, SessionError> {
        let binding = tls::client_binding(stream.get_ref().1, self.identity);
        binding.map_err(|error| SessionError::Pairing(error.to_string()))
    }

    async fn pair(&self, stream: client::TlsStream<TcpStream>, how: Proving<'_>) -> Result<Visit, SessionError> {
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
            conn.send(&hello(self.role, self.name)).await?;
            let theirs: Hello = conn.expect().await?;
            match theirs.version {
                VERSION => Ok(theirs),
                other => Err(SessionError::broke(format!("it goes on in version {other} of the protocol"))),
            }
        });
        let theirs = match hellos.await.unwrap_or(Err(SessionError::Silent)) {
            Ok(theirs) => theirs,
            Err(error) => return Err(part(conn, error).await),
        };
        let (peer, standing) = (named(&binding.server, address, &theirs), Standing::VERIFIED);
        self.reporter.tell(Event::Peer { peer: peer.clone(), label: standing.label });
        let role = theirs.role;
        let paired = Paired { conn, peer, standing, role, binding, lane_secret, returning: None };
        Ok(Visit { paired, address, local, source: self.source })
    }
}

/// What this end proves itself with.
enum Proving<'a> {
    /// As the target allows.
    First(&'a Target),
    /// A transfer of before.
    Again(&'a ResumeHash),
}

async fn secure(
    socket: TcpStream,
    identity: &Identity,
    pin: Pin,
) -> Result<client::TlsStream<TcpStream>, SessionError> {
    let ip = socket.peer_addr().map_err(SessionError::Cut)?.ip();
    let connector = TlsConnector::from(tls::client_config(identity, pin));
    connector.connect(ServerName::IpAddress(ip.into()), socket).await.map_err(SessionError::handshake)
}

/// Proves this end, and has the other prove itself, before a name or size leaves; or gives the code that two people
/// must compare first.
async fn prove<S: Channel>(
    conn: &mut Conn<S>,
    how: Proving<'_>,
    binding: &Binding,
) -> Result<Option<SixDigits>, SessionError> {
    let versions = vec![VERSION];
    match how {
        Proving::First(Target::Invited(invitation)) => {
            conn.send(&Open { versions, method: Method::Invite { proof: invitation.prove(binding) } }).await?;
            let proof: Proof = conn.expect().await?;
            if !invitation.verify_host(binding, &proof.0) {
                return Err(SessionError::Pairing("the other side could not prove that it made this link".to_owned()));
            }
            Ok(None)
        }
        Proving::First(Target::Unproven(_)) => {
            conn.send(&Open { versions, method: Method::Code }).await?;
            let commit: Commit = conn.expect().await?;
            let awaiting = Awaiting::new(binding.clone(), commit.0);
            conn.send(&Nonce(awaiting.nonce())).await?;
            let reveal: Reveal = conn.expect().await?;
            awaiting.check(&reveal.0).map(Some).map_err(|error| SessionError::Pairing(error.to_string()))
        }
        Proving::Again(hash) => {
            let proof = proof::prove(hash, Purpose::Resume, Direction::Client, binding);
            conn.send(&Open { versions, method: Method::Resume { key_id: key_id(hash), proof } }).await?;
            let theirs: Proof = conn.expect().await?;
            if !proof::verify(hash, Purpose::Resume, Direction::Server, binding, &theirs.0) {
                return Err(SessionError::Pairing("the other side could not prove that it was there".to_owned()));
            }
            Ok(None)
        }
        Proving::First(Target::Known(..)) => {
            conn.send(&Open { versions, method: Method::Device }).await?;
            Ok(None)
        }
    }
}

/// A lane beside a paired connection: the same key must answer.
pub(super) async fn open_lane(
    way: &LaneWay,
    identity: &Identity,
    session: [u8; 16],
    lane: u16,
) -> Result<rustls::StreamOwned<rustls::ClientConnection, std::net::TcpStream>, SessionError> {
    let socket = dial::dial(way.address, way.source).await?;
    let open = async {
        let stream = secure(socket, identity, Pin::Prefix(way.server.prefix())).await?;
        let binding = tls::client_binding(stream.get_ref().1, identity)
            .map_err(|error| SessionError::Pairing(error.to_string()))?;
        let secret = way.secret.as_slice();
        let proof = proof::prove(secret, Purpose::Lane, Direction::Client, &binding);
        // At an outbox the other end goes on at once, and what it says is the lane's.
        let mut conn = Conn::frugal(stream);
        conn.send(&Open { versions: vec![VERSION], method: Method::Lane { session, lane, proof } }).await?;
        let theirs: Proof = conn.expect().await?;
        if !proof::verify(secret, Purpose::Lane, Direction::Server, &binding, &theirs.0) {
            return Err(SessionError::Pairing("the other side could not prove that it is the same session".to_owned()));
        }
        conn.into_stream()
    };
    let stream = timeout(PAIRING_LIMIT, open).await.map_err(|_| SessionError::Silent)??;
    let (socket, tls) = stream.into_inner();
    Ok(rustls::StreamOwned::new(tls, socket.into_std().map_err(SessionError::Cut)?))
}
