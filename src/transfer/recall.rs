//! What is there of a file from an earlier attempt: hashed again before it is trusted.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::lock;
use super::tree::{ChunkHasher, Forest, Hash};
use crate::store::PartialFile;
use crate::wire::{CHUNK_LEN, RANGES_CAP};

/// What is read and hashed in one go: it stays in the cache of its core.
const STEP: usize = 64 * 1024;

/// A partial file, and the chunks of it that are what they should be.
pub struct Recalled {
    pub(super) file: PartialFile,
    pub(super) size: u64,
    pub(super) forest: Forest,
    pub(super) bytes: u64,
    runs: Vec<(u32, u32)>,
}

impl Recalled {
    /// Hashes the `chunks` of a file of `size` bytes, given as (index, value), on every core.
    pub fn verify(file: PartialFile, size: u64, chunks: &[(u64, Hash)]) -> Recalled {
        let (next, good) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let work = || {
            let mut buffer = vec![0; STEP];
            while let Some((chunk, value)) = chunks.get(next.fetch_add(1, Ordering::Relaxed)) {
                if hash_chunk(&file, size, *chunk, &mut buffer) == Some(*value) {
                    lock(&good).push((*chunk, *value));
                }
            }
        };
        let cores = thread::available_parallelism().map_or(1, |cores| cores.get()).min(chunks.len().max(1));
        thread::scope(|scope| {
            for _ in 1..cores {
                // With fewer threads it takes longer.
                let _ = thread::Builder::new().spawn_scoped(scope, work);
            }
            work();
        });
        let mut good = good.into_inner().unwrap_or_default();
        good.sort_unstable_by_key(|(chunk, _)| *chunk);
        let mut recalled = Recalled { file, size, forest: Forest::default(), bytes: 0, runs: Vec::new() };
        for (chunk, value) in good {
            recalled.add(chunk, value);
        }
        recalled
    }

    fn add(&mut self, chunk: u64, value: Hash) {
        let Ok(index) = u32::try_from(chunk) else { return };
        let runs = self.runs.len();
        match self.runs.last_mut() {
            Some((first, count)) if *first + *count == index => *count += 1,
            // What can't be said will be sent.
            _ if runs == RANGES_CAP => return,
            _ => self.runs.push((index, 1)),
        }
        self.forest.insert(chunk, value);
        self.bytes += CHUNK_LEN.min(self.size - chunk * CHUNK_LEN);
    }

    /// Which entry it is.
    pub fn id(&self) -> u32 {
        self.file.id()
    }

    /// The good chunks as (first, count), ascending; at most [`RANGES_CAP`].
    pub fn runs(&self) -> &[(u32, u32)] {
        &self.runs
    }

    /// How many bytes they are.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// The value of a chunk as it is on the disk; `None` if it is not all there.
fn hash_chunk(file: &PartialFile, size: u64, chunk: u64, buffer: &mut [u8]) -> Option<Hash> {
    let offset = chunk.checked_mul(CHUNK_LEN).filter(|offset| *offset < size)?;
    let len = CHUNK_LEN.min(size - offset);
    let mut hasher = ChunkHasher::new(offset);
    let mut done = 0;
    while done < len {
        let step = &mut buffer[..STEP.min((len - done) as usize)];
        if file.read_at(offset + done, step).ok()? < step.len() {
            return None;
        }
        hasher.update(step);
        done += step.len() as u64;
    }
    Some(hasher.finish(size <= CHUNK_LEN))
}
