//! R1: a session goes on over a new connection, without the password.

use crate::sessions::Session;
use crate::shared::{Shared, now};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;
use subtle::ConstantTimeEq;
use vestibule_proto::admission::Granted;
use vestibule_proto::id::SessionId;
use vestibule_proto::session::{Reason, resume_proof};

/// The session that the client proves: the one for which it knocked, of the same device, in the registry, and in good
/// standing in the directory.
///
/// # Errors
/// [`Reason::NoSession`] whatever is wrong with session or proof; [`Reason::Revoked`] or [`Reason::Suspended`] for device and
/// user; [`Reason::GatewayFault`] when the directory fails.
pub(crate) async fn resume(
    shared: &Shared,
    granted: &Granted,
    exporter: &[u8; 32],
    (id, proof): (SessionId, [u8; 32]),
    address: SocketAddr,
) -> Result<Arc<Session>, Reason> {
    let session = shared.sessions.get(&id).filter(|_| granted.session == Some(id)).ok_or(Reason::NoSession)?;
    // The keeper may not have visited it yet.
    if session.over(Instant::now()).is_some() {
        return Err(Reason::NoSession);
    }
    let ticket = &granted.ticket;
    let expected = resume_proof(&session.resume_secret, exporter, &ticket.inner_hash, &ticket.id);
    if session.device != granted.device || !bool::from(expected.ct_eq(&proof)) {
        return Err(Reason::NoSession);
    }
    let written = shared.directory.resume_session(id, granted.device, (address, granted.version), now().wall).await;
    written.map_err(|error| {
        tracing::info!(session = %id, %error, "a session is not resumed");
        error.reason()
    })?;
    shared.counters.resumed_session();
    tracing::info!(session = %id, user = %session.user, %address, "session resumed");
    Ok(session)
}
