//! T: one stream of a session carries one connection to one service.
//!
//! `Open` → policy → connect → `Opened` → bytes, or datagrams. Policy is asked at every open; a flow whose grant goes away is cut.

use crate::directory::Service;
use crate::sessions::{FlowPass, Session};
use crate::shared::Shared;
use crate::{direct, udp, upstream, web};
use quinn::{RecvStream, SendStream, VarInt};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use vestibule_dark::AllowedStream;
use vestibule_dark::datagrams::{Answer, DatagramFlow, Datagrams};
use vestibule_dark::framed::{read_frame_within, write_frame};
use vestibule_dark::splice::splice;
use vestibule_proto::session::{Open, Opened, Reason, ServiceKind, code};

/// The largest `Open` that is read, in bytes.
const OPEN_LIMIT: usize = 1_024;
/// How long a client may take to say what it wants of a stream.
const OPEN_WITHIN: Duration = Duration::from_secs(10);

/// A stream that a client has opened.
pub(crate) struct Flow {
    pub(crate) send: SendStream,
    pub(crate) recv: RecvStream,
    /// The flows of datagrams of its connection.
    pub(crate) datagrams: Arc<Datagrams>,
    /// Counts the stream among those that the client may have open.
    pub(crate) _allowed: AllowedStream,
}

/// Serves one stream from its first frame to its end.
pub(crate) async fn carry(shared: Arc<Shared>, session: Arc<Session>, flow: Flow) {
    let Flow { mut send, mut recv, datagrams, _allowed } = flow;
    let Some(open) = read_open(&mut recv).await else {
        reset(&mut send, &mut recv, code::PROTOCOL);
        return;
    };
    if let Some(lease) = direct::begin(&shared, &session, &open.target).await {
        return lease.keep(send, recv).await;
    }
    let opened = tokio::select! {
        biased;
        opened = connect(&shared, &session, &open, || datagrams.enter(&send)) => opened,
        // The client gives up while the upstream is still being asked.
        _ = send.stopped() => return,
    };
    let (upstream, pass) = match opened {
        Ok(opened) => opened,
        Err(reason) => {
            shared.counters.refused_flow();
            return refuse(&mut send, reason).await;
        }
    };
    // A client that does not take the word keeps no upstream open behind a revocation.
    let told = tokio::select! {
        biased;
        told = write_frame(&mut send, &Opened::Connected) => told.is_ok(),
        () = pass.cut() => false,
    };
    if !told {
        reset(&mut send, &mut recv, code::TCP_RESET);
        return;
    }
    shared.counters.opened_flow();
    tokio::select! {
        biased;
        () = pass_on(&shared, &session, upstream, send, recv) => {}
        // The copy loop is dropped: that resets both sides.
        () = pass.cut() => {}
    }
}

async fn read_open(recv: &mut RecvStream) -> Option<Open> {
    tokio::time::timeout(OPEN_WITHIN, read_frame_within(recv, OPEN_LIMIT)).await.ok()?.ok()
}

/// Where a flow leads.
enum Leads {
    /// To a connection with the upstream.
    Tcp(TcpStream),
    /// To the page guard, which speaks with the upstream itself.
    Guard(Box<Service>),
    /// To a socket, for datagrams.
    Udp(Box<(udp::Upstream, DatagramFlow)>),
}

async fn pass_on(shared: &Arc<Shared>, session: &Arc<Session>, to: Leads, send: SendStream, recv: RecvStream) {
    match to {
        Leads::Tcp(tcp) => drop(splice(tcp, send, recv).await),
        Leads::Guard(service) => web::serve(shared, session, &service, (recv, send)).await,
        Leads::Udp(to) => {
            let ((upstream, flow), idle) = (*to, shared.settings().limits.udp_idle);
            let end = flow.carry(&upstream, (send, recv), Answer::Given, idle).await;
            tracing::debug!(session = %session.id, ?end, "a flow of datagrams ended");
        }
    }
}

/// Asks policy and connects to the upstream.
async fn connect(
    shared: &Shared,
    session: &Arc<Session>,
    open: &Open,
    enter: impl FnOnce() -> DatagramFlow,
) -> Result<(Leads, FlowPass), Reason> {
    let service = shared.catalogue().find(&session.user, &open.target).cloned().ok_or(Reason::NoService)?;
    let limit = shared.settings().limits.connections_per_session;
    let pass = session.begin_flow(&service.name, limit)?;
    // Asked again now that the flow can be cut: a revocation in between has either shown here or cuts it.
    if shared.catalogue().find(&session.user, &open.target) != Some(&service) {
        return Err(Reason::NoService);
    }
    let leads = async {
        Ok::<_, Reason>(match service.kind {
            ServiceKind::Web => Leads::Guard(Box::new(service)),
            ServiceKind::Tcp => Leads::Tcp(upstream::connect(&service.upstream, upstream::CONNECT_WITHIN).await?),
            ServiceKind::Udp => {
                let upstream = udp::Upstream::connect(&service.upstream, shared.datagrams.clone()).await?;
                // Before the client is told: its next datagram finds the flow.
                Leads::Udp(Box::new((upstream, enter())))
            }
        })
    };
    tokio::select! {
        biased;
        leads = leads => Ok((leads?, pass)),
        () = pass.cut() => Err(Reason::Revoked),
    }
}

async fn refuse(send: &mut SendStream, reason: Reason) {
    // A client that has gone away needs no reason.
    if write_frame(send, &Opened::Refused(reason)).await.is_ok() {
        let _ = send.finish();
    }
}

fn reset(send: &mut SendStream, recv: &mut RecvStream, code: u32) {
    // Either half may be closed already: then there is nothing left to tell.
    let _ = send.reset(VarInt::from_u32(code));
    let _ = recv.stop(VarInt::from_u32(code));
}
