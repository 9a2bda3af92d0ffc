//! The one task that lets sessions expire.

use super::Visit;
use crate::shared::{Shared, now};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// With no session to wait for, it looks this often.
const NOTHING_DUE: Duration = Duration::from_secs(60);

/// Visits sessions when they are due, ends those that are over, and writes down which were used.
pub(crate) async fn keep(shared: Arc<Shared>) {
    loop {
        visit_all(&shared).await;
        let next = shared.sessions.next_visit().unwrap_or_else(|| Instant::now() + NOTHING_DUE);
        tokio::select! {
            () = tokio::time::sleep_until(next.into()) => {}
            () = shared.sessions.rescheduled() => {}
        }
    }
}

async fn visit_all(shared: &Arc<Shared>) {
    let mut used = Vec::new();
    let (now, wall) = (Instant::now(), now().wall);
    while let Some(visit) = shared.sessions.visit(now) {
        match visit {
            Visit::Over(session, reason) => shared.end_session(&session, reason),
            Visit::Used(session) => used.push((session.id, wall)),
            Visit::Quiet => {}
        }
    }
    if used.is_empty() {
        return;
    }
    if let Err(error) = shared.directory.touch_sessions(used).await {
        // After a restart these sessions would look idle for longer than they were: the safe side.
        tracing::warn!(%error, "the last use of sessions could not be written down");
    }
}
