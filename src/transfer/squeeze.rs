//! Compresses what is about to be sent, where that pays.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use zstd::bulk::Compressor;

use super::lock;
use super::pace::{Pace, Sample, Sent};
use super::untaken::Transit;
use crate::wire::{Codec, HEADER_LEN};

/// The quickest of zstd's ordinary levels; on a link that is worth compressing for, a better ratio never made up for the
/// time of the next one.
const LEVEL: i32 = 1;

/// How much of a chunk tells whether the rest compresses: some tables' worth of content, in well under a tenth of a
/// millisecond, taken from several places, since a pack is of many files.
const SAMPLE: usize = 32 * 1024;
const PLACES: usize = 4;

/// What shrinks by less is sent as it is: it would cost the receiver more than it saves.
const WORTH: f64 = 0.9;

/// Below it a frame header and a few system calls are all there is to save.
const LEAST: usize = 256;

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

/// One lane's compressor. Its lanes share what they have learnt about the link.
pub(super) struct Squeezer<'a> {
    when: Compress,
    pace: &'a Mutex<Pace>,
    transit: &'a Transit,
    encoder: Option<Compressor<'static>>,
    packed: Vec<u8>,
    sample: Vec<u8>,
}

impl<'a> Squeezer<'a> {
    pub(super) fn new(when: Compress, pace: &'a Mutex<Pace>, transit: &'a Transit) -> Self {
        lock(pace).join(Instant::now());
        Squeezer { when, pace, transit, encoder: None, packed: Vec::new(), sample: Vec::new() }
    }

    /// Whether the next chunk is to be gathered for [`Squeezer::squeeze`].
    pub(super) fn is_on(&self) -> bool {
        match self.when {
            Compress::Auto => lock(self.pace).is_on(),
            Compress::Always => true,
            Compress::Never => false,
        }
    }

    /// The shorter of `plain` and its compressed form. Both have room for a frame header before them.
    pub(super) fn squeeze<'b>(&'b mut self, plain: &'b mut [u8]) -> (Codec, &'b mut [u8]) {
        let content = &plain[HEADER_LEN..];
        let promising = match self.when {
            Compress::Auto => self.sample(content).is_some_and(|sample| sample.ratio <= WORTH),
            Compress::Always => content.len() >= LEAST,
            Compress::Never => false,
        };
        match promising.then(|| self.compress(content)).flatten() {
            Some(len) => (Codec::Zstd { packed: len as u32 }, &mut self.packed[..HEADER_LEN + len]),
            None => (Codec::Raw, plain),
        }
    }

    /// Looks at what is being sent as it is, where a look is due.
    pub(super) fn glance(&mut self, content: &[u8]) {
        if self.when == Compress::Auto && lock(self.pace).is_curious() {
            self.sample(content);
        }
    }

    /// Notes that `plain` bytes went, in `busy` from the first read to the last write, `writing` of which were spent in
    /// the connection.
    pub(super) fn sent(&mut self, codec: Codec, plain: u64, busy: Duration, writing: Duration) {
        if self.when == Compress::Auto {
            let sent = Sent { plain, squeezed: codec != Codec::Raw, busy, writing };
            lock(self.pace).sent(Instant::now(), sent, self.transit.taken(), self.transit.untaken());
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
        // Made once for a lane, which says nothing about what compressing costs.
        self.encoder()?;
        let started = Instant::now();
        let ratio = self.compress(&taken).map_or(1.0, |len| len as f64 / taken.len() as f64);
        let sample = Sample { ratio, cost: started.elapsed().as_secs_f64() / taken.len() as f64 };
        self.sample = taken;
        lock(self.pace).sampled(sample);
        Some(sample)
    }

    /// Compresses into its own buffer, behind room for a frame header. `None` if that is no shorter, and where there is
    /// no memory for an encoder.
    fn compress(&mut self, content: &[u8]) -> Option<usize> {
        if self.packed.len() < HEADER_LEN + content.len() {
            self.packed.resize(HEADER_LEN + content.len(), 0);
        }
        self.encoder()?;
        let room = &mut self.packed[HEADER_LEN..HEADER_LEN + content.len() - 1];
        self.encoder.as_mut()?.compress_to_buffer(content, room).ok()
    }

    fn encoder(&mut self) -> Option<&mut Compressor<'static>> {
        if self.encoder.is_none() {
            self.encoder = Compressor::new(LEVEL).ok();
        }
        self.encoder.as_mut()
    }
}

impl Drop for Squeezer<'_> {
    fn drop(&mut self) {
        lock(self.pace).leave();
    }
}
