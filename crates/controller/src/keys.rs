//! The controller's own keys: `controller.key`, 0600, made by `init`; `rotate` replaces the realm key in it.

use serde::{Deserialize, Serialize};
use std::path::Path;
use vestibule_proto::entropy::Entropy;
use vestibule_proto::frame;
use vestibule_proto::id::Stamp;
use vestibule_proto::key::{self, PrivateKey, RealmKey, Secret, SigningKey};
use vestibule_proto::realm::Realm;
use vestibule_proto::recognition::{ControllerKeys, FormerRealm};
use vestibule_store::secret_file::{self, SecretFileError};
use zeroize::Zeroizing;

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

/// What format 2 has behind it: written once the realm key was rotated.
#[derive(Serialize, Deserialize)]
struct Rotation {
    epoch: u64,
    former: Option<Former>,
}

#[derive(Serialize, Deserialize)]
struct Former {
    #[serde(with = "key::exposed")]
    realm: RealmKey,
    until: Stamp,
}

/// All keys of a controller (PROTOCOL.md §3.1): C, K_realm, and the Ed25519 key that it presents on links.
#[derive(Clone)]
pub struct Keys {
    /// C: opens knocks.
    pub knock: PrivateKey,
    /// Presented on links, pinned by every gateway.
    pub link: SigningKey,
    /// K_realm: keeps strangers' datagrams cheap.
    pub realm: RealmKey,
    /// How often K_realm was rotated.
    pub epoch: u64,
    /// The K_realm before it, as long as it counts.
    pub former: Option<FormerRealm>,
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
        Self {
            knock: PrivateKey::random(entropy),
            link: SigningKey::random(entropy),
            realm: RealmKey::random(entropy),
            epoch: 0,
            former: None,
        }
    }

    /// Writes the keys into a file that must not exist yet.
    ///
    /// # Errors
    /// When it exists, or can't be written.
    pub fn write_new(&self, path: &Path) -> Result<(), KeysError> {
        Ok(secret_file::write_new(path, &self.encode()?)?)
    }

    /// Writes the keys in the place of those that are there: durably, and as a whole.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn replace(&self, path: &Path) -> Result<(), KeysError> {
        Ok(secret_file::replace(path, &self.encode()?)?)
    }

    /// The same keys with another K_realm; the one that is counts until then beside it. `None` while one before it still counts:
    /// two are valid at most.
    #[must_use]
    pub fn rotated(&self, until: Stamp, entropy: &mut dyn Entropy) -> Option<Self> {
        let former = Some(FormerRealm { realm: self.realm.clone(), until });
        let rotated = Self { realm: RealmKey::random(entropy), epoch: self.epoch + 1, former, ..self.clone() };
        self.former.is_none().then_some(rotated)
    }

    /// The same keys without the K_realm of before.
    #[must_use]
    pub fn finished(&self) -> Self {
        Self { former: None, ..self.clone() }
    }

    /// Whether the time of the K_realm of before is over.
    #[must_use]
    pub fn former_is_due(&self, now: Stamp) -> bool {
        self.former.as_ref().is_some_and(|former| former.until <= now)
    }

    /// What gateways are told.
    #[must_use]
    pub fn present_realm(&self) -> Realm {
        Realm { epoch: self.epoch, key: self.realm.clone() }
    }

    fn encode(&self) -> Result<Zeroizing<Vec<u8>>, KeysError> {
        let document = Document {
            // What was never rotated is read by earlier versions of the program, too.
            format: if self.epoch == 0 { 1 } else { 2 },
            knock: self.knock.secret().clone(),
            link: self.link.seed().clone(),
            realm: self.realm.clone(),
        };
        if self.epoch == 0 {
            return frame::document(&document).map_err(|_| KeysError::Damaged);
        }
        let former = self.former.as_ref().map(|former| Former { realm: former.realm.clone(), until: former.until });
        frame::document(&(document, Rotation { epoch: self.epoch, former })).map_err(|_| KeysError::Damaged)
    }

    /// Reads the file.
    ///
    /// # Errors
    /// When it is missing, open to others, or damaged.
    pub fn read(path: &Path) -> Result<Self, KeysError> {
        let bytes = secret_file::read(path)?;
        let (document, rotation): (Document, Rotation) = match frame::decode::<Document>(&bytes) {
            Ok(document) if document.format == 1 => (document, Rotation { epoch: 0, former: None }),
            Ok(_) => return Err(KeysError::Damaged),
            Err(_) => frame::decode(&bytes).map_err(|_| KeysError::Damaged)?,
        };
        if !(1..=2).contains(&document.format) {
            return Err(KeysError::Damaged);
        }
        Ok(Self {
            knock: PrivateKey::from_bytes(document.knock),
            link: SigningKey::from_seed(document.link),
            realm: document.realm,
            epoch: rotation.epoch,
            former: rotation.former.map(|former| FormerRealm { realm: former.realm, until: former.until }),
        })
    }

    /// The part that recognises knocks.
    pub fn for_recognition(&self) -> ControllerKeys {
        ControllerKeys { key: self.knock.clone(), realm: self.realm.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vestibule_proto::entropy::SeededEntropy;

    const T: Stamp = Stamp::from_millis(1_800_000_000_000);

    #[test]
    fn a_rotation_is_read_back_and_two_realm_keys_count_at_most() {
        let (dir, mut entropy) = (tempfile::tempdir().unwrap(), SeededEntropy::new(1));
        let path = dir.path().join("controller.key");
        let first = Keys::generate(&mut entropy);
        first.write_new(&path).unwrap();
        assert_eq!(secret_file::read(&path).unwrap().first(), Some(&1), "as earlier versions wrote it");
        assert!(Keys::read(&path).unwrap().realm == first.realm);

        let second = first.rotated(T, &mut entropy).unwrap();
        second.replace(&path).unwrap();
        let read = Keys::read(&path).unwrap();
        assert!(read.epoch == 1 && read.realm == second.realm && read.realm != first.realm);
        assert!(read.former.as_ref().is_some_and(|former| former.realm == first.realm && former.until == T));
        assert!(read.link.spki() == first.link.spki() && read.knock.public() == first.knock.public());
        assert!(read.former_is_due(T) && !read.former_is_due(T.saturating_sub(std::time::Duration::from_millis(1))));
        assert!(read.rotated(T, &mut entropy).is_none(), "a third one would shut out who has the first");

        let finished = read.finished();
        finished.replace(&path).unwrap();
        let read = Keys::read(&path).unwrap();
        assert!(read.epoch == 1 && read.realm == second.realm && read.former.is_none() && !read.former_is_due(T));
        assert_eq!(read.rotated(T, &mut entropy).unwrap().epoch, 2);
    }

    #[test]
    fn damaged_files_are_told() {
        let (dir, mut entropy) = (tempfile::tempdir().unwrap(), SeededEntropy::new(2));
        let path = dir.path().join("controller.key");
        Keys::generate(&mut entropy).rotated(T, &mut entropy).unwrap().write_new(&path).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            secret_file::replace(&path, &whole[..length]).unwrap();
            assert!(matches!(Keys::read(&path), Err(KeysError::Damaged)), "{length} bytes");
        }
    }
}
