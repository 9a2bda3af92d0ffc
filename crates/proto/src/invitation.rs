//! Invitations: single-use links that hold everything a client (or a new gateway) needs for its first knock.
//!
//! An invitation is a device whose keys derive from the link's secrets: two of them, so that a link whose inner half was
//! altered still reaches the gateway, is refused there, and leaves a trace. The text is `vestibule:` (for a person) or
//! `vestibule-gateway:` (for a gateway) and base64url of a postcard document and its checksum: a link that was cut or
//! mistyped is told from a used one without a packet.

use crate::entropy::Entropy;
use crate::id::{GatewayId, LoginDigest, Stamp};
use crate::key::{self, PrivateKey, Psk, PublicKey, RealmKey, Secret, SigningKey, Spki};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

/// The scheme of a person's link.
pub const PERSON_SCHEME: &str = "vestibule:";
/// The scheme of a gateway's link.
pub const GATEWAY_SCHEME: &str = "vestibule-gateway:";
/// Longer texts are no link, in bytes.
pub const LINK_LIMIT: usize = 4_096;
/// Bytes of the checksum behind the document.
const CHECKSUM_LEN: usize = 8;

/// Why a text is not a usable link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// It does not begin with the expected scheme.
    #[error("this is not an invitation: it does not begin with `{0}`")]
    Scheme(&'static str),
    /// Its checksum is wrong: cut, mistyped or altered.
    #[error("this invitation was cut off, mistyped or altered: its checksum does not match")]
    Altered,
    /// Made by a newer program.
    #[error("this invitation was made by a newer version of the program")]
    Newer,
}

/// What a person's link holds.
#[derive(Serialize, Deserialize, Clone)]
pub struct Invitation {
    /// Format of this document; 1.
    pub format: u16,
    /// Addresses of the controller, `host:port`, at most 4.
    pub controllers: Vec<String>,
    /// C, the controller's public key.
    pub controller_key: PublicKey,
    /// K_realm.
    #[serde(with = "key::exposed")]
    pub realm: RealmKey,
    /// The gateway that invites.
    pub gateway: GatewayId,
    /// Its name, for the person's eyes.
    pub gateway_name: String,
    /// G, the gateway's public key.
    pub gateway_key: PublicKey,
    /// G_tls.
    pub gateway_pins: Vec<Spki>,
    /// The user who is invited.
    pub user: String,
    /// After this moment the gateway refuses the invitation.
    pub expires: Stamp,
    /// From which the keys derive that the controller checks, 16 bytes.
    #[serde(with = "key::exposed")]
    pub outer_secret: Secret<16>,
    /// From which the keys derive that only the gateway checks, 16 bytes.
    #[serde(with = "key::exposed")]
    pub inner_secret: Secret<16>,
}

/// What a gateway's link holds.
#[derive(Serialize, Deserialize, Clone)]
pub struct GatewayInvitation {
    /// Format of this document; 1.
    pub format: u16,
    /// Addresses of the controller, `host:port`, at most 4.
    pub controllers: Vec<String>,
    /// C, the controller's public key.
    pub controller_key: PublicKey,
    /// The key that the controller presents on links.
    pub controller_pin: Spki,
    /// K_realm.
    #[serde(with = "key::exposed")]
    pub realm: RealmKey,
    /// The name under which the controller's owner expects the gateway.
    pub name: String,
    /// The id that the gateway takes.
    pub gateway: GatewayId,
    /// After this moment the controller no longer knows the link.
    pub expires: Stamp,
    /// From which the keys of the first knock derive, 16 bytes.
    #[serde(with = "key::exposed")]
    pub secret: Secret<16>,
}

impl Invitation {
    /// The link's text.
    pub fn to_link(&self) -> String {
        to_link(PERSON_SCHEME, self)
    }

    /// Reads a link's text; surrounding white space is forgiven.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub fn from_link(text: &str) -> Result<Self, LinkError> {
        let invitation: Self = from_link(PERSON_SCHEME, text)?;
        if invitation.format == 1 { Ok(invitation) } else { Err(LinkError::Newer) }
    }

    /// The keys of the device that this invitation stands for.
    pub fn keys(&self) -> InvitationKeys {
        InvitationKeys::derive(&self.outer_secret, &self.inner_secret)
    }
}

impl GatewayInvitation {
    /// The link's text.
    pub fn to_link(&self) -> String {
        to_link(GATEWAY_SCHEME, self)
    }

    /// Reads a link's text; surrounding white space is forgiven.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub fn from_link(text: &str) -> Result<Self, LinkError> {
        let invitation: Self = from_link(GATEWAY_SCHEME, text)?;
        if invitation.format == 1 { Ok(invitation) } else { Err(LinkError::Newer) }
    }

    /// The keys of the temporary row under which the gateway links for the first time.
    pub fn keys(&self) -> KnockKeys {
        KnockKeys::derive(&self.secret)
    }
}

/// The keys that a controller checks, derived from a link's outer secret.
pub struct KnockKeys {
    /// The login digest of the temporary row.
    pub digest: LoginDigest,
    /// D_out of the invitation.
    pub d_out: PrivateKey,
    /// psk_c of the invitation.
    pub psk_c: Psk,
}

impl KnockKeys {
    /// From the outer secret, by HKDF-SHA-256 with the labels `outer digest`, `outer key`, `outer psk`.
    pub fn derive(outer: &Secret<16>) -> Self {
        let part = |label: &[u8]| key::hkdf::<32>(b"vestibule/1 invitation", &[outer.expose()], label);
        Self {
            digest: LoginDigest::new(*part(b"outer digest").expose()),
            d_out: PrivateKey::from_bytes(part(b"outer key")),
            psk_c: part(b"outer psk"),
        }
    }
}

/// All keys of an invitation: an unenrolled device's, derived from both secrets.
pub struct InvitationKeys {
    /// What the controller checks.
    pub knock: KnockKeys,
    /// psk_r.
    pub psk_r: Psk,
    /// psk_g.
    pub psk_g: Psk,
    /// D_in.
    pub d_in: PrivateKey,
    /// D_tls.
    pub d_tls: SigningKey,
}

impl InvitationKeys {
    /// From both secrets; psk_r derives from the *outer* one, so that the gateway can tell an altered inner half (counted
    /// and audited) from junk made on the way.
    pub fn derive(outer: &Secret<16>, inner: &Secret<16>) -> Self {
        let part =
            |secret: &Secret<16>, label: &[u8]| key::hkdf::<32>(b"vestibule/1 invitation", &[secret.expose()], label);
        Self {
            knock: KnockKeys::derive(outer),
            psk_r: part(outer, b"refusals"),
            psk_g: part(inner, b"inner psk"),
            d_in: PrivateKey::from_bytes(part(inner, b"inner key")),
            d_tls: SigningKey::from_seed(part(inner, b"tls key")),
        }
    }
}

/// Two fresh secrets for an invitation: outer and inner.
pub fn fresh_secrets(entropy: &mut impl Entropy) -> (Secret<16>, Secret<16>) {
    (Secret::random(entropy), Secret::random(entropy))
}

fn to_link<T: Serialize>(scheme: &str, invitation: &T) -> String {
    // It holds secrets: no copy stays behind, so it must not grow. Serialising a plain structure into memory has no way to fail.
    let document = postcard::to_extend(invitation, Vec::with_capacity(LINK_LIMIT)).unwrap_or_default();
    let mut document = Zeroizing::new(document);
    let checksum = checksum(scheme, &document);
    document.extend_from_slice(&checksum);
    let encoded = Zeroizing::new(base64url::encode(&document));
    format!("{scheme}{}", *encoded)
}

fn from_link<T: DeserializeOwned>(scheme: &'static str, text: &str) -> Result<T, LinkError> {
    let text = text.trim();
    let encoded = text.strip_prefix(scheme).ok_or(LinkError::Scheme(scheme))?;
    if text.len() > LINK_LIMIT {
        return Err(LinkError::Altered);
    }
    let bytes = base64url::decode(encoded).ok_or(LinkError::Altered)?;
    let split = bytes.len().checked_sub(CHECKSUM_LEN).ok_or(LinkError::Altered)?;
    let (document, found) = bytes.split_at(split);
    if found != checksum(scheme, document) {
        return Err(LinkError::Altered);
    }
    crate::frame::decode(document).map_err(|_| LinkError::Newer)
}

fn checksum(scheme: &str, document: &[u8]) -> [u8; CHECKSUM_LEN] {
    let digest = key::hmac(b"vestibule/1 link checksum", &[scheme.as_bytes(), document]);
    let mut head = [0; CHECKSUM_LEN];
    head.copy_from_slice(&digest[..CHECKSUM_LEN]);
    head
}

/// Base64 with the URL alphabet and without padding (RFC 4648 section 5), refusing what is not canonical.
mod base64url {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

    pub(super) fn encode(bytes: &[u8]) -> String {
        let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
        for chunk in bytes.chunks(3) {
            let word = chunk.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
            for position in 0..=chunk.len() {
                text.push(char::from(ALPHABET[(word >> (18 - 6 * position)) as usize & 63]));
            }
        }
        text
    }

    pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
        for chunk in text.as_bytes().chunks(4) {
            let mut word = 0u32;
            for symbol in chunk {
                word = word << 6 | ALPHABET.iter().position(|known| known == symbol)? as u32;
            }
            word <<= 6 * (4 - chunk.len());
            let count = chunk.len().checked_sub(1).filter(|count| *count > 0)?;
            let unpacked = [(word >> 16) as u8, (word >> 8) as u8, word as u8];
            if unpacked[count..].iter().any(|rest| *rest != 0) {
                return None;
            }
            bytes.extend_from_slice(&unpacked[..count]);
        }
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;

    fn invitation() -> Invitation {
        let mut entropy = SeededEntropy::new(7);
        let (outer_secret, inner_secret) = fresh_secrets(&mut entropy);
        Invitation {
            format: 1,
            controllers: vec!["127.0.0.1:4433".to_owned()],
            controller_key: PrivateKey::random(&mut entropy).public(),
            realm: RealmKey::random(&mut entropy),
            gateway: GatewayId::random(&mut entropy),
            gateway_name: "home".to_owned(),
            gateway_key: PrivateKey::random(&mut entropy).public(),
            gateway_pins: vec![SigningKey::random(&mut entropy).spki()],
            user: "alice".to_owned(),
            expires: Stamp::from_millis(1_800_000_000_000),
            outer_secret,
            inner_secret,
        }
    }

    #[test]
    fn a_link_round_trips() {
        let invitation = invitation();
        let read = Invitation::from_link(&format!(" {}\n", invitation.to_link())).unwrap();
        assert_eq!(read.user, "alice");
        assert_eq!(read.keys().knock.digest, invitation.keys().knock.digest);
        assert_eq!(read.keys().d_tls.spki(), invitation.keys().d_tls.spki());
    }

    #[test]
    fn every_altered_character_is_told() {
        let link = invitation().to_link();
        for position in 0..link.len() {
            let mut altered = link.clone().into_bytes();
            altered[position] = if altered[position] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8(altered).unwrap();
            assert!(Invitation::from_link(&altered).is_err(), "position {position}");
        }
    }

    #[test]
    fn every_cut_is_told() {
        let link = invitation().to_link();
        for length in 0..link.len() {
            assert!(Invitation::from_link(&link[..length]).is_err(), "length {length}");
        }
    }

    #[test]
    fn a_gateways_link_is_not_a_persons() {
        let link = invitation().to_link().replace(PERSON_SCHEME, GATEWAY_SCHEME);
        assert!(GatewayInvitation::from_link(&link).is_err());
        assert!(matches!(Invitation::from_link(&link), Err(LinkError::Scheme(_))));
    }

    #[test]
    fn base64url_matches_rfc_4648() {
        for (bytes, text) in
            [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg"), ("fooba", "Zm9vYmE")]
        {
            assert_eq!(base64url::encode(bytes.as_bytes()), text);
            assert_eq!(base64url::decode(text).unwrap(), bytes.as_bytes());
        }
        for bad in ["Z", "Zh", "Zm9v=", "Zm+v"] {
            assert_eq!(base64url::decode(bad), None, "{bad}");
        }
    }
}
