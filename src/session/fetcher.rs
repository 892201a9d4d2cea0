//! A guest that takes what an outbox has.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::devices::Devices;
use super::error::SessionError;
use super::growth::beside;
use super::host::unless_leaving;
use super::inbox::wire_name;
use super::offer::Manifest;
use super::opening::part;
use super::receiving::{Receiving, Shelf, hear_offer, within_limits};
use super::returning::{About, ResumeHash, begun_with};
use super::visit::{Errand, Met, Target, Visit};
use crate::events::{Event, Failure, Reporter};
use crate::pairing::{Fingerprint, Identity};
use crate::store::{Folder, IfExists};
use crate::transfer::Outlet;
use crate::wire::{Go, Role};

/// Where what is fetched goes.
pub struct Fetcher {
    /// This end's key.
    pub identity: Identity,
    /// Those who are known by theirs.
    pub devices: Devices,
    /// The name that the outbox is shown.
    pub name: String,
    /// Where files go.
    pub folder: Arc<Folder>,
    /// What happens to names that exist.
    pub if_exists: IfExists,
    /// The largest transfer in bytes.
    pub max_size: Option<u64>,
    /// Where the one file goes that is not to be stored.
    pub outlet: Option<Arc<Outlet>>,
    /// Lanes at once, at most.
    pub lanes: u16,
    /// How long the outbox is looked for after a cut.
    pub retry: Duration,
    /// The address to dial from, if one was asked for.
    pub source: Option<IpAddr>,
    /// Where it is told.
    pub reporter: Arc<dyn Reporter>,
    /// Whom this end has met, for whoever wants to talk there too.
    pub met: watch::Sender<Option<Met>>,
}

impl Fetcher {
    /// Fetches everything from one outbox, and goes on after a cut: whoever named it wants what it has, so nobody is asked
    /// again. Every event but the failure that is returned has been told.
    ///
    /// # Errors
    /// The failure, with the exit code that stands for it. Dropping `leaving` or setting it to `true` interrupts.
    pub async fn fetch(
        &self,
        target: &Target,
        mut leaving: watch::Receiver<bool>,
    ) -> Result<(), (Option<String>, Failure)> {
        let errand = Errand {
            identity: &self.identity,
            devices: &self.devices,
            name: &self.name,
            role: Role::Fetches,
            source: self.source,
            reporter: &*self.reporter,
            retry: self.retry,
        };
        let begun = |key: &Fingerprint| begun_with(&self.folder, key).map(|(hash, _)| hash);
        let visit = unless_leaving(&mut leaving, errand.visit(target, begun));
        let mut visit = visit.await.map_err(|error| (None, error.failure()))?;
        self.met.send_replace(Some(visit.met()));
        let mut before: Option<Before> = None;
        loop {
            let home = visit.home();
            let heard = async {
                visit.must_be(Role::Outbox)?;
                hear_offer(&mut visit.paired.conn).await
            };
            let taken = match unless_leaving(&mut leaving, heard).await {
                Ok(mut manifest) => {
                    match &before {
                        Some(before) => manifest.transfer.clone_from(&before.transfer),
                        None => self.name_as_before(&visit.paired.binding.server, &mut manifest),
                    }
                    let taken = self.take(&mut visit, &manifest, &mut leaving, before.as_ref()).await;
                    let Manifest { transfer, resume_hash, digest, .. } = manifest;
                    before = Some(Before { transfer, resume_hash, digest });
                    taken
                }
                Err(error) => Err(error),
            };
            let error = match taken {
                Ok(finished) => {
                    self.reporter.tell(finished);
                    visit.paired.conn.close().await;
                    return Ok(());
                }
                Err(error) => part(visit.paired.conn, error).await,
            };
            // Where nothing was offered there is nothing to come back for.
            let Some(Before { transfer, resume_hash, .. }) = &before else { return Err((None, error.failure())) };
            let transfer = transfer.clone();
            // What has gone out can't be taken back.
            let again = match error.is_passing() && self.outlet.is_none() {
                true => unless_leaving(&mut leaving, errand.come_back(target, &home, resume_hash)).await,
                false => Err(SessionError::Silent),
            };
            match again {
                Ok(back) => visit = back,
                // Another device in its place is what a person has to know.
                Err(alarm @ (SessionError::WrongKey | SessionError::Pairing(_))) => {
                    return Err((Some(transfer), alarm.failure()));
                }
                Err(_) => {
                    if let SessionError::Declined(refuse) = &error {
                        let (transfer, reason) = (transfer.clone(), refuse.text.clone());
                        self.reporter.tell(Event::Refused { transfer, reason });
                    }
                    return Err((
                        Some(transfer),
                        match self.outlet {
                            None => error.failure_of_kept("fetch it again"),
                            Some(_) => error.failure(),
                        },
                    ));
                }
            }
        }
    }

    /// A transfer that was begun in an earlier run goes by the name that it had then.
    fn name_as_before(&self, key: &Fingerprint, manifest: &mut Manifest) {
        if let Some((_, name)) = begun_with(&self.folder, key).filter(|(hash, _)| *hash == manifest.resume_hash) {
            manifest.transfer = name;
        }
    }

    async fn take(
        &self,
        visit: &mut Visit,
        manifest: &Manifest,
        leaving: &mut watch::Receiver<bool>,
        before: Option<&Before>,
    ) -> Result<Event, SessionError> {
        let (peer, standing) = (visit.paired.peer.clone(), visit.paired.standing);
        let is_new = before.is_none_or(|before| before.digest != manifest.digest);
        if is_new {
            self.reporter.tell(Event::Offer(manifest.told_from(peer.clone(), standing.label)));
        }
        manifest.expected().map_err(SessionError::Declined)?;
        if self.outlet.is_some() {
            manifest.is_one_file().map_err(SessionError::Declined)?;
        }
        within_limits(self.max_size, manifest.bytes)?;
        if is_new {
            self.reporter.tell(Event::Accepted { transfer: manifest.transfer.clone() });
            visit.befriend(&self.devices, &*self.reporter).await;
        }
        let Fetcher { if_exists, max_size, .. } = *self;
        let outlet = self.outlet.as_ref();
        let shelf = Shelf {
            folder: &self.folder,
            if_exists,
            max_size,
            outlet,
            sender_returns: false,
            reporter: &*self.reporter,
        };
        let key = visit.paired.binding.server;
        let keep = About::keepsake(manifest, &peer.name, &key, standing).filter(|_| outlet.is_none());
        let prepared = Receiving::prepare(&mut visit.paired.conn, shelf, manifest, standing.label, keep);
        let mut receiving = unless_leaving(leaving, prepared).await?;
        let received = self.receive(visit, &mut receiving, leaving).await;
        match &received {
            Ok(_) => receiving.end().await,
            Err(error) => receiving.wind_up(error).await,
        }
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
            receiving.go(&mut visit.paired.conn, Go { session, lanes: self.lanes }).await?;
            let theirs: Go = visit.paired.conn.expect().await?;
            if theirs.session != session {
                return Err(SessionError::broke("it goes on with another session"));
            }
            match receiving.lanes() {
                Some(running) => {
                    let most = theirs.lanes.min(self.lanes);
                    visit.dial_lanes(&self.identity, session, running, most).await.map(Some)
                }
                None => Ok(None),
            }
        };
        let growing = unless_leaving(leaving, begun).await?;
        let conn = &mut visit.paired.conn;
        beside(growing, receiving.run(conn, leaving)).await?;
        receiving.finish(conn).await
    }
}

/// The session before this one, of the same transfer.
struct Before {
    transfer: String,
    resume_hash: ResumeHash,
    /// Of what was offered.
    digest: [u8; 32],
}
