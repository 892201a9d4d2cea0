//! Holes: ranges of a file that were never written, take no room, and read as zeros.

use std::fs::{File, Metadata};

/// Holes are told of in pieces of this length, at multiples of it, or up to the end of the file.
pub const HOLE_UNIT: u64 = 1024 * 1024;

/// Whether a file can have whole units that are hole: known without opening it, and true of few.
pub(super) fn are_possible(about: &Metadata) -> bool {
    about.len() >= HOLE_UNIT && takes_less_than(about, about.len())
}

/// Bytes of the `size` of `file` in units that are nothing but hole. A file system that knows no holes has none.
pub(super) fn count(file: &File, size: u64) -> u64 {
    let (mut holes, mut offset) = (0, 0);
    while offset < size {
        // Data may begin before the unit does; then the whole unit counts as data.
        let data = next_data(file, offset).unwrap_or(size).min(size);
        let whole = if data == size { size } else { data / HOLE_UNIT * HOLE_UNIT };
        holes += whole.saturating_sub(offset);
        let end = if data == size { size } else { next_hole(file, data).unwrap_or(size) };
        offset = end.max(data + 1).next_multiple_of(HOLE_UNIT);
    }
    holes
}

/// Whether there is no data in the `len` bytes from `offset` on.
pub(super) fn is_hole(file: &File, offset: u64, len: u64) -> bool {
    next_data(file, offset).is_none_or(|data| data >= offset + len)
}

fn takes_less_than(about: &Metadata, size: u64) -> bool {
    #[cfg(unix)]
    return std::os::unix::fs::MetadataExt::blocks(about).saturating_mul(512) < size;
    #[cfg(not(unix))]
    {
        let _ = (about, size);
        false
    }
}

/// Where data begins from `offset` on; `None` if there is none (lseek(2), `SEEK_DATA`). It moves where the file is read and
/// written next, which nobody here asks for.
#[cfg(any(target_os = "linux", target_vendor = "apple"))]
fn next_data(file: &File, offset: u64) -> Option<u64> {
    use rustix::fs::{SeekFrom, seek};
    use rustix::io::Errno;

    match seek(file, SeekFrom::Data(offset)) {
        Err(Errno::NXIO) => None,
        // Who can't tell has data everywhere.
        found => Some(found.unwrap_or(offset)),
    }
}

/// Where the data at `offset` ends.
#[cfg(any(target_os = "linux", target_vendor = "apple"))]
fn next_hole(file: &File, offset: u64) -> Option<u64> {
    rustix::fs::seek(file, rustix::fs::SeekFrom::Hole(offset)).ok()
}

#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
fn next_data(_: &File, offset: u64) -> Option<u64> {
    Some(offset)
}

#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
fn next_hole(_: &File, _: u64) -> Option<u64> {
    None
}

/// Makes the `len` bytes from `offset` on a hole, without a change of the file's length; `false` if this system or file system
/// can't.
pub(super) fn make(file: &File, offset: u64, len: u64) -> bool {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{FallocateFlags, fallocate};
        fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, len).is_ok()
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (file, offset, len);
        false
    }
}
