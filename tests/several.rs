//! One source for several receivers.

mod common;

use std::collections::HashSet;
use std::fs;

use common::around::{have, nobody};
use common::{Host, Launch, Scene, disk, number};

const MIB: usize = 1024 * 1024;

/// Receivers with a folder each.
fn receivers(scene: &Scene, count: usize, flags: &[&[&str]]) -> Vec<Host> {
    let receiver = |n: usize| {
        let folder = scene.path(&format!("inbox-{n}"));
        fs::create_dir(&folder).unwrap();
        Launch::new("receive")
            .arg(folder)
            .args(["--interface", "lo", "--port", "0", "--json", "--yes=private", "--hidden", "--invite-file"])
            .arg(scene.path(&format!("invite-{n}")))
            .args(flags.get(n).copied().unwrap_or_default())
            .listening()
    };
    (0..count).map(receiver).collect()
}

fn to_all(send: Launch, hosts: &[Host]) -> Launch {
    hosts.iter().fold(send, |send, host| send.args(["--to", &host.qrdrop_link()]))
}

#[test]
fn three_receivers_get_a_folder_each_as_its_own_transfer() {
    let scene = Scene::new();
    let tree = scene.path("tree");
    disk::motley(&tree, 200, 3);
    disk::date(&tree);
    let hosts = receivers(&scene, 3, &[]);
    let sent = to_all(scene.send(&tree), &hosts).run().with(0);
    let finished = sent.named("finished");
    assert_eq!(finished.len(), 3);
    let mut names: Vec<_> = finished.iter().map(|event| event["transfer"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 3);
    for (n, host) in hosts.into_iter().enumerate() {
        host.stopped();
        disk::assert_same(&tree, &scene.path(&format!("inbox-{n}")).join("tree"));
    }
}

#[test]
fn one_that_refuses_and_one_that_is_not_there_keep_nothing_from_the_others() {
    let scene = Scene::new();
    let source = scene.thing("a.bin", &disk::noise(1, 5 * MIB));
    let hosts = receivers(&scene, 3, &[&[], &["--max-size", "1MB"]]);
    let gone = hosts[0].qrdrop_link().replace(&hosts[0].address().to_string(), &nobody().to_string());
    let sent = to_all(scene.send(&source), &hosts).args(["--to", &gone]).run().with(3);
    assert_eq!(sent.named("finished").len(), 2);
    let mut codes: Vec<_> = sent.named("failed").iter().map(|event| number(event, "code")).collect();
    codes.sort_unstable();
    assert_eq!(codes, [3, 4]);
    assert!(sent.one("closed")["reason"].as_str().unwrap().contains("2 of 4 receivers have everything"));
    for n in [0, 2] {
        assert_eq!(disk::hash(&scene.path(&format!("inbox-{n}")).join("a.bin")), disk::hash(&source));
    }
    assert_eq!(fs::read_dir(scene.path("inbox-1")).unwrap().count(), 0);
}

/// What calls in a log of strace have read of a file; those of other threads may stand between the two halves of one.
fn bytes_read(log: &str, name: &str) -> u64 {
    let mut unfinished = HashSet::new();
    let mut sum = 0;
    for line in log.lines() {
        let (thread, call) = line.split_once(' ').unwrap();
        let is_ours = call.contains(&format!("{name}>")) || (call.contains(" resumed>") && unfinished.remove(thread));
        if is_ours && call.ends_with("<unfinished ...>") {
            unfinished.insert(thread);
        } else if is_ours {
            sum += call.rsplit_once("= ").unwrap().1.trim().parse::<u64>().unwrap();
        }
    }
    sum
}

#[test]
fn each_byte_of_the_source_is_read_once_for_two_receivers() {
    if !have(&["strace"]) {
        return;
    }
    let scene = Scene::new();
    let source = scene.thing("big.bin", &disk::noise(2, 24 * MIB + 17));
    let hosts = receivers(&scene, 2, &[]);
    let log = scene.path("calls");
    let counted = ["strace", "-f", "-y", "-e", "trace=read,pread64,preadv", "-o"].map(std::ffi::OsString::from);
    let send = to_all(scene.send(&source), &hosts).behind(counted.into_iter().chain([log.clone().into()]));
    send.run().with(0);
    assert_eq!(bytes_read(&fs::read_to_string(log).unwrap(), "big.bin"), 24 * MIB as u64 + 17);
    for n in 0..2 {
        assert_eq!(disk::hash(&scene.path(&format!("inbox-{n}")).join("big.bin")), disk::hash(&source));
    }
}

#[test]
fn the_tutorials_protocol_and_a_picture_are_for_one_receiver() {
    let scene = Scene::new();
    let source = scene.thing("a.txt", b"x");
    let two = ["--to", "127.0.0.1:1", "--to", "127.0.0.1:2"];
    scene.send(&source).args(two).arg("--classic").run().with(2);
    scene.send(&source).args(two).args(["--scan", "x.png"]).run().with(2);
}
