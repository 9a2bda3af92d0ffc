//! A host on the path: everything between clients and one server passes through it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use crate::common::ANY;

/// A datagram that passed, or is held back.
#[derive(Clone)]
pub(super) struct Seen {
    pub(super) to_server: bool,
    pub(super) bytes: Vec<u8>,
}

#[derive(Default)]
struct State {
    server: Option<SocketAddr>,
    /// The socket that stands for each client at the server.
    clients: HashMap<SocketAddr, Arc<UdpSocket>>,
    seen: Vec<Seen>,
    /// What clients sent while it was held back.
    held: Option<Vec<(Arc<UdpSocket>, Vec<u8>)>>,
    tasks: Vec<JoinHandle<()>>,
}

/// The host. Clients reach it at `at`.
pub(super) struct Path {
    pub(super) at: SocketAddr,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

impl Path {
    pub(super) async fn new() -> Self {
        let inside = Arc::new(UdpSocket::bind(ANY).await.unwrap());
        let (at, state) = (inside.local_addr().unwrap(), Arc::<Mutex<State>>::default());
        let task = tokio::spawn(inward(inside, state.clone()));
        Self { at, state, task }
    }

    /// Where it leads.
    pub(super) fn lead_to(&self, server: SocketAddr) {
        self.state.lock().unwrap().server = Some(server);
    }

    /// Everything that passed, in order.
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.state.lock().unwrap().seen.clone()
    }

    /// What clients sent.
    pub(super) fn sent(&self) -> Vec<Vec<u8>> {
        self.seen().into_iter().filter(|seen| seen.to_server).map(|seen| seen.bytes).collect()
    }

    /// From now on nothing passes towards the server.
    pub(super) fn hold(&self) {
        self.state.lock().unwrap().held = Some(Vec::new());
    }

    /// What is held back.
    pub(super) fn held(&self) -> Vec<Vec<u8>> {
        let state = self.state.lock().unwrap();
        state.held.iter().flatten().map(|(_, bytes)| bytes.clone()).collect()
    }

    /// Lets it pass, and all that follows.
    pub(super) async fn release(&self) {
        let (held, server) = {
            let mut state = self.state.lock().unwrap();
            (state.held.take().unwrap(), state.server.unwrap())
        };
        for (socket, bytes) in held {
            socket.send_to(&bytes, server).await.unwrap();
        }
    }

    /// Sends to the server from where the last client's datagrams come from.
    pub(super) async fn inject(&self, bytes: &[u8]) {
        let (socket, server) = {
            let state = self.state.lock().unwrap();
            (state.clients.values().next().unwrap().clone(), state.server.unwrap())
        };
        socket.send_to(bytes, server).await.unwrap();
    }
}

impl Drop for Path {
    fn drop(&mut self) {
        self.task.abort();
        self.state.lock().unwrap().tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn inward(inside: Arc<UdpSocket>, state: Arc<Mutex<State>>) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok((length, from)) = inside.recv_from(&mut buffer).await {
        let bytes = buffer[..length].to_vec();
        let known = state.lock().unwrap().clients.get(&from).cloned();
        let outside = match known {
            Some(socket) => socket,
            None => {
                let socket = Arc::new(UdpSocket::bind(ANY).await.unwrap());
                let task = tokio::spawn(outward(inside.clone(), socket.clone(), from, state.clone()));
                let mut state = state.lock().unwrap();
                state.tasks.push(task);
                state.clients.insert(from, socket.clone());
                socket
            }
        };
        let server = {
            let mut state = state.lock().unwrap();
            state.seen.push(Seen { to_server: true, bytes: bytes.clone() });
            match &mut state.held {
                Some(held) => {
                    held.push((outside.clone(), bytes.clone()));
                    None
                }
                None => state.server,
            }
        };
        if let Some(server) = server {
            let _ = outside.send_to(&bytes, server).await;
        }
    }
}

async fn outward(inside: Arc<UdpSocket>, outside: Arc<UdpSocket>, client: SocketAddr, state: Arc<Mutex<State>>) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length) = outside.recv(&mut buffer).await {
        let bytes = buffer[..length].to_vec();
        state.lock().unwrap().seen.push(Seen { to_server: false, bytes: bytes.clone() });
        let _ = inside.send_to(&bytes, client).await;
    }
}
