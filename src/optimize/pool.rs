//! The side that starts the workers: as many as there are cores, and as fit into the memory.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::kind::{HEAD_BYTES, Kind, START_BYTES, memory_to_optimize, memory_to_strip};
use super::worker::{Report, Task, WORKER};
use super::{Change, Wishes};

/// MiB of memory for all workers together: with this process less than 256. Who needs more alone is left alone.
const MEMORY: u32 = 216;

const MIB: u64 = 1024 * 1024;

/// How long a worker is waited for. It may use a core for five seconds and share it with others.
const PATIENCE: Duration = Duration::from_secs(30);

/// The most that a worker has to say: its report is some hundred bytes.
const SAID: u64 = 16 * 1024;

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is to be sent as it is, for this reason if it is of a kind that is made smaller.
    AsItIs(Option<String>),
    /// What was written to the target stands in for it.
    Made {
        /// What it is: `jpeg`, `png`, `webp` or `pdf`.
        format: &'static str,
        /// What was done.
        change: Change,
    },
    /// It may hold a location that can't be removed: a file of this format.
    LocationStays(&'static str),
}

/// Makes files smaller, each in a process of its own.
#[derive(Debug)]
pub struct Optimizer {
    program: PathBuf,
    wishes: Wishes,
    cores: Semaphore,
    memory: Semaphore,
    at_once: usize,
}

impl Optimizer {
    /// Workers are `program`, which must hand over to [`super::work`] when its first argument is [`WORKER`].
    pub fn new(program: PathBuf, wishes: Wishes) -> Optimizer {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let memory = Semaphore::new(MEMORY as usize);
        // One more is looked at while every core works.
        Optimizer { program, wishes, cores: Semaphore::new(cores), memory, at_once: cores + 1 }
    }

    /// How many files are worth being given at once.
    pub fn at_once(&self) -> usize {
        self.at_once
    }

    /// Makes `source`, which is read from its beginning, smaller and writes that to what `target` gives; it is asked if
    /// there is something to do. Dropping the future ends the worker.
    pub async fn make(&self, source: File, target: impl FnOnce() -> io::Result<File>) -> Outcome {
        let looked = spawn_blocking(move || look(source)).await;
        let strips = self.wishes.strip_location;
        let Ok(Ok(Looked { source, head, bytes })) = looked else {
            return if strips { Outcome::LocationStays("unreadable") } else { Outcome::AsItIs(None) };
        };
        let kind = Kind::of(&head);
        let (smaller, locates) = match kind {
            Kind::Jpeg | Kind::Png => (self.wishes.images, strips),
            Kind::Pdf => (self.wishes.pdfs, false),
            Kind::WebP => (false, strips),
            Kind::Opaque(format) if strips => return Outcome::LocationStays(format),
            Kind::Opaque(_) | Kind::Other => return Outcome::AsItIs(None),
        };
        if !(smaller || locates) {
            return Outcome::AsItIs(None);
        }
        let target = match (target(), locates) {
            (Ok(target), _) => target,
            (Err(error), false) => return Outcome::AsItIs(Some(error.to_string())),
            (Err(_), true) => return Outcome::LocationStays(kind.word()),
        };
        let need = if smaller { memory_to_optimize(kind, &head, bytes) } else { None };
        drop(head);
        let mut why = smaller.then(|| "too large".to_owned());
        if let Some(need) = need {
            match self.run(&source, &target, self.wishes, need).await {
                Ok(Report { change, left_alone }) => return outcome(kind, change, left_alone, &target),
                Err(reason) => why = Some(reason),
            }
        }
        if !locates {
            return Outcome::AsItIs(why);
        }
        let Some(need) = memory_to_strip(bytes) else { return Outcome::LocationStays(kind.word()) };
        match self.run(&source, &target, self.wishes.strip_only(), need).await {
            Ok(Report { change, .. }) => outcome(kind, change, why, &target),
            Err(_) => Outcome::LocationStays(kind.word()),
        }
    }

    /// Runs one worker with `need` bytes of memory.
    async fn run(&self, source: &File, target: &File, wishes: Wishes, need: u64) -> Result<Report, String> {
        const NO_END: &str = "the semaphores are never closed";
        let mebibytes = u32::try_from(need.div_ceil(MIB)).unwrap_or(u32::MAX);
        if mebibytes > MEMORY {
            return Err("too large".to_owned());
        }
        // Memory first: who waits for it holds no core.
        let _memory = self.memory.acquire_many(mebibytes).await.expect(NO_END);
        let _core = self.cores.acquire().await.expect(NO_END);
        let worked = tokio::time::timeout(PATIENCE, self.worker(source, target, Task { wishes, memory: need })).await;
        match worked {
            Ok(Ok(Some(report))) => Ok(report),
            Ok(Ok(None)) => Err("it can't be read, or takes too much time or memory".to_owned()),
            Ok(Err(error)) => Err(format!("no process could be started: {error}")),
            Err(_) => Err("it takes too long".to_owned()),
        }
    }

    /// What the worker reports, if it comes to its end.
    async fn worker(&self, mut source: &File, mut target: &File, task: Task) -> io::Result<Option<Report>> {
        source.rewind()?;
        target.set_len(0)?;
        target.rewind()?;
        let mut child = Command::new(&self.program)
            .arg(WORKER)
            .arg(serde_json::to_string(&task)?)
            .env_clear()
            .stdin(Stdio::from(source.try_clone()?))
            .stdout(Stdio::from(target.try_clone()?))
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut said = Vec::new();
        if let Some(errors) = child.stderr.take() {
            errors.take(SAID).read_to_end(&mut said).await?;
        }
        let ended = child.wait().await?;
        let last = said.trim_ascii_end().rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
        Ok(if ended.success() { serde_json::from_slice(last).ok() } else { None })
    }
}

/// A file, what it begins with and how long it is.
struct Looked {
    source: File,
    head: Vec<u8>,
    bytes: u64,
}

fn look(mut source: File) -> io::Result<Looked> {
    let bytes = source.metadata()?.len();
    let mut head = Vec::new();
    source.rewind()?;
    (&source).take(START_BYTES).read_to_end(&mut head)?;
    if Kind::of(&head) == Kind::Jpeg {
        (&source).take(HEAD_BYTES - START_BYTES).read_to_end(&mut head)?;
    }
    Ok(Looked { source, head, bytes })
}

fn outcome(kind: Kind, change: Option<Change>, left_alone: Option<String>, target: &File) -> Outcome {
    match (change, target.metadata()) {
        (Some(change), Ok(about)) if about.len() > 0 => Outcome::Made { format: kind.word(), change },
        _ => Outcome::AsItIs(left_alone),
    }
}
