//! UDP services through a real gateway: senders and flows, large datagrams, and what a move, a resumption and a revocation do to them.

use crate::session::{over, resumed};
use crate::world::{SOON, World};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;
use vestibule_client::agent::Apparatus;
use vestibule_client::error::ClientError;
use vestibule_client::forward::Forwarder;
use vestibule_client::{Client, Neighbours, Tunnel, names};
use vestibule_gateway::admin::{Request, ServiceRequest, SessionRequest};
use vestibule_proto::session::{Reason, ServiceKind};

/// The service `dns`, which sends every datagram back.
async fn dns(world: &World) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (name, upstream) = ("dns".to_owned(), socket.local_addr().unwrap().to_string());
    let allow = vec!["everyone".to_owned()];
    let add = ServiceRequest::Add { name, kind: ServiceKind::Udp, upstream, allow, direct: None };
    world.ask(Request::Service(add)).await;
    tokio::spawn(async move {
        let mut buffer = vec![0; 65_536];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let _ = socket.send_to(&buffer[..length], from).await;
        }
    });
}

async fn forwarded(client: &Client) -> SocketAddr {
    let forward = "0/udp=dns".parse().unwrap();
    let forwarder = Forwarder::bind(&forward, client.clone(), Neighbours::refused()).await.unwrap();
    let at = forwarder.local_addr();
    tokio::spawn(forwarder.serve());
    at
}

async fn sender(to: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(to).await.unwrap();
    socket
}

/// What comes back within this time, if anything does.
async fn heard(socket: &UdpSocket, within: Duration) -> Option<Vec<u8>> {
    let mut buffer = vec![0; 65_536];
    let length = tokio::time::timeout(within, socket.recv(&mut buffer)).await.ok()?.unwrap();
    buffer.truncate(length);
    Some(buffer)
}

/// As a resolver asks: again, when no answer comes.
async fn asked(socket: &UdpSocket, word: &[u8]) {
    let deadline = Instant::now() + SOON;
    loop {
        socket.send(word).await.unwrap();
        if heard(socket, Duration::from_millis(300)).await.as_deref() == Some(word) {
            return;
        }
        assert!(Instant::now() < deadline, "no answer");
    }
}

#[tokio::test]
async fn datagrams_of_every_size_go_and_come() {
    let world = World::new().await;
    dns(&world).await;
    let client = world.alice().await.connect().await.unwrap();
    assert_eq!(client.services()[0].kind, ServiceKind::Udp);
    let at = forwarded(&client).await;
    let mut senders = Vec::new();
    for number in 0..10u8 {
        let socket = sender(at).await;
        // The first ones travel before the gateway has answered.
        for length in [0, 100, 1_100, 1_400, 9_000, 60_000] {
            socket.send(&vec![number; length]).await.unwrap();
            assert_eq!(heard(&socket, SOON).await, Some(vec![number; length]), "{number}: {length}");
        }
        senders.push(socket);
    }
    assert_eq!(client.status().streams, 10, "a flow for each sender");
    let refused = names::find(&client.services(), "dns").unwrap_err();
    assert_eq!(refused, ClientError::OtherKind { service: "dns".to_owned(), is: ServiceKind::Udp });
}

#[tokio::test]
async fn many_datagrams_at_once_are_all_there_or_lost_and_never_others() {
    let world = World::new().await;
    dns(&world).await;
    let client = world.alice().await.connect().await.unwrap();
    let socket = sender(forwarded(&client).await).await;
    asked(&socket, b"begin").await;
    let mut back = 0;
    for round in 0..50u32 {
        for number in 0..20u32 {
            socket.send(&(round * 20 + number).to_be_bytes()).await.unwrap();
        }
        for _ in 0..20 {
            let Some(word) = heard(&socket, Duration::from_millis(500)).await else { break };
            let number = u32::from_be_bytes(word.try_into().unwrap());
            assert!(number / 20 <= round);
            back += 1;
        }
    }
    assert!(back > 900, "{back} of 1,000 on loopback");
}

/// Senders go on as if nothing had been: their next datagrams begin new flows, on the connection that came.
#[tokio::test]
async fn a_resumption_is_bridged_by_new_flows() {
    let mut world = World::new().await;
    dns(&world).await;
    let client = world.alice().await.connect().await.unwrap();
    let mut events = client.events();
    let socket = sender(forwarded(&client).await).await;
    asked(&socket, b"before").await;
    world.kill_gateway();
    world.start_gateway().await;
    // Said while nothing is there.
    socket.send(b"lost, perhaps").await.unwrap();
    resumed(&mut events).await;
    asked(&socket, b"after").await;
    assert_eq!(client.status().resumptions, 1);
}

#[tokio::test]
async fn a_service_that_is_removed_falls_silent_and_a_revoked_session_ends() {
    let world = World::new().await;
    dns(&world).await;
    let client = world.alice().await.connect().await.unwrap();
    let mut events = client.events();
    let socket = sender(forwarded(&client).await).await;
    asked(&socket, b"before").await;
    world.ask(Request::Service(ServiceRequest::Remove { name: "dns".to_owned() })).await;
    for _ in 0..10 {
        socket.send(b"word").await.unwrap();
        assert_eq!(heard(&socket, Duration::from_millis(50)).await, None);
    }
    dns(&world).await;
    asked(&socket, b"again").await;
    let session = client.status().session.to_string();
    world.ask(Request::Session(SessionRequest::Revoke { session })).await;
    assert_eq!(over(&mut events).await, ClientError::SessionEnded(Reason::Revoked));
    socket.send(b"word").await.unwrap();
    assert_eq!(heard(&socket, Duration::from_millis(300)).await, None);
}
