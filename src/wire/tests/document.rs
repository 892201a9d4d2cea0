use std::collections::HashSet;

use super::*;

const PROTOCOL: &str = include_str!("../../../docs/protocol.md");

/// The variants that a source file gives numbers to between `first` and the brace that closes the enum.
fn numbered_variants(source: &str, first: &str) -> Vec<(String, u8)> {
    let body = &source[source.find(first).unwrap_or_else(|| panic!("`{first}` is gone"))..];
    let body = &body[..body.find("\n}").unwrap()];
    let numbered = body.lines().filter_map(|line| {
        let (name, number) = line.trim().strip_suffix(',')?.split_once(" = ")?;
        let number = match number.strip_prefix("0x") {
            Some(hex) => u8::from_str_radix(hex, 16),
            None => number.parse(),
        };
        Some((name.to_owned(), number.ok()?))
    });
    numbered.collect()
}

/// With commas between the thousands, as the document writes numbers.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().map(|group| str::from_utf8(group).unwrap()).collect();
    groups.join(",")
}

fn assert_has_row(row: &str) {
    assert!(PROTOCOL.lines().any(|line| line.starts_with(row)), "docs/protocol.md has no row `{row}…`");
}

#[test]
fn all_kinds_are_all_there_are() {
    let written = numbered_variants(include_str!("../frame.rs"), "pub enum Kind {");
    let listed: Vec<(String, u8)> = Kind::ALL.iter().map(|kind| (format!("{kind:?}"), *kind as u8)).collect();
    assert_eq!(written, listed);
    let numbers: HashSet<u8> = Kind::ALL.iter().map(|kind| *kind as u8).collect();
    assert_eq!(numbers.len(), Kind::ALL.len());
}

#[test]
fn only_listed_kinds_are_read_and_each_as_itself() {
    for byte in 0..=u8::MAX {
        let kind = Kind::ALL.into_iter().find(|kind| *kind as u8 == byte);
        let expected = kind.map(|kind| Header { kind, len: 0 }).ok_or(FrameError::UnknownKind(byte));
        assert_eq!(Header::parse([byte, 0, 0, 0]), expected);
    }
}

#[test]
fn the_document_lists_every_kind_with_its_number_and_cap() {
    for kind in Kind::ALL {
        assert_has_row(&format!("| `{:#04x}` | `{kind:?}` | {} |", kind as u8, grouped(kind.cap() as u64)));
    }
    let rows = PROTOCOL.lines().filter(|line| line.starts_with("| `0x")).count();
    assert_eq!(rows, Kind::ALL.len(), "the document lists a kind that there is not");
}

#[test]
fn the_document_lists_every_refusal_with_its_number() {
    let written = numbered_variants(include_str!("../outcome.rs"), "pub enum RefuseCode {");
    for number in 0..=u8::MAX {
        let code = Refuse::decode(&[number, 0, 0, 0]).unwrap().code;
        let known = written.iter().find(|(_, known)| *known == number);
        match known {
            Some((name, _)) => {
                assert_eq!(format!("{code:?}"), *name);
                assert_has_row(&format!("| {number} | `{name}` |"));
            }
            None => assert_eq!(code, RefuseCode::Other, "{number} is not known"),
        }
    }
}

#[test]
fn the_document_lists_every_limit_with_its_number() {
    let limits = [
        ("HEADER_LEN", HEADER_LEN as u64),
        ("OPENING_CAP", OPENING_CAP as u64),
        ("PAGE_CAP", PAGE_CAP as u64),
        ("CONTROL_CAP", CONTROL_CAP as u64),
        ("PIECE_CAP", PIECE_CAP as u64),
        ("CHUNK_LEN", CHUNK_LEN),
        ("PACK_FILES", PACK_FILES as u64),
        ("PACK_LEN", PACK_LEN),
        ("PATH_CAP", PATH_CAP as u64),
        ("ENTRIES_CAP", u64::from(ENTRIES_CAP)),
        ("SCREEN_CAP", SCREEN_CAP),
        ("NAME_CAP", NAME_CAP as u64),
        ("TEXT_CAP", TEXT_CAP as u64),
        ("VERSIONS_CAP", VERSIONS_CAP as u64),
        ("LANES_CAP", u64::from(LANES_CAP)),
        ("LANE_NUMBERS", u64::from(LANE_NUMBERS)),
        ("STORED_CAP", STORED_CAP as u64),
        ("RANGES_CAP", RANGES_CAP as u64),
        ("MESSAGE_CAP", MESSAGE_CAP as u64),
        ("MEMBERS_CAP", MEMBERS_CAP as u64),
        ("OFFERS_CAP", OFFERS_CAP as u64),
        ("LINK_CAP", LINK_CAP as u64),
    ];
    for (name, number) in limits {
        assert_has_row(&format!("| `{name}` | {} |", grouped(number)));
    }
    let source = include_str!("../caps.rs");
    let named = source.lines().filter_map(|line| line.strip_prefix("pub const ")?.split(':').next());
    for name in named.filter(|name| *name != "VERSION") {
        assert!(limits.iter().any(|(known, _)| *known == name), "`{name}` is not looked for");
    }
}

#[test]
fn the_sections_that_the_source_refers_to_are_there() {
    let sources = [
        include_str!("../frame.rs"),
        include_str!("../opening.rs"),
        include_str!("../offer.rs"),
        include_str!("../data.rs"),
        include_str!("../outcome.rs"),
    ];
    for (number, source) in (3..).zip(sources).chain([(12, include_str!("../room.rs"))]) {
        assert!(source.contains(&format!("(protocol.md {number})")));
        assert!(PROTOCOL.contains(&format!("\n## {number}. ")), "section {number} is gone");
    }
}
