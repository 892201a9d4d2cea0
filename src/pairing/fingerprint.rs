//! The name of a key.

use std::fmt;

use data_encoding::HEXLOWER;
use ring::digest;
use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

use super::PairingError;

/// Length of a fingerprint in bytes.
pub const FINGERPRINT_BYTES: usize = 32;

/// Length in bytes of what an invitation carries of a fingerprint: a second key with the same 128 bits is out of reach.
pub const PREFIX_BYTES: usize = 16;

/// Crockford's base32 in lower case: no `i`, `l`, `o` or `u` to mistake for something else.
const MARK_ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Characters of a mark, 5 bits each. 60 bits, because 40 are ground in an hour by one graphics card.
const MARK_CHARS: usize = 12;

/// Characters between two hyphens of a mark: what the eye takes in at once.
const MARK_GROUP: usize = 4;

/// The SHA-256 of a public key's SubjectPublicKeyInfo in DER (RFC 5280, as in RFC 7469), which outlives certificates.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; FINGERPRINT_BYTES]);

impl Fingerprint {
    /// The fingerprint of a SubjectPublicKeyInfo in DER, its outer SEQUENCE included.
    pub fn of_spki(spki_der: &[u8]) -> Fingerprint {
        let mut bytes = [0; FINGERPRINT_BYTES];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, spki_der).as_ref());
        Fingerprint(bytes)
    }

    /// The fingerprint of the key in a certificate, whose signature, names and dates are not looked at.
    ///
    /// # Errors
    ///
    /// [`PairingError::Certificate`] if it does not parse as X.509 version 3.
    pub fn of_certificate(certificate: &CertificateDer<'_>) -> Result<Fingerprint, PairingError> {
        let parsed =
            EndEntityCert::try_from(certificate).map_err(|_| PairingError::Certificate("it does not parse"))?;
        Ok(Fingerprint::of_spki(&parsed.subject_public_key_info()))
    }

    /// A fingerprint that was kept as bytes.
    pub fn from_bytes(bytes: [u8; FINGERPRINT_BYTES]) -> Fingerprint {
        Fingerprint(bytes)
    }

    /// All 32 bytes.
    pub fn as_bytes(&self) -> &[u8; FINGERPRINT_BYTES] {
        &self.0
    }

    /// The part that an invitation carries and a client pins.
    pub fn prefix(&self) -> [u8; PREFIX_BYTES] {
        let mut prefix = [0; PREFIX_BYTES];
        prefix.copy_from_slice(&self.0[..PREFIX_BYTES]);
        prefix
    }

    /// The key mark that people compare, e.g. `k7wq-93fd-x2mp`: the first 60 bits in groups of four characters.
    pub fn mark(&self) -> String {
        let mut mark = String::with_capacity(MARK_CHARS + MARK_CHARS / MARK_GROUP);
        for i in 0..MARK_CHARS {
            if i > 0 && i % MARK_GROUP == 0 {
                mark.push('-');
            }
            let bit = i * 5;
            let pair = u16::from_be_bytes([self.0[bit / 8], self.0[bit / 8 + 1]]);
            let five_bits = pair >> (11 - bit % 8) & 0b1_1111;
            mark.push(char::from(MARK_ALPHABET[usize::from(five_bits)]));
        }
        mark
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}
