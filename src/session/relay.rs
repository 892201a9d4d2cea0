//! What the host of a room does for pages, which can't reach the other members and can't be reached: it fetches for them
//! what they take, and gives for them what they offer.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::timeout;

use super::host::lock;
use super::inbox::Inbox;
use super::outbox::Outbox;
use crate::room::Session;
use crate::store::{Stash, Stashed};

/// What is kept for all pages of a room at once: a few films, and less than what disks for temporary files have.
const SPACE: u64 = 2 * 1024 * 1024 * 1024;

/// Disks are given out in pieces of this, and an empty file takes one too.
const PIECE: u64 = 4 * 1024;

/// Wishes that may wait for whoever fulfils them.
const WISHES: usize = 64;

/// Space that something takes, until it is dropped.
#[derive(Debug)]
pub struct Space {
    _held: OwnedSemaphorePermit,
}

/// What became of a wish to take something.
pub type Ready = Result<Arc<Outbox>, String>;

/// Something that is to be done for a page.
pub enum Wish {
    /// To get hold of what is offered under that number.
    Take {
        /// The number.
        offer: u32,
        /// To be told what became of it.
        ready: watch::Sender<Option<Ready>>,
    },
    /// To offer what came.
    Share {
        /// The page.
        by: Session,
        /// What came.
        stashed: Stashed,
        /// The space that it takes.
        space: Space,
    },
}

/// The host's hands for the pages of a room.
pub struct Relay {
    inbox: Arc<Inbox>,
    stash: Arc<Stash>,
    wishes: mpsc::Sender<Wish>,
    space: Arc<Semaphore>,
    /// What pages have asked for, by the number of the offer.
    coming: Mutex<HashMap<u32, watch::Receiver<Option<Ready>>>>,
}

impl Relay {
    /// Takes what pages offer into `inbox`, whose folder is in `stash`. The wishes are for whoever fulfils them.
    pub fn new(inbox: Arc<Inbox>, stash: Arc<Stash>) -> (Arc<Relay>, mpsc::Receiver<Wish>) {
        let (wishes, wished) = mpsc::channel(WISHES);
        let pieces = usize::try_from(SPACE / PIECE).expect("half a million pieces fit any machine's numbers");
        let (space, coming) = (Arc::new(Semaphore::new(pieces)), Mutex::default());
        (Arc::new(Relay { inbox, stash, wishes, space, coming }), wished)
    }

    /// Where what pages offer goes.
    pub(crate) fn inbox(&self) -> &Arc<Inbox> {
        &self.inbox
    }

    /// Space for so much; `None` if there is too little.
    pub fn reserve(&self, files: u64, bytes: u64) -> Option<Space> {
        let pieces = u32::try_from(bytes.div_ceil(PIECE).checked_add(files)?).ok()?;
        let held = Arc::clone(&self.space).try_acquire_many_owned(pieces).ok()?;
        Some(Space { _held: held })
    }

    /// What is offered under that number, once it is here; `None` if that takes longer than `wait`.
    pub(crate) async fn take(&self, offer: u32, wait: Duration) -> Option<Ready> {
        let mut coming = match self.begin(offer) {
            Ok(coming) => coming,
            Err(full) => return Some(Err(full)),
        };
        let ready = timeout(wait, coming.wait_for(Option::is_some)).await.ok()?;
        Some(match ready {
            Ok(ready) => ready.clone().expect("it was waited for"),
            Err(_) => Err("the room is being closed".to_owned()),
        })
    }

    /// What is offered under that number, if it is here.
    pub(crate) fn taken(&self, offer: u32) -> Option<Arc<Outbox>> {
        let coming = lock(&self.coming);
        let ready = coming.get(&offer)?.borrow().clone();
        ready?.ok()
    }

    fn begin(&self, offer: u32) -> Result<watch::Receiver<Option<Ready>>, String> {
        let mut coming = lock(&self.coming);
        // What failed may succeed now.
        let is_good = |known: &&watch::Receiver<Option<Ready>>| match &*known.borrow() {
            Some(ready) => ready.is_ok(),
            None => known.has_changed().is_ok(),
        };
        if let Some(known) = coming.get(&offer).filter(is_good) {
            return Ok(known.clone());
        }
        let (ready, told) = watch::channel(None);
        let wish = Wish::Take { offer, ready };
        self.wishes.try_send(wish).map_err(|_| "the host has too much to do".to_owned())?;
        coming.insert(offer, told.clone());
        Ok(told)
    }

    /// What came from a page, to be removed when the answer is dropped.
    pub(crate) fn keep(&self, paths: Vec<PathBuf>) -> Stashed {
        self.stash.keep(paths)
    }

    /// Has it offered to the room.
    pub(crate) async fn share(&self, by: Session, stashed: Stashed, space: Space) {
        // Where nobody fulfils wishes any more, the room is over.
        let _ = self.wishes.send(Wish::Share { by, stashed, space }).await;
    }

    /// Only these offers still stand.
    pub fn retain(&self, stands: impl Fn(u32) -> bool) {
        lock(&self.coming).retain(|offer, _| stands(*offer));
    }
}
