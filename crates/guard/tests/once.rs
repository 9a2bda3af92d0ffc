//! The book of commands as its callers use it: waiting, handing over, giving back, forgetting.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

use bytes::Bytes;
use futures_util::{StreamExt, future::join_all};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::{Response, StatusCode, header::HeaderMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use vestibule_guard::{
    About, Answer, AppName, Body, BodyError, Captured, ClaimName, Claimed, Done, LogicalAddress, Once, OnceError,
    OnceKey, OnceSettings, Outcome, Repeat, Running, Serial, Stamp, StoredAnswer, UserName,
};

const NOW: Stamp = Stamp(1_000);

struct Room {
    root: tempfile::TempDir,
    settings: OnceSettings,
}

impl Room {
    fn new(settings: OnceSettings) -> Self {
        Self { root: tempfile::tempdir().unwrap(), settings }
    }

    fn open(&self) -> Once {
        let store = vestibule_guard::store::open(&self.root.path().join("guard/guard.sqlite")).unwrap();
        Once::open(store, self.settings, OnceKey::new([1; 32])).unwrap().0
    }
}

fn about(address: &str) -> About {
    About {
        user: UserName::new("alice").unwrap(),
        address: LogicalAddress(address.parse().unwrap()),
        app: AppName::new("orders").unwrap(),
        serial: Serial(1),
        method: "POST".to_owned(),
        path: "/place".to_owned(),
    }
}

async fn claim(once: &Once, n: u8, now: Stamp) -> Result<Claimed, OnceError> {
    once.claim(ClaimName([n; 32]), about("fd00::1"), now).await
}

async fn first(once: &Once, n: u8) -> Running {
    match claim(once, n, NOW).await.unwrap() {
        Claimed::First(running) => running,
        Claimed::Repeat(_) => panic!("{n} was given before"),
    }
}

async fn repeat(once: &Once, n: u8, now: Stamp) -> Repeat {
    match claim(once, n, now).await.unwrap() {
        Claimed::First(_) => panic!("{n} would run again"),
        Claimed::Repeat(repeat) => repeat,
    }
}

async fn done(once: &Once, n: u8, now: Stamp) -> Done {
    match repeat(once, n, now).await {
        Repeat::Done(done) => done,
        Repeat::Waiting(_) | Repeat::Unknown { .. } => panic!("{n} is not done"),
    }
}

fn answer(body: &'static str) -> StoredAnswer {
    StoredAnswer::new(StatusCode::CREATED, &HeaderMap::new(), Bytes::from_static(body.as_bytes()))
}

/// A response whose body comes when the test sends it.
fn slow_response() -> (mpsc::Sender<Result<Frame<Bytes>, BodyError>>, Response<Body>) {
    let (send, receive) = mpsc::channel(64);
    let stream = futures_util::stream::unfold(receive, |mut r| async move { r.recv().await.map(|frame| (frame, r)) });
    (send, Response::new(StreamBody::new(stream).boxed_unsync()))
}

fn part(text: impl Into<Bytes>) -> Result<Frame<Bytes>, BodyError> {
    Ok(Frame::data(text.into()))
}

/// Told how an answer ended.
fn ended() -> (impl FnOnce(Captured) + Send + 'static, tokio::sync::oneshot::Receiver<Captured>) {
    let (tell, told) = tokio::sync::oneshot::channel();
    (move |end| tell.send(end).unwrap(), told)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_at_once_are_one() {
    let room = Room::new(OnceSettings::default());
    let once = room.open();
    let runs = Arc::new(AtomicUsize::new(0));
    let all = (0..500).map(|_| {
        let (once, runs) = (once.clone(), Arc::clone(&runs));
        tokio::spawn(async move {
            match claim(&once, 1, NOW).await.unwrap() {
                Claimed::First(running) => {
                    running.sending().await.unwrap();
                    runs.fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    running.answered(Answer::Stored(answer("placed")), NOW);
                    "placed".into()
                }
                Claimed::Repeat(Repeat::Waiting(waiting)) => match waiting.await {
                    Outcome::Done(done) => done.answer.unwrap().body.clone(),
                    other @ (Outcome::Unknown { .. } | Outcome::NotDone) => panic!("{other:?}"),
                },
                Claimed::Repeat(Repeat::Done(done)) => done.answer.unwrap().body.clone(),
                Claimed::Repeat(Repeat::Unknown { .. }) => panic!("it is known"),
            }
        })
    });
    for body in join_all(all).await {
        assert_eq!(body.unwrap(), "placed");
    }
    assert_eq!(runs.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn dropped_before_sending_it_is_given_back_and_afterwards_unknown() {
    let room = Room::new(OnceSettings::default());
    let once = room.open();
    drop(first(&once, 1).await);
    let running = first(&once, 1).await;
    let Repeat::Waiting(waiting) = repeat(&once, 1, NOW).await else { panic!("it runs") };
    running.sending().await.unwrap();
    running.unsent();
    assert_eq!(waiting.await, Outcome::NotDone);
    let running = first(&once, 1).await;
    running.sending().await.unwrap();
    let Repeat::Waiting(waiting) = repeat(&once, 1, NOW).await else { panic!("it runs") };
    drop(running);
    assert_eq!(waiting.await, Outcome::Unknown { at: NOW });
    assert!(matches!(repeat(&once, 1, NOW).await, Repeat::Unknown { at: NOW }));
    drop(once);
    assert!(matches!(repeat(&room.open(), 1, NOW).await, Repeat::Unknown { at: NOW }));
}

#[tokio::test]
async fn a_sending_that_was_broken_off_is_given_back() {
    let room = Room::new(OnceSettings::default());
    let once = room.open();
    let running = first(&once, 1).await;
    // Polled once: its record is queued and will be on the disk.
    assert!(futures_util::FutureExt::now_or_never(running.sending()).is_none());
    drop(running);
    drop(once);
    first(&room.open(), 1).await.unsent();
}

#[tokio::test]
async fn a_client_that_leaves_does_not_take_the_answer_with_it() {
    let room = Room::new(OnceSettings::default());
    let once = room.open();
    let running = first(&once, 1).await;
    running.sending().await.unwrap();
    let (send, response) = slow_response();
    let (finished, ended) = ended();
    let mut passed_on = StoredAnswer::tee(response, running, || Stamp(2_000), finished);
    send.send(part("pla")).await.unwrap();
    passed_on.body_mut().frame().await.unwrap().unwrap();
    drop(passed_on);
    let Repeat::Waiting(waiting) = repeat(&once, 1, NOW).await else { panic!("it runs") };
    send.send(part("ced")).await.unwrap();
    drop(send);
    let Outcome::Done(done) = waiting.await else { panic!("it was answered") };
    assert_eq!((done.at, done.status, done.answer.unwrap().body.as_ref()), (Stamp(2_000), 200, &b"placed"[..]));
    assert_eq!(ended.await.unwrap(), Captured::Whole);
}

#[tokio::test]
async fn what_is_too_large_tells_its_status_at_once_and_goes_on() {
    let room = Room::new(OnceSettings { answer_limit: 10, ..OnceSettings::default() });
    let once = room.open();
    let running = first(&once, 1).await;
    running.sending().await.unwrap();
    let (send, response) = slow_response();
    let (finished, ended) = ended();
    let mut body = StoredAnswer::tee(response, running, || NOW, finished).into_body().into_data_stream();
    send.send(part("x".repeat(11))).await.unwrap();
    body.next().await.unwrap().unwrap();
    let early = done(&once, 1, NOW).await;
    assert_eq!((early.status, early.answer), (200, None));
    send.send(part("the end")).await.unwrap();
    drop(send);
    assert_eq!(body.next().await.unwrap().unwrap(), "the end");
    assert!(body.next().await.is_none());
    assert_eq!(ended.await.unwrap(), Captured::Whole);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_no_answer() {
    let room = Room::new(OnceSettings::default());
    let once = room.open();
    let running = first(&once, 1).await;
    running.sending().await.unwrap();
    let (send, response) = slow_response();
    let (finished, ended) = ended();
    let passed_on = StoredAnswer::tee(response, running, || NOW, finished);
    send.send(part("pla")).await.unwrap();
    send.send(Err(BodyError::Sender)).await.unwrap();
    assert_eq!(passed_on.into_body().collect().await.unwrap_err(), BodyError::Sender);
    assert_eq!(ended.await.unwrap(), Captured::Broken);
    let done = done(&once, 1, NOW).await;
    assert_eq!((done.status, done.answer), (200, None));
}

#[tokio::test(start_paused = true)]
async fn patience_with_a_slow_answer_ends() {
    let room = Room::new(OnceSettings { patience: Duration::from_secs(5), ..OnceSettings::default() });
    let once = room.open();
    let running = first(&once, 1).await;
    let (_send, response) = slow_response();
    let (finished, ended) = ended();
    drop(StoredAnswer::tee(response, running, || NOW, finished));
    assert_eq!(ended.await.unwrap(), Captured::Left);
    assert_eq!(done(&once, 1, NOW).await.answer, None);
}

#[tokio::test]
async fn answers_outlive_a_restart_and_go_in_time_with_their_session_or_for_newer_ones() {
    let room = Room::new(OnceSettings { answers_limit: 1_000, ..OnceSettings::default() });
    for n in 1..=2 {
        let once = room.open();
        let running = first(&once, n).await;
        running.sending().await.unwrap();
        running.answered(Answer::Stored(answer("placed")), NOW);
        kept(&once, n.into()).await;
    }
    let once = room.open();
    assert_eq!(done(&once, 1, NOW).await.answer.unwrap().as_ref(), &answer("placed"));
    let late = NOW.after(room.settings.keep_answers);
    assert_eq!(done(&once, 1, late).await.answer, None, "expired");
    let running = first(&once, 3).await;
    running.sending().await.unwrap();
    let large = "x".repeat(900).leak();
    running.answered(Answer::Stored(answer(large)), NOW);
    kept_bytes(&once, 900).await;
    assert_eq!(done(&once, 1, NOW).await.answer, None, "made room");
    once.forget(LogicalAddress("fd00::2".parse().unwrap())).await.unwrap();
    assert!(done(&once, 3, NOW).await.answer.is_some(), "another's session");
    once.forget(LogicalAddress("fd00::1".parse().unwrap())).await.unwrap();
    assert_eq!(done(&once, 3, NOW).await.answer, None, "its session has ended");
    assert_eq!(once.size(), (3, 0));
}

/// Waits until this many answers (of some 60 bytes each) are stored.
async fn kept(once: &Once, answers: u64) {
    kept_bytes(once, answers * 40).await;
}

async fn kept_bytes(once: &Once, bytes: u64) {
    for _ in 0..500 {
        if once.size().1 >= bytes {
            // Counted when it is handed to the store; it is there a moment later.
            tokio::time::sleep(Duration::from_millis(50)).await;
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the answer was not stored");
}

#[tokio::test]
async fn another_address_never_gets_the_answer_even_under_the_same_name() {
    let room = Room::new(OnceSettings::default());
    let once = room.open();
    let running = first(&once, 1).await;
    running.sending().await.unwrap();
    running.answered(Answer::Stored(answer("placed")), NOW);
    kept(&once, 1).await;
    drop(once);
    let once = room.open();
    match once.claim(ClaimName([1; 32]), about("fd00::2"), NOW).await.unwrap() {
        Claimed::Repeat(Repeat::Done(done)) => assert_eq!(done.answer, None),
        Claimed::Repeat(_) | Claimed::First(_) => panic!("it is done"),
    }
}

#[tokio::test]
async fn waiting_and_claims_are_bounded() {
    let room = Room::new(OnceSettings { waiting: 2, claims_per_address: 2, ..OnceSettings::default() });
    let once = room.open();
    let _running = first(&once, 1).await;
    let one = repeat(&once, 1, NOW).await;
    let _two = repeat(&once, 1, NOW).await;
    assert_eq!(claim(&once, 1, NOW).await.err(), Some(OnceError::TooManyWaiting));
    drop(one);
    repeat(&once, 1, NOW).await;
    let _other = first(&once, 2).await;
    assert_eq!(claim(&once, 3, NOW).await.err(), Some(OnceError::TooManyClaims));
}

#[tokio::test]
async fn claims_and_their_segments_go_when_no_page_can_use_them() {
    let room = Room::new(OnceSettings::default());
    for n in 1..=3 {
        let once = room.open();
        let running = first(&once, n).await;
        running.sending().await.unwrap();
        running.answered(Answer::StatusOnly(204), NOW);
    }
    let segments = || {
        let files = std::fs::read_dir(room.root.path().join("guard/claims")).unwrap();
        files.filter(|file| file.as_ref().unwrap().file_name().to_str().unwrap().starts_with("claims-")).count()
    };
    let once = room.open();
    assert_eq!((once.size().0, segments()), (3, 4), "three of earlier runs and this run's");
    let late = NOW.after(room.settings.keep_claims).after(Duration::from_millis(1));
    once.sweep(late, |_| false).await.unwrap();
    assert_eq!(once.size().0, 0);
    drop(once);
    assert_eq!(segments(), 1);
}

#[tokio::test]
async fn a_wall_clock_that_was_wrong_forgets_no_claim_of_a_living_session() {
    let room = Room::new(OnceSettings::default());
    let give = async |once: &Once, n| {
        let running = first(once, n).await;
        running.sending().await.unwrap();
        running.answered(Answer::StatusOnly(204), NOW);
    };
    let (alice, ahead) = (LogicalAddress("fd00::1".parse().unwrap()), NOW.after(Duration::from_secs(1 << 30)));
    let once = room.open();
    give(&once, 1).await;
    // Ahead while it runs, and right again.
    once.sweep(ahead, |address| address == alice).await.unwrap();
    assert_eq!(done(&once, 1, NOW).await.status, 204);
    drop(once);
    // Ahead at a start, and right again; the files are kept, too.
    let once = room.open();
    give(&once, 2).await;
    once.sweep(ahead, |address| address == alice).await.unwrap();
    drop(once);
    let once = room.open();
    assert_eq!((done(&once, 1, NOW).await.status, done(&once, 2, NOW).await.status), (204, 204));
    // Set back it forgets nothing of anybody.
    once.sweep(Stamp(0), |_| false).await.unwrap();
    assert_eq!(once.size().0, 2);
    once.sweep(ahead, |_| false).await.unwrap();
    assert_eq!(once.size().0, 0, "nobody can show their page");
}

#[tokio::test]
async fn a_damaged_or_missing_segment_stops_everything() {
    let room = Room::new(OnceSettings::default());
    for n in 1..=3 {
        first(&room.open(), n).await.sending().await.unwrap();
    }
    let log = room.root.path().join("guard/claims");
    let second = log.join("claims-0000000000000002.log");
    let good = std::fs::read(&second).unwrap();
    let open = || {
        let store = vestibule_guard::store::open(&room.root.path().join("guard/guard.sqlite")).unwrap();
        Once::open(store, room.settings, OnceKey::new([1; 32])).map(|(once, _)| once.size().0)
    };
    let mut bad = good.clone();
    bad[100] ^= 1;
    std::fs::write(&second, bad).unwrap();
    let Err(OnceError::Store(error)) = open() else { panic!("a claim was lost") };
    assert_eq!(error.kind(), vestibule_store::StoreErrorKind::Corrupt);
    std::fs::remove_file(&second).unwrap();
    assert!(open().is_err(), "a segment is missing");
    std::fs::write(&second, good).unwrap();
    assert_eq!(open(), Ok(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_claims_go_on_in_the_next_segment() {
    let room = Room::new(OnceSettings::default());
    let once = room.open();
    let path = "p".repeat(1_000);
    let give = |n: u16| {
        let (once, about) = (once.clone(), About { path: path.clone(), ..about("fd00::1") });
        async move {
            let mut name = [0; 32];
            name[..2].copy_from_slice(&n.to_be_bytes());
            let Claimed::First(running) = once.claim(ClaimName(name), about, NOW).await.unwrap() else { panic!("{n}") };
            running.sending().await.unwrap();
            running.answered(Answer::StatusOnly(204), NOW);
        }
    };
    for group in 0..25 {
        join_all((0..200).map(|n| give(group * 200 + n))).await;
    }
    drop(once);
    let again = room.open();
    assert_eq!(again.size().0, 5_000);
    assert!(room.root.path().join("guard/claims/claims-0000000000000002.log").exists());
}
