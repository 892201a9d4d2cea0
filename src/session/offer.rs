//! What is offered, frozen: the manifest as both ends see it. Pure.

use std::sync::Arc;

use super::consent::refusal;
use super::error::SessionError;
use super::returning::Ticket;
use crate::events::{ENTRIES_TOLD, EntryKind as ToldKind, OfferedEntry};
use crate::names::{RelPath, human_bytes, inert};
use crate::roll::Roll;
use crate::store::{Listing, PlannedEntry, PlannedKind, SourceKind, seconds_of, time_at};
use crate::transfer::{Source, Sources};
use crate::wire::{
    CHUNK_LEN, Entry, EntryKind, Message, Modified, Offer, OfferEnd, Page, Refuse, RefuseCode, Run, SCREEN_CAP,
    Verdict, Verdicts,
};

/// Bytes of all pages of one manifest: two million entries of ordinary paths fit, and a sender that fills every path
/// to its limit can't make us hold gigabytes before anybody has accepted anything.
const MANIFEST_CAP: usize = 256 * 1024 * 1024;

/// Pages as they arrive, until the sender freezes them.
pub(super) struct Unfrozen {
    offer: Offer,
    entries: Roll<Entry>,
    /// Sum of the sizes so far; one that is unknown counts as 0.
    bytes: u128,
    is_known: bool,
    /// Entries that carry data.
    count: usize,
    texts: Texts,
    /// Why the first of those is refused whose name could leave the folder.
    misnamed: Option<Refuse>,
    /// Of the pages so far, in bytes.
    len: usize,
    digest: blake3::Hasher,
}

/// How many texts there are, and how long together; `None` if that can't be.
#[derive(Clone, Copy)]
struct Texts {
    count: usize,
    bytes: Option<u64>,
}

impl Texts {
    fn add(&mut self, bytes: Option<u64>) {
        self.count += 1;
        self.bytes = self.bytes.zip(bytes).and_then(|(sum, bytes)| sum.checked_add(bytes));
    }
}

/// A manifest that nothing can be added to any more.
pub(super) struct Manifest {
    /// Random name of the transfer, in hexadecimal.
    pub(super) transfer: String,
    pub(super) entries: Arc<Roll<Entry>>,
    /// How many of them carry data.
    count: usize,
    texts: Texts,
    misnamed: Option<Refuse>,
    /// Sum of the sizes; `None` while one is unknown.
    pub(super) bytes: Option<u64>,
    /// What its sender can come back with; all zero if it can't.
    pub(super) resume_hash: [u8; 32],
    /// BLAKE3 over all pages.
    pub(super) digest: [u8; 32],
}

impl Unfrozen {
    pub(super) fn new(offer: Offer) -> Self {
        let (entries, digest) = (Roll::default(), blake3::Hasher::new());
        let texts = Texts { count: 0, bytes: Some(0) };
        Unfrozen { offer, entries, bytes: 0, is_known: true, count: 0, texts, misnamed: None, len: 0, digest }
    }

    /// Adds the next page, given as its payload.
    pub(super) fn add(&mut self, payload: &[u8]) -> Result<(), SessionError> {
        self.len += payload.len();
        if self.len > MANIFEST_CAP {
            let text = "the list of files is longer than is taken there";
            return Err(SessionError::Declined(refusal(RefuseCode::TooLarge, text)));
        }
        let page = Page::decode(payload).map_err(SessionError::malformed)?;
        let end = self.entries.len() + page.entries.len();
        if page.first as usize != self.entries.len() || end > self.offer.entries as usize {
            return Err(SessionError::broke("pages of a manifest that don't follow each other"));
        }
        self.digest.update(payload);
        for entry in page.entries {
            self.bytes += u128::from(entry.size.unwrap_or(0));
            self.is_known &= entry.size.is_some();
            self.count += usize::from(entry.kind != EntryKind::Folder);
            match entry.kind {
                EntryKind::Text => self.texts.add(entry.size),
                EntryKind::File | EntryKind::Folder => self.look_at_name(&entry.path),
            }
            self.entries.push(entry);
        }
        Ok(())
    }

    fn look_at_name(&mut self, path: &str) {
        if let (None, Err(error)) = (&self.misnamed, RelPath::from_stranger(path)) {
            self.misnamed = Some(refusal(RefuseCode::Name, format!("`{}`: {error}", inert(path))));
        }
    }

    /// Freezes it, if it is what the sender announced.
    pub(super) fn freeze(self, end: &OfferEnd) -> Result<Manifest, SessionError> {
        // A sum beyond 64 bits is a lie, not an unknown size.
        let sum = u64::try_from(self.bytes).map_err(|_| SessionError::broke("sizes that no disk has"))?;
        let bytes = self.is_known.then_some(sum);
        let whole =
            self.entries.len() == self.offer.entries as usize && *self.digest.finalize().as_bytes() == end.digest;
        if !whole || bytes != self.offer.bytes {
            return Err(SessionError::broke("a manifest that isn't the one it announced"));
        }
        let transfer = data_encoding::HEXLOWER.encode(&self.offer.transfer);
        let Unfrozen { offer: Offer { resume_hash, .. }, entries, count, texts, misnamed, .. } = self;
        let (entries, digest) = (Arc::new(entries), end.digest);
        Ok(Manifest { transfer, entries, count, texts, misnamed, bytes, resume_hash, digest })
    }
}

/// The entries that the store is to expect: each has a name that stays in the folder.
pub(super) struct Expected(Arc<Roll<Entry>>);

impl Listing for Expected {
    fn entries(&self) -> Box<dyn Iterator<Item = PlannedEntry> + '_> {
        Box::new((0..).zip(self.0.iter()).filter_map(|(id, entry)| planned(id, &entry)))
    }

    fn entry(&self, id: u32) -> Option<PlannedEntry> {
        planned(id, &*self.0.get(id as usize)?)
    }

    fn size(&self, id: u32) -> Option<u64> {
        self.0.get(id as usize)?.size
    }
}

/// What is to be expected of an entry; nothing of a text.
fn planned(id: u32, entry: &Entry) -> Option<PlannedEntry> {
    let kind = match entry.kind {
        EntryKind::File => PlannedKind::File,
        EntryKind::Folder => PlannedKind::Folder,
        EntryKind::Text => return None,
    };
    let path = RelPath::from_stranger(&entry.path).expect("`Unfrozen::add` has read it").top_level();
    let modified = entry.modified.and_then(|modified| time_at((modified.seconds, modified.nanos)));
    Some(PlannedEntry { id, path, kind, size: entry.size, holes: entry.holes, modified })
}

impl Manifest {
    /// What the store is to expect. A name that could leave the folder refuses the whole offer, and so do more texts than
    /// are held in memory.
    pub(super) fn expected(&self) -> Result<Expected, Refuse> {
        if self.texts.bytes.is_none_or(|sum| sum > SCREEN_CAP) {
            let text = format!("texts of at most {} are taken; send a file", human_bytes(SCREEN_CAP));
            return Err(refusal(RefuseCode::TooLarge, text));
        }
        match &self.misnamed {
            Some(refuse) => Err(refuse.clone()),
            None => Ok(Expected(Arc::clone(&self.entries))),
        }
    }

    /// Refuses what does not fit into one stream.
    pub(super) fn is_one_file(&self) -> Result<(), Refuse> {
        match self.entries.get(0) {
            Some(entry) if self.entries.len() == 1 && entry.kind == EntryKind::File => Ok(()),
            _ => Err(refusal(RefuseCode::Other, "one file is taken there at a time, for its standard output")),
        }
    }

    /// The path under which an entry was offered; nothing for one that was not.
    pub(super) fn offered(&self, id: u32) -> String {
        self.entries.get(id as usize).map(|entry| entry.path.clone()).unwrap_or_default()
    }

    /// The declared size of an entry in bytes, if it is known.
    pub(super) fn size(&self, id: u32) -> Option<u64> {
        self.entries.get(id as usize)?.size
    }

    /// The accepted texts as (id, declared bytes).
    pub(super) fn texts(&self) -> impl Iterator<Item = (u32, Option<u64>)> {
        let texts = self.entries.iter().enumerate().filter(|(_, entry)| entry.kind == EntryKind::Text);
        texts.take(self.texts.count).map(|(id, entry)| (id as u32, entry.size))
    }

    /// How many entries carry data.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// As it is told: number of files, the first entries, how many are left out.
    pub(super) fn told(&self) -> (u64, Vec<OfferedEntry>, u64) {
        let told = self.entries.iter().take(ENTRIES_TOLD).map(|entry| OfferedEntry {
            name: entry.path.clone(),
            bytes: entry.size,
            kind: match entry.kind {
                EntryKind::File => ToldKind::File,
                EntryKind::Folder => ToldKind::Folder,
                EntryKind::Text => ToldKind::Text,
            },
        });
        let left_out = self.entries.len().saturating_sub(ENTRIES_TOLD) as u64;
        (self.count as u64, told.collect(), left_out)
    }
}

/// The sender's announcement of `sources`.
pub(super) fn announcement(ticket: &Ticket, sources: &Sources) -> Offer {
    // What can't be read again can't be come back to.
    let resume_hash = if sources.are_piped() { [0; 32] } else { ticket.key.hash() };
    Offer { transfer: ticket.transfer, resume_hash, entries: sources.count() as u32, bytes: sources.bytes() }
}

/// The pages of `sources`, which follow the announcement.
pub(super) fn pages(sources: &Sources) -> impl Iterator<Item = Page> {
    Page::cut(sources.iter().map(|source| {
        let (kind, modified) = match &source {
            Source::Entry(entry) => match entry.kind {
                SourceKind::File => (EntryKind::File, entry.modified),
                SourceKind::Folder => (EntryKind::Folder, entry.modified),
            },
            Source::Text(_) => (EntryKind::Text, None),
            Source::Piped(_) => (EntryKind::File, None),
        };
        let modified = modified.and_then(seconds_of).map(|(seconds, nanos)| Modified { seconds, nanos });
        Entry { kind, path: source.name().to_owned(), size: source.size(), holes: source.holes(), modified }
    }))
}

/// The receiver's verdicts on `entries`: all are taken, but for the `special` ones, ascending.
pub(super) fn verdicts(entries: u32, special: impl Iterator<Item = (u32, Verdict)>) -> impl Iterator<Item = Verdicts> {
    let mut next = 0;
    let ends = special.map(|(id, verdict)| (id, Some(verdict))).chain([(entries, None)]);
    let runs = ends.flat_map(move |(id, verdict)| {
        let taken = (next < id).then(|| Run { first: next, count: id - next, verdict: Verdict::Take });
        next = id + 1;
        taken.into_iter().chain(verdict.map(|verdict| Run { first: id, count: 1, verdict }))
    });
    Verdicts::cut(runs)
}

/// Verdicts as they arrive; together they must cover every entry once, in order.
#[derive(Default)]
pub(super) struct Judged {
    pages: Vec<Vec<Run>>,
    /// Entries that are covered.
    count: u32,
}

impl Judged {
    pub(super) fn add(&mut self, runs: Vec<Run>, entries: usize) -> Result<(), SessionError> {
        for run in &runs {
            let end = run.first as usize + run.count as usize;
            if run.first != self.count || end > entries {
                return Err(SessionError::broke("verdicts that don't follow each other"));
            }
            self.count += run.count;
        }
        self.pages.push(runs);
        Ok(())
    }

    /// All of them, if they are about every entry. Nobody can hold chunks that a source does not have, or hold a text already.
    pub(super) fn finish(self, sources: &Sources) -> Result<Judgement, SessionError> {
        if self.count as usize != sources.count() {
            return Err(SessionError::broke("verdicts on a part only"));
        }
        let judgement = Judgement(self.pages);
        let is_beyond = |(id, verdict): (u32, &Verdict)| match verdict {
            Verdict::Leave | Verdict::Take => false,
            Verdict::Have(_) | Verdict::Stored(_) => !matches!(sources.get(id), Source::Entry(_)),
            Verdict::TakeRest(held) => match sources.get(id) {
                Source::Entry(entry) => held.last().is_some_and(|(first, count)| {
                    u64::from(*first) + u64::from(*count) > entry.bytes.div_ceil(CHUNK_LEN)
                }),
                Source::Text(_) | Source::Piped(_) => true,
            },
        };
        if judgement.special().any(is_beyond) {
            return Err(SessionError::broke("a verdict that claims more of an entry than there is"));
        }
        Ok(judgement)
    }
}

/// A verdict on every entry, as runs that follow each other, in the pages that they came in.
#[derive(Debug)]
pub(super) struct Judgement(Vec<Vec<Run>>);

impl Judgement {
    /// Every entry with its verdict, in order. A page goes when it was read: there may be a million verdicts.
    pub(super) fn into_all(self) -> impl Iterator<Item = (u32, Verdict)> {
        let runs = self.0.into_iter().flatten();
        runs.flat_map(|run| (run.first..run.first + run.count).map(move |id| (id, run.verdict.clone())))
    }

    /// The entries that stand alone with theirs: of which the receiver has something.
    pub(super) fn special(&self) -> impl Iterator<Item = (u32, &Verdict)> {
        let special = self.0.iter().flatten().filter(|run| !matches!(run.verdict, Verdict::Leave | Verdict::Take));
        special.map(|run| (run.first, &run.verdict))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> Entry {
        Entry { kind: EntryKind::File, path: path.to_owned(), size: Some(1), holes: 0, modified: None }
    }

    fn unfrozen(entries: u32, bytes: u64) -> Unfrozen {
        Unfrozen::new(Offer { transfer: [7; 16], resume_hash: [0; 32], entries, bytes: Some(bytes) })
    }

    fn payload(page: &Page) -> Vec<u8> {
        let mut payload = Vec::new();
        page.encode(&mut payload);
        payload
    }

    #[test]
    fn a_page_out_of_place_is_refused() {
        let page = payload(&Page { first: 1, entries: vec![file("a")] });
        assert!(unfrozen(2, 2).add(&page).is_err());
    }

    #[test]
    fn more_entries_than_announced_are_refused() {
        let page = payload(&Page { first: 0, entries: vec![file("a"), file("b")] });
        assert!(unfrozen(1, 1).add(&page).is_err());
    }

    #[test]
    fn a_manifest_with_another_digest_or_sum_is_refused() {
        let page = payload(&Page { first: 0, entries: vec![file("a")] });
        let honest = OfferEnd { digest: *blake3::hash(&page).as_bytes() };
        for (bytes, end, good) in
            [(1, honest.clone(), true), (2, honest, false), (1, OfferEnd { digest: [0; 32] }, false)]
        {
            let mut manifest = unfrozen(1, bytes);
            manifest.add(&page).unwrap();
            assert_eq!(manifest.freeze(&end).is_ok(), good);
        }
    }

    #[test]
    fn verdicts_must_cover_every_entry_once() {
        let take = |first, count| vec![Run { first, count, verdict: Verdict::Take }];
        let mut judged = Judged::default();
        judged.add(take(0, 2), 3).unwrap();
        assert!(judged.add(take(1, 1), 3).is_err(), "twice");
        assert!(judged.add(take(2, 2), 3).is_err(), "beyond the end");
        assert_eq!(judged.count, 2);
    }
}
