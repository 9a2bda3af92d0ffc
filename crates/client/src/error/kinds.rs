//! The finer kinds of some errors.

use serde::{Deserialize, Serialize};
use std::io;

/// What is wrong with a local credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CredentialTrouble {
    /// Layer 1 does not open: another machine, or another user name.
    OtherMachineOrUser,
    /// The user is right, but this machine has changed too much, or too little of it can be recognised.
    MachineChanged {
        /// What has.
        reason: String,
    },
    /// Layer 1 opens, the typo bits do not fit: the password is wrong.
    WrongPassword,
    /// This machine has nothing to make a fingerprint of.
    NoFingerprint,
    /// There is no such file.
    Missing,
    /// The file is cut, altered, or no credential at all.
    Damaged,
    /// Made by a newer version of the program.
    Newer,
    /// Others have access to it.
    TooOpen {
        /// Permission bits of the file.
        mode: u32,
    },
    /// Another reason of the file's.
    File {
        /// Which.
        reason: String,
    },
    /// There is one already, and nobody asked to replace it.
    Exists,
    /// It is sealed to a TPM, which does not give its part.
    Tpm(TpmTrouble),
    /// It was to be sealed to this machine's TPM, and can't be.
    TpmRequired {
        /// Why.
        reason: String,
    },
}

/// Why a TPM does not give its part of a credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TpmTrouble {
    /// This machine has none.
    Absent,
    /// It is another one, or was cleared.
    Other,
    /// This user may not use it.
    Denied,
    /// It has seen too many wrong tries.
    LockedOut {
        /// Within so many seconds it takes one more.
        seconds: Option<u32>,
    },
    /// It fails, or what it says is malformed.
    Failed {
        /// How.
        reason: String,
    },
}

/// Why an invitation can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum InvitationTrouble {
    /// The text is no invitation of this kind. Nothing was sent.
    NotOne,
    /// Cut, mistyped or altered: the checksum does not match. Nothing was sent.
    Altered,
    /// Made by a newer version of the program. Nothing was sent.
    Newer,
    /// Its time is over, by the gateway's word or by the text's own.
    Expired,
    /// The gateway has seen it used.
    Used,
    /// The gateway does not take it, and says no more.
    Unknown,
}

/// How a gateway is known to be away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GatewayAway {
    /// The controller says so: it has no link to the gateway, or the gateway did not answer it.
    Controller,
    /// The gateway opened its door but does not answer at any of its addresses.
    Dial,
    /// Who answered at the gateway's address is not the gateway: it has another key.
    WrongKey,
    /// The connection broke.
    Lost,
    /// The gateway says that its disk or its door fails.
    Fault,
    /// The connection is being made anew at this moment.
    Reconnecting,
}

/// Why a gateway refuses a device that knocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refused {
    /// The inner part was not made with this device's keys: most likely a wrong password that the typo bits let pass.
    WrongPassword,
    /// Too many wrong passwords: wait.
    Wait,
    /// Suspended, after too many wrong passwords or by the owner.
    Suspended,
    /// The device, its user or its session was revoked.
    Revoked,
    /// No version in common.
    Version,
    /// The gateway's own clock and the controller's differ: no knock seems fresh to it.
    GatewayClock,
    /// The gateway's TLS key was rotated while this device was away, or since the invitation was made.
    GatewayKey,
    /// A refusal whose reason this device can't read.
    Unreadable,
    /// Another reason; see the detail.
    Other,
}

/// Why the operating system refuses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trouble {
    /// The disk or the quota is exhausted.
    Full,
    /// The filesystem is read-only.
    ReadOnly,
    /// No permission.
    Denied,
    /// It does not exist.
    Missing,
    /// Another program uses it.
    InUse,
    /// Another reason.
    Other {
        /// Which.
        reason: String,
    },
}

impl CredentialTrouble {
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::OtherMachineOrUser | Self::MachineChanged { .. } | Self::WrongPassword | Self::NoFingerprint => 10,
            Self::Tpm(TpmTrouble::LockedOut { .. }) => 13,
            Self::Tpm(_) | Self::TpmRequired { .. } => 12,
            Self::Missing | Self::Damaged | Self::Newer | Self::TooOpen { .. } | Self::File { .. } | Self::Exists => 11,
        }
    }
}

impl From<&io::Error> for Trouble {
    fn from(error: &io::Error) -> Self {
        use io::ErrorKind;
        let known = [
            (ErrorKind::StorageFull, Self::Full),
            (ErrorKind::QuotaExceeded, Self::Full),
            (ErrorKind::ReadOnlyFilesystem, Self::ReadOnly),
            (ErrorKind::PermissionDenied, Self::Denied),
            (ErrorKind::NotFound, Self::Missing),
            (ErrorKind::AddrInUse, Self::InUse),
        ];
        let found = known.into_iter().find(|(kind, _)| *kind == error.kind());
        found.map_or_else(|| Self::Other { reason: error.to_string() }, |(_, trouble)| trouble)
    }
}
