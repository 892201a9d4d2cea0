//! What the host does for the pages of its room: it fetches what they take into a private place, and gives from there
//! what they offer.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::share::{Giver, Share};
use crate::cli::{Failed, disk};
use crate::events::{Answer, Board, BoxFuture, Event, NoReason, Question, Reporter};
use crate::names::PeerName;
use crate::pairing::Invitation;
use crate::room::{OFFERS_OF_ONE, OfferCard, Session};
use crate::session::{
    Classic, Fetcher, Host, Inbox, InboxRules, Level, Memory, Outbox, Ready, Relay, RoomHost, Space, Target, Wish,
};
use crate::store::{Folder, IfExists, Stash, Stashed, contents};
use crate::wire::OfferLink;

/// What pages offer at once, all of them together: each is an open port.
const OFFERED: usize = 256;

/// What is kept for pages, and what is done about it.
pub(super) struct Relaying {
    /// The pages' side of it.
    pub(super) relay: Arc<Relay>,
    room: Arc<RoomHost>,
    stash: Arc<Stash>,
    /// Where what they offer comes in.
    _pages: Stashed,
    wishes: mpsc::Receiver<Wish>,
    tasks: JoinSet<Done>,
    kept: Vec<Kept>,
}

/// Something that is given from here until nobody can want it any more.
struct Kept {
    share: Share,
    whose: Whose,
    _stashed: Stashed,
    _space: Space,
}

#[derive(Clone, Copy)]
enum Whose {
    /// A page offers it.
    Page(u32),
    /// A page takes it; a member offers it under that number.
    Offer(u32),
}

/// What came of a task.
enum Done {
    Shared(Result<(Session, Box<Kept>), Failed>),
    Taken { kept: Result<Box<Kept>, String>, ready: watch::Sender<Option<Ready>> },
}

impl Relaying {
    /// Opens the private place.
    pub(super) fn new(room: &Arc<RoomHost>, host: &Arc<Host>, memory: &Memory) -> Result<Relaying, Failed> {
        let stash = Stash::new().map_err(|error| disk(&error))?;
        let (path, pages) = stash.folder("pages").map_err(|error| disk(&error))?;
        let folder = Folder::open(&path).map_err(|error| disk(&error))?;
        // Whoever sits in the room was let in; what the room keeps for all of them is bounded.
        let rules = InboxRules {
            yes: Some(Level::Private),
            if_exists: IfExists::Rename,
            max_size: None,
            outlet: None,
            classic: Classic::Off,
        };
        let inbox = Inbox::new(Arc::clone(host), folder, rules, memory.clone());
        let (relay, wishes) = Relay::new(inbox, Arc::clone(&stash));
        let (tasks, kept) = (JoinSet::new(), Vec::new());
        Ok(Relaying { relay, room: Arc::clone(room), stash, _pages: pages, wishes, tasks, kept })
    }

    /// The next wish of a page. What has become of earlier ones is seen to meanwhile.
    pub(super) async fn next(&mut self, reporter: &dyn Reporter) -> Option<Wish> {
        loop {
            tokio::select! {
                wish = self.wishes.recv() => return wish,
                Some(done) = self.tasks.join_next() => {
                    if let Ok(done) = done {
                        self.done(done, reporter);
                    }
                }
            }
        }
    }

    fn done(&mut self, done: Done, reporter: &dyn Reporter) {
        let kept = match done {
            Done::Shared(Err((transfer, failure))) => return reporter.tell(Event::Failed { transfer, failure }),
            Done::Shared(Ok((by, kept))) => {
                let full = self.of_pages().count() >= OFFERED;
                if full || self.room.share_for(by, kept.share.shared().clone()).is_err() {
                    // There are too many, or it has left meanwhile.
                    tokio::spawn(kept.close());
                    return;
                }
                // The room has ended the oldest one too.
                let own: Vec<usize> =
                    self.of_pages().filter(|(_, page)| *page == by.member).map(|(at, _)| at).collect();
                if own.len() >= OFFERS_OF_ONE {
                    tokio::spawn(self.kept.remove(own[0]).close());
                }
                kept
            }
            Done::Taken { kept: Err(reason), ready } => return drop(ready.send_replace(Some(Err(reason)))),
            Done::Taken { kept: Ok(kept), ready } => {
                ready.send_replace(Some(Ok(Arc::clone(kept.share.outbox()))));
                kept
            }
        };
        self.kept.push(*kept);
    }

    /// What pages offer: its place here, and the page.
    fn of_pages(&self) -> impl Iterator<Item = (usize, u32)> {
        let page = |(at, kept): (usize, &Kept)| match kept.whose {
            Whose::Page(member) => Some((at, member)),
            Whose::Offer(_) => None,
        };
        self.kept.iter().enumerate().filter_map(page)
    }

    /// Offers what came from a page.
    pub(super) fn share(&mut self, by: Session, stashed: Stashed, space: Space, ip: IpAddr, giver: Giver) {
        self.tasks.spawn(async move {
            let share = Share::open(stashed.paths().to_vec(), ip, giver).await;
            Done::Shared(share.map(|share| {
                (by, Box::new(Kept { share, whose: Whose::Page(by.member), _stashed: stashed, _space: space }))
            }))
        });
    }

    /// Fetches what a member offers.
    pub(super) fn fetch(
        &mut self,
        offer: &OfferCard,
        invitation: Invitation,
        fetcher: Fetcher,
        giver: Giver,
        ready: watch::Sender<Option<Ready>>,
        interrupted: watch::Receiver<bool>,
    ) {
        let (number, files, bytes) = (offer.offer, offer.shared.files, offer.shared.bytes);
        let (space, stash) = (self.relay.reserve(files.into(), bytes), Arc::clone(&self.stash));
        self.tasks.spawn(async move {
            let fetched = async {
                let space = space.ok_or("the host keeps no more for the room")?;
                let failed = |error: crate::store::StoreError| error.for_peer().to_owned();
                let (path, stashed) = stash.folder(&number.to_string()).map_err(failed)?;
                let folder = Folder::open(&path).map_err(failed)?;
                let fetcher = Fetcher { folder, max_size: Some(bytes), reporter: Arc::new(Unheard), ..fetcher };
                let fetched = fetcher.fetch(&Target::Invited(invitation), interrupted).await;
                fetched.map_err(|(_, failure)| failure.message)?;
                let share = Share::within(contents(&path).map_err(failed)?, giver).await;
                let share = share.map_err(|(_, failure)| failure.message)?;
                Ok(Box::new(Kept { share, whose: Whose::Offer(number), _stashed: stashed, _space: space }))
            };
            Done::Taken { kept: fetched.await, ready }
        });
    }

    /// What is given here under that link.
    pub(super) fn outbox(&self, link: &OfferLink) -> Option<&Arc<Outbox>> {
        let kept = self.kept.iter().find(|kept| kept.share.shared().link == *link);
        kept.map(|kept| kept.share.outbox())
    }

    /// Everything that is given here.
    pub(super) fn shares(&mut self) -> impl Iterator<Item = &mut Share> {
        self.kept.iter_mut().map(|kept| &mut kept.share)
    }

    /// Whether something is on its way.
    pub(super) fn is_busy(&self) -> bool {
        !self.tasks.is_empty() || self.kept.iter().any(|kept| kept.share.under_way() > 0)
    }

    /// These offers still stand, and these members are here; what is kept for others goes.
    pub(super) fn retain(&mut self, offers: impl Fn(u32) -> bool, members: impl Fn(u32) -> bool) {
        self.relay.retain(&offers);
        let is_gone = |kept: &mut Kept| match kept.whose {
            Whose::Page(member) => !members(member),
            Whose::Offer(offer) => !offers(offer),
        };
        for gone in self.kept.extract_if(.., is_gone) {
            tokio::spawn(gone.close());
        }
    }

    /// Ends what is under way, and removes what is kept.
    pub(super) async fn close(mut self) {
        self.tasks.shutdown().await;
        for kept in self.kept {
            kept.close().await;
        }
    }
}

impl Kept {
    async fn close(self) {
        self.share.close().await;
    }
}

/// The name under which something is fetched for the page of that name.
pub(super) fn on_behalf(host: &str) -> String {
    PeerName::from_stranger(&format!("{host} (for a phone)")).to_string()
}

/// A transfer that only passes through: what becomes of it is told by whoever wanted it.
struct Unheard;

impl Reporter for Unheard {
    fn tell(&self, _: Event) {}

    fn show(&self, _: Board) {}

    fn hide(&self) {}

    fn ask(&self, _: Question) -> BoxFuture<'_, Answer> {
        Box::pin(std::future::ready(Answer::No(NoReason::Person)))
    }
}
