//! A transfer at the sender, whichever end dialled: offer, hear the verdicts, believe only what was acknowledged.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval, sleep_until};

use super::conn::{Channel, Conn, SILENCE, pings};
use super::error::SessionError;
use super::inbox::{PROGRESS_EVERY, wire_name};
use super::lanes::{LaneWork, Lanes, Running};
use super::offer::{Judged, announce};
use super::receiving::SAME;
use crate::events::{
    ENTRIES_TOLD, EntryKind, Event, ExitCode, Failure, Label, Offer as Told, OfferedEntry, Peer, Reporter,
};
use crate::names::{RelPath, human_bytes, inert};
use crate::store::SourceKind;
use crate::transfer::{LaneError, Manner, Outgoing, Source, Sources};
use crate::wire::{Bye, Fault, Finished, Go, Kind, NotStored, Ping, SCREEN_CAP, Stored, StoredItem, Verdict, Verdicts};

/// How long a broken lane's last words may take to arrive on the control connection.
const LAST_WORDS: Duration = Duration::from_secs(3);

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

/// What one transfer offers, and where it is told.
pub(super) struct Parcel<'a> {
    pub(super) sources: &'a Sources,
    /// What was left out before, as (name, reason).
    pub(super) left_out: &'a [(String, String)],
    pub(super) reporter: &'a dyn Reporter,
    manner: &'a Manner,
    name: [u8; 16],
    /// The same as it is told.
    pub(super) transfer: String,
}

impl<'a> Parcel<'a> {
    pub(super) fn new(
        sources: &'a Sources,
        left_out: &'a [(String, String)],
        manner: &'a Manner,
        reporter: &'a dyn Reporter,
    ) -> Self {
        let name = wire_name();
        Parcel { sources, left_out, reporter, manner, name, transfer: data_encoding::HEXLOWER.encode(&name) }
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
        let (offer, pages, end) = announce(self.name, self.sources);
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

/// An offer as a person and a script are told of it.
pub(super) fn told(sources: &Sources, peer: Peer, label: Label, transfer: String) -> Told {
    let entries = sources.iter().take(ENTRIES_TOLD).map(|source| OfferedEntry {
        name: source.name().to_owned(),
        bytes: Some(source.bytes()),
        kind: match source {
            Source::Entry(entry) => match entry.kind {
                SourceKind::File => EntryKind::File,
                SourceKind::Folder => EntryKind::Folder,
            },
            Source::Text(_) => EntryKind::Text,
        },
    });
    Told {
        transfer,
        peer,
        label,
        files: sources.iter().filter(|source| source.has_content()).count() as u64,
        bytes: sources.iter().try_fold(0u64, |sum, source| sum.checked_add(source.bytes())),
        entries: entries.collect(),
        entries_left_out: sources.count().saturating_sub(ENTRIES_TOLD) as u64,
    }
}

/// Why the session ends once a lost lane's time is up; nothing while no lane is lost.
async fn last_words(lost: &mut Option<(LaneError, tokio::time::Instant)>) -> Option<SessionError> {
    sleep_until(lost.as_ref()?.1).await;
    let (error, _) = lost.take()?;
    Some(match error {
        LaneError::Cut(error) => SessionError::Cut(error),
        error if error.is_misbehaviour() => SessionError::Broke(error.to_string()),
        error => SessionError::Cut(std::io::Error::other(error)),
    })
}

/// An accepted transfer, seen from the sender.
pub(super) struct Sending<'a> {
    parcel: &'a Parcel<'a>,
    label: Label,
    outgoing: Arc<Outgoing>,
    running: Running,
    /// By entry: whether an acknowledgement is due.
    awaited: Vec<bool>,
    pending: usize,
    left: usize,
    files: u64,
    bytes: u64,
    total: u64,
    started: Instant,
    finished: Option<Instant>,
    /// The first file that the receiver could not store, and the first that could not be read here.
    failed_there: Option<String>,
    failed_here: Option<String>,
}

impl<'a> Sending<'a> {
    pub(super) fn new(parcel: &'a Parcel<'a>, label: Label, verdicts: Vec<(u32, Verdict)>) -> Self {
        let sources = parcel.sources;
        let mut awaited = vec![false; sources.count()];
        let left = verdicts.iter().filter(|(_, verdict)| *verdict == Verdict::Leave).count();
        let is_wanted = |(id, verdict): &(u32, Verdict)| sources.get(*id).has_content() && *verdict != Verdict::Leave;
        let wanted: Vec<_> = verdicts.into_iter().filter(is_wanted).collect();
        wanted.iter().for_each(|(id, _)| awaited[*id as usize] = true);
        let total = wanted.iter().fold(0, |sum: u64, (id, _)| sum.saturating_add(sources.get(*id).bytes()));
        let pending = wanted.len();
        let outgoing = Arc::new(Outgoing::new(sources.clone(), wanted, parcel.manner.clone()));
        Sending {
            parcel,
            label,
            running: Lanes::running(LaneWork::Send(Arc::clone(&outgoing))),
            outgoing,
            awaited,
            pending,
            left,
            files: 0,
            bytes: 0,
            total,
            started: Instant::now(),
            finished: None,
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
        let mut lost: Option<(LaneError, tokio::time::Instant)> = None;
        loop {
            tokio::select! {
                frame = conn.recv(|kind| matches!(kind, Kind::Stored | Kind::NotStored | Kind::Finished)) => {
                    let frame = frame?;
                    match frame.kind {
                        Kind::Stored => self.stored(frame.decode::<Stored>()?)?,
                        Kind::NotStored => self.not_stored(frame.decode()?)?,
                        _ => {
                            self.tell_progress(self.outgoing.bytes());
                            self.end(&frame.decode()?)?;
                            return conn.send(&Bye).await;
                        }
                    }
                }
                Some(ended) = self.running.ends.recv() => {
                    lane_due = None;
                    if let (Err(error), None) = (ended, &lost) {
                        // The receiver may be telling the reason on this connection.
                        lost = Some((error, tokio::time::Instant::now() + LAST_WORDS));
                    }
                }
                Some(error) = last_words(&mut lost) => return Err(error),
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
        self.parcel.reporter.tell(Event::Progress { transfer, bytes, total: Some(self.total) });
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
            if self.outgoing.was_same(id) {
                self.parcel.reporter.tell(Event::Skipped { transfer, name: offered, reason: SAME.to_owned() });
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
            self.parcel.reporter.tell(Event::Stored { transfer, name, offered, path: None, bytes, blake3 });
        }
        Ok(())
    }

    fn not_stored(&mut self, not: NotStored) -> Result<(), SessionError> {
        let name = inert(self.resolve(not.id)?.name());
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
