use std::path::Path;
use std::str::FromStr;

/// A program and its arguments, split from one line without a shell.
///
/// The rule is that of a POSIX shell's words and nothing else of it: spaces part, `'…'` keeps everything, in `"…"` a `\`
/// quotes `"`, `\`, `$` and `` ` ``, elsewhere it quotes any character, and a word that begins with `#` begins a
/// comment. Nothing is expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    pub(super) program: String,
    pub(super) arguments: Vec<String>,
}

/// Why a line is no command.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CommandLineError {
    /// A quotation mark without its other half, or a `\` at the end.
    #[error("a quotation mark is not closed, or `\\` ends the line")]
    Unclosed,
    /// There is no word in it, or the first one is empty.
    #[error("it names no program")]
    Empty,
    /// No system takes it as an argument.
    #[error("a NUL byte can't be part of a command")]
    Nul,
}

impl FromStr for CommandLine {
    type Err = CommandLineError;

    fn from_str(line: &str) -> Result<Self, CommandLineError> {
        if line.contains('\0') {
            return Err(CommandLineError::Nul);
        }
        let mut words = shlex::split(line).ok_or(CommandLineError::Unclosed)?.into_iter();
        let program = words.next().filter(|program| !program.is_empty()).ok_or(CommandLineError::Empty)?;
        Ok(CommandLine { program, arguments: words.collect() })
    }
}

impl CommandLine {
    /// Whether the program is where a call would look for it. Other systems than Unix add endings and places of their
    /// own, and find out when it is run.
    pub(super) fn exists(&self) -> bool {
        if !cfg!(unix) {
            return true;
        }
        if self.program.contains('/') {
            return Path::new(&self.program).is_file();
        }
        std::env::var_os("PATH")
            .is_some_and(|places| std::env::split_paths(&places).any(|place| place.join(&self.program).is_file()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Result<Vec<String>, CommandLineError> {
        let CommandLine { program, arguments } = line.parse()?;
        Ok([program].into_iter().chain(arguments).collect())
    }

    #[test]
    fn words_are_split_as_a_shell_splits_them_and_nothing_is_expanded() {
        for (line, expected) in [
            ("notify", vec!["notify"]),
            ("  mv   -t  /srv ", vec!["mv", "-t", "/srv"]),
            ("sh -c 'echo \"$QRDROP_PATH\"'", vec!["sh", "-c", "echo \"$QRDROP_PATH\""]),
            (r#"a "b c" d\ e "\"""#, vec!["a", "b c", "d e", "\""]),
            ("a $HOME *.jpg ~ `id` $(id) ; rm & | > <", {
                vec!["a", "$HOME", "*.jpg", "~", "`id`", "$(id)", ";", "rm", "&", "|", ">", "<"]
            }),
            ("a '' b", vec!["a", "", "b"]),
            ("a # b", vec!["a"]),
        ] {
            assert_eq!(words(line).unwrap(), expected, "`{line}`");
        }
    }

    #[test]
    fn what_is_no_command_is_an_error() {
        for (line, expected) in [
            ("", CommandLineError::Empty),
            ("  # nothing", CommandLineError::Empty),
            ("'' a", CommandLineError::Empty),
            ("a 'b", CommandLineError::Unclosed),
            ("a \"b", CommandLineError::Unclosed),
            ("a \\", CommandLineError::Unclosed),
            ("a \0b", CommandLineError::Nul),
        ] {
            assert_eq!(words(line), Err(expected), "`{line}`");
        }
    }
}
