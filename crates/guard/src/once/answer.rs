//! The answer to a command as it is kept for repeats: whole, and sealed for one logical address.

use super::name::ClaimName;
use crate::LogicalAddress;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::{hkdf, rand};
use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde::{Deserialize, Serialize};
use std::path::Path;
use vestibule_store::{StoreError, StoreErrorKind, secret_file};
use zeroize::ZeroizeOnDrop;

/// What the sealing keys are derived for.
const PURPOSE: &[u8] = b"vestibule once answer 1";
/// Bytes of a sealed answer's salt.
const SALT: usize = 16;

/// The answer of an application to a command: status, headers and the whole body. Hop-by-hop headers are left out; cookies
/// that the application set are in it, since a browser that gave a command twice uses only the second answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredAnswer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as the application sent it (its content coding included).
    pub body: Bytes,
}

/// The secret under which answers are sealed at rest: 32 bytes.
#[derive(ZeroizeOnDrop)]
pub struct OnceKey([u8; 32]);

/// The sealed form does not open: another key, address or claim, or altered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct DoesNotOpen;

#[derive(Serialize, Deserialize)]
struct Head {
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
}

impl OnceKey {
    /// From bytes of the caller's.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The key in the file at `path` (0600), which is made where it is missing.
    ///
    /// # Errors
    /// The file can't be read or made, is open to others, or holds no key.
    pub fn at(path: &Path) -> Result<Self, StoreError> {
        let key = match secret_file::read(path) {
            Ok(bytes) => <[u8; 32]>::try_from(bytes.as_slice()).ok(),
            Err(error) if error.is_missing() => None,
            Err(error) => return Err(key_error(&error, path)),
        };
        // A file of another length seals nothing; what was sealed under what it once held can't be opened anyhow.
        key.map_or_else(|| Self::make_at(path), |key| Ok(Self(key)))
    }

    fn make_at(path: &Path) -> Result<Self, StoreError> {
        let mut key = Self([0; 32]);
        rand::fill(&mut key.0).map_err(|_| StoreError::new(StoreErrorKind::Other, "no randomness").at(path))?;
        secret_file::replace(path, &key.0).map_err(|error| key_error(&error, path))?;
        Ok(key)
    }

    fn sealing(&self, salt: &[u8; SALT], address: LogicalAddress, name: ClaimName) -> Option<LessSafeKey> {
        let address = address.to_string();
        let length = [u8::try_from(address.len()).ok()?];
        let info = [PURPOSE, &length, address.as_bytes(), &name.0];
        let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(&self.0);
        Some(LessSafeKey::new(UnboundKey::from(secret.expand(&info, &AES_256_GCM).ok()?)))
    }
}

impl StoredAnswer {
    /// An answer with this status and these headers; see the type for what is left out.
    pub fn new(status: StatusCode, headers: &HeaderMap, body: Bytes) -> Self {
        let mut headers = headers.clone();
        for name in HOP_BY_HOP {
            headers.remove(name);
        }
        Self { status, headers, body }
    }

    /// As a response.
    pub fn response(&self) -> Response<Bytes> {
        let mut response = Response::new(self.body.clone());
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers.clone();
        response
    }

    /// Bytes that it takes.
    pub(crate) fn size(&self) -> usize {
        self.body.len() + headers_size(&self.headers)
    }

    fn encode(&self) -> Option<Vec<u8>> {
        let headers = self.headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()));
        let head = Head { status: self.status.as_u16(), headers: headers.collect() };
        let head = postcard::to_stdvec(&head).ok()?;
        let mut all = u32::try_from(head.len()).ok()?.to_le_bytes().to_vec();
        all.extend_from_slice(&head);
        all.extend_from_slice(&self.body);
        Some(all)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (len, rest) = bytes.split_first_chunk::<4>()?;
        let (head, body) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*len)).ok()?)?;
        let head: Head = postcard::from_bytes(head).ok()?;
        let mut headers = HeaderMap::new();
        for (name, value) in &head.headers {
            headers.append(HeaderName::try_from(name.as_str()).ok()?, HeaderValue::from_bytes(value).ok()?);
        }
        let status = StatusCode::from_u16(head.status).ok()?;
        Some(Self { status, headers, body: Bytes::copy_from_slice(body) })
    }

    /// Sealed for this claim of this address: salt, then AES-256-GCM under a key of its own (HKDF-SHA256 of the secret, the
    /// salt, address and claim), so that a nonce is never used twice under one key. `None` when it can't be written.
    pub(crate) fn seal(&self, key: &OnceKey, address: LogicalAddress, name: ClaimName) -> Option<Vec<u8>> {
        let mut salt = [0; SALT];
        rand::fill(&mut salt).ok()?;
        let mut plain = self.encode()?;
        let sealing = key.sealing(&salt, address, name)?;
        sealing.seal_in_place_append_tag(Nonce::assume_unique_for_key([0; 12]), Aad::empty(), &mut plain).ok()?;
        Some([&salt[..], &plain].concat())
    }

    /// Opens what [`seal`](Self::seal) made for the same claim and address.
    pub(crate) fn open(
        sealed: &[u8],
        key: &OnceKey,
        address: LogicalAddress,
        name: ClaimName,
    ) -> Result<Self, DoesNotOpen> {
        let (salt, rest) = sealed.split_first_chunk::<SALT>().ok_or(DoesNotOpen)?;
        let sealing = key.sealing(salt, address, name).ok_or(DoesNotOpen)?;
        let mut rest = rest.to_vec();
        let plain = sealing
            .open_in_place(Nonce::assume_unique_for_key([0; 12]), Aad::empty(), &mut rest)
            .map_err(|_| DoesNotOpen)?;
        Self::decode(plain).ok_or(DoesNotOpen)
    }
}

fn key_error(error: &secret_file::SecretFileError, path: &Path) -> StoreError {
    let kind = match error.trouble {
        secret_file::Trouble::TooOpen(_) => StoreErrorKind::Permission,
        secret_file::Trouble::Storage(kind) => kind,
        secret_file::Trouble::Missing | secret_file::Trouble::Exists | secret_file::Trouble::NotASecretFile => {
            StoreErrorKind::Other
        }
    };
    StoreError::new(kind, error.to_string()).at(path)
}

/// Headers that speak of one connection only (RFC 9110 section 7.6.1), and the length, which is that of the body here.
const HOP_BY_HOP: [&str; 8] =
    ["connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "content-length"];

/// Bytes that headers take.
pub(crate) fn headers_size(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> StoredAnswer {
        let mut headers = HeaderMap::new();
        headers.append("content-type", HeaderValue::from_static("text/html"));
        headers.append("set-cookie", HeaderValue::from_static("a=1"));
        headers.append("set-cookie", HeaderValue::from_static("b=2"));
        headers.append("x-odd", HeaderValue::from_bytes(b"\xff\xfe").unwrap());
        headers.append("transfer-encoding", HeaderValue::from_static("chunked"));
        StoredAnswer::new(StatusCode::SEE_OTHER, &headers, Bytes::from_static(b"<p>placed</p>"))
    }

    fn address(text: &str) -> LogicalAddress {
        LogicalAddress(text.parse().unwrap())
    }

    #[test]
    fn an_answer_opens_for_its_own_address_and_claim_alone() {
        let (key, own, name) = (OnceKey::new([5; 32]), address("fd00::1"), ClaimName([1; 32]));
        let sealed = answer().seal(&key, own, name).unwrap();
        let opened = StoredAnswer::open(&sealed, &key, own, name).unwrap();
        assert_eq!(opened, answer());
        assert!(!opened.headers.contains_key("transfer-encoding"));
        assert_eq!(opened.headers.get_all("set-cookie").iter().count(), 2);
        for (key, address, name) in [
            (OnceKey::new([6; 32]), own, name),
            (OnceKey::new([5; 32]), address("fd00::2"), name),
            (OnceKey::new([5; 32]), own, ClaimName([2; 32])),
        ] {
            assert_eq!(StoredAnswer::open(&sealed, &key, address, name), Err(DoesNotOpen));
        }
        assert_ne!(sealed, answer().seal(&key, own, name).unwrap(), "a fresh salt each time");
        assert!(!sealed.windows(6).any(|w| w == b"placed"));
    }

    #[test]
    fn one_changed_bit_or_a_cut_and_it_does_not_open() {
        let (key, own, name) = (OnceKey::new([5; 32]), address("fd00::1"), ClaimName([1; 32]));
        let sealed = answer().seal(&key, own, name).unwrap();
        for bit in 0..sealed.len() * 8 {
            let mut sealed = sealed.clone();
            sealed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(StoredAnswer::open(&sealed, &key, own, name), Err(DoesNotOpen), "bit {bit}");
        }
        for cut in 0..sealed.len() {
            assert_eq!(StoredAnswer::open(&sealed[..cut], &key, own, name), Err(DoesNotOpen), "cut at {cut}");
        }
    }

    #[test]
    fn a_key_is_made_once_and_then_read() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("once.key");
        let made = OnceKey::at(&path).unwrap();
        let sealed = answer().seal(&made, address("fd00::1"), ClaimName([1; 32])).unwrap();
        let read = OnceKey::at(&path).unwrap();
        assert!(StoredAnswer::open(&sealed, &read, address("fd00::1"), ClaimName([1; 32])).is_ok());
    }
}
