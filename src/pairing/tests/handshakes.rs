use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::client::Resumption;
use rustls::crypto::ring::sign::any_ecdsa_type;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::server::Acceptor;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, CipherSuite, ClientConfig, ClientConnection, Error, HandshakeKind, ProtocolVersion, ServerConfig,
    ServerConnection,
};

use super::identity;
use crate::pairing::proof::{Direction, Purpose, prove, verify};
use crate::pairing::tls::{
    Inside, Pin, client_binding, client_config, client_config_as, inside, lane_secret, native_server_config,
    native_server_config_as, refusal, server_binding, web_server_config,
};
use crate::pairing::{Fingerprint, Identity, PairingError};

fn pin(identity: &Identity) -> Pin {
    Pin::Prefix(identity.fingerprint().prefix())
}

/// Somebody's certificate with somebody else's key.
fn copy_of_certificate(victim: &Identity, key: &Identity) -> SingleCertAndKey {
    CertifiedKey::new(vec![victim.certificate().clone()], Arc::clone(&key.certified().key)).into()
}

/// A certificate from `params`, with a new key.
fn certified(params: CertificateParams) -> (SingleCertAndKey, Fingerprint) {
    let pair = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&pair).unwrap().der().clone();
    let fingerprint = Fingerprint::of_certificate(&certificate).unwrap();
    let key = any_ecdsa_type(&PrivateKeyDer::from(pair)).unwrap();
    (CertifiedKey::new(vec![certificate], key).into(), fingerprint)
}

/// Which side found fault.
#[derive(Debug)]
enum Fault {
    Client(Error),
    Server(Error),
}

struct Pair {
    client: ClientConnection,
    server: ServerConnection,
}

impl Pair {
    fn new(client: Arc<ClientConfig>, server: Arc<ServerConfig>) -> Pair {
        let address: IpAddr = "192.168.1.23".parse().unwrap();
        Pair {
            client: ClientConnection::new(client, ServerName::from(address)).unwrap(),
            server: ServerConnection::new(server).unwrap(),
        }
    }

    /// Carries bytes to and fro until neither side has any left.
    fn run(&mut self) -> Result<(), Fault> {
        while self.client.wants_write() || self.server.wants_write() {
            let mut wire = Vec::new();
            while self.client.wants_write() {
                self.client.write_tls(&mut wire).unwrap();
            }
            feed(&wire, |bytes| self.server.read_tls(bytes));
            self.server.process_new_packets().map_err(Fault::Server)?;
            wire.clear();
            while self.server.wants_write() {
                self.server.write_tls(&mut wire).unwrap();
            }
            feed(&wire, |bytes| self.client.read_tls(bytes));
            self.client.process_new_packets().map_err(Fault::Client)?;
        }
        Ok(())
    }
}

fn feed(mut wire: &[u8], mut read: impl FnMut(&mut &[u8]) -> io::Result<usize>) {
    while !wire.is_empty() {
        read(&mut wire).unwrap();
    }
}

fn connected(client: Arc<ClientConfig>, server: Arc<ServerConfig>) -> Pair {
    let mut pair = Pair::new(client, server);
    pair.run().unwrap();
    assert!(!pair.client.is_handshaking() && !pair.server.is_handshaking());
    pair
}

fn refused(client: Arc<ClientConfig>, server: Arc<ServerConfig>) -> Fault {
    Pair::new(client, server).run().expect_err("the handshake must fail")
}

/// What a caller makes of the error, as tokio-rustls wraps it.
fn blamed(error: Error) -> Option<PairingError> {
    refusal(&io::Error::new(io::ErrorKind::InvalidData, error))
}

#[test]
fn e01_an_honest_pair_sees_the_same_binding_and_each_others_key() {
    let (guest, host) = (identity(), identity());
    let pair = connected(client_config(&guest, pin(&host)), native_server_config(&host));
    let seen_by_guest = client_binding(&pair.client, &guest).unwrap();
    assert_eq!(seen_by_guest, server_binding(&pair.server, &host).unwrap());
    assert_eq!(seen_by_guest.client, guest.fingerprint());
    assert_eq!(seen_by_guest.server, host.fingerprint());
    assert_eq!(pair.client.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    let suite = pair.client.negotiated_cipher_suite().map(|suite| suite.suite());
    assert_eq!(suite, Some(CipherSuite::TLS13_AES_128_GCM_SHA256), "the one at whose speed hashing is the bottleneck");
    let lane = lane_secret(&pair.client).unwrap();
    assert_eq!(lane, lane_secret(&pair.server).unwrap());
    assert_ne!(*lane, seen_by_guest.exporter);
}

#[test]
fn a_proof_from_one_end_is_verified_at_the_other() {
    let (guest, host) = (identity(), identity());
    let pair = connected(client_config(&guest, pin(&host)), native_server_config(&host));
    let proof = prove(b"secret", Purpose::Lane, Direction::Client, &client_binding(&pair.client, &guest).unwrap());
    let bound = server_binding(&pair.server, &host).unwrap();
    assert!(verify(b"secret", Purpose::Lane, Direction::Client, &bound, &proof));
}

#[test]
fn e02_a_proxy_with_its_own_certificate_is_told_apart_before_the_guest_shows_anything() {
    let (guest, host, proxy) = (identity(), identity(), identity());
    let mut pair = Pair::new(client_config(&guest, pin(&host)), native_server_config(&proxy));
    let Err(Fault::Client(error)) = pair.run() else { panic!("the guest must hang up") };
    assert!(matches!(blamed(error), Some(PairingError::WrongKey)));
    assert!(pair.server.is_handshaking());
    assert!(pair.server.peer_certificates().is_none());
}

#[test]
fn e03_the_victims_real_certificate_with_another_key_fails_the_handshake() {
    let (guest, host, proxy) = (identity(), identity(), identity());
    let server = native_server_config_as(copy_of_certificate(&host, &proxy));
    for pin in [pin(&host), Pin::Unknown] {
        let Fault::Client(error) = refused(client_config(&guest, pin), Arc::clone(&server)) else {
            panic!("the guest must hang up")
        };
        assert_eq!(error, Error::InvalidCertificate(CertificateError::BadSignature));
        assert!(matches!(blamed(error), Some(PairingError::WrongKey)));
    }
}

#[test]
fn e03_a_guest_with_somebody_elses_certificate_fails_the_handshake() {
    let (victim, attacker, host) = (identity(), identity(), identity());
    let client = client_config_as(copy_of_certificate(&victim, &attacker), pin(&host));
    let Fault::Server(error) = refused(client, native_server_config(&host)) else { panic!("the host must hang up") };
    assert_eq!(error, Error::InvalidCertificate(CertificateError::BadSignature));
}

#[test]
fn an_unknown_host_is_met_by_whatever_key_it_has() {
    let (guest, host) = (identity(), identity());
    let pair = connected(client_config(&guest, Pin::Unknown), native_server_config(&host));
    assert_eq!(client_binding(&pair.client, &guest).unwrap().server, host.fingerprint());
}

#[test]
fn e06_a_proof_relayed_through_a_proxy_is_refused() {
    let (guest, host, proxy) = (identity(), identity(), identity());
    let outer = connected(client_config(&guest, Pin::Unknown), native_server_config(&proxy));
    let inner = connected(client_config(&proxy, Pin::Unknown), native_server_config(&host));
    let proof = prove(b"token", Purpose::Invite, Direction::Client, &client_binding(&outer.client, &guest).unwrap());
    let bound = server_binding(&inner.server, &host).unwrap();
    assert!(!verify(b"token", Purpose::Invite, Direction::Client, &bound, &proof));
}

#[test]
fn e06_two_connections_of_one_pair_have_different_bindings() {
    let (guest, host) = (identity(), identity());
    let (client, server) = (client_config(&guest, pin(&host)), native_server_config(&host));
    let first = connected(Arc::clone(&client), Arc::clone(&server));
    let second = connected(client, server);
    assert_ne!(
        server_binding(&first.server, &host).unwrap().exporter,
        server_binding(&second.server, &host).unwrap().exporter
    );
}

#[test]
fn there_is_no_binding_before_the_handshake_is_complete() {
    let (guest, host) = (identity(), identity());
    let pair = Pair::new(client_config(&guest, pin(&host)), native_server_config(&host));
    assert!(matches!(client_binding(&pair.client, &guest), Err(PairingError::Exporter(_))));
    assert!(matches!(lane_secret(&pair.server), Err(PairingError::Exporter(_))));
}

/// A ClientHello of TLS 1.2 that offers `qrdrop/1`.
fn tls12_hello() -> Vec<u8> {
    let extensions = [
        &[0x00, 0x0a, 0, 4, 0, 2, 0x00, 0x17][..], // supported_groups: secp256r1
        &[0x00, 0x0b, 0, 2, 1, 0],                 // ec_point_formats: uncompressed
        &[0x00, 0x0d, 0, 4, 0, 2, 0x04, 0x03],     // signature_algorithms: ecdsa_secp256r1_sha256
        &[0x00, 0x10, 0, 11, 0, 9, 8],             // application_layer_protocol_negotiation
        b"qrdrop/1",
    ]
    .concat();
    let mut body = vec![0x03, 0x03];
    body.extend([0x5a; 32]);
    body.extend([0, 0, 4, 0xc0, 0x2b, 0xc0, 0x2f, 1, 0]);
    body.extend((extensions.len() as u16).to_be_bytes());
    body.extend(extensions);
    let mut handshake = vec![0x01, 0x00];
    handshake.extend((body.len() as u16).to_be_bytes());
    handshake.extend(body);
    let mut record = vec![0x16, 0x03, 0x01];
    record.extend((handshake.len() as u16).to_be_bytes());
    record.extend(handshake);
    record
}

#[test]
fn e18_tls_1_2_is_not_spoken() {
    let host = identity();
    for config in [native_server_config(&host), web_server_config(&host)] {
        let mut server = ServerConnection::new(config).unwrap();
        feed(&tls12_hello(), |bytes| server.read_tls(bytes));
        assert!(matches!(server.process_new_packets(), Err(Error::PeerIncompatible(_))));
    }
}

/// The client's configuration, with other protocols offered.
fn offering(alpn: &[&[u8]], host: &Identity) -> Arc<ClientConfig> {
    let mut config = (*client_config(&identity(), pin(host))).clone();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Arc::new(config)
}

#[test]
fn e18_another_protocol_is_refused() {
    let host = identity();
    for alpn in [&b"h2"[..], b"http/1.1", b"qrdrop/2"] {
        let Fault::Server(error) = refused(offering(&[alpn], &host), native_server_config(&host)) else {
            panic!("the host must hang up")
        };
        assert!(matches!(blamed(error), Some(PairingError::NotQrdrop)));
    }
}

#[test]
fn e18_a_peer_that_offers_no_protocol_gets_no_binding() {
    let (guest, host) = (identity(), identity());
    let pair = connected(offering(&[], &host), native_server_config(&host));
    assert!(matches!(server_binding(&pair.server, &host), Err(PairingError::NotQrdrop)));
    assert!(matches!(client_binding(&pair.client, &guest), Err(PairingError::NotQrdrop)));
}

#[test]
fn the_offered_protocol_decides_what_is_inside() {
    let host = identity();
    for (alpn, expected) in [
        (&[&b"qrdrop/1"[..]][..], Some(Inside::Native)),
        (&[b"http/1.1", b"qrdrop/1"], Some(Inside::Native)),
        (&[b"h2", b"http/1.1"], Some(Inside::Web)),
        (&[b"h2"], None),
        (&[], None),
    ] {
        let mut pair = Pair::new(offering(alpn, &host), native_server_config(&host));
        let mut wire = Vec::new();
        pair.client.write_tls(&mut wire).unwrap();
        let mut acceptor = Acceptor::default();
        feed(&wire, |bytes| acceptor.read_tls(bytes));
        let accepted = acceptor.accept().unwrap().expect("the hello is whole");
        assert_eq!(inside(&accepted.client_hello()), expected, "{alpn:?}");
    }
}

#[test]
fn a_guest_without_a_certificate_is_refused_natively_and_welcome_in_a_browser() {
    let host = identity();
    let bare = |alpn: &[u8]| {
        let mut config = (*offering(&[alpn], &host)).clone();
        config.client_auth_cert_resolver = Arc::new(NoCertificate);
        Arc::new(config)
    };
    let Fault::Server(error) = refused(bare(b"qrdrop/1"), native_server_config(&host)) else {
        panic!("the host must hang up")
    };
    assert_eq!(error, Error::NoCertificatesPresented);
    connected(bare(b"http/1.1"), web_server_config(&host));
}

#[derive(Debug)]
struct NoCertificate;

impl rustls::client::ResolvesClientCert for NoCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

#[test]
fn e19_no_ticket_is_given_and_no_session_resumed() {
    let (guest, host) = (identity(), identity());
    let mut eager = (*client_config(&guest, pin(&host))).clone();
    eager.resumption = Resumption::in_memory_sessions(8);
    eager.enable_early_data = true;
    let (eager, server) = (Arc::new(eager), native_server_config(&host));
    for _ in 0..2 {
        let mut pair = Pair::new(Arc::clone(&eager), Arc::clone(&server));
        assert!(pair.client.early_data().is_none());
        pair.run().unwrap();
        assert_eq!(pair.client.tls13_tickets_received(), 0);
        assert_eq!(pair.client.handshake_kind(), Some(HandshakeKind::Full));
        assert!(!pair.client.is_early_data_accepted());
    }
}

#[test]
fn e19_neither_server_configuration_can_give_tickets_or_take_early_data() {
    let host = identity();
    for config in [native_server_config(&host), web_server_config(&host)] {
        assert_eq!(config.send_tls13_tickets, 0);
        assert_eq!(config.max_early_data_size, 0);
        assert!(!config.session_storage.can_cache());
        assert!(!config.ticketer.enabled());
    }
}

#[test]
fn e19_a_guest_takes_no_ticket_from_a_host_that_gives_some() {
    let (guest, host) = (identity(), identity());
    let mut generous = (*native_server_config(&host)).clone();
    generous.send_tls13_tickets = 2;
    generous.session_storage = rustls::server::ServerSessionMemoryCache::new(8);
    let (client, generous) = (client_config(&guest, pin(&host)), Arc::new(generous));
    for _ in 0..2 {
        let pair = connected(Arc::clone(&client), Arc::clone(&generous));
        assert_eq!(pair.client.handshake_kind(), Some(HandshakeKind::Full));
    }
}

#[test]
fn e23_a_pinned_host_may_be_expired_or_not_yet_valid() {
    for (from, to) in [(1_990, 1_991), (2_990, 2_991)] {
        let mut params = CertificateParams::default();
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(to, 1, 1);
        let (shown, fingerprint) = certified(params);
        let guest = identity();
        let client = client_config(&guest, Pin::Prefix(fingerprint.prefix()));
        let pair = connected(client, native_server_config_as(shown));
        assert_eq!(client_binding(&pair.client, &guest).unwrap().server, fingerprint);
    }
}

#[test]
fn e24_a_pin_holds_to_its_last_bit() {
    let (guest, host) = (identity(), identity());
    for byte in 0..16 {
        let mut prefix = host.fingerprint().prefix();
        prefix[byte] ^= 1;
        let fault = refused(client_config(&guest, Pin::Prefix(prefix)), native_server_config(&host));
        assert!(matches!(fault, Fault::Client(_)), "{fault:?}");
    }
}

#[test]
fn a_certificate_over_the_cap_is_refused_by_both_sides() {
    let long = || {
        let names: Vec<String> = (0..200).map(|n| format!("a-rather-long-name-{n}.example")).collect();
        certified(CertificateParams::new(names).unwrap())
    };
    let honest = identity();
    let Fault::Client(error) = refused(client_config(&honest, Pin::Unknown), native_server_config_as(long().0)) else {
        panic!("the guest must hang up")
    };
    assert!(matches!(blamed(error), Some(PairingError::Certificate("it is too long"))));
    let fault = refused(client_config_as(long().0, pin(&honest)), native_server_config(&honest));
    assert!(matches!(fault, Fault::Server(_)), "{fault:?}");
}

#[test]
fn a_certificate_that_comes_with_others_is_refused_by_both_sides() {
    let honest = identity();
    let chain = || {
        let (one, other) = (identity(), identity());
        let certificates = vec![one.certificate().clone(), other.certificate().clone()];
        SingleCertAndKey::from(CertifiedKey::new(certificates, Arc::clone(&one.certified().key)))
    };
    let fault = refused(client_config(&honest, Pin::Unknown), native_server_config_as(chain()));
    assert!(matches!(fault, Fault::Client(_)), "{fault:?}");
    let fault = refused(client_config_as(chain(), pin(&honest)), native_server_config(&honest));
    assert!(matches!(fault, Fault::Server(_)), "{fault:?}");
}
