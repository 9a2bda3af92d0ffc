//! C1 at the controller: gateways dial in, say who they are, publish rows, and are asked to admit.

use crate::controller::now;
use crate::knocks::Executor;
use crate::publishing::{Publishing, publish};
use crate::rotation;
use crate::rows::Rows;
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use vestibule_dark::framed::{read_frame, write_frame};
use vestibule_dark::tls::{self, ClientPins};
use vestibule_dark::{FirstContact, TransportKind, peer_address, transport};
use vestibule_proto::id::{GatewayId, LoginDigest, TicketId};
use vestibule_proto::key::Spki;
use vestibule_proto::link::{Answer, Hello, LINK_NEWEST, LINK_VERSION, LinkRefusal, ToController, ToGateway, Welcome};
use vestibule_proto::recognition::{LinkState, Owner, Row};
use vestibule_proto::session::code;

/// How long a dialling gateway may take for TLS and its first frame.
const GREETING_WITHIN: Duration = Duration::from_secs(5);
/// How long a gateway that is refused may take to read why.
const FAREWELL: Duration = Duration::from_secs(2);
/// How often a linked gateway is asked whether it lives, and how long it may take to say so.
const PING_EVERY: Duration = Duration::from_secs(15);
const PING_WITHIN: Duration = Duration::from_secs(5);

/// The links that stand, and those whose first packet is expected.
#[derive(Default)]
pub(crate) struct Links {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    expected: HashMap<TicketId, Expected>,
    standing: HashMap<GatewayId, Standing>,
}

#[derive(Clone, Copy)]
struct Expected {
    gateway: GatewayId,
    temporary: bool,
    until: Instant,
}

struct Standing {
    connection: quinn::Connection,
    /// The version of the link's messages.
    version: u16,
    addresses: Vec<SocketAddr>,
    since: Instant,
    /// Rows of its latest full set that were left out.
    left_out: usize,
}

/// A link, as `controller gateways` shows it.
#[derive(Clone, Debug)]
pub(crate) struct LinkView {
    pub(crate) from: SocketAddr,
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) age: Duration,
    pub(crate) rtt: Duration,
    pub(crate) left_out: usize,
}

impl Links {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A gateway's knock was recognised: its first packet will bear this ticket's tag.
    pub(crate) fn expect(&self, ticket: TicketId, gateway: GatewayId, temporary: bool, until: Instant) {
        let mut inner = self.inner();
        let now = Instant::now();
        inner.expected.retain(|_, expected| expected.until > now);
        inner.expected.insert(ticket, Expected { gateway, temporary, until });
    }

    /// The connection to a gateway, when its link stands.
    pub(crate) fn connection(&self, gateway: &GatewayId) -> Option<quinn::Connection> {
        self.inner().standing.get(gateway).map(|standing| standing.connection.clone())
    }

    /// The links that speak this version or a later one.
    pub(crate) fn speaking(&self, version: u16) -> Vec<(GatewayId, quinn::Connection)> {
        let inner = self.inner();
        let speaking = inner.standing.iter().filter(|(_, standing)| standing.version >= version);
        speaking.map(|(gateway, standing)| (*gateway, standing.connection.clone())).collect()
    }

    /// How the link to a gateway stands.
    pub(crate) fn view(&self, gateway: &GatewayId) -> Option<LinkView> {
        self.inner().standing.get(gateway).map(|standing| LinkView {
            from: peer_address(&standing.connection),
            addresses: standing.addresses.clone(),
            age: standing.since.elapsed(),
            rtt: standing.connection.rtt(),
            left_out: standing.left_out,
        })
    }

    /// How many links stand.
    pub(crate) fn count(&self) -> usize {
        self.inner().standing.len()
    }

    /// Closes the link to one gateway.
    pub(crate) fn close(&self, gateway: &GatewayId) {
        if let Some(standing) = self.inner().standing.remove(gateway) {
            standing.connection.close(code::ENDED.into(), b"");
        }
    }

    /// Closes all links: the controller stops.
    pub(crate) fn close_all(&self) {
        for (_, standing) in self.inner().standing.drain() {
            standing.connection.close(code::SHUTDOWN.into(), b"");
        }
    }

    fn take_expected(&self, ticket: &TicketId) -> Option<Expected> {
        self.inner().expected.remove(ticket).filter(|expected| expected.until > Instant::now())
    }

    fn stand(&self, gateway: GatewayId, connection: &quinn::Connection, version: u16, addresses: Vec<SocketAddr>) {
        let standing =
            Standing { connection: connection.clone(), version, addresses, since: Instant::now(), left_out: 0 };
        if let Some(former) = self.inner().standing.insert(gateway, standing) {
            former.connection.close(code::DONE.into(), b"");
        }
    }

    /// So many rows of the gateway's full set are not in force.
    pub(crate) fn set_left_out(&self, gateway: &GatewayId, left_out: usize) {
        if let Some(standing) = self.inner().standing.get_mut(gateway) {
            standing.left_out = left_out;
        }
    }

    /// Clients are told these addresses of the gateway from now on.
    pub(crate) fn set_addresses(&self, gateway: &GatewayId, addresses: Vec<SocketAddr>) {
        if let Some(standing) = self.inner().standing.get_mut(gateway) {
            standing.addresses = addresses;
        }
    }

    /// Forgets a link that broke, unless a newer one has taken its place. Says whether it was the one in force.
    fn fall(&self, gateway: &GatewayId, connection: &quinn::Connection) -> bool {
        let mut inner = self.inner();
        let same = inner
            .standing
            .get(gateway)
            .is_some_and(|standing| standing.connection.stable_id() == connection.stable_id());
        if same {
            inner.standing.remove(gateway);
        }
        same
    }
}

/// Takes the first packets that a tag has let through.
pub(crate) async fn accept(executor: Executor, index: usize) {
    let Some(dark) = executor.shared.darks.get(index).cloned() else { return };
    while let Some(contact) = dark.accept().await {
        let Some(expected) = executor.shared.links.take_expected(&contact.ticket) else {
            contact.ignore();
            continue;
        };
        let executor = executor.clone();
        executor.tasks.clone().spawn(async move {
            if let Err(reason) = link(&executor, contact, expected).await {
                tracing::warn!(gateway = %expected.gateway, %reason, "a gateway's link did not come about");
            }
        });
    }
}

/// A link from its first packet to its end.
async fn link(executor: &Executor, contact: FirstContact, expected: Expected) -> Result<(), String> {
    let shared = &executor.shared;
    let pins = if expected.temporary {
        ClientPins::AnyPresented
    } else {
        let known = shared.rows.gateway_spki(&expected.gateway).map_err(|error| error.to_string())?;
        ClientPins::Exact(known.ok_or("its key is not known")?)
    };
    let config = tls::server_config(&shared.keys().link, pins, tls::ALPN_LINK).map_err(|error| error.to_string())?;
    let greeting = async {
        let connecting = contact.accept(config, transport(TransportKind::Link)).map_err(|error| error.to_string())?;
        let connection = connecting.await.map_err(|error| error.to_string())?;
        let (send, mut recv) = connection.accept_bi().await.map_err(|error| error.to_string())?;
        let hello: Hello = read_frame(&mut recv).await.map_err(|error| error.to_string())?;
        Ok::<_, String>((connection, send, hello))
    };
    let (connection, mut send, hello) =
        tokio::time::timeout(GREETING_WITHIN, greeting).await.map_err(|_| "it took too long to greet".to_owned())??;

    let name = hello.name.clone();
    let (welcome, spki) = greet(executor, &connection, expected, &hello).await;
    write_frame(&mut send, &welcome).await.map_err(|error| error.to_string())?;
    let _ = send.finish();
    let Some(spki) = spki else {
        // A close overtakes what lies in a stream: the gateway is to read why.
        let _ = tokio::time::timeout(FAREWELL, send.stopped()).await;
        connection.close(code::REFUSED.into(), b"");
        return Err(match welcome {
            Welcome::Refused(refusal) => format!("refused: {}", refusal.as_str()),
            Welcome::Linked { .. } => "refused".to_owned(),
        });
    };

    let (gateway, version) = (expected.gateway, hello.versions.1.min(LINK_NEWEST));
    shared.links.stand(gateway, &connection, version, hello.addresses);
    if !still_known(executor, gateway, &spki) {
        shared.links.fall(&gateway, &connection);
        connection.close(code::ENDED.into(), b"");
        return Err("it was removed meanwhile".to_owned());
    }
    executor.step(0, |recognition| recognition.set_link(gateway, LinkState::Up));
    if version >= LINK_NEWEST {
        // Read after the link stands: a rotation that this misses finds the link.
        let (connection, realm) = (connection.clone(), shared.keys().present_realm());
        executor.tasks.spawn(async move { rotation::tell(&connection, realm).await });
    }
    tracing::info!(%gateway, name, from = %peer_address(&connection), "gateway linked");
    serve(executor, gateway, spki, &connection).await;
    if shared.links.fall(&gateway, &connection) {
        executor.link_down(gateway);
        tracing::warn!(%gateway, name, "the gateway's link is down");
    }
    Ok(())
}

/// Answers a gateway's first frame; with a key when the link stands.
async fn greet(
    executor: &Executor,
    connection: &quinn::Connection,
    expected: Expected,
    hello: &Hello,
) -> (Welcome, Option<Spki>) {
    let shared = &executor.shared;
    let refused = |refusal| (Welcome::Refused(refusal), None);
    if !(hello.versions.0..=hello.versions.1).contains(&LINK_VERSION) {
        return refused(LinkRefusal::Version);
    }
    let Some(presented) = tls::peer_spki(connection).filter(|_| hello.gateway == expected.gateway) else {
        return refused(LinkRefusal::NotYou);
    };
    if expected.temporary {
        let Some(register) = hello.register.as_ref().filter(|register| register.spki == presented) else {
            return refused(LinkRefusal::NotYou);
        };
        if let Err(error) = shared.rows.register_gateway(expected.gateway, &hello.name, register).await {
            tracing::error!(%error, "a gateway's registration can't be written down");
            return refused(LinkRefusal::Storage);
        }
        if let Err(conflict) = reload_links(executor, &shared.rows) {
            tracing::error!(%conflict, "a gateway's row contradicts another");
            return refused(LinkRefusal::NotYou);
        }
    }
    (Welcome::Linked { version: hello.versions.1.min(LINK_NEWEST) }, Some(presented))
}

/// Whether the gateway is to be linked under this key now that a removal would find its link.
fn still_known(executor: &Executor, gateway: GatewayId, spki: &Spki) -> bool {
    let known = executor.shared.rows.gateway_spki(&gateway);
    known.is_ok_and(|known| known.is_some_and(|known| known == *spki))
}

/// Brings the machine's rows for links in step with what is on disk.
pub(crate) fn reload_links(executor: &Executor, rows: &Rows) -> Result<(), String> {
    let on_disk = rows.load(now().wall).map_err(|error| error.to_string())?;
    let links: Vec<Row> = on_disk.into_iter().filter(|row| matches!(row.owner, Owner::Link(_))).collect();
    let digests: HashSet<LoginDigest> = links.iter().map(|row| row.digest).collect();
    let mut known = executor.shared.link_rows.lock().unwrap_or_else(PoisonError::into_inner);
    let mut recognition = executor.shared.recognition();
    for gone in known.difference(&digests) {
        recognition.remove_row(gone);
    }
    for row in links {
        recognition.upsert_row(row).map_err(|conflict| conflict.to_string())?;
    }
    *known = digests;
    Ok(())
}

/// Serves a standing link until it breaks.
async fn serve(executor: &Executor, gateway: GatewayId, mut spki: Spki, connection: &quinn::Connection) {
    let mut publishing = Publishing::default();
    let mut ping = tokio::time::interval(PING_EVERY);
    ping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ping.tick().await;
    loop {
        let (mut send, mut recv) = tokio::select! {
            stream = connection.accept_bi() => match stream {
                Ok(stream) => stream,
                Err(_) => return,
            },
            _ = ping.tick() => {
                executor.tasks.spawn(expect_pong(connection.clone()));
                continue;
            }
        };
        // Requests of one gateway are answered in order: rows are published before what is published later. Only the
        // gateway is held to a time: a large set takes the disk as long as it takes.
        let request = tokio::time::timeout(GREETING_WITHIN, read_frame::<ToController>(&mut recv)).await;
        let Ok(Ok(request)) = request else {
            connection.close(code::PROTOCOL.into(), b"");
            return;
        };
        let answer = publish(executor, gateway, &mut spki, request, &mut publishing).await;
        let told = async {
            write_frame(&mut send, &answer).await.ok()?;
            send.finish().ok()
        };
        if tokio::time::timeout(GREETING_WITHIN, told).await.ok().flatten().is_none() {
            connection.close(code::PROTOCOL.into(), b"");
            return;
        }
    }
}

async fn expect_pong(connection: quinn::Connection) {
    let exchange = async {
        let (mut send, mut recv) = connection.open_bi().await.ok()?;
        write_frame(&mut send, &ToGateway::Ping).await.ok()?;
        send.finish().ok()?;
        read_frame::<Answer>(&mut recv).await.ok()
    };
    if tokio::time::timeout(PING_WITHIN, exchange).await.ok().flatten().is_none() {
        connection.close(code::PROTOCOL.into(), b"");
    }
}
