//! The devices that this one remembers, and the key that they remember it by.
//!
//! Both are in the state folder: `device-key` is the key in PKCS#8, `devices.json` the list. What is damaged or open to
//! others is refused and never made anew: a key that changes by itself would be an alarm everywhere else. The list is
//! read anew each time it is asked, so that a device that was forgotten is a stranger at once.

mod known;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use super::memory::KeptKey;
use crate::events::{ExitCode, Failure};
use crate::names::PeerName;
use crate::pairing::{Fingerprint, Identity, PairingError};
use crate::store::{StateClaim, StateDir, StoreError};

pub use self::known::{Device, Impostor, Known};

const KEY: &str = "device-key";
const LIST: &str = "devices.json";
const LOCK: &str = "devices.lock";

/// Far more than anybody knows; a receiver without a person that remembers everybody must not grow without end.
const MOST_DEVICES: usize = 1_000;

/// A change takes milliseconds: who waits longer waits for a process that hangs.
const LOCK_WAIT: Duration = Duration::from_secs(5);
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// What can go wrong with what is remembered of devices.
#[derive(Debug, thiserror::Error)]
pub enum DevicesError {
    /// The disk, or the rights of a file.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file does not hold what was written there.
    #[error("`{path}` is damaged: {why}")]
    Damaged {
        /// Which file, fit to be shown.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// Devices are remembered, and the key by which they remember this one is gone.
    #[error("`{0}` is missing: remembered devices know this one by the key in it")]
    KeyMissing(String),
    /// This process shows another key than the one that is kept.
    #[error("this device has got another key meanwhile")]
    KeyReplaced,
    /// No key could be made.
    #[error(transparent)]
    Key(#[from] PairingError),
    /// Another process does not let go of the list.
    #[error("another qrdrop holds on to the list of devices")]
    Busy,
    /// As many as there can be.
    #[error("{MOST_DEVICES} devices are remembered already")]
    Full,
    /// No such device.
    #[error("no device `{0}` is remembered")]
    Unknown(String),
    /// A name is for one device.
    #[error("another remembered device has the name `{0}`")]
    NameTaken(String),
}

impl DevicesError {
    /// As a person and a script are told.
    pub fn failure(&self) -> Failure {
        let (code, hint) = match self {
            DevicesError::Store(error) => (ExitCode::Local, error.hint()),
            DevicesError::Damaged { .. } | DevicesError::KeyMissing(_) => (
                ExitCode::Local,
                "restore it from a backup; or remove `device-key` and `devices.json` from the state folder, and pair again with everybody",
            ),
            DevicesError::KeyReplaced => (ExitCode::Local, "start it again"),
            DevicesError::Key(_) => (ExitCode::Internal, "report it"),
            DevicesError::Busy => (ExitCode::Local, "try again in a moment"),
            DevicesError::Full => (ExitCode::Local, "forget some with `qrdrop devices forget`"),
            DevicesError::Unknown(_) => (ExitCode::Nobody, "`qrdrop devices` lists those that are"),
            DevicesError::NameTaken(_) => (ExitCode::Usage, "choose another name, or rename the other device first"),
        };
        Failure::new(code, self.to_string(), hint)
    }
}

/// The list of remembered devices, and whether more are to be remembered.
#[derive(Clone)]
pub struct Devices {
    path: Option<PathBuf>,
    remember: bool,
    /// The key that this device shows each time.
    key: Option<Arc<KeptKey>>,
}

impl Devices {
    /// Those in the state folder at `path`, or else at the platform's place for one. To `remember` others, this device
    /// gets a key that lasts if it has none.
    ///
    /// # Errors
    /// What is there is damaged, or not this user's alone.
    pub fn open(path: Option<PathBuf>, remember: bool) -> Result<Devices, DevicesError> {
        let state = match remember {
            true => Some(StateDir::open(path.as_deref())?),
            false => StateDir::find(path.as_deref())?,
        };
        let key = state.map_or(Ok(None), |state| kept_key(&state, remember))?;
        Ok(Devices { path, remember, key: key.map(Arc::new) })
    }

    /// The same, to which none is added.
    pub fn closed(self) -> Devices {
        Devices { remember: false, ..self }
    }

    /// The key that this device shows: the one that lasts if it has one, else the `known` one of an earlier run, else a new
    /// one; with a certificate for `addresses`.
    ///
    /// # Errors
    /// It can't be made.
    pub fn identity(&self, known: Option<&[u8]>, addresses: &[IpAddr]) -> Result<Identity, PairingError> {
        match self.key.as_ref().map(|key| key.as_slice()).or(known) {
            Some(key) => Identity::kept(key, addresses),
            None => Identity::fresh(addresses),
        }
    }

    /// Whether devices that are met now are to be remembered.
    pub(super) fn remembers(&self) -> bool {
        self.remember
    }

    /// Whether this device will show the same key again.
    pub(super) fn has_lasting_key(&self) -> bool {
        self.key.is_some()
    }

    /// The list as it is now.
    ///
    /// # Errors
    /// It is damaged, or not this user's alone.
    pub fn known(&self) -> Result<Known, DevicesError> {
        StateDir::find(self.path.as_deref())?.map_or_else(|| Ok(Known::default()), |state| read(&state))
    }

    /// Remembers the holder of `key`.
    ///
    /// # Errors
    /// The name is another's, there are too many, or the disk refuses.
    pub(super) fn remember(&self, name: &str, key: &Fingerprint) -> Result<(), DevicesError> {
        self.change(|state, known| {
            let ours = self.key.as_ref().ok_or(DevicesError::KeyReplaced)?;
            // Who forgot the last device meanwhile has taken the key away with it.
            state.create_secret(KEY, ours)?;
            if state.read_secret(KEY)?.as_ref() != Some(ours) {
                return Err(DevicesError::KeyReplaced);
            }
            if known.holder(key).is_some() {
                return Ok(());
            }
            if known.named(name).is_some() {
                return Err(DevicesError::NameTaken(name.to_owned()));
            }
            if known.devices.len() >= MOST_DEVICES {
                return Err(DevicesError::Full);
            }
            known.devices.push(Device { name: name.to_owned(), key: *key, since: now(), last_seen: None });
            Ok(())
        })
    }

    /// Notes that the holder of `key` was met again.
    pub(super) fn seen(&self, key: &Fingerprint) -> Result<(), DevicesError> {
        self.change(|_, known| {
            let device = known.devices.iter_mut().find(|device| device.key == *key);
            device.into_iter().for_each(|device| device.last_seen = Some(now()));
            Ok(())
        })
    }

    /// Gives the device `old`, named so or by its key mark, the name `new`, made inert: the device as it is now.
    ///
    /// # Errors
    /// There is no such device, the name is another's, or the disk refuses.
    pub fn rename(&self, old: &str, new: &str) -> Result<Device, DevicesError> {
        let new = PeerName::from_stranger(new).to_string();
        self.change(|_, known| {
            let at = known.place(old)?;
            if known.devices.iter().enumerate().any(|(other, device)| other != at && device.is_called(&new)) {
                return Err(DevicesError::NameTaken(new));
            }
            known.devices[at].name = new;
            Ok(known.devices[at].clone())
        })
    }

    /// Forgets the device named so, or with this key mark. With the last one goes the key that others know this one by.
    ///
    /// # Errors
    /// There is no such device, or the disk refuses.
    pub fn forget(&self, name_or_mark: &str) -> Result<Device, DevicesError> {
        self.change(|_, known| {
            let at = known.place(name_or_mark)?;
            Ok(known.devices.remove(at))
        })
    }

    fn change<T>(
        &self,
        step: impl FnOnce(&StateDir, &mut Known) -> Result<T, DevicesError>,
    ) -> Result<T, DevicesError> {
        let state = StateDir::open(self.path.as_deref())?;
        let _claim = claim(&state)?;
        let before = read(&state)?;
        let mut known = before.clone();
        let result = step(&state, &mut known)?;
        if known != before {
            state.write_secret(LIST, &known.written())?;
            if known.devices.is_empty() {
                state.remove(KEY)?;
            }
        }
        Ok(result)
    }
}

/// The key that lasts; made if there is none and it is to be `made`.
fn kept_key(state: &StateDir, made: bool) -> Result<Option<KeptKey>, DevicesError> {
    if let Some(key) = read_key(state)? {
        return Ok(Some(key));
    }
    if !made && read(state)?.devices.is_empty() {
        return Ok(None);
    }
    // Together, or another process may have changed the one between a look at it and at the other.
    let _claim = claim(state)?;
    match (read_key(state)?, read(state)?.devices.is_empty()) {
        (None, false) => Err(DevicesError::KeyMissing(shown(&state.path().join(KEY)))),
        (None, true) if made => {
            state.create_secret(KEY, Identity::fresh(&[])?.secret())?;
            read_key(state)
        }
        (key, _) => Ok(key),
    }
}

fn read_key(state: &StateDir) -> Result<Option<KeptKey>, DevicesError> {
    let key = state.read_secret(KEY)?;
    match key.as_ref().map(|key| Identity::kept(key, &[])) {
        Some(Err(_)) => Err(damaged(state, KEY, "it holds no key")),
        _ => Ok(key),
    }
}

fn read(state: &StateDir) -> Result<Known, DevicesError> {
    let Some(bytes) = state.read_secret(LIST)? else { return Ok(Known::default()) };
    Known::read(&bytes).map_err(|flaw| damaged(state, LIST, flaw))
}

/// Takes the list for this process.
fn claim(state: &StateDir) -> Result<StateClaim, DevicesError> {
    let began = Instant::now();
    loop {
        match state.claim(LOCK)? {
            Some(claim) => return Ok(claim),
            None if began.elapsed() > LOCK_WAIT => return Err(DevicesError::Busy),
            None => sleep(LOCK_PAUSE),
        }
    }
}

fn damaged(state: &StateDir, name: &str, why: impl Into<String>) -> DevicesError {
    DevicesError::Damaged { path: shown(&state.path().join(name)), why: why.into() }
}

fn shown(path: &Path) -> String {
    crate::names::inert(&path.to_string_lossy())
}

fn now() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}
