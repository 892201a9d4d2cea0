//! What a file is, by its first bytes. Names prove nothing.

use super::{Size, jpeg, png};

/// First bytes of a file that tell what it is, and the size of a PNG.
pub(super) const START_BYTES: u64 = 64;

/// First bytes of a JPEG that are looked at: there is metadata before its size is told, and who has more of it than this is
/// left alone.
pub(super) const HEAD_BYTES: u64 = 1024 * 1024;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Jpeg,
    Png,
    WebP,
    Pdf,
    /// A picture or video that may hold a location, of this format, which is not known well enough to remove it.
    Opaque(&'static str),
    /// Anything else.
    Other,
}

impl Kind {
    /// What begins like this.
    pub(super) fn of(head: &[u8]) -> Kind {
        let riff = |form: &[u8]| head.starts_with(b"RIFF") && head.get(8..12) == Some(form);
        match head {
            [0xff, 0xd8, 0xff, ..] => Kind::Jpeg,
            _ if head.starts_with(png::SIGNATURE) => Kind::Png,
            _ if riff(b"WEBP") => Kind::WebP,
            _ if head.starts_with(b"%PDF-") => Kind::Pdf,
            _ if riff(b"AVI ") => Kind::Opaque("AVI"),
            _ => opaque(head).map_or(Kind::Other, Kind::Opaque),
        }
    }

    /// The word for it in lower case, as scripts see it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Kind::Jpeg => "jpeg",
            Kind::Png => "png",
            Kind::WebP => "webp",
            Kind::Pdf => "pdf",
            Kind::Opaque(format) => format,
            Kind::Other => "other",
        }
    }
}

fn opaque(head: &[u8]) -> Option<&'static str> {
    if head.get(4..8) == Some(b"ftyp") {
        return Some(match head.get(8..12)? {
            b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"mif1" | b"msf1" => "HEIC",
            b"avif" | b"avis" => "AVIF",
            b"crx " => "CR3",
            b"qt  " => "MOV",
            _ => "MP4",
        });
    }
    let starts: [(&[u8], &str); 13] = [
        (b"II*\0", "TIFF"),
        (b"MM\0*", "TIFF"),
        (b"II+\0", "TIFF"),
        (b"MM\0+", "TIFF"),
        (b"IIU\0", "RW2"),
        (b"IIRO", "ORF"),
        (b"FUJIFILMCCD-RAW", "RAF"),
        (b"GIF8", "GIF"),
        (b"8BPS", "PSD"),
        (b"\0\0\0\x0cjP  ", "JPEG 2000"),
        (b"\0\0\0\x0cJXL ", "JPEG XL"),
        (b"\xff\x0a", "JPEG XL"),
        (b"\x1a\x45\xdf\xa3", "Matroska"),
    ];
    let old_movie = matches!(head.get(4..8), Some(b"moov" | b"mdat" | b"wide"));
    let found = starts.into_iter().find(|(start, _)| head.starts_with(start)).map(|(_, format)| format);
    found.or(old_movie.then_some("MOV"))
}

/// Pixels of a picture that is decoded: more than the largest sensors of phones have, 108 million, would not fit into
/// [`MEMORY`] three bytes each, whatever else is there.
const PIXELS: u64 = 64_000_000;

/// Bytes of a file that is looked at: it is held in memory, and a few times over.
pub(super) const FILE_BYTES: u64 = 64 * 1024 * 1024;

/// Bytes of a PDF that is rewritten: what is in it takes several times as much.
const PDF_BYTES: u64 = 32 * 1024 * 1024;

/// Bytes that a process takes for itself.
const PROCESS: u64 = 8 * 1024 * 1024;

/// How much memory making a file of `kind` smaller takes, in bytes; `None` for more than is sensible. Generous: who needs
/// more ends.
pub(super) fn memory_to_optimize(kind: Kind, head: &[u8], bytes: u64) -> Option<u64> {
    let few = |size: Size| Some(size.pixels()).filter(|pixels| (1..=PIXELS).contains(pixels));
    let (most, need) = match kind {
        Kind::Jpeg => {
            let frame = jpeg::frame(head)?;
            // The pixels; where they come in several passes the coefficients of all of them, 2 bytes each, wait too.
            let coefficients = if frame.progressive { 6 } else { 0 };
            (FILE_BYTES, few(frame.size)? * (u64::from(frame.components) + coefficients) + 3 * bytes)
        }
        Kind::Png => {
            let header = png::header(head)?;
            few(header.size)?;
            // The picture as it is, without redundancies, and filtered; and each of them compressed.
            (FILE_BYTES, header.raw_bytes() * 3 + 3 * bytes)
        }
        Kind::Pdf => (PDF_BYTES, 6 * bytes),
        _ => return None,
    };
    (bytes <= most).then_some(need + PROCESS)
}

/// How much memory removing the location takes, in bytes; `None` for more than is sensible.
pub(super) fn memory_to_strip(bytes: u64) -> Option<u64> {
    (bytes <= FILE_BYTES).then_some(3 * bytes + PROCESS)
}
