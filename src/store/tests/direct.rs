//! Bytes between files and sockets that do not pass through this process.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use super::{Bench, file, skipped};
use crate::store::direct::{is_of_the_disk, send_file};
use crate::store::{IfExists, Pipe, SendError, StoreError, WalkOptions, roomy_pipe, walk};

/// More than a pipe holds.
const BYTES: usize = 3 * 1024 * 1024 + 17;

fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (one, listener.accept().unwrap().0)
}

/// No two neighbouring pages are alike.
fn pattern() -> Vec<u8> {
    (0..BYTES).map(|at| (at ^ (at >> 12)) as u8).collect()
}

/// Takes everything that `socket` has to give through `pipe` into `file`, from `offset` on, `most` bytes at a time.
fn take(pipe: &Pipe, socket: &TcpStream, file: &File, mut offset: u64, most: u64) -> Option<u64> {
    loop {
        let count = pipe.fill(socket, most).unwrap()?;
        if count == 0 {
            return Some(offset);
        }
        assert!(count as u64 <= most);
        pipe.empty_into(file, offset, count).unwrap();
        offset += count as u64;
    }
}

#[test]
fn what_comes_from_a_socket_goes_to_its_place_in_a_file() {
    let Some(pipe) = Pipe::new() else { return skipped("no such way here") };
    for most in [100_000, u64::MAX] {
        let (mut from, socket) = connected();
        let sender = thread::spawn(move || from.write_all(&pattern()));
        let file = tempfile::tempfile().unwrap();
        let Some(end) = take(&pipe, &socket, &file, 5, most) else { return skipped("no splice here") };
        sender.join().unwrap().unwrap();
        assert_eq!(end, 5 + BYTES as u64);
        let mut content = Vec::new();
        (&file).read_to_end(&mut content).unwrap();
        assert!(content[..5] == [0; 5] && content[5..] == pattern());
    }
}

#[test]
fn a_partial_file_takes_from_a_pipe_what_was_declared_and_no_more() {
    let Some(pipe) = Pipe::new() else { return skipped("no such way here") };
    let bench = Bench::new();
    let intake = bench.folder().begin(vec![file(0, "a", 6)], IfExists::Rename).unwrap();
    let partial = intake.open_partial(0).unwrap();
    let (mut from, socket) = connected();
    for text in [&b"one"[..], b"two"] {
        from.write_all(text).unwrap();
        let Some(count) = pipe.fill(&socket, 3).unwrap() else { return skipped("no splice here") };
        partial.append_piped(&pipe, count).unwrap();
    }
    let mut content = [0; 9];
    assert_eq!((partial.end(), partial.read_at(0, &mut content).unwrap(), &content[..6]), (6, 6, &b"onetwo"[..]));
    assert!(matches!(partial.append_piped(&pipe, 1), Err(StoreError::BeyondDeclared { .. })));
}

#[test]
fn a_file_that_takes_nothing_from_a_pipe_is_written_to() {
    let Some(pipe) = Pipe::new() else { return skipped("no such way here") };
    let (mut from, socket) = connected();
    let sender = thread::spawn(move || from.write_all(&pattern()));
    let home = tempfile::tempdir().unwrap();
    // Linux splices nothing into a file that is open for adding to its end.
    let file = File::options().append(true).create(true).open(home.path().join("x")).unwrap();
    if take(&pipe, &socket, &file, 0, u64::MAX).is_none() {
        return skipped("no splice here");
    }
    sender.join().unwrap().unwrap();
    assert!(std::fs::read(home.path().join("x")).unwrap() == pattern());
}

#[test]
fn what_reads_along_gets_the_same_bytes_and_takes_none_away() {
    let Some(pipe) = Pipe::new() else { return skipped("no such way here") };
    let (mut from, socket) = connected();
    let sender = thread::spawn(move || from.write_all(&pattern()));
    let (mut outlet, copy) = roomy_pipe().unwrap();
    let reader = thread::spawn(move || {
        let mut read = Vec::new();
        outlet.read_to_end(&mut read).map(|_| read)
    });
    let file = tempfile::tempfile().unwrap();
    let mut end = 0;
    loop {
        let Some(mut left) = pipe.fill(&socket, u64::MAX).unwrap() else { return skipped("no splice here") };
        if left == 0 {
            break;
        }
        while left > 0 {
            let Some(given) = pipe.tee(&copy, left).unwrap() else { return skipped("no tee here") };
            assert!((1..=left).contains(&given));
            pipe.empty_into(&file, end, given).unwrap();
            end += given as u64;
            left -= given;
        }
    }
    sender.join().unwrap().unwrap();
    drop(copy);
    assert!(reader.join().unwrap().unwrap() == pattern());
    let mut content = Vec::new();
    (&file).read_to_end(&mut content).unwrap();
    assert!(content == pattern());
}

#[test]
fn a_copy_that_nobody_reads_any_more_is_an_error_not_a_wait() {
    let Some(pipe) = Pipe::new() else { return skipped("no such way here") };
    let (mut from, socket) = connected();
    from.write_all(b"x").unwrap();
    if pipe.fill(&socket, 1).unwrap().is_none() {
        return skipped("no splice here");
    }
    let (outlet, copy) = roomy_pipe().unwrap();
    drop(outlet);
    let told = pipe.tee(&copy, 1);
    assert!(told.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe), "{told:?}");
}

#[test]
fn a_piece_of_a_file_goes_to_a_socket_as_it_is() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("x");
    std::fs::write(&path, pattern()).unwrap();
    let (mut to, socket) = connected();
    let receiver = thread::spawn(move || {
        let mut received = Vec::new();
        to.read_to_end(&mut received).map(|_| received)
    });
    let file = File::open(&path).unwrap();
    let (from, to) = (1_000, BYTES - 1_000);
    let mut at = from;
    while at < to {
        let Some(sent) = send_file(&file, at as u64, &socket, to - at) else { return skipped("no sendfile here") };
        let sent = sent.unwrap();
        assert!((1..=to - at).contains(&sent));
        at += sent;
    }
    assert_eq!(send_file(&file, BYTES as u64, &socket, 1).unwrap().unwrap(), 0, "the end of the file");
    assert_eq!(send_file(&file, 0, &socket, 0).unwrap().unwrap(), 0);
    socket.shutdown(Shutdown::Write).unwrap();
    assert!(receiver.join().unwrap().unwrap() == pattern()[from..to]);
}

#[test]
fn a_source_that_ends_before_its_listed_size_has_changed() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("x");
    std::fs::write(&path, "0123456789").unwrap();
    let walk = walk(std::slice::from_ref(&path), &WalkOptions::default()).unwrap();
    let source = walk.entries.get(0).unwrap().open().unwrap();
    let (_to, socket) = connected();
    let Some(sent) = source.send_to(&socket, 8, 100).unwrap() else { return skipped("no sendfile here") };
    assert_eq!(sent, 2, "no more than was listed");
    assert_eq!(source.send_to(&socket, 10, 100).unwrap(), Some(0));
    std::fs::write(&path, "01234").unwrap();
    let told = source.send_to(&socket, 5, 5);
    assert!(matches!(told, Err(SendError::Source(StoreError::SourceChanged { .. }))), "{told:?}");
}

#[test]
fn a_failing_disk_is_told_apart_from_a_peer_that_left() {
    use rustix::io::Errno;
    assert!(is_of_the_disk(&Errno::IO.into()));
    for error in [Errno::PIPE, Errno::CONNRESET, Errno::AGAIN] {
        assert!(!is_of_the_disk(&error.into()));
    }
}
