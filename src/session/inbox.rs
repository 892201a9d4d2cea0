//! The receiver's side: what is offered, who decides, what is stored and acknowledged.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::interval;

use super::conn::PING_EVERY;
use super::consent::{Level, Standing, consent, refusal};
use super::enter::{Entrance, Guest, Visitor, enter};
use super::error::{SessionError, Unconfirmed};
use super::host::{Ended, Host, Place, raised, unless_leaving};
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
    /// Tutorial senders.
    pub classic: Classic,
}

/// A folder that others may send to; shared by all sessions.
pub struct Inbox {
    pub(crate) host: Arc<Host>,
    pub(crate) folder: Arc<Folder>,
    pub(crate) rules: InboxRules,
}

impl Inbox {
    /// Opens the inbox.
    pub fn new(host: Arc<Host>, folder: Arc<Folder>, rules: InboxRules) -> Arc<Self> {
        Arc::new(Inbox { host, folder, rules })
    }

    /// Serves one connection of our own protocol or the tutorial's to its end. A browser is handed back.
    pub async fn serve(&self, arrival: Arrival) -> Option<Visitor> {
        let mut leaving = self.host.leaving();
        let address = arrival.peer.ip();
        let served = match arrival.dialect {
            Dialect::Web => return Some(Visitor::Plain(arrival)),
            // Their senders can't be told anything.
            Dialect::Classic { .. } => unless_leaving(&mut leaving, self.serve_classic(arrival)).await.map(|()| None),
            Dialect::Native => self.serve_native(arrival, &mut leaving).await,
        };
        served.unwrap_or_else(|error| {
            self.host.tell_stranger(address, &error);
            None
        })
    }

    async fn serve_native(
        &self,
        arrival: Arrival,
        leaving: &mut watch::Receiver<bool>,
    ) -> Result<Option<Visitor>, SessionError> {
        let address = arrival.peer.ip();
        match enter(&self.host, arrival, leaving).await {
            Ok(Entrance::Browser(visitor)) => Ok(Some(visitor)),
            Ok(Entrance::Lane(handle, mut stream)) => {
                let done = move || {
                    let ended = receive_lane(&mut stream, &handle.session.incoming);
                    handle.session.report(ended);
                    // The sender waits for our end before it closes its own.
                    stream.conn.send_close_notify();
                    let _ = stream.conn.complete_io(&mut stream.sock);
                };
                std::thread::Builder::new().spawn(done).map(|_| None).map_err(SessionError::Cut)
            }
            Ok(Entrance::Guest(guest)) => self.serve_guest(*guest, leaving).await.map(|()| None),
            // A stranger who only knocked and left is not worth a person's attention.
            Err(SessionError::Cut(_) | SessionError::Silent | SessionError::TooSlow) => Ok(None),
            // Where a person took part; a stranger alone can't fail the command.
            Err(SessionError::CodeDiffers(who @ (Unconfirmed::Here | Unconfirmed::There))) => {
                let given_up = matches!(who, Unconfirmed::Here);
                self.host.report(Ended { address, result: Err(ExitCode::Pairing), given_up });
                Err(SessionError::CodeDiffers(who))
            }
            Err(error) => Err(error),
        }
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
                self.host.ended(ExitCode::Ok, address);
                guest.conn.close().await;
            }
            Err(error) => {
                drop(place);
                let failure = error.failure();
                let code = failure.code;
                self.host.reporter.tell(Event::Failed { transfer: Some(transfer), failure });
                part(guest.conn, error).await;
                self.host.ended(code, address);
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
    async fn decide(&self, guest: &mut Guest, manifest: &Manifest) -> Result<Place, SessionError> {
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
        let mut leaving = self.host.leaving();
        let mut ping = interval(PING_EVERY);
        let mut asked = std::pin::pin!(self.admit(guest.standing, offer));
        loop {
            tokio::select! {
                admitted = &mut asked => return admitted,
                // Nothing but a farewell is due from the sender now.
                frame = guest.conn.recv(|_| false) => drop(frame?),
                _ = ping.tick() => guest.conn.send(&Ping).await?,
                () = raised(&mut leaving) => return Err(SessionError::Interrupted),
            }
        }
    }

    /// Takes an offer within the limits by the rule of `--yes` or the answer of a person.
    pub(crate) async fn admit(&self, standing: Standing, offer: Told) -> Result<Place, SessionError> {
        self.within_limits(offer.bytes)?;
        let asked = consent(&*self.host.reporter, self.rules.yes, standing, offer).await;
        asked.map_err(SessionError::Declined)?;
        self.host.take_place()
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
}

/// A random name for a session or transfer.
pub(super) fn wire_name() -> [u8; 16] {
    *crate::pairing::Token::random().as_bytes()
}
