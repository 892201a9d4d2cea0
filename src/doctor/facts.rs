//! What was seen, before anything is made of it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::firewall::Firewall;
use super::system::{Around, Flags};
use crate::net::addresses::{Candidate, Network};

/// Everything that is judged.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    /// The system's interfaces, addresses and routes.
    pub(super) network: Network,
    /// The addresses that a peer may be told, best first; never empty.
    pub(super) candidates: Vec<Candidate>,
    /// Every interface that the system has, with or without an address, where it tells.
    pub(super) links: BTreeMap<String, Flags>,
    /// The address from which a packet to another device on the network of the chosen address would leave.
    pub(super) way_to_neighbour: Option<IpAddr>,
    /// What is around this system.
    pub(super) around: Option<Around>,
    /// What became of the port.
    pub(super) port: Port,
    /// The port of each own address, dialled from the others.
    pub(super) dialled: Vec<Dialled>,
    /// The packet filter that is on.
    pub(super) firewall: Option<Firewall>,
    /// For each interface that is advertised on, whether an advertisement came back.
    pub(super) heard: Vec<(String, Heard)>,
    /// The other devices on the network of the chosen address.
    pub(super) others: Others,
}

/// What became of the port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Port {
    /// The one that was tried first.
    pub(super) wanted: u16,
    /// The one that is ours, or why there is none.
    pub(super) got: Result<u16, String>,
    /// Who has the wanted one, if it is not us and that can be seen.
    pub(super) holder: Option<String>,
}

impl Port {
    /// The port that others will connect to.
    pub(super) fn number(&self) -> u16 {
        *self.got.as_ref().unwrap_or(&self.wanted)
    }
}

/// An own address that was dialled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dialled {
    pub(super) to: IpAddr,
    /// From where; `None` if the system chose.
    pub(super) from: Option<IpAddr>,
    pub(super) answered: bool,
}

/// What became of an advertisement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Heard {
    /// It came back.
    Back,
    /// It did not.
    Nothing,
    /// The port of mDNS is held by another program that does not share it; which one, if that can be seen.
    PortTaken(Option<String>),
    /// mDNS did not start.
    Failed(String),
}

/// The other devices on a network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Others {
    /// How many the system has exchanged packets with lately, routers left out.
    pub(super) known: usize,
    /// How many answer mDNS; `None` if nobody was asked.
    pub(super) answering: Option<usize>,
}
