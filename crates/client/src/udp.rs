//! Local datagrams into the tunnel: each local sender has a flow of its own.
//!
//! A sender is an address and port of this machine. Its first datagram begins its flow, and its next one begins another flow when that one
//! has ended, be it by silence or with the connection below: senders notice nothing but a datagram that is lost, as UDP's do.

use crate::channel::{framed, lost, out_of_order};
use crate::error::{ClientError, GatewayAway};
use crate::names;
use crate::neighbours::Neighbours;
use crate::tunnel::Tunnel;
use quinn::Connection;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;
use tokio::task::{AbortHandle, JoinSet};
use vestibule_dark::datagrams::{Answer, DatagramQueue, Datagrams, FlowEnd, LONGEST, LocalSide};
use vestibule_dark::framed::{read_frame_within, write_frame};
use vestibule_proto::id::ServiceName;
use vestibule_proto::session::{OPENED_LIMIT, Open, Opened, Target};

/// How long a flow may be silent before it ends.
pub const IDLE: Duration = Duration::from_secs(120);

/// Senders that one local port serves at a time. One more ends the flow of the one that has been silent longest: a resolver asks each
/// question from another port.
pub const SENDERS: usize = 128;

/// How long a sender is not heard whose flow was refused, so that not each of its datagrams asks the gateway.
const REST: Duration = Duration::from_secs(1);

/// How long it is taken for granted whose socket a sender's address is. Ports are given to other users' sockets later.
const KNOWN_FOR: Duration = Duration::from_millis(100);

/// Step T for a UDP service: opens a flow on this connection and carries until it ends.
pub(crate) async fn carry<L: LocalSide>(
    connection: &Connection,
    datagrams: &Arc<Datagrams>,
    service: ServiceName,
    local: &L,
) -> Result<(), ClientError> {
    let (mut send, recv) = connection.open_bi().await.map_err(|error| lost(&error))?;
    let flow = datagrams.enter(&send);
    let open = Open { target: Target::Udp(service.clone()) };
    write_frame(&mut send, &open).await.map_err(|error| framed(&error))?;
    match flow.carry(local, (send, recv), Answer::Expected, IDLE).await {
        FlowEnd::Finished | FlowEnd::Idle | FlowEnd::CrowdedOut => Ok(()),
        FlowEnd::Refused(reason) => Err(ClientError::from_open_reason(reason, service.as_str())),
        FlowEnd::Broken => Err(ClientError::unexpected("the gateway sent what is no datagram")),
        FlowEnd::Lost => Err(ClientError::GatewayAway(GatewayAway::Lost)),
        FlowEnd::Local(error) => Err(ClientError::unexpected(error)),
    }
}

/// Opens a flow and ends it, without a datagram: whether the gateway would carry.
pub(crate) async fn try_open(connection: &Connection, service: &ServiceName) -> Result<(), ClientError> {
    let (mut send, mut recv) = connection.open_bi().await.map_err(|error| lost(&error))?;
    let open = Open { target: Target::Udp(service.clone()) };
    write_frame(&mut send, &open).await.map_err(|error| framed(&error))?;
    match read_frame_within(&mut recv, OPENED_LIMIT).await.map_err(|error| framed(&error))? {
        Opened::Connected => Ok(()),
        Opened::Refused(reason) => Err(ClientError::from_open_reason(reason, service.as_str())),
        Opened::Direct { .. } => Err(out_of_order()),
    }
}

/// Serves a local port until the future is dropped, which ends all flows.
pub(crate) async fn serve<T: Tunnel>(
    (socket, at): (UdpSocket, SocketAddr),
    neighbours: Neighbours,
    service: String,
    tunnel: T,
) {
    // The runtime takes a new socket for busy until it has heard of it.
    if let Err(error) = socket.writable().await {
        return tracing::warn!(%error, "a local UDP port can't be used");
    }
    let socket = Arc::new(socket);
    let mut senders = Senders { known: HashMap::new(), tasks: JoinSet::new(), begun: 0 };
    let mut buffer = vec![0; LONGEST];
    loop {
        let (length, from) = tokio::select! {
            received = socket.recv_from(&mut buffer) => match received {
                Ok(received) => received,
                Err(error) => {
                    tracing::warn!(%error, "cannot receive a local datagram");
                    tokio::time::sleep(KNOWN_FOR).await;
                    continue;
                }
            },
            Some(Ok(ended)) = senders.tasks.join_next() => {
                senders.forget(ended);
                continue;
            }
        };
        let now = Instant::now();
        if !senders.is_known(from, now) {
            if !neighbours.admit_sender(from, at) {
                // Somebody else's socket has that address now: no answer goes there.
                senders.end(from);
                continue;
            }
            senders.looked(from, now);
        }
        senders.heard(from, now, buffer[..length].to_vec(), |queue| {
            let local = Sender { socket: socket.clone(), at: from, queue };
            one(local, service.clone(), tunnel.clone())
        });
    }
}

/// Who has sent something lately.
struct Senders {
    known: HashMap<SocketAddr, Known>,
    tasks: JoinSet<(SocketAddr, u64)>,
    /// How many flows were begun: tells them apart.
    begun: u64,
}

struct Known {
    queue: Arc<DatagramQueue>,
    /// When it sent something last.
    last: Instant,
    /// When it was looked whose socket it is.
    looked: Instant,
    number: u64,
    task: AbortHandle,
}

impl Senders {
    /// Whether it was found out a moment ago whose socket this is.
    fn is_known(&self, from: SocketAddr, now: Instant) -> bool {
        self.known.get(&from).is_some_and(|known| now.saturating_duration_since(known.looked) < KNOWN_FOR)
    }

    fn looked(&mut self, from: SocketAddr, now: Instant) {
        if let Some(known) = self.known.get_mut(&from) {
            known.looked = now;
        }
    }

    fn heard<F>(
        &mut self,
        from: SocketAddr,
        now: Instant,
        payload: Vec<u8>,
        begin: impl FnOnce(Arc<DatagramQueue>) -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        if let Some(known) = self.known.get_mut(&from).filter(|known| !known.task.is_finished()) {
            known.last = now;
            // Without room it is lost, as on any network.
            known.queue.push(payload);
            return;
        }
        if self.known.len() >= SENDERS {
            self.make_room();
        }
        let queue = Arc::new(DatagramQueue::default());
        queue.push(payload);
        self.begun += 1;
        let (number, carried) = (self.begun, begin(queue.clone()));
        let task = self.tasks.spawn(async move {
            carried.await;
            (from, number)
        });
        self.known.insert(from, Known { queue, last: now, looked: now, number, task });
    }

    fn make_room(&mut self) {
        let silent = self.known.iter().min_by_key(|(_, known)| known.last).map(|(from, _)| *from);
        silent.into_iter().for_each(|from| self.end(from));
    }

    fn end(&mut self, from: SocketAddr) {
        if let Some(known) = self.known.remove(&from) {
            known.task.abort();
        }
    }

    fn forget(&mut self, (from, number): (SocketAddr, u64)) {
        if self.known.get(&from).is_some_and(|known| known.number == number) {
            self.known.remove(&from);
        }
    }
}

/// One sender, as a flow's local side.
struct Sender {
    socket: Arc<UdpSocket>,
    at: SocketAddr,
    queue: Arc<DatagramQueue>,
}

impl LocalSide for Sender {
    async fn recv(&self) -> io::Result<Vec<u8>> {
        Ok(self.queue.pop().await)
    }

    fn send(&self, payload: &[u8]) -> bool {
        self.socket.try_send_to(payload, self.at).is_ok()
    }
}

/// Flow after flow, as long as the sender has something to say.
async fn one<T: Tunnel>(local: Sender, service: String, tunnel: T) {
    while tokio::time::timeout(IDLE, local.queue.filled()).await.is_ok() {
        // Looked up each time: the owner may have taken it away or made another one of it.
        let carried = match names::find_udp(&tunnel.services(), &service) {
            Ok(name) => tunnel.carry_datagrams(name, &local).await,
            Err(error) => Err(error),
        };
        match carried {
            // The connection below is made anew meanwhile, and what the sender says then goes on it.
            Ok(()) | Err(ClientError::GatewayAway(GatewayAway::Lost)) => {}
            Err(error) => {
                tracing::warn!(service, %error, "a forwarded flow was not opened");
                tokio::time::sleep(REST).await;
                while local.queue.try_pop().is_some() {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{Behaviour, END, FakeTunnel};
    use crate::forward::Forwarder;

    const SOON: Duration = Duration::from_secs(5);

    async fn forwarded(tunnel: &FakeTunnel) -> SocketAddr {
        let forward = "0/udp=dns".parse().unwrap();
        let forwarder = Forwarder::bind(&forward, tunnel.clone(), Neighbours::refused()).await.unwrap();
        let at = forwarder.local_addr();
        tokio::spawn(forwarder.serve());
        at
    }

    async fn sender(to: SocketAddr) -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(to).await.unwrap();
        socket
    }

    async fn heard(socket: &UdpSocket) -> Vec<u8> {
        let mut buffer = vec![0; LONGEST];
        let length = tokio::time::timeout(SOON, socket.recv(&mut buffer)).await.expect("an echo").unwrap();
        buffer.truncate(length);
        buffer
    }

    #[tokio::test]
    async fn each_sender_has_a_flow_of_its_own() {
        let tunnel = FakeTunnel::new();
        let at = forwarded(&tunnel).await;
        let mut senders = Vec::new();
        for number in 0..20u8 {
            let socket = sender(at).await;
            socket.send(&[number; 600]).await.unwrap();
            senders.push(socket);
        }
        for (number, socket) in senders.iter().enumerate() {
            assert_eq!(heard(socket).await, [number as u8; 600]);
            socket.send(&[]).await.unwrap();
            assert_eq!(heard(socket).await, b"");
            socket.send(&vec![7; 65_507]).await.unwrap();
            assert_eq!(heard(socket).await.len(), 65_507);
        }
        assert_eq!(tunnel.opened(), 20);
    }

    #[tokio::test]
    async fn a_flow_that_has_ended_is_followed_by_another() {
        let tunnel = FakeTunnel::new();
        let socket = sender(forwarded(&tunnel).await).await;
        for flows in 1..4 {
            socket.send(b"word").await.unwrap();
            assert_eq!(heard(&socket).await, b"word");
            assert_eq!(tunnel.opened(), flows);
            socket.send(END).await.unwrap();
        }
        let lost = ClientError::GatewayAway(GatewayAway::Lost);
        tunnel.set("dns", Behaviour::Fails(lost));
        tokio::time::sleep(Duration::from_millis(50)).await;
        tunnel.set("dns", Behaviour::Echo);
        socket.send(b"again").await.unwrap();
        assert_eq!(heard(&socket).await, b"again");
    }

    #[tokio::test]
    async fn a_service_that_is_taken_away_is_silent_until_it_is_back() {
        let tunnel = FakeTunnel::new();
        let socket = sender(forwarded(&tunnel).await).await;
        tunnel.set("dns", Behaviour::Fails(ClientError::NoService { asked: "dns".to_owned() }));
        socket.send(b"lost").await.unwrap();
        let silence = tokio::time::timeout(Duration::from_millis(300), heard(&socket)).await;
        assert!(silence.is_err(), "{silence:?}");
        tunnel.set("dns", Behaviour::Echo);
        let deadline = Instant::now() + SOON;
        loop {
            socket.send(b"word").await.unwrap();
            if tokio::time::timeout(Duration::from_millis(200), heard(&socket)).await.is_ok() {
                return;
            }
            assert!(Instant::now() < deadline, "it is served again");
        }
    }

    #[tokio::test]
    async fn the_sender_that_was_silent_longest_makes_room() {
        let tunnel = FakeTunnel::new();
        let at = forwarded(&tunnel).await;
        let mut senders = Vec::new();
        for _ in 0..=SENDERS {
            let socket = sender(at).await;
            socket.send(b"word").await.unwrap();
            assert_eq!(heard(&socket).await, b"word");
            senders.push(socket);
        }
        assert_eq!(tunnel.opened(), SENDERS + 1);
        senders[SENDERS].send(b"word").await.unwrap();
        assert_eq!(heard(&senders[SENDERS]).await, b"word");
        assert_eq!(tunnel.opened(), SENDERS + 1, "the last one's flow is there");
        senders[0].send(b"word").await.unwrap();
        assert_eq!(heard(&senders[0]).await, b"word");
        assert_eq!(tunnel.opened(), SENDERS + 2, "the first one's was not");
    }
}
