//! What a controller is started with, and how one is made.

use crate::keys::{Keys, KeysError};
use crate::rows::Rows;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use vestibule_proto::entropy::Entropy;
use vestibule_proto::recognition::Limits;
use vestibule_store::local_socket::SocketError;
use vestibule_store::secret_file::SecretFileError;
use vestibule_store::{LockError, Store, StoreError};

/// What a controller is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its directory: keys, database, administration socket.
    pub dir: PathBuf,
    /// UDP addresses to listen on.
    pub listen: Vec<SocketAddr>,
    /// `host:port` under which clients and gateways reach it; goes into gateways' invitations.
    pub public: Vec<String>,
    /// Rows, of devices and invitations, that one gateway may publish: its share of the 1,000,000 that the controller holds.
    pub rows_per_gateway: usize,
}

impl Settings {
    /// The settings of a controller in `dir`, the share of a gateway by default.
    #[must_use]
    pub fn new(dir: PathBuf, listen: Vec<SocketAddr>, public: Vec<String>) -> Self {
        Self { dir, listen, public, rows_per_gateway: Limits::default().rows_per_gateway }
    }
}

/// Why a controller can't be made or started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its keys can't be used.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// Its database can't be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It runs already, or its lock can't be taken.
    #[error(transparent)]
    Running(#[from] LockError),
    /// A UDP address can't be listened on.
    #[error("{address} can't be listened on: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// The administration socket can't be made.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The durable rows contradict each other: the database was tampered with or is damaged.
    #[error("the controller's rows contradict each other: {0}")]
    Rows(String),
}

/// The key file in a controller's directory.
pub fn key_file(dir: &Path) -> PathBuf {
    dir.join("controller.key")
}

/// The database in a controller's directory.
pub fn database(dir: &Path) -> PathBuf {
    dir.join("controller.db")
}

/// The administration socket in a controller's directory.
pub fn socket(dir: &Path) -> PathBuf {
    dir.join("controller.sock")
}

/// The lock that a running controller holds.
pub fn lock_file(dir: &Path) -> PathBuf {
    dir.join("controller.lock")
}

/// Makes a controller's directory, keys and database.
///
/// # Errors
/// When they exist already, or can't be written.
pub fn init(dir: &Path, entropy: &mut dyn Entropy) -> Result<(), StartError> {
    vestibule_store::ensure_directory(dir)?;
    if database(dir).exists() {
        return Err(KeysError::File(SecretFileError::existing(&database(dir))).into());
    }
    Keys::generate(entropy).write_new(&key_file(dir))?;
    if let Err(error) = Rows::open(&database(dir)) {
        forget_made(dir);
        return Err(error.into());
    }
    Ok(())
}

/// Takes back what [`init`] has just made, where something after it failed: nobody knows these keys yet.
pub fn forget_made(dir: &Path) {
    let _ = std::fs::remove_file(key_file(dir));
    Store::discard(&database(dir));
}
