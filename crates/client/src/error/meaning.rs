//! What the gateway's words mean to the person.

use super::{ClientError, GatewayAway, InvitationTrouble, Refused};
use std::time::Duration;
use vestibule_proto::inner::{Refusal, RefusalCode};
use vestibule_proto::session::Reason;

impl ClientError {
    /// What the gateway's sealed refusal of a knock means.
    pub(crate) fn from_refusal(refusal: Refusal) -> Self {
        let Refusal { code, retry_after, tries, limit, detail } = refusal;
        let why = match code {
            RefusalCode::WrongPassword => Refused::WrongPassword,
            RefusalCode::Wait => Refused::Wait,
            RefusalCode::Suspended => Refused::Suspended,
            RefusalCode::Revoked => Refused::Revoked,
            RefusalCode::Version => Refused::Version,
            RefusalCode::Time => Refused::GatewayClock,
            RefusalCode::GatewayKey => Refused::GatewayKey,
            RefusalCode::InvitationUsed => return Self::Invitation(InvitationTrouble::Used),
            RefusalCode::InvitationExpired => return Self::Invitation(InvitationTrouble::Expired),
            RefusalCode::Fault => return Self::GatewayAway(GatewayAway::Fault),
            RefusalCode::Busy => return Self::Busy,
        };
        let detail = detail.chars().filter(|character| !character.is_control()).collect();
        Self::Refused { why, tries, limit, retry_after, detail }
    }

    /// What the gateway's reason means for the whole session or login.
    pub(crate) fn from_reason(reason: Reason) -> Self {
        match reason {
            Reason::LoginFailed { tries, limit } => Self::LoginFailed { tries, limit },
            Reason::Wait { seconds } => Self::refused(Refused::Wait, Duration::from_secs(seconds.into())),
            Reason::Suspended => Self::refused(Refused::Suspended, Duration::ZERO),
            Reason::Version => Self::refused(Refused::Version, Duration::ZERO),
            Reason::InvitationUsed => Self::Invitation(InvitationTrouble::Used),
            Reason::InvitationExpired => Self::Invitation(InvitationTrouble::Expired),
            Reason::Busy => Self::Busy,
            Reason::GatewayFault => Self::GatewayAway(GatewayAway::Fault),
            Reason::Malformed => Self::unexpected("the gateway could not read a message of this program"),
            Reason::NoService | Reason::UpstreamAway | Reason::UpstreamHangs => Self::from_open_reason(reason, ""),
            Reason::NoSession
            | Reason::SignedOff
            | Reason::Expired
            | Reason::Idle
            | Reason::Revoked
            | Reason::ShuttingDown => Self::SessionEnded(reason),
        }
    }

    /// What the gateway's reason means for one connection to `service`.
    pub(crate) fn from_open_reason(reason: Reason, service: &str) -> Self {
        let service = service.to_owned();
        match reason {
            Reason::NoService => Self::NoService { asked: service },
            Reason::UpstreamAway => Self::UpstreamAway { service },
            Reason::UpstreamHangs => Self::UpstreamHangs { service },
            Reason::LoginFailed { .. }
            | Reason::Wait { .. }
            | Reason::Suspended
            | Reason::Version
            | Reason::InvitationUsed
            | Reason::InvitationExpired
            | Reason::Busy
            | Reason::GatewayFault
            | Reason::Malformed
            | Reason::NoSession
            | Reason::SignedOff
            | Reason::Expired
            | Reason::Idle
            | Reason::Revoked
            | Reason::ShuttingDown => Self::from_reason(reason),
        }
    }

    fn refused(why: Refused, retry_after: Duration) -> Self {
        Self::Refused { why, tries: 0, limit: 0, retry_after, detail: String::new() }
    }
}
