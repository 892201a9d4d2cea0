//! Operations on one name relative to an open directory. Nothing here follows a symbolic link or takes a path of more
//! than one component, but [`open_ambient_dir`] and [`reach_ambient_dir`], whose path is the user's own.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use cap_fs_ext::{FollowSymlinks, MetadataExt, OpenOptionsFollowExt, OpenOptionsMaybeDirExt, OpenOptionsSyncExt};
use cap_std::ambient_authority;
use cap_std::fs::{Dir, DirBuilder, OpenOptions};
use ring::rand::{SecureRandom, SystemRandom};

/// How often a call that says "try again" about a regular file is believed. Local file systems never say it; a few
/// network ones do under memory pressure.
const AGAIN_TRIES: u32 = 100;

/// Mode of everything that only we may see.
pub(super) const PRIVATE_FILE: u32 = 0o600;
/// Mode of a folder that only we may enter.
pub(super) const PRIVATE_DIR: u32 = 0o700;
/// Mode of a folder that others see as the umask allows.
pub(super) const OPEN_DIR: u32 = 0o777;

/// What makes two handles the same file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) device: u64,
    pub(super) inode: u64,
}

/// Room on a file system, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Space {
    pub(super) free: u64,
    pub(super) total: u64,
    pub(super) block: u64,
}

/// Repeats a call that was interrupted before it did anything.
pub(super) fn patiently<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let mut tries = 0;
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && tries < AGAIN_TRIES => {
                tries += 1;
                std::thread::yield_now();
            }
            outcome => return outcome,
        }
    }
}

fn dir_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).maybe_dir(true).follow(FollowSymlinks::No);
    // cap-std's own directory handles are `O_PATH` on Linux, which neither fsync nor futimens accepts
    #[cfg(unix)]
    {
        use cap_std::fs::OpenOptionsExt;
        options.custom_flags(rustix::fs::OFlags::DIRECTORY.bits() as i32);
    }
    options
}

/// As [`open_ambient_dir`], only to know it and to get to what is in it: it need not be readable.
pub(super) fn reach_ambient_dir(path: &Path) -> io::Result<Dir> {
    Dir::open_ambient_dir(path, ambient_authority())
}

/// Opens a directory by a path of the user's own, following links.
pub(super) fn open_ambient_dir(path: &Path) -> io::Result<Dir> {
    let parent = reach_ambient_dir(path)?;
    #[cfg(unix)]
    let parent = patiently(|| parent.open_with(".", &dir_options())).map(|file| Dir::from_std_file(file.into_std()))?;
    Ok(parent)
}

/// Opens the directory `name`; an error if it is a link or anything else.
pub(super) fn open_dir(dir: &Dir, name: &str) -> io::Result<Dir> {
    let file = patiently(|| dir.open_with(name, &dir_options()))?;
    if !file.metadata()?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    Ok(Dir::from_std_file(file.into_std()))
}

/// Whether [`open_dir`] failed because a link or a file is there.
pub(super) fn is_no_dir(error: &io::Error) -> bool {
    is_link(error) || error.kind() == io::ErrorKind::NotADirectory
}

/// Whether something was not opened because it is a link.
pub(super) fn is_link(error: &io::Error) -> bool {
    #[cfg(unix)]
    return rustix::io::Errno::from_io_error(error) == Some(rustix::io::Errno::LOOP);
    #[cfg(not(unix))]
    return {
        let _ = error;
        false
    };
}

/// Creates the directory `name`, which must not exist.
pub(super) fn create_dir(dir: &Dir, name: &str, mode: u32) -> io::Result<()> {
    #[cfg_attr(not(unix), expect(unused_mut))]
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    {
        use cap_std::fs::DirBuilderExt;
        builder.mode(mode);
    }
    #[cfg(not(unix))]
    let _ = mode;
    patiently(|| dir.create_dir_with(name, &builder))
}

/// Creates the file `name`, which must not exist, for reading and writing.
pub(super) fn create_file(dir: &Dir, name: &str, mode: u32) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).follow(FollowSymlinks::No);
    #[cfg(unix)]
    {
        use cap_std::fs::OpenOptionsExt;
        options.mode(mode);
    }
    #[cfg(not(unix))]
    let _ = mode;
    Ok(patiently(|| dir.open_with(name, &options))?.into_std())
}

/// Opens the regular file `name` for reading and for adding to its end, and makes it if it is not there.
pub(super) fn append_file(dir: &Dir, name: &str) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).nonblock(cfg!(unix)).follow(FollowSymlinks::No);
    #[cfg(unix)]
    {
        use cap_std::fs::OpenOptionsExt;
        options.mode(PRIVATE_FILE);
    }
    regular(patiently(|| dir.open_with(name, &options))?.into_std())
}

/// Opens the regular file `name` for reading; never waits for the writer of a FIFO.
pub(super) fn open_file(dir: &Dir, name: &str) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).nonblock(cfg!(unix)).follow(FollowSymlinks::No);
    regular(patiently(|| dir.open_with(name, &options))?.into_std())
}

fn regular(file: File) -> io::Result<File> {
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(file)
}

/// Opens the regular file `name` for reading and writing.
pub(super) fn reopen_file(dir: &Dir, name: &str) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).nonblock(cfg!(unix)).follow(FollowSymlinks::No);
    regular(patiently(|| dir.open_with(name, &options))?.into_std())
}

/// Random bytes that nobody can guess.
pub(super) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| io::Error::other("the system has no random numbers"))?;
    Ok(bytes)
}

/// What became of an attempt to lock.
pub(super) enum Lock {
    /// Ours, until the file is closed.
    Held(File),
    /// Somebody else's.
    Busy,
    /// The file system can't lock.
    #[cfg_attr(windows, expect(dead_code, reason = "there an open file is the lock"))]
    Unknown,
}

/// Opens or creates `name` and tries to lock it.
pub(super) fn lock(dir: &Dir, name: &str) -> io::Result<Lock> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).follow(FollowSymlinks::No);
    #[cfg(unix)]
    {
        use cap_std::fs::OpenOptionsExt;
        use rustix::fs::FlockOperation;
        use rustix::io::Errno;
        options.mode(PRIVATE_FILE);
        let file = patiently(|| dir.open_with(name, &options))?.into_std();
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            // a cleaner may have removed the file between the two calls: a lock without a name guards nothing
            Ok(()) if rustix::fs::fstat(&file)?.st_nlink == 0 => Ok(Lock::Busy),
            Ok(()) => Ok(Lock::Held(file)),
            Err(Errno::WOULDBLOCK) => Ok(Lock::Busy),
            Err(_) => Ok(Lock::Unknown),
        }
    }
    #[cfg(windows)]
    {
        use cap_std::fs::OpenOptionsExt;
        // nobody else can open it, but it can be removed by whoever holds it (<winnt.h>)
        const FILE_SHARE_DELETE: u32 = 4;
        options.share_mode(FILE_SHARE_DELETE);
        match dir.open_with(name, &options) {
            Ok(file) => Ok(Lock::Held(file.into_std())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(error),
            Err(_) => Ok(Lock::Busy),
        }
    }
}

/// Renames without ever replacing: `AlreadyExists` if `to` is there, whatever it is.
pub(super) fn rename_new(from_dir: &Dir, from: &str, to_dir: &Dir, to: &str) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    {
        use rustix::fs::RenameFlags;
        use rustix::io::Errno;
        match rustix::fs::renameat_with(from_dir, from, to_dir, to, RenameFlags::NOREPLACE) {
            Err(error) if [Errno::INVAL, Errno::NOSYS, Errno::NOTSUP, Errno::OPNOTSUPP].contains(&error) => {}
            outcome => return Ok(outcome?),
        }
    }
    link_new(from_dir, from, to_dir, to)
}

/// [`rename_new`] for file systems without it: a second name, then the first one goes; where there are no second
/// names either (FAT), an empty file holds the name until the rename.
pub(super) fn link_new(from_dir: &Dir, from: &str, to_dir: &Dir, to: &str) -> io::Result<()> {
    match from_dir.hard_link(from, to_dir, to) {
        Ok(()) => {
            // both names are the same whole file: if the first can't go now, clean-up takes it
            let _ = from_dir.remove_file(from);
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        Err(_) => rename_over_placeholder(from_dir, from, to_dir, to),
    }
}

pub(super) fn rename_over_placeholder(from_dir: &Dir, from: &str, to_dir: &Dir, to: &str) -> io::Result<()> {
    drop(create_file(to_dir, to, PRIVATE_FILE)?);
    rename_over(from_dir, from, to_dir, to).inspect_err(|_| {
        // ours: it was created exclusively a moment ago; if it can't go, the error below is what matters
        let _ = to_dir.remove_file(to);
    })
}

/// Renames, replacing a file or link that is at `to`.
pub(super) fn rename_over(from_dir: &Dir, from: &str, to_dir: &Dir, to: &str) -> io::Result<()> {
    from_dir.rename(from, to_dir, to)
}

/// Makes a file survive a power cut. Not repeated when it fails, not even when interrupted: the data may be gone.
pub(super) fn sync_file(file: &File) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    return Ok(rustix::fs::fsync(file)?);
    // elsewhere std knows better: `F_FULLFSYNC` on Apple
    #[cfg(not(target_os = "linux"))]
    file.sync_all()
}

/// Makes the entries of a directory survive a power cut.
pub(super) fn sync_dir(dir: &Dir) -> io::Result<()> {
    #[cfg(unix)]
    return Ok(rustix::fs::fsync(dir)?);
    // NTFS journals its own directories, and there is no call to ask for it
    #[cfg(not(unix))]
    {
        let _ = dir;
        Ok(())
    }
}

/// Makes everything on the file system of `dir` survive a power cut; only where [`syncs_whole`] says so.
pub(super) fn sync_everything(dir: &Dir) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    return Ok(rustix::fs::syncfs(dir)?);
    #[cfg(not(target_os = "linux"))]
    sync_dir(dir)
}

/// Whether one `syncfs` is as good as an fsync of each file: it is on the local file systems named here (FUSE only
/// passes pages on, and overlayfs lost errors for years), and from Linux 5.8 on, which was the first to report errors.
pub(super) fn syncs_whole(dir: &Dir) -> bool {
    #[cfg(target_os = "linux")]
    {
        // ext2/3/4, XFS, btrfs, F2FS, tmpfs: <linux/magic.h>
        const KNOWN: [u64; 5] = [0xEF53, 0x5846_5342, 0x9123_683E, 0xF2F5_2010, 0x0102_1994];
        let known = rustix::fs::fstatfs(dir).is_ok_and(|about| KNOWN.contains(&(about.f_type as u32 as u64)));
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        known && reports_sync_errors(&release)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = dir;
        false
    }
}

/// Whether this kernel release is 5.8 or later.
#[cfg(target_os = "linux")]
pub(super) fn reports_sync_errors(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|digits| digits.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (5, 8)
}

/// Room on the file system of `dir`, which is at `path`; `None` where it is not told.
pub(super) fn space(dir: &Dir, path: &Path) -> io::Result<Option<Space>> {
    #[cfg(unix)]
    {
        let _ = path;
        let about = rustix::fs::fstatvfs(dir)?;
        let bytes = |blocks: u64| blocks.saturating_mul(about.f_frsize);
        Ok((about.f_blocks > 0).then(|| Space {
            free: bytes(about.f_bavail),
            total: bytes(about.f_blocks),
            block: about.f_frsize.max(1),
        }))
    }
    #[cfg(windows)]
    {
        let _ = dir;
        let about = fs4::statvfs(path)?;
        let (free, total, block) = (about.available_space(), about.total_space(), about.allocation_granularity());
        Ok(Some(Space { free, total, block: block.max(1) }))
    }
}

/// The bytes that a file takes on the disk.
pub(super) fn taken_by(about: &cap_std::fs::Metadata) -> u64 {
    #[cfg(unix)]
    return cap_std::fs::MetadataExt::blocks(about) * 512;
    #[cfg(not(unix))]
    about.len()
}

/// Sets the permission bits of an open file.
pub(super) fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    #[cfg(unix)]
    return patiently(|| Ok(rustix::fs::fchmod(file, rustix::fs::Mode::from_raw_mode(mode as _))?));
    #[cfg(not(unix))]
    {
        let _ = (file, mode);
        Ok(())
    }
}

/// The permission bits of an open file.
#[cfg(unix)]
pub(super) fn mode(file: &File) -> io::Result<u32> {
    use std::os::unix::fs::MetadataExt;
    Ok(file.metadata()?.mode() & 0o7777)
}

/// Sets the modification time of an open directory.
pub(super) fn set_dir_modified(dir: &Dir, modified: SystemTime) -> io::Result<()> {
    dir.try_clone()?.into_std_file().set_modified(modified)
}

/// Which directory a handle is of.
pub(super) fn node(dir: &Dir) -> io::Result<Node> {
    let about = dir.dir_metadata()?;
    Ok(Node { device: about.dev(), inode: about.ino() })
}

/// Which file a handle is of, and its size in bytes.
pub(super) fn file_node(file: &File) -> io::Result<(Node, u64)> {
    let about = cap_std::fs::Metadata::from_file(file)?;
    Ok((Node { device: about.dev(), inode: about.ino() }, about.len()))
}

/// Which file a name stands for; a link stands for itself.
pub(super) fn name_node(dir: &Dir, name: &str) -> io::Result<Node> {
    let about = dir.symlink_metadata(name)?;
    Ok(Node { device: about.dev(), inode: about.ino() })
}

/// Reads until `buf` is full or the file ends, from `offset` on.
pub(super) fn read_full_at(file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        match patiently(|| read_at(file, &mut buf[done..], offset + done as u64))? {
            0 => break,
            n => done += n,
        }
    }
    Ok(done)
}

/// Writes all of `bytes` at `offset`.
pub(super) fn write_full_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        match patiently(|| write_at(file, &bytes[done..], offset + done as u64))? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            n => done += n,
        }
    }
    Ok(())
}

#[cfg(unix)]
use std::os::unix::fs::FileExt;

#[cfg(unix)]
fn read_at(file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    file.read_at(buf, offset)
}

#[cfg(unix)]
fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
    file.write_at(bytes, offset)
}

#[cfg(windows)]
fn read_at(file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buf, offset)
}

#[cfg(windows)]
fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_write(file, bytes, offset)
}
