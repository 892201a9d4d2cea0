//! What both ends of a fresh connection share on the way to a paired one (protocol.md 4).

use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use tokio::time::sleep;

use super::acquaintance::Bond;
use super::conn::{Channel, Conn, pings};
use super::consent::Standing;
use super::devices::Devices;
use super::error::{SessionError, Unconfirmed};
use super::lanes::LaneSecret;
use super::returning::Returning;
use crate::events::{Answer, Dialect, Event, NoReason, Peer, Question, Reporter};
use crate::names::PeerName;
use crate::pairing::code::SixDigits;
use crate::pairing::{Binding, Fingerprint};
use crate::wire::{Confirm, Hello, Kind, Ping, Role, VERSION};

/// What this program calls itself in a `hello`.
const SOFTWARE: &str = concat!("qrdrop ", env!("CARGO_PKG_VERSION"));

/// How long pairing may take once the connection stands, people aside.
pub(super) const PAIRING_LIMIT: Duration = Duration::from_secs(30);

/// How long two people may take to compare a code: longer than any `--ask-timeout` that makes sense, so that a peer
/// which never answers does not keep one of the [`MOST_COMPARISONS`] for ever.
const COMPARING_LIMIT: Duration = Duration::from_secs(10 * 60);

/// A control connection after pairing, seen from either end.
pub(super) struct Paired<S> {
    pub(super) conn: Conn<S>,
    pub(super) peer: Peer,
    pub(super) standing: Standing,
    pub(super) role: Role,
    pub(super) bond: Bond,
    pub(super) binding: Binding,
    pub(super) lane_secret: LaneSecret,
    /// The transfer of before that a guest has proven to belong to, seen from the host.
    pub(super) returning: Option<Returning>,
}

/// Tells the peer why, if it is still there, and closes.
pub(super) async fn part<S: Channel>(conn: Conn<S>, error: SessionError) -> SessionError {
    if let Some(refuse) = error.parting() {
        conn.refuse(refuse).await;
    }
    error
}

/// Shows the code to both people. Only two explicit yeses go on.
pub(super) async fn compare<S: Channel>(
    conn: &mut Conn<S>,
    reporter: &dyn Reporter,
    peer: Peer,
    code: SixDigits,
) -> Result<(), SessionError> {
    reporter.tell(Event::Code { peer: peer.clone(), code: code.to_string() });
    let mut answer = pin!(reporter.ask(Question::SameCode { peer, code: code.to_string() }));
    let mut ping = pings();
    let mut limit = pin!(sleep(COMPARING_LIMIT));
    let (mut ours, mut theirs) = (false, false);
    while !(ours && theirs) {
        tokio::select! {
            // Our own answer first: a side where nobody can be asked has not been told no by anybody.
            biased;
            answer = &mut answer, if !ours => {
                conn.send(&Confirm { same: answer == Answer::Yes }).await?;
                ours = match answer {
                    Answer::Yes => true,
                    Answer::No(NoReason::Person) => return Err(SessionError::CodeDiffers(Unconfirmed::Here)),
                    Answer::No(NoReason::Timeout) => return Err(SessionError::CodeDiffers(Unconfirmed::NoAnswerHere)),
                    Answer::No(NoReason::NoTerminal) => return Err(SessionError::CodeDiffers(Unconfirmed::NoTerminal)),
                };
            }
            () = &mut limit => {
                let who = if ours { Unconfirmed::NoAnswerThere } else { Unconfirmed::NoAnswerHere };
                return Err(SessionError::CodeDiffers(who));
            }
            _ = ping.tick() => conn.send(&Ping).await?,
            frame = conn.recv(|kind| kind == Kind::Confirm && !theirs) => {
                if !frame?.decode::<Confirm>()?.same {
                    return Err(SessionError::CodeDiffers(Unconfirmed::There));
                }
                theirs = true;
            }
        }
    }
    Ok(())
}

pub(super) fn hello(role: Role, name: &str, devices: &Devices) -> Hello {
    let features = if devices.has_lasting_key() { Hello::LASTING_KEY } else { 0 };
    Hello { version: VERSION, role, features, name: name.to_owned(), software: SOFTWARE.to_owned() }
}

pub(super) fn unnamed(key: &Fingerprint, address: SocketAddr) -> Peer {
    Peer { id: key.mark(), name: String::new(), address, dialect: Dialect::Native }
}

pub(super) fn named(key: &Fingerprint, address: SocketAddr, hello: &Hello) -> Peer {
    Peer { name: PeerName::from_stranger(&hello.name).to_string(), ..unnamed(key, address) }
}
