//! The bulk of a classic transfer, either way: a loop that blocks, on a thread of its own, and the session that watches it.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::interval;

use super::error::SessionError;
use super::inbox::PROGRESS_EVERY;
use crate::net::cuttable::Cuttable;

/// A peer that says or takes nothing for this long is gone.
pub(super) const SILENCE: Duration = Duration::from_secs(60);

/// Bytes moved in one go: a few hundred system calls for each second of a fast link, and progress on a slow one. A read of
/// so many can't fill its buffer exactly at the end of a header.
pub(super) const STEP: usize = 256 * 1024;

/// What the loop and the session tell each other.
#[derive(Default)]
pub(super) struct Meter {
    moved: AtomicU64,
    cut: AtomicBool,
}

impl Meter {
    /// Counts bytes of the file that were moved, and returns how many that are in all. Every byte of either direction is
    /// counted here, once, as soon as it is through.
    pub(super) fn count(&self, bytes: usize) -> u64 {
        self.moved.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64
    }

    /// Bytes so far.
    pub(super) fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    /// The session is over: the end of the stream is our own doing.
    pub(super) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }
}

/// Cuts the socket when the session is dropped, whatever the loop waits for.
struct Cut {
    socket: TcpStream,
    meter: Arc<Meter>,
    ended: bool,
}

impl Cut {
    fn cut(&self) {
        self.meter.cut.store(true, Ordering::Release);
        // A socket that the peer has closed already needs no cutting.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        // a loop that ended has left the socket as it wants it
        if !self.ended {
            self.cut();
        }
    }
}

/// Runs `work` with the socket, which may be waited for; tells `progress` the bytes so far while they grow. At `leave` the
/// socket is cut, and what comes of the work then is waited for: it may be done already, and is not to leave anything behind.
pub(super) async fn apart<T: Send + 'static>(
    socket: tokio::net::TcpStream,
    progress: impl Fn(u64),
    leave: impl Future<Output = ()>,
    work: impl FnOnce(&Cuttable, &Meter) -> Result<T, SessionError> + Send + 'static,
) -> Result<T, SessionError> {
    let socket = socket.into_std().and_then(|socket| Cuttable::new(socket, SILENCE)).map_err(SessionError::Cut)?;
    let meter = Arc::new(Meter::default());
    let handle = socket.try_clone().map_err(SessionError::Cut)?;
    let mut cut = Cut { socket: handle, meter: Arc::clone(&meter), ended: false };
    let (done, mut outcome) = oneshot::channel();
    let theirs = Arc::clone(&meter);
    // A thread of its own, since it waits for the peer: many slow ones would starve tokio's pool, which the other
    // sessions need.
    let spawned = std::thread::Builder::new().spawn(move || {
        // The session may have ended first.
        let _ = done.send(work(&socket, &theirs));
    });
    spawned.map_err(SessionError::Cut)?;
    let mut ticks = interval(PROGRESS_EVERY);
    let mut told = 0;
    let mut leave = pin!(leave);
    loop {
        tokio::select! {
            outcome = &mut outcome => {
                cut.ended = true;
                return outcome.map_err(|_| SessionError::broke("something that this program can't handle"))?;
            }
            () = &mut leave, if !meter.is_cut() => cut.cut(),
            _ = ticks.tick() => {
                let moved = meter.moved();
                if moved != told {
                    told = moved;
                    progress(moved);
                }
            }
        }
    }
}

/// What the error of such a socket means: its timeouts are the peer's silence.
pub(super) fn broken(error: io::Error) -> SessionError {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => SessionError::Silent,
        _ => SessionError::Cut(error),
    }
}
