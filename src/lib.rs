//! qrdrop moves files across a room: the receiver draws a QR code, the sender scans it.
//!
//! # The rooms, and what each may import
//!
//! Imports go down only; `tests/layers.rs` holds every `use crate::` line against this table.
//!
//! | floor | room | lives there | may import |
//! | --- | --- | --- | --- |
//! | 0 | `wire` | the header-plus-chunks protocol: bytes <-> messages, every cap with its reason | |
//! | 0 | `classic` | the tutorial's header, and the rule that solves it at the end of the stream | |
//! | 0 | `names` | strings that came from somebody else, and how they are shown | |
//! | 0 | `confine` | the process held by the kernel to the places it needs | |
//! | 0 | `roll` | lists of a million entries, held small | |
//! | 1 | `events` | all that the core may tell or ask a person | names |
//! | 1 | `optimize` | pictures and PDFs made smaller, each file in a process of its own | confine |
//! | 1 | `store` | the disk: walk what is offered; confined writing, putting in place | names roll |
//! | 1 | `pairing` | invitation <-> link, identity, pinned TLS, token proof, compared code | |
//! | 2 | `automation` | what happens by itself: the transfer log, a command for each stored file | names confine events store |
//! | 2 | `net` | addresses worth a QR, listen and sniff, dial, discovery | wire classic names pairing |
//! | 3 | `doctor` | what stands between this machine and the room: facts, judged, with what to do | names events net |
//! | 3 | `transfer` | the data plane: lanes, chunks, hash tree | wire names roll store events |
//! | 3 | `room` | the chat room: who is in it, the one order of what is said, what a person types | wire names events |
//! | 4 | `session` | the control plane of one paired connection: offer, accept, stored | wire classic names roll events store pairing net transfer room |
//! | 5 | `web` | the web dialect: the page, its sealed requests, curl | wire names roll events store pairing net transfer room session |
//! | 6 | `ui` | the person: the sole owner of standard output and error | names events |
//! | 7 | `cli` | arguments -> decisions -> wiring; errors -> text, hint, exit code | wire classic names confine roll events store pairing net doctor transfer room session web ui automation optimize |
//! | 8 | `oracles` | in tests and fuzz targets alone: what holds of every parser, whatever the bytes | wire classic names net pairing store optimize transfer room session web ui cli |

pub mod automation;
pub mod classic;
pub mod cli;
pub mod confine;
pub mod doctor;
pub mod events;
pub mod names;
pub mod net;
pub mod optimize;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod oracles;
pub mod pairing;
pub mod roll;
pub mod room;
pub mod session;
pub mod store;
pub mod transfer;
pub mod ui;
pub mod web;
pub mod wire;
