//! A connection whose bytes one thread moves, while another may cut it.

use std::io::{self, IoSlice, Read, Write};
use std::net::TcpStream;
use std::ops::Deref;
use std::time::Duration;

/// A socket whose reads and writes end soon after any other handle of it is shut down, and as timed out after a silence.
#[derive(Debug)]
pub struct Cuttable {
    socket: TcpStream,
    #[cfg(windows)]
    silence: Duration,
}

#[cfg(not(windows))]
impl Cuttable {
    /// Takes a socket, whichever way it waited before.
    ///
    /// # Errors
    /// The system refuses: the connection has gone.
    pub fn new(socket: TcpStream, silence: Duration) -> io::Result<Cuttable> {
        socket.set_nonblocking(false)?;
        socket.set_read_timeout(Some(silence))?;
        socket.set_write_timeout(Some(silence))?;
        Ok(Cuttable { socket })
    }

    fn reading<T>(&self, mut read: impl FnMut(&TcpStream) -> io::Result<T>) -> io::Result<T> {
        read(&self.socket)
    }

    fn writing<T>(&self, mut write: impl FnMut(&TcpStream) -> io::Result<T>) -> io::Result<T> {
        write(&self.socket)
    }
}

/// There a call that waits is not woken when the socket is shut down (<https://github.com/rust-lang/rust/issues/121594>), so
/// none waits in one.
#[cfg(windows)]
mod windows {
    use std::time::Instant;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    /// How soon a cut is noticed.
    const LOOK: Duration = Duration::from_millis(100);

    impl Cuttable {
        /// Takes a socket, whichever way it waited before.
        ///
        /// # Errors
        /// The system refuses: the connection has gone.
        pub fn new(socket: TcpStream, silence: Duration) -> io::Result<Cuttable> {
            socket.set_nonblocking(true)?;
            Ok(Cuttable { socket, silence })
        }

        pub(super) fn reading<T>(&self, read: impl FnMut(&TcpStream) -> io::Result<T>) -> io::Result<T> {
            self.when(PollFlags::IN, read)
        }

        pub(super) fn writing<T>(&self, write: impl FnMut(&TcpStream) -> io::Result<T>) -> io::Result<T> {
            self.when(PollFlags::OUT, write)
        }

        fn when<T>(&self, ready: PollFlags, mut call: impl FnMut(&TcpStream) -> io::Result<T>) -> io::Result<T> {
            let since = Instant::now();
            loop {
                match call(&self.socket) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    done => return done,
                }
                if since.elapsed() > self.silence {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                let look = Timespec::try_from(LOOK).expect("a tenth of a second is one");
                poll(&mut [PollFd::new(&self.socket, ready)], Some(&look))?;
            }
        }
    }
}

impl Deref for Cuttable {
    type Target = TcpStream;

    fn deref(&self) -> &TcpStream {
        &self.socket
    }
}

impl Read for &Cuttable {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.reading(|mut socket| socket.read(bytes))
    }
}

impl Write for &Cuttable {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writing(|mut socket| socket.write(bytes))
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.writing(|mut socket| socket.write_vectored(slices))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Cuttable {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        (&*self).read(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Shutdown, TcpListener};
    use std::sync::mpsc;

    use super::*;

    const LONG: Duration = Duration::from_secs(3_600);

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (near, listener.accept().unwrap().0)
    }

    #[test]
    fn who_waits_for_bytes_or_for_room_is_woken_by_a_cut() {
        let (near, _far) = pair();
        let handle = near.try_clone().unwrap();
        let near = Cuttable::new(near, LONG).unwrap();
        let (woken, wakes) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| woken.send((&near).read(&mut [0])));
            scope.spawn(|| {
                let full = loop {
                    match (&near).write(&[0; 1024 * 1024]) {
                        Ok(1..) => {}
                        end => break end,
                    }
                };
                woken.send(full)
            });
            handle.shutdown(Shutdown::Both).unwrap();
            for _ in 0..2 {
                assert!(matches!(wakes.recv().unwrap(), Ok(0) | Err(_)));
            }
        });
    }

    #[test]
    fn a_silence_is_timed_out() {
        let (near, _far) = pair();
        let near = Cuttable::new(near, Duration::from_millis(1)).unwrap();
        let error = (&near).read(&mut [0]).unwrap_err().kind();
        assert!(matches!(error, io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut), "{error}");
    }

    #[test]
    fn what_is_there_is_read_and_written() {
        let (near, far) = pair();
        let (near, far) = (Cuttable::new(near, LONG).unwrap(), Cuttable::new(far, LONG).unwrap());
        (&near).write_all(b"hello").unwrap();
        let mut heard = [0; 5];
        (&far).read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"hello");
    }
}
