//! What the integration tests share: the built binary as a black box, and what stands around it.
//!
//! Nothing here knows how qrdrop works inside: it is started as a person or a script starts it, its `--json` lines are
//! read as they come, and what it left on the disk is compared by BLAKE3. Waiting is blocking reads with a deadline.

#![allow(dead_code, unreachable_pub, unused_imports, reason = "each test binary uses its own part")]

pub mod around;
pub mod disk;
pub mod line;
pub mod phone;
mod program;
pub mod proxy;
pub mod room;
pub mod sealed;
pub mod siege;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

pub use program::{Ended, Program, agree, number, text};

/// How long anything that should happen at once may take on a machine that does much else.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The binary under test; `QRDROP_BIN` runs the same tests against another build of it.
pub fn qrdrop() -> PathBuf {
    std::env::var_os("QRDROP_BIN").map_or_else(|| env!("CARGO_BIN_EXE_qrdrop").into(), PathBuf::from)
}

/// A helper program of `tests/peers/`.
pub fn peer(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers").join(file)
}

/// The Python that has the packages the peers need; `tests/run` makes one.
pub fn python() -> OsString {
    std::env::var_os("QRDROP_PYTHON").unwrap_or_else(|| "python3".into())
}

/// A temporary place with an inbox, things to send, and a state folder for each side.
pub struct Scene {
    root: TempDir,
}

impl Scene {
    pub fn new() -> Scene {
        let root = TempDir::with_prefix("qrdrop-test-").expect("a temporary folder");
        fs::create_dir(root.path().join("inbox")).expect("an inbox");
        fs::create_dir(root.path().join("things")).expect("a folder of things to send");
        Scene { root }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub fn inbox(&self) -> PathBuf {
        self.path("inbox")
    }

    /// Writes `things/NAME`.
    pub fn thing(&self, name: &str, bytes: &[u8]) -> PathBuf {
        disk::write(&self.path("things").join(name), bytes)
    }

    pub fn invite(&self) -> PathBuf {
        self.path("invite")
    }

    /// `@FILE`, as `--to` takes it.
    pub fn at_invite(&self) -> String {
        format!("@{}", self.invite().display())
    }

    /// `qrdrop receive` into the inbox, as a script on the same machine runs it; without `--yes`.
    pub fn receive(&self) -> Launch {
        self.receive_on("127.0.0.1").arg("--hidden")
    }

    /// The same on another interface, found over mDNS.
    pub fn receive_on(&self, interface: &str) -> Launch {
        Launch::new("receive")
            .arg(self.inbox())
            .args(["--json", "--qr", "never", "--port", "0", "--interface", interface])
            .arg("--invite-file")
            .arg(self.invite())
            .state(&self.path("receiver-state"))
    }

    /// `qrdrop send` of one path; add `--to` and more.
    pub fn send(&self, path: &Path) -> Launch {
        Launch::new("send").arg(path).arg("--json").state(&self.path("sender-state"))
    }
}

/// A command line that is being put together.
pub struct Launch {
    around: Vec<OsString>,
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    stdin: Option<String>,
}

impl Launch {
    pub fn new(command: &str) -> Launch {
        Launch::program(qrdrop()).arg(command)
    }

    /// Some other program, held the same way.
    pub fn program(program: impl Into<OsString>) -> Launch {
        Launch { around: vec![], program: program.into(), args: vec![], env: vec![], stdin: Some(String::new()) }
    }

    /// A helper of `tests/peers/` in Python.
    pub fn python(file: &str) -> Launch {
        Launch::program(python()).arg(peer(file))
    }

    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Launch {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Launch {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Launch {
        self.env.push((name.into(), value.as_ref().to_owned()));
        self
    }

    pub fn state(self, folder: &Path) -> Launch {
        self.arg("--state-dir").arg(folder)
    }

    /// What standard input says before it ends; by default nothing.
    pub fn stdin(mut self, text: &str) -> Launch {
        self.stdin = Some(text.to_owned());
        self
    }

    /// Standard input stays open until the program is dropped.
    pub fn stays(mut self) -> Launch {
        self.stdin = None;
        self
    }

    /// Runs behind another program, e.g. `ip netns exec NAME`. Later calls go further out.
    pub fn behind(mut self, around: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Launch {
        let inner = std::mem::take(&mut self.around);
        self.around = around.into_iter().map(|arg| arg.as_ref().to_owned()).chain(inner).collect();
        self
    }

    /// Standard input stays open, for [`Program::press`] to write lines to.
    pub fn typing(mut self) -> Launch {
        self.stdin = None;
        self
    }

    /// Gives it a terminal of 80 x 24 for standard error and keys; standard output stays a pipe.
    pub fn on_a_terminal(mut self) -> Launch {
        self.stdin = None;
        self.behind([python(), peer("on_terminal.py").into(), "--".into()])
    }

    pub fn start(self) -> Program {
        let line: Vec<OsString> = self.around.into_iter().chain([self.program]).chain(self.args).collect();
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]);
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if name.starts_with("QRDROP_") || name == "NO_COLOR" || name.starts_with("XDG_CONFIG") {
                command.env_remove(name);
            }
        }
        // A settings file of the person who runs the tests must not reach them.
        let state = format!("{}/state-{}", env!("CARGO_TARGET_TMPDIR"), std::process::id());
        command.env("HOME", "/nonexistent").env("XDG_STATE_HOME", state);
        command.env("LC_ALL", "C.UTF-8").env("TERM", "xterm-256color").envs(self.env);
        let name = line.iter().map(|arg| arg.to_string_lossy()).collect::<Vec<_>>().join(" ");
        Program::start(command, name, self.stdin)
    }

    /// Runs to its end.
    pub fn run(self) -> Ended {
        self.start().ended()
    }

    /// Starts a hosting command and waits until its port is open.
    pub fn listening(self) -> Host {
        let invite =
            self.args.iter().position(|arg| arg == "--invite-file").map(|at| PathBuf::from(&self.args[at + 1]));
        let mut program = self.start();
        let listening = program.event("listening");
        Host { program, listening, invite: invite.unwrap_or_default() }
    }
}

/// A hosting command whose port is open.
pub struct Host {
    pub program: Program,
    pub listening: Value,
    invite: PathBuf,
}

impl Host {
    pub fn address(&self) -> SocketAddr {
        self.listening["address"].as_str().and_then(|text| text.parse().ok()).expect("`listening` has an `ip:port`")
    }

    fn links(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.invite).expect("the invite file is there once the port is open");
        let links: Vec<String> = text.lines().map(str::to_owned).collect();
        assert_eq!(links.len(), 2, "the invite file holds two links");
        links
    }

    pub fn http_link(&self) -> String {
        self.links().swap_remove(0)
    }

    pub fn qrdrop_link(&self) -> String {
        self.links().swap_remove(1)
    }

    /// The one-time path of `--curl`, once it is shown: `/put/CAPABILITY/`.
    pub fn curl_path(&mut self) -> String {
        self.program.shows("/put/");
        let shown = self.program.shown();
        let rest = shown.split("/put/").nth(1).and_then(|rest| rest.split('/').next());
        format!("/put/{}/", rest.expect("a path is shown"))
    }

    /// Waits for the end of the transfer that stored something.
    pub fn finishes(&mut self, stored: &Value) {
        let transfer = text(stored, "transfer");
        self.program.event_where("its end", |event| event["event"] == "finished" && event["transfer"] == transfer);
    }

    /// Ctrl-C, and its end.
    pub fn stopped(self) -> Ended {
        self.program.interrupt();
        self.program.ended()
    }

    /// Its end, by itself if it leaves within a few seconds, else by Ctrl-C.
    pub fn left(mut self) -> Ended {
        if !self.program.ends_within(Duration::from_secs(3)) {
            self.program.interrupt();
        }
        self.program.ended()
    }
}
