//! What a receiver has acknowledged in the sessions of one run.

use std::sync::Mutex;

use fixedbitset::FixedBitSet;

use super::lock;
use super::tree::Hash;

/// Bytes that are kept of a hash, since there may be a million of them. What they are compared with is the receiver's word
/// about its own copy, which it has nothing to gain by forging. That word is another one only where its disk has changed what was
/// written there, and of such files chance passes one in 65,536.
const KEPT: usize = 2;

/// The hashes that were acknowledged, by entry.
#[derive(Default)]
pub struct Receipts(Mutex<Receipted>);

#[derive(Default)]
struct Receipted {
    /// Whether there is one.
    noted: FixedBitSet,
    hashes: Vec<[u8; KEPT]>,
}

impl Receipts {
    /// Notes that an entry was acknowledged with this hash; whether it had been before.
    pub fn note(&self, id: u32, hash: &Hash) -> bool {
        let (mut receipts, place) = (lock(&self.0), id as usize);
        if receipts.hashes.len() <= place {
            receipts.hashes.resize(place + 1, [0; KEPT]);
            receipts.noted.grow(place + 1);
        }
        receipts.hashes[place] = kept(hash);
        receipts.noted.put(place)
    }

    /// Whether an entry was acknowledged with this hash.
    pub(super) fn holds(&self, id: u32, hash: &Hash) -> bool {
        let (receipts, place) = (lock(&self.0), id as usize);
        receipts.noted.contains(place) && receipts.hashes[place] == kept(hash)
    }
}

fn kept(hash: &Hash) -> [u8; KEPT] {
    *hash.first_chunk().expect("a hash is longer than what is kept of it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_hash_that_was_acknowledged_counts() {
        let receipts = Receipts::default();
        let (one, other) = (*blake3::hash(b"one").as_bytes(), *blake3::hash(b"other").as_bytes());
        assert!(!receipts.note(7, &one), "the first time");
        assert!(receipts.note(7, &one), "again");
        assert!(receipts.holds(7, &one));
        assert!(!receipts.holds(7, &other) && !receipts.holds(6, &one) && !receipts.holds(8, &one));
    }
}
