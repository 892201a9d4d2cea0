//! TLS 1.3 between two keys that know each other by fingerprint: no authorities, no names, no dates.
//!
//! A certificate is public, so a pin is worth exactly as much as the check of the handshake's signature: both verifiers
//! here leave that to the provider's algorithms, whatever the pin. Tickets, resumption and early data are off on both
//! sides, so every connection is a full handshake with both keys in it.

use std::io;
use std::sync::{Arc, LazyLock};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage};
use rustls::sign::SingleCertAndKey;
use rustls::version::TLS13;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, ConnectionCommon, DigitallySignedStruct,
    DistinguishedName, Error, OtherError, PeerIncompatible, ServerConfig, ServerConnection, SignatureScheme,
};
use zeroize::Zeroizing;

use super::proof::{Binding, EXPORTER_BYTES, EXPORTER_LABEL, LANE_EXPORTER_LABEL};
use super::{Fingerprint, Identity, PREFIX_BYTES, PairingError};

/// The protocol that our own sender and receiver speak (RFC 7301).
pub const ALPN: &[u8] = b"qrdrop/1";

/// The protocol of a browser that opens the page inside TLS.
pub const WEB_ALPN: &[u8] = b"http/1.1";

/// The longest certificate taken from a peer. Ours has some 400 bytes and up to 20 for each address.
pub const MAX_CERTIFICATE_BYTES: usize = 4 * 1024;

/// Which key the client expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pin {
    /// The key whose fingerprint begins with these bytes. Any other ends the handshake before ours is shown.
    Prefix([u8; PREFIX_BYTES]),
    /// Any key: whoever it is must be proven otherwise before anything is said.
    Unknown,
}

/// What a connection to the port turned out to want inside TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inside {
    /// [`ALPN`].
    Native,
    /// [`WEB_ALPN`].
    Web,
}

/// ring, given explicitly so that no process-wide default decides. AES-128 first: at its speed hashing is the
/// bottleneck, and TLS 1.3 gains nothing in practice from the longer key.
static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            ring::cipher_suite::TLS13_AES_128_GCM_SHA256,
            ring::cipher_suite::TLS13_AES_256_GCM_SHA384,
            ring::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        ..ring::default_provider()
    })
});

/// The side that dials: shows `identity`, holds the server to `pin`, offers [`ALPN`] alone.
pub fn client_config(identity: &Identity, pin: Pin) -> Arc<ClientConfig> {
    client_config_as(SingleCertAndKey::from(identity.certified()), pin)
}

pub(super) fn client_config_as(shown: SingleCertAndKey, pin: Pin) -> Arc<ClientConfig> {
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&PROVIDER))
        .with_protocol_versions(&[&TLS13])
        .expect("the provider has suites of TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(PinnedServer { pin, keys: KeyCheck::new() }))
        .with_client_cert_resolver(Arc::new(shown));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    Arc::new(config)
}

/// The side that hosts, for [`Inside::Native`]: shows `identity` and requires a certificate, with any key.
pub fn native_server_config(identity: &Identity) -> Arc<ServerConfig> {
    native_server_config_as(SingleCertAndKey::from(identity.certified()))
}

pub(super) fn native_server_config_as(shown: SingleCertAndKey) -> Arc<ServerConfig> {
    let config = server_builder().with_client_cert_verifier(Arc::new(AnyClient { keys: KeyCheck::new() }));
    finish_server(config.with_cert_resolver(Arc::new(shown)), ALPN)
}

/// The side that hosts, for [`Inside::Web`]: shows `identity` and asks for no certificate, or browsers would prompt.
pub fn web_server_config(identity: &Identity) -> Arc<ServerConfig> {
    let shown = Arc::new(SingleCertAndKey::from(identity.certified()));
    finish_server(server_builder().with_no_client_auth().with_cert_resolver(shown), WEB_ALPN)
}

fn server_builder() -> rustls::ConfigBuilder<ServerConfig, rustls::WantsVerifier> {
    ServerConfig::builder_with_provider(Arc::clone(&PROVIDER))
        .with_protocol_versions(&[&TLS13])
        .expect("the provider has suites of TLS 1.3")
}

fn finish_server(mut config: ServerConfig, alpn: &[u8]) -> Arc<ServerConfig> {
    config.alpn_protocols = vec![alpn.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Arc::new(config)
}

/// What a ClientHello asks for, which decides the configuration to answer with. `None`: neither, so hang up.
pub fn inside(hello: &ClientHello<'_>) -> Option<Inside> {
    let offered: Vec<&[u8]> = hello.alpn()?.collect();
    if offered.contains(&ALPN) {
        Some(Inside::Native)
    } else if offered.contains(&WEB_ALPN) {
        Some(Inside::Web)
    } else {
        None
    }
}

/// The fingerprint of the key that a peer has shown, given its certificates.
///
/// # Errors
///
/// [`PairingError::Certificate`] unless there is exactly one, of at most [`MAX_CERTIFICATE_BYTES`], that parses.
pub fn peer_fingerprint(certificates: &[CertificateDer<'_>]) -> Result<Fingerprint, PairingError> {
    match certificates {
        [] => Err(PairingError::Certificate("there is none")),
        [one] if one.len() > MAX_CERTIFICATE_BYTES => Err(PairingError::Certificate("it is too long")),
        [one] => Fingerprint::of_certificate(one),
        _ => Err(PairingError::Certificate("it comes with others")),
    }
}

/// The binding of a finished native handshake, seen from the client whose key is `own`.
///
/// # Errors
///
/// [`PairingError::NotQrdrop`] unless [`ALPN`] was agreed on; [`PairingError::Certificate`];
/// [`PairingError::Exporter`] before the handshake is complete.
pub fn client_binding(connection: &ClientConnection, own: &Identity) -> Result<Binding, PairingError> {
    let (exporter, server) = bound(connection)?;
    Ok(Binding { exporter, client: own.fingerprint(), server })
}

/// The binding of a finished native handshake, seen from the server whose key is `own`.
///
/// # Errors
///
/// As [`client_binding`].
pub fn server_binding(connection: &ServerConnection, own: &Identity) -> Result<Binding, PairingError> {
    let (exporter, client) = bound(connection)?;
    Ok(Binding { exporter, client, server: own.fingerprint() })
}

/// The secret that the further connections of a session prove, cut from the session's first connection.
///
/// # Errors
///
/// [`PairingError::Exporter`] before the handshake is complete.
pub fn lane_secret<Side>(connection: &ConnectionCommon<Side>) -> Result<Zeroizing<[u8; EXPORTER_BYTES]>, PairingError> {
    let mut secret = Zeroizing::new([0; EXPORTER_BYTES]);
    connection
        .export_keying_material(secret.as_mut_slice(), LANE_EXPORTER_LABEL, None)
        .map_err(PairingError::Exporter)?;
    Ok(secret)
}

/// Exporter and peer's key. TLS lets a peer leave ALPN out, so that is looked at here.
fn bound<Side>(connection: &ConnectionCommon<Side>) -> Result<([u8; EXPORTER_BYTES], Fingerprint), PairingError> {
    let exporter =
        connection.export_keying_material([0; EXPORTER_BYTES], EXPORTER_LABEL, None).map_err(PairingError::Exporter)?;
    if connection.alpn_protocol() != Some(ALPN) {
        return Err(PairingError::NotQrdrop);
    }
    Ok((exporter, peer_fingerprint(connection.peer_certificates().unwrap_or_default())?))
}

/// What a failed handshake says about the peer, where its key or protocol is to blame: [`PairingError::WrongKey`],
/// [`PairingError::Certificate`] or [`PairingError::NotQrdrop`]. `None` for everything else.
pub fn refusal(error: &io::Error) -> Option<PairingError> {
    match error.get_ref()?.downcast_ref::<Error>()? {
        Error::InvalidCertificate(CertificateError::Other(OtherError(reason))) => {
            match reason.downcast_ref::<PairingError>()? {
                PairingError::Certificate(reason) => Some(PairingError::Certificate(reason)),
                _ => Some(PairingError::WrongKey),
            }
        }
        // The right certificate, signed for with another key: the certificate is a copy.
        Error::InvalidCertificate(CertificateError::BadSignature) => Some(PairingError::WrongKey),
        Error::NoApplicationProtocol | Error::AlertReceived(AlertDescription::NoApplicationProtocol) => {
            Some(PairingError::NotQrdrop)
        }
        _ => None,
    }
}

/// What both verifiers have in common: a bounded certificate, and a signature by the key in it.
#[derive(Debug)]
struct KeyCheck {
    algorithms: WebPkiSupportedAlgorithms,
}

impl KeyCheck {
    fn new() -> KeyCheck {
        KeyCheck { algorithms: PROVIDER.signature_verification_algorithms }
    }

    fn fingerprint(&self, first: &CertificateDer<'_>, more: &[CertificateDer<'_>]) -> Result<Fingerprint, Error> {
        if !more.is_empty() {
            return Err(refused(PairingError::Certificate("it comes with others")));
        }
        peer_fingerprint(std::slice::from_ref(first)).map_err(refused)
    }

    fn signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }
}

fn refused(reason: PairingError) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(reason))))
}

/// Holds a server to a pin.
#[derive(Debug)]
struct PinnedServer {
    pin: Pin,
    keys: KeyCheck,
}

impl ServerCertVerifier for PinnedServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let shown = self.keys.fingerprint(end_entity, intermediates)?;
        match self.pin {
            Pin::Prefix(expected) if shown.prefix() != expected => Err(refused(PairingError::WrongKey)),
            Pin::Prefix(_) | Pin::Unknown => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.keys.signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.keys.algorithms.supported_schemes()
    }
}

/// Requires a client to have a key, whichever it is.
#[derive(Debug)]
struct AnyClient {
    keys: KeyCheck,
}

impl ClientCertVerifier for AnyClient {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.keys.fingerprint(end_entity, intermediates).map(|_| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.keys.signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.keys.algorithms.supported_schemes()
    }
}
