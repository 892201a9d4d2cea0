use std::io;
use std::net::SocketAddr;

use thiserror::Error;

/// What can go wrong between us and the network.
#[derive(Debug, Error)]
pub enum NetError {
    /// The system does not tell its interfaces.
    #[error("this system does not list its network interfaces: {0}")]
    Interfaces(#[source] io::Error),
    /// `--interface` names nothing that is here.
    #[error("no interface or address `{asked}` here; there is {known}")]
    UnknownInterface {
        /// What was asked for.
        asked: String,
        /// What there is, as a list for a person.
        known: String,
    },
    /// `--interface` names an interface that is down or has no address a peer could use.
    #[error("interface `{0}` is down or has no usable address")]
    UnusableInterface(String),
    /// Not even a loopback address is up.
    #[error("no network interface with an address is up")]
    NoInterface,
    /// The port that was asked for belongs to another program.
    #[error("port `{0}` is taken by another program")]
    PortTaken(u16),
    /// The preferred port and all those tried after it are taken.
    #[error("ports `{first}` to `{last}` are all taken")]
    NoFreePort {
        /// The preferred port.
        first: u16,
        /// The last one tried.
        last: u16,
    },
    /// The system refuses to listen there, for another reason than a taken port.
    #[error("cannot listen on port `{port}`: {source}")]
    Listen {
        /// The port.
        port: u16,
        /// What the system said.
        source: io::Error,
    },
    /// The host answered that nothing listens on that port.
    #[error("`{0}` is there, but nothing listens on that port")]
    Refused(SocketAddr),
    /// No way leads to that address.
    #[error("no way leads to `{0}`")]
    Unreachable(SocketAddr),
    /// Nobody answered.
    #[error("`{0}` does not answer")]
    TimedOut(SocketAddr),
    /// Connecting failed otherwise.
    #[error("cannot connect to `{address}`: {source}")]
    Dial {
        /// Where to.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The peer has no address that the chosen interface can speak to.
    #[error("the receiver has no address that can be reached from here")]
    NoAddress,
    /// Another program holds the mDNS port for itself alone.
    #[error("port `5353` (mDNS) is held by another program that does not share it: {0}")]
    DiscoveryPortTaken(#[source] io::Error),
    /// mDNS does not run.
    #[error("finding each other over mDNS does not work here: {0}")]
    Discovery(#[from] mdns_sd::Error),
}

impl NetError {
    /// What the person may try; `None` where the error says it all.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            NetError::PortTaken(_) => Some("leave `--port` out to take the next free one, or `--port 0` for any"),
            NetError::NoFreePort { .. } => Some("try `--port 0`, which takes any free one"),
            NetError::Refused(_) => Some("is the receiver still running, and is this its present port?"),
            NetError::Unreachable(_) => Some("are both devices on the same Wi-Fi? a VPN can stand between them too"),
            NetError::TimedOut(_) => Some(
                "are both on the same Wi-Fi? `qrdrop doctor` on the receiver tells whether a firewall there keeps you out; a guest network that keeps its devices apart also looks like this",
            ),
            NetError::NoInterface | NetError::UnusableInterface(_) => Some("connect to a network first"),
            NetError::NoAddress => Some("leave `--interface` out, or join the network that the receiver is on"),
            NetError::DiscoveryPortTaken(_) | NetError::Discovery(_) => {
                Some("the QR code and the link work without it; `qrdrop doctor` tells what is in the way")
            }
            NetError::Interfaces(_)
            | NetError::UnknownInterface { .. }
            | NetError::Listen { .. }
            | NetError::Dial { .. } => None,
        }
    }
}
