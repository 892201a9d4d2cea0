//! Questions, one at a time. Pure: keys and the clock are arguments.
//!
//! No key answers a question that was not on the screen, unchanged, for [`SETTLE`]: what was typed ahead, and a key
//! that is held down, answers nothing (H09). Everything but an explicit yes is a no.

mod card;

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crossterm::event::{KeyCode, KeyEvent};
use tokio::sync::oneshot;

use crate::events::{Answer, NoReason, Peer, Question, Way};

pub(super) use self::card::{A_TEXT, answer_line, called, card, contents, spaced};

/// How long a question is on the screen before a key counts, and how long no key may have come before one counts.
/// Longer than the pause before a held key repeats.
pub(super) const SETTLE: Duration = Duration::from_millis(400);

/// Questions that wait behind the one on the screen; more are answered No. A person would not get through them.
const WAITING: usize = 64;

/// Of these, how many may come from one address, so that one cannot crowd out the others (P11).
const WAITING_OF_ONE: usize = 4;

/// After the second no in a row an address is not asked about for this long, doubled with each further one.
const BACK_OFF: Duration = Duration::from_secs(4);

/// Where the doubling ends.
const BACK_OFF_MOST: Duration = Duration::from_secs(5 * 60);

/// Addresses whose noes are remembered.
const REMEMBERED: usize = 4_096;

struct Asked {
    id: u64,
    question: Question,
    reply: oneshot::Sender<Answer>,
}

struct Shown {
    asked: Asked,
    /// From when a key counts; `None` while it is not on the screen yet.
    open: Option<Instant>,
    deadline: Instant,
}

struct Noes {
    in_a_row: u32,
    last: Instant,
}

/// The queue of questions and who may not ask any more.
pub(super) struct Questions {
    timeout: Duration,
    ended: bool,
    next_id: u64,
    shown: Option<Shown>,
    waiting: VecDeque<Asked>,
    blocked_keys: HashSet<String>,
    blocked_hosts: HashSet<IpAddr>,
    noes: HashMap<IpAddr, Noes>,
}

impl Questions {
    pub(super) fn new(timeout: Duration) -> Self {
        Questions {
            timeout,
            ended: false,
            next_id: 0,
            shown: None,
            waiting: VecDeque::new(),
            blocked_keys: HashSet::new(),
            blocked_hosts: HashSet::new(),
            noes: HashMap::new(),
        }
    }

    /// Queues a question; the number withdraws it. `Err` is the answer that it gets without being shown.
    pub(super) fn ask(&mut self, question: Question, now: Instant) -> Result<(u64, oneshot::Receiver<Answer>), Answer> {
        if self.ended {
            return Err(Answer::No(NoReason::NoTerminal));
        }
        let peer = asker(&question);
        let host = peer.address.ip();
        let of_one = self.waiting.iter().filter(|asked| asker(&asked.question).address.ip() == host).count();
        if self.blocked_keys.contains(&peer.id)
            || self.blocked_hosts.contains(&host)
            || self.backs_off(host, now)
            || of_one >= WAITING_OF_ONE
            || self.waiting.len() >= WAITING
        {
            return Err(Answer::No(NoReason::Person));
        }
        let (reply, answer) = oneshot::channel();
        let id = self.next_id;
        self.next_id += 1;
        self.waiting.push_back(Asked { id, question, reply });
        self.advance(now);
        Ok((id, answer))
    }

    /// Takes a question back, shown or not.
    pub(super) fn withdraw(&mut self, id: u64, now: Instant) {
        self.waiting.retain(|asked| asked.id != id);
        if self.shown.as_ref().is_some_and(|shown| shown.asked.id == id) {
            self.shown = None;
            self.advance(now);
        }
    }

    /// How long a person is waited for.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The question on the screen.
    pub(super) fn current(&self) -> Option<(u64, &Question)> {
        self.shown.as_ref().map(|shown| (shown.asked.id, &shown.asked.question))
    }

    /// Whether a question is there that was drawn.
    pub(super) fn is_drawn(&self) -> bool {
        self.shown.as_ref().is_some_and(|shown| shown.open.is_some())
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The question `id` has been drawn.
    pub(super) fn painted(&mut self, id: u64, now: Instant) {
        if let Some(shown) = self.shown.as_mut().filter(|shown| shown.asked.id == id && shown.open.is_none()) {
            shown.open = Some(now + SETTLE);
        }
    }

    /// When [`Questions::tick`] is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.shown.as_ref().map(|shown| shown.deadline)
    }

    /// Lets the clock answer.
    pub(super) fn tick(&mut self, now: Instant) {
        while self.deadline().is_some_and(|deadline| deadline <= now) {
            self.answer(Answer::No(NoReason::Timeout), now);
        }
    }

    /// A key while a question is there. Keys that mean nothing here are swallowed too: they were meant for it.
    pub(super) fn key(&mut self, key: KeyEvent, now: Instant) {
        let Some(shown) = &mut self.shown else { return };
        match shown.open {
            Some(open) if open <= now => {}
            Some(_) => {
                shown.open = Some(now + SETTLE);
                return;
            }
            None => return,
        }
        let enter_is_yes = matches!(shown.asked.question, Question::Accept { way: Way::In, .. });
        match key.code {
            KeyCode::Char('y' | 'Y') => self.answer(Answer::Yes, now),
            KeyCode::Enter if enter_is_yes => self.answer(Answer::Yes, now),
            KeyCode::Char('n' | 'N') | KeyCode::Esc | KeyCode::Enter => {
                self.answer(Answer::No(NoReason::Person), now);
            }
            KeyCode::Char('b' | 'B') => {
                let peer = asker(&shown.asked.question).clone();
                self.block(&peer, now);
            }
            _ => {}
        }
    }

    /// Nobody can answer any more: the terminal is gone.
    pub(super) fn end_of_input(&mut self, now: Instant) {
        self.ended = true;
        while self.shown.is_some() {
            self.answer(Answer::No(NoReason::NoTerminal), now);
        }
    }

    fn block(&mut self, peer: &Peer, now: Instant) {
        let host = peer.address.ip();
        self.blocked_keys.insert(peer.id.clone());
        self.blocked_hosts.insert(host);
        let (blocked, others): (VecDeque<Asked>, _) =
            std::mem::take(&mut self.waiting).into_iter().partition(|asked| {
                let other = asker(&asked.question);
                other.id == peer.id || other.address.ip() == host
            });
        self.waiting = others;
        for asked in blocked {
            // The one who asked may have gone.
            let _ = asked.reply.send(Answer::No(NoReason::Person));
        }
        self.answer(Answer::No(NoReason::Person), now);
    }

    fn answer(&mut self, answer: Answer, now: Instant) {
        if let Some(shown) = self.shown.take() {
            self.remember(asker(&shown.asked.question).address.ip(), answer, now);
            // The one who asked may have gone.
            let _ = shown.asked.reply.send(answer);
        }
        self.advance(now);
    }

    fn advance(&mut self, now: Instant) {
        while self.shown.is_none() {
            let Some(asked) = self.waiting.pop_front() else { return };
            if !asked.reply.is_closed() {
                self.shown = Some(Shown { asked, open: None, deadline: now + self.timeout });
            }
        }
    }

    fn remember(&mut self, host: IpAddr, answer: Answer, now: Instant) {
        if answer == Answer::Yes {
            self.noes.remove(&host);
            return;
        }
        if self.noes.len() >= REMEMBERED {
            self.noes.retain(|_, noes| now.saturating_duration_since(noes.last) < BACK_OFF_MOST);
        }
        let noes = self.noes.entry(host).or_insert(Noes { in_a_row: 0, last: now });
        noes.in_a_row = noes.in_a_row.saturating_add(1);
        noes.last = now;
    }

    fn backs_off(&self, host: IpAddr, now: Instant) -> bool {
        self.noes.get(&host).is_some_and(|noes| {
            let doublings = noes.in_a_row.saturating_sub(2).min(16);
            noes.in_a_row >= 2
                && now.saturating_duration_since(noes.last) < (BACK_OFF * (1 << doublings)).min(BACK_OFF_MOST)
        })
    }
}

fn asker(question: &Question) -> &Peer {
    match question {
        Question::Accept { offer, .. } => &offer.peer,
        Question::Join { peer, .. } | Question::SameCode { peer, .. } => peer,
    }
}

#[cfg(test)]
mod tests;
