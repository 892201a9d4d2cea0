//! The control connection alone, over pipes in memory and in paused time.

use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::time::Instant;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::pairing::{Identity, tls};
use crate::session::conn::{Conn, SILENCE};
use crate::session::error::SessionError;
use crate::wire::{
    Entry, EntryKind, Finished, HEADER_LEN, Header, Kind, Message, PAGE_CAP, Page, Ping, Refuse, RefuseCode, frame,
};

fn page(entries: u32) -> Page {
    let entry =
        |id| Entry { kind: EntryKind::File, path: format!("file {id}"), size: Some(1), holes: 0, modified: None };
    Page { first: 0, entries: (0..entries).map(entry).collect() }
}

#[tokio::test]
async fn frames_pass_whole_through_pipes_of_any_size() {
    for capacity in [1, 8, 64 * 1024] {
        let (ours, theirs) = duplex(capacity);
        let (mut ours, mut theirs) = (Conn::new(ours), Conn::new(theirs));
        let sent = page(if capacity == 1 { 20 } else { 3_000 });
        let say = async {
            ours.send(&Ping).await.unwrap();
            ours.send(&sent).await.unwrap();
            ours.send(&Ping).await.unwrap();
            ours.send(&Finished { files: 1, bytes: 2 }).await.unwrap();
        };
        let hear = async {
            assert_eq!(theirs.expect::<Page>().await.unwrap(), sent);
            assert_eq!(theirs.expect::<Finished>().await.unwrap(), Finished { files: 1, bytes: 2 });
        };
        tokio::join!(say, hear);
    }
}

#[tokio::test]
async fn a_frame_without_a_place_is_refused_by_its_header_alone() {
    let (mut raw, ours) = duplex(64);
    raw.write_all(&Header { kind: Kind::Page, len: PAGE_CAP }.bytes()).await.unwrap();
    let refused = Conn::new(ours).recv(|kind| kind == Kind::Open).await;
    assert!(matches!(refused, Err(SessionError::Broke(_))), "{refused:?}");
}

#[tokio::test]
async fn an_unknown_kind_or_a_length_over_its_cap_is_refused_by_its_header_alone() {
    for header in [[0xee, 0, 0, 0], [Kind::Open as u8, 0xff, 0xff, 0xff]] {
        let (mut raw, ours) = duplex(64);
        raw.write_all(&header).await.unwrap();
        assert!(matches!(Conn::new(ours).recv(|_| true).await, Err(SessionError::Broke(_))));
    }
}

#[tokio::test]
async fn a_refusal_is_heard_in_every_phase() {
    let (ours, theirs) = duplex(4096);
    let refuse = Refuse { code: RefuseCode::Busy, versions: vec![1], text: "later".into() };
    Conn::new(theirs).send(&refuse).await.unwrap();
    let heard = Conn::new(ours).recv(|_| false).await;
    assert!(matches!(heard, Err(SessionError::Refused(heard)) if heard == refuse));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_says_nothing_is_given_up_and_one_that_pings_is_not() {
    let (ours, theirs) = duplex(64);
    let (mut ours, mut theirs) = (Conn::new(ours), Conn::new(theirs));
    let start = Instant::now();
    let pings = async {
        for _ in 0..20 {
            tokio::time::sleep(SILENCE / 2).await;
            theirs.send(&Ping).await.unwrap();
        }
    };
    let (heard, ()) = tokio::join!(ours.recv(|_| false), pings);
    assert!(matches!(heard, Err(SessionError::Silent)));
    assert_eq!(start.elapsed().as_secs(), (10 * SILENCE + SILENCE).as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_page_that_takes_minutes_is_no_silence() {
    let (ours, mut theirs) = duplex(4096);
    let sent = page(100_000);
    let bytes = frame(&sent).len();
    let mut ours = Conn::new(ours);
    let slow = async {
        let (mut left, mut buffer) = (bytes, vec![0; 8 * 1024]);
        while left > 0 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            left -= tokio::io::AsyncReadExt::read(&mut theirs, &mut buffer).await.unwrap();
        }
    };
    let start = Instant::now();
    let (sent, ()) = tokio::join!(ours.send(&sent), slow);
    sent.unwrap();
    assert!(start.elapsed() > 2 * SILENCE);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_stops_reading_is_given_up() {
    let (ours, _theirs) = duplex(16);
    let stuck = Conn::new(ours).send(&page(1_000)).await;
    assert!(matches!(stuck, Err(SessionError::Silent)));
}

#[tokio::test(start_paused = true)]
async fn a_side_that_works_for_long_is_heard_of() {
    let (ours, theirs) = duplex(4096);
    let (mut ours, mut theirs) = (Conn::new(ours), Conn::new(theirs));
    let work = async {
        ours.alive_during(tokio::time::sleep(5 * SILENCE)).await.unwrap();
        ours.send(&Finished { files: 0, bytes: 0 }).await.unwrap();
    };
    let (heard, ()) = tokio::join!(theirs.expect::<Finished>(), work);
    heard.unwrap();
}

#[tokio::test]
async fn a_flood_of_pings_is_read_in_linear_time() {
    let (ours, mut theirs) = duplex(1 << 20);
    let flood = [frame(&page(30_000)), frame(&Ping).repeat(200_000), frame(&Finished { files: 0, bytes: 0 })].concat();
    let say = async { theirs.write_all(&flood).await.unwrap() };
    let mut ours = Conn::new(ours);
    let hear = async {
        ours.expect::<Page>().await.unwrap();
        ours.expect::<Finished>().await.unwrap();
    };
    let start = std::time::Instant::now();
    tokio::join!(say, hear);
    // Quadratic reading took minutes.
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn a_ping_with_a_payload_is_refused() {
    let (mut raw, ours) = duplex(64);
    raw.write_all(&[Header { kind: Ping::KIND, len: 1 }.bytes().as_slice(), b"x"].concat()).await.unwrap();
    assert_eq!(HEADER_LEN, 4);
    assert!(matches!(Conn::new(ours).recv(|_| true).await, Err(SessionError::Broke(_))));
}

#[tokio::test]
async fn a_broken_record_after_our_own_end_is_not_looked_at() {
    let [host, guest] = [(); 2].map(|()| Identity::fresh(&[]).unwrap());
    let acceptor = TlsAcceptor::from(tls::native_server_config(&host));
    let connector = TlsConnector::from(tls::client_config(&guest, tls::Pin::Unknown));
    let (a, b) = duplex(64 * 1024);
    let name = ServerName::IpAddress(std::net::IpAddr::from([127, 0, 0, 1]).into());
    let (accepted, connected) = tokio::join!(acceptor.accept(a), connector.connect(name, b));
    let (mut raw, _) = accepted.unwrap().into_inner();
    let peer = async move {
        assert!(raw.read(&mut [0; 1024]).await.unwrap() > 0, "our end has come");
        raw.write_all(b"what follows our end is in the clear").await.unwrap();
    };
    tokio::join!(Conn::new(connected.unwrap()).close(), peer);
}
