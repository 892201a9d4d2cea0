//! What happens by itself: a line in a log for each transfer, a command for each stored file.
//!
//! [`Automation`] stands between the core and the person as one more [`Reporter`]. It hangs on events alone, so it is the
//! same for every dialect and for both ways. Whoever tells an event never waits for a command.

mod command_line;
mod commands;
mod ledger;
mod log;
#[cfg(all(test, unix))]
mod tests;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::confine::Errands;
use crate::events::{Answer, Board, BoxFuture, Event, ExitCode, Failure, Question, Reporter, Way};
use crate::store::StoreError;

pub use command_line::{CommandLine, CommandLineError};
pub use commands::VARIABLES;
use commands::{Commands, Job};
use ledger::Ledger;
use log::TransferLog;

/// What is to happen by itself.
#[derive(Debug, Default)]
pub struct Rules {
    /// `--log`: the file, and which way the transfers of this command go.
    pub log: Option<(PathBuf, Way)>,
    /// `--on-stored`: the command, and the absolute path of the folder that names of stored files are relative to.
    pub on_stored: Option<(CommandLine, PathBuf)>,
    /// Who writes the log and starts the command: both may lie outside the limits of this process.
    pub errands: Errands,
}

/// What keeps the rules from being followed, found before anything happens.
#[derive(Debug, thiserror::Error)]
pub enum AutomationError {
    /// The log can't be written.
    #[error(transparent)]
    Log(#[from] StoreError),
    /// The command does not exist.
    #[error("there is no program `{0}` to run with `--on-stored`")]
    NoProgram(String),
    /// The system refused a thread.
    #[error("no thread could be started for `--on-stored`: {0}")]
    NoThread(std::io::Error),
}

impl AutomationError {
    /// What to try.
    pub fn hint(&self) -> &str {
        match self {
            AutomationError::Log(error) => error.hint(),
            AutomationError::NoProgram(_) => {
                "check the spelling, or give its whole path; for what only a shell knows write \"sh -c '…'\""
            }
            AutomationError::NoThread(_) => "close other programs",
        }
    }
}

/// A [`Reporter`] that passes everything on to the person, and follows its rules beside that.
pub struct Automation {
    person: Arc<dyn Reporter>,
    ledger: Mutex<Ledger>,
    log: Option<TransferLog>,
    commands: Option<Commands>,
}

impl Automation {
    /// Follows `rules`; what commands print is given to `say`, a harmless line at a time.
    ///
    /// # Errors
    /// The log can't be written, or the command can't be run.
    pub fn new(
        person: Arc<dyn Reporter>,
        say: impl Fn(&str) + Send + Sync + 'static,
        rules: Rules,
    ) -> Result<Automation, AutomationError> {
        let Rules { log, on_stored, errands } = rules;
        let log = log.map(|(path, way)| TransferLog::open(path, way, errands.clone())).transpose()?;
        let start = |(command, folder)| Commands::start(command, folder, errands, Arc::clone(&person), say);
        let commands = on_stored.map(start).transpose()?;
        Ok(Automation { person, ledger: Mutex::default(), log, commands })
    }

    /// No event comes any more: writes what is still open into the log as interrupted, and waits until a command has run
    /// for every file, or `impatient` is done. The one that runs then runs on.
    pub async fn finish(&self, impatient: impl Future<Output = ()>) {
        if let Some(log) = &self.log {
            let interrupted = Failure::new(ExitCode::Interrupted, "interrupted", "");
            let open = self.ledger().end_all();
            open.iter().for_each(|transfer| self.written(log.failed(transfer, &interrupted)));
        }
        if let Some(commands) = &self.commands {
            commands.finish(impatient).await;
        }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn follow(&self, event: &Event) {
        if self.log.is_none() && self.commands.is_none() {
            return;
        }
        let mut ledger = self.ledger();
        if let (Some(commands), Event::Stored { transfer, name, path: Some(_), bytes, blake3, .. }) =
            (&self.commands, event)
            && let Some(origin) = ledger.origin(transfer)
        {
            commands.add(Job { origin, name: name.clone(), bytes: *bytes, blake3: blake3.clone() });
        }
        let ended = ledger.follow(event);
        drop(ledger);
        let (Some(log), Some(ended)) = (&self.log, ended) else { return };
        self.written(match event {
            Event::Finished { files, bytes, seconds, .. } => log.finished(&ended, *files, *bytes, *seconds),
            Event::Failed { failure, .. } => log.failed(&ended, failure),
            Event::Refused { reason, .. } => log.refused(&ended, reason),
            _ => Ok(()),
        });
    }

    /// A log that can't be written stops nothing and is told once.
    fn written(&self, outcome: Result<(), Option<StoreError>>) {
        if let Err(Some(error)) = outcome {
            let message = format!("the log has gaps from here on: {error}");
            let failure = Failure::new(ExitCode::Local, message, error.hint());
            self.person.tell(Event::Failed { transfer: None, failure });
        }
    }
}

impl Reporter for Automation {
    fn tell(&self, event: Event) {
        self.follow(&event);
        self.person.tell(event);
    }

    fn show(&self, board: Board) {
        self.person.show(board);
    }

    fn hide(&self) {
        self.person.hide();
    }

    fn ask(&self, question: Question) -> BoxFuture<'_, Answer> {
        self.person.ask(question)
    }
}
