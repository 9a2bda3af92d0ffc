//! Why a TPM did not do what was asked.

use std::io::ErrorKind;

use thiserror::Error;

/// Why nothing was sealed, or nothing came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TpmError {
    /// There is no device (or socket) at the path.
    #[error("this machine has no TPM 2.0 that its kernel knows of")]
    Absent,
    /// This user may not use the device.
    #[error("this user has no permission to use the TPM (on most systems that is the group tss)")]
    Denied,
    /// The device is there but can't be spoken to.
    #[error("the TPM does not answer: {0}")]
    Unreachable(ErrorKind),
    /// What it says can't be understood, or was altered on its way.
    #[error("the answer of the TPM is malformed or was altered")]
    Malformed,
    /// The object was sealed by another TPM, or this one was cleared since.
    #[error("this is not the TPM that sealed it, or it was cleared since")]
    OtherTpm,
    /// The auth value is wrong; counted by the TPM.
    #[error("the TPM does not take the authorisation")]
    WrongAuth,
    /// Too many wrong auth values, of this or other programs.
    #[error("the TPM is locked after too many wrong tries{}", until(*.seconds))]
    LockedOut {
        /// Within so many seconds it takes a try again; `None` if it doesn't say.
        seconds: Option<u32>,
    },
    /// Its owner set an authorisation for making keys.
    #[error("the TPM's owner has set a password for its storage hierarchy")]
    OwnerAuth,
    /// It refuses for another reason.
    #[error("the TPM refuses {command} (code {code:#05x})")]
    Refused {
        /// The command.
        command: &'static str,
        /// TPM_RC (part 2, section 6.6).
        code: u32,
    },
}

fn until(seconds: Option<u32>) -> String {
    seconds.map_or_else(String::new, |seconds| format!("; it takes one more within {seconds} s"))
}
