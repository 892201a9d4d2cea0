//! The screen as a whole: what a terminal shows after it was painted on, decoded where it is a code.

use std::time::{Duration, Instant, SystemTime};

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::events::{
    Board, Check, Dialect, EntryKind, Event, ExitCode, Failure, Finding, Label, Offer, OfferedEntry, Peer, Question,
    RoomOffer, Speaker, Verdict, Way,
};
use crate::names::is_hidden_char;
use crate::ui::screen::{Effect, Screen};
use crate::ui::style::Surroundings;
use crate::ui::terminal::{Canvas, Size};
use crate::ui::{ColorChoice, HostKey, QrChoice, UiOptions};

const LINK: &str = "http://192.168.100.200:5001/#1kJ8_hG5dS2aQ9wE4rT7yU1iO0pAsDfGhJkLzXcVbN-m3";
const SMALL: Size = (80, 24);
pub(super) const TERMINAL: Surroundings =
    Surroundings { terminal: true, output_is_terminal: false, dumb: false, no_color: true, utf8: true };
const PIPE: Surroundings = Surroundings { terminal: false, ..TERMINAL };

pub(super) fn options() -> UiOptions {
    UiOptions { color: ColorChoice::Never, ..UiOptions::default() }
}

fn board() -> Board {
    Board {
        link: LINK.into(),
        address: "192.168.100.200:5001".parse().unwrap(),
        interface: "wlan0".into(),
        others: vec!["10.0.0.2:5001".parse().unwrap()],
        name: "Laptop".into(),
        directory: Some("/home/anna/in".into()),
        offers: None,
        advice: "a phone: point its camera at the code. a computer: `qrdrop send FILE`".into(),
        discoverable: true,
        mark: "k7wq-93fd".into(),
        warning: None,
    }
}

fn peer(host: u8) -> Peer {
    Peer {
        id: format!("mark-{host}"),
        name: format!("Phone {host}"),
        address: ([192, 168, 1, host], 40_000).into(),
        dialect: Dialect::Native,
    }
}

pub(super) fn offer(host: u8, bytes: u64) -> Offer {
    Offer {
        transfer: host.to_string(),
        peer: peer(host),
        label: Label::Verified,
        files: 3,
        bytes: Some(bytes),
        entries: Vec::new(),
        entries_left_out: 0,
    }
}

fn running(screen: &mut Screen, host: u8, bytes: u64, total: u64, now: Instant) {
    screen.tell(&Event::Offer(offer(host, total)), now);
    screen.tell(&Event::Accepted { transfer: host.to_string() }, now);
    screen.tell(&Event::Progress { transfer: host.to_string(), bytes, total: Some(total) }, now);
}

/// A terminal as far as the canvas uses one: rows of cells, each with its character and background.
struct Emulator {
    size: Size,
    cells: Vec<Vec<(char, u8)>>,
    at: Size,
    wrap: bool,
    background: u8,
    scrolled: Vec<String>,
}

impl Emulator {
    fn new(size: Size) -> Self {
        let cells = vec![vec![(' ', 0); size.0]; size.1];
        Emulator { size, cells, at: (0, 0), wrap: false, background: 0, scrolled: Vec::new() }
    }

    fn feed(&mut self, bytes: &[u8]) {
        let mut rest = std::str::from_utf8(bytes).unwrap();
        while let Some(c) = rest.chars().next() {
            rest = &rest[c.len_utf8()..];
            match c {
                '\x1b' => {
                    let body = rest.strip_prefix('[').expect("no other escapes are written");
                    let end = body.find(|c: char| c.is_ascii_alphabetic()).unwrap();
                    self.control(&body[..end], body.as_bytes()[end]);
                    rest = &body[end + 1..];
                }
                '\r' => (self.at.0, self.wrap) = (0, false),
                '\n' => self.feed_line(),
                c => self.put(c),
            }
        }
    }

    fn feed_line(&mut self) {
        self.wrap = false;
        if self.at.1 + 1 == self.size.1 {
            let gone = self.cells.remove(0);
            self.scrolled.push(text(&gone));
            self.cells.push(vec![(' ', 0); self.size.0]);
        } else {
            self.at.1 += 1;
        }
    }

    fn put(&mut self, c: char) {
        assert!(!c.is_control(), "{c:?}");
        if self.wrap {
            self.at.0 = 0;
            self.feed_line();
        }
        self.cells[self.at.1][self.at.0] = (c, self.background);
        self.wrap = self.at.0 + 1 == self.size.0;
        self.at.0 += usize::from(!self.wrap);
    }

    fn control(&mut self, numbers: &str, kind: u8) {
        let number = numbers.parse().unwrap_or(1);
        match kind {
            b'A' => self.at.1 = self.at.1.saturating_sub(number),
            b'B' => self.at.1 = (self.at.1 + number).min(self.size.1 - 1),
            b'K' => self.cells[self.at.1][self.at.0..].fill((' ', 0)),
            b'J' => {
                self.cells[self.at.1][self.at.0..].fill((' ', 0));
                self.cells[self.at.1 + 1..].iter_mut().for_each(|row| row.fill((' ', 0)));
            }
            b'm' => match numbers.rsplit_once("48;5;") {
                Some((_, color)) => self.background = color.parse().unwrap(),
                None => self.background = 0,
            },
            b'h' | b'l' => assert!(["?7", "?25", "?2026"].contains(&numbers)),
            other => panic!("unexpected control `{}`", char::from(other)),
        }
    }

    fn text(&self) -> String {
        self.cells.iter().map(|row| text(row)).collect::<Vec<_>>().join("\n")
    }

    /// What a camera sees of it.
    fn code(&self) -> Option<String> {
        const MODULE: usize = 4;
        let shade = |background| if background == 231 { 255 } else { 0 };
        let pixel = |x: usize, y: usize| {
            let (c, background) = self.cells[y / 2 / MODULE][x / MODULE];
            match (c, y / MODULE % 2) {
                ('▄', 1) => 255 - shade(background),
                _ => shade(background),
            }
        };
        let (width, height) = (self.size.0 * MODULE, self.size.1 * 2 * MODULE);
        let mut picture = rqrr::PreparedImage::prepare_from_greyscale(width, height, pixel);
        picture.detect_grids().first().and_then(|grid| grid.decode().ok()).map(|(_, text)| text)
    }
}

fn text(row: &[(char, u8)]) -> String {
    row.iter().map(|(c, _)| c).collect::<String>().trim_end().to_owned()
}

/// A screen, the canvas and the terminal behind it.
struct Seen {
    screen: Screen,
    emulator: Emulator,
    canvas: Canvas<Vec<u8>>,
    now: Instant,
}

impl Seen {
    fn new(options: &UiOptions, around: Surroundings, size: Size) -> Self {
        let screen = Screen::new(options, around);
        let canvas = Canvas::new(Vec::new(), screen.live, &around);
        Seen { screen, emulator: Emulator::new(size), canvas, now: Instant::now() }
    }

    /// Paints what changed and says how many bytes that took.
    fn paint(&mut self) -> usize {
        let size = self.emulator.size;
        let work = self.screen.work(size, self.now);
        self.canvas.paint(&work.log, work.rows.clone(), size);
        self.screen.painted(&work, self.now);
        let bytes = self.canvas.take();
        self.emulator.feed(&bytes);
        bytes.len()
    }

    fn press(&mut self, key: impl Into<KeyEvent>) -> Effect {
        self.screen.key(key.into(), self.now)
    }
}

fn speaker(name: &str) -> Speaker {
    Speaker { from: name.into(), id: name.into(), member: 1, double: true, own: false }
}

fn room_offer(name: &str) -> RoomOffer {
    RoomOffer { offer: 1, by: speaker(name), name: name.into(), files: 2, bytes: 3, relayed: false }
}

#[test]
fn an_80_by_24_window_holds_code_link_and_status() {
    let mut seen = Seen::new(&options(), TERMINAL, SMALL);
    seen.screen.host(tokio::sync::mpsc::channel(1).0);
    seen.screen.show(board());
    seen.paint();
    assert_eq!(seen.emulator.code().as_deref(), Some(LINK));
    let panel: Vec<String> = seen.emulator.cells[..21].iter().map(|row| text(&row[43..])).collect();
    assert_eq!(
        panel[..10],
        [
            "qrdrop Laptop",
            "",
            "into     /home/anna/in",
            "network  wlan0",
            "address  192.168.100.200:5001",
            "also     10.0.0.2:5001",
            "key      k7wq-93fd",
            "",
            "a phone: point its camera at the",
            "code. a computer: `qrdrop send FILE`",
        ]
    );
    assert_eq!(text(&seen.emulator.cells[21]), LINK);
}

#[test]
fn log_lines_scroll_and_the_code_stays() {
    let mut seen = Seen::new(&options(), TERMINAL, SMALL);
    seen.screen.show(board());
    for host in 1..=60 {
        seen.screen.tell(&Event::Peer { peer: peer(host), label: Label::Verified }, seen.now);
        seen.paint();
        assert_eq!(seen.emulator.code().as_deref(), Some(LINK), "after line {host}");
    }
    let told = seen.emulator.scrolled.iter().filter(|line| line.starts_with("paired:")).count();
    assert!(told >= 50, "{told} of 60 lines scrolled away above the code");
}

#[test]
fn fifty_senders_leave_the_code_where_it_is_and_are_summed_up() {
    let mut seen = Seen::new(&options(), TERMINAL, SMALL);
    seen.screen.show(board());
    seen.paint();
    for host in 1..=50 {
        running(&mut seen.screen, host, 4_000_000, 8_000_000, seen.now);
    }
    seen.paint();
    assert_eq!(seen.emulator.code().as_deref(), Some(LINK));
    let text = seen.emulator.text();
    assert!(text.contains("+43 more, 172.0 MB of 344.0 MB"), "{text}");
    assert!(text.contains("50 transfers") && text.contains("200.0 MB of 400.0 MB"), "{text}");
}

#[test]
fn what_did_not_change_is_not_drawn_again() {
    let mut seen = Seen::new(&options(), TERMINAL, SMALL);
    seen.screen.show(board());
    let whole = seen.paint();
    assert_eq!(seen.paint(), 0);
    running(&mut seen.screen, 1, 1, 100, seen.now);
    seen.paint();
    seen.screen.tell(&Event::Progress { transfer: "1".into(), bytes: 50, total: Some(100) }, seen.now);
    let one_row = seen.paint();
    assert!(one_row > 0 && one_row < whole / 5, "{one_row} of {whole} bytes");
    assert_eq!(seen.emulator.code().as_deref(), Some(LINK));
}

#[test]
fn at_any_size_nothing_breaks_out_of_the_window() {
    for columns in (1..=130).step_by(7) {
        for rows in (1..=50).step_by(5) {
            let mut seen = Seen::new(&options(), TERMINAL, (columns, rows));
            seen.screen.host(tokio::sync::mpsc::channel(1).0);
            seen.screen.show(Board { warning: Some("no other device can reach this address".into()), ..board() });
            (1..=3).for_each(|host| running(&mut seen.screen, host, 10, 100, seen.now));
            let work = seen.screen.work((columns, rows), seen.now);
            assert!(work.rows.len() <= rows && work.rows.iter().all(|row| console::measure_text_width(row) <= columns));
            let question = Question::Accept { way: Way::In, offer: offer(9, 10), note: None };
            let _answer = seen.screen.questions.ask(question, seen.now);
            let work = seen.screen.work((columns, rows), seen.now);
            assert!(work.rows.len() <= rows && work.rows.iter().all(|row| console::measure_text_width(row) <= columns));
            let answer = work.rows.last().unwrap();
            assert!(columns < 7 || answer.contains("[Y/n]"), "{columns} x {rows}: {answer}");
        }
    }
}

#[test]
fn a_window_too_small_for_the_code_says_so_and_a_larger_one_gets_it() {
    let mut seen = Seen::new(&options(), TERMINAL, (40, 24));
    seen.screen.show(board());
    seen.paint();
    assert!(seen.emulator.text().contains("make the window at least 41 x 24"), "{}", seen.emulator.text());
    assert_eq!(seen.emulator.code(), None);
    seen.emulator = Emulator::new((41, 24));
    seen.paint();
    assert_eq!(seen.emulator.code().as_deref(), Some(LINK));
}

#[test]
fn a_withdrawn_invitation_leaves_no_code_and_no_link() {
    let mut seen = Seen::new(&options(), TERMINAL, SMALL);
    seen.screen.show(board());
    seen.paint();
    seen.screen.hide();
    seen.paint();
    assert_eq!(seen.emulator.code(), None);
    assert!(!seen.emulator.text().contains("http://"), "{}", seen.emulator.text());
}

#[test]
fn without_a_terminal_the_secret_is_not_told() {
    for (qr, told) in [(QrChoice::Auto, false), (QrChoice::Never, false), (QrChoice::Always, true)] {
        let mut screen = Screen::new(&UiOptions { qr, ..options() }, PIPE);
        screen.show(board());
        let log = screen.work(SMALL, Instant::now()).log.join("\n");
        assert_eq!(log.contains("#1kJ8"), told, "{qr:?}");
        assert!(told || log.contains("--invite-file"));
    }
}

#[test]
fn without_a_terminal_progress_is_a_line_every_five_seconds() {
    let mut screen = Screen::new(&options(), PIPE);
    let start = Instant::now();
    running(&mut screen, 1, 50, 100, start);
    screen.work(SMALL, start);
    let mut told = 0;
    for tenth in 0..=120 {
        told += screen.work(SMALL, start + Duration::from_millis(100) * tenth).log.len();
    }
    assert_eq!(told, 2);
}

#[test]
fn a_script_that_wants_silence_still_hears_errors() {
    let mut screen = Screen::new(&UiOptions { quiet: true, ..options() }, PIPE);
    let now = Instant::now();
    screen.tell(&Event::Peer { peer: peer(1), label: Label::Open }, now);
    let failure = Failure::new(ExitCode::Incomplete, "`Pixel` went away after 3.2 MB of 214 MB", "send again to go on");
    screen.tell(&Event::Failed { transfer: None, failure }, now);
    assert_eq!(
        screen.work(SMALL, now).log,
        ["error: `Pixel` went away after 3.2 MB of 214 MB", "hint: send again to go on"]
    );
}

fn finding(verdict: Verdict, words: &str) -> Event {
    Event::Finding(Finding {
        check: Check::Firewall,
        verdict,
        message: words.into(),
        remedy: words.into(),
        command: Some("sudo ufw allow 5001/tcp && sudo ufw allow 5353/udp".into()),
        address: None,
    })
}

#[test]
fn a_finding_stands_in_columns_with_each_command_in_one_piece() {
    let mut screen = Screen::new(&options(), PIPE);
    screen.tell(&finding(Verdict::Bad, &"word ".repeat(20)), Instant::now());
    let thirteen = ["word"; 13].join(" ");
    let seven = ["word"; 7].join(" ");
    assert_eq!(
        screen.work(SMALL, Instant::now()).log,
        [
            format!("✗ firewall     {thirteen}"),
            format!("               {seven}"),
            format!("               {thirteen}"),
            format!("               {seven}"),
            "                 sudo ufw allow 5001/tcp".to_owned(),
            "                 sudo ufw allow 5353/udp".to_owned(),
        ]
    );
}

#[test]
fn those_who_want_silence_hear_only_of_what_is_in_the_way() {
    let mut screen = Screen::new(&UiOptions { quiet: true, ..options() }, PIPE);
    for verdict in [Verdict::Good, Verdict::Odd] {
        screen.tell(&finding(verdict, "x"), Instant::now());
    }
    assert!(screen.work(SMALL, Instant::now()).log.is_empty());
    screen.tell(&finding(Verdict::Bad, "x"), Instant::now());
    assert!(!screen.work(SMALL, Instant::now()).log.is_empty());
}

#[test]
fn one_file_is_called_a_file_at_the_end_and_a_text_a_text() {
    for (kind, called) in [(EntryKind::File, "✓ 1 file, 3 B to"), (EntryKind::Text, "✓ a text to")] {
        let mut screen = Screen::new(&options(), PIPE);
        let now = Instant::now();
        let entries = vec![OfferedEntry { name: "a".into(), bytes: Some(3), kind }];
        screen.tell(&Event::Offer(Offer { files: 1, entries, ..offer(1, 3) }), now);
        screen.tell(&Event::Accepted { transfer: "1".into() }, now);
        screen.work(SMALL, now);
        let (transfer, label) = ("1".into(), Label::Verified);
        screen.tell(&Event::Finished { transfer, files: 1, bytes: 3, seconds: 0.1, label }, now);
        let log = screen.work(SMALL, now).log;
        assert!(log[0].starts_with(called), "{log:?}");
    }
}

#[test]
fn the_end_of_a_transfer_is_one_line() {
    let mut screen = Screen::new(&options(), PIPE);
    let now = Instant::now();
    screen.tell(&Event::Offer(offer(1, 214_000_000)), now);
    screen.work(SMALL, now);
    let stored = Event::Stored {
        transfer: "1".into(),
        name: "trip/a.jpg".into(),
        offered: "trip/a.jpg".into(),
        path: Some("/home/anna/in/trip/a.jpg".into()),
        bytes: 1,
        blake3: String::new(),
    };
    screen.tell(&stored, now);
    let finished = |seconds| Event::Finished {
        transfer: "1".into(),
        files: 1_000,
        bytes: 214_000_000,
        seconds,
        label: Label::Verified,
    };
    screen.tell(&finished(3.1), now);
    screen.tell(&finished(f64::NAN), now);
    let log = screen.work(SMALL, now).log;
    assert_eq!(log[0], "✓ 1,000 files, 214.0 MB from \"Phone 1\" in 3.1 s (69.0 MB/s), verified → /home/anna/in/trip");
    assert!(log[1].starts_with("✓ 1,000 files, 214.0 MB in "), "{}", log[1]);
}

#[test]
fn absurd_sizes_are_shown_without_overflow() {
    let mut seen = Seen::new(&options(), TERMINAL, SMALL);
    seen.screen.show(board());
    for (host, (bytes, total)) in
        [(0, 0), (u64::MAX, 1), (u64::MAX, u64::MAX), (1, u64::MAX), (10u64.pow(18), 10u64.pow(18))]
            .into_iter()
            .enumerate()
    {
        running(&mut seen.screen, host as u8 + 1, bytes, total, seen.now);
    }
    seen.screen.tell(&Event::Progress { transfer: "1".into(), bytes: 5, total: None }, seen.now);
    seen.paint();
    let text = seen.emulator.text();
    assert!(text.contains("100%") && text.contains("EB"), "{text}");
    assert_eq!(seen.emulator.code().as_deref(), Some(LINK));
}

#[test]
fn hostile_text_in_any_event_is_inert() {
    let evil = "\x1b[2J\u{9b}6n\n\r\x08Accept? [Y/n]\u{202e}\u{1b}]52;c;x\x07\0";
    let mut bad = offer(1, 10);
    bad.peer.name = evil.into();
    bad.peer.id = evil.into();
    let transfer = || bad.transfer.clone();
    let events = [
        Event::Peer { peer: bad.peer.clone(), label: Label::Open },
        Event::Code { peer: bad.peer.clone(), code: evil.into() },
        Event::Offer(bad.clone()),
        Event::Accepted { transfer: transfer() },
        Event::Stored {
            transfer: transfer(),
            name: evil.into(),
            offered: "x".into(),
            path: Some(evil.into()),
            bytes: 1,
            blake3: String::new(),
        },
        Event::Text { transfer: transfer(), text: evil.repeat(1_000) },
        Event::Retry { transfer: transfer(), from_bytes: 1, reason: evil.into() },
        Event::Skipped { transfer: transfer(), name: evil.into(), reason: evil.into() },
        Event::Message { by: speaker(evil), text: evil.repeat(20_000), number: 1, time: SystemTime::UNIX_EPOCH },
        Event::Joined { by: speaker(evil) },
        Event::Left { by: speaker(evil) },
        Event::Shared(room_offer(evil)),
        Event::Room { members: vec![speaker(evil)], offers: vec![room_offer(evil)], missed: 1 },
        Event::Cut { reason: evil.into() },
        Event::Refused { transfer: transfer(), reason: evil.into() },
        Event::Failed { transfer: None, failure: Failure::new(ExitCode::Internal, evil, evil) },
        finding(Verdict::Bad, evil),
        Event::Closed { reason: evil.into() },
    ];
    for around in [TERMINAL, PIPE] {
        let mut screen = Screen::new(&UiOptions { verbose: true, ..options() }, around);
        screen.show(Board { name: evil.into(), directory: Some(evil.into()), warning: Some(evil.into()), ..board() });
        for event in &events {
            screen.tell(event, Instant::now());
            let work = screen.work((60, 24), Instant::now());
            let lines = work.log.iter().chain(work.rows.iter().filter(|row| !row.starts_with("\x1b[38;5;16")));
            for line in lines {
                assert!(!line.chars().any(is_hidden_char), "{line:?} of {event:?}");
                assert!(line.len() < 20_000);
            }
        }
    }
}

#[test]
fn a_locale_without_utf8_gets_ascii() {
    let mut seen = Seen::new(&options(), Surroundings { utf8: false, ..TERMINAL }, SMALL);
    seen.screen.show(board());
    (1..=3).for_each(|host| running(&mut seen.screen, host, 10, 100, seen.now));
    seen.paint();
    assert!(seen.emulator.text().is_ascii());
    assert!(seen.emulator.text().contains("make the window at least 82 x 43"), "{}", seen.emulator.text());
}

#[test]
fn what_is_typed_before_a_question_is_on_the_screen_goes_to_the_line() {
    let mut seen = Seen::new(&options(), TERMINAL, SMALL);
    let (lines, mut said) = tokio::sync::mpsc::channel(8);
    assert!(seen.screen.talk(lines));
    seen.press(KeyCode::Char('h'));
    let _answer = seen.screen.questions.ask(Question::SameCode { peer: peer(1), code: "1".into() }, seen.now);
    seen.press(KeyCode::Char('y'));
    seen.paint();
    seen.press(KeyCode::Char('x'));
    assert!(seen.screen.questions.current().is_some(), "nothing has answered it");
    seen.screen.questions.withdraw(0, seen.now);
    seen.press(KeyCode::Enter);
    assert_eq!(said.try_recv().as_deref(), Ok("hy"));
}

#[test]
fn keys_go_to_the_question_first_then_to_the_host() {
    let mut seen = Seen::new(&options(), TERMINAL, SMALL);
    let (keys, mut pressed) = tokio::sync::mpsc::channel(8);
    assert!(!seen.screen.wants_keys());
    seen.screen.host(keys);
    assert!(seen.screen.wants_keys());
    seen.press(KeyCode::Char('n'));
    assert_eq!(pressed.try_recv(), Ok(HostKey::NextAddress));
    let _answer = seen.screen.questions.ask(Question::SameCode { peer: peer(1), code: "1".into() }, seen.now);
    seen.press(KeyCode::Char('q'));
    assert!(pressed.try_recv().is_err());
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(seen.press(control_c), Effect::None);
    assert_eq!(pressed.try_recv(), Ok(HostKey::Interrupt));
    drop(pressed);
    assert_eq!(seen.press(control_c), Effect::Interrupt);
}
