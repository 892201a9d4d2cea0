//! The command of `--on-stored`: run once for each stored file, one after the other, in the order they were stored.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;
use std::pin::pin;
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::timeout;

use super::ledger::Origin;
use super::{AutomationError, CommandLine};
use crate::confine::Errands;
use crate::events::{Event, ExitCode, Failure, Reporter};
use crate::names::inert;

/// Files that may wait for their turn, at some 300 bytes each: five times a large transfer of small files. A command that
/// never ends must not fill the memory while senders go on.
const WAITING: usize = 500_000;

/// Bytes of a command's output that are shown as one line.
const LINE_BYTES: u64 = 4 * 1024;

/// How long the next command waits for the rest of what the last one printed: something that it left running may hold
/// its output open for ever.
const OUTPUT_GRACE: Duration = Duration::from_millis(200);

/// Failures told within [`TOLD_WINDOW`]; the rest is counted. Of 100,000 alike nobody reads more.
const TOLD: u32 = 10;

/// See [`TOLD`].
const TOLD_WINDOW: Duration = Duration::from_secs(60);

/// How long leaving waits for commands before it says why it takes so long.
const NOTICE: Duration = Duration::from_secs(1);

/// What a command finds in its environment: where the file is, its name below the receive folder, its size in bytes, its
/// BLAKE3 in hexadecimal, the name that the peer gave itself or its address, the peer's key mark, the label, the transfer.
///
/// None of them is the variable of a flag: a qrdrop that the command runs would take a file's name for it.
pub const VARIABLES: [&str; 8] = [
    "QRDROP_PATH",
    "QRDROP_FILE",
    "QRDROP_BYTES",
    "QRDROP_BLAKE3",
    "QRDROP_PEER",
    "QRDROP_PEER_ID",
    "QRDROP_LABEL",
    "QRDROP_TRANSFER",
];

/// What begins with this is not inherited: settings may hold links.
const SETTINGS: &str = "QRDROP_";

/// A stored file.
pub(super) struct Job {
    pub(super) origin: Arc<Origin>,
    /// Relative to the receive folder.
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) blake3: String,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// Nothing more will be added.
    closing: bool,
    /// Nothing more is to be begun.
    abandoned: bool,
    /// Files that found no room.
    lost: u64,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Say = Arc<dyn Fn(&str) + Send + Sync>;

/// The queue and the thread behind it.
pub(super) struct Commands {
    shared: Arc<Shared>,
    person: Arc<dyn Reporter>,
    program: String,
    say: Say,
    /// Closed when the thread has ended.
    done: watch::Receiver<()>,
}

impl Commands {
    /// Starts the thread that has `command` run by `errands` for the files of `folder`.
    ///
    /// # Errors
    /// There is no such program, or no thread.
    pub(super) fn start(
        command: CommandLine,
        folder: PathBuf,
        errands: Errands,
        person: Arc<dyn Reporter>,
        say: impl Fn(&str) + Send + Sync + 'static,
    ) -> Result<Commands, AutomationError> {
        let program = inert(&command.program);
        if !command.exists() {
            return Err(AutomationError::NoProgram(program));
        }
        let (alive, done) = watch::channel(());
        let shared = Arc::<Shared>::default();
        let say: Say = Arc::new(say);
        let complaints = Complaints::new(Arc::clone(&person), program.clone());
        let mut worker =
            Worker { shared: Arc::clone(&shared), command, folder, errands, say: Arc::clone(&say), complaints };
        let work = move || {
            worker.work();
            drop(alive);
        };
        thread::Builder::new().name("qrdrop-on-stored".into()).spawn(work).map_err(AutomationError::NoThread)?;
        Ok(Commands { shared, person, program, say, done })
    }

    /// Queues a file.
    pub(super) fn add(&self, job: Job) {
        let mut queue = self.shared.queue();
        if queue.jobs.len() < WAITING {
            queue.jobs.push_back(job);
            self.shared.changed.notify_one();
            return;
        }
        queue.lost += 1;
        if queue.lost == 1 {
            drop(queue);
            let message = format!("{WAITING} files wait for `{}`: it will not be run for all of them", self.program);
            self.person.tell(Event::Failed {
                transfer: None,
                failure: Failure::new(ExitCode::Local, message, "see why the command takes so long"),
            });
        }
    }

    /// Waits until all has been run, or `impatient` is done.
    pub(super) async fn finish(&self, impatient: impl Future<Output = ()>) {
        self.shared.queue().closing = true;
        self.shared.changed.notify_one();
        tokio::select! {
            () = self.all_run() => {}
            () = impatient => self.shared.queue().abandoned = true,
        }
        let queue = self.shared.queue();
        let never = queue.lost + queue.jobs.len() as u64;
        drop(queue);
        if never > 0 {
            let message = format!("`{}` was not run for {never} stored files", self.program);
            let hint = "they are stored all the same; run it for them by hand";
            self.person.tell(Event::Failed { transfer: None, failure: Failure::new(ExitCode::Local, message, hint) });
        }
    }

    async fn all_run(&self) {
        let mut done = self.done.clone();
        // It never changes: the error is the end of the thread.
        let mut ended = pin!(async { while done.changed().await.is_ok() {} });
        if timeout(NOTICE, &mut ended).await.is_err() {
            let left = self.shared.queue().jobs.len() + 1;
            (self.say)(&format!("waiting for `{}`, {left} to do; Ctrl-C leaves at once", self.program));
            ended.await;
        }
    }
}

/// What the thread has.
struct Worker {
    shared: Arc<Shared>,
    command: CommandLine,
    folder: PathBuf,
    errands: Errands,
    say: Say,
    complaints: Complaints,
}

impl Worker {
    fn work(&mut self) {
        while let Some(job) = self.next() {
            if let Err(why) = self.run(&job) {
                self.complaints.add(&job.name, &why);
            }
        }
        self.complaints.count_out();
    }

    fn next(&self) -> Option<Job> {
        let mut queue = self.shared.queue();
        while queue.jobs.is_empty() && !queue.closing {
            queue = self.shared.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        if queue.abandoned { None } else { queue.jobs.pop_front() }
    }

    /// Runs the command to its end; `Err` says why that was not a good one.
    fn run(&self, job: &Job) -> Result<(), String> {
        let refused = |error: io::Error| format!("it can't be started: {error}");
        let (output, input) = io::pipe().map_err(refused)?;
        let errors = input.try_clone().map_err(refused)?;
        let (relayed, wait_for_output) = mpsc::channel::<()>();
        let say = Arc::clone(&self.say);
        let relay = move || {
            relay(output, &*say);
            drop(relayed);
        };
        thread::Builder::new().name("qrdrop-output".into()).spawn(relay).map_err(refused)?;
        let mut command = self.prepare(job);
        command.stdout(input).stderr(errors);
        // With the command go our ends of the pipe.
        let mut child = self.errands.run(move || command.spawn()).map_err(refused)?;
        let status = child.wait().map_err(|error| error.to_string())?;
        // Nothing is ever sent: the end of the relay is what ends the wait.
        let _ = wait_for_output.recv_timeout(OUTPUT_GRACE);
        if status.success() { Ok(()) } else { Err(status.to_string()) }
    }

    fn prepare(&self, job: &Job) -> Command {
        let Job { origin, name, bytes, blake3 } = job;
        let mut path = self.folder.clone();
        path.extend(name.split('/'));
        let peer = &origin.peer;
        let who = if peer.name.is_empty() { peer.address.to_string() } else { peer.name.clone() };
        let mut command = Command::new(&self.command.program);
        command.args(&self.command.arguments).stdin(Stdio::null());
        for (ours, _) in std::env::vars_os() {
            // Windows takes names of any case for the same.
            if ours.to_string_lossy().to_ascii_uppercase().starts_with(SETTINGS) {
                command.env_remove(ours);
            }
        }
        let bytes = bytes.to_string();
        let said: [&OsStr; VARIABLES.len()] = [
            path.as_os_str(),
            name.as_ref(),
            bytes.as_ref(),
            blake3.as_ref(),
            who.as_ref(),
            peer.id.as_ref(),
            origin.label.words().as_ref(),
            origin.transfer.as_ref(),
        ];
        command.envs(VARIABLES.into_iter().zip(said));
        on_its_own(&mut command);
        command
    }
}

/// Ctrl-C at the terminal is for us: the command is waited for.
fn on_its_own(command: &mut Command) {
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0);
    #[cfg(windows)]
    {
        /// <https://learn.microsoft.com/windows/win32/procthread/process-creation-flags>
        const CREATE_NEW_PROCESS_GROUP: u32 = 0x200;
        std::os::windows::process::CommandExt::creation_flags(command, CREATE_NEW_PROCESS_GROUP);
    }
    #[cfg(not(any(unix, windows)))]
    let _ = command;
}

/// Passes on what a command prints: a stranger's names may be in it.
fn relay(pipe: impl Read, say: &dyn Fn(&str)) {
    let mut pipe = BufReader::new(pipe);
    let mut line = Vec::new();
    while let Ok(1..) = pipe.by_ref().take(LINE_BYTES).read_until(b'\n', &mut line) {
        let text = String::from_utf8_lossy(&line);
        say(&format!("on-stored: {}", inert(text.trim_end_matches(['\n', '\r']))));
        line.clear();
    }
}

/// Tells of commands that failed, and counts what would be too much to tell.
struct Complaints {
    person: Arc<dyn Reporter>,
    program: String,
    since: Instant,
    told: u32,
    untold: u64,
}

impl Complaints {
    fn new(person: Arc<dyn Reporter>, program: String) -> Complaints {
        Complaints { person, program, since: Instant::now(), told: 0, untold: 0 }
    }

    fn add(&mut self, name: &str, why: &str) {
        if self.since.elapsed() >= TOLD_WINDOW {
            self.count_out();
            (self.since, self.told) = (Instant::now(), 0);
        }
        if self.told < TOLD {
            self.told += 1;
            self.tell(format!("`{}` failed for `{}`: {why}", self.program, inert(name)));
        } else {
            self.untold += 1;
        }
    }

    fn count_out(&mut self) {
        let untold = std::mem::take(&mut self.untold);
        if untold > 0 {
            self.tell(format!("`{}` failed for {untold} more files", self.program));
        }
    }

    fn tell(&self, message: String) {
        let hint = "the file is stored all the same; see what the command says";
        self.person.tell(Event::Failed { transfer: None, failure: Failure::new(ExitCode::Local, message, hint) });
    }
}
