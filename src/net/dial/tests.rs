use std::net::Ipv4Addr;

use tokio::net::TcpListener;

use super::*;

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn closed() -> SocketAddr {
    listener().await.1
}

#[tokio::test]
async fn a_closed_port_is_told_as_refused_with_a_hint() {
    let error = dial(closed().await, None, Load::Talk).await.unwrap_err();
    assert!(matches!(error, NetError::Refused(_)), "{error}");
    assert!(error.hint().is_some());
}

#[tokio::test]
async fn the_chosen_source_address_is_used() {
    let (listener, address) = listener().await;
    let source = IpAddr::from(Ipv4Addr::new(127, 0, 0, 9));
    let _stream = dial(address, Some(source), Load::Bulk).await.unwrap();
    assert_eq!(listener.accept().await.unwrap().1.ip(), source);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_connection_for_files_begins_without_pacing() {
    let (_listener, address) = listener().await;
    let stream = dial(address, None, Load::Bulk).await.unwrap().into_std().unwrap();
    assert!(crate::net::within_machine(&stream));
    let name = socket2::SockRef::from(&stream).tcp_congestion().unwrap();
    assert!(!name.starts_with(b"bbr"), "{}", String::from_utf8_lossy(&name));
}

#[tokio::test]
async fn of_several_addresses_one_that_answers_is_found() {
    let (_listener, open) = listener().await;
    let stream = dial_any(&[closed().await, closed().await, open], &[], Load::Talk).await.unwrap();
    assert_eq!(stream.peer_addr().unwrap(), open);
}

#[tokio::test(start_paused = true)]
async fn the_first_address_wins_when_several_answer() {
    let ((_a, first), (_b, second)) = (listener().await, listener().await);
    assert_eq!(dial_any(&[first, second], &[], Load::Talk).await.unwrap().peer_addr().unwrap(), first);
}

#[tokio::test]
async fn a_refusal_tells_more_than_a_missing_way() {
    let closed = closed().await;
    for addresses in [[closed, "[2001:db8::1]:9".parse().unwrap()], ["240.0.0.1:9".parse().unwrap(), closed]] {
        let error = dial_any(&addresses[..], &[IpAddr::from(Ipv4Addr::LOCALHOST)], Load::Talk).await.unwrap_err();
        assert!(matches!(error, NetError::Refused(_)), "{error}");
    }
}

#[tokio::test]
async fn an_interface_of_the_other_family_reaches_nothing() {
    let error =
        dial_any(&["[::1]:9".parse().unwrap()], &[IpAddr::from(Ipv4Addr::LOCALHOST)], Load::Talk).await.unwrap_err();
    assert!(matches!(error, NetError::NoAddress));
    assert!(matches!(dial_any(&[], &[], Load::Talk).await, Err(NetError::NoAddress)));
}
