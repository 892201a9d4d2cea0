//! What holds of every stranger's text, written without the code under test.

use std::collections::HashSet;
use std::path::{Component, Path};

use unicode_normalization::UnicodeNormalization;
use unicode_width::UnicodeWidthStr;

use super::rel_path::collision_key;
use super::{
    FileName, PATH_BYTES_MAX, PATH_DEPTH_MAX, PeerName, RelPath, columns, elide, inert, is_hidden_char, json_line,
};

/// Around each further digit.
const NUMBERS: [u32; 8] = [1, 2, 9, 10, 11, 99, 100, u32::MAX];

/// One component that stays where it is put: on every system, and in every program that shows it.
pub fn safe_component(name: &str) {
    assert!(!matches!(name, "" | "." | ".."), "no name: {name:?}");
    assert!(name.len() <= 255, "too long: {name:?}");
    assert!(!name.ends_with([' ', '.']), "windows strips the end: {name:?}");
    let hostile = |c: char| {
        let code = u32::from(c);
        code < 0x20
            || (0x7f..0xa0).contains(&code)
            || r#"\/:*?"<>|"#.contains(c)
            || [0xad, 0x61c, 0x180e, 0x200b, 0x200e, 0x200f, 0x3164, 0xfeff].contains(&code)
            || (0x2028..=0x202e).contains(&code)
            || (0x2060..=0x206f).contains(&code)
            || (0xe0000..=0xe007f).contains(&code)
    };
    assert!(!name.contains(hostile), "hostile character: {name:?}");
    let joins = |c: char| c == '\u{200c}' || c == '\u{200d}';
    let follows_ascii = name.chars().zip(name.chars().skip(1)).any(|(a, b)| a.is_ascii() && joins(b));
    assert!(!follows_ascii && !name.starts_with(joins), "joiner that joins nothing: {name:?}");
    let stem = name.split('.').next().unwrap_or(name).trim_end().to_uppercase();
    let is_port = ["COM", "LPT"].iter().any(|port| {
        stem.strip_prefix(port).is_some_and(|number| number.chars().count() == 1 && "0123456789¹²³".contains(number))
    });
    let is_device = ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"].contains(&stem.as_str());
    assert!(!is_port && !is_device, "device: {name:?}");
    let mut components = Path::new(name).components();
    assert!(matches!(components.next(), Some(Component::Normal(leaf)) if leaf == name), "not a leaf: {name:?}");
    assert_eq!(components.next(), None);
}

/// [`FileName`]: safe, settled, and so with a number.
pub fn file_name(text: &str, number: u32) {
    let name = FileName::from_stranger(text);
    safe_component(name.as_str());
    assert!(!name.as_str().starts_with('.'));
    assert_eq!(FileName::from_stranger(name.as_str()), name);
    let numbered = name.with_number(number);
    safe_component(numbered.as_str());
    assert_eq!(FileName::from_stranger(numbered.as_str()), numbered);
    if name.extension().is_some_and(|extension| extension.len() < 32) {
        assert_eq!(numbered.extension(), name.extension());
    }
}

/// [`FileName::with_number`]: no two give one name, whatever the file system takes for the same.
pub fn numbers(text: &str) {
    let name = FileName::from_stranger(text);
    let numbered: HashSet<String> = NUMBERS.iter().map(|number| name.with_number(*number).collision_key()).collect();
    assert_eq!(numbered.len(), NUMBERS.len());
}

/// [`RelPath`]: refused, or safe and settled, at the top level of a folder too.
pub fn rel_path(text: &str) {
    let Ok(path) = RelPath::from_stranger(text) else { return };
    assert!(path.depth() <= PATH_DEPTH_MAX && path.as_str().len() <= PATH_BYTES_MAX);
    path.components().for_each(safe_component);
    assert_eq!(RelPath::from_stranger(path.as_str()).as_ref(), Ok(&path));
    assert_eq!(path.parent().map_or_else(|| path.leaf().into(), |parent| parent.join(&path.leaf())), path);
    let top = path.top_level();
    assert!(!top.first().starts_with('.'));
    safe_component(top.first());
    assert_eq!(top.clone().top_level(), top);
}

/// [`inert`], [`elide`] and [`json_line`]: nothing hides, nothing is wider than it may be, and no JSON says something else.
pub fn shown(text: &str, width: usize) {
    let shown = inert(text);
    assert!(!shown.contains(is_hidden_char), "{shown:?}");
    assert_eq!(inert(&shown), shown);
    let elided = elide(text, width);
    assert!(!elided.contains(is_hidden_char), "{elided:?}");
    assert!(elided.width() <= width && columns(&elided) <= width, "{elided:?} {width}");
    let line = json_line(&text);
    assert!(!line.trim_end_matches('\n').contains(is_hidden_char), "{line:?}");
    assert_eq!(serde_json::from_str::<String>(&line).ok().as_deref(), Some(text));
}

/// [`PeerName`]: short, inert, settled.
pub fn peer_name(text: &str) {
    let name = PeerName::from_stranger(text);
    assert!(!name.as_str().is_empty() && name.as_str().len() <= 255 && name.as_str().chars().count() <= 63);
    assert_eq!(inert(name.as_str()), name.as_str());
    assert_eq!(PeerName::from_stranger(name.as_str()), name);
}

/// Collision keys: case and composition are forgotten.
pub fn key(text: &str) {
    let key = collision_key(text);
    assert_eq!(collision_key(&text.nfd().collect::<String>()), key);
    assert_eq!(collision_key(&text.nfc().collect::<String>()), key);
    assert_eq!(collision_key(&text.to_lowercase()), key);
}

/// All of that of one text; the first byte is a width and a number.
pub fn names(bytes: &[u8]) {
    let Some((first, text)) = bytes.split_first() else { return };
    let text = &String::from_utf8_lossy(text);
    file_name(text, u32::from(*first));
    numbers(text);
    rel_path(text);
    shown(text, usize::from(*first));
    peer_name(text);
    key(text);
}
