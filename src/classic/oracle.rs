//! The rule of the tutorial's header, by its own words and with the whole stream at hand.

use super::{HEADER_CAP, Repair, SEPARATOR, Scan, Whole, header};

/// What [`Scan`] makes of the reads is what the rule makes of them; what passes it unseen changes nothing; and our own
/// header comes back.
///
/// The first byte says how many cuts there are, the next ones where, two bytes each; the rest is the stream.
pub fn classic(bytes: &[u8]) {
    let Some((reads, stream)) = reads(bytes) else { return };
    let scanned = scanned(&reads, false);
    assert_eq!(scanned, by_the_rule(stream, &reads));
    assert_eq!(self::scanned(&reads, true), scanned, "passed by");

    let (name, data) = stream.split_at(stream.len() / 2);
    let said = header(&String::from_utf8_lossy(name), data.len() as u64);
    assert!(said.len() <= HEADER_CAP);
    let (name, content) = self::scanned(&[&said, data], false).expect("a header by itself, and all that it says");
    assert!(said.starts_with(&[name.as_bytes(), SEPARATOR].concat()));
    assert_eq!(content, data);
}

/// The reads, none of them empty, and the stream that they are of.
fn reads(bytes: &[u8]) -> Option<(Vec<&[u8]>, &[u8])> {
    let (count, rest) = bytes.split_first()?;
    let (cuts, stream) = rest.split_at_checked(2 * usize::from(count % 8))?;
    let place = |cut: &[u8]| usize::from(u16::from_le_bytes([cut[0], cut[1]])) % (stream.len() + 1);
    let mut ends: Vec<usize> = cuts.chunks_exact(2).map(place).chain([stream.len()]).collect();
    ends.sort_unstable();
    let mut from = 0;
    let reads = ends.into_iter().map(|end| &stream[std::mem::replace(&mut from, end)..end]);
    Some((reads.filter(|read| !read.is_empty()).collect(), stream))
}

/// Name and content as [`Scan`] tells them; with `passing` it sees no more than it must.
fn scanned(reads: &[&[u8]], passing: bool) -> Option<(String, Vec<u8>)> {
    let (mut scan, mut content) = (Scan::new(), Vec::new());
    for read in reads {
        let unseen = if passing { read.len().min(usize::try_from(scan.opaque()).unwrap_or(usize::MAX)) } else { 0 };
        let (unseen, read) = read.split_at(unseen);
        scan.pass(unseen.len() as u64);
        content.extend_from_slice(unseen);
        if !read.is_empty() {
            content.extend(scan.push(read).ok()?.concat());
        }
    }
    let Whole { name, size, repair } = scan.finish().ok()?;
    match repair {
        Repair::None => {}
        Repair::Prepend(front) => drop(content.splice(..0, front)),
        Repair::DropFront(count) => drop(content.drain(..count)),
    }
    assert_eq!(content.len() as u64, size);
    Some((name, content))
}

fn by_the_rule(stream: &[u8], reads: &[&[u8]]) -> Option<(String, Vec<u8>)> {
    let searched = &stream[..stream.len().min(HEADER_CAP)];
    let at = searched.windows(SEPARATOR.len()).position(|window| window == SEPARATOR)?;
    let after = &stream[at + SEPARATOR.len()..];
    let run = after.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let says = |k: &usize| {
        let digits = std::str::from_utf8(&after[..*k]).expect("digits are ASCII");
        let size: Option<u64> = digits.parse().ok().filter(|size: &u64| size.to_string() == digits);
        size.is_some_and(|size| u128::from(size) + *k as u128 == after.len() as u128)
    };
    let k = (1..=run).find(says)?;
    let mut end = 0;
    let ends: Vec<usize> = reads
        .iter()
        .filter_map(|read| {
            end += read.len();
            end.checked_sub(at + SEPARATOR.len())
        })
        .collect();
    let believed = k == run || ends.contains(&k) || !ends.iter().any(|end| (k + 1..=run).contains(end));
    believed.then(|| (String::from_utf8_lossy(&stream[..at]).into_owned(), after[k..].to_vec()))
}
