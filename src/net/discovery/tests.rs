use mdns_sd::{ResolvedService, ScopedIp};
use tokio::time::Instant;

use super::super::addresses::{Candidate, Reason, candidates};
use super::advert::{service, unescape};
use super::browser::{Known, SERVICES_MAX, read};
use super::*;

fn candidate(ip: &str, interface: &str, reason: Reason) -> Candidate {
    Candidate { ip: ip.parse().unwrap(), interface: interface.to_owned(), reason }
}

fn info(name: &str) -> AdvertInfo {
    AdvertInfo {
        name: name.to_owned(),
        id: "k7wq-93fd".to_owned(),
        port: 5001,
        candidates: vec![candidate("192.168.1.5", "eth0", Reason::DefaultRoute)],
        classic: true,
        kind: Kind::Inbox,
        room: true,
    }
}

/// The record as another device gets it.
fn on_the_wire(info: &AdvertInfo) -> ResolvedService {
    let mut record = service(info, instance_of(&info.name)).unwrap().as_resolved_service();
    record.fullname = unescape(&record.fullname);
    record
}

fn found(name: &str, addresses: &[&str]) -> Found {
    Found {
        name: name.to_owned(),
        instance: name.to_owned(),
        id: String::new(),
        addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
        classic: false,
        kind: Kind::Inbox,
        room: false,
        version: 1,
        fullname: format!("{name}.{SERVICE_TYPE}"),
    }
}

#[test]
fn what_is_advertised_is_read_back() {
    let read = read(&on_the_wire(&info("Ann's . Laptop \\ ü"))).unwrap();
    assert_eq!(read.name, "Ann's . Laptop \\ ü");
    assert_eq!(read.instance, read.name);
    assert_eq!((read.id.as_str(), read.classic, read.kind, read.version), ("k7wq-93fd", true, Kind::Inbox, 1));
    assert!(read.serves(Kind::Inbox) && read.serves(Kind::Room) && !read.serves(Kind::Outbox));
    assert_eq!(read.addresses, ["192.168.1.5:5001".parse().unwrap()]);
}

#[test]
fn nothing_but_the_shown_name_tells_who_hosts() {
    let service = service(&info("Laptop"), "Laptop").unwrap();
    assert_eq!(service.get_hostname(), "qrdrop-k7wq-93fd.local.");
    let keys: Vec<&str> = service.get_properties().iter().map(|p| p.key()).collect();
    assert_eq!(keys, ["v", "id", "n", "c", "k", "r"]);
}

#[test]
fn a_long_name_is_cut_to_what_can_be_found() {
    let long = "ü".repeat(300);
    let read = read(&on_the_wire(&info(&long))).unwrap();
    assert_eq!(read.instance, "ü".repeat(29));
    assert_eq!(read.name, "ü".repeat(100));
}

#[test]
fn a_name_that_was_taken_is_shown_with_its_number_and_no_other_is() {
    let shown = |name: &str, instance: &str| {
        let mut record = on_the_wire(&info(name));
        record.fullname = format!("{instance}.{SERVICE_TYPE}");
        read(&record).unwrap().name
    };
    assert_eq!(shown("Laptop", "Laptop (2)"), "Laptop (2)");
    assert_eq!(shown("Laptop (2)", "Laptop (2)"), "Laptop (2)");
    assert_eq!(shown("Laptop (2)", "Laptop (2) (12)"), "Laptop (2) (12)");
    assert_eq!(shown("Laptop", "Laptop (of Ann)"), "Laptop");
    assert_eq!(shown("Laptop", "Desk (2)"), "Laptop");
    let long = "x".repeat(60);
    assert_eq!(shown(&long, &format!("{} (2)", "x".repeat(58))), format!("{long} (2)"));
}

#[test]
fn bridges_and_tunnels_are_advertised_only_where_there_is_nothing_else() {
    let mut info = info("x");
    info.candidates.push(candidate("172.17.0.1", "docker0", Reason::Bridge));
    let addresses = |info: &AdvertInfo| service(info, instance_of(&info.name)).unwrap().get_addresses().len();
    assert_eq!(addresses(&info), 1);
    info.candidates.remove(0);
    assert_eq!(addresses(&info), 1);
    info.candidates.clear();
    assert!(matches!(service(&info, "Laptop"), Err(NetError::NoInterface)));
}

#[test]
fn a_strangers_record_is_inert_and_bounded() {
    let mut stranger = on_the_wire(&info("\u{1b}[2Jevil"));
    let shown = read(&stranger).unwrap();
    assert!(!shown.name.contains('\u{1b}') && !shown.instance.contains('\u{1b}'));
    stranger.addresses = (0..1_000_u32).map(|n| ScopedIp::from(std::net::IpAddr::from(n.to_be_bytes()))).collect();
    assert_eq!(read(&stranger).unwrap().addresses.len(), 16);
    stranger.addresses.clear();
    assert!(read(&stranger).is_none());
}

#[test]
fn a_record_without_a_port_or_of_another_service_is_ignored() {
    let good = on_the_wire(&info("x"));
    let mut other = good.clone();
    other.port = 0;
    assert!(read(&other).is_none());
    for name in ["", "x", "ü", "x._http._tcp.local.", "_qrdrop._tcp.local."] {
        let mut other = good.clone();
        name.clone_into(&mut other.fullname);
        assert!(read(&other).is_none(), "{name}");
    }
}

#[test]
fn addresses_are_ordered_ipv4_first_and_zoned_last() {
    let mut service = on_the_wire(&info("x"));
    service.addresses = ["fe80::1", "fd00::1", "10.0.0.1", "::", "224.0.0.251"]
        .iter()
        .map(|ip| ScopedIp::from(ip.parse::<std::net::IpAddr>().unwrap()))
        .collect();
    let ips: Vec<String> = read(&service).unwrap().addresses.iter().map(|a| a.ip().to_string()).collect();
    assert_eq!(ips, ["10.0.0.1", "fd00::1", "fe80::1"]);
}

#[test]
fn our_own_name_is_unescaped_and_those_of_others_are_taken_as_they_are() {
    assert_eq!(unescape(r"a\.b\\c (2)"), r"a.b\c (2)");
    assert_eq!(unescape("end\\"), "end");
    let mut other = on_the_wire(&info("x"));
    other.fullname = format!(r"a\b.c.{SERVICE_TYPE}");
    assert_eq!(read(&other).unwrap().instance, r"a\b.c");
}

#[test]
fn ipv4_is_waited_for_a_moment_and_merged() {
    let mut known = Known::default();
    let start = Instant::now();
    known.heard(found("a", &["[fe80::1]:1"]), start);
    assert_eq!(known.ripe(start), None);
    known.heard(found("a", &["10.0.0.1:1", "[fe80::1]:1"]), start + Duration::from_millis(20));
    assert_eq!(known.ripe(start + Duration::from_millis(20)), Some(found("a", &["10.0.0.1:1", "[fe80::1]:1"])));
    assert_eq!(known.ripe(start + Duration::from_secs(1)), None, "told once");
    known.heard(found("b", &["[fd00::1]:1"]), start);
    assert!(known.ripe(start + Duration::from_millis(50)).is_some(), "IPv6 alone is told too");
}

#[test]
fn only_a_change_is_told_again() {
    let mut known = Known::default();
    let now = Instant::now();
    known.heard(found("a", &["10.0.0.1:1"]), now);
    assert!(known.ripe(now).is_some());
    known.heard(found("a", &["10.0.0.1:1"]), now);
    assert!(known.ripe(now).is_none());
    known.heard(found("a", &["10.0.0.2:1"]), now);
    assert!(known.ripe(now).is_some());
    assert!(known.left(&format!("a.{SERVICE_TYPE}")));
    assert!(!known.left(&format!("a.{SERVICE_TYPE}")));
}

#[test]
fn invented_services_fill_no_memory() {
    let mut known = Known::default();
    let now = Instant::now();
    for n in 0..5_000 {
        known.heard(found(&n.to_string(), &["10.0.0.1:1"]), now);
    }
    let told = std::iter::from_fn(|| known.ripe(now)).count();
    assert_eq!(told, SERVICES_MAX);
}

#[test]
fn a_name_is_matched_whatever_its_case() {
    let mut laptop = found("Laptop (2)", &["10.0.0.1:1"]);
    laptop.name = "Laptop Ä".to_owned();
    assert!(laptop.is_called("laptop ä") && laptop.is_called("LAPTOP (2)") && !laptop.is_called("lap"));
}

/// A trial is heard by whoever makes it, and is no receiver to anybody.
#[tokio::test]
async fn a_trial_advertisement_comes_back_and_shows_in_no_list() {
    let here = candidates(Some("127.0.0.1")).unwrap();
    let mut browser = Browser::start(Some("127.0.0.1")).unwrap();
    let heard = tokio::select! {
        heard = hears_itself(&here, Duration::from_secs(10)) => heard.unwrap(),
        change = async {
            loop {
                if let Change::Found(found) = browser.next().await && found.fullname.contains("echo") {
                    break found;
                }
            }
        } => panic!("{change:?} is listed"),
    };
    assert!(heard, "loopback carries multicast");
    browser.shutdown().await;
}

/// Two daemons of one machine hear each other, on whatever network it has.
#[tokio::test]
async fn an_advertisement_is_found_and_withdrawn() {
    let here = candidates(Some("127.0.0.1")).unwrap();
    let name = format!("test {}", std::process::id());
    let info = AdvertInfo { candidates: here, ..info(&name) };
    let mut browser = Browser::start(Some("127.0.0.1")).unwrap();
    let mut advert = Advert::start(info.clone()).unwrap();
    if advert.event().await == AdvertEvent::Unheard {
        return;
    }
    let found = loop {
        match browser.next().await {
            Change::Found(found) if found.name == name => break found,
            _ => {}
        }
    };
    assert_eq!(found.addresses, ["127.0.0.1:5001".parse().unwrap()]);
    let same = search(
        |found| found.is_called(&name.to_uppercase()),
        |found| !found.is_empty(),
        Duration::from_secs(3),
        Some("127.0.0.1"),
    )
    .await
    .unwrap();
    assert_eq!(same, std::slice::from_ref(&found));
    advert.shutdown().await;
    while browser.next().await != Change::Lost(found.fullname.clone()) {}
    browser.shutdown().await;
}

/// The question for the service record of an instance (RFC 1035, section 4; RFC 2782).
fn service_question(instance: &str) -> Vec<u8> {
    let mut question = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in std::iter::once(instance).chain(SERVICE_TYPE.trim_end_matches('.').split('.')) {
        question.push(label.len() as u8);
        question.extend(label.as_bytes());
    }
    question.extend([0, 0, 33, 0, 1]);
    question
}

#[tokio::test]
async fn who_had_to_take_another_name_answers_to_that_and_no_longer_to_the_first() {
    let here = candidates(Some("127.0.0.1")).unwrap();
    // Capital letters are what the library loses count of.
    let name = format!("Taken {}", std::process::id());
    let as_info = |port, id: &str| AdvertInfo { port, id: id.to_owned(), candidates: here.clone(), ..info(&name) };
    let mut first = Advert::start(as_info(5001, "first")).unwrap();
    if first.event().await == AdvertEvent::Unheard {
        return;
    }
    let mut second = Advert::start(as_info(5002, "second")).unwrap();
    let renamed = loop {
        if let AdvertEvent::Renamed(renamed) = second.event().await {
            break renamed;
        }
    };
    assert_eq!(renamed, format!("{name} (2)"));
    let asker = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket2::SockRef::from(&asker).set_multicast_if_v4(&Ipv4Addr::LOCALHOST).unwrap();
    let ask_until_answered = async || {
        let mut answers = Vec::new();
        while !answers.contains(&(renamed.clone(), 5002)) {
            // Who answers the second question has had the first before.
            for instance in [&name, &renamed] {
                asker.send_to(&service_question(instance), "224.0.0.251:5353").await.unwrap();
            }
            let mut answer = [0; 1500];
            let patience = Duration::from_millis(250);
            while let Ok(received) = tokio::time::timeout(patience, asker.recv_from(&mut answer)).await {
                let answer = &answer[..received.unwrap().0];
                let holds = |part: &[u8]| answer.windows(part.len()).any(|window| window == part);
                let asked = if holds(renamed.as_bytes()) { &renamed } else { &name };
                let ports = [5001_u16, 5002].into_iter().filter(|port| holds(&port.to_be_bytes()));
                answers.extend(ports.map(|port| (asked.clone(), port)));
            }
        }
        answers
    };
    let answered = || tokio::time::timeout(Duration::from_secs(20), ask_until_answered());
    // The moment of the change itself is the library's.
    answered().await.unwrap();
    let answers = answered().await.unwrap();
    assert!(!answers.contains(&(name, 5002)), "{answers:?}");
    second.shutdown().await;
    first.shutdown().await;
}
