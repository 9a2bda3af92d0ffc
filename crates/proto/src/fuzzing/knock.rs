//! The decoders of a knock: the datagrams with their seals, and what the seals hold.

use std::sync::LazyLock;

use super::{Parties, padded};
use crate::entropy::SeededEntropy;
use crate::header::{Header, Kind};
use crate::id::TicketId;
use crate::inner::{self, InnerKnock, Ready, Refusal};
use crate::key::Secret;
use crate::moving;
use crate::outer::{self, Guidance, Knock, Mac1Key};
use crate::tcp::{TagDatagram, TcpTags};
use crate::ticket::{Tag, Ticket};

static PARTIES: LazyLock<Parties> = LazyLock::new(Parties::new);
static MAC1: LazyLock<Mac1Key> = LazyLock::new(|| Mac1Key::new(&PARTIES.pin.key, &PARTIES.pin.realm));

/// The client's randomness in the vectors.
fn client_entropy() -> SeededEntropy {
    SeededEntropy::new(2)
}

/// The headers of all kinds.
pub fn header(data: &[u8]) {
    for kind in [Kind::Knock, Kind::Guidance, Kind::Cookie, Kind::TagDatagram, Kind::Moved] {
        if let Some(header) = Header::read(kind, data) {
            assert!(data.starts_with(&header.to_bytes()));
        }
    }
}

/// R2, at the gateway's door.
pub fn moved(data: &[u8]) {
    if let Some(tag) = moving::read_moved(data) {
        assert!(moving::moved(&Tag::new(*tag)) == *data);
    }
}

/// D0. What is read, the fixed ticket's own key decides about; written anew, it is the same.
pub fn tag_datagram(data: &[u8]) {
    if let Some(read) = TagDatagram::read(data) {
        let tags = TcpTags::of(&Ticket::derive([1; 32], &Secret::new([2; 32]), TicketId::new([0x5a; 8])));
        if let Some(own) = tags.check(&read) {
            assert!(tags.datagram(&read.tag, own) == *data);
        }
    }
}

/// K1, at the controller.
pub fn knock(data: &[u8]) {
    let passes = MAC1.check(data);
    if let Ok(opened) = outer::open_knock(&PARTIES.controller, &PARTIES.pin.realm, data, &mut SeededEntropy::new(3)) {
        assert!(passes, "whoever seals a K1 can make its mac1");
        assert!(opened.seal_guidance(&PARTIES.psk_c, &PARTIES.guidance([0; 208])).is_ok());
    }
}

/// P1.
pub fn knock_content(data: &[u8]) {
    let bytes = padded(data);
    if let Ok(knock) = Knock::from_bytes(&bytes) {
        assert_eq!(*knock.to_bytes(), bytes);
    }
}

/// K2c, at the client.
pub fn cookie(data: &[u8]) {
    let (_, wait) = PARTIES.seal_knock([0; 192], None, &mut client_entropy());
    let _ = wait.open_cookie(data);
}

/// K6, at the client that sent the K1 of the vectors.
pub fn guidance(data: &[u8]) {
    let entropy = &mut client_entropy();
    let (i1, _) = PARTIES.seal_inner(entropy);
    let (_, mut wait) = PARTIES.seal_knock(i1, None, entropy);
    if wait.open_guidance(data).is_ok() {
        assert!(wait.open_guidance(data).is_err(), "the answer is read once");
    }
}

/// P2.
pub fn guidance_content(data: &[u8]) {
    let bytes = padded(data);
    if let Ok(guidance) = Guidance::from_bytes(&bytes) {
        assert_eq!(*guidance.to_bytes(), bytes);
    }
}

/// I1, at the gateway.
pub fn inner(data: &[u8]) {
    let bytes = padded(data);
    let _ = inner::vouched(&PARTIES.psk_r, &bytes);
    let Parties { gateway, g, d_in, psk_g, digest, .. } = &*PARTIES;
    let opened = inner::open_inner(*gateway, g, &d_in.public(), psk_g, *digest, &bytes, &mut SeededEntropy::new(4));
    if let Ok(opened) = opened {
        assert!(opened.seal_ready(&PARTIES.ready()).is_ok());
    }
}

/// What I1 seals.
pub fn inner_content(data: &[u8]) {
    let bytes = padded(data);
    if let Ok(knock) = InnerKnock::from_bytes(&bytes) {
        assert_eq!(*knock.to_bytes(), bytes);
    }
}

/// I2, at the client that sent the I1 of the vectors.
pub fn ready(data: &[u8]) {
    let (_, mut wait) = PARTIES.seal_inner(&mut client_entropy());
    if wait.open_ready(&padded(data)).is_ok() {
        assert!(wait.open_ready(&padded(data)).is_err(), "the answer is read once");
    }
}

/// What I2 seals.
pub fn ready_content(data: &[u8]) {
    let bytes = padded(data);
    if let Ok(ready) = Ready::from_bytes(&bytes) {
        assert_eq!(*ready.to_bytes(), bytes);
    }
}

/// A sealed refusal, at the client that sent the I1 of the vectors.
pub fn refusal(data: &[u8]) {
    let (i1, _) = PARTIES.seal_inner(&mut client_entropy());
    let _ = inner::open_refusal(&PARTIES.psk_r, &i1, &padded(data));
}

/// What a refusal seals.
pub fn refusal_content(data: &[u8]) {
    let bytes = padded(data);
    if let Ok(refusal) = Refusal::from_bytes(&bytes) {
        assert_eq!(*refusal.to_bytes(), bytes);
    }
}

/// The ticket of a gateway's own link.
pub fn link_ticket(data: &[u8]) {
    let bytes = padded(data);
    if let Ok((id, secret)) = outer::link_ticket::decode(&bytes) {
        assert_eq!(outer::link_ticket::encode(id, &secret), bytes);
    }
}
