//! Capabilities: a part of a path that can't be guessed is the right to what stands there.

use data_encoding::BASE32_NOPAD;
use ring::digest::{SHA256, digest};
use zeroize::Zeroizing;

use crate::pairing::Token;

/// Characters of a capability: 130 bits.
pub(super) const CAPABILITY_CHARS: usize = 26;

/// A fresh right. Whoever keeps it keeps its digest, so that looking one up takes a time that says nothing about it.
pub(super) struct Capability(Zeroizing<String>);

impl Capability {
    /// A new one.
    pub(super) fn draw() -> Capability {
        let (one, other) = (Token::random(), Token::random());
        let bytes = Zeroizing::new([one.as_bytes().as_slice(), other.as_bytes()].concat());
        let text = Zeroizing::new(BASE32_NOPAD.encode(&bytes).to_ascii_lowercase());
        Capability(Zeroizing::new(text[..CAPABILITY_CHARS].to_owned()))
    }

    /// SHA-256.
    pub(super) fn digest(&self) -> [u8; 32] {
        digest_of(&self.0)
    }

    /// As it stands in a path; secret.
    pub(super) fn into_text(self) -> Zeroizing<String> {
        self.0
    }
}

/// The digest of what stands in a path where a capability should.
pub(super) fn digest_of(text: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    bytes
}
