//! The client's side of every step, without a local credential: what it would hold is in memory.

use quinn::{Connection, ConnectionError, Endpoint, RecvStream, SendStream};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};
use tokio::net::UdpSocket;
use tokio::time::timeout;
use vestibule_dark::framed::{FramedError, read_frame, write_frame};
use vestibule_dark::{DialError, TransportKind, dial, exporter, tls, transport};
use vestibule_proto::enrol::{EnrolConfirm, EnrolDone, EnrolStart, EnrolUpload};
use vestibule_proto::entropy::SystemEntropy;
use vestibule_proto::id::{DeviceId, GatewayId, Now, ServiceName, SessionId, Stamp, UserName};
use vestibule_proto::inner::Purpose;
use vestibule_proto::invitation::Invitation;
use vestibule_proto::key::{PrivateKey, Psk, Secret, SigningKey, Spki};
use vestibule_proto::knocker::{self, Admitted, Ask, KnockEvent, KnockFailure, Knocker, Schedule};
use vestibule_proto::login::{KE3_LEN, LoginNames, LoginStart, RegistrationStart, login_context, password_input};
use vestibule_proto::outer::ControllerPin;
use vestibule_proto::session::{
    ClientHello, ClientNotice, GatewayHello, LoginFinish, Notice, Open, Opened, Reason, SESSION_VERSION, Target,
    Wanted, Welcome, resume_proof,
};

use super::{ANY, SOON};

/// An enrolled device, unlocked.
pub(crate) struct Device {
    pub(crate) id: DeviceId,
    pub(crate) user: UserName,
    pub(crate) gateway: GatewayId,
    pub(crate) keys: Arc<knocker::Device>,
    pub(crate) d_tls: SigningKey,
    pub(crate) pepper: Secret<32>,
    pub(crate) pins: Vec<Spki>,
    pub(crate) controllers: Vec<SocketAddr>,
    last_stamp: Mutex<Stamp>,
}

/// Why the client got no session.
#[derive(Debug)]
#[allow(dead_code, reason = "read in reports")]
pub(crate) enum Failure {
    Knock(KnockFailure),
    Dial(DialError),
    /// The gateway refused inside the channel.
    Refused(Reason),
    /// The channel broke.
    Channel(FramedError),
}

impl From<FramedError> for Failure {
    fn from(error: FramedError) -> Self {
        Self::Channel(error)
    }
}

/// A connection through the door, with its control stream.
pub(crate) struct Channel {
    pub(crate) endpoint: Endpoint,
    pub(crate) connection: Connection,
    pub(crate) send: SendStream,
    pub(crate) recv: RecvStream,
}

/// A session over a connection.
pub(crate) struct Session {
    pub(crate) channel: Channel,
    pub(crate) welcome: Welcome,
}

pub(crate) fn now() -> Now {
    Now::new(Instant::now(), Stamp::from_system(SystemTime::now()))
}

/// Steps 2 to 5: knocks until the machine is done.
pub(crate) async fn knock(
    keys: &Arc<knocker::Device>,
    controllers: &[SocketAddr],
    ask: Ask,
    last_stamp: &Mutex<Stamp>,
) -> Result<Admitted, KnockFailure> {
    let socket = UdpSocket::bind(ANY).await.unwrap();
    let last = *last_stamp.lock().unwrap();
    // Who is not answered after three tries within two seconds is not answered at all.
    let schedule = Schedule { pauses: vec![Duration::from_millis(700); 3], rounds: 1 };
    let mut knocker = Knocker::new(keys.clone(), ask, controllers, Vec::new(), last, now()).with_schedule(schedule);
    knocker.handle_timeout(now(), &mut SystemEntropy);
    *last_stamp.lock().unwrap() = knocker.last_stamp();
    until_answered(&mut knocker, &socket).await
}

/// Drives a knocker that has begun, over this socket, until it has its answer or gives up.
pub(crate) async fn until_answered(knocker: &mut Knocker, socket: &UdpSocket) -> Result<Admitted, KnockFailure> {
    let mut buffer = [0; 2_048];
    loop {
        while let Some(transmit) = knocker.poll_transmit() {
            socket.send_to(&transmit.payload, transmit.to).await.unwrap();
        }
        match knocker.poll_event() {
            Some(KnockEvent::Admitted(admitted)) => return Ok(admitted),
            Some(KnockEvent::Failed(failure)) => return Err(failure),
            Some(KnockEvent::ClockCorrected { .. }) | None => {}
        }
        let next = knocker.poll_timeout().unwrap_or_else(Instant::now);
        tokio::select! {
            received = socket.recv_from(&mut buffer) => {
                let (length, from) = received.unwrap();
                knocker.handle_input(from, &buffer[..length], now(), &mut SystemEntropy);
            }
            () = tokio::time::sleep_until(next.into()) => knocker.handle_timeout(now(), &mut SystemEntropy),
        }
    }
}

/// The first packet with a tag, the handshake, and the control stream's first frame.
pub(crate) async fn come_in(
    admitted: &Admitted,
    d_tls: &SigningKey,
    pins: &[Spki],
) -> Result<(Endpoint, Connection), DialError> {
    come_in_by(admitted, 0, d_tls, pins).await
}

/// By the admission's tag of this number.
pub(crate) async fn come_in_by(
    admitted: &Admitted,
    number: u8,
    d_tls: &SigningKey,
    pins: &[Spki],
) -> Result<(Endpoint, Connection), DialError> {
    let (to, tag) = (admitted.gateways[0], admitted.ticket.tag(number));
    dial(ANY, to, tag, d_tls, pins, tls::ALPN_SESSION, transport(TransportKind::Session)).await
}

impl Channel {
    pub(crate) async fn open(
        admitted: &Admitted,
        d_tls: &SigningKey,
        pins: &[Spki],
        purpose: impl FnOnce(&Connection) -> Wanted,
    ) -> Result<Self, Failure> {
        Self::over(come_in(admitted, d_tls, pins).await.map_err(Failure::Dial)?, purpose).await
    }

    /// The first word over a connection that stands.
    pub(crate) async fn over(
        (endpoint, connection): (Endpoint, Connection),
        purpose: impl FnOnce(&Connection) -> Wanted,
    ) -> Result<Self, Failure> {
        let (mut send, recv) =
            connection.open_bi().await.map_err(|error| Failure::Channel(FramedError::Lost(error)))?;
        let hello = ClientHello { versions: (SESSION_VERSION, SESSION_VERSION), purpose: purpose(&connection) };
        write_frame(&mut send, &hello).await?;
        Ok(Self { endpoint, connection, send, recv })
    }

    pub(crate) async fn hear(&mut self) -> Result<GatewayHello, Failure> {
        match timeout(SOON, read_frame(&mut self.recv)).await.expect("the gateway answers")? {
            GatewayHello::Refused(reason) => Err(Failure::Refused(reason)),
            other => Ok(other),
        }
    }
}

impl Device {
    /// The same device, whose second layer was opened with another password: other inner keys.
    pub(crate) fn with_wrong_layer(&self) -> Self {
        let keys = knocker::Device {
            gateway: self.keys.gateway,
            controller: self.keys.controller.clone(),
            d_out: self.keys.d_out.clone(),
            psk_c: self.keys.psk_c.clone(),
            psk_r: self.keys.psk_r.clone(),
            digest: self.keys.digest,
            gateway_key: self.keys.gateway_key,
            expects: self.keys.expects,
            d_in: PrivateKey::random(&mut SystemEntropy),
            psk_g: Psk::random(&mut SystemEntropy),
        };
        Self {
            id: self.id,
            user: self.user.clone(),
            gateway: self.gateway,
            keys: Arc::new(keys),
            d_tls: SigningKey::random(&mut SystemEntropy),
            pepper: self.pepper.clone(),
            pins: self.pins.clone(),
            controllers: self.controllers.clone(),
            last_stamp: Mutex::new(*self.last_stamp.lock().unwrap()),
        }
    }

    pub(crate) async fn knock(&self, purpose: Purpose, session: Option<SessionId>) -> Result<Admitted, KnockFailure> {
        knock(&self.keys, &self.controllers, Ask { purpose, session }, &self.last_stamp).await
    }

    /// Steps 2 to 6.
    pub(crate) async fn login(&self, password: &str) -> Result<Session, Failure> {
        self.login_as(self.user.as_str(), password).await
    }

    pub(crate) async fn login_as(&self, user: &str, password: &str) -> Result<Session, Failure> {
        let admitted = self.knock(Purpose::Login, None).await.map_err(Failure::Knock)?;
        self.login_with(&admitted, user, password).await
    }

    /// Step 6 alone.
    pub(crate) async fn login_with(&self, admitted: &Admitted, user: &str, password: &str) -> Result<Session, Failure> {
        let (start, ke1) = LoginStart::begin(password_input(&self.pepper, password.as_bytes()), &mut SystemEntropy)
            .expect("a password can be blinded");
        let wanted = Wanted::Login { user: user.to_owned(), ke1 };
        let mut channel = Channel::open(admitted, &self.d_tls, &self.pins, |_| wanted).await?;
        let GatewayHello::Challenge { ke2, ksf } = channel.hear().await? else { panic!("no challenge") };
        let exporter = exporter(&channel.connection).unwrap();
        let context = login_context(SESSION_VERSION, &exporter, &admitted.ticket.inner_hash, admitted.ticket.id);
        let names = LoginNames { user: UserName::parse(user).unwrap(), gateway: self.gateway, device: self.id };
        // Who sees by KE2 that the password is wrong asks all the same: the gateway tells how many tries are used.
        let ke3 = match start.finish(&ke2, &context, &names, &ksf, &mut SystemEntropy) {
            Ok((ke3, _)) => ke3,
            Err(_) => vec![0; KE3_LEN],
        };
        write_frame(&mut channel.send, &LoginFinish { ke3 }).await?;
        let GatewayHello::Welcome(welcome) = channel.hear().await? else { panic!("no welcome") };
        Ok(Session { channel, welcome: *welcome })
    }

    /// R1: resumes over a new connection.
    pub(crate) async fn resume(&self, welcome: &Welcome) -> Result<Session, Failure> {
        self.resume_by(Purpose::Resume, welcome.session, &welcome.resume_secret).await
    }

    pub(crate) async fn resume_by(
        &self,
        purpose: Purpose,
        session: SessionId,
        secret: &Secret<32>,
    ) -> Result<Session, Failure> {
        let admitted = self.knock(purpose, Some(session)).await.map_err(Failure::Knock)?;
        let wanted = |connection: &Connection| {
            let exporter = exporter(connection).unwrap();
            let proof = resume_proof(secret, &exporter, &admitted.ticket.inner_hash, &admitted.ticket.id);
            Wanted::Resume { session, proof }
        };
        let mut channel = Channel::open(&admitted, &self.d_tls, &self.pins, wanted).await?;
        let GatewayHello::Welcome(welcome) = channel.hear().await? else { panic!("no welcome") };
        Ok(Session { channel, welcome: *welcome })
    }
}

impl Session {
    /// T: opens a connection to a service.
    pub(crate) async fn open(&self, service: &str) -> Result<(SendStream, RecvStream), Reason> {
        self.open_target(Target::Service(ServiceName::parse(service).unwrap())).await
    }

    pub(crate) async fn open_target(&self, target: Target) -> Result<(SendStream, RecvStream), Reason> {
        let (mut send, mut recv) = self.channel.connection.open_bi().await.unwrap();
        write_frame(&mut send, &Open { target }).await.unwrap();
        match timeout(2 * SOON, read_frame(&mut recv)).await.expect("the gateway answers").unwrap() {
            Opened::Connected => Ok((send, recv)),
            Opened::Direct { .. } => panic!("nobody asked for it"),
            Opened::Refused(reason) => Err(reason),
        }
    }

    /// Echoes a few bytes through an echo service: the flow works.
    pub(crate) async fn echoes(&self, service: &str, greeting: &str) {
        let (mut send, mut recv) = self.open(service).await.unwrap();
        exchange(&mut send, &mut recv, greeting).await;
        send.finish().unwrap();
    }

    /// The next notice.
    pub(crate) async fn notice(&mut self) -> Result<Notice, FramedError> {
        timeout(SOON, read_frame(&mut self.channel.recv)).await.expect("the gateway says something")
    }

    /// The code with which the gateway closes the connection.
    pub(crate) async fn close_code(&self) -> u32 {
        match timeout(SOON, self.channel.connection.closed()).await.expect("the gateway closes") {
            ConnectionError::ApplicationClosed(closed) => u32::try_from(closed.error_code.into_inner()).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn sign_off(&mut self) {
        write_frame(&mut self.channel.send, &ClientNotice::SignOff).await.unwrap();
    }

    /// Goes away without a word to the gateway's session.
    pub(crate) async fn leave(self) -> Welcome {
        self.channel.connection.close(0u32.into(), b"");
        self.channel.endpoint.wait_idle().await;
        self.welcome
    }
}

/// What an invitation knocks with.
pub(crate) fn invited_keys(invitation: &Invitation) -> (Arc<knocker::Device>, SigningKey) {
    let keys = invitation.keys();
    let device = knocker::Device {
        gateway: invitation.gateway,
        controller: ControllerPin { key: invitation.controller_key, realm: invitation.realm.clone() },
        d_out: keys.knock.d_out,
        psk_c: keys.knock.psk_c,
        psk_r: keys.psk_r,
        digest: keys.knock.digest,
        gateway_key: invitation.gateway_key,
        expects: None,
        d_in: keys.d_in,
        psk_g: keys.psk_g,
    };
    (Arc::new(device), keys.d_tls)
}

fn addresses(invitation: &Invitation) -> Vec<SocketAddr> {
    invitation.controllers.iter().map(|text| text.parse().unwrap()).collect()
}

/// An enrolment, up to and with `Enrolled`.
pub(crate) struct Enrolment {
    channel: Channel,
    device: Device,
}

/// E1: enrols a device by an invitation.
pub(crate) async fn enrol(invitation: &Invitation, password: &str) -> Result<Device, Failure> {
    begin_enrolment(invitation, password).await?.confirm().await
}

/// E1 without its last step.
pub(crate) async fn begin_enrolment(invitation: &Invitation, password: &str) -> Result<Enrolment, Failure> {
    let entropy = &mut SystemEntropy;
    let ((keys, link_tls), controllers) = (invited_keys(invitation), addresses(invitation));
    let ask = Ask { purpose: Purpose::Enrol, session: None };
    let admitted = knock(&keys, &controllers, ask, &Mutex::default()).await.map_err(Failure::Knock)?;

    let (d_out, d_in, d_tls) = (PrivateKey::random(entropy), PrivateKey::random(entropy), SigningKey::random(entropy));
    let (pepper, psk_g) = (Secret::random(entropy), Psk::random(entropy));
    let (start, registration_request) =
        RegistrationStart::begin(password_input(&pepper, password.as_bytes()), entropy).unwrap();
    let wanted = Wanted::Enrol(Box::new(EnrolStart {
        user: invitation.user.clone(),
        device_name: "laptop".to_owned(),
        d_out: d_out.public(),
        d_in: d_in.public(),
        d_tls: d_tls.spki(),
        psk_g: psk_g.clone(),
        fingerprint_commitment: [7; 32],
        registration_request,
    }));
    let mut channel = Channel::open(&admitted, &link_tls, &invitation.gateway_pins, |_| wanted).await?;
    let GatewayHello::Enrol(response) = channel.hear().await? else { panic!("no enrolment") };
    let user = UserName::parse(&invitation.user).unwrap();
    let names = LoginNames { user: user.clone(), gateway: invitation.gateway, device: response.device };
    let record = start.finish(&response.registration_response, &names, &response.ksf, entropy).unwrap();
    write_frame(&mut channel.send, &EnrolUpload { record }).await?;
    let GatewayHello::Enrolled(enrolled) = channel.hear().await? else { panic!("not enrolled") };
    let keys = knocker::Device {
        gateway: invitation.gateway,
        controller: ControllerPin { key: invitation.controller_key, realm: invitation.realm.clone() },
        d_out,
        psk_c: enrolled.psk_c,
        psk_r: enrolled.psk_r,
        digest: enrolled.digest,
        gateway_key: invitation.gateway_key,
        expects: None,
        d_in,
        psk_g,
    };
    let device = Device {
        id: enrolled.device,
        user,
        gateway: invitation.gateway,
        keys: Arc::new(keys),
        d_tls,
        pepper,
        pins: enrolled.gateway_pins,
        controllers,
        last_stamp: Mutex::default(),
    };
    Ok(Enrolment { channel, device })
}

impl Enrolment {
    /// The last step: the local credential is on disk.
    pub(crate) async fn confirm(mut self) -> Result<Device, Failure> {
        write_frame(&mut self.channel.send, &EnrolConfirm { device: self.device.id }).await?;
        let done: EnrolDone = timeout(SOON, read_frame(&mut self.channel.recv)).await.expect("an answer")?;
        assert!(done.published, "the controller has the row");
        Ok(self.device)
    }

    /// The device as if it were enrolled.
    pub(crate) fn into_device(self) -> Device {
        self.device
    }
}

/// Sends a word through an open flow to an echo upstream, and gets it back; the first time behind the upstream's greeting.
pub(crate) async fn exchange(send: &mut SendStream, recv: &mut RecvStream, greeting: &str) {
    send.write_all(b"word").await.unwrap();
    let mut got = vec![0; greeting.len() + 4];
    timeout(SOON, recv.read_exact(&mut got)).await.expect("an echo").unwrap();
    assert_eq!(got, [greeting.as_bytes(), b"word"].concat());
}
