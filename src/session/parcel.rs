//! What a sender offers: said to the receiver, and told to the person.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use super::conn::{Channel, Conn, pings};
use super::error::SessionError;
use super::offer::{Judged, Judgement, announcement, pages};
use super::returning::Ticket;
use crate::events::{
    ENTRIES_TOLD, EntryKind, Event, ExitCode, Failure, Label, Offer as Told, OfferedEntry, Peer, Reporter,
};
use crate::names::human_bytes;
use crate::store::SourceKind;
use crate::transfer::{Manner, Receipts, Source, Sources};
use crate::wire::{CHUNK_LEN, Go, Kind, Message, OfferEnd, Ping, SCREEN_CAP, Verdict, Verdicts};

/// Whether a text is short enough to be sent as one.
///
/// # Errors
/// The failure to end with if it is not.
pub fn check_text(text: &str) -> Result<(), Failure> {
    if text.len() as u64 <= SCREEN_CAP {
        return Ok(());
    }
    let message = format!("a text of {} is too long for a screen", human_bytes(text.len() as u64));
    Err(Failure::new(ExitCode::Usage, message, "send it as a file"))
}

/// What one transfer offers, and where it is told, in as many sessions as it takes.
pub(super) struct Parcel<'a> {
    pub(super) sources: &'a Sources,
    /// What was left out before, as (name, reason).
    pub(super) left_out: &'a [(String, String)],
    pub(super) reporter: &'a dyn Reporter,
    pub(super) manner: &'a Manner,
    pub(super) ticket: Ticket,
    /// Its name as it is told.
    pub(super) transfer: String,
    /// What was acknowledged so far, and told.
    pub(super) acknowledged: Arc<Receipts>,
    /// When it was accepted first.
    pub(super) started: OnceLock<Instant>,
}

impl<'a> Parcel<'a> {
    pub(super) fn new(
        sources: &'a Sources,
        left_out: &'a [(String, String)],
        manner: &'a Manner,
        ticket: Ticket,
        reporter: &'a dyn Reporter,
    ) -> Self {
        let transfer = data_encoding::HEXLOWER.encode(&ticket.transfer);
        let (acknowledged, started) = (Arc::default(), OnceLock::new());
        Parcel { sources, left_out, reporter, manner, ticket, transfer, acknowledged, started }
    }

    /// Whether it can be gone on with when it is cut, and is worth it.
    pub(super) fn is_large(&self) -> bool {
        !self.sources.are_piped() && self.sources.bytes().is_none_or(|bytes| bytes > CHUNK_LEN)
    }

    /// Tells that it goes on where an earlier session was cut, for that `reason`.
    pub(super) fn tell_retry(&self, judgement: &Judgement, reason: String) {
        let (transfer, from_bytes) = (self.transfer.clone(), self.kept_bytes(judgement));
        self.reporter.tell(Event::Retry { transfer, from_bytes, reason });
    }

    /// Tells that it goes on where an earlier run was cut, if the receiver has anything of it.
    pub(super) fn tell_if_begun(&self, judgement: &Judgement) {
        if self.kept_bytes(judgement) > 0 {
            self.tell_retry(judgement, "it was cut in an earlier run".to_owned());
        }
    }

    /// What the receiver has of this very transfer.
    fn kept_bytes(&self, judgement: &Judgement) -> u64 {
        let of = |(id, verdict): (u32, &Verdict)| {
            let bytes = self.sources.get(id).bytes();
            match verdict {
                Verdict::TakeRest(held) => held.iter().map(|run| run_bytes(*run, bytes)).sum(),
                Verdict::Stored(_) => bytes,
                Verdict::Leave | Verdict::Take | Verdict::Have(_) => 0,
            }
        };
        judgement.special().map(of).sum()
    }

    pub(super) fn told(&self, peer: Peer, label: Label) -> Told {
        told(self.sources, peer, label, self.transfer.clone())
    }

    pub(super) fn tell_left_out(&self) {
        for (name, reason) in self.left_out {
            let (transfer, name, reason) = (self.transfer.clone(), name.clone(), reason.clone());
            self.reporter.tell(Event::Skipped { transfer, name, reason });
        }
    }

    /// Says the whole offer.
    pub(super) async fn offer<S: Channel>(&self, conn: &mut Conn<S>) -> Result<(), SessionError> {
        conn.send(&announcement(&self.ticket, self.sources)).await?;
        let (mut digest, mut payload) = (blake3::Hasher::new(), Vec::new());
        for page in pages(self.sources) {
            payload.clear();
            page.encode(&mut payload);
            digest.update(&payload);
            conn.send(&page).await?;
        }
        conn.send(&OfferEnd { digest: *digest.finalize().as_bytes() }).await
    }

    /// A person may take their time; the receiver's pings tell that it is still there.
    pub(super) async fn hear_verdicts<S: Channel>(&self, conn: &mut Conn<S>) -> Result<(Judgement, Go), SessionError> {
        let mut judged = Judged::default();
        let mut ping = pings();
        loop {
            tokio::select! {
                frame = conn.recv(|kind| matches!(kind, Kind::Verdicts | Kind::Go)) => {
                    let frame = frame?;
                    match frame.kind {
                        Kind::Verdicts => judged.add(frame.decode::<Verdicts>()?.runs, self.sources.count())?,
                        _ => return Ok((judged.finish(self.sources)?, frame.decode()?)),
                    }
                }
                _ = ping.tick() => conn.send(&Ping).await?,
            }
        }
    }
}

/// The bytes of a run of chunks of a file of `size` bytes.
fn run_bytes((first, count): (u32, u32), size: u64) -> u64 {
    let (first, end) = (u64::from(first), u64::from(first) + u64::from(count));
    size.min(end * CHUNK_LEN).saturating_sub(first * CHUNK_LEN)
}

/// An offer as a person and a script are told of it.
pub(super) fn told(sources: &Sources, peer: Peer, label: Label, transfer: String) -> Told {
    let entries = sources.iter().take(ENTRIES_TOLD).map(|source| OfferedEntry {
        name: source.name().to_owned(),
        bytes: source.size(),
        kind: match &source {
            Source::Entry(entry) => match entry.kind {
                SourceKind::File => EntryKind::File,
                SourceKind::Folder => EntryKind::Folder,
            },
            Source::Text(_) => EntryKind::Text,
            Source::Piped(_) => EntryKind::File,
        },
    });
    Told {
        transfer,
        peer,
        label,
        files: sources.with_content() as u64,
        bytes: sources.bytes(),
        entries: entries.collect(),
        entries_left_out: sources.count().saturating_sub(ENTRIES_TOLD) as u64,
    }
}
