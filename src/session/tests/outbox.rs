//! Fetching from an outbox: honest takers, and takers that lie.

use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::recorder::{NO, Scripted, YES};
use super::*;
use crate::events::{Event, Label, Question, Way};
use crate::pairing::TokenBook;
use crate::session::conn::Conn;
use crate::session::error::SessionError;
use crate::session::proving::open_lane;
use crate::wire::{
    Finished, Go, LANES_CAP, Message, Offer, OfferEnd, Page, RefuseCode, Run, Stored, StoredItem, Verdict, Verdicts,
};

/// A running outbox.
struct Giving {
    outbox: Arc<Outbox>,
    address: SocketAddr,
    reporter: Arc<Recorder>,
    endings: mpsc::UnboundedReceiver<Ended>,
    source: Sending,
    serving: JoinHandle<()>,
}

impl Drop for Giving {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn giving(files: &[(&str, &[u8])], text: Option<&str>, reporter: &Arc<Recorder>) -> Giving {
    let source = sending(files, &Recorder::answering([]));
    let (host, endings) = host(Role::Outbox, false, reporter);
    let (entries, text) = (Arc::clone(&source.sender.entries), text.map(str::to_owned));
    let rules = OutboxRules { yes: None, keep: true, manner: Manner::default() };
    let (known, _) = memory().outbox(&entries, text.as_deref()).unwrap();
    let outbox = Outbox::new(host, entries, Vec::new(), text, rules, known);
    let (address, mut arrivals, _) = door();
    let served = Arc::clone(&outbox);
    let serving = tokio::spawn(async move {
        while let Some(arrival) = arrivals.recv().await {
            let outbox = Arc::clone(&served);
            tokio::spawn(async move { outbox.serve(arrival).await });
        }
    });
    Giving { outbox, address, reporter: Arc::clone(reporter), endings, source, serving }
}

impl Giving {
    fn invited(&self, kind: LinkKind) -> Target {
        invited(&self.outbox.host, kind, self.address)
    }

    async fn ended(&mut self) -> Result<(), ExitCode> {
        self.endings.recv().await.unwrap().result
    }

    /// A taker that has heard the offer, and does what a test wants from there.
    async fn taker(&self) -> (Visit, Identity) {
        let (key, reporter) = (Identity::fresh(&[]).unwrap(), Recorder::answering([]));
        let target = self.invited(LinkKind::Qrdrop);
        let mut visit = visit(&target, &key, Role::Fetches, &reporter).await;
        visit.paired.conn.expect::<Offer>().await.unwrap();
        visit.paired.conn.expect::<Page>().await.unwrap();
        visit.paired.conn.expect::<OfferEnd>().await.unwrap();
        (visit, key)
    }

    /// The same, once it may open lanes.
    async fn going(&self, session: [u8; 16]) -> (Visit, Identity) {
        let (mut visit, key) = self.taker().await;
        let count = self.outbox.sources_count();
        say(&mut visit, &take(count)).await;
        say(&mut visit, &Go { session, lanes: 2 }).await;
        assert_eq!(visit.paired.conn.expect::<Go>().await.unwrap(), Go { session, lanes: 2 });
        (visit, key)
    }

    /// A fresh good taker still gets everything (security.md I5).
    async fn still_works(&mut self) {
        let fetching = fetching(&Recorder::answering([]));
        fetching.fetch(&self.invited(LinkKind::Qrdrop)).await.unwrap();
        while self.ended().await.is_err() {}
        let files = self.outbox.entries().iter().filter(|entry| entry.path.is_file());
        files.for_each(|entry| {
            assert_eq!(fs::read(fetching.folder.path().join(&entry.offered)).unwrap(), fs::read(&entry.path).unwrap());
        });
    }
}

impl Outbox {
    fn sources_count(&self) -> u32 {
        (self.entries().len() + usize::from(self.text().is_some())) as u32
    }
}

struct Fetching {
    fetcher: Fetcher,
    folder: TempDir,
    leaving: watch::Sender<bool>,
}

fn fetching(reporter: &Arc<Recorder>) -> Fetching {
    fetching_with(reporter, IfExists::Rename, None)
}

fn fetching_with(reporter: &Arc<Recorder>, if_exists: IfExists, max_size: Option<u64>) -> Fetching {
    let folder = tempfile::tempdir().unwrap();
    let fetcher = Fetcher {
        identity: Identity::fresh(&[]).unwrap(),
        devices: strangers(),
        name: "fetcher".to_owned(),
        folder: Folder::open(folder.path()).unwrap(),
        if_exists,
        max_size,
        outlet: None,
        lanes: LANES_CAP,
        retry: Duration::ZERO,
        source: None,
        reporter: reporter.clone(),
        met: watch::Sender::default(),
    };
    Fetching { fetcher, folder, leaving: watch::Sender::new(false) }
}

impl Fetching {
    async fn fetch(&self, target: &Target) -> Result<(), Failure> {
        self.fetcher.fetch(target, self.leaving.subscribe()).await.map_err(|(_, failure)| failure)
    }

    fn is_empty(&self) -> bool {
        fs::read_dir(self.folder.path()).unwrap().next().is_none()
    }
}

async fn say<M: Message>(visit: &mut Visit, message: &M) {
    // The outbox may have seen through it already.
    let _ = visit.paired.conn.send(message).await;
}

fn take(count: u32) -> Verdicts {
    Verdicts { runs: vec![Run { first: 0, count, verdict: Verdict::Take }] }
}

async fn refusal(conn: &mut Conn<TlsStream<TcpStream>>) -> RefuseCode {
    loop {
        match conn.recv(|_| true).await {
            Ok(_) => {}
            Err(SessionError::Refused(refuse)) => return refuse.code,
            Err(other) => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_fetched_and_both_sides_tell_the_same_story() {
    let (theirs, ours) = (Recorder::answering([]), Recorder::answering([]));
    let large = vec![7; 3_000_000];
    let files: [(&str, &[u8]); 3] = [("tree/a.txt", b"a"), ("tree/empty", b""), ("tree/sub/large", &large)];
    let mut giving = giving(&files, None, &theirs);
    let fetching = fetching(&ours);
    fetching.fetch(&giving.invited(LinkKind::Http)).await.unwrap();
    assert_eq!(giving.ended().await, Ok(()));
    for (name, content) in files {
        assert_eq!(fs::read(fetching.folder.path().join(name)).unwrap(), content);
    }
    let story = ["peer", "offer", "accepted", "stored", "stored", "stored", "finished"];
    assert_eq!(theirs.story(), story);
    assert_eq!(ours.story(), story);
    for (reporter, has_path) in [(&theirs, false), (&ours, true)] {
        let label = reporter.told(|event| match event {
            Event::Finished { label, files: 3, bytes: 3_000_001, .. } => Some(*label),
            _ => None,
        });
        assert_eq!(label.await, Label::Verified);
        let path = reporter.told(|event| match event {
            Event::Stored { path, .. } => Some(path.is_some()),
            _ => None,
        });
        assert_eq!(path.await, has_path);
    }
    assert_eq!((theirs.questions().len(), ours.questions().len()), (0, 0));
    assert_eq!(giving.outbox.host.under_way(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_takers_at_once_each_get_everything() {
    let content = vec![3; 5_000_000];
    let mut giving = giving(&[("large", &content), ("small", b"s")], None, &Recorder::answering([]));
    let target = giving.invited(LinkKind::Http);
    let takers = [fetching(&Recorder::answering([])), fetching(&Recorder::answering([]))];
    let (first, second) = tokio::join!(takers[0].fetch(&target), takers[1].fetch(&target));
    first.and(second).unwrap();
    for taker in &takers {
        assert_eq!(fs::read(taker.folder.path().join("large")).unwrap(), content);
        assert_eq!(giving.ended().await, Ok(()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_reaches_the_taker_and_no_disk() {
    for files in [vec![], vec![("a", b"a".as_slice())]] {
        let ours = Recorder::answering([]);
        let mut giving = giving(&files, Some("hello, Ünïcode"), &Recorder::answering([]));
        let fetching = fetching(&ours);
        fetching.fetch(&giving.invited(LinkKind::Qrdrop)).await.unwrap();
        assert_eq!(giving.ended().await, Ok(()));
        let text = ours.told(|event| match event {
            Event::Text { text, .. } => Some(text.clone()),
            _ => None,
        });
        assert_eq!(text.await, "hello, Ünïcode");
        assert_eq!(fs::read_dir(fetching.folder.path()).unwrap().count(), files.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_reaches_an_inbox_and_no_disk() {
    let theirs = Recorder::answering([]);
    let mut open = open(rules(), &theirs);
    let mut sender = sending(&[], &Recorder::answering([]));
    sender.sender.text = Some("x".repeat(64 * 1024));
    sender.send(&open.invited(LinkKind::Qrdrop)).await.unwrap();
    assert_eq!(open.ended().await, Ok(()));
    assert_eq!(theirs.story(), ["peer", "offer", "accepted", "text", "finished"]);
    assert_eq!(open.names(), Vec::<String>::new());
    sender.sender.text = Some("x".repeat(64 * 1024 + 1));
    assert_eq!(sender.fails(&open.invited(LinkKind::Qrdrop)).await.code, ExitCode::Usage);
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_folders_come_without_a_lane() {
    let mut giving = giving(&[], None, &Recorder::answering([]));
    let folder = giving.source.folder.path().join("empty");
    fs::create_dir(&folder).unwrap();
    let entries = walk(&[folder], &WalkOptions { follow_links: false }).unwrap().entries;
    let rules = OutboxRules { yes: None, keep: true, manner: Manner::default() };
    let outbox = {
        let (known, _) = memory().outbox(&entries, None).unwrap();
        Outbox::new(Arc::clone(&giving.outbox.host), Arc::new(entries), Vec::new(), None, rules, known)
    };
    let (address, mut arrivals, _) = door();
    let fetching = fetching(&Recorder::answering([]));
    let target = invited(&outbox.host, LinkKind::Qrdrop, address);
    let serve = async { outbox.serve(arrivals.recv().await.unwrap()).await };
    let (fetched, _) = tokio::join!(fetching.fetch(&target), serve);
    fetched.unwrap();
    assert_eq!(giving.ended().await, Ok(()));
    assert!(fetching.folder.path().join("empty").is_dir());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_taker_has_is_skipped_on_both_sides() {
    let (theirs, ours) = (Recorder::answering([]), Recorder::answering([]));
    let mut giving = giving(&[("a", b"same"), ("b", b"new!")], None, &theirs);
    let fetching = fetching_with(&ours, IfExists::Skip, None);
    fs::write(fetching.folder.path().join("a"), "same").unwrap();
    fetching.fetch(&giving.invited(LinkKind::Qrdrop)).await.unwrap();
    assert_eq!(giving.ended().await, Ok(()));
    for reporter in [theirs, ours] {
        let mut story = reporter.story();
        story.sort();
        assert_eq!(story, ["accepted", "finished", "offer", "peer", "skipped", "stored"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_is_exit_6_and_no_name_leaves() {
    let theirs = Recorder::answering([]);
    let mut giving = giving(&[("secret-name", b"a")], None, &theirs);
    let target = giving.invited(LinkKind::Qrdrop);
    giving.outbox.host.with_tokens(TokenBook::spend);
    giving.outbox.host.renew();
    assert_eq!(fetching(&Recorder::answering([])).fetch(&target).await.unwrap_err().code, ExitCode::Pairing);
    assert!(!theirs.story().contains(&"offer".to_owned()));
    giving.still_works().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_people_who_compare_a_code_need_no_other_yes() {
    let (theirs, ours) = (Recorder::answering([YES]), Recorder::answering([YES]));
    let mut giving = giving(&[("a", b"a")], None, &theirs);
    fetching(&ours).fetch(&Target::Unproven(vec![giving.address])).await.unwrap();
    assert_eq!(giving.ended().await, Ok(()));
    assert!(matches!(&theirs.questions()[..], [Question::SameCode { .. }]));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_let_in_by_the_code_alone_is_asked_for_with_a_reason() {
    let theirs = Recorder::answering([NO, YES]);
    let giving = giving(&[("a", b"a")], None, &theirs);
    let offer = |standing: Standing| {
        let peer = crate::events::Peer {
            id: "id".to_owned(),
            name: "name".to_owned(),
            address: giving.address,
            dialect: crate::events::Dialect::Native,
        };
        giving.outbox.offer_for(peer, standing.label, "t".to_owned())
    };
    for standing in [Standing::VERIFIED, Standing::SCANNED, Standing::BROWSER] {
        assert!(giving.outbox.admit(standing, offer(standing)).await.is_ok());
    }
    assert_eq!(theirs.questions().len(), 0);
    assert!(giving.outbox.admit(Standing::CLAIMED, offer(Standing::CLAIMED)).await.is_err());
    assert!(giving.outbox.admit(Standing::OPEN, offer(Standing::OPEN)).await.is_ok());
    let notes = theirs
        .questions()
        .into_iter()
        .filter(|question| matches!(question, Question::Accept { way: Way::Out, note: Some(_), .. }));
    assert_eq!(notes.count(), 2);
    assert_eq!(giving.outbox.host.under_way(), 0, "every place was given back");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_go_together_says_so_and_is_exit_3() {
    let mut giving = giving(&[("a", b"a")], None, &Recorder::answering([]));
    let failure = sending(&[("b", b"b")], &Recorder::answering([])).fails(&giving.invited(LinkKind::Qrdrop)).await;
    assert_eq!(failure.code, ExitCode::Refused);
    assert!(failure.message.contains("outbox") && failure.hint.contains("--from"), "{failure:?}");
    let open = open(rules(), &Recorder::answering([]));
    let failure = fetching(&Recorder::answering([])).fetch(&open.invited(LinkKind::Qrdrop)).await.unwrap_err();
    assert_eq!(failure.code, ExitCode::Refused);
    assert!(failure.message.contains("inbox") && failure.hint.contains("--to"), "{failure:?}");
    giving.still_works().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_the_taker_allows_is_refused_by_it() {
    let theirs = Recorder::answering([]);
    let mut giving = giving(&[("a", b"four")], None, &theirs);
    let fetching = fetching_with(&Recorder::answering([]), IfExists::Rename, Some(3));
    let failure = fetching.fetch(&giving.invited(LinkKind::Qrdrop)).await.unwrap_err();
    assert_eq!(failure.code, ExitCode::Refused);
    theirs.told(|event| matches!(event, Event::Refused { .. }).then_some(())).await;
    assert!(fetching.is_empty());
    giving.still_works().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_changed_fails_here_and_is_incomplete_there() {
    let mut giving = giving(&[("a", b"content"), ("b", b"b")], None, &Recorder::answering([]));
    fs::write(giving.source.folder.path().join("a"), b"changed!").unwrap();
    let fetching = fetching(&Recorder::answering([]));
    let failure = fetching.fetch(&giving.invited(LinkKind::Qrdrop)).await.unwrap_err();
    assert_eq!(failure.code, ExitCode::Incomplete);
    assert_eq!(giving.ended().await, Err(ExitCode::Local));
    assert!(!fetching.folder.path().join("a").exists() && fetching.folder.path().join("b").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn leaving_tells_a_taker_under_way() {
    let mut giving = giving(&[("a", b"a")], None, &Recorder::answering([]));
    let (mut visit, _) = giving.going([1; 16]).await;
    let ((), refused) = tokio::join!(giving.outbox.host.leave(), refusal(&mut visit.paired.conn));
    assert_eq!(refused, RefuseCode::Cancelled);
    assert_eq!(giving.ended().await, Err(ExitCode::Interrupted));
    assert_eq!(giving.outbox.host.under_way(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taker_that_is_interrupted_exits_130_and_leaves_nothing() {
    let theirs = Recorder::answering([Scripted::Nobody]);
    let giving = giving(&[("a", b"a")], None, &theirs);
    let ours = Recorder::answering([YES]);
    let fetching = fetching(&ours);
    let target = Target::Unproven(vec![giving.address]);
    let interrupt = async {
        theirs.questions_open(1).await;
        fetching.leaving.send_replace(true);
    };
    let (failure, ()) = tokio::join!(fetching.fetch(&target), interrupt);
    assert_eq!(failure.unwrap_err().code, ExitCode::Interrupted);
    assert!(fetching.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn verdicts_on_what_is_not_there_are_refused() {
    let run = |first, count, verdict| Run { first, count, verdict };
    let mut giving = giving(&[("a", b"content")], Some("text"), &Recorder::answering([]));
    for runs in [
        vec![run(0, 3, Verdict::Take)],
        vec![run(1, 1, Verdict::Take)],
        vec![run(0, 1, Verdict::Take)],
        vec![run(0, 1, Verdict::TakeRest(vec![(1, 1)])), run(1, 1, Verdict::Take)],
        vec![run(0, 1, Verdict::Take), run(1, 1, Verdict::Have([0; 32]))],
    ] {
        let (mut visit, _) = giving.taker().await;
        say(&mut visit, &Verdicts { runs }).await;
        say(&mut visit, &Go { session: [1; 16], lanes: 1 }).await;
        assert_eq!(refusal(&mut visit.paired.conn).await, RefuseCode::Malformed);
    }
    assert!(giving.endings.try_recv().is_err(), "nothing was under way");
    giving.still_works().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s05_a_taker_is_not_believed_what_it_was_not_sent() {
    let mut giving = giving(&[("a", b"content")], None, &Recorder::answering([]));
    for (id, hash) in [(0, [0; 32]), (0, *blake3::hash(b"content").as_bytes()), (7, [0; 32])] {
        let (mut visit, _) = giving.going([1; 16]).await;
        let items = vec![StoredItem { id, bytes: 7, hash, name: String::new() }];
        say(&mut visit, &Stored { items }).await;
        assert_eq!(refusal(&mut visit.paired.conn).await, RefuseCode::Malformed);
        assert_eq!(giving.ended().await, Err(ExitCode::Incomplete));
    }
    let (mut visit, _) = giving.going([1; 16]).await;
    say(&mut visit, &Finished { files: 1, bytes: 7 }).await;
    assert_eq!(refusal(&mut visit.paired.conn).await, RefuseCode::Malformed);
    assert!(!giving.reporter.story().contains(&"finished".to_owned()));
    giving.still_works().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lanes_of_a_taker_need_its_session_its_key_and_a_free_number() {
    let mut giving = giving(&[("a", &[5; 2_000_000])], None, &Recorder::answering([]));
    let (visit, key) = giving.going([1; 16]).await;
    let other = Identity::fresh(&[]).unwrap();
    for (key, session, lane) in [(&key, [2; 16], 0), (&other, [1; 16], 0)] {
        let lane = open_lane(&visit.lane_way(), key, session, lane).await;
        assert!(matches!(lane, Err(SessionError::Refused(refuse)) if refuse.code == RefuseCode::Pairing));
    }
    open_lane(&visit.lane_way(), &key, [1; 16], 1).await.unwrap();
    // Another taker can't have the same name, and does the first one no harm.
    let (mut second, _) = giving.taker().await;
    say(&mut second, &take(1)).await;
    say(&mut second, &Go { session: [1; 16], lanes: 1 }).await;
    assert_eq!(refusal(&mut second.paired.conn).await, RefuseCode::Malformed);
    assert_eq!(giving.ended().await, Err(ExitCode::Incomplete));
    open_lane(&visit.lane_way(), &key, [1; 16], 0).await.unwrap();
    drop(visit);
    giving.still_works().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taker_that_vanishes_is_incomplete_and_harms_nobody() {
    let mut giving = giving(&[("a", &[5; 2_000_000])], None, &Recorder::answering([]));
    let (visit, key) = giving.going([1; 16]).await;
    let lane = open_lane(&visit.lane_way(), &key, [1; 16], 0).await.unwrap();
    drop((visit, lane));
    assert_eq!(giving.ended().await, Err(ExitCode::Incomplete));
    assert_eq!(giving.outbox.host.under_way(), 0);
    giving.still_works().await;
}
