//! What is said before anything is offered: who speaks which version, how it is proven, who is there (protocol.md 4).

use super::caps::{LANE_NUMBERS, NAME_CAP, VERSIONS_CAP};
use super::codec::{Malformed, Message, Reader, put_string};
use super::frame::Kind;

/// The client's first frame. Its layout is the same in every version of the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// Versions that the client speaks, best first; 1 to 16 of them.
    pub versions: Vec<u16>,
    /// How the client means to be recognised.
    pub method: Method,
}

/// How a client proves who it is. `proof` is `pairing::proof` in the client's direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Method {
    /// It holds the token of one of the links.
    Invite {
        /// Proof with the token.
        proof: [u8; 32],
    },
    /// It returns to an interrupted transfer.
    Resume {
        /// First 16 bytes of the SHA-256 of [`super::Offer::resume_hash`]: which partial is meant.
        key_id: [u8; 16],
        /// Proof with that resume hash, which is what both ends have.
        proof: [u8; 32],
    },
    /// Two people compare six digits.
    Code,
    /// Its key, proven by TLS, is remembered here.
    Device,
    /// It is a further connection of a session that is paired already.
    Lane {
        /// From [`super::Go`].
        session: [u8; 16],
        /// 0 and up, each once.
        lane: u16,
        /// Proof with the session's lane secret.
        proof: [u8; 32],
    },
}

impl Message for Open {
    const KIND: Kind = Kind::Open;

    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.versions.len() as u8);
        for version in &self.versions {
            out.extend_from_slice(&version.to_be_bytes());
        }
        match &self.method {
            Method::Invite { proof } => {
                out.push(1);
                out.extend_from_slice(proof);
            }
            Method::Resume { key_id, proof } => {
                out.push(2);
                out.extend_from_slice(key_id);
                out.extend_from_slice(proof);
            }
            Method::Code => out.push(3),
            Method::Device => out.push(4),
            Method::Lane { session, lane, proof } => {
                out.push(5);
                out.extend_from_slice(session);
                out.extend_from_slice(&lane.to_be_bytes());
                out.extend_from_slice(proof);
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let count = usize::from(reader.u8("versions")?);
        if count == 0 || count > VERSIONS_CAP {
            return Err(Malformed::OverCap { what: "versions" });
        }
        let versions = (0..count).map(|_| reader.u16("versions")).collect::<Result<_, _>>()?;
        let method = match reader.u8("method")? {
            1 => Method::Invite { proof: reader.array("proof")? },
            2 => Method::Resume { key_id: reader.array("key id")?, proof: reader.array("proof")? },
            3 => Method::Code,
            4 => Method::Device,
            5 => {
                let session = reader.array("session")?;
                let lane = reader.u16("lane")?;
                if lane >= LANE_NUMBERS {
                    return Err(Malformed::OverCap { what: "lane" });
                }
                Method::Lane { session, lane, proof: reader.array("proof")? }
            }
            _ => return Err(Malformed::Value { what: "method" }),
        };
        Ok(Open { versions, method })
    }
}

/// Messages that are one array of 32 bytes.
macro_rules! thirty_two_bytes {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name(pub [u8; 32]);

        impl Message for $name {
            const KIND: Kind = Kind::$name;

            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.0);
            }

            fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
                reader.array(stringify!($name)).map($name)
            }
        }
    };
}

thirty_two_bytes!(
    /// The server's answer to a proof: the same secret in the server's direction.
    Proof
);
thirty_two_bytes!(
    /// Compared code, first step, from the receiver: a hash that binds its nonce.
    Commit
);
thirty_two_bytes!(
    /// Compared code, second step, from the sender: its nonce.
    Nonce
);
thirty_two_bytes!(
    /// Compared code, third step, from the receiver: the nonce it had committed to.
    Reveal
);

/// Compared code, last step, from both: what the person answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirm {
    /// Whether the person saw the same six digits and said so.
    pub same: bool,
}

impl Message for Confirm {
    const KIND: Kind = Kind::Confirm;

    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.same));
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Confirm { same: reader.bool("same")? })
    }
}

/// What an end of the session is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A client with something to send.
    Sends,
    /// A client that wants what an outbox hosts.
    Fetches,
    /// A client that wants to talk.
    Joins,
    /// A host that takes files.
    Inbox,
    /// A host that gives files.
    Outbox,
    /// A host of a room.
    Room,
}

/// Who is there, said by both ends once each has proven itself, the client first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The version that is spoken from here on; the host's word.
    pub version: u16,
    /// What this end is there for.
    pub role: Role,
    /// Optional abilities; a bit that this build doesn't know is ignored.
    pub features: u32,
    /// The name that this device shows.
    pub name: String,
    /// Program and version, for a bug report.
    pub software: String,
}

impl Hello {
    /// The feature bit of an end whose key is kept, so that it can be remembered.
    pub const LASTING_KEY: u32 = 1;

    /// The feature bit of a host that holds a room, whatever else it is there for.
    pub const ROOM: u32 = 2;

    /// Whether whoever wants to talk is let in here.
    pub fn holds_room(&self) -> bool {
        self.role == Role::Room || self.features & Hello::ROOM != 0
    }

    /// Whether this end will show the same key again.
    pub fn has_lasting_key(&self) -> bool {
        self.features & Hello::LASTING_KEY != 0
    }
}

impl Message for Hello {
    const KIND: Kind = Kind::Hello;

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.version.to_be_bytes());
        out.push(match self.role {
            Role::Sends => 0,
            Role::Fetches => 1,
            Role::Joins => 2,
            Role::Inbox => 3,
            Role::Outbox => 4,
            Role::Room => 5,
        });
        out.extend_from_slice(&self.features.to_be_bytes());
        put_string(out, &self.name, NAME_CAP);
        put_string(out, &self.software, NAME_CAP);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Hello {
            version: reader.u16("version")?,
            role: match reader.u8("role")? {
                0 => Role::Sends,
                1 => Role::Fetches,
                2 => Role::Joins,
                3 => Role::Inbox,
                4 => Role::Outbox,
                5 => Role::Room,
                _ => return Err(Malformed::Value { what: "role" }),
            },
            features: reader.u32("features")?,
            name: reader.string(NAME_CAP, "name")?,
            software: reader.string(NAME_CAP, "software")?,
        })
    }
}
