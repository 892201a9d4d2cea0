//! One bounds-checked cursor reads the peer's bytes; what is left over is an error (after rustls `msgs/codec.rs`).

use super::frame::Kind;

/// The peer's bytes are not what `docs/protocol.md` says. Always the peer's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The message ended within `what`.
    #[error("message ends within `{what}`")]
    Short {
        /// The field.
        what: &'static str,
    },
    /// Bytes follow the last field.
    #[error("`{count}` bytes after the last field")]
    Leftover {
        /// How many.
        count: usize,
    },
    /// A field holds a value that the protocol doesn't know or allow.
    #[error("bad value in `{what}`")]
    Value {
        /// The field.
        what: &'static str,
    },
    /// A string is not UTF-8.
    #[error("`{what}` is not UTF-8")]
    Utf8 {
        /// The field.
        what: &'static str,
    },
    /// A field is longer or larger than its cap.
    #[error("`{what}` is over its limit")]
    OverCap {
        /// The field.
        what: &'static str,
    },
}

/// A message with its own frame kind.
pub trait Message: Sized {
    /// The frame kind that carries it.
    const KIND: Kind;

    /// Appends the payload, without the frame header.
    fn encode(&self, out: &mut Vec<u8>);

    /// Reads the fields; [`Message::decode`] checks that nothing is left.
    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed>;

    /// Decodes a whole payload.
    fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        let message = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(message)
    }
}

/// The cursor.
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A cursor at the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes }
    }

    /// The next `count` bytes.
    pub fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Malformed::Short { what })?;
        self.rest = rest;
        Ok(taken)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed::Short { what })?;
        self.rest = rest;
        Ok(*taken)
    }

    /// An unsigned byte.
    pub fn u8(&mut self, what: &'static str) -> Result<u8, Malformed> {
        Ok(u8::from_be_bytes(self.array(what)?))
    }

    /// A big-endian 16-bit number.
    pub fn u16(&mut self, what: &'static str) -> Result<u16, Malformed> {
        Ok(u16::from_be_bytes(self.array(what)?))
    }

    /// A big-endian 32-bit number.
    pub fn u32(&mut self, what: &'static str) -> Result<u32, Malformed> {
        Ok(u32::from_be_bytes(self.array(what)?))
    }

    /// A big-endian 64-bit number.
    pub fn u64(&mut self, what: &'static str) -> Result<u64, Malformed> {
        Ok(u64::from_be_bytes(self.array(what)?))
    }

    /// A big-endian signed 64-bit number.
    pub fn i64(&mut self, what: &'static str) -> Result<i64, Malformed> {
        Ok(i64::from_be_bytes(self.array(what)?))
    }

    /// A byte that must be 0 or 1.
    pub fn bool(&mut self, what: &'static str) -> Result<bool, Malformed> {
        match self.u8(what)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed::Value { what }),
        }
    }

    /// A string: 16-bit length, then UTF-8, at most `cap` bytes.
    pub fn string(&mut self, cap: usize, what: &'static str) -> Result<String, Malformed> {
        let len = usize::from(self.u16(what)?);
        if len > cap {
            return Err(Malformed::OverCap { what });
        }
        let bytes = self.take(len, what)?;
        std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| Malformed::Utf8 { what })
    }

    /// A 32-bit count, at most `cap`, of items that take at least `least` bytes each, so that a lying count can't make
    /// us reserve more than the payload could hold.
    pub fn count(&mut self, cap: usize, least: usize, what: &'static str) -> Result<usize, Malformed> {
        let count = self.u32(what)? as usize;
        if count > cap {
            return Err(Malformed::OverCap { what });
        }
        if count.saturating_mul(least) > self.rest.len() {
            return Err(Malformed::Short { what });
        }
        Ok(count)
    }

    /// Leftovers are an error.
    pub fn finish(self) -> Result<(), Malformed> {
        match self.rest.len() {
            0 => Ok(()),
            count => Err(Malformed::Leftover { count }),
        }
    }
}

/// Appends a string as [`Reader::string`] reads it, cut at a character boundary to `cap` bytes.
pub(super) fn put_string(out: &mut Vec<u8>, text: &str, cap: usize) {
    let text = &text[..cut_len(text, cap)];
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// The bytes of `text` that [`put_string`] appends after the length.
pub(super) fn cut_len(text: &str, cap: usize) -> usize {
    text.floor_char_boundary(cap)
}

/// Appends a count as [`Reader::count`] reads it.
pub(super) fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend_from_slice(&(count as u32).to_be_bytes());
}

/// Messages without fields.
macro_rules! no_fields {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name;

        impl $crate::wire::Message for $name {
            const KIND: $crate::wire::Kind = $crate::wire::Kind::$name;

            fn encode(&self, _: &mut Vec<u8>) {}

            fn read(_: &mut $crate::wire::Reader<'_>) -> Result<Self, $crate::wire::Malformed> {
                Ok($name)
            }
        }
    };
}
pub(super) use no_fields;
