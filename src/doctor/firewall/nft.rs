//! nftables: what the rule set that `nft -j list ruleset` prints (libnftables-json(5)) would do with one packet.
//!
//! Each comparison is true, false or not understood. What is not understood is followed both ways as far as the answer
//! is the same; where it is not, the answer is that it is unclear.

use std::net::IpAddr;

use serde_json::Value;

use super::ufw::holds;
use super::{Firewall, Packet, Passes, Protocol};

/// The kernel allows no deeper jumps.
const JUMPS_MAX: usize = 16;

/// The rules, for a packet to our port. `ruleset` is `None` where it may not be read; no [`Firewall`] comes out where
/// there is no rule that could hold anything back.
pub(in crate::doctor) fn nftables(ruleset: Option<&str>, packet: &Packet) -> Option<Firewall> {
    let rules = match ruleset {
        None => None,
        Some(text) => Some(Ruleset::read(text)?),
    };
    if rules.as_ref().is_some_and(|rules| rules.guards(packet).next().is_none()) {
        return None;
    }
    let judge = |packet: &Packet| rules.as_ref().map_or((Passes::Unclear, None), |rules| rules.passes(packet));
    let mdns = packet.mdns();
    let ((port_passes, port_at), (mdns_passes, mdns_at)) = (judge(packet), judge(&mdns));
    let open = |at: Option<Guard<'_>>, packet: &Packet| {
        let at =
            at.map_or_else(|| "inet filter input".to_owned(), |at| format!("{} {} {}", at.family, at.table, at.name));
        format!("sudo nft insert rule {at} {} dport {} accept", packet.protocol.word(), packet.port)
    };
    Some(Firewall {
        name: "nftables",
        port: port_passes,
        mdns: mdns_passes,
        open_port: open(port_at, packet),
        open_mdns: open(mdns_at, &mdns),
        look: "sudo nft list ruleset".to_owned(),
    })
}

/// What becomes of a packet in a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Accepted,
    Dropped,
    /// It leaves the chain as it came.
    Returned,
    Unclear,
}

/// A chain that the kernel sends every packet through.
#[derive(Debug, Clone, Copy)]
struct Guard<'a> {
    family: &'a str,
    table: &'a str,
    name: &'a str,
    policy: Fate,
}

struct Ruleset(Vec<Value>);

impl Ruleset {
    fn read(text: &str) -> Option<Ruleset> {
        let mut whole: Value = serde_json::from_str(text).ok()?;
        match whole["nftables"].take() {
            Value::Array(objects) => Some(Ruleset(objects)),
            _ => None,
        }
    }

    /// The chains that filter what comes in for us.
    fn guards<'a>(&'a self, packet: &Packet) -> impl Iterator<Item = Guard<'a>> {
        let own_family = if packet.to.is_ipv4() { "ip" } else { "ip6" };
        self.0.iter().filter_map(move |object| {
            let chain = &object["chain"];
            let hooked = matches!(chain["hook"].as_str()?, "input" | "prerouting") && chain["type"] == "filter";
            let family = chain["family"].as_str().filter(|family| [own_family, "inet"].contains(family))?;
            let policy = if chain["policy"] == "drop" { Fate::Dropped } else { Fate::Accepted };
            let (table, name) = (chain["table"].as_str()?, chain["name"].as_str()?);
            hooked.then_some(Guard { family, table, name, policy })
        })
    }

    /// Whether the packet comes through all of them, and otherwise which one to open.
    fn passes(&self, packet: &Packet) -> (Passes, Option<Guard<'_>>) {
        let mut unclear = None;
        for guard in self.guards(packet) {
            let fate = match self.walk(guard, guard.name, packet, 0) {
                Fate::Returned => guard.policy,
                fate => fate,
            };
            match fate {
                Fate::Dropped => return (Passes::No, Some(guard)),
                Fate::Unclear => unclear = Some(guard),
                Fate::Accepted | Fate::Returned => {}
            }
        }
        (if unclear.is_some() { Passes::Unclear } else { Passes::Yes }, unclear)
    }

    fn walk(&self, guard: Guard<'_>, chain: &str, packet: &Packet, depth: usize) -> Fate {
        if depth > JUMPS_MAX {
            return Fate::Unclear;
        }
        let rules =
            self.0.iter().map(|object| &object["rule"]).filter(|rule| {
                rule["family"] == guard.family && rule["table"] == guard.table && rule["chain"] == chain
            });
        // What may have happened on the way here, by rules that were not understood.
        let mut perhaps: Vec<Fate> = Vec::new();
        for rule in rules {
            let (surely, fate) = self.apply(rule, guard, packet, depth);
            match fate {
                None => {}
                Some(Fate::Unclear) => return Fate::Unclear,
                Some(fate) if surely => {
                    return settle(&perhaps, if depth == 0 && fate == Fate::Returned { guard.policy } else { fate });
                }
                Some(fate) => perhaps.push(fate),
            }
        }
        settle(&perhaps, if depth == 0 { guard.policy } else { Fate::Returned })
    }

    /// What a rule does with the packet, and whether it surely does; `None` if nothing.
    fn apply(&self, rule: &Value, guard: Guard<'_>, packet: &Packet, depth: usize) -> (bool, Option<Fate>) {
        let mut surely = true;
        for statement in rule["expr"].as_array().into_iter().flatten() {
            let Some((kind, about)) = statement.as_object().and_then(|statement| statement.iter().next()) else {
                surely = false;
                continue;
            };
            match kind.as_str() {
                "match" => match fits(about, packet) {
                    Some(true) => {}
                    Some(false) => return (true, None),
                    None => surely = false,
                },
                // A single packet is never over a limit.
                "limit" if about["inv"] == true => return (true, None),
                "limit" | "counter" | "log" | "mangle" | "notrack" | "set" => {}
                "vmap" => return self.map(about, guard, packet, depth, surely),
                _ => match self.verdict(kind, about, guard, packet, depth) {
                    Some(Fate::Returned) if kind == "jump" => {}
                    Some(fate) => return (surely, Some(fate)),
                    None => surely = false,
                },
            }
        }
        // Nothing was decided; a rule that ends in something unknown may have been an end.
        let known_end = rule["expr"].as_array().and_then(|all| all.last()).is_none_or(is_known);
        if known_end { (true, None) } else { (true, Some(Fate::Unclear)) }
    }

    /// A verdict statement; `None` if it is none.
    fn verdict(&self, kind: &str, about: &Value, guard: Guard<'_>, packet: &Packet, depth: usize) -> Option<Fate> {
        match kind {
            "accept" => Some(Fate::Accepted),
            "drop" | "reject" => Some(Fate::Dropped),
            "return" => Some(Fate::Returned),
            "jump" | "goto" => Some(self.walk(guard, about["target"].as_str()?, packet, depth + 1)),
            _ => None,
        }
    }

    /// A map of values to verdicts: `ct state vmap { established : accept }`.
    fn map(
        &self,
        about: &Value,
        guard: Guard<'_>,
        packet: &Packet,
        depth: usize,
        surely: bool,
    ) -> (bool, Option<Fate>) {
        let seen = look(&about["key"], packet);
        let Some(pairs) = about["data"]["set"].as_array() else { return (surely, Some(Fate::Unclear)) };
        for pair in pairs {
            let fits = match &seen {
                Seen::Absent => Some(false),
                Seen::Hidden => None,
                Seen::Is(atom) => atom.is(&pair[0]),
            };
            match (fits, pair[1].as_object().and_then(|verdict| verdict.iter().next())) {
                (Some(false), _) => {}
                (Some(true), Some((kind, about))) => {
                    let fate = self.verdict(kind, about, guard, packet, depth);
                    return (surely, fate.filter(|fate| *fate != Fate::Returned || kind != "jump"));
                }
                _ => return (surely, Some(Fate::Unclear)),
            }
        }
        (surely, None)
    }
}

/// The fate, unless something else may have happened before.
fn settle(perhaps: &[Fate], fate: Fate) -> Fate {
    if perhaps.iter().all(|other| *other == fate) { fate } else { Fate::Unclear }
}

/// Whether a rule that ends with this goes on to the next one.
fn is_known(statement: &Value) -> bool {
    const GO_ON: [&str; 8] = ["match", "limit", "counter", "log", "mangle", "notrack", "set", "jump"];
    statement.as_object().is_some_and(|statement| statement.keys().all(|kind| GO_ON.contains(&kind.as_str())))
}

/// Whether the packet is what a `match` asks for; `None` if that is not understood.
fn fits(about: &Value, packet: &Packet) -> Option<bool> {
    let fits = match look(&about["left"], packet) {
        Seen::Absent => return Some(false),
        Seen::Hidden => return None,
        Seen::Is(atom) => atom.is(&about["right"])?,
    };
    match about["op"].as_str()? {
        "==" | "in" => Some(fits),
        "!=" => Some(!fits),
        _ => None,
    }
}

/// What a packet has where an expression looks.
enum Seen {
    Is(Atom),
    /// It is of another kind and has no such field: the comparison fails, whatever it is.
    Absent,
    /// Not known here.
    Hidden,
}

enum Atom {
    Word(String),
    Number(u64),
    Address(IpAddr),
}

fn look(left: &Value, packet: &Packet) -> Seen {
    let word = |word: &str| Seen::Is(Atom::Word(word.to_owned()));
    if let Some(key) = left["meta"]["key"].as_str() {
        return match key {
            "iif" | "iifname" => word(&packet.interface),
            "l4proto" => word(packet.protocol.word()),
            "nfproto" => word(if packet.to.is_ipv4() { "ipv4" } else { "ipv6" }),
            "pkttype" => word(if packet.to.is_multicast() { "multicast" } else { "host" }),
            _ => Seen::Hidden,
        };
    }
    if left["ct"]["key"] == "state" {
        return word("new");
    }
    let payload = &left["payload"];
    match (payload["protocol"].as_str(), payload["field"].as_str()) {
        (Some("tcp"), Some(_)) if packet.protocol != Protocol::Tcp => Seen::Absent,
        (Some("udp"), Some(_)) if packet.protocol != Protocol::Udp => Seen::Absent,
        (Some("icmp" | "icmpv6" | "sctp" | "dccp" | "igmp" | "esp" | "ah"), Some(_)) => Seen::Absent,
        (Some("ip"), Some(_)) if packet.to.is_ipv6() => Seen::Absent,
        (Some("ip6"), Some(_)) if packet.to.is_ipv4() => Seen::Absent,
        (Some("tcp" | "udp" | "th"), Some("dport")) => Seen::Is(Atom::Number(packet.port.into())),
        (Some("tcp"), Some("flags")) => word("syn"),
        (Some("ip" | "ip6"), Some("saddr")) => Seen::Is(Atom::Address(packet.from)),
        (Some("ip" | "ip6"), Some("daddr")) => Seen::Is(Atom::Address(packet.to)),
        (Some("ip"), Some("protocol")) | (Some("ip6"), Some("nexthdr")) => word(packet.protocol.word()),
        _ => Seen::Hidden,
    }
}

impl Atom {
    /// Whether it is this value, or one of these.
    fn is(&self, right: &Value) -> Option<bool> {
        if let Some(several) = right.as_array().or_else(|| right["set"].as_array()) {
            let each: Vec<Option<bool>> = several.iter().map(|one| self.is(one)).collect();
            return if each.contains(&Some(true)) {
                Some(true)
            } else {
                each.into_iter().find(Option::is_none).unwrap_or(Some(false))
            };
        }
        if let Some([first, last]) = right["range"].as_array().map(Vec::as_slice) {
            return match self {
                Atom::Number(number) => Some((first.as_u64()?..=last.as_u64()?).contains(number)),
                Atom::Address(ip) => Some((address(first)?..=address(last)?).contains(ip)),
                Atom::Word(_) => None,
            };
        }
        let prefix = &right["prefix"];
        match (self, right) {
            (Atom::Address(ip), Value::Object(_)) if prefix.is_object() => {
                let length = u32::try_from(prefix["len"].as_u64()?).ok().filter(|length| *length <= 128)?;
                Some(holds((address(&prefix["addr"])?, length), *ip))
            }
            // `@blocked` is a set with a name, whose elements may change at any time.
            (_, Value::String(name)) if name.starts_with('@') => None,
            (Atom::Address(ip), Value::String(_)) => Some(address(right)? == *ip),
            (Atom::Word(word), Value::String(text)) => Some(match text.strip_suffix('*') {
                Some(start) => word.starts_with(start),
                None => word == text,
            }),
            (Atom::Number(number), Value::Number(other)) => Some(other.as_u64()? == *number),
            _ => None,
        }
    }
}

fn address(value: &Value) -> Option<IpAddr> {
    value.as_str()?.parse().ok()
}
