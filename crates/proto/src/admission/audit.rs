//! What the gateway's owner is to know of knocks, and counts of everything else.

use crate::id::{DeviceId, LoginDigest};
use crate::inner::RefusalCode;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The same suspicion is raised once in this time.
const SUSPICION_PAUSE: Duration = Duration::from_secs(60);

/// Something for the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdmissionAudit {
    /// Somebody who holds layer 1 of this device's credential knocked with a wrong password. It is counted.
    WrongPassword {
        /// Which device.
        device: DeviceId,
        /// From where, by the controller's word.
        source: SocketAddr,
        /// Wrong passwords so far.
        tries: u8,
        /// With how many it is suspended.
        limit: u8,
    },
    /// An alarm: with this wrong password the device is suspended.
    Suspended {
        /// Which device.
        device: DeviceId,
        /// From where the last one came.
        source: SocketAddr,
    },
    /// A knock was refused. One a minute per device and kind; wrong passwords have entries of their own.
    Refused {
        /// Which device.
        device: DeviceId,
        /// From where it knocked.
        source: SocketAddr,
        /// Why.
        code: RefusalCode,
    },
    /// Somebody knocked with an invitation whose inner half was altered.
    InvitationAltered {
        /// Which invitation.
        device: DeviceId,
        /// From where.
        source: SocketAddr,
    },
    /// The controller, or whoever sits on its machine, hands over what it should not. One a minute per suspicion.
    ControllerSuspect {
        /// What it did.
        suspicion: Suspicion,
        /// Under which digest, the last time.
        digest: LoginDigest,
        /// How often since this was last said.
        times: u64,
    },
    /// A door stood open for its whole window and nobody came with its tag.
    Unused {
        /// Which device had asked.
        device: DeviceId,
        /// The address that the controller announced.
        announced: SocketAddr,
    },
}

/// What makes a controller suspect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suspicion {
    /// It forwards knocks under a digest that this gateway does not know or has withdrawn.
    UnknownDigest,
    /// It forwards inner parts that no device made: m_r is wrong.
    NotVouched,
}

/// Counts since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct AdmissionCounters {
    /// Requests of the controller.
    pub received: u64,
    /// Under an unknown digest.
    pub unknown: u64,
    /// With a wrong m_r.
    pub not_vouched: u64,
    /// Inner parts that were looked at before, known in memory.
    pub repeated: u64,
    /// Inner parts that were here before, known to the durable seen-set.
    pub seen: u64,
    /// Wrong passwords.
    pub wrong: u64,
    /// Sealed refusals, wrong passwords included.
    pub refused: u64,
    /// Doors opened and told.
    pub ready: u64,
    /// First tags used.
    pub granted: u64,
    /// Doors that nobody used in time.
    pub unused: u64,
    /// Requests whose shell did not come back in time.
    pub stuck: u64,
}

/// Suspicions, raised at most once a minute each.
#[derive(Default)]
pub(super) struct Suspicions([Suspected; 2]);

#[derive(Default)]
struct Suspected {
    raised: Option<Instant>,
    times: u64,
}

impl Suspicions {
    /// How often it happened since it was last raised, if it is to be raised now.
    pub(super) fn note(&mut self, suspicion: Suspicion, now: Instant) -> Option<u64> {
        let suspected = &mut self.0[suspicion as usize];
        suspected.times += 1;
        if suspected.raised.is_some_and(|raised| now < raised + SUSPICION_PAUSE) {
            return None;
        }
        suspected.raised = Some(now);
        Some(std::mem::take(&mut suspected.times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suspicion_is_raised_once_a_minute_with_its_count() {
        let (mut suspicions, t) = (Suspicions::default(), Instant::now());
        assert_eq!(suspicions.note(Suspicion::NotVouched, t), Some(1));
        for _ in 0..10 {
            assert_eq!(suspicions.note(Suspicion::NotVouched, t + Duration::from_secs(59)), None);
        }
        assert_eq!(suspicions.note(Suspicion::UnknownDigest, t), Some(1));
        assert_eq!(suspicions.note(Suspicion::NotVouched, t + Duration::from_secs(60)), Some(11));
    }
}
