//! Reading what a request brings, never more of it than is wanted at a time.

use bytes::{Buf, Bytes};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::answer::Failure;
use super::seal::Opener;
use super::sessions::Signed;

/// The body of a request, of which `left` bytes are still to come.
pub(super) struct Inflow {
    body: Incoming,
    left: u64,
    /// What came and was not taken.
    over: Bytes,
}

/// A body that ended before it was whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection was cut in the middle of a request")]
pub(super) struct Cut;

impl Inflow {
    /// A body whose declared length is `bytes`.
    pub(super) fn new(body: Incoming, bytes: u64) -> Inflow {
        Inflow { body, left: bytes, over: Bytes::new() }
    }

    /// Bytes not taken yet.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// Adds to `buffer` until it holds `bytes`, or all that there is. Cancelling loses nothing.
    pub(super) async fn fill(&mut self, buffer: &mut Vec<u8>, bytes: usize) -> Result<(), Cut> {
        loop {
            let count = self.over.len().min(bytes - buffer.len());
            buffer.extend_from_slice(&self.over[..count]);
            self.over.advance(count);
            self.left -= count as u64;
            if buffer.len() == bytes || self.left == 0 {
                return Ok(());
            }
            let frame = self.body.frame().await.and_then(Result::ok).ok_or(Cut)?;
            self.over = frame.into_data().unwrap_or_default();
        }
    }

    /// All of it, for what is short.
    pub(super) async fn whole(mut self) -> Result<Vec<u8>, Cut> {
        let mut buffer = Vec::new();
        self.fill(&mut buffer, usize::MAX).await?;
        Ok(buffer)
    }

    /// All that a page has sealed in it.
    pub(super) async fn opened(self, signed: &Signed) -> Result<Vec<u8>, Failure> {
        let broken = |error: super::seal::Broken| Failure::refused("sealed", error.to_string());
        let opener = Opener::new(&signed.keys.page, signed.number, self.left).map_err(broken)?;
        let sealed = self.whole().await.map_err(|cut| Failure::refused("cut", cut.to_string()))?;
        opener.open_all(sealed).map_err(broken)
    }
}
