//! TCP upstreams.

use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// A listener that hands out what connects.
pub(crate) struct Upstream {
    pub(crate) at: SocketAddr,
    accepted: mpsc::UnboundedReceiver<TcpStream>,
    task: JoinHandle<()>,
}

impl Upstream {
    pub(crate) async fn new() -> Self {
        let listener = TcpListener::bind(super::ANY).await.unwrap();
        let at = listener.local_addr().unwrap();
        let (sender, accepted) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if sender.send(stream).is_err() {
                    return;
                }
            }
        });
        Self { at, accepted, task }
    }

    /// The next connection.
    pub(crate) async fn accept(&mut self) -> TcpStream {
        tokio::time::timeout(super::SOON, self.accepted.recv()).await.expect("somebody connects").unwrap()
    }

    /// How many connections wait to be accepted.
    pub(crate) fn waiting(&self) -> usize {
        self.accepted.len()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An upstream that sends back what it gets, in front of which it puts its name.
pub(crate) async fn echo(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind(super::ANY).await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = vec![0; 65_536];
                stream.write_all(name.as_bytes()).await.unwrap();
                while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                    if stream.write_all(&buffer[..length]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    at
}

/// An upstream whose backlog is full: the kernel drops further SYNs.
pub(crate) struct Hanging {
    pub(crate) at: SocketAddr,
    _sockets: Vec<Socket>,
}

/// An upstream that neither accepts nor refuses.
pub(crate) fn hanging() -> Hanging {
    let socket = || Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let listening = socket();
    listening.bind(&super::ANY.into()).unwrap();
    listening.listen(0).unwrap();
    let at = listening.local_addr().unwrap().as_socket().unwrap();
    let mut sockets = vec![listening];
    for _ in 0..4 {
        let filling = socket();
        filling.set_nonblocking(true).unwrap();
        // In progress, which is what non-blocking sockets call an error.
        let _ = filling.connect(&at.into());
        sockets.push(filling);
    }
    Hanging { at, _sockets: sockets }
}
