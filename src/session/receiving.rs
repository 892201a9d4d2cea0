//! A transfer at the receiver, whichever end dialled: hear the offer, prepare, store, acknowledge.

use std::sync::{Arc, Weak};
use std::time::Instant;

use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Duration, MissedTickBehavior, interval, timeout};

use super::conn::{Channel, Conn, SILENCE, pings};
use super::consent::refusal;
use super::error::SessionError;
use super::host::raised;
use super::inbox::PROGRESS_EVERY;
use super::lanes::{LaneWork, Lanes, Running};
use super::offer::{Manifest, Unfrozen, verdicts};
use crate::events::{Event, Label, Offer as Told, Peer, Reporter};
use crate::names::{human_bytes, inert};
use crate::store::{Folder, IfExists, Intake, Placed, PlannedEntry, PlannedKind};
use crate::transfer::{Hash, Incoming, Outcome};
use crate::wire::{
    self, Bye, Finished, Go, Kind, LANES_CAP, NotStored, Offer, OfferEnd, Ping, RefuseCode, STORED_CAP, Stored,
    StoredItem,
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

/// The planned files that may be there already, with size and hash: those whose size is the same.
fn held(folder: &Folder, plan: &[PlannedEntry]) -> Vec<(u32, u64, Hash)> {
    let files = plan.iter().filter(|entry| entry.kind == PlannedKind::File);
    let same_size = files.filter_map(|entry| {
        let existing = folder.existing(&entry.path)?;
        let mut hasher = blake3::Hasher::new();
        // A file that can't be read is not the same for all we know.
        (Some(existing.bytes) == entry.size).then(|| hasher.update_reader(existing.file).ok())??;
        Some((entry.id, existing.bytes, *hasher.finalize().as_bytes()))
    });
    same_size.collect()
}

/// Where accepted files go, and where that is told.
#[derive(Clone, Copy)]
pub(super) struct Shelf<'a> {
    pub(super) folder: &'a Arc<Folder>,
    pub(super) if_exists: IfExists,
    /// The largest transfer in bytes.
    pub(super) max_size: Option<u64>,
    pub(super) reporter: &'a dyn Reporter,
}

/// An accepted transfer, seen from the receiver.
pub(super) struct Receiving<'a> {
    shelf: Shelf<'a>,
    manifest: &'a Manifest,
    label: Label,
    intake: Arc<Intake>,
    incoming: Arc<Incoming>,
    outcomes: mpsc::UnboundedReceiver<Outcome>,
    held: Vec<(u32, u64, Hash)>,
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
    /// Prepares the folder and reserves room.
    pub(super) async fn prepare<S: Channel>(
        conn: &mut Conn<S>,
        shelf: Shelf<'a>,
        manifest: &'a Manifest,
        label: Label,
    ) -> Result<Self, SessionError> {
        let plan = manifest.plan().map_err(SessionError::Declined)?;
        let (folder, if_exists) = (Arc::clone(shelf.folder), shelf.if_exists);
        let begin = move || {
            let held = if if_exists == IfExists::Skip { held(&folder, &plan) } else { Vec::new() };
            folder.begin(plan, if_exists).map(|intake| (intake, held))
        };
        let begun = conn.alive_during(spawn_blocking(begin)).await?;
        let (intake, held) = begun.map_err(|_| SessionError::broke("an entry that this program can't handle"))??;
        let intake = Arc::new(intake);
        let (told, outcomes) = mpsc::unbounded_channel();
        let incoming = Incoming::new(Arc::clone(&intake), manifest.files(), shelf.max_size, told);
        let busy = |_| SessionError::Declined(refusal(RefuseCode::Busy, "too much is under way there"));
        let incoming = Arc::new(incoming.map_err(busy)?);
        held.iter().for_each(|(id, size, hash)| incoming.hold(*id, *size, *hash));
        manifest.texts().for_each(|(id, size)| incoming.expect_text(id, size.unwrap_or_default()));
        Ok(Receiving {
            shelf,
            manifest,
            label,
            intake,
            running: Lanes::running(LaneWork::Receive(Arc::clone(&incoming))),
            incoming,
            outcomes,
            held,
            started: Instant::now(),
            pending: manifest.count(),
            files: 0,
            bytes: 0,
            failed: 0,
            first_failure: None,
        })
    }

    /// Held by whatever still works on this transfer, and so by its partial area.
    pub(super) fn area(&self) -> Weak<Intake> {
        Arc::downgrade(&self.intake)
    }

    /// The lanes, where any are needed.
    pub(super) fn lanes(&self) -> Option<&Running> {
        (self.pending > 0).then_some(&self.running)
    }

    /// Says what is wanted, and the name under which lanes may come.
    pub(super) async fn go<S: Channel>(&mut self, conn: &mut Conn<S>, session: [u8; 16]) -> Result<(), SessionError> {
        let held = std::mem::take(&mut self.held).into_iter();
        for page in verdicts(self.manifest.entries.len() as u32, held.map(|(id, _, hash)| (id, hash))) {
            conn.send(&page).await?;
        }
        conn.send(&Go { session, lanes: LANES_CAP }).await?;
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
                frame = conn.recv(|_| false) => drop(frame?),
                Some(ended) = self.running.ends.recv() => match ended {
                    // A sender that misbehaves on one has lost the whole session; a cut lane may be followed by another.
                    Err(error) if error.is_misbehaviour() => return Err(SessionError::Broke(error.to_string())),
                    _ => {}
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
                Outcome::Stored { id, placed, hash } => self.stored(id, &placed, hash),
                Outcome::Same { id, hash } => self.same(id, hash),
                Outcome::Text { id, text, hash } => self.read(id, text, hash),
                Outcome::NotStored(not) => {
                    self.failed += 1;
                    let name = inert(&self.manifest.entries[not.id as usize].path);
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

    fn stored(&mut self, id: u32, placed: &Placed, hash: Hash) -> StoredItem {
        let offered = self.manifest.entries[id as usize].path.clone();
        let name = placed.name.as_str().to_owned();
        self.files += 1;
        self.bytes += placed.bytes;
        self.shelf.reporter.tell(Event::Stored {
            transfer: self.manifest.transfer.clone(),
            name: name.clone(),
            offered: offered.clone(),
            path: Some(placed.path.to_string_lossy().into_owned()),
            bytes: placed.bytes,
            blake3: data_encoding::HEXLOWER.encode(&hash),
        });
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
        let entry = &self.manifest.entries[id as usize];
        let (transfer, name) = (self.manifest.transfer.clone(), entry.path.clone());
        self.shelf.reporter.tell(Event::Skipped { transfer, name, reason: SAME.to_owned() });
        StoredItem { id, bytes: entry.size.unwrap_or_default(), hash, name: String::new() }
    }

    /// Makes what is left of the folders, and tells the sender that this was all.
    pub(super) async fn finish<S: Channel>(&mut self, conn: &mut Conn<S>) -> Result<Event, SessionError> {
        let closing = Arc::clone(&self.intake);
        let closed = conn.alive_during(spawn_blocking(move || closing.finish())).await?;
        closed.map_err(|_| SessionError::broke("an entry that this program can't handle"))??;
        conn.send(&Finished { files: self.files, bytes: self.bytes }).await?;
        // The files are stored whether or not the sender says goodbye.
        let _ = timeout(Duration::from_secs(5), conn.expect::<Bye>()).await;
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
