//! Reading a code from a picture: a photo of a screen, or a screenshot.
//!
//! `rqrr` alone reads three of four such pictures. What helps, in this order: a light border (it wants a quiet zone),
//! several scales (blur and noise average out when smaller, small codes get enough pixels when larger), inversion (dark themes),
//! and thresholds of our own against uneven light.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek};
use std::path::Path;
use std::time::{Duration, Instant};

use image::imageops::{self, FilterType};
use image::{GrayImage, ImageReader, Limits, Luma};
use rqrr::PreparedImage;

/// Longest side of a picture: cameras of phones end at 12,000 pixels.
pub(super) const LONGEST_SIDE_PX: u32 = 12_000;

/// Memory for decoding: 12,000 x 12,000 grey, or 64 megapixels in colour.
const DECODING_BYTES: u64 = 256 * 1024 * 1024;

/// Longest side that is searched. A code that needs more would be a speck in the picture.
const SEARCHED_SIDE_PX: u32 = 2_000;

/// Shortest side that a picture is enlarged to: three pixels for each module of a small code.
const ENLARGED_SIDE_PX: u32 = 900;

/// How long a picture is tried. A person waits for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why no code came out of a picture.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The file cannot be read.
    #[error("could not read the picture `{path}`")]
    File {
        /// Which file.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is no picture of a known kind, is damaged, or is too large.
    #[error("`{path}` is no PNG, JPEG or WebP picture of at most {LONGEST_SIDE_PX} x {LONGEST_SIDE_PX} pixels")]
    Picture {
        /// Which file.
        path: String,
        /// Why.
        #[source]
        source: image::ImageError,
    },
    /// Nothing in it could be read as a QR code.
    #[error("no readable QR code in the picture `{path}`")]
    NoCode {
        /// Which file.
        path: String,
    },
}

/// The text of every QR code that can be read in the picture at `path`, at least one.
pub fn read_picture(path: &Path) -> Result<Vec<String>, ScanError> {
    read_within(path, PATIENCE)
}

fn read_within(path: &Path, patience: Duration) -> Result<Vec<String>, ScanError> {
    let texts = search(&open(path)?, Instant::now() + patience);
    if texts.is_empty() { Err(ScanError::NoCode { path: path.display().to_string() }) } else { Ok(texts) }
}

fn open(path: &Path) -> Result<GrayImage, ScanError> {
    let name = || path.display().to_string();
    let file_error = |source| ScanError::File { path: name(), source };
    let file = File::open(path).map_err(file_error)?;
    if !file.metadata().map_err(file_error)?.is_file() {
        return Err(file_error(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")));
    }
    let reader = ImageReader::new(BufReader::new(file)).with_guessed_format().map_err(file_error)?;
    decode(reader).map_err(|source| ScanError::Picture { path: name(), source })
}

/// A picture within the limits, grey.
pub(super) fn decode(mut reader: ImageReader<impl BufRead + Seek>) -> Result<GrayImage, image::ImageError> {
    let mut limits = Limits::default();
    limits.max_image_width = Some(LONGEST_SIDE_PX);
    limits.max_image_height = Some(LONGEST_SIDE_PX);
    limits.max_alloc = Some(DECODING_BYTES);
    reader.limits(limits);
    Ok(reader.decode()?.into_luma8())
}

/// The first texts that any variant of the picture gives.
fn search(grey: &GrayImage, deadline: Instant) -> Vec<String> {
    let longest = grey.width().max(grey.height()).max(1);
    let base = f64::from(longest.clamp(ENLARGED_SIDE_PX.min(4 * longest), SEARCHED_SIDE_PX)) / f64::from(longest);
    for scale in SCALES {
        let scaled = resized(grey, base * scale);
        for treat in TREATMENTS {
            if Instant::now() > deadline {
                return Vec::new();
            }
            let treated = treat(&scaled);
            for dark_on_light in [true, false] {
                let texts = codes(&treated, dark_on_light);
                if !texts.is_empty() {
                    return texts;
                }
            }
        }
    }
    Vec::new()
}

/// How a picture is scaled, the likeliest to help first.
pub(super) const SCALES: [f64; 6] = [1.0, 0.5, 0.75, 0.35, 1.4, 0.25];

type Treatment = fn(&GrayImage) -> GrayImage;

/// What is done to the brightness, the likeliest to help first.
pub(super) const TREATMENTS: [Treatment; 4] =
    [GrayImage::clone, |image| imageops::blur(image, 1.2), |image| flattened(image, 12), |image| flattened(image, 5)];

pub(super) fn resized(grey: &GrayImage, scale: f64) -> GrayImage {
    if (scale - 1.0).abs() < 0.01 {
        return grey.clone();
    }
    let side = |px: u32| ((f64::from(px) * scale).round() as u32).max(1);
    let filter = if scale < 1.0 { FilterType::Triangle } else { FilterType::CatmullRom };
    imageops::resize(grey, side(grey.width()), side(grey.height()), filter)
}

/// Light and dark against the mean of the neighbourhood, so that a shadow over half of the code does no harm
/// (Bradley and Roth, Adaptive Thresholding Using the Integral Image, 2007). `parts`: how many neighbourhoods fit
/// side by side.
fn flattened(grey: &GrayImage, parts: u32) -> GrayImage {
    let (width, height) = (grey.width() as usize, grey.height() as usize);
    let mut sums = vec![0u64; (width + 1) * (height + 1)];
    for y in 0..height {
        let mut row = 0;
        for x in 0..width {
            row += u64::from(grey.as_raw()[y * width + x]);
            sums[(y + 1) * (width + 1) + x + 1] = sums[y * (width + 1) + x + 1] + row;
        }
    }
    let reach = (grey.width().max(grey.height()) / parts / 2).max(4) as usize;
    GrayImage::from_fn(grey.width(), grey.height(), |x, y| {
        let (x, y) = (x as usize, y as usize);
        let (left, right) = (x.saturating_sub(reach), (x + reach + 1).min(width));
        let (top, bottom) = (y.saturating_sub(reach), (y + reach + 1).min(height));
        let at = |x: usize, y: usize| sums[y * (width + 1) + x];
        let sum = at(right, bottom) + at(left, top) - at(left, bottom) - at(right, top);
        let area = ((right - left) * (bottom - top)) as u64;
        // A little below the mean, or noise on a plain field would be a pattern.
        let dark = u64::from(grey.as_raw()[y * width + x]) * area * 100 < sum * 92;
        Luma([if dark { 0 } else { 255 }])
    })
}

pub(super) fn codes(grey: &GrayImage, dark_on_light: bool) -> Vec<String> {
    // At least the quiet zone of a code that fills the picture.
    let border = (grey.width().max(grey.height()) / 10).max(16) as usize;
    let (width, height) = (grey.width() as usize, grey.height() as usize);
    let mut picture = PreparedImage::prepare_from_greyscale(width + 2 * border, height + 2 * border, |x, y| {
        match (x.checked_sub(border), y.checked_sub(border)) {
            (Some(x), Some(y)) if x < width && y < height => {
                let light = grey.as_raw()[y * width + x];
                if dark_on_light { light } else { 255 - light }
            }
            _ => 255,
        }
    });
    picture.detect_grids().iter().filter_map(|grid| grid.decode().ok()).map(|(_, text)| text).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::ui::qr::png;

    const LINK: &str = "http://192.168.100.200:5001/#1kJ8_hG5dS2aQ9wE4rT7yU1iO0pAsDfGhJkLzXcVbN-m3";

    /// A loaded machine must not fail a test.
    const UNHURRIED: Duration = Duration::from_secs(600);

    fn picture() -> GrayImage {
        image::load_from_memory(&png(LINK, 6).unwrap()).unwrap().into_luma8()
    }

    /// What `change` makes of a picture, read from a file.
    fn read(change: impl Fn(GrayImage) -> GrayImage) -> Result<Vec<String>, ScanError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("photo.png");
        change(picture()).save(&path).unwrap();
        read_within(&path, UNHURRIED)
    }

    fn map(image: &GrayImage, change: impl Fn(u32, u32, u8) -> u8) -> GrayImage {
        GrayImage::from_fn(image.width(), image.height(), |x, y| Luma([change(x, y, image.get_pixel(x, y)[0])]))
    }

    #[test]
    fn a_plain_picture_reads() {
        assert_eq!(read(|image| image).unwrap(), [LINK]);
    }

    #[test]
    fn a_code_without_quiet_zone_reads() {
        let cropped = |image: GrayImage| imageops::crop_imm(&image, 24, 24, 198, 198).to_image();
        assert_eq!(read(cropped).unwrap(), [LINK]);
    }

    #[test]
    fn an_inverted_code_reads() {
        assert_eq!(read(|image| map(&image, |_, _, light| 255 - light)).unwrap(), [LINK]);
    }

    #[test]
    fn a_code_half_in_the_shadow_reads() {
        let shade = |x: u32, light: u8| (u32::from(light) * (260 - x) / 260 * 3 / 4 + 8) as u8;
        assert_eq!(read(|image| map(&image, |x, _, light| shade(x, light))).unwrap(), [LINK]);
    }

    #[test]
    fn a_blurred_and_noisy_code_reads() {
        let noise = |x: u32, y: u32| (x.wrapping_mul(7_919) ^ y.wrapping_mul(104_729)) % 41;
        let spoilt = |image: GrayImage| {
            map(&imageops::blur(&image, 2.0), |x, y, light| light.saturating_add(noise(x, y) as u8).saturating_sub(20))
        };
        assert_eq!(read(spoilt).unwrap(), [LINK]);
    }

    #[test]
    fn a_picture_without_a_code_is_told_apart_from_no_picture() {
        assert!(matches!(read(|_| GrayImage::from_pixel(40, 40, Luma([200]))), Err(ScanError::NoCode { .. })));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text.png");
        fs::write(&path, "not a picture").unwrap();
        assert!(matches!(read_picture(&path), Err(ScanError::Picture { .. })));
        assert!(matches!(read_picture(folder.path()), Err(ScanError::File { .. })));
        assert!(matches!(read_picture(&folder.path().join("none")), Err(ScanError::File { .. })));
    }

    #[test]
    fn a_picture_that_claims_to_be_huge_is_refused_before_it_is_decoded() {
        let mut bytes = png(LINK, 1).unwrap();
        // Width and height of IHDR, whose checksum must fit again.
        bytes[16..24].copy_from_slice(&[0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60]);
        let sum = crc32(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&sum.to_be_bytes());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bomb.png");
        fs::write(&path, bytes).unwrap();
        let Err(ScanError::Picture { source, .. }) = read_picture(&path) else { panic!("it was decoded") };
        assert!(matches!(source, image::ImageError::Limits(_)), "{source:?}");
    }

    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0, |sum: u32, byte| {
            (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0xedb8_8320 * (sum & 1)))
        })
    }
}
