//! What is made of the facts. Pure: every judgement is tested without a network.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use super::facts::{Facts, Heard};
use super::firewall::{Firewall, Passes};
use super::system::Around;
use crate::events::{Check, Finding, Verdict};
use crate::names::inert;
use crate::net::addresses::{Candidate, Interface, Reason};
use crate::net::discovery::worth_advertising;

/// What it says to those who can't be found by name.
const CODE_WORKS: &str = "the code and the link work without it";

/// Everything that was looked at, in the order in which one thing rests on the other.
pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = interfaces(facts);
    findings.push(address(facts));
    findings.push(ipv6(facts));
    findings.push(vpn(facts));
    findings.extend(around(facts));
    findings.push(port(facts));
    findings.extend(reach(facts));
    findings.push(firewall(facts));
    findings.extend(mdns(facts));
    findings.extend(neighbours(facts));
    findings
}

fn finding(check: Check, verdict: Verdict, message: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding { check, verdict, message: message.into(), remedy: remedy.into(), command: None, address: None }
}

fn good(check: Check, message: impl Into<String>) -> Finding {
    finding(check, Verdict::Good, message, "")
}

impl Finding {
    fn by(self, command: impl Into<String>) -> Finding {
        Finding { command: Some(command.into()), ..self }
    }
}

/// Each interface, and what its addresses are good for.
fn interfaces(facts: &Facts) -> Vec<Finding> {
    let network = &facts.network;
    let mut by_name: BTreeMap<&str, Vec<&Interface>> = BTreeMap::new();
    for interface in network.interfaces.iter().filter(|interface| !interface.ip.is_loopback()) {
        by_name.entry(&interface.name).or_default().push(interface);
    }
    let rank = |name: &str| facts.candidates.iter().position(|candidate| candidate.interface == name);
    let mut names: Vec<&str> = by_name.keys().copied().collect();
    // Those that others can be told come first, the best of them before the others.
    names.sort_by_key(|name| rank(name).unwrap_or(usize::MAX));
    let mut findings = Vec::new();
    for name in names {
        let all = &by_name[name];
        let usable: Vec<&Interface> =
            all.iter().copied().filter(|interface| interface.up && !is_zoned(interface.ip)).collect();
        match usable.as_slice() {
            [first, ..] => findings.push(usable_interface(facts, first, &usable)),
            // Each container has one, and each VPN that is off.
            [] if !is_real(facts, name) => {}
            [] => findings.push(unusable_interface(name, all.iter().any(|interface| interface.up))),
        }
    }
    let silent = facts.links.iter().filter(|(name, flags)| {
        flags.up && flags.running && !by_name.contains_key(name.as_str()) && is_real(facts, name)
    });
    findings.extend(silent.map(|(name, _)| unusable_interface(name, true)));
    findings
}

fn usable_interface(facts: &Facts, first: &Interface, all: &[&Interface]) -> Finding {
    let ips: Vec<String> = all.iter().map(|interface| interface.ip.to_string()).collect();
    let best = facts.candidates.iter().find(|candidate| candidate.interface == first.name);
    let reason = best.map_or_else(|| facts.network.reason(first), |candidate| candidate.reason);
    let message = format!("`{}` has {}: {}", inert(&first.name), ips.join(", "), worth(reason));
    match reason {
        Reason::LinkLocal => finding(
            Check::Interface,
            Verdict::Odd,
            message,
            "fine on a cable between two devices; else look why no address is given out",
        ),
        _ => good(Check::Interface, message),
    }
}

/// A real interface without an address that others can be told.
fn unusable_interface(name: &str, up: bool) -> Finding {
    let name = inert(name);
    if up {
        finding(
            Check::Interface,
            Verdict::Odd,
            format!("`{name}` is connected and has no address"),
            "look whether its network gives out addresses (DHCP), or set one",
        )
    } else {
        good(Check::Interface, format!("`{name}` is not connected"))
    }
}

/// Whether an interface without an address is one that could have one: no loopback, bridge or tunnel.
fn is_real(facts: &Facts, name: &str) -> bool {
    let ip = IpAddr::from([0, 0, 0, 0]);
    let nameless = Interface { name: name.to_owned(), ip, prefix_len: 0, up: true, point_to_point: false };
    name != "lo" && !matches!(facts.network.reason(&nameless), Reason::Bridge | Reason::Tunnel)
}

fn worth(reason: Reason) -> &'static str {
    match reason {
        Reason::DefaultRoute => "default route, best for the code",
        Reason::Private => "private, good for the code",
        Reason::Public => "public, for where there is no private network",
        Reason::LinkLocal => "self-assigned, as nothing gave it one",
        Reason::Tunnel => "VPN or tunnel, for its members only",
        Reason::Bridge => "containers on this machine, nobody else",
        Reason::Loopback => "this machine alone",
    }
}

/// The address in the code.
fn address(facts: &Facts) -> Finding {
    let chosen = &facts.candidates[0];
    let at = SocketAddr::new(chosen.ip, facts.port.number());
    let others: Vec<String> = facts.candidates[1..]
        .iter()
        .filter(|other| other.reason <= Reason::LinkLocal && other.ip.is_ipv4() == chosen.ip.is_ipv4())
        .map(|other| format!("`{}` ({})", inert(&other.interface), other.ip))
        .collect();
    let choice = match others.as_slice() {
        [] => String::new(),
        others => format!("; for people on {} press `n`, or use `--interface`", others.join(", ")),
    };
    let message = format!("{} on `{}` goes into the code: {}", chosen.ip, inert(&chosen.interface), chosen.reason);
    let (verdict, remedy) = match chosen.reason {
        Reason::DefaultRoute | Reason::Private => (Verdict::Good, ""),
        Reason::Public => (
            Verdict::Odd,
            "devices on the same network are let in, others only with `--expose`; use a private network if there is one",
        ),
        Reason::LinkLocal => {
            (Verdict::Odd, "the other device needs such an address too: it works on a cable between two")
        }
        Reason::Tunnel => {
            (Verdict::Bad, "members of that VPN reach it and nobody else: join the Wi-Fi or plug in a cable")
        }
        Reason::Bridge => (Verdict::Bad, "no other device reaches it: join the Wi-Fi or plug in a cable"),
        Reason::Loopback => (Verdict::Bad, "no network is connected: join the Wi-Fi or plug in a cable"),
    };
    Finding { address: Some(at), ..finding(Check::Address, verdict, message + &choice, remedy) }
}

fn ipv6(facts: &Facts) -> Finding {
    let real: Vec<&Candidate> =
        facts.candidates.iter().filter(|candidate| candidate.reason <= Reason::LinkLocal).collect();
    let v6 = real.iter().find(|candidate| candidate.ip.is_ipv6());
    match (real.iter().any(|candidate| candidate.ip.is_ipv4()), v6) {
        (true, Some(v6)) => good(Check::Ipv6, format!("{} is an address too; the code has the one of IPv4", v6.ip)),
        (false, Some(_)) => finding(
            Check::Ipv6,
            Verdict::Odd,
            "there is no IPv4 address here: a device without IPv6 can't reach this one",
            "if somebody can't connect, use a network that gives out IPv4 addresses",
        ),
        (_, None) => good(Check::Ipv6, "none, and none is needed"),
    }
}

/// Whether a tunnel stands between us and the room.
fn vpn(facts: &Facts) -> Finding {
    let name = |ip: IpAddr| {
        let owner = facts.network.interfaces.iter().find(|interface| interface.ip == ip)?;
        (facts.network.reason(owner) == Reason::Tunnel).then(|| inert(&owner.name))
    };
    let chosen = facts.candidates[0].ip;
    if let Some(tunnel) = facts.way_to_neighbour.filter(|ip| *ip != chosen).and_then(name) {
        return finding(
            Check::Vpn,
            Verdict::Bad,
            format!("`{tunnel}` takes what goes to your own network too: answers don't reach the others"),
            "allow local networks in the settings of the VPN, or leave it for the moment",
        );
    }
    match facts.network.default_sources.iter().copied().find_map(name) {
        Some(tunnel) => finding(
            Check::Vpn,
            Verdict::Odd,
            format!("`{tunnel}` takes what leaves for the internet; your own network stays reachable"),
            "if others can't connect, allow local networks in the settings of the VPN, or leave it for the moment",
        ),
        None => good(Check::Vpn, "none in the way"),
    }
}

/// A system around this one whose address is the one that others know.
fn around(facts: &Facts) -> Option<Finding> {
    let (ip, port) = (facts.candidates[0].ip, facts.port.number());
    match facts.around.as_ref()? {
        // Mirrored networking (Windows 11) shows as this interface, and gives Linux the addresses of Windows.
        Around::Wsl if facts.links.contains_key("loopback0") => {
            Some(good(Check::Wsl, "Windows shares its addresses with this Linux"))
        }
        Around::Wsl => Some(
            finding(
                Check::Wsl,
                Verdict::Bad,
                format!("{ip} is an address between Windows and this Linux: no other device reaches it"),
                "use qrdrop for Windows, or put `networkingMode=mirrored` under `[wsl2]` in `.wslconfig` of your Windows \
                 folder and start WSL again with",
            )
            .by("wsl.exe --shutdown"),
        ),
        Around::Container(kind) => Some(finding(
            Check::Container,
            Verdict::Odd,
            format!("this is a container ({}): others reach {ip} only if it has the network of its host", inert(kind)),
            format!("start it with the host's network (`--network host`), or publish the port (`-p {port}:{port}`)"),
        )),
    }
}

fn port(facts: &Facts) -> Finding {
    let port = &facts.port;
    let holder = port.holder.as_deref().map_or_else(|| "another program".to_owned(), inert);
    match &port.got {
        Ok(got) if port.wanted == 0 || *got == port.wanted => good(Check::Port, format!("{got} is free")),
        Ok(got) => finding(
            Check::Port,
            Verdict::Odd,
            format!("{} is taken by {holder}; {got} is used instead", port.wanted),
            "nothing to do, unless a firewall or a script expects the usual one",
        ),
        Err(error) => finding(
            Check::Port,
            Verdict::Bad,
            match &port.holder {
                Some(_) => format!("{} is taken by {holder}", port.wanted),
                None => error.clone(),
            },
            "end that program, or choose another port with `--port`",
        ),
    }
}

/// Whether the port answers at each own address.
fn reach(facts: &Facts) -> Option<Finding> {
    if facts.dialled.is_empty() {
        return None;
    }
    let silent: Vec<String> =
        facts.dialled.iter().filter(|dialled| !dialled.answered).map(|dialled| dialled.to.to_string()).collect();
    let port = facts.port.number();
    Some(if silent.is_empty() {
        good(Check::Reach, format!("{port} answers at every address of this machine"))
    } else {
        let mut silent = silent;
        silent.dedup();
        let chosen = silent.contains(&facts.candidates[0].ip.to_string());
        finding(
            Check::Reach,
            if chosen { Verdict::Bad } else { Verdict::Odd },
            format!("{port} does not even answer this machine itself at {}", silent.join(", ")),
            "something on this machine keeps it closed: see the firewall",
        )
    })
}

fn firewall(facts: &Facts) -> Finding {
    let Some(firewall) = &facts.firewall else {
        return good(Check::Firewall, "no rule that keeps anybody out was found");
    };
    let Firewall { name, port, mdns, open_port, open_mdns, look } = firewall;
    let number = facts.port.number();
    match (port, mdns) {
        (Passes::Yes, Passes::Yes) => good(Check::Firewall, format!("{name} lets in TCP {number} and UDP 5353 (mDNS)")),
        (Passes::No, Passes::No) if open_port == open_mdns => {
            let message = format!("{name} keeps this program from being reached");
            finding(Check::Firewall, Verdict::Bad, message, "let it in with").by(open_port)
        }
        (Passes::No, Passes::No) => {
            let message =
                format!("{name} keeps out TCP {number} and UDP 5353 (mDNS): nobody can connect, or find this");
            finding(Check::Firewall, Verdict::Bad, message, "let them in with")
                .by(format!("{open_port} && {open_mdns}"))
        }
        (Passes::No, _) => {
            let message = format!("{name} keeps out TCP {number}: nobody can connect");
            finding(Check::Firewall, Verdict::Bad, message, "let it in with").by(open_port)
        }
        (_, Passes::No) => {
            let message = format!("{name} keeps out UDP 5353 (mDNS): nobody finds this by name");
            finding(Check::Firewall, Verdict::Bad, message, format!("{CODE_WORKS}; to be found too, let it in with"))
                .by(open_mdns)
        }
        (Passes::Unclear, _) | (_, Passes::Unclear) => finding(
            Check::Firewall,
            Verdict::Odd,
            format!("{name} is here, and whether it lets in TCP {number} can't be told from here"),
            format!("see its rules with `{look}`; if others can't connect, let them in with"),
        )
        .by(open_port),
    }
}

/// Whether this is heard when it says that it is here.
fn mdns(facts: &Facts) -> Vec<Finding> {
    let is_deaf = |name: &str| facts.links.get(name).is_some_and(|flags| !flags.multicast);
    let (deaf, able): (Vec<_>, Vec<_>) = facts.heard.iter().partition(|(name, _)| is_deaf(name));
    let with = |wanted: fn(&Heard) -> bool| -> Option<String> {
        let names: Vec<String> =
            able.iter().filter(|(_, heard)| wanted(heard)).map(|(name, _)| format!("`{}`", inert(name))).collect();
        (!names.is_empty()).then(|| names.join(", "))
    };
    let bad = |message: String, remedy: String| finding(Check::Mdns, Verdict::Bad, message, remedy);
    let mut findings = Vec::new();
    if let Some(names) = with(|heard| *heard == Heard::Back) {
        findings.push(good(Check::Mdns, format!("an advertisement came back on {names}")));
    }
    if let Some(names) = with(|heard| *heard == Heard::Nothing) {
        let filtered = facts.firewall.as_ref().is_some_and(|firewall| firewall.mdns == Passes::No);
        let cause = if filtered { "the firewall is what stops it" } else { "let UDP 5353 in and out of this machine" };
        findings.push(bad(
            format!("an advertisement on {names} does not come back: nobody there finds this by name"),
            format!("{CODE_WORKS}; {cause}"),
        ));
    }
    if let Some((_, Heard::PortTaken(holder))) = able.iter().find(|(_, heard)| matches!(heard, Heard::PortTaken(_))) {
        let holder = holder.as_deref().map_or_else(|| "another program".to_owned(), inert);
        findings.push(bad(
            format!("port 5353 is held by {holder}, which does not share it: not everybody finds this by name"),
            format!("{CODE_WORKS}; end that program, or let it share the port"),
        ));
    }
    for (name, heard) in able {
        if let Heard::Failed(error) = heard {
            let message = format!("discovery does not start on `{}`: {}", inert(name), inert(error));
            findings.push(bad(message, CODE_WORKS.to_owned()));
        }
    }
    findings.extend(deaf.into_iter().map(|(name, _)| {
        let name = inert(name);
        bad(
            format!("multicast is turned off on `{name}`: nobody there finds this by name"),
            format!("{CODE_WORKS}; turn it on with"),
        )
        .by(format!("sudo ip link set dev {name} multicast on"))
    }));
    findings
}

/// Whether the network carries anything between its devices: a guess, told only where nothing nearer explains it.
fn neighbours(facts: &Facts) -> Option<Finding> {
    let chosen: Vec<&Candidate> = worth_advertising(&facts.candidates).collect();
    let name = inert(&facts.candidates[0].interface);
    let closed = facts.heard.iter().any(|(interface, heard)| {
        *heard != Heard::Back && chosen.first().is_some_and(|first| first.interface == *interface)
    });
    let filtered = facts.firewall.as_ref().is_some_and(|firewall| firewall.port != Passes::Yes);
    match (facts.others.answering?, facts.others.known) {
        _ if facts.candidates[0].ip.is_loopback() || closed => None,
        (0, _) if filtered => None,
        (0, 0) => Some(finding(
            Check::Neighbours,
            Verdict::Odd,
            format!("nobody else is heard on `{name}`"),
            "if the other device is there: is it in the same network? many guest Wi-Fis keep their devices apart",
        )),
        (0, known) => Some(finding(
            Check::Neighbours,
            Verdict::Odd,
            format!("{} on `{name}` and none answers: perhaps the access point keeps them apart", devices(known)),
            "use another Wi-Fi than the guests', turn \"client isolation\" off, or use a cable or a phone's hotspot",
        )),
        (answering, _) => Some(good(Check::Neighbours, format!("{} on `{name}`", devices_heard(answering)))),
    }
}

fn devices(count: usize) -> String {
    if count == 1 { "1 other device is".to_owned() } else { format!("{count} other devices are") }
}

fn devices_heard(count: usize) -> String {
    if count == 1 { "1 other device answers".to_owned() } else { format!("{count} other devices answer") }
}

/// Whether an address means something only together with an interface.
fn is_zoned(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local())
}
