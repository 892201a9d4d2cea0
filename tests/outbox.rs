//! Two real processes, and the files go from the one that hosts to the one that came.
#![cfg(target_os = "linux")]

mod common;

use std::path::Path;

use common::around::{have, sh};
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

/// An outbox that shows a path for curl and gives in the clear without asking, and that path's URL.
fn one_time(scene: &Scene, path: &Path) -> (Host, String) {
    let mut host = offering(scene, path).args(["--curl", "--yes=open"]).listening();
    host.program.shows("curl -OJ http://");
    let shown = host.program.shown();
    let url = shown.split("curl -OJ ").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("a URL");
    (host, url.to_owned())
}

#[test]
fn f08_and_f19_what_curl_fetches_is_an_attachment_under_one_clean_name_whatever_it_is() {
    if !have(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let source = scene.thing("a\"; filename=\"b\r\nX-Evil: 1;ü.html", b"<script>alert(1)</script>");
    let (host, url) = one_time(&scene, &source);
    let headers = sh(&format!("curl -sS -D - -o /dev/null '{url}'"));
    for line in [
        "HTTP/1.1 200",
        "content-type: application/octet-stream",
        "x-content-type-options: nosniff",
        "cache-control: no-store",
        "accept-ranges: bytes",
    ] {
        assert!(headers.to_lowercase().contains(&line.to_lowercase()), "{line} in {headers}");
    }
    let policy = headers.lines().find(|line| line.to_lowercase().starts_with("content-security-policy:"));
    assert!(policy.is_some_and(|policy| policy.contains("sandbox")), "{headers}");
    let saved = headers.lines().find(|line| line.to_lowercase().starts_with("content-disposition:"));
    let saved = saved.expect("it says under which name to save");
    assert!(saved.contains("attachment; filename=\"") && saved.matches('"').count() == 2, "{saved}");
    assert!(!headers.to_lowercase().contains("\nx-evil"), "{headers}");
    let ended = host.program.ended().with(0);
    assert_eq!(text(&ended.one("finished"), "label"), "open");
}

#[test]
fn a_download_is_resumed_by_ranges_and_ends_the_outbox_once_it_is_whole() {
    if !have(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let source = scene.thing("video.bin", &disk::noise(5, 3_000_000));
    let (host, url) = one_time(&scene, &source);
    let got = scene.path("video.bin");
    sh(&format!("curl -sS -r 1000000-1999999 -o {0}.b '{url}'; curl -sS -r 0-999999 -o {0}.a '{url}'", got.display()));
    let beyond = sh(&format!("curl -sS -o /dev/null -w '%{{http_code}} %header{{content-range}}' -r 3000000- '{url}'"));
    assert_eq!(beyond, "416 bytes */3000000");
    sh(&format!("cat {0}.a {0}.b > {0}; curl -sS -C - -o {0} '{url}'", got.display()));
    assert_eq!(disk::hash(&got), disk::hash(&source));
    host.program.ended().with(0);
}

#[test]
fn a_download_in_the_clear_without_a_yes_is_refused() {
    if !have(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let source = scene.thing("secret.txt", b"secret");
    let mut host = offering(&scene, &source).arg("--curl").listening();
    host.program.shows("curl -OJ http://");
    let shown = host.program.shown();
    let url = shown.split("curl -OJ ").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("a URL");
    let answer = sh(&format!("curl -sS -w ' %{{http_code}}' '{url}'"));
    assert!(answer.ends_with("403") && answer.contains("--yes=open"), "{answer}");
    let ended = host.stopped().failed(4);
    assert_eq!(ended.named("refused").len(), 1, "{ended}");
}
