//! One-time upload paths, through the library: what curl puts is stored once, and says what it is.

mod common;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use qrdrop::events::{Answer, Board, BoxFuture, Event, NoReason, Question, Reporter};
use qrdrop::net::accept;
use qrdrop::net::gate::Gate;
use qrdrop::net::listen::{PortChoice, bind};
use qrdrop::pairing::Identity;
use qrdrop::session::{Classic, Devices, Host, Inbox, InboxRules, Level, Memory};
use qrdrop::store::{Folder, IfExists};
use qrdrop::web::{Share, Web};
use qrdrop::wire::Role;
use tempfile::TempDir;
use tokio::sync::mpsc;

use common::around::{SLOW_DISK, connect, have, say};
use common::sealed::{ask, read_response, request};
use common::{Scene, disk};

/// Remembers what it is told; nobody can be asked.
#[derive(Default)]
struct Told(Mutex<Vec<Event>>);

impl Reporter for Told {
    fn tell(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }

    fn show(&self, _: Board) {}

    fn hide(&self) {}

    fn ask(&self, _: Question) -> BoxFuture<'_, Answer> {
        Box::pin(std::future::ready(Answer::No(NoReason::NoTerminal)))
    }
}

/// An inbox with its web side, on a port of its own.
struct Hosting {
    runtime: tokio::runtime::Runtime,
    host: Arc<Host>,
    web: Arc<Web>,
    told: Arc<Told>,
    folder: TempDir,
    address: SocketAddr,
}

impl Hosting {
    fn new(yes: Option<Level>, https_only: bool) -> Hosting {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let inside = runtime.enter();
        let folder = TempDir::with_prefix("qrdrop-test-").unwrap();
        let here = Ipv4Addr::LOCALHOST.into();
        let (told, identity) = (Arc::<Told>::default(), Identity::fresh(&[here]).unwrap());
        let devices = Devices::open(Some(folder.path().join("none")), false).unwrap();
        let (host, _) = Host::new(identity, devices, "test".to_owned(), Role::Inbox, None, false, told.clone());
        let rules = InboxRules {
            yes,
            if_exists: IfExists::Rename,
            max_size: Some(1 << 20),
            classic: Classic::Off,
            outlet: None,
        };
        let inbox =
            Inbox::new(Arc::clone(&host), Folder::open(folder.path()).unwrap(), rules, Memory::open(None).unwrap());
        let web = Web::new(Share::Inbox(Arc::clone(&inbox)), https_only);
        let bound = bind(PortChoice::Exactly(0), Some(&[here])).unwrap();
        let (arrivals, mut arrived) = mpsc::channel(64);
        let address = SocketAddr::new(here, bound.port());
        let door = accept::accept(bound.listen().unwrap(), Gate::new(), false, arrivals, |_| {});
        runtime.spawn(door);
        let serving = Arc::clone(&web);
        runtime.spawn(async move {
            while let Some(arrival) = arrived.recv().await {
                let (inbox, web) = (Arc::clone(&inbox), Arc::clone(&serving));
                tokio::spawn(async move {
                    if let Some(visitor) = inbox.serve(arrival).await {
                        web.serve(visitor).await;
                    }
                });
            }
        });
        drop(inside);
        Hosting { runtime, host, web, told, folder, address }
    }

    /// A fresh `/put/CAPABILITY/`.
    fn path(&self) -> String {
        let commands = self.web.curl_commands(self.address);
        assert_eq!(commands.len(), 1, "an inbox has one way in");
        let (_, path) = commands[0].split_once(&self.address.to_string()).expect("the command names the address");
        path.to_owned()
    }

    fn put(&self, target: &str, content: &[u8]) -> (u16, String) {
        let answer = ask(self.address, "PUT", target, "", content);
        (answer.status, String::from_utf8(answer.body).unwrap())
    }

    fn names(&self) -> Vec<String> {
        disk::names(self.folder.path())
    }

    /// Everything told, once all connections are over.
    fn left(self) -> Vec<Event> {
        self.runtime.block_on(self.host.leave());
        self.told.0.lock().unwrap().clone()
    }
}

#[test]
fn what_curl_puts_is_stored_once_and_labelled_open() {
    let hosting = Hosting::new(Some(Level::Open), false);
    let path = hosting.path();
    let content = disk::noise(1, 700_000);
    let (status, said) = hosting.put(&format!("{}caf%C3%A9%20(1).bin", path), &content);
    assert_eq!(status, 201, "{said}");
    assert!(said.contains(blake3::hash(&content).to_hex().as_str()), "{said}");
    assert_eq!(hosting.put(&format!("{}again", path), b"x").0, 404, "one file");
    assert_eq!(hosting.names(), ["café (1).bin"]);
    let events = hosting.left();
    assert!(events.iter().any(|event| matches!(event, Event::Finished { label, .. } if label.words() == "open")));
}

#[test]
fn a_name_in_a_path_can_lead_nowhere_else() {
    let hosting = Hosting::new(Some(Level::Open), false);
    for (name, stored) in [("..%2f..%2fx", "x"), ("%2fetc%2fpasswd", "passwd"), (".bashrc", "_.bashrc"), ("%00", "_")] {
        let (status, said) = hosting.put(&format!("{}{name}", hosting.path()), b"x");
        assert!(status == 201 && said.contains(&format!("`{stored}`")), "{name}: {status} {said}");
    }
}

#[test]
fn without_a_yes_nothing_is_taken_and_the_path_stays_good() {
    let hosting = Hosting::new(Some(Level::Private), false);
    let target = format!("{}x", hosting.path());
    for _ in 0..2 {
        assert_eq!(hosting.put(&target, b"x").0, 403, "open is below private");
    }
    assert!(hosting.names().is_empty());
}

#[test]
fn what_is_too_large_cut_or_without_a_length_is_not_stored() {
    let hosting = Hosting::new(Some(Level::Open), false);
    let target = format!("{}x", hosting.path());
    assert_eq!(hosting.put(&target, &vec![0; (1 << 20) + 1]).0, 403);
    let send = |fields: &str, body: &[u8]| {
        let mut stream = connect(hosting.address);
        let head = format!("PUT {target} HTTP/1.1\r\nHost: {}\r\n{fields}\r\n", hosting.address);
        stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        read_response(&mut stream).map(|answer| answer.status)
    };
    assert_eq!(send("", b""), Some(411));
    assert_eq!(send("Transfer-Encoding: chunked\r\n", b"1\r\nx\r\n0\r\n\r\n"), Some(400));
    assert_ne!(send("Content-Length: 1000\r\n", b"half"), Some(201));
    assert!(hosting.names().is_empty());
    let mut stream: TcpStream = connect(hosting.address);
    let head = format!("PUT {target} HTTP/1.1\r\nHost: {}\r\nContent-Length: 1\r\n", hosting.address);
    stream.write_all(format!("{head}Expect: 100-continue\r\n\r\n").as_bytes()).unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n", "the path is good for another try");
    stream.write_all(b"x").unwrap();
    assert_eq!(read_response(&mut stream).map(|answer| answer.status), Some(201));
    let failed = hosting.left().into_iter().filter(|event| matches!(event, Event::Failed { .. })).count();
    assert_eq!(failed, 1, "the one that was cut");
}

#[test]
fn a_receiver_that_leaves_while_it_puts_what_curl_sent_in_place_tells_of_it_and_leaves_nothing_behind() {
    if !have(&["strace"]) {
        return;
    }
    let scene = Scene::new();
    let mut host = scene.receive().args(["--yes=open", "--curl"]).behind(SLOW_DISK).listening();
    let target = host.curl_path() + "a.txt";
    let mut curl = connect(host.address());
    say(&mut curl, &[&request(host.address(), "PUT", &target, "", b"hello")]);
    host.program.event_where("all of it", |event| event["event"] == "progress" && event["bytes"] == 5);
    let ended = host.stopped().with(130);
    assert_eq!(
        (ended.one("stored")["name"].as_str(), ended.one("finished")["bytes"].as_u64()),
        (Some("a.txt"), Some(5))
    );
    assert_eq!(disk::names(&scene.inbox()), ["a.txt"]);
}

#[test]
fn with_https_only_whoever_comes_in_the_clear_is_sent_away() {
    let hosting = Hosting::new(Some(Level::Open), true);
    for (method, target) in [("GET", "/"), ("POST", "/claim"), ("PUT", &format!("{}x", hosting.path()))] {
        let answer = ask(hosting.address, method, target, "", b"{}");
        assert_eq!(answer.status, 403, "{target}");
        assert!(answer.header("location").is_none(), "a redirect would carry the secret on");
    }
    assert!(hosting.names().is_empty());
}

#[test]
fn the_real_curl_gets_its_file_across() {
    if !have(&["curl"]) {
        return;
    }
    let hosting = Hosting::new(Some(Level::Open), false);
    let (source, content) = (TempDir::with_prefix("qrdrop-test-").unwrap(), disk::noise(3, 1_000_000));
    let file = disk::write(&source.path().join("photo.bin"), &content);
    let url = format!("http://{}{}", hosting.address, hosting.path());
    let curl = std::process::Command::new("curl").args(["-sS", "--fail", "-T"]).arg(&file).arg(&url).output().unwrap();
    assert!(curl.status.success(), "{}", String::from_utf8_lossy(&curl.stderr));
    let stored = disk::hash(&hosting.folder.path().join("photo.bin"));
    assert_eq!(stored, blake3::hash(&content).to_hex().as_str());
}
