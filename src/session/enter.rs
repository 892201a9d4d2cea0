//! The host's half of pairing: from an arrival to a guest, or to a lane of one.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::{timeout, timeout_at};
use tokio_rustls::{LazyConfigAcceptor, server};

use super::acquaintance::{Acquaintance, Bond, recognise};
use super::conn::{Channel, Conn};
use super::consent::{Consent, Level, Standing, refusal};
use super::error::{SessionError, Unconfirmed};
use super::growth::Distance;
use super::host::{Ended, Host, lock, unless_leaving};
use super::lanes::{LaneHandle, OpenSession};
use super::opening::{PAIRING_LIMIT, Paired, compare, hello, named, part, unnamed};
use super::returning::Returning;
use crate::events::{Event, ExitCode, Failure, Label};
use crate::net::accept::Arrival;
use crate::net::gate::Pass;
use crate::net::prefixed::Prefixed;
use crate::pairing::code::{Committed, SixDigits};
use crate::pairing::proof::{self, Direction, Purpose};
use crate::pairing::tls::{self, Inside};
use crate::pairing::{Binding, LinkKind};
use crate::wire::{Commit, Hello, Method, Nonce, Open, Proof, RefuseCode, Reveal, Role, VERSION};

/// Comparisons of codes that may wait for a person at once. Strangers can start them, and one prompt shows at a time.
const MOST_COMPARISONS: usize = 4;

/// The host's end of a control connection.
pub(super) type Guest = Paired<server::TlsStream<Prefixed>>;

/// What came in through the native dialect.
pub(super) enum Entrance {
    /// Somebody with something to say.
    Guest(Box<Guest>),
    /// A further connection of a session.
    Lane(LaneHandle, Box<HostLane>),
    /// A browser inside TLS.
    Browser(Visitor),
}

/// A browser at the door: nothing of HTTP was read yet.
pub enum Visitor {
    /// In the clear.
    Plain(Arrival),
    /// Inside TLS.
    Secure(Box<SecureVisitor>),
}

/// A browser that has gone through TLS.
pub struct SecureVisitor {
    /// The connection.
    pub stream: server::TlsStream<Prefixed>,
    /// Where it comes from.
    pub peer: SocketAddr,
    /// Its right to prove itself; to be promoted when it has.
    pub pass: Pass,
    /// When it must be known, or be closed.
    pub deadline: tokio::time::Instant,
}

/// The host's end of a lane: TLS over a blocking socket.
pub(super) type HostLane = rustls::StreamOwned<rustls::ServerConnection, std::net::TcpStream>;

/// Who came with something to say.
pub(super) enum Caller {
    /// A program of our own protocol.
    Guest(Box<Guest>),
    /// A browser.
    Browser(Visitor),
}

/// The transfers of before that this host knows, by the ids of their keys.
pub(super) type Awaited<'a> = &'a (dyn Fn(&[u8; 16]) -> Option<Returning> + Sync);

/// Takes an arrival of the native dialect to the point where a guest has its say. Lanes of a session begin their work,
/// whoever wants to talk is served to its end if this host holds a room, and who only knocked is forgotten: `None`.
pub(super) async fn answer(
    host: &Host,
    arrival: Arrival,
    awaited: Awaited<'_>,
    leaving: &mut watch::Receiver<bool>,
) -> Result<Option<Caller>, SessionError> {
    let address = arrival.peer.ip();
    match enter(host, arrival, awaited, leaving).await {
        Ok(Entrance::Guest(guest)) => match host.room().filter(|_| guest.role == Role::Joins) {
            Some(room) => room.serve_guest(*guest, leaving).await.map(|()| None),
            None => Ok(Some(Caller::Guest(guest))),
        },
        Ok(Entrance::Browser(visitor)) => Ok(Some(Caller::Browser(visitor))),
        Ok(Entrance::Lane(handle, stream)) => handle.run(*stream).map(|()| None),
        // A stranger who only knocked and left is not worth a person's attention.
        // Nor is a lane that came after its session's last word, as one does that was dialled just before.
        Err(SessionError::Cut(_) | SessionError::Silent | SessionError::TooSlow | SessionError::NoSession) => Ok(None),
        // Where a person took part; a stranger alone can't fail the command.
        Err(SessionError::CodeDiffers(who @ (Unconfirmed::Here | Unconfirmed::There))) => {
            let given_up = matches!(who, Unconfirmed::Here);
            host.report(Ended { address, result: Err(ExitCode::Pairing), given_up });
            Err(SessionError::CodeDiffers(who))
        }
        Err(error) => Err(error),
    }
}

/// Takes an arrival through TLS and pairing.
pub(super) async fn enter(
    host: &Host,
    arrival: Arrival,
    awaited: Awaited<'_>,
    leaving: &mut watch::Receiver<bool>,
) -> Result<Entrance, SessionError> {
    let Arrival { stream, peer: address, pass, head_deadline, deadline, .. } = arrival;
    let handshake =
        async { timeout_at(head_deadline, handshake(host, stream)).await.unwrap_or(Err(SessionError::TooSlow)) };
    let (stream, answered) = match unless_leaving(leaving, handshake).await? {
        (Inside::Native, stream, answered) => (stream, answered),
        (Inside::Web, stream, _) => {
            let visitor = Box::new(SecureVisitor { stream, peer: address, pass, deadline });
            return Ok(Entrance::Browser(Visitor::Secure(visitor)));
        }
    };
    let tls = stream.get_ref().1;
    let binding = tls::server_binding(tls, &host.identity).map_err(|error| SessionError::Pairing(error.to_string()))?;
    let lane_secret = tls::lane_secret(tls).map_err(|error| SessionError::Pairing(error.to_string()))?;
    let mut conn = Conn::new(stream);
    let admitted = async {
        let admitted = timeout_at(deadline, admit(host, &mut conn, &binding, address.ip(), awaited)).await;
        admitted.unwrap_or(Err(SessionError::TooSlow))
    };
    let method = match unless_leaving(leaving, admitted).await {
        Ok(method) => method,
        Err(error) => return Err(part(conn, error).await),
    };
    let mut returning = None;
    let standing = match method {
        Admitted::Known(standing) => standing,
        Admitted::Returning(known) => returning.insert(known).standing,
        Admitted::Lane(lane, session) => {
            let stream = conn.into_stream()?;
            let (stream, tls) = stream.into_inner();
            let (_, stream) = stream.into_parts();
            let socket = stream.into_std().map_err(SessionError::Cut)?;
            let handle = session.enter(lane, &socket, Distance::of_answer(answered, &socket));
            let handle = handle.ok_or_else(|| SessionError::broke("a lane number that is taken"))?;
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
            let mut peer = named(&binding.client, address, &theirs);
            let bond = recognise(&host.devices, &binding.client, &theirs, &mut peer)?;
            let standing = match (bond, standing) {
                (Bond::Known, Standing::REMEMBERED) => Standing::REMEMBERED,
                // Whatever it came with: the key says who it is.
                (Bond::Known, _) => Standing::VERIFIED,
                (Bond::Lasting | Bond::Passing, standing) => standing,
            };
            let (role, holds_room) = (theirs.role, host.room().is_some());
            // Who has paired for something else is told of already.
            if role != Role::Joins || host.knows(&binding.client).is_none() {
                host.introduce(peer.clone(), standing.label);
            }
            // The key of a transfer of before says only whose transfer it is. Whoever is greeted comes back for the room as
            // soon as it hears our hello.
            if role != Role::Joins && returning.is_none() && holds_room {
                host.greet(binding.client, standing);
            }
            let mut ours = hello(host.role, &host.name, &host.devices);
            if holds_room {
                ours.features |= Hello::ROOM;
            }
            conn.send(&ours).await?;
            Ok((role, peer, bond, standing))
        });
        hellos.await.unwrap_or(Err(SessionError::TooSlow))
    };
    let (role, peer, bond, standing) = match unless_leaving(leaving, hellos).await {
        Ok(met) => met,
        Err(error) => return Err(part(conn, error).await),
    };
    pass.promote();
    Ok(Entrance::Guest(Box::new(Paired { conn, peer, standing, role, bond, binding, lane_secret, returning })))
}

/// TLS, and after how long the guest has answered: a round trip, and its arithmetic.
async fn handshake(
    host: &Host,
    stream: Prefixed,
) -> Result<(Inside, server::TlsStream<Prefixed>, Duration), SessionError> {
    let start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream);
    // A stranger who speaks other TLS, or none, is no more than one who hangs up.
    let start = start.await.map_err(SessionError::Cut)?;
    let inside = tls::inside(&start.client_hello());
    let inside = inside.ok_or_else(|| SessionError::Cut(std::io::ErrorKind::Unsupported.into()))?;
    let config = match inside {
        Inside::Native => &host.native,
        Inside::Web => &host.web,
    };
    let asked = Instant::now();
    let stream = start.into_stream(Arc::clone(config)).await.map_err(SessionError::Cut)?;
    Ok((inside, stream, asked.elapsed()))
}

enum Admitted<'a> {
    Known(Standing),
    Returning(Returning),
    Comparing(SixDigits, Turn<'a>),
    Lane(u16, Arc<OpenSession>),
}

/// Checks the version and whatever the guest proves itself with, and answers it.
async fn admit<'a, S: Channel>(
    host: &'a Host,
    conn: &mut Conn<S>,
    binding: &Binding,
    address: IpAddr,
    awaited: Awaited<'_>,
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
            Ok(Admitted::Known(match (admission.kind, admission.claimed) {
                (LinkKind::Qrdrop, _) => Standing::VERIFIED,
                (LinkKind::Http, false) => Standing::SCANNED,
                (LinkKind::Http, true) => Standing::CLAIMED,
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
            let (ours, open) = host.lanes.admit(&session, lane, &proof, binding)?;
            conn.send(&Proof(ours)).await?;
            Ok(Admitted::Lane(lane, open))
        }
        Method::Resume { key_id, proof } => {
            let proven =
                |known: &Returning| proof::verify(&known.hash, Purpose::Resume, Direction::Client, binding, &proof);
            // Who does not know the key can't tell whether there is such a transfer.
            let known = awaited(&key_id).filter(proven);
            let known =
                known.ok_or_else(|| SessionError::Pairing("nothing of that transfer is kept here".to_owned()))?;
            conn.send(&Proof(proof::prove(&known.hash, Purpose::Resume, Direction::Server, binding))).await?;
            Ok(Admitted::Returning(known))
        }
        Method::Device => match host.knows(&binding.client) {
            Some(standing) => Ok(Admitted::Known(standing)),
            None if host.devices.known()?.holder(&binding.client).is_some() => {
                Ok(Admitted::Known(Standing::REMEMBERED))
            }
            None => Err(SessionError::Pairing("this device is not remembered there".to_owned())),
        },
    }
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
    /// Remembers a guest who was let in by this yes, if that is wanted.
    pub(super) async fn befriend(&self, guest: &Guest, consent: Consent) {
        let Standing { label, counts_as, .. } = guest.standing;
        let is_vouched = counts_as == Level::Verified || (label == Label::Verified && consent == Consent::Person);
        let met = Acquaintance { peer: guest.peer.clone(), key: guest.binding.client, bond: guest.bond };
        met.befriend(&self.devices, &*self.reporter, is_vouched).await;
    }

    /// Counts a code that was not confirmed, and says it when that closes this way of pairing.
    fn note_mismatch(&self) {
        let mut mismatches = lock(&self.mismatches);
        let was_open = mismatches.is_open();
        mismatches.record(Instant::now());
        if was_open && !mismatches.is_open() {
            let failure = Failure::new(
                ExitCode::Pairing,
                "three codes in ten minutes were not confirmed, so no more are compared",
                "press `r` to allow it again; the code on the screen and the link work all the time",
            );
            self.reporter.tell(Event::Failed { transfer: None, failure });
        }
    }

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
            self.host.note_mismatch();
        }
        lock(&self.host.comparing).remove(&self.address);
    }
}
