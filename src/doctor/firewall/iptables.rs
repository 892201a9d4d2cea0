//! iptables where there is no `nft`: whether `iptables -S INPUT` lists anything that could be in the way.

use super::{Firewall, Packet, Passes};

/// iptables, with what it listed if it may. `None` where everything is let in.
pub(in crate::doctor) fn iptables(listed: Option<&str>, packet: &Packet) -> Option<Firewall> {
    let is_open = |listed: &str| listed.lines().map(str::trim).all(|line| line.is_empty() || line == "-P INPUT ACCEPT");
    if listed.is_some_and(is_open) {
        return None;
    }
    let tool = tool(packet);
    let open = |packet: &Packet| {
        format!("sudo {tool} -I INPUT -p {} --dport {} -j ACCEPT", packet.protocol.word(), packet.port)
    };
    Some(Firewall {
        name: "iptables",
        port: Passes::Unclear,
        mdns: Passes::Unclear,
        open_port: open(packet),
        open_mdns: open(&packet.mdns()),
        look: format!("sudo {tool} -S INPUT"),
    })
}

/// The command for this family of addresses.
pub(in crate::doctor) fn tool(packet: &Packet) -> &'static str {
    if packet.to.is_ipv4() { "iptables" } else { "ip6tables" }
}
