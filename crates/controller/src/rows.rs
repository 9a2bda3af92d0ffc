//! Gateways and rows on disk: what the controller must still know after a restart.
//!
//! A *row* lets one device's knocks (or one gateway's own knocks) be recognised: login digest, device key, psk_c. It
//! holds no name of a person. Device rows are what gateways publish; link rows are the gateways' own. A digest, and a
//! device key, has one owner in the whole table (C13); several gateways of a cluster may own a row together.
//!
//! Nothing here is called in the knock path, except [`Rows::flush_last`] a few seconds behind it.

mod record;
mod schema;

use std::path::Path;

use vestibule_proto::id::{GatewayId, LoginDigest, Stamp};
use vestibule_proto::invitation::KnockKeys;
use vestibule_proto::key::Spki;
use vestibule_proto::link::Register;
use vestibule_proto::recognition::{Owner, Row};
use vestibule_store::{Store, StoreError};

/// The controller's database. Cheap to clone: all clones are one.
#[derive(Clone, Debug)]
pub struct Rows {
    store: Store,
}

/// A gateway as the controller's owner knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayRecord {
    /// Its id.
    pub id: GatewayId,
    /// The name under which it was invited.
    pub name: String,
    /// The key of its links and published rows; `None` until its first link.
    pub spki: Option<Spki>,
    /// Until when its invitation may be used; `None` when it has none, or it was used.
    pub invited_until: Option<Stamp>,
    /// How many device rows it has published.
    pub rows: u64,
}

/// Why a change was not written down. Nothing of it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowsError {
    /// The database refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The digest or the device key of this row belongs to another row (C13).
    #[error("the row {0} collides with one of another gateway or device")]
    Conflict(LoginDigest),
    /// A gateway of this name is linked already.
    #[error("there is already a gateway `{0}`")]
    NameTaken(String),
    /// The gateway of this id has linked under this other name.
    #[error("that gateway is called `{0}` here")]
    OtherName(String),
    /// The gateway was not invited, or was removed.
    #[error("the gateway {0} is not known here")]
    UnknownGateway(GatewayId),
}

impl From<rusqlite::Error> for RowsError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

impl Rows {
    /// Opens or creates the database.
    ///
    /// # Errors
    /// Those of [`Store::open`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self { store: Store::open(path, schema::MIGRATIONS)? })
    }

    /// All rows in force at `now`, for the recognition machine: those of devices, once per gateway that serves them, and
    /// those of gateways without expired invitations.
    ///
    /// # Errors
    /// The database can't be read.
    pub fn load(&self, now: Stamp) -> Result<Vec<Row>, StoreError> {
        self.read(|c| record::load(c, now))
    }

    /// The gateways, by name.
    ///
    /// # Errors
    /// The database can't be read.
    pub fn gateways(&self) -> Result<Vec<GatewayRecord>, StoreError> {
        self.read(record::gateways)
    }

    /// The key of a gateway's links; `None` before its first link.
    ///
    /// # Errors
    /// The database can't be read.
    pub fn gateway_spki(&self, gateway: &GatewayId) -> Result<Option<Spki>, StoreError> {
        self.read(|c| record::spki(c, gateway))
    }

    /// Makes the temporary row under which an invited gateway may link until `expires`. A gateway of this id that has linked
    /// goes on with its keys until it comes with the invitation. An earlier invitation of the same name that was not used is
    /// replaced: then true. Blocks; not for async code.
    ///
    /// # Errors
    /// [`RowsError::NameTaken`] when another gateway of this name has linked, [`RowsError::OtherName`] when this one has under
    /// another name.
    pub fn invite_gateway(
        &self,
        gateway: GatewayId,
        name: &str,
        first_knock: &KnockKeys,
        expires: Stamp,
    ) -> Result<bool, RowsError> {
        let name = name.to_owned();
        let row = Row {
            digest: first_knock.digest,
            device_key: first_knock.d_out.public(),
            psk_c: first_knock.psk_c.clone(),
            owner: Owner::Link(gateway),
            temporary_until: Some(expires),
            last: Stamp::default(),
        };
        self.store.write_blocking(move |c| record::invite_gateway(c, &gateway, &name, &row))
    }

    /// Forgets the gateway of this name, its link row and the device rows that it alone has published; `None` if there
    /// is none. Blocks; not for async code.
    ///
    /// # Errors
    /// The database can't be written.
    pub fn remove_gateway(&self, name: &str) -> Result<Option<GatewayId>, StoreError> {
        let name = name.to_owned();
        self.store.write_blocking(move |c| record::remove_gateway(c, &name))
    }

    /// Replaces the temporary row of an invited gateway by its lasting keys (design: the first link). `says` is how the
    /// gateway calls itself; lists go on showing the name of the invitation.
    ///
    /// # Errors
    /// [`RowsError::UnknownGateway`] for a gateway that has no invitation pending, [`RowsError::Conflict`].
    pub async fn register_gateway(&self, gateway: GatewayId, says: &str, register: &Register) -> Result<(), RowsError> {
        let row = Row {
            digest: register.digest,
            device_key: register.device_key,
            psk_c: register.psk_c.clone(),
            owner: Owner::Link(gateway),
            temporary_until: None,
            last: Stamp::default(),
        };
        let spki = register.spki;
        self.store.write(move |c| record::register(c, &gateway, &spki, &row)).await?;
        tracing::info!(%gateway, says, "gateway registered");
        Ok(())
    }

    /// A gateway's links and rows bear the key `to` from now on, if they bore `from`. False if they did not; nothing is
    /// changed then.
    ///
    /// # Errors
    /// The database can't be written.
    pub async fn hand_over(&self, gateway: GatewayId, from: Spki, to: Spki) -> Result<bool, StoreError> {
        self.store.write(move |c| record::hand_over(c, &gateway, &from, &to)).await
    }

    /// Adds or renews one published row. The digest keeps its `last`.
    ///
    /// # Errors
    /// [`RowsError::Conflict`], [`RowsError::UnknownGateway`].
    pub async fn publish(&self, gateway: GatewayId, row: Row) -> Result<(), RowsError> {
        self.store
            .write(move |c| {
                record::must_be_known(c, &gateway)?;
                record::publish(c, &gateway, &row)
            })
            .await
    }

    /// Makes `rows` the whole of what this gateway publishes, but for those that are returned: they collide with another
    /// gateway's (C13). Digests keep their `last`.
    ///
    /// # Errors
    /// [`RowsError::UnknownGateway`], or the database can't be written; the old rows stand then.
    pub async fn replace(&self, gateway: GatewayId, rows: Vec<Row>) -> Result<Vec<LoginDigest>, RowsError> {
        self.store
            .write(move |c| {
                record::must_be_known(c, &gateway)?;
                record::keep_only(c, &gateway, &rows)?;
                let mut collided = Vec::new();
                for row in &rows {
                    match record::publish(c, &gateway, row) {
                        Ok(()) => {}
                        Err(RowsError::Conflict(digest)) => {
                            record::withdraw(c, &gateway, &digest)?;
                            collided.push(digest);
                        }
                        Err(error) => return Err(error),
                    }
                }
                Ok(collided)
            })
            .await
    }

    /// Withdraws a row that this gateway has published; one that it has not is left alone.
    ///
    /// # Errors
    /// The database can't be written.
    pub async fn withdraw(&self, gateway: GatewayId, digest: LoginDigest) -> Result<(), StoreError> {
        self.store.write(move |c| record::withdraw(c, &gateway, &digest)).await
    }

    /// Writes down the highest stamps accepted per row (silence to recordings, PROTOCOL 3.5). Off the knock path. A stamp
    /// never goes back, and stays when its row is withdrawn.
    ///
    /// # Errors
    /// The database can't be written.
    pub async fn flush_last(&self, dirty: Vec<(LoginDigest, Stamp)>) -> Result<(), StoreError> {
        self.store.write(move |c| record::flush_last(c, &dirty)).await
    }

    fn read<T>(&self, look: impl FnOnce(&rusqlite::Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.store.read(look).map_err(|error| error.at(self.store.path()))
    }
}

#[cfg(test)]
mod tests;
