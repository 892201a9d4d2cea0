//! What holds of offers, and of what is remembered of devices.

use super::devices::Known;
use super::memory::{read_ticket, ticket_bytes};
use super::offer::{Judged, Unfrozen};
use crate::names;
use crate::store::Listing;
use crate::wire::{Message, Offer, OfferEnd, Page, Verdicts};

/// What an announcement says that is not so.
const ANOTHER_DIGEST: u8 = 1;
const ANOTHER_COUNT: u8 = 2;
const ANOTHER_SUM: u8 = 4;

/// An offer is taken exactly if its pages follow each other and are what was announced, and what is planned of it stays in
/// the folder.
///
/// The first byte says what the announcement lies about. Pages follow, each led by its length in two bytes.
pub fn offer(bytes: &[u8]) {
    let Some((lies, mut rest)) = bytes.split_first() else { return };
    let mut pages = Vec::new();
    while let Some((len, after)) = rest.split_first_chunk() {
        let len = usize::from(u16::from_be_bytes(*len)).min(after.len());
        pages.push(&after[..len]);
        rest = &after[len..];
    }
    let read: Vec<Option<Page>> = pages.iter().map(|page| Page::decode(page).ok()).collect();
    let entries = || read.iter().flatten().flat_map(|page| &page.entries);
    let sum = entries().try_fold(0u64, |sum, entry| sum.checked_add(entry.size.unwrap_or(0)));
    let known = entries().all(|entry| entry.size.is_some());
    let follow = read.iter().try_fold(0usize, |next, page| {
        let page = page.as_ref().filter(|page| page.first as usize == next)?;
        Some(next + page.entries.len())
    });
    let lies_about = |what| lies & what != 0;
    let announced = Offer {
        transfer: [1; 16],
        resume_hash: [2; 32],
        entries: entries().count() as u32 + u32::from(lies_about(ANOTHER_COUNT)),
        bytes: sum.filter(|_| known).map(|sum| sum ^ u64::from(lies_about(ANOTHER_SUM))),
    };
    let mut digest = *blake3::hash(&pages.concat()).as_bytes();
    digest[0] ^= u8::from(lies_about(ANOTHER_DIGEST));
    let mut unfrozen = Unfrozen::new(announced);
    let frozen =
        pages.iter().try_for_each(|page| unfrozen.add(page)).and_then(|()| unfrozen.freeze(&OfferEnd { digest }));
    let told_lie = lies_about(ANOTHER_DIGEST | ANOTHER_COUNT) || (lies_about(ANOTHER_SUM) && known);
    assert_eq!(frozen.is_ok(), follow.is_some() && sum.is_some() && !told_lie);
    let Ok(manifest) = frozen else { return };
    let (files, told, left_out) = manifest.told();
    assert_eq!((files as usize, told.len() as u64 + left_out), (manifest.count(), entries().count() as u64));
    for planned in manifest.expected().iter().flat_map(Listing::entries) {
        assert!(!planned.path.as_str().starts_with('.'));
        planned.path.components().for_each(names::oracle::safe_component);
        assert!(planned.holes <= planned.size.unwrap_or(0));
    }
}

/// Verdicts are taken exactly as far as they cover the entries once, in order. The first two bytes say how many entries
/// there are.
pub fn verdicts(bytes: &[u8]) {
    let Some((entries, page)) = bytes.split_first_chunk() else { return };
    let Ok(Verdicts { runs }) = Verdicts::decode(page) else { return };
    let entries = usize::from(u16::from_be_bytes(*entries));
    let mut next = 0;
    let cover = runs.iter().all(|run| {
        let follows = run.first as usize == next;
        next += run.count as usize;
        follows && next <= entries
    });
    assert_eq!(Judged::default().add(runs, entries).is_ok(), cover);
}

/// The list of devices that is read is the one that is written again, and shows nothing that is not inert; so is a ticket.
pub fn remembered(bytes: &[u8]) {
    if let Ok(known) = Known::read(bytes) {
        assert_eq!(Known::read(&known.written()).as_ref(), Ok(&known));
        for device in known.devices() {
            assert_eq!(names::inert(&device.name), device.name);
            assert_eq!(known.named(&device.name).map(|named| named.key), Some(device.key));
        }
    }
    if let Some(ticket) = read_ticket(bytes) {
        assert!(bytes.starts_with(&ticket_bytes(&ticket)));
    }
}
