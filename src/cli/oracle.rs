//! What holds of the settings file and of lines from a pipe.

use std::path::PathBuf;

use super::chat::lines::{LINE_MOST, next_line};
use super::settings::Settings;
use crate::names::is_hidden_char;

/// A settings file is taken, or it is told where it is wrong, on one line that hides nothing.
pub fn settings(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Err((_, failure)) = Settings::read(&text, PathBuf::from("config.toml")) {
        assert!(failure.message.starts_with("`config.toml`, line "), "{failure}");
        assert!(!failure.message.contains(is_hidden_char) && !failure.hint.is_empty(), "{failure}");
    }
}

/// Lines from a pipe are those that are in it, each no longer than is kept.
pub fn lines(bytes: &[u8]) {
    let mut input = bytes;
    let lines: Vec<String> = std::iter::from_fn(|| next_line(&mut input).expect("memory can be read")).collect();
    let expected = bytes.split_inclusive(|byte| *byte == b'\n').map(|line| {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        String::from_utf8_lossy(&line[..line.len().min(LINE_MOST)]).into_owned()
    });
    assert_eq!(lines, expected.collect::<Vec<_>>());
}
