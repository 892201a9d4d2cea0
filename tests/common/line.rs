//! A line between two programs, on which a test may do to what passes whatever it wants.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

/// What was read from one side, on its way to the other.
pub struct Piece {
    /// Connections are counted as they come.
    pub connection: usize,
    /// From guest to host.
    pub up: bool,
    /// How many bytes went this way on this connection before it.
    pub at: u64,
    pub bytes: Vec<u8>,
}

impl Piece {
    /// Where in this piece the byte is that goes as number `at` this way on its connection; `None` if elsewhere.
    pub fn place_of(&self, at: u64) -> Option<usize> {
        at.checked_sub(self.at).map(|from| from as usize).filter(|place| *place < self.bytes.len())
    }
}

/// Between a guest and a host. It runs until the process ends.
pub struct Line {
    pub address: SocketAddr,
}

impl Line {
    /// In front of `host`. `pass` gets each piece and where it is going; its error ends the connection.
    pub fn before(
        host: SocketAddr,
        pass: impl Fn(Piece, &mut TcpStream) -> io::Result<()> + Send + Sync + 'static,
    ) -> Line {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let pass = Arc::new(pass);
        thread::spawn(move || {
            for (connection, guest) in listener.incoming().map_while(Result::ok).enumerate() {
                let Ok(to) = TcpStream::connect(host) else { continue };
                for stream in [&guest, &to] {
                    stream.set_nodelay(true).expect("segments can be sent as written");
                }
                let back = (to.try_clone().expect("a descriptor"), guest.try_clone().expect("a descriptor"));
                for (up, (from, to)) in [(true, (guest, to)), (false, back)] {
                    let pass = Arc::clone(&pass);
                    thread::spawn(move || carry(connection, up, from, to, &*pass));
                }
            }
        });
        Line { address }
    }

    /// The same link, leading over this line.
    pub fn link(&self, link: &str) -> String {
        let (scheme, rest) = link.split_once("://").expect("a link");
        let (_, path) = rest.split_once('/').expect("a link");
        format!("{scheme}://{}/{path}", self.address)
    }
}

fn carry(
    connection: usize,
    up: bool,
    mut from: TcpStream,
    mut to: TcpStream,
    pass: &dyn Fn(Piece, &mut TcpStream) -> io::Result<()>,
) {
    let (mut buffer, mut at) = (vec![0; 16 * 1024], 0);
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let piece = Piece { connection, up, at, bytes: buffer[..count].to_vec() };
        at += count as u64;
        if pass(piece, &mut to).is_err() {
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
            return;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// Passes a piece on as it is.
pub fn on(piece: &Piece, to: &mut TcpStream) -> io::Result<()> {
    to.write_all(&piece.bytes)
}
