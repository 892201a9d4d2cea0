//! What holds of a connection's first bytes, and of what strangers say over mDNS.

pub use super::discovery::oracle::txt;

use super::sniff::{SNIFF_CAP, Sniff, sniff};
use crate::classic::{SEPARATOR, Search, find_separator};

/// Prefixes that are looked at, at either end of the bytes.
const PREFIXES: usize = 16;

/// No verdict is taken back, and each is what the bytes show.
pub fn first_bytes(bytes: &[u8]) {
    let first = 0..=bytes.len().min(PREFIXES);
    let last = bytes.len().saturating_sub(PREFIXES).max(PREFIXES + 1)..=bytes.len();
    let mut decided = None;
    for end in first.chain(last) {
        let prefix = &bytes[..end];
        let verdict = sniff(prefix);
        assert_eq!(*decided.get_or_insert(verdict), verdict, "{end} bytes");
        decided.take_if(|verdict| *verdict == Sniff::NeedMore);
        is_shown(verdict, prefix);
    }
}

fn is_shown(verdict: Sniff, prefix: &[u8]) {
    let looked_at = &prefix[..prefix.len().min(SNIFF_CAP)];
    let separator_at = match find_separator(prefix) {
        Search::Found(at) => Some(at),
        Search::NeedMore | Search::No => None,
    };
    assert_eq!(verdict == Sniff::Native, prefix.starts_with(&[0x16, 0x03]));
    match verdict {
        Sniff::Native => {}
        Sniff::Web => {
            let version = looked_at.windows(8).position(|window| window == b" HTTP/1.").expect("a version");
            assert!(separator_at.is_none_or(|at| at > version), "a separator came first");
            assert!(!looked_at[..version].iter().any(|byte| byte.is_ascii_control() || b"<>".contains(byte)));
        }
        Sniff::Classic { separator_at: at } => {
            assert_eq!(Some(at), separator_at);
            assert!(looked_at[at..].starts_with(SEPARATOR));
        }
        Sniff::NeedMore => assert!(prefix.len() < SNIFF_CAP && separator_at.is_none()),
        Sniff::Neither => assert!(prefix.len() >= SNIFF_CAP && separator_at.is_none()),
    }
}
