//! Every number that bounds what a peer can make us hold, each with its reason.

/// The protocol version this build speaks.
pub const VERSION: u16 = 1;

/// Bytes of a frame header: kind (1) and payload length (3, big-endian).
pub const HEADER_LEN: usize = 4;

/// Before authentication a frame is a few hashes and a short name; a stranger can't make us hold more.
pub const OPENING_CAP: usize = 1024;

/// A manifest or verdict page: large enough for some 100,000 entries a page, small enough to hold one for each peer.
pub const PAGE_CAP: usize = 4 * 1024 * 1024;

/// Acknowledgements and other control messages after authentication.
pub const CONTROL_CAP: usize = 256 * 1024;

/// One piece of bulk data: what a lane reads or writes in one go.
pub const PIECE_CAP: usize = 256 * 1024;

/// A chunk is one whole BLAKE3 subtree, so that it can be verified by itself on any lane in any order.
pub const CHUNK_LEN: u64 = 1024 * 1024;

/// Files in one pack: its header (40 bytes each) stays under 32 KiB, and an empty file still costs something.
pub const PACK_FILES: usize = 512;

/// Data in one pack: as much as one chunk, so that a pack is lost or sent again as cheaply as one.
pub const PACK_LEN: u64 = CHUNK_LEN;

/// Longest relative path in a manifest; the limit of most file systems' path calls.
pub const PATH_CAP: usize = 4096;

/// Entries in one manifest: ids are dense, and a receiver keeps some 100 bytes for each.
pub const ENTRIES_CAP: u32 = 2_000_000;

/// Texts for the receiver's screen, all of one offer together in bytes: a long letter, and held in memory.
pub const SCREEN_CAP: u64 = 64 * 1024;

/// A device name or software string.
pub const NAME_CAP: usize = 255;

/// A sentence for the other person: a refusal, a fault.
pub const TEXT_CAP: usize = 1024;

/// Versions listed in an `open` or `refuse`: room for a long life.
pub const VERSIONS_CAP: usize = 16;

/// Lanes of one transfer; more never paid on any link measured, and each costs a thread on either side.
pub const LANES_CAP: u16 = 16;

/// Numbers of the lanes of one session, each used once: enough for a link that loses one every few seconds.
pub const LANE_NUMBERS: u16 = 1024;

/// A message in a room: as long as a text for a screen.
pub const MESSAGE_CAP: usize = 64 * 1024;

/// Members of a room, those who have just left among them: more than fit a room of people, and one `Welcome` names all.
pub const MEMBERS_CAP: usize = 512;

/// Offers that stand in a room at once; what one `Welcome` can name beside its members.
pub const OFFERS_CAP: usize = 128;

/// A link in a room; those of an invitation have 102 bytes at most.
pub const LINK_CAP: usize = 128;

/// Stored files acknowledged in one frame.
pub const STORED_CAP: usize = 1024;

/// Ranges of chunks in one verdict: as many as fit into its page with their run.
pub const RANGES_CAP: usize = (PAGE_CAP - 17) / 8;
