//! Who is at the other end: the invitation and its link, the identity key, pinned TLS, the token proof, the compared code.
//!
//! The way of a pairing:
//!
//! 1. The host draws a [`TokenBook`] and shows an [`Invitation`] as a link.
//! 2. The guest parses it, dials and handshakes with [`tls::client_config`], which pins the key that the link names.
//! 3. Both cut a [`Binding`] from the connection; the guest proves the token with [`Invitation::prove`], the book
//!    answers with an [`Admission`] that holds the host's own proof, and the guest checks that.
//! 4. Without a link the pin is [`tls::Pin::Unknown`], and two people compare the digits of [`code`].
//!
//! Time is an argument everywhere. Secrets are wiped when dropped and never appear in `Debug` or in an error.
//! `docs/vectors/proof.json` holds fixed inputs and outputs of everything that two programs must compute alike.

use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

pub mod code;
mod dump;
mod fingerprint;
mod identity;
mod invitation;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod oracle;
pub mod proof;
pub mod tls;
mod token;

#[cfg(test)]
mod tests;

pub use dump::leave_no_dump;
pub use fingerprint::{FINGERPRINT_BYTES, Fingerprint, PREFIX_BYTES};
pub use identity::Identity;
pub use invitation::{Invitation, InvitationError, LinkKind};
pub use proof::Binding;
pub use token::{Admission, GRACE, Refusal, TOKEN_BYTES, Token, TokenBook};

/// What can go wrong between two keys.
#[derive(Debug, thiserror::Error)]
pub enum PairingError {
    /// This machine could not make its key or its certificate.
    #[error("no identity key could be made on this machine")]
    Identity(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The peer showed no certificate, several, one that is too long or one that does not parse.
    #[error("the peer's certificate is not one that qrdrop makes: {0}")]
    Certificate(&'static str),
    /// The peer's key is not the one that was expected.
    #[error("another key answers than the one expected")]
    WrongKey,
    /// The peer speaks TLS but not our protocol.
    #[error("the peer does not speak `qrdrop/1`")]
    NotQrdrop,
    /// The handshake is not complete, or TLS could not hand out keying material.
    #[error("the handshake gave no keying material")]
    Exporter(#[source] rustls::Error),
}

/// `N` bytes from the system's random source, asked anew each time so that two starts from one snapshot of a virtual
/// machine differ.
///
/// # Panics
///
/// If the system has no random source: nothing that this program promises would hold.
fn random<const N: usize>() -> Zeroizing<[u8; N]> {
    let mut bytes = Zeroizing::new([0; N]);
    SystemRandom::new().fill(bytes.as_mut_slice()).expect("the system has a random source");
    bytes
}
