//! What a change of the directory means for the running role.

use std::fmt;

use vestibule_proto::id::{DeviceId, LoginDigest, ServiceName, SessionId, UserName};
use vestibule_proto::link::PublishedRow;

use super::EndReason;

/// Something that the runtime has to carry out, within one second of the change (P7). In the order given: what cuts
/// comes before what publishes.
#[derive(Clone)]
pub enum Effect {
    /// End this session, for this reason: its flows, its connection.
    CutSession(SessionId, EndReason),
    /// End all sessions of this device or invitation, its connections, and its pending admissions.
    CutDevice(DeviceId),
    /// End all sessions of this user. [`CutDevice`](Self::CutDevice) follows for each of the user's devices.
    CutUser(UserName),
    /// Cut all flows to this service; sessions go on. Comes behind [`ReloadServices`](Self::ReloadServices), so that no flow
    /// begins under the former catalogue after it.
    CutService(ServiceName),
    /// Take the row from the controller. If the link is down: nothing, the next link publishes the whole set.
    WithdrawRow(LoginDigest),
    /// Give the row to the controller. If the link is down: nothing, as above.
    PublishRow(PublishedRow),
    /// Services, grants, groups or users have changed: read the [`Catalogue`](super::Catalogue) again, cut the flows that it no
    /// longer allows, tell the clients.
    ReloadServices,
    /// What the admission machine must know of this device or invitation has changed: ask
    /// [`admissible_device`](super::Directory::admissible_device), and remove the digest if that says `None`.
    DeviceChanged {
        /// The device or invitation.
        device: DeviceId,
        /// Its login digest.
        digest: LoginDigest,
    },
}

/// Names and ids only: a row holds a key.
impl fmt::Debug for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CutSession(id, reason) => write!(f, "CutSession({id}, {reason})"),
            Self::CutDevice(id) => write!(f, "CutDevice({id})"),
            Self::CutUser(name) => write!(f, "CutUser({name})"),
            Self::CutService(name) => write!(f, "CutService({name})"),
            Self::WithdrawRow(digest) => write!(f, "WithdrawRow({digest})"),
            Self::PublishRow(row) => write!(f, "PublishRow({})", row.digest),
            Self::ReloadServices => f.write_str("ReloadServices"),
            Self::DeviceChanged { device, .. } => write!(f, "DeviceChanged({device})"),
        }
    }
}
