//! Taking the port.
//!
//! Two steps, because the invitation is written to its file when the port is ours and before anybody can connect:
//! [`bind`] takes the port, [`Bound::listen`] opens it.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::task::Poll;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use super::NetError;

/// The tutorial's port.
pub const DEFAULT_PORT: u16 = 5001;

/// How many ports after the preferred one are tried before a person is asked to choose.
const PORTS_TRIED: u16 = 100;

/// Connections that may wait in the system while we are busy: a burst of senders, and whatever comes while descriptors
/// are scarce.
const BACKLOG: i32 = 1_024;

/// How often a port chosen by the system for the first address may turn out to be taken on another one.
const ANY_PORT_TRIES: usize = 16;

/// Which port to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortChoice {
    /// This one, or the next free one after it.
    Preferred(u16),
    /// This one or none; 0 is any.
    Exactly(u16),
}

impl Default for PortChoice {
    fn default() -> PortChoice {
        PortChoice::Preferred(DEFAULT_PORT)
    }
}

/// A port that is ours, on which nobody can connect yet.
#[derive(Debug)]
pub struct Bound {
    sockets: Vec<Socket>,
    port: u16,
}

/// Takes a port on all addresses (`only` is `None`) or on the given ones.
///
/// All addresses means IPv6 and IPv4 on one socket, or IPv4 alone where there is no IPv6.
///
/// # Errors
/// [`NetError::PortTaken`] or [`NetError::NoFreePort`]; [`NetError::Listen`] for anything else the system says.
pub fn bind(choice: PortChoice, only: Option<&[IpAddr]>) -> Result<Bound, NetError> {
    let listen_error = |port| move |source| NetError::Listen { port, source };
    match choice {
        PortChoice::Preferred(0) | PortChoice::Exactly(0) => bind_any(only).map_err(listen_error(0)),
        PortChoice::Exactly(port) => bind_port(port, only).map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => NetError::PortTaken(port),
            _ => NetError::Listen { port, source },
        }),
        PortChoice::Preferred(first) => {
            let last = first.saturating_add(PORTS_TRIED - 1);
            for port in first..=last {
                match bind_port(port, only) {
                    Ok(bound) => return Ok(bound),
                    // Windows says "permission denied" for ports that another program holds for itself.
                    Err(e) if matches!(e.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied) => {}
                    Err(e) => return Err(listen_error(port)(e)),
                }
            }
            Err(NetError::NoFreePort { first, last })
        }
    }
}

fn bind_any(only: Option<&[IpAddr]>) -> io::Result<Bound> {
    let mut tries = 1;
    loop {
        match bind_port(0, only) {
            Err(e) if e.kind() == io::ErrorKind::AddrInUse && tries < ANY_PORT_TRIES => tries += 1,
            done => return done,
        }
    }
}

fn bind_port(mut port: u16, only: Option<&[IpAddr]>) -> io::Result<Bound> {
    let Some(addresses) = only.filter(|addresses| !addresses.is_empty()) else { return bind_everywhere(port) };
    let mut sockets = Vec::with_capacity(addresses.len());
    for &ip in addresses {
        let socket = bind_socket(SocketAddr::new(ip, port), false)?;
        port = local_port(&socket)?;
        sockets.push(socket);
    }
    Ok(Bound { sockets, port })
}

fn bind_everywhere(port: u16) -> io::Result<Bound> {
    if cfg!(not(target_os = "linux")) && port != 0 {
        // Elsewhere a socket for both families does not collide with another program's for IPv4 alone: look first.
        bind_socket((Ipv4Addr::UNSPECIFIED, port).into(), false)?;
    }
    let socket = match bind_socket((Ipv6Addr::UNSPECIFIED, port).into(), true) {
        Err(e) if e.kind() != io::ErrorKind::AddrInUse && e.kind() != io::ErrorKind::PermissionDenied => {
            bind_socket((Ipv4Addr::UNSPECIFIED, port).into(), false)?
        }
        dual => dual?,
    };
    let port = local_port(&socket)?;
    Ok(Bound { sockets: vec![socket], port })
}

/// Binds one socket so that nobody else can bind the same address until it listens.
///
/// Without `SO_REUSEADDR` first: with it, Linux lets two programs bind one port as long as neither listens, and the
/// loser would learn it after its invitation is out. Only connections of an earlier run that linger in `TIME_WAIT` need
/// it; a port that such a run left is taken on the second try, and the option withdrawn until [`Bound::listen`].
fn bind_socket(address: SocketAddr, dual: bool) -> io::Result<Socket> {
    let bind = |reuse: bool| {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        if address.is_ipv6() {
            socket.set_only_v6(!dual)?;
        }
        if reuse {
            socket.set_reuse_address(true)?;
        }
        socket.bind(&address.into())?;
        if reuse {
            socket.set_reuse_address(false)?;
        }
        io::Result::Ok(socket)
    };
    match bind(false) {
        Err(e) if cfg!(unix) && e.kind() == io::ErrorKind::AddrInUse => bind(true),
        done => done,
    }
}

fn local_port(socket: &Socket) -> io::Result<u16> {
    let address = socket.local_addr()?.as_socket();
    address.map(|a| a.port()).ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))
}

impl Bound {
    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Lets peers connect. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`NetError::PortTaken`] should another program have come to listen there all the same, [`NetError::Listen`].
    pub fn listen(self) -> Result<Listener, NetError> {
        let port = self.port;
        let listen = |socket: Socket| {
            if cfg!(unix) {
                // Needed beside connections of an earlier run that linger, and inherited by those to come.
                socket.set_reuse_address(true)?;
            }
            socket.listen(BACKLOG)?;
            socket.set_nonblocking(true)?;
            TcpListener::from_std(socket.into())
        };
        let listeners: io::Result<Vec<TcpListener>> = self.sockets.into_iter().map(listen).collect();
        match listeners {
            Ok(listeners) => Ok(Listener { listeners, port, turn: 0 }),
            Err(e) if e.kind() == io::ErrorKind::AddrInUse => Err(NetError::PortTaken(port)),
            Err(source) => Err(NetError::Listen { port, source }),
        }
    }
}

/// An open port, on one or more addresses.
#[derive(Debug)]
pub struct Listener {
    listeners: Vec<TcpListener>,
    port: u16,
    turn: usize,
}

impl Listener {
    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The next connection, and where it comes from (an IPv4 peer as IPv4). Cancelling loses nothing.
    ///
    /// # Errors
    /// As the system, see `accept` for which of them pass.
    pub async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        // Each call begins with another listener, so that a busy one does not starve the rest.
        self.turn = self.turn.wrapping_add(1);
        let (listeners, turn) = (&self.listeners, self.turn);
        let (stream, peer) = poll_fn(|cx| {
            for offset in 0..listeners.len() {
                let listener = &listeners[turn.wrapping_add(offset) % listeners.len()];
                if let Poll::Ready(result) = listener.poll_accept(cx) {
                    return Poll::Ready(result);
                }
            }
            Poll::Pending
        })
        .await?;
        Ok((stream, SocketAddr::new(peer.ip().to_canonical(), peer.port())))
    }
}

#[cfg(test)]
mod tests;
