//! One connection, as what is asked over it sees it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::lock;
use crate::net::gate::Pass;

/// A connection of a browser or of curl.
pub(super) struct Visit {
    /// Where it comes from.
    pub(super) peer: SocketAddr,
    /// The address and port that it came to.
    local: SocketAddr,
    /// Whether it is inside TLS.
    pub(super) secure: bool,
    /// Its right to prove itself; gone once it has.
    pass: Mutex<Option<Pass>>,
    known: AtomicBool,
    /// Requests that are being answered.
    busy: AtomicUsize,
}

impl Visit {
    pub(super) fn new(peer: SocketAddr, local: SocketAddr, secure: bool, pass: Pass) -> Visit {
        let pass = Mutex::new(Some(pass));
        Visit { peer, local, secure, pass, known: AtomicBool::new(false), busy: AtomicUsize::new(0) }
    }

    /// It has proven itself: other limits hold from here on.
    pub(super) fn admit(&self) {
        self.known.store(true, Ordering::Release);
        if let Some(pass) = lock(&self.pass).take() {
            pass.promote();
        }
    }

    pub(super) fn is_known(&self) -> bool {
        self.known.load(Ordering::Acquire)
    }

    pub(super) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Acquire) > 0
    }

    /// A request is being answered until the guard is dropped.
    pub(super) fn answering(&self) -> Answering<'_> {
        self.busy.fetch_add(1, Ordering::AcqRel);
        Answering(self)
    }

    /// Whether `host`, as it stands in a request, is the address that this connection came to. A name never is: after
    /// DNS rebinding a page of somebody else's would be of our origin.
    pub(super) fn came_to(&self, host: &str) -> bool {
        let port = if self.secure { 443 } else { 80 };
        let bare = |host: &str| host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
        let named = host.parse().ok().or_else(|| Some(SocketAddr::new(bare(host)?, port)));
        named.is_some_and(|named: SocketAddr| {
            named.ip().to_canonical() == self.local.ip().to_canonical() && named.port() == self.local.port()
        })
    }

    /// Whether `origin` is that of the page served at `host`.
    pub(super) fn is_own_origin(&self, origin: &[u8], host: &[u8]) -> bool {
        let scheme: &[u8] = if self.secure { b"https://" } else { b"http://" };
        origin.strip_prefix(scheme) == Some(host)
    }
}

/// See [`Visit::answering`].
pub(super) struct Answering<'a>(&'a Visit);

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::AcqRel);
    }
}
