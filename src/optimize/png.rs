//! PNG (W3C, third edition): its chunks, and its pixels, which oxipng writes in fewer bytes.

use std::io::Cursor;
use std::num::NonZeroU32;
use std::ops::Range;

use image::codecs::png::{CompressionType, FilterType, PngDecoder, PngEncoder};
use image::{ColorType, ImageDecoder, ImageEncoder};
use oxipng::{Deflater, Options};

use super::jpeg::speaks_of_a_place;
use super::{Change, Size, Trouble, exif, scale};

/// What every PNG begins with.
pub(super) const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Bytes of pixels beyond which less is tried, so that a photo of 12 million pixels takes two or three seconds and not ten.
const LARGE: u64 = 8 * 1024 * 1024;

/// What the first chunk says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub(super) size: Size,
    depth: u8,
    color: u8,
}

impl Header {
    /// Bytes of the pixels as they are before compression.
    pub(super) fn raw_bytes(self) -> u64 {
        let channels: u64 = match self.color {
            2 => 3,
            4 => 2,
            6 => 4,
            _ => 1,
        };
        let row = (u64::from(self.size.width) * channels * u64::from(self.depth)).div_ceil(8) + 1;
        row * u64::from(self.size.height)
    }
}

/// The header in the first bytes of a file.
pub(super) fn header(head: &[u8]) -> Option<Header> {
    let first = chunk(head, SIGNATURE.len()).filter(|first| first.kind == *b"IHDR")?;
    let [w3, w2, w1, w0, h3, h2, h1, h0, depth, color, ..] = *head.get(first.data)? else { return None };
    let size = Size { width: u32::from_be_bytes([w3, w2, w1, w0]), height: u32::from_be_bytes([h3, h2, h1, h0]) };
    Some(Header { size, depth, color })
}

struct Chunk {
    kind: [u8; 4],
    whole: Range<usize>,
    data: Range<usize>,
}

/// The chunk that begins at `at`. Its checksum is the decoder's concern.
fn chunk(bytes: &[u8], at: usize) -> Option<Chunk> {
    let length = u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?) as usize;
    let kind = *bytes.get(at + 4..)?.first_chunk()?;
    let data = at + 8..(at + 8).checked_add(length)?;
    let whole = at..data.end.checked_add(4)?;
    bytes.get(whole.clone())?;
    Some(Chunk { kind, whole, data })
}

/// The chunks up to the end of the picture, and where that is.
fn chunks(bytes: &[u8]) -> Result<(Vec<Chunk>, usize), Trouble> {
    let (mut chunks, mut at) = (Vec::new(), SIGNATURE.len());
    loop {
        let next = chunk(bytes, at).ok_or(Trouble::Damaged)?;
        at = next.whole.end;
        let is_last = next.kind == *b"IEND";
        chunks.push(next);
        if is_last {
            return Ok((chunks, at));
        }
    }
}

/// As [`super::jpeg::without_location`].
pub(super) fn without_location(bytes: &[u8]) -> Result<Option<(Vec<u8>, bool)>, Trouble> {
    let (chunks, _) = chunks(bytes)?;
    let mut kept = SIGNATURE.to_vec();
    let mut had_location = false;
    for chunk in chunks {
        let data = &bytes[chunk.data];
        match &chunk.kind {
            b"eXIf" => {
                if let Ok(cleaned) = exif::without_location(data) {
                    had_location |= cleaned.had_location;
                    push_exif(&mut kept, &cleaned.bytes);
                }
            }
            kind if is_harmless(*kind) => kept.extend(&bytes[chunk.whole]),
            // Texts hold XMP, and whole EXIF in hexadecimal.
            _ => had_location |= speaks_of_a_place(data),
        }
    }
    Ok((kept != bytes).then_some((kept, had_location)))
}

/// Chunks that are the picture, its colours, its size on paper, its time and its motion.
fn is_harmless(kind: [u8; 4]) -> bool {
    matches!(&kind, b"IHDR" | b"PLTE" | b"IDAT" | b"IEND" | b"tRNS" | b"acTL" | b"fcTL" | b"fdAT" | b"tIME" | b"pHYs")
        || is_of_color(kind)
        || matches!(&kind, b"sBIT" | b"bKGD" | b"hIST" | b"sPLT")
}

fn is_of_color(kind: [u8; 4]) -> bool {
    matches!(&kind, b"cHRM" | b"gAMA" | b"iCCP" | b"sRGB" | b"cICP" | b"mDCV" | b"cLLI")
}

fn push_exif(to: &mut Vec<u8>, tiff: &[u8]) {
    if tiff.is_empty() {
        return;
    }
    to.extend((tiff.len() as u32).to_be_bytes());
    let mut checked = b"eXIf".to_vec();
    checked.extend(tiff);
    to.extend(&checked);
    to.extend(checksum(&checked).to_be_bytes());
}

/// CRC-32 of a chunk, its kind included (W3C PNG, annex D), a bit at a time: it is for a few kilobytes.
fn checksum(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

/// The same pixels in fewer bytes, or fewer pixels if they are too many.
pub(super) fn smaller(bytes: &[u8], max_edge: Option<NonZeroU32>) -> Result<(Vec<u8>, Change), Trouble> {
    let header = header(bytes).ok_or(Trouble::Damaged)?;
    let (chunks, end) = chunks(bytes)?;
    if chunks.iter().any(|chunk| chunk.kind == *b"acTL") {
        return Err(Trouble::LeftAlone("it moves"));
    }
    if end != bytes.len() {
        return Err(Trouble::LeftAlone("something follows the picture"));
    }
    // 16 bits are for those who need every one.
    let to = max_edge.filter(|_| header.depth <= 8).and_then(|edge| header.size.within(edge));
    let scaled = to.map(|to| scaled(bytes, &chunks, header.size, to)).transpose()?;
    let large = header.raw_bytes() > LARGE && to.is_none();
    let options = Options {
        max_decompressed_size: Some(header.raw_bytes() as usize),
        deflater: Deflater::Libdeflater { compression: if large { 7 } else { 11 } },
        ..Options::from_preset(if large { 0 } else { 2 })
    };
    let made = oxipng::optimize_from_memory(scaled.as_deref().unwrap_or(bytes), &options);
    let made = made.map_err(|_| Trouble::Damaged)?;
    if made.len() >= bytes.len() {
        return Err(Trouble::LeftAlone("as small as it gets"));
    }
    let decoder = PngDecoder::new(Cursor::new(&made)).map_err(|_| Trouble::Damaged)?;
    let size = to.unwrap_or(header.size);
    if decoder.dimensions() != (size.width, size.height) {
        return Err(Trouble::Damaged);
    }
    let mut pixels = vec![0; decoder.total_bytes() as usize];
    decoder.read_image(&mut pixels).map_err(|_| Trouble::Damaged)?;
    Ok((made, Change { packed: true, scaled: to.is_some(), ..Change::default() }))
}

/// The picture with fewer pixels, quickly compressed, and with all that does not speak of single pixels.
fn scaled(bytes: &[u8], chunks: &[Chunk], from: Size, to: Size) -> Result<Vec<u8>, Trouble> {
    let decoder = PngDecoder::new(Cursor::new(bytes)).map_err(|_| Trouble::Damaged)?;
    let color = decoder.color_type();
    let (channels, alpha) = match color {
        ColorType::L8 => (1, false),
        ColorType::La8 => (2, true),
        ColorType::Rgb8 => (3, false),
        ColorType::Rgba8 => (4, true),
        _ => return Err(Trouble::LeftAlone("a rare kind of PNG")),
    };
    let mut pixels = vec![0; decoder.total_bytes() as usize];
    decoder.read_image(&mut pixels).map_err(|_| Trouble::Damaged)?;
    let pixels = scale::down(&pixels, from, to, channels, alpha);
    let mut bare = Vec::new();
    let encoder = PngEncoder::new_with_quality(&mut bare, CompressionType::Fast, FilterType::Adaptive);
    encoder.write_image(&pixels, to.width, to.height, color.into()).map_err(|_| Trouble::Damaged)?;
    let header = chunk(&bare, SIGNATURE.len()).ok_or(Trouble::Damaged)?;
    let mut made = bare[..header.whole.end].to_vec();
    let stays = |kind: [u8; 4]| is_of_color(kind) || matches!(&kind, b"tIME" | b"eXIf" | b"tEXt" | b"zTXt" | b"iTXt");
    let kept = chunks.iter().filter(|chunk| stays(chunk.kind));
    kept.for_each(|chunk| made.extend(&bytes[chunk.whole.clone()]));
    made.extend(&bare[header.whole.end..]);
    Ok(made)
}
