use std::fmt::Debug;

use super::*;
use crate::wire::offer::PAGE_AIM;

/// The largest legal message fits its frame and is understood.
fn fits<M: Message + PartialEq + Debug>(message: &M) {
    let bytes = frame(message);
    let (header, payload) = split(&bytes).expect("it is within the cap of its kind");
    assert!(M::decode(payload).as_ref() == Ok(message), "{:?} of {} bytes", header.kind, header.len);
}

fn longest(cap: usize) -> String {
    "n".repeat(cap)
}

fn longest_entry() -> Entry {
    let modified = Some(Modified { seconds: i64::MIN, nanos: 999_999_999 });
    Entry { kind: EntryKind::File, path: longest(PATH_CAP), size: None, holes: 0, modified }
}

fn shortest_entry() -> Entry {
    Entry { kind: EntryKind::File, path: String::new(), size: Some(0), holes: 0, modified: None }
}

#[test]
fn the_largest_message_of_each_kind_fits_its_frame() {
    let versions: Vec<u16> = (0..VERSIONS_CAP as u16).collect();
    fits(&Open {
        versions: versions.clone(),
        method: Method::Lane { session: [0xff; 16], lane: LANE_NUMBERS - 1, proof: [0xff; 32] },
    });
    fits(&Open { versions: versions.clone(), method: Method::Resume { key_id: [0xff; 16], proof: [0xff; 32] } });
    fits(&Hello {
        version: VERSION,
        role: Role::Room,
        features: u32::MAX,
        name: longest(NAME_CAP),
        software: longest(NAME_CAP),
    });
    fits(&Offer { transfer: [0; 16], resume_hash: [0; 32], entries: ENTRIES_CAP, bytes: None });
    fits(&Go { session: [0; 16], lanes: LANES_CAP });
    fits(&Pack {
        codec: Codec::Zstd { packed: PACK_LEN as u32 - 1 },
        files: vec![Packed { id: u32::MAX, len: 2048, hash: [0xff; 32] }; PACK_FILES],
    });
    fits(&Withdraw { id: u32::MAX, reason: longest(TEXT_CAP) });
    fits(&NotStored { id: u32::MAX, fault: Fault::Receiver, message: longest(TEXT_CAP) });
    fits(&Refuse { code: RefuseCode::CodeDiffers, versions, text: longest(TEXT_CAP) });
}

fn longest_share() -> Shared {
    Shared { name: longest(NAME_CAP), files: u32::MAX, bytes: u64::MAX, link: OfferLink::new(&longest(LINK_CAP)) }
}

fn longest_member() -> Member {
    Member { number: u32::MAX, key: [0xff; 32], name: longest(NAME_CAP), here: true }
}

#[test]
fn the_longest_message_and_the_fullest_room_fit_their_frames() {
    fits(&Say { turn: u64::MAX, word: Word::Text(longest(MESSAGE_CAP)) });
    fits(&Say { turn: u64::MAX, word: Word::Share(longest_share()) });
    let news = |what| News { number: u64::MAX, time_ms: u64::MAX, by: u32::MAX, turn: u64::MAX, what };
    fits(&news(What::Text(longest(MESSAGE_CAP))));
    fits(&news(What::Shared { offer: u32::MAX, shared: longest_share() }));
    fits(&news(What::Joined(longest_member())));
    let standing = Standing { offer: u32::MAX, by: u32::MAX, shared: longest_share() };
    fits(&Welcome {
        you: u32::MAX,
        seen: u64::MAX,
        missed: u64::MAX,
        heard: u64::MAX,
        members: vec![longest_member(); MEMBERS_CAP],
        offers: vec![standing; OFFERS_CAP],
    });
}

#[test]
fn the_link_of_an_offer_is_in_no_debug_output() {
    let shared = Shared { name: "x".into(), files: 1, bytes: 1, link: OfferLink::new("qrdrop://very-secret") };
    let said = format!("{shared:?}");
    assert!(said.contains("OfferLink(<secret>)") && !said.contains("very-secret"), "{said}");
}

#[test]
fn a_piece_is_as_large_as_its_cap_says_and_no_larger() {
    let header = header_of_piece(PIECE_CAP);
    assert_eq!(Header::parse(header), Ok(Header { kind: Kind::Piece, len: PIECE_CAP }));
    let over = Header { kind: Kind::Piece, len: PIECE_CAP + 1 };
    assert!(Header::parse(over.bytes()).is_err());
}

#[test]
fn raw_pieces_are_as_long_as_their_content_compressed_ones_as_they_say_and_zeros_have_none() {
    assert_eq!(Codec::Raw.wire_len(CHUNK_LEN), CHUNK_LEN);
    assert_eq!(Codec::Zstd { packed: 77 }.wire_len(CHUNK_LEN), 77);
    assert_eq!(Codec::Zeros.wire_len(CHUNK_LEN), 0);
}

#[test]
fn every_cap_can_be_said_in_three_bytes() {
    for kind in Kind::ALL {
        let header = Header { kind, len: kind.cap() };
        assert_eq!(Header::parse(header.bytes()), Ok(header));
    }
}

#[test]
fn a_full_page_of_the_longest_paths_fits_its_frame() {
    fits(&Page { first: 0, entries: vec![longest_entry(); (PAGE_CAP - 8) / longest_entry().encoded_len()] });
    let entries = vec![longest_entry(); 40];
    let pages: Vec<Page> = Page::cut(entries.clone()).collect();
    assert_eq!(pages.len(), 3);
    assert!(pages.iter().all(|page| payload(page).len() <= PAGE_AIM));
    assert!(payload(&pages[0]).len() + longest_entry().encoded_len() > PAGE_AIM, "the first page is full");
    for two in pages.windows(2) {
        assert_eq!(two[1].first, two[0].first + two[0].entries.len() as u32);
    }
    assert_eq!(pages.into_iter().flat_map(|page| page.entries).collect::<Vec<_>>(), entries);
}

#[test]
fn a_full_page_of_the_shortest_entries_fits_its_frame() {
    fits(&Page { first: 0, entries: vec![shortest_entry(); (PAGE_CAP - 8) / shortest_entry().encoded_len()] });
    let most = (PAGE_AIM - 8) / shortest_entry().encoded_len();
    let pages: Vec<Page> = Page::cut(vec![shortest_entry(); most + 1]).collect();
    assert_eq!(pages.iter().map(|page| page.entries.len()).collect::<Vec<_>>(), [most, 1]);
    pages.iter().for_each(fits);
}

#[test]
fn a_path_longer_than_any_page_does_not_stop_the_manifest() {
    let endless = Entry { path: longest(PAGE_CAP + 1), ..shortest_entry() };
    let pages: Vec<Page> = Page::cut([shortest_entry(), endless, shortest_entry()]).take(3).collect();
    assert_eq!(pages.len(), 1);
    let read = Page::decode(&payload(&pages[0])).unwrap();
    assert_eq!(read.entries[1].path, longest(PATH_CAP));
}

#[test]
fn no_entries_make_no_page() {
    assert_eq!(Page::cut([]).count(), 0);
}

#[test]
fn verdicts_are_cut_into_full_pages_that_say_the_same() {
    let most = (PAGE_AIM - 4) / 9;
    let runs: Vec<Run> = (0..=most as u32).map(|first| Run { first, count: 1, verdict: Verdict::Take }).collect();
    let pages: Vec<Verdicts> = Verdicts::cut(runs.clone()).collect();
    assert_eq!(pages.iter().map(|page| page.runs.len()).collect::<Vec<_>>(), [most, 1]);
    pages.iter().for_each(fits);
    assert_eq!(pages.into_iter().flat_map(|page| page.runs).collect::<Vec<_>>(), runs);
}

#[test]
fn the_longest_list_of_ranges_has_a_page_of_its_own() {
    let ranges = (0..RANGES_CAP as u32).map(|index| (2 * index, 1)).collect();
    let run = |first, verdict| Run { first, count: 1, verdict };
    let runs = [run(0, Verdict::Take), run(1, Verdict::TakeRest(ranges)), run(2, Verdict::Have([0; 32]))];
    let pages: Vec<Verdicts> = Verdicts::cut(runs).collect();
    assert_eq!(pages.iter().map(|page| page.runs.len()).collect::<Vec<_>>(), [1, 1, 1]);
    pages.iter().for_each(fits);
}

#[test]
fn as_many_verdicts_as_fit_a_frame_are_understood() {
    let run = |first| Run { first, count: 1, verdict: if first % 2 == 0 { Verdict::Take } else { Verdict::Leave } };
    let most = (PAGE_CAP - 4) / 9;
    fits(&Verdicts { runs: (0..most as u32).map(run).collect() });
}

#[test]
fn as_many_ranges_as_fit_a_frame_are_understood() {
    let most = (PAGE_CAP - 4 - 9 - 4) / 8;
    let ranges = (0..most as u32).map(|index| (2 * index, 1)).collect();
    fits(&Verdicts { runs: vec![Run { first: 0, count: 1, verdict: Verdict::TakeRest(ranges) }] });
}

#[test]
fn as_many_acknowledgements_as_are_allowed_fit_a_frame_under_their_own_names() {
    let item = StoredItem { id: u32::MAX, bytes: u64::MAX, hash: [0xff; 32], name: String::new() };
    fits(&Stored { items: vec![item; STORED_CAP] });
}

#[test]
fn acknowledgements_with_the_longest_names_fit_a_frame_by_their_told_lengths() {
    let item = StoredItem { id: u32::MAX, bytes: u64::MAX, hash: [0xff; 32], name: longest(PATH_CAP) };
    let most = (CONTROL_CAP - 4) / item.encoded_len();
    fits(&Stored { items: vec![item; most] });
}

#[test]
fn a_final_name_over_the_limit_is_cut_and_takes_no_more_than_it_says() {
    let item = StoredItem { id: 0, bytes: 0, hash: [0; 32], name: "é".repeat(PATH_CAP) };
    let told = item.encoded_len();
    let bytes = payload(&Stored { items: vec![item] });
    assert_eq!(bytes.len(), 4 + told);
    assert_eq!(Stored::decode(&bytes).unwrap().items[0].name, "é".repeat(PATH_CAP / 2));
}

#[test]
fn a_text_over_the_limit_is_cut_before_the_character_that_does_not_fit() {
    let message = format!("{}é and more", longest(TEXT_CAP - 1));
    let bytes = payload(&NotStored { id: 0, fault: Fault::Receiver, message });
    assert_eq!(NotStored::decode(&bytes).unwrap().message, longest(TEXT_CAP - 1));
}

/// The list begins after `before` bytes, and its items take `least` bytes each or more. What is said of their number is
/// checked against the bytes that are there before room is made for them, so the error names the list and not the item
/// that is missing.
fn refuses_lying_counts<M: Message + Debug>(what: &'static str, before: usize, cap: usize, least: usize) {
    let refusal = |count: usize, rest: usize| {
        let bytes = [vec![0; before], (count as u32).to_be_bytes().to_vec(), vec![0; rest]].concat();
        M::decode(&bytes).expect_err("there is less than it says")
    };
    assert_eq!(refusal(2, 2 * least - 1), Malformed::Short { what });
    assert_eq!(refusal(cap, 0), Malformed::Short { what });
    assert_eq!(refusal(cap + 1, 0), Malformed::OverCap { what });
    assert_eq!(refusal(u32::MAX as usize, 0), Malformed::OverCap { what });
}

#[test]
fn a_lying_count_is_refused_before_room_is_made_for_it() {
    refuses_lying_counts::<Page>("page", 4, ENTRIES_CAP as usize, 12);
    refuses_lying_counts::<Verdicts>("verdicts", 0, ENTRIES_CAP as usize, 9);
    refuses_lying_counts::<Pack>("pack", 1, PACK_FILES, 40);
    refuses_lying_counts::<Stored>("stored", 0, STORED_CAP, 46);
    refuses_lying_counts::<Welcome>("members", 4 + 3 * 8, MEMBERS_CAP, 39);
    refuses_lying_counts::<Welcome>("offers", 4 + 3 * 8 + 4, OFFERS_CAP, 24);
}

#[test]
fn a_count_times_its_items_cannot_overflow() {
    let bytes = u32::MAX.to_be_bytes();
    let count = Reader::new(&bytes).count(u32::MAX as usize, usize::MAX, "count");
    assert_eq!(count, Err(Malformed::Short { what: "count" }));
}
