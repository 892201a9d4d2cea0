//! Which of this machine's addresses another device in the room can reach, best first, and which peers are in the room.
//!
//! Asking the system for "the" local address gives the container bridge without a default route and the tunnel under a
//! VPN. So everything is listed and ranked by a pure function over a plain description of the [`Network`].

use std::cmp::Reverse;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use super::NetError;

/// Interfaces of containers and virtual machines by the start of their names, in lower case: only this machine is there.
const BRIDGES: &[&str] = &[
    "docker",
    "br-",
    "veth",
    "virbr",
    "vnet",
    "vmnet",
    "vmenet",
    "vboxnet",
    "virtualbox",
    "vmware",
    "vethernet",
    "lxc",
    "lxd",
    "podman",
    "cni",
    "flannel",
    "cali",
    "kube",
    "nerdctl",
    "bridge",
    "ifb",
    "dummy",
    "waydroid",
    "incus",
];

/// Tunnels by the start of their names, in lower case: they lead out of the room. Any point-to-point interface is one too.
const TUNNELS: &[&str] = &[
    "tun",
    "tap",
    "wg",
    "tailscale",
    "zt",
    "utun",
    "ppp",
    "ipsec",
    "gif",
    "stf",
    "nordlynx",
    "proton",
    "mullvad",
    "cloudflarewarp",
    "openvpn",
    "wireguard",
    "zerotier",
    "sit",
    "gre",
    "vti",
    "awdl",
    "llw",
];

/// One address of one interface, as the system tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// The system's name of it.
    pub name: String,
    /// The address.
    pub ip: IpAddr,
    /// How many leading bits of `ip` name the network; 0 where the system does not say.
    pub prefix_len: u8,
    /// Whether it is up.
    pub up: bool,
    /// Whether it has exactly one other end, as tunnels have.
    pub point_to_point: bool,
}

/// What this machine's network looks like right now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Network {
    /// Every address of every interface.
    pub interfaces: Vec<Interface>,
    /// Interfaces with a default route.
    pub default_interfaces: Vec<String>,
    /// The addresses from which a packet to the outside would leave.
    pub default_sources: Vec<IpAddr>,
    /// What `local-ip-address` guesses; only breaks ties.
    pub guess: Option<IpAddr>,
}

/// Why an address stands where it does in the list. The order is the order of preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Private, on a real interface, with the default route: almost certainly the network of the room.
    DefaultRoute,
    /// Private, on a real interface.
    Private,
    /// Not private, but on a real interface.
    Public,
    /// Self-assigned on a real interface: a direct cable, or a network without DHCP.
    LinkLocal,
    /// A VPN: reachable for members of it only.
    Tunnel,
    /// A bridge to containers or virtual machines on this machine.
    Bridge,
    /// This machine alone.
    Loopback,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::DefaultRoute => "default route",
            Reason::Private => "private network",
            Reason::Public => "public address",
            Reason::LinkLocal => "self-assigned address",
            Reason::Tunnel => "VPN or tunnel",
            Reason::Bridge => "container or virtual machine bridge",
            Reason::Loopback => "this machine only",
        })
    }
}

/// An address worth showing to a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The address; never an IPv6 link-local one, which would need a zone.
    pub ip: IpAddr,
    /// The interface that has it.
    pub interface: String,
    /// Why it stands where it does.
    pub reason: Reason,
}

/// The addresses of this machine that a peer may be told, best first; never empty.
///
/// `only` is an interface name or an address of this machine; loopback is left out unless asked for that way or there is
/// nothing else.
///
/// # Errors
/// When the system does not list its interfaces, `only` names none of them, or nothing is up.
pub fn candidates(only: Option<&str>) -> Result<Vec<Candidate>, NetError> {
    Network::observe()?.candidates(only)
}

impl Network {
    /// Looks at the system.
    ///
    /// # Errors
    /// When the system does not list its interfaces.
    pub fn observe() -> Result<Network, NetError> {
        let interfaces = if_addrs::get_if_addrs().map_err(NetError::Interfaces)?;
        Ok(Network {
            interfaces: interfaces.into_iter().map(Interface::from).collect(),
            default_interfaces: default_interfaces(),
            default_sources: [source_towards(OUTSIDE_V4), source_towards(OUTSIDE_V6)].into_iter().flatten().collect(),
            guess: local_ip_address::local_ip().ok(),
        })
    }

    /// [`candidates`] of this network.
    ///
    /// # Errors
    /// When `only` names nothing here, or nothing is up.
    pub fn candidates(&self, only: Option<&str>) -> Result<Vec<Candidate>, NetError> {
        let usable: Vec<&Interface> = self.interfaces.iter().filter(|i| i.up && !is_zoned(i.ip)).collect();
        let chosen: Vec<&Interface> = match only {
            Some(asked) => self.chosen(asked, &usable)?,
            None => {
                let outward: Vec<&Interface> = usable.iter().copied().filter(|i| !i.ip.is_loopback()).collect();
                if outward.is_empty() { usable } else { outward }
            }
        };
        if chosen.is_empty() {
            return Err(NetError::NoInterface);
        }
        let mut ranked: Vec<(&Interface, Reason)> = chosen.into_iter().map(|i| (i, self.reason(i))).collect();
        // The sort is stable: equals keep the system's order.
        ranked.sort_by_key(|(i, reason)| {
            (floor(*reason), i.ip.is_ipv6(), *reason, Reverse(self.has_default_route(i)), self.guess != Some(i.ip))
        });
        Ok(ranked.into_iter().map(|(i, reason)| Candidate { ip: i.ip, interface: i.name.clone(), reason }).collect())
    }

    fn chosen<'a>(&self, asked: &str, usable: &[&'a Interface]) -> Result<Vec<&'a Interface>, NetError> {
        let matches = |i: &Interface| match asked.parse::<IpAddr>() {
            Ok(ip) => i.ip == ip.to_canonical(),
            Err(_) => i.name == asked,
        };
        let chosen: Vec<&Interface> = usable.iter().copied().filter(|i| matches(i)).collect();
        if !chosen.is_empty() {
            Ok(chosen)
        } else if self.interfaces.iter().any(matches) {
            Err(NetError::UnusableInterface(asked.to_owned()))
        } else {
            let known: Vec<String> = usable.iter().map(|i| format!("`{}` ({})", i.name, i.ip)).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            Err(NetError::UnknownInterface { asked: asked.to_owned(), known })
        }
    }

    /// Where this address stands.
    pub fn reason(&self, interface: &Interface) -> Reason {
        let name = interface.name.to_ascii_lowercase();
        let begins_with = |list: &[&str]| list.iter().any(|start| name.starts_with(start));
        match interface.ip {
            ip if ip.is_loopback() => Reason::Loopback,
            _ if begins_with(BRIDGES) => Reason::Bridge,
            _ if begins_with(TUNNELS) || interface.point_to_point => Reason::Tunnel,
            IpAddr::V4(v4) if v4.is_link_local() => Reason::LinkLocal,
            ip if is_private(ip) && self.has_default_route(interface) => Reason::DefaultRoute,
            ip if is_private(ip) => Reason::Private,
            _ => Reason::Public,
        }
    }

    fn has_default_route(&self, interface: &Interface) -> bool {
        self.default_sources.contains(&interface.ip) || self.default_interfaces.contains(&interface.name)
    }

    /// Whether a peer is in the room: private, link-local, loopback, or on a network that one of our interfaces is on.
    ///
    /// A global IPv6 address would otherwise make a listener on a LAN reachable from everywhere (security.md F21).
    pub fn is_nearby(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        is_local_range(peer) || self.interfaces.iter().any(|i| i.up && i.holds(peer))
    }
}

impl Interface {
    /// An address that another device on the network of this one could have; `None` where there is room for no other.
    pub fn neighbour(&self) -> Option<IpAddr> {
        // Some other host part that is neither all zeros nor all ones, which are no devices.
        let other = |ours: u128, width: u32| {
            let host = width.checked_sub(u32::from(self.prefix_len)).filter(|bits| (2..=width).contains(bits))?;
            let all_ones = u128::MAX >> (128 - host);
            [ours ^ 1, ours ^ 2, ours ^ 3]
                .into_iter()
                .find(|other| !matches!(other & all_ones, host if host == 0 || host == all_ones))
        };
        match self.ip {
            IpAddr::V4(v4) => other(v4.to_bits().into(), 32).map(|bits| Ipv4Addr::from_bits(bits as u32).into()),
            IpAddr::V6(v6) => other(v6.to_bits(), 128).map(|bits| Ipv6Addr::from_bits(bits).into()),
        }
    }

    /// Whether `peer` is on the network of this address.
    pub fn holds(&self, peer: IpAddr) -> bool {
        let same_bits = |ours: u128, theirs: u128, width: u32| match u32::from(self.prefix_len) {
            // Unknown, or "everybody": says nothing about who is near.
            0 => false,
            len => len <= width && (ours ^ theirs) >> (width - len) == 0,
        };
        match (self.ip, peer) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => same_bits(ours.to_bits().into(), theirs.to_bits().into(), 32),
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => same_bits(ours.to_bits(), theirs.to_bits(), 128),
            _ => false,
        }
    }
}

impl From<if_addrs::Interface> for Interface {
    fn from(found: if_addrs::Interface) -> Interface {
        let (ip, prefix_len) = match &found.addr {
            if_addrs::IfAddr::V4(v4) => (IpAddr::V4(v4.ip), v4.prefixlen),
            if_addrs::IfAddr::V6(v6) => (IpAddr::V6(v6.ip), v6.prefixlen),
        };
        // On Unix the library knows "running" and "unknown", and means by the latter everything else.
        let up = found.is_oper_up();
        Interface { ip, prefix_len, up, point_to_point: found.is_p2p, name: found.name }
    }
}

/// Real interfaces come before self-assigned addresses, those before tunnels, and so on; within one such floor IPv4
/// comes before IPv6, whatever else speaks for the address.
fn floor(reason: Reason) -> Reason {
    match reason {
        Reason::DefaultRoute | Reason::Private | Reason::Public => Reason::DefaultRoute,
        lower => lower,
    }
}

/// Whether an address means something only together with an interface.
fn is_zoned(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

/// RFC 1918, RFC 6598 (carrier and tailnet), RFC 4193.
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_private() || (v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64),
        IpAddr::V6(v6) => v6.is_unique_local(),
    }
}

fn is_local_range(ip: IpAddr) -> bool {
    let link_local = match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    link_local || ip.is_loopback() || is_private(ip)
}

/// Addresses for documentation (RFC 5737, RFC 3849), which only a default route leads to. Nothing is sent there.
const OUTSIDE_V4: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)), 9);
const OUTSIDE_V6: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)), 9);

/// The address from which a packet `towards` somewhere would leave: connecting a UDP socket looks the route up and sends
/// nothing. `None` where no way leads there.
pub fn source_towards(towards: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = if towards.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(towards).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// Interfaces with a default route of their own. A VPN that routes "everything" by two halves leaves the real one there.
fn default_interfaces() -> Vec<String> {
    if cfg!(target_os = "linux") {
        std::fs::read_to_string("/proc/net/route").map(|table| parse_default_routes(&table)).unwrap_or_default()
    } else {
        Vec::new()
    }
}

/// Reads `/proc/net/route`: interface, destination, gateway, flags, three counters, mask; numbers in hexadecimal.
fn parse_default_routes(table: &str) -> Vec<String> {
    let default_route = |line: &str| {
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        match columns.as_slice() {
            [name, "00000000", _, _, _, _, _, "00000000", ..] => Some((*name).to_owned()),
            _ => None,
        }
    };
    table.lines().skip(1).filter_map(default_route).collect()
}

#[cfg(test)]
mod tests;
