//! The content of layer 1.

use serde::{Deserialize, Serialize};
use vestibule_proto::id::{DeviceId, GatewayId, LoginDigest, SessionId, Stamp, UserName};
use vestibule_proto::key::{self, PrivateKey, Psk, PublicKey, RealmKey, Secret, Spki};
use vestibule_proto::words::DeviceWords;
use zeroize::Zeroizing;

use super::error::CreateError;

/// What the gateway and this device agreed on at enrolment, as far as it does not depend on the password.
///
/// Written in this order by postcard. A later version appends fields behind the last one; an earlier program keeps what
/// it doesn't know when it reseals the content.
#[derive(Clone, Serialize, Deserialize)]
pub struct Sealed {
    /// The user at the gateway.
    pub user: UserName,
    /// The gateway that enrolled this device.
    pub gateway: GatewayId,
    /// How the gateway's owner calls it; at most 128 bytes.
    pub gateway_name: String,
    /// This device at the gateway.
    pub device: DeviceId,
    /// How the person calls this device; at most 128 bytes.
    pub device_name: String,
    /// `D_out`, the key by which the controller recognises the device.
    #[serde(with = "private_key")]
    pub d_out: PrivateKey,
    /// `psk_c`, shared with the controller.
    #[serde(with = "key::exposed")]
    pub psk_c: Psk,
    /// `psk_r`, by which the gateway vouches for refusals and recognises this device's knocks.
    #[serde(with = "key::exposed")]
    pub psk_r: Psk,
    /// `K_realm`.
    #[serde(with = "key::exposed")]
    pub realm: RealmKey,
    /// The pepper of the OPAQUE password input: made on this device, never sent, and kept nowhere else.
    #[serde(with = "key::exposed")]
    pub pepper: Secret<32>,
    /// `A2`, the login digest.
    pub digest: LoginDigest,
    /// `C`, the controller's key.
    pub controller_key: PublicKey,
    /// `G`, the gateway's key.
    pub gateway_key: PublicKey,
    /// `G_tls`: the keys that the gateway may present in TLS; 1 to 8.
    pub gateway_pins: Vec<Spki>,
    /// Addresses of the controller, `host:port`; 1 to 8, each at most 270 bytes.
    pub controllers: Vec<String>,
    /// The lowest protocol version that this device may ever accept again.
    pub version_floor: u16,
    /// The salt of the fingerprint commitment that the gateway stores.
    pub fingerprint_salt: [u8; 16],
    /// When the device was enrolled, by its own clock.
    pub enrolled: Stamp,
    /// A session that may be resumed, if the client keeps one across its own end.
    pub resume: Option<Resume>,
    /// The words of this device, if the gateway's owner had to approve it: until then the controller does not know it.
    /// Behind all other fields, and absent in files of earlier versions.
    #[serde(skip)]
    pub awaits: Option<DeviceWords>,
    /// Of which epoch [`realm`](Self::realm) is; 0 as long as nobody has told another one. As above.
    #[serde(skip)]
    pub realm_epoch: u64,
}

/// What resuming a session takes besides the keys of layer 2 (R1).
#[derive(Clone, Serialize, Deserialize)]
pub struct Resume {
    /// The session.
    pub session: SessionId,
    /// Its resume secret.
    #[serde(with = "key::exposed")]
    pub secret: Secret<32>,
    /// After this moment the gateway refuses it.
    pub expires: Stamp,
}

const MOST_NAME_BYTES: usize = 128;
const MOST_PINS: usize = 8;
const MOST_CONTROLLERS: usize = 8;
const MOST_ADDRESS_BYTES: usize = 270;

impl Sealed {
    /// # Errors
    /// [`CreateError::Content`] names the first field out of bounds.
    fn check_bounds(&self) -> Result<(), CreateError> {
        let names_fit = self.gateway_name.len() <= MOST_NAME_BYTES && self.device_name.len() <= MOST_NAME_BYTES;
        let addresses_fit = self.controllers.iter().all(|address| (1..=MOST_ADDRESS_BYTES).contains(&address.len()));
        if !names_fit {
            Err(CreateError::Content("a name is too long"))
        } else if !(1..=MOST_PINS).contains(&self.gateway_pins.len()) {
            Err(CreateError::Content("number of gateway pins"))
        } else if !addresses_fit || !(1..=MOST_CONTROLLERS).contains(&self.controllers.len()) {
            Err(CreateError::Content("controller addresses"))
        } else {
            Ok(())
        }
    }
}

/// All of layer 1.
#[derive(Clone)]
pub(super) struct Content {
    /// What each source of the fingerprint said at enrolment: its bit, and the digest of its value.
    pub(super) readings: Vec<(u8, [u8; 32])>,
    pub(super) sealed: Sealed,
    /// Fields that a later version appended; kept as they are.
    pub(super) appended: Vec<u8>,
}

/// Room for all fields at their bounds and 4 KiB of later ones.
const BUFFER_LEN: usize = 8_192;
const MOST_READINGS: usize = 8;

impl Content {
    /// # Errors
    /// [`CreateError::Content`] if a field is out of bounds.
    pub(super) fn encode(&self) -> Result<Zeroizing<Vec<u8>>, CreateError> {
        self.sealed.check_bounds()?;
        // A buffer that never moves leaves no copy of a secret behind.
        let mut buffer = Zeroizing::new(vec![0; BUFFER_LEN]);
        let written = if self.is_plain() {
            postcard::to_slice(&(&self.readings, &self.sealed), &mut buffer)
        } else {
            // In the order in which they were appended.
            let later = (self.sealed.awaits, self.sealed.realm_epoch);
            postcard::to_slice(&(&self.readings, &self.sealed, later), &mut buffer)
        };
        let written = written.map(|written| written.len());
        let length = written.map_err(|_| CreateError::Content("too long"))?;
        let whole = length + self.appended.len();
        let room = buffer.get_mut(length..whole).ok_or(CreateError::Content("too long"))?;
        room.copy_from_slice(&self.appended);
        buffer.truncate(whole);
        Ok(buffer)
    }

    /// Whether it is written as earlier versions wrote it.
    fn is_plain(&self) -> bool {
        self.sealed.awaits.is_none() && self.sealed.realm_epoch == 0 && self.appended.is_empty()
    }

    /// `None` for anything that [`Content::encode`] does not write.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > BUFFER_LEN {
            return None;
        }
        let ((readings, mut sealed), rest): ((Vec<_>, Sealed), &[u8]) = postcard::take_from_bytes(bytes).ok()?;
        let appended = if rest.is_empty() {
            rest
        } else {
            let (awaits, rest) = postcard::take_from_bytes(rest).ok()?;
            // Files of devices that waited for approval ended here.
            let (realm_epoch, appended) =
                if rest.is_empty() { (0, rest) } else { postcard::take_from_bytes(rest).ok()? };
            (sealed.awaits, sealed.realm_epoch) = (awaits, realm_epoch);
            appended
        };
        let in_bounds = readings.len() <= MOST_READINGS && sealed.check_bounds().is_ok();
        in_bounds.then(|| Self { readings, sealed, appended: appended.to_vec() })
    }
}

mod private_key {
    use serde::{Deserializer, Serializer};
    use vestibule_proto::key::{PrivateKey, exposed};

    pub(super) fn serialize<S: Serializer>(key: &PrivateKey, serializer: S) -> Result<S::Ok, S::Error> {
        exposed::serialize(key.secret(), serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PrivateKey, D::Error> {
        exposed::deserialize(deserializer).map(PrivateKey::from_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::sealed;
    use proptest::prelude::*;

    fn content(appended: &[u8]) -> Content {
        Content { readings: vec![(1, [7; 32])], sealed: sealed("alice"), appended: appended.to_vec() }
    }

    #[test]
    fn fields_of_a_later_version_are_kept() {
        let bytes = content(b"later").encode().unwrap();
        let read = Content::decode(&bytes).unwrap();
        assert_eq!(read.appended, b"later");
        assert_eq!(*read.encode().unwrap(), *bytes);
    }

    #[test]
    fn a_file_of_an_earlier_version_is_read() {
        let content = content(b"");
        let earlier = postcard::to_allocvec(&(&content.readings, &content.sealed)).unwrap();
        let read = Content::decode(&earlier).unwrap();
        assert_eq!((read.sealed.awaits, read.sealed.realm_epoch), (None, 0));
        assert_eq!(*read.encode().unwrap(), *content.encode().unwrap());
    }

    #[test]
    fn a_file_from_before_realm_keys_were_rotated_is_read() {
        let (content, words) = (content(b""), postcard::from_bytes::<DeviceWords>(&[1, 2, 3, 4, 5, 6]).unwrap());
        let earlier = postcard::to_allocvec(&(&content.readings, &content.sealed, Some(words))).unwrap();
        let read = Content::decode(&earlier).unwrap();
        assert_eq!((read.sealed.awaits, read.sealed.realm_epoch), (Some(words), 0));
    }

    #[test]
    fn fields_out_of_bounds_are_refused() {
        let refused = |change: fn(&mut Sealed)| {
            let mut content = content(b"");
            change(&mut content.sealed);
            content.encode().err()
        };
        let names = Some(CreateError::Content("a name is too long"));
        let pins = Some(CreateError::Content("number of gateway pins"));
        let addresses = Some(CreateError::Content("controller addresses"));
        assert_eq!(refused(|sealed| sealed.gateway_name = "x".repeat(128)), None);
        assert_eq!(refused(|sealed| sealed.gateway_name = "x".repeat(129)), names);
        assert_eq!(refused(|sealed| sealed.device_name = "x".repeat(129)), names);
        assert_eq!(refused(|sealed| sealed.gateway_pins.clear()), pins);
        assert_eq!(refused(|sealed| sealed.gateway_pins = vec![sealed.gateway_pins[0]; 9]), pins);
        assert_eq!(refused(|sealed| sealed.controllers.clear()), addresses);
        assert_eq!(refused(|sealed| sealed.controllers = vec!["x".repeat(271)]), addresses);
        assert_eq!(refused(|sealed| sealed.controllers = vec![String::new()]), addresses);
        assert_eq!(refused(|sealed| sealed.controllers = vec!["x:1".to_owned(); 9]), addresses);
    }

    #[test]
    fn content_at_all_bounds_fits_and_more_does_not() {
        let mut largest = content(&[1; 4_096]);
        largest.readings = vec![(1, [7; 32]); MOST_READINGS];
        largest.sealed.gateway_name = "x".repeat(MOST_NAME_BYTES);
        largest.sealed.device_name = "x".repeat(MOST_NAME_BYTES);
        largest.sealed.gateway_pins = vec![largest.sealed.gateway_pins[0]; MOST_PINS];
        largest.sealed.controllers = vec!["x".repeat(MOST_ADDRESS_BYTES); MOST_CONTROLLERS];
        let bytes = largest.encode().unwrap();
        assert!(Content::decode(&bytes).is_some());
        largest.appended = vec![1; BUFFER_LEN];
        assert_eq!(largest.encode().err(), Some(CreateError::Content("too long")));
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_alike(flips in prop::collection::vec((0..4_000usize, any::<u8>()), 0..4)) {
            let mut bytes = content(b"").encode().unwrap();
            for (position, value) in flips {
                let length = bytes.len();
                bytes[position % length] ^= value;
            }
            if let Some(read) = Content::decode(&bytes) {
                let again = read.encode().unwrap();
                let reread = Content::decode(&again).unwrap();
                prop_assert_eq!(&*reread.encode().unwrap(), &*again);
            }
        }
    }
}
