//! `sealed take ADDRESS FILE`, `sealed give ADDRESS FILE`: what nc does, with BLAKE3 and AES-128-GCM in between,
//! by the same crates and in the same steps as qrdrop, and nothing else: no handshake, no name, no sync, no acknowledgement,
//! no second connection. The least that a program needs on a machine that hashes and encrypts with the cores that copy.
//! `sealed unpack ADDRESS FOLDER` takes what `tar` gives to `sealed pack ADDRESS FILE`: both hash each file by itself, and each is
//! made as qrdrop makes it: closed to others and under a name that goes away, then opened to them and renamed
//! when it is whole. `sealed hash FILE` only hashes.

use std::fs::{self, File, OpenOptions};
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
    let accepted = |address| TcpListener::bind(address)?.accept().map(|(socket, _)| socket);
    let mut hasher = blake3::Hasher::new();
    match arguments[..] {
        ["take", address, path] => {
            take(accepted(address)?, &mut Hashed { file: File::create(path)?, hasher: &mut hasher })?
        }
        ["give", address, path] => give(TcpStream::connect(address)?, File::open(path)?, &mut hasher)?,
        ["unpack", address, path] => {
            let unpacking = Unpacking::into(path.into())?;
            take(accepted(address)?, &mut Entries::new(|entry, content| unpacking.make(entry, content, &mut hasher)))?;
        }
        ["pack", address, path] => {
            let mut each = Entries::new(|_, content| {
                hasher.update(blake3::hash(content).as_bytes());
                Ok(())
            });
            give(TcpStream::connect(address)?, File::open(path)?, &mut each)?;
        }
        ["hash", path] => _ = hasher.update_reader(File::open(path)?)?,
        _ => {
            println!("sealed take|give|pack ADDRESS FILE, sealed unpack ADDRESS FOLDER, sealed hash FILE");
            return Ok(());
        }
    }
    eprintln!("{}", hasher.finalize());
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

/// Gives what is in `file`, and to `hashing` as well.
fn give(mut socket: TcpStream, mut file: File, hashing: &mut impl Write) -> io::Result<()> {
    let mut cipher = Cipher::new();
    let (mut plain, mut sealed) = (vec![0; PIECE], Vec::with_capacity(PIECE + 4 * TAG));
    loop {
        let len = fill(&mut file, &mut plain)?;
        hashing.write_all(&plain[..len])?;
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
            return io::copy(&mut socket, &mut io::sink()).map(drop);
        }
    }
}

fn take(mut socket: TcpStream, to: &mut impl Write) -> io::Result<()> {
    let mut cipher = Cipher::new();
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
        to.write_all(&sealed[..plain])?;
        if len < sealed.len() {
            return Ok(());
        }
    }
}

/// A file that is hashed as it is written.
struct Hashed<'a> {
    file: File,
    hasher: &'a mut blake3::Hasher,
}

impl Write for Hashed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hasher.update(bytes);
        self.file.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A folder or a regular file of a `tar`.
struct Entry<'a> {
    name: &'a str,
    is_folder: bool,
    modified: SystemTime,
}

/// What `each` does with every entry of a `tar` of folders and regular files whose paths fit into its headers.
struct Entries<F> {
    each: F,
    /// Not a whole entry yet.
    bytes: Vec<u8>,
}

impl<F: FnMut(Entry<'_>, &[u8]) -> io::Result<()>> Entries<F> {
    fn new(each: F) -> Entries<F> {
        Entries { each, bytes: Vec::new() }
    }

    /// Takes the entry at `start`, if it is there as a whole; where the next one is.
    fn next(&mut self, start: usize) -> io::Result<Option<usize>> {
        let Some((header, rest)) = self.bytes[start..].split_at_checked(BLOCK) else { return Ok(None) };
        let text = |range: Range<usize>| {
            let field = header[range].split(|byte| [0, b' '].contains(byte)).next();
            std::str::from_utf8(field.unwrap_or_default()).map_err(io::Error::other)
        };
        let number = |range| u64::from_str_radix(text(range)?, 8).map_err(io::Error::other);
        let name = text(0..100)?;
        if name.is_empty() {
            return Ok(Some(self.bytes.len()));
        }
        let size = number(124..136)? as usize;
        let Some(content) = rest.get(..size.next_multiple_of(BLOCK)) else { return Ok(None) };
        let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(number(136..148)?);
        (self.each)(Entry { name, is_folder: header[156] == b'5', modified }, &content[..size])?;
        Ok(Some(start + BLOCK + size.next_multiple_of(BLOCK)))
    }
}

impl<F: FnMut(Entry<'_>, &[u8]) -> io::Result<()>> Write for Entries<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        let mut start = 0;
        while start < self.bytes.len() {
            let Some(next) = self.next(start)? else { break };
            start = next;
        }
        self.bytes.drain(..start);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Unpacking {
    folder: PathBuf,
}

impl Unpacking {
    fn into(folder: PathBuf) -> io::Result<Unpacking> {
        fs::create_dir(folder.join(PARTIAL))?;
        Ok(Unpacking { folder })
    }

    fn make(&self, entry: Entry<'_>, content: &[u8], hasher: &mut blake3::Hasher) -> io::Result<()> {
        let path = self.folder.join(entry.name);
        if entry.is_folder {
            return fs::create_dir(path);
        }
        let partial = self.folder.join(PARTIAL).join(entry.name.replace('/', "-"));
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&partial)?;
        file.write_all(content)?;
        hasher.update(blake3::hash(content).as_bytes());
        #[cfg(unix)]
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
        file.set_modified(entry.modified)?;
        fs::rename(partial, path)
    }
}

impl Drop for Unpacking {
    fn drop(&mut self) {
        // What is left there was not whole.
        let _ = fs::remove_dir_all(self.folder.join(PARTIAL));
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
