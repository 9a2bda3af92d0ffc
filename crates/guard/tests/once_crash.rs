//! SIGKILL at every named point in the life of a command: never given to the application twice, and whoever repeats it afterwards
//! is told what is so.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use hyper::Response;
use hyper::body::Frame;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use vestibule_guard::{
    About, AppName, Audit, AuditOutcome, AuditQuery, AuditSettings, Beginning, Begun, BodyError, ClaimName, Claimed,
    Entry, Extent, Interrupted, LogicalAddress, Once, OnceKey, OnceSettings, Repeat, Running, Serial, Stamp,
    StoredAnswer, UserName, fault,
};

const DIRECTORY: &str = "VESTIBULE_TEST_DIRECTORY";
/// Every other one is large: its beginning goes to the application before it has a name.
const COMMANDS: u8 = 6;
const EXTENT: Extent = Extent { length: Some(1 << 30), boundary: 40 };
const NOW: Stamp = Stamp(1_000_000);

struct Guard {
    once: Once,
    audit: Audit,
    interrupted: Vec<Interrupted>,
    effects: PathBuf,
}

fn open(directory: &Path) -> Guard {
    let store = vestibule_guard::store::open(&directory.join("guard/guard.sqlite")).unwrap();
    let audit = Audit::open(store.clone(), AuditSettings::at(directory.join("guard/audit.jsonl"))).unwrap();
    let (once, interrupted) = Once::open(store, OnceSettings::default(), OnceKey::new([7; 32])).unwrap();
    Guard { once, audit, interrupted, effects: directory.join("effects") }
}

fn is_large(n: u8) -> bool {
    n % 2 == 1
}

fn start(n: u8) -> ClaimName {
    ClaimName([n | 0x80; 32])
}

fn about(n: u8) -> About {
    About {
        user: UserName::new("alice").unwrap(),
        address: LogicalAddress("fd00::7".parse().unwrap()),
        app: AppName::new("orders").unwrap(),
        serial: Serial(n.into()),
        method: "POST".to_owned(),
        path: format!("/place/{n}"),
    }
}

fn entry(about: &About, outcome: AuditOutcome) -> Entry {
    Entry {
        at: NOW,
        user: about.user.clone(),
        address: about.address,
        app: about.app.clone(),
        serial: Some(about.serial),
        method: about.method.clone(),
        path: about.path.clone(),
        outcome,
        status: Some(201),
        duration: Duration::from_millis(3),
    }
}

impl Guard {
    /// Gives the command as the guard does; one of before is not run. Says whether it was.
    async fn give(&self, n: u8) -> Result<(), Repeat> {
        if is_large(n) {
            match self.once.begin(start(n), EXTENT, about(n), NOW).unwrap() {
                Beginning::First(begun) => {
                    self.run_large(n, *begun).await;
                    return Ok(());
                }
                Beginning::Unknown { at } => return Err(Repeat::Unknown { at }),
                Beginning::Waiting(waiting) => return Err(Repeat::Waiting(waiting)),
                Beginning::Alike => {}
            }
        }
        match self.once.claim(ClaimName([n; 32]), about(n), NOW).await.unwrap() {
            Claimed::First(running) => {
                running.sending().await.unwrap();
                self.take_effect(n);
                fault::point("upstream-sent");
                self.answer(running).await;
                Ok(())
            }
            Claimed::Repeat(repeat) => Err(repeat),
        }
    }

    /// An application that acts on the beginning, and nobody knows the end yet.
    async fn run_large(&self, n: u8, begun: Begun) {
        begun.sending().await.unwrap();
        self.take_effect(n);
        fault::point("start-sent");
        let claimed = self.once.claim(ClaimName([n; 32]), about(n), NOW).await.unwrap();
        let Claimed::First(running) = claimed else { panic!("{n} was given before") };
        running.sending_all(begun).await.unwrap();
        self.answer(running).await;
    }

    fn take_effect(&self, n: u8) {
        let mut effects = std::fs::File::options().create(true).append(true).open(&self.effects).unwrap();
        effects.write_all(format!("{n}\n").as_bytes()).unwrap();
    }

    /// The answer comes part by part.
    async fn answer(&self, running: Running) {
        let parts =
            ["placed ", "order"].map(|part| Ok::<_, BodyError>(Frame::data(Bytes::from_static(part.as_bytes()))));
        let body = StreamBody::new(futures_util::stream::iter(parts)).boxed_unsync();
        let response = Response::builder().status(201).body(body).unwrap();
        let (audit, line) = (self.audit.clone(), entry(running.about(), AuditOutcome::Done));
        let passed_on = StoredAnswer::tee(response, running, || NOW, move |_| audit.record(line).unwrap());
        assert_eq!(passed_on.into_body().collect().await.unwrap().to_bytes(), "placed order");
    }

    fn effects(&self) -> Vec<u8> {
        let text = std::fs::read_to_string(&self.effects).unwrap_or_default();
        text.lines().map(|line| line.parse().unwrap()).collect()
    }

    fn times(&self, n: u8) -> usize {
        self.effects().iter().filter(|done| **done == n).count()
    }

    /// What a repeat is told must be so; a first is run.
    async fn repeat(&self, n: u8, why: &str) {
        let sent = self.times(n);
        match self.give(n).await {
            Ok(()) => assert_eq!(sent, 0, "{why}: {n} was given twice"),
            Err(Repeat::Done(done)) => {
                assert_eq!((sent, done.status), (1, 201), "{why}: {n}");
                if let Some(answer) = done.answer {
                    assert_eq!(answer.body, "placed order", "{why}: {n}");
                }
            }
            Err(Repeat::Unknown { at }) => assert_eq!(at, NOW, "{why}: {n}"),
            Err(Repeat::Waiting(_)) => panic!("{why}: {n}: nobody runs it"),
        }
        assert!(self.times(n) <= 1, "{why}: {n} was given twice");
    }

    async fn audited(&self, n: u8) -> bool {
        let all = self.audit.query(AuditQuery { limit: 1_000, ..AuditQuery::default() }).await.unwrap();
        all.iter().any(|entry| entry.serial == Some(Serial(n.into())))
    }
}

#[test]
#[ignore = "the child process of the test below"]
fn child_that_gives_commands() {
    let directory = PathBuf::from(std::env::var_os(DIRECTORY).expect("started by its parent"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let guard = open(&directory);
        for n in 0..COMMANDS {
            // What an earlier one has given is not given again.
            let _ = guard.give(n).await;
            // The answer goes into the store by a task of its own.
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
    });
}

fn kill_at(directory: &Path, point: &str, passage: u32) {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_gives_commands", "--ignored", "--nocapture"])
        .env(DIRECTORY, directory)
        .env(fault::VARIABLE, format!("{point}:{passage}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.signal(), Some(9), "{point}:{passage} was not passed: {status}");
}

async fn look_at_what_is_left(directory: &Path, why: &str) {
    let guard = open(directory);
    for n in guard.effects() {
        let told = guard.interrupted.iter().any(|one| one.about == about(n));
        assert!(told || guard.audited(n).await, "{why}: {n} had its effect and nobody is told");
    }
    assert!(guard.interrupted.len() <= 1, "{why}: one at a time was given");
    for one in &guard.interrupted {
        guard.audit.record(entry(&one.about, AuditOutcome::Unknown)).unwrap();
    }
    guard.once.acknowledge(&guard.interrupted);
    for n in 0..COMMANDS {
        guard.repeat(n, why).await;
    }
    for n in 0..COMMANDS {
        assert!(guard.audited(n).await, "{why}: {n} is missing from the audit log");
    }
}

/// Many points, each a process: several at a time would be faster, and would hide which one was slow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_point_a_command_has_its_effect_once_and_its_repeat_an_honest_answer() {
    assert!(fault::POINTS.len() >= 12);
    for point in fault::POINTS {
        for passage in [1, 3] {
            let root = tempfile::tempdir().unwrap();
            let why = format!("{point}:{passage}");
            kill_at(root.path(), point, passage);
            look_at_what_is_left(root.path(), &why).await;
            // What was told once stays so over the next start.
            let again = open(root.path());
            assert!(again.interrupted.is_empty(), "{why}: told again");
            for n in 0..COMMANDS {
                again.repeat(n, &format!("{why}, restarted")).await;
            }
        }
    }
}
