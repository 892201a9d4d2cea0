//! Whether compressing is quicker than not, from what the link and the cores do right now.
//!
//! Without compression it is predicted: from the share of their time that the lanes spend in the connection, and from
//! what a sample cost and saved. With compression it is measured: if bytes do not pass quicker than they did without, it
//! ends, and the next try is further off each time. So a link that was never slow costs a few samples and nothing else.
//! On a link that is far it begins with compression, and looks after some seconds how it does without.

use std::thread;
use std::time::{Duration, Instant};

/// What is measured in one go: long enough that a few chunks pass on the links in question, short enough that a transfer
/// of a second is decided early.
const SPAN: Duration = Duration::from_millis(20);

/// Compressing must promise to cost less than this part of the time that it saves: what is sampled is not what follows,
/// the receiver has its part of the work, and where both ends share their cores waiting for the link is waiting for them.
const MARGIN: f64 = 0.7;

/// What shrinks by less is sent as it is: it would cost the receiver more than it saves.
const WORTH: f64 = 0.9;

/// How much of what was known of a rate stays with each span.
const MEMORY: f64 = 0.75;

/// Compressing must be this much quicker than not, or else it is work for nothing.
const GAIN: f64 = 1.05;

/// Spans after which compressing is judged.
const TRIAL: u32 = 3;

/// How long nothing is tried after the first try that did not pay, and what that grows to.
const RETRY: Duration = Duration::from_millis(100);
const RETRY_MOST: Duration = Duration::from_secs(32);

/// After this long with compression, and twice as long each time after, it is looked how the link does without, where
/// that can't be told from how long writing takes.
const PROBE: Duration = Duration::from_secs(4);
const PROBE_MOST: Duration = Duration::from_secs(64);

/// What compressing a part of a chunk was like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sample {
    /// Compressed by plain length.
    pub(super) ratio: f64,
    /// Seconds for each plain byte.
    pub(super) cost: f64,
}

impl Sample {
    /// Whether what it was taken from is worth compressing.
    pub(super) fn shrinks(&self) -> bool {
        self.ratio <= WORTH
    }
}

/// What a lane has sent in one go.
pub(super) struct Sent {
    /// Bytes of content.
    pub(super) plain: u64,
    pub(super) squeezed: bool,
    /// The lane's time for it, and the part of that for which it was writing to the connection.
    pub(super) busy: Duration,
    pub(super) writing: Duration,
}

/// What the lanes of one transfer have learnt.
pub(super) struct Pace {
    lanes: usize,
    cores: usize,
    on: bool,
    /// Whether it is on because the link is said to be slow, and nothing was seen of the content.
    presumed: bool,
    span: Option<Span>,
    /// Whether the current span has no sample yet.
    curious: bool,
    sample: Option<Sample>,
    /// Of what the receiver takes from all lanes together, before compressing began and since: what is written may only have
    /// filled a buffer.
    without: Rate,
    with: Rate,
    /// Spans judged since compressing began.
    trial: u32,
    /// Bytes taken by the receiver, from where on what it takes was sent in the way that is on.
    settled: u64,
    not_before: Option<Instant>,
    retry: Duration,
    probe_at: Option<Instant>,
    probe: Duration,
}

/// Plain bytes a second over the last spans, each by its length: a pack may take longer than a span, and the next one next to
/// nothing.
#[derive(Default)]
struct Rate {
    bytes: f64,
    seconds: f64,
}

impl Rate {
    fn add(&mut self, bytes: u64, seconds: f64) {
        self.bytes = self.bytes * MEMORY + bytes as f64;
        self.seconds = self.seconds * MEMORY + seconds;
    }

    fn get(&self) -> f64 {
        self.bytes / self.seconds.max(f64::EPSILON)
    }
}

struct Span {
    since: Instant,
    /// Bytes that the receiver had taken when it began.
    taken: u64,
    plain: u64,
    squeezed: u64,
    busy: Duration,
    writing: Duration,
}

impl Span {
    fn from(since: Instant, taken: u64) -> Self {
        Span { since, taken, plain: 0, squeezed: 0, busy: Duration::ZERO, writing: Duration::ZERO }
    }
}

impl Default for Pace {
    fn default() -> Self {
        Pace {
            lanes: 0,
            cores: thread::available_parallelism().map_or(1, usize::from),
            on: false,
            presumed: false,
            span: None,
            curious: true,
            sample: None,
            without: Rate::default(),
            with: Rate::default(),
            trial: 0,
            settled: 0,
            not_before: None,
            retry: RETRY,
            probe_at: None,
            probe: PROBE,
        }
    }
}

impl Pace {
    /// A lane begins.
    pub(super) fn join(&mut self, now: Instant) {
        self.lanes += 1;
        self.span.get_or_insert_with(|| Span::from(now, 0));
    }

    /// A lane ends.
    pub(super) fn leave(&mut self) {
        self.lanes -= 1;
    }

    /// Begins with compression, if what comes first compresses.
    pub(super) fn presume_slow(&mut self, now: Instant) {
        (self.on, self.presumed) = (true, true);
        self.probe_at = Some(now + self.probe);
    }

    /// Whether to compress what compresses.
    pub(super) fn is_on(&self) -> bool {
        self.on
    }

    /// Whether a sample would tell something new.
    pub(super) fn is_curious(&self) -> bool {
        self.curious
    }

    /// What a sample was like.
    pub(super) fn sampled(&mut self, sample: Sample) {
        self.curious = false;
        self.sample = Some(sample);
        if std::mem::take(&mut self.presumed) && !sample.shrinks() {
            self.on = false;
            self.probe_at = None;
        }
    }

    /// A lane has sent something; of all that was sent the receiver has `taken` so many bytes, and so many are `untaken`.
    pub(super) fn sent(&mut self, now: Instant, sent: Sent, taken: u64, untaken: u64) {
        let span = self.span.get_or_insert_with(|| Span::from(now, taken));
        span.plain += sent.plain;
        span.squeezed += if sent.squeezed { sent.plain } else { 0 };
        span.busy += sent.busy;
        span.writing += sent.writing;
        let seconds = (now - span.since).as_secs_f64();
        // What arrives, arrives by the chunk.
        if seconds < SPAN.as_secs_f64() || taken <= span.taken {
            return;
        }
        let passed = taken - span.taken;
        let settled = span.taken >= self.settled;
        let share = span.writing.as_secs_f64() / span.busy.as_secs_f64().max(f64::EPSILON);
        let mostly_squeezed = span.squeezed * 2 > span.plain;
        self.span = Some(Span::from(now, taken));
        self.curious = true;
        let was_on = self.on;
        match self.on {
            _ if !settled => {}
            false => self.predict(now, passed, seconds, share),
            // What does not compress says nothing about compressing.
            true if mostly_squeezed => self.judge(now, passed, seconds, share),
            true => {}
        }
        if self.on != was_on {
            self.settled = taken + untaken;
        }
    }

    fn predict(&mut self, now: Instant, passed: u64, seconds: f64, share: f64) {
        self.without.add(passed, seconds);
        let waiting = self.not_before.is_some_and(|not_before| now < not_before);
        let Some(Sample { ratio, cost }) = self.sample.filter(|_| !waiting) else { return };
        let saves = (1.0 - ratio) * share / self.without.get();
        let costs = cost / self.lanes.clamp(1, self.cores) as f64;
        if costs < saves * MARGIN {
            (self.on, self.trial, self.with) = (true, 0, Rate::default());
            self.probe_at.get_or_insert(now + self.probe);
        }
    }

    fn judge(&mut self, now: Instant, passed: u64, seconds: f64, share: f64) {
        self.trial += 1;
        self.with.add(passed, seconds);
        if self.trial < TRIAL {
            return;
        }
        if self.with.get() < self.without.get() * GAIN {
            (self.on, self.without) = (false, Rate::default());
            self.not_before = Some(now + self.retry);
            self.retry = (self.retry * 2).min(RETRY_MOST);
            self.probe_at = None;
            return;
        }
        self.retry = RETRY;
        // While writing takes most of the time the link is the slower part, and would be without compression.
        if share < 0.5 && self.probe_at.is_some_and(|probe_at| now >= probe_at) {
            (self.on, self.without) = (false, Rate::default());
            self.probe = (self.probe * 2).min(PROBE_MOST);
            self.probe_at = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    const MIB: f64 = 1024.0 * 1024.0;

    /// One lane on a link of `link` bytes a second with content that compresses to `ratio`, on a core that compresses
    /// 400 MB/s and does everything else at 1 GB/s.
    struct Model {
        pace: Pace,
        now: Instant,
        link: f64,
        ratio: f64,
        taken: u64,
    }

    impl Model {
        fn new(link: f64, ratio: f64) -> Self {
            let (mut pace, now) = (Pace { cores: 2, ..Pace::default() }, Instant::now());
            pace.join(now);
            Model { pace, now, link, ratio, taken: 0 }
        }

        /// Sends chunks of 1 MiB for that long; the part of the bytes that were compressed, and bytes a second.
        fn run(&mut self, seconds: f64) -> (f64, f64) {
            let (mut done, mut squeezed, mut chunks) = (0.0, 0.0, 0.0);
            while done < seconds {
                let sample = Sample { ratio: self.ratio, cost: 1.0 / 400e6 };
                let on = self.pace.is_on();
                if on || self.pace.is_curious() {
                    self.pace.sampled(sample);
                }
                let on = on && self.ratio <= 0.9;
                let wire = if on { MIB * self.ratio } else { MIB };
                let thinking = if on { MIB / 400e6 } else { 0.0 } + MIB / 2e9;
                let copying = wire / 2e9;
                let busy = (thinking + copying).max(wire / self.link);
                self.now += Duration::from_secs_f64(busy);
                let seconds = Duration::from_secs_f64;
                let sent =
                    Sent { plain: MIB as u64, squeezed: on, busy: seconds(busy), writing: seconds(busy - thinking) };
                self.taken += MIB as u64;
                self.pace.sent(self.now, sent, self.taken, 0);
                done += busy;
                chunks += 1.0;
                squeezed += f64::from(u8::from(on));
            }
            (squeezed / chunks, chunks * MIB / done)
        }
    }

    #[test]
    fn text_over_a_slow_link_is_compressed_almost_from_the_start_and_stays_so() {
        for link in [1.2e6, 12e6, 20e6, 117e6] {
            let (squeezed, rate) = Model::new(link, 0.2).run(20.0);
            assert!(squeezed > 0.9, "{squeezed} at {link}");
            assert!(rate > 0.9 * (link * 5.0).min(330e6), "{rate} at {link}");
        }
    }

    #[test]
    fn a_buffer_that_swallows_what_is_written_does_not_hide_a_slow_link() {
        const TICK: Duration = Duration::from_millis(20);
        // Of 20 MB/s, before which 8 MB wait that were written five times as fast.
        let (link, room, most) = (400_000.0, 8e6, 2e6);
        let (mut pace, mut now) = (Pace { cores: 2, ..Pace::default() }, Instant::now());
        pace.join(now);
        let mut waiting: VecDeque<(f64, f64)> = VecDeque::new();
        let (mut taken, mut squeezed) = (0.0, 0);
        for _ in 0..250 {
            pace.sampled(Sample { ratio: 0.6, cost: 1.0 / 400e6 });
            let on = pace.is_on();
            let (ratio, full) =
                (if on { 0.6 } else { 1.0 }, waiting.iter().map(|(plain, ratio)| plain * ratio).sum::<f64>());
            let plain = if full < room { most } else { link / ratio };
            waiting.push_back((plain, ratio));
            let mut carries = link;
            while let Some((plain, ratio)) = waiting.front_mut().filter(|_| carries > 1.0) {
                let passed = plain.min(carries / *ratio);
                (*plain, carries, taken) = (*plain - passed, carries - passed * *ratio, taken + passed);
                if *plain < 1.0 {
                    waiting.pop_front();
                }
            }
            now += TICK;
            squeezed += u32::from(on);
            let sent = Sent { plain: plain as u64, squeezed: on, busy: TICK, writing: TICK * 9 / 10 };
            pace.sent(now, sent, taken as u64, waiting.iter().map(|(plain, _)| *plain as u64).sum());
        }
        assert!(squeezed > 240, "{squeezed} of 250 pieces");
    }

    #[test]
    fn a_quick_link_is_left_alone() {
        for link in [600e6, 1e9, 4e9] {
            assert_eq!(Model::new(link, 0.2).run(5.0).0, 0.0, "{link}");
        }
    }

    #[test]
    fn over_a_far_link_what_compresses_is_compressed_from_the_first_byte_on() {
        for (ratio, squeezed) in [(0.2, 1.0), (0.6, 1.0), (1.0, 0.0)] {
            let mut model = Model::new(12e6, ratio);
            model.pace.presume_slow(model.now);
            assert_eq!(model.run(3.0).0, squeezed, "{ratio}");
        }
    }

    #[test]
    fn a_far_link_that_is_quick_is_found_out() {
        let mut model = Model::new(2e9, 0.2);
        model.pace.presume_slow(model.now);
        assert_eq!(model.run(3.0).0, 1.0);
        model.run(2.0);
        assert_eq!(model.run(3.0).0, 0.0);
    }

    #[test]
    fn what_does_not_compress_is_left_alone() {
        for link in [1.2e6, 117e6, 4e9] {
            assert_eq!(Model::new(link, 1.0).run(5.0).0, 0.0, "{link}");
        }
    }

    #[test]
    fn a_link_that_changes_changes_the_decision() {
        let mut model = Model::new(20e6, 0.2);
        assert!(model.run(5.0).0 > 0.9);
        model.link = 2e9;
        model.run(10.0);
        assert!(model.run(10.0).0 < 0.1, "quick now");
        model.link = 20e6;
        model.run(1.0);
        assert!(model.run(10.0).0 > 0.9, "slow again");
    }

    #[test]
    fn a_receiver_that_is_slow_for_its_own_reasons_is_not_helped_for_long() {
        let mut pace = Pace::default();
        let mut now = Instant::now();
        pace.join(now);
        let (mut squeezed, mut taken) = (0, 0);
        for _ in 0..2_000 {
            pace.sampled(Sample { ratio: 0.2, cost: 1.0 / 400e6 });
            now += Duration::from_millis(10);
            squeezed += u32::from(pace.is_on());
            let (busy, writing) = (Duration::from_millis(10), Duration::from_millis(9));
            let sent = Sent { plain: MIB as u64, squeezed: pace.is_on(), busy, writing };
            taken += MIB as u64;
            pace.sent(now, sent, taken, 0);
        }
        assert!(squeezed < 100, "{squeezed} of 2,000 chunks");
    }
}
