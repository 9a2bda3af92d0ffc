//! Enrolled devices.

use rusqlite::{Connection, OptionalExtension, Row};
use serde::{Deserialize, Serialize};
use vestibule_proto::guess::GuessCount;
use vestibule_proto::id::{DeviceId, LoginDigest, Stamp, UserName};
use vestibule_proto::key::{Psk, PublicKey, Spki};
use vestibule_proto::login::KsfParams;
use vestibule_proto::words::{DeviceKeys, DeviceWords};
use vestibule_store::StoreError;

use super::audit::{AuditEntry, AuditKind, record};
use super::columns::{damaged, device_id, digest, optional_stamp, public_key, secret, spki, stamp, user_name};
use super::error::{DirectoryError, What};
use super::knocks::{guess_policy, guesses_of};
use super::session::{EndReason, end_where};
use super::{Directory, Effect};

/// A device, with all that the gateway verifies it by. Neither private key nor password is here: the gateway has none.
#[derive(Clone)]
pub struct Device {
    /// Its id, chosen by the gateway.
    pub id: DeviceId,
    /// Whose device it is.
    pub user: UserName,
    /// How its user calls it; not unique.
    pub name: String,
    /// Whether it may be used.
    pub state: DeviceState,
    /// Its login digest A2.
    pub digest: LoginDigest,
    /// The public half of D_out.
    pub d_out: PublicKey,
    /// The public half of D_in.
    pub d_in: PublicKey,
    /// D_tls.
    pub d_tls: Spki,
    /// Shared with the controller.
    pub psk_c: Psk,
    /// Vouches for its knocks.
    pub psk_r: Psk,
    /// Shared with this gateway.
    pub psk_g: Psk,
    /// OPAQUE record, 192 bytes.
    pub record: Vec<u8>,
    /// How its password is stretched.
    pub ksf: KsfParams,
    /// Its commitment to its fingerprint.
    pub fingerprint_commitment: [u8; 32],
    /// No protocol version below this one is accepted from it.
    pub version_floor: u16,
    /// Its wrong passwords since the last login.
    pub guesses: GuessCount,
    /// When it was enrolled, or began to be.
    pub created: Stamp,
    /// When its latest session began or was resumed.
    pub last_seen: Option<Stamp>,
}

/// Whether a device may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceState {
    /// It has registered and not confirmed yet: it can do nothing.
    Pending,
    /// It is enrolled, and waits until the gateway's owner approves it: nobody knows it yet.
    Waiting,
    /// It is enrolled.
    Active,
    /// It has reached the limit of wrong passwords: refused until its owner resumes it.
    Suspended,
    /// It was revoked, for good.
    Revoked,
}

impl Directory {
    /// The device with this id, in whatever state.
    pub fn device(&self, id: &DeviceId) -> Result<Option<Device>, StoreError> {
        self.look(|c| device(c, id))
    }

    /// All devices, or one user's, by user and age.
    pub async fn devices(&self, user: Option<UserName>) -> Result<Vec<Device>, StoreError> {
        self.list(move |c| devices(c, user.as_ref())).await
    }

    /// The six words of a device, for its owner to compare.
    pub fn words(&self, device: &Device) -> DeviceWords {
        DeviceWords::of(&DeviceKeys {
            gateway: self.identity().gateway,
            device: device.id,
            d_out: device.d_out,
            d_in: device.d_in,
            d_tls: device.d_tls,
            fingerprint_commitment: device.fingerprint_commitment,
            record: &device.record,
        })
    }

    /// Lets a device that waits be known to the controller. One that is approved already goes on.
    ///
    /// Errors: [`DirectoryError::NotFound`], [`DirectoryError::Invalid`] if it is revoked or was never confirmed.
    pub async fn approve_device(&self, id: DeviceId, now: Stamp) -> Result<Vec<Effect>, DirectoryError> {
        self.write(move |c| {
            let device = must_exist(c, &id)?;
            match device.state {
                DeviceState::Waiting => {}
                DeviceState::Active | DeviceState::Suspended => return Ok(Vec::new()),
                DeviceState::Revoked => return Err(is_revoked(&id)),
                DeviceState::Pending => return Err(is_pending(&id)),
            }
            c.execute("UPDATE device SET awaits = 0 WHERE id = ?1", [id.as_bytes()])?;
            record(c, &AuditEntry::of(AuditKind::DeviceApproved, now).user(&device.user).device(&id))?;
            Ok(vec![
                Effect::DeviceChanged { device: id, digest: device.digest },
                Effect::PublishRow(super::enrolment::row_of(&device)),
            ])
        })
        .await
    }

    /// Revokes a device for good: its sessions end, its row is withdrawn. One that is revoked already stays so.
    ///
    /// Errors: [`DirectoryError::NotFound`].
    pub async fn revoke_device(&self, id: DeviceId, now: Stamp) -> Result<Vec<Effect>, DirectoryError> {
        self.write(move |c| {
            let device = must_exist(c, &id)?;
            if device.state != DeviceState::Revoked {
                revoke(c, &device, String::new(), now)?;
            }
            Ok(revoked(&device))
        })
        .await
    }

    /// Lifts the suspension that too many wrong passwords caused: the count starts again from 0. One that may
    /// be used anyhow goes on.
    ///
    /// Errors: [`DirectoryError::NotFound`], [`DirectoryError::Invalid`] if it is revoked or was never confirmed.
    pub async fn resume_device(&self, id: DeviceId, now: Stamp) -> Result<Vec<Effect>, DirectoryError> {
        self.write(move |c| {
            let device = must_exist(c, &id)?;
            match device.state {
                DeviceState::Suspended => {}
                DeviceState::Active => return Ok(Vec::new()),
                DeviceState::Waiting => {
                    return Err(DirectoryError::Invalid(format!("the device `{id}` waits for approval")));
                }
                DeviceState::Revoked => return Err(is_revoked(&id)),
                DeviceState::Pending => return Err(is_pending(&id)),
            }
            c.execute("UPDATE knocker SET guesses = 0 WHERE id = ?1", [id.as_bytes()])?;
            record(c, &AuditEntry::of(AuditKind::DeviceResumed, now).user(&device.user).device(&id))?;
            Ok(vec![Effect::DeviceChanged { device: id, digest: device.digest }])
        })
        .await
    }
}

fn is_revoked(id: &DeviceId) -> DirectoryError {
    DirectoryError::Invalid(format!("the device `{id}` is revoked, and that is for good"))
}

fn is_pending(id: &DeviceId) -> DirectoryError {
    DirectoryError::Invalid(format!("the device `{id}` is not enrolled yet"))
}

const SELECT: &str = "
    SELECT d.id, d.user, d.name, d.state, k.digest, k.d_out, d.d_in, d.d_tls, d.psk_c, d.psk_r, d.psk_g, d.record,
           d.ksf_memory, d.ksf_passes, d.ksf_lanes, d.fingerprint, d.version_floor, k.guesses, k.last_guess,
           d.created, d.last_seen, d.awaits
    FROM device d JOIN knocker k ON k.id = d.id";

pub(super) fn device(c: &Connection, id: &DeviceId) -> Result<Option<Device>, StoreError> {
    let mut select = c.prepare_cached(&format!("{SELECT} WHERE d.id = ?1"))?;
    Ok(select.query_row([id.as_bytes()], device_of).optional()?)
}

pub(super) fn devices(c: &Connection, user: Option<&UserName>) -> Result<Vec<Device>, StoreError> {
    let sql = format!("{SELECT} WHERE ?1 IS NULL OR d.user = ?1 ORDER BY d.user, d.created, d.id");
    let mut select = c.prepare_cached(&sql)?;
    let found = select.query_map([user.map(UserName::as_str)], device_of)?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// Writes down that the device is revoked, with `detail` for the audit log, and that its sessions have ended.
pub(super) fn revoke(c: &Connection, device: &Device, detail: String, now: Stamp) -> Result<(), StoreError> {
    let id = device.id;
    c.execute("UPDATE device SET state = 'revoked' WHERE id = ?1", [id.as_bytes()])?;
    end_where(c, "device = ?1", [id.as_bytes()], EndReason::Revoked, now)?;
    record(c, &AuditEntry::of(AuditKind::DeviceRevoked, now).user(&device.user).device(&id).detail(detail))
}

/// What the revocation of a device means for the running role.
pub(super) fn revoked(device: &Device) -> Vec<Effect> {
    let Device { id, digest, .. } = *device;
    vec![Effect::CutDevice(id), Effect::DeviceChanged { device: id, digest }, Effect::WithdrawRow(digest)]
}

/// Whether somebody may log in with the device, its user aside.
pub(super) fn is_usable(c: &Connection, id: &DeviceId) -> Result<bool, StoreError> {
    Ok(device(c, id)?.is_some_and(|device| device.state == DeviceState::Active))
}

pub(super) fn must_be_usable(c: &Connection, id: &DeviceId) -> Result<(), DirectoryError> {
    let usable = is_usable(c, id)?;
    usable.then_some(()).ok_or_else(|| DirectoryError::Invalid(format!("the device `{id}` can't be used")))
}

pub(super) fn must_exist(c: &Connection, id: &DeviceId) -> Result<Device, DirectoryError> {
    device(c, id)?.ok_or_else(|| DirectoryError::not_found(What::Device, id))
}

fn device_of(row: &Row<'_>) -> rusqlite::Result<Device> {
    let guesses = guesses_of(row, 17)?;
    let ksf = KsfParams::new(row.get(12)?, row.get(13)?, row.get(14)?);
    Ok(Device {
        id: device_id(row, 0)?,
        user: user_name(row, 1)?,
        name: row.get(2)?,
        state: state_of(&row.get::<_, String>(3)?, row.get(21)?, guesses),
        digest: digest(row, 4)?,
        d_out: public_key(row, 5)?,
        d_in: public_key(row, 6)?,
        d_tls: spki(row, 7)?,
        psk_c: secret(row, 8)?,
        psk_r: secret(row, 9)?,
        psk_g: secret(row, 10)?,
        record: row.get(11)?,
        ksf: ksf.map_err(|error| damaged(12, rusqlite::types::Type::Integer, &error.to_string()))?,
        fingerprint_commitment: row.get(15)?,
        version_floor: row.get(16)?,
        guesses,
        created: stamp(row, 19)?,
        last_seen: optional_stamp(row, 20)?,
    })
}

fn state_of(text: &str, awaits: bool, guesses: GuessCount) -> DeviceState {
    match text {
        "pending" => DeviceState::Pending,
        "active" if awaits => DeviceState::Waiting,
        "active" if guesses.count < guess_policy().limit => DeviceState::Active,
        "active" => DeviceState::Suspended,
        // The table allows three words; anything else is treated like the strictest.
        _ => DeviceState::Revoked,
    }
}
