//! What the admission machine and the controller need to know of devices and invitations.

use rusqlite::{Connection, OptionalExtension};
use vestibule_proto::admission::{AdmissibleDevice, DeviceKind};
use vestibule_proto::id::{DeviceId, LoginDigest, Stamp, UserName};
use vestibule_proto::key::Spki;
use vestibule_proto::link::PublishedRow;
use vestibule_store::StoreError;

use super::columns::{device_id, digest, user_name};
use super::device::{self, Device, DeviceState};
use super::enrolment::row_of;
use super::invitation::{self, InvitationRecord, InvitationState};
use super::user;
use super::{Directory, Effect};

/// Versions that an invitation's knock may speak: any, as nothing was agreed on yet.
const NO_FLOOR: u16 = 0;

impl Directory {
    /// Everything that the admission machine must know: enrolled devices, revoked ones (which are refused with a
    /// reason), and invitations, as long as they are remembered.
    pub async fn admissible(&self) -> Result<Vec<AdmissibleDevice>, StoreError> {
        self.list(|c| {
            let suspended = suspended_users(c)?;
            let is_suspended = |user: &UserName| suspended.binary_search(user).is_ok();
            let devices = device::devices(c, None)?;
            let invitations = invitation::invitations(c)?;
            let devices = devices.iter().filter_map(|device| of_device(device, is_suspended(&device.user)));
            let invitations = invitations.iter().map(|invited| of_invitation(invited, is_suspended(&invited.user)));
            Ok(devices.chain(invitations).collect())
        })
        .await
    }

    /// What the admission machine must know of one device or invitation; `None`: nothing (any more).
    pub fn admissible_device(&self, id: &DeviceId) -> Result<Option<AdmissibleDevice>, StoreError> {
        self.look(|c| {
            if let Some(device) = device::device(c, id)? {
                return Ok(of_device(&device, is_suspended(c, &device.user)?));
            }
            let Some(invited) = invitation::invitation(c, id)? else { return Ok(None) };
            Ok(Some(of_invitation(&invited, is_suspended(c, &invited.user)?)))
        })
    }

    /// The rows that the controller must have: of every device that is neither revoked nor waits, and of every invitation that is
    /// remembered and not withdrawn. Suspended, used and expired ones are among them, so that whoever holds them is told
    /// why.
    pub async fn published_rows(&self) -> Result<Vec<PublishedRow>, StoreError> {
        self.list(|c| {
            let devices = device::devices(c, None)?;
            let invitations = invitation::invitations(c)?;
            let devices = devices.iter().filter(|device| is_published(device)).map(row_of);
            let invitations = invitations
                .iter()
                .filter(|invited| invited.state != InvitationState::Revoked)
                .map(InvitationRecord::row);
            Ok(devices.chain(invitations).collect())
        })
        .await
    }

    /// Which device or invitation has this login digest, and whose it is.
    pub fn by_digest(&self, digest: &LoginDigest) -> Result<Option<(DeviceId, UserName)>, StoreError> {
        self.look(|c| {
            let mut select = c.prepare_cached(
                "SELECT k.id, coalesce(d.user, i.user) FROM knocker k
                 LEFT JOIN device d ON d.id = k.id LEFT JOIN invitation i ON i.id = k.id WHERE k.digest = ?1",
            )?;
            let found = select.query_row([digest.as_bytes()], |row| Ok((device_id(row, 0)?, user_name(row, 1)?)));
            Ok(found.optional()?)
        })
    }

    /// The TLS key that this device or invitation must present; `None` if there is no such thing.
    pub fn tls_key(&self, id: &DeviceId) -> Result<Option<Spki>, StoreError> {
        self.look(|c| match device::device(c, id)? {
            Some(device) => Ok(Some(device.d_tls)),
            None => Ok(invitation::invitation(c, id)?.map(|invited| invited.keys.d_tls)),
        })
    }
}

/// [`Effect::DeviceChanged`] for every device and invitation of a user.
pub(super) fn changed_of_user(c: &Connection, user: &UserName) -> Result<Vec<Effect>, StoreError> {
    let changed = |(device, digest)| Effect::DeviceChanged { device, digest };
    Ok(knockers_of_user(c, user)?.into_iter().map(changed).collect())
}

/// What cuts everything of a user: sessions, and whatever a device or invitation has under way.
pub(super) fn cut_of_user(c: &Connection, user: &UserName) -> Result<Vec<Effect>, StoreError> {
    let knockers = knockers_of_user(c, user)?;
    let devices = knockers.into_iter().map(|(device, _)| Effect::CutDevice(device));
    Ok(std::iter::once(Effect::CutUser(user.clone())).chain(devices).collect())
}

/// What makes the controller forget every device and invitation of a user who goes.
pub(super) fn withdrawn_of_user(c: &Connection, user: &UserName) -> Result<Vec<Effect>, StoreError> {
    Ok(knockers_of_user(c, user)?.into_iter().map(|(_, digest)| Effect::WithdrawRow(digest)).collect())
}

fn knockers_of_user(c: &Connection, user: &UserName) -> Result<Vec<(DeviceId, LoginDigest)>, StoreError> {
    let mut select = c.prepare_cached(
        "SELECT id, digest FROM knocker WHERE id IN
         (SELECT id FROM device WHERE user = ?1 UNION SELECT id FROM invitation WHERE user = ?1)",
    )?;
    let found = select.query_map([user.as_str()], |row| Ok((device_id(row, 0)?, digest(row, 1)?)))?;
    Ok(found.collect::<Result<_, _>>()?)
}

fn of_device(device: &Device, user_suspended: bool) -> Option<AdmissibleDevice> {
    match device.state {
        // Neither may knock: the controller has no row of theirs, and one that forwards for them all the same is suspect.
        DeviceState::Pending | DeviceState::Waiting => return None,
        DeviceState::Active | DeviceState::Suspended | DeviceState::Revoked => {}
    }
    Some(AdmissibleDevice {
        digest: device.digest,
        device: device.id,
        kind: DeviceKind::Enrolled,
        d_in: device.d_in,
        psk_g: device.psk_g.clone(),
        psk_r: device.psk_r.clone(),
        guesses: device.guesses,
        version_floor: device.version_floor,
        revoked: user_suspended || device.state == DeviceState::Revoked,
    })
}

fn of_invitation(invited: &InvitationRecord, user_suspended: bool) -> AdmissibleDevice {
    // What has expired once is refused as such whatever the clock says.
    let expires = if invited.state == InvitationState::Expired { Stamp::default() } else { invited.expires };
    AdmissibleDevice {
        digest: invited.digest,
        device: invited.id,
        kind: DeviceKind::Invitation { expires, used: invited.state == InvitationState::Used },
        d_in: invited.keys.d_in,
        psk_g: invited.keys.psk_g.clone(),
        psk_r: invited.keys.psk_r.clone(),
        guesses: invited.guesses,
        version_floor: NO_FLOOR,
        revoked: user_suspended || invited.state == InvitationState::Revoked,
    }
}

fn is_published(device: &Device) -> bool {
    match device.state {
        DeviceState::Active | DeviceState::Suspended => true,
        DeviceState::Pending | DeviceState::Waiting | DeviceState::Revoked => false,
    }
}

fn is_suspended(c: &Connection, name: &UserName) -> Result<bool, StoreError> {
    Ok(user::user(c, name)?.is_none_or(|user| user.suspended))
}

/// The suspended users, in order.
fn suspended_users(c: &Connection) -> Result<Vec<UserName>, StoreError> {
    Ok(user::users(c)?.into_iter().filter(|user| user.suspended).map(|user| user.name).collect())
}
