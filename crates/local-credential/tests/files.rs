//! The credential file under faults that need a process, a user or a filesystem of their own.
//!
//! Each test starts its own binary again for the part that runs inside: `unshare` gives it a mount namespace as root of
//! a user namespace, so that nothing here needs privileges. Where the machine does not allow that the tests fail, and say so.

#![expect(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use vestibule_local_credential::credential::{Params, Seed};
use vestibule_local_credential::file::SaveError;
use vestibule_local_credential::fingerprint::{Source, Sources};
use vestibule_local_credential::{Credential, Fingerprint, Locked, NewCredential, OpenError, Password, Sealed};
use vestibule_proto::entropy::SeededEntropy;
use vestibule_proto::id::{DeviceId, GatewayId, LoginDigest, Stamp, UserName};
use vestibule_proto::key::{PrivateKey, Secret, SigningKey};

/// Tells a test that it is the inner part, and where to work.
const INSIDE: &str = "VESTIBULE_TEST_INSIDE";

fn inside() -> Option<PathBuf> {
    std::env::var_os(INSIDE).map(PathBuf::from)
}

/// Runs the test `name` of this binary again, as the inner part, under `shell`, a script that ends in `exec "$@"`.
fn run_inside(launcher: &[&str], shell: &str, name: &str, directory: &Path) -> Output {
    let mut words = launcher.iter().copied().chain(["sh", "-e", "-c", shell, "inside"]);
    let program = words.next().expect("a launcher");
    Command::new(program)
        .args(words)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(INSIDE, directory)
        .output()
        .unwrap_or_else(|error| panic!("{program} is needed for this test: {error}"))
}

fn assert_passed(output: &Output) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success() && out.contains("1 passed"), "the inner part failed:\n{out}\n{err}");
}

const NAMESPACE: [&str; 3] = ["unshare", "--map-root-user", "--mount"];

fn machine() -> Fingerprint {
    Fingerprint::gather(&Sources::fixed(&[(Source::MachineId, "m")])).unwrap()
}

fn alice() -> UserName {
    UserName::parse("alice").unwrap()
}

fn password() -> Password {
    Password::new("tidal-lantern-94").unwrap()
}

/// A credential whose device is called `device_name`.
fn credential(device_name: &str, params: Params) -> Credential {
    let entropy = &mut SeededEntropy::new(1);
    let sealed = Sealed {
        user: alice(),
        gateway: GatewayId::random(entropy),
        gateway_name: "home".to_owned(),
        device: DeviceId::random(entropy),
        device_name: device_name.to_owned(),
        d_out: PrivateKey::random(entropy),
        psk_c: Secret::random(entropy),
        psk_r: Secret::random(entropy),
        realm: Secret::random(entropy),
        pepper: Secret::random(entropy),
        digest: LoginDigest::random(entropy),
        controller_key: PrivateKey::random(entropy).public(),
        gateway_key: PrivateKey::random(entropy).public(),
        gateway_pins: vec![SigningKey::random(entropy).spki()],
        controllers: vec!["controller.example:4433".to_owned()],
        version_floor: 1,
        fingerprint_salt: [3; 16],
        enrolled: Stamp::from_millis(1),
        resume: None,
        awaits: None,
        realm_epoch: 0,
    };
    let new = NewCredential { sealed, seed: Seed::random(entropy), tpm: None };
    Credential::create(new, &password(), &machine(), params, entropy).unwrap()
}

fn cheap() -> Params {
    Params::new(8, 1, 1, 10).unwrap()
}

fn device_name(path: &Path) -> String {
    let unlocked = Locked::load(path).unwrap().unlock_device(&alice(), &machine()).unwrap();
    unlocked.sealed().device_name.clone()
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_full_disk_is_told_and_leaves_the_former_file() {
    if let Some(directory) = inside() {
        let path = directory.join("alice.credential");
        credential("former", cheap()).save(&path).unwrap();
        let filler = vec![0; 1 << 20];
        assert!(fs::write(directory.join("filler"), filler).is_err(), "the disk is full now");
        assert_eq!(credential("newer", cheap()).save(&path), Err(SaveError::Full));
        assert_eq!(device_name(&path), "former");
        assert_eq!(names(&directory), ["alice.credential", "filler"], "no partial file is left");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mount = format!("mount -t tmpfs -o size=64k,mode=700 none \"${INSIDE}\"; exec \"$@\"");
    let name = "a_full_disk_is_told_and_leaves_the_former_file";
    assert_passed(&run_inside(&NAMESPACE, &mount, name, directory.path()));
}

#[test]
fn a_disk_without_room_for_a_name_is_full() {
    if let Some(directory) = inside() {
        for number in 0..8 {
            if fs::write(directory.join(format!("filler {number}")), b"").is_err() {
                let saved = credential("newer", cheap()).save(&directory.join("alice.credential"));
                assert_eq!(saved, Err(SaveError::Full));
                return;
            }
        }
        panic!("there is still room for names");
    }
    let directory = tempfile::tempdir().unwrap();
    let mount = format!("mount -t tmpfs -o nr_inodes=4,mode=700 none \"${INSIDE}\"; exec \"$@\"");
    let name = "a_disk_without_room_for_a_name_is_full";
    assert_passed(&run_inside(&NAMESPACE, &mount, name, directory.path()));
}

#[test]
fn a_read_only_filesystem_is_told() {
    if let Some(directory) = inside() {
        let path = directory.join("alice.credential");
        assert_eq!(credential("newer", cheap()).save(&path), Err(SaveError::ReadOnly));
        assert_eq!(device_name(&path), "former");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    credential("former", cheap()).save(&directory.path().join("alice.credential")).unwrap();
    let mount =
        format!("mount --bind \"${INSIDE}\" \"${INSIDE}\"; mount -o remount,bind,ro \"${INSIDE}\"; exec \"$@\"");
    assert_passed(&run_inside(&NAMESPACE, &mount, "a_read_only_filesystem_is_told", directory.path()));
}

#[test]
fn a_directory_without_permission_is_told() {
    use std::os::unix::fs::PermissionsExt as _;
    if let Some(directory) = inside() {
        let path = directory.join("alice.credential");
        assert_eq!(credential("newer", cheap()).save(&path), Err(SaveError::Denied));
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o555)).unwrap();
    // A user namespace without a map leaves even root without the privilege to write everywhere.
    let output =
        run_inside(&["unshare", "--user"], "exec \"$@\"", "a_directory_without_permission_is_told", directory.path());
    assert_passed(&output);
}

/// Other machines are played by a mount over `/etc`, for the program has no switch for it.
#[test]
fn the_machine_id_of_a_mount_namespace_is_another_machine() {
    if let Some(directory) = inside() {
        let here = Fingerprint::gather(&Sources::system()).unwrap();
        assert!(here.sources().contains(&Source::MachineId));
        fs::write(directory.join("commitment"), here.commitment(&[0; 16])).unwrap();
        return;
    }
    let name = "the_machine_id_of_a_mount_namespace_is_another_machine";
    let mount = format!("mount --bind \"${INSIDE}\" /etc; exec \"$@\"");
    let commitment = |text| {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("machine-id"), text).unwrap();
        assert_passed(&run_inside(&NAMESPACE, &mount, name, directory.path()));
        fs::read(directory.path().join("commitment")).unwrap()
    };
    let one = commitment("11111111111111111111111111111112\n");
    assert_ne!(one, commitment("21111111111111111111111111111112\n"));
    assert_eq!(one, commitment("11111111111111111111111111111112"));
}

#[test]
fn a_program_killed_at_any_moment_leaves_a_whole_file() {
    if let Some(directory) = inside() {
        let path = directory.join("alice.credential");
        let files = ["former", "newer"].map(|name| credential(name, cheap()));
        loop {
            files.iter().for_each(|file| file.save(&path).unwrap());
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("alice.credential");
    credential("former", cheap()).save(&path).unwrap();
    let mut seen = Vec::new();
    for round in 0..40 {
        let before = fs::metadata(&path).unwrap().ino();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_program_killed_at_any_moment_leaves_a_whole_file", "--nocapture"])
            .env(INSIDE, directory.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while fs::metadata(&path).unwrap().ino() == before {
            assert!(Instant::now() < deadline, "the child has not written anything");
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(Duration::from_micros(97 * round));
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().code(), None, "it was killed, it did not end by itself");
        seen.push(device_name(&path));
    }
    assert!(seen.iter().all(|name| ["former", "newer"].contains(&name.as_str())), "{seen:?}");
    let alien: Vec<_> = names(directory.path())
        .into_iter()
        .filter(|name| {
            name != "alice.credential" && !(name.starts_with(".alice.credential.") && name.ends_with(".new"))
        })
        .collect();
    assert!(alien.is_empty(), "{alien:?}");
}

#[test]
fn too_little_memory_is_told() {
    if let Some(directory) = inside() {
        let locked = Locked::load(&directory.join("alice.credential")).unwrap();
        let unlocked = locked.unlock_device(&alice(), &machine()).unwrap();
        let kib = Params::default().memory_kib();
        assert_eq!(unlocked.unlock_password(&password()).err(), Some(OpenError::NoMemory { kib }));
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = credential("laptop", Params::default());
    file.save(&directory.path().join("alice.credential")).unwrap();
    // Address space for the program and its threads, not for 256 MiB on top.
    let limit = "ulimit -v 262144; exec \"$@\"";
    assert_passed(&run_inside(&["env"], limit, "too_little_memory_is_told", directory.path()));
}
