//! What is said in a room, and by whom (protocol.md 12).

use std::fmt;

use zeroize::Zeroizing;

use super::caps::{LINK_CAP, MEMBERS_CAP, MESSAGE_CAP, NAME_CAP, OFFERS_CAP};
use super::codec::{Malformed, Message, Reader, cut_len, put_count, put_string};
use super::frame::Kind;

/// A guest takes its seat, for the first time or again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    /// The last number that it has seen; 0: it doesn't know, and takes what it never said it had seen.
    pub seen: u64,
}

impl Message for Join {
    const KIND: Kind = Kind::Join;

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.seen.to_be_bytes());
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Join { seen: reader.u64("seen")? })
    }
}

/// Somebody in the room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Counts up from 0, which is the host; never given twice.
    pub number: u32,
    /// Fingerprint of its key, which is who it is.
    pub key: [u8; 32],
    /// What it calls itself; hostile text until it was made inert.
    pub name: String,
    /// Whether it is here; who is not may still be the sayer of something that follows.
    pub here: bool,
}

impl Member {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.number.to_be_bytes());
        out.extend_from_slice(&self.key);
        put_string(out, &self.name, NAME_CAP);
        out.push(u8::from(self.here));
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Member {
            number: reader.u32("member")?,
            key: reader.array("key")?,
            name: reader.string(NAME_CAP, "name")?,
            here: reader.bool("here")?,
        })
    }
}

/// A link to an outbox, which holds a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct OfferLink(Zeroizing<String>);

impl OfferLink {
    /// Keeps `link`; at most [`LINK_CAP`] bytes of it are sent.
    pub fn new(link: &str) -> OfferLink {
        OfferLink(Zeroizing::new(link.to_owned()))
    }

    /// The link; empty where only this process can hand out what is offered.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for OfferLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OfferLink(<secret>)")
    }
}

/// Files that a member offers to everybody in the room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shared {
    /// What they are called, in a few words; hostile text until it was made inert.
    pub name: String,
    /// How many files.
    pub files: u32,
    /// Their bytes.
    pub bytes: u64,
    /// The outbox that has them.
    pub link: OfferLink,
}

impl Shared {
    fn encode(&self, out: &mut Vec<u8>) {
        put_string(out, &self.name, NAME_CAP);
        out.extend_from_slice(&self.files.to_be_bytes());
        out.extend_from_slice(&self.bytes.to_be_bytes());
        put_string(out, self.link.as_str(), LINK_CAP);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Shared {
            name: reader.string(NAME_CAP, "name")?,
            files: reader.u32("files")?,
            bytes: reader.u64("bytes")?,
            link: OfferLink(Zeroizing::new(reader.string(LINK_CAP, "link")?)),
        })
    }
}

/// An offer that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its number, as people say it.
    pub offer: u32,
    /// Whose it is.
    pub by: u32,
    /// What it is.
    pub shared: Shared,
}

/// The host's answer to [`Join`]: the room as it is. What the guest has not seen yet follows as [`News`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// The guest's own number.
    pub you: u32,
    /// The first number that follows, less one.
    pub seen: u64,
    /// How many before that were said since the guest's last word and are no longer kept.
    pub missed: u64,
    /// The last turn that was heard of this guest: what it said after that, it says again.
    pub heard: u64,
    /// Who is here, and who may be the sayer of what follows.
    pub members: Vec<Member>,
    /// What may be taken.
    pub offers: Vec<Standing>,
}

impl Message for Welcome {
    const KIND: Kind = Kind::Welcome;

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.you.to_be_bytes());
        for number in [self.seen, self.missed, self.heard] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        put_count(out, self.members.len());
        self.members.iter().for_each(|member| member.encode(out));
        put_count(out, self.offers.len());
        for Standing { offer, by, shared } in &self.offers {
            out.extend_from_slice(&offer.to_be_bytes());
            out.extend_from_slice(&by.to_be_bytes());
            shared.encode(out);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let you = reader.u32("you")?;
        let (seen, missed, heard) = (reader.u64("seen")?, reader.u64("missed")?, reader.u64("heard")?);
        let count = reader.count(MEMBERS_CAP, 39, "members")?;
        let members = (0..count).map(|_| Member::read(reader)).collect::<Result<_, _>>()?;
        let count = reader.count(OFFERS_CAP, 24, "offers")?;
        let offers = (0..count).map(|_| {
            Ok(Standing { offer: reader.u32("offer")?, by: reader.u32("member")?, shared: Shared::read(reader)? })
        });
        Ok(Welcome { you, seen, missed, heard, members, offers: offers.collect::<Result<_, _>>()? })
    }
}

/// What a member says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// A message.
    Text(String),
    /// Files for whoever wants them.
    Share(Shared),
    /// An offer of its own is over.
    Withdraw(u32),
}

/// A member says something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Say {
    /// Counts up from 1 for each member, so that what is said again after a cut is told apart.
    pub turn: u64,
    /// What it says.
    pub word: Word,
}

impl Message for Say {
    const KIND: Kind = Kind::Say;

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.turn.to_be_bytes());
        match &self.word {
            Word::Text(text) => {
                out.push(0);
                put_text(out, text);
            }
            Word::Share(shared) => {
                out.push(1);
                shared.encode(out);
            }
            Word::Withdraw(offer) => {
                out.push(2);
                out.extend_from_slice(&offer.to_be_bytes());
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let turn = reader.u64("turn")?;
        let word = match reader.u8("word")? {
            0 => Word::Text(read_text(reader)?),
            1 => Word::Share(Shared::read(reader)?),
            2 => Word::Withdraw(reader.u32("offer")?),
            _ => return Err(Malformed::Value { what: "word" }),
        };
        Ok(Say { turn, word })
    }
}

/// What happened in the room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A message.
    Text(String),
    /// Files may be taken.
    Shared {
        /// The number of the offer.
        offer: u32,
        /// What it is.
        shared: Shared,
    },
    /// An offer is over.
    Withdrawn(u32),
    /// Somebody came.
    Joined(Member),
    /// Somebody left, and its offers with it.
    Left,
}

/// Something that happened, in the one order that everybody sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// Counts up from 1, without a gap.
    pub number: u64,
    /// Milliseconds since 1970 by the host's clock.
    pub time_ms: u64,
    /// The member who did it.
    pub by: u32,
    /// That member's own count of what it said; 0 where it said nothing.
    pub turn: u64,
    /// What.
    pub what: What,
}

impl Message for News {
    const KIND: Kind = Kind::News;

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.number.to_be_bytes());
        out.extend_from_slice(&self.time_ms.to_be_bytes());
        out.extend_from_slice(&self.by.to_be_bytes());
        out.extend_from_slice(&self.turn.to_be_bytes());
        match &self.what {
            What::Text(text) => {
                out.push(0);
                put_text(out, text);
            }
            What::Shared { offer, shared } => {
                out.push(1);
                out.extend_from_slice(&offer.to_be_bytes());
                shared.encode(out);
            }
            What::Withdrawn(offer) => {
                out.push(2);
                out.extend_from_slice(&offer.to_be_bytes());
            }
            What::Joined(member) => {
                out.push(3);
                member.encode(out);
            }
            What::Left => out.push(4),
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(News {
            number: reader.u64("number")?,
            time_ms: reader.u64("time")?,
            by: reader.u32("member")?,
            turn: reader.u64("turn")?,
            what: match reader.u8("what")? {
                0 => What::Text(read_text(reader)?),
                1 => What::Shared { offer: reader.u32("offer")?, shared: Shared::read(reader)? },
                2 => What::Withdrawn(reader.u32("offer")?),
                3 => What::Joined(Member::read(reader)?),
                4 => What::Left,
                _ => return Err(Malformed::Value { what: "what" }),
            },
        })
    }
}

/// A guest has seen everything up to there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The number.
    pub number: u64,
}

impl Message for Seen {
    const KIND: Kind = Kind::Seen;

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.number.to_be_bytes());
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Seen { number: reader.u64("number")? })
    }
}

/// A text that may be longer than a [`put_string`]: 32-bit length, then UTF-8, at most [`MESSAGE_CAP`] bytes.
fn put_text(out: &mut Vec<u8>, text: &str) {
    let text = &text[..cut_len(text, MESSAGE_CAP)];
    put_count(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

fn read_text(reader: &mut Reader<'_>) -> Result<String, Malformed> {
    let len = reader.count(MESSAGE_CAP, 1, "text")?;
    let bytes = reader.take(len, "text")?;
    match std::str::from_utf8(bytes) {
        Ok("") => Err(Malformed::Value { what: "text" }),
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(Malformed::Utf8 { what: "text" }),
    }
}
