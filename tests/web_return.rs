//! Pages that come back to a transfer whose receiver has died, or whose tab is gone.

mod common;

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use serde_json::{Value, json};

use common::around::connect;
use common::sealed::Phone;
use common::{Ended, Host, Scene, disk, number, text};

const MIB: usize = 1024 * 1024;

fn hosting(scene: &Scene) -> Host {
    scene.receive().arg("--yes=private").listening()
}

fn phone(host: &Host) -> Phone {
    Phone::claim(&host.http_link()).expect("the link is good")
}

/// What a page knows its transfers by.
fn resume(of: u8) -> Value {
    json!(data_encoding::HEXLOWER.encode(&[of; 32]))
}

fn film(bytes: usize) -> Value {
    json!([{ "path": "film.mp4", "bytes": bytes, "modified": 1_700_000_000_000_u64 }])
}

/// The files as the host says they are.
fn files(phone: &mut Phone, transfer: &str) -> Vec<Value> {
    phone.call("files", json!({ "transfer": transfer, "first": 0 }))["files"].as_array().expect("a list").clone()
}

fn sha256(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref())
}

/// Partial files, of every transfer.
fn partials(scene: &Scene) -> Vec<PathBuf> {
    let areas = fs::read_dir(scene.inbox().join(".qrdrop-partial")).into_iter().flatten();
    let files = areas.flat_map(|area| fs::read_dir(area.unwrap().path()).unwrap()).map(|file| file.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "part")).collect()
}

/// A receiver that was killed when `sent` bytes of `content` had come, which a page offered as `resume(1)`.
fn killed(scene: &Scene, content: &[u8], sent: usize) {
    let mut host = hosting(scene);
    let mut phone = phone(&host);
    let (transfer, seen) = phone.offer_as(film(content.len()), resume(1));
    assert_eq!((&seen["state"], &seen["resumed"]), (&json!("accepted"), &json!(0)));
    assert_eq!(phone.put(&transfer, 0, 0, &content[..sent]).1["have"], sent);
    host.program.kill();
}

/// Finished, if anything is there, and ended well, with nothing but these names and nothing left over.
#[track_caller]
fn assert_holds(scene: &Scene, mut host: Host, names: &[&str]) -> Ended {
    if !names.is_empty() {
        host.program.event("finished");
    }
    let ended = host.stopped().with(0);
    assert_eq!(disk::names(&scene.inbox()), names, "{ended}");
    ended
}

#[test]
fn after_kill_9_of_the_receiver_a_page_goes_on_with_what_was_whole() {
    let scene = Scene::new();
    let content = disk::noise(1, 5 * MIB + 77);
    killed(&scene, &content, 3 * MIB + MIB / 2);
    let mut host = hosting(&scene);
    let mut phone = phone(&host);
    // As some phones do: another time whenever the same file is chosen.
    let mut film = film(content.len());
    film[0]["modified"] = json!(1_750_000_000_000_u64);
    let (transfer, seen) = phone.offer_as(film, resume(1));
    assert_eq!((&seen["state"], &seen["resumed"]), (&json!("accepted"), &json!(3 * MIB)));
    let file = files(&mut phone, &transfer).remove(0);
    assert_eq!((&file["have"], &file["sha256"]), (&json!(3 * MIB), &json!(sha256(&content[..3 * MIB]))));
    let (status, answer) = phone.put(&transfer, 0, 3 * MIB, &content[3 * MIB..]);
    assert_eq!((status, &answer["stored"]["blake3"]), (200, &json!(blake3::hash(&content).to_hex().as_str())));
    let retry = host.program.event("retry");
    assert_eq!((number(&retry, "from_bytes"), text(&retry, "reason")), (3 * MIB as u64, "the page has come back"));
    assert_holds(&scene, host, &["film.mp4"]);
    let stored = scene.inbox().join("film.mp4");
    assert_eq!(disk::hash(&stored), blake3::hash(&content).to_hex().as_str());
    let modified = fs::metadata(&stored).and_then(|about| about.modified()).unwrap();
    assert_eq!(modified.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs(), 1_750_000_000);
}

#[test]
fn wherever_in_a_request_the_receiver_dies_the_page_goes_on_with_whole_chunks_and_the_file_is_exact() {
    let content = disk::noise(1, 4 * MIB + 1);
    for sent in [200, MIB, MIB + 5_000, 2 * MIB + 77, 4 * MIB, 4 * MIB + 1_100] {
        let scene = Scene::new();
        let mut host = hosting(&scene);
        let mut phone = self::phone(&host);
        let (transfer, _) = phone.offer_as(film(content.len()), resume(1));
        let (_, request) = phone.signed("PUT", &format!("/api/data/{transfer}/0/0"), &content);
        let mut stream = connect(host.address());
        stream.write_all(&request[..sent]).unwrap();
        host.program.kill();
        let host = hosting(&scene);
        let mut phone = self::phone(&host);
        let (transfer, seen) = phone.offer_as(film(content.len()), resume(1));
        let have = seen["resumed"].as_u64().unwrap() as usize;
        assert!(have <= sent && have.is_multiple_of(MIB), "{have} of {sent}");
        assert_eq!(files(&mut phone, &transfer)[0]["sha256"], sha256(&content[..have]));
        let (status, answer) = phone.put(&transfer, 0, have, &content[have..]);
        assert_eq!((status, &answer["stored"]["blake3"]), (200, &json!(blake3::hash(&content).to_hex().as_str())));
        assert_holds(&scene, host, &["film.mp4"]);
    }
}

#[test]
fn a_receiver_says_that_something_of_a_page_waits_and_keeps_it_when_it_is_ended_by_its_person() {
    let scene = Scene::new();
    let host = hosting(&scene);
    let mut phone = phone(&host);
    phone.call("status", json!({ "device": "Jo's phone" }));
    let (transfer, _) = phone.offer_as(film(4 * MIB), resume(1));
    phone.put(&transfer, 0, 0, &disk::noise(1, 2 * MIB));
    let ended = host.stopped().with(130);
    assert!(text(&ended.one("failed"), "hint").contains("kept for 7 days: scan the code of the next"), "{ended}");
    let ended = hosting(&scene).stopped().with(0);
    assert!(ended.screen.contains("Jo's phone"), "{ended}");
}

#[test]
fn whoever_does_not_know_the_secret_of_a_page_neither_sees_nor_touches_what_is_there_of_it() {
    let scene = Scene::new();
    let content = disk::noise(1, 4 * MIB);
    killed(&scene, &content, 3 * MIB);
    let host = hosting(&scene);
    for secret in [Value::Null, resume(2), json!("00".repeat(32))] {
        let mut other = phone(&host);
        let (transfer, seen) = other.offer_as(film(content.len()), secret);
        assert_eq!(seen["resumed"], 0);
        let file = files(&mut other, &transfer).remove(0);
        assert_eq!((&file["have"], &file["sha256"]), (&json!(0), &json!(sha256(b""))));
        other.call("cancel", json!({ "transfer": transfer }));
    }
    let (_, seen) = phone(&host).offer_as(film(content.len()), resume(1));
    assert_eq!(seen["resumed"], 3 * MIB, "it is all there for its own page");
}

#[test]
fn what_is_not_64_hexadecimal_digits_is_no_secret_of_a_page() {
    let scene = Scene::new();
    let host = hosting(&scene);
    for odd in ["", "00", &"0".repeat(63), &"0".repeat(66), &"g".repeat(64), &"A".repeat(64)] {
        let request =
            json!({ "transfer": "0".repeat(32), "first": 0, "entries": film(1), "last": true, "resume": odd });
        let (status, answer) = phone(&host).ask("POST", "/api/offer", request.to_string().as_bytes());
        assert_eq!((status, &answer["error"]["code"]), (400, &json!("request")), "{odd}: {answer}");
    }
    assert_holds(&scene, host, &[]);
}

#[test]
fn of_a_partial_file_that_was_damaged_only_what_is_before_the_damage_is_gone_on_with() {
    for (damage, have) in [(0, 0), (MIB + 5, MIB), (3 * MIB - 1, 2 * MIB)] {
        let scene = Scene::new();
        let content = disk::noise(1, 4 * MIB);
        killed(&scene, &content, 3 * MIB);
        let partial = partials(&scene).remove(0);
        let mut bytes = fs::read(&partial).unwrap();
        bytes[damage] ^= 1;
        fs::write(&partial, bytes).unwrap();
        let host = hosting(&scene);
        let mut phone = phone(&host);
        let (transfer, seen) = phone.offer_as(film(content.len()), resume(1));
        assert_eq!(seen["resumed"], have, "damaged at {damage}");
        let (status, answer) = phone.put(&transfer, 0, have, &content[have..]);
        assert_eq!((status, &answer["stored"]["blake3"]), (200, &json!(blake3::hash(&content).to_hex().as_str())));
        assert_holds(&scene, host, &["film.mp4"]);
    }
}

#[test]
fn a_page_whose_file_has_changed_begins_anew_and_nothing_is_mixed() {
    let scene = Scene::new();
    killed(&scene, &disk::noise(1, 4 * MIB), 3 * MIB);
    let host = hosting(&scene);
    let mut phone = phone(&host);
    let changed = disk::noise(2, 4 * MIB);
    let (transfer, _) = phone.offer_as(film(changed.len()), resume(1));
    phone.call("anew", json!({ "transfer": transfer, "id": 0 }));
    assert_eq!(files(&mut phone, &transfer)[0]["have"], 0);
    assert_eq!(partials(&scene).len(), 0, "what was there is gone");
    assert_eq!(phone.put(&transfer, 0, 3 * MIB, &changed[3 * MIB..]).0, 409);
    let (status, answer) = phone.put(&transfer, 0, 0, &changed);
    assert_eq!((status, &answer["stored"]["blake3"]), (200, &json!(blake3::hash(&changed).to_hex().as_str())));
    assert_holds(&scene, host, &["film.mp4"]);
}

/// Two photos and a film, of which the photos were stored when the receiver was killed.
fn half_done(scene: &Scene) -> (Value, [Vec<u8>; 3]) {
    let contents = [disk::noise(1, 70_000), disk::noise(2, 2 * MIB + 1), disk::noise(3, 3 * MIB)];
    let entry = |(n, content): (usize, &Vec<u8>)| json!({ "path": format!("{n}.jpg"), "bytes": content.len() });
    let entries: Value = contents.iter().enumerate().map(entry).collect();
    let mut host = hosting(scene);
    let mut phone = phone(&host);
    let (transfer, _) = phone.offer_as(entries.clone(), resume(1));
    for (id, content) in contents[..2].iter().enumerate() {
        assert_eq!(phone.put(&transfer, id, 0, content).1["have"], content.len());
    }
    phone.put(&transfer, 2, 0, &contents[2][..MIB]);
    host.program.kill();
    (entries, contents)
}

#[test]
fn what_was_stored_before_the_receiver_died_is_told_again_and_not_sent_again() {
    let scene = Scene::new();
    let (entries, contents) = half_done(&scene);
    let host = hosting(&scene);
    let mut phone = phone(&host);
    let (transfer, seen) = phone.offer_as(entries, resume(1));
    assert_eq!(seen["resumed"], contents[0].len() + contents[1].len() + MIB);
    let there = files(&mut phone, &transfer);
    for (file, content) in there.iter().zip(&contents[..2]) {
        assert_eq!((&file["state"], &file["have"]), (&json!("waiting"), &json!(content.len())));
        assert_eq!(file["sha256"], sha256(content));
    }
    let (status, answer) = phone.put(&transfer, 0, 0, &contents[0]);
    assert_eq!((status, &answer["error"]["code"], &answer["have"]), (409, &json!("offset"), &json!(contents[0].len())));
    for (id, content) in contents.iter().enumerate() {
        let have = if id < 2 { content.len() } else { MIB };
        let (status, answer) = phone.put(&transfer, id, have, &content[have..]);
        assert_eq!((status, &answer["stored"]["blake3"]), (200, &json!(blake3::hash(content).to_hex().as_str())));
    }
    let ended = assert_holds(&scene, host, &["0.jpg", "1.jpg", "2.jpg"]);
    assert_eq!(number(&ended.one("finished"), "files"), 3);
    assert_eq!(ended.named("stored").len(), 3, "by the process that can say so");
}

#[test]
fn what_was_stored_and_is_not_there_as_it_was_is_sent_again_under_a_name_that_is_free() {
    let scene = Scene::new();
    let (entries, contents) = half_done(&scene);
    fs::write(scene.inbox().join("0.jpg"), disk::noise(9, 70_000)).unwrap();
    fs::remove_file(scene.inbox().join("1.jpg")).unwrap();
    let host = hosting(&scene);
    let mut phone = phone(&host);
    let (transfer, seen) = phone.offer_as(entries, resume(1));
    assert_eq!(seen["resumed"], MIB);
    for (id, content) in contents.iter().enumerate() {
        let have = if id < 2 { 0 } else { MIB };
        assert_eq!(phone.put(&transfer, id, have, &content[have..]).0, 200);
    }
    assert_holds(&scene, host, &["0 (1).jpg", "0.jpg", "1.jpg", "2.jpg"]);
    assert_eq!(fs::read(scene.inbox().join("0.jpg")).unwrap(), disk::noise(9, 70_000), "never overwritten");
}

#[test]
fn a_page_that_comes_again_ends_the_upload_of_a_tab_that_is_gone_and_goes_on_with_it() {
    let scene = Scene::new();
    let host = hosting(&scene);
    let content = disk::noise(1, 3 * MIB);
    let mut first = phone(&host);
    let (before, _) = first.offer_as(film(content.len()), resume(1));
    first.put(&before, 0, 0, &content[..2 * MIB]);
    let mut second = phone(&host);
    let (transfer, seen) = second.offer_as(film(content.len()), resume(1));
    assert_eq!(seen["resumed"], 2 * MIB);
    assert_eq!(first.over(&before)["reason"], "the same files were offered again");
    assert_eq!(first.put(&before, 0, 2 * MIB, &content[2 * MIB..]).0, 409);
    assert_eq!(second.put(&transfer, 0, 2 * MIB, &content[2 * MIB..]).0, 200);
    second.over(&transfer);
    assert_eq!(disk::names(&scene.inbox()), ["film.mp4"]);
    assert_eq!(disk::hash(&scene.inbox().join("film.mp4")), blake3::hash(&content).to_hex().as_str());
    host.stopped();
}

#[test]
fn what_a_page_has_cancelled_is_gone() {
    let scene = Scene::new();
    let host = hosting(&scene);
    let mut phone = phone(&host);
    let (transfer, _) = phone.offer_as(film(3 * MIB), resume(1));
    phone.put(&transfer, 0, 0, &disk::noise(1, 2 * MIB));
    phone.call("cancel", json!({ "transfer": transfer }));
    let (again, seen) = phone.offer_as(film(3 * MIB), resume(1));
    assert_eq!(seen["resumed"], 0);
    phone.call("cancel", json!({ "transfer": again }));
    phone.over(&again);
    host.stopped();
    assert_eq!(disk::names(&scene.inbox()), [] as [&str; 0]);
}

#[test]
fn a_transfer_of_at_most_a_mebibyte_is_not_kept() {
    let scene = Scene::new();
    let mut host = hosting(&scene);
    let mut phone = phone(&host);
    let (transfer, _) = phone.offer_as(film(MIB), resume(1));
    phone.put(&transfer, 0, 0, &disk::noise(1, MIB / 2));
    host.program.kill();
    assert_holds(&scene, hosting(&scene), &[]);
}
