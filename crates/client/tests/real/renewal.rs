//! A device that replaces itself, with the real controller and gateway.

use crate::world::{Machine, PASSWORD, World, echoed, password, pending};
use std::sync::Arc;
use vestibule_client::enrol::{EnrolledDevice, RenewOptions, TpmChoice, renew};
use vestibule_client::error::{ClientError, CredentialTrouble};
use vestibule_client::{Client, Options};
use vestibule_gateway::admin::{Answer, DeviceRequest, Request};
use vestibule_gateway::directory::DeviceState;
use vestibule_local_credential::{Locked, Params};

const NEW: &str = "granite-otter-17";

async fn renewed(machine: &Machine, typed: &str, new: &str) -> Result<EnrolledDevice, ClientError> {
    let stretching = Params::new(16, 1, 1, 10).unwrap();
    let options = RenewOptions { sources: machine.sources(), stretching, tpm: TpmChoice::Never };
    renew(&machine.file(), machine.unlock(typed)?, Arc::new(password(new)), options).await
}

async fn states(world: &World) -> Vec<DeviceState> {
    let answer = world.ask(Request::Device(DeviceRequest::List { user: None })).await;
    let Answer::Devices(devices) = answer else { panic!("{answer:?}") };
    devices.into_iter().map(|device| device.state).collect()
}

fn wrong_password<T>(outcome: &Result<T, ClientError>) -> bool {
    matches!(outcome, Err(ClientError::Credential { trouble: CredentialTrouble::WrongPassword, .. }))
}

#[tokio::test]
async fn a_new_password_takes_new_keys_and_the_former_device_ends() {
    let world = World::new().await;
    world.echo().await;
    let machine = world.alice().await;
    let (file, before) = (machine.file(), std::fs::read(machine.file().path).unwrap());
    let device = renewed(&machine, PASSWORD, NEW).await.unwrap();
    assert!(device.published && !device.completed_earlier && device.file == file);
    assert!(!pending(&file).exists());
    assert_eq!(states(&world).await, [DeviceState::Revoked, DeviceState::Active]);
    assert_eq!(Locked::load(&file.path).unwrap().params(), Params::new(16, 1, 1, 10).unwrap(), "stretched as asked");
    assert!(wrong_password(&machine.unlock(PASSWORD)));
    let client = Client::connect(machine.unlock(NEW).unwrap(), Options::default()).await.unwrap();
    assert_eq!(echoed(&client, "echo", b"hello").await.unwrap(), b"hello");
    // Who kept a copy of the former file, and the former password, has nothing.
    let copy = world.machine("laptop-copy");
    copy.home.prepare().unwrap();
    let kept = copy.home.file(&file.user, &file.gateway);
    std::fs::write(&kept.path, before).unwrap();
    std::fs::set_permissions(&kept.path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let opened = vestibule_client::local::recognise(&kept, &machine.sources()).unwrap().unlock(&password(PASSWORD));
    let refused = Client::connect(opened.unwrap(), Options::default()).await.err().expect("no way in");
    assert_eq!(refused.exit_code(), 20, "{refused:?}");
}

#[tokio::test]
async fn the_same_password_may_go_on_and_be_renewed_again() {
    let world = World::new().await;
    let machine = world.alice().await;
    assert!(machine.unlock(PASSWORD).is_ok_and(|unlocked| unlocked.needs_raise()), "made with cheap stretching");
    renewed(&machine, PASSWORD, PASSWORD).await.unwrap();
    renewed(&machine, PASSWORD, PASSWORD).await.unwrap();
    assert_eq!(states(&world).await, [DeviceState::Revoked, DeviceState::Revoked, DeviceState::Active]);
    let client = machine.connect().await.unwrap();
    assert!(vestibule_client::agent::Apparatus::status(&client).needs_raise, "16 KiB are still few");
}

#[tokio::test]
async fn what_is_refused_changes_nothing() {
    let world = World::new().await;
    let machine = world.alice().await;
    let (file, before, knocks) = (machine.file(), std::fs::read(machine.file().path).unwrap(), world.knocks());
    assert!(wrong_password(&renewed(&machine, "quite another one", NEW).await));
    assert_eq!(renewed(&machine, PASSWORD, "password1").await.unwrap_err().exit_code(), 51);
    assert_eq!(world.knocks(), knocks, "nothing was sent");
    assert_eq!(std::fs::read(&file.path).unwrap(), before);
    assert_eq!(states(&world).await, [DeviceState::Active]);
    machine.connect().await.unwrap();
}

#[tokio::test]
async fn whoever_was_killed_after_the_confirmation_takes_up_what_is_there() {
    let world = World::new().await;
    let machine = world.alice().await;
    let file = machine.file();
    let before = std::fs::read(&file.path).unwrap();
    renewed(&machine, PASSWORD, NEW).await.unwrap();
    // As it lies on the disk when the last step is missing.
    std::fs::rename(&file.path, pending(&file)).unwrap();
    std::fs::write(&file.path, before).unwrap();
    std::fs::set_permissions(&file.path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    assert!(wrong_password(&renewed(&machine, PASSWORD, "neither-of-the-two").await));
    let device = renewed(&machine, PASSWORD, NEW).await.unwrap();
    assert!(device.completed_earlier);
    assert!(machine.unlock(NEW).is_ok() && !pending(&file).exists());
    assert_eq!(states(&world).await, [DeviceState::Revoked, DeviceState::Active]);
}
