//! Packet filters of this machine: which one there is, and what it would do with a packet for us.
//!
//! Pure: what the tools say comes in, a [`Firewall`] goes out. Nothing is assumed about rules that were not read or
//! not understood: the answer is then [`Passes::Unclear`].

mod firewalld;
mod iptables;
mod nft;
#[cfg(any(target_os = "macos", windows, test))]
mod others;
mod ufw;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(super) use firewalld::firewalld;
pub(super) use iptables::{iptables, tool as iptables_tool};
pub(super) use nft::nftables;
#[cfg(any(target_os = "macos", test))]
pub(super) use others::macos;
#[cfg(any(windows, test))]
pub(super) use others::windows;
pub(super) use ufw::{is_enabled as ufw_is_enabled, ufw};

use crate::net::discovery::MDNS_PORT;

/// The groups of mDNS (RFC 6762, section 3).
const MDNS_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(224, 0, 0, 251));
const MDNS_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb));

/// What is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    fn word(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        }
    }
}

/// The first packet of another device to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Packet {
    /// The interface it comes in by.
    pub(super) interface: String,
    /// Where it comes from, an address on the same network.
    pub(super) from: IpAddr,
    /// Where it goes to.
    pub(super) to: IpAddr,
    pub(super) protocol: Protocol,
    /// The port it goes to.
    pub(super) port: u16,
}

impl Packet {
    /// A question over mDNS from the same device.
    fn mdns(&self) -> Packet {
        let to = if self.to.is_ipv4() { MDNS_V4 } else { MDNS_V6 };
        Packet { to, protocol: Protocol::Udp, port: MDNS_PORT, ..self.clone() }
    }
}

/// Whether a packet comes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passes {
    Yes,
    No,
    /// The rules could not be read, or say something that is not understood here.
    Unclear,
}

/// A packet filter that is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Firewall {
    /// What people call it.
    pub(super) name: &'static str,
    /// Whether somebody can connect to our port.
    pub(super) port: Passes,
    /// Whether questions over mDNS come in.
    pub(super) mdns: Passes,
    /// The command that opens the port.
    pub(super) open_port: String,
    /// The command that lets mDNS in.
    pub(super) open_mdns: String,
    /// The command that shows the rules to somebody who may see them.
    pub(super) look: String,
}

#[cfg(test)]
mod tests;
