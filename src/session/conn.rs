//! The control connection: whole frames over an async stream, nothing buffered that has no place in this phase.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, Interval, interval_at, timeout, timeout_at};
use tokio_rustls::{client, server};

use super::error::SessionError;
use crate::wire::{HEADER_LEN, Header, Kind, Message, Ping, Refuse, frame};

/// An end that has nothing to say pings this often.
const PING_EVERY: Duration = Duration::from_secs(10);

/// A peer that said nothing for this long is gone: four pings were missed.
pub(super) const SILENCE: Duration = Duration::from_secs(40);

/// What is read or written in one go; control messages are small, and a page of 4 MiB may take minutes on a slow link.
const STEP: usize = 16 * 1024;

/// One frame with its kind checked against what the phase allows.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) payload: Vec<u8>,
}

impl Frame {
    pub(super) fn decode<M: Message>(&self) -> Result<M, SessionError> {
        debug_assert_eq!(self.kind, M::KIND);
        M::decode(&self.payload).map_err(SessionError::malformed)
    }
}

/// Frames over a stream. Reading is cancel-safe: a frame is either handed out whole or stays in `read`.
pub(super) struct Conn<S> {
    stream: S,
    read: Vec<u8>,
    /// How many bytes of `read` were handed out.
    taken: usize,
    /// Bytes that are read in one go beyond the frame that is due.
    ahead: usize,
    heard: Instant,
}

/// A stream of frames, over a transport whose bytes matter no more once this end has closed.
pub(super) trait Channel: AsyncRead + AsyncWrite + Unpin {
    /// What the stream is carried by.
    type Transport: AsyncRead + Unpin;

    /// The transport, past the encryption.
    fn transport(&mut self) -> &mut Self::Transport;
}

impl<T: AsyncRead + AsyncWrite + Unpin> Channel for client::TlsStream<T> {
    type Transport = T;

    fn transport(&mut self) -> &mut T {
        self.get_mut().0
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Channel for server::TlsStream<T> {
    type Transport = T;

    fn transport(&mut self) -> &mut T {
        self.get_mut().0
    }
}

/// When pings are due: the first after a silence, not at once.
pub(super) fn pings() -> Interval {
    interval_at(Instant::now() + PING_EVERY, PING_EVERY)
}

impl<S: Channel> Conn<S> {
    pub(super) fn new(stream: S) -> Self {
        Conn { stream, read: Vec::new(), taken: 0, ahead: STEP, heard: Instant::now() }
    }

    /// Reads no byte beyond the frame that is due, so that whatever follows can be read from the stream itself.
    pub(super) fn frugal(stream: S) -> Self {
        Conn { ahead: 0, ..Conn::new(stream) }
    }

    /// Gives the stream back. Fails if the peer has sent frames that nobody has read.
    pub(super) fn into_stream(self) -> Result<S, SessionError> {
        match self.read.len() - self.taken {
            0 => Ok(self.stream),
            _ => Err(SessionError::broke("frames that come too early")),
        }
    }

    pub(super) async fn send<M: Message>(&mut self, message: &M) -> Result<(), SessionError> {
        for step in frame(message).chunks(STEP) {
            let write = async {
                self.stream.write_all(step).await?;
                self.stream.flush().await
            };
            timeout(SILENCE, write).await.map_err(|_| SessionError::Silent)?.map_err(SessionError::Cut)?;
        }
        Ok(())
    }

    /// Does `work` on this side, and tells the peer meanwhile that this side is alive.
    pub(super) async fn alive_during<T>(&mut self, work: impl Future<Output = T>) -> Result<T, SessionError> {
        let mut work = pin!(work);
        let mut ping = pings();
        loop {
            tokio::select! {
                done = &mut work => return Ok(done),
                _ = ping.tick() => self.send(&Ping).await?,
            }
        }
    }

    /// Waits for a decision at this side, while nothing is due from the peer but signs of life or its end.
    pub(super) async fn attentive_during<T>(
        &mut self,
        decision: impl Future<Output = Result<T, SessionError>>,
    ) -> Result<T, SessionError> {
        let mut decision = pin!(decision);
        let mut ping = pings();
        loop {
            tokio::select! {
                decided = &mut decision => return decided,
                frame = self.recv(|_| false) => drop(frame?),
                _ = ping.tick() => self.send(&Ping).await?,
            }
        }
    }

    /// The next frame whose kind `allowed` accepts. A refusal is an error, a ping is swallowed.
    pub(super) async fn recv(&mut self, allowed: impl Fn(Kind) -> bool) -> Result<Frame, SessionError> {
        loop {
            let frame = self.next(&allowed).await?;
            match frame.kind {
                Kind::Ping => _ = frame.decode::<Ping>()?,
                Kind::Refuse => return Err(SessionError::refused(frame.decode::<Refuse>()?)),
                _ => return Ok(frame),
            }
        }
    }

    /// The next message, which must be an `M`.
    pub(super) async fn expect<M: Message>(&mut self) -> Result<M, SessionError> {
        self.recv(|kind| kind == M::KIND).await?.decode()
    }

    /// The next frame of any allowed kind, pings and refusals among them. A peer that says nothing is given up.
    async fn next(&mut self, allowed: &impl Fn(Kind) -> bool) -> Result<Frame, SessionError> {
        loop {
            let unread = &self.read[self.taken..];
            let mut due = HEADER_LEN;
            if let Some(bytes) = unread.first_chunk::<HEADER_LEN>() {
                let header = Header::parse(*bytes).map_err(SessionError::bad_frame)?;
                if !allowed(header.kind) && !matches!(header.kind, Kind::Ping | Kind::Refuse) {
                    return Err(SessionError::misplaced(header.kind));
                }
                let end = HEADER_LEN + header.len;
                if let Some(payload) = unread.get(HEADER_LEN..end) {
                    let payload = payload.to_vec();
                    self.taken += end;
                    return Ok(Frame { kind: header.kind, payload });
                }
                due = end;
            }
            let most = due - unread.len() + self.ahead;
            // Once for each read, not for each frame: a flood of pings would make that costly.
            self.read.drain(..self.taken);
            self.taken = 0;
            self.read.reserve(STEP);
            let read =
                timeout_at(self.heard + SILENCE, (&mut self.stream).take(most as u64).read_buf(&mut self.read)).await;
            if read.map_err(|_| SessionError::Silent)?.map_err(SessionError::Cut)? == 0 {
                return Err(SessionError::Cut(io::ErrorKind::UnexpectedEof.into()));
            }
            self.heard = Instant::now();
        }
    }

    /// Says why, as far as the peer still listens, and closes.
    pub(super) async fn refuse(mut self, refuse: Refuse) {
        if self.send(&refuse).await.is_ok() {
            self.close().await;
        }
    }

    /// Closes this half and waits a moment for the other, so that a reset can't overtake the last frame. What still comes
    /// is not decrypted: after its own end a TLS connection has no answer left to a record that is broken.
    pub(super) async fn close(mut self) {
        let linger = async {
            self.stream.shutdown().await?;
            let mut rest = [0; 1024];
            while self.stream.transport().read(&mut rest).await? > 0 {}
            io::Result::Ok(())
        };
        // The connection is over either way.
        let _ = timeout(Duration::from_secs(2), linger).await;
    }
}
