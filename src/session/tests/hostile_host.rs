//! A host that has proven its key and then lies, against a real fetcher.

use std::future::Future;
use std::io::{Read, Write};

use super::recorder::Recorder;
use super::*;
use crate::session::enter::{Entrance, Guest, enter};
use crate::session::error::SessionError;
use crate::session::lanes::{LaneWork, Lanes, Running};
use crate::transfer::{Outgoing, Sources};
use crate::wire::{
    Bye, Chunk, Codec, Entry, EntryKind, FileEnd, Finished, Go, Kind, LANES_CAP, Message, Offer, OfferEnd, Pack,
    Packed, Page, RefuseCode, Verdicts, frame, header_of_piece,
};

fn entry(kind: EntryKind, path: &str, size: u64) -> Entry {
    Entry { kind, path: path.to_owned(), size: Some(size), holes: 0, modified: None }
}

/// What the fetcher makes of a host that offers `entries`, and then does as `lies`; what is in its folder is what it
/// stored.
async fn fetched_from<F: Future<Output = ()>>(
    entries: &[Entry],
    lies: impl FnOnce(Lying) -> F,
) -> (Failure, Vec<String>, Arc<Recorder>) {
    let reporter = Recorder::answering([]);
    let (host, (address, arrivals, _)) = (host(Role::Outbox, false, &Recorder::answering([])).0, door());
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("in")).unwrap();
    let fetcher = Fetcher {
        identity: Identity::fresh(&[]).unwrap(),
        devices: strangers(),
        name: "fetcher".to_owned(),
        folder: Folder::open(&folder.path().join("in")).unwrap(),
        if_exists: IfExists::Rename,
        max_size: None,
        outlet: None,
        lanes: LANES_CAP,
        retry: Duration::ZERO,
        source: None,
        reporter: reporter.clone(),
        met: watch::Sender::default(),
    };
    let target = invited(&host, LinkKind::Qrdrop, address);
    let (_keep, leaving) = watch::channel(false);
    let lying = async {
        let mut lying = Lying { guest: None, arrivals, host: Arc::clone(&host) };
        lying.guest = match lying.enters().await {
            Entrance::Guest(guest) => Some(guest),
            _ => panic!("a guest was due"),
        };
        let page = Page { first: 0, entries: entries.to_vec() };
        let mut payload = Vec::new();
        page.encode(&mut payload);
        let bytes = entries.iter().try_fold(0u64, |sum, entry| sum.checked_add(entry.size?));
        let (transfer, entries) = ([7; 16], entries.len() as u32);
        lying.say(Offer { transfer, resume_hash: [0; 32], entries, bytes }).await;
        lying.say(page).await;
        lying.say(OfferEnd { digest: *blake3::hash(&payload).as_bytes() }).await;
        lies(lying).await;
    };
    let (fetched, ()) = tokio::join!(fetcher.fetch(&target, leaving), lying);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing outside the folder");
    let names = fs::read_dir(folder.path().join("in")).unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.into_string().unwrap()).collect();
    (fetched.unwrap_err().1, names, reporter)
}

struct Lying {
    guest: Option<Box<Guest>>,
    arrivals: mpsc::Receiver<Arrival>,
    host: Arc<Host>,
}

impl Lying {
    async fn enters(&mut self) -> Entrance {
        let (_keep, mut leaving) = watch::channel(false);
        enter(&self.host, self.arrivals.recv().await.unwrap(), &|_| None, &mut leaving).await.unwrap()
    }

    fn guest(&mut self) -> &mut Guest {
        self.guest.as_mut().unwrap()
    }

    async fn say<M: Message>(&mut self, message: M) {
        // The fetcher may have seen through it already.
        let _ = self.guest().conn.send(&message).await;
    }

    /// Until the fetcher hangs up; its last word.
    async fn hung_up(&mut self) -> Option<RefuseCode> {
        loop {
            match self.guest().conn.recv(|_| true).await {
                Ok(_) => {}
                Err(SessionError::Refused(refuse)) => return Some(refuse.code),
                Err(_) => return None,
            }
        }
    }

    /// Lets a lane come and says `frames` on it, all at once; returns the fetcher's last word on the control connection.
    async fn say_on_a_lane(&mut self, frames: Vec<Vec<u8>>) -> Option<RefuseCode> {
        self.guest().conn.expect::<Verdicts>().await.unwrap();
        let go: Go = self.guest().conn.expect().await.unwrap();
        let running = nothing();
        let guest = self.guest();
        let (secret, key) = (guest.lane_secret.clone(), guest.binding.client);
        let host = Arc::clone(&self.host);
        let _joining = host.lanes.register(go.session, secret, key, go.lanes, &running).unwrap();
        self.say(go).await;
        let Entrance::Lane(_handle, mut stream) = self.enters().await else { panic!("a lane was due") };
        let says = frames.concat();
        let lane = tokio::task::spawn_blocking(move || {
            // The fetcher may hang up in the middle.
            let _ = stream.write_all(&says);
            let _ = stream.flush();
            let _ = stream.read(&mut [0; 64]);
        });
        loop {
            match self.guest().conn.recv(|_| true).await {
                Ok(frame) if frame.kind == Kind::Finished => {
                    assert_eq!(frame.decode::<Finished>().unwrap().files, 0);
                    self.say(Bye).await;
                }
                Ok(_) => {}
                Err(SessionError::Refused(refuse)) => return Some(refuse.code),
                Err(_) => {
                    lane.await.unwrap();
                    return None;
                }
            }
        }
    }
}

fn nothing() -> Running {
    let none = Sources::new(Arc::default(), None);
    Lanes::running(LaneWork::Send(Arc::new(Outgoing::new(none, [], Default::default(), Manner::default()))))
}

fn pack(content: &[u8], hash: [u8; 32]) -> Vec<Vec<u8>> {
    let files = vec![Packed { id: 0, len: content.len() as u32, hash }];
    vec![frame(&Pack { codec: Codec::Raw, files }), header_of_piece(content.len()).to_vec(), content.to_vec()]
}

/// Offers one entry and says `frames` on a lane: the exit code and last word of the fetcher, which stores nothing.
async fn comes(offered: Entry, frames: Vec<Vec<u8>>) -> (ExitCode, Option<RefuseCode>, Arc<Recorder>) {
    let mut word = None;
    let (failure, names, reporter) = fetched_from(&[offered], async |mut lying: Lying| {
        word = lying.say_on_a_lane(frames).await;
    })
    .await;
    assert_eq!(names, Vec::<String>::new());
    assert!(!reporter.story().contains(&"finished".to_owned()));
    (failure.code, word, reporter)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_could_leave_the_folder_refuses_everything() {
    for name in ["../x", "a/../../x", "/etc/x", "..\\x", "C:\\x", ""] {
        let offer = [entry(EntryKind::File, "good", 1), entry(EntryKind::File, name, 1)];
        let mut word = None;
        let (failure, names, reporter) =
            fetched_from(&offer, async |mut lying: Lying| word = lying.hung_up().await).await;
        assert_eq!((failure.code, word), (ExitCode::Refused, Some(RefuseCode::Name)), "{name:?}");
        assert_eq!(names, Vec::<String>::new());
        assert_eq!(reporter.story(), ["peer", "offer", "refused"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d10_more_than_was_offered_ends_the_session() {
    let file = || entry(EntryKind::File, "a", 7);
    for frames in [
        pack(b"eight by", *blake3::hash(b"eight by").as_bytes()),
        vec![frame(&Chunk { id: 0, offset: 0, len: 1_048_576, codec: Codec::Raw })],
        vec![frame(&Chunk { id: 1, offset: 0, len: 7, codec: Codec::Raw })],
        vec![frame(&FileEnd { id: 0, size: 8, root: [0; 32] })],
    ] {
        let (code, word, _) = comes(file(), frames).await;
        assert_eq!((code, word), (ExitCode::Incomplete, Some(RefuseCode::Malformed)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d14_a_wrong_hash_is_not_stored() {
    let (code, word, _) = comes(entry(EntryKind::File, "a", 7), pack(b"content", [0; 32])).await;
    assert_eq!((code, word), (ExitCode::Incomplete, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_lies_about_itself_is_not_told() {
    let text = || entry(EntryKind::Text, "../text", 4);
    let honest = |content: &[u8]| pack(content, *blake3::hash(content).as_bytes());
    for (frames, last) in [
        (pack(b"text", [0; 32]), None),
        (honest(b"\xff\xfe\xfd\xfc"), None),
        (honest(b"longer"), Some(RefuseCode::Malformed)),
        (vec![frame(&Chunk { id: 0, offset: 0, len: 4, codec: Codec::Raw })], Some(RefuseCode::Malformed)),
    ] {
        let (code, word, reporter) = comes(text(), frames).await;
        assert_eq!((code, word), (ExitCode::Incomplete, last));
        assert!(!reporter.story().contains(&"text".to_owned()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_that_are_too_long_together_or_of_unknown_length_are_refused() {
    let unknown = Entry { size: None, ..entry(EntryKind::Text, "text", 0) };
    for offer in [
        vec![entry(EntryKind::Text, "text", 65_537)],
        vec![entry(EntryKind::Text, "text", 65_536), entry(EntryKind::Text, "text", 1)],
        vec![unknown],
    ] {
        let mut word = None;
        let (failure, ..) = fetched_from(&offer, async |mut lying: Lying| word = lying.hung_up().await).await;
        assert_eq!((failure.code, word), (ExitCode::Refused, Some(RefuseCode::TooLarge)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_session_or_frames_out_of_place_are_refused() {
    let offer = [entry(EntryKind::File, "a", 7)];
    for wrong in [Kind::Go, Kind::Bye, Kind::Finished] {
        let mut word = None;
        let (failure, names, _) = fetched_from(&offer, async |mut lying: Lying| {
            match wrong {
                Kind::Go => lying.say(Go { session: [9; 16], lanes: 1 }).await,
                Kind::Bye => lying.say(Bye).await,
                _ => lying.say(Finished { files: 1, bytes: 7 }).await,
            }
            word = lying.hung_up().await;
        })
        .await;
        assert_eq!((failure.code, word), (ExitCode::Incomplete, Some(RefuseCode::Malformed)));
        assert_eq!(names, Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_hangs_up_is_exit_5() {
    let offer = [entry(EntryKind::File, "a", 7)];
    let (failure, names, _) = fetched_from(&offer, async |mut lying: Lying| {
        lying.guest().conn.expect::<Verdicts>().await.unwrap();
    })
    .await;
    assert_eq!(failure.code, ExitCode::Incomplete);
    assert_eq!(names, Vec::<String>::new());
}
