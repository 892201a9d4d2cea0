//! The tutorial's protocol: `filename<SEPARATOR>filesize`, then the bytes of the file until the stream ends.
//!
//! Pure: no socket, no file, no clock. A receiver feeds what each read returned to a [`Scan`] and appends what it
//! gets back to a partial file; [`Scan::finish`] then says whether the stream was whole and how the partial becomes
//! the file.
//!
//! # Where the header ends
//!
//! The header has no terminator, so a file that begins with digits runs into its own size. Let `total` be the number
//! of bytes after the separator and `n` the length of the run of ASCII digits they begin with. The size is the `k` in
//! `1..=n` for which `int(first k digits) + k == total`; the left side grows strictly with `k`, so there is at most
//! one. It is believed only if `k == n`, or a read ended right after the `k`-th digit, or no read ended after one of
//! the digits `k + 1..=n` (the end of the stream counts). Otherwise the digits may be the header of a larger file that
//! was cut: `x<SEPARATOR>12` and nothing more is the start of 12 bytes rather than the file `2`.
//!
//! Two things cannot be decided and are part of the threat model: a cut inside the one segment that holds header and
//! data, and a cut inside the size itself when the segments happen to end between its digits.
//!
//! A size is plain decimal as the tutorial prints it: no sign, no space, at most [`u64::MAX`], and a leading zero only
//! in `0` itself. `0` followed by anything is therefore an empty file with too many bytes, never a padded size, or a
//! file that grew while it was sent could be stored as a part of itself.

#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod oracle;
mod scan;
#[cfg(test)]
mod tests;

pub use scan::{Claim, Repair, Scan, Whole};

/// What stands between name and size.
pub const SEPARATOR: &[u8] = b"<SEPARATOR>";

/// The separator must lie within this many bytes: the tutorial's receiver takes its header from one read of this size.
pub const HEADER_CAP: usize = 4_096;

/// Decimal digits of [`u64::MAX`]: more cannot be a size.
const SIZE_DIGITS: usize = 20;

/// Why a classic stream is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClassicError {
    /// No separator within [`HEADER_CAP`] bytes: this is not the classic dialect.
    #[error("the sender said no `<SEPARATOR>` within `{HEADER_CAP}` bytes")]
    NoSeparator,
    /// The separator is followed by something that is not a decimal digit.
    #[error("the sender gave no plain decimal size after `<SEPARATOR>`")]
    NoSize,
    /// The stream ended before the first digit of the size.
    #[error("the sender closed the connection within the header")]
    HeaderCut,
    /// More bytes arrived than any reading of the size allows.
    #[error("the sender sent more than the `{at_most}` bytes it announced")]
    TooMuch {
        /// The largest size in bytes that the digits can mean.
        at_most: u64,
    },
    /// The stream ended and no reading of the size explains its length.
    #[error("the sender stopped after `{received}` of `{announced}` bytes")]
    Incomplete {
        /// Bytes that arrived, by the likeliest reading.
        received: u64,
        /// Size in bytes, by the likeliest reading.
        announced: u64,
    },
    /// The length fits, but so would the cut header of a larger file.
    #[error("the sender may have been cut off within the size: a file of `{size}` bytes would fit, but so would more")]
    MaybeCut {
        /// The size in bytes that would fit.
        size: u64,
    },
}

/// What the first bytes of a connection show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Search {
    /// The separator begins at this index.
    Found(usize),
    /// Not yet; more bytes may show it.
    NeedMore,
    /// Not within [`HEADER_CAP`] bytes.
    No,
}

/// Looks for the separator in the first bytes of a connection.
pub fn find_separator(prefix: &[u8]) -> Search {
    let searched = &prefix[..prefix.len().min(HEADER_CAP)];
    match searched.windows(SEPARATOR.len()).position(|window| window == SEPARATOR) {
        Some(index) => Search::Found(index),
        None if searched.len() < HEADER_CAP => Search::NeedMore,
        None => Search::No,
    }
}

/// The header that a sender says, byte for byte what the tutorial's receiver splits in two.
///
/// A separator inside `name` becomes `_`, and a name that would not let the header fit into [`HEADER_CAP`] bytes is cut.
pub fn header(name: &str, size: u64) -> Vec<u8> {
    let separator = std::str::from_utf8(SEPARATOR).expect("the separator is ASCII");
    let name = name.replace(separator, "_");
    let cap = name.len().min(HEADER_CAP - SEPARATOR.len() - SIZE_DIGITS);
    let end = (0..=cap).rev().find(|&index| name.is_char_boundary(index)).unwrap_or(0);
    let name = &name[..end];
    format!("{name}{separator}{size}").into_bytes()
}
