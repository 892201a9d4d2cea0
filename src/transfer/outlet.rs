//! Where a file goes that is not to be stored: to standard output, in order, as its chunks are verified.

use std::io::{self, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::incoming::Receiving;
use super::lock;
use crate::store::PartialFile;
use crate::wire::CHUNK_LEN;

/// What is read back and written in one go.
const STEP: usize = 64 * 1024;

/// A stream that one file is written to. The partial file is the buffer between lanes that bring its chunks in any order
/// and whoever reads the stream at its own pace; what has been written to the stream takes no room in it any more.
pub struct Outlet {
    state: Mutex<State>,
    /// Apart from the state, which is locked for as long as whoever reads the stream makes it wait.
    has_begun: AtomicBool,
}

struct State {
    to: Box<dyn Write + Send>,
    /// Bytes that were written.
    done: u64,
}

impl Outlet {
    /// Writes to `to`.
    pub fn new(to: impl Write + Send + 'static) -> Self {
        Outlet { state: Mutex::new(State { to: Box::new(to), done: 0 }), has_begun: AtomicBool::new(false) }
    }

    /// Whether anything has gone out, which can't be taken back.
    pub fn has_begun(&self) -> bool {
        self.has_begun.load(Ordering::Acquire)
    }

    /// Writes what is there in order; waits for whoever reads it.
    pub(super) fn advance(&self, receiving: &Receiving) -> io::Result<()> {
        let mut state = lock(&self.state);
        loop {
            let chunk = state.done / CHUNK_LEN;
            let is_there = {
                let parts = lock(&receiving.parts);
                // Where the size is unknown only the one after it tells that a chunk is whole.
                let is_whole = match receiving.size {
                    Some(size) => (chunk + 1) * CHUNK_LEN <= size,
                    None => parts.forest.contains(chunk + 1),
                };
                is_whole && parts.forest.contains(chunk)
            };
            if !is_there {
                return Ok(());
            }
            let end = (chunk + 1) * CHUNK_LEN;
            // A file that is whole was handed on, and goes out as a whole.
            self.has_begun.store(true, Ordering::Release);
            let Some(written) = receiving.with_file(|file| state.write_from(file, end)) else { return Ok(()) };
            written?;
        }
    }

    /// Writes the rest of a file that is whole.
    pub(super) fn finish(&self, file: &PartialFile, bytes: u64) -> io::Result<()> {
        let mut state = lock(&self.state);
        self.has_begun.store(true, Ordering::Release);
        state.write_from(file, bytes)?;
        state.to.flush()
    }
}

impl State {
    fn write_from(&mut self, file: &PartialFile, end: u64) -> io::Result<()> {
        let mut buffer = vec![0; STEP];
        while self.done < end {
            let step = &mut buffer[..STEP.min((end - self.done) as usize)];
            let read = file.read_at(self.done, step).map_err(io::Error::other)?;
            if read < step.len() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.to.write_all(step)?;
            self.done += read as u64;
        }
        file.forget_before(end);
        Ok(())
    }
}
