//! What a gateway is started with, where its files are, and how one is made.

use crate::directory::{Directory, DirectoryError, Service};
use crate::keys::{Keys, KeysError};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use vestibule_door::{Choice, DirectError, Lack};
use vestibule_guard::{GuardConfig, GuardError};
use vestibule_proto::entropy::Entropy;
use vestibule_proto::id::ServiceName;
use vestibule_proto::invitation::GatewayInvitation;
use vestibule_proto::login::KsfParams;
use vestibule_proto::ticket::NatPolicy;
use vestibule_store::local_socket::SocketError;
use vestibule_store::secret_file::SecretFileError;
use vestibule_store::{LockError, RoleLock, Store, StoreError};

/// What a gateway is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its directory: keys, database, administration socket.
    pub dir: PathBuf,
    /// UDP addresses to listen on.
    pub listen: Vec<SocketAddr>,
    /// What holds the door before these addresses.
    pub door: Choice,
    /// The interfaces that the door `xdp` guards; if there are none, those that carry the addresses listened at.
    pub door_interfaces: Vec<String>,
    /// Where clients reach it, at most 4 of which are told to a client; empty: where it listens.
    pub public: Vec<SocketAddr>,
    /// The services of the configuration file. None may bear the name of one that was added by command.
    pub services: Vec<Service>,
    /// How web services are guarded, by name; one that is not named here as usual.
    pub guard: BTreeMap<ServiceName, GuardConfig>,
    /// How long sessions live.
    pub session: SessionLimits,
    /// How the address that comes must agree with the address that knocked.
    pub nat: NatPolicy,
    /// Whether clients may come over TCP where their networks drop QUIC.
    pub tcp: bool,
    /// What is bounded, and how.
    pub limits: Limits,
    /// How passwords of new devices are stretched.
    pub ksf: KsfParams,
    /// Typo bits of new local credentials (PROTOCOL.md §3.2).
    pub typo_bits: u8,
    /// Whether a new device waits for its owner's word (PROTOCOL.md §3.3).
    pub approve: bool,
}

/// How long a session lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// From login to the end, used or not.
    pub expires: Duration,
    /// Without any traffic but keep-alive.
    pub idle: Duration,
}

/// What is bounded, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Live connections in one session, and flows of datagrams.
    pub connections_per_session: usize,
    /// Sessions that stand at a time, connected or not.
    pub sessions: usize,
    /// Admissions that wait for their first packet at a time.
    pub admissions: usize,
    /// Logins and enrolments under way at a time.
    pub logins: usize,
    /// How long a flow of datagrams may be silent before it ends.
    pub udp_idle: Duration,
}

impl Default for SessionLimits {
    /// 12 hours, 30 minutes idle.
    fn default() -> Self {
        Self { expires: Duration::from_secs(12 * 3_600), idle: Duration::from_secs(30 * 60) }
    }
}

impl Default for Limits {
    fn default() -> Self {
        let udp_idle = Duration::from_secs(120);
        Self { connections_per_session: 256, sessions: 100_000, admissions: 4_096, logins: 1_024, udp_idle }
    }
}

impl Settings {
    /// The settings of a gateway in `dir` that listens on `listen`, everything else by default.
    #[must_use]
    pub fn new(dir: PathBuf, listen: Vec<SocketAddr>) -> Self {
        Self {
            dir,
            listen,
            door: Choice::default(),
            door_interfaces: Vec::new(),
            public: Vec::new(),
            services: Vec::new(),
            guard: BTreeMap::new(),
            session: SessionLimits::default(),
            nat: NatPolicy::default(),
            tcp: true,
            limits: Limits::default(),
            ksf: KsfParams::STANDARD,
            typo_bits: 10,
            approve: false,
        }
    }
}

/// Why a gateway can't be made or started. Nothing was admitted.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its keys can't be used.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// Its directory on disk can't be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the directory on disk says can't be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The page guard can't be opened.
    #[error("the page guard: {0}")]
    Guard(#[from] GuardError),
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
    /// The door that it was told to use doesn't work here.
    #[error(transparent)]
    Door(#[from] Lack),
    /// A service is direct, and the door can't stand before it.
    #[error(transparent)]
    Direct(#[from] DirectError),
    /// It was told to listen nowhere.
    #[error("there is no address to listen on")]
    NoAddress,
    /// The administration socket can't be made.
    #[error("the administration socket can't be made: {0}")]
    Socket(#[from] SocketError),
}

/// The key file in a gateway's directory: all its secrets but one.
#[must_use]
pub fn key_file(dir: &Path) -> PathBuf {
    dir.join("gateway.key")
}

/// The file of the OPRF seed, kept apart so that it can lie on another device, and out of the database's backups
/// (PROTOCOL.md §3.6).
#[must_use]
pub fn seed_file(dir: &Path) -> PathBuf {
    dir.join("gateway.seed")
}

/// The database in a gateway's directory.
#[must_use]
pub fn database(dir: &Path) -> PathBuf {
    dir.join("gateway.db")
}

/// The administration socket in a gateway's directory.
#[must_use]
pub fn socket(dir: &Path) -> PathBuf {
    dir.join("gateway.sock")
}

/// The lock that a running gateway holds.
#[must_use]
pub fn lock_file(dir: &Path) -> PathBuf {
    dir.join("gateway.lock")
}

/// Makes a gateway's directory, keys and database from its controller's link. It registers at its first start.
///
/// # Errors
/// When they exist already, or can't be written.
pub fn init(dir: &Path, link: &GatewayInvitation, entropy: &mut dyn Entropy) -> Result<(), StartError> {
    vestibule_store::ensure_directory(dir)?;
    let _lock = RoleLock::acquire(&lock_file(dir))?;
    if database(dir).exists() {
        return Err(KeysError::File(SecretFileError::existing(&database(dir))).into());
    }
    let keys = Keys::generate(link, entropy);
    keys.write_new(dir)?;
    if let Err(error) = Directory::open(&database(dir), keys.identity()) {
        forget_made(dir);
        return Err(error.into());
    }
    Ok(())
}

/// Takes back what [`init`] has just made, where something after it failed: the link is not used yet, and it can be tried again.
pub fn forget_made(dir: &Path) {
    for file in [key_file(dir), seed_file(dir)] {
        let _ = std::fs::remove_file(file);
    }
    Store::discard(&database(dir));
}

/// Gives a gateway that exists, and does not run, another way to a controller. Its keys, users and services stay. It registers
/// at its next start. Says whether the controller is another one: devices know the former one, and must be enrolled again.
///
/// # Errors
/// When there is none, it runs, the link was made for another one, or its files can't be written; nothing is changed then.
pub fn relink(dir: &Path, link: &GatewayInvitation) -> Result<bool, StartError> {
    let _lock = RoleLock::acquire(&lock_file(dir))?;
    let keys = Keys::read(dir)?;
    let another = keys.controller_key != link.controller_key;
    keys.relinked(link)?.write_over(dir)?;
    Ok(another)
}
