use std::fmt;

use super::component::cut;
use super::rel_path::collision_key;
use super::shown::inert;

/// Characters of a device name: as many as a label of DNS has, which mDNS makes of it.
pub const PEER_NAME_CHARS_MAX: usize = 63;

/// Bytes of a device name: one string of a TXT record has no more.
pub const PEER_NAME_BYTES_MAX: usize = 255;

/// The name that a device shows, safe on one line of a terminal. It identifies nobody: keys do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerName(String);

impl PeerName {
    /// What is left of `text` when it is made [`inert`] and short; `unnamed` if nothing is.
    pub fn from_stranger(text: &str) -> PeerName {
        let inert = inert(text.trim());
        let chars = inert.char_indices().nth(PEER_NAME_CHARS_MAX).map_or(inert.len(), |(index, _)| index);
        let name = cut(&inert, chars.min(PEER_NAME_BYTES_MAX)).trim_end();
        PeerName(if name.is_empty() { "unnamed".to_owned() } else { name.to_owned() })
    }

    /// Equal for names that a person takes for the same: case, composition and joiners aside.
    pub fn collision_key(&self) -> String {
        collision_key(&self.0)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
