//! What became of it: stored, not stored, finished, refused, bye (protocol.md 7).

use super::caps::{LANE_NUMBERS, PATH_CAP, STORED_CAP, TEXT_CAP, VERSIONS_CAP};
use super::codec::{Malformed, Message, Reader, cut_len, no_fields, put_count, put_string};
use super::frame::Kind;

/// One file that is whole, checked, durable and in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredItem {
    /// Which entry.
    pub id: u32,
    /// Its bytes.
    pub bytes: u64,
    /// The BLAKE3 that the receiver computed.
    pub hash: [u8; 32],
    /// Its final relative path; empty where it is the one that was offered.
    pub name: String,
}

/// Acknowledges files, many at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// At least one, at most [`STORED_CAP`], within the cap of the frame.
    pub items: Vec<StoredItem>,
}

impl StoredItem {
    /// The bytes that this item takes in its frame.
    pub fn encoded_len(&self) -> usize {
        4 + 8 + 32 + 2 + cut_len(&self.name, PATH_CAP)
    }
}

impl Message for Stored {
    const KIND: Kind = Kind::Stored;

    fn encode(&self, out: &mut Vec<u8>) {
        put_count(out, self.items.len());
        for item in &self.items {
            out.extend_from_slice(&item.id.to_be_bytes());
            out.extend_from_slice(&item.bytes.to_be_bytes());
            out.extend_from_slice(&item.hash);
            put_string(out, &item.name, PATH_CAP);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let count = reader.count(STORED_CAP, 46, "stored")?;
        if count == 0 {
            return Err(Malformed::Value { what: "stored" });
        }
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            items.push(StoredItem {
                id: reader.u32("id")?,
                bytes: reader.u64("bytes")?,
                hash: reader.array("hash")?,
                name: reader.string(PATH_CAP, "name")?,
            });
        }
        Ok(Stored { items })
    }
}

/// Whose fault it is that something was not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The sender withdrew it or sent something else than it said.
    Sender,
    /// The receiver's disk is full.
    DiskFull,
    /// Something else about the receiver's disk.
    Receiver,
}

/// An accepted entry that will not be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotStored {
    /// Which entry.
    pub id: u32,
    /// Whose fault.
    pub fault: Fault,
    /// What happened.
    pub message: String,
}

impl Message for NotStored {
    const KIND: Kind = Kind::NotStored;

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.id.to_be_bytes());
        out.push(match self.fault {
            Fault::Sender => 0,
            Fault::DiskFull => 1,
            Fault::Receiver => 2,
        });
        put_string(out, &self.message, TEXT_CAP);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(NotStored {
            id: reader.u32("id")?,
            fault: match reader.u8("fault")? {
                0 => Fault::Sender,
                1 => Fault::DiskFull,
                2 => Fault::Receiver,
                _ => return Err(Malformed::Value { what: "fault" }),
            },
            message: reader.string(TEXT_CAP, "message")?,
        })
    }
}

/// This end has let go of a lane that did not end as it should. Once both have said so, the sender says again on another
/// lane what was not [`super::Taken`] of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneLost {
    /// Which.
    pub lane: u16,
}

impl Message for LaneLost {
    const KIND: Kind = Kind::LaneLost;

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.lane.to_be_bytes());
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let lane = reader.u16("lane")?;
        if lane >= LANE_NUMBERS {
            return Err(Malformed::OverCap { what: "lane" });
        }
        Ok(LaneLost { lane })
    }
}

/// The receiver's last word: every accepted entry is stored or was named in a [`NotStored`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Files stored.
    pub files: u32,
    /// Their bytes.
    pub bytes: u64,
}

impl Message for Finished {
    const KIND: Kind = Kind::Finished;

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.files.to_be_bytes());
        out.extend_from_slice(&self.bytes.to_be_bytes());
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Finished { files: reader.u32("files")?, bytes: reader.u64("bytes")? })
    }
}

/// Why a session or an offer was refused. An unknown number reads as [`RefuseCode::Other`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum RefuseCode {
    /// Something else; the text says what.
    Other = 0,
    /// A frame that the protocol doesn't allow there.
    Malformed = 1,
    /// No version in common; `versions` lists ours.
    Version = 2,
    /// Wrong or spent token, unknown resume key or session.
    Pairing = 3,
    /// A person said no.
    Declined = 4,
    /// Nobody answered in time.
    NoAnswer = 5,
    /// Nobody could be asked, and no flag answers for them.
    NobodyToAsk = 6,
    /// The disk is full or would be.
    DiskFull = 7,
    /// Over the size limit that the receiver was started with.
    TooLarge = 8,
    /// A name that can't be stored safely.
    Name = 9,
    /// The receiver's folder can't be written.
    Storage = 10,
    /// This host doesn't do what the client came for.
    Role = 11,
    /// The host is leaving, or the person cancelled.
    Cancelled = 12,
    /// Too much is under way.
    Busy = 13,
    /// The code was not confirmed as the same.
    CodeDiffers = 14,
}

impl RefuseCode {
    fn from_byte(byte: u8) -> RefuseCode {
        use RefuseCode::*;
        [
            Other,
            Malformed,
            Version,
            Pairing,
            Declined,
            NoAnswer,
            NobodyToAsk,
            DiskFull,
            TooLarge,
            Name,
            Storage,
            Role,
            Cancelled,
            Busy,
            CodeDiffers,
        ]
        .into_iter()
        .find(|code| *code as u8 == byte)
        .unwrap_or(Other)
    }
}

/// Ends the session; allowed at any time, from either end. Its layout is the same in every version of the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refuse {
    /// Why, for a program.
    pub code: RefuseCode,
    /// The versions that this end speaks.
    pub versions: Vec<u16>,
    /// Why, for a person; hostile text until it was made inert.
    pub text: String,
}

impl Message for Refuse {
    const KIND: Kind = Kind::Refuse;

    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.code as u8);
        out.push(self.versions.len() as u8);
        for version in &self.versions {
            out.extend_from_slice(&version.to_be_bytes());
        }
        put_string(out, &self.text, TEXT_CAP);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let code = RefuseCode::from_byte(reader.u8("code")?);
        let count = usize::from(reader.u8("versions")?);
        if count > VERSIONS_CAP {
            return Err(Malformed::OverCap { what: "versions" });
        }
        let versions = (0..count).map(|_| reader.u16("versions")).collect::<Result<_, _>>()?;
        Ok(Refuse { code, versions, text: reader.string(TEXT_CAP, "text")? })
    }
}

no_fields!(
    /// This end is alive while it has nothing to say; not answered.
    Ping
);
no_fields!(
    /// The sender has read everything that was acknowledged, and leaves.
    Bye
);
