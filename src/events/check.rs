//! What `doctor` finds.

use std::net::SocketAddr;

use serde::Serialize;

/// What `doctor` looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Check {
    /// One network interface and its addresses.
    Interface,
    /// The address that goes into the code.
    Address,
    /// IPv6 beside or instead of IPv4.
    Ipv6,
    /// A VPN or tunnel that takes traffic.
    Vpn,
    /// A container around this program.
    Container,
    /// Windows around this Linux.
    Wsl,
    /// Whether the port is free.
    Port,
    /// Whether the port can be connected to.
    Reach,
    /// Packet filters of this machine.
    Firewall,
    /// Whether our own advertisement is heard.
    Mdns,
    /// Whether anybody else is heard.
    Neighbours,
}

impl Check {
    /// The word for it, the same as in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Check::Interface => "interface",
            Check::Address => "address",
            Check::Ipv6 => "ipv6",
            Check::Vpn => "vpn",
            Check::Container => "container",
            Check::Wsl => "wsl",
            Check::Port => "port",
            Check::Reach => "reach",
            Check::Firewall => "firewall",
            Check::Mdns => "mdns",
            Check::Neighbours => "neighbours",
        }
    }
}

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Nothing stands in the way.
    Good,
    /// Worth knowing; may be in the way of somebody.
    Odd,
    /// In the way.
    Bad,
}

/// What `doctor` found about one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub check: Check,
    /// How it came out.
    pub verdict: Verdict,
    /// What is so, and why it matters.
    pub message: String,
    /// What to try; empty where nothing needs to be done.
    pub remedy: String,
    /// The command that does it, where one can be named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// `ip:port` in the code; of [`Check::Address`] alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<SocketAddr>,
}
