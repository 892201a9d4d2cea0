//! What a session makes of remembered devices: who a peer is, and whether it is remembered.

use tokio::task::spawn_blocking;

use super::devices::Devices;
use super::error::SessionError;
use crate::events::{Event, Peer, Reporter};
use crate::pairing::Fingerprint;
use crate::wire::Hello;

/// Why a peer is not remembered.
const UNVOUCHED: &str =
    "it came with the code on the screen, and nobody here was asked: compare a code, or use the `qrdrop://` link";
const PASSING: &str = "its key is for this run alone: start it with `--remember` too";

/// What a peer's key is to this end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bond {
    /// That of a remembered device.
    Known,
    /// A stranger's, which it says it will show again.
    Lasting,
    /// A stranger's, for this run.
    Passing,
}

/// Recognises a peer that has proven `key`. One that is remembered goes by the name that it is remembered by, whatever
/// it calls itself.
///
/// # Errors
/// It has the name of a remembered device, and another key; or the list can't be read.
pub(super) fn recognise(
    devices: &Devices,
    key: &Fingerprint,
    hello: &Hello,
    peer: &mut Peer,
) -> Result<Bond, SessionError> {
    let known = devices.known()?;
    if let Some(device) = known.holder(key) {
        peer.name.clone_from(&device.name);
        return Ok(Bond::Known);
    }
    known.stranger(&peer.name, &key.mark())?;
    Ok(if hello.has_lasting_key() { Bond::Lasting } else { Bond::Passing })
}

/// A peer that has paired.
pub(super) struct Acquaintance {
    pub(super) peer: Peer,
    pub(super) key: Fingerprint,
    pub(super) bond: Bond,
}

impl Acquaintance {
    /// Remembers a peer with whom something was agreed on, if that is wanted. `is_vouched`: a person, or a secret that no
    /// browser has seen, says who it is.
    pub(super) async fn befriend(self, devices: &Devices, reporter: &dyn Reporter, is_vouched: bool) {
        let Acquaintance { peer, key, bond } = self;
        let (list, name) = (devices.clone(), peer.name.clone());
        if bond == Bond::Known {
            // That it was here is worth a note, and no more than that.
            let _ = spawn_blocking(move || list.seen(&key)).await;
            return;
        }
        if !devices.remembers() {
            return;
        }
        let remembered = match bond {
            _ if !is_vouched => Err(UNVOUCHED.to_owned()),
            Bond::Passing => Err(PASSING.to_owned()),
            _ => match spawn_blocking(move || list.remember(&name, &key)).await {
                Ok(remembered) => remembered.map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            },
        };
        reporter.tell(match remembered {
            Ok(()) => Event::Remembered { peer },
            Err(reason) => Event::NotRemembered { peer, reason },
        });
    }
}
