use std::sync::LazyLock;

use data_encoding::HEXLOWER;
use serde_json::{Value, json};

use super::*;

static VECTORS: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../../docs/vectors/wire.json")).unwrap());

fn list(of: &str) -> &'static [Value] {
    let list = VECTORS[of].as_array().unwrap();
    assert!(!list.is_empty());
    list
}

fn text<'a>(vector: &'a Value, field: &str) -> &'a str {
    vector[field].as_str().unwrap_or_else(|| panic!("`{field}` is not text in {vector}"))
}

fn frame_of(vector: &Value) -> Vec<u8> {
    HEXLOWER.decode(text(vector, "frame").as_bytes()).unwrap()
}

fn hex(bytes: &[u8]) -> Value {
    HEXLOWER.encode(bytes).into()
}

/// A message as the vectors write it down. Every field is in it, so two messages that look alike are the same.
trait Told {
    fn told(&self) -> Value;
}

/// What a frame holds, as the vectors write it down, and the frame that our own side makes of that.
fn decode(frame: &[u8]) -> Result<(Kind, Value, Vec<u8>), String> {
    let (header, payload) = split(frame).map_err(|error| error.to_string())?;
    assert_eq!(header.len, payload.len(), "the vector is not one whole frame");
    if header.kind == Kind::Piece {
        let again = [&header_of_piece(payload.len())[..], payload].concat();
        return Ok((header.kind, json!({ "bytes": hex(payload) }), again));
    }
    with_message!(header.kind, M => {
        let message = M::decode(payload).map_err(|error| error.to_string())?;
        Ok((header.kind, message.told(), super::frame(&message)))
    })
}

#[test]
fn what_is_malformed_is_refused_for_its_reason() {
    for vector in list("failing") {
        let error = decode(&frame_of(vector)).expect_err(text(vector, "name"));
        assert_eq!(error, text(vector, "error"), "{}", text(vector, "name"));
    }
}

#[test]
fn good_frames_hold_what_is_written_down_and_are_made_of_it_again() {
    for vector in list("good") {
        let name = text(vector, "name");
        let bytes = frame_of(vector);
        let (kind, fields, again) = decode(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(format!("{kind:?}"), text(vector, "message"), "{name}");
        assert_eq!(fields, vector["fields"], "{name}");
        assert_eq!(hex(&again), hex(&bytes), "{name}");
    }
}

#[test]
fn every_kind_has_a_good_vector() {
    for kind in Kind::ALL {
        let name = format!("{kind:?}");
        assert!(list("good").iter().any(|vector| vector["message"] == name.as_str()), "`{name}` has none");
    }
}

#[test]
fn every_vector_has_a_name_of_its_own() {
    let names: Vec<&str> =
        ["failing", "good"].iter().flat_map(|of| list(of)).map(|vector| text(vector, "name")).collect();
    let distinct: std::collections::HashSet<_> = names.iter().collect();
    assert_eq!(distinct.len(), names.len());
}

#[test]
fn the_digest_of_an_offer_is_blake3_of_its_pages() {
    let frame_of = |message: &str| frame_of(list("good").iter().find(|vector| vector["message"] == message).unwrap());
    let digest = blake3::hash(&frame_of("Page")[HEADER_LEN..]);
    assert_eq!(hex(&frame_of("OfferEnd")[HEADER_LEN..]), hex(digest.as_bytes()));
}

#[test]
fn a_refusal_with_a_code_that_nobody_knows_yet_is_still_understood() {
    for vector in list("good").iter().filter(|vector| vector["message"] == "Refuse") {
        let mut bytes = frame_of(vector);
        bytes[HEADER_LEN] = 0xff;
        let mut expected = vector["fields"].clone();
        expected["code"] = 0.into();
        assert_eq!(decode(&bytes).unwrap().1, expected);
    }
}

impl Told for Open {
    fn told(&self) -> Value {
        let versions = &self.versions;
        match &self.method {
            Method::Invite { proof } => json!({ "versions": versions, "method": "invite", "proof": hex(proof) }),
            Method::Resume { key_id, proof } => {
                json!({ "versions": versions, "method": "resume", "key_id": hex(key_id), "proof": hex(proof) })
            }
            Method::Code => json!({ "versions": versions, "method": "code" }),
            Method::Device => json!({ "versions": versions, "method": "device" }),
            Method::Lane { session, lane, proof } => json!({
                "versions": versions, "method": "lane", "session": hex(session), "lane": lane, "proof": hex(proof)
            }),
        }
    }
}

macro_rules! told_as_bytes {
    ($($name:ident)+) => {
        $(impl Told for $name {
            fn told(&self) -> Value {
                json!({ "bytes": hex(&self.0) })
            }
        })+
    };
}
told_as_bytes!(Proof Commit Nonce Reveal);

macro_rules! told_as_nothing {
    ($($name:ident)+) => {
        $(impl Told for $name {
            fn told(&self) -> Value {
                json!({})
            }
        })+
    };
}
told_as_nothing!(LaneEnd Taken Ping Bye);

impl Told for Confirm {
    fn told(&self) -> Value {
        json!({ "same": self.same })
    }
}

impl Told for Hello {
    fn told(&self) -> Value {
        let role = match self.role {
            Role::Sends => "sends",
            Role::Fetches => "fetches",
            Role::Joins => "joins",
            Role::Inbox => "inbox",
            Role::Outbox => "outbox",
            Role::Room => "room",
        };
        json!({
            "version": self.version, "role": role, "features": self.features, "name": self.name,
            "software": self.software
        })
    }
}

impl Told for Offer {
    fn told(&self) -> Value {
        json!({
            "transfer": hex(&self.transfer), "resume_hash": hex(&self.resume_hash), "entries": self.entries,
            "bytes": self.bytes
        })
    }
}

impl Told for Page {
    fn told(&self) -> Value {
        let entries = self.entries.iter().map(|entry| {
            let kind = match entry.kind {
                EntryKind::File => "file",
                EntryKind::Folder => "folder",
                EntryKind::Text => "text",
            };
            let modified = entry.modified.map(|time| json!({ "seconds": time.seconds, "nanos": time.nanos }));
            let mut told = json!({ "kind": kind, "path": entry.path, "size": entry.size, "modified": modified });
            if entry.holes > 0 {
                told["holes"] = entry.holes.into();
            }
            told
        });
        json!({ "first": self.first, "entries": entries.collect::<Vec<_>>() })
    }
}

impl Told for OfferEnd {
    fn told(&self) -> Value {
        json!({ "digest": hex(&self.digest) })
    }
}

impl Told for Verdicts {
    fn told(&self) -> Value {
        let runs = self.runs.iter().map(|Run { first, count, verdict }| match verdict {
            Verdict::Leave => json!({ "first": first, "count": count, "verdict": "leave" }),
            Verdict::Take => json!({ "first": first, "count": count, "verdict": "take" }),
            Verdict::TakeRest(held) => {
                json!({ "first": first, "count": count, "verdict": "take-rest", "held": held })
            }
            Verdict::Have(hash) => json!({ "first": first, "count": count, "verdict": "have", "hash": hex(hash) }),
            Verdict::Stored(hash) => json!({ "first": first, "count": count, "verdict": "stored", "hash": hex(hash) }),
        });
        json!({ "runs": runs.collect::<Vec<_>>() })
    }
}

impl Told for Go {
    fn told(&self) -> Value {
        json!({ "session": hex(&self.session), "lanes": self.lanes })
    }
}

impl Told for Codec {
    fn told(&self) -> Value {
        match self {
            Codec::Raw => "raw".into(),
            Codec::Zstd { packed } => json!({ "zstd": packed }),
            Codec::Zeros => "zeros".into(),
        }
    }
}

impl Told for Chunk {
    fn told(&self) -> Value {
        json!({ "id": self.id, "offset": self.offset, "len": self.len, "codec": self.codec.told() })
    }
}

impl Told for ChunkEnd {
    fn told(&self) -> Value {
        json!({ "subtree": hex(&self.subtree) })
    }
}

impl Told for FileEnd {
    fn told(&self) -> Value {
        json!({ "id": self.id, "size": self.size, "root": hex(&self.root) })
    }
}

impl Told for Pack {
    fn told(&self) -> Value {
        let file = |file: &Packed| json!({ "id": file.id, "len": file.len, "hash": hex(&file.hash) });
        json!({ "codec": self.codec.told(), "files": self.files.iter().map(file).collect::<Vec<_>>() })
    }
}

impl Told for Withdraw {
    fn told(&self) -> Value {
        json!({ "id": self.id, "reason": self.reason })
    }
}

impl Told for Stored {
    fn told(&self) -> Value {
        let items = self
            .items
            .iter()
            .map(|item| json!({ "id": item.id, "bytes": item.bytes, "hash": hex(&item.hash), "name": item.name }));
        json!({ "items": items.collect::<Vec<_>>() })
    }
}

impl Told for NotStored {
    fn told(&self) -> Value {
        let fault = match self.fault {
            Fault::Sender => "sender",
            Fault::DiskFull => "disk-full",
            Fault::Receiver => "receiver",
        };
        json!({ "id": self.id, "fault": fault, "message": self.message })
    }
}

impl Told for Finished {
    fn told(&self) -> Value {
        json!({ "files": self.files, "bytes": self.bytes })
    }
}

impl Told for LaneLost {
    fn told(&self) -> Value {
        json!({ "lane": self.lane })
    }
}

impl Told for Join {
    fn told(&self) -> Value {
        json!({ "seen": self.seen })
    }
}

impl Told for Seen {
    fn told(&self) -> Value {
        json!({ "number": self.number })
    }
}

fn member(member: &Member) -> Value {
    json!({ "number": member.number, "key": hex(&member.key), "name": member.name, "here": member.here })
}

fn shared(shared: &Shared) -> Value {
    json!({ "name": shared.name, "files": shared.files, "bytes": shared.bytes, "link": shared.link.as_str() })
}

impl Told for Welcome {
    fn told(&self) -> Value {
        let offer = |standing: &Standing| json!({ "offer": standing.offer, "by": standing.by, "shared": shared(&standing.shared) });
        json!({
            "you": self.you, "seen": self.seen, "missed": self.missed, "heard": self.heard,
            "members": self.members.iter().map(member).collect::<Vec<_>>(),
            "offers": self.offers.iter().map(offer).collect::<Vec<_>>()
        })
    }
}

impl Told for Say {
    fn told(&self) -> Value {
        let turn = self.turn;
        match &self.word {
            Word::Text(text) => json!({ "turn": turn, "word": "text", "text": text }),
            Word::Share(what) => json!({ "turn": turn, "word": "share", "shared": shared(what) }),
            Word::Withdraw(offer) => json!({ "turn": turn, "word": "withdraw", "offer": offer }),
        }
    }
}

impl Told for News {
    fn told(&self) -> Value {
        let mut told = json!({ "number": self.number, "time": self.time_ms, "by": self.by, "turn": self.turn });
        let what = match &self.what {
            What::Text(text) => json!({ "what": "text", "text": text }),
            What::Shared { offer, shared: what } => json!({ "what": "shared", "offer": offer, "shared": shared(what) }),
            What::Withdrawn(offer) => json!({ "what": "withdrawn", "offer": offer }),
            What::Joined(who) => json!({ "what": "joined", "member": member(who) }),
            What::Left => json!({ "what": "left" }),
        };
        told.as_object_mut().unwrap().extend(what.as_object().unwrap().clone());
        told
    }
}

impl Told for Refuse {
    fn told(&self) -> Value {
        json!({ "code": self.code as u8, "versions": self.versions, "text": self.text })
    }
}
