//! Connecting to a receiver, which may have several addresses.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{Load, NetError, begin_unpaced, tune};

/// Within one room an answer takes milliseconds; this leaves time for a lost first packet (1 s, then 3 s, then 7 s) and
/// for a phone's radio to wake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an address has for itself before the next one is tried beside it (RFC 8305, section 5).
const STAGGER: Duration = Duration::from_millis(250);

/// Connects to one address for a `load`, from `source` if given (an address of the chosen interface).
///
/// # Errors
/// [`NetError::Refused`], [`NetError::Unreachable`], [`NetError::TimedOut`]; [`NetError::NoAddress`] when `source` is of
/// the other address family; [`NetError::Dial`] for anything else.
pub async fn dial(address: SocketAddr, source: Option<IpAddr>, load: Load) -> Result<TcpStream, NetError> {
    match timeout(CONNECT_TIMEOUT, connect(address, source, load)).await {
        Ok(Ok(stream)) => {
            tune(&stream);
            Ok(stream)
        }
        Ok(Err(source)) => Err(classify(address, source)),
        Err(_) => Err(NetError::TimedOut(address)),
    }
}

async fn connect(address: SocketAddr, source: Option<IpAddr>, load: Load) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(source) = source {
        if source.is_ipv4() != address.is_ipv4() {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        socket.bind(SocketAddr::new(source, 0))?;
    }
    if load == Load::Bulk {
        begin_unpaced(&socket);
    }
    socket.connect(address).await
}

fn classify(address: SocketAddr, source: io::Error) -> NetError {
    use io::ErrorKind as Kind;
    match source.kind() {
        Kind::ConnectionRefused => NetError::Refused(address),
        Kind::TimedOut => NetError::TimedOut(address),
        Kind::HostUnreachable | Kind::NetworkUnreachable | Kind::NetworkDown => NetError::Unreachable(address),
        Kind::AddrNotAvailable => NetError::NoAddress,
        _ => NetError::Dial { address, source },
    }
}

/// Connects to the first address of one receiver that answers, trying them in order, each next one 250 ms later or
/// as soon as one has failed. The attempts left over are dropped.
///
/// `sources` are the addresses of the chosen interface, of which one of the right family is used; empty for any.
///
/// # Errors
/// [`NetError::NoAddress`] when there is nothing to try; otherwise what the most telling attempt said: a refusal
/// before a silence, a silence before a missing way.
pub async fn dial_any(addresses: &[SocketAddr], sources: &[IpAddr], load: Load) -> Result<TcpStream, NetError> {
    let mut waiting = addresses.iter().filter_map(|&address| {
        if sources.is_empty() {
            return Some((address, None));
        }
        let source = sources.iter().copied().find(|source| source.is_ipv4() == address.is_ipv4())?;
        Some((address, Some(source)))
    });
    let mut attempts = JoinSet::new();
    let mut failure = NetError::NoAddress;
    loop {
        match waiting.next() {
            Some((address, source)) => {
                attempts.spawn(dial(address, source, load));
            }
            None if attempts.is_empty() => return Err(failure),
            None => {}
        }
        let all_started = waiting.size_hint().1 == Some(0);
        tokio::select! {
            Some(Ok(result)) = attempts.join_next() => match result {
                Ok(stream) => return Ok(stream),
                Err(error) if weight(&error) > weight(&failure) => failure = error,
                Err(_) => {}
            },
            () = sleep(STAGGER), if !all_started => {}
        }
    }
}

/// How much an error tells a person about what is wrong.
fn weight(error: &NetError) -> u8 {
    match error {
        NetError::Refused(_) => 4,
        NetError::TimedOut(_) => 3,
        NetError::Dial { .. } => 2,
        NetError::Unreachable(_) => 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
