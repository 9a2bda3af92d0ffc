//! Layer 1 on other machines and under other user names.

use super::locked;
use crate::credential::{Locked, OpenError};
use crate::fingerprint::Source::{self, FilesystemId, MachineId, ProductUuid};
use crate::testing::{PASSWORD, machine, password, three_sources, user};

fn refusal(locked: &Locked, values: &[(Source, &str)]) -> Option<OpenError> {
    locked.unlock_device(&user("alice"), &machine(values)).err()
}

#[test]
fn another_user_is_refused() {
    let locked = locked(&three_sources());
    for name in ["bob", "alice2", "alic"] {
        let refused = locked.unlock_device(&user(name), &three_sources()).err();
        assert_eq!(refused, Some(OpenError::WrongDeviceOrUser), "{name}");
    }
    assert!(locked.unlock_device(&user("ALICE"), &three_sources()).is_ok(), "upper case is folded");
}

#[test]
fn one_of_three_sources_may_be_missing() {
    let locked = locked(&three_sources());
    for (values, missing) in [
        ([(ProductUuid, "p"), (FilesystemId, "f")], MachineId),
        ([(MachineId, "m"), (FilesystemId, "f")], ProductUuid),
        ([(MachineId, "m"), (ProductUuid, "p")], FilesystemId),
    ] {
        let unlocked = locked.unlock_device(&user("alice"), &machine(&values)).unwrap();
        assert_eq!(unlocked.missing(), Some(missing));
        assert_eq!(unlocked.unlock_password(&password(PASSWORD)).unwrap().missing, Some(missing));
    }
}

#[test]
fn two_of_three_missing_are_refused() {
    let locked = locked(&three_sources());
    for (value, missing) in [
        ((MachineId, "m"), vec![ProductUuid, FilesystemId]),
        ((ProductUuid, "p"), vec![MachineId, FilesystemId]),
        ((FilesystemId, "f"), vec![MachineId, ProductUuid]),
    ] {
        assert_eq!(refusal(&locked, &[value]), Some(OpenError::SourcesMissing { missing }));
    }
}

#[test]
fn one_differing_source_of_three_is_named() {
    let locked = locked(&three_sources());
    for (values, which) in [
        ([(MachineId, "x"), (ProductUuid, "p"), (FilesystemId, "f")], MachineId),
        ([(MachineId, "m"), (ProductUuid, "x"), (FilesystemId, "f")], ProductUuid),
        ([(MachineId, "m"), (ProductUuid, "p"), (FilesystemId, "x")], FilesystemId),
    ] {
        assert_eq!(refusal(&locked, &values), Some(OpenError::SourceDiffers { which }));
    }
}

#[test]
fn a_missing_source_does_not_excuse_a_differing_one() {
    let locked = locked(&three_sources());
    for values in [
        [(MachineId, "x"), (ProductUuid, "p")],
        [(MachineId, "m"), (FilesystemId, "x")],
        [(ProductUuid, "x"), (FilesystemId, "f")],
    ] {
        assert_eq!(refusal(&locked, &values), Some(OpenError::WrongDeviceOrUser), "{values:?}");
    }
}

#[test]
fn another_machine_is_refused() {
    let locked = locked(&three_sources());
    for values in [
        [(MachineId, "x"), (ProductUuid, "y"), (FilesystemId, "f")],
        [(MachineId, "x"), (ProductUuid, "y"), (FilesystemId, "z")],
        // The same values, but said by other sources.
        [(MachineId, "p"), (ProductUuid, "m"), (FilesystemId, "f")],
    ] {
        assert_eq!(refusal(&locked, &values), Some(OpenError::WrongDeviceOrUser), "{values:?}");
    }
}

#[test]
fn with_two_sources_one_may_be_missing_and_none_may_differ() {
    let locked = locked(&machine(&[(MachineId, "m"), (FilesystemId, "f")]));
    let missing = |values: &[_]| locked.unlock_device(&user("alice"), &machine(values)).unwrap().missing();
    assert_eq!(missing(&[(MachineId, "m"), (FilesystemId, "f")]), None);
    assert_eq!(missing(&[(MachineId, "m")]), Some(FilesystemId));
    assert_eq!(missing(&[(FilesystemId, "f")]), Some(MachineId));
    let differs = |which| Some(OpenError::SourceDiffers { which });
    assert_eq!(refusal(&locked, &[(MachineId, "m"), (FilesystemId, "x")]), differs(FilesystemId));
    assert_eq!(refusal(&locked, &[(MachineId, "x"), (FilesystemId, "f")]), differs(MachineId));
    assert_eq!(refusal(&locked, &[(MachineId, "x")]), Some(OpenError::WrongDeviceOrUser));
    let both_missing = OpenError::SourcesMissing { missing: vec![MachineId, FilesystemId] };
    assert_eq!(refusal(&locked, &[(ProductUuid, "p")]), Some(both_missing));
}

#[test]
fn with_one_source_it_must_match() {
    let locked = locked(&machine(&[(MachineId, "m")]));
    assert_eq!(refusal(&locked, &[(MachineId, "m")]), None);
    assert_eq!(refusal(&locked, &[(MachineId, "x")]), Some(OpenError::WrongDeviceOrUser));
    let missing = OpenError::SourcesMissing { missing: vec![MachineId] };
    assert_eq!(refusal(&locked, &[(FilesystemId, "m")]), Some(missing));
}

#[test]
fn a_source_that_was_not_there_at_enrolment_is_ignored() {
    let locked = locked(&machine(&[(MachineId, "m"), (FilesystemId, "f")]));
    assert_eq!(refusal(&locked, &[(MachineId, "m"), (ProductUuid, "new"), (FilesystemId, "f")]), None);
}
