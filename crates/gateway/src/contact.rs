//! First contact: from a spent tag to a session, an enrolment, or nothing.
//!
//! The tag names the admission, the admission names the device, and only that device's key passes the handshake. Whoever
//! fails there has seen one encrypted flight of the gateway and no certificate.

use crate::audit;
use crate::contacts::Contact;
use crate::control::Control;
use crate::directory::AuditKind;
use crate::moving::Moving;
use crate::sessions::{Session, Told};
use crate::shared::Shared;
use crate::{enrolment, login, resume, serve};
use quinn::Connection;
use std::sync::Arc;
use std::time::{Duration, Instant};
use vestibule_dark::tls::{self, ClientPins};
use vestibule_dark::{Dark, FirstContact, Flow, TransportKind, Way, exporter, transport};
use vestibule_door::Command;
use vestibule_proto::admission::Granted;
use vestibule_proto::gateway_key::Voucher;
use vestibule_proto::id::TicketId;
use vestibule_proto::inner::Purpose;
use vestibule_proto::session::{ClientHello, GatewayHello, Reason, SESSION_VERSION, Wanted, code};

/// How long a client may take for the handshake and its first frame.
const GREETING_WITHIN: Duration = Duration::from_secs(5);

/// The largest first frame that is read, in bytes.
const HELLO_LIMIT: usize = 4_096;

/// Takes every connection whose first packet bore an unspent tag.
pub(crate) async fn accept(shared: Arc<Shared>, dark: Dark) {
    while let Some(contact) = dark.accept().await {
        shared.tasks.spawn(meet(shared.clone(), contact));
    }
}

async fn meet(shared: Arc<Shared>, contact: FirstContact) {
    let (ticket, until) = (contact.ticket, Instant::now() + GREETING_WITHIN);
    if let Some(granted) = shared.admission.spend(&shared, ticket, contact.source).await {
        shared.greetings.begin(&granted);
        meet_as(&shared, contact, granted).await;
        if shared.greetings.waits(&ticket) {
            // It failed; until its time is over the device may still come by another way. A gateway that stops needn't wait for that.
            let shared = Arc::downgrade(&shared);
            tokio::spawn(async move {
                tokio::time::sleep_until(until.into()).await;
                if let Some(shared) = shared.upgrade().filter(|shared| shared.greetings.end(&ticket)) {
                    shut(&shared, ticket);
                }
            });
        }
    } else if let Some(granted) = shared.greetings.another(&ticket, contact.source) {
        meet_as(&shared, contact, granted).await;
    } else {
        // A tag whose admission was withdrawn at this moment, or whose device was heard: nobody is there.
        contact.ignore();
    }
}

async fn meet_as(shared: &Arc<Shared>, contact: FirstContact, granted: Granted) {
    match tokio::time::timeout(GREETING_WITHIN, greet(shared, contact, &granted)).await {
        Ok(Ok(greeted)) if shared.greetings.end(&granted.ticket.id) => {
            shut(shared, granted.ticket.id);
            proceed(shared.clone(), granted, greeted).await;
        }
        // The device was heard by another way.
        Ok(Ok(greeted)) => greeted.connection.close(code::DONE.into(), b""),
        Ok(Err(error)) => failed(shared, &granted, &error),
        Err(_) => failed(shared, &granted, &"it took too long"),
    }
}

/// The device was heard, or its time is over: the admission's other tags open nothing any more.
fn shut(shared: &Shared, ticket: TicketId) {
    if let Err(error) = shared.door.apply(&Command::Withdraw(ticket), Instant::now()) {
        tracing::warn!(%error, "the door still knows tags of an admission");
    }
}

fn failed(shared: &Shared, granted: &Granted, error: &dyn std::fmt::Display) {
    // Of several ways that a device tries at once it gives up all but one.
    if !shared.greetings.waits(&granted.ticket.id) {
        return;
    }
    shared.counters.failed_contact();
    tracing::info!(device = %granted.device, source = %granted.source, %error, "a first contact failed");
}

/// A client whose device key was proved, and what it said first.
struct Greeted {
    connection: Connection,
    way: Way,
    flow: Flow,
    control: Control,
    hello: ClientHello,
}

async fn greet(
    shared: &Shared,
    contact: FirstContact,
    granted: &Granted,
) -> Result<Greeted, Box<dyn std::error::Error + Send + Sync>> {
    let pin = shared.directory.tls_key(&granted.device)?.ok_or("the device is gone")?;
    let keys = shared.keys.tls();
    let time = shared.kept.read(Instant::now());
    let own = keys.for_device(granted.expects, time).ok_or("it expects a key of this gateway that counts no more")?;
    if own.spki() != keys.present().spki() {
        shared.counters.former_key();
    }
    let config = tls::server_config(own, ClientPins::Exact(pin), tls::ALPN_SESSION)?;
    let way = contact.way();
    let (connecting, flow) = contact.accept_moving(config, transport(TransportKind::Session))?;
    let connection = connecting.await?;
    let (send, recv) = connection.accept_bi().await?;
    let mut control = Control::new(send, recv);
    let hello = control.hear(HELLO_LIMIT).await?;
    Ok(Greeted { connection, way, flow, control, hello })
}

/// Does what the client knocked for, and nothing else.
async fn proceed(shared: Arc<Shared>, granted: Granted, greeted: Greeted) {
    let Greeted { connection, way, flow, mut control, hello } = greeted;
    let (newest, voucher) = (hello.versions.1, Voucher::of(&granted.ticket));
    let told = Told { way, newest, expects: granted.expects, voucher };
    // From here on a revocation of the device closes the connection, wherever it stands.
    let contact = Contact::enter(&shared, granted.device, &connection);
    // One that came while the client greeted has not found it.
    let outcome = match shared.directory.standing(&granted.device) {
        Ok(()) => wanted(&shared, &granted, &connection, &mut control, hello).await,
        Err(error) => Err(error.reason()),
    };
    match outcome {
        Ok(Done::Session(session)) => {
            contact.has_session();
            let moving = Moving::begin(&shared, &granted, &session, &connection, flow);
            // In a task of its own: what the login needed is given back.
            shared.tasks.spawn(serve::serve(shared.clone(), session, contact, moving, (connection, told), control));
        }
        // The client comes again as a device.
        Ok(Done::Enrolled) => control.end(&connection, code::DONE).await,
        Err(reason) => {
            tell(&shared, &granted, reason);
            // A client that has gone away needs no reason.
            let _ = control.say(&GatewayHello::Refused(reason)).await;
            control.end(&connection, code::REFUSED).await;
        }
    }
}

/// Tells the owner of a refusal inside the door. Wrong passwords are in the audit log already, since they were counted.
fn tell(shared: &Arc<Shared>, granted: &Granted, reason: Reason) {
    tracing::info!(device = %granted.device, source = %granted.source, reason = reason.as_str(), "refused inside the door");
    shared.counters.refused_contact();
    let kind = match granted.purpose {
        Purpose::Login | Purpose::Resume | Purpose::Leave => AuditKind::LoginRefused,
        Purpose::Enrol => AuditKind::InvitationRefused,
    };
    if !matches!(reason, Reason::LoginFailed { .. } | Reason::SignedOff) {
        audit::write(shared, audit::about(shared, kind, &granted.device, granted.source).detail(reason.as_str()));
    }
}

/// What a client has got.
enum Done {
    Session(Arc<Session>),
    Enrolled,
}

async fn wanted(
    shared: &Arc<Shared>,
    granted: &Granted,
    connection: &Connection,
    control: &mut Control,
    hello: ClientHello,
) -> Result<Done, Reason> {
    let (lowest, highest) = hello.versions;
    if !(lowest..=highest).contains(&SESSION_VERSION) {
        return Err(Reason::Version);
    }
    let (exporter, address) = (exporter(connection).map_err(|_| Reason::GatewayFault)?, granted.source);
    match (granted.purpose, hello.purpose) {
        (Purpose::Login, Wanted::Login { user, ke1 }) => {
            let _permit = shared.logins.try_acquire().map_err(|_| Reason::Busy)?;
            login::login(shared, granted, control, &exporter, (&user, &ke1), address).await.map(Done::Session)
        }
        (Purpose::Resume, Wanted::Resume { session, proof }) => {
            resume::resume(shared, granted, &exporter, (session, proof), address).await.map(Done::Session)
        }
        (Purpose::Leave, Wanted::Resume { session, proof }) => {
            let session = resume::resume(shared, granted, &exporter, (session, proof), address).await?;
            shared.sign_off(&session);
            Err(Reason::SignedOff)
        }
        (Purpose::Enrol, Wanted::Enrol(start)) => {
            let _permit = shared.logins.try_acquire().map_err(|_| Reason::Busy)?;
            enrolment::enrol(shared, granted, control, (*start, highest)).await.map(|()| Done::Enrolled)
        }
        (
            Purpose::Login | Purpose::Resume | Purpose::Leave | Purpose::Enrol,
            Wanted::Login { .. } | Wanted::Resume { .. } | Wanted::Enrol(_),
        ) => Err(Reason::Malformed),
    }
}
