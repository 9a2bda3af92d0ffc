//! The controller's own keys: `controller.key`, 0600, made once by `init`.

use serde::{Deserialize, Serialize};
use std::path::Path;
use vestibule_proto::entropy::Entropy;
use vestibule_proto::key::{self, PrivateKey, RealmKey, Secret, SigningKey};
use vestibule_proto::recognition::ControllerKeys;
use vestibule_store::secret_file::{self, SecretFileError};

/// What the file holds, as a postcard document.
#[derive(Serialize, Deserialize)]
struct Document {
    format: u16,
    #[serde(with = "key::exposed")]
    knock: Secret<32>,
    #[serde(with = "key::exposed")]
    link: Secret<32>,
    #[serde(with = "key::exposed")]
    realm: RealmKey,
}

/// All keys of a controller (PROTOCOL.md §3.1): C, K_realm, and the Ed25519 key that it presents on links.
pub struct Keys {
    /// C: opens knocks.
    pub knock: PrivateKey,
    /// Presented on links, pinned by every gateway.
    pub link: SigningKey,
    /// K_realm: keeps strangers' datagrams cheap.
    pub realm: RealmKey,
}

/// Why the key file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// It can't be read or written, or it is open to others.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// Its content is not a key file of this version.
    #[error("the key file is damaged, or was made by a newer version of the program")]
    Damaged,
}

impl Keys {
    /// New keys.
    pub fn generate(entropy: &mut dyn Entropy) -> Self {
        Self { knock: PrivateKey::random(entropy), link: SigningKey::random(entropy), realm: RealmKey::random(entropy) }
    }

    /// Writes the keys into a file that must not exist yet.
    ///
    /// # Errors
    /// When it exists, or can't be written.
    pub fn write_new(&self, path: &Path) -> Result<(), KeysError> {
        let document = Document {
            format: 1,
            knock: self.knock.secret().clone(),
            link: self.link.seed().clone(),
            realm: self.realm.clone(),
        };
        let bytes = vestibule_proto::frame::document(&document).map_err(|_| KeysError::Damaged)?;
        Ok(secret_file::write_new(path, &bytes)?)
    }

    /// Reads the file.
    ///
    /// # Errors
    /// When it is missing, open to others, or damaged.
    pub fn read(path: &Path) -> Result<Self, KeysError> {
        let bytes = secret_file::read(path)?;
        let document: Document = vestibule_proto::frame::decode(&bytes).map_err(|_| KeysError::Damaged)?;
        if document.format != 1 {
            return Err(KeysError::Damaged);
        }
        Ok(Self {
            knock: PrivateKey::from_bytes(document.knock),
            link: SigningKey::from_seed(document.link),
            realm: document.realm,
        })
    }

    /// The part that recognises knocks.
    pub fn for_recognition(&self) -> ControllerKeys {
        ControllerKeys { key: self.knock.clone(), realm: self.realm.clone() }
    }
}
