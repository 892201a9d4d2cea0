//! A question as it looks. Everything in it that a peer said is quoted, and the keys are visible at any width.

use std::time::Duration;

use crate::events::{EntryKind, Label, Offer, OfferedEntry, Peer, Question, Way};
use crate::names::{human_bytes, human_duration};
use crate::ui::prompt::asker;
use crate::ui::style::{Style, files, grouped, one_line, padded, quoted, wrapped};

/// How a peer is named where room is short: what it says, or where it is.
pub(in crate::ui) fn called(peer: &Peer, columns: usize) -> String {
    if peer.name.is_empty() { peer.address.to_string() } else { quoted(&peer.name, columns) }
}

/// Everything about the question except the line that is answered; at most `rows` lines of `columns` columns.
pub(in crate::ui) fn card(question: &Question, style: Style, columns: usize, rows: usize) -> Vec<String> {
    let mut lines = match question {
        Question::Accept { way, offer, note } => offer_card(*way, offer, note.as_deref(), style, columns, rows),
        Question::Join { peer, label, note } => join_card(peer, *label, note.as_deref(), style, columns),
        Question::SameCode { peer, code } => code_card(peer, code, style, columns),
    };
    lines.truncate(rows);
    lines
}

fn peer_lines(peer: &Peer, style: Style, columns: usize) -> Vec<String> {
    let who = if peer.name.is_empty() { "unnamed".to_owned() } else { quoted(&peer.name, columns.saturating_sub(2)) };
    let address = peer.address.to_string();
    let mut lines = vec![style.bold(&who)];
    // A peer without a key is known by its address alone, and that stands below anyway.
    if peer.id != address && peer.id != peer.address.ip().to_string() {
        lines.push(format!("{} {}", style.dim("key "), one_line(&peer.id, columns.saturating_sub(5))));
    }
    lines.push(format!("{} {}", style.dim("from"), one_line(&address, columns.saturating_sub(5))));
    lines
}

fn join_card(peer: &Peer, label: Label, note: Option<&str>, style: Style, columns: usize) -> Vec<String> {
    let mut lines = peer_lines(peer, style, columns);
    lines.push(style.label(label));
    lines.push(String::new());
    lines.push(style.bold(&one_line("wants to read and talk here", columns)));
    let notes = note.map_or_else(Vec::new, |note| wrapped(&one_line(note, 4 * columns), columns));
    lines.extend(notes.iter().map(|line| style.warn(line)));
    lines
}

fn offer_card(way: Way, offer: &Offer, note: Option<&str>, style: Style, columns: usize, rows: usize) -> Vec<String> {
    let mut lines = peer_lines(&offer.peer, style, columns);
    lines.push(style.label(offer.label));
    lines.push(String::new());
    let wish = match way {
        Way::In => "offers",
        Way::Out => "wants",
    };
    lines.extend(wrapped(&format!("{wish} {}", contents(offer)), columns).into_iter().map(|line| style.bold(&line)));
    let notes = note.map_or_else(Vec::new, |note| wrapped(&one_line(note, 4 * columns), columns));
    let hidden = offer.entries.iter().filter(|entry| is_hidden(entry)).count();
    let tail_rows = notes.len() + usize::from(hidden > 0);
    // One row is for "and N more".
    let room = rows.saturating_sub(lines.len() + tail_rows + 1).clamp(1, 12);
    lines.extend(offer.entries.iter().take(room).map(|entry| entry_line(entry, columns)));
    let more = offer.entries.len().saturating_sub(room) as u64 + offer.entries_left_out;
    if more > 0 {
        lines.push(style.dim(&format!("  and {} more", grouped(more))));
    }
    if hidden > 0 {
        let at_least = if offer.entries_left_out > 0 { "at least " } else { "" };
        let text = format!("{at_least}{} hidden (name with a dot)", grouped(hidden as u64));
        lines.push(style.warn(&one_line(&text, columns)));
    }
    lines.extend(notes.into_iter().map(|line| style.warn(&line)));
    lines
}

/// What an offer of nothing but a text is called.
pub(in crate::ui) const A_TEXT: &str = "a text";

/// `1,000 files, 214 MB`, or [`A_TEXT`].
pub(in crate::ui) fn contents(offer: &Offer) -> String {
    if offer.files == 1 && matches!(offer.entries.as_slice(), [entry] if entry.kind == EntryKind::Text) {
        return A_TEXT.to_owned();
    }
    let size = offer.bytes.map_or_else(|| "size unknown".to_owned(), human_bytes);
    format!("{}, {size}", files(offer.files))
}

fn is_hidden(entry: &OfferedEntry) -> bool {
    entry.name.split('/').any(|component| component.starts_with('.'))
}

fn entry_line(entry: &OfferedEntry, columns: usize) -> String {
    let size = entry.bytes.map_or_else(|| "?".to_owned(), human_bytes);
    let name_columns = columns.saturating_sub(size.len() + 4).max(8);
    format!("  {} {size}", padded(&quoted(&entry.name, name_columns - 2), name_columns))
}

fn code_card(peer: &Peer, code: &str, style: Style, columns: usize) -> Vec<String> {
    let mut lines = peer_lines(peer, style, columns);
    lines.push(String::new());
    let large = large(code);
    if style.has_unicode() && large.iter().all(|row| console::measure_text_width(row) <= columns) {
        lines.extend(large);
        lines.push(String::new());
    }
    lines.push(style.bold(&spaced(code)));
    lines.push(String::new());
    lines.extend(wrapped("compare it with the other screen: only the same code keeps others out", columns));
    lines
}

/// `493 027`.
pub(in crate::ui) fn spaced(code: &str) -> String {
    match code.split_at_checked(3) {
        Some((first, second)) => format!("{first} {second}"),
        None => code.to_owned(),
    }
}

/// Digits of 3 x 5 pixels, a row of three bits after the other.
const DIGITS: [[u8; 5]; 10] = [
    [7, 5, 5, 5, 7],
    [2, 6, 2, 2, 7],
    [7, 1, 7, 4, 7],
    [7, 1, 3, 1, 7],
    [5, 5, 7, 1, 1],
    [7, 4, 7, 1, 7],
    [7, 4, 7, 5, 7],
    [7, 1, 1, 2, 2],
    [7, 5, 7, 5, 7],
    [7, 5, 7, 1, 7],
];

/// The code in three rows of half blocks.
fn large(code: &str) -> [String; 3] {
    std::array::from_fn(|row| {
        let mut line = String::from("  ");
        for (at, digit) in code.chars().filter_map(|c| c.to_digit(10)).enumerate() {
            let pixels = DIGITS[digit as usize];
            let (above, below) = (pixels[2 * row], pixels.get(2 * row + 1).copied().unwrap_or(0));
            for bit in [4, 2, 1] {
                line.push(match (above & bit > 0, below & bit > 0) {
                    (true, true) => '█',
                    (true, false) => '▀',
                    (false, true) => '▄',
                    (false, false) => ' ',
                });
            }
            line.push_str(if at == 2 { "    " } else { " " });
        }
        line.trim_end().to_owned()
    })
}

/// The one line that is answered, keys visible at any width.
pub(in crate::ui) fn answer_line(
    question: &Question,
    waiting: usize,
    left: Option<Duration>,
    style: Style,
    columns: usize,
) -> String {
    let (keys, what) = match question {
        Question::Accept { way: Way::In, offer, .. } => ("[Y/n]", format!("take {}", contents(offer))),
        Question::Accept { way: Way::Out, offer, .. } => ("[y/N]", format!("give {}", contents(offer))),
        Question::Join { .. } => ("[y/N]", "let it into the room".to_owned()),
        Question::SameCode { code, .. } => ("[y/N]", format!("is {} on the other screen too", spaced(code))),
    };
    let block = "  b: no, and block";
    let mut rest = if waiting > 0 { format!("  ({} more waiting)", grouped(waiting as u64)) } else { String::new() };
    // Told only when it begins to matter, so that the line does not change under the reader's eyes.
    if let Some(left) = left.filter(|left| *left <= Duration::from_secs(30)) {
        rest = format!("  {}{rest}", human_duration(left.as_secs_f64().ceil()));
    }
    let room = columns.saturating_sub(keys.len() + 2);
    let peer = asker(question);
    let long = match question {
        Question::Accept { way: Way::In, .. } => format!("{what} from {}", called(peer, 24)),
        Question::Accept { way: Way::Out, .. } => format!("{what} to {}", called(peer, 24)),
        Question::Join { .. } => format!("let {} into the room", called(peer, 24)),
        Question::SameCode { .. } => what.clone(),
    };
    let asked = [long, what].into_iter().find(|text| console::measure_text_width(text) <= room);
    let asked = asked.unwrap_or_else(|| if room >= 4 { "take".into() } else { String::new() });
    let mut line = format!("{}{} {}", style.bold(&asked), if asked.is_empty() { "" } else { "?" }, style.accent(keys));
    for extra in [block, &rest] {
        if console::measure_text_width(&line) + console::measure_text_width(extra) <= columns {
            line.push_str(&style.dim(extra));
        }
    }
    line
}
