//! The controller: the blind broker of the connect.
//!
//! It knows digests, device keys and gateway addresses, never a login. Its one UDP port carries knocks and gateway links side by
//! side; it answers nobody but an enrolled device that knocks, and a gateway that links.
//!
//! | module | holds |
//! |---|---|
//! | [`settings`] | what a controller is made and started with |
//! | [`keys`] | its own keys |
//! | [`rows`] | gateways and rows on disk |
//! | [`controller`] | the running role: start and stop |
//! | `knocks` | steps 2-5 of the connect: a thin shell around `proto::recognition` |
//! | `links` `publishing` | C1, the controller's end; what gateways publish |
//! | `rotation` | the realm key and its successors |
//! | [`admin`] | what its owner may ask |

pub mod admin;
pub mod controller;
pub mod keys;
mod knocks;
mod links;
mod publishing;
mod rotation;
pub mod rows;
pub mod settings;

pub use controller::Controller;
pub use settings::{Settings, StartError, init};
