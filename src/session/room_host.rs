//! The host of a room: who is let in, and that everybody hears everything in one order.

mod pages;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;
use tokio::time::{interval, sleep_until, timeout};

use self::pages::Page;
use super::conn::{Channel, Conn, pings};
use super::consent::{Consent, Level, Standing, admit, refusal};
use super::enter::{Caller, Guest, Visitor, answer};
use super::error::SessionError;
use super::host::{Host, lock, raised, unless_leaving};
use super::opening::part;
use super::seat::{Heard, Legs, Over};
use crate::events::Peer;
use crate::net::accept::{Arrival, Dialect};
use crate::room::{Entered, Line, NotEntered, Pace, Room, Session, Unheard};
use crate::wire::{Bye, Join, Kind, Ping, RefuseCode, Say, Seen, frame};

/// Between two writes to one member: a room in which much is said costs each member one call for many messages, and
/// nobody sees the difference.
const GATHER: Duration = Duration::from_millis(10);

/// Frames that are written to a member in one go, in bytes.
const BATCH: usize = 64 * 1024;

/// How often it is looked at who has been away too long.
const TEND: Duration = Duration::from_secs(5);

/// How long a room has to be empty before nobody is expected any more: who has sent something comes in to talk at once.
const LINGER: Duration = Duration::from_secs(2);

/// How long a member may take to read that the room is closed.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A room that others may join; shared by all sessions.
pub struct RoomHost {
    host: Arc<Host>,
    room: Mutex<Room>,
    /// The number of the last thing that happened.
    last: watch::Sender<u64>,
    yes: Option<Level>,
    /// Members that are pages, which have no connection of their own.
    pages: Mutex<HashMap<u32, Page>>,
}

impl RoomHost {
    /// Opens the room at `host`, whatever else that is there for. Whoever has the code is let in; [`Level::Open`] lets everybody in without asking.
    pub fn new(host: Arc<Host>, yes: Option<Level>) -> Arc<RoomHost> {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now_ms = u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX);
        let room = Room::new(*host.identity.fingerprint().as_bytes(), &host.name, Instant::now(), now_ms);
        let last = watch::Sender::new(room.last());
        let room = Arc::new(RoomHost { host, room: Mutex::new(room), last, yes, pages: Mutex::default() });
        room.host.hold(&room);
        room
    }

    /// Does something in the room, and has everybody look at what came of it.
    fn with<T>(&self, step: impl FnOnce(&mut Room, Instant) -> T) -> T {
        let mut room = lock(&self.room);
        let result = step(&mut room, Instant::now());
        let last = room.last();
        drop(room);
        self.last.send_if_modified(|known| std::mem::replace(known, last) != last);
        result
    }

    /// What it shares with every hosting command.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Waits until nobody but the host's own person has been in the room for a while.
    pub async fn emptied(&self) {
        let mut last = self.last.subscribe();
        loop {
            last.borrow_and_update();
            let is_empty = lock(&self.room).is_empty();
            // An error of the channel would mean that the room is gone.
            match is_empty {
                true => match timeout(LINGER, last.changed()).await {
                    Ok(_) => {}
                    Err(_) => return,
                },
                false => _ = last.changed().await,
            }
        }
    }

    /// Sends a member out, for as long as the room lasts. No link that it may have is good any more.
    pub fn remove(&self, member: u32) -> bool {
        let removed = self.with(|room, now| room.remove(member, now)).is_some();
        if removed {
            self.host.forget(|key| lock(&self.room).knows(key.as_bytes()));
            self.host.with_tokens(|tokens| {
                tokens.spend();
                tokens.renew(Instant::now());
            });
        }
        removed
    }

    /// Looks after the room while the host's own person sits in it, until `legs` are those of a dropped seat.
    pub async fn sit(&self, mut legs: Legs) -> Over {
        let Entered { session, welcome } = lock(&self.room).own();
        let (mut seen, mut turn) = (welcome.seen, welcome.heard);
        let mut last = self.last.subscribe();
        let _ = legs.heard.send(Heard::Welcome { welcome, local: None }).await;
        let mut tend = interval(TEND);
        loop {
            let is_behind = seen < *last.borrow_and_update();
            if is_behind {
                let Ok(lines) = lock(&self.room).after(session, seen, BATCH) else {
                    // A person whose screen stands still for a minute goes on with what is said now.
                    seen = *last.borrow();
                    continue;
                };
                for line in lines {
                    seen = line.news.number;
                    let _ = legs.heard.send(Heard::News(line.news.clone())).await;
                }
            }
            tokio::select! {
                word = legs.words.recv() => {
                    let Some(word) = word else { return Over::Left };
                    turn += 1;
                    let said = self.with(|room, now| room.say(session, Say { turn, word }, now));
                    debug_assert!(said.is_ok(), "the host never leaves, and counts its own turns");
                }
                _ = last.changed(), if !is_behind => {}
                () = std::future::ready(()), if is_behind => {}
                _ = tend.tick() => {
                    self.tend_pages();
                    self.with(|room, now| room.expire(now));
                    self.host.forget(|key| lock(&self.room).knows(key.as_bytes()));
                }
            }
        }
    }

    /// Serves one connection of our own protocol to its end. A browser is handed back.
    pub async fn serve(&self, arrival: Arrival) -> Option<Visitor> {
        let mut leaving = self.host.leaving();
        let address = arrival.peer.ip();
        let served = match arrival.dialect {
            Dialect::Web => return Some(Visitor::Plain(arrival)),
            Dialect::Classic { .. } => Err(is_a_room()),
            Dialect::Native => match answer(&self.host, arrival, &|_| None, &mut leaving).await {
                Ok(Some(Caller::Browser(visitor))) => return Some(visitor),
                // Whoever wants to talk is in the room already.
                Ok(Some(Caller::Guest(guest))) => Err(part(guest.conn, is_a_room()).await),
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            },
        };
        if let Err(error) = served {
            self.host.tell_stranger(address, &error);
        }
        None
    }

    /// Serves a guest that wants to talk to its end.
    pub(super) async fn serve_guest(
        &self,
        mut guest: Guest,
        leaving: &mut watch::Receiver<bool>,
    ) -> Result<(), SessionError> {
        let (entered, consent) = match unless_leaving(leaving, self.enter(&mut guest)).await {
            Ok(entered) => entered,
            Err(error) => return Err(part(guest.conn, error).await),
        };
        if let Some(consent) = consent {
            self.host.befriend(&guest, consent).await;
        }
        let (session, mut seen) = (entered.session, entered.welcome.seen);
        self.host.know(guest.binding.client, guest.standing);
        let mut conn = guest.conn;
        match self.attend(&mut conn, entered, &mut seen, leaving).await {
            Ok(()) => {
                self.with(|room, now| room.leave(session, now));
                conn.close().await;
                Ok(())
            }
            Err(SessionError::Interrupted) => {
                // Who does not read it finds out by itself.
                let _ = timeout(LAST_WORDS, self.dismiss(&mut conn, session, seen)).await;
                conn.close().await;
                Ok(())
            }
            Err(error) => {
                self.with(|room, now| room.cut(session, now));
                // What a connection breaks of is no news: its member is told as away, and may be back in a moment.
                match part(conn, error).await {
                    SessionError::Cut(_) | SessionError::Silent | SessionError::Declined(_) => Ok(()),
                    error => Err(error),
                }
            }
        }
    }

    /// Lets a guest in, or not; by whose yes, unless it was in before.
    async fn enter(&self, guest: &mut Guest) -> Result<(Entered, Option<Consent>), SessionError> {
        let join: Join = guest.conn.expect().await?;
        let key = *guest.binding.client.as_bytes();
        // Who comes back was let in before.
        let is_back = lock(&self.room).knows(&key);
        let consent = match is_back {
            true => None,
            false => {
                let asked = self.admit(guest.standing, guest.peer.clone());
                Some(guest.conn.attentive_during(asked).await?)
            }
        };
        let entered = self.with(|room, now| room.enter(key, &guest.peer.name, join.seen, now));
        let entered = entered.map_err(|reason| SessionError::Declined(not_entered(reason)))?;
        Ok((entered, consent))
    }

    /// By the rule of `--yes` or the answer of a person.
    pub(crate) async fn admit(&self, standing: Standing, peer: Peer) -> Result<Consent, SessionError> {
        admit(&*self.host.reporter, self.yes, standing, peer).await.map_err(SessionError::Declined)
    }

    /// Says what was said last, and goodbye.
    async fn dismiss<S: Channel>(
        &self,
        conn: &mut Conn<S>,
        session: Session,
        mut seen: u64,
    ) -> Result<(), SessionError> {
        loop {
            let lines = self.after(session, seen)?;
            seen += lines.len() as u64;
            lines.iter().for_each(|line| conn.queue(&line.frame));
            if lines.is_empty() {
                conn.queue(&frame(&Bye));
            }
            while conn.converse(true, is_said).await?.is_some() {}
            if lines.is_empty() {
                return Ok(());
            }
        }
    }

    /// Until the guest says goodbye. `seen` is the number of the last line that was written to it.
    async fn attend<S: Channel>(
        &self,
        conn: &mut Conn<S>,
        entered: Entered,
        seen: &mut u64,
        leaving: &mut watch::Receiver<bool>,
    ) -> Result<(), SessionError> {
        let Entered { session, welcome } = entered;
        conn.queue(&frame(&welcome));
        let mut last = self.last.subscribe();
        let (mut due, mut ping) = (tokio::time::Instant::now(), pings());
        let mut pace = Pace::new(Instant::now());
        let mut silenced: Option<tokio::time::Instant> = None;
        loop {
            let is_behind = *seen < *last.borrow_and_update();
            tokio::select! {
                frame = conn.converse(silenced.is_none(), is_said) => {
                    let Some(frame) = frame? else { continue };
                    match frame.kind {
                        Kind::Say => {
                            let say: Say = frame.decode()?;
                            self.say(session, say)?;
                            let now = Instant::now();
                            let until = pace.heard(frame.payload.len(), now);
                            silenced = (until > now).then(|| tokio::time::Instant::from_std(until));
                        }
                        Kind::Seen => {
                            let Seen { number } = frame.decode()?;
                            lock(&self.room).saw(session, number);
                        }
                        _ => return frame.decode::<Bye>().map(|Bye| ()),
                    }
                }
                () = sleep_until(silenced.unwrap_or(due)), if silenced.is_some() => silenced = None,
                _ = last.changed(), if !is_behind => {}
                () = sleep_until(due), if is_behind && conn.is_drained() => {
                    for line in self.after(session, *seen)? {
                        *seen = line.news.number;
                        conn.queue(&line.frame);
                    }
                    due = tokio::time::Instant::now() + GATHER;
                }
                _ = ping.tick() => {
                    // Also finds out a stay that is over while nothing is said.
                    self.after(session, *seen)?;
                    conn.queue(&frame(&Ping));
                }
                () = raised(leaving) => return Err(SessionError::Interrupted),
            }
        }
    }

    fn say(&self, session: Session, say: Say) -> Result<(), SessionError> {
        self.with(|room, now| room.say(session, say, now)).map_err(unheard)
    }

    fn after(&self, session: Session, seen: u64) -> Result<Vec<Arc<Line>>, SessionError> {
        lock(&self.room).after(session, seen, BATCH).map_err(unheard)
    }
}

/// What a guest may say once it is in.
fn is_said(kind: Kind) -> bool {
    matches!(kind, Kind::Say | Kind::Seen | Kind::Bye)
}

fn is_a_room() -> SessionError {
    SessionError::Declined(refusal(RefuseCode::Role, "this is a room: join it with `qrdrop chat --to`"))
}

fn not_entered(reason: NotEntered) -> crate::wire::Refuse {
    let code = match reason {
        NotEntered::Full => RefuseCode::Busy,
        NotEntered::Removed => RefuseCode::Other,
    };
    refusal(code, reason.to_string())
}

fn unheard(reason: Unheard) -> SessionError {
    match reason {
        Unheard::Over => SessionError::Declined(refusal(RefuseCode::Other, reason.to_string())),
        Unheard::Turn { .. } => SessionError::broke(reason.to_string()),
        // It may come back, and is told then how much it has missed.
        Unheard::Slow => SessionError::Silent,
    }
}
