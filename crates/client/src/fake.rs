//! A tunnel without a gateway, for tests: services that echo, serve bytes, or fail.

use crate::error::ClientError;
use crate::tunnel::Tunnel;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream;
use vestibule_dark::datagrams::LocalSide;
use vestibule_proto::id::ServiceName;
use vestibule_proto::session::{ServiceInfo, ServiceKind, Target};

/// A datagram upon which a flow ends.
pub(crate) const END: &[u8] = b"end";

/// What the upstream of a fake service does.
#[derive(Clone)]
pub(crate) enum Behaviour {
    /// Sends back what it gets, and ends when the client has ended.
    Echo,
    /// Connects to this real local address.
    Real(std::net::SocketAddr),
    /// Can't be opened.
    Fails(ClientError),
}

#[derive(Clone)]
pub(crate) struct FakeTunnel(Arc<Shared>);

struct Shared {
    services: Mutex<BTreeMap<String, (ServiceKind, Behaviour)>>,
    opened: AtomicUsize,
}

impl FakeTunnel {
    /// With the TCP services `echo` (10.0.0.1:7) and `db` (10.0.0.2:5432), the web service `orders` (10.0.0.3:8000) and the UDP service
    /// `dns` (10.0.0.53:53), all echoing.
    pub(crate) fn new() -> Self {
        let services = [
            ("echo", ServiceKind::Tcp),
            ("db", ServiceKind::Tcp),
            ("orders", ServiceKind::Web),
            ("dns", ServiceKind::Udp),
        ]
        .map(|(name, kind)| (name.to_owned(), (kind, Behaviour::Echo)));
        Self(Arc::new(Shared { services: Mutex::new(services.into()), opened: AtomicUsize::new(0) }))
    }

    pub(crate) fn set(&self, name: &str, behaviour: Behaviour) {
        self.0.services.lock().unwrap().get_mut(name).unwrap().1 = behaviour;
    }

    pub(crate) fn remove(&self, name: &str) {
        self.0.services.lock().unwrap().remove(name);
    }

    /// How many streams were opened so far.
    pub(crate) fn opened(&self) -> usize {
        self.0.opened.load(Ordering::Relaxed)
    }
}

impl Tunnel for FakeTunnel {
    type Stream = DuplexStream;

    fn services(&self) -> Arc<[ServiceInfo]> {
        let services = self.0.services.lock().unwrap();
        let upstream = |name: &str| match name {
            "echo" => "10.0.0.1:7",
            "db" => "10.0.0.2:5432",
            "dns" => "10.0.0.53:53",
            _ => "10.0.0.3:8000",
        };
        services
            .iter()
            .map(|(name, (kind, _))| ServiceInfo {
                name: ServiceName::parse(name).unwrap(),
                kind: *kind,
                upstream: upstream(name).to_owned(),
            })
            .collect()
    }

    async fn open(&self, target: Target) -> Result<DuplexStream, ClientError> {
        let Target::Service(name) = target else { panic!("only names are opened") };
        let found = self.0.services.lock().unwrap().get(name.as_str()).cloned();
        let Some((_, behaviour)) = found else { return Err(ClientError::NoService { asked: name.to_string() }) };
        let (near, far) = tokio::io::duplex(16 * 1024);
        match behaviour {
            Behaviour::Echo => {
                tokio::spawn(async move {
                    let (mut read, mut write) = tokio::io::split(far);
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                    let _ = write.shutdown().await;
                });
            }
            Behaviour::Real(address) => {
                let mut real = TcpStream::connect(address).await.unwrap();
                tokio::spawn(async move {
                    let mut far = far;
                    let _ = tokio::io::copy_bidirectional(&mut far, &mut real).await;
                });
            }
            Behaviour::Fails(error) => return Err(error),
        }
        self.0.opened.fetch_add(1, Ordering::Relaxed);
        Ok(near)
    }

    async fn carry(&self, mut local: TcpStream, head: Bytes, mut stream: DuplexStream) {
        if stream.write_all(&head).await.is_ok() {
            let _ = tokio::io::copy_bidirectional(&mut local, &mut stream).await;
        }
    }
    async fn carry_io<I, O>(&self, stream: DuplexStream, input: I, output: O) -> std::io::Result<(u64, u64)>
    where
        I: AsyncRead + Send + Sync + Unpin,
        O: AsyncWrite + Send + Unpin,
    {
        let (reader, writer) = tokio::io::split(stream);
        tokio::try_join!(one_way(input, writer), one_way(reader, output))
    }

    async fn carry_datagrams<L: LocalSide>(&self, service: ServiceName, local: &L) -> Result<(), ClientError> {
        let found = self.0.services.lock().unwrap().get(service.as_str()).cloned();
        match found.ok_or_else(|| ClientError::NoService { asked: service.to_string() })?.1 {
            Behaviour::Fails(error) => Err(error),
            Behaviour::Real(_) => panic!("no fake UDP service is real"),
            Behaviour::Echo => {
                self.0.opened.fetch_add(1, Ordering::Relaxed);
                loop {
                    let payload = local.recv().await.unwrap();
                    if payload == END {
                        return Ok(());
                    }
                    local.send(&payload);
                }
            }
        }
    }
}

async fn one_way<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(mut from: R, mut to: W) -> std::io::Result<u64> {
    let count = tokio::io::copy(&mut from, &mut to).await?;
    to.shutdown().await?;
    Ok(count)
}
