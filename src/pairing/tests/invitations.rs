use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use proptest::prelude::*;

use super::binding;
use crate::pairing::code::{Awaiting, Committed};
use crate::pairing::invitation::MAX_LINK_BYTES;
use crate::pairing::{
    Binding, Fingerprint, Identity, Invitation, InvitationError, LinkKind, PairingError, Token, TokenBook, tls,
};

const LINK: &str = "http://192.168.1.23:5001/#1oKGio6SlpqeoqaqrrK2ur7Pqx4Wr5B0xEr7mQmnXzYc";

fn invitation(kind: LinkKind, address: &str) -> Invitation {
    let receiver = Fingerprint::of_spki(b"receiver");
    Invitation::new(kind, address.parse().unwrap(), Token::random(), &receiver)
}

fn error(link: &str) -> InvitationError {
    Invitation::parse(link).map(|parsed| parsed.address).unwrap_err()
}

/// A link to `location`, with a good secret.
fn with_location(location: &str) -> String {
    LINK.replacen("http://192.168.1.23:5001/", location, 1)
}

#[test]
fn an_ipv4_link_over_http_has_at_most_74_bytes() {
    assert_eq!(invitation(LinkKind::Http, "255.255.255.255:65535").link().len(), 74);
}

#[test]
fn the_longest_link_is_never_moved_while_it_is_written() {
    let long = invitation(LinkKind::Qrdrop, "[1111:2222:3333:4444:5555:6666:7777:8888]:65535").link();
    assert_eq!(long.len(), MAX_LINK_BYTES);
    assert_eq!(long.capacity(), MAX_LINK_BYTES);
}

#[test]
fn white_space_around_a_link_and_the_case_of_its_scheme_are_forgiven() {
    for text in [format!(" \r\n\t{LINK}\n"), LINK.replace("http", "HTTP"), LINK.replace("/#", "#")] {
        assert_eq!(Invitation::parse(&text).unwrap().link().as_str(), LINK);
    }
}

#[test]
fn an_https_link_is_the_http_one_of_a_host_with_tls() {
    let secure = LINK.replace("http://", "https://");
    let invitation = Invitation::parse(&secure).unwrap();
    assert_eq!(invitation.kind, LinkKind::Http);
    assert_eq!(invitation.link().as_str(), LINK);
    assert_eq!(invitation.secure_link().as_str(), secure);
}

#[test]
fn an_invitation_tells_whose_it_is_by_half_a_fingerprint() {
    let (maker, other) = (Fingerprint::of_spki(b"receiver"), Fingerprint::of_spki(b"another"));
    let invitation = Invitation::parse(&invitation(LinkKind::Qrdrop, "10.0.0.7:5001").link()).unwrap();
    assert_eq!(invitation.receiver(), &maker.prefix());
    assert!(invitation.is_of(&maker) && !invitation.is_of(&other));
}

#[test]
fn other_texts_are_not_links() {
    for text in ["", "hello", "192.168.1.23:5001", "ftp://192.168.1.23:5001/#1", "http:/", "qrdrop:", "ht\u{fc}tp://"] {
        assert_eq!(error(text), InvitationError::NotALink, "{text}");
    }
}

#[test]
fn a_scanner_that_loses_what_follows_the_hash_is_told_so() {
    for text in ["http://192.168.1.23:5001/#", "http://192.168.1.23:5001/", "http://192.168.1.23:5001"] {
        assert_eq!(error(text), InvitationError::NoSecret, "{text}");
    }
}

#[test]
fn another_version_asks_for_a_newer_qrdrop() {
    assert_eq!(error(&LINK.replace("/#1", "/#2")), InvitationError::NewerVersion);
    assert!(InvitationError::NewerVersion.to_string().contains("newer qrdrop"));
    assert_eq!(error(&LINK.replace("/#1", "/#-")), InvitationError::Secret);
}

#[test]
fn unusable_addresses_are_refused() {
    for location in [
        "http:///",
        "http://laptop.local:5001/",
        "http://192.168.1.23/",
        "http://192.168.1.23:0/",
        "http://192.168.1.23:65536/",
        "http://192.168.1.23:-1/",
        "http://192.168.1:5001/",
        "http://0.0.0.0:5001/",
        "http://255.255.255.255:5001/",
        "http://224.0.0.251:5001/",
        "http://[::]:5001/",
        "http://[ff02::fb]:5001/",
        "http://fe80::1:5001/",
        "http://someone@192.168.1.23:5001/",
        "http://192.168.1.23:5001 /",
    ] {
        assert_eq!(error(&with_location(location)), InvitationError::Address, "{location}");
    }
}

#[test]
fn ipv6_stands_in_brackets_and_has_no_zone() {
    let parsed = Invitation::parse(&with_location("qrdrop://[fd00::17]:5001/")).unwrap();
    assert_eq!(parsed.address.ip(), "fd00::17".parse::<IpAddr>().unwrap());
    for zone in ["%3", "%eth0", "%25eth0"] {
        assert_eq!(error(&with_location(&format!("http://[fe80::1{zone}]:5001/"))), InvitationError::Zone);
    }
}

#[test]
fn a_path_or_query_is_refused() {
    for location in ["http://192.168.1.23:5001/x", "http://192.168.1.23:5001//", "http://192.168.1.23:5001/?t=1"] {
        assert_eq!(error(&with_location(location)), InvitationError::Path, "{location}");
    }
}

#[test]
fn e04_a_damaged_secret_is_one_error() {
    let (head, secret) = LINK.split_at(LINK.len() - 43);
    for damaged in [
        secret[..42].to_owned(),
        format!("{secret}A"),
        format!("{secret}="),
        format!("{}+", &secret[..42]),
        format!("{}/", &secret[..42]),
        format!("{} {}", &secret[..20], &secret[21..]),
        format!("{}\u{e9}", &secret[..41]),
        secret[..1].to_owned(),
        String::new(),
    ] {
        assert_eq!(error(&format!("{head}{damaged}")), InvitationError::Secret, "{damaged}");
    }
}

#[test]
fn a_secret_has_one_spelling() {
    let stem = &LINK[..LINK.len() - 1];
    let good = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        .chars()
        .filter(|last| Invitation::parse(&format!("{stem}{last}")).is_ok())
        .count();
    assert_eq!(good, 16, "of the last character only four bits may be used");
}

#[test]
fn e04_a_secret_whose_case_was_changed_is_another_secret() {
    let changed = LINK.replace("1oKG", "1OKG");
    let (honest, changed) = (Invitation::parse(LINK).unwrap(), Invitation::parse(&changed).unwrap());
    assert_ne!(honest.prove(&binding(1)), changed.prove(&binding(1)));
}

#[test]
fn both_ends_of_an_invitation_prove_themselves_in_one_direction_each() {
    let invitation = Invitation::parse(LINK).unwrap();
    let proof = invitation.prove(&binding(1));
    assert!(!invitation.verify_host(&binding(1), &proof), "a guest's proof must not come back as the host's");
}

#[test]
fn no_error_repeats_the_link() {
    for link in [LINK.replace("/#1", "/#2"), format!("{LINK}x"), with_location("http://x/"), LINK.replace("http", "x")]
    {
        let error = error(&link);
        let said = format!("{error} {error:?}");
        assert!(!said.contains("KGio6Slpqeo"), "{said}");
    }
}

#[test]
fn e20_debug_shows_no_secret() {
    let secret = [0xa7; 16];
    let token = Token::copy_of(&secret);
    let invitation = Invitation::new(
        LinkKind::Http,
        "10.0.0.7:5001".parse().unwrap(),
        Token::copy_of(&secret),
        &Fingerprint::of_spki(b"receiver"),
    );
    let now = Instant::now();
    let mut book = TokenBook::new(None, now);
    let link = book.invitation(LinkKind::Http, invitation.address, &binding(1).server).unwrap();
    let admission = book.admit(&link.prove(&binding(1)), &binding(1), now).unwrap();
    let secret_binding = Binding { exporter: [0xa7; 32], ..binding(1) };
    let host = Committed::with_nonce(secret_binding.clone(), [0xa7; 32]);
    let guest = Awaiting::with_nonce(secret_binding.clone(), [0; 32], [0xa7; 32]);
    let identity = Identity::fresh(&[]).unwrap();
    let said = format!(
        "{token:?} {invitation:#?} {book:?} {link:?} {admission:?} {secret_binding:?} {host:?} {guest:?} {identity:?} {:?}",
        PairingError::WrongKey
    );
    for trace in ["167, 167", "167,\n", "a7a7a7a7", "A7A7A7A7", "p6en", "KeyDer", "PRIVATE"] {
        assert!(!said.contains(trace), "{trace} in {said}");
    }
    let shown = link.link();
    assert!(!said.contains(&shown[shown.len() - 43..][..20]));
    for kind in ["Token(", "Invitation {", "TokenBook {", "Admission {", "Binding {", "Committed {", "Awaiting {"] {
        assert!(said.contains(kind), "{kind} in {said}");
    }
    let fingerprint = format!("Fingerprint({})", identity.fingerprint());
    assert_eq!(format!("{identity:?}"), format!("Identity {{ fingerprint: {fingerprint}, .. }}"));
}

fn some_address() -> impl Strategy<Value = SocketAddr> {
    (any::<IpAddr>(), 1u16..).prop_map(|(ip, port)| SocketAddr::new(ip, port)).prop_filter(
        "reaches nobody",
        |address| match address.ip() {
            IpAddr::V4(ip) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast(),
            IpAddr::V6(ip) => !ip.is_unspecified() && !ip.is_multicast(),
        },
    )
}

proptest! {
    #[test]
    fn a_link_parses_to_what_it_was_made_of(
        address in some_address(),
        token: [u8; 16],
        receiver: [u8; 32],
        http: bool,
    ) {
        let kind = if http { LinkKind::Http } else { LinkKind::Qrdrop };
        let receiver = Fingerprint::from_bytes(receiver);
        let link = Invitation::new(kind, address, Token::copy_of(&token), &receiver).link();
        let parsed = Invitation::parse(&link).unwrap();
        prop_assert_eq!(parsed.kind, kind);
        prop_assert_eq!(parsed.address, address);
        prop_assert_eq!(parsed.pin(), tls::Pin::Prefix(receiver.prefix()));
        prop_assert_eq!(parsed.link(), link);
    }

    #[test]
    fn no_text_panics(text: String) {
        let _ = Invitation::parse(&text);
    }

    #[test]
    fn no_text_that_looks_like_a_link_panics(text in "(http|https|qrdrop)://[0-9.:\\[\\]%a-f]{0,30}[/?]?#?1?[\\PC]{0,50}") {
        let _ = Invitation::parse(&text);
    }

    #[test]
    fn whatever_parses_keeps_its_secret_and_is_said_back_in_one_way(at in 0usize..LINK.len(), with: char) {
        let mut text: Vec<char> = LINK.chars().collect();
        text[at] = with;
        let text: String = text.into_iter().collect();
        if let Ok(parsed) = Invitation::parse(&text) {
            let link = parsed.link();
            prop_assert_eq!(link.split_once('#').unwrap().1, text.trim().split_once('#').unwrap().1);
            prop_assert_eq!(Invitation::parse(&link).unwrap().link(), link);
        }
    }
}
