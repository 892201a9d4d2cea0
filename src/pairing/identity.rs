//! The key that a run of the program is known by.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls::crypto::ring::sign::any_ecdsa_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use super::{Fingerprint, PairingError};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The longest validity that browsers take (CA/Browser Forum ballot SC-31: 398 days, one kept in hand).
const VALIDITY: Duration = Duration::from_secs(397 * 24 * 60 * 60);

/// Addresses named in the certificate; with this many of IPv6 it stays well under [`super::tls::MAX_CERTIFICATE_BYTES`].
const MAX_ADDRESSES: usize = 64;

/// A P-256 key with its self-signed certificate. P-256, because browsers do not take Ed25519.
///
/// Whoever holds the key is this device; the certificate only carries it.
#[derive(Clone)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
    fingerprint: Fingerprint,
    /// The key in PKCS#8.
    secret: Arc<Zeroizing<Vec<u8>>>,
}

impl Identity {
    /// A new key, with a certificate for `addresses` (at most the first 64 of them) that is valid from a day ago, for
    /// the clocks that are behind.
    ///
    /// # Errors
    ///
    /// [`PairingError::Identity`] if the key or certificate can't be made.
    pub fn fresh(addresses: &[IpAddr]) -> Result<Identity, PairingError> {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|e| PairingError::Identity(e.into()))?;
        Identity::of_pair(pair, addresses)
    }

    /// The key that [`Identity::secret`] gave, with a new certificate as [`Identity::fresh`] makes it.
    ///
    /// # Errors
    ///
    /// [`PairingError::Identity`] if that is no such key.
    pub fn kept(secret: &[u8], addresses: &[IpAddr]) -> Result<Identity, PairingError> {
        let der = PrivatePkcs8KeyDer::from(secret);
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ECDSA_P256_SHA256);
        Identity::of_pair(pair.map_err(|e| PairingError::Identity(e.into()))?, addresses)
    }

    fn of_pair(pair: KeyPair, addresses: &[IpAddr]) -> Result<Identity, PairingError> {
        let certificate = certificate_params(addresses).self_signed(&pair);
        let certificate = certificate.map_err(|e| PairingError::Identity(e.into()))?;
        Identity::assemble(certificate.into(), PrivateKeyDer::from(pair))
    }

    fn assemble(certificate: CertificateDer<'static>, key: PrivateKeyDer<'static>) -> Result<Identity, PairingError> {
        let key = Zeroizing::new(key);
        let secret = Arc::new(Zeroizing::new(key.secret_der().to_vec()));
        let signer = any_ecdsa_type(&key).map_err(|e| PairingError::Identity(e.into()))?;
        let fingerprint = Fingerprint::of_certificate(&certificate)?;
        let certified = CertifiedKey::new(vec![certificate], signer);
        certified.keys_match().map_err(|e| PairingError::Identity(e.into()))?;
        Ok(Identity { certified: Arc::new(certified), fingerprint, secret })
    }

    /// The name of the key.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The key itself in PKCS#8 (RFC 5958), to be kept where nobody else reads it.
    pub fn secret(&self) -> &[u8] {
        &self.secret
    }

    /// The certificate, which is public.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certified.cert[0]
    }

    pub(super) fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }
}

fn certificate_params(addresses: &[IpAddr]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.subject_alt_names = addresses.iter().take(MAX_ADDRESSES).copied().map(SanType::IpAddress).collect();
    // No name of a person or a machine: a certificate is shown to whoever connects.
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "qrdrop");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // Safari takes a server's certificate only with its purpose written in it.
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    params.not_before = rcgen::date_time_ymd(1970, 1, 1) + since_epoch.saturating_sub(DAY);
    params.not_after = params.not_before + VALIDITY;
    params
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}
