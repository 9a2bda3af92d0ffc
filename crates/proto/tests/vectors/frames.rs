//! One frame of every message and variant that runs inside authenticated channels, made by the code under test. Keys, ids and
//! sealed parts are patterns, so that a reader sees where each lies.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use vestibule_proto::enrol::{EnrolConfirm, EnrolDone, EnrolResponse, EnrolStart, EnrolUpload, Enrolled};
use vestibule_proto::frame::{self, FrameError};
use vestibule_proto::gateway_key::{HandOver, NewKey};
use vestibule_proto::hex;
use vestibule_proto::id::{DeviceId, GatewayId, LinkRequest, LoginDigest, ServiceName, SessionId};
use vestibule_proto::key::{PublicKey, Secret, Spki};
use vestibule_proto::link::{
    self, Answer, FromController, Hello, LeftOut, LinkRefusal, PublishedRow, Register, RowRefusal, ToController,
    ToGateway,
};
use vestibule_proto::login::KsfParams;
use vestibule_proto::realm::Realm;
use vestibule_proto::session::{
    ClientHello, ClientNotice, GatewayHello, LoginFinish, Notice, Open, Opened, Reason, RenewalLink, ServiceInfo,
    ServiceKind, Target, Wanted, Welcome,
};

use crate::clean_frames;
use crate::documents::{Frame, FrameVectors};

/// A message and its frame.
pub(crate) struct Sample {
    pub(crate) name: &'static str,
    /// The type that this frame is read as.
    pub(crate) message: &'static str,
    /// Length and document.
    pub(crate) frame: Vec<u8>,
    /// Reads a document as this message and writes it again.
    pub(crate) again: fn(&[u8]) -> Result<Vec<u8>, FrameError>,
}

fn sample<T: Serialize + DeserializeOwned>(name: &'static str, message: T) -> Sample {
    let frame = frame::encode(&message).unwrap().to_vec();
    let path = std::any::type_name::<T>();
    Sample { name, message: path.strip_prefix("vestibule_proto::").unwrap_or(path), frame, again: again::<T> }
}

fn again<T: Serialize + DeserializeOwned>(document: &[u8]) -> Result<Vec<u8>, FrameError> {
    frame::encode(&frame::decode::<T>(document)?).map(|frame| frame.to_vec())
}

/// How many variants each enum of these messages has, by its name in the fields of the vectors.
pub(crate) fn variants() -> Vec<(&'static str, usize)> {
    vec![
        ("link::Welcome", count::<link::Welcome>()),
        ("LinkRefusal", count::<LinkRefusal>()),
        ("ToController", count::<ToController>()),
        ("FromController", count::<FromController>()),
        ("RowRefusal", count::<RowRefusal>()),
        ("ToGateway", count::<ToGateway>()),
        ("Answer", count::<Answer>()),
        ("Wanted", count::<Wanted>()),
        ("GatewayHello", count::<GatewayHello>()),
        ("Notice", count::<Notice>()),
        ("ClientNotice", count::<ClientNotice>()),
        ("Target", count::<Target>()),
        ("Opened", count::<Opened>()),
        ("Reason", count::<Reason>()),
        ("ServiceKind", count::<ServiceKind>()),
    ]
}

/// Serde lists the variants that it knows when it is given another.
fn count<T: DeserializeOwned>() -> usize {
    let error = serde_json::from_str::<T>(r#""no such variant""#).err().unwrap().to_string();
    let known = error.split_once("expected ").unwrap_or_else(|| panic!("{error}")).1;
    known.matches('`').count() / 2
}

/// All samples, in the order of the file.
pub(crate) fn samples() -> Vec<Sample> {
    [greetings(), publishing(), admissions(), logins(), enrolments(), notices(), reasons(), tunnels()]
        .into_iter()
        .flatten()
        .collect()
}

fn v4() -> SocketAddr {
    ([198, 51, 100, 1], 443).into()
}

fn v6() -> SocketAddr {
    "[2001:db8::1]:51820".parse().unwrap()
}

fn spki(byte: u8) -> Spki {
    let prefix = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    Spki::from_der(&[prefix.as_slice(), &[byte; 32]].concat()).unwrap()
}

fn digest() -> LoginDigest {
    LoginDigest::new([0xa2; 32])
}

fn row() -> PublishedRow {
    PublishedRow { digest: digest(), device_key: PublicKey::new([0xd0; 32]), psk_c: Secret::new([0xcc; 32]) }
}

fn greetings() -> Vec<Sample> {
    let hello = |addresses, register| Hello {
        versions: (1, 1),
        gateway: GatewayId::new([0x9a; 16]),
        name: "home".to_owned(),
        addresses,
        register,
    };
    let register = Register {
        digest: digest(),
        device_key: PublicKey::new([0xd0; 32]),
        psk_c: Secret::new([0xcc; 32]),
        spki: spki(0x97),
    };
    let newer = Hello { versions: (2, 300), ..hello(vec![], None) };
    let refused = |refusal| link::Welcome::Refused(refusal);
    vec![
        sample("hello", hello(vec![v4(), v6()], None)),
        sample("hello, first link", hello(vec![v4()], Some(register))),
        sample("hello, later versions only", newer),
        sample("linked", link::Welcome::Linked { version: 1 }),
        sample("not linked: version", refused(LinkRefusal::Version)),
        sample("not linked: another gateway", refused(LinkRefusal::NotYou)),
        sample("not linked: storage", refused(LinkRefusal::Storage)),
    ]
}

fn publishing() -> Vec<Sample> {
    let row_digest = |byte| LoginDigest::new([byte; 32]);
    let rows = vec![
        (row_digest(1), RowRefusal::Collision),
        (row_digest(2), RowRefusal::Share),
        (row_digest(3), RowRefusal::Full),
    ];
    let signature = [0x51; 64];
    let hand_over = HandOver { spki: spki(0x97), by_former: [0x51; 64], by_present: [0x52; 64] };
    vec![
        sample("rows", ToController::Rows { first: true, last: false, rows: vec![row(), row()], signature }),
        sample("publish", ToController::Publish { row: row(), signature }),
        sample("withdraw", ToController::Withdraw { digest: digest() }),
        sample("addresses", ToController::Addresses { addresses: vec![v6()] }),
        sample("hand over", ToController::HandOver(hand_over)),
        sample("done", FromController::Done),
        sample("not done: refused", FromController::Refused),
        sample("not done: storage", FromController::Storage),
        sample("done without some", FromController::Without(LeftOut { rows, more: 300, share: 100_000 })),
    ]
}

fn realm() -> Realm {
    Realm { epoch: 300, key: Secret::new([0x4e; 32]) }
}

fn admissions() -> Vec<Sample> {
    let request = LinkRequest::new(300);
    let admit = |source| ToGateway::Admit { request, digest: digest(), source, inner: [0x11; 192], deadline_ms: 2_000 };
    vec![
        sample("admit", admit(([192, 0, 2, 7], 40_000).into())),
        sample("admit, IPv6", admit(v6())),
        sample("withdraw an admission", ToGateway::Withdraw { request }),
        sample("ping", ToGateway::Ping),
        sample("realm key", ToGateway::Realm(realm())),
        sample("ready", Answer::Ready { addresses: vec![v4(), v6()], inner: [0x12; 208], window_ms: 10_000 }),
        sample("refused", Answer::Refused { inner: [0x12; 208] }),
        sample("seen", Answer::Seen),
        sample("away", Answer::Away),
    ]
}

fn service(name: &str, kind: ServiceKind, upstream: &str) -> ServiceInfo {
    ServiceInfo { name: ServiceName::parse(name).unwrap(), kind, upstream: upstream.to_owned() }
}

fn db() -> ServiceName {
    ServiceName::parse("db").unwrap()
}

fn services() -> Vec<ServiceInfo> {
    vec![service("db", ServiceKind::Tcp, "10.0.0.5:5432"), service("orders", ServiceKind::Web, "10.0.0.8:8000")]
}

fn logins() -> Vec<Sample> {
    let hello = |purpose| ClientHello { versions: (1, 1), purpose };
    let session = SessionId::new([0x5e; 16]);
    let welcome = || Welcome {
        session,
        resume_secret: Secret::new([0x2e; 32]),
        expires_in: Duration::new(43_200, 5),
        idle_limit: Duration::from_secs(3_600),
        services: services(),
    };
    let ksf = KsfParams::STANDARD;
    let login = || Wanted::Login { user: "alice".to_owned(), ke1: vec![0xe1; 96] };
    vec![
        sample("L1 login", hello(login())),
        sample("L1 login, later versions only", ClientHello { versions: (2, 300), purpose: login() }),
        sample("L2 challenge", GatewayHello::Challenge { ke2: vec![0xe2; 320], ksf }),
        sample("L3 finish", LoginFinish { ke3: vec![0xe3; 64] }),
        sample("L4 welcome", GatewayHello::Welcome(Box::new(welcome()))),
        sample("L4 welcome, direct", GatewayHello::WelcomeDirect(Box::new(welcome()), vec![db()])),
        sample("refused", GatewayHello::Refused(Reason::LoginFailed { tries: 3, limit: 20 })),
        sample("R1 resume", hello(Wanted::Resume { session, proof: [0x3f; 32] })),
    ]
}

fn enrolments() -> Vec<Sample> {
    let device = DeviceId::new([0xde; 16]);
    let start = EnrolStart {
        user: "alice".to_owned(),
        device_name: "laptop".to_owned(),
        d_out: PublicKey::new([0xd0; 32]),
        d_in: PublicKey::new([0xd1; 32]),
        d_tls: spki(0xd7),
        psk_g: Secret::new([0xc9; 32]),
        fingerprint_commitment: [0xfc; 32],
        registration_request: vec![0x01; 32],
    };
    let response =
        EnrolResponse { device, registration_response: vec![0x02; 64], ksf: KsfParams::new(8, 1, 1).unwrap() };
    let enrolled = || Enrolled {
        device,
        digest: digest(),
        psk_c: Secret::new([0xcc; 32]),
        psk_r: Secret::new([0xce; 32]),
        gateway_pins: vec![spki(0x97), spki(0x98)],
        typo_bits: 10,
        version_floor: 1,
    };
    vec![
        sample("E1 start", ClientHello { versions: (1, 1), purpose: Wanted::Enrol(Box::new(start)) }),
        sample("E1 response", GatewayHello::Enrol(Box::new(response))),
        sample("E1 upload", EnrolUpload { record: vec![0x03; 192] }),
        sample("E1 enrolled", GatewayHello::Enrolled(Box::new(enrolled()))),
        sample("E1 enrolled, waiting", GatewayHello::EnrolledWaiting(Box::new(enrolled()))),
        sample("E1 confirm", EnrolConfirm { device }),
        sample("E1 done", EnrolDone { published: true }),
        sample("E1 done, not published", EnrolDone { published: false }),
    ]
}

fn notices() -> Vec<Sample> {
    vec![
        sample("services", Notice::Services(services())),
        sample("renewal", Notice::Renewal(Ok(RenewalLink::new("vestibule:AAAA".to_owned())))),
        sample("no renewal", Notice::Renewal(Err(Reason::NoSession))),
        sample("realm key for a device", Notice::Realm(realm())),
        sample("gateway key for a device", Notice::GatewayKey(NewKey { spki: spki(0x97), mac: [0x3a; 32] })),
        sample("direct", Notice::Direct(vec![db()])),
        sample("services, UDP", Notice::Services(vec![service("dns", ServiceKind::Udp, "10.0.0.53:53")])),
        sample("sign off", ClientNotice::SignOff),
        sample("renew", ClientNotice::Renew),
    ]
}

fn reasons() -> Vec<Sample> {
    use Reason::*;
    [
        ("ended: version", Version),
        ("ended: malformed", Malformed),
        ("ended: login failed", LoginFailed { tries: 3, limit: 20 }),
        ("ended: wait", Wait { seconds: 3_600 }),
        ("ended: suspended", Suspended),
        ("ended: no session", NoSession),
        ("ended: invitation used", InvitationUsed),
        ("ended: invitation expired", InvitationExpired),
        ("ended: no service", NoService),
        ("ended: upstream away", UpstreamAway),
        ("ended: upstream hangs", UpstreamHangs),
        ("ended: busy", Busy),
        ("ended: fault", GatewayFault),
        ("ended: signed off", SignedOff),
        ("ended: expired", Expired),
        ("ended: idle", Idle),
        ("ended: revoked", Revoked),
        ("ended: shutting down", ShuttingDown),
    ]
    .into_iter()
    .map(|(name, reason)| sample(name, Notice::Ended(reason)))
    .collect()
}

fn tunnels() -> Vec<Sample> {
    let service = Target::Service(db());
    let direct = |from| Target::Direct { service: db(), from };
    vec![
        sample("T open a service", Open { target: service }),
        sample("T open an upstream", Open { target: Target::Upstream("10.0.0.5:5432".to_owned()) }),
        sample("T open a direct service", Open { target: direct(v4()) }),
        sample("T open a direct service, IPv6", Open { target: direct(v6()) }),
        sample("T open a UDP service", Open { target: Target::Udp(ServiceName::parse("dns").unwrap()) }),
        sample("T opened", Opened::Connected),
        sample("T not opened", Opened::Refused(Reason::UpstreamAway)),
        sample("T opened, direct", Opened::Direct { port: 2_222 }),
    ]
}

/// The contents of `frames.json`: what the crate makes, and whose hand-written fields they are.
pub(crate) fn document() -> FrameVectors {
    let (samples, by_hand) = (samples(), clean_frames::frames());
    assert_eq!(samples.len(), by_hand.len());
    let frames = samples.into_iter().zip(by_hand).map(|(sample, (name, fields))| {
        assert_eq!(sample.name, name);
        let message = sample.message.to_owned();
        Frame { name: name.to_owned(), message, frame: hex::encode(&sample.frame), fields }
    });
    FrameVectors {
        about:
            "One frame of every message and variant inside authenticated channels, whole (length and document) and the \
                document field by field. See docs/protocol.md, section 4."
                .to_owned(),
        frames: frames.collect(),
    }
}
