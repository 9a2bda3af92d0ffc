//! Sessions: from login to sign-off, expiry or revocation; across broken connections and restarts.
//!
//! A session that stands in this registry may be resumed; one that is not in it can't. The registry decides when a session has
//! expired or was idle for too long, in one expiring map that is visited by one task.

mod keeper;
mod session;

pub(crate) use keeper::keep;
pub(crate) use session::{FlowPass, Live, Session, SessionSeed, Told, understood};

use crate::directory::EndReason;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::Notify;
use vestibule_proto::expiring::{ExpiringMap, Full};
use vestibule_proto::id::{DeviceId, SessionId, UserName};

/// Every session that may be used or resumed.
pub(crate) struct Sessions {
    /// A session's deadline here is when the keeper visits it next.
    by_id: Mutex<ExpiringMap<SessionId, Arc<Session>>>,
    /// A visit may now be due earlier than the keeper thinks.
    rescheduled: Notify,
}

/// What a visit of the keeper found.
pub(crate) enum Visit {
    /// The session is over: it is out of the registry.
    Over(Arc<Session>, EndReason),
    /// It goes on, and was used since the last visit.
    Used(Arc<Session>),
    /// It goes on.
    Quiet,
}

impl Sessions {
    /// An empty registry for at most so many sessions.
    pub(crate) fn new(limit: usize) -> Self {
        Self { by_id: Mutex::new(ExpiringMap::with_limit(limit)), rescheduled: Notify::new() }
    }

    /// Enters a session that is already written down.
    ///
    /// # Errors
    /// [`Full`] when the gateway holds as many sessions as it may.
    pub(crate) fn enter(&self, session: Session) -> Result<Arc<Session>, Full> {
        let session = Arc::new(session);
        let first_visit = session.next_visit(Instant::now());
        self.by_id().insert(session.id, session.clone(), first_visit)?;
        self.rescheduled.notify_one();
        Ok(session)
    }

    /// Whether another session fits.
    pub(crate) fn is_full(&self) -> bool {
        self.by_id().is_full()
    }

    /// The session with this id, if it may be used.
    pub(crate) fn get(&self, id: &SessionId) -> Option<Arc<Session>> {
        self.by_id().get(id).cloned()
    }

    /// Takes a session out, so that it can't be used or resumed any more.
    pub(crate) fn remove(&self, id: &SessionId) -> Option<Arc<Session>> {
        self.by_id().remove(id)
    }

    /// Takes out all sessions of a device.
    pub(crate) fn remove_device(&self, device: &DeviceId) -> Vec<Arc<Session>> {
        self.remove_where(|session| session.device == *device)
    }

    /// Takes out all sessions of a user.
    pub(crate) fn remove_user(&self, user: &UserName) -> Vec<Arc<Session>> {
        self.remove_where(|session| session.user == *user)
    }

    /// All sessions, in no particular order.
    pub(crate) fn all(&self) -> Vec<Arc<Session>> {
        self.by_id().iter().map(|(_, session)| session.clone()).collect()
    }

    /// How many sessions there are.
    pub(crate) fn len(&self) -> usize {
        self.by_id().len()
    }

    /// Visits the next session that is due.
    pub(crate) fn visit(&self, now: Instant) -> Option<Visit> {
        let mut by_id = self.by_id();
        let (id, session) = by_id.pop_expired(now)?;
        let used = session.take_use(now);
        if let Some(reason) = session.over(now) {
            return Some(Visit::Over(session, reason));
        }
        let next = session.next_visit(now);
        // It was in until just now, so there is room.
        let _ = by_id.insert(id, session.clone(), next);
        Some(if used { Visit::Used(session) } else { Visit::Quiet })
    }

    /// When the next session is due.
    pub(crate) fn next_visit(&self) -> Option<Instant> {
        self.by_id().poll_timeout()
    }

    /// Completes when a visit may have become due earlier.
    pub(crate) async fn rescheduled(&self) {
        self.rescheduled.notified().await;
    }

    fn remove_where(&self, matches: impl Fn(&Session) -> bool) -> Vec<Arc<Session>> {
        let mut by_id = self.by_id();
        let ids: Vec<_> = by_id.iter().filter(|(_, session)| matches(session)).map(|(id, _)| *id).collect();
        ids.iter().filter_map(|id| by_id.remove(id)).collect()
    }

    fn by_id(&self) -> MutexGuard<'_, ExpiringMap<SessionId, Arc<Session>>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use vestibule_proto::entropy::SeededEntropy;
    use vestibule_proto::key::Secret;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn seed(number: u64, user: &str) -> SessionSeed {
        let mut entropy = SeededEntropy::new(number);
        SessionSeed {
            id: SessionId::random(&mut entropy),
            user: UserName::parse(user).unwrap(),
            device: DeviceId::random(&mut entropy),
            resume_secret: Secret::random(&mut entropy),
            expires_in: 12 * HOUR,
            idle_limit: HOUR / 2,
            idle_since: Duration::ZERO,
            by_login: true,
        }
    }

    fn only(sessions: &Sessions, now: Instant) -> Option<EndReason> {
        let mut over = None;
        while let Some(visit) = sessions.visit(now) {
            match visit {
                Visit::Over(_, reason) => over = Some(reason),
                Visit::Used(_) | Visit::Quiet => {}
            }
        }
        over
    }

    #[test]
    fn an_unused_session_ends_idle_and_no_earlier() {
        let sessions = Sessions::new(10);
        let session = sessions.enter(Session::new(seed(1, "alice"), Instant::now())).unwrap();
        let start = Instant::now();
        assert_eq!(only(&sessions, start + HOUR / 2 - Duration::from_secs(1)), None);
        assert!(sessions.get(&session.id).is_some());
        assert_eq!(only(&sessions, start + HOUR / 2 + Duration::from_secs(1)), Some(EndReason::Idle));
        assert!(sessions.get(&session.id).is_none());
        assert!(sessions.next_visit().is_none());
    }

    #[test]
    fn a_used_session_lives_until_it_expires() {
        let sessions = Sessions::new(10);
        let session = sessions.enter(Session::new(seed(1, "alice"), Instant::now())).unwrap();
        let start = Instant::now();
        for minute in 0..12 * 60 {
            let now = start + Duration::from_secs(60 * minute);
            session.touch(now);
            assert_eq!(only(&sessions, now), None, "minute {minute}");
        }
        assert_eq!(only(&sessions, start + 12 * HOUR + Duration::from_secs(1)), Some(EndReason::Expired));
    }

    #[test]
    fn idle_time_before_a_restart_counts() {
        let sessions = Sessions::new(10);
        let now = Instant::now();
        let idle_since = HOUR / 2 - Duration::from_secs(10);
        sessions.enter(Session::new(SessionSeed { idle_since, ..seed(1, "alice") }, now)).unwrap();
        assert_eq!(only(&sessions, now + Duration::from_secs(9)), None);
        assert_eq!(only(&sessions, now + Duration::from_secs(11)), Some(EndReason::Idle));
    }

    #[test]
    fn sessions_are_taken_out_by_user_and_by_device_and_are_bounded() {
        let sessions = Sessions::new(3);
        let enter = |number, user| sessions.enter(Session::new(seed(number, user), Instant::now()));
        let (alice, bob) = (enter(1, "alice").unwrap(), enter(2, "bob").unwrap());
        enter(3, "alice").unwrap();
        assert!(enter(4, "carol").is_err() && sessions.is_full());
        assert_eq!(sessions.remove_device(&alice.device).len(), 1);
        assert_eq!(sessions.remove_user(&alice.user).len(), 1);
        assert_eq!(sessions.remove_user(&alice.user).len(), 0);
        assert_eq!(sessions.all().iter().map(|session| session.id).collect::<Vec<_>>(), [bob.id]);
    }
}
