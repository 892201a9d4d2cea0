use std::net::{IpAddr, Ipv4Addr};

use super::facts::{Dialled, Facts, Heard, Others, Port};
use super::firewall::{Firewall, Passes};
use super::judge::judge;
use super::system::{Around, Flags, is_wsl, neighbours, routers, sockets_at};
use super::*;
use crate::net::addresses::{Interface, Network};

const ON: Flags = Flags { up: true, running: true, multicast: true };

fn interface(name: &str, ip: &str) -> Interface {
    let ip: IpAddr = ip.parse().unwrap();
    let prefix_len = if ip.is_ipv4() { 24 } else { 64 };
    Interface { name: name.to_owned(), ip, prefix_len, up: true, point_to_point: false }
}

/// A machine on which nothing is in the way, with these addresses and a default route at the first.
fn machine(addresses: &[(&str, &str)]) -> Facts {
    let interfaces: Vec<Interface> = addresses.iter().map(|(name, ip)| interface(name, ip)).collect();
    let network = Network { default_sources: vec![interfaces[0].ip], interfaces, ..Network::default() };
    let candidates = network.candidates(None).unwrap();
    Facts {
        links: addresses.iter().map(|(name, _)| ((*name).to_owned(), ON)).collect(),
        way_to_neighbour: Some(candidates[0].ip),
        around: None,
        port: Port { wanted: 5001, got: Ok(5001), holder: None },
        dialled: candidates.iter().map(|found| Dialled { to: found.ip, from: None, answered: true }).collect(),
        firewall: None,
        heard: vec![(candidates[0].interface.clone(), Heard::Back)],
        others: Others { known: 1, answering: Some(1) },
        candidates,
        network,
    }
}

fn home() -> Facts {
    machine(&[("wlan0", "192.168.1.5")])
}

/// The worst finding of that check.
#[track_caller]
fn about(facts: &Facts, check: Check) -> Finding {
    let findings = judge(facts).into_iter().filter(|finding| finding.check == check);
    findings.max_by_key(|finding| finding.verdict).unwrap_or_else(|| panic!("nothing about {check:?}"))
}

#[track_caller]
fn says(facts: &Facts, check: Check, verdict: Verdict, words: &str) {
    let finding = about(facts, check);
    assert_eq!(finding.verdict, verdict, "{finding:?}");
    assert!(format!("{} {}", finding.message, finding.remedy).contains(words), "{words}: {finding:?}");
}

fn code(facts: &Facts) -> ExitCode {
    Diagnosis(judge(facts)).code()
}

#[test]
fn where_nothing_is_in_the_way_everything_is_good() {
    let diagnosis = Diagnosis(judge(&home()));
    assert!(diagnosis.0.iter().all(|finding| finding.verdict == Verdict::Good && finding.remedy.is_empty()));
    assert_eq!((diagnosis.code(), diagnosis.summary().as_str()), (ExitCode::Ok, "nothing is in the way"));
    let address = about(&home(), Check::Address);
    assert_eq!(address.address, Some("192.168.1.5:5001".parse().unwrap()));
}

#[test]
fn every_interface_is_told_with_what_it_is_good_for() {
    let facts =
        machine(&[("wlan0", "192.168.1.5"), ("docker0", "172.17.0.1"), ("wg0", "10.8.0.2"), ("eth0", "10.0.0.5")]);
    let told: Vec<String> =
        judge(&facts).into_iter().filter(|f| f.check == Check::Interface).map(|f| f.message).collect();
    assert_eq!(told.len(), 4, "{told:?}");
    for (name, words) in
        [("wlan0", "best for the code"), ("docker0", "containers"), ("wg0", "VPN"), ("eth0", "good for the code")]
    {
        assert!(told.iter().any(|told| told.contains(name) && told.contains(words)), "{name}: {told:?}");
    }
    says(&facts, Check::Address, Verdict::Good, "`eth0` (10.0.0.5) press `n`");
}

#[test]
fn an_interface_that_was_given_no_address_is_told() {
    let mut facts = home();
    facts.links.insert("eth0".to_owned(), ON);
    facts.links.insert("eth1".to_owned(), Flags { running: false, ..ON });
    facts.links.insert("veth12".to_owned(), ON);
    facts.links.insert("lo".to_owned(), ON);
    let odd: Vec<Finding> = judge(&facts).into_iter().filter(|finding| finding.verdict == Verdict::Odd).collect();
    assert_eq!(odd.len(), 1, "{odd:?}");
    assert_eq!(odd[0].message, "`eth0` is connected and has no address");
    assert_eq!(code(&facts), ExitCode::Ok);
}

#[test]
fn an_address_that_nobody_reaches_is_bad() {
    for (name, ip, words) in [
        ("docker0", "172.17.0.1", "no other device reaches it"),
        ("wg0", "10.8.0.2", "members of that VPN"),
        ("lo", "127.0.0.1", "no network is connected"),
    ] {
        let facts = machine(&[(name, ip)]);
        says(&facts, Check::Address, Verdict::Bad, words);
        assert_eq!(code(&facts), ExitCode::Nobody);
    }
    says(&machine(&[("eth0", "169.254.3.4")]), Check::Address, Verdict::Odd, "on a cable between two");
    says(&machine(&[("eth0", "203.0.113.9")]), Check::Address, Verdict::Odd, "--expose");
}

#[test]
fn ipv6_alone_is_worth_knowing() {
    says(&machine(&[("eth0", "fd00::5")]), Check::Ipv6, Verdict::Odd, "no IPv4");
    says(&machine(&[("eth0", "fd00::5"), ("docker0", "172.17.0.1")]), Check::Ipv6, Verdict::Odd, "no IPv4");
    says(&machine(&[("eth0", "192.168.1.5"), ("eth0", "fd00::5")]), Check::Ipv6, Verdict::Good, "fd00::5");
}

#[test]
fn a_vpn_is_told_by_what_it_takes() {
    let mut facts = machine(&[("wlan0", "192.168.1.5"), ("wg0", "10.8.0.2")]);
    says(&facts, Check::Vpn, Verdict::Good, "none in the way");
    let tunnel: IpAddr = "10.8.0.2".parse().unwrap();
    facts.network.default_sources = vec![tunnel];
    says(&facts, Check::Vpn, Verdict::Odd, "`wg0` takes what leaves for the internet");
    facts.way_to_neighbour = Some(tunnel);
    says(&facts, Check::Vpn, Verdict::Bad, "your own network too");
}

#[test]
fn what_is_around_this_system_is_told_with_the_way_out() {
    let mut facts = machine(&[("eth0", "172.22.3.4")]);
    facts.around = Some(Around::Wsl);
    says(&facts, Check::Wsl, Verdict::Bad, "networkingMode=mirrored");
    assert_eq!(about(&facts, Check::Wsl).command.as_deref(), Some("wsl.exe --shutdown"));
    facts.links.insert("loopback0".to_owned(), ON);
    says(&facts, Check::Wsl, Verdict::Good, "shares its addresses");
    facts.around = Some(Around::Container("podman\u{1b}[2J".to_owned()));
    says(&facts, Check::Container, Verdict::Odd, "-p 5001:5001");
    assert!(!about(&facts, Check::Container).message.contains('\u{1b}'));
}

#[test]
fn a_taken_port_is_named_with_who_has_it_and_is_7_only_if_it_was_asked_for() {
    let mut facts = home();
    facts.port = Port { wanted: 5001, got: Ok(5002), holder: Some("python3 (process 7)".to_owned()) };
    says(&facts, Check::Port, Verdict::Odd, "5001 is taken by python3 (process 7); 5002 is used instead");
    assert_eq!(code(&facts), ExitCode::Ok);
    facts.port.got = Err("port `5001` is taken by another program".to_owned());
    says(&facts, Check::Port, Verdict::Bad, "5001 is taken by python3");
    facts.port.holder = None;
    says(&facts, Check::Port, Verdict::Bad, "port `5001` is taken by another program");
    assert_eq!(code(&facts), ExitCode::Local);
    facts.heard[0].1 = Heard::Nothing;
    assert_eq!(code(&facts), ExitCode::Local, "the port comes first");
    facts.port = Port { wanted: 0, got: Ok(41_234), holder: None };
    says(&facts, Check::Port, Verdict::Good, "41234 is free");
}

#[test]
fn a_port_that_does_not_answer_ourselves_is_bad_at_the_address_in_the_code() {
    let mut facts = machine(&[("wlan0", "192.168.1.5"), ("eth0", "10.0.0.5")]);
    facts.dialled[1].answered = false;
    says(&facts, Check::Reach, Verdict::Odd, "at 10.0.0.5");
    facts.dialled[0].answered = false;
    says(&facts, Check::Reach, Verdict::Bad, "at 192.168.1.5, 10.0.0.5");
    facts.dialled.clear();
    assert!(judge(&facts).iter().all(|finding| finding.check != Check::Reach), "nothing was tried");
}

#[test]
fn a_firewall_is_told_with_the_command_for_exactly_what_it_keeps_out() {
    let mut facts = home();
    let filter = |port, mdns| Firewall {
        name: "nftables",
        port,
        mdns,
        open_port: "open-port".to_owned(),
        open_mdns: "open-mdns".to_owned(),
        look: "look".to_owned(),
    };
    for (port, mdns, verdict, command) in [
        (Passes::Yes, Passes::Yes, Verdict::Good, None),
        (Passes::No, Passes::Yes, Verdict::Bad, Some("open-port")),
        (Passes::No, Passes::Unclear, Verdict::Bad, Some("open-port")),
        (Passes::Yes, Passes::No, Verdict::Bad, Some("open-mdns")),
        (Passes::No, Passes::No, Verdict::Bad, Some("open-port && open-mdns")),
        (Passes::Unclear, Passes::Yes, Verdict::Odd, Some("open-port")),
        (Passes::Unclear, Passes::Unclear, Verdict::Odd, Some("open-port")),
    ] {
        facts.firewall = Some(filter(port, mdns));
        let finding = about(&facts, Check::Firewall);
        assert_eq!((finding.verdict, finding.command.as_deref()), (verdict, command), "{port:?} {mdns:?}");
    }
    says(&facts, Check::Firewall, Verdict::Odd, "see its rules with `look`");
}

#[test]
fn what_makes_discovery_deaf_is_named() {
    let mut facts = home();
    facts.heard[0].1 = Heard::Nothing;
    says(&facts, Check::Mdns, Verdict::Bad, "does not come back");
    assert_eq!(code(&facts), ExitCode::Nobody);
    facts.heard[0].1 = Heard::PortTaken(Some("avahi-daemon (process 412)".to_owned()));
    says(&facts, Check::Mdns, Verdict::Bad, "held by avahi-daemon (process 412)");
    facts.heard[0].1 = Heard::Failed("no".to_owned());
    says(&facts, Check::Mdns, Verdict::Bad, "does not start on `wlan0`: no");
    facts.heard[0].1 = Heard::Back;
    facts.links.insert("wlan0".to_owned(), Flags { multicast: false, ..ON });
    says(&facts, Check::Mdns, Verdict::Bad, "multicast is turned off on `wlan0`");
    assert_eq!(about(&facts, Check::Mdns).command.as_deref(), Some("sudo ip link set dev wlan0 multicast on"));
}

#[test]
fn an_access_point_is_suspected_only_where_others_are_there_and_nothing_nearer_explains_it() {
    let mut facts = home();
    facts.others = Others { known: 3, answering: Some(0) };
    says(&facts, Check::Neighbours, Verdict::Odd, "3 other devices are on `wlan0` and none answers: perhaps");
    facts.others.known = 0;
    says(&facts, Check::Neighbours, Verdict::Odd, "nobody else is heard");
    facts.others.answering = Some(2);
    says(&facts, Check::Neighbours, Verdict::Good, "2 other devices answer on `wlan0`");
    facts.others.answering = Some(0);
    facts.heard[0].1 = Heard::Nothing;
    assert!(judge(&facts).iter().all(|finding| finding.check != Check::Neighbours), "we are deaf ourselves");
    facts.heard[0].1 = Heard::Back;
    facts.others.answering = None;
    assert!(judge(&facts).iter().all(|finding| finding.check != Check::Neighbours), "nobody was asked");
}

#[test]
fn windows_around_linux_is_told_by_the_kernel() {
    assert!(is_wsl("5.15.153.1-microsoft-standard-WSL2\n") && is_wsl("4.4.0-19041-Microsoft"));
    assert!(!is_wsl("6.1.0-31-amd64"));
}

#[test]
fn who_waits_at_a_port_is_read_from_the_kernels_tables() {
    let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
        0: 00000000:1389 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 21211 1 0 100 0 0 10 0\n   \
        1: 0100007F:1389 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 31337 1 0 20 4 30 10 -1\n  \
        77: 00000000:14E9 00000000:0000 07 00000000:00000000 00:00000000 00000000   107        0 17834 2 0 0\n";
    assert_eq!(sockets_at(table, 5001), [21_211]);
    assert_eq!(sockets_at(table, 5353), [17_834]);
    assert!(sockets_at(table, 22).is_empty() && sockets_at("", 22).is_empty());
}

#[test]
fn neighbours_are_those_that_answered_and_are_no_router() {
    let arp = "IP address       HW type     Flags       HW address            Mask     Device\n\
        192.168.1.1      0x1         0x2         02:fc:00:00:00:05     *        wlan0\n\
        192.168.1.7      0x1         0x2         02:fc:00:00:00:06     *        wlan0\n\
        192.168.1.8      0x1         0x0         00:00:00:00:00:00     *        wlan0\n\
        10.0.0.9         0x1         0x2         02:fc:00:00:00:07     *        eth0\n";
    let route = format!(
        "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
         wlan0\t00000000\t{:08X}\t0003\t0\t0\t600\t00000000\t0\t0\t0\n\
         wlan0\t0001A8C0\t00000000\t0001\t0\t0\t600\t00FFFFFF\t0\t0\t0\n",
        u32::from_ne_bytes([192, 168, 1, 1])
    );
    let routers = routers(&route);
    assert_eq!(routers, [Ipv4Addr::new(192, 168, 1, 1)]);
    assert_eq!(neighbours(arp, "wlan0", &routers), [Ipv4Addr::new(192, 168, 1, 7)]);
}

#[test]
fn the_flags_of_an_interface_are_read() {
    assert_eq!(Flags::read("0x1003\n", "1\n"), Some(ON));
    assert_eq!(Flags::read("0x3\n", "1\n"), Some(Flags { multicast: false, ..ON }));
    assert_eq!(Flags::read("0x1002\n", ""), Some(Flags { up: false, running: false, multicast: true }));
    assert_eq!(Flags::read("0x9\n", "1\n"), Some(ON), "loopback carries it without saying so");
    assert_eq!(Flags::read("", "1"), None);
}
