//! The control connection: whole frames over an async stream, nothing buffered that has no place in this phase.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
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
    /// Frames that [`Conn::converse`] has still to write.
    unsent: Vec<u8>,
    /// Since when none of them could be written; `None` when all are, and are flushed.
    stuck: Option<Instant>,
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
        let now = Instant::now();
        Conn { stream, read: Vec::new(), taken: 0, ahead: STEP, heard: now, unsent: Vec::new(), stuck: None }
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
        // What was queued comes first, or the peer would read one frame inside another.
        let mut frames = std::mem::take(&mut self.unsent);
        self.stuck = None;
        frames.extend(frame(message));
        for step in frames.chunks(STEP) {
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

    /// The length of the frame that is due, as far as it is known: of its header at least.
    fn due(&self) -> Result<usize, SessionError> {
        match self.read[self.taken..].first_chunk::<HEADER_LEN>() {
            Some(bytes) => Ok(HEADER_LEN + Header::parse(*bytes).map_err(SessionError::bad_frame)?.len),
            None => Ok(HEADER_LEN),
        }
    }

    /// The frame that is due, if it has been read whole. Its kind is checked as soon as its header is there.
    fn buffered(&mut self, allowed: &impl Fn(Kind) -> bool) -> Result<Option<Frame>, SessionError> {
        let unread = &self.read[self.taken..];
        let Some(bytes) = unread.first_chunk::<HEADER_LEN>() else { return Ok(None) };
        let header = Header::parse(*bytes).map_err(SessionError::bad_frame)?;
        if !allowed(header.kind) && !matches!(header.kind, Kind::Ping | Kind::Refuse) {
            return Err(SessionError::misplaced(header.kind));
        }
        let end = HEADER_LEN + header.len;
        let Some(payload) = unread.get(HEADER_LEN..end) else { return Ok(None) };
        let payload = payload.to_vec();
        self.taken += end;
        Ok(Some(Frame { kind: header.kind, payload }))
    }

    /// The next frame of any allowed kind, pings and refusals among them. A peer that says nothing is given up.
    async fn next(&mut self, allowed: &impl Fn(Kind) -> bool) -> Result<Frame, SessionError> {
        loop {
            if let Some(frame) = self.buffered(allowed)? {
                return Ok(frame);
            }
            let most = self.due()? - (self.read.len() - self.taken) + self.ahead;
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

    /// Leaves frames to [`Conn::converse`].
    pub(super) fn queue(&mut self, frames: &[u8]) {
        self.stuck.get_or_insert_with(Instant::now);
        self.unsent.extend_from_slice(frames);
    }

    /// Whether everything that was queued is written.
    pub(super) fn is_drained(&self) -> bool {
        self.stuck.is_none()
    }

    /// Reads and writes at once, so that two ends that both have much to say can't wait for each other: the next frame
    /// whose kind `allowed` accepts, or `None` when everything that was queued is written. With `hear` down nothing is
    /// read. Cancel-safe.
    pub(super) async fn converse(
        &mut self,
        hear: bool,
        allowed: impl Fn(Kind) -> bool,
    ) -> Result<Option<Frame>, SessionError> {
        loop {
            if hear && let Some(frame) = self.buffered(&allowed)? {
                match frame.kind {
                    Kind::Ping => _ = frame.decode::<Ping>()?,
                    Kind::Refuse => return Err(SessionError::refused(frame.decode::<Refuse>()?)),
                    _ => return Ok(Some(frame)),
                }
                continue;
            }
            let limit = if hear { self.heard + SILENCE } else { Instant::now() + SILENCE };
            let limit = self.stuck.map_or(limit, |since| limit.min(since + SILENCE));
            let turn = timeout_at(limit, poll_fn(|cx| self.poll_turn(hear, cx))).await;
            if turn.map_err(|_| SessionError::Silent)?.map_err(SessionError::Cut)? {
                return Ok(None);
            }
        }
    }

    /// `true` when the last of what was queued is written, `false` when something was read.
    fn poll_turn(&mut self, hear: bool, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        while !self.unsent.is_empty() {
            let step = self.unsent.len().min(STEP);
            match Pin::new(&mut self.stream).poll_write(cx, &self.unsent[..step])? {
                Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(written) => {
                    self.unsent.drain(..written);
                    self.stuck = Some(Instant::now());
                }
                Poll::Pending => break,
            }
        }
        if self.stuck.is_some() && Pin::new(&mut self.stream).poll_flush(cx)?.is_ready() && self.unsent.is_empty() {
            self.stuck = None;
            return Poll::Ready(Ok(true));
        }
        if !hear {
            return Poll::Pending;
        }
        let mut bytes = [0; STEP];
        let mut space = ReadBuf::new(&mut bytes);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut space))?;
        if space.filled().is_empty() {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        self.read.drain(..self.taken);
        self.taken = 0;
        self.read.extend_from_slice(space.filled());
        self.heard = Instant::now();
        Poll::Ready(Ok(false))
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
