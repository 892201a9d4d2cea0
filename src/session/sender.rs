//! The sender's side: offer, wait for the verdict, feed the lanes, believe only what was acknowledged.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep_until};

use super::conn::PING_EVERY;
use super::error::SessionError;
use super::host::unless_leaving;
use super::inbox::{PROGRESS_EVERY, wire_name};
use super::lanes::Lanes;
use super::offer::{Judged, announce};
use super::opening::part;
use super::receiving::SAME;
use super::visit::{Target, Visit, open_lane, visit};
use crate::events::{ENTRIES_TOLD, EntryKind, Event, ExitCode, Failure, Label, Offer as Told, OfferedEntry, Reporter};
use crate::names::{RelPath, inert};
use crate::pairing::Identity;
use crate::store::{SourceEntry, SourceKind};
use crate::transfer::{LaneError, Outgoing, send_lane};
use crate::wire::{Bye, Fault, Finished, Go, Kind, NotStored, Ping, Role, Stored, StoredItem, Verdict, Verdicts};

/// How long a broken lane's last words may take to arrive on the control connection.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// What a sender brings along.
pub struct Sender {
    /// This end's key.
    pub identity: Identity,
    /// The name that the receiver is shown.
    pub name: String,
    /// What is offered; an entry's place is its id.
    pub entries: Arc<Vec<SourceEntry>>,
    /// What was left out before, as (name, reason).
    pub left_out: Vec<(String, String)>,
    /// The address to send from, if one was asked for.
    pub source: Option<IpAddr>,
    /// Where it is told.
    pub reporter: Arc<dyn Reporter>,
}

impl Sender {
    /// Sends everything to one receiver. Every event but the failure that is returned has been told.
    ///
    /// # Errors
    /// The failure, with the exit code that stands for it: refused in part and incomplete are failures too. Dropping
    /// `leaving` or setting it to `true` interrupts.
    pub async fn send(
        &self,
        target: &Target,
        mut leaving: watch::Receiver<bool>,
    ) -> Result<(), (Option<String>, Failure)> {
        let visit = visit(target, &self.identity, &self.name, Role::Sends, self.source, &*self.reporter);
        let mut visit = unless_leaving(&mut leaving, visit).await.map_err(|error| (None, error.failure()))?;
        let transfer = wire_name();
        let told = data_encoding::HEXLOWER.encode(&transfer);
        match unless_leaving(&mut leaving, self.offer_and_send(&mut visit, transfer, &told)).await {
            Ok(sending) => {
                visit.paired.conn.close().await;
                sending.result().map_err(|failure| (Some(told.clone()), failure))
            }
            Err(error) => {
                let refused = matches!(error, SessionError::Refused(_));
                let failure = error.failure();
                part(visit.paired.conn, error).await;
                if refused && failure.code == ExitCode::Refused {
                    self.reporter.tell(Event::Refused { transfer: told.clone(), reason: failure.message.clone() });
                }
                Err((Some(told), failure))
            }
        }
    }

    async fn offer_and_send<'a>(
        &'a self,
        visit: &mut Visit,
        transfer: [u8; 16],
        told: &'a str,
    ) -> Result<Sending<'a>, SessionError> {
        if visit.paired.role != Role::Inbox {
            return Err(SessionError::broke("it has an invitation to send, and takes no files"));
        }
        let (offer, pages, end) = announce(transfer, &self.entries);
        self.tell_offer(visit, told, offer.bytes);
        let conn = &mut visit.paired.conn;
        conn.send(&offer).await?;
        for page in &pages {
            conn.send(page).await?;
        }
        conn.send(&end).await?;
        let (verdicts, go) = self.hear_verdicts(visit).await?;
        self.reporter.tell(Event::Accepted { transfer: told.to_owned() });
        let mut sending = Sending::new(self, told, visit.paired.standing.label, verdicts);
        sending.run(visit, &go).await?;
        Ok(sending)
    }

    fn tell_offer(&self, visit: &Visit, transfer: &str, bytes: Option<u64>) {
        let entries = self.entries.iter().take(ENTRIES_TOLD).map(|entry| OfferedEntry {
            name: entry.offered.clone(),
            bytes: Some(entry.bytes),
            kind: match entry.kind {
                SourceKind::File => EntryKind::File,
                SourceKind::Folder => EntryKind::Folder,
            },
        });
        self.reporter.tell(Event::Offer(Told {
            transfer: transfer.to_owned(),
            peer: visit.paired.peer.clone(),
            label: visit.paired.standing.label,
            files: self.entries.iter().filter(|entry| entry.kind == SourceKind::File).count() as u64,
            bytes,
            entries: entries.collect(),
            entries_left_out: self.entries.len().saturating_sub(ENTRIES_TOLD) as u64,
        }));
        for (name, reason) in &self.left_out {
            let (name, reason) = (name.clone(), reason.clone());
            self.reporter.tell(Event::Skipped { transfer: transfer.to_owned(), name, reason });
        }
    }

    /// A person may take their time; the receiver's pings tell that it is still there.
    async fn hear_verdicts(&self, visit: &mut Visit) -> Result<(Vec<(u32, Verdict)>, Go), SessionError> {
        let mut judged = Judged::default();
        let mut ping = interval(PING_EVERY);
        let conn = &mut visit.paired.conn;
        loop {
            tokio::select! {
                frame = conn.recv(|kind| matches!(kind, Kind::Verdicts | Kind::Go)) => {
                    let frame = frame?;
                    match frame.kind {
                        Kind::Verdicts => judged.add(frame.decode::<Verdicts>()?.runs, self.entries.len())?,
                        _ => return Ok((judged.finish(&self.entries)?, frame.decode()?)),
                    }
                }
                _ = ping.tick() => conn.send(&Ping).await?,
            }
        }
    }
}

/// Ends the lanes when the session ends, however it does.
struct Feed {
    outgoing: Arc<Outgoing>,
    lanes: Lanes,
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.outgoing.stop();
        self.lanes.cut();
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
struct Sending<'a> {
    sender: &'a Sender,
    transfer: &'a str,
    label: Label,
    outgoing: Arc<Outgoing>,
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
    fn new(sender: &'a Sender, transfer: &'a str, label: Label, verdicts: Vec<(u32, Verdict)>) -> Self {
        let file = |id: u32| sender.entries[id as usize].kind == SourceKind::File;
        let mut awaited = vec![false; sender.entries.len()];
        let left = verdicts.iter().filter(|(_, verdict)| *verdict == Verdict::Leave).count();
        let wanted: Vec<_> =
            verdicts.into_iter().filter(|(id, verdict)| file(*id) && *verdict != Verdict::Leave).collect();
        wanted.iter().for_each(|(id, _)| awaited[*id as usize] = true);
        Sending {
            sender,
            transfer,
            label,
            pending: wanted.len(),
            total: wanted.iter().fold(0, |sum, (id, _)| sum.saturating_add(sender.entries[*id as usize].bytes)),
            outgoing: Arc::new(Outgoing::new(Arc::clone(&sender.entries), wanted)),
            awaited,
            left,
            files: 0,
            bytes: 0,
            started: Instant::now(),
            finished: None,
            failed_there: None,
            failed_here: None,
        }
    }

    /// Until the receiver has the last word.
    async fn run(&mut self, visit: &mut Visit, go: &Go) -> Result<(), SessionError> {
        let feed = Feed { outgoing: Arc::clone(&self.outgoing), lanes: Lanes::default() };
        let (ended, lane_ends) = mpsc::unbounded_channel();
        if self.pending > 0 {
            let way = visit.lane_way();
            let mut stream = tokio::select! {
                stream = open_lane(&way, &self.sender.identity, go.session, 0) => stream?,
                // Nothing was sent yet, so only a refusal or the end can come.
                frame = visit.paired.conn.recv(|_| false) => return Err(SessionError::misplaced(frame?.kind)),
            };
            feed.lanes.enter(0, &stream.sock).map_err(SessionError::Cut)?;
            let outgoing = Arc::clone(&self.outgoing);
            let lane = std::thread::Builder::new().spawn(move || {
                // The session may have ended first.
                let _ = ended.send(send_lane(&mut stream, &outgoing));
            });
            lane.map_err(SessionError::Cut)?;
        }
        self.attend(visit, lane_ends).await
    }

    async fn attend(
        &mut self,
        visit: &mut Visit,
        mut lane_ends: mpsc::UnboundedReceiver<Result<(), LaneError>>,
    ) -> Result<(), SessionError> {
        let mut progress = interval(PROGRESS_EVERY);
        progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ping = interval(PING_EVERY);
        let mut seen = 0;
        let mut feeding = self.pending > 0;
        let mut lost: Option<(LaneError, tokio::time::Instant)> = None;
        let conn = &mut visit.paired.conn;
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
                ended = lane_ends.recv(), if feeding => {
                    feeding = false;
                    // A lane that ends without a word has panicked.
                    if let Err(error) = ended.unwrap_or(Err(LaneError::Stopped)) {
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
                }
                _ = ping.tick() => conn.send(&Ping).await?,
            }
        }
    }

    fn tell_progress(&self, bytes: u64) {
        let transfer = self.transfer.to_owned();
        self.sender.reporter.tell(Event::Progress { transfer, bytes, total: Some(self.total) });
    }

    /// An acknowledgement counts only for a file that was sent, with the hash that it was sent with.
    fn stored(&mut self, stored: Stored) -> Result<(), SessionError> {
        for StoredItem { id, bytes, hash, name } in stored.items {
            let entry = self.resolve(id)?;
            let sent = self.outgoing.take_hash(id);
            if sent != Some(hash) || bytes != entry.bytes {
                return Err(SessionError::broke(format!(
                    "`{}` is acknowledged as another file",
                    inert(&entry.offered)
                )));
            }
            if self.outgoing.was_same(id) {
                let (transfer, name) = (self.transfer.to_owned(), entry.offered.clone());
                self.sender.reporter.tell(Event::Skipped { transfer, name, reason: SAME.to_owned() });
                continue;
            }
            let name = match name.is_empty() {
                true => entry.offered.clone(),
                // A receiver may call the file what it likes, as long as it can be shown.
                false => RelPath::from_stranger(&name).map_or_else(|_| inert(&name), |path| path.as_str().to_owned()),
            };
            self.files += 1;
            self.bytes += bytes;
            self.sender.reporter.tell(Event::Stored {
                transfer: self.transfer.to_owned(),
                name,
                offered: entry.offered.clone(),
                path: None,
                bytes,
                blake3: data_encoding::HEXLOWER.encode(&hash),
            });
        }
        Ok(())
    }

    fn not_stored(&mut self, not: NotStored) -> Result<(), SessionError> {
        let name = inert(&self.resolve(not.id)?.offered);
        let what = format!("`{name}`: {}", inert(&not.message));
        // What failed here is told with our own reason, below.
        if not.fault != Fault::Sender {
            self.failed_there.get_or_insert(what);
        } else {
            self.failed_here.get_or_insert(what);
        }
        Ok(())
    }

    fn resolve(&mut self, id: u32) -> Result<&'a SourceEntry, SessionError> {
        match self.awaited.get_mut(id as usize) {
            Some(awaited) if *awaited => {
                *awaited = false;
                self.pending -= 1;
                Ok(&self.sender.entries[id as usize])
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
    fn result(&self) -> Result<(), Failure> {
        if let Some(failed) = self.outgoing.take_failed().into_iter().next() {
            let name = inert(&self.sender.entries[failed.id as usize].offered);
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
            let message = format!("{} of {} entries were not taken", self.left, self.sender.entries.len());
            return Err(Failure::new(ExitCode::Refused, message, ""));
        }
        self.sender.reporter.tell(Event::Finished {
            transfer: self.transfer.to_owned(),
            files: self.files,
            bytes: self.bytes,
            seconds: self.finished.unwrap_or(self.started).duration_since(self.started).as_secs_f64(),
            label: self.label,
        });
        Ok(())
    }
}
