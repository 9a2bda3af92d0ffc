//! Invitations: devices that don't exist yet.
//!
//! Kept is what recognises a link: public keys, and what the invited shares with controller and gateway. The link's secrets,
//! and the private keys that derive from them, are forgotten as soon as the link is told (P3): whoever has the database can't
//! come in the invited's place.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row};
use vestibule_proto::entropy::Entropy;
use vestibule_proto::guess::GuessCount;
use vestibule_proto::id::{DeviceId, LoginDigest, Stamp, UserName};
use vestibule_proto::invitation::{Invitation, InvitationKeys};
use vestibule_proto::key::{Psk, PublicKey, Secret, Spki};
use vestibule_proto::link::PublishedRow;
use vestibule_store::StoreError;

use super::audit::{AuditEntry, AuditKind, record};
use super::columns::{
    device_id, digest, millis, optional_device_id, optional_stamp, public_key, secret, spki, stamp, user_name,
};
use super::error::{DirectoryError, What};
use super::knocks::guesses_of;
use super::user::{self, INVITATIONS_PER_USER};
use super::{Directory, Effect, device};

/// How long an invitation may be usable, at least and at most.
const LIFETIME: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(90 * 24 * 3_600);

/// How long a device may take to replace itself.
const RENEWAL_WITHIN: Duration = Duration::from_secs(600);

/// An invitation.
#[derive(Clone)]
pub struct InvitationRecord {
    /// Its id: that of the device for which it stands in for until it is used.
    pub id: DeviceId,
    /// Who is invited.
    pub user: UserName,
    /// What became of it. An open one may have expired unnoticed: [`expires`](Self::expires) and the clock tell.
    pub state: InvitationState,
    /// Its login digest.
    pub digest: LoginDigest,
    /// When it was issued.
    pub created: Stamp,
    /// From this moment on it is refused.
    pub expires: Stamp,
    /// When it was used.
    pub used: Option<Stamp>,
    /// The device that was enrolled by it.
    pub used_by: Option<DeviceId>,
    /// The device that asked for it, to be replaced by the one that is enrolled; it must be usable until then.
    pub replaces: Option<DeviceId>,
    /// How often somebody came with an altered inner half.
    pub guesses: GuessCount,
    pub(super) keys: KnownKeys,
}

/// What this gateway knows of an invitation's keys, besides its digest: enough to recognise the invited, not to be him.
#[derive(Clone)]
pub(super) struct KnownKeys {
    /// The public half of D_out.
    pub(super) d_out: PublicKey,
    /// The public half of D_in.
    pub(super) d_in: PublicKey,
    /// D_tls.
    pub(super) d_tls: Spki,
    pub(super) psk_c: Psk,
    pub(super) psk_r: Psk,
    pub(super) psk_g: Psk,
}

/// What became of an invitation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InvitationState {
    /// It may be used, until it expires.
    Open,
    /// A device was enrolled by it.
    Used,
    /// Its owner has withdrawn it.
    Revoked,
    /// Its time was over once: for good, whatever the clock says now.
    Expired,
}

/// An invitation just issued.
pub struct Issued {
    /// Its id.
    pub id: DeviceId,
    /// Who is invited.
    pub user: UserName,
    /// From this moment on it is refused.
    pub expires: Stamp,
    /// The link, `vestibule:…`: a secret until it is used. Neither it nor its secrets are kept anywhere.
    pub link: String,
}

impl InvitationRecord {
    /// What the controller needs to know of it.
    pub(super) fn row(&self) -> PublishedRow {
        self.keys.row(self.digest)
    }
}

impl KnownKeys {
    fn of(keys: InvitationKeys) -> (LoginDigest, Self) {
        let known = Self {
            d_out: keys.knock.d_out.public(),
            d_in: keys.d_in.public(),
            d_tls: keys.d_tls.spki(),
            psk_c: keys.knock.psk_c,
            psk_r: keys.psk_r,
            psk_g: keys.psk_g,
        };
        (keys.knock.digest, known)
    }

    fn row(&self, digest: LoginDigest) -> PublishedRow {
        PublishedRow { digest, device_key: self.d_out, psk_c: self.psk_c.clone() }
    }
}

impl Directory {
    /// Issues a single-use invitation that is good for `lifetime` (1 second to 90 days). Its link is told this once.
    ///
    /// Errors: [`DirectoryError::NotFound`] for the user; [`DirectoryError::Invalid`] for the lifetime, a suspended user,
    /// too many open invitations, or a gateway that knows no controller yet.
    pub async fn invite(
        &self,
        user: UserName,
        lifetime: Duration,
        now: Stamp,
        entropy: &mut (dyn Entropy + Send),
    ) -> Result<(Issued, Vec<Effect>), DirectoryError> {
        if !LIFETIME.contains(&lifetime) {
            return Err(DirectoryError::Invalid("an invitation is good for 1 second to 90 days".to_owned()));
        }
        self.issue(user, None, lifetime, now, entropy).await
    }

    /// Issues an invitation to `device` itself, good for ten minutes: what is enrolled by it takes its place. Former ones are
    /// withdrawn.
    ///
    /// Errors: [`DirectoryError::NotFound`]; [`DirectoryError::Invalid`] if it can't be used itself, and as for [`Self::invite`].
    pub async fn renew(
        &self,
        device: DeviceId,
        now: Stamp,
        entropy: &mut (dyn Entropy + Send),
    ) -> Result<(Issued, Vec<Effect>), DirectoryError> {
        let user = self.look(|c| device::device(c, &device))?;
        let user = user.ok_or_else(|| DirectoryError::not_found(What::Device, device))?.user;
        self.issue(user, Some(device), RENEWAL_WITHIN, now, entropy).await
    }

    async fn issue(
        &self,
        user: UserName,
        replaces: Option<DeviceId>,
        lifetime: Duration,
        now: Stamp,
        entropy: &mut (dyn Entropy + Send),
    ) -> Result<(Issued, Vec<Effect>), DirectoryError> {
        let expires = now.saturating_add(lifetime);
        let id = DeviceId::random(entropy);
        let (outer, inner) = (Secret::random(entropy), Secret::random(entropy));
        let invitation = self.link_document(&user, expires, outer, inner)?;
        let keys = KnownKeys::of(invitation.keys());
        let effects = self.write_invitation(id, (user.clone(), replaces), keys, (now, expires)).await?;
        Ok((Issued { id, user, expires, link: invitation.to_link() }, effects))
    }

    /// Withdraws an open invitation; an enrolment under way is cut. One that is withdrawn already stays so.
    ///
    /// Errors: [`DirectoryError::NotFound`], [`DirectoryError::Invalid`] if it was used already.
    pub async fn revoke_invitation(&self, id: DeviceId, now: Stamp) -> Result<Vec<Effect>, DirectoryError> {
        self.write(move |c| {
            let invitation = must_exist(c, &id)?;
            match invitation.state {
                InvitationState::Used => {
                    Err(DirectoryError::Invalid(format!("the invitation `{id}` was used already")))
                }
                InvitationState::Revoked => Ok(Vec::new()),
                InvitationState::Open | InvitationState::Expired => withdraw(c, &invitation, now),
            }
        })
        .await
    }

    /// Somebody came with an open invitation whose time was over: it stays so, also for a clock that falls back over a restart
    /// (T25). Of any other invitation this changes nothing.
    pub async fn invitation_expired(&self, id: DeviceId) -> Result<(), StoreError> {
        self.write(move |c| {
            c.execute("UPDATE invitation SET state = 'expired' WHERE id = ?1 AND state = 'open'", [id.as_bytes()])?;
            Ok(())
        })
        .await
    }

    /// All invitations that are remembered, newest first.
    pub async fn invitations(&self) -> Result<Vec<InvitationRecord>, StoreError> {
        self.list(invitations).await
    }

    /// One invitation.
    pub fn invitation(&self, id: &DeviceId) -> Result<Option<InvitationRecord>, StoreError> {
        self.look(|c| invitation(c, id))
    }

    fn link_document(
        &self,
        user: &UserName,
        expires: Stamp,
        outer_secret: Secret<16>,
        inner_secret: Secret<16>,
    ) -> Result<Invitation, DirectoryError> {
        let identity = self.identity();
        let known = self.introduction().ok_or_else(|| {
            DirectoryError::Invalid("this gateway knows no controller yet, so nobody could follow the link".to_owned())
        })?;
        Ok(Invitation {
            format: 1,
            controllers: known.controllers,
            controller_key: known.controller_key,
            realm: known.realm,
            gateway: identity.gateway,
            gateway_name: identity.name.clone(),
            gateway_key: known.gateway_key,
            gateway_pins: known.gateway_pins,
            user: user.to_string(),
            expires,
            outer_secret,
            inner_secret,
        })
    }

    async fn write_invitation(
        &self,
        id: DeviceId,
        (user, replaces): (UserName, Option<DeviceId>),
        (digest, keys): (LoginDigest, KnownKeys),
        (now, expires): (Stamp, Stamp),
    ) -> Result<Vec<Effect>, DirectoryError> {
        self.write(move |c| {
            user::must_be_in_good_standing(c, &user)?;
            let mut effects = Vec::new();
            if let Some(device) = replaces {
                device::must_be_usable(c, &device)?;
                effects = withdraw_renewals(c, &device, now)?;
            }
            must_have_room(c, &user, now)?;
            c.execute(
                "INSERT INTO knocker (id, digest, d_out) VALUES (?1, ?2, ?3)",
                (id.as_bytes(), digest.as_bytes(), keys.d_out.as_bytes()),
            )?;
            c.execute(
                "INSERT INTO invitation (id, user, d_in, d_tls, psk_c, psk_r, psk_g, state, created, expires,
                                         replaces)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'open', ?8, ?9, ?10)",
                (
                    id.as_bytes(),
                    user.as_str(),
                    keys.d_in.as_bytes(),
                    keys.d_tls.as_bytes(),
                    keys.psk_c.expose(),
                    keys.psk_r.expose(),
                    keys.psk_g.expose(),
                    millis(now),
                    millis(expires),
                    replaces.as_ref().map(|device| device.as_bytes().as_slice()),
                ),
            )?;
            let entry = AuditEntry::of(AuditKind::InvitationIssued, now).user(&user).device(&id);
            let detail = replaces.map_or_else(String::new, |device| format!("to renew the device {device}"));
            record(c, &entry.detail(detail))?;
            effects.push(Effect::DeviceChanged { device: id, digest });
            effects.push(Effect::PublishRow(keys.row(digest)));
            Ok(effects)
        })
        .await
    }
}

const SELECT: &str = "
    SELECT i.id, i.user, i.state, k.digest, i.created, i.expires, i.used, i.used_by, k.guesses, k.last_guess,
           k.d_out, i.d_in, i.d_tls, i.psk_c, i.psk_r, i.psk_g, i.replaces
    FROM invitation i JOIN knocker k ON k.id = i.id";

pub(super) fn invitation(c: &Connection, id: &DeviceId) -> Result<Option<InvitationRecord>, StoreError> {
    let mut select = c.prepare_cached(&format!("{SELECT} WHERE i.id = ?1"))?;
    Ok(select.query_row([id.as_bytes()], invitation_of).optional()?)
}

pub(super) fn invitations(c: &Connection) -> Result<Vec<InvitationRecord>, StoreError> {
    let mut select = c.prepare_cached(&format!("{SELECT} ORDER BY i.created DESC, i.id"))?;
    let found = select.query_map([], invitation_of)?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// Forgets the devices that registered under this invitation and have not confirmed.
pub(super) fn forget_pending(c: &Connection, invitation: &DeviceId) -> Result<(), StoreError> {
    c.execute(
        "DELETE FROM knocker WHERE id IN (SELECT id FROM device WHERE invitation = ?1 AND state = 'pending')",
        [invitation.as_bytes()],
    )?;
    Ok(())
}

fn withdraw(c: &Connection, invitation: &InvitationRecord, now: Stamp) -> Result<Vec<Effect>, DirectoryError> {
    let InvitationRecord { id, digest, .. } = *invitation;
    c.execute("UPDATE invitation SET state = 'revoked' WHERE id = ?1", [id.as_bytes()])?;
    forget_pending(c, &id)?;
    record(c, &AuditEntry::of(AuditKind::InvitationRevoked, now).user(&invitation.user).device(&id))?;
    Ok(vec![Effect::CutDevice(id), Effect::DeviceChanged { device: id, digest }, Effect::WithdrawRow(digest)])
}

/// A device has one open renewal at most.
fn withdraw_renewals(c: &Connection, device: &DeviceId, now: Stamp) -> Result<Vec<Effect>, DirectoryError> {
    let sql = format!("{SELECT} WHERE i.replaces = ?1 AND i.state = 'open'");
    let mut select = c.prepare_cached(&sql)?;
    let open: Vec<_> = select.query_map([device.as_bytes()], invitation_of)?.collect::<Result<_, _>>()?;
    let mut effects = Vec::new();
    for former in open {
        effects.extend(withdraw(c, &former, now)?);
    }
    Ok(effects)
}

fn must_exist(c: &Connection, id: &DeviceId) -> Result<InvitationRecord, DirectoryError> {
    invitation(c, id)?.ok_or_else(|| DirectoryError::not_found(What::Invitation, id))
}

fn must_have_room(c: &Connection, user: &UserName, now: Stamp) -> Result<(), DirectoryError> {
    let open: u32 = c.query_row(
        "SELECT count(*) FROM invitation WHERE user = ?1 AND state = 'open' AND expires > ?2",
        (user.as_str(), millis(now)),
        |row| row.get(0),
    )?;
    if open >= INVITATIONS_PER_USER {
        return Err(DirectoryError::Invalid(format!("the user `{user}` has {open} open invitations already")));
    }
    Ok(())
}

fn invitation_of(row: &Row<'_>) -> rusqlite::Result<InvitationRecord> {
    Ok(InvitationRecord {
        id: device_id(row, 0)?,
        user: user_name(row, 1)?,
        state: state_of(&row.get::<_, String>(2)?),
        digest: digest(row, 3)?,
        created: stamp(row, 4)?,
        expires: stamp(row, 5)?,
        used: optional_stamp(row, 6)?,
        used_by: optional_device_id(row, 7)?,
        replaces: optional_device_id(row, 16)?,
        guesses: guesses_of(row, 8)?,
        keys: KnownKeys {
            d_out: public_key(row, 10)?,
            d_in: public_key(row, 11)?,
            d_tls: spki(row, 12)?,
            psk_c: secret(row, 13)?,
            psk_r: secret(row, 14)?,
            psk_g: secret(row, 15)?,
        },
    })
}

fn state_of(text: &str) -> InvitationState {
    match text {
        "open" => InvitationState::Open,
        "used" => InvitationState::Used,
        "expired" => InvitationState::Expired,
        // The table allows four words; anything else is treated like the strictest.
        _ => InvitationState::Revoked,
    }
}
