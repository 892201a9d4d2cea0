//! A sender that has paired, or not, against a real inbox.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::recorder::Scripted;
use super::*;
use crate::events::Event;
use crate::pairing::tls::{self, Pin};
use crate::session::conn::Conn;
use crate::session::error::SessionError;
use crate::session::proving::open_lane;
use crate::session::returning::{awaited, key_id};
use crate::transfer::LaneError;
use crate::wire::{
    Chunk, Codec, Entry, EntryKind, Go, Header, Hello, Kind, LANE_NUMBERS, LANES_CAP, Message, Method, Offer, OfferEnd,
    Open as Opening, Pack, Packed, Page, Ping, Proof, RefuseCode, Stored, StoredItem, VERSION, Verdicts, Withdraw,
    frame,
};

type Client = Conn<TlsStream<TcpStream>>;

/// A stranger inside TLS who has said nothing yet.
async fn stranger(address: SocketAddr) -> Client {
    let identity = Identity::fresh(&[]).unwrap();
    let socket = TcpStream::connect(address).await.unwrap();
    let connector = TlsConnector::from(tls::client_config(&identity, Pin::Unknown));
    Conn::new(connector.connect(address.ip().into(), socket).await.unwrap())
}

/// What the other end says instead of going on.
async fn refusal(conn: &mut Client) -> RefuseCode {
    match conn.recv(|_| true).await {
        Err(SessionError::Refused(refuse)) => refuse.code,
        other => panic!("{other:?}"),
    }
}

fn file(path: &str, size: u64) -> Entry {
    Entry { kind: EntryKind::File, path: path.to_owned(), size: Some(size), holes: 0, modified: None }
}

fn offer(entries: &[Entry]) -> (Offer, Page, OfferEnd) {
    let page = Page { first: 0, entries: entries.to_vec() };
    let mut payload = Vec::new();
    page.encode(&mut payload);
    let bytes = entries.iter().try_fold(0u64, |sum, entry| sum.checked_add(entry.size?));
    let offer = Offer { transfer: [7; 16], resume_hash: [0; 32], entries: entries.len() as u32, bytes };
    (offer, page, OfferEnd { digest: *blake3::hash(&payload).as_bytes() })
}

async fn offered(conn: &mut Client, entries: &[Entry]) {
    let (offer, page, end) = offer(entries);
    conn.send(&offer).await.unwrap();
    conn.send(&page).await.unwrap();
    conn.send(&end).await.unwrap();
}

/// An accepted guest.
async fn accepted(open: &Open, entries: &[Entry]) -> (Visit, Go) {
    let mut visit = open.guest().await;
    offered(&mut visit.paired.conn, entries).await;
    visit.paired.conn.expect::<Verdicts>().await.unwrap();
    let go = visit.paired.conn.expect().await.unwrap();
    (visit, go)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_refused_whatever_comes_first() {
    let mut open = open(rules(), &Recorder::answering([]));
    for (says, code) in [
        (frame(&Opening { versions: vec![999], method: Method::Code }), RefuseCode::Version),
        (frame(&Opening { versions: vec![0], method: Method::Device }), RefuseCode::Version),
        (frame(&Opening { versions: vec![1], method: Method::Device }), RefuseCode::Pairing),
        (frame(&Opening { versions: vec![1], method: Method::Invite { proof: [0; 32] } }), RefuseCode::Pairing),
        (
            frame(&Opening { versions: vec![1], method: Method::Resume { key_id: [0; 16], proof: [0; 32] } }),
            RefuseCode::Pairing,
        ),
        (
            frame(&Opening { versions: vec![1], method: Method::Lane { session: [0; 16], lane: 0, proof: [0; 32] } }),
            RefuseCode::Pairing,
        ),
        (vec![0x01, 0, 0, 4, 1, 0, 1, 99], RefuseCode::Malformed),
        (
            frame(&Hello { version: 1, role: Role::Sends, features: 0, name: "x".into(), software: "x".into() }),
            RefuseCode::Malformed,
        ),
        (frame(&offer(&[file("a", 1)]).0), RefuseCode::Malformed),
        // Four megabytes are claimed, and refused before the first of them.
        (vec![Kind::Page as u8, 0x40, 0, 0], RefuseCode::Malformed),
        (vec![0xee, 0, 0, 0], RefuseCode::Malformed),
    ] {
        let mut stream = stranger(open.address).await.into_stream().unwrap();
        stream.write_all(&says).await.unwrap();
        assert_eq!(refusal(&mut Conn::new(stream)).await, code, "{says:?}");
    }
    assert!(open.endings.try_recv().is_err());
    open.still_works().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_frame_out_of_its_phase_is_refused() {
    let mut open = open(rules(), &Recorder::answering([]));
    let (begin, page, end) = offer(&[file("a", 1)]);
    let stored = Stored { items: vec![StoredItem { id: 0, bytes: 1, hash: [0; 32], name: String::new() }] };
    let (begin, page, end, stored) = (frame(&begin), frame(&page), frame(&end), frame(&stored));
    for says in [
        page.clone(),
        end.clone(),
        stored.clone(),
        frame(&Proof([0; 32])),
        [begin.clone(), begin.clone()].concat(),
        [begin.clone(), end.clone()].concat(),
        [begin.clone(), page.clone(), page.clone()].concat(),
        [begin.clone(), page.clone(), frame(&OfferEnd { digest: [0; 32] })].concat(),
        [begin.clone(), page.clone(), end.clone(), end.clone()].concat(),
        [begin.clone(), page.clone(), end.clone(), page.clone()].concat(),
        [begin, page, end, stored].concat(),
    ] {
        let mut stream = open.guest().await.paired.conn.into_stream().unwrap();
        stream.write_all(&says).await.unwrap();
        let mut conn = Conn::new(stream);
        let code = loop {
            match conn.recv(|_| true).await {
                Ok(frame) => assert!(matches!(frame.kind, Kind::Verdicts | Kind::Go)),
                Err(SessionError::Refused(refuse)) => break refuse.code,
                Err(other) => panic!("{other:?} after {says:?}"),
            }
        };
        assert_eq!(code, RefuseCode::Malformed, "{says:?}");
    }
    assert_eq!((open.names().len(), open.inbox.host.under_way()), (0, 0));
    open.still_works().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_could_leave_the_folder_refuses_the_whole_offer() {
    let theirs = Recorder::answering([]);
    let mut open = open(rules(), &theirs);
    for name in ["../x", "a/../../x", "/etc/x", "..\\x", "", "\u{1b}[2J/../x"] {
        let mut visit = open.guest().await;
        offered(&mut visit.paired.conn, &[file("good", 1), file(name, 1)]).await;
        assert_eq!(refusal(&mut visit.paired.conn).await, RefuseCode::Name, "{name:?}");
    }
    let reasons = theirs.told_times(6, |event| match event {
        Event::Refused { reason, .. } => Some(reason.clone()),
        _ => None,
    });
    assert!(reasons.await.iter().all(|reason| !reason.contains('\u{1b}')));
    assert_eq!(open.names(), Vec::<String>::new());
    open.still_works().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sizes_that_no_disk_has_are_refused() {
    let mut open = open(InboxRules { max_size: None, ..rules() }, &Recorder::answering([]));
    for (entries, code) in [
        (vec![file("a", 10u64.pow(18))], RefuseCode::DiskFull),
        (vec![file("a", u64::MAX - 1)], RefuseCode::DiskFull),
        (vec![file("a", 1 << 63), file("b", 1 << 63)], RefuseCode::Malformed),
    ] {
        let mut visit = open.guest().await;
        offered(&mut visit.paired.conn, &entries).await;
        assert_eq!(refusal(&mut visit.paired.conn).await, code);
    }
    assert_eq!(open.names(), Vec::<String>::new());
    open.still_works().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_vanishes_while_the_question_stands_withdraws_it() {
    let theirs = Recorder::answering([Scripted::Nobody]);
    let mut open = open(InboxRules { yes: None, ..rules() }, &theirs);
    let mut visit = open.guest().await;
    offered(&mut visit.paired.conn, &[file("a", 1)]).await;
    theirs.questions_open(1).await;
    drop(visit);
    theirs.questions_open(0).await;
    assert!(open.endings.try_recv().is_err(), "nothing was accepted");
    assert_eq!(open.names(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn lanes_are_let_in_by_the_sessions_secret_key_and_number_alone() {
    let mut open = open(rules(), &Recorder::answering([]));
    let (visit, go) = accepted(&open, &[file("a", 2_000_000)]).await;
    let key = Identity::fresh(&[]).unwrap();
    let refused = |lane: Result<_, SessionError>| match lane.map(drop) {
        Err(SessionError::Refused(refuse)) => refuse.code,
        other => panic!("{other:?}"),
    };
    // Another key, though the secret is right.
    assert_eq!(refused(open_lane(&visit.lane_way(), &key, go.session, 0).await), RefuseCode::Pairing);
    // Another session's name.
    assert_eq!(refused(open_lane(&visit.lane_way(), &key, [0; 16], 0).await), RefuseCode::Pairing);
    // A number that no session has.
    assert_eq!(refused(open_lane(&visit.lane_way(), &key, go.session, LANE_NUMBERS).await), RefuseCode::Malformed);
    drop(visit);
    assert_eq!(open.ended().await, Err(ExitCode::Incomplete));
    open.still_works().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_that_comes_after_its_session_is_turned_away_and_nobody_is_bothered() {
    let theirs = Recorder::answering([]);
    let mut open = open(rules(), &theirs);
    let (visit, go, key) = accepted_with_key(&open, &[file("a", 1)]).await;
    let way = visit.lane_way();
    drop(visit);
    assert_eq!(open.ended().await, Err(ExitCode::Incomplete));
    let told = || theirs.events().iter().filter(|event| matches!(event, Event::Failed { .. })).count();
    assert_eq!(told(), 1, "the transfer itself");
    for _ in 0..3 {
        assert!(matches!(open_lane(&way, &key, go.session, 1).await, Err(SessionError::Refused(_))));
    }
    open.still_works().await;
    assert_eq!(told(), 1);
}

/// A guest whose key the test holds, so that it can open lanes.
async fn accepted_with_key(open: &Open, entries: &[Entry]) -> (Visit, Go, Identity) {
    let key = Identity::fresh(&[]).unwrap();
    let target = open.invited(LinkKind::Qrdrop);
    let mut visit = visit(&target, &key, Role::Sends, &Recorder::answering([])).await;
    offered(&mut visit.paired.conn, entries).await;
    visit.paired.conn.expect::<Verdicts>().await.unwrap();
    let go = visit.paired.conn.expect().await.unwrap();
    (visit, go, key)
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_lanes_may_come_each_number_once() {
    let open = open(rules(), &Recorder::answering([]));
    let (visit, go, key) = accepted_with_key(&open, &[file("a", 2_000_000)]).await;
    let mut lanes = Vec::new();
    for lane in 0..LANES_CAP {
        lanes.push(open_lane(&visit.lane_way(), &key, go.session, lane).await.unwrap());
    }
    for lane in [0, 3, LANES_CAP] {
        assert!(matches!(open_lane(&visit.lane_way(), &key, go.session, lane).await, Err(SessionError::Refused(_))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_gets_one_lane_each() {
    let open = open(rules(), &Recorder::answering([]));
    let mut places = Vec::new();
    let mut lanes_beside = |others: usize| {
        places.resize_with(others + 1, || open.inbox.host.take_place());
        open.inbox.host.lanes_each()
    };
    assert_eq!([0, 15, 16, 63, 300, 499].map(&mut lanes_beside), [16, 16, 15, 4, 1, 1]);
    let (visit, go, key) = accepted_with_key(&open, &[file("a", 2_000_000)]).await;
    assert_eq!(go.lanes, 1);
    let _lane = open_lane(&visit.lane_way(), &key, go.session, 0).await.unwrap();
    assert!(matches!(open_lane(&visit.lane_way(), &key, go.session, 1).await, Err(SessionError::Refused(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn misbehaving_on_a_lane_ends_the_whole_session_with_a_word() {
    let mut open = open(rules(), &Recorder::answering([]));
    for says in [
        frame(&Ping),
        frame(&Chunk { id: 9, offset: 0, len: 1, codec: Codec::Raw }),
        frame(&Withdraw { id: 9, reason: "x".into() }),
    ] {
        let (mut visit, go, key) = accepted_with_key(&open, &[file("a", 2_000_000)]).await;
        let mut lane = open_lane(&visit.lane_way(), &key, go.session, 0).await.unwrap();
        tokio::task::spawn_blocking(move || std::io::Write::write_all(&mut lane, &says).map(|()| lane))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(refusal(&mut visit.paired.conn).await, RefuseCode::Malformed);
        assert_eq!(open.ended().await, Err(ExitCode::Incomplete));
    }
    assert_eq!(open.names(), Vec::<String>::new());
    open.still_works().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_does_not_say_goodbye_may_come_back_to_what_is_stored() {
    let mut open = open(rules(), &Recorder::answering([]));
    let content = vec![7; 60_000];
    let entries: Vec<Entry> = (0..20).map(|number| file(&format!("{number}"), content.len() as u64)).collect();
    let (mut begin, page, end) = offer(&entries);
    let path = open.folder.path().to_owned();
    let waits = |hash: &[u8; 32]| awaited(&Folder::open(&path).unwrap(), &key_id(hash)).is_some();
    for (hash, says_goodbye) in [([3; 32], false), ([4; 32], true)] {
        begin.resume_hash = hash;
        let key = Identity::fresh(&[]).unwrap();
        let target = open.invited(LinkKind::Qrdrop);
        let mut visit = visit(&target, &key, Role::Sends, &Recorder::answering([])).await;
        let conn = &mut visit.paired.conn;
        conn.send(&begin).await.unwrap();
        conn.send(&page).await.unwrap();
        conn.send(&end).await.unwrap();
        conn.expect::<Verdicts>().await.unwrap();
        let go: Go = conn.expect().await.unwrap();
        let mut lane = open_lane(&visit.lane_way(), &key, go.session, 0).await.unwrap();
        let packs: Vec<u8> = (0..20).flat_map(|id| pack(id, &content)).collect();
        let brought = tokio::task::spawn_blocking(move || std::io::Write::write_all(&mut lane, &packs).map(|()| lane));
        let _lane = brought.await.unwrap().unwrap();
        let conn = &mut visit.paired.conn;
        while conn.recv(|_| true).await.unwrap().kind != Kind::Finished {}
        assert!(waits(&hash), "until the sender has heard it");
        if says_goodbye {
            conn.send(&crate::wire::Bye).await.unwrap();
        }
        drop(visit);
        assert_eq!(open.endings.recv().await.unwrap().result, Ok(()));
        assert_eq!(waits(&hash), !says_goodbye);
    }
}

/// A file by itself in a pack.
fn pack(id: u32, content: &[u8]) -> Vec<u8> {
    let files = vec![Packed { id, len: content.len() as u32, hash: *blake3::hash(content).as_bytes() }];
    let piece = Header { kind: Kind::Piece, len: content.len() };
    [frame(&Pack { codec: Codec::Raw, files }), piece.bytes().to_vec(), content.to_vec()].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawal_with_control_characters_is_inert_where_it_is_told() {
    let theirs = Recorder::answering([]);
    let mut open = open(rules(), &theirs);
    let (mut visit, go, key) = accepted_with_key(&open, &[file("a\u{202e}b", 2_000_000)]).await;
    let mut lane = open_lane(&visit.lane_way(), &key, go.session, 0).await.unwrap();
    let says = frame(&Withdraw { id: 0, reason: "\u{1b}[2J\nAccept? [Y/n]".into() });
    tokio::task::spawn_blocking(move || std::io::Write::write_all(&mut lane, &says).map(|()| lane))
        .await
        .unwrap()
        .unwrap();
    let conn = &mut visit.paired.conn;
    while conn.recv(|_| true).await.unwrap().kind != Kind::Finished {}
    conn.send(&crate::wire::Bye).await.unwrap();
    assert_eq!(open.ended().await, Err(ExitCode::Incomplete));
    let message = theirs.told(|event| match event {
        Event::Failed { failure, .. } => Some(failure.message.clone()),
        _ => None,
    });
    let message = message.await;
    assert!(!message.chars().any(|c| c.is_control() || c == '\u{202e}'), "{message:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_who_fail_by_the_hundred_are_told_of_a_few_times() {
    let theirs = Recorder::answering([]);
    let mut open = open(rules(), &theirs);
    for _ in 0..40 {
        let mut stream = stranger(open.address).await.into_stream().unwrap();
        stream.write_all(&[0xee, 0, 0, 0]).await.unwrap();
        refusal(&mut Conn::new(stream)).await;
    }
    open.still_works().await;
    let failed = theirs.story().into_iter().filter(|name| name == "failed").count();
    assert!((1..=20).contains(&failed), "{failed} times");
}

#[test]
fn a_lane_that_misbehaves_is_told_from_one_that_is_cut() {
    assert!(LaneError::NotAsked(1).is_misbehaviour());
    assert!(!LaneError::Cut(std::io::ErrorKind::ConnectionReset.into()).is_misbehaviour());
    assert_eq!(VERSION, 1);
}
