//! Many devices at once, without a thousand enrolments.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use vestibule_gateway::directory::{Directory, NewDevice};
use vestibule_gateway::keys::Keys;
use vestibule_proto::entropy::SystemEntropy;
use vestibule_proto::id::{DeviceId, UserName};
use vestibule_proto::key::{PrivateKey, Psk, SigningKey};
use vestibule_proto::knocker;
use vestibule_proto::outer::ControllerPin;

use super::cheap;
use super::client::now;

/// An enrolled device, unlocked; nobody can log in with it.
pub(crate) struct Enrolled {
    pub(crate) keys: Arc<knocker::Device>,
    pub(crate) d_tls: SigningKey,
}

/// Users `user0`, `user1`, … with a device each, in this order, written into the directory as enrolments do.
pub(crate) async fn enrol_many(keys: &Keys, database: &Path, count: usize) -> Vec<Enrolled> {
    let directory = Directory::open(database, keys.identity()).unwrap();
    let mut enrolling = Vec::with_capacity(count);
    for number in 0..count {
        let (directory, pin) = (directory.clone(), keys.controller());
        let (gateway, gateway_key) = (keys.gateway, keys.inner.public());
        enrolling.push(tokio::spawn(async move {
            let (entropy, time) = (&mut SystemEntropy, now().wall);
            let user = UserName::parse(&format!("user{number}")).unwrap();
            directory.add_user(user.clone(), &[], time).await.unwrap();
            let (issued, _) = directory.invite(user, Duration::from_secs(600), time, entropy).await.unwrap();
            let (d_out, d_in) = (PrivateKey::random(entropy), PrivateKey::random(entropy));
            let (d_tls, psk_g, id) = (SigningKey::random(entropy), Psk::random(entropy), DeviceId::random(entropy));
            let new = NewDevice {
                id,
                name: "laptop".to_owned(),
                d_out: d_out.public(),
                d_in: d_in.public(),
                d_tls: d_tls.spki(),
                psk_g: psk_g.clone(),
                fingerprint_commitment: [0; 32],
                record: vec![0; 192],
                ksf: cheap(),
                version_floor: 1,
                awaits: false,
            };
            let pending = directory.register_device(issued.id, new, time, entropy).await.unwrap();
            directory.confirm_device(issued.id, id, time).await.unwrap();
            let keys = knocker::Device {
                gateway,
                controller: ControllerPin { key: pin.key, realm: pin.realm },
                d_out,
                psk_c: pending.psk_c,
                psk_r: pending.psk_r,
                digest: pending.digest,
                gateway_key,
                expects: None,
                d_in,
                psk_g,
            };
            Enrolled { keys: Arc::new(keys), d_tls }
        }));
    }
    let mut enrolled = Vec::with_capacity(count);
    for one in enrolling {
        enrolled.push(one.await.unwrap());
    }
    enrolled
}
