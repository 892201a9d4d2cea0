//! The person's side: the code on real terminals, read by real readers, and questions answered with real keys.
#![cfg(target_os = "linux")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use common::around::{have, have_module, sh};
use common::{Launch, PATIENCE, Program, Scene, disk, qrdrop};

/// A receiver that draws its code, as a person starts it.
fn drawing(scene: &Scene) -> Launch {
    Launch::new("receive")
        .arg(scene.inbox())
        .args(["--hidden", "--port", "0", "--interface", "127.0.0.1", "--yes=private", "--invite-file"])
        .arg(scene.invite())
        .state(&scene.path("receiver-state"))
}

/// A screen without a monitor.
struct Screen {
    _server: Program,
    display: String,
}

impl Screen {
    fn new() -> Screen {
        // A little more than xterm's window of 80 x 24 needs.
        let server =
            Launch::program("Xvfb").args(["-displayfd", "1", "-screen", "0", "720x460x24", "-nolisten", "tcp"]);
        let mut server = server.start();
        let number = server.line_where("display", |line| line.parse::<u32>().is_ok());
        Screen { _server: server, display: format!(":{number}") }
    }

    /// Runs a program in xterm.
    fn xterm(&self, dark: bool, program: Launch) -> Program {
        let (ground, ink) = if dark { ("#1e1e1e", "#d4d4d4") } else { ("#ffffff", "#333333") };
        let window =
            ["-geometry", "80x24+0+0", "-fa", "DejaVu Sans Mono", "-fs", "10", "-bg", ground, "-fg", ink, "-e"];
        program.behind(window).behind(["xterm", "-u8"]).env("DISPLAY", &self.display).start()
    }

    /// Takes pictures until zbar reads one; what it read.
    fn read(&self, picture: &Path) -> String {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let mut import = Command::new("import");
            import.args(["-display", &self.display, "-window", "root"]).arg(picture);
            assert!(import.status().is_ok_and(|status| status.success()), "a screenshot can be taken");
            let read =
                Command::new("zbarimg").args(["--raw", "-q", "--nodbus"]).arg(picture).output().expect("zbarimg runs");
            if read.status.success() {
                return String::from_utf8_lossy(&read.stdout).trim().to_owned();
            }
        }
        panic!("zbar reads nothing in `{}`", picture.display());
    }
}

fn http_link(scene: &Scene) -> String {
    let text = fs::read_to_string(scene.invite()).expect("the invite file is there while the code is shown");
    text.lines().next().expect("it has two lines").to_owned()
}

#[test]
fn the_code_on_dark_and_light_terminals_is_read_by_zbar_and_by_scan() {
    if !have(&["Xvfb", "xterm", "import", "zbarimg"]) {
        return;
    }
    for (name, dark) in [("dark", true), ("light", false)] {
        let (scene, screen) = (Scene::new(), Screen::new());
        let _window = screen.xterm(dark, drawing(&scene));
        let picture = scene.path("screenshot.png");
        assert_eq!(screen.read(&picture), http_link(&scene), "the {name} theme");
        let source = scene.path("things/tree");
        disk::motley(&source, 50, 100_000);
        let sent = scene.send(&source).arg("--scan").arg(&picture).run().with(0);
        assert_eq!(sent.one("finished")["label"], "verified");
        disk::assert_same(&scene.path("things"), &scene.inbox());
        keep(&picture, name);
    }
}

#[test]
fn a_plain_transfer_needs_no_address_typed_with_scan() {
    if !have(&["Xvfb", "xterm", "import", "zbarimg"]) {
        return;
    }
    let (scene, screen) = (Scene::new(), Screen::new());
    let _window = screen.xterm(true, drawing(&scene).args(["--classic", "accept"]));
    let picture = scene.path("screenshot.png");
    screen.read(&picture);
    let source = scene.thing("data.csv", b"1,2,3\n");
    scene.send(&source).args(["--classic", "--scan"]).arg(&picture).run().with(0);
}

#[test]
fn careless_photos_of_a_dark_and_a_light_terminal_are_read() {
    if let Some(read) = careless_photos_read(6) {
        assert!(read >= 10, "only {read} of 12 were read");
    }
}

#[test]
#[ignore = "a minute and a half; docs/testing.md has the figure"]
fn at_least_45_of_50_careless_photos_are_read() {
    let read = careless_photos_read(25).expect("it needs xterm, Xvfb, ImageMagick and Pillow");
    println!("{read} of 50 photos were read");
    assert!(read >= 45, "only {read} of 50 were read");
}

/// How many photos are read, of so many of a dark and as many of a light terminal; `None` where none can be made.
fn careless_photos_read(each: usize) -> Option<usize> {
    if !have(&["Xvfb", "xterm", "import", "zbarimg"]) || !have_module("PIL") || !have_module("numpy") {
        return None;
    }
    let mut read = 0;
    for dark in [true, false] {
        let (scene, screen) = (Scene::new(), Screen::new());
        let _window = screen.xterm(dark, drawing(&scene));
        let picture = scene.path("screenshot.png");
        screen.read(&picture);
        let photos = scene.path("photos");
        Launch::python("degrade.py").arg(&picture).arg(&photos).arg(each.to_string()).run().with(0);
        for photo in disk::names(&photos) {
            let source = scene.thing(&photo, b"seen");
            let sent = scene.send(&source).arg("--scan").arg(photos.join(&photo)).run();
            if sent.code != Some(0) {
                sent.failed(2);
            }
        }
        read += disk::names(&scene.inbox()).len();
    }
    Some(read)
}

/// Leaves a copy in the folder that `QRDROP_PICTURES` names, for people and documents.
fn keep(picture: &Path, name: &str) {
    if let Some(folder) = std::env::var_os("QRDROP_PICTURES") {
        fs::copy(picture, PathBuf::from(folder).join(format!("{name}.png"))).expect("the folder is there");
    }
}

/// A tmux server of its own with one pane.
struct Tmux {
    socket: PathBuf,
}

impl Tmux {
    /// A pane that runs a shell.
    fn new(scene: &Scene, columns: u16, rows: u16) -> Tmux {
        let tmux = Tmux { socket: scene.path("tmux") };
        tmux.does(&format!("-f /dev/null new-session -d -x {columns} -y {rows} 'env PS1=ready: LC_ALL=C.UTF-8 sh'"));
        tmux
    }

    fn does(&self, what: &str) -> String {
        sh(&format!("LC_ALL=C.UTF-8 tmux -S '{}' {what}", self.socket.display()))
    }

    /// Types a line into the shell.
    fn types(&self, line: &str) {
        self.does(&format!("send-keys -l '{}'", line.replace('\'', r"'\''")));
        self.does("send-keys Enter");
    }

    /// Types a line into a shell that takes the terminal back at this moment, and may throw away what comes meanwhile: what is
    /// not echoed within a second is typed again.
    fn types_visibly(&self, line: &str) {
        let deadline = Instant::now() + PATIENCE;
        let is_echoed = || {
            let soon = Instant::now() + Duration::from_secs(1);
            self.does("send-keys C-u");
            self.does(&format!("send-keys -l '{}'", line.replace('\'', r"'\''")));
            while Instant::now() < soon {
                if self.does("capture-pane -p -J").contains(line) {
                    return true;
                }
            }
            false
        };
        while !is_echoed() {
            assert!(Instant::now() < deadline, "what is typed is not echoed");
        }
        self.does("send-keys Enter");
    }

    /// The pane, once it fits.
    fn shows(&self, what: &str, fits: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let pane = self.does("capture-pane -p -J");
            if fits(&pane) {
                return pane;
            }
            assert!(Instant::now() < deadline, "the pane does not show {what}:\n{pane}");
        }
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let _ = Command::new("tmux").arg("-S").arg(&self.socket).arg("kill-server").status();
    }
}

/// The line that starts a receiver in the shell of a pane.
fn typed(scene: &Scene) -> String {
    format!(
        "{} receive '{}' --hidden --port 0 --interface 127.0.0.1 --yes --invite-file '{}' --state-dir '{}'",
        qrdrop().display(),
        scene.inbox().display(),
        scene.invite().display(),
        scene.path("state").display()
    )
}

#[test]
fn in_80_by_24_code_link_address_and_folder_are_on_the_screen_and_stay_there_through_a_transfer() {
    if !have(&["tmux"]) {
        return;
    }
    let scene = Scene::new();
    let tmux = Tmux::new(&scene, 80, 24);
    tmux.types(&typed(&scene));
    let all_there = |pane: &str| {
        let Ok(invite) = fs::read_to_string(scene.invite()) else { return false };
        let link = invite.lines().next().unwrap_or_default().to_owned();
        let address = link.trim_start_matches("http://").split('/').next().unwrap_or_default().to_owned();
        let inbox = scene.inbox().file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let half_blocks = pane.lines().filter(|line| line.contains('▀') || line.contains('▄')).count();
        let addresses = pane.matches(&address).count();
        !link.is_empty() && pane.contains(&link) && addresses >= 2 && pane.contains(&inbox) && half_blocks >= 15
    };
    let pane = tmux.shows("code, link, address and folder", all_there);
    // tmux joins the shell's own wrapped command line, which is longer.
    let mut ours = pane.lines().filter(|line| !line.contains("--invite-file"));
    assert!(pane.lines().count() <= 24 && ours.all(|line| line.chars().count() <= 80), "{pane}");
    let source = scene.thing("a.txt", b"a");
    scene.send(&source).args(["--to", &scene.at_invite()]).run().with(0);
    tmux.shows("the code after a transfer", |pane| all_there(pane) && pane.contains("a.txt"));
}

#[test]
fn a_computer_is_told_to_take_the_link_of_a_receiver_that_it_can_not_find_by_itself() {
    if !have(&["tmux"]) {
        return;
    }
    let scene = Scene::new();
    let tmux = Tmux::new(&scene, 80, 24);
    tmux.types(&typed(&scene));
    tmux.shows("the command with the link", |pane| pane.contains("--to LINK`"));
}

#[test]
fn ctrl_c_gives_back_a_terminal_that_echoes() {
    if !have(&["tmux"]) {
        return;
    }
    let scene = Scene::new();
    let tmux = Tmux::new(&scene, 80, 24);
    tmux.types(&typed(&scene));
    tmux.shows("the link", |pane| pane.contains("http://127.0.0.1:"));
    tmux.does("send-keys C-c");
    tmux.shows("the shell", |pane| pane.trim_end().ends_with("ready:"));
    // A terminal left raw says `-icanon` and `-echo`.
    let modes = r"echo code=$?; stty -a | tr ' ;' '\n\n' | grep -x -e '-*echo' -e '-*icanon' | paste -sd,";
    tmux.types_visibly(modes);
    tmux.shows("exit code 0 and the usual modes", |pane| {
        ["code=0", "icanon,echo"].iter().all(|line| pane.lines().any(|shown| shown == *line))
    });
}

#[test]
fn a_terminal_too_small_gets_the_link_and_is_told_how_to_see_the_code() {
    if !have(&["tmux"]) {
        return;
    }
    let scene = Scene::new();
    let tmux = Tmux::new(&scene, 36, 30);
    tmux.types(&typed(&scene));
    tmux.shows("the link", |pane| {
        let whole: String = pane.split_whitespace().collect();
        scene.invite().exists() && whole.contains(&http_link(&scene)) && !pane.contains("▀▀▀▀▀▀▀")
    });
}

#[test]
fn a_dumb_terminal_without_colour_gets_a_whole_transfer() {
    let scene = Scene::new();
    let source = scene.thing("a.bin", &disk::noise(1, 3_000_000));
    let plain = |launch: Launch| launch.on_a_terminal().env("TERM", "dumb").env("NO_COLOR", "1").env("LC_ALL", "C");
    let host = plain(scene.receive().args(["--once", "--yes"])).listening();
    let sent = plain(scene.send(&source).args(["--to", &scene.at_invite()])).start().ended().with(0);
    let received = host.program.ended().with(0);
    for ended in [&sent, &received] {
        assert!(!ended.raw_screen.contains(&0x1b), "no escape sequence on a dumb terminal\n{ended}");
    }
    disk::assert_same(&scene.path("things"), &scene.inbox());
}

#[test]
fn a_person_at_the_receiver_says_yes_or_no() {
    let scene = Scene::new();
    let source = scene.thing("a.txt", b"a");
    let mut host = scene.receive().on_a_terminal().listening();
    let sender = scene.send(&source).args(["--to", &scene.at_invite()]).start();
    host.program.shows("[Y/n]");
    host.program.press_until("n", "`refused`", |event| event["event"] == "refused");
    sender.ended().failed(3);
    assert!(disk::names(&scene.inbox()).is_empty());

    let sender = scene.send(&source).args(["--to", &scene.at_invite()]).start();
    host.program.press_until("y", "`stored`", |event| event["event"] == "stored");
    sender.ended().with(0);
    disk::assert_same(&scene.path("things"), &scene.inbox());
}

#[test]
fn enter_is_no_to_a_code() {
    let scene = Scene::new();
    let source = scene.thing("a.txt", b"a");
    let mut host = scene.receive().arg("--yes").on_a_terminal().listening();
    let sender = scene.send(&source).args(["--to", &host.address().to_string()]);
    let mut sender = sender.on_a_terminal().start();
    assert_eq!(sender.event("code")["code"], host.program.event("code")["code"]);
    host.program.press("y");
    sender.press_until("\r", "`failed`", |event| event["event"] == "failed");
    sender.ended().failed(6);
    assert!(disk::names(&scene.inbox()).is_empty());
}

#[test]
fn a_strangers_name_cannot_speak_to_the_terminal() {
    let scene = Scene::new();
    let name = "x\u{1b}]0;title\u{7}\u{1b}[2J\u{9b}31m\nAccept from Alice (verified)? [Y!n]\u{202e}fdp.exe";
    let source = scene.thing(name, b"a");
    let host = scene.receive().args(["--once", "--yes"]).on_a_terminal().listening();
    scene.send(&source).args(["--to", &scene.at_invite()]).run().with(0);
    let received = host.program.ended().with(0);
    let raw = String::from_utf8_lossy(&received.raw_screen).into_owned();
    for attack in ["\u{1b}]0;title", "\u{9b}", "\u{202e}", "\nAccept", "\rAccept"] {
        assert!(!raw.contains(attack), "{attack:?} reaches the terminal\n{received}");
    }
    for name in disk::names(&scene.inbox()) {
        assert!(!name.chars().any(|c| c.is_control() || c == '\u{202e}') && name.ends_with(".exe"), "{name:?}");
    }
}

#[test]
fn a_text_is_shown_harmlessly_and_copied_for_a_y_alone() {
    let scene = Scene::new();
    let text = "wifi: correct\u{1b}[201~ horse\n\u{202e}second";
    let send = || Launch::new("send").args(["--json", "--text", text, "--to", &scene.at_invite()]).run().with(0);
    for (key, copied) in [("\r", ""), ("y", "\u{1b}]52;c;d2lmaTogY29ycmVjdFsyMDF+IGhvcnNlCnNlY29uZA==\u{7}")] {
        let mut host = scene.receive().args(["--once", "--yes"]).on_a_terminal().listening();
        send();
        host.program.shows("copy the text from");
        host.program.press_until(key, "`closed`", |event| event["event"] == "closed");
        let received = host.program.ended().with(0);
        let raw = String::from_utf8_lossy(&received.raw_screen).into_owned();
        assert!(raw.contains("| wifi: correct\u{fffd}[201~ horse") && raw.contains("| \u{fffd}second"), "{received}");
        let sequences: Vec<&str> = raw.match_indices("\u{1b}]").map(|(at, _)| &raw[at..]).collect();
        assert_eq!(sequences.len(), usize::from(!copied.is_empty()), "{received}");
        assert!(sequences.iter().all(|sequence| sequence.starts_with(copied)), "{received}");
    }
    let host = scene.receive().args(["--once", "--yes"]).listening();
    send();
    let received = host.program.ended().with(0);
    assert!(received.screen.contains("| wifi: correct") && !received.raw_screen.contains(&0x1b), "{received}");
    assert!(!received.screen.contains("copy the text"), "{received}");
}
