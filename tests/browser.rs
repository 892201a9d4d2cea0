//! A phone opens the page: real Chromium in phone emulation, against the built binary.
#![cfg(target_os = "linux")]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use common::around::{Lan, am_root, have, have_module, sh};
use common::phone::{Phone, have_browser};
use common::{Host, Launch, Scene, disk, number, peer, python, text};

/// An inbox that takes from phones without asking.
fn inbox(scene: &Scene) -> Launch {
    scene.receive().arg("--yes=private")
}

/// Writes `things/NAME` for each and returns their paths.
fn things(scene: &Scene, sizes: &[(&str, usize)]) -> Vec<PathBuf> {
    let write = |(n, (name, bytes)): (usize, &(&str, usize))| scene.thing(name, &disk::noise(n as u64, *bytes));
    sizes.iter().enumerate().map(write).collect()
}

/// That `things` and the inbox hold the same names and contents; the times of a browser's files are its own.
#[track_caller]
fn assert_same_content(scene: &Scene) {
    let (things, inbox) = (scene.path("things"), scene.inbox());
    let (mut ours, mut theirs) = (disk::names(&things), disk::names(&inbox));
    ours.sort();
    theirs.sort();
    assert_eq!(ours, theirs);
    for name in ours.iter().filter(|name| things.join(name).is_file()) {
        assert_eq!(disk::hash(&things.join(name)), disk::hash(&inbox.join(name)), "`{name}`");
    }
}

fn finished(host: &mut Host) -> serde_json::Value {
    host.program.event("finished")
}

#[test]
fn a_phone_scans_and_its_photos_arrive() {
    if !have_browser() {
        return;
    }
    let scene = Scene::new();
    let mut host = inbox(&scene).listening();
    let photos = things(&scene, &[("IMG 1.jpg", 3_000_001), ("empty", 0), ("ünï 写真.png", 70_000), ("one", 1)]);
    let mut phone = Phone::new();
    phone.open(&host.http_link());
    phone.wait(&["ready"]);
    assert_eq!(phone.script("return location.hash"), "", "the secret does not stay in the address");
    phone.choose(&photos);
    phone.wait(&["done"]);
    let peer = host.program.event("peer");
    assert_eq!((text(&peer, "label"), text(&peer["peer"], "dialect")), ("private, not verified", "web"));
    let end = finished(&mut host);
    assert_eq!((number(&end, "files"), number(&end, "bytes")), (4, 3_070_002));
    assert_eq!(text(&end, "label"), "private, not verified");
    assert_same_content(&scene);
    let ended = host.stopped().with(0);
    for stored in ended.named("stored") {
        assert_eq!(disk::hash(&scene.inbox().join(text(&stored, "name"))), text(&stored, "blake3"));
    }
}

#[test]
fn f18_without_subtle_uuid_and_service_workers_the_page_does_the_same() {
    if !have_browser() {
        return;
    }
    let scene = Scene::new();
    let mut host = inbox(&scene).listening();
    let photos = things(&scene, &[("a.bin", 200_000)]);
    let mut phone = Phone::started(&[], json!({ "stripped": true }));
    phone.open(&host.http_link());
    phone.wait(&["ready"]);
    assert_eq!(phone.script("return typeof crypto.subtle"), "undefined");
    phone.choose(&photos);
    phone.wait(&["done"]);
    finished(&mut host);
    assert_same_content(&scene);
}

#[test]
fn a_hundred_files_many_of_one_name_are_all_kept() {
    if !have_browser() {
        return;
    }
    let scene = Scene::new();
    let mut host = inbox(&scene).listening();
    let photos: Vec<PathBuf> =
        (0..100).map(|n| scene.thing(&format!("{n}/image.jpg"), &disk::noise(n, 1_000 + n as usize))).collect();
    let mut phone = Phone::new();
    phone.open(&host.http_link());
    phone.wait(&["ready"]);
    phone.choose(&photos);
    phone.wait(&["done"]);
    assert_eq!(number(&finished(&mut host), "files"), 100);
    let mut sent: Vec<String> = photos.iter().map(|path| disk::hash(path)).collect();
    let mut kept: Vec<String> =
        disk::names(&scene.inbox()).iter().map(|name| disk::hash(&scene.inbox().join(name))).collect();
    sent.sort();
    kept.sort();
    assert_eq!(sent, kept);
}

#[test]
fn two_phones_scan_one_screen_and_both_send() {
    if !have_browser() {
        return;
    }
    let scene = Scene::new();
    let host = inbox(&scene).listening();
    let link = host.http_link();
    let files = things(&scene, &[("first.bin", 500_000), ("second.bin", 400_000)]);
    let mut phones = [Phone::new(), Phone::new()];
    phones.iter_mut().for_each(|phone| phone.open(&link));
    for (phone, file) in phones.iter_mut().zip(&files) {
        phone.wait(&["ready"]);
        phone.choose(std::slice::from_ref(file));
    }
    phones.iter_mut().for_each(|phone| drop(phone.wait(&["done"])));
    assert_eq!(host.stopped().with(0).named("finished").len(), 2);
    assert_same_content(&scene);
}

#[test]
fn photos_are_made_smaller_by_the_page_if_that_is_asked_for() {
    if !have_browser() || !have_module("PIL") || !have_module("numpy") {
        return;
    }
    let scene = Scene::new();
    let photos =
        |args: &[&str]| Command::new(python()).arg(peer("photos.py")).args(args).output().expect("Python runs");
    let album = scene.path("album");
    assert!(photos(&["make", &album.display().to_string()]).status.success());
    let mut host = inbox(&scene).listening();
    let mut phone = Phone::new();
    phone.open(&host.http_link());
    phone.wait(&["ready"]);
    phone.click(".slim");
    phone.choose(&["photo.jpg", "window.png", "text.pdf"].map(|name| album.join(name)));
    phone.wait(&["done"]);
    finished(&mut host);
    for name in ["window.png", "text.pdf"] {
        assert_eq!(disk::hash(&album.join(name)), disk::hash(&scene.inbox().join(name)), "{name} goes as it is");
    }
    let arrived = scene.inbox().join("photo.jpg");
    let seen = String::from_utf8(photos(&["look", &arrived.display().to_string()]).stdout).expect("it prints text");
    let seen: serde_json::Value = serde_json::from_str(&seen).expect("a line of JSON");
    assert_eq!((&seen["size"], &seen["gps"], &seen["traces"]), (&json!([900, 1200]), &json!(0), &json!([])), "upright");
    assert!(number(&seen, "bytes") < disk_bytes(&album.join("photo.jpg")) * 9 / 10);
}

fn disk_bytes(path: &Path) -> u64 {
    std::fs::metadata(path).expect("it is there").len()
}

/// An inbox on the same port each time, slow enough for something to happen in the middle.
fn inbox_on_a_slow_link(scene: &Scene, lan: &Lan) -> Launch {
    sh(&format!(
        "ip netns exec {} tc qdisc replace dev eth0 root tbf rate 160mbit burst 256kb latency 100ms",
        lan.there
    ));
    let receive = Launch::new("receive").arg(scene.inbox()).args(["--json", "--qr", "never", "--port", "5001"]);
    let receive = receive.args(["--interface", "eth0", "--hidden", "--yes=private"]).arg("--invite-file");
    receive.arg(scene.invite()).state(&scene.path("receiver-state")).behind(Lan::on(&lan.here))
}

/// A phone that is in the middle of sending `files`: more than `bytes` of them have come.
fn sending(scene: &Scene, lan: &Lan, files: &[PathBuf], bytes: u64) -> (Host, Phone) {
    let mut host = inbox_on_a_slow_link(scene, lan).listening();
    let mut phone = Phone::started(&Lan::on(&lan.there), json!({}));
    phone.open(&host.http_link());
    phone.wait(&["ready"]);
    phone.choose(files);
    progress_beyond(&mut host, bytes);
    (host, phone)
}

fn progress_beyond(host: &mut Host, bytes: u64) {
    let beyond = |event: &serde_json::Value| event["event"] == "progress" && number(event, "bytes") > bytes;
    host.program.event_where("progress in the middle", beyond);
}

/// The receiver started again on the same port, and its new code scanned.
fn scanned_again(scene: &Scene, lan: &Lan, phone: &mut Phone) -> Host {
    let host = inbox_on_a_slow_link(scene, lan).listening();
    phone.wait(&["gone"]);
    phone.open(&host.http_link());
    phone.wait(&["ready"]);
    host
}

#[test]
fn after_a_reload_the_files_chosen_again_go_on_where_they_were() {
    if !have_browser() || !am_root() || !have(&["ip", "tc"]) {
        return;
    }
    let (scene, lan) = (Scene::new(), Lan::new());
    let files = things(&scene, &[("video.mp4", 60_000_000), ("image.jpg", 900_000)]);
    let (mut host, mut phone) = sending(&scene, &lan, &files, 20_000_000);
    phone.reload();
    phone.wait(&["ready", "paused"]);
    phone.choose_at("#again", &files);
    phone.wait(&["done"]);
    finished(&mut host);
    assert_same_content(&scene);
    let ended = host.stopped().with(0);
    assert_eq!(ended.named("offer").len(), 1, "it is the same transfer\n{ended}");
}

#[test]
fn after_the_death_of_the_receiver_the_files_chosen_again_go_on_where_they_were() {
    if !have_browser() || !am_root() || !have(&["ip", "tc"]) {
        return;
    }
    let (scene, lan) = (Scene::new(), Lan::new());
    let files = things(&scene, &[("image.jpg", 900_000), ("video.mp4", 60_000_000)]);
    let (mut host, mut phone) = sending(&scene, &lan, &files, 30_000_000);
    host.program.kill();
    let mut host = scanned_again(&scene, &lan, &mut phone);
    // As some phones do: another time whenever a file is chosen.
    let file = std::fs::File::open(&files[1]).expect("it is there");
    file.set_modified(disk::moment(7)).expect("a time can be set");
    phone.choose(&files);
    let from = number(&host.program.event("retry"), "from_bytes");
    assert!(from > 20_000_000, "{from} of more than 30,000,000 bytes that had come");
    phone.wait(&["done"]);
    assert_eq!((number(&finished(&mut host), "files")), 2);
    assert_same_content(&scene);
}

#[test]
fn a_file_that_changed_while_the_receiver_was_dead_is_sent_from_its_beginning() {
    if !have_browser() || !am_root() || !have(&["ip", "tc"]) {
        return;
    }
    let (scene, lan) = (Scene::new(), Lan::new());
    let files = things(&scene, &[("video.mp4", 40_000_000)]);
    let modified = || std::fs::metadata(&files[0]).and_then(|about| about.modified()).expect("it is there");
    let before = modified();
    let (mut host, mut phone) = sending(&scene, &lan, &files, 10_000_000);
    host.program.kill();
    let mut content = std::fs::read(&files[0]).expect("it can be read");
    content[5_000_000] ^= 1;
    std::fs::write(&files[0], content).expect("it can be written");
    std::fs::File::open(&files[0]).and_then(|file| file.set_modified(before)).expect("a time can be set");
    let mut host = scanned_again(&scene, &lan, &mut phone);
    phone.choose(&files);
    phone.wait(&["done"]);
    finished(&mut host);
    assert_same_content(&scene);
    let ended = host.stopped().with(0);
    assert_eq!(ended.named("retry").len(), 1, "it was there for a page that knows of it\n{ended}");
}

#[test]
fn a_cut_in_the_middle_is_got_over_without_anybody_doing_anything() {
    if !have_browser() || !am_root() || !have(&["ip", "tc"]) {
        return;
    }
    let (scene, lan) = (Scene::new(), Lan::new());
    let files = things(&scene, &[("video.mp4", 60_000_000)]);
    let (mut host, mut phone) = sending(&scene, &lan, &files, 0);
    for bytes in [15_000_000, 35_000_000] {
        progress_beyond(&mut host, bytes);
        sh(&format!("ip -n {} addr flush dev eth0", lan.there));
        phone.wait(&["paused"]);
        sh(&format!("ip -n {0} addr add {1}/24 dev eth0; ip -n {0} route add default dev eth0", lan.there, Lan::THERE));
    }
    phone.wait(&["done"]);
    finished(&mut host);
    assert_same_content(&scene);
}

#[test]
fn a_wrong_a_spent_and_a_missing_code_are_told_apart() {
    if !have_browser() {
        return;
    }
    let scene = Scene::new();
    let host = inbox(&scene).arg("--once").listening();
    let link = host.http_link();
    let mut phone = Phone::new();
    let (base, _) = link.split_once('#').expect("a link has a secret");
    phone.open(base);
    phone.wait(&["needs-code"]);
    phone.open(&format!("{base}#1{}", "A".repeat(43)));
    phone.wait(&["bad-code"]);
    phone.open(&link);
    phone.wait(&["ready"]);
    phone.choose(&things(&scene, &[("a", 10)]));
    phone.wait(&["done"]);
    assert_eq!(host.program.ended().with(0).named("stored").len(), 1);
    phone.open("about:blank");
}

#[test]
fn a_page_whose_receiver_has_left_says_so() {
    if !have_browser() {
        return;
    }
    let scene = Scene::new();
    let host = inbox(&scene).listening();
    let mut phone = Phone::new();
    phone.open(&host.http_link());
    phone.wait(&["ready"]);
    host.stopped().with(0);
    phone.choose(&things(&scene, &[("a", 10)]));
    phone.wait(&["gone", "paused"]);
}

#[test]
fn a_no_at_the_computer_is_shown_on_the_phone() {
    if !have_browser() {
        return;
    }
    let scene = Scene::new();
    // Without a terminal and without `--yes` every offer is refused.
    let host = scene.receive().listening();
    let mut phone = Phone::new();
    phone.open(&host.http_link());
    phone.wait(&["ready"]);
    phone.choose(&things(&scene, &[("a", 10)]));
    phone.wait(&["refused"]);
    let ended = host.stopped().with(0);
    assert!(text(&ended.one("refused"), "reason").contains("--yes=private"), "{ended}");
    assert!(disk::names(&scene.inbox()).is_empty());
}

#[test]
fn names_meant_for_harm_are_shown_as_text_and_stay_in_the_folder() {
    if !have_browser() {
        return;
    }
    let scene = Scene::new();
    let mut host = inbox(&scene).listening();
    let evil =
        things(&scene, &[("<img src=x onerror=document.title='evil'>", 10), ("..b", 3), ("a\u{202e}gpj.exe", 5)]);
    let mut phone = Phone::new();
    phone.open(&host.http_link());
    phone.wait(&["ready"]);
    phone.choose(&evil);
    phone.wait(&["done"]);
    finished(&mut host);
    assert_ne!(phone.script("return document.title"), "evil");
    assert_eq!(phone.script("return document.querySelectorAll('img').length"), 0);
    assert_eq!(disk::names(&scene.inbox()).len(), 3);
}

#[test]
fn a_text_typed_on_the_phone_is_shown_at_the_computer() {
    if !have_browser() {
        return;
    }
    let scene = Scene::new();
    let mut host = inbox(&scene).listening();
    let mut phone = Phone::new();
    phone.open(&host.http_link());
    phone.wait(&["ready"]);
    phone.order("type", json!({ "css": "#text", "text": "wifi: correct horse <b>&" }));
    phone.click("#send-text");
    phone.wait(&["done"]);
    assert_eq!(text(&host.program.event("text"), "text"), "wifi: correct horse <b>&");
}

/// An outbox that gives `things/` to phones.
fn outbox(scene: &Scene) -> Launch {
    let send = Launch::new("send").arg(scene.path("things")).state(&scene.path("sender-state"));
    let send = send.args(["--json", "--qr", "never", "--port", "0", "--interface", "127.0.0.1", "--hidden"]);
    send.arg("--invite-file").arg(scene.invite())
}

/// A phone that saves what it downloads in `downloads`.
fn downloader(scene: &Scene) -> (Phone, PathBuf) {
    let downloads = scene.path("downloads");
    std::fs::create_dir(&downloads).expect("a folder can be made");
    (Phone::started(&[], json!({ "downloads": downloads })), downloads)
}

#[test]
fn each_file_of_an_outbox_is_downloaded_sealed_and_that_ends_it() {
    if !have_browser() {
        return;
    }
    let scene = Scene::new();
    let files = [("one.bin", 300_000), ("two.bin", 65_536), ("empty.txt", 0), ("sub/ü ß.txt", 70_001)];
    things(&scene, &files);
    let host = outbox(&scene).listening();
    let (mut phone, downloads) = downloader(&scene);
    phone.open(&host.http_link());
    phone.wait(&["outbox"]);
    for n in 0..files.len() {
        phone.script(&format!("document.querySelectorAll('#list li button')[{n}].click()"));
    }
    phone.downloaded(&downloads, &["one.bin", "two.bin", "empty.txt", "ü ß.txt"]);
    let ended = host.program.ended().with(0);
    assert_eq!(ended.named("stored").len(), files.len(), "each was acknowledged\n{ended}");
    assert_eq!(text(&ended.one("finished"), "label"), "private, not verified");
    for (name, _) in files {
        let leaf = name.rsplit('/').next().expect("a name");
        assert_eq!(disk::hash(&downloads.join(leaf)), disk::hash(&scene.path("things").join(name)), "`{name}`");
    }
}

#[test]
fn the_zip_of_an_outbox_holds_the_whole_folder() {
    if !have_browser() || !have(&["python3"]) {
        return;
    }
    let scene = Scene::new();
    disk::motley(&scene.path("things"), 60, 2_000_000);
    let host = outbox(&scene).listening();
    let (mut phone, downloads) = downloader(&scene);
    phone.open(&host.http_link());
    phone.wait(&["outbox"]);
    phone.click("#all");
    phone.downloaded(&downloads, &["qrdrop.zip"]);
    host.program.ended().with(0);
    let unpacked = scene.path("unpacked");
    sh(&format!(
        "cd {} && python3 -c \"import zipfile; z = zipfile.ZipFile('qrdrop.zip'); assert z.testzip() is None; z.extractall('{}')\"",
        downloads.display(),
        unpacked.display(),
    ));
    let same = |root: &std::path::Path| -> Vec<(String, Option<String>)> {
        let names = disk::names(root).into_iter();
        names.map(|name| (name.clone(), root.join(&name).is_file().then(|| disk::hash(&root.join(&name))))).collect()
    };
    assert_eq!(same(&unpacked.join("things")), same(&scene.path("things")));
}

#[test]
fn one_of_three_files_and_done_is_enough() {
    if !have_browser() {
        return;
    }
    let scene = Scene::new();
    things(&scene, &[("a.bin", 1_000), ("b.bin", 2_000), ("c.bin", 3_000)]);
    let mut host = outbox(&scene).listening();
    let (mut phone, downloads) = downloader(&scene);
    phone.open(&host.http_link());
    phone.wait(&["outbox"]);
    phone.script("document.querySelectorAll('#list li button')[0].click()");
    phone.downloaded(&downloads, &["a.bin"]);
    host.program.event("stored");
    phone.click("#done");
    host.program.ended().with(0);
}

#[test]
fn a_text_is_shown_on_the_phone_and_that_ends_it() {
    if !have_browser() {
        return;
    }
    let scene = Scene::new();
    let send = Launch::new("send").args(["--text", "the door is 4711 <b>"]).state(&scene.path("sender-state"));
    let send = send.args(["--json", "--qr", "never", "--port", "0", "--interface", "127.0.0.1", "--hidden"]);
    let host = send.arg("--invite-file").arg(scene.invite()).listening();
    let mut phone = Phone::new();
    phone.open(&host.http_link());
    phone.wait(&["outbox"]);
    assert!(phone.text().contains("the door is 4711 <b>"), "{}", phone.text());
    host.program.ended().with(0);
}

#[test]
fn inside_tls_the_page_does_the_same() {
    if !have_browser() {
        return;
    }
    let scene = Scene::new();
    let mut host = inbox(&scene).arg("--https").listening();
    assert!(host.http_link().starts_with("https://"));
    let mut phone = Phone::started(&[], json!({ "insecure": true }));
    phone.open(&host.http_link());
    phone.wait(&["ready"]);
    phone.choose(&things(&scene, &[("a.bin", 100_000)]));
    phone.wait(&["done"]);
    assert_eq!(text(&finished(&mut host), "label"), "private, not verified");
    assert_same_content(&scene);
}

/// Content as `page_vectors.py` makes it.
fn patterned(seed: usize, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (seed + 7 * at + at / 251) as u8).collect()
}

/// What protocol.md 11.4 makes of `content`, by ring.
fn sealed(key: &[u8], number: u64, content: &[u8]) -> Vec<u8> {
    use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
    let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).expect("a key of 32 bytes"));
    let records: Vec<&[u8]> = if content.is_empty() { vec![&[]] } else { content.chunks(65_536).collect() };
    let mut sealed = Vec::new();
    for (n, record) in records.iter().enumerate() {
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(&(n as u32).to_be_bytes());
        nonce[4..].copy_from_slice(&number.to_be_bytes());
        let mut record = record.to_vec();
        let last = u8::from(n + 1 == records.len());
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from([last]), &mut record)
            .expect("sealed");
        sealed.extend(record);
    }
    sealed
}

#[test]
fn the_pages_cryptography_is_that_of_the_rfcs_and_of_ring() {
    if !have_browser() {
        return;
    }
    let mut trips = String::new();
    for n in 0..40usize {
        let key = disk::noise(n as u64, 32);
        let (number, bytes, seed) = ((n as u64) << (n % 33), n * n * 173 % 200_000, n * 31 % 256);
        let digest = ring::digest::digest(&ring::digest::SHA256, &sealed(&key, number, &patterned(seed, bytes)));
        let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
        let trip = json!({ "key": hex(&key), "number": number, "plain_len": bytes, "seed": seed, "sealed_sha256": hex(digest.as_ref()) });
        trips.push_str(&format!("{trip}\n"));
    }
    let ended = Launch::python("page_vectors.py").stdin(&trips).run();
    assert_eq!(ended.code, Some(0), "{ended}");
}
