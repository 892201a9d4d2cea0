//! A source that can be read once, from its beginning, and whose size nobody knows before its end: standard input.

use std::io::{self, Read};
use std::sync::{Arc, Mutex};

use super::lock;
use super::tree::{Forest, Hash};
use crate::wire::{CHUNK_LEN, FileEnd};

/// A stream that is offered as a file. Its lanes take it chunk by chunk.
pub struct Piped {
    name: String,
    reading: Mutex<Reading>,
    sent: Mutex<Sent>,
}

struct Reading {
    from: Box<dyn Read + Send>,
    next: u64,
    /// What was read to learn whether there is more.
    ahead: Vec<u8>,
    /// The size, once the end was seen.
    total: Option<u64>,
}

/// What has gone out.
#[derive(Default)]
struct Sent {
    forest: Forest,
    chunks: u64,
    ended: bool,
}

/// What a lane takes of it. It is kept until the receiver has it: it can't be read again.
#[derive(Clone)]
pub(super) enum Part {
    /// All of it, at most a chunk.
    Whole(Arc<Vec<u8>>),
    /// The chunk of this index, of more than one.
    Chunk(u64, Arc<Vec<u8>>),
}

impl Piped {
    /// Offers what `from` yields under `name`.
    pub fn new(name: impl Into<String>, from: impl Read + Send + 'static) -> Self {
        let reading = Reading { from: Box::new(from), next: 0, ahead: Vec::new(), total: None };
        Piped { name: name.into(), reading: Mutex::new(reading), sent: Mutex::default() }
    }

    /// The name that it is offered under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its size in bytes, once its end was seen.
    pub fn total(&self) -> Option<u64> {
        lock(&self.reading).total
    }

    /// The next part, waited for; `None` at the end.
    pub(super) fn next(&self) -> io::Result<Option<Part>> {
        let mut reading = lock(&self.reading);
        if reading.total.is_some() {
            return Ok(None);
        }
        let content = reading.chunk()?;
        let (index, len) = (reading.next, content.len() as u64);
        if len == CHUNK_LEN && index == 0 {
            reading.ahead = reading.chunk()?;
        }
        if len < CHUNK_LEN || (index == 0 && reading.ahead.is_empty()) {
            reading.total = Some(index * CHUNK_LEN + len);
        }
        reading.next += 1;
        Ok(match (index, reading.total) {
            (0, Some(_)) => Some(Part::Whole(content.into())),
            (_, _) if len == 0 => None,
            _ => Some(Part::Chunk(index, content.into())),
        })
    }

    /// Nothing more comes of it.
    pub(super) fn give_up(&self) {
        lock(&self.reading).total.get_or_insert(0);
        lock(&self.sent).ended = true;
    }

    /// Notes that the chunk of this index has gone out.
    pub(super) fn note(&self, chunk: u64, value: Hash) {
        let mut sent = lock(&self.sent);
        if sent.forest.insert(chunk, value) {
            sent.chunks += 1;
        }
    }

    /// What is said at the end, once: when every chunk has gone out, there being several.
    pub(super) fn end(&self, id: u32) -> Option<FileEnd> {
        let size = self.total().filter(|size| *size > CHUNK_LEN)?;
        let mut sent = lock(&self.sent);
        if sent.ended || sent.chunks < size.div_ceil(CHUNK_LEN) {
            return None;
        }
        sent.ended = true;
        Some(FileEnd { id, size, root: sent.forest.root(size)? })
    }
}

impl Reading {
    /// A whole chunk, or what is left.
    fn chunk(&mut self) -> io::Result<Vec<u8>> {
        let mut content = std::mem::take(&mut self.ahead);
        let missing = CHUNK_LEN - content.len() as u64;
        content.reserve_exact(missing as usize);
        (&mut self.from).take(missing).read_to_end(&mut content)?;
        Ok(content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(bytes: &[u8]) -> (Vec<Part>, Piped) {
        let piped = Piped::new("x", io::Cursor::new(bytes.to_vec()));
        let mut parts = Vec::new();
        while let Some(part) = piped.next().unwrap() {
            parts.push(part);
        }
        (parts, piped)
    }

    #[test]
    fn up_to_a_chunk_comes_whole_and_more_in_chunks() {
        for (len, chunks) in
            [(0, 0), (1, 0), (CHUNK_LEN, 0), (CHUNK_LEN + 1, 2), (2 * CHUNK_LEN, 2), (5 * CHUNK_LEN + 9, 6)]
        {
            let bytes: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
            let (parts, piped) = parts(&bytes);
            assert_eq!(piped.total(), Some(len));
            let mut joined = Vec::new();
            for (at, part) in parts.iter().enumerate() {
                match part {
                    Part::Whole(content) => {
                        assert_eq!((parts.len(), chunks), (1, 0));
                        joined.extend_from_slice(content);
                    }
                    Part::Chunk(index, content) => {
                        assert_eq!(*index as usize, at);
                        joined.extend_from_slice(content);
                        assert!(piped.end(0).is_none(), "one is missing");
                        piped.note(*index, blake3_of(*index, content));
                    }
                }
            }
            assert!(joined == bytes, "{len} bytes");
            assert!(chunks == 0 || parts.len() == chunks);
            let end = piped.end(7);
            assert_eq!(
                end.map(|end| (end.id, end.size, end.root)),
                (chunks > 0).then(|| (7, len, *blake3::hash(&bytes).as_bytes()))
            );
            assert!(piped.end(7).is_none(), "it is said once");
        }
    }

    fn blake3_of(index: u64, content: &[u8]) -> Hash {
        let mut hasher = super::super::tree::ChunkHasher::new(index * CHUNK_LEN);
        hasher.update(content);
        hasher.finish(false)
    }
}
