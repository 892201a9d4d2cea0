//! `qrdrop doctor` in networks drawn at random (namespaces), and in those where something is in the way.
#![cfg(target_os = "linux")]

mod common;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use common::around::{Lan, am_root, have, sh};
use common::{Ended, Launch, Scene, text};

/// How many networks are drawn.
const DRAWN: usize = 12;

/// Draws every kind of network that there is; `QRDROP_SEED` draws others.
const SEED: u64 = 3;

/// The kinds: four of VPN and five of filter, of which one each is none, and five more.
const KINDS: usize = 13;

/// The port that `doctor` looks at.
const PORT: u16 = 5001;

/// xorshift64* (Vigna 2016): enough to draw with, the same everywhere.
struct Dice(u64);

impl Dice {
    /// One of `sides`, from 0.
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % sides
    }
}

/// What a VPN does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Vpn {
    None,
    /// It is there.
    Idle,
    /// It takes what leaves for the internet.
    Outward,
    /// It takes everything.
    All,
}

/// How the port is blocked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Filter {
    None,
    /// Rules that let everything in that matters.
    Harmless,
    /// A rule against the port, for this machine itself too.
    Port,
    /// Everything is kept out that is not let in; this machine itself is.
    Policy,
    /// A rule against mDNS.
    Mdns,
}

/// A network that was drawn.
#[derive(Debug)]
struct Drawn {
    /// Real interfaces, at least one.
    real: usize,
    /// The one with the default route.
    default: Option<usize>,
    v6_only: bool,
    bridges: usize,
    vpn: Vpn,
    filter: Filter,
    /// Multicast is turned off on the interfaces.
    no_multicast: bool,
}

impl Drawn {
    fn draw(dice: &mut Dice) -> Drawn {
        let real = 1 + dice.roll(3);
        Drawn {
            real,
            default: (dice.roll(3) > 0).then(|| dice.roll(real)),
            v6_only: dice.roll(4) == 0,
            bridges: dice.roll(3),
            vpn: [Vpn::None, Vpn::Idle, Vpn::Outward, Vpn::All][dice.roll(4)],
            filter: [Filter::None, Filter::None, Filter::Harmless, Filter::Port, Filter::Policy, Filter::Mdns]
                [dice.roll(6)],
            no_multicast: dice.roll(4) == 0,
        }
    }

    fn kinds(&self) -> BTreeSet<String> {
        let mut kinds = BTreeSet::from([format!("{:?}", self.vpn), format!("{:?}", self.filter)]);
        let more = [
            (self.real > 1, "several interfaces"),
            (self.default.is_none(), "no default route"),
            (self.v6_only, "IPv6 only"),
            (self.bridges > 0, "bridges"),
            (self.no_multicast, "no multicast"),
        ];
        kinds.extend(more.into_iter().filter(|(has, _)| *has).map(|(_, kind)| kind.to_owned()));
        kinds
    }

    fn name(at: usize) -> &'static str {
        ["eth0", "wlan0", "enp7s0"][at]
    }

    /// The address of a real interface, here or on the other host.
    fn ip(&self, at: usize, host: u8) -> String {
        if self.v6_only {
            format!("fd83:{}::{host}", at + 1)
        } else {
            format!("{}.{host}", ["10.83.1", "192.168.83", "172.20.83"][at])
        }
    }

    /// The commands that make it, in `here` with cables to `there`.
    fn script(&self, here: &str, there: &str) -> String {
        let mut lines = format!("ip netns add {here}; ip netns add {there}; ip -n {here} link set lo up\n");
        let (v, length) = if self.v6_only { ("-6", 64) } else { ("-4", 24) };
        for at in 0..self.real {
            let name = Drawn::name(at);
            let _ = writeln!(lines, "ip link add {name} netns {here} type veth peer name {name} netns {there}");
            for (host, number) in [(here, 1), (there, 2)] {
                let ip = self.ip(at, number);
                let _ = writeln!(
                    lines,
                    "ip -n {host} addr add {ip}/{length} dev {name} nodad; ip -n {host} link set {name} up"
                );
            }
            if self.no_multicast {
                let _ = writeln!(lines, "ip -n {here} link set {name} multicast off");
            }
        }
        if let Some(at) = self.default {
            let _ = writeln!(lines, "ip {v} -n {here} route add default via {}", self.ip(at, 2));
        }
        for at in 0..self.bridges {
            let (bridge, ip) = (["docker0", "br-5ca1ab1e"][at], ["172.17.0.1", "172.18.0.1"][at]);
            // A bridge is up when something is plugged in.
            let _ = writeln!(
                lines,
                "ip -n {here} link add {bridge} type bridge; ip -n {here} addr add {ip}/16 dev {bridge}
                 ip -n {here} link set {bridge} up; ip -n {here} link add veth{at} type veth peer name vethin{at}
                 ip -n {here} link set veth{at} master {bridge} up; ip -n {here} link set vethin{at} up"
            );
        }
        if self.vpn != Vpn::None {
            // Its other end is not in the room: it takes packets and answers nobody.
            let _ = writeln!(
                lines,
                "ip link add wg0 netns {here} type veth peer name wg0 netns {there}
                 ip -n {here} addr add 10.8.0.2/24 dev wg0; ip -n {here} addr add fd08::2/64 dev wg0 nodad
                 ip -n {here} link set wg0 up; ip -n {there} link set wg0 arp off up"
            );
        }
        let everything = if self.v6_only { ["::/1", "8000::/1"] } else { ["0.0.0.0/1", "128.0.0.0/1"] };
        for half in everything {
            match self.vpn {
                Vpn::None | Vpn::Idle => {}
                Vpn::Outward => {
                    let _ = writeln!(lines, "ip {v} -n {here} route add {half} dev wg0");
                }
                Vpn::All => {
                    let _ = writeln!(lines, "ip {v} -n {here} route add {half} dev wg0 table 83");
                }
            }
        }
        if self.vpn == Vpn::All {
            let _ = writeln!(lines, "ip {v} -n {here} rule add pref 10 lookup 83");
        }
        let rules = match self.filter {
            Filter::None => "",
            Filter::Harmless => "policy accept; ct state invalid drop; tcp dport { 22, 80 } drop; udp dport 53 reject;",
            Filter::Port => "policy accept; tcp dport 5000-5100 drop;",
            Filter::Policy => {
                "policy drop; iif lo accept; ct state established,related accept; udp dport 5353 accept;
                 meta l4proto ipv6-icmp accept; tcp dport 22 accept;"
            }
            Filter::Mdns => "policy accept; udp dport 5353 drop;",
        };
        if !rules.is_empty() {
            let rules = rules.replace("; ", "\n").replace(';', "\n").replacen(
                "policy",
                "type filter hook input priority 0; policy",
                1,
            );
            let rules = rules.replacen('\n', ";\n", 1);
            let _ = writeln!(
                lines,
                "ip netns exec {here} nft -f - <<'RULES'\ntable inet guard {{\n chain input {{\n{rules}\n }}\n}}\nRULES"
            );
        }
        lines
    }

    /// Where the code may point: the interface with the default route, or any real one where that can't be told.
    fn addresses(&self) -> Vec<String> {
        // The kernel tells everybody which interfaces have a default route of IPv4, of IPv6 only which one is used.
        let told = !self.v6_only || matches!(self.vpn, Vpn::None | Vpn::Idle);
        match self.default {
            Some(at) if told => vec![self.ip(at, 1)],
            _ => (0..self.real).map(|at| self.ip(at, 1)).collect(),
        }
    }

    fn is_reachable(&self) -> bool {
        self.vpn != Vpn::All && !matches!(self.filter, Filter::Port | Filter::Policy)
    }

    /// The verdict of each check whose answer the draw decides.
    fn verdicts(&self) -> Vec<(&'static str, &'static str)> {
        let mdns_blocked = self.no_multicast || self.filter == Filter::Mdns;
        vec![
            ("address", "good"),
            ("ipv6", if self.v6_only { "odd" } else { "good" }),
            (
                "vpn",
                match self.vpn {
                    Vpn::None | Vpn::Idle => "good",
                    Vpn::Outward => "odd",
                    Vpn::All => "bad",
                },
            ),
            ("port", "good"),
            ("reach", if self.filter == Filter::Port { "bad" } else { "good" }),
            (
                "firewall",
                match self.filter {
                    Filter::None | Filter::Harmless => "good",
                    Filter::Port | Filter::Policy | Filter::Mdns => "bad",
                },
            ),
            ("mdns", if mdns_blocked { "bad" } else { "good" }),
        ]
    }
}

/// The namespaces of a draw, gone with the value.
struct Hosts(String, String);

impl Drop for Hosts {
    fn drop(&mut self) {
        for host in [&self.0, &self.1] {
            let _ = Command::new("ip").args(["netns", "del", host]).status();
        }
    }
}

fn doctor(host: &str) -> Launch {
    Launch::new("doctor").arg("--json").behind(Lan::on(host))
}

/// The only finding of that check; the worst if there are several.
fn about(ended: &Ended, check: &str) -> Value {
    let order = |finding: &Value| ["good", "odd", "bad"].iter().position(|verdict| finding["verdict"] == *verdict);
    let findings = ended.named("finding").into_iter().filter(|finding| finding["check"] == check);
    findings.max_by_key(order).unwrap_or_else(|| panic!("nothing about `{check}`\n{ended}"))
}

/// Whether somebody on the other host can connect.
fn connects(from: &str, address: &str) -> bool {
    let address = address.rsplit_once(':').map_or(address, |(ip, _)| ip.trim_matches(['[', ']']));
    let status =
        Command::new("ip").args(["netns", "exec", from, "nc", "-z", "-w", "1", address, &PORT.to_string()]).status();
    status.expect("nc starts").success()
}

#[test]
fn in_twelve_drawn_networks_the_answer_and_the_address_are_right_within_three_seconds() {
    if !am_root() || !have(&["ip", "nft", "nc"]) {
        return;
    }
    let seed = std::env::var("QRDROP_SEED").ok().map(|seed| seed.parse().expect("a number"));
    let mut dice = Dice(seed.unwrap_or(SEED));
    let mut kinds = BTreeSet::new();
    for number in 0..DRAWN {
        let drawn = Drawn::draw(&mut dice);
        kinds.extend(drawn.kinds());
        let tag = format!("qrdrop-{}-d{number}", std::process::id());
        let hosts = Hosts(format!("{tag}-a"), format!("{tag}-b"));
        let script = drawn.script(&hosts.0, &hosts.1);
        sh(&script);
        let started = Instant::now();
        let ended = doctor(&hosts.0).run();
        let took = started.elapsed();
        let story = format!("{drawn:?}\n{script}\n{ended}");
        assert!(took < Duration::from_secs(3), "it took {took:?}: {story}");

        let address = about(&ended, "address");
        let address = text(&address, "address");
        let ip = address.parse::<std::net::SocketAddr>().expect("`ip:port`").ip().to_string();
        let right = drawn.addresses().contains(&ip);
        assert!(right, "`{address}` is not one of {:?}: {story}", drawn.addresses());
        for (check, verdict) in drawn.verdicts() {
            assert_eq!(about(&ended, check)["verdict"], verdict, "{check}: {story}");
        }
        let bad = drawn.verdicts().iter().any(|(_, verdict)| *verdict == "bad");
        assert_eq!(ended.code, Some(if bad { 4 } else { 0 }), "{story}");

        // What it says of others holds for another host.
        let scene = Scene::new();
        let receiver = Launch::new("receive").arg(scene.inbox()).state(&scene.path("state"));
        let receiver =
            receiver.args(["--json", "--qr", "never", "--port", &PORT.to_string()]).behind(Lan::on(&hosts.0));
        let receiver = receiver.listening();
        assert_eq!(receiver.address().to_string(), address, "`receive` chooses the same: {story}");
        assert_eq!(connects(&hosts.1, address), drawn.is_reachable(), "whether {address} is reached: {story}");

        // The command that it names opens the port.
        if matches!(drawn.filter, Filter::Port | Filter::Policy) && drawn.vpn != Vpn::All {
            let command = about(&ended, "firewall");
            let command = text(&command, "command").replace("sudo ", "");
            sh(&format!("ip netns exec {} sh -c '{command}'", hosts.0));
            assert!(connects(&hosts.1, address), "`{command}` opens the port: {story}");
        }
    }
    assert!(seed.is_some() || kinds.len() == KINDS, "every kind of network is drawn, not only {kinds:?}");
}

#[test]
fn a_taken_port_is_named_with_its_holder_and_is_7_if_it_was_asked_for() {
    if !am_root() || !have(&["ip"]) {
        return;
    }
    let (scene, lan) = (Scene::new(), Lan::new());
    let receiver = Launch::new("receive").arg(scene.inbox()).state(&scene.path("state"));
    let receiver = receiver.args(["--json", "--qr", "never", "--hidden", "--port", "5001"]).behind(Lan::on(&lan.here));
    let _receiver = receiver.listening();
    let ended = doctor(&lan.here).run().with(0);
    let (port, address) = (about(&ended, "port"), about(&ended, "address"));
    assert_eq!(port["verdict"], "odd");
    assert!(text(&port, "message").starts_with("5001 is taken by qrdrop (process "), "{port}");
    assert!(text(&address, "address").ends_with(":5002"), "{address}");
    let ended = doctor(&lan.here).args(["--port", "5001"]).run().with(7);
    assert_eq!(about(&ended, "port")["verdict"], "bad");
}

#[test]
fn a_program_that_keeps_the_port_of_mdns_to_itself_is_named() {
    if !am_root() || !have(&["ip"]) {
        return;
    }
    let lan = Lan::new();
    let mut held = Launch::python("noise.py").arg("hold").stays().behind(Lan::on(&lan.here)).start();
    held.line_where("holder", |line| line == "held");
    let ended = doctor(&lan.here).run().with(4);
    let mdns = about(&ended, "mdns");
    assert!(text(&mdns, "message").starts_with("port 5353 is held by python"), "{mdns}");
}

#[test]
fn another_device_that_answers_is_heard() {
    if !am_root() || !have(&["ip"]) {
        return;
    }
    let (scene, lan) = (Scene::new(), Lan::new());
    let nobody = doctor(&lan.here).run().with(0);
    assert_eq!(about(&nobody, "neighbours")["verdict"], "odd");
    let _there = scene.receive_on("eth0").behind(Lan::on(&lan.there)).listening();
    // Its name is being probed for; it answers when that is done.
    let mut browser = Launch::new("list").args(["--json", "--wait", "30s"]).state(&scene.path("list-state"));
    browser = browser.behind(Lan::on(&lan.here));
    browser.start().event("receiver");
    let ended = doctor(&lan.here).run().with(0);
    assert_eq!(about(&ended, "neighbours")["message"], "1 other device answers on `eth0`");
}

#[test]
fn rules_that_only_root_may_read_are_said_with_the_command_that_shows_them() {
    if !am_root() || !have(&["ip", "nft", "setpriv"]) {
        return;
    }
    let lan = Lan::new();
    sh(&format!("ip netns exec {} nft add table inet guard", lan.here));
    let nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
    // A browser that ran before may have made a home folder that only root can look into.
    let doctor = Launch::new("doctor").arg("--json").env("XDG_CONFIG_HOME", "/proc/none");
    let ended = doctor.behind(nobody).behind(Lan::on(&lan.here)).run().with(0);
    let firewall = about(&ended, "firewall");
    assert_eq!(firewall["verdict"], "odd");
    assert!(text(&firewall, "remedy").contains("`sudo nft list ruleset`"), "{firewall}");
    assert_eq!(firewall["command"], "sudo nft insert rule inet filter input tcp dport 5001 accept");
}

#[test]
fn firewalld_is_asked_for_the_zone_of_the_interface_and_one_that_hangs_is_not_waited_for() {
    if !am_root() || !have(&["ip"]) {
        return;
    }
    let (scene, lan) = (Scene::new(), Lan::new());
    let tool = scene.path("firewall-cmd");
    let path = format!("{}:{}", scene.path("").display(), std::env::var("PATH").unwrap_or_default());
    let asked = |script: &str| {
        std::fs::write(&tool, format!("#!/bin/sh\n{script}\n")).expect("a script");
        sh(&format!("chmod +x '{}'", tool.display()));
        doctor(&lan.here).env("PATH", &path).run()
    };
    let zone = "home (active)\n  target: default\n  services: mdns ssh\n  ports: \n  rich rules: \n";
    let script = format!(
        "case \"$*\" in
         --state) echo running;;
         --get-zone-of-interface=eth0) echo home;;
         '--zone=home --list-all') cat <<'ZONE'\n{zone}ZONE\n;;
         *) exit 2;;
         esac"
    );
    let ended = asked(&script).with(4);
    let firewall = about(&ended, "firewall");
    assert_eq!(firewall["message"], "firewalld keeps out TCP 5001: nobody can connect");
    assert_eq!(firewall["command"], "sudo firewall-cmd --zone=home --add-port=5001/tcp");

    let started = Instant::now();
    let ended = asked("[ \"$1\" = --state ] || exec sleep 600").with(0);
    assert!(started.elapsed() < Duration::from_secs(3), "it took {:?}", started.elapsed());
    assert_eq!(about(&ended, "firewall")["verdict"], "odd");
}

#[test]
fn an_interface_that_is_not_here_is_7_with_those_that_are() {
    let ended = Launch::new("doctor").args(["--json", "--interface", "no-such-0"]).run().with(7);
    assert!(text(&ended.one("failed"), "message").contains("`lo`"), "{ended}");
}
