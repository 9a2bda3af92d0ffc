//! E1: a device registers under an invitation (pending), and becomes active by its confirmation.
//!
//! The confirmation activates the device *and* uses up the invitation, in one transaction: of two hosts with the same
//! link the first that confirms is enrolled, the other is told `used`. Whoever is killed before begins again.

use rusqlite::Connection;
use vestibule_proto::entropy::Entropy;
use vestibule_proto::id::{DeviceId, LoginDigest, Stamp};
use vestibule_proto::key::{Psk, PublicKey, Spki};
use vestibule_proto::link::PublishedRow;
use vestibule_proto::login::KsfParams;
use vestibule_proto::session::Reason;
use vestibule_store::StoreError;

use super::audit::{AuditEntry, AuditKind, record};
use super::columns::millis;
use super::device::{self, Device, DeviceState};
use super::digest::{FirstAuthentication, login_digest};
use super::invitation::{InvitationRecord, InvitationState, forget_pending, invitation};
use super::user::{self, DEVICES_PER_USER};
use super::{Directory, Effect};

/// Devices that may be registered and unconfirmed under one invitation; a further one takes the place of the oldest.
pub const PENDING_PER_INVITATION: u32 = 4;
/// Longest name that a person may give a device, in bytes.
const DEVICE_NAME_LEN: usize = 64;

/// What a client registers of a new device.
pub struct NewDevice {
    /// The id that the gateway chose for it.
    pub id: DeviceId,
    /// How its user calls it; control characters are dropped, and what exceeds 64 bytes.
    pub name: String,
    /// The public half of D_out.
    pub d_out: PublicKey,
    /// The public half of D_in.
    pub d_in: PublicKey,
    /// D_tls.
    pub d_tls: Spki,
    /// Shared with this gateway.
    pub psk_g: Psk,
    /// Its commitment to its fingerprint.
    pub fingerprint_commitment: [u8; 32],
    /// OPAQUE record, 192 bytes.
    pub record: Vec<u8>,
    /// How its password is stretched.
    pub ksf: KsfParams,
    /// No protocol version below this one will be accepted from it.
    pub version_floor: u16,
    /// Whether the gateway's owner must approve it before anybody knows it.
    pub awaits: bool,
}

/// What a device that has registered is told, besides the gateway's pins and policy.
pub struct PendingDevice {
    /// Its login digest.
    pub digest: LoginDigest,
    /// Shared by the device and the controller.
    pub psk_c: Psk,
    /// Vouches for its knocks.
    pub psk_r: Psk,
}

/// Why an enrolment does not go on. Nothing of the step was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnrolError {
    /// There is no such invitation.
    #[error("the invitation is unknown")]
    Unknown,
    /// A device was enrolled by it already.
    #[error("the invitation was used already")]
    Used,
    /// Its time is over.
    #[error("the invitation has expired")]
    Expired,
    /// It was withdrawn by the owner.
    #[error("the invitation was withdrawn")]
    Revoked,
    /// The user is suspended.
    #[error("the user is suspended")]
    UserSuspended,
    /// The user has as many devices as allowed.
    #[error("the user has {DEVICES_PER_USER} devices already")]
    TooManyDevices,
    /// A key of the device is in use by another one (C13).
    #[error("a key of this device is in use already")]
    Collision,
    /// The device has not registered under this invitation, or its registration was superseded.
    #[error("the device has not registered under this invitation")]
    NotPending,
    /// The database refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl EnrolError {
    /// What the client is told inside the authenticated channel.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Used => Reason::InvitationUsed,
            Self::Expired => Reason::InvitationExpired,
            Self::Unknown | Self::Revoked => Reason::Revoked,
            Self::UserSuspended => Reason::Suspended,
            Self::TooManyDevices => Reason::Busy,
            Self::Collision | Self::NotPending => Reason::Malformed,
            Self::Store(_) => Reason::GatewayFault,
        }
    }
}

impl From<rusqlite::Error> for EnrolError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

impl Directory {
    /// Whether a device may be enrolled under this invitation now. One that is found expired stays so.
    ///
    /// Errors: see [`EnrolError`].
    pub async fn usable_invitation(&self, id: DeviceId, now: Stamp) -> Result<InvitationRecord, EnrolError> {
        let outcome = self.store().read(|c| usable(c, &id, now));
        self.noticing_expiry(id, outcome).await
    }

    /// Writes a device down as pending, with the keys that it shares with controller and gateway from now on.
    ///
    /// Errors: see [`EnrolError`].
    pub async fn register_device(
        &self,
        invitation: DeviceId,
        new: NewDevice,
        now: Stamp,
        entropy: &mut (dyn Entropy + Send),
    ) -> Result<PendingDevice, EnrolError> {
        let (psk_c, psk_r) = (Psk::random(entropy), Psk::random(entropy));
        let directory = self.clone();
        let outcome = self.write(move |c| {
            let invited = usable(c, &invitation, now)?;
            must_have_room(c, &invited)?;
            drop_oldest_pending(c, &invitation)?;
            let digest = directory.digest_of(&invited, &new);
            let pending = PendingDevice { digest, psk_c: psk_c.clone(), psk_r: psk_r.clone() };
            insert(c, &invited, &new, &pending, now)?;
            let entry = AuditEntry::of(AuditKind::EnrolmentStarted, now).user(&invited.user).device(&new.id);
            record(c, &entry.detail(format!("invitation {invitation}")))?;
            Ok(pending)
        });
        self.noticing_expiry(invitation, outcome.await).await
    }

    /// The device has its local credential: it becomes active, its invitation is used. Saying it again is no error.
    ///
    /// Errors: see [`EnrolError`]; [`EnrolError::Used`] when another device was faster.
    pub async fn confirm_device(
        &self,
        invitation: DeviceId,
        device: DeviceId,
        now: Stamp,
    ) -> Result<Vec<Effect>, EnrolError> {
        let outcome = self.write(move |c| {
            if !is_confirmed(c, &invitation, &device)? {
                let invited = usable(c, &invitation, now)?;
                // Another invitation of this user may have been used since the registration.
                must_have_room(c, &invited)?;
                activate(c, &invited, &device, now)?;
            }
            confirmed(c, &invitation, &device)
        });
        self.noticing_expiry(invitation, outcome.await).await
    }

    /// Writes down that an invitation has expired before anybody is told.
    async fn noticing_expiry<T>(&self, invitation: DeviceId, outcome: Result<T, EnrolError>) -> Result<T, EnrolError> {
        if matches!(outcome, Err(EnrolError::Expired)) {
            self.invitation_expired(invitation).await?;
        }
        outcome
    }

    fn digest_of(&self, invited: &InvitationRecord, new: &NewDevice) -> LoginDigest {
        let a1 = FirstAuthentication {
            user: &invited.user,
            d_in: &new.d_in,
            d_tls: &new.d_tls,
            record: &new.record,
            fingerprint_commitment: &new.fingerprint_commitment,
        };
        login_digest(&self.identity().k_lookup, &self.identity().gateway, &a1)
    }
}

fn usable(c: &Connection, id: &DeviceId, now: Stamp) -> Result<InvitationRecord, EnrolError> {
    let invitation = invitation(c, id)?.ok_or(EnrolError::Unknown)?;
    match invitation.state {
        InvitationState::Used => return Err(EnrolError::Used),
        InvitationState::Revoked => return Err(EnrolError::Revoked),
        InvitationState::Expired => return Err(EnrolError::Expired),
        InvitationState::Open if now >= invitation.expires => return Err(EnrolError::Expired),
        InvitationState::Open => {}
    }
    // Whoever was revoked or suspended meanwhile does not come back as another device.
    if let Some(replaced) = invitation.replaces
        && !device::is_usable(c, &replaced)?
    {
        return Err(EnrolError::Revoked);
    }
    match user::user(c, &invitation.user)? {
        Some(user) if !user.suspended => Ok(invitation),
        Some(_) => Err(EnrolError::UserSuspended),
        None => Err(EnrolError::Unknown),
    }
}

fn must_have_room(c: &Connection, invited: &InvitationRecord) -> Result<(), EnrolError> {
    let devices: u32 = c.query_row(
        "SELECT count(*) FROM device WHERE user = ?1 AND state = 'active' AND id IS NOT ?2",
        (invited.user.as_str(), invited.replaces.as_ref().map(|device| device.as_bytes().as_slice())),
        |row| row.get(0),
    )?;
    if devices >= DEVICES_PER_USER { Err(EnrolError::TooManyDevices) } else { Ok(()) }
}

fn drop_oldest_pending(c: &Connection, invitation: &DeviceId) -> Result<(), EnrolError> {
    c.execute(
        "DELETE FROM knocker WHERE id IN (
             SELECT id FROM device WHERE invitation = ?1 AND state = 'pending'
             ORDER BY created DESC, id LIMIT -1 OFFSET ?2)",
        (invitation.as_bytes(), PENDING_PER_INVITATION - 1),
    )?;
    Ok(())
}

fn insert(
    c: &Connection,
    invited: &InvitationRecord,
    new: &NewDevice,
    pending: &PendingDevice,
    now: Stamp,
) -> Result<(), EnrolError> {
    let added = c.execute(
        "INSERT INTO knocker (id, digest, d_out) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
        (new.id.as_bytes(), pending.digest.as_bytes(), new.d_out.as_bytes()),
    )?;
    if added == 0 {
        return Err(EnrolError::Collision);
    }
    c.execute(
        "INSERT INTO device (id, user, name, state, invitation, d_in, d_tls, psk_c, psk_r, psk_g, record,
                             ksf_memory, ksf_passes, ksf_lanes, fingerprint, version_floor, created, awaits)
         VALUES (?1, ?2, ?3, 'pending', ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
        rusqlite::params![
            new.id.as_bytes(),
            invited.user.as_str(),
            printable(&new.name),
            invited.id.as_bytes(),
            new.d_in.as_bytes(),
            new.d_tls.as_bytes(),
            pending.psk_c.expose(),
            pending.psk_r.expose(),
            new.psk_g.expose(),
            new.record,
            new.ksf.memory_kib(),
            new.ksf.passes(),
            new.ksf.lanes(),
            new.fingerprint_commitment,
            new.version_floor,
            millis(now),
            new.awaits,
        ],
    )?;
    Ok(())
}

fn is_confirmed(c: &Connection, invitation_id: &DeviceId, device: &DeviceId) -> Result<bool, EnrolError> {
    let invitation = invitation(c, invitation_id)?.ok_or(EnrolError::Unknown)?;
    Ok(invitation.used_by == Some(*device))
}

fn activate(c: &Connection, invited: &InvitationRecord, device: &DeviceId, now: Stamp) -> Result<(), EnrolError> {
    let activated = c.execute(
        "UPDATE device SET state = 'active', created = ?3 WHERE id = ?1 AND invitation = ?2 AND state = 'pending'",
        (device.as_bytes(), invited.id.as_bytes(), millis(now)),
    )?;
    if activated == 0 {
        return Err(EnrolError::NotPending);
    }
    c.execute(
        "UPDATE invitation SET state = 'used', used = ?2, used_by = ?3 WHERE id = ?1",
        (invited.id.as_bytes(), millis(now), device.as_bytes()),
    )?;
    forget_pending(c, &invited.id)?;
    let entry = AuditEntry::of(AuditKind::DeviceEnrolled, now).user(&invited.user).device(device);
    record(c, &entry.detail(format!("invitation {}", invited.id)))?;
    if let Some(replaced) = replaced(c, invited)? {
        device::revoke(c, &replaced, format!("replaced by the device {device}"), now)?;
    }
    Ok(())
}

/// The device whose place the new one takes.
fn replaced(c: &Connection, invited: &InvitationRecord) -> Result<Option<Device>, EnrolError> {
    let Some(id) = &invited.replaces else { return Ok(None) };
    Ok(device::device(c, id)?)
}

fn confirmed(c: &Connection, invitation_id: &DeviceId, id: &DeviceId) -> Result<Vec<Effect>, EnrolError> {
    let used = invitation(c, invitation_id)?.ok_or(EnrolError::Unknown)?;
    let device = device::device(c, id)?.ok_or(EnrolError::NotPending)?;
    if device.state == DeviceState::Revoked {
        return Err(EnrolError::Revoked);
    }
    let mut effects = replaced(c, &used)?.map_or_else(Vec::new, |replaced| device::revoked(&replaced));
    effects.extend([
        Effect::DeviceChanged { device: used.id, digest: used.digest },
        Effect::DeviceChanged { device: device.id, digest: device.digest },
    ]);
    if device.state != DeviceState::Waiting {
        effects.push(Effect::PublishRow(row_of(&device)));
    }
    Ok(effects)
}

/// What the controller needs to know of a device.
pub(super) fn row_of(device: &Device) -> PublishedRow {
    PublishedRow { digest: device.digest, device_key: device.d_out, psk_c: device.psk_c.clone() }
}

fn printable(name: &str) -> String {
    let mut name: String = name.chars().filter(|c| !c.is_control()).collect();
    name.truncate(name.floor_char_boundary(DEVICE_NAME_LEN));
    let name = name.trim();
    if name.is_empty() { "unnamed".to_owned() } else { name.to_owned() }
}
