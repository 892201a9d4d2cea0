//! How a command ends when something is wrong: the documented exit code, a hint, nothing stored, nothing left over.
#![cfg(target_os = "linux")]

mod common;

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use rustix::process::Signal;

use common::around::{self, am_root, have};
use common::{Launch, Scene, disk, number, text};

const MIB: usize = 1024 * 1024;

/// The link with one character of its secret changed to another; `at` counts from the version.
fn changed(link: &str, at: usize) -> String {
    let (start, secret) = link.split_at(link.len() - 43);
    let other = if secret.as_bytes()[at] == b'A' { "B" } else { "A" };
    format!("{start}{}{other}{}", &secret[..at], &secret[at + 1..])
}

#[test]
fn a_wrong_token_and_a_wrong_key_end_with_6_and_nothing_is_offered() {
    let scene = Scene::new();
    let source = scene.thing("unseen-name.txt", b"unseen");
    let host = scene.receive().arg("--yes").listening();
    let (token, key) = (3, 30);
    for at in [token, key] {
        let sent = scene.send(&source).args(["--to", &changed(&host.qrdrop_link(), at)]).run().failed(6);
        assert!(sent.named("accepted").is_empty() && sent.named("stored").is_empty(), "{sent}");
    }
    // Each kind of link has a token of its own: another scheme in front of it does not make it worth more.
    let crossed = host.http_link().replacen("http://", "qrdrop://", 1);
    scene.send(&source).args(["--to", &crossed]).run().failed(3);
    scene.send(&source).args(["--to", &scene.at_invite()]).run().with(0);
    let received = host.stopped();
    assert_eq!(received.named("offer").len(), 2, "only senders with a good token offer\n{received}");
}

#[test]
fn without_yes_and_without_a_terminal_the_offer_is_refused_with_3_and_the_flag_is_named() {
    let scene = Scene::new();
    let source = scene.thing("a", b"a");
    let host = scene.receive().listening();
    let sent = scene.send(&source).args(["--to", &scene.at_invite()]).run().failed(3);
    assert_eq!(sent.named("refused").len(), 1, "{sent}");
    let received = host.stopped();
    assert!(received.output().contains("--yes"), "the flag is named\n{received}");
    assert!(!text(&received.one("refused"), "reason").is_empty());
    assert!(disk::names(&scene.inbox()).is_empty());
}

#[test]
fn without_a_terminal_a_code_cannot_be_compared_and_both_sides_end_with_6() {
    let scene = Scene::new();
    let source = scene.thing("a", b"a");
    let host = scene.receive().arg("--yes").listening();
    let sent = scene.send(&source).args(["--to", &host.address().to_string()]).run().failed(6);
    assert!(sent.output().contains("--to"), "another way is named\n{sent}");
    host.stopped();
    assert!(disk::names(&scene.inbox()).is_empty());
}

#[test]
fn a_receiver_that_is_gone_is_4_and_a_stranger_on_its_port_gets_no_name() {
    let scene = Scene::new();
    let source = scene.thing("secret-plan.txt", b"plan");
    let host = scene.receive().arg("--yes").listening();
    let (link, address) = (host.qrdrop_link(), host.address());
    host.stopped().with(0);
    scene.send(&source).args(["--to", &link]).run().failed(4);

    let stranger = TcpListener::bind(address).expect("the port is free again");
    let sender = scene.send(&source).args(["--to", &link]).start();
    let (mut stream, _) = stranger.accept().expect("the sender dials");
    std::io::Write::write_all(&mut stream, b"HTTP/1.1 200 OK\r\n\r\n").expect("the stranger answers");
    let heard = around::finish(stream);
    let sent = sender.ended();
    assert!(matches!(sent.code, Some(4 | 6)), "it fails closed\n{sent}");
    assert!(heard.starts_with(&[0x16, 3]), "only TLS is spoken");
    assert!(!String::from_utf8_lossy(&heard).contains("secret-plan"), "no name leaves");
    stranger.set_nonblocking(true).expect("a listener can be asked");
    assert!(stranger.accept().is_err(), "there is no second try in a weaker mode");
}

#[test]
fn what_cannot_be_read_sends_nothing_and_ends_with_7() {
    let scene = Scene::new();
    let source = scene.thing("good.txt", b"good");
    let host = scene.receive().arg("--yes").listening();
    let missing = scene.path("things/missing.txt");
    scene.send(&source).arg(missing).args(["--to", &scene.at_invite()]).run().failed(7);
    let received = host.stopped().with(0);
    assert!(received.named("offer").is_empty(), "nothing is offered\n{received}");
}

#[test]
fn what_cannot_be_read_inside_a_folder_is_named_and_the_rest_goes_with_7() {
    if !am_root() || !have(&["setpriv"]) {
        return;
    }
    let scene = Scene::new();
    scene.thing("tree/good.txt", b"good");
    let locked = scene.thing("tree/locked.txt", b"locked");
    fs::set_permissions(&locked, Permissions::from_mode(0o000)).expect("modes can be set");
    let host = scene.receive().args(["--once", "--yes"]).listening();
    // Root reads everything unless it may not look past the mode.
    let plain_user = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--"];
    let sender = scene.send(&scene.path("things/tree")).args(["--to", &scene.at_invite()]);
    let sent = sender.behind(plain_user).run().with(7);
    assert!(sent.output().contains("locked.txt"), "it is named\n{sent}");
    host.program.ended();
    assert_eq!(disk::names(&scene.inbox()), ["tree", "tree/good.txt"]);
}

#[test]
fn nobody_to_send_to_and_no_terminal_is_4_and_names_the_flag() {
    let scene = Scene::new();
    let sent = scene.send(&scene.thing("a", b"a")).run().failed(4);
    assert!(sent.output().contains("--to"), "the flag is named\n{sent}");
}

#[test]
fn a_malformed_link_is_a_usage_error_that_does_not_repeat_the_secret() {
    let scene = Scene::new();
    let source = scene.thing("a", b"a");
    let good = "1".to_owned() + &"Zq3".repeat(14) + "A";
    for link in [
        "qrdrop://127.0.0.1:5001/".to_owned(),
        "qrdrop://127.0.0.1:5001/#".to_owned(),
        format!("qrdrop://127.0.0.1:5001/#{}", &good[..40]),
        format!("qrdrop://127.0.0.1:5001/#{good}A"),
        format!("qrdrop://127.0.0.1:5001/#9{}", &good[1..]),
        format!("qrdrop://127.0.0.1/#{good}"),
        format!("qrdrop://127.0.0.1:99999/#{good}"),
        format!("qrdrop://somewhere.example:5001/#{good}"),
        format!("ftp://127.0.0.1:5001/#{good}"),
    ] {
        let sent = scene.send(&source).args(["--to", &link]).run();
        assert_eq!(sent.code, Some(2), "`{link}`\n{sent}");
        assert!(!sent.screen.contains("Zq3Zq3Zq3Zq3Zq3Zq3Z"), "an error does not repeat the secret\n{sent}");
    }
}

#[test]
fn a_flag_that_does_not_exist_is_a_usage_error() {
    Launch::new("receive").arg("--no-such-flag").run().with(2);
}

#[test]
fn a_taken_port_that_was_asked_for_is_7() {
    let scene = Scene::new();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
    let port = taken.local_addr().expect("it is bound").port().to_string();
    let receiver = Launch::new("receive").arg(scene.inbox()).state(&scene.path("s"));
    let ended =
        receiver.args(["--json", "--hidden", "--qr", "never", "--interface", "127.0.0.1", "--port", &port]).run();
    let ended = ended.failed(7);
    assert!(ended.output().contains(&port), "the port is named\n{ended}");
}

#[test]
fn two_receivers_with_the_default_port_both_run() {
    if !am_root() || !have(&["unshare", "ip"]) {
        return;
    }
    // In a network of its own nothing else can hold the port.
    let scene = Scene::new();
    let lan = around::Lan::new();
    let start = |name: &str| {
        let receiver = Launch::new("receive").arg(scene.inbox()).state(&scene.path(name));
        receiver.args(["--json", "--hidden", "--qr", "never"]).behind(around::Lan::on(&lan.here)).listening()
    };
    let (first, second) = (start("first"), start("second"));
    assert_eq!((number(&first.listening, "port"), number(&second.listening, "port")), (5001, 5002));
}

#[test]
fn a_folder_that_is_missing_or_a_file_ends_with_7_before_anything_listens() {
    let scene = Scene::new();
    let file = scene.thing("file", b"");
    for folder in [scene.path("missing"), file] {
        let receiver = Launch::new("receive").arg(&folder).state(&scene.path("state"));
        let ended = receiver.args(["--json", "--hidden", "--qr", "never", "--port", "0"]).run().failed(7);
        assert!(ended.named("listening").is_empty(), "{ended}");
    }
}

#[test]
fn a_full_disk_is_told_to_both_and_the_receiver_goes_on() {
    if !am_root() || !have(&["unshare", "mount"]) {
        return;
    }
    let scene = Scene::new();
    let small = scene.thing("small", &disk::noise(1, MIB));
    let big = scene.thing("big", &disk::noise(2, 20 * MIB));
    let mount = format!("mount -t tmpfs -o size=8m none '{}' && exec \"$@\"", scene.inbox().display());
    let receiver = scene.receive().arg("--yes").behind(["unshare", "-m", "sh", "-c", &mount, "sh"]);
    let mut host = receiver.listening();
    let to = scene.at_invite();
    let sent = scene.send(&big).args(["--to", &to]).run();
    assert!(matches!(sent.code, Some(3 | 5 | 7)), "{sent}");
    assert!(sent.named("stored").is_empty(), "{sent}");
    scene.send(&small).args(["--to", &to]).run().with(0);
    assert_eq!(text(&host.program.event("stored"), "blake3"), disk::hash(&small));
    let received = host.stopped();
    assert_eq!(received.named("stored").len(), 1, "{received}");
}

#[test]
fn an_inbox_nobody_came_to_before_the_timeout_is_4() {
    let scene = Scene::new();
    scene.receive().args(["--timeout", "1s"]).run().with(4);
}

#[test]
fn ctrl_c_of_an_idle_inbox_is_0_and_leaves_nothing_behind() {
    let scene = Scene::new();
    let host = scene.receive().listening();
    let stopped = host.stopped().with(0);
    assert_eq!(stopped.events().last().map(|event| event["event"].clone()), Some("closed".into()));
    assert!(disk::names(&scene.inbox()).is_empty());
}

#[test]
fn ctrl_c_of_a_sender_under_way_is_130_and_the_receiver_keeps_no_final_name() {
    let scene = Scene::new();
    let mut host = scene.receive().arg("--yes").listening();
    let big = scene.thing("big", b"");
    fs::File::options().write(true).open(&big).and_then(|file| file.set_len(8 << 30)).expect("a sparse file");
    let mut sender = scene.send(&big).args(["--to", &scene.at_invite()]).start();
    sender
        .event_where("progress that moves", |event| event["event"] == "progress" && event["bytes"].as_u64() > Some(0));
    sender.interrupt();
    sender.ended().with(130);
    host.program.event_where("end of the transfer", |event| event["event"] == "failed");
    host.stopped().with(5);
    assert!(!scene.inbox().join("big").exists());
}

#[test]
fn the_state_folder_is_for_this_user_alone_and_a_looser_one_is_refused() {
    let scene = Scene::new();
    let host = scene.receive().listening();
    host.stopped().with(0);
    let state = scene.path("receiver-state");
    if state.exists() {
        let mode = fs::metadata(&state).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
    fs::create_dir_all(&state).expect("folders can be made");
    fs::set_permissions(&state, Permissions::from_mode(0o777)).expect("modes can be set");
    scene.receive().run().failed(7);
}

#[test]
fn r08_a_file_over_the_size_limit_of_the_process_is_told_and_the_receiver_goes_on() {
    if !have(&["prlimit"]) {
        return;
    }
    let scene = Scene::new();
    let (big, small) = (scene.thing("big", &disk::noise(1, 3_000_000)), scene.thing("small", b"small"));
    let receive = scene.receive().args(["--yes=open", "--classic", "accept"]);
    let host = receive.behind(["prlimit", "--fsize=1000000", "--"]).listening();
    let send = |path, more: &[&str], to: &str| scene.send(path).args(["--to", to]).args(more).run();
    let sent = send(&big, &[], &scene.at_invite());
    assert!(matches!(sent.code, Some(3 | 5)) && sent.output().contains("full"), "{sent}");
    // A classic sender is cut off, and may have nobody to tell it why.
    send(&big, &["--classic"], &host.address().to_string());
    send(&small, &[], &scene.at_invite()).with(0);
    let received = host.stopped();
    assert_eq!(disk::names(&scene.inbox()), ["small"], "{received}");
    assert!(received.output().contains("full"), "{received}");
}

#[test]
fn r22_whatever_signal_ends_a_transfer_it_is_130_with_a_last_word_and_no_final_name() {
    let signals = [Signal::INT, Signal::TERM, Signal::HUP];
    for (signal, at_the_sender) in signals.into_iter().flat_map(|signal| [(signal, false), (signal, true)]) {
        let scene = Scene::new();
        let source = scene.thing("big", &disk::noise(1, 8_000_000));
        let host = scene.receive().arg("--yes").listening();
        let send = scene.send(&source).args(["--to", &scene.at_invite(), "--limit", "4MB", "--compress", "never"]);
        let mut sender = send.start();
        sender.event_where("progress", |event| event["event"] == "progress" && event["bytes"].as_u64() > Some(0));
        let (signalled, other) = if at_the_sender { (sender, host.program) } else { (host.program, sender) };
        signalled.signal(signal);
        let ended = signalled.ended().with(130);
        assert_eq!(ended.events().last().map(|event| text(event, "event").to_owned()), Some("closed".to_owned()));
        drop(other);
        assert!(!scene.inbox().join("big").exists());
    }
}

#[test]
fn h12_a_reader_that_stops_reading_holds_up_no_transfer() {
    let scene = Scene::new();
    for n in 0..600 {
        scene.thing(&format!("tree/{n:03} {}", "n".repeat(200)), &disk::noise(n, 10));
    }
    let (quiet, gate) = (scene.path("said"), scene.path("gate"));
    // Events go into a pipe from which nobody reads before the gate is there.
    let late = "\"$@\" | { until [ -e \"$0\" ]; do sleep 0.05; done; cat >&3; }";
    let receive = scene.receive().args(["--yes", "--once"]);
    let shell = format!("exec 3>'{}'; {late}", quiet.display());
    let host = receive.behind(["sh".into(), "-c".into(), OsString::from(shell), gate.clone().into_os_string()]).start();
    let deadline = Instant::now() + common::PATIENCE;
    while !scene.invite().exists() {
        assert!(Instant::now() < deadline, "it does not listen");
        std::thread::yield_now();
    }
    scene.send(&scene.path("things/tree")).args(["--to", &scene.at_invite()]).run().with(0);
    disk::assert_same(&scene.path("things"), &scene.inbox());
    fs::write(&gate, b"").expect("the gate can be opened");
    host.ended();
    let said = fs::read_to_string(&quiet).expect("it has said something");
    assert!(said.len() > 128 * 1024, "more than a pipe holds, not {}", said.len());
    assert_eq!(said.lines().filter(|line| line.contains("\"stored\"")).count(), 600);
}
