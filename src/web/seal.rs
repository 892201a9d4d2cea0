//! Sealed bodies: protocol.md 11.4. A body is a row of records, each of which says whether it is the last.

use ring::aead::{Aad, LessSafeKey, NONCE_LEN, Nonce};

use super::keys::Key;

/// Content of a full record in bytes.
pub(super) const RECORD_BYTES: usize = 64 * 1024;

/// Bytes of the tag that follows the content of a record.
pub(super) const TAG_BYTES: usize = 16;

/// A full record as it stands in the body.
pub(super) const SEALED_RECORD_BYTES: usize = RECORD_BYTES + TAG_BYTES;

/// A body that is not what the page sealed, or was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body is not sealed as it must be")]
pub(super) struct Broken;

/// Opens the body of one request, record after record. The length of the body is known, so it is known which record is
/// the last; its associated data has to agree.
pub(super) struct Opener {
    key: LessSafeKey,
    request: u64,
    next: u32,
    /// Sealed bytes not opened yet.
    left: u64,
}

impl Opener {
    /// For a body of `sealed` bytes of the request numbered `request`.
    pub(super) fn new(key: &Key, request: u64, sealed: u64) -> Result<Opener, Broken> {
        let (full, rest) = (sealed / SEALED_RECORD_BYTES as u64, sealed % SEALED_RECORD_BYTES as u64);
        let least = match full {
            0 => TAG_BYTES as u64,
            _ => TAG_BYTES as u64 + 1,
        };
        let whole = rest >= least || (full > 0 && rest == 0);
        match whole && full < u64::from(u32::MAX) {
            true => Ok(Opener { key: key.sealing(), request, next: 0, left: sealed }),
            false => Err(Broken),
        }
    }

    /// Bytes of content still to come.
    pub(super) fn content_left(&self) -> u64 {
        self.left - self.left.div_ceil(SEALED_RECORD_BYTES as u64) * TAG_BYTES as u64
    }

    /// Sealed bytes still to come.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// Length of the next record in the body; 0 after the last.
    pub(super) fn next_bytes(&self) -> usize {
        self.left.min(SEALED_RECORD_BYTES as u64) as usize
    }

    /// Opens the next record, which must be [`Opener::next_bytes`] long, in place.
    pub(super) fn open<'a>(&mut self, record: &'a mut [u8]) -> Result<&'a mut [u8], Broken> {
        if record.is_empty() || record.len() != self.next_bytes() {
            return Err(Broken);
        }
        let last = record.len() as u64 == self.left;
        let nonce = nonce(self.next, self.request);
        let content = self.key.open_in_place(nonce, Aad::from([u8::from(last)]), record).map_err(|_| Broken)?;
        self.left -= content.len() as u64 + TAG_BYTES as u64;
        self.next = self.next.wrapping_add(1);
        Ok(content)
    }

    /// Opens a whole body at once.
    pub(super) fn open_all(mut self, mut sealed: Vec<u8>) -> Result<Vec<u8>, Broken> {
        let mut content = Vec::with_capacity(sealed.len());
        let mut rest = sealed.as_mut_slice();
        while self.left > 0 {
            let (record, after) = rest.split_at_mut_checked(self.next_bytes()).ok_or(Broken)?;
            content.extend_from_slice(self.open(record)?);
            rest = after;
        }
        if rest.is_empty() { Ok(content) } else { Err(Broken) }
    }
}

/// The length of `content` bytes once sealed.
pub(super) fn sealed_bytes(content: u64) -> u64 {
    content + content.div_ceil(RECORD_BYTES as u64).max(1) * TAG_BYTES as u64
}

/// Seals the body of one answer, record after record.
pub(super) struct Sealer {
    key: LessSafeKey,
    request: u64,
    next: u32,
}

impl Sealer {
    /// For the answer to the request numbered `request`.
    pub(super) fn new(key: &Key, request: u64) -> Sealer {
        Sealer { key: key.sealing(), request, next: 0 }
    }

    /// Seals what `record` holds from `at` on, in place, and appends the tag.
    pub(super) fn seal(&mut self, record: &mut Vec<u8>, at: usize, last: bool) {
        let nonce = nonce(self.next, self.request);
        let tag = self.key.seal_in_place_separate_tag(nonce, Aad::from([u8::from(last)]), &mut record[at..]);
        record.extend_from_slice(tag.expect("a record is shorter than what the cipher seals").as_ref());
        // 2^32 records are 256 TiB.
        self.next = self.next.wrapping_add(1);
    }
}

/// Seals a whole body.
pub(super) fn seal(key: &Key, request: u64, content: &[u8]) -> Vec<u8> {
    let mut sealer = Sealer::new(key, request);
    let mut sealed = Vec::with_capacity(sealed_bytes(content.len() as u64) as usize);
    let records = content.len().div_ceil(RECORD_BYTES).max(1);
    for number in 0..records {
        let (start, end) = (number * RECORD_BYTES, content.len().min((number + 1) * RECORD_BYTES));
        let at = sealed.len();
        sealed.extend_from_slice(&content[start..end]);
        sealer.seal(&mut sealed, at, number + 1 == records);
    }
    sealed
}

fn nonce(record: u32, request: u64) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    nonce[..4].copy_from_slice(&record.to_be_bytes());
    nonce[4..].copy_from_slice(&request.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::keys::{ViewKeys, session_secret};
    use crate::web::vectors::{content, field, hex, nonce, vectors};

    fn key() -> Key {
        let v = vectors();
        let (p, s) = (nonce(&v["views"][0]["p"]), nonce(&v["views"][0]["s"]));
        ViewKeys::new(&session_secret(&hex(&v["token"]), &p, &s), &p, &s).page
    }

    #[test]
    fn sealed_bodies_are_those_of_the_vectors_and_open_again() {
        for case in vectors()["sealed"].as_array().unwrap() {
            let (bytes, request) = (case["bytes"].as_u64().unwrap(), case["number"].as_u64().unwrap());
            let content = content(bytes as usize);
            let sealed = seal(&key(), request, &content);
            assert_eq!(sealed.len() as u64, case["sealed_bytes"].as_u64().unwrap());
            assert_eq!(sealed.len() as u64, sealed_bytes(bytes));
            assert_eq!(sealed[..16], hex(&case["first_16"]));
            let digest = ring::digest::digest(&ring::digest::SHA256, &sealed);
            assert_eq!(data_encoding::HEXLOWER.encode(digest.as_ref()), field(&case["sha256"]));
            let opener = Opener::new(&key(), request, sealed.len() as u64).unwrap();
            assert_eq!(opener.content_left(), bytes);
            assert_eq!(opener.open_all(sealed), Ok(content));
        }
    }

    #[test]
    fn a_body_with_one_bit_flipped_does_not_open() {
        let sealed = seal(&key(), 1, &content(70_000));
        for at in [0, 65_536, 65_551, 65_552, sealed.len() - 1] {
            let mut flipped = sealed.clone();
            flipped[at] ^= 1;
            assert_eq!(Opener::new(&key(), 1, sealed.len() as u64).unwrap().open_all(flipped), Err(Broken));
        }
    }

    #[test]
    fn a_body_that_was_cut_reordered_or_belongs_to_another_request_does_not_open() {
        let sealed = seal(&key(), 1, &content(3 * RECORD_BYTES));
        let open = |sealed: &[u8], request| {
            Opener::new(&key(), request, sealed.len() as u64).and_then(|opener| opener.open_all(sealed.to_vec()))
        };
        assert!(open(&sealed, 1).is_ok());
        assert_eq!(open(&sealed[..2 * SEALED_RECORD_BYTES], 1), Err(Broken), "cut between two records");
        assert_eq!(open(&sealed[SEALED_RECORD_BYTES..], 1), Err(Broken), "without its beginning");
        let mut swapped = sealed.clone();
        swapped[..2 * SEALED_RECORD_BYTES].rotate_left(SEALED_RECORD_BYTES);
        assert_eq!(open(&swapped, 1), Err(Broken), "two records swapped");
        assert_eq!(open(&sealed, 2), Err(Broken), "replayed under another number");
    }

    #[test]
    fn lengths_that_no_sealed_body_has_are_refused() {
        let record = SEALED_RECORD_BYTES as u64;
        for sealed in [0, 1, 15, record + 1, record + 15, record + 16, 2 * record + 16, u64::MAX] {
            assert!(Opener::new(&key(), 0, sealed).is_err(), "{sealed}");
        }
        for sealed in [16, 17, record - 1, record, record + 17, 2 * record] {
            assert!(Opener::new(&key(), 0, sealed).is_ok(), "{sealed}");
        }
    }
}
