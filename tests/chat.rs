//! Rooms of real processes: one order for all, files from member to member, cuts, strangers.
#![cfg(target_os = "linux")]

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use common::proxy::Proxy;
use common::room::{chat, has_text, hears, hosting, joined, joining, left};
use common::{Ended, PATIENCE, Scene, disk, number, text};

/// The messages, as (number, name, text).
fn messages(ended: &Ended) -> Vec<(u64, String, String)> {
    let message = |event: &Value| (number(event, "number"), text(event, "from").into(), text(event, "text").into());
    ended.named("message").iter().map(message).collect()
}

#[test]
fn three_ends_hear_one_order_and_a_file_offered_by_one_is_taken_by_two() {
    let scene = Scene::new();
    let photo = scene.thing("photo.jpg", &vec![7; 3_000_000]);
    let mut host = hosting(&scene).listening();
    let [mut ada, mut bob] = ["ada", "bob"].map(|name| joined(&scene, name, &scene.at_invite()));
    for round in 0..40 {
        host.program.says(&format!("host {round}"));
        ada.says(&format!("ada {round}"));
        bob.says(&format!("bob {round}"));
    }
    ada.says(&format!("/send {}", photo.display()));
    for taker in [&mut host.program, &mut bob] {
        let shared = taker.event("shared");
        assert_eq!((text(&shared, "from"), text(&shared, "name")), ("ada", "photo.jpg"));
        taker.says(&format!("/get {}", number(&shared, "offer")));
        assert_eq!(text(&taker.event("finished"), "label"), "verified");
    }
    for talker in [&mut host.program, &mut ada, &mut bob] {
        for name in ["host", "ada", "bob"] {
            hears(talker, &format!("{name} 39"));
        }
    }
    bob.hangs_up();
    ada.hangs_up();
    let told = [ada.ended().with(0), bob.ended().with(0), left(host).with(0)].map(|ended| messages(&ended));
    assert_eq!(told[0].len(), 120);
    assert!(told.iter().all(|messages| *messages == told[0]), "{told:?}");
    assert!(told[0].is_sorted_by_key(|(number, ..)| *number));
    for folder in ["host", "bob"] {
        disk::assert_same(&scene.path("things"), &scene.path(folder));
    }
}

#[test]
fn a_member_that_is_cut_again_and_again_loses_nothing_and_doubles_nothing() {
    let scene = Scene::new();
    let mut host = hosting(&scene).listening();
    let proxy = Proxy::before(host.address(), &[]);
    let link = host.qrdrop_link().replace(&host.address().to_string(), &proxy.address.to_string());
    let mut ada = joined(&scene, "ada", &link);
    for round in 0..300 {
        host.program.says(&format!("host {round}"));
        ada.says(&format!("ada {round}"));
        if round % 60 == 30 {
            hears(&mut ada, &format!("host {}", round - 20));
            proxy.cut();
        }
    }
    hears(&mut ada, "host 299");
    hears(&mut ada, "ada 299");
    ada.hangs_up();
    let (ada, host) = (ada.ended().with(0), left(host).with(0));
    assert!(!ada.named("cut").is_empty(), "it was cut\n{ada}");
    assert!(ada.named("room").iter().all(|room| room["missed"] == 0));
    assert_eq!(messages(&ada), messages(&host));
    for name in ["host", "ada"] {
        let said = messages(&host).into_iter().filter_map(|(_, _, text)| text.starts_with(name).then_some(text));
        assert_eq!(said.collect::<Vec<_>>(), (0..300).map(|round| format!("{name} {round}")).collect::<Vec<_>>());
    }
    let left = host.named("left").len();
    assert_eq!(left, 1, "a cut is no leaving");
}

#[test]
fn a_member_that_was_killed_comes_back_as_itself_and_hears_what_it_missed() {
    let scene = Scene::new();
    let mut host = hosting(&scene).listening();
    let ada = || {
        let mut ada = joining(&scene, "ada", &scene.at_invite()).state(&scene.path("ada-state")).start();
        let room = ada.event("room");
        (ada, room)
    };
    let (mut first, before) = ada();
    first.says("I am here");
    host.program.says("before");
    hears(&mut first, "before");
    hears(&mut host.program, "I am here");
    first.kill();
    for round in 0..100 {
        host.program.says(&format!("meanwhile {round}"));
    }
    hears(&mut host.program, "meanwhile 99");
    let (mut second, after) = ada();
    let own = |room: &Value| room["members"].as_array().unwrap().iter().find(|one| one["own"] == true).cloned();
    assert_eq!(own(&before), own(&after), "it is the same member");
    hears(&mut second, "meanwhile 99");
    second.says("back again");
    hears(&mut host.program, "back again");
    second.hangs_up();
    let told = messages(&second.ended().with(0));
    let missed = told.iter().filter(|(_, _, text)| text.starts_with("meanwhile"));
    assert_eq!(missed.count(), 100, "{told:?}");
    let host = left(host).with(0);
    assert_eq!(host.named("joined").len(), 2, "nobody came twice\n{host}");
    assert!(fs::read_dir(scene.path("ada-state")).unwrap().next().is_none(), "who leaves is not remembered");
}

#[test]
fn a_script_says_everything_before_it_leaves() {
    let scene = Scene::new();
    let mut host = hosting(&scene).listening();
    let mut script = joining(&scene, "script", &scene.at_invite()).start();
    let lines: Vec<String> = (0..10_000).map(|line| format!("line {line}")).collect();
    script.says(&lines.join("\n"));
    script.hangs_up();
    hears(&mut host.program, "line 9999");
    let script = script.ended().with(0);
    let heard: Vec<String> = messages(&left(host).with(0)).into_iter().map(|(_, _, text)| text).collect();
    assert_eq!(heard, lines);
    assert_eq!(script.named("message").len(), 10_000, "it hears its own");
}

#[test]
fn a_flood_of_one_member_leaves_the_others_their_word() {
    let scene = Scene::new();
    let mut host = hosting(&scene).listening();
    let mut flood = joined(&scene, "flood", &scene.at_invite());
    let mut ada = joined(&scene, "ada", &scene.at_invite());
    let long = "\u{301}x\u{202e}".repeat(10_000);
    flood.says(&vec![long.as_str(); 100].join("\n"));
    hears(&mut ada, &long);
    let asked = std::time::Instant::now();
    ada.says("am I heard?");
    hears(&mut host.program, "am I heard?");
    assert!(asked.elapsed() < PATIENCE / 4, "it took {:?}", asked.elapsed());
    flood.kill();
    ada.hangs_up();
    ada.ended().with(0);
    left(host).with(0);
}

#[test]
fn a_message_of_64_kib_is_heard_whole_and_a_byte_more_is_not_said() {
    let scene = Scene::new();
    let mut host = hosting(&scene).listening();
    let mut ada = joined(&scene, "ada", &scene.at_invite());
    let edge = "x".repeat(64 * 1024);
    ada.says(&format!("{edge}x"));
    ada.says("");
    ada.says(&edge);
    ada.says("/nonsense");
    hears(&mut host.program, &edge);
    ada.hangs_up();
    let ada = ada.ended().with(0);
    let failed = ada.named("failed");
    assert_eq!(failed.len(), 2, "{ada}");
    assert!(text(&failed[0], "message").contains("64 KiB") && text(&failed[1], "message").contains("/nonsense"));
    assert_eq!(messages(&left(host)).len(), 1);
}

#[test]
fn two_of_one_name_are_told_apart_by_their_keys() {
    let scene = Scene::new();
    let mut host = hosting(&scene).listening();
    let mut ada = joined(&scene, "Ada", &scene.at_invite());
    ada.says("it is me");
    assert_eq!(hears(&mut host.program, "it is me")["double"], false);
    let mut other = joined(&scene, "ada", &scene.at_invite());
    other.says("no, me");
    let second = hears(&mut host.program, "no, me");
    let first = hears(&mut host.program, "it is me");
    assert_eq!(second["double"], true);
    assert_ne!(first["id"], second["id"]);
    ada.says("still me");
    assert_eq!(hears(&mut host.program, "still me")["double"], true);
    left(host).with(0);
}

#[test]
fn who_has_no_code_or_was_sent_out_hears_nothing() {
    let scene = Scene::new();
    let mut host = hosting(&scene).listening();
    let ada = joined(&scene, "ada", &scene.at_invite());
    let link = host.qrdrop_link();
    let (before, payload) = link.split_once("#1").unwrap();
    let wrong = format!("{before}#1{}{}", if payload.starts_with('A') { "B" } else { "A" }, &payload[1..]);
    joining(&scene, "stranger", &wrong).start().ended().failed(6);
    let mut classic = TcpStream::connect(host.address()).unwrap();
    classic.write_all(b"hello.txt<SEPARATOR>5hello").unwrap();
    classic.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    let _ = classic.read_to_end(&mut answer);
    assert_eq!(answer, b"");
    host.program.says("/remove 1");
    ada.ended().failed(3);
    host.program.event("left");
    host.program.says("among ourselves");
    let again = joining(&scene, "ada", &link).start();
    again.ended().failed(6);
    let members = host.program.event_where("message", has_text("among ourselves"));
    assert_eq!(members["from"], "Host");
    left(host).with(0);
}

/// Every file below `folder`.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => files(&entry.path(), found),
            false => found.push(entry.path()),
        }
    }
}

#[test]
fn nothing_that_was_said_is_on_the_disk_unless_a_history_was_asked_for() {
    let scene = Scene::new();
    let secret = "the cake is in the blue cupboard";
    let mut host = hosting(&scene).state(&scene.path("host-state")).listening();
    let history = scene.path("history");
    let mut ada = joining(&scene, "ada", &scene.at_invite()).arg("--history").arg(&history).start();
    let mut bob = joining(&scene, "bob", &scene.at_invite()).state(&scene.path("bob-state")).start();
    bob.event("room");
    ada.event("room");
    ada.says(secret);
    hears(&mut bob, secret);
    hears(&mut host.program, secret);
    ada.hangs_up();
    bob.hangs_up();
    ada.ended().with(0);
    bob.ended().with(0);
    left(host).with(0);
    let mut found = Vec::new();
    files(&scene.path(""), &mut found);
    let holds = |path: &&PathBuf| String::from_utf8_lossy(&fs::read(path).unwrap()).contains(secret);
    assert_eq!(found.iter().filter(holds).collect::<Vec<_>>(), [&history]);
    assert_eq!(fs::metadata(&history).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_room_that_is_closed_ends_its_members_well() {
    let scene = Scene::new();
    let mut host = hosting(&scene).listening();
    let mut ada = joined(&scene, "ada", &scene.at_invite());
    host.program.says("last words");
    host.program.says("/quit");
    hears(&mut ada, "last words");
    ada.ended().with(0);
    host.program.ended().with(0);
}

#[test]
fn a_room_is_no_receiver_and_a_receiver_is_no_room() {
    let scene = Scene::new();
    let file = scene.thing("a.txt", b"x");
    let host = hosting(&scene).listening();
    scene.send(&file).args(["--to", &scene.at_invite()]).run().failed(3);
    left(host).with(0);
    let inbox = scene.receive().listening();
    joining(&scene, "ada", &scene.at_invite()).start().ended().failed(3);
    inbox.stopped();
}

#[test]
fn an_offer_that_is_gone_fails_and_says_so_and_getting_another_is_no_longer_a_failure() {
    let scene = Scene::new();
    let file = scene.thing("a.txt", b"x");
    let mut host = hosting(&scene).listening();
    let mut ada = joined(&scene, "ada", &scene.at_invite());
    ada.says("/get 7");
    assert!(text(&ada.event("failed"), "message").contains('7'));
    host.program.says(&format!("/send {}", file.display()));
    ada.event("shared");
    fs::remove_file(&file).unwrap();
    ada.says("/get 1");
    ada.event_where("failed transfer", |event| event["event"] == "failed" && event["transfer"].is_string());
    ada.hangs_up();
    assert_ne!(ada.ended().code, Some(0), "a transfer was left failed");
    left(host);
}

/// The transfers in a log, as (direction, outcome, bytes).
fn logged(log: &Path) -> Vec<(String, String, u64)> {
    let lines = fs::read_to_string(log).unwrap();
    let transfers = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    transfers.map(|one| (text(&one, "direction").into(), text(&one, "outcome").into(), number(&one, "bytes"))).collect()
}

#[test]
fn a_picture_of_the_code_joins_and_files_of_both_ways_are_logged() {
    let scene = Scene::new();
    let (given, taken) = (scene.thing("given.txt", b"given"), scene.thing("taken.txt", b"taken too"));
    let (picture, log) = (scene.path("code.png"), scene.path("log"));
    let mut host = hosting(&scene).arg("--qr-png").arg(&picture).arg("--log").arg(&log).listening();
    let mut ada = chat(&scene, "ada").arg("--scan").arg(&picture).start();
    ada.event("room");
    host.program.says(&format!("/send {}", given.display()));
    let offered = ada.event("shared");
    ada.says(&format!("/get {}", number(&offered, "offer")));
    ada.event("finished");
    host.program.event("finished");
    ada.says(&format!("/send {}", taken.display()));
    let other =
        host.program.event_where("the other", |event| event["event"] == "shared" && event["name"] == "taken.txt");
    host.program.says(&format!("/get {}", number(&other, "offer")));
    host.program.event_where("taken", |event| event["event"] == "finished" && event["bytes"] == 9);
    ada.hangs_up();
    ada.ended().with(0);
    left(host).with(0);
    let transfer = |way: &str, bytes| (way.to_owned(), "finished".to_owned(), bytes);
    assert_eq!(logged(&log), [transfer("out", 5), transfer("in", 9)]);
}

#[test]
fn at_a_terminal_the_line_that_is_typed_stays_whole_and_commands_are_completed() {
    let scene = Scene::new();
    let mut host = hosting(&scene).listening();
    let mut ada = joining(&scene, "ada", &scene.at_invite()).on_a_terminal().start();
    ada.event("room");
    ada.press("/w\t");
    ada.shows("/who");
    ada.press("\x15half a sen");
    host.program.says("\x1b[2J\x07Accept from Alice (verified)? [Y/n]\u{202e}");
    ada.shows("Alice");
    ada.press("tence\r");
    hears(&mut host.program, "half a sentence");
    ada.press("/quit\r");
    let ended = ada.ended().with(0);
    let raw = String::from_utf8_lossy(&ended.raw_screen).into_owned();
    assert!(!raw.contains("\x1b[2J") && !raw.contains('\u{202e}') && !raw.contains('\x07'));
    left(host).with(0);
}
