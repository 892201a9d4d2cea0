//! The compared code: every answer but two yeses is a no (security.md E10, E11).

use super::recorder::{NO, NO_TERMINAL, Recorder, Scripted, YES};
use super::*;
use crate::events::{Event, Label};
use crate::pairing::code::Awaiting;
use crate::pairing::tls::{self, Pin};
use crate::session::conn::Conn;
use crate::session::error::SessionError;
use crate::wire::{Commit, Method, Nonce, Open as Opening, RefuseCode, Reveal, VERSION};

fn code(event: &Event) -> Option<String> {
    match event {
        Event::Code { code, .. } => Some(code.clone()),
        _ => None,
    }
}

async fn compared(there: Scripted, here: Scripted) -> (Result<(), Failure>, Open, Arc<Recorder>) {
    let (theirs, ours) = (Recorder::answering([there]), Recorder::answering([here]));
    let open = open(InboxRules { yes: Some(Level::Verified), ..rules() }, &theirs);
    let sent = sending(&[("a.txt", b"a")], &ours).send(&Target::Unproven(vec![open.address])).await;
    (sent, open, ours)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_yeses_to_the_same_digits_are_verified() {
    let (sent, mut open, ours) = compared(YES, YES).await;
    sent.unwrap();
    assert_eq!(open.ended().await, Ok(()));
    assert_eq!(ours.told(code).await, open.reporter.told(code).await);
    let label = ours.told(|event| match event {
        Event::Finished { label, .. } => Some(*label),
        _ => None,
    });
    assert_eq!(label.await, Label::Verified);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_no_is_exit_6_on_both_sides_whoever_says_it() {
    for (there, here) in [(YES, NO), (NO, YES), (NO, NO), (Scripted::Nobody, NO), (NO, Scripted::Nobody)] {
        let (sent, mut open, ours) = compared(there, here).await;
        assert_eq!(sent.unwrap_err().code, ExitCode::Pairing);
        assert_eq!(open.ended().await, Err(ExitCode::Pairing));
        open.reporter.questions_open(0).await;
        ours.questions_open(0).await;
        assert!(!open.reporter.story().contains(&"offer".to_owned()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_terminal_nobody_is_paired_and_no_stranger_can_fail_the_command() {
    let (theirs, ours) = (Recorder::answering([]), Recorder::answering([YES, YES, YES, YES]));
    let mut open = open(rules(), &theirs);
    let sender = sending(&[("a.txt", b"a")], &ours);
    for _ in 0..4 {
        let failure = sender.fails(&Target::Unproven(vec![open.address])).await;
        assert_eq!(failure.code, ExitCode::Pairing);
    }
    assert!(open.endings.try_recv().is_err());
    let (sent, ..) = compared(YES, NO_TERMINAL).await;
    assert_eq!(sent.unwrap_err().code, ExitCode::Pairing);
}

/// Someone in between, up to the point where he knows the host's code.
async fn peek(
    address: SocketAddr,
) -> Result<Conn<tokio_rustls::client::TlsStream<tokio::net::TcpStream>>, SessionError> {
    let identity = Identity::fresh(&[]).unwrap();
    let socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(tls::client_config(&identity, Pin::Unknown));
    let stream = connector.connect(address.ip().into(), socket).await.unwrap();
    let binding = tls::client_binding(stream.get_ref().1, &identity).unwrap();
    let mut conn = Conn::new(stream);
    conn.send(&Opening { versions: vec![VERSION], method: Method::Code }).await?;
    let awaiting = Awaiting::new(binding, conn.expect::<Commit>().await?.0);
    conn.send(&Nonce(awaiting.nonce())).await?;
    awaiting.check(&conn.expect::<Reveal>().await?.0).unwrap();
    Ok(conn)
}

#[tokio::test(flavor = "multi_thread")]
async fn e11_hanging_up_on_a_code_that_does_not_suit_counts_as_a_mismatch() {
    let theirs = Recorder::answering([Scripted::Nobody, Scripted::Nobody, Scripted::Nobody]);
    let mut open = open(rules(), &theirs);
    for _ in 0..3 {
        let conn = peek(open.address).await.unwrap();
        theirs.questions_open(1).await;
        drop(conn);
        theirs.questions_open(0).await;
    }
    let closed = loop {
        // The host may still be hanging up on the one before.
        match peek(open.address).await {
            Err(SessionError::Refused(refuse)) if refuse.code != RefuseCode::Busy => break refuse,
            Err(SessionError::Refused(_)) => tokio::task::yield_now().await,
            other => panic!("{:?}", other.map(drop)),
        }
    };
    assert_eq!(closed.code, RefuseCode::CodeDiffers);
    assert!(open.endings.try_recv().is_err(), "a stranger alone fails nothing");
    open.inbox.host.renew();
    assert!(peek(open.address).await.is_ok(), "a person opens it again");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_compares_one_code_at_a_time() {
    let theirs = Recorder::answering([Scripted::Nobody]);
    let open = open(rules(), &theirs);
    let _first = peek(open.address).await.unwrap();
    theirs.questions_open(1).await;
    let second = peek(open.address).await;
    assert!(matches!(second, Err(SessionError::Refused(refuse)) if refuse.code == RefuseCode::Busy));
    assert_eq!(theirs.questions().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn leaving_ends_a_comparison_with_a_word() {
    let theirs = Recorder::answering([Scripted::Nobody]);
    let open = open(rules(), &theirs);
    let mut conn = peek(open.address).await.unwrap();
    theirs.questions_open(1).await;
    let (left, ()) = tokio::join!(conn.recv(|_| true), open.inbox.host.leave());
    assert!(matches!(left, Err(SessionError::Refused(refuse)) if refuse.code == RefuseCode::Cancelled));
    theirs.questions_open(0).await;
}
