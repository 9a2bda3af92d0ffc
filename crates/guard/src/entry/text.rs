//! Challenges and admissions as text, and what is signed (`docs/protocol.md` section 12).

use super::EntryError;
use crate::token::Context;
use aws_lc_rs::{digest, hmac};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::net::IpAddr;
use std::time::Duration;

/// Bytes of randomness in each.
pub(super) const NONCE_LEN: usize = 16;
/// Kind, time, nonce.
const HEAD_LEN: usize = 1 + 8 + NONCE_LEN;
/// All of it: the head and its tag.
const TEXT_LEN: usize = HEAD_LEN + 32;

/// Which of the two; the version of page tokens is 1, so that none is ever taken for another.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Challenge = 2,
    Admission = 3,
}

/// What is entered: an address of an application, by a session.
#[derive(Clone, Copy)]
pub(crate) struct Entry<'a> {
    /// Session and application.
    pub(crate) context: Context<'a>,
    /// The application's own origin, as browsers write it.
    pub(crate) origin: &'a str,
    /// Path and query.
    pub(crate) target: &'a str,
}

/// The key of this run of the guard.
pub(super) struct Sealer(hmac::Key);

/// What a text says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Opened {
    /// When it was made, counted from the guard's start.
    pub(super) made: Duration,
    pub(super) nonce: [u8; NONCE_LEN],
}

impl Entry<'_> {
    /// What the session is called in challenges and signatures: it tells nothing of the cookie, nor of the binding.
    pub(crate) fn session(&self) -> [u8; 32] {
        let address = match self.context.address.0 {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        };
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(b"vestibule/1 entry session\0");
        hash.update(&address.octets());
        hash.update(&self.context.binding.0);
        hash.update(&self.context.started.0.to_be_bytes());
        let mut session = [0; 32];
        session.copy_from_slice(hash.finish().as_ref());
        session
    }

    /// The same as text.
    pub(crate) fn session_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.session())
    }

    /// What the browser's key signs: six lines, of which none can hold the end of a line.
    pub(crate) fn signed(&self, challenge: &str) -> Vec<u8> {
        let app = self.context.app.as_str();
        ["vestibule/1 entry proof", app, self.origin, &self.session_text(), challenge, self.target]
            .join("\n")
            .into_bytes()
    }
}

impl Sealer {
    pub(super) fn new(secret: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    pub(super) fn seal(&self, kind: Kind, entry: &Entry<'_>, made: Duration, nonce: [u8; NONCE_LEN]) -> String {
        let mut bytes = [0; TEXT_LEN];
        bytes[0] = kind as u8;
        bytes[1..9].copy_from_slice(&u64::try_from(made.as_millis()).unwrap_or(u64::MAX).to_be_bytes());
        bytes[9..HEAD_LEN].copy_from_slice(&nonce);
        let tag = hmac::sign(&self.0, &sealed(&bytes[..HEAD_LEN], entry));
        bytes[HEAD_LEN..].copy_from_slice(tag.as_ref());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads a text that was sealed for this entry.
    ///
    /// # Errors
    /// [`EntryError::Malformed`], [`EntryError::Foreign`].
    pub(super) fn open(&self, kind: Kind, entry: &Entry<'_>, text: &str) -> Result<Opened, EntryError> {
        let bytes = fixed::<TEXT_LEN>(text).filter(|bytes| bytes[0] == kind as u8).ok_or(EntryError::Malformed)?;
        let (head, tag) = bytes.split_at(HEAD_LEN);
        hmac::verify(&self.0, &sealed(head, entry), tag).map_err(|_| EntryError::Foreign)?;
        let (mut made, mut nonce) = ([0; 8], [0; NONCE_LEN]);
        made.copy_from_slice(&head[1..9]);
        nonce.copy_from_slice(&head[9..]);
        Ok(Opened { made: Duration::from_millis(u64::from_be_bytes(made)), nonce })
    }
}

/// Whether a text has the form of an admission; a page's token never has.
pub(crate) fn is_admission(text: &str) -> bool {
    fixed::<TEXT_LEN>(text).is_some_and(|bytes| bytes[0] == Kind::Admission as u8)
}

/// For the fuzzer: any text at all.
pub(crate) fn fuzz_text(text: &str) {
    let (app, sealer) = (crate::AppName::new("orders").expect("a name"), Sealer::new(&[7; 32]));
    let context = Context {
        address: crate::LogicalAddress(IpAddr::from([0; 4])),
        binding: crate::Binding([0; 32]),
        started: crate::Stamp(0),
        app: &app,
    };
    let entry = Entry { context, origin: "http://orders.localhost", target: text };
    for kind in [Kind::Challenge, Kind::Admission] {
        assert!(sealer.open(kind, &entry, text).is_err(), "nobody guesses a tag");
        let own = sealer.seal(kind, &entry, Duration::ZERO, [0; NONCE_LEN]);
        assert!(sealer.open(kind, &entry, &own).is_ok() && is_admission(&own) == (kind == Kind::Admission));
    }
    if let Some(key) = super::EntryKey::read(text) {
        assert_eq!(key.to_string(), text);
    }
}

/// So many bytes of base64url; nothing longer is even looked at.
pub(super) fn fixed<const N: usize>(text: &str) -> Option<[u8; N]> {
    let fits = text.len() == (N * 4).div_ceil(3);
    fits.then(|| URL_SAFE_NO_PAD.decode(text).ok())??.try_into().ok()
}

/// Names and origins are free of NUL bytes, and the target comes last.
fn sealed(head: &[u8], entry: &Entry<'_>) -> Vec<u8> {
    let mut bytes = b"vestibule/1 entry\0".to_vec();
    bytes.extend_from_slice(head);
    bytes.extend_from_slice(&entry.session());
    for part in [entry.context.app.as_str(), entry.origin] {
        bytes.extend_from_slice(part.as_bytes());
        bytes.push(0);
    }
    bytes.extend_from_slice(entry.target.as_bytes());
    bytes
}
