//! What is known of the transfers under way.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use crate::events::{Event, Label, Peer};

/// Transfers remembered while their fate is open. A visitor who looks at an outbox and takes nothing leaves one that
/// nothing ends; the oldest goes first.
const OPEN: usize = 4_096;

/// Where a transfer comes from or goes to.
#[derive(Debug, PartialEq)]
pub(super) struct Origin {
    /// Its name in the events.
    pub(super) transfer: String,
    /// The other side.
    pub(super) peer: Peer,
    /// What the pairing proves.
    pub(super) label: Label,
}

/// A transfer that is under way or has just ended.
#[derive(Debug)]
pub(super) struct Transfer {
    pub(super) origin: Arc<Origin>,
    pub(super) offered_files: u64,
    pub(super) offered_bytes: Option<u64>,
    /// Stored until now.
    pub(super) files: u64,
    pub(super) bytes: u64,
    /// When it was accepted.
    pub(super) begun: Option<Instant>,
    number: u64,
}

/// The transfers whose end was not told yet.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    open: HashMap<String, Transfer>,
    count: u64,
}

impl Ledger {
    /// Takes in an event; the transfer that it ends.
    pub(super) fn follow(&mut self, event: &Event) -> Option<Transfer> {
        match event {
            Event::Offer(offer) => {
                self.make_room();
                self.count += 1;
                let transfer = offer.transfer.clone();
                let origin = Origin { transfer: transfer.clone(), peer: offer.peer.clone(), label: offer.label };
                let known = Transfer {
                    origin: Arc::new(origin),
                    offered_files: offer.files,
                    offered_bytes: offer.bytes,
                    files: 0,
                    bytes: 0,
                    begun: None,
                    number: self.count,
                };
                self.open.insert(transfer, known);
            }
            Event::Accepted { transfer } => {
                self.change(transfer, |known| known.begun = Some(Instant::now()));
            }
            Event::Stored { transfer, bytes, .. } => self.add(transfer, *bytes),
            Event::Text { transfer, text } => self.add(transfer, text.len() as u64),
            Event::Refused { transfer, .. }
            | Event::Finished { transfer, .. }
            | Event::Failed { transfer: Some(transfer), .. } => return self.open.remove(transfer),
            _ => {}
        }
        None
    }

    /// Where a transfer comes from.
    pub(super) fn origin(&self, transfer: &str) -> Option<Arc<Origin>> {
        self.open.get(transfer).map(|known| Arc::clone(&known.origin))
    }

    /// Ends every transfer that was accepted, in the order of their offers.
    pub(super) fn end_all(&mut self) -> Vec<Transfer> {
        let mut open: Vec<Transfer> = self.open.drain().map(|(_, known)| known).collect();
        open.retain(|known| known.begun.is_some());
        open.sort_by_key(|known| known.number);
        open
    }

    fn change(&mut self, transfer: &str, change: impl FnOnce(&mut Transfer)) {
        if let Some(known) = self.open.get_mut(transfer) {
            change(known);
        }
    }

    fn add(&mut self, transfer: &str, bytes: u64) {
        self.change(transfer, |known| {
            known.files += 1;
            known.bytes = known.bytes.saturating_add(bytes);
        });
    }

    fn make_room(&mut self) {
        if self.open.len() >= OPEN {
            let oldest = self.open.iter().min_by_key(|(_, known)| (known.begun.is_some(), known.number));
            if let Some(oldest) = oldest.map(|(transfer, _)| transfer.clone()) {
                self.open.remove(&oldest);
            }
        }
    }
}
