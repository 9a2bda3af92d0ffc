//! Enrolment, login, resumption: what leads to a session and what does not.

use crate::common::client::{self, Failure};
use crate::common::{World, upstream};
use tokio::io::AsyncReadExt;
use vestibule_proto::session::Reason;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_enrolled_device_logs_in_and_reaches_its_service() {
    let world = World::new().await;
    let device = world.enrol("alice", "right").await;
    world.add_service("echo", upstream::echo("hello ").await, &["user:alice"]).await;
    let session = device.login("right").await.unwrap();
    assert_eq!(session.welcome.services.len(), 1);
    let (mut send, mut recv) = session.open("echo").await.unwrap();
    send.write_all(b"world").await.unwrap();
    let mut answer = [0; 11];
    AsyncReadExt::read_exact(&mut recv, &mut answer).await.unwrap();
    assert_eq!(&answer, b"hello world");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_counted_and_told() {
    let world = World::new().await;
    let device = world.enrol("alice", "right").await;
    assert!(matches!(device.login("wrong").await, Err(Failure::WrongPassword)));
    let _ = client::now();
    let _ = Reason::Suspended;
}
