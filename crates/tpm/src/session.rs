//! An HMAC session, salted to the parent key, with parameter encryption (part 1, sections 19 and 21).
//!
//! The salt reaches the TPM by ECDH with the parent's public key, which the sealed object names: who listens between processor
//! and TPM learns neither the auth value nor what is sealed, and who puts himself between them is another TPM.

use aws_lc_rs::agreement::{self, ECDH_P256, UnparsedPublicKey};
use aws_lc_rs::cipher::{
    AES_128, DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext, UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use vestibule_proto::entropy::{self, Entropy};
use vestibule_proto::key::{Secret, hmac};
use zeroize::Zeroizing;

use crate::command::{self, Authorisation, Code, Command};
use crate::error::TpmError;
use crate::response::Answer;
use crate::wire::{Reader, Writer};

const CONTINUE: u8 = 1 << 0;
/// The first parameter of the command is encrypted.
const DECRYPT: u8 = 1 << 5;
/// The first parameter of the answer is encrypted.
const ENCRYPT: u8 = 1 << 6;

/// A point of the parent's curve: X and Y, 32 bytes each.
#[derive(Clone, Copy)]
pub(crate) struct Point {
    pub(crate) x: [u8; 32],
    pub(crate) y: [u8; 32],
}

impl Point {
    fn of_sec1(bytes: &[u8]) -> Option<Self> {
        let (x, y) = bytes.strip_prefix(&[4])?.split_first_chunk()?;
        Some(Self { x: *x, y: y.try_into().ok()? })
    }

    fn to_sec1(self) -> [u8; 65] {
        let mut bytes = [4; 65];
        bytes[1..33].copy_from_slice(&self.x);
        bytes[33..].copy_from_slice(&self.y);
        bytes
    }
}

/// A salt, and the point by which the TPM comes to the same one.
pub(crate) struct Salt {
    salt: Secret<32>,
    /// TPMS_ECC_POINT.
    pub(crate) point: Zeroizing<Vec<u8>>,
}

impl Salt {
    /// One pass of ECDH with the parent's key (part 1, section C.6.3).
    ///
    /// # Errors
    /// [`TpmError::Malformed`] if the parent's point is none of the curve.
    pub(crate) fn to(parent: &Point, entropy: &mut dyn Entropy) -> Result<Self, TpmError> {
        let own = ephemeral(entropy)?;
        let public = own.compute_public_key().ok().and_then(|public| Point::of_sec1(public.as_ref()));
        let public = public.ok_or(TpmError::Malformed)?;
        let peer = UnparsedPublicKey::new(&ECDH_P256, parent.to_sec1());
        let salt = agreement::agree(&own, peer, TpmError::Malformed, |shared| {
            Ok(Secret::new(kdfe(shared, b"SECRET\0", &public.x, &parent.x)))
        })?;
        Ok(Self { salt, point: Writer::new().sized(&public.x).sized(&public.y).finish() })
    }
}

/// From the caller's randomness, so that a conversation is a function of it.
fn ephemeral(entropy: &mut dyn Entropy) -> Result<agreement::PrivateKey, TpmError> {
    // One number of 2^32 is none of a key.
    (0..4)
        .find_map(|_| agreement::PrivateKey::from_private_key(&ECDH_P256, Secret::<32>::random(entropy).expose()).ok())
        .ok_or(TpmError::Malformed)
}

/// KDFe (part 1, section 11.4.10.3) with SHA-256, one block.
fn kdfe(shared: &[u8], label: &[u8], ours: &[u8], theirs: &[u8]) -> [u8; 32] {
    let hash = Sha256::new().chain_update(1u32.to_be_bytes()).chain_update(shared).chain_update(label);
    hash.chain_update(ours).chain_update(theirs).finalize().into()
}

/// KDFa (part 1, section 11.4.10.2) with SHA-256, one block.
fn kdfa(key: &[u8], label: &[u8], first: &[u8], second: &[u8]) -> Secret<32> {
    let bits = 256u32.to_be_bytes();
    Secret::new(hmac(key, &[&1u32.to_be_bytes(), label, &[0], first, second, &bits]))
}

/// An open session.
pub(crate) struct Session {
    pub(crate) handle: u32,
    key: Secret<32>,
    nonce_tpm: Vec<u8>,
}

/// What is encrypted besides the authorisation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hidden {
    /// The first parameter of the command.
    Command,
    /// The first parameter of the answer.
    Answer,
}

/// A command under a session, and what it takes to believe the answer.
pub(crate) struct Exchange {
    pub(crate) command: Command,
    key: Zeroizing<Vec<u8>>,
    nonce_caller: [u8; 32],
    attributes: u8,
}

impl Session {
    /// The session that the TPM opened as `handle`.
    pub(crate) fn new(handle: u32, salt: &Salt, nonce_tpm: &[u8], nonce_caller: &[u8]) -> Self {
        let key = kdfa(salt.salt.expose(), b"ATH", nonce_tpm, nonce_caller);
        Self { handle, key, nonce_tpm: nonce_tpm.to_vec() }
    }

    /// `Create` of `sensitive` (TPM2B_SENSITIVE_CREATE without its length) under the parent, whose auth value is empty.
    pub(crate) fn create(
        &self,
        parent: u32,
        parent_name: &[u8],
        mut sensitive: Zeroizing<Vec<u8>>,
        public: &[u8],
        entropy: &mut dyn Entropy,
    ) -> Result<Exchange, TpmError> {
        let nonce_caller = entropy::bytes(entropy);
        self.cfb(&self.keyed(&[]), &nonce_caller, &self.nonce_tpm, Hidden::Command, &mut sensitive)?;
        let parameters = command::create_parameters(&sensitive, public);
        Ok(self.authorise(command::CREATE, parent, parent_name, &[], &parameters, Hidden::Command, nonce_caller))
    }

    /// `Unseal` of the object, by its auth value.
    pub(crate) fn unseal(&self, item: u32, name: &[u8], auth: &[u8], entropy: &mut dyn Entropy) -> Exchange {
        let nonce_caller = entropy::bytes(entropy);
        self.authorise(command::UNSEAL, item, name, auth, &[], Hidden::Answer, nonce_caller)
    }

    /// HMAC of a command (part 1, section 19.6.3).
    #[expect(clippy::too_many_arguments, reason = "they are what the HMAC is over")]
    fn authorise(
        &self,
        code: Code,
        handle: u32,
        name: &[u8],
        auth: &[u8],
        parameters: &[u8],
        hidden: Hidden,
        nonce_caller: [u8; 32],
    ) -> Exchange {
        let attributes = CONTINUE | if hidden == Hidden::Command { DECRYPT } else { ENCRYPT };
        let digest = Sha256::new().chain_update(code.number.to_be_bytes()).chain_update(name).chain_update(parameters);
        let key = self.keyed(auth);
        let hmac = hmac(&key, &[&digest.finalize(), &nonce_caller, &self.nonce_tpm, &[attributes]]);
        let authorisation = Authorisation { session: self.handle, nonce: &nonce_caller, attributes, hmac: &hmac };
        let command = command::command(code, &[handle], Some(&authorisation), parameters);
        Exchange { command, key, nonce_caller, attributes }
    }

    /// The session's key with an auth value behind it, which a TPM keeps without the zeros at its end.
    fn keyed(&self, auth: &[u8]) -> Zeroizing<Vec<u8>> {
        let length = auth.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        Zeroizing::new([self.key.expose(), &auth[..length]].concat())
    }

    /// Believes the answer if its HMAC is right, and returns what was sealed.
    ///
    /// # Errors
    /// [`TpmError::Malformed`].
    pub(crate) fn unsealed(&self, exchange: &Exchange, answer: &Answer<'_>) -> Result<Secret<32>, TpmError> {
        exchange.believe(answer)?;
        let mut reader = Reader::new(answer.parameters);
        let mut data = Zeroizing::new([0; 32]);
        data.copy_from_slice(reader.sized(32).ok().filter(|data| data.len() == 32).ok_or(TpmError::Malformed)?);
        reader.end()?;
        self.cfb(&exchange.key, answer.nonce, &exchange.nonce_caller, Hidden::Answer, data.as_mut())?;
        Ok(Secret::new(*data))
    }

    /// AES-128 in CFB mode, key and first block from the session (part 1, section 21.3).
    fn cfb(&self, key: &[u8], newer: &[u8], older: &[u8], hidden: Hidden, data: &mut [u8]) -> Result<(), TpmError> {
        let derived = kdfa(key, b"CFB", newer, older);
        let (key, first_block) = derived.expose().split_at(16);
        let key = UnboundCipherKey::new(&AES_128, key).map_err(|_| TpmError::Malformed)?;
        let block = FixedLength::<16>::try_from(first_block).map_err(|_| TpmError::Malformed)?;
        let done = match hidden {
            Hidden::Command => EncryptingKey::cfb128(key)
                .and_then(|key| key.less_safe_encrypt(data, EncryptionContext::Iv128(block)).map(|_| ())),
            Hidden::Answer => DecryptingKey::cfb128(key)
                .and_then(|key| key.decrypt(data, DecryptionContext::Iv128(block)).map(|_| ())),
        };
        done.map_err(|_| TpmError::Malformed)
    }
}

impl Exchange {
    /// HMAC of an answer (part 1, section 19.6.4): it comes from who has the session's key, and is whole.
    ///
    /// # Errors
    /// [`TpmError::Malformed`].
    pub(crate) fn believe(&self, answer: &Answer<'_>) -> Result<(), TpmError> {
        let code = self.command.code.number.to_be_bytes();
        let digest = Sha256::new().chain_update([0; 4]).chain_update(code).chain_update(answer.parameters).finalize();
        let expected = hmac(&self.key, &[&digest, answer.nonce, &self.nonce_caller, &[answer.attributes]]);
        let same_use = answer.attributes == self.attributes;
        if same_use && answer.nonce.len() >= 16 && bool::from(expected.ct_eq(answer.hmac)) {
            Ok(())
        } else {
            Err(TpmError::Malformed)
        }
    }
}
