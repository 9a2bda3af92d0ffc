//! L1-L4, R1 and T: what is said inside the pinned TLS channel between client and gateway.
//!
//! The client's first bidirectional stream is the **control stream**. On it: [`ClientHello`], then, by purpose, the login
//! (L1-L4), the resumption, or the enrolment ([`enrol`](crate::enrol)); then [`Notice`]s from the gateway until the end. Every
//! further bidirectional stream that the client opens carries one connection: [`Open`] → [`Opened`], then bytes; or stands for one
//! flow of datagrams ([`datagram`](crate::datagram)).

use crate::gateway_key::NewKey;
use crate::id::{ServiceName, SessionId};
use crate::key::{self, Secret};
use crate::login::KsfParams;
use crate::realm::Realm;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;
use zeroize::Zeroize as _;

/// The version of these messages that every side speaks, and that a login is bound to.
pub const SESSION_VERSION: u16 = 1;

/// The highest version that this code speaks. What a later version than [`SESSION_VERSION`] adds is said
/// to those alone who have named it in their [`ClientHello`].
pub const SESSION_NEWEST: u16 = 4;

/// The version that adds [`GatewayHello::EnrolledWaiting`].
pub const SESSION_WAITING: u16 = 2;

/// The version that adds [`Notice::Realm`] and [`Notice::GatewayKey`].
pub const SESSION_KEYS: u16 = 2;

/// The version that adds direct services: [`GatewayHello::WelcomeDirect`] and [`Notice::Direct`].
pub const SESSION_DIRECT: u16 = 3;

/// The version that adds UDP services: [`ServiceKind::Udp`] and [`Target::Udp`]. Who speaks none of it is not told of such services.
pub const SESSION_UDP: u16 = 4;

/// The first frame from the client on the control stream.
#[derive(Serialize, Deserialize)]
pub struct ClientHello {
    /// The lowest and the highest version that the client speaks.
    pub versions: (u16, u16),
    /// What the client wants; must be the purpose for which it knocked.
    pub purpose: Wanted,
}

/// What the client wants of this connection.
#[derive(Serialize, Deserialize)]
pub enum Wanted {
    /// L1: a new session.
    Login {
        /// The user name.
        user: String,
        /// OPAQUE KE1, 96 bytes.
        ke1: Vec<u8>,
    },
    /// R1: to go on with a session, under a new connection.
    Resume {
        /// Which session.
        session: SessionId,
        /// `HMAC(resume secret, "resume" ‖ exporter ‖ inner hash ‖ tid)`, 32 bytes.
        proof: [u8; 32],
    },
    /// E1: to enrol this device; the invitation's keys have opened the door.
    Enrol(Box<crate::enrol::EnrolStart>),
}

/// Frames from the gateway on the control stream until the session stands.
#[derive(Serialize, Deserialize)]
pub enum GatewayHello {
    /// L2: OPAQUE KE2, 320 bytes, and how the password is to be stretched.
    Challenge {
        /// OPAQUE KE2.
        ke2: Vec<u8>,
        /// Parameters of the key stretching function that the record was made with.
        ksf: KsfParams,
    },
    /// L4: the session stands.
    Welcome(Box<Welcome>),
    /// The answer to [`EnrolStart`](crate::enrol::EnrolStart).
    Enrol(Box<crate::enrol::EnrolResponse>),
    /// The enrolment's last word: the device is active.
    Enrolled(Box<crate::enrol::Enrolled>),
    /// No.
    Refused(Reason),
    /// Version 2: in the place of [`Enrolled`](Self::Enrolled) where the gateway's owner has to approve the device before it may
    /// knock.
    EnrolledWaiting(Box<crate::enrol::Enrolled>),
    /// Version 3: in the place of [`Welcome`](Self::Welcome) where the user may use direct services, which are named.
    WelcomeDirect(Box<Welcome>, Vec<ServiceName>),
}

/// L3, from the client.
#[derive(Serialize, Deserialize)]
pub struct LoginFinish {
    /// OPAQUE KE3, 64 bytes.
    pub ke3: Vec<u8>,
}

/// L4: what the client needs to know of its session.
#[derive(Serialize, Deserialize)]
pub struct Welcome {
    /// The session.
    pub session: SessionId,
    /// Proves the session at a resumption.
    #[serde(with = "key::exposed")]
    pub resume_secret: Secret<32>,
    /// How long the session may live from now.
    pub expires_in: Duration,
    /// How long it may stay without traffic.
    pub idle_limit: Duration,
    /// What this user may use.
    pub services: Vec<ServiceInfo>,
}

/// A service as the client sees it.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ServiceInfo {
    /// Its name, unique at the gateway.
    pub name: ServiceName,
    /// What it carries.
    pub kind: ServiceKind,
    /// Upstream `host:port` as the gateway names it, so that `pipe HOST:PORT` finds the service.
    pub upstream: String,
}

/// What a service carries.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[serde(rename_all = "lowercase")]
pub enum ServiceKind {
    /// Any TCP service.
    Tcp,
    /// A web application: a TCP service that also gets a `NAME.localhost` name at the client.
    Web,
    /// Version 4: any UDP service.
    Udp,
}

/// Frames from the gateway on the control stream while the session lives.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The services that this user may use have changed.
    Services(Vec<ServiceInfo>),
    /// The session ends now; the connection is closed behind this frame.
    Ended(Reason),
    /// The answer to [`ClientNotice::Renew`].
    Renewal(Result<RenewalLink, Reason>),
    /// Version 2: the realm key to knock under from now on. A device that has a later one keeps it.
    Realm(Realm),
    /// Version 2: the key to take this gateway by from now on, and no other.
    GatewayKey(NewKey),
    /// Version 3: these of the user's services are direct from now on, and no other one.
    Direct(Vec<ServiceName>),
}

/// An invitation's link, by which the device that asked for it replaces itself. It enrols one device, once, within minutes, and
/// the confirmation revokes the device that asked.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq)]
pub struct RenewalLink(String);

impl RenewalLink {
    /// The link, `vestibule:…`.
    #[must_use]
    pub fn new(link: String) -> Self {
        Self(link)
    }

    /// The link: a secret until it is used.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl Drop for RenewalLink {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Nothing of it: it is a secret.
impl fmt::Debug for RenewalLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RenewalLink")
    }
}

/// Frames from the client on the control stream while the session lives.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientNotice {
    /// Sign off: the session ends and can't be resumed.
    SignOff,
    /// This device wants new keys and perhaps a new password: an invitation for itself. Answered by [`Notice::Renewal`]; refused
    /// ([`Reason::NoSession`]) when the session's login is some minutes old.
    Renew,
}

/// The first frame of a tunnel stream, from the client.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// What to connect to.
    pub target: Target,
}

/// What a tunnel stream leads to.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A service by name.
    Service(ServiceName),
    /// A service by the `host:port` of its upstream; never an arbitrary address.
    Upstream(String),
    /// A direct service ([`Notice::Direct`]): the client is about to connect to it without the tunnel.
    Direct {
        /// Its name.
        service: ServiceName,
        /// The address and port that the client will connect from, as it sees them itself.
        from: SocketAddr,
    },
    /// Version 4: one flow of datagrams to a UDP service. The stream carries records, both ways, and the flow lasts as long as it does.
    Udp(ServiceName),
}

/// The largest [`Opened`] that is read, in bytes.
pub const OPENED_LIMIT: usize = 1_024;

/// The gateway's answer to [`Open`].
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// Connected; bytes follow, both ways; to [`Target::Udp`] datagrams.
    Connected,
    /// No; the stream ends.
    Refused(Reason),
    /// To [`Target::Direct`]: one TCP connection to this port, at the address that the session goes to, is let through if it comes
    /// within [`DIRECT_WITHIN`]. The stream stays open as long as the connection is to live; on it the client says
    /// [`DIRECT_CONNECTED`] once it is connected, and nothing else but [`DIRECT_USED`].
    Direct {
        /// The port.
        port: u16,
    },
}

/// How long a client may take to connect to a direct service that was opened for it.
pub const DIRECT_WITHIN: Duration = Duration::from_secs(8);

/// From the client, on the stream of a direct connection: it is connected. One byte.
pub const DIRECT_CONNECTED: u8 = 1;

/// From the client, on the stream of a direct connection: bytes have passed since the last such mark, so that the session is not
/// idle. One byte.
pub const DIRECT_USED: u8 = 0;

/// Why the gateway refuses or ends something: for the entitled person's eyes, inside the authenticated channel.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// No version in common.
    Version,
    /// A message was malformed or out of order.
    Malformed,
    /// The password is wrong (counted), or the user unknown.
    LoginFailed {
        /// Tries used of the device's limit.
        tries: u8,
        /// The device's limit.
        limit: u8,
    },
    /// Too many wrong passwords: wait.
    Wait {
        /// Seconds until the next try is evaluated.
        seconds: u32,
    },
    /// Suspended after too many wrong passwords, or by the owner.
    Suspended,
    /// The session is unknown, expired, or its proof is wrong: log in again.
    NoSession,
    /// The invitation was used already.
    InvitationUsed,
    /// The invitation has expired.
    InvitationExpired,
    /// There is no such service, or this user has no grant for it (told alike).
    NoService,
    /// The upstream refuses connections or can't be reached.
    UpstreamAway,
    /// The upstream does not answer in time.
    UpstreamHangs,
    /// Too many connections in this session, or the gateway is at its limit.
    Busy,
    /// The gateway's disk or door fails.
    GatewayFault,
    /// Signed off by the user.
    SignedOff,
    /// The session's time is over.
    Expired,
    /// The session was idle for too long.
    Idle,
    /// Revoked by the owner: session, device, user or service.
    Revoked,
    /// The gateway shuts down; resume when it is back.
    ShuttingDown,
}

impl Reason {
    /// The word for logs: stable, lower-case, without the numbers, e.g. `invitation-expired`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Version => "version",
            Self::Malformed => "malformed",
            Self::LoginFailed { .. } => "wrong-password",
            Self::Wait { .. } => "wait",
            Self::Suspended => "suspended",
            Self::NoSession => "no-session",
            Self::InvitationUsed => "invitation-used",
            Self::InvitationExpired => "invitation-expired",
            Self::NoService => "no-service",
            Self::UpstreamAway => "upstream-away",
            Self::UpstreamHangs => "upstream-hangs",
            Self::Busy => "busy",
            Self::GatewayFault => "fault",
            Self::SignedOff => "signed-off",
            Self::Expired => "expired",
            Self::Idle => "idle",
            Self::Revoked => "revoked",
            Self::ShuttingDown => "shutting-down",
        }
    }
}

/// QUIC application error codes, for `CONNECTION_CLOSE`, `RESET_STREAM` and `STOP_SENDING`.
pub mod code {
    /// Ended as intended.
    pub const DONE: u32 = 0;
    /// The TCP side of a tunnel stream was reset; the other end resets its own TCP side.
    pub const TCP_RESET: u32 = 1;
    /// The peer broke the rules of this protocol.
    pub const PROTOCOL: u32 = 2;
    /// The session was revoked, expired or signed off; a [`Notice`](super::Notice) told why.
    pub const ENDED: u32 = 3;
    /// The gateway or client shuts down; a session may be resumed.
    pub const SHUTDOWN: u32 = 4;
    /// Login, resumption or enrolment was refused.
    pub const REFUSED: u32 = 5;
    /// On the stream of a direct connection: the session has gone to another address, where that connection can't follow.
    pub const MOVED: u32 = 6;
}

/// The proof of a resumption: `HMAC-SHA-256(resume secret, "vestibule/1 resume" ‖ exporter ‖ inner hash ‖ tid)`.
pub fn resume_proof(
    resume_secret: &Secret<32>,
    exporter: &[u8; 32],
    inner_hash: &[u8; 32],
    ticket: &crate::id::TicketId,
) -> [u8; 32] {
    key::hmac(resume_secret.expose(), &[b"vestibule/1 resume", exporter, inner_hash, ticket.as_bytes()])
}
