//! The local credential: what the gateway gave this device at enrolment, sealed in two layers (PROTOCOL 3.2, claim 9).
//!
//! * **Layer 1** opens with the right machine and user name. It has a tag, so that "wrong machine" is known for certain,
//!   and holds nothing by which a password could be tested.
//! * **Layer 2** is a seed XORed with a key stretched from the password. It has *no* tag: every password gives a seed, and
//!   every seed gives valid keys. Only the first `t` bits of a digest of the seed ([`Params::typo_bits`], 10 by default)
//!   stand beside it, so that of 2^t typing mistakes all but one are found before anything is sent.
//!
//! # Keys
//!
//! | key | made by |
//! |---|---|
//! | slot key of a set of sources | `HKDF(salt1, mask 1 ‖ (number 1 ‖ digest 32 of each source of the set) ‖ SHA-256("vestibule/1 user" ‖ user), "vestibule/1 l1 slot")` |
//! | `K1` | random; wrapped in each slot by XChaCha20-Poly1305 under the slot's key, nonce 0, associated data: the mask |
//! | layer 1 | XChaCha20-Poly1305 under `K1`; associated data: all that precedes it in the file, layer 2 included |
//! | `K2` | `HKDF(salt2, Argon2id(password, salt2) 32 ‖ K1 32, "vestibule/1 l2")` |
//! | `auth` | with a TPM that limits guesses: `HKDF(salt2, Argon2id(password, salt2) 32 ‖ K1 32, "vestibule/1 tpm auth")` |
//! | layer 2 | `seed2 XOR K2` |
//! | check | the first `t` bits of `HMAC-SHA-256(seed2, "typo")` |
//! | `D_in`, `D_tls`, `psk_g` | [`Seed::keys`] |
//!
//! Sealed to a TPM ([`crate::tpm`]), the slots' keys have the device's secret of the TPM behind the user, under the label `vestibule/1 l1 slot
//! tpm`; and where the TPM limits guesses, `K2` has the password's secret behind `K1`, under `vestibule/1 l2 tpm`.
//!
//! There is a slot for the set of all `n` sources that were readable at enrolment and, for `n ≥ 2`, one for each set of
//! `n − 1`: one source may be missing later. A source that is there but says something else is told from one that is
//! missing by the readings sealed in layer 1, and refused.
//!
//! # Why a seed is never sealed twice
//!
//! Two files with the same seed under different salts or stretching costs would be an off-line test of passwords for who
//! holds both (a backup and the present file, say): the candidate is right if both give one seed. So a seed goes into
//! exactly one [`Credential`] ([`Seed`] is consumed and [`Opened`] doesn't give it back). To raise the stretching cost
//! ([`Locked::needs_raise`]) or to change the password, the client makes a *new* seed, registers its public keys at the
//! gateway inside a session, and creates the credential anew. [`DeviceUnlocked::reseal`] changes layer 1 alone and leaves
//! layer 2 byte for byte as it is. Each generation of the file that a thief holds still gives him its own `t` bits.

mod content;
mod error;
mod format;
mod layers;
mod params;
mod slots;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use vestibule_proto::entropy::{self, Entropy};
use vestibule_proto::id::UserName;
use vestibule_proto::key::Secret;

use crate::file::{self, Durability, SaveError};
use crate::fingerprint::{Fingerprint, Source};
use crate::password::Password;
use crate::tpm::{self, SealedSecrets, TpmError, TpmUse};
use content::Content;
use format::Layout;
use slots::Machine;

pub use content::{Resume, Sealed};
pub use error::{CreateError, OpenError};
pub use layers::{InnerKeys, Seed};
pub use params::{InvalidParams, Params};

/// Longest file that is read as a credential, in bytes.
pub const FILE_LIMIT: u64 = 16_384;

/// What a new credential is made of.
pub struct NewCredential {
    /// The content of layer 1.
    pub sealed: Sealed,
    /// The seed of the keys that were registered at the gateway; it ends here.
    pub seed: Seed,
    /// The TPM that it is sealed to, by its device's path; `None` for none.
    pub tpm: Option<PathBuf>,
}

/// A sealed credential, ready to be written.
pub struct Credential {
    bytes: Vec<u8>,
    tpm: TpmUse,
}

impl Credential {
    /// Seals a credential to this machine, the user named in it, and a password (E1, last step, before the confirmation).
    ///
    /// Costs one Argon2id of `params`: some hundred milliseconds and 256 MiB by default.
    ///
    /// # Errors
    /// See [`CreateError`].
    pub fn create(
        new: NewCredential,
        password: &Password,
        fingerprint: &Fingerprint,
        params: Params,
        entropy: &mut dyn Entropy,
    ) -> Result<Self, CreateError> {
        let salt1 = entropy::bytes(entropy);
        let salt2 = entropy::bytes(entropy);
        let k1 = Secret::random(entropy);
        let stretched = layers::stretch(password, &salt2, params)?;
        let auth = layers::tpm_auth(&stretched, &salt2, &k1);
        let tpm = new.tpm.map(|path| tpm::seal(&path, &auth, entropy)).transpose()?;
        let of_password = tpm.as_ref().and_then(|tpm| tpm.password.as_ref());
        // The TPM's word on a password is complete, so the check may be.
        let params = if of_password.is_some() { params.complete() } else { params };
        let k2 = layers::k2(&stretched, &salt2, &k1, of_password);
        let machine = Machine { user: &new.sealed.user, fingerprint, tpm_secret: tpm.as_ref().map(|tpm| &tpm.device) };
        let mut layout = Layout {
            params,
            salt1,
            salt2,
            layer2: *layers::xor(new.seed.secret().expose(), &k2).expose(),
            check: layers::check(new.seed.secret(), params.typo_bits()),
            slots: slots::wrap(&k1, &salt1, machine),
            tpm: tpm.map(|SealedSecrets { objects, .. }| objects),
            nonce: [0; 24],
            layer1: Vec::new(),
        };
        let content = Content { readings: slots::readings(fingerprint), sealed: new.sealed, appended: Vec::new() };
        layers::seal_content(&mut layout, &content, &k1, entropy)?;
        Ok(Self { bytes: layout.encode(), tpm: layout.tpm_use() })
    }

    /// What a TPM does for it.
    #[must_use]
    pub fn tpm(&self) -> TpmUse {
        self.tpm
    }

    /// Writes the credential to `path`, mode 0600: the former file is replaced whole, or untouched if this fails or the
    /// program is killed. On the disk when this returns.
    ///
    /// # Errors
    /// See [`SaveError`].
    pub fn save(&self, path: &Path) -> Result<(), SaveError> {
        file::replace(path, &self.bytes, Durability::Synced)
    }

    /// The file's content.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// A credential as it lies on the disk, read and found to be whole.
pub struct Locked {
    layout: Layout,
    tpm: Option<PathBuf>,
}

impl Locked {
    /// Reads the file at `path`, which nobody but this user may have access to.
    ///
    /// # Errors
    /// [`OpenError::File`], or one of those of [`Locked::parse`].
    pub fn load(path: &Path) -> Result<Self, OpenError> {
        Self::parse(&file::read(path, FILE_LIMIT)?)
    }

    /// Reads a credential from bytes.
    ///
    /// # Errors
    /// [`OpenError::NotACredential`], [`OpenError::Truncated`], [`OpenError::Damaged`], [`OpenError::NewerVersion`].
    pub fn parse(bytes: &[u8]) -> Result<Self, OpenError> {
        Layout::decode(bytes).map(|layout| Self { layout, tpm: None })
    }

    /// With the way to this machine's TPM, which a credential that is sealed to one needs.
    #[must_use]
    pub fn with_tpm(self, path: Option<&Path>) -> Self {
        Self { tpm: path.map(Path::to_owned), ..self }
    }

    /// What a TPM does for it.
    #[must_use]
    pub fn tpm(&self) -> TpmUse {
        self.layout.tpm_use()
    }

    /// The bytes that were parsed.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.layout.encode()
    }

    /// The stretching cost and typo bits of this file.
    #[must_use]
    pub fn params(&self) -> Params {
        self.layout.params
    }

    /// Whether the file was sealed at a lower stretching cost than is the default today. After the next login the client
    /// then makes a new seed, registers its keys, and creates the credential anew (see the module's text for why).
    #[must_use]
    pub fn needs_raise(&self) -> bool {
        self.layout.params.weaker_than(Params::default())
    }

    /// Opens layer 1: tells for certain whether this is the right machine and user name, before a password is asked for.
    ///
    /// # Errors
    /// [`OpenError::Tpm`], [`OpenError::SourcesMissing`], [`OpenError::WrongDeviceOrUser`], [`OpenError::SourceDiffers`],
    /// [`OpenError::Damaged`] if the file was altered by who knew how.
    pub fn unlock_device(&self, user: &UserName, fingerprint: &Fingerprint) -> Result<DeviceUnlocked, OpenError> {
        let objects = self.layout.tpm.as_ref();
        let tpm_secret = objects.map(|objects| self.tpm_secret(objects)).transpose().map_err(OpenError::Tpm)?;
        let machine = Machine { user, fingerprint, tpm_secret: tpm_secret.as_ref() };
        let opened = slots::unwrap(&self.layout, machine)?;
        let content = layers::open_content(&self.layout, &opened.k1)?;
        slots::compare(&content.readings, fingerprint)?;
        if content.sealed.user != *user {
            return Err(OpenError::Damaged);
        }
        let (layout, tpm) = (self.layout.clone(), self.tpm.clone());
        Ok(DeviceUnlocked { layout, content, k1: opened.k1, missing: opened.missing, tpm })
    }

    fn tpm_secret(&self, objects: &tpm::TpmObjects) -> Result<Secret<32>, TpmError> {
        tpm::unseal(self.tpm.as_deref(), &objects.device, None)
    }

    /// Opens both layers.
    ///
    /// # Errors
    /// Those of [`Locked::unlock_device`] and [`DeviceUnlocked::unlock_password`].
    pub fn open(&self, user: &UserName, password: &Password, fingerprint: &Fingerprint) -> Result<Opened, OpenError> {
        self.unlock_device(user, fingerprint)?.unlock_password(password)
    }
}

/// A credential whose layer 1 is open: the right machine and user name; the password is still unknown.
#[derive(Clone)]
pub struct DeviceUnlocked {
    layout: Layout,
    content: Content,
    k1: Secret<32>,
    missing: Option<Source>,
    tpm: Option<PathBuf>,
}

impl DeviceUnlocked {
    /// The content of layer 1.
    #[must_use]
    pub fn sealed(&self) -> &Sealed {
        &self.content.sealed
    }

    /// What a TPM does for it.
    #[must_use]
    pub fn tpm(&self) -> TpmUse {
        self.layout.tpm_use()
    }

    /// The source that was readable at enrolment and is missing now; worth a warning, for if another goes the credential
    /// will not open.
    #[must_use]
    pub fn missing(&self) -> Option<Source> {
        self.missing
    }

    /// Opens layer 2, at the cost of one Argon2id. May be called again with another password.
    ///
    /// `Ok` means that the password passed the typo bits: one wrong password in 2^t does, and its keys are refused by the
    /// gateway. Where a TPM limits guesses no wrong one does, and each counts there.
    ///
    /// # Errors
    /// [`OpenError::WrongPassword`], [`OpenError::NoMemory`], [`OpenError::Tpm`].
    pub fn unlock_password(&self, password: &Password) -> Result<Opened, OpenError> {
        let Layout { salt2, .. } = &self.layout;
        let stretched = layers::stretch(password, salt2, self.layout.params)?;
        let tpm_secret = self.tpm_secret(&layers::tpm_auth(&stretched, salt2, &self.k1))?;
        let k2 = layers::k2(&stretched, salt2, &self.k1, tpm_secret.as_ref());
        let seed = layers::xor(&self.layout.layer2, &k2);
        if layers::check(&seed, self.layout.params.typo_bits()) != self.layout.check {
            return Err(OpenError::WrongPassword);
        }
        Ok(Opened { sealed: self.content.sealed.clone(), keys: Seed::from_secret(seed).keys(), missing: self.missing })
    }

    fn tpm_secret(&self, auth: &Secret<32>) -> Result<Option<Secret<32>>, OpenError> {
        let Some(object) = self.layout.tpm.as_ref().and_then(|tpm| tpm.password.as_ref()) else { return Ok(None) };
        match tpm::unseal(self.tpm.as_deref(), object, Some(auth)) {
            Ok(secret) => Ok(Some(secret)),
            Err(TpmError::WrongAuth) => Err(OpenError::WrongPassword),
            Err(error) => Err(OpenError::Tpm(error)),
        }
    }

    /// The same credential as it lies at `path` now: what was resealed since is seen.
    ///
    /// # Errors
    /// Those of [`Locked::load`]; [`OpenError::Damaged`] if another credential lies there, made by another enrolment.
    pub fn again(&self, path: &Path) -> Result<Self, OpenError> {
        let Locked { layout, .. } = Locked::load(path)?;
        let content = layers::open_content(&layout, &self.k1)?;
        Ok(Self { layout, content, ..self.clone() })
    }

    /// The same credential with another content of layer 1 (new addresses, pins, version floor, resume data). Layer 2,
    /// the salts and the key slots stay as they are, so no password is needed.
    ///
    /// # Errors
    /// [`CreateError::Content`] if the content is out of bounds or names another user.
    pub fn reseal(&self, sealed: Sealed, entropy: &mut dyn Entropy) -> Result<Credential, CreateError> {
        if sealed.user != self.content.sealed.user {
            return Err(CreateError::Content("another user"));
        }
        let content = Content { sealed, ..self.content.clone() };
        let mut layout = self.layout.clone();
        layers::seal_content(&mut layout, &content, &self.k1, entropy)?;
        Ok(Credential { bytes: layout.encode(), tpm: layout.tpm_use() })
    }
}

/// An open credential: all that a client needs to knock and to log in, but the password itself.
pub struct Opened {
    /// The content of layer 1.
    pub sealed: Sealed,
    /// The keys of layer 2; those of nobody if a wrong password passed the typo bits.
    pub keys: InnerKeys,
    /// See [`DeviceUnlocked::missing`].
    pub missing: Option<Source>,
}

/// For [`crate::fuzzing`]: `bytes` as the content of a layer 1 that has been opened.
pub(crate) fn fuzz_content(bytes: &[u8]) {
    if let Some(content) = Content::decode(bytes) {
        assert!(content.encode().is_ok(), "what was read is in bounds");
    }
}

pub(crate) use format::mend;
