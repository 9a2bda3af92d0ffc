//! Whole enrolments with the real controller and gateway, cut off wherever they can be.

use crate::world::{World, pending};
use std::time::Duration;
use vestibule_client::enrol::{EnrolOptions, read_link};
use vestibule_client::error::{ClientError, CredentialTrouble, InvitationTrouble};
use vestibule_gateway::admin::{Answer, DeviceRequest, Request};
use vestibule_proto::entropy::SystemEntropy;
use vestibule_proto::key::Secret;

const HOUR: Duration = Duration::from_secs(3600);

async fn devices(world: &World) -> usize {
    let answer = world.ask(Request::Device(DeviceRequest::List { user: None })).await;
    let Answer::Devices(devices) = answer else { panic!("{answer:?}") };
    devices.len()
}

#[tokio::test]
async fn an_invitation_enrols_one_device_once() {
    let world = World::new().await;
    let link = world.invite("alice", HOUR).await;
    let machine = world.machine("laptop");
    let enrolled = machine.enrol(&link).await.unwrap();
    assert!(enrolled.published && !enrolled.completed_earlier);
    assert_eq!(enrolled.file.name(), "alice@home");
    assert!(!pending(&enrolled.file).exists());
    machine.connect().await.unwrap();
    let used = world.machine("another").enrol(&link).await.unwrap_err();
    assert_eq!(used, ClientError::Invitation(InvitationTrouble::Used));
    assert_eq!(used.exit_code(), 50);
    assert_eq!(devices(&world).await, 1);
}

#[tokio::test]
async fn an_expired_invitation_is_told() {
    let mut world = World::new().await;
    let link = world.expired_invitation().await;
    let expired = world.machine("laptop").enrol(&link).await.unwrap_err();
    assert_eq!(expired, ClientError::Invitation(InvitationTrouble::Expired));
}

#[tokio::test]
async fn an_altered_inner_half_is_refused_and_noted() {
    let world = World::new().await;
    let mut invitation = read_link(&world.invite("alice", HOUR).await).unwrap();
    let inner = std::mem::replace(&mut invitation.inner_secret, Secret::random(&mut SystemEntropy));
    let refused = world.machine("laptop").enrol(&invitation.to_link()).await.unwrap_err();
    assert_eq!(refused, ClientError::Invitation(InvitationTrouble::Unknown));
    invitation.inner_secret = inner;
    world.machine("laptop").enrol(&invitation.to_link()).await.unwrap();
}

#[tokio::test]
async fn an_existing_credential_stays_until_the_new_one_is_active() {
    let world = World::new().await;
    let machine = world.alice().await;
    let before = std::fs::read(machine.file().path).unwrap();
    let link = world.invite("alice", HOUR).await;
    let exists = machine.enrol(&link).await.unwrap_err();
    assert!(matches!(exists, ClientError::Credential { trouble: CredentialTrouble::Exists, .. }));
    let replace = || EnrolOptions { replace: true, ..machine.options() };
    // A link that was used does no harm to what is there.
    let stolen = world.invite("alice", HOUR).await;
    world.machine("thief").enrol(&stolen).await.unwrap();
    assert_eq!(machine.enrol_with(&stolen, replace()).await, Err(ClientError::Invitation(InvitationTrouble::Used)));
    assert_eq!(std::fs::read(machine.file().path).unwrap(), before);
    machine.connect().await.unwrap();
    machine.enrol_with(&link, replace()).await.unwrap();
    assert_ne!(std::fs::read(machine.file().path).unwrap(), before);
    machine.connect().await.unwrap();
}

#[tokio::test]
async fn whoever_was_killed_before_the_confirmation_begins_again() {
    let world = World::new().await;
    let machine = world.machine("laptop");
    let link = world.invite("alice", HOUR).await;
    // What a killed run leaves: a credential that the gateway never made active.
    let left = world.machine("elsewhere");
    left.enrol(&world.invite("alice", HOUR).await).await.unwrap();
    machine.home.prepare().unwrap();
    let file = machine.home.file(&left.file().user, "home");
    std::fs::copy(left.file().path, pending(&file)).unwrap();
    machine.enrol(&link).await.unwrap();
    assert!(!pending(&file).exists());
    machine.connect().await.unwrap();
}

#[tokio::test]
async fn whoever_was_killed_after_the_confirmation_takes_up_what_is_there() {
    let world = World::new().await;
    let machine = world.machine("laptop");
    let link = world.invite("alice", HOUR).await;
    let first = machine.enrol(&link).await.unwrap();
    std::fs::rename(&first.file.path, pending(&first.file)).unwrap();
    let second = machine.enrol(&link).await.unwrap();
    assert!(second.completed_earlier);
    assert_eq!((second.device, second.file), (first.device, first.file));
    assert_eq!(devices(&world).await, 1);
    machine.connect().await.unwrap();
}

#[tokio::test]
async fn a_credential_that_waits_and_is_not_active_is_not_taken_up() {
    let world = World::new().await;
    let (machine, other) = (world.machine("laptop"), world.machine("other"));
    let link = world.invite("alice", HOUR).await;
    // This machine was killed early; then the link was used by somebody else.
    let first = machine.enrol(&world.invite("alice", HOUR).await).await.unwrap();
    std::fs::rename(&first.file.path, pending(&first.file)).unwrap();
    world.ask(Request::Device(DeviceRequest::Revoke { device: first.device.to_string() })).await;
    other.enrol(&link).await.unwrap();
    assert_eq!(machine.enrol(&link).await, Err(ClientError::Invitation(InvitationTrouble::Used)));
    assert!(!first.file.path.exists());
}

#[tokio::test]
async fn one_link_used_at_once_from_two_machines_enrols_one() {
    let world = World::new().await;
    let link = world.invite("alice", HOUR).await;
    let (one, other) = (world.machine("one"), world.machine("other"));
    let (first, second) = tokio::join!(one.enrol(&link), other.enrol(&link));
    let failures: Vec<_> = [first, second].into_iter().filter_map(Result::err).collect();
    assert_eq!(failures.len(), 1, "{failures:?}");
    assert_eq!(devices(&world).await, 1, "{failures:?}");
}

#[tokio::test]
async fn a_gateway_that_is_away_is_told_and_the_link_stays_good() {
    let mut world = World::new().await;
    let link = world.invite("alice", HOUR).await;
    world.stop_gateway().await;
    assert_eq!(world.machine("laptop").enrol(&link).await.unwrap_err().exit_code(), 21);
    world.start_gateway().await;
    world.machine("laptop").enrol(&link).await.unwrap();
}
