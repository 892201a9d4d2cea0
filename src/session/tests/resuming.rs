//! Every way in which a small transfer can be cut and gone on with, up to a number of faults: an explicit-state search over
//! the two real ends of a transfer.
//!
//! A [`World`] is the product's own code (`send_lane` and `Outgoing`, `receive_lane`, `Incoming` and the store, the verdicts
//! between them) with everything that is between the ends taken apart into steps: which thing on which lane arrives next,
//! and which word about it; where a lane is cut; who is killed; when the source becomes another one. A state is the steps
//! that lead to it, taken anew for each that follows; two are one state if all that can be seen of both ends, of what is on
//! its way and of the disk is the same. Breadth first, so that a counterexample is a shortest one.

mod disk;
mod ends;
mod world;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

use self::world::{Room, Step, World};

/// How much may go wrong on the way to a state.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// Faults in all.
    faults: usize,
    /// Lanes open at once.
    lanes: usize,
    /// Whether the source may become another one, once.
    changes: bool,
}

/// Takes every step from every state; returns how many states there are.
///
/// # Panics
/// With the steps to it where a promise is broken, or where a state has no way to the end.
fn explore(sizes: &[u64], bounds: Bounds) -> usize {
    let room = Room::new(sizes);
    let mut known: HashMap<String, usize> = HashMap::new();
    let mut before: Vec<Vec<usize>> = Vec::new();
    let mut paths: Vec<Vec<Step>> = Vec::new();
    let (mut ends, mut next) = (Vec::new(), VecDeque::from([(Vec::new(), None)]));
    while let Some((path, from)) = next.pop_front() {
        let world = World::after(&room, &path);
        let state = match known.entry(world.seen(bounds)) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => {
                let state = *new.insert(paths.len());
                if world.is_over() {
                    ends.push(state);
                }
                let steps = world.steps(bounds, &path);
                next.extend(steps.into_iter().map(|step| ([path.as_slice(), &[step]].concat(), Some(state))));
                paths.push(path);
                before.push(Vec::new());
                state
            }
        };
        before[state].extend(from);
    }
    let mut leads_to_end = vec![false; paths.len()];
    while let Some(state) = ends.pop() {
        if !std::mem::replace(&mut leads_to_end[state], true) {
            ends.extend(&before[state]);
        }
    }
    if let Some(lost) = leads_to_end.iter().position(|leads| !leads) {
        panic!(
            "no way leads from here to the end: {:?}\n{}",
            paths[lost],
            World::after(&room, &paths[lost]).seen(bounds)
        );
    }
    paths.len()
}

const MIB: u64 = 1024 * 1024;

/// A file of two chunks, one lane at a time.
#[test]
fn a_transfer_that_is_cut_once_anywhere_is_finished_and_never_wrong() {
    let states = explore(&[MIB + 1], Bounds { faults: 1, lanes: 1, changes: false });
    assert!(states > 100, "{states}");
}

/// `QRDROP_MODEL` chooses one of these by its place.
#[test]
#[ignore = "takes an hour"]
fn a_transfer_that_is_cut_twice_and_whose_source_changes_is_finished_and_never_wrong() {
    let bounds = |faults, changes| Bounds { faults, lanes: 2, changes };
    let searches = [
        (&[2 * MIB + 1][..], bounds(1, false)),
        (&[MIB + 1], bounds(1, true)),
        (&[MIB + 1, 10], bounds(1, true)),
        (&[MIB + 1], bounds(2, true)),
        (&[3 * MIB + 1], bounds(1, true)),
    ];
    let one = std::env::var("QRDROP_MODEL").map(|one| one.parse::<usize>().expect("a number")).ok();
    for (_, (sizes, bounds)) in searches.into_iter().enumerate().filter(|(at, _)| one.is_none_or(|one| one == *at)) {
        eprintln!("{sizes:?} {bounds:?}: {} states", explore(sizes, bounds));
    }
}
