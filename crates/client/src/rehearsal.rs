//! A knock that nobody hears, made while the password is being stretched: the real one finds the program's pages in memory, the
//! random generator seeded, and the tables of its ciphers made. It knows no key of the device, and sends nothing.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Instant, SystemTime};
use vestibule_proto::entropy::SystemEntropy;
use vestibule_proto::id::{GatewayId, LoginDigest, Now, Stamp};
use vestibule_proto::inner::Purpose;
use vestibule_proto::key::{PrivateKey, Secret};
use vestibule_proto::knocker::{Ask, Device, Knocker};
use vestibule_proto::outer::ControllerPin;

/// Where the knock would go; the discard port of this machine.
const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9);

/// The type of an answer (K6), which has the header of its knock.
const ANSWER: u8 = 2;

/// Seals a knock of nobody's, and tries to read an answer that is none. Says whether it came so far.
pub(crate) fn rehearse() -> bool {
    let ask = Ask { purpose: Purpose::Login, session: None };
    let mut knocker = Knocker::new(Arc::new(nobody()), ask, &[NOWHERE], Vec::new(), Stamp::default(), now());
    knocker.handle_timeout(now(), &mut SystemEntropy);
    let Some(knock) = knocker.poll_transmit() else { return false };
    let mut answer = knock.payload;
    let Some(kind) = answer.first_mut() else { return false };
    *kind = ANSWER;
    knocker.handle_input(NOWHERE, &answer, now(), &mut SystemEntropy);
    knocker.poll_event().is_none()
}

fn nobody() -> Device {
    let entropy = &mut SystemEntropy;
    let somebody = PrivateKey::random(entropy).public();
    Device {
        gateway: GatewayId::new([0; 16]),
        controller: ControllerPin { key: somebody, realm: Secret::random(entropy) },
        d_out: PrivateKey::random(entropy),
        psk_c: Secret::random(entropy),
        psk_r: Secret::random(entropy),
        digest: LoginDigest::new([0; 32]),
        gateway_key: somebody,
        expects: None,
        d_in: PrivateKey::random(entropy),
        psk_g: Secret::random(entropy),
    }
}

fn now() -> Now {
    Now::new(Instant::now(), Stamp::from_system(SystemTime::now()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_to_its_end_without_an_answer() {
        assert!(rehearse());
    }
}
