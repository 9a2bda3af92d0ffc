//! C1: the messages of a gateway's link to its controller.
//!
//! The gateway dials; one QUIC connection; one bidirectional stream per request; [`frame`](crate::frame)s. The
//! gateway's first stream is [`Hello`] → [`Welcome`]. Then the gateway opens a stream per [`ToController`] and reads one
//! [`FromController`]; the controller opens a stream per [`ToGateway`] and reads one [`Answer`].

use crate::gateway_key::HandOver;
use crate::id::{GatewayId, LinkRequest, LoginDigest};
use crate::key::{self, Psk, PublicKey, Spki};
use crate::realm::Realm;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// The version of the link's messages that every side speaks.
pub const LINK_VERSION: u16 = 1;

/// The highest version that this code speaks. 2 adds [`ToGateway::Realm`], said to those alone who have named 2 in their
/// [`Hello`], and [`ToController::HandOver`], said to those alone who have chosen it in their [`Welcome`].
pub const LINK_NEWEST: u16 = 2;

/// How long a gateway may take to answer an admission, in milliseconds, before the client is told *away*.
pub const ADMIT_DEADLINE_MS: u32 = 2_000;

/// The first frame of a link, from the gateway.
#[derive(Serialize, Deserialize)]
pub struct Hello {
    /// The lowest and the highest version that the gateway speaks.
    pub versions: (u16, u16),
    /// Which gateway this is.
    pub gateway: GatewayId,
    /// The name under which its owner lists it, for the controller's tables and log.
    pub name: String,
    /// Addresses at which clients reach this gateway (at most 4 are told to a client).
    pub addresses: Vec<SocketAddr>,
    /// Given at the first link only, which ran under a temporary row: the gateway's lasting keys.
    pub register: Option<Register>,
}

/// The lasting keys of a gateway, given once over the link that its invitation opened.
#[derive(Serialize, Deserialize)]
pub struct Register {
    /// Selects the gateway's own row at the controller.
    pub digest: LoginDigest,
    /// The public half of the key with which it knocks.
    pub device_key: PublicKey,
    /// Shared by the gateway and the controller, for the gateway's own knocks.
    #[serde(with = "key::exposed")]
    pub psk_c: Psk,
    /// The key that its links and its published rows must bear from now on.
    pub spki: Spki,
}

/// The controller's answer to [`Hello`].
#[derive(Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub enum Welcome {
    /// The link stands; the gateway now publishes its rows.
    Linked {
        /// The version chosen: the highest that both speak.
        version: u16,
    },
    /// The link is refused and will be closed.
    Refused(LinkRefusal),
}

/// Why a controller does not take a link.
#[derive(Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkRefusal {
    /// No version in common.
    Version,
    /// This gateway's row does not belong to the gateway that it says it is.
    NotYou,
    /// The controller could not write the registration down.
    Storage,
}

impl LinkRefusal {
    /// What it means, for logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Version => "no version in common",
            Self::NotYou => "not the gateway that was invited",
            Self::Storage => "the registration can't be written down",
        }
    }
}

/// A device's (or an invitation's) row at the controller: all that the controller knows of a person.
#[derive(Serialize, Deserialize, Clone)]
pub struct PublishedRow {
    /// The login digest A2.
    pub digest: LoginDigest,
    /// The public half of D_out.
    pub device_key: PublicKey,
    /// Shared by the device and the controller.
    #[serde(with = "key::exposed")]
    pub psk_c: Psk,
}

/// Requests from a gateway.
#[derive(Serialize, Deserialize)]
pub enum ToController {
    /// Replaces all rows of this gateway: sent after every [`Welcome`]. Split over several requests when large: the
    /// first has `first`, the last has `last`, and the replacement takes effect with the last.
    Rows {
        /// Starts a new set.
        first: bool,
        /// Ends the set: it becomes what is in force.
        last: bool,
        /// Rows of this part, at most [`ROWS_PER_PART`].
        rows: Vec<PublishedRow>,
        /// The gateway's signature with G_tls over [`rows_digest`].
        #[serde(with = "serde_bytes64")]
        signature: [u8; 64],
    },
    /// Publishes one row.
    Publish {
        /// The row.
        row: PublishedRow,
        /// The gateway's signature with G_tls over [`rows_digest`] of this one row.
        #[serde(with = "serde_bytes64")]
        signature: [u8; 64],
    },
    /// Withdraws the row with this digest.
    Withdraw {
        /// Its login digest.
        digest: LoginDigest,
    },
    /// The addresses at which clients reach this gateway have changed.
    Addresses {
        /// The new ones.
        addresses: Vec<SocketAddr>,
    },
    /// Version 2: the gateway's links and rows bear another key from now on, the next request on this link included. Refused
    /// with [`FromController::Refused`] unless both keys have signed it.
    HandOver(HandOver),
}

/// How many rows one [`ToController::Rows`] may hold: 96 bytes each, well inside a frame.
pub const ROWS_PER_PART: usize = 1_024;

/// The controller's answer to a [`ToController`].
#[derive(Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub enum FromController {
    /// Done, and in force.
    Done,
    /// A signature is wrong, or this gateway is not known any more; nothing of the request took effect.
    Refused,
    /// The controller could not write it down; it may be forgotten at the next start.
    Storage,
    /// Done, and in force but for these rows.
    Without(LeftOut),
}

/// The rows of a request that are not in force, while the others are.
#[derive(Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// By their digests, and why; at most [`LEFT_OUT_TOLD`].
    pub rows: Vec<(LoginDigest, RowRefusal)>,
    /// How many more there are.
    pub more: u32,
    /// How many rows one gateway may publish here.
    pub share: u32,
}

impl LeftOut {
    /// None is left out so far, of a gateway with this share.
    #[must_use]
    pub fn none(share: usize) -> Self {
        Self { share: u32::try_from(share).unwrap_or(u32::MAX), ..Self::default() }
    }

    /// One more: by its digest as long as there is room, else as a number.
    pub fn add(&mut self, digest: LoginDigest, why: RowRefusal) {
        if self.rows.len() < LEFT_OUT_TOLD {
            self.rows.push((digest, why));
        } else {
            self.more = self.more.saturating_add(1);
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len() + self.more as usize
    }

    /// Whether every row is in force.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Why a row is not in force.
#[derive(Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowRefusal {
    /// Its digest or its device key stands in the row of another gateway (C13).
    Collision,
    /// This gateway has published as many rows as one gateway may.
    Share,
    /// All gateways together have published as many rows as the controller holds.
    Full,
}

/// How many rows [`LeftOut`] names: 33 bytes each, well inside a frame.
pub const LEFT_OUT_TOLD: usize = 4_096;

/// Requests from the controller.
#[derive(Serialize, Deserialize)]
#[expect(
    clippy::large_enum_variant,
    reason = "a request lives from one frame to its handling; almost all are admissions"
)]
pub enum ToGateway {
    /// K3: this address wants in; the inner part is the device's own word.
    Admit {
        /// Names the request in a later [`ToGateway::Withdraw`].
        request: LinkRequest,
        /// The login digest under which the device knocked.
        digest: LoginDigest,
        /// The client's address and port as the controller saw them.
        source: SocketAddr,
        /// I1, 192 bytes.
        #[serde(with = "serde_bytes192")]
        inner: [u8; 192],
        /// Milliseconds within which an answer is of use.
        deadline_ms: u32,
    },
    /// Another gateway of the cluster was faster, or the client's knock was replaced: shut again.
    Withdraw {
        /// The admission that is withdrawn.
        request: LinkRequest,
    },
    /// Asks whether the gateway lives; answered by [`Answer::Seen`].
    Ping,
    /// Version 2: the realm key to knock under and to invite with from now on, said at the beginning of each link and when it
    /// changes. [`Answer::Seen`] when it is on the gateway's disk, [`Answer::Away`] when it can't be written there.
    Realm(Realm),
}

/// K5: a gateway's answer.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The door is open for that client.
    Ready {
        /// Addresses to tell the client.
        addresses: Vec<SocketAddr>,
        /// I2, 208 bytes, sealed to the device.
        #[serde(with = "serde_bytes208")]
        inner: [u8; 208],
        /// The admission window, in milliseconds.
        window_ms: u32,
    },
    /// The gateway refuses; the reason is sealed to the device.
    Refused {
        /// 208 bytes, sealed.
        #[serde(with = "serde_bytes208")]
        inner: [u8; 208],
    },
    /// Nothing is to be told to the client: a repetition, junk, or a withdrawal that was carried out.
    Seen,
    /// The gateway can't admit anybody now (its door or its disk fails).
    Away,
}

/// What a gateway signs with G_tls when it publishes rows: a digest over the gateway's id and every row in order.
pub fn rows_digest(gateway: &GatewayId, rows: &[PublishedRow]) -> [u8; 32] {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    context.update(b"vestibule/1 rows");
    context.update(gateway.as_bytes());
    for row in rows {
        context.update(row.digest.as_bytes());
        context.update(row.device_key.as_bytes());
        context.update(row.psk_c.expose());
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

macro_rules! byte_array_codec {
    ($name:ident, $length:literal) => {
        /// Serde for an array longer than serde's own limit of 32: as a byte string of exactly that length.
        mod $name {
            use serde::{Deserialize, Deserializer, Serializer, de::Error};

            pub(super) fn serialize<S: Serializer>(bytes: &[u8; $length], serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_bytes(bytes)
            }

            pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; $length], D::Error> {
                let bytes = <&[u8]>::deserialize(deserializer)?;
                bytes.try_into().map_err(|_| D::Error::invalid_length(bytes.len(), &stringify!($length)))
            }
        }
    };
}

byte_array_codec!(serde_bytes64, 64);
byte_array_codec!(serde_bytes192, 192);
byte_array_codec!(serde_bytes208, 208);
