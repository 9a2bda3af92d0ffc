//! Keys: secrets that erase themselves and print nothing, X25519 and Ed25519 key pairs, and what derives keys from keys.
//!
//! The primitives are those of aws-lc-rs. No type of this module that holds a secret has `Debug`, `Display` or `Serialize`;
//! who must write one down says so with [`exposed`].

mod agreement;
mod derive;
mod secret;
mod signing;

pub use agreement::{LowOrderPoint, PrivateKey, PublicKey};
pub(crate) use derive::{blake2s_hash, blake2s_mac, blake2s_mac_state};
pub use derive::{expand, hkdf, hmac};
pub use secret::{Psk, RealmKey, Secret, exposed};
pub use signing::{SigningKey, Spki};
