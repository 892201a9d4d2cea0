//! What passes over a slow link, counted by the link itself.
#![cfg(target_os = "linux")]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::around::{Lan, am_root, have, sh};
use common::{Ended, Scene, disk, number};

/// Lines as a server writes them, the same for the same `seed`.
fn log_lines(seed: u64, bytes: usize) -> Vec<u8> {
    let mut lines = Vec::with_capacity(bytes + 100);
    // A line is some 60 bytes, made of 4.
    for entropy in disk::noise(seed, bytes / 10).chunks_exact(4) {
        let &[a, b, c, d] = entropy else { unreachable!("chunks of four") };
        lines.extend(
            format!("2026-11-21T17:{:02}:{:02} host-{} app[{}]: request took {b} ms\n", a % 60, b % 60, c % 9, d % 99)
                .into_bytes(),
        );
        if lines.len() >= bytes {
            break;
        }
    }
    assert!(lines.len() >= bytes);
    lines.truncate(bytes);
    lines
}

/// A LAN of 8 MB/s: slower by far than an unoptimised build compresses.
fn slow_lan() -> Lan {
    let lan = Lan::new();
    sh(&format!("ip netns exec {} tc qdisc add dev eth0 root tbf rate 64mbit burst 128kb latency 100ms", lan.there));
    lan
}

/// Sends `thing` over that link, and how many bytes went there.
fn sent(scene: &Scene, lan: &Lan, thing: &Path, compress: &str) -> (Ended, u64) {
    let receiver = scene.receive_on("eth0").args(["--hidden", "--yes", "--once"]).behind(Lan::on(&lan.here));
    let host = receiver.listening();
    let before = transmitted(lan);
    let sender = scene.send(thing).args(["--to", &scene.at_invite(), "--compress", compress]);
    let sent = sender.behind(Lan::on(&lan.there)).run().with(0);
    host.program.ended().with(0);
    disk::assert_same(&scene.path("things"), &scene.inbox());
    (sent, transmitted(lan) - before)
}

/// Bytes that left the sending host so far.
fn transmitted(lan: &Lan) -> u64 {
    let counter = ["cat", "/sys/class/net/eth0/statistics/tx_bytes"];
    let said = Command::new("ip").args(&Lan::on(&lan.there)[1..]).args(counter).output().expect("`ip` runs");
    String::from_utf8_lossy(&said.stdout).trim().parse().expect("a number of bytes")
}

fn ready() -> bool {
    am_root() && have(&["ip", "tc"])
}

/// A large log and a folder of small ones, and how many bytes they are.
fn logs(scene: &Scene) -> (PathBuf, u64) {
    let folder = scene.path("things/logs");
    disk::write(&folder.join("large.log"), &log_lines(0, 12_000_000));
    for n in 1..400 {
        disk::write(&folder.join(format!("old/{n}.log")), &log_lines(n, 10_000));
    }
    disk::date(&folder);
    (folder, 12_000_000 + 399 * 10_000)
}

#[test]
fn text_takes_fewer_bytes_over_a_slow_link_than_it_holds() {
    if !ready() {
        return;
    }
    for (compress, part) in [("auto", 0.7), ("always", 0.4)] {
        let (scene, lan) = (Scene::new(), slow_lan());
        let (folder, bytes) = logs(&scene);
        let (ended, wire) = sent(&scene, &lan, &folder, compress);
        assert!((wire as f64) < part * bytes as f64, "`{compress}` took {wire} bytes for {bytes}");
        assert_eq!(number(&ended.one("finished"), "bytes"), bytes, "what is told is what the files hold");
    }
}

#[test]
fn without_compression_text_takes_what_it_holds() {
    if !ready() {
        return;
    }
    let (scene, lan) = (Scene::new(), slow_lan());
    let (folder, bytes) = logs(&scene);
    let (_, wire) = sent(&scene, &lan, &folder, "never");
    assert!(wire > bytes, "{wire} bytes for {bytes}");
}

#[test]
fn what_does_not_compress_takes_no_more_with_compression_than_without() {
    if !ready() {
        return;
    }
    let [never, auto, always] = ["never", "auto", "always"].map(|compress| {
        let (scene, lan) = (Scene::new(), slow_lan());
        let film = scene.thing("film.mp4", &disk::noise(1, 8_000_000));
        sent(&scene, &lan, &film, compress).1 as f64
    });
    // Retransmissions and how records fall into segments differ from run to run.
    assert!(auto < 1.02 * never && always < 1.02 * never, "{never}, {auto}, {always}");
}
