use std::time::{Duration, Instant};

use super::binding;
use crate::pairing::code::{Awaiting, BrokenPromise, Committed, Mismatches, SixDigits};
use crate::pairing::{Binding, Fingerprint};

/// 32 bytes that look random and are the same in every run.
fn nonce(who: &[u8], run: u32) -> [u8; 32] {
    *Fingerprint::of_spki(&[who, &run.to_be_bytes()].concat()).as_bytes()
}

fn honest(seed: u8, run: u32) -> SixDigits {
    let host = Committed::with_nonce(binding(seed), nonce(b"host", run));
    let guest = Awaiting::with_nonce(binding(seed), host.commit(), nonce(b"guest", run));
    let (revealed, shown_by_host) = host.reveal(&guest.nonce());
    assert_eq!(guest.check(&revealed), Ok(shown_by_host));
    shown_by_host
}

#[test]
fn e10_two_honest_sides_show_the_same_digits() {
    let host = Committed::new(binding(1));
    let guest = Awaiting::new(binding(1), host.commit());
    let (revealed, shown_by_host) = host.reveal(&guest.nonce());
    let shown_by_guest = guest.check(&revealed).unwrap();
    assert_eq!(shown_by_host, shown_by_guest);
    assert_eq!(shown_by_host.to_string().len(), 6);
}

/// Pearson's chi-square of `codes` over equally likely classes.
fn chi_square(codes: &[u32], classes: usize, class: impl Fn(u32) -> usize) -> f64 {
    let mut seen = vec![0u32; classes];
    for &code in codes {
        seen[class(code)] += 1;
    }
    let expected = codes.len() as f64 / classes as f64;
    seen.iter().map(|&n| (f64::from(n) - expected).powi(2) / expected).sum()
}

#[test]
fn e11_codes_are_uniform() {
    let codes: Vec<u32> = (0..20_000).map(|run| honest(1, run).to_string().parse().unwrap()).collect();
    // Six standard deviations above the mean of the distribution with 99 and with 9 degrees of freedom.
    assert!(chi_square(&codes, 100, |code| code as usize / 10_000) < 184.0);
    assert!(chi_square(&codes, 10, |code| code as usize % 10) < 35.0);
}

#[test]
fn e11_a_proxy_between_two_connections_gets_no_match() {
    let mut matches = 0;
    for run in 0..10_000 {
        // It passes every nonce on as it came; the commitment to the guest must be its own, over its own connection.
        let host = Committed::with_nonce(binding(1), nonce(b"host", run));
        let proxy = Committed::with_nonce(binding(2), nonce(b"proxy", run));
        let guest = Awaiting::with_nonce(binding(2), proxy.commit(), nonce(b"guest", run));
        let (_, shown_by_host) = host.reveal(&guest.nonce());
        let (revealed, _) = proxy.reveal(&guest.nonce());
        matches += u32::from(guest.check(&revealed) == Ok(shown_by_host));
    }
    assert!(matches <= 1);
}

#[test]
fn e11_a_host_cannot_choose_its_half_after_seeing_the_guests() {
    let promised = Committed::with_nonce(binding(1), nonce(b"host", 0));
    let guest = Awaiting::new(binding(1), promised.commit());
    assert_eq!(guest.check(&nonce(b"better", 0)), Err(BrokenPromise));
}

#[test]
fn a_commitment_of_another_connection_is_broken() {
    let elsewhere = Committed::new(binding(2));
    let guest = Awaiting::new(binding(1), elsewhere.commit());
    let (revealed, _) = elsewhere.reveal(&guest.nonce());
    assert_eq!(guest.check(&revealed), Err(BrokenPromise));
}

#[test]
fn both_halves_the_connection_and_both_keys_change_the_code() {
    let digits = |binding: Binding, host: u32, guest: u32| {
        Committed::with_nonce(binding, nonce(b"host", host)).reveal(&nonce(b"guest", guest)).1
    };
    let plain = digits(binding(1), 0, 0);
    assert_ne!(plain, digits(binding(1), 1, 0));
    assert_ne!(plain, digits(binding(1), 0, 1));
    assert_ne!(plain, digits(Binding { exporter: [9; 32], ..binding(1) }, 0, 0));
    assert_ne!(plain, digits(Binding { client: binding(2).client, ..binding(1) }, 0, 0));
    assert_ne!(plain, digits(Binding { server: binding(2).server, ..binding(1) }, 0, 0));
}

#[test]
fn three_mismatches_in_ten_minutes_close_until_a_person_opens() {
    let start = Instant::now();
    let minute = Duration::from_secs(60);
    let mut mismatches = Mismatches::default();
    mismatches.record(start);
    mismatches.record(start + minute);
    assert!(mismatches.is_open());
    mismatches.record(start + 10 * minute - Duration::from_nanos(1));
    assert!(!mismatches.is_open());
    mismatches.record(start + 60 * minute);
    assert!(!mismatches.is_open(), "time alone must not open it");
    mismatches.reopen();
    assert!(mismatches.is_open());
    mismatches.record(start + 61 * minute);
    mismatches.record(start + 61 * minute);
    assert!(mismatches.is_open(), "a person's key must begin the count anew");
}

#[test]
fn a_mismatch_older_than_ten_minutes_no_longer_counts() {
    let start = Instant::now();
    let mut mismatches = Mismatches::default();
    for minutes in [0, 5, 10, 15, 20] {
        mismatches.record(start + Duration::from_secs(minutes * 60));
        assert!(mismatches.is_open());
    }
}
