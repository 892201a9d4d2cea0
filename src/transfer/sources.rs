//! What is offered, by id.

use std::sync::Arc;

use super::piped::Piped;
use super::sharing::Taker;
use crate::roll::Kept;
use crate::store::{SourceEntry, SourceList};

/// What is offered: the entries, whose place is their id, and after them the text and the stream, if there are any.
#[derive(Clone)]
pub struct Sources {
    entries: Arc<SourceList>,
    text: Option<Arc<str>>,
    piped: Option<Arc<Piped>>,
    taker: Option<Arc<Taker>>,
}

/// One of them.
#[derive(Clone)]
pub enum Source<'a> {
    /// On the disk.
    Entry(Kept<SourceEntry>),
    /// For the receiver's screen.
    Text(&'a str),
    /// A stream that is read once.
    Piped(&'a Arc<Piped>),
}

impl Sources {
    /// The name a text is offered under; it is never a place on a disk.
    pub const TEXT_NAME: &'static str = "text";

    /// The entries, then the text.
    pub fn new(entries: Arc<SourceList>, text: Option<&str>) -> Self {
        Sources { entries, text: text.map(Arc::from), piped: None, taker: None }
    }

    /// The same, and a stream after them.
    pub fn with_piped(self, piped: Option<Arc<Piped>>) -> Self {
        Sources { piped, ..self }
    }

    /// Whether there is something among them that can't be read again.
    pub fn are_piped(&self) -> bool {
        self.piped.is_some()
    }

    /// Sum of the sizes in bytes; `None` while one is unknown, or if there is no such number.
    pub fn bytes(&self) -> Option<u64> {
        self.others().try_fold(self.entries.bytes()?, |sum, source| sum.checked_add(source.size()?))
    }

    /// How many have content.
    pub fn with_content(&self) -> usize {
        self.entries.files() + self.others().count()
    }

    /// The same, of which this receiver takes its part from what is read for several; with `None` it is read for it alone.
    pub fn shared(self, taker: Option<Taker>) -> Self {
        Sources { taker: taker.map(Arc::new), ..self }
    }

    /// From here on this receiver does not keep step with the others.
    pub fn go_alone(&self) {
        if let Some(taker) = &self.taker {
            taker.leave();
        }
    }

    /// This receiver's part in a source that others have, too.
    pub(super) fn taker(&self) -> Option<&Taker> {
        self.taker.as_deref()
    }

    /// How many there are; ids are below that.
    pub fn count(&self) -> usize {
        self.entries.len() + self.others().count()
    }

    /// Whether the one with this id has content that a lane carries, which folders have not.
    pub fn has_content(&self, id: u32) -> bool {
        id as usize >= self.entries.len() || self.entries.is_file(id)
    }

    /// The one with this id.
    ///
    /// # Panics
    /// If there is none.
    pub fn get(&self, id: u32) -> Source<'_> {
        let found = self.entries.get(id).map(Source::Entry);
        let others = || self.others().nth((id as usize).checked_sub(self.entries.len())?);
        found.or_else(others).unwrap_or_else(|| panic!("entry {id} of {} was never offered", self.count()))
    }

    /// All, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = Source<'_>> {
        self.entries.iter().map(Source::Entry).chain(self.others())
    }

    fn others(&self) -> impl Iterator<Item = Source<'_>> {
        self.text.as_deref().map(Source::Text).into_iter().chain(self.piped.as_ref().map(Source::Piped))
    }
}

impl From<Arc<SourceList>> for Sources {
    fn from(entries: Arc<SourceList>) -> Self {
        Sources::new(entries, None)
    }
}

impl Source<'_> {
    /// The path that it is offered under.
    pub fn name(&self) -> &str {
        match self {
            Source::Entry(entry) => &entry.offered,
            Source::Text(_) => Sources::TEXT_NAME,
            Source::Piped(piped) => piped.name(),
        }
    }

    /// Bytes of it that are in holes.
    pub fn holes(&self) -> u64 {
        match self {
            Source::Entry(entry) => entry.holes,
            Source::Text(_) | Source::Piped(_) => 0,
        }
    }

    /// Size in bytes, 0 for folders; `None` while it is unknown.
    pub fn size(&self) -> Option<u64> {
        match self {
            Source::Entry(entry) => Some(entry.bytes),
            Source::Text(text) => Some(text.len() as u64),
            Source::Piped(piped) => piped.total(),
        }
    }

    /// As [`Source::size`], with 0 while it is unknown.
    pub fn bytes(&self) -> u64 {
        self.size().unwrap_or_default()
    }
}
