//! A connection whose first bytes were already read.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::sniff::SNIFF_CAP;

/// A TCP stream, with the bytes that were read to find out its dialect still in front.
#[derive(Debug)]
pub struct Prefixed {
    prefix: Vec<u8>,
    consumed: usize,
    read_ends: Vec<usize>,
    stream: TcpStream,
}

impl Prefixed {
    /// A stream of which nothing was read yet.
    pub fn new(stream: TcpStream) -> Prefixed {
        Prefixed { prefix: Vec::new(), consumed: 0, read_ends: Vec::new(), stream }
    }

    /// The bytes read so far that nobody has taken.
    pub fn prefix(&self) -> &[u8] {
        &self.prefix[self.consumed..]
    }

    /// Where each read of the first bytes ended, as offsets from the start of the connection, rising.
    ///
    /// The classic header is undecidable without them. At most as many as there are bytes in the prefix.
    pub fn read_ends(&self) -> &[usize] {
        &self.read_ends
    }

    /// Reads once and keeps what came in the prefix, which grows to at most [`SNIFF_CAP`] bytes. 0 at the end of the
    /// stream. Cancelling loses nothing, and a silent connection costs no buffer.
    ///
    /// # Errors
    /// As the stream.
    pub(super) async fn read_ahead(&mut self) -> io::Result<usize> {
        let mut buffer = [0; SNIFF_CAP];
        let room = SNIFF_CAP.saturating_sub(self.prefix.len());
        loop {
            self.stream.readable().await?;
            match self.stream.try_read(&mut buffer[..room]) {
                Ok(count) => {
                    self.prefix.extend_from_slice(&buffer[..count]);
                    // A read that stopped because the buffer was full says nothing about how the bytes were sent.
                    if count > 0 && count < room {
                        self.read_ends.push(self.prefix.len());
                    }
                    return Ok(count);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// The untaken first bytes and the stream they came from.
    pub fn into_parts(mut self) -> (Vec<u8>, TcpStream) {
        self.prefix.drain(..self.consumed);
        (self.prefix, self.stream)
    }

    /// The stream itself, for its options and addresses; reading from it skips the prefix.
    pub fn get_ref(&self) -> &TcpStream {
        &self.stream
    }
}

impl AsyncRead for Prefixed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let count = self.prefix().len().min(buf.remaining());
        if count == 0 {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        buf.put_slice(&self.prefix()[..count]);
        self.consumed += count;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Prefixed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
