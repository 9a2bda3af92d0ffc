//! To a stranger there is nothing there: whatever is sent, not one byte comes back.
//!
//! Silence is not waited for: each test waits until the endpoint has counted every datagram sent, and then nothing must have
//! left the endpoint and nothing must be at the stranger's socket.
#![allow(clippy::unwrap_used, reason = "a panic in a test is the report")]

mod support;

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use support::{AT_LAST, Both, Gateway, HERE, Relay, client_key, dial_with, long_header, received_at, stranger, until};
use vestibule_dark::tls::ALPN_SESSION;
use vestibule_dark::{CountersSnapshot, KnockFilter, QUEUE_LIMIT, Role, TransportKind, dial, transport};
use vestibule_door::Door;
use vestibule_proto::header::MESSAGE_LEN;
use vestibule_proto::ticket::Tag;

/// Takes knocks that end with 1.
struct EndsWithOne;

impl KnockFilter for EndsWithOne {
    fn passes(&self, datagram: &[u8]) -> bool {
        assert_eq!(datagram.len(), MESSAGE_LEN);
        datagram.ends_with(&[1])
    }
}

fn controller(kernel_filter: bool) -> Gateway {
    Gateway::bind_at(HERE, Role::Controller(Arc::new(EndsWithOne)), kernel_filter)
}

fn knock(last: u8) -> Vec<u8> {
    let mut knock = vec![0; MESSAGE_LEN];
    knock[..2].copy_from_slice(&[1, 1]);
    knock[MESSAGE_LEN - 1] = last;
    knock
}

/// Datagrams of every kind that no endpoint of ours sends.
fn foreign() -> Vec<Vec<u8>> {
    let random: Vec<u8> = (0..1500u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    vec![
        vec![],
        vec![0],
        random[..40].to_vec(),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        // Bait for version negotiation: a version that is reserved for it, an unknown one, version 2, a draft.
        long_header(0xc0, 0x1a2a_3a4a, &[1; 20], 1200),
        long_header(0xc0, 0xdead_beef, &[1; 20], 1200),
        long_header(0xc0, 0x6b33_43cf, &[1; 8], 1200),
        long_header(0xc0, 0xff00_001d, &[1; 20], 1400),
        // A version negotiation packet itself, and a Retry.
        long_header(0xc0, 0, &[1; 8], 200),
        long_header(0xf0, 1, &[1; 8], 200),
        // Early data without a beginning.
        long_header(0xd0, 1, &[1; 20], 1200),
        // An Initial that is too small, one whose connection id is, one whose id is none.
        long_header(0xc0, 1, &[1; 20], 1199),
        long_header(0xc0, 1, &[1; 7], 1200),
        long_header(0xc0, 1, &[], 1200),
        // Cut inside the header.
        long_header(0xc0, 1, &[1; 20], 1200)[..20].to_vec(),
        // Knocks of another length or version, other messages of ours, a tag datagram.
        knock(1)[..1199].to_vec(),
        [knock(1), vec![0]].concat(),
        [&[1, 2], &knock(1)[2..]].concat(),
        [&[2, 1], &knock(1)[2..]].concat(),
        [&[4, 1], &[7; 61][..]].concat(),
        // As large as a datagram may be.
        vec![0x80; 65_507],
    ]
}

/// Datagrams that look like QUIC's and are nobody's.
fn shaped(tag: Tag) -> Vec<Vec<u8>> {
    let mut nearly = *tag.as_bytes();
    nearly[19] ^= 1;
    vec![
        long_header(0xc3, 1, &[1; 20], 1200),
        long_header(0xc3, 1, &nearly, 1200),
        long_header(0xc3, 1, &[1; 8], 1200),
        long_header(0xe3, 1, &[1; 8], 1200),
        vec![0x40; 40],
        vec![0x7f; 1200],
        vec![0x55; 65_507],
    ]
}

fn send_all(from: &UdpSocket, to: SocketAddr, datagrams: &[Vec<u8>]) {
    for datagram in datagrams {
        from.send_to(datagram, to).unwrap();
    }
}

/// Nothing has been said to anybody.
fn assert_silent(gateway: &Gateway, strangers: &[&UdpSocket]) {
    let counters = gateway.counters();
    assert_eq!((counters.sent, counters.blocked_out, counters.send_failed), (0, 0, 0), "{counters:?}");
    for stranger in strangers {
        assert_eq!(received_at(stranger), Vec::<Vec<u8>>::new());
    }
}

#[tokio::test]
async fn t01_nothing_that_no_endpoint_of_ours_sends_is_answered() {
    for gateway in [Gateway::bind_at(HERE, Role::Gateway, false), controller(false)] {
        let stranger = stranger();
        gateway.admit();
        let foreign = foreign();
        send_all(&stranger, gateway.address, &foreign);
        let all = foreign.len() as u64;
        gateway.until("all came in", |counters| counters.received == all).await;
        assert_eq!(gateway.counters().foreign, all);
        assert_silent(&gateway, &[&stranger]);
    }
}

#[tokio::test]
async fn nothing_that_only_looks_like_ours_is_answered() {
    for kernel_filter in [false, true] {
        let gateway = Gateway::bind_at(HERE, Role::Gateway, kernel_filter);
        let stranger = stranger();
        let [tag, ..] = gateway.admit();
        let shaped = shaped(tag);
        send_all(&stranger, gateway.address, &shaped);
        let all = shaped.len() as u64;
        gateway.until("all came in", |counters| counters.received == all).await;
        assert_eq!(gateway.counters().quic_refused, all);
        assert_silent(&gateway, &[&stranger]);
    }
}

#[tokio::test]
async fn t01_knocks_are_counted_queued_or_refused_and_never_answered() {
    let mut controller = controller(true);
    let (one, other) = (stranger(), stranger());
    send_all(&one, controller.address, &[knock(0), knock(1), knock(2)]);
    send_all(&other, controller.address, &[knock(1)]);
    controller.until("all came in", |counters| counters.received == 4).await;
    let counters = controller.counters();
    assert_eq!((counters.knocks_passed, counters.knocks_refused, counters.queue_full), (2, 2, 0));
    for expected in [&one, &other] {
        let knock = controller.knocks.recv().await.unwrap();
        assert_eq!(knock.from, expected.local_addr().unwrap());
        assert_eq!(knock.bytes.as_slice(), self::knock(1));
    }
    assert_silent(&controller, &[&one, &other]);
}

#[tokio::test]
async fn a_gateway_takes_no_knocks() {
    let gateway = Gateway::bind_at(HERE, Role::Gateway, false);
    let stranger = stranger();
    send_all(&stranger, gateway.address, &[knock(1)]);
    gateway.until("it came in", |counters| counters.received == 1).await;
    assert_eq!(gateway.counters().knocks_refused, 1);
    assert_silent(&gateway, &[&stranger]);
}

/// The counters of a kind add up to what was received.
#[tokio::test]
async fn every_datagram_is_counted_once() {
    let controller = controller(false);
    let stranger = stranger();
    let [tag, ..] = controller.admit();
    let mut all = foreign();
    all.extend(shaped(tag));
    all.extend([knock(0), knock(1)]);
    send_all(&stranger, controller.address, &all);
    controller.until("all came in", |counters| counters.received == all.len() as u64).await;
    let c = controller.counters();
    let sum = c.foreign + c.knocks_passed + c.knocks_refused + c.queue_full + c.quic_passed + c.quic_refused;
    assert_eq!(sum, c.received, "{c:?}");
    assert_eq!((c.knocks_passed, c.knocks_refused), (1, 1));
}

#[tokio::test]
async fn the_queue_of_knocks_is_bounded_under_a_flood() {
    let mut controller = controller(true);
    let stranger = stranger();
    let sent = (QUEUE_LIMIT + 1000) as u64;
    for n in 1..=sent {
        stranger.send_to(&knock(1), controller.address).unwrap();
        if n % 64 == 0 {
            // So that the kernel's buffer never overflows.
            controller.until("it keeps up", |counters| counters.received + 64 >= n).await;
        }
    }
    controller.until("all came in", |counters| counters.received == sent).await;
    let counters = controller.counters();
    assert_eq!((counters.knocks_passed, counters.queue_full), (QUEUE_LIMIT as u64, 1000));
    // With room again it goes on.
    controller.knocks.recv().await.unwrap();
    stranger.send_to(&knock(1), controller.address).unwrap();
    controller.until("one more", |counters| counters.knocks_passed == QUEUE_LIMIT as u64 + 1).await;
    assert_silent(&controller, &[&stranger]);
}

/// A stranger floods the endpoint, one thread has to serve it and everything else: other tasks run, clients come in.
#[tokio::test(flavor = "current_thread")]
async fn a_flood_holds_nobody_up() {
    let gateway = Gateway::bind();
    let [tag, ..] = gateway.admit();
    let over = Arc::new(AtomicBool::new(false));
    let flood = std::thread::spawn({
        let (over, to) = (over.clone(), gateway.address);
        move || {
            let (stranger, junk) = (stranger(), [vec![0x40; 60], long_header(0xc3, 1, &[1; 20], 1200)]);
            while !over.load(Ordering::Relaxed) {
                // In bursts, with room for the kernel to take others' datagrams in between.
                (0..100).for_each(|_| send_all(&stranger, to, &junk));
                std::thread::sleep(Duration::from_millis(1));
            }
            received_at(&stranger)
        }
    });
    gateway.until("the flood has begun", |counters| counters.quic_refused > 1000).await;
    let both = gateway.connected(tag).await;
    for _ in 0..20 {
        both.echoes(b"through the flood").await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    over.store(true, Ordering::Relaxed);
    assert_eq!(flood.join().unwrap(), Vec::<Vec<u8>>::new());
    assert_eq!(gateway.counters().blocked_out, 0);
}

/// Whatever the kernel's filter drops never comes up; what is ours does.
#[tokio::test]
async fn the_kernel_drops_what_cannot_be_ours() {
    for (gateway, takes_knocks) in [(Gateway::bind_at(HERE, Role::Gateway, true), false), (controller(true), true)] {
        let stranger = stranger();
        send_all(&stranger, gateway.address, &foreign());
        send_all(&stranger, gateway.address, &[knock(0)]);
        // Loopback keeps the order: when this one is here, the others have been dropped.
        send_all(&stranger, gateway.address, &[vec![0x40; 40]]);
        gateway.until("the last came in", |counters| counters.quic_refused == 1).await;
        let counters = gateway.counters();
        assert_eq!(counters.knocks_refused, u64::from(takes_knocks));
        assert_eq!(counters.received, 1 + u64::from(takes_knocks), "{counters:?}");
        assert_silent(&gateway, &[&stranger]);
    }
}

/// A connection through a relay, so that everything of it is recorded.
async fn recorded(gateway: &Gateway) -> (Relay, Both, Tag) {
    let [tag, ..] = gateway.admit();
    let relay = Relay::to(gateway.address).await;
    let key = client_key();
    let (dialled, accepted) = tokio::join!(dial_with(tag, relay.address), gateway.accept_one(&key));
    let (endpoint, client) = dialled.unwrap();
    let both = Both { endpoint, client, server: accepted.unwrap() };
    both.echoes(&vec![7; 20_000]).await;
    (relay, both, tag)
}

#[tokio::test]
async fn t05_a_spent_tag_is_worth_nothing_elsewhere() {
    let gateway = Gateway::bind();
    let (relay, both, tag) = recorded(&gateway).await;
    let stranger = stranger();
    let first_packets: Vec<_> = relay.to_gateway.lock().unwrap().iter().take(2).cloned().collect();
    assert_eq!(&first_packets[0][6..26], tag.as_bytes());
    let before = gateway.counters();
    send_all(&stranger, gateway.address, &first_packets);
    gateway.until("both came in", |counters| counters.quic_refused == before.quic_refused + 2).await;
    assert_eq!(received_at(&stranger), Vec::<Vec<u8>>::new());
    assert_eq!(gateway.counters().contacts, 1);
    both.echoes(b"the client didn't notice").await;
}

#[tokio::test]
async fn t03_a_recording_of_a_live_connection_is_not_answered_elsewhere() {
    let gateway = Gateway::bind();
    let (relay, both, _) = recorded(&gateway).await;
    let stranger = stranger();
    let recording = relay.to_gateway.lock().unwrap().clone();
    let before = gateway.counters();
    for datagram in &recording {
        send_all(&stranger, gateway.address, std::slice::from_ref(datagram));
    }
    let all = recording.len() as u64;
    gateway.until("all came in", |counters| counters.quic_refused >= before.quic_refused + all).await;
    assert_eq!(received_at(&stranger), Vec::<Vec<u8>>::new());
    assert_eq!(gateway.counters().blocked_out, 0);
    both.echoes(b"the client didn't notice").await;
}

#[tokio::test]
async fn t03_a_recording_of_a_closed_connection_is_not_answered_anywhere() {
    let gateway = Gateway::bind();
    let (relay, both, _) = recorded(&gateway).await;
    both.client.close(0u32.into(), b"");
    both.server.closed().await;
    drop(both);
    until("the source is a stranger", || gateway.door.live() == 0).await;
    let recording = relay.to_gateway.lock().unwrap().clone();
    assert!(recording.len() > 10);
    let (sent, told) = (gateway.counters().sent, relay.to_client.lock().unwrap().len());
    let stranger = stranger();
    for round in 1..=2 {
        let before = gateway.counters().quic_refused;
        for datagram in &recording {
            // Within three seconds of its first use the tag is still bound to this source; but nobody holds the source.
            relay.replay(datagram).await;
            stranger.send_to(datagram, gateway.address).unwrap();
        }
        let all = 2 * recording.len() as u64;
        gateway.until("all came in", |counters| counters.quic_refused >= before + all).await;
        let counters = gateway.counters();
        assert_eq!((counters.sent, counters.blocked_out, counters.contacts), (sent, 0, 1), "round {round}");
        assert_eq!(relay.to_client.lock().unwrap().len(), told);
        assert_eq!(received_at(&stranger), Vec::<Vec<u8>>::new());
    }
}

/// The counters once nothing comes in or goes out any more: a connection searches for its path's datagram size at first.
async fn at_rest(gateway: &Gateway) -> CountersSnapshot {
    let mut before = gateway.counters();
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = gateway.counters();
        if now == before {
            return now;
        }
        before = now;
    }
}

/// Who shares a live client's address and port can put datagrams of his own into its path. They get the client no answer that
/// it doesn't get anyway, and end nothing.
#[tokio::test]
async fn junk_from_a_live_source_is_not_answered() {
    let gateway = Gateway::bind_at(HERE, Role::Gateway, false);
    let (relay, both, tag) = recorded(&gateway).await;
    let before = at_rest(&gateway).await;
    let told = relay.to_client.lock().unwrap().len();
    let mut junk = foreign();
    junk.extend(shaped(tag));
    // A first packet of this very connection again, and one with its tag that was never sent.
    junk.push(relay.to_gateway.lock().unwrap()[0].clone());
    junk.push(long_header(0xc3, 1, tag.as_bytes(), 1200));
    for datagram in &junk {
        relay.replay(datagram).await;
    }
    let all = junk.len() as u64;
    gateway.until("all came in", |counters| counters.received >= before.received + all).await;
    // Time for quinn to look at what passed the guard.
    let after = at_rest(&gateway).await;
    assert_eq!((after.sent, after.contacts, after.blocked_out), (before.sent, 1, 0));
    assert_eq!(relay.to_client.lock().unwrap().len(), told);
    both.echoes(b"the client didn't notice").await;
}

/// The client's side: a peer that answers with anything but the handshake makes it say nothing but its first packets.
#[tokio::test]
async fn a_dialling_endpoint_is_silent_too() {
    let peer = stranger();
    let tag = Tag::new([5; 20]);
    let (client, address) = (client_key(), peer.local_addr().unwrap());
    let pins = [client.spki()];
    let dialling = tokio::spawn(async move {
        dial(HERE, address, tag, &client_key(), &pins, ALPN_SESSION, transport(TransportKind::Session))
            .await
            .map(|_| ())
    });
    let mut buffer = [0; 2000];
    let start = Instant::now();
    let from = loop {
        match peer.recv_from(&mut buffer) {
            Ok((_, from)) => break from,
            Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
        assert!(start.elapsed() < AT_LAST);
    };
    let mut junk = foreign();
    junk.extend(shaped(tag));
    send_all(&peer, from, &junk);
    // Somebody else, to whom the port is one that nobody uses.
    send_all(&stranger(), from, &junk);
    tokio::time::sleep(Duration::from_millis(800)).await;
    for datagram in received_at(&peer) {
        assert_eq!((datagram[0] & 0xf0, datagram[5], &datagram[6..26]), (0xc0, 20, tag.as_bytes().as_slice()));
    }
    assert!(!dialling.is_finished(), "junk does not end a dial");
    dialling.abort();
}

/// An answer of our own leaves from the address that the knock came to, whatever the socket is bound to.
#[tokio::test]
async fn guidance_leaves_from_where_the_knock_arrived() {
    for (bound, knocked_at) in [("0.0.0.0:0", "127.0.0.5"), ("[::]:0", "127.0.0.6"), ("127.0.0.1:0", "127.0.0.1")] {
        let role = Role::Controller(Arc::new(EndsWithOne));
        let mut controller = Gateway::bind_at(bound.parse().unwrap(), role, true);
        let to = SocketAddr::new(knocked_at.parse().unwrap(), controller.address.port());
        let client = stranger();
        client.send_to(&knock(1), to).unwrap();
        let knock = controller.knocks.recv().await.unwrap();
        controller.dark.send(knock.from, &[2; MESSAGE_LEN]).unwrap();
        let mut buffer = [0; 2000];
        let start = Instant::now();
        let (len, from) = loop {
            match client.recv_from(&mut buffer) {
                Ok(received) => break received,
                Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
            }
            assert!(start.elapsed() < AT_LAST);
        };
        assert_eq!((&buffer[..len], from), ([2; MESSAGE_LEN].as_slice(), to), "bound to {bound}");
    }
}
