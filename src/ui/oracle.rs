//! What holds of pictures in which a code is looked for.

use std::io::Cursor;

use image::{GrayImage, ImageReader};

use super::qr;
use super::scan::{LONGEST_SIDE_PX, SCALES, TREATMENTS, codes, decode, resized};

/// The longest side of what is searched here: more takes long and shows nothing new.
const SMALL_SIDE_PX: u32 = 64;

/// A file is a picture within the limits, or none; a small one can be searched in each way. The first byte says which.
pub fn picture(bytes: &[u8]) {
    let Some((way, file)) = bytes.split_first() else { return };
    let Some(grey) = read(file) else { return };
    assert!(grey.width() <= LONGEST_SIDE_PX && grey.height() <= LONGEST_SIDE_PX);
    if grey.width().max(grey.height()) <= SMALL_SIDE_PX {
        searched(&grey, usize::from(*way));
    }
}

/// Modules of any kind are searched without harm, and those of a code that was drawn are read as what it says.
///
/// The first byte says which way, the second how wide; a bit for each pixel follows, and is the text of a code
/// in every other way.
pub fn code(bytes: &[u8]) {
    let Some(([way, width], bits)) = bytes.split_first_chunk() else { return };
    let width = u32::from(*width) % SMALL_SIDE_PX + 1;
    let height = ((8 * bits.len() as u32) / width).min(SMALL_SIDE_PX);
    let is_dark = |at: usize| bits.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 1);
    let dots = (0..(width * height) as usize).map(|at| if is_dark(at) { 0 } else { 255 });
    if let Some(grey) = GrayImage::from_raw(width, height, dots.collect()).filter(|grey| !grey.is_empty()) {
        searched(&grey, usize::from(*way));
    }
    if *way < 128 {
        return;
    }
    let text: String = bits.iter().take(64).map(|byte| char::from(byte & 0x7f)).collect();
    if let Ok(png) = qr::png(&text, 4)
        && !text.is_empty()
    {
        let drawn = read(&png).expect("what was drawn is a picture");
        assert_eq!(searched(&drawn, 0), [text]);
    }
}

fn read(file: &[u8]) -> Option<GrayImage> {
    decode(ImageReader::new(Cursor::new(file)).with_guessed_format().ok()?).ok()
}

/// What one of the ways finds in which a picture is searched.
fn searched(grey: &GrayImage, way: usize) -> Vec<String> {
    let (scale, way) = (SCALES[way % SCALES.len()], way / SCALES.len());
    let (treat, way) = (TREATMENTS[way % TREATMENTS.len()], way / TREATMENTS.len());
    codes(&treat(&resized(grey, scale)), way % 2 == 0)
}
