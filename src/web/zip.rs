//! Everything an outbox offers as one zip, made while it is sent: nothing is compressed, nothing is kept on a disk.

use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use zip::write::{ExtendedFileOptions, FileOptions, FullFileOptions, StreamWriter};
use zip::{CompressionMethod, DateTime, ZipWriter};

use crate::store::{SourceEntry, SourceKind, SourceList, StoreError};

/// What is read of a file at once.
const PIECE_BYTES: usize = 256 * 1024;

/// Sizes from here on need the fields of zip64 (APPNOTE 4.5.3), which must be announced before the content.
const LARGE_BYTES: u64 = u32::MAX as u64;

/// The extra field of Info-ZIP that holds times as seconds since 1970, which say the same in every time zone.
const EXTENDED_TIMESTAMP: u16 = 0x5455;

/// Why a zip was not written to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum ZipError {
    /// A file on this machine.
    #[error(transparent)]
    Source(#[from] StoreError),
    /// Whoever took it has gone.
    #[error("the other side has gone")]
    Gone,
    /// Names or sizes that no zip can hold.
    #[error("this can't be packed: {0}")]
    Unfit(String),
}

/// Writes `entries` to `sink` and says which files went in whole, by their place.
///
/// # Errors
/// A file that can't be read or changed meanwhile ends it: what was written then is no zip.
pub(super) fn write(entries: &SourceList, sink: impl Write) -> Result<(), ZipError> {
    let mut sink = Deafening { sink, gone: false };
    let mut zip = ZipWriter::new_stream(&mut sink);
    let packed = entries.iter().try_for_each(|entry| pack(&mut zip, &entry));
    // Ended whatever happened: a writer that is dropped open complains on standard error.
    let finished = zip.finish().map(drop);
    match (sink.gone, packed) {
        (true, _) => Err(ZipError::Gone),
        (false, Err(error)) => Err(error),
        (false, Ok(())) => finished.map_err(unfit),
    }
}

fn pack<W: Write>(zip: &mut ZipWriter<StreamWriter<W>>, entry: &SourceEntry) -> Result<(), ZipError> {
    let options = options(entry)?;
    if entry.kind == SourceKind::Folder {
        return zip.add_directory(entry.offered.as_str(), options).map_err(unfit);
    }
    let source = entry.open()?;
    zip.start_file(entry.offered.as_str(), options).map_err(unfit)?;
    let mut buffer = vec![0; PIECE_BYTES];
    let mut offset = 0;
    while offset < entry.bytes {
        let read = source.read_at(offset, &mut buffer)?;
        zip.write_all(&buffer[..read]).map_err(|error| ZipError::Unfit(error.to_string()))?;
        offset += read as u64;
    }
    Ok(source.check_unchanged()?)
}

fn options(entry: &SourceEntry) -> Result<FullFileOptions<'static, 'static>, ZipError> {
    let mut options = FileOptions::<ExtendedFileOptions>::default()
        .compression_method(CompressionMethod::Stored)
        .large_file(entry.bytes >= LARGE_BYTES);
    if let Some(modified) = entry.modified {
        options = options.last_modified_time(dos_time(modified).unwrap_or_default());
        if let Some(seconds) =
            modified.duration_since(UNIX_EPOCH).ok().and_then(|since| i32::try_from(since.as_secs()).ok())
        {
            let mut field = vec![1];
            field.extend(seconds.to_le_bytes());
            options.add_extra_field(EXTENDED_TIMESTAMP, field, false).map_err(unfit)?;
        }
    }
    Ok(options)
}

fn unfit(error: zip::result::ZipError) -> ZipError {
    ZipError::Unfit(error.to_string())
}

/// The time as MS-DOS has it, in UTC: the field knows no zone. `None` before 1980 and after 2107.
fn dos_time(time: SystemTime) -> Option<DateTime> {
    let seconds = time.duration_since(UNIX_EPOCH).ok()?.as_secs();
    let (year, month, day) = civil(seconds / 86_400);
    let of_day = seconds % 86_400;
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    DateTime::from_date_and_time(u16::try_from(year).ok()?, month, day, hour as u8, minute as u8, second as u8).ok()
}

/// Year, month and day of a day since 1970-01-01 (H. Hinnant, "chrono-compatible low-level date algorithms").
fn civil(days: u64) -> (u64, u8, u8) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u8;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 } as u8;
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// A sink that swallows everything once it has failed, so that the zip can be ended in order.
struct Deafening<W> {
    sink: W,
    gone: bool,
}

impl<W: Write> Write for Deafening<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.gone && self.sink.write_all(bytes).is_err() {
            self.gone = true;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::time::Duration;

    use super::*;
    use crate::store::{WalkOptions, walk};

    #[test]
    fn days_become_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(19_782), (2024, 2, 29));
        assert_eq!(civil(20_778), (2026, 11, 21));
    }

    #[test]
    fn a_folder_comes_back_out_of_its_zip_exactly() {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("träum");
        std::fs::create_dir_all(tree.join("empty")).unwrap();
        std::fs::write(tree.join("a b.txt"), b"hello").unwrap();
        std::fs::write(tree.join("nothing"), b"").unwrap();
        std::fs::write(tree.join("large"), vec![7; 700_000]).unwrap();
        let walked = walk(&[tree], &WalkOptions::default()).unwrap();
        let mut packed = Vec::new();
        write(&walked.entries, &mut packed).unwrap();
        let mut archive = zip::ZipArchive::new(io::Cursor::new(packed)).unwrap();
        let names: Vec<String> = archive.file_names().map(|name| name.unwrap().into_owned()).collect();
        for name in ["träum/a b.txt", "träum/nothing", "träum/large", "träum/empty/"] {
            assert!(names.iter().any(|there| there == name), "{name} is not among {names:?}");
        }
        let mut content = Vec::new();
        archive.by_name("träum/large").unwrap().read_to_end(&mut content).unwrap();
        assert_eq!(content, vec![7; 700_000]);
        assert_eq!(archive.by_name("träum/nothing").unwrap().size(), 0);
    }

    #[test]
    fn a_taker_who_leaves_ends_it() {
        struct Leaves;
        impl Write for Leaves {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        std::fs::write(&file, b"hello").unwrap();
        let walked = walk(&[file], &WalkOptions::default()).unwrap();
        assert!(matches!(write(&walked.entries, Leaves), Err(ZipError::Gone)));
    }

    #[test]
    fn times_outside_what_dos_knows_are_left_out() {
        assert!(dos_time(UNIX_EPOCH).is_none());
        assert!(dos_time(UNIX_EPOCH + Duration::from_secs(1_700_000_000)).is_some());
    }
}
