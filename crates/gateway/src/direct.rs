//! T, direct: a connection to a service that the kernel carries, without the tunnel. One stream of the session is its lease.
//!
//! `Open` → policy → the door lets one flow begin → `Opened` → the client connects and says so → the door lets that flow through
//! until the stream ends or the flow is cut. What can't be direct is carried by the tunnel instead.
//!
//! A flow is let in from the session's own address alone, and ends when the session has gone to another one (R2): the kernel's
//! connections can't follow.

use crate::directory::{Catalogue, Service};
use crate::moving::Place;
use crate::sessions::{FlowPass, Session};
use crate::shared::Shared;
use quinn::{RecvStream, SendStream, VarInt};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use vestibule_dark::framed::write_frame;
use vestibule_door::{Choice, DirectError, DirectFlow, DirectPort, NftablesDoor, Opening};
use vestibule_proto::session::{DIRECT_CONNECTED, DIRECT_WITHIN, Opened, Target, code};

/// How long an opening waits for an earlier one from the same address, and how often it looks.
const TURN_WITHIN: Duration = Duration::from_secs(3);
const TURN_EVERY: Duration = Duration::from_millis(20);

/// How long a flow that its client has ended still passes: its last segments may be lost and come again.
const LINGER: Duration = Duration::from_secs(3);

/// What the door stands before for these services.
pub(crate) fn ports<'a>(services: impl Iterator<Item = &'a Service>) -> Vec<DirectPort> {
    services.filter_map(|service| Some(DirectPort::new(service.direct?, service.upstream_address()?))).collect()
}

/// The interfaces whose drivers a gateway with this door may guard: none if the door is to be chosen and there are direct
/// services, before which a program in the driver can't stand.
#[must_use]
pub fn interfaces<'a>(
    door: Choice,
    named: &'a [String],
    services: impl IntoIterator<Item = &'a Service>,
) -> &'a [String] {
    let has_direct = services.into_iter().any(|service| service.direct.is_some());
    if door == Choice::Auto && has_direct { &[] } else { named }
}

/// Whether a gateway with this door could stand before the direct services among these; `None` if there are none. Nothing is
/// changed.
#[must_use]
pub fn finding(door: Choice, listen: &[SocketAddr], services: &[Service]) -> Option<Result<(), DirectError>> {
    let ports = ports(services.iter());
    if ports.is_empty() {
        return None;
    }
    Some(match door {
        Choice::Socket => Err(DirectError::NotThisDoor { door: "socket" }),
        Choice::Xdp => Err(DirectError::NotThisDoor { door: "xdp" }),
        Choice::Auto | Choice::Nftables => NftablesDoor::probe_direct(listen, &ports),
    })
}

/// Makes the door stand before the direct services of the catalogue.
pub(crate) fn guard(shared: &Shared, catalogue: &Catalogue) {
    if let Err(error) = shared.door.guard(&ports(catalogue.services()), Instant::now()) {
        tracing::error!(%error, next = error.next_step(), "direct services go through the tunnel");
    }
}

/// Shuts the port of a service that is about to be added, before it is.
///
/// # Errors
/// Why the door can't.
pub(crate) fn prepare<'a>(shared: &Shared, services: impl Iterator<Item = &'a Service>) -> Result<(), DirectError> {
    shared.door.guard(&ports(services), Instant::now())
}

/// One direct connection, for as long as this lives.
pub(crate) struct Lease {
    shared: Arc<Shared>,
    pass: FlowPass,
    opening: Opening,
    flow: Option<DirectFlow>,
    place: watch::Receiver<Place>,
}

/// Lets one flow begin. `None` if this target can't be reached directly now: by whom, or at all.
pub(crate) async fn begin(shared: &Arc<Shared>, session: &Arc<Session>, target: &Target) -> Option<Lease> {
    let Target::Direct { from, .. } = target else { return None };
    let service = shared.catalogue().find(&session.user, target).cloned()?;
    let place = session.live()?.place;
    let opening = opening(*place.borrow(), service.direct?, *from)?;
    let pass = session.begin_flow(&service.name, shared.settings().limits.connections_per_session).ok()?;
    // Asked again now that the flow can be cut, as for the tunnel.
    if shared.catalogue().find(&session.user, target) != Some(&service) {
        return None;
    }
    tokio::select! {
        biased;
        () = pass.cut() => return None,
        opened = open(shared, &opening) => opened?,
    }
    Some(Lease { shared: shared.clone(), pass, opening, flow: None, place })
}

/// From an address that nothing on the way has changed, the client's port is the one that it names; else nobody knows it yet.
/// `None` as long as the session's address is not known.
fn opening(place: Place, port: u16, from: SocketAddr) -> Option<Opening> {
    let Place::At(client) = place else { return None };
    let client_port = (from.ip().to_canonical() == client).then_some(from.port());
    Some(Opening { client, client_port, port })
}

async fn open(shared: &Shared, opening: &Opening) -> Option<()> {
    let deadline = Instant::now() + TURN_WITHIN;
    loop {
        match shared.door.open_flow(opening, Instant::now()) {
            Ok(()) => return Some(()),
            Err(DirectError::Waiting) if Instant::now() < deadline => tokio::time::sleep(TURN_EVERY).await,
            Err(error) => {
                tracing::info!(%error, port = opening.port, "a direct connection goes through the tunnel");
                return None;
            }
        }
    }
}

/// How a lease ended.
#[derive(PartialEq, Eq)]
enum End {
    /// The client has closed its connection.
    Closed,
    /// The session is at another address.
    Moved,
    /// The client or its session is gone, or it broke the protocol.
    Lost,
}

impl Lease {
    /// Keeps the flow open for as long as the stream is and nothing cuts it.
    pub(crate) async fn keep(mut self, mut send: SendStream, mut recv: RecvStream) {
        let end = tokio::select! {
            biased;
            () = self.pass.cut() => End::Lost,
            () = moved(&mut self.place, self.opening.client) => End::Moved,
            end = serve(&self.shared, &self.opening, &mut self.flow, (&mut send, &mut recv)) => end,
        };
        if end == End::Closed {
            let _ = send.finish();
            tokio::select! {
                () = self.pass.cut() => {}
                () = tokio::time::sleep(LINGER) => {}
            }
        }
        // The door first.
        drop(self);
        let code = VarInt::from_u32(if end == End::Moved { code::MOVED } else { code::TCP_RESET });
        let _ = send.reset(code);
        let _ = recv.stop(code);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.shared.door.close_flow(&self.opening, self.flow.as_ref(), Instant::now());
    }
}

/// Waits until the session is somewhere else. One whose connection is gone is cut by other means.
async fn moved(place: &mut watch::Receiver<Place>, from: IpAddr) {
    if place.wait_for(|place| is_elsewhere(*place, from)).await.is_err() {
        std::future::pending().await
    }
}

fn is_elsewhere(place: Place, from: IpAddr) -> bool {
    match place {
        Place::At(address) => address != from,
        Place::Between => false,
    }
}

async fn serve(
    shared: &Shared,
    opening: &Opening,
    flow: &mut Option<DirectFlow>,
    (send, recv): (&mut SendStream, &mut RecvStream),
) -> End {
    if write_frame(send, &Opened::Direct { port: opening.port }).await.is_err() {
        return End::Lost;
    }
    let mut said = [0; 1];
    let connected = tokio::time::timeout(DIRECT_WITHIN, recv.read_exact(&mut said)).await;
    if !matches!(connected, Ok(Ok(()))) || said != [DIRECT_CONNECTED] {
        return End::Lost;
    }
    match shared.door.settle_flow(opening, Instant::now()) {
        Ok(Some(settled)) => *flow = Some(settled),
        Ok(None) => return End::Lost,
        Err(error) => {
            tracing::warn!(%error, port = opening.port, "a direct connection is not let through");
            return End::Lost;
        }
    }
    shared.counters.opened_flow();
    used(recv).await
}

/// Takes the client's marks until the stream ends: that they came is all that they say.
async fn used(recv: &mut RecvStream) -> End {
    let mut marks = [0; 64];
    loop {
        match recv.read(&mut marks).await {
            Ok(Some(_)) => {}
            Ok(None) => return End::Closed,
            Err(_) => return End::Lost,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const MOBILE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 9));

    #[test]
    fn a_flow_is_let_in_from_the_sessions_own_address_alone() {
        let from = SocketAddr::from((HOME, 40_000));
        let exact = Opening { client: HOME, client_port: Some(40_000), port: 22 };
        assert_eq!(opening(Place::At(HOME), 22, from), Some(exact));
        assert_eq!(opening(Place::At(HOME), 22, "[::ffff:192.0.2.1]:40000".parse().unwrap()), Some(exact));
        // Behind a NAT.
        let slot = Opening { client: MOBILE, client_port: None, port: 22 };
        assert_eq!(opening(Place::At(MOBILE), 22, from), Some(slot));
        assert_eq!(opening(Place::Between, 22, from), None);
    }

    #[tokio::test]
    async fn a_flow_ends_once_its_session_is_known_to_be_elsewhere() {
        let (place, mut seen) = watch::channel(Place::At(HOME));
        let soon = Duration::from_millis(20);
        for stays in [Place::At(HOME), Place::Between, Place::At(HOME)] {
            place.send_replace(stays);
            assert!(tokio::time::timeout(soon, moved(&mut seen, HOME)).await.is_err(), "{stays:?}");
        }
        place.send_replace(Place::At(MOBILE));
        tokio::time::timeout(soon, moved(&mut seen, HOME)).await.unwrap();
    }
}
