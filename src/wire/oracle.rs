//! What every message must hold, whatever the bytes.

use std::fmt::Debug;

use super::*;

/// Takes a frame of any kind apart and says `then` with its message: `with_message!(kind, payload, M => …)`.
macro_rules! with_message {
    ($kind:expr, $($name:ident)|+, $message:ident => $then:expr) => {
        match $kind {
            $(Kind::$name => { type $message = $name; $then })+
            Kind::Piece => unreachable!("a piece has no fields"),
        }
    };
    ($kind:expr, $message:ident => $then:expr) => {
        with_message!(
            $kind,
            Open | Proof | Commit | Nonce | Reveal | Confirm | Hello | Offer | Page | OfferEnd | Verdicts | Go | Chunk
                | ChunkEnd | FileEnd | Pack | Withdraw | LaneEnd | Taken | Stored | NotStored | Finished | LaneLost | Ping
                | Refuse | Bye | Join | Welcome | Say | News | Seen,
            $message => $then
        )
    };
}
#[cfg(test)]
pub(super) use with_message;

/// A header is its four bytes and within its cap, or refused; what follows is [`canonical`]. The length that the header says
/// need not be that of what follows: it is the reader that sees to it.
pub fn frame(bytes: &[u8]) {
    let Some((header, payload)) = bytes.split_first_chunk() else { return };
    let Ok(read) = Header::parse(*header) else { return };
    assert!(read.len <= read.kind.cap());
    assert_eq!(read.bytes(), *header);
    if read.kind != Kind::Piece && payload.len() <= read.kind.cap() {
        canonical(read.kind, payload);
    }
}

/// A payload is a message that is encoded as just these bytes and within its caps, or it is refused. Only an unknown code
/// of a refusal does not come back.
///
/// Encoding cuts what is longer than its cap, so that a text which is too long is no identity.
pub fn canonical(kind: Kind, payload: &[u8]) {
    if kind == Kind::Refuse && payload.first().is_some_and(|code| *code > RefuseCode::CodeDiffers as u8) {
        let _ = Refuse::decode(payload);
        return;
    }
    with_message!(kind, M => {
        if let Ok(message) = M::decode(payload) {
            comes_back(&message, payload);
        }
    });
    match kind {
        Kind::Page => if_read(payload, |page: Page| {
            assert_eq!(page.entries.iter().map(Entry::encoded_len).sum::<usize>() + 8, payload.len());
            assert!(page.entries.len() <= ENTRIES_CAP as usize);
        }),
        Kind::Verdicts => if_read(payload, |page: Verdicts| {
            assert_eq!(page.runs.iter().map(Run::encoded_len).sum::<usize>() + 4, payload.len());
            page.runs.iter().for_each(ascending);
        }),
        Kind::Stored => if_read(payload, |stored: Stored| {
            assert_eq!(stored.items.iter().map(StoredItem::encoded_len).sum::<usize>() + 4, payload.len());
            assert!((1..=STORED_CAP).contains(&stored.items.len()));
        }),
        Kind::Pack => if_read(payload, |pack: Pack| {
            assert!((1..=PACK_FILES).contains(&pack.files.len()) && pack.bytes() <= PACK_LEN);
            assert!(pack.codec == Codec::Raw || pack.codec.wire_len(pack.bytes()) < pack.bytes());
        }),
        Kind::Chunk => if_read(payload, |chunk: Chunk| {
            assert!(chunk.offset.is_multiple_of(CHUNK_LEN) && (1..=CHUNK_LEN).contains(&chunk.len.into()));
            assert!(chunk.offset.checked_add(chunk.len.into()).is_some());
            assert!(chunk.codec.wire_len(chunk.len.into()) <= chunk.len.into());
        }),
        Kind::Welcome => if_read(payload, |room: Welcome| {
            assert!(room.members.len() <= MEMBERS_CAP && room.offers.len() <= OFFERS_CAP);
        }),
        Kind::Open => if_read(payload, |open: Open| assert!((1..=VERSIONS_CAP).contains(&open.versions.len()))),
        _ => {}
    }
}

fn comes_back<M: Message + PartialEq + Debug>(message: &M, payload: &[u8]) {
    let framed = super::frame(message);
    assert_eq!(&framed[HEADER_LEN..], payload);
    assert_eq!(M::decode(&framed[HEADER_LEN..]).as_ref(), Ok(message));
}

fn if_read<M: Message>(payload: &[u8], holds: impl FnOnce(M)) {
    let _ = M::decode(payload).map(holds);
}

/// Chunks that are held are said in one way: no range touches the next.
fn ascending(run: &Run) {
    assert!(run.count > 0 && run.first.checked_add(run.count).is_some());
    let Verdict::TakeRest(ranges) = &run.verdict else { return };
    assert!(ranges.len() <= RANGES_CAP);
    let ends = ranges.iter().map(|(first, count)| first.checked_add(*count).filter(|_| *count > 0).expect("not empty"));
    assert!(ends.zip(ranges.iter().skip(1)).all(|(end, (next, _))| *next > end));
}
