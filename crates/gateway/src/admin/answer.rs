//! What is answered. Times are milliseconds since the Unix epoch, spans are seconds; no answer but [`Invited`] holds a
//! secret.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use vestibule_dark::Way;
use vestibule_policy::Grant;
use vestibule_proto::id::{DeviceId, GatewayId, LoginDigest, ServiceName, SessionId, Stamp, UserName};
use vestibule_proto::session::ServiceKind;

use super::AdminError;
use crate::directory::{AuditEntry, DeviceState, EndReason, Source};

/// One line on the socket: the answer, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// It was done.
    Answer(Box<Answer>),
    /// It was not done.
    Refused(AdminError),
}

impl Reply {
    /// The answer, or why there is none.
    pub fn into_result(self) -> Result<Answer, AdminError> {
        match self {
            Self::Answer(answer) => Ok(*answer),
            Self::Refused(error) => Err(error),
        }
    }
}

impl From<Result<Answer, AdminError>> for Reply {
    fn from(result: Result<Answer, AdminError>) -> Self {
        match result {
            Ok(answer) => Self::Answer(Box::new(answer)),
            Err(error) => Self::Refused(error),
        }
    }
}

/// The answer to a [`Request`](super::Request) that was carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// Users, by name.
    Users(Vec<UserView>),
    /// A user, in detail.
    User(Box<UserDetail>),
    /// Devices, by user and age.
    Devices(Vec<DeviceView>),
    /// A device.
    Device(Box<DeviceView>),
    /// An invitation just issued.
    Invited(Invited),
    /// Invitations, newest first.
    Invitations(Vec<InvitationView>),
    /// An invitation.
    Invitation(InvitationView),
    /// Services, by name.
    Services(Vec<ServiceView>),
    /// A service.
    Service(ServiceView),
    /// Sessions, oldest first.
    Sessions(Vec<SessionView>),
    /// A session.
    Session(Box<SessionView>),
    /// Entries of the audit log, oldest first.
    Audit(Vec<AuditEntry>),
    /// How much there is of everything, and how the role is.
    Status(Box<Status>),
    /// The gateway's TLS key.
    Key(KeyView),
    /// It was done; the text names what, e.g. `the user alice is removed`.
    Done(String),
}

/// How it stands with the gateway's TLS key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyView {
    /// The name of the present one, 16 hexadecimal digits.
    pub key: String,
    /// Until when the one before it counts, if it does.
    pub former_until: Option<Stamp>,
    /// Whether the controller has taken the present one.
    pub controller_has_it: bool,
}

/// A user, as lists show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserView {
    /// The name.
    pub name: UserName,
    /// The groups.
    pub groups: Vec<String>,
    /// Whether the user is suspended.
    pub suspended: bool,
    /// When the user was added.
    pub created: Stamp,
    /// Enrolled devices that are not revoked.
    pub devices: usize,
    /// Sessions that have not ended.
    pub sessions: usize,
}

/// A user with everything that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserDetail {
    /// The user.
    pub user: UserView,
    /// All devices.
    pub devices: Vec<DeviceView>,
    /// Sessions that have not ended.
    pub sessions: Vec<SessionView>,
    /// Invitations that are remembered.
    pub invitations: Vec<InvitationView>,
    /// What the user may use.
    pub services: Vec<ServiceName>,
}

/// A device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceView {
    /// Its id.
    pub id: DeviceId,
    /// Whose it is.
    pub user: UserName,
    /// How its user calls it.
    pub name: String,
    /// Whether it may be used.
    pub state: DeviceState,
    /// Wrong passwords since its last login.
    pub tries: u8,
    /// With how many it is suspended.
    pub limit: u8,
    /// When the latest wrong password came.
    pub last_try: Option<Stamp>,
    /// When it was enrolled.
    pub created: Stamp,
    /// When its latest session began or was resumed.
    pub last_seen: Option<Stamp>,
    /// Its login digest, by which the controller knows it.
    pub digest: LoginDigest,
    /// While it waits for approval: six words to compare with those that its screen shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words: Option<String>,
    /// Why it can't be used although nobody here forbids it, and what to do. The running role fills it in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// An invitation just issued. What is shown for debugging leaves the link out.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invited {
    /// Its id.
    pub id: DeviceId,
    /// Who is invited.
    pub user: UserName,
    /// From when on it is refused.
    pub expires: Stamp,
    /// The link: a secret until it is used, told only here.
    pub link: String,
    /// Why it can't be used yet, and what to do. The running role fills it in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

impl fmt::Debug for Invited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, user, expires, link: _, trouble } = self;
        let mut shown = f.debug_struct("Invited");
        shown.field("id", id).field("user", user).field("expires", expires).field("trouble", trouble);
        shown.finish_non_exhaustive()
    }
}

/// An invitation, without its secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvitationView {
    /// Its id.
    pub id: DeviceId,
    /// Who is invited.
    pub user: UserName,
    /// What became of it.
    pub state: InvitationViewState,
    /// When it was issued.
    pub created: Stamp,
    /// From when on it is refused.
    pub expires: Stamp,
    /// When it was used.
    pub used: Option<Stamp>,
    /// The device that was enrolled by it.
    pub used_by: Option<DeviceId>,
    /// How often somebody came with an altered link.
    pub altered: u8,
    /// Why it can't be used although it is open, and what to do. The running role fills it in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// What became of an invitation, the clock considered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InvitationViewState {
    /// It may be used.
    Open,
    /// A device was enrolled by it.
    Used,
    /// Its time is over.
    Expired,
    /// It was withdrawn.
    Revoked,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceView {
    /// Its name.
    pub name: ServiceName,
    /// What it carries.
    pub kind: ServiceKind,
    /// `host:port`, as seen from the gateway.
    pub upstream: String,
    /// Who may use it.
    pub allow: Vec<Grant>,
    /// Where it is defined.
    pub source: Source,
    /// The users who may use it now. In lists: nobody is named.
    pub users: Vec<UserName>,
    /// The TCP port of the gateway's machine at which it is reached without the tunnel.
    #[serde(default)]
    pub direct: Option<u16>,
}

/// A session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionView {
    /// Its id.
    pub id: SessionId,
    /// Whose it is.
    pub user: UserName,
    /// On which device.
    pub device: DeviceId,
    /// How the user calls that device; `None` if it is gone.
    pub device_name: Option<String>,
    /// From where the client came last.
    pub address: SocketAddr,
    /// When it began.
    pub created: Stamp,
    /// When it ends at the latest.
    pub expires: Stamp,
    /// How long it may stay unused, in seconds.
    pub idle_limit: u64,
    /// When it was used last, to the minute.
    pub last_use: Stamp,
    /// When it ended.
    pub ended: Option<Stamp>,
    /// Why it ended.
    pub reason: Option<EndReason>,
    /// What the running role adds.
    pub live: Option<LiveSession>,
}

/// A session as the running role sees it. Left empty by [`execute`](super::execute()); the runtime fills it in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveSession {
    /// The client's address now; `None` while it is not connected.
    pub remote: Option<SocketAddr>,
    /// Over what it is connected now.
    pub way: Option<Way>,
    /// For how many seconds it has not been used.
    pub idle: u64,
    /// Open connections per service.
    pub flows: Vec<(ServiceName, usize)>,
}

/// How much there is of everything, and how the role is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The gateway's id.
    pub gateway: GatewayId,
    /// Its name.
    pub name: String,
    /// Users.
    pub users: usize,
    /// Devices that are not revoked.
    pub devices: usize,
    /// Invitations that may be used.
    pub invitations: usize,
    /// Services.
    pub services: usize,
    /// Sessions that have not ended.
    pub sessions: usize,
    /// What the running role adds; `None`: it isn't running.
    pub running: Option<Running>,
}

/// The running role. Left empty by [`execute`](super::execute()); the runtime fills it in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// For how many seconds it has been running.
    pub uptime: u64,
    /// The UDP addresses listened on.
    pub listen: Vec<SocketAddr>,
    /// The link to the controller; `None` if this gateway has none yet.
    pub link: Option<LinkView>,
    /// Sessions with a connection.
    pub connected: usize,
    /// Open connections in them.
    pub flows: usize,
    /// Counters by name.
    pub counters: Vec<(String, u64)>,
}

/// The link to the controller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkView {
    /// The controller's address as configured or as reached.
    pub controller: String,
    /// Whether the link stands.
    pub up: bool,
    /// For how many seconds it has stood, or has been down.
    pub since: u64,
    /// Its round trip in microseconds, when up.
    pub rtt_us: Option<u64>,
    /// Why it is down, when it is; when it is up, which rows the controller does not hold, and what to do.
    pub trouble: Option<String>,
}
