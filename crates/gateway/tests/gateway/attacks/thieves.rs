//! T9, T15, T17, T19: who has the password, or a copy of one role's files, and a device of nobody's.

use std::sync::{Arc, Mutex};

use vestibule_controller::keys::Keys as ControllerKeys;
use vestibule_dark::{TransportKind, dial, tls, transport};
use vestibule_gateway::admin::{Answer, DeviceRequest, Request};
use vestibule_gateway::directory::AuditKind;
use vestibule_proto::entropy::SystemEntropy;
use vestibule_proto::id::LoginDigest;
use vestibule_proto::inner::Purpose;
use vestibule_proto::key::{PrivateKey, Psk, Secret, SigningKey};
use vestibule_proto::knocker::{self, Ask, KnockFailure};
use vestibule_proto::login::password_input;
use vestibule_proto::session::Reason;

use super::{SILENCE, at_controller, comes_in, copy, holds, loot, random_tag, sessions};
use crate::common::client::{Device, Failure, come_in, knock, now};
use crate::common::{ANY, World, eventually};

const PASSWORD: &str = "a lantern at high tide";

/// Knocks with these keys, and hears nothing.
async fn hears_nothing(world: &World, keys: knocker::Device) {
    let ask = Ask { purpose: Purpose::Login, session: None };
    let controllers = [world.controller_at];
    let failed = knock(&Arc::new(keys), &controllers, ask, &Mutex::default()).await.err().unwrap();
    assert!(matches!(failed, KnockFailure::NoAnswer), "{failed:?}");
}

async fn tries(world: &World, device: &Device) -> u8 {
    let request = Request::Device(DeviceRequest::Show { device: device.id.to_string() });
    let Answer::Device(view) = world.ask(request).await else { panic!("no device") };
    view.tries
}

/// Knocks that the controller has accepted, and doors that the gateway has opened, since they started.
async fn heard(world: &World) -> (u64, u64) {
    (at_controller(world, "knocks.accepted"), world.counter("admissions.ready").await)
}

/// Nobody came in, nobody's tries were used, and the controller put nothing before the gateway.
async fn nothing_came_of_it(world: &World, device: &Device, before: (u64, u64)) {
    assert_eq!(heard(world).await, before);
    assert_eq!((sessions(world).await, tries(world, device).await), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t09_who_knows_the_password_alone_hears_nothing() {
    let world = World::new().await;
    let (alice, mallory) = (world.enrol("alice", PASSWORD).await, world.enrol("mallory", "other").await);
    let before = heard(&world).await;
    let entropy = &mut SystemEntropy;
    let own = || PrivateKey::random(&mut SystemEntropy);
    // Nothing of a device: not even the controller's realm.
    let realm = knocker::Device {
        controller: vestibule_proto::outer::ControllerPin {
            realm: Secret::random(entropy),
            ..mallory.keys.controller.clone()
        },
        d_out: own(),
        digest: LoginDigest::random(entropy),
        ..copy(&mallory.keys)
    };
    // An insider lends the realm, and even what selects the victim's row.
    let insider = knocker::Device { d_out: own(), digest: LoginDigest::random(entropy), ..copy(&mallory.keys) };
    let selected = knocker::Device { d_out: own(), digest: alice.keys.digest, ..copy(&mallory.keys) };
    let mixed = knocker::Device { digest: alice.keys.digest, ..copy(&mallory.keys) };
    tokio::join!(
        hears_nothing(&world, realm),
        hears_nothing(&world, insider),
        hears_nothing(&world, selected),
        hears_nothing(&world, mixed)
    );
    let at = world.gateway().local_addrs()[0];
    assert!(!comes_in(at, random_tag(), &SigningKey::random(entropy), &alice.pins).await);
    nothing_came_of_it(&world, &alice, before).await;
    alice.login(PASSWORD).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t15_the_controllers_files_hold_nothing_of_people() {
    let world = World::new().await;
    let device = world.enrol("alice-in-the-hills", PASSWORD).await;
    let session = device.login(PASSWORD).await.unwrap();
    let stolen = loot(&world.controller_dir());
    assert!(holds(&stolen, device.keys.digest.as_bytes()), "the search finds what is there");
    assert!(holds(&stolen, device.keys.psk_c.expose()));
    let made = password_input(&device.pepper, PASSWORD.as_bytes());
    let gateway = vestibule_gateway::keys::Keys::read(&world.gateway_dir()).unwrap();
    for (what, wanted) in [
        ("the user's name", b"alice-in-the-hills".as_slice()),
        ("the password", PASSWORD.as_bytes()),
        ("what goes into the login", made.expose()),
        ("the pepper", device.pepper.expose()),
        ("psk_r", device.keys.psk_r.expose()),
        ("psk_g", device.keys.psk_g.expose()),
        ("D_out's private half", device.keys.d_out.secret().expose()),
        ("D_in's private half", device.keys.d_in.secret().expose()),
        ("D_in's public half", device.keys.d_in.public().as_bytes()),
        ("D_tls", device.d_tls.seed().expose()),
        ("the session's id", session.welcome.session.as_bytes()),
        ("the secret for resuming", session.welcome.resume_secret.expose()),
        ("k_lookup", gateway.lookup.expose()),
        ("the gateway's inner key", gateway.inner.secret().expose()),
    ] {
        assert!(!holds(&stolen, wanted), "{what} is in the controller's files");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t15_the_controllers_files_open_nothing() {
    let world = World::new().await;
    let alice = world.enrol("alice", PASSWORD).await;
    let before = heard(&world).await;
    let keys = ControllerKeys::read(&vestibule_controller::settings::key_file(&world.controller_dir())).unwrap();
    let rows = world.rows_on_disk().load(now().wall).unwrap();
    let row = rows.iter().find(|row| row.digest == alice.keys.digest).unwrap();
    // The program: what it has of a device, and for the rest keys of its own or the controller's.
    let entropy = &mut SystemEntropy;
    let forged = |d_out: PrivateKey| knocker::Device {
        d_out,
        psk_c: row.psk_c.clone(),
        digest: row.digest,
        psk_r: row.psk_c.clone(),
        psk_g: row.psk_c.clone(),
        d_in: PrivateKey::random(&mut SystemEntropy),
        ..copy(&alice.keys)
    };
    let (own, controllers) = (forged(PrivateKey::random(entropy)), forged(keys.knock.clone()));
    tokio::join!(hears_nothing(&world, own), hears_nothing(&world, controllers));

    // As a client and as a controller at the gateway's own port.
    let (at, pins) = (world.gateway().local_addrs()[0], &alice.pins);
    assert!(!comes_in(at, random_tag(), &SigningKey::random(entropy), pins).await);
    assert!(!comes_in(at, random_tag(), &keys.link, pins).await);
    let link = dial(ANY, at, random_tag(), &keys.link, pins, tls::ALPN_LINK, transport(TransportKind::Link));
    assert!(!matches!(tokio::time::timeout(SILENCE, link).await, Ok(Ok(_))), "no link leads into a gateway");

    // A list with the true password in it: nothing that is stored is a function of one.
    let stored: Vec<[u8; 32]> =
        rows.iter().flat_map(|row| [*row.digest.as_bytes(), *row.device_key.as_bytes(), *row.psk_c.expose()]).collect();
    let candidates = (0..500).map(|number| format!("candidate {number}")).chain([PASSWORD.to_owned()]);
    for candidate in candidates {
        for value in &stored {
            let made = *password_input(&Secret::new(*value), candidate.as_bytes()).expose();
            assert!(!stored.contains(&made), "{candidate}");
        }
    }
    nothing_came_of_it(&world, &alice, before).await;
    alice.login(PASSWORD).await.unwrap();
}

/// What the gateway's database says of the one device in it.
struct Columns {
    digest: LoginDigest,
    psk_c: Psk,
    psk_r: Psk,
    psk_g: Psk,
}

fn stolen_database(world: &World) -> Columns {
    let database = rusqlite::Connection::open(world.gateway_dir().join("gateway.db")).unwrap();
    let read = "SELECT digest, psk_c, psk_r, psk_g FROM device JOIN knocker USING (id)";
    database.query_row(read, [], columns).unwrap()
}

fn columns(row: &rusqlite::Row<'_>) -> rusqlite::Result<Columns> {
    let psk = |at: usize| row.get(at).map(Psk::new);
    Ok(Columns { digest: LoginDigest::new(row.get(0)?), psk_c: psk(1)?, psk_r: psk(2)?, psk_g: psk(3)? })
}

/// A device made of the database: all that is shared, and own keys where it has public halves alone.
fn device_of(alice: &Device, stolen: Columns) -> knocker::Device {
    knocker::Device {
        d_out: PrivateKey::random(&mut SystemEntropy),
        d_in: PrivateKey::random(&mut SystemEntropy),
        digest: stolen.digest,
        psk_c: stolen.psk_c,
        psk_r: stolen.psk_r,
        psk_g: stolen.psk_g,
        ..copy(&alice.keys)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t17_the_gateways_database_opens_nothing() {
    let world = World::new().await;
    let alice = world.enrol("alice", PASSWORD).await;
    let before = heard(&world).await;
    let stolen = loot(&world.gateway_dir());
    assert!(holds(&stolen, alice.keys.psk_g.expose()), "the search finds what is there");
    for (what, wanted) in [
        ("the password", PASSWORD.as_bytes()),
        ("the pepper", alice.pepper.expose().as_slice()),
        ("what goes into the login", password_input(&alice.pepper, PASSWORD.as_bytes()).expose()),
        ("D_out's private half", alice.keys.d_out.secret().expose()),
        ("D_in's private half", alice.keys.d_in.secret().expose()),
        ("D_tls", alice.d_tls.seed().expose()),
    ] {
        assert!(!holds(&stolen, wanted), "{what} is in the gateway's files");
    }
    hears_nothing(&world, device_of(&alice, stolen_database(&world))).await;
    let at = world.gateway().local_addrs()[0];
    assert!(!comes_in(at, random_tag(), &SigningKey::random(&mut SystemEntropy), &alice.pins).await);
    nothing_came_of_it(&world, &alice, before).await;
    alice.login(PASSWORD).await.unwrap();
}

/// With the password, too, and even with an admission of the victim's own in the hand.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t19_password_and_database_are_refused_before_the_login() {
    let world = World::new().await;
    let alice = world.enrol("alice", PASSWORD).await;
    let before = heard(&world).await;
    hears_nothing(&world, device_of(&alice, stolen_database(&world))).await;
    nothing_came_of_it(&world, &alice, before).await;

    let admitted = alice.knock(Purpose::Login, None).await.unwrap();
    let own = SigningKey::random(&mut SystemEntropy);
    if let Ok((_endpoint, connection)) = come_in(&admitted, &own, &alice.pins).await {
        // TLS 1.3 tells a client that its key was refused only after its own handshake.
        assert!(connection.accept_bi().await.is_err());
    }
    eventually("TLS has refused it", async || world.counter("gateway.contacts_failed").await == 1).await;
    assert_eq!((sessions(&world).await, tries(&world, &alice).await), (0, 0), "no try was used: no login began");

    // As an insider, over a device of his own: the login itself is the device's.
    let mallory = world.enrol("mallory", "other").await;
    let refused = mallory.login_as("alice", PASSWORD).await.err().unwrap();
    assert!(matches!(refused, Failure::Refused(Reason::LoginFailed { .. })), "{refused:?}");
    assert_eq!((tries(&world, &alice).await, tries(&world, &mallory).await), (0, 1));
    let wrong = world.audit().await.into_iter().filter(|entry| entry.kind == AuditKind::WrongPassword);
    assert_eq!(wrong.map(|entry| entry.device).collect::<Vec<_>>(), [Some(mallory.id)]);
}
