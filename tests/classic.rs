//! The tutorial's protocol, both ways, against naive peers in Python and against raw segments.
#![cfg(target_os = "linux")]

mod common;

use std::ffi::OsString;
use std::fs;
use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;

use serde_json::Value;

use common::around::{self, connect, finish, say};
use common::disk;
use common::{Ended, Host, Launch, Scene, text};

const SEPARATOR: &[u8] = b"<SEPARATOR>";
const MIB: usize = 1024 * 1024;

fn accepting(scene: &Scene) -> Host {
    scene.receive().args(["--classic", "accept"]).listening()
}

/// One connection that writes these segments, each read before the next is written, and ends.
fn classic(to: SocketAddr, segments: &[&[u8]]) {
    let mut stream = connect(to);
    say(&mut stream, segments);
    finish(stream);
}

fn header(name: &str, size: &str) -> Vec<u8> {
    [name.as_bytes(), SEPARATOR, size.as_bytes()].concat()
}

fn stored_as(host: &mut Host, offered: &str) -> Value {
    host.program.event_where(&format!("`stored` of {offered}"), |event| {
        event["event"] == "stored" && event["offered"] == offered
    })
}

/// Noes that the receiver told, each with its reason.
fn noes(ended: &Ended) -> usize {
    let reason = |event: &Value, field: &str| event[field].as_str().is_some_and(|text| !text.is_empty());
    let failed = ended.named("failed");
    assert!(
        failed.iter().all(|event| reason(event, "message") && reason(event, "hint")),
        "a failure has a hint\n{ended}"
    );
    failed.len() + ended.named("refused").iter().filter(|event| reason(event, "reason")).count()
}

/// The rule, written once more: what is to be stored of a stream, given how far each read reached into it.
fn file_of<'a>(stream: &'a [u8], reads: &[usize]) -> Option<&'a [u8]> {
    let start = stream.windows(SEPARATOR.len()).position(|window| window == SEPARATOR)? + SEPARATOR.len();
    let said = &stream[start..];
    let run = said.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let size = |k: usize| std::str::from_utf8(&said[..k]).ok().and_then(|digits| digits.parse::<u64>().ok());
    let k = (1..=run).find(|k| size(*k).is_some_and(|size| size + *k as u64 == said.len() as u64))?;
    let ended_at = |digits: usize| reads.contains(&(start + digits));
    (k == run || ended_at(k) || !(k + 1..=run).any(ended_at)).then(|| &said[k..])
}

#[test]
fn each_segment_of_these_tests_is_one_read_of_the_peer() {
    let listener = TcpListener::bind("[::]:0").expect("loopback has a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let peer = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("somebody connects");
        let mut reads = Vec::new();
        let mut piece = [0; 1024];
        while let Ok(n @ 1..) = stream.read(&mut piece) {
            reads.push(piece[..n].to_vec());
        }
        reads
    });
    let segments: [&[u8]; 5] = [b"x<SEPARATOR>", b"1", b"2", b"345", b"the rest"];
    classic(SocketAddr::from(([127, 0, 0, 1], port)), &segments);
    assert_eq!(peer.join().expect("the peer ends"), segments);
}

#[test]
fn the_tutorials_sender_delivers_exactly() {
    let scene = Scene::new();
    let mut host = accepting(&scene);
    let (ip, port) = (host.address().ip().to_string(), host.address().port().to_string());
    let mut csv = b"20260101,17,4\n".repeat(2_000);
    let sizes = [0, 1, 9, 4_095, 4_096, 4_097, 100_000, 3 * MIB];
    let mut files: Vec<Vec<u8>> = sizes.iter().map(|size| disk::noise(*size as u64, *size)).collect();
    files.push(csv.clone());
    csv.insert(0, b'7');
    files.push(csv);
    for (n, bytes) in files.iter().enumerate() {
        for together in [false, true] {
            let name = format!("data {n} {together}.csv");
            let source = scene.thing(&name, bytes);
            let sender = Launch::python("tutorial.py").args(["send", &ip, &port]).arg(&source);
            sender.args(together.then_some("--together")).run().with(0);
            let stored = stored_as(&mut host, &name);
            assert_eq!(stored["blake3"].as_str(), Some(disk::hash(&source).as_str()), "{name}");
            host.finishes(&stored);
        }
    }
    let ended = host.stopped().with(0);
    let labels = ended.named("finished");
    assert!(labels.len() == 2 * files.len() && labels.iter().all(|event| event["label"] == "open"), "{ended}");
    let contents = |root| disk::names(root).iter().map(|name| disk::hash(&root.join(name))).collect::<Vec<_>>();
    assert_eq!(contents(&scene.inbox()), contents(&scene.path("things")));
}

#[test]
fn eight_tutorial_senders_of_one_name_at_once_leave_eight_exact_files() {
    let scene = Scene::new();
    let host = accepting(&scene);
    let (ip, port) = (host.address().ip().to_string(), host.address().port().to_string());
    let sources: Vec<_> = (0..8).map(|n| scene.thing(&format!("{n}/data.csv"), &disk::noise(n, 2 * MIB))).collect();
    let start = |source| Launch::python("tutorial.py").args(["send", &ip, &port]).arg(source).start();
    let senders: Vec<_> = sources.iter().map(start).collect();
    senders.into_iter().for_each(|sender| drop(sender.ended().with(0)));
    let mut host = host;
    for source in &sources {
        let hash = disk::hash(source);
        let stored = host
            .program
            .event_where("its `stored`", |event| event["event"] == "stored" && event["blake3"] == hash.as_str());
        host.finishes(&stored);
    }
    host.stopped().with(0);
    assert_eq!(disk::names(&scene.inbox()).len(), 8);
}

#[test]
fn a_cut_at_any_byte_never_leaves_a_wrong_file() {
    let scene = Scene::new();
    let mut host = accepting(&scene);
    // Whether the header has a segment of its own, and what follows it. In one segment the sizes are such that no cut
    // is undecidable: with `1x` the shorter size would end inside the digits.
    let letters = b"letters, not digits\n".repeat(6);
    let samples: [(bool, &[u8]); 7] = [
        (true, &letters),
        (true, b"2024,10,11\n2024,10,12\n2025,11,30\n"),
        (true, b"123456789012"),
        (true, b""),
        (false, b"2024,10,11\n123"),
        (false, b"letters, no num"),
        (false, b"98765"),
    ];
    let (mut expected, mut refused) = (Vec::new(), 0);
    for (sample, (apart, data)) in samples.into_iter().enumerate() {
        for left_off in 0.. {
            let name = format!("cut-{sample}-{left_off}.csv");
            let header = header(&name, &data.len().to_string());
            let whole = [&header[..], data].concat();
            let Some(cut) = whole.len().checked_sub(left_off) else { break };
            let stream = &whole[..cut];
            let ends: Vec<usize> = if apart && cut > header.len() { vec![header.len(), cut] } else { vec![cut] };
            let segments: Vec<&[u8]> =
                ends.iter().scan(0, |from, end| Some(&stream[std::mem::replace(from, *end)..*end])).collect();
            classic(host.address(), &segments);
            match file_of(stream, &ends) {
                Some(file) => {
                    assert_eq!(file, data, "the rule itself would store a wrong file for this sample");
                    stored_as(&mut host, &name);
                    expected.push((name, data));
                }
                None => refused += usize::from(cut + data.len().to_string().len() > header.len()),
            }
        }
    }
    let ended = host.stopped();
    assert_eq!(expected.len(), samples.len() - 1, "all but the one that is digits throughout in one segment arrive");
    let mut names: Vec<&str> = expected.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(disk::names(&scene.inbox()), names);
    for (name, data) in &expected {
        assert_eq!(fs::read(scene.inbox().join(name)).expect("it is there"), *data, "{name}");
    }
    assert!(noes(&ended) >= refused, "{refused} cut streams with a size are told, not {}", noes(&ended));
}

#[test]
fn a_header_that_may_have_been_cut_is_refused_with_a_hint_to_send_again() {
    let scene = Scene::new();
    let host = accepting(&scene);
    classic(host.address(), &[b"x<SEPARATOR>12"]);
    classic(host.address(), &[b"y<SEPARATOR>1000", b"12345678"]);
    let ended = host.stopped();
    assert_eq!(noes(&ended), 2, "{ended}");
    assert!(ended.output().contains("again"), "{ended}");
    assert!(disk::names(&scene.inbox()).is_empty());
}

#[test]
fn one_byte_in_each_segment_arrives() {
    let scene = Scene::new();
    let mut host = accepting(&scene);
    let stream = [header("slow.csv", "21"), b"2024,1\n2025,2\n2026,3\n".to_vec()].concat();
    classic(host.address(), &stream.chunks(1).collect::<Vec<_>>());
    stored_as(&mut host, "slow.csv");
    assert_eq!(fs::read(scene.inbox().join("slow.csv")).expect("it is there"), &stream[stream.len() - 21..]);
}

#[test]
fn a_name_that_looks_like_a_request_is_classic() {
    let scene = Scene::new();
    let mut host = accepting(&scene);
    classic(host.address(), &[b"POST /x HTTP notes<SEPARATOR>9", b"nine byte"]);
    let stored = host.program.event("stored");
    assert_eq!(fs::read(stored["path"].as_str().expect("a path")).expect("it is there"), b"nine byte");
}

#[test]
fn a_size_that_is_no_plain_number_stores_nothing() {
    let scene = Scene::new();
    let host = accepting(&scene);
    for size in [
        " 5",
        "+5",
        "0_5",
        "-5",
        "5e0",
        "\u{665}",
        "0x5",
        "",
        "five",
        "5<SEPARATOR>5",
        &"9".repeat(30),
        &"5".repeat(4_096),
    ] {
        classic(host.address(), &[&header("odd", size), b"hello"]);
        classic(host.address(), &[&[&header("odd", size)[..], b"hello"].concat()]);
    }
    classic(host.address(), &[b"no separator at all"]);
    classic(host.address(), &[&[b"n".repeat(5_000), SEPARATOR.to_vec(), b"5hello".to_vec()].concat()]);
    host.stopped();
    assert!(disk::names(&scene.inbox()).is_empty());
}

#[test]
fn less_or_more_than_promised_is_not_stored() {
    let scene = Scene::new();
    let host = accepting(&scene);
    for (size, data) in [
        ("20", "too short"),
        ("3", "too long"),
        ("10000000000000", "ten terabytes"),
        ("18446744073709551615", "all of it"),
    ] {
        classic(host.address(), &[&header("lie", size), data.as_bytes()]);
    }
    // A flood is stopped at what was promised.
    let mut stream = connect(host.address());
    say(&mut stream, &[&header("flood", "1024")]);
    let flood = vec![b'x'; MIB];
    let took = (0..256).take_while(|_| std::io::Write::write_all(&mut stream, &flood).is_ok()).count();
    finish(stream);
    assert!(took < 256, "the receiver hangs up on a flood");
    let ended = host.stopped();
    assert!(noes(&ended) >= 5, "{ended}");
    assert!(disk::names(&scene.inbox()).is_empty());
}

#[test]
fn a_name_from_a_stranger_stays_inside_the_folder() {
    let scene = Scene::new();
    disk::write(&scene.path("canary/file"), b"untouched");
    let before = disk::tree(&scene.path("canary"));
    let mut host = accepting(&scene);
    let long = "ä".repeat(1_000);
    let names: [&[u8]; 14] = [
        b"../canary/file",
        b"..\\canary\\file",
        b"/etc/cron.d/x",
        b"C:\\x",
        b"\\\\h\\s\\x",
        b"....//x",
        b"%2e%2e%2fx",
        b"",
        b"..",
        b"CON",
        b"a.txt:evil",
        b"line\nbreak\x1b[2J\0.txt",
        b"\xff\xc5\xff.bin",
        long.as_bytes(),
    ];
    for (n, name) in names.iter().enumerate() {
        let data = format!("content number {n:02}");
        classic(host.address(), &[&[name, SEPARATOR, b"17"].concat(), data.as_bytes()]);
    }
    classic(host.address(), &[b".bashrc<SEPARATOR>17", b"content number 99"]);
    classic(host.address(), &[b"last<SEPARATOR>4", b"last"]);
    stored_as(&mut host, "last");
    let ended = host.stopped();
    assert_eq!(disk::tree(&scene.path("canary")), before);
    for name in disk::names(&scene.inbox()) {
        let inert = !name.chars().any(|c| c.is_control() || "/\\:".contains(c));
        assert!(inert && name.len() <= 255 && !name.starts_with('.'), "{name:?}");
    }
    let raw = ended.output();
    assert!(!raw.contains('\u{1b}') && !raw.contains('\0'), "a stranger's text is inert on the screen and in JSON");
}

#[test]
fn classic_off_takes_nothing_and_ask_without_a_terminal_names_the_flag() {
    let scene = Scene::new();
    for (mode, named) in [("off", None), ("ask", Some("--classic"))] {
        let host = scene.receive().args(["--yes=verified", "--classic", mode]).listening();
        classic(host.address(), &[b"x<SEPARATOR>5", b"hello"]);
        let ended = host.stopped();
        assert!(ended.named("stored").is_empty(), "{ended}");
        assert!(named.is_none_or(|flag| ended.output().contains(flag)), "{ended}");
    }
    assert!(disk::names(&scene.inbox()).is_empty());
}

#[test]
fn a_receiver_that_leaves_while_it_puts_a_file_in_place_tells_of_it_and_leaves_nothing_behind() {
    if !around::have(&["strace"]) {
        return;
    }
    let scene = Scene::new();
    // The sender is let go before the file is on the disk.
    let host = scene.receive().args(["--classic", "accept"]).behind(around::SLOW_DISK).listening();
    classic(host.address(), &[b"a.txt<SEPARATOR>5", b"hello"]);
    let ended = host.stopped().with(130);
    assert_eq!(
        (ended.one("stored")["offered"].as_str(), ended.one("finished")["bytes"].as_u64()),
        (Some("a.txt"), Some(5))
    );
    assert_eq!(disk::names(&scene.inbox()), ["a.txt"]);
}

#[test]
fn a_receiver_that_leaves_in_the_middle_of_a_file_tells_that_it_failed_and_leaves_nothing_behind() {
    let scene = Scene::new();
    let mut host = accepting(&scene);
    let mut sender = connect(host.address());
    say(&mut sender, &[b"a.bin<SEPARATOR>50000000", &disk::noise(3, 9 * MIB)]);
    host.program.event("progress");
    let ended = host.stopped().with(130);
    assert_eq!(ended.one("failed")["code"], 130, "{ended}");
    assert!(ended.named("stored").is_empty() && disk::names(&scene.inbox()).is_empty(), "{ended}");
}

#[test]
fn our_sender_delivers_exactly_to_the_tutorials_receiver() {
    let scene = Scene::new();
    let csv = b"1,2,3\n".repeat(1_000);
    for (n, bytes) in [vec![], vec![b'7'], csv, disk::noise(5, 4_097), disk::noise(6, 5 * MIB)].iter().enumerate() {
        let source = scene.thing(&format!("data-{n}.csv"), bytes);
        let mut receiver = Launch::python("tutorial.py").arg("receive").arg(scene.inbox()).start();
        let port = receiver.line_where("port", |line| line.parse::<u16>().is_ok());
        let sent = scene.send(&source).args(["--classic", "--to", &format!("127.0.0.1:{port}")]).run().with(0);
        assert!(sent.screen.contains("not confirmed"), "nobody confirmed it\n{sent}");
        assert_eq!(sent.one("finished")["label"], "open");
        receiver.ended().with(0);
    }
    let contents = |root| disk::names(root).iter().map(|name| disk::hash(&root.join(name))).collect::<Vec<_>>();
    assert_eq!(contents(&scene.inbox()), contents(&scene.path("things")));
}

#[test]
fn our_classic_sender_takes_a_link_too() {
    let scene = Scene::new();
    let source = scene.thing("data.csv", b"1,2,3\n");
    let mut host = accepting(&scene);
    for (n, to) in
        [host.http_link(), host.qrdrop_link(), scene.at_invite(), host.address().to_string()].iter().enumerate()
    {
        scene.send(&source).args(["--classic", "--to", to]).run().with(0);
        let stored = |event: &&Value| event["event"] == "stored";
        let name = if n == 0 { "data.csv".to_owned() } else { format!("data ({n}).csv") };
        let event = host.program.event_where("its `stored`", |event| stored(&event) && event["name"] == name.as_str());
        assert_eq!(event["blake3"].as_str(), Some(disk::hash(&source).as_str()));
        host.finishes(&event);
    }
    host.stopped().with(0);
}

#[test]
fn our_classic_sender_finds_nobody_with_4() {
    let scene = Scene::new();
    let source = scene.thing("a", b"a");
    scene.send(&source).args(["--classic", "--to", &around::nobody().to_string()]).run().failed(4);
}

/// What goes before a command line to note its calls of `sendfile` and `splice`, some of which may be made to fail.
fn watched(trace: &Path, tampering: &[&str]) -> Vec<OsString> {
    let tampering = tampering.iter().flat_map(|what| ["-e".into(), format!("inject={what}").into()]);
    // With -D the signals of a test reach the program and not strace.
    let strace = ["strace", "-D", "-f", "-qq", "-e", "trace=sendfile,splice,tee", "-o"].map(OsString::from);
    strace.into_iter().chain([trace.into()]).chain(tampering).collect()
}

/// Bytes that calls of this name moved, by the trace.
fn moved_by(call: &str, trace: &Path) -> u64 {
    let trace = fs::read_to_string(trace).expect("strace wrote a trace");
    let results = trace.lines().filter(|line| line.contains(call)).filter_map(|line| line.rsplit_once("= "));
    results.filter_map(|(_, result)| result.parse::<u64>().ok()).sum()
}

/// Sends one file from our sender to our receiver, each under strace, and checks that it arrived; the two traces.
fn sent_watched(scene: &Scene, source: &Path, sending: &[&str], receiving: &[&str]) -> [std::path::PathBuf; 2] {
    let traces = [scene.path("sender-trace"), scene.path("receiver-trace")];
    let receiver = scene.receive().args(["--classic", "accept", "--once"]).behind(watched(&traces[1], receiving));
    let host = receiver.listening();
    let sender = scene.send(source).args(["--classic", "--to", &host.address().to_string()]);
    sender.behind(watched(&traces[0], sending)).run().with(0);
    let received = host.program.ended().with(0);
    let stored = received.one("stored");
    assert_eq!(stored["blake3"].as_str(), Some(disk::hash(source).as_str()));
    assert_eq!(disk::hash(Path::new(text(&stored, "path"))), disk::hash(source));
    traces
}

#[test]
fn a_file_goes_by_sendfile_and_splice_and_not_through_the_program() {
    if !around::have(&["strace"]) {
        return;
    }
    let scene = Scene::new();
    // a table too: its first bytes have to be looked at
    for (name, bytes) in [("noise.bin", disk::noise(7, 8 * MIB)), ("table.csv", b"20260101,17,4\n".repeat(600_000))] {
        let source = scene.thing(name, &bytes);
        let [sender, receiver] = sent_watched(&scene, &source, &[], &[]);
        assert_eq!(moved_by("sendfile", &sender), bytes.len() as u64, "{name}");
        // each byte into the pipe and out of it, but for what came with the header and was read
        let spliced = moved_by("splice", &receiver) / 2;
        assert!(spliced >= bytes.len() as u64 - MIB as u64, "{spliced} of {} bytes of {name}", bytes.len());
    }
}

#[test]
fn where_the_system_refuses_sendfile_or_splice_the_same_bytes_arrive() {
    if !around::have(&["strace"]) {
        return;
    }
    let scene = Scene::new();
    let source = scene.thing("data.bin", &disk::noise(8, 3 * MIB + 1));
    for (sending, receiving) in [
        ("sendfile:error=EINVAL", "splice:error=ENOSYS"),
        // no longer after a while
        ("sendfile:error=ENOSYS:when=3+", "splice:error=EINVAL:when=5+"),
        // into the pipe, but not out of it
        ("sendfile:error=EPERM", "splice:error=EINVAL:when=2+2"),
        // interrupted
        ("sendfile:error=EINTR:when=1+2", "splice:error=EINTR:when=1+2"),
    ] {
        let [sender, receiver] = sent_watched(&scene, &source, &[sending], &[receiving]);
        for trace in [sender, receiver] {
            let trace = fs::read_to_string(trace).expect("strace wrote a trace");
            assert!(trace.contains("(INJECTED)"), "`{sending}` and `{receiving}` are done");
        }
    }
}

#[test]
fn a_disk_that_is_full_in_the_middle_of_a_splice_is_told_and_the_receiver_goes_on() {
    if !around::have(&["strace"]) {
        return;
    }
    let scene = Scene::new();
    // Even if every splice filled the pipe, there would be more than five of them.
    let big = scene.thing("big.bin", &disk::noise(9, 8 * MIB));
    // Where the pipe can't be copied, every second one empties it into the file.
    let full = watched(&scene.path("trace"), &["tee:error=EINVAL", "splice:error=ENOSPC:when=6"]);
    let mut host = scene.receive().args(["--classic", "accept"]).behind(full).listening();
    let to = host.address().to_string();
    scene.send(&big).args(["--classic", "--to", &to]).run().failed(5);
    let failed = host.program.event("failed");
    assert!(failed["code"] == 7 && text(&failed, "message").contains("full"), "{failed}");
    // Another transfer is another thread, for which the calls are counted anew.
    let small = scene.thing("small.bin", b"small");
    scene.send(&small).args(["--classic", "--to", &to]).run().with(0);
    stored_as(&mut host, "small.bin");
    host.stopped();
    assert_eq!(disk::names(&scene.inbox()), ["small.bin"]);
}

#[test]
fn a_classic_sender_does_not_fill_the_disk() {
    if !around::am_root() || !around::have(&["unshare", "mount"]) {
        return;
    }
    let scene = Scene::new();
    let big = scene.thing("big.bin", &disk::noise(10, 40 * MIB));
    let mount = format!("mount -t tmpfs -o size=32m none '{}' && exec \"$@\"", scene.inbox().display());
    let receiver = scene.receive().args(["--classic", "accept"]).behind(["unshare", "-m", "sh", "-c", &mount, "sh"]);
    let mut host = receiver.listening();
    scene.send(&big).args(["--classic", "--to", &host.address().to_string()]).run().failed(5);
    let failed = host.program.event("failed");
    assert!(failed["code"] == 7 && text(&failed, "message").contains("full"), "{failed}");
    classic(host.address(), &[b"small<SEPARATOR>5", b"small"]);
    stored_as(&mut host, "small");
    host.stopped();
}

#[test]
fn what_is_deleted_under_a_classic_transfer_fails_that_transfer_alone() {
    let scene = Scene::new();
    let mut host = accepting(&scene);
    let bytes = disk::noise(11, 2 * MIB);
    let mut stream = connect(host.address());
    say(&mut stream, &[&header("data.bin", &bytes.len().to_string()), &bytes[..MIB]]);
    host.program.event("progress");
    fs::remove_dir_all(scene.inbox().join(".qrdrop-partial")).expect("all that is in the inbox can be deleted");
    say(&mut stream, &[&bytes[MIB..]]);
    finish(stream);
    let failed = host.program.event("failed");
    assert_eq!(failed["code"], 7, "{failed}");
    classic(host.address(), &[b"small<SEPARATOR>5", b"small"]);
    stored_as(&mut host, "small");
    host.stopped();
    assert_eq!(disk::names(&scene.inbox()), ["small"]);
}

/// Starts our sender towards a receiver that takes its header: the stream with the file still to come.
fn sends_to_a_slow_receiver(scene: &Scene, source: &Path, bytes: usize) -> (common::Program, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let to = listener.local_addr().expect("it is bound").to_string();
    let sender = scene.send(source).args(["--classic", "--to", &to]).start();
    let (mut stream, _) = listener.accept().expect("the sender connects");
    let mut said = vec![0; header("data.bin", &bytes.to_string()).len()];
    stream.read_exact(&mut said).expect("the header comes");
    (sender, stream)
}

#[test]
fn a_source_that_changes_while_it_is_sent_is_7_and_the_stream_does_not_end_in_order() {
    let scene = Scene::new();
    let bytes = disk::noise(12, 64 * MIB);
    let source = scene.thing("data.bin", &bytes);
    let (sender, mut stream) = sends_to_a_slow_receiver(&scene, &source, bytes.len());
    stream.read_exact(&mut [0; 1_000]).expect("the file begins");
    fs::write(&source, disk::noise(13, bytes.len())).expect("the source can be written");
    let mut rest = Vec::new();
    let end = stream.read_to_end(&mut rest).expect_err("an end in order would say that this is the file");
    assert_eq!(end.kind(), ErrorKind::ConnectionReset);
    let sent = sender.ended().failed(7);
    assert!(text(&sent.one("failed"), "message").contains("changed"), "{sent}");
}

#[test]
fn a_source_that_shrinks_while_it_is_sent_is_7() {
    let scene = Scene::new();
    let source = scene.thing("data.bin", &disk::noise(14, 64 * MIB));
    let (sender, mut stream) = sends_to_a_slow_receiver(&scene, &source, 64 * MIB);
    stream.read_exact(&mut [0; 1_000]).expect("the file begins");
    fs::File::options().write(true).open(&source).and_then(|file| file.set_len(1_000)).expect("it can be cut");
    let mut rest = Vec::new();
    assert!(stream.read_to_end(&mut rest).is_err() && rest.len() < 64 * MIB - 1_000);
    sender.ended().failed(7);
}

#[test]
fn a_source_that_changes_before_the_receiver_has_taken_all_is_7() {
    let scene = Scene::new();
    let bytes = disk::noise(15, MIB / 8);
    let source = scene.thing("data.bin", &bytes);
    let (sender, mut stream) = sends_to_a_slow_receiver(&scene, &source, bytes.len());
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("the file comes");
    assert_eq!(rest, bytes);
    // sent, and still lent by the file as far as the sender knows
    fs::write(&source, disk::noise(16, bytes.len())).expect("the source can be written");
    drop(stream);
    sender.ended().failed(7);
}
