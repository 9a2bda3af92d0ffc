//! The keys that pages are sealed with, and sealing and opening themselves.

use super::cipher::{Cipher, TAG_LEN};
use super::{CLOCK_SLACK, Context, NONCE_LEN, Page, PageToken, TOKEN_LONGEST, TokenError, content};
use crate::{AppName, Binding, LogicalAddress, Stamp};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;
use zeroize::Zeroizing;

/// The first byte of every token.
const VERSION: u8 = 1;
/// Version, key, nonce: what stands before the sealed content.
const HEAD: usize = 1 + 4 + NONCE_LEN;
/// What the associated data begin with, apart from every other use of the keys.
const LABEL: &[u8; 16] = b"vestibule/1 page";
/// A lifetime of pages spans so many rotations at most: it bounds the keyring.
const MOST_ROTATIONS: u32 = 32;

/// How long keys seal and pages live.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyringSettings {
    /// A key seals for so long, then a fresh one does; not less than a 32nd of `page_lifetime`.
    pub rotate_every: Duration,
    /// A page is refused when it is so old; not before the last such page has gone is its key forgotten.
    pub page_lifetime: Duration,
}

impl Default for KeyringSettings {
    /// A key for 12 hours, a page for as long as the longest session: 12 hours.
    fn default() -> Self {
        let half_a_day = Duration::from_secs(12 * 60 * 60);
        Self { rotate_every: half_a_day, page_lifetime: half_a_day }
    }
}

/// One key, as it is kept.
#[derive(Clone)]
pub struct KeyRecord {
    /// Its number, which stands in clear in the tokens that it seals. Counted upwards.
    pub id: u32,
    /// Since when it seals.
    pub made: Stamp,
    /// The key.
    pub secret: Zeroizing<[u8; 32]>,
}

/// The keys: the newest seals, all open. Pure: time and randomness are passed in.
pub struct Keyring {
    settings: KeyringSettings,
    newest: Key,
    /// Newest first.
    older: VecDeque<Key>,
}

struct Key {
    id: u32,
    made: Stamp,
    cipher: Cipher,
}

impl Keyring {
    /// A keyring that seals with `newest` and also opens with `older`, in any order. What is too old already is forgotten with the
    /// next rotation.
    pub fn new(settings: KeyringSettings, newest: &KeyRecord, older: &[KeyRecord]) -> Self {
        let mut older: Vec<Key> = older.iter().map(Key::new).collect();
        older.sort_by_key(|key| std::cmp::Reverse(key.id));
        Self { settings, newest: Key::new(newest), older: older.into() }
    }

    /// Whether a fresh key is due: the newest has sealed for long enough, or its clock was ahead of this one.
    pub fn is_due(&self, now: Stamp) -> bool {
        self.newest.made.after(self.rotate_every()) <= now || self.newest.made > now.after(CLOCK_SLACK)
    }

    /// When the next rotation is due.
    pub fn poll_timeout(&self) -> Stamp {
        self.newest.made.after(self.rotate_every())
    }

    /// The number of the next key.
    pub fn next_id(&self) -> u32 {
        self.newest.id.wrapping_add(1)
    }

    /// Seals with `fresh` from now on. Keys whose last page has expired are forgotten; returns the number of the oldest that is left.
    pub fn rotate(&mut self, fresh: &KeyRecord) -> u32 {
        let replaced = std::mem::replace(&mut self.newest, Key::new(fresh));
        self.older.push_front(replaced);
        self.older.truncate(MOST_ROTATIONS as usize + 1);
        let mut sealed_until = fresh.made;
        let lifetime = self.settings.page_lifetime;
        self.older.retain(|key| {
            let needed = sealed_until.after(lifetime) > fresh.made;
            sealed_until = key.made;
            needed
        });
        self.oldest()
    }

    /// Seals a page. `nonce` is random, and never used again.
    ///
    /// # Panics
    /// When the cryptographic library can't get memory.
    pub fn seal(&self, page: &Page, context: &Context<'_>, nonce: [u8; NONCE_LEN]) -> PageToken {
        let mut bytes = Vec::with_capacity(HEAD + content::LONGEST + TAG_LEN);
        bytes.push(VERSION);
        bytes.extend(self.newest.id.to_be_bytes());
        bytes.extend(nonce);
        content::append(page, &mut bytes);
        let associated = Associated::new(self.newest.id, context);
        let tag = self.newest.cipher.seal(&nonce, associated.as_slice(), &mut bytes[HEAD..]);
        bytes.extend(tag);
        PageToken(URL_SAFE_NO_PAD.encode(&bytes))
    }

    /// Opens a token in the session and application of `context`.
    ///
    /// # Errors
    /// [`TokenError`]: it can't be used, whatever it is.
    pub fn open(&self, text: &str, context: &Context<'_>, now: Stamp) -> Result<Page, TokenError> {
        let mut buffer = [0; TOKEN_LONGEST / 4 * 3];
        let token = decode(text, &mut buffer).ok_or(TokenError::Malformed)?;
        let ([VERSION, id @ ..], sealed) = token.split_first_chunk_mut::<5>().ok_or(TokenError::Malformed)? else {
            return Err(TokenError::Malformed);
        };
        let id = u32::from_be_bytes(*id);
        let (nonce, sealed) = sealed.split_first_chunk_mut().ok_or(TokenError::Malformed)?;
        let cipher = self.cipher(id)?;
        let associated = Associated::new(id, context);
        let content = cipher.open(nonce, associated.as_slice(), sealed).map_err(|_| TokenError::Foreign)?;
        let page = content::read(content).ok_or(TokenError::Malformed)?;
        self.in_time(page, now)
    }

    fn cipher(&self, id: u32) -> Result<&Cipher, TokenError> {
        let mut keys = std::iter::once(&self.newest).chain(&self.older);
        match keys.find(|key| key.id == id) {
            Some(key) => Ok(&key.cipher),
            // It was a key of ours, or whoever wrote the number wants to be told so; either way nothing opens.
            None if id < self.oldest() => Err(TokenError::Expired),
            None => Err(TokenError::Foreign),
        }
    }

    fn in_time(&self, page: Page, now: Stamp) -> Result<Page, TokenError> {
        if page.issued > now.after(CLOCK_SLACK) {
            return Err(TokenError::Future);
        }
        if page.issued.after(self.settings.page_lifetime) <= now {
            return Err(TokenError::Expired);
        }
        Ok(page)
    }

    fn oldest(&self) -> u32 {
        self.older.back().map_or(self.newest.id, |key| key.id)
    }

    fn rotate_every(&self) -> Duration {
        self.settings.rotate_every.max(self.settings.page_lifetime / MOST_ROTATIONS)
    }
}

impl Key {
    fn new(record: &KeyRecord) -> Self {
        Self { id: record.id, made: record.made, cipher: Cipher::new(&record.secret) }
    }
}

fn decode<'a>(text: &str, buffer: &'a mut [u8; TOKEN_LONGEST / 4 * 3]) -> Option<&'a mut [u8]> {
    if text.len() > TOKEN_LONGEST {
        return None;
    }
    let length = URL_SAFE_NO_PAD.decode_slice(text, buffer).ok()?;
    Some(&mut buffer[..length])
}

/// The associated data: label 16, version 1, key 4, logical address 16 (IPv4 mapped), binding 32, start of the session 8, application.
struct Associated {
    bytes: [u8; Self::FIXED + 63],
    length: usize,
}

impl Associated {
    const FIXED: usize = 16 + 1 + 4 + 16 + 32 + 8;

    fn new(key: u32, context: &Context<'_>) -> Self {
        let address = match context.address.0 {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        };
        let mut associated = Self { bytes: [0; Self::FIXED + 63], length: 0 };
        associated.append(LABEL);
        associated.append(&[VERSION]);
        associated.append(&key.to_be_bytes());
        associated.append(&address.octets());
        associated.append(&context.binding.0);
        associated.append(&context.started.0.to_be_bytes());
        associated.append(context.app.as_str().as_bytes());
        associated
    }

    fn append(&mut self, part: &[u8]) {
        self.bytes[self.length..][..part.len()].copy_from_slice(part);
        self.length += part.len();
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// What opens is exactly what was sealed. With the keys of the vectors, so that those in the corpus open.
pub(crate) fn fuzz_text(text: &str) {
    let key = KeyRecord { id: 7, made: Stamp(0), secret: Zeroizing::new([1; 32]) };
    let ring = Keyring::new(KeyringSettings::default(), &key, &[]);
    let Ok(app) = AppName::new("orders") else { return };
    let address = LogicalAddress(IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, 9]));
    let context = Context { address, binding: Binding([2; 32]), started: Stamp(1_799_999_000_000), app: &app };
    let Ok(page) = ring.open(text, &context, Stamp(1_800_000_000_000)) else { return };
    let nonce = std::array::from_fn(|index| u8::try_from(index).unwrap_or(0));
    assert_eq!(ring.seal(&page, &context, nonce).as_str(), text, "only what was sealed opens");
}
