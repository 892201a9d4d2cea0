//! What makes one path component safe on every system.

use std::borrow::Cow;

use unicode_segmentation::UnicodeSegmentation;

use super::chars::visible;

/// Bytes of one component: the limit of ext4, APFS and most others. NTFS counts 255 UTF-16 units, which are never more.
pub const NAME_BYTES_MAX: usize = 255;

/// Longer than this, what follows the last dot is not worth keeping at the price of the name.
const EXTENSION_BYTES_MAX: usize = 32;

/// What stands for a character that may not be there.
pub(super) const SUBSTITUTE: char = '_';

/// Makes `text`, of any content and length, a safe component, or an empty string if nothing is left.
///
/// Hidden characters, separators and what Windows reserves become `_`; dots and spaces at the end, which Windows
/// strips, go; a reserved stem gets a `_`; what is longer than [`NAME_BYTES_MAX`] is cut, its extension kept.
pub(super) fn tidy(text: &str) -> Cow<'_, str> {
    if is_plain(text) { Cow::Borrowed(text) } else { Cow::Owned(made_safe(text)) }
}

/// Whether it is quickly seen that a component, if it is one, is safe as it is.
pub(super) fn is_plain(text: &str) -> bool {
    let passes = |byte: u8| byte.is_ascii_alphanumeric() || b" !#$%&'()+,-.;=@[]^_`{}~".contains(&byte);
    text.len() <= NAME_BYTES_MAX
        && text.bytes().all(passes)
        && !text.ends_with(['.', ' '])
        && !is_reserved(device_stem(text))
}

/// [`tidy`], the long way.
pub(super) fn made_safe(text: &str) -> String {
    let replaced: String = visible(text)
        .map(|c| match c {
            None | Some('\\' | '/' | ':' | '*' | '?' | '"' | '<' | '>' | '|') => SUBSTITUTE,
            Some(c) => c,
        })
        .collect();
    settle(&replaced)
}

/// [`tidy`], and a leading dot gets a `_` before it: nothing that a stranger names becomes a hidden file or the
/// configuration of a program, nor meets our own `.qrdrop-partial`.
pub(super) fn tidy_top_level(text: &str) -> String {
    undotted(&tidy(text))
}

/// Puts a `_` before a leading dot.
pub(super) fn undotted(component: &str) -> String {
    if component.starts_with('.') { settle(&format!("{SUBSTITUTE}{component}")) } else { component.to_owned() }
}

/// The part before the extension, and the extension with its dot, which may be empty.
///
/// `.tar` goes with what follows it. A leading dot begins no extension, nor does one with too much behind it.
pub(super) fn split_extension(name: &str) -> (&str, &str) {
    let Some(mut dot) = name.rfind('.').filter(|&dot| dot > 0 && name.len() - dot <= EXTENSION_BYTES_MAX) else {
        return (name, "");
    };
    if let Some(inner) = name[..dot].rfind('.')
        && inner > 0
        && name[inner..dot].eq_ignore_ascii_case(".tar")
    {
        dot = inner;
    }
    name.split_at(dot)
}

/// `name` with `suffix` before its extension, the part before both cut so that the whole fits.
pub(super) fn fit(name: &str, suffix: &str) -> String {
    let (stem, extension) = split_extension(name);
    let room = NAME_BYTES_MAX - suffix.len() - extension.len();
    if stem.len() <= room {
        return format!("{stem}{suffix}{extension}");
    }
    format!("{}{suffix}{extension}", cut(stem, room).trim_end_matches(is_trimmed))
}

/// The longest beginning of `text` that has at most `room` bytes and ends between graphemes, or between characters if
/// the first grapheme alone is longer.
pub(super) fn cut(text: &str, room: usize) -> &str {
    if text.len() <= room {
        return text;
    }
    let fitting = |index: &usize| *index <= room;
    let graphemes = text.grapheme_indices(true).map(|(index, _)| index).take_while(fitting).last().unwrap_or(0);
    let end = if graphemes > 0 {
        graphemes
    } else {
        text.char_indices().map(|(index, _)| index).take_while(fitting).last().unwrap_or(0)
    };
    &text[..end]
}

/// Trims, frees from reserved stems and fits. Cutting can bare a reserved stem (`CON`, 300 spaces, `x`), so it takes
/// a second turn, after which the stem ends in `_` and stays.
fn settle(text: &str) -> String {
    let once = |text: &str| fit(&unreserved(text.trim_end_matches(is_trimmed)), "");
    let first = once(text);
    once(&first)
}

fn is_trimmed(c: char) -> bool {
    c == '.' || c.is_whitespace()
}

/// What Windows looks at to tell a device, whatever extension or spaces follow.
fn device_stem(name: &str) -> &str {
    name.split('.').next().unwrap_or(name).trim_end()
}

/// Appends `_` to a stem that names a device on Windows.
fn unreserved(name: &str) -> String {
    let stem = device_stem(name);
    if is_reserved(stem) { format!("{stem}{SUBSTITUTE}{}", &name[stem.len()..]) } else { name.to_owned() }
}

/// Microsoft, "Naming Files, Paths, and Namespaces"; the ports also with superscript digits.
fn is_reserved(stem: &str) -> bool {
    if ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"].iter().any(|device| stem.eq_ignore_ascii_case(device)) {
        return true;
    }
    let is_port = |name: &str| ["COM", "LPT"].iter().any(|port| name.eq_ignore_ascii_case(port));
    let mut digits = stem.split_at_checked(3).filter(|(name, _)| is_port(name)).map_or("", |(_, rest)| rest).chars();
    matches!((digits.next(), digits.next()), (Some('0'..='9' | '¹' | '²' | '³'), None))
}
