//! What may be asked.

use serde::{Deserialize, Serialize};
use vestibule_proto::session::ServiceKind;

use crate::directory::AuditQuery;

/// A request of the owner: one JSON document on one line, e.g. `{"user":{"show":{"name":"alice"}}}`.
///
/// Users and services go by their names. Devices, invitations and sessions go by their ids, or by the beginning of one
/// (4 digits or more) if it fits one alone; a device also by its name, or by `USER/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// About users.
    User(UserRequest),
    /// About devices.
    Device(DeviceRequest),
    /// About invitations.
    Invite(InviteRequest),
    /// About services.
    Service(ServiceRequest),
    /// About sessions.
    Session(SessionRequest),
    /// About the gateway's TLS key. Answered by [`Key`](super::Answer::Key).
    Key(KeyRequest),
    /// The newest entries of the audit log that match. Answered by [`Audit`](super::Answer::Audit).
    Audit(AuditQuery),
    /// How much there is of everything, and how the role is. Answered by [`Status`](super::Answer::Status).
    Status,
}

impl Request {
    /// Whether it may change the directory; the others only ask, or are about keys.
    pub(crate) fn is_change(&self) -> bool {
        match self {
            Self::User(UserRequest::List | UserRequest::Show { .. })
            | Self::Device(DeviceRequest::List { .. } | DeviceRequest::Show { .. })
            | Self::Invite(InviteRequest::List | InviteRequest::Show { .. })
            | Self::Service(ServiceRequest::List | ServiceRequest::Show { .. })
            | Self::Session(SessionRequest::List { .. } | SessionRequest::Show { .. })
            | Self::Audit(_)
            | Self::Key(_)
            | Self::Status => false,
            Self::User(_) | Self::Device(_) | Self::Invite(_) | Self::Service(_) | Self::Session(_) => true,
        }
    }
}

/// About the gateway's TLS key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum KeyRequest {
    /// Make a new one.
    Rotate {
        /// For how many seconds the present one counts beside it; 0: from now on the new one alone counts, also while a
        /// rotation is under way.
        keep_for: u64,
    },
    /// The key before the present one counts no more.
    Finish,
}

impl KeyRequest {
    /// The word for the audit log.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Rotate { keep_for: 0 } => "replaced at once",
            Self::Rotate { .. } => "rotated",
            Self::Finish => "the former one ended",
        }
    }
}

/// About users.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum UserRequest {
    /// Add a user. Answered by [`User`](super::Answer::User).
    Add {
        /// The name.
        name: String,
        /// The groups; they exist by being named.
        groups: Vec<String>,
    },
    /// Replace a user's groups. Answered by [`User`](super::Answer::User).
    Groups {
        /// The name.
        name: String,
        /// The new groups.
        groups: Vec<String>,
    },
    /// List users. Answered by [`Users`](super::Answer::Users).
    List,
    /// Show a user with all that belongs to it. Answered by [`User`](super::Answer::User).
    Show {
        /// The name.
        name: String,
    },
    /// Remove a user with all devices. Answered by [`Done`](super::Answer::Done).
    Remove {
        /// The name.
        name: String,
    },
    /// Suspend a user. Answered by [`Done`](super::Answer::Done).
    Suspend {
        /// The name.
        name: String,
    },
    /// Lift a suspension. Answered by [`Done`](super::Answer::Done).
    Resume {
        /// The name.
        name: String,
    },
}

/// About devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum DeviceRequest {
    /// List devices. Answered by [`Devices`](super::Answer::Devices).
    List {
        /// Only this user's.
        user: Option<String>,
    },
    /// Show a device. Answered by [`Device`](super::Answer::Device).
    Show {
        /// Which one.
        device: String,
    },
    /// Let a device that waits be used: its row is published. Answered by [`Done`](super::Answer::Done).
    Approve {
        /// Which one.
        device: String,
    },
    /// Revoke a device for good. Answered by [`Done`](super::Answer::Done).
    Revoke {
        /// Which one.
        device: String,
    },
    /// Lift the suspension that too many wrong passwords caused. Answered by [`Done`](super::Answer::Done).
    Resume {
        /// Which one.
        device: String,
    },
}

/// About invitations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum InviteRequest {
    /// Invite a user. Answered by [`Invited`](super::Answer::Invited).
    Add {
        /// Who is invited.
        user: String,
        /// For how many seconds the link is good.
        expires_in: u64,
    },
    /// List invitations. Answered by [`Invitations`](super::Answer::Invitations).
    List,
    /// Show an invitation, without its secrets. Answered by [`Invitation`](super::Answer::Invitation).
    Show {
        /// Which one.
        invitation: String,
    },
    /// Withdraw an invitation. Answered by [`Done`](super::Answer::Done).
    Revoke {
        /// Which one.
        invitation: String,
    },
}

/// About services.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ServiceRequest {
    /// Add a service. Answered by [`Service`](super::Answer::Service).
    Add {
        /// The name.
        name: String,
        /// What it carries.
        kind: ServiceKind,
        /// `host:port`, or `http://host[:port]` of a web service.
        upstream: String,
        /// Who may use it: `everyone`, `user:NAME`, `group:NAME`.
        allow: Vec<String>,
        /// The TCP port of the gateway's machine at which it is reached without the tunnel.
        #[serde(default)]
        direct: Option<u16>,
    },
    /// List services. Answered by [`Services`](super::Answer::Services).
    List,
    /// Show a service with the users who may use it. Answered by [`Service`](super::Answer::Service).
    Show {
        /// The name.
        name: String,
    },
    /// Remove a service. Answered by [`Done`](super::Answer::Done).
    Remove {
        /// The name.
        name: String,
    },
}

/// About sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum SessionRequest {
    /// List sessions. Answered by [`Sessions`](super::Answer::Sessions).
    List {
        /// Also those that have ended.
        all: bool,
    },
    /// Show a session. Answered by [`Session`](super::Answer::Session).
    Show {
        /// Which one.
        session: String,
    },
    /// End a session for good. Answered by [`Done`](super::Answer::Done).
    Revoke {
        /// Which one.
        session: String,
    },
}
