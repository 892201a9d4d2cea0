//! The person: what is shown, what is asked, and what a script reads.
//!
//! # Rules of the terminal
//!
//! 1. [`Ui`] is the only owner of standard output and standard error: no other room writes to them.
//! 2. Everything for people goes to standard error. Standard output has lines for scripts (`--json`, `list`) alone.
//! 3. Whoever tells, shows or asks never waits for a reader: state changes under a lock, and two threads write.
//! 4. Keys come from the controlling terminal, also when standard input is a pipe, and are read only while one is
//!    waited for. Raw mode lasts exactly as long; it ends on leave, panic, Ctrl-Z and drop.
//! 5. While the code is on the screen it does not scroll, move or flicker: log lines go above it.
//! 6. What a stranger says is one bounded line, in quotes, without control characters. Only a key pressed while a
//!    question stood still answers it.
//! 7. The link is a secret: drawn for a person, never written to a log or a pipe unless `--qr always` asks for it.

mod board;
mod clipping;
mod drive;
mod editor;
mod json;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod oracle;
mod picker;
mod progress;
mod prompt;
pub mod qr;
pub mod scan;
mod screen;
mod story;
mod style;
mod terminal;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use crate::events::{Answer, Board, BoxFuture, Event, Failure, NoReason, Question, Reporter};
use crate::ui::clipping::Clipping;
use crate::ui::drive::Shared;
use crate::ui::json::Output;
use crate::ui::picker::Picker;
use crate::ui::screen::Screen;
use crate::ui::style::Surroundings;

pub use crate::ui::drive::Complete;
pub use crate::ui::picker::PickItem;
pub use crate::ui::style::ColorChoice;

/// When the code is drawn, as `--qr` says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum QrChoice {
    /// On a terminal.
    #[default]
    Auto,
    /// Wherever standard error goes, link included.
    Always,
    /// Not at all; a terminal still gets the link.
    Never,
}

/// What the person chose on the command line.
#[derive(Debug, Clone)]
pub struct UiOptions {
    /// Events as JSON lines on standard output.
    pub json: bool,
    /// Only errors and questions on standard error.
    pub quiet: bool,
    /// Every file and transition on standard error.
    pub verbose: bool,
    /// Colour.
    pub color: ColorChoice,
    /// The code.
    pub qr: QrChoice,
    /// How long a question stays on the screen before it is answered No.
    pub ask_timeout: Duration,
}

impl Default for UiOptions {
    fn default() -> Self {
        UiOptions {
            json: false,
            quiet: false,
            verbose: false,
            color: ColorChoice::Auto,
            qr: QrChoice::Auto,
            ask_timeout: Duration::from_secs(2 * 60),
        }
    }
}

/// A key that means something to a hosting command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostKey {
    /// `n`: put the next address into the code.
    NextAddress,
    /// `r`: draw a new code.
    Renew,
    /// `c`: show a one-time address for curl.
    Curl,
    /// `q`: leave.
    Quit,
    /// Ctrl-C.
    Interrupt,
}

/// The terminal and standard output of this process.
pub struct Ui {
    shared: Arc<Shared>,
    output: Output,
    json: bool,
    around: Surroundings,
}

impl Ui {
    /// Takes possession of standard output and standard error. One at a time.
    pub fn start(options: UiOptions) -> Arc<Ui> {
        let around = Surroundings::probe();
        if around.terminal {
            terminal::restore_on_panic();
        }
        let screen = Screen::new(&options, around);
        let shared = drive::start(screen, around);
        Arc::new(Ui { shared, output: Output::start(io::stdout()), json: options.json, around })
    }

    /// Whether a person can be asked: standard error is a terminal and the controlling terminal can be opened.
    pub fn has_terminal(&self) -> bool {
        self.around.terminal
    }

    /// From now on this is a hosting screen; its keys come out here until the receiver is dropped. Without a terminal
    /// none comes.
    pub fn keys(&self) -> mpsc::Receiver<HostKey> {
        /// More keys than a person presses before the first is dealt with.
        const PRESSED: usize = 16;
        let (keys, pressed) = mpsc::channel(PRESSED);
        if self.around.terminal {
            self.shared.change(|screen| screen.host(keys));
        }
        pressed
    }

    /// From now on a person types lines, which come out here; `complete` helps with them. `None` where nobody can: there is
    /// no terminal, it can't be drawn on, or standard input is something else.
    pub fn lines(&self, complete: Complete) -> Option<mpsc::Receiver<String>> {
        /// More lines than a person types before the first is dealt with.
        const TYPED: usize = 64;
        let (lines, typed) = mpsc::channel(TYPED);
        let can = io::stdin().is_terminal() && self.shared.change(|screen| screen.talk(lines));
        can.then(|| {
            self.shared.complete_with(complete);
            typed
        })
    }

    /// Shows the code in a room, or puts it away; `None` does the other of the two.
    pub fn show_code(&self, shown: Option<bool>) {
        self.shared.change(|screen| screen.show_code(shown));
    }

    /// What stands above the line that is typed.
    pub fn room(&self, status: String) {
        self.shared.change(|screen| screen.room(status));
    }

    /// Lets a person choose a receiver while the list of them changes. `None`: nothing was chosen, the list ended
    /// empty, or there is no terminal.
    pub async fn pick(&self, mut updates: mpsc::Receiver<Vec<PickItem>>) -> Option<PickItem> {
        if !self.around.terminal {
            return None;
        }
        let (reply, mut chosen) = oneshot::channel();
        self.shared.change(|screen| screen.picker = Some(Picker::new(reply)));
        let _put_away = OnDrop(|| self.shared.change(|screen| screen.picker = None));
        loop {
            tokio::select! {
                chosen = &mut chosen => return chosen.ok().flatten(),
                Some(items) = updates.recv() => {
                    self.shared.change(|screen| screen.picker.iter_mut().for_each(|picker| picker.update(items.clone())));
                }
            }
        }
    }

    /// Waits until the person has taken or left the text that came last and is offered for the clipboard. At once, where
    /// there is none.
    pub async fn text_is_dealt_with(&self) {
        let end = self.shared.change(|screen| screen.clipping.as_mut().map(Clipping::end));
        if let Some(end) = end {
            // Nothing is ever sent: that it is dropped is the end.
            let _ = end.await;
        }
    }

    /// A line on standard output, such as one of `list`.
    pub fn write_stdout(&self, line: &str) {
        if self.around.output_is_terminal && self.shared.is_live() {
            // The same terminal: the line goes above what is drawn there.
            self.shared.change(|screen| screen.say(line.to_owned()));
        } else {
            self.output.push(format!("{line}\n"));
        }
    }

    /// A line on standard error that is no event; not shown under `-q`. What it holds of others is already inert.
    pub fn say(&self, line: &str) {
        self.shared.change(|screen| screen.note(line.to_owned()));
    }

    /// The failure that ends the command, which no event told: two lines on standard error.
    pub fn fail(&self, failure: &Failure) {
        self.shared.change(|screen| screen.fail(failure));
    }

    /// Writes what is left, takes the region away and gives the terminal back. Nothing is shown afterwards.
    pub fn finish(&self) {
        self.shared.finish();
        let lost = self.output.finish();
        if lost > 0 {
            let text = format!("error: {lost} lines were lost because standard output was not read\n");
            let _ = io::stderr().write_all(text.as_bytes());
        }
    }
}

impl Drop for Ui {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Reporter for Ui {
    fn tell(&self, event: Event) {
        if self.json {
            self.output.event(&event);
        }
        self.shared.change(|screen| screen.tell(&event, Instant::now()));
    }

    fn show(&self, board: Board) {
        self.shared.change(|screen| screen.show(board));
    }

    fn hide(&self) {
        self.shared.change(Screen::hide);
    }

    fn ask(&self, question: Question) -> BoxFuture<'_, Answer> {
        Box::pin(async move {
            if !self.around.terminal {
                return Answer::No(NoReason::NoTerminal);
            }
            match self.shared.change(|screen| screen.questions.ask(question, Instant::now())) {
                Err(answer) => answer,
                Ok((id, answer)) => {
                    let _withdraw =
                        OnDrop(|| self.shared.change(|screen| screen.questions.withdraw(id, Instant::now())));
                    answer.await.unwrap_or(Answer::No(NoReason::NoTerminal))
                }
            }
        })
    }
}

/// Does something when a future is done or dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
