//! A session over one connection: streams in, notices out, until either ends.

use crate::contacts::Contact;
use crate::control::Control;
use crate::moving::Moving;
use crate::renewal;
use crate::sessions::{Live, Session, Told, understood};
use crate::shared::Shared;
use crate::tunnel;
use quinn::{Connection, RecvStream};
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;
use vestibule_dark::Allowance;
use vestibule_dark::datagrams::Datagrams;
use vestibule_dark::framed::{FramedError, read_frame_within};
use vestibule_proto::session::{ClientNotice, GatewayHello, Notice, SESSION_DIRECT, Welcome, code};

/// The largest notice of a client that is read, in bytes.
const NOTICE_LIMIT: usize = 256;

/// How the service of a connection ended.
enum End {
    /// The connection is gone; the session may be resumed.
    Connection,
    /// The client signed off.
    SignedOff,
    /// The client broke the protocol.
    Broken,
}

/// Welcomes the client (L4), and serves its streams until the connection or the session ends.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    session: Arc<Session>,
    _contact: Contact,
    mut moving: Moving,
    (connection, told_by_client): (Connection, Told),
    mut control: Control,
) {
    let catalogue = shared.catalogue();
    let newest = told_by_client.newest;
    let told = understood(catalogue.services_of(&session.user), newest);
    let direct = catalogue.direct_services_of(&session.user);
    let welcome = Welcome {
        session: session.id,
        resume_secret: session.resume_secret.clone(),
        expires_in: session.expires_in(Instant::now()),
        idle_limit: session.idle_limit,
        services: told.clone(),
    };
    let welcome = match newest {
        SESSION_DIRECT.. if !direct.is_empty() => GatewayHello::WelcomeDirect(Box::new(welcome), direct.clone()),
        _ => GatewayHello::Welcome(Box::new(welcome)),
    };
    if control.say(&welcome).await.is_err() {
        return;
    }
    let (send, recv) = control.into_halves();
    let control = Arc::new(tokio::sync::Mutex::new(send));
    let live = Live { connection: connection.clone(), control, told: told_by_client, place: moving.place() };
    if !session.attach(live, Instant::now()) {
        // Revoked while it was welcomed.
        connection.close(code::ENDED.into(), b"");
        return;
    }
    let catalogue = shared.catalogue();
    let now_visible = catalogue.services_of(&session.user);
    if understood(now_visible.clone(), newest) != told {
        session.notify_services(now_visible).await;
    }
    let now_direct = catalogue.direct_services_of(&session.user);
    if now_direct != direct {
        session.notify_direct(now_direct).await;
    }
    // The device may have been away when keys changed. Read after the session is attached: a change that this misses finds it.
    let realm = shared.keys.realm();
    if realm.epoch > 0 {
        session.tell_realm(realm).await;
    }
    session.tell_key(shared.keys.tls().present().spki()).await;
    match serve_streams(&shared, &session, &connection, &mut moving, recv).await {
        End::Connection => {}
        End::SignedOff => shared.sign_off(&session),
        End::Broken => connection.close(code::PROTOCOL.into(), b""),
    }
    session.detach(&connection, Instant::now());
}

async fn serve_streams(
    shared: &Arc<Shared>,
    session: &Arc<Session>,
    connection: &Connection,
    moving: &mut Moving,
    mut control: RecvStream,
) -> End {
    let mut said = pin!(listen(shared, session, &mut control));
    let mut listening = true;
    let allowance = Allowance::new(connection);
    let datagrams = Datagrams::new(connection, shared.datagrams.clone());
    let mut arriving = pin!(datagrams.run());
    loop {
        tokio::select! {
            stream = connection.accept_bi() => match stream {
                Ok((send, recv)) => {
                    let (datagrams, _allowed) = (datagrams.clone(), allowance.accepted());
                    let flow = tunnel::Flow { send, recv, datagrams, _allowed };
                    shared.tasks.spawn(tunnel::carry(shared.clone(), session.clone(), flow));
                }
                Err(_) => return End::Connection,
            },
            () = moving.step(shared, session) => {}
            () = &mut arriving => return End::Connection,
            end = &mut said, if listening => match end {
                Some(end) => return end,
                None => listening = false,
            },
        }
    }
}

/// Does what the client asks on the control stream. `None` when it has no more to say; the connection itself tells its end.
async fn listen(shared: &Arc<Shared>, session: &Session, control: &mut RecvStream) -> Option<End> {
    loop {
        match read_frame_within::<ClientNotice>(control, NOTICE_LIMIT).await {
            Ok(ClientNotice::SignOff) => return Some(End::SignedOff),
            Ok(ClientNotice::Renew) => {
                let answer = renewal::offer(shared, session).await;
                session.notify(&Notice::Renewal(answer)).await;
            }
            Err(FramedError::Ended | FramedError::Lost(_)) => return None,
            Err(_) => return Some(End::Broken),
        }
    }
}
