//! What is generated from the definitions of the flags: completions and the manual page.

use std::sync::Arc;

use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;

use super::Done;
use super::args::Cli;
use crate::events::ExitCode;
use crate::ui::Ui;

/// What the definitions do not say, in the language of man(7).
const REST: &str = include_str!("manual_page_end.roff");

/// Prints `text`, which is all that there is to say.
pub(super) fn print(text: &str, ui: &Arc<Ui>) -> Done {
    text.lines().for_each(|line| ui.write_stdout(line));
    Done { code: ExitCode::Ok, reason: None }
}

/// A script for `shell`.
pub(super) fn completions(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "qrdrop", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// One page for all commands, each in a section of its own.
pub(super) fn manual_page() -> String {
    let bare = |command: clap::Command| command.disable_help_flag(true).disable_version_flag(true);
    let command = bare(Cli::command());
    let subcommands: Vec<(String, clap::Command)> =
        command.get_subcommands().flat_map(|part| nested("", part)).collect();
    let whole = Man::new(command);
    let mut page = rendered(|page| {
        whole.render_title(page)?;
        whole.render_name_section(page)?;
        whole.render_synopsis_section(page)?;
        whole.render_options_section(page)
    });
    page = page.replace(".SH OPTIONS", ".SH FLAGS OF EVERY COMMAND");
    for (name, command) in subcommands {
        let heading = format!(".SH {}", name.to_uppercase());
        let part = Man::new(bare(command).bin_name(format!("qrdrop {name}")));
        let section = rendered(|page| {
            part.render_synopsis_section(page)?;
            part.render_description_section(page)?;
            part.render_options_section(page)
        });
        page +=
            &section.replace(".SH SYNOPSIS", &heading).replace(".SH DESCRIPTION", ".PP").replace(".SH OPTIONS\n", "");
    }
    page + REST
}

/// A command by its whole name, and those below it.
fn nested(above: &str, command: &clap::Command) -> Vec<(String, clap::Command)> {
    let name = format!("{above} {}", command.get_name()).trim_start().to_owned();
    let below = command.get_subcommands().flat_map(|part| nested(&name, part)).collect::<Vec<_>>();
    [(name, command.clone())].into_iter().chain(below).collect()
}

fn rendered(render: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> String {
    let mut page = Vec::new();
    render(&mut page).expect("writing into memory does not fail");
    String::from_utf8_lossy(&page).into_owned()
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    /// Each command with its long flags, those of every command included.
    fn flags() -> Vec<(String, Vec<String>)> {
        let mut definitions = Cli::command();
        definitions.build();
        let longs = |command: &clap::Command| {
            let own = command.get_arguments().filter_map(|arg| arg.get_long());
            own.filter(|long| !["help", "version"].contains(long)).map(str::to_owned).collect()
        };
        definitions.get_subcommands().map(|command| (command.get_name().to_owned(), longs(command))).collect()
    }

    #[test]
    fn the_manual_page_knows_every_flag_of_every_command() {
        let page = manual_page();
        let common = page.split(".SH ").find(|part| part.starts_with("FLAGS OF EVERY COMMAND")).unwrap();
        for (command, longs) in flags() {
            let heading = format!("{}\n", command.to_uppercase());
            let section = page.split(".SH ").find(|part| part.starts_with(&heading)).unwrap();
            for long in longs {
                let entry = format!("\\fB\\-\\-{}\\fR", long.replace('-', "\\-"));
                assert!(section.contains(&entry) || common.contains(&entry), "{command} --{long}");
            }
        }
    }

    #[test]
    fn every_shell_knows_every_flag() {
        for shell in Shell::value_variants() {
            let script = completions(*shell);
            for (command, longs) in flags() {
                assert!(script.contains(&command), "{shell} {command}");
                for long in longs {
                    // fish names them without dashes
                    let ways = [format!("--{long}"), format!("-l {long}")];
                    assert!(ways.iter().any(|way| script.contains(way)), "{shell} {command} --{long}");
                }
            }
        }
    }
}
