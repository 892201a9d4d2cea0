//! The receiver's side: what is offered, who decides, what is stored and acknowledged.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::time::{interval, timeout};

use super::conn::PING_EVERY;
use super::consent::{Level, consent, refusal};
use super::enter::{Entrance, Guest, enter};
use super::error::{SessionError, Unconfirmed};
use super::host::{Host, lock, raised, unless_leaving};
use super::offer::{Manifest, Unfrozen};
use super::opening::part;
use super::receiving::receive;
use crate::events::{Event, ExitCode, Offer as Told};
use crate::net::accept::{Arrival, Dialect};
use crate::store::{Folder, IfExists};
use crate::transfer::receive_lane;
use crate::wire::{Kind, Offer, OfferEnd, Ping, RefuseCode, Role};

/// Progress is told at most this often, which the contract of `--json` promises.
pub(super) const PROGRESS_EVERY: Duration = Duration::from_millis(250);

/// How often strangers who failed before anything was accepted are told of, at most: a person or a script learns of
/// it, and a flood of them buries nothing else.
const STRANGERS_TOLD: u32 = 20;
const STRANGERS_WINDOW: Duration = Duration::from_secs(10);

/// What is done with tutorial senders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Classic {
    /// They are refused.
    Off,
    /// A person is asked.
    Ask,
    /// They are taken.
    Accept,
}

/// What an inbox takes, and from whom.
pub struct InboxRules {
    /// Who is taken without asking; `None`: nobody.
    pub yes: Option<Level>,
    /// What happens to names that exist.
    pub if_exists: IfExists,
    /// The largest transfer in bytes.
    pub max_size: Option<u64>,
    /// Whether one finished transfer is all there will be.
    pub once: bool,
    /// Tutorial senders.
    pub classic: Classic,
}

/// How a transfer that a person or a flag had accepted came out.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Who it was, as far as an address tells.
    pub address: IpAddr,
    /// `Ok` if everything accepted was stored.
    pub result: Result<(), ExitCode>,
    /// A person at this end found something wrong: with `once` there is nothing more to wait for.
    pub given_up: bool,
}

/// A folder that others may send to; shared by all sessions.
pub struct Inbox {
    pub(super) host: Host,
    pub(super) folder: Arc<Folder>,
    pub(super) rules: InboxRules,
    pub(super) under_way: AtomicUsize,
    /// With `once`: a transfer has the place, or has been finished.
    taken: AtomicBool,
    /// Strangers told of since then.
    strangers: Mutex<(Instant, u32)>,
    ended: mpsc::UnboundedSender<Ended>,
    pub(super) leaving: watch::Sender<bool>,
}

impl Inbox {
    /// Opens the inbox. Each transfer that was accepted is reported through the channel when it ends.
    pub fn new(host: Host, folder: Arc<Folder>, rules: InboxRules) -> (Arc<Self>, mpsc::UnboundedReceiver<Ended>) {
        let (ended, endings) = mpsc::unbounded_channel();
        let inbox = Inbox {
            host,
            folder,
            rules,
            under_way: AtomicUsize::new(0),
            taken: AtomicBool::new(false),
            strangers: Mutex::new((Instant::now(), 0)),
            ended,
            leaving: watch::Sender::new(false),
        };
        (Arc::new(inbox), endings)
    }

    /// Key, tokens and name.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// How many transfers are accepted and not ended.
    pub fn under_way(&self) -> usize {
        self.under_way.load(Ordering::Acquire)
    }

    /// Ends every session: each tells its peer. Returns once they have, or after a moment.
    pub async fn leave(&self) {
        self.leaving.send_replace(true);
        // Each session holds a receiver of `leaving` and drops it as its last act.
        let _ = timeout(Duration::from_secs(3), self.leaving.closed()).await;
    }

    /// Serves one connection, whatever it speaks, to its end.
    pub async fn serve(&self, arrival: Arrival) {
        let mut leaving = self.leaving.subscribe();
        let address = arrival.peer;
        let dialect = arrival.dialect;
        let result = match dialect {
            Dialect::Native => self.serve_native(arrival, &mut leaving).await,
            // Their senders can't be told anything.
            Dialect::Classic { .. } => unless_leaving(&mut leaving, self.serve_classic(arrival)).await,
            Dialect::Web => unless_leaving(&mut leaving, super::web_notice::serve(arrival)).await,
        };
        if let Err(error) = result
            && !matches!(error, SessionError::Interrupted)
            && self.one_more_stranger()
        {
            let mut failure = error.failure();
            failure.message = format!("{} ({})", failure.message, address.ip());
            self.host.reporter.tell(Event::Failed { transfer: None, failure });
        }
    }

    fn one_more_stranger(&self) -> bool {
        let mut told = lock(&self.strangers);
        if told.0.elapsed() >= STRANGERS_WINDOW {
            *told = (Instant::now(), 0);
        }
        told.1 += 1;
        told.1 <= STRANGERS_TOLD
    }

    async fn serve_native(&self, arrival: Arrival, leaving: &mut watch::Receiver<bool>) -> Result<(), SessionError> {
        let address = arrival.peer.ip();
        match enter(&self.host, arrival, leaving).await {
            Ok(Entrance::Lane(handle, mut stream)) => {
                let done = move || {
                    let ended = receive_lane(&mut stream, &handle.session.incoming);
                    handle.session.report(ended);
                    // The sender waits for our end before it closes its own.
                    stream.conn.send_close_notify();
                    let _ = stream.conn.complete_io(&mut stream.sock);
                };
                std::thread::Builder::new().spawn(done).map(drop).map_err(SessionError::Cut)
            }
            Ok(Entrance::Guest(guest)) => self.serve_guest(*guest, leaving).await,
            // A stranger who only knocked and left is not worth a person's attention.
            Err(SessionError::Cut(_) | SessionError::Silent | SessionError::TooSlow) => Ok(()),
            // Where a person took part; a stranger alone can't fail the command.
            Err(SessionError::CodeDiffers(who @ (Unconfirmed::Here | Unconfirmed::There))) => {
                let given_up = matches!(who, Unconfirmed::Here);
                // Nobody listens once the command is leaving.
                let _ = self.ended.send(Ended { address, result: Err(ExitCode::Pairing), given_up });
                Err(SessionError::CodeDiffers(who))
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn ended(&self, code: ExitCode, address: IpAddr) {
        let result = if code == ExitCode::Ok { Ok(()) } else { Err(code) };
        // Nobody listens once the command is leaving.
        let _ = self.ended.send(Ended { address, result, given_up: false });
    }

    async fn serve_guest(&self, mut guest: Guest, leaving: &mut watch::Receiver<bool>) -> Result<(), SessionError> {
        let offered = match unless_leaving(leaving, self.hear_offer(&mut guest)).await {
            Ok(offered) => offered,
            Err(error) => return Err(part(guest.conn, error).await),
        };
        let transfer = offered.transfer.clone();
        let place = match self.decide(&mut guest, &offered).await {
            Ok(place) => place,
            Err(error) => {
                let reason = error.to_string();
                self.host.reporter.tell(Event::Refused { transfer, reason });
                let declined = matches!(error, SessionError::Declined(_));
                let error = part(guest.conn, error).await;
                return if declined { Ok(()) } else { Err(error) };
            }
        };
        let address = guest.peer.address.ip();
        self.host.reporter.tell(Event::Accepted { transfer: transfer.clone() });
        match receive(self, &mut guest, &offered).await {
            Ok(finished) => {
                place.keep();
                self.host.reporter.tell(finished);
                self.ended(ExitCode::Ok, address);
                guest.conn.close().await;
            }
            Err(error) => {
                drop(place);
                let failure = error.failure();
                let code = failure.code;
                self.host.reporter.tell(Event::Failed { transfer: Some(transfer), failure });
                part(guest.conn, error).await;
                self.ended(code, address);
            }
        }
        Ok(())
    }

    async fn hear_offer(&self, guest: &mut Guest) -> Result<Manifest, SessionError> {
        if guest.role != Role::Sends {
            return Err(SessionError::Declined(refusal(RefuseCode::Role, "this is an inbox: it takes files")));
        }
        let offer: Offer = guest.conn.expect().await?;
        let mut unfrozen = Unfrozen::new(offer);
        loop {
            let frame = guest.conn.recv(|kind| matches!(kind, Kind::Page | Kind::OfferEnd)).await?;
            match frame.kind {
                Kind::Page => unfrozen.add(&frame.payload)?,
                _ => return unfrozen.freeze(&frame.decode::<OfferEnd>()?),
            }
        }
    }

    /// Whether it is taken. The refusal, if any, is not said yet.
    async fn decide(&self, guest: &mut Guest, manifest: &Manifest) -> Result<Place<'_>, SessionError> {
        let (files, entries, entries_left_out) = manifest.told();
        let offer = Told {
            transfer: manifest.transfer.clone(),
            peer: guest.peer.clone(),
            label: guest.standing.label,
            files,
            bytes: manifest.bytes,
            entries,
            entries_left_out,
        };
        self.host.reporter.tell(Event::Offer(offer.clone()));
        manifest.plan().map_err(SessionError::Declined)?;
        self.within_limits(manifest.bytes)?;
        let mut leaving = self.leaving.subscribe();
        let mut ping = interval(PING_EVERY);
        let mut asked = std::pin::pin!(consent(&*self.host.reporter, self.rules.yes, guest.standing, offer));
        loop {
            tokio::select! {
                answer = &mut asked => {
                    answer.map_err(SessionError::Declined)?;
                    return self.take_place();
                }
                // Nothing but a farewell is due from the sender now.
                frame = guest.conn.recv(|_| false) => drop(frame?),
                _ = ping.tick() => guest.conn.send(&Ping).await?,
                () = raised(&mut leaving) => return Err(SessionError::Interrupted),
            }
        }
    }

    pub(super) fn within_limits(&self, bytes: Option<u64>) -> Result<(), SessionError> {
        match (self.rules.max_size, bytes) {
            (Some(most), Some(bytes)) if bytes > most => {
                let text = format!("at most {} are taken there", crate::names::human_bytes(most));
                Err(SessionError::Declined(refusal(RefuseCode::TooLarge, text)))
            }
            _ => Ok(()),
        }
    }

    /// With `--once`, of two accepted at the same moment one gets the place.
    pub(super) fn take_place(&self) -> Result<Place<'_>, SessionError> {
        if self.rules.once && self.taken.swap(true, Ordering::AcqRel) {
            let text = "one transfer is all that is taken there, and another has the place";
            return Err(SessionError::Declined(refusal(RefuseCode::Busy, text)));
        }
        self.under_way.fetch_add(1, Ordering::AcqRel);
        Ok(Place { inbox: self, kept: false })
    }
}

/// A random name for a session or transfer.
pub(super) fn wire_name() -> [u8; 16] {
    *crate::pairing::Token::random().as_bytes()
}

/// A transfer that was accepted. With `--once` it holds the only place until it fails.
pub(super) struct Place<'a> {
    inbox: &'a Inbox,
    kept: bool,
}

impl Place<'_> {
    /// It succeeded: with `--once` nobody else gets in.
    pub(super) fn keep(mut self) {
        self.kept = true;
        if self.inbox.rules.once {
            self.inbox.host.spend();
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.inbox.under_way.fetch_sub(1, Ordering::AcqRel);
        if !self.kept {
            self.inbox.taken.store(false, Ordering::Release);
        }
    }
}
