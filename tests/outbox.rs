//! Two real processes, and the files go from the one that hosts to the one that came.
#![cfg(target_os = "linux")]

mod common;

use std::path::Path;

use common::{Host, Launch, Scene, disk, number, text};

/// `qrdrop send` that hosts, as a script on the same machine runs it.
fn offering(scene: &Scene, path: &Path) -> Launch {
    Launch::new("send")
        .arg(path)
        .args(["--json", "--qr", "never", "--port", "0", "--interface", "lo", "--hidden"])
        .arg("--invite-file")
        .arg(scene.invite())
        .state(&scene.path("sender-state"))
}

/// `qrdrop receive --from` into the inbox.
fn fetching(scene: &Scene, from: &str) -> Launch {
    fetching_into(scene, &scene.inbox(), from)
}

fn fetching_into(scene: &Scene, folder: &Path, from: &str) -> Launch {
    Launch::new("receive").arg(folder).args(["--json", "--from", from]).state(&scene.path("receiver-state"))
}

fn hosting(scene: &Scene, path: &Path) -> Host {
    offering(scene, path).listening()
}

#[test]
fn a_folder_is_fetched_exactly_and_both_sides_end_well() {
    let scene = Scene::new();
    let source = scene.path("things/Motley Ünïcode");
    disk::motley(&source, 500, 12_000_000);
    let host = hosting(&scene, &source);
    assert!(host.listening["directory"].is_null());
    let fetched = fetching(&scene, &scene.at_invite()).run().with(0);
    let sent = host.program.ended().with(0);
    disk::assert_same(&scene.path("things"), &scene.inbox());
    let files = disk::tree(&source).values().filter(|node| matches!(node, disk::Node::File { .. })).count() as u64;
    for ended in [&fetched, &sent] {
        assert_eq!(text(&ended.one("peer"), "label"), "verified");
        let finished = ended.one("finished");
        assert_eq!((text(&finished, "label"), number(&finished, "files")), ("verified", files));
        assert_eq!(ended.named("stored").len() as u64, files);
    }
    assert!(fetched.named("stored").iter().all(|event| event["path"].is_string()));
    assert!(sent.named("stored").iter().all(|event| event["path"].is_null()));
}

#[test]
fn with_keep_a_second_taker_gets_everything_too() {
    let scene = Scene::new();
    let source = scene.thing("a.txt", b"for everybody");
    let host = offering(&scene, &source).arg("--keep").listening();
    for name in ["first", "second"] {
        let folder = scene.path(name);
        std::fs::create_dir(&folder).expect("a folder");
        fetching_into(&scene, &folder, &host.http_link()).run().with(0);
        assert_eq!(disk::hash(&folder.join("a.txt")), disk::hash(&source));
    }
    host.stopped().with(0);
}

#[test]
fn a_text_is_shown_and_not_stored() {
    let scene = Scene::new();
    let host = Launch::new("send")
        .args(["--text", "hello, Ünïcode", "--json", "--qr", "never", "--port", "0", "--interface", "lo", "--hidden"])
        .arg("--invite-file")
        .arg(scene.invite())
        .state(&scene.path("sender-state"))
        .listening();
    let fetched = fetching(&scene, &scene.at_invite()).run().with(0);
    host.program.ended().with(0);
    assert_eq!(text(&fetched.one("text"), "text"), "hello, Ünïcode");
    assert_eq!(disk::names(&scene.inbox()), Vec::<String>::new());
}

#[test]
fn an_old_link_is_exit_6_and_fetches_nothing() {
    let scene = Scene::new();
    let source = scene.thing("a.txt", b"mine");
    let host = hosting(&scene, &source);
    let link = host.qrdrop_link();
    // Another token for the same key.
    let at = link.find("/#1").expect("a link has a fragment") + 3;
    let other = if &link[at..=at] == "A" { "B" } else { "A" };
    let wrong = format!("{}{other}{}", &link[..at], &link[at + 1..]);
    fetching(&scene, &wrong).run().with(6);
    assert_eq!(disk::names(&scene.inbox()), Vec::<String>::new());
    fetching(&scene, &link).run().with(0);
    host.program.ended().with(0);
}

#[test]
fn the_link_of_an_outbox_takes_nothing() {
    let scene = Scene::new();
    let host = hosting(&scene, &scene.thing("a.txt", b"mine"));
    let sent = scene.send(&scene.thing("b.txt", b"theirs")).args(["--to", &host.qrdrop_link()]).run().with(3);
    assert!(sent.screen.contains("--from") || sent.one("failed")["hint"].to_string().contains("--from"), "{sent}");
    host.stopped().with(4);
}

#[test]
fn the_link_of_an_inbox_has_nothing_to_fetch() {
    let scene = Scene::new();
    let host = scene.receive().listening();
    let folder = scene.path("elsewhere");
    std::fs::create_dir(&folder).expect("a folder");
    let fetched = fetching_into(&scene, &folder, &host.qrdrop_link()).run().with(3);
    assert!(text(&fetched.one("failed"), "hint").contains("--to"), "{fetched}");
    host.stopped().with(0);
}

#[test]
fn nobody_at_the_link_is_exit_4_and_a_malformed_link_exit_2() {
    let scene = Scene::new();
    let host = scene.receive().listening();
    let link = host.qrdrop_link();
    host.stopped().with(0);
    fetching(&scene, &link).run().with(4);
    fetching(&scene, "qrdrop://127.0.0.1:9/#1short").run().with(2);
}
