//! Bytes that go between a file and a socket within the kernel: out by `sendfile`, in by `splice` through a pipe. Both
//! are Linux's; elsewhere, and where it refuses, the callers read and write.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read};
use std::net::TcpStream;

use super::at;
use super::error::StoreError;

/// Room in a pipe: the most that a user other than root may ask for. 64 of them fit into what Linux lets such a user have in
/// pipes, two for each transfer; further ones stay at what the system gives.
#[cfg(target_os = "linux")]
const PIPE_BYTES: usize = 1024 * 1024;

/// What is copied at once where a pipe can't be spliced into a file.
const COPY_BYTES: usize = 64 * 1024;

/// Why a file does not go on to a socket.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The file.
    #[error(transparent)]
    Source(#[from] StoreError),
    /// The socket. `WouldBlock` is its write timeout.
    #[error(transparent)]
    Socket(io::Error),
}

/// What takes bytes from a socket on their way to a [`PartialFile`](super::PartialFile), by reference as far as the
/// system can.
pub struct Pipe {
    inlet: PipeWriter,
    outlet: PipeReader,
}

impl Pipe {
    /// An empty pipe; `None` if there is no such way here, or no descriptor to spare.
    pub fn new() -> Option<Pipe> {
        #[cfg(target_os = "linux")]
        {
            let (outlet, inlet) = roomy_pipe().ok()?;
            Some(Pipe { inlet, outlet })
        }
        #[cfg(not(target_os = "linux"))]
        None
    }

    /// Takes up to `most` bytes from `socket` into the pipe, which must be empty; waits for the first as a read would.
    /// Returns how many, 0 at the end of the stream, and `None` if this system can't: then nothing was taken.
    ///
    /// # Errors
    /// The socket's, as of a read.
    pub fn fill(&self, socket: &TcpStream, most: u64) -> io::Result<Option<usize>> {
        #[cfg(target_os = "linux")]
        {
            let most = usize::try_from(most).unwrap_or(usize::MAX).min(PIPE_BYTES);
            possible(|| splice(socket, None, &self.inlet, None, most, SpliceFlags::empty())).transpose()
        }
        #[cfg(not(target_os = "linux"))]
        {
            let _ = (&self.inlet, socket, most);
            Ok(None)
        }
    }

    /// Gives `copy` as well, by reference, up to `most` of the bytes that are in the pipe, and leaves them there; waits while
    /// `copy` is full. Returns how many, which is at least one, and `None` if this system can't: then `copy` got nothing.
    ///
    /// # Errors
    /// Nobody reads `copy` any more.
    pub fn tee(&self, copy: &PipeWriter, most: usize) -> io::Result<Option<usize>> {
        #[cfg(target_os = "linux")]
        {
            let given = possible(|| rustix::pipe::tee(&self.outlet, copy, most, SpliceFlags::empty())).transpose()?;
            Ok(given.filter(|&count| count > 0))
        }
        #[cfg(not(target_os = "linux"))]
        {
            let _ = (copy, most);
            Ok(None)
        }
    }

    /// Moves the next `count` bytes, which must be in the pipe, to `offset` of `file`.
    pub(super) fn empty_into(&self, file: &File, offset: u64, count: usize) -> io::Result<()> {
        let mut done = 0;
        #[cfg(target_os = "linux")]
        while done < count {
            let mut to = offset + done as u64;
            let once = || splice(&self.outlet, None, file, Some(&mut to), count - done, SpliceFlags::empty());
            match possible(once) {
                Some(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Some(Ok(moved)) => done += moved,
                Some(Err(error)) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                // "try again" is answered below, as for every write
                Some(Err(_)) | None => break,
            }
        }
        let mut buffer = vec![0; COPY_BYTES.min(count - done)];
        while done < count {
            let piece = &mut buffer[..COPY_BYTES.min(count - done)];
            (&self.outlet).read_exact(piece)?;
            at::write_full_at(file, piece, offset + done as u64)?;
            done += piece.len();
        }
        Ok(())
    }
}

/// A pipe with as much room as the system gives; a user with many gets no large one.
///
/// # Errors
/// There is no descriptor to spare.
pub fn roomy_pipe() -> io::Result<(PipeReader, PipeWriter)> {
    let (outlet, inlet) = io::pipe()?;
    #[cfg(target_os = "linux")]
    let _ = rustix::pipe::fcntl_setpipe_size(&inlet, PIPE_BYTES);
    Ok((outlet, inlet))
}

#[cfg(target_os = "linux")]
use rustix::pipe::{SpliceFlags, splice};

/// Sends up to `most` bytes of `file` from `offset` on; `None` if that is not possible here.
pub(super) fn send_file(file: &File, offset: u64, socket: &TcpStream, most: usize) -> Option<io::Result<usize>> {
    #[cfg(target_os = "linux")]
    {
        let mut offset = offset;
        possible(|| rustix::fs::sendfile(socket, file, Some(&mut offset), most))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (file, offset, socket, most);
        None
    }
}

/// Whether what [`send_file`] met is of the file; all else it can meet is of the socket.
pub(super) fn is_of_the_disk(error: &io::Error) -> bool {
    #[cfg(target_os = "linux")]
    return rustix::io::Errno::from_io_error(error) == Some(rustix::io::Errno::IO);
    #[cfg(not(target_os = "linux"))]
    {
        let _ = error;
        false
    }
}

/// Repeats a call that was interrupted before it did anything; `None` if the system can't do it at all, or not with
/// this file (some network and stacked file systems), or must not (a sandbox). A real lack of rights shows again in the
/// write that follows.
#[cfg(target_os = "linux")]
fn possible(mut call: impl FnMut() -> rustix::io::Result<usize>) -> Option<io::Result<usize>> {
    use rustix::io::Errno;
    loop {
        match call() {
            Err(Errno::INTR) => {}
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM) => return None,
            outcome => return Some(outcome.map_err(io::Error::from)),
        }
    }
}
