//! Two real processes on loopback: what arrives, what is said about it, and how each ends.
#![cfg(target_os = "linux")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::net::Ipv4Addr;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;

use serde_json::Value;

use common::around::sh;
use common::disk::{self, Node};
use common::{Ended, Launch, Scene, number, text};

const MIB: usize = 1024 * 1024;

/// What `--json` promises about one finished transfer of the files under `source`, on either side.
#[track_caller]
fn assert_complete(ended: &Ended, source: &Path, label: &str, receiving: bool) {
    let top = source.file_name().expect("a source has a name").to_string_lossy().into_owned();
    let files: BTreeMap<String, (u64, String)> = disk::tree(source)
        .into_iter()
        .filter_map(|(name, node)| match node {
            Node::File { bytes, blake3, .. } => Some((format!("{top}/{name}"), (bytes, blake3))),
            _ => None,
        })
        .collect();
    let total: u64 = files.values().map(|(bytes, _)| bytes).sum();

    let peer = ended.one("peer");
    assert_eq!(text(&peer, "label"), label);
    assert_eq!(text(&peer["peer"], "dialect"), "native");
    assert!(!text(&peer["peer"], "id").is_empty(), "a native peer is known by its key");
    assert!(text(&peer["peer"], "address").parse::<std::net::SocketAddr>().is_ok(), "`ip:port`");

    let offer = ended.one("offer");
    let transfer = text(&offer, "transfer").to_owned();
    assert_eq!((number(&offer, "files"), number(&offer, "bytes")), (files.len() as u64, total));
    assert_eq!(text(&offer, "label"), label);
    let entries = offer["entries"].as_array().expect("`entries` is a list");
    assert!(entries.len() <= 1_000, "only the first 1,000 entries are listed");
    assert_eq!(entries.len() as u64 + number(&offer, "entries_left_out"), 1 + disk::tree(source).len() as u64);
    for entry in entries.iter().filter(|entry| entry["kind"] == "file") {
        assert_eq!(files.get(text(entry, "name")).map(|file| file.0), Some(number(entry, "bytes")), "{entry}");
    }

    let stored = ended.named("stored");
    let named: BTreeSet<&str> = stored.iter().map(|event| text(event, "offered")).collect();
    assert_eq!((stored.len(), named.len()), (files.len(), files.len()), "each file is stored once");
    for event in &stored {
        let (bytes, blake3) = &files[text(event, "offered")];
        assert_eq!((number(event, "bytes"), text(event, "blake3")), (*bytes, blake3.as_str()), "{event}");
        assert_eq!(receiving, event["path"].is_string(), "only the receiver says where: {event}");
        if receiving {
            let path = Path::new(text(event, "path"));
            assert!(path.is_absolute() && path.ends_with(text(event, "name")), "{event}");
            assert_eq!(&disk::hash(path), blake3, "{event}");
        }
    }

    let mut moved = 0;
    for event in ended.named("progress") {
        assert!(number(&event, "bytes") >= moved && number(&event, "total") == total, "{event} after {moved}");
        moved = number(&event, "bytes");
    }
    assert!(moved <= total, "no more than everything is moved");

    let finished = ended.one("finished");
    assert_eq!((number(&finished, "files"), number(&finished, "bytes")), (files.len() as u64, total));
    assert_eq!(text(&finished, "label"), label);
    assert!(finished["seconds"].as_f64().is_some_and(|seconds| seconds > 0.0));

    let events = ended.events();
    for event in events.iter().filter(|event| !event["transfer"].is_null()) {
        assert_eq!(text(event, "transfer"), transfer, "one transfer has one name: {event}");
    }
    let order: Vec<&str> = events.iter().map(|event| text(event, "event")).collect();
    let first = |name| order.iter().position(|said| *said == name).unwrap_or_else(|| panic!("`{name}` is said"));
    assert!(first("peer") < first("offer") && first("offer") < first("accepted"));
    assert!(first("accepted") < first("stored") && first("stored") < first("finished"));
    assert_eq!(order.last(), Some(&"closed"), "`closed` is the last word");
}

#[test]
fn a_folder_of_everything_arrives_exactly_and_both_sides_say_so() {
    let scene = Scene::new();
    let source = scene.path("things/Motley Ünïcode");
    disk::motley(&source, 1_000, 24 * MIB);
    let host = scene.receive().args(["--once", "--yes"]).listening();
    let sent = scene.send(&source).args(["--to", &scene.at_invite()]).run().with(0);
    let received = host.program.ended().with(0);
    disk::assert_same(&scene.path("things"), &scene.inbox());
    assert_complete(&sent, &source, "verified", false);
    assert_complete(&received, &source, "verified", true);
}

#[test]
fn holes_of_a_file_are_not_sent_and_arrive_as_holes() {
    let scene = Scene::new();
    let source = scene.thing("disk.img", b"boot");
    let file = fs::File::options().write(true).open(&source).expect("it was made");
    file.set_len((1 << 28) + 5).expect("a sparse file");
    file.write_all_at(&disk::noise(1, 2 * MIB), 100_000_000).expect("it has room");
    for compress in ["never", "always"] {
        let host = scene.receive().args(["--once", "--yes", "--if-exists", "replace"]).listening();
        let sent = scene.send(&source).args(["--to", &scene.at_invite(), "--compress", compress]).run().with(0);
        assert_eq!(number(&sent.one("finished"), "bytes"), (1 << 28) + 5);
        host.program.ended().with(0);
        let arrived = scene.inbox().join("disk.img");
        assert_eq!(disk::hash(&arrived), disk::hash(&source));
        let blocks = fs::metadata(&arrived).expect("it arrived").blocks();
        assert!(blocks * 512 < 8 * MIB as u64, "{blocks} blocks");
    }
}

#[test]
fn listening_says_where_and_what_a_script_needs_and_never_the_link() {
    let scene = Scene::new();
    let host = scene.receive().args(["--name", "Desk in the corner"]).listening();
    let said = &host.listening;
    assert_eq!(text(said, "name"), "Desk in the corner");
    assert_eq!(number(said, "port"), u64::from(host.address().port()));
    assert_eq!(host.address().ip(), Ipv4Addr::LOCALHOST);
    assert_eq!(Path::new(text(said, "directory")), scene.inbox().canonicalize().expect("the inbox"));
    assert_eq!(said["discoverable"], false);
    let mode = fs::metadata(scene.invite()).expect("the invite file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "the invite file is for this user alone");
    for (link, scheme) in [(host.http_link(), "http"), (host.qrdrop_link(), "qrdrop")] {
        let start = format!("{scheme}://{}/#1", host.address());
        let secret = link.strip_prefix(&start).unwrap_or_else(|| panic!("a link begins with `{start}`"));
        assert!(secret.len() == 43 && secret.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)));
        assert!(link.len() <= 74, "the link fits a code of 41 x 21 cells");
    }
    host.stopped().with(0);
}

#[test]
fn no_secret_leaves_by_standard_output_or_standard_error() {
    let scene = Scene::new();
    let source = scene.thing("note", b"psst");
    let host = scene.receive().args(["--once", "--yes", "-v"]).listening();
    let secrets = [host.http_link(), host.qrdrop_link()];
    let sent = scene.send(&source).args(["-v", "--to", &scene.at_invite()]).run().with(0);
    let received = host.program.ended().with(0);
    for secret in secrets.iter().map(|link| &link[link.len() - 43..link.len() - 21]) {
        for ended in [&sent, &received] {
            assert!(!ended.output().contains(secret), "a token is in the output\n{ended}");
        }
    }
}

#[test]
fn several_paths_arrive_side_by_side() {
    let scene = Scene::new();
    let (one, two) = (scene.thing("one.txt", b"1"), scene.thing("folder/two.txt", b"2"));
    let folder = two.parent().expect("it has a folder");
    let host = scene.receive().args(["--once", "--yes"]).listening();
    scene.send(&one).arg(folder).args(["--to", &scene.at_invite()]).run().with(0);
    host.program.ended().with(0);
    disk::assert_same(&scene.path("things"), &scene.inbox());
}

#[test]
fn the_link_may_come_on_standard_input() {
    let scene = Scene::new();
    let source = scene.thing("a.bin", &disk::noise(1, 5_000));
    let host = scene.receive().arg("--yes").listening();
    let link = format!("{}\n", host.qrdrop_link());
    scene.send(&source).args(["--to", "-"]).stdin(&link).run().with(0);
    host.stopped().with(0);
    assert_eq!(disk::hash(&scene.inbox().join("a.bin")), disk::hash(&source));
}

#[test]
fn with_a_limit_a_transfer_takes_the_time_that_it_must_and_arrives() {
    let scene = Scene::new();
    let source = scene.thing("a.bin", &disk::noise(1, 300_000));
    for classic in [false, true] {
        let mut host = scene.receive().args(["--yes", "--classic", "accept"]).listening();
        let to = if classic { host.address().to_string() } else { host.qrdrop_link() };
        let flags: &[&str] = if classic { &["--classic"] } else { &[] };
        let sent = scene.send(&source).args(["--limit", "300kB/s", "--to", &to]).args(flags).run().with(0);
        let seconds = sent.one("finished")["seconds"].as_f64().expect("`seconds` is a number");
        assert!(seconds > 0.7, "three quarters had to wait for a quarter of a second each, not {seconds} s in all");
        host.program.event("finished");
        host.stopped().with(0);
    }
    assert_eq!(disk::hash(&scene.inbox().join("a.bin")), disk::hash(&source));
    assert_eq!(disk::hash(&scene.inbox().join("a (1).bin")), disk::hash(&source));
    scene.send(&source).args(["--limit", "12"]).run().with(2);
}

#[test]
fn a_sender_with_the_phone_link_is_verified_to_itself_and_counts_as_private_for_yes() {
    let scene = Scene::new();
    let source = scene.thing("a", b"a");
    let host = scene.receive().arg("--yes").listening();
    scene.send(&source).args(["--to", &host.http_link()]).run().failed(3);
    let refused = host.stopped();
    assert!(refused.output().contains("--yes=private"), "the way out is named\n{refused}");
    let host = scene.receive().arg("--yes=private").listening();
    let sent = scene.send(&source).args(["--to", &host.http_link()]).run().with(0);
    assert_eq!(text(&sent.one("finished"), "label"), "verified");
    host.stopped().with(0);
}

#[test]
fn links_inside_a_folder_are_listed_as_left_out_and_pipes_do_not_hang() {
    let scene = Scene::new();
    scene.thing("tree/good.txt", b"good");
    let tree = scene.path("things/tree");
    std::os::unix::fs::symlink("/etc/hostname", tree.join("link")).expect("links can be made");
    std::os::unix::fs::symlink(".", tree.join("loop")).expect("links can be made");
    sh(&format!("mkfifo '{}'", tree.join("fifo").display()));
    let host = scene.receive().args(["--once", "--yes"]).listening();
    let sent = scene.send(&tree).args(["--to", &scene.at_invite()]).run();
    host.program.ended();
    assert_eq!(disk::names(&scene.inbox()), ["tree", "tree/good.txt"]);
    let skipped: Vec<Value> = sent.named("skipped");
    for name in ["link", "loop"] {
        assert!(skipped.iter().any(|event| text(event, "name").ends_with(name)), "`{name}` is listed\n{sent}");
    }
    assert!(matches!(sent.code, Some(0 | 7)), "{sent}");
}

#[test]
fn what_is_there_keeps_its_name_content_inode_and_mode() {
    let scene = Scene::new();
    let source = scene.thing("report.tar.gz", b"the new one");
    scene.thing("tree/leaf", b"new leaf");
    let there = disk::write(&scene.inbox().join("report.tar.gz"), b"the old one");
    fs::set_permissions(&there, Permissions::from_mode(0o444)).expect("modes can be set");
    disk::write(&scene.inbox().join("tree/leaf"), b"old leaf");
    let before = fs::metadata(&there).map(|meta| (meta.ino(), meta.mode(), meta.mtime())).expect("it is there");
    for _ in 0..2 {
        let host = scene.receive().args(["--once", "--yes"]).listening();
        let sender = scene.send(&source).arg(scene.path("things/tree"));
        sender.args(["--to", &scene.at_invite()]).run().with(0);
        host.program.ended().with(0);
    }
    let after = fs::metadata(&there).map(|meta| (meta.ino(), meta.mode(), meta.mtime())).expect("it is there");
    assert_eq!(before, after);
    let content = |name: &str| fs::read_to_string(scene.inbox().join(name)).unwrap_or_else(|_| format!("no {name}"));
    assert_eq!((content("report.tar.gz"), content("tree/leaf")), ("the old one".into(), "old leaf".into()));
    for n in [1, 2] {
        assert_eq!(content(&format!("report ({n}).tar.gz")), "the new one");
        assert_eq!(content(&format!("tree ({n})/leaf")), "new leaf");
    }
    assert_eq!(disk::names(&scene.inbox()).len(), 9, "nothing else is there");
}

#[test]
fn skip_leaves_out_what_is_identical_and_replace_replaces() {
    let scene = Scene::new();
    let source = scene.thing("a.txt", b"same");
    let inode = |scene: &Scene| fs::metadata(scene.inbox().join("a.txt")).expect("it is there").ino();
    let send = |how: &str| {
        let host = scene.receive().args(["--once", "--yes", "--if-exists", how]).listening();
        scene.send(&source).args(["--to", &scene.at_invite()]).run().with(0);
        host.program.ended().with(0)
    };
    send("rename");
    let first = inode(&scene);
    assert_eq!(send("skip").named("skipped").len(), 1);
    assert_eq!((inode(&scene), disk::names(&scene.inbox())), (first, vec!["a.txt".to_owned()]));
    fs::write(&source, b"other").expect("it can be changed");
    send("replace");
    assert_eq!(fs::read(scene.inbox().join("a.txt")).expect("it is there"), b"other");
    assert_eq!(disk::names(&scene.inbox()), ["a.txt"]);
}

#[test]
fn names_that_differ_in_case_or_in_unicode_spelling_are_all_kept() {
    let scene = Scene::new();
    for (n, name) in ["README", "readme", "Readme", "caf\u{e9}", "cafe\u{301}"].iter().enumerate() {
        scene.thing(name, format!("content {n}").as_bytes());
    }
    let files: Vec<_> =
        disk::names(&scene.path("things")).into_iter().map(|name| scene.path("things").join(name)).collect();
    let host = scene.receive().args(["--once", "--yes"]).listening();
    scene.send(&files[0]).args(&files[1..]).args(["--to", &scene.at_invite()]).run().with(0);
    host.program.ended().with(0);
    let contents = |root: &Path| -> BTreeSet<String> {
        disk::names(root).iter().map(|name| disk::hash(&root.join(name))).collect()
    };
    assert_eq!(contents(&scene.inbox()), contents(&scene.path("things")));
}

#[test]
fn once_is_won_by_exactly_one_of_two_senders() {
    let scene = Scene::new();
    let (one, two) = (scene.thing("one", &disk::noise(1, 4 * MIB)), scene.thing("two", &disk::noise(2, 4 * MIB)));
    let host = scene.receive().args(["--once", "--yes"]).listening();
    let link = host.qrdrop_link();
    let start = |path: &Path, state: &str| {
        Launch::new("send").arg(path).args(["--json", "--to", &link]).state(&scene.path(state)).start()
    };
    let (one, two) = (start(&one, "first"), start(&two, "second"));
    let codes = [one.ended().code, two.ended().code];
    host.program.ended().with(0);
    assert_eq!(codes.iter().filter(|code| **code == Some(0)).count(), 1, "{codes:?}");
    assert_eq!(disk::names(&scene.inbox()).len(), 1);
}

#[test]
fn fifty_senders_of_one_name_at_once_leave_fifty_exact_files() {
    const SENDERS: u64 = 50;
    let scene = Scene::new();
    let mut host = scene.receive().arg("--yes").listening();
    let link = host.qrdrop_link();
    let sources: Vec<_> =
        (0..SENDERS).map(|n| scene.thing(&format!("{n}/one name.bin"), &disk::noise(n, 8 * MIB))).collect();
    let start = |(n, source): (usize, &std::path::PathBuf)| {
        Launch::new("send")
            .arg(source)
            .args(["--json", "--to", &link])
            .state(&scene.path(&format!("state-{n}")))
            .start()
    };
    let senders: Vec<_> = sources.iter().enumerate().map(start).collect();
    for sender in senders {
        sender.ended().with(0);
    }
    host.program.event("finished");
    let received = host.stopped().with(0);

    let inbox = scene.inbox();
    let arrived: BTreeSet<String> = disk::names(&inbox).iter().map(|name| disk::hash(&inbox.join(name))).collect();
    assert_eq!(arrived, sources.iter().map(|source| disk::hash(source)).collect());
    assert_eq!(disk::names(&inbox).len() as u64, SENDERS);
    assert_eq!(received.named("finished").len() as u64, SENDERS);

    // A transfer runs from its `accepted` to its `finished`; how many ran at the busiest moment?
    let (mut running, mut busiest) = (BTreeSet::new(), 0);
    for event in received.events() {
        match text(&event, "event") {
            "accepted" => drop(running.insert(text(&event, "transfer").to_owned())),
            "finished" => drop(running.remove(text(&event, "transfer"))),
            _ => {}
        }
        busiest = busiest.max(running.len());
    }
    assert!(busiest >= 10, "only {busiest} transfers ran side by side");
}

#[test]
fn e08_a_transfer_is_undisturbed_by_a_new_code() {
    let scene = Scene::new();
    let source = scene.thing("big", &disk::noise(1, 4 * MIB));
    let host = scene.receive().args(["--yes", "--invite-ttl", "1s"]).listening();
    let link = host.qrdrop_link();
    let sent = scene.send(&source).args(["--to", &link, "--limit", "2MB", "--compress", "never"]).run().with(0);
    assert_ne!(host.qrdrop_link(), link, "the code was renewed meanwhile");
    assert!(sent.named("retry").is_empty(), "{sent}");
    assert_eq!(disk::hash(&scene.inbox().join("big")), disk::hash(&source));
    host.stopped().with(0);
}
