//! A receiver that the kernel holds to its folder (Landlock): what it can't do any more, and what it still can.
#![cfg(target_os = "linux")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use common::around::{self, sh};
use common::sealed::Phone;
use common::{Host, Launch, Scene, disk, text};

/// Whether this kernel can hold anything; skipped out loud otherwise.
fn kernel_holds() -> bool {
    let scene = Scene::new();
    let mut host = scene.receive().arg("-v").listening();
    host.program.shows("by the kernel (Landlock)");
    !host.program.shown().contains("not held") || around::skip("this kernel has no Landlock, or too old a one")
}

/// What the kernel says of each thread: whether neither it nor what it starts can gain rights, which is how a thread is
/// made before it is held.
fn threads(host: &Host) -> BTreeMap<String, bool> {
    let tasks = fs::read_dir(format!("/proc/{}/task", host.program.pid())).expect("it runs");
    let read = |path: &Path| {
        let name = fs::read_to_string(path.join("comm")).ok()?;
        let status = fs::read_to_string(path.join("status")).ok()?;
        Some((name.trim().to_owned(), status.contains("NoNewPrivs:\t1")))
    };
    // Some may have ended meanwhile.
    tasks.flatten().filter_map(|task| read(&task.path())).collect()
}

#[test]
fn every_thread_of_a_receiver_is_held_whatever_came_and_only_errands_are_not() {
    if !kernel_holds() {
        return;
    }
    let scene = Scene::new();
    let source = scene.thing("tree/a.bin", &disk::noise(1, 3_000_000));
    disk::write(&scene.path("things/tree/b/c.txt"), b"c");
    let mut host = scene.receive().arg("--yes=private").listening();
    scene.send(source.parent().expect("it has one")).args(["--to", &host.qrdrop_link()]).run().with(0);
    Phone::claim(&host.http_link()).expect("the page gets in").send("phone.txt", b"phone");
    let told = |event: &serde_json::Value| event["event"] == "stored" && event["name"] == "phone.txt";
    let stored = host.program.event_where("the phone's file", told);
    host.finishes(&stored);
    let (errands, others): (Vec<_>, Vec<_>) =
        threads(&host).into_iter().partition(|(name, _)| name == "qrdrop-errands");
    assert_eq!(errands, [("qrdrop-errands".to_owned(), false)]);
    assert!(others.len() > 1 && others.iter().all(|(_, held)| *held), "{others:?}");
    disk::assert_same(&scene.inbox().join("tree"), &scene.path("things/tree"));
    host.stopped().with(0);
}

#[test]
fn where_nothing_lies_outside_no_thread_does() {
    if !kernel_holds() {
        return;
    }
    let scene = Scene::new();
    let mut receiver = Launch::new("receive").arg(scene.inbox()).args(["--json", "--qr", "always", "--hidden"]);
    receiver = receiver.args(["--port", "0", "--interface", "127.0.0.1"]).state(&scene.path("receiver-state"));
    let host = receiver.listening();
    let threads = threads(&host);
    assert!(threads.len() > 1 && threads.values().all(|held| *held), "{threads:?}");
    host.stopped().with(0);
}

#[test]
fn b10_a_folder_that_was_renamed_and_is_back_works_and_one_made_anew_is_told_apart() {
    if !kernel_holds() {
        return;
    }
    let scene = Scene::new();
    let source = scene.thing("a.txt", b"a");
    let mut host = scene.receive().arg("--yes").listening();
    let send = || scene.send(&source).args(["--to", &scene.at_invite()]).run();
    let away = scene.path("away");
    fs::rename(scene.inbox(), &away).expect("it can be renamed");
    send().failed(3);
    fs::rename(&away, scene.inbox()).expect("it can be renamed");
    send().with(0);
    fs::rename(scene.inbox(), &away).expect("it can be renamed");
    fs::create_dir(scene.inbox()).expect("it can be made");
    send().failed(3);
    let told = |event: &serde_json::Value| event["event"] == "failed" && text(event, "hint").contains("start again");
    host.program.event_where("what to do", told);
    assert_eq!(disk::names(&scene.inbox()), [""; 0], "not even root writes there");
    assert_eq!(disk::names(&away), ["a.txt"]);
    host.stopped();
}

/// A receiver in a mount namespace of its own, where `place` is an empty file system of its own, below another one at
/// `around`.
fn on_a_medium(scene: &Scene, around: &Path, place: &Path) -> Host {
    let mount = format!(
        "mount -t tmpfs none '{0}' && mkdir -p '{1}' && mount -t tmpfs none '{1}' && mkdir '{1}/in' && exec \"$@\"",
        around.display(),
        place.display()
    );
    let receiver = Launch::new("receive").arg(place.join("in")).args(["--json", "--qr", "never", "--port", "0"]);
    let receiver = receiver.args(["--interface", "127.0.0.1", "--hidden", "--yes", "--invite-file"]);
    let receiver = receiver.arg(scene.invite()).state(&scene.path("receiver-state"));
    receiver.behind(["unshare", "-m", "sh", "-c", &mount, "sh"]).listening()
}

/// Takes the medium out as people do, without asking, and puts in an empty one.
fn put_in_again(host: &Host, place: &Path) {
    let (pid, place) = (host.program.pid(), place.display());
    sh(&format!("nsenter -t {pid} -m sh -ec 'umount -l {place}; mount -t tmpfs none {place}; mkdir {place}/in'"));
}

#[test]
fn b10_a_medium_that_is_taken_out_and_put_in_again_works_again() {
    if !around::am_root() || !around::have(&["unshare", "mount", "nsenter"]) {
        return;
    }
    let scene = Scene::new();
    let source = scene.thing("a.txt", b"a");
    let place = Path::new("/mnt/stick");
    let mut host = on_a_medium(&scene, Path::new("/mnt"), place);
    let send = || scene.send(&source).args(["--to", &scene.at_invite()]).run();
    send().with(0);
    let pid = host.program.pid();
    sh(&format!("nsenter -t {pid} -m umount -l {}", place.display()));
    send().failed(3);
    host.program.event("failed");
    sh(&format!("nsenter -t {pid} -m sh -ec 'mount -t tmpfs none {0}; mkdir {0}/in'", place.display()));
    send().with(0);
    let there = sh(&format!("nsenter -t {pid} -m ls {}/in", place.display()));
    assert_eq!(there, "a.txt\n");
    host.stopped();
}

#[test]
fn b10_a_disk_that_is_mounted_anew_elsewhere_is_told_apart() {
    if !around::am_root() || !around::have(&["unshare", "mount", "nsenter"]) || !kernel_holds() {
        return;
    }
    let scene = Scene::new();
    let source = scene.thing("a.txt", b"a");
    fs::create_dir(scene.path("disks")).expect("it can be made");
    let place = scene.path("disks/one");
    let mut host = on_a_medium(&scene, &scene.path("disks"), &place);
    put_in_again(&host, &place);
    scene.send(&source).args(["--to", &scene.at_invite()]).run().failed(3);
    let failed = host.program.event("failed");
    assert!(text(&failed, "hint").contains("start again"), "{failed}");
    host.stopped();
}

#[test]
fn a_command_for_stored_files_writes_anywhere_and_may_gain_rights() {
    let scene = Scene::new();
    let source = scene.thing("a.txt", b"a");
    let script = "grep NoNewPrivs /proc/self/status > \"$0.ran\"; cp \"$QRDROP_PATH\" \"$0.copy\"";
    let script = disk::write(&scene.path("beside/script"), script.as_bytes());
    let host = scene.receive().args(["--yes", "--once", "--on-stored", &format!("sh {}", script.display())]);
    let host = host.listening();
    scene.send(&source).args(["--to", &host.qrdrop_link()]).run().with(0);
    host.program.ended().with(0);
    assert_eq!(fs::read_to_string(scene.path("beside/script.ran")).expect("it ran"), "NoNewPrivs:\t0\n");
    assert_eq!(fs::read(scene.path("beside/script.copy")).expect("it ran"), b"a");
}

#[test]
fn files_that_were_named_are_written_wherever_they_are_and_again_when_they_were_moved() {
    let scene = Scene::new();
    let source = scene.thing("a.txt", b"a");
    for folder in ["logs", "links", "pictures"] {
        fs::create_dir(scene.path(folder)).expect("it can be made");
    }
    let (log, invite, picture) = (scene.path("logs/log"), scene.path("links/invite"), scene.path("pictures/code.png"));
    let receiver =
        Launch::new("receive").arg(scene.inbox()).args(["--json", "--qr", "never", "--port", "0", "--hidden"]);
    let receiver = receiver.args(["--interface", "127.0.0.1", "--yes=private"]).state(&scene.path("receiver-state"));
    let receiver = receiver.arg("--log").arg(&log).arg("--qr-png").arg(&picture).arg("--invite-file").arg(&invite);
    let mut host = receiver.listening();
    let links = fs::read(&invite).expect("the links are there");
    let drawn = fs::read(&picture).expect("the code is there");
    let send = |host: &mut Host| {
        let sent = scene.send(&source).args(["--to", &host.qrdrop_link()]).run().with(0);
        let transfer = sent.one("finished")["transfer"].clone();
        host.program.event_where("its end", |event| event["event"] == "finished" && event["transfer"] == transfer);
    };
    send(&mut host);
    fs::rename(&log, scene.path("logs/log.1")).expect("it can be moved");
    fs::remove_file(&picture).expect("it can be removed");
    // A page that loads has used the code up, and another one takes its place.
    Phone::claim(&host.http_link()).expect("the page gets in").send("phone.txt", b"phone");
    let renewed =
        || fs::read(&invite).is_ok_and(|now| now != links) && fs::read(&picture).is_ok_and(|now| now != drawn);
    send(&mut host);
    assert!(renewed(), "both show the code that is good now");
    assert_eq!(fs::read_to_string(&log).expect("a new one was begun").lines().count(), 2);
    host.stopped().with(0);
}

#[test]
fn the_state_folder_is_made_at_the_start_since_it_could_not_be_made_later() {
    let scene = Scene::new();
    let state = scene.path("states/of/mine");
    let receiver =
        Launch::new("receive").arg(scene.inbox()).args(["--json", "--qr", "never", "--port", "0", "--hidden"]);
    let receiver = receiver.args(["--interface", "127.0.0.1"]).env("XDG_STATE_HOME", &state);
    let receiver = receiver.args(["--invite-file"]).arg(scene.invite());
    receiver.listening().stopped().with(0);
    assert_eq!(disk::names(&state), ["qrdrop"]);
}

#[test]
fn every_detail_says_to_what_the_receiver_is_held() {
    if !kernel_holds() {
        return;
    }
    let scene = Scene::new();
    let mut host = scene.receive().arg("-v").listening();
    let (inbox, state) = (scene.inbox(), scene.path("receiver-state"));
    host.program.shows(&format!("held to `{}`, `{}` by the kernel", inbox.display(), state.display()));
    host.stopped().with(0);
}
