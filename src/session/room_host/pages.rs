//! Pages in a room, which have no connection of their own and ask for their news.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::{RoomHost, not_entered};
use crate::events::Peer;
use crate::room::{Entered, Line, Pace, Session, Unheard};
use crate::session::consent::Standing;
use crate::session::error::SessionError;
use crate::session::host::lock;
use crate::wire::{Say, Shared, frame};

/// A page that waits for news asks again every 20 s; one that has not asked for this long sleeps or is closed.
const PAGE_SILENCE: Duration = Duration::from_secs(30);

/// A page that sits in the room.
pub(super) struct Page {
    session: Session,
    /// When it last asked for news.
    asked: Instant,
    pace: Pace,
    /// Until then it has said enough.
    silenced: Instant,
}

impl Page {
    fn new(session: Session) -> Page {
        let now = Instant::now();
        Page { session, asked: now, pace: Pace::new(now), silenced: now }
    }
}

impl RoomHost {
    /// Lets a page in whose session stands for `key`, or lets it in again.
    pub(crate) async fn enter_page(&self, key: [u8; 32], peer: Peer, seen: u64) -> Result<Entered, SessionError> {
        let name = peer.name.clone();
        if !lock(&self.room).knows(&key) {
            self.admit(Standing::BROWSER, peer).await?;
        }
        let entered = self.with(|room, now| room.enter(key, &name, seen, now));
        let entered = entered.map_err(|reason| SessionError::Declined(not_entered(reason)))?;
        lock(&self.pages).insert(entered.session.member, Page::new(entered.session));
        Ok(entered)
    }

    /// A page says something; `false` if it has to wait before it says more.
    pub(crate) fn say_from_page(&self, session: Session, say: Say) -> Result<bool, Unheard> {
        let (now, bytes) = (Instant::now(), frame(&say).len());
        if let Some(page) = lock(&self.pages).get_mut(&session.member) {
            if page.silenced > now {
                return Ok(false);
            }
            page.silenced = page.pace.heard(bytes, now);
        }
        self.with(|room, now| room.say(session, say, now)).map(|()| true)
    }

    /// Whether a page sits in the room.
    pub(crate) fn is_open(&self, session: Session) -> bool {
        lock(&self.room).is_open(session)
    }

    /// The host offers what came from a page, which can't be reached itself.
    ///
    /// # Errors
    /// The page has left.
    pub fn share_for(&self, session: Session, shared: Shared) -> Result<(), Unheard> {
        self.with(|room, now| room.share_for(session, shared, now))
    }

    /// What a page that has seen `seen` hears next, up to about `bytes` of it; nothing if nothing happens for so long.
    pub(crate) async fn hear_from_page(
        &self,
        session: Session,
        seen: u64,
        wait: Duration,
        bytes: usize,
    ) -> Result<Vec<Arc<Line>>, Unheard> {
        let mut last = self.last.subscribe();
        self.see_page(session, seen);
        // An error would mean that the room is gone.
        let _ = timeout(wait, last.wait_for(|last| *last > seen)).await;
        self.see_page(session, seen);
        lock(&self.room).after(session, seen, bytes)
    }

    fn see_page(&self, session: Session, seen: u64) {
        lock(&self.room).saw(session, seen);
        if let Some(page) = lock(&self.pages).get_mut(&session.member) {
            page.asked = Instant::now();
        }
    }

    /// A page that has not asked for long is away: nothing else would tell.
    pub(super) fn tend_pages(&self) {
        let gone: Vec<Session> = {
            let mut pages = lock(&self.pages);
            let gone = pages.values().filter(|page| page.asked.elapsed() > PAGE_SILENCE).map(|page| page.session);
            let gone: Vec<Session> = gone.collect();
            pages.retain(|_, page| page.asked.elapsed() <= PAGE_SILENCE);
            gone
        };
        gone.into_iter().for_each(|session| self.with(|room, now| room.cut(session, now)));
    }
}
