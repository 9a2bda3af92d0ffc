//! Starting and stopping: what can't work is told before anything is admitted.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use vestibule_gateway::admin::{self, Request};
use vestibule_gateway::settings::{database, key_file, seed_file, socket};
use vestibule_gateway::{Gateway, StartError};
use vestibule_proto::entropy::SystemEntropy;
use vestibule_store::StoreErrorKind;

use crate::common::{ANY, World};

async fn error(world: &World) -> StartError {
    Gateway::start(world.settings.clone()).await.err().expect("it can't start")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_gateway_runs_in_a_directory() {
    let world = World::new().await;
    assert!(matches!(error(&world).await, StartError::Running(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trouble_with_files_and_addresses_is_told_by_kind() {
    let mut world = World::new().await;
    world.gateway.take().unwrap().stop().await;
    let dir = world.gateway_dir();

    for secret in [key_file(&dir), seed_file(&dir)] {
        std::fs::set_permissions(&secret, Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(error(&world).await, StartError::Keys(_)), "{}", secret.display());
        std::fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
    }

    let taken = std::net::UdpSocket::bind(ANY).unwrap();
    let listen = std::mem::replace(&mut world.settings.listen, vec![taken.local_addr().unwrap()]);
    assert!(
        matches!(error(&world).await, StartError::Listen { address, .. } if address == taken.local_addr().unwrap())
    );
    world.settings.listen = Vec::new();
    assert!(matches!(error(&world).await, StartError::NoAddress));
    world.settings.listen = listen;

    let whole = std::fs::read(database(&dir)).unwrap();
    std::fs::write(database(&dir), vec![0x5a; 8_192]).unwrap();
    assert!(matches!(error(&world).await, StartError::Store(error) if error.kind() == StoreErrorKind::Corrupt));
    std::fs::write(database(&dir), whole).unwrap();

    world.start_gateway().await;
    world.linked().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_made_twice() {
    let world = World::new().await;
    let invitation = crate::common::bare::BareController::new().invitation;
    assert!(vestibule_gateway::init(&world.gateway_dir(), &invitation, &mut SystemEntropy).is_err());
    world.enrol("alice", "right").await.login("right").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_administration_socket_shows_the_running_role_and_goes_with_it() {
    let mut world = World::new().await;
    let path = socket(&world.gateway_dir());
    let admin::Answer::Status(status) = admin::socket::ask(&path, &Request::Status).await.unwrap() else {
        panic!("no status")
    };
    let running = status.running.expect("it runs");
    assert!(running.link.expect("a link").up && running.listen == world.settings.listen);
    world.gateway.take().unwrap().stop().await;
    assert!(admin::socket::ask(&path, &Request::Status).await.is_err());
}
