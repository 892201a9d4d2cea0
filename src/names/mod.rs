//! Strings that came from somebody else: as names on disk, and as text on a screen.
//!
//! A stranger's string becomes one of three types at the door:
//!
//! - [`FileName`]: one component that every operating system stores as it is;
//! - [`RelPath`]: such components joined by `/`, relative by construction;
//! - [`PeerName`]: the name that a device shows.
//!
//! The rules are the same on every system, so that a folder which went through one machine can go through any other.
//! What has the structure of an attack (`..`, absolute, drive, UNC) is refused; a mere character that some system or
//! terminal would misread becomes `_`. Good names stay as they are, byte for byte: `a..b.txt`, `-rf`, emoji with
//! joiners, Persian with ZWNJ, NFC and NFD alike. Percent-encoding means nothing here and is never decoded.
//!
//! On a screen, whatever a stranger said passes through [`inert`] or [`elide`]; in JSON through [`json_line`].

mod amounts;
mod chars;
mod component;
mod file_name;
mod json;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod oracle;
mod peer_name;
mod rel_path;
mod shown;
#[cfg(test)]
mod tests;

pub use amounts::{human_bytes, human_duration, human_rate};
pub use chars::is_hidden_char;
pub use component::NAME_BYTES_MAX;
pub use file_name::FileName;
pub use json::json_line;
pub use peer_name::{PEER_NAME_BYTES_MAX, PEER_NAME_CHARS_MAX, PeerName};
pub use rel_path::{NameError, PATH_BYTES_MAX, PATH_DEPTH_MAX, RelPath};
pub use shown::{columns, elide, inert};
