use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::*;

fn v4(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

/// What a future says when asked once.
fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    match pin!(tokio::task::unconstrained(future)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

fn pass_now(gate: &Gate, peer: IpAddr) -> Option<Pass> {
    poll_once(gate.enter(peer).pass()).flatten()
}

fn is_empty(gate: &Gate) -> bool {
    let state = gate.state();
    state.lobby.is_empty()
        && state.lobby_by_address.is_empty()
        && state.passes == 0
        && state.passes_by_address.is_empty()
}

#[test]
fn one_address_cannot_take_the_passes_of_another() {
    let gate = Gate::new();
    let greedy: Vec<Pass> = (0..1_000).filter_map(|_| pass_now(&gate, v4(1))).collect();
    assert_eq!(greedy.len(), PASSES_PER_ADDRESS);
    assert!(pass_now(&gate, v4(2)).is_some());
    drop(greedy);
    assert!(is_empty(&gate));
}

#[test]
fn a_slash_64_of_ipv6_is_one_address() {
    let gate = Gate::new();
    let passes: Vec<Pass> =
        (0..64_u16).filter_map(|n| pass_now(&gate, IpAddr::from([0x2001, 0xdb8, 0, 1, n, n, n, n]))).collect();
    assert_eq!(passes.len(), PASSES_PER_ADDRESS);
    assert!(pass_now(&gate, IpAddr::from([0x2001, 0xdb8, 0, 2, 0, 0, 0, 1])).is_some());
}

#[test]
fn an_ipv4_peer_is_one_address_in_either_notation() {
    let gate = Gate::new();
    let _passes: Vec<Pass> = (0..32).filter_map(|_| pass_now(&gate, v4(1))).collect();
    assert!(pass_now(&gate, "::ffff:10.0.0.1".parse().unwrap()).is_none());
}

#[test]
fn there_are_no_more_passes_than_the_limit() {
    let gate = Gate::new();
    let passes: Vec<Pass> = (0..=255).flat_map(|ip| [ip; 4]).filter_map(|ip| pass_now(&gate, v4(ip))).collect();
    assert_eq!(passes.len(), PASSES_MAX);
}

#[tokio::test]
async fn a_burst_behind_one_address_queues_and_none_is_lost() {
    let gate = Gate::new();
    let mut senders = tokio::task::JoinSet::new();
    for _ in 0..LOBBY_MAX {
        let guest = gate.enter(v4(1));
        senders.spawn(async move {
            let pass = guest.pass().await.expect("nobody has to go");
            tokio::task::yield_now().await;
            pass.promote();
        });
    }
    while let Some(done) = senders.join_next().await {
        done.unwrap();
    }
    assert!(is_empty(&gate));
}

#[tokio::test]
async fn a_freed_pass_goes_to_the_address_that_has_fewest() {
    let gate = Gate::new();
    let mut greedy: Vec<Pass> =
        (1..=8).flat_map(|ip| [ip; PASSES_PER_ADDRESS]).filter_map(|ip| pass_now(&gate, v4(ip))).collect();
    assert_eq!(greedy.len(), PASSES_MAX);
    let mut first = pin!(gate.enter(v4(1)).pass());
    assert!(poll_once(first.as_mut()).is_none());
    let mut modest = pin!(gate.enter(v4(9)).pass());
    assert!(poll_once(modest.as_mut()).is_none());
    drop(greedy.pop());
    assert!(poll_once(first.as_mut()).is_none());
    assert!(poll_once(modest.as_mut()).is_some());
}

#[tokio::test]
async fn one_who_stops_waiting_holds_nobody_up() {
    let gate = Gate::new();
    let mut held: Vec<Pass> = (0..32).filter_map(|_| pass_now(&gate, v4(1))).collect();
    for _ in 0..5_000 {
        assert!(pass_now(&gate, v4(1)).is_none(), "queues once and gives up");
    }
    let mut patient = pin!(gate.enter(v4(1)).pass());
    assert!(poll_once(patient.as_mut()).is_none());
    drop(held.pop());
    assert!(poll_once(patient.as_mut()).is_some());
    assert!(gate.state().queue.len() <= 1);
}

#[test]
fn who_fills_the_lobby_pushes_out_itself() {
    let gate = Gate::new();
    let mut polite = gate.enter(v4(2));
    let mut silent: Vec<Guest> = (0..LOBBY_MAX).map(|_| gate.enter(v4(1))).collect();
    assert!(poll_once(polite.shown_the_door()).is_none());
    assert!(poll_once(silent[0].shown_the_door()).is_some(), "the oldest of the greediest");
    assert!(poll_once(silent[1].shown_the_door()).is_none());
    let mut late = gate.enter(v4(3));
    assert!(poll_once(late.shown_the_door()).is_none());
    assert!(poll_once(silent[1].shown_the_door()).is_some());
    drop((polite, silent, late));
    assert!(is_empty(&gate));
}

#[test]
fn whoever_has_left_does_not_count() {
    let gate = Gate::new();
    for _ in 0..10_000 {
        drop(gate.enter(v4(1)));
    }
    assert!(is_empty(&gate));
}
