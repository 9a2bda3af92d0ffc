//! T16: a controller in the attacker's hands. It has a gateway's link, every key of a controller, and whatever devices
//! send through it. `proto`'s simulation tries any sequence of its deeds; here they go over sockets to a real gateway.

use std::time::Duration;

use vestibule_dark::framed::{read_frame, write_frame};
use vestibule_gateway::admin::{self, DeviceRequest, Request, SessionRequest, UserRequest};
use vestibule_gateway::directory::AuditKind;
use vestibule_proto::entropy::SystemEntropy;
use vestibule_proto::id::TicketId;
use vestibule_proto::inner::{I1_LEN, RefusalCode};
use vestibule_proto::key::{PrivateKey, Psk, Secret, SigningKey};
use vestibule_proto::link::Answer;
use vestibule_proto::session::{ClientHello, GatewayHello, SESSION_VERSION, Wanted};
use vestibule_proto::ticket::Ticket;

use super::{SILENCE, Stranger, comes_in, copy, first_packet, random_tag};
use crate::admissions::{Bare, refusal, ticket};
use crate::common::bare::{Admit, sealed};

async fn ask(bare: &Bare, request: Request) -> admin::Answer {
    bare.gateway().execute(request).await.unwrap()
}

/// Tries that are counted against the devices, all together.
async fn tries(bare: &Bare) -> u64 {
    let admin::Answer::Devices(devices) = ask(bare, Request::Device(DeviceRequest::List { user: None })).await else {
        panic!("no list")
    };
    devices.iter().map(|device| u64::from(device.tries)).sum()
}

/// The attacker tells the gateway his own address as the knock's, and has every byte that passed: none of them is a tag.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t16_a_door_opens_to_the_tags_bearer_alone() {
    let bare = Bare::new(1).await;
    let (device, stranger) = (&bare.devices[0], Stranger::new());
    let (admit, mut await_ready) = sealed(&device.keys, Duration::ZERO);
    let admit = Admit { source: stranger.0.local_addr().unwrap(), ..admit };
    let answer = bare.admit(&admit).await;
    let Answer::Ready { inner, .. } = &answer else { panic!("not ready") };
    let at = bare.settings.listen[0];
    for bytes in inner.windows(20).chain(admit.inner.windows(20)) {
        stranger.send(at, &first_packet(bytes));
    }
    // What the keys that it has would make of what it saw.
    let own = SigningKey::random(&mut SystemEntropy);
    let pins = [bare.pin()];
    for at_byte in [0, 32, 64] {
        let secret = Secret::new(inner[at_byte..at_byte + 32].try_into().unwrap());
        let id = TicketId::new(inner[32..40].try_into().unwrap());
        let tag = Ticket::derive([0; 32], &secret, id).tag(0);
        assert!(!comes_in(at, tag, &own, &pins).await);
    }
    assert_eq!(stranger.heard(), Vec::<Vec<u8>>::new());
    assert_eq!(bare.counter("door.admitted").await, 1, "the door is the device's, as before");
    assert!(bare.lets_in(device, &ticket(&answer, &mut await_ready)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t16_answers_swapped_between_devices_lead_nowhere() {
    let bare = Bare::new(2).await;
    let [(first, mut await_first), (second, mut await_second)] =
        [0, 1].map(|number| sealed(&bare.devices[number].keys, Duration::ZERO));
    let (first, second) = (bare.admit(&first).await, bare.admit(&second).await);
    let (Answer::Ready { inner: of_first, .. }, Answer::Ready { inner: of_second, .. }) = (&first, &second) else {
        panic!("not ready")
    };
    assert!(await_first.open_ready(of_second).is_err());
    assert!(await_second.open_ready(of_first).is_err());
    // And nothing of it has spoilt the right ones.
    assert!(bare.lets_in(&bare.devices[0], &ticket(&first, &mut await_first)).await);
    assert!(bare.lets_in(&bare.devices[1], &ticket(&second, &mut await_second)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t16_a_row_that_is_kept_after_its_revocation_is_refused() {
    let bare = Bare::new(2).await;
    ask(&bare, Request::User(UserRequest::Suspend { name: "user0".to_owned() })).await;
    ask(&bare, Request::User(UserRequest::Remove { name: "user1".to_owned() })).await;
    let (admit, _) = sealed(&bare.devices[0].keys, Duration::ZERO);
    let answer = bare.admit(&admit).await;
    let code = refusal(&answer, &bare.devices[0], &admit);
    assert!(matches!(code, RefusalCode::Suspended | RefusalCode::Revoked), "{code:?}");
    let (admit, _) = sealed(&bare.devices[1].keys, Duration::ZERO);
    assert!(matches!(bare.admit(&admit).await, Answer::Seen), "nobody's any more");
    assert_eq!(bare.counter("door.admitted").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t16_another_gateway_takes_nothing_that_is_not_its_own() {
    let (bare, other) = (Bare::new(1).await, Bare::new(1).await);
    let (admit, _) = sealed(&bare.devices[0].keys, Duration::ZERO);
    let own = other.devices[0].keys.digest;
    for digest in [admit.digest, own] {
        assert!(matches!(other.admit(&Admit { digest, ..admit }).await, Answer::Seen));
    }
    assert_eq!((other.counter("door.admitted").await, tries(&other).await), (0, 0));
    let (admit, mut await_ready) = sealed(&bare.devices[0].keys, Duration::ZERO);
    ticket(&bare.admit(&admit).await, &mut await_ready);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t16_a_flood_of_junk_counts_against_nobody() {
    let bare = Bare::new(1).await;
    let (admit, mut await_ready) = sealed(&bare.devices[0].keys, Duration::ZERO);
    for number in 0..1_000_u16 {
        let mut inner = admit.inner;
        inner[usize::from(number) % (I1_LEN - 2)] ^= 1 + (number >> 8) as u8;
        assert!(matches!(bare.admit(&Admit { inner, ..admit }).await, Answer::Seen), "{number}");
    }
    assert_eq!((bare.counter("door.admitted").await, tries(&bare).await), (0, 0));
    let admin::Answer::Audit(audit) = ask(&bare, Request::Audit(Default::default())).await else { panic!("no audit") };
    let told = audit.iter().filter(|entry| entry.kind == AuditKind::ControllerSuspect).count();
    assert!((1..100).contains(&told), "the owner is told, and the log is not washed: {told}");
    ticket(&bare.admit(&admit).await, &mut await_ready);
}

/// It knows the digest, psk_c, the device's public key, the realm, the gateway's keys' public halves, and has the link.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t16_all_that_it_knows_logs_nobody_in() {
    let bare = Bare::new(1).await;
    let (entropy, known) = (&mut SystemEntropy, copy(&bare.devices[0].keys));
    let forged = vestibule_proto::knocker::Device {
        d_out: PrivateKey::random(entropy),
        d_in: PrivateKey::random(entropy),
        psk_r: Psk::random(entropy),
        psk_g: Psk::random(entropy),
        ..known
    };
    let (admit, _) = sealed(&forged, Duration::ZERO);
    assert!(matches!(bare.admit(&admit).await, Answer::Seen), "an inner part of its own making");

    let (at, stranger, pins) = (bare.settings.listen[0], Stranger::new(), [bare.pin()]);
    stranger.send(at, &first_packet(random_tag().as_bytes()));
    stranger.send(at, &first_packet(&[]));
    assert!(!comes_in(at, random_tag(), &SigningKey::random(entropy), &pins).await);
    assert_eq!(stranger.heard(), Vec::<Vec<u8>>::new());

    // Over the link itself, which is a connection into the gateway: it serves requests of a controller, no logins.
    let (mut send, mut recv) = bare.link.open_bi().await.unwrap();
    let wanted = Wanted::Login { user: "user0".to_owned(), ke1: vec![7; 96] };
    write_frame(&mut send, &ClientHello { versions: (SESSION_VERSION, SESSION_VERSION), purpose: wanted })
        .await
        .unwrap();
    let heard: Result<Result<GatewayHello, _>, _> = tokio::time::timeout(SILENCE, read_frame(&mut recv)).await;
    assert!(!matches!(heard, Ok(Ok(_))), "no answer to a login");
    let request = Request::Session(SessionRequest::List { all: true });
    let admin::Answer::Sessions(sessions) = ask(&bare, request).await else { panic!("no list") };
    assert!(sessions.is_empty());
    assert_eq!((bare.counter("door.admitted").await, tries(&bare).await), (0, 0));
}
