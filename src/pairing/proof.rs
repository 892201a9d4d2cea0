//! Proving that one knows a secret, on one connection and in one direction only.
//!
//! Byte layouts, with `||` for concatenation and no separators, since every part but the last of an input has a fixed
//! length or comes from a fixed set in which none is the beginning of another:
//!
//! ```text
//! E      = TLS-Exporter("EXPORTER-qrdrop-1", "", 32)              RFC 8446 7.5
//! fp_c   = SHA-256(SPKI of the TLS client)                        32 bytes
//! fp_s   = SHA-256(SPKI of the TLS server)                        32 bytes
//! key    = HKDF-SHA256(ikm = secret, salt = "qrdrop/1",
//!                      info = purpose || direction, 32)           RFC 5869
//! purpose   = "invite" | "resume" | "lane"
//! direction = "c" (0x63, the client proves) | "s" (0x73, the server proves)
//! proof  = HMAC-SHA256(key, E || fp_c || fp_s)                    32 bytes, RFC 2104
//! ```
//!
//! The exporter makes a recorded proof worthless on another connection. The fingerprints bind both keys, the client's
//! above all: its certificate comes after the point of the transcript from which the exporter is cut.

use std::fmt;

use ring::{hkdf, hmac};

use super::Fingerprint;

/// Length of a proof in bytes.
pub const PROOF_BYTES: usize = 32;

/// Length in bytes of what is cut from the TLS exporter.
pub const EXPORTER_BYTES: usize = 32;

/// Label of the exporter that binds proofs and compared codes to a connection. The context is empty.
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-qrdrop-1";

/// Label of the exporter that gives a session the secret its further connections (lanes) prove. The context is empty.
pub const LANE_EXPORTER_LABEL: &[u8] = b"EXPORTER-qrdrop-1-lane";

const SALT: &[u8] = b"qrdrop/1";

/// What ties a proof to one connection between two keys.
#[derive(Clone, PartialEq, Eq)]
pub struct Binding {
    /// Keying material cut from the TLS connection under [`EXPORTER_LABEL`].
    pub exporter: [u8; EXPORTER_BYTES],
    /// The key of the TLS client, the one who dialled.
    pub client: Fingerprint,
    /// The key of the TLS server, the one who hosts.
    pub server: Fingerprint,
}

impl fmt::Debug for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Binding")
            .field("exporter", &"<secret>")
            .field("client", &self.client)
            .field("server", &self.server)
            .finish()
    }
}

/// What the proven secret is good for; the same bytes under two purposes are two unrelated keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The token of an invitation. The page in a phone's browser derives its keys from the token in its own way.
    Invite,
    /// The resume key of an interrupted transfer.
    Resume,
    /// The lane secret of a session, proven by each further connection of it.
    Lane,
}

impl Purpose {
    fn bytes(self) -> &'static [u8] {
        match self {
            Purpose::Invite => b"invite",
            Purpose::Resume => b"resume",
            Purpose::Lane => b"lane",
        }
    }
}

/// Who proves; a proof can't be turned round and sent back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The TLS client proves to the server.
    Client,
    /// The TLS server proves to the client.
    Server,
}

impl Direction {
    fn bytes(self) -> &'static [u8] {
        match self {
            Direction::Client => b"c",
            Direction::Server => b"s",
        }
    }
}

/// The proof that its maker knows `secret`, as laid out at the top of this module.
pub fn prove(secret: &[u8], purpose: Purpose, direction: Direction, binding: &Binding) -> [u8; PROOF_BYTES] {
    let mut proof = [0; PROOF_BYTES];
    proof.copy_from_slice(hmac::sign(&key(secret, purpose, direction), &message(binding)).as_ref());
    proof
}

/// Whether `proof` is the one that [`prove`] makes, compared in constant time. Any other length than
/// [`PROOF_BYTES`] is wrong.
pub fn verify(secret: &[u8], purpose: Purpose, direction: Direction, binding: &Binding, proof: &[u8]) -> bool {
    hmac::verify(&key(secret, purpose, direction), &message(binding), proof).is_ok()
}

fn key(secret: &[u8], purpose: Purpose, direction: Direction) -> hmac::Key {
    let info = [purpose.bytes(), direction.bytes()];
    hkdf::Salt::new(hkdf::HKDF_SHA256, SALT)
        .extract(secret)
        .expand(&info, hmac::HMAC_SHA256)
        .expect("one block is within what HKDF expands to")
        .into()
}

fn message(binding: &Binding) -> [u8; 96] {
    let mut message = [0; 96];
    message[..32].copy_from_slice(&binding.exporter);
    message[32..64].copy_from_slice(binding.client.as_bytes());
    message[64..].copy_from_slice(binding.server.as_bytes());
    message
}
