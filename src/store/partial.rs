use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use super::area::temp_name;
use super::at::{self, Node};
use super::direct::Pipe;
use super::error::StoreError;
use super::holes;
use super::intake::Shared;
use super::journal::{Mark, Record};
use super::plan::PlannedFile;
use crate::names::RelPath;

/// How much of a file of unknown size is written between two looks at the free space.
const LOOK_EVERY_BYTES: u64 = 16 * 1024 * 1024;

/// No file of any system is larger: offsets are signed.
const MOST_BYTES: u64 = i64::MAX as u64;

/// Whole files of one transfer whose descriptors stay open until they are committed. It is also the largest batch that
/// is synced file by file: up to a handful, an fsync each costs less than writing out what every other program has
/// pending, which is what one `syncfs` means; beyond it, `syncfs` costs one flush in place of one each.
pub(super) const FEW: usize = 8;

/// A file on its way in. Several threads may write to it. Dropping it lets the entry wait again, and removes the file
/// unless it lasts (see [`super::Intake::open_lasting`]).
pub struct PartialFile {
    slot: Slot,
    file: File,
    end: AtomicU64,
    /// Bytes beyond the reservation up to which there was room.
    looked_at: AtomicU64,
}

/// The place of a partial file in its area, and the entry that it is for.
struct Slot {
    shared: Arc<Shared>,
    id: u32,
    temp: u64,
    /// Whether it is there for another attempt when this one ends before it is whole.
    lasts: bool,
    /// Bytes of the entry's reservation that were given back, being on the disk.
    released: AtomicU64,
    /// `None` once it is in place.
    planned: Option<PlannedFile>,
}

impl Slot {
    fn planned(&self) -> &PlannedFile {
        self.planned.as_ref().expect("taken by `Whole::settle` alone, which consumes the slot")
    }

    fn subject(&self) -> &str {
        self.planned().path.as_str()
    }

    /// Gives up to `bytes` of the reservation back, never more than the entry's share.
    fn release(&self, bytes: u64) {
        let charge = self.planned().charge;
        let before = self.released.fetch_add(bytes, Ordering::AcqRel);
        self.shared.claim.release(bytes.min(charge.saturating_sub(before)));
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(planned) = self.planned.take() {
            if !(self.lasts && self.shared.area.is_kept()) {
                // what can't be removed now goes with the area
                let _ = self.shared.area.remove_temp(self.temp);
            }
            self.shared.claim.restore(planned.charge.min(*self.released.get_mut()));
            self.shared.put_back(self.id);
        }
    }
}

impl PartialFile {
    /// Makes one that `lasts` if the transfer is kept.
    pub(super) fn create(shared: &Arc<Shared>, id: u32, lasts: bool) -> Result<PartialFile, StoreError> {
        let planned = shared.take(id)?;
        let (temp, file) = match shared.area.create_temp(at::PRIVATE_FILE) {
            Ok(created) => created,
            Err(error) => {
                let failed = StoreError::io("receive", planned.path.as_str(), error);
                shared.put_back(id);
                return Err(failed);
            }
        };
        if lasts {
            shared.area.note(&[Record::Part { mark: Mark::of(&planned), temp }]);
        }
        let released = AtomicU64::new(0);
        let slot = Slot { shared: Arc::clone(shared), id, temp, lasts, released, planned: Some(planned) };
        Ok(PartialFile { slot, file, end: AtomicU64::new(0), looked_at: AtomicU64::new(0) })
    }

    /// The one that an earlier attempt left as `file`, of which `on_disk` bytes are not reserved any more.
    pub(super) fn reopened(shared: &Arc<Shared>, id: u32, temp: u64, file: File, on_disk: u64) -> Option<PartialFile> {
        let planned = shared.take(id).ok()?;
        let end = file.metadata().map_or(0, |about| about.len());
        let (shared, released) = (Arc::clone(shared), AtomicU64::new(on_disk));
        let slot = Slot { shared, id, temp, lasts: true, released, planned: Some(planned) };
        Some(PartialFile { slot, file, end: AtomicU64::new(end), looked_at: AtomicU64::new(0) })
    }

    /// Notes for another attempt that the chunk of this index is written, and that its hash has this value.
    pub fn note_chunk(&self, chunk: u64, value: [u8; 32]) {
        if let (true, Ok(chunk)) = (self.slot.lasts, u32::try_from(chunk)) {
            self.slot.shared.area.note(&[Record::Chunk { temp: self.slot.temp, chunk, value }]);
        }
    }

    /// Gives the disk back what it holds before `offset`, where the system can: it reads as zeros from then on.
    pub fn forget_before(&self, offset: u64) {
        // Where it can't, the file keeps its room until it goes.
        let _ = holes::make(&self.file, 0, offset);
    }

    /// Gives it the time that it is to have once it is in place, in place of one that was planned. Nothing may be written
    /// after that.
    pub fn set_modified(&self, modified: SystemTime) {
        // a time that this file system can't hold is no reason to lose the file
        let _ = self.file.set_modified(modified);
    }

    /// Removes it, so that no other attempt goes on with it.
    pub fn remove(mut self) {
        self.slot.lasts = false;
    }

    /// The entry that it is for.
    pub fn id(&self) -> u32 {
        self.slot.id
    }

    /// Where it would be put, if its name is free.
    pub fn path(&self) -> RelPath {
        self.slot.planned().path.clone()
    }

    /// Where the written bytes end.
    pub fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// Writes at `offset`; calls for different ranges may overlap in time.
    ///
    /// # Errors
    /// The bytes would go beyond the declared size (then none of them is written), or the disk is full or fails.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let end = self.admit(offset, bytes.len())?;
        self.look_at_free_space(bytes.len())?;
        at::write_full_at(&self.file, bytes, offset).map_err(|error| self.unwritten(error))?;
        self.note(end, bytes.len());
        Ok(())
    }

    /// Makes zeros of the `len` bytes from `offset` on, as a hole where that can be.
    ///
    /// # Errors
    /// As [`PartialFile::write_at`].
    pub fn clear(&self, offset: u64, len: usize) -> Result<(), StoreError> {
        let end = self.admit(offset, len)?;
        // The last byte is written, so that the file has its length; no other way to give it that is safe from those who write
        // behind it meanwhile.
        let is_last = self.slot.planned().size == Some(end);
        let hole = if holes::make(&self.file, offset, len as u64) { len - usize::from(is_last) } else { 0 };
        let rest = vec![0; len - hole];
        self.look_at_free_space(rest.len())?;
        at::write_full_at(&self.file, &rest, offset + hole as u64).map_err(|error| self.unwritten(error))?;
        self.note(end, rest.len());
        Ok(())
    }

    /// Writes after the last byte, for a single writer in order.
    ///
    /// # Errors
    /// As [`PartialFile::write_at`].
    pub fn append(&self, bytes: &[u8]) -> Result<(), StoreError> {
        self.write_at(self.end(), bytes)
    }

    /// Writes the next `count` bytes of `pipe` after the last byte, for a single writer in order. They need not pass
    /// through this program.
    ///
    /// # Errors
    /// As [`PartialFile::write_at`]; the pipe is then of no more use.
    pub fn append_piped(&self, pipe: &Pipe, count: usize) -> Result<(), StoreError> {
        let offset = self.end();
        let end = self.admit(offset, count)?;
        self.look_at_free_space(count)?;
        pipe.empty_into(&self.file, offset, count).map_err(|error| self.unwritten(error))?;
        self.note(end, count);
        Ok(())
    }

    /// Gives up what was written after the first `bytes`.
    ///
    /// # Errors
    /// The disk fails.
    pub fn truncate(&self, bytes: u64) -> Result<(), StoreError> {
        self.file.set_len(bytes).map_err(|error| StoreError::io("cut", self.slot.subject(), error))?;
        self.end.store(bytes, Ordering::Release);
        Ok(())
    }

    /// Reads back from `offset` until `buf` is full or the written bytes end; returns how many were read.
    ///
    /// # Errors
    /// The disk fails.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, StoreError> {
        at::read_full_at(&self.file, buf, offset)
            .map_err(|error| StoreError::io("read back", self.slot.subject(), error))
    }

    /// Declares the file whole: `bytes` long, and its content verified by the caller.
    ///
    /// # Errors
    /// It is not of that size, or that is not the declared one. The file is removed then.
    pub fn complete(self, bytes: u64) -> Result<Whole, StoreError> {
        let PartialFile { mut slot, file, end, .. } = self;
        // until it is known to be whole
        let lasts = std::mem::take(&mut slot.lasts);
        let failed = |error| StoreError::io("finish", slot.subject(), error);
        let planned = slot.planned();
        let (node, on_disk) = at::file_node(&file).map_err(failed)?;
        let expected_bytes = planned.size.unwrap_or(bytes);
        if let Some(got_bytes) = [bytes, end.into_inner(), on_disk].into_iter().find(|&got| got != expected_bytes) {
            return Err(StoreError::Incomplete { subject: slot.subject().into(), expected_bytes, got_bytes });
        }
        at::set_mode(&file, slot.shared.root.file_mode).map_err(failed)?;
        if let Some(modified) = planned.modified {
            // as above
            let _ = file.set_modified(modified);
        }
        slot.release(planned.charge);
        let pending = match Ticket::draw(&slot.shared) {
            Some(ticket) => Pending::Open(file, ticket),
            None if slot.shared.root.syncs_whole => Pending::Closed,
            None => {
                at::sync_file(&file).map_err(|error| StoreError::not_durable(slot.subject(), &error))?;
                Pending::Nothing
            }
        };
        slot.lasts = lasts;
        Ok(Whole { slot, bytes, node, hash: None, pending })
    }

    /// Where `count` bytes at `offset` end, if they may be written.
    fn admit(&self, offset: u64, count: usize) -> Result<u64, StoreError> {
        let size = self.slot.planned().size;
        let most = size.unwrap_or(MOST_BYTES);
        let end = offset
            .checked_add(count as u64)
            .filter(|&end| end <= most)
            .ok_or_else(|| StoreError::BeyondDeclared { subject: self.slot.subject().into(), declared_bytes: most })?;
        Ok(end)
    }

    fn unwritten(&self, error: io::Error) -> StoreError {
        StoreError::io("write", self.slot.subject(), error)
    }

    /// `count` bytes up to `end` are on the disk.
    fn note(&self, end: u64, count: usize) {
        self.end.fetch_max(end, Ordering::AcqRel);
        self.slot.release(count as u64);
    }

    /// Whether there is room for `count` bytes that may not have been reserved: how long the file gets is unknown, or how
    /// much of it is holes is the sender's word.
    fn look_at_free_space(&self, count: usize) -> Result<(), StoreError> {
        let planned = self.slot.planned();
        let written = self.slot.released.load(Ordering::Relaxed).saturating_add(count as u64);
        let unreserved = written.saturating_sub(planned.charge);
        let is_reserved = unreserved == 0 || (planned.size.is_some() && !planned.has_holes);
        if is_reserved || unreserved < self.looked_at.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.looked_at.store(unreserved.saturating_add(LOOK_EVERY_BYTES), Ordering::Relaxed);
        let shared = &self.slot.shared;
        match shared.folder.free_in(&shared.root)? {
            (free, _) if free < LOOK_EVERY_BYTES => {
                Err(StoreError::DiskFull { action: "write", subject: self.slot.subject().into() })
            }
            _ => Ok(()),
        }
    }
}

/// What is left to do before a whole file survives a power cut.
enum Pending {
    /// An fsync, its descriptor being one of the [`FEW`].
    Open(File, #[expect(dead_code, reason = "held for its drop")] Ticket),
    /// A sync of the file system.
    Closed,
    Nothing,
}

/// The right to keep a descriptor open.
struct Ticket(Arc<Shared>);

impl Ticket {
    fn draw(shared: &Arc<Shared>) -> Option<Ticket> {
        let one_more = |held| (held < FEW).then_some(held + 1);
        shared.held.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).ok()?;
        Some(Ticket(Arc::clone(shared)))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A file that is whole and verified, and waits to be made durable and put in place. Dropping it removes it.
pub struct Whole {
    slot: Slot,
    bytes: u64,
    node: Node,
    hash: Option<[u8; 32]>,
    pending: Pending,
}

impl Whole {
    /// Notes its BLAKE3 for another attempt.
    pub fn hashed(self, hash: [u8; 32]) -> Whole {
        Whole { hash: Some(hash), ..self }
    }

    /// The entry that it is for.
    pub fn id(&self) -> u32 {
        self.slot.id
    }

    /// Its size in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn planned(&self) -> &PlannedFile {
        self.slot.planned()
    }

    pub(super) fn temp(&self) -> String {
        temp_name(self.slot.temp)
    }

    /// What is said before it is put in place; `None` if its hash was not noted.
    pub(super) fn record(&self) -> Option<Record> {
        let (mark, Node { device, inode }) = (Mark::of(self.planned()), self.node);
        let (temp, bytes) = (self.slot.temp, self.bytes);
        self.hash.map(|hash| Record::Whole { mark, temp, hash, bytes, device, inode })
    }

    /// What is said when it is stored as `name`.
    pub(super) fn stored_as(&self, name: &str) -> Record {
        Record::stored(self.slot.temp, name)
    }

    pub(super) fn node(&self) -> Node {
        self.node
    }

    /// It is in place: nothing is left to remove.
    pub(super) fn settle(mut self) {
        self.slot.planned = None;
    }
}

/// Makes a batch durable under its temporary names.
pub(super) fn sync_batch(shared: &Shared, batch: &[Whole]) -> io::Result<()> {
    let closed = batch.iter().any(|whole| matches!(whole.pending, Pending::Closed));
    if closed {
        return at::sync_everything(shared.area.dir());
    }
    batch.iter().try_for_each(|whole| match &whole.pending {
        Pending::Open(file, _) => at::sync_file(file),
        Pending::Closed | Pending::Nothing => Ok(()),
    })
}
