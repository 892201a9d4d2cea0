//! The course of one transfer, from the question to a person to the end that is told.

use std::future::pending;
use std::io::ErrorKind;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use super::returning::There;
use super::sessions::{IDLE_LASTS, Session};
use super::transfers::{PARTS, Phase, Transfer};
use super::{lock, raised};
use crate::events::{Dialect, Event, ExitCode, Offer, Peer};
use crate::session::{Place, SessionError, Standing};
use crate::store::{Intake, Keepsake};

/// Progress is told at most this often, which the contract of `--json` promises.
pub(super) const PROGRESS_EVERY: Duration = Duration::from_millis(250);

/// Sees a frozen transfer through.
pub(super) async fn run(transfer: Arc<Transfer>, session: Arc<Session>, peer: Peer) {
    let host = Arc::clone(&transfer.inbox.host);
    let told = transfer.told.clone();
    let mut leaving = host.leaving();
    let offer = offer(&transfer, peer);
    host.reporter.tell(Event::Offer(offer.clone()));
    let keep = transfer.keepsake(&offer.peer.name);
    let place = match admit(&transfer, offer, keep.as_ref(), &mut leaving).await {
        Ok(place) => place,
        Err(reason) => {
            transfer.end(Phase::Refused(reason.clone()));
            return host.reporter.tell(Event::Refused { transfer: told, reason });
        }
    };
    host.reporter.tell(Event::Accepted { transfer: told.clone() });
    let (address, kept) = (transfer.address, keep.is_some());
    match receive(&transfer, &session, keep, &mut leaving).await {
        Ok(finished) => {
            place.keep();
            host.reporter.tell(finished);
            transfer.end(Phase::Finished);
            host.ended(ExitCode::Ok, address);
        }
        Err(error) => {
            drop(place);
            let failure = match kept {
                true => error.failure_of_kept("scan the code of the next `receive` and choose the same files"),
                false => error.failure(),
            };
            let code = failure.code;
            transfer.end(Phase::Failed(for_page(&error)));
            host.reporter.tell(Event::Failed { transfer: Some(told), failure });
            host.ended(code, address);
        }
    }
}

/// Who a page is, as it is told.
pub(super) fn peer(session: &Session, address: std::net::SocketAddr) -> Peer {
    Peer { id: address.ip().to_string(), name: lock(&session.device).clone(), address, dialect: Dialect::Web }
}

fn offer(transfer: &Transfer, peer: Peer) -> Offer {
    transfer.with_manifest(|manifest| {
        let (entries, entries_left_out) = manifest.told();
        Offer {
            transfer: transfer.told.clone(),
            peer,
            label: Standing::BROWSER.label,
            files: manifest.files,
            bytes: Some(manifest.bytes),
            entries,
            entries_left_out,
        }
    })
}

/// Whether it is taken; otherwise why not.
async fn admit(
    transfer: &Transfer,
    offer: Offer,
    keep: Option<&Keepsake>,
    leaving: &mut watch::Receiver<bool>,
) -> Result<Place, String> {
    transfer.with_manifest(|manifest| manifest.plan().map(drop))?;
    let admit = async {
        if let Some(keep) = keep {
            transfer.inbox.end_earlier(&keep.key).await;
        }
        transfer.inbox.admit(Standing::BROWSER, offer).await
    };
    tokio::select! {
        admitted = admit => admitted.map_err(|error| error.to_string()),
        () = over(transfer) => Err("it was cancelled there".to_owned()),
        () = raised(leaving) => Err("this program was ended".to_owned()),
    }
}

/// Until nothing is missing any more.
async fn receive(
    transfer: &Arc<Transfer>,
    session: &Session,
    keep: Option<Keepsake>,
    leaving: &mut watch::Receiver<bool>,
) -> Result<Event, SessionError> {
    let started = Instant::now();
    let inbox = &transfer.inbox;
    // Dropped last: from then on another page may go on with it.
    let mut tenure = None;
    if let Some(keep) = &keep {
        inbox.be_known_again().await;
        tenure = Some(inbox.hold(keep.key));
    }
    let (intake, there) = begin(transfer, keep).await?;
    if there.bytes > 0 {
        let (transfer, reason) = (transfer.told.clone(), "the page has come back".to_owned());
        inbox.host.reporter.tell(Event::Retry { transfer, from_bytes: there.bytes, reason });
    }
    let texts = transfer.texts();
    if !transfer.accept(Arc::clone(&intake), there) {
        // The page does not come back for what it has given up.
        intake.close();
        return Err(cancelled());
    }
    let shown = texts.len() as u64;
    for text in texts {
        inbox.host.reporter.tell(Event::Text { transfer: transfer.told.clone(), text });
    }
    let superseded = async {
        match &mut tenure {
            Some(tenure) => tenure.superseded().await,
            None => pending().await,
        }
    };
    let ended = attend(transfer, session, superseded, leaving).await;
    tell_progress(transfer, transfer.done_bytes());
    let (closing, cancelled) = (Arc::clone(&intake), transfer.is_cancelled());
    let close = move || {
        if ended.is_ok() {
            closing.finish()?;
        }
        // Who has sent everything or wants no more does not come back.
        match ended.is_ok() || cancelled {
            true => closing.close(),
            false => closing.leave(),
        }
        ended
    };
    // What panics there is a defect of ours, told as what it means for the transfer.
    let closed = spawn_blocking(close).await;
    closed.map_err(|_| SessionError::Incomplete("the transfer could not be ended".to_owned()))??;
    let tally = transfer.tally();
    match tally.first_failure {
        None => Ok(Event::Finished {
            transfer: transfer.told.clone(),
            files: tally.files + shown,
            bytes: tally.bytes,
            seconds: started.elapsed().as_secs_f64(),
            label: Standing::BROWSER.label,
        }),
        Some(first) => Err(SessionError::Incomplete(format!(
            "{} of {} files were not stored, first {first}",
            tally.failed,
            tally.failed + tally.files
        ))),
    }
}

/// Prepares the folder, reserves room, and looks at what is there of an earlier attempt.
async fn begin(transfer: &Arc<Transfer>, keep: Option<Keepsake>) -> Result<(Arc<Intake>, There), SessionError> {
    let beginning = Arc::clone(transfer);
    let begin = move || {
        let plan = beginning.with_manifest(|manifest| manifest.plan()).map_err(SessionError::Incomplete)?;
        let (folder, if_exists) = (&beginning.inbox.folder, beginning.inbox.rules.if_exists);
        let intake = match keep {
            Some(keep) => folder.go_on(plan, if_exists, &keep)?,
            None => folder.begin(plan, if_exists)?,
        };
        let declared = |id| beginning.with_manifest(|manifest| Some(manifest.entries.get(id as usize)?.declared()));
        let there = There::look(folder, &intake, declared, PARTS);
        Ok::<_, SessionError>((Arc::new(intake), there))
    };
    let begun = spawn_blocking(begin).await;
    begun.map_err(|_| SessionError::Incomplete("the transfer could not be begun".to_owned()))?
}

async fn attend(
    transfer: &Transfer,
    session: &Session,
    superseded: impl Future<Output = ()>,
    leaving: &mut watch::Receiver<bool>,
) -> Result<(), SessionError> {
    let mut superseded = pin!(superseded);
    let mut changes = transfer.watch();
    let mut progress = interval(PROGRESS_EVERY);
    progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = 0;
    let mut ended = Ok(());
    loop {
        changes.borrow_and_update();
        if transfer.is_settled() {
            return ended;
        }
        if ended.is_ok() && transfer.is_over() {
            ended = Err(cancelled());
        }
        // What is on its way to its name arrives there, and is told, before the end is.
        if ended.is_err() && !transfer.is_committing() {
            return ended;
        }
        tokio::select! {
            // The sender lives as long as the transfer.
            _ = changes.changed() => {}
            _ = progress.tick() => {
                let bytes = transfer.done_bytes();
                if bytes != seen && ended.is_ok() {
                    seen = bytes;
                    tell_progress(transfer, bytes);
                }
                if session.idle(tokio::time::Instant::now()) >= IDLE_LASTS {
                    ended = ended.and(Err(SessionError::Silent));
                }
            }
            () = superseded.as_mut(), if ended.is_ok() => ended = Err(SessionError::Cut(ErrorKind::ConnectionReset.into())),
            () = raised(leaving), if ended.is_ok() && !transfer.has_all() => {
                // Its last file may have come just now.
                if !transfer.has_all() {
                    ended = Err(SessionError::Interrupted);
                }
            }
        }
        if let Err(error) = &ended {
            transfer.end(Phase::Failed(for_page(error)));
        }
    }
}

fn tell_progress(transfer: &Transfer, bytes: u64) {
    let total = Some(transfer.with_manifest(|manifest| manifest.bytes));
    transfer.inbox.host.reporter.tell(Event::Progress { transfer: transfer.told.clone(), bytes, total });
}

/// Waits until somebody has ended it.
async fn over(transfer: &Transfer) {
    let mut changes = transfer.watch();
    // The sender lives as long as the transfer.
    let _ = changes.wait_for(|_| transfer.is_over()).await;
}

fn cancelled() -> SessionError {
    SessionError::Incomplete("cancelled there".to_owned())
}

/// Why it failed, in words that say nothing of this machine's paths.
fn for_page(error: &SessionError) -> String {
    match error {
        SessionError::Store(error) => error.for_peer().to_owned(),
        SessionError::Silent => "the page was silent for an hour".to_owned(),
        SessionError::Interrupted => "the receiver has left".to_owned(),
        SessionError::Cut(_) => "the same files were offered again".to_owned(),
        error => error.to_string(),
    }
}
