//! `pipe`: standard input and output ↔ one connection, as `ProxyCommand` of OpenSSH expects it.

use crate::error::ClientError;
use crate::names;
use crate::timings::OpenTimes;
use crate::tunnel::Tunnel;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use vestibule_proto::session::Target;

/// What went through a pipe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Piped {
    /// Bytes from the input to the service.
    pub sent: u64,
    /// Bytes from the service to the output.
    pub received: u64,
    /// How long it took to open, and until the service spoke.
    pub times: OpenTimes,
}

/// Opens `asked` (a service's name, or the `host:port` of its upstream) and copies both ways until both directions have
/// ended. The end of `input` is passed on while the service may still speak, and the other way round: `output` is shut down
/// (closed, for the process's own) as soon as the service has ended.
///
/// # Errors
/// As [`Tunnel::open`], and [`ClientError::Cut`] if the connection broke before both directions had ended.
pub async fn pipe<T, I, O>(tunnel: &T, asked: &str, input: I, output: O) -> Result<Piped, ClientError>
where
    T: Tunnel,
    I: AsyncRead + Send + Sync + Unpin,
    O: AsyncWrite + Send + Unpin,
{
    let target = names::find(&tunnel.services(), asked)?;
    let service = match &target {
        Target::Service(name) | Target::Direct { service: name, .. } | Target::Udp(name) => name.to_string(),
        Target::Upstream(upstream) => upstream.clone(),
    };
    let begun = Instant::now();
    let stream = tunnel.open(target).await?;
    let open = begun.elapsed();
    let mut output = Clocked { writer: output, begun, first: None };
    let carried = tunnel.carry_io(stream, input, &mut output).await;
    let (sent, received) = carried.map_err(|_| ClientError::Cut { service })?;
    Ok(Piped { sent, received, times: OpenTimes { open, first_byte: output.first } })
}

/// Notes when the first byte came.
struct Clocked<W> {
    writer: W,
    begun: Instant,
    first: Option<Duration>,
}

impl<W> Clocked<W> {
    fn note(&mut self) {
        if self.first.is_none() {
            self.first = Some(self.begun.elapsed());
        }
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Clocked<W> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.note();
        Pin::new(&mut self.writer).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.note();
        Pin::new(&mut self.writer).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.writer.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{Behaviour, FakeTunnel};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn bytes_and_ends_pass_both_ways() {
        let (mut keyboard, input) = tokio::io::duplex(64);
        let (output, mut screen) = tokio::io::duplex(64);
        let piping = tokio::spawn(async move { pipe(&FakeTunnel::new(), "echo:7", input, output).await });
        keyboard.write_all(b"hello").await.unwrap();
        let mut seen = [0; 5];
        screen.read_exact(&mut seen).await.unwrap();
        assert_eq!(&seen, b"hello");
        keyboard.write_all(b", world").await.unwrap();
        keyboard.shutdown().await.unwrap();
        let mut rest = Vec::new();
        screen.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b", world", "the output ends when the service has ended");
        let piped = piping.await.unwrap().unwrap();
        assert_eq!((piped.sent, piped.received), (12, 12));
        assert!(piped.times.first_byte.unwrap() >= piped.times.open);
    }

    #[tokio::test]
    async fn the_service_may_end_first() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tunnel = FakeTunnel::new();
        tunnel.set("db", Behaviour::Real(listener.local_addr().unwrap()));
        let (mut keyboard, input) = tokio::io::duplex(64);
        let (output, mut screen) = tokio::io::duplex(64);
        let piping = tokio::spawn(async move { pipe(&tunnel, "db", input, output).await });
        let (mut service, _) = listener.accept().await.unwrap();
        service.write_all(b"bye").await.unwrap();
        service.shutdown().await.unwrap();
        let mut seen = Vec::new();
        screen.read_to_end(&mut seen).await.unwrap();
        assert_eq!(seen, b"bye");
        keyboard.write_all(b"still here").await.unwrap();
        keyboard.shutdown().await.unwrap();
        let mut heard = Vec::new();
        service.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"still here");
        assert_eq!(piping.await.unwrap().map(|piped| piped.sent), Ok(10));
    }

    #[tokio::test]
    async fn what_can_not_be_opened_is_told() {
        let tunnel = FakeTunnel::new();
        let error = ClientError::UpstreamHangs { service: "db".to_owned() };
        tunnel.set("db", Behaviour::Fails(error.clone()));
        assert_eq!(pipe(&tunnel, "db", tokio::io::empty(), tokio::io::sink()).await, Err(error));
        let refused = pipe(&tunnel, "example.org:22", tokio::io::empty(), tokio::io::sink()).await;
        assert_eq!(refused.unwrap_err().exit_code(), 30);
    }

    #[tokio::test]
    async fn an_output_that_nobody_reads_ends_the_pipe() {
        let (output, screen) = tokio::io::duplex(64);
        drop(screen);
        let (mut keyboard, input) = tokio::io::duplex(64);
        keyboard.write_all(b"x").await.unwrap();
        let piped = pipe(&FakeTunnel::new(), "echo", input, output).await;
        assert_eq!(piped, Err(ClientError::Cut { service: "echo".to_owned() }));
    }
}
