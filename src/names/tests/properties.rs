//! What holds for every text, against an oracle that knows nothing of the code.

use std::collections::HashSet;

use proptest::prelude::*;
use unicode_normalization::UnicodeNormalization;
use unicode_width::UnicodeWidthStr;

use super::super::rel_path::collision_key;
use super::*;

/// What a component must be, written without the code under test.
fn is_safe_component(name: &str) -> Result<(), String> {
    let fail = |why: &str| Err(format!("{why}: {name:?}"));
    if name.is_empty() || name == "." || name == ".." {
        return fail("no name");
    }
    if name.len() > 255 {
        return fail("too long");
    }
    if name.ends_with([' ', '.']) {
        return fail("windows strips the end");
    }
    let hostile = |c: char| {
        let code = u32::from(c);
        code < 0x20
            || (0x7f..0xa0).contains(&code)
            || r#"\/:*?"<>|"#.contains(c)
            || [0xad, 0x61c, 0x180e, 0x200b, 0x200e, 0x200f, 0x3164, 0xfeff].contains(&code)
            || (0x2028..=0x202e).contains(&code)
            || (0x2060..=0x206f).contains(&code)
            || (0xe0000..=0xe007f).contains(&code)
    };
    if name.contains(hostile) {
        return fail("hostile character");
    }
    let joins = |c: char| c == '\u{200c}' || c == '\u{200d}';
    let follows_ascii = name.chars().zip(name.chars().skip(1)).any(|(a, b)| a.is_ascii() && joins(b));
    if follows_ascii || name.starts_with(joins) {
        return fail("joiner that joins nothing");
    }
    let stem = name.split('.').next().unwrap().trim_end().to_uppercase();
    let devices = ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"];
    let ports = ["COM", "LPT"].iter().flat_map(|port| "0123456789¹²³".chars().map(move |n| format!("{port}{n}")));
    if devices.contains(&stem.as_str()) || ports.into_iter().any(|port| port == stem) {
        return fail("device");
    }
    Ok(())
}

/// Text made of what hurts, beside arbitrary text.
fn stranger() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "a",
        "Z",
        "7",
        ".",
        "..",
        " ",
        "/",
        "\\",
        ":",
        "_",
        "\0",
        "\n",
        "\x1b[2J",
        "\u{202e}",
        "\u{200b}",
        "\u{200c}",
        "\u{200d}",
        "\u{fe0f}",
        "\u{20e3}",
        "\u{301}",
        "\u{9b}",
        "\u{e0041}",
        "\u{fffd}",
        "é",
        "漢",
        "👩",
        "🇩",
        "¹",
        "CON",
        "nul",
        "COM",
        "LPT1",
        ".tar",
        ".gz",
        "C:",
        "file:",
        "\u{a0}",
        "\u{1112}",
        "\u{1161}",
        "\u{0600}",
    ]);
    let run =
        (pieces, prop_oneof![9 => 1_usize..3, 1 => 100_usize..400]).prop_map(|(piece, times)| piece.repeat(times));
    prop_oneof![4 => prop::collection::vec(run, 0..8).prop_map(|runs| runs.concat()), 1 => any::<String>()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn every_name_is_safe_and_settled(text in stranger(), n in any::<u32>()) {
        let name = FileName::from_stranger(&text);
        is_safe_component(name.as_str()).map_err(TestCaseError::fail)?;
        prop_assert!(!name.as_str().starts_with('.'));
        prop_assert_eq!(&FileName::from_stranger(name.as_str()), &name);
        let numbered = name.with_number(n);
        is_safe_component(numbered.as_str()).map_err(TestCaseError::fail)?;
        prop_assert_eq!(&FileName::from_stranger(numbered.as_str()), &numbered);
        if name.extension().is_some_and(|extension| extension.len() < 32) {
            prop_assert_eq!(numbered.extension(), name.extension());
        }
    }

    #[test]
    fn every_path_is_safe_and_settled(text in stranger()) {
        let Ok(path) = RelPath::from_stranger(&text) else { return Ok(()) };
        prop_assert!(path.depth() <= PATH_DEPTH_MAX && path.as_str().len() <= PATH_BYTES_MAX);
        for component in path.components() {
            is_safe_component(component).map_err(TestCaseError::fail)?;
        }
        prop_assert_eq!(RelPath::from_stranger(path.as_str()), Ok(path.clone()));
        let top = path.top_level();
        prop_assert!(!top.first().starts_with('.'));
        is_safe_component(top.first()).map_err(TestCaseError::fail)?;
        prop_assert_eq!(top.clone().top_level(), top);
    }

    #[test]
    fn two_numbers_never_give_one_name(text in stranger()) {
        let name = FileName::from_stranger(&text);
        let numbered: HashSet<String> = (1..50).map(|n| name.with_number(n).collision_key()).collect();
        prop_assert_eq!(numbered.len(), 49);
    }

    #[test]
    fn shown_text_hides_nothing_and_stays_in_its_columns(text in stranger(), width in 0_usize..100) {
        let shown = inert(&text);
        prop_assert!(!shown.contains(is_hidden_char), "{:?}", shown);
        prop_assert_eq!(inert(&shown), shown.as_str());
        let elided = elide(&text, width);
        prop_assert!(!elided.contains(is_hidden_char), "{:?}", elided);
        prop_assert!(elided.width() <= width && columns(&elided) <= width, "{:?} {}", elided, width);
    }

    #[test]
    fn every_device_name_is_shown_as_it_is(text in stranger()) {
        let name = PeerName::from_stranger(&text);
        prop_assert!(!name.as_str().is_empty() && name.as_str().len() <= 255 && name.as_str().chars().count() <= 63);
        prop_assert_eq!(inert(name.as_str()), name.as_str());
        prop_assert_eq!(&PeerName::from_stranger(name.as_str()), &name);
    }

    #[test]
    fn a_collision_key_forgets_case_and_composition(text in stranger()) {
        let key = collision_key(&text);
        prop_assert_eq!(collision_key(&text.nfd().collect::<String>()), key.as_str());
        prop_assert_eq!(collision_key(&text.nfc().collect::<String>()), key.as_str());
        prop_assert_eq!(collision_key(&text.to_lowercase()), key);
    }
}
