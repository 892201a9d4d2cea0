use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::wire::{MESSAGE_CAP, News, OfferLink, Say, Shared, What, Word};

const SECOND: Duration = Duration::from_secs(1);

fn key(of: u8) -> [u8; 32] {
    [of; 32]
}

fn room(now: Instant) -> Room {
    Room::new(key(0), "Host", now, 1_000)
}

fn text(turn: u64, text: &str) -> Say {
    Say { turn, word: Word::Text(text.into()) }
}

fn offer(turn: u64) -> Say {
    let link = OfferLink::new("qrdrop://192.168.1.7:1/#x");
    Say { turn, word: Word::Share(Shared { name: "x".into(), files: 1, bytes: 1, link }) }
}

/// The texts that a member who has seen `seen` hears.
fn heard(room: &mut Room, session: Session, seen: u64) -> Vec<String> {
    let lines = room.after(session, seen, usize::MAX).unwrap();
    let text = |line: &std::sync::Arc<Line>| match &line.news.what {
        What::Text(text) => Some(text.clone()),
        _ => None,
    };
    lines.iter().filter_map(text).collect()
}

#[test]
fn everybody_hears_the_same_in_one_order_and_a_newcomer_nothing_from_before() {
    let now = Instant::now();
    let mut room = room(now);
    let own = room.own();
    let ada = room.enter(key(1), "Ada", 0, now).unwrap();
    room.say(ada.session, text(1, "one"), now).unwrap();
    room.say(own.session, text(1, "two"), now).unwrap();
    let bob = room.enter(key(2), "Bob", 0, now).unwrap();
    room.say(ada.session, text(2, "three"), now).unwrap();
    assert_eq!(heard(&mut room, own.session, own.welcome.seen), ["one", "two", "three"]);
    assert_eq!(heard(&mut room, ada.session, ada.welcome.seen), ["one", "two", "three"]);
    assert_eq!(heard(&mut room, bob.session, bob.welcome.seen), ["three"]);
}

#[test]
fn what_is_said_again_is_heard_once_and_a_turn_left_out_is_refused() {
    let now = Instant::now();
    let mut room = room(now);
    let ada = room.enter(key(1), "Ada", 0, now).unwrap();
    for turn in [1, 1, 2, 1, 2] {
        room.say(ada.session, text(turn, &turn.to_string()), now).unwrap();
    }
    assert_eq!(room.say(ada.session, text(4, "x"), now), Err(Unheard::Turn { said: 4, heard: 2 }));
    assert_eq!(heard(&mut room, ada.session, 0), ["1", "2"]);
}

#[test]
fn who_comes_back_within_a_minute_hears_what_it_missed_and_keeps_its_place() {
    let now = Instant::now();
    let mut room = room(now);
    let own = room.own();
    let ada = room.enter(key(1), "Ada", 0, now).unwrap();
    room.say(ada.session, text(1, "mine"), now).unwrap();
    let seen = room.last();
    room.cut(ada.session, now);
    room.say(own.session, text(1, "meanwhile"), now + 59 * SECOND).unwrap();
    room.expire(now + 59 * SECOND);
    let again = room.enter(key(1), "Ada", seen, now + 60 * SECOND).unwrap();
    assert_eq!((again.welcome.you, again.welcome.heard, again.welcome.missed), (1, 1, 0));
    assert_eq!(heard(&mut room, again.session, again.welcome.seen), ["meanwhile"]);
    assert!(room.say(ada.session, text(2, "x"), now).is_err(), "the earlier stay is over");
}

#[test]
fn who_does_not_know_what_it_has_seen_goes_on_after_what_it_last_said_it_had() {
    let now = Instant::now();
    let mut room = room(now);
    let own = room.own();
    let ada = room.enter(key(1), "Ada", 0, now).unwrap();
    room.say(own.session, text(1, "seen"), now).unwrap();
    let last = room.last();
    room.saw(ada.session, last);
    room.say(own.session, text(2, "unseen"), now).unwrap();
    room.cut(ada.session, now);
    let again = room.enter(key(1), "Ada", 0, now).unwrap();
    assert_eq!(heard(&mut room, again.session, again.welcome.seen), ["unseen"]);
}

#[test]
fn who_is_away_for_more_than_a_minute_has_left_and_its_offers_with_it() {
    let now = Instant::now();
    let mut room = room(now);
    let ada = room.enter(key(1), "Ada", 0, now).unwrap();
    room.say(ada.session, offer(1), now).unwrap();
    room.cut(ada.session, now);
    assert!(room.knows(&key(1)));
    room.expire(now + 61 * SECOND);
    assert!(!room.knows(&key(1)));
    assert_eq!(room.own().welcome.offers, []);
    assert_eq!(room.enter(key(1), "Ada", 3, now + 62 * SECOND).unwrap().welcome.you, 2);
}

#[test]
fn a_member_that_was_sent_out_does_not_come_in_again() {
    let now = Instant::now();
    let mut room = room(now);
    let ada = room.enter(key(1), "Ada", 0, now).unwrap();
    assert_eq!(room.remove(1, now), Some(key(1)));
    assert_eq!(room.remove(0, now), None, "the host stays");
    assert_eq!(room.say(ada.session, text(1, "x"), now), Err(Unheard::Over));
    assert_eq!(room.after(ada.session, 0, 1).err(), Some(Unheard::Over));
    assert_eq!(room.enter(key(1), "Ada", 0, now).unwrap_err(), NotEntered::Removed);
}

#[test]
fn who_reads_too_slowly_is_cut_and_told_how_much_it_missed_while_nobody_waits_for_it() {
    let now = Instant::now();
    let mut room = room(now);
    let own = room.own();
    let slow = room.enter(key(1), "Slow", 0, now).unwrap();
    let long = "x".repeat(MESSAGE_CAP);
    for turn in 1..=1_000 {
        room.say(own.session, text(turn, &long), now).unwrap();
    }
    assert!(room.kept_bytes() <= 32 * 1024 * 1024, "{} bytes are kept", room.kept_bytes());
    assert_eq!(room.after(slow.session, slow.welcome.seen, 1).err(), Some(Unheard::Slow));
    let again = room.enter(key(1), "Slow", slow.welcome.seen, now).unwrap();
    assert!(again.welcome.missed > 0);
    let rest = heard(&mut room, again.session, again.welcome.seen).len() as u64;
    // The first line after `seen` is its own coming.
    assert_eq!(again.welcome.missed + rest, 1_001);
}

#[test]
fn a_day_of_a_thousand_messages_a_second_keeps_no_more_than_a_minute() {
    let start = Instant::now();
    let mut room = room(start);
    let own = room.own();
    let mut most = 0;
    for turn in 1..=200_000 {
        room.say(
            own.session,
            text(turn, "an ordinary message of some forty bytes"),
            start + turn as u32 * SECOND / 1_000,
        )
        .unwrap();
        if turn > 60_000 {
            most = most.max(room.kept_bytes());
        }
    }
    assert!(most < 24 * 1024 * 1024, "{most} bytes are kept");
}

#[test]
fn offers_have_numbers_are_taken_back_by_their_owner_alone_and_are_bounded() {
    let now = Instant::now();
    let mut room = room(now);
    let ada = room.enter(key(1), "Ada", 0, now).unwrap();
    let bob = room.enter(key(2), "Bob", 0, now).unwrap();
    room.say(ada.session, offer(1), now).unwrap();
    room.say(bob.session, Say { turn: 1, word: Word::Withdraw(1) }, now).unwrap();
    assert_eq!(room.own().welcome.offers[0].offer, 1);
    for turn in 2..=40 {
        room.say(ada.session, offer(turn), now).unwrap();
    }
    let numbers: Vec<u32> = room.own().welcome.offers.iter().map(|standing| standing.offer).collect();
    assert_eq!(numbers, (9..=40).collect::<Vec<_>>());
    room.say(ada.session, Say { turn: 41, word: Word::Withdraw(40) }, now).unwrap();
    assert!(room.own().welcome.offers.iter().all(|standing| standing.offer != 40));
}

#[test]
fn a_room_has_room_for_a_hundred_and_not_for_a_thousand() {
    let now = Instant::now();
    let mut room = room(now);
    let mut inside = 0;
    for of in 1..=1_000_u16 {
        let mut key = [0; 32];
        key[..2].copy_from_slice(&of.to_be_bytes());
        key[31] = 1;
        match room.enter(key, "x", 0, now) {
            Ok(_) => inside += 1,
            Err(error) => assert_eq!(error, NotEntered::Full),
        }
    }
    assert!((100..600).contains(&inside), "{inside}");
}

#[test]
fn one_member_that_floods_is_heard_at_a_rate_and_may_begin_at_once() {
    let start = Instant::now();
    let mut pace = Pace::new(start);
    assert_eq!(pace.heard(40, start), start, "a person never waits");
    let mut now = start;
    for _ in 0..10_000 {
        now = pace.heard(40, now).max(now);
    }
    let took = now - start;
    assert!((5 * SECOND..20 * SECOND).contains(&took), "10,000 messages took {took:?}");
}

#[test]
fn a_name_that_is_taken_is_marked_at_both_whatever_its_case() {
    let now = Instant::now();
    let mut room = room(now);
    room.enter(key(1), "Ada", 0, now).unwrap();
    let other = room.enter(key(2), "Bob", 0, now).unwrap();
    let same = room.enter(key(3), "ada", 0, now).unwrap();
    let mut view = View::default();
    view.welcome(&same.welcome);
    let doubles: Vec<u32> = view.here().iter().filter(|card| card.double).map(|card| card.number).collect();
    assert_eq!(doubles, [1, same.welcome.you], "{:?} beside {}", view.here(), other.welcome.you);
    assert_eq!(view.here().iter().filter(|card| card.own).count(), 1);
}

#[test]
fn a_view_follows_the_news_and_knows_who_said_what_after_it_left() {
    let now = Instant::now();
    let mut room = room(now);
    let own = room.own();
    let mut view = View::default();
    view.welcome(&own.welcome);
    let ada = room.enter(key(1), "A\u{1b}[2Jda", 0, now).unwrap();
    room.say(ada.session, offer(1), now).unwrap();
    room.leave(ada.session, now);
    let mut changes = Vec::new();
    for line in room.after(own.session, own.welcome.seen, usize::MAX).unwrap() {
        changes.push(view.news(&line.news));
        if let Change::Shared(card) = changes.last().unwrap() {
            assert_eq!(view.offer(1).as_ref(), Some(card));
        }
    }
    assert!(matches!(changes.last(), Some(Change::Left(card)) if card.name == "A\u{fffd}[2Jda"));
    assert_eq!((view.here().len(), view.offers().len()), (1, 0));
    let late = News { number: 9, time_ms: 0, by: 1, turn: 1, what: What::Text("late".into()) };
    assert!(matches!(view.news(&late), Change::Said(card, _) if card.name == "A\u{fffd}[2Jda"));
}

#[test]
fn a_host_that_never_ends_its_lists_does_not_fill_a_member_s_memory() {
    let mut view = View::default();
    for number in 1..5_000 {
        let card = crate::wire::Member { number: number as u32, key: key(1), name: "x".into(), here: true };
        let news = |what| News { number, time_ms: 0, by: number as u32, turn: 0, what };
        view.news(&news(What::Joined(card)));
        let link = OfferLink::new("");
        let shared = Shared { name: "x".into(), files: 1, bytes: 1, link };
        view.news(&news(What::Shared { offer: number as u32, shared }));
    }
    assert!(view.count() < 2_000 && view.offers().len() < 200, "{} and {}", view.count(), view.offers().len());
}

#[test]
fn lines_are_understood() {
    assert_eq!(parse("hello there\r\n"), Ok(Input::Say("hello there".into())));
    assert_eq!(parse("  "), Ok(Input::Nothing));
    assert_eq!(parse("/send my file.txt"), Ok(Input::Send("my file.txt".into())));
    assert_eq!(parse("/send '/tmp/a b'"), Ok(Input::Send("/tmp/a b".into())));
    assert_eq!(parse("/get 3"), Ok(Input::Get(3)));
    assert_eq!(parse("/get #3"), Ok(Input::Get(3)));
    assert_eq!(parse("/who"), Ok(Input::Who));
    assert_eq!(parse("//who"), Ok(Input::Say("/who".into())));
    for wrong in ["/get", "/get x", "/send", "/quit now", "/etc/passwd", "/"] {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_message_of_64_kib_is_one_and_a_byte_more_is_not() {
    assert_eq!(parse(&"x".repeat(MESSAGE_CAP)), Ok(Input::Say("x".repeat(MESSAGE_CAP))));
    assert!(parse(&"x".repeat(MESSAGE_CAP + 1)).is_err());
}

#[test]
fn every_command_that_is_listed_is_understood() {
    for (name, takes, _) in COMMANDS {
        let line = if takes.is_empty() { name.to_owned() } else { format!("{name} 1") };
        assert!(parse(&line).is_ok(), "{line}");
    }
}

proptest! {
    /// Cuts at any place, words said again from any place: each is heard once, in its order.
    #[test]
    fn nothing_is_lost_or_doubled_over_cuts(cuts in proptest::collection::vec((0..20_u64, 0..20_u64), 0..12)) {
        let now = Instant::now();
        let mut room = room(now);
        let own = room.own();
        let mut ada = room.enter(key(1), "Ada", 0, now).unwrap();
        let (mut seen, mut told, mut turn) = (ada.welcome.seen, Vec::new(), 0);
        for (words, read) in cuts {
            for _ in 0..words {
                turn += 1;
                room.say(ada.session, text(turn, &turn.to_string()), now).unwrap();
            }
            for line in room.after(ada.session, seen, usize::MAX).unwrap().into_iter().take(read as usize) {
                prop_assert_eq!(line.news.number, seen + 1);
                seen = line.news.number;
                told.push(line.news.clone());
            }
            room.cut(ada.session, now);
            ada = room.enter(key(1), "Ada", seen, now).unwrap();
            prop_assert_eq!(ada.welcome.missed, 0);
            prop_assert_eq!(ada.welcome.heard, turn);
            for again in 1..=turn {
                room.say(ada.session, text(again, "again"), now).unwrap();
            }
        }
        told.extend(room.after(ada.session, seen, usize::MAX).unwrap().iter().map(|line| line.news.clone()));
        let texts: Vec<String> = told.into_iter().filter_map(|news| match news.what {
            What::Text(text) => Some(text),
            _ => None,
        }).collect();
        prop_assert_eq!(texts, (1..=turn).map(|turn| turn.to_string()).collect::<Vec<_>>());
        prop_assert_eq!(heard(&mut room, own.session, 0).len() as u64, turn);
    }
}

#[test]
fn what_the_host_offers_for_a_page_is_the_pages_takes_none_of_its_turns_and_goes_with_it() {
    let now = Instant::now();
    let mut room = room(now);
    let page = room.enter(key(1), "Phone", 0, now).unwrap();
    let Word::Share(shared) = offer(1).word else { unreachable!("an offer is a share") };
    room.share_for(page.session, shared.clone(), now).unwrap();
    room.say(page.session, text(1, "its own first word"), now).unwrap();
    let lines = room.after(page.session, page.welcome.seen, usize::MAX).unwrap();
    let told = lines.iter().find(|line| matches!(line.news.what, What::Shared { .. })).unwrap();
    assert_eq!((told.news.by, told.news.turn), (page.session.member, 0));
    assert_eq!(room.enter(key(2), "Ada", 0, now).unwrap().welcome.offers.len(), 1);
    room.leave(page.session, now);
    assert_eq!(room.enter(key(3), "Bob", 0, now).unwrap().welcome.offers, []);
    assert!(!room.is_open(page.session));
    assert_eq!(room.share_for(page.session, shared, now), Err(Unheard::Over));
}
