//! A controller that does what a test tells it: it takes a gateway's link, and hands over whatever inner part it is given.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use quinn::Connection;
use vestibule_dark::framed::{read_frame, write_frame};
use vestibule_dark::tls::{self, ClientPins};
use vestibule_dark::{Dark, KnockFilter, KnockQueue, Role, TransportKind, transport};
use vestibule_door::{Admission, Command, Door, SocketDoor};
use vestibule_proto::entropy::SystemEntropy;
use vestibule_proto::id::{GatewayId, KnockId, LinkRequest, LoginDigest, Stamp, TicketId};
use vestibule_proto::inner::{AwaitReady, I1_LEN, InnerKnock, Purpose, Versions, seal_inner};
use vestibule_proto::invitation::GatewayInvitation;
use vestibule_proto::key::{PrivateKey, Psk, RealmKey, Secret, SigningKey};
use vestibule_proto::knocker;
use vestibule_proto::link::{
    Answer, FromController, Hello, LINK_VERSION, PublishedRow, ToController, ToGateway, Welcome,
};
use vestibule_proto::outer::{Guidance, Status, link_ticket, open_knock};
use vestibule_proto::ticket::{NatPolicy, Ticket};

use super::client::now;
use super::{ANY, SOON};

/// The rows that the gateway has published.
pub(crate) type Rows = Arc<Mutex<HashMap<LoginDigest, PublishedRow>>>;

pub(crate) struct BareController {
    dark: Dark,
    door: Arc<SocketDoor>,
    queue: KnockQueue,
    key: PrivateKey,
    link_key: SigningKey,
    psks: HashMap<LoginDigest, Psk>,
    pub(crate) rows: Rows,
    pub(crate) invitation: GatewayInvitation,
    requests: AtomicU64,
}

struct Everything;

impl KnockFilter for Everything {
    fn passes(&self, _: &[u8]) -> bool {
        true
    }
}

impl BareController {
    pub(crate) fn new() -> Self {
        let entropy = &mut SystemEntropy;
        let (key, link_key) = (PrivateKey::random(entropy), SigningKey::random(entropy));
        let door = Arc::new(SocketDoor::default());
        let (dark, queue) = Dark::bind(ANY, Role::Controller(Arc::new(Everything)), door.clone()).unwrap();
        let invitation = GatewayInvitation {
            format: 1,
            controllers: vec![dark.local_addr().unwrap().to_string()],
            controller_key: key.public(),
            controller_pin: link_key.spki(),
            realm: RealmKey::random(entropy),
            name: "home".to_owned(),
            gateway: GatewayId::random(entropy),
            expires: Stamp::from_millis(u64::MAX),
            secret: Secret::random(entropy),
        };
        let first = invitation.keys();
        let psks = HashMap::from([(first.digest, first.psk_c)]);
        let (rows, requests) = (Rows::default(), AtomicU64::new(0));
        Self { dark, door, queue, key, link_key, psks, rows, invitation, requests }
    }

    /// The next link that the gateway dials. Its rows are taken as they come.
    pub(crate) async fn link(&mut self) -> Connection {
        tokio::time::timeout(SOON, self.accept_link()).await.expect("the gateway links")
    }

    async fn accept_link(&mut self) -> Connection {
        self.let_in().await;
        let contact = self.dark.accept().await.unwrap();
        let config = tls::server_config(&self.link_key, ClientPins::AnyPresented, tls::ALPN_LINK).unwrap();
        let connection = contact.accept(config, transport(TransportKind::Link)).unwrap().await.unwrap();
        let (mut send, mut recv) = connection.accept_bi().await.unwrap();
        let hello: Hello = read_frame(&mut recv).await.unwrap();
        if let Some(register) = hello.register {
            self.psks.insert(register.digest, register.psk_c);
        }
        write_frame(&mut send, &Welcome::Linked { version: LINK_VERSION }).await.unwrap();
        tokio::spawn(take_rows(connection.clone(), self.rows.clone()));
        connection
    }

    /// Answers knocks until one is the gateway's, and opens for it.
    async fn let_in(&mut self) {
        loop {
            let received = self.queue.recv().await.unwrap();
            let realm = &self.invitation.realm;
            let Ok(opened) = open_knock(&self.key, realm, &received.bytes, &mut SystemEntropy) else { continue };
            let Some(psk) = self.psks.get(&opened.knock.digest) else { continue };
            let (id, secret) = (TicketId::random(&mut SystemEntropy), Secret::random(&mut SystemEntropy));
            let guidance = Guidance {
                status: Status::Ready,
                window: SOON,
                seen: received.from,
                controller_time: now().wall,
                challenge: None,
                gateways: Vec::new(),
                inner: Some(link_ticket::encode(id, &secret)),
            };
            let (k6, hash) = opened.seal_guidance(psk, &guidance).unwrap();
            let admission = Admission {
                ticket: id,
                tags: Ticket::derive(hash, &secret, id).quic_tags(),
                tcp: None,
                announced: received.from.ip(),
                policy: NatPolicy::Follow,
                deadline: Instant::now() + SOON,
            };
            self.door.apply(&Command::Admit(admission), Instant::now()).unwrap();
            self.dark.send(received.from, k6.as_slice()).unwrap();
            return;
        }
    }

    /// K3 over a link, with a request number of its own.
    pub(crate) async fn admit(&self, link: &Connection, admit: &Admit) -> Answer {
        self.admit_as(link, self.next_request(), admit).await
    }

    pub(crate) fn next_request(&self) -> LinkRequest {
        LinkRequest::new(self.requests.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) async fn admit_as(&self, link: &Connection, request: LinkRequest, admit: &Admit) -> Answer {
        let Admit { digest, source, inner } = *admit;
        ask(link, &ToGateway::Admit { request, digest, source, inner, deadline_ms: 2_000 }).await
    }
}

/// What a controller hands over.
#[derive(Clone, Copy)]
pub(crate) struct Admit {
    pub(crate) digest: LoginDigest,
    pub(crate) source: SocketAddr,
    pub(crate) inner: [u8; I1_LEN],
}

/// I1 of a device, made so long ago.
pub(crate) fn sealed(device: &knocker::Device, age: Duration) -> (Admit, AwaitReady) {
    let knock = InnerKnock {
        versions: Versions::OURS,
        purpose: Purpose::Login,
        stamp: now().wall.saturating_sub(age),
        knock_id: KnockId::random(&mut SystemEntropy),
        digest: device.digest,
        session: None,
        addresses: Vec::new(),
        expects: None,
    };
    let (gateway, key) = (device.gateway, &device.gateway_key);
    let (inner, ready) =
        seal_inner(gateway, key, &device.d_in, &device.psk_g, &device.psk_r, &knock, &mut SystemEntropy).unwrap();
    (Admit { digest: device.digest, source: "127.0.0.1:9".parse().unwrap(), inner }, ready)
}

/// One request to the gateway.
pub(crate) async fn ask(link: &Connection, request: &ToGateway) -> Answer {
    let (mut send, mut recv) = link.open_bi().await.unwrap();
    write_frame(&mut send, request).await.unwrap();
    send.finish().unwrap();
    tokio::time::timeout(SOON, read_frame(&mut recv)).await.expect("the gateway answers").unwrap()
}

async fn take_rows(connection: Connection, rows: Rows) {
    while let Ok((mut send, mut recv)) = connection.accept_bi().await {
        let request: ToController = read_frame(&mut recv).await.unwrap();
        {
            let mut rows = rows.lock().unwrap();
            match request {
                ToController::Rows { first, rows: part, .. } => {
                    if first {
                        rows.clear();
                    }
                    rows.extend(part.into_iter().map(|row| (row.digest, row)));
                }
                ToController::Publish { row, .. } => drop(rows.insert(row.digest, row)),
                ToController::Withdraw { digest } => drop(rows.remove(&digest)),
                ToController::Addresses { .. } | ToController::HandOver(_) => {}
            }
        }
        write_frame(&mut send, &FromController::Done).await.unwrap();
        send.finish().unwrap();
    }
}
