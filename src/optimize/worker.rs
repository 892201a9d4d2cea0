//! The process of one file: limits first, then standard input to standard output.

use std::ffi::OsStr;
use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

use super::kind::{FILE_BYTES, Kind};
use super::{Change, Trouble, Wishes, jpeg, pdf, png, webp};
use crate::confine::Limits;

/// The first argument of a process that is such a worker. No command is called so, and none ever will be.
pub const WORKER: &str = "__optimize";

/// Seconds of a core for one file; pictures of 12 million pixels take less than three.
#[cfg(unix)]
const CPU_SECONDS: u64 = 5;

/// Addresses that a process has before it does anything: its code, libraries, stacks.
#[cfg(unix)]
const ADDRESSES: u64 = 128 * 1024 * 1024;

/// What a worker is told, as its second argument.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Task {
    pub(super) wishes: Wishes,
    /// Bytes of memory that it may take.
    pub(super) memory: u64,
}

/// What a worker says at its end, as the last line on standard error.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Report {
    /// What was done; `None` if nothing was written, because there was nothing to do or to gain.
    pub(super) change: Option<Change>,
    /// Why it is not smaller.
    pub(super) left_alone: Option<String>,
}

/// Runs a worker, `task` being its second argument; returns what the process exits with.
pub fn work(task: Option<&OsStr>) -> u8 {
    match run(task) {
        Ok(()) => 0,
        Err(error) => {
            // Nobody reads it but who looks for a defect.
            let _ = writeln!(io::stderr(), "{error}");
            1
        }
    }
}

fn run(task: Option<&OsStr>) -> io::Result<()> {
    let task: Task = serde_json::from_str(task.and_then(OsStr::to_str).unwrap_or_default())?;
    // What it needs is open: where the kernel can see to that, it comes to nothing else. It takes a descriptor to ask for.
    let _ = Limits::nothing().enforce();
    restrict(task.memory)?;
    let mut bytes = Vec::new();
    io::stdin().take(FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let made = make(&bytes, task.wishes).map_err(io::Error::other)?;
    if let Some((made, _)) = &made.better {
        let mut output = io::stdout().lock();
        output.write_all(made)?;
        output.flush()?;
    }
    let left_alone = made.left_alone.map(|trouble| trouble.to_string());
    let report = Report { change: made.better.map(|(_, change)| change), left_alone };
    serde_json::to_writer(io::stderr(), &report)?;
    writeln!(io::stderr())
}

/// What became of the content of a file.
pub(super) struct Made {
    /// What stands in for it.
    pub(super) better: Option<(Vec<u8>, Change)>,
    /// Why it is not smaller, where that was wished.
    pub(super) left_alone: Option<Trouble>,
}

/// Does to `bytes` what is wished.
///
/// # Errors
/// A location could not be looked for. That it can't be made smaller is none.
pub(super) fn make(bytes: &[u8], wishes: Wishes) -> Result<Made, Trouble> {
    let kind = Kind::of(bytes);
    let stripped = if wishes.strip_location { strip(kind, bytes)? } else { None };
    let had_location = stripped.as_ref().is_some_and(|(_, had_location)| *had_location);
    let clean = stripped.as_ref().map_or(bytes, |(clean, _)| clean);
    let smaller = match kind {
        Kind::Jpeg if wishes.images => jpeg::smaller(clean, wishes.max_edge),
        Kind::Png if wishes.images => png::smaller(clean, wishes.max_edge),
        Kind::Pdf if wishes.pdfs => pdf::smaller(bytes),
        _ => return Ok(Made { better: stripped.map(only_stripped), left_alone: None }),
    };
    Ok(match smaller {
        Ok((made, change)) => {
            Made { better: Some((made, Change { location_removed: had_location, ..change })), left_alone: None }
        }
        Err(trouble) => Made { better: stripped.map(only_stripped), left_alone: Some(trouble) },
    })
}

fn only_stripped((clean, had_location): (Vec<u8>, bool)) -> (Vec<u8>, Change) {
    (clean, Change { location_removed: had_location, ..Change::default() })
}

fn strip(kind: Kind, bytes: &[u8]) -> Result<Option<(Vec<u8>, bool)>, Trouble> {
    match kind {
        Kind::Jpeg => jpeg::without_location(bytes),
        Kind::Png => png::without_location(bytes),
        Kind::WebP => webp::without_location(bytes),
        Kind::Pdf | Kind::Other => Ok(None),
        Kind::Opaque(_) => Err(Trouble::Damaged),
    }
}

/// No more memory, time and files than this takes, and no image of the memory left behind.
#[cfg(unix)]
fn restrict(memory: u64) -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limits = [
        (Resource::As, memory + ADDRESSES),
        (Resource::Cpu, CPU_SECONDS),
        (Resource::Core, 0),
        // Standard input, output and error are open already.
        (Resource::Nofile, 3),
    ];
    for (resource, most) in limits {
        let most = getrlimit(resource).maximum.map_or(most, |maximum| most.min(maximum));
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    Ok(())
}

/// Elsewhere the sizes that the file claims, checked before, and the time that is waited are the limits.
#[cfg(not(unix))]
fn restrict(_: u64) -> io::Result<()> {
    Ok(())
}
