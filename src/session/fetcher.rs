//! A guest that takes what an outbox has.

use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::error::SessionError;
use super::growth::beside;
use super::host::unless_leaving;
use super::inbox::wire_name;
use super::offer::Manifest;
use super::opening::part;
use super::receiving::{Receiving, Shelf, hear_offer, within_limits};
use super::visit::{Target, Visit, visit};
use crate::events::{Event, Failure, Reporter};
use crate::pairing::Identity;
use crate::store::{Folder, IfExists, Intake};
use crate::wire::{Go, Role};

/// How long the threads of a transfer that is over may take to let go of it.
const AREA_LIMIT: Duration = Duration::from_secs(3);

/// How often that is looked at.
const AREA_POLL: Duration = Duration::from_millis(5);

/// Where what is fetched goes.
pub struct Fetcher {
    /// This end's key.
    pub identity: Identity,
    /// The name that the outbox is shown.
    pub name: String,
    /// Where files go.
    pub folder: Arc<Folder>,
    /// What happens to names that exist.
    pub if_exists: IfExists,
    /// The largest transfer in bytes.
    pub max_size: Option<u64>,
    /// The address to dial from, if one was asked for.
    pub source: Option<IpAddr>,
    /// Where it is told.
    pub reporter: Arc<dyn Reporter>,
}

impl Fetcher {
    /// Fetches everything from one outbox: whoever named it wants what it has, so nobody is asked again. Every event but
    /// the failure that is returned has been told.
    ///
    /// # Errors
    /// The failure, with the exit code that stands for it. Dropping `leaving` or setting it to `true` interrupts.
    pub async fn fetch(
        &self,
        target: &Target,
        mut leaving: watch::Receiver<bool>,
    ) -> Result<(), (Option<String>, Failure)> {
        let visit = visit(target, &self.identity, &self.name, Role::Fetches, self.source, &*self.reporter);
        let mut visit = unless_leaving(&mut leaving, visit).await.map_err(|error| (None, error.failure()))?;
        let heard = async {
            visit.must_be(Role::Outbox)?;
            hear_offer(&mut visit.paired.conn).await
        };
        let manifest = match unless_leaving(&mut leaving, heard).await {
            Ok(manifest) => manifest,
            Err(error) => return Err((None, part(visit.paired.conn, error).await.failure())),
        };
        let transfer = manifest.transfer.clone();
        match self.take(&mut visit, &manifest, &mut leaving).await {
            Ok(finished) => {
                self.reporter.tell(finished);
                visit.paired.conn.close().await;
                Ok(())
            }
            Err(error) => {
                let error = part(visit.paired.conn, error).await;
                if let SessionError::Declined(refuse) = &error {
                    let (transfer, reason) = (transfer.clone(), refuse.text.clone());
                    self.reporter.tell(Event::Refused { transfer, reason });
                }
                Err((Some(transfer), error.failure()))
            }
        }
    }

    async fn take(
        &self,
        visit: &mut Visit,
        manifest: &Manifest,
        leaving: &mut watch::Receiver<bool>,
    ) -> Result<Event, SessionError> {
        let (peer, label) = (visit.paired.peer.clone(), visit.paired.standing.label);
        self.reporter.tell(Event::Offer(manifest.told_from(peer, label)));
        manifest.plan().map_err(SessionError::Declined)?;
        within_limits(self.max_size, manifest.bytes)?;
        self.reporter.tell(Event::Accepted { transfer: manifest.transfer.clone() });
        let Fetcher { if_exists, max_size, .. } = *self;
        let shelf = Shelf { folder: &self.folder, if_exists, max_size, reporter: &*self.reporter };
        let prepared = Receiving::prepare(&mut visit.paired.conn, shelf, manifest, label);
        let mut receiving = unless_leaving(leaving, prepared).await?;
        let area = receiving.area();
        let received = self.receive(visit, &mut receiving, leaving).await;
        drop(receiving);
        emptied(&area).await;
        received
    }

    async fn receive(
        &self,
        visit: &mut Visit,
        receiving: &mut Receiving<'_>,
        leaving: &mut watch::Receiver<bool>,
    ) -> Result<Event, SessionError> {
        let begun = async {
            let session = wire_name();
            receiving.go(&mut visit.paired.conn, session).await?;
            let theirs: Go = visit.paired.conn.expect().await?;
            if theirs.session != session {
                return Err(SessionError::broke("it goes on with another session"));
            }
            match receiving.lanes() {
                Some(running) => visit.dial_lanes(&self.identity, session, running, theirs.lanes).await.map(Some),
                None => Ok(None),
            }
        };
        let growing = unless_leaving(leaving, begun).await?;
        let conn = &mut visit.paired.conn;
        beside(growing, receiving.run(conn, leaving)).await?;
        receiving.finish(conn).await
    }
}

/// Waits until nothing works on a transfer any more: the last one removes its partial area, and a command that ends
/// before that would leave it behind.
async fn emptied(area: &Weak<Intake>) {
    let empty = async {
        while area.strong_count() > 0 {
            sleep(AREA_POLL).await;
        }
    };
    // What a stuck disk keeps longer is removed by the next `receive`.
    let _ = timeout(AREA_LIMIT, empty).await;
}
