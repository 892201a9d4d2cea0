//! Everything between a socket and a dialect: which addresses are worth a QR code, listening, letting strangers in
//! within limits, telling the three dialects apart, dialling, and finding each other over mDNS.
//!
//! A connection comes in as a [`accept::Arrival`]: a peer from nearby, its dialect known, a [`gate::Pass`] in hand and an
//! absolute deadline for proving itself. Nothing here reads further than the bytes that decide the dialect.

pub mod accept;
pub mod addresses;
pub mod cuttable;
pub mod dial;
pub mod discovery;
mod error;
pub mod gate;
pub mod listen;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod oracle;
pub mod prefixed;
pub mod sniff;
pub mod watch;

use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};

pub use error::NetError;

/// A peer that vanished is noticed after 15 s + 4 x 5 s of silence, within the 45 s that a cut may go unnoticed.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
#[cfg(not(any(target_os = "openbsd", target_os = "windows")))]
const KEEPALIVE_PROBES: u32 = 4;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// Messages.
    Talk,
    /// Files.
    Bulk,
}

/// Has a connection that is not made yet find its rate without pacing, as most systems do: the timers of one that paces (BBR)
/// cost as much as ciphers where nothing holds the bytes up. Once it has paced it does so for good.
fn begin_unpaced(socket: &TcpSocket) {
    #[cfg(any(target_os = "linux", target_os = "freebsd"))]
    {
        let socket = SockRef::from(socket);
        if socket.tcp_congestion().is_ok_and(|name| name.starts_with(b"bbr")) {
            // Which of them this user may choose is up to the system.
            let _ = socket.set_tcp_congestion(b"cubic").or_else(|_| socket.set_tcp_congestion(b"reno"));
        }
    }
    #[cfg(not(any(target_os = "linux", target_os = "freebsd")))]
    let _ = socket;
}

/// Has a connection that sends files find its rate by what arrives and not by what is lost (BBR,
/// draft-ietf-ccwg-bbr), where the system has that and lets this user choose; whether it does now.
pub fn prefer_bbr(stream: &std::net::TcpStream) -> bool {
    #[cfg(any(target_os = "linux", target_os = "freebsd"))]
    return SockRef::from(stream).set_tcp_congestion(b"bbr").is_ok();
    #[cfg(not(any(target_os = "linux", target_os = "freebsd")))]
    return {
        let _ = stream;
        false
    };
}

/// Whether both ends of a connection are on this machine.
pub fn within_machine(stream: &std::net::TcpStream) -> bool {
    stream.local_addr().is_ok_and(|own| stream.peer_addr().is_ok_and(|peer| own.ip() == peer.ip()))
}

/// Sets what every connection of ours wants: small frames leave at once, and a dead peer is noticed.
///
/// Best effort: a connection that takes no options still moves bytes.
fn tune(stream: &TcpStream) {
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL);
    #[cfg(not(any(target_os = "openbsd", target_os = "windows")))]
    let keepalive = keepalive.with_retries(KEEPALIVE_PROBES);
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive);
}
