//! What one guest takes of an outbox: who said yes to it, what has arrived, and when that is all.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::lock;
use super::run::PROGRESS_EVERY;
use crate::events::{Event, ExitCode, Peer};
use crate::pairing::Token;
use crate::roll::Kept;
use crate::session::{Outbox, Place, Standing};
use crate::store::{SourceEntry, SourceKind, SourceList, StoreError};

/// How long a guest that has everything must be quiet until it is done: a browser asks, and then asks again.
const QUIET: Duration = Duration::from_secs(2);

/// One guest of an outbox.
pub(super) struct Taking {
    pub(super) outbox: Arc<Outbox>,
    /// Sealed, or inside TLS.
    private: Way,
    /// As it is.
    open: Way,
    /// Files that have arrived whole, by their place.
    got: Mutex<BTreeSet<u32>>,
    /// Contents that are on their way.
    active: AtomicUsize,
    seen: Mutex<Instant>,
    /// It has all that it wants.
    over: AtomicBool,
}

/// One of the ways in which content goes out, each a transfer with its own label.
struct Way {
    standing: Standing,
    /// The name of the transfer, as it is told.
    transfer: String,
    decided: OnceCell<Result<(), String>>,
    asked: AtomicBool,
    moved: AtomicU64,
    told: Mutex<Instant>,
    started: Mutex<Option<Instant>>,
    got: Mutex<(u64, u64)>,
}

impl Way {
    fn new(standing: Standing) -> Way {
        Way {
            standing,
            transfer: HEXLOWER.encode(Token::random().as_bytes()),
            decided: OnceCell::new(),
            asked: AtomicBool::new(false),
            moved: AtomicU64::new(0),
            told: Mutex::new(Instant::now()),
            started: Mutex::new(None),
            got: Mutex::default(),
        }
    }
}

/// Content on its way to a guest.
pub(super) struct Under {
    taking: Arc<Taking>,
    secure: bool,
    _place: Place,
}

impl Taking {
    pub(super) fn new(outbox: Arc<Outbox>) -> Arc<Taking> {
        Arc::new(Taking {
            outbox,
            private: Way::new(Standing::BROWSER),
            open: Way::new(Standing::OPEN),
            got: Mutex::default(),
            active: AtomicUsize::new(0),
            seen: Mutex::new(Instant::now()),
            over: AtomicBool::new(false),
        })
    }

    fn way(&self, secure: bool) -> &Way {
        if secure { &self.private } else { &self.open }
    }

    /// Whether the guest may have things this way; asked once.
    pub(super) async fn decide(&self, secure: bool, peer: Peer) -> Result<(), String> {
        let way = self.way(secure);
        way.asked.store(true, Ordering::Release);
        let decide = async || {
            let reporter = &self.outbox.host.reporter;
            let (transfer, label) = (way.transfer.clone(), way.standing.label);
            let offer = self.outbox.offer_for(peer, label, transfer.clone());
            reporter.tell(Event::Offer(offer.clone()));
            match self.outbox.admit(way.standing, offer).await {
                Ok(_) => {
                    reporter.tell(Event::Accepted { transfer });
                    *lock(&way.started) = Some(Instant::now());
                    Ok(())
                }
                Err(error) => {
                    let reason = error.to_string();
                    reporter.tell(Event::Refused { transfer, reason: reason.clone() });
                    Err(reason)
                }
            }
        };
        way.decided.get_or_init(decide).await.clone()
    }

    /// Asks in the background, and says what is known: `None` while nobody has answered.
    pub(super) fn decision(self: &Arc<Self>, secure: bool, peer: Peer) -> Option<Result<(), String>> {
        let way = self.way(secure);
        if !way.asked.swap(true, Ordering::AcqRel) {
            let taking = Arc::clone(self);
            tokio::spawn(async move { taking.decide(secure, peer).await });
        }
        way.decided.get().cloned()
    }

    /// Content begins to go out. `None` once this program leaves no place for it.
    pub(super) fn begin(self: &Arc<Self>, secure: bool) -> Option<Under> {
        let place = self.outbox.host.take_place().ok()?;
        self.active.fetch_add(1, Ordering::AcqRel);
        Some(Under { taking: Arc::clone(self), secure, _place: place })
    }

    fn moved(&self, secure: bool, bytes: usize) {
        let way = self.way(secure);
        let moved = way.moved.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        *lock(&self.seen) = Instant::now();
        let mut told = lock(&way.told);
        if told.elapsed() >= PROGRESS_EVERY {
            *told = Instant::now();
            self.tell_progress(way, moved);
        }
    }

    fn tell_progress(&self, way: &Way, moved: u64) {
        let total = self.entries().bytes().unwrap_or(u64::MAX);
        // What was asked for again counts once.
        let (transfer, bytes) = (way.transfer.clone(), moved.min(total));
        self.outbox.host.reporter.tell(Event::Progress { transfer, bytes, total: Some(total) });
    }

    pub(super) fn entries(&self) -> &Arc<SourceList> {
        self.outbox.entries()
    }

    /// The file at that place.
    pub(super) fn file(&self, id: u32) -> Option<Kept<SourceEntry>> {
        self.entries().get(id).filter(|entry| entry.kind == SourceKind::File)
    }

    /// Every file.
    pub(super) fn files(&self) -> impl Iterator<Item = u32> {
        let files = self.entries().iter().enumerate().filter(|(_, entry)| entry.kind == SourceKind::File);
        files.map(|(id, _)| id as u32)
    }

    /// These have arrived whole. Where the guest has `confirmed` it, that is told of each.
    pub(super) async fn got(self: &Arc<Self>, ids: Vec<u32>, secure: bool, confirmed: bool) {
        let taking = Arc::clone(self);
        let take = move || {
            for id in ids {
                let Some(entry) = taking.file(id) else { continue };
                if !lock(&taking.got).insert(id) {
                    continue;
                }
                let mut sum = lock(&taking.way(secure).got);
                *sum = (sum.0 + 1, sum.1 + entry.bytes);
                drop(sum);
                // A file that changed meanwhile has arrived as it was, and nobody can say any more how that was.
                if confirmed && let Ok(hash) = hash(&entry) {
                    taking.tell_stored(&entry, secure, hash);
                }
            }
        };
        // What panics there is a defect of ours, and the guest has its files.
        let _ = spawn_blocking(take).await;
        self.touch();
        self.end_if_whole();
    }

    fn tell_stored(&self, entry: &SourceEntry, secure: bool, hash: blake3::Hash) {
        self.outbox.host.reporter.tell(Event::Stored {
            transfer: self.way(secure).transfer.clone(),
            name: entry.offered.clone(),
            offered: entry.offered.clone(),
            path: None,
            bytes: entry.bytes,
            blake3: hash.to_hex().to_string(),
        });
    }

    /// The guest has been shown all that there is to show, or wants no more.
    pub(super) fn end_if_whole(self: &Arc<Self>) {
        // Nothing but files is got, each once.
        if lock(&self.got).len() == self.entries().files() {
            self.end_when_quiet();
        }
    }

    /// The guest wants no more. Whoever has taken nothing has not come yet.
    pub(super) fn done(self: &Arc<Self>) {
        if !lock(&self.got).is_empty() || self.entries().files() == 0 {
            self.end_when_quiet();
        }
    }

    fn touch(&self) {
        *lock(&self.seen) = Instant::now();
    }

    fn end_when_quiet(self: &Arc<Self>) {
        if self.over.swap(true, Ordering::AcqRel) {
            return;
        }
        let taking = Arc::clone(self);
        let mut leaving = self.outbox.host.leaving();
        tokio::spawn(async move {
            loop {
                let quiet = lock(&taking.seen).elapsed();
                if quiet >= QUIET && taking.active.load(Ordering::Acquire) == 0 {
                    break;
                }
                tokio::select! {
                    () = sleep(QUIET.saturating_sub(quiet).max(PROGRESS_EVERY)) => {}
                    // It has everything, so that is said on the way out too.
                    () = super::raised(&mut leaving) => break,
                }
            }
            taking.tell_end();
        });
    }

    fn tell_end(&self) {
        let host = &self.outbox.host;
        for way in [&self.private, &self.open] {
            let Some(started) = *lock(&way.started) else { continue };
            let (files, bytes) = *lock(&way.got);
            self.tell_progress(way, way.moved.load(Ordering::Relaxed));
            host.reporter.tell(Event::Finished {
                transfer: way.transfer.clone(),
                files,
                bytes,
                seconds: started.elapsed().saturating_sub(QUIET).as_secs_f64(),
                label: way.standing.label,
            });
        }
        host.ended(ExitCode::Ok, std::net::Ipv4Addr::UNSPECIFIED.into());
    }
}

impl Under {
    /// Content went out.
    pub(super) fn moved(&self, bytes: usize) {
        self.taking.moved(self.secure, bytes);
    }
}

impl Drop for Under {
    fn drop(&mut self) {
        self.taking.touch();
        self.taking.active.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The hash of a file as it was listed.
fn hash(entry: &SourceEntry) -> Result<blake3::Hash, StoreError> {
    let source = entry.open()?;
    let (mut hasher, mut buffer, mut offset) = (blake3::Hasher::new(), vec![0; super::outflow::PIECE_BYTES], 0);
    while offset < entry.bytes {
        let read = source.read_at(offset, &mut buffer)?;
        hasher.update(&buffer[..read]);
        offset += read as u64;
    }
    source.check_unchanged()?;
    Ok(hasher.finalize())
}
