//! EXIF: a small TIFF of tags (CIPA DC-008), written anew with the tags that say nothing of a place.
//!
//! Nothing is cut out of what is there: what is known to be harmless is copied, so that no unreferenced byte, private tag,
//! maker's note or preview comes along.

use super::Trouble;

/// Entries of one directory. Cameras write some fifty.
const ENTRIES: usize = 512;

/// The largest EXIF that has to be read: what fits into a segment of a JPEG.
const BYTES: usize = 64 * 1024;

const EXIF_POINTER: u16 = 0x8769;
const GPS_POINTER: u16 = 0x8825;
const LONG: u16 = 4;

/// EXIF without a location.
pub(super) struct Cleaned {
    /// It, anew; empty where nothing is left.
    pub(super) bytes: Vec<u8>,
    /// Whether a location was there.
    pub(super) had_location: bool,
}

/// What stays of the TIFF structure `tiff`.
///
/// # Errors
/// It can't be read, and nobody else will.
pub(super) fn without_location(tiff: &[u8]) -> Result<Cleaned, Trouble> {
    if tiff.len() > BYTES {
        return Err(Trouble::Damaged);
    }
    let order = match tiff.get(..4) {
        Some(b"II*\0") => Order::Little,
        Some(b"MM\0*") => Order::Big,
        _ => return Err(Trouble::Damaged),
    };
    let reader = Reader { tiff, order };
    let all = reader.directory(reader.long(4).ok_or(Trouble::Damaged)?)?;
    let pointed = |tag| all.iter().find(|entry| entry.tag == tag).and_then(|entry| entry.pointer(order));
    // The first entry of such a directory is its version, which tells of no place.
    let had_location = pointed(GPS_POINTER).is_some_and(|at| reader.directory(at).is_ok_and(|gps| gps.len() > 1));
    let exif = pointed(EXIF_POINTER).and_then(|at| reader.directory(at).ok()).unwrap_or_default();
    let about_picture: Vec<Entry> = all.into_iter().filter(|entry| is_harmless(entry.tag)).collect();
    let about_shot: Vec<Entry> = exif.into_iter().filter(|entry| is_harmless_exif(entry.tag)).collect();
    let bytes = if about_picture.is_empty() && about_shot.is_empty() {
        Vec::new()
    } else {
        write(order, about_picture, about_shot)
    };
    if bytes.len() > BYTES {
        // Values that overlap: no camera did that.
        return Err(Trouble::Damaged);
    }
    Ok(Cleaned { bytes, had_location })
}

/// Tags of the picture: description, camera, orientation, resolution, software, date, artist, colour, copyright.
fn is_harmless(tag: u16) -> bool {
    matches!(tag, 0x010e..=0x0110 | 0x0112 | 0x011a | 0x011b | 0x0128 | 0x0131 | 0x0132 | 0x013b)
        || matches!(tag, 0x013e | 0x013f | 0x0211 | 0x0213 | 0x0214 | 0x8298)
}

/// Tags of the shot: exposure, dates with their zones, lens, size, colour space. Not the maker's note and the comment,
/// into which programs write whatever they like, and not temperature, pressure and depth.
fn is_harmless_exif(tag: u16) -> bool {
    matches!(tag, 0x829a | 0x829d | 0x8822 | 0x8827 | 0x8830..=0x8835 | 0x9000 | 0x9003 | 0x9004 | 0x9010..=0x9012)
        || matches!(tag, 0x9101 | 0x9102 | 0x9201..=0x920a | 0x9214 | 0x9290..=0x9292 | 0xa000..=0xa003)
        || matches!(tag, 0xa20e..=0xa210 | 0xa215 | 0xa217 | 0xa300..=0xa302 | 0xa401..=0xa40a | 0xa40c)
        || matches!(tag, 0xa432..=0xa434 | 0xa460..=0xa462 | 0xa500)
}

#[derive(Clone, Copy)]
enum Order {
    Little,
    Big,
}

impl Order {
    fn short(self, bytes: [u8; 2]) -> u16 {
        match self {
            Order::Little => u16::from_le_bytes(bytes),
            Order::Big => u16::from_be_bytes(bytes),
        }
    }

    fn long(self, bytes: [u8; 4]) -> u32 {
        match self {
            Order::Little => u32::from_le_bytes(bytes),
            Order::Big => u32::from_be_bytes(bytes),
        }
    }

    fn shorts(self, value: u16) -> [u8; 2] {
        match self {
            Order::Little => value.to_le_bytes(),
            Order::Big => value.to_be_bytes(),
        }
    }

    fn longs(self, value: u32) -> [u8; 4] {
        match self {
            Order::Little => value.to_le_bytes(),
            Order::Big => value.to_be_bytes(),
        }
    }
}

/// A tag and its value, in the byte order of the whole.
struct Entry {
    tag: u16,
    kind: u16,
    count: u32,
    value: Vec<u8>,
}

impl Entry {
    fn pointer(&self, order: Order) -> Option<u32> {
        self.value.first_chunk().map(|bytes| order.long(*bytes))
    }
}

struct Reader<'a> {
    tiff: &'a [u8],
    order: Order,
}

impl Reader<'_> {
    fn bytes<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.tiff.get(at..)?.first_chunk().copied()
    }

    fn long(&self, at: usize) -> Option<u32> {
        self.bytes(at).map(|bytes| self.order.long(bytes))
    }

    /// The entries of the directory at `at`, those left out whose value is not there.
    fn directory(&self, at: u32) -> Result<Vec<Entry>, Trouble> {
        let at = at as usize;
        let count = self.bytes(at).map(|bytes| usize::from(self.order.short(bytes))).ok_or(Trouble::Damaged)?;
        if count > ENTRIES || self.tiff.len() < at + 2 + 12 * count {
            return Err(Trouble::Damaged);
        }
        Ok((0..count).filter_map(|place| self.entry(at + 2 + 12 * place)).collect())
    }

    fn entry(&self, at: usize) -> Option<Entry> {
        let tag = self.order.short(self.bytes(at)?);
        let kind = self.order.short(self.bytes(at + 2)?);
        let count = self.long(at + 4)?;
        let unit: u64 = match kind {
            1 | 2 | 6 | 7 => 1,
            3 | 8 => 2,
            4 | 9 | 11 => 4,
            5 | 10 | 12 => 8,
            _ => return None,
        };
        let bytes = usize::try_from(unit * u64::from(count)).ok()?;
        let from = if bytes <= 4 { at + 8 } else { self.long(at + 8)? as usize };
        let value = self.tiff.get(from..from.checked_add(bytes)?)?.to_vec();
        Some(Entry { tag, kind, count, value })
    }
}

/// Both directories, each followed by the values that do not fit into it.
fn write(order: Order, mut about_picture: Vec<Entry>, about_shot: Vec<Entry>) -> Vec<u8> {
    const FIRST: u32 = 8;
    let mut tiff = match order {
        Order::Little => b"II*\0".to_vec(),
        Order::Big => b"MM\0*".to_vec(),
    };
    tiff.extend(order.longs(FIRST));
    if !about_shot.is_empty() {
        // Behind the first directory, which the pointer makes one entry longer.
        let at = FIRST + (directory_bytes(&about_picture) + 12) as u32;
        about_picture.push(Entry { tag: EXIF_POINTER, kind: LONG, count: 1, value: order.longs(at).to_vec() });
    }
    append(order, &mut tiff, about_picture);
    append(order, &mut tiff, about_shot);
    tiff
}

fn directory_bytes(entries: &[Entry]) -> usize {
    let values = entries.iter().map(|entry| entry.value.len()).filter(|bytes| *bytes > 4);
    2 + 12 * entries.len() + 4 + values.map(|bytes| bytes.next_multiple_of(2)).sum::<usize>()
}

fn append(order: Order, tiff: &mut Vec<u8>, mut entries: Vec<Entry>) {
    if entries.is_empty() {
        return;
    }
    entries.sort_by_key(|entry| entry.tag);
    let mut values = Vec::new();
    let values_at = tiff.len() + 2 + 12 * entries.len() + 4;
    tiff.extend(order.shorts(entries.len() as u16));
    for entry in entries {
        tiff.extend(order.shorts(entry.tag));
        tiff.extend(order.shorts(entry.kind));
        tiff.extend(order.longs(entry.count));
        if entry.value.len() <= 4 {
            let mut inside = entry.value;
            inside.resize(4, 0);
            tiff.extend(inside);
        } else {
            tiff.extend(order.longs((values_at + values.len()) as u32));
            values.extend(entry.value);
            // Values begin at even places.
            values.resize(values.len().next_multiple_of(2), 0);
        }
    }
    tiff.extend(order.longs(0));
    tiff.extend(values);
}
