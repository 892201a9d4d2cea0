//! The disk: every path operation of the program, deletes and clean-up too.
//!
//! # Receiving
//!
//! [`Folder`] is the receive folder, opened once; what is below it is reached by handle, one component at a time, and no
//! symbolic link is followed. [`Folder::begin`] plans one transfer and reserves its space without touching a visible
//! name. Bytes go to a [`PartialFile`] in `.qrdrop-partial/`; [`PartialFile::complete`] turns it into a [`Whole`], and
//! [`Intake::commit`] makes a batch of those durable and puts them in place. The order is fixed, and it is the promise
//! behind "stored": file synced, renamed without replacing, every folder up to the receive folder synced.
//!
//! ```text
//! .qrdrop-partial/            0700, ours, no link; removed when empty
//!     t-<32 hex>/             one transfer, 0700
//!         lock                held while the transfer lives: a free lock means that its process is dead
//!         journal             what came so far, if the transfer can be continued
//!         <16 hex>.part       one file, 0600 until it is whole
//! ```
//!
//! A transfer that is kept ([`Keepsake`]) leaves its area behind when it ends before its time, for seven days.
//! [`Folder::go_on`] under the same key goes on with it: [`Held`] says what is there, which the caller checks before it
//! relies on it.
//!
//! # Sending
//!
//! [`walk`] lists what the named paths hold, and [`SourceFile`] reads one of them and tells when it changed meanwhile.
//!
//! Between a file and a socket that is not encrypted, bytes need not pass through this program:
//! [`SourceFile::send_to`], and [`Pipe`] with [`PartialFile::append_piped`]; [`Pipe::tee`] lets something read along.
//!
//! # The tool's own files
//!
//! [`StateDir`] is the state folder, [`Scratch`] a part of it that lives as long as a command, [`write_secret_file`] the way any secret reaches a disk. [`append`] and
//! [`read_settings`] are for the files that the person names.

mod area;
mod at;
mod complete;
mod direct;
mod error;
mod folder;
mod history;
mod holes;
mod intake;
mod journal;
mod look;
mod moment;
mod named;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod oracle;
mod packed;
mod partial;
mod place;
mod plan;
mod replayed;
mod resume;
mod scratch;
mod source;
mod spool;
mod stash;
mod state;
mod taken;
mod walk;

pub use self::complete::complete_path;
pub use self::direct::{Pipe, SendError, roomy_pipe};
pub use self::error::{Fault, StoreError};
pub use self::folder::{Cleaned, Existing, Folder, Kept};
pub use self::history::History;
pub use self::holes::HOLE_UNIT;
pub use self::intake::{Intake, Placed};
pub use self::journal::Keepsake;
pub use self::moment::{seconds_of, time_at};
pub use self::named::{append, read_settings, settings_path};
pub use self::partial::{PartialFile, Whole};
pub use self::plan::{IfExists, Listing, PlannedEntry, PlannedKind};
pub use self::resume::{Held, HeldPart, StoredBefore};
pub use self::scratch::Scratch;
pub use self::source::{SourceEntry, SourceFile, SourceIdentity, SourceKind, SourceList};
pub use self::spool::{SPOOL_PREFIX, Spool};
pub use self::stash::{Stash, Stashed, contents};
pub use self::state::{StateClaim, StateDir, write_secret_file};
pub use self::walk::{LeftOut, Walk, WalkOptions, walk};

#[cfg(all(test, unix))]
mod tests;
