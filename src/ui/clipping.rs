//! A text that came, offered for the clipboard. Nothing gets there without a key for it.

use std::time::{Duration, Instant};

use crossterm::event::{KeyCode, KeyEvent};
use tokio::sync::oneshot;

use crate::names::is_hidden_char;
use crate::ui::prompt::SETTLE;
use crate::ui::style::Style;

/// What a key did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// Into the clipboard with it.
    Copy,
    /// Not that one.
    Leave,
    /// The key came too early to mean it.
    Early,
    /// The key means something else.
    Other,
}

/// The newest text, while it may still be taken.
pub(super) struct Clipping {
    text: String,
    /// Who sent it, ready to be shown.
    from: String,
    /// From when a key counts; `None` while the offer is not on the screen yet.
    open: Option<Instant>,
    deadline: Instant,
    waits: Option<oneshot::Sender<()>>,
}

impl Clipping {
    /// What hides is left out: pasted into a shell it could end the paste and go on by itself.
    pub(super) fn new(text: &str, from: String, patience: Duration, now: Instant) -> Clipping {
        let text = text.chars().filter(|c| matches!(c, '\n' | '\t') || !is_hidden_char(*c)).collect();
        Clipping { text, from, open: None, deadline: now + patience, waits: None }
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }

    /// Ends when the text was taken, left or forgotten.
    pub(super) fn end(&mut self) -> oneshot::Receiver<()> {
        let (waits, end) = oneshot::channel();
        self.waits = Some(waits);
        end
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.deadline <= now
    }

    /// The offer has been drawn.
    pub(super) fn painted(&mut self, now: Instant) {
        self.open.get_or_insert(now + SETTLE);
    }

    /// What `key` means. Unless the offer is `alone`, all but two keys are for somebody else.
    pub(super) fn key(&mut self, key: KeyEvent, alone: bool, now: Instant) -> Choice {
        let choice = match key.code {
            KeyCode::Char('y' | 'Y') => Choice::Copy,
            KeyCode::Esc => Choice::Leave,
            KeyCode::Char('n' | 'N' | 'q') | KeyCode::Enter if alone => Choice::Leave,
            _ => Choice::Other,
        };
        match (choice, self.open) {
            (Choice::Copy, Some(open)) if open > now => {
                self.open = Some(now + SETTLE);
                Choice::Early
            }
            (Choice::Copy, None) => Choice::Early,
            (choice, _) => choice,
        }
    }

    /// The one line that is answered.
    pub(super) fn line(&self, alone: bool, style: Style, columns: usize) -> String {
        let keys = style.accent(if alone { "[y/N]" } else { "[y]" });
        let long = format!("{} {keys}", style.bold(&format!("copy the text {}?", self.from)));
        if console::measure_text_width(&long) <= columns { long } else { format!("{} {keys}", style.bold("copy it?")) }
    }
}

#[cfg(test)]
mod tests {
    use crossterm::event::KeyModifiers;

    use super::*;
    use crate::events::{Event, Question, Way};
    use crate::ui::screen::Screen;
    use crate::ui::tests::{TERMINAL, offer, options};
    use crate::ui::{UiOptions, terminal};

    const EVIL: &str = "one\u{1b}[201~\r\n\ttwo\u{202e}\u{9b}";

    fn key(code: KeyCode) -> KeyEvent {
        KeyEvent::new(code, KeyModifiers::NONE)
    }

    fn told(options: &UiOptions, now: Instant) -> Screen {
        let mut screen = Screen::new(options, TERMINAL);
        screen.tell(&Event::Offer(offer(7, 3)), now);
        screen.tell(&Event::Text { transfer: "7".into(), text: EVIL.into() }, now);
        screen
    }

    /// Draws it; what goes into the clipboard.
    fn draw(screen: &mut Screen, now: Instant) -> Option<String> {
        let work = screen.work((80, 24), now);
        screen.painted(&work, now);
        work.copied
    }

    #[test]
    fn a_text_is_copied_on_y_alone_and_without_what_hides_in_it() {
        let now = Instant::now();
        let mut screen = told(&options(), now);
        assert_eq!(draw(&mut screen, now), None);
        let rows = screen.work((80, 24), now).rows;
        assert_eq!(rows.last().map(String::as_str), Some("copy the text from \"Phone 7\"? [y/N]"));
        let later = now + 2 * SETTLE;
        for other in ['x', '?', 'r'] {
            screen.key(key(KeyCode::Char(other)), later);
        }
        assert_eq!(draw(&mut screen, later), None);
        screen.key(key(KeyCode::Char('y')), later);
        assert_eq!(draw(&mut screen, later).as_deref(), Some("one[201~\n\ttwo"));
        screen.key(key(KeyCode::Char('y')), later + SETTLE);
        assert_eq!(draw(&mut screen, later), None, "once");
    }

    #[test]
    fn a_y_typed_ahead_or_meant_for_a_question_copies_nothing() {
        let now = Instant::now();
        let mut screen = told(&options(), now);
        screen.key(key(KeyCode::Char('y')), now);
        assert_eq!(draw(&mut screen, now), None);
        screen.key(key(KeyCode::Char('y')), now + SETTLE / 2);
        let question = Question::Accept { way: Way::In, offer: offer(8, 1), note: None };
        let later = now + 4 * SETTLE;
        let answer = screen.questions.ask(question, later).unwrap();
        draw(&mut screen, later);
        screen.key(key(KeyCode::Char('y')), later + 2 * SETTLE);
        assert_eq!(draw(&mut screen, later + 2 * SETTLE), None);
        drop(answer);
    }

    #[test]
    fn the_offer_ends_by_no_by_leaving_and_by_itself() {
        let now = Instant::now();
        let patience = options().ask_timeout;
        type End = fn(&mut Screen, Instant, Duration);
        let ends: [End; 4] = [
            |screen, now, _| _ = screen.key(key(KeyCode::Enter), now),
            |screen, now, _| _ = screen.key(key(KeyCode::Esc), now),
            |screen, now, _| _ = screen.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL), now),
            |screen, now, patience| _ = draw(screen, now + patience),
        ];
        for end in ends {
            let mut screen = told(&options(), now);
            draw(&mut screen, now);
            let mut over = screen.clipping.as_mut().unwrap().end();
            assert!(over.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty));
            end(&mut screen, now + 2 * SETTLE, patience);
            assert!(over.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Closed));
            assert!(!screen.wants_keys());
        }
    }

    #[test]
    fn nothing_is_offered_where_nobody_sees_the_text() {
        let now = Instant::now();
        assert!(told(&UiOptions { quiet: true, ..options() }, now).clipping.is_none());
        let mut piped = Screen::new(&options(), crate::ui::style::Surroundings { terminal: false, ..TERMINAL });
        piped.tell(&Event::Text { transfer: "7".into(), text: EVIL.into() }, now);
        assert!(piped.clipping.is_none());
    }

    #[test]
    fn the_clipboard_is_told_in_base64_alone() {
        let mut canvas = terminal::Canvas::new(Vec::new(), true, &TERMINAL);
        canvas.copy("\u{7}\u{1b}\\é");
        assert_eq!(canvas.take(), b"\x1b]52;c;Bxtcw6k=\x07");
    }
}
