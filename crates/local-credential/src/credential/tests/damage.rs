//! Files that are cut off, altered, or open to others.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use crate::credential::{Locked, OpenError, mend};
use crate::file::ReadError;
use crate::testing::{cheap, credential, three_sources, user};

#[test]
fn every_truncation_is_told() {
    let file = credential(&three_sources(), cheap(10));
    for length in 0..file.as_bytes().len() {
        let refused = Locked::parse(&file.as_bytes()[..length]).err();
        assert_eq!(refused, Some(OpenError::Truncated), "length {length}");
    }
}

#[test]
fn every_flipped_bit_is_told() {
    let file = credential(&three_sources(), cheap(10));
    for bit in 0..8 * file.as_bytes().len() {
        let mut bytes = file.as_bytes().to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let expected = match bit / 8 {
            0..8 => OpenError::NotACredential,
            // A length that is now greater than the file's says that something is missing.
            10..14 if bytes[10..14] > file.as_bytes()[10..14] => OpenError::Truncated,
            _ => OpenError::Damaged,
        };
        assert_eq!(Locked::parse(&bytes).err(), Some(expected), "bit {bit}");
    }
}

/// Whoever alters the file and makes its checksum right comes no further: the tags of slots and layer 1 cover all of it.
#[test]
fn every_flipped_bit_behind_a_right_checksum_is_told() {
    let file = credential(&three_sources(), cheap(10));
    for bit in 8 * 14..8 * (file.as_bytes().len() - 16) {
        let mut bytes = file.as_bytes().to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        mend(&mut bytes);
        let refused = Locked::parse(&bytes).and_then(|locked| locked.unlock_device(&user("alice"), &three_sources()));
        let expected = match bit / 8 {
            24..40 => OpenError::WrongDeviceOrUser,
            _ => OpenError::Damaged,
        };
        assert_eq!(refused.err(), Some(expected), "bit {bit}");
    }
}

#[test]
fn files_that_others_can_touch_are_not_opened() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("alice.credential");
    let file = |error| Some(OpenError::File(error));
    assert_eq!(Locked::load(&path).err(), file(ReadError::Missing));
    credential(&three_sources(), cheap(10)).save(&path).unwrap();
    assert!(Locked::load(&path).is_ok());
    let link = directory.path().join("link");
    symlink(&path, &link).unwrap();
    assert_eq!(Locked::load(&link).err(), file(ReadError::Symlink));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).unwrap();
    assert_eq!(Locked::load(&path).err(), file(ReadError::TooOpen { mode: 0o604 }));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&path, vec![0; 16_385]).unwrap();
    assert_eq!(Locked::load(&path).err(), file(ReadError::TooLarge { limit: 16_384 }));
}
