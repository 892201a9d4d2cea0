use std::fmt::Debug;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

/// The message comes back from its frame as it was, and the frame is within its cap.
fn comes_back<M: Message + PartialEq + Debug>(message: &M) -> Result<(), TestCaseError> {
    let bytes = frame(message);
    let (header, payload) = split(&bytes).map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert_eq!(header, Header { kind: M::KIND, len: payload.len() });
    let decoded = M::decode(payload);
    prop_assert_eq!(decoded.as_ref(), Ok(message));
    Ok(())
}

fn text(cap: usize) -> impl Strategy<Value = String> {
    prop_oneof![".{0,24}", Just("é".repeat(cap / 2)), Just("n".repeat(cap))]
}

/// The largest number stands for an unknown size.
fn size() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![Just(None), (0..u64::MAX).prop_map(Some), Just(Some(u64::MAX - 1))]
}

fn versions(least: usize) -> impl Strategy<Value = Vec<u16>> {
    vec(any::<u16>(), least..=VERSIONS_CAP)
}

fn open() -> impl Strategy<Value = Open> {
    let method = prop_oneof![
        any::<[u8; 32]>().prop_map(|proof| Method::Invite { proof }),
        any::<([u8; 16], [u8; 32])>().prop_map(|(key_id, proof)| Method::Resume { key_id, proof }),
        Just(Method::Code),
        Just(Method::Device),
        (any::<([u8; 16], [u8; 32])>(), 0..LANE_NUMBERS).prop_map(|((session, proof), lane)| Method::Lane {
            session,
            lane,
            proof
        }),
    ];
    (versions(1), method).prop_map(|(versions, method)| Open { versions, method })
}

fn hello() -> impl Strategy<Value = Hello> {
    let role = select(vec![Role::Sends, Role::Fetches, Role::Joins, Role::Inbox, Role::Outbox, Role::Room]);
    (any::<u16>(), role, any::<u32>(), text(NAME_CAP), text(NAME_CAP))
        .prop_map(|(version, role, features, name, software)| Hello { version, role, features, name, software })
}

fn offer() -> impl Strategy<Value = Offer> {
    (any::<([u8; 16], [u8; 32])>(), 1..=ENTRIES_CAP, size())
        .prop_map(|((transfer, resume_hash), entries, bytes)| Offer { transfer, resume_hash, entries, bytes })
}

fn entry() -> impl Strategy<Value = Entry> {
    let modified = (any::<i64>(), 0..1_000_000_000u32).prop_map(|(seconds, nanos)| Modified { seconds, nanos });
    let kind_and_size = prop_oneof![
        size().prop_map(|size| (EntryKind::File, size)),
        size().prop_map(|size| (EntryKind::Text, size)),
        Just((EntryKind::Folder, Some(0))),
    ];
    (kind_and_size, text(PATH_CAP), option::of(modified)).prop_map(|((kind, size), path, modified)| Entry {
        kind,
        holes: if kind == EntryKind::File { size.map_or(0, |size| size / 3) } else { 0 },
        path,
        size,
        modified,
    })
}

fn page() -> impl Strategy<Value = Page> {
    (any::<u32>(), vec(entry(), 1..12)).prop_map(|(first, entries)| Page { first, entries })
}

/// Gaps and lengths of at least one, so that no two ranges touch.
fn ranges() -> impl Strategy<Value = Vec<(u32, u32)>> {
    vec((1..100_000u32, 1..100_000u32), 0..20).prop_map(|steps| {
        let mut end = 0;
        let range = |(gap, count)| {
            let first = end + gap;
            end = first + count;
            (first, count)
        };
        steps.into_iter().map(range).collect()
    })
}

fn verdicts() -> impl Strategy<Value = Verdicts> {
    let run = prop_oneof![
        (any::<bool>(), 1..=u32::MAX)
            .prop_map(|(take, count)| { (if take { Verdict::Take } else { Verdict::Leave }, count) }),
        ranges().prop_map(|ranges| (Verdict::TakeRest(ranges), 1)),
        any::<[u8; 32]>().prop_map(|hash| (Verdict::Have(hash), 1)),
        any::<[u8; 32]>().prop_map(|hash| (Verdict::Stored(hash), 1)),
    ];
    let run = (run, any::<u32>()).prop_map(|((verdict, count), first)| Run {
        first: first.min(u32::MAX - count),
        count,
        verdict,
    });
    vec(run, 1..20).prop_map(|runs| Verdicts { runs })
}

/// For content of `len` bytes: compressed to as many as `part` says, where there is room for less.
fn codec(part: Option<prop::sample::Index>, len: u64) -> Codec {
    match part {
        Some(part) if len > 1 => Codec::Zstd { packed: 1 + part.index(len as usize - 1) as u32 },
        _ => Codec::Raw,
    }
}

fn chunk() -> impl Strategy<Value = Chunk> {
    (any::<u32>(), 0..u64::MAX / CHUNK_LEN, 1..=CHUNK_LEN as u32, option::of(any::<prop::sample::Index>())).prop_map(
        |(id, index, len, part)| {
            let codec = if id % 5 == 0 { Codec::Zeros } else { codec(part, u64::from(len)) };
            Chunk { id, offset: index * CHUNK_LEN, len, codec }
        },
    )
}

fn pack() -> impl Strategy<Value = Pack> {
    let len = (PACK_LEN as usize / PACK_FILES) as u32;
    let packed = (any::<u32>(), 0..=len, any::<[u8; 32]>()).prop_map(|(id, len, hash)| Packed { id, len, hash });
    (vec(packed, 1..=PACK_FILES), option::of(any::<prop::sample::Index>())).prop_map(|(files, part)| {
        let mut pack = Pack { codec: Codec::Raw, files };
        pack.codec = codec(part, pack.bytes());
        pack
    })
}

fn stored() -> impl Strategy<Value = Stored> {
    let item = (any::<u32>(), any::<u64>(), any::<[u8; 32]>(), text(PATH_CAP))
        .prop_map(|(id, bytes, hash, name)| StoredItem { id, bytes, hash, name });
    vec(item, 1..40).prop_map(|items| Stored { items })
}

fn not_stored() -> impl Strategy<Value = NotStored> {
    let fault = select(vec![Fault::Sender, Fault::DiskFull, Fault::Receiver]);
    (any::<u32>(), fault, text(TEXT_CAP)).prop_map(|(id, fault, message)| NotStored { id, fault, message })
}

fn refuse() -> impl Strategy<Value = Refuse> {
    let code = (0..=RefuseCode::CodeDiffers as u8)
        .prop_map(|number| Refuse::decode(&[number, 0, 0, 0]).expect("no versions and no text").code);
    (code, versions(0), text(TEXT_CAP)).prop_map(|(code, versions, text)| Refuse { code, versions, text })
}

fn shared() -> impl Strategy<Value = Shared> {
    (text(NAME_CAP), any::<u32>(), any::<u64>(), text(LINK_CAP)).prop_map(|(name, files, bytes, link)| Shared {
        name,
        files,
        bytes,
        link: OfferLink::new(&link),
    })
}

fn member() -> impl Strategy<Value = Member> {
    (any::<u32>(), any::<[u8; 32]>(), text(NAME_CAP), any::<bool>()).prop_map(|(number, key, name, here)| Member {
        number,
        key,
        name,
        here,
    })
}

fn welcome() -> impl Strategy<Value = Welcome> {
    let standing =
        (any::<u32>(), any::<u32>(), shared()).prop_map(|(offer, by, shared)| Standing { offer, by, shared });
    (any::<(u32, u64, u64, u64)>(), vec(member(), 0..8), vec(standing, 0..8))
        .prop_map(|((you, seen, missed, heard), members, offers)| Welcome { you, seen, missed, heard, members, offers })
}

fn message() -> impl Strategy<Value = String> {
    prop_oneof![".{1,24}", Just("é".repeat(MESSAGE_CAP / 2)), Just("n".repeat(MESSAGE_CAP))]
}

fn say() -> impl Strategy<Value = Say> {
    let word = prop_oneof![
        message().prop_map(Word::Text),
        shared().prop_map(Word::Share),
        any::<u32>().prop_map(Word::Withdraw)
    ];
    (any::<u64>(), word).prop_map(|(turn, word)| Say { turn, word })
}

fn news() -> impl Strategy<Value = News> {
    let what = prop_oneof![
        message().prop_map(What::Text),
        (any::<u32>(), shared()).prop_map(|(offer, shared)| What::Shared { offer, shared }),
        any::<u32>().prop_map(What::Withdrawn),
        member().prop_map(What::Joined),
        Just(What::Left)
    ];
    (any::<(u64, u64, u32, u64)>(), what).prop_map(|((number, time_ms, by, turn), what)| News {
        number,
        time_ms,
        by,
        turn,
        what,
    })
}

/// A frame of any kind with a message.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    fn framed<M: Message + Debug>(messages: impl Strategy<Value = M> + 'static) -> BoxedStrategy<Vec<u8>> {
        messages.prop_map(|message| frame(&message)).boxed()
    }
    prop_oneof![
        framed(open()),
        framed(any::<[u8; 32]>().prop_map(Proof)),
        framed(any::<bool>().prop_map(|same| Confirm { same })),
        framed(hello()),
        framed(offer()),
        framed(page()),
        framed(verdicts()),
        framed(any::<[u8; 16]>().prop_map(|session| Go { session, lanes: 1 })),
        framed(chunk()),
        framed(pack()),
        framed(stored()),
        framed(not_stored()),
        framed(refuse()),
        framed(any::<u64>().prop_map(|seen| Join { seen })),
        framed(welcome()),
        framed(say()),
        framed(news()),
        framed(any::<u64>().prop_map(|number| Seen { number })),
    ]
}

proptest! {
    #[test]
    fn what_is_said_in_a_room_comes_back(say in say(), news in news(), welcome in welcome()) {
        comes_back(&say)?;
        comes_back(&news)?;
        comes_back(&welcome)?;
    }

    #[test]
    fn an_open_comes_back(message in open()) {
        comes_back(&message)?;
    }

    #[test]
    fn messages_of_one_array_come_back(bytes in any::<[u8; 32]>()) {
        comes_back(&Proof(bytes))?;
        comes_back(&Commit(bytes))?;
        comes_back(&Nonce(bytes))?;
        comes_back(&Reveal(bytes))?;
        comes_back(&OfferEnd { digest: bytes })?;
        comes_back(&ChunkEnd { subtree: bytes })?;
    }

    #[test]
    fn a_hello_comes_back(message in hello()) {
        comes_back(&message)?;
    }

    #[test]
    fn an_offer_comes_back(message in offer()) {
        comes_back(&message)?;
    }

    #[test]
    fn a_page_comes_back(message in page()) {
        comes_back(&message)?;
    }

    #[test]
    fn verdicts_come_back(message in verdicts()) {
        comes_back(&message)?;
    }

    #[test]
    fn a_go_comes_back(session in any::<[u8; 16]>(), lanes in 1..=LANES_CAP) {
        comes_back(&Go { session, lanes })?;
    }

    #[test]
    fn a_chunk_comes_back(message in chunk()) {
        comes_back(&message)?;
    }

    #[test]
    fn a_file_end_comes_back(id in any::<u32>(), size in any::<u64>(), root in any::<[u8; 32]>()) {
        comes_back(&FileEnd { id, size, root })?;
    }

    #[test]
    fn a_pack_comes_back(message in pack()) {
        comes_back(&message)?;
    }

    #[test]
    fn a_withdraw_comes_back(id in any::<u32>(), reason in text(TEXT_CAP)) {
        comes_back(&Withdraw { id, reason })?;
    }

    #[test]
    fn a_stored_comes_back(message in stored()) {
        comes_back(&message)?;
    }

    #[test]
    fn a_not_stored_comes_back(message in not_stored()) {
        comes_back(&message)?;
    }

    #[test]
    fn a_finished_comes_back(files in any::<u32>(), bytes in any::<u64>()) {
        comes_back(&Finished { files, bytes })?;
    }

    #[test]
    fn a_lost_lane_comes_back(lane in 0..LANE_NUMBERS) {
        comes_back(&LaneLost { lane })?;
    }

    #[test]
    fn a_refuse_comes_back(message in refuse()) {
        comes_back(&message)?;
    }

    #[test]
    fn a_manifest_comes_back_from_its_pages(entries in vec(entry(), 0..40)) {
        let mut read = Vec::new();
        for page in Page::cut(entries.clone()) {
            comes_back(&page)?;
            prop_assert_eq!(page.first as usize, read.len());
            read.extend(page.entries);
        }
        prop_assert_eq!(read, entries);
    }

    #[test]
    fn the_lengths_told_are_those_of_the_bytes(entry in entry(), message in stored()) {
        let page = Page { first: 0, entries: vec![entry] };
        prop_assert_eq!(payload(&page).len(), 4 + 4 + page.entries[0].encoded_len());
        let told: usize = message.items.iter().map(StoredItem::encoded_len).sum();
        prop_assert_eq!(payload(&message).len(), 4 + told);
    }

    #[test]
    fn a_text_of_any_length_is_cut_to_what_can_be_read(text in "\\PC{0,1500}", id in any::<u32>()) {
        let bytes = frame(&NotStored { id, fault: Fault::Sender, message: text.clone() });
        let read = NotStored::decode(split(&bytes).unwrap().1).unwrap().message;
        prop_assert!(text.starts_with(&read));
        prop_assert!(read == text || read.len() + 4 > TEXT_CAP, "{} of {} bytes", read.len(), text.len());
    }

    #[test]
    fn any_header_is_read_or_refused(bytes in any::<[u8; HEADER_LEN]>()) {
        if let Ok(header) = Header::parse(bytes) {
            prop_assert!(header.len <= header.kind.cap());
            prop_assert_eq!(header.bytes(), bytes);
        }
    }

    #[test]
    fn any_payload_is_read_or_refused(
        kind in select(kinds_of_messages().collect::<Vec<_>>()),
        bytes in vec(prop_oneof![Just(0u8), Just(1), Just(0xff), any::<u8>()], 0..200),
    ) {
        oracle::canonical(kind, &bytes);
    }

    #[test]
    fn a_good_frame_with_bytes_changed_is_read_or_refused(
        mut bytes in any_frame(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let kind = split(&bytes).unwrap().0.kind;
        bytes.drain(..HEADER_LEN);
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        oracle::canonical(kind, &bytes);
    }

    #[test]
    fn a_good_frame_cut_anywhere_is_refused(bytes in any_frame(), cut in any::<prop::sample::Index>()) {
        let (header, payload) = split(&bytes).unwrap();
        let payload = &payload[..cut.index(payload.len())];
        with_message!(header.kind, M => {
            let short = matches!(M::decode(payload), Err(Malformed::Short { .. }));
            prop_assert!(short);
        });
    }

    #[test]
    fn a_good_frame_with_more_behind_it_is_refused(bytes in any_frame(), more in vec(any::<u8>(), 1..40)) {
        let (header, payload) = split(&bytes).unwrap();
        let longer = [payload, &more].concat();
        with_message!(header.kind, M => {
            prop_assert_eq!(M::decode(&longer).err(), Some(Malformed::Leftover { count: more.len() }));
        });
    }
}
