//! Sealing and unsealing with an emulated TPM.

use std::path::Path;

use vestibule_lab::{Context as _, Result, Swtpm};
use vestibule_proto::entropy::SystemEntropy;
use vestibule_proto::key::Secret;
use vestibule_tpm::{Lockout, SealedObject, Tpm, TpmError};

const SECRET: [u8; 32] = [7; 32];

fn auth(byte: u8) -> Secret<32> {
    Secret::new([byte; 32])
}

/// As another program does it, later: with nothing but the object's bytes.
fn seal(tpm: &Swtpm, auth: Option<&Secret<32>>) -> Result<SealedObject> {
    let object = Tpm::open(&tpm.socket())?.seal(&Secret::new(SECRET), auth, &mut SystemEntropy)?;
    Ok(SealedObject::from_bytes(&object.to_bytes())?)
}

fn unseal(tpm: &Swtpm, object: &SealedObject, auth: Option<&Secret<32>>) -> Result<[u8; 32], TpmError> {
    let secret = Tpm::open(&tpm.socket())?.unseal(object, auth, &mut SystemEntropy)?;
    Ok(*secret.expose())
}

fn lockout(tpm: &Swtpm) -> Result<Lockout> {
    Ok(Tpm::open(&tpm.socket())?.lockout()?)
}

#[test]
fn what_is_sealed_comes_out_again_and_after_a_restart() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let tpm = Swtpm::start(folder.path())?;
    let (plain, guarded) = (seal(&tpm, None)?, seal(&tpm, Some(&auth(1)))?);
    for _ in 0..20 {
        // More often than the TPM has room for keys and sessions: each is given back.
        assert_eq!(unseal(&tpm, &plain, None), Ok(SECRET));
        assert_eq!(unseal(&tpm, &guarded, Some(&auth(1))), Ok(SECRET));
    }
    let tpm = tpm.restart()?;
    assert_eq!(unseal(&tpm, &plain, None), Ok(SECRET));
    assert_eq!(unseal(&tpm, &guarded, Some(&auth(1))), Ok(SECRET));
    Ok(())
}

/// A TPM drops zeros at the end of an auth value.
#[test]
fn auth_values_that_end_in_zeros_are_taken() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let tpm = Swtpm::start(folder.path())?;
    for zeros in [1, 2, 31] {
        let mut value = [9; 32];
        value[32 - zeros..].fill(0);
        let object = seal(&tpm, Some(&Secret::new(value)))?;
        assert_eq!(unseal(&tpm, &object, Some(&Secret::new(value))), Ok(SECRET), "{zeros} zeros");
    }
    Ok(())
}

#[test]
fn another_tpm_or_a_cleared_one_gives_nothing() -> Result<()> {
    let (folder, other) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let (mut tpm, other) = (Swtpm::start(folder.path())?, Swtpm::start(other.path())?);
    let (plain, guarded) = (seal(&tpm, None)?, seal(&tpm, Some(&auth(1)))?);
    assert_eq!(unseal(&other, &plain, None), Err(TpmError::OtherTpm));
    assert_eq!(unseal(&other, &guarded, Some(&auth(1))), Err(TpmError::OtherTpm));
    assert_eq!(lockout(&other)?.counted, 0, "no auth value was tried there");
    // The name of the parent alone is not what decides.
    let mut forged = plain.to_bytes();
    forged[..32].copy_from_slice(&seal(&other, None)?.to_bytes()[..32]);
    let forged = SealedObject::from_bytes(&forged)?;
    assert_eq!(unseal(&other, &forged, None), Err(TpmError::OtherTpm));
    tpm.clear()?;
    assert_eq!(unseal(&tpm, &plain, None), Err(TpmError::OtherTpm));
    Ok(())
}

#[test]
fn wrong_auth_values_count_and_lock_out_the_right_one_too() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let tpm = Swtpm::start(folder.path())?;
    tpm.limit(4, 7_200, 7_200)?;
    let (plain, guarded) = (seal(&tpm, None)?, seal(&tpm, Some(&auth(1)))?);
    for tries in 1..=4 {
        assert_eq!(unseal(&tpm, &guarded, Some(&auth(2))), Err(TpmError::WrongAuth), "try {tries}");
        assert_eq!(lockout(&tpm)?.counted, tries);
    }
    let locked = Err(TpmError::LockedOut { seconds: Some(7_200) });
    assert_eq!(unseal(&tpm, &guarded, Some(&auth(1))), locked, "the right one, too");
    assert_eq!(unseal(&tpm, &plain, None), Ok(SECRET), "what is not counted is not locked");
    tpm.reset_lockout()?;
    assert_eq!(unseal(&tpm, &guarded, Some(&auth(1))), Ok(SECRET));
    Ok(())
}

#[test]
fn guesses_are_limited_where_nobody_may_lift_the_limit() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut tpm = Swtpm::start(folder.path())?;
    let open = lockout(&tpm)?;
    assert_eq!(open, Lockout { counted: 0, most: 3, interval: 1_000, recovery: 1_000, reserved: false });
    assert!(!open.limits_guesses(), "who has the machine may reset it");
    tpm.reserve_lockout("of the owner")?;
    assert!(lockout(&tpm)?.limits_guesses());
    for (tries, interval, recovery, limited) in [
        (3, 0, 600, false),
        (3, 599, 600, false),
        (33, 600, 600, false),
        (32, 600, 599, false),
        (32, 600, 0, false),
        (32, 600, 600, true),
    ] {
        tpm.limit(tries, interval, recovery)?;
        assert_eq!(lockout(&tpm)?.limits_guesses(), limited, "{tries} tries, {interval} s, {recovery} s");
    }
    Ok(())
}

#[test]
fn what_can_not_be_used_is_told() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let opened = |path: &Path| Tpm::open(path).err();
    assert_eq!(opened(&folder.path().join("missing")), Some(TpmError::Absent));
    let file = folder.path().join("file");
    std::fs::write(&file, b"")?;
    assert!(matches!(opened(&file), Some(TpmError::Unreachable(_))), "no device");
    let tpm = Swtpm::start(folder.path())?;
    tpm.reserve_owner("of the owner")?;
    let refused = Tpm::open(&tpm.socket())?.seal(&Secret::new(SECRET), None, &mut SystemEntropy);
    assert_eq!(refused.err(), Some(TpmError::OwnerAuth));
    Ok(())
}

/// An object is bound to what it says of itself: nobody turns off the counting of wrong auth values.
#[test]
fn an_altered_object_gives_nothing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let tpm = Swtpm::start(folder.path())?;
    let whole = seal(&tpm, Some(&auth(1)))?.to_bytes();
    for byte in 0..whole.len() {
        let mut altered = whole.clone();
        altered[byte] ^= 1 << (byte % 8);
        let Ok(object) = SealedObject::from_bytes(&altered) else { continue };
        assert!(unseal(&tpm, &object, Some(&auth(1))).is_err(), "byte {byte}");
    }
    assert_eq!(lockout(&tpm)?.counted, 0);
    let object = SealedObject::from_bytes(&whole)?;
    unseal(&tpm, &object, Some(&auth(1))).context("as it was")?;
    Ok(())
}
