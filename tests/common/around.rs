//! The machine around a test: programs that may be missing, networks of its own, raw connections.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use std::{env, fs};

use super::python;

/// Whether every one of these programs is here. If not, the test is skipped out loud: `tests/run` counts it.
/// What is here counts as a real peer that the run was made against.
pub fn have(programs: &[&str]) -> bool {
    match programs.iter().find(|program| !on_path(program)) {
        Some(missing) => skip(&format!("`{missing}` is not here")),
        None => {
            programs.iter().for_each(|program| note("QRDROP_PEERS", program));
            true
        }
    }
}

/// Whether this Python module can be imported; skipped out loud otherwise.
pub fn have_module(module: &str) -> bool {
    let mut check = Command::new(python());
    check.args(["-c", &format!("import {module}")]).stdout(Stdio::null()).stderr(Stdio::null());
    if check.status().is_ok_and(|status| status.success()) {
        note("QRDROP_PEERS", &format!("python:{module}"));
        return true;
    }
    skip(&format!("Python has no `{module}`"))
}

/// Whether the test may make networks and mounts; skipped out loud otherwise.
pub fn am_root() -> bool {
    rustix::process::geteuid().is_root() || skip("only root may make networks and mounts")
}

/// Says that this test can't run here. Always `false`.
pub fn skip(reason: &str) -> bool {
    let thread = std::thread::current();
    let line = format!("{}: {reason}", thread.name().unwrap_or("a test without a name"));
    eprintln!("SKIPPED {line}");
    note("QRDROP_SKIPS", &line);
    false
}

fn on_path(program: &str) -> bool {
    env::split_paths(&env::var_os("PATH").unwrap_or_default())
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|folder| folder.join(program).is_file())
}

/// Appends a line to the file that the environment variable names, if it does.
fn note(variable: &str, line: &str) {
    let Some(path) = env::var_os(variable) else { return };
    let file = fs::OpenOptions::new().append(true).create(true).open(path);
    file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes())).expect("a note can be written");
}

/// Runs a command that must succeed.
#[track_caller]
pub fn sh(line: &str) -> String {
    let output = Command::new("sh").args(["-ec", line]).output().expect("there is a shell");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "`{line}` failed: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Two hosts on a LAN of their own, joined by a cable; gone with the value.
pub struct Lan {
    pub here: String,
    pub there: String,
}

impl Lan {
    pub const HERE: Ipv4Addr = Ipv4Addr::new(10, 83, 7, 1);
    pub const THERE: Ipv4Addr = Ipv4Addr::new(10, 83, 7, 2);

    pub fn new() -> Lan {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let tag = format!("qrdrop-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let lan = Lan { here: format!("{tag}-a"), there: format!("{tag}-b") };
        let (a, b) = (&lan.here, &lan.there);
        sh(&format!(
            "ip netns add {a}; ip netns add {b}; ip link add eth0 netns {a} type veth peer name eth0 netns {b}"
        ));
        for (host, ip) in [(a, Lan::HERE), (b, Lan::THERE)] {
            sh(&format!(
                "ip -n {host} link set lo up; ip -n {host} addr add {ip}/24 dev eth0; ip -n {host} link set eth0 up
                 ip -n {host} route add default dev eth0; ip -n {host} route add 224.0.0.0/4 dev eth0"
            ));
        }
        lan
    }

    /// What goes before a command line to run it on that host.
    pub fn on(host: &str) -> [&str; 4] {
        ["ip", "netns", "exec", host]
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        for host in [&self.here, &self.there] {
            let _ = Command::new("ip").args(["netns", "del", host]).stderr(Stdio::null()).status();
        }
    }
}

/// An address on loopback where nobody listens. Whoever takes it first has it.
pub fn nobody() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
    listener.local_addr().expect("a bound socket has an address")
}

/// A plain connection whose segments leave as they are written.
pub fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&to, Duration::from_secs(10)).expect("the receiver listens");
    stream.set_nodelay(true).expect("segments can be sent as written");
    stream.set_read_timeout(Some(Duration::from_secs(40))).expect("reads can have a deadline");
    stream
}

/// What goes before a command line to make each sync of a disk take a while.
pub const SLOW_DISK: [&str; 8] =
    ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", "inject=fsync,fdatasync,syncfs:delay_enter=200000"];

/// Writes each segment when the peer's program has read the one before it. `false` if the peer closed meanwhile.
#[cfg(target_os = "linux")]
pub fn say(stream: &mut TcpStream, segments: &[&[u8]]) -> bool {
    segments.iter().all(|segment| stream.write_all(segment).is_ok() && taken(stream))
}

/// Waits until the peer's program on this machine has read all that was sent. `false` if it closed instead.
#[cfg(target_os = "linux")]
fn taken(stream: &TcpStream) -> bool {
    let (Ok(ours), Ok(theirs)) = (stream.local_addr(), stream.peer_addr()) else { return false };
    let row = |local: SocketAddr, remote: SocketAddr| format!(":{:04X} {}", local.port(), tail(remote));
    let (ours, theirs) = (row(ours, theirs), row(theirs, ours));
    let deadline = std::time::Instant::now() + super::PATIENCE;
    while std::time::Instant::now() < deadline {
        let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| fs::read_to_string(table).unwrap_or_default());
        let find = |row: &str| tables.iter().flat_map(|table| table.lines()).find_map(|line| queues(line, row));
        match (find(&ours), find(&theirs)) {
            (Some((0, _)), Some((_, 0))) => return true,
            (_, None) | (None, _) => return false,
            _ => std::thread::yield_now(),
        }
    }
    panic!("the peer does not read");
}

/// The end of a remote address in `/proc/net/tcp`, the same for IPv4 and IPv4 in IPv6.
#[cfg(target_os = "linux")]
fn tail(address: SocketAddr) -> String {
    let SocketAddr::V4(address) = address else { panic!("the tests speak IPv4") };
    format!("{:08X}:{:04X}", u32::from_le_bytes(address.ip().octets()), address.port())
}

/// Bytes in (send, receive) queue of the established connection that `row` describes, if this line is it.
#[cfg(target_os = "linux")]
fn queues(line: &str, row: &str) -> Option<(u64, u64)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (local, remote, queues) = (fields.get(1)?, fields.get(2)?, fields.get(4)?);
    let (port, far) = row.split_once(' ')?;
    if !local.ends_with(port) || !remote.ends_with(far) {
        return None;
    }
    let (sent, received) = queues.split_once(':')?;
    Some((u64::from_str_radix(sent, 16).ok()?, u64::from_str_radix(received, 16).ok()?))
}

/// Ends our half and reads until the peer ends too. Fails if it never does.
pub fn finish(mut stream: TcpStream) -> Vec<u8> {
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("the peer neither answers nor closes: {error}"),
    }
    answer
}
