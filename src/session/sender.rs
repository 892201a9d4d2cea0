//! A guest that sends.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::watch;

use super::error::SessionError;
use super::growth::beside;
use super::host::unless_leaving;
use super::opening::part;
use super::sending::{Parcel, Sending, check_text};
use super::visit::{Target, Visit, visit};
use crate::events::{Event, ExitCode, Failure, Reporter};
use crate::pairing::Identity;
use crate::store::SourceEntry;
use crate::transfer::{Manner, Sources};
use crate::wire::Role;

/// What a sender brings along.
pub struct Sender {
    /// This end's key.
    pub identity: Identity,
    /// The name that the receiver is shown.
    pub name: String,
    /// What is offered; an entry's place is its id.
    pub entries: Arc<Vec<SourceEntry>>,
    /// A text for the receiver's screen.
    pub text: Option<String>,
    /// What was left out before, as (name, reason).
    pub left_out: Vec<(String, String)>,
    /// How content is sent.
    pub manner: Manner,
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
        self.text.as_deref().map_or(Ok(()), check_text).map_err(|failure| (None, failure))?;
        let visit = visit(target, &self.identity, &self.name, Role::Sends, self.source, &*self.reporter);
        let mut visit = unless_leaving(&mut leaving, visit).await.map_err(|error| (None, error.failure()))?;
        let sources = Sources::new(Arc::clone(&self.entries), self.text.as_deref());
        let parcel = Parcel::new(&sources, &self.left_out, &self.manner, &*self.reporter);
        match unless_leaving(&mut leaving, self.offer_and_send(&mut visit, &parcel)).await {
            Ok(sending) => {
                visit.paired.conn.close().await;
                sending.result().map_err(|failure| (Some(parcel.transfer.clone()), failure))
            }
            Err(error) => {
                let refused = matches!(error, SessionError::Refused(_));
                let failure = error.failure();
                part(visit.paired.conn, error).await;
                if refused && failure.code == ExitCode::Refused {
                    let (transfer, reason) = (parcel.transfer.clone(), failure.message.clone());
                    self.reporter.tell(Event::Refused { transfer, reason });
                }
                Err((Some(parcel.transfer.clone()), failure))
            }
        }
    }

    async fn offer_and_send<'a>(&self, visit: &mut Visit, parcel: &'a Parcel<'a>) -> Result<Sending<'a>, SessionError> {
        visit.must_be(Role::Inbox)?;
        let (conn, label) = (&mut visit.paired.conn, visit.paired.standing.label);
        self.reporter.tell(Event::Offer(parcel.told(visit.paired.peer.clone(), label)));
        parcel.tell_left_out();
        parcel.offer(conn).await?;
        let (verdicts, go) = parcel.hear_verdicts(conn).await?;
        self.reporter.tell(Event::Accepted { transfer: parcel.transfer.clone() });
        let mut sending = Sending::new(parcel, label, verdicts);
        let growing = match sending.lanes() {
            Some(running) => Some(visit.dial_lanes(&self.identity, go.session, running, go.lanes).await?),
            None => None,
        };
        beside(growing, sending.attend(&mut visit.paired.conn)).await?;
        Ok(sending)
    }
}
