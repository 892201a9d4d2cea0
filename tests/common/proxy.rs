//! A proxy in user space that counts what passes, and cuts it.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// Between a guest and a host. It runs until the process ends.
pub struct Proxy {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    /// Bytes that went from guest to host.
    up: AtomicU64,
    /// Bytes that went the other way.
    down: AtomicU64,
    /// When so many bytes have gone either way in all, something is cut; ascending.
    cuts: Mutex<Vec<u64>>,
    what: Cut,
    /// Connections that were cut.
    broken: AtomicU64,
    /// Both ends of each connection, in the order in which they came.
    open: Mutex<Vec<[TcpStream; 2]>>,
}

/// What is cut.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Every connection.
    All,
    /// All but the first one, which controls the others.
    Lanes,
}

impl Proxy {
    /// In front of `host`; cuts everything each time that one of `cuts` bytes have passed in all.
    pub fn before(host: SocketAddr, cuts: &[u64]) -> Proxy {
        Proxy::cutting(host, Cut::All, cuts)
    }

    /// In front of `host`; cuts `what` each time that one of `cuts` bytes have passed in all.
    pub fn cutting(host: SocketAddr, what: Cut, cuts: &[u64]) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (up, down) = (AtomicU64::new(0), AtomicU64::new(0));
        let shared = Arc::new(Shared {
            up,
            down,
            cuts: Mutex::new(cuts.to_vec()),
            what,
            broken: AtomicU64::new(0),
            open: Mutex::default(),
        });
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for guest in listener.incoming().map_while(Result::ok) {
                let Ok(to) = TcpStream::connect(host) else { continue };
                serving.open.lock().unwrap().push([guest.try_clone().unwrap(), to.try_clone().unwrap()]);
                for (from, to, up) in [(guest.try_clone().unwrap(), to.try_clone().unwrap(), true), (to, guest, false)]
                {
                    let shared = Arc::clone(&serving);
                    thread::spawn(move || shared.pump(from, to, up));
                }
            }
        });
        Proxy { address, shared }
    }

    /// Bytes that have passed to the host, and from it.
    pub fn passed(&self) -> (u64, u64) {
        (self.shared.up.load(Ordering::SeqCst), self.shared.down.load(Ordering::SeqCst))
    }

    /// How many connections were cut.
    pub fn broken(&self) -> u64 {
        self.shared.broken.load(Ordering::SeqCst)
    }

    /// Cuts everything now.
    pub fn cut(&self) {
        self.shared.cut();
    }

    /// How many cuts are still to come.
    pub fn cuts_left(&self) -> usize {
        self.shared.cuts.lock().unwrap().len()
    }
}

impl Shared {
    fn pump(&self, mut from: TcpStream, mut to: TcpStream, up: bool) {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            let counter = if up { &self.up } else { &self.down };
            counter.fetch_add(count as u64, Ordering::SeqCst);
            self.cut_if_due();
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    }

    fn cut_if_due(&self) {
        let mut cuts = self.cuts.lock().unwrap();
        let passed = self.up.load(Ordering::SeqCst) + self.down.load(Ordering::SeqCst);
        if cuts.first().is_some_and(|cut| passed >= *cut) {
            cuts.remove(0);
            self.cut();
        }
    }

    fn cut(&self) {
        let mut open = self.open.lock().unwrap();
        let first = if self.what == Cut::Lanes { 1.min(open.len()) } else { 0 };
        self.broken.fetch_add((open.len() - first) as u64, Ordering::SeqCst);
        for stream in open.drain(first..).flatten() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}
