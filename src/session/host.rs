//! What every session of a hosting command shares.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, watch};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::consent::{Consent, Standing, refusal};
use super::devices::Devices;
use super::error::SessionError;
use super::lanes::LaneRegistry;
use super::room_host::RoomHost;
use crate::events::{Event, ExitCode, Label, Peer, Reporter};
use crate::pairing::code::Mismatches;
use crate::pairing::{Fingerprint, Identity, Invitation, LinkKind, TokenBook, tls};
use crate::wire::{LANES_CAP, RefuseCode, Role};

/// How long whoever has paired may take to come into the room by its key: it does so at once.
const GREETED: Duration = Duration::from_secs(60);

/// How often strangers who failed before anything was accepted are told of, at most: a person or a script learns of
/// it, and a flood of them buries nothing else.
const STRANGERS_TOLD: u32 = 20;
const STRANGERS_WINDOW: Duration = Duration::from_secs(10);

/// Lanes that are divided among the transfers under way: a crowd has no need of several connections for each. Who came first
/// keeps what it was allowed.
const LANES_TO_DIVIDE: usize = 256;

/// The hosting side of a command, whatever it hosts and whichever dialect its guests speak: its key, its tokens, its
/// name, and what is under way.
pub struct Host {
    pub(super) identity: Identity,
    pub(super) devices: Devices,
    pub(super) native: Arc<rustls::ServerConfig>,
    pub(super) web: Arc<rustls::ServerConfig>,
    tokens: Mutex<TokenBook>,
    pub(super) mismatches: Mutex<Mismatches>,
    pub(super) comparing: Mutex<HashSet<IpAddr>>,
    pub(super) lanes: LaneRegistry,
    /// Keys that may come back without a token for as long as this host runs, and what they are worth.
    known: Mutex<HashMap<Fingerprint, Acquainted>>,
    /// The room that is held here; its sessions hold this host.
    room: OnceLock<Weak<RoomHost>>,
    pub(crate) reporter: Arc<dyn Reporter>,
    pub(crate) name: String,
    pub(super) role: Role,
    /// Whether one finished transfer is all there will be.
    once: bool,
    /// Somebody has paired, whatever came of it.
    visited: AtomicBool,
    under_way: AtomicUsize,
    /// With `once`: a transfer has the place, or has been finished.
    taken: AtomicBool,
    /// Strangers told of since then.
    strangers: Mutex<(Instant, u32)>,
    ended: mpsc::UnboundedSender<Ended>,
    leaving: watch::Sender<bool>,
    changed: Notify,
}

/// A key that is known for as long as this host runs, or until then.
struct Acquainted {
    standing: Standing,
    until: Option<Instant>,
}

impl Acquainted {
    fn is_greeted(&self) -> bool {
        self.until.is_some_and(|until| until > Instant::now())
    }
}

/// How a transfer that a person or a flag had accepted came out.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Who it was, as far as an address tells.
    pub address: IpAddr,
    /// `Ok` if everything accepted was stored.
    pub result: Result<(), ExitCode>,
    /// A person at this end found something wrong: with `once` there is nothing more to wait for.
    pub given_up: bool,
}

impl Host {
    /// A host named `name`, whose tokens are renewed every `ttl`; with `once` for a single device. Each transfer that
    /// was accepted is reported through the channel when it ends. `devices` are those that it knows by their keys.
    pub fn new(
        identity: Identity,
        devices: Devices,
        name: String,
        role: Role,
        ttl: Option<Duration>,
        once: bool,
        reporter: Arc<dyn Reporter>,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<Ended>) {
        let (ended, endings) = mpsc::unbounded_channel();
        let host = Host {
            native: tls::native_server_config(&identity),
            web: tls::web_server_config(&identity),
            tokens: Mutex::new(TokenBook::new(ttl, Instant::now())),
            mismatches: Mutex::default(),
            comparing: Mutex::default(),
            lanes: LaneRegistry::default(),
            known: Mutex::default(),
            room: OnceLock::new(),
            identity,
            devices,
            reporter,
            name,
            role,
            once,
            visited: AtomicBool::new(false),
            under_way: AtomicUsize::new(0),
            taken: AtomicBool::new(false),
            strangers: Mutex::new((Instant::now(), 0)),
            ended,
            leaving: watch::Sender::new(false),
            changed: Notify::new(),
        };
        (Arc::new(host), endings)
    }

    /// Its key.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The key mark that a guest sees too.
    pub fn mark(&self) -> String {
        self.identity.fingerprint().mark()
    }

    /// The link of this kind that is good now, with `address` in it; `None` once the tokens are spent.
    pub fn link(&self, kind: LinkKind, address: SocketAddr) -> Option<Zeroizing<String>> {
        Some(self.invitation(kind, address)?.link())
    }

    /// As [`Host::link`] for [`LinkKind::Http`], to a page inside TLS.
    pub fn secure_link(&self, address: SocketAddr) -> Option<Zeroizing<String>> {
        Some(self.invitation(LinkKind::Http, address)?.secure_link())
    }

    fn invitation(&self, kind: LinkKind, address: SocketAddr) -> Option<Invitation> {
        lock(&self.tokens).invitation(kind, address, &self.identity.fingerprint())
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
    pub(crate) fn with_tokens<T>(&self, step: impl FnOnce(&mut TokenBook) -> T) -> T {
        let result = step(&mut lock(&self.tokens));
        self.changed.notify_one();
        result
    }

    /// What the holder of this key is worth, if it may come back without a token.
    pub(super) fn knows(&self, key: &Fingerprint) -> Option<Standing> {
        let known = lock(&self.known);
        let known = known.get(key).filter(|known| known.until.is_none() || known.is_greeted());
        known.map(|known| known.standing)
    }

    /// Lets the holder of this key come back without a token.
    pub(super) fn know(&self, key: Fingerprint, standing: Standing) {
        lock(&self.known).insert(key, Acquainted { standing, until: None });
    }

    /// The same for a moment: whoever has paired for something else comes into the room by its key.
    pub(super) fn greet(&self, key: Fingerprint, standing: Standing) {
        let until = Some(Instant::now() + GREETED);
        let mut known = lock(&self.known);
        if known.get(&key).is_none_or(|known| known.until.is_some()) {
            known.insert(key, Acquainted { standing, until });
        }
    }

    /// Forgets the keys that `keep` does not want kept; those that were greeted, when the moment is over.
    pub(super) fn forget(&self, keep: impl Fn(&Fingerprint) -> bool) {
        lock(&self.known).retain(|key, known| known.is_greeted() || keep(key));
    }

    /// The room that is held here, if one is.
    pub(crate) fn room(&self) -> Option<Arc<RoomHost>> {
        self.room.get()?.upgrade()
    }

    /// A room is held here from now on: one for as long as this host runs.
    pub(super) fn hold(&self, room: &Arc<RoomHost>) {
        let _ = self.room.set(Arc::downgrade(room));
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

    /// Tells that a guest is known.
    pub(crate) fn introduce(&self, peer: Peer, label: Label) {
        self.visited.store(true, Ordering::Release);
        self.reporter.tell(Event::Peer { peer, label });
    }

    /// Whether somebody has come.
    pub fn was_visited(&self) -> bool {
        self.visited.load(Ordering::Acquire)
    }

    /// How many transfers are accepted and not ended.
    pub fn under_way(&self) -> usize {
        self.under_way.load(Ordering::Acquire)
    }

    /// How many lanes one more accepted transfer may have at once, itself counted among those under way.
    pub(super) fn lanes_each(&self) -> u16 {
        (LANES_TO_DIVIDE / self.under_way().max(1)).clamp(1, usize::from(LANES_CAP)) as u16
    }

    /// Raised when this program leaves. A session holds it to its end, see [`Host::leave`].
    pub(crate) fn leaving(&self) -> watch::Receiver<bool> {
        self.leaving.subscribe()
    }

    /// Ends every session: each tells its peer. Returns once they have, or after a moment.
    pub async fn leave(&self) {
        self.leaving.send_replace(true);
        // Each session holds a receiver of `leaving` and drops it as its last act.
        let _ = timeout(Duration::from_secs(3), self.leaving.closed()).await;
    }

    /// Tells of somebody who failed before anything was accepted.
    pub(crate) fn tell_stranger(&self, address: IpAddr, error: &SessionError) {
        if matches!(error, SessionError::Interrupted) || !self.one_more_stranger() {
            return;
        }
        let mut failure = error.failure();
        failure.message = format!("{} ({address})", failure.message);
        self.reporter.tell(Event::Failed { transfer: None, failure });
    }

    fn one_more_stranger(&self) -> bool {
        let mut told = lock(&self.strangers);
        if told.0.elapsed() >= STRANGERS_WINDOW {
            *told = (Instant::now(), 0);
        }
        told.1 += 1;
        told.1 <= STRANGERS_TOLD
    }

    /// Reports how a transfer came out that had been accepted.
    pub(crate) fn ended(&self, code: ExitCode, address: IpAddr) {
        let result = if code == ExitCode::Ok { Ok(()) } else { Err(code) };
        self.report(Ended { address, result, given_up: false });
    }

    pub(super) fn report(&self, ended: Ended) {
        // Nobody listens once the command is leaving.
        let _ = self.ended.send(ended);
    }

    /// The place of an accepted transfer. With `once`, of two accepted at the same moment one gets it.
    pub(crate) fn take_place(self: &Arc<Self>) -> Result<Place, SessionError> {
        if self.once && self.taken.swap(true, Ordering::AcqRel) {
            let text = "one transfer is all that is taken there, and another has the place";
            return Err(SessionError::Declined(refusal(RefuseCode::Busy, text)));
        }
        self.under_way.fetch_add(1, Ordering::AcqRel);
        Ok(Place { host: Arc::clone(self), consent: Consent::Rule, kept: false })
    }
}

/// A transfer that was accepted. With `once` it holds the only place until it fails.
pub(crate) struct Place {
    host: Arc<Host>,
    consent: Consent,
    kept: bool,
}

impl Place {
    /// The same, accepted by this yes.
    pub(super) fn by(mut self, consent: Consent) -> Place {
        self.consent = consent;
        self
    }

    /// Whose yes it was accepted by.
    pub(super) fn consent(&self) -> Consent {
        self.consent
    }

    /// It succeeded: with `once` nobody else gets in.
    pub(crate) fn keep(mut self) {
        self.kept = true;
        if self.host.once {
            self.host.with_tokens(TokenBook::spend);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.host.under_way.fetch_sub(1, Ordering::AcqRel);
        if !self.kept {
            self.host.taken.store(false, Ordering::Release);
        }
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
