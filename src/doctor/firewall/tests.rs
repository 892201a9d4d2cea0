use std::path::Path;

use super::*;

fn packet() -> Packet {
    Packet {
        interface: "eth0".to_owned(),
        from: "192.168.1.4".parse().unwrap(),
        to: "192.168.1.5".parse().unwrap(),
        protocol: Protocol::Tcp,
        port: 5001,
    }
}

fn packet_v6() -> Packet {
    Packet { from: "fd00::4".parse().unwrap(), to: "fd00::5".parse().unwrap(), ..packet() }
}

/// As `ufw status verbose` prints it, with these rows.
fn status(default: &str, rows: &[&str]) -> String {
    format!(
        "Status: active\nLogging: on (low)\nDefault: {default} (incoming), allow (outgoing), disabled (routed)\n\
         New profiles: skip\n\n\
         To                         Action      From\n\
         --                         ------      ----\n{}\n",
        rows.join("\n")
    )
}

fn by_ufw(rows: &[&str], packet: &Packet) -> Passes {
    ufw(Some(&status("deny", rows)), packet).unwrap().port
}

#[test]
fn ufw_is_on_when_its_settings_say_so() {
    assert!(ufw_is_enabled("# comment\nENABLED=yes\nLOGLEVEL=low\n"));
    assert!(!ufw_is_enabled("ENABLED=no\n"));
    assert!(!ufw_is_enabled(""));
    assert_eq!(ufw(Some("Status: inactive\n"), &packet()), None);
}

#[test]
fn ufw_without_a_rule_for_the_port_keeps_it_closed_and_names_the_command() {
    let found = ufw(Some(&status("deny", &["22/tcp                     ALLOW IN    Anywhere"])), &packet()).unwrap();
    assert_eq!((found.port, found.mdns), (Passes::No, Passes::Yes));
    assert_eq!(found.open_port, "sudo ufw allow 5001/tcp");
    assert_eq!(ufw(Some(&status("allow", &[])), &packet()).unwrap().port, Passes::Yes);
}

#[test]
fn ufw_rules_are_read_in_order_and_in_every_form() {
    for (row, passes) in [
        ("5001/tcp                   ALLOW IN    Anywhere", Passes::Yes),
        ("5001                       LIMIT IN    Anywhere", Passes::Yes),
        ("5001/udp                   ALLOW IN    Anywhere", Passes::No),
        ("5000:5010/tcp              ALLOW IN    Anywhere", Passes::Yes),
        ("80,5001/tcp                ALLOW IN    Anywhere", Passes::Yes),
        ("5001/tcp (qrdrop)          ALLOW IN    Anywhere", Passes::Yes),
        ("5001/tcp                   ALLOW IN    192.168.1.0/24             # home", Passes::Yes),
        ("5001/tcp                   ALLOW IN    10.0.0.0/8", Passes::No),
        ("5001/tcp on eth0           ALLOW IN    Anywhere", Passes::Yes),
        ("5001/tcp on wlan0          ALLOW IN    Anywhere", Passes::No),
        ("Anywhere                   ALLOW IN    192.168.0.0/16", Passes::Yes),
        ("192.168.1.5 5001/tcp       ALLOW IN    Anywhere", Passes::Yes),
        ("192.168.1.9 5001/tcp       ALLOW IN    Anywhere", Passes::No),
        ("5001/tcp (v6)              ALLOW IN    Anywhere (v6)", Passes::No),
        ("5001/tcp                   ALLOW OUT   Anywhere", Passes::No),
        ("Some Application           ALLOW IN    Anywhere", Passes::Unclear),
    ] {
        assert_eq!(by_ufw(&[row], &packet()), passes, "{row}");
    }
    let (no, yes) =
        ("5001/tcp                   DENY IN     Anywhere", "Anywhere                   ALLOW IN    Anywhere");
    assert_eq!(by_ufw(&[no, yes], &packet()), Passes::No);
    assert_eq!(by_ufw(&[yes, no], &packet()), Passes::Yes);
    let v6 = "5001/tcp (v6)              ALLOW IN    Anywhere (v6)";
    assert_eq!(by_ufw(&[v6], &packet_v6()), Passes::Yes);
}

#[test]
fn ufw_that_may_not_be_asked_is_unclear() {
    let found = ufw(None, &packet()).unwrap();
    assert_eq!((found.port, found.look.as_str()), (Passes::Unclear, "sudo ufw status verbose"));
}

/// As `firewall-cmd --list-all` prints it.
fn zone(target: &str, services: &str, ports: &str, rich: &str) -> String {
    format!(
        "public (active)\n  target: {target}\n  icmp-block-inversion: no\n  interfaces: eth0\n  sources: \n  \
         services: {services}\n  ports: {ports}\n  protocols: \n  forward: yes\n  masquerade: no\n  forward-ports: \n  \
         source-ports: \n  icmp-blocks: \n  rich rules: {rich}\n"
    )
}

#[test]
fn firewalld_lets_in_what_its_zone_lists() {
    for (listed, port, mdns) in [
        (zone("default", "dhcpv6-client mdns ssh", "", ""), Passes::No, Passes::Yes),
        (zone("default", "ssh", "5001/tcp 5353/udp", ""), Passes::Yes, Passes::Yes),
        (zone("default", "ssh", "1025-65535/udp 1025-65535/tcp", ""), Passes::Yes, Passes::Yes),
        (zone("default", "ssh", "5001/udp", ""), Passes::No, Passes::No),
        (zone("ACCEPT", "", "", ""), Passes::Yes, Passes::Yes),
        (zone("DROP", "", "", ""), Passes::No, Passes::No),
        (
            zone("default", "", "", "\n\trule family=\"ipv4\" port port=\"5001\" protocol=\"tcp\" accept"),
            Passes::Unclear,
            Passes::Unclear,
        ),
    ] {
        let found = firewalld(Some(&listed), &packet());
        assert_eq!((found.port, found.mdns), (port, mdns), "{listed}");
        assert_eq!(found.open_port, "sudo firewall-cmd --zone=public --add-port=5001/tcp");
    }
    assert_eq!(firewalld(None, &packet()).port, Passes::Unclear);
}

/// A rule set with one chain at the way in, and one more called `other`.
fn ruleset(family: &str, policy: &str, rules: &[(&str, &str)]) -> String {
    let rules: Vec<String> = rules
        .iter()
        .map(|(chain, expr)| {
            format!(
                r#"{{"rule":{{"family":"{family}","table":"filter","chain":"{chain}","handle":3,"expr":[{expr}]}}}}"#
            )
        })
        .collect();
    let rules = rules.iter().map(|rule| format!(",{rule}")).collect::<String>();
    format!(
        r#"{{"nftables":[{{"metainfo":{{"version":"1.0.6","json_schema_version":1}}}},
        {{"table":{{"family":"{family}","name":"filter","handle":1}}}},
        {{"chain":{{"family":"{family}","table":"filter","name":"input","handle":1,"type":"filter","hook":"input","prio":0,"policy":"{policy}"}}}},
        {{"chain":{{"family":"{family}","table":"filter","name":"other","handle":2}}}}{rules}]}}"#
    )
}

fn by_nft(policy: &str, rules: &[&str]) -> (Passes, Passes) {
    let rules: Vec<(&str, &str)> = rules.iter().map(|rule| ("input", *rule)).collect();
    let found = nftables(Some(&ruleset("inet", policy, &rules)), &packet()).unwrap();
    (found.port, found.mdns)
}

const LO: &str = r#"{"match":{"op":"==","left":{"meta":{"key":"iif"}},"right":"lo"}},{"accept":null}"#;
const KNOWN: &str =
    r#"{"match":{"op":"in","left":{"ct":{"key":"state"}},"right":["established","related"]}},{"accept":null}"#;
const INVALID: &str = r#"{"vmap":{"key":{"ct":{"key":"state"}},"data":{"set":[["invalid",{"drop":null}],["established",{"accept":null}]]}}}"#;
const PORTS: &str = r#"{"match":{"op":"==","left":{"payload":{"protocol":"tcp","field":"dport"}},"right":{"set":[22,{"range":[5000,5100]}]}}},{"counter":{"packets":0,"bytes":0}},{"accept":null}"#;
const NOT_PORTS: &str = r#"{"match":{"op":"==","left":{"payload":{"protocol":"tcp","field":"dport"}},"right":5001}},{"log":{"prefix":"x"}},{"reject":{"type":"tcp reset"}}"#;
const HOME: &str = r#"{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"saddr"}},"right":{"prefix":{"addr":"192.168.0.0","len":16}}}},{"accept":null}"#;
const MDNS: &str = r#"{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"daddr"}},"right":"224.0.0.251"}},{"match":{"op":"==","left":{"payload":{"protocol":"udp","field":"dport"}},"right":5353}},{"accept":null}"#;
const SYN_FLOOD: &str = r#"{"match":{"op":"in","left":{"payload":{"protocol":"tcp","field":"flags"}},"right":"syn"}},{"limit":{"rate":25,"burst":5,"per":"second","inv":true}},{"drop":null}"#;
const NAMED_SET: &str =
    r#"{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"saddr"}},"right":"@blocked"}},{"drop":null}"#;
const FOREIGN: &str = r#"{"xt":{"type":"match","name":"comment"}}"#;
const NOT_HERE: &str = r#"{"match":{"op":"!=","left":{"meta":{"key":"iifname"}},"right":"eth*"}},{"drop":null}"#;

#[test]
fn nftables_rules_are_followed_as_the_kernel_does() {
    use Passes::{No, Unclear, Yes};
    for (policy, rules, passes) in [
        ("drop", &[LO, KNOWN, INVALID][..], (No, No)),
        ("drop", &[LO, KNOWN, PORTS, MDNS], (Yes, Yes)),
        ("drop", &[LO, KNOWN, MDNS], (No, Yes)),
        ("accept", &[NOT_PORTS], (No, Yes)),
        ("accept", &[NOT_PORTS, PORTS], (No, Yes)),
        ("accept", &[PORTS, NOT_PORTS], (Yes, Yes)),
        ("drop", &[HOME], (Yes, Yes)),
        ("accept", &[INVALID, SYN_FLOOD, NOT_HERE], (Yes, Yes)),
        ("accept", &[NAMED_SET], (Unclear, Unclear)),
        ("drop", &[NAMED_SET], (No, No)),
        ("accept", &[FOREIGN], (Unclear, Unclear)),
        ("drop", &[PORTS, FOREIGN], (Yes, Unclear)),
    ] {
        assert_eq!(by_nft(policy, rules), passes, "{policy} {rules:?}");
    }
}

#[test]
fn nftables_jumps_come_back_and_end_somewhere() {
    let jump = |to: &str| format!(r#"{{"jump":{{"target":"{to}"}}}}"#);
    let passes = |rules: &[(&str, &str)]| nftables(Some(&ruleset("ip", "drop", rules)), &packet()).unwrap().port;
    assert_eq!(passes(&[("input", &jump("other")), ("other", PORTS)]), Passes::Yes);
    assert_eq!(passes(&[("input", &jump("other")), ("input", PORTS), ("other", r#"{"return":null}"#)]), Passes::Yes);
    assert_eq!(passes(&[("input", &jump("other")), ("input", PORTS), ("other", MDNS)]), Passes::Yes);
    assert_eq!(passes(&[("input", &jump("other")), ("other", NOT_PORTS), ("input", PORTS)]), Passes::No);
    assert_eq!(passes(&[("input", &jump("other")), ("other", &jump("other"))]), Passes::Unclear);
}

#[test]
fn the_command_goes_into_the_chain_that_keeps_the_port_closed() {
    let found = nftables(Some(&ruleset("ip", "drop", &[])), &packet()).unwrap();
    assert_eq!(found.open_port, "sudo nft insert rule ip filter input tcp dport 5001 accept");
    assert_eq!(found.open_mdns, "sudo nft insert rule ip filter input udp dport 5353 accept");
}

#[test]
fn rules_for_the_other_family_or_for_nothing_are_no_firewall() {
    assert_eq!(nftables(Some(&ruleset("ip6", "drop", &[])), &packet()), None);
    assert!(nftables(Some(&ruleset("ip6", "drop", &[])), &packet_v6()).is_some());
    assert_eq!(nftables(Some(r#"{"nftables":[{"metainfo":{"version":"1.0.6"}}]}"#), &packet()), None);
    assert_eq!(nftables(Some("not JSON"), &packet()), None);
}

#[test]
fn nftables_that_may_not_be_read_is_unclear() {
    let found = nftables(None, &packet()).unwrap();
    assert_eq!((found.port, found.look.as_str()), (Passes::Unclear, "sudo nft list ruleset"));
}

#[test]
fn iptables_without_a_rule_is_no_firewall_and_with_one_it_is_unclear() {
    assert_eq!(iptables(Some("-P INPUT ACCEPT\n"), &packet()), None);
    for listed in [Some("-P INPUT DROP\n"), Some("-P INPUT ACCEPT\n-A INPUT -p tcp --dport 5001 -j DROP\n"), None] {
        let found = iptables(listed, &packet()).unwrap();
        assert_eq!((found.port, found.look.as_str()), (Passes::Unclear, "sudo iptables -S INPUT"));
        assert_eq!(found.open_port, "sudo iptables -I INPUT -p tcp --dport 5001 -j ACCEPT");
    }
    assert_eq!(iptables(None, &packet_v6()).unwrap().look, "sudo ip6tables -S INPUT");
}

#[test]
fn the_firewall_of_macos_goes_by_program() {
    let program = Path::new("/usr/local/bin/qrdrop");
    let by = |state, blocked| macos(state, blocked, program).map(|found| found.port);
    assert_eq!(by("Firewall is disabled. (State = 0)", None), None);
    let on = "Firewall is enabled. (State = 1)";
    assert_eq!(by(on, Some("Incoming connection to the application is permitted")), Some(Passes::Yes));
    assert_eq!(by(on, Some("Incoming connection to the application is blocked")), Some(Passes::No));
    assert_eq!(by(on, Some("The application is not part of the firewall")), Some(Passes::Unclear));
    assert_eq!(by("Firewall is blocking all non-essential incoming connections. (State = 2)", None), Some(Passes::No));
    let open = macos(on, None, program).unwrap().open_port;
    assert!(open.ends_with("--add '/usr/local/bin/qrdrop' --unblockapp '/usr/local/bin/qrdrop'"), "{open}");
}

#[test]
fn the_firewall_of_windows_is_on_unless_it_says_off() {
    let profile = |state: &str| {
        format!(
            "\r\nPrivate Profile Settings: \r\n----------------------\r\nState                                 {state}\r\nFirewall Policy                       BlockInbound,AllowOutbound\r\n\r\nOk.\r\n"
        )
    };
    let program = Path::new(r"C:\qrdrop.exe");
    assert_eq!(windows(&profile("OFF"), program), None);
    let found = windows(&profile("ON"), program).unwrap();
    assert_eq!(found.port, Passes::Unclear);
    assert!(found.open_port.contains(r#"program="C:\qrdrop.exe""#), "{}", found.open_port);
}
