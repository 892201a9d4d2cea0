//! A lane as the sender sees it, and what a receiver makes of one thing that arrives on it.

use std::collections::VecDeque;
use std::io::{self, Cursor, Read, Write};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use crate::transfer::{Incoming, LaneError, Outgoing, receive_lane, send_lane};
use crate::wire::{Chunk, FileEnd, HEADER_LEN, Header, Kind, LaneEnd, Message, Pack, Taken, Withdraw, frame};

/// What is said on a lane in one go, and acknowledged with one word.
#[derive(Debug, Clone)]
pub(super) struct Thing {
    /// In short, for people and to tell states apart.
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
}

/// A lane at its sender: a thread in `send_lane` whose stream this is.
pub(super) struct Sending(Arc<(Mutex<Line>, Condvar)>);

#[derive(Default)]
struct Line {
    said: Vec<u8>,
    words: VecDeque<u8>,
    /// The sender waits for a word.
    waits: bool,
    cut: bool,
    ended: Option<Result<(), LaneError>>,
}

struct Stream(Arc<(Mutex<Line>, Condvar)>);

impl Sending {
    /// Has a lane of this number send until it has to wait.
    pub(super) fn start(outgoing: &Arc<Outgoing>, number: u16) -> Sending {
        let line = Arc::new((Mutex::new(Line::default()), Condvar::new()));
        let (mut stream, outgoing) = (Stream(Arc::clone(&line)), Arc::clone(outgoing));
        thread::spawn(move || {
            let ended = send_lane(&mut stream, &outgoing, number);
            drop(outgoing);
            stream.change(|line| line.ended = Some(ended));
        });
        let sending = Sending(line);
        sending.settle();
        sending
    }

    fn settle(&self) {
        let (line, changed) = &*self.0;
        let busy = |line: &mut Line| line.ended.is_none() && !(line.waits && line.words.is_empty() && !line.cut);
        drop(changed.wait_while(line.lock().unwrap(), busy).unwrap());
    }

    fn change(&self, change: impl FnOnce(&mut Line)) {
        Stream(Arc::clone(&self.0)).change(change);
        self.settle();
    }

    /// A word arrives.
    pub(super) fn hear(&self, word: &[u8]) {
        self.change(|line| line.words.extend(word));
    }

    /// The connection breaks at this end.
    pub(super) fn cut(&self) {
        self.change(|line| line.cut = true);
    }

    /// Whether it waits for a word, or how it ended.
    pub(super) fn is_waiting(&self) -> bool {
        self.0.0.lock().unwrap().ended.is_none()
    }

    /// Whether it broke; a sender that says its receiver misbehaved would be wrong.
    pub(super) fn is_lost(&self) -> bool {
        let line = self.0.0.lock().unwrap();
        match &line.ended {
            Some(Err(error)) => {
                assert!(!error.is_misbehaviour(), "the receiver is accused: {error}");
                true
            }
            Some(Ok(())) | None => false,
        }
    }

    /// Takes what was said since the last call.
    pub(super) fn take_said(&self) -> Vec<Thing> {
        let said = std::mem::take(&mut self.0.0.lock().unwrap().said);
        let (mut rest, mut things) = (said.as_slice(), Vec::new());
        while !rest.is_empty() {
            let (name, len) = first_thing(rest);
            let (bytes, after) = rest.split_at(len);
            things.push(Thing { name, bytes: bytes.to_vec() });
            rest = after;
        }
        things
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.cut();
    }
}

impl Stream {
    fn change(&self, change: impl FnOnce(&mut Line)) {
        let (line, changed) = &*self.0;
        change(&mut line.lock().unwrap());
        changed.notify_all();
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (line, changed) = &*self.0;
        let mut line = line.lock().unwrap();
        line.waits = true;
        changed.notify_all();
        let mut line = changed.wait_while(line, |line| line.words.is_empty() && !line.cut).unwrap();
        line.waits = false;
        match line.cut {
            true => Ok(0),
            false => line.words.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut line = self.0.0.lock().unwrap();
        match line.cut {
            true => Err(io::ErrorKind::BrokenPipe.into()),
            false => line.said.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The name and length of the first thing in what was said.
fn first_thing(said: &[u8]) -> (String, usize) {
    let (header, payload) = next_frame(said);
    let mut len = HEADER_LEN + header.len;
    let name = match header.kind {
        Kind::Chunk => {
            let Chunk { id, offset, .. } = Chunk::decode(payload).unwrap();
            loop {
                let (header, _) = next_frame(&said[len..]);
                len += HEADER_LEN + header.len;
                if header.kind != Kind::Piece {
                    break format!("{id}@{} to {:?}", offset >> 20, header.kind);
                }
            }
        }
        Kind::Pack => {
            let pack = Pack::decode(payload).unwrap();
            let mut left = pack.codec.wire_len(pack.bytes());
            while left > 0 {
                let (header, _) = next_frame(&said[len..]);
                len += HEADER_LEN + header.len;
                left -= header.len as u64;
            }
            format!("pack {:?}", pack.files.iter().map(|file| (file.id, file.hash[0])).collect::<Vec<_>>())
        }
        Kind::FileEnd => {
            let FileEnd { id, root, .. } = FileEnd::decode(payload).unwrap();
            format!("{id} ends {:02x}", root[0])
        }
        Kind::Withdraw => format!("{} withdrawn", Withdraw::decode(payload).unwrap().id),
        kind => format!("{kind:?}"),
    };
    (name, len)
}

fn next_frame(bytes: &[u8]) -> (Header, &[u8]) {
    let (header, rest) = bytes.split_first_chunk().unwrap();
    let header = Header::parse(*header).unwrap();
    (header, &rest[..header.len])
}

/// A thing, or a part of one, arrives: what the receiver says of it. Its lane then waits for the next one, which this
/// stream has not; only the session could tell that from a cut.
pub(super) fn arrive(incoming: &Incoming, bytes: &[u8]) -> Vec<u8> {
    let mut stream = Arrived { bytes: Cursor::new(bytes), words: Vec::new() };
    match receive_lane(&mut stream, incoming) {
        Ok(()) | Err(LaneError::Cut(_)) => {}
        Err(error) => panic!("the sender is accused: {error}"),
    }
    let words = stream.words;
    assert!(words.is_empty() || words == frame(&Taken) || words == frame(&LaneEnd), "one word for each thing");
    words
}

struct Arrived<'a> {
    bytes: Cursor<&'a [u8]>,
    words: Vec<u8>,
}

impl Read for Arrived<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.bytes.read(buffer)
    }
}

impl Write for Arrived<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.words.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
