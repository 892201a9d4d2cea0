//! Phones in rooms of real processes: a real browser that talks, takes what is offered, and offers.
#![cfg(target_os = "linux")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use common::phone::{Phone, have_browser};
use common::room::{hears, hosting, joined, left};
use common::{Ended, PATIENCE, Scene, disk, number, text};

/// The messages, as (number, name, text).
fn messages(ended: &Ended) -> Vec<(u64, String, String)> {
    let message = |event: &Value| (number(event, "number"), text(event, "from").into(), text(event, "text").into());
    ended.named("message").iter().map(message).collect()
}

/// The texts on a phone's screen, in their order.
fn on_the_phone(phone: &mut Phone) -> Vec<String> {
    let texts = phone.script("return [...document.querySelectorAll('#log .words')].map((one) => one.textContent)");
    texts.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn phone_shows(phone: &mut Phone, wanted: &str) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !phone.text().contains(wanted) {
        assert!(std::time::Instant::now() < deadline, "`{wanted}` is not shown: {}", phone.text());
    }
}

#[test]
fn a_phone_and_three_programs_hear_one_order() {
    if !have_browser() {
        return;
    }
    let scene = Scene::new();
    let mut host = hosting(&scene).listening();
    let [mut ada, mut bob] = ["ada", "bob"].map(|name| joined(&scene, name, &scene.at_invite()));
    let mut phone = Phone::new();
    phone.open(&host.http_link());
    phone.wait(&["ready"]);
    let came = host.program.event_where("phone", |event| event["event"] == "joined" && event["member"] == 3);
    assert_eq!(came["own"], false);
    for round in 0..10 {
        host.program.says(&format!("host {round}"));
        ada.says(&format!("ada {round}"));
        phone.order("type", json!({ "css": "#word", "text": format!("phone {round}\n") }));
        bob.says(&format!("bob {round}"));
    }
    ada.says("<img src=x onerror=document.title=1>\u{202e}");
    for talker in [&mut host.program, &mut ada, &mut bob] {
        hears(talker, "phone 9");
        hears(talker, "<img src=x onerror=document.title=1>\u{202e}");
    }
    phone_shows(&mut phone, "<img src=x");
    let shown = on_the_phone(&mut phone);
    assert_eq!(phone.script("return [document.title, document.querySelectorAll('img').length]"), json!(["qrdrop", 0]));
    // Its own first words may have been heard before others' were said to it; from its coming on it has all.
    bob.hangs_up();
    ada.hangs_up();
    let told = [ada.ended().with(0), bob.ended().with(0), left(host).with(0)].map(|ended| messages(&ended));
    assert!(told.iter().all(|messages| *messages == told[0]));
    let texts: Vec<String> = told[0].iter().map(|(_, _, text)| text.replace('\u{202e}', "\u{fffd}")).collect();
    assert_eq!((texts.len(), shown), (41, texts));
    phone.wait(&["gone", "paused", "connecting"]);
}

#[test]
fn a_page_that_was_loaded_again_is_the_same_member_and_misses_nothing() {
    if !have_browser() {
        return;
    }
    let scene = Scene::new();
    let mut host = hosting(&scene).listening();
    let mut phone = Phone::new();
    phone.open(&host.http_link());
    phone.wait(&["ready"]);
    host.program.says("before");
    phone_shows(&mut phone, "before");
    phone.order("open", json!({ "link": "about:blank" }));
    host.program.says("meanwhile");
    hears(&mut host.program, "meanwhile");
    phone.open(&format!("http://{}/", host.address()));
    phone.wait(&["ready"]);
    phone_shows(&mut phone, "meanwhile");
    phone.order("type", json!({ "css": "#word", "text": "again\n" }));
    assert_eq!(hears(&mut host.program, "again")["member"], 1);
    left(host).with(0);
}

/// Taps the way to what is offered there, and waits until the page has it.
fn take(phone: &mut Phone, at: usize) {
    phone.script(&format!("document.querySelectorAll('#log button')[{at}].click()"));
    let said = format!("return document.querySelectorAll('#log button')[{at}].textContent");
    let deadline = std::time::Instant::now() + PATIENCE;
    while phone.script(&said) != "downloaded and checked" {
        assert!(std::time::Instant::now() < deadline, "it was not taken: {}", phone.text());
    }
}

#[test]
fn a_phone_sends_a_file_to_a_receiver_and_talks_on_the_same_page() {
    if !have_browser() {
        return;
    }
    let scene = Scene::new();
    let photo = scene.thing("photo.jpg", &vec![7; 3_000_000]);
    let mut host = scene.receive().args(["--chat", "--yes=private", "--name", "Host"]).typing().listening();
    let mut phone = Phone::new();
    phone.open(&host.http_link());
    phone.wait(&["ready"]);
    host.program.event_where("phone", |event| event["event"] == "joined" && event["member"] == 1);
    host.program.says("<b>send it here</b>");
    phone_shows(&mut phone, "<b>send it here</b>");
    phone.choose(std::slice::from_ref(&photo));
    phone.order("type", json!({ "css": "#word", "text": "on its way\n" }));
    assert_eq!(hears(&mut host.program, "on its way")["member"], 1);
    phone.wait(&["done"]);
    host.program.event("finished");
    phone.order("type", json!({ "css": "#word", "text": "did it come?\n" }));
    hears(&mut host.program, "did it come?");
    // It hears itself as the others do: a moment later.
    phone_shows(&mut phone, "did it come?");
    assert_eq!(on_the_phone(&mut phone), ["<b>send it here</b>", "on its way", "did it come?"]);
    left(host).with(0);
    assert_eq!(disk::hash(&scene.inbox().join("photo.jpg")), disk::hash(&photo));
}

#[test]
fn a_phone_takes_what_an_outbox_has_and_talks_on_the_same_page() {
    if !have_browser() {
        return;
    }
    let (scene, downloads) = (Scene::new(), tempfile::tempdir().unwrap());
    let file = scene.thing("a.txt", b"for the phone");
    let mut host = scene
        .send(&file)
        .args(["--chat", "--keep", "--qr", "never", "--port", "0", "--interface", "lo", "--hidden", "--invite-file"])
        .arg(scene.invite())
        .typing()
        .listening();
    let mut ada = joined(&scene, "ada", &scene.at_invite());
    let mut phone = Phone::started(&[], json!({ "downloads": downloads.path() }));
    phone.open(&host.http_link());
    phone.wait(&["outbox"]);
    phone.order("type", json!({ "css": "#word", "text": "hello\n" }));
    hears(&mut ada, "hello");
    ada.says("take it");
    phone_shows(&mut phone, "take it");
    phone.click(".row button");
    phone.downloaded(downloads.path(), &["a.txt"]);
    host.program.event("finished");
    ada.hangs_up();
    ada.ended().with(0);
    left(host).with(0);
}

/// The folders for what passes through, in a place that only this test has.
fn stashes(place: &Path) -> Vec<PathBuf> {
    fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_phone_takes_what_members_offer_and_offers_what_they_take_by_way_of_the_host() {
    if !have_browser() {
        return;
    }
    let scene = Scene::new();
    let (photo, folder) = (scene.thing("photo.jpg", &vec![7; 3_000_000]), scene.thing("trip/day/one.txt", b"one"));
    let passing = scene.path("passing");
    fs::create_dir(&passing).unwrap();
    let mut host = hosting(&scene).env("TMPDIR", &passing).listening();
    let [mut ada, mut bob] = ["ada", "bob"].map(|name| joined(&scene, name, &scene.at_invite()));
    let downloads = scene.path("downloads");
    fs::create_dir(&downloads).unwrap();
    let mut phone = Phone::started(&[], json!({ "downloads": downloads }));
    phone.open(&host.http_link());
    phone.wait(&["ready"]);

    ada.says(&format!("/send {}", photo.display()));
    bob.event("shared");
    ada.says(&format!("/send {}", folder.parent().unwrap().parent().unwrap().display()));
    bob.event("shared");
    host.program.says(&format!("/send {}", scene.thing("host.txt", b"of the host").display()));
    bob.event("shared");
    phone_shows(&mut phone, "host.txt");
    (0..3).for_each(|at| take(&mut phone, at));
    phone.downloaded(&downloads, &["photo.jpg", "trip.zip", "host.txt"]);
    assert_eq!(disk::hash(&downloads.join("photo.jpg")), disk::hash(&photo));
    let finished = host.program.event("finished");
    assert_eq!(text(&finished, "label"), "private, not verified");

    let own = scene.thing("own/of phone.bin", &vec![9; 5_000_000]);
    phone.choose(std::slice::from_ref(&own));
    for taker in [&mut ada, &mut host.program] {
        let shared = taker.event_where("the phone's", |event| event["event"] == "shared" && event["relayed"] == true);
        assert_eq!((number(&shared, "member"), text(&shared, "name")), (3, "of phone.bin"));
        taker.says(&format!("/get {}", number(&shared, "offer")));
    }
    ada.event("finished");
    phone_shows(&mut phone, "of phone.bin");
    ada.hangs_up();
    bob.hangs_up();
    ada.ended().with(0);
    bob.ended().with(0);
    assert_eq!(stashes(&passing).len(), 1);
    let host = left(host).with(0);
    assert_eq!(disk::hash(&scene.path("ada").join("of phone.bin")), disk::hash(&own));
    assert_eq!(disk::hash(&scene.path("host").join("of phone.bin")), disk::hash(&own), "{host}");
    assert_eq!(stashes(&passing), Vec::<PathBuf>::new(), "nothing stays on the way");
}
