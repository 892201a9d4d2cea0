//! The tutorial's dialect against a real inbox, and our classic sender (security.md D04 to D10).

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::recorder::{NO, Recorder, YES};
use super::*;
use crate::events::{Event, Label};
use crate::session::ClassicSender;
use crate::store::SourceEntry;

fn taking() -> InboxRules {
    InboxRules { classic: Classic::Accept, ..rules() }
}

async fn says(address: SocketAddr, parts: &[&[u8]]) {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.set_nodelay(true).unwrap();
    for part in parts {
        // The inbox may have hung up.
        let _ = socket.write_all(part).await;
    }
    let _ = socket.shutdown().await;
    let _ = socket.read_to_end(&mut Vec::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d04_a_tutorial_sender_is_stored_and_labelled_open() {
    let theirs = Recorder::answering([YES]);
    let mut open = open(rules(), &theirs);
    says(open.address, &[b"../dir/notes.txt<SEPARATOR>5", b"", b"hello"]).await;
    assert_eq!(open.ended().await, Ok(()));
    assert_eq!(fs::read(open.folder.path().join("notes.txt")).unwrap(), b"hello");
    assert_eq!(theirs.story(), ["peer", "offer", "accepted", "stored", "finished"]);
    let label = theirs.told(|event| match event {
        Event::Finished { label, .. } => Some(*label),
        _ => None,
    });
    assert_eq!(label.await, Label::Open);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_no_or_nobody_to_ask_stores_nothing_of_a_tutorial_sender() {
    for answers in [vec![NO], vec![]] {
        let theirs = Recorder::answering(answers);
        let open = open(rules(), &theirs);
        says(open.address, &[b"a<SEPARATOR>2hi"]).await;
        theirs.told(|event| matches!(event, Event::Refused { .. }).then_some(())).await;
        assert_eq!(open.names(), Vec::<String>::new());
    }
    let open = open(InboxRules { classic: Classic::Off, ..rules() }, &Recorder::answering([YES]));
    says(open.address, &[b"a<SEPARATOR>2hi"]).await;
    assert_eq!((open.reporter.questions().len(), open.names().len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn d06_d07_d09_a_header_that_lies_or_is_none_stores_nothing() {
    let theirs = Recorder::answering([]);
    let open = open(taking(), &theirs);
    for stream in [
        b"a<SEPARATOR> 12".as_slice(),
        b"a<SEPARATOR>+12",
        b"a<SEPARATOR>-5hello",
        b"a<SEPARATOR>1_2",
        b"a<SEPARATOR>1e3",
        b"a<SEPARATOR>0x10",
        b"a<SEPARATOR>99999999999999999999999999999x",
        "a<SEPARATOR>\u{0665}hello".as_bytes(),
        b"a<SEPARATOR>b<SEPARATOR>5hello",
        b"a<SEPARATOR>",
        b"a<SEPARATOR>5hell",
        b"a<SEPARATOR>5hello!",
        b"a<SEPARATOR>12",
        b"a<SEPARATOR>10000000000000x",
    ] {
        let failed = |reporter: &Recorder| reporter.story().into_iter().filter(|name| name == "failed").count();
        let before = failed(&theirs);
        says(open.address, &[stream]).await;
        while failed(&theirs) == before {
            tokio::task::yield_now().await;
        }
        assert_eq!(open.names(), Vec::<String>::new(), "{}", String::from_utf8_lossy(stream));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d10_a_tutorial_sender_that_goes_on_is_stopped_at_what_it_claimed() {
    let theirs = Recorder::answering([]);
    let open = open(taking(), &theirs);
    let mut socket = TcpStream::connect(open.address).await.unwrap();
    socket.write_all(b"a<SEPARATOR>1024").await.unwrap();
    let flood = vec![b'x'; 1024 * 1024];
    while socket.write_all(&flood).await.is_ok() {}
    // Before or after it was accepted: that depends on how much came with the header.
    let failed = |event: &Event| match event {
        Event::Failed { failure, .. } => Some(failure.code),
        _ => None,
    };
    assert_eq!(theirs.told(failed).await, ExitCode::Incomplete);
    assert_eq!(open.names(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tutorial_sender_does_not_outgrow_the_size_limit() {
    let mut open = open(InboxRules { max_size: Some(4), ..taking() }, &Recorder::answering([]));
    says(open.address, &[b"a<SEPARATOR>5", b"hello"]).await;
    says(open.address, &[b"b<SEPARATOR>4", b"four"]).await;
    while open.ended().await.is_err() {}
    assert_eq!(open.names(), ["b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn leaving_stores_nothing_of_a_tutorial_sender_under_way() {
    let theirs = Recorder::answering([]);
    let open = open(taking(), &theirs);
    let mut socket = TcpStream::connect(open.address).await.unwrap();
    socket.write_all(b"a<SEPARATOR>5hello").await.unwrap();
    theirs.told(|event| matches!(event, Event::Accepted { .. }).then_some(())).await;
    open.inbox.host.leave().await;
    assert_eq!(open.inbox.host.under_way(), 0);
    assert!(!theirs.story().contains(&"stored".to_owned()));
    // The reader has ended with the session: its partial area goes with it.
    while open.folder.path().join(".qrdrop-partial").exists() {
        tokio::task::yield_now().await;
    }
    assert_eq!(open.names(), Vec::<String>::new());
}

fn classic_sender(content: &[u8]) -> (Sending, ClassicSender) {
    let reporter = Recorder::answering([]);
    let source = sending(&[("a.csv", content)], &reporter);
    let entry = SourceEntry::clone(&source.sender.entries.get(0).unwrap());
    (source, ClassicSender { entry, brake: None, source: None, reporter })
}

#[tokio::test(flavor = "multi_thread")]
async fn our_classic_sender_reaches_our_inbox_with_a_file_of_digits() {
    let mut open = open(taking(), &Recorder::answering([]));
    let (_source, sender) = classic_sender(b"12,34,56");
    sender.send(&[open.address]).await.unwrap();
    assert_eq!(open.ended().await, Ok(()));
    assert_eq!(fs::read(open.folder.path().join("a.csv")).unwrap(), b"12,34,56");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tutorial_receiver_that_closes_with_bytes_unread_has_not_taken_them() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (_source, sender) = classic_sender(&[7; 4_000_000]);
    let receiver = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.read_exact(&mut [0; 1_000]).await.unwrap();
    };
    let addresses = [address];
    let (sent, ()) = tokio::join!(sender.send(&addresses), receiver);
    assert_eq!(sent.unwrap_err().1.code, ExitCode::Incomplete);
}
