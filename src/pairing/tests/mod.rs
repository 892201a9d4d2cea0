mod codes;
mod handshakes;
mod identities;
mod invitations;
mod tokens;
mod vectors;

use super::{Binding, Fingerprint, Identity};

/// A binding that differs with each seed.
fn binding(seed: u8) -> Binding {
    Binding {
        exporter: [seed; 32],
        client: Fingerprint::of_spki(&[b'c', seed]),
        server: Fingerprint::of_spki(&[b's', seed]),
    }
}

/// Somebody with a key of their own, who listens on 192.168.1.23.
fn identity() -> Identity {
    Identity::fresh(&["192.168.1.23".parse().unwrap()]).unwrap()
}
