use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::binding;
use crate::pairing::proof::{Direction, Purpose, prove, verify};
use crate::pairing::{Admission, Binding, GRACE, Invitation, LinkKind, Refusal, Token, TokenBook};

const TTL: Duration = Duration::from_secs(10 * 60);
const A_MOMENT: Duration = Duration::from_millis(1);

/// A book drawn just now, and that moment.
fn book() -> (TokenBook, Instant) {
    let now = Instant::now();
    (TokenBook::new(Some(TTL), now), now)
}

fn shown(book: &TokenBook, kind: LinkKind) -> Invitation {
    book.invitation(kind, "10.0.0.7:5001".parse().unwrap(), &binding(1).server).expect("not spent")
}

/// What comes of a native guest with this invitation.
fn admit(book: &mut TokenBook, invitation: &Invitation, now: Instant) -> Result<LinkKind, Refusal> {
    admission(book, invitation, now).map(|admission| admission.kind)
}

fn admission(book: &mut TokenBook, invitation: &Invitation, now: Instant) -> Result<Admission, Refusal> {
    let admission = book.admit(&invitation.prove(&binding(1)), &binding(1), now)?;
    assert!(invitation.verify_host(&binding(1), &admission.host_proof));
    Ok(admission)
}

/// What comes of a browser with this invitation, in whose place a page would derive its own keys.
fn claim(book: &mut TokenBook, invitation: &Invitation, now: Instant) -> Result<(), Refusal> {
    let proof = invitation.prove(&binding(9));
    book.claim_by_browser(now, |token| {
        verify(token.as_bytes(), Purpose::Invite, Direction::Client, &binding(9), &proof).then_some(())
    })
}

#[test]
fn either_link_admits_and_says_which_it_was() {
    let (mut book, now) = book();
    for kind in [LinkKind::Http, LinkKind::Qrdrop] {
        let invitation = shown(&book, kind);
        for _ in 0..3 {
            assert_eq!(admit(&mut book, &invitation, now), Ok(kind));
        }
    }
}

#[test]
fn e04_wrong_empty_truncated_and_longer_proofs_get_one_error() {
    let (mut book, now) = book();
    let proof = shown(&book, LinkKind::Http).prove(&binding(1));
    let longer = [&proof[..], &[0]].concat();
    for wrong in [&[][..], &[0; 32], &proof[..31], &proof[..16], &longer] {
        assert_eq!(book.admit(wrong, &binding(1), now).unwrap_err(), Refusal::Wrong);
    }
    assert_eq!(book.wrong_tries(), 5);
}

#[test]
fn e06_a_proof_is_worth_nothing_on_another_connection_or_between_other_keys() {
    let (mut book, now) = book();
    let recorded = shown(&book, LinkKind::Qrdrop).prove(&binding(1));
    for other in [
        Binding { exporter: [2; 32], ..binding(1) },
        Binding { client: binding(2).client, ..binding(1) },
        Binding { server: binding(2).server, ..binding(1) },
    ] {
        assert_eq!(book.admit(&recorded, &other, now).unwrap_err(), Refusal::Wrong);
    }
    assert!(book.admit(&recorded, &binding(1), now).is_ok());
}

#[test]
fn a_secret_under_another_purpose_or_direction_is_another_secret() {
    let mut proofs = HashSet::new();
    for purpose in [Purpose::Invite, Purpose::Resume, Purpose::Lane] {
        for direction in [Direction::Client, Direction::Server] {
            assert!(proofs.insert(prove(&[7; 16], purpose, direction, &binding(1))));
        }
    }
}

#[test]
fn e07_once_spent_no_link_admits_anybody_and_time_never_does() {
    let (mut book, now) = book();
    let (http, qrdrop) = (shown(&book, LinkKind::Http), shown(&book, LinkKind::Qrdrop));
    assert_eq!(admit(&mut book, &http, now), Ok(LinkKind::Http));
    let before = book.edition();
    book.spend();
    assert!(book.is_spent());
    assert_ne!(book.edition(), before, "what is on the screen has to go");
    assert_eq!(admit(&mut book, &http, now), Err(Refusal::Wrong));
    assert_eq!(admit(&mut book, &qrdrop, now), Err(Refusal::Wrong));
    assert_eq!(claim(&mut book, &http, now), Err(Refusal::Wrong));
    assert_eq!(book.next_renewal(), None);
    book.refresh(now + 2 * TTL);
    assert!(book.is_spent(), "time must not admit a second device");
}

#[test]
fn a_person_may_admit_one_more_after_the_tokens_are_spent() {
    let (mut book, now) = book();
    let first = shown(&book, LinkKind::Qrdrop);
    book.spend();
    book.renew(now);
    assert_eq!(admit(&mut book, &first, now), Err(Refusal::Wrong));
    let second = shown(&book, LinkKind::Qrdrop);
    assert!(admit(&mut book, &second, now).is_ok());
}

#[test]
fn e08_a_renewed_token_is_good_for_its_grace_and_not_a_moment_longer() {
    let (mut book, start) = book();
    let old = shown(&book, LinkKind::Qrdrop);
    let due = book.next_renewal().unwrap();
    assert_eq!(due, start + TTL);
    book.refresh(due - A_MOMENT);
    assert_eq!(book.edition(), 0);
    book.refresh(due);
    assert_eq!(book.edition(), 1);
    assert_eq!(book.next_renewal(), Some(due + TTL));
    let new = shown(&book, LinkKind::Qrdrop);
    let over = due + Duration::from_secs(120);
    assert_eq!(admit(&mut book, &old, over - A_MOMENT), Ok(LinkKind::Qrdrop));
    assert_eq!(admit(&mut book, &old, over), Err(Refusal::Wrong));
    assert_eq!(admit(&mut book, &new, over), Ok(LinkKind::Qrdrop));
}

#[test]
fn e08_a_late_timer_does_not_lengthen_a_tokens_life() {
    let (mut book, start) = book();
    let old = shown(&book, LinkKind::Http);
    assert_eq!(admit(&mut book, &old, start + TTL + GRACE), Err(Refusal::Wrong));
    assert_eq!(book.edition(), 1, "what is on the screen is not good any more");
}

#[test]
fn tokens_for_the_run_are_not_renewed_by_time() {
    let now = Instant::now();
    let mut book = TokenBook::new(None, now);
    let invitation = shown(&book, LinkKind::Http);
    assert_eq!(book.next_renewal(), None);
    assert!(admit(&mut book, &invitation, now + 1_000 * TTL).is_ok());
}

#[test]
fn the_key_renews_both_links_at_once() {
    let (mut book, now) = book();
    let old = [shown(&book, LinkKind::Http), shown(&book, LinkKind::Qrdrop)];
    book.renew(now);
    for invitation in &old {
        assert_ne!(shown(&book, invitation.kind).link(), invitation.link());
        assert!(admit(&mut book, invitation, now + GRACE - A_MOMENT).is_ok());
    }
    for invitation in &old {
        assert_eq!(admit(&mut book, invitation, now + GRACE), Err(Refusal::Wrong));
    }
    assert_eq!(book.next_renewal(), Some(now + TTL));
}

#[test]
fn leaning_on_the_key_keeps_a_bounded_number_of_old_tokens() {
    let (mut book, now) = book();
    let first = shown(&book, LinkKind::Http);
    for _ in 0..8 {
        book.renew(now);
    }
    assert!(admit(&mut book, &first, now).is_ok());
    book.renew(now);
    assert_eq!(admit(&mut book, &first, now), Err(Refusal::Wrong));
}

#[test]
fn e26_a_guest_with_a_token_that_a_browser_claimed_is_marked() {
    let (mut book, now) = book();
    let (http, qrdrop) = (shown(&book, LinkKind::Http), shown(&book, LinkKind::Qrdrop));
    assert_eq!(claim(&mut book, &http, now), Ok(()));
    assert_eq!(book.edition(), 1, "another code must be drawn at once");
    assert!(admission(&mut book, &http, now).unwrap().claimed);
    assert!(admit(&mut book, &qrdrop, now).is_ok(), "no browser opens the other link");
    let next = shown(&book, LinkKind::Http);
    assert_ne!(next.link(), http.link());
    assert!(admit(&mut book, &next, now).is_ok());
    assert_eq!(book.wrong_tries(), 0);
}

#[test]
fn e26_a_claimed_token_admits_more_browsers_for_the_grace_time() {
    let (mut book, now) = book();
    let http = shown(&book, LinkKind::Http);
    assert_eq!(claim(&mut book, &http, now), Ok(()));
    assert_eq!(claim(&mut book, &http, now + GRACE - A_MOMENT), Ok(()));
    assert_eq!(book.edition(), 1, "a claim of an old token draws nothing");
    assert_eq!(claim(&mut book, &http, now + GRACE), Err(Refusal::Wrong));
    assert_eq!(admit(&mut book, &http, now + GRACE), Err(Refusal::Wrong));
}

#[test]
fn a_browser_with_a_token_in_its_grace_marks_it_too() {
    let (mut book, now) = book();
    let http = shown(&book, LinkKind::Http);
    book.renew(now);
    assert!(admit(&mut book, &http, now).is_ok());
    assert_eq!(claim(&mut book, &http, now), Ok(()));
    assert!(admission(&mut book, &http, now).unwrap().claimed);
    assert_eq!(claim(&mut book, &http, now + GRACE), Err(Refusal::Wrong), "a claim must not lengthen the grace");
}

#[test]
fn a_browser_never_claims_the_link_for_qrdrop_alone() {
    let (mut book, now) = book();
    let qrdrop = shown(&book, LinkKind::Qrdrop);
    assert_eq!(claim(&mut book, &qrdrop, now), Err(Refusal::Wrong));
    assert_eq!(book.wrong_tries(), 1);
}

/// Tries `n` wrong proofs at one moment.
fn guess(book: &mut TokenBook, n: u32, now: Instant) {
    for _ in 0..n {
        assert_eq!(book.admit(&[0; 32], &binding(1), now).unwrap_err(), Refusal::Wrong);
    }
}

#[test]
fn wrong_tries_lock_nobody_out() {
    let now = Instant::now();
    let mut book = TokenBook::new(None, now);
    let scanned = shown(&book, LinkKind::Http);
    guess(&mut book, 5_000, now);
    assert!(admit(&mut book, &scanned, now).is_ok());
    assert_eq!(book.edition(), 0, "the code must not change under the person who is scanning it");
    assert_eq!(book.next_renewal(), Some(now + GRACE));
    assert!(admit(&mut book, &scanned, now + 2 * GRACE - A_MOMENT).is_ok());
    assert_eq!(book.edition(), 1);
    assert_eq!(book.wrong_tries(), 0);
}

#[test]
fn a_renewal_brought_on_by_wrong_tries_has_its_whole_grace() {
    let start = Instant::now();
    let mut book = TokenBook::new(None, start);
    let scanned = shown(&book, LinkKind::Http);
    let later = start + 6 * TTL;
    guess(&mut book, 999, later);
    assert_eq!(book.next_renewal(), None);
    guess(&mut book, 1, later);
    assert_eq!(book.next_renewal(), Some(later));
    assert!(admit(&mut book, &scanned, later + GRACE - A_MOMENT).is_ok());
    assert_eq!(admit(&mut book, &scanned, later + GRACE), Err(Refusal::Wrong));
}

#[test]
fn wrong_tries_never_put_a_renewal_off_or_revive_what_is_spent() {
    let (mut many, now) = book();
    guess(&mut many, 1_000, now + TTL - A_MOMENT);
    assert!(many.next_renewal().unwrap() <= now + TTL);
    let mut once = TokenBook::new(Some(TTL), now);
    once.spend();
    guess(&mut once, 2_000, now + TTL);
    once.refresh(now + 10 * TTL);
    assert!(once.is_spent());
}

#[test]
fn e25_ten_thousand_tokens_are_unique_and_uniform() {
    let tokens: HashSet<[u8; 16]> = (0..10_000).map(|_| *Token::random().as_bytes()).collect();
    assert_eq!(tokens.len(), 10_000);
    for bit in 0..128 {
        let set = tokens.iter().filter(|token| token[bit / 8] >> (bit % 8) & 1 == 1).count();
        // Six standard deviations of a fair coin: a run in four million fails by chance.
        assert!(set.abs_diff(5_000) <= 300, "bit {bit} is set in {set} of 10 000");
    }
}
