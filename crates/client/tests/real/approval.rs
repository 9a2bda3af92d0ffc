//! T26, `approve`: nobody knows a device before its gateway's owner has approved it. Real controller, gateway and sockets.

use crate::world::{Machine, World, echoed, pending};
use std::time::Duration;
use vestibule_client::enrol::EnrolOptions;
use vestibule_client::error::ClientError;
use vestibule_client::local;
use vestibule_gateway::admin::{Answer, DeviceRequest, DeviceView, Request};
use vestibule_gateway::directory::DeviceState;

const HOUR: Duration = Duration::from_secs(3600);

async fn world() -> World {
    World::with(|settings| settings.approve = true).await
}

/// A machine whose device waits, with the words on its screen.
async fn waiting(world: &World, name: &str) -> (Machine, String) {
    let machine = world.machine(name);
    let enrolled = machine.enrol(&world.invite("alice", HOUR).await).await.unwrap();
    assert!(!enrolled.published);
    (machine, enrolled.awaits.expect("it waits").to_string())
}

async fn device(world: &World, name: &str) -> DeviceView {
    let Answer::Devices(devices) = world.ask(Request::Device(DeviceRequest::List { user: None })).await else {
        panic!("no devices")
    };
    devices.into_iter().find(|device| device.name == name).expect("it is listed")
}

async fn approve(world: &World, name: &str) -> Answer {
    world.ask(Request::Device(DeviceRequest::Approve { device: name.to_owned() })).await
}

/// The rows that the controller has on disk: of the gateway's link, of invitations, and of devices.
fn rows(world: &World) -> u64 {
    world.rows()
}

/// The device is silently unknown at the controller, and its person is told what it waits for.
async fn must_wait(machine: &Machine, words: &str) {
    let silence = machine.connect().await.err().expect("nobody is let in");
    assert_eq!(silence, ClientError::AwaitsApproval { words: words.to_owned() });
    assert_eq!(silence.exit_code(), 26);
    assert!(silence.detail().contains(words));
}

#[tokio::test]
async fn t26_no_row_stands_before_the_owner_has_approved() {
    let world = world().await;
    let before = rows(&world);
    let (machine, words) = waiting(&world, "laptop").await;
    // The row of the invitation, and none of the device.
    assert_eq!(rows(&world), before + 1);
    let listed = device(&world, "laptop").await;
    assert_eq!(listed.state, DeviceState::Waiting);
    assert_eq!(listed.words.as_deref(), Some(words.as_str()), "the same words at both ends");
    let counted = world.unknown();
    must_wait(&machine, &words).await;
    assert!(world.unknown() > counted, "its knocks arrived, and the controller knows no such row");
    let sealed = local::recognise(&machine.file(), &machine.sources()).unwrap();
    let told = local::awaits_approval(&machine.file(), sealed.sealed());
    assert_eq!(told.map(|told| told.to_string()), Some(words));

    world.echo().await;
    assert!(matches!(approve(&world, "alice/laptop").await, Answer::Done(said) if said.contains("is approved")));
    assert!(matches!(approve(&world, "laptop").await, Answer::Done(said) if said.contains("did not wait")));
    world.until(before + 2).await;
    let client = machine.connect().await.unwrap();
    assert_eq!(echoed(&client, "echo", b"word").await.unwrap(), b"word");
    assert_eq!(local::awaits_approval(&machine.file(), sealed.sealed()), None);
    let listed = device(&world, "laptop").await;
    assert_eq!((listed.state, listed.words), (DeviceState::Active, None));
}

#[tokio::test]
async fn t26_a_refused_device_never_gets_a_row() {
    let world = world().await;
    let before = rows(&world);
    let (machine, words) = waiting(&world, "laptop").await;
    world.ask(Request::Device(DeviceRequest::Revoke { device: "laptop".to_owned() })).await;
    assert_eq!(device(&world, "laptop").await.state, DeviceState::Revoked);
    let approving = Request::Device(DeviceRequest::Approve { device: "laptop".to_owned() });
    assert!(world.gateway().execute(approving).await.is_err(), "what is revoked stays so");
    assert_eq!(rows(&world), before + 1);
    must_wait(&machine, &words).await;
}

#[tokio::test]
async fn t26_a_device_waits_over_restarts_of_both_roles_and_kill_9() {
    let mut world = world().await;
    let before = rows(&world);
    let (machine, words) = waiting(&world, "laptop").await;
    world.stop_gateway().await;
    world.start_gateway().await;
    world.kill_gateway();
    world.start_gateway().await;
    world.stop_controller().await;
    world.start_controller().await;
    world.until_linked().await;
    // The full set was published with each link.
    assert_eq!(rows(&world), before + 1);
    assert_eq!(device(&world, "laptop").await.words.as_deref(), Some(words.as_str()));
    must_wait(&machine, &words).await;

    // Approved is approved, even if nobody could tell the controller: the next link does.
    approve(&world, "laptop").await;
    world.kill_gateway();
    world.start_gateway().await;
    world.until(before + 2).await;
    machine.connect().await.unwrap();
}

#[tokio::test]
async fn who_was_killed_before_the_last_step_is_told_what_to_wait_for_and_goes_on_when_approved() {
    let world = world().await;
    let machine = world.machine("laptop");
    let link = world.invite("alice", HOUR).await;
    let enrolled = machine.enrol(&link).await.unwrap();
    std::fs::rename(&enrolled.file.path, pending(&enrolled.file)).unwrap();
    let words = enrolled.awaits.unwrap().to_string();
    assert_eq!(machine.enrol(&link).await, Err(ClientError::AwaitsApproval { words }));
    let before = rows(&world);
    approve(&world, "laptop").await;
    world.until(before + 1).await;
    let again = machine.enrol(&link).await.unwrap();
    assert!(again.completed_earlier && again.awaits.is_none());
    machine.connect().await.unwrap();
}

#[tokio::test]
async fn without_the_setting_nobody_waits_and_who_waits_goes_on_waiting() {
    let mut world = world().await;
    let (machine, words) = waiting(&world, "laptop").await;
    world.set(|settings| settings.approve = false).await;
    must_wait(&machine, &words).await;
    let options = EnrolOptions { device_name: "desk".to_owned(), ..world.machine("desk").options() };
    let link = world.invite("alice", HOUR).await;
    let enrolled = world.machine("desk").enrol_with(&link, options).await.unwrap();
    assert!(enrolled.published && enrolled.awaits.is_none());
    assert_eq!(device(&world, "desk").await.state, DeviceState::Active);
}
