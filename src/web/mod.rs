//! The web dialect: what a phone's browser and curl find at the port (`docs/protocol.md`, 11).
//!
//! A connection goes through these, outermost first:
//!
//! 1. `framed` looks at every request head before hyper does (`head`), and holds the limits in time.
//! 2. `routes` checks what any request must have, and finds out what it is for.
//! 3. `sessions` says who asks: a page signs each request with keys (`keys`) that come from the token in the link.
//! 4. `api` and `upload` do what the page asks for; what they read and say is sealed (`seal`).
//! 5. `transfers` hold what a page sends, beyond connections and reloads, and `run` sees each through to its end.
//!
//! `giving` is the other direction: what `taking` a guest has of an outbox. `curl` and the paths of `giving` are
//! for programs without a script.

mod answer;
mod api;
mod body;
mod capability;
mod curl;
mod framed;
mod giving;
mod head;
mod keys;
mod manifest;
mod numbers;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod oracle;
mod outflow;
mod page;
mod paths;
mod range;
mod receiving;
mod returning;
mod room;
mod routes;
mod run;
mod seal;
mod sessions;
mod taking;
mod transfers;
mod upload;
#[cfg(test)]
mod vectors;
mod visit;
mod zip;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use zeroize::Zeroizing;

use self::framed::Framed;
use self::visit::Visit;
use crate::net::gate;
use crate::session::{Host, Inbox, Outbox, Relay, RoomHost, Visitor};

/// What hyper reads ahead of a body at most. Its buffer grows to this only while it fills up.
const READ_BYTES: usize = 256 * 1024;

/// What is shared with those who come.
pub enum Share {
    /// They send.
    Inbox(Arc<Inbox>),
    /// They fetch.
    Outbox(Arc<Outbox>),
    /// They talk, and send and fetch by way of the host.
    Room(Arc<RoomHost>, Arc<Relay>),
}

/// The web side of a hosting command; shared by all its connections.
pub struct Web {
    share: Share,
    /// Whether whoever comes in the clear is sent away.
    https_only: bool,
    sessions: sessions::Sessions,
    slips: curl::Slips,
    paths: paths::Paths,
}

impl Web {
    /// Serves `share`; with `https_only` inside TLS alone.
    pub fn new(share: Share, https_only: bool) -> Arc<Web> {
        Arc::new(Web {
            share,
            https_only,
            sessions: Default::default(),
            slips: Default::default(),
            paths: Default::default(),
        })
    }

    /// Commands that move files with curl at `address`, each good once; they hold secrets.
    pub fn curl_commands(&self, address: SocketAddr) -> Vec<Zeroizing<String>> {
        // The certificate is signed by nobody that curl knows.
        let (scheme, flag) = if self.https_only { ("https", " -k") } else { ("http", "") };
        match &self.share {
            Share::Inbox(_) => {
                let path = self.slips.issue();
                vec![Zeroizing::new(format!("curl{flag} -T FILE {scheme}://{address}{}", *path))]
            }
            Share::Room(..) => Vec::new(),
            Share::Outbox(outbox) => {
                let commands = giving::curl_paths(self, outbox).into_iter();
                commands.map(|path| Zeroizing::new(format!("curl{flag} -OJ {scheme}://{address}{}", *path))).collect()
            }
        }
    }

    /// Serves one connection to its end.
    pub async fn serve(self: &Arc<Self>, visitor: Visitor) {
        let leaving = self.host().leaving();
        match visitor {
            Visitor::Plain(arrival) => {
                let local = arrival.stream.get_ref().local_addr();
                // A connection without an address is gone already.
                let Ok(local) = local else { return };
                let visit = Visit::new(arrival.peer, local, false, arrival.pass);
                self.talk(arrival.stream, visit, arrival.head_deadline, arrival.deadline, leaving).await;
            }
            Visitor::Secure(secure) => {
                let Ok(local) = secure.stream.get_ref().0.get_ref().local_addr() else { return };
                let visit = Visit::new(secure.peer, local, true, secure.pass);
                let head_deadline = secure.deadline.min(Instant::now() + gate::HEAD);
                self.talk(secure.stream, visit, head_deadline, secure.deadline, leaving).await;
            }
        }
    }

    fn host(&self) -> &Host {
        match &self.share {
            Share::Inbox(inbox) => &inbox.host,
            Share::Outbox(outbox) => &outbox.host,
            Share::Room(room, _) => room.host(),
        }
    }

    /// The room that is held there, whatever else is shared.
    fn room(&self) -> Option<Arc<RoomHost>> {
        self.host().room()
    }

    async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
        self: &Arc<Self>,
        stream: S,
        visit: Visit,
        head_deadline: Instant,
        deadline: Instant,
        mut leaving: watch::Receiver<bool>,
    ) {
        let visit = Arc::new(visit);
        let framed = Framed::new(stream, Arc::clone(&visit), head_deadline);
        let service = service_fn(|request| {
            let (web, visit) = (Arc::clone(self), Arc::clone(&visit));
            async move { Ok::<_, Infallible>(answer::protect(routes::answer(&web, &visit, request).await)) }
        });
        // A peer that has said all it has to say may still be waiting for the answer.
        let protocol = http1::Builder::new().max_buf_size(READ_BYTES).half_close(true).to_owned();
        let serving = protocol.serve_connection(TokioIo::new(framed), service);
        let mut serving = pin!(serving);
        let (mut stranger, mut staying) = (true, true);
        loop {
            tokio::select! {
                // How a stranger's connection ends is not worth telling; what a transfer makes of it is told by it.
                _ = serving.as_mut() => return,
                () = sleep_until(deadline), if stranger => {
                    if !visit.is_known() {
                        return;
                    }
                    stranger = false;
                }
                // What is being answered gets its answer: the last "stored" may be what ends this program.
                () = raised(&mut leaving), if staying => {
                    serving.as_mut().graceful_shutdown();
                    staying = false;
                }
            }
        }
    }
}

/// Waits until a flag is up; also when nobody holds it any more.
async fn raised(flag: &mut watch::Receiver<bool>) {
    // An error means that whoever could raise it has gone.
    let _ = flag.wait_for(|raised| *raised).await;
}

/// A request that panicked has poisoned nothing that the others rely on: every update under these locks is one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
