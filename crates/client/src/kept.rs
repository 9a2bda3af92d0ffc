//! The credential on the disk while a session stands on it: its first layer changes when the gateway says so.

use crate::error::ClientError;
use crate::local::{create_error, credential_error, save_error};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use vestibule_local_credential::{DeviceUnlocked, Sealed};
use vestibule_proto::entropy::SystemEntropy;
use vestibule_proto::key::Spki;
use vestibule_proto::realm::Realm;

/// What a gateway tells its device to go by from now on.
pub(crate) enum Learned {
    /// K_realm.
    Realm(Realm),
    /// G_tls.
    GatewayKey(Spki),
}

/// A credential whose first layer this process has open.
pub(crate) struct Kept {
    device: DeviceUnlocked,
    path: PathBuf,
}

impl Kept {
    pub(crate) fn new(device: DeviceUnlocked, path: PathBuf) -> Self {
        Self { device, path }
    }

    /// Writes a key down in the place of the one before: as a whole and durably, or not at all. Returns what is on the disk
    /// then, which another process may have written before. May wait for the disk.
    ///
    /// # Errors
    /// [`ClientError::Credential`] if the file is gone or another enrolment's, [`ClientError::Files`] if it can't be written.
    pub(crate) fn keep(&self, learned: &Learned) -> Result<Sealed, ClientError> {
        let _alone = alone(&self.path).map_err(|error| ClientError::files(&self.path, &error))?;
        let device = self.device.again(&self.path).map_err(|error| credential_error(&self.path, error))?;
        let known = device.sealed().clone();
        let sealed = match learned {
            Learned::Realm(realm) if realm.epoch > known.realm_epoch => {
                Sealed { realm: realm.key.clone(), realm_epoch: realm.epoch, ..known }
            }
            // The one before is taken no more: it may be why there is a new one.
            Learned::GatewayKey(spki) if known.gateway_pins != [*spki] => Sealed { gateway_pins: vec![*spki], ..known },
            Learned::Realm(_) | Learned::GatewayKey(_) => return Ok(known),
        };
        let credential = device.reseal(sealed.clone(), &mut SystemEntropy).map_err(create_error)?;
        credential.save(&self.path).map_err(|error| save_error(&self.path, error))?;
        Ok(sealed)
    }
}

/// Keeps this machine's other processes from replacing credentials of this directory as long as the handle lives: what is read
/// and then replaced is still there.
pub(crate) fn alone(path: &Path) -> io::Result<File> {
    let directory = File::open(path.parent().unwrap_or(Path::new(".")))?;
    directory.lock()?;
    Ok(directory)
}
