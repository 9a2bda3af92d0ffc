//! Where a new credential goes: beside its place first, then into it.

use crate::error::{ClientError, CredentialTrouble, TpmTrouble};
use crate::home::{CredentialFile, Home};
use crate::kept::alone;
use crate::local;
use std::ffi::OsString;
use std::path::PathBuf;
use vestibule_local_credential::Sources;
use vestibule_proto::id::UserName;
use vestibule_proto::invitation::Invitation;

/// Whether a credential does not open because its TPM, which may be the right one, does not answer now.
pub(super) fn is_for_now(error: &ClientError) -> bool {
    let ClientError::Credential { trouble: CredentialTrouble::Tpm(trouble), .. } = error else { return false };
    matches!(trouble, TpmTrouble::Denied | TpmTrouble::LockedOut { .. } | TpmTrouble::Failed { .. })
}

/// The place of a credential.
pub(super) struct Place {
    /// The file that it will be.
    pub(super) file: CredentialFile,
}

impl Place {
    /// `USER@GATEWAY`, unless another gateway of the same name has that place: then with the head of the gateway's id.
    ///
    /// # Errors
    /// [`CredentialTrouble::Tpm`]: whose it is that lies there can't be told now.
    pub(super) fn choose(
        home: &Home,
        user: &UserName,
        invitation: &Invitation,
        sources: &Sources,
    ) -> Result<Self, ClientError> {
        let file = home.file(user, &invitation.gateway_name);
        let other_gateway = match local::recognise(&file, sources) {
            Ok(recognised) => recognised.sealed().gateway != invitation.gateway,
            Err(error) if is_for_now(&error) => return Err(error),
            Err(_) => false,
        };
        if !other_gateway {
            return Ok(Self { file });
        }
        let id = invitation.gateway.to_string();
        let name = format!("{}-{}", file.gateway, id.get(..8).unwrap_or(&id));
        Ok(Self { file: home.file(user, &name) })
    }

    /// Whether anything is there already.
    pub(super) fn is_taken(&self) -> bool {
        self.file.path.symlink_metadata().is_ok()
    }

    /// Where the credential waits until the gateway has confirmed it.
    pub(super) fn pending(&self) -> PathBuf {
        let mut name = OsString::from(&self.file.path);
        name.push(".pending");
        PathBuf::from(name)
    }

    /// Puts the credential that waits into its place, durably.
    pub(super) fn take(&self) -> Result<(), ClientError> {
        let path = &self.file.path;
        let failed = |error| ClientError::files(path, &error);
        let directory = alone(path).map_err(failed)?;
        // The stamp of a former device says nothing of this one.
        let _ = std::fs::remove_file(vestibule_local_credential::state::path(path));
        std::fs::rename(self.pending(), path).and_then(|()| directory.sync_all()).map_err(failed)
    }
}
