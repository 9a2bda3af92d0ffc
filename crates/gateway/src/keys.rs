//! The gateway's own keys: `gateway.key` and `gateway.seed`, 0600, made by `init`. Two of them change while the role runs: G_tls,
//! and its controller's realm key.

#[cfg(test)]
mod tests;
mod tls;

pub use tls::{TlsKeys, TurnError};

use crate::directory::{Identity, Introduction};
use crate::settings::{key_file, seed_file};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tls::TlsDocument;
use vestibule_proto::admission::GatewayKeys;
use vestibule_proto::entropy::Entropy;
use vestibule_proto::frame;
use vestibule_proto::id::{GatewayId, LoginDigest, Stamp};
use vestibule_proto::invitation::{GatewayInvitation, KnockKeys};
use vestibule_proto::key::{self, PrivateKey, Psk, PublicKey, RealmKey, Secret, SigningKey, Spki};
use vestibule_proto::link::Register;
use vestibule_proto::login::OpaqueSetup;
use vestibule_proto::outer::ControllerPin;
use vestibule_proto::realm::Realm;
use vestibule_store::secret_file::{self, SecretFileError};
use zeroize::Zeroizing;

/// Bytes of the OPRF seed, which lead the stored form of OPAQUE's set-up and have a file of their own.
const SEED_LEN: usize = 64;
/// Bytes of the rest of it.
const OPAQUE_KEYS_LEN: usize = OpaqueSetup::SIZE - SEED_LEN;

/// What `gateway.key` holds, as a postcard document.
#[derive(Serialize, Deserialize)]
struct Document {
    format: u16,
    gateway: GatewayId,
    name: String,
    #[serde(with = "key::exposed")]
    inner: Secret<32>,
    #[serde(with = "key::exposed")]
    tls: Secret<32>,
    #[serde(with = "key::exposed")]
    lookup: Secret<32>,
    #[serde(with = "key::exposed")]
    opaque: Secret<OPAQUE_KEYS_LEN>,
    link_digest: LoginDigest,
    #[serde(with = "key::exposed")]
    link_key: Secret<32>,
    #[serde(with = "key::exposed")]
    link_psk: Psk,
    controllers: Vec<String>,
    controller_key: PublicKey,
    controller_pin: Spki,
    #[serde(with = "key::exposed")]
    realm: RealmKey,
    unregistered: Option<Unregistered>,
}

/// What format 2 has behind it: written once a key was rotated.
#[derive(Serialize, Deserialize, Default)]
struct Rotation {
    realm_epoch: u64,
    tls: TlsDocument,
}

/// What changes while the role runs.
#[derive(Clone)]
struct Known {
    tls: TlsKeys,
    realm: Realm,
    unregistered: Option<Unregistered>,
}

/// The way in that the controller's link opened: used until the gateway has registered its lasting keys.
#[derive(Serialize, Deserialize, Clone)]
struct Unregistered {
    #[serde(with = "key::exposed")]
    secret: Secret<16>,
    expires: Stamp,
}

/// All keys of a gateway (PROTOCOL.md §3.1), and what it knows of its controller.
pub struct Keys {
    /// Which gateway this is.
    pub gateway: GatewayId,
    /// How its controller's owner calls it.
    pub name: String,
    /// G: opens the inner part of knocks.
    pub inner: PrivateKey,
    /// k_lookup: makes login digests.
    pub lookup: Secret<32>,
    /// The server side of OPAQUE, OPRF seed included.
    pub opaque: OpaqueSetup,
    /// With what it knocks at the controller.
    pub link: KnockKeys,
    /// Where the controller is, `host:port`.
    pub controllers: Vec<String>,
    /// C.
    pub controller_key: PublicKey,
    /// The key that the controller presents on links.
    pub controller_pin: Spki,
    known: Mutex<Known>,
}

/// Why the key files can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// One can't be read or written, or is open to others.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// Its content is not a key file of this version.
    #[error("the key file is damaged, or was made by a newer version of the program")]
    Damaged,
    /// A link of the controller was made for another gateway, or for a new one.
    #[error("the link was not made for this gateway")]
    OtherGateway {
        /// How this one is called.
        name: String,
        /// Which one this is.
        gateway: GatewayId,
    },
}

impl Keys {
    /// New keys for the gateway that this link invites.
    pub fn generate(link: &GatewayInvitation, entropy: &mut dyn Entropy) -> Self {
        Self {
            gateway: link.gateway,
            name: link.name.clone(),
            inner: PrivateKey::random(entropy),
            lookup: Secret::random(entropy),
            opaque: OpaqueSetup::random(entropy),
            link: KnockKeys {
                digest: LoginDigest::random(entropy),
                d_out: PrivateKey::random(entropy),
                psk_c: Psk::random(entropy),
            },
            controllers: link.controllers.clone(),
            controller_key: link.controller_key,
            controller_pin: link.controller_pin,
            known: Mutex::new(Known {
                tls: TlsKeys::new(SigningKey::random(entropy)),
                // Of whatever epoch it is: the first link tells.
                realm: Realm { epoch: 0, key: link.realm.clone() },
                unregistered: Some(Unregistered { secret: link.secret.clone(), expires: link.expires }),
            }),
        }
    }

    /// These keys with another way to a controller: everything that devices know the gateway by stays.
    ///
    /// # Errors
    /// [`KeysError::OtherGateway`] when the link was not made for this gateway.
    pub fn relinked(self, link: &GatewayInvitation) -> Result<Self, KeysError> {
        if link.gateway != self.gateway {
            return Err(KeysError::OtherGateway { name: self.name, gateway: self.gateway });
        }
        let known = self.known.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(Self {
            name: link.name.clone(),
            controllers: link.controllers.clone(),
            controller_key: link.controller_key,
            controller_pin: link.controller_pin,
            known: Mutex::new(Known {
                // Of whatever epoch it is: the first link tells.
                realm: Realm { epoch: 0, key: link.realm.clone() },
                unregistered: Some(Unregistered { secret: link.secret.clone(), expires: link.expires }),
                ..known
            }),
            ..self
        })
    }

    /// Writes the key file of `dir` anew. The seed's file stays as it is.
    ///
    /// # Errors
    /// When it can't be written; the former one stays then.
    pub fn write_over(&self, dir: &Path) -> Result<(), KeysError> {
        Ok(secret_file::replace(&key_file(dir), &self.encode(&self.known())?)?)
    }

    /// Writes the keys into two files of `dir` that must not exist yet.
    ///
    /// # Errors
    /// When one exists, or can't be written; nothing new is left there then.
    pub fn write_new(&self, dir: &Path) -> Result<(), KeysError> {
        let document = self.encode(&self.known())?;
        let (seed, _) = self.opaque_parts()?;
        let seed_file = seed_file(dir);
        secret_file::write_new(&seed_file, seed.expose())?;
        secret_file::write_new(&key_file(dir), &document).map_err(|error| {
            let _ = std::fs::remove_file(&seed_file);
            error.into()
        })
    }

    /// Reads both files.
    ///
    /// # Errors
    /// When one is missing, open to others, or damaged.
    pub fn read(dir: &Path) -> Result<Self, KeysError> {
        let bytes = secret_file::read(&key_file(dir))?;
        let (document, rotation): (Document, Rotation) = match frame::decode::<Document>(&bytes) {
            Ok(document) if document.format == 1 => (document, Rotation::default()),
            Ok(_) => return Err(KeysError::Damaged),
            Err(_) => frame::decode(&bytes).map_err(|_| KeysError::Damaged)?,
        };
        let seed = secret_file::read(&seed_file(dir))?;
        let seed: Secret<SEED_LEN> = Secret::new(seed.as_slice().try_into().map_err(|_| KeysError::Damaged)?);
        if !(1..=2).contains(&document.format) {
            return Err(KeysError::Damaged);
        }
        Ok(Self {
            gateway: document.gateway,
            name: document.name,
            inner: PrivateKey::from_bytes(document.inner),
            lookup: document.lookup,
            opaque: joined(&seed, &document.opaque)?,
            link: KnockKeys {
                digest: document.link_digest,
                d_out: PrivateKey::from_bytes(document.link_key),
                psk_c: document.link_psk,
            },
            controllers: document.controllers,
            controller_key: document.controller_key,
            controller_pin: document.controller_pin,
            known: Mutex::new(Known {
                tls: TlsKeys::from_document(SigningKey::from_seed(document.tls), rotation.tls),
                realm: Realm { epoch: rotation.realm_epoch, key: document.realm },
                unregistered: document.unregistered,
            }),
        })
    }

    /// Under which keys the gateway knocks for the first time; `None` once it has registered or the link has expired.
    #[must_use]
    pub fn first_knock(&self, now: Stamp) -> Option<KnockKeys> {
        let known = self.known();
        let unregistered = known.unregistered.as_ref()?;
        (now < unregistered.expires).then(|| KnockKeys::derive(&unregistered.secret))
    }

    /// Whether the gateway has not registered yet.
    #[must_use]
    pub fn is_registered(&self) -> bool {
        self.known().unregistered.is_none()
    }

    /// What the controller is given at the first link.
    #[must_use]
    pub fn register(&self) -> Register {
        Register {
            digest: self.link.digest,
            device_key: self.link.d_out.public(),
            psk_c: self.link.psk_c.clone(),
            spki: self.known().tls.present().spki(),
        }
    }

    /// Writes down in `dir` that the controller knows the lasting keys: the invitation is forgotten.
    ///
    /// # Errors
    /// When the file can't be written; the gateway then says so again at its next start, which does no harm.
    pub fn forget_invitation(&self, dir: &Path) -> Result<(), KeysError> {
        let mut known = self.known();
        let forgotten = Known { unregistered: None, ..known.clone() };
        self.put(dir, &mut known, forgotten)
    }

    /// C and K_realm, as they are now.
    #[must_use]
    pub fn controller(&self) -> ControllerPin {
        ControllerPin { key: self.controller_key, realm: self.realm().key }
    }

    /// The realm key in force.
    #[must_use]
    pub fn realm(&self) -> Realm {
        self.known().realm.clone()
    }

    /// Puts a later realm key in force, which is on the disk then; an earlier one changes nothing. Says whether it was later.
    ///
    /// # Errors
    /// When the file can't be written; the former one stays in force.
    pub fn learn_realm(&self, dir: &Path, realm: Realm) -> Result<bool, KeysError> {
        let mut known = self.known();
        if realm.epoch <= known.realm.epoch {
            return Ok(false);
        }
        let learnt = Known { realm, ..known.clone() };
        self.put(dir, &mut known, learnt)?;
        Ok(true)
    }

    /// G_tls, and what goes with it: presented to clients and to the controller; signs rows.
    #[must_use]
    pub fn tls(&self) -> TlsKeys {
        self.known().tls.clone()
    }

    /// Puts other TLS keys in force, which are on the disk then.
    ///
    /// # Errors
    /// Those of `turn`; [`TurnError::Unregistered`] before the first link; [`TurnError::Keys`] when the file can't be written.
    /// The former ones stay in force.
    pub fn turn_tls(
        &self,
        dir: &Path,
        turn: impl FnOnce(&TlsKeys) -> Result<TlsKeys, TurnError>,
    ) -> Result<TlsKeys, TurnError> {
        let mut known = self.known();
        if known.unregistered.is_some() {
            return Err(TurnError::Unregistered);
        }
        let turned = Known { tls: turn(&known.tls)?, ..known.clone() };
        self.put(dir, &mut known, turned)?;
        Ok(known.tls.clone())
    }

    /// The controller knows this gateway by `key`: no other one that it might know it by is needed any more.
    ///
    /// # Errors
    /// When the file can't be written: the next link says so again.
    pub fn linked_under(&self, dir: &Path, key: &Spki) -> Result<(), KeysError> {
        let mut known = self.known();
        let Some(tls) = known.tls.known_by(key) else { return Ok(()) };
        let told = Known { tls, ..known.clone() };
        self.put(dir, &mut known, told)
    }

    /// On the disk, then in force.
    fn put(&self, dir: &Path, known: &mut Known, changed: Known) -> Result<(), KeysError> {
        secret_file::replace(&key_file(dir), &self.encode(&changed)?)?;
        *known = changed;
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the directory needs to know of this gateway.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity {
            gateway: self.gateway,
            name: self.name.clone(),
            k_lookup: self.lookup.clone(),
            introduction: Some(self.introduction()),
        }
    }

    /// What invitations tell, as it is now.
    #[must_use]
    pub fn introduction(&self) -> Introduction {
        let known = self.known();
        Introduction {
            controllers: self.controllers.clone(),
            controller_key: self.controller_key,
            realm: known.realm.key.clone(),
            gateway_key: self.inner.public(),
            gateway_pins: vec![known.tls.present().spki()],
        }
    }

    /// What the admission machine needs to know of it.
    #[must_use]
    pub fn for_admission(&self) -> GatewayKeys {
        GatewayKeys { id: self.gateway, key: self.inner.clone() }
    }

    fn encode(&self, known: &Known) -> Result<Zeroizing<Vec<u8>>, KeysError> {
        let document = self.document(known)?;
        let encoded = if known.is_plain() {
            frame::document(&document)
        } else {
            frame::document(&(document, Rotation { realm_epoch: known.realm.epoch, tls: known.tls.document() }))
        };
        encoded.map_err(|_| KeysError::Damaged)
    }

    fn document(&self, known: &Known) -> Result<Document, KeysError> {
        let (_, opaque) = self.opaque_parts()?;
        Ok(Document {
            format: if known.is_plain() { 1 } else { 2 },
            gateway: self.gateway,
            name: self.name.clone(),
            inner: self.inner.secret().clone(),
            tls: known.tls.present().seed().clone(),
            lookup: self.lookup.clone(),
            opaque,
            link_digest: self.link.digest,
            link_key: self.link.d_out.secret().clone(),
            link_psk: self.link.psk_c.clone(),
            controllers: self.controllers.clone(),
            controller_key: self.controller_key,
            controller_pin: self.controller_pin,
            realm: known.realm.key.clone(),
            unregistered: known.unregistered.clone(),
        })
    }

    /// The OPRF seed, and the rest of OPAQUE's set-up.
    fn opaque_parts(&self) -> Result<(Secret<SEED_LEN>, Secret<OPAQUE_KEYS_LEN>), KeysError> {
        let whole = self.opaque.to_bytes().map_err(|_| KeysError::Damaged)?;
        let (seed, keys) = whole.expose().split_at(SEED_LEN);
        let mut parts = (Zeroizing::new([0; SEED_LEN]), Zeroizing::new([0; OPAQUE_KEYS_LEN]));
        parts.0.copy_from_slice(seed);
        parts.1.copy_from_slice(keys);
        Ok((Secret::new(*parts.0), Secret::new(*parts.1)))
    }
}

impl Known {
    /// Whether earlier versions of the program could have written it, and can read it.
    fn is_plain(&self) -> bool {
        self.realm.epoch == 0 && self.tls.is_plain()
    }
}

fn joined(seed: &Secret<SEED_LEN>, keys: &Secret<OPAQUE_KEYS_LEN>) -> Result<OpaqueSetup, KeysError> {
    let mut whole = Zeroizing::new([0; OpaqueSetup::SIZE]);
    whole[..SEED_LEN].copy_from_slice(seed.expose());
    whole[SEED_LEN..].copy_from_slice(keys.expose());
    OpaqueSetup::from_bytes(&Secret::new(*whole)).map_err(|_| KeysError::Damaged)
}
