//! What holds of whoever says that it is here.

use mdns_sd::{ResolvedService, ScopedIp, ServiceInfo, TxtProperties};

use super::browser::{ADDRESSES_MAX, read};
use super::{Found, ID_MAX, LABEL_MAX, SERVICE_TYPE, SHOWN_NAME_MAX};
use crate::names::inert;

/// What is made of a record is inert and bounded, or nothing is made of it.
///
/// The bytes: port (2), number of addresses (1), length of the instance name (1), that name, 4 bytes for each address, and
/// a TXT record as it comes from the wire.
pub fn txt(bytes: &[u8]) {
    if let Some(found) = record(bytes).and_then(|record| read(&record)) {
        is_harmless(&found);
    }
}

fn record(bytes: &[u8]) -> Option<ResolvedService> {
    let ([high, low, addresses, name], rest) = bytes.split_first_chunk()?;
    let (name, rest) = rest.split_at_checked(usize::from(*name))?;
    let (addresses, txt) = rest.split_at_checked(4 * usize::from(*addresses))?;
    let none: [(&str, &str); 0] = [];
    let mut record = ServiceInfo::new(SERVICE_TYPE, "x", "x.local.", "", 0, &none[..]).ok()?.as_resolved_service();
    record.fullname = format!("{}.{SERVICE_TYPE}", String::from_utf8_lossy(name));
    record.port = u16::from_be_bytes([*high, *low]);
    let octets = addresses.chunks_exact(4).filter_map(|octets| octets.first_chunk::<4>());
    record.addresses = octets.map(|octets| ScopedIp::from(std::net::IpAddr::from(*octets))).collect();
    record.txt_properties = TxtProperties::from(txt);
    Some(record)
}

fn is_harmless(found: &Found) {
    for name in [&found.name, &found.instance] {
        assert_eq!(inert(name), *name);
    }
    // What hides is shown as a character of three bytes, and a mark without a base gets one.
    assert!(found.instance.len() <= 3 * LABEL_MAX + 3);
    assert!(found.name.len() <= 3 * (SHOWN_NAME_MAX + LABEL_MAX) + 6);
    assert!(found.id.len() <= ID_MAX && found.id.bytes().all(|byte| byte.is_ascii_graphic()));
    assert!((1..=ADDRESSES_MAX).contains(&found.addresses.len()));
    for address in &found.addresses {
        let ip = address.ip();
        assert!(address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast());
    }
    assert!(found.serves(found.kind));
}
