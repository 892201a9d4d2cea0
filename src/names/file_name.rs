use std::fmt;

use super::component::{fit, tidy_top_level};
use super::rel_path::collision_key;

/// Stands in for a name of which nothing is left.
const GENERATED: &str = "file";

/// One path component that every system stores as it is: at most 255 bytes, nothing hidden, no separator.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName(String);

impl FileName {
    /// The name that `text` means: its last component, be it separated by `/` or `\`, made safe.
    ///
    /// Never fails: what has nothing left becomes `file`. A leading dot gets a `_` before it (`.bashrc` is stored as
    /// `_.bashrc`), since a name that comes alone lands at the top level of the receive folder.
    pub fn from_stranger(text: &str) -> FileName {
        let leaf = text.rsplit(['/', '\\']).find(|part| !part.is_empty()).unwrap_or_default();
        let name = tidy_top_level(leaf);
        FileName(if name.is_empty() { GENERATED.to_owned() } else { name })
    }

    /// A component that [`super::component::tidy`] made, not empty.
    pub(super) fn from_component(component: &str) -> FileName {
        FileName(component.to_owned())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What follows the last dot, as an operating system sees it; `None` if nothing does or the name begins with it.
    pub fn extension(&self) -> Option<&str> {
        self.0.rsplit_once('.').filter(|(stem, _)| !stem.is_empty()).map(|(_, extension)| extension)
    }

    /// `name (n).ext`: the extension is kept (`.tar.gz` as a whole) and the name cut if it would not fit.
    pub fn with_number(&self, n: u32) -> FileName {
        FileName(fit(&self.0, &format!(" ({n})")))
    }

    /// Equal for names that some file system takes for the same: see [`RelPath::collision_key`](super::RelPath).
    pub fn collision_key(&self) -> String {
        collision_key(&self.0)
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
