//! Pictures and PDFs made smaller before they are sent, and pictures freed of where they were taken.
//!
//! What comes from cameras and mailboxes is parsed by much code, so each file gets a process of its own: this program
//! again, started with [`WORKER`], which reads the file from standard input, writes the smaller one to standard output,
//! and may do nothing else for long (`pool`). Whatever goes wrong there, the file goes as it is.
//!
//! | format | made smaller | location removed |
//! | --- | --- | --- |
//! | JPEG | encoded again (`jpeg`), scaled if that is wished | yes |
//! | PNG | without loss, by oxipng (`png`), scaled if that is wished | yes |
//! | WebP | no | yes |
//! | PDF | without loss, by lopdf (`pdf`) | not looked for |
//! | other pictures and videos | no | can't be: [`Outcome::LocationStays`] |
//!
//! The same file comes out as the same bytes each time, so that an interrupted transfer of it can go on.

mod exif;
mod jpeg;
mod kind;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod oracle;
mod pdf;
mod png;
mod pool;
mod scale;
#[cfg(test)]
mod tests;
mod webp;
mod worker;

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

pub use pool::{Optimizer, Outcome};
pub use worker::{WORKER, work};

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Wishes {
    /// Make JPEG and PNG smaller.
    pub images: bool,
    /// Make PDF smaller.
    pub pdfs: bool,
    /// The longer edge in pixels that pictures are scaled down to, where they are made smaller.
    pub max_edge: Option<NonZeroU32>,
    /// Remove from pictures where they were taken.
    pub strip_location: bool,
}

impl Wishes {
    /// Whether nothing is wished.
    pub fn is_empty(&self) -> bool {
        !(self.images || self.pdfs || self.strip_location)
    }

    /// Only what must be done, not what may be.
    fn strip_only(self) -> Wishes {
        Wishes { strip_location: self.strip_location, ..Wishes::default() }
    }
}

/// What was done to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Change {
    /// Its pixels were encoded again, with a loss that is hard to see.
    pub recoded: bool,
    /// It has fewer pixels.
    pub scaled: bool,
    /// It was compressed better, without loss.
    pub packed: bool,
    /// A location was found, and is gone.
    pub location_removed: bool,
}

/// Why a file is not made smaller, or its location not removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Trouble {
    /// It is not what its first bytes say, or is damaged.
    #[error("damaged")]
    Damaged,
    /// It holds something that would not survive.
    #[error("{0}")]
    LeftAlone(&'static str),
}

/// Width and height in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size {
    width: u32,
    height: u32,
}

impl Size {
    fn pixels(self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    /// The size whose longer edge is at most `edge`, in the same proportion; `None` if this one is.
    fn within(self, edge: NonZeroU32) -> Option<Size> {
        let longer = self.width.max(self.height);
        let scaled =
            |length: u32| (u64::from(length) * u64::from(edge.get())).div_ceil(u64::from(longer)).max(1) as u32;
        (longer > edge.get()).then(|| Size { width: scaled(self.width), height: scaled(self.height) })
    }
}
