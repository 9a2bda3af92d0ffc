//! Rows that the controller does not take: those that collide with another gateway's, and those for which there is no room.
//! All others are in force, and the link stands.

use vestibule_controller::rows::Rows;
use vestibule_gateway::admin::{Answer, DeviceRequest, DeviceView, InviteRequest, Request};
use vestibule_gateway::directory::{AuditEntry, AuditKind};
use vestibule_proto::entropy::SystemEntropy;
use vestibule_proto::id::{GatewayId, LoginDigest, Stamp};
use vestibule_proto::invitation::{Invitation, KnockKeys};
use vestibule_proto::key::{Psk, Secret};
use vestibule_proto::knocker::KnockFailure;
use vestibule_proto::recognition::{Owner, Row};

use crate::common::client::{Device, Failure, begin_enrolment, enrol};
use crate::common::{World, eventually};

async fn shown(world: &World, device: &Device) -> DeviceView {
    let request = Request::Device(DeviceRequest::Show { device: device.id.to_string() });
    let Answer::Device(view) = world.ask(request).await else { panic!("no device") };
    *view
}

async fn trouble(world: &World) -> Option<String> {
    world.gateway().status().await.link.unwrap().trouble
}

async fn refusals(world: &World) -> Vec<AuditEntry> {
    world.audit().await.into_iter().filter(|entry| entry.kind == AuditKind::RowRefused).collect()
}

/// What another gateway on this controller has published: a row with the device key of ours.
fn publish_elsewhere(rows: &Rows, ours: &LoginDigest) {
    let (other, keys) = (GatewayId::new([9; 16]), KnockKeys::derive(&Secret::new([9; 16])));
    rows.invite_gateway(other, "other", &keys, Stamp::from_millis(u64::MAX >> 1)).unwrap();
    let stolen = rows.load(Stamp::default()).unwrap().into_iter().find(|row| row.digest == *ours).unwrap();
    let home = rows.gateways().unwrap().into_iter().find(|gateway| gateway.name == "home").unwrap().id;
    let row = Row {
        digest: LoginDigest::new([7; 32]),
        psk_c: Psk::random(&mut SystemEntropy),
        owner: Owner::Gateway(other),
        ..stolen
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        rows.withdraw(home, *ours).await.unwrap();
        rows.publish(other, row).await.unwrap();
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_collides_shuts_out_its_device_alone() {
    let mut world = World::new().await;
    let (alice, bob) = (world.enrol("alice", "right").await, world.enrol("bob", "bobs").await);
    let ours = shown(&world, &alice).await.digest;
    world.stop_controller().await;
    let rows = world.rows_on_disk();
    tokio::task::spawn_blocking(move || publish_elsewhere(&rows, &ours)).await.unwrap();
    world.start_controller().await;
    world.linked().await;
    eventually("the gateway is told", async || trouble(&world).await.is_some()).await;

    let view = shown(&world, &alice).await;
    assert!(view.trouble.unwrap().contains("another gateway"));
    assert!(shown(&world, &bob).await.trouble.is_none());
    eventually("the owner is told", async || refusals(&world).await.len() == 1).await;
    let refused: Vec<_> = world.audit().await.into_iter().filter(|entry| entry.kind == AuditKind::RowRefused).collect();
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!((refused[0].device, refused[0].user.as_ref().unwrap().as_str()), (Some(alice.id), "alice"));
    let gone = alice.login("right").await.err().unwrap();
    assert!(matches!(gone, Failure::Knock(KnockFailure::NoAnswer)), "{gone:?}");
    bob.login("bobs").await.unwrap();

    // A row published later goes the same way as the full set.
    let carol = world.invite("bob").await;
    enrol(&carol, "bobs").await.unwrap().login("bobs").await.unwrap();
    assert!(world.gateway().status().await.link.unwrap().up);
    world.ask(Request::Device(DeviceRequest::Revoke { device: alice.id.to_string() })).await;
    eventually("nothing is left out", async || trouble(&world).await.is_none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_beyond_its_share_is_told_and_goes_on_with_what_it_has() {
    let mut world = World::new().await;
    let (alice, bob) = (world.enrol("alice", "right").await, world.enrol("bob", "bobs").await);
    // Two devices, and two invitations that are used.
    world.stop_controller().await;
    world.start_controller_with(|settings| settings.rows_per_gateway = 4).await;
    world.linked().await;
    alice.login("right").await.unwrap();

    world.add_user("carol", &[]).await;
    let request = Request::Invite(InviteRequest::Add { user: "carol".to_owned(), expires_in: 3_600 });
    let Answer::Invited(invited) = world.ask(request).await else { panic!("not invited") };
    assert!(invited.trouble.unwrap().contains("rows_per_gateway"), "whoever gives the link away knows");
    assert!(trouble(&world).await.unwrap().contains("share is 4"));
    eventually("the owner is told", async || refusals(&world).await.len() == 1).await;
    bob.login("bobs").await.unwrap();

    // The next link says the same of the full set.
    world.restart_gateway().await;
    eventually("the gateway is told", async || trouble(&world).await.is_some()).await;
    bob.login("bobs").await.unwrap();

    world.ask(Request::Device(DeviceRequest::Revoke { device: alice.id.to_string() })).await;
    eventually("there is room", async || trouble(&world).await.is_none()).await;
    let link = Invitation::from_link(&invited.link).unwrap();
    // The invited gets in. For the row of the new device there is no room again, which would fail the last step.
    begin_enrolment(&link, "carols").await.unwrap();
}
