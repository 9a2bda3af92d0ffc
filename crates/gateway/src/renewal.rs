//! A device replaces itself: new keys and perhaps a new password, without its owner.
//!
//! A seed is never sealed twice (PROTOCOL 3.2), so a password that changes, or a stretching cost that is raised, takes new keys. The
//! device asks for an invitation to itself over a session that has just proven the password, and enrols with it like any
//! other (E1). The confirmation, and nothing before it, revokes the device that asked.

use crate::directory::DirectoryError;
use crate::effects;
use crate::enrolment::PUBLISHED_WITHIN;
use crate::sessions::Session;
use crate::shared::{Shared, entropy, now};
use std::sync::Arc;
use std::time::Duration;
use vestibule_proto::session::{Reason, RenewalLink};

/// How long ago the login may be: who finds an unlocked session does not get to choose its password.
const LOGIN_WITHIN: Duration = Duration::from_secs(300);

/// An invitation for the device of this session, known to the controller if the link stands.
///
/// # Errors
/// The reason to tell the client.
pub(crate) async fn offer(shared: &Arc<Shared>, session: &Session) -> Result<RenewalLink, Reason> {
    let now = now();
    if session.age(now.mono).is_none_or(|age| age > LOGIN_WITHIN) {
        return Err(Reason::NoSession);
    }
    let one_at_a_time = shared.changing.lock().await;
    let issued = shared.directory.renew(session.device, now.wall, &mut entropy()).await;
    let (issued, effects) = issued.map_err(|error| refused(shared, session, &error))?;
    let published = effects::carry_out(shared, effects).await;
    drop(one_at_a_time);
    if let Some(published) = published {
        // Without a link the client's knock finds silence, and is repeated for some seconds.
        let _ = tokio::time::timeout(PUBLISHED_WITHIN, published).await;
    }
    tracing::info!(device = %session.device, user = %session.user, invitation = %issued.id, "a device renews itself");
    Ok(RenewalLink::new(issued.link))
}

fn refused(shared: &Arc<Shared>, session: &Session, error: &DirectoryError) -> Reason {
    tracing::warn!(device = %session.device, %error, "a renewal was refused");
    match error {
        DirectoryError::Store(error) => shared.fault(error),
        DirectoryError::NotFound { .. } => Reason::Revoked,
        DirectoryError::Exists { .. } | DirectoryError::Invalid(_) => Reason::Busy,
    }
}
