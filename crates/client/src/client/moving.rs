//! R2, the client's side: says "I moved" until the gateway answers at the new address.

use crate::address::unspecified;
use crate::connect::Live;
use std::time::Duration;
use vestibule_dark::{LEAD, Relocation};
use vestibule_proto::ticket::Tag;

/// How long is waited for an answer each time a tag has been said; after the last, the next tag's turn comes.
const PAUSES: [Duration; 3] = [Duration::from_millis(150), Duration::from_millis(350), Duration::from_millis(500)];
/// How long between two of the last tag, or two looks for a way out, as long as the connection lives.
const LATER: Duration = Duration::from_secs(1);
/// Tags that one change of the address takes at most: another change may follow before this one is answered.
const TAGS: usize = 2;
/// How often it is looked whether there is an answer.
const LOOK: Duration = Duration::from_millis(10);

/// Takes the connection to the address that this machine has now, beginning with this tag. Returns once the gateway has answered
/// there; who can't wait any longer drops the future.
pub(super) async fn move_over(live: &Live, mut tag: Tag) {
    let peer = live.connection.remote_address();
    let mut there: Option<Relocation> = None;
    for used in 1.. {
        for pause in PAUSES {
            match &there {
                // A datagram that the kernel refuses is as one that is lost.
                Some(there) => drop(there.say(&tag)),
                // Without a route there is nothing to say it over, yet.
                None => there = Relocation::begin(unspecified(peer), peer, &tag).ok(),
            }
            tokio::time::sleep(LEAD).await;
            // After a long silence QUIC itself would wait for as long again.
            if let Some(there) = &there {
                // Fails only when the runtime is going down.
                let _ = there.go(&live.endpoint);
            }
            if is_heard(there.as_ref(), if used < TAGS { pause } else { pause.max(LATER) }).await {
                live.answered_after_move();
                return;
            }
        }
        if used < TAGS && there.is_some() {
            tag = live.next_move().unwrap_or(tag);
        }
    }
}

/// Whether an answer comes within `pause`.
async fn is_heard(there: Option<&Relocation>, pause: Duration) -> bool {
    let heard = async {
        while !there.is_some_and(Relocation::is_heard) {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(pause, heard).await.is_ok()
}
