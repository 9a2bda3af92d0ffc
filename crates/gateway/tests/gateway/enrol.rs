//! E1: invitations, used once and in time.

use vestibule_gateway::admin::{InviteRequest, Request};
use vestibule_gateway::directory::AuditKind;
use vestibule_proto::entropy::SystemEntropy;
use vestibule_proto::inner::RefusalCode;
use vestibule_proto::invitation::Invitation;
use vestibule_proto::key::Secret;
use vestibule_proto::knocker::KnockFailure;
use vestibule_proto::session::Reason;

use crate::common::client::{Device, Failure, begin_enrolment, enrol};
use crate::common::{World, eventually};

/// Invites, and waits until the controller knows the invitation.
async fn invited(world: &World) -> Invitation {
    let invitation = world.invite("alice").await;
    world.published().await;
    invitation
}

fn refused(result: Result<Device, Failure>) -> RefusalCode {
    match result.err().expect("a refusal") {
        Failure::Knock(KnockFailure::Refused(refusal)) => refusal.code,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invitation_enrols_one_device() {
    let world = World::new().await;
    world.add_user("alice", &[]).await;
    let invitation = invited(&world).await;
    let device = enrol(&invitation, "first").await.unwrap();
    assert_eq!(refused(enrol(&invitation, "second").await), RefusalCode::InvitationUsed);
    device.login("first").await.unwrap();
    let audit = world.audit().await;
    for kind in [AuditKind::DeviceEnrolled, AuditKind::InvitationRefused] {
        assert!(audit.iter().any(|entry| entry.kind == kind), "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t26_of_two_enrolments_at_once_the_first_to_confirm_wins() {
    let world = World::new().await;
    world.add_user("alice", &[]).await;
    let invitation = invited(&world).await;
    let slow = begin_enrolment(&invitation, "slow").await.unwrap();
    let fast = begin_enrolment(&invitation, "fast").await.unwrap();
    fast.confirm().await.unwrap().login("fast").await.unwrap();
    assert!(slow.confirm().await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t26_who_is_cut_off_before_the_confirmation_begins_again() {
    let world = World::new().await;
    world.add_user("alice", &[]).await;
    let invitation = invited(&world).await;
    let pending = begin_enrolment(&invitation, "cut off").await.unwrap().into_device();
    let unknown = pending.login("cut off").await.err().unwrap();
    assert!(matches!(unknown, Failure::Knock(KnockFailure::NoAnswer)), "a pending device is nobody: {unknown:?}");
    enrol(&invitation, "again").await.unwrap().login("again").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t26_an_expired_invitation_is_refused_with_its_reason() {
    let mut world = World::new().await;
    world.add_user("alice", &[]).await;
    let invitation = invited(&world).await;
    // Its time passes while the gateway is down.
    world.gateway.take().unwrap().stop().await;
    let database = rusqlite::Connection::open(world.gateway_dir().join("gateway.db")).unwrap();
    database.execute("UPDATE invitation SET expires = created + 1", []).unwrap();
    world.start_gateway().await;
    world.linked().await;
    assert_eq!(refused(enrol(&invitation, "late").await), RefusalCode::InvitationExpired);
    eventually("a trace", async || world.audit().await.iter().any(|entry| entry.kind == AuditKind::InvitationRefused))
        .await;
    // T25: by the clock of the next start its time would not be over yet.
    world.gateway.take().unwrap().stop().await;
    let database = rusqlite::Connection::open(world.gateway_dir().join("gateway.db")).unwrap();
    database.execute("UPDATE invitation SET expires = created + 86400000", []).unwrap();
    world.start_gateway().await;
    world.linked().await;
    assert_eq!(refused(enrol(&invitation, "later").await), RefusalCode::InvitationExpired);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t26_an_altered_invitation_is_refused_and_leaves_a_trace() {
    let world = World::new().await;
    world.add_user("alice", &[]).await;
    let mut invitation = invited(&world).await;
    invitation.inner_secret = Secret::random(&mut SystemEntropy);
    let failure = enrol(&invitation, "altered").await.err().unwrap();
    assert!(matches!(failure, Failure::Knock(KnockFailure::Refused(_))), "{failure:?}");
    eventually("a trace", async || world.audit().await.iter().any(|entry| entry.kind == AuditKind::InvitationAltered))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invitation_is_for_its_user() {
    let world = World::new().await;
    world.add_user("alice", &[]).await;
    let mut invitation = invited(&world).await;
    invitation.user = "mallory".to_owned();
    let failure = enrol(&invitation, "password").await.err().unwrap();
    assert!(matches!(failure, Failure::Refused(Reason::Malformed)), "{failure:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_withdrawn_invitation_is_dead_at_once() {
    let world = World::new().await;
    world.add_user("alice", &[]).await;
    let invitation = invited(&world).await;
    let under_way = begin_enrolment(&invitation, "password").await.unwrap();
    let audit = world.audit().await;
    let id = audit.iter().rev().find(|entry| entry.kind == AuditKind::InvitationIssued).unwrap().device.unwrap();
    world.ask(Request::Invite(InviteRequest::Revoke { invitation: id.to_string() })).await;
    assert!(under_way.confirm().await.is_err());
    assert!(matches!(enrol(&invitation, "password").await, Err(Failure::Knock(_))));
}
