//! A transfer at the receiver, whichever end dialled: hear the offer, prepare, store, acknowledge.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Duration, MissedTickBehavior, interval, sleep, timeout};

use super::conn::{Channel, Conn, SILENCE, pings};
use super::consent::refusal;
use super::error::SessionError;
use super::host::raised;
use super::inbox::PROGRESS_EVERY;
use super::lanes::{LaneWork, Lanes, Running};
use super::offer::{Manifest, Unfrozen, verdicts};
use super::there::{There, held};
use crate::events::{Event, Label, Offer as Told, Peer, Reporter};
use crate::names::{human_bytes, inert};
use crate::store::{Folder, IfExists, Intake, Keepsake, Listing, Placed, StoreError};
use crate::transfer::{Hash, HeldFiles, Incoming, Outcome, Outlet};
use crate::wire::{
    self, Finished, Go, Kind, LaneLost, NotStored, Offer, OfferEnd, Ping, RefuseCode, STORED_CAP, Stored, StoredItem,
};

/// What a frame of acknowledgements has for its items, their count aside.
const ROOM_FOR_ITEMS: usize = wire::CONTROL_CAP - 4;

/// Why a file was skipped that is there already.
pub(super) const SAME: &str = "the same file is there already";

/// Hears an offer to its end; nothing of it is believed beyond its form.
pub(super) async fn hear_offer<S: Channel>(conn: &mut Conn<S>) -> Result<Manifest, SessionError> {
    let mut unfrozen: Option<Unfrozen> = None;
    let mut ping = pings();
    loop {
        let begun = unfrozen.is_some();
        let due = move |kind| match kind {
            Kind::Offer => !begun,
            Kind::Page | Kind::OfferEnd => begun,
            _ => false,
        };
        let frame = tokio::select! {
            frame = conn.recv(due) => frame?,
            _ = ping.tick() => {
                conn.send(&Ping).await?;
                continue;
            }
        };
        match (frame.kind, unfrozen.take()) {
            (Kind::Page, Some(mut pages)) => {
                pages.add(&frame.payload)?;
                unfrozen = Some(pages);
            }
            (Kind::OfferEnd, Some(pages)) => return pages.freeze(&frame.decode::<OfferEnd>()?),
            _ => unfrozen = Some(Unfrozen::new(frame.decode::<Offer>()?)),
        }
    }
}

/// Whether an offer of so many bytes is within `--max-size`.
pub(super) fn within_limits(most: Option<u64>, bytes: Option<u64>) -> Result<(), SessionError> {
    match (most, bytes) {
        (Some(most), Some(bytes)) if bytes > most => {
            let text = format!("the receiver takes at most {}", human_bytes(most));
            Err(SessionError::Declined(refusal(RefuseCode::TooLarge, text)))
        }
        _ => Ok(()),
    }
}

impl Manifest {
    /// As a person and a script are told of it.
    pub(super) fn told_from(&self, peer: Peer, label: Label) -> Told {
        let (files, entries, entries_left_out) = self.told();
        let (transfer, bytes) = (self.transfer.clone(), self.bytes);
        Told { transfer, peer, label, files, bytes, entries, entries_left_out }
    }
}

/// How long the threads of a transfer that is over may take to let go of it: they may be waiting for a disk.
const LETTING_GO: Duration = Duration::from_secs(30);

/// How often that is looked at.
const POLL: Duration = Duration::from_millis(5);

/// A lane on which nothing moved for this long, when the control connection is gone, has brought all that is on its way.
const STILL: Duration = Duration::from_millis(200);

/// The sender's last word; what it says of lanes means nothing any more.
async fn hear_bye<S: Channel>(conn: &mut Conn<S>) -> Result<(), SessionError> {
    while conn.recv(|kind| matches!(kind, Kind::Bye | Kind::LaneLost)).await?.kind != Kind::Bye {}
    Ok(())
}

/// Where accepted files go, and where that is told.
#[derive(Clone, Copy)]
pub(super) struct Shelf<'a> {
    pub(super) folder: &'a Arc<Folder>,
    pub(super) if_exists: IfExists,
    /// The largest transfer in bytes.
    pub(super) max_size: Option<u64>,
    /// Where the one file goes that is not to be stored.
    pub(super) outlet: Option<&'a Arc<Outlet>>,
    /// Whether it is the sender that dials again after a cut.
    pub(super) sender_returns: bool,
    pub(super) reporter: &'a dyn Reporter,
}

impl Shelf<'_> {
    fn tell_stored(&self, manifest: &Manifest, id: u32, placed: &Placed, hash: Hash) {
        self.reporter.tell(Event::Stored {
            transfer: manifest.transfer.clone(),
            name: placed.name.as_str().to_owned(),
            offered: manifest.offered(id),
            path: Some(placed.path.to_string_lossy().into_owned()),
            bytes: placed.bytes,
            blake3: data_encoding::HEXLOWER.encode(&hash),
        });
    }
}

/// An accepted transfer, seen from the receiver.
pub(super) struct Receiving<'a> {
    shelf: Shelf<'a>,
    manifest: &'a Manifest,
    label: Label,
    intake: Arc<Intake>,
    incoming: Arc<Incoming>,
    outcomes: mpsc::Receiver<Outcome>,
    /// Until that was said.
    there: There,
    running: Running,
    started: Instant,
    /// Accepted files without an outcome.
    pending: usize,
    files: u32,
    bytes: u64,
    failed: usize,
    first_failure: Option<String>,
}

impl<'a> Receiving<'a> {
    /// Prepares the folder, reserves room, and looks at what is there of an earlier attempt. `keep` is what this one is
    /// to be known by if it ends early.
    pub(super) async fn prepare<S: Channel>(
        conn: &mut Conn<S>,
        shelf: Shelf<'a>,
        manifest: &'a Manifest,
        label: Label,
        keep: Option<Keepsake>,
    ) -> Result<Self, SessionError> {
        let expected = manifest.expected().map_err(SessionError::Declined)?;
        let (folder, if_exists) = (Arc::clone(shelf.folder), shelf.if_exists);
        let entries = Arc::clone(&manifest.entries);
        let begin = move || {
            let held =
                if if_exists == IfExists::Skip { held(&folder, expected.entries()) } else { HeldFiles::default() };
            let intake = match keep {
                Some(keep) => folder.go_on(expected, if_exists, &keep)?,
                None => folder.begin(expected, if_exists)?,
            };
            let there = There::look(&intake, held, |id| entries.get(id as usize)?.size);
            Ok::<_, StoreError>((intake, there))
        };
        let begun = conn.alive_during(spawn_blocking(begin)).await?;
        let (intake, there) = begun.map_err(|_| SessionError::broke("an entry that this program can't handle"))??;
        let intake = Arc::new(intake);
        let (told, outcomes) = mpsc::channel(STORED_CAP);
        let incoming = Incoming::new(Arc::clone(&intake), shelf.max_size, shelf.outlet.cloned(), told);
        let busy = |_| SessionError::Declined(refusal(RefuseCode::Busy, "too much is under way there"));
        let incoming = Arc::new(incoming.map_err(busy)?);
        let kept_bytes = there.kept_bytes();
        manifest.texts().for_each(|(id, size)| incoming.expect_text(id, size.unwrap_or_default()));
        if kept_bytes > 0 {
            let (transfer, reason) = (manifest.transfer.clone(), "the sender has come back".to_owned());
            shelf.reporter.tell(Event::Retry { transfer, from_bytes: kept_bytes, reason });
        }
        Ok(Receiving {
            shelf,
            manifest,
            label,
            intake,
            running: Lanes::running(LaneWork::Receive(Arc::clone(&incoming))),
            incoming,
            outcomes,
            there,
            started: Instant::now(),
            pending: manifest.count(),
            files: 0,
            bytes: 0,
            failed: 0,
            first_failure: None,
        })
    }

    /// Ends it before its time. What has arrived is taken, what was stored is told, and the partial area is removed or
    /// ready for another attempt.
    pub(super) async fn wind_up(mut self, error: &SessionError) {
        if let SessionError::Cut(_) = error {
            self.drain().await;
        }
        self.let_go().await;
    }

    /// Ends it when all is there.
    pub(super) async fn end(self) {
        // Nobody else waits for its threads; on Windows the partial area goes only when none of them holds it open.
        if cfg!(windows) {
            self.let_go().await;
        }
    }

    async fn let_go(self) {
        let Receiving { shelf, manifest, intake, there, running, incoming, mut outcomes, .. } = self;
        drop((there, running, incoming));
        let let_go = async {
            while let Some(outcome) = outcomes.recv().await {
                if let Outcome::Stored { id, placed, hash } = outcome {
                    shelf.tell_stored(manifest, id, &placed, hash);
                }
            }
            while Arc::strong_count(&intake) > 1 {
                sleep(POLL).await;
            }
        };
        // What a stuck disk keeps longer is removed by the next `receive`.
        let _ = timeout(LETTING_GO, let_go).await;
        // The last to let go is this one: a sender that comes back at once finds the area free.
        let _ = spawn_blocking(move || drop(intake)).await;
    }

    /// Waits until the lanes have read what their sockets hold: the sender need not send that again.
    async fn drain(&mut self) {
        while self.running.lanes.count() > 0 {
            let before = self.incoming.bytes();
            if timeout(STILL, self.running.ends.recv()).await.is_err() && self.incoming.bytes() == before {
                return;
            }
        }
    }

    /// The lanes, where any are needed.
    pub(super) fn lanes(&self) -> Option<&Running> {
        (self.pending > 0).then_some(&self.running)
    }

    /// Says what is wanted, and under which name how many lanes may come.
    pub(super) async fn go<S: Channel>(&mut self, conn: &mut Conn<S>, go: Go) -> Result<(), SessionError> {
        let there = std::mem::take(&mut self.there);
        for page in verdicts(self.manifest.entries.len() as u32, there.verdicts()) {
            conn.send(&page).await?;
        }
        there.hand_over(&self.incoming);
        conn.send(&go).await?;
        self.started = Instant::now();
        Ok(())
    }

    /// Until every accepted file has an outcome and the sender knows it.
    pub(super) async fn run<S: Channel>(
        &mut self,
        conn: &mut Conn<S>,
        leaving: &mut watch::Receiver<bool>,
    ) -> Result<(), SessionError> {
        let mut progress = interval(PROGRESS_EVERY);
        progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ping = pings();
        let (mut seen, mut moved) = (0, Instant::now());
        while self.pending > 0 {
            tokio::select! {
                Some(outcome) = self.outcomes.recv() => {
                    let more: Vec<_> = std::iter::from_fn(|| self.outcomes.try_recv().ok()).take(STORED_CAP - 1).collect();
                    self.acknowledge(conn, std::iter::once(outcome).chain(more)).await?;
                    moved = Instant::now();
                }
                frame = conn.recv(|kind| kind == Kind::LaneLost) => {
                    let LaneLost { lane } = frame?.decode()?;
                    // One that is open ends by this, and is told below.
                    if !self.running.lanes.cut(lane) {
                        self.tell_lost(conn, lane).await?;
                    }
                }
                Some((lane, ended)) = self.running.ends.recv() => match ended {
                    // A sender that misbehaves on one has lost the whole session.
                    Err(error) if error.is_misbehaviour() => return Err(SessionError::Broke(error.to_string())),
                    Err(_) => self.tell_lost(conn, lane).await?,
                    Ok(()) => {}
                },
                _ = progress.tick() => {
                    let bytes = self.incoming.bytes();
                    if bytes != seen {
                        seen = bytes;
                        self.tell_progress(bytes);
                        moved = Instant::now();
                    } else if self.running.lanes.count() > 0 || self.incoming.is_committing() {
                        moved = Instant::now();
                    } else if moved.elapsed() > SILENCE {
                        return Err(SessionError::Silent);
                    }
                }
                _ = ping.tick() => conn.send(&Ping).await?,
                () = raised(leaving) => return Err(SessionError::Interrupted),
            }
        }
        self.tell_progress(self.incoming.bytes());
        Ok(())
    }

    /// This end has let go of a lane: what was on its way comes again.
    async fn tell_lost<S: Channel>(&self, conn: &mut Conn<S>, lane: u16) -> Result<(), SessionError> {
        self.incoming.forbear();
        conn.send(&LaneLost { lane }).await
    }

    fn tell_progress(&self, bytes: u64) {
        let (transfer, total) = (self.manifest.transfer.clone(), self.manifest.bytes);
        self.shelf.reporter.tell(Event::Progress { transfer, bytes, total });
    }

    async fn acknowledge<S: Channel>(
        &mut self,
        conn: &mut Conn<S>,
        outcomes: impl Iterator<Item = Outcome>,
    ) -> Result<(), SessionError> {
        let mut items: Vec<StoredItem> = Vec::new();
        let mut room = ROOM_FOR_ITEMS;
        for outcome in outcomes {
            self.pending -= 1;
            let item = match outcome {
                Outcome::Stored { id, placed, hash } => self.stored(id, &placed, hash, false),
                Outcome::Same { id, hash } => self.same(id, hash),
                Outcome::Before { id, placed, hash, told } => self.stored(id, &placed, hash, told),
                Outcome::Text { id, text, hash } => self.read(id, text, hash),
                Outcome::NotStored(not) => {
                    self.failed += 1;
                    let name = inert(&self.manifest.offered(not.id));
                    self.first_failure.get_or_insert_with(|| format!("`{name}`: {}", inert(&not.message)));
                    conn.send(&NotStored { id: not.id, fault: not.fault, message: not.for_peer }).await?;
                    continue;
                }
            };
            if item.encoded_len() > room {
                conn.send(&Stored { items: std::mem::take(&mut items) }).await?;
                room = ROOM_FOR_ITEMS;
            }
            room -= item.encoded_len();
            items.push(item);
        }
        if items.is_empty() { Ok(()) } else { conn.send(&Stored { items }).await }
    }

    /// Acknowledges a file, and tells of it unless that was `told` before.
    fn stored(&mut self, id: u32, placed: &Placed, hash: Hash, told: bool) -> StoredItem {
        let offered = self.manifest.offered(id);
        let name = placed.name.as_str().to_owned();
        self.files += 1;
        self.bytes += placed.bytes;
        if !told {
            self.shelf.tell_stored(self.manifest, id, placed, hash);
        }
        let name = if name == offered { String::new() } else { name };
        StoredItem { id, bytes: placed.bytes, hash, name }
    }

    /// A text is for the person, and that is all that happens to it.
    fn read(&mut self, id: u32, text: String, hash: Hash) -> StoredItem {
        let bytes = text.len() as u64;
        self.files += 1;
        self.bytes += bytes;
        self.shelf.reporter.tell(Event::Text { transfer: self.manifest.transfer.clone(), text });
        StoredItem { id, bytes, hash, name: String::new() }
    }

    /// Acknowledged like a stored file, so that the sender knows that both have the same; counted by neither.
    fn same(&self, id: u32, hash: Hash) -> StoredItem {
        let (transfer, name) = (self.manifest.transfer.clone(), self.manifest.offered(id));
        self.shelf.reporter.tell(Event::Skipped { transfer, name, reason: SAME.to_owned() });
        StoredItem { id, bytes: self.manifest.size(id).unwrap_or_default(), hash, name: String::new() }
    }

    /// Makes what is left of the folders, and tells the sender that this was all. One that does not say that it has heard
    /// so may come back, and finds it all as it is.
    pub(super) async fn finish<S: Channel>(&mut self, conn: &mut Conn<S>) -> Result<Event, SessionError> {
        let closing = Arc::clone(&self.intake);
        let closed = conn.alive_during(spawn_blocking(move || closing.finish())).await?;
        closed.map_err(|_| SessionError::broke("an entry that this program can't handle"))??;
        conn.send(&Finished { files: self.files, bytes: self.bytes }).await?;
        let bye = timeout(Duration::from_secs(5), hear_bye(conn)).await;
        if matches!(bye, Ok(Ok(()))) || !self.shelf.sender_returns {
            self.intake.close();
        }
        match self.first_failure.take() {
            None => Ok(Event::Finished {
                transfer: self.manifest.transfer.clone(),
                files: u64::from(self.files),
                bytes: self.bytes,
                seconds: self.started.elapsed().as_secs_f64(),
                label: self.label,
            }),
            Some(first) => Err(SessionError::Incomplete(format!(
                "{} of {} files were not stored, first {first}",
                self.failed,
                self.failed + self.files as usize
            ))),
        }
    }
}
