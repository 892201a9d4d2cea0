use super::recorder::{NO, Scripted, YES};
use super::*;
use crate::events::{Event, Label, NoReason, Question};
use crate::pairing::TokenBook;

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_arrives_and_both_sides_tell_the_same_story() {
    let (theirs, ours) = (Recorder::answering([]), Recorder::answering([]));
    let mut open = open(rules(), &theirs);
    let large = vec![7; 3_000_000];
    let sender = sending(&[("tree/a.txt", b"a"), ("tree/empty", b""), ("tree/sub/large", &large)], &ours);
    sender.send(&open.invited(LinkKind::Qrdrop)).await.unwrap();
    assert_eq!(open.ended().await, Ok(()));
    assert_eq!(fs::read(open.folder.path().join("tree/sub/large")).unwrap(), large);
    assert_eq!(fs::read(open.folder.path().join("tree/empty")).unwrap(), b"");
    let story = ["peer", "offer", "accepted", "stored", "stored", "stored", "finished"];
    assert_eq!(theirs.story(), story);
    assert_eq!(ours.story(), story);
    for reporter in [&theirs, &ours] {
        let label = reporter.told(|event| match event {
            Event::Finished { label, files: 3, bytes: 3_000_001, .. } => Some(*label),
            _ => None,
        });
        assert_eq!(label.await, Label::Verified);
    }
    assert_eq!(open.inbox.host.under_way(), 0);
    drop(sender.folder);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_exists_is_kept_and_the_sender_learns_the_new_one() {
    let (theirs, ours) = (Recorder::answering([]), Recorder::answering([]));
    let open = open(rules(), &theirs);
    fs::write(open.folder.path().join("a.txt"), "old").unwrap();
    sending(&[("a.txt", b"new")], &ours).send(&open.invited(LinkKind::Http)).await.unwrap();
    assert_eq!(fs::read(open.folder.path().join("a.txt")).unwrap(), b"old");
    let name = ours.told(|event| match event {
        Event::Stored { name, .. } => Some(name.clone()),
        _ => None,
    });
    assert_eq!(name.await, "a (1).txt");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scanned_code_is_asked_under_bare_yes_and_a_no_is_exit_3() {
    let theirs = Recorder::answering([NO]);
    let open = open(InboxRules { yes: Some(Level::Verified), ..rules() }, &theirs);
    let sender = sending(&[("a.txt", b"a")], &Recorder::answering([]));
    assert_eq!(sender.fails(&open.invited(LinkKind::Http)).await.code, ExitCode::Refused);
    let questions = theirs.questions();
    assert!(matches!(&questions[..], [Question::Accept { note: Some(_), .. }]));
    assert_eq!(open.names(), Vec::<String>::new());
    sender.send(&open.invited(LinkKind::Qrdrop)).await.unwrap();
    assert_eq!(theirs.questions().len(), 1, "the other link is not asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_no_has_its_code_and_its_words() {
    for (answer, words) in [
        (NO, "said no"),
        (recorder::NO_TERMINAL, "--yes"),
        (Scripted::At(crate::events::Answer::No(NoReason::Timeout)), "in time"),
    ] {
        let open = open(InboxRules { yes: None, ..rules() }, &Recorder::answering([answer]));
        let sender = sending(&[("a.txt", b"a")], &Recorder::answering([]));
        let failure = sender.fails(&open.invited(LinkKind::Qrdrop)).await;
        assert_eq!(failure.code, ExitCode::Refused);
        assert!(failure.message.contains(words), "{}", failure.message);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_over_the_size_limit_is_refused_unasked() {
    let theirs = Recorder::answering([]);
    let open = open(InboxRules { max_size: Some(3), yes: None, ..rules() }, &theirs);
    let failure = sending(&[("a", b"four")], &Recorder::answering([])).fails(&open.invited(LinkKind::Qrdrop)).await;
    assert_eq!(failure.code, ExitCode::Refused);
    assert!(failure.message.contains("at most"), "{}", failure.message);
    assert_eq!((theirs.questions().len(), open.names().len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn e07_of_two_accepted_at_the_same_moment_once_takes_exactly_one() {
    let theirs = Recorder::answering([YES, YES]);
    let mut open = open_for(true, InboxRules { yes: None, ..rules() }, &theirs);
    let senders = [b"one", b"two"].map(|content| sending(&[("a.txt", content)], &Recorder::answering([])));
    let target = open.invited(LinkKind::Qrdrop);
    let (first, second) = tokio::join!(senders[0].send(&target), senders[1].send(&target));
    assert!(first.is_ok() != second.is_ok(), "{first:?} {second:?}");
    let code = first.and(second).unwrap_err().code;
    assert!(matches!(code, ExitCode::Refused | ExitCode::Pairing), "{code:?}");
    assert_eq!(open.ended().await, Ok(()));
    assert_eq!(open.names(), ["a.txt"]);
    assert_eq!(senders[0].fails(&target).await.code, ExitCode::Pairing, "the token is spent");
}

#[tokio::test(flavor = "multi_thread")]
async fn once_keeps_its_place_for_the_next_when_a_transfer_fails() {
    let mut open = open_for(true, rules(), &Recorder::answering([]));
    let sender = sending(&[("a.txt", b"content")], &Recorder::answering([]));
    fs::write(sender.folder.path().join("a.txt"), b"changed").unwrap();
    fs::write(sender.folder.path().join("a.txt"), b"changed again").unwrap();
    assert_eq!(sender.fails(&open.invited(LinkKind::Qrdrop)).await.code, ExitCode::Local);
    assert_eq!(open.ended().await, Err(ExitCode::Incomplete));
    open.still_works().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_is_exit_6_and_nothing_is_told_of_the_offer() {
    let theirs = Recorder::answering([]);
    let mut open = open(rules(), &theirs);
    let target = open.invited(LinkKind::Qrdrop);
    open.inbox.host.with_tokens(TokenBook::spend);
    let sender = sending(&[("secret-name", b"a")], &Recorder::answering([]));
    assert_eq!(sender.fails(&target).await.code, ExitCode::Pairing);
    open.inbox.host.renew();
    assert_eq!(sender.fails(&target).await.code, ExitCode::Pairing);
    assert!(!theirs.story().contains(&"offer".to_owned()));
    open.still_works().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_key_at_the_address_is_exit_6_before_a_name_leaves() {
    let theirs = Recorder::answering([]);
    let (honest, other) = (open(rules(), &theirs), open(rules(), &theirs));
    let target = invited(&honest.inbox.host, LinkKind::Qrdrop, other.address);
    let failure = sending(&[("a", b"a")], &Recorder::answering([])).fails(&target).await;
    assert_eq!(failure.code, ExitCode::Pairing);
    assert!(failure.message.contains("does not hold the key"), "{}", failure.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn leaving_tells_a_sender_whose_offer_stands_and_withdraws_the_question() {
    let theirs = Recorder::answering([Scripted::Nobody]);
    let open = open(InboxRules { yes: None, ..rules() }, &theirs);
    let sender = sending(&[("a", b"a")], &Recorder::answering([]));
    let target = open.invited(LinkKind::Qrdrop);
    let leave = async {
        theirs.questions_open(1).await;
        open.inbox.host.leave().await;
    };
    let (failure, ()) = tokio::join!(sender.fails(&target), leave);
    assert_eq!(failure.code, ExitCode::Incomplete);
    assert!(failure.message.contains("has left"), "{}", failure.message);
    theirs.questions_open(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_is_interrupted_withdraws_the_question_and_exits_130() {
    let theirs = Recorder::answering([Scripted::Nobody]);
    let mut open = open(InboxRules { yes: None, ..rules() }, &theirs);
    let sender = sending(&[("a", b"a")], &Recorder::answering([]));
    let target = open.invited(LinkKind::Qrdrop);
    let interrupt = async {
        theirs.questions_open(1).await;
        sender.leaving.send_replace(true);
    };
    let (failure, ()) = tokio::join!(sender.fails(&target), interrupt);
    assert_eq!(failure.code, ExitCode::Interrupted);
    theirs.questions_open(0).await;
    assert!(open.endings.try_recv().is_err(), "nothing was accepted");
}
