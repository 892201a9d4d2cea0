use proptest::prelude::*;

use super::*;
use crate::optimize::kind::{Kind, memory_to_optimize};
use crate::optimize::worker::make;

/// Pictures of each kind, some with everything in them.
fn originals() -> Vec<Vec<u8>> {
    let exif = tiff(true);
    let header = [0x0c, 0, 0, 0, 7, 0, 0, 7, 0, 0];
    vec![
        located_jpeg(),
        png(40, 30, &[(b"eXIf", &exif), (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0GPSLatitude")]),
        webp(&[(b"VP8X", &header), (b"VP8L", b"what it is does not matter"), (b"EXIF", &exif), (b"XMP ", b"x")]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_damaged_picture_panics_nobody(
        which in 0..3usize,
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = originals().swap_remove(which);
        for (at, value) in &flips {
            let at = at.index(bytes.len());
            bytes[at] = *value;
        }
        let _ = make(&bytes, Wishes { strip_location: true, ..SHRINK });
        let _ = memory_to_optimize(Kind::of(&bytes), &bytes, bytes.len() as u64);
    }

    #[test]
    fn a_picture_that_is_cut_anywhere_keeps_no_place(which in 0..3usize, end in any::<prop::sample::Index>()) {
        let mut bytes = originals().swap_remove(which);
        bytes.truncate(end.index(bytes.len()));
        let is_picture = matches!(Kind::of(&bytes), Kind::Jpeg | Kind::Png | Kind::WebP);
        if let Ok(made) = make(&bytes, STRIP) && is_picture {
            let after = made.better.map_or(bytes, |(after, _)| after);
            prop_assert!(!holds(&after, PLACE));
        }
    }

    #[test]
    fn any_bytes_behind_a_signature_panic_nobody(start in 0..4usize, rest in prop::collection::vec(any::<u8>(), 0..300)) {
        let starts: [&[u8]; 4] = [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\x40\0\0\0WEBP", b"%PDF-1.4\n"];
        let bytes = [starts[start], &rest].concat();
        let _ = make(&bytes, Wishes { strip_location: true, ..SHRINK });
        let _ = memory_to_optimize(Kind::of(&bytes), &bytes, bytes.len() as u64);
    }
}

#[test]
fn pictures_that_claim_more_pixels_than_fit_are_not_begun() {
    let mut bomb = png(8, 8, &[]);
    bomb[16..24].copy_from_slice(&[0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60]);
    assert_eq!(memory_to_optimize(Kind::Png, &bomb, bomb.len() as u64), None);
    let mut huge = jpeg(8, 8, &[]);
    let frame = huge.windows(2).position(|two| two == [0xff, 0xc0]).unwrap();
    huge[frame + 5..frame + 9].fill(0xff);
    assert_eq!(memory_to_optimize(Kind::Jpeg, &huge, huge.len() as u64), None);
    assert_eq!(memory_to_optimize(Kind::Pdf, b"%PDF-1.7", 4 << 30), None);
}

#[test]
fn twelve_million_pixels_fit_once_for_each_of_three_cores() {
    let photo = jpeg(8, 8, &[]);
    let frame = photo.windows(2).position(|two| two == [0xff, 0xc0]).unwrap();
    let mut photo = photo;
    photo[frame + 5..frame + 9].copy_from_slice(&[0x0b, 0xb8, 0x0f, 0xa0]);
    let need = memory_to_optimize(Kind::Jpeg, &photo, 5_000_000).unwrap();
    assert!(3 * need < 216 * 1024 * 1024, "{need}");
}
