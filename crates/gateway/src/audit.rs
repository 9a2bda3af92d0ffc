//! What goes into the audit log besides the changes of the directory, which tell of themselves.

use crate::directory::{AuditEntry, AuditKind};
use crate::link::News;
use crate::shared::{Shared, now};
use std::net::SocketAddr;
use std::sync::Arc;
use vestibule_proto::admission::{AdmissionAudit, Suspicion};
use vestibule_proto::id::DeviceId;
use vestibule_proto::inner::RefusalCode;

/// Tells the owner what the admission machine has to say.
pub(crate) fn tell(shared: &Arc<Shared>, audit: AdmissionAudit) {
    if let Some(entry) = entry(shared, audit) {
        write(shared, entry);
    }
}

/// Tells the owner of rows that the controller does not hold.
pub(crate) fn tell_left_out(shared: &Arc<Shared>, news: News) {
    let entry = || AuditEntry::of(AuditKind::RowRefused, now().wall);
    for digest in news.collided {
        tracing::error!(%digest, "the controller holds another gateway's row with this digest or device key: ours is refused");
        let Ok(Some((id, user))) = shared.directory.by_digest(&digest) else { continue };
        let detail =
            "a device of another gateway has the same keys or digest; revoke this one, and invite its user anew";
        write(shared, entry().device(&id).user(&user).detail(detail));
    }
    if let Some(sentence) = news.no_room {
        tracing::error!("{sentence}");
        write(shared, entry().detail(sentence));
    }
}

/// Writes an entry; nobody waits for that.
pub(crate) fn write(shared: &Arc<Shared>, entry: AuditEntry) {
    let shared = shared.clone();
    shared.tasks.clone().spawn(async move {
        if let Err(error) = shared.directory.audit(entry).await {
            tracing::error!(%error, "the audit log can't be written");
        }
    });
}

/// What of it goes into the audit log. A device's wrong passwords are there already: they were counted.
fn entry(shared: &Shared, audit: AdmissionAudit) -> Option<AuditEntry> {
    match audit {
        AdmissionAudit::WrongPassword { device, source, tries, limit } => {
            tracing::warn!(%device, %source, tries, limit, "a knock with a wrong password");
            let is_device = shared.directory.device(&device).is_ok_and(|device| device.is_some());
            (!is_device).then(|| about(shared, AuditKind::InvitationAltered, &device, source))
        }
        AdmissionAudit::Suspended { device, source } => {
            tracing::error!(%device, %source, "ALARM: suspended after too many wrong passwords");
            None
        }
        AdmissionAudit::Refused { device, source, code } => {
            Some(about(shared, refusal_kind(code), &device, source).detail(code.as_str()))
        }
        AdmissionAudit::InvitationAltered { device, source } => {
            Some(about(shared, AuditKind::InvitationAltered, &device, source))
        }
        AdmissionAudit::ControllerSuspect { suspicion, digest, times } => {
            let what = match suspicion {
                Suspicion::UnknownDigest => "it forwards knocks under a digest that is not known here",
                Suspicion::NotVouched => "it forwards inner parts that no device of ours has made",
            };
            let detail = format!("{what}: {times} times, last under {digest}");
            tracing::warn!(detail, "the controller forwards what no device of ours can have sent");
            Some(AuditEntry::of(AuditKind::ControllerSuspect, now().wall).detail(detail))
        }
        AdmissionAudit::Unused { device, announced } => {
            tracing::info!(%device, %announced, "a door stood open and nobody came");
            None
        }
    }
}

fn refusal_kind(code: RefusalCode) -> AuditKind {
    match code {
        RefusalCode::InvitationUsed | RefusalCode::InvitationExpired => AuditKind::InvitationRefused,
        RefusalCode::WrongPassword
        | RefusalCode::Wait
        | RefusalCode::Suspended
        | RefusalCode::Revoked
        | RefusalCode::Version
        | RefusalCode::Time
        | RefusalCode::Fault
        | RefusalCode::Busy
        | RefusalCode::GatewayKey => AuditKind::KnockRefused,
    }
}

/// An entry about a device or an invitation, and its user where there is one.
pub(crate) fn about(shared: &Shared, kind: AuditKind, id: &DeviceId, source: SocketAddr) -> AuditEntry {
    let entry = AuditEntry::of(kind, now().wall).device(id).address(source);
    let of_device = shared.directory.device(id).ok().flatten().map(|device| device.user);
    let user = of_device.or_else(|| Some(shared.directory.invitation(id).ok()??.user));
    match user {
        Some(user) => entry.user(&user),
        None => entry,
    }
}
