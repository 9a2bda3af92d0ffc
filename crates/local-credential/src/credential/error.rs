//! Why a credential does not open or can't be made.

use thiserror::Error;

use crate::file::ReadError;
use crate::fingerprint::Source;
use crate::tpm::TpmError;

/// Why a credential does not open. Nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OpenError {
    /// The file was not read: it is missing, open to others, somebody else's, no file, too large.
    #[error(transparent)]
    File(#[from] ReadError),
    /// The file is something else.
    #[error("the file is not a local credential")]
    NotACredential,
    /// The end of the file is missing.
    #[error("the local credential is cut off")]
    Truncated,
    /// The content was altered: its checksum or the tag of layer 1 is wrong.
    #[error("the local credential is damaged")]
    Damaged,
    /// Written by a newer version of this program.
    #[error("the local credential has format {version}, made by a newer version of this program")]
    NewerVersion {
        /// Version of its format.
        version: u16,
    },
    /// Two or more sources of the fingerprint can't be read (or the only one); perhaps for want of permission.
    #[error("too little of this machine can be recognised: {} not readable", list(.missing))]
    SourcesMissing {
        /// The sources that the credential is sealed to and that are missing now.
        missing: Vec<Source>,
    },
    /// Made on another machine, or for another user name.
    #[error("the local credential was made on another machine or for another user name")]
    WrongDeviceOrUser,
    /// All else is as at enrolment, but one source says something else.
    #[error("the {which} of this machine is not the one that the local credential was made on")]
    SourceDiffers {
        /// The source.
        which: Source,
    },
    /// The typo bits, or the TPM, refuse the password.
    #[error("the password is wrong")]
    WrongPassword,
    /// It is sealed to a TPM, which does not give its part.
    #[error("the local credential is sealed to a TPM: {0}")]
    Tpm(TpmError),
    /// The memory that stretching the password takes can't be had.
    #[error("stretching the password takes {kib} KiB of memory, which can not be had now")]
    NoMemory {
        /// Memory needed, in KiB.
        kib: u32,
    },
}

/// Why a credential was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CreateError {
    /// The TPM that it was to be sealed to does not do its part.
    #[error("the local credential can not be sealed to the TPM: {0}")]
    Tpm(#[from] TpmError),
    /// A field of layer 1 is out of its bounds.
    #[error("the content of the local credential is out of bounds: {0}")]
    Content(&'static str),
    /// The memory that stretching the password takes can't be had.
    #[error("stretching the password takes {kib} KiB of memory, which can not be had now")]
    NoMemory {
        /// Memory needed, in KiB.
        kib: u32,
    },
}

/// The memory for Argon2id can't be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoMemory {
    pub(super) kib: u32,
}

impl From<NoMemory> for OpenError {
    fn from(NoMemory { kib }: NoMemory) -> Self {
        Self::NoMemory { kib }
    }
}

impl From<NoMemory> for CreateError {
    fn from(NoMemory { kib }: NoMemory) -> Self {
        Self::NoMemory { kib }
    }
}

fn list(sources: &[Source]) -> String {
    let names: Vec<String> = sources.iter().map(ToString::to_string).collect();
    names.join(", ")
}
