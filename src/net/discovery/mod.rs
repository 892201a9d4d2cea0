//! Finding each other over mDNS (RFC 6762, RFC 6763), behind two small types so that the rest of the program never
//! sees the library: [`Advert`] says that we are here, [`Browser`] tells who else is.
//!
//! What an advertisement says is seen by everybody on the network, and anybody can say anything: it carries no secret
//! and no user name, and what is found proves nothing until the key has been checked.

mod advert;
mod browser;
mod echo;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod oracle;

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use mdns_sd::{IfKind, ServiceDaemon};
use socket2::{Domain, Protocol, Socket, Type};

use super::NetError;

pub use advert::{Advert, AdvertEvent, AdvertInfo, worth_advertising};
pub use browser::{Browser, Change, Found, search};
pub use echo::{answerers, hears_itself};
pub use mdns_sd::MDNS_PORT;

/// Our service type.
pub const SERVICE_TYPE: &str = "_qrdrop._tcp.local.";

/// A DNS label holds 63 bytes; a longer instance name is announced and never found.
const LABEL_MAX: usize = 63;

/// What an instance name may have of them: the library appends ` (2)` or ` (10)` to a name that is taken, and cuts nothing.
const INSTANCE_MAX: usize = LABEL_MAX - " (99)".len();

/// The shown name in TXT: a string there holds 255 bytes with its key.
const SHOWN_NAME_MAX: usize = 200;

/// The key mark in TXT, generously; ours has 9 characters.
const ID_MAX: usize = 32;

/// The version of the TXT record.
const TXT_VERSION: &str = "1";

/// How long the daemon may take to say goodbye and end.
const GOODBYE: Duration = Duration::from_secs(1);

/// What is hosted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Takes files.
    Inbox,
    /// Has files to be fetched.
    Outbox,
    /// A chat room.
    Room,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Inbox => "inbox",
            Kind::Outbox => "outbox",
            Kind::Room => "room",
        })
    }
}

impl FromStr for Kind {
    type Err = ();

    fn from_str(text: &str) -> Result<Kind, ()> {
        [Kind::Inbox, Kind::Outbox, Kind::Room].into_iter().find(|kind| kind.to_string() == text).ok_or(())
    }
}

/// Starts the library's daemon, after making sure that it will not be deaf: it keeps to itself that the port is taken.
fn daemon() -> Result<ServiceDaemon, NetError> {
    if let (Err(e), Err(_)) = (share_port(Domain::IPV4), share_port(Domain::IPV6)) {
        return Err(NetError::DiscoveryPortTaken(e));
    }
    Ok(ServiceDaemon::new()?)
}

/// The same, for these interfaces alone.
fn daemon_on(interfaces: impl IntoIterator<Item = String>) -> Result<ServiceDaemon, NetError> {
    let daemon = daemon()?;
    daemon.disable_interface(IfKind::All)?;
    daemon.enable_interface(interfaces.into_iter().map(IfKind::Name).collect::<Vec<_>>())?;
    Ok(daemon)
}

/// Whether nobody holds the mDNS port of either family for itself alone: else discovery is deaf in one of them.
pub fn port_is_shared() -> bool {
    let taken = |domain| matches!(share_port(domain), Err(e) if e.kind() == std::io::ErrorKind::AddrInUse);
    !taken(Domain::IPV4) && !taken(Domain::IPV6)
}

/// Binds the mDNS port the way the daemon does, for a moment.
fn share_port(domain: Domain) -> std::io::Result<()> {
    let any: SocketAddr = match domain {
        Domain::IPV4 => (Ipv4Addr::UNSPECIFIED, MDNS_PORT).into(),
        _ => (Ipv6Addr::UNSPECIFIED, MDNS_PORT).into(),
    };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    if domain == Domain::IPV6 {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    #[cfg(unix)]
    socket.set_reuse_port(true)?;
    socket.bind(&any.into())
}

/// Ends the daemon; whatever it advertised is withdrawn.
async fn end(daemon: &ServiceDaemon) {
    if let Ok(status) = daemon.shutdown() {
        // Late is as good as never: the process ends anyway, and the records with their time to live.
        let _ = tokio::time::timeout(GOODBYE, status.recv_async()).await;
    }
}

/// What of a shown name is the instance name, unless another device has it.
fn instance_of(name: &str) -> &str {
    cut(name, INSTANCE_MAX)
}

/// The longest start of `text` that has at most `max` bytes and cuts no character.
fn cut(text: &str, max: usize) -> &str {
    let end = (0..=max.min(text.len())).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    &text[..end]
}

#[cfg(test)]
mod tests;
