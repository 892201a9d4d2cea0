use std::borrow::Cow;
use std::fmt;

use unicase::UniCase;
use unicode_normalization::UnicodeNormalization;

use super::FileName;
use super::chars::is_joiner;
use super::component::{SUBSTITUTE, is_plain, tidy, undotted};

/// Bytes of a path from a stranger: `PATH_MAX` of Linux.
pub const PATH_BYTES_MAX: usize = 4_096;

/// Components of a path from a stranger: far deeper than folders of people, far from the recursion limits of tools.
pub const PATH_DEPTH_MAX: usize = 64;

/// Why a stranger's path is refused. Texts hold nothing of the path, so they are safe to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing, or nothing between two separators.
    #[error("the peer sent a path with an empty component")]
    Empty,
    /// It begins with a separator, a drive or a scheme.
    #[error("the peer sent an absolute path")]
    Absolute,
    /// A component is `.` or `..`, be it separated by `/` or `\`.
    #[error("the peer sent a path with `.` or `..` in it")]
    Traversal,
    /// More than [`PATH_BYTES_MAX`] bytes.
    #[error("the peer sent a path of more than `{PATH_BYTES_MAX}` bytes")]
    TooLong,
    /// More than [`PATH_DEPTH_MAX`] components.
    #[error("the peer sent a path of more than `{PATH_DEPTH_MAX}` components")]
    TooDeep,
}

/// A relative path of safe components, joined by `/`. It cannot leave the folder that it is opened in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelPath(String);

impl RelPath {
    /// The path that `text` means, each component made safe.
    ///
    /// The separator is `/`. A `\` is read as one only to refuse what Windows would take for an absolute path or a
    /// `..`; elsewhere it is a character of a name (`a\b.txt` on Linux) and becomes `_`. A component of which nothing
    /// is left, such as three dots, becomes `_`.
    ///
    /// # Errors
    ///
    /// [`NameError`] if the structure is not that of an honest relative path.
    pub fn from_stranger(text: &str) -> Result<RelPath, NameError> {
        if is_plain_path(text) {
            return Ok(RelPath(text.to_owned()));
        }
        RelPath::made_safe(text)
    }

    /// [`RelPath::from_stranger`], the long way.
    pub(super) fn made_safe(text: &str) -> Result<RelPath, NameError> {
        if text.len() > PATH_BYTES_MAX {
            return Err(NameError::TooLong);
        }
        if is_absolute(text) {
            return Err(NameError::Absolute);
        }
        if text.split('/').any(|part| part == ".") || text.split(['/', '\\']).any(|part| part == "..") {
            return Err(NameError::Traversal);
        }
        if text.split('/').any(str::is_empty) {
            return Err(NameError::Empty);
        }
        if text.split('/').count() > PATH_DEPTH_MAX {
            return Err(NameError::TooDeep);
        }
        let mut path = String::with_capacity(text.len());
        for component in text.split('/') {
            if !path.is_empty() {
                path.push('/');
            }
            path.push_str(&tidy_or_substitute(component));
        }
        if path.len() > PATH_BYTES_MAX {
            return Err(NameError::TooLong);
        }
        Ok(RelPath(path))
    }

    /// The path as it may stand in the receive folder: a leading dot of the first component gets a `_` before it.
    pub fn top_level(self) -> RelPath {
        match self.first().starts_with('.') {
            true => self.with_first_component(&undotted(self.first())),
            false => self,
        }
    }

    /// The path whose [`as_str`](RelPath::as_str) gave `text` in this process. Checks nothing: everything else is a stranger's.
    pub(crate) fn from_own(text: String) -> RelPath {
        RelPath(text)
    }

    /// The components, joined by `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The components, the outermost first; never none.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/')
    }

    /// How many components there are; at least 1.
    pub fn depth(&self) -> usize {
        self.components().count()
    }

    /// The outermost component.
    pub fn first(&self) -> &str {
        self.0.split_once('/').map_or(&self.0, |(first, _)| first)
    }

    /// The innermost component.
    pub fn leaf(&self) -> FileName {
        FileName::from_component(self.0.rsplit_once('/').map_or(&self.0, |(_, leaf)| leaf))
    }

    /// The path without its leaf; `None` at the top level.
    pub fn parent(&self) -> Option<RelPath> {
        self.above().map(|above| RelPath(above.to_owned()))
    }

    /// [`RelPath::parent`] as a string.
    pub fn above(&self) -> Option<&str> {
        self.0.rsplit_once('/').map(|(above, _)| above)
    }

    /// `name` within this folder. Paths made here may be longer than a stranger's.
    pub fn join(&self, name: &FileName) -> RelPath {
        RelPath([&self.0, "/", name.as_str()].concat())
    }

    /// The path with its outermost component replaced: how a whole folder gets a new name.
    pub fn with_first(&self, name: &FileName) -> RelPath {
        self.with_first_component(name.as_str())
    }

    /// Equal for paths that some file system takes for the same: canonical caseless matching (Unicode 3.13, D145),
    /// joiners and variation selectors ignored as by the case-folding folders of ext4 and F2FS.
    pub fn collision_key(&self) -> String {
        collision_key(&self.0)
    }

    fn with_first_component(&self, first: &str) -> RelPath {
        RelPath(match self.0.split_once('/') {
            Some((_, rest)) => [first, "/", rest].concat(),
            None => first.to_owned(),
        })
    }
}

impl From<FileName> for RelPath {
    fn from(name: FileName) -> RelPath {
        RelPath(name.as_str().to_owned())
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

pub(super) fn collision_key(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let decomposed: String = text.nfd().filter(|&c| !is_joiner(c)).collect();
    UniCase::unicode(decomposed).to_folded_case().nfc().collect()
}

/// Whether it is quickly seen that a path is safe as it is: there may be a million of them, most of them like this.
fn is_plain_path(text: &str) -> bool {
    let separators = text.bytes().filter(|byte| *byte == b'/').count();
    text.len() <= PATH_BYTES_MAX
        && separators < PATH_DEPTH_MAX
        && text.split('/').all(|component| !component.is_empty() && is_plain(component))
}

fn tidy_or_substitute(component: &str) -> Cow<'_, str> {
    let tidied = tidy(component);
    if tidied.is_empty() { SUBSTITUTE.to_string().into() } else { tidied }
}

/// A leading separator (also UNC and `\\?\`), a drive (`C:\`, `C:/`) or a scheme (`file:/`).
///
/// A colon alone is not enough: `note: today.txt` is an honest name where colons are allowed, and `C:x` becomes `C_x`.
fn is_absolute(text: &str) -> bool {
    if text.starts_with(['/', '\\']) {
        return true;
    }
    let Some((before, after)) = text.split_once(':') else { return false };
    let is_scheme = before.starts_with(|c: char| c.is_ascii_alphabetic())
        && before.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    is_scheme && (after.starts_with('/') || (before.len() == 1 && after.starts_with('\\')))
}
