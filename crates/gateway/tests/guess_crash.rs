//! C12, T12: `kill -9` between any two wrong passwords, and between a count and its answer, gives nobody a free try.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use vestibule_gateway::directory::{Directory, DirectoryError, GuessAnswer, Identity, Introduction, NewDevice};
use vestibule_proto::entropy::SeededEntropy;
use vestibule_proto::guess::Verdict;
use vestibule_proto::id::{DeviceId, GatewayId, Stamp, UserName};
use vestibule_proto::key::{PrivateKey, Psk, RealmKey, Secret, SigningKey};
use vestibule_proto::login::KsfParams;

const DIRECTORY: &str = "VESTIBULE_TEST_DIRECTORY";
const SOMEWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)), 5_000);
const T: Stamp = Stamp::from_millis(1_800_000_000_000);
/// Longer than the longest delay of the policy: every try that is left is allowed.
const PAUSE: Duration = Duration::from_secs(3_601);

fn open(root: &Path) -> Directory {
    let mut entropy = SeededEntropy::new(1);
    let identity = Identity {
        gateway: GatewayId::new([1; 16]),
        name: "home".to_owned(),
        k_lookup: Secret::new([2; 32]),
        introduction: Some(Introduction {
            controllers: vec!["127.0.0.1:4433".to_owned()],
            controller_key: PrivateKey::random(&mut entropy).public(),
            realm: RealmKey::random(&mut entropy),
            gateway_key: PrivateKey::random(&mut entropy).public(),
            gateway_pins: vec![SigningKey::random(&mut entropy).spki()],
        }),
    };
    Directory::open(&root.join("data/gateway.db"), identity).unwrap()
}

fn device() -> DeviceId {
    DeviceId::new([7; 16])
}

async fn enrol(directory: &Directory) {
    let (user, mut entropy) = (UserName::parse("alice").unwrap(), SeededEntropy::new(2));
    directory.add_user(user.clone(), &[], T).await.unwrap();
    let (invited, _) = directory.invite(user, Duration::from_secs(3_600), T, &mut entropy).await.unwrap();
    let new = NewDevice {
        id: device(),
        name: "laptop".to_owned(),
        d_out: PrivateKey::random(&mut entropy).public(),
        d_in: PrivateKey::random(&mut entropy).public(),
        d_tls: SigningKey::random(&mut entropy).spki(),
        psk_g: Psk::random(&mut entropy),
        fingerprint_commitment: [3; 32],
        record: vec![4; 192],
        ksf: KsfParams::STANDARD,
        version_floor: 1,
        awaits: false,
    };
    directory.register_device(invited.id, new, T, &mut entropy).await.unwrap();
    directory.confirm_device(invited.id, device(), T).await.unwrap();
}

/// Guesses by knock and by login in turns, and says so after each that was answered.
#[test]
#[ignore = "the child process of the test below"]
fn child_that_guesses() {
    let directory = open(&PathBuf::from(std::env::var_os(DIRECTORY).expect("started by its parent")));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut now = directory.guesses(&device()).unwrap().unwrap().last.max(T);
        for turn in 0.. {
            now = now.saturating_add(PAUSE);
            let answered =
                if turn % 2 == 0 { by_knock(&directory, now).await } else { by_login(&directory, now).await };
            let line = if answered { "answered\n" } else { "suspended\n" };
            std::io::stdout().write_all(line.as_bytes()).unwrap();
            if !answered {
                return;
            }
        }
    });
}

/// What the admission machine and its shell do: look at the count, try the seal, count, answer.
async fn by_knock(directory: &Directory, now: Stamp) -> bool {
    let count = directory.guesses(&device()).unwrap().unwrap();
    if vestibule_gateway::directory::guess_policy().verdict(count, now) != Verdict::Allowed {
        return false;
    }
    directory.count_guess(device(), SOMEWHERE, now).await.map_err(|error: DirectoryError| error.to_string()).unwrap();
    true
}

/// What a login does: count, evaluate, answer.
async fn by_login(directory: &Directory, now: Stamp) -> bool {
    match directory.begin_guess(device(), SOMEWHERE, now).await.unwrap() {
        GuessAnswer::Counted(guess) => directory.guess_was_wrong(guess, now).await.is_ok(),
        GuessAnswer::Suspended => false,
        GuessAnswer::Wait(_) | GuessAnswer::Unknown => panic!("neither happens here"),
    }
}

fn spawn(root: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_guesses", "--ignored", "--nocapture"])
        .env(DIRECTORY, root)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn t12_no_kill_makes_a_guess_free() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for kill_after in 1..=3 {
        let root = tempfile::tempdir().unwrap();
        runtime.block_on(enrol(&open(root.path())));
        let (mut answered, mut suspended, mut starts) = (0, false, 0);
        while !suspended {
            starts += 1;
            let mut child = spawn(root.path());
            let mut of_this_start = 0;
            for line in BufReader::new(child.stdout.take().unwrap()).lines() {
                let line = line.unwrap();
                // The harness of the child writes on the same line before the first answer.
                of_this_start += u32::from(line.ends_with("answered"));
                suspended |= line.ends_with("suspended");
                if of_this_start == kill_after {
                    child.kill().unwrap();
                }
            }
            child.wait().unwrap();
            answered += of_this_start;
            let counted = u32::from(open(root.path()).guesses(&device()).unwrap().unwrap().count);
            assert!(counted >= answered, "{answered} answers, {counted} counted after start {starts}");
            assert!(starts < 100 && answered <= 20, "{answered} answers");
        }
        assert!(starts > 2, "it was killed in between");
        assert_eq!(open(root.path()).guesses(&device()).unwrap().unwrap().count, 20);
    }
}
