//! The room as its host keeps it.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ring::{KEPT, Line, Ring};
use crate::wire::{MEMBERS_CAP, Member, OFFERS_CAP, Say, Shared, Standing, Welcome, What, Word};

/// Who was cut may be away for so long and still be in the room: as long as what is said meanwhile is kept.
pub const AWAY: Duration = KEPT;

/// Offers of one member that stand at once; with a further one the oldest is over.
pub const OFFERS_OF_ONE: usize = 32;

/// Names one stay of a member: what an earlier one says or asks for after that is nobody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    /// The member.
    pub member: u32,
    stay: u64,
}

/// A member that has taken its seat.
#[derive(Debug)]
pub struct Entered {
    /// Who it is, for everything that follows.
    pub session: Session,
    /// What it is told.
    pub welcome: Welcome,
}

/// Why somebody can't come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotEntered {
    /// As many as can are here.
    #[error("the room is full")]
    Full,
    /// It was sent away.
    #[error("this device was sent out of the room")]
    Removed,
}

/// Why nothing is taken from a member or told to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unheard {
    /// Its stay is over: it left, came back elsewhere, or was sent out.
    #[error("this stay in the room is over")]
    Over,
    /// It counts its turns wrong.
    #[error("turn `{said}` after turn `{heard}`")]
    Turn {
        /// What it says.
        said: u64,
        /// The last one that was heard.
        heard: u64,
    },
    /// It has read too slowly, and something it was to be told is no longer kept.
    #[error("it reads too slowly")]
    Slow,
}

struct Guest {
    card: Member,
    stay: u64,
    /// Since when it is away; `None` while it is here.
    away: Option<Instant>,
    heard: u64,
    /// The last number that it said it has seen.
    seen: u64,
}

/// A room. The host is its member 0 and never leaves.
pub struct Room {
    started: Instant,
    started_ms: u64,
    guests: BTreeMap<u32, Guest>,
    /// Who left and is still the sayer of something that is kept.
    gone: Vec<Member>,
    removed: HashSet<[u8; 32]>,
    next_member: u32,
    next_stay: u64,
    next_offer: u32,
    offers: BTreeMap<u32, Standing>,
    ring: Ring,
}

impl Room {
    /// A room whose host has that key and name, begun at `now`, which is `now_ms` milliseconds after 1970.
    pub fn new(key: [u8; 32], name: &str, now: Instant, now_ms: u64) -> Room {
        let mut room = Room {
            started: now,
            started_ms: now_ms,
            guests: BTreeMap::new(),
            gone: Vec::new(),
            removed: HashSet::new(),
            next_member: 0,
            next_stay: 0,
            next_offer: 1,
            offers: BTreeMap::new(),
            ring: Ring::default(),
        };
        room.seat(key, name, now);
        room
    }

    /// The number of the last thing that happened.
    pub fn last(&self) -> u64 {
        self.ring.last()
    }

    /// Whether the holder of this key may come back without another proof.
    pub fn knows(&self, key: &[u8; 32]) -> bool {
        self.find(key).is_some()
    }

    /// Whether nobody is in it but the host.
    pub fn is_empty(&self) -> bool {
        self.guests.len() == 1
    }

    /// The host's own seat: everything from the beginning.
    pub fn own(&self) -> Entered {
        let host = &self.guests[&0];
        let session = Session { member: 0, stay: host.stay };
        Entered { session, welcome: self.welcome(0, 0, 0, 0) }
    }

    /// The holder of `key` takes its seat, or takes it again. `seen` is the last number that it has seen, 0 if it does not
    /// know. An earlier stay of the same key is over.
    ///
    /// # Errors
    /// The room is full, or the key was sent out of it.
    pub fn enter(&mut self, key: [u8; 32], name: &str, seen: u64, now: Instant) -> Result<Entered, NotEntered> {
        self.expire(now);
        if self.removed.contains(&key) {
            return Err(NotEntered::Removed);
        }
        if let Some(number) = self.find(&key) {
            self.next_stay += 1;
            let (stay, floor, last) = (self.next_stay, self.ring.floor(), self.ring.last());
            let guest = self.guests.get_mut(&number).expect("it was found");
            guest.stay = stay;
            guest.away = None;
            guest.card.here = true;
            let seen = if seen == 0 { guest.seen } else { seen.min(last) };
            let (heard, from) = (guest.heard, seen.max(floor));
            let session = Session { member: number, stay };
            return Ok(Entered { session, welcome: self.welcome(number, from, from - seen, heard) });
        }
        if self.guests.len() + self.gone.len() >= MEMBERS_CAP {
            return Err(NotEntered::Full);
        }
        let seen = self.ring.last();
        let session = self.seat(key, name, now);
        Ok(Entered { session, welcome: self.welcome(session.member, seen, 0, 0) })
    }

    fn seat(&mut self, key: [u8; 32], name: &str, now: Instant) -> Session {
        let number = self.next_member;
        self.next_member += 1;
        self.next_stay += 1;
        let card = Member { number, key, name: name.to_owned(), here: true };
        let seen = self.ring.last();
        let guest = Guest { card: card.clone(), stay: self.next_stay, away: None, heard: 0, seen };
        self.guests.insert(number, guest);
        self.happens(number, 0, What::Joined(card), now);
        Session { member: number, stay: self.next_stay }
    }

    fn welcome(&self, you: u32, seen: u64, missed: u64, heard: u64) -> Welcome {
        let members = self.guests.values().map(|guest| &guest.card).chain(&self.gone).cloned().collect();
        Welcome { you, seen, missed, heard, members, offers: self.offers.values().cloned().collect() }
    }

    /// A member says something; what was heard before is not heard again.
    ///
    /// # Errors
    /// The stay is over, or a turn was left out.
    pub fn say(&mut self, session: Session, say: Say, now: Instant) -> Result<(), Unheard> {
        let guest = self.guest(session)?;
        if say.turn <= guest.heard {
            return Ok(());
        }
        if say.turn != guest.heard + 1 {
            return Err(Unheard::Turn { said: say.turn, heard: guest.heard });
        }
        guest.heard = say.turn;
        let by = session.member;
        let what = match say.word {
            Word::Text(text) => What::Text(text),
            Word::Share(shared) => self.share(by, shared),
            Word::Withdraw(offer) => {
                if self.offers.get(&offer).is_some_and(|standing| standing.by == by) {
                    self.offers.remove(&offer);
                }
                What::Withdrawn(offer)
            }
        };
        self.happens(by, say.turn, what, now);
        Ok(())
    }

    /// Where no more offers can stand, the oldest one of the same member makes place, else the new one does not stand.
    fn share(&mut self, by: u32, shared: Shared) -> What {
        let offer = self.next_offer;
        self.next_offer += 1;
        let of_one: Vec<u32> = self.offers.values().filter(|other| other.by == by).map(|other| other.offer).collect();
        if of_one.len() >= OFFERS_OF_ONE || self.offers.len() >= OFFERS_CAP {
            match of_one.first() {
                Some(oldest) => _ = self.offers.remove(oldest),
                None => return What::Withdrawn(offer),
            }
        }
        self.offers.insert(offer, Standing { offer, by, shared: shared.clone() });
        What::Shared { offer, shared }
    }

    /// The host offers something for a member that can't be reached itself; what that one says has its own turns.
    ///
    /// # Errors
    /// The stay is over.
    pub fn share_for(&mut self, session: Session, shared: Shared, now: Instant) -> Result<(), Unheard> {
        self.guest(session)?;
        let what = self.share(session.member, shared);
        self.happens(session.member, 0, what, now);
        Ok(())
    }

    /// Whether that stay goes on.
    pub fn is_open(&self, session: Session) -> bool {
        self.guests.get(&session.member).is_some_and(|guest| guest.stay == session.stay)
    }

    /// A member has seen everything up to `number`.
    pub fn saw(&mut self, session: Session, number: u64) {
        let last = self.ring.last();
        if let Ok(guest) = self.guest(session) {
            guest.seen = guest.seen.max(number.min(last));
        }
    }

    /// What a member that has seen `seen` is to be told next, up to about `bytes` of it.
    ///
    /// # Errors
    /// The stay is over, or what is due is no longer kept.
    pub fn after(&mut self, session: Session, seen: u64, bytes: usize) -> Result<Vec<Arc<Line>>, Unheard> {
        self.guest(session)?;
        self.ring.after(seen, bytes).ok_or(Unheard::Slow)
    }

    /// A member leaves for good.
    pub fn leave(&mut self, session: Session, now: Instant) {
        if self.guest(session).is_ok() && session.member != 0 {
            self.depart(session.member, now);
        }
    }

    /// A member's connection broke: it may come back.
    pub fn cut(&mut self, session: Session, now: Instant) {
        if let Ok(guest) = self.guest(session) {
            guest.away = Some(now);
            guest.card.here = false;
        }
    }

    /// Sends a member out; its key does not come in again. Returns the key.
    pub fn remove(&mut self, number: u32, now: Instant) -> Option<[u8; 32]> {
        let key = self.guests.get(&number).filter(|_| number != 0)?.card.key;
        self.removed.insert(key);
        self.depart(number, now);
        Some(key)
    }

    /// Who has been away too long has left.
    pub fn expire(&mut self, now: Instant) {
        self.ring.trim(now);
        let over = |guest: &&Guest| guest.away.is_some_and(|since| now.saturating_duration_since(since) > AWAY);
        let over: Vec<u32> = self.guests.values().filter(over).map(|guest| guest.card.number).collect();
        over.into_iter().for_each(|number| self.depart(number, now));
        let needed: HashSet<u32> = self.ring.sayers().collect();
        self.gone.retain(|member| needed.contains(&member.number));
    }

    fn depart(&mut self, number: u32, now: Instant) {
        if let Some(guest) = self.guests.remove(&number) {
            self.gone.push(Member { here: false, ..guest.card });
            self.offers.retain(|_, standing| standing.by != number);
            self.happens(number, 0, What::Left, now);
        }
    }

    fn happens(&mut self, by: u32, turn: u64, what: What, now: Instant) {
        let since = u64::try_from(now.saturating_duration_since(self.started).as_millis()).unwrap_or(u64::MAX);
        self.ring.push(by, turn, self.started_ms.saturating_add(since), what, now);
    }

    fn find(&self, key: &[u8; 32]) -> Option<u32> {
        self.guests.values().find(|guest| guest.card.key == *key).map(|guest| guest.card.number)
    }

    fn guest(&mut self, session: Session) -> Result<&mut Guest, Unheard> {
        self.guests.get_mut(&session.member).filter(|guest| guest.stay == session.stay).ok_or(Unheard::Over)
    }

    #[cfg(test)]
    pub(super) fn kept_bytes(&self) -> usize {
        self.ring.bytes()
    }
}
