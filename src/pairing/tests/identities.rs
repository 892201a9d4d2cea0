use std::net::IpAddr;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::identity;
use crate::pairing::tls::{MAX_CERTIFICATE_BYTES, peer_fingerprint};
use crate::pairing::{Identity, PairingError};

#[test]
fn our_own_certificate_stays_under_the_cap_with_any_number_of_addresses() {
    let addresses: Vec<IpAddr> = (0..1_000u128).map(|n| IpAddr::V6((u128::MAX - n).into())).collect();
    let certificate = Identity::fresh(&addresses).unwrap().certificate().clone();
    assert!(certificate.len() < MAX_CERTIFICATE_BYTES, "{}", certificate.len());
}

#[test]
fn f20_the_certificate_is_one_that_browsers_take() {
    let identity = identity();
    let der = identity.certificate().as_ref();
    let holds = |part: &[u8]| der.windows(part.len()).any(|window| window == part);
    assert!(holds(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07]), "the curve is P-256");
    assert!(holds(&[0x87, 4, 192, 168, 1, 23]), "the address is named");
    assert!(holds(&[0x2b, 6, 1, 5, 5, 7, 3, 1]), "it is for servers");
    let times = der.windows(15).filter(|window| window[..2] == [0x17, 13] && window[14] == b'Z');
    let times: Vec<Timestamp> = times
        .map(|time| {
            DateTime::strptime("%y%m%d%H%M%SZ", &time[2..]).unwrap().to_zoned(TimeZone::UTC).unwrap().timestamp()
        })
        .collect();
    let [from, to] = times[..] else { panic!("two times of validity are expected") };
    let age = Timestamp::now().duration_since(from);
    assert!((1_440..1_445).contains(&age.as_mins()), "it is good by a clock that is a day behind: {age}");
    assert_eq!(to.duration_since(from).as_hours(), 397 * 24);
}

#[test]
fn a_kept_key_is_the_same_device_with_another_certificate() {
    let first = identity();
    let again = Identity::kept(first.secret(), &[]).unwrap();
    assert_eq!(again.fingerprint(), first.fingerprint());
    assert_eq!(again.secret(), first.secret());
    assert_ne!(again.certificate(), first.certificate());
    assert!(matches!(Identity::kept(b"no key", &[]), Err(PairingError::Identity(_))));
}

#[test]
fn two_fresh_identities_have_nothing_in_common() {
    let (one, other) = (identity(), identity());
    assert_ne!(one.fingerprint(), other.fingerprint());
    assert_ne!(one.fingerprint().mark(), other.fingerprint().mark());
}

#[test]
fn a_peer_shows_exactly_one_certificate_that_parses() {
    let one = identity().certificate().clone();
    assert!(peer_fingerprint(std::slice::from_ref(&one)).is_ok());
    for (certificates, why) in [
        (vec![], "there is none"),
        (vec![one.clone(), one], "it comes with others"),
        (vec![vec![0x30; MAX_CERTIFICATE_BYTES].into()], "it does not parse"),
        (vec![vec![0x30; MAX_CERTIFICATE_BYTES + 1].into()], "it is too long"),
    ] {
        let told = peer_fingerprint(&certificates).unwrap_err();
        assert!(matches!(told, PairingError::Certificate(told) if told == why), "{told} where {why}");
    }
}
