//! Credentials that are sealed to a TPM: here to emulated ones.

use std::path::Path;

use vestibule_lab::{Result, Swtpm};
use vestibule_proto::entropy::SystemEntropy;

use crate::credential::{CreateError, Credential, DeviceUnlocked, Locked, NewCredential, OpenError, Seed};
use crate::testing::{PASSWORD, cheap, credential, password, sealed, three_sources, user};
use crate::tpm::{Tpm, TpmError, TpmUse, look};

/// A credential of *alice*, sealed to the TPM at `path`.
fn sealed_to(path: &Path, typo_bits: u8) -> Result<Credential, CreateError> {
    let entropy = &mut SystemEntropy;
    let new = NewCredential { sealed: sealed("alice"), seed: Seed::random(entropy), tpm: Some(path.to_owned()) };
    Credential::create(new, &password(PASSWORD), &three_sources(), cheap(typo_bits), entropy)
}

/// Layer 1 of the file on the machine that has the TPM at `path`, whatever else is imitated there.
fn device(file: &Credential, path: Option<&Path>) -> Result<DeviceUnlocked, OpenError> {
    Locked::parse(file.as_bytes())?.with_tpm(path).unlock_device(&user("alice"), &three_sources())
}

fn open(file: &Credential, path: &Path, typed: &str) -> Result<(), OpenError> {
    device(file, Some(path))?.unlock_password(&password(typed)).map(|_| ())
}

fn counted(tpm: &Swtpm) -> Result<u32> {
    Ok(Tpm::open(&tpm.socket())?.lockout()?.counted)
}

const ELSEWHERE: OpenError = OpenError::Tpm(TpmError::OtherTpm);

/// T13: the file and everything that a fingerprint is made of, but another TPM, or none.
#[test]
fn t13_a_file_moved_to_another_tpm_does_not_open() -> Result<()> {
    let (folder, other) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let (mut tpm, other) = (Swtpm::start(folder.path())?, Swtpm::start(other.path())?);
    for expected in [TpmUse::Device, TpmUse::Password] {
        if expected == TpmUse::Password {
            tpm.reserve_lockout("of the owner")?;
        }
        assert_eq!(look(&tpm.socket()), Ok(expected));
        let file = sealed_to(&tpm.socket(), 10)?;
        assert_eq!(Locked::parse(file.as_bytes())?.tpm(), expected);
        assert_eq!(open(&file, &other.socket(), PASSWORD), Err(ELSEWHERE));
        assert_eq!(device(&file, None).err(), Some(OpenError::Tpm(TpmError::Absent)));
        assert_eq!(open(&file, &folder.path().join("none"), PASSWORD), Err(OpenError::Tpm(TpmError::Absent)));
        assert_eq!(open(&file, &tpm.socket(), PASSWORD), Ok(()), "on the first it does");
    }
    assert_eq!((counted(&tpm)?, counted(&other)?), (0, 0));
    Ok(())
}

/// T13: the TPM counts, and does not tell a guesser who came too late whether he was right.
#[test]
fn t13_wrong_passwords_in_a_row_lock_out_and_the_right_one_too() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut tpm = Swtpm::start(folder.path())?;
    tpm.limit(5, 7_200, 7_200)?;
    tpm.reserve_lockout("of the owner")?;
    // Whatever the gateway says of typo bits: the TPM's word is complete.
    let file = sealed_to(&tpm.socket(), 0)?;
    for tries in 1..=5 {
        assert_eq!(open(&file, &tpm.socket(), &format!("wrong {tries}")), Err(OpenError::WrongPassword));
        assert_eq!(counted(&tpm)?, tries);
    }
    let locked = OpenError::Tpm(TpmError::LockedOut { seconds: Some(7_200) });
    assert_eq!(open(&file, &tpm.socket(), PASSWORD), Err(locked.clone()));
    assert_eq!(open(&file, &tpm.socket(), "wrong"), Err(locked.clone()));
    let tpm = tpm.restart()?;
    assert_eq!(open(&file, &tpm.socket(), PASSWORD), Err(locked), "switching it off and on is no way out");
    assert!(device(&file, Some(&tpm.socket())).is_ok(), "whose machine it is, is still known");
    tpm.reset_lockout()?;
    assert_eq!(open(&file, &tpm.socket(), PASSWORD), Ok(()));
    Ok(())
}

/// Where anybody may reset the lock-out, the TPM is not asked about passwords at all: its complete answer would be an off-line
/// test for who has the whole machine.
#[test]
fn t13_a_tpm_without_a_lasting_limit_tells_nothing_of_passwords() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let tpm = Swtpm::start(folder.path())?;
    let file = sealed_to(&tpm.socket(), 0)?;
    for guess in 0..10 {
        assert_eq!(open(&file, &tpm.socket(), &format!("guess {guess}")), Ok(()), "it looks as good as any");
    }
    assert_eq!(counted(&tpm)?, 0);
    assert_eq!(Locked::parse(file.as_bytes())?.params(), cheap(0));
    Ok(())
}

#[test]
fn a_cleared_tpm_opens_nothing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut tpm = Swtpm::start(folder.path())?;
    let file = sealed_to(&tpm.socket(), 10)?;
    assert_eq!(open(&file, &tpm.socket(), PASSWORD), Ok(()));
    tpm.clear()?;
    assert_eq!(open(&file, &tpm.socket(), PASSWORD), Err(ELSEWHERE));
    Ok(())
}

#[test]
fn another_machine_or_user_is_refused_with_the_right_tpm_too() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let tpm = Swtpm::start(folder.path())?;
    let file = sealed_to(&tpm.socket(), 10)?;
    let locked = Locked::parse(file.as_bytes())?.with_tpm(Some(&tpm.socket()));
    let refused = locked.unlock_device(&user("bob"), &three_sources()).err();
    assert_eq!(refused, Some(OpenError::WrongDeviceOrUser));
    Ok(())
}

#[test]
fn resealing_layer_1_takes_no_tpm_and_keeps_its_part() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut tpm = Swtpm::start(folder.path())?;
    tpm.reserve_lockout("of the owner")?;
    let file = sealed_to(&tpm.socket(), 10)?;
    let path = folder.path().join("alice.credential");
    file.save(&path)?;
    let unlocked = device(&file, Some(&tpm.socket()))?;
    let mut changed = unlocked.sealed().clone();
    changed.controllers = vec!["192.0.2.1:4433".to_owned()];
    let socket = tpm.socket();
    drop(tpm);
    let resealed = unlocked.again(&path)?.reseal(changed, &mut SystemEntropy)?;
    let tpm = Swtpm::start(folder.path())?;
    assert_eq!(tpm.socket(), socket);
    let unlocked = device(&resealed, Some(&socket))?;
    assert_eq!(unlocked.sealed().controllers, ["192.0.2.1:4433"]);
    assert!(unlocked.unlock_password(&password(PASSWORD)).is_ok());
    Ok(())
}

#[test]
fn a_file_without_a_tpm_asks_none() {
    let file = credential(&three_sources(), cheap(10));
    assert_eq!(Locked::parse(file.as_bytes()).map(|locked| locked.tpm()), Ok(TpmUse::None));
    assert_eq!(open(&file, Path::new("/nonexistent/tpm"), PASSWORD), Ok(()));
}

#[test]
fn nothing_is_made_where_the_tpm_can_not_be_used() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let missing = sealed_to(&folder.path().join("none"), 10).err();
    assert_eq!(missing, Some(CreateError::Tpm(TpmError::Absent)));
    let tpm = Swtpm::start(folder.path())?;
    tpm.reserve_owner("of the owner")?;
    assert_eq!(look(&tpm.socket()), Err(TpmError::OwnerAuth));
    assert_eq!(sealed_to(&tpm.socket(), 10).err(), Some(CreateError::Tpm(TpmError::OwnerAuth)));
    Ok(())
}
