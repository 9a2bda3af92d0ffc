//! K3: what the gateway makes of a knock, by itself, whatever the controller says.

use super::audit::{AdmissionAudit, Suspicion};
use super::devices::AdmissibleDevice;
use super::states::{Case, ExpectCounted, ExpectRemembered, Request};
use super::{AdmissionCommand, Admissions, DeviceKind};
use crate::entropy::Entropy;
use crate::guess::{GuessCount, Verdict};
use crate::id::{DeviceId, GatewayId, LinkRequest, LoginDigest, Now, Stamp};
use crate::inner::{self, I1_LEN, InnerKnock, OpenedInner, Purpose, Refusal, RefusalCode, Unreadable, Versions};
use crate::key::PrivateKey;
use crate::link::Answer;
use crate::recognition::{FRESHNESS_WINDOW, MARGIN};
use std::net::SocketAddr;
use std::time::Duration;

/// What a knock comes to.
enum Decision {
    /// A right knock, and the version to speak.
    Right(Box<OpenedInner>, u16),
    /// The password was wrong.
    Wrong,
    /// Anything else.
    Refused(RefusalCode, Duration),
}

impl Admissions {
    /// Silence, a sealed refusal, or a state that waits for the shell.
    pub(super) fn decide(
        &mut self,
        request: LinkRequest,
        digest: LoginDigest,
        source: SocketAddr,
        i1: &[u8; I1_LEN],
        now: Now,
        entropy: &mut dyn Entropy,
    ) {
        self.counters.received += 1;
        let time = self.clock.read(now);
        let Some(device) = self.devices.get(&digest) else {
            self.counters.unknown += 1;
            return self.suspect(Suspicion::UnknownDigest, request, digest, now);
        };
        let case = Case { request, digest, device: device.device, source, i1: Box::new(*i1) };
        if !inner::vouched(&device.psk_r, i1) {
            return self.doubt(&case, now, entropy);
        }
        let name = name_of(i1);
        if self.devices.shared_mut(case.device).is_some_and(|shared| shared.knows(name)) {
            self.counters.repeated += 1;
            return self.answer(request, Answer::Seen);
        }
        if self.requests.is_full() {
            return self.refuse(&case, RefusalCode::Busy, Duration::ZERO, now, entropy);
        }
        match self.judge(&case, now, time, entropy) {
            Decision::Right(opened, version) => self.remember(case, opened, version, now),
            Decision::Wrong => self.count(case, now, time),
            Decision::Refused(code, retry_after) => self.refuse(&case, code, retry_after, now, entropy),
        }
    }

    /// Whether the knock may be looked at, then what it says. The seal is not tried before the policy allows a guess.
    fn judge(&mut self, case: &Case, now: Now, time: Stamp, entropy: &mut dyn Entropy) -> Decision {
        let guesses = self.guesses_at(case.device, time);
        let newest = self.devices.newest(case.device);
        let Some(device) = self.devices.get(&case.digest) else {
            return Decision::Refused(RefusalCode::Revoked, Duration::ZERO);
        };
        if device.revoked {
            return Decision::Refused(RefusalCode::Revoked, Duration::ZERO);
        }
        match self.config.guesses.verdict(guesses, time) {
            Verdict::Allowed => {}
            Verdict::Wait(wait) => return Decision::Refused(RefusalCode::Wait, wait),
            Verdict::Suspended => return Decision::Refused(RefusalCode::Suspended, Duration::ZERO),
        }
        match open(self.keys.id, &self.keys.key, device, &case.i1, entropy) {
            Ok(opened) => match check(device, &opened.knock)
                .and_then(|version| check_time(device, &opened.knock, newest, now.wall, time).map(|()| version))
                .and_then(|version| self.check_key(&opened.knock).map(|()| version))
            {
                Ok(version) => Decision::Right(Box::new(opened), version),
                Err(code) => Decision::Refused(code, Duration::ZERO),
            },
            Err(Unreadable::Seal) => Decision::Wrong,
            Err(Unreadable::Form | Unreadable::Content) => Decision::Refused(RefusalCode::Version, Duration::ZERO),
        }
    }

    /// Whether the device takes us by a key that we have.
    fn check_key(&self, knock: &InnerKnock) -> Result<(), RefusalCode> {
        let known = |name| self.gateway_keys.is_empty() || self.gateway_keys.contains(&name);
        if knock.expects.is_none_or(known) { Ok(()) } else { Err(RefusalCode::GatewayKey) }
    }

    /// The wrong passwords so far. A date in the future, from before the clock was set back, becomes `time` for good.
    fn guesses_at(&mut self, device: DeviceId, time: Stamp) -> GuessCount {
        let Some(shared) = self.devices.shared_mut(device) else { return GuessCount::default() };
        shared.guesses = shared.guesses.not_after(time);
        shared.guesses
    }

    /// m12: counted here at once, so that no second guess slips in beside it; said only when it is written down.
    fn count(&mut self, case: Case, now: Now, time: Stamp) {
        self.counters.wrong += 1;
        let (device, request, source, name) = (case.device, case.request, case.source, name_of(&case.i1));
        if let Some(shared) = self.devices.shared_mut(device) {
            shared.know_wrong(name);
            shared.guesses = shared.guesses.counted(time);
        }
        if self.requests.begin(request, Request::Counted(ExpectCounted { case }), now.mono) {
            self.commands.push_back(AdmissionCommand::CountGuess { device, request, source });
        }
    }

    /// The durable seen-set decides whether the knock is new.
    fn remember(&mut self, case: Case, opened: Box<OpenedInner>, version: u16, now: Now) {
        let (device, request, name) = (case.device, case.request, name_of(&case.i1));
        let (knock_id, stamp) = (opened.knock.knock_id, opened.knock.stamp);
        if let Some(shared) = self.devices.shared_mut(device) {
            shared.know_right(name);
        }
        let state = ExpectRemembered { case, opened, version };
        if self.requests.begin(request, Request::Remembered(state), now.mono) {
            self.commands.push_back(AdmissionCommand::Remember { request, device, knock_id, stamp });
        }
    }

    /// m_r is wrong. Junk that was made on the way counts against nobody. An invitation that was altered is its bearer's own
    /// doing: he is refused, though he can't read why.
    fn doubt(&mut self, case: &Case, now: Now, entropy: &mut dyn Entropy) {
        self.counters.not_vouched += 1;
        let kind = self.devices.get(&case.digest).map(|device| device.kind);
        if !matches!(kind, Some(DeviceKind::Invitation { .. })) {
            return self.suspect(Suspicion::NotVouched, case.request, case.digest, now);
        }
        let altered = AdmissionAudit::InvitationAltered { device: case.device, source: case.source };
        self.refuse_and_say(case, RefusalCode::WrongPassword, Duration::ZERO, altered, now, entropy);
    }

    fn suspect(&mut self, suspicion: Suspicion, request: LinkRequest, digest: LoginDigest, now: Now) {
        if let Some(times) = self.suspicions.note(suspicion, now.mono) {
            self.audit(AdmissionAudit::ControllerSuspect { suspicion, digest, times });
        }
        self.answer(request, Answer::Seen);
    }

    /// A sealed refusal, and a line in the audit log now and then.
    pub(super) fn refuse(
        &mut self,
        case: &Case,
        code: RefusalCode,
        retry_after: Duration,
        now: Now,
        entropy: &mut dyn Entropy,
    ) {
        let refused = AdmissionAudit::Refused { device: case.device, source: case.source, code };
        self.refuse_and_say(case, code, retry_after, refused, now, entropy);
    }

    fn refuse_and_say(
        &mut self,
        case: &Case,
        code: RefusalCode,
        retry_after: Duration,
        audit: AdmissionAudit,
        now: Now,
        entropy: &mut dyn Entropy,
    ) {
        if self.devices.shared_mut(case.device).is_some_and(|shared| shared.audits(code, now.mono)) {
            self.audit(audit);
        }
        self.answer_refused(case, code, retry_after, entropy);
    }

    /// The sealed refusal itself.
    pub(super) fn answer_refused(
        &mut self,
        case: &Case,
        code: RefusalCode,
        retry_after: Duration,
        entropy: &mut dyn Entropy,
    ) {
        let Some(device) = self.devices.get(&case.digest) else {
            return self.answer(case.request, Answer::Seen);
        };
        let tries = self.devices.guesses(case.device).count;
        let refusal =
            Refusal { code, retry_after, tries, limit: self.config.guesses.limit, detail: detail(code).to_owned() };
        let sealed = inner::seal_refusal(&device.psk_r, &case.i1, &refusal, entropy);
        self.counters.refused += 1;
        self.answer(case.request, Answer::Refused { inner: sealed });
    }
}

/// Half of m_r names an inner part: who can't make an m_r can't make two with the same name.
fn name_of(i1: &[u8; I1_LEN]) -> u64 {
    i1.last_chunk().map_or(0, |name| u64::from_ne_bytes(*name))
}

fn open(
    id: GatewayId,
    key: &PrivateKey,
    device: &AdmissibleDevice,
    i1: &[u8; I1_LEN],
    entropy: &mut dyn Entropy,
) -> Result<OpenedInner, Unreadable> {
    inner::open_inner(id, key, &device.d_in, &device.psk_g, device.digest, i1, entropy)
}

/// Version and purpose. Gives the version to speak.
fn check(device: &AdmissibleDevice, knock: &InnerKnock) -> Result<u16, RefusalCode> {
    let version = knock.versions.common(Versions::OURS).filter(|common| *common >= device.version_floor);
    match (device.kind, knock.purpose) {
        (DeviceKind::Enrolled, Purpose::Login | Purpose::Resume | Purpose::Leave)
        | (DeviceKind::Invitation { .. }, Purpose::Enrol) => version.ok_or(RefusalCode::Version),
        // An enrolled device does not enrol, an invitation does nothing else: no version of the client asks so.
        (DeviceKind::Enrolled, Purpose::Enrol)
        | (DeviceKind::Invitation { .. }, Purpose::Login | Purpose::Resume | Purpose::Leave) => {
            Err(RefusalCode::Version)
        }
    }
}

/// Whether the knock is of now, and the invitation in force.
///
/// The stamp is compared with the wall clock as it stands: a client takes its time from the controller, so a gateway
/// that insisted on a time it once read would refuse everybody. What is ahead of our clock was challenged by the
/// controller, or our clock is behind; the durable seen-set remembers it for as long as it could come again. What lies
/// before a knock that was admitted since is not revived by any clock. An invitation that has expired stays so.
fn check_time(
    device: &AdmissibleDevice,
    knock: &InnerKnock,
    newest: Stamp,
    wall: Stamp,
    time: Stamp,
) -> Result<(), RefusalCode> {
    let too_old = knock.stamp.saturating_add(FRESHNESS_WINDOW) < wall || knock.stamp <= newest.saturating_sub(MARGIN);
    match device.kind {
        DeviceKind::Invitation { used: true, .. } => Err(RefusalCode::InvitationUsed),
        DeviceKind::Invitation { expires, .. } if time >= expires => Err(RefusalCode::InvitationExpired),
        DeviceKind::Invitation { .. } | DeviceKind::Enrolled if too_old => Err(RefusalCode::Time),
        DeviceKind::Invitation { .. } | DeviceKind::Enrolled => Ok(()),
    }
}

/// One line for the entitled person.
fn detail(code: RefusalCode) -> &'static str {
    match code {
        RefusalCode::WrongPassword => "the password is wrong",
        RefusalCode::Wait => "too many wrong passwords: wait before the next try",
        RefusalCode::Suspended => "this device is suspended: ask the gateway's owner",
        RefusalCode::Revoked => "this device is revoked, or its user suspended: ask the gateway's owner",
        RefusalCode::InvitationUsed => "this invitation was used already",
        RefusalCode::InvitationExpired => "this invitation has expired",
        RefusalCode::Version => "client and gateway have no version in common",
        RefusalCode::Time => "the knock is too old by the gateway's clock",
        RefusalCode::Fault => "the gateway can't open its door",
        RefusalCode::Busy => "too many admissions at once",
        RefusalCode::GatewayKey => "the gateway has another key since this device was here",
    }
}
