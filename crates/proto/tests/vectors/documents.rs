//! What the files hold, in the order in which they show it. Byte strings are hexadecimal.

use serde::{Deserialize, Serialize};

/// `knock.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KnockVectors {
    pub(crate) about: String,
    pub(crate) keys: Keys,
    pub(crate) inner: Inner,
    pub(crate) refusal: Refusal,
    pub(crate) outer: Outer,
    pub(crate) cookie: Cookie,
}

/// Keys of all parties.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Keys {
    pub(crate) controller_secret: String,
    pub(crate) controller_public: String,
    pub(crate) realm: String,
    pub(crate) d_out_secret: String,
    pub(crate) d_out_public: String,
    pub(crate) psk_c: String,
    pub(crate) gateway_id: String,
    pub(crate) g_secret: String,
    pub(crate) g_public: String,
    pub(crate) d_in_secret: String,
    pub(crate) d_in_public: String,
    pub(crate) psk_g: String,
    pub(crate) psk_r: String,
    pub(crate) digest: String,
}

/// I1 and I2.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Inner {
    pub(crate) prologue: String,
    pub(crate) client_ephemeral_secret: String,
    pub(crate) gateway_ephemeral_secret: String,
    pub(crate) i1_content: String,
    pub(crate) i1: String,
    pub(crate) i2_content: String,
    pub(crate) i2: String,
    pub(crate) handshake_hash: String,
}

/// A refusal of I1, in the place of I2.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Refusal {
    pub(crate) key: String,
    pub(crate) nonce: String,
    pub(crate) associated_data: String,
    pub(crate) content: String,
    pub(crate) sealed: String,
}

/// K1 and K6.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Outer {
    pub(crate) client_ephemeral_secret: String,
    pub(crate) controller_ephemeral_secret: String,
    pub(crate) message_id: String,
    pub(crate) stamp_ms: u64,
    pub(crate) epoch: u32,
    pub(crate) header: String,
    pub(crate) mac1_key: String,
    pub(crate) mac1: String,
    pub(crate) mac2: String,
    pub(crate) prologue: String,
    pub(crate) p1: String,
    pub(crate) k1: String,
    pub(crate) p2: String,
    pub(crate) k6: String,
    pub(crate) handshake_hash: String,
}

/// K2c in answer to K1, and the mac2 of a K1 with that cookie, all else in it equal.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cookie {
    pub(crate) controllers_secret: String,
    pub(crate) source: String,
    pub(crate) cookie: String,
    pub(crate) key: String,
    pub(crate) nonce: String,
    pub(crate) associated_data: String,
    pub(crate) k2c: String,
    pub(crate) mac2_with_cookie: String,
}

/// `ticket.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TicketVectors {
    pub(crate) about: String,
    pub(crate) inner_hash: String,
    pub(crate) ticket_secret: String,
    pub(crate) ticket: String,
    pub(crate) kd: String,
    pub(crate) tags: Vec<String>,
    pub(crate) exporter: String,
    /// The tags of the first three moves.
    pub(crate) moves: Vec<[String; 4]>,
    /// R2 with the first of them.
    pub(crate) moved: String,
    /// D0 with tag 4 and this address, and with tag 5 and none.
    pub(crate) own_address: String,
    pub(crate) tag_datagrams: [String; 2],
}

/// `login.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LoginVectors {
    pub(crate) about: String,
    pub(crate) user: String,
    pub(crate) gateway_id: String,
    pub(crate) device_id: String,
    pub(crate) credential_identifier: String,
    pub(crate) pepper: String,
    pub(crate) password: String,
    pub(crate) password_input: String,
    pub(crate) argon2id_memory_kib: u32,
    pub(crate) argon2id_passes: u32,
    pub(crate) argon2id_lanes: u32,
    pub(crate) version: u16,
    pub(crate) exporter: String,
    pub(crate) inner_hash: String,
    pub(crate) ticket: String,
    pub(crate) context: String,
    pub(crate) setup: String,
    pub(crate) registration_request: String,
    pub(crate) registration_response: String,
    pub(crate) record: String,
    pub(crate) ke1: String,
    pub(crate) ke2: String,
    pub(crate) ke3: String,
    pub(crate) session_key: String,
}

/// `frames.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FrameVectors {
    pub(crate) about: String,
    pub(crate) frames: Vec<Frame>,
}

/// A frame, whole and field by field.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Frame {
    pub(crate) name: String,
    pub(crate) message: String,
    pub(crate) frame: String,
    pub(crate) fields: Vec<Field>,
}

/// A field of a document, in the order of its encoding.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Field {
    pub(crate) field: String,
    pub(crate) bytes: String,
}

/// `datagrams.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DatagramVectors {
    pub(crate) about: String,
    pub(crate) datagrams: Vec<Datagram>,
}

/// A datagram of a flow, in both its forms.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Datagram {
    pub(crate) flow: u64,
    pub(crate) payload: String,
    /// The content of a DATAGRAM frame.
    pub(crate) frame: String,
    /// The same on the flow's stream.
    pub(crate) record: String,
}
