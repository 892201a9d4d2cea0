//! Which characters show, which hide, and which hide only in the wrong company.

use unicode_normalization::char::is_combining_mark;
use unicode_width::UnicodeWidthChar;

/// Whether `c` is invisible or changes how its neighbours are shown: control, C1, bidirectional control, invisible
/// formatting, line separator, blank letter, noncharacter.
///
/// Joiners and variation selectors (see `is_joiner`) are not among them: emoji, Persian and Indic scripts
/// need them. Nor are the visible format characters, such as the Arabic number signs.
pub fn is_hidden_char(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{70f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180e}'
            | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{fdd0}'..='\u{fdef}' | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e00ff}' | '\u{e01f0}'..='\u{e0fff}')
        || c as u32 & 0xfffe == 0xfffe
}

/// Whether `c` is invisible by itself but legitimate after the right character: ZWNJ, ZWJ, variation selectors,
/// the combining grapheme joiner.
pub(super) fn is_joiner(c: char) -> bool {
    matches!(c,
        '\u{34f}' | '\u{180b}'..='\u{180d}' | '\u{180f}' | '\u{200c}' | '\u{200d}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}')
}

/// Whether `c` is drawn onto what stands before it, taking no room of its own.
pub(super) fn is_stacked(c: char) -> bool {
    is_combining_mark(c) || c.width() == Some(0)
}

/// Each character of `text`, or `None` in place of one that hides.
///
/// A joiner counts as hiding unless it follows a visible character outside ASCII (or a variation selector that does),
/// where writing systems and emoji use it. After ASCII it would only tell apart two names that look the same; the one
/// exception is the keycap, such as `1` U+FE0F U+20E3.
pub(super) fn visible(text: &str) -> impl Iterator<Item = Option<char>> + '_ {
    let mut before = None;
    let mut chars = text.chars().peekable();
    std::iter::from_fn(move || {
        let c = chars.next()?;
        let shown = if is_joiner(c) {
            let keycap =
                c == '\u{fe0f}' && matches!(before, Some('0'..='9' | '#' | '*')) && chars.peek() == Some(&'\u{20e3}');
            keycap || before.is_some_and(|before| can_join(before, c))
        } else {
            !is_hidden_char(c)
        };
        before = shown.then_some(c);
        Some(before)
    })
}

/// Whether the joiner `c` is legitimate right after `before`.
fn can_join(before: char, c: char) -> bool {
    let selects_variation = |c| is_joiner(c) && !matches!(c, '\u{200c}' | '\u{200d}');
    if is_joiner(before) {
        return selects_variation(before) && !selects_variation(c);
    }
    !before.is_ascii() && !before.is_whitespace()
}
