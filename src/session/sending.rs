//! A transfer at the sender, whichever end dialled: offer, hear the verdicts, believe only what was acknowledged.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval, sleep_until};

use super::conn::{Channel, Conn, SILENCE, pings};
use super::error::SessionError;
use super::host::lock;
use super::inbox::PROGRESS_EVERY;
use super::lanes::{LaneWork, Lanes, Running};
use super::offer::{Judged, announce};
use super::receiving::SAME;
use super::returning::Ticket;
use crate::events::{
    ENTRIES_TOLD, EntryKind, Event, ExitCode, Failure, Label, Offer as Told, OfferedEntry, Peer, Reporter,
};
use crate::names::{RelPath, human_bytes, inert};
use crate::store::SourceKind;
use crate::transfer::{Hash, LaneError, Manner, Outgoing, Source, Sources};
use crate::wire::{
    Bye, CHUNK_LEN, Fault, Finished, Go, Kind, LaneLost, NotStored, Ping, SCREEN_CAP, Stored, StoredItem, Verdict,
    Verdicts,
};

/// How long the receiver may take to say why a lane broke, or that it has let go of it.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// Whether a text is short enough to be sent as one.
///
/// # Errors
/// The failure to end with if it is not.
pub fn check_text(text: &str) -> Result<(), Failure> {
    if text.len() as u64 <= SCREEN_CAP {
        return Ok(());
    }
    let message = format!("a text of {} is too long for a screen", human_bytes(text.len() as u64));
    Err(Failure::new(ExitCode::Usage, message, "send it as a file"))
}

/// What one transfer offers, and where it is told, in as many sessions as it takes.
pub(super) struct Parcel<'a> {
    pub(super) sources: &'a Sources,
    /// What was left out before, as (name, reason).
    pub(super) left_out: &'a [(String, String)],
    pub(super) reporter: &'a dyn Reporter,
    manner: &'a Manner,
    pub(super) ticket: Ticket,
    /// Its name as it is told.
    pub(super) transfer: String,
    /// What was acknowledged so far, and told.
    acknowledged: Mutex<HashMap<u32, Hash>>,
    /// When it was accepted first.
    started: OnceLock<Instant>,
}

impl<'a> Parcel<'a> {
    pub(super) fn new(
        sources: &'a Sources,
        left_out: &'a [(String, String)],
        manner: &'a Manner,
        ticket: Ticket,
        reporter: &'a dyn Reporter,
    ) -> Self {
        let transfer = data_encoding::HEXLOWER.encode(&ticket.transfer);
        let (acknowledged, started) = (Mutex::default(), OnceLock::new());
        Parcel { sources, left_out, reporter, manner, ticket, transfer, acknowledged, started }
    }

    /// Whether it can be gone on with when it is cut, and is worth it.
    pub(super) fn is_large(&self) -> bool {
        !self.sources.are_piped()
            && self.sources.iter().fold(0u64, |sum, source| sum.saturating_add(source.bytes())) > CHUNK_LEN
    }

    /// Tells that it goes on where an earlier session was cut, for that `reason`.
    pub(super) fn tell_retry(&self, verdicts: &[(u32, Verdict)], reason: String) {
        let (transfer, from_bytes) = (self.transfer.clone(), self.kept_bytes(verdicts));
        self.reporter.tell(Event::Retry { transfer, from_bytes, reason });
    }

    /// Tells that it goes on where an earlier run was cut, if the receiver has anything of it.
    pub(super) fn tell_if_begun(&self, verdicts: &[(u32, Verdict)]) {
        if self.kept_bytes(verdicts) > 0 {
            self.tell_retry(verdicts, "it was cut in an earlier run".to_owned());
        }
    }

    /// What the receiver has of this very transfer.
    fn kept_bytes(&self, verdicts: &[(u32, Verdict)]) -> u64 {
        let of = |(id, verdict): &(u32, Verdict)| {
            let bytes = self.sources.get(*id).bytes();
            match verdict {
                Verdict::TakeRest(held) => held.iter().map(|run| run_bytes(*run, bytes)).sum(),
                Verdict::Stored(_) => bytes,
                Verdict::Leave | Verdict::Take | Verdict::Have(_) => 0,
            }
        };
        verdicts.iter().map(of).sum()
    }

    pub(super) fn told(&self, peer: Peer, label: Label) -> Told {
        told(self.sources, peer, label, self.transfer.clone())
    }

    pub(super) fn tell_left_out(&self) {
        for (name, reason) in self.left_out {
            let (transfer, name, reason) = (self.transfer.clone(), name.clone(), reason.clone());
            self.reporter.tell(Event::Skipped { transfer, name, reason });
        }
    }

    /// Says the whole offer.
    pub(super) async fn offer<S: Channel>(&self, conn: &mut Conn<S>) -> Result<(), SessionError> {
        let (offer, pages, end) = announce(&self.ticket, self.sources);
        conn.send(&offer).await?;
        for page in &pages {
            conn.send(page).await?;
        }
        conn.send(&end).await
    }

    /// A person may take their time; the receiver's pings tell that it is still there.
    pub(super) async fn hear_verdicts<S: Channel>(
        &self,
        conn: &mut Conn<S>,
    ) -> Result<(Vec<(u32, Verdict)>, Go), SessionError> {
        let mut judged = Judged::default();
        let mut ping = pings();
        loop {
            tokio::select! {
                frame = conn.recv(|kind| matches!(kind, Kind::Verdicts | Kind::Go)) => {
                    let frame = frame?;
                    match frame.kind {
                        Kind::Verdicts => judged.add(frame.decode::<Verdicts>()?.runs, self.sources.count())?,
                        _ => return Ok((judged.finish(self.sources)?, frame.decode()?)),
                    }
                }
                _ = ping.tick() => conn.send(&Ping).await?,
            }
        }
    }
}

/// The bytes of a run of chunks of a file of `size` bytes.
fn run_bytes((first, count): (u32, u32), size: u64) -> u64 {
    let (first, end) = (u64::from(first), u64::from(first) + u64::from(count));
    size.min(end * CHUNK_LEN).saturating_sub(first * CHUNK_LEN)
}

/// An offer as a person and a script are told of it.
pub(super) fn told(sources: &Sources, peer: Peer, label: Label, transfer: String) -> Told {
    let entries = sources.iter().take(ENTRIES_TOLD).map(|source| OfferedEntry {
        name: source.name().to_owned(),
        bytes: source.size(),
        kind: match source {
            Source::Entry(entry) => match entry.kind {
                SourceKind::File => EntryKind::File,
                SourceKind::Folder => EntryKind::Folder,
            },
            Source::Text(_) => EntryKind::Text,
            Source::Piped(_) => EntryKind::File,
        },
    });
    Told {
        transfer,
        peer,
        label,
        files: sources.iter().filter(|source| source.has_content()).count() as u64,
        bytes: sources.bytes(),
        entries: entries.collect(),
        entries_left_out: sources.count().saturating_sub(ENTRIES_TOLD) as u64,
    }
}

/// Lanes that are lost, until both ends have let go of them.
#[derive(Default)]
struct LostLanes {
    /// This end has; the receiver has to say so.
    waiting: HashSet<u16>,
    /// The receiver has; here the lane is being cut.
    told: HashSet<u16>,
    /// When the session ends, and why, if the receiver has not said so by then.
    until: Option<(tokio::time::Instant, LaneError)>,
}

impl LostLanes {
    /// A lane broke here. Whether the receiver has yet to be told.
    fn here(&mut self, lane: u16, error: LaneError, outgoing: &Outgoing) -> bool {
        if self.told.remove(&lane) && !error.is_misbehaviour() {
            outgoing.say_again(lane);
            return false;
        }
        // The receiver may be telling the reason on the control connection.
        self.waiting.insert(lane);
        self.until.get_or_insert((tokio::time::Instant::now() + LAST_WORDS, error));
        true
    }

    /// The receiver has let go of a lane.
    fn there(&mut self, lane: u16, lanes: &Lanes, outgoing: &Outgoing) {
        if self.waiting.remove(&lane) {
            outgoing.say_again(lane);
            if self.waiting.is_empty() {
                self.until = None;
            }
        } else if lanes.cut(lane) {
            self.told.insert(lane);
        }
    }

    /// Why the session ends once the receiver's time is up; nothing while no lane is lost.
    async fn patience(&mut self) -> Option<SessionError> {
        sleep_until(self.until.as_ref()?.0).await;
        let (_, error) = self.until.take()?;
        Some(match error {
            LaneError::Cut(error) => SessionError::Cut(error),
            error if error.is_misbehaviour() => SessionError::Broke(error.to_string()),
            error => SessionError::Cut(std::io::Error::other(error)),
        })
    }
}

/// An accepted transfer, seen from the sender.
pub(super) struct Sending<'a> {
    parcel: &'a Parcel<'a>,
    label: Label,
    outgoing: Arc<Outgoing>,
    running: Running,
    /// By entry: whether an acknowledgement is due.
    awaited: Vec<bool>,
    /// Entries of which the receiver had a part, as it said.
    resumed: Vec<u32>,
    pending: usize,
    left: usize,
    files: u64,
    bytes: u64,
    /// Bytes in all; `None` if that is unknown.
    total: Option<u64>,
    started: Instant,
    finished: Option<Instant>,
    /// A part that the receiver had is not of the file as it is now.
    stale: bool,
    /// The first file that the receiver could not store, and the first that could not be read here.
    failed_there: Option<String>,
    failed_here: Option<String>,
}

impl<'a> Sending<'a> {
    pub(super) fn new(parcel: &'a Parcel<'a>, label: Label, verdicts: Vec<(u32, Verdict)>) -> Self {
        let sources = parcel.sources;
        let started = *parcel.started.get_or_init(Instant::now);
        let mut awaited = vec![false; sources.count()];
        let left = verdicts.iter().filter(|(_, verdict)| *verdict == Verdict::Leave).count();
        let is_wanted = |(id, verdict): &(u32, Verdict)| sources.get(*id).has_content() && *verdict != Verdict::Leave;
        let wanted: Vec<_> = verdicts.into_iter().filter(is_wanted).collect();
        wanted.iter().for_each(|(id, _)| awaited[*id as usize] = true);
        let total = wanted.iter().try_fold(0u64, |sum, (id, _)| sum.checked_add(sources.get(*id).size()?));
        let pending = wanted.len();
        let resumed = wanted.iter().filter(|(_, verdict)| matches!(verdict, Verdict::TakeRest(_)));
        let resumed = resumed.map(|(id, _)| *id).collect();
        let acknowledged = lock(&parcel.acknowledged).clone();
        let outgoing = Arc::new(Outgoing::new(sources.clone(), wanted, acknowledged, parcel.manner.clone()));
        Sending {
            parcel,
            label,
            running: Lanes::running(LaneWork::Send(Arc::clone(&outgoing))),
            outgoing,
            awaited,
            resumed,
            pending,
            left,
            files: 0,
            bytes: 0,
            total,
            started,
            finished: None,
            stale: false,
            failed_there: None,
            failed_here: None,
        }
    }

    /// The lanes, where any are needed; they may come as soon as [`Sending::attend`] is called.
    pub(super) fn lanes(&self) -> Option<&Running> {
        (self.pending > 0).then_some(&self.running)
    }

    /// Until the receiver has the last word.
    pub(super) async fn attend<S: Channel>(&mut self, conn: &mut Conn<S>) -> Result<(), SessionError> {
        let mut progress = interval(PROGRESS_EVERY);
        progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ping = pings();
        let mut seen = 0;
        let mut lane_due = (self.pending > 0).then(|| Instant::now() + SILENCE);
        let mut lost = LostLanes::default();
        loop {
            tokio::select! {
                frame = conn.recv(|kind| matches!(kind, Kind::Stored | Kind::NotStored | Kind::LaneLost | Kind::Finished)) => {
                    let frame = frame?;
                    match frame.kind {
                        Kind::LaneLost => {
                            let LaneLost { lane } = frame.decode()?;
                            lost.there(lane, &self.running.lanes, &self.outgoing);
                        }
                        Kind::Stored => self.stored(frame.decode::<Stored>()?)?,
                        Kind::NotStored => self.not_stored(frame.decode()?)?,
                        _ => {
                            self.tell_progress(self.outgoing.bytes());
                            self.end(&frame.decode()?)?;
                            return conn.send(&Bye).await;
                        }
                    }
                }
                Some((lane, ended)) = self.running.ends.recv() => {
                    lane_due = None;
                    if let Err(error) = ended {
                        lane_due = Some(Instant::now() + SILENCE);
                        if lost.here(lane, error, &self.outgoing) {
                            conn.send(&LaneLost { lane }).await?;
                        }
                    }
                }
                Some(error) = lost.patience() => return Err(error),
                _ = progress.tick() => {
                    let bytes = self.outgoing.bytes();
                    if bytes != seen {
                        seen = bytes;
                        self.tell_progress(bytes);
                    }
                    if self.running.lanes.count() > 0 {
                        lane_due = None;
                    } else if lane_due.is_some_and(|due| Instant::now() > due) {
                        return Err(SessionError::Silent);
                    }
                }
                _ = ping.tick() => conn.send(&Ping).await?,
            }
        }
    }

    fn tell_progress(&self, bytes: u64) {
        let transfer = self.parcel.transfer.clone();
        self.parcel.reporter.tell(Event::Progress { transfer, bytes, total: self.total });
    }

    /// An acknowledgement counts only for a file that was sent, with the hash that it was sent with.
    fn stored(&mut self, stored: Stored) -> Result<(), SessionError> {
        for StoredItem { id, bytes, hash, name } in stored.items {
            let source = self.resolve(id)?;
            let offered = source.name().to_owned();
            let sent = self.outgoing.take_hash(id);
            if sent != Some(hash) || bytes != source.bytes() {
                return Err(SessionError::broke(format!("`{}` is acknowledged as another file", inert(&offered))));
            }
            let transfer = self.parcel.transfer.clone();
            let told = lock(&self.parcel.acknowledged).insert(id, hash).is_some();
            if self.outgoing.was_same(id) {
                if !told {
                    self.parcel.reporter.tell(Event::Skipped { transfer, name: offered, reason: SAME.to_owned() });
                }
                continue;
            }
            let name = match name.is_empty() {
                true => offered.clone(),
                // A receiver may call the file what it likes, as long as it can be shown.
                false => RelPath::from_stranger(&name).map_or_else(|_| inert(&name), |path| path.as_str().to_owned()),
            };
            self.files += 1;
            self.bytes += bytes;
            let blake3 = data_encoding::HEXLOWER.encode(&hash);
            if !told {
                self.parcel.reporter.tell(Event::Stored { transfer, name, offered, path: None, bytes, blake3 });
            }
        }
        Ok(())
    }

    fn not_stored(&mut self, not: NotStored) -> Result<(), SessionError> {
        let name = inert(self.resolve(not.id)?.name());
        if not.fault == Fault::Sender && self.resumed.contains(&not.id) && !self.outgoing.has_failed(not.id) {
            // The receiver has dropped what it had, and takes the whole file the next time.
            self.stale = true;
            return Ok(());
        }
        let what = format!("`{name}`: {}", inert(&not.message));
        // What failed here is told with our own reason, below.
        if not.fault != Fault::Sender {
            self.failed_there.get_or_insert(what);
        } else {
            self.failed_here.get_or_insert(what);
        }
        Ok(())
    }

    fn resolve(&mut self, id: u32) -> Result<Source<'a>, SessionError> {
        match self.awaited.get_mut(id as usize) {
            Some(awaited) if *awaited => {
                *awaited = false;
                self.pending -= 1;
                Ok(self.parcel.sources.get(id))
            }
            _ => Err(SessionError::broke("an acknowledgement of what was not sent")),
        }
    }

    fn end(&mut self, finished: &Finished) -> Result<(), SessionError> {
        if self.pending > 0 || u64::from(finished.files) != self.files || finished.bytes != self.bytes {
            return Err(SessionError::broke("an end before every file is accounted for"));
        }
        self.finished = Some(Instant::now());
        Ok(())
    }

    /// Whether another session is needed, since the source is not what the receiver had a part of.
    pub(super) fn is_stale(&self) -> bool {
        self.stale
    }

    /// How it came out; tells `finished` if everything was stored.
    pub(super) fn result(&self) -> Result<(), Failure> {
        if let Some(failed) = self.outgoing.take_failed().into_iter().next() {
            let name = inert(self.parcel.sources.get(failed.id).name());
            let message = format!("`{name}` could not be sent: {}", failed.reason);
            return Err(Failure::new(ExitCode::Local, message, "everything else was stored; send it again"));
        }
        if let Some(failed) = &self.failed_there {
            let message = format!("the receiver could not store {failed}");
            return Err(Failure::new(ExitCode::Incomplete, message, "free space there, then send the rest again"));
        }
        if let Some(failed) = &self.failed_here {
            let message = format!("the receiver found a fault in what was sent: {failed}");
            return Err(Failure::new(ExitCode::Incomplete, message, "send it again; if it stays, report it"));
        }
        if self.left > 0 {
            let message = format!("{} of {} entries were not taken", self.left, self.parcel.sources.count());
            return Err(Failure::new(ExitCode::Refused, message, ""));
        }
        self.parcel.reporter.tell(Event::Finished {
            transfer: self.parcel.transfer.clone(),
            files: self.files,
            bytes: self.bytes,
            seconds: self.finished.unwrap_or(self.started).duration_since(self.started).as_secs_f64(),
            label: self.label,
        });
        Ok(())
    }
}
