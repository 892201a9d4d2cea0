use proptest::prelude::*;

use super::*;

/// The rule of the module's text, by brute force over the whole stream: the header's digits and the file.
fn oracle(after: &[u8], read_ends: &[usize]) -> Option<(usize, Vec<u8>)> {
    let n = after.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(after.len());
    let says = |k: usize| std::str::from_utf8(&after[..k]).unwrap().parse::<u64>().ok();
    let plain = |k: usize| k == 1 || after[0] != b'0';
    let fits = |k: usize| plain(k) && says(k).is_some_and(|size| size as u128 + k as u128 == after.len() as u128);
    let k = (1..=n).find(|&k| fits(k))?;
    let ended = |digit: usize| digit == after.len() || read_ends.contains(&digit);
    let stored = k == n || ended(k) || !(k + 1..=n).any(ended);
    stored.then(|| (k, after[k..].to_vec()))
}

/// What a receiver has at the end that gets `reads` one by one and does as it is told; the same whether it looks at
/// every byte or passes on unseen what it may.
fn receive<'a>(reads: impl IntoIterator<Item = &'a [u8]>) -> Result<(Whole, Vec<u8>), ClassicError> {
    let reads: Vec<&[u8]> = reads.into_iter().collect();
    let seen = receive_each(&reads, false);
    assert_eq!(receive_each(&reads, true), seen, "{reads:?}");
    seen
}

fn receive_each(reads: &[&[u8]], unseen: bool) -> Result<(Whole, Vec<u8>), ClassicError> {
    let mut scan = Scan::new();
    let mut partial = Vec::new();
    for read in reads {
        let count = if unseen { scan.opaque().min(read.len() as u64) as usize } else { 0 };
        let (passed, looked_at) = read.split_at(count);
        scan.pass(count as u64);
        partial.extend_from_slice(passed);
        if count == 0 || !looked_at.is_empty() {
            scan.push(looked_at)?.iter().for_each(|part| partial.extend_from_slice(part));
        }
    }
    let whole = scan.finish()?;
    match &whole.repair {
        Repair::None => {}
        Repair::Prepend(front) => drop(partial.splice(..0, front.iter().copied())),
        Repair::DropFront(count) => drop(partial.drain(..count)),
    }
    assert_eq!(partial.len() as u64, whole.size);
    Ok((whole, partial))
}

/// `stream` in the pieces that end at `ends`.
fn pieces<'a>(stream: &'a [u8], ends: &[usize]) -> Vec<&'a [u8]> {
    let mut starts = vec![0];
    starts.extend_from_slice(ends);
    starts.push(stream.len());
    starts.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect()
}

fn stream(name: &str, after: &[u8]) -> Vec<u8> {
    [name.as_bytes(), SEPARATOR, after].concat()
}

fn assert_as_the_oracle_says(after: &[u8], ends: &[usize]) {
    let head = stream("x", b"");
    let reads = std::iter::once(head.as_slice()).chain(pieces(after, ends));
    let received = receive(reads).ok().map(|(_, file)| file);
    assert_eq!(received, oracle(after, ends).map(|(_, file)| file), "{:?} {ends:?}", String::from_utf8_lossy(after));
}

fn every_segmentation(length: usize) -> impl Iterator<Item = Vec<usize>> {
    (0..1_u32 << length.saturating_sub(1))
        .map(move |mask| (1..length).filter(|end| mask >> (end - 1) & 1 == 1).collect())
}

#[test]
fn every_short_stream_in_every_segmentation_is_as_the_rule_says() {
    let alphabet = b"0124a";
    for length in 0..=6_usize {
        for index in 0..alphabet.len().pow(length as u32) {
            let after: Vec<u8> = (0..length as u32).map(|i| alphabet[index / alphabet.len().pow(i) % 5]).collect();
            every_segmentation(length).for_each(|ends| assert_as_the_oracle_says(&after, &ends));
        }
    }
}

#[test]
fn longer_headers_in_every_segmentation_are_as_the_rule_says() {
    for after in ["10abcdefghij", "101234567890", "10", "1000abcdefgh", "12345678901a", "9999999999999", "110", "1212"]
    {
        every_segmentation(after.len()).for_each(|ends| assert_as_the_oracle_says(after.as_bytes(), &ends));
    }
}

#[test]
fn an_honest_transfer_arrives_one_byte_at_a_time() {
    for data in ["", "x", "hello, world", &"a line\n".repeat(1_000)] {
        let stream = [header("report.pdf", data.len() as u64), data.into()].concat();
        let (whole, file) = receive(stream.chunks(1)).unwrap();
        assert_eq!((whole.name.as_str(), file.as_slice()), ("report.pdf", data.as_bytes()));
    }
}

#[test]
fn a_table_of_digits_survives_a_header_in_its_own_segment() {
    for data in ["1", "2026-01-01,5\n", "0", "00000", &"7".repeat(40), &"123456789".repeat(500)] {
        let header = header("t.csv", data.len() as u64);
        for second in [1, 7, 4_096] {
            let reads = std::iter::once(header.as_slice()).chain(data.as_bytes().chunks(second));
            let (whole, file) = receive(reads).unwrap();
            assert_eq!(file, data.as_bytes());
            assert_eq!(whole.size, data.len() as u64);
        }
    }
}

#[test]
fn a_header_in_its_own_segment_needs_no_repair() {
    for data in ["2026-01-01,5\n", "plain"] {
        let (whole, _) = receive([header("t", data.len() as u64).as_slice(), data.as_bytes()]).unwrap();
        assert_eq!(whole.repair, Repair::None);
    }
}

#[test]
fn a_stream_cut_anywhere_is_never_stored_when_the_header_came_alone() {
    for data in ["hello", "0123456789ab", "12", "999999999999", "1", "2\n2\n2\n2\n2\n2\n", &"5".repeat(120)] {
        let header = header("x", data.len() as u64);
        let whole = [header.as_slice(), data.as_bytes()].concat();
        for cut in 0..whole.len() {
            let (first, rest) = whole[..cut].split_at(cut.min(header.len()));
            for size in [1, 3, 4_096] {
                let reads = std::iter::once(first).chain(rest.chunks(size));
                assert!(receive(reads).is_err(), "{data} cut at {cut}");
            }
        }
    }
}

#[test]
fn the_cuts_of_the_contract_are_refused_with_a_hint() {
    assert_eq!(receive([&b"x<SEPARATOR>12"[..]]), Err(ClassicError::MaybeCut { size: 1 }));
    assert_eq!(receive([&b"x<SEPARATOR>1000"[..], b"abcdefgh"]).map(|_| ()), Err(ClassicError::MaybeCut { size: 10 }));
}

#[test]
fn a_run_longer_than_any_size_that_ends_with_the_stream_is_refused() {
    let stream = stream("x", format!("28{}", "1".repeat(28)).as_bytes());
    assert_eq!(receive([stream.as_slice()]).map(|_| ()), Err(ClassicError::MaybeCut { size: 28 }));
}

#[test]
fn a_cut_inside_one_segment_is_the_documented_limit() {
    assert_eq!(receive([&b"x<SEPARATOR>1000abcdefgh"[..]]).unwrap().1, b"00abcdefgh");
}

#[test]
fn a_size_that_is_not_plain_decimal_is_refused() {
    for size in [" 12", "+12", "-5", "\u{661}\u{662}", "", "<SEPARATOR>12", "b<SEPARATOR>5", "\n5", "x"] {
        let stream = stream("a", [size.as_bytes(), b"hello"].concat().as_slice());
        assert_eq!(receive([stream.as_slice()]).map(|_| ()), Err(ClassicError::NoSize), "{size:?}");
    }
    for size in ["1_2", "1e3", "0x10", "007", "05", "12 "] {
        let stream = stream("a", [size.as_bytes(), b"hello, hello, hello"].concat().as_slice());
        assert!(matches!(receive([stream.as_slice()]), Err(ClassicError::TooMuch { .. })), "{size:?}");
    }
    for digits in ["1", "9", "123"] {
        let stream = stream("a", digits.repeat(30).as_bytes());
        assert!(receive([stream.as_slice()]).is_err(), "{digits}");
        assert!(receive(stream.chunks(7)).is_err(), "{digits}");
    }
}

#[test]
fn a_header_that_never_comes_or_never_ends_is_refused() {
    assert_eq!(receive([&b""[..]]).map(|_| ()), Err(ClassicError::HeaderCut));
    assert_eq!(receive([&b"name"[..]]).map(|_| ()), Err(ClassicError::HeaderCut));
    assert_eq!(receive([&b"name<SEPARATOR>"[..]]).map(|_| ()), Err(ClassicError::HeaderCut));
    let endless = [b'a'; 10_000];
    assert_eq!(receive([&endless[..]]).map(|_| ()), Err(ClassicError::NoSeparator));
    assert_eq!(receive(endless.chunks(1)).map(|_| ()), Err(ClassicError::NoSeparator));
}

#[test]
fn the_separator_is_found_up_to_the_cap_in_any_pieces() {
    let longest = "n".repeat(HEADER_CAP - SEPARATOR.len());
    for (name, found) in [(longest.clone(), true), (longest + "n", false)] {
        let stream = stream(&name, b"2hi");
        for size in [1, 10, 11, 12, 4_095, 4_096, 8_192] {
            let received = receive(stream.chunks(size)).map(|(whole, file)| (whole.name, file));
            let expected = if found { Ok((name.clone(), b"hi".to_vec())) } else { Err(ClassicError::NoSeparator) };
            assert_eq!(received, expected, "{size}");
        }
        assert_eq!(find_separator(&stream), if found { Search::Found(name.len()) } else { Search::No });
    }
    assert_eq!(find_separator(b"a<SEPARATO"), Search::NeedMore);
    assert_eq!(find_separator(b"POST /x HTTP notes<SEPARATOR>9"), Search::Found(18));
}

#[test]
fn more_than_was_announced_stops_at_once_and_hands_nothing_out() {
    let mut scan = Scan::new();
    scan.push(b"x<SEPARATOR>1024").unwrap();
    assert_eq!(scan.push(&[b'a'; 64 * 1024]), Err(ClassicError::TooMuch { at_most: 1_024 }));
    let mut scan = Scan::new();
    scan.push(b"x<SEPARATOR>3abc").unwrap();
    assert_eq!(scan.push(b"d"), Err(ClassicError::TooMuch { at_most: 3 }));
}

#[test]
fn bytes_are_opaque_once_no_read_is_evidence_and_until_all_may_have_come() {
    let mut scan = Scan::new();
    for (read, opaque) in [(&b"x<SEPARATOR>1"[..], 0), (b"000", 0), (b"12", 0), (b"ab", 100_010), (b"c", 100_009)] {
        scan.push(read).unwrap();
        assert_eq!(scan.opaque(), opaque, "{}", String::from_utf8_lossy(read));
    }
    scan.pass(100_009);
    assert_eq!(scan.opaque(), 0);
    assert_eq!(scan.push(b"d"), Err(ClassicError::TooMuch { at_most: 100_012 }));
}

#[test]
fn a_short_stream_says_how_much_is_missing() {
    let short = receive([&b"x<SEPARATOR>100"[..], b"abc"]).map(|_| ());
    assert_eq!(short, Err(ClassicError::Incomplete { received: 3, announced: 100 }));
}

#[test]
fn the_claim_prefers_the_reading_that_a_lone_read_end_suggests() {
    let mut scan = Scan::new();
    assert_eq!(scan.claim(), None);
    scan.push(b"t.csv<SEPARATOR>1000").unwrap();
    assert_eq!((scan.name(), scan.is_settled()), (Some("t.csv"), false));
    assert_eq!(scan.claim(), Some(Claim { likely: 1_000, at_most: 1_000 }));
    assert_eq!(scan.push(b"2026-01-01").unwrap(), [&b"2026"[..], b"-01-01"]);
    assert_eq!(scan.claim(), Some(Claim { likely: 1_000, at_most: 10_002_026 }));
    assert!(scan.is_settled());
}

#[test]
fn the_largest_sizes_are_read_and_larger_ones_are_data() {
    let claim = |digits: &str| {
        let mut scan = Scan::new();
        scan.push(&stream("x", digits.as_bytes())).unwrap();
        scan.claim().unwrap().at_most
    };
    for size in [1 << 31, 1 << 32, (1 << 53) + 1, (1 << 63) - 1, u64::MAX] {
        assert_eq!(claim(&size.to_string()), size);
    }
    assert_eq!(claim("18446744073709551616"), 1_844_674_407_370_955_161);
    assert_eq!(claim(&"1".repeat(300)), 11_111_111_111_111_111_111);
}

#[test]
fn the_separator_within_the_data_is_data() {
    let data = b"<SEPARATOR>7";
    let (whole, file) = receive([stream("a", &[b"12".as_slice(), data].concat()).as_slice()]).unwrap();
    assert_eq!((whole.name.as_str(), file.as_slice()), ("a", &data[..]));
}

#[test]
fn a_name_of_invalid_utf8_is_replaced_and_an_empty_one_passed_on() {
    assert_eq!(receive([&b"\xff\xc5\xff.txt<SEPARATOR>0"[..]]).unwrap().0.name, "\u{fffd}\u{fffd}\u{fffd}.txt");
    assert_eq!(receive([&b"<SEPARATOR>0"[..]]).unwrap().0.name, "");
}

#[test]
fn our_header_always_splits_in_two_within_the_cap() {
    assert_eq!(header("a.txt", 5), b"a.txt<SEPARATOR>5");
    assert_eq!(header("a<SEPARATOR>b", 5), b"a_b<SEPARATOR>5");
    assert_eq!(header("<SEP<SEPARATOR>ARATOR>", 5), b"<SEP_ARATOR><SEPARATOR>5");
    let long = header(&"é".repeat(9_000), u64::MAX);
    assert!(long.len() <= HEADER_CAP && std::str::from_utf8(&long).is_ok());
}

/// Files that look like sizes, and others.
fn file() -> impl Strategy<Value = Vec<u8>> {
    let digits = prop::collection::vec(b'0'..=b'9', 0..30);
    (digits, prop::collection::vec(any::<u8>(), 0..200)).prop_map(|(digits, rest)| [digits, rest].concat())
}

fn ends(length: usize) -> impl Strategy<Value = Vec<usize>> {
    prop::collection::btree_set(1..length.max(2), 0..6.min(length.max(1)))
        .prop_map(move |ends| ends.into_iter().filter(|&end| end < length).collect())
}

proptest! {
    #[test]
    fn any_stream_in_any_pieces_is_as_the_rule_says(
        (after, ends) in (0_usize..40, file()).prop_flat_map(|(size, file)| {
            let after = [size.to_string().into_bytes(), file].concat();
            let length = after.len();
            (Just(after), ends(length))
        }),
    ) {
        assert_as_the_oracle_says(&after, &ends);
    }

    #[test]
    fn any_file_after_a_header_of_its_own_arrives_exactly(
        (file, ends) in file().prop_flat_map(|file| { let length = file.len(); (Just(file), ends(length)) }),
        name in ".{0,40}",
    ) {
        let header = header(&name, file.len() as u64);
        let reads = std::iter::once(header.as_slice()).chain(pieces(&file, &ends));
        prop_assert_eq!(receive(reads).map(|(_, file)| file), Ok(file));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..100), size in 1_usize..20) {
        let hostile = stream("x", &bytes);
        let _ = receive(hostile.chunks(size));
        let _ = receive(bytes.chunks(size));
    }
}
