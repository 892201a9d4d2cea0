//! Standard input sent, and what is received written to standard output.

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{Host, Launch, Scene, disk, number, qrdrop, text};

const MIB: usize = 1024 * 1024;

/// `qrdrop` with its standard input and output as files.
fn piped(scene: &Scene, args: &[&str], input: Option<&Path>, output: &Path) -> (Option<i32>, String) {
    let mut command = Command::new(qrdrop());
    command.args(args).arg("--state-dir").arg(scene.path("piped-state"));
    command.stdin(input.map_or_else(Stdio::null, |path| fs::File::open(path).unwrap().into()));
    command.stdout(fs::File::create(output).unwrap()).stderr(Stdio::piped());
    let ended = command.spawn().unwrap().wait_with_output().unwrap();
    (ended.status.code(), String::from_utf8_lossy(&ended.stderr).into_owned())
}

fn inbox(scene: &Scene) -> Host {
    scene.receive().arg("--yes=private").listening()
}

#[test]
fn streams_of_every_awkward_length_arrive_exactly_under_their_name() {
    let scene = Scene::new();
    let host = inbox(&scene);
    let link = host.qrdrop_link();
    for len in [0, 1, MIB - 1, MIB, MIB + 1, 3 * MIB, 9 * MIB + 7] {
        let source = scene.thing("source", &disk::noise(len as u64, len));
        let name = format!("as-{len}");
        let (code, said) =
            piped(&scene, &["send", "-", "--name-as", &name, "--to", &link], Some(&source), &scene.path("out"));
        assert_eq!(code, Some(0), "{len}: {said}");
        assert_eq!(disk::hash(&scene.inbox().join(&name)), disk::hash(&source), "{len} bytes");
    }
    let received = host.stopped();
    assert!(received.named("offer").iter().all(|offer| offer["bytes"].is_null()), "nobody knows before");
    assert_eq!(received.named("finished").len(), 7);
}

#[test]
fn a_stream_goes_beside_files_and_is_told_as_they_are() {
    let scene = Scene::new();
    let file = scene.thing("file.txt", b"a file");
    let host = inbox(&scene);
    let sent = scene.send(&file).args(["-", "--to", &host.qrdrop_link()]).stdin("a stream").run().with(0);
    let mut stored: Vec<_> = sent.named("stored").iter().map(|event| text(event, "offered").to_owned()).collect();
    stored.sort();
    assert_eq!(stored, ["file.txt", "stdin"]);
    host.stopped();
    assert_eq!(fs::read(scene.inbox().join("stdin")).unwrap(), b"a stream");
}

#[test]
fn a_stream_that_others_fetch_or_several_get_is_kept_for_as_long() {
    let scene = Scene::new();
    let outbox = Launch::new("send")
        .args(["-", "--name-as", "kept.txt", "--json", "--interface", "lo", "--port", "0", "--hidden", "--invite-file"])
        .arg(scene.invite())
        .state(&scene.path("outbox-state"))
        .stdin("fetch me")
        .listening();
    let link = outbox.qrdrop_link();
    let fetch = Launch::new("receive").arg(scene.inbox()).args(["--from", &link, "--json"]).state(&scene.path("state"));
    fetch.run().with(0);
    outbox.left().with(0);
    assert_eq!(fs::read(scene.inbox().join("kept.txt")).unwrap(), b"fetch me");
    let left = fs::read_dir(scene.path("outbox-state")).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(!left.into_iter().any(|name| name.to_string_lossy().starts_with("spool-")), "nothing of it stays");
}

#[test]
fn what_is_received_goes_to_standard_output_byte_for_byte() {
    for len in [0, 5, MIB, 7 * MIB + 3] {
        let scene = Scene::new();
        let source = scene.thing("source", &disk::noise(len as u64, len));
        let outbox = scene
            .send(&source)
            .args(["--interface", "lo", "--port", "0", "--hidden", "--invite-file"])
            .arg(scene.invite())
            .listening();
        let (link, folder) = (outbox.qrdrop_link(), scene.inbox());
        let args = ["receive", folder.to_str().unwrap(), "--stdout", "--from", &link];
        let (code, said) = piped(&scene, &args, None, &scene.path("out"));
        assert_eq!(code, Some(0), "{said}");
        assert!(fs::read(scene.path("out")).unwrap() == fs::read(&source).unwrap(), "{len} bytes");
        assert_eq!(fs::read_dir(folder).unwrap().count(), 0, "nothing is stored");
        outbox.left().with(0);
    }
}

#[test]
fn tar_to_tar_through_two_of_us() {
    let scene = Scene::new();
    let tree = scene.path("tree");
    disk::motley(&tree, 200, 3);
    fs::write(tree.join("huge"), disk::noise(5, 20 * MIB)).unwrap();
    disk::date(&tree);
    let there = scene.path("there");
    fs::create_dir(&there).unwrap();
    let (invite, folder) = (scene.invite(), scene.inbox());
    let mut receive = Command::new(qrdrop());
    receive.args([
        "receive",
        "--stdout",
        "--yes=private",
        "--interface",
        "lo",
        "--port",
        "0",
        "--hidden",
        "--qr",
        "never",
    ]);
    receive.arg("--invite-file").arg(&invite).arg(&folder).arg("--state-dir").arg(scene.path("there-state"));
    let mut receive = receive.stdout(Stdio::piped()).stderr(Stdio::null()).stdin(Stdio::null()).spawn().unwrap();
    let unpack = Command::new("tar").arg("x").arg("-C").arg(&there).stdin(receive.stdout.take().unwrap()).spawn();
    let mut pack =
        Command::new("tar").arg("c").arg("-C").arg(scene.path("")).arg("tree").stdout(Stdio::piped()).spawn().unwrap();
    while !invite.exists() {
        std::thread::yield_now();
    }
    let mut send = Command::new(qrdrop());
    send.args(["send", "-", "--name-as", "tree.tar", "--to"]).arg(format!("@{}", invite.display()));
    send.arg("--state-dir").arg(scene.path("here-state")).stdin(pack.stdout.take().unwrap()).stderr(Stdio::null());
    assert!(send.status().unwrap().success());
    assert!(pack.wait().unwrap().success());
    assert!(receive.wait().unwrap().success(), "it leaves after one file");
    assert!(unpack.unwrap().wait().unwrap().success());
    disk::assert_same(&tree, &there.join("tree"));
    assert_eq!(fs::read_dir(folder).unwrap().count(), 0);
}

#[test]
fn a_reader_that_goes_away_ends_the_transfer_with_a_word_to_the_sender() {
    let scene = Scene::new();
    let source = scene.thing("source", &disk::noise(1, 24 * MIB));
    let outbox = scene
        .send(&source)
        .args(["--interface", "lo", "--port", "0", "--hidden", "--keep", "--invite-file"])
        .arg(scene.invite())
        .listening();
    let mut receive = Command::new(qrdrop());
    receive.args(["receive", "--stdout", "--from", &outbox.qrdrop_link()]).arg(scene.inbox());
    receive
        .arg("--state-dir")
        .arg(scene.path("state"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut receive = receive.spawn().unwrap();
    drop(receive.stdout.take());
    let ended = receive.wait_with_output().unwrap();
    assert_ne!(ended.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("standard output"), "{ended:?}");
    let outbox = outbox.stopped();
    assert_eq!(number(&outbox.named("failed")[0], "code"), 5);
}

#[test]
fn more_than_one_file_does_not_fit_into_standard_output() {
    let scene = Scene::new();
    let tree = scene.path("tree");
    disk::motley(&tree, 3, 0);
    let outbox = scene
        .send(&tree)
        .args(["--interface", "lo", "--port", "0", "--hidden", "--invite-file"])
        .arg(scene.invite())
        .listening();
    let (link, folder) = (outbox.qrdrop_link(), scene.inbox());
    let args = ["receive", folder.to_str().unwrap(), "--stdout", "--from", &link];
    let (code, said) = piped(&scene, &args, None, &scene.path("out"));
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("one file"), "{said}");
    assert_eq!(fs::read(scene.path("out")).unwrap(), b"");
}

#[test]
fn standard_output_is_either_for_the_file_or_for_what_is_told() {
    let scene = Scene::new();
    let ended = Launch::new("receive").arg(scene.inbox()).args(["--stdout", "--json"]).run().with(2);
    assert!(text(&ended.one("failed"), "message").contains("standard output"));
}

#[test]
fn standard_input_is_either_the_link_or_what_is_sent() {
    let scene = Scene::new();
    let (code, said) = piped(&scene, &["send", "-", "--to", "-"], None, &scene.path("out"));
    assert_eq!(code, Some(2));
    assert!(said.contains("standard input"), "{said}");
}
