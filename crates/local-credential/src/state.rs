//! The sidecar of a credential: what changes with each knock, so that the credential itself is not rewritten.
//!
//! `NAME.state` beside `NAME`, mode 0600, 26 bytes: magic 8 `VSTBstat`, version 2 (= 1), last stamp 8, checksum 8 (the
//! head of SHA-256 over what stands before), numbers big-endian. It holds no secret and losing it is safe: the client
//! stamps a knock with `max(clock, last stamp + 1 ms)`, so without it a client only notices a clock that fell back by
//! being told so by the controller (PROTOCOL 3.5, silence to recordings).

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use vestibule_proto::id::Stamp;

use crate::file::{self, Durability, ReadError, SaveError};

const MAGIC: &[u8; 8] = b"VSTBstat";
const VERSION: u16 = 1;
const LEN: usize = 26;
const CHECKED_LEN: usize = 18;

/// What a device remembers between knocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct State {
    /// The stamp of the latest knock that was acknowledged; 0 if none is known.
    pub last_stamp: Stamp,
}

impl State {
    /// The state beside the credential at `credential`. A missing or damaged file is a state that knows nothing.
    ///
    /// # Errors
    /// [`ReadError`] if there is a file that others have access to, or that can't be read.
    pub fn load(credential: &Path) -> Result<Self, ReadError> {
        match file::read(&path(credential), LEN as u64) {
            Ok(bytes) => Ok(decode(&bytes).unwrap_or_default()),
            Err(ReadError::Missing | ReadError::TooLarge { .. }) => Ok(Self::default()),
            Err(
                error @ (ReadError::Symlink
                | ReadError::NotAFile
                | ReadError::ForeignOwner { .. }
                | ReadError::TooOpen { .. }
                | ReadError::Io(_)),
            ) => Err(error),
        }
    }

    /// Remembers `stamp` beside the credential at `credential`, unless a later one stands there. Atomic, but not waited
    /// for: it must not delay a connect, and a crash of the machine loses at most this file.
    ///
    /// # Errors
    /// See [`SaveError`]; an unreadable former file is replaced.
    pub fn advance(credential: &Path, stamp: Stamp) -> Result<(), SaveError> {
        let known = Self::load(credential).unwrap_or_default().last_stamp;
        if stamp <= known {
            return Ok(());
        }
        file::replace(&path(credential), &encode(Self { last_stamp: stamp }), Durability::Relaxed)
    }
}

/// Where the sidecar of the credential at `credential` lies: the same path with `.state` behind it.
#[must_use]
pub fn path(credential: &Path) -> PathBuf {
    let mut name = OsString::from(credential);
    name.push(".state");
    PathBuf::from(name)
}

fn encode(state: State) -> [u8; LEN] {
    let mut bytes = [0; LEN];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..10].copy_from_slice(&VERSION.to_be_bytes());
    bytes[10..CHECKED_LEN].copy_from_slice(&state.last_stamp.as_millis().to_be_bytes());
    let checksum = checksum(&bytes[..CHECKED_LEN]);
    bytes[CHECKED_LEN..].copy_from_slice(&checksum);
    bytes
}

pub(crate) fn decode(bytes: &[u8]) -> Option<State> {
    let bytes: &[u8; LEN] = bytes.try_into().ok()?;
    let (checked, found) = bytes.split_at(CHECKED_LEN);
    let rest = checked.strip_prefix(MAGIC)?.strip_prefix(&VERSION.to_be_bytes())?;
    let millis = u64::from_be_bytes(rest.try_into().ok()?);
    (checksum(checked) == found).then_some(State { last_stamp: Stamp::from_millis(millis) })
}

fn checksum(bytes: &[u8]) -> [u8; 8] {
    let mut head = [0; 8];
    head.copy_from_slice(&Sha256::digest(bytes)[..8]);
    head
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    fn stamp(millis: u64) -> State {
        State { last_stamp: Stamp::from_millis(millis) }
    }

    #[test]
    fn advances_and_never_goes_back() {
        let directory = tempfile::tempdir().unwrap();
        let credential = directory.path().join("alice.credential");
        assert_eq!(State::load(&credential), Ok(State::default()));
        for (saved, expected) in [(5, 5), (9, 9), (7, 9)] {
            State::advance(&credential, Stamp::from_millis(saved)).unwrap();
            assert_eq!(State::load(&credential), Ok(stamp(expected)));
        }
        let sidecar = directory.path().join("alice.credential.state");
        assert_eq!(fs::metadata(sidecar).unwrap().permissions().mode() & 0o7777, 0o600);
    }

    #[test]
    fn a_damaged_file_knows_nothing_and_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let credential = directory.path().join("alice.credential");
        State::advance(&credential, Stamp::from_millis(1 << 40)).unwrap();
        let whole = fs::read(path(&credential)).unwrap();
        for bit in 0..8 * LEN {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            fs::write(path(&credential), damaged).unwrap();
            assert_eq!(State::load(&credential), Ok(State::default()), "bit {bit}");
        }
        for length in (0..LEN).chain([LEN + 1]) {
            let mut cut = whole.clone();
            cut.resize(length, 0);
            fs::write(path(&credential), cut).unwrap();
            assert_eq!(State::load(&credential), Ok(State::default()), "length {length}");
        }
        State::advance(&credential, Stamp::from_millis(3)).unwrap();
        assert_eq!(State::load(&credential), Ok(stamp(3)));
    }

    #[test]
    fn a_file_that_others_may_write_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let credential = directory.path().join("alice.credential");
        State::advance(&credential, Stamp::from_millis(3)).unwrap();
        fs::set_permissions(path(&credential), fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(State::load(&credential), Err(ReadError::TooOpen { mode: 0o666 }));
    }
}
