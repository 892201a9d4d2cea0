//! What a phone's browser finds at the port: the page, sealed uploads, and what hostile ones are answered.

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::json;

use common::around::{connect, have, sh};
use common::sealed::{Phone, ask, raw, read_response, request};
use common::{Host, Scene, disk, number, text};

fn hosting(scene: &Scene) -> Host {
    scene.receive().arg("--yes=private").listening()
}

fn phone(host: &Host) -> Phone {
    Phone::claim(&host.http_link()).expect("the link is good")
}

/// Ended well, with nothing stored but these names.
#[track_caller]
fn assert_holds(scene: &Scene, host: Host, names: &[&str]) {
    let ended = host.stopped();
    assert!(!ended.screen.contains("panicked"), "{ended}");
    assert_ne!(ended.code, Some(1), "{ended}");
    assert_eq!(disk::names(&scene.inbox()), names, "{ended}");
}

fn is_closed(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => rest.is_empty(),
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn a_phone_sends_files_folders_and_a_text() {
    let scene = Scene::new();
    let mut host = hosting(&scene);
    let mut phone = phone(&host);
    let status = phone.call("status", json!({ "device": "Pixel\u{1b}[2J" }));
    assert_eq!((&status["role"], &status["folder"], &status["max"]), (&json!("inbox"), &json!("inbox"), &json!(null)));
    assert_eq!(status["secure"], false);
    let peer = host.program.event("peer");
    assert_eq!((text(&peer, "label"), text(&peer["peer"], "dialect")), ("private, not verified", "web"));
    assert!(!text(&peer["peer"], "name").contains('\u{1b}'));
    let large = disk::noise(1, 1_000_000);
    let entries = json!([
        { "path": "album", "kind": "folder", "modified": 1_500_000_000_000u64 },
        { "path": "album/large.bin", "bytes": large.len(), "kind": "file", "modified": 1_500_000_001_000u64 },
        { "path": "album/empty", "kind": "folder" },
        { "path": "nothing.txt", "bytes": 0 },
        { "kind": "text", "text": "hello from a phone" },
        { "path": "exact.bin", "bytes": 131_072 },
    ]);
    let (transfer, seen) = phone.offer(entries);
    assert_eq!((&seen["state"], &seen["files"], &seen["done_files"]), (&json!("accepted"), &json!(4), &json!(1)));
    assert_eq!(phone.put(&transfer, 1, 0, &large[..300_000]), (200, json!({ "have": 300_000 })));
    let files = phone.call("files", json!({ "transfer": transfer, "first": 0 }));
    let digest = ring::digest::digest(&ring::digest::SHA256, &large[..300_000]);
    assert_eq!((&files["total"], &files["files"][0]["have"]), (&json!(3), &json!(300_000)));
    assert_eq!(files["files"][0]["sha256"], data_encoding::HEXLOWER.encode(digest.as_ref()));
    let (status, answer) = phone.put(&transfer, 1, 300_000, &large[300_000..]);
    assert_eq!((status, &answer["stored"]["name"]), (200, &json!("album/large.bin")));
    let again = phone.put(&transfer, 1, 300_000, &large[300_000..]);
    assert_eq!(again, (200, answer), "an answer that was lost is given again");
    assert_eq!(phone.put(&transfer, 3, 0, b"").0, 200);
    assert_eq!(phone.put(&transfer, 5, 0, &disk::noise(2, 131_072)).0, 200);
    assert_eq!(phone.over(&transfer)["state"], "finished");
    let ended = host.stopped().with(0);
    assert_eq!(text(&ended.one("text"), "text"), "hello from a phone");
    assert_eq!(number(&ended.one("finished"), "files"), 4, "three and the text");
    assert_eq!(ended.one("finished")["label"], "private, not verified");
    for stored in ended.named("stored") {
        assert_eq!(text(&stored, "blake3"), disk::hash(std::path::Path::new(text(&stored, "path"))));
    }
    let tree = disk::tree(&scene.inbox());
    let at = |seconds| std::time::UNIX_EPOCH + Duration::from_secs(seconds);
    assert!(matches!(&tree["album"], disk::Node::Folder { modified } if *modified == at(1_500_000_000)));
    assert!(matches!(&tree["album/large.bin"], disk::Node::File { modified, .. } if *modified == at(1_500_000_001)));
    assert!(tree.contains_key("album/empty") && tree.contains_key("nothing.txt"));
}

#[test]
fn with_once_the_last_stored_reaches_the_phone_and_the_receiver_leaves() {
    let scene = Scene::new();
    let host = scene.receive().args(["--yes=private", "--once"]).listening();
    let mut phone = phone(&host);
    assert_eq!(phone.send("a.txt", b"a"), "a.txt");
    host.left().with(0);
    assert_eq!(disk::names(&scene.inbox()), ["a.txt"]);
}

#[test]
fn without_a_yes_for_this_level_nothing_is_taken() {
    let scene = Scene::new();
    let host = scene.receive().arg("--yes").listening();
    let mut phone = phone(&host);
    let (transfer, seen) = phone.offer(json!([{ "path": "a", "bytes": 1 }]));
    assert_eq!(seen["state"], "refused");
    assert!(seen["reason"].as_str().is_some_and(|reason| reason.contains("--yes=private")), "{seen}");
    assert_eq!(phone.put(&transfer, 0, 0, b"a").0, 409);
    assert_holds(&scene, host, &[]);
}

#[test]
fn a_cut_upload_keeps_what_was_verified_and_goes_on_after_a_reload() {
    let scene = Scene::new();
    let host = hosting(&scene);
    let mut phone = phone(&host);
    let content = disk::noise(7, 700_000);
    let (transfer, _) = phone.offer(json!([{ "path": "film.mp4", "bytes": content.len() }]));
    let (_, whole) = phone.signed("PUT", &format!("/api/data/{transfer}/0/0"), &content);
    let mut stream = connect(host.address());
    stream.write_all(&whole[..whole.len() / 2]).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let answer = read_response(&mut stream).expect("an answer");
    assert_eq!(phone.opened(phone.next - 1, &answer)["error"]["code"], "cut");
    let mut phone = phone.reload().expect("the session is known");
    let under_way = phone.call("status", json!({}))["transfers"].clone();
    assert_eq!(under_way[0]["transfer"], transfer.as_str());
    let seen = phone.call("files", json!({ "transfer": transfer, "first": 0 }));
    let have = seen["files"][0]["have"].as_u64().unwrap() as usize;
    assert!(have > 0 && have < content.len() && have.is_multiple_of(65_536), "{have}");
    let (status, answer) = phone.put(&transfer, 0, 0, &content);
    assert_eq!((status, &answer["error"]["code"], &answer["have"]), (409, &json!("offset"), &json!(have)));
    let (status, answer) = phone.put(&transfer, 0, have, &content[have..]);
    assert_eq!((status, &answer["stored"]["blake3"]), (200, &json!(blake3::hash(&content).to_hex().as_str())));
    assert_holds(&scene, host, &["film.mp4"]);
}

#[test]
fn a_second_request_for_a_file_ends_the_one_that_hangs() {
    let scene = Scene::new();
    let host = hosting(&scene);
    let mut phone = phone(&host);
    let content = disk::noise(8, 1_000_000);
    let (transfer, _) = phone.offer(json!([{ "path": "a", "bytes": content.len() }]));
    let (hung, whole) = phone.signed("PUT", &format!("/api/data/{transfer}/0/0"), &content);
    let mut stream = connect(host.address());
    stream.write_all(&whole[..whole.len() - 1]).unwrap();
    // Three times four records: all that the host can have before the last byte comes.
    let all_but_the_end = 12 * 65_536;
    let deadline = Instant::now() + common::PATIENCE;
    let have = |phone: &mut Phone| {
        phone.call("files", json!({ "transfer": transfer, "first": 0 }))["files"][0]["have"].clone()
    };
    while have(&mut phone) != all_but_the_end {
        assert!(Instant::now() < deadline, "{} of {all_but_the_end}", have(&mut phone));
    }
    let (status, answer) = phone.put(&transfer, 0, all_but_the_end, &content[all_but_the_end..]);
    assert_eq!((status, &answer["stored"]["blake3"]), (200, &json!(blake3::hash(&content).to_hex().as_str())));
    let answer = read_response(&mut stream).expect("the first one hears why");
    assert_eq!(phone.opened(hung, &answer)["error"]["code"], "superseded");
    assert_holds(&scene, host, &["a"]);
}

#[test]
fn altered_reordered_cut_and_replayed_requests_change_nothing() {
    let scene = Scene::new();
    let host = hosting(&scene);
    let mut phone = phone(&host);
    let content = disk::noise(9, 200_000);
    let (transfer, _) = phone.offer(json!([{ "path": "a", "bytes": content.len() }]));
    let target = format!("/api/data/{transfer}/0/0");
    let send = |phone: &mut Phone, change: &dyn Fn(&mut Vec<u8>)| {
        let (number, signature) = (phone.next, phone.signature("PUT", &target, phone.next));
        phone.next += 1;
        let mut body = phone.seal(number, &content);
        change(&mut body);
        let answer = ask(host.address(), "PUT", &target, &signature, &body);
        (answer.status, phone.opened(number, &answer)["error"]["code"].clone())
    };
    let sealed = (400, json!("sealed"));
    assert_eq!(send(&mut phone, &|body| body[10] ^= 1), sealed, "altered");
    assert_eq!(send(&mut phone, &|body| body[..131_104].rotate_left(65_552)), sealed, "reordered");
    assert_eq!(send(&mut phone, &|body| body.truncate(65_552)), sealed, "cut where a record ends");
    assert_eq!(send(&mut phone, &|body| body.truncate(5)), sealed, "cut");
    assert_eq!(send(&mut phone, &|body| body.extend([0; 100_000])).0, 413, "more than declared");
    let (_, whole) = phone.signed("PUT", &target, &content);
    let signature = whole.windows(10).position(|window| window == b"X-Qrdrop: ").unwrap();
    let mut forged = whole.clone();
    let digit = &mut forged[signature + 10 + 32 + 5];
    *digit = if *digit == b'0' { b'1' } else { b'0' };
    assert_eq!(raw(host.address(), &forged).unwrap().status, 403);
    assert_eq!(raw(host.address(), &whole).unwrap().status, 200, "the honest one");
    assert_eq!(raw(host.address(), &whole).unwrap().status, 403, "replayed");
    assert_holds(&scene, host, &["a"]);
}

#[test]
fn an_altered_piece_in_the_middle_leaves_only_what_was_before_it() {
    let scene = Scene::new();
    let host = hosting(&scene);
    let mut phone = phone(&host);
    let content = disk::noise(10, 400_000);
    let (transfer, _) = phone.offer(json!([{ "path": "a", "bytes": content.len() }]));
    let target = format!("/api/data/{transfer}/0/0");
    let mut body = phone.seal(phone.next, &content);
    body[3 * 65_552] ^= 1;
    let answer = ask(host.address(), "PUT", &target, &phone.signature("PUT", &target, phone.next), &body);
    assert_eq!(answer.status, 400);
    phone.next += 1;
    let seen = phone.call("files", json!({ "transfer": transfer, "first": 0 }));
    assert_eq!(seen["files"][0]["have"], 3 * 65_536);
    assert_holds(&scene, host, &[]);
}

#[test]
fn a_cancelled_or_withdrawn_upload_fails_and_leaves_what_was_stored() {
    let scene = Scene::new();
    let mut host = hosting(&scene);
    let mut phone = phone(&host);
    let (first, _) =
        phone.offer(json!([{ "path": "a", "bytes": 1 }, { "path": "b", "bytes": 9 }, { "path": "c", "bytes": 9 }]));
    assert_eq!(phone.put(&first, 0, 0, b"a").0, 200);
    assert_eq!(phone.put(&first, 1, 0, b"half").0, 200);
    phone.call("withdraw", json!({ "transfer": first, "id": 1, "reason": "the photo\u{1b}[2J is gone" }));
    phone.call("withdraw", json!({ "transfer": first, "id": 2 }));
    let seen = phone.over(&first);
    assert_eq!((&seen["state"], &seen["failed_files"], &seen["done_bytes"]), (&json!("failed"), &json!(2), &json!(1)));
    let (second, _) = phone.offer(json!([{ "path": "d", "bytes": 9 }]));
    assert_eq!(phone.put(&second, 0, 0, b"half").0, 200);
    phone.call("cancel", json!({ "transfer": second }));
    assert_eq!(phone.over(&second)["state"], "failed");
    assert_eq!(phone.put(&second, 0, 4, b"12345").0, 409);
    // The page sees that it is over before this end has told it; what it is called here is another name.
    host.program.event_where("the second failure", |event| event["message"] == "cancelled there");
    assert_eq!(disk::names(&scene.inbox()), ["a"]);
    let ended = host.stopped().with(5);
    let failed = ended.named("failed");
    assert_eq!(failed.len(), 2, "{ended}");
    assert!(text(&failed[0], "message").contains("2 of 3") && !text(&failed[0], "message").contains('\u{1b}'));
    assert!(text(&failed[1], "message").contains("cancelled there"));
}

#[test]
fn an_upload_that_is_under_way_when_the_receiver_leaves_is_interrupted_and_removed() {
    let scene = Scene::new();
    let host = hosting(&scene);
    let mut phone = phone(&host);
    let (transfer, _) = phone.offer(json!([{ "path": "a", "bytes": 9 }]));
    assert_eq!(phone.put(&transfer, 0, 0, b"half").0, 200);
    let ended = host.stopped().with(130);
    assert!(ended.named("failed").iter().any(|failed| failed["code"] == 130), "{ended}");
    assert!(disk::names(&scene.inbox()).is_empty(), "{ended}");
}

#[test]
fn a_receiver_that_leaves_just_when_a_file_was_stored_leaves_that_file_and_nothing_else() {
    let scene = Scene::new();
    for n in 0..20 {
        let host = hosting(&scene);
        let mut phone = phone(&host);
        let (one, other) = (format!("{n:02}"), format!("{n:02} other"));
        let (transfer, _) = phone.offer(json!([{ "path": one, "bytes": 5 }, { "path": other, "bytes": 5 }]));
        assert_eq!(phone.put(&transfer, 0, 0, b"12345").0, 200);
        host.stopped().with(130);
        assert_eq!(disk::names(&scene.inbox()).len(), n + 1, "{:?}", disk::names(&scene.inbox()));
    }
}

#[test]
fn a_receiver_that_leaves_just_when_everything_was_stored_has_finished() {
    let scene = Scene::new();
    let host = hosting(&scene);
    let mut phone = phone(&host);
    let (transfer, _) = phone.offer(json!([{ "path": "one", "bytes": 5 }]));
    assert_eq!(phone.put(&transfer, 0, 0, b"12345").0, 200);
    let ended = host.stopped();
    assert_eq!((ended.named("finished").len(), ended.named("failed").len()), (1, 0), "{ended}");
    assert_eq!(disk::names(&scene.inbox()), ["one"]);
}

#[test]
fn two_phones_send_at_once() {
    let scene = Scene::new();
    let host = hosting(&scene);
    let link = host.http_link();
    let (mut one, mut other) = (Phone::claim(&link).unwrap(), Phone::claim(&link).expect("within the grace"));
    let (first, second) = (disk::noise(1, 300_000), disk::noise(2, 300_000));
    let (a, _) = one.offer(json!([{ "path": "photo.jpg", "bytes": first.len() }]));
    let (b, _) = other.offer(json!([{ "path": "photo.jpg", "bytes": second.len() }]));
    for (offset, end) in [(0, 100_000), (100_000, 300_000)] {
        assert_eq!(one.put(&a, 0, offset, &first[offset..end]).0, 200);
        assert_eq!(other.put(&b, 0, offset, &second[offset..end]).0, 200);
    }
    assert_eq!(other.ask("POST", "/api/cancel", json!({ "transfer": a }).to_string().as_bytes()).0, 404);
    assert_eq!(disk::hash(&scene.inbox().join("photo.jpg")), blake3::hash(&first).to_hex().as_str());
    assert_eq!(disk::hash(&scene.inbox().join("photo (1).jpg")), blake3::hash(&second).to_hex().as_str());
    assert_holds(&scene, host, &["photo (1).jpg", "photo.jpg"]);
}

#[test]
fn a_hundred_thousand_entries_are_offered_and_refused_or_taken_quickly() {
    let scene = Scene::new();
    let host = hosting(&scene);
    let mut phone = phone(&host);
    let transfer = "0123456789abcdef0123456789abcdef";
    let started = Instant::now();
    for first in (0..100_000).step_by(10_000) {
        let entries: Vec<_> =
            (first..first + 10_000).map(|n| json!({ "path": format!("d/{n:06}"), "bytes": 0 })).collect();
        let page = json!({ "transfer": transfer, "first": first, "entries": entries, "last": first == 90_000 });
        assert_eq!(phone.call("offer", page.clone())["entries"], first + 10_000);
        assert_eq!(phone.call("offer", page)["entries"], first + 10_000, "repeated after a cut");
    }
    assert_eq!(phone.decided(transfer)["state"], "accepted");
    let seen = phone.call("files", json!({ "transfer": transfer, "first": 99_500 }));
    assert_eq!((seen["files"].as_array().unwrap().len(), &seen["total"]), (500, &json!(100_000)));
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    let more = json!({ "transfer": "00".repeat(16), "first": 0, "entries": vec![json!({ "path": "a" }); 20_000] });
    for first in 0..5 {
        let mut page = more.clone();
        page["first"] = json!(first * 20_000);
        phone.call("offer", page);
    }
    let mut page = more;
    page["first"] = json!(100_000);
    assert_eq!(phone.ask("POST", "/api/offer", page.to_string().as_bytes()).0, 400);
    phone.call("cancel", json!({ "transfer": transfer }));
    assert_holds(&scene, host, &[]);
}

#[test]
fn sizes_that_no_disk_has_are_refused_and_lies_are_cut() {
    let scene = Scene::new();
    let host = hosting(&scene);
    let mut phone = phone(&host);
    for bytes in [10_000_000_000_000u64, (1 << 53) + 1, (1 << 63) - 1, u64::MAX] {
        let (transfer, _) = phone.offer(json!([{ "path": "a", "bytes": bytes }]));
        assert_eq!(phone.over(&transfer)["state"], "failed", "{bytes}");
    }
    for entries in [
        "[{\"path\":\"a\",\"bytes\":-1}]",
        "[{\"path\":\"a\",\"bytes\":1e30}]",
        "[{\"path\":\"a\",\"path\":\"b\"}]",
        "[]",
    ] {
        let request =
            format!("{{\"transfer\":\"{}\",\"first\":0,\"entries\":{entries},\"last\":true}}", "11".repeat(16));
        assert_eq!(phone.ask("POST", "/api/offer", request.as_bytes()).0, 400, "{entries}");
    }
    let (transfer, _) = phone.offer(json!([{ "path": "b", "bytes": 1_024 }]));
    assert_eq!(phone.put(&transfer, 0, 0, &vec![0; 1_025]).0, 413);
    assert_eq!(phone.put(&transfer, 0, 0, &vec![0; 1_024]).0, 200);
    let ended = host.stopped();
    assert_eq!(disk::names(&scene.inbox()), ["b"], "{ended}");
}

#[test]
fn hostile_names_are_refused_or_made_safe() {
    let scene = Scene::new();
    let host = hosting(&scene);
    let mut phone = phone(&host);
    for path in ["../x", "/etc/x", "a/../../x", "C:\\x", "file:///x", ""] {
        let (_, seen) = phone.offer(json!([{ "path": "good", "bytes": 1 }, { "path": path, "bytes": 1 }]));
        assert_eq!(seen["state"], "refused", "{path}");
    }
    assert_eq!(phone.send("<img src=x onerror=alert(1)>.png", b"x"), "_img src=x onerror=alert(1)_.png");
    assert_eq!(phone.send(".bashrc", b"x"), "_.bashrc");
    assert_eq!(phone.send("..%2fx", b"x"), "_..%2fx");
    assert_holds(&scene, host, &["_..%2fx", "_.bashrc", "_img src=x onerror=alert(1)_.png"]);
}

#[test]
fn a_wrong_token_opens_nothing_and_with_once_one_device_has_the_place() {
    let scene = Scene::new();
    let host = scene.receive().args(["--yes=private", "--once"]).listening();
    let link = host.http_link();
    let (before, token) = link.split_once("/#1").unwrap();
    let other = if token.starts_with('A') { "B" } else { "A" };
    let wrong = format!("{before}/#1{other}{}", &token[1..]);
    for _ in 0..3 {
        let refused = Phone::claim(&wrong).err().expect("a wrong token");
        assert_eq!((refused.status, refused.json()), (403, json!({ "error": "code" })));
    }
    let mut phone = phone(&host);
    let mut other = Phone::claim(&link).expect("within the grace");
    let (transfer, seen) = phone.offer(json!([{ "path": "a", "bytes": 1 }]));
    assert_eq!(seen["state"], "accepted");
    let (_, seen) = other.offer(json!([{ "path": "b", "bytes": 1 }]));
    assert_eq!(seen["state"], "refused", "one device");
    assert_eq!(phone.put(&transfer, 0, 0, b"a").0, 200);
    host.left().with(0);
    assert_eq!(disk::names(&scene.inbox()), ["a"]);
}

#[test]
fn a_code_that_a_browser_has_used_is_asked_about_natively_and_drawn_anew() {
    let scene = Scene::new();
    let host = scene.receive().arg("--yes=private").listening();
    let link = host.http_link();
    let mut phone = phone(&host);
    phone.call("status", json!({}));
    let deadline = Instant::now() + common::PATIENCE;
    while host.http_link() == link {
        assert!(Instant::now() < deadline, "the code is drawn anew");
        std::thread::yield_now();
    }
    let source = scene.thing("good.txt", b"good");
    let refused = scene.send(&source).args(["--to", &link]).run();
    refused.with(3);
    scene.send(&source).args(["--to", &host.http_link()]).run().with(0);
    assert_holds(&scene, host, &["good.txt"]);
}

#[test]
fn requests_to_other_names_or_of_other_pages_are_refused() {
    let scene = Scene::new();
    let host = hosting(&scene);
    let to = host.address();
    let get = |hosts: &str| raw(to, format!("GET / HTTP/1.1\r\n{hosts}\r\n").as_bytes()).expect("an answer").status;
    assert_eq!(get(&format!("Host: {to}\r\n")), 200);
    assert_eq!(get("Host: evil.example\r\n"), 421);
    assert_eq!(get("Host: localhost\r\n"), 421);
    assert_eq!(get(&format!("Host: 127.0.0.2:{}\r\n", to.port())), 421);
    assert_eq!(get("Host: 127.0.0.1\r\n"), 421);
    assert_eq!(get("Host:\r\n"), 421);
    assert_eq!(get(""), 400);
    assert_eq!(get(&format!("Host: {to}\r\nHost: {to}\r\n")), 400);
    for (kind, origin) in [
        ("text/plain", "http://evil.example"),
        ("multipart/form-data; boundary=x", "http://evil.example"),
        ("application/x-www-form-urlencoded", "null"),
        ("text/plain", &format!("https://{to}")),
        ("text/plain", "http://127.0.0.1"),
    ] {
        for target in ["/claim", "/api/status", "/api/offer"] {
            let fields = format!("Origin: {origin}\r\nContent-Type: {kind}\r\n");
            let answer = ask(to, "POST", target, &fields, b"{}");
            assert_eq!(answer.status, 403, "{target} of {origin}");
            assert!(!answer.head.contains("access-control"), "{answer:?}");
        }
    }
    let own = format!("Origin: http://{to}\r\n");
    assert_eq!(ask(to, "POST", "/claim", &own, b"{}").status, 400, "its own page gets past that");
    let preflight = "Origin: http://evil.example\r\nAccess-Control-Request-Method: PUT\r\n\
                     Access-Control-Request-Private-Network: true\r\n";
    let answer = ask(to, "OPTIONS", "/api/status", preflight, b"");
    assert!([403, 405].contains(&answer.status) && !answer.head.contains("access-control"), "{answer:?}");
    assert_holds(&scene, host, &[]);
}

#[test]
fn an_unsealed_upload_is_refused_whatever_it_looks_like() {
    let scene = Scene::new();
    let host = hosting(&scene);
    let (to, link) = (host.address(), host.http_link());
    let token = link.split_once("/#1").unwrap().1;
    let data = format!("/api/data/{}/0/0", "00".repeat(16));
    let fields = |more: &str| format!("Content-Type: text/plain\r\n{more}");
    for more in ["", "X-Qrdrop: 1\r\n", &format!("X-Qrdrop: {}.0.{}\r\n", "00".repeat(16), "00".repeat(32))] {
        assert_eq!(ask(to, "PUT", &data, &fields(more), b"plain").status, 403);
        assert_eq!(ask(to, "POST", "/api/offer", &fields(more), token.as_bytes()).status, 403);
    }
    let body = b"--x\r\nContent-Disposition: form-data; name=\"f\"; filename*=UTF-8''..%2fx\r\n\r\nx\r\n--x--\r\n";
    let answer = ask(to, "POST", "/", "Content-Type: multipart/form-data; boundary=x\r\n", body);
    assert_eq!(answer.status, 405);
    let body = b"notes<SEPARATOR>9";
    assert_eq!(ask(to, "POST", "/x", "", body).status, 404, "what began as HTTP is never read as classic");
    assert_eq!(ask(to, "PUT", &format!("/put/{}/x", "a".repeat(26)), "", body).status, 404);
    assert_holds(&scene, host, &[]);
}

#[test]
fn the_page_comes_with_a_strict_policy_and_without_the_token() {
    let scene = Scene::new();
    let host = hosting(&scene);
    let (to, link) = (host.address(), host.http_link());
    let token = link.split_once("/#1").unwrap().1;
    let page = ask(to, "GET", "/", "", b"");
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let policy = page.header("content-security-policy").expect("a policy").to_owned();
    assert!(policy.contains("default-src 'none'") && policy.contains("'sha256-"), "{policy}");
    assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
    assert!(!String::from_utf8_lossy(&page.body).contains(token));
    let others = [
        ask(to, "GET", "/favicon.ico", "", b""),
        ask(to, "POST", "/claim", "", b"{}"),
        ask(to, "GET", "/api/status", "", b""),
        ask(to, "GET", &format!("/?t={token}"), "", b""),
    ];
    assert_eq!(others.iter().map(|answer| answer.status).collect::<Vec<_>>(), [404, 400, 405, 404]);
    for answer in others.iter().chain([&page]) {
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{answer:?}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{answer:?}");
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"), "{answer:?}");
        assert!(answer.header("content-security-policy").is_some_and(|csp| csp.contains("frame-ancestors 'none'")));
        assert!(answer.header("location").is_none() && answer.header("set-cookie").is_none(), "{answer:?}");
    }
    let mut head = String::new();
    let mut stream = connect(to);
    stream.write_all(&request(to, "HEAD", "/", "Connection: close\r\n", b"")).unwrap();
    stream.read_to_string(&mut head).unwrap();
    assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
    let ended = host.stopped();
    assert!(!ended.output().contains(token), "the token is said nowhere");
}

#[test]
fn a_method_that_a_path_does_not_have_is_405() {
    let scene = Scene::new();
    let host = hosting(&scene);
    let to = host.address();
    for method in ["TRACE", "OPTIONS", "DELETE", "PATCH", "PROPFIND"] {
        assert_eq!(ask(to, method, "/", "", b"").status, 405, "{method}");
    }
    for (method, target) in
        [("POST", "/"), ("GET", "/claim"), ("PUT", "/open"), ("PUT", "/api/status"), ("HEAD", "/claim")]
    {
        let mut stream = connect(to);
        stream.write_all(&request(to, method, target, "", b"")).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 405 "), "{method} {target}: {answer}");
        assert!(answer.to_lowercase().contains("\nallow: "), "{answer}");
    }
    let connect = raw(to, format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n").as_bytes());
    assert_eq!(connect.expect("an answer").status, 405);
    for target in [
        "/index.html",
        "/api",
        "/api/nothing",
        "/api/status/",
        "//",
        "/api/data/x/1",
        "/put/x",
        "/../etc/passwd",
        "/%2e%2e",
    ] {
        assert_eq!(ask(to, "GET", target, "", b"").status, 404, "{target}");
    }
    assert_holds(&scene, host, &[]);
}

#[test]
fn heads_that_two_parsers_could_read_differently_are_400_and_closed() {
    let scene = Scene::new();
    let host = hosting(&scene);
    let to = host.address();
    let head = |fields: &str| format!("POST /claim HTTP/1.1\r\nHost: {to}\r\n{fields}\r\n{{}}");
    let many = "X: y\r\n".repeat(10_000);
    let huge = format!("X: {}\r\n", "y".repeat(1024 * 1024));
    for fields in [
        "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Content-Length: 2\r\nContent-Length: 2\r\n",
        "Content-Length: 2\r\nContent-Length: 3\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 20000000000000000000\r\n",
        "Content-Length: 2\r\nX: a\r\n b\r\n",
        "Content-Length: 2\nX: a\r\n",
        &many,
        &huge,
    ] {
        let mut stream = connect(to);
        let _ = stream.write_all(head(fields).as_bytes());
        let answer = read_response(&mut stream).unwrap_or_else(|| panic!("no answer to {:.60}", fields));
        assert_eq!(answer.status, 400, "{fields:.60}");
        assert!(is_closed(&mut stream), "{fields:.60}");
    }
    let smuggled = format!("GET / HTTP/1.1\r\nHost: {to}\r\n\r\nGET / HTTP/1.1\nHost: {to}\n\n");
    let mut stream = connect(to);
    stream.write_all(smuggled.as_bytes()).unwrap();
    let answers: Vec<u16> = std::iter::from_fn(|| read_response(&mut stream)).map(|answer| answer.status).collect();
    assert_eq!(answers, [200, 400], "the good one is answered first");
    assert_eq!(raw(to, head("").as_bytes()).unwrap().status, 411);
    assert_eq!(ask(to, "POST", "/claim", "", &[b' '; 1_025]).status, 413);
    assert_holds(&scene, host, &[]);
}

#[test]
fn dripping_heads_are_closed_in_time_while_a_phone_is_served() {
    let scene = Scene::new();
    let host = hosting(&scene);
    let started = Instant::now();
    let drip = |mut stream: TcpStream| {
        std::thread::spawn(move || {
            let head =
                b"POST /claim HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\nX: ".iter().chain([&b'y'; 100]);
            stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
            for byte in head {
                if stream.write_all(&[*byte]).is_err() {
                    break;
                }
                match stream.read(&mut [0]) {
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                    _ => break,
                }
            }
            started.elapsed()
        })
    };
    let slow: Vec<_> = (0..20).map(|_| drip(connect(host.address()))).collect();
    assert_eq!(phone(&host).send("a", b"a"), "a");
    assert!(started.elapsed() < Duration::from_secs(5), "a phone waits {:?}", started.elapsed());
    for slow in slow {
        let closed = slow.join().unwrap();
        assert!(closed < Duration::from_secs(17), "closed after {closed:?}");
    }
    assert_holds(&scene, host, &["a"]);
}

#[test]
fn of_two_tabs_the_last_one_works() {
    let scene = Scene::new();
    let host = hosting(&scene);
    let mut first = phone(&host);
    first.call("status", json!({}));
    let mut second = first.reload().unwrap();
    second.call("status", json!({}));
    let (status, answer) = first.ask("POST", "/api/status", b"{}");
    assert_eq!((status, answer), (409, json!({ "error": "view" })));
    assert_eq!(second.send("a", b"a"), "a");
    assert_holds(&scene, host, &["a"]);
}

#[test]
fn inside_tls_the_page_is_the_same_and_a_link_in_the_clear_leads_nowhere_else() {
    if !have(&["openssl"]) {
        return;
    }
    let scene = Scene::new();
    let host = hosting(&scene);
    let to = host.address();
    let get = format!("GET / HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n");
    let answer = tls(&to, &get);
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer:.200}");
    let foreign = tls(&to, &format!("GET / HTTP/1.1\r\nHost: {to}\r\nOrigin: http://{to}\r\n\r\n"));
    assert!(foreign.starts_with("HTTP/1.1 403"), "the page in the clear is another origin: {foreign:.200}");
    assert_holds(&scene, host, &[]);
}

/// What is answered to `request` inside TLS with the browser's ALPN.
fn tls(to: &SocketAddr, request: &str) -> String {
    use std::process::{Command, Stdio};
    let mut openssl = Command::new("openssl")
        .args(["s_client", "-quiet", "-alpn", "http/1.1", "-connect", &to.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl runs");
    let mut stdin = openssl.stdin.take().expect("piped");
    stdin.write_all(request.as_bytes()).expect("openssl reads");
    let mut answer = Vec::new();
    openssl.stdout.take().expect("piped").read_to_end(&mut answer).expect("openssl writes");
    drop(stdin);
    let _ = openssl.wait();
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn f20_the_certificate_is_p_256_names_the_address_and_lasts_at_most_397_days() {
    if !have(&["openssl"]) {
        return;
    }
    let scene = Scene::new();
    let host = scene.receive().args(["--https", "--yes=private"]).listening();
    let shown = sh(&format!(
        "openssl s_client -connect {} -alpn http/1.1 </dev/null 2>/dev/null | openssl x509 -noout -text",
        host.address()
    ));
    assert!(shown.contains("prime256v1") && shown.contains("IP Address:127.0.0.1"), "{shown}");
    let days = sh(&format!(
        "openssl s_client -connect {} -alpn http/1.1 </dev/null 2>/dev/null | openssl x509 -noout -checkend $((397*86400)) || true",
        host.address()
    ));
    assert!(days.contains("will expire"), "{days}");
}
