//! How a guest proves itself, and has a host prove itself: over the control connection, and for each lane.

use std::net::{IpAddr, SocketAddr};

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{TlsConnector, client};

use super::conn::{Channel, Conn};
use super::error::SessionError;
use super::lanes::LaneSecret;
use super::opening::PAIRING_LIMIT;
use super::returning::{ResumeHash, key_id};
use crate::net::{Load, dial};
use crate::pairing::code::{Awaiting, SixDigits};
use crate::pairing::proof::{self, Direction, Purpose};
use crate::pairing::tls::{self, Pin};
use crate::pairing::{Binding, Fingerprint, Identity, Invitation};
use crate::wire::{Commit, Method, Nonce, Open, Proof, Reveal, VERSION};

/// What this end proves itself with.
pub(super) enum Proving<'a> {
    /// A transfer of before.
    Again(ResumeHash),
    /// The secret in a link.
    Invited(&'a Invitation),
    /// Its key, which the host knows.
    Key,
    /// Two people.
    Code,
}

/// TLS with a host whose key `pin` must fit.
pub(super) async fn secure(
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
pub(super) async fn prove<S: Channel>(
    conn: &mut Conn<S>,
    how: &Proving<'_>,
    binding: &Binding,
) -> Result<Option<SixDigits>, SessionError> {
    let versions = vec![VERSION];
    match how {
        Proving::Invited(invitation) => {
            conn.send(&Open { versions, method: Method::Invite { proof: invitation.prove(binding) } }).await?;
            let proof: Proof = conn.expect().await?;
            if !invitation.verify_host(binding, &proof.0) {
                return Err(SessionError::Pairing("the other side could not prove that it made this link".to_owned()));
            }
            Ok(None)
        }
        Proving::Key => {
            conn.send(&Open { versions, method: Method::Device }).await?;
            Ok(None)
        }
        Proving::Code => {
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
    }
}

/// What it takes to open lanes beside a visit, without the visit itself, which goes on meanwhile.
pub(super) struct LaneWay {
    pub(super) address: SocketAddr,
    pub(super) source: Option<IpAddr>,
    pub(super) server: Fingerprint,
    pub(super) secret: LaneSecret,
}

/// A lane beside a paired connection: the same key must answer.
pub(super) async fn open_lane(
    way: &LaneWay,
    identity: &Identity,
    session: [u8; 16],
    lane: u16,
) -> Result<rustls::StreamOwned<rustls::ClientConnection, std::net::TcpStream>, SessionError> {
    let socket = dial::dial(way.address, way.source, Load::Bulk).await?;
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
