//! The socket of a running `up`: what other processes of the same user may ask of it, and pipes through its session.
//!
//! A Unix socket (0600, in the client's directory, the peer's user checked). One request per connection: a
//! [frame](mod@vestibule_proto::frame) each way; after `Opened` the connection carries the service's bytes.

mod caller;
mod host;
mod place;

pub use caller::RunningUp;
pub use host::{Agent, Apparatus};

use crate::direct::DirectStatus;
use crate::error::ClientError;
use crate::timings::Timings;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use vestibule_proto::frame;
use vestibule_proto::id::{DeviceId, SessionId, Stamp};
use vestibule_proto::session::ServiceInfo;

/// The version of these messages; both ends are mostly the same binary.
const AGENT_VERSION: u16 = 3;

/// What another process asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Request {
    Status,
    Services,
    Device,
    SignOff,
    Pipe { target: String },
}

/// What it is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Answer {
    Status(Box<Status>),
    Services(Vec<ServiceInfo>),
    Device(DeviceInfo),
    SignedOff,
    Opened,
    Failed(ClientError),
}

/// How a session stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The process that holds the session.
    pub process: u32,
    /// The user.
    pub user: String,
    /// The gateway's name.
    pub gateway: String,
    /// The session.
    pub session: SessionId,
    /// What it is doing.
    pub state: SessionState,
    /// The gateway's address, while connected.
    pub address: Option<SocketAddr>,
    /// How long the session may still live.
    pub expires_in: Duration,
    /// How long it may stay without traffic.
    pub idle_limit: Duration,
    /// How long ago it began.
    pub up_for: Duration,
    /// How often it was taken up again over a new connection.
    pub resumptions: u32,
    /// How often its connection went on from another address of this machine.
    pub moves: u32,
    /// Open connections to services.
    pub streams: usize,
    /// Bytes sent to the gateway since the session began, UDP payloads.
    pub sent: u64,
    /// Bytes received from it.
    pub received: u64,
    /// Which way the connection takes, `quic` or `tcp`, while connected.
    #[serde(default)]
    pub transport: Option<String>,
    /// The round trip to the gateway, while connected.
    pub round_trip: Option<Duration>,
    /// How long the latest connect took.
    pub timings: Timings,
    /// What listens on this machine.
    pub listening: Vec<Listening>,
    /// Local connections of other users that were closed.
    pub turned_away: u64,
    /// Whether the credential was sealed at a lower stretching cost than is the default today, and should be renewed.
    pub needs_raise: bool,
    /// How direct services are reached.
    pub direct: DirectStatus,
}

/// What a session is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionState {
    /// Carrying traffic.
    Connected,
    /// The connection broke; it is being taken up again.
    Reconnecting,
    /// It is over.
    Over,
}

/// A local listener of `up`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listening {
    /// What it is: `socks`, `http`, or the service that it forwards to.
    pub what: String,
    /// Where.
    pub address: SocketAddr,
}

/// A device as its own credential describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceInfo {
    /// The user.
    pub user: String,
    /// The gateway's name.
    pub gateway: String,
    /// The device at the gateway.
    pub device: DeviceId,
    /// How the person calls it.
    pub device_name: String,
    /// When it was enrolled, by its own clock.
    pub enrolled: Stamp,
    /// Addresses of the controller.
    pub controllers: Vec<String>,
}

impl DeviceInfo {
    /// From layer 1 of a credential.
    #[must_use]
    pub fn of(sealed: &vestibule_local_credential::Sealed) -> Self {
        Self {
            user: sealed.user.to_string(),
            gateway: sealed.gateway_name.clone(),
            device: sealed.device,
            device_name: sealed.device_name.clone(),
            enrolled: sealed.enrolled,
            controllers: sealed.controllers.clone(),
        }
    }
}

async fn write<T: Serialize>(to: &mut (impl AsyncWrite + Unpin), message: &T) -> Result<(), ClientError> {
    let framed = frame::encode(&(AGENT_VERSION, message)).map_err(ClientError::unexpected)?;
    to.write_all(&framed).await.map_err(ClientError::unexpected)
}

async fn read<T: DeserializeOwned>(from: &mut (impl AsyncRead + Unpin)) -> Result<T, ClientError> {
    let mut head = [0; frame::LENGTH_LEN];
    from.read_exact(&mut head).await.map_err(ClientError::unexpected)?;
    let length = frame::document_length(head).map_err(ClientError::unexpected)?;
    let mut document = vec![0; length];
    from.read_exact(&mut document).await.map_err(ClientError::unexpected)?;
    let (version, message) = frame::decode::<(u16, T)>(&document)
        .map_err(|_| ClientError::unexpected("the running `vestibule up` is of another version: restart it"))?;
    if version == AGENT_VERSION {
        Ok(message)
    } else {
        Err(ClientError::unexpected("the running `vestibule up` is of another version: restart it"))
    }
}

#[cfg(test)]
mod tests;
