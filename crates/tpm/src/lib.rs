//! A secret sealed to this machine's TPM 2.0: it comes out on this machine alone, and where an auth value stands before it,
//! for who knows that value alone; wrong ones count in the TPM's own lock-out.
//!
//! Numbers of parts and sections are those of the TCG's *Trusted Platform Module Library*, family 2.0, revision 1.59.
//!
//! | module | content |
//! |---|---|
//! | [`tpm`] | what a caller does: [`Tpm::seal`], [`Tpm::unseal`], [`Tpm::lockout`] |
//! | [`object`] | the sealed object, as it lies in a file |
//! | [`error`] | why it did not happen |
//! | [`fuzzing`] | an entry for a fuzz target |
//! | `command`, `response`, `wire` | the bytes of commands and answers: pure, every length from the TPM has a bound |
//! | `session` | the session that hides auth value and secret from whoever listens between processor and TPM |
//! | `line` | the way to the TPM: the kernel's resource manager, or the socket of an emulator |
//!
//! Nothing is made persistent in the TPM, and nothing but an empty owner's authorisation is needed: the parent key is made
//! anew from the TPM's own seed each time, and is the same one each time, until the TPM is cleared.

mod command;
pub mod error;
pub mod fuzzing;
mod line;
pub mod object;
mod response;
mod session;
pub mod tpm;
mod wire;

pub use error::TpmError;
pub use object::SealedObject;
pub use tpm::{Lockout, Tpm};

/// Where Linux offers the TPM to several programs at once (the kernel's resource manager, since 4.12).
pub const DEVICE: &str = "/dev/tpmrm0";
