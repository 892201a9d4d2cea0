//! What is offered, by id.

use std::sync::Arc;

use super::sharing::Taker;
use crate::store::{SourceEntry, SourceKind};

/// What is offered: the entries, whose place is their id, and after them the text, if there is one.
#[derive(Clone)]
pub struct Sources {
    entries: Arc<Vec<SourceEntry>>,
    text: Option<Arc<str>>,
    taker: Option<Arc<Taker>>,
}

/// One of them.
#[derive(Clone, Copy)]
pub enum Source<'a> {
    /// On the disk.
    Entry(&'a SourceEntry),
    /// For the receiver's screen.
    Text(&'a str),
}

impl Sources {
    /// The name a text is offered under; it is never a place on a disk.
    pub const TEXT_NAME: &'static str = "text";

    /// The entries, then the text.
    pub fn new(entries: Arc<Vec<SourceEntry>>, text: Option<&str>) -> Self {
        Sources { entries, text: text.map(Arc::from), taker: None }
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
        self.entries.len() + usize::from(self.text.is_some())
    }

    /// The one with this id.
    ///
    /// # Panics
    /// If there is none.
    pub fn get(&self, id: u32) -> Source<'_> {
        match (self.entries.get(id as usize), &self.text) {
            (Some(entry), _) => Source::Entry(entry),
            (None, Some(text)) if id as usize == self.entries.len() => Source::Text(text),
            _ => panic!("entry {id} of {} was never offered", self.count()),
        }
    }

    /// All, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = Source<'_>> {
        self.entries.iter().map(Source::Entry).chain(self.text.as_deref().map(Source::Text))
    }
}

impl From<Arc<Vec<SourceEntry>>> for Sources {
    fn from(entries: Arc<Vec<SourceEntry>>) -> Self {
        Sources::new(entries, None)
    }
}

impl<'a> Source<'a> {
    /// The path that it is offered under.
    pub fn name(self) -> &'a str {
        match self {
            Source::Entry(entry) => &entry.offered,
            Source::Text(_) => Sources::TEXT_NAME,
        }
    }

    /// Size in bytes; 0 for folders.
    pub fn bytes(self) -> u64 {
        match self {
            Source::Entry(entry) => entry.bytes,
            Source::Text(text) => text.len() as u64,
        }
    }

    /// Whether it has content that a lane carries.
    pub fn has_content(self) -> bool {
        !matches!(self, Source::Entry(SourceEntry { kind: SourceKind::Folder, .. }))
    }
}
