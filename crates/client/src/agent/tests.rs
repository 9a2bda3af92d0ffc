//! An agent and its callers over a real socket, with a stand-in for the session.

use super::*;
use crate::fake::{Behaviour, FakeTunnel};
use crate::home::{CredentialFile, Home};
use crate::neighbours::Neighbours;
use crate::tunnel::Tunnel;
use bytes::Bytes;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::net::{TcpStream, UnixStream};
use vestibule_dark::datagrams::LocalSide;
use vestibule_proto::id::{ServiceName, UserName};
use vestibule_proto::session::Target;

#[derive(Clone)]
struct FakeApparatus {
    tunnel: FakeTunnel,
    signed_off: Arc<AtomicBool>,
}

impl Tunnel for FakeApparatus {
    type Stream = <FakeTunnel as Tunnel>::Stream;

    fn services(&self) -> Arc<[ServiceInfo]> {
        self.tunnel.services()
    }

    async fn open(&self, target: Target) -> Result<Self::Stream, ClientError> {
        self.tunnel.open(target).await
    }

    async fn carry(&self, local: TcpStream, head: Bytes, stream: Self::Stream) {
        self.tunnel.carry(local, head, stream).await;
    }

    async fn carry_io<I, O>(&self, stream: Self::Stream, input: I, output: O) -> std::io::Result<(u64, u64)>
    where
        I: AsyncRead + Send + Sync + Unpin,
        O: AsyncWrite + Send + Unpin,
    {
        self.tunnel.carry_io(stream, input, output).await
    }

    async fn carry_datagrams<L: LocalSide>(&self, service: ServiceName, local: &L) -> Result<(), ClientError> {
        self.tunnel.carry_datagrams(service, local).await
    }
}

impl Apparatus for FakeApparatus {
    fn status(&self) -> Status {
        Status {
            process: 7,
            user: "alice".to_owned(),
            gateway: "home".to_owned(),
            session: SessionId::new([7; 16]),
            state: SessionState::Connected,
            address: Some("192.0.2.1:443".parse().unwrap()),
            expires_in: Duration::from_secs(3600),
            idle_limit: Duration::from_secs(1800),
            up_for: Duration::from_secs(1),
            resumptions: 2,
            moves: 3,
            streams: 3,
            sent: 4,
            received: 5,
            transport: Some("quic".to_owned()),
            round_trip: Some(Duration::from_millis(6)),
            timings: Timings::default(),
            listening: Vec::new(),
            turned_away: 0,
            needs_raise: true,
            direct: DirectStatus::default(),
        }
    }

    fn device(&self) -> DeviceInfo {
        DeviceInfo {
            user: "alice".to_owned(),
            gateway: "home".to_owned(),
            device: DeviceId::new([1; 16]),
            device_name: "laptop".to_owned(),
            enrolled: Stamp::from_millis(1),
            controllers: vec!["c.example:1".to_owned()],
        }
    }

    async fn sign_off(&self) -> Result<(), ClientError> {
        self.signed_off.store(true, Ordering::Relaxed);
        Ok(())
    }
}

struct Bench {
    _directory: tempfile::TempDir,
    file: CredentialFile,
    apparatus: FakeApparatus,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = Home::new(directory.path()).file(&UserName::parse("alice").unwrap(), "home");
        let apparatus = FakeApparatus { tunnel: FakeTunnel::new(), signed_off: Arc::default() };
        Self { _directory: directory, file, apparatus }
    }

    async fn up(&self) -> (tokio::task::JoinHandle<()>, RunningUp) {
        let agent = Agent::bind(&self.file).unwrap();
        let listening = vec![Listening { what: "socks".to_owned(), address: "127.0.0.1:1080".parse().unwrap() }];
        let serving = tokio::spawn(agent.serve(self.apparatus.clone(), listening, Neighbours::refused()));
        (serving, RunningUp::find(&self.file).await.unwrap())
    }
}

#[tokio::test]
async fn a_running_up_answers() {
    let bench = Bench::new();
    let (_serving, up) = bench.up().await;
    let mode = std::fs::metadata(bench.file.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let status = up.status().await.unwrap();
    assert_eq!((status.user.as_str(), status.streams, status.listening.len()), ("alice", 3, 1));
    assert_eq!(up.services().await.unwrap().len(), 4);
    assert_eq!(up.device().await.unwrap(), bench.apparatus.device());
    assert!(!bench.apparatus.signed_off.load(Ordering::Relaxed));
    up.sign_off().await.unwrap();
    assert!(bench.apparatus.signed_off.load(Ordering::Relaxed));
}

#[tokio::test]
async fn nobody_there_is_told() {
    let bench = Bench::new();
    assert_eq!(RunningUp::find(&bench.file).await.unwrap_err(), ClientError::NotRunning);
    // A dead process leaves its socket.
    drop(std::os::unix::net::UnixListener::bind(bench.file.socket()).unwrap());
    assert_eq!(RunningUp::find(&bench.file).await.unwrap_err(), ClientError::NotRunning);
    let (serving, up) = bench.up().await;
    serving.abort();
    let _ = serving.await;
    assert_eq!(up.status().await.unwrap_err(), ClientError::NotRunning);
    assert!(!bench.file.socket().exists());
}

#[tokio::test]
async fn only_one_can_be_up() {
    let bench = Bench::new();
    let (serving, _up) = bench.up().await;
    assert_eq!(Agent::bind(&bench.file).err(), Some(ClientError::AlreadyRunning));
    serving.abort();
    let _ = serving.await;
    Agent::bind(&bench.file).unwrap();
}

#[tokio::test]
async fn pipes_go_through_with_their_ends() {
    let bench = Bench::new();
    let (_serving, up) = bench.up().await;
    let (mut keyboard, input) = tokio::io::duplex(64);
    let (output, mut screen) = tokio::io::duplex(64);
    let piping = tokio::spawn(async move { up.pipe("echo.localhost:7", input, output).await });
    keyboard.write_all(b"hello").await.unwrap();
    let mut seen = [0; 5];
    screen.read_exact(&mut seen).await.unwrap();
    keyboard.shutdown().await.unwrap();
    let mut rest = Vec::new();
    screen.read_to_end(&mut rest).await.unwrap();
    let piped = piping.await.unwrap().unwrap();
    assert_eq!((seen, piped.sent, piped.received, rest.len()), (*b"hello", 5, 5, 0));
    assert!(piped.times.first_byte.unwrap() >= piped.times.open);
}

#[tokio::test]
async fn large_pipes_arrive_whole() {
    let bench = Bench::new();
    let (_serving, up) = bench.up().await;
    let sent: Vec<u8> = (0..5_000_000u32).map(|byte| byte as u8).collect();
    let (output, mut screen) = tokio::io::duplex(1 << 16);
    let expected = sent.clone();
    let piping = tokio::spawn(async move { up.pipe("echo", &sent[..], output).await });
    let mut seen = Vec::new();
    screen.read_to_end(&mut seen).await.unwrap();
    assert!(seen == expected);
    assert_eq!(piping.await.unwrap().unwrap().sent, 5_000_000);
}

#[tokio::test]
async fn why_a_pipe_can_not_be_opened_is_told() {
    let bench = Bench::new();
    let (_serving, up) = bench.up().await;
    let error = ClientError::UpstreamAway { service: "db".to_owned() };
    bench.apparatus.tunnel.set("db", Behaviour::Fails(error.clone()));
    assert_eq!(up.pipe("db", tokio::io::empty(), tokio::io::sink()).await, Err(error));
    let refused = up.pipe("example.org:1", tokio::io::empty(), tokio::io::sink()).await;
    assert_eq!(refused, Err(ClientError::NoService { asked: "example.org:1".to_owned() }));
}

#[tokio::test]
async fn what_is_no_request_is_answered_or_dropped_and_others_are_served() {
    let bench = Bench::new();
    let (_serving, up) = bench.up().await;
    for junk in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0, 0, 0, 2, 9, 9], &[255; 8], &[]] {
        let mut stream = UnixStream::connect(bench.file.socket()).await.unwrap();
        stream.write_all(junk).await.unwrap();
        stream.shutdown().await.unwrap();
        let answer: Result<Answer, _> = read(&mut stream).await;
        assert!(matches!(answer, Ok(Answer::Failed(ClientError::Unexpected { .. }))), "{junk:?}: {answer:?}");
    }
    up.status().await.unwrap();
}

#[tokio::test]
async fn a_directory_with_a_long_path_works() {
    let directory = tempfile::tempdir().unwrap();
    let home = Home::new(directory.path().join("d".repeat(150)));
    home.prepare().unwrap();
    let file = home.file(&UserName::parse("alice").unwrap(), "home");
    let bench = Bench { _directory: directory, file, ..Bench::new() };
    let (_serving, up) = bench.up().await;
    up.status().await.unwrap();
}

#[test]
fn the_same_user_and_root_are_welcome() {
    let own = rustix::process::geteuid().as_raw();
    assert!(place::is_welcome(own) && place::is_welcome(0));
    assert!(!place::is_welcome(own + 1));
}
