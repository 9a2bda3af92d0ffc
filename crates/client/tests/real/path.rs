//! Who sits on the path to a gateway: everything goes where they say, and they answer in the gateway's place.

use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, Endpoint, SendStream, ServerConfig};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;
use vestibule_dark::framed::{read_frame, write_frame};
use vestibule_dark::tls::{self, ClientPins};
use vestibule_proto::entropy::SystemEntropy;
use vestibule_proto::key::{Secret, SigningKey};
use vestibule_proto::session::{ClientHello, GatewayHello, Notice, Wanted, Welcome};

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A host through which clients reach a gateway at `at`.
pub(crate) struct Path {
    pub(crate) at: SocketAddr,
    leads_to: Arc<Mutex<SocketAddr>>,
    _task: AbortOnDropHandle<()>,
}

impl Path {
    pub(crate) async fn new() -> Self {
        let inside = Arc::new(UdpSocket::bind(ANY).await.unwrap());
        let (at, leads_to) = (inside.local_addr().unwrap(), Arc::new(Mutex::new(ANY)));
        let task = tokio::spawn(carry(inside, leads_to.clone()));
        Self { at, leads_to, _task: AbortOnDropHandle::new(task) }
    }

    /// Where everything goes from now on.
    pub(crate) fn lead_to(&self, server: SocketAddr) {
        *self.leads_to.lock().unwrap() = server;
    }
}

async fn carry(inside: Arc<UdpSocket>, leads_to: Arc<Mutex<SocketAddr>>) {
    let mut clients: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let (mut back, mut buffer) = (JoinSet::new(), vec![0; 1 << 16]);
    while let Ok((length, from)) = inside.recv_from(&mut buffer).await {
        if let Entry::Vacant(unknown) = clients.entry(from) {
            let outside = Arc::new(UdpSocket::bind(ANY).await.unwrap());
            back.spawn(carry_back(inside.clone(), outside.clone(), from));
            unknown.insert(outside);
        }
        let server = *leads_to.lock().unwrap();
        // What is lost is lost, as anywhere.
        let _ = clients[&from].send_to(&buffer[..length], server).await;
    }
}

async fn carry_back(inside: Arc<UdpSocket>, outside: Arc<UdpSocket>, client: SocketAddr) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length) = outside.recv(&mut buffer).await {
        let _ = inside.send_to(&buffer[..length], client).await;
    }
}

/// Who answers in a gateway's place, with a key of theirs or of the gateway's.
pub(crate) struct Impostor(Endpoint);

impl Impostor {
    pub(crate) fn with(key: &SigningKey) -> Self {
        let tls = tls::server_config(key, ClientPins::AnyPresented, tls::ALPN_SESSION).unwrap();
        let crypto = QuicServerConfig::try_from(Arc::new(tls)).unwrap();
        Self(Endpoint::server(ServerConfig::with_crypto(Arc::new(crypto)), ANY).unwrap())
    }

    pub(crate) fn at(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    /// The next client's connection; `None` if it goes away while both say who they are.
    pub(crate) async fn answer(&self) -> Option<Connection> {
        self.0.accept().await.unwrap().await.ok()
    }

    /// Answers every client for good; none of them ever says a word.
    pub(crate) async fn answer_all(&self) -> ! {
        loop {
            if let Some(connection) = self.answer().await {
                assert!(connection.accept_bi().await.is_err(), "the client takes it for the gateway");
            }
        }
    }

    /// Welcomes the next client, which comes to take its session up, and tells it this.
    pub(crate) async fn welcome(&self, notices: &[Notice]) -> (Connection, SendStream) {
        let connection = self.answer().await.expect("the client takes it for the gateway");
        let (mut send, mut recv) = connection.accept_bi().await.unwrap();
        let hello: ClientHello = read_frame(&mut recv).await.unwrap();
        let Wanted::Resume { session, .. } = hello.purpose else { panic!("it wants something else") };
        let welcome = Welcome {
            session,
            resume_secret: Secret::random(&mut SystemEntropy),
            expires_in: Duration::from_secs(3_600),
            idle_limit: Duration::from_secs(3_600),
            services: Vec::new(),
        };
        write_frame(&mut send, &GatewayHello::Welcome(Box::new(welcome))).await.unwrap();
        for notice in notices {
            write_frame(&mut send, notice).await.unwrap();
        }
        (connection, send)
    }
}
