//! Everything on the screen as one value: events and keys go in, log lines and the rows of the region come out.
//!
//! Pure: it touches no terminal, and size and clock are arguments.

mod region;
mod talk;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::sync::mpsc;

use crate::events::{Board, Event, Failure};
use crate::ui::board::{self, Invitation};
use crate::ui::clipping::{Choice, Clipping};
use crate::ui::picker::Picker;
use crate::ui::progress::Transfers;
use crate::ui::prompt::{Questions, answer_line, called, card};
use crate::ui::qr::Cells;
use crate::ui::screen::talk::Talk;
use crate::ui::story::{self, Detail};
use crate::ui::style::{Style, Surroundings};
use crate::ui::terminal::Size;
use crate::ui::{HostKey, QrChoice, UiOptions};

/// Log lines that may wait for a blocked terminal; the oldest go first.
const LOG_WAITING: usize = 10_000;

/// Lines of the panel's own short log.
const RECENT: usize = 16;

/// How often progress becomes a line where there is no region.
const PLAIN_PROGRESS: Duration = Duration::from_secs(5);

/// How often rate and time left are drawn again.
const LIVE_PROGRESS: Duration = Duration::from_millis(250);

/// How often the size of the window is looked at while nothing happens.
const IDLE: Duration = Duration::from_millis(500);

/// What the thread that reads keys has to do about one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing: it was dealt with.
    None,
    /// Send ourselves what Ctrl-C sends outside raw mode.
    Interrupt,
    /// Stop, as Ctrl-Z does outside raw mode.
    Suspend,
    /// Find what the line may go on with.
    Complete(String),
}

/// What is to be written now.
pub(super) struct Work {
    /// Lines above the region.
    pub(super) log: Vec<String>,
    /// The region.
    pub(super) rows: Vec<String>,
    /// A text for the clipboard of the terminal.
    pub(super) copied: Option<String>,
    /// The question in it.
    question: Option<u64>,
    /// Whether it offers a text.
    clipping: bool,
}

/// The state of the screen.
pub(super) struct Screen {
    style: Style,
    around: Surroundings,
    qr: QrChoice,
    quiet: bool,
    verbose: bool,
    /// Whether there is a region; otherwise there are only lines.
    pub(super) live: bool,
    invitation: Option<Invitation>,
    /// The invitation was taken back.
    hidden: bool,
    folder: Option<String>,
    transfers: Transfers,
    recent: VecDeque<String>,
    log: VecDeque<String>,
    log_lost: u64,
    pub(super) questions: Questions,
    /// The question that became plain lines already.
    told_question: Option<u64>,
    pub(super) picker: Option<Picker>,
    /// The text that came last, while it may be copied.
    pub(super) clipping: Option<Clipping>,
    copied: Option<String>,
    host: Option<mpsc::Sender<HostKey>>,
    talk: Option<Talk>,
    help: bool,
    told_progress: Option<Instant>,
    told_no_code: bool,
    /// Something changed since the last [`Screen::work`].
    pub(super) dirty: bool,
    /// The region is to be taken away: the process stops, for now or for good.
    pub(super) parked: bool,
    /// For good.
    pub(super) closing: bool,
}

impl Screen {
    pub(super) fn new(options: &UiOptions, around: Surroundings) -> Self {
        // JSON lines on the same terminal would run into the region.
        let live = around.terminal && !around.dumb && !(options.json && around.output_is_terminal);
        Screen {
            style: Style::new(options.color, &around),
            around,
            qr: options.qr,
            quiet: options.quiet,
            verbose: options.verbose,
            live,
            invitation: None,
            hidden: false,
            folder: None,
            transfers: Transfers::default(),
            recent: VecDeque::new(),
            log: VecDeque::new(),
            log_lost: 0,
            questions: Questions::new(options.ask_timeout),
            told_question: None,
            picker: None,
            clipping: None,
            copied: None,
            host: None,
            talk: None,
            help: false,
            told_progress: None,
            told_no_code: false,
            dirty: false,
            parked: false,
            closing: false,
        }
    }

    /// Takes in what happened.
    pub(super) fn tell(&mut self, event: &Event, now: Instant) {
        if let Event::Listening { directory, .. } = event {
            self.folder.clone_from(directory);
        }
        let ended = self.transfers.follow(event);
        if self.transfers.count() == 0 {
            self.told_progress = None;
        } else {
            self.told_progress.get_or_insert(now);
        }
        let detail = Detail { verbose: self.verbose, live: self.live };
        let folder = self.folder.as_deref();
        let told = story::tell(event, &mut self.transfers, ended.as_ref(), folder, self.style, detail);
        if !self.quiet || told.urgent {
            told.log.into_iter().for_each(|line| self.say(line));
        }
        if let Event::Text { transfer, text } = event
            && self.live
            && !self.quiet
            && self.talk.is_none()
        {
            let who = self.transfers.find(transfer).map(|found| called(&found.offer.peer, 24));
            let from = who.map_or_else(String::new, |who| format!("from {who}"));
            self.clipping = Some(Clipping::new(text, from, self.questions.timeout(), now));
        }
        if let Some(short) = told.short {
            if self.recent.len() == RECENT {
                self.recent.pop_front();
            }
            self.recent.push_back(short);
        }
    }

    /// Adds a line above the region.
    pub(super) fn say(&mut self, line: String) {
        if self.log.len() == LOG_WAITING {
            self.log.pop_front();
            self.log_lost += 1;
        }
        self.log.push_back(line);
    }

    /// Adds a line for those who do not want silence.
    pub(super) fn note(&mut self, line: String) {
        if !self.quiet {
            self.say(line);
        }
    }

    /// Adds the lines of a failure that no event told.
    pub(super) fn fail(&mut self, failure: &Failure) {
        story::failed(failure, None, self.style).into_iter().for_each(|line| self.say(line));
    }

    /// No key will ever come.
    pub(super) fn end_of_input(&mut self, now: Instant) {
        self.around.terminal = false;
        self.host = None;
        self.talk = None;
        self.picker = None;
        self.clipping = None;
        self.questions.end_of_input(now);
    }

    /// Shows the invitation, or the new one.
    pub(super) fn show(&mut self, board: Board) {
        self.folder.clone_from(&board.directory);
        self.hidden = false;
        if self.quiet && self.qr != QrChoice::Always {
            return;
        }
        let wanted = match self.qr {
            QrChoice::Auto => self.around.terminal && !self.around.dumb,
            QrChoice::Always => true,
            QrChoice::Never => false,
        };
        let cells = if self.around.utf8 { Cells::Half } else { Cells::Wide };
        let invitation = Invitation::new(board, wanted.then_some(cells));
        if !self.live {
            self.show_as_lines(&invitation);
        }
        self.invitation = Some(invitation);
    }

    /// Without a region the code is printed once, and only where a person or an explicit wish is: a log must not hold
    /// the secret (C10).
    fn show_as_lines(&mut self, invitation: &Invitation) {
        if self.around.terminal || self.qr == QrChoice::Always {
            invitation.code_rows().iter().for_each(|row| self.say(row.clone()));
            self.say(invitation.board.link.clone());
        } else if !self.told_no_code {
            self.told_no_code = true;
            self.say("no terminal to draw the code on: `--invite-file`, `--qr-png` or `--qr always` give it".into());
        }
        let before = self.invitation.as_ref().and_then(|before| before.board.warning.as_ref());
        if before != invitation.board.warning.as_ref() {
            for line in board::warning(&invitation.board, self.style, usize::MAX / 8) {
                self.say(line);
            }
        }
    }

    /// Takes the invitation back.
    pub(super) fn hide(&mut self) {
        self.hidden = true;
    }

    /// From now on keys of a hosting screen go to `keys`.
    pub(super) fn host(&mut self, keys: mpsc::Sender<HostKey>) {
        self.host = Some(keys);
    }

    fn hosts(&self) -> bool {
        self.host.as_ref().is_some_and(|keys| !keys.is_closed())
    }

    fn picks(&self) -> bool {
        self.picker.as_ref().is_some_and(Picker::is_open)
    }

    /// Whether a key would mean something.
    pub(super) fn wants_keys(&self) -> bool {
        let asked = self.questions.current().is_some()
            || self.clipping.is_some()
            || self.picks()
            || self.hosts()
            || self.talk.is_some();
        self.around.terminal && !self.closing && asked
    }

    /// Takes in a key.
    pub(super) fn key(&mut self, key: KeyEvent, now: Instant) -> Effect {
        if key.kind == KeyEventKind::Release {
            return Effect::None;
        }
        // What is not on the screen yet is nothing that a key could be for.
        let typing = self.talk.is_some() && !self.questions.is_drawn();
        let stops = matches!(key.code, KeyCode::Char('c' | 'z'));
        if key.modifiers.contains(KeyModifiers::CONTROL) && (stops || !typing) {
            // Who wants to leave wants no text.
            self.clipping = self.clipping.take().filter(|_| key.code != KeyCode::Char('c'));
            return match key.code {
                KeyCode::Char('c') if self.hosts() => self.pass(HostKey::Interrupt),
                KeyCode::Char('c') => Effect::Interrupt,
                KeyCode::Char('z') => Effect::Suspend,
                _ => Effect::None,
            };
        }
        if typing {
            return self.typed(key);
        }
        if self.questions.current().is_some() {
            self.questions.key(key, now);
            return Effect::None;
        }
        let alone = !self.hosts();
        if self.deals_with_text(key, alone, now) {
            return Effect::None;
        }
        if self.picker.as_mut().is_some_and(|picker| picker.is_open() && picker.key(key, alone, now)) {
            return Effect::None;
        }
        match key.code {
            KeyCode::Char('n') => self.pass(HostKey::NextAddress),
            KeyCode::Char('r') => self.pass(HostKey::Renew),
            KeyCode::Char('c') => self.pass(HostKey::Curl),
            KeyCode::Char('q') => self.pass(HostKey::Quit),
            KeyCode::Char('?') => {
                self.help = !self.help;
                Effect::None
            }
            _ => Effect::None,
        }
    }

    /// Whether the key was about the text that is offered.
    fn deals_with_text(&mut self, key: KeyEvent, alone: bool, now: Instant) -> bool {
        match self.clipping.as_mut().map(|clipping| clipping.key(key, alone, now)) {
            None | Some(Choice::Other) => return false,
            Some(Choice::Early) => {}
            Some(Choice::Leave) => self.clipping = None,
            Some(Choice::Copy) => {
                self.copied = self.clipping.take().map(Clipping::into_text);
                self.note("the text is in the clipboard, if this terminal lets programs put it there".into());
            }
        }
        true
    }

    fn pass(&mut self, key: HostKey) -> Effect {
        if let Some(keys) = &self.host {
            // Full means that it has enough to do already.
            let _ = keys.try_send(key);
        }
        Effect::None
    }

    /// How long nothing needs to be drawn if nothing happens.
    pub(super) fn rest(&self, now: Instant) -> Duration {
        let progress = match (self.transfers.count(), self.live) {
            (0, _) => IDLE,
            (_, true) => LIVE_PROGRESS,
            (_, false) => IDLE,
        };
        let question = self.questions.deadline().map_or(IDLE, |deadline| deadline.saturating_duration_since(now));
        progress.min(question)
    }

    /// What is to be written.
    pub(super) fn work(&mut self, size: Size, now: Instant) -> Work {
        self.dirty = false;
        self.talk = self.talk.take().filter(|talk| !talk.is_over());
        self.questions.tick(now);
        self.clipping = self.clipping.take().filter(|clipping| !clipping.is_over(now));
        if !self.live {
            self.plain(size, now);
        }
        let mut log: Vec<String> = self.log.drain(..).collect();
        let lost = std::mem::take(&mut self.log_lost);
        if lost > 0 {
            log.insert(0, self.style.dim(&format!("… {lost} lines were left out")));
        }
        let question = self.questions.current().map(|(id, _)| id);
        let clipping = question.is_none() && self.clipping.is_some();
        let rows = if self.live && !self.parked && !self.closing { self.rows(size, now) } else { Vec::new() };
        Work { log, rows, copied: self.copied.take(), question, clipping }
    }

    /// `work` is on the screen.
    pub(super) fn painted(&mut self, work: &Work, now: Instant) {
        if let Some(id) = work.question {
            self.questions.painted(id, now);
        }
        if let Some(clipping) = self.clipping.as_mut().filter(|_| work.clipping) {
            clipping.painted(now);
        }
        if let Some(picker) = &mut self.picker {
            picker.painted(now);
        }
    }

    /// Progress and questions as lines.
    fn plain(&mut self, size: Size, now: Instant) {
        if let Some(told) = self.told_progress.filter(|told| now.saturating_duration_since(*told) >= PLAIN_PROGRESS) {
            self.told_progress = Some(told.max(now));
            if !self.quiet {
                self.transfers.sentences().into_iter().for_each(|line| self.say(line));
            }
        }
        let Some((id, question)) = self.questions.current() else { return };
        if self.told_question != Some(id) {
            let mut lines = card(question, self.style, size.0, 24);
            lines.push(answer_line(question, self.questions.waiting(), None, self.style, size.0));
            self.told_question = Some(id);
            lines.into_iter().for_each(|line| self.say(line));
        }
    }
}
