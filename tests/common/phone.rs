//! A real browser that does what a test says: headless Chromium behind `tests/peers/phone.py`.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::around::{have, have_module};
use super::{peer, python};

/// How long the browser may take to do one thing, waiting included.
const PATIENCE: Duration = Duration::from_secs(200);

/// Whether there is a browser to drive.
pub fn have_browser() -> bool {
    have(&["chromium", "chromedriver"]) && have_module("selenium")
}

/// A browser with a profile of its own; ended with the value.
pub struct Phone {
    child: Child,
    orders: Option<ChildStdin>,
    answers: Receiver<String>,
}

impl Phone {
    /// An Android phone.
    pub fn new() -> Phone {
        Phone::started(&[], json!({}))
    }

    /// A browser started as `options` say (see `phone.py`), behind `around`, e.g. `ip netns exec NAME`.
    pub fn started(around: &[&str], options: Value) -> Phone {
        let script = peer("phone.py");
        let line: Vec<PathBuf> = around.iter().map(PathBuf::from).chain([python().into(), script]).collect();
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("Python starts");
        let stdout: ChildStdout = child.stdout.take().expect("standard output is piped");
        let (said, answers) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if said.send(line).is_err() {
                    break;
                }
            }
        });
        let mut phone = Phone { orders: child.stdin.take(), child, answers };
        phone.order("start", options);
        phone
    }

    /// Does something and returns what came of it; fails if the browser could not.
    #[track_caller]
    pub fn order(&mut self, action: &str, mut order: Value) -> Value {
        order["do"] = json!(action);
        let orders = self.orders.as_mut().expect("the phone is on");
        orders.write_all(format!("{order}\n").as_bytes()).expect("the browser takes orders");
        let answer = self.answers.recv_timeout(PATIENCE).expect("the browser answers");
        let answer: Value = serde_json::from_str(&answer).expect("an answer is JSON");
        assert_eq!(answer["ok"], true, "{action}: {}", answer["error"]);
        answer["value"].clone()
    }

    #[track_caller]
    pub fn open(&mut self, link: &str) {
        self.order("open", json!({ "link": link }));
    }

    /// Picks files in the system's dialog.
    #[track_caller]
    pub fn choose(&mut self, paths: &[PathBuf]) {
        self.choose_at("#files", paths);
    }

    #[track_caller]
    pub fn choose_at(&mut self, css: &str, paths: &[PathBuf]) {
        let paths: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
        self.order("choose", json!({ "paths": paths, "css": css }));
    }

    #[track_caller]
    pub fn click(&mut self, css: &str) {
        self.order("click", json!({ "css": css }));
    }

    /// Waits until the page is in one of these states, and says in which.
    #[track_caller]
    pub fn wait(&mut self, states: &[&str]) -> String {
        let seconds = (PATIENCE - Duration::from_secs(10)).as_secs();
        let state = self.order("wait", json!({ "states": states, "seconds": seconds }));
        state.as_str().expect("a state is a word").to_owned()
    }

    /// All words on the page.
    #[track_caller]
    pub fn text(&mut self) -> String {
        self.order("text", json!({})).as_str().expect("text").to_owned()
    }

    /// What JavaScript in the page returns.
    #[track_caller]
    pub fn script(&mut self, source: &str) -> Value {
        self.order("script", json!({ "source": source }))
    }

    #[track_caller]
    pub fn reload(&mut self) {
        self.order("reload", json!({}));
    }

    /// Waits until these files are whole in the folder of downloads.
    #[track_caller]
    pub fn downloaded(&mut self, folder: &Path, names: &[&str]) {
        self.order("downloaded", json!({ "folder": folder, "names": names }));
    }
}

impl Drop for Phone {
    fn drop(&mut self) {
        // The end of its orders is the end of the browser.
        self.orders.take();
        let _ = self.child.wait();
    }
}
