//! Login under the second encryption method: OPAQUE (RFC 9807) inside the pinned TLS channel.
//!
//! The password never leaves the device, and the gateway can't test guesses of it even from its own database: what goes
//! into OPAQUE is `HMAC-SHA-256(pepper, "vestibule/1 password" ‖ NFC(password))`, and the pepper is on the device alone.
//!
//! | step | from | message | bytes | made by |
//! |---|---|---|---|---|
//! | L1 | client | KE1 | 96 | [`LoginStart::begin`] |
//! | L2 | gateway | KE2 | 320 | [`LoginServer::begin`] |
//! | L3 | client | KE3 | 64 | [`LoginStart::finish`] |
//! | L4 | gateway | session | | [`ExpectLoginFinish::finish`] |
//! | E1 | client | RegistrationRequest | 32 | [`RegistrationStart::begin`] |
//! | E1 | gateway | RegistrationResponse | 64 | [`RegistrationServer::begin`] |
//! | E1 | client | RegistrationUpload | 192 | [`RegistrationStart::finish`] |
//!
//! Suite: ristretto255, triple Diffie-Hellman, SHA-512, Argon2id with explicit [`KsfParams`]. Client identity is the user
//! name, server identity the gateway id, credential identifier user name ‖ device id; all three at registration and login.

mod client;
mod context;
mod gateway;
mod ksf;
mod suite;

pub use client::{LoginStart, RegistrationStart};
pub use context::{LoginContext, LoginNames, login_context, password_input};
pub use gateway::{ExpectLoginFinish, LoginServer, OpaqueSetup, RegistrationServer};
pub use ksf::{KsfOutOfBounds, KsfParams};

use crate::key::Secret;

/// Size of KE1 in bytes.
pub const KE1_LEN: usize = 96;
/// Size of KE2 in bytes.
pub const KE2_LEN: usize = 320;
/// Size of KE3 in bytes.
pub const KE3_LEN: usize = 64;
/// Size of a record (RegistrationUpload) in bytes.
pub const RECORD_LEN: usize = 192;

/// What both sides of a login agree on, equal only if password, names and channel were.
pub type SessionKey = Secret<64>;

/// Why a login or a registration failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum LoginError {
    /// The peer's message is not one of OPAQUE. The peer misbehaved.
    #[error("not a message of OPAQUE")]
    Malformed,
    /// The proof is wrong: another password than at registration, an unknown user, or another channel. Not to be told apart.
    #[error("the login does not fit")]
    WrongPassword,
    /// Our own record or set-up is damaged.
    #[error("the stored record is damaged")]
    DamagedRecord,
}

#[cfg(test)]
mod tests;
