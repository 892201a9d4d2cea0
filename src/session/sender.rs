//! A guest that sends.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::spawn_blocking;

use super::devices::Devices;
use super::error::SessionError;
use super::growth::beside;
use super::host::{lock, unless_leaving};
use super::memory::{Memory, sources_id};
use super::opening::part;
use super::parcel::{Parcel, check_text};
use super::returning::Ticket;
use super::sending::Sending;
use super::visit::{Errand, Met, Target, Visit};
use crate::events::{Event, ExitCode, Failure, Reporter};
use crate::pairing::{Fingerprint, Identity};
use crate::store::{SourceList, StateClaim};
use crate::transfer::{Manner, Piped, Sources, Taker};
use crate::wire::Role;

/// What a sender brings along.
pub struct Sender {
    /// This end's key.
    pub identity: Identity,
    /// Those who are known by theirs.
    pub devices: Devices,
    /// The name that the receiver is shown.
    pub name: String,
    /// What is offered; an entry's place is its id.
    pub entries: Arc<SourceList>,
    /// A text for the receiver's screen.
    pub text: Option<String>,
    /// A stream that is sent as a file.
    pub piped: Option<Arc<Piped>>,
    /// What was left out before, as (name, reason).
    pub left_out: Vec<(String, String)>,
    /// How content is sent.
    pub manner: Manner,
    /// Lanes at once, at most.
    pub lanes: u16,
    /// How long the receiver is looked for after a cut.
    pub retry: Duration,
    /// What a later run needs to go on.
    pub memory: Memory,
    /// The address to send from, if one was asked for.
    pub source: Option<IpAddr>,
    /// Where it is told.
    pub reporter: Arc<dyn Reporter>,
    /// Whom this end has met, for whoever wants to talk there too.
    pub met: watch::Sender<Option<Met>>,
}

impl Sender {
    /// Sends everything to one receiver, and goes on after a cut. With a `taker` the source is read for others, too. Every
    /// event but the failure that is returned has been told.
    ///
    /// # Errors
    /// The failure, with the exit code that stands for it: refused in part and incomplete are failures too. Dropping
    /// `leaving` or setting it to `true` interrupts.
    pub async fn send(
        &self,
        target: &Target,
        taker: Option<Taker>,
        mut leaving: watch::Receiver<bool>,
    ) -> Result<(), (Option<String>, Failure)> {
        self.text.as_deref().map_or(Ok(()), check_text).map_err(|failure| (None, failure))?;
        let errand = Errand {
            identity: &self.identity,
            devices: &self.devices,
            name: &self.name,
            role: Role::Sends,
            source: self.source,
            reporter: &*self.reporter,
            retry: self.retry,
        };
        let what = sources_id(&self.entries, self.text.as_deref());
        let taken = Mutex::new(None);
        let begun = |key: &Fingerprint| {
            let mut taken = lock(&taken);
            *taken = self.memory.take_sent(key, &what);
            taken.as_ref().map(|(ticket, _)| ticket.key.hash())
        };
        let visit = unless_leaving(&mut leaving, errand.visit(target, begun));
        let mut visit = visit.await.map_err(|error| (None, error.failure()))?;
        self.met.send_replace(Some(visit.met()));
        let receiver = visit.paired.binding.server;
        let (ticket, claim) = match lock(&taken).take() {
            Some((ticket, claim)) => (ticket, Some(claim)),
            None => (Ticket::draw(), None),
        };
        let sources = Sources::new(Arc::clone(&self.entries), self.text.as_deref());
        let sources = sources.with_piped(self.piped.clone()).shared(taker);
        let parcel = Parcel::new(&sources, &self.left_out, &self.manner, ticket, &*self.reporter);
        let mut attempt = Attempt { parcel: &parcel, receiver, what, claim, accepted: false, cut: None };
        loop {
            let (home, error) = match unless_leaving(&mut leaving, self.offer_and_send(&mut visit, &mut attempt)).await
            {
                Ok(sending) => {
                    let home = visit.home();
                    visit.paired.conn.close().await;
                    if !sending.is_stale() {
                        if attempt.claim.is_some() {
                            self.memory.forget_sent(&receiver, &what);
                        }
                        return sending.result().map_err(|failure| (Some(parcel.transfer.clone()), failure));
                    }
                    (home, SessionError::Changed)
                }
                Err(error) => (visit.home(), part(visit.paired.conn, error).await),
            };
            let again = match attempt.accepted && error.is_passing() && !sources.are_piped() {
                true => unless_leaving(&mut leaving, errand.come_back(target, &home, &parcel.ticket.key.hash())).await,
                false => Err(SessionError::Silent),
            };
            match again {
                Ok(back) => {
                    (visit, attempt.cut) = (back, Some(error.to_string()));
                    sources.go_alone();
                }
                // Another device in its place is what a person has to know.
                Err(alarm @ (SessionError::WrongKey | SessionError::Pairing(_))) => {
                    return Err((Some(parcel.transfer.clone()), alarm.failure()));
                }
                Err(_) => return Err(self.give_up(&attempt, &error)),
            }
        }
    }

    fn give_up(&self, attempt: &Attempt<'_>, error: &SessionError) -> (Option<String>, Failure) {
        let transfer = attempt.parcel.transfer.clone();
        let failure = match attempt.accepted && attempt.parcel.is_large() {
            true => error.failure_of_kept("send it again"),
            false => error.failure(),
        };
        if matches!(error, SessionError::Refused(_)) && failure.code == ExitCode::Refused {
            let (transfer, reason) = (transfer.clone(), failure.message.clone());
            self.reporter.tell(Event::Refused { transfer, reason });
        }
        (Some(transfer), failure)
    }

    async fn offer_and_send<'a>(
        &self,
        visit: &mut Visit,
        attempt: &mut Attempt<'a>,
    ) -> Result<Sending<'a>, SessionError> {
        visit.must_be(Role::Inbox)?;
        let parcel = attempt.parcel;
        let (conn, label) = (&mut visit.paired.conn, visit.paired.standing.label);
        if attempt.cut.is_none() {
            self.reporter.tell(Event::Offer(parcel.told(visit.paired.peer.clone(), label)));
            parcel.tell_left_out();
        }
        parcel.offer(conn).await?;
        let (verdicts, go) = parcel.hear_verdicts(conn).await?;
        match attempt.cut.take() {
            Some(reason) => parcel.tell_retry(&verdicts, reason),
            None => {
                self.reporter.tell(Event::Accepted { transfer: parcel.transfer.clone() });
                visit.befriend(&self.devices, &*self.reporter).await;
                parcel.tell_if_begun(&verdicts);
            }
        }
        if attempt.claim.is_none() && parcel.is_large() {
            let (memory, ticket) = (self.memory.clone(), parcel.ticket.clone());
            let (receiver, what) = (attempt.receiver, attempt.what);
            let kept = spawn_blocking(move || memory.keep_sent(&receiver, &what, &ticket));
            // A transfer that can't be gone on with by a later run is still one.
            attempt.claim = visit.paired.conn.attentive_during(async { Ok(kept.await) }).await?.ok().flatten();
        }
        attempt.accepted = true;
        let mut sending = Sending::new(parcel, label, verdicts);
        let growing = match sending.lanes() {
            Some(running) => {
                Some(visit.dial_lanes(&self.identity, go.session, running, go.lanes.min(self.lanes)).await?)
            }
            None => None,
        };
        beside(growing, sending.attend(&mut visit.paired.conn)).await?;
        Ok(sending)
    }
}

/// What outlives the sessions of one transfer.
struct Attempt<'a> {
    parcel: &'a Parcel<'a>,
    receiver: Fingerprint,
    what: [u8; 16],
    /// That this process is the one that sends it, if that is remembered.
    claim: Option<StateClaim>,
    /// Whether the receiver has said yes.
    accepted: bool,
    /// Why the session before this one ended.
    cut: Option<String>,
}
