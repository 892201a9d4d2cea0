//! What happens between the two: bytes that are cut, changed, read on their way, or come slowly; ends that stand still.
#![cfg(target_os = "linux")]

mod common;

use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use socket2::SockRef;

use common::around::{connect, finish, skip};
use common::line::{Line, Piece, on};
use common::sealed::Phone;
use common::{Ended, Host, Launch, Program, Scene, disk, text};

const MIB: usize = 1024 * 1024;
const NAME: &str = "secret-plan.txt";

/// Bytes that went up and down, for each connection.
type Heard = Arc<Mutex<Vec<[Vec<u8>; 2]>>>;

/// A line that keeps what passes.
fn listening_in(host: &Host) -> (Line, Heard) {
    let heard = Heard::default();
    let keeping = Arc::clone(&heard);
    let line = Line::before(host.address(), move |piece, to| {
        let mut heard = keeping.lock().unwrap();
        if heard.len() <= piece.connection {
            heard.resize_with(piece.connection + 1, Default::default);
        }
        heard[piece.connection][usize::from(!piece.up)].extend(&piece.bytes);
        drop(heard);
        on(&piece, to)
    });
    (line, heard)
}

/// Sends `things/NAME` over the line, once.
fn sent_over(scene: &Scene, line: &Line, host: &Host) -> Ended {
    let source = scene.path("things").join(NAME);
    scene.send(&source).args(["--to", &line.link(&host.qrdrop_link()), "--retry", "0s"]).run()
}

/// The names at the top of the inbox, while it may still be written to.
fn arrived(scene: &Scene) -> Vec<String> {
    let names =
        fs::read_dir(scene.inbox()).expect("it is there").map(|entry| entry.expect("it can be listed").file_name());
    let mut names: Vec<_> = names.map(|name| name.into_string().expect("names are UTF-8")).collect();
    names.retain(|name| name != ".qrdrop-partial");
    names.sort();
    names
}

/// Whatever is in the inbox is the whole of what was sent, and is taken away.
#[track_caller]
fn assert_exact_or_nothing(scene: &Scene, content: &[u8], what: &str) {
    for name in arrived(scene) {
        let path = scene.inbox().join(&name);
        assert_eq!(disk::hash(&path), blake3::hash(content).to_hex().as_str(), "`{name}` after {what}");
        fs::remove_file(path).expect("it can be removed");
    }
}

/// For each connection and direction of a transfer that nothing befalls: `count` places spread over its bytes.
fn places(scene: &Scene, host: &Host, count: u64) -> Vec<(usize, bool, u64)> {
    let (line, heard) = listening_in(host);
    sent_over(scene, &line, host).with(0);
    let heard = heard.lock().unwrap();
    let ways = heard.iter().enumerate().flat_map(|(n, both)| [(n, true, both[0].len()), (n, false, both[1].len())]);
    ways.flat_map(|(connection, up, bytes)| {
        (0..count).map(move |n| (connection, up, n * (bytes as u64 - 1) / (count - 1)))
    })
    .collect()
}

#[test]
fn d02_a_session_that_is_cut_anywhere_stores_the_whole_file_or_nothing() {
    let (scene, content) = (Scene::new(), disk::noise(1, 2_000));
    scene.thing(NAME, &content);
    let host = scene.receive().arg("--yes").listening();
    for (connection, up, at) in places(&scene, &host, 9) {
        assert_exact_or_nothing(&scene, &content, "an honest transfer");
        let cutting = move |piece: Piece, to: &mut TcpStream| {
            let here = (piece.connection, piece.up) == (connection, up);
            let Some(place) = piece.place_of(at).filter(|_| here) else { return on(&piece, to) };
            to.write_all(&piece.bytes[..place])?;
            Err(io::ErrorKind::ConnectionReset.into())
        };
        let line = Line::before(host.address(), cutting);
        let sent = sent_over(&scene, &line, &host);
        assert!(!sent.screen.contains("panicked") && sent.code != Some(1), "{sent}");
        assert_exact_or_nothing(&scene, &content, &format!("a cut at {at} of connection {connection}, up: {up}"));
    }
    sent_over(&scene, &Line::before(host.address(), |piece, to| on(&piece, to)), &host).with(0);
    let ended = host.stopped();
    assert!(!ended.screen.contains("panicked") && ended.code != Some(1), "{ended}");
}

#[test]
fn d02_a_phone_that_is_cut_anywhere_stores_the_whole_file_or_nothing() {
    let (scene, content) = (Scene::new(), disk::noise(1, 300));
    let host = scene.receive().arg("--yes=private").listening();
    let (line, heard) = listening_in(&host);
    Phone::claim_via(&host.http_link(), line.address).expect("it is honest").send(NAME, &content);
    let requests: Vec<Vec<u8>> = heard.lock().unwrap().iter().map(|both| both[0].clone()).collect();
    assert_exact_or_nothing(&scene, &content, "an honest upload");
    for request in &requests {
        for cut in (0..request.len()).step_by(7) {
            connect(host.address()).write_all(&request[..cut]).expect("it reads");
        }
    }
    assert_eq!(arrived(&scene), [""; 0], "no request counts twice, or in part");
    let mut phone = Phone::claim(&host.http_link()).expect("it is still served");
    let (transfer, _) = phone.offer(serde_json::json!([{ "path": NAME, "bytes": content.len() }]));
    for cut in [1, 100, 300, 400, 500] {
        let (_, request) = phone.signed("PUT", &format!("/api/data/{transfer}/0/0"), &content);
        let mut stream = connect(host.address());
        stream.write_all(&request[..cut]).expect("it reads");
        // Which of two requests for a file is the later one is the host's to say.
        finish(stream);
    }
    let (status, answer) = phone.put(&transfer, 0, 0, &content);
    assert_eq!(status, 200, "{answer}");
    assert_exact_or_nothing(&scene, &content, "cuts of its upload");
    let ended = host.stopped();
    assert_eq!(ended.named("stored").len(), 2, "{ended}");
}

#[test]
fn d03_one_byte_in_each_segment_arrives_from_a_sender_and_from_a_phone() {
    let (scene, content) = (Scene::new(), disk::noise(2, 3_000));
    scene.thing(NAME, &content);
    let mut host = scene.receive().arg("--yes=private").listening();
    let line = Line::before(host.address(), |piece, to| piece.bytes.iter().try_for_each(|byte| to.write_all(&[*byte])));
    sent_over(&scene, &line, &host).with(0);
    let mut phone = Phone::claim_via(&host.http_link(), line.address).expect("the link is good");
    assert_eq!(phone.send("from a phone.txt", &content), "from a phone.txt");
    assert_eq!(arrived(&scene), ["from a phone.txt", NAME]);
    assert_exact_or_nothing(&scene, &content, "single bytes");
    let of_the_phone = |event: &serde_json::Value| event["label"] == "private, not verified";
    host.program.event_where("its end", |event| event["event"] == "finished" && of_the_phone(event));
    host.stopped().with(0);
}

#[test]
fn r17_a_cut_around_the_last_words_sends_nothing_twice() {
    let scene = Scene::new();
    for n in 0..20 {
        scene.thing(&format!("tree/{n}"), &disk::noise(n, 200_000));
    }
    let tree = scene.path("things/tree");
    let outbox = Launch::new("send").arg(&tree).args(["--json", "--qr", "never", "--port", "0", "--interface", "lo"]);
    let outbox = outbox.args(["--hidden", "--keep", "--invite-file"]).arg(scene.path("invite of the outbox"));
    for (host, fetching) in [
        (scene.receive().arg("--yes").listening(), false),
        (outbox.state(&scene.path("outbox-state")).listening(), true),
    ] {
        let link = host.qrdrop_link();
        let run = |line: &Line| {
            let guest = match fetching {
                true => Launch::new("receive").arg(scene.inbox()).arg("--from").arg(line.link(&link)),
                false => Launch::new("send").arg(&tree).arg("--to").arg(line.link(&link)),
            };
            guest.args(["--json", "--retry", "20s"]).state(&scene.path(&format!("state {fetching}"))).run()
        };
        let clear = || fs::remove_dir_all(scene.inbox().join("tree")).expect("it has arrived");
        let (line, heard) = listening_in(&host);
        run(&line).with(0);
        clear();
        let [up, down] = heard.lock().unwrap()[0].each_ref().map(|bytes| bytes.len() as u64);
        for (cut_up, end) in [(true, up), (false, down)] {
            for before_the_end in [1, 40, 80, 160] {
                let at = end - before_the_end;
                let line = Line::before(host.address(), move |piece, to| {
                    let here = (piece.connection, piece.up) == (0, cut_up);
                    let Some(place) = piece.place_of(at).filter(|_| here) else { return on(&piece, to) };
                    to.write_all(&piece.bytes[..place])?;
                    Err(io::ErrorKind::ConnectionReset.into())
                });
                let mut ended = run(&line);
                if ended.named("accepted").is_empty() {
                    // So early that there is nothing to come back to; a person gives the command again.
                    ended = run(&line);
                }
                let ended = ended.with(0);
                let what =
                    format!("{before_the_end} bytes before the end, up: {cut_up}, fetching: {fetching}: {ended}");
                assert_eq!(arrived(&scene), ["tree"], "{what}");
                disk::assert_same(&tree, &scene.inbox().join("tree"));
                clear();
            }
        }
        host.program.interrupt();
        host.program.ended();
    }
}

#[test]
fn r18_a_byte_that_is_changed_anywhere_is_noticed() {
    let (scene, content) = (Scene::new(), disk::noise(3, 50_000));
    let source = scene.thing(NAME, &content);
    let host = scene.receive().arg("--yes").listening();
    // All at once: where a length was changed, an end waits for its deadline.
    let under_way: Vec<_> = places(&scene, &host, 7)
        .into_iter()
        .map(|(connection, up, at)| {
            let line = Line::before(host.address(), move |mut piece, to| {
                if let Some(place) = piece.place_of(at).filter(|_| (piece.connection, piece.up) == (connection, up)) {
                    piece.bytes[place] ^= 0x10;
                }
                on(&piece, to)
            });
            let sender = Launch::new("send").arg(&source).args(["--json", "--retry", "0s", "--to"]);
            let state = scene.path(&format!("state {connection} {up} {at}"));
            let sender = sender.arg(line.link(&host.qrdrop_link())).state(&state).start();
            (sender, format!("byte {at} of connection {connection} changed, up: {up}"))
        })
        .collect();
    for (sender, what) in under_way {
        let sent = sender.ended();
        assert!(!sent.screen.contains("panicked") && sent.code != Some(1), "{what}: {sent}");
        assert!(sent.code != Some(0) || sent.named("stored").len() == 1, "{what}: {sent}");
    }
    assert_exact_or_nothing(&scene, &content, "bytes that were changed");
    let ended = host.stopped();
    assert!(!ended.screen.contains("panicked") && ended.code != Some(1), "{ended}");
}

#[test]
fn e20_what_passes_between_two_holds_no_name_no_content_and_no_secret() {
    let scene = Scene::new();
    scene.thing(NAME, &b"the plan is this. ".repeat(20_000));
    let host = scene.receive().args(["--yes", "--name", "the-name-of-this-host"]).listening();
    let (line, heard) = listening_in(&host);
    let link = host.qrdrop_link();
    sent_over(&scene, &line, &host).with(0);
    let heard = heard.lock().unwrap().concat().concat();
    assert!(heard.len() > 1_000, "something has passed");
    let (_, secret) = link.split_once("/#1").expect("a link");
    let token = &data_encoding::BASE64URL_NOPAD.decode(secret.as_bytes()).expect("base64url")[..16];
    for what in [NAME.as_bytes(), b"the plan is", b"the-name-of-this-host", secret.as_bytes(), token] {
        assert!(!heard.windows(what.len()).any(|window| window == what), "{:?}", String::from_utf8_lossy(what));
    }
    host.stopped().with(0);
}

#[test]
fn r19_a_link_that_is_far_away_and_stutters_carries_a_file() {
    let (scene, content) = (Scene::new(), disk::noise(4, 100_000));
    scene.thing(NAME, &content);
    let host = scene.receive().arg("--yes").listening();
    let line = Line::before(host.address(), |piece, to| {
        let stutters = piece.connection == 1 && piece.at == 0;
        thread::sleep(Duration::from_millis(if stutters { 1_500 } else { 120 }));
        on(&piece, to)
    });
    let sent = sent_over(&scene, &line, &host).with(0);
    assert!(sent.named("retry").is_empty(), "it is slow and not cut: {sent}");
    assert_exact_or_nothing(&scene, &content, "a slow link");
    host.stopped().with(0);
}

/// A sender of `things/NAME` that takes its time, once it is under way.
fn under_way(scene: &Scene, name: &str, link: &str) -> Program {
    let source = scene.path("things").join(name);
    let state = scene.path(&format!("state of {name}"));
    let mut sender = Launch::new("send")
        .arg(source)
        .args(["--json", "--to", link, "--limit", "4MB", "--compress", "never"])
        .state(&state)
        .start();
    sender.event_where("progress", |event| event["event"] == "progress" && event["bytes"].as_u64() > Some(0));
    sender
}

fn same_as_sent(scene: &Scene, name: &str) -> bool {
    disk::hash(&scene.inbox().join(name)) == disk::hash(&scene.path("things").join(name))
}

#[test]
fn h08_senders_that_stand_still_or_drip_hold_nobody_up_and_go_on() {
    let scene = Scene::new();
    for n in 0..3 {
        scene.thing(&format!("stopped {n}"), &disk::noise(n, 4 * MIB));
    }
    scene.thing("dripping", &disk::noise(8, 4 * MIB));
    scene.thing(NAME, &disk::noise(9, 4 * MIB));
    let host = scene.receive().arg("--yes").listening();
    let link = host.qrdrop_link();
    let stopped: Vec<_> = (0..3).map(|n| under_way(&scene, &format!("stopped {n}"), &link)).collect();
    stopped.iter().for_each(|sender| sender.signal(Signal::STOP));
    // A byte a second on the lane, from some moment on.
    let line = Line::before(host.address(), |piece, to| {
        if piece.connection == 0 || !piece.up || piece.at < MIB as u64 {
            return on(&piece, to);
        }
        piece.bytes.iter().try_for_each(|byte| {
            thread::sleep(Duration::from_secs(1));
            to.write_all(&[*byte])
        })
    });
    let dripping = under_way(&scene, "dripping", &line.link(&link));
    let began = Instant::now();
    let source = scene.path("things").join(NAME);
    scene.send(&source).args(["--to", &link]).run().with(0);
    assert!(began.elapsed() < Duration::from_secs(5), "another one waits {:?}", began.elapsed());
    stopped.iter().for_each(|sender| sender.signal(Signal::CONT));
    for sender in stopped {
        sender.ended().with(0);
    }
    drop(dripping);
    for name in ["stopped 0", "stopped 1", "stopped 2", NAME] {
        assert!(same_as_sent(&scene, name), "{name}");
    }
    assert!(!scene.inbox().join("dripping").exists());
    host.stopped();
}

#[test]
fn r20_a_receiver_that_stood_still_for_a_while_goes_on() {
    let scene = Scene::new();
    scene.thing(NAME, &disk::noise(5, 4 * MIB));
    let host = scene.receive().arg("--yes").listening();
    let sender = under_way(&scene, NAME, &host.qrdrop_link());
    host.program.signal(Signal::STOP);
    thread::sleep(Duration::from_secs(2));
    host.program.signal(Signal::CONT);
    sender.ended().with(0);
    assert!(same_as_sent(&scene, NAME));
    host.stopped().with(0);
}

/// What goes wrong, and how it is made so; gives the connection back if there may be more to hear on it.
type Answer = (&'static str, Box<dyn FnOnce(TcpStream) -> Option<TcpStream> + Send>);

fn says(bytes: &'static [u8]) -> Box<dyn FnOnce(TcpStream) -> Option<TcpStream> + Send> {
    Box::new(move |mut stream| stream.write_all(bytes).is_ok().then_some(stream))
}

/// Takes the first connection at `listener`, lets it begin, and answers so; all that it says.
fn heard_at(listener: &TcpListener, answer: impl FnOnce(TcpStream) -> Option<TcpStream>) -> Vec<u8> {
    let (mut stream, _) = listener.accept().expect("the sender dials");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("reads can have a deadline");
    let mut heard = vec![0; 4_096];
    let count = stream.read(&mut heard).expect("it begins to speak");
    heard.truncate(count);
    if let Some(mut stream) = answer(stream) {
        let _ = stream.read_to_end(&mut heard);
    }
    heard
}

#[test]
fn e17_whatever_is_done_to_the_handshake_nothing_weaker_is_tried() {
    let scene = Scene::new();
    let source = scene.thing(NAME, b"the plan");
    let host = scene.receive().args(["--yes", "--classic", "accept"]).listening();
    let link = host.qrdrop_link();
    let reset = |stream: TcpStream| {
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("it can be reset");
        None
    };
    let answers: [Answer; 5] = [
        ("a reset", Box::new(reset)),
        ("an end", Box::new(|_| None)),
        ("plain HTTP", says(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")),
        ("a fatal alert", says(b"\x15\x03\x03\x00\x02\x02\x28")),
        ("the words of a classic receiver", says(b"ok<SEPARATOR>0")),
    ];
    for (what, answer) in answers {
        let impostor = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = impostor.local_addr().expect("it is bound").to_string();
        let to = link.replacen(&host.address().to_string(), &address, 1);
        let sender = scene.send(&source).args(["--to", &to]).start();
        let heard = heard_at(&impostor, answer);
        let sent = sender.ended();
        assert!(matches!(sent.code, Some(4..=6)), "{what}: {sent}");
        assert!(!text(&sent.one("failed"), "message").is_empty() && sent.named("retry").is_empty(), "{sent}");
        assert!(heard.starts_with(&[0x16, 3]), "{what}: only TLS is spoken");
        assert!(!String::from_utf8_lossy(&heard).contains(NAME), "{what}: no name leaves");
        impostor.set_nonblocking(true).expect("a listener can be asked");
        assert!(impostor.accept().is_err(), "after {what} there is no second try");
    }
    assert!(disk::names(&scene.inbox()).is_empty());
    host.stopped();
}

#[test]
fn e17_a_protocol_that_is_taken_out_of_the_handshake_ends_it() {
    let scene = Scene::new();
    let source = scene.thing(NAME, b"the plan");
    let host = scene.receive().arg("--yes").listening();
    let found = Arc::new(Mutex::new(0));
    let counting = Arc::clone(&found);
    let stripping = move |mut piece: Piece, to: &mut TcpStream| {
        let alpn = piece.bytes.windows(8).position(|window| window == b"qrdrop/1");
        if let Some(at) = alpn.filter(|_| piece.up && piece.at == 0) {
            piece.bytes[at..at + 8].copy_from_slice(b"http/1.1");
            *counting.lock().unwrap() += 1;
        }
        on(&piece, to)
    };
    let line = Line::before(host.address(), stripping);
    let sent = scene.send(&source).args(["--to", &line.link(&host.qrdrop_link())]).run();
    assert!(matches!(sent.code, Some(4 | 6)), "{sent}");
    assert_eq!(*found.lock().unwrap(), 1, "there is one try, and it is the one that was tampered with");
    let received = host.stopped();
    assert!(received.named("offer").is_empty() && disk::names(&scene.inbox()).is_empty(), "{received}");
}

#[test]
fn b07_state_and_receive_folder_may_be_on_different_file_systems() {
    use std::os::unix::fs::MetadataExt;

    let scene = Scene::new();
    let Ok(other) = tempfile::TempDir::with_prefix_in("qrdrop-test-", "/dev/shm") else {
        skip("there is no /dev/shm");
        return;
    };
    let device = |path: &Path| path.metadata().expect("it is there").dev();
    if device(other.path()) == device(&scene.inbox()) {
        skip("/dev/shm and the temporary folder are one file system");
        return;
    }
    scene.thing(NAME, &disk::noise(6, 3 * MIB));
    let launch = Launch::new("receive").arg(scene.inbox()).arg("--invite-file").arg(scene.invite());
    let launch = launch.args(["--json", "--qr", "never", "--port", "0", "--interface", "lo", "--hidden", "--yes"]);
    let host = launch.state(&other.path().join("state")).listening();
    let sender = scene.path("things").join(NAME);
    let send = |folder: &Path| {
        let launch = Launch::new("send").arg(&sender).args(["--json", "--to", &host.qrdrop_link()]);
        launch.state(&folder.join("state of the sender")).run().with(0)
    };
    send(other.path());
    assert!(same_as_sent(&scene, NAME));
    host.stopped().with(0);
}
