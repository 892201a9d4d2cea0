//! The course of a room at one end: lines become words, news become events, files go both ways.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep_until, timeout};

use super::means::Means;
use super::relaying::{Relaying, on_behalf};
use super::share::Share;
use crate::cli::Failed;
use crate::events::{Event, ExitCode, Failure, Reporter, RoomOffer, Speaker};
use crate::names::json_line;
use crate::pairing::{Fingerprint, Invitation};
use crate::room::{COMMANDS, Card, Change, Input, OfferCard, View, parse};
use crate::session::{Fetcher, Heard, Seat, Target, Wish};
use crate::wire::{News, Word};

/// Words that wait for their turn; while so many do, no line is read.
const UNSAID: usize = 16;

/// How long `/quit` waits for what was said before it to be heard.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// How long a taking that is over may still be saying goodbye, which a connection does for two seconds at most.
const GOODBYES: Duration = Duration::from_millis(2_500);

/// How often takings of what is offered here are looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Why no more lines are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// There are none: leave when all that was begun is done.
    EndOfInput,
    /// The person leaves, by then at the latest.
    Quit(Instant),
}

/// One end of a room.
pub(super) struct Talk {
    means: Means,
    view: View,
    local: Option<IpAddr>,
    unsaid: VecDeque<Word>,
    /// Words that were handed over, and the turns of them that came back.
    said: u64,
    base: Option<u64>,
    heard: u64,
    opening: JoinSet<Result<Share, Failed>>,
    shares: Vec<Share>,
    takings: JoinSet<(u32, Result<(), ExitCode>)>,
    /// Transfers that failed and were not made good: by offer, those of what is offered here by address.
    failed_in: BTreeMap<u32, ExitCode>,
    failed_out: BTreeMap<IpAddr, ExitCode>,
    ending: Option<Ending>,
}

impl Talk {
    pub(super) fn new(means: Means) -> Talk {
        let local = means.address;
        Talk {
            means,
            view: View::default(),
            local,
            unsaid: VecDeque::new(),
            said: 0,
            base: None,
            heard: 0,
            opening: JoinSet::new(),
            shares: Vec::new(),
            takings: JoinSet::new(),
            failed_in: BTreeMap::new(),
            failed_out: BTreeMap::new(),
            ending: None,
        }
    }

    /// Whether a transfer is under way.
    pub(super) fn is_busy(&self) -> bool {
        let relaying = self.means.relaying.as_ref().is_some_and(Relaying::is_busy);
        relaying || !self.takings.is_empty() || self.shares.iter().any(|share| share.under_way() > 0)
    }

    /// Whether everything that was to be said was heard.
    pub(super) fn is_heard(&self) -> bool {
        self.unsaid.is_empty() && self.base.map_or(self.said == 0, |base| self.heard >= base + self.said)
    }

    /// The code of a transfer that failed and was not made good.
    pub(super) fn failed(&self) -> Option<ExitCode> {
        self.failed_in.values().chain(self.failed_out.values()).next().copied()
    }

    /// Sits in the room until there is a reason to leave, or the room is over.
    pub(super) async fn run(&mut self, seat: Seat, mut lines: mpsc::Receiver<String>) {
        let Seat { words, mut heard } = seat;
        let mut look = interval(LOOK);
        while !self.is_done() {
            let deadline = match self.ending {
                Some(Ending::Quit(deadline)) => Some(deadline),
                _ => None,
            };
            tokio::select! {
                told = heard.recv() => match told {
                    Some(told) => self.hear(told),
                    None => return,
                },
                line = lines.recv(), if self.ending.is_none() && self.unsaid.len() + self.opening.len() < UNSAID => {
                    self.line(line);
                }
                Ok(permit) = words.reserve(), if !self.unsaid.is_empty() => {
                    if let Some(word) = self.unsaid.pop_front() {
                        self.said += 1;
                        permit.send(word);
                    }
                }
                Some(opened) = self.opening.join_next() => match opened {
                    Ok(Ok(share)) => {
                        self.unsaid.push_back(Word::Share(share.shared().clone()));
                        self.shares.push(share);
                    }
                    Ok(Err((transfer, failure))) => self.means.reporter.tell(Event::Failed { transfer, failure }),
                    Err(_) => {}
                },
                Some(taken) = self.takings.join_next() => self.taken(taken.ok()),
                Some(wish) = next_wish(&mut self.means.relaying, &*self.means.reporter) => self.wish(wish),
                _ = look.tick() => self.look(),
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => break,
            }
        }
        let goodbyes = async {
            while let Some(taken) = self.takings.join_next().await {
                self.taken(taken.ok());
            }
            while self.shares.iter().any(|share| share.under_way() > 0) {
                look.tick().await;
            }
        };
        // What goes on after that is under way.
        let _ = timeout(GOODBYES, goodbyes).await;
        // The seat is left; what it still tells is heard to its end, so that nothing said last is lost here.
        drop(words);
        while let Some(told) = heard.recv().await {
            self.hear(told);
        }
    }

    /// Closes what is offered here.
    pub(super) async fn close(mut self) {
        self.takings.shutdown().await;
        for share in self.shares {
            share.close().await;
        }
        if let Some(relaying) = self.means.relaying {
            relaying.close().await;
        }
    }

    fn is_done(&self) -> bool {
        match self.ending {
            None => false,
            Some(Ending::Quit(_)) => self.is_heard(),
            Some(Ending::EndOfInput) => {
                // Whoever hosts stays for the others.
                self.means.room.is_none() && self.is_heard() && self.opening.is_empty() && !self.is_busy()
            }
        }
    }

    fn line(&mut self, line: Option<String>) {
        let Some(line) = line else {
            self.ending = Some(Ending::EndOfInput);
            return;
        };
        match parse(&line) {
            Ok(input) => self.input(input),
            Err(message) => self.wrong(message, "`/help` lists the commands"),
        }
    }

    fn input(&mut self, input: Input) {
        let ui = &self.means.ui;
        match input {
            Input::Nothing => {}
            Input::Say(text) => self.unsaid.push_back(Word::Text(text)),
            Input::Send(path) => self.send(path),
            Input::Get(number) => self.get(number),
            Input::Who => self.tell_room(0),
            Input::Remove(number) => match &self.means.room {
                Some(room) if number != 0 && room.remove(number) => {
                    ui.say(&format!("member {number} is out, and the code is a new one"));
                }
                Some(_) => self.wrong(format!("there is no member `{number}` to send out"), "`/who` lists who is here"),
                None => self.wrong("only the host of the room can send somebody out".to_owned(), "ask there"),
            },
            Input::Code => ui.show_code(None),
            Input::New => match &self.means.room {
                Some(room) => room.host().renew(),
                None => self.wrong("the code is the host's".to_owned(), "ask there for a new one"),
            },
            Input::Help => {
                for (name, takes, what) in COMMANDS {
                    ui.say(&format!("  {:14} {what}", format!("{name} {takes}")));
                }
            }
            Input::Quit => self.ending = Some(Ending::Quit(Instant::now() + LAST_WORDS)),
        }
    }

    fn wrong(&self, message: String, hint: &str) {
        self.means
            .reporter
            .tell(Event::Failed { transfer: None, failure: Failure::new(ExitCode::Usage, message, hint) });
    }

    fn send(&mut self, path: String) {
        let Some(ip) = self.local else {
            return self.wrong("this end is in no room yet".to_owned(), "try again in a moment");
        };
        let giver = self.means.giver();
        self.opening.spawn(Share::open(vec![PathBuf::from(path)], ip, giver));
    }

    /// Where what is offered is. Nobody offers in another's name, or leads a member to a stranger; what a page offers is
    /// the host's to give.
    fn way_to(&self, offer: &OfferCard) -> Option<Invitation> {
        let invitation = Invitation::parse(offer.shared.link.as_str()).ok()?;
        let is_of = |key: [u8; 32]| invitation.is_of(&Fingerprint::from_bytes(key));
        (is_of(offer.by.key) || self.view.host().is_some_and(is_of)).then_some(invitation)
    }

    /// Does something for a page.
    fn wish(&mut self, wish: Wish) {
        match wish {
            Wish::Share { by, stashed, space } => {
                let (ip, giver) = (self.local, self.means.giver());
                if let (Some(ip), Some(relaying)) = (ip, &mut self.means.relaying) {
                    relaying.share(by, stashed, space, ip, giver);
                }
            }
            Wish::Take { offer, ready } => {
                let Some(offer) = self.view.offer(offer) else {
                    return drop(ready.send_replace(Some(Err("that is not offered any more".to_owned()))));
                };
                let link = &offer.shared.link;
                let own = self.shares.iter().find(|share| share.shared().link == *link).map(Share::outbox);
                let kept = || self.means.relaying.as_ref().and_then(|relaying| relaying.outbox(link));
                if let Some(outbox) = own.or_else(kept) {
                    return drop(ready.send_replace(Some(Ok(Arc::clone(outbox)))));
                }
                let Some(invitation) = self.way_to(&offer) else {
                    return drop(ready.send_replace(Some(Err("that can't be reached".to_owned()))));
                };
                let fetcher = Fetcher { name: on_behalf(&self.means.name), ..self.means.fetcher() };
                let (giver, interrupted) = (self.means.giver(), self.means.interrupted.clone());
                if let Some(relaying) = &mut self.means.relaying {
                    relaying.fetch(&offer, invitation, fetcher, giver, ready, interrupted);
                }
            }
        }
    }

    fn get(&mut self, number: u32) {
        let Some(offer) = self.view.offer(number) else {
            return self.wrong(format!("nothing is offered as `{number}`"), "`/who` lists what there is");
        };
        let Some(invitation) = self.way_to(&offer) else {
            return self
                .wrong(format!("what is offered as `{number}` can't be reached"), "ask for it to be offered again");
        };
        let fetcher = self.means.fetcher();
        let (reporter, interrupted) = (Arc::clone(&self.means.reporter), self.means.interrupted.clone());
        self.takings.spawn(async move {
            let fetched = fetcher.fetch(&Target::Invited(invitation), interrupted).await;
            let result = fetched.map_err(|(transfer, failure)| {
                let code = failure.code;
                reporter.tell(Event::Failed { transfer, failure });
                code
            });
            (number, result)
        });
    }

    fn taken(&mut self, taken: Option<(u32, Result<(), ExitCode>)>) {
        match taken {
            Some((number, Ok(()))) => _ = self.failed_in.remove(&number),
            Some((number, Err(code))) => _ = self.failed_in.insert(number, code),
            None => {}
        }
    }

    fn look(&mut self) {
        let kept = self.means.relaying.iter_mut().flat_map(Relaying::shares);
        for share in self.shares.iter_mut().chain(kept) {
            while let Some(ended) = share.ended() {
                match ended.result {
                    Ok(()) => _ = self.failed_out.remove(&ended.address),
                    Err(code) => _ = self.failed_out.insert(ended.address, code),
                }
            }
        }
    }

    fn hear(&mut self, told: Heard) {
        match told {
            Heard::Welcome { welcome, local } => {
                self.local = local.or(self.local);
                let base = *self.base.get_or_insert(welcome.heard);
                self.heard = self.heard.max(base).max(welcome.heard);
                self.view.welcome(&welcome);
                self.tell_room(welcome.missed);
                self.show_status();
            }
            Heard::News(news) => self.news(&news),
            Heard::Cut(reason) => self.means.reporter.tell(Event::Cut { reason }),
        }
    }

    fn news(&mut self, news: &News) {
        if news.by == self.view.you() {
            self.heard = self.heard.max(news.turn);
        }
        let event = match self.view.news(news) {
            Change::Said(card, text) => {
                let time = SystemTime::UNIX_EPOCH + Duration::from_millis(news.time_ms);
                let event = Event::Message { by: speaker(card), text, number: news.number, time };
                self.note(&event);
                event
            }
            Change::Shared(offer) => Event::Shared(room_offer(offer)),
            Change::Withdrawn(offer) => Event::Unshared { offer },
            Change::Joined(card) => {
                if !card.own {
                    self.means.ui.show_code(Some(false));
                }
                Event::Joined { by: speaker(card) }
            }
            Change::Left(card) => Event::Left { by: speaker(card) },
        };
        if matches!(event, Event::Joined { .. } | Event::Left { .. }) {
            self.show_status();
        }
        if let Some(relaying) = &mut self.means.relaying
            && matches!(event, Event::Unshared { .. } | Event::Left { .. })
        {
            let gone = if let Event::Left { by } = &event { Some(by.member) } else { None };
            relaying.retain(|offer| self.view.offer(offer).is_some(), |member| Some(member) != gone);
        }
        self.means.reporter.tell(event);
    }

    /// Adds a message to the history, if one was asked for. After the first failure there is none.
    fn note(&mut self, event: &Event) {
        if let Some(history) = &mut self.means.history
            && let Err(error) = history.add(&json_line(event))
        {
            self.means.history = None;
            let failure = Failure::new(ExitCode::Local, format!("the history can't be written: {error}"), "");
            self.means.reporter.tell(Event::Failed { transfer: None, failure });
        }
    }

    fn tell_room(&self, missed: u64) {
        let members = self.view.here().into_iter().map(speaker).collect();
        let offers = self.view.offers().into_iter().map(room_offer).collect();
        self.means.reporter.tell(Event::Room { members, offers, missed });
    }

    fn show_status(&self) {
        let code = if self.means.room.is_some() { "  /code" } else { "" };
        self.means.ui.room(format!("{} here   /send  /get  /who  /help{code}  /quit", self.view.count()));
    }
}

/// The next thing that is to be done for a page; never, where no room is hosted.
async fn next_wish(relaying: &mut Option<Relaying>, reporter: &dyn Reporter) -> Option<Wish> {
    match relaying {
        Some(relaying) => relaying.next(reporter).await,
        None => None,
    }
}

fn speaker(card: Card) -> Speaker {
    let id = Fingerprint::from_bytes(card.key).mark();
    Speaker { from: card.name, id, member: card.number, double: card.double, own: card.own }
}

fn room_offer(offer: OfferCard) -> RoomOffer {
    let OfferCard { offer, by, name, shared } = offer;
    let link = Invitation::parse(shared.link.as_str()).ok();
    let relayed = !link.is_some_and(|link| link.is_of(&Fingerprint::from_bytes(by.key)));
    RoomOffer { offer, by: speaker(by), name, files: shared.files, bytes: shared.bytes, relayed }
}
