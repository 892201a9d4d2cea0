//! A connection whose request heads were looked at before hyper sees them, with the limits in time that hyper lacks.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf, Take};
use tokio::time::{Instant, Sleep, sleep_until};

use super::head::HeadCheck;
use super::visit::Visit;
use crate::net::gate;

/// A page that is known keeps its connections this long for the next request; a phone that sleeps begins a new one.
const IDLE: Duration = Duration::from_secs(120);

/// How long a body that is not wanted is read and thrown away, so that the peer gets to read why: data that arrives at
/// a closed socket makes the peer's system discard the answer.
const LINGER: Duration = Duration::from_secs(1);

/// What is read at once while a head is not whole.
const HEAD_READ: usize = 4 * 1024;

/// Begins no HTTP: hyper answers it with 400 and closes, once the answers before it are out.
const REFUSED: u8 = 0;

/// Hands whole, good heads on, each followed by exactly its body.
pub(super) struct Framed<S> {
    inner: Take<S>,
    visit: Arc<Visit>,
    phase: Phase,
    /// Bytes that came and were not handed on: the head in check, or what was read along with one.
    held: Vec<u8>,
    /// When something last moved.
    moved: Instant,
    timer: Pin<Box<Sleep>>,
    lingering: Option<Instant>,
}

enum Phase {
    /// Between requests, or within a head that must be whole by then.
    Head(HeadCheck, Option<Instant>),
    /// As many bytes may pass.
    Passing(u64),
    /// A head was malformed; whether hyper knows.
    Refused(bool),
}

impl<S: AsyncRead + Unpin> Framed<S> {
    /// Nothing was read of `inner` yet; its first head must be whole by `head_deadline`.
    pub(super) fn new(inner: S, visit: Arc<Visit>, head_deadline: Instant) -> Framed<S> {
        Framed {
            inner: inner.take(u64::MAX),
            visit,
            phase: Phase::Head(HeadCheck::default(), Some(head_deadline)),
            held: Vec::new(),
            moved: Instant::now(),
            timer: Box::pin(sleep_until(head_deadline)),
            lingering: None,
        }
    }

    /// Reads, or finds that it is too late for what is waited for.
    fn poll_inner(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<usize>> {
        let before = buf.filled().len();
        if Pin::new(&mut self.inner).poll_read(cx, buf)?.is_pending() {
            let due = match self.phase {
                Phase::Head(_, Some(deadline)) => deadline,
                // Who waits for an answer is patient, not idle.
                Phase::Head(_, None) if self.visit.is_busy() => Instant::now() + IDLE,
                _ => self.moved + IDLE,
            };
            return self.poll_due(due, cx).map(Err);
        }
        self.moved = Instant::now();
        Poll::Ready(Ok(buf.filled().len() - before))
    }

    fn poll_pass(&mut self, left: u64, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let passed = if self.held.is_empty() {
            self.inner.set_limit(left);
            ready!(self.poll_inner(cx, buf))?
        } else {
            let most = usize::try_from(left).unwrap_or(usize::MAX);
            let count = most.min(buf.remaining()).min(self.held.len());
            buf.put_slice(&self.held[..count]);
            self.held.drain(..count);
            count
        };
        self.phase = match left - passed as u64 {
            0 => Phase::Head(HeadCheck::default(), None),
            left => Phase::Passing(left),
        };
        Poll::Ready(Ok(()))
    }

    /// Reads on within a head; 0 at the end of the stream.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut buffer = [0; HEAD_READ];
        let mut read = ReadBuf::new(&mut buffer);
        self.inner.set_limit(HEAD_READ as u64);
        let count = ready!(self.poll_inner(cx, &mut read))?;
        self.held.extend_from_slice(read.filled());
        Poll::Ready(Ok(count))
    }
}

impl<S> Framed<S> {
    fn poll_due(&mut self, due: Instant, cx: &mut Context<'_>) -> Poll<io::Error> {
        if self.timer.deadline() != due {
            self.timer.as_mut().reset(due);
        }
        ready!(self.timer.as_mut().poll(cx));
        Poll::Ready(io::ErrorKind::TimedOut.into())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Framed<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            match &mut this.phase {
                Phase::Passing(left) => {
                    let left = *left;
                    return this.poll_pass(left, cx, buf);
                }
                Phase::Refused(told) => {
                    if !std::mem::replace(told, true) {
                        buf.put_slice(&[REFUSED]);
                    }
                    return Poll::Ready(Ok(()));
                }
                Phase::Head(check, deadline) => match check.look(&this.held) {
                    Ok(Some(whole)) => this.phase = Phase::Passing(whole.head as u64 + whole.body),
                    Err(_) => this.phase = Phase::Refused(false),
                    Ok(None) => {
                        if !this.held.is_empty() {
                            deadline.get_or_insert_with(|| Instant::now() + gate::HEAD);
                        }
                        if ready!(this.poll_head(cx))? == 0 {
                            return Poll::Ready(Ok(()));
                        }
                    }
                },
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Framed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(self.inner.get_mut()).poll_write(cx, bytes);
        self.after_write(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(self.inner.get_mut()).poll_write_vectored(cx, slices);
        self.after_write(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.get_ref().is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.inner.get_mut()).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(self.inner.get_mut()).poll_shutdown(cx))?;
        match self.phase {
            Phase::Passing(_) | Phase::Refused(_) => self.poll_linger(cx),
            Phase::Head(..) => Poll::Ready(Ok(())),
        }
    }
}

impl<S: AsyncRead + Unpin> Framed<S> {
    /// Throws away what still comes, for a moment.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let until = *self.lingering.get_or_insert_with(|| Instant::now() + LINGER);
        let mut buffer = [0; HEAD_READ];
        while Instant::now() < until {
            let mut read = ReadBuf::new(&mut buffer);
            match Pin::new(self.inner.get_mut()).poll_read(cx, &mut read) {
                Poll::Ready(Ok(())) if !read.filled().is_empty() => {}
                Poll::Ready(_) => break,
                Poll::Pending => {
                    ready!(self.poll_due(until, cx));
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S> Framed<S> {
    /// A peer that takes nothing of its answer for too long is gone.
    fn after_write(&mut self, written: Poll<io::Result<usize>>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if written.is_pending() {
            return self.poll_due(self.moved + IDLE, cx).map(Err);
        }
        self.moved = Instant::now();
        written
    }
}
