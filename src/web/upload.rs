//! `PUT /api/data/…`: content of a file, sealed by the page, to the disk.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::task::block_in_place;

use super::answer::Failure;
use super::body::Inflow;
use super::receiving::{Receiving, Turn};
use super::seal::{Broken, Opener, SEALED_RECORD_BYTES};
use super::sessions::Signed;
use super::transfers::{Found, Transfer};

/// Records opened, hashed and written in one go: large enough that a change of threads costs nothing, small enough
/// for hundreds of uploads at once.
const BATCH: usize = 4 * SEALED_RECORD_BYTES;

/// Writes the body from `offset` on. With the last byte of the file, waits until it is stored.
pub(super) async fn put(
    transfer: &Arc<Transfer>,
    signed: &Signed,
    (id, offset): (u32, u64),
    mut body: Inflow,
) -> Result<Value, Failure> {
    let opener = Opener::new(&signed.keys.page, signed.number, body.left()).map_err(broken)?;
    if let Found::Receiving(receiving) = transfer.enter(id, offset)?
        && let Some(have) = write(transfer, &receiving, (id, offset), opener, &mut body).await?
    {
        return Ok(json!({ "have": have }));
    }
    stored(transfer, id).await
}

/// Returns what is there when the request is over; `None` once that is all.
async fn write(
    transfer: &Arc<Transfer>,
    receiving: &Receiving,
    (id, offset): (u32, u64),
    mut opener: Opener,
    body: &mut Inflow,
) -> Result<Option<u64>, Failure> {
    let mut turn = receiving.turn().await.ok_or_else(superseded)?;
    if turn.have() != offset {
        return Err(Failure::offset(turn.have()));
    }
    if opener.content_left() > receiving.bytes() - offset {
        return Err(Failure::too_large(format!("`{}` bytes were declared for this file", receiving.bytes())));
    }
    let mut buffer = Vec::with_capacity(BATCH.min(usize::try_from(opener.left()).unwrap_or(BATCH)));
    while opener.left() > 0 {
        let filled = tokio::select! {
            filled = body.fill(&mut buffer, BATCH) => filled,
            () = turn.lost() => return Err(superseded()),
        };
        // Also of a request that was cut: what can be verified stays.
        block_in_place(|| append(transfer, &turn, id, &mut opener, &mut buffer))?;
        filled.map_err(|cut| Failure::refused("cut", cut.to_string()))?;
    }
    match block_in_place(|| turn.complete()) {
        None => Ok(Some(turn.have())),
        Some(Ok((whole, digests))) => {
            transfer.commit(id, whole, digests);
            Ok(None)
        }
        Some(Err(error)) => {
            transfer.give_up(id, error.to_string());
            Err(Failure::by_disk(&error))
        }
    }
}

/// Opens and writes the whole records in `buffer`; what is left of it is the beginning of the next one.
fn append(
    transfer: &Transfer,
    turn: &Turn<'_>,
    id: u32,
    opener: &mut Opener,
    buffer: &mut Vec<u8>,
) -> Result<(), Failure> {
    let mut start = 0;
    while opener.left() > 0 && buffer.len() - start >= opener.next_bytes() {
        let end = start + opener.next_bytes();
        let content = opener.open(&mut buffer[start..end]).map_err(broken)?;
        if !turn.holds() {
            return Err(superseded());
        }
        if let Err(error) = turn.append(content) {
            transfer.give_up(id, error.to_string());
            return Err(Failure::by_disk(&error));
        }
        start = end;
    }
    buffer.drain(..start);
    Ok(())
}

async fn stored(transfer: &Transfer, id: u32) -> Result<Value, Failure> {
    let mut changes = transfer.watch();
    loop {
        changes.borrow_and_update();
        if let Some(stored) = transfer.outcome(id)? {
            return Ok(stored);
        }
        // The sender lives as long as the transfer.
        let _ = changes.changed().await;
    }
}

fn superseded() -> Failure {
    Failure::conflict("superseded", "another request for this file has come, or none is wanted any more")
}

fn broken(error: Broken) -> Failure {
    Failure::refused("sealed", error.to_string())
}
