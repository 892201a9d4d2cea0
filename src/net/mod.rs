//! Everything between a socket and a dialect: which addresses are worth a QR code, listening, letting strangers in
//! within limits, telling the three dialects apart, dialling, and finding each other over mDNS.
//!
//! A connection comes in as a [`accept::Arrival`]: a peer from nearby, its dialect known, a [`gate::Pass`] in hand and an
//! absolute deadline for proving itself. Nothing here reads further than the bytes that decide the dialect.

pub mod accept;
pub mod addresses;
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
use tokio::net::TcpStream;

pub use error::NetError;

/// A peer that vanished is noticed after 15 s + 4 x 5 s of silence, within the 45 s that a cut may go unnoticed.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
#[cfg(not(any(target_os = "openbsd", target_os = "windows")))]
const KEEPALIVE_PROBES: u32 = 4;

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
