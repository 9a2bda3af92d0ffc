//! What a login is bound to.

use crate::id::{DeviceId, GatewayId, TicketId, UserName};
use crate::key::{self, Secret};

const LABEL: &[u8; 17] = b"vestibule/1 login";

/// The context of OPAQUE: `"vestibule/1 login" ‖ version 2 ‖ exporter 32 ‖ inner hash 32 ‖ tid 8`.
pub type LoginContext = [u8; 91];

/// The context of a login over this TLS channel, under this admission. Without it a login proved to one gateway in
/// one channel could be carried into another (`login.pv`, NOBIND).
///
/// `exporter` is the channel's keying material for the label `EXPORTER-vestibule-login`, without context.
#[must_use]
pub fn login_context(version: u16, exporter: &[u8; 32], inner_hash: &[u8; 32], ticket: TicketId) -> LoginContext {
    let mut context = [0; 91];
    let (label, rest) = context.split_at_mut(LABEL.len());
    label.copy_from_slice(LABEL);
    rest[..2].copy_from_slice(&version.to_be_bytes());
    rest[2..34].copy_from_slice(exporter);
    rest[34..66].copy_from_slice(inner_hash);
    rest[66..].copy_from_slice(ticket.as_bytes());
    context
}

/// What goes into OPAQUE for a password: `HMAC-SHA-256(pepper, "vestibule/1 password" ‖ NFC(password))`. The caller has
/// normalised the password to NFC.
#[must_use]
pub fn password_input(pepper: &Secret<32>, nfc_password: &[u8]) -> Secret<32> {
    Secret::new(key::hmac(pepper.expose(), &[b"vestibule/1 password", nfc_password]))
}

/// Who logs in, at which gateway, from which device: the same at registration and at every login, else every login fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginNames {
    /// Client identity.
    pub user: UserName,
    /// Server identity.
    pub gateway: GatewayId,
    /// Second part of the credential identifier; the first is the user name.
    pub device: DeviceId,
}

impl LoginNames {
    pub(super) fn identifiers(&self) -> opaque_ke::Identifiers<'_> {
        opaque_ke::Identifiers {
            client: Some(self.user.as_str().as_bytes()),
            server: Some(self.gateway.as_bytes().as_slice()),
        }
    }

    /// User name ‖ device id: unambiguous, as the device id has a fixed length.
    pub(super) fn credential_identifier(&self) -> Vec<u8> {
        [self.user.as_str().as_bytes(), self.device.as_bytes()].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_context_is_laid_out_as_documented() {
        let context = login_context(0x0102, &[3; 32], &[4; 32], TicketId::new([5; 8]));
        let expected = [LABEL.as_slice(), &[1, 2], &[3; 32], &[4; 32], &[5; 8]].concat();
        assert_eq!(context.as_slice(), expected);
    }
}
