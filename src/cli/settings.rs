//! The settings file: values for flags, below those of the command line and of the environment.
//!
//! It knows no flag. What may be set, and to what, is asked of clap's definitions: each value is parsed as if it stood on
//! the command line, and becomes the default of its flag.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::builder::Resettable;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, CommandFactory, FromArgMatches, Id};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::args::{Cli, Command};
use super::{Failed, disk, failed};
use crate::events::{ExitCode, Failure};
use crate::names::inert;
use crate::store::{read_settings, settings_path};

/// A command line, with the settings below it.
pub(super) struct Parsed {
    pub(super) cli: Cli,
    /// Why the settings do not count.
    pub(super) problem: Option<Failed>,
}

/// Reads the command line `arguments`, then the settings.
///
/// # Errors
/// The command line is wrong, or asks for help.
pub(super) fn parse(arguments: Vec<OsString>) -> Result<Parsed, clap::Error> {
    let given = Cli::command().try_get_matches_from(&arguments)?;
    let cli = Cli::from_arg_matches(&given)?;
    if matches!(cli.command, Command::Completions(_) | Command::Man) {
        return Ok(Parsed { cli, problem: None });
    }
    let settings = match Settings::load(cli.common.config.as_deref()) {
        Ok(Some(settings)) => settings,
        Ok(None) => return Ok(Parsed { cli, problem: None }),
        Err(problem) => return Ok(Parsed { cli, problem: Some(problem) }),
    };
    match settings.below(&given) {
        Ok(definitions) => {
            let cli = Cli::from_arg_matches(&definitions.try_get_matches_from(&arguments)?)?;
            Ok(Parsed { cli, problem: None })
        }
        Err(problem) => Ok(Parsed { cli, problem: Some(problem) }),
    }
}

/// One value of the file, checked.
struct Setting {
    /// The command whose table it stands in.
    table: Option<String>,
    key: String,
    /// As it would stand on the command line; `None` for a switch that is off.
    word: Option<String>,
}

/// Everything that the file says.
pub(super) struct Settings {
    path: PathBuf,
    all: Vec<Setting>,
}

impl Settings {
    /// Reads the named file, or the one at its usual place, if it is there.
    fn load(named: Option<&Path>) -> Result<Option<Settings>, Failed> {
        let Some(path) = named.map(Path::to_owned).or_else(settings_path) else { return Ok(None) };
        match read_settings(&path).map_err(|error| disk(&error))? {
            Some(text) => Settings::read(&text, path).map(Some),
            None if named.is_none() => Ok(None),
            None => {
                let message = format!("`{}` is not there: no settings to read", inert(&path.to_string_lossy()));
                Err(failed(Failure::new(ExitCode::Local, message, "check the path of `--config`")))
            }
        }
    }

    pub(super) fn read(text: &str, path: PathBuf) -> Result<Settings, Failed> {
        let refused = |at: usize, Wrong { why, hint }: Wrong| {
            let line = text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
            let message = format!("`{}`, line {line}: {}", inert(&path.to_string_lossy()), inert(&why));
            failed(Failure::new(ExitCode::Usage, message, hint))
        };
        let document = DeTable::parse(text).map_err(|error| {
            let at = error.span().map_or(text.len(), |span| span.start);
            refused(at, wrong(error.message(), "settings are TOML, like `name = \"study\"`"))
        })?;
        let known = known();
        let mut all = Vec::new();
        for (key, value) in document.get_ref() {
            let check = |table, key: &Spanned<Cow<'_, str>>, value: &Spanned<DeValue<'_>>| {
                check(&known, table, key.get_ref(), value.get_ref()).map_err(|wrong| refused(key.span().start, wrong))
            };
            match value.get_ref() {
                DeValue::Table(table) if known.find_subcommand(key.get_ref().as_ref()).is_some() => {
                    for (inner, value) in table {
                        all.push(check(Some(key.get_ref()), inner, value)?);
                    }
                }
                DeValue::Table(_) => {
                    let why = format!("there is no command `{}`", key.get_ref());
                    return Err(refused(
                        key.span().start,
                        wrong(why, "a table is named after a command, like `[receive]`"),
                    ));
                }
                _ => all.push(check(None, key, value)?),
            }
        }
        Ok(Settings { path, all })
    }

    /// The definitions with these values as defaults of the command that `given` is of. What stands on the command line or
    /// in the environment takes away what contradicts it.
    fn below(&self, given: &ArgMatches) -> Result<clap::Command, Failed> {
        let mut settled = Cli::command();
        let Some((name, given)) = given.subcommand() else { return Ok(settled) };
        let known = known();
        let Some(command) = known.find_subcommand(name) else { return Ok(settled) };
        let mut merged: BTreeMap<&str, &Setting> = BTreeMap::new();
        for table in [None, Some(name)] {
            let of_table = self.all.iter().filter(|setting| setting.table.as_deref() == table);
            merged.extend(of_table.map(|setting| (setting.key.as_str(), setting)));
        }
        let said: Vec<&Arg> = command.get_arguments().filter(|arg| is_said(given, arg)).collect();
        let stays = |arg: &Arg| !said.iter().any(|said| *said == arg || contradict(command, said, arg));
        let values = merged.into_values().filter_map(|setting| {
            let arg = find(command, &setting.key).filter(|arg| is_settable(arg) && stays(arg))?;
            Some((arg, setting.word.as_deref()?))
        });
        let values: Vec<(&Arg, &str)> = values.collect();
        let read = read(name, values.iter().map(|(_, word)| *word)).map_err(|why| {
            let message = format!("`{}`: {why}", inert(&self.path.to_string_lossy()));
            failed(Failure::new(ExitCode::Usage, message, "take one of them out"))
        })?;
        for (arg, _) in values {
            let id = arg.get_id().as_str();
            let raw: Vec<OsString> = read.get_raw(id).into_iter().flatten().map(OsString::from).collect();
            let with_default = |arg: Arg| arg.default_values(raw);
            settled = match arg.is_global_set() {
                true => settled.mut_arg(id, with_default),
                false => settled.mut_subcommand(name, |command| command.mut_arg(id, with_default)),
            };
        }
        Ok(settled)
    }
}

/// What is wrong with a setting, and what to try.
struct Wrong {
    why: String,
    hint: String,
}

fn wrong(why: impl Into<String>, hint: impl Into<String>) -> Wrong {
    Wrong { why: why.into(), hint: hint.into() }
}

/// What the flags are: each command with those of every command.
fn known() -> clap::Command {
    let mut definitions = Cli::command();
    definitions.build();
    definitions
}

/// Reads flags of a command as if nothing else were given, neither in the environment nor what it can't do without.
///
/// # Errors
/// What clap says.
fn read<'a>(command: &'a str, words: impl IntoIterator<Item = &'a str>) -> Result<ArgMatches, String> {
    let alone = |arg: Arg| match arg.is_positional() {
        true => Arg::new(arg.get_id().clone()).num_args(0..),
        false => arg.env(Resettable::Reset),
    };
    let definitions = Cli::command().mut_args(alone).mut_subcommands(|command| command.mut_args(alone));
    let mut matches =
        definitions.try_get_matches_from(["qrdrop", command].into_iter().chain(words)).map_err(|error| {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            line.trim_start_matches("error: ").to_owned()
        })?;
    Ok(matches.remove_subcommand().map(|(_, matches)| matches).unwrap_or_default())
}

fn find<'a>(command: &'a clap::Command, key: &str) -> Option<&'a Arg> {
    command.get_arguments().find(|arg| arg.get_long() == Some(key))
}

/// Links, words of the person and whom to send to are for one run. So is what has no variable, which must be said each
/// time, and the name of the file itself.
fn is_settable(arg: &Arg) -> bool {
    arg.get_env().is_some() && !arg.is_hide_env_values_set() && !["config", "all"].contains(&arg.get_id().as_str())
}

fn is_said(given: &ArgMatches, arg: &Arg) -> bool {
    let asks =
        matches!(arg.get_action(), ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version);
    let source = if asks { None } else { given.value_source(arg.get_id().as_str()) };
    matches!(source, Some(ValueSource::CommandLine | ValueSource::EnvVariable))
}

fn contradict(command: &clap::Command, one: &Arg, other: &Arg) -> bool {
    let names = |arg, id: &Id| command.get_arg_conflicts_with(arg).iter().any(|arg| arg.get_id() == id);
    names(one, other.get_id()) || names(other, one.get_id())
}

/// Checks one value, of a command's table or for all that know the key.
fn check(known: &clap::Command, table: Option<&str>, key: &str, value: &DeValue<'_>) -> Result<Setting, Wrong> {
    let concerned = || known.get_subcommands().filter(|command| table.is_none_or(|table| command.get_name() == table));
    let found = |key: &str| concerned().filter_map(|command| Some((command, find(command, key)?))).collect::<Vec<_>>();
    let flags = found(key);
    let Some((command, arg)) = flags.iter().find(|(_, arg)| is_settable(arg)) else {
        let dashed = key.replace('_', "-");
        return Err(match (flags.is_empty(), table) {
            (false, _) => wrong(format!("`{key}` can't be set here"), "it is for the command line of one run"),
            (true, _) if !found(&dashed).is_empty() => {
                wrong(format!("there is no `{key}`"), format!("write `{dashed}`"))
            }
            (true, Some(table)) => {
                wrong(format!("`{table}` has no flag `{key}`"), format!("see `qrdrop {table} --help`"))
            }
            (true, None) => wrong(format!("no command has a flag `{key}`"), "a key is a flag without its `--`"),
        });
    };
    let word = word(arg, key, value)?;
    let read = read(command.get_name(), word.as_deref());
    read.map_err(|why| wrong(why, format!("see `qrdrop {} --help`", command.get_name())))?;
    Ok(Setting { table: table.map(str::to_owned), key: key.to_owned(), word })
}

/// A value as it would stand on the command line; nothing for a switch that is off.
fn word(arg: &Arg, key: &str, value: &DeValue<'_>) -> Result<Option<String>, Wrong> {
    let takes_value = arg.get_action().takes_values();
    let stands_alone = !takes_value || arg.get_num_args().is_some_and(|count| count.min_values() == 0);
    let text = match value {
        DeValue::Boolean(on) if stands_alone => return Ok(on.then(|| format!("--{key}"))),
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix()).ok().map(|n| n.to_string()),
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        _ => None,
    };
    match text.filter(|_| takes_value) {
        Some(text) => Ok(Some(format!("--{key}={text}"))),
        None if takes_value => Err(wrong(
            format!("`{key}` can't be set to this {}", value.type_str()),
            "write in quotes what would stand on the command line",
        )),
        None => Err(wrong(format!("`{key}` is a switch"), "write `true` or `false`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, Failed> {
        Settings::read(text, PathBuf::from("config.toml"))
    }

    /// What the command line `words` comes to with this file.
    fn parsed(text: &str, words: &[&str]) -> Cli {
        let words = ["qrdrop"].iter().chain(words);
        let given = Cli::command().try_get_matches_from(words.clone()).unwrap();
        let definitions = read(text).and_then(|settings| settings.below(&given)).unwrap();
        Cli::from_arg_matches(&definitions.try_get_matches_from(words).unwrap()).unwrap()
    }

    fn receive(text: &str, words: &[&str]) -> super::super::args::Receive {
        let words: Vec<&str> = ["receive"].iter().chain(words).copied().collect();
        let Command::Receive(receive) = parsed(text, &words).command else { unreachable!("it was `receive`") };
        receive
    }

    #[test]
    fn the_line_wins_over_the_commands_table_and_that_over_the_top() {
        let text = "port = 1\ntimeout = 90\n[receive]\nport = 2\nonce = true\n[send]\nport = 3\n";
        let from_file = receive(text, &[]);
        assert_eq!((from_file.hosting.port, from_file.once), (Some(2), true));
        assert_eq!(from_file.hosting.timeout, Some(std::time::Duration::from_secs(90)));
        assert_eq!(receive(text, &["--port", "4"]).hosting.port, Some(4));
        let Command::Send(send) = parsed(text, &["send", "a"]).command else { unreachable!("it was `send`") };
        assert_eq!(send.hosting.port, Some(3));
    }

    #[test]
    fn values_are_written_as_toml_has_them_or_as_on_the_command_line() {
        let text = "json = true\nyes = true\nmax-size = \"2GB\"\nlimit = 20_000\ncolor = \"never\"\nport = 0x1389\n";
        assert!(parsed(text, &["list"]).common.json);
        let receive = receive(text, &[]);
        assert_eq!((receive.max_size, receive.hosting.port), (Some(2_000_000_000), Some(5001)));
        assert_eq!(receive.hosting.yes, Some(super::super::values::Yes::Verified));
        assert_eq!(parsed(text, &["send", "a"]).common.color, super::super::values::Color::Never);
    }

    #[test]
    fn a_switch_that_is_off_in_a_table_is_off_there() {
        assert!(!receive("hidden = true\n[receive]\nhidden = false", &[]).hosting.hidden);
    }

    #[test]
    fn the_line_takes_away_what_contradicts_it() {
        let receive = receive("no-web = true", &["--https"]);
        assert!(receive.hosting.https && !receive.hosting.no_web);
        assert!(!parsed("quiet = true", &["list", "-v"]).common.quiet);
        let given = Cli::command().try_get_matches_from(["qrdrop", "receive"]).unwrap();
        let (_, failure) = read("no-web = true\nhttps = true").unwrap().below(&given).unwrap_err();
        assert!(failure.message.contains("--https") && failure.message.contains("--no-web"), "{failure}");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (text, line, part) in [
            ("\nport = = 2", 2, ""),
            ("colour = 1", 1, "no command has a flag `colour`"),
            ("\n\n[receive]\n\nport = \"much\"", 5, "much"),
            ("[receive]\nkeep = true", 2, "`receive` has no flag `keep`"),
            ("[recieve]\nport = 1", 1, "no command `recieve`"),
            ("max_size = 1", 1, "max_size"),
            ("hidden = \"yes\"", 1, "is a switch"),
            ("port = true", 1, "boolean"),
            ("port = [1]", 1, "array"),
            ("port = 1979-05-27", 1, "datetime"),
            ("port = 1\nport = 2", 2, "duplicate"),
            ("\"a\\u001b[2J\" = 1", 1, "a\u{fffd}[2J"),
        ] {
            let Err((_, failure)) = read(text) else { panic!("`{text}` is taken") };
            assert_eq!(failure.code, ExitCode::Usage);
            let place = format!("`config.toml`, line {line}: ");
            assert!(failure.message.starts_with(&place) && failure.message.contains(part), "`{text}`: {failure}");
            assert!(!failure.hint.is_empty(), "`{text}`");
        }
    }

    #[test]
    fn what_is_for_one_run_is_refused_wherever_it_stands() {
        for key in ["to", "all", "from", "text", "config", "version"] {
            let Err((_, failure)) = read(&format!("{key} = \"x\"")) else { panic!("`{key}` is taken") };
            assert!(failure.message.contains("can't be set here"), "`{key}`: {failure}");
        }
        assert!(read("[send]\nclassic = true").is_err());
        assert!(read("classic = \"off\"").is_ok(), "that of `receive` is no such thing");
    }

    #[test]
    fn every_flag_that_may_be_set_can_be_set() {
        let known = known();
        for command in known.get_subcommands() {
            for arg in command.get_arguments().filter(|arg| is_settable(arg)) {
                let key = arg.get_long().unwrap();
                let values =
                    ["true", "1", "\"1s\"", "\"x\"", "\"auto\"", "\"rename\"", "\"ask\"", "\"127.0.0.1\"", "\"20MB\""];
                let set = |value| read(&format!("[{}]\n{key} = {value}", command.get_name())).is_ok();
                assert!(values.into_iter().any(set), "{} {key}", command.get_name());
            }
        }
    }
}
