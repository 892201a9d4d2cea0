//! The command line. Every flag can also be set by `QRDROP_` and its name in capitals.

use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{Args, Parser, Subcommand, value_parser};
use clap_complete::Shell;

use super::values::{ClassicMode, Color, Compressing, Existing, Qr, Ttl, Yes, duration, rate, size, ttl};
use crate::automation::CommandLine;
use crate::wire::LANES_CAP;

/// Move files across a room: scan a QR code, send, done.
#[derive(Debug, Parser)]
#[command(name = "qrdrop", version, about, propagate_version = true, disable_help_subcommand = true)]
pub(super) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(super) command: Command,
    /// Flags of every command.
    #[command(flatten)]
    pub(super) common: Common,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Take files: listen, draw the QR code, store what is accepted
    Receive(Receive),
    /// Send files, folders or a text to a receiver, or let others fetch them
    Send(Send),
    /// Show the receivers nearby
    List(List),
    /// List, rename or forget the devices that are remembered
    Devices(Devices),
    /// Look why others can't find or reach this device
    Doctor(Doctor),
    /// Print completions for a shell
    Completions(Completions),
    /// Print the manual page
    Man,
    /// Talk and share files in a room: host one, or join one
    Chat(Chat),
}

/// Flags of every command.
#[derive(Debug, Args)]
pub(super) struct Common {
    /// Say what happens as JSON on standard output, one object a line
    #[arg(value_parser = BoolishValueParser::new(), long, global = true, env = "QRDROP_JSON")]
    pub(super) json: bool,
    /// Show only errors and questions
    #[arg(value_parser = BoolishValueParser::new(), short, long, global = true, conflicts_with = "verbose", env = "QRDROP_QUIET")]
    pub(super) quiet: bool,
    /// Show every file
    #[arg(value_parser = BoolishValueParser::new(), short, long, global = true, env = "QRDROP_VERBOSE")]
    pub(super) verbose: bool,
    /// Use colour
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", env = "QRDROP_COLOR")]
    pub(super) color: Color,
    /// Folder for what qrdrop has to remember
    #[arg(long, global = true, value_name = "DIR", env = "QRDROP_STATE_DIR")]
    pub(super) state_dir: Option<PathBuf>,
    /// File with values for flags [default: qrdrop/config.toml in the folder for settings]
    #[arg(long, global = true, value_name = "FILE", env = "QRDROP_CONFIG")]
    pub(super) config: Option<PathBuf>,
    /// Use only this interface: its name or one of its addresses
    #[arg(long, global = true, value_name = "NAME|IP", env = "QRDROP_INTERFACE")]
    pub(super) interface: Option<String>,
    /// The name that others see [default: the host name]
    #[arg(long, global = true, value_name = "NAME", env = "QRDROP_NAME")]
    pub(super) name: Option<String>,
    /// How long a question waits for a person before it counts as No
    #[arg(long, global = true, value_name = "DURATION", default_value = "2m", value_parser = duration, env = "QRDROP_ASK_TIMEOUT")]
    pub(super) ask_timeout: Duration,
}

/// `qrdrop receive`.
#[derive(Debug, Args)]
pub(super) struct Receive {
    /// Where files go
    #[arg(value_name = "DIR", default_value = ".")]
    pub(super) folder: PathBuf,
    /// Fetch from there instead of hosting: an outbox's name, its link, ip[:port], or - or @FILE to read the last link there
    #[arg(long, value_name = "TARGET", hide_env_values = true, env = "QRDROP_FROM")]
    pub(super) from: Option<String>,
    /// How the port is open.
    #[command(flatten)]
    pub(super) hosting: Hosting,
    /// Hold a room for messages and files beside it; with `--from`, join that of the outbox
    #[arg(value_parser = BoolishValueParser::new(), long, conflicts_with = "stdout", env = "QRDROP_CHAT")]
    pub(super) chat: bool,
    /// Leave after the first finished transfer
    #[arg(value_parser = BoolishValueParser::new(), long, env = "QRDROP_ONCE")]
    pub(super) once: bool,
    /// Write one file to standard output instead of storing it, and leave
    #[arg(value_parser = BoolishValueParser::new(), long, conflicts_with = "on_stored", env = "QRDROP_STDOUT")]
    pub(super) stdout: bool,
    /// What to do with names that exist
    #[arg(long, value_name = "WHAT", default_value = "rename", env = "QRDROP_IF_EXISTS")]
    pub(super) if_exists: Existing,
    /// Refuse transfers that are larger than this, e.g. 2GB
    #[arg(long, value_name = "SIZE", value_parser = size, env = "QRDROP_MAX_SIZE")]
    pub(super) max_size: Option<u64>,
    /// With `--from`, open at most so many connections at once
    #[arg(value_parser = value_parser!(u16).range(1..=i64::from(LANES_CAP)), long, value_name = "COUNT", default_value_t = LANES_CAP, env = "QRDROP_LANES")]
    pub(super) lanes: u16,
    /// With `--from`, how long the outbox is looked for after a cut
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration, env = "QRDROP_RETRY")]
    pub(super) retry: Duration,
    /// What to do with senders that speak the tutorial's plain protocol
    #[arg(long, value_name = "WHAT", default_value = "ask", env = "QRDROP_CLASSIC")]
    pub(super) classic: ClassicMode,
    /// Run this command, without a shell, for each stored file; QRDROP_PATH is where it is
    #[arg(long, value_name = "COMMAND", env = "QRDROP_ON_STORED")]
    pub(super) on_stored: Option<CommandLine>,
}

/// Flags of the commands that open a port and draw a code.
#[derive(Debug, Args)]
pub(super) struct Hosting {
    /// TCP port; 0 is any [default: 5001, or the next free one]
    #[arg(long, value_name = "PORT", env = "QRDROP_PORT")]
    pub(super) port: Option<u16>,
    /// Don't advertise over mDNS
    #[arg(value_parser = BoolishValueParser::new(), long, env = "QRDROP_HIDDEN")]
    pub(super) hidden: bool,
    /// Serve the page for phones inside TLS: they warn of a certificate that nobody signed
    #[arg(value_parser = BoolishValueParser::new(), long, conflicts_with = "no_web", env = "QRDROP_HTTPS")]
    pub(super) https: bool,
    /// Leave if nobody came within this time
    #[arg(long, value_name = "DURATION", value_parser = duration, env = "QRDROP_TIMEOUT")]
    pub(super) timeout: Option<Duration>,
    /// Take or give without asking where the other side is at least this well known
    #[arg(long, value_name = "LEVEL", num_args = 0..=1, require_equals = true, default_missing_value = "verified", env = "QRDROP_YES")]
    pub(super) yes: Option<Yes>,
    /// No page for phones: the code holds the `qrdrop://` link
    #[arg(value_parser = BoolishValueParser::new(), long, env = "QRDROP_NO_WEB")]
    pub(super) no_web: bool,
    /// Show a one-time address for curl
    #[arg(value_parser = BoolishValueParser::new(), long, conflicts_with = "no_web", env = "QRDROP_CURL")]
    pub(super) curl: bool,
    /// Let peers in from outside private networks
    #[arg(value_parser = BoolishValueParser::new(), long, env = "QRDROP_EXPOSE")]
    pub(super) expose: bool,
    /// Write both links to this file, for you alone
    #[arg(long, value_name = "FILE", env = "QRDROP_INVITE_FILE")]
    pub(super) invite_file: Option<PathBuf>,
    /// How long a code is good [default: 10m while one is drawn, else run]
    #[arg(long, value_name = "DURATION|run", value_parser = ttl, env = "QRDROP_INVITE_TTL")]
    pub(super) invite_ttl: Option<Ttl>,
    /// Draw the code
    #[arg(long, value_name = "WHEN", default_value = "auto", env = "QRDROP_QR")]
    pub(super) qr: Qr,
    /// Write the code as a picture
    #[arg(long, value_name = "FILE", env = "QRDROP_QR_PNG")]
    pub(super) qr_png: Option<PathBuf>,
    /// Remember the device at the other side, if it is started with this too: from then on no code is compared
    #[arg(value_parser = BoolishValueParser::new(), long, env = "QRDROP_REMEMBER")]
    pub(super) remember: bool,
    /// Add a line of JSON to this file for each transfer
    #[arg(long, value_name = "FILE", env = "QRDROP_LOG")]
    pub(super) log: Option<PathBuf>,
}

/// `qrdrop send`.
#[derive(Debug, Args)]
pub(super) struct Send {
    /// Files and folders; - is standard input
    #[arg(value_name = "PATH", required_unless_present = "text")]
    pub(super) paths: Vec<PathBuf>,
    /// The name that standard input is sent under
    #[arg(long, value_name = "NAME", default_value = "stdin", env = "QRDROP_NAME_AS")]
    pub(super) name_as: String,
    /// A text for the other side's screen, beside or in place of files
    #[arg(long, value_name = "TEXT", hide_env_values = true, env = "QRDROP_TEXT")]
    pub(super) text: Option<String>,
    /// The receiver: its name, its link, ip[:port], or - or @FILE to read the last link there; again for others. Without
    /// it others fetch
    #[arg(long, value_name = "TARGET", conflicts_with = "scan", hide_env_values = true, env = "QRDROP_TO")]
    pub(super) to: Vec<String>,
    /// Every remembered receiver that is found
    #[arg(value_parser = BoolishValueParser::new(), long, conflicts_with_all = ["to", "scan", "classic"], env = "QRDROP_ALL")]
    pub(super) all: bool,
    /// A picture of the receiver's QR code
    #[arg(long, value_name = "PICTURE", env = "QRDROP_SCAN")]
    pub(super) scan: Option<PathBuf>,
    /// Go on after somebody has fetched everything
    #[arg(value_parser = BoolishValueParser::new(), long, env = "QRDROP_KEEP")]
    pub(super) keep: bool,
    /// Hold a room for messages and files beside it; with a receiver, join the one there
    #[arg(value_parser = BoolishValueParser::new(), long, conflicts_with_all = ["all", "classic"], env = "QRDROP_CHAT")]
    pub(super) chat: bool,
    /// How the port is open while others may fetch.
    #[command(flatten)]
    pub(super) hosting: Hosting,
    /// Speak the tutorial's plain protocol: one file, nothing encrypted
    // No variable: whoever sends unencrypted has to say so each time.
    #[arg(long, conflicts_with = "text")]
    pub(super) classic: bool,
    /// Compress on the way
    #[arg(long, value_name = "WHEN", default_value = "auto", env = "QRDROP_COMPRESS")]
    pub(super) compress: Compressing,
    /// Make pictures smaller before they are sent: JPEG with a little loss, PNG without; the files here stay as they are
    #[arg(value_parser = BoolishValueParser::new(), long, env = "QRDROP_OPTIMIZE_IMAGES")]
    pub(super) optimize_images: bool,
    /// Make PDFs smaller before they are sent, without loss
    #[arg(value_parser = BoolishValueParser::new(), long, env = "QRDROP_OPTIMIZE_PDFS")]
    pub(super) optimize_pdfs: bool,
    /// Scale pictures down until their longer edge has so many pixels; `--optimize-images` is meant with it
    #[arg(long, value_name = "PIXELS", env = "QRDROP_MAX_EDGE")]
    pub(super) max_edge: Option<NonZeroU32>,
    /// Remove from pictures where they were taken; pictures and videos in which that can't be done are left out
    #[arg(value_parser = BoolishValueParser::new(), long, env = "QRDROP_STRIP_LOCATION")]
    pub(super) strip_location: bool,
    /// Send at most so many bytes a second, like 500kB or 20MB
    #[arg(value_parser = rate, long, value_name = "RATE", env = "QRDROP_LIMIT")]
    pub(super) limit: Option<NonZeroU64>,
    /// Open at most so many connections to a receiver at once
    #[arg(value_parser = value_parser!(u16).range(1..=i64::from(LANES_CAP)), long, value_name = "COUNT", default_value_t = LANES_CAP, env = "QRDROP_LANES")]
    pub(super) lanes: u16,
    /// How long the receiver is looked for after a cut
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration, env = "QRDROP_RETRY")]
    pub(super) retry: Duration,
    /// Send what symbolic links point to
    #[arg(value_parser = BoolishValueParser::new(), long, env = "QRDROP_FOLLOW_LINKS")]
    pub(super) follow_links: bool,
}

/// `qrdrop list`.
#[derive(Debug, Args)]
pub(super) struct List {
    /// How long to listen
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration, env = "QRDROP_WAIT")]
    pub(super) wait: Duration,
}

/// `qrdrop devices`.
#[derive(Debug, Args)]
pub(super) struct Devices {
    /// What to do with them; to list them, unless said otherwise.
    #[command(subcommand)]
    pub(super) action: Option<Action>,
}

/// What is done with remembered devices.
#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// List them
    List,
    /// Give one another name
    Rename {
        /// Its name, or its key mark
        #[arg(value_name = "OLD")]
        old: String,
        /// The name that it gets
        #[arg(value_name = "NEW")]
        new: String,
    },
    /// Forget one: it is a stranger from then on
    Forget {
        /// Its name, or its key mark
        #[arg(value_name = "NAME")]
        name: String,
    },
}

/// `qrdrop doctor`.
#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// TCP port that should be open [default: 5001, or the next free one]
    #[arg(long, value_name = "PORT", env = "QRDROP_PORT")]
    pub(super) port: Option<u16>,
}

/// `qrdrop completions`.
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// For which shell
    #[arg(value_name = "SHELL")]
    pub(super) shell: Shell,
}

/// `qrdrop chat`.
#[derive(Debug, Args)]
pub(super) struct Chat {
    /// Where files that you take go
    #[arg(value_name = "DIR", default_value = ".")]
    pub(super) folder: PathBuf,
    /// Join that room: its name, its link, ip[:port], or @FILE to read the last link there. Without it others join yours
    #[arg(long, value_name = "TARGET", conflicts_with = "scan", hide_env_values = true, env = "QRDROP_TO")]
    pub(super) to: Option<String>,
    /// Join the room whose QR code is in this picture
    #[arg(long, value_name = "PICTURE", env = "QRDROP_SCAN")]
    pub(super) scan: Option<PathBuf>,
    /// Add every message to this file, for you alone; without it none is kept
    #[arg(long, value_name = "FILE", env = "QRDROP_HISTORY")]
    pub(super) history: Option<PathBuf>,
    /// How the port is open.
    #[command(flatten)]
    pub(super) hosting: Hosting,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definitions_hold_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_has_the_variable_of_its_name() {
        let mut checked = 0;
        let definitions = Cli::command();
        let subcommands = definitions.get_subcommands().map(|command| (command.get_name(), command));
        for (name, command) in subcommands.chain([("", &definitions)]) {
            for (arg, long) in command.get_arguments().filter_map(|arg| Some((arg, arg.get_long()?))) {
                let expected = format!("QRDROP_{}", long.replace('-', "_").to_uppercase());
                let expected = if (name, long) == ("send", "classic") { None } else { Some(expected) };
                assert_eq!(
                    arg.get_env().map(|variable| variable.to_string_lossy().into_owned()),
                    expected,
                    "{name} {long}"
                );
                checked += 1;
            }
        }
        assert!(checked > 40);
    }

    #[test]
    fn what_a_command_for_stored_files_is_told_sets_no_flag_of_a_qrdrop_that_it_runs() {
        let definitions = Cli::command();
        let commands = definitions.get_subcommands().chain([&definitions]);
        let flags: Vec<_> =
            commands.flat_map(|command| command.get_arguments()).filter_map(|arg| arg.get_env()).collect();
        assert!(crate::automation::VARIABLES.iter().all(|variable| !flags.iter().any(|flag| flag == variable)));
    }

    #[test]
    fn a_bare_yes_means_verified() {
        let cli = Cli::parse_from(["qrdrop", "receive", "--yes"]);
        let Command::Receive(receive) = cli.command else { unreachable!("it was `receive`") };
        assert_eq!(receive.hosting.yes, Some(Yes::Verified));
    }
}
