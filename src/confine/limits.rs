use std::path::{Path, PathBuf};

/// Where media are mounted that come and go (FHS 3.0, 3.11 and 3.12, and what udisks uses). One of them that is taken out
/// and put in again is another folder to the kernel.
const MEDIA: [&str; 3] = ["/media", "/mnt", "/run/media"];

/// What the kernel tells of itself: routes, release, memory, cores. The files of other processes can't be reached through
/// it by one that is held, nor what they remember, unless by root.
const SYSTEM: [&str; 2] = ["/proc", "/sys"];

/// The controlling terminal, which is opened anew for keys.
const TERMINAL: &str = "/dev/tty";

/// What a command is going to do with files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// Folders that are there; what is below them is made, read, changed, moved and removed. Absolute, links resolved.
    pub keeps: Vec<PathBuf>,
    /// Files that are read beside that.
    pub reads: Vec<PathBuf>,
    /// Whether a person may name any file to read later.
    pub reads_anything: bool,
}

/// What a process is held to: it may do nothing else with any path. What is open already stays usable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Below these, files are read, folders listed; plain files and folders are made, changed, moved and removed, also from
    /// one of these to another. Nothing is run, and no links, devices, pipes or sockets are made.
    pub(super) keeps: Vec<PathBuf>,
    /// The same, where the folder of a medium is that comes back as another one.
    pub(super) media: Vec<PathBuf>,
    /// Files, and folders with all that is below them, that are read.
    pub(super) reads: Vec<PathBuf>,
    /// Whether everything may be read.
    pub(super) reads_anything: bool,
    /// Devices that are read, written, and told how to behave.
    pub(super) devices: Vec<PathBuf>,
}

/// Why a process is not held.
#[derive(Debug, thiserror::Error)]
pub enum Unheld {
    /// Linux before 5.19, or without Landlock, or another system.
    #[error("this system can't")]
    Unable,
    /// A folder is on a file system whose folders the kernel does not know again (9p without a cache is one): what is
    /// allowed would be forbidden.
    #[error("it would close the folder as well")]
    Unfit,
    /// A folder is gone, or the system answers something unexpected.
    #[error("{0}")]
    Refused(String),
}

impl Limits {
    /// Those of a process that has everything open that it needs.
    pub fn nothing() -> Limits {
        Limits { keeps: vec![], media: vec![], reads: vec![], reads_anything: false, devices: vec![] }
    }

    /// Those of a command with these needs; `mount_point` says where the file system of a folder is mounted.
    pub fn of(needs: Needs, mount_point: impl Fn(&Path) -> PathBuf) -> Limits {
        let Needs { keeps, mut reads, reads_anything } = needs;
        let around = |folder: &PathBuf| {
            let around = mount_point(folder).parent()?.to_owned();
            MEDIA.iter().any(|media| around.starts_with(media)).then_some(around)
        };
        let media = keeps.iter().filter_map(around).collect();
        reads.extend(SYSTEM.map(PathBuf::from));
        Limits { keeps, media, reads, reads_anything, devices: vec![TERMINAL.into()] }
    }

    /// Holds the calling thread, and all that it starts from now on, for the rest of their lives.
    ///
    /// # Errors
    /// Nothing is held.
    pub fn enforce(&self) -> Result<(), Unheld> {
        #[cfg(target_os = "linux")]
        return super::landlock::enforce(self);
        #[cfg(not(target_os = "linux"))]
        Err(Unheld::Unable)
    }
}

/// Where the file system is mounted that an absolute path is on.
pub fn mount_point(path: &Path) -> PathBuf {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let device = |path: &Path| std::fs::metadata(path).map(|about| about.dev()).ok();
        let own = device(path);
        path.ancestors().take_while(|above| device(above) == own).last().unwrap_or(path).to_owned()
    }
    #[cfg(not(unix))]
    path.to_owned()
}
