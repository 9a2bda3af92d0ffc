//! Makes the vectors with the code under test. All that is random comes from seeded streams: the keys from stream 1
//! (`Parties`), the client's randomness from stream 2, the controller's from 3, the gateway's from 4; the login's from 5.

use std::time::Duration;

use vestibule_proto::entropy::{self, SeededEntropy};
use vestibule_proto::fuzzing::Parties;
use vestibule_proto::hex;
use vestibule_proto::id::{DeviceId, GatewayId, TicketId, UserName};
use vestibule_proto::inner::{self, RefusalCode};
use vestibule_proto::key::{self, PrivateKey, Secret};
use vestibule_proto::login::{
    self, KsfParams, LoginNames, LoginServer, LoginStart, OpaqueSetup, RegistrationServer, RegistrationStart,
};
use vestibule_proto::moving::{self, MoveKey};
use vestibule_proto::outer;
use vestibule_proto::tcp::TcpTags;
use vestibule_proto::ticket::Ticket;

use crate::documents::{Cookie, Inner, Keys, KnockVectors, LoginVectors, Outer, Refusal, TicketVectors};

/// Everything that crosses the network in one knock.
pub(crate) struct Exchange {
    pub(crate) parties: Parties,
    pub(crate) i1: [u8; 192],
    pub(crate) i2: [u8; 208],
    pub(crate) inner_hash: [u8; 32],
    pub(crate) k1: outer::Message,
    pub(crate) k6: outer::Message,
    pub(crate) outer_hash: [u8; 32],
}

pub(crate) fn exchange() -> Exchange {
    let parties = Parties::new();
    let client = &mut SeededEntropy::new(2);
    let (i1, mut await_ready) = parties.seal_inner(client);
    let (k1, mut await_guidance) = parties.seal_knock(i1, None, client);

    let controller = &mut SeededEntropy::new(3);
    let knock = outer::open_knock(&parties.controller, &parties.pin.realm, k1.as_slice(), controller).unwrap();
    assert_eq!(knock.knock, parties.knock(i1));
    assert_eq!(knock.device_key, parties.device.public());

    assert!(inner::vouched(&parties.psk_r, &i1));
    let (device, gateway) = (parties.d_in.public(), &mut SeededEntropy::new(4));
    let inner_knock =
        inner::open_inner(parties.gateway, &parties.g, &device, &parties.psk_g, parties.digest, &i1, gateway).unwrap();
    let (i2, inner_hash) = inner_knock.seal_ready(&parties.ready()).unwrap();
    let (k6, outer_hash) = knock.seal_guidance(&parties.psk_c, &parties.guidance(i2)).unwrap();

    assert_eq!(await_guidance.open_guidance(k6.as_slice()), Ok((parties.guidance(i2), outer_hash)));
    let (ready, hash) = await_ready.open_ready(&i2).unwrap();
    assert!(hash == inner_hash && ready.to_bytes() == parties.ready().to_bytes());
    Exchange { parties, i1, i2, inner_hash, k1, k6, outer_hash }
}

/// The contents of `knock.json`.
pub(crate) fn knock() -> KnockVectors {
    let exchange = exchange();
    let client = &mut SeededEntropy::new(2);
    KnockVectors {
        about:
            "One knock: keys, I1 and I2, a refusal instead of I2, K1 and K6 around I1 and I2, a cookie instead of K6. \
                See docs/protocol.md."
                .to_owned(),
        keys: keys(&exchange.parties),
        inner: inner(&exchange, entropy::bytes(client)),
        refusal: refusal(&exchange),
        outer: outer(&exchange, entropy::bytes(client), entropy::bytes(client)),
        cookie: cookie(&exchange),
    }
}

fn keys(parties: &Parties) -> Keys {
    let secret = |key: &PrivateKey| hex::encode(key.secret().expose());
    Keys {
        controller_secret: secret(&parties.controller),
        controller_public: parties.pin.key.to_string(),
        realm: hex::encode(parties.pin.realm.expose()),
        d_out_secret: secret(&parties.device),
        d_out_public: parties.device.public().to_string(),
        psk_c: hex::encode(parties.psk_c.expose()),
        gateway_id: parties.gateway.to_string(),
        g_secret: secret(&parties.g),
        g_public: parties.g.public().to_string(),
        d_in_secret: secret(&parties.d_in),
        d_in_public: parties.d_in.public().to_string(),
        psk_g: hex::encode(parties.psk_g.expose()),
        psk_r: hex::encode(parties.psk_r.expose()),
        digest: parties.digest.to_string(),
    }
}

fn inner(exchange: &Exchange, client_ephemeral: [u8; 32]) -> Inner {
    let parties = &exchange.parties;
    let gateway_ephemeral: [u8; 32] = entropy::bytes(&mut SeededEntropy::new(4));
    Inner {
        prologue: hex::encode(
            &[b"vestibule/1 inner", parties.gateway.as_bytes().as_slice(), parties.digest.as_bytes()].concat(),
        ),
        client_ephemeral_secret: hex::encode(&client_ephemeral),
        gateway_ephemeral_secret: hex::encode(&gateway_ephemeral),
        i1_content: hex::encode(parties.inner_knock().to_bytes().as_slice()),
        i1: hex::encode(&exchange.i1),
        i2_content: hex::encode(parties.ready().to_bytes().as_slice()),
        i2: hex::encode(&exchange.i2),
        handshake_hash: hex::encode(&exchange.inner_hash),
    }
}

pub(crate) fn refused() -> inner::Refusal {
    inner::Refusal {
        code: RefusalCode::WrongPassword,
        retry_after: Duration::from_secs(60),
        tries: 6,
        limit: 20,
        detail: "wrong password".to_owned(),
    }
}

fn refusal(exchange: &Exchange) -> Refusal {
    let psk_r = &exchange.parties.psk_r;
    let sealed = inner::seal_refusal(psk_r, &exchange.i1, &refused(), &mut SeededEntropy::new(6));
    assert_eq!(inner::open_refusal(psk_r, &exchange.i1, &sealed), Ok(refused()));
    Refusal {
        key: hex::encode(key::hkdf::<32>(b"", &[psk_r.expose()], b"vestibule/1 refusal").expose()),
        nonce: hex::encode(&sealed[..24]),
        associated_data: hex::encode(&exchange.i1[176..]),
        content: hex::encode(refused().to_bytes().as_slice()),
        sealed: hex::encode(&sealed),
    }
}

fn outer(exchange: &Exchange, client_ephemeral: [u8; 32], message_id: [u8; 8]) -> Outer {
    let (parties, k1) = (&exchange.parties, &exchange.k1);
    let controller_ephemeral: [u8; 32] = entropy::bytes(&mut SeededEntropy::new(3));
    let stamp = parties.knock(exchange.i1).stamp;
    Outer {
        client_ephemeral_secret: hex::encode(&client_ephemeral),
        controller_ephemeral_secret: hex::encode(&controller_ephemeral),
        message_id: hex::encode(&message_id),
        stamp_ms: stamp.as_millis(),
        epoch: u32::try_from(stamp.as_secs() / 64).unwrap(),
        header: hex::encode(&k1[..16]),
        mac1_key: hex::encode(&crate::clean_room::mac1_key(parties.pin.key.as_bytes(), parties.pin.realm.expose())),
        mac1: hex::encode(&k1[16..32]),
        mac2: hex::encode(&k1[32..48]),
        prologue: hex::encode(&[b"vestibule/1 outer", &k1[..48]].concat()),
        p1: hex::encode(parties.knock(exchange.i1).to_bytes().as_slice()),
        k1: hex::encode(k1.as_slice()),
        p2: hex::encode(parties.guidance(exchange.i2).to_bytes().as_slice()),
        k6: hex::encode(exchange.k6.as_slice()),
        handshake_hash: hex::encode(&exchange.outer_hash),
    }
}

/// The secret from which the controller of the vectors makes its cookies.
const COOKIE_SECRET: [u8; 32] = *b"what the controller makes cookie";

pub(crate) fn k2c(exchange: &Exchange) -> ([u8; 16], [u8; 72]) {
    let cookie = outer::cookie_for(&Secret::new(COOKIE_SECRET), ([192, 0, 2, 7], 40_000).into());
    let (pin, k1) = (&exchange.parties.pin, exchange.k1.as_slice());
    (cookie, outer::seal_cookie(&pin.key, &pin.realm, k1, &cookie, &mut SeededEntropy::new(7)).unwrap())
}

fn cookie(exchange: &Exchange) -> Cookie {
    let (cookie, k2c) = k2c(exchange);
    let client = &mut SeededEntropy::new(2);
    let (i1, _) = exchange.parties.seal_inner(client);
    let (with_cookie, await_guidance) = exchange.parties.seal_knock(i1, Some(&cookie), client);
    assert!(outer::mac2_matches(with_cookie.as_slice(), &cookie));
    assert_eq!(await_guidance.open_cookie(&k2c), Ok(cookie));
    assert_eq!(with_cookie[..32], exchange.k1[..32]);
    let pin = &exchange.parties.pin;
    Cookie {
        controllers_secret: hex::encode(&COOKIE_SECRET),
        source: "192.0.2.7:40000".to_owned(),
        cookie: hex::encode(&cookie),
        key: hex::encode(&crate::clean_room::cookie_key(pin.key.as_bytes(), pin.realm.expose())),
        nonce: hex::encode(&k2c[16..40]),
        associated_data: hex::encode(&exchange.k1[16..32]),
        k2c: hex::encode(&k2c),
        mac2_with_cookie: hex::encode(&with_cookie[32..48]),
    }
}

/// What the client of [`ticket`] has for an address.
const OWN_ADDRESS: &str = "203.0.113.7:40000";

/// The contents of `ticket.json`: the ticket that `knock.json` agrees on.
pub(crate) fn ticket() -> TicketVectors {
    let exchange = exchange();
    let ready = exchange.parties.ready();
    let ticket = Ticket::derive(exchange.inner_hash, &ready.ticket_secret, ready.ticket);
    let exporter = [0xe8; 32];
    let key = MoveKey::derive(&ticket.kd, &exporter);
    let tcp = TcpTags::of(&ticket);
    TicketVectors {
        about:
            "The ticket of knock.json, its tags 0 to 11, and those of three moves of a connection with this exporter."
                .to_owned(),
        inner_hash: hex::encode(&ticket.inner_hash),
        ticket_secret: hex::encode(ready.ticket_secret.expose()),
        ticket: ticket.id.to_string(),
        kd: hex::encode(ticket.kd.expose()),
        tags: (0..12).map(|n| hex::encode(ticket.tag(n).as_bytes())).collect(),
        exporter: hex::encode(&exporter),
        moves: (0..3).map(|number| key.tags(number).tags.map(|tag| hex::encode(tag.as_bytes()))).collect(),
        moved: hex::encode(&moving::moved(&key.tags(0).tags[0])),
        own_address: OWN_ADDRESS.to_owned(),
        tag_datagrams: [
            hex::encode(&tcp.datagram(&tcp.datagrams[0], OWN_ADDRESS.parse().ok())),
            hex::encode(&tcp.datagram(&tcp.datagrams[1], None)),
        ],
    }
}

/// The messages of one registration and one login.
pub(crate) struct Login {
    pub(crate) names: LoginNames,
    pub(crate) pepper: Secret<32>,
    pub(crate) ksf: KsfParams,
    pub(crate) exporter: [u8; 32],
    pub(crate) inner_hash: [u8; 32],
    pub(crate) ticket: TicketId,
    pub(crate) setup: OpaqueSetup,
    pub(crate) request: Vec<u8>,
    pub(crate) response: Vec<u8>,
    pub(crate) record: [u8; 192],
    pub(crate) ke1: Vec<u8>,
    pub(crate) ke2: Vec<u8>,
    pub(crate) ke3: Vec<u8>,
    pub(crate) session_key: login::SessionKey,
}

const PASSWORD: &str = "Grüße, 14 Türen";

pub(crate) fn run_login() -> Login {
    let entropy = &mut SeededEntropy::new(5);
    let (gateway, device) = (GatewayId::random(entropy), DeviceId::random(entropy));
    let names = LoginNames { user: UserName::parse("alice").unwrap(), gateway, device };
    let pepper = Secret::random(entropy);
    let (exporter, inner_hash, ticket) = (entropy::bytes(entropy), entropy::bytes(entropy), TicketId::random(entropy));
    let setup = OpaqueSetup::random(entropy);
    let ksf = KsfParams::new(64, 1, 1).unwrap();
    let input = login::password_input(&pepper, PASSWORD.as_bytes());
    let context = login::login_context(1, &exporter, &inner_hash, ticket);

    let (start, request) = RegistrationStart::begin(input.clone(), entropy).unwrap();
    let response = RegistrationServer::begin(&setup, &request, &names).unwrap();
    let upload = start.finish(&response, &names, &ksf, entropy).unwrap();
    let record = RegistrationServer::finish(&upload).unwrap();
    let (start, ke1) = LoginStart::begin(input, entropy).unwrap();
    let (expect, ke2) = LoginServer::begin(&setup, Some(&record), &ke1, &context, &names, entropy).unwrap();
    let (ke3, session_key) = start.finish(&ke2, &context, &names, &ksf, entropy).unwrap();
    assert!(expect.finish(&ke3).unwrap() == session_key);
    Login {
        names,
        pepper,
        ksf,
        exporter,
        inner_hash,
        ticket,
        setup,
        request,
        response,
        record,
        ke1,
        ke2,
        ke3,
        session_key,
    }
}

/// The contents of `login.json`.
pub(crate) fn login() -> LoginVectors {
    let login = run_login();
    let context = login::login_context(1, &login.exporter, &login.inner_hash, login.ticket);
    let user = login.names.user.as_str().as_bytes();
    LoginVectors {
        about: "A registration and a login with weak Argon2id parameters; the password is given as UTF-8 in NFC."
            .to_owned(),
        user: login.names.user.to_string(),
        gateway_id: login.names.gateway.to_string(),
        device_id: login.names.device.to_string(),
        credential_identifier: hex::encode(&[user, login.names.device.as_bytes()].concat()),
        pepper: hex::encode(login.pepper.expose()),
        password: PASSWORD.to_owned(),
        password_input: hex::encode(login::password_input(&login.pepper, PASSWORD.as_bytes()).expose()),
        argon2id_memory_kib: login.ksf.memory_kib(),
        argon2id_passes: login.ksf.passes(),
        argon2id_lanes: login.ksf.lanes(),
        version: 1,
        exporter: hex::encode(&login.exporter),
        inner_hash: hex::encode(&login.inner_hash),
        ticket: login.ticket.to_string(),
        context: hex::encode(&context),
        setup: hex::encode(login.setup.to_bytes().unwrap().expose()),
        registration_request: hex::encode(&login.request),
        registration_response: hex::encode(&login.response),
        record: hex::encode(&login.record),
        ke1: hex::encode(&login.ke1),
        ke2: hex::encode(&login.ke2),
        ke3: hex::encode(&login.ke3),
        session_key: hex::encode(login.session_key.expose()),
    }
}
