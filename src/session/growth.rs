//! How many lanes a transfer has. The guest, who dials them, adds some while that makes it faster, and takes back what
//! did not: on a lossy link one TCP connection gives up early where several fill it, on any other a second one only
//! costs its threads.

use std::convert::Infallible;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::lanes::Lanes;
use super::proving::{LaneWay, open_lane};
use crate::net::within_machine;
use crate::pairing::Identity;
use crate::wire::LANE_NUMBERS;

/// Over how long a rate is measured, at least: a few of a new connection's round trips, and far more than a chunk takes.
const WINDOW: Duration = Duration::from_millis(300);

/// What is not near, and what is far, for a guest and for a host.
const OPENING: [Duration; 2] = [Duration::from_millis(8), Duration::from_millis(20)];
const ANSWER: [Duration; 2] = [Duration::from_millis(4), Duration::from_millis(10)];

/// How far away the other end is, by how long it takes to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Distance {
    /// On a cable or within a machine, however busy that is: there it is cores that are short, and what looks as if more than
    /// a few lanes paid is noise.
    Near,
    Between,
    /// Over a link where one lane is rarely enough, and which is hardly quicker than compressing.
    Far,
}

impl Distance {
    /// For a guest, who knows how long a lane took to open: some four round trips and 3 ms of arithmetic.
    pub(super) fn of_opening(took: Duration, lane: &TcpStream) -> Distance {
        Distance::by(took, OPENING, within_machine(lane))
    }

    /// For a host, who knows when its part of a handshake was answered: a round trip and 2 ms of arithmetic.
    pub(super) fn of_answer(took: Duration, lane: &TcpStream) -> Distance {
        Distance::by(took, ANSWER, within_machine(lane))
    }

    fn by(took: Duration, [near, far]: [Duration; 2], within: bool) -> Distance {
        match took {
            _ if within || took < near => Distance::Near,
            _ if took < far => Distance::Between,
            _ => Distance::Far,
        }
    }
}

/// Lanes at once on a far link where loss slows them down: a transfer of a few seconds has no time to try.
const FIRST_FAR: u16 = 8;

/// How long one lane goes alone on such a link where loss does not slow it down: it fills the link by itself, and to find
/// that a second one does not pay costs a tenth of a second.
const ALONE: Duration = Duration::from_secs(3);

/// How long one lane goes alone on a near link: what is small is over by then, and has not paid for opening a second one.
const ALONE_NEAR: Duration = Duration::from_millis(25);

/// Lanes on a near link: one for each core that can be busy with it, and four fill any of today's networks.
fn most_near() -> u16 {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().min(4) as u16)
}

/// More lanes pay if they make the transfer faster by this; less is noise.
const PAYS: f64 = 1.15;

/// A settled transfer that falls below this share of its rate tries again: someone else needs the link, or it got worse.
const SLUMP: f64 = 0.5;

/// So does one that rises above it by this much: what is sent compresses now, or the link got better.
const SURGE: f64 = 1.5;

/// Decides how many lanes there are, from what each window carried.
#[derive(Debug)]
struct Growth {
    most: u16,
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// No rate is known yet.
    Fresh,
    /// There were so many lanes with that rate before the last growth.
    Grown(u16, f64),
    /// More than so many did not pay; they have reached that rate.
    Settled(u16, f64),
}

impl Growth {
    /// How many lanes there should be after a window in which `open` ones carried `rate`.
    fn after(&mut self, open: u16, rate: f64) -> u16 {
        let more = open.saturating_mul(2).min(self.most);
        let (state, wanted) = match self.state {
            State::Fresh => (State::Grown(open, rate), more),
            State::Grown(_, before) if rate >= PAYS * before && more > open => (State::Grown(open, rate), more),
            State::Grown(_, before) if rate >= PAYS * before => (State::Settled(open, rate), open),
            State::Grown(lanes, before) => (State::Settled(lanes, before.max(rate)), lanes.min(open)),
            State::Settled(_, best) if rate < SLUMP * best => (State::Fresh, open),
            State::Settled(_, best) if rate > SURGE * best && more > open => (State::Grown(open, rate), more),
            // A lane that is to end may take longer than a window to do so.
            State::Settled(lanes, best) => (State::Settled(lanes, best.max(rate)), lanes.min(open)),
        };
        self.state = state;
        wanted
    }
}

/// Over how long a rate is measured where a lane took that long to open.
fn window(opening: Duration) -> Duration {
    WINDOW.max(4 * opening)
}

/// How many lanes there are at first, and after how long it is looked what they carry.
fn first(distance: Distance, opening: Duration, bears_loss: bool, most: u16) -> (u16, Duration) {
    match distance {
        Distance::Far if bears_loss => (1, ALONE),
        Distance::Far => (FIRST_FAR.min(most), window(opening)),
        Distance::Near => (1, ALONE_NEAR),
        Distance::Between => (1, window(opening)),
    }
}

/// Opens lanes 1 and up of `session`, `most` in all, beside lane 0, which took `opening` to open: some four round trips,
/// so that twice that is enough for a new connection to find its rate. Goes on until it is dropped; a lane that can't be
/// opened is no failure.
pub(super) async fn grow(
    way: LaneWay,
    identity: Identity,
    session: [u8; 16],
    most: u16,
    lanes: Arc<Lanes>,
    (opening, distance): (Duration, Distance),
) -> Infallible {
    let way = Arc::new((way, identity));
    let most = if distance == Distance::Near { most.min(most_near()) } else { most };
    let mut growth = Growth { most, state: State::Fresh };
    let mut numbers = 1..LANE_NUMBERS;
    let slow_start = 2 * opening;
    let (mut wanted, mut look_after) = first(distance, opening, lanes.bear_loss(), most);
    loop {
        let open = lanes.count() as u16;
        lanes.keep(wanted);
        let mut opened = JoinSet::new();
        for lane in numbers.by_ref().take(usize::from(wanted.saturating_sub(open))) {
            let (way, lanes) = (Arc::clone(&way), Arc::clone(&lanes));
            opened.spawn(async move {
                let stream = open_lane(&way.0, &way.1, session, lane).await.ok()?;
                lanes.enter(lane, most, &stream.sock, distance).ok()??.run(stream).ok()
            });
        }
        while opened.join_next().await.is_some() {}
        sleep(slow_start).await;
        let (began, before) = (Instant::now(), lanes.bytes());
        sleep(std::mem::replace(&mut look_after, window(opening))).await;
        // Less than before, if a lane was lost.
        let rate = lanes.bytes().saturating_sub(before) as f64 / began.elapsed().as_secs_f64();
        // Nothing moves, or nothing is left: no moment to learn from.
        if rate > 0.0 && lanes.count() > 0 {
            wanted = growth.after(lanes.count() as u16, rate);
        }
    }
}

/// Does `work`, with `growing` beside it where there is one.
pub(super) async fn beside<T>(growing: Option<impl Future<Output = Infallible>>, work: impl Future<Output = T>) -> T {
    match growing {
        Some(growing) => tokio::select! {
            done = work => done,
            never = growing => match never {},
        },
        None => work.await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a link of a rate for each number of lanes makes of it: the numbers it goes through.
    fn lanes_on(rate: impl Fn(u16) -> f64) -> Vec<u16> {
        let mut growth = Growth { most: 16, state: State::Fresh };
        let mut lanes = vec![1];
        for _ in 0..8 {
            let open = lanes[lanes.len() - 1];
            lanes.push(growth.after(open, rate(open)));
        }
        lanes
    }

    #[test]
    fn where_one_lane_fills_the_link_a_second_is_tried_once_and_taken_back() {
        assert_eq!(lanes_on(|_| 100.0), [1, 2, 1, 1, 1, 1, 1, 1, 1]);
    }

    #[test]
    fn where_each_lane_adds_its_share_there_are_as_many_as_may_be() {
        assert_eq!(lanes_on(f64::from), [1, 2, 4, 8, 16, 16, 16, 16, 16]);
    }

    #[test]
    fn lanes_grow_until_the_link_is_full() {
        assert_eq!(lanes_on(|lanes| f64::from(lanes.min(4))), [1, 2, 4, 8, 4, 4, 4, 4, 4]);
    }

    #[test]
    fn lanes_that_did_not_pay_are_taken_back_however_long_they_take_to_end() {
        let mut growth = Growth { most: 16, state: State::Fresh };
        let asked = [1, 2, 2, 2, 1].map(|open| growth.after(open, 100.0));
        assert_eq!(asked, [2, 1, 1, 1, 1]);
    }

    #[test]
    fn a_slump_makes_it_try_again() {
        let mut growth = Growth { most: 16, state: State::Settled(2, 100.0) };
        assert_eq!([growth.after(2, 90.0), growth.after(2, 40.0), growth.after(2, 40.0)], [2, 2, 4]);
    }

    #[test]
    fn a_far_link_gets_many_lanes_at_once_but_where_one_bears_loss() {
        let first = |opening, bears_loss, most| {
            let opening = Duration::from_millis(opening);
            first(Distance::by(opening, OPENING, false), opening, bears_loss, most)
        };
        assert_eq!([first(1, false, 16), first(1, true, 16)], [(1, ALONE_NEAR); 2]);
        assert_eq!([first(10, false, 16), first(10, true, 16)], [(1, WINDOW); 2]);
        assert_eq!([first(40, false, 16), first(40, false, 3)], [(8, WINDOW), (3, WINDOW)]);
        assert_eq!(first(300, false, 16), (8, Duration::from_millis(1200)));
        assert_eq!(first(40, true, 16), (1, ALONE));
    }

    #[test]
    fn a_round_trip_of_half_a_millisecond_is_near_to_both_ends_and_one_of_ten_is_far() {
        let seen_by_both = |round_trip| {
            let round_trip = Duration::from_micros(round_trip);
            let [opening, answer] = [(4, 3), (1, 2)].map(|(trips, ms)| round_trip * trips + Duration::from_millis(ms));
            [Distance::by(opening, OPENING, false), Distance::by(answer, ANSWER, false)]
        };
        assert_eq!(seen_by_both(500), [Distance::Near; 2]);
        assert_eq!(seen_by_both(3_000), [Distance::Between; 2]);
        assert_eq!(seen_by_both(10_000), [Distance::Far; 2]);
        assert_eq!(Distance::by(Duration::from_secs(1), OPENING, true), Distance::Near, "a machine that is busy");
    }

    #[test]
    fn a_surge_makes_it_try_more() {
        let mut growth = Growth { most: 4, state: State::Settled(1, 100.0) };
        assert_eq!([growth.after(1, 140.0), growth.after(1, 220.0), growth.after(2, 300.0)], [1, 2, 4]);
        let mut full = Growth { most: 2, state: State::Settled(2, 100.0) };
        assert_eq!(full.after(2, 900.0), 2);
    }

    #[test]
    fn never_more_than_the_host_allows() {
        let mut growth = Growth { most: 3, state: State::Fresh };
        assert_eq!([growth.after(2, 1.0), growth.after(3, 9.0), growth.after(3, 99.0)], [3, 3, 3]);
    }
}
