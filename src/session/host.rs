//! What every session of a hosting command shares.

use std::collections::HashSet;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use zeroize::Zeroizing;

use super::error::SessionError;
use super::lanes::LaneRegistry;
use crate::events::Reporter;
use crate::pairing::code::Mismatches;
use crate::pairing::{Identity, LinkKind, TokenBook, tls};
use crate::wire::Role;

/// The pairing side of a hosting command: its key, its tokens, its name.
pub struct Host {
    pub(super) identity: Identity,
    pub(super) native: Arc<rustls::ServerConfig>,
    tokens: Mutex<TokenBook>,
    pub(super) mismatches: Mutex<Mismatches>,
    pub(super) comparing: Mutex<HashSet<IpAddr>>,
    pub(super) lanes: LaneRegistry,
    pub(super) reporter: Arc<dyn Reporter>,
    pub(super) name: String,
    pub(super) role: Role,
    changed: Notify,
}

impl Host {
    /// A host named `name`, whose tokens are renewed every `ttl`.
    pub fn new(
        identity: Identity,
        name: String,
        role: Role,
        ttl: Option<Duration>,
        reporter: Arc<dyn Reporter>,
    ) -> Self {
        Host {
            native: tls::native_server_config(&identity),
            tokens: Mutex::new(TokenBook::new(ttl, Instant::now())),
            mismatches: Mutex::default(),
            comparing: Mutex::default(),
            lanes: LaneRegistry::default(),
            identity,
            reporter,
            name,
            role,
            changed: Notify::new(),
        }
    }

    /// The key mark that a guest sees too.
    pub fn mark(&self) -> String {
        self.identity.fingerprint().mark()
    }

    /// The link of this kind that is good now, with `address` in it; `None` once the tokens are spent.
    pub fn link(&self, kind: LinkKind, address: SocketAddr) -> Option<Zeroizing<String>> {
        let tokens = lock(&self.tokens);
        Some(tokens.invitation(kind, address, &self.identity.fingerprint())?.link())
    }

    /// Renews the links if that is due.
    pub fn refresh(&self) {
        lock(&self.tokens).refresh(Instant::now());
    }

    /// Waits until a guest has done something to the tokens: [`Host::edition`] and [`Host::next_renewal`] may be others.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// What a guest does to the tokens.
    pub(super) fn with_tokens<T>(&self, step: impl FnOnce(&mut TokenBook) -> T) -> T {
        let result = step(&mut lock(&self.tokens));
        self.changed.notify_one();
        result
    }

    /// Changes whenever the links have to be shown anew.
    pub fn edition(&self) -> u64 {
        lock(&self.tokens).edition()
    }

    /// When the links change by themselves.
    pub fn next_renewal(&self) -> Option<Instant> {
        lock(&self.tokens).next_renewal()
    }

    /// A person is there and asks for new links. Codes may be compared again, too.
    pub fn renew(&self) {
        lock(&self.tokens).renew(Instant::now());
        lock(&self.mismatches).reopen();
    }

    /// Nobody else may pair with the links.
    pub(super) fn spend(&self) {
        self.with_tokens(TokenBook::spend);
    }
}

/// A session that panicked has poisoned nothing that the others rely on: every update under these locks is one step.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A step of a session, given up when this program leaves.
pub(super) async fn unless_leaving<T>(
    leaving: &mut watch::Receiver<bool>,
    step: impl Future<Output = Result<T, SessionError>>,
) -> Result<T, SessionError> {
    tokio::select! {
        done = step => done,
        () = raised(leaving) => Err(SessionError::Interrupted),
    }
}

/// Waits until a flag is up; also when nobody holds it any more.
pub(super) async fn raised(flag: &mut watch::Receiver<bool>) {
    // An error means that whoever could raise it has gone.
    let _ = flag.wait_for(|raised| *raised).await;
}
