//! A transfer at the sender, whichever end dialled: offer, hear the verdicts, believe only what was acknowledged.

use std::sync::Arc;
use std::time::Instant;

use fixedbitset::FixedBitSet;
use tokio::time::{MissedTickBehavior, interval};

use super::conn::{Channel, Conn, SILENCE, pings};
use super::error::SessionError;
use super::inbox::PROGRESS_EVERY;
use super::lanes::{LaneWork, Lanes, Running};
use super::lost_lanes::LostLanes;
use super::offer::Judgement;
use super::parcel::Parcel;
use super::receiving::SAME;
use crate::events::{Event, ExitCode, Failure, Label};
use crate::names::{RelPath, inert};
use crate::transfer::{Outgoing, Source};
use crate::wire::{Bye, Fault, Finished, Kind, LaneLost, NotStored, Ping, Stored, StoredItem, Verdict};

/// An accepted transfer, seen from the sender.
pub(super) struct Sending<'a> {
    parcel: &'a Parcel<'a>,
    label: Label,
    outgoing: Arc<Outgoing>,
    running: Running,
    /// By entry: whether an acknowledgement is due.
    awaited: FixedBitSet,
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
    pub(super) fn new(parcel: &'a Parcel<'a>, label: Label, judgement: Judgement) -> Self {
        let sources = parcel.sources;
        let started = *parcel.started.get_or_init(Instant::now);
        let mut awaited = FixedBitSet::with_capacity(sources.count());
        let (mut left, mut total) = (0, sources.bytes());
        let resumed = judgement.special().filter(|(_, verdict)| matches!(verdict, Verdict::TakeRest(_)));
        let resumed = resumed.map(|(id, _)| id).collect();
        let wanted = judgement.into_all().filter(|(id, verdict)| {
            if *verdict == Verdict::Leave {
                left += 1;
                total = total.and_then(|total| total.checked_sub(sources.get(*id).size()?));
                return false;
            }
            let has_content = sources.has_content(*id);
            awaited.set(*id as usize, has_content);
            has_content
        });
        let (acknowledged, manner) = (Arc::clone(&parcel.acknowledged), parcel.manner.clone());
        let outgoing = Arc::new(Outgoing::new(sources.clone(), wanted, acknowledged, manner));
        let pending = awaited.count_ones(..);
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
            let told = self.parcel.acknowledged.note(id, &hash);
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
        if !self.awaited.contains(id as usize) {
            return Err(SessionError::broke("an acknowledgement of what was not sent"));
        }
        self.awaited.remove(id as usize);
        self.pending -= 1;
        Ok(self.parcel.sources.get(id))
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
            return Err(Failure::new(
                ExitCode::Incomplete,
                message,
                "make room there, or look after that disk; then send the rest again",
            ));
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
