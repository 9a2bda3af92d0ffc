//! T18: the off-line program of a gateway in the attacker's hands, or of who stole all of its files.

use vestibule_gateway::keys::Keys;
use vestibule_proto::entropy::SystemEntropy;
use vestibule_proto::id::TicketId;
use vestibule_proto::key::Secret;
use vestibule_proto::login::{LoginNames, LoginServer, LoginStart, OpaqueSetup, login_context, password_input};
use vestibule_proto::session::SESSION_VERSION;

use crate::common::{World, cheap};

const TRUE: &str = "a lantern at high tide";
/// How many others stand in the list.
const OTHERS: usize = 2_000;

/// What the program has of one device.
struct Stolen {
    setup: OpaqueSetup,
    record: Vec<u8>,
    names: LoginNames,
}

impl Stolen {
    /// Plays both sides of a login: whether this password opens the record.
    fn opens(&self, password: &str, pepper: &Secret<32>) -> bool {
        let entropy = &mut SystemEntropy;
        let context = login_context(SESSION_VERSION, &[0; 32], &[0; 32], TicketId::new([0; 8]));
        let (start, ke1) = LoginStart::begin(password_input(pepper, password.as_bytes()), entropy).unwrap();
        let begun = LoginServer::begin(&self.setup, Some(&self.record), &ke1, &context, &self.names, entropy);
        let (_, ke2) = begun.unwrap();
        start.finish(&ke2, &context, &self.names, &cheap(), entropy).is_ok()
    }
}

/// The record, and every value of 32 bytes beside it.
fn columns(row: &rusqlite::Row<'_>) -> rusqlite::Result<(Vec<u8>, [[u8; 32]; 4])> {
    Ok((row.get(0)?, [row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t18_a_gateway_with_all_its_keys_can_not_tell_the_true_password() {
    let world = World::new().await;
    let device = world.enrol("alice", TRUE).await;
    device.login(TRUE).await.unwrap();
    let dir = world.gateway_dir();
    let database = rusqlite::Connection::open(dir.join("gateway.db")).unwrap();
    let read = "SELECT record, psk_c, psk_r, psk_g, fingerprint FROM device";
    let (record, values) = database.query_row(read, [], columns).unwrap();
    let names = LoginNames { user: device.user.clone(), gateway: device.gateway, device: device.id };
    let stolen = Stolen { setup: Keys::read(&dir).unwrap().opaque, record, names };

    // The program works: with what is on the device alone, it tells the true password at once.
    assert!(stolen.opens(TRUE, &device.pepper));
    assert!(!stolen.opens("another", &device.pepper));

    // Without it, whatever it has may stand for it: the true one looks like every other.
    let mut peppers: Vec<Secret<32>> = values.into_iter().map(Secret::new).collect();
    peppers.extend([Secret::new([0; 32]), Secret::new(*device.keys.digest.as_bytes())]);
    for pepper in &peppers {
        assert!(!stolen.opens(TRUE, pepper));
    }
    let list = (0..OTHERS).map(|number| format!("candidate {number}")).chain([TRUE.to_owned()]);
    let pepper = Secret::random(&mut SystemEntropy);
    let found: Vec<String> = list.filter(|candidate| stolen.opens(candidate, &pepper)).collect();
    assert_eq!(found, Vec::<String>::new());
}
