//! The compared code: six digits that two people read to each other where no link was passed.
//!
//! A code cut from the exporter alone can be ground by whoever stands between: handshakes are cheap, and a million of
//! them give a match. So the host commits to its half before it sees the guest's, and neither can steer the result
//! (the order of ZRTP, RFC 6189 4.4):
//!
//! ```text
//! host  -> guest   commit = SHA-256("sas-c" || r_S || E || fp_S || fp_C)
//! guest -> host    r_C                                             32 random bytes
//! host  -> guest   r_S                                             32 random bytes
//! guest            checks commit
//! both             HKDF-SHA256(ikm = r_S || r_C, salt = E, info = "sas-v1" || fp_S || fp_C, 8)
//!                  as a big-endian number modulo 1 000 000
//! ```
//!
//! `E`, `fp_S` (the TLS server, who hosts) and `fp_C` are those of [`Binding`]. Each step consumes the one before, so
//! a connection can reveal once and the guest's half can't exist before the commitment is there.

use std::fmt;
use std::time::{Duration, Instant};

use ring::{digest, hkdf};
use zeroize::Zeroizing;

use super::{Binding, random};

/// Length in bytes of each side's random half.
pub const NONCE_BYTES: usize = 32;

/// Length in bytes of the commitment.
pub const COMMIT_BYTES: usize = 32;

/// How many codes there are. Of 64 bits modulo this the most and the least likely differ by less than 10^-13.
const CODES: u64 = 1_000_000;

/// Mismatches within [`MISMATCH_WINDOW`] that close this way of pairing: each is a chance of 10^-6 for an attacker.
const MAX_MISMATCHES: usize = 3;

/// How long a mismatch counts.
const MISMATCH_WINDOW: Duration = Duration::from_secs(10 * 60);

/// The code, shown on both screens and good for nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SixDigits(u32);

impl fmt::Display for SixDigits {
    /// Six digits with their leading zeros and no space.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:06}", self.0)
    }
}

/// The host's half was not the one it had committed to: someone is in between, or the host is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the other side changed its half of the code after promising it")]
pub struct BrokenPromise;

/// The host, who has committed and waits for the guest's half.
pub struct Committed {
    binding: Binding,
    host_nonce: Zeroizing<[u8; NONCE_BYTES]>,
}

impl Committed {
    /// Draws the host's half for this connection.
    pub fn new(binding: Binding) -> Committed {
        Committed { binding, host_nonce: random() }
    }

    /// The commitment to send first.
    pub fn commit(&self) -> [u8; COMMIT_BYTES] {
        commitment(&self.binding, &self.host_nonce)
    }

    /// Takes the guest's half; gives the host's, which is to be sent now, and the code.
    pub fn reveal(self, guest_nonce: &[u8; NONCE_BYTES]) -> ([u8; NONCE_BYTES], SixDigits) {
        (*self.host_nonce, digits(&self.binding, &self.host_nonce, guest_nonce))
    }
}

/// The guest, who has the commitment and waits for what it hides.
pub struct Awaiting {
    binding: Binding,
    commit: [u8; COMMIT_BYTES],
    guest_nonce: [u8; NONCE_BYTES],
}

impl Awaiting {
    /// Draws the guest's half, now that the host is bound to its own.
    pub fn new(binding: Binding, commit: [u8; COMMIT_BYTES]) -> Awaiting {
        Awaiting { binding, commit, guest_nonce: *random() }
    }

    /// The guest's half, to be sent.
    pub fn nonce(&self) -> [u8; NONCE_BYTES] {
        self.guest_nonce
    }

    /// Takes the host's half and gives the code.
    ///
    /// # Errors
    ///
    /// [`BrokenPromise`] if it is not what the host had committed to; the connection must end.
    pub fn check(self, host_nonce: &[u8; NONCE_BYTES]) -> Result<SixDigits, BrokenPromise> {
        // Nothing here is secret any more, so an ordinary comparison will do.
        if commitment(&self.binding, host_nonce) != self.commit {
            return Err(BrokenPromise);
        }
        Ok(digits(&self.binding, host_nonce, &self.guest_nonce))
    }
}

impl fmt::Debug for Committed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Committed").field("binding", &self.binding).finish_non_exhaustive()
    }
}

impl fmt::Debug for Awaiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Awaiting").field("binding", &self.binding).finish_non_exhaustive()
    }
}

fn commitment(binding: &Binding, host_nonce: &[u8; NONCE_BYTES]) -> [u8; COMMIT_BYTES] {
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(b"sas-c");
    hash.update(host_nonce);
    hash.update(&binding.exporter);
    hash.update(binding.server.as_bytes());
    hash.update(binding.client.as_bytes());
    let mut commit = [0; COMMIT_BYTES];
    commit.copy_from_slice(hash.finish().as_ref());
    commit
}

fn digits(binding: &Binding, host_nonce: &[u8; NONCE_BYTES], guest_nonce: &[u8; NONCE_BYTES]) -> SixDigits {
    let mut halves = Zeroizing::new([0; 2 * NONCE_BYTES]);
    halves[..NONCE_BYTES].copy_from_slice(host_nonce);
    halves[NONCE_BYTES..].copy_from_slice(guest_nonce);
    let info: [&[u8]; 3] = [b"sas-v1", binding.server.as_bytes(), binding.client.as_bytes()];
    let mut output = [0; 8];
    hkdf::Salt::new(hkdf::HKDF_SHA256, &binding.exporter)
        .extract(halves.as_slice())
        .expand(&info, EightBytes)
        .and_then(|okm| okm.fill(&mut output))
        .expect("eight bytes are within what HKDF expands to");
    // The remainder is below a million.
    SixDigits((u64::from_be_bytes(output) % CODES) as u32)
}

/// The length of output that is asked of HKDF.
struct EightBytes;

impl hkdf::KeyType for EightBytes {
    fn len(&self) -> usize {
        8
    }
}

/// Codes that turned out to differ, over all peers. Three in ten minutes close this way of pairing until a person at
/// this end opens it again: an attacker gets no more than that many visible attempts.
#[derive(Debug, Default)]
pub struct Mismatches {
    times: Vec<Instant>,
    closed: bool,
}

impl Mismatches {
    /// Notes a code that was not confirmed to be the same, at `now`.
    pub fn record(&mut self, now: Instant) {
        if self.closed {
            return;
        }
        self.times.retain(|&then| now.saturating_duration_since(then) < MISMATCH_WINDOW);
        self.times.push(now);
        self.closed = self.times.len() >= MAX_MISMATCHES;
    }

    /// Whether codes may be compared.
    pub fn is_open(&self) -> bool {
        !self.closed
    }

    /// A person pressed a key: starts counting anew.
    pub fn reopen(&mut self) {
        *self = Mismatches::default();
    }
}

#[cfg(test)]
impl Committed {
    pub(super) fn with_nonce(binding: Binding, host_nonce: [u8; NONCE_BYTES]) -> Committed {
        Committed { binding, host_nonce: Zeroizing::new(host_nonce) }
    }
}

#[cfg(test)]
impl Awaiting {
    pub(super) fn with_nonce(binding: Binding, commit: [u8; COMMIT_BYTES], guest_nonce: [u8; NONCE_BYTES]) -> Awaiting {
        Awaiting { binding, commit, guest_nonce }
    }
}
