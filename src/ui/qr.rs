//! The code on the screen, as text and as a picture.
//!
//! Always black on white, whatever the theme and whatever `NO_COLOR` says: in a terminal's own colours the code is
//! inverted on dark themes and few cameras read it, so here colour is content. Only spaces on a coloured background and
//! lower half blocks are used, black on white and white on black: full and upper half blocks end a pixel short of their
//! cell in many a font, and the hairlines between the rows keep readers from reading.

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use qrcode::{Color, EcLevel, QrCode};

/// Light modules around the code; ISO/IEC 18004 asks for four.
pub const QUIET_ZONE: usize = 4;

/// Black and white of the 6 x 6 x 6 cube, which themes leave alone, unlike the first 16 colours.
const BLACK: u8 = 16;
const WHITE: u8 = 231;

/// A link that does not fit a QR code.
#[derive(Debug, thiserror::Error)]
pub enum QrError {
    /// Longer than the largest code holds.
    #[error("a link of {0} bytes does not fit a QR code")]
    TooLong(usize),
    /// The picture could not be encoded.
    #[error("could not encode the picture of the code")]
    Picture(#[from] image::ImageError),
}

/// How modules become cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cells {
    /// Two modules above each other in one cell, by half blocks. Needs UTF-8.
    Half,
    /// One module in two cells side by side, by spaces alone.
    Wide,
}

/// The modules of a code with its quiet zone around it; `true` is dark.
pub struct Modules {
    side: usize,
    dark: Vec<bool>,
}

impl Modules {
    /// The code of `link` at error correction level L, which keeps it smallest.
    pub fn of(link: &str) -> Result<Self, QrError> {
        let code = QrCode::with_error_correction_level(link, EcLevel::L).map_err(|_| QrError::TooLong(link.len()))?;
        let inner = code.width();
        let side = inner + 2 * QUIET_ZONE;
        let mut dark = vec![false; side * side];
        for (at, color) in code.to_colors().into_iter().enumerate() {
            dark[(at / inner + QUIET_ZONE) * side + at % inner + QUIET_ZONE] = color == Color::Dark;
        }
        Ok(Modules { side, dark })
    }

    /// Modules on each side, quiet zone included.
    pub fn side(&self) -> usize {
        self.side
    }

    fn is_dark(&self, x: usize, y: usize) -> bool {
        y < self.side && self.dark[y * self.side + x]
    }

    /// Columns and rows on the terminal.
    pub fn size(&self, cells: Cells) -> (usize, usize) {
        match cells {
            Cells::Half => (self.side, self.side.div_ceil(2)),
            Cells::Wide => (2 * self.side, self.side),
        }
    }

    /// One string of cells and colours for each row of the terminal.
    pub fn render(&self, cells: Cells) -> Vec<String> {
        (0..self.size(cells).1).map(|row| self.row(row, cells)).collect()
    }

    fn row(&self, row: usize, cells: Cells) -> String {
        let mut text = String::new();
        let mut dark_background = None;
        for x in 0..self.side {
            let (dark, glyph) = match cells {
                Cells::Half => {
                    let (above, below) = (self.is_dark(x, 2 * row), self.is_dark(x, 2 * row + 1));
                    (above, if above == below { " " } else { "▄" })
                }
                Cells::Wide => (self.is_dark(x, row), "  "),
            };
            if dark_background.replace(dark) != Some(dark) {
                let (ink, paper) = if dark { (WHITE, BLACK) } else { (BLACK, WHITE) };
                text.push_str(&format!("\x1b[38;5;{ink};48;5;{paper}m"));
            }
            text.push_str(glyph);
        }
        text.push_str("\x1b[0m");
        text
    }

    /// A grey PNG with `module_px` pixels for each module.
    pub fn png(&self, module_px: u32) -> Result<Vec<u8>, QrError> {
        let px = module_px.max(1) as usize;
        let side = self.side * px;
        let pixels: Vec<u8> =
            (0..side * side).map(|at| if self.is_dark(at % side / px, at / side / px) { 0 } else { 255 }).collect();
        let mut bytes = Vec::new();
        let side = side as u32;
        PngEncoder::new(&mut bytes).write_image(&pixels, side, side, ExtendedColorType::L8)?;
        Ok(bytes)
    }
}

/// The picture for `--qr-png`: `module_px` pixels for each module.
pub fn png(link: &str, module_px: u32) -> Result<Vec<u8>, QrError> {
    Modules::of(link)?.png(module_px)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: &str = "http://192.168.100.200:50001/#1AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    /// Rows as a terminal would paint them: `cell` pixels in both directions for each module.
    fn painted(rows: &[String], cells: Cells, module: usize) -> (usize, usize, Vec<u8>) {
        let mut bitmap: Vec<Vec<u8>> = Vec::new();
        for row in rows {
            let (mut top, mut bottom) = (Vec::new(), Vec::new());
            let mut background = 0;
            let mut rest = row.as_str();
            while let Some(c) = rest.chars().next() {
                if let Some(escape) = rest.strip_prefix("\x1b[") {
                    let (numbers, after) = escape.split_once('m').unwrap();
                    if let Some((_, color)) = numbers.rsplit_once("48;5;") {
                        background = if color == "231" { 255 } else { 0 };
                    }
                    rest = after;
                    continue;
                }
                let (above, below) = match c {
                    ' ' => (background, background),
                    '▄' => (background, 255 - background),
                    other => panic!("`{other}` is neither a space nor a lower half block"),
                };
                top.push(above);
                bottom.push(below);
                rest = &rest[c.len_utf8()..];
            }
            match cells {
                Cells::Half => bitmap.extend([top, bottom]),
                Cells::Wide => bitmap.push(top.into_iter().step_by(2).collect()),
            }
        }
        let (width, height) = (bitmap[0].len() * module, bitmap.len() * module);
        let pixels = (0..width * height).map(|at| bitmap[at / width / module][at % width / module]).collect();
        (width, height, pixels)
    }

    fn read(width: usize, height: usize, pixels: &[u8]) -> String {
        let mut picture = rqrr::PreparedImage::prepare_from_greyscale(width, height, |x, y| pixels[y * width + x]);
        picture.detect_grids()[0].decode().unwrap().1
    }

    #[test]
    fn a_full_ipv4_link_takes_41_by_21_cells() {
        assert_eq!(LINK.len(), 74);
        let modules = Modules::of(LINK).unwrap();
        assert_eq!(modules.size(Cells::Half), (41, 21));
        let rows = modules.render(Cells::Half);
        assert_eq!(rows.len(), 21);
        assert!(rows.iter().all(|row| console::measure_text_width(row) == 41));
    }

    #[test]
    fn what_is_drawn_reads_back() {
        let modules = Modules::of(LINK).unwrap();
        for cells in [Cells::Half, Cells::Wide] {
            let (width, height, pixels) = painted(&modules.render(cells), cells, 4);
            assert_eq!(read(width, height, &pixels), LINK);
        }
    }

    #[test]
    fn the_picture_reads_back() {
        let picture = image::load_from_memory(&png(LINK, 6).unwrap()).unwrap().into_luma8();
        assert_eq!(picture.width(), 41 * 6);
        assert_eq!(read(picture.width() as usize, picture.height() as usize, picture.as_raw()), LINK);
    }

    #[test]
    fn a_link_that_cannot_be_drawn_is_refused() {
        assert!(matches!(Modules::of(&"x".repeat(5_000)), Err(QrError::TooLong(5_000))));
    }
}
