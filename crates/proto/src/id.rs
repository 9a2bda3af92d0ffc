//! Names, ids and times of the protocol, each a type of its own.
//!
//! Ids are random or derived bytes. Their text form is lower-case hexadecimal; in serde they are exactly their bytes in
//! binary formats (no length in front) and their text form in readable ones.

mod name;
mod time;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::entropy::{self, Entropy};
use crate::hex::{self, NotHex};

pub use name::{InvalidName, ServiceName, UserName};
pub use time::{Now, Stamp};

macro_rules! byte_id {
    ($(#[$doc:meta])* $name:ident, $size:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $size]);

        impl $name {
            #[doc = concat!("Size in bytes: ", stringify!($size), ".")]
            pub const SIZE: usize = $size;

            /// The id with these bytes.
            #[must_use]
            pub const fn new(bytes: [u8; $size]) -> Self {
                Self(bytes)
            }

            /// A fresh random id.
            #[must_use]
            pub fn random(entropy: &mut dyn Entropy) -> Self {
                Self(entropy::bytes(entropy))
            }

            /// The bytes of the id.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $size] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = NotHex;

            fn from_str(text: &str) -> Result<Self, NotHex> {
                hex::decode(text).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                crate::bytes_serde::serialize(&self.0, serializer)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                crate::bytes_serde::deserialize(deserializer).map(Self)
            }
        }
    };
}

byte_id! {
    /// One knock: chosen by the client, equal in K1 and I1, echoed in I2; never accepted twice (PROTOCOL 3.5, freshness).
    KnockId, 16
}

byte_id! {
    /// One session of a user on a device, from login to sign-off; chosen by the gateway.
    SessionId, 16
}

byte_id! {
    /// One gateway, or the cluster of gateways that share a key `G` and serve the same login digests.
    GatewayId, 16
}

byte_id! {
    /// One enrolled device of a user; chosen by the gateway at enrolment.
    DeviceId, 16
}

byte_id! {
    /// Login digest `A2`: the keyed one-way digest of what the gateway verifies, and the only thing about a person that the
    /// controller stores and receives (PROTOCOL 3.3).
    LoginDigest, 32
}

byte_id! {
    /// `tid`, the name of one admission at its gateway; the first eight bytes of each of its tags.
    TicketId, 8
}

/// The controller's number of one admission asked over a gateway's link; unique on that link while it lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LinkRequest(u64);

impl LinkRequest {
    /// The request with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The request after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

impl fmt::Display for LinkRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;

    #[test]
    fn text_form_is_hexadecimal_and_reads_back() {
        let id = TicketId::new([0xde, 0xad, 0xbe, 0xef, 0, 1, 2, 3]);
        assert_eq!(id.to_string(), "deadbeef00010203");
        assert_eq!(format!("{id:?}"), "deadbeef00010203");
        assert_eq!("deadbeef00010203".parse(), Ok(id));
        assert_eq!("deadbeef0001020".parse::<TicketId>(), Err(NotHex { expected: 16 }));
    }

    #[test]
    fn binary_form_is_the_bytes_alone() {
        let digest = LoginDigest::random(&mut SeededEntropy::new(1));
        let binary = postcard::to_stdvec(&digest).unwrap();
        assert_eq!(binary, digest.as_bytes());
        assert_eq!(postcard::from_bytes::<LoginDigest>(&binary), Ok(digest));
        assert!(postcard::from_bytes::<LoginDigest>(&binary[..31]).is_err());
    }
}
