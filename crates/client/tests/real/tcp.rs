//! The same connects over TCP, with the real controller and gateway.

use crate::session::{over, resumed};
use crate::world::{World, echoed};
use std::time::{Duration, Instant};
use vestibule_client::Transport;
use vestibule_client::agent::Apparatus;
use vestibule_client::error::ClientError;
use vestibule_gateway::admin::{Request, SessionRequest};
use vestibule_proto::session::Reason;

#[tokio::test]
async fn a_session_over_tcp_carries_streams_and_ends_like_any_other() {
    let world = World::new().await;
    world.echo().await;
    let machine = world.alice().await;
    let client = machine.connect_by(Transport::Tcp).await.unwrap();
    assert_eq!(client.status().transport.as_deref(), Some("tcp"));
    let messages: Vec<Vec<u8>> = (0..8u8).map(|n| vec![n; 300_000]).collect();
    let echoes = messages.iter().map(|message| echoed(&client, "echo", message));
    for (echoed, message) in futures_util::future::join_all(echoes).await.into_iter().zip(&messages) {
        assert!(echoed.unwrap() == *message);
    }
    client.sign_off().await.unwrap();
    let quic = machine.connect_by(Transport::Auto).await.unwrap();
    assert_eq!(quic.status().transport.as_deref(), Some("quic"), "where both lead in, QUIC is first");
}

#[tokio::test]
async fn t14_a_revoked_session_over_tcp_is_over_within_a_second() {
    let world = World::new().await;
    world.echo().await;
    let machine = world.alice().await;
    let client = machine.connect_by(Transport::Tcp).await.unwrap();
    let mut events = client.events();
    let begun = Instant::now();
    world.ask(Request::Session(SessionRequest::Revoke { session: client.status().session.to_string() })).await;
    let error = over(&mut events).await;
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert!(matches!(error, ClientError::SessionEnded(Reason::Revoked)), "{error}");
}

#[tokio::test]
async fn a_session_over_tcp_goes_on_over_another_connection_without_the_password() {
    let mut world = World::new().await;
    world.echo().await;
    let machine = world.alice().await;
    let client = machine.connect_by(Transport::Tcp).await.unwrap();
    let mut events = client.events();
    world.stop_gateway().await;
    world.start_gateway().await;
    resumed(&mut events).await;
    assert_eq!(client.status().transport.as_deref(), Some("tcp"));
    assert_eq!(echoed(&client, "echo", b"again").await.unwrap(), b"again");
}
