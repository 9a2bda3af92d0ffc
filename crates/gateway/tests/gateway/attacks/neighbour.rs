//! T7: a neighbour behind the same address, while a device's door is open and afterwards.

use std::time::Duration;

use tokio::task::JoinSet;
use vestibule_proto::entropy::{Entropy, SystemEntropy};
use vestibule_proto::key::SigningKey;
use vestibule_proto::ticket::Tag;

use super::{Stranger, comes_in, first_packet};
use crate::admissions::{Bare, ticket};
use crate::common::bare::sealed;

const TAGS: u64 = 10_000;

/// Datagrams that the gateway's socket has counted as nobody's.
async fn refused(bare: &Bare) -> u64 {
    bare.counter("datagrams.quic_refused").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t07_ten_thousand_tags_from_behind_the_same_nat_get_no_reply() {
    let bare = Bare::new(2).await;
    let at = bare.settings.listen[0];
    let [(first, mut await_first), (second, mut await_second)] =
        [0, 1].map(|number| sealed(&bare.devices[number].keys, Duration::ZERO));
    let (first, second) = (bare.admit(&first).await, bare.admit(&second).await);
    let (first, second) = (ticket(&first, &mut await_first), ticket(&second, &mut await_second));
    assert_eq!(bare.counter("door.admitted").await, 2);

    // To be generous he knows which ticket he wants, every other time.
    let neighbour = Stranger::new();
    let mut tag = [0; 20];
    for number in 0..TAGS {
        SystemEntropy.fill(&mut tag);
        if number % 2 == 0 {
            tag[..8].copy_from_slice(first.id.as_bytes());
        }
        neighbour.send(at, &first_packet(&tag));
        if number % 32 == 0 {
            // No faster than the gateway reads: all of them are to reach its door.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let reached = refused(&bare).await;
    assert!(reached > TAGS * 9 / 10, "{reached} reached the door");

    // Whole clients, whose packets could be answered.
    let mut clients = JoinSet::new();
    for _ in 0..32 {
        SystemEntropy.fill(&mut tag);
        tag[..8].copy_from_slice(first.id.as_bytes());
        let (tag, pins) = (Tag::new(tag), [bare.pin()]);
        clients.spawn(async move { comes_in(at, tag, &SigningKey::random(&mut SystemEntropy), &pins).await });
    }
    assert!(clients.join_all().await.iter().all(|came_in| !came_in));
    assert_eq!(neighbour.heard(), Vec::<Vec<u8>>::new());
    assert_eq!(bare.counter("door.admitted").await, 2, "nobody's tag was used up");

    // The bearers come in; afterwards their tags are worth nothing, each to the other neither.
    assert!(bare.lets_in(&bare.devices[0], &first).await);
    neighbour.send(at, &first_packet(first.tag(0).as_bytes()));
    neighbour.send(at, &first_packet(first.tag(1).as_bytes()));
    let pins = [bare.pin()];
    assert!(!comes_in(at, first.tag(0), &bare.devices[0].d_tls, &pins).await, "a used tag");
    assert!(!comes_in(at, second.tag(0), &bare.devices[0].d_tls, &pins).await, "the tag of another's admission");
    assert_eq!(neighbour.heard(), Vec::<Vec<u8>>::new());
}
