//! The process, held by the kernel to what its command needs.
//!
//! Everything else in the program that keeps a stranger's file in its folder is our own code, and may have a hole. [`Limits`]
//! are what is left to such a hole: the few places that the process may still read and write, enforced by Landlock
//! (<https://docs.kernel.org/userspace-api/landlock.html>) where Linux has it. They bind the thread that enforces them and
//! what it starts from then on, can't be taken back, and cost nothing once a file is open.
//!
//! What a person names on the command line may lie anywhere. It is done by [`Errands`], on a thread that was started before.

mod errands;
#[cfg(target_os = "linux")]
mod landlock;
mod limits;
#[cfg(all(test, target_os = "linux"))]
mod tests;

pub use errands::Errands;
pub use limits::{Limits, Needs, Unheld, mount_point};
