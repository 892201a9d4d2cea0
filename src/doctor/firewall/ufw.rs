//! ufw: what `ufw status verbose` says.

use std::net::IpAddr;

use super::{Firewall, Packet, Passes};

/// Whether `/etc/ufw/ufw.conf`, which everybody may read, says that it is on.
pub(in crate::doctor) fn is_enabled(conf: &str) -> bool {
    conf.lines().any(|line| line.trim().strip_prefix("ENABLED=").is_some_and(|value| value.trim_matches('"') == "yes"))
}

/// ufw, with its status if that could be read. `None` if it is off after all.
///
/// mDNS comes through always: `before.rules`, which stand before everything that is listed, let it in.
pub(in crate::doctor) fn ufw(status: Option<&str>, packet: &Packet) -> Option<Firewall> {
    if status.is_some_and(|status| status.trim_start().starts_with("Status: inactive")) {
        return None;
    }
    Some(Firewall {
        name: "ufw",
        port: status.map_or(Passes::Unclear, |status| passes(status, packet)),
        mdns: Passes::Yes,
        open_port: format!("sudo ufw allow {}/{}", packet.port, packet.protocol.word()),
        open_mdns: "sudo ufw allow 5353/udp".to_owned(),
        look: "sudo ufw status verbose".to_owned(),
    })
}

/// The first rule that fits decides, else the default.
fn passes(status: &str, packet: &Packet) -> Passes {
    let mut unclear = false;
    for line in status.lines() {
        match Rule::read(line).map(|rule| (rule.fits(packet), rule.lets_in)) {
            Some((Some(true), lets_in)) if !unclear => return if lets_in { Passes::Yes } else { Passes::No },
            Some((Some(true) | None, _)) => unclear = true,
            Some((Some(false), _)) | None => {}
        }
    }
    let default = status.lines().find_map(|line| line.strip_prefix("Default: ")?.split(' ').next());
    match default {
        Some("allow") if !unclear => Passes::Yes,
        Some("deny" | "reject") if !unclear => Passes::No,
        _ => Passes::Unclear,
    }
}

/// One line of the table: `5001/tcp on eth0   ALLOW IN   192.168.1.0/24`.
struct Rule<'a> {
    to: &'a str,
    from: &'a str,
    lets_in: bool,
}

impl<'a> Rule<'a> {
    fn read(line: &'a str) -> Option<Rule<'a>> {
        let line = line.split('#').next().unwrap_or_default();
        let columns: Vec<&str> = line.split("  ").map(str::trim).filter(|column| !column.is_empty()).collect();
        let &[to, action, from] = columns.as_slice() else { return None };
        let mut action = action.split(' ');
        let lets_in = match action.next()? {
            "ALLOW" | "LIMIT" => true,
            "DENY" | "REJECT" => false,
            _ => return None,
        };
        // Without a word for it the way is in.
        matches!(action.next(), None | Some("IN")).then_some(Rule { to, from, lets_in })
    }

    /// `None` if that can't be told.
    fn fits(&self, packet: &Packet) -> Option<bool> {
        let (to, from) = (Side::read(self.to), Side::read(self.from));
        if to.v6 != packet.to.is_ipv6() && !to.names_address() && !from.names_address() {
            return Some(false);
        }
        let rest = [to.fits(packet.to, packet), from.fits(packet.from, &Packet { port: 0, ..packet.clone() })];
        match rest {
            [Some(false), _] | [_, Some(false)] => Some(false),
            [Some(true), Some(true)] => Some(true),
            _ => None,
        }
    }
}

/// What one column says: `Anywhere`, `5001/tcp`, `80,443/tcp (Nginx Full)`, `192.168.1.5 22/tcp on eth0 (v6)`.
struct Side<'a> {
    words: Vec<&'a str>,
    interface: Option<&'a str>,
    v6: bool,
}

impl<'a> Side<'a> {
    fn read(text: &'a str) -> Side<'a> {
        let v6 = text.contains("(v6)");
        // In brackets stands what the words before mean.
        let plain = text.split('(').next().unwrap_or_default().trim();
        let (plain, interface) = match plain.split_once(" on ") {
            Some((plain, interface)) => (plain, Some(interface.trim())),
            None => (plain, None),
        };
        Side { words: plain.split_whitespace().collect(), interface, v6 }
    }

    fn names_address(&self) -> bool {
        self.words.iter().any(|word| network(word).is_some())
    }

    fn fits(&self, address: IpAddr, packet: &Packet) -> Option<bool> {
        if self.interface.is_some_and(|interface| interface != packet.interface) {
            return Some(false);
        }
        let mut known = true;
        for word in self.words.iter().filter(|word| **word != "Anywhere") {
            let fits = match network(word) {
                Some(network) => Some(holds(network, address)),
                None => ports(word, packet),
            };
            match fits {
                Some(true) => {}
                Some(false) => return Some(false),
                None => known = false,
            }
        }
        known.then_some(true)
    }
}

/// `192.168.1.0/24` or a single address.
fn network(word: &str) -> Option<(IpAddr, u32)> {
    let (ip, length) = word.split_once('/').unwrap_or((word, ""));
    let ip: IpAddr = ip.parse().ok()?;
    let width = if ip.is_ipv4() { 32 } else { 128 };
    if length.is_empty() { Some((ip, width)) } else { Some((ip, length.parse().ok().filter(|bits| *bits <= width)?)) }
}

/// Whether `address` is in that network.
pub(super) fn holds((network, length): (IpAddr, u32), address: IpAddr) -> bool {
    match (network, address) {
        (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
            (ours.to_bits() ^ theirs.to_bits()).checked_shr(32 - length).unwrap_or(0) == 0
        }
        (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
            (ours.to_bits() ^ theirs.to_bits()).checked_shr(128 - length).unwrap_or(0) == 0
        }
        _ => false,
    }
}

/// `5001`, `5001/tcp`, `6000:6007/tcp`, `80,443/tcp`; `None` for the name of an application.
fn ports(word: &str, packet: &Packet) -> Option<bool> {
    let (list, protocol) = word.split_once('/').unwrap_or((word, packet.protocol.word()));
    let mut fits = false;
    for item in list.split(',') {
        let (first, last) = item.split_once(':').unwrap_or((item, item));
        let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
        fits |= (first..=last).contains(&packet.port);
    }
    Some(fits && protocol == packet.protocol.word())
}
