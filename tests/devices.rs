//! Devices that remember each other: by their keys alone, without a code, and an alarm where a key is another one.
#![cfg(unix)]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use common::around::{Lan, am_root, have};
use common::{Ended, Host, Launch, Scene, agree, disk, text};

/// Names that no test beside this one has: on loopback all hear each other.
fn study(scene: &Scene) -> String {
    format!("study {}", tag(scene))
}

fn laptop(scene: &Scene) -> String {
    format!("laptop {}", tag(scene))
}

fn tag(scene: &Scene) -> String {
    let root = scene.path("");
    let name = root.components().next_back().expect("a folder has a name").as_os_str().to_string_lossy().into_owned();
    name.rsplit('-').next().unwrap_or_default().to_owned()
}

/// A receiver on loopback, that others may find there.
fn receiver(scene: &Scene, name: &str) -> Launch {
    scene.receive_on("127.0.0.1").args(["--name", name])
}

/// `qrdrop send` of one small file, from loopback.
fn send(scene: &Scene, file: &str) -> Launch {
    let source = scene.thing(file, file.as_bytes());
    scene.send(&source).args(["--interface", "127.0.0.1", "--name", &laptop(scene)])
}

/// `qrdrop devices` of the sender.
fn devices(scene: &Scene, words: &[&str]) -> Launch {
    Launch::new("devices").args(words).arg("--json").state(&scene.path("sender-state"))
}

/// The devices that the side with this state folder remembers.
fn remembered(state: &Path) -> Vec<Value> {
    Launch::new("devices").arg("--json").state(state).run().with(0).named("device")
}

/// Sender and receiver meet by the `qrdrop://` link and remember each other.
fn introduce(scene: &Scene) {
    let host = receiver(scene, &study(scene)).args(["--hidden", "--yes", "--once", "--remember"]).listening();
    send(scene, "first").args(["--remember", "--to", &host.qrdrop_link()]).run().with(0);
    host.left().with(0);
}

fn stored(scene: &Scene) -> Vec<String> {
    disk::names(&scene.inbox())
}

fn mark(host: &Host, scene: &Scene) -> String {
    let list = Launch::new("list").args(["--json", "--interface", "127.0.0.1"]).state(&scene.path("nobody")).run();
    let address = host.address().to_string();
    let found = list.named("receiver").into_iter().find(|found| found["address"] == address.as_str());
    text(&found.expect("it is listed"), "id").to_owned()
}

fn failure(ended: &Ended, code: u64) -> String {
    let failed = ended.named("failed").into_iter().find(|failed| failed["code"] == code);
    text(&failed.unwrap_or_else(|| panic!("no failure {code}: {ended}")), "message").to_owned()
}

#[test]
fn a_remembered_receiver_takes_by_name_without_code_or_question() {
    let scene = Scene::new();
    let host = receiver(&scene, &study(&scene)).args(["--hidden", "--yes", "--once", "--remember"]).listening();
    let sent = send(&scene, "first").args(["--remember", "--to", &host.qrdrop_link()]).run().with(0);
    let received = host.left().with(0);
    assert_eq!(text(&sent.one("remembered")["peer"], "name"), study(&scene));
    assert_eq!(text(&received.one("remembered")["peer"], "name"), laptop(&scene));
    assert!(sent.screen.contains(&format!("\"{}\" is remembered", study(&scene))), "{sent}");

    // Neither says `--remember` again, and the receiver is at another port.
    let host = receiver(&scene, &study(&scene)).args(["--yes", "--once"]).listening();
    let sent = send(&scene, "second").args(["--to", &study(&scene).to_uppercase()]).run().with(0);
    let received = host.left().with(0);
    for ended in [&sent, &received] {
        assert_eq!(ended.one("peer")["label"], "verified", "{ended}");
        assert!(ended.named("code").is_empty() && ended.named("remembered").is_empty(), "{ended}");
    }
    assert_eq!(stored(&scene), ["first", "second"]);
    let seen = remembered(&scene.path("sender-state"));
    assert_eq!(text(&seen[0], "name"), study(&scene));
    assert!(seen[0]["last_seen"].is_string(), "{seen:?}");
}

#[test]
fn without_yes_a_remembered_sender_is_asked_about_and_needs_no_code() {
    let scene = Scene::new();
    introduce(&scene);
    let mut host = receiver(&scene, &study(&scene)).arg("--once").on_a_terminal().listening();
    let sender = send(&scene, "second").args(["--to", &study(&scene)]).start();
    host.program.event("offer");
    host.program.press_until("y", "end", |event| event["event"] == "finished");
    let sent = sender.ended().with(0);
    assert!(sent.named("code").is_empty(), "{sent}");
}

#[test]
fn codes_that_were_compared_are_enough_to_be_remembered() {
    let scene = Scene::new();
    let mut host = receiver(&scene, &study(&scene)).args(["--yes", "--remember"]).on_a_terminal().listening();
    let sender = send(&scene, "first").args(["--remember", "--to", &study(&scene)]);
    let mut sender = sender.on_a_terminal().start();
    sender.event("code");
    agree(&mut sender, &mut host.program, "`remembered`", |event| event["event"] == "remembered");
    sender.ended().with(0);
    host.program.event("remembered");
    let sent = send(&scene, "second").args(["--to", &study(&scene)]).run().with(0);
    assert!(sent.named("code").is_empty(), "{sent}");
}

#[test]
fn who_remembers_alone_is_told_why_the_other_is_not_remembered() {
    let scene = Scene::new();
    let host = receiver(&scene, &study(&scene)).args(["--hidden", "--yes", "--once"]).listening();
    let sent = send(&scene, "first").args(["--remember", "--to", &host.qrdrop_link()]).run().with(0);
    let received = host.left().with(0);
    assert!(text(&sent.one("not_remembered"), "reason").contains("--remember"), "{sent}");
    assert!(received.named("remembered").is_empty() && received.named("not_remembered").is_empty());
    assert!(remembered(&scene.path("sender-state")).is_empty());
    assert!(!scene.path("receiver-state").join("device-key").exists());
}

#[test]
fn a_code_from_the_screen_is_remembered_only_after_a_persons_yes() {
    let scene = Scene::new();
    let mut host = receiver(&scene, &study(&scene)).args(["--yes=private", "--remember"]).listening();
    send(&scene, "first").args(["--remember", "--to", &host.http_link()]).run().with(0);
    let not = host.program.event("not_remembered");
    assert!(text(&not, "reason").contains("code on the screen"), "{not}");
    host.stopped().with(0);
    assert!(remembered(&scene.path("receiver-state")).is_empty());

    let mut host = receiver(&scene, &study(&scene)).arg("--remember").on_a_terminal().listening();
    let sender = send(&scene, "second").args(["--remember", "--to", &host.http_link()]).start();
    host.program.press_until("y", "`remembered`", |event| event["event"] == "remembered");
    sender.ended().with(0);
    assert_eq!(remembered(&scene.path("receiver-state")).len(), 1);
}

#[test]
fn p7_an_outbox_asks_about_a_remembered_taker_unless_told_yes() {
    let scene = Scene::new();
    introduce(&scene);
    let fetch = |into: &str| {
        let folder = scene.path(into);
        fs::create_dir(&folder).unwrap();
        let fetch = Launch::new("receive").args(["--from", &laptop(&scene), "--json", "--interface", "127.0.0.1"]);
        fetch.arg(folder).args(["--name", &study(&scene)]).state(&scene.path("receiver-state"))
    };
    let outbox = |words: &[&str]| {
        let outbox = send(&scene, "for you").args(["--port", "0", "--qr", "never", "--invite-file"]);
        outbox.arg(scene.invite()).args(words).listening()
    };
    let host = outbox(&[]);
    let refused = fetch("one").run().failed(3);
    assert!(failure(&refused, 3).contains("`--yes`"), "{refused}");
    host.stopped();
    let host = outbox(&["--yes"]);
    let fetched = fetch("two").run().with(0);
    assert!(fetched.named("code").is_empty());
    host.left().with(0);
    assert_eq!(disk::names(&scene.path("two")), ["for you"]);
}

#[test]
fn a_room_knows_a_remembered_member_by_its_key_and_its_person_is_asked() {
    let scene = Scene::new();
    let chat = |state: &str, name: String| {
        let chat = Launch::new("chat").arg(scene.inbox()).args(["--json", "--interface", "127.0.0.1"]).typing();
        chat.args(["--name", &name]).state(&scene.path(state))
    };
    let room = |words: &[&str]| {
        let room = chat("receiver-state", study(&scene)).args(["--qr", "never", "--port", "0"]).args(words);
        room.arg("--invite-file").arg(scene.invite()).listening()
    };
    let member = |to: &str| chat("sender-state", laptop(&scene)).args(["--to", to]);
    let closed = |mut host: Host| {
        host.program.says("/quit");
        host.program.ended().with(0)
    };
    let mut host = room(&["--remember"]);
    let mut guest = member(&host.qrdrop_link()).arg("--remember").start();
    guest.event("remembered");
    host.program.event("remembered");
    guest.says("/quit");
    guest.ended().with(0);
    closed(host);

    let host = room(&["--yes"]);
    let mut guest = member(&study(&scene)).start();
    guest.event("room");
    guest.says("/quit");
    assert!(guest.ended().with(0).named("code").is_empty());
    closed(host);

    let host = room(&[]);
    let refused = member(&study(&scene)).start().ended().failed(3);
    assert!(failure(&refused, 3).contains("`--yes`"), "{refused}");
    closed(host);
}

#[test]
fn e22_a_changed_key_of_a_receiver_is_an_alarm_that_names_both_keys() {
    let scene = Scene::new();
    introduce(&scene);
    let known = text(&remembered(&scene.path("sender-state"))[0], "id").to_owned();
    let other = Scene::new();
    let host = receiver(&other, &study(&scene)).arg("--yes=open").listening();
    let shown = mark(&host, &scene);
    let by_name = send(&scene, "second").args(["--to", &study(&scene)]).run().failed(6);
    assert!(failure(&by_name, 6).contains(&known) && failure(&by_name, 6).contains(&shown), "{by_name}");
    // The code is good, the name is not.
    let by_link = send(&scene, "third").args(["--to", &host.qrdrop_link()]).run().failed(6);
    assert!(failure(&by_link, 6).contains(&known) && failure(&by_link, 6).contains(&shown), "{by_link}");
    for ended in [&by_name, &by_link] {
        assert!(ended.named("code").is_empty() && ended.named("offer").is_empty(), "{ended}");
    }
    let listed = Launch::new("list").args(["--json", "--interface", "127.0.0.1"]).state(&scene.path("sender-state"));
    let listed = listed.run().with(0);
    let found = listed.named("receiver").into_iter().find(|found| found["id"] == shown.as_str()).unwrap();
    assert_eq!(found["trusted"], false);
    assert!(listed.screen.contains(&known), "{listed}");
    assert!(stored(&other).is_empty());

    // Once the person says so, it is a stranger like any other.
    devices(&scene, &["forget", &study(&scene)]).run().with(0);
    send(&scene, "third").args(["--to", &host.qrdrop_link()]).run().with(0);
}

#[test]
fn e22_a_sender_with_a_remembered_name_and_another_key_is_refused_with_an_alarm() {
    let scene = Scene::new();
    introduce(&scene);
    let known = text(&remembered(&scene.path("receiver-state"))[0], "id").to_owned();
    let mut host = receiver(&scene, &study(&scene)).args(["--hidden", "--yes=open", "--remember"]).listening();
    let source = scene.thing("evil", b"evil");
    let stranger = scene.path("stranger-state");
    let pose = Launch::new("send").arg(source).args([
        "--json",
        "--name",
        &laptop(&scene).to_uppercase(),
        "--remember",
        "--to",
    ]);
    pose.arg(host.qrdrop_link()).state(&stranger).run().failed(6);
    let alarm = host.program.event("failed");
    assert_eq!((alarm["code"].as_u64(), alarm["transfer"].is_null()), (Some(6), true));
    assert!(text(&alarm, "message").contains(&known), "{alarm}");
    assert_eq!(stored(&scene), ["first"]);
    assert_eq!(remembered(&scene.path("receiver-state")).len(), 1);
    // The one who is remembered is served as ever.
    send(&scene, "second").args(["--to", &host.http_link()]).run().with(0);
    host.stopped().with(0);
}

#[test]
fn a_host_that_has_forgotten_a_device_compares_a_code_or_refuses() {
    let scene = Scene::new();
    introduce(&scene);
    let mut host = receiver(&scene, &study(&scene)).arg("--yes").on_a_terminal().listening();
    // While it runs: what is forgotten is forgotten at once.
    let forget =
        Launch::new("devices").args(["forget", &laptop(&scene), "--json"]).state(&scene.path("receiver-state"));
    forget.run().with(0);
    let refused = send(&scene, "second").args(["--to", &study(&scene)]).run().failed(6);
    assert!(failure(&refused, 6).contains("not remembered there"), "{refused}");
    let mut sender = send(&scene, "second").args(["--to", &study(&scene)]).on_a_terminal().start();
    sender.event("code");
    agree(&mut sender, &mut host.program, "`finished`", |event| event["event"] == "finished");
    sender.ended().with(0);
}

#[test]
fn devices_are_listed_renamed_and_forgotten() {
    let scene = Scene::new();
    introduce(&scene);
    let renamed = devices(&scene, &["rename", &study(&scene), "Ada's desk"]).run().with(0);
    assert_eq!(text(&renamed.one("device"), "name"), "Ada's desk");
    let host = receiver(&scene, &study(&scene)).args(["--yes", "--once"]).listening();
    let sent = send(&scene, "second").args(["--to", "ada's desk"]).run().with(0);
    assert_eq!(text(&sent.one("peer")["peer"], "name"), "Ada's desk");
    host.left().with(0);
    devices(&scene, &["rename", "nobody", "x"]).run().failed(4);
    devices(&scene, &["forget", "nobody"]).run().failed(4);
    let id = text(&remembered(&scene.path("sender-state"))[0], "id").to_owned();
    devices(&scene, &["forget", &id]).run().with(0);
    assert!(remembered(&scene.path("sender-state")).is_empty());
    // Nobody is remembered, so nothing tells this device from a stranger any more.
    assert!(!scene.path("sender-state").join("device-key").exists());
    let told = Launch::new("devices").state(&scene.path("sender-state")).run().with(0);
    assert!(told.screen.contains("no device is remembered"), "{told}");
}

#[test]
fn all_sends_to_every_remembered_receiver_that_is_here() {
    let (scene, other) = (Scene::new(), Scene::new());
    send(&scene, "early").arg("--all").run().failed(4);
    introduce(&scene);
    let kitchen = receiver(&other, &study(&other)).args(["--yes", "--remember"]).listening();
    send(&scene, "first").args(["--remember", "--to", &kitchen.qrdrop_link()]).run().with(0);
    let here = receiver(&scene, &study(&scene)).args(["--yes", "--once"]).listening();
    let sent = send(&scene, "second").arg("--all").run().with(0);
    assert_eq!(sent.named("finished").len(), 2, "{sent}");
    here.left().with(0);
    let sent = send(&scene, "third").arg("--all").run().with(0);
    assert!(sent.screen.contains(&format!("not here: {}", study(&scene))), "{sent}");
    kitchen.stopped().with(0);
    assert_eq!(stored(&scene), ["first", "second"]);
    assert_eq!(stored(&other), ["first", "second", "third"]);
    send(&scene, "fourth").arg("--all").run().failed(4);
    send(&scene, "fourth").args(["--all", "--to", "x"]).run().with(2);
}

#[test]
fn e21_a_loose_linked_truncated_or_missing_key_is_refused_and_never_made_anew() {
    let scene = Scene::new();
    introduce(&scene);
    let state = scene.path("sender-state");
    let (key, kept) = (state.join("device-key"), scene.path("kept"));
    assert_eq!(fs::metadata(&state).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(state.join("devices.json")).unwrap().permissions().mode() & 0o777, 0o600);
    let whole = fs::read(&key).unwrap();
    let refused = |why: &str| {
        let sent = send(&scene, "second").args(["--remember", "--to", "127.0.0.1:1"]).run().failed(7);
        assert!(failure(&sent, 7).contains("device-key"), "{why}: {sent}");
        let hosting = Launch::new("receive").arg(scene.inbox()).args(["--json", "--hidden", "--port", "0"]);
        hosting.args(["--interface", "127.0.0.1", "--remember"]).state(&state).run().failed(7);
    };
    let restore = || {
        let _ = fs::remove_file(&key);
        disk::write(&key, &whole);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    };
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    refused("0644");
    for cut in [&whole[..whole.len() / 2], &[], b"no key at all"] {
        restore();
        fs::write(&key, cut).unwrap();
        refused("cut");
        assert_eq!(fs::read(&key).unwrap(), cut, "it is as it was");
    }
    restore();
    fs::rename(&key, &kept).unwrap();
    refused("missing");
    assert!(!key.exists());
    std::os::unix::fs::symlink(&kept, &key).unwrap();
    refused("a link");
    if am_root() {
        restore();
        std::os::unix::fs::chown(&key, Some(65_534), None).unwrap();
        refused("another user's");
    }
    restore();
    assert_eq!(remembered(&state).len(), 1);
}

#[test]
fn e21_a_damaged_list_is_refused_by_every_command_that_would_trust_it() {
    let scene = Scene::new();
    introduce(&scene);
    let list = scene.path("sender-state").join("devices.json");
    let whole = fs::read_to_string(&list).unwrap();
    let (first, rest) = whole.split_at(whole.len() / 2);
    for broken in ["", "{}", first, rest, &whole.replace("\"version\": 1", "\"version\": 2")] {
        fs::write(&list, broken).unwrap();
        let sent = send(&scene, "second").args(["--to", &study(&scene)]).run().failed(7);
        assert!(failure(&sent, 7).contains("devices.json"), "{sent}");
        devices(&scene, &["list"]).run().failed(7);
        devices(&scene, &["forget", &study(&scene)]).run().failed(7);
        assert_eq!(fs::read_to_string(&list).unwrap(), broken);
    }
}

/// Two hosts on a cable; `here` has the receiver that `there` remembers.
fn neighbours(scene: &Scene, lan: &Lan) {
    let host = findable(scene, lan, "Desk").args(["--yes", "--remember"]).listening();
    let sent = from_there(scene, lan, "first").args(["--remember", "--to", &host.qrdrop_link()]).run().with(0);
    sent.one("remembered");
    host.stopped().with(0);
}

fn findable(scene: &Scene, lan: &Lan, name: &str) -> Launch {
    scene.receive_on("eth0").args(["--name", name]).behind(Lan::on(&lan.here))
}

fn from_there(scene: &Scene, lan: &Lan, file: &str) -> Launch {
    let source = scene.thing(file, file.as_bytes());
    scene.send(&source).args(["--name", "laptop"]).behind(Lan::on(&lan.there))
}

#[test]
fn on_a_network_a_second_transfer_goes_by_name_and_an_impostor_is_an_alarm() {
    if !am_root() || !have(&["ip"]) {
        return;
    }
    let (scene, other, lan) = (Scene::new(), Scene::new(), Lan::new());
    neighbours(&scene, &lan);
    // An address is nothing to go by.
    common::around::sh(&format!(
        "ip -n {0} addr del {1}/24 dev eth0; ip -n {0} addr add 10.83.7.9/24 dev eth0
         ip -n {0} route replace 224.0.0.0/4 dev eth0",
        lan.here,
        Lan::HERE
    ));
    let host = findable(&scene, &lan, "Desk").args(["--yes", "--once"]).listening();
    let list = Launch::new("list").arg("--json").state(&scene.path("sender-state")).behind(Lan::on(&lan.there));
    assert_eq!(list.run().with(0).one("receiver")["trusted"], true);
    let sent = from_there(&scene, &lan, "second").args(["--to", "Desk"]).run().with(0);
    assert!(sent.named("code").is_empty(), "{sent}");
    assert_eq!(host.left().with(0).one("finished")["label"], "verified");

    let impostor = findable(&other, &lan, "Desk").arg("--yes=open").listening();
    let sent = from_there(&scene, &lan, "third").args(["--to", "Desk"]).run().failed(6);
    assert!(sent.named("peer").is_empty() && sent.named("code").is_empty(), "{sent}");
    assert!(failure(&sent, 6).starts_with("alarm"), "{sent}");
    impostor.stopped().with(0);
    assert!(stored(&other).is_empty());
}

#[test]
fn g01_of_two_that_are_announced_by_one_name_the_remembered_key_decides() {
    if !am_root() || !have(&["ip"]) {
        return;
    }
    let (scene, other, lan) = (Scene::new(), Scene::new(), Lan::new());
    neighbours(&scene, &lan);
    let impostor = findable(&other, &lan, "Desk").arg("--yes=open").listening();
    let _ = mark_there(&lan, &scene);
    let host = findable(&scene, &lan, "Desk").args(["--yes", "--once"]).listening();
    from_there(&scene, &lan, "second").args(["--to", "Desk"]).run().with(0);
    host.left().with(0);
    assert!(stored(&other).is_empty());
    impostor.stopped().with(0);
    assert_eq!(stored(&scene), ["first", "second"]);
}

fn mark_there(lan: &Lan, scene: &Scene) -> String {
    let list = Launch::new("list").arg("--json").state(&scene.path("nobody")).behind(Lan::on(&lan.there)).run();
    text(&list.one("receiver"), "id").to_owned()
}
