//! The realm key is rotated, with the real controller, gateway, sockets and files: whoever comes in while two count goes on,
//! wherever it is cut off; whoever doesn't is a stranger.

use crate::session::resumed;
use crate::world::{Machine, SOON, World, echoed};
use std::time::Duration;
use vestibule_client::error::ClientError;
use vestibule_client::local;
use vestibule_controller::admin::{Answer, RealmView, Request};

const MONTH: u64 = 30 * 24 * 3_600;
const HOUR: Duration = Duration::from_secs(3_600);

async fn turned(world: &World, request: Request) -> RealmView {
    let answer = world.ask_controller(request).await;
    let Answer::Realm(view) = answer else { panic!("{answer:?}") };
    view
}

async fn rotate(world: &World) -> RealmView {
    turned(world, Request::Rotate { keep_for: MONTH }).await
}

async fn finish(world: &World) -> RealmView {
    turned(world, Request::FinishRotation).await
}

/// Of which epoch the realm key in the machine's sealed file is.
fn epoch(machine: &Machine) -> u64 {
    local::recognise(&machine.file(), &machine.sources()).unwrap().sealed().realm_epoch
}

async fn until_epoch(machine: &Machine, wanted: u64) {
    let kept = async {
        while epoch(machine) != wanted {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, kept).await.expect("the device keeps the new realm key");
}

pub(crate) async fn enrolled(world: &World, name: &str) -> Machine {
    let machine = world.machine(name);
    machine.enrol(&world.invite("alice", HOUR).await).await.unwrap();
    machine
}

fn is_silence(error: &ClientError) -> bool {
    matches!(error, ClientError::ControllerAway { .. }) && error.detail().contains("rotated")
}

#[tokio::test]
async fn who_comes_in_while_both_count_goes_on_and_who_does_not_is_a_stranger() {
    let mut world = World::new().await;
    world.echo().await;
    let connected = enrolled(&world, "connected").await;
    let (later, never) = (enrolled(&world, "later").await, enrolled(&world, "never").await);
    let client = connected.connect().await.unwrap();

    let view = rotate(&world).await;
    assert_eq!((view.epoch, view.told.as_slice(), view.untold.len()), (1, ["home".to_owned()].as_slice(), 0));
    assert!(view.former_until.is_some());
    // In the session that stands, without a word of the person's.
    until_epoch(&connected, 1).await;
    assert_eq!(echoed(&client, "echo", b"word").await.unwrap(), b"word");
    assert!(matches!(world.ask_controller(Request::Rotate { keep_for: MONTH }).await, Answer::Failed { .. }));

    // With the former key, and then with the new one.
    let (present, former) = (later.connect().await.unwrap(), world.counter("knocks.former_realm"));
    assert!(former > 0);
    until_epoch(&later, 1).await;
    drop(present);
    later.connect().await.unwrap();
    assert_eq!(world.counter("knocks.former_realm"), former, "nobody comes with the former key any more");

    let view = finish(&world).await;
    assert_eq!((view.epoch, view.former_until), (1, None));
    let silence = never.connect().await.err().expect("a stranger");
    assert!(is_silence(&silence), "{silence:#}");
    assert_eq!(silence.exit_code(), 20);
    // The session that stood through all of it is taken up again under the new key, also by a gateway that links anew.
    let mut events = client.events();
    world.kill_gateway();
    world.start_gateway().await;
    resumed(&mut events).await;
    assert_eq!(echoed(&client, "echo", b"again").await.unwrap(), b"again");
    for machine in [&connected, &later, &enrolled(&world, "new").await] {
        machine.connect().await.unwrap();
    }
    assert!(matches!(world.ask_controller(Request::FinishRotation).await, Answer::Failed { .. }));
}

#[tokio::test]
async fn a_gateway_that_was_away_learns_with_its_link_and_restarts_change_nothing() {
    let mut world = World::new().await;
    let machine = enrolled(&world, "laptop").await;
    world.kill_gateway();
    let view = rotate(&world).await;
    assert_eq!((view.told.len(), view.untold), (0, vec!["home".to_owned()]));
    // The controller is killed behind the write and before anybody was told: both count after its start.
    world.stop_controller().await;
    world.start_controller().await;
    world.start_gateway().await;
    // Even a session that ends at once learns it.
    machine.connect().await.unwrap().sign_off().await.unwrap();
    assert_eq!(epoch(&machine), 1);
    world.kill_gateway();
    world.stop_controller().await;
    world.start_controller().await;
    world.start_gateway().await;
    machine.connect().await.unwrap();
    finish(&world).await;
    world.stop_controller().await;
    world.start_controller().await;
    world.until_linked().await;
    machine.connect().await.unwrap();
}

#[tokio::test]
async fn a_device_that_was_killed_before_it_had_written_gets_in_and_is_told_again() {
    let world = World::new().await;
    let machine = enrolled(&world, "laptop").await;
    let before = std::fs::read(machine.file().path).unwrap();
    let client = machine.connect().await.unwrap();
    rotate(&world).await;
    until_epoch(&machine, 1).await;
    drop(client);
    // The file is replaced as a whole: it is the one or the other.
    std::fs::write(machine.file().path, &before).unwrap();
    assert_eq!(epoch(&machine), 0);
    let client = machine.connect().await.unwrap();
    until_epoch(&machine, 1).await;
    drop(client);
    finish(&world).await;
    machine.connect().await.unwrap();
    std::fs::write(machine.file().path, &before).unwrap();
    assert!(is_silence(&machine.connect().await.err().expect("an old backup is a stranger's")));
}

#[tokio::test]
async fn the_former_key_ends_by_itself_and_another_credential_at_its_place_is_left_alone() {
    let world = World::new().await;
    let (machine, other) = (enrolled(&world, "laptop").await, enrolled(&world, "other").await);
    let client = machine.connect().await.unwrap();
    // What lies at the place when the key comes is another enrolment's: it is not overwritten.
    let mine = std::fs::read(machine.file().path).unwrap();
    let others = std::fs::read(other.file().path).unwrap();
    std::fs::write(machine.file().path, &others).unwrap();
    let view = turned(&world, Request::Rotate { keep_for: 3 }).await;
    assert!(view.former_until.is_some());
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(std::fs::read(machine.file().path).unwrap(), others);
    std::fs::write(machine.file().path, &mine).unwrap();
    drop(client);
    let ended = async {
        loop {
            let Answer::Status(status) = world.ask_controller(Request::Status).await else { panic!("no status") };
            assert_eq!(status.realm_epoch, 1);
            if status.former_realm_until.is_none() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(SOON, ended).await.expect("it ends");
    assert!(is_silence(&machine.connect().await.err().expect("it came too late")));
}

/// Two processes stand on one credential: the one that comes second finds the key written down, and goes on with it.
#[tokio::test]
async fn every_process_of_a_device_goes_on_under_the_new_key() {
    let mut world = World::new().await;
    world.echo().await;
    let machine = enrolled(&world, "laptop").await;
    let (one, other) = (machine.connect().await.unwrap(), machine.connect().await.unwrap());
    rotate(&world).await;
    until_epoch(&machine, 1).await;
    finish(&world).await;
    let (mut of_one, mut of_other) = (one.events(), other.events());
    world.stop_gateway().await;
    world.start_gateway().await;
    for (client, events) in [(&one, &mut of_one), (&other, &mut of_other)] {
        resumed(events).await;
        assert_eq!(echoed(client, "echo", b"again").await.unwrap(), b"again");
    }
}
