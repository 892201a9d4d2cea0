//! What was said on a lane and is not known to have arrived.

use std::collections::VecDeque;

use super::lane::{LaneError, LaneStream, read_header, read_message};
use super::outgoing::Work;
use crate::wire::{CHUNK_LEN, Kind, LaneEnd, Taken};

/// Content that may be on its way when something else begins: with it a receiver always has a chunk to work on while the
/// next one comes, and little is lost with a lane.
const MOST_BYTES: u64 = CHUNK_LEN;

/// Things that may be on their way, whatever they hold: the receiver's words about them fit into any socket.
const MOST: usize = 64;

/// What a receiver has yet to take, oldest first.
#[derive(Default)]
pub(super) struct Untaken {
    /// What the lane is at, as long as nothing of it has begun.
    at: Option<Work>,
    items: VecDeque<Item>,
    /// Content of all of them.
    bytes: u64,
}

struct Item {
    work: Work,
    /// Content that it holds.
    bytes: u64,
    /// How much of that was counted as sent.
    counted: u64,
}

impl Untaken {
    /// The lane turns to something else.
    pub(super) fn turn_to(&mut self, work: Option<Work>) {
        self.at = work;
    }

    /// Notes that `work` with so many `bytes` of content is about to be said, and waits until there is room for it.
    pub(super) fn begin(&mut self, stream: &mut impl LaneStream, work: Work, bytes: u64) -> Result<(), LaneError> {
        let mut heard = Ok(false);
        while heard.is_ok() && (self.items.len() >= MOST || (bytes > 0 && self.bytes > MOST_BYTES)) {
            heard = self.hear(stream);
        }
        // What can't be packed is withdrawn before the pack.
        if !matches!((&self.at, &work), (Some(Work::Pack(_)), Work::Withdraw(_))) {
            self.at = None;
        }
        self.items.push_back(Item { work, bytes, counted: 0 });
        self.bytes += bytes;
        heard.map(drop)
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
                self.bytes -= self.items.pop_front().map_or(0, |item| item.bytes);
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
    pub(super) fn into_work(self) -> (Vec<Work>, u64) {
        let counted = self.items.iter().map(|item| item.counted).sum();
        (self.items.into_iter().map(|item| item.work).chain(self.at).collect(), counted)
    }
}
