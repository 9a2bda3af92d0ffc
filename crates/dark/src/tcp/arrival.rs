//! Who comes over TCP: from a connection to a first contact, or to a close without a byte.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::{Endpoint, TokioRuntime};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use vestibule_proto::id::TicketId;
use vestibule_proto::tcp::PREFACE_LEN;
use vestibule_proto::ticket::Tag;

use super::frames::From;
use super::listener::Shared;
use super::lossless::Life;
use super::pipe::{Ends, Pipe};
use crate::contact::FirstContact;
use crate::counters::CountersSnapshot;
use crate::quiet;

/// How long a connection may take until its preface is there, and as long again until the first packet is.
const WITHIN: Duration = Duration::from_secs(3);

/// What has overtaken what makes it right is looked at so often again, each time after so long.
const LOOKS: u32 = 4;
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

impl Shared {
    /// Takes a connection in a task of its own.
    pub(super) fn take(self: Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let Some(half_open) = self.place(peer.ip()) else {
            return self.refuse(&stream);
        };
        let shared = self.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = shared.closing.clone().cancelled_owned() => {}
                () = shared.arrive(stream, peer) => {}
            }
            drop(half_open);
        });
    }

    async fn arrive(self: Arc<Self>, mut stream: TcpStream, peer: SocketAddr) {
        let preface = tokio::time::timeout(WITHIN, self.preface(&mut stream, peer)).await;
        let Ok(Some((ticket, tag))) = preface else { return self.refuse(&stream) };
        let (life, over) = Life::begin();
        let ended = CancellationToken::new();
        let begun = self.begin(stream, peer, tag, (over, ended.clone()));
        let Ok(endpoint) = begun.inspect_err(|error| tracing::warn!(%error, "no QUIC over TCP")) else { return };
        // Whoever does not begin is given up: with the life, the connection ends.
        if let Ok(Some(incoming)) = tokio::time::timeout(WITHIN, endpoint.accept()).await {
            let contact = FirstContact::over_tcp(incoming, ticket, (life, ended.drop_guard()), self.socket.clone());
            self.count(CountersSnapshot { contacts: 1, ..Default::default() });
            // Fails only when the endpoint is gone.
            let _ = self.contacts.send(contact).await;
        }
    }

    /// The ticket of the preface, and the preface.
    async fn preface(&self, stream: &mut TcpStream, peer: SocketAddr) -> Option<(TicketId, Tag)> {
        // Nothing is read from where nobody is awaited.
        look(|| self.door().tcp().takes(peer, Instant::now()).then_some(())).await?;
        let mut preface = [0; PREFACE_LEN];
        stream.read_exact(&mut preface).await.ok()?;
        let tag = Tag::new(preface);
        let ticket = look(|| self.door().tcp().preface(peer, &tag, Instant::now())).await?;
        Some((ticket, tag))
    }

    fn begin(&self, stream: TcpStream, peer: SocketAddr, tag: Tag, ends: Ends) -> std::io::Result<Endpoint> {
        let pipe = Arc::new(Pipe::new(stream, peer, From::Client(tag))?);
        let (config, runtime) = (quiet::stream_endpoint_config(), Arc::new(TokioRuntime));
        let server = Some(self.before_accept.clone());
        let endpoint = Endpoint::new_with_abstract_socket(config, server, pipe.clone(), runtime)?;
        self.tasks.spawn(pipe.attend(endpoint.clone(), ends, self.closing.clone()));
        Ok(endpoint)
    }

    /// Closes without a byte.
    fn refuse(&self, stream: &TcpStream) {
        self.count(CountersSnapshot { tcp_refused: 1, ..Default::default() });
        let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
    }
}

async fn look<T>(mut found: impl FnMut() -> Option<T>) -> Option<T> {
    for _ in 0..LOOKS {
        if let Some(found) = found() {
            return Some(found);
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
    found()
}
