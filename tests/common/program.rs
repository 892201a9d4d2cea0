//! A program that runs: its lines, its screen, its keys, its end.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver as Inlet, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::PATIENCE;

/// How long a person thinks before pressing the key again; longer than qrdrop ignores keys after showing a question.
const KEY_PAUSE: Duration = Duration::from_millis(700);

/// A program that runs; ended with the test.
pub struct Program {
    child: Child,
    name: String,
    keys: Option<ChildStdin>,
    lines: Inlet<String>,
    screen: Inlet<Vec<u8>>,
    seen: Vec<String>,
    said: Vec<u8>,
}

impl Program {
    /// Starts it. Standard input says `stdin` and ends, or stays open for keys.
    pub fn start(mut command: Command, name: String, stdin: Option<String>) -> Program {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("`{name}` does not start: {error}"));
        let mut keys = child.stdin.take();
        if let Some(text) = stdin {
            let mut pipe = keys.take().expect("standard input is piped");
            // A program that never reads its standard input may be gone already, or never take it all.
            thread::spawn(move || drop(pipe.write_all(text.as_bytes())));
        }
        let (out, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().expect("standard output is piped"));
        thread::spawn(move || {
            for line in stdout.split(b'\n').map_while(Result::ok) {
                if out.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    break;
                }
            }
        });
        let (err, screen) = channel();
        let mut stderr = child.stderr.take().expect("standard error is piped");
        thread::spawn(move || {
            let mut piece = [0; 4 * 1024];
            while let Ok(n @ 1..) = stderr.read(&mut piece) {
                if err.send(piece[..n].to_vec()).is_err() {
                    break;
                }
            }
        });
        Program { child, name, keys, lines, screen, seen: Vec::new(), said: Vec::new() }
    }

    /// The first event of that name, waiting for it.
    pub fn event(&mut self, name: &str) -> Value {
        self.event_where(name, |event| event["event"] == name)
    }

    /// The first event that fits, waiting for it.
    pub fn event_where(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let line = self.line_where(what, |line| fits(&as_event(line)));
        as_event(&line)
    }

    /// The first line of standard output that fits, waiting for it.
    pub fn line_where(&mut self, what: &str, fits: impl Fn(&str) -> bool) -> String {
        match self.find(PATIENCE, &fits) {
            Ok(Some(line)) => line,
            Ok(None) => panic!("no {what} within {PATIENCE:?}\n{}", self.story()),
            Err(()) => panic!("it ended without {what}\n{}", self.story()),
        }
    }

    /// `Ok(None)` when the time is over, `Err` when there will be no more lines.
    fn find(&mut self, patience: Duration, fits: &dyn Fn(&str) -> bool) -> Result<Option<String>, ()> {
        if let Some(line) = self.seen.iter().find(|line| fits(line)) {
            return Ok(Some(line.clone()));
        }
        let deadline = Instant::now() + patience;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if fits(&line) {
                        return Ok(Some(line));
                    }
                }
                Err(RecvTimeoutError::Timeout) => return Ok(None),
                Err(RecvTimeoutError::Disconnected) => return Err(()),
            }
        }
    }

    /// Presses `key` as a person does, again and again, until the program says an event that fits.
    pub fn press_until(&mut self, key: &str, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            self.press(key);
            match self.find(KEY_PAUSE, &|line| fits(&as_event(line))) {
                Ok(Some(line)) => return as_event(&line),
                Ok(None) => {}
                Err(()) => break,
            }
        }
        panic!("`{key}` brought no {what}\n{}", self.story());
    }

    /// Presses `key` once.
    pub fn press(&mut self, key: &str) {
        let keys = self.keys.as_mut().expect("the program is on a terminal");
        // It may have ended meanwhile; whoever waits for its answer finds out.
        let _ = keys.write_all(key.as_bytes()).and_then(|()| keys.flush());
    }

    /// Writes a line to its standard input.
    pub fn says(&mut self, line: &str) {
        self.press(&format!("{line}\n"));
    }

    /// Ends its standard input.
    pub fn hangs_up(&mut self) {
        self.keys = None;
    }

    /// Kills it, as the system does when memory is short.
    pub fn kill(&mut self) {
        self.child.kill().expect("the program still runs");
        // Until then it holds its locks.
        self.child.wait().expect("a child can be waited for");
    }

    /// Waits until standard error (or the terminal) has shown `text`, styling left out.
    pub fn shows(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !plain(&self.said).contains(text) {
            match self.screen.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(piece) => self.said.extend(piece),
                Err(_) => panic!("`{text}` is not shown\n{}", self.story()),
            }
        }
    }

    /// What it has shown until now, styling left out.
    pub fn shown(&self) -> String {
        plain(&self.said)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ctrl-C.
    pub fn interrupt(&self) {
        self.signal(rustix::process::Signal::INT);
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("the program still runs");
    }

    /// Waits for the end: everything it said, and how it ended.
    pub fn ended(mut self) -> Ended {
        if self.find(PATIENCE, &|_| false).is_ok() {
            panic!("it does not end within {PATIENCE:?}\n{}", self.story());
        }
        let deadline = Instant::now() + PATIENCE;
        while let Ok(piece) = self.screen.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            self.said.extend(piece);
        }
        let status = self.child.wait().expect("a child can be waited for");
        Ended {
            code: status.code(),
            lines: std::mem::take(&mut self.seen),
            screen: plain(&self.said),
            raw_screen: std::mem::take(&mut self.said),
            name: std::mem::take(&mut self.name),
        }
    }

    /// Whether it ends by itself within `patience`.
    pub fn ends_within(&mut self, patience: Duration) -> bool {
        self.find(patience, &|_| false).is_err()
    }

    fn story(&mut self) -> String {
        while let Ok(piece) = self.screen.try_recv() {
            self.said.extend(piece);
        }
        format!("of `{}`\nwhich said:\n{}\nand showed:\n{}", self.name, self.seen.join("\n"), plain(&self.said))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two people say yes, again and again, until the first one's program says an event that fits.
pub fn agree(one: &mut Program, other: &mut Program, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        other.press("y");
        one.press("y");
        match one.find(KEY_PAUSE, &|line| fits(&as_event(line))) {
            Ok(Some(line)) => return as_event(&line),
            Ok(None) => {}
            Err(()) => break,
        }
    }
    panic!("two yeses brought no {what}\n{}\n{}", one.story(), other.story());
}

/// How a program ended and all that it said.
pub struct Ended {
    pub code: Option<i32>,
    /// Standard error or the terminal, as words.
    pub screen: String,
    /// The same, byte for byte.
    pub raw_screen: Vec<u8>,
    lines: Vec<String>,
    name: String,
}

impl Ended {
    /// Every line of standard output; fails if one is not an event.
    pub fn events(&self) -> Vec<Value> {
        self.lines.iter().map(|line| as_event(line)).collect()
    }

    pub fn named(&self, name: &str) -> Vec<Value> {
        self.events().into_iter().filter(|event| event["event"] == name).collect()
    }

    /// The only event of that name.
    pub fn one(&self, name: &str) -> Value {
        let mut named = self.named(name);
        assert_eq!(named.len(), 1, "one `{name}` is said\n{self}");
        named.remove(0)
    }

    #[track_caller]
    pub fn with(self, code: i32) -> Ended {
        assert_eq!(self.code, Some(code), "the exit code\n{self}");
        self
    }

    /// Ended with `code`, saying so in a `failed` event that has a message and says what to try.
    #[track_caller]
    pub fn failed(self, code: i32) -> Ended {
        let ended = self.with(code);
        let failed = ended.named("failed");
        let Some(failed) = failed.iter().find(|failed| failed["code"] == code) else {
            panic!("a `failed` event has the code {code}\n{ended}");
        };
        for part in ["message", "hint"] {
            assert!(failed[part].as_str().is_some_and(|text| !text.is_empty()), "`{part}` says something\n{ended}");
        }
        ended
    }

    /// Everything that left the process, as one text: what must not hold a secret.
    pub fn output(&self) -> String {
        format!("{}\n{}", self.lines.join("\n"), self.screen)
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` ended with {:?}\nsaid:\n{}", self.name, self.code, self.lines.join("\n"))?;
        write!(f, "\nshowed:\n{}", self.screen)
    }
}

/// A field that is a string.
pub fn text<'a>(event: &'a Value, field: &str) -> &'a str {
    event[field].as_str().unwrap_or_else(|| panic!("`{field}` is a string in {event}"))
}

/// A field that is a whole number.
pub fn number(event: &Value, field: &str) -> u64 {
    event[field].as_u64().unwrap_or_else(|| panic!("`{field}` is a whole number in {event}"))
}

fn as_event(line: &str) -> Value {
    let event: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("not JSON ({error}): `{line}`"));
    assert!(event["event"].is_string(), "no `event` in `{line}`");
    event
}

/// Terminal output without its escape sequences; enough to look for words.
fn plain(bytes: &[u8]) -> String {
    console::strip_ansi_codes(&String::from_utf8_lossy(bytes)).into_owned()
}
