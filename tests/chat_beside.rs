//! Rooms beside transfers (`--chat`): who receives or sends also talks, in the same place.
#![cfg(target_os = "linux")]

mod common;

use std::fs;

use serde_json::Value;

use common::room::{hears, joined, joining, left};
use common::{Launch, Scene, agree, disk, number, text};

/// `qrdrop receive --chat` that takes whoever has the link, and types lines.
fn receiving(scene: &Scene) -> Launch {
    scene.receive().args(["--chat", "--yes=private", "--name", "Host"]).typing()
}

/// `qrdrop send --chat` of that file, hosting.
fn giving(scene: &Scene, file: &std::path::Path) -> Launch {
    scene
        .send(file)
        .args(["--chat", "--name", "Host", "--qr", "never", "--port", "0", "--interface", "lo", "--hidden"])
        .arg("--invite-file")
        .arg(scene.invite())
        .typing()
}

/// `qrdrop receive --from --chat` into `inbox`.
fn fetching(scene: &Scene) -> Launch {
    Launch::new("receive")
        .arg(scene.inbox())
        .args(["--json", "--chat", "--name", "fetcher", "--interface", "lo", "--from", &scene.at_invite()])
        .state(&scene.path("fetcher-state"))
        .typing()
}

/// What the transfer itself is told of: the failures of no transfer.
fn said_of_no_transfer(events: &[Value]) -> Vec<String> {
    let failed = events.iter().filter(|event| event["event"] == "failed" && event["transfer"].is_null());
    failed.map(|event| text(event, "message").to_owned()).collect()
}

/// The same link with a token that opens nothing.
fn with_another_token(link: &str) -> String {
    let (before, payload) = link.split_once("#1").unwrap();
    format!("{before}#1{}{}", if payload.starts_with('A') { "B" } else { "A" }, &payload[1..])
}

#[test]
fn a_receiver_gets_files_and_messages_at_the_same_time() {
    let scene = Scene::new();
    let file = scene.thing("film.bin", &vec![7; 8_000_000]);
    let mut host = receiving(&scene).listening();
    let mut ada = joined(&scene, "ada", &scene.at_invite());
    let mut bob = scene.send(&file).args(["--name", "bob", "--limit", "4MB", "--to", &scene.at_invite()]).start();
    host.program.event("accepted");
    for round in 0..20 {
        ada.says(&format!("ada {round}"));
        host.program.says(&format!("host {round}"));
    }
    hears(&mut ada, "host 19");
    hears(&mut host.program, "ada 19");
    assert!(!bob.ends_within(std::time::Duration::ZERO), "the file is still on its way");
    host.program.event("finished");
    let bob = bob.ended().with(0);
    for word in ["message", "room", "joined", "shared"] {
        assert!(bob.named(word).is_empty(), "who only sends reads nothing of the room\n{bob}");
    }
    ada.hangs_up();
    ada.ended().with(0);
    let host = left(host).with(0);
    assert_eq!(host.named("joined").len(), 2, "the host and ada\n{host}");
    disk::assert_same(&scene.path("things"), &scene.inbox());
}

#[test]
fn a_sender_talks_in_the_room_of_its_receiver_while_and_after_it_sends() {
    let scene = Scene::new();
    let file = scene.thing("a.txt", b"x");
    let mut host = receiving(&scene).listening();
    let mut sender = scene.send(&file).args(["--chat", "--name", "bob", "--to", &scene.at_invite()]).typing().start();
    sender.event("finished");
    sender.event("room");
    host.program.event("finished");
    host.program.says("thank you");
    hears(&mut sender, "thank you");
    sender.says("there is more");
    let heard = hears(&mut host.program, "there is more");
    assert_eq!((text(&heard, "from"), number(&heard, "member")), ("bob", 1));
    let more = scene.thing("more.txt", b"more");
    sender.says(&format!("/send {}", more.display()));
    let offered = host.program.event("shared");
    host.program.says(&format!("/get {}", number(&offered, "offer")));
    host.program.event_where("more.txt", |event| event["event"] == "stored" && event["name"] == "more.txt");
    sender.says("/quit");
    sender.ended().with(0);
    left(host).with(0);
    disk::assert_same(&scene.path("things"), &scene.inbox());
}

#[test]
fn who_has_no_code_or_was_sent_out_hears_nothing_beside_a_receiver_either() {
    let scene = Scene::new();
    let file = scene.thing("a.txt", b"x");
    let mut host = receiving(&scene).listening();
    let link = host.qrdrop_link();
    let wrong = with_another_token(&link);
    joining(&scene, "stranger", &wrong).start().ended().failed(6);
    let mut sender = scene.send(&file).args(["--chat", "--to", &link]).typing().start();
    sender.event("room");
    sender.event("finished");
    host.program.says("/remove 1");
    host.program.event("left");
    host.program.says("among ourselves");
    let sender = sender.ended().with(0);
    assert_eq!(sender.named("peer").len(), 1, "it paired once\n{sender}");
    assert!(sender.named("message").is_empty(), "{sender}");
    scene.send(&file).args(["--chat", "--to", &link]).typing().start().ended().failed(6);
    let host = left(host).with(0);
    assert_eq!(host.named("joined").len(), 2, "{host}");
}

#[test]
fn an_outbox_and_who_fetches_from_it_talk() {
    let scene = Scene::new();
    let file = scene.thing("a.txt", b"what there is to fetch");
    let mut host = giving(&scene, &file).arg("--keep").listening();
    let mut fetcher = fetching(&scene).start();
    fetcher.event("finished");
    host.program.says("did it come?");
    hears(&mut fetcher, "did it come?");
    fetcher.says("it did");
    hears(&mut host.program, "it did");
    fetcher.says("/quit");
    fetcher.ended().with(0);
    left(host).with(0);
    disk::assert_same(&scene.path("things"), &scene.inbox());
}

#[test]
fn the_key_of_a_transfer_that_was_cut_goes_on_with_that_and_opens_no_room() {
    let scene = Scene::new();
    let file = scene.thing("film.bin", &disk::noise(1, 24_000_000));
    let mut host = giving(&scene, &file).args(["--keep", "--limit", "8MB"]).listening();
    let fetching_by = |link: &str| {
        let fetching = Launch::new("receive").arg(scene.inbox()).args(["--json", "--chat", "--interface", "lo"]);
        fetching.args(["--from", link]).state(&scene.path("fetcher-state")).typing()
    };
    let mut first = fetching_by(&host.qrdrop_link()).start();
    first.event_where("some of it", |event| event["event"] == "progress" && number(event, "bytes") > 8_000_000);
    first.kill();
    host.program.event_where("that it was cut", |event| event["event"] == "failed");
    let second = fetching_by(&with_another_token(&host.qrdrop_link())).start().ended().with(0);
    assert!(number(&second.one("retry"), "from_bytes") > 0, "{second}");
    assert!(second.named("room").is_empty(), "{second}");
    assert_eq!(said_of_no_transfer(&second.events()).len(), 1, "{second}");
    host.program.says("/quit");
    host.program.ended().with(0);
    disk::assert_same(&scene.path("things"), &scene.inbox());
}

#[test]
fn where_there_is_no_room_that_is_said_and_the_transfer_happens() {
    let scene = Scene::new();
    let file = scene.thing("a.txt", b"x");
    let host = scene.receive().arg("--yes").listening();
    let link = host.qrdrop_link();
    let sender = scene.send(&file).args(["--chat", "--to", &link]).typing().start().ended().with(0);
    assert_eq!(said_of_no_transfer(&sender.events()), ["there is no room there"]);
    sender.one("finished");
    joining(&scene, "ada", &link).start().ended().failed(3);
    let host = host.stopped();
    assert!(host.named("stored").len() == 1 && host.named("joined").is_empty());
    let outbox = scene
        .send(&file)
        .args(["--qr", "never", "--port", "0", "--interface", "lo", "--hidden", "--invite-file"])
        .arg(scene.invite())
        .listening();
    let fetched = fetching(&scene).start().ended().with(0);
    assert_eq!(said_of_no_transfer(&fetched.events()), ["there is no room there"]);
    let outbox = outbox.left().with(0);
    assert!(said_of_no_transfer(&outbox.events()).is_empty(), "nobody came who was sent away\n{outbox}");
}

#[test]
fn a_receiver_of_one_transfer_stays_for_those_who_still_talk_and_leaves_with_the_last() {
    let scene = Scene::new();
    let file = scene.thing("a.txt", b"x");
    let mut host = receiving(&scene).arg("--once").listening();
    let mut sender = scene.send(&file).args(["--chat", "--to", &scene.at_invite()]).typing().start();
    sender.event("finished");
    sender.event("room");
    host.program.event("finished");
    assert!(!host.program.ends_within(std::time::Duration::from_secs(4)), "somebody is in the room");
    host.program.says("still here");
    hears(&mut sender, "still here");
    sender.hangs_up();
    sender.ended().with(0);
    host.program.ended().with(0);
}

#[test]
fn an_outbox_leaves_after_its_taker_when_nobody_talks() {
    let scene = Scene::new();
    let file = scene.thing("a.txt", b"x");
    let host = giving(&scene, &file).listening();
    let fetched = Launch::new("receive").arg(scene.inbox()).args(["--json", "--interface", "lo", "--from"]);
    fetched.arg(scene.at_invite()).run().with(0);
    host.program.ended().with(0);
}

#[test]
fn a_refused_transfer_is_told_at_once_and_is_what_the_exit_code_says() {
    let scene = Scene::new();
    let file = scene.thing("a.txt", b"too much");
    let mut host = receiving(&scene).args(["--max-size", "1"]).listening();
    let log = scene.path("log");
    let sending = scene.send(&file).args(["--chat", "--to", &scene.at_invite(), "--log"]).arg(&log);
    let mut sender = sending.typing().start();
    sender.event_where("failure", |event| event["event"] == "failed" && event["transfer"].is_string());
    sender.event("room");
    sender.says("why?");
    hears(&mut host.program, "why?");
    sender.hangs_up();
    sender.ended().with(3);
    left(host).with(0);
    let logged: Value = serde_json::from_str(fs::read_to_string(&log).unwrap().trim()).unwrap();
    assert_eq!((text(&logged, "direction"), text(&logged, "outcome")), ("out", "refused"));
}

#[test]
fn a_code_is_compared_once_for_file_and_room() {
    let scene = Scene::new();
    let file = scene.thing("a.txt", b"x");
    let mut host = receiving(&scene).on_a_terminal().listening();
    let address = host.address().to_string();
    let mut sender = scene.send(&file).args(["--chat", "--to", &address]).on_a_terminal().start();
    agree(&mut sender, &mut host.program, "room", |event| event["event"] == "room");
    sender.event("finished");
    sender.press("\x15hello\r");
    hears(&mut host.program, "hello");
    sender.press("/quit\r");
    let sender = sender.ended().with(0);
    assert_eq!(sender.named("code").len(), 1, "{sender}");
    host.program.press("\x15/quit\r");
    host.program.ended().with(0);
}

#[test]
fn a_question_about_an_offer_leaves_the_line_that_is_typed_alone() {
    let scene = Scene::new();
    let file = scene.thing("a.txt", b"x");
    let mut host = scene.receive().args(["--chat", "--name", "Host"]).on_a_terminal().listening();
    let mut ada = joined(&scene, "ada", &scene.at_invite());
    host.program.press("half a sen");
    host.program.shows("half a sen");
    let mut sender = scene.send(&file).args(["--name", "bob", "--to", &host.http_link()]).start();
    sender.event("offer");
    host.program.shows("a.txt");
    host.program.press_until("y", "file", |event| event["event"] == "finished");
    sender.ended().with(0);
    host.program.press("\x05");
    host.program.press("tence\r");
    let said = ada.event("message");
    assert!(text(&said, "text").trim_end_matches('y').starts_with("half a sen"), "{said}");
    ada.hangs_up();
    ada.ended().with(0);
    host.program.press("/quit\r");
    host.program.ended().with(0);
}

#[test]
fn what_can_not_go_together_is_said_before_anything_happens() {
    let scene = Scene::new();
    let file = scene.thing("a.txt", b"x");
    let several = ["--chat", "--to", "127.0.0.1:1", "--to", "127.0.0.1:2"];
    scene.send(&file).args(several).run().failed(2);
    scene.send("-".as_ref()).args(["--chat", "--to", "127.0.0.1:1"]).run().failed(2);
    scene.send(&file).args(["--chat", "--to", "-"]).run().failed(2);
    fs::remove_file(&file).unwrap();
}
