//! Pictures made here, so that every byte of them is known.

mod containers;
mod hostile;
#[cfg(unix)]
mod workers;

use jpeg_encoder::{ColorType, Encoder};

use super::Wishes;

/// Four degrees and so on, as the bytes of an EXIF: what must be gone.
const PLACE: &[u8] = b"PLACE-52-31-12";

const STRIP: Wishes = Wishes { images: false, pdfs: false, max_edge: None, strip_location: true };
const SHRINK: Wishes = Wishes { images: true, pdfs: true, max_edge: None, strip_location: false };

/// Big or little endian numbers.
fn short(big: bool, value: u16) -> [u8; 2] {
    if big { value.to_be_bytes() } else { value.to_le_bytes() }
}

fn long(big: bool, value: u32) -> [u8; 4] {
    if big { value.to_be_bytes() } else { value.to_le_bytes() }
}

/// One directory at `at`: each entry has a tag, a type, a count and a value, which may be longer than its place.
fn directory(big: bool, at: u32, entries: &[(u16, u16, u32, &[u8])]) -> Vec<u8> {
    let (mut fixed, mut values) = (short(big, entries.len() as u16).to_vec(), Vec::new());
    let values_at = at + 2 + 12 * entries.len() as u32 + 4;
    for (tag, kind, count, value) in entries {
        fixed.extend(short(big, *tag));
        fixed.extend(short(big, *kind));
        fixed.extend(long(big, *count));
        match value.len() {
            0..=4 => fixed.extend([value, [0; 4].as_slice()].concat().into_iter().take(4)),
            _ => {
                fixed.extend(long(big, values_at + values.len() as u32));
                values.extend_from_slice(value);
            }
        }
    }
    fixed.extend([0; 4]);
    [fixed, values].concat()
}

/// EXIF with an orientation, a date, a maker's note and a location.
fn tiff(big: bool) -> Vec<u8> {
    let orientation = short(big, 6);
    let place = |at: u32| long(big, at);
    let (exif_at, gps_at) = (place(200), place(400));
    let first = directory(
        big,
        8,
        &[
            (0x0110, 2, 8, b"Model 7\0"),
            (0x0112, 3, 1, &orientation),
            (0x8769, 4, 1, &exif_at),
            (0x8825, 4, 1, &gps_at),
        ],
    );
    let date = b"2026:07:14 12:34:56\0";
    let shot = directory(big, 200, &[(0x9003, 2, 20, date), (0x927c, 7, PLACE.len() as u32, PLACE)]);
    let gps = directory(big, 400, &[(0, 1, 4, &[2, 3, 0, 0]), (2, 7, PLACE.len() as u32, PLACE)]);
    let mut tiff = [if big { b"MM\0*" } else { b"II*\0" }, long(big, 8).as_slice()].concat();
    for (at, part) in [(8, first), (200, shot), (400, gps)] {
        tiff.resize(at, 0);
        tiff.extend(part);
    }
    tiff
}

/// A soft picture.
fn pixels(width: u16, height: u16) -> Vec<u8> {
    let pixel = |x: u16, y: u16| [x, y, x ^ y].map(|value| (value % 256) as u8);
    (0..height).flat_map(|y| (0..width).flat_map(move |x| pixel(x, y))).collect()
}

/// A JPEG with these segments behind its first one.
fn jpeg(width: u16, height: u16, segments: &[(u8, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, 98);
    for (number, data) in segments {
        encoder.add_app_segment(*number, data.to_vec()).unwrap();
    }
    encoder.encode(&pixels(width, height), width, height, ColorType::Rgb).unwrap();
    bytes
}

fn located_jpeg() -> Vec<u8> {
    let exif = [b"Exif\0\0", tiff(false).as_slice()].concat();
    let xmp = b"http://ns.adobe.com/xap/1.0/\0<x exif:GPSLatitude='PLACE-52-31-12'/>";
    jpeg(200, 120, &[(1, &exif), (1, xmp), (2, b"ICC_PROFILE\0\x01\x01profile"), (13, b"Photoshop PLACE-52-31-12")])
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn png_chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let checked = [kind, data].concat();
    let checksum = crc32(&checked).to_be_bytes();
    [(data.len() as u32).to_be_bytes().as_slice(), &checked, &checksum].concat()
}

/// From the table-driven sample in annex D of the specification, written out.
fn crc32(bytes: &[u8]) -> u32 {
    let table: Vec<u32> =
        (0..256u32).map(|n| (0..8).fold(n, |c, _| if c & 1 == 1 { 0xedb8_8320 ^ (c >> 1) } else { c >> 1 })).collect();
    !bytes.iter().fold(!0, |crc, byte| table[((crc ^ u32::from(*byte)) & 0xff) as usize] ^ (crc >> 8))
}

/// A PNG with these chunks behind its header.
fn png(width: u16, height: u16, chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    use image::ImageEncoder;
    use image::codecs::png::{CompressionType, FilterType, PngEncoder};
    let mut bytes = Vec::new();
    let encoder = PngEncoder::new_with_quality(&mut bytes, CompressionType::Uncompressed, FilterType::NoFilter);
    let (width, height) = (u32::from(width), u32::from(height));
    let samples = pixels(width as u16, height as u16);
    encoder.write_image(&samples, width, height, image::ExtendedColorType::Rgb8).unwrap();
    let extra: Vec<u8> = chunks.iter().flat_map(|(kind, data)| png_chunk(kind, data)).collect();
    let header_ends = 8 + 25;
    bytes.splice(header_ends..header_ends, extra);
    bytes
}

/// A WebP of these chunks.
fn webp(chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let mut body = b"WEBP".to_vec();
    for (kind, data) in chunks {
        body.extend_from_slice(*kind);
        body.extend((data.len() as u32).to_le_bytes());
        body.extend_from_slice(data);
        body.resize(body.len().next_multiple_of(2), 0);
    }
    [b"RIFF".as_slice(), &(body.len() as u32).to_le_bytes(), &body].concat()
}
