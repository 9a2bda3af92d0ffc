//! Device fingerprint and the sealed local credential: the client's side of local authentication (PROTOCOL 3.2).
//!
//! Nothing in this crate sends a packet. A client opens its credential first; only if that succeeds does it knock.
//!
//! | module | content |
//! |---|---|
//! | [`fingerprint`] | what tells this machine from another one, read afresh at each use |
//! | [`credential`] | the two-layer file: layer 1 for machine and user name, layer 2 for the password |
//! | [`tpm`] | what a TPM does for a credential |
//! | [`state`] | the sidecar `NAME.state`: the last acknowledged stamp, and how wrong the clock was |
//! | [`password`] | passwords: where they come from, which ones are refused |
//! | [`mod@file`] | private files: how they are read and replaced, and why not |
//! | [`fuzzing`] | entries for fuzz targets |
//!
//! No secret of this crate has `Debug` or `Display`, goes into an argument list or the environment, or outlives its use.

pub mod credential;
pub mod file;
pub mod fingerprint;
pub mod fuzzing;
pub mod password;
pub mod state;
#[cfg(test)]
mod testing;
pub mod tpm;

pub use credential::{
    CreateError, Credential, DeviceUnlocked, Locked, NewCredential, OpenError, Opened, Params, Sealed, Seed,
};
pub use fingerprint::{Fingerprint, Source, Sources};
pub use password::Password;
pub use tpm::TpmUse;
