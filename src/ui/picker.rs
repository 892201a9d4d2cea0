//! The list of receivers to choose from. Pure: keys and the clock are arguments.
//!
//! A receiver keeps its number and place as long as the list lives, and one that went away stays, greyed: otherwise
//! whoever announces himself at the right moment is under the finger that presses Enter.

use std::net::SocketAddr;
use std::time::Instant;

use crossterm::event::{KeyCode, KeyEvent};
use tokio::sync::oneshot;

use crate::ui::prompt::SETTLE;
use crate::ui::style::{Style, one_line, padded, quoted};

/// Most receivers in the list: a flood of announcements must not fill memory (G04).
const MOST: usize = 99;

/// A receiver to choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PickItem {
    /// The name it shows.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its key mark, by which it is told from another one of the same name.
    pub mark: String,
    /// Whether it is a remembered device.
    pub trusted: bool,
}

/// Columns of a key mark, which must be whole to be compared.
const MARK: usize = 14;

struct Entry {
    item: PickItem,
    here: bool,
}

/// The list and what is selected in it.
pub(super) struct Picker {
    entries: Vec<Entry>,
    selected: usize,
    typed: usize,
    /// From when Enter counts; `None` while nothing to choose was on the screen.
    open: Option<Instant>,
    reply: Option<oneshot::Sender<Option<PickItem>>>,
}

impl Picker {
    pub(super) fn new(reply: oneshot::Sender<Option<PickItem>>) -> Self {
        Picker { entries: Vec::new(), selected: 0, typed: 0, open: None, reply: Some(reply) }
    }

    /// Takes the list as it is now.
    pub(super) fn update(&mut self, items: Vec<PickItem>) {
        self.entries.iter_mut().for_each(|entry| entry.here = false);
        for item in items {
            // The key tells devices apart; an address or a name may move.
            match self.entries.iter().position(|entry| entry.item.mark == item.mark) {
                Some(at) => self.entries[at] = Entry { item, here: true },
                None if self.entries.len() < MOST => self.entries.push(Entry { item, here: true }),
                None => {}
            }
        }
    }

    /// The list has been drawn.
    pub(super) fn painted(&mut self, now: Instant) {
        if self.open.is_none() && !self.entries.is_empty() {
            self.open = Some(now + SETTLE);
        }
    }

    /// Whether the key was meant for the list. `alone`: no hosting screen wants `q`.
    pub(super) fn key(&mut self, key: KeyEvent, alone: bool, now: Instant) -> bool {
        let typed = std::mem::take(&mut self.typed);
        match key.code {
            KeyCode::Up => self.selected = self.selected.saturating_sub(1),
            KeyCode::Down => self.selected = (self.selected + 1).min(self.entries.len().saturating_sub(1)),
            KeyCode::Char(digit @ '0'..='9') => {
                let digit = digit as usize - '0' as usize;
                let number = [10 * typed + digit, digit].into_iter().find(|n| (1..=self.entries.len()).contains(n));
                if let Some(number) = number {
                    self.selected = number - 1;
                    self.typed = number;
                }
            }
            KeyCode::Enter => {
                let chosen = self.entries.get(self.selected).filter(|entry| entry.here).map(|entry| entry.item.clone());
                if chosen.is_some() && self.open.is_some_and(|open| open <= now) {
                    self.leave(chosen);
                }
            }
            KeyCode::Esc => self.leave(None),
            KeyCode::Char('q') if alone => self.leave(None),
            _ => return false,
        }
        true
    }

    fn leave(&mut self, chosen: Option<PickItem>) {
        if let Some(reply) = self.reply.take() {
            // The one who asked may have gone.
            let _ = reply.send(chosen);
        }
    }

    /// Whether nothing was chosen yet.
    pub(super) fn is_open(&self) -> bool {
        self.reply.is_some()
    }

    /// At most `rows` lines of `columns` columns, the selected one among them.
    pub(super) fn lines(&self, style: Style, columns: usize, rows: usize) -> Vec<String> {
        let mut lines = vec![style.bold("receivers nearby")];
        if self.entries.is_empty() {
            lines.push(style.dim(&one_line("looking … (none? `qrdrop doctor`)", columns)));
        }
        let room = rows.saturating_sub(2).max(1);
        let first = (self.selected + 1).saturating_sub(room);
        let shown = self.entries.iter().enumerate().skip(first).take(room);
        lines.extend(shown.map(|(at, entry)| self.line(at, entry, style, columns)));
        lines.push(style.dim(&one_line("↑ ↓ or a number, then Enter", columns)));
        lines
    }

    fn line(&self, at: usize, entry: &Entry, style: Style, columns: usize) -> String {
        let item = &entry.item;
        let pointer = if at == self.selected { "›" } else { " " };
        let mut end = one_line(&item.mark, MARK);
        if columns >= 60 {
            end.push_str(&format!("  {:21}", item.address.to_string()));
        }
        if !entry.here {
            end.push_str(" gone");
        } else if item.trusted {
            end.push_str(" trusted");
        }
        let name_columns = columns.saturating_sub(5 + console::measure_text_width(&end)).clamp(6, 34);
        let name = padded(&quoted(&item.name, name_columns.saturating_sub(2)), name_columns);
        let line = format!("{pointer}{:>2} {name} {end}", at + 1);
        match (entry.here, at == self.selected) {
            (false, _) => style.dim(&line),
            (true, true) => style.accent(&line),
            (true, false) => line,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(mark: &str) -> PickItem {
        PickItem { name: "Laptop".into(), address: ([127, 0, 0, 1], 5001).into(), mark: mark.into(), trusted: false }
    }

    fn shown(marks: &[&str], now: Instant) -> (Picker, oneshot::Receiver<Option<PickItem>>) {
        let (reply, chosen) = oneshot::channel();
        let mut picker = Picker::new(reply);
        picker.update(marks.iter().map(|mark| item(mark)).collect());
        picker.painted(now);
        (picker, chosen)
    }

    #[test]
    fn a_newcomer_does_not_slip_under_the_selection() {
        let start = Instant::now();
        let (mut picker, mut chosen) = shown(&["mine", "other"], start);
        picker.update(vec![item("evil"), item("mine"), item("other")]);
        picker.key(KeyCode::Enter.into(), true, start + SETTLE);
        assert_eq!(chosen.try_recv().unwrap().unwrap().mark, "mine");
    }

    #[test]
    fn one_that_went_away_cannot_be_chosen_and_keeps_its_number() {
        let start = Instant::now();
        let (mut picker, mut chosen) = shown(&["a", "b"], start);
        picker.update(vec![item("b")]);
        picker.key(KeyCode::Enter.into(), true, start + SETTLE);
        assert!(chosen.try_recv().is_err());
        picker.key(KeyCode::Char('2').into(), true, start + SETTLE);
        picker.key(KeyCode::Enter.into(), true, start + SETTLE);
        assert_eq!(chosen.try_recv().unwrap().unwrap().mark, "b");
    }

    #[test]
    fn enter_typed_ahead_chooses_nothing() {
        let start = Instant::now();
        let (mut picker, mut chosen) = shown(&["a"], start);
        picker.key(KeyCode::Enter.into(), true, start + SETTLE / 2);
        assert!(chosen.try_recv().is_err());
    }

    #[test]
    fn a_flood_of_announcements_is_capped() {
        let (reply, _chosen) = oneshot::channel();
        let mut picker = Picker::new(reply);
        picker.update((0..5_000).map(|n| item(&n.to_string())).collect());
        assert_eq!(picker.entries.len(), MOST);
        assert!(picker.lines(Style::plain(), 38, 20).len() <= 20);
    }

    #[test]
    fn escape_leaves_without_a_choice() {
        let (mut picker, mut chosen) = shown(&["a"], Instant::now());
        picker.key(KeyCode::Esc.into(), true, Instant::now());
        assert_eq!(chosen.try_recv().unwrap(), None);
        assert!(!picker.is_open());
    }
}
