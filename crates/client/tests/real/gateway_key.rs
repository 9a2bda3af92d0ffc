//! The gateway's TLS key is rotated, with the real controller, gateway, sockets and files: who comes in while two keys count goes
//! on, wherever it is cut off; who doesn't is refused, and told why.

use crate::rotation::enrolled;
use crate::session::resumed;
use crate::world::{Machine, SOON, World, echoed};
use std::time::Duration;
use vestibule_client::error::{ClientError, Refused};
use vestibule_client::local;
use vestibule_gateway::admin::{AdminErrorKind, Answer, KeyRequest, KeyView, Request};
use vestibule_gateway::keys::Keys;
use vestibule_proto::key::Spki;

const MONTH: u64 = 30 * 24 * 3_600;
const HOUR: Duration = Duration::from_secs(3_600);

async fn turned(world: &World, request: KeyRequest) -> KeyView {
    let answer = world.ask(Request::Key(request)).await;
    let Answer::Key(view) = answer else { panic!("{answer:?}") };
    view
}

pub(crate) async fn rotate(world: &World) -> KeyView {
    turned(world, KeyRequest::Rotate { keep_for: MONTH }).await
}

async fn finish(world: &World) -> KeyView {
    turned(world, KeyRequest::Finish).await
}

/// The keys that the gateway has on its disk.
fn present(world: &World) -> Spki {
    Keys::read(&world.gateway_dir()).unwrap().tls().present().spki()
}

/// The only key that this machine takes the gateway by, as it stands in its sealed file.
pub(crate) fn known(machine: &Machine) -> Spki {
    let recognised = local::recognise(&machine.file(), &machine.sources()).unwrap();
    let [pin] = recognised.sealed().gateway_pins.as_slice() else { panic!("not one pin") };
    *pin
}

async fn until_known(machine: &Machine, key: Spki) {
    let kept = async {
        while known(machine) != key {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, kept).await.expect("the device keeps the new key");
}

async fn is_refused(machine: &Machine) {
    let error = machine.connect().await.err().expect("its key counts no more");
    assert!(matches!(&error, ClientError::Refused { why: Refused::GatewayKey, .. }), "{error:#}");
    assert_eq!(error.exit_code(), 22);
}

#[tokio::test]
async fn who_comes_in_while_both_count_goes_on_and_who_does_not_is_told() {
    let mut world = World::new().await;
    world.echo().await;
    let connected = enrolled(&world, "connected").await;
    let (later, never) = (enrolled(&world, "later").await, enrolled(&world, "never").await);
    let (open, unused) = (world.invite("alice", HOUR).await, world.invite("alice", HOUR).await);
    let client = connected.connect().await.unwrap();
    let old = present(&world);

    let view = rotate(&world).await;
    assert!(view.controller_has_it && view.former_until.is_some(), "{view:?}");
    let new = present(&world);
    assert!(new != old && known(&later) == old);
    // In the session that stands, which goes on.
    until_known(&connected, new).await;
    assert_eq!(echoed(&client, "echo", b"word").await.unwrap(), b"word");
    let again = world.gateway().execute(Request::Key(KeyRequest::Rotate { keep_for: MONTH })).await.unwrap_err();
    assert_eq!(again.kind, AdminErrorKind::Invalid, "two keys count at most");
    // Away until now: it comes in by the key that it knows, and has the other one when it leaves.
    later.connect().await.unwrap().sign_off().await.unwrap();
    assert_eq!(known(&later), new);
    later.connect().await.unwrap();
    // A link from before enrols, and the device never has the former key.
    let invited = world.machine("invited");
    invited.enrol(&open).await.unwrap();
    assert_eq!(known(&invited), new);

    let view = finish(&world).await;
    assert!(view.controller_has_it && view.former_until.is_none());
    is_refused(&never).await;
    let error = world.machine("late").enrol(&unused).await.expect_err("its link names the key of before");
    assert!(matches!(&error, ClientError::Refused { why: Refused::GatewayKey, .. }), "{error:#}");
    let mut events = client.events();
    world.kill_gateway();
    world.start_gateway().await;
    resumed(&mut events).await;
    assert_eq!(echoed(&client, "echo", b"again").await.unwrap(), b"again");
    for machine in [&connected, &later, &invited, &enrolled(&world, "new").await] {
        machine.connect().await.unwrap();
    }
    let nothing = world.gateway().execute(Request::Key(KeyRequest::Finish)).await.unwrap_err();
    assert_eq!(nothing.kind, AdminErrorKind::Invalid);
}

/// Each file is what a `kill -9` at that step leaves: all of them are replaced as a whole.
#[tokio::test]
async fn a_crash_between_any_two_steps_leaves_a_gateway_that_works() {
    let mut world = World::new().await;
    let machine = enrolled(&world, "laptop").await;
    let key_file = vestibule_gateway::settings::key_file(&world.gateway_dir());
    let device_before = std::fs::read(machine.file().path).unwrap();

    // Written down; nobody was told.
    world.stop_controller().await;
    let view = rotate(&world).await;
    assert!(!view.controller_has_it);
    let untold = std::fs::read(&key_file).unwrap();
    let new = present(&world);
    world.kill_gateway();
    world.start_controller().await;
    world.start_gateway().await;
    machine.connect().await.unwrap().sign_off().await.unwrap();
    assert_eq!(known(&machine), new);

    // The controller has it; that was not written down here.
    world.kill_gateway();
    assert_ne!(std::fs::read(&key_file).unwrap(), untold);
    std::fs::write(&key_file, &untold).unwrap();
    world.start_gateway().await;
    assert!(Keys::read(&world.gateway_dir()).unwrap().tls().at_controller().spki() == new);
    machine.connect().await.unwrap();

    // The device was told, and had not written it down.
    std::fs::write(machine.file().path, &device_before).unwrap();
    machine.connect().await.unwrap().sign_off().await.unwrap();
    assert_eq!(known(&machine), new);
    // What the controller has is on its disk.
    world.kill_gateway();
    world.stop_controller().await;
    world.start_controller().await;
    world.start_gateway().await;
    machine.connect().await.unwrap();
    // Rows that are published since bear the new key.
    enrolled(&world, "other").await.connect().await.unwrap();
}

#[tokio::test]
async fn a_stolen_key_is_dropped_at_once_and_only_who_is_connected_needs_no_invitation() {
    let world = World::new().await;
    let (connected, away) = (enrolled(&world, "connected").await, enrolled(&world, "away").await);
    let client = connected.connect().await.unwrap();
    rotate(&world).await;
    until_known(&connected, present(&world)).await;
    // While one rotation is under way: neither of the two keys counts any more.
    let view = turned(&world, KeyRequest::Rotate { keep_for: 0 }).await;
    assert!(view.controller_has_it && view.former_until.is_none(), "{view:?}");
    until_known(&connected, present(&world)).await;
    drop(client);
    connected.connect().await.unwrap();
    is_refused(&away).await;
    let mut options = away.options();
    options.replace = true;
    away.enrol_with(&world.invite("alice", HOUR).await, options).await.unwrap();
    away.connect().await.unwrap();
}

#[tokio::test]
async fn the_former_key_ends_by_itself() {
    let world = World::new().await;
    let machine = enrolled(&world, "laptop").await;
    turned(&world, KeyRequest::Rotate { keep_for: 3 }).await;
    let ended = async {
        while Keys::read(&world.gateway_dir()).unwrap().tls().former_until().is_some() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(SOON, ended).await.expect("it ends");
    is_refused(&machine).await;
}

/// Whatever lies in the place of the credential when the key comes, another enrolment's file is not overwritten.
#[tokio::test]
async fn another_credential_in_its_place_is_left_alone() {
    let world = World::new().await;
    let (machine, other) = (enrolled(&world, "laptop").await, enrolled(&world, "other").await);
    let _client = machine.connect().await.unwrap();
    let (mine, others) = (machine.file().path, std::fs::read(other.file().path).unwrap());
    std::fs::write(&mine, &others).unwrap();
    rotate(&world).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(std::fs::read(&mine).unwrap(), others);
}
