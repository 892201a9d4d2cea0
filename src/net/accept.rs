//! The front door: takes connections for as long as the command runs, whatever happens, and finds out what each speaks.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use super::addresses::Network;
use super::gate::{self, Gate, Guest, Pass};
use super::listen::Listener;
use super::prefixed::Prefixed;
use super::sniff::{Sniff, sniff};
use super::tune;

/// The first wait after the system ran out of descriptors, doubled up to [`BACKOFF_MAX`] while it lasts: connections
/// wait in the backlog meanwhile, and trying without a pause would burn a core.
const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_millis(640);

/// How long one look at our interfaces serves to judge peers with public addresses: listing them for every knock of a
/// flood would cost more than the knock.
const LOOK_LASTS: Duration = Duration::from_secs(2);

/// What a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// TLS; ALPN tells our protocol from a browser's.
    Native,
    /// HTTP/1.1 in the clear.
    Web,
    /// The tutorial's header.
    Classic {
        /// Where its `<SEPARATOR>` begins.
        separator_at: usize,
    },
}

/// A connection whose dialect is known and whose peer is not.
#[derive(Debug)]
pub struct Arrival {
    /// The connection, its first bytes still in front.
    pub stream: Prefixed,
    /// Where it comes from; an IPv4 peer as IPv4.
    pub peer: SocketAddr,
    /// What it speaks.
    pub dialect: Dialect,
    /// Its right to prove itself; to be promoted when it has.
    pub pass: Pass,
    /// When its TLS handshake, HTTP head or classic header must be whole.
    pub head_deadline: Instant,
    /// When it must be known, or be closed.
    pub deadline: Instant,
}

/// Something at the door that led to no arrival, for `doctor`, `-v`, and to tell a person once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Knock {
    /// A peer from outside the room was refused; `--expose` lets it in.
    FromOutside(IpAddr),
    /// A peer said nothing in time, or left without a word.
    Silent(IpAddr),
    /// A peer speaks none of our dialects, or did not make clear which in time.
    Unintelligible(IpAddr),
    /// A peer had to go because its address takes more than its share, or nobody had time for it.
    Crowded(IpAddr),
    /// The system has no descriptors left; said once until it recovers.
    OutOfDescriptors,
}

/// Takes connections until the receiver of `arrivals` is dropped; dropping the future closes those not yet handed over.
///
/// `expose` lets peers in from outside the room. `knock` is called for everything that comes to nothing; it must return
/// at once.
pub async fn accept<K>(mut listener: Listener, gate: Gate, expose: bool, arrivals: mpsc::Sender<Arrival>, knock: K)
where
    K: Fn(Knock) + Send + Sync + 'static,
{
    let knock = Arc::new(knock);
    let mut room = Room::new();
    let mut greetings = JoinSet::new();
    let mut backoff = BACKOFF_MIN;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = greetings.join_next() => continue,
            () = arrivals.closed() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                backoff = BACKOFF_MIN;
                if !expose && !room.holds(peer.ip()) {
                    knock(Knock::FromOutside(peer.ip()));
                    continue;
                }
                let guest = gate.enter(peer.ip());
                let (arrivals, knock) = (arrivals.clone(), Arc::clone(&knock));
                greetings.spawn(async move {
                    match greet(stream, peer, guest).await {
                        Ok(arrival) => {
                            // The command is over when nobody takes arrivals any more.
                            let _ = arrivals.send(arrival).await;
                        }
                        Err(reason) => knock(reason),
                    }
                });
            }
            Err(e) if concerns_one_peer(&e) => {}
            Err(_) => {
                if backoff == BACKOFF_MIN {
                    knock(Knock::OutOfDescriptors);
                }
                sleep(backoff).await;
                backoff = (backoff * 2).min(BACKOFF_MAX);
            }
        }
    }
}

/// Whether an error of `accept` is about a connection that went away before we took it; Linux also passes on the
/// network errors that are pending on it (accept(2)).
fn concerns_one_peer(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::ConnectionAborted
            | Kind::ConnectionReset
            | Kind::Interrupted
            | Kind::HostUnreachable
            | Kind::NetworkUnreachable
            | Kind::NetworkDown
            | Kind::PermissionDenied
            | Kind::TimedOut
    )
}

/// From accepted to recognised and in possession of a pass.
async fn greet(stream: TcpStream, peer: SocketAddr, mut guest: Guest) -> Result<Arrival, Knock> {
    let accepted = Instant::now();
    let head_deadline = accepted + gate::HEAD;
    let ip = peer.ip();
    tune(&stream);

    let mut stream = Prefixed::new(stream);
    let dialect = tokio::select! {
        dialect = recognise(&mut stream, ip, accepted) => dialect?,
        () = guest.shown_the_door() => return Err(Knock::Crowded(ip)),
    };
    let pass = timeout_at(head_deadline, guest.pass()).await.ok().flatten().ok_or(Knock::Crowded(ip))?;
    Ok(Arrival { stream, peer, dialect, pass, head_deadline, deadline: accepted + gate::UNKNOWN })
}

async fn recognise(stream: &mut Prefixed, peer: IpAddr, accepted: Instant) -> Result<Dialect, Knock> {
    loop {
        let (deadline, too_late) = match stream.prefix() {
            [] => (accepted + gate::FIRST_BYTES, Knock::Silent(peer)),
            _ => (accepted + gate::HEAD, Knock::Unintelligible(peer)),
        };
        match timeout_at(deadline, stream.read_ahead()).await {
            Ok(Ok(1..)) => {}
            Ok(Ok(0) | Err(_)) | Err(_) => return Err(too_late),
        }
        match sniff(stream.prefix()) {
            Sniff::Native => return Ok(Dialect::Native),
            Sniff::Web => return Ok(Dialect::Web),
            Sniff::Classic { separator_at } => return Ok(Dialect::Classic { separator_at }),
            Sniff::NeedMore => {}
            Sniff::Neither => return Err(Knock::Unintelligible(peer)),
        }
    }
}

/// Who is in the room, by a recent look at our interfaces.
struct Room {
    network: Network,
    looked: Option<Instant>,
}

impl Room {
    fn new() -> Room {
        Room { network: Network::default(), looked: None }
    }

    fn holds(&mut self, peer: IpAddr) -> bool {
        if self.network.is_nearby(peer) {
            return true;
        }
        if self.looked.is_some_and(|looked| looked.elapsed() < LOOK_LASTS) {
            return false;
        }
        self.looked = Some(Instant::now());
        self.network = Network::observe().unwrap_or_default();
        self.network.is_nearby(peer)
    }
}

/// Raises the soft limit of open files to the hard one, and returns what holds now, where there is such a limit.
///
/// Every transfer needs two descriptors or more, and the usual soft limit of 1,024 would be reached by 500 senders.
/// A system that refuses leaves the limit as it was: connections wait in the backlog then.
pub fn raise_descriptor_limit() -> Option<u64> {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        // macOS says "unlimited" and takes no more than `OPEN_MAX`, 10,240.
        let wanted =
            if cfg!(target_vendor = "apple") { Some(maximum.map_or(10_240, |m| m.min(10_240))) } else { maximum };
        match setrlimit(Resource::Nofile, Rlimit { current: wanted, maximum }) {
            Ok(()) => wanted,
            Err(_) => current,
        }
    }
    #[cfg(not(unix))]
    None
}

#[cfg(test)]
mod tests;
