use super::*;

fn interface(name: &str, cidr: &str) -> Interface {
    let (ip, prefix_len) = cidr.split_once('/').unwrap();
    Interface {
        name: name.to_owned(),
        ip: ip.parse().unwrap(),
        prefix_len: prefix_len.parse().unwrap(),
        up: true,
        point_to_point: false,
    }
}

fn network(interfaces: &[(&str, &str)]) -> Network {
    Network { interfaces: interfaces.iter().map(|(name, cidr)| interface(name, cidr)).collect(), ..Network::default() }
}

fn best_first(network: &Network, only: Option<&str>) -> Vec<String> {
    network.candidates(only).unwrap().into_iter().map(|c| c.ip.to_string()).collect()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn a_container_bridge_never_beats_the_real_network_even_without_a_default_route() {
    let mut here = network(&[
        ("lo", "127.0.0.1/8"),
        ("docker0", "172.17.0.1/16"),
        ("br-1f2e3d", "172.18.0.1/16"),
        ("eth0", "192.168.1.5/24"),
    ]);
    here.guess = Some(ip("172.17.0.1"));
    let found = here.candidates(None).unwrap();
    assert_eq!(found[0].ip, ip("192.168.1.5"));
    assert_eq!(found[0].reason, Reason::Private);
    assert_eq!(found[1].reason, Reason::Bridge);
    assert_eq!(found.len(), 3, "loopback is left out");
}

#[test]
fn a_vpn_that_took_the_default_route_does_not_take_the_code() {
    let mut here = network(&[("wlan0", "192.168.178.20/24"), ("wg0", "10.8.0.2/24")]);
    here.default_sources = vec![ip("10.8.0.2")];
    here.guess = Some(ip("10.8.0.2"));
    assert_eq!(best_first(&here, None), ["192.168.178.20", "10.8.0.2"]);
    assert_eq!(here.candidates(None).unwrap()[1].reason, Reason::Tunnel);
}

#[test]
fn a_point_to_point_interface_is_a_tunnel_whatever_its_name() {
    let mut here = network(&[("corp", "10.1.2.3/32"), ("en0", "10.0.0.7/24")]);
    here.interfaces[0].point_to_point = true;
    assert_eq!(best_first(&here, None), ["10.0.0.7", "10.1.2.3"]);
}

#[test]
fn of_several_real_networks_the_one_with_the_default_route_comes_first() {
    let mut here = network(&[("eth0", "10.0.0.5/24"), ("eth1", "192.168.1.5/24"), ("eth2", "192.168.2.5/24")]);
    here.default_sources = vec![ip("192.168.1.5")];
    here.guess = Some(ip("192.168.2.5"));
    assert_eq!(best_first(&here, None), ["192.168.1.5", "192.168.2.5", "10.0.0.5"]);
    assert_eq!(here.candidates(None).unwrap()[0].reason, Reason::DefaultRoute);
}

#[test]
fn the_default_route_of_the_real_interface_counts_beside_that_of_a_vpn() {
    let mut here = network(&[("eth0", "10.0.0.5/24"), ("wlan0", "192.168.1.5/24"), ("tun0", "10.8.0.2/24")]);
    here.default_sources = vec![ip("10.8.0.2")];
    here.default_interfaces = vec!["wlan0".to_owned()];
    assert_eq!(best_first(&here, None), ["192.168.1.5", "10.0.0.5", "10.8.0.2"]);
}

#[test]
fn a_private_network_beats_a_public_address_with_the_default_route() {
    let mut here = network(&[("wan", "203.0.113.9/24"), ("lan", "192.168.1.1/24")]);
    here.default_sources = vec![ip("203.0.113.9")];
    assert_eq!(best_first(&here, None), ["192.168.1.1", "203.0.113.9"]);
}

#[test]
fn with_ipv6_alone_a_unique_local_address_is_shown_and_a_zoned_one_never() {
    let here = network(&[
        ("lo", "::1/128"),
        ("eth0", "fe80::1/64"),
        ("eth0", "2001:db8::5/64"),
        ("eth0", "fd00::5/64"),
        ("docker0", "172.17.0.1/16"),
    ]);
    assert_eq!(best_first(&here, None), ["fd00::5", "2001:db8::5", "172.17.0.1"]);
    assert_eq!(best_first(&network(&[("lo", "::1/128"), ("eth0", "fe80::1/64")]), None), ["::1"]);
}

#[test]
fn ipv4_comes_before_ipv6_on_real_interfaces() {
    let mut here = network(&[("eth0", "fd00::5/64"), ("eth0", "192.0.2.2/24")]);
    here.default_sources = vec![ip("fd00::5")];
    assert_eq!(best_first(&here, None), ["192.0.2.2", "fd00::5"]);
}

#[test]
fn a_self_assigned_address_on_a_cable_beats_a_bridge_and_nothing_else() {
    let here = network(&[("docker0", "172.17.0.1/16"), ("eth0", "169.254.3.4/16"), ("wlan0", "10.0.0.2/8")]);
    assert_eq!(best_first(&here, None), ["10.0.0.2", "169.254.3.4", "172.17.0.1"]);
}

#[test]
fn interfaces_that_are_down_are_dropped() {
    let mut here = network(&[("eth0", "192.168.1.5/24"), ("wlan0", "192.168.2.5/24")]);
    here.interfaces[0].up = false;
    assert_eq!(best_first(&here, None), ["192.168.2.5"]);
    assert!(matches!(here.candidates(Some("eth0")), Err(NetError::UnusableInterface(name)) if name == "eth0"));
}

#[test]
fn loopback_is_shown_only_when_asked_for_or_when_there_is_nothing_else() {
    let here = network(&[("lo", "127.0.0.1/8"), ("lo", "::1/128"), ("eth0", "10.0.0.1/8")]);
    assert_eq!(best_first(&here, None), ["10.0.0.1"]);
    assert_eq!(best_first(&here, Some("lo")), ["127.0.0.1", "::1"]);
    assert_eq!(best_first(&here, Some("::1")), ["::1"]);
    assert_eq!(best_first(&network(&[("lo", "127.0.0.1/8")]), None), ["127.0.0.1"]);
}

#[test]
fn nothing_at_all_is_an_error_that_says_so() {
    assert!(matches!(network(&[]).candidates(None), Err(NetError::NoInterface)));
}

#[test]
fn an_unknown_interface_is_answered_with_those_there_are() {
    let here = network(&[("eth0", "10.0.0.1/8"), ("lo", "127.0.0.1/8")]);
    for asked in ["wlan7", "10.0.0.2"] {
        let error = here.candidates(Some(asked)).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("no interface or address `{asked}` here; there is `eth0` (10.0.0.1), `lo` (127.0.0.1)")
        );
    }
}

#[test]
fn only_may_be_a_bridge() {
    let here = network(&[("eth0", "10.0.0.1/8"), ("docker0", "172.17.0.1/16")]);
    assert_eq!(best_first(&here, Some("docker0")), ["172.17.0.1"]);
}

#[test]
fn peers_in_private_ranges_are_nearby_and_the_internet_is_not() {
    let here = network(&[("eth0", "203.0.113.9/28"), ("eth0", "2001:db8:1:2::5/64"), ("odd", "198.51.100.1/0")]);
    for near in [
        "10.1.2.3",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.0.1",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "::1",
        "169.254.1.1",
        "fe80::1",
        "fd12::1",
        "::ffff:192.168.0.1",
        "203.0.113.1",
        "::ffff:203.0.113.14",
        "2001:db8:1:2:ffff::1",
    ] {
        assert!(here.is_nearby(ip(near)), "{near}");
    }
    for far in [
        "8.8.8.8",
        "172.32.0.1",
        "100.128.0.1",
        "100.63.255.255",
        "203.0.113.16",
        "::ffff:8.8.8.8",
        "2001:db8:1:3::5",
        "2a00::1",
        "198.51.100.2",
    ] {
        assert!(!here.is_nearby(ip(far)), "{far}");
    }
}

#[test]
fn the_network_of_an_interface_that_is_down_is_not_nearby() {
    let mut here = network(&[("eth0", "203.0.113.9/28")]);
    here.interfaces[0].up = false;
    assert!(!here.is_nearby(ip("203.0.113.1")));
}

#[test]
fn a_neighbour_is_another_device_of_the_same_network() {
    for (ours, theirs) in [
        ("192.168.1.5/24", Some("192.168.1.4")),
        ("192.168.1.1/24", Some("192.168.1.3")),
        ("192.168.1.254/24", Some("192.168.1.252")),
        ("10.0.0.1/30", Some("10.0.0.2")),
        ("10.0.0.1/31", None),
        ("10.0.0.1/32", None),
        ("fd00::5/64", Some("fd00::4")),
        ("fd00::5/128", None),
    ] {
        assert_eq!(interface("eth0", ours).neighbour(), theirs.map(ip), "{ours}");
    }
}

#[test]
fn default_routes_are_read_from_the_kernels_table() {
    let table = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
        wlan0\t00000000\t010200C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n\
        tun0\t00000000\t00000000\t0001\t0\t0\t0\t00000080\t0\t0\t0\n\
        wlan0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
    assert_eq!(parse_default_routes(table), ["wlan0"]);
    assert!(parse_default_routes("").is_empty());
}

#[test]
fn this_machine_has_a_candidate() {
    assert!(!candidates(None).unwrap().is_empty());
}
