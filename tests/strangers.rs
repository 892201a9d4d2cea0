//! Names, lists, proofs and floods of those who know the way to the port, and of those who should not reach it.
#![cfg(target_os = "linux")]

mod common;

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use common::around::{Lan, am_root, connect, finish, have, say, sh};
use common::sealed::{Phone, ask, raw};
use common::siege::{assert_canary_unharmed, assert_serves, assert_unharmed, besieged};
use common::{Launch, Scene, disk};

#[test]
fn whatever_a_file_is_called_it_stays_inside_under_a_plain_name() {
    let long = ["a".repeat(255), "ä".repeat(1_000), format!("{}.txt", "b".repeat(3_900)), "漢".repeat(1_200)];
    let names = [
        "../canary/x",
        "..\\canary\\x",
        "a/../../x",
        "....//x",
        "%2e%2e%2fx",
        "%252e%252e%252fx",
        "/etc/cron.d/x",
        "C:\\x",
        "C:x",
        "\\\\h\\s\\x",
        "//?/C:/x",
        "file:///x",
        "",
        ".",
        "..",
        "/",
        "   ",
        "...",
        ".bashrc",
        ".ssh/authorized_keys",
        ".config/autostart/x.desktop",
        ".qrdrop-partial/x",
        ".qrdrop-partial",
        "CON",
        "nul.txt",
        "AUX.",
        "COM1",
        "LPT9.log",
        "com¹.x",
        "a.txt:evil",
        "a.txt::$DATA",
        "x.exe.",
        "x.exe ",
        "dir./x",
        "a\nb\rc\td\u{1b}[2Je\u{7}f\u{7f}g\u{9b}h",
        "photo\u{202e}gpj.exe",
        "a\u{2066}b\u{2069}c\u{200b}d\u{feff}e\u{ad}f",
        "tag\u{e0041}\u{e0042}",
        "caf\u{e9}",
        "cafe\u{301}",
        "README",
        "readme",
        "Readme",
        "desktop.ini",
        "autorun.inf",
        "x.lnk",
        "x.url",
        "x.html",
        "-rf",
        "--help",
        "$(touch x)",
        "`touch x`",
        "x; touch y",
    ];
    let scene = Scene::new();
    let receive = scene.receive().args(["--yes=open", "--classic", "accept"]);
    disk::motley(&scene.path("canary"), 20, 1_000);
    let before = disk::names(&scene.path(""));
    let host = receive.listening();
    let mut phone = Phone::claim(&host.http_link()).expect("the link is good");
    phone.call("status", json!({}));
    let mut stored = 0;
    for name in names.into_iter().chain(long.iter().map(String::as_str)) {
        let mut stream = connect(host.address());
        say(&mut stream, &[name.as_bytes(), b"<SEPARATOR>7"]);
        say(&mut stream, &[b"classic"]);
        finish(stream);
        let (transfer, seen) = phone.offer(json!([{ "path": name, "bytes": 3 }]));
        if seen["state"] == "accepted" {
            let (status, answer) = phone.put(&transfer, 0, 0, b"web");
            assert_eq!(status, 200, "{name:?}: {answer}");
            stored += 1;
        }
    }
    assert!(stored > 30, "names that can be made safe are taken, not {stored}");
    assert_serves(&scene, &host, Duration::from_secs(5));
    let ended = host.stopped();
    assert_canary_unharmed(&scene);
    let ours = ["again", "invite", "sender-state", "receiver-state", "things"];
    let strange = disk::names(&scene.path("")).into_iter().filter(|name| {
        let top = name.split('/').next().expect("a name has a beginning");
        top != "inbox" && !ours.contains(&top) && !before.contains(name)
    });
    assert_eq!(strange.collect::<Vec<_>>(), [""; 0], "nothing came to be beside the folder");
    let mut files = 0;
    for (path, node) in disk::tree(&scene.inbox()) {
        for name in path.split('/') {
            let hidden = |c: char| {
                c.is_control() || "\\:*?\"<>|\u{200b}\u{202e}\u{2066}\u{2069}\u{feff}\u{ad}\u{e0041}".contains(c)
            };
            assert!(!name.chars().any(hidden) && name.len() <= 255, "{path:?}");
            assert!(!name.ends_with(['.', ' ']) && !name.starts_with('.'), "{path:?}");
            assert!(!["con", "nul.txt", "aux", "com1", "lpt9.log"].contains(&&*name.to_lowercase()), "{path:?}");
        }
        match node {
            disk::Node::File { bytes, .. } => {
                files += 1;
                let content = std::fs::read(scene.inbox().join(&path)).expect("it can be read");
                assert!([&b"classic"[..], b"web", b"a good file"].contains(&&content[..]), "{path:?}: {bytes} bytes");
            }
            disk::Node::Folder { .. } => {}
            disk::Node::Other => panic!("{path:?} is neither a file nor a folder"),
        }
    }
    assert_eq!(ended.named("stored").len(), files, "each file that was told is there beside the others: {ended}");
    assert!(!ended.output().contains(|c: char| c.is_control() && c != '\n'), "names are inert where they are told");
}

/// What a sender of ours says first.
fn client_hello() -> Vec<u8> {
    let roots = rustls::RootCertStore::empty();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = config.expect("it has TLS 1.3").with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"qrdrop/1".to_vec()];
    let name = "localhost".try_into().expect("a name");
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut hello = Vec::new();
    client.write_tls(&mut hello).expect("it is written to memory");
    hello
}

#[test]
fn d20_handshakes_in_crumbs_and_floods_of_records_end_soon_and_cost_little() {
    let scene = Scene::new();
    let host = besieged(&scene);
    let hello = client_hello();
    let crumbs: Vec<u8> = hello[5..].iter().flat_map(|byte| [0x16, 3, 1, 0, 1, *byte]).collect();
    // A hello that says it is 16 MiB long, and goes on.
    let oversize: Vec<u8> = [&[0x16, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff][..], &[0; 16_380]].concat();
    let more = [&[0x16, 3, 1, 0x40, 0][..], &[0; 16_384]].concat().repeat(200);
    let floods = [
        [oversize, more].concat(),
        b"\x16\x03\x01\x00\x00".repeat(50_000),
        [&hello[..], &b"\x17\x03\x03\x00\x00".repeat(50_000)].concat(),
        [&hello[..], &b"\x14\x03\x03\x00\x01\x01".repeat(50_000)].concat(),
        b"\x15\x03\x03\x00\x02\x01\x00".repeat(50_000),
        [&hello[..], &b"\x15\x03\x03\x00\x02\x01\x5a".repeat(50_000)].concat(),
        [&hello[..], &b"\x16\x03\x03\x00\x05\x18\x00\x00\x01\x00".repeat(50_000)].concat(),
    ];
    for (n, flood) in floods.iter().enumerate() {
        let (mut stream, began) = (connect(host.address()), Instant::now());
        // It may be closed before all is said.
        let _ = stream.write_all(flood);
        finish(stream);
        assert!(began.elapsed() < Duration::from_secs(2), "flood {n} ends after {:?}", began.elapsed());
    }
    let mut stream = connect(host.address());
    stream.write_all(&crumbs).expect("it listens");
    let mut answer = [0; 1];
    stream.read_exact(&mut answer).expect("a hello in crumbs is answered");
    assert_eq!(answer, [0x16], "and with a handshake");
    drop(stream);
    assert_serves(&scene, &host, Duration::from_secs(5));
    assert_unharmed(&scene, host);
}

#[test]
fn d11_a_list_that_is_deep_or_endless_is_refused_at_once() {
    let scene = Scene::new();
    let mut host = scene.receive().arg("--yes=private").listening();
    let mut phone = Phone::claim(&host.http_link()).expect("the link is good");
    let transfer = "11".repeat(16);
    let offer =
        |entries: &str| format!("{{\"transfer\":\"{transfer}\",\"first\":0,\"entries\":{entries},\"last\":true}}");
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let objects = format!("{}1{}", "{\"path\":".repeat(10_000), "}".repeat(10_000));
    let doubled = "[{\"path\":\"a\",\"bytes\":1,\"path\":\"../b\"}]";
    for entries in [deep.as_str(), &objects, doubled, "[{\"path\":\"a\",\"bytes\":1e999}]"] {
        let began = Instant::now();
        assert_eq!(phone.ask("POST", "/api/offer", offer(entries).as_bytes()).0, 400, "{entries:.40}");
        assert!(began.elapsed() < Duration::from_secs(1), "{entries:.40} takes {:?}", began.elapsed());
    }
    // A list that says how long it is before the first byte of it.
    let target = "/api/offer";
    let signature = phone.signature("POST", target, phone.next);
    let head =
        format!("POST {target} HTTP/1.1\r\nHost: {}\r\nContent-Length: 1073741824\r\n{signature}\r\n", host.address());
    assert_eq!(raw(host.address(), head.as_bytes()).expect("an answer").status, 413);
    phone.next += 1;
    assert_eq!(phone.send("good.txt", b"good"), "good.txt");
    host.program.event("finished");
    host.stopped().with(0);
    assert_eq!(disk::names(&scene.inbox()), ["good.txt"]);
}

#[test]
fn e04_a_wrong_proof_is_answered_as_fast_wherever_it_is_wrong() {
    let scene = Scene::new();
    let host = scene.receive().arg("--yes=private").listening();
    let to = host.address();
    let wrong = |at: usize| {
        // Not the right one in any place; only how much of it is plausible differs.
        let mut proof = vec![b'0'; 64];
        proof[at] = b'1';
        let proof = String::from_utf8(proof).expect("ASCII");
        let body = json!({ "p": "00".repeat(16), "proof": proof }).to_string();
        let began = Instant::now();
        assert_eq!(ask(to, "POST", "/claim", "", body.as_bytes()).status, 403);
        began.elapsed()
    };
    let median = |mut times: Vec<Duration>| {
        times.sort();
        times[times.len() / 2]
    };
    let (first, last): (Vec<_>, Vec<_>) = (0..500).map(|_| (wrong(0), wrong(63))).unzip();
    let (first, last) = (median(first), median(last));
    assert!(first.abs_diff(last) < Duration::from_millis(1), "{first:?} and {last:?}");
    host.stopped();
}

#[test]
fn f14_a_websocket_is_not_spoken() {
    let scene = Scene::new();
    let host = scene.receive().arg("--yes=private").listening();
    for target in ["/", "/api/room", "/chat", "/ws"] {
        let fields = format!(
            "Origin: http://{}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
            host.address()
        );
        let answer = ask(host.address(), "GET", target, &fields, b"");
        assert!([200, 404, 405].contains(&answer.status), "{target}: {answer:?}");
        assert!(answer.header("upgrade").is_none(), "{answer:?}");
    }
    host.stopped();
}

#[test]
fn f21_who_comes_from_outside_is_refused_unless_exposed() {
    if !am_root() || !have(&["ip"]) {
        return;
    }
    let lan = Lan::new();
    let (here, there) = (&lan.here, &lan.there);
    // Each host has a way to the other's public address, and no network in common with it.
    for (host, own, other, gate) in [
        (here, "198.51.100.1/32", "203.0.113.7/32", Lan::THERE.to_string()),
        (there, "203.0.113.7/32", "198.51.100.1/32", Lan::HERE.to_string()),
    ] {
        sh(&format!("ip -n {host} addr add {own} dev lo; ip -n {host} route add {other} via {gate}"));
    }
    for (host, own, other) in [(here, "2001:db8:1::1", "2001:db8:2::7"), (there, "2001:db8:2::7", "2001:db8:1::1")] {
        sh(&format!("ip -n {host} addr add {own}/128 dev lo nodad; ip -n {host} -6 route add {other}/128 dev eth0"));
        sh(&format!("ip netns exec {host} sysctl -qw net.ipv6.conf.all.accept_dad=0 || true"));
    }
    let neighbour =
        |host: &str| sh(&format!("ip -n {host} -j link show eth0 | sed 's/.*\"address\":\"\\([^\"]*\\)\".*/\\1/'"));
    let (mac_here, mac_there) = (neighbour(here), neighbour(there));
    sh(&format!("ip -n {here} neigh replace 2001:db8:2::7 lladdr {} dev eth0", mac_there.trim()));
    sh(&format!("ip -n {there} neigh replace 2001:db8:1::1 lladdr {} dev eth0", mac_here.trim()));
    for exposed in [false, true] {
        let scene = Scene::new();
        let receive =
            Launch::new("receive").arg(scene.inbox()).args(["--json", "--qr", "never", "--port", "0", "--hidden"]);
        let receive = receive.args(["--yes"]).args(exposed.then_some("--expose"));
        let receive = receive.arg("--invite-file").arg(scene.invite()).state(&scene.path("receiver-state"));
        let host = receive.behind(Lan::on(here)).listening();
        let port = host.address().port();
        let (_, secret) =
            host.qrdrop_link().split_once('#').map(|(a, b)| (a.to_owned(), b.to_owned())).expect("a link");
        let source = scene.thing("good.txt", b"good");
        for (to, outside) in [("198.51.100.1", "203.0.113.7"), ("[2001:db8:1::1]", "2001:db8:2::7")] {
            let send = scene.send(&source).args(["--to", &format!("qrdrop://{to}:{port}/#{secret}")]);
            let sent = send.args(["--interface", outside]).behind(Lan::on(there)).run();
            assert_eq!(sent.code == Some(0), exposed, "from {outside}: {sent}");
        }
        scene.send(&source).args(["--to", &host.qrdrop_link()]).behind(Lan::on(there)).run().with(0);
        host.stopped();
    }
}
