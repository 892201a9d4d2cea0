//! From a fresh connection to a paired one: TLS, proof, the names of both ends (protocol.md 4).

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{interval, sleep, timeout, timeout_at};
use tokio_rustls::{LazyConfigAcceptor, TlsConnector, client, server};

use super::conn::{Conn, PING_EVERY};
use super::consent::{Standing, refusal};
use super::error::{SessionError, Unconfirmed};
use super::host::{Host, lock, unless_leaving};
use super::lanes::{LaneHandle, LaneSecret, OpenSession};
use crate::events::{Answer, Dialect, Event, NoReason, Peer, Question, Reporter};
use crate::names::PeerName;
use crate::net::accept::Arrival;
use crate::net::dial;
use crate::net::prefixed::Prefixed;
use crate::pairing::code::{Awaiting, Committed, SixDigits};
use crate::pairing::proof::{self, Direction, Purpose};
use crate::pairing::tls::{self, Inside, Pin};
use crate::pairing::{Binding, Fingerprint, Identity, Invitation, LinkKind};
use crate::wire::{Commit, Confirm, Hello, Kind, Method, Nonce, Open, Ping, Proof, RefuseCode, Reveal, Role, VERSION};

/// What this program calls itself in a `hello`.
const SOFTWARE: &str = concat!("qrdrop ", env!("CARGO_PKG_VERSION"));

/// How long pairing may take once the connection stands, people aside.
const PAIRING_LIMIT: Duration = Duration::from_secs(30);

/// Comparisons of codes that may wait for a person at once. Strangers can start them, and one prompt shows at a time.
const MOST_COMPARISONS: usize = 4;

/// How long two people may take to compare a code: longer than any `--ask-timeout` that makes sense, so that a peer
/// which never answers does not keep one of the [`MOST_COMPARISONS`] for ever.
const COMPARING_LIMIT: Duration = Duration::from_secs(10 * 60);

/// A control connection after pairing, seen from either end.
pub(super) struct Paired<S> {
    pub(super) conn: Conn<S>,
    pub(super) peer: Peer,
    pub(super) standing: Standing,
    pub(super) role: Role,
    pub(super) binding: Binding,
    pub(super) lane_secret: LaneSecret,
}

/// The host's end of a control connection.
pub(super) type Guest = Paired<server::TlsStream<Prefixed>>;

/// What came in through the native dialect.
pub(super) enum Entrance {
    /// Somebody with something to say.
    Guest(Box<Guest>),
    /// A further connection of a session.
    Lane(LaneHandle, Box<HostLane>),
}

/// The host's end of a lane: TLS over a blocking socket.
pub(super) type HostLane = rustls::StreamOwned<rustls::ServerConnection, std::net::TcpStream>;

/// Takes an arrival through TLS and pairing.
pub(super) async fn enter(
    host: &Host,
    arrival: Arrival,
    leaving: &mut watch::Receiver<bool>,
) -> Result<Entrance, SessionError> {
    let Arrival { stream, peer: address, pass, head_deadline, deadline, .. } = arrival;
    let handshake =
        async { timeout_at(head_deadline, handshake(host, stream)).await.unwrap_or(Err(SessionError::TooSlow)) };
    let stream = unless_leaving(leaving, handshake).await?;
    let tls = stream.get_ref().1;
    let binding = tls::server_binding(tls, &host.identity).map_err(|error| SessionError::Pairing(error.to_string()))?;
    let lane_secret = tls::lane_secret(tls).map_err(|error| SessionError::Pairing(error.to_string()))?;
    let mut conn = Conn::new(stream);
    let admitted = async {
        let admitted = timeout_at(deadline, admit(host, &mut conn, &binding, address.ip())).await;
        admitted.unwrap_or(Err(SessionError::TooSlow))
    };
    let method = match unless_leaving(leaving, admitted).await {
        Ok(method) => method,
        Err(error) => return Err(part(conn, error).await),
    };
    let standing = match method {
        Admitted::Known(standing) => standing,
        Admitted::Lane(lane, session) => {
            let stream = conn.into_stream()?;
            let (stream, tls) = stream.into_inner();
            let (_, stream) = stream.into_parts();
            let socket = stream.into_std().map_err(SessionError::Cut)?;
            let handle =
                session.enter(lane, &socket).ok_or_else(|| SessionError::broke("a lane number that is taken"))?;
            pass.promote();
            return Ok(Entrance::Lane(handle, Box::new(rustls::StreamOwned::new(tls, socket))));
        }
        Admitted::Comparing(code, turn) => {
            let peer = unnamed(&binding.client, address);
            match unless_leaving(leaving, compare(&mut conn, &*host.reporter, peer, code)).await {
                Ok(()) => turn.uncounted(),
                Err(error) => {
                    match error {
                        SessionError::CodeDiffers(Unconfirmed::NoTerminal) => turn.uncounted(),
                        _ => drop(turn),
                    }
                    return Err(part(conn, error).await);
                }
            }
            Standing::VERIFIED
        }
    };
    let hellos = async {
        let hellos = timeout(PAIRING_LIMIT, async {
            let theirs: Hello = conn.expect().await?;
            conn.send(&hello(host.role, &host.name)).await?;
            Ok(theirs)
        });
        hellos.await.unwrap_or(Err(SessionError::TooSlow))
    };
    let theirs = match unless_leaving(leaving, hellos).await {
        Ok(theirs) => theirs,
        Err(error) => return Err(part(conn, error).await),
    };
    pass.promote();
    let peer = named(&binding.client, address, &theirs);
    host.reporter.tell(Event::Peer { peer: peer.clone(), label: standing.label });
    Ok(Entrance::Guest(Box::new(Paired { conn, peer, standing, role: theirs.role, binding, lane_secret })))
}

async fn handshake(host: &Host, stream: Prefixed) -> Result<server::TlsStream<Prefixed>, SessionError> {
    let start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream);
    // A stranger who speaks other TLS, or none, is no more than one who hangs up.
    let start = start.await.map_err(SessionError::Cut)?;
    match tls::inside(&start.client_hello()) {
        Some(Inside::Native) => start.into_stream(Arc::clone(&host.native)).await.map_err(SessionError::Cut),
        Some(Inside::Web) | None => Err(SessionError::Cut(std::io::ErrorKind::Unsupported.into())),
    }
}

/// Tells the peer why, if it is still there, and closes.
pub(super) async fn part<S: AsyncRead + AsyncWrite + Unpin>(conn: Conn<S>, error: SessionError) -> SessionError {
    if let Some(refuse) = error.parting() {
        conn.refuse(refuse).await;
    }
    error
}

enum Admitted<'a> {
    Known(Standing),
    Comparing(SixDigits, Turn<'a>),
    Lane(u16, Arc<OpenSession>),
}

/// Checks the version and whatever the guest proves itself with, and answers it.
async fn admit<'a, S: AsyncRead + AsyncWrite + Unpin>(
    host: &'a Host,
    conn: &mut Conn<S>,
    binding: &Binding,
    address: IpAddr,
) -> Result<Admitted<'a>, SessionError> {
    let open: Open = conn.expect().await?;
    if !open.versions.contains(&VERSION) {
        let text = format!("version {VERSION} of the protocol is spoken here");
        return Err(SessionError::Declined(refusal(RefuseCode::Version, text)));
    }
    match open.method {
        Method::Invite { proof } => {
            let admission = host.with_tokens(|tokens| tokens.admit(&proof, binding, Instant::now()));
            let admission = admission.map_err(|refused| SessionError::Pairing(refused.to_string()))?;
            conn.send(&Proof(admission.host_proof)).await?;
            Ok(Admitted::Known(match admission.kind {
                LinkKind::Qrdrop => Standing::VERIFIED,
                LinkKind::Http => Standing::SCANNED,
            }))
        }
        Method::Code => {
            if !lock(&host.mismatches).is_open() {
                let text = "comparing codes is closed there after three that differed";
                return Err(SessionError::Declined(refusal(RefuseCode::CodeDiffers, text)));
            }
            let Some(mut turn) = host.begin_comparing(address) else {
                let text = "other codes are being compared there";
                return Err(SessionError::Declined(refusal(RefuseCode::Busy, text)));
            };
            let committed = Committed::new(binding.clone());
            conn.send(&Commit(committed.commit())).await?;
            let nonce: Nonce = conn.expect().await?;
            let (reveal, code) = committed.reveal(&nonce.0);
            turn.revealed = true;
            conn.send(&Reveal(reveal)).await?;
            Ok(Admitted::Comparing(code, turn))
        }
        Method::Lane { session, lane, proof } => {
            let admitted = host.lanes.admit(&session, lane, &proof, binding);
            let (ours, open) = admitted.ok_or_else(|| SessionError::Pairing("no such session".to_owned()))?;
            conn.send(&Proof(ours)).await?;
            Ok(Admitted::Lane(lane, open))
        }
        Method::Resume { .. } => Err(SessionError::Pairing("nothing of that transfer is kept here".to_owned())),
        Method::Device => Err(SessionError::Pairing("this device is not remembered here".to_owned())),
    }
}

/// Shows the code to both people. Only two explicit yeses go on.
async fn compare<S: AsyncRead + AsyncWrite + Unpin>(
    conn: &mut Conn<S>,
    reporter: &dyn Reporter,
    peer: Peer,
    code: SixDigits,
) -> Result<(), SessionError> {
    reporter.tell(Event::Code { peer: peer.clone(), code: code.to_string() });
    let mut answer = pin!(reporter.ask(Question::SameCode { peer, code: code.to_string() }));
    let mut ping = interval(PING_EVERY);
    let mut limit = pin!(sleep(COMPARING_LIMIT));
    let (mut ours, mut theirs) = (false, false);
    while !(ours && theirs) {
        tokio::select! {
            // Our own answer first: a side where nobody can be asked has not been told no by anybody.
            biased;
            answer = &mut answer, if !ours => {
                conn.send(&Confirm { same: answer == Answer::Yes }).await?;
                ours = match answer {
                    Answer::Yes => true,
                    Answer::No(NoReason::Person) => return Err(SessionError::CodeDiffers(Unconfirmed::Here)),
                    Answer::No(NoReason::Timeout) => return Err(SessionError::CodeDiffers(Unconfirmed::NoAnswerHere)),
                    Answer::No(NoReason::NoTerminal) => return Err(SessionError::CodeDiffers(Unconfirmed::NoTerminal)),
                };
            }
            () = &mut limit => {
                let who = if ours { Unconfirmed::NoAnswerThere } else { Unconfirmed::NoAnswerHere };
                return Err(SessionError::CodeDiffers(who));
            }
            _ = ping.tick() => conn.send(&Ping).await?,
            frame = conn.recv(|kind| kind == Kind::Confirm && !theirs) => {
                if !frame?.decode::<Confirm>()?.same {
                    return Err(SessionError::CodeDiffers(Unconfirmed::There));
                }
                theirs = true;
            }
        }
    }
    Ok(())
}

/// Whom a sender means.
pub enum Target {
    /// The holder of the key in a link.
    Invited(Invitation),
    /// Whoever answers at these addresses; two people compare a code.
    Unproven(Vec<SocketAddr>),
}

/// The guest's end of a control connection, and what it takes to open lanes beside it.
pub(super) struct Visit {
    pub(super) paired: Paired<client::TlsStream<TcpStream>>,
    address: SocketAddr,
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
}

/// Connects, pairs and says hello.
pub(super) async fn visit(
    target: &Target,
    identity: &Identity,
    name: &str,
    role: Role,
    source: Option<IpAddr>,
    reporter: &dyn Reporter,
) -> Result<Visit, SessionError> {
    let (addresses, pin) = match target {
        Target::Invited(invitation) => (vec![invitation.address], invitation.pin()),
        Target::Unproven(addresses) => (addresses.clone(), Pin::Unknown),
    };
    let socket = dial::dial_any(&addresses, source.as_slice()).await?;
    let address = socket.peer_addr().map_err(SessionError::Cut)?;
    let limit = timeout(PAIRING_LIMIT, secure(socket, identity, pin));
    let stream = limit.await.map_err(|_| SessionError::Silent)??;
    let tls = stream.get_ref().1;
    let binding = tls::client_binding(tls, identity).map_err(|error| SessionError::Pairing(error.to_string()))?;
    let lane_secret = tls::lane_secret(tls).map_err(|error| SessionError::Pairing(error.to_string()))?;
    let mut conn = Conn::new(stream);
    let proven = timeout(PAIRING_LIMIT, prove(&mut conn, target, &binding)).await;
    let proven = match proven.unwrap_or(Err(SessionError::Silent)) {
        Ok(Some(code)) => compare(&mut conn, reporter, unnamed(&binding.server, address), code).await,
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    if let Err(error) = proven {
        return Err(part(conn, error).await);
    }
    let hellos = timeout(PAIRING_LIMIT, async {
        conn.send(&hello(role, name)).await?;
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
    reporter.tell(Event::Peer { peer: peer.clone(), label: standing.label });
    let paired = Paired { conn, peer, standing, role: theirs.role, binding, lane_secret };
    Ok(Visit { paired, address, source })
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
async fn prove<S: AsyncRead + AsyncWrite + Unpin>(
    conn: &mut Conn<S>,
    target: &Target,
    binding: &Binding,
) -> Result<Option<SixDigits>, SessionError> {
    let versions = vec![VERSION];
    match target {
        Target::Invited(invitation) => {
            conn.send(&Open { versions, method: Method::Invite { proof: invitation.prove(binding) } }).await?;
            let proof: Proof = conn.expect().await?;
            if !invitation.verify_host(binding, &proof.0) {
                return Err(SessionError::Pairing("the receiver could not prove that it made this link".to_owned()));
            }
            Ok(None)
        }
        Target::Unproven(_) => {
            conn.send(&Open { versions, method: Method::Code }).await?;
            let commit: Commit = conn.expect().await?;
            let awaiting = Awaiting::new(binding.clone(), commit.0);
            conn.send(&Nonce(awaiting.nonce())).await?;
            let reveal: Reveal = conn.expect().await?;
            awaiting.check(&reveal.0).map(Some).map_err(|error| SessionError::Pairing(error.to_string()))
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
        let mut conn = Conn::new(stream);
        conn.send(&Open { versions: vec![VERSION], method: Method::Lane { session, lane, proof } }).await?;
        let theirs: Proof = conn.expect().await?;
        if !proof::verify(secret, Purpose::Lane, Direction::Server, &binding, &theirs.0) {
            return Err(SessionError::Pairing("the receiver could not prove that it is the same session".to_owned()));
        }
        conn.into_stream()
    };
    let stream = timeout(PAIRING_LIMIT, open).await.map_err(|_| SessionError::Silent)??;
    let (socket, tls) = stream.into_inner();
    Ok(rustls::StreamOwned::new(tls, socket.into_std().map_err(SessionError::Cut)?))
}

fn hello(role: Role, name: &str) -> Hello {
    Hello { version: VERSION, role, features: 0, name: name.to_owned(), software: SOFTWARE.to_owned() }
}

fn unnamed(key: &Fingerprint, address: SocketAddr) -> Peer {
    Peer { id: key.mark(), name: String::new(), address, dialect: Dialect::Native }
}

fn named(key: &Fingerprint, address: SocketAddr, hello: &Hello) -> Peer {
    Peer { name: PeerName::from_stranger(&hello.name).to_string(), ..unnamed(key, address) }
}

/// A turn in the queue of comparisons; leaves it when dropped.
///
/// Once the host has revealed its half, the guest knows the code. Someone in between who hangs up whenever it is not
/// the one that he needs could try on until it is, so whatever does not end with two yeses counts as a mismatch.
struct Turn<'a> {
    host: &'a Host,
    address: IpAddr,
    revealed: bool,
}

impl Turn<'_> {
    /// Both people said yes, or nobody is here who could.
    fn uncounted(mut self) {
        self.revealed = false;
    }
}

impl Host {
    /// One comparison for each address, and few in all.
    fn begin_comparing(&self, address: IpAddr) -> Option<Turn<'_>> {
        let mut queue = lock(&self.comparing);
        // Lazily: a turn that is dropped here would take itself off the queue, which is locked.
        (queue.len() < MOST_COMPARISONS && queue.insert(address)).then(|| Turn { host: self, address, revealed: false })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.revealed {
            lock(&self.host.mismatches).record(Instant::now());
        }
        lock(&self.host.comparing).remove(&self.address);
    }
}
