//! Seeds for the fuzzers: every message of the vectors, and one frame of most kinds.

use serde::Serialize;
use vestibule_proto::enrol::{EnrolConfirm, EnrolResponse, EnrolStart, EnrolUpload};
use vestibule_proto::entropy::SeededEntropy;
use vestibule_proto::frame;
use vestibule_proto::id::{DeviceId, LinkRequest, ServiceName, SessionId, Stamp, TicketId};
use vestibule_proto::inner;
use vestibule_proto::invitation::{self, Invitation};
use vestibule_proto::key::{Secret, SigningKey};
use vestibule_proto::link::{Answer, Hello, PublishedRow, Register, ToController, ToGateway};
use vestibule_proto::moving;
use vestibule_proto::outer;
use vestibule_proto::session::{
    ClientHello, GatewayHello, Notice, Open, Reason, ServiceInfo, ServiceKind, Target, Wanted,
};
use vestibule_proto::tcp::TcpTags;
use vestibule_proto::ticket::{Tag, Ticket};

use crate::datagrams;
use crate::make::{Exchange, Login, exchange, k2c, refused, run_login};

/// Entry, file name, bytes.
pub(crate) type Seed = (&'static str, &'static str, Vec<u8>);

/// All seeds.
pub(crate) fn corpus() -> Vec<Seed> {
    let (exchange, login) = (exchange(), run_login());
    [
        knock(&exchange),
        opaque(&login),
        link(&exchange),
        session(&login),
        datagrams::seeds(),
        enrolment(&exchange, &login),
        links(&exchange),
    ]
    .concat()
}

fn knock(exchange: &Exchange) -> Vec<Seed> {
    let parties = &exchange.parties;
    let sealed = inner::seal_refusal(&parties.psk_r, &exchange.i1, &refused(), &mut SeededEntropy::new(6));
    let link_ticket = outer::link_ticket::encode(TicketId::new([1; 8]), &Secret::new([2; 32]));
    let tcp = TcpTags::of(&Ticket::derive([1; 32], &Secret::new([2; 32]), TicketId::new([0x5a; 8])));
    vec![
        ("header", "k1", exchange.k1[..16].to_vec()),
        ("knock", "k1", exchange.k1.to_vec()),
        ("knock_content", "p1", parties.knock(exchange.i1).to_bytes().to_vec()),
        ("cookie", "k2c", k2c(exchange).1.to_vec()),
        ("guidance", "k6", exchange.k6.to_vec()),
        ("guidance_content", "p2", parties.guidance(exchange.i2).to_bytes().to_vec()),
        ("inner", "i1", exchange.i1.to_vec()),
        ("inner_content", "content", parties.inner_knock().to_bytes().to_vec()),
        ("ready", "i2", exchange.i2.to_vec()),
        ("ready_content", "content", parties.ready().to_bytes().to_vec()),
        ("refusal", "refusal", sealed.to_vec()),
        ("refusal_content", "content", refused().to_bytes().to_vec()),
        ("link_ticket", "ticket", link_ticket.to_vec()),
        ("moved", "moved", moving::moved(&Tag::new([0x5a; 20])).to_vec()),
        ("tag_datagram", "with-an-address", tcp.datagram(&tcp.datagrams[0], "192.0.2.7:40000".parse().ok()).to_vec()),
        ("tag_datagram", "without", tcp.datagram(&tcp.datagrams[1], None).to_vec()),
    ]
}

fn opaque(login: &Login) -> Vec<Seed> {
    let message = |choice: u8, message: &[u8]| [&[choice], message].concat();
    vec![
        ("login", "registration-request", message(0, &login.request)),
        ("login", "registration-response", message(1, &login.response)),
        ("login", "registration-upload", message(2, &login.record)),
        ("login", "ke1", message(3, &login.ke1)),
        ("login", "ke2", message(4, &login.ke2)),
        ("login", "ke3", message(5, &login.ke3)),
    ]
}

fn link(exchange: &Exchange) -> Vec<Seed> {
    let parties = &exchange.parties;
    let source = ([192, 0, 2, 7], 40_000).into();
    let gateway_key = SigningKey::from_seed(Secret::new([3; 32]));
    let hello = Hello {
        versions: (1, 1),
        gateway: parties.gateway,
        name: "home".to_owned(),
        addresses: vec![([198, 51, 100, 1], 443).into()],
        register: Some(Register {
            digest: parties.digest,
            device_key: parties.device.public(),
            psk_c: parties.psk_c.clone(),
            spki: gateway_key.spki(),
        }),
    };
    let row =
        PublishedRow { digest: parties.digest, device_key: parties.device.public(), psk_c: parties.psk_c.clone() };
    let publish = ToController::Publish { row, signature: gateway_key.sign(b"a row") };
    let request = LinkRequest::new(1);
    let admit = ToGateway::Admit { request, digest: parties.digest, source, inner: exchange.i1, deadline_ms: 2_000 };
    let ready = Answer::Ready { addresses: hello.addresses.clone(), inner: exchange.i2, window_ms: 10_000 };
    vec![
        ("link_frame", "hello", document(&hello)),
        ("link_frame", "publish", document(&publish)),
        ("link_frame", "admit", document(&admit)),
        ("link_frame", "ready", document(&ready)),
    ]
}

fn session(login: &Login) -> Vec<Seed> {
    let user = login.names.user.to_string();
    let wanted = Wanted::Login { user, ke1: login.ke1.clone() };
    let hello = ClientHello { versions: (1, 1), purpose: wanted };
    let resume = Wanted::Resume { session: SessionId::new([1; 16]), proof: [2; 32] };
    let resume = ClientHello { versions: (1, 1), purpose: resume };
    let challenge = GatewayHello::Challenge { ke2: login.ke2.clone(), ksf: login.ksf };
    let name = ServiceName::parse("db").unwrap();
    let service = ServiceInfo { name: name.clone(), kind: ServiceKind::Tcp, upstream: "10.0.0.5:5432".to_owned() };
    vec![
        ("session_frame", "login", document(&hello)),
        ("session_frame", "resume", document(&resume)),
        ("session_frame", "challenge", document(&challenge)),
        ("session_frame", "services", document(&Notice::Services(vec![service]))),
        ("session_frame", "ended", document(&Notice::Ended(Reason::Wait { seconds: 60 }))),
        ("session_frame", "open", document(&Open { target: Target::Service(name.clone()) })),
        ("session_frame", "open-udp", document(&Open { target: Target::Udp(name) })),
    ]
}

fn enrolment(exchange: &Exchange, login: &Login) -> Vec<Seed> {
    let (parties, device) = (&exchange.parties, DeviceId::new([1; 16]));
    let start = EnrolStart {
        user: login.names.user.to_string(),
        device_name: "laptop".to_owned(),
        d_out: parties.device.public(),
        d_in: parties.d_in.public(),
        d_tls: SigningKey::from_seed(Secret::new([4; 32])).spki(),
        psk_g: parties.psk_g.clone(),
        fingerprint_commitment: [5; 32],
        registration_request: login.request.clone(),
    };
    let response = EnrolResponse { device, registration_response: login.response.clone(), ksf: login.ksf };
    vec![
        ("enrolment_frame", "start", document(&start)),
        ("enrolment_frame", "response", document(&response)),
        ("enrolment_frame", "upload", document(&EnrolUpload { record: login.record.to_vec() })),
        ("enrolment_frame", "confirm", document(&EnrolConfirm { device })),
    ]
}

fn links(exchange: &Exchange) -> Vec<Seed> {
    let parties = &exchange.parties;
    let (outer_secret, inner_secret) = invitation::fresh_secrets(&mut SeededEntropy::new(8));
    let person = Invitation {
        format: 1,
        controllers: vec!["controller.example:443".to_owned()],
        controller_key: parties.pin.key,
        realm: parties.pin.realm.clone(),
        gateway: parties.gateway,
        gateway_name: "home".to_owned(),
        gateway_key: parties.g.public(),
        gateway_pins: vec![SigningKey::from_seed(Secret::new([3; 32])).spki()],
        user: "alice".to_owned(),
        expires: Stamp::from_millis(1_800_000_600_000),
        outer_secret,
        inner_secret,
    };
    vec![("invitation", "person", person.to_link().into_bytes())]
}

fn document<T: Serialize>(message: &T) -> Vec<u8> {
    frame::encode(message).unwrap().split_off(frame::LENGTH_LEN)
}
