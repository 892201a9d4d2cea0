//! `Range` of a request (RFC 9110, 14) and the names in headers of an answer.

use std::ops::Range;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What a `Range` field asks for of `len` bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// All of it: there is no such field, or one that a server may ignore.
    Whole,
    /// These bytes.
    Part(Range<u64>),
    /// Bytes that are not there: 416.
    Beyond,
}

/// Reads a `Range` field. Several ranges and other units are ignored, which RFC 9110 allows.
pub(super) fn asked(field: Option<&str>, len: u64) -> Asked {
    let Some(spec) = field.and_then(|field| field.strip_prefix("bytes=")) else { return Asked::Whole };
    let Some((first, last)) = spec.trim().split_once('-') else { return Asked::Whole };
    let number = |text: &str| match text.bytes().all(|b| b.is_ascii_digit()) {
        true => Some(text.parse().unwrap_or(u64::MAX)),
        false => None,
    };
    match (first.is_empty(), number(first), number(last), last.is_empty()) {
        (true, _, Some(_), true) => Asked::Whole,
        // The last so many bytes.
        (true, _, Some(0), false) => Asked::Beyond,
        (true, _, Some(count), false) if len > 0 => Asked::Part(len.saturating_sub(count)..len),
        (true, _, Some(_), false) => Asked::Beyond,
        (false, Some(first), Some(_), true) if first < len => Asked::Part(first..len),
        (false, Some(first), Some(last), false) if first <= last && first < len => {
            Asked::Part(first..last.saturating_add(1).min(len))
        }
        (false, Some(first), Some(last), false) if first > last => Asked::Whole,
        (false, Some(_), Some(_), _) => Asked::Beyond,
        _ => Asked::Whole,
    }
}

/// What RFC 8187 lets stand in an extended value.
const EXTENDED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// What RFC 3986 lets stand in a path segment without meaning something.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A `Content-Disposition` that saves under `name` (RFC 6266): whatever the name is, one clean field.
pub(super) fn attachment(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || " !#$&+-.^_`~()[]{},=@'".contains(c) { c } else { '_' };
    let fallback: String = name.chars().map(plain).collect();
    format!("attachment; filename=\"{fallback}\"; filename*=UTF-8''{}", utf8_percent_encode(name, EXTENDED))
}

/// `name` as the last segment of a path.
pub(super) fn segment(name: &str) -> String {
    utf8_percent_encode(name, SEGMENT).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_read_as_rfc_9110_has_them() {
        for (field, expected) in [
            (None, Asked::Whole),
            (Some("bytes=0-"), Asked::Part(0..10)),
            (Some("bytes=0-0"), Asked::Part(0..1)),
            (Some("bytes=4-99"), Asked::Part(4..10)),
            (Some("bytes=-3"), Asked::Part(7..10)),
            (Some("bytes=-99"), Asked::Part(0..10)),
            (Some("bytes=-0"), Asked::Beyond),
            (Some("bytes=10-"), Asked::Beyond),
            (Some("bytes=18446744073709551616-"), Asked::Beyond),
            (Some("bytes=5-2"), Asked::Whole),
            (Some("bytes=0-1,4-5"), Asked::Whole),
            (Some("bytes=-"), Asked::Whole),
            (Some("bytes=a-b"), Asked::Whole),
            (Some("pages=1-2"), Asked::Whole),
        ] {
            assert_eq!(asked(field, 10), expected, "{field:?}");
        }
        assert_eq!(asked(Some("bytes=0-"), 0), Asked::Beyond);
        assert_eq!(asked(Some("bytes=-1"), 0), Asked::Beyond);
    }

    #[test]
    fn f08_a_name_of_any_kind_makes_one_clean_field() {
        let field = attachment("a\r\nX-Evil: 1\"; filename=b;\\ ü\u{202e}.txt");
        assert!(field.bytes().all(|b| (0x20..0x7f).contains(&b)), "{field}");
        assert_eq!(field.matches('"').count(), 2, "{field}");
        assert_eq!(field.matches(';').count(), 2, "{field}");
        assert!(field.ends_with("%C3%BC%E2%80%AE.txt"), "{field}");
    }
}
