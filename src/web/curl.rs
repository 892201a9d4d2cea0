//! `PUT /put/CAPABILITY/NAME`: one file from a program that runs no script, through a path made for it (protocol.md
//! 11.6).

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use hyper::StatusCode;
use percent_encoding::percent_decode_str;
use tokio::task::{block_in_place, spawn_blocking};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::answer::{Answer, plain};
use super::body::Inflow;
use super::capability::{Capability, digest_of};
use super::run::PROGRESS_EVERY;
use super::visit::Visit;
use super::{Web, lock, raised};
use crate::events::{Dialect, EntryKind, Event, ExitCode, Offer, OfferedEntry, Peer};
use crate::names::{FileName, RelPath};
use crate::pairing::Token;
use crate::session::{Inbox, Place, SessionError, Standing};
use crate::store::{PlannedEntry, PlannedKind};

/// Paths that are good at once; the oldest goes when another one is asked for.
const SLIPS: usize = 8;

/// A sender that says nothing for this long is gone.
const IDLE: Duration = Duration::from_secs(60);

/// What is read before it is hashed and written.
const BATCH: usize = 256 * 1024;

/// The paths that may be put to, by the SHA-256 of their capability: looking one up then takes a time that says nothing
/// about it.
#[derive(Default)]
pub(super) struct Slips(Mutex<Vec<Slip>>);

struct Slip {
    hash: [u8; 32],
    in_use: bool,
}

impl Slips {
    /// Makes a path that is good until something was stored through it: `/put/CAPABILITY/`.
    pub(super) fn issue(&self) -> Zeroizing<String> {
        let capability = Capability::draw();
        let mut slips = lock(&self.0);
        if slips.len() == SLIPS {
            slips.remove(0);
        }
        slips.push(Slip { hash: capability.digest(), in_use: false });
        Zeroizing::new(format!("/put/{}/", *capability.into_text()))
    }

    /// `None` if there is no such path, or it is being used.
    fn begin<'a>(&'a self, capability: &str) -> Option<InUse<'a>> {
        let hash = digest_of(capability);
        let mut slips = lock(&self.0);
        let slip = slips.iter_mut().find(|slip| slip.hash == hash && !slip.in_use)?;
        slip.in_use = true;
        Some(InUse { slips: self, hash, spent: false })
    }
}

/// A path while something comes through it. Good again when dropped, unless spent.
struct InUse<'a> {
    slips: &'a Slips,
    hash: [u8; 32],
    spent: bool,
}

impl Drop for InUse<'_> {
    fn drop(&mut self) {
        let mut slips = lock(&self.slips.0);
        match self.spent {
            true => slips.retain(|slip| slip.hash != self.hash),
            false => slips.iter_mut().filter(|slip| slip.hash == self.hash).for_each(|slip| slip.in_use = false),
        }
    }
}

/// Stores what is put there.
pub(super) async fn put(
    web: &Arc<Web>,
    inbox: &Arc<Inbox>,
    visit: &Visit,
    (capability, name): (&str, &str),
    body: Inflow,
) -> Answer {
    let (web, inbox) = (Arc::clone(web), Arc::clone(inbox));
    if web.slips.begin(capability).map(drop).is_none() {
        return plain(StatusCode::NOT_FOUND, "this path is not good, not any more, or in use");
    }
    visit.admit();
    let name = percent_decode_str(name).decode_utf8_lossy().into_owned();
    let (capability, peer, secure) = (Zeroizing::new(capability.to_owned()), visit.peer, visit.secure);
    // On its own, so that what began is told to its end even if the connection breaks.
    let stored = tokio::spawn(async move {
        let mut slip = web.slips.begin(&capability)?;
        let peer = Peer { id: peer.ip().to_string(), name: String::new(), address: peer, dialect: Dialect::Web };
        let put = Put {
            inbox: &inbox,
            transfer: HEXLOWER.encode(Token::random().as_bytes()),
            standing: if secure { Standing::BROWSER } else { Standing::OPEN },
            name,
            bytes: body.left(),
        };
        let answer = put.run(peer, body).await;
        slip.spent = answer.status() == StatusCode::CREATED;
        Some(answer)
    });
    let failed = || plain(StatusCode::CONFLICT, "this path is in use");
    stored.await.ok().flatten().unwrap_or_else(failed)
}

/// One file on its way.
struct Put<'a> {
    inbox: &'a Arc<Inbox>,
    transfer: String,
    standing: Standing,
    /// As it stands in the path.
    name: String,
    bytes: u64,
}

impl Put<'_> {
    async fn run(self, peer: Peer, body: Inflow) -> Answer {
        let (host, address, transfer) = (&self.inbox.host, peer.address.ip(), self.transfer.clone());
        host.introduce(peer.clone(), self.standing.label);
        let place = match self.admit(peer).await {
            Ok(place) => place,
            Err(error) => {
                let reason = error.to_string();
                host.reporter.tell(Event::Refused { transfer, reason: reason.clone() });
                return plain(StatusCode::FORBIDDEN, reason);
            }
        };
        host.reporter.tell(Event::Accepted { transfer: transfer.clone() });
        match self.store(body).await {
            Ok((finished, answer)) => {
                place.keep();
                host.reporter.tell(finished);
                host.ended(ExitCode::Ok, address);
                answer
            }
            Err(error) => {
                drop(place);
                let failure = error.failure();
                let code = failure.code;
                host.reporter.tell(Event::Failed { transfer: Some(transfer), failure });
                host.ended(code, address);
                match &error {
                    SessionError::Store(error) if error.is_disk_full() => {
                        plain(StatusCode::INSUFFICIENT_STORAGE, error.for_peer())
                    }
                    SessionError::Store(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, error.for_peer()),
                    error => plain(StatusCode::BAD_REQUEST, error.to_string()),
                }
            }
        }
    }

    async fn admit(&self, peer: Peer) -> Result<Place, SessionError> {
        let entry = OfferedEntry { name: self.name.clone(), bytes: Some(self.bytes), kind: EntryKind::File };
        let offer = Offer {
            transfer: self.transfer.clone(),
            peer,
            label: self.standing.label,
            files: 1,
            bytes: Some(self.bytes),
            entries: vec![entry],
            entries_left_out: 0,
        };
        let mut leaving = self.inbox.host.leaving();
        self.inbox.host.reporter.tell(Event::Offer(offer.clone()));
        tokio::select! {
            admitted = self.inbox.admit(self.standing, offer) => admitted,
            () = raised(&mut leaving) => Err(SessionError::Interrupted),
        }
    }

    /// Given up when this program leaves, as long as there is something to come: what is there is put in place first.
    async fn store(&self, mut body: Inflow) -> Result<(Event, Answer), SessionError> {
        let started = Instant::now();
        let path = RelPath::from(FileName::from_stranger(&self.name));
        let entry =
            PlannedEntry { id: 0, path, kind: PlannedKind::File, size: Some(self.bytes), holes: 0, modified: None };
        let (folder, if_exists) = (&self.inbox.folder, self.inbox.rules.if_exists);
        let intake = block_in_place(|| folder.begin(vec![entry], if_exists))?;
        let file = intake.open_partial(0)?;
        let (mut hasher, mut told, mut buffer) = (blake3::Hasher::new(), Instant::now(), Vec::with_capacity(BATCH));
        let mut leaving = self.inbox.host.leaving();
        while body.left() > 0 {
            let filled = tokio::select! {
                filled = timeout(IDLE, body.fill(&mut buffer, BATCH)) => filled.map_err(|_| SessionError::Silent)?,
                () = raised(&mut leaving) => return Err(SessionError::Interrupted),
            };
            filled.map_err(|_| SessionError::Cut(std::io::ErrorKind::UnexpectedEof.into()))?;
            block_in_place(|| {
                hasher.update(&buffer);
                file.append(&buffer)
            })?;
            buffer.clear();
            if told.elapsed() >= PROGRESS_EVERY {
                told = Instant::now();
                self.tell_progress(file.end());
            }
        }
        self.tell_progress(self.bytes);
        let (hash, bytes) = (hasher.finalize().to_hex().to_string(), self.bytes);
        let commit = move || {
            let whole = file.complete(bytes)?;
            let (_, placed) = intake.commit(vec![whole]).pop().expect("one result for one file");
            let placed = placed?;
            intake.finish()?;
            Ok::<_, SessionError>(placed)
        };
        // What panics there is a defect of ours, told as what it means for the transfer.
        let placed = spawn_blocking(commit).await;
        let placed = placed.map_err(|_| SessionError::Incomplete("the file could not be stored".to_owned()))??;
        let answer = plain(StatusCode::CREATED, format!("stored as `{}`, blake3 {hash}", placed.name));
        self.inbox.host.reporter.tell(Event::Stored {
            transfer: self.transfer.clone(),
            name: placed.name.as_str().to_owned(),
            offered: self.name.clone(),
            path: Some(placed.path.to_string_lossy().into_owned()),
            bytes,
            blake3: hash,
        });
        let finished = Event::Finished {
            transfer: self.transfer.clone(),
            files: 1,
            bytes,
            seconds: started.elapsed().as_secs_f64(),
            label: self.standing.label,
        };
        Ok((finished, answer))
    }

    fn tell_progress(&self, bytes: u64) {
        let (transfer, total) = (self.transfer.clone(), Some(self.bytes));
        self.inbox.host.reporter.tell(Event::Progress { transfer, bytes, total });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::capability::CAPABILITY_CHARS;

    #[test]
    fn a_path_is_good_until_it_is_spent_and_for_one_at_a_time() {
        let slips = Slips::default();
        let path = slips.issue();
        let capability = path.strip_prefix("/put/").and_then(|rest| rest.strip_suffix('/')).unwrap();
        assert_eq!(capability.len(), CAPABILITY_CHARS);
        assert!(slips.begin("a").is_none());
        let first = slips.begin(capability).unwrap();
        assert!(slips.begin(capability).is_none(), "in use");
        drop(first);
        slips.begin(capability).unwrap().spent = true;
        assert!(slips.begin(capability).is_none(), "spent");
        let old = slips.issue();
        (0..SLIPS).for_each(|_| drop(slips.issue()));
        assert!(slips.begin(&old[5..31]).is_none(), "pushed out");
    }
}
