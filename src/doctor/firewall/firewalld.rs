//! firewalld: what `firewall-cmd --list-all` says of the zone that an interface is in.

use super::{Firewall, Packet, Passes, Protocol};
use crate::net::discovery::MDNS_PORT;

/// firewalld, with what is listed for the zone, if that could be read.
pub(in crate::doctor) fn firewalld(listed: Option<&str>, packet: &Packet) -> Firewall {
    // The list begins with the name: `public (active)`.
    let zone = listed.and_then(|listed| listed.split_whitespace().next());
    let passes = |packet: &Packet| listed.map_or(Passes::Unclear, |listed| passes(listed, packet));
    let of_zone = zone.map_or_else(String::new, |zone| format!(" --zone={zone}"));
    Firewall {
        name: "firewalld",
        port: passes(packet),
        mdns: passes(&packet.mdns()),
        open_port: format!("sudo firewall-cmd{of_zone} --add-port={}/{}", packet.port, packet.protocol.word()),
        open_mdns: format!("sudo firewall-cmd{of_zone} --add-service=mdns"),
        look: format!("sudo firewall-cmd{of_zone} --list-all"),
    }
}

fn passes(listed: &str, packet: &Packet) -> Passes {
    let field = |name: &str| {
        let line = listed.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_default().trim()
    };
    let word = packet.protocol.word();
    let is_mdns = (packet.protocol, packet.port) == (Protocol::Udp, MDNS_PORT);
    let opened = field("ports").split_whitespace().any(|port| opens(port, word, packet.port));
    let served = is_mdns && field("services").split_whitespace().any(|service| service == "mdns");
    // They stand before everything else, and may let in or keep out.
    let rich = listed.lines().any(|line| line.trim().starts_with("rule "));
    match field("target") {
        _ if rich => Passes::Unclear,
        "ACCEPT" => Passes::Yes,
        _ if opened || served => Passes::Yes,
        "default" | "DROP" | "REJECT" | "%%REJECT%%" => Passes::No,
        _ => Passes::Unclear,
    }
}

/// Whether `1025-65535/tcp` or `5001/tcp` is about this port.
fn opens(listed: &str, protocol: &str, port: u16) -> bool {
    let Some((range, of)) = listed.split_once('/') else { return false };
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse::<u16>()) else { return false };
    of == protocol && (first..=last).contains(&port)
}
