//! Two hosts joined by a cable (network namespaces): who is found, by whom, under which name, and for how long.
#![cfg(target_os = "linux")]

mod common;

use std::time::{Duration, Instant};

use serde_json::Value;

use common::around::{Lan, am_root, have, have_module};
use common::{Host, Launch, Scene, agree, disk, peer};

/// A receiver on `lan.here` that other hosts can find.
fn findable(scene: &Scene, lan: &Lan, name: &str) -> Launch {
    scene.receive_on("eth0").args(["--name", name]).behind(Lan::on(&lan.here))
}

/// `qrdrop list` on `lan.there`.
fn list(scene: &Scene, lan: &Lan) -> common::Ended {
    let list = Launch::new("list").arg("--json").state(&scene.path("list-state"));
    let ended = list.behind(Lan::on(&lan.there)).run();
    let found = !ended.named("receiver").is_empty();
    ended.with(if found { 0 } else { 4 })
}

fn port(host: &Host) -> u16 {
    host.address().port()
}

#[test]
fn a_receiver_is_listed_on_the_other_host_within_three_seconds() {
    if !am_root() || !have(&["ip"]) {
        return;
    }
    let (scene, lan) = (Scene::new(), Lan::new());
    let host = findable(&scene, &lan, "Desk by the window").listening();
    assert_eq!(host.listening["discoverable"], true);
    assert_eq!(host.address().ip(), Lan::HERE, "the address in the code is one that others reach");
    let started = Instant::now();
    let listed = list(&scene, &lan);
    assert!(started.elapsed() < Duration::from_secs(3), "it took {:?}", started.elapsed());
    let receiver = listed.one("receiver");
    assert_eq!(receiver["name"], "Desk by the window");
    assert_eq!(receiver["address"], host.address().to_string().as_str());
    assert_eq!(receiver["trusted"], false);
    assert!(receiver["id"].as_str().is_some_and(|mark| !mark.is_empty()));

    host.stopped().with(0);
    assert!(list(&scene, &lan).named("receiver").is_empty(), "it is gone after Ctrl-C");
}

#[test]
fn a_hidden_receiver_is_not_found() {
    if !am_root() || !have(&["ip"]) {
        return;
    }
    let (scene, lan) = (Scene::new(), Lan::new());
    let host = findable(&scene, &lan, "Desk").arg("--hidden").listening();
    assert_eq!(host.listening["discoverable"], false);
    assert!(list(&scene, &lan).named("receiver").is_empty());
}

#[test]
fn a_chosen_interface_and_no_route_at_all_give_an_address_that_works() {
    if !am_root() || !have(&["ip"]) {
        return;
    }
    let (scene, lan) = (Scene::new(), Lan::new());
    common::around::sh(&format!("ip -n {} route del default", lan.here));
    let receiver = Launch::new("receive").arg(scene.inbox()).state(&scene.path("state"));
    let receiver = receiver.args(["--json", "--qr", "never", "--hidden", "--yes", "--once", "--port", "0"]);
    let receiver = receiver.arg("--invite-file").arg(scene.invite()).behind(Lan::on(&lan.here));
    let host = receiver.listening();
    assert_eq!(host.address().ip(), Lan::HERE);
    assert_eq!(host.listening["interface"], "eth0");
    let source = scene.thing("a", b"a");
    scene.send(&source).args(["--to", &scene.at_invite()]).behind(Lan::on(&lan.there)).run().with(0);
    host.program.ended().with(0);
    disk::assert_same(&scene.path("things"), &scene.inbox());
}

#[test]
fn two_receivers_of_one_name_are_both_found_under_names_that_differ() {
    if !am_root() || !have(&["ip"]) {
        return;
    }
    let (scene, other, lan) = (Scene::new(), Scene::new(), Lan::new());
    let first = findable(&scene, &lan, "Laptop").listening();
    let second = findable(&other, &lan, "Laptop").listening();
    let mut browser = Launch::new("list").args(["--json", "--wait", "10s"]).state(&scene.path("list-state"));
    browser = browser.behind(Lan::on(&lan.there));
    let mut browser = browser.start();
    for host in [&first, &second] {
        let address = host.address().to_string();
        browser
            .event_where("the receiver", |event| event["event"] == "receiver" && event["address"] == address.as_str());
    }
}

#[test]
fn avahi_resolves_a_receiver_and_hears_it_leave() {
    if !am_root() || !have(&["ip", "dbus-daemon", "avahi-daemon", "avahi-browse"]) {
        return;
    }
    let (scene, lan) = (Scene::new(), Lan::new());
    let avahi = |what: &[&str]| {
        let browse = Launch::program(peer("avahi")).arg(scene.path("bus")).args(["avahi-browse", "-rp"]).args(what);
        browse.arg("_qrdrop._tcp").behind(Lan::on(&lan.there))
    };
    let host = findable(&scene, &lan, "Desk").listening();
    let mut browse = avahi(&[]).start();
    let resolved = browse.line_where("resolved receiver", |line| line.starts_with("=;") && line.contains(";Desk;"));
    let fields: Vec<&str> = resolved.split(';').collect();
    assert_eq!((fields[1], fields[2], fields[4]), ("eth0", "IPv4", "_qrdrop._tcp"), "{resolved}");
    assert_eq!(
        (fields[7], fields[8]),
        (Lan::HERE.to_string().as_str(), port(&host).to_string().as_str()),
        "{resolved}"
    );
    assert!(!resolved.contains(&*scene.inbox().to_string_lossy()), "no folder and no user is told: {resolved}");
    host.stopped().with(0);
    browse.line_where("goodbye", |line| line.starts_with("-;") && line.contains(";Desk;"));
}

#[test]
fn python_zeroconf_resolves_a_receiver_and_hears_it_leave() {
    if !am_root() || !have(&["ip"]) || !have_module("zeroconf") {
        return;
    }
    let (scene, lan) = (Scene::new(), Lan::new());
    let there = Lan::THERE.to_string();
    let mut browse = Launch::python("browse.py").arg(there).behind(Lan::on(&lan.there)).start();
    let host = findable(&scene, &lan, "Desk").listening();
    let json = |line: &str| serde_json::from_str::<Value>(line).unwrap_or_default();
    let ours = |event: &Value| event.as_str().is_some_and(|name| name.starts_with("Desk."));
    let found = json(&browse.line_where("resolved receiver", |line| ours(&json(line)["found"])));
    assert_eq!(found["addresses"], serde_json::json!([Lan::HERE.to_string()]), "{found}");
    assert_eq!(found["port"], port(&host), "{found}");
    host.stopped().with(0);
    browse.line_where("goodbye", |line| ours(&json(line)["gone"]));
}

#[test]
fn a_folder_goes_to_a_name_once_two_people_have_compared_the_code() {
    if !am_root() || !have(&["ip"]) {
        return;
    }
    let (scene, lan) = (Scene::new(), Lan::new());
    let source = scene.path("things/tree");
    disk::motley(&source, 100, 2_000_000);
    let receiver = findable(&scene, &lan, "Desk by the window").args(["--once", "--yes"]);
    let mut host = receiver.on_a_terminal().listening();
    let sender = scene.send(&source).args(["--to", "Desk by the window"]).behind(Lan::on(&lan.there));
    let mut sender = sender.on_a_terminal().start();
    let (ours, theirs) = (sender.event("code"), host.program.event("code"));
    assert_eq!(ours["code"], theirs["code"], "both people see one code");
    assert_eq!(ours["code"].as_str().map(str::len), Some(6));
    sender.shows(&ours["code"].as_str().map(|code| format!("{} {}", &code[..3], &code[3..])).expect("six digits"));
    assert!(disk::names(&scene.inbox()).is_empty(), "nothing is sent before both have said yes");
    agree(&mut sender, &mut host.program, "`accepted`", |event| event["event"] == "accepted");
    let (sent, received) = (sender.ended().with(0), host.program.ended().with(0));
    for ended in [&sent, &received] {
        assert_eq!(ended.one("finished")["label"], "verified", "{ended}");
    }
    disk::assert_same(&scene.path("things"), &scene.inbox());
}

#[test]
fn a_name_that_nobody_has_is_4() {
    if !am_root() || !have(&["ip"]) {
        return;
    }
    let (scene, lan) = (Scene::new(), Lan::new());
    let source = scene.thing("a", b"a");
    scene.send(&source).args(["--to", "Nobody of that name"]).behind(Lan::on(&lan.there)).run().failed(4);
}

#[test]
fn a_plain_transfer_finds_its_receiver_by_name() {
    if !am_root() || !have(&["ip"]) {
        return;
    }
    let (scene, lan) = (Scene::new(), Lan::new());
    let source = scene.thing("data.csv", b"1,2,3\n");
    let mut host = findable(&scene, &lan, "Desk").args(["--classic", "accept"]).listening();
    let sender = scene.send(&source).args(["--classic", "--to", "Desk"]).behind(Lan::on(&lan.there));
    sender.run().with(0);
    assert_eq!(host.program.event("stored")["blake3"].as_str(), Some(disk::hash(&source).as_str()));
}

/// `list` on the other host, and its only receiver.
fn only_receiver(scene: &Scene, lan: &Lan) -> Value {
    list(scene, lan).one("receiver")
}

#[test]
fn g07_an_address_that_changes_is_said_advertised_and_let_in_at() {
    if !am_root() || !have(&["ip"]) {
        return;
    }
    let (scene, lan) = (Scene::new(), Lan::new());
    let mut host = findable(&scene, &lan, "Desk").args(["--yes", "--once"]).listening();
    let here = &lan.here;
    common::around::sh(&format!(
        "ip -n {here} addr del {}/24 dev eth0; ip -n {here} addr add 10.83.7.9/24 dev eth0
         ip -n {here} route replace 224.0.0.0/4 dev eth0",
        Lan::HERE
    ));
    host.program.shows("the code has another address now: 10.83.7.9 on `eth0`");
    let address = format!("10.83.7.9:{}", port(&host));
    let mut browser = Launch::new("list").args(["--json", "--wait", "30s"]).state(&scene.path("list-state"));
    browser = browser.behind(Lan::on(&lan.there));
    browser.start().event_where("the new address", |event| event["address"] == address.as_str());
    let source = scene.thing("a", b"a");
    scene.send(&source).args(["--to", &scene.at_invite()]).behind(Lan::on(&lan.there)).run().with(0);
    host.program.ended().with(0);
}

#[test]
fn g07_a_transfer_goes_on_while_addresses_come_and_go_beside_it() {
    if !am_root() || !have(&["ip"]) {
        return;
    }
    let (scene, lan) = (Scene::new(), Lan::new());
    let receiver = Launch::new("receive").arg(scene.inbox()).state(&scene.path("state"));
    let receiver = receiver.args(["--json", "--qr", "never", "--yes", "--once", "--port", "0"]);
    let receiver = receiver.arg("--invite-file").arg(scene.invite()).behind(Lan::on(&lan.here));
    let mut host = receiver.listening();
    let source = scene.path("things/large");
    disk::motley(&source, 4, 6_000_000);
    let sender = scene.send(&source).args(["--limit", "2MB", "--to", &scene.at_invite()]).behind(Lan::on(&lan.there));
    let sender = sender.start();
    host.program.event("progress");
    let here = &lan.here;
    common::around::sh(&format!("ip -n {here} addr add 192.168.83.1/24 dev eth0"));
    host.program.shows("192.168.83.1 on `eth0` is here too");
    sender.ended().with(0);
    host.program.ended().with(0);
    disk::assert_same(&scene.path("things"), &scene.inbox());
}

#[test]
fn an_interface_that_appears_later_takes_the_code() {
    if !am_root() || !have(&["ip"]) {
        return;
    }
    let (scene, lan) = (Scene::new(), Lan::new());
    let here = &lan.here;
    common::around::sh(&format!("ip -n {here} link set eth0 down"));
    let receiver = Launch::new("receive").arg(scene.inbox()).state(&scene.path("state"));
    let receiver = receiver.args(["--json", "--qr", "never", "--port", "0", "--name", "Desk"]);
    let mut host = receiver.behind(Lan::on(here)).listening();
    assert!(host.address().ip().is_loopback());
    host.program.shows("only this machine can reach this address");
    common::around::sh(&format!("ip -n {here} link set eth0 up; ip -n {here} route add 224.0.0.0/4 dev eth0"));
    host.program.shows("the code has another address now: 10.83.7.1 on `eth0`");
    let mut browser = Launch::new("list").args(["--json", "--wait", "30s"]).state(&scene.path("list-state"));
    browser = browser.behind(Lan::on(&lan.there));
    let address = format!("{}:{}", Lan::HERE, port(&host));
    browser.start().event_where("the receiver", |event| event["address"] == address.as_str());
}

#[test]
fn g07_with_ipv6_alone_a_receiver_is_found_reached_and_said_to_be_so() {
    if !am_root() || !have(&["ip"]) {
        return;
    }
    let (scene, lan) = (Scene::new(), Lan::new());
    for (host, number) in [(&lan.here, 1), (&lan.there, 2)] {
        common::around::sh(&format!(
            "ip -n {host} -4 addr flush dev eth0; ip -n {host} addr add fd83::{number}/64 dev eth0 nodad"
        ));
    }
    let mut host = findable(&scene, &lan, "Desk").args(["--yes", "--once"]).listening();
    assert_eq!(host.address().to_string(), format!("[fd83::1]:{}", port(&host)));
    host.program.shows("no IPv4 here");
    assert_eq!(only_receiver(&scene, &lan)["address"], host.address().to_string().as_str());
    let source = scene.thing("a", b"a");
    scene.send(&source).args(["--to", &scene.at_invite()]).behind(Lan::on(&lan.there)).run().with(0);
    host.program.ended().with(0);
}

#[test]
fn the_second_of_one_name_is_told_and_listed_by_the_name_it_got() {
    if !am_root() || !have(&["ip"]) {
        return;
    }
    // As long as a name can be: what is added to it must fit too.
    let (scene, other, lan, name) = (Scene::new(), Scene::new(), Lan::new(), "Laptop".repeat(20));
    let mut first = findable(&scene, &lan, &name).listening();
    first.program.shows("the name is long");
    let _ = only_receiver(&scene, &lan);
    let mut second = findable(&other, &lan, &name).listening();
    second.program.shows("another device has this name");
    let listed = list(&scene, &lan).named("receiver");
    let named = |host: &Host| {
        let address = host.address().to_string();
        let found = listed.iter().find(|found| found["address"] == address.as_str());
        found.unwrap_or_else(|| panic!("{address} is not in {listed:?}"))["name"].clone()
    };
    let (first, second) = (named(&first), named(&second));
    assert_eq!(second, format!("{} (2)", first.as_str().expect("a name")), "{listed:?}");
}

#[test]
fn a_program_that_keeps_the_port_of_mdns_to_itself_is_said() {
    if !am_root() || !have(&["ip"]) {
        return;
    }
    let (scene, lan) = (Scene::new(), Lan::new());
    let mut held = Launch::python("noise.py").arg("hold").stays().behind(Lan::on(&lan.here)).start();
    held.line_where("holder", |line| line == "held");
    let mut host = findable(&scene, &lan, "Desk").listening();
    host.program.shows("port 5353 (mDNS)");
    host.program.shows("`qrdrop doctor` tells why");
}

#[test]
fn g03_a_hundred_thousand_malformed_messages_leave_a_receiver_that_is_found() {
    if !am_root() || !have(&["ip"]) {
        return;
    }
    let (scene, lan) = (Scene::new(), Lan::new());
    let host = findable(&scene, &lan, "Desk").listening();
    let there = Lan::THERE.to_string();
    let noise = Launch::python("noise.py").args(["garbage", &there, "100000"]).behind(Lan::on(&lan.there));
    noise.run().with(0);
    assert_eq!(only_receiver(&scene, &lan)["address"], host.address().to_string().as_str());
    host.stopped().with(0);
}

#[test]
fn g04_five_thousand_invented_receivers_are_listed_up_to_a_cap() {
    if !am_root() || !have(&["ip"]) {
        return;
    }
    let (scene, lan) = (Scene::new(), Lan::new());
    let mut browser = Launch::new("list").args(["--json", "--wait", "8s"]).state(&scene.path("list-state"));
    browser = browser.behind(Lan::on(&lan.here));
    let browser = browser.start();
    let there = Lan::THERE.to_string();
    let noise = Launch::python("noise.py").args(["services", &there, "5000"]).behind(Lan::on(&lan.there));
    noise.run().with(0);
    let listed = browser.ended().with(0).named("receiver").len();
    assert!((1..=256).contains(&listed), "{listed} are listed");
}
