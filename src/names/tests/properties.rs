//! What holds for every text, against an oracle that knows nothing of the code.

use proptest::prelude::*;

use crate::names::RelPath;
use crate::names::component::{made_safe, tidy};
use crate::names::oracle;
use crate::names::rel_path::collision_key;

/// Text made of what hurts, beside arbitrary text.
pub(super) fn stranger() -> impl Strategy<Value = String> {
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
    fn every_name_is_safe_and_settled(text in stranger(), number in any::<u32>()) {
        oracle::file_name(&text, number);
    }

    #[test]
    fn every_path_is_safe_and_settled(text in stranger()) {
        oracle::rel_path(&text);
    }

    #[test]
    fn two_numbers_never_give_one_name(text in stranger()) {
        oracle::numbers(&text);
    }

    #[test]
    fn shown_text_hides_nothing_and_stays_in_its_columns(text in stranger(), width in 0_usize..100) {
        oracle::shown(&text, width);
    }

    #[test]
    fn every_device_name_is_shown_as_it_is(text in stranger()) {
        oracle::peer_name(&text);
    }

    #[test]
    fn a_name_that_is_plain_at_a_glance_is_what_the_long_way_makes_of_it(
        text in prop_oneof![stranger(), "[ -~]{0,300}", "(?i)(con|prn|aux|nul|com|lpt|in|out|[0-9$. ]){0,6}"],
    ) {
        prop_assert_eq!(tidy(&text), made_safe(&text));
    }

    #[test]
    fn a_path_that_is_plain_at_a_glance_is_what_the_long_way_makes_of_it(
        text in prop_oneof![stranger(), "([a-c. ]{0,3}/){0,4}[a-c.: ]{0,3}", "(a/){60,70}b", "(a{250}/){15,17}a{0,30}"],
    ) {
        prop_assert_eq!(RelPath::from_stranger(&text), RelPath::made_safe(&text));
    }

    #[test]
    fn an_ascii_name_has_the_collision_key_that_it_has_beside_other_letters(text in "[ -~]{0,40}") {
        prop_assert_eq!(collision_key(&format!("{text}É")), format!("{}é", collision_key(&text)));
    }

    #[test]
    fn a_collision_key_forgets_case_and_composition(text in stranger()) {
        oracle::key(&text);
    }
}
