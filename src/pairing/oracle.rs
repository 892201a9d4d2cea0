//! What holds of links and certificates, whoever made them.

use rustls::pki_types::CertificateDer;

use super::invitation::MAX_LINK_BYTES;
use super::{Fingerprint, Invitation};

/// A text is an invitation to somewhere that says the same when it is written again, or it is none.
pub fn link(bytes: &[u8]) {
    let Ok(read) = Invitation::parse(&String::from_utf8_lossy(bytes)) else { return };
    assert!(read.address.port() != 0 && !read.address.ip().is_unspecified() && !read.address.ip().is_multicast());
    let link = read.link();
    assert!(link.len() <= MAX_LINK_BYTES && link.is_ascii());
    let again = Invitation::parse(&link).expect("what was written can be read");
    assert_eq!((again.kind, again.address, again.receiver()), (read.kind, read.address, read.receiver()));
    assert_eq!(again.link(), link);
    assert!(Invitation::parse(&read.secure_link()).is_ok());
    let (_, secret) = link.rsplit_once("#1").expect("every link has a secret");
    assert!(!format!("{read:?}").contains(secret), "a secret is not shown");
}

/// A certificate has one key, or none that counts.
pub fn certificate(bytes: &[u8]) {
    let certificate = CertificateDer::from(bytes);
    let Ok(fingerprint) = Fingerprint::of_certificate(&certificate) else { return };
    assert_eq!(Fingerprint::of_certificate(&certificate).ok(), Some(fingerprint));
    assert_eq!(fingerprint.mark().len(), 14);
}
