//! What passes over a lane: chunks and packs of accepted entries (protocol.md 6).

use super::caps::{CHUNK_LEN, PACK_FILES, PACK_LEN, TEXT_CAP};
use super::codec::{Malformed, Message, Reader, no_fields, put_count, put_string};
use super::frame::Kind;

/// How the pieces of a chunk or pack are coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// As they are.
    Raw,
    /// All of them together are one zstd frame (RFC 8878).
    Zstd {
        /// Its bytes: at least one, and fewer than it holds.
        packed: u32,
    },
    /// Nothing follows: every byte is zero. A chunk of a hole; no pack is.
    Zeros,
}

impl Codec {
    /// The bytes in all pieces of content of `len` bytes.
    pub fn wire_len(self, len: u64) -> u64 {
        match self {
            Codec::Raw => len,
            Codec::Zstd { packed } => u64::from(packed),
            Codec::Zeros => 0,
        }
    }

    fn encode(self, out: &mut Vec<u8>) {
        match self {
            Codec::Raw => out.push(0),
            Codec::Zstd { packed } => {
                out.push(1);
                out.extend_from_slice(&packed.to_be_bytes());
            }
            Codec::Zeros => out.push(2),
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        match reader.u8("codec")? {
            0 => Ok(Codec::Raw),
            1 => Ok(Codec::Zstd { packed: reader.u32("packed")? }),
            2 => Ok(Codec::Zeros),
            _ => Err(Malformed::Value { what: "codec" }),
        }
    }

    /// What is compressed is never as long as what it holds, so a codec can't make a peer read more.
    fn must_shrink(self, len: u64) -> Result<Self, Malformed> {
        match self {
            Codec::Zstd { packed } if packed == 0 || u64::from(packed) >= len => {
                Err(Malformed::OverCap { what: "packed" })
            }
            codec => Ok(codec),
        }
    }
}

/// Begins a chunk; [`Kind::Piece`] frames with its bytes follow, then [`ChunkEnd`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Which entry.
    pub id: u32,
    /// Where it begins in the file; a multiple of [`CHUNK_LEN`].
    pub offset: u64,
    /// Its bytes once decoded, 1 to [`CHUNK_LEN`]; less than that only at the end of the file.
    pub len: u32,
    /// How the pieces are coded.
    pub codec: Codec,
}

impl Message for Chunk {
    const KIND: Kind = Kind::Chunk;

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.id.to_be_bytes());
        out.extend_from_slice(&self.offset.to_be_bytes());
        out.extend_from_slice(&self.len.to_be_bytes());
        self.codec.encode(out);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let id = reader.u32("id")?;
        let offset = reader.u64("offset")?;
        let len = reader.u32("len")?;
        let codec = Codec::read(reader)?;
        if !offset.is_multiple_of(CHUNK_LEN) || offset.checked_add(CHUNK_LEN).is_none() {
            return Err(Malformed::Value { what: "offset" });
        }
        if len == 0 || u64::from(len) > CHUNK_LEN {
            return Err(Malformed::OverCap { what: "len" });
        }
        Ok(Chunk { id, offset, len, codec: codec.must_shrink(u64::from(len))? })
    }
}

/// Ends a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkEnd {
    /// Chaining value of the chunk's BLAKE3 subtree; for a file of at most one chunk its ordinary hash.
    pub subtree: [u8; 32],
}

impl Message for ChunkEnd {
    const KIND: Kind = Kind::ChunkEnd;

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.subtree);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(ChunkEnd { subtree: reader.array("subtree")? })
    }
}

/// Every chunk of a file was sent, or it has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEnd {
    /// Which entry.
    pub id: u32,
    /// Its bytes.
    pub size: u64,
    /// BLAKE3 of the whole file.
    pub root: [u8; 32],
}

impl Message for FileEnd {
    const KIND: Kind = Kind::FileEnd;

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.id.to_be_bytes());
        out.extend_from_slice(&self.size.to_be_bytes());
        out.extend_from_slice(&self.root);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(FileEnd { id: reader.u32("id")?, size: reader.u64("size")?, root: reader.array("root")? })
    }
}

/// One whole small file in a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// Which entry.
    pub id: u32,
    /// Its bytes.
    pub len: u32,
    /// Its BLAKE3.
    pub hash: [u8; 32],
}

/// Begins many small files; [`Kind::Piece`] frames with their bytes, one file after the other, follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pack {
    /// How the pieces are coded.
    pub codec: Codec,
    /// At least one, at most [`PACK_FILES`], together at most [`PACK_LEN`] bytes.
    pub files: Vec<Packed>,
}

impl Pack {
    /// The bytes of all its files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| u64::from(file.len)).sum()
    }
}

impl Message for Pack {
    const KIND: Kind = Kind::Pack;

    fn encode(&self, out: &mut Vec<u8>) {
        self.codec.encode(out);
        put_count(out, self.files.len());
        for file in &self.files {
            out.extend_from_slice(&file.id.to_be_bytes());
            out.extend_from_slice(&file.len.to_be_bytes());
            out.extend_from_slice(&file.hash);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let codec = Codec::read(reader)?;
        let count = reader.count(PACK_FILES, 40, "pack")?;
        let mut files = Vec::with_capacity(count);
        for _ in 0..count {
            files.push(Packed { id: reader.u32("id")?, len: reader.u32("len")?, hash: reader.array("hash")? });
        }
        let pack = Pack { codec, files };
        if pack.files.is_empty() || pack.bytes() > PACK_LEN {
            return Err(Malformed::OverCap { what: "pack" });
        }
        if codec == Codec::Zeros {
            return Err(Malformed::Value { what: "codec" });
        }
        codec.must_shrink(pack.bytes())?;
        Ok(pack)
    }
}

/// The sender can't deliver an accepted entry; also in the middle of its chunk, which ends there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withdraw {
    /// Which entry.
    pub id: u32,
    /// Why, for the other person.
    pub reason: String,
}

impl Message for Withdraw {
    const KIND: Kind = Kind::Withdraw;

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.id.to_be_bytes());
        put_string(out, &self.reason, TEXT_CAP);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Withdraw { id: reader.u32("id")?, reason: reader.string(TEXT_CAP, "reason")? })
    }
}

no_fields!(
    /// Nothing more comes on this lane. The receiver echoes it once it has read everything, so that the sender may
    /// close without a reset overtaking its last bytes.
    LaneEnd
);
no_fields!(
    /// The receiver has taken the next of what was said on this lane: a chunk, a pack, the end of a file, a withdrawal.
    /// What it wrote of them outlives the lane.
    Taken
);
