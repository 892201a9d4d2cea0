//! Rooms for tests: who hosts, who joins, what is heard.

use std::fs;

use serde_json::Value;

use super::{Ended, Host, Launch, Program, Scene};

/// `qrdrop chat` that hosts, as a script on the same machine runs it.
pub fn hosting(scene: &Scene) -> Launch {
    chat(scene, "host")
        .args(["--qr", "never", "--port", "0", "--hidden", "--name", "Host"])
        .arg("--invite-file")
        .arg(scene.invite())
}

/// `qrdrop chat --to` under that name, with a folder of the same name.
pub fn joining(scene: &Scene, name: &str, to: &str) -> Launch {
    chat(scene, name).args(["--name", name, "--to", to])
}

pub fn chat(scene: &Scene, folder: &str) -> Launch {
    let path = scene.path(folder);
    fs::create_dir_all(&path).unwrap();
    Launch::new("chat").arg(path).args(["--json", "--interface", "lo"]).typing()
}

pub fn joined(scene: &Scene, name: &str, to: &str) -> Program {
    let mut program = joining(scene, name, to).start();
    program.event("room");
    program
}

pub fn has_text<'a>(wanted: &'a str) -> impl Fn(&Value) -> bool + 'a {
    move |event| event["event"] == "message" && event["text"] == wanted
}

pub fn hears(program: &mut Program, wanted: &str) -> Value {
    program.event_where(&format!("message `{wanted}`"), has_text(wanted))
}

pub fn left(mut host: Host) -> Ended {
    host.program.says("/quit");
    host.program.ended()
}
