//! WebP (RFC 9649): chunks in a RIFF file, of which those that speak of a place are left out.

use super::jpeg::speaks_of_a_place;
use super::{Trouble, exif};

/// Where the chunks begin: behind `RIFF`, the size and `WEBP`.
const FIRST: usize = 12;

/// Flags of the extended header, which tell that there is XMP and EXIF.
const XMP_FLAG: u8 = 0x04;
const EXIF_FLAG: u8 = 0x08;

/// As [`super::jpeg::without_location`].
pub(super) fn without_location(bytes: &[u8]) -> Result<Option<(Vec<u8>, bool)>, Trouble> {
    let length = bytes.get(4..).and_then(|rest| rest.first_chunk()).map(|bytes| u32::from_le_bytes(*bytes) as usize);
    let end = length.and_then(|length| length.checked_add(8)).filter(|end| *end <= bytes.len());
    let end = end.ok_or(Trouble::Damaged)?;
    let mut kept = bytes[..FIRST].to_vec();
    let (mut at, mut flags, mut had_location) = (FIRST, None, false);
    while at < end {
        let (kind, data, next) = chunk(&bytes[..end], at).ok_or(Trouble::Damaged)?;
        match kind {
            b"EXIF" => {
                let tiff = data.strip_prefix(b"Exif\0\0").unwrap_or(data);
                if let Ok(cleaned) = exif::without_location(tiff) {
                    had_location |= cleaned.had_location;
                    if !cleaned.bytes.is_empty() {
                        push(&mut kept, kind, &cleaned.bytes);
                        flag(&mut kept, flags, EXIF_FLAG, true);
                        at = next;
                        continue;
                    }
                }
                flag(&mut kept, flags, EXIF_FLAG, false);
            }
            b"VP8X" => {
                flags = Some(kept.len() + 8);
                push(&mut kept, kind, data);
                flag(&mut kept, flags, EXIF_FLAG | XMP_FLAG, false);
            }
            b"VP8 " | b"VP8L" | b"ALPH" | b"ANIM" | b"ANMF" | b"ICCP" => push(&mut kept, kind, data),
            _ => had_location |= speaks_of_a_place(data),
        }
        at = next;
    }
    let length = (kept.len() - 8) as u32;
    kept[4..8].copy_from_slice(&length.to_le_bytes());
    Ok((kept != bytes).then_some((kept, had_location)))
}

/// Kind and data of the chunk at `at`, and where the next one begins.
fn chunk(bytes: &[u8], at: usize) -> Option<(&[u8; 4], &[u8], usize)> {
    let kind = bytes.get(at..)?.first_chunk()?;
    let length = u32::from_le_bytes(*bytes.get(at + 4..)?.first_chunk()?) as usize;
    let data = bytes.get(at + 8..(at + 8).checked_add(length)?)?;
    Some((kind, data, (at + 8 + length).next_multiple_of(2)))
}

fn push(to: &mut Vec<u8>, kind: &[u8; 4], data: &[u8]) {
    to.extend(kind);
    to.extend((data.len() as u32).to_le_bytes());
    to.extend(data);
    to.resize(to.len().next_multiple_of(2), 0);
}

fn flag(file: &mut [u8], at: Option<usize>, flag: u8, on: bool) {
    if let Some(flags) = at.and_then(|at| file.get_mut(at)) {
        *flags = if on { *flags | flag } else { *flags & !flag };
    }
}
