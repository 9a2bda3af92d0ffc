//! Who may be admitted: what the gateway knows of its devices and invitations.

use super::doors::Family;
use crate::guess::GuessCount;
use crate::id::{DeviceId, LoginDigest, Stamp, TicketId};
use crate::inner::RefusalCode;
use crate::key::{Psk, PublicKey};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// An inner part that was looked at is known by half of its m_r. So many are kept per device; the right ones are
/// kept from coming back for ever by the durable seen-set.
const RECENT_LIMIT: usize = 16;
/// Wrong ones count, so none may be counted twice while the device is not suspended: more than its tries.
const WRONG_LIMIT: usize = 64;

/// A refusal of the same kind is audited once in this time per device.
const AUDIT_PAUSE: Duration = Duration::from_secs(60);

/// A device as the directory knows it, under one of its digests.
#[derive(Clone)]
pub struct AdmissibleDevice {
    /// The login digest A2.
    pub digest: LoginDigest,
    /// Which device. For a while it may stand under two digests: when its password changed.
    pub device: DeviceId,
    /// What it may come for.
    pub kind: DeviceKind,
    /// D_in's public half; its private half comes from layer 2 of the local credential.
    pub d_in: PublicKey,
    /// Shared with layer 2.
    pub psk_g: Psk,
    /// Shared with layer 1: vouches for I1, seals refusals.
    pub psk_r: Psk,
    /// Wrong passwords so far.
    pub guesses: GuessCount,
    /// Never again a version below this one.
    pub version_floor: u16,
    /// It, or its user, is revoked: it is refused and told so.
    pub revoked: bool,
}

/// What a device is, and so what it may come for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    /// An enrolled device: logs in, resumes, leaves.
    Enrolled,
    /// An invitation: enrols a device, once and in time.
    Invitation {
        /// From then on it is refused.
        expires: Stamp,
        /// It was used.
        used: bool,
    },
}

/// What is true of a device whatever digest it comes under.
#[derive(Default)]
pub(super) struct Shared {
    pub(super) guesses: GuessCount,
    /// The newest stamp that was admitted since the start.
    pub(super) newest: Stamp,
    /// Its door per address family: one each.
    pub(super) doors: [Option<TicketId>; 2],
    recent: Vec<u64>,
    wrong: Vec<u64>,
    audited: Option<(RefusalCode, Instant)>,
    digests: usize,
}

/// All of them.
#[derive(Default)]
pub(super) struct Devices {
    by_digest: HashMap<LoginDigest, AdmissibleDevice>,
    shared: HashMap<DeviceId, Shared>,
}

impl Devices {
    pub(super) fn get(&self, digest: &LoginDigest) -> Option<&AdmissibleDevice> {
        self.by_digest.get(digest)
    }

    pub(super) fn get_mut(&mut self, digest: &LoginDigest) -> Option<&mut AdmissibleDevice> {
        self.by_digest.get_mut(digest)
    }

    pub(super) fn shared_mut(&mut self, device: DeviceId) -> Option<&mut Shared> {
        self.shared.get_mut(&device)
    }

    pub(super) fn guesses(&self, device: DeviceId) -> GuessCount {
        self.shared.get(&device).map_or(GuessCount::default(), |shared| shared.guesses)
    }

    pub(super) fn newest(&self, device: DeviceId) -> Stamp {
        self.shared.get(&device).map_or(Stamp::default(), |shared| shared.newest)
    }

    pub(super) fn len(&self) -> usize {
        self.by_digest.len()
    }

    /// Adds a device or renews it. Wrong passwords that are being counted just now stay counted.
    pub(super) fn upsert(&mut self, device: AdmissibleDevice) {
        let (id, guesses) = (device.device, device.guesses);
        let old = self.by_digest.insert(device.digest, device);
        if old.as_ref().is_none_or(|old| old.device != id) {
            self.shared.entry(id).or_default().digests += 1;
            if let Some(old) = old {
                self.release(old.device);
            }
        }
        if let Some(shared) = self.shared.get_mut(&id) {
            shared.merge_guesses(guesses);
        }
    }

    /// Removes a digest; gives the device that stood under it.
    pub(super) fn remove(&mut self, digest: &LoginDigest) -> Option<DeviceId> {
        let device = self.by_digest.remove(digest)?.device;
        self.release(device);
        Some(device)
    }

    /// All digests of a device are revoked.
    pub(super) fn revoke(&mut self, device: DeviceId) {
        self.by_digest.values_mut().filter(|entry| entry.device == device).for_each(|entry| entry.revoked = true);
    }

    fn release(&mut self, device: DeviceId) {
        if let Some(shared) = self.shared.get_mut(&device) {
            shared.digests -= 1;
            if shared.digests == 0 {
                self.shared.remove(&device);
            }
        }
    }
}

impl Shared {
    /// What the directory counted, beside what is counted here and not confirmed yet.
    pub(super) fn merge_guesses(&mut self, durable: GuessCount) {
        let last = self.guesses.last.max(durable.last);
        self.guesses = GuessCount { count: self.guesses.count.max(durable.count), last };
    }

    pub(super) fn door(&mut self, family: Family) -> &mut Option<TicketId> {
        &mut self.doors[family as usize]
    }

    /// Whether this inner part was looked at lately, or was found wrong before.
    pub(super) fn knows(&self, name: u64) -> bool {
        self.recent.contains(&name) || self.wrong.contains(&name)
    }

    pub(super) fn know_right(&mut self, name: u64) {
        push_bounded(&mut self.recent, name, RECENT_LIMIT);
    }

    pub(super) fn know_wrong(&mut self, name: u64) {
        push_bounded(&mut self.wrong, name, WRONG_LIMIT);
    }

    /// Whether a refusal is to be audited: the first of its kind, then one a minute.
    pub(super) fn audits(&mut self, code: RefusalCode, now: Instant) -> bool {
        let repeated = self.audited.is_some_and(|(last, at)| last == code && now < at + AUDIT_PAUSE);
        if !repeated {
            self.audited = Some((code, now));
        }
        !repeated
    }
}

fn push_bounded(names: &mut Vec<u64>, name: u64, limit: usize) {
    if names.len() >= limit {
        names.remove(0);
    }
    names.push(name);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Secret;

    fn device(digest: u8, device: u8, count: u8) -> AdmissibleDevice {
        AdmissibleDevice {
            digest: LoginDigest::new([digest; 32]),
            device: DeviceId::new([device; 16]),
            kind: DeviceKind::Enrolled,
            d_in: PublicKey::new([3; 32]),
            psk_g: Secret::new([4; 32]),
            psk_r: Secret::new([5; 32]),
            guesses: GuessCount { count, last: Stamp::from_millis(u64::from(count)) },
            version_floor: 0,
            revoked: false,
        }
    }

    #[test]
    fn guesses_are_the_devices_under_whatever_digest() {
        let mut devices = Devices::default();
        let id = DeviceId::new([1; 16]);
        devices.upsert(device(1, 1, 3));
        devices.upsert(device(2, 1, 5));
        devices.upsert(device(1, 1, 4));
        assert_eq!(devices.guesses(id).count, 5);
        assert_eq!(devices.remove(&LoginDigest::new([2; 32])), Some(id));
        assert_eq!(devices.guesses(id).count, 5);
        devices.remove(&LoginDigest::new([1; 32]));
        assert_eq!((devices.len(), devices.shared.len()), (0, 0));
    }

    #[test]
    fn a_digest_that_changes_hands_leaves_nothing_behind() {
        let mut devices = Devices::default();
        devices.upsert(device(1, 1, 3));
        devices.upsert(device(1, 2, 0));
        assert_eq!(devices.guesses(DeviceId::new([2; 16])).count, 0);
        assert_eq!((devices.len(), devices.shared.len()), (1, 1));
    }

    #[test]
    fn what_is_remembered_of_a_device_is_bounded() {
        let mut shared = Shared::default();
        for name in 0..1_000 {
            shared.know_right(name);
            shared.know_wrong(name);
        }
        assert_eq!((shared.recent.len(), shared.wrong.len()), (RECENT_LIMIT, WRONG_LIMIT));
        assert!(shared.knows(999) && !shared.knows(0));
    }

    #[test]
    fn a_kind_of_refusal_is_audited_once_a_minute() {
        let (mut shared, t) = (Shared::default(), Instant::now());
        assert!(shared.audits(RefusalCode::Wait, t));
        assert!(!shared.audits(RefusalCode::Wait, t + Duration::from_secs(59)));
        assert!(shared.audits(RefusalCode::Suspended, t + Duration::from_secs(59)));
        assert!(shared.audits(RefusalCode::Wait, t + Duration::from_secs(59)));
        assert!(shared.audits(RefusalCode::Wait, t + Duration::from_secs(119)));
    }
}
