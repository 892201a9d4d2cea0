//! Colour and glyphs: what this terminal can show, and how a stranger's words are set apart from ours.

use std::env;
use std::ffi::OsString;
use std::io::IsTerminal;

use unicode_width::UnicodeWidthChar;

use crate::events::Label;
use crate::names::elide;

/// When to use colour, as `--color` says it. The code itself is black on white in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ColorChoice {
    /// On a terminal that is not dumb, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What the process was started in, probed once, so that tests can say it instead.
#[derive(Debug, Clone, Copy)]
pub(super) struct Surroundings {
    /// Standard error is a terminal and the controlling terminal can be opened: a person can be asked.
    pub terminal: bool,
    /// Standard output is a terminal too, so what goes there lands between what we draw.
    pub output_is_terminal: bool,
    /// The terminal knows no cursor movement.
    pub dumb: bool,
    /// `NO_COLOR` is set (<https://no-color.org>).
    pub no_color: bool,
    /// The locale is UTF-8.
    pub utf8: bool,
}

impl Surroundings {
    pub(super) fn probe() -> Self {
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set);
        let utf8 = match locale {
            Some(locale) => {
                let locale = locale.to_string_lossy().to_ascii_lowercase();
                locale.contains("utf-8") || locale.contains("utf8")
            }
            // POSIX says "C" then; the terminals of the other systems are UTF-8 whatever the environment holds.
            None => cfg!(any(windows, target_os = "macos")),
        };
        Surroundings {
            terminal: std::io::stderr().is_terminal() && controlling_terminal_opens(),
            output_is_terminal: std::io::stdout().is_terminal(),
            dumb: is_dumb(),
            no_color: set("NO_COLOR").is_some(),
            utf8,
        }
    }
}

/// A variable that holds something.
fn set(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

#[cfg(not(windows))]
fn is_dumb() -> bool {
    set("TERM").is_none_or(|term| term == "dumb")
}

/// A console takes escape sequences for text until it is told otherwise, which asking does, too.
#[cfg(windows)]
fn is_dumb() -> bool {
    !crossterm::ansi_support::supports_ansi()
}

#[cfg(unix)]
fn controlling_terminal_opens() -> bool {
    std::fs::OpenOptions::new().read(true).write(true).open("/dev/tty").is_ok()
}

#[cfg(not(unix))]
fn controlling_terminal_opens() -> bool {
    std::io::stdin().is_terminal()
}

/// How text is coloured. Everything that is drawn goes through here. The colours are of the 256 and of middle
/// brightness: yellow and cyan of the first 16 cannot be read on white.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    color: bool,
    unicode: bool,
}

impl Style {
    pub(super) fn new(choice: ColorChoice, around: &Surroundings) -> Self {
        let color = match choice {
            ColorChoice::Auto => around.terminal && !around.no_color && !around.dumb,
            ColorChoice::Always => true,
            ColorChoice::Never => false,
        };
        Style { color, unicode: around.utf8 }
    }

    #[cfg(test)]
    pub(super) fn plain() -> Self {
        Style { color: false, unicode: true }
    }

    pub(super) fn has_unicode(self) -> bool {
        self.unicode
    }

    pub(super) fn has_color(self) -> bool {
        self.color
    }

    fn sgr(self, code: &str, text: &str) -> String {
        if self.color && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(super) fn bold(self, text: &str) -> String {
        self.sgr("1", text)
    }

    pub(super) fn dim(self, text: &str) -> String {
        self.sgr("2", text)
    }

    pub(super) fn good(self, text: &str) -> String {
        self.sgr("38;5;28", text)
    }

    pub(super) fn warn(self, text: &str) -> String {
        self.sgr("38;5;166", text)
    }

    pub(super) fn bad(self, text: &str) -> String {
        self.sgr("1;31", text)
    }

    pub(super) fn accent(self, text: &str) -> String {
        self.sgr("38;5;31", text)
    }

    /// What stands before a line that is typed.
    pub(super) fn prompt(self) -> &'static str {
        if self.unicode { "› " } else { "> " }
    }

    /// The character under the cursor. Inverted also without colour: there is no other sign of where one types.
    pub(super) fn cursor(under: &str) -> String {
        format!("\x1b[7m{under}\x1b[0m")
    }

    pub(super) fn label(self, label: Label) -> String {
        match label {
            Label::Verified => self.good(label.words()),
            Label::Private | Label::Open => self.warn(label.words()),
        }
    }
}

/// A stranger's words on one line of at most `columns` + 2 columns, in quotes that they cannot close.
pub(super) fn quoted(text: &str, columns: usize) -> String {
    format!("\"{}\"", one_line(text, columns).replace('"', "'"))
}

/// Any text on one line of at most `columns` columns.
pub(super) fn one_line(text: &str, columns: usize) -> String {
    // A megabyte need not be measured to show 38 columns of it.
    const LONGEST_MEASURED: usize = 16 * 1024;
    match text.char_indices().nth(LONGEST_MEASURED) {
        Some((at, _)) => elide(&format!("{}{}", &text[..at], tail_of(&text[at..], LONGEST_MEASURED)), columns),
        None => elide(text, columns),
    }
}

/// The last characters of `text`, in which its extension is.
fn tail_of(text: &str, chars: usize) -> &str {
    text.char_indices().rev().nth(chars - 1).map_or(text, |(at, _)| &text[at..])
}

/// `text` with spaces up to `columns` columns; escape sequences take none.
pub(super) fn padded(text: &str, columns: usize) -> String {
    let missing = columns.saturating_sub(console::measure_text_width(text));
    format!("{text}{}", " ".repeat(missing))
}

/// Broken at spaces into lines of at most `columns` columns; a longer word is cut.
pub(super) fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(1);
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is one from the start");
        let room = columns.saturating_sub(console::measure_text_width(line));
        if line.is_empty() {
            line.push_str(word);
        } else if console::measure_text_width(word) < room {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
        while console::measure_text_width(lines.last().expect("as above")) > columns {
            let long = lines.pop().expect("as above");
            let (cut, rest) = cut_at(&long, columns);
            lines.extend([cut.to_owned(), rest.to_owned()]);
        }
    }
    lines
}

/// Cut after at most `columns` columns, yet at least one character.
pub(super) fn cut_at(text: &str, columns: usize) -> (&str, &str) {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += c.width().unwrap_or(0);
        if used > columns && at > 0 {
            return text.split_at(at);
        }
    }
    (text, "")
}

/// For a locale that is not UTF-8: every character beyond ASCII replaced by one of the same width.
pub(super) fn to_ascii(text: &str) -> String {
    let mut ascii = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\0'..='\x7f' => ascii.push(c),
            '✓' => ascii.push('+'),
            '✗' => ascii.push('x'),
            '●' | '·' | '•' => ascii.push('*'),
            '…' => ascii.push('~'),
            '→' | '›' => ascii.push('>'),
            '━' | '█' => ascii.push('='),
            '─' => ascii.push('-'),
            _ => (0..c.width().unwrap_or(0)).for_each(|_| ascii.push('?')),
        }
    }
    ascii
}

/// `1,234,567`: counts as a person reads them.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 file`, `2 files`, `1,000 files`.
pub(super) fn files(count: u64) -> String {
    format!("{} file{}", grouped(count), if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quote_in_a_name_cannot_close_the_quotes() {
        assert_eq!(quoted("Bob\" (verified) \"", 40), "\"Bob' (verified) '\"");
    }

    #[test]
    fn a_pile_of_marks_stays_on_its_line() {
        let piled = one_line(&format!("a{}b", "\u{301}".repeat(10_000)), 20);
        assert!(piled.chars().count() < 16, "{}", piled.chars().count());
    }

    #[test]
    fn a_megabyte_on_one_line_keeps_its_extension() {
        let shown = one_line(&format!("{}.exe", "a".repeat(1024 * 1024)), 30);
        assert!(console::measure_text_width(&shown) <= 30 && shown.ends_with(".exe"), "{shown}");
    }

    #[test]
    fn ascii_keeps_the_width() {
        for text in ["✓ done → x…", "日本語.pdf", "é"] {
            assert_eq!(console::measure_text_width(&to_ascii(text)), console::measure_text_width(text));
        }
    }

    #[test]
    fn words_are_wrapped_and_long_ones_cut() {
        assert_eq!(wrapped("one two threefourfive", 7), ["one two", "threefo", "urfive"]);
    }

    #[test]
    fn counts_are_grouped() {
        assert_eq!(files(1), "1 file");
        assert_eq!(files(1_234_567), "1,234,567 files");
    }
}
