//! qrdrop without a person: the log, commands for stored files, settings, what is generated, no terminal at all.
#![cfg(target_os = "linux")]

mod common;

use std::fs;
use std::io::Write;
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use common::around::{connect, have};
use common::sealed::{Phone, ask};
use common::{Ended, Host, Launch, PATIENCE, Scene, disk, qrdrop, text};

fn log(scene: &Scene) -> Vec<Value> {
    let text = fs::read_to_string(scene.path("log")).expect("there is a log");
    text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

fn logging(scene: &Scene, launch: Launch) -> Launch {
    launch.arg("--log").arg(scene.path("log"))
}

/// Writes a script for `--on-stored` and says how to run it.
fn script(scene: &Scene, lines: &str) -> String {
    format!("sh {}", disk::write(&scene.path("script"), lines.as_bytes()).display())
}

/// Sends one file the tutorial's way.
fn send_classic(host: &Host, name: &str, content: &[u8]) {
    let mut stream = connect(host.address());
    write!(stream, "{name}<SEPARATOR>{}", content.len()).expect("it takes the header");
    stream.write_all(content).and_then(|()| stream.shutdown(Shutdown::Write)).expect("it takes the file");
    common::around::finish(stream);
}

/// Waits until the transfer of that one file is over.
fn finished(host: &mut Host, name: &str) {
    let offer = |event: &Value| event["event"] == "offer" && event["entries"][0]["name"] == name;
    let transfer = host.program.event_where("offer", offer)["transfer"].clone();
    host.program.event_where("end", |event| event["event"] == "finished" && event["transfer"] == transfer);
}

#[test]
fn log_and_command_know_a_transfer_whatever_it_was_spoken_in() {
    let scene = Scene::new();
    let command =
        script(&scene, "printf '%s %s %s\\n' \"$QRDROP_FILE\" \"$QRDROP_BYTES\" \"$QRDROP_LABEL\" >> \"$0.ran\"");
    let receiver = scene.receive().args(["--yes=open", "--classic", "accept", "--curl", "--on-stored", &command]);
    let mut host = logging(&scene, receiver).listening();
    let source = scene.thing("native.bin", &disk::noise(1, 70_000));
    scene.send(&source).args(["--to", &host.qrdrop_link()]).run().with(0);
    finished(&mut host, "native.bin");
    let mut phone = Phone::claim(&host.http_link()).expect("the page gets in");
    phone.send("phone.txt", b"phone");
    finished(&mut host, "phone.txt");
    send_classic(&host, "classic.txt", b"classic");
    finished(&mut host, "classic.txt");
    let target = host.curl_path() + "curl.txt";
    assert_eq!(ask(host.address(), "PUT", &target, "", b"curl").status, 201);
    finished(&mut host, "curl.txt");
    let ended = host.stopped().with(0);

    let lines = log(&scene);
    let seen: Vec<String> = lines
        .iter()
        .map(|line| {
            format!("{} {} {} {}", text(&line["peer"], "dialect"), text(line, "label"), line["files"], line["bytes"])
        })
        .collect();
    let private = "web private, not verified 1 5";
    assert_eq!(seen, ["native verified 1 70000", private, "classic open 1 7", "web open 1 4"]);
    assert!(lines.iter().all(|line| line["outcome"] == "finished" && line["direction"] == "in" && line["code"] == 0));
    let transfers: Vec<Value> = ended.named("finished").iter().map(|event| event["transfer"].clone()).collect();
    assert_eq!(lines.iter().map(|line| line["transfer"].clone()).collect::<Vec<_>>(), transfers);
    let ran = fs::read_to_string(scene.path("script.ran")).expect("the command ran");
    let each =
        ["native.bin 70000 verified", "phone.txt 5 private, not verified", "classic.txt 7 open", "curl.txt 4 open"];
    assert_eq!(ran.lines().collect::<Vec<_>>(), each);
}

#[test]
fn the_senders_log_says_what_went_out_and_what_was_refused() {
    let scene = Scene::new();
    let source = scene.thing("a.bin", &disk::noise(1, 3_000));
    let host = scene.receive().args(["--yes", "--max-size", "10kB"]).listening();
    let send = |source: &Path| logging(&scene, scene.send(source)).args(["--to", &scene.at_invite()]).run();
    send(&source).with(0);
    send(&scene.thing("large.bin", &disk::noise(2, 30_000))).failed(3);
    host.stopped().with(0);
    let lines = log(&scene);
    let seen: Vec<_> =
        lines.iter().map(|line| (text(line, "direction"), text(line, "outcome"), &line["code"])).collect();
    assert_eq!(seen, [("out", "finished", &json!(0)), ("out", "refused", &json!(3))]);
    assert!(!text(&lines[1], "reason").is_empty() && lines[1]["offered_bytes"] == 30_000 && lines[1]["bytes"] == 0);
    assert_eq!(fs::metadata(scene.path("log")).expect("it is there").permissions().mode() & 0o777, 0o600);
}

#[test]
fn what_is_fetched_is_logged_and_given_to_the_command() {
    let scene = Scene::new();
    let source = scene.thing("a.bin", &disk::noise(1, 3_000));
    let outbox = Launch::new("send").arg(&source).args(["--json", "--hidden", "--qr", "never", "--port", "0"]);
    let outbox = outbox.args(["--interface", "127.0.0.1", "--invite-file"]).arg(scene.invite()).listening();
    let command = script(&scene, "printf '%s' \"$QRDROP_PATH\" > \"$0.ran\"");
    let fetch = Launch::new("receive").arg(scene.inbox()).args(["--json", "--from", &scene.at_invite()]);
    logging(&scene, fetch).args(["--on-stored", &command]).run().with(0);
    outbox.program.ended().with(0);
    let path = scene.inbox().join("a.bin").canonicalize().expect("it is stored");
    assert_eq!(fs::read_to_string(scene.path("script.ran")).expect("the command ran"), path.display().to_string());
    assert_eq!(log(&scene)[0]["outcome"], "finished");
}

#[test]
fn e20_no_secret_reaches_the_log_or_a_command() {
    let scene = Scene::new();
    let source = scene.thing("a.txt", b"a");
    let secret = "Zq3Zq3Zq3Zq3";
    let command = script(&scene, "env; tr '\\0' ' ' < /proc/$PPID/cmdline; tr '\\0' ' ' < /proc/$$/cmdline; exit 1");
    let receiver = scene.receive().args(["--once", "--yes", "--on-stored", &command]);
    let receiver = receiver.env("QRDROP_TO", secret).env("QRDROP_TEXT", secret).env("KEPT", "kept-as-it-is");
    let host = logging(&scene, receiver).listening();
    let links = [host.http_link(), host.qrdrop_link()];
    scene.send(&source).args(["--to", &scene.at_invite()]).run().with(0);
    let ended = host.program.ended().with(0);
    let said = ended.output() + &fs::read_to_string(scene.path("log")).expect("there is a log");
    assert!(said.contains("kept-as-it-is") && said.contains("QRDROP_PATH="), "the environment is printed\n{ended}");
    for secret in links.iter().filter_map(|link| link.split_once('#')).map(|(_, secret)| secret).chain([secret]) {
        assert!(!said.contains(secret), "`{secret}` is there\n{said}");
    }
    assert!(!said.contains("QRDROP_TO") && !said.contains("QRDROP_ON_STORED"), "{ended}");
    assert!(ended.named("failed").iter().any(|failed| failed["transfer"].is_null() && failed["code"] == 7), "{ended}");
    assert_eq!(disk::names(&scene.inbox()), ["a.txt"], "a command that fails takes nothing back");
}

#[test]
fn a_hostile_name_is_one_word_to_a_command_and_runs_nothing() {
    let scene = Scene::new();
    let canary = scene.path("canary");
    let name = format!("-rf $(touch {0}) `touch {0}`; touch {0} #\u{1b}[2J.txt", "canary");
    let source = scene.thing(&name, b"a");
    let command = script(&scene, "test -f \"$QRDROP_PATH\" && printf '%s\\n' \"$QRDROP_FILE\"");
    let receiver = scene.receive().args(["--once", "--yes", "--on-stored", &command]);
    let host = receiver.behind(["env", "-C", &scene.path("").display().to_string()]).listening();
    scene.send(&source).args(["--to", &scene.at_invite()]).run().with(0);
    let ended = host.program.ended().with(0);
    assert!(ended.screen.contains("on-stored: -rf $(touch"), "{ended}");
    assert!(ended.named("failed").is_empty() && !ended.raw_screen.contains(&0x1b), "{ended}");
    assert!(!canary.exists());
}

#[test]
fn leaving_waits_for_commands_and_a_second_ctrl_c_does_not() {
    let scene = Scene::new();
    let source = scene.thing("a.txt", b"a");
    let to_end = script(&scene, "sleep 0.3; echo whole");
    let host = scene.receive().args(["--once", "--yes", "--on-stored", &to_end]).listening();
    scene.send(&source).args(["--to", &scene.at_invite()]).run().with(0);
    let ended = host.program.ended().with(0);
    assert!(ended.screen.contains("on-stored: whole"), "{ended}");

    let mut host = scene.receive().args(["--yes", "--on-stored", "sh -c 'echo begun; sleep 30'"]).listening();
    scene.send(&source).args(["--to", &scene.at_invite()]).run().with(0);
    host.program.shows("on-stored: begun");
    host.program.interrupt();
    host.program.shows("Ctrl-C leaves at once");
    let asked = Instant::now();
    host.program.interrupt();
    host.program.ended();
    assert!(asked.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_log_or_a_command_that_can_not_be_is_7_before_anything_listens() {
    let scene = Scene::new();
    for [flag, value] in [["--log", "/nowhere/log"], ["--log", "."], ["--on-stored", "no-such-program-at-all"]] {
        let ended = scene.receive().args([flag, value]).run().failed(7);
        assert!(ended.named("listening").is_empty(), "{ended}");
    }
    scene.receive().args(["--on-stored", "echo 'open"]).run().with(2);
}

/// What `receive` says of itself with these settings in the usual place, and these variables.
fn listening(scene: &Scene, settings: &str, words: &[&str], variables: &[(&str, &str)]) -> Ended {
    disk::write(&scene.path("config/qrdrop/config.toml"), settings.as_bytes());
    let launch = Launch::new("receive").arg(scene.inbox()).args(["--interface", "127.0.0.1"]).args(words);
    let launch = launch.env("XDG_CONFIG_HOME", scene.path("config"));
    variables.iter().fold(launch, |launch, (name, value)| launch.env(name, value)).run()
}

#[test]
fn line_over_environment_over_table_over_top_over_default() {
    let scene = Scene::new();
    let settings =
        "json = true\nname = \"top\"\ntimeout = \"1s\"\nport = 0\nhidden = true\n[receive]\nname = \"table\"\n";
    let name = |words: &[&str], variables: &[(&str, &str)]| {
        let ended = listening(&scene, settings, words, variables).with(4);
        text(&ended.one("listening"), "name").to_owned()
    };
    let set = [("QRDROP_NAME", "environment")];
    assert_eq!(name(&["--name", "line"], &set), "line");
    assert_eq!(name(&[], &set), "environment");
    assert_eq!(name(&[], &[]), "table");
    let elsewhere = disk::write(&scene.path("other.toml"), settings.replace("[receive]", "[send]").as_bytes());
    assert_eq!(name(&["--config", &elsewhere.display().to_string()], &[]), "top");
    assert_eq!(name(&[], &[("QRDROP_CONFIG", &elsewhere.display().to_string())]), "top");
}

#[test]
fn settings_that_are_wrong_are_2_and_name_file_and_line() {
    let scene = Scene::new();
    for (settings, place) in
        [("\ncolour = 1", "line 2"), ("port = true", "line 1"), ("[receive]\nfrom = \"x\"", "line 2")]
    {
        let ended = listening(&scene, settings, &["--json"], &[]).failed(2);
        let message = text(&ended.one("failed"), "message").to_owned();
        assert!(message.contains("config.toml") && message.contains(place), "{message}");
    }
    let loose = scene.path("config/qrdrop/config.toml");
    fs::write(&loose, "")
        .and_then(|()| fs::set_permissions(&loose, fs::Permissions::from_mode(0o666)))
        .expect("modes can be set");
    let launch = Launch::new("list").args(["--json", "--wait", "0"]).env("XDG_CONFIG_HOME", scene.path("config"));
    launch.run().failed(7);
    Launch::new("list").args(["--json", "--config", "/nowhere.toml"]).run().failed(7);
}

#[test]
fn a_receiver_without_any_standard_stream_receives() {
    if !have(&["setsid"]) {
        return;
    }
    let scene = Scene::new();
    let source = scene.thing("a.bin", &disk::noise(1, 300_000));
    let closed = ["setsid", "-w", "sh", "-c", "exec \"$@\" <&- >&- 2>&-", "sh"];
    let receiver = logging(&scene, scene.receive().args(["--once", "--yes"])).behind(closed).start();
    let begun = Instant::now();
    while !scene.invite().exists() {
        assert!(begun.elapsed() < PATIENCE, "the invitation is not written");
        std::thread::yield_now();
    }
    scene.send(&source).args(["--to", &scene.at_invite()]).run().with(0);
    let ended = receiver.ended().with(0);
    assert_eq!(ended.output().trim(), "", "nothing is said anywhere");
    disk::assert_same(&scene.path("things"), &scene.inbox());
    assert_eq!(log(&scene)[0]["outcome"], "finished");
}

fn printed(words: &[&str]) -> String {
    let output = Command::new(qrdrop()).args(words).env("QRDROP_TO", "Zq3Zq3Zq3Zq3").output().expect("it runs");
    assert!(output.status.success() && output.stderr.is_empty(), "{words:?} ends well and says nothing else");
    let text = String::from_utf8(output.stdout).expect("it is text");
    assert!(!text.contains("Zq3Zq3"), "the environment is not printed");
    text
}

/// Holds `text` against a program that reads it; skipped out loud if it is not here.
fn assert_reads(scene: &Scene, reader: &[&str], text: &str) {
    if have(&reader[..1]) {
        let file = disk::write(&scene.path("generated"), text.as_bytes());
        let output = Command::new(reader[0]).args(&reader[1..]).arg(file).output().expect("it runs");
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && complaints.is_empty(), "{reader:?}: {complaints}");
    }
}

#[test]
fn shells_read_the_completions() {
    let scene = Scene::new();
    for reader in [["bash", "-n"], ["zsh", "-n"], ["fish", "-n"]] {
        assert_reads(&scene, &reader, &printed(&["completions", reader[0]]));
    }
    if have(&["bash"]) {
        let asked = "source \"$0\"; COMP_WORDS=(qrdrop receive --on); COMP_CWORD=2; _qrdrop qrdrop --on receive; echo \"${COMPREPLY[@]}\"";
        let file = disk::write(&scene.path("generated"), printed(&["completions", "bash"]).as_bytes());
        let output = Command::new("bash").args(["--norc", "-c", asked]).arg(file).output().expect("it runs");
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "--once --on-stored");
    }
    Launch::new("completions").arg("no-such-shell").run().with(2);
}

#[test]
fn man_reads_the_page_without_a_warning() {
    assert_reads(&Scene::new(), &["man", "--warnings", "-l"], &printed(&["man"]));
}

#[test]
fn systemd_takes_the_unit() {
    if !have(&["systemd-analyze"]) {
        return;
    }
    let scene = Scene::new();
    let unit = include_str!("../docs/systemd/qrdrop-inbox.service");
    let installed = "%h/.cargo/bin/qrdrop";
    assert!(unit.contains(installed));
    let unit = unit.replace(installed, &qrdrop().display().to_string());
    let file = disk::write(&scene.path("qrdrop-inbox.service"), unit.as_bytes());
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--user"]).arg(file).env("XDG_RUNTIME_DIR", scene.path(""));
    let output = verify.output().expect("it runs");
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    // The flags in it are those of the program.
    let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).expect("the unit starts something");
    let words: Vec<&str> = line.split_whitespace().skip(1).collect();
    Launch::new(words[0]).args(&words[1..]).arg("--help").run().with(0);
}
