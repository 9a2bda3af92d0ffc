//! The side of the other processes.

use super::place::{Place, is_welcome};
use super::{Answer, DeviceInfo, Request, Status, read, write};
use crate::error::ClientError;
use crate::home::CredentialFile;
use crate::pipe::Piped;
use crate::timings::OpenTimes;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use vestibule_proto::session::ServiceInfo;

/// How long a running `up` may take to answer; an upstream that hangs is told by then.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes that are copied at a time.
const BLOCK_LEN: usize = 64 * 1024;

/// An `up` that runs in another process.
#[derive(Clone, Debug)]
pub struct RunningUp {
    socket: PathBuf,
}

impl RunningUp {
    /// The one that runs with this credential.
    ///
    /// # Errors
    /// [`ClientError::NotRunning`].
    pub async fn find(file: &CredentialFile) -> Result<Self, ClientError> {
        let found = Self { socket: file.socket() };
        found.connect().await.map(|_| found)
    }

    /// How its session stands.
    ///
    /// # Errors
    /// [`ClientError::NotRunning`], [`ClientError::Unexpected`].
    pub async fn status(&self) -> Result<Status, ClientError> {
        let (_, answer) = self.ask(&Request::Status).await?;
        if let Answer::Status(status) = answer { Ok(*status) } else { Err(unfitting()) }
    }

    /// What the user may use.
    ///
    /// # Errors
    /// As [`RunningUp::status`].
    pub async fn services(&self) -> Result<Vec<ServiceInfo>, ClientError> {
        let (_, answer) = self.ask(&Request::Services).await?;
        if let Answer::Services(services) = answer { Ok(services) } else { Err(unfitting()) }
    }

    /// The device that it runs on.
    ///
    /// # Errors
    /// As [`RunningUp::status`].
    pub async fn device(&self) -> Result<DeviceInfo, ClientError> {
        let (_, answer) = self.ask(&Request::Device).await?;
        if let Answer::Device(device) = answer { Ok(device) } else { Err(unfitting()) }
    }

    /// Signs off; the `up` ends by itself then.
    ///
    /// # Errors
    /// As [`RunningUp::status`], and what kept it from telling the gateway.
    pub async fn sign_off(&self) -> Result<(), ClientError> {
        let (_, answer) = self.ask(&Request::SignOff).await?;
        if answer == Answer::SignedOff { Ok(()) } else { Err(unfitting()) }
    }

    /// [`pipe`](crate::pipe::pipe) through its session, without a password.
    ///
    /// # Errors
    /// As [`pipe`](crate::pipe::pipe), and [`ClientError::NotRunning`].
    pub async fn pipe<I, O>(&self, asked: &str, input: I, output: O) -> Result<Piped, ClientError>
    where
        I: AsyncRead + Send + Sync + Unpin,
        O: AsyncWrite + Send + Unpin,
    {
        let begun = Instant::now();
        let (stream, answer) = self.ask(&Request::Pipe { target: asked.to_owned() }).await?;
        if answer != Answer::Opened {
            return Err(unfitting());
        }
        let open = begun.elapsed();
        let (mut reader, mut writer) = stream.into_split();
        let mut first_byte = None;
        let outward = async {
            let sent = copy(input, &mut writer, || {}).await?;
            writer.shutdown().await?;
            Ok::<_, io::Error>(sent)
        };
        let inward = async {
            let mut output = output;
            let received = copy(&mut reader, &mut output, || first_byte = first_byte.or(Some(begun.elapsed()))).await?;
            output.shutdown().await?;
            Ok(received)
        };
        let (sent, received) =
            tokio::try_join!(outward, inward).map_err(|_| ClientError::Cut { service: asked.to_owned() })?;
        Ok(Piped { sent, received, times: OpenTimes { open, first_byte } })
    }

    async fn ask(&self, request: &Request) -> Result<(UnixStream, Answer), ClientError> {
        let mut stream = self.connect().await?;
        let answered = tokio::time::timeout(PATIENCE, async {
            write(&mut stream, request).await?;
            read(&mut stream).await
        });
        let answer =
            answered.await.map_err(|_| ClientError::unexpected("the running `vestibule up` does not answer"))??;
        if let Answer::Failed(error) = answer { Err(error) } else { Ok((stream, answer)) }
    }

    async fn connect(&self) -> Result<UnixStream, ClientError> {
        let attempt = async { UnixStream::connect(Place::of(&self.socket)?.path()).await };
        let stream = attempt.await.map_err(|error| {
            let nobody = matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused);
            if nobody { ClientError::NotRunning } else { ClientError::files(&self.socket, &error) }
        })?;
        match stream.peer_cred() {
            Ok(peer) if is_welcome(peer.uid()) => Ok(stream),
            Ok(_) | Err(_) => Err(ClientError::NotRunning),
        }
    }
}

async fn copy<R, W>(mut from: R, to: &mut W, mut each: impl FnMut()) -> io::Result<u64>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    use tokio::io::AsyncReadExt;
    let mut block = vec![0; BLOCK_LEN];
    let mut count = 0;
    loop {
        let length = from.read(&mut block).await?;
        if length == 0 {
            return Ok(count);
        }
        each();
        to.write_all(&block[..length]).await?;
        // Standard output may keep what it is given.
        to.flush().await?;
        count += length as u64;
    }
}

fn unfitting() -> ClientError {
    ClientError::unexpected("the running `vestibule up` answered something else")
}
