//! What can go wrong, as values: whose fault it is, what it means, what to do next, and an exit code that a script can
//! tell apart.

mod kinds;
mod meaning;
#[cfg(test)]
mod tests;
mod text;

pub use kinds::{CredentialTrouble, GatewayAway, InvitationTrouble, Refused, TpmTrouble, Trouble};

use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use vestibule_proto::session::{Reason, ServiceKind};

/// Why something did not happen. Comparable; each kind has an exit code of its own family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientError {
    /// The local credential can't be used or does not open. Nothing was sent.
    Credential {
        /// What is wrong with it.
        trouble: CredentialTrouble,
        /// Which file.
        path: String,
    },
    /// Several credentials fit what was asked for. Nothing was sent.
    Ambiguous {
        /// Their names, `USER@GATEWAY`.
        names: Vec<String>,
    },
    /// The password is too weak to be set at an enrolment. Nothing was sent.
    WeakPassword {
        /// What is wrong with it.
        reason: String,
    },
    /// The invitation can't be used.
    Invitation(InvitationTrouble),
    /// The controller did not answer any knock.
    ControllerAway {
        /// The controller's addresses as they are configured.
        controllers: Vec<String>,
        /// What the machine said, when it could not even send.
        trouble: Option<String>,
    },
    /// The controller did not answer, and this device was never let in: the gateway's owner has not approved it yet.
    AwaitsApproval {
        /// The device's six words.
        words: String,
    },
    /// The gateway can't be reached.
    GatewayAway(GatewayAway),
    /// The gateway refuses, with a reason that only this device can read.
    Refused {
        /// Why.
        why: Refused,
        /// Tries used of this device's limit; 0 where none are counted.
        tries: u8,
        /// The device's limit.
        limit: u8,
        /// Until the next try is evaluated.
        retry_after: Duration,
        /// What the gateway adds, for the person's eyes.
        detail: String,
    },
    /// This machine's clock is more than a day wrong.
    ClockFarOff {
        /// How many milliseconds the controller's clock is ahead of this one.
        offset_ms: i64,
    },
    /// The password was wrong at the login.
    LoginFailed {
        /// Tries used of the device's limit.
        tries: u8,
        /// The device's limit.
        limit: u8,
    },
    /// The controller, the gateway or the session is at a limit.
    Busy,
    /// What was asked for is no service, or the user has no grant for it (told alike).
    NoService {
        /// What was asked for.
        asked: String,
    },
    /// The service carries datagrams where connections were asked for, or the other way round.
    OtherKind {
        /// The service.
        service: String,
        /// What it is.
        is: ServiceKind,
    },
    /// The service's upstream refuses connections or can't be reached.
    UpstreamAway {
        /// The service.
        service: String,
    },
    /// The service's upstream does not answer in time.
    UpstreamHangs {
        /// The service.
        service: String,
    },
    /// The connection to the service was cut before both sides had ended it.
    Cut {
        /// The service.
        service: String,
    },
    /// The session is over, for this reason.
    SessionEnded(Reason),
    /// A listener was asked for on an address that others can reach.
    NotLoopback {
        /// The address.
        address: SocketAddr,
    },
    /// A local address can't be listened on.
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        trouble: Trouble,
    },
    /// A text is not `LOCAL=SERVICE`.
    Forward {
        /// The text.
        asked: String,
    },
    /// A file or directory can't be used.
    Files {
        /// Which.
        path: String,
        /// Why.
        trouble: Trouble,
    },
    /// Another `up` runs for this directory.
    AlreadyRunning,
    /// No `up` runs for this directory.
    NotRunning,
    /// The peer broke the protocol, or something inside this program did not hold.
    Unexpected {
        /// What.
        what: String,
    },
}

impl ClientError {
    /// The exit code of a program that ends with this error (the table is in the README).
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Unexpected { .. } => 1,
            Self::Forward { .. } | Self::Ambiguous { .. } | Self::OtherKind { .. } => 2,
            Self::Credential { trouble, .. } => trouble.exit_code(),
            Self::ControllerAway { .. } => 20,
            Self::GatewayAway(_) => 21,
            Self::Refused { .. } => 22,
            Self::ClockFarOff { .. } => 23,
            Self::LoginFailed { .. } => 24,
            Self::Busy => 25,
            Self::AwaitsApproval { .. } => 26,
            Self::NoService { .. } => 30,
            Self::UpstreamAway { .. } | Self::Cut { .. } => 31,
            Self::UpstreamHangs { .. } => 32,
            Self::SessionEnded(_) => 33,
            Self::NotLoopback { .. } | Self::Listen { .. } => 40,
            Self::Files { .. } => 41,
            Self::AlreadyRunning | Self::NotRunning => 42,
            Self::Invitation(_) => 50,
            Self::WeakPassword { .. } => 51,
        }
    }

    /// Whether a session that lost its connection may still come back: the failure says nothing about the session.
    #[must_use]
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::ControllerAway { .. } | Self::GatewayAway(_) | Self::Busy | Self::Unexpected { .. } => true,
            // No session was there yet.
            Self::AwaitsApproval { .. } => false,
            Self::Refused { why, .. } => matches!(why, Refused::Wait | Refused::GatewayClock),
            Self::SessionEnded(reason) => *reason == Reason::ShuttingDown,
            Self::Credential { .. }
            | Self::Ambiguous { .. }
            | Self::WeakPassword { .. }
            | Self::Invitation(_)
            | Self::ClockFarOff { .. }
            | Self::LoginFailed { .. }
            | Self::NoService { .. }
            | Self::OtherKind { .. }
            | Self::UpstreamAway { .. }
            | Self::UpstreamHangs { .. }
            | Self::Cut { .. }
            | Self::NotLoopback { .. }
            | Self::Listen { .. }
            | Self::Forward { .. }
            | Self::Files { .. }
            | Self::AlreadyRunning
            | Self::NotRunning => false,
        }
    }

    /// A file or directory that the operating system refuses.
    pub(crate) fn files(path: &Path, error: &io::Error) -> Self {
        Self::Files { path: path.display().to_string(), trouble: error.into() }
    }

    /// Something that should not have happened.
    pub(crate) fn unexpected(what: impl fmt::Display) -> Self {
        Self::Unexpected { what: what.to_string() }
    }
}

impl std::error::Error for ClientError {}

impl fmt::Display for ClientError {
    /// Headline, then the detail and the next step on lines of their own (HOUSE style, without the leading `error:`).
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.headline())?;
        if formatter.alternate() {
            for line in self.detail().lines() {
                write!(formatter, "\n  {line}")?;
            }
            write!(formatter, "\n  → {}", self.next_step())?;
        }
        Ok(())
    }
}
