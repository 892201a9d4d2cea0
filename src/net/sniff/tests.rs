use proptest::prelude::*;

use super::*;

/// The verdict when the bytes arrive in segments that end at `cuts`.
fn verdict(bytes: &[u8], cuts: &[usize]) -> Sniff {
    for &cut in cuts.iter().chain([&bytes.len()]) {
        let verdict = sniff(&bytes[..cut]);
        if verdict != Sniff::NeedMore {
            return verdict;
        }
    }
    Sniff::NeedMore
}

#[test]
fn tls_is_known_by_two_bytes() {
    assert_eq!(sniff(b"\x16"), Sniff::NeedMore);
    assert_eq!(sniff(b"\x16\x03"), Sniff::Native);
    assert_eq!(sniff(b"\x16\x03\x01\x02\x00\x01<SEPARATOR>"), Sniff::Native);
}

#[test]
fn a_file_name_may_begin_like_a_tls_record() {
    assert_eq!(sniff(b"\x16x<SEPARATOR>9"), Sniff::Classic { separator_at: 2 });
}

#[test]
fn http_is_known_once_its_version_begins() {
    assert_eq!(sniff(b"GET / HTTP/1"), Sniff::NeedMore);
    for request in [
        "GET / HTTP/1.",
        "PUT /a%20b?c=d HTTP/1.1\r\n",
        "CONNECT h:443 HTTP/1.1",
        "OPTIONS * HTTP/1.0",
        "M-SEARCH * HTTP/1.1",
    ] {
        assert_eq!(sniff(request.as_bytes()), Sniff::Web, "{request}");
    }
}

#[test]
fn a_file_name_that_looks_like_a_request_is_classic() {
    for (name, at) in [
        ("POST /x HTTP notes", 18),
        ("GET", 3),
        ("GET /", 5),
        ("GET / HTTP/1", 12),
        ("GET / HTTP/2.0", 14),
        ("get / HTTP/1.1", 14),
        ("GET  HTTP/1.1", 13),
    ] {
        assert_eq!(sniff(format!("{name}<SEPARATOR>9").as_bytes()), Sniff::Classic { separator_at: at }, "{name}");
    }
}

#[test]
fn a_separator_beyond_the_cap_is_too_late() {
    let header = |name: usize| [&vec![b'a'; name][..], SEPARATOR].concat();
    assert_eq!(sniff(&header(SNIFF_CAP - 11)), Sniff::Classic { separator_at: SNIFF_CAP - 11 });
    assert_eq!(sniff(&header(SNIFF_CAP - 10)), Sniff::Neither);
    assert_eq!(sniff(&vec![b'a'; SNIFF_CAP - 1]), Sniff::NeedMore);
    assert_eq!(sniff(&vec![b'A'; SNIFF_CAP]), Sniff::Neither);
    let endless_target = [b"GET /".as_slice(), &vec![b'a'; SNIFF_CAP], b" HTTP/1.1"].concat();
    assert_eq!(sniff(&endless_target), Sniff::Neither);
}

#[test]
fn the_separator_may_come_first() {
    assert_eq!(sniff(b"<SEPARATOR>9"), Sniff::Classic { separator_at: 0 });
}

/// Bytes that come close to each dialect.
fn first_bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"GET".to_vec()),
        Just(b" ".to_vec()),
        Just(b"/x".to_vec()),
        Just(b" HTTP/1.".to_vec()),
        Just(b"HTTP".to_vec()),
        Just(b"/1.1\r\n".to_vec()),
        Just(SEPARATOR.to_vec()),
        Just(b"<SEPAR".to_vec()),
        Just(b"\x16".to_vec()),
        Just(b"\x03".to_vec()),
        Just(b"9".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..8),
        (4_060_usize..4_100).prop_map(|n| vec![b'a'; n]),
    ];
    proptest::collection::vec(piece, 0..10).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_split_gives_the_same_verdict(bytes in first_bytes(), cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12)) {
        let mut cuts: Vec<usize> = cuts.iter().map(|i| i.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        let whole = sniff(&bytes);
        prop_assert_eq!(whole, verdict(&bytes, &cuts));
        // Byte by byte, at the ends, where something is decided: the middle of a long one only repeats itself.
        let ends: Vec<usize> = (0..=bytes.len()).filter(|&at| at < 100 || at + 100 > bytes.len()).collect();
        prop_assert_eq!(whole, verdict(&bytes, &ends));
    }

    #[test]
    fn a_verdict_is_never_taken_back(bytes in first_bytes(), more in first_bytes()) {
        let before = sniff(&bytes);
        if before != Sniff::NeedMore {
            prop_assert_eq!(before, sniff(&[bytes, more].concat()));
        }
    }

    #[test]
    fn every_classic_header_is_classic(name in "[^/\u{0}<\u{16}]{1,100}", size in any::<u64>()) {
        // A name that holds a whole request line is the one thing that product.md 3 gives to the web.
        prop_assume!(!name.contains(" HTTP/1."));
        let header = format!("{name}<SEPARATOR>{size}");
        prop_assert_eq!(sniff(header.as_bytes()), Sniff::Classic { separator_at: name.len() });
    }

    #[test]
    fn every_request_is_web(method in "[A-Z]{1,20}", target in "/[!-;=?-~]{0,300}", rest in any::<Vec<u8>>()) {
        let request = [format!("{method} {target} HTTP/1.1\r\n").as_bytes(), &rest].concat();
        prop_assert_eq!(sniff(&request), Sniff::Web);
    }

    #[test]
    fn every_tls_record_is_native(rest in any::<Vec<u8>>()) {
        prop_assert_eq!(sniff(&[b"\x16\x03".as_slice(), &rest].concat()), Sniff::Native);
    }
}
