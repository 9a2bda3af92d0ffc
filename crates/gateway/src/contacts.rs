//! Connections by device, from their first contact on: a revocation closes them wherever they stand. Those that carry a
//! session are the session's to end, with a good-bye.

use crate::shared::Shared;
use quinn::Connection;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use vestibule_proto::id::DeviceId;
use vestibule_proto::session::code;

/// All connections of devices and invitations, with or without a session.
#[derive(Default)]
pub(crate) struct Contacts {
    by_connection: Mutex<HashMap<usize, Known>>,
}

struct Known {
    device: DeviceId,
    connection: Connection,
    has_session: bool,
}

/// A connection is known until this is dropped.
pub(crate) struct Contact {
    shared: Arc<Shared>,
    stable_id: usize,
}

impl Contacts {
    /// Closes all connections of a device that carry no session.
    pub(crate) fn close(&self, device: &DeviceId) {
        let by_connection = self.by_connection();
        for known in by_connection.values().filter(|known| known.device == *device && !known.has_session) {
            known.connection.close(code::ENDED.into(), b"");
        }
    }

    /// Closes all connections: the gateway is gone.
    pub(crate) fn close_all(&self) {
        for known in self.by_connection().values() {
            known.connection.close(code::SHUTDOWN.into(), b"");
        }
    }

    /// How many connections there are.
    pub(crate) fn len(&self) -> usize {
        self.by_connection().len()
    }

    fn by_connection(&self) -> MutexGuard<'_, HashMap<usize, Known>> {
        self.by_connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Contact {
    /// Enters a connection.
    pub(crate) fn enter(shared: &Arc<Shared>, device: DeviceId, connection: &Connection) -> Self {
        let stable_id = connection.stable_id();
        let known = Known { device, connection: connection.clone(), has_session: false };
        shared.contacts.by_connection().insert(stable_id, known);
        Self { shared: shared.clone(), stable_id }
    }

    /// From here on the connection is ended by its session, which stands in the registry.
    pub(crate) fn has_session(&self) {
        if let Some(known) = self.shared.contacts.by_connection().get_mut(&self.stable_id) {
            known.has_session = true;
        }
    }
}

impl Drop for Contact {
    fn drop(&mut self) {
        self.shared.contacts.by_connection().remove(&self.stable_id);
    }
}
