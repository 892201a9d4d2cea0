//! What was said on a lane and is not known to have arrived.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use super::lane::{LaneError, LaneStream, read_header, read_message};
use super::outgoing::Work;
use crate::wire::{CHUNK_LEN, Kind, LaneEnd, Taken};

/// Content that may be on its way on a lane when something else begins: with it a receiver always has a chunk to work on
/// while the next one comes, and little is lost with a lane.
const MOST_BYTES: u64 = CHUNK_LEN;

/// The same on all lanes together: where there are several, they keep the receiver busy between them, and one that is killed
/// loses no more than a few chunks.
const MOST_BYTES_IN_ALL: u64 = 2 * CHUNK_LEN;

/// Things that may be on their way, whatever they hold: the receiver's words about them fit into any socket.
const MOST: usize = 64;

/// Content of one transfer, in bytes, on all its lanes.
#[derive(Default)]
pub(super) struct Transit {
    /// On its way.
    untaken: AtomicU64,
    /// Taken by the receiver so far.
    taken: AtomicU64,
}

impl Transit {
    pub(super) fn untaken(&self) -> u64 {
        self.untaken.load(Ordering::Relaxed)
    }

    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }
}

/// What a receiver has yet to take, oldest first.
pub(super) struct Untaken<'a> {
    /// What the lane is at, as long as nothing of it has begun.
    at: Option<Work>,
    items: VecDeque<Item>,
    /// Content of all of them.
    bytes: u64,
    in_all: &'a Transit,
}

struct Item {
    work: Work,
    /// Content that it holds.
    bytes: u64,
    /// How much of that was counted as sent.
    counted: u64,
}

impl<'a> Untaken<'a> {
    /// Nothing; what comes is counted with that of the other lanes.
    pub(super) fn new(in_all: &'a Transit) -> Self {
        Untaken { at: None, items: VecDeque::new(), bytes: 0, in_all }
    }

    /// The lane turns to something else.
    pub(super) fn turn_to(&mut self, work: Option<Work>) {
        self.at = work;
    }

    /// Notes that `work` with so many `bytes` of content is about to be said, and waits until there is room for it.
    pub(super) fn begin(&mut self, stream: &mut impl LaneStream, work: Work, bytes: u64) -> Result<(), LaneError> {
        let mut heard = Ok(false);
        while heard.is_ok() && (self.items.len() >= MOST || (bytes > 0 && self.is_full())) {
            heard = self.hear(stream);
        }
        // What can't be packed is withdrawn before the pack.
        if !matches!((&self.at, &work), (Some(Work::Pack(_)), Work::Withdraw(_))) {
            self.at = None;
        }
        self.items.push_back(Item { work, bytes, counted: 0 });
        self.bytes += bytes;
        self.in_all.untaken.fetch_add(bytes, Ordering::Relaxed);
        heard.map(drop)
    }

    fn is_full(&self) -> bool {
        let most = match self.in_all.untaken() > MOST_BYTES_IN_ALL {
            true => 0,
            false => MOST_BYTES,
        };
        self.bytes > most
    }

    /// What is being said turns out as something else.
    pub(super) fn turn_into(&mut self, work: Work) {
        if let Some(item) = self.items.back_mut() {
            item.work = work;
        }
    }

    /// Counts bytes of the content that is being said.
    pub(super) fn count(&mut self, bytes: u64) {
        if let Some(item) = self.items.back_mut() {
            item.counted += bytes;
        }
    }

    /// Waits until the receiver has taken everything and ends the lane, which this side has ended.
    pub(super) fn hear_end(&mut self, stream: &mut impl LaneStream) -> Result<(), LaneError> {
        while !self.hear(stream)? {}
        Ok(())
    }

    /// Hears what the receiver says next; `true` if that is the end of the lane, after all is taken.
    fn hear(&mut self, stream: &mut impl LaneStream) -> Result<bool, LaneError> {
        let header = read_header(stream)?;
        match header.kind {
            Kind::Taken if !self.items.is_empty() => {
                read_message::<Taken>(stream, header)?;
                let bytes = self.items.pop_front().map_or(0, |item| item.bytes);
                self.bytes -= bytes;
                self.in_all.untaken.fetch_sub(bytes, Ordering::Relaxed);
                self.in_all.taken.fetch_add(bytes, Ordering::Relaxed);
                Ok(false)
            }
            Kind::LaneEnd if self.items.is_empty() => {
                read_message::<LaneEnd>(stream, header)?;
                Ok(true)
            }
            kind => Err(LaneError::Misplaced { kind, place: "where the word was due that something is taken" }),
        }
    }

    /// Whether the receiver has everything.
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// What is to be said again, and how many bytes of it were counted.
    pub(super) fn into_work(mut self) -> (Vec<Work>, u64) {
        let counted = self.items.iter().map(|item| item.counted).sum();
        (self.items.drain(..).map(|item| item.work).chain(self.at.take()).collect(), counted)
    }
}

impl Drop for Untaken<'_> {
    fn drop(&mut self) {
        self.in_all.untaken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
