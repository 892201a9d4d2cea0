use super::*;
use crate::optimize::worker::make;
use crate::optimize::{Change, Trouble, exif, jpeg as jpegs, png as pngs};

fn made(bytes: &[u8], wishes: Wishes) -> (Vec<u8>, Change) {
    make(bytes, wishes).unwrap().better.expect("something stands in")
}

fn left_alone(bytes: &[u8]) -> Trouble {
    let made = make(bytes, SHRINK).unwrap();
    assert!(made.better.is_none(), "the original goes");
    made.left_alone.expect("there is a reason")
}

fn decoded(bytes: &[u8]) -> image::RgbImage {
    image::load_from_memory(bytes).unwrap().to_rgb8()
}

#[test]
fn exif_keeps_camera_orientation_and_date_and_nothing_of_the_place_in_both_byte_orders() {
    for big in [false, true] {
        let before = tiff(big);
        let cleaned = exif::without_location(&before).unwrap();
        assert!(cleaned.had_location);
        assert!(!holds(&cleaned.bytes, PLACE), "the bytes are gone");
        assert!(!holds(&cleaned.bytes, &short(big, 0x8825)), "and what pointed at them");
        for kept in [b"Model 7\0".as_slice(), b"2026:07:14 12:34:56\0"] {
            assert!(holds(&cleaned.bytes, kept));
        }
        let orientation = [short(big, 0x0112), short(big, 3)].concat();
        let at = cleaned.bytes.windows(4).position(|window| window == orientation).expect("the orientation stays");
        assert_eq!(cleaned.bytes[at + 8..at + 10], short(big, 6));
        let again = exif::without_location(&cleaned.bytes).unwrap();
        assert_eq!(again.bytes, cleaned.bytes, "what was written is read the same way");
        assert!(!again.had_location);
    }
}

#[test]
fn a_jpeg_loses_its_place_and_no_pixel() {
    let before = [located_jpeg(), b"\0\0\0\x18ftypmp42 PLACE-52-31-12".to_vec()].concat();
    let (after, change) = made(&before, STRIP);
    assert_eq!(change, Change { location_removed: true, ..Change::default() });
    assert!(!holds(&after, PLACE), "in none of EXIF, XMP, IPTC and the video behind it");
    assert!(holds(&after, b"2026:07:14") && holds(&after, b"ICC_PROFILE\0\x01\x01profile"));
    assert_eq!(decoded(&after), decoded(&before));
    assert!(make(&after, STRIP).unwrap().better.is_none(), "there is nothing left to do");
}

#[test]
fn a_png_loses_its_place_and_no_pixel() {
    let exif = tiff(true);
    let text = b"XML:com.adobe.xmp\0\0\0\0\0<x exif:GPSLatitude='PLACE-52-31-12'/>";
    let before = png(64, 48, &[(b"eXIf", &exif), (b"gAMA", &[0, 0, 0xb1, 0x8f]), (b"iTXt", text)]);
    let (after, change) = made(&before, STRIP);
    assert!(change.location_removed && !change.packed);
    assert!(!holds(&after, PLACE) && holds(&after, b"2026:07:14") && holds(&after, b"gAMA"));
    assert_eq!(decoded(&after), decoded(&before), "and its checksums are right");
}

#[test]
fn a_webp_loses_its_place_and_no_pixel() {
    let mut bare = Vec::new();
    image::codecs::webp::WebPEncoder::new_lossless(&mut bare)
        .encode(&pixels(8, 8), 8, 8, image::ExtendedColorType::Rgb8)
        .unwrap();
    let size = u32::from_le_bytes(*bare[16..].first_chunk().unwrap()) as usize;
    let coded = &bare[20..20 + size];
    let header = [0x0c, 0, 0, 0, 7, 0, 0, 7, 0, 0];
    let exif = tiff(false);
    let xmp = b"<x exif:GPSLatitude='PLACE-52-31-12'/>";
    let before = webp(&[(b"VP8X", &header), (b"VP8L", coded), (b"EXIF", &exif), (b"XMP ", xmp)]);
    let (after, change) = made(&before, STRIP);
    assert!(change.location_removed && !holds(&after, PLACE) && holds(&after, b"2026:07:14"));
    assert_eq!(after[20], 0x08, "there is EXIF and no XMP");
    assert_eq!(u32::from_le_bytes(*after[4..].first_chunk().unwrap()) as usize, after.len() - 8);
    assert_eq!(decoded(&after), decoded(&before));
}

#[test]
fn a_jpeg_encoded_again_keeps_its_metadata_and_what_follows_it() {
    let before = [located_jpeg(), b"notes of the phone".to_vec()].concat();
    let (after, change) = made(&before, SHRINK);
    assert_eq!(change, Change { recoded: true, ..Change::default() });
    assert!(after.len() < before.len() * 9 / 10);
    assert!(holds(&after, &tiff(false)) && holds(&after, b"ICC_PROFILE\0\x01\x01profile"));
    assert!(after.ends_with(b"notes of the phone"));
    assert_eq!(decoded(&after).dimensions(), (200, 120));
    assert_eq!(made(&before, SHRINK).0, after, "the same bytes each time");
}

#[test]
fn both_wishes_together_leave_a_smaller_picture_without_a_place() {
    let (after, change) = made(&located_jpeg(), Wishes { strip_location: true, ..SHRINK });
    assert_eq!(change, Change { recoded: true, location_removed: true, ..Change::default() });
    assert!(!holds(&after, PLACE) && holds(&after, b"2026:07:14"));
}

#[test]
fn pictures_are_scaled_to_the_edge_that_was_asked_for() {
    let wishes = Wishes { max_edge: std::num::NonZeroU32::new(50), ..SHRINK };
    let note = b"Comment\0kept";
    for before in [located_jpeg(), png(200, 120, &[(b"tEXt", note)])] {
        let (after, change) = made(&before, wishes);
        assert!(change.scaled);
        assert_eq!(decoded(&after).dimensions(), (50, 30));
        assert_eq!(holds(&after, note), holds(&before, note));
    }
}

#[test]
fn a_png_in_fewer_bytes_has_the_same_pixels_and_chunks() {
    let exif = tiff(false);
    let before = png(90, 70, &[(b"eXIf", &exif), (b"tEXt", b"Comment\0kept")]);
    let (after, change) = made(&before, SHRINK);
    assert_eq!(change, Change { packed: true, ..Change::default() });
    assert!(after.len() < before.len() / 2);
    assert_eq!(decoded(&after), decoded(&before));
    assert!(holds(&after, &exif) && holds(&after, b"Comment\0kept"));
}

#[test]
fn what_would_lose_something_is_left_alone() {
    let several = jpeg(200, 120, &[(2, b"MPF\0II*\0")]);
    assert_eq!(left_alone(&several), Trouble::LeftAlone("several pictures in one"));
    let moving = png(64, 48, &[(b"acTL", &[0, 0, 0, 1, 0, 0, 0, 0])]);
    assert_eq!(left_alone(&moving), Trouble::LeftAlone("it moves"));
    let two_things = [png(64, 48, &[]), b"PK\x03\x04".to_vec()].concat();
    assert_eq!(left_alone(&two_things), Trouble::LeftAlone("something follows the picture"));
    let small = made(&located_jpeg(), SHRINK).0;
    assert_eq!(left_alone(&small), Trouble::LeftAlone("as small as it gets"));
    let mut printed = Vec::new();
    let ink = vec![100; 64 * 64 * 4];
    Encoder::new(&mut printed, 98).encode(&ink, 64, 64, ColorType::Cmyk).unwrap();
    assert_eq!(left_alone(&printed), Trouble::LeftAlone("neither grey nor ordinary colour"));
}

#[test]
fn metadata_between_the_scans_is_no_hiding_place() {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, 90);
    encoder.set_progressive(true);
    encoder.encode(&pixels(64, 64), 64, 64, ColorType::Rgb).unwrap();
    assert!(jpegs::without_location(&bytes).unwrap().is_none(), "an honest one passes");
    let scans: Vec<usize> =
        bytes.windows(2).enumerate().filter(|(_, two)| *two == [0xff, 0xda]).map(|(at, _)| at).collect();
    let hidden = [b"\xff\xe1\0\x16Exif\0\0".as_slice(), PLACE].concat();
    bytes.splice(scans[1]..scans[1], hidden);
    assert_eq!(jpegs::without_location(&bytes).unwrap_err(), Trouble::Damaged);
}

#[test]
fn the_checksum_is_that_of_the_specification() {
    let end = png_chunk(b"IEND", b"");
    assert_eq!(end[8..], [0xae, 0x42, 0x60, 0x82]);
    let exif = tiff(false);
    let (after, _) = pngs::without_location(&png(4, 4, &[(b"eXIf", &exif)])).unwrap().unwrap();
    let at = after.windows(4).position(|kind| kind == b"eXIf").unwrap();
    let length = u32::from_be_bytes(*after[at - 4..].first_chunk().unwrap()) as usize;
    let checksum = u32::from_be_bytes(*after[at + 4 + length..].first_chunk().unwrap());
    assert_eq!(checksum, crc32(&after[at..at + 4 + length]));
}
