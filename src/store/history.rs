use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

#[cfg(unix)]
use super::at;
use super::error::{StoreError, shown};

/// A file of this user's alone that lines are added to.
#[derive(Debug)]
pub struct History(File);

impl History {
    /// Opens the file, or makes it (0600).
    ///
    /// # Errors
    /// It is no regular file, or can't be written.
    pub fn open(path: &Path) -> Result<History, StoreError> {
        let failed = |error| StoreError::io("write", shown(path), error);
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt;
            // A FIFO is refused below, and not waited for until somebody reads it.
            options.mode(at::PRIVATE_FILE).custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32);
        }
        let file = options.open(path).map_err(failed)?;
        if !file.metadata().map_err(failed)?.is_file() {
            return Err(StoreError::Unsafe { subject: shown(path), why: "not a file" });
        }
        Ok(History(file))
    }

    /// Adds a line, which ends with its newline.
    ///
    /// # Errors
    /// What the system says.
    pub fn add(&mut self, line: &str) -> io::Result<()> {
        self.0.write_all(line.as_bytes())
    }
}
