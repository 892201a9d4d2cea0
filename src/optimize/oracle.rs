//! What holds of pictures that are to lose their place, however they are made.

use super::kind::{Kind, memory_to_optimize};
use super::{exif, jpeg, png, webp};

/// What is left of a picture is a picture of its kind with nothing left to remove, and nothing of a location.
pub fn photo(bytes: &[u8]) {
    let kind = Kind::of(bytes);
    let _ = memory_to_optimize(kind, bytes, bytes.len() as u64);
    let without_location = match kind {
        Kind::Jpeg => jpeg::without_location,
        Kind::Png => png::without_location,
        Kind::WebP => webp::without_location,
        Kind::Pdf | Kind::Opaque(_) | Kind::Other => return tags(bytes),
    };
    let Ok(Some((kept, _))) = without_location(bytes) else { return };
    assert_eq!(Kind::of(&kept), kind);
    assert_eq!(without_location(&kept).ok(), Some(None));
}

fn tags(tiff: &[u8]) {
    let Ok(cleaned) = exif::without_location(tiff) else { return };
    if !cleaned.bytes.is_empty() {
        let again = exif::without_location(&cleaned.bytes).expect("what was written can be read");
        assert_eq!(again.bytes, cleaned.bytes);
        assert!(!again.had_location);
    }
}
