//! The gateway's listener for TCP, which exists only while somebody is awaited.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use quinn::ServerConfig;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use vestibule_door::Door;

use super::sieve;
use crate::contact::FirstContact;
use crate::counters::CountersSnapshot;
use crate::gate::Gate;
use crate::guarded::Guarded;

/// Connections that have not come to a first contact yet, at a time; each for three seconds at most.
const HALF_OPEN: usize = 64;

/// How many of them one address may have: a neighbour of somebody who is awaited must not shut out everybody else.
const OF_ONE_ADDRESS: usize = 8;

/// First contacts that wait for the role.
const WAITING: usize = 16;

/// How often it is looked whether somebody is awaited still: an admission may be withdrawn.
const LOOK: Duration = Duration::from_millis(500);

/// Connections that the kernel completes before they are accepted.
const BACKLOG: i32 = 16;

/// After this long a port that could not be had is asked for once more.
const AGAIN: Duration = Duration::from_millis(250);

/// All connections of an endpoint over TCP. Dropped, it awaits nobody any more; connections that stand go on.
#[derive(Debug)]
pub(crate) struct Streams {
    shared: Arc<Shared>,
    contacts: Mutex<mpsc::Receiver<FirstContact>>,
    _awaiting: DropGuard,
}

/// What the listener and those who come share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) socket: Arc<Guarded<Gate>>,
    pub(super) before_accept: ServerConfig,
    pub(super) half_open: Arc<Semaphore>,
    by_address: std::sync::Mutex<HashMap<IpAddr, usize>>,
    pub(super) contacts: mpsc::Sender<FirstContact>,
    /// Connections end.
    pub(super) closing: CancellationToken,
    pub(super) tasks: TaskTracker,
}

impl Streams {
    /// Listens at `address` from now on whenever the door awaits somebody there; `awaited` tells of each datagram (D0) that opened it.
    pub(crate) fn start(
        address: SocketAddr,
        socket: Arc<Guarded<Gate>>,
        before_accept: ServerConfig,
        awaited: Arc<Notify>,
    ) -> Self {
        let (contacts, waiting) = mpsc::channel(WAITING);
        let shared = Arc::new(Shared {
            socket,
            before_accept,
            half_open: Arc::new(Semaphore::new(HALF_OPEN)),
            by_address: std::sync::Mutex::default(),
            contacts,
            closing: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        let awaiting = shared.closing.child_token();
        let listening = Listening { shared: shared.clone(), address, awaited };
        let ends = awaiting.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = ends.cancelled() => {}
                () = listening.keep() => {}
            }
        });
        Self { shared, contacts: Mutex::new(waiting), _awaiting: awaiting.drop_guard() }
    }

    /// The next client that comes in. Cancel-safe; never returns once closed.
    pub(crate) async fn accept(&self) -> FirstContact {
        match self.contacts.lock().await.recv().await {
            Some(contact) => contact,
            None => std::future::pending().await,
        }
    }

    /// Lets nobody in any more, and waits until all connections have said good-bye.
    pub(crate) async fn close(&self) {
        self.shared.closing.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

impl Shared {
    pub(super) fn door(&self) -> &dyn Door {
        &*self.socket.guard.door
    }

    pub(super) fn count(&self, counted: CountersSnapshot) {
        self.socket.counters.add(&counted);
    }

    /// A place for a connection from this address until it has come to a first contact; `None`: there is none.
    pub(super) fn place(self: &Arc<Self>, address: IpAddr) -> Option<HalfOpen> {
        let permit = self.half_open.clone().try_acquire_owned().ok()?;
        let mut by_address = self.by_address();
        let count = by_address.entry(address).or_default();
        if *count == OF_ONE_ADDRESS {
            return None;
        }
        *count += 1;
        Some(HalfOpen { shared: self.clone(), address, _permit: permit })
    }

    fn by_address(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.by_address.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among the connections that have not come to a first contact; given back when dropped.
pub(super) struct HalfOpen {
    shared: Arc<Shared>,
    address: IpAddr,
    _permit: OwnedSemaphorePermit,
}

impl Drop for HalfOpen {
    fn drop(&mut self) {
        let mut by_address = self.shared.by_address();
        if let Some(count) = by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&self.address);
            }
        }
    }
}

struct Listening {
    shared: Arc<Shared>,
    address: SocketAddr,
    awaited: Arc<Notify>,
}

impl Listening {
    async fn keep(self) {
        loop {
            self.awaited.notified().await;
            self.listen().await;
        }
    }

    /// Until nobody is awaited any more.
    async fn listen(&self) {
        let mut is_told = false;
        while let Some(until) = self.shared.door().tcp().awaits(Instant::now()) {
            match open(self.address, &self.addresses()) {
                Ok(listener) => self.serve(&listener).await,
                Err(error) => {
                    if !std::mem::replace(&mut is_told, true) {
                        tracing::warn!(address = %self.address, %error, "no TCP for those who come by a network that drops QUIC");
                    }
                    tokio::time::sleep_until(until.min(Instant::now() + AGAIN).into()).await;
                }
            }
        }
    }

    async fn serve(&self, listener: &TcpListener) {
        let mut sifted = self.addresses();
        while let Some(until) = self.shared.door().tcp().awaits(Instant::now()) {
            let addresses = self.addresses();
            // What the kernel does not take now it is asked for again.
            if addresses != sifted && sieve::attach(&socket2::SockRef::from(listener), &addresses).is_ok() {
                sifted = addresses;
            }
            tokio::select! {
                () = self.awaited.notified() => {}
                () = tokio::time::sleep_until(until.min(Instant::now() + LOOK).into()) => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        self.shared.count(CountersSnapshot { tcp_accepted: 1, ..Default::default() });
                        self.shared.clone().take(stream, peer);
                    }
                    // No file descriptors, for a while.
                    Err(_) => tokio::time::sleep(AGAIN).await,
                },
            }
        }
    }

    fn addresses(&self) -> BTreeSet<IpAddr> {
        self.shared.door().tcp().addresses(Instant::now())
    }
}

fn open(address: SocketAddr, awaited: &BTreeSet<IpAddr>) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // Connections of an earlier listener stand in no way.
    socket.set_reuse_address(true)?;
    // Without it the port would answer everybody.
    sieve::attach(&socket, awaited)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}
