//! A host that takes files: what is offered, who decides, where it goes.

use std::collections::HashMap;
use std::future::pending;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::spawn_blocking;

use super::consent::{Level, Standing, consent, refusal};
use super::enter::{Caller, Guest, Visitor, answer};
use super::error::SessionError;
use super::host::{Ended, Host, Place, lock, unless_leaving};
use super::memory::Memory;
use super::offer::Manifest;
use super::opening::part;
use super::receiving::{Receiving, Shelf, hear_offer, within_limits};
use super::returning::{About, ResumeHash, awaited};
use crate::events::{Event, ExitCode, Offer as Told, Way};
use crate::net::accept::{Arrival, Dialect};
use crate::store::{Folder, IfExists, Keepsake};
use crate::transfer::Outlet;
use crate::wire::{Go, RefuseCode, Role};

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
    /// Where one file goes that is not stored; then nothing else is taken.
    pub outlet: Option<Arc<Outlet>>,
}

/// A transfer that runs and can go on later: it is over when its sender comes again, for whom this end still holds what was
/// cut. Whoever came waits until this is dropped.
pub(crate) struct Tenure<'a> {
    inbox: &'a Inbox,
    hash: ResumeHash,
    ended: watch::Receiver<bool>,
}

impl Tenure<'_> {
    /// Waits until its sender has come again.
    pub(crate) async fn superseded(&mut self) {
        // An error means that a later one has taken this one's place.
        let _ = self.ended.wait_for(|end| *end).await;
    }
}

impl Drop for Tenure<'_> {
    fn drop(&mut self) {
        let mut under_way = lock(&self.inbox.under_way);
        if under_way.get(&self.hash).is_some_and(|end| end.subscribe().same_channel(&self.ended)) {
            under_way.remove(&self.hash);
        }
    }
}

/// A folder that others may send to; shared by all sessions.
pub struct Inbox {
    pub(crate) host: Arc<Host>,
    pub(crate) folder: Arc<Folder>,
    pub(crate) rules: InboxRules,
    memory: Memory,
    /// Whether the key that senders come back to is remembered.
    known_again: AtomicBool,
    /// See [`Tenure`].
    under_way: Mutex<HashMap<ResumeHash, watch::Sender<bool>>>,
}

impl Inbox {
    /// Opens the inbox. `memory` keeps what senders know it by when they come back.
    pub fn new(host: Arc<Host>, folder: Arc<Folder>, rules: InboxRules, memory: Memory) -> Arc<Self> {
        let (known_again, under_way) = (AtomicBool::new(false), Mutex::default());
        Arc::new(Inbox { host, folder, rules, memory, known_again, under_way })
    }

    /// What is done with tutorial senders.
    pub fn classic(&self) -> Classic {
        self.rules.classic
    }

    /// Serves one connection of our own protocol or the tutorial's to its end. A browser is handed back.
    pub async fn serve(&self, arrival: Arrival) -> Option<Visitor> {
        let mut leaving = self.host.leaving();
        let address = arrival.peer.ip();
        let served = match arrival.dialect {
            Dialect::Web => return Some(Visitor::Plain(arrival)),
            Dialect::Classic { .. } => self.serve_classic(arrival, &mut leaving).await.map(|()| None),
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
        match answer(&self.host, arrival, &|id| awaited(&self.folder, id), leaving).await? {
            Some(Caller::Browser(visitor)) => Ok(Some(visitor)),
            Some(Caller::Guest(guest)) => self.serve_guest(*guest, leaving).await.map(|()| None),
            None => Ok(None),
        }
    }

    async fn serve_guest(&self, mut guest: Guest, leaving: &mut watch::Receiver<bool>) -> Result<(), SessionError> {
        if guest.role != Role::Sends {
            let error = SessionError::Declined(refusal(RefuseCode::Role, "this is an inbox: it takes files"));
            return Err(part(guest.conn, error).await);
        }
        let manifest = match unless_leaving(leaving, hear_offer(&mut guest.conn)).await {
            Ok(manifest) => manifest,
            Err(error) => return Err(part(guest.conn, error).await),
        };
        let transfer = manifest.transfer.clone();
        let place = match unless_leaving(leaving, self.decide(&mut guest, &manifest)).await {
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
        self.host.befriend(&guest, place.consent()).await;
        match self.receive(&mut guest, &manifest, leaving).await {
            Ok(finished) => {
                place.keep();
                self.host.reporter.tell(finished);
                self.host.ended(ExitCode::Ok, address);
                guest.conn.close().await;
            }
            Err(error) => {
                drop(place);
                let failure = match self.keepsake(&guest, &manifest) {
                    Some(_) => error.failure_of_kept("the sender sends it again"),
                    None => error.failure(),
                };
                let code = failure.code;
                self.host.reporter.tell(Event::Failed { transfer: Some(transfer), failure });
                part(guest.conn, error).await;
                let given_up = self.rules.outlet.as_ref().is_some_and(|outlet| outlet.has_begun());
                self.host.report(Ended { address, result: Err(code), given_up });
            }
        }
        Ok(())
    }

    /// Whether it is taken. The refusal, if any, is not said yet.
    async fn decide(&self, guest: &mut Guest, manifest: &Manifest) -> Result<Place, SessionError> {
        let offer = manifest.told_from(guest.peer.clone(), guest.standing.label);
        self.host.reporter.tell(Event::Offer(offer.clone()));
        manifest.expected().map_err(SessionError::Declined)?;
        if self.rules.outlet.is_some() {
            manifest.is_one_file().map_err(SessionError::Declined)?;
        }
        guest.conn.alive_during(self.end_earlier(&manifest.resume_hash)).await?;
        let accepted = guest.returning.as_ref().is_some_and(|known| {
            // Nothing but what was accepted then.
            (known.hash, known.digest) == (manifest.resume_hash, manifest.digest)
        });
        if accepted {
            self.within_limits(offer.bytes)?;
            return self.host.take_place();
        }
        guest.conn.attentive_during(self.admit(guest.standing, offer)).await
    }

    /// Ends a session of the same transfer that has not noticed yet that its sender is gone, and waits until it has let
    /// go.
    pub(crate) async fn end_earlier(&self, hash: &ResumeHash) {
        let earlier = lock(&self.under_way).get(hash).cloned();
        if let Some(earlier) = earlier {
            earlier.send_replace(true);
            earlier.closed().await;
        }
    }

    /// A transfer of that hash runs from here on.
    pub(crate) fn hold(&self, hash: ResumeHash) -> Tenure<'_> {
        let (end, ended) = watch::channel(false);
        lock(&self.under_way).insert(hash, end);
        Tenure { inbox: self, hash, ended }
    }

    /// What is kept of a transfer of `bytes` from a page when it ends early; `hash` is a secret of the page.
    pub(crate) fn keepsake_of_page(
        &self,
        hash: ResumeHash,
        transfer: &str,
        peer: &str,
        bytes: u64,
    ) -> Option<Keepsake> {
        if self.rules.outlet.is_some() { None } else { About::keepsake_of_page(hash, transfer, peer, bytes) }
    }

    /// What is kept of a transfer when it ends early.
    fn keepsake(&self, guest: &Guest, manifest: &Manifest) -> Option<Keepsake> {
        if self.rules.outlet.is_some() {
            return None;
        }
        About::keepsake(manifest, &guest.peer.name, &guest.binding.client, guest.standing)
    }

    /// The sender of what is kept has to find this key again, also after the death of this process.
    pub(crate) async fn be_known_again(&self) {
        if self.known_again.swap(true, Ordering::AcqRel) {
            return;
        }
        let (memory, folder, identity) = (self.memory.clone(), Arc::clone(&self.folder), self.host.identity.clone());
        // Without it, senders come back only while this process lives.
        let _ = spawn_blocking(move || memory.keep_inbox_key(&folder, &identity)).await;
    }

    async fn receive(
        &self,
        guest: &mut Guest,
        manifest: &Manifest,
        leaving: &mut watch::Receiver<bool>,
    ) -> Result<Event, SessionError> {
        let Some(keep) = self.keepsake(guest, manifest) else {
            return self.store(guest, manifest, None, pending(), leaving).await;
        };
        // A new offer from whoever had another one under way: that one is over.
        if let Some(other) = guest.returning.as_ref().filter(|known| known.hash != manifest.resume_hash) {
            let (folder, hash) = (Arc::clone(&self.folder), other.hash);
            let _ = spawn_blocking(move || folder.forget(|keepsake| keepsake.key == hash)).await;
        }
        self.be_known_again().await;
        let mut tenure = self.hold(keep.key);
        self.store(guest, manifest, Some(keep), tenure.superseded(), leaving).await
    }

    async fn store(
        &self,
        guest: &mut Guest,
        manifest: &Manifest,
        keep: Option<Keepsake>,
        superseded: impl Future<Output = ()>,
        leaving: &mut watch::Receiver<bool>,
    ) -> Result<Event, SessionError> {
        let InboxRules { if_exists, max_size, .. } = self.rules;
        let outlet = self.rules.outlet.as_ref();
        let shelf = Shelf {
            folder: &self.folder,
            if_exists,
            max_size,
            outlet,
            sender_returns: true,
            reporter: &*self.host.reporter,
        };
        let label = guest.standing.label;
        let mut receiving = Receiving::prepare(&mut guest.conn, shelf, manifest, label, keep).await?;
        let stored = tokio::select! {
            stored = self.run(guest, &mut receiving, leaving) => stored,
            () = superseded => Err(SessionError::Cut(io::ErrorKind::ConnectionReset.into())),
        };
        match &stored {
            Ok(_) => receiving.end().await,
            Err(error) => receiving.wind_up(error).await,
        }
        stored
    }

    async fn run(
        &self,
        guest: &mut Guest,
        receiving: &mut Receiving<'_>,
        leaving: &mut watch::Receiver<bool>,
    ) -> Result<Event, SessionError> {
        let session = wire_name();
        let (secret, key) = (guest.lane_secret.clone(), guest.binding.client);
        let registry = &self.host.lanes;
        let most = self.host.lanes_each();
        let joining = receiving.lanes().map(|running| registry.register(session, secret, key, most, running));
        let registration = joining.transpose()?;
        receiving.go(&mut guest.conn, Go { session, lanes: most }).await?;
        receiving.run(&mut guest.conn, leaving).await?;
        drop(registration);
        receiving.finish(&mut guest.conn).await
    }

    /// Takes an offer within the limits by the rule of `--yes` or the answer of a person.
    pub(crate) async fn admit(&self, standing: Standing, offer: Told) -> Result<Place, SessionError> {
        self.within_limits(offer.bytes)?;
        let asked = consent(&*self.host.reporter, Way::In, self.rules.yes, standing, offer).await;
        let consent = asked.map_err(SessionError::Declined)?;
        Ok(self.host.take_place()?.by(consent))
    }

    pub(super) fn within_limits(&self, bytes: Option<u64>) -> Result<(), SessionError> {
        within_limits(self.rules.max_size, bytes)
    }
}

/// A random name for a session or transfer.
pub(super) fn wire_name() -> [u8; 16] {
    *crate::pairing::Token::random().as_bytes()
}
