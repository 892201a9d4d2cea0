//! Asking other programs of this system, without a shell and with patience that ends.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// A firewall's own command answers in half a second at most. Two are asked one after the other, and the whole of `doctor`
/// has 3 s.
const PATIENCE: Duration = Duration::from_millis(1_200);

/// How often a program that has said everything is looked at until it has ended.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Larger than any rule set that a person keeps.
const OUTPUT_MAX: u64 = 8 * 1024 * 1024;

/// Where administration commands are, which the search path of ordinary users leaves out.
const ADMINISTRATION: [&str; 2] = ["/usr/sbin", "/sbin"];

/// What a program said on its standard output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    /// Whether it ended well.
    pub(super) well: bool,
    /// Its words.
    pub(super) text: String,
}

/// Runs `program`; `None` if it is not here, did not end in time, or said more than anybody reads.
pub(super) async fn ask(program: &'static str, args: &[&str]) -> Option<Said> {
    let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
    tokio::task::spawn_blocking(move || run(program, &args)).await.ok().flatten()
}

fn run(program: &str, args: &[String]) -> Option<Said> {
    let deadline = Instant::now() + PATIENCE;
    let mut command = Command::new(find(program));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    // Its words are read by us and not by a person.
    command.env("LC_ALL", "C").env_remove("LANGUAGE");
    let mut child = command.spawn().ok()?;
    let stdout = child.stdout.take()?;
    let (done, read) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let whole = stdout.take(OUTPUT_MAX + 1).read_to_end(&mut bytes).is_ok_and(|length| length as u64 <= OUTPUT_MAX);
        // Whoever asked may have lost patience.
        let _ = done.send(whole.then_some(bytes));
    });
    let bytes = read.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok().flatten();
    let well = end(&mut child, deadline);
    Some(Said { well: well?, text: String::from_utf8_lossy(&bytes?).into_owned() })
}

/// Waits for the end until `deadline`, then makes it.
fn end(child: &mut Child, deadline: Instant) -> Option<bool> {
    while Instant::now() < deadline {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status.success()),
            Ok(None) => thread::sleep(LOOK_EVERY),
            Err(_) => break,
        }
    }
    // It may just have ended by itself.
    let _ = child.kill();
    let _ = child.wait();
    None
}

/// The program where administration commands are, else whatever the search path makes of its name.
fn find(program: &str) -> PathBuf {
    let known = ADMINISTRATION.iter().map(|folder| PathBuf::from(folder).join(program));
    known.into_iter().find(|path| path.is_file()).unwrap_or_else(|| program.into())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_is_asked_in_plain_language() {
        let said = ask("sh", &["-c", "printf %s \"$LC_ALL\"; exit 3"]).await;
        assert_eq!(said, Some(Said { well: false, text: "C".to_owned() }));
    }

    #[tokio::test]
    async fn one_that_is_not_here_says_nothing() {
        assert_eq!(ask("qrdrop-no-such-program", &[]).await, None);
    }

    #[tokio::test]
    async fn one_that_does_not_end_is_ended() {
        let asked = Instant::now();
        assert_eq!(ask("sleep", &["600"]).await, None);
        assert!(asked.elapsed() < PATIENCE * 4);
    }

    #[tokio::test]
    async fn one_that_says_too_much_is_not_read_to_its_end() {
        assert_eq!(ask("yes", &[]).await, None);
    }
}
