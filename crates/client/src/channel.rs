//! Step 6, its second half: what is said on the control stream until the session stands (L1-L4, R1).

use crate::dial::Dialled;
use crate::error::{ClientError, GatewayAway};
use quinn::{Connection, ConnectionError, RecvStream, SendStream};
use serde::{Serialize, de::DeserializeOwned};
use std::time::{Duration, Instant};
use vestibule_dark::framed::{FramedError, read_frame, write_frame};
use vestibule_proto::entropy::SystemEntropy;
use vestibule_proto::frame;
use vestibule_proto::id::{ServiceName, SessionId};
use vestibule_proto::key::Secret;
use vestibule_proto::login::{KE3_LEN, LoginContext, LoginError, LoginNames, LoginStart, login_context};
use vestibule_proto::session::{
    ClientHello, GatewayHello, LoginFinish, SESSION_NEWEST, SESSION_VERSION, Wanted, Welcome, code, resume_proof,
};
use vestibule_proto::ticket::Ticket;

/// How long the gateway may take for its next message; it may be stretching a password for many at once.
const MESSAGE_WITHIN: Duration = Duration::from_secs(20);

/// The control stream.
pub(crate) struct Control {
    pub(crate) send: SendStream,
    pub(crate) recv: RecvStream,
}

impl Control {
    /// Opens it and says what this connection is for.
    pub(crate) async fn greet(connection: &Connection, purpose: Wanted) -> Result<Self, ClientError> {
        let (send, recv) = connection.open_bi().await.map_err(|error| lost(&error))?;
        let mut control = Self { send, recv };
        control.say(&ClientHello { versions: (SESSION_VERSION, SESSION_NEWEST), purpose }).await?;
        Ok(control)
    }

    /// Says something.
    pub(crate) async fn say<T: Serialize>(&mut self, message: &T) -> Result<(), ClientError> {
        write_frame(&mut self.send, message).await.map_err(|error| framed(&error))
    }

    /// The gateway's next message.
    pub(crate) async fn hear<T: DeserializeOwned>(&mut self) -> Result<T, ClientError> {
        let heard = tokio::time::timeout(MESSAGE_WITHIN, read_frame(&mut self.recv)).await;
        heard.map_err(|_| ClientError::GatewayAway(GatewayAway::Lost))?.map_err(|error| framed(&error))
    }

    /// The gateway's next message, not decoded yet: for where it may be one of two types.
    pub(crate) async fn hear_document(&mut self) -> Result<Vec<u8>, ClientError> {
        let recv = &mut self.recv;
        let heard = tokio::time::timeout(MESSAGE_WITHIN, async {
            let mut head = [0; frame::LENGTH_LEN];
            recv.read_exact(&mut head).await.map_err(|_| ClientError::GatewayAway(GatewayAway::Lost))?;
            let mut document = vec![0; frame::document_length(head).map_err(ClientError::unexpected)?];
            recv.read_exact(&mut document).await.map_err(|_| ClientError::GatewayAway(GatewayAway::Lost))?;
            Ok(document)
        });
        heard.await.map_err(|_| ClientError::GatewayAway(GatewayAway::Lost))?
    }
}

/// L1 to L4. Returns the session and how long the password's stretching took.
///
/// # Errors
/// [`ClientError::LoginFailed`] with the tries that are used now, or the gateway's reason.
pub(crate) async fn log_in(
    dialled: &Dialled,
    ticket: &Ticket,
    names: &LoginNames,
    login_input: Secret<32>,
) -> Result<(Control, Welcomed, Duration), ClientError> {
    let (start, ke1) = LoginStart::begin(login_input, &mut SystemEntropy).map_err(ClientError::unexpected)?;
    let wanted = Wanted::Login { user: names.user.to_string(), ke1 };
    let mut control = Control::greet(&dialled.connection, wanted).await?;
    let (ke2, ksf) = match control.hear().await? {
        GatewayHello::Challenge { ke2, ksf } => (ke2, ksf),
        GatewayHello::Refused(reason) => return Err(ClientError::from_reason(reason)),
        GatewayHello::Welcome(_)
        | GatewayHello::WelcomeDirect(..)
        | GatewayHello::Enrol(_)
        | GatewayHello::Enrolled(_)
        | GatewayHello::EnrolledWaiting(_) => return Err(out_of_order()),
    };
    let context = context(dialled, ticket)?;
    let begun = Instant::now();
    let names = names.clone();
    let finished = tokio::task::spawn_blocking(move || start.finish(&ke2, &context, &names, &ksf, &mut SystemEntropy));
    let finished = finished.await.map_err(ClientError::unexpected)?;
    let stretching = begun.elapsed();
    let ke3 = match finished {
        Ok((ke3, _)) => ke3,
        // Told by what the gateway proved; it has counted the try already, and only it knows how many there are. What is
        // sent instead of a proof can't be one.
        Err(LoginError::WrongPassword) => vec![0; KE3_LEN],
        Err(error @ (LoginError::Malformed | LoginError::DamagedRecord)) => return Err(ClientError::unexpected(error)),
    };
    control.say(&LoginFinish { ke3 }).await?;
    let welcome = welcome(control.hear().await?)?;
    Ok((control, welcome, stretching))
}

/// R1: proves an earlier session on this connection.
///
/// # Errors
/// [`ClientError::SessionEnded`] if the gateway does not know it any more, or another of its reasons.
pub(crate) async fn resume(
    dialled: &Dialled,
    ticket: &Ticket,
    session: SessionId,
    resume_secret: &Secret<32>,
) -> Result<(Control, Welcomed), ClientError> {
    let exporter = exporter(&dialled.connection)?;
    let proof = resume_proof(resume_secret, &exporter, &ticket.inner_hash, &ticket.id);
    let mut control = Control::greet(&dialled.connection, Wanted::Resume { session, proof }).await?;
    let welcome = welcome(control.hear().await?)?;
    Ok((control, welcome))
}

/// L4, with the names of the services that are direct.
pub(crate) type Welcomed = (Welcome, Vec<ServiceName>);

fn welcome(hello: GatewayHello) -> Result<Welcomed, ClientError> {
    match hello {
        GatewayHello::Welcome(welcome) => Ok((*welcome, Vec::new())),
        GatewayHello::WelcomeDirect(welcome, direct) => Ok((*welcome, direct)),
        GatewayHello::Refused(reason) => Err(ClientError::from_reason(reason)),
        GatewayHello::Challenge { .. }
        | GatewayHello::Enrol(_)
        | GatewayHello::Enrolled(_)
        | GatewayHello::EnrolledWaiting(_) => Err(out_of_order()),
    }
}

fn context(dialled: &Dialled, ticket: &Ticket) -> Result<LoginContext, ClientError> {
    let exporter = exporter(&dialled.connection)?;
    Ok(login_context(SESSION_VERSION, &exporter, &ticket.inner_hash, ticket.id))
}

fn exporter(connection: &Connection) -> Result<[u8; 32], ClientError> {
    vestibule_dark::exporter(connection).map_err(ClientError::unexpected)
}

pub(crate) fn out_of_order() -> ClientError {
    ClientError::unexpected("the gateway sent a message out of order")
}

/// What a stream's failure means.
pub(crate) fn framed(error: &FramedError) -> ClientError {
    match error {
        FramedError::Lost(error) => lost(error),
        FramedError::Ended | FramedError::Cut | FramedError::Reset(_) | FramedError::Closed => {
            ClientError::GatewayAway(GatewayAway::Lost)
        }
        FramedError::Frame(error) => ClientError::unexpected(error),
    }
}

/// What the end of a connection means.
pub(crate) fn lost(error: &ConnectionError) -> ClientError {
    match error {
        ConnectionError::ApplicationClosed(close) if close.error_code == code::REFUSED.into() => {
            ClientError::unexpected("the gateway closed the connection without a reason")
        }
        ConnectionError::VersionMismatch
        | ConnectionError::TransportError(_)
        | ConnectionError::ConnectionClosed(_)
        | ConnectionError::ApplicationClosed(_)
        | ConnectionError::Reset
        | ConnectionError::TimedOut
        | ConnectionError::LocallyClosed
        | ConnectionError::CidsExhausted => ClientError::GatewayAway(GatewayAway::Lost),
    }
}
