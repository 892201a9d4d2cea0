//! An accepted transfer at the receiver, from the verdict to the last acknowledgement.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::{Duration, MissedTickBehavior, interval, timeout};

use super::conn::{PING_EVERY, SILENCE};
use super::consent::refusal;
use super::enter::Guest;
use super::error::SessionError;
use super::host::raised;
use super::inbox::{Inbox, PROGRESS_EVERY, wire_name};
use super::offer::{Manifest, verdicts};
use crate::events::Event;
use crate::names::inert;
use crate::store::{Folder, IfExists, Intake, Placed, PlannedEntry, PlannedKind};
use crate::transfer::{Hash, Incoming, LaneError, Outcome};
use crate::wire::{self, Bye, Finished, Go, LANES_CAP, NotStored, Ping, RefuseCode, STORED_CAP, Stored, StoredItem};

/// What a frame of acknowledgements has for its items, their count aside.
const ROOM_FOR_ITEMS: usize = wire::CONTROL_CAP - 4;

/// Why a file was skipped that is there already.
pub(super) const SAME: &str = "the same file is there already";

/// Stores what was accepted. `Ok` is the event that tells the end.
pub(super) async fn receive(inbox: &Inbox, guest: &mut Guest, manifest: &Manifest) -> Result<Event, SessionError> {
    let plan = manifest.plan().map_err(SessionError::Declined)?;
    let (folder, if_exists) = (Arc::clone(&inbox.folder), inbox.rules.if_exists);
    let begin = move || {
        let held = if if_exists == IfExists::Skip { held(&folder, &plan) } else { Vec::new() };
        folder.begin(plan, if_exists).map(|intake| (intake, held))
    };
    let begun = guest.conn.alive_during(spawn_blocking(begin)).await?;
    let (intake, held) = begun.map_err(|_| SessionError::broke("an entry that this program can't handle"))??;
    let intake = Arc::new(intake);
    let (outcomes, told) = mpsc::unbounded_channel();
    let incoming = Incoming::new(Arc::clone(&intake), manifest.files(), inbox.rules.max_size, outcomes);
    let busy = |_| SessionError::Declined(refusal(RefuseCode::Busy, "too much is under way there"));
    let incoming = Arc::new(incoming.map_err(busy)?);
    held.iter().for_each(|(id, size, hash)| incoming.hold(*id, *size, *hash));
    let session = wire_name();
    let (faults, faulty) = mpsc::unbounded_channel();
    let (secret, key) = (guest.lane_secret.clone(), guest.binding.client);
    let registration = inbox.host.lanes.register(session, secret, key, LANES_CAP, Arc::clone(&incoming), faults);
    for page in verdicts(manifest.entries.len() as u32, held.into_iter().map(|(id, _, hash)| (id, hash))) {
        guest.conn.send(&page).await?;
    }
    guest.conn.send(&Go { session, lanes: LANES_CAP }).await?;
    let mut receiving = Receiving {
        inbox,
        guest,
        manifest,
        incoming: &incoming,
        pending: manifest.files().count(),
        files: 0,
        bytes: 0,
        failed: 0,
        first_failure: None,
    };
    let started = Instant::now();
    receiving.run(told, faulty, || registration.session.open_lanes()).await?;
    receiving.finish(&intake, started).await
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

/// An accepted transfer while its lanes run.
struct Receiving<'a> {
    inbox: &'a Inbox,
    guest: &'a mut Guest,
    manifest: &'a Manifest,
    incoming: &'a Incoming,
    /// Accepted files without an outcome.
    pending: usize,
    files: u32,
    bytes: u64,
    failed: usize,
    first_failure: Option<String>,
}

impl Receiving<'_> {
    /// Until every accepted file has an outcome and the sender knows it.
    async fn run(
        &mut self,
        mut told: mpsc::UnboundedReceiver<Outcome>,
        mut faulty: mpsc::UnboundedReceiver<LaneError>,
        open_lanes: impl Fn() -> usize,
    ) -> Result<(), SessionError> {
        let mut leaving = self.inbox.host.leaving();
        let mut progress = interval(PROGRESS_EVERY);
        progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ping = interval(PING_EVERY);
        let (mut seen, mut moved) = (0, Instant::now());
        while self.pending > 0 {
            tokio::select! {
                Some(outcome) = told.recv() => {
                    let more = std::iter::from_fn(|| told.try_recv().ok());
                    self.acknowledge(std::iter::once(outcome).chain(more).take(STORED_CAP)).await?;
                    moved = Instant::now();
                }
                frame = self.guest.conn.recv(|_| false) => drop(frame?),
                Some(fault) = faulty.recv() => return Err(SessionError::Broke(fault.to_string())),
                _ = progress.tick() => {
                    let bytes = self.incoming.bytes();
                    if bytes != seen {
                        seen = bytes;
                        self.tell_progress(bytes);
                        moved = Instant::now();
                    } else if open_lanes() > 0 || self.incoming.is_committing() {
                        moved = Instant::now();
                    } else if moved.elapsed() > SILENCE {
                        return Err(SessionError::Silent);
                    }
                }
                _ = ping.tick() => self.guest.conn.send(&Ping).await?,
                () = raised(&mut leaving) => return Err(SessionError::Interrupted),
            }
        }
        self.tell_progress(self.incoming.bytes());
        Ok(())
    }

    fn tell_progress(&self, bytes: u64) {
        let (transfer, total) = (self.manifest.transfer.clone(), self.manifest.bytes);
        self.inbox.host.reporter.tell(Event::Progress { transfer, bytes, total });
    }

    async fn acknowledge(&mut self, outcomes: impl Iterator<Item = Outcome>) -> Result<(), SessionError> {
        let mut items: Vec<StoredItem> = Vec::new();
        let mut room = ROOM_FOR_ITEMS;
        for outcome in outcomes {
            self.pending -= 1;
            let item = match outcome {
                Outcome::Stored { id, placed, hash } => self.stored(id, &placed, hash),
                Outcome::Same { id, hash } => self.same(id, hash),
                Outcome::NotStored(not) => {
                    self.failed += 1;
                    let name = inert(&self.manifest.entries[not.id as usize].path);
                    self.first_failure.get_or_insert_with(|| format!("`{name}`: {}", inert(&not.message)));
                    self.guest.conn.send(&NotStored { id: not.id, fault: not.fault, message: not.for_peer }).await?;
                    continue;
                }
            };
            if item.encoded_len() > room {
                self.guest.conn.send(&Stored { items: std::mem::take(&mut items) }).await?;
                room = ROOM_FOR_ITEMS;
            }
            room -= item.encoded_len();
            items.push(item);
        }
        if items.is_empty() { Ok(()) } else { self.guest.conn.send(&Stored { items }).await }
    }

    fn stored(&mut self, id: u32, placed: &Placed, hash: Hash) -> StoredItem {
        let offered = self.manifest.entries[id as usize].path.clone();
        let name = placed.name.as_str().to_owned();
        self.files += 1;
        self.bytes += placed.bytes;
        self.inbox.host.reporter.tell(Event::Stored {
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

    /// Acknowledged like a stored file, so that the sender knows that both have the same; counted by neither.
    fn same(&self, id: u32, hash: Hash) -> StoredItem {
        let entry = &self.manifest.entries[id as usize];
        let (transfer, name) = (self.manifest.transfer.clone(), entry.path.clone());
        self.inbox.host.reporter.tell(Event::Skipped { transfer, name, reason: SAME.to_owned() });
        StoredItem { id, bytes: entry.size.unwrap_or_default(), hash, name: String::new() }
    }

    async fn finish(self, intake: &Arc<Intake>, started: Instant) -> Result<Event, SessionError> {
        let closing = Arc::clone(intake);
        let closed = self.guest.conn.alive_during(spawn_blocking(move || closing.finish())).await?;
        closed.map_err(|_| SessionError::broke("an entry that this program can't handle"))??;
        self.guest.conn.send(&Finished { files: self.files, bytes: self.bytes }).await?;
        // The files are stored whether or not the sender says goodbye.
        let _ = timeout(Duration::from_secs(5), self.guest.conn.expect::<Bye>()).await;
        match self.first_failure {
            None => Ok(Event::Finished {
                transfer: self.manifest.transfer.clone(),
                files: u64::from(self.files),
                bytes: self.bytes,
                seconds: started.elapsed().as_secs_f64(),
                label: self.guest.standing.label,
            }),
            Some(first) => Err(SessionError::Incomplete(format!(
                "{} of {} files were not stored, first {first}",
                self.failed,
                self.failed + self.files as usize
            ))),
        }
    }
}
