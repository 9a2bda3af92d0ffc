//! Login under the second encryption method: OPAQUE (RFC 9807) inside the pinned TLS channel (steps L1-L4, and E1).

mod ksf;

pub use ksf::KsfParams;
