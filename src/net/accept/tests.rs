use std::sync::Mutex;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::super::listen::{PortChoice, bind};
use super::*;

struct Door {
    port: u16,
    arrivals: mpsc::Receiver<Arrival>,
    knocks: Arc<Mutex<Vec<Knock>>>,
    running: JoinHandle<()>,
}

fn open() -> Door {
    let only = [IpAddr::from([127, 0, 0, 1])];
    let listener = bind(PortChoice::Exactly(0), Some(&only)).unwrap().listen().unwrap();
    let port = listener.port();
    let (sender, arrivals) = mpsc::channel(1);
    let knocks = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&knocks);
    let running = tokio::spawn(accept(listener, Gate::new(), false, sender, move |k| heard.lock().unwrap().push(k)));
    Door { port, arrivals, knocks, running }
}

impl Door {
    async fn knock(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream
    }

    fn knocks(&self) -> Vec<Knock> {
        self.knocks.lock().unwrap().clone()
    }
}

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

#[tokio::test]
async fn each_dialect_arrives_with_its_first_bytes_still_there() {
    let mut door = open();
    for (bytes, dialect) in [
        (b"\x16\x03\x01rest".as_slice(), Dialect::Native),
        (b"GET / HTTP/1.1\r\n\r\n", Dialect::Web),
        (b"a.txt<SEPARATOR>2hi", Dialect::Classic { separator_at: 5 }),
    ] {
        let mut peer = door.knock(bytes).await;
        peer.write_all(b" and more").await.unwrap();
        peer.shutdown().await.unwrap();
        let mut arrival = door.arrivals.recv().await.unwrap();
        assert_eq!(arrival.dialect, dialect);
        assert_eq!(arrival.peer, peer.local_addr().unwrap());
        let mut all = Vec::new();
        arrival.stream.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, [bytes, b" and more"].concat());
        arrival.stream.write_all(b"answer").await.unwrap();
        let mut answer = [0; 6];
        peer.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"answer");
    }
}

#[tokio::test]
async fn the_ends_of_the_first_reads_are_remembered() {
    let (mut peer, accepted) = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (peer, listener.accept().await.unwrap().0)
    };
    peer.set_nodelay(true).unwrap();
    let mut stream = Prefixed::new(accepted);
    for part in ["a.txt", "<SEPARATOR>", "12"] {
        peer.write_all(part.as_bytes()).await.unwrap();
        stream.read_ahead().await.unwrap();
    }
    assert_eq!(stream.read_ends(), [5, 16, 18]);
    peer.write_all(&[b'x'; 8_192]).await.unwrap();
    while stream.prefix().len() < super::super::sniff::SNIFF_CAP {
        stream.read_ahead().await.unwrap();
    }
    let ends_at_cap = stream.read_ends().last() == Some(&super::super::sniff::SNIFF_CAP);
    assert!(!ends_at_cap, "a full buffer is no end of a segment");
    let mut first = [0; 4];
    stream.read_exact(&mut first).await.unwrap();
    let (rest, _) = stream.into_parts();
    assert_eq!(rest.len(), super::super::sniff::SNIFF_CAP - 4);
}

#[tokio::test(start_paused = true)]
async fn whoever_says_nothing_is_closed_after_five_seconds() {
    let door = open();
    let mut peer = door.knock(b"").await;
    let before = Instant::now();
    assert_eq!(peer.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(before.elapsed().as_secs(), 5);
    assert_eq!(door.knocks(), [Knock::Silent(HERE)]);
}

#[tokio::test]
async fn whoever_speaks_another_language_is_closed_at_once() {
    let door = open();
    let mut peer = door.knock(&[b'a'; 4_096]).await;
    assert_eq!(peer.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(door.knocks(), [Knock::Unintelligible(HERE)]);
}

#[tokio::test]
async fn whoever_stops_before_its_dialect_is_clear_is_unintelligible() {
    let door = open();
    let mut peer = door.knock(b"GET /").await;
    peer.shutdown().await.unwrap();
    assert_eq!(peer.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(door.knocks(), [Knock::Unintelligible(HERE)]);
}

#[tokio::test]
async fn a_thousand_silent_connections_keep_nobody_out() {
    raise_descriptor_limit();
    let mut door = open();
    let mut silent = Vec::new();
    for _ in 0..1_000 {
        silent.push(door.knock(b"").await);
    }
    let _peer = door.knock(b"\x16\x03").await;
    assert_eq!(door.arrivals.recv().await.unwrap().dialect, Dialect::Native);
}

#[tokio::test]
async fn a_burst_of_senders_from_one_address_all_arrive() {
    raise_descriptor_limit();
    let mut door = open();
    let mut senders = Vec::new();
    for _ in 0..500 {
        senders.push(door.knock(b"\x16\x03").await);
    }
    for _ in 0..500 {
        door.arrivals.recv().await.unwrap().pass.promote();
    }
}

#[tokio::test]
async fn the_door_closes_with_the_command() {
    let door = open();
    drop(door.arrivals);
    door.running.await.unwrap();
    assert!(TcpStream::connect(("127.0.0.1", door.port)).await.is_err());
}

#[test]
fn peers_from_outside_are_seen_as_such_without_asking_the_system_each_time() {
    let mut room = Room::new();
    assert!(room.holds(HERE));
    assert!(room.looked.is_none(), "a private peer needs no look");
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
        assert!(!room.holds([8, 8, 8, 8].into()));
        let looked = room.looked;
        assert!(!room.holds([8, 8, 4, 4].into()));
        assert_eq!(room.looked, looked);
    });
}

#[cfg(unix)]
#[test]
fn the_descriptor_limit_is_raised_to_what_is_allowed() {
    let limit = raise_descriptor_limit();
    assert_eq!(raise_descriptor_limit(), limit);
}
