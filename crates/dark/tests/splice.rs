//! The copy loop between two real TCP connections and one real QUIC connection: app ⇄ splice ⇄ QUIC ⇄ splice ⇄ upstream.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Connection, Endpoint, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use vestibule_dark::framed::{FramedError, read_frame, read_frame_within, write_frame};
use vestibule_dark::splice::{SpliceEnd, SpliceOutcome, splice, splice_io};
use vestibule_dark::tls::{self, ClientPins};
use vestibule_proto::entropy::SeededEntropy;
use vestibule_proto::frame::FrameError;
use vestibule_proto::key::SigningKey;

const ALPN: &[u8] = b"vestibule/1";
const SOON: Duration = Duration::from_secs(10);

/// Two ends of one QUIC connection, with the endpoints that carry it.
struct Quic {
    client: Connection,
    server: Connection,
    _endpoints: [Endpoint; 2],
}

async fn quic() -> Quic {
    let (ours, theirs) =
        (SigningKey::random(&mut SeededEntropy::new(1)), SigningKey::random(&mut SeededEntropy::new(2)));
    let server = tls::server_config(&ours, ClientPins::Exact(theirs.spki()), ALPN).unwrap();
    let client = tls::client_config(&theirs, &[ours.spki()], ALPN).unwrap();
    let server = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(server).unwrap()));
    let client = ClientConfig::new(Arc::new(QuicClientConfig::try_from(client).unwrap()));
    let listening = Endpoint::server(server, (Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let dialling = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let connecting = dialling.connect_with(client, listening.local_addr().unwrap(), "gateway").unwrap();
    let (client, server) =
        tokio::join!(async { connecting.await.unwrap() }, async { listening.accept().await.unwrap().await.unwrap() });
    Quic { client, server, _endpoints: [listening, dialling] }
}

/// Two connected TCP sockets on loopback.
async fn tcp() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let connecting = TcpStream::connect(listener.local_addr().unwrap());
    let (one, other) = tokio::join!(connecting, listener.accept());
    (one.unwrap(), other.unwrap().0)
}

/// One tunnelled connection: what the app holds, what the upstream holds, and both copy loops.
struct Tunnelled {
    app: TcpStream,
    upstream: TcpStream,
    at_client: JoinHandle<SpliceEnd>,
    at_gateway: JoinHandle<SpliceEnd>,
}

async fn tunnelled(quic: &Quic) -> Tunnelled {
    let (app, app_side) = tcp().await;
    let (upstream, upstream_side) = tcp().await;
    let (mut send, recv) = quic.client.open_bi().await.unwrap();
    write_frame(&mut send, &7u8).await.unwrap();
    let (gateway_send, mut gateway_recv) = quic.server.accept_bi().await.unwrap();
    assert_eq!(read_frame::<u8>(&mut gateway_recv).await, Ok(7));
    Tunnelled {
        app,
        upstream,
        at_client: tokio::spawn(splice(app_side, send, recv)),
        at_gateway: tokio::spawn(splice(upstream_side, gateway_send, gateway_recv)),
    }
}

fn pattern(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|position| (position as u8).wrapping_mul(31).wrapping_add((position >> 9) as u8 ^ seed)).collect()
}

async fn is_reset(stream: &mut TcpStream) -> bool {
    let mut buffer = [0; 1024];
    loop {
        match timeout(SOON, stream.read(&mut buffer)).await.expect("ends soon") {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == ErrorKind::ConnectionReset,
        }
    }
}

/// Behind its end a reset shows as an error condition alone (on Linux as a broken pipe).
async fn becomes_reset(stream: &TcpStream) -> bool {
    timeout(SOON, stream.ready(Interest::ERROR)).await.expect("a reset comes").unwrap();
    stream.take_error().unwrap().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_pass_both_ways_unchanged_and_are_counted() {
    let quic = quic().await;
    let Tunnelled { app, upstream, at_client, at_gateway } = tunnelled(&quic).await;
    let (up, down) = (pattern(20_000_000, 1), pattern(15_000_001, 2));
    let exchange = |stream: TcpStream, out: Vec<u8>| async move {
        let (mut read, mut write) = stream.into_split();
        let writing = tokio::spawn(async move {
            write.write_all(&out).await.unwrap();
            write.shutdown().await.unwrap();
        });
        let mut got = Vec::new();
        read.read_to_end(&mut got).await.unwrap();
        writing.await.unwrap();
        got
    };
    let (got_down, got_up) = tokio::join!(exchange(app, up.clone()), exchange(upstream, down.clone()));
    assert!(got_up == up && got_down == down);
    let (at_client, at_gateway) = (at_client.await.unwrap(), at_gateway.await.unwrap());
    assert_eq!(at_client, SpliceEnd { sent: 20_000_000, received: 15_000_001, outcome: SpliceOutcome::Finished });
    assert_eq!(at_gateway, SpliceEnd { sent: 15_000_001, received: 20_000_000, outcome: SpliceOutcome::Finished });
}

#[tokio::test]
async fn a_half_close_passes_and_the_other_half_goes_on() {
    let quic = quic().await;
    let mut line = tunnelled(&quic).await;
    line.app.write_all(b"request").await.unwrap();
    line.app.shutdown().await.unwrap();
    let mut request = Vec::new();
    line.upstream.read_to_end(&mut request).await.unwrap();
    assert_eq!(request, b"request");
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        line.upstream.write_all(b"later ").await.unwrap();
    }
    line.upstream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    line.app.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, b"later later later ");
    assert_eq!(line.at_gateway.await.unwrap().outcome, SpliceOutcome::Finished);
}

#[tokio::test]
async fn a_reset_passes_from_either_side() {
    let quic = quic().await;
    let mut line = tunnelled(&quic).await;
    line.upstream.set_zero_linger().unwrap();
    drop(line.upstream);
    assert!(is_reset(&mut line.app).await);
    assert_eq!(line.at_gateway.await.unwrap().outcome, SpliceOutcome::LocalReset);
    assert_eq!(line.at_client.await.unwrap().outcome, SpliceOutcome::PeerReset);

    let mut line = tunnelled(&quic).await;
    line.app.set_zero_linger().unwrap();
    drop(line.app);
    assert!(is_reset(&mut line.upstream).await);
    assert_eq!(line.at_gateway.await.unwrap().outcome, SpliceOutcome::PeerReset);
}

#[tokio::test]
async fn a_reset_passes_after_a_half_close() {
    let quic = quic().await;
    let mut line = tunnelled(&quic).await;
    line.app.shutdown().await.unwrap();
    assert_eq!(line.upstream.read(&mut [0; 8]).await.unwrap(), 0);
    line.app.set_zero_linger().unwrap();
    drop(line.app);
    assert!(becomes_reset(&line.upstream).await);
    assert_eq!(line.at_client.await.unwrap().outcome, SpliceOutcome::LocalReset);
}

#[tokio::test]
async fn a_reset_passes_while_the_other_side_takes_no_data() {
    let quic = quic().await;
    let line = tunnelled(&quic).await;
    let (app_read, mut app_write) = line.app.into_split();
    // The upstream never reads: the gateway's writes into its socket come to a stop.
    let filling = async {
        loop {
            app_write.write_all(&[0; 65536]).await.unwrap();
        }
    };
    timeout(Duration::from_secs(2), filling).await.unwrap_err();
    app_read.as_ref().set_zero_linger().unwrap();
    drop((app_read, app_write));
    let end = timeout(SOON, line.at_gateway).await.expect("the gateway's side ends").unwrap();
    assert_eq!(end.outcome, SpliceOutcome::PeerReset);
}

/// Fills a connection until nothing goes any more.
async fn fill(stream: &mut TcpStream) {
    let filling = async {
        loop {
            stream.write_all(&[0; 65536]).await.unwrap();
        }
    };
    timeout(Duration::from_secs(1), filling).await.unwrap_err();
}

async fn outcome(end: JoinHandle<SpliceEnd>) -> SpliceOutcome {
    timeout(SOON, end).await.expect("ends soon").unwrap().outcome
}

/// The corner where one direction has finished and the other one stands still: nothing of the stream is read then, and nothing
/// is sent that could fail.
#[tokio::test]
async fn a_reset_passes_to_a_side_that_has_finished_and_takes_no_data() {
    let quic = quic().await;
    let mut line = tunnelled(&quic).await;
    line.app.shutdown().await.unwrap();
    assert_eq!(line.upstream.read(&mut [0; 8]).await.unwrap(), 0);
    fill(&mut line.upstream).await;
    line.upstream.set_zero_linger().unwrap();
    drop(line.upstream);
    assert_eq!(outcome(line.at_gateway).await, SpliceOutcome::LocalReset);
    assert_eq!(outcome(line.at_client).await, SpliceOutcome::PeerReset);
    assert!(is_reset(&mut line.app).await);

    let mut line = tunnelled(&quic).await;
    line.upstream.shutdown().await.unwrap();
    assert_eq!(line.app.read(&mut [0; 8]).await.unwrap(), 0);
    fill(&mut line.app).await;
    line.app.set_zero_linger().unwrap();
    drop(line.app);
    assert_eq!(outcome(line.at_client).await, SpliceOutcome::LocalReset);
    assert_eq!(outcome(line.at_gateway).await, SpliceOutcome::PeerReset);
    assert!(is_reset(&mut line.upstream).await);
}

/// A side that has finished hears of the other's reset when it stands idle too.
#[tokio::test]
async fn a_reset_passes_to_a_side_that_has_finished_and_waits() {
    let quic = quic().await;
    for from_app in [true, false] {
        let line = tunnelled(&quic).await;
        let (mut finished, mut resets) = if from_app { (line.upstream, line.app) } else { (line.app, line.upstream) };
        finished.shutdown().await.unwrap();
        assert_eq!(resets.read(&mut [0; 8]).await.unwrap(), 0);
        resets.write_all(b"half a ").await.unwrap();
        finished.read_exact(&mut [0; 7]).await.unwrap();
        resets.set_zero_linger().unwrap();
        drop(resets);
        assert!(is_reset(&mut finished).await);
        let (near, far) = if from_app { (line.at_client, line.at_gateway) } else { (line.at_gateway, line.at_client) };
        assert_eq!((outcome(near).await, outcome(far).await), (SpliceOutcome::LocalReset, SpliceOutcome::PeerReset));
    }
}

#[tokio::test]
async fn a_cut_is_never_taken_for_an_end() {
    let quic = quic().await;
    let mut line = tunnelled(&quic).await;
    line.at_gateway.abort();
    assert!(is_reset(&mut line.app).await);
    assert!(is_reset(&mut line.upstream).await);

    let mut line = tunnelled(&quic).await;
    quic.server.close(3u32.into(), b"");
    assert!(is_reset(&mut line.app).await);
    assert!(is_reset(&mut line.upstream).await);
    assert_eq!(line.at_gateway.await.unwrap().outcome, SpliceOutcome::ConnectionLost);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_blocks_neither_its_own_other_half_nor_another_stream() {
    let quic = quic().await;
    let stuck = tunnelled(&quic).await;
    let (mut upstream_read, mut upstream_write) = stuck.upstream.into_split();
    // The app of this one never reads.
    let filled = tokio::spawn(async move {
        let mut written = 0u64;
        let filling = async {
            loop {
                upstream_write.write_all(&[0; 65536]).await.unwrap();
                written += 65536;
            }
        };
        timeout(Duration::from_secs(2), filling).await.unwrap_err();
        written
    });
    let filled = filled.await.unwrap();
    assert!(filled < 64 << 20, "what nobody reads is bounded: {filled} bytes");

    let (_app_read, mut app_write) = stuck.app.into_split();
    app_write.write_all(b"still here").await.unwrap();
    let mut word = [0; 10];
    timeout(SOON, upstream_read.read_exact(&mut word)).await.expect("the other half goes on").unwrap();

    let mut other = tunnelled(&quic).await;
    let sent = pattern(1_000_000, 3);
    let writing = async {
        other.upstream.write_all(&sent).await.unwrap();
        other.upstream.shutdown().await.unwrap();
    };
    let mut got = Vec::new();
    let both = async { tokio::join!(writing, other.app.read_to_end(&mut got)) };
    timeout(SOON, both).await.expect("the other stream goes on").1.unwrap();
    assert!(got == sent);
}

#[tokio::test]
async fn standard_input_and_output_are_spliced_too() {
    let quic = quic().await;
    let (mut upstream, upstream_side) = tcp().await;
    let (mut send, recv) = quic.client.open_bi().await.unwrap();
    write_frame(&mut send, &7u8).await.unwrap();
    let (gateway_send, mut gateway_recv) = quic.server.accept_bi().await.unwrap();
    read_frame::<u8>(&mut gateway_recv).await.unwrap();
    let at_gateway = tokio::spawn(splice(upstream_side, gateway_send, gateway_recv));
    let (mut out, stdout) = tokio::io::duplex(100);
    let stdin = std::io::Cursor::new(pattern(100_000, 4));
    let at_client = tokio::spawn(splice_io(stdin, stdout, send, recv));
    let mut got = Vec::new();
    upstream.read_to_end(&mut got).await.unwrap();
    assert!(got == pattern(100_000, 4));
    upstream.write_all(&got).await.unwrap();
    upstream.shutdown().await.unwrap();
    let mut back = Vec::new();
    out.read_to_end(&mut back).await.unwrap();
    assert!(back == got);
    assert_eq!(at_client.await.unwrap().outcome, SpliceOutcome::Finished);
    assert_eq!(at_gateway.await.unwrap().outcome, SpliceOutcome::Finished);
}

#[tokio::test]
async fn frames_are_bounded_and_their_ends_are_told_apart() {
    let quic = quic().await;
    let (mut send, _) = quic.client.open_bi().await.unwrap();
    write_frame(&mut send, &"orders".to_owned()).await.unwrap();
    write_frame(&mut send, &vec![0u8; 2_000]).await.unwrap();
    let (_, mut recv) = quic.server.accept_bi().await.unwrap();
    assert_eq!(read_frame::<String>(&mut recv).await.unwrap(), "orders");
    let refused = read_frame_within::<Vec<u8>>(&mut recv, 1_000).await;
    assert_eq!(refused, Err(FramedError::Frame(FrameError::TooLarge)));

    let (mut send, _) = quic.client.open_bi().await.unwrap();
    write_frame(&mut send, &1u8).await.unwrap();
    send.finish().unwrap();
    let (_, mut recv) = quic.server.accept_bi().await.unwrap();
    read_frame::<u8>(&mut recv).await.unwrap();
    assert_eq!(read_frame::<u8>(&mut recv).await, Err(FramedError::Ended));

    let (mut send, _) = quic.client.open_bi().await.unwrap();
    send.write_all(&[0, 0, 0, 9, 1]).await.unwrap();
    send.finish().unwrap();
    let (_, mut recv) = quic.server.accept_bi().await.unwrap();
    assert_eq!(read_frame::<u8>(&mut recv).await, Err(FramedError::Cut));
}
