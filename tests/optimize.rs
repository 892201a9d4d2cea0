//! Pictures and PDFs made smaller on their way: what arrives, judged by Pillow, and what is said about it.
#![cfg(unix)]

mod common;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Instant, SystemTime};

use serde_json::{Value, json};

use common::around::have_module;
use common::{Ended, Launch, PATIENCE, Scene, disk, number, peer, python, qrdrop, text};

/// Runs `photos.py`; what it prints.
fn photos(args: &[&str]) -> String {
    let made = Command::new(python()).arg(peer("photos.py")).args(args).output().expect("Python runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8(made.stdout).expect("it prints text")
}

/// A scene with a folder of photos, and the same folder again to compare with; `None` without Pillow.
fn photographed(what: &str) -> Option<Scene> {
    if !have_module("PIL") || !have_module("numpy") {
        return None;
    }
    let scene = Scene::new();
    photos(&[what, &scene.path("things/album").display().to_string()]);
    keep_a_copy(&scene);
    Some(scene)
}

fn keep_a_copy(scene: &Scene) {
    let copied = Command::new("cp").arg("-a").arg(scene.path("things")).arg(scene.path("before")).status();
    assert!(copied.is_ok_and(|status| status.success()));
}

/// What Pillow sees in a picture.
fn look(path: &Path) -> Value {
    serde_json::from_str(&photos(&["look", &path.display().to_string()])).expect("a line of JSON")
}

/// Sends the album with these flags; what the sender said.
fn send(scene: &Scene, flags: &[&str]) -> Ended {
    let host = scene.receive().arg("--yes").listening();
    let sent = scene.send(&scene.path("things/album")).args(["--to", &host.qrdrop_link()]).args(flags).run();
    host.stopped().with(0);
    sent
}

fn bytes(path: &Path) -> u64 {
    fs::metadata(path).expect("it is there").len()
}

fn modified(path: &Path) -> SystemTime {
    fs::metadata(path).and_then(|about| about.modified()).expect("it is there")
}

/// The files of the album.
fn album(scene: &Scene) -> Vec<String> {
    disk::names(&scene.path("before/album"))
}

fn nothing_is_left_behind(scene: &Scene) {
    let left = fs::read_dir(scene.path("sender-state")).expect("there is a state folder").count();
    assert_eq!(left, 0, "what stood in for files is gone");
    disk::assert_same(&scene.path("before/album"), &scene.path("things/album"));
}

fn differ(one: &Value, other: &Value) -> f64 {
    let colours = |seen: &Value| serde_json::from_value::<Vec<[f64; 3]>>(seen["colours"].clone()).expect("colours");
    let (one, other) = (colours(one), colours(other));
    let distance =
        |(one, other): (&[f64; 3], &[f64; 3])| (0..3).map(|at| (one[at] - other[at]).abs()).fold(0.0, f64::max);
    one.iter().zip(&other).map(distance).fold(0.0, f64::max)
}

#[test]
fn photos_arrive_smaller_upright_and_dated_without_their_place_and_the_report_is_true() {
    let Some(scene) = photographed("make") else { return };
    let sent = send(&scene, &["--optimize-images", "--optimize-pdfs", "--strip-location"]).with(0);
    let reports = sent.named("optimized");
    let mut smaller = Vec::new();
    for name in album(&scene) {
        let (before, after) = (scene.path("before/album").join(&name), scene.inbox().join("album").join(&name));
        let report = reports.iter().find(|report| text(report, "name") == format!("album/{name}"));
        if let Some(report) = report {
            assert_eq!((number(report, "before"), number(report, "after")), (bytes(&before), bytes(&after)), "{name}");
        } else {
            assert_eq!(disk::hash(&before), disk::hash(&after), "{name} is not spoken of");
        }
        assert!(bytes(&after) <= bytes(&before), "{name}");
        assert_eq!(modified(&after), modified(&before), "{name}");
        if bytes(&after) < bytes(&before) * 19 / 20 {
            smaller.push(name.clone());
        }
        if name.ends_with(".pdf") || name.ends_with(".txt") {
            continue;
        }
        let (was, is) = (look(&before), look(&after));
        for field in ["format", "size", "orientation", "taken", "zone", "model", "icc", "frames"] {
            assert_eq!(was[field], is[field], "{field} of {name}");
        }
        assert_eq!((number(&is, "gps"), &is["traces"]), (0, &Value::Array(vec![])), "{name}");
        assert!(differ(&was, &is) < 6.0, "{name} looks the same");
        let report = report.expect("every picture is spoken of, or had nothing to do");
        let placed = number(&was, "gps") > 0;
        assert_eq!(report["location_removed"], placed, "{name}");
    }
    let expected = [
        "clear.png",
        "colours.png",
        "fine.jpg",
        "grey.jpg",
        "moving.jpg",
        "photo.jpg",
        "plain.jpg",
        "text.pdf",
        "window.png",
    ];
    assert_eq!(smaller, expected);
    let offer = sent.one("offer");
    let arrived: u64 = album(&scene).iter().map(|name| bytes(&scene.inbox().join("album").join(name))).sum();
    assert_eq!(number(&offer, "bytes"), arrived);
    assert_eq!(number(&sent.one("finished"), "bytes"), arrived);
    let last = sent.named("optimizing").pop().expect("progress is told");
    assert_eq!(last["bytes"], last["total"]);
    nothing_is_left_behind(&scene);
}

#[test]
fn the_pages_of_a_pdf_draw_what_they_drew() {
    let Some(scene) = photographed("make") else { return };
    send(&scene, &["--optimize-pdfs"]).with(0);
    for name in album(&scene) {
        let (before, after) = (scene.path("before/album").join(&name), scene.inbox().join("album").join(&name));
        if !name.ends_with(".pdf") {
            assert_eq!(disk::hash(&before), disk::hash(&after), "{name} is no PDF");
        }
    }
    let pages = |folder: &str| {
        let document = lopdf::Document::load(scene.path(folder).join("text.pdf")).expect("it is read");
        document.page_iter().map(|page| document.get_page_content(page)).collect::<Vec<_>>()
    };
    assert_eq!(pages("before/album"), pages("inbox/album"));
    assert_eq!(pages("inbox/album").len(), 30);
}

#[test]
fn a_place_is_removed_without_loss_and_what_can_not_be_looked_into_stays_here() {
    let Some(scene) = photographed("make") else { return };
    let apple = scene.thing("album/apple.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic");
    let sent = send(&scene, &["--strip-location"]).with(0);
    let skipped = sent.one("skipped");
    assert!(text(&skipped, "name").ends_with("apple.heic"));
    assert_eq!(text(&skipped, "reason"), "its location can't be removed (HEIC)");
    assert!(!scene.inbox().join("album/apple.heic").exists());
    for name in album(&scene).iter().filter(|name| !name.ends_with(".heic")) {
        let (before, after) = (scene.path("before/album").join(name), scene.inbox().join("album").join(name));
        if name.ends_with(".pdf") || name.ends_with(".txt") {
            assert_eq!(disk::hash(&before), disk::hash(&after), "{name}");
            continue;
        }
        let (was, is) = (look(&before), look(&after));
        assert_eq!(differ(&was, &is), 0.0, "no pixel of {name} has changed");
        assert_eq!((number(&is, "gps"), &is["traces"]), (0, &Value::Array(vec![])), "{name}");
        assert_eq!((&was["orientation"], &was["taken"], &was["icc"]), (&is["orientation"], &is["taken"], &is["icc"]));
    }
    fs::remove_file(&apple).expect("it is there");
    nothing_is_left_behind(&scene);
    scene.thing("album/apple.heic", b"\0\0\0\x18ftypheic");
    scene.send(&apple).args(["--to", "127.0.0.1:9", "--strip-location"]).run().failed(7);
}

#[test]
fn d18_what_is_broken_or_a_bomb_goes_exactly_as_it_is() {
    let Some(scene) = photographed("hostile") else { return };
    send(&scene, &["--optimize-images", "--optimize-pdfs"]).with(0);
    for name in album(&scene) {
        let (before, after) = (scene.path("before/album").join(&name), scene.inbox().join("album").join(&name));
        if name == "moved.jpg" {
            let tail = b"ftypmp42 and a video behind it";
            assert!(fs::read(&after).expect("it arrived").ends_with(tail), "what follows a picture comes along");
        } else {
            assert_eq!(disk::hash(&before), disk::hash(&after), "{name}");
        }
    }
    nothing_is_left_behind(&scene);
}

const MIB: u64 = 1024 * 1024;

/// A worker, as a sender starts it, that may take so much memory; not told anything yet.
fn worker(memory: u64) -> Child {
    let wishes = json!({ "images": true, "pdfs": true, "max_edge": null, "strip_location": false });
    let task = json!({ "wishes": wishes, "memory": memory }).to_string();
    let mut worker = Command::new(qrdrop());
    worker.args(["__optimize", &task]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    worker.spawn().expect("a worker starts")
}

/// What a file of `/proc` says of a process.
#[cfg(target_os = "linux")]
fn told(process: &Child, file: &str) -> String {
    fs::read_to_string(format!("/proc/{}/{file}", process.id())).expect("it runs")
}

#[cfg(target_os = "linux")]
#[test]
fn d18_a_worker_is_limited_before_it_reads_a_byte() {
    let worker = worker(16 * MIB);
    let limit = |name: &str| {
        let limits = told(&worker, "limits");
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).expect("there is such a limit");
        line.split_whitespace().next().expect("it is told").to_owned()
    };
    let deadline = Instant::now() + PATIENCE;
    // The one that is set last.
    while limit("Max open files") != "3" {
        assert!(Instant::now() < deadline, "{}", told(&worker, "limits"));
        std::thread::yield_now();
    }
    assert_eq!(limit("Max address space"), ((16 + 128) * MIB).to_string());
    assert_eq!(limit("Max cpu time"), "5");
    assert_eq!(limit("Max core file size"), "0");
    assert!(told(&worker, "status").contains("NoNewPrivs:\t1"), "the kernel holds it to what is open");
    let ended = worker.wait_with_output().expect("it ends with its input");
    assert!(ended.status.success() && ended.stdout.is_empty(), "{ended:?}");
}

#[test]
fn d18_a_worker_that_wants_more_memory_than_it_was_given_ends_and_writes_nothing() {
    let scene = Scene::new();
    let picture = scene.path("things/picture.png");
    image::RgbImage::new(5_000, 3_000).save(&picture).expect("a picture can be written");
    for (memory, is_enough) in [(1, false), (400 * MIB, true)] {
        let mut worker = worker(memory);
        let content = fs::read(&picture).expect("it is there");
        // It may end before it has read everything.
        let _ = worker.stdin.take().expect("it is piped").write_all(&content);
        let ended = worker.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!((ended.status.success(), !ended.stdout.is_empty()), (is_enough, is_enough), "{said}");
    }
}

#[test]
fn d18_what_is_broken_is_left_out_rather_than_sent_with_its_place() {
    let Some(scene) = photographed("hostile") else { return };
    let sent = send(&scene, &["--optimize-images", "--strip-location"]).with(0);
    let left_out: Vec<String> = sent
        .named("skipped")
        .iter()
        .map(|skipped| text(skipped, "name").rsplit('/').next().unwrap_or_default().to_owned())
        .collect();
    for name in ["cut.jpg", "cut.png", "cut.webp", "nothing.jpg", "nothing.png"] {
        assert!(left_out.iter().any(|left| left == name), "{name} of {left_out:?}");
        assert!(!scene.inbox().join("album").join(name).exists(), "{name}");
    }
    assert!(scene.inbox().join("album/bomb.png").exists(), "it has no place, and its pixels were not looked at");
}

#[test]
fn x06_a_disk_that_takes_nothing_more_leaves_the_originals() {
    let Some(scene) = photographed("make") else { return };
    let host = scene.receive().arg("--yes").listening();
    // Files of at most 4 KiB, which is enough for what the sender itself remembers.
    let limited = ["sh", "-c", "ulimit -f 8; exec \"$@\"", "sh"];
    let link = host.qrdrop_link();
    let sender = scene.send(&scene.path("things/album")).args(["--to", &link, "--optimize-images", "--optimize-pdfs"]);
    sender.behind(limited).run().with(0);
    host.stopped().with(0);
    disk::assert_same(&scene.path("before/album"), &scene.inbox().join("album"));
    nothing_is_left_behind(&scene);
}

#[test]
fn scaled_pictures_fit_the_edge_and_arrive_at_an_outbox_guest_too() {
    let Some(scene) = photographed("make") else { return };
    let outbox = Launch::new("send")
        .arg(scene.path("things/album/photo.jpg"))
        .args(["--json", "--qr", "never", "--port", "0", "--interface", "lo", "--hidden", "--yes", "--max-edge", "400"])
        .arg("--invite-file")
        .arg(scene.invite())
        .state(&scene.path("sender-state"))
        .listening();
    let fetch = Launch::new("receive").arg(scene.inbox()).args(["--json", "--yes", "--from", &scene.at_invite()]);
    fetch.state(&scene.path("receiver-state")).run().with(0);
    outbox.left().with(0);
    let arrived = look(&scene.inbox().join("photo.jpg"));
    assert_eq!((&arrived["size"], number(&arrived, "orientation")), (&serde_json::json!([400, 300]), 6));
    assert!(number(&arrived, "gps") > 0, "nobody asked for that to be removed");
}

#[test]
fn an_interrupted_optimiser_leaves_nothing_and_says_so() {
    let Some(scene) = photographed("make") else { return };
    photos(&["make", &scene.path("things/album").display().to_string(), "--count", "60", "--edge", "1600"]);
    let host = scene.receive().arg("--yes").listening();
    let sender = scene.send(&scene.path("things/album")).args(["--to", &host.qrdrop_link(), "--optimize-images"]);
    let mut sender = sender.start();
    sender.event("optimized");
    sender.interrupt();
    sender.ended().with(130);
    assert_eq!(fs::read_dir(scene.path("sender-state")).expect("it was made").count(), 0);
    host.stopped().with(0);
    assert_eq!(disk::names(&scene.inbox()), Vec::<String>::new());
}

#[test]
fn a_killed_sender_makes_the_same_of_the_same_files_and_goes_on() {
    let Some(scene) = photographed("make") else { return };
    let host = scene.receive().arg("--yes").listening();
    let link = host.qrdrop_link();
    let sender = || scene.send(&scene.path("things/album")).args(["--to", &link, "--optimize-images", "--retry", "5s"]);
    let mut killed = sender().args(["--limit", "500kB"]).start();
    let stored =
        killed.event_where("a stored file", |event| event["event"] == "stored" && event["name"] == "album/fine.jpg");
    drop(killed);
    let sent = sender().run().with(0);
    let kept = number(&sent.one("retry"), "from_bytes");
    let whole = number(&sent.one("finished"), "bytes");
    assert!(kept >= number(&stored, "bytes") && kept < whole, "{kept} of {whole} bytes need not go again");
    host.stopped();
    assert_eq!(disk::names(&scene.inbox().join("album")), album(&scene), "nothing is there twice");
    nothing_but_tickets(&scene);
}

/// The killed sender's pictures are gone too.
fn nothing_but_tickets(scene: &Scene) {
    let names = fs::read_dir(scene.path("sender-state")).expect("there is a state folder");
    let names = names.map(|entry| entry.expect("it can be read").file_name().to_string_lossy().into_owned());
    assert_eq!(names.filter(|name| name.starts_with("scratch-")).count(), 0);
}
