use super::*;

#[cfg(unix)]
mod on_disk;
mod properties;

fn name(text: &str) -> String {
    FileName::from_stranger(text).as_str().to_owned()
}

fn path(text: &str) -> Result<String, NameError> {
    RelPath::from_stranger(text).map(|path| path.as_str().to_owned())
}

#[test]
fn good_names_are_kept_byte_for_byte() {
    for good in [
        "a..b.txt",
        "-rf",
        "x...y",
        "100%.txt",
        "%2e%2e%2fx",
        "~root",
        "$HOME",
        "a'b;c&d.txt",
        "👩🏽\u{200d}💻.png",
        "🏳\u{fe0f}\u{200d}🌈",
        "❤\u{fe0f}\u{200d}🔥.gif",
        "1\u{fe0f}\u{20e3}.txt",
        "می\u{200c}خواهم.txt",
        "അവന്\u{200d}.txt",
        "葛\u{e0100}城.txt",
        "caf\u{e9}",
        "cafe\u{301}",
        "각.txt",
        "\u{1112}\u{1161}\u{11ab}.txt",
        "Bildschirmfoto 3.04.05\u{202f}PM.png",
        "CONTENT.txt",
        "console",
        "COM10",
        "comma",
        "_",
        " x",
    ] {
        assert_eq!(name(good), good);
        assert_eq!(path(good).as_deref(), Ok(good));
        assert_eq!(path(&format!("sent/{good}")), Ok(format!("sent/{good}")));
    }
}

#[test]
fn a_path_that_leaves_its_folder_is_refused() {
    for text in ["../x", "..", "a/../../x", "a/..", "./a", ".", "a/./b", r"..\x", r"a\..\..\x", r"a/..\x", r"a\.."] {
        assert_eq!(path(text), Err(NameError::Traversal), "{text}");
    }
}

#[test]
fn an_absolute_path_a_drive_a_share_and_a_scheme_are_refused() {
    for text in
        ["/", "/etc/cron.d/x", r"C:\x", "c:/x", r"\\h\s\x", r"\x", "//?/C:/x", r"\\?\C:\x", "file:///x", "smb://h/x"]
    {
        assert_eq!(path(text), Err(NameError::Absolute), "{text}");
    }
}

#[test]
fn a_path_with_an_empty_component_is_refused() {
    for text in ["", "a//b", "a/", "....//x"] {
        assert_eq!(path(text), Err(NameError::Empty), "{text:?}");
    }
}

#[test]
fn a_path_too_deep_or_too_long_is_refused_and_the_limit_itself_passes() {
    let deep = |depth| vec!["a"; depth].join("/");
    assert_eq!(path(&deep(64)), Ok(deep(64)));
    assert_eq!(path(&deep(65)), Err(NameError::TooDeep));
    assert_eq!(path(&deep(5_000)), Err(NameError::TooLong));
    let long = |last| format!("{}/{}", vec!["a".repeat(255); 15].join("/"), "b".repeat(last));
    assert_eq!(path(&long(255)).map(|path| path.len()), Ok(4_095));
    assert_eq!(path(&format!("{}/c", long(255))), Err(NameError::TooLong));
    let longest = |last: String| format!("{}/{}/{last}", vec!["a".repeat(255); 15].join("/"), "b".repeat(127));
    assert_eq!(path(&longest("c".repeat(128))).map(|path| path.len()), Ok(4_096));
    assert_eq!(path(&longest("c".repeat(129))), Err(NameError::TooLong));

    let growing = vec!["nul"; 64].join("/");
    assert_eq!(path(&growing).map(|path| path.len()), Ok(64 * 5 - 1));
    let device = |padding| format!("nul.{}", "c".repeat(padding));
    assert_eq!(path(&longest(device(123))).map(|path| path.len()), Ok(4_096));
    assert_eq!(path(&longest(device(124))), Err(NameError::TooLong));
}

#[test]
fn a_stranger_cannot_store_a_traversal_as_a_name() {
    for (hostile, stored) in [
        ("../x", "x"),
        (r"..\x", "x"),
        ("a/../../x", "x"),
        ("....//x", "x"),
        ("/etc/cron.d/x", "x"),
        (r"C:\x", "x"),
        ("C:x", "C_x"),
        (r"\\h\s\x", "x"),
        ("file:///x", "x"),
        ("tree/", "tree"),
    ] {
        assert_eq!(name(hostile), stored);
    }
    assert_eq!(name("%2e%2e%2fx"), "%2e%2e%2fx");
}

#[test]
fn a_name_of_which_nothing_is_left_is_generated() {
    for nothing in ["", ".", "..", "/", "//", r"\", " ", "   ", "...", ". .", "a/..", "\u{3000}"] {
        assert_eq!(name(nothing), "file", "{nothing:?}");
    }
    assert_eq!(path("a/.../b").as_deref(), Ok("a/_/b"));
    assert_eq!(path("a/  ").as_deref(), Ok("a/_"));
    assert_eq!(path(".. /x").as_deref(), Ok("_/x"));
}

#[test]
fn a_leading_dot_is_neutralised_at_the_top_level_and_kept_inside() {
    assert_eq!(name(".bashrc"), "_.bashrc");
    assert_eq!(name("x/.bashrc"), "_.bashrc");
    assert_eq!(name("..hidden"), "_..hidden");
    for (offered, stored) in [
        (".ssh/authorized_keys", "_.ssh/authorized_keys"),
        (".config/autostart/x.desktop", "_.config/autostart/x.desktop"),
        (".qrdrop-partial/x", "_.qrdrop-partial/x"),
        ("project/.git/config", "project/.git/config"),
    ] {
        assert_eq!(RelPath::from_stranger(offered).unwrap().as_str(), offered);
        assert_eq!(RelPath::from_stranger(offered).unwrap().top_level().as_str(), stored);
    }
    let longest = RelPath::from_stranger(&format!(".{}.txt", "a".repeat(250))).unwrap().top_level();
    assert_eq!(longest.as_str(), format!("_.{}.txt", "a".repeat(249)));
}

#[test]
fn windows_devices_are_renamed_on_every_system() {
    for (device, stored) in [
        ("CON", "CON_"),
        ("con", "con_"),
        ("nul.txt", "nul_.txt"),
        ("NUL.tar.gz", "NUL_.tar.gz"),
        ("AUX.", "AUX_"),
        ("AUX .txt", "AUX_ .txt"),
        ("COM1", "COM1_"),
        ("COM0", "COM0_"),
        ("LPT9.log", "LPT9_.log"),
        ("com¹.x", "com¹_.x"),
        ("LPT³", "LPT³_"),
        ("CONIN$", "CONIN$_"),
        ("conout$.txt", "conout$_.txt"),
    ] {
        assert_eq!(name(device), stored);
        assert_eq!(path(&format!("a/{device}/b")), Ok(format!("a/{stored}/b")));
    }
    let bared = format!("CON{}x", " ".repeat(300));
    assert_eq!(name(&bared), "CON_");
    assert_eq!(name(&format!("{bared}.txt")), "CON_.txt");
}

#[test]
fn what_windows_reads_in_a_name_is_no_longer_there() {
    for (hostile, stored) in [
        ("a.txt:evil", "a.txt_evil"),
        ("a.txt::$DATA", "a.txt__$DATA"),
        ("x.exe.", "x.exe"),
        ("x.exe ", "x.exe"),
        ("x.exe. . ", "x.exe"),
        ("x.exe\u{a0}", "x.exe"),
        (r#"a*?"<>|b"#, "a______b"),
    ] {
        assert_eq!(name(hostile), stored);
    }
    assert_eq!(path("dir./x").as_deref(), Ok("dir/x"));
    assert_eq!(path(r"a\b.txt").as_deref(), Ok("a_b.txt"));
    assert_eq!(path("note: today.txt").as_deref(), Ok("note_ today.txt"));
    assert_eq!(path("note to self:/x").as_deref(), Ok("note to self_/x"));
    assert_eq!(path("7:/x").as_deref(), Ok("7_/x"));
    assert_eq!(path("C:x").as_deref(), Ok("C_x"));
    assert_eq!(path(r"ab:\x").as_deref(), Ok("ab__x"));
}

#[test]
fn hidden_characters_in_names_become_visible() {
    for (hostile, stored) in [
        ("a\nb\rc\td\0e\x1bf\x07g\x7fh\u{9b}i", "a_b_c_d_e_f_g_h_i"),
        ("photo\u{202e}gpj.exe", "photo_gpj.exe"),
        ("a\u{2066}b\u{2069}c\u{200b}d\u{feff}e\u{ad}f\u{e0041}g", "a_b_c_d_e_f_g"),
        ("invoice.e\u{200c}xe", "invoice.e_xe"),
        ("a\u{fe0f}b", "a_b"),
        ("\u{200d}x", "_x"),
        ("👩\u{200d}\u{200d}💻", "👩\u{200d}_💻"),
        ("x\u{2028}y\u{3164}z", "x_y_z"),
        ("x\u{fdd0}y\u{fffe}z\u{1ffff}", "x_y_z_"),
    ] {
        assert_eq!(name(hostile), stored);
    }
}

#[test]
fn a_long_name_is_cut_between_graphemes_and_keeps_its_extension() {
    let exact = format!("{}.txt", "a".repeat(251));
    assert_eq!(name(&exact), exact);
    for length in [252, 1_000, 65_536] {
        assert_eq!(name(&format!("{}.txt", "a".repeat(length))), exact);
    }
    assert_eq!(name(&"a".repeat(4_096)), "a".repeat(255));
    assert_eq!(name(&format!("{}.tar.gz", "b".repeat(300))), format!("{}.tar.gz", "b".repeat(248)));
    assert_eq!(name(&format!("{}.txt", "é".repeat(200))), format!("{}.txt", "é".repeat(125)));
    let family = "👩\u{200d}👩\u{200d}👧";
    assert_eq!(name(&family.repeat(20)), family.repeat(255 / family.len()));
    assert_eq!(name(&format!("{}.txt", family.repeat(20))), format!("{}.txt", family.repeat(251 / family.len())));
    assert!(name(&format!("a{}", "\u{301}".repeat(1_000))).len() > 250);
}

#[test]
fn a_number_goes_before_the_extension_and_fits() {
    for (plain, numbered) in [
        ("report.pdf", "report (1).pdf"),
        ("backup.tar.gz", "backup (1).tar.gz"),
        ("a.TAR.xz", "a (1).TAR.xz"),
        ("README", "README (1)"),
        ("_.bashrc", "_ (1).bashrc"),
        ("a.b.c", "a.b (1).c"),
    ] {
        assert_eq!(FileName::from_stranger(plain).with_number(1).as_str(), numbered);
    }
    for (inside, numbered) in [("d/.bashrc", ".bashrc (1)"), ("d/.tar.gz", ".tar (1).gz")] {
        assert_eq!(RelPath::from_stranger(inside).unwrap().leaf().with_number(1).as_str(), numbered);
    }
    let longest = FileName::from_stranger(&format!("{}.txt", "a".repeat(251))).with_number(u32::MAX);
    assert_eq!(longest.as_str().len(), 255);
    assert!(longest.as_str().ends_with("a (4294967295).txt"));
}

#[test]
fn the_extension_is_what_the_system_acts_on() {
    let extension = |text| FileName::from_stranger(text).extension().map(str::to_owned);
    assert_eq!(extension("a.tar.gz").as_deref(), Some("gz"));
    assert_eq!(extension("photo.jpg          .exe").as_deref(), Some("exe"));
    assert_eq!(extension("README"), None);
    assert_eq!(RelPath::from_stranger("d/.bashrc").unwrap().leaf().extension(), None);
}

#[test]
fn names_that_some_file_system_takes_for_one_have_one_key() {
    let key = |text: &str| FileName::from_stranger(text).collision_key();
    for (a, b) in [
        ("README", "readme"),
        ("caf\u{e9}", "cafe\u{301}"),
        ("CAFE\u{301}", "caf\u{e9}"),
        ("straße", "STRASSE"),
        ("ΣΑΣ", "σας"),
        ("ﬁle", "FILE"),
        ("می\u{200c}خ", "میخ"),
        ("\u{212a}", "k"),
    ] {
        assert_eq!(key(a), key(b), "{a} {b}");
    }
    assert_ne!(key("a"), key("b"));
    let whole = |text| RelPath::from_stranger(text).unwrap().collision_key();
    assert_eq!(whole("Dir/A"), whole("dir/a"));
    assert_ne!(whole("dir/a"), whole("dira"));
}

#[test]
fn a_path_is_taken_apart_and_put_together() {
    let path = RelPath::from_stranger("tree/sub/leaf.txt").unwrap();
    assert_eq!(path.components().collect::<Vec<_>>(), ["tree", "sub", "leaf.txt"]);
    assert_eq!(path.components().next_back(), Some("leaf.txt"));
    assert_eq!((path.depth(), path.first(), path.leaf().as_str()), (3, "tree", "leaf.txt"));
    assert_eq!(path.parent().unwrap().join(&path.leaf()), path);
    assert_eq!(path.with_first(&FileName::from_stranger("tree").with_number(1)).as_str(), "tree (1)/sub/leaf.txt");
    let single = RelPath::from(FileName::from_stranger("x"));
    assert_eq!((single.parent(), single.first(), single.leaf().as_str()), (None, "x", "x"));
    assert_eq!(single.with_first(&FileName::from_stranger("y")).as_str(), "y");
}

#[test]
fn names_print_as_they_are_and_in_columns() {
    let (file, path, peer) =
        (FileName::from_stranger("x"), RelPath::from_stranger("d/x").unwrap(), PeerName::from_stranger("Ada"));
    assert_eq!(format!("{file}, {path}, {peer}"), "x, d/x, Ada");
    assert_eq!(format!("{file:3}|{path:>4}|{peer:.2}"), "x  | d/x|Ad");
}

#[test]
fn devices_that_a_person_takes_for_one_have_one_key() {
    let key = |text| PeerName::from_stranger(text).collision_key();
    assert_eq!(key("Zo\u{eb}"), key("ZOE\u{308}"));
    assert_ne!(key("Zo\u{eb}"), key("Zoe"));
}

#[test]
fn a_device_name_is_short_inert_and_never_empty() {
    let peer = |text: &str| PeerName::from_stranger(text).as_str().to_owned();
    assert_eq!(peer("Ada's laptop"), "Ada's laptop");
    assert_eq!(peer(" \t "), "unnamed");
    assert_eq!(peer(""), "unnamed");
    assert_eq!(peer("x\x1b[2J\ny"), "x\u{fffd}[2J\u{fffd}y");
    assert_eq!(peer(&"a".repeat(1_000)), "a".repeat(63));
    assert_eq!(peer(&"💻".repeat(1_000)), "💻".repeat(63));
    assert_eq!(peer(&"👩\u{200d}💻".repeat(1_000)).chars().count(), 63);
}

#[test]
fn terminal_sequences_are_inert() {
    for hostile in
        ["\x1b[2J", "\x1b]0;title\x07", "\x1b]8;;http://x\x1b\\", "\x1b]52;c;eA==\x07", "\x1bPq", "\x1b[6n", "\u{9b}2J"]
    {
        assert!(!inert(hostile).contains(|c: char| c.is_control()), "{hostile:?}");
    }
    assert_eq!(inert("x\nAccept from Alice (verified)? [Y/n]"), "x\u{fffd}Accept from Alice (verified)? [Y/n]");
    assert_eq!(inert("a\rb\u{8}c"), "a\u{fffd}b\u{fffd}c");
}

#[test]
fn a_pile_of_marks_is_cut_down_and_never_falls_on_our_own_text() {
    assert_eq!(inert(&format!("a{}b", "\u{301}".repeat(10_000))), format!("a{}b", "\u{301}".repeat(8)));
    assert_eq!(inert("\u{301}a"), "\u{25cc}\u{301}a");
    assert!(inert(&"\u{11ff}".repeat(10_000)).chars().count() < 20);
}

#[test]
fn an_elided_name_shows_its_beginning_and_its_extension() {
    assert_eq!(elide("report.pdf", 10), "report.pdf");
    assert_eq!(elide("a very long report.pdf", 16), "a very l…ort.pdf");
    assert_eq!(elide("backup of everything.tar.gz", 12), "back….tar.gz");
    assert_eq!(elide("photo.jpg                                  .exe", 20), "photo.jpg …     .exe");
    assert_eq!(elide("report.pdf", 5), "….pdf");
    assert_eq!(elide("report.pdf", 3), "…df");
    assert_eq!(elide("report.pdf", 1), "…");
    assert_eq!(elide("report.pdf", 0), "");
    assert_eq!(elide("漢字漢字漢字.txt", 10), "漢字….txt");
    assert!(elide(&"x".repeat(5_000), 60).len() < 70);
}

#[test]
fn amounts_are_sane_at_their_edges() {
    for (bytes, text) in [
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (3_200_000, "3.2 MB"),
        (10_u64.pow(18), "1.0 EB"),
        (u64::MAX, "18.4 EB"),
    ] {
        assert_eq!(human_bytes(bytes), text);
    }
    for (rate, text) in
        [(0.0, "0 B/s"), (-1.0, "0 B/s"), (f64::NAN, "0 B/s"), (3.2e6, "3.2 MB/s"), (f64::INFINITY, "18.4 EB/s")]
    {
        assert_eq!(human_rate(rate), text);
    }
    for (seconds, text) in [
        (0.0, "0 s"),
        (-1.0, "0 s"),
        (f64::NAN, "0 s"),
        (0.44, "0.4 s"),
        (59.0, "59 s"),
        (185.0, "3 min 05 s"),
        (7_620.0, "2 h 07 min"),
        (349_200.0, "4 d 01 h"),
        (8_639_999.0, "99 d 23 h"),
        (8_640_000.0, "over 99 d"),
        (f64::INFINITY, "over 99 d"),
    ] {
        assert_eq!(human_duration(seconds), text);
    }
}
