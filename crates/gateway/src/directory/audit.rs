//! The audit log: what happened, in the same transaction as what it tells of. Bounded by number and age.

use std::fmt;
use std::net::SocketAddr;

use rusqlite::types::Type;
use rusqlite::{Connection, Row};
use serde::{Deserialize, Serialize};
use vestibule_proto::id::{DeviceId, SessionId, Stamp, UserName};
use vestibule_store::StoreError;

use super::Directory;
use super::columns::{damaged, millis, optional_device_id, stamp, user_name};

/// Entries kept; the oldest go first.
pub const AUDIT_ENTRIES: u64 = 200_000;
/// Longest detail of an entry, in bytes; what exceeds it is cut.
const DETAIL_LEN: usize = 300;
/// Entries that a query returns which does not say how many.
const QUERY_USUAL: u32 = 1_000;
/// Most entries that one query returns: they must fit into one answer of the socket.
const QUERY_MOST: u32 = 50_000;

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $text:literal,)*) => {
        /// What happened. The text form is stable: scripts and alarms read it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum AuditKind {
            $($(#[$doc])* #[serde(rename = $text)] $kind,)*
        }

        impl AuditKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$kind),*];

            /// The text form, e.g. `wrong-password`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$kind => $text),* }
            }
        }
    };
}

kinds! {
    /// A user was added; the detail names the groups.
    UserAdded = "user-added",
    /// A user's groups were replaced; the detail names the new ones.
    UserGroups = "user-groups",
    /// A user was suspended.
    UserSuspended = "user-suspended",
    /// A user's suspension was lifted.
    UserResumed = "user-resumed",
    /// A user was removed with all devices.
    UserRemoved = "user-removed",
    /// An invitation was issued.
    InvitationIssued = "invitation-issued",
    /// An invitation was withdrawn.
    InvitationRevoked = "invitation-revoked",
    /// Somebody came with a used or expired invitation; the detail says which.
    InvitationRefused = "invitation-refused",
    /// Somebody came with an invitation whose inner half was altered.
    InvitationAltered = "invitation-altered",
    /// A device registered under an invitation, and has not confirmed yet.
    EnrolmentStarted = "enrolment-started",
    /// A device confirmed: it is enrolled, its invitation used.
    DeviceEnrolled = "device-enrolled",
    /// A device that waited was approved by the owner.
    DeviceApproved = "device-approved",
    /// A device was revoked.
    DeviceRevoked = "device-revoked",
    /// A device's suspension was lifted.
    DeviceResumed = "device-resumed",
    /// A device reached the limit of wrong passwords.
    DeviceSuspended = "device-suspended",
    /// A wrong password, by knock or by login; the detail counts.
    WrongPassword = "wrong-password",
    /// A knock was refused; the detail says why.
    KnockRefused = "knock-refused",
    /// The controller does not hold the row of a device or invitation, which therefore can't knock; the detail says why.
    RowRefused = "row-refused",
    /// The controller forwarded what no device of ours can have sent.
    ControllerSuspect = "controller-suspect",
    /// A session began.
    Login = "login",
    /// A login failed for another reason than its password; the detail says which.
    LoginRefused = "login-refused",
    /// A session went on over a new connection.
    SessionResumed = "session-resumed",
    /// A session ended; the detail says why.
    SessionEnded = "session-ended",
    /// A service was added.
    ServiceAdded = "service-added",
    /// A service was removed.
    ServiceRemoved = "service-removed",
    /// The services of the configuration file changed; the detail names them.
    ServicesConfigured = "services-configured",
    /// The gateway's TLS key was replaced, or the one before it ended; the detail says which.
    KeyRotated = "key-rotated",
    /// The role started.
    Started = "started",
    /// The role stopped.
    Stopped = "stopped",
}

impl AuditKind {
    /// Whether the owner should be told at once: each is a sign of somebody trying.
    pub fn is_alarm(self) -> bool {
        matches!(
            self,
            Self::InvitationRefused
                | Self::InvitationAltered
                | Self::DeviceSuspended
                | Self::WrongPassword
                | Self::RowRefused
                | Self::ControllerSuspect
        )
    }
}

impl fmt::Display for AuditKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for AuditKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.iter().find(|kind| kind.as_str() == text).copied().ok_or_else(|| format!("unknown kind {text:?}"))
    }
}

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// When.
    pub time: Stamp,
    /// What.
    pub kind: AuditKind,
    /// Whom it concerns.
    pub user: Option<UserName>,
    /// The device or invitation that it concerns.
    pub device: Option<DeviceId>,
    /// The session that it concerns.
    pub session: Option<SessionId>,
    /// The address from which it came.
    pub address: Option<SocketAddr>,
    /// More, for the reader; at most 300 bytes.
    pub detail: String,
}

impl AuditEntry {
    /// An entry of `kind` that concerns nobody yet.
    pub fn of(kind: AuditKind, time: Stamp) -> Self {
        Self { time, kind, user: None, device: None, session: None, address: None, detail: String::new() }
    }

    /// It concerns this user.
    #[must_use]
    pub fn user(mut self, user: &UserName) -> Self {
        self.user = Some(user.clone());
        self
    }

    /// It concerns this device or invitation.
    #[must_use]
    pub fn device(mut self, device: &DeviceId) -> Self {
        self.device = Some(*device);
        self
    }

    /// It concerns this session.
    #[must_use]
    pub fn session(mut self, session: &SessionId) -> Self {
        self.session = Some(*session);
        self
    }

    /// It came from this address.
    #[must_use]
    pub fn address(mut self, address: SocketAddr) -> Self {
        self.address = Some(address);
        self
    }

    /// More of it; cut at 300 bytes.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self.detail.truncate(self.detail.floor_char_boundary(DETAIL_LEN));
        self
    }
}

/// Which entries are wanted. The default: the newest 1,000.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditQuery {
    /// Only what concerns this user.
    pub user: Option<UserName>,
    /// Only these kinds; empty: all.
    pub kinds: Vec<AuditKind>,
    /// Only what happened at or after this time.
    pub since: Option<Stamp>,
    /// At most so many, the newest; 0: 1,000; more than 50,000: 50,000.
    pub last: u32,
}

impl Directory {
    /// Writes down what has no change of the directory to go with.
    pub async fn audit(&self, entry: AuditEntry) -> Result<(), StoreError> {
        self.write(move |c| record(c, &entry)).await
    }

    /// The newest entries that match, oldest first.
    pub async fn audit_entries(&self, query: AuditQuery) -> Result<Vec<AuditEntry>, StoreError> {
        self.list(move |c| entries(c, &query)).await
    }
}

/// Writes one entry, and to the program's log what the owner should see at once.
pub(super) fn record(c: &Connection, entry: &AuditEntry) -> Result<(), StoreError> {
    c.prepare_cached(
        "INSERT INTO audit (time, kind, user, device, session, address, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute((
        millis(entry.time),
        entry.kind.as_str(),
        entry.user.as_ref().map(UserName::as_str),
        entry.device.as_ref().map(DeviceId::as_bytes),
        entry.session.as_ref().map(SessionId::as_bytes),
        entry.address.map(|address| address.to_string()),
        &entry.detail,
    ))?;
    let id = c.last_insert_rowid();
    // The bound holds at every moment, not only after the next pruning.
    if let Some(last_gone) = id.checked_sub(AUDIT_ENTRIES as i64).filter(|last_gone| *last_gone > 0) {
        c.prepare_cached("DELETE FROM audit WHERE id <= ?1")?.execute([last_gone])?;
    }
    Ok(())
}

fn entries(c: &Connection, query: &AuditQuery) -> Result<Vec<AuditEntry>, StoreError> {
    let most = if query.last == 0 { QUERY_USUAL } else { query.last.min(QUERY_MOST) };
    let kinds = query.kinds.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(" ");
    let mut select = c.prepare_cached(
        "SELECT time, kind, user, device, session, address, detail FROM audit
         WHERE (?1 IS NULL OR user = ?1) AND (?2 = '' OR instr(' ' || ?2 || ' ', ' ' || kind || ' ')) AND time >= ?3
         ORDER BY id DESC LIMIT ?4",
    )?;
    let wanted = (query.user.as_ref().map(UserName::as_str), kinds, query.since.map_or(0, millis), most);
    let mut found: Vec<AuditEntry> = select.query_map(wanted, entry_of)?.collect::<Result<_, _>>()?;
    found.reverse();
    Ok(found)
}

fn entry_of(row: &Row<'_>) -> rusqlite::Result<AuditEntry> {
    let kind: String = row.get(1)?;
    let address: Option<String> = row.get(5)?;
    let has_user = row.get_ref(2)?.data_type() != Type::Null;
    Ok(AuditEntry {
        time: stamp(row, 0)?,
        kind: kind.parse().map_err(|error: String| damaged(1, Type::Text, &error))?,
        user: if has_user { Some(user_name(row, 2)?) } else { None },
        device: optional_device_id(row, 3)?,
        session: row.get::<_, Option<[u8; 16]>>(4)?.map(SessionId::new),
        address: address.and_then(|address| address.parse().ok()),
        detail: row.get(6)?,
    })
}
