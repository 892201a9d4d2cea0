//! Lanes over pipes in memory, honest and hostile.

use std::fs;
use std::io::{self, Cursor, Read, Write};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use tempfile::TempDir;
use tokio::sync::mpsc::{self, channel};

use super::{Compress, Incoming, Manner, Outcome, Outgoing, receive_lane};
use crate::names::RelPath;
use crate::store::{Folder, IfExists, Intake, PlannedEntry, PlannedKind, SourceKind, SourceList, WalkOptions, walk};
use crate::wire::{HEADER_LEN, Header, Kind, LaneEnd, Taken, Verdict, frame};

mod honest;
mod hostile_receiver;
mod hostile_sender;

/// One direction of a pipe in memory that holds `capacity` bytes.
struct Pipe {
    state: Mutex<(Vec<u8>, bool)>,
    changed: Condvar,
    capacity: usize,
}

/// One end of a pipe in both directions; dropping it ends both.
struct End {
    from: Arc<Pipe>,
    to: Arc<Pipe>,
}

/// A sender's end, and a receiver's: what that one says fits into any socket, and so into this pipe.
fn duplex(capacity: usize) -> (End, End) {
    let pipe = |capacity| Arc::new(Pipe { state: Mutex::default(), changed: Condvar::new(), capacity });
    let (there, back) = (pipe(capacity), pipe(capacity.max(4 * 1024)));
    (End { from: Arc::clone(&back), to: Arc::clone(&there) }, End { from: there, to: back })
}

impl Read for End {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let state = self.from.state.lock().unwrap();
        let mut state = self.from.changed.wait_while(state, |(bytes, closed)| bytes.is_empty() && !*closed).unwrap();
        let count = buffer.len().min(state.0.len());
        buffer[..count].copy_from_slice(&state.0[..count]);
        state.0.drain(..count);
        self.from.changed.notify_all();
        Ok(count)
    }
}

impl Write for End {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let state = self.to.state.lock().unwrap();
        let full = |(held, closed): &mut (Vec<u8>, bool)| held.len() == self.to.capacity && !*closed;
        let mut state = self.to.changed.wait_while(state, full).unwrap();
        if state.1 {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let count = bytes.len().min(self.to.capacity - state.0.len());
        state.0.extend_from_slice(&bytes[..count]);
        self.to.changed.notify_all();
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for End {
    fn drop(&mut self) {
        for pipe in [&self.from, &self.to] {
            pipe.state.lock().unwrap().1 = true;
            pipe.changed.notify_all();
        }
    }
}

/// A peer whose every byte is known beforehand; what it is told is kept.
struct Script {
    says: Cursor<Vec<u8>>,
    told: Vec<u8>,
}

impl Script {
    fn new(says: Vec<u8>) -> Self {
        Script { says: Cursor::new(says), told: Vec::new() }
    }
}

impl Read for Script {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.says.read(buffer)
    }
}

impl Write for Script {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.told.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A receiver that takes whatever it is told, and keeps that.
#[derive(Default)]
struct Listener {
    told: Vec<u8>,
    says: Cursor<Vec<u8>>,
    /// How many things it has said to have taken.
    said: usize,
}

impl Read for Listener {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.says.position() == self.says.get_ref().len() as u64 {
            // What is heard is asked for only when it is due.
            let over = self.told.ends_with(&frame(&LaneEnd)) && self.said == self.things();
            self.said += usize::from(!over);
            self.says = Cursor::new(if over { frame(&LaneEnd) } else { frame(&Taken) });
        }
        self.says.read(buffer)
    }
}

impl Write for Listener {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.told.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Listener {
    /// The frames that it was told.
    fn frames(&self) -> Vec<(Kind, Vec<u8>)> {
        let (mut rest, mut frames) = (self.told.as_slice(), Vec::new());
        while let Some((header, after)) = rest.split_first_chunk::<HEADER_LEN>() {
            let header = Header::parse(*header).unwrap();
            let Some(payload) = after.get(..header.len) else { break };
            frames.push((header.kind, payload.to_vec()));
            rest = &after[header.len..];
        }
        frames
    }

    /// How many things there are to take in what it was told.
    fn things(&self) -> usize {
        let begins = |kind| matches!(kind, Kind::Chunk | Kind::Pack | Kind::FileEnd | Kind::Withdraw);
        self.frames().iter().filter(|(kind, _)| begins(*kind)).count()
    }
}

fn pattern(len: u64) -> Vec<u8> {
    (0..len).map(|i| (i * 31 % 251) as u8).collect()
}

fn path(name: &str) -> RelPath {
    RelPath::from_stranger(name).unwrap()
}

/// A receive folder that awaits files `f0`, `f1`, … of these sizes.
struct Receiver {
    folder: TempDir,
    intake: Arc<Intake>,
    incoming: Arc<Incoming>,
    outcomes: mpsc::Receiver<Outcome>,
}

impl Receiver {
    fn awaiting(sizes: &[Option<u64>]) -> Self {
        Receiver::with_limit(sizes, None)
    }

    fn with_limit(sizes: &[Option<u64>], most: Option<u64>) -> Self {
        let plan = sizes.iter().enumerate().map(|(id, size)| PlannedEntry {
            id: id as u32,
            path: path(&format!("f{id}")),
            kind: PlannedKind::File,
            size: *size,
            holes: 0,
            modified: None,
        });
        Receiver::planned(plan.collect(), most)
    }

    fn planned(plan: Vec<PlannedEntry>, most: Option<u64>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let intake = Folder::open(folder.path()).unwrap().begin(plan, IfExists::Rename).unwrap();
        let intake = Arc::new(intake);
        let (told, outcomes) = channel(10_000);
        let incoming = Arc::new(Incoming::new(Arc::clone(&intake), most, None, told).unwrap());
        Receiver { folder, intake, incoming, outcomes }
    }

    /// The next `count` outcomes, by id.
    fn outcomes(&mut self, count: usize) -> Vec<Outcome> {
        let mut outcomes: Vec<_> = (0..count).map(|_| self.outcomes.blocking_recv().unwrap()).collect();
        outcomes.sort_by_key(|outcome| match outcome {
            Outcome::Stored { id, .. }
            | Outcome::Same { id, .. }
            | Outcome::Before { id, .. }
            | Outcome::Text { id, .. } => *id,
            Outcome::NotStored(not) => not.id,
        });
        outcomes
    }

    /// The one outcome there will ever be, which is a failure.
    fn failure(&mut self) -> super::NotStoredHere {
        let outcome = self.outcomes(1).pop().unwrap();
        assert!(self.outcomes.try_recv().is_err(), "one outcome for each file");
        assert_eq!(self.visible(), Vec::<String>::new());
        match outcome {
            Outcome::NotStored(not) => not,
            _ => panic!("{outcome:?}"),
        }
    }

    fn no_outcome(&mut self) {
        assert!(self.outcomes.try_recv().is_err());
        assert_eq!(self.visible(), Vec::<String>::new());
    }

    /// Every name that a person sees in the folder.
    fn visible(&self) -> Vec<String> {
        let names = fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        names.map(|name| name.into_string().unwrap()).filter(|name| !name.starts_with('.')).collect()
    }

    fn stored(&self, name: &str) -> Vec<u8> {
        fs::read(self.folder.path().join(name)).unwrap()
    }
}

/// Files on their way out, from a folder of their own.
struct Source {
    folder: TempDir,
    entries: Arc<SourceList>,
}

impl Source {
    /// Files `f0`, `f1`, … with these contents.
    fn of(contents: &[Vec<u8>]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let paths = contents.iter().enumerate().map(|(id, content)| {
            let path = folder.path().join(format!("f{id}"));
            fs::write(&path, content).unwrap();
            path
        });
        let paths: Vec<_> = paths.collect();
        let entries = walk(&paths, &WalkOptions { follow_links: false }).unwrap().entries;
        Source { folder, entries: Arc::new(entries) }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        Path::join(self.folder.path(), name)
    }

    fn sizes(&self) -> Vec<Option<u64>> {
        self.entries.iter().map(|entry| Some(entry.bytes)).collect()
    }

    /// All files, to be taken.
    fn outgoing(&self) -> Outgoing {
        self.outgoing_as(|_| Verdict::Take)
    }

    fn outgoing_as(&self, verdict: impl Fn(u32) -> Verdict) -> Outgoing {
        self.outgoing_with(verdict, Compress::Never)
    }

    fn outgoing_with(&self, verdict: impl Fn(u32) -> Verdict, compress: Compress) -> Outgoing {
        let files = self.entries.iter().enumerate().filter(|(_, entry)| entry.kind == SourceKind::File);
        Outgoing::new(
            Arc::clone(&self.entries),
            files.map(|(id, _)| (id as u32, verdict(id as u32))).collect::<Vec<_>>(),
            Default::default(),
            Manner { compress, brake: None },
        )
    }
}

/// Runs the receiving end of a lane on a thread of its own.
fn receive_on(mut end: End, incoming: &Arc<Incoming>) -> thread::JoinHandle<Result<(), super::LaneError>> {
    let incoming = Arc::clone(incoming);
    thread::spawn(move || receive_lane(&mut end, &incoming))
}
