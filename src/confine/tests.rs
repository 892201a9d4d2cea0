use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use tempfile::TempDir;

use super::*;

/// A folder, a state folder and what lies beside them.
struct Bench {
    home: TempDir,
}

impl Bench {
    fn new() -> Bench {
        let home = tempfile::tempdir().unwrap();
        for folder in ["folder", "state", "beside"] {
            fs::create_dir(home.path().join(folder)).unwrap();
        }
        fs::write(home.path().join("beside/secret"), "secret").unwrap();
        Bench { home }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().canonicalize().unwrap().join(name)
    }

    fn needs(&self) -> Needs {
        Needs { keeps: vec![self.path("folder"), self.path("state")], ..Needs::default() }
    }
}

/// Does `work` on a thread of its own, held to `limits`; not at all where the kernel can't, which a person is told.
fn held(limits: Limits, work: impl FnOnce() + Send + 'static) {
    let done = thread::spawn(move || match limits.enforce() {
        Ok(()) => work(),
        Err(Unheld::Unable) => skipped("this kernel has no Landlock"),
        Err(why) => panic!("{why}"),
    });
    done.join().unwrap();
}

/// Says that a test could not run here: to a person, and to `tests/run`, which counts it.
fn skipped(why: &str) {
    use std::io::Write;
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    assert!(std::env::var_os("QRDROP_REQUIRE_ALL").is_none_or(|all| all != "1"), "{test} can't run here: {why}");
    // the harness swallows `eprintln!`
    let mut screen = std::io::stderr();
    writeln!(screen, "SKIPPED: {why}").unwrap();
    if let Some(path) = std::env::var_os("QRDROP_SKIPS") {
        let skips = std::fs::File::options().append(true).create(true).open(path);
        skips.unwrap().write_all(format!("{test}: {why}\n").as_bytes()).unwrap();
    }
}

fn held_to(needs: Needs, work: impl FnOnce() + Send + 'static) {
    held(Limits::of(needs, mount_point), work);
}

/// Refused by the kernel, and by nothing else: these tests own every file that they try.
#[track_caller]
fn denied<T>(outcome: io::Result<T>) {
    assert_eq!(outcome.err().map(|error| error.kind()), Some(ErrorKind::PermissionDenied));
}

/// Nothing holds this thread, nor what it starts.
#[track_caller]
fn free_to_write(beside: &Path) {
    fs::write(beside.join("new"), "").unwrap();
    assert!(fs::read_to_string("/proc/thread-self/status").unwrap().contains("NoNewPrivs:\t0"));
}

#[test]
fn everything_that_storing_takes_works_in_the_folder_and_in_the_state() {
    let bench = Bench::new();
    let (folder, state) = (bench.path("folder"), bench.path("state"));
    held_to(bench.needs(), move || {
        fs::create_dir_all(folder.join(".partial/1")).unwrap();
        let part = folder.join(".partial/1/part");
        let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(&part).unwrap();
        file.write_all(b"hello world").unwrap();
        file.set_len(5).unwrap();
        file.sync_all().unwrap();
        fs::create_dir(folder.join("tree")).unwrap();
        fs::rename(&part, folder.join("tree/a")).unwrap();
        fs::hard_link(folder.join("tree/a"), folder.join("b")).unwrap();
        fs::rename(folder.join("b"), state.join("b")).unwrap();
        fs::write(folder.join("tree/a"), "replaced").unwrap();
        File::open(&folder).unwrap().sync_all().unwrap();
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
        assert_eq!(fs::read(state.join("b")).unwrap(), b"replaced");
        fs::remove_dir_all(folder.join(".partial")).unwrap();
        fs::remove_file(state.join("b")).unwrap();
    });
    assert_eq!(fs::read_dir(bench.path("state")).unwrap().count(), 0);
}

#[test]
fn nothing_beside_the_folder_can_be_read_made_changed_moved_or_run() {
    let bench = Bench::new();
    let (folder, beside, secret) = (bench.path("folder"), bench.path("beside"), bench.path("beside/secret"));
    symlink(&secret, folder.join("link")).unwrap();
    symlink(&beside, folder.join("way")).unwrap();
    held_to(bench.needs(), move || {
        denied(File::open(&secret));
        denied(File::open(folder.join("link")));
        denied(fs::read_dir(&beside));
        denied(OpenOptions::new().append(true).open(&secret));
        denied(OpenOptions::new().write(true).truncate(true).open(folder.join("link")));
        denied(File::create(beside.join("new")));
        denied(File::create(folder.join("way/new")));
        denied(fs::create_dir(beside.join("new")));
        denied(fs::remove_file(&secret));
        denied(fs::remove_dir_all(&beside));
        // Between places with different rights the kernel says that they are on different disks.
        fs::write(folder.join("a"), "a").unwrap();
        for outcome in [
            fs::rename(&secret, folder.join("stolen")),
            fs::rename(folder.join("a"), beside.join("a")),
            fs::hard_link(&secret, folder.join("stolen")),
            fs::hard_link(folder.join("a"), beside.join("a")),
        ] {
            let kind = outcome.unwrap_err().kind();
            assert!(matches!(kind, ErrorKind::PermissionDenied | ErrorKind::CrossesDevices), "{kind}");
        }
        denied(Command::new("/bin/true").status());
    });
    assert_eq!(fs::read(bench.path("beside/secret")).unwrap(), b"secret");
    assert_eq!(fs::read_dir(bench.path("beside")).unwrap().count(), 1);
}

#[test]
fn in_the_folder_nothing_is_run_and_only_plain_files_and_folders_are_made() {
    let bench = Bench::new();
    let folder = bench.path("folder");
    fs::copy("/bin/true", folder.join("program")).unwrap();
    assert!(Command::new(folder.join("program")).status().unwrap().success());
    held_to(bench.needs(), move || {
        denied(Command::new(folder.join("program")).status());
        denied(symlink("/", folder.join("link")));
        denied(UnixListener::bind(folder.join("socket")));
        let fifo = rustix::fs::mknodat(
            rustix::fs::CWD,
            folder.join("fifo"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        );
        assert_eq!(fifo, Err(rustix::io::Errno::ACCESS));
    });
}

#[test]
fn what_the_kernel_tells_of_itself_can_be_read_and_is_no_way_to_what_others_have_open() {
    let bench = Bench::new();
    let mut other =
        Command::new("sleep").arg("60").stdin(File::open(bench.path("beside/secret")).unwrap()).spawn().unwrap();
    let [open, root] = ["fd/0", "root"].map(|way| PathBuf::from(format!("/proc/{}/{way}", other.id())));
    assert_eq!(fs::read(&open).unwrap(), b"secret");
    held_to(bench.needs(), move || {
        for told in ["/proc/net/route", "/proc/meminfo", "/proc/sys/kernel/osrelease", "/proc/self/status"] {
            fs::read_to_string(told).unwrap();
        }
        denied(fs::read(open));
        denied(fs::read_dir(root));
        denied(fs::read_dir("/proc/self/root"));
        denied(OpenOptions::new().write(true).open("/proc/self/comm"));
    });
    other.kill().and_then(|()| other.wait()).unwrap();
}

#[test]
fn no_abstract_socket_of_others_can_be_reached() {
    let name = SocketAddr::from_abstract_name(format!("qrdrop-test-{}", std::process::id())).unwrap();
    let _listener = UnixListener::bind_addr(&name).unwrap();
    UnixStream::connect_addr(&name).unwrap();
    held(Limits::nothing(), move || {
        let outcome = UnixStream::connect_addr(&name);
        assert!(outcome.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied));
    });
}

#[test]
fn where_a_person_may_name_any_file_only_reading_is_free() {
    let bench = Bench::new();
    let (beside, secret) = (bench.path("beside"), bench.path("beside/secret"));
    held_to(Needs { reads_anything: true, ..bench.needs() }, move || {
        assert_eq!(fs::read(&secret).unwrap(), b"secret");
        assert_eq!(fs::read_dir(&beside).unwrap().count(), 1);
        denied(File::create(beside.join("new")));
        denied(fs::remove_file(&secret));
        denied(Command::new("/bin/true").status());
    });
}

#[test]
fn a_file_that_is_read_once_more_is_not_written() {
    let bench = Bench::new();
    let secret = bench.path("beside/secret");
    let absent = bench.path("absent");
    held_to(Needs { reads: vec![secret.clone(), absent, "/dev/fd/0".into()], ..bench.needs() }, move || {
        assert_eq!(fs::read(&secret).unwrap(), b"secret");
        denied(OpenOptions::new().append(true).open(&secret));
    });
}

#[test]
fn who_needs_nothing_can_open_nothing_and_goes_on_with_what_is_open() {
    let bench = Bench::new();
    let mut open = File::open(bench.path("beside/secret")).unwrap();
    let secret = bench.path("beside/secret");
    held(Limits::nothing(), move || {
        denied(File::open(&secret));
        denied(fs::read("/proc/self/status"));
        let mut text = String::new();
        open.read_to_string(&mut text).unwrap();
        assert_eq!(text, "secret");
    });
}

#[test]
fn errands_are_done_outside_of_the_limits_one_after_the_other() {
    let bench = Bench::new();
    let beside = bench.path("beside");
    let (here, outside) = (Errands::here(), Errands::outside().unwrap());
    held_to(bench.needs(), move || {
        for n in 0..3 {
            let path = beside.join(n.to_string());
            denied(here.run({
                let path = path.clone();
                move || fs::write(path, "")
            }));
            outside.run(move || fs::write(path, "")).unwrap();
        }
        // Nor is a program that it starts bound in any way, so that `sudo` works in a command.
        let status = || Command::new("grep").args(["NoNewPrivs", "/proc/self/status"]).output();
        let status = String::from_utf8(outside.run(status).unwrap().stdout).unwrap();
        assert_eq!(status.trim(), "NoNewPrivs:\t0");
        assert!(fs::read_to_string("/proc/thread-self/status").unwrap().contains("NoNewPrivs:\t1"));
    });
    assert_eq!(fs::read_dir(bench.path("beside")).unwrap().count(), 4);
}

#[test]
fn nothing_is_held_where_the_folder_is_gone() {
    let bench = Bench::new();
    let limits = Limits::of(Needs { keeps: vec![bench.path("gone")], ..Needs::default() }, mount_point);
    let beside = bench.path("beside");
    let done = thread::spawn(move || {
        assert!(limits.enforce().is_err());
        free_to_write(&beside);
    });
    done.join().unwrap();
}

#[test]
fn nothing_is_held_where_the_folder_would_be_closed_as_well() {
    let bench = Bench::new();
    let mut other = Command::new("sleep").arg("60").current_dir(bench.path("folder")).spawn().unwrap();
    // The way through another process is open now, and no longer to one that is held.
    let way = PathBuf::from(format!("/proc/{}/cwd", other.id()));
    let limits = Limits::of(Needs { keeps: vec![way], ..Needs::default() }, mount_point);
    let beside = bench.path("beside");
    let done = thread::spawn(move || {
        assert!(matches!(limits.enforce(), Err(Unheld::Unfit | Unheld::Unable)));
        free_to_write(&beside);
    });
    done.join().unwrap();
    other.kill().and_then(|()| other.wait()).unwrap();
}

#[test]
fn a_medium_that_may_be_put_in_again_is_allowed_by_where_it_is_mounted() {
    let media = |folder: &str, mounted: &str| {
        let needs = Needs { keeps: vec![folder.into()], ..Needs::default() };
        Limits::of(needs, |_| mounted.into()).media
    };
    assert_eq!(media("/media/ann/STICK/in", "/media/ann/STICK"), [Path::new("/media/ann")]);
    assert_eq!(media("/run/media/ann/STICK", "/run/media/ann/STICK"), [Path::new("/run/media/ann")]);
    assert_eq!(media("/mnt/disk/in", "/mnt/disk"), [Path::new("/mnt")]);
    // Beside these lie things of others.
    for (folder, mounted) in [
        ("/home/ann/in", "/home/ann"),
        ("/mnt/in", "/"),
        ("/mnt/in", "/mnt"),
        ("/mntx/disk/in", "/mntx/disk"),
        ("/var/lib/qrdrop/in", "/var/lib/qrdrop"),
        ("/", "/"),
    ] {
        assert!(media(folder, mounted).is_empty(), "{folder}");
    }
}

#[test]
fn a_mount_point_is_the_last_folder_on_the_way_up_that_is_on_the_same_device() {
    assert_eq!(mount_point(Path::new("/proc/self")), Path::new("/proc"));
    assert_eq!(mount_point(Path::new("/")), Path::new("/"));
}
