//! Connections by device, from their first contact on: a revocation closes them wherever they stand.

use quinn::Connection;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use vestibule_proto::id::DeviceId;
use vestibule_proto::session::code;

/// All connections of devices and invitations, with or without a session.
#[derive(Default)]
pub(crate) struct Contacts {
    by_connection: Mutex<HashMap<usize, (DeviceId, Connection)>>,
}

/// A connection is known until this is dropped.
pub(crate) struct Contact<'a> {
    contacts: &'a Contacts,
    stable_id: usize,
}

impl Contacts {
    /// Enters a connection.
    pub(crate) fn enter(&self, device: DeviceId, connection: &Connection) -> Contact<'_> {
        let stable_id = connection.stable_id();
        self.by_connection().insert(stable_id, (device, connection.clone()));
        Contact { contacts: self, stable_id }
    }

    /// Closes all connections of a device that have no session: those of sessions are told why before.
    pub(crate) fn close(&self, device: &DeviceId, has_session: impl Fn(&Connection) -> bool) {
        let of_device: Vec<_> = {
            let by_connection = self.by_connection();
            let of_device = by_connection.values().filter(|(owner, _)| owner == device);
            of_device.map(|(_, connection)| connection.clone()).collect()
        };
        for connection in of_device.iter().filter(|connection| !has_session(connection)) {
            connection.close(code::ENDED.into(), b"");
        }
    }

    /// Closes all connections: the gateway is gone.
    pub(crate) fn close_all(&self) {
        for (_, connection) in self.by_connection().values() {
            connection.close(code::SHUTDOWN.into(), b"");
        }
    }

    /// How many connections there are.
    pub(crate) fn len(&self) -> usize {
        self.by_connection().len()
    }

    fn by_connection(&self) -> MutexGuard<'_, HashMap<usize, (DeviceId, Connection)>> {
        self.by_connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Contact<'_> {
    fn drop(&mut self) {
        self.contacts.by_connection().remove(&self.stable_id);
    }
}
