use super::*;
use crate::events::{Dialect, Way};
use crate::events::{EntryKind, Label, Offer, OfferedEntry};
use crate::ui::style::Style;

const TIMEOUT: Duration = Duration::from_secs(120);

fn peer(host: u8, name: &str) -> Peer {
    Peer {
        id: format!("mark-{host}"),
        name: name.into(),
        address: ([192, 168, 1, host], 40_000).into(),
        dialect: Dialect::Native,
    }
}

fn offer(host: u8, name: &str, entries: &[(&str, u64)]) -> Offer {
    Offer {
        transfer: "1".into(),
        peer: peer(host, name),
        label: Label::Private,
        files: entries.len() as u64,
        bytes: Some(entries.iter().map(|(_, bytes)| bytes).sum()),
        entries: entries
            .iter()
            .map(|(name, bytes)| OfferedEntry { name: (*name).into(), bytes: Some(*bytes), kind: EntryKind::File })
            .collect(),
        entries_left_out: 0,
    }
}

fn accept(host: u8) -> Question {
    Question::Accept { way: Way::In, offer: offer(host, "Pixel", &[("a.jpg", 1)]), note: None }
}

fn same_code(host: u8) -> Question {
    Question::SameCode { peer: peer(host, "Pixel"), code: "493027".into() }
}

/// A queue at the moment `now`, with the questions on and behind the screen.
struct Desk {
    questions: Questions,
    now: Instant,
}

impl Desk {
    fn new() -> Self {
        Desk { questions: Questions::new(TIMEOUT), now: Instant::now() }
    }

    fn ask(&mut self, question: Question) -> oneshot::Receiver<Answer> {
        self.questions.ask(question, self.now).unwrap().1
    }

    fn draw(&mut self) {
        if let Some((id, _)) = self.questions.current() {
            self.questions.painted(id, self.now);
        }
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.questions.tick(self.now);
    }

    fn press(&mut self, key: KeyCode) {
        self.questions.key(key.into(), self.now);
    }

    /// Draws, lets the person read, presses.
    fn answer(&mut self, key: KeyCode) {
        self.draw();
        self.wait(SETTLE);
        self.press(key);
    }
}

const Y: KeyCode = KeyCode::Char('y');

#[test]
fn a_key_typed_ahead_answers_nothing() {
    let mut desk = Desk::new();
    let mut answer = desk.ask(accept(1));
    desk.press(Y);
    desk.draw();
    desk.wait(SETTLE / 2);
    desk.press(Y);
    desk.wait(SETTLE / 2);
    desk.press(Y);
    assert!(answer.try_recv().is_err(), "each early key starts the wait again");
    desk.wait(SETTLE);
    desk.press(Y);
    assert_eq!(answer.try_recv(), Ok(Answer::Yes));
}

#[test]
fn a_held_key_answers_only_the_question_it_was_pressed_for() {
    let mut desk = Desk::new();
    let mut first = desk.ask(accept(1));
    let mut second = desk.ask(accept(2));
    desk.answer(Y);
    for _ in 0..100 {
        desk.draw();
        desk.wait(Duration::from_millis(30));
        desk.press(Y);
    }
    assert_eq!(first.try_recv(), Ok(Answer::Yes));
    assert!(second.try_recv().is_err());
}

#[test]
fn a_question_that_is_not_drawn_yet_takes_no_key() {
    let mut desk = Desk::new();
    let mut answer = desk.ask(accept(1));
    desk.wait(Duration::from_secs(60));
    desk.press(Y);
    assert!(answer.try_recv().is_err());
}

#[test]
fn enter_takes_an_offer_and_refuses_a_code() {
    let mut desk = Desk::new();
    let mut offered = desk.ask(accept(1));
    let mut compared = desk.ask(same_code(2));
    desk.answer(KeyCode::Enter);
    desk.answer(KeyCode::Enter);
    assert_eq!(offered.try_recv(), Ok(Answer::Yes));
    assert_eq!(compared.try_recv(), Ok(Answer::No(NoReason::Person)));
}

#[test]
fn silence_is_no_and_so_is_a_lost_terminal() {
    let mut desk = Desk::new();
    let mut silent = desk.ask(same_code(1));
    let mut lost = desk.ask(same_code(2));
    desk.draw();
    desk.wait(TIMEOUT);
    assert_eq!(silent.try_recv(), Ok(Answer::No(NoReason::Timeout)));
    desk.questions.end_of_input(desk.now);
    assert_eq!(lost.try_recv(), Ok(Answer::No(NoReason::NoTerminal)));
    assert_eq!(desk.questions.ask(accept(3), desk.now).unwrap_err(), Answer::No(NoReason::NoTerminal));
}

#[test]
fn questions_come_one_at_a_time_in_their_order() {
    let mut desk = Desk::new();
    let mut answers: Vec<_> = (1..=5).map(|host| desk.ask(accept(host))).collect();
    for (at, answer) in answers.iter_mut().enumerate() {
        assert_eq!(asker(desk.questions.current().unwrap().1).id, format!("mark-{}", at + 1));
        desk.answer(Y);
        assert_eq!(answer.try_recv(), Ok(Answer::Yes));
    }
    assert!(desk.questions.current().is_none());
}

#[test]
fn a_withdrawn_question_leaves_the_screen_to_the_next_one() {
    let mut desk = Desk::new();
    let (first, _gone) = desk.questions.ask(accept(1), desk.now).unwrap();
    let mut second = desk.ask(accept(2));
    desk.draw();
    desk.questions.withdraw(first, desk.now);
    desk.wait(SETTLE);
    desk.press(Y);
    assert!(second.try_recv().is_err(), "it was not on the screen yet");
    desk.answer(Y);
    assert_eq!(second.try_recv(), Ok(Answer::Yes));
}

#[test]
fn a_blocked_peer_asks_no_more_from_any_port_or_with_any_key() {
    let mut desk = Desk::new();
    let mut first = desk.ask(accept(1));
    let mut again = desk.ask(same_code(1));
    let mut other = desk.ask(accept(2));
    desk.answer(KeyCode::Char('b'));
    assert_eq!(first.try_recv(), Ok(Answer::No(NoReason::Person)));
    assert_eq!(again.try_recv(), Ok(Answer::No(NoReason::Person)));
    let mut new_key = offer(1, "Innocent", &[]);
    new_key.peer.id = "another".into();
    let mut new_address = offer(3, "Innocent", &[]);
    new_address.peer.id = "mark-1".into();
    for offer in [new_key, new_address] {
        assert!(desk.questions.ask(Question::Accept { way: Way::In, offer, note: None }, desk.now).is_err());
    }
    desk.answer(Y);
    assert_eq!(other.try_recv(), Ok(Answer::Yes));
}

#[test]
fn one_address_cannot_crowd_out_the_others() {
    let mut desk = Desk::new();
    let waiting: Vec<_> = (0..1_000).filter_map(|_| desk.questions.ask(accept(1), desk.now).ok()).collect();
    assert_eq!(waiting.len(), 1 + WAITING_OF_ONE);
    assert!(desk.questions.ask(accept(2), desk.now).is_ok());
}

#[test]
fn after_two_noes_an_address_backs_off_and_a_yes_forgives() {
    let mut desk = Desk::new();
    for _ in 0..2 {
        let _answer = desk.ask(accept(1));
        desk.answer(KeyCode::Char('n'));
    }
    assert!(desk.questions.ask(accept(1), desk.now).is_err());
    desk.wait(BACK_OFF);
    let _third = desk.ask(accept(1));
    desk.answer(KeyCode::Char('n'));
    desk.wait(BACK_OFF);
    assert!(desk.questions.ask(accept(1), desk.now).is_err(), "longer each time");
    desk.wait(BACK_OFF_MOST);
    let _fourth = desk.ask(accept(1));
    desk.answer(Y);
    assert!(desk.questions.ask(accept(1), desk.now).is_ok());
}

#[test]
fn an_offer_as_a_person_sees_it() {
    let mut offer =
        offer(44, "Pixel 8", &[("holiday.jpg", 3_200_000), (".bashrc", 120), ("trip/day 1.jpg", 2_000_000)]);
    offer.files = 1_204;
    offer.entries_left_out = 1_201;
    let question = Question::Accept { way: Way::In, offer, note: Some("the code was read by a browser before".into()) };
    assert_eq!(
        card(&question, Style::plain(), 38, 21).join("\n"),
        "\"Pixel 8\"\n\
         key  mark-44\n\
         from 192.168.1.44:40000\n\
         private, not verified\n\
         \n\
         offers 1,204 files, 5.2 MB\n  \
         \"holiday.jpg\"                3.2 MB\n  \
         \".bashrc\"                     120 B\n  \
         \"trip/day 1.jpg\"             2.0 MB\n  \
         and 1,201 more\n\
         at least 1 hidden (name with a dot)\n\
         the code was read by a browser before"
    );
    assert_eq!(
        answer_line(&question, 2, Some(TIMEOUT), Style::plain(), 80),
        "take 1,204 files, 5.2 MB from \"Pixel 8\"? [Y/n]  b: no, and block"
    );
}

#[test]
fn a_code_is_shown_large_and_in_plain_digits() {
    let lines = card(&same_code(1), Style::plain(), 38, 21);
    assert_eq!(
        lines[4..7],
        ["  █ █ █▀█ ▀▀█    █▀█ ▀▀█ ▀▀█", "  ▀▀█ ▀▀█  ▀█    █ █ █▀▀  ▄▀", "    ▀ ▀▀▀ ▀▀▀    ▀▀▀ ▀▀▀  ▀"]
    );
    assert!(lines.contains(&"493 027".to_owned()));
}

#[test]
fn hostile_names_stay_on_their_line_in_quotes_and_leave_the_keys_visible() {
    let hostile = [
        "\x1b[2J\x1b[H\x1b]0;title\x07\x1b]8;;http://evil\x07\x1b]52;c;AAAA\x07\x1bPq\x1b[6n",
        "x\nAccept from Alice (verified)? [Y/n]",
        "a\r\u{9b}2Jb\u{202e}gpj.exe",
        "\" (verified)",
    ];
    let wide = format!("{}.exe", "w".repeat(5_000));
    for name in hostile.into_iter().chain([wide.as_str()]) {
        let mut offer = offer(1, name, &[(name, u64::MAX)]);
        offer.entries = vec![offer.entries[0].clone(); 1_000];
        offer.files = 1_000;
        let question = Question::Accept { way: Way::In, offer, note: Some(name.into()) };
        for columns in [10, 20, 38, 80, 200] {
            let mut lines = card(&question, Style::plain(), columns, 21);
            assert!(lines.len() <= 21);
            let answer = answer_line(&question, 3, Some(Duration::from_secs(9)), Style::plain(), columns);
            assert!(answer.contains("[Y/n]"), "{answer}");
            assert!(console::measure_text_width(&answer) <= columns, "{answer}");
            if columns >= 38 {
                assert!(lines.iter().all(|line| console::measure_text_width(line) <= columns), "{lines:#?}");
                assert!(lines.iter().any(|line| line.contains("1,000 files")));
                assert!(
                    lines
                        .iter()
                        .filter(|line| line.contains("EB") && line.starts_with(' '))
                        .all(|line| line.starts_with("  \""))
                );
            }
            lines.push(answer);
            assert!(lines.iter().flat_map(|line| line.chars()).all(|c| !crate::names::is_hidden_char(c)), "{lines:#?}");
        }
        if name == wide {
            let lines = card(&question, Style::plain(), 38, 21);
            assert!(lines.iter().any(|line| line.contains(".exe\"")), "the extension stays: {lines:#?}");
        }
    }
}
