//! Contacts of one admission that come by several ways: over QUIC and over TCP, by IPv4 and by IPv6. A network may let the first
//! packet of one way pass and not the answer, so none of them decides by coming first: of those that have passed the
//! handshake, which takes the device's key, the one whose first word comes first is served. The others end.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use vestibule_proto::admission::Granted;
use vestibule_proto::id::TicketId;

/// The admissions whose device has not said its first word yet. As many as first contacts are being greeted, at most.
#[derive(Default)]
pub(crate) struct Greetings(Mutex<HashMap<TicketId, Granted>>);

impl Greetings {
    /// The first contact of an admission has come. [`Greetings::end`] is to be said when it has had its time.
    pub(crate) fn begin(&self, granted: &Granted) {
        self.standing().insert(granted.ticket.id, granted.clone());
    }

    /// A further contact, from this source. `None`: the admission's device has been heard, or nobody was admitted by it.
    pub(crate) fn another(&self, ticket: &TicketId, source: SocketAddr) -> Option<Granted> {
        let granted = self.standing().get(ticket).cloned()?;
        Some(Granted { source: SocketAddr::new(source.ip().to_canonical(), source.port()), ..granted })
    }

    /// Nothing more is waited for: a contact has said its first word, or the time is over. Whether something was until now.
    pub(crate) fn end(&self, ticket: &TicketId) -> bool {
        self.standing().remove(ticket).is_some()
    }

    /// Whether the admission's device has not been heard yet.
    pub(crate) fn waits(&self, ticket: &TicketId) -> bool {
        self.standing().contains_key(ticket)
    }

    fn standing(&self) -> MutexGuard<'_, HashMap<TicketId, Granted>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
