//! A guest in a room: it says what it is given, tells what it hears, and comes back after a cut.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::acquaintance::Acquaintance;
use super::conn::{Channel, Conn, pings};
use super::devices::Devices;
use super::error::SessionError;
use super::host::{raised, unless_leaving};
use super::opening::part;
use super::seat::{Heard, Legs, Over};
use super::visit::{Errand, Met, Target, Visit};
use crate::events::{Failure, Reporter};
use crate::pairing::Identity;
use crate::room::AWAY;
use crate::wire::{Bye, Join, Kind, MESSAGE_CAP, News, Ping, RefuseCode, Role, Say, Seen, Welcome, Word, frame};

/// Words that are said and not yet heard back; more wait. Their bytes are bounded too, below.
const UNHEARD: usize = 256;

/// Bytes of the same.
const UNHEARD_BYTES: usize = 4 * MESSAGE_CAP;

/// How often the host is told what was seen, if anything was.
const SEEN_EVERY: Duration = Duration::from_millis(500);

/// Between two tries to come back: at first, then twice as long, up to the other.
const AGAIN: Duration = Duration::from_millis(250);
const AGAIN_MOST: Duration = Duration::from_secs(4);

/// How long the last words may take to reach the host.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Whoever joins a room.
pub struct RoomGuest {
    /// This end's key, which is who it is in the room.
    pub identity: Identity,
    /// Those who are known by theirs.
    pub devices: Devices,
    /// The name that the others are shown.
    pub name: String,
    /// The address to dial from, if one was asked for.
    pub source: Option<IpAddr>,
    /// Where pairing is told.
    pub reporter: Arc<dyn Reporter>,
}

/// What outlives a connection.
#[derive(Default)]
struct Stay {
    you: u32,
    seen: u64,
    turn: u64,
    unheard: VecDeque<Say>,
    unheard_bytes: usize,
    begun: bool,
}

impl Stay {
    fn has_room(&self) -> bool {
        self.unheard.len() < UNHEARD && self.unheard_bytes < UNHEARD_BYTES
    }

    fn say(&mut self, word: Word) -> Vec<u8> {
        self.turn += 1;
        let say = Say { turn: self.turn, word };
        let frame = frame(&say);
        self.unheard_bytes += frame.len();
        self.unheard.push_back(say);
        frame
    }

    /// What is due to be said again.
    fn welcome(&mut self, welcome: &Welcome) -> Result<Vec<u8>, SessionError> {
        // Another number: another stay, whose turns begin anew.
        if !self.begun || self.you != welcome.you {
            self.turn = welcome.heard;
            let unheard = std::mem::take(&mut self.unheard);
            self.unheard_bytes = 0;
            unheard.into_iter().for_each(|say| drop(self.say(say.word)));
        }
        (self.begun, self.you, self.seen) = (true, welcome.you, welcome.seen);
        if welcome.heard > self.turn {
            return Err(SessionError::broke("it heard what was not said"));
        }
        self.heard(welcome.heard);
        Ok(self.unheard.iter().flat_map(frame).collect())
    }

    fn news(&mut self, news: &News) -> Result<(), SessionError> {
        if news.number != self.seen + 1 {
            return Err(SessionError::broke("news out of their order"));
        }
        self.seen = news.number;
        if news.by == self.you {
            self.heard(news.turn);
        }
        Ok(())
    }

    fn heard(&mut self, turn: u64) {
        while self.unheard.front().is_some_and(|say| say.turn <= turn)
            && let Some(say) = self.unheard.pop_front()
        {
            self.unheard_bytes -= frame(&say).len();
        }
    }
}

impl RoomGuest {
    /// Sits in the room at `target` until there is nothing more to say (`legs` are those of a dropped seat), the room is
    /// closed, or `leaving` is raised. Where this end has `met` the host already, it comes in by its key, if it can.
    ///
    /// # Errors
    /// The failure, with the exit code that stands for it.
    pub async fn attend(
        &self,
        target: &Target,
        met: Option<Met>,
        mut legs: Legs,
        mut leaving: watch::Receiver<bool>,
    ) -> Result<Over, Failure> {
        let first = self.first(target, met);
        let mut visit = unless_leaving(&mut leaving, first).await.map_err(|error| error.failure())?;
        let (host, mut stay) = (Target::Known(visit.address, visit.paired.binding.server), Stay::default());
        loop {
            let (local, met) = (visit.local, (!stay.begun).then(|| visit.acquaintance()));
            let sat = match visit.met().must_hold_room() {
                Ok(()) => self.sit(&mut visit.paired.conn, (local, met), &mut stay, &mut legs, &mut leaving).await,
                Err(error) => Err(error),
            };
            match sat {
                Ok(over) => {
                    visit.paired.conn.close().await;
                    return Ok(over);
                }
                Err(SessionError::Refused(refuse)) if refuse.code == RefuseCode::Cancelled => return Ok(Over::Closed),
                Err(error) if stay.begun && is_lost(&error) => {
                    drop(visit);
                    let _ = legs.heard.send(Heard::Cut(error.to_string())).await;
                    visit = unless_leaving(&mut leaving, self.again(&host, target))
                        .await
                        .map_err(|error| error.failure())?;
                }
                Err(error) => return Err(part(visit.paired.conn, error).await.failure()),
            }
        }
    }

    async fn visit(&self, target: &Target) -> Result<Visit, SessionError> {
        let Self { identity, devices, name, source, .. } = self;
        let (role, source, reporter) = (Role::Joins, *source, &*self.reporter);
        let errand = Errand { identity, devices, name, role, source, reporter, retry: AWAY };
        errand.visit(target, |_| None).await
    }

    async fn first(&self, target: &Target, met: Option<Met>) -> Result<Visit, SessionError> {
        let Some(Met { address, key, .. }) = met else { return self.visit(target).await };
        match self.visit(&Target::Known(address, key)).await {
            Err(SessionError::Refused(refuse)) if refuse.code == RefuseCode::Pairing => self.visit(target).await,
            visited => visited,
        }
    }

    /// Back to the same host, for as long as it keeps the seat; by the link, where it has forgotten it.
    async fn again(&self, host: &Target, target: &Target) -> Result<Visit, SessionError> {
        let (until, mut pause) = (Instant::now() + AWAY, AGAIN);
        loop {
            let error = match self.visit(host).await {
                Ok(visit) => return Ok(visit),
                Err(SessionError::Refused(refuse)) if refuse.code == RefuseCode::Pairing => match target {
                    Target::Invited(_) => return self.visit(target).await,
                    _ => return Err(SessionError::Refused(refuse)),
                },
                Err(error) => error,
            };
            if !is_lost(&error) || Instant::now() + pause > until {
                return Err(error);
            }
            sleep(pause).await;
            pause = (2 * pause).min(AGAIN_MOST);
        }
    }

    async fn sit<S: Channel>(
        &self,
        conn: &mut Conn<S>,
        (local, met): (IpAddr, Option<Acquaintance>),
        stay: &mut Stay,
        legs: &mut Legs,
        leaving: &mut watch::Receiver<bool>,
    ) -> Result<Over, SessionError> {
        let begun = async {
            conn.send(&Join { seen: stay.seen }).await?;
            conn.expect::<Welcome>().await
        };
        let welcome = unless_leaving(leaving, begun).await?;
        conn.queue(&stay.welcome(&welcome)?);
        if let Some(met) = met {
            met.befriend(&self.devices, &*self.reporter, true).await;
        }
        // Whoever listens no longer has dropped its words too, which is what ends this.
        let _ = legs.heard.send(Heard::Welcome { welcome, local: Some(local) }).await;
        let (mut ping, mut told) = (pings(), stay.seen);
        let mut seen = interval(SEEN_EVERY);
        seen.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let allowed = |kind| matches!(kind, Kind::News | Kind::Bye);
        loop {
            tokio::select! {
                frame = conn.converse(true, allowed) => match frame? {
                    Some(frame) if frame.kind == Kind::News => {
                        let news: News = frame.decode()?;
                        stay.news(&news)?;
                        let _ = legs.heard.send(Heard::News(news)).await;
                    }
                    Some(frame) => {
                        frame.decode::<Bye>()?;
                        return Ok(Over::Closed);
                    }
                    None => {}
                },
                word = legs.words.recv(), if stay.has_room() => match word {
                    Some(word) => conn.queue(&stay.say(word)),
                    None => {
                        conn.queue(&frame(&Seen { number: stay.seen }));
                        return leave(conn).await;
                    }
                },
                _ = seen.tick(), if told != stay.seen => {
                    told = stay.seen;
                    conn.queue(&frame(&Seen { number: told }));
                }
                _ = ping.tick() => conn.queue(&frame(&Ping)),
                () = raised(leaving) => {
                    leave(conn).await?;
                    return Err(SessionError::Interrupted);
                }
            }
        }
    }
}

/// Says goodbye. What the host still says meanwhile is not for this end.
async fn leave<S: Channel>(conn: &mut Conn<S>) -> Result<Over, SessionError> {
    conn.queue(&frame(&Bye));
    let gone = async {
        while conn.converse(true, |kind| matches!(kind, Kind::News | Kind::Bye)).await?.is_some() {}
        Ok(Over::Left)
    };
    // The host finds out by itself otherwise.
    timeout(LAST_WORDS, gone).await.unwrap_or(Ok(Over::Left))
}

/// Whether the same may succeed in a moment.
fn is_lost(error: &SessionError) -> bool {
    matches!(error, SessionError::Cut(_) | SessionError::Silent | SessionError::Unreachable(_))
}
