//! Step 6, its first half: the connection to the gateway, by a tag and with both keys pinned.
//!
//! An admission has four tags. Several addresses race with a small head start each; one address alone gets a second chance with a fresh
//! tag and a fresh socket when it stays silent.

use crate::address::{Family, is_global, source_towards, unspecified};
use crate::error::{ClientError, GatewayAway};
use crate::identity::Identity;
use crate::ways::Order;
use futures_util::StreamExt;
use futures_util::future::{Either, select};
use futures_util::stream::FuturesUnordered;
use quinn::{Connection, Endpoint};
use std::net::SocketAddr;
use std::pin::pin;
use std::time::{Duration, Instant};
use vestibule_dark::tls::ALPN_SESSION;
use vestibule_dark::{DialError, DialledOverTcp, TransportKind, Way, dial_over_tcp, transport};
use vestibule_proto::knocker::Admitted;
use vestibule_proto::tcp::TcpTags;
use vestibule_proto::ticket::Tag;

/// The head start of one address before another (RFC 8305 section 5 recommends 250 ms).
const HEAD_START: Duration = Duration::from_millis(250);
/// How long an address may stay silent before it is tried once more.
const SECOND_CHANCE: Duration = Duration::from_secs(3);

/// How long QUIC has for itself: several round trips of most paths.
const TCP_AFTER: Duration = Duration::from_millis(300);
/// How long TCP has for itself where QUIC has not worked before.
const QUIC_AFTER: Duration = Duration::from_secs(3);

/// A connection to the gateway.
pub(crate) struct Dialled {
    /// Must live as long as the connection's last words matter.
    pub(crate) endpoint: Endpoint,
    /// The connection.
    pub(crate) connection: Connection,
    /// Which way led there.
    pub(crate) way: Way,
    /// From the first packet until TLS stood.
    pub(crate) took: Duration,
}

impl Dialled {
    /// Where the gateway answered.
    pub(crate) fn address(&self) -> SocketAddr {
        vestibule_dark::peer_address(&self.connection)
    }
}

/// Dials the gateway that an admission leads to.
///
/// # Errors
/// [`ClientError::GatewayAway`]; the most telling of what the attempts met.
pub(crate) async fn dial(admitted: &Admitted, identity: &Identity) -> Result<Dialled, ClientError> {
    let begun = Instant::now();
    let attempts = plan(&admitted.gateways, admitted.seen, admitted.ticket.quic_tags());
    let Some(first) = attempts.first().map(|attempt| attempt.to) else {
        return Err(ClientError::GatewayAway(GatewayAway::Dial));
    };
    let window_ends = begun + admitted.window;
    let quic = |after| async move {
        tokio::time::sleep(after).await;
        race(attempts, window_ends, identity).await
    };
    let tcp = |after| async move {
        tokio::time::sleep(after).await;
        over_tcp(admitted, window_ends, identity).await
    };
    let network = identity.ways.towards(first);
    let (way, dialled) = match network.order() {
        Order::Only(Way::Quic) => (Way::Quic, quic(Duration::ZERO).await),
        Order::Only(Way::Tcp) => (Way::Tcp, tcp(Duration::ZERO).await),
        Order::First(Way::Quic) => either(quic(Duration::ZERO), tcp(TCP_AFTER)).await,
        Order::First(Way::Tcp) => either(quic(QUIC_AFTER), tcp(Duration::ZERO)).await,
    };
    let (endpoint, connection) = dialled.map_err(ClientError::GatewayAway)?;
    network.worked(way);
    Ok(Dialled { endpoint, connection, way, took: begun.elapsed() })
}

/// The way on which the gateway has answered first; the other one is dropped. Where neither leads there, QUIC tells why.
async fn either(quic: impl Future<Output = Reached>, tcp: impl Future<Output = Reached>) -> (Way, Reached) {
    match select(pin!(quic), pin!(tcp)).await {
        Either::Left((Ok(dialled), _)) => (Way::Quic, Ok(dialled)),
        Either::Right((Ok(dialled), _)) => (Way::Tcp, Ok(dialled)),
        Either::Left((Err(error), tcp)) => (Way::Tcp, tcp.await.map_err(|_| error)),
        Either::Right((Err(_), quic)) => (Way::Quic, quic.await),
    }
}

/// The same addresses over TCP, each with a small head start, until the window ends.
async fn over_tcp(admitted: &Admitted, window_ends: Instant, identity: &Identity) -> Reached {
    let tags = TcpTags::of(&admitted.ticket);
    let mut addresses = admitted.gateways.clone();
    addresses.sort_by_key(|address| Family::of(*address) != Family::of(admitted.seen));
    let mut running: FuturesUnordered<_> = addresses
        .into_iter()
        .take(tags.prefaces.len())
        .enumerate()
        .map(|(nth, to)| {
            // An address that the controller has seen as it is here, is one that the gateway will see, too.
            let own = source_towards(to).filter(|own| is_global(*own) && *own == admitted.seen.ip().to_canonical());
            let way = DialledOverTcp { to, tags: tags.clone(), nth, own };
            async move {
                tokio::time::sleep(HEAD_START * u32::try_from(nth).unwrap_or(u32::MAX)).await;
                let transport = transport(TransportKind::Session);
                dial_over_tcp(way, &identity.tls, &identity.pins, ALPN_SESSION, transport).await
            }
        })
        .collect();
    let mut worst = GatewayAway::Dial;
    let reached = async {
        while let Some(ended) = running.next().await {
            match ended {
                Ok(dialled) => return Some(dialled),
                Err(error) => {
                    tracing::debug!(%error, "an attempt to reach the gateway over TCP failed");
                    worst = worse(worst, &error);
                }
            }
        }
        None
    };
    let reached = tokio::time::timeout_at(window_ends.into(), reached).await;
    reached.ok().flatten().ok_or(worst)
}

/// A connection, or the most telling of what the attempts met.
type Reached = Result<(Endpoint, Connection), GatewayAway>;

/// One connect: where to, with which tag, and how long after the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Attempt {
    to: SocketAddr,
    tag: Tag,
    after: Duration,
}

/// Addresses of the family that the knock came by first: that path is known to work. Each address once, then again as far
/// as the tags go.
fn plan(gateways: &[SocketAddr], seen: SocketAddr, tags: [Tag; 4]) -> Vec<Attempt> {
    let mut addresses: Vec<SocketAddr> = gateways.to_vec();
    addresses.sort_by_key(|address| Family::of(*address) != Family::of(seen));
    let rounds = addresses.iter().cycle().take(if addresses.is_empty() { 0 } else { tags.len() });
    let attempts = rounds.zip(tags).enumerate();
    attempts
        .map(|(number, (to, tag))| {
            let again = number > 0 && number % addresses.len() == 0;
            let after = match number {
                0 => Duration::ZERO,
                _ if again => SECOND_CHANCE,
                _ => HEAD_START,
            };
            Attempt { to: *to, tag, after }
        })
        .collect()
}

/// Until the window ends: what was met by then counts, though other attempts still wait for an answer.
async fn race(
    attempts: Vec<Attempt>,
    window_ends: Instant,
    identity: &Identity,
) -> Result<(Endpoint, Connection), GatewayAway> {
    let mut waiting = attempts.into_iter();
    let mut running = FuturesUnordered::new();
    let mut worst = GatewayAway::Dial;
    // The first one begins now, not at the timer's next millisecond.
    running.extend(waiting.next().map(|attempt| one(attempt, identity)));
    let mut next = waiting.next();
    let mut due = Instant::now() + next.map_or(Duration::ZERO, |attempt| attempt.after);
    loop {
        if running.is_empty() && next.is_none() {
            return Err(worst);
        }
        tokio::select! {
            biased;
            Some(ended) = running.next(), if !running.is_empty() => match ended {
                Ok(dialled) => return Ok(dialled),
                Err(error) => {
                    tracing::debug!(%error, "an attempt to reach the gateway failed");
                    worst = worse(worst, &error);
                    // Whoever failed leaves its head start to the next.
                    due = Instant::now();
                }
            },
            () = tokio::time::sleep_until(due.into()), if next.is_some() => {
                if let Some(attempt) = next.take() {
                    running.push(one(attempt, identity));
                    next = waiting.next();
                    due = Instant::now() + next.map_or(Duration::ZERO, |attempt| attempt.after);
                }
            }
            () = tokio::time::sleep_until(window_ends.into()) => return Err(worst),
        }
    }
}

async fn one(attempt: Attempt, identity: &Identity) -> Result<(Endpoint, Connection), DialError> {
    let Attempt { to, tag, .. } = attempt;
    let transport = transport(TransportKind::Session);
    vestibule_dark::dial(unspecified(to), to, tag, &identity.tls, &identity.pins, ALPN_SESSION, transport).await
}

/// A wrong key says more than silence.
fn worse(known: GatewayAway, error: &DialError) -> GatewayAway {
    match error {
        DialError::WrongServer(_) => GatewayAway::WrongKey,
        DialError::Socket(_)
        | DialError::Tls(_)
        | DialError::Address(_)
        | DialError::NoAnswer
        | DialError::Refused(_) => known,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags() -> [Tag; 4] {
        [0, 1, 2, 3].map(|n| Tag::new([n; 20]))
    }

    fn planned(gateways: &[&str], seen: &str) -> Vec<(String, u64)> {
        let gateways: Vec<SocketAddr> = gateways.iter().map(|text| text.parse().unwrap()).collect();
        let attempts = plan(&gateways, seen.parse().unwrap(), tags());
        assert!(attempts.iter().zip(tags()).all(|(attempt, tag)| attempt.tag == tag), "each tag once, in order");
        attempts.iter().map(|attempt| (attempt.to.to_string(), attempt.after.as_millis() as u64)).collect()
    }

    #[test]
    fn one_address_gets_second_chances() {
        let expected = [0, 3_000, 3_000, 3_000].map(|after| ("192.0.2.1:443".to_owned(), after));
        assert_eq!(planned(&["192.0.2.1:443"], "198.51.100.1:9"), expected);
    }

    #[test]
    fn the_family_of_the_knock_goes_first_and_the_other_races() {
        let (v4, v6) = ("192.0.2.1:443", "[2001:db8::1]:443");
        for (seen, first, second) in
            [("198.51.100.1:9", v4, v6), ("[2001:db8::9]:9", v6, v4), ("[::ffff:198.51.100.1]:9", v4, v6)]
        {
            let expected = [(first, 0), (second, 250), (first, 3_000), (second, 250)];
            assert_eq!(planned(&[v6, v4], seen), expected.map(|(to, after)| (to.to_owned(), after)));
        }
    }

    #[test]
    fn no_address_no_attempt_and_never_more_than_the_tags() {
        assert_eq!(planned(&[], "198.51.100.1:9"), []);
        let many: Vec<String> = (1..9).map(|last| format!("192.0.2.{last}:443")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(planned(&many, "198.51.100.1:9").len(), 4);
    }
}
