//! A host that gives files: who may take them, and whether they have arrived.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::consent::{Level, Standing, consent, let_in, refusal};
use super::enter::{Caller, Guest, Visitor, answer};
use super::error::SessionError;
use super::host::{Host, Place, unless_leaving};
use super::inbox::wire_name;
use super::memory::OutboxMemory;
use super::offer::Judgement;
use super::opening::part;
use super::parcel::{Parcel, told};
use super::returning::{Returning, Ticket, key_id};
use super::sending::Sending;
use crate::events::{Event, ExitCode, Failure, Label, Offer as Told, Peer, Way};
use crate::net::accept::{Arrival, Dialect};
use crate::store::SourceList;
use crate::transfer::{Brake, Manner, Sources};
use crate::wire::{Go, RefuseCode, Role};

/// How long somebody may look at an offer before taking it. Whoever asks for it wants it, so this is only against those
/// who never answer.
const DECIDING_LIMIT: Duration = Duration::from_secs(10 * 60);

/// What an outbox gives, and to whom.
pub struct OutboxRules {
    /// Who may take without asking. The code on the screen is the permission for whoever has it, so only
    /// [`Level::Open`] says more than nothing.
    pub yes: Option<Level>,
    /// Whether it stays after somebody has taken everything.
    pub keep: bool,
    /// How content is sent. Only a taker that speaks our own protocol gets it compressed.
    pub manner: Manner,
}

/// Files and a text that others may take; shared by all sessions.
pub struct Outbox {
    pub(crate) host: Arc<Host>,
    pub(crate) rules: OutboxRules,
    entries: Arc<SourceList>,
    text: Option<String>,
    sources: Sources,
    /// As (name, reason).
    left_out: Vec<(String, String)>,
    /// What takers know it by when they come back.
    memory: OutboxMemory,
    /// Whether that is remembered.
    known_again: AtomicBool,
}

impl Outbox {
    /// Opens the outbox. An entry's place is its id; `left_out` is what is missing, as (name, reason); `memory` is what
    /// takers know it by when they come back.
    pub fn new(
        host: Arc<Host>,
        entries: Arc<SourceList>,
        left_out: Vec<(String, String)>,
        text: Option<String>,
        rules: OutboxRules,
        memory: OutboxMemory,
    ) -> Arc<Self> {
        let sources = Sources::new(Arc::clone(&entries), text.as_deref());
        let known_again = AtomicBool::new(false);
        Arc::new(Outbox { host, rules, entries, text, sources, left_out, memory, known_again })
    }

    /// What may be taken; an entry's place is its id.
    pub fn entries(&self) -> &Arc<SourceList> {
        &self.entries
    }

    /// The text for the taker's screen.
    pub fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }

    /// What keeps everything that it sends below a rate.
    pub fn brake(&self) -> Option<Arc<Brake>> {
        self.rules.manner.brake.clone()
    }

    /// Whether it stays after somebody has taken everything.
    pub fn keep(&self) -> bool {
        self.rules.keep
    }

    /// Everything here, as it is told of one taker.
    pub fn offer_for(&self, peer: Peer, label: Label, transfer: String) -> Told {
        told(&self.sources, peer, label, transfer)
    }

    /// Whether a taker may have the `offer`. Whoever has come with a code that no page has seen, has compared one, or
    /// uses one in a browser, was let in by the person who showed it; everybody else is asked for, also a remembered
    /// device, which nobody has shown anything this time.
    pub(crate) async fn admit(&self, standing: Standing, offer: Told) -> Result<Place, SessionError> {
        let yes = let_in(self.rules.yes, standing);
        let asked = consent(&*self.host.reporter, Way::Out, yes, standing, offer).await;
        let consent = asked.map_err(SessionError::Declined)?;
        Ok(self.host.take_place()?.by(consent))
    }

    /// Serves one connection of our own protocol to its end. A browser is handed back.
    pub async fn serve(&self, arrival: Arrival) -> Option<Visitor> {
        let mut leaving = self.host.leaving();
        let address = arrival.peer.ip();
        let served = match arrival.dialect {
            Dialect::Web => return Some(Visitor::Plain(arrival)),
            Dialect::Classic { .. } => Err(takes_none()),
            Dialect::Native => match answer(&self.host, arrival, &|id| self.awaited(id), &mut leaving).await {
                Ok(Some(Caller::Browser(visitor))) => return Some(visitor),
                Ok(Some(Caller::Guest(guest))) => self.serve_guest(*guest, &mut leaving).await,
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            },
        };
        if let Err(error) = served {
            self.host.tell_stranger(address, &error);
        }
        None
    }

    async fn serve_guest(&self, mut guest: Guest, leaving: &mut watch::Receiver<bool>) -> Result<(), SessionError> {
        if guest.role != Role::Fetches {
            return Err(part(guest.conn, takes_none()).await);
        }
        // All takers get the same key: it opens nothing but what each of them was given already.
        let ticket = Ticket { transfer: wire_name(), ..self.memory.ticket.clone() };
        let parcel = Parcel::new(&self.sources, &self.left_out, &self.rules.manner, ticket, &*self.host.reporter);
        let decided = unless_leaving(leaving, self.decide(&mut guest, &parcel)).await;
        let (place, verdicts, go) = match decided {
            Ok(decided) => decided,
            Err(error) => {
                let (transfer, reason) = (parcel.transfer.clone(), error.to_string());
                self.host.reporter.tell(Event::Refused { transfer, reason });
                let declined = matches!(error, SessionError::Declined(_) | SessionError::Refused(_));
                let error = part(guest.conn, error).await;
                return if declined { Ok(()) } else { Err(error) };
            }
        };
        let address = guest.peer.address.ip();
        self.host.reporter.tell(Event::Accepted { transfer: parcel.transfer.clone() });
        self.host.befriend(&guest, place.consent()).await;
        let sent = unless_leaving(leaving, self.send(&mut guest, &parcel, verdicts, &go)).await;
        let result = match &sent {
            Ok(sending) => sending.result(),
            Err(error) => Err(error.failure()),
        };
        // What is told of the end is true by then.
        match &result {
            Ok(()) => place.keep(),
            Err(_) => drop(place),
        }
        self.tell_end(&parcel, &result);
        match sent {
            Ok(_) => {
                self.host.ended(result.map_or_else(|failure| failure.code, |()| ExitCode::Ok), address);
                guest.conn.close().await;
            }
            Err(error) => {
                let code = error.failure().code;
                part(guest.conn, error).await;
                self.host.ended(code, address);
            }
        }
        Ok(())
    }

    /// A taker that comes back with the key of what is here.
    fn awaited(&self, id: &[u8; 16]) -> Option<Returning> {
        let hash = self.memory.ticket.key.hash();
        (key_id(&hash) == *id).then_some(Returning { hash, standing: Standing::VERIFIED, digest: [0; 32] })
    }

    /// Takers have to find this key again, also after the death of this process.
    async fn be_known_again(&self) {
        if self.known_again.swap(true, Ordering::AcqRel) {
            return;
        }
        let (memory, identity) = (self.memory.clone(), self.host.identity.clone());
        // Without it, takers come back only while this process lives.
        let _ = spawn_blocking(move || memory.keep(&identity)).await;
    }

    /// Everybody who was to have it has everything: nobody has to come back.
    pub fn forget(&self) {
        self.memory.forget();
    }

    fn tell_end(&self, parcel: &Parcel<'_>, result: &Result<(), Failure>) {
        if let Err(failure) = result {
            let (transfer, failure) = (Some(parcel.transfer.clone()), failure.clone());
            self.host.reporter.tell(Event::Failed { transfer, failure });
        }
    }

    /// Whether the guest may take, and what of it it wants. Names leave only after that.
    async fn decide(&self, guest: &mut Guest, parcel: &Parcel<'_>) -> Result<(Place, Judgement, Go), SessionError> {
        let offer = parcel.told(guest.peer.clone(), guest.standing.label);
        self.host.reporter.tell(Event::Offer(offer.clone()));
        parcel.tell_left_out();
        let place = match guest.returning {
            Some(_) => self.host.take_place()?,
            None => guest.conn.attentive_during(self.admit(guest.standing, offer)).await?,
        };
        if parcel.is_large() {
            guest.conn.alive_during(self.be_known_again()).await?;
        }
        let heard = timeout(DECIDING_LIMIT, async {
            parcel.offer(&mut guest.conn).await?;
            parcel.hear_verdicts(&mut guest.conn).await
        });
        let (verdicts, go) = heard.await.unwrap_or(Err(SessionError::Silent))?;
        Ok((place, verdicts, go))
    }

    async fn send<'a>(
        &self,
        guest: &mut Guest,
        parcel: &'a Parcel<'a>,
        verdicts: Judgement,
        go: &Go,
    ) -> Result<Sending<'a>, SessionError> {
        let mut sending = Sending::new(parcel, guest.standing.label, verdicts);
        let go = Go { session: go.session, lanes: go.lanes.min(self.host.lanes_each()) };
        let (secret, key) = (guest.lane_secret.clone(), guest.binding.client);
        let joining =
            sending.lanes().map(|running| self.host.lanes.register(go.session, secret, key, go.lanes, running));
        let registration = joining.transpose()?;
        guest.conn.send(&go).await?;
        sending.attend(&mut guest.conn).await?;
        drop(registration);
        Ok(sending)
    }
}

fn takes_none() -> SessionError {
    SessionError::Declined(refusal(RefuseCode::Role, "this is an outbox: it has files to fetch, and takes none"))
}
