//! Steps 2 to 6, the first half: knock, then dial; and where one address family does not lead to the gateway, the same by the other one.
//!
//! Under the policy `follow` a tag leads in by either family. Under `strict` and `net` it leads in from the network alone that knocked, so
//! who must connect by the other family must knock by it, too (PROTOCOL §3.5, dual stack).

use crate::address::Family;
use crate::dial::{self, Dialled};
use crate::error::ClientError;
use crate::identity::Identity;
use crate::knock::{self, Knocked};
use crate::why::Passage;
use futures_util::future::{Either, select};
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;
use vestibule_proto::id::SessionId;
use vestibule_proto::inner::Purpose;

/// So long the tag of the first knock has for itself: several times what a connect takes where there is a way.
const OTHER_FAMILY_AFTER: Duration = Duration::from_secs(1);

/// Inside the door.
pub(crate) struct Arrived {
    /// The admission by which the connection came in.
    pub(crate) knocked: Knocked,
    /// The connection.
    pub(crate) dialled: Dialled,
}

/// Knocks, and dials the gateway. `clock_offset_ms` as for [`knock::knock`]; `passage` is told of the first admission.
///
/// # Errors
/// Those of the knock, and of the first admission's dial.
pub(crate) async fn arrive(
    identity: &Identity,
    purpose: Purpose,
    session: Option<SessionId>,
    clock_offset_ms: Option<i64>,
    passage: &mut Passage,
) -> Result<Arrived, ClientError> {
    let knocked = knock::knock(identity, None, purpose, session, clock_offset_ms).await?;
    passage.knocked(&knocked.admitted, knocked.took);
    let (other, offset_ms) = (other_family(&knocked.admitted.gateways, knocked.admitted.seen), knocked.clock_offset_ms);
    let first = come_in(knocked, identity);
    let Some(family) = other else { return first.await };
    let second = async {
        tokio::time::sleep(OTHER_FAMILY_AFTER).await;
        let mut knocked = knock::knock(identity, Some(family), purpose, session, Some(offset_ms)).await?;
        knocked.admitted.gateways.retain(|address| Family::of(*address) == family);
        come_in(knocked, identity).await
    };
    match select(pin!(first), pin!(second)).await {
        Either::Left((Ok(arrived), _)) | Either::Right((Ok(arrived), _)) => Ok(arrived),
        Either::Left((Err(error), second)) => second.await.map_err(|_| error),
        Either::Right((Err(_), first)) => first.await,
    }
}

async fn come_in(knocked: Knocked, identity: &Identity) -> Result<Arrived, ClientError> {
    let dialled = dial::dial(&knocked.admitted, identity).await?;
    Ok(Arrived { knocked, dialled })
}

/// The family that the knock did not come by, if the gateway can be reached by it.
fn other_family(gateways: &[SocketAddr], seen: SocketAddr) -> Option<Family> {
    let other = Family::of(seen).other();
    gateways.iter().any(|address| Family::of(*address) == other).then_some(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_family_is_tried_where_the_gateway_has_it() {
        let (v4, v6) = ("192.0.2.1:443", "[2001:db8::1]:443");
        for (gateways, seen, other) in [
            (&[v4, v6][..], "198.51.100.1:9", Some(Family::V6)),
            (&[v4, v6], "[2001:db8::9]:9", Some(Family::V4)),
            (&[v4, v6], "[::ffff:198.51.100.1]:9", Some(Family::V6)),
            (&[v4], "198.51.100.1:9", None),
            (&[v4], "[2001:db8::9]:9", Some(Family::V4)),
            (&[], "198.51.100.1:9", None),
        ] {
            let gateways: Vec<SocketAddr> = gateways.iter().map(|text| text.parse().unwrap()).collect();
            assert_eq!(other_family(&gateways, seen.parse().unwrap()), other, "{gateways:?} {seen}");
        }
    }
}
