//! The inner loops, one at a time, for an instruction counter: `micro.py` runs this under callgrind.
//!
//! `micro WORK TIMES` does one work so many times; without arguments it says which there are.

use std::hint::black_box;
use std::io::{Read, Write};
use std::time::Instant;

use qrdrop::classic::{self, Scan};
use qrdrop::names::{RelPath, inert};
use qrdrop::net::sniff::sniff;
use qrdrop::pairing::tls::{Pin, client_config, native_server_config};
use qrdrop::pairing::{Identity, Invitation, LinkKind, TokenBook};
use qrdrop::roll::Roll;
use qrdrop::transfer::{ChunkHasher, Forest};
use qrdrop::wire::{
    CHUNK_LEN, Chunk, Codec, Entry, EntryKind, HEADER_LEN, Header, Message, Modified, Page, Stored, StoredItem, frame,
};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, ServerConnection};

/// Does its work once.
type Once = Box<dyn FnMut()>;

/// Its name, and what makes all that it needs.
type Work = (&'static str, fn() -> Once);

const WORKS: &[Work] = &[
    ("codec: chunk", chunk),
    ("codec: page of 600 entries", page),
    ("codec: 1,024 acknowledgements", acknowledgements),
    ("hash: chunk of 1 MiB", hash),
    ("hash: 1,024 chunks to a root", root),
    ("seal and open: 1 MiB through TLS", seal),
    ("names: 6 paths of a stranger", names),
    ("roll: 2,560 entries, written and read", roll),
    ("sniff: 5 first words", words),
    ("classic: header and 64 KiB", tutorial),
    ("invitation: one link", link),
];

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let (Some(work), Some(times)) = (arguments.next(), arguments.next().and_then(|times| times.parse::<u32>().ok()))
    else {
        WORKS.iter().for_each(|(name, _)| println!("{name}"));
        return;
    };
    let (_, make) = WORKS.iter().find(|(name, _)| *name == work).expect("one of those that are listed");
    let mut once = make();
    (0..times).for_each(|_| once());
}

/// Noise, the same each time.
fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

fn entries(count: usize) -> Vec<Entry> {
    let entry = |id: usize| Entry {
        kind: EntryKind::File,
        path: format!("holiday {}/DSC{id:05}.JPG", id / 100),
        size: Some(id as u64 * 7_919 % 9_000_000),
        holes: 0,
        modified: Some(Modified { seconds: 1_760_000_000 + id as i64, nanos: (id as u32 * 104_729) % 1_000_000_000 }),
    };
    (0..count).map(entry).collect()
}

/// There and back, as a frame.
fn codec<M: Message + 'static>(message: M) -> Once {
    Box::new(move || {
        let bytes = frame(&message);
        let (header, payload) = bytes.split_first_chunk::<HEADER_LEN>().expect("a frame has a header");
        black_box(Header::parse(*header).expect("it was made here"));
        assert!(M::decode(payload).is_ok());
    })
}

fn chunk() -> Once {
    codec(Chunk { id: 7, offset: 5 * CHUNK_LEN, len: CHUNK_LEN as u32, codec: Codec::Raw })
}

fn page() -> Once {
    codec(Page { first: 0, entries: entries(600) })
}

fn acknowledgements() -> Once {
    let item = |id| StoredItem { id, bytes: 4_000, hash: [7; 32], name: String::new() };
    codec(Stored { items: (0..1_024).map(item).collect() })
}

fn hash() -> Once {
    let content = noise(CHUNK_LEN as usize);
    Box::new(move || {
        let mut hasher = ChunkHasher::new(3 * CHUNK_LEN);
        content.chunks(64 * 1024).for_each(|piece| hasher.update(piece));
        black_box(hasher.finish(false));
    })
}

fn root() -> Once {
    Box::new(|| {
        let mut forest = Forest::default();
        (0..1_024).for_each(|chunk| assert!(forest.insert(chunk, [chunk as u8; 32])));
        black_box(forest.root(1_024 * CHUNK_LEN));
    })
}

fn seal() -> Once {
    let fresh = || Identity::fresh(&[]).expect("the system has random numbers");
    let (here, there) = (fresh(), fresh());
    let name = ServerName::try_from("qrdrop").expect("a name of letters");
    let mut client = ClientConnection::new(client_config(&here, Pin::Unknown), name).expect("a good name");
    let mut server = ServerConnection::new(native_server_config(&there)).expect("a good configuration");
    while client.is_handshaking() || server.is_handshaking() {
        let mut flight = Vec::new();
        client.write_tls(&mut flight).expect("memory takes it");
        server.read_tls(&mut flight.as_slice()).expect("memory gives it");
        server.process_new_packets().expect("an honest peer");
        flight.clear();
        server.write_tls(&mut flight).expect("memory takes it");
        client.read_tls(&mut flight.as_slice()).expect("memory gives it");
        client.process_new_packets().expect("an honest peer");
    }
    let (content, mut read) = (noise(64 * 1024), vec![0; 64 * 1024]);
    let mut sealed = Vec::new();
    Box::new(move || {
        for _ in 0..16 {
            client.writer().write_all(&content).expect("its buffer takes a piece");
            sealed.clear();
            while client.wants_write() {
                client.write_tls(&mut sealed).expect("memory takes it");
            }
            let (mut rest, mut done) = (sealed.as_slice(), 0);
            while done < content.len() {
                if !rest.is_empty() {
                    server.read_tls(&mut rest).expect("memory gives it");
                    server.process_new_packets().expect("an honest peer");
                }
                // Half a record is none yet.
                done += server.reader().read(&mut read[done..]).unwrap_or(0);
            }
        }
        assert_eq!(read, content);
    })
}

fn names() -> Once {
    let paths = [
        "report.pdf",
        "holiday/2026-08-14/DSC00412.JPG",
        "Müller & Söhne/Angebot (Entwurf).docx",
        "con.txt",
        "a\u{301}e\u{301}/\u{202e}gpj.exe",
        "../../.ssh/authorized_keys",
    ];
    Box::new(move || {
        for path in paths {
            let _ = black_box(RelPath::from_stranger(path).map(RelPath::top_level));
            black_box(inert(path));
        }
    })
}

fn roll() -> Once {
    let entries = entries(2_560);
    Box::new(move || {
        let roll: Roll<Entry> = entries.iter().cloned().collect();
        (0..roll.len()).for_each(|place| assert!(roll.get(place).is_some()));
    })
}

fn words() -> Once {
    let prefixes: [&[u8]; 5] =
        [&[0x16, 3, 1, 2, 0], b"GET / HTTP/1.1\r\n", b"photo.jpg<SEPARATOR>4096", b"POST /claim HTTP/1.1", &[0; 8]];
    Box::new(move || {
        for prefix in prefixes {
            black_box(sniff(prefix));
        }
    })
}

fn tutorial() -> Once {
    let mut stream = classic::header("photo.jpg", 64 * 1024);
    stream.extend(noise(64 * 1024));
    Box::new(move || {
        let mut scan = Scan::new();
        for read in stream.chunks(4 * 1024) {
            assert!(scan.push(read).is_ok());
        }
        assert!(scan.finish().is_ok());
    })
}

fn link() -> Once {
    let identity = Identity::fresh(&[]).expect("the system has random numbers");
    let now = Instant::now();
    let mut book = TokenBook::new(None, now);
    book.refresh(now);
    let address = "192.168.1.20:5001".parse().expect("an address");
    let invitation = book.invitation(LinkKind::Qrdrop, address, &identity.fingerprint());
    let text = invitation.expect("a fresh book has a token").link();
    Box::new(move || drop(black_box(Invitation::parse(&text).expect("it was made here"))))
}
