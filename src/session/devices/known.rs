//! The list of remembered devices: who is one, and who only has the name of one.

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use super::DevicesError;
use crate::events::{ExitCode, Failure};
use crate::names::PeerName;
use crate::pairing::Fingerprint;

/// The layout of the list.
const LIST_VERSION: u32 = 1;

/// Somebody who has the name of a remembered device, and another key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "alarm: what calls itself `{name}` has the key `{shown}`; the device remembered by that name has `{remembered}`"
)]
pub struct Impostor {
    /// The name.
    pub name: String,
    /// The mark of the key that it shows, or claims to have.
    pub shown: String,
    /// The mark of the key that is remembered.
    pub remembered: String,
}

impl Impostor {
    /// As a person and a script are told.
    pub fn failure(&self) -> Failure {
        let hint = format!(
            "somebody may pose as it. If you know that it has a new key, `qrdrop devices forget {}` and pair again; if it is \
             another device, one of the two needs another name",
            self.remembered
        );
        Failure::new(ExitCode::Pairing, self.to_string(), hint)
    }
}

/// A device that is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// The name that it is remembered by: at first its own, until a person gives it another.
    pub name: String,
    /// Its key.
    #[serde(with = "in_hex")]
    pub key: Fingerprint,
    /// When it was first met, RFC 3339 in UTC.
    pub since: String,
    /// When it was last met, likewise; `None` if not again.
    pub last_seen: Option<String>,
}

impl Device {
    pub(super) fn is_called(&self, name: &str) -> bool {
        self.name.to_lowercase() == PeerName::from_stranger(name).as_str().to_lowercase()
    }
}

mod in_hex {
    use serde::{Deserializer, Serializer, de::Error};

    use super::{Deserialize, Fingerprint, HEXLOWER};

    pub(super) fn serialize<S: Serializer>(key: &Fingerprint, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&HEXLOWER.encode(key.as_bytes()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Fingerprint, D::Error> {
        let bytes = HEXLOWER.decode(String::deserialize(deserializer)?.as_bytes()).map_err(D::Error::custom)?;
        let bytes = bytes.try_into().map_err(|_| D::Error::custom("a key has 32 bytes"))?;
        Ok(Fingerprint::from_bytes(bytes))
    }
}

/// All remembered devices, as they were a moment ago. A key and a name are each of one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    version: u32,
    pub(super) devices: Vec<Device>,
}

impl Default for Known {
    fn default() -> Self {
        Known { version: LIST_VERSION, devices: Vec::new() }
    }
}

impl Known {
    /// Each of them, in the order in which they were met.
    pub fn devices(&self) -> &[Device] {
        &self.devices
    }

    /// The device that is remembered by this name, whatever the case of its letters.
    pub fn named(&self, name: &str) -> Option<&Device> {
        self.devices.iter().find(|device| device.is_called(name))
    }

    /// The device that has this key.
    pub fn holder(&self, key: &Fingerprint) -> Option<&Device> {
        self.devices.iter().find(|device| device.key == *key)
    }

    /// The device whose key has this mark. Whoever only claims a mark is not that device yet.
    pub fn marked(&self, mark: &str) -> Option<&Device> {
        self.devices.iter().find(|device| device.key.mark() == mark)
    }

    /// What somebody is called who is no remembered device.
    ///
    /// # Errors
    /// A remembered device is called so.
    pub fn stranger(&self, name: &str, mark: &str) -> Result<(), Impostor> {
        self.named(name).map_or(Ok(()), |device| {
            let (shown, remembered) = (mark.to_owned(), device.key.mark());
            Err(Impostor { name: device.name.clone(), shown, remembered })
        })
    }

    /// The place of the device named so, or with this key mark.
    pub(super) fn place(&self, name_or_mark: &str) -> Result<usize, DevicesError> {
        let by_name = self.devices.iter().position(|device| device.is_called(name_or_mark));
        by_name
            .or_else(|| self.devices.iter().position(|device| device.key.mark() == name_or_mark))
            .ok_or_else(|| DevicesError::Unknown(PeerName::from_stranger(name_or_mark).to_string()))
    }

    /// The list as [`Known::written`] wrote it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(in crate::session) fn read(bytes: &[u8]) -> Result<Known, String> {
        let known: Known = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        known.flaw().map_or(Ok(known), Err)
    }

    /// The list as it is kept.
    pub(in crate::session) fn written(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("names and times can be written as JSON")
    }

    fn flaw(&self) -> Option<String> {
        let is_time = |time: &String| humantime::parse_rfc3339(time).is_ok();
        let twice = |at: usize, device: &Device| {
            self.devices[..at].iter().any(|other| other.is_called(&device.name) || other.key == device.key)
        };
        if self.version != LIST_VERSION {
            return Some(format!("its version is {}, and {LIST_VERSION} is known here", self.version));
        }
        self.devices.iter().enumerate().find_map(|(at, device)| {
            let is_fit = PeerName::from_stranger(&device.name).as_str() == device.name
                && is_time(&device.since)
                && device.last_seen.iter().all(is_time);
            (!is_fit || twice(at, device)).then(|| format!("entry {} is not one that was written so", at + 1))
        })
    }
}
