//! Applications made of bytes behind a whole guard.

use crate::world::{Browser, World, orders};
use std::future::Future;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use vestibule_guard::{Backend, GuardConfig};

/// Puts an application in place of the world's own that handles each connection as told.
pub(crate) async fn stand_in<F, A>(world: &World, handle: F)
where
    F: Fn(TcpStream) -> A + Send + 'static,
    A: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((io, _)) = listener.accept().await {
            tokio::spawn(handle(io));
        }
    });
    let settings = GuardConfig::default().meant(orders(), &Backend::Http(vec![format!("http://{address}")])).unwrap();
    world.guard.set_apps(vec![settings]).unwrap();
}

/// The same, which reads a request's head and then sends bytes and closes.
pub(crate) async fn answering(world: &World, answer: impl Into<Vec<u8>>) {
    let answer: &'static [u8] = Vec::leak(answer.into());
    stand_in(world, move |mut io| async move {
        head(&mut io).await;
        let _ = io.write_all(answer).await;
    })
    .await;
}

/// A connection of this browser's to the guard, on which these bytes were sent.
pub(crate) async fn connection(world: &World, browser: &Browser, sent: &str) -> DuplexStream {
    let (mut client, server) = tokio::io::duplex(64 << 10);
    let (guard, peer) = (world.guard.clone(), browser.peer.clone());
    tokio::spawn(async move { guard.serve(server, peer).await });
    client.write_all(sent.as_bytes()).await.unwrap();
    client
}

/// Reads a request's head.
pub(crate) async fn head(io: &mut TcpStream) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        let Ok(byte) = io.read_u8().await else { break };
        text.push(byte);
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// What this process holds, in bytes.
pub(crate) fn resident() -> usize {
    let about = std::fs::read_to_string("/proc/self/statm").unwrap();
    about.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
