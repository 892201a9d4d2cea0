//! A receiver that has proven its key and then lies, against a real sender (security.md S01, S02, S05).

use std::future::Future;

use tokio::sync::Notify;
use tokio::sync::mpsc::channel;

use super::recorder::Recorder;
use super::*;
use crate::events::Event;
use crate::names::RelPath;
use crate::session::enter::{Entrance, Guest, enter};
use crate::session::lanes::{LaneWork, Lanes};
use crate::store::{PlannedEntry, PlannedKind};
use crate::transfer::Incoming;
use crate::wire::{
    Bye, Fault, Finished, Go, LANES_CAP, Message, NotStored, Offer, OfferEnd, Page, Ping, Refuse, RefuseCode, Run,
    Stored, StoredItem, Verdict, Verdicts,
};

const CONTENT: &[u8] = b"content";

fn take(count: u32) -> Verdicts {
    Verdicts { runs: vec![Run { first: 0, count, verdict: Verdict::Take }] }
}

fn stored(id: u32, hash: [u8; 32]) -> Stored {
    Stored { items: vec![StoredItem { id, bytes: CONTENT.len() as u64, hash, name: String::new() }] }
}

fn right(id: u32) -> Stored {
    stored(id, *blake3::hash(CONTENT).as_bytes())
}

/// Sends the files `a` and `b` to a receiver that hears the offer and then does as `lies`. Lanes are let in and read
/// to their end; what comes over them is thrown away.
async fn sent_to<F: Future<Output = ()>>(lies: impl FnOnce(Lying) -> F) -> (Result<(), Failure>, Arc<Recorder>) {
    let reporter = Recorder::answering([]);
    let (theirs, (address, mut arrivals, _)) = (host(Role::Inbox, false, &Recorder::answering([])).0, door());
    let target = invited(&theirs, LinkKind::Qrdrop, address);
    let sender = sending(&[("a", CONTENT), ("b", CONTENT)], &reporter);
    let folder = tempfile::tempdir().unwrap();
    let plan = (0..2).map(|id| PlannedEntry {
        id,
        path: RelPath::from_stranger(&format!("{id}")).unwrap(),
        kind: PlannedKind::File,
        size: Some(7),
        holes: 0,
        modified: None,
    });
    let intake =
        Arc::new(Folder::open(folder.path()).unwrap().begin(plan.collect::<Vec<_>>(), IfExists::Rename).unwrap());
    let (told, _outcomes) = channel(10_000);
    let (_keep, mut leaving) = watch::channel(false);
    let lying = async {
        let arrival = arrivals.recv().await.unwrap();
        let Entrance::Guest(mut guest) = enter(&theirs, arrival, &|_| None, &mut leaving).await.unwrap() else {
            panic!()
        };
        guest.conn.expect::<Offer>().await.unwrap();
        guest.conn.expect::<Page>().await.unwrap();
        guest.conn.expect::<OfferEnd>().await.unwrap();
        let incoming = Arc::new(Incoming::new(intake, None, None, told).unwrap());
        let mut running = Lanes::running(LaneWork::Receive(incoming));
        let (secret, client) = (guest.lane_secret.clone(), guest.binding.client);
        let session = theirs.lanes.register([1; 16], secret, client, LANES_CAP, &running).unwrap();
        let sent = Arc::new(Notify::new());
        let lanes = async {
            while let Some(arrival) = arrivals.recv().await {
                let (_keep, mut leaving) = watch::channel(false);
                if let Ok(Entrance::Lane(handle, stream)) = enter(&theirs, arrival, &|_| None, &mut leaving).await {
                    handle.run(*stream).unwrap();
                    running.ends.recv().await;
                    sent.notify_one();
                }
            }
        };
        tokio::select! {
            () = lies(Lying { guest, sent: Arc::clone(&sent) }) => {}
            () = lanes => {}
        }
        drop(session);
    };
    let (sent, ()) = tokio::join!(sender.send(&target), lying);
    (sent, reporter)
}

struct Lying {
    guest: Box<Guest>,
    /// Told when a lane was read to its end.
    sent: Arc<Notify>,
}

impl Lying {
    async fn say<M: Message>(&mut self, message: M) {
        // The sender may have seen through it already.
        let _ = self.guest.conn.send(&message).await;
    }

    async fn go(&mut self) {
        self.say(take(2)).await;
        self.say(Go { session: [1; 16], lanes: 1 }).await;
    }

    /// Until the sender hangs up; what it says as its last word, if it does.
    async fn hung_up(mut self) -> Option<RefuseCode> {
        loop {
            match self.guest.conn.recv(|_| true).await {
                Ok(_) => {}
                Err(crate::session::SessionError::Refused(refuse)) => return Some(refuse.code),
                Err(_) => return None,
            }
        }
    }
}

/// The sender saw through it: exit 5, and it said so.
async fn sees_through<F: Future<Output = Lying>>(lies: impl FnOnce(Lying) -> F) {
    let (sent, reporter) = sent_to(|lying| async {
        let lying = lies(lying).await;
        assert_eq!(lying.hung_up().await, Some(RefuseCode::Malformed));
    })
    .await;
    assert_eq!(sent.unwrap_err().code, ExitCode::Incomplete);
    assert!(!reporter.story().contains(&"finished".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn s05_another_hash_is_not_believed() {
    sees_through(|mut lying| async move {
        lying.go().await;
        lying.say(stored(0, [0; 32])).await;
        lying
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s05_an_entry_that_was_never_offered_is_not_believed() {
    sees_through(|mut lying| async move {
        lying.go().await;
        lying.say(right(7)).await;
        lying
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s05_an_end_before_every_file_is_accounted_for_is_not_believed() {
    sees_through(|mut lying| async move {
        lying.go().await;
        lying.say(Finished { files: 2, bytes: 14 }).await;
        lying
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s05_what_was_left_can_not_be_stored() {
    sees_through(|mut lying| async move {
        let runs = vec![
            Run { first: 0, count: 1, verdict: Verdict::Leave },
            Run { first: 1, count: 1, verdict: Verdict::Take },
        ];
        lying.say(Verdicts { runs }).await;
        lying.say(Go { session: [1; 16], lanes: 1 }).await;
        lying.say(right(0)).await;
        lying
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s05_a_file_told_twice_is_not_believed() {
    sees_through(|mut lying| async move {
        lying.go().await;
        let not = NotStored { id: 0, fault: Fault::Receiver, message: "no".into() };
        lying.say(not.clone()).await;
        lying.say(not).await;
        lying
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s01_verdicts_that_are_out_of_order_beyond_the_end_or_partial_are_refused() {
    let run = |first, count, verdict| Run { first, count, verdict };
    for runs in [
        vec![run(1, 1, Verdict::Take)],
        vec![run(0, 3, Verdict::Take)],
        vec![run(0, u32::MAX, Verdict::Take)],
        vec![run(0, 1, Verdict::Take)],
        vec![run(0, 1, Verdict::TakeRest(vec![(1, 1)])), run(1, 1, Verdict::Take)],
        vec![run(0, 1, Verdict::TakeRest(vec![(0, 1), (4_000_000_000, 1)])), run(1, 1, Verdict::Take)],
    ] {
        sees_through(|mut lying| async move {
            lying.say(Verdicts { runs }).await;
            lying.say(Go { session: [1; 16], lanes: 1 }).await;
            lying
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_go_without_lanes_or_out_of_place_frames_are_refused() {
    sees_through(|mut lying| async move {
        lying.say(take(2)).await;
        lying.say(Go { session: [1; 16], lanes: 0 }).await;
        lying
    })
    .await;
    sees_through(|mut lying| async move {
        lying.say(right(0)).await;
        lying
    })
    .await;
    sees_through(|mut lying| async move {
        lying.go().await;
        lying.go().await;
        lying
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s02_a_refusal_with_control_characters_is_inert() {
    let (sent, reporter) = sent_to(|mut lying| async move {
        let text = "\u{1b}]0;owned\u{7}\n\u{202e}gnp.exe".to_owned();
        lying.say(Refuse { code: RefuseCode::Other, versions: vec![1], text }).await;
        lying.guest.conn.close().await;
    })
    .await;
    let failure = sent.unwrap_err();
    assert_eq!(failure.code, ExitCode::Refused);
    assert!(!failure.message.chars().any(|c| c.is_control() || c == '\u{202e}'), "{:?}", failure.message);
    assert_eq!(reporter.story(), ["peer", "offer", "refused"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_there_is_exit_5_and_says_so() {
    let (sent, reporter) = sent_to(|mut lying| async move {
        lying.go().await;
        lying.sent.notified().await;
        for id in 0..2 {
            lying.say(NotStored { id, fault: Fault::DiskFull, message: "disk full\u{1b}[A".into() }).await;
        }
        lying.say(Ping).await;
        lying.say(Finished { files: 0, bytes: 0 }).await;
        lying.guest.conn.expect::<Bye>().await.unwrap();
        lying.guest.conn.close().await;
    })
    .await;
    let failure = sent.unwrap_err();
    assert_eq!(failure.code, ExitCode::Incomplete);
    assert!(failure.message.contains("disk full") && !failure.message.contains('\u{1b}'), "{:?}", failure.message);
    assert!(!reporter.events().iter().any(|event| matches!(event, Event::Finished { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_hangs_up_is_exit_5() {
    let (sent, _) = sent_to(|mut lying| async move {
        lying.go().await;
    })
    .await;
    assert_eq!(sent.unwrap_err().code, ExitCode::Incomplete);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_takes_no_files_is_told_none() {
    let theirs = Recorder::answering([]);
    let (host, _) = host(Role::Outbox, false, &theirs);
    let (address, mut arrivals, _) = door();
    let sender = sending(&[("a", CONTENT)], &Recorder::answering([]));
    let target = invited(&host, LinkKind::Qrdrop, address);
    let hosting = async {
        let (_keep, mut leaving) = watch::channel(false);
        let Entrance::Guest(mut guest) =
            enter(&host, arrivals.recv().await.unwrap(), &|_| None, &mut leaving).await.unwrap()
        else {
            panic!()
        };
        assert!(guest.conn.expect::<Offer>().await.is_err());
    };
    let (failure, ()) = tokio::join!(sender.fails(&target), hosting);
    assert_eq!(failure.code, ExitCode::Refused);
    assert!(failure.message.contains("outbox") && failure.hint.contains("--from"), "{failure:?}");
}
