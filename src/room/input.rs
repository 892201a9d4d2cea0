//! What a person or a script types.

use crate::wire::MESSAGE_CAP;

/// The commands, each with what it takes and what it does.
pub const COMMANDS: [(&str, &str, &str); 8] = [
    ("/send", "PATH", "offers a file or folder to everybody in the room"),
    ("/get", "N", "takes what was offered under that number"),
    ("/who", "", "says who is here and what there is to take"),
    ("/remove", "N", "sends that member out; the host's word alone"),
    ("/code", "", "shows the code, or puts it away"),
    ("/new", "", "makes a new code; the old one is good for two more minutes"),
    ("/help", "", "lists these"),
    ("/quit", "", "leaves"),
];

/// A line, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// To be said.
    Say(String),
    /// Files to be offered.
    Send(String),
    /// An offer to be taken.
    Get(u32),
    /// Who is here, and what there is.
    Who,
    /// A member to be sent out.
    Remove(u32),
    /// The code, shown or put away.
    Code,
    /// Another code.
    New,
    /// The commands.
    Help,
    /// The end.
    Quit,
    /// Nothing was typed.
    Nothing,
}

/// Understands a line. One that begins with `/` is a command; `//` says a line that begins with `/`.
///
/// # Errors
/// What is wrong with it, for the person who typed it.
pub fn parse(line: &str) -> Result<Input, String> {
    let line = line.trim_end_matches(['\r', '\n']);
    let Some(command) = line.strip_prefix('/') else { return say(line) };
    if command.starts_with('/') {
        return say(command);
    }
    let (word, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
    let rest = rest.trim();
    let alone = |input| match rest {
        "" => Ok(input),
        _ => Err(format!("`/{word}` stands alone")),
    };
    match word {
        "send" if rest.is_empty() => Err("`/send` takes the path of a file or folder".to_owned()),
        "send" => Ok(Input::Send(unquoted(rest).to_owned())),
        "get" => number(rest).map(Input::Get).ok_or_else(|| "`/get` takes the number of an offer".to_owned()),
        "remove" => number(rest).map(Input::Remove).ok_or_else(|| "`/remove` takes the number of a member".to_owned()),
        "who" => alone(Input::Who),
        "code" => alone(Input::Code),
        "new" => alone(Input::New),
        "help" => alone(Input::Help),
        "quit" => alone(Input::Quit),
        _ => Err(format!("there is no command `/{word}`; `//` begins a message with `/`, `/help` lists the commands")),
    }
}

fn say(text: &str) -> Result<Input, String> {
    match text.len() {
        _ if text.trim().is_empty() => Ok(Input::Nothing),
        0..=MESSAGE_CAP => Ok(Input::Say(text.to_owned())),
        _ => Err("a message of more than 64 KiB is too long; send it as a file".to_owned()),
    }
}

/// `#3` as `3`: as offers are shown.
fn number(text: &str) -> Option<u32> {
    text.strip_prefix('#').unwrap_or(text).parse().ok()
}

/// A path as it was pasted or dragged into a terminal.
fn unquoted(path: &str) -> &str {
    let inside = |quote| path.strip_prefix(quote)?.strip_suffix(quote);
    inside('\'').or_else(|| inside('"')).unwrap_or(path)
}
