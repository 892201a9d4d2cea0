use std::net::TcpListener as StdListener;

use super::*;

const LOOPBACK: &[IpAddr] = &[IpAddr::V4(Ipv4Addr::LOCALHOST)];

/// A port that was free a moment ago, with some free ones after it in all likelihood.
fn free_port() -> u16 {
    bind(PortChoice::Exactly(0), None).unwrap().port()
}

#[test]
fn two_that_only_bound_do_not_share_a_port() {
    let first = bind(PortChoice::Preferred(free_port()), None).unwrap();
    let second = bind(PortChoice::Preferred(first.port()), None).unwrap();
    assert_ne!(first.port(), second.port());
    assert!(
        matches!(bind(PortChoice::Exactly(first.port()), None), Err(NetError::PortTaken(port)) if port == first.port())
    );
}

#[tokio::test]
async fn a_port_that_somebody_listens_on_is_taken_in_each_family() {
    for address in ["0.0.0.0:0", "127.0.0.1:0", "[::]:0", "[::1]:0"] {
        let Ok(other) = StdListener::bind(address) else { continue };
        let taken = other.local_addr().unwrap().port();
        assert!(matches!(bind(PortChoice::Exactly(taken), None), Err(NetError::PortTaken(_))), "{address}");
        assert_ne!(bind(PortChoice::Preferred(taken), None).unwrap().port(), taken, "{address}");
    }
}

#[tokio::test]
async fn a_listening_receiver_keeps_its_port_from_the_next_one() {
    let first = bind(PortChoice::Exactly(0), None).unwrap().listen().unwrap();
    assert!(matches!(bind(PortChoice::Exactly(first.port()), None), Err(NetError::PortTaken(_))));
    assert!(matches!(bind(PortChoice::Exactly(first.port()), Some(LOOPBACK)), Err(NetError::PortTaken(_))));
    assert!(StdListener::bind(("0.0.0.0", first.port())).is_err());
}

#[tokio::test]
async fn the_port_can_be_taken_again_while_old_connections_linger() {
    let mut listener = bind(PortChoice::Exactly(0), None).unwrap().listen().unwrap();
    let port = listener.port();
    let client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    // The side that closes first is the one that lingers in `TIME_WAIT`.
    let (accepted, _) = listener.accept().await.unwrap();
    drop(accepted);
    client.readable().await.unwrap();
    assert_eq!(client.try_read(&mut [0]).unwrap(), 0);
    drop(client);
    drop(listener);
    let again = bind(PortChoice::Exactly(port), None).unwrap();
    assert!(bind(PortChoice::Exactly(port), None).is_err(), "and is exclusive again");
    again.listen().unwrap();
}

#[tokio::test]
async fn both_families_arrive_and_ipv4_peers_are_seen_as_ipv4() {
    let mut listener = bind(PortChoice::Exactly(0), None).unwrap().listen().unwrap();
    let _v4 = TcpStream::connect((Ipv4Addr::LOCALHOST, listener.port())).await.unwrap();
    assert_eq!(listener.accept().await.unwrap().1.ip(), IpAddr::from(Ipv4Addr::LOCALHOST));
    if let Ok(_v6) = TcpStream::connect((Ipv6Addr::LOCALHOST, listener.port())).await {
        assert_eq!(listener.accept().await.unwrap().1.ip(), IpAddr::from(Ipv6Addr::LOCALHOST));
    }
}

#[tokio::test]
async fn a_chosen_interface_is_bound_alone_with_all_its_addresses() {
    let both = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2))];
    let mut listener = bind(PortChoice::Exactly(0), Some(&both)).unwrap().listen().unwrap();
    for ip in both {
        let client = TcpStream::connect((ip, listener.port())).await.unwrap();
        assert_eq!(listener.accept().await.unwrap().1, client.local_addr().unwrap());
    }
    assert!(TcpStream::connect(("127.0.0.3", listener.port())).await.is_err());
}

#[tokio::test]
async fn nobody_can_connect_before_listening() {
    let bound = bind(PortChoice::Exactly(0), Some(LOOPBACK)).unwrap();
    let refused = TcpStream::connect(("127.0.0.1", bound.port())).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
}

#[test]
fn the_last_ports_do_not_wrap_around() {
    let held: Vec<_> = (65_530..=u16::MAX).map(|port| bind(PortChoice::Exactly(port), Some(LOOPBACK))).collect();
    let error = bind(PortChoice::Preferred(65_530), Some(LOOPBACK)).unwrap_err();
    assert!(matches!(error, NetError::NoFreePort { first: 65_530, last: u16::MAX }));
    drop(held);
}
