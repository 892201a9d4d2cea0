//! JPEG (ITU-T T.81): its segments, which are kept or left out one by one, and its pixels, which are encoded again.

use std::io::Cursor;
use std::num::NonZeroU32;
use std::ops::Range;

use image::codecs::jpeg::JpegDecoder;
use image::{ColorType as Decoded, ImageDecoder};
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

use super::{Change, Size, Trouble, exif, scale};

/// Quality of what is encoded again, on the scale of the Independent JPEG Group: where differences begin to need a second
/// look side by side, at some half of what cameras write.
const QUALITY: u8 = 85;

/// A tenth less at least: for fewer bytes no picture should lose anything.
const WORTH: (usize, usize) = (9, 10);

const EOI: u8 = 0xd9;
const SOS: u8 = 0xda;
const APP0: u8 = 0xe0;
const APP1: u8 = 0xe1;
const APP2: u8 = 0xe2;
const APP14: u8 = 0xee;
const APP15: u8 = 0xef;
const COM: u8 = 0xfe;

const EXIF: &[u8] = b"Exif\0\0";
const ICC: &[u8] = b"ICC_PROFILE\0";
const MPF: &[u8] = b"MPF\0";
const JFIF: &[u8] = b"JFIF\0";

/// What the header of a picture says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    pub(super) size: Size,
    pub(super) components: u8,
    pub(super) progressive: bool,
    /// Bits of a sample.
    precision: u8,
    /// Horizontal and vertical sampling of the first component.
    sampling: (u8, u8),
}

/// A marker with what belongs to it, and where both are.
struct Segment {
    marker: u8,
    whole: Range<usize>,
    payload: Range<usize>,
}

/// What a file consists of.
struct Parts<'a> {
    bytes: &'a [u8],
    /// Up to the first scan, without it.
    segments: Vec<Segment>,
    frame: Frame,
    /// Everything from the first scan to the end of the picture.
    scans: Range<usize>,
}

/// The frame in the first bytes of a file, if it is there and of a usual kind.
pub(super) fn frame(head: &[u8]) -> Option<Frame> {
    let mut at = 2;
    while let Some(segment) = segment(head, at) {
        if segment.marker == SOS {
            return None;
        }
        if let Some(frame) = frame_of(head, &segment) {
            return Some(frame);
        }
        at = segment.whole.end;
    }
    None
}

/// The segment that begins at `at`; fill bytes before it belong to it.
fn segment(bytes: &[u8], at: usize) -> Option<Segment> {
    let mut marker_at = at + 1;
    if bytes.get(at) != Some(&0xff) {
        return None;
    }
    while bytes.get(marker_at) == Some(&0xff) {
        marker_at += 1;
    }
    let marker = *bytes.get(marker_at)?;
    if matches!(marker, 0x00 | 0x01 | 0xd0..=EOI) {
        // They stand alone, and not here.
        return None;
    }
    let length = u16::from_be_bytes(*bytes.get(marker_at + 1..)?.first_chunk()?);
    let payload = marker_at + 3..marker_at + 1 + usize::from(length);
    bytes.get(payload.clone())?;
    Some(Segment { marker, whole: at..payload.end, payload })
}

fn frame_of(bytes: &[u8], segment: &Segment) -> Option<Frame> {
    if !matches!(segment.marker, 0xc0..=0xc2) {
        return None;
    }
    let [precision, h1, h0, w1, w0, components, _, sampling, ..] = *bytes.get(segment.payload.clone())? else {
        return None;
    };
    let short = |high, low| u32::from(u16::from_be_bytes([high, low]));
    Some(Frame {
        size: Size { width: short(w1, w0), height: short(h1, h0) },
        components,
        progressive: segment.marker == 0xc2,
        precision,
        sampling: (sampling >> 4, sampling & 15),
    })
}

impl<'a> Parts<'a> {
    fn of(bytes: &'a [u8]) -> Result<Parts<'a>, Trouble> {
        let (mut segments, mut frame) = (Vec::new(), None);
        let mut at = 2;
        loop {
            let segment = segment(bytes, at).ok_or(Trouble::Damaged)?;
            at = segment.whole.end;
            if segment.marker == SOS {
                let start = segment.whole.start;
                let scans = start..end_of_scans(bytes, at)?;
                let frame = frame.ok_or(Trouble::LeftAlone("a rare kind of JPEG"))?;
                return Ok(Parts { bytes, segments, frame, scans });
            }
            frame = frame.or_else(|| frame_of(bytes, &segment));
            segments.push(segment);
        }
    }

    fn payload(&self, segment: &Segment) -> &'a [u8] {
        &self.bytes[segment.payload.clone()]
    }

    fn has(&self, marker: u8, start: &[u8]) -> bool {
        self.segments.iter().any(|segment| segment.marker == marker && self.payload(segment).starts_with(start))
    }

    /// What follows the picture: the video of a moving photo, further pictures, notes of the phone.
    fn rest(&self) -> &'a [u8] {
        &self.bytes[self.scans.end..]
    }
}

/// Behind the end of the picture whose first scan's data begins at `at`.
fn end_of_scans(bytes: &[u8], mut at: usize) -> Result<usize, Trouble> {
    loop {
        at += bytes[at..].iter().position(|byte| *byte == 0xff).ok_or(Trouble::Damaged)?;
        match bytes.get(at + 1) {
            Some(&EOI) => return Ok(at + 2),
            // An escaped byte of data, a restart; or fill, of which the next may begin a marker.
            Some(0x00 | 0xd0..=0xd7) => at += 2,
            Some(0xff) => at += 1,
            // Tables and scans of a progressive picture. Metadata has no business here.
            Some(&(0xc4 | SOS | 0xdb..=0xdd)) => at = segment(bytes, at).ok_or(Trouble::Damaged)?.whole.end,
            _ => return Err(Trouble::Damaged),
        }
    }
}

/// The same picture without anything that holds or may hold where it was taken, and whether that was there; `None` if
/// there is nothing of the kind.
pub(super) fn without_location(bytes: &[u8]) -> Result<Option<(Vec<u8>, bool)>, Trouble> {
    let parts = Parts::of(bytes)?;
    let mut kept = bytes[..2].to_vec();
    let mut had_location = false;
    for segment in &parts.segments {
        let payload = parts.payload(segment);
        match segment.marker {
            APP1 if payload.starts_with(EXIF) => {
                // What can't be read goes altogether.
                if let Ok(cleaned) = exif::without_location(&payload[EXIF.len()..]) {
                    had_location |= cleaned.had_location;
                    push_exif(&mut kept, &cleaned.bytes);
                }
            }
            APP0 if !payload.starts_with(JFIF) => {}
            APP2 if !payload.starts_with(ICC) => {}
            APP0 | APP2 | APP14 => kept.extend(&bytes[segment.whole.clone()]),
            // XMP, IPTC, maker's inventions, comments: places are written there in too many ways.
            APP1..=APP15 | COM => had_location |= speaks_of_a_place(payload),
            _ => kept.extend(&bytes[segment.whole.clone()]),
        }
    }
    kept.extend(&bytes[parts.scans.clone()]);
    Ok((kept != bytes).then_some((kept, had_location)))
}

fn push_exif(to: &mut Vec<u8>, tiff: &[u8]) {
    let Some(length) = u16::try_from(2 + EXIF.len() + tiff.len()).ok().filter(|_| !tiff.is_empty()) else { return };
    to.extend([0xff, APP1]);
    to.extend(length.to_be_bytes());
    to.extend(EXIF);
    to.extend(tiff);
}

/// Whether metadata names a position in the words of XMP. For what is told alone: it is left out in any case.
pub(super) fn speaks_of_a_place(metadata: &[u8]) -> bool {
    metadata.windows(6).any(|word| word == b"GPSLat" || word == b"GPSLon")
}

/// The picture encoded again, with all its metadata, turned as it was.
pub(super) fn smaller(bytes: &[u8], max_edge: Option<NonZeroU32>) -> Result<(Vec<u8>, Change), Trouble> {
    let parts = Parts::of(bytes)?;
    let Frame { size, components, precision, .. } = parts.frame;
    if precision != 8 || !matches!(components, 1 | 3) {
        return Err(Trouble::LeftAlone("neither grey nor ordinary colour"));
    }
    if parts.has(APP2, MPF) {
        // Each of them says where the next one is.
        return Err(Trouble::LeftAlone("several pictures in one"));
    }
    let to = max_edge.and_then(|edge| size.within(edge));
    let pixels = decode(bytes, size, components)?;
    let pixels = match to {
        Some(to) => scale::down(&pixels, size, to, usize::from(components), false),
        None => pixels,
    };
    let encoded = encode(&pixels, to.unwrap_or(size), &parts.frame)?;
    drop(pixels);
    let encoded = Parts::of(&encoded)?;
    let mut made = bytes[..2].to_vec();
    let kept = parts.segments.iter().filter(|segment| matches!(segment.marker, APP0..=APP15 | COM));
    // How the colours were encoded before.
    let kept = kept.filter(|segment| segment.marker != APP14);
    kept.for_each(|segment| made.extend(&bytes[segment.whole.clone()]));
    let tables = encoded.segments.iter().filter(|segment| !matches!(segment.marker, APP0..=APP15));
    tables.for_each(|segment| made.extend(&encoded.bytes[segment.whole.clone()]));
    made.extend(&encoded.bytes[encoded.scans.clone()]);
    made.extend(parts.rest());
    if made.len() as u64 * WORTH.1 as u64 > bytes.len() as u64 * WORTH.0 as u64 {
        return Err(Trouble::LeftAlone("as small as it gets"));
    }
    decode(&made, to.unwrap_or(size), components)?;
    Ok((made, Change { recoded: true, scaled: to.is_some(), ..Change::default() }))
}

/// The pixels, one or three bytes each.
fn decode(bytes: &[u8], size: Size, components: u8) -> Result<Vec<u8>, Trouble> {
    let decoder = JpegDecoder::new(Cursor::new(bytes)).map_err(|_| Trouble::Damaged)?;
    let expected = if components == 1 { Decoded::L8 } else { Decoded::Rgb8 };
    if decoder.dimensions() != (size.width, size.height) || decoder.color_type() != expected {
        return Err(Trouble::Damaged);
    }
    let mut pixels = vec![0; decoder.total_bytes() as usize];
    decoder.read_image(&mut pixels).map_err(|_| Trouble::Damaged)?;
    Ok(pixels)
}

fn encode(pixels: &[u8], size: Size, like: &Frame) -> Result<Vec<u8>, Trouble> {
    let mut encoded = Vec::new();
    let mut encoder = Encoder::new(&mut encoded, QUALITY);
    encoder.set_sampling_factor(match like.sampling {
        (1, 1) => SamplingFactor::R_4_4_4,
        (2, 1) => SamplingFactor::R_4_2_2,
        _ => SamplingFactor::R_4_2_0,
    });
    let color = if like.components == 1 { ColorType::Luma } else { ColorType::Rgb };
    let edge = |length: u32| u16::try_from(length).map_err(|_| Trouble::Damaged);
    encoder.encode(pixels, edge(size.width)?, edge(size.height)?, color).map_err(|_| Trouble::Damaged)?;
    Ok(encoded)
}
