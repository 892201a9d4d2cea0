//! Peers that mean harm or are broken: nothing outside the folder changes, nothing wrong is stored, others are served.
#![cfg(target_os = "linux")]

mod common;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use socket2::{Domain, Socket, Type};

use common::around::{connect, finish, have, say, skip};
use common::siege::{assert_serves, assert_unharmed, besieged};
use common::{Host, Launch, Scene, disk, qrdrop};

/// A connection from another address of this machine, since limits are for each address.
fn connect_from(host: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((Ipv4Addr::from(host), 0)).into()).expect("all of 127/8 is ours");
    socket.connect(&to.into()).expect("the receiver listens");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("reads can have a deadline");
    stream
}

#[test]
fn thousands_of_random_blobs_change_nothing() {
    const STARTS: [&[u8]; 8] = [
        b"",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x16\x03\x01\xff\xff",
        b"GET / HTTP/1.1\r\n",
        b"POST ",
        b"name<SEPARATOR>+",
        b"<SEPARATOR>x99",
        b"\0\0\0\0",
    ];
    let scene = Scene::new();
    let host = besieged(&scene);
    for seed in 0..4_000 {
        let blob = disk::noise(seed, 1 + (seed as usize * 131) % 1_500);
        let mut stream = connect(host.address());
        // The receiver may hang up in the middle; that is an answer too.
        let _ = stream.write_all(STARTS[seed as usize % STARTS.len()]).and_then(|()| stream.write_all(&blob));
        finish(stream);
    }
    assert_serves(&scene, &host, Duration::from_secs(5));
    assert_unharmed(&scene, host);
}

#[test]
fn every_prefix_of_a_session_then_the_end_stores_nothing() {
    let scene = Scene::new();
    let host = besieged(&scene);
    let header = b"session.bin<SEPARATOR>300";
    let data = disk::noise(1, 300);
    for cut in 0..header.len() + data.len() {
        let (first, second) = (&header[..cut.min(header.len())], &data[..cut.saturating_sub(header.len())]);
        let mut stream = connect(host.address());
        let segments = [first, second];
        say(&mut stream, &segments[..1 + usize::from(!second.is_empty())]);
        finish(stream);
    }
    assert_serves(&scene, &host, Duration::from_secs(5));
    assert_unharmed(&scene, host);
}

#[test]
fn silent_and_stalling_peers_are_closed_and_others_served_meanwhile() {
    let scene = Scene::new();
    let host = besieged(&scene);
    let started = Instant::now();
    let starts: [&[u8]; 6] =
        [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\n", b"no separator yet"];
    let mut streams: Vec<TcpStream> = (0..120)
        .map(|n| {
            let mut stream = connect_from([127, 0, 0, 2], host.address());
            let _ = stream.write_all(starts[n % starts.len()]);
            stream
        })
        .collect();
    assert_serves(&scene, &host, Duration::from_secs(3));
    for stream in &mut streams {
        let mut sink = Vec::new();
        if let Err(error) = stream.read_to_end(&mut sink) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "a stalling peer is closed");
        }
    }
    assert!(started.elapsed() < Duration::from_secs(20), "the last is closed after {:?}", started.elapsed());
    assert_serves(&scene, &host, Duration::from_secs(5));
    assert_unharmed(&scene, host);
}

#[test]
fn more_knockers_than_descriptors_do_not_end_the_accept_loop() {
    if !have(&["prlimit"]) {
        return;
    }
    let scene = Scene::new();
    disk::motley(&scene.path("canary"), 20, 1_000);
    let receiver = scene.receive().args(["--yes", "--classic", "accept"]);
    let host = receiver.behind(["prlimit", "--nofile=256:256", "--"]).listening();
    let knockers: Vec<TcpStream> =
        (0..400).map(|n| connect_from([127, 0, 0, 2 + (n / 30) as u8], host.address())).collect();
    drop(knockers);
    assert_serves(&scene, &host, Duration::from_secs(10));
    assert_unharmed(&scene, host);
}

#[test]
fn a_man_in_the_middle_of_a_link_hears_no_name_and_ends_it_with_6() {
    if !have(&["openssl"]) {
        return;
    }
    let scene = Scene::new();
    let host = scene.receive().arg("--yes").listening();
    let heard = scene.path("heard");
    let mut middle = Launch::python("middle.py").arg(host.address().to_string()).arg(&heard).start();
    let port = middle.line_where("port", |line| line.parse::<u16>().is_ok());
    let source = scene.thing("secret-plan.txt", b"the plan");
    let link = host.qrdrop_link().replacen(&host.address().to_string(), &format!("127.0.0.1:{port}"), 1);
    let sent = scene.send(&source).args(["--to", &link]).run().failed(6);
    assert!(sent.named("accepted").is_empty(), "{sent}");
    middle.line_where("handshake", |line| line.starts_with("no TLS") || line == "in between");
    assert_hears_nothing(&heard);
    let received = host.stopped();
    assert!(received.named("offer").is_empty() && disk::names(&scene.inbox()).is_empty(), "{received}");
}

#[test]
fn a_man_in_the_middle_who_only_relays_cannot_get_a_code_accepted() {
    if !have(&["openssl"]) {
        return;
    }
    let scene = Scene::new();
    let host = scene.receive().arg("--yes").on_a_terminal().listening();
    let heard = scene.path("heard");
    let mut middle = Launch::python("middle.py").arg(host.address().to_string()).arg(&heard).start();
    let port = middle.line_where("port", |line| line.parse::<u16>().is_ok());
    let source = scene.thing("secret-plan.txt", b"the plan");
    let sender = scene.send(&source).args(["--to", &format!("127.0.0.1:{port}")]).on_a_terminal();
    sender.run().failed(6);
    middle.line_where("handshake", |line| line == "in between");
    assert_hears_nothing(&heard);
    host.stopped();
    assert!(disk::names(&scene.inbox()).is_empty());
}

fn assert_hears_nothing(heard: &Path) {
    let heard = std::fs::read(heard).expect("what the middle heard");
    assert!(!String::from_utf8_lossy(&heard).contains("secret-plan"), "the name left before the receiver was proven");
}

#[test]
fn with_a_man_in_the_middle_the_codes_differ_and_a_no_ends_it_with_6_on_both_sides() {
    let scene = Scene::new();
    let source = scene.thing("secret-plan.txt", b"the plan");
    let bait = scene.thing("bait", b"bait");
    // The attacker plays both parts as well as they can be played: with this very program.
    let fake = Launch::new("receive").arg(scene.path("things")).state(&scene.path("fake-receiver"));
    let fake = fake.args(["--json", "--hidden", "--qr", "never", "--port", "0", "--interface", "127.0.0.1", "--yes"]);
    let mut host = scene.receive().args(["--once", "--yes"]).on_a_terminal().listening();
    let mut fake_host = fake.on_a_terminal().listening();
    let to = |host: &Host| host.address().to_string();
    let mut sender = scene.send(&source).args(["--to", &to(&fake_host)]).on_a_terminal().start();
    let fake_sender = Launch::new("send").arg(&bait).args(["--json", "--to", &to(&host)]);
    let mut fake_sender = fake_sender.state(&scene.path("fake-sender")).on_a_terminal().start();

    let shown = |event: serde_json::Value| event["code"].as_str().expect("six digits").to_owned();
    let (ours, theirs) = (shown(sender.event("code")), shown(host.program.event("code")));
    for code in [&ours, &theirs] {
        assert!(code.len() == 6 && code.bytes().all(|digit| digit.is_ascii_digit()), "{code}");
    }
    assert_ne!(ours, theirs, "the two people see different codes");
    assert_eq!(shown(fake_host.program.event("code")), ours);
    assert_eq!(shown(fake_sender.event("code")), theirs);
    fake_host.program.press("y");
    fake_sender.press("y");

    let failed = |event: &serde_json::Value| event["event"] == "failed" && event["code"] == 6;
    sender.press_until("n", "`failed` with 6", failed);
    sender.ended().failed(6);
    host.program.press_until("n", "`failed` with 6", failed);
    host.left().failed(6);
    assert!(disk::names(&scene.inbox()).is_empty());
    assert_eq!(disk::names(&scene.path("things")), ["bait", "secret-plan.txt"], "the attacker got nothing");
}

/// Whether a program that may leave a core, and is aborted once it has said something, is dumped.
fn is_dumped(scene: &Scene, program: &Path, arguments: &[&str]) -> bool {
    let mut crashing = Command::new("sh")
        .args(["-c", "ulimit -c unlimited && exec \"$@\"", "sh"])
        .arg(program)
        .args(arguments)
        .current_dir(scene.path("things"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("a shell starts");
    crashing.stdin.as_mut().expect("it is piped").write_all(b"x").expect("it reads");
    crashing.stdout.as_mut().expect("it is piped").read_exact(&mut [0]).expect("it says something");
    kill_process(Pid::from_child(&crashing), Signal::ABORT).expect("it runs");
    crashing.wait().expect("it ends").core_dumped()
}

#[test]
fn e20_whatever_hosts_and_crashes_leaves_no_core() {
    let scene = Scene::new();
    scene.thing("a", b"a");
    if !is_dumped(&scene, Path::new("cat"), &[]) {
        skip("no program leaves a core here");
        return;
    }
    let hosting =
        ["--json", "--interface", "lo", "--port", "0", "--hidden", "--qr", "never", "--invite-file", "invite"];
    for command in [&["receive"][..], &["send", "a"], &["chat"]] {
        assert!(!is_dumped(&scene, &qrdrop(), &[command, &hosting].concat()), "{command:?}");
    }
}
