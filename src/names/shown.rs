//! A stranger's text on one line of a terminal.

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::chars::{is_stacked, visible};
use super::component::split_extension;

/// Marks in a row that are shown on one character: no writing system needs as many, a pile of them covers other lines.
const STACKED_MAX: usize = 8;

/// Stands for a hidden character.
const HIDDEN: char = char::REPLACEMENT_CHARACTER;

/// Carries marks that have no character before them and would fall onto our own text.
const CARRIER: char = '\u{25cc}';

/// Stands for what was left out.
const ELLIPSIS: char = '…';

/// `text` as it can stand on one line of a terminal: it cannot move the cursor, begin a line, turn the direction
/// of writing or hide anything. What hides becomes U+FFFD; piles of combining marks are cut down. Not shortened: see
/// [`elide`].
pub fn inert(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut stacked = 0;
    for c in visible(text).map(|c| c.unwrap_or(HIDDEN)) {
        if !is_stacked(c) {
            stacked = 0;
        } else if shown.is_empty() {
            shown.push(CARRIER);
            stacked = 1;
        } else {
            stacked += 1;
        }
        if stacked <= STACKED_MAX {
            shown.push(c);
        }
    }
    shown
}

/// Columns that `text` takes on a terminal, at most: emoji joined into one count as drawn apart, since terminals differ.
pub fn columns(text: &str) -> usize {
    text.graphemes(true).map(grapheme_columns).sum()
}

/// `text` made [`inert`] and at most `columns_max` wide; what does not fit is left out in the middle, so that the
/// beginning and the extension stay in sight.
pub fn elide(text: &str, columns_max: usize) -> String {
    let text = inert(text);
    if columns(&text) <= columns_max {
        return text;
    }
    let Some(room) = columns_max.checked_sub(1) else { return String::new() };
    let (_, extension) = split_extension(text.rsplit('/').next().unwrap_or(&text));
    let tail_room = (room / 2).max(columns(extension)).min(room);

    let mut tail_columns = 0;
    let tail = text
        .grapheme_indices(true)
        .rev()
        .take_while(|(_, grapheme)| {
            tail_columns += grapheme_columns(grapheme);
            tail_columns <= tail_room
        })
        .last()
        .map_or("", |(index, _)| &text[index..]);

    let mut head_room = room - columns(tail);
    let head: String = text
        .graphemes(true)
        .take_while(|grapheme| {
            let fits = grapheme_columns(grapheme) <= head_room;
            head_room = head_room.saturating_sub(grapheme_columns(grapheme));
            fits
        })
        .collect();
    format!("{head}{ELLIPSIS}{tail}")
}

fn grapheme_columns(grapheme: &str) -> usize {
    let apart = grapheme.chars().filter_map(UnicodeWidthChar::width).sum();
    grapheme.width().max(apart)
}
