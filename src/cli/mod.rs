//! Arguments to decisions to wiring: one file for each command.

mod args;
mod chat;
mod confining;
mod definitions;
mod devices;
mod doctor;
mod fetch;
mod hosting;
mod list;
mod optimizing;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod oracle;
mod receive;
mod send;
mod settings;
mod target;
mod values;
mod whereabouts;

use std::ffi::OsString;
use std::future::ready;
use std::path::Path;
use std::sync::Arc;
#[cfg(unix)]
use std::task::Poll;

use tokio::sync::watch;

use crate::automation::{Automation, Rules};
use crate::confine::Errands;
use crate::events::{Event, ExitCode, Failure, Reporter, Way};
use crate::names::{PeerName, human_bytes};
use crate::net::NetError;
use crate::optimize::{WORKER, work};
use crate::pairing::{Identity, PairingError, leave_no_dump};
use crate::session::{Devices, DevicesError, Memory};
use crate::store::{Folder, StateDir, StoreError};
use crate::ui::{Ui, UiOptions};
use args::{Chat, Cli, Command, Common, Receive, Send};
use confining::{Confined, confine};
use settings::Parsed;

/// Runs the command line `arguments`, the program's name first, and returns what the process exits with.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    leave_no_dump();
    if arguments.get(1).is_some_and(|first| first == WORKER) {
        return work(arguments.get(2).map(OsString::as_os_str));
    }
    let parsed = match settings::parse(arguments) {
        Ok(parsed) => parsed,
        Err(error) => {
            // Help and version go to standard output, errors to standard error; neither can be told elsewhere.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::Usage as u8 } else { ExitCode::Ok as u8 };
        }
    };
    // What binds this thread binds all that are started from here on, and no other.
    let confined = confine(&parsed.cli);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            let ui = Ui::start(UiOptions::default());
            ui.fail(&Failure::new(ExitCode::Internal, format!("no thread could be started: {error}"), ""));
            return ExitCode::Internal as u8;
        }
    };
    let code = runtime.block_on(dispatch(parsed, confined));
    // Lanes that are still being cut need not be waited for.
    runtime.shutdown_background();
    code as u8
}

async fn dispatch(parsed: Parsed, confined: Confined) -> ExitCode {
    let Parsed { cli, problem } = parsed;
    let ui = Ui::start(UiOptions {
        json: cli.common.json,
        quiet: cli.common.quiet,
        verbose: cli.common.verbose,
        color: cli.common.color.into(),
        qr: match &cli.command {
            Command::Receive(receive) => receive.hosting.qr.into(),
            Command::Send(send) => send.hosting.qr.into(),
            Command::Chat(chat) => chat.hosting.qr.into(),
            _ => Default::default(),
        },
        ask_timeout: cli.common.ask_timeout,
    });
    let ended = match problem {
        Some(failed) => Err(failed),
        None => obey(cli, &ui, confined).await,
    };
    let Done { code, reason } = told(ended, &*ui);
    if let Some(reason) = reason {
        ui.tell(Event::Closed { reason });
    }
    ui.finish();
    code
}

async fn obey(cli: Cli, ui: &Arc<Ui>, confined: Confined) -> Ended {
    let Cli { command, common } = cli;
    let Confined { errands, note } = confined;
    if common.verbose {
        note.iter().for_each(|note| ui.say(note));
    }
    let automation = Arc::new(automation(&command, ui, errands.clone())?);
    let other = Arc::new(the_other_way(&command, ui, errands.clone())?);
    let reporter: Arc<dyn Reporter> = automation.clone();
    let ways = match command {
        Command::Send(_) => Ways { incoming: other.clone(), outgoing: automation.clone(), errands },
        _ => Ways { incoming: automation.clone(), outgoing: other.clone(), errands },
    };
    // Those that are large in boxes of their own: the stack would have to have room for the largest, several times.
    let ended = match command {
        Command::Receive(receive) if receive.stdout && common.json => {
            let message = "standard output can't hold both the file and what is told of it";
            Err(failed(Failure::new(ExitCode::Usage, message, "leave out `--json`; `--log` says it in a file")))
        }
        Command::Receive(receive) => match receive.from.clone() {
            Some(from) => Box::pin(fetch::run(&receive, &from, &common, ui, &ways)).await,
            None => Box::pin(receive::run(receive, &common, ui, &ways)).await,
        },
        Command::Send(send) => Box::pin(send::run(send, &common, ui, &ways)).await,
        Command::List(list) => list::run(list, &common, ui).await,
        Command::Chat(chat) => Box::pin(chat::run(chat, &common, ui, &ways)).await,
        Command::Devices(devices) => devices::run(devices, &common, ui),
        Command::Doctor(doctor) => doctor::run(doctor, &common, ui).await,
        Command::Completions(completions) => Ok(definitions::print(&definitions::completions(completions.shell), ui)),
        Command::Man => Ok(definitions::print(&definitions::manual_page(), ui)),
    };
    let done = told(ended, &*reporter);
    other.finish(ready(())).await;
    automation.finish(async { Signals::install().next().await }).await;
    Ok(done)
}

/// The log and the commands that the person wants beside what `command` does.
fn automation(command: &Command, ui: &Arc<Ui>, errands: Errands) -> Result<Automation, Failed> {
    let (hosting, way) = match command {
        Command::Receive(receive) => (Some(&receive.hosting), Way::In),
        Command::Send(send) => (Some(&send.hosting), Way::Out),
        Command::Chat(chat) => (Some(&chat.hosting), Way::In),
        _ => (None, Way::In),
    };
    let log = hosting.and_then(|hosting| hosting.log.clone()).map(|path| (path, way));
    let on_stored = match command {
        Command::Receive(Receive { on_stored: Some(command), folder, .. }) => {
            // A folder that is not there is told by the command itself.
            Some((command.clone(), dunce::canonicalize(folder).unwrap_or_default()))
        }
        _ => None,
    };
    let shown = Arc::clone(ui);
    let say = move |line: &str| shown.say(line);
    Automation::new(ui.clone(), say, Rules { log, on_stored, errands })
        .map_err(|error| failed(Failure::new(ExitCode::Local, error.to_string(), error.hint())))
}

/// The log alone, of transfers that go the other way than those of the rest of `command`, as they do in a room.
fn the_other_way(command: &Command, ui: &Arc<Ui>, errands: Errands) -> Result<Automation, Failed> {
    let log = match command {
        Command::Receive(Receive { chat: true, hosting, .. }) | Command::Chat(Chat { hosting, .. }) => {
            hosting.log.clone().map(|path| (path, Way::Out))
        }
        Command::Send(Send { chat: true, hosting, .. }) => hosting.log.clone().map(|path| (path, Way::In)),
        _ => None,
    };
    let rules = Rules { log, on_stored: None, errands };
    Automation::new(ui.clone(), |_| (), rules)
        .map_err(|error| failed(Failure::new(ExitCode::Local, error.to_string(), error.hint())))
}

/// The end of a command, its failure told.
fn told(ended: Ended, reporter: &dyn Reporter) -> Done {
    ended.unwrap_or_else(|(transfer, failure)| {
        let done = Done::with(failure.code, &failure.message);
        reporter.tell(Event::Failed { transfer, failure });
        done
    })
}

/// How a command ends; of a failure that was not told yet, the transfer it is about, if any, and why.
type Ended = Result<Done, Failed>;

/// Where it is told what becomes of transfers, and who writes what the person named.
struct Ways {
    /// Of those that come in, and everything that is no transfer.
    incoming: Arc<dyn Reporter>,
    /// Of those that go out.
    outgoing: Arc<dyn Reporter>,
    /// What lies outside the limits of this process goes this way.
    errands: Errands,
}

/// A failure and the transfer it is about, if any.
type Failed = (Option<String>, Failure);

/// The end of a command that has told everything.
struct Done {
    code: ExitCode,
    /// What `closed` says; `None` where what was printed is all there is to say.
    reason: Option<String>,
}

impl Done {
    fn with(code: ExitCode, reason: &str) -> Done {
        Done { code, reason: Some(reason.to_owned()) }
    }

    fn well(reason: &str) -> Done {
        Done::with(ExitCode::Ok, reason)
    }
}

/// A failure that is about no transfer.
fn failed(failure: Failure) -> Failed {
    (None, failure)
}

/// Opens the folder that files go to, rid of what can't go on.
fn open_folder(path: &Path, ui: &Ui) -> Result<Arc<Folder>, Failed> {
    let folder = Folder::open(path).map_err(|error| disk(&error))?;
    let cleaned = folder.clean().map_err(|error| disk(&error))?;
    if cleaned.files > 0 {
        ui.say(&format!("removed {} of unfinished transfers from an earlier run", human_bytes(cleaned.bytes)));
    }
    Ok(folder)
}

/// A failure of this machine's disk.
fn disk(error: &StoreError) -> Failed {
    failed(Failure::new(ExitCode::Local, error.to_string(), error.hint()))
}

/// A failure of the network, with the exit code that fits what was tried.
fn network(code: ExitCode, error: &NetError) -> Failed {
    failed(Failure::new(code, error.to_string(), error.hint().unwrap_or_default()))
}

/// The state folder, which must be this user's alone before anything happens. One that was named is made.
fn open_state(common: &Common) -> Result<Memory, Failed> {
    let opened = common.state_dir.as_deref().map_or(Ok(()), |path| StateDir::open(Some(path)).map(drop));
    opened.and_then(|()| Memory::open(common.state_dir.clone())).map_err(|error| disk(&error))
}

/// What is known of other devices; those that are met now are to be remembered too, if `remember` says so.
fn open_devices(common: &Common, remember: bool) -> Result<Devices, Failed> {
    Devices::open(common.state_dir.clone(), remember).map_err(|error| unusable(&error))
}

/// What is remembered of devices can't be used.
fn unusable(error: &DevicesError) -> Failed {
    failed(error.failure())
}

/// The key that this device shows, if it could be made.
fn made(identity: Result<Identity, PairingError>) -> Result<Identity, Failed> {
    identity.map_err(|error| failed(Failure::new(ExitCode::Internal, error.to_string(), "report it")))
}

/// The name that others see.
fn shown_name(common: &Common) -> String {
    let given = common.name.clone();
    let name = given.unwrap_or_else(|| gethostname::gethostname().to_string_lossy().into_owned());
    PeerName::from_stranger(&name).to_string()
}

/// Becomes `true` when the person or the system wants the program to end; a second time ends it at once.
fn interruptions(ui: &Arc<Ui>) -> watch::Receiver<bool> {
    let (interrupted, watcher) = watch::channel(false);
    let ui = Arc::clone(ui);
    // Before anything is said: who hears of us may send a signal at once.
    let mut signals = Signals::install();
    tokio::spawn(async move {
        signals.next().await;
        interrupted.send_replace(true);
        signals.next().await;
        ui.finish();
        std::process::exit(ExitCode::Interrupted as i32);
    });
    watcher
}

/// Waits for `done`, yet no longer than until the program is asked to end.
async fn unless_interrupted(done: impl Future<Output = ()>, mut interrupted: watch::Receiver<bool>) {
    tokio::select! {
        () = done => {}
        _ = interrupted.wait_for(|interrupted| *interrupted) => {}
    }
}

/// What asks the program to end. A signal whose handler the system refuses ends it without a word, as ever.
#[cfg(unix)]
struct Signals(Vec<tokio::signal::unix::Signal>);

#[cfg(unix)]
impl Signals {
    fn install() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        // What outgrows a limit on file sizes fails to be written (`EFBIG`); nobody listening, the system would kill us for it.
        let _ = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()));
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        Signals(kinds.into_iter().filter_map(|kind| signal(kind).ok()).collect())
    }

    async fn next(&mut self) {
        std::future::poll_fn(|cx| {
            let any = self.0.iter_mut().any(|signal| signal.poll_recv(cx).is_ready());
            if any { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn install() -> Self {
        Signals
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
