//! The keys of a session: protocol.md 11.1.

use std::fmt;

use ring::aead::{CHACHA20_POLY1305, LessSafeKey, UnboundKey};
use ring::{hkdf, hmac};
use zeroize::Zeroizing;

/// Length of a key, a proof and a mac in bytes.
pub(super) const KEY_BYTES: usize = 32;

/// Length of `p`, `s` and `id` in bytes.
pub(super) const NONCE_BYTES: usize = 16;

const SALT: &[u8] = b"qrdrop/1 web";

/// 16 random bytes of one side, or the name of a session.
pub(super) type Nonce = [u8; NONCE_BYTES];

/// A secret of 32 bytes.
pub(super) struct Key(Zeroizing<[u8; KEY_BYTES]>);

impl Key {
    /// `K(secret, info)`, `info` given in parts.
    pub(super) fn derive(secret: &[u8], info: &[&[u8]]) -> Key {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(secret);
        prk.expand(info, hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(key.as_mut_slice()))
            .expect("one block is within what HKDF expands to");
        Key(key)
    }

    /// The key of `purpose` that comes from this one and the nonces of a view.
    fn of_view(&self, purpose: &str, p: &Nonce, s: &Nonce) -> Key {
        Key::derive(self.0.as_slice(), &[purpose.as_bytes(), p, s])
    }

    /// `H(key, message)`, `message` given in parts.
    pub(super) fn mac(&self, message: &[&[u8]]) -> [u8; KEY_BYTES] {
        let mut mac = [0; KEY_BYTES];
        mac.copy_from_slice(hmac::sign(&self.signing(), &message.concat()).as_ref());
        mac
    }

    /// Whether `mac` is the one that [`Key::mac`] makes, compared in constant time.
    pub(super) fn verifies(&self, message: &[&[u8]], mac: &[u8]) -> bool {
        hmac::verify(&self.signing(), &message.concat(), mac).is_ok()
    }

    /// The key as one that seals and opens records.
    pub(super) fn sealing(&self) -> LessSafeKey {
        let key = UnboundKey::new(&CHACHA20_POLY1305, self.0.as_slice());
        LessSafeKey::new(key.expect("a key of ChaCha20-Poly1305 has 32 bytes"))
    }

    fn signing(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, self.0.as_slice())
    }

    #[cfg(test)]
    pub(super) fn copy(&self) -> Key {
        Key(self.0.clone())
    }

    #[cfg(test)]
    pub(super) fn hex(&self) -> String {
        data_encoding::HEXLOWER.encode(self.0.as_slice())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(<secret>)")
    }
}

/// `claim key` of a token.
pub(super) fn claim_key(token: &[u8]) -> Key {
    Key::derive(token, &[b"claim"])
}

/// `M`, the secret of a session.
pub(super) fn session_secret(token: &[u8], p: &Nonce, s: &Nonce) -> Key {
    Key::derive(token, &[b"session", p, s])
}

/// `open key` of a session.
pub(super) fn open_key(secret: &Key) -> Key {
    Key::derive(secret.0.as_slice(), &[b"open"])
}

/// The keys of one loaded page.
#[derive(Debug)]
pub(super) struct ViewKeys {
    s: Nonce,
    auth: Key,
    /// Seals what the page says.
    pub(super) page: Key,
    /// Seals what the host says.
    pub(super) host: Key,
}

impl ViewKeys {
    pub(super) fn new(secret: &Key, p: &Nonce, s: &Nonce) -> ViewKeys {
        ViewKeys {
            s: *s,
            auth: secret.of_view("auth page", p, s),
            page: secret.of_view("seal page", p, s),
            host: secret.of_view("seal host", p, s),
        }
    }

    /// Whether the page has made this request.
    pub(super) fn signed(&self, method: &str, target: &str, number: u64, mac: &[u8]) -> bool {
        self.auth.verifies(&self.request(method, target, &number.to_be_bytes()), mac)
    }

    fn request<'a>(&'a self, method: &'a str, target: &'a str, number: &'a [u8]) -> [&'a [u8]; 6] {
        [method.as_bytes(), b" ", target.as_bytes(), b"\n", &self.s, number]
    }

    #[cfg(test)]
    pub(super) fn sign(&self, method: &str, target: &str, number: u64) -> [u8; KEY_BYTES] {
        self.auth.mac(&self.request(method, target, &number.to_be_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::vectors::{field, hex, nonce, vectors};

    #[test]
    fn the_keys_are_those_of_the_vectors() {
        let v = vectors();
        let (token, id, host) = (hex(&v["token"]), nonce(&v["id"]), field(&v["host"]));
        let (p, s) = (nonce(&v["views"][0]["p"]), nonce(&v["views"][0]["s"]));
        let claim = claim_key(&token);
        assert_eq!(claim.hex(), field(&v["claim"]["key"]));
        assert_eq!(claim.mac(&[b"claim page", &p, host.as_bytes()]).to_vec(), hex(&v["claim"]["page_proof"]));
        assert_eq!(claim.mac(&[b"claim host", &p, &s, &id]).to_vec(), hex(&v["claim"]["host_proof"]));
        let secret = session_secret(&token, &p, &s);
        assert_eq!(secret.hex(), field(&v["session_secret"]));
        let open = open_key(&secret);
        assert_eq!(open.hex(), field(&v["open"]["key"]));
        for view in v["views"].as_array().unwrap() {
            let keys = ViewKeys::new(&secret, &nonce(&view["p"]), &nonce(&view["s"]));
            assert_eq!(keys.auth.hex(), field(&view["auth"]));
            assert_eq!(keys.page.hex(), field(&view["seal_page"]));
            assert_eq!(keys.host.hex(), field(&view["seal_host"]));
        }
        let (p, s) = (nonce(&v["views"][1]["p"]), nonce(&v["views"][1]["s"]));
        assert_eq!(open.mac(&[b"open page", &p, &id]).to_vec(), hex(&v["open"]["page_proof"]));
        assert_eq!(open.mac(&[b"open host", &p, &s, &id]).to_vec(), hex(&v["open"]["host_proof"]));
    }

    #[test]
    fn a_key_says_nothing_in_debug() {
        assert_eq!(format!("{:?}", claim_key(&[1; 16])), "Key(<secret>)");
    }
}
