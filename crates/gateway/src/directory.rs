//! The directory: users, devices, invitations, services, sessions, and what must never be forgotten about knocks.
//!
//! Every change is one transaction together with its line in the audit log, and is on the disk when its method returns.
//! Nothing here touches a socket or a running session: what a change means for those is returned as [`Effect`]s, which
//! the runtime carries out. When the role isn't running there is nothing to carry out.
//!
//! | file | holds |
//! |---|---|
//! | `user` `device` `invitation` `service` `session` | records, and what the owner may do with them |
//! | `enrolment` | E1: pending, then active, by one confirmation |
//! | `knocks` `floor` | the durable seen-set and the one counter of wrong passwords per device |
//! | `publishing` | what the admission machine and the controller need to know |
//! | `catalogue` | who may use which service, as a value that needs no database |
//! | `digest` | the login digest A2 |
//! | `audit` | what happened |
//! | `keeping` `kept` | what is forgotten, and when |

mod audit;
mod catalogue;
mod columns;
mod device;
mod digest;
mod effect;
mod enrolment;
mod error;
mod floor;
mod invitation;
mod keeping;
mod kept;
mod knocks;
mod publishing;
mod schema;
mod service;
mod session;
mod user;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use rusqlite::Connection;
use vestibule_proto::id::GatewayId;
use vestibule_proto::key::{PublicKey, RealmKey, Secret, Spki};
use vestibule_store::{Store, StoreError};

pub use audit::{AUDIT_ENTRIES, AuditEntry, AuditKind, AuditQuery};
pub use catalogue::Catalogue;
pub use device::{Device, DeviceState};
pub use digest::{FirstAuthentication, login_digest};
pub use effect::Effect;
pub use enrolment::{EnrolError, NewDevice, PENDING_PER_INVITATION, PendingDevice};
pub use error::{DirectoryError, What};
pub use floor::MARK_AHEAD;
pub use invitation::{InvitationRecord, InvitationState, Issued};
pub use keeping::{AUDIT_KEPT, Due, INVITATION_KEPT, PENDING_KEPT, SESSION_KEPT};
pub use kept::{BELIEVED, CAUGHT_UP, KeptTime};
pub use knocks::{CountedGuess, GuessAnswer, guess_policy};
pub use service::{Service, Source, upstream_of};
pub use session::{EndReason, NewSession, SessionError, SessionRecord};
pub use user::{DEVICES_PER_USER, INVITATIONS_PER_USER, User};

/// Who this gateway is, for digests and invitations. The private keys stay in the key file.
pub struct Identity {
    /// The gateway's id.
    pub gateway: GatewayId,
    /// Its name, for the eyes of those it invites.
    pub name: String,
    /// Keys the login digests; known to this gateway alone.
    pub k_lookup: Secret<32>,
    /// What an invitation tells besides its secrets, at the start; `None` as long as the gateway knows no controller, and then nobody
    /// can be invited.
    pub introduction: Option<Introduction>,
}

/// What an invitation tells besides its secrets: how to reach the controller, and the keys to recognise both roles by.
#[derive(Clone)]
pub struct Introduction {
    /// Addresses of the controller, `host:port`, at most 4.
    pub controllers: Vec<String>,
    /// C.
    pub controller_key: PublicKey,
    /// K_realm.
    pub realm: RealmKey,
    /// The public half of G.
    pub gateway_key: PublicKey,
    /// G_tls: the present one.
    pub gateway_pins: Vec<Spki>,
}

/// The gateway's database. Clones are cheap and are all the same directory.
#[derive(Clone)]
pub struct Directory {
    store: Store,
    identity: Arc<Identity>,
    floor: Arc<floor::Floor>,
    /// What an invitation tells besides its secrets: it changes when keys are rotated.
    introduction: Arc<RwLock<Option<Introduction>>>,
}

impl Directory {
    /// Opens or creates the database (0600, in a 0700 directory).
    ///
    /// Errors: those of [`Store::open`].
    pub fn open(path: &Path, identity: Identity) -> Result<Self, StoreError> {
        let store = Store::open(path, schema::MIGRATIONS)?;
        let introduction = Arc::new(RwLock::new(identity.introduction.clone()));
        Ok(Self { store, identity: Arc::new(identity), floor: Arc::default(), introduction })
    }

    /// Who this gateway is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Invitations tell this from now on.
    pub fn introduce(&self, introduction: Introduction) {
        *self.introduction.write().unwrap_or_else(PoisonError::into_inner) = Some(introduction);
    }

    fn introduction(&self) -> Option<Introduction> {
        self.introduction.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The store under it, for its counters and its path.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// A change: see [`Store::write`].
    async fn write<T, E, F>(&self, change: F) -> Result<T, E>
    where
        F: FnMut(&Connection) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.store.write(change).await
    }

    /// A short look-up on the calling thread: see [`Store::read`].
    fn look<T>(&self, look: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.store.read(look).map_err(|error| error.at(self.store.path()))
    }

    /// A list, on a thread that may block: see [`Store::read_apart`].
    async fn list<T, F>(&self, list: F) -> Result<T, StoreError>
    where
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
        T: Send + 'static,
    {
        self.store.read_apart(list).await.map_err(|error| error.at(self.store.path()))
    }
}
