//! `sealed take ADDRESS FILE`, `sealed give ADDRESS FILE`: what nc does, with BLAKE3 and AES-128-GCM in between,
//! by the same crates and in the same steps as qrdrop, and nothing else: no handshake, no name, no sync, no acknowledgement,
//! no second connection. The least that a program needs on a machine that hashes and encrypts with the cores that copy.
//! `sealed unpack ADDRESS FOLDER` takes what `tar` gives, and makes each file as qrdrop does: under a name that goes away, and
//! renamed when it is whole. `sealed hash FILE` only hashes.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::ops::Range;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

/// What TLS seals at once.
const RECORD: usize = 16 * 1024;
/// What is read, hashed, sealed and written at once.
const PIECE: usize = 4 * RECORD;
const TAG: usize = 16;

/// What a `tar` is made of.
const BLOCK: usize = 512;
/// Where files are that are not whole.
const PARTIAL: &str = ".partial";

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let root = match arguments[..] {
        ["take", address, path] => take(TcpListener::bind(address)?.accept()?.0, File::create(path)?)?,
        ["give", address, path] => give(TcpStream::connect(address)?, File::open(path)?)?,
        ["unpack", address, path] => take(TcpListener::bind(address)?.accept()?.0, Unpacking::into(path.into())?)?,
        ["hash", path] => hash(File::open(path)?)?,
        _ => {
            println!(
                "sealed take ADDRESS FILE, sealed give ADDRESS FILE, sealed unpack ADDRESS FOLDER, sealed hash FILE"
            );
            return Ok(());
        }
    };
    eprintln!("{root}");
    Ok(())
}

/// The same key each time: only the work counts.
struct Cipher {
    key: LessSafeKey,
    records: u128,
}

impl Cipher {
    fn new() -> Cipher {
        let key = UnboundKey::new(&AES_128_GCM, &[7; 16]).expect("16 bytes are a key of AES-128");
        Cipher { key: LessSafeKey::new(key), records: 0 }
    }

    fn nonce(&mut self) -> Nonce {
        self.records += 1;
        let [_, _, _, _, nonce @ ..] = self.records.to_be_bytes();
        Nonce::assume_unique_for_key(nonce)
    }
}

fn give(mut socket: TcpStream, mut file: File) -> io::Result<blake3::Hash> {
    let (mut cipher, mut hasher) = (Cipher::new(), blake3::Hasher::new());
    let (mut plain, mut sealed) = (vec![0; PIECE], Vec::with_capacity(PIECE + 4 * TAG));
    loop {
        let len = fill(&mut file, &mut plain)?;
        hasher.update(&plain[..len]);
        sealed.clear();
        for record in plain[..len].chunks(RECORD) {
            let start = sealed.len();
            sealed.extend_from_slice(record);
            let nonce = cipher.nonce();
            let tag = cipher.key.seal_in_place_separate_tag(nonce, Aad::empty(), &mut sealed[start..]);
            sealed.extend_from_slice(tag.expect("a record is short enough").as_ref());
        }
        socket.write_all(&sealed)?;
        if len < PIECE {
            socket.shutdown(Shutdown::Write)?;
            // Until the other end has it all, as `nc -N` waits.
            io::copy(&mut socket, &mut io::sink())?;
            return Ok(hasher.finalize());
        }
    }
}

fn take(mut socket: TcpStream, mut file: impl Write) -> io::Result<blake3::Hash> {
    let (mut cipher, mut hasher) = (Cipher::new(), blake3::Hasher::new());
    let mut sealed = vec![0; PIECE + 4 * TAG];
    loop {
        let len = fill(&mut socket, &mut sealed)?;
        let mut plain = 0;
        for start in (0..len).step_by(RECORD + TAG) {
            let end = len.min(start + RECORD + TAG);
            let nonce = cipher.nonce();
            let record = cipher.key.open_in_place(nonce, Aad::empty(), &mut sealed[start..end]);
            let record = start..start + record.map_err(|_| io::Error::other("not what was sealed"))?.len();
            let next = plain + record.len();
            sealed.copy_within(record, plain);
            plain = next;
        }
        hasher.update(&sealed[..plain]);
        file.write_all(&sealed[..plain])?;
        if len < sealed.len() {
            return Ok(hasher.finalize());
        }
    }
}

/// What comes out of a `tar` of folders and regular files whose paths fit into its headers.
struct Unpacking {
    folder: PathBuf,
    /// Not a whole file yet.
    bytes: Vec<u8>,
}

impl Unpacking {
    fn into(folder: PathBuf) -> io::Result<Unpacking> {
        fs::create_dir(folder.join(PARTIAL))?;
        Ok(Unpacking { folder, bytes: Vec::new() })
    }

    /// Makes the next entry, if it is there as a whole, and takes it off.
    fn next(&mut self) -> io::Result<bool> {
        let Some((header, rest)) = self.bytes.split_at_checked(BLOCK) else { return Ok(false) };
        let text = |range: Range<usize>| {
            let field = header[range].split(|byte| [0, b' '].contains(byte)).next();
            std::str::from_utf8(field.unwrap_or_default()).map_err(io::Error::other)
        };
        let number = |range| u64::from_str_radix(text(range)?, 8).map_err(io::Error::other);
        let name = text(0..100)?;
        if name.is_empty() {
            self.bytes.clear();
            return Ok(false);
        }
        let (path, size) = (self.folder.join(name), number(124..136)? as usize);
        let Some(content) = rest.get(..size.next_multiple_of(BLOCK)) else { return Ok(false) };
        if header[156] == b'5' {
            fs::create_dir(path)?;
        } else {
            let partial = self.folder.join(PARTIAL).join(name.replace('/', "-"));
            let mut file = File::create_new(&partial)?;
            file.write_all(&content[..size])?;
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(number(136..148)?))?;
            fs::rename(partial, path)?;
        }
        self.bytes.drain(..BLOCK + size.next_multiple_of(BLOCK));
        Ok(true)
    }
}

impl Write for Unpacking {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        while self.next()? {}
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Unpacking {
    fn drop(&mut self) {
        // What is left there was not whole.
        let _ = fs::remove_dir_all(self.folder.join(PARTIAL));
    }
}

fn hash(mut file: File) -> io::Result<blake3::Hash> {
    let (mut hasher, mut piece) = (blake3::Hasher::new(), vec![0; PIECE]);
    loop {
        match fill(&mut file, &mut piece)? {
            0 => return Ok(hasher.finalize()),
            len => hasher.update(&piece[..len]),
        };
    }
}

/// Reads until `bytes` are full or there is no more; how many came.
fn fill(from: &mut impl Read, bytes: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < bytes.len() {
        match from.read(&mut bytes[len..])? {
            0 => break,
            more => len += more,
        }
    }
    Ok(len)
}
