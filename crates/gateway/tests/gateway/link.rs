//! The link: sessions go on without it, and whatever changed meanwhile is made good by the next one.

use vestibule_gateway::admin::{DeviceRequest, Request};
use vestibule_proto::knocker::KnockFailure;

use crate::common::client::{Failure, exchange};
use crate::common::{World, eventually, upstream};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_go_on_while_the_controller_is_away() {
    let mut world = World::new().await;
    let device = world.enrol("alice", "right").await;
    world.add_service("echo", upstream::echo("").await, &["everyone"]).await;
    let session = device.login("right").await.unwrap();
    let (mut send, mut recv) = session.open("echo").await.unwrap();
    exchange(&mut send, &mut recv, "").await;

    world.stop_controller().await;
    eventually("the gateway notices", async || !world.gateway().status().await.link.unwrap().up).await;
    assert!(world.gateway().status().await.link.unwrap().trouble.is_some());
    exchange(&mut send, &mut recv, "").await;
    session.echoes("echo", "").await;
    let failure = device.login("right").await.err().unwrap();
    assert!(matches!(failure, Failure::Knock(KnockFailure::NoAnswer)), "nothing opens: {failure:?}");

    world.start_controller().await;
    world.linked().await;
    exchange(&mut send, &mut recv, "").await;
    device.login("right").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changed_while_the_link_was_down_is_published_by_the_next_one() {
    let mut world = World::new().await;
    let (alice, bob) = (world.enrol("alice", "right").await, world.enrol("bob", "bobs").await);
    world.stop_controller().await;
    world.ask(Request::Device(DeviceRequest::Revoke { device: alice.id.to_string() })).await;
    world.add_user("carol", &[]).await;
    let invitation = world.invite("carol").await;
    world.start_controller().await;
    world.linked().await;
    world.published().await;
    let gone = alice.login("right").await.err().unwrap();
    assert!(matches!(gone, Failure::Knock(KnockFailure::NoAnswer)), "no row, no answer: {gone:?}");
    bob.login("bobs").await.unwrap();
    crate::common::client::enrol(&invitation, "carols").await.unwrap().login("carols").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_gateway_links_with_its_lasting_keys() {
    let mut world = World::new().await;
    let device = world.enrol("alice", "right").await;
    assert!(vestibule_gateway::keys::Keys::read(&world.gateway_dir()).unwrap().is_registered());
    for _ in 0..3 {
        world.restart_gateway().await;
        device.login("right").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_public_addresses_reach_clients_after_a_reload() {
    let world = World::new().await;
    let device = world.enrol("alice", "right").await;
    let elsewhere = "192.0.2.7:4433".parse().unwrap();
    let mut settings = world.settings.clone();
    settings.public = vec![elsewhere];
    world.gateway().reload(settings).await.unwrap();
    let admitted = device.knock(vestibule_proto::inner::Purpose::Login, None).await.unwrap();
    assert_eq!(admitted.gateways, [elsewhere]);
}
