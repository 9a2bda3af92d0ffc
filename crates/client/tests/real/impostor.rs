//! T6: who sits on the path to the gateway and has stolen its TLS key, or has none: no key of theirs is taken for the gateway's.

use crate::gateway_key::known;
use crate::path::{Impostor, Path};
use crate::rotation::enrolled;
use crate::session::{over, resumed};
use crate::world::{SOON, World};
use std::time::Duration;
use vestibule_client::error::{ClientError, GatewayAway};
use vestibule_client::{Client, Tunnel};
use vestibule_gateway::keys::Keys;
use vestibule_proto::entropy::SystemEntropy;
use vestibule_proto::gateway_key::{NewKey, Voucher};
use vestibule_proto::id::{ServiceName, TicketId};
use vestibule_proto::key::{Secret, SigningKey, Spki};
use vestibule_proto::session::{Notice, ServiceInfo, ServiceKind, code};
use vestibule_proto::ticket::Ticket;

/// A gateway that clients reach through the path alone.
async fn world_behind(path: &Path) -> World {
    let at = path.at;
    let world = World::with(|settings| settings.public = vec![at]).await;
    path.lead_to(world.gateway().local_addrs()[0]);
    world
}

/// This key, as whoever holds no voucher of the client's can tell it: with none, by that of another admission, by that of
/// an empty secret, and by a voucher for another key.
fn lies(key: Spki) -> Vec<Notice> {
    let voucher = |secret: [u8; 32]| Voucher::of(&Ticket::derive([1; 32], &Secret::new(secret), TicketId::new([3; 8])));
    let another = SigningKey::random(&mut SystemEntropy).spki();
    let told = [
        NewKey { spki: key, mac: [0; 32] },
        voucher([2; 32]).vouch(key),
        voucher([0; 32]).vouch(key),
        NewKey { spki: key, ..voucher([2; 32]).vouch(another) },
    ];
    told.map(Notice::GatewayKey).into()
}

/// What the client can be seen to have heard.
fn last_word() -> Notice {
    let name = ServiceName::parse("last-word").unwrap();
    Notice::Services(vec![ServiceInfo { name, kind: ServiceKind::Tcp, upstream: String::new() }])
}

async fn until_heard(client: &Client) {
    let heard = async {
        while client.services().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, heard).await.expect("the last word is heard");
}

#[tokio::test]
async fn t06_who_stole_the_key_and_sits_on_the_path_plants_none_of_theirs() {
    let path = Path::new().await;
    let mut world = world_behind(&path).await;
    let machine = enrolled(&world, "laptop").await;
    let client = machine.connect().await.unwrap();
    let (mut events, file) = (client.events(), std::fs::read(machine.file().path).unwrap());
    let stolen = Keys::read(&world.gateway_dir()).unwrap().tls().present().clone();

    let thief = Impostor::with(&stolen);
    path.lead_to(thief.at());
    world.kill_gateway();
    world.start_gateway().await;
    let planted = SigningKey::random(&mut SystemEntropy);
    let notices = [lies(planted.spki()), vec![last_word()]].concat();
    let (connection, _send) = tokio::time::timeout(SOON, thief.welcome(&notices)).await.expect("the client comes");
    resumed(&mut events).await;
    until_heard(&client).await;

    // Its process still names the key that it expected: the gateway talks to it, and ends a session that it can't prove.
    path.lead_to(world.gateway().local_addrs()[0]);
    connection.close(code::SHUTDOWN.into(), b"");
    let ended = over(&mut events).await;
    assert!(matches!(ended, ClientError::SessionEnded(_)), "{ended:#}");
    // So does its file, which nobody has touched; and who holds the planted key is not the gateway.
    drop(client);
    assert_eq!(std::fs::read(machine.file().path).unwrap(), file);
    assert_eq!(known(&machine), stolen.spki());
    machine.connect().await.unwrap().sign_off().await.unwrap();
    let planter = Impostor::with(&planted);
    path.lead_to(planter.at());
    // It answers once and is silent then: the first answer says more than the silence.
    let (answered, refused) = tokio::join!(planter.answer(), machine.connect());
    let refused = refused.err().expect("another key");
    assert!(matches!(refused, ClientError::GatewayAway(GatewayAway::WrongKey)), "{refused:#}");
    if let Some(connection) = answered {
        assert!(connection.accept_bi().await.is_err(), "the client said something to it");
    }
}

/// Rotation does not loosen what a device expects: a key that the gateway has, but that this device was never told by a voucher,
/// and the former one after it was told, are as wrong as any other.
#[tokio::test]
async fn t06_a_device_takes_one_key_at_a_time_whoever_holds_another() {
    let path = Path::new().await;
    let world = world_behind(&path).await;
    let (told, untold) = (enrolled(&world, "told").await, enrolled(&world, "untold").await);
    let former = Keys::read(&world.gateway_dir()).unwrap().tls().present().clone();
    crate::gateway_key::rotate(&world).await;
    let present = Keys::read(&world.gateway_dir()).unwrap().tls().present().clone();
    told.connect().await.unwrap().sign_off().await.unwrap();
    assert_eq!((known(&told), known(&untold)), (present.spki(), former.spki()));
    for (machine, key) in [(&told, &former), (&untold, &present)] {
        let impostor = Impostor::with(key);
        path.lead_to(impostor.at());
        let refused = tokio::select! {
            outcome = machine.connect() => outcome.err().expect("not the key that it expects"),
            never = impostor.answer_all() => never,
        };
        assert!(matches!(refused, ClientError::GatewayAway(GatewayAway::WrongKey)), "{refused:#}");
    }
    path.lead_to(world.gateway().local_addrs()[0]);
    for machine in [&told, &untold] {
        machine.connect().await.unwrap();
    }
}
