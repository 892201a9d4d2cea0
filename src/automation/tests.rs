use std::fs;
use std::future::{pending, ready};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::*;
use crate::events::{Dialect, Label, NoReason, Offer, Peer};

/// A person who is told things.
#[derive(Default)]
struct Person(Mutex<Vec<Event>>);

impl Person {
    fn failures(&self) -> Vec<String> {
        let told = self.0.lock().unwrap();
        let failures = told.iter().filter_map(|event| match event {
            Event::Failed { transfer: None, failure } => Some(failure.message.clone()),
            _ => None,
        });
        failures.collect()
    }
}

impl Reporter for Person {
    fn tell(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }

    fn show(&self, _: Board) {}

    fn hide(&self) {}

    fn ask(&self, _: Question) -> BoxFuture<'_, Answer> {
        Box::pin(async { Answer::No(NoReason::NoTerminal) })
    }
}

/// An automation, whoever it tells, and what commands print.
struct Bench {
    place: TempDir,
    person: Arc<Person>,
    printed: Arc<Mutex<Vec<String>>>,
}

impl Bench {
    fn new() -> Bench {
        Bench { place: TempDir::new().unwrap(), person: Arc::default(), printed: Arc::default() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn start(&self, rules: Rules) -> Result<Automation, AutomationError> {
        let printed = Arc::clone(&self.printed);
        let say = move |line: &str| printed.lock().unwrap().push(line.to_owned());
        Automation::new(self.person.clone(), say, rules)
    }

    fn running(&self, command: &str) -> Automation {
        let command = command.parse().unwrap();
        let rules = Rules { on_stored: Some((command, self.place.path().to_owned())), ..Rules::default() };
        self.start(rules).unwrap()
    }

    fn logging(&self, way: Way) -> Automation {
        self.start(Rules { log: Some((self.path("log"), way)), ..Rules::default() }).unwrap()
    }

    fn lines(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.path("log")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn printed(&self) -> Vec<String> {
        self.printed.lock().unwrap().clone()
    }
}

fn offer(transfer: &str, name: &str) -> Event {
    let address = "192.168.1.21:60016".parse().unwrap();
    let peer = Peer { id: "zr72-nd1g-v0c3".into(), name: name.into(), address, dialect: Dialect::Native };
    let (transfer, label) = (transfer.to_owned(), Label::Verified);
    Event::Offer(Offer { transfer, peer, label, files: 2, bytes: Some(7), entries: vec![], entries_left_out: 0 })
}

fn stored(transfer: &str, name: &str) -> Event {
    let path = Some(format!("/elsewhere/{name}"));
    let (transfer, name) = (transfer.to_owned(), name.to_owned());
    Event::Stored { transfer, offered: name.clone(), name, path, bytes: 7, blake3: "ab".repeat(32) }
}

fn accepted(transfer: &str) -> Event {
    Event::Accepted { transfer: transfer.into() }
}

fn failed(transfer: &str) -> Event {
    let failure = Failure::new(ExitCode::Incomplete, "cut\u{1b}[2J", "send again");
    Event::Failed { transfer: Some(transfer.into()), failure }
}

/// Everything is waited for.
async fn patiently(automation: &Automation) {
    tokio::time::timeout(Duration::from_secs(60), automation.finish(pending())).await.expect("commands end");
}

fn tell_all(automation: &Automation, events: impl IntoIterator<Item = Event>) {
    events.into_iter().for_each(|event| automation.tell(event));
}

#[tokio::test]
async fn a_command_runs_once_for_each_file_in_order_and_is_told_about_it() {
    let bench = Bench::new();
    let said = "$QRDROP_PATH|$QRDROP_FILE|$QRDROP_BYTES|$QRDROP_BLAKE3|$QRDROP_PEER|$QRDROP_PEER_ID|$QRDROP_LABEL|\
                $QRDROP_TRANSFER";
    let automation = bench.running(&format!("sh -c 'printf \"%s\\n\" \"{said}\"; cat'"));
    tell_all(&automation, [offer("t", "laptop"), accepted("t")]);
    let names = ["tree/a b.txt", "-rf", "$(id) `id` \"'.txt"];
    tell_all(&automation, names.map(|name| stored("t", name)));
    patiently(&automation).await;
    let expected = names.map(|name| {
        let (path, hash) = (bench.path(name).display().to_string(), "ab".repeat(32));
        format!("on-stored: {path}|{name}|7|{hash}|laptop|zr72-nd1g-v0c3|verified|t")
    });
    assert_eq!(bench.printed(), expected);
    assert_eq!(bench.person.failures(), [""; 0]);
}

#[tokio::test]
async fn what_was_sent_and_what_is_of_no_known_transfer_runs_nothing() {
    let bench = Bench::new();
    let automation = bench.running("echo ran");
    let Event::Stored { transfer, name, offered, bytes, blake3, .. } = stored("t", "a") else { unreachable!("it is") };
    let sent = Event::Stored { transfer, name, offered, path: None, bytes, blake3 };
    tell_all(&automation, [offer("t", "laptop"), sent, stored("other", "b")]);
    patiently(&automation).await;
    assert_eq!(bench.printed(), [""; 0]);
}

#[tokio::test]
async fn what_a_command_prints_is_harmless_and_one_line_each() {
    let bench = Bench::new();
    let script = r"printf '\033[2Ja\nb\rc\302\233' >&2; head -c 9000 /dev/zero | tr '\0' x";
    fs::write(bench.path("script"), script).unwrap();
    let automation = bench.running(&format!("sh {}", bench.path("script").display()));
    tell_all(&automation, [offer("t", "laptop"), stored("t", "a")]);
    patiently(&automation).await;
    let printed = bench.printed();
    assert_eq!(printed[0], "on-stored: \u{fffd}[2Ja");
    assert!(printed[1].starts_with("on-stored: b\u{fffd}c\u{fffd}x"), "{}", printed[1]);
    assert!(printed.iter().all(|line| line.len() < 5_000 && !line.contains(char::is_control)));
    assert_eq!(printed.concat().matches('x').count(), 9_000);
}

#[tokio::test]
async fn failing_commands_are_told_up_to_a_bound_and_stop_nothing() {
    let bench = Bench::new();
    let automation = bench.running("sh -c 'echo \"$QRDROP_FILE\"; exit 3'");
    tell_all(&automation, [offer("t", "laptop")]);
    tell_all(&automation, (0..25).map(|n| stored("t", &format!("{n}\u{202e}"))));
    patiently(&automation).await;
    assert_eq!(bench.printed().len(), 25);
    let failures = bench.person.failures();
    assert_eq!(failures.len(), 11);
    assert_eq!(failures[0], "`sh` failed for `0\u{fffd}`: exit status: 3");
    assert_eq!(failures[10], "`sh` failed for 15 more files");
}

#[tokio::test]
async fn what_a_command_leaves_running_holds_up_nothing() {
    let bench = Bench::new();
    let automation = bench.running("sh -c 'sleep 16 & echo begun'");
    let begun = Instant::now();
    tell_all(&automation, [offer("t", "laptop"), stored("t", "a"), stored("t", "b")]);
    patiently(&automation).await;
    assert!(begun.elapsed() < Duration::from_secs(14));
    assert_eq!(bench.printed(), ["on-stored: begun"; 2]);
}

#[tokio::test]
async fn a_hundred_thousand_files_wait_for_their_turn_and_nobody_for_them() {
    let bench = Bench::new();
    let automation = bench.running("sleep 30");
    tell_all(&automation, [offer("t", "laptop")]);
    let begun = Instant::now();
    tell_all(&automation, (0..100_000).map(|n| stored("t", &format!("tree/{n}"))));
    assert!(begun.elapsed() < Duration::from_secs(10));
    automation.finish(ready(())).await;
    assert!(begun.elapsed() < Duration::from_secs(20));
    let failures = bench.person.failures();
    // Whether the first has been begun is up to the threads.
    assert!(
        failures == ["`sleep` was not run for 99999 stored files"] || failures[0].contains("100000"),
        "{failures:?}"
    );
}

#[test]
fn a_program_that_does_not_exist_is_found_out_at_the_start() {
    let bench = Bench::new();
    for command in ["no-such-program-anywhere --flag", "/nowhere/at/all"] {
        let rules = Rules { on_stored: Some((command.parse().unwrap(), bench.path("."))), ..Rules::default() };
        assert!(matches!(bench.start(rules), Err(AutomationError::NoProgram(_))), "`{command}`");
    }
}

#[tokio::test]
async fn a_line_says_how_each_transfer_ended() {
    let bench = Bench::new();
    let automation = bench.logging(Way::In);
    let evil = "x\u{1b}]0;t\u{7}\n{\"time\":0}\u{202e}";
    tell_all(&automation, ["stored", "refused", "cut", "open", "only-offered"].map(|name| offer(name, evil)));
    tell_all(&automation, ["stored", "cut", "open"].map(accepted));
    tell_all(&automation, [stored("stored", "a"), stored("stored", "b"), stored("cut", "c")]);
    let (transfer, label) = ("stored".to_owned(), Label::Verified);
    let refused = Event::Refused { transfer: "refused".into(), reason: "too\u{9b} large".into() };
    tell_all(&automation, [Event::Finished { transfer, files: 2, bytes: 14, seconds: 1.5, label }, refused]);
    // Some ends are told twice: the refusal and the failure that it is.
    tell_all(&automation, [failed("refused"), failed("cut"), failed("unheard-of")]);
    patiently(&automation).await;

    let text = fs::read_to_string(bench.path("log")).unwrap();
    assert!(!text.chars().any(|c| c != '\n' && crate::names::is_hidden_char(c)), "{text}");
    let lines = bench.lines();
    let told = |field: &str| lines.iter().map(|line| line[field].to_string()).collect::<Vec<_>>().join(" ");
    assert_eq!(told("transfer"), r#""stored" "refused" "cut" "open""#);
    assert_eq!(told("outcome"), r#""finished" "refused" "failed" "failed""#);
    assert_eq!(told("code"), "0 3 5 130");
    let reasons: Vec<&Value> = lines.iter().map(|line| &line["reason"]).collect();
    assert_eq!(reasons, [&Value::Null, &"too\u{9b} large".into(), &"cut\u{1b}[2J".into(), &"interrupted".into()]);
    assert_eq!(told("files"), "2 0 1 0");
    assert_eq!(told("bytes"), "14 0 7 0");
    assert_eq!(lines[0]["seconds"], 1.5);
    assert_eq!((&lines[1]["offered_files"], &lines[1]["offered_bytes"]), (&2.into(), &7.into()));
    for line in &lines {
        assert_eq!((&line["direction"], &line["label"]), (&"in".into(), &"verified".into()));
        assert_eq!((&line["peer"]["name"], &line["peer"]["id"]), (&evil.into(), &"zr72-nd1g-v0c3".into()));
        assert!(humantime::parse_rfc3339(line["time"].as_str().unwrap()).is_ok());
    }
}

#[test]
fn b12_a_new_log_is_private_and_an_old_one_is_added_to() {
    let bench = Bench::new();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for round in 1..=2 {
        let automation = bench.logging(Way::Out);
        tell_all(&automation, [offer("t", "laptop"), failed("t")]);
        assert_eq!((bench.lines().len(), mode(&bench.path("log"))), (round, 0o600));
    }
    assert_eq!(bench.lines()[0]["direction"], "out");
}

#[test]
fn a_log_may_be_moved_away_at_any_time() {
    let bench = Bench::new();
    let automation = bench.logging(Way::In);
    tell_all(&automation, [offer("1", "laptop"), failed("1")]);
    fs::rename(bench.path("log"), bench.path("log.1")).unwrap();
    tell_all(&automation, [offer("2", "laptop"), failed("2")]);
    assert_eq!(bench.lines().len(), 1);
    assert_eq!(bench.lines()[0]["transfer"], "2");
}

#[test]
fn a_line_that_the_disk_cut_does_not_spoil_the_next() {
    let bench = Bench::new();
    fs::write(bench.path("log"), "{\"time\":\"20").unwrap();
    let automation = bench.logging(Way::In);
    tell_all(&automation, [offer("1", "laptop"), failed("1"), offer("2", "laptop"), failed("2")]);
    let text = fs::read_to_string(bench.path("log")).unwrap();
    let whole = text.lines().filter(|line| serde_json::from_str::<Value>(line).is_ok());
    assert_eq!((whole.count(), text.lines().count()), (2, 3), "{text}");
}

#[test]
fn a_log_that_is_a_link_a_folder_or_nowhere_is_refused_at_the_start() {
    let bench = Bench::new();
    symlink(bench.path("target"), bench.path("link")).unwrap();
    for place in ["link", ".", "missing/log"] {
        let rules = Rules { log: Some((bench.path(place), Way::In)), ..Rules::default() };
        assert!(matches!(bench.start(rules), Err(AutomationError::Log(_))), "{place}");
    }
    assert!(!bench.path("target").exists());
}

#[test]
fn a_log_that_can_not_be_written_any_more_is_told_once_and_goes_on_when_it_can() {
    let bench = Bench::new();
    let automation = bench.logging(Way::In);
    fs::remove_file(bench.path("log")).unwrap();
    fs::create_dir(bench.path("log")).unwrap();
    for transfer in ["1", "2"] {
        tell_all(&automation, [offer(transfer, "laptop"), failed(transfer)]);
    }
    let failures = bench.person.failures();
    assert!(matches!(failures.as_slice(), [only] if only.starts_with("the log has gaps")), "{failures:?}");
    fs::remove_dir(bench.path("log")).unwrap();
    tell_all(&automation, [offer("3", "laptop"), failed("3")]);
    assert_eq!(bench.lines()[0]["transfer"], "3");
}
