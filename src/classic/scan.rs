use std::cmp::Ordering;

use super::{ClassicError, HEADER_CAP, SEPARATOR, SIZE_DIGITS, Search, find_separator};

/// Reads a classic stream from its first byte to its end, in whatever pieces it arrives.
///
/// Memory is bounded by [`HEADER_CAP`] and the digits of one size. What [`Scan::push`] returns is the file as far as
/// the likeliest reading of the size goes; only [`Scan::finish`] knows, and tells what is left to repair.
#[derive(Debug, Default)]
pub struct Scan {
    /// Bytes before the separator.
    head: Vec<u8>,
    /// The decoded `head`, from the moment the separator was seen.
    name: Option<String>,
    /// The first [`SIZE_DIGITS`] digits after the separator.
    digits: Vec<u8>,
    /// Length of the whole run of digits.
    run: u64,
    /// Whether a byte that is no digit has ended the run.
    run_ended: bool,
    /// Bit `k` is set if a read ended right after the `k`-th digit, for `k` up to [`SIZE_DIGITS`].
    ends: u32,
    /// Whether a read ended after a later digit.
    ended_beyond: bool,
    /// Bytes after the separator.
    total: u64,
    /// How many digits were taken for the size when the first data was handed out.
    guess: Option<usize>,
}

/// What the digits read so far say about the size, in bytes. Both may still grow while nothing but digits has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// The likeliest size: for progress and for the space to reserve.
    pub likely: u64,
    /// The largest possible one; [`Scan::push`] refuses what goes beyond.
    pub at_most: u64,
}

/// A stream that was whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whole {
    /// Name as the sender said it, invalid UTF-8 replaced; may be empty or hostile.
    pub name: String,
    /// Size of the file in bytes.
    pub size: u64,
    /// What makes the bytes handed out by [`Scan::push`] the file.
    pub repair: Repair,
}

/// How the bytes that [`Scan::push`] handed out differ from the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Repair {
    /// They are the file.
    None,
    /// These bytes belong before them.
    Prepend(Vec<u8>),
    /// This many of them, at the front, belong to the size.
    DropFront(usize),
}

/// One way to read the digits: the first `digits` of them say `size`.
#[derive(Debug, Clone, Copy)]
struct Reading {
    digits: usize,
    size: u64,
}

impl Reading {
    /// Bytes after the separator that this reading explains; wide, since `u64::MAX` and its 20 digits exceed a `u64`.
    fn total(self) -> u128 {
        u128::from(self.size) + self.digits as u128
    }
}

impl Scan {
    /// A scan that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what one read returned and hands back what it adds to the file: append both slices, in this order.
    ///
    /// Where reads end is evidence, so give each read whole and on its own. Bytes that were read before, to find out
    /// the dialect, count as one read as long as that reading stopped at the first separator. Read into 8 KiB or more:
    /// such a buffer cannot be full exactly at the end of a header.
    ///
    /// # Errors
    ///
    /// [`ClassicError::NoSeparator`], [`ClassicError::NoSize`] and [`ClassicError::TooMuch`], each as soon as it is
    /// certain and before any of `read` is handed out. The stream is over then.
    pub fn push<'a>(&'a mut self, read: &'a [u8]) -> Result<[&'a [u8]; 2], ClassicError> {
        let after = match self.name {
            Some(_) => read,
            None => self.push_head(read)?,
        };
        if after.is_empty() {
            return Ok([&[], &[]]);
        }
        let held = self.push_digits(after);
        self.total += after.len() as u64;
        let claim = self.claim().ok_or(ClassicError::NoSize)?;
        if self.largest().is_some_and(|largest| u128::from(self.total) > largest.total()) {
            return Err(ClassicError::TooMuch { at_most: claim.at_most });
        }

        let data = &after[held..];
        if data.is_empty() || self.guess.is_some() {
            return Ok([&[], data]);
        }
        let guess = self.likeliest().map_or(self.digits.len(), |reading| reading.digits);
        self.guess = Some(guess);
        Ok([&self.digits[guess..], data])
    }

    /// How many of the next bytes are of the file whatever the size turns out to be, and need not be looked at:
    /// [`Scan::pass`] may take them in place of [`Scan::push`], in any pieces. 0 while reads are still evidence, and again
    /// when all that may come has come.
    pub fn opaque(&self) -> u64 {
        let evidence_is_in = self.guess.is_some() && (self.run_ended || self.ended_beyond);
        let most = self.largest().filter(|_| evidence_is_in).map_or(0, Reading::total);
        u64::try_from(most.saturating_sub(u128::from(self.total))).unwrap_or(u64::MAX)
    }

    /// Counts bytes that went into the file unseen, right after what [`Scan::push`] handed out: at most
    /// [`Scan::opaque`].
    pub fn pass(&mut self, bytes: u64) {
        debug_assert!(bytes <= self.opaque());
        self.total += bytes;
    }

    /// The name as the sender said it, from the moment the separator was seen; invalid UTF-8 replaced.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// What the size may be, from its first digit on.
    pub fn claim(&self) -> Option<Claim> {
        Some(Claim { likely: self.likeliest()?.size, at_most: self.largest()?.size })
    }

    /// Whether [`Scan::claim`] is final: something that is no digit has arrived, or more digits than a size has.
    pub fn is_settled(&self) -> bool {
        self.run_ended || self.run > SIZE_DIGITS as u64
    }

    /// The stream ended in order: solves it. See the [module](super) for the rule.
    ///
    /// # Errors
    ///
    /// [`ClassicError::HeaderCut`], [`ClassicError::Incomplete`] or [`ClassicError::MaybeCut`]: nothing may be stored.
    pub fn finish(self) -> Result<Whole, ClassicError> {
        let likeliest = self.likeliest().ok_or(ClassicError::HeaderCut)?;
        let Some(solved) = self.readings().find(|reading| reading.total() == u128::from(self.total)) else {
            let received = self.total.saturating_sub(likeliest.digits as u64);
            return Err(ClassicError::Incomplete { received, announced: likeliest.size });
        };
        if !self.is_believed(solved.digits) {
            return Err(ClassicError::MaybeCut { size: solved.size });
        }
        let handed_out_from = self.guess.unwrap_or(self.digits.len());
        let repair = match solved.digits.cmp(&handed_out_from) {
            Ordering::Equal => Repair::None,
            Ordering::Less => Repair::Prepend(self.digits[solved.digits..handed_out_from].to_vec()),
            Ordering::Greater => Repair::DropFront(solved.digits - handed_out_from),
        };
        Ok(Whole { name: self.name.unwrap_or_default(), size: solved.size, repair })
    }

    /// Takes bytes up to and including the separator; returns what follows it.
    fn push_head<'a>(&mut self, read: &'a [u8]) -> Result<&'a [u8], ClassicError> {
        let before = self.head.len();
        self.head.extend_from_slice(&read[..read.len().min(HEADER_CAP - before)]);
        let unsearched = before.saturating_sub(SEPARATOR.len() - 1);
        match find_separator(&self.head[unsearched..]) {
            Search::Found(index) => {
                let name_len = unsearched + index;
                self.name = Some(String::from_utf8_lossy(&self.head[..name_len]).into_owned());
                self.head = Vec::new();
                Ok(&read[name_len + SEPARATOR.len() - before..])
            }
            _ if self.head.len() < HEADER_CAP => Ok(&[]),
            _ => Err(ClassicError::NoSeparator),
        }
    }

    /// Takes the digits at the front of `after` and notes whether the read ended within the run;
    /// returns how many of them are held.
    fn push_digits(&mut self, after: &[u8]) -> usize {
        if self.run_ended {
            return 0;
        }
        let count = after.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let held = count.min(SIZE_DIGITS - self.digits.len());
        self.digits.extend_from_slice(&after[..held]);
        self.run += count as u64;
        self.run_ended = count < after.len();
        if !self.run_ended {
            if self.run <= SIZE_DIGITS as u64 {
                self.ends |= 1 << self.run;
            } else {
                self.ended_beyond = true;
            }
        }
        held
    }

    /// Every way to read the digits held, the shortest first.
    fn readings(&self) -> impl Iterator<Item = Reading> + '_ {
        let longest = if self.digits.first() == Some(&b'0') { 1 } else { SIZE_DIGITS };
        let sizes = self.digits.iter().take(longest).scan(0_u64, |size, digit| {
            *size = size.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
            Some(*size)
        });
        sizes.enumerate().map(|(index, size)| Reading { digits: index + 1, size })
    }

    fn largest(&self) -> Option<Reading> {
        self.readings().last()
    }

    /// The reading whose last digit is the only one after which a read ended (the tutorial's sender says its header by
    /// itself), else the longest.
    fn likeliest(&self) -> Option<Reading> {
        let lone_end = (self.ends.count_ones() == 1).then(|| self.ends.trailing_zeros() as usize);
        self.readings().find(|reading| Some(reading.digits) == lone_end).or_else(|| self.largest())
    }

    /// Whether the evidence of the reads allows a size of `k` digits.
    fn is_believed(&self, k: usize) -> bool {
        let ended_at_k = self.ends & (1 << k) != 0;
        let ended_later = self.ended_beyond || self.ends >> (k + 1) != 0;
        k as u64 == self.run || ended_at_k || !ended_later
    }
}
