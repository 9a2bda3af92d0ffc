//! The page guard: a reverse proxy that re-authenticates every page of existing web applications, runs each command at most
//! once, and lets a user do only what the policy grants, without a change to the application.
//!
//! It knows HTTP and nothing of knocks: who a connection belongs to is told from outside, or proven by a login of its own.

mod address;
mod body;
pub mod fuzzing;
mod names;
mod stamp;
pub mod store;
mod token;

pub use address::{AddressTable, Exhausted, InvalidNetwork, Network, Order, Pool};
pub use body::{Body, BodyError};
pub use names::{AppName, Binding, InvalidName, LogicalAddress, Proof, Serial, UserName};
pub use stamp::Stamp;
pub use token::{
    CLOCK_SLACK, Context, KeyRecord, Keyring, KeyringSettings, NONCE_LEN, Page, PageKeys, PageToken, SealedGrants,
    TOKEN_LONGEST, TokenError, source_of,
};
