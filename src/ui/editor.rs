//! The line that a person types in a room. Pure: keys are arguments, rows come out.
//!
//! The cursor is drawn, not moved: the row belongs to the region, which is drawn again when messages arrive above it, so
//! what is typed stays whole.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use unicode_segmentation::{GraphemeCursor, UnicodeSegmentation};

use crate::names::{columns, inert};
use crate::ui::style::Style;

/// Longest line in bytes: that of a message.
const LINE_MOST: usize = 64 * 1024;

/// Lines that the up key brings back.
const HISTORY: usize = 200;

/// What a key came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Typed {
    /// Nothing beyond the line itself.
    Edited,
    /// A line.
    Line(String),
    /// Help with what stands before the cursor.
    Complete(String),
    /// No more lines.
    End,
}

/// The line being typed, and those before it.
#[derive(Debug, Default)]
pub(super) struct Editor {
    text: String,
    /// Where the cursor is, in bytes.
    at: usize,
    history: Vec<String>,
    /// Which of `history` is shown, counted from the last; 0 is the line being typed.
    back: usize,
    /// The line that was being typed before.
    draft: String,
}

impl Editor {
    /// Takes in a key.
    pub(super) fn key(&mut self, key: KeyEvent) -> Typed {
        let with = |modifier| key.modifiers.contains(modifier);
        let word = with(KeyModifiers::CONTROL) || with(KeyModifiers::ALT);
        match key.code {
            KeyCode::Enter if with(KeyModifiers::ALT) => self.insert('\n'),
            KeyCode::Enter => return Typed::Line(self.take()),
            KeyCode::Tab => return Typed::Complete(self.text[..self.at].to_owned()),
            KeyCode::Left if word => self.at = self.word_before(),
            KeyCode::Right if word => self.at = self.word_after(),
            KeyCode::Left => self.at = self.before(),
            KeyCode::Right => self.at = self.after(),
            KeyCode::Home => self.at = 0,
            KeyCode::End => self.at = self.text.len(),
            KeyCode::Up => self.browse(self.back + 1),
            KeyCode::Down => self.browse(self.back.saturating_sub(1)),
            KeyCode::Backspace if word => self.cut(self.word_before(), self.at),
            KeyCode::Backspace => self.cut(self.before(), self.at),
            KeyCode::Delete => self.cut(self.at, self.after()),
            KeyCode::Char(c) if with(KeyModifiers::CONTROL) => return self.control(c),
            KeyCode::Char('b') if with(KeyModifiers::ALT) => self.at = self.word_before(),
            KeyCode::Char('f') if with(KeyModifiers::ALT) => self.at = self.word_after(),
            KeyCode::Char(c) => self.insert(c),
            _ => {}
        }
        Typed::Edited
    }

    fn control(&mut self, c: char) -> Typed {
        match c {
            'a' => self.at = 0,
            'e' => self.at = self.text.len(),
            'b' => self.at = self.before(),
            'f' => self.at = self.after(),
            'h' => self.cut(self.before(), self.at),
            'k' => self.cut(self.at, self.text.len()),
            'u' => self.cut(0, self.at),
            'w' => self.cut(self.word_before(), self.at),
            'p' => self.browse(self.back + 1),
            'n' => self.browse(self.back.saturating_sub(1)),
            'd' if self.text.is_empty() => return Typed::End,
            'd' => self.cut(self.at, self.after()),
            _ => {}
        }
        Typed::Edited
    }

    /// Puts what `candidates` have in common in place of `before`, if that still stands before the cursor. Several that
    /// have no more in common are returned, to be shown.
    pub(super) fn complete(&mut self, before: &str, candidates: Vec<String>) -> Vec<String> {
        let Some(first) = candidates.first().filter(|_| self.text[..self.at] == *before) else { return Vec::new() };
        let alike = candidates.iter().skip(1).fold(first.as_str(), |alike, other| {
            let shared = alike.chars().zip(other.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum();
            &alike[..shared]
        });
        if alike.len() <= before.len() && candidates.len() > 1 {
            return candidates;
        }
        if alike.len() + self.text.len() - self.at <= LINE_MOST {
            self.text.replace_range(..self.at, alike);
            self.at = alike.len();
        }
        Vec::new()
    }

    fn take(&mut self) -> String {
        let line = std::mem::take(&mut self.text);
        (self.at, self.back) = (0, 0);
        if !line.trim().is_empty() && self.history.last() != Some(&line) {
            if self.history.len() == HISTORY {
                self.history.remove(0);
            }
            self.history.push(line.clone());
        }
        line
    }

    fn browse(&mut self, back: usize) {
        if back > self.history.len() || back == self.back {
            return;
        }
        if self.back == 0 {
            self.draft = std::mem::take(&mut self.text);
        }
        self.back = back;
        self.text = match self.history.len().checked_sub(back).and_then(|at| self.history.get(at)) {
            Some(line) => line.clone(),
            None => std::mem::take(&mut self.draft),
        };
        self.at = self.text.len();
    }

    fn insert(&mut self, c: char) {
        if self.text.len() + c.len_utf8() <= LINE_MOST {
            self.text.insert(self.at, c);
            self.at += c.len_utf8();
        }
    }

    fn cut(&mut self, from: usize, to: usize) {
        self.text.drain(from..to);
        self.at = from;
    }

    fn before(&self) -> usize {
        let mut cursor = GraphemeCursor::new(self.at, self.text.len(), true);
        cursor.prev_boundary(&self.text, 0).ok().flatten().unwrap_or(0)
    }

    fn after(&self) -> usize {
        let mut cursor = GraphemeCursor::new(self.at, self.text.len(), true);
        cursor.next_boundary(&self.text, 0).ok().flatten().unwrap_or(self.text.len())
    }

    fn word_before(&self) -> usize {
        let words = self.text[..self.at].split_word_bound_indices();
        words.rev().find(|(_, word)| !word.trim().is_empty()).map_or(0, |(at, _)| at)
    }

    fn word_after(&self) -> usize {
        let mut words = self.text[self.at..].split_word_bound_indices().filter(|(_, word)| !word.trim().is_empty());
        words.next().map_or(self.text.len(), |(at, word)| self.at + at + word.len())
    }

    /// The row, at most `width` columns: the part of the line around the cursor.
    pub(super) fn row(&self, style: Style, width: usize) -> String {
        let prompt = style.prompt();
        let room = width.saturating_sub(columns(prompt) + 1);
        let under_end = self.after();
        let under = shown(&self.text[self.at..under_end]);
        let under = if under.is_empty() { " ".to_owned() } else { under };
        let mut left = room.saturating_sub(columns(&under));
        let mut before = Vec::new();
        for grapheme in self.text[..self.at].graphemes(true).rev() {
            let grapheme = shown(grapheme);
            let Some(rest) = left.checked_sub(columns(&grapheme)) else { break };
            left = rest;
            before.push(grapheme);
        }
        let mut after = String::new();
        for grapheme in self.text[under_end..].graphemes(true) {
            let grapheme = shown(grapheme);
            let Some(rest) = left.checked_sub(columns(&grapheme)) else { break };
            left = rest;
            after.push_str(&grapheme);
        }
        let before: String = before.into_iter().rev().collect();
        format!("{}{before}{}{after}", style.accent(prompt), Style::cursor(&under))
    }
}

/// What was pasted may hold anything.
fn shown(grapheme: &str) -> String {
    if grapheme == "\n" { "¶".to_owned() } else { inert(grapheme) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(editor: &mut Editor, text: &str) {
        text.chars().for_each(|c| assert_eq!(editor.key(KeyCode::Char(c).into()), Typed::Edited));
    }

    fn with(text: &str) -> Editor {
        let mut editor = Editor::default();
        typed(&mut editor, text);
        editor
    }

    fn plain(editor: &Editor, width: usize) -> String {
        console::strip_ansi_codes(&editor.row(Style::plain(), width)).into_owned()
    }

    #[test]
    fn enter_gives_the_line_and_up_brings_it_back_above_the_draft() {
        let mut editor = with("one");
        assert_eq!(editor.key(KeyCode::Enter.into()), Typed::Line("one".into()));
        typed(&mut editor, "tw");
        editor.key(KeyCode::Up.into());
        assert_eq!(editor.text, "one");
        editor.key(KeyCode::Up.into());
        editor.key(KeyCode::Down.into());
        assert_eq!(editor.text, "tw");
    }

    #[test]
    fn the_cursor_goes_over_whole_graphemes() {
        let mut editor = with("a👩\u{200d}💻e\u{301}");
        editor.key(KeyCode::Left.into());
        editor.key(KeyCode::Backspace.into());
        assert_eq!(editor.text, "ae\u{301}");
        editor.key(KeyCode::Delete.into());
        assert_eq!(editor.text, "a");
    }

    #[test]
    fn words_are_cut_and_skipped_as_in_a_shell() {
        let mut editor = with("one two three");
        editor.key(KeyEvent::new(KeyCode::Char('w'), KeyModifiers::CONTROL));
        assert_eq!(editor.text, "one two ");
        editor.key(KeyEvent::new(KeyCode::Left, KeyModifiers::CONTROL));
        editor.key(KeyEvent::new(KeyCode::Char('k'), KeyModifiers::CONTROL));
        assert_eq!(editor.text, "one ");
    }

    #[test]
    fn a_long_line_shows_the_part_around_the_cursor_and_never_more_than_fits() {
        let mut editor = with(&"漢字".repeat(100));
        for _ in 0..100 {
            assert!(columns(&plain(&editor, 20)) <= 20, "{}", plain(&editor, 20));
            editor.key(KeyCode::Left.into());
        }
        editor.key(KeyCode::Home.into());
        assert!(plain(&editor, 20).contains("漢字漢"));
    }

    #[test]
    fn what_was_pasted_can_not_move_the_cursor() {
        assert!(!plain(&with("a\u{1b}[2Jb\rc\u{9b}"), 40).contains(|c: char| c.is_control()));
    }

    #[test]
    fn candidates_are_completed_as_far_as_they_agree() {
        let mut editor = with("/s");
        assert!(editor.complete("/s", vec!["/send ".into()]).is_empty());
        assert_eq!(editor.text, "/send ");
        let both = vec!["/send data".to_owned(), "/send date".to_owned()];
        assert!(editor.complete("/send ", both.clone()).is_empty());
        assert_eq!(editor.text, "/send dat");
        assert_eq!(editor.complete("/send dat", both), ["/send data", "/send date"]);
        assert!(editor.complete("/get", vec!["/get ".into()]).is_empty());
        assert_eq!(editor.text, "/send dat", "the line has changed meanwhile");
    }

    #[test]
    fn the_line_has_an_end() {
        let mut editor = with(&"x".repeat(LINE_MOST + 10));
        assert_eq!(editor.text.len(), LINE_MOST);
        editor.key(KeyCode::Home.into());
        assert_eq!(editor.key(KeyEvent::new(KeyCode::Char('d'), KeyModifiers::CONTROL)), Typed::Edited);
        assert_eq!(Editor::default().key(KeyEvent::new(KeyCode::Char('d'), KeyModifiers::CONTROL)), Typed::End);
    }
}
