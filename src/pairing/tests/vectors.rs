use std::sync::LazyLock;

use data_encoding::HEXLOWER;
use serde_json::Value;

use crate::pairing::code::{Awaiting, Committed};
use crate::pairing::proof::{Direction, Purpose, prove, verify};
use crate::pairing::{Binding, Fingerprint, Invitation, LinkKind, Token};

static VECTORS: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../../docs/vectors/proof.json")).unwrap());

fn list(of: &str) -> &'static [Value] {
    let list = VECTORS[of].as_array().unwrap();
    assert!(!list.is_empty());
    list
}

fn text<'a>(vector: &'a Value, field: &str) -> &'a str {
    vector[field].as_str().unwrap_or_else(|| panic!("`{field}` is not text in {vector}"))
}

fn bytes(vector: &Value, field: &str) -> Vec<u8> {
    HEXLOWER.decode(text(vector, field).as_bytes()).unwrap()
}

fn array<const N: usize>(vector: &Value, field: &str) -> [u8; N] {
    bytes(vector, field).try_into().unwrap()
}

fn binding(vector: &Value) -> Binding {
    Binding {
        exporter: array(vector, "exporter"),
        client: Fingerprint::from_bytes(array(vector, "client")),
        server: Fingerprint::from_bytes(array(vector, "server")),
    }
}

#[test]
fn proofs_are_as_written_down() {
    for vector in list("proofs") {
        let purpose = match text(vector, "purpose") {
            "invite" => Purpose::Invite,
            "resume" => Purpose::Resume,
            "lane" => Purpose::Lane,
            other => panic!("unknown purpose `{other}`"),
        };
        let direction = match text(vector, "direction") {
            "client" => Direction::Client,
            "server" => Direction::Server,
            other => panic!("unknown direction `{other}`"),
        };
        let (secret, binding) = (bytes(vector, "secret"), binding(vector));
        let proof = prove(&secret, purpose, direction, &binding);
        assert_eq!(HEXLOWER.encode(&proof), text(vector, "proof"), "{}", text(vector, "name"));
        assert!(verify(&secret, purpose, direction, &binding, &proof));
    }
}

#[test]
fn every_vector_of_a_proof_is_another_proof() {
    let proofs: std::collections::HashSet<&str> = list("proofs").iter().map(|vector| text(vector, "proof")).collect();
    assert_eq!(proofs.len(), list("proofs").len());
}

#[test]
fn compared_codes_are_as_written_down() {
    for vector in list("codes") {
        let host = Committed::with_nonce(binding(vector), array(vector, "host_nonce"));
        let commit = host.commit();
        assert_eq!(HEXLOWER.encode(&commit), text(vector, "commit"));
        let guest = Awaiting::with_nonce(binding(vector), commit, array(vector, "guest_nonce"));
        let (host_nonce, shown_by_host) = host.reveal(&guest.nonce());
        assert_eq!(shown_by_host.to_string(), text(vector, "code"), "{}", text(vector, "name"));
        assert_eq!(guest.check(&host_nonce), Ok(shown_by_host));
    }
}

#[test]
fn key_marks_are_as_written_down() {
    for vector in list("marks") {
        let fingerprint = Fingerprint::from_bytes(array(vector, "fingerprint"));
        assert_eq!(fingerprint.mark(), text(vector, "mark"));
        assert_eq!(fingerprint.to_string(), text(vector, "fingerprint"));
    }
}

#[test]
fn links_are_as_written_down() {
    for vector in list("invitations") {
        let kind = if text(vector, "kind") == "http" { LinkKind::Http } else { LinkKind::Qrdrop };
        let receiver = Fingerprint::from_bytes(array(vector, "receiver"));
        let token = Token::copy_of(&bytes(vector, "token"));
        let invitation = Invitation::new(kind, text(vector, "address").parse().unwrap(), token, &receiver);
        assert_eq!(invitation.link().as_str(), text(vector, "link"));
    }
}
