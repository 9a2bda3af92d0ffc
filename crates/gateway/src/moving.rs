//! R2: a session's connection goes on from another address. The door lets it (`dark`), QUIC validates the path, and here the
//! address that it left is given up. What the kernel carries by that address ends with it.

use crate::sessions::Session;
use crate::shared::Shared;
use quinn::Connection;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;
use tokio::sync::watch;
use vestibule_dark::{Flow, GRACE, Terms, exporter, peer_address};
use vestibule_proto::admission::Granted;
use vestibule_proto::moving::MoveKey;

/// From where a session's packets come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// From this address.
    At(IpAddr),
    /// One of its tags was said from another place, and whether the session is there is not known yet.
    Between,
}

impl Place {
    /// The address of a connection that does not move now.
    pub(crate) fn of(connection: &Connection) -> Self {
        Self::At(peer_address(connection).ip().to_canonical())
    }
}

/// A connection that may move as long as this lives.
pub(crate) struct Moving {
    flow: Flow,
    connection: Connection,
    /// Where it was when it was last looked at.
    at: SocketAddr,
    /// When it must be somewhere.
    settles: Option<Instant>,
    place: watch::Sender<Place>,
}

impl Moving {
    /// Lets the connection of a session move, as far as the policy for addresses goes.
    pub(crate) fn begin(
        shared: &Shared,
        granted: &Granted,
        session: &Session,
        connection: &Connection,
        flow: Flow,
    ) -> Self {
        let now = Instant::now();
        let terms = Terms {
            announced: granted.announced.ip(),
            policy: shared.settings().nat,
            until: now + session.expires_in(now),
        };
        let followed = exporter(connection).map_err(|error| error.to_string()).and_then(|exporter| {
            let key = MoveKey::derive(&granted.ticket.kd, &exporter);
            flow.follow(key, terms).map_err(|error| error.to_string())
        });
        if let Err(error) = followed {
            tracing::warn!(session = %session.id, %error, "this connection can't move: a changed address resumes the session");
        }
        let place = watch::Sender::new(Place::of(connection));
        Self { flow, connection: connection.clone(), at: peer_address(connection), settles: None, place }
    }

    /// Tells where the connection is, and every change.
    pub(crate) fn place(&self) -> watch::Receiver<Place> {
        self.place.subscribe()
    }

    /// Waits until the connection moves or must have moved, and does what is due then. Cancel-safe.
    pub(crate) async fn step(&mut self, shared: &Shared, session: &Session) {
        let due = async {
            match self.settles {
                Some(due) => tokio::time::sleep_until(due.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.flow.moved() => {
                self.settles = Some(Instant::now() + GRACE);
                self.place.send_replace(Place::Between);
            }
            () = due => self.settle(shared, session),
        }
    }

    fn settle(&mut self, shared: &Shared, session: &Session) {
        self.settles = None;
        let (from, to) = (self.at, peer_address(&self.connection));
        self.flow.settle(to, Instant::now());
        self.place.send_replace(Place::of(&self.connection));
        if from != to {
            self.at = to;
            shared.counters.moved_session();
            tracing::info!(session = %session.id, user = %session.user, %from, %to, "session moved");
        }
    }
}
