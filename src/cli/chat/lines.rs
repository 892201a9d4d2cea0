//! What is typed, or comes from standard input, as lines.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::thread;

use tokio::sync::mpsc;

use crate::room::COMMANDS;
use crate::store::complete_path;
use crate::ui::{Complete, Ui};
use crate::wire::MESSAGE_CAP;

/// What is kept of a line: enough to see that it is too long.
pub(in crate::cli) const LINE_MOST: usize = MESSAGE_CAP + 1;

/// Lines that may wait; whoever pipes more is made to wait by the pipe.
const WAITING: usize = 64;

/// The lines of a person at a terminal, or else of standard input.
pub(super) fn lines(ui: &Arc<Ui>) -> mpsc::Receiver<String> {
    let complete: Complete = Arc::new(candidates);
    match ui.lines(complete) {
        Some(lines) => lines,
        None => read_lines(io::stdin()),
    }
}

/// On a thread of its own, which ends with the input or when nobody wants more.
fn read_lines(input: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (lines, read) = mpsc::channel(WAITING);
    let read_all = move || {
        let mut input = BufReader::new(input);
        while let Ok(Some(line)) = next_line(&mut input) {
            if lines.blocking_send(line).is_err() {
                break;
            }
        }
    };
    // A machine that can start no thread has no input.
    drop(thread::Builder::new().name("qrdrop-stdin".into()).spawn(read_all));
    read
}

/// The next line without its end; what is beyond [`LINE_MOST`] bytes is read and left out.
pub(in crate::cli) fn next_line(input: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    let mut any = false;
    loop {
        let piece = match input.fill_buf() {
            Ok(piece) => piece,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if piece.is_empty() {
            return Ok(any.then(|| String::from_utf8_lossy(&line).into_owned()));
        }
        any = true;
        let end = piece.iter().position(|byte| *byte == b'\n');
        let text = &piece[..end.unwrap_or(piece.len())];
        line.extend_from_slice(&text[..text.len().min(LINE_MOST - line.len())]);
        let used = end.map_or(piece.len(), |end| end + 1);
        input.consume(used);
        if end.is_some() {
            return Ok(Some(String::from_utf8_lossy(&line).into_owned()));
        }
    }
}

/// What a line may go on with: a command, or the path of `/send`.
fn candidates(before: &str) -> Vec<String> {
    if let Some(path) = before.strip_prefix("/send ") {
        return complete_path(path).into_iter().map(|path| format!("/send {path}")).collect();
    }
    let begun = COMMANDS.iter().filter(|(name, ..)| before.starts_with('/') && name.starts_with(before));
    begun.map(|(name, takes, _)| if takes.is_empty() { (*name).to_owned() } else { format!("{name} ") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_megabyte_is_read_and_not_kept() {
        let long = format!("{}\nnext", "x".repeat(1024 * 1024));
        let mut input = long.as_bytes();
        assert_eq!(next_line(&mut input).unwrap().unwrap().len(), LINE_MOST);
        assert_eq!(next_line(&mut input).unwrap().as_deref(), Some("next"));
        assert_eq!(next_line(&mut input).unwrap(), None);
    }

    #[test]
    fn an_empty_line_is_a_line_and_bytes_that_are_no_text_are_marked() {
        let mut input = &b"\n\xff\n"[..];
        assert_eq!(next_line(&mut input).unwrap().as_deref(), Some(""));
        assert_eq!(next_line(&mut input).unwrap().as_deref(), Some("\u{fffd}"));
    }

    #[test]
    fn commands_are_completed() {
        assert_eq!(candidates("/s"), ["/send "]);
        assert_eq!(candidates("/wh"), ["/who"]);
        assert!(candidates("hello").is_empty());
        assert!(candidates("/send src/li").contains(&"/send src/lib.rs".to_owned()));
    }
}
