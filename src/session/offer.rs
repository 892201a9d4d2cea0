//! What is offered, frozen: the manifest as both ends see it. Pure.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::consent::refusal;
use super::error::SessionError;
use super::returning::Ticket;
use crate::events::{ENTRIES_TOLD, EntryKind as ToldKind, OfferedEntry};
use crate::names::{RelPath, human_bytes, inert};
use crate::store::{PlannedEntry, PlannedKind, SourceKind};
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
    entries: Vec<Entry>,
    /// Of the pages so far, in bytes.
    len: usize,
    digest: blake3::Hasher,
}

/// A manifest that nothing can be added to any more.
pub(super) struct Manifest {
    /// Random name of the transfer, in hexadecimal.
    pub(super) transfer: String,
    pub(super) entries: Vec<Entry>,
    /// Sum of the sizes; `None` while one is unknown.
    pub(super) bytes: Option<u64>,
    /// What its sender can come back with; all zero if it can't.
    pub(super) resume_hash: [u8; 32],
    /// BLAKE3 over all pages.
    pub(super) digest: [u8; 32],
}

impl Unfrozen {
    pub(super) fn new(offer: Offer) -> Self {
        Unfrozen { offer, entries: Vec::new(), len: 0, digest: blake3::Hasher::new() }
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
        self.entries.extend(page.entries);
        Ok(())
    }

    /// Freezes it, if it is what the sender announced.
    pub(super) fn freeze(self, end: &OfferEnd) -> Result<Manifest, SessionError> {
        // A sum beyond 64 bits is a lie, not an unknown size.
        let sizes = self.entries.iter().try_fold(0u64, |sum, entry| sum.checked_add(entry.size.unwrap_or(0)));
        let sum = sizes.ok_or_else(|| SessionError::broke("sizes that no disk has"))?;
        let bytes = self.entries.iter().all(|entry| entry.size.is_some()).then_some(sum);
        let whole =
            self.entries.len() == self.offer.entries as usize && *self.digest.finalize().as_bytes() == end.digest;
        if !whole || bytes != self.offer.bytes {
            return Err(SessionError::broke("a manifest that isn't the one it announced"));
        }
        let transfer = data_encoding::HEXLOWER.encode(&self.offer.transfer);
        let Unfrozen { offer: Offer { resume_hash, .. }, entries, .. } = self;
        Ok(Manifest { transfer, entries, bytes, resume_hash, digest: end.digest })
    }
}

impl Manifest {
    /// What the store is to expect. A name that could leave the folder refuses the whole offer, and so do more texts than
    /// are held in memory.
    pub(super) fn plan(&self) -> Result<Vec<PlannedEntry>, Refuse> {
        let sum = self.texts().try_fold(0u64, |sum, (_, size)| sum.checked_add(size?));
        if sum.is_none_or(|sum| sum > SCREEN_CAP) {
            let text = format!("texts of at most {} are taken; send a file", human_bytes(SCREEN_CAP));
            return Err(refusal(RefuseCode::TooLarge, text));
        }
        let plan = |(id, entry): (usize, &Entry)| {
            let path = RelPath::from_stranger(&entry.path)
                .map_err(|error| refusal(RefuseCode::Name, format!("`{}`: {error}", inert(&entry.path))))?
                .top_level();
            let kind = if entry.kind == EntryKind::Folder { PlannedKind::Folder } else { PlannedKind::File };
            let Entry { size, holes, modified, .. } = *entry;
            Ok(PlannedEntry { id: id as u32, path, kind, size, holes, modified: modified.and_then(time_of) })
        };
        self.entries.iter().enumerate().filter(|(_, entry)| entry.kind != EntryKind::Text).map(plan).collect()
    }

    /// Refuses what does not fit into one stream.
    pub(super) fn is_one_file(&self) -> Result<(), Refuse> {
        match self.entries.as_slice() {
            [entry] if entry.kind == EntryKind::File => Ok(()),
            _ => Err(refusal(RefuseCode::Other, "one file is taken there at a time, for its standard output")),
        }
    }

    /// The accepted files as (id, declared bytes); folders carry no data.
    pub(super) fn files(&self) -> impl Iterator<Item = (u32, Option<u64>)> {
        self.of_kind(EntryKind::File)
    }

    /// The accepted texts as (id, declared bytes).
    pub(super) fn texts(&self) -> impl Iterator<Item = (u32, Option<u64>)> {
        self.of_kind(EntryKind::Text)
    }

    fn of_kind(&self, kind: EntryKind) -> impl Iterator<Item = (u32, Option<u64>)> {
        let entries = self.entries.iter().enumerate().filter(move |(_, entry)| entry.kind == kind);
        entries.map(|(id, entry)| (id as u32, entry.size))
    }

    /// How many entries carry data.
    pub(super) fn count(&self) -> usize {
        self.files().count() + self.texts().count()
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
        (self.count() as u64, told.collect(), left_out)
    }
}

/// The sender's manifest of `sources`: the announcement, the pages, the freeze.
pub(super) fn announce(ticket: &Ticket, sources: &Sources) -> (Offer, Vec<Page>, OfferEnd) {
    let entries = sources.iter().map(|source| {
        let (kind, modified) = match source {
            Source::Entry(entry) => match entry.kind {
                SourceKind::File => (EntryKind::File, entry.modified),
                SourceKind::Folder => (EntryKind::Folder, entry.modified),
            },
            Source::Text(_) => (EntryKind::Text, None),
            Source::Piped(_) => (EntryKind::File, None),
        };
        let modified = modified.and_then(modified_of);
        Entry { kind, path: source.name().to_owned(), size: source.size(), holes: source.holes(), modified }
    });
    let pages: Vec<Page> = Page::cut(entries).collect();
    let mut digest = blake3::Hasher::new();
    let mut payload = Vec::new();
    for page in &pages {
        payload.clear();
        page.encode(&mut payload);
        digest.update(&payload);
    }
    let bytes = sources.bytes();
    // What can't be read again can't be come back to.
    let resume_hash = if sources.are_piped() { [0; 32] } else { ticket.key.hash() };
    let transfer = ticket.transfer;
    let offer = Offer { transfer, resume_hash, entries: sources.count() as u32, bytes };
    (offer, pages, OfferEnd { digest: *digest.finalize().as_bytes() })
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
    verdicts: Vec<(u32, Verdict)>,
}

impl Judged {
    pub(super) fn add(&mut self, runs: Vec<Run>, entries: usize) -> Result<(), SessionError> {
        for run in runs {
            let end = run.first as usize + run.count as usize;
            if run.first as usize != self.verdicts.len() || end > entries {
                return Err(SessionError::broke("verdicts that don't follow each other"));
            }
            self.verdicts.extend((run.first..run.first + run.count).map(|id| (id, run.verdict.clone())));
        }
        Ok(())
    }

    /// All verdicts, by entry. Nobody can hold chunks that a source does not have, or hold a text already.
    pub(super) fn finish(self, sources: &Sources) -> Result<Vec<(u32, Verdict)>, SessionError> {
        if self.verdicts.len() != sources.count() {
            return Err(SessionError::broke("verdicts on a part only"));
        }
        let beyond = |(verdict, source): (&(u32, Verdict), Source<'_>)| match (&verdict.1, source) {
            (Verdict::TakeRest(_) | Verdict::Have(_) | Verdict::Stored(_), Source::Text(_) | Source::Piped(_)) => true,
            (Verdict::TakeRest(held), Source::Entry(entry)) => held
                .last()
                .is_some_and(|(first, count)| u64::from(*first) + u64::from(*count) > entry.bytes.div_ceil(CHUNK_LEN)),
            _ => false,
        };
        match self.verdicts.iter().zip(sources.iter()).any(beyond) {
            true => Err(SessionError::broke("a verdict that claims more of an entry than there is")),
            false => Ok(self.verdicts),
        }
    }
}

fn time_of(modified: Modified) -> Option<SystemTime> {
    let nanos = Duration::from_nanos(u64::from(modified.nanos));
    let seconds = Duration::from_secs(modified.seconds.unsigned_abs());
    let whole = if modified.seconds < 0 { UNIX_EPOCH.checked_sub(seconds) } else { UNIX_EPOCH.checked_add(seconds) };
    whole?.checked_add(nanos)
}

fn modified_of(time: SystemTime) -> Option<Modified> {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => Some(Modified { seconds: i64::try_from(after.as_secs()).ok()?, nanos: after.subsec_nanos() }),
        Err(before) => {
            let before = before.duration();
            let seconds = -i64::try_from(before.as_secs()).ok()?;
            Some(match before.subsec_nanos() {
                0 => Modified { seconds, nanos: 0 },
                nanos => Modified { seconds: seconds.checked_sub(1)?, nanos: 1_000_000_000 - nanos },
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_come_back_as_they_were() {
        for (seconds, nanos) in [(0, 0), (1, 5), (-1, 999_999_999), (-7, 0), (1_700_000_000, 123_456_789)] {
            let modified = Modified { seconds, nanos };
            assert_eq!(time_of(modified).and_then(modified_of), Some(modified));
        }
    }

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
        assert_eq!(judged.verdicts, [(0, Verdict::Take), (1, Verdict::Take)]);
    }
}
