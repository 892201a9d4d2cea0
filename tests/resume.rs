//! Transfers that are cut, or whose ends die, and go on.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::disk;
use common::proxy::{Cut, Proxy};
use common::{Launch, Scene, number, text};

const MIB: u64 = 1024 * 1024;

/// What may be sent again in all, whatever happened (the figure), and what frames and handshakes take.
const AGAIN: u64 = 16 * MIB;

/// A link to the same host that leads through the proxy.
fn through(proxy: &Proxy, link: &str) -> String {
    let (_, secret) = link.split_once('#').unwrap();
    format!("qrdrop://{}/#{secret}", proxy.address)
}

/// A receiver on a port that stays the same when it is started again.
fn receiver(scene: &Scene, port: u16) -> Launch {
    let folder = scene.inbox();
    Launch::new("receive")
        .arg(folder)
        .args(["--interface", "lo", "--json", "--yes=private", "--hidden", "--port", &port.to_string()])
        .arg("--invite-file")
        .arg(scene.invite())
        .state(&scene.path("receiver-state"))
}

fn sender(scene: &Scene, what: &Path, link: &str) -> Launch {
    scene.send(what).args(["--to", link, "--compress", "never"])
}

fn big(scene: &Scene, mib: u64) -> PathBuf {
    scene.thing("big.bin", &disk::noise(7, (mib * MIB) as usize))
}

/// The names at the top of the receive folder.
fn tops(scene: &Scene) -> Vec<String> {
    let names = fs::read_dir(scene.inbox()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

fn only_the_file(scene: &Scene, source: &Path) {
    assert_eq!(tops(scene), ["big.bin"], "nothing is left over");
    assert_eq!(disk::hash(&scene.inbox().join("big.bin")), disk::hash(source));
}

#[test]
fn a_file_that_is_cut_three_times_goes_on_where_it_was() {
    let scene = Scene::new();
    let source = big(&scene, 96);
    let host = receiver(&scene, 0).listening();
    let proxy = Proxy::before(host.address(), &[29 * MIB, 58 * MIB, 87 * MIB]);
    let sent = sender(&scene, &source, &through(&proxy, &host.qrdrop_link())).run().with(0);
    assert_eq!(proxy.cuts_left(), 0);
    let retries = sent.named("retry");
    assert_eq!(retries.len(), 3);
    let from: Vec<u64> = retries.iter().map(|retry| number(retry, "from_bytes")).collect();
    assert!(from.is_sorted() && from[0] > 16 * MIB, "{from:?}");
    let (up, _) = proxy.passed();
    assert!(up <= 96 * MIB + AGAIN, "{up} bytes for 96 MiB");
    assert_eq!(number(&sent.one("finished"), "bytes"), 96 * MIB);
    let received = host.stopped();
    assert_eq!(received.named("stored").len(), 1);
    assert_eq!(received.named("finished").len(), 1);
    let transfers: Vec<_> = received.named("accepted").iter().map(|event| text(event, "transfer").to_owned()).collect();
    assert!(transfers.iter().all(|transfer| *transfer == transfers[0]), "one transfer, whatever happened to it");
    only_the_file(&scene, &source);
}

#[test]
fn lanes_that_are_cut_cost_what_was_on_their_way_and_no_new_session() {
    let scene = Scene::new();
    let tree = scene.path("tree");
    disk::motley(&tree, 400, 2);
    fs::write(tree.join("huge.bin"), disk::noise(3, 64 << 20)).unwrap();
    disk::date(&tree);
    let host = receiver(&scene, 0).listening();
    let proxy = Proxy::cutting(host.address(), Cut::Lanes, &[3 * MIB, 20 * MIB, 45 * MIB, 60 * MIB]);
    let sent = sender(&scene, &tree, &through(&proxy, &host.qrdrop_link())).run().with(0);
    assert_eq!(proxy.cuts_left(), 0);
    assert_eq!(sent.named("retry").len(), 0, "the session went on");
    let (up, _) = proxy.passed();
    let total = number(&sent.one("finished"), "bytes");
    // On each lane a chunk is on its way, and the next one.
    let lost = proxy.broken() * 2 * MIB;
    assert!(up <= total + lost + MIB, "{up} bytes for {total}, {} lanes cut", proxy.broken());
    let received = host.stopped();
    assert_eq!(received.named("peer").len(), 1);
    assert_eq!(received.named("stored").len(), sent.named("stored").len());
    disk::assert_same(&tree, &scene.inbox().join("tree"));
}

#[test]
fn a_fetch_bears_the_loss_of_its_lanes() {
    let scene = Scene::new();
    let source = big(&scene, 64);
    let outbox = scene
        .send(&source)
        .args(["--interface", "lo", "--port", "0", "--hidden", "--compress", "never", "--invite-file"])
        .arg(scene.invite())
        .listening();
    let proxy = Proxy::cutting(outbox.address(), Cut::Lanes, &[20 * MIB, 45 * MIB]);
    let link = through(&proxy, &outbox.qrdrop_link());
    let fetch = Launch::new("receive").arg(scene.inbox()).args(["--json", "--from", &link]);
    let fetched = fetch.state(&scene.path("state")).run().with(0);
    assert_eq!(proxy.cuts_left(), 0);
    assert_eq!(fetched.named("retry").len(), 0, "the session went on");
    outbox.left().with(0);
    only_the_file(&scene, &source);
}

#[test]
fn a_sender_that_was_killed_goes_on_when_it_is_started_again() {
    let scene = Scene::new();
    let source = big(&scene, 64);
    let host = receiver(&scene, 0).listening();
    let proxy = Proxy::before(host.address(), &[]);
    let link = through(&proxy, &host.qrdrop_link());
    for _ in 0..2 {
        let mut killed = sender(&scene, &source, &link).args(["--limit", "40MB"]).start();
        let before = proxy.passed().0;
        killed
            .event_where("some progress", |event| event["event"] == "progress" && proxy.passed().0 - before > 12 * MIB);
        drop(killed);
    }
    let sent = sender(&scene, &source, &link).run().with(0);
    assert!(number(&sent.one("retry"), "from_bytes") >= 16 * MIB);
    let (up, _) = proxy.passed();
    assert!(up <= 64 * MIB + AGAIN, "{up} bytes for 64 MiB");
    host.stopped();
    only_the_file(&scene, &source);
}

#[test]
fn a_receiver_that_was_killed_is_found_again_by_a_sender_that_waits() {
    let scene = Scene::new();
    let source = big(&scene, 64);
    let mut host = receiver(&scene, 0).listening();
    let port = host.address().port();
    let mut sent = sender(&scene, &source, &host.qrdrop_link()).args(["--limit", "40MB"]).start();
    host.program
        .event_where("some progress", |event| event["event"] == "progress" && event["bytes"].as_u64() > Some(24 * MIB));
    drop(host);
    let again = receiver(&scene, port).listening();
    let retry = sent.event("retry");
    assert!(number(&retry, "from_bytes") >= 16 * MIB, "{retry}");
    sent.ended().with(0);
    assert_eq!(again.stopped().named("finished").len(), 1);
    only_the_file(&scene, &source);
}

#[test]
fn a_folder_goes_on_with_what_is_stored_and_what_is_half_there() {
    let scene = Scene::new();
    let tree = scene.path("tree");
    disk::motley(&tree, 600, 3);
    fs::write(tree.join("huge.bin"), disk::noise(3, 40 << 20)).unwrap();
    disk::date(&tree);
    let host = receiver(&scene, 0).listening();
    let proxy = Proxy::before(host.address(), &[5 * MIB, 20 * MIB, 38 * MIB]);
    let sent = sender(&scene, &tree, &through(&proxy, &host.qrdrop_link())).run().with(0);
    assert_eq!(proxy.cuts_left(), 0);
    let stored = sent.named("stored");
    let mut names: Vec<_> = stored.iter().map(|event| text(event, "offered").to_owned()).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), stored.len(), "each file is told once");
    assert_eq!(number(&sent.one("finished"), "files"), stored.len() as u64);
    let received = host.stopped();
    assert_eq!(received.named("stored").len(), stored.len());
    assert_eq!(tops(&scene), ["tree"], "no second folder");
    disk::assert_same(&tree, &scene.inbox().join("tree"));
}

#[test]
fn a_folder_goes_on_in_the_same_folder_after_both_ends_died() {
    let scene = Scene::new();
    let tree = scene.path("tree");
    disk::motley(&tree, 300, 2);
    fs::write(tree.join("zz-huge.bin"), disk::noise(3, 48 << 20)).unwrap();
    disk::date(&tree);
    // A folder of that name is there already, so that this one becomes `tree (1)`.
    fs::create_dir(scene.inbox().join("tree")).unwrap();
    let mut host = receiver(&scene, 0).listening();
    let port = host.address().port();
    let killed = sender(&scene, &tree, &host.qrdrop_link()).args(["--limit", "30MB"]).start();
    host.program
        .event_where("some progress", |event| event["event"] == "progress" && event["bytes"].as_u64() > Some(20 * MIB));
    drop((host, killed));
    let again = receiver(&scene, port).listening();
    let sent = sender(&scene, &tree, &again.qrdrop_link()).run().with(0);
    assert!(number(&sent.one("retry"), "from_bytes") > 8 * MIB);
    let received = again.stopped();
    assert_eq!(number(&received.one("finished"), "files"), sent.named("stored").len() as u64);
    assert_eq!(tops(&scene), ["tree", "tree (1)"]);
    disk::assert_same(&tree, &scene.inbox().join("tree (1)"));
}

#[test]
fn a_fetch_that_is_cut_goes_on() {
    let scene = Scene::new();
    let source = big(&scene, 64);
    let outbox = scene
        .send(&source)
        .args(["--interface", "lo", "--port", "0", "--hidden", "--compress", "never", "--invite-file"])
        .arg(scene.invite())
        .listening();
    let proxy = Proxy::before(outbox.address(), &[20 * MIB, 45 * MIB]);
    let link = through(&proxy, &outbox.qrdrop_link());
    let fetched =
        Launch::new("receive").arg(scene.inbox()).args(["--json", "--from", &link]).state(&scene.path("state")).run();
    let fetched = fetched.with(0);
    assert_eq!(proxy.cuts_left(), 0);
    assert_eq!(fetched.named("retry").len(), 2);
    assert_eq!(fetched.named("stored").len(), 1);
    let (_, down) = proxy.passed();
    assert!(down <= 64 * MIB + AGAIN, "{down} bytes for 64 MiB");
    outbox.left().with(0);
    only_the_file(&scene, &source);
}

#[test]
fn a_fetch_goes_on_after_both_ends_died() {
    let scene = Scene::new();
    let source = big(&scene, 48);
    let outbox = |port: u16| {
        scene
            .send(&source)
            .args(["--interface", "lo", "--hidden", "--limit", "40MB", "--port", &port.to_string(), "--invite-file"])
            .arg(scene.invite())
            .listening()
    };
    let fetch = |link: &str| {
        Launch::new("receive").arg(scene.inbox()).args(["--json", "--from", link]).state(&scene.path("state"))
    };
    let first = outbox(0);
    let mut killed = fetch(&first.qrdrop_link()).start();
    killed
        .event_where("some progress", |event| event["event"] == "progress" && event["bytes"].as_u64() > Some(16 * MIB));
    drop(killed);
    drop(first);
    let second = outbox(0);
    let fetched = fetch(&second.qrdrop_link()).run().with(0);
    assert!(number(&fetched.one("retry"), "from_bytes") >= 8 * MIB);
    second.left().with(0);
    only_the_file(&scene, &source);
}

#[test]
fn what_a_killed_fetch_can_not_go_on_with_goes_when_the_next_one_starts() {
    let scene = Scene::new();
    let source = big(&scene, 2);
    let dead = scene.inbox().join(".qrdrop-partial/t-00112233445566778899aabbccddeeff");
    fs::create_dir_all(&dead).unwrap();
    fs::write(dead.join("0011223344556677.part"), "cut").unwrap();
    let outbox = scene
        .send(&source)
        .args(["--interface", "lo", "--port", "0", "--hidden", "--invite-file"])
        .arg(scene.invite())
        .listening();
    let fetch = Launch::new("receive").arg(scene.inbox()).args(["--json", "--from", &outbox.qrdrop_link()]);
    let fetched = fetch.state(&scene.path("state")).run().with(0);
    assert!(fetched.screen.contains("removed 3 B of unfinished transfers"));
    outbox.left().with(0);
    only_the_file(&scene, &source);
}

#[test]
fn a_source_that_changed_meanwhile_is_sent_again_whole() {
    let scene = Scene::new();
    let source = big(&scene, 48);
    let host = receiver(&scene, 0).listening();
    let link = host.qrdrop_link();
    let part = |scene: &Scene| {
        let mut killed = sender(scene, &source, &link).args(["--limit", "40MB"]).start();
        killed.event_where("some progress", |event| {
            event["event"] == "progress" && event["bytes"].as_u64() > Some(16 * MIB)
        });
        drop(killed);
    };
    part(&scene);
    // Of the same size and time: only its content tells (security.md R14).
    let modified = fs::metadata(&source).unwrap().modified().unwrap();
    let mut content = fs::read(&source).unwrap();
    content[(MIB + 5) as usize] ^= 1;
    fs::write(&source, content).unwrap();
    fs::File::options().write(true).open(&source).unwrap().set_modified(modified).unwrap();
    let sent = sender(&scene, &source, &link).run().with(0);
    let reasons: Vec<_> = sent.named("retry").iter().map(|retry| text(retry, "reason").to_owned()).collect();
    assert!(reasons.iter().any(|reason| reason.contains("changed")), "{reasons:?}");
    host.stopped();
    only_the_file(&scene, &source);
}

#[test]
fn what_was_flipped_cut_or_grown_on_the_disk_is_not_trusted() {
    for damage in ["flip", "cut", "grow", "journal"] {
        let scene = Scene::new();
        let source = big(&scene, 32);
        let mut host = receiver(&scene, 0).listening();
        let port = host.address().port();
        let killed = sender(&scene, &source, &host.qrdrop_link()).args(["--limit", "40MB"]).start();
        host.program.event_where("some progress", |event| {
            event["event"] == "progress" && event["bytes"].as_u64() > Some(16 * MIB)
        });
        drop(host);
        drop(killed);
        let area = fs::read_dir(scene.inbox().join(".qrdrop-partial")).unwrap().next().unwrap().unwrap().path();
        let mut files = fs::read_dir(&area).unwrap().map(|entry| entry.unwrap().path());
        let part = files.find(|path| path.extension().is_some_and(|end| end == "part")).unwrap();
        let file = fs::File::options().read(true).write(true).open(&part).unwrap();
        match damage {
            "flip" => std::os::unix::fs::FileExt::write_all_at(&file, b"flipped", 3 * MIB).unwrap(),
            "cut" => file.set_len(5 * MIB + 17).unwrap(),
            "grow" => file.set_len(200 * MIB).unwrap(),
            _ => {
                let journal = area.join("journal");
                let lines = fs::read_to_string(&journal).unwrap();
                fs::write(&journal, lines.replace("\"chunk\":4", "\"chunk\":5")).unwrap();
            }
        }
        drop(file);
        let again = receiver(&scene, port).listening();
        sender(&scene, &source, &again.qrdrop_link()).run().with(0);
        again.stopped();
        only_the_file(&scene, &source);
    }
}

#[test]
fn what_waits_is_said_at_the_start_and_its_key_is_kept_for_it() {
    let scene = Scene::new();
    let source = big(&scene, 32);
    let mut host = receiver(&scene, 0).listening();
    // Past the version, and the 22 characters that hold the token's 16 bytes.
    let key = |link: &str| link.split_once('#').unwrap().1[23..].to_owned();
    let first = key(&host.qrdrop_link());
    let killed = sender(&scene, &source, &host.qrdrop_link()).args(["--limit", "40MB"]).start();
    host.program
        .event_where("some progress", |event| event["event"] == "progress" && event["bytes"].as_u64() > Some(8 * MIB));
    drop(killed);
    host.program.event("failed");
    host.stopped();
    let again = receiver(&scene, 0).listening();
    assert_eq!(key(&again.qrdrop_link()), first, "who comes back finds the same key");
    assert!(again.stopped().screen.contains("may go on with an unfinished transfer"));
    fs::remove_dir_all(scene.inbox().join(".qrdrop-partial")).unwrap();
    let fresh = receiver(&scene, 0).listening();
    assert_ne!(key(&fresh.qrdrop_link()), first, "nobody comes back: a new key");
    fresh.stopped();
}
