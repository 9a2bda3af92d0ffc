//! Steps 2 to 6 in a row: from an identity to a session that stands on a connection.

use crate::arrive::{Arrived, arrive};
use crate::channel::{self, Control, Welcomed};
use crate::dial::Dialled;
use crate::error::ClientError;
use crate::identity::{Identity, Names};
use crate::knock::Knocked;
use crate::timings::{LocalTimes, Timings};
use crate::why::Passage;
use quinn::{Connection, Endpoint};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::task::AbortOnDropHandle;
use vestibule_dark::Way;
use vestibule_dark::datagrams::Datagrams;
use vestibule_proto::gateway_key::Voucher;
use vestibule_proto::id::{ServiceName, SessionId};
use vestibule_proto::inner::Purpose;
use vestibule_proto::key::Secret;
use vestibule_proto::moving::{MoveKey, Mover};
use vestibule_proto::session::{ClientNotice, Reason, ServiceInfo, Welcome, code};
use vestibule_proto::ticket::Tag;

/// How long the gateway may take to acknowledge an end.
const FAREWELL: Duration = Duration::from_secs(3);

/// How long a close may take to leave this machine.
const CLOSING: Duration = Duration::from_millis(20);

/// A session and the connection that it stands on. Its resume secret is in this process's memory and nowhere else.
pub(crate) struct Live {
    pub(crate) endpoint: Endpoint,
    pub(crate) connection: Connection,
    pub(crate) way: Way,
    /// Its flows of datagrams.
    pub(crate) datagrams: Arc<Datagrams>,
    /// Hands them what comes.
    _arriving: AbortOnDropHandle<()>,
    pub(crate) session: SessionId,
    pub(crate) resume_secret: Secret<32>,
    /// Tells whether a key that is told on this connection is the gateway's.
    pub(crate) voucher: Voucher,
    pub(crate) expires: Instant,
    pub(crate) idle_limit: Duration,
    pub(crate) timings: Timings,
    pub(crate) clock_offset_ms: i64,
    /// What takes the connection to another address; `None` where it has to stay.
    pub(crate) mover: Mutex<Option<Mover>>,
}

/// What a connect brings.
pub(crate) struct Connected {
    pub(crate) live: Live,
    pub(crate) control: Control,
    pub(crate) services: Vec<ServiceInfo>,
    pub(crate) direct: Vec<ServiceName>,
}

/// Knock, dial, login: a new session. `passage` is told how far it came.
pub(crate) async fn log_in(
    identity: &Identity,
    names: &Names,
    login_input: Secret<32>,
    local: LocalTimes,
    clock_offset_ms: Option<i64>,
    passage: &mut Passage,
) -> Result<Connected, ClientError> {
    let arriving = arrive(identity, Purpose::Login, None, clock_offset_ms, passage);
    let Arrived { knocked, dialled } = arriving.await?;
    passage.knocked(&knocked.admitted, knocked.took);
    passage.gateway = Some((dialled.took, dialled.address()));
    passage.way = Some(dialled.way);
    let begun = Instant::now();
    let said = channel::log_in(&dialled, &knocked.admitted.ticket, &names.login, login_input).await;
    let (control, welcome, ksf) = closing(&dialled, said)?;
    let login = begun.elapsed().saturating_sub(ksf);
    passage.login = Some(login);
    let timings = Timings { local, knock: knocked.took, dial: dialled.took, login, ksf };
    Ok(connected(dialled, control, welcome, timings, &knocked))
}

/// Knock, dial, proof: an earlier session goes on (R1).
pub(crate) async fn resume(
    identity: &Identity,
    purpose: Purpose,
    session: SessionId,
    resume_secret: &Secret<32>,
    clock_offset_ms: i64,
) -> Result<Connected, ClientError> {
    let passage = &mut Passage::default();
    let Arrived { knocked, dialled } = arrive(identity, purpose, Some(session), Some(clock_offset_ms), passage).await?;
    let begun = Instant::now();
    let said = channel::resume(&dialled, &knocked.admitted.ticket, session, resume_secret).await;
    let (control, welcome) = closing(&dialled, said)?;
    let (knock, dial) = (knocked.took, dialled.took);
    let timings = Timings { knock, dial, login: begun.elapsed(), ..Timings::default() };
    Ok(connected(dialled, control, welcome, timings, &knocked))
}

/// Ends a session that there is no connection for.
pub(crate) async fn leave(
    identity: &Identity,
    session: SessionId,
    resume_secret: &Secret<32>,
    clock_offset_ms: i64,
) -> Result<(), ClientError> {
    match resume(identity, Purpose::Leave, session, resume_secret, clock_offset_ms).await {
        Err(ClientError::SessionEnded(_)) => Ok(()),
        Err(error) => Err(error),
        Ok(connected) => {
            connected.live.connection.close(code::PROTOCOL.into(), b"");
            Err(channel::out_of_order())
        }
    }
}

/// Ends a session that nobody uses, in order.
pub(crate) async fn end(connected: Connected) {
    let Connected { live, mut control, .. } = connected;
    // A gateway that does not hear it ends the session by its idle limit.
    let _ = control.say(&ClientNotice::SignOff).await;
    let _ = tokio::time::timeout(FAREWELL, live.connection.closed()).await;
    close(&live.endpoint, &live.connection).await;
}

/// Closes a connection that is done with, and lets the close leave before the process may end.
pub(crate) async fn close(endpoint: &Endpoint, connection: &Connection) {
    if connection.close_reason().is_none() {
        connection.close(code::DONE.into(), b"");
        // It leaves at once; that the connection also drains (three times its time-out) is of no interest.
        let _ = tokio::time::timeout(CLOSING, endpoint.wait_idle()).await;
    }
}

/// A connection on which nothing came about is told so at once.
pub(crate) fn closing<T>(dialled: &Dialled, said: Result<T, ClientError>) -> Result<T, ClientError> {
    said.inspect_err(|_| dialled.connection.close(code::DONE.into(), b""))
}

fn connected(dialled: Dialled, control: Control, welcomed: Welcomed, timings: Timings, knocked: &Knocked) -> Connected {
    let (welcome, direct) = welcomed;
    let Welcome { session, resume_secret, expires_in, idle_limit, services } = welcome;
    let exporter = vestibule_dark::exporter(&dialled.connection).ok();
    // A connection over TCP stays where it is: from another address the session is resumed.
    let mover = exporter
        .filter(|_| dialled.way == Way::Quic)
        .map(|exporter| Mover::new(MoveKey::derive(&knocked.admitted.ticket.kd, &exporter)));
    let datagrams = Datagrams::new(&dialled.connection, Arc::default());
    let arrive = Arc::clone(&datagrams);
    let arriving = AbortOnDropHandle::new(tokio::spawn(async move { arrive.run().await }));
    let live = Live {
        endpoint: dialled.endpoint,
        connection: dialled.connection,
        way: dialled.way,
        datagrams,
        _arriving: arriving,
        session,
        resume_secret,
        voucher: Voucher::of(&knocked.admitted.ticket),
        expires: Instant::now() + expires_in.min(LONGEST_LIFE),
        idle_limit,
        timings,
        clock_offset_ms: knocked.clock_offset_ms,
        mover: Mutex::new(mover),
    };
    Connected { live, control, services, direct }
}

/// No session lives longer, whatever a gateway says: an instant can't lie arbitrarily far ahead.
const LONGEST_LIFE: Duration = Duration::from_secs(366 * 24 * 3_600);

impl Live {
    /// The gateway's address.
    pub(crate) fn address(&self) -> SocketAddr {
        vestibule_dark::peer_address(&self.connection)
    }

    /// The next tag that says "I moved"; `None` where there is none left.
    pub(crate) fn next_move(&self) -> Option<Tag> {
        self.mover().as_mut()?.next_tag()
    }

    /// The gateway has answered at the address that this machine has now.
    pub(crate) fn answered_after_move(&self) {
        if let Some(mover) = self.mover().as_mut() {
            mover.handle_answer();
        }
    }

    fn mover(&self) -> MutexGuard<'_, Option<Mover>> {
        self.mover.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an ended session means to whoever wants to use it.
pub(crate) fn signed_off() -> ClientError {
    ClientError::SessionEnded(Reason::SignedOff)
}
