//! E1: a device is enrolled, inside the pinned TLS channel that its invitation's keys have opened.
//!
//! [`EnrolStart`] → [`EnrolResponse`] → [`EnrolUpload`] → [`Enrolled`] → the client writes its local credential →
//! [`EnrolConfirm`] → [`EnrolDone`]. The device becomes active, and the invitation is used, with the confirmation: whoever is killed
//! before can begin again with the same invitation.

use crate::id::{DeviceId, LoginDigest};
use crate::key::{self, Psk, PublicKey, Spki};
use crate::login::KsfParams;
use serde::{Deserialize, Serialize};

/// The client's first message: what the gateway stores of this device.
#[derive(Serialize, Deserialize)]
pub struct EnrolStart {
    /// The user name; must be the one that was invited.
    pub user: String,
    /// How the person calls this device.
    pub device_name: String,
    /// The public half of D_out.
    pub d_out: PublicKey,
    /// The public half of D_in.
    pub d_in: PublicKey,
    /// D_tls.
    pub d_tls: Spki,
    /// Shared by device and gateway, for the inner part of knocks.
    #[serde(with = "key::exposed")]
    pub psk_g: Psk,
    /// Commits to the device fingerprint without telling it, 32 bytes.
    pub fingerprint_commitment: [u8; 32],
    /// OPAQUE RegistrationRequest, 32 bytes.
    pub registration_request: Vec<u8>,
}

/// The gateway's answer.
#[derive(Serialize, Deserialize)]
pub struct EnrolResponse {
    /// The id of the device to be.
    pub device: DeviceId,
    /// OPAQUE RegistrationResponse, 64 bytes.
    pub registration_response: Vec<u8>,
    /// How the password is to be stretched.
    pub ksf: KsfParams,
}

/// The client's second message.
#[derive(Serialize, Deserialize)]
pub struct EnrolUpload {
    /// OPAQUE RegistrationUpload, 192 bytes: the record.
    pub record: Vec<u8>,
}

/// What the device needs for its local credential.
#[derive(Serialize, Deserialize)]
pub struct Enrolled {
    /// The device.
    pub device: DeviceId,
    /// The login digest A2.
    pub digest: LoginDigest,
    /// Shared by device and controller.
    #[serde(with = "key::exposed")]
    pub psk_c: Psk,
    /// Vouches for this device's knocks at the gateway (m_r).
    #[serde(with = "key::exposed")]
    pub psk_r: Psk,
    /// The TLS keys that this gateway may present.
    pub gateway_pins: Vec<Spki>,
    /// How many typo bits the local credential is to have.
    pub typo_bits: u8,
    /// The lowest protocol version that the device may ever accept.
    pub version_floor: u16,
}

/// The client's last message: its local credential is on disk.
#[derive(Serialize, Deserialize)]
pub struct EnrolConfirm {
    /// The device.
    pub device: DeviceId,
}

/// The gateway's last message: the device is active, its row published (or waiting to be, see `published`).
#[derive(Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
pub struct EnrolDone {
    /// Whether the controller has the row already; if not it gets it as soon as the link stands, and the device is approved.
    pub published: bool,
}
