//! What holds of what a person or a script types.

use super::{Input, parse};
use crate::wire::MESSAGE_CAP;

/// A line is a command, or words that fit into a message and are those that were typed.
pub fn line(bytes: &[u8]) {
    let line = String::from_utf8_lossy(bytes);
    match parse(&line) {
        Ok(Input::Say(text)) => {
            assert!(!text.trim().is_empty() && text.len() <= MESSAGE_CAP);
            let typed = line.trim_end_matches(['\r', '\n']);
            assert!(typed == text || (typed.strip_prefix('/') == Some(&*text) && text.starts_with('/')));
        }
        Ok(Input::Send(path)) => assert!(line.contains(&path)),
        Ok(Input::Nothing) => assert!(line.trim_matches('/').trim().is_empty()),
        Ok(_) => assert!(line.starts_with('/')),
        Err(why) => assert!(line.starts_with('/') || line.len() > MESSAGE_CAP, "{why}"),
    }
}
