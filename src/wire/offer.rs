//! The frozen manifest in pages, and the receiver's verdict on each entry (protocol.md 5).

use serde::{Deserialize, Serialize};

use super::caps::{ENTRIES_CAP, LANES_CAP, PAGE_CAP, PATH_CAP};
use super::codec::{Malformed, Message, Reader, cut_len, put_count, put_string};
use super::frame::Kind;

/// Bytes that our own pages are cut to: both ends hold one as it is, as bytes and as entries.
pub(super) const PAGE_AIM: usize = 64 * 1024;

/// Stands for a size that isn't known yet.
const UNKNOWN: u64 = u64::MAX;

/// Begins an offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Random name of the transfer.
    pub transfer: [u8; 16],
    /// SHA-256 of the resume key, a secret of the two ends; all zero where the sender can't come back.
    pub resume_hash: [u8; 32],
    /// How many entries the pages hold in all.
    pub entries: u32,
    /// Sum of their sizes in bytes; `None` while one is unknown.
    pub bytes: Option<u64>,
}

impl Message for Offer {
    const KIND: Kind = Kind::Offer;

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.transfer);
        out.extend_from_slice(&self.resume_hash);
        out.extend_from_slice(&self.entries.to_be_bytes());
        out.extend_from_slice(&self.bytes.unwrap_or(UNKNOWN).to_be_bytes());
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let transfer = reader.array("transfer")?;
        let resume_hash = reader.array("resume hash")?;
        let entries = reader.u32("entries")?;
        if entries == 0 || entries > ENTRIES_CAP {
            return Err(Malformed::OverCap { what: "entries" });
        }
        Ok(Offer { transfer, resume_hash, entries, bytes: known(reader.u64("bytes")?) })
    }
}

fn known(size: u64) -> Option<u64> {
    (size != UNKNOWN).then_some(size)
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A text for the receiver's screen.
    Text,
}

/// A modification time: seconds since 1970 (may be negative) and nanoseconds under 10^9.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Modified {
    /// Whole seconds.
    pub seconds: i64,
    /// The rest.
    pub nanos: u32,
}

/// How a file with holes begins.
const SPARSE: u8 = 3;

/// One entry; its id is its place in the manifest, from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// File, folder or text.
    pub kind: EntryKind,
    /// Relative path, components joined by `/`, as the sender says it: hostile until `names` has read it.
    pub path: String,
    /// Bytes; `None` while unknown; 0 for a folder.
    pub size: Option<u64>,
    /// Bytes of a file that are in holes: its chunks that come as [`Codec::Zeros`](super::Codec::Zeros). At most the size, which is
    /// known then.
    pub holes: u64,
    /// When it was last changed, if known.
    pub modified: Option<Modified>,
}

impl Entry {
    /// The fewest bytes that an entry takes.
    const LEAST: usize = 1 + 2 + 8 + 1;

    /// The bytes that this entry takes in a page.
    pub fn encoded_len(&self) -> usize {
        Entry::LEAST
            + cut_len(&self.path, PATH_CAP)
            + if self.holes > 0 { 8 } else { 0 }
            + if self.modified.is_some() { 12 } else { 0 }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.push(match self.kind {
            EntryKind::File if self.holes > 0 => SPARSE,
            EntryKind::File => 0,
            EntryKind::Folder => 1,
            EntryKind::Text => 2,
        });
        put_string(out, &self.path, PATH_CAP);
        out.extend_from_slice(&self.size.unwrap_or(UNKNOWN).to_be_bytes());
        if self.kind == EntryKind::File && self.holes > 0 {
            out.extend_from_slice(&self.holes.to_be_bytes());
        }
        match self.modified {
            None => out.push(0),
            Some(Modified { seconds, nanos }) => {
                out.push(1);
                out.extend_from_slice(&seconds.to_be_bytes());
                out.extend_from_slice(&nanos.to_be_bytes());
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let kind_byte = reader.u8("entry kind")?;
        let kind = match kind_byte {
            0 | SPARSE => EntryKind::File,
            1 => EntryKind::Folder,
            2 => EntryKind::Text,
            _ => return Err(Malformed::Value { what: "entry kind" }),
        };
        let path = reader.string(PATH_CAP, "path")?;
        let size = known(reader.u64("size")?);
        if kind == EntryKind::Folder && size != Some(0) {
            return Err(Malformed::Value { what: "size" });
        }
        let holes = if kind_byte == SPARSE { reader.u64("holes")? } else { 0 };
        if kind_byte == SPARSE && !size.is_some_and(|size| (1..=size).contains(&holes)) {
            return Err(Malformed::Value { what: "holes" });
        }
        let modified = if reader.bool("modified")? {
            let seconds = reader.i64("modified")?;
            let nanos = reader.u32("modified")?;
            if nanos >= 1_000_000_000 {
                return Err(Malformed::Value { what: "modified" });
            }
            Some(Modified { seconds, nanos })
        } else {
            None
        };
        Ok(Entry { kind, path, size, holes, modified })
    }
}

/// A page of the manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Id of the first entry here; pages follow each other without a gap.
    pub first: u32,
    /// At least one.
    pub entries: Vec<Entry>,
}

impl Page {
    /// Cuts a manifest into pages of some 64 KiB.
    pub fn cut(entries: impl IntoIterator<Item = Entry>) -> impl Iterator<Item = Page> {
        let mut entries = entries.into_iter().peekable();
        let mut first = 0;
        std::iter::from_fn(move || {
            entries.peek()?;
            let mut page = Page { first, entries: Vec::new() };
            let mut room = PAGE_AIM - 8;
            while let Some(entry) = entries.next_if(|entry| entry.encoded_len() <= room) {
                room -= entry.encoded_len();
                page.entries.push(entry);
            }
            first += page.entries.len() as u32;
            Some(page)
        })
    }
}

impl Message for Page {
    const KIND: Kind = Kind::Page;

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.first.to_be_bytes());
        put_count(out, self.entries.len());
        self.entries.iter().for_each(|entry| entry.encode(out));
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let first = reader.u32("first")?;
        let count = reader.count(ENTRIES_CAP as usize, Entry::LEAST, "page")?;
        if count == 0 {
            return Err(Malformed::Value { what: "page" });
        }
        let entries = (0..count).map(|_| Entry::read(reader)).collect::<Result<_, _>>()?;
        Ok(Page { first, entries })
    }
}

/// Freezes the manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferEnd {
    /// BLAKE3 over the payloads of all pages in order.
    pub digest: [u8; 32],
}

impl Message for OfferEnd {
    const KIND: Kind = Kind::OfferEnd;

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.digest);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(OfferEnd { digest: reader.array("digest")? })
    }
}

/// What the receiver wants of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Not this one.
    Leave,
    /// All of it.
    Take,
    /// All but these chunks, as (first chunk, count), ascending, which it has and has hashed again.
    TakeRest(Vec<(u32, u32)>),
    /// It has a file of this size whose BLAKE3 is this: send only if yours differs.
    Have([u8; 32]),
    /// An earlier session of this transfer has stored it with this BLAKE3: send only if yours differs.
    Stored([u8; 32]),
}

impl Verdict {
    /// Whether it stands for one entry, and for no more.
    fn is_single(&self) -> bool {
        !matches!(self, Verdict::Leave | Verdict::Take)
    }
}

/// Neighbouring entries with one verdict; all but [`Verdict::Leave`] and [`Verdict::Take`] stand for one entry each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Id of the first entry.
    pub first: u32,
    /// How many, at least one.
    pub count: u32,
    /// The verdict on them.
    pub verdict: Verdict,
}

/// A page of verdicts; together they cover every entry once, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdicts {
    /// At least one.
    pub runs: Vec<Run>,
}

impl Verdicts {
    /// Cuts verdicts into pages of some 64 KiB; a longer verdict has one to itself.
    pub fn cut(runs: impl IntoIterator<Item = Run>) -> impl Iterator<Item = Verdicts> {
        let mut runs = runs.into_iter().peekable();
        std::iter::from_fn(move || {
            let first = runs.next()?;
            let mut room = (PAGE_AIM - 4).saturating_sub(first.encoded_len());
            let mut page = Verdicts { runs: vec![first] };
            while let Some(run) = runs.next_if(|run| run.encoded_len() <= room) {
                room -= run.encoded_len();
                page.runs.push(run);
            }
            Some(page)
        })
    }
}

impl Message for Verdicts {
    const KIND: Kind = Kind::Verdicts;

    fn encode(&self, out: &mut Vec<u8>) {
        put_count(out, self.runs.len());
        for run in &self.runs {
            out.extend_from_slice(&run.first.to_be_bytes());
            out.extend_from_slice(&run.count.to_be_bytes());
            match &run.verdict {
                Verdict::Leave => out.push(0),
                Verdict::Take => out.push(1),
                Verdict::TakeRest(ranges) => {
                    out.push(2);
                    put_count(out, ranges.len());
                    for (first, count) in ranges {
                        out.extend_from_slice(&first.to_be_bytes());
                        out.extend_from_slice(&count.to_be_bytes());
                    }
                }
                Verdict::Have(hash) => {
                    out.push(3);
                    out.extend_from_slice(hash);
                }
                Verdict::Stored(hash) => {
                    out.push(4);
                    out.extend_from_slice(hash);
                }
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let count = reader.count(ENTRIES_CAP as usize, 9, "verdicts")?;
        if count == 0 {
            return Err(Malformed::Value { what: "verdicts" });
        }
        let runs = (0..count).map(|_| Run::read(reader)).collect::<Result<_, _>>()?;
        Ok(Verdicts { runs })
    }
}

impl Run {
    /// The bytes that this run takes in a page.
    pub fn encoded_len(&self) -> usize {
        9 + match &self.verdict {
            Verdict::Leave | Verdict::Take => 0,
            Verdict::TakeRest(ranges) => 4 + 8 * ranges.len(),
            Verdict::Have(_) | Verdict::Stored(_) => 32,
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let first = reader.u32("first")?;
        let count = reader.u32("count")?;
        let verdict = match reader.u8("verdict")? {
            0 => Verdict::Leave,
            1 => Verdict::Take,
            2 => Verdict::TakeRest(read_ranges(reader)?),
            3 => Verdict::Have(reader.array("hash")?),
            4 => Verdict::Stored(reader.array("hash")?),
            _ => return Err(Malformed::Value { what: "verdict" }),
        };
        if count == 0 || (verdict.is_single() && count != 1) || first.checked_add(count).is_none() {
            return Err(Malformed::Value { what: "count" });
        }
        Ok(Run { first, count, verdict })
    }
}

/// Ranges must ascend without touching, so that each set of chunks has one form.
fn read_ranges(reader: &mut Reader<'_>) -> Result<Vec<(u32, u32)>, Malformed> {
    let count = reader.count(PAGE_CAP / 8, 8, "ranges")?;
    let mut ranges = Vec::with_capacity(count);
    let mut free_from = 0u32;
    for _ in 0..count {
        let (first, count) = (reader.u32("ranges")?, reader.u32("ranges")?);
        let end = first.checked_add(count).filter(|_| count > 0 && first >= free_from);
        let end = end.ok_or(Malformed::Value { what: "ranges" })?;
        free_from = end.saturating_add(1);
        ranges.push((first, count));
    }
    Ok(ranges)
}

/// The receiver is ready: lanes may come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Go {
    /// Random name of the session, for [`super::Method::Lane`].
    pub session: [u8; 16],
    /// How many lanes may be open at once; at least one.
    pub lanes: u16,
}

impl Message for Go {
    const KIND: Kind = Kind::Go;

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.session);
        out.extend_from_slice(&self.lanes.to_be_bytes());
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let session = reader.array("session")?;
        let lanes = reader.u16("lanes")?;
        if lanes == 0 || lanes > LANES_CAP {
            return Err(Malformed::OverCap { what: "lanes" });
        }
        Ok(Go { session, lanes })
    }
}
