//! Coming back to a transfer that was cut (protocol.md 9.3).

use std::sync::Arc;

use data_encoding::HEXLOWER;
use ring::digest;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::consent::Standing;
use super::inbox::wire_name;
use super::offer::Manifest;
use crate::pairing::Fingerprint;
use crate::store::{Folder, Keepsake, Kept};
use crate::wire::CHUNK_LEN;

/// What both ends of a transfer know it by, and nobody else: the SHA-256 of its resume key.
pub(super) type ResumeHash = [u8; 32];

/// A transfer with at most so many bytes is sent again rather than gone on with.
const NOT_WORTH_KEEPING: u64 = CHUNK_LEN;

/// Random, and known to the sender alone.
pub(super) struct ResumeKey(Zeroizing<[u8; 32]>);

/// What a sender comes back with.
#[derive(Clone)]
pub(super) struct Ticket {
    /// The name of the transfer.
    pub(super) transfer: [u8; 16],
    pub(super) key: Arc<ResumeKey>,
}

impl ResumeKey {
    pub(super) fn from_bytes(bytes: [u8; 32]) -> Self {
        ResumeKey(Zeroizing::new(bytes))
    }

    pub(super) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub(super) fn hash(&self) -> ResumeHash {
        sha256(self.as_bytes())
    }
}

impl Ticket {
    pub(super) fn draw() -> Self {
        let mut key = [0; 32];
        key[..16].copy_from_slice(&wire_name());
        key[16..].copy_from_slice(&wire_name());
        Ticket { transfer: wire_name(), key: Arc::new(ResumeKey::from_bytes(key)) }
    }
}

/// Which transfer is meant, without saying what proves it.
pub(super) fn key_id(hash: &ResumeHash) -> [u8; 16] {
    let mut id = [0; 16];
    id.copy_from_slice(&sha256(hash)[..16]);
    id
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    hash
}

/// A guest that has proven that it belongs to a transfer of before.
#[derive(Clone)]
pub(super) struct Returning {
    pub(super) hash: ResumeHash,
    /// As it was paired then.
    pub(super) standing: Standing,
    /// What was accepted then.
    pub(super) digest: [u8; 32],
}

/// What a receiver keeps of a transfer, beside its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct About {
    pub(super) transfer: String,
    /// The name that the sender goes by.
    pub(super) peer: String,
    /// The sender's key, in hexadecimal; a page has none.
    key: String,
    /// In hexadecimal; none of a page.
    digest: String,
    paired: Paired,
    /// In all; `None` if that is unknown.
    pub(super) bytes: Option<u64>,
}

/// How the sender had paired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Paired {
    Verified,
    Scanned,
    Claimed,
    /// By a page, which comes again as one, and is asked about again.
    Page,
}

impl About {
    /// What is kept of a transfer that can go on and is worth it.
    pub(super) fn keepsake(manifest: &Manifest, peer: &str, key: &Fingerprint, standing: Standing) -> Option<Keepsake> {
        let worth = manifest.bytes.is_none_or(|bytes| bytes > NOT_WORTH_KEEPING);
        if manifest.resume_hash == [0; 32] || !worth {
            return None;
        }
        let about = About {
            transfer: manifest.transfer.clone(),
            peer: peer.to_owned(),
            key: HEXLOWER.encode(key.as_bytes()),
            digest: HEXLOWER.encode(&manifest.digest),
            paired: match standing {
                Standing::VERIFIED | Standing::REMEMBERED => Paired::Verified,
                Standing::SCANNED => Paired::Scanned,
                _ => Paired::Claimed,
            },
            bytes: manifest.bytes,
        };
        let about = serde_json::to_string(&about).ok()?;
        Some(Keepsake { key: manifest.resume_hash, about })
    }

    /// The same of a transfer of `bytes` from a page, which `hash` is a secret of.
    pub(super) fn keepsake_of_page(hash: ResumeHash, transfer: &str, peer: &str, bytes: u64) -> Option<Keepsake> {
        let about = About {
            transfer: transfer.to_owned(),
            peer: peer.to_owned(),
            key: String::new(),
            digest: String::new(),
            paired: Paired::Page,
            bytes: Some(bytes),
        };
        let about = serde_json::to_string(&about).ok().filter(|_| bytes > NOT_WORTH_KEEPING)?;
        Some(Keepsake { key: hash, about })
    }

    /// `None` for what another edition has written.
    pub(super) fn of(keepsake: &Keepsake) -> Option<About> {
        serde_json::from_str(&keepsake.about).ok()
    }

    /// `None` of a page: it does not come back by the key of its transfer.
    fn standing(&self) -> Option<Standing> {
        match self.paired {
            Paired::Verified => Some(Standing::VERIFIED),
            Paired::Scanned => Some(Standing::SCANNED),
            Paired::Claimed => Some(Standing::CLAIMED),
            Paired::Page => None,
        }
    }
}

/// The transfer that waits in `folder` for a sender who shows this id.
pub(super) fn awaited(folder: &Folder, id: &[u8; 16]) -> Option<Returning> {
    let keepsakes = folder.keepsakes().ok()?;
    let keepsake = keepsakes.into_iter().find(|keepsake| key_id(&keepsake.key) == *id)?;
    let about = About::of(&keepsake)?;
    let digest = HEXLOWER.decode(about.digest.as_bytes()).ok()?.try_into().ok()?;
    Some(Returning { hash: keepsake.key, standing: about.standing()?, digest })
}

/// What a receiver can prove to the holder of `key`, whose transfer waits in `folder`; and the name of the transfer.
pub(super) fn begun_with(folder: &Folder, key: &Fingerprint) -> Option<(ResumeHash, String)> {
    let key = HEXLOWER.encode(key.as_bytes());
    folder.keepsakes().ok()?.into_iter().find_map(|keepsake| {
        let about = About::of(&keepsake).filter(|about| about.key == key)?;
        Some((keepsake.key, about.transfer))
    })
}

/// A transfer that waits to go on, as a person is told of it.
pub struct Waiting {
    /// Whose it is.
    pub peer: String,
    /// Bytes that are there.
    pub bytes: u64,
    /// Bytes in all; `None` if that is unknown.
    pub total: Option<u64>,
    /// When it is given up.
    pub until: std::time::SystemTime,
}

/// What waits in `folder` to go on.
pub fn waiting(folder: &Folder) -> Vec<Waiting> {
    let waiting = |kept: Kept| {
        let About { peer, bytes: total, .. } = About::of(&kept.keepsake)?;
        Some(Waiting { peer, bytes: kept.bytes, total, until: kept.until })
    };
    folder.kept().unwrap_or_default().into_iter().filter_map(waiting).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_a_page_lets_nobody_return_over_the_native_protocol() {
        let kept = About::keepsake_of_page([7; 32], "t", "phone", NOT_WORTH_KEEPING + 1).unwrap();
        let about = About::of(&kept).unwrap();
        assert_eq!((about.peer.as_str(), about.bytes), ("phone", Some(NOT_WORTH_KEEPING + 1)));
        assert!(about.standing().is_none());
        assert!(About::keepsake_of_page([7; 32], "t", "phone", NOT_WORTH_KEEPING).is_none());
    }
}
