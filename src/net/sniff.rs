//! Which of the three dialects the first bytes of a connection speak (product.md 3).
//!
//! Every rule looks at the bytes in order and none ever takes a verdict back, so the way in which the bytes were cut
//! into segments cannot change it.

use crate::classic::{HEADER_CAP, SEPARATOR};

/// How many first bytes may be needed for a verdict, and never more are looked at.
pub const SNIFF_CAP: usize = HEADER_CAP;

/// The longest method name that is taken for HTTP; the longest registered one has 17 letters (`UPDATEREDIRECTREF`).
const METHOD_MAX: usize = 32;

/// A verdict on the first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sniff {
    /// The start of a TLS record.
    Native,
    /// The start of an HTTP/1 request.
    Web,
    /// The tutorial's header.
    Classic {
        /// Where `<SEPARATOR>` begins.
        separator_at: usize,
    },
    /// No verdict yet.
    NeedMore,
    /// None of them, whatever may follow.
    Neither,
}

/// Tells what `prefix`, all the first bytes of a connection so far, is the start of.
///
/// [`Sniff::NeedMore`] at the end of the stream means that it was nothing.
pub fn sniff(prefix: &[u8]) -> Sniff {
    let prefix = &prefix[..prefix.len().min(SNIFF_CAP)];
    let undecided = if prefix.len() < SNIFF_CAP { Sniff::NeedMore } else { Sniff::Neither };
    match prefix {
        [] | [0x16] => return undecided,
        [0x16, 0x03, ..] => return Sniff::Native,
        _ => {}
    }
    match request_line(prefix) {
        Match::Yes => Sniff::Web,
        Match::Maybe => undecided,
        Match::No => match prefix.windows(SEPARATOR.len()).position(|window| window == SEPARATOR) {
            Some(separator_at) => Sniff::Classic { separator_at },
            None => undecided,
        },
    }
}

enum Match {
    Yes,
    Maybe,
    No,
}

/// Matches `METHOD SP target SP HTTP/1.` against the start of `bytes`.
///
/// A target holds neither `<` nor a control character (RFC 3986), nor does a method, so no `<SEPARATOR>` can have
/// passed while this still says maybe. Methods are case-sensitive (RFC 9110, 9.1), and all that exist are upper case.
fn request_line(bytes: &[u8]) -> Match {
    let is_method = |b: &u8| b.is_ascii_uppercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
    let is_target = |b: &u8| (b.is_ascii_graphic() && !matches!(b, b'<' | b'>')) || !b.is_ascii();

    let method = bytes.iter().take_while(|b| is_method(b)).count();
    match bytes.get(method) {
        _ if method > METHOD_MAX => return Match::No,
        None => return Match::Maybe,
        Some(b' ') if method > 0 => {}
        Some(_) => return Match::No,
    }
    let rest = &bytes[method + 1..];
    let target = rest.iter().take_while(|b| is_target(b)).count();
    match rest.get(target) {
        None => return Match::Maybe,
        Some(b' ') if target > 0 => {}
        Some(_) => return Match::No,
    }
    let version = &rest[target + 1..];
    let expected = b"HTTP/1.";
    let common = version.len().min(expected.len());
    match version[..common] == expected[..common] {
        true if common == expected.len() => Match::Yes,
        true => Match::Maybe,
        false => Match::No,
    }
}

#[cfg(test)]
mod tests;
