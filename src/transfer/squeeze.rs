//! Compresses what is about to be sent, where that pays.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use zstd::bulk::Compressor;

use super::lock;
use super::pace::{Pace, Sample, Sent};
use super::pool::Pool;
use super::untaken::Transit;
use crate::wire::{Codec, HEADER_LEN};

/// The quickest of zstd's ordinary levels; on a link that is worth compressing for, a better ratio never made up for the
/// time of the next one.
const LEVEL: i32 = 1;

/// How much of a chunk tells whether the rest compresses: some tables' worth of content, in well under a tenth of a
/// millisecond, taken from several places, since a pack is of many files.
const SAMPLE: usize = 32 * 1024;
const PLACES: usize = 4;

/// Below it a frame header and a few system calls are all there is to save.
const LEAST: usize = 256;

/// Chunks or packs in a row for which nothing was compressed, after which what takes memory for it is let go of: it takes far less
/// time than they did to have it again.
pub(super) const LET_GO: u32 = 64;

/// When a sender compresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compress {
    /// Where it makes the transfer quicker.
    #[default]
    Auto,
    /// Whatever becomes smaller.
    Always,
    /// Nothing.
    Never,
}

/// What the lanes of one transfer share: what they have learnt about the link, and what takes memory. Of that there is as
/// much as they use at the same time, which on a slow link is far less than there are lanes.
#[derive(Default)]
pub(super) struct Press {
    pub(super) pace: Mutex<Pace>,
    /// Room for a chunk that is gathered.
    pub(super) plain: Pool<Vec<u8>>,
    encoders: Pool<Encoder>,
}

#[derive(Default)]
struct Encoder {
    /// `None` until there is memory for one.
    zstd: Option<Compressor<'static>>,
    packed: Vec<u8>,
}

impl Encoder {
    fn make(&mut self) {
        if self.zstd.is_none() {
            self.zstd = Compressor::new(LEVEL).ok();
        }
    }

    /// `None` if `content`, which is not empty, does not become shorter, and where there is no memory.
    fn compress(&mut self, content: &[u8]) -> Option<&[u8]> {
        let room = content.len() - 1;
        if self.packed.len() < room {
            self.packed.resize(room, 0);
        }
        let len = self.zstd.as_mut()?.compress_to_buffer(content, &mut self.packed[..room]).ok()?;
        Some(&self.packed[..len])
    }
}

/// One lane's part in it.
pub(super) struct Squeezer<'a> {
    when: Compress,
    press: &'a Press,
    transit: &'a Transit,
    packed: Vec<u8>,
    sample: Vec<u8>,
    /// Since the last one that was compressed.
    raw: u32,
}

impl<'a> Squeezer<'a> {
    pub(super) fn new(when: Compress, press: &'a Press, transit: &'a Transit) -> Self {
        lock(&press.pace).join(Instant::now());
        Squeezer { when, press, transit, packed: Vec::new(), sample: Vec::new(), raw: 0 }
    }

    /// Whether the next chunk is to be gathered for [`Squeezer::squeeze`].
    pub(super) fn is_on(&self) -> bool {
        match self.when {
            Compress::Auto => lock(&self.press.pace).is_on(),
            Compress::Always => true,
            Compress::Never => false,
        }
    }

    /// Compresses `content` where that makes it shorter; it is then in [`Squeezer::packed`].
    pub(super) fn squeeze(&mut self, content: &[u8]) -> Codec {
        let promising = match self.when {
            Compress::Auto => self.sample(content).is_some_and(|sample| sample.shrinks()),
            Compress::Always => content.len() >= LEAST,
            Compress::Never => false,
        };
        if !promising {
            return Codec::Raw;
        }
        let mut encoder = self.press.encoders.lend();
        encoder.make();
        encoder.compress(content).map_or(Codec::Raw, |packed| {
            self.packed.clear();
            self.packed.extend_from_slice(&[0; HEADER_LEN]);
            self.packed.extend_from_slice(packed);
            Codec::Zstd { packed: packed.len() as u32 }
        })
    }

    /// What was compressed last, behind room for a frame header.
    pub(super) fn packed(&mut self) -> &mut [u8] {
        &mut self.packed
    }

    /// Looks at what is being sent as it is, where a look is due.
    pub(super) fn glance(&mut self, content: &[u8]) {
        if self.when == Compress::Auto && lock(&self.press.pace).is_curious() {
            self.sample(content);
        }
    }

    /// Notes that `plain` bytes went, in `busy` from the first read to the last write, `writing` of which were spent in
    /// the connection.
    pub(super) fn sent(&mut self, codec: Codec, plain: u64, busy: Duration, writing: Duration) {
        self.raw = if codec == Codec::Raw { self.raw.saturating_add(1) } else { 0 };
        if self.raw == LET_GO {
            self.packed = Vec::new();
            self.press.encoders.clear();
            self.press.plain.clear();
        }
        if self.when == Compress::Auto {
            let sent = Sent { plain, squeezed: codec != Codec::Raw, busy, writing };
            lock(&self.press.pace).sent(Instant::now(), sent, self.transit.taken(), self.transit.untaken());
        }
    }

    fn sample(&mut self, content: &[u8]) -> Option<Sample> {
        if content.len() < LEAST {
            return None;
        }
        let mut taken = std::mem::take(&mut self.sample);
        taken.clear();
        for part in content.chunks(content.len().div_ceil(PLACES)) {
            taken.extend_from_slice(&part[..part.len().min(SAMPLE / PLACES)]);
        }
        // What it takes to make one says nothing about what compressing costs.
        let mut encoder = self.press.encoders.lend();
        encoder.make();
        let started = Instant::now();
        let ratio = encoder.compress(&taken).map_or(1.0, |packed| packed.len() as f64 / taken.len() as f64);
        let sample = Sample { ratio, cost: started.elapsed().as_secs_f64() / taken.len() as f64 };
        self.sample = taken;
        lock(&self.press.pace).sampled(sample);
        Some(sample)
    }
}

impl Drop for Squeezer<'_> {
    fn drop(&mut self) {
        lock(&self.press.pace).leave();
    }
}
