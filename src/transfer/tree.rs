//! A file's BLAKE3 put together from chunks that arrive in any order.
//!
//! A chunk of [`CHUNK_LEN`] bytes at a multiple of it is a whole subtree of the file's hash tree (BLAKE3 paper 2.1;
//! `blake3::hazmat`), so its chaining value verifies it alone, and the root follows from the chaining values.

use std::collections::BTreeMap;

use blake3::hazmat::{self, HasherExt, Mode};

use crate::store::HOLE_UNIT;
use crate::wire::CHUNK_LEN;

// What is told of a file's holes is told of its chunks.
const _: () = assert!(HOLE_UNIT == CHUNK_LEN);

/// A BLAKE3 hash or chaining value.
pub type Hash = [u8; 32];

/// What holes are hashed as.
pub(super) static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// Hashes one chunk while its bytes pass.
#[derive(Clone)]
pub struct ChunkHasher {
    hasher: blake3::Hasher,
}

impl ChunkHasher {
    /// For the chunk at `offset`, a multiple of [`CHUNK_LEN`].
    pub fn new(offset: u64) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.set_input_offset(offset);
        ChunkHasher { hasher }
    }

    /// The next bytes of the chunk.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    /// The chaining value, or the ordinary hash where the chunk is the `whole_file`.
    pub fn finish(&self, whole_file: bool) -> Hash {
        if whole_file { *self.hasher.finalize().as_bytes() } else { self.hasher.finalize_non_root() }
    }
}

/// The hash of a chunk of `len` zeros at `offset`.
pub(super) fn hash_zeros(offset: u64, len: u64, whole_file: bool) -> Hash {
    let (mut hasher, mut left) = (ChunkHasher::new(offset), len as usize);
    while left > 0 {
        let piece = left.min(ZEROS.len());
        hasher.update(&ZEROS[..piece]);
        left -= piece;
    }
    hasher.finish(whole_file)
}

/// The subtrees known so far, merged wherever two complete siblings meet, so that a file that arrives in order takes
/// a few dozen nodes whatever its size. Nodes that begin at chunk 0 are never merged: only the end of the file tells
/// which of them is the root.
#[derive(Default, Clone)]
pub struct Forest {
    /// First chunk -> (chunks, chaining value).
    nodes: BTreeMap<u64, (u64, Hash)>,
}

impl Forest {
    /// Adds the chunk of this index; `false` if it was there already.
    pub fn insert(&mut self, chunk: u64, value: Hash) -> bool {
        if self.contains(chunk) {
            return false;
        }
        let (mut first, mut count, mut value) = (chunk, 1, value);
        while let Some((left, right)) = self.sibling(first, count, value) {
            self.nodes.remove(&(first ^ count));
            value = hazmat::merge_subtrees_non_root(&left, &right, Mode::Hash);
            first &= !count;
            count *= 2;
        }
        self.nodes.insert(first, (count, value));
        true
    }

    /// Whether the chunk of this index is there.
    pub fn contains(&self, chunk: u64) -> bool {
        self.nodes.range(..=chunk).next_back().is_some_and(|(first, (count, _))| chunk < first + count)
    }

    fn sibling(&self, first: u64, count: u64, value: Hash) -> Option<(Hash, Hash)> {
        let sibling = first ^ count;
        if first & !count == 0 {
            return None;
        }
        let (found, other) = self.nodes.get(&sibling)?;
        (*found == count).then_some(if sibling < first { (*other, value) } else { (value, *other) })
    }

    /// The hash of a file of `size` bytes; `None` while a chunk is missing.
    pub fn root(&self, size: u64) -> Option<Hash> {
        if size == 0 {
            return Some(*blake3::hash(&[]).as_bytes());
        }
        let chunks = size.div_ceil(CHUNK_LEN);
        if chunks == 1 {
            return self.exactly(0, 1);
        }
        let left = left_chunks(chunks);
        let (left, right) = (self.subtree(0, left)?, self.subtree(left, chunks - left)?);
        Some(*hazmat::merge_subtrees_root(&left, &right, Mode::Hash).as_bytes())
    }

    fn subtree(&self, first: u64, count: u64) -> Option<Hash> {
        if let Some(value) = self.exactly(first, count) {
            return Some(value);
        }
        if count == 1 {
            return None;
        }
        let left = left_chunks(count);
        let (left, right) = (self.subtree(first, left)?, self.subtree(first + left, count - left)?);
        Some(hazmat::merge_subtrees_non_root(&left, &right, Mode::Hash))
    }

    fn exactly(&self, first: u64, count: u64) -> Option<Hash> {
        self.nodes.get(&first).filter(|node| node.0 == count).map(|node| node.1)
    }
}

/// Where a subtree of `count` chunks splits: as many whole chunks to the left as the largest power of two below it.
/// That is `hazmat::left_subtree_len` in chunks, which counts in bytes and has no room for the largest claims.
fn left_chunks(count: u64) -> u64 {
    1 << (count - 1).ilog2()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn forest_of(data: &[u8], order: &[usize]) -> Forest {
        let chunks: Vec<&[u8]> = data.chunks(CHUNK_LEN as usize).collect();
        let mut forest = Forest::default();
        for &index in order {
            let mut hasher = ChunkHasher::new(index as u64 * CHUNK_LEN);
            hasher.update(chunks[index]);
            assert!(forest.insert(index as u64, hasher.finish(chunks.len() == 1)));
        }
        forest
    }

    fn pattern(len: u64) -> Vec<u8> {
        (0..len).map(|i| (i * 31 % 251) as u8).collect()
    }

    #[test]
    fn the_root_is_blake3_of_the_file_at_every_awkward_size() {
        let mib = CHUNK_LEN;
        for size in [0, 1, 1024, 1025, mib - 1, mib, mib + 1, 2 * mib, 3 * mib + 1, 4 * mib, 5 * mib + 1, 7 * mib + 1] {
            let data = pattern(size);
            let order: Vec<usize> = (0..size.div_ceil(mib) as usize).collect();
            let root = forest_of(&data, &order).root(size);
            assert_eq!(root, Some(*blake3::hash(&data).as_bytes()), "{size} bytes");
        }
    }

    #[test]
    fn a_missing_chunk_leaves_the_root_unknown() {
        let data = pattern(4 * CHUNK_LEN);
        assert_eq!(forest_of(&data, &[0, 1, 3]).root(4 * CHUNK_LEN), None);
    }

    #[test]
    fn a_claimed_size_that_no_file_has_leaves_the_root_unknown() {
        let data = pattern(2 * CHUNK_LEN);
        for size in [1 << 62, u64::MAX - 1, u64::MAX] {
            assert_eq!(forest_of(&data, &[0, 1]).root(size), None);
        }
    }

    #[test]
    fn trees_split_where_blake3_says() {
        for count in (2..70).chain([1 << 20, (1 << 20) + 1, 1 << 40]) {
            assert_eq!(left_chunks(count) * CHUNK_LEN, hazmat::left_subtree_len(count * CHUNK_LEN), "{count} chunks");
        }
    }

    #[test]
    fn a_file_that_arrives_in_order_takes_few_nodes() {
        let mut forest = Forest::default();
        for chunk in 0..100_000 {
            forest.insert(chunk, [0; 32]);
        }
        assert!(forest.nodes.len() < 40, "{} nodes", forest.nodes.len());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn chunks_in_any_order_give_the_same_root(chunks in 1usize..13, last in 1u64..=CHUNK_LEN, seed in any::<u64>()) {
            let size = (chunks as u64 - 1) * CHUNK_LEN + last;
            let data = pattern(size);
            let mut order: Vec<usize> = (0..chunks).collect();
            order.sort_by_key(|i| (*i as u64).wrapping_mul(seed | 1).rotate_left(17) ^ seed);
            let mut forest = forest_of(&data, &order);
            prop_assert!(!forest.insert(order[0] as u64, [0; 32]), "a chunk is taken once");
            prop_assert_eq!(forest.root(size), Some(*blake3::hash(&data).as_bytes()));
        }
    }
}
