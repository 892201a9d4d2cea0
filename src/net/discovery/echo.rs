//! Whether discovery works here at all: hearing ourselves, and hearing anybody.

use std::collections::{BTreeSet, HashSet};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use mdns_sd::{MDNS_PORT, ServiceDaemon, ServiceEvent, ServiceInfo};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use super::super::NetError;
use super::super::addresses::Candidate;
use super::{daemon_on, end};

/// A service type of its own, so that no list of receivers shows the trial.
const ECHO_TYPE: &str = "_qrdrop-echo._tcp.local.";

/// The port in the trial: discard (RFC 863). Nobody is meant to connect.
const DISCARD: u16 = 9;

/// The group of mDNS (RFC 6762, section 3).
const MDNS_GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);

/// What every responder answers, whatever it offers (RFC 6763, section 9).
const ANY_SERVICE: [&str; 4] = ["_services", "_dns-sd", "_udp", "local"];

/// The longest message (RFC 6762, section 17).
const MESSAGE_MAX: usize = 9_000;

/// More devices than a room has; anybody can invent thousands.
const ANSWERERS_MAX: usize = 256;

/// Whether an advertisement of ours comes back to us on the interface of these candidates, within `wait`.
///
/// What comes back has left this machine's own filters twice, in and out. Whether the network carries it on to others
/// only others can tell: see [`answerers`]. Must be called within a tokio runtime.
///
/// # Errors
/// [`NetError::DiscoveryPortTaken`], [`NetError::Discovery`].
pub async fn hears_itself(candidates: &[Candidate], wait: Duration) -> Result<bool, NetError> {
    let deadline = Instant::now() + wait;
    let interfaces: BTreeSet<String> = candidates.iter().map(|candidate| candidate.interface.clone()).collect();
    let listener = daemon_on(interfaces.clone())?;
    let speaker = daemon_on(interfaces)?;
    let heard = echo(&listener, &speaker, candidates, deadline).await;
    tokio::join!(end(&speaker), end(&listener));
    heard
}

async fn echo(
    listener: &ServiceDaemon,
    speaker: &ServiceDaemon,
    candidates: &[Candidate],
    deadline: Instant,
) -> Result<bool, NetError> {
    let name = format!("{:016x}", RandomState::new().build_hasher().finish());
    let addresses: Vec<IpAddr> = candidates.iter().map(|candidate| candidate.ip).collect();
    let host = format!("qrdrop-{name}.local.");
    let mut service = ServiceInfo::new(ECHO_TYPE, &name, &host, addresses.as_slice(), DISCARD, None)?;
    // Nobody else has the name, so there is nothing to wait for.
    service.set_requires_probe(false);
    let events = listener.browse(ECHO_TYPE)?;
    speaker.register(service)?;
    while let Ok(Ok(event)) = timeout_at(deadline, events.recv_async()).await {
        if matches!(event, ServiceEvent::ServiceFound(_, fullname) if fullname.starts_with(&name)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Which other devices answer mDNS on the network of `ip`, whatever they offer, within `wait`; never `ip` itself.
///
/// A question from a port of our own is answered to that port (RFC 6762, section 6.7), so this works beside whoever
/// holds the mDNS port.
///
/// # Errors
/// What the system says, e.g. that no way leads to the group.
pub async fn answerers(ip: Ipv4Addr, wait: Duration) -> io::Result<HashSet<IpAddr>> {
    let deadline = Instant::now() + wait;
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.bind(&std::net::SocketAddr::from((ip, 0)).into())?;
    socket.set_multicast_if_v4(&ip)?;
    socket.set_multicast_ttl_v4(255)?;
    socket.set_nonblocking(true)?;
    let socket = UdpSocket::from_std(socket.into())?;
    socket.send_to(&question(), (MDNS_GROUP, MDNS_PORT)).await?;
    let mut found = HashSet::new();
    let mut answer = vec![0; MESSAGE_MAX];
    while found.len() < ANSWERERS_MAX {
        match timeout_at(deadline, socket.recv_from(&mut answer)).await {
            Ok(Ok((length, from))) => {
                if from.ip() != ip && from.port() == MDNS_PORT && is_response(&answer[..length]) {
                    found.insert(from.ip());
                }
            }
            // Somebody refuses what was sent before; the next may be an answer.
            Ok(Err(_)) => {}
            Err(_) => break,
        }
    }
    Ok(found)
}

/// One question for [`ANY_SERVICE`], as in RFC 1035, section 4.1: header, name, type PTR, class IN.
fn question() -> Vec<u8> {
    let mut message = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in ANY_SERVICE {
        message.push(label.len() as u8);
        message.extend(label.as_bytes());
    }
    message.extend([0, 0, 12, 0, 1]);
    message
}

/// Whether this begins as an answer does: a whole header with the response bit.
fn is_response(message: &[u8]) -> bool {
    message.len() >= 12 && message[2] & 0x80 != 0
}
