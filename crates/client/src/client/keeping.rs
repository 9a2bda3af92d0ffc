//! The shell around [`Keeper`]: one task per session that listens to the gateway, looks at this machine's addresses, and does what
//! the machine commands.

use super::moving::move_over;
use super::silence::Silence;
use super::{Keeping, Phase, Shared, lock};
use crate::address::{News, SleepWatch, SourceWatch};
use crate::channel::Control;
use crate::connect::{self, Connected, Live};
use crate::error::{ClientError, GatewayAway};
use crate::keeper::{Command, Event, Input, Keeper};
use crate::kept::Learned;
use quinn::{Connection, ConnectionError, RecvStream, SendStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::task::AbortOnDropHandle;
use vestibule_dark::Way;
use vestibule_dark::framed::{FramedError, read_frame, write_frame};
use vestibule_proto::entropy::SystemEntropy;
use vestibule_proto::gateway_key::NewKey;
use vestibule_proto::inner::Purpose;
use vestibule_proto::session::{ClientNotice, Notice, code};

/// How long the gateway may take to acknowledge a sign-off.
const FAREWELL: Duration = Duration::from_secs(3);
/// How long the gateway may take from its last word to the connection's end.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);
/// Room in the channels between the tasks of one session.
const ROOM: usize = 16;

/// What the rest of the program wants of the task.
pub(super) enum Order {
    /// End the session; tell when that is done.
    SignOff(oneshot::Sender<Result<(), ClientError>>),
}

/// What the task's own helpers report. The number is that of the connection or attempt that it is about.
enum Report {
    /// The gateway said something on the control stream.
    Notice(u64, Notice),
    /// The connection is gone; nothing more will be said.
    Broke(u64),
    /// The gateway has answered at this machine's new address.
    Moved(u64),
    /// What came of a resumption.
    Outcome(u64, Result<Box<Connected>, ClientError>),
}

/// Starts the task for a session that stands.
pub(super) fn start(shared: Arc<Shared>, live: Arc<Live>, control: Control) -> Keeping {
    let (orders, ordered) = mpsc::channel(ROOM);
    let (reports, reported) = mpsc::channel(ROOM);
    let mut task = Task::new(shared, live, control, reports);
    let task = tokio::spawn(async move { task.run(ordered, reported).await });
    Keeping { orders, _task: AbortOnDropHandle::new(task) }
}

struct Task {
    shared: Arc<Shared>,
    keeper: Keeper,
    live: Arc<Live>,
    /// The sending half of the control stream, while connected.
    send: Option<SendStream>,
    /// Counts connections and attempts, so that late news of an earlier one are known as such.
    numbers: u64,
    /// Listens to the connection that there is.
    listening: Option<(u64, AbortOnDropHandle<()>)>,
    /// The attempt that is under way.
    resuming: Option<(u64, AbortOnDropHandle<()>)>,
    /// Says "I moved".
    moving: Option<(u64, AbortOnDropHandle<()>)>,
    silence: Silence,
    was_silent: bool,
    /// What is being written down.
    learning: JoinSet<()>,
    reports: mpsc::Sender<Report>,
    source: SourceWatch,
    sleep: SleepWatch,
}

impl Task {
    fn new(shared: Arc<Shared>, live: Arc<Live>, control: Control, reports: mpsc::Sender<Report>) -> Self {
        let Control { send, recv } = control;
        let listening = listen(0, live.connection.clone(), recv, reports.clone());
        Self {
            shared,
            keeper: Keeper::new(live.expires, Instant::now()),
            source: SourceWatch::new(live.address()),
            sleep: SleepWatch::new(Instant::now(), SystemTime::now()),
            live,
            send: Some(send),
            numbers: 0,
            listening: Some((0, listening)),
            resuming: None,
            moving: None,
            silence: Silence::default(),
            was_silent: false,
            learning: JoinSet::new(),
            reports,
        }
    }

    /// Until the session is over or the last client is dropped.
    async fn run(&mut self, mut ordered: mpsc::Receiver<Order>, mut reported: mpsc::Receiver<Report>) {
        let mut news = News::new();
        let mut look = tokio::time::interval(self.shared.options.look_every);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let due = self.keeper.poll_timeout();
            tokio::select! {
                Some(report) = reported.recv() => self.take(report),
                Some(Order::SignOff(done)) = ordered.recv() => {
                    let outcome = self.sign_off(&mut reported).await;
                    self.end(connect::signed_off());
                    // Whoever asked may have gone away.
                    let _ = done.send(outcome);
                    return;
                }
                _ = look.tick() => self.look(),
                () = news.heard() => self.look(),
                () = until(due) => self.keeper.handle_timeout(Instant::now()),
            }
            if self.obey() {
                return;
            }
        }
    }

    fn take(&mut self, report: Report) {
        let listening = self.listening.as_ref().map(|(number, _)| *number);
        let resuming = self.resuming.as_ref().map(|(number, _)| *number);
        match report {
            Report::Notice(number, notice) if listening == Some(number) => match notice {
                Notice::Services(services) => *lock(&self.shared.services) = services.into(),
                Notice::Direct(services) => self.shared.direct.set_services(services),
                Notice::Ended(reason) => self.input(Input::Told(reason)),
                Notice::Realm(realm) => self.learn(Learned::Realm(realm)),
                Notice::GatewayKey(told) => self.learn_key(&told),
                // Nobody here asks for one.
                Notice::Renewal(_) => {}
            },
            Report::Broke(number) if listening == Some(number) => self.input(Input::Broke),
            Report::Outcome(number, outcome) if resuming == Some(number) => {
                self.resuming = None;
                match outcome {
                    Ok(connected) => self.connected(*connected),
                    Err(error) => self.input(Input::Failed(error)),
                }
            }
            Report::Moved(number) if self.moving.as_ref().is_some_and(|(moving, _)| *moving == number) => {
                self.moving = None;
                self.shared.moves.fetch_add(1, Ordering::Relaxed);
                self.shared.direct.elsewhere();
                (self.silence, self.was_silent) = (Silence::default(), false);
                tracing::info!("the connection goes on from this machine's new address");
                self.input(Input::Heard);
            }
            Report::Notice(..) | Report::Broke(_) | Report::Moved(_) | Report::Outcome(..) => {}
        }
    }

    /// Writes the gateway's key down, if it is the gateway's: who has stolen its former TLS key has told it without a voucher.
    fn learn_key(&mut self, told: &NewKey) {
        match self.live.voucher.check(told) {
            Some(spki) => self.learn(Learned::GatewayKey(spki)),
            None => {
                tracing::error!("whoever answers as the gateway tells a key that is not the gateway's: it is not taken")
            }
        }
    }

    /// Writes a key down, on a thread that may wait.
    fn learn(&mut self, learned: Learned) {
        while self.learning.try_join_next().is_some() {}
        let shared = Arc::clone(&self.shared);
        self.learning.spawn_blocking(move || shared.learn(&learned));
    }

    fn connected(&mut self, connected: Connected) {
        let Connected { live, control, services, direct } = connected;
        let Control { send, recv } = control;
        if self.send.is_some() {
            // The old connection was kept for the case that it lives.
            self.let_go();
        }
        self.numbers += 1;
        self.live = Arc::new(live);
        self.send = Some(send);
        self.source = SourceWatch::new(self.live.address());
        self.silence = Silence::default();
        self.was_silent = false;
        let listening = listen(self.numbers, self.live.connection.clone(), recv, self.reports.clone());
        self.listening = Some((self.numbers, listening));
        *lock(&self.shared.services) = services.into();
        self.shared.direct.set_services(direct);
        self.shared.resumptions.fetch_add(1, Ordering::Relaxed);
        self.shared.phase.send_replace(Phase::Connected(Arc::clone(&self.live)));
        self.input(Input::Resumed { expires: self.live.expires });
    }

    /// Looks whether packets to the gateway still leave from the same address, whether the machine has slept, and whether the gateway
    /// answers.
    fn look(&mut self) {
        let now = Instant::now();
        let moved = self.source.changed();
        let slept = self.sleep.slept(now, SystemTime::now());
        if moved || slept {
            tracing::info!(moved, slept, "this machine's network has changed");
            // Over TCP nothing follows to another address: the connection is as good as lost.
            let stays = self.live.way == Way::Tcp;
            self.input(if slept || stays { Input::Slept } else { Input::AddressChanged });
        }
        if self.send.is_some() {
            let silent = self.silence.look(self.live.connection.stats().into(), now);
            match (silent, std::mem::replace(&mut self.was_silent, silent)) {
                (true, _) => self.input(Input::Silent),
                (false, true) => self.input(Input::Heard),
                (false, false) => {}
            }
        }
    }

    fn input(&mut self, input: Input) {
        self.keeper.handle_input(input, Instant::now(), &mut SystemEntropy);
    }

    /// Does what the machine commands and tells what it tells. True when the session is over.
    fn obey(&mut self) -> bool {
        while let Some(command) = self.keeper.poll_command() {
            match command {
                Command::Abandon => self.abandon(),
                Command::Move => self.move_over(),
                Command::Resume => self.resume(),
                Command::Forget => self.resuming = None,
            }
        }
        let mut over = false;
        while let Some(event) = self.keeper.poll_event() {
            match &event {
                Event::Reconnecting { last, wait } => tracing::info!(?last, ?wait, "the connection is made anew"),
                Event::Resumed => tracing::info!("the session goes on"),
                Event::Over(error) => {
                    tracing::info!(%error, "the session is over");
                    self.shared.phase.send_replace(Phase::Over(Arc::clone(&self.live), error.clone()));
                    over = true;
                }
            }
            // Nobody has to listen.
            let _ = self.shared.events.send(event);
        }
        over
    }

    fn abandon(&mut self) {
        self.let_go();
        self.shared.phase.send_replace(Phase::Reconnecting(Arc::clone(&self.live)));
    }

    /// Lets go of the connection. Streams that are being carried notice, and reset their local sides.
    fn let_go(&mut self) {
        let stats = self.live.connection.stats();
        self.shared.sent.fetch_add(stats.udp_tx.bytes, Ordering::Relaxed);
        self.shared.received.fetch_add(stats.udp_rx.bytes, Ordering::Relaxed);
        self.live.connection.close(code::SHUTDOWN.into(), b"");
        self.send = None;
        self.listening = None;
        self.moving = None;
    }

    /// Without a tag left, one that was said already goes on being said.
    fn move_over(&mut self) {
        let Some(tag) = self.live.next_move() else { return };
        self.numbers += 1;
        let (number, reports, live) = (self.numbers, self.reports.clone(), Arc::clone(&self.live));
        let attempt = tokio::spawn(async move {
            move_over(&live, tag).await;
            // Fails only when the session was ended meanwhile.
            let _ = reports.send(Report::Moved(number)).await;
        });
        self.moving = Some((number, AbortOnDropHandle::new(attempt)));
    }

    fn resume(&mut self) {
        self.numbers += 1;
        let (number, reports) = (self.numbers, self.reports.clone());
        let (identity, live) = (Arc::clone(&lock(&self.shared.identity)), Arc::clone(&self.live));
        let attempt = tokio::spawn(async move {
            let resumed =
                connect::resume(&identity, Purpose::Resume, live.session, &live.resume_secret, live.clock_offset_ms);
            let outcome = resumed.await.map(Box::new);
            // Fails only when the session was ended meanwhile.
            let _ = reports.send(Report::Outcome(number, outcome)).await;
        });
        self.resuming = Some((number, AbortOnDropHandle::new(attempt)));
    }

    /// Tells the gateway, over this connection or one of its own.
    async fn sign_off(&mut self, reported: &mut mpsc::Receiver<Report>) -> Result<(), ClientError> {
        let Some(mut send) = self.send.take() else {
            let identity = Arc::clone(&lock(&self.shared.identity));
            let live = &self.live;
            return connect::leave(&identity, live.session, &live.resume_secret, live.clock_offset_ms).await;
        };
        let told = async {
            write_frame(&mut send, &ClientNotice::SignOff).await.map_err(|error| crate::channel::framed(&error))?;
            while let Some(report) = reported.recv().await {
                match report {
                    Report::Notice(_, Notice::Ended(_)) => return Ok(()),
                    Report::Broke(_) => break,
                    // Sessions that end at once learn it, too.
                    Report::Notice(_, Notice::Realm(realm)) => self.learn(Learned::Realm(realm)),
                    Report::Notice(_, Notice::GatewayKey(told)) => self.learn_key(&told),
                    Report::Notice(_, Notice::Services(_) | Notice::Direct(_) | Notice::Renewal(_))
                    | Report::Moved(_)
                    | Report::Outcome(..) => {}
                }
            }
            // Without a last word: the way in which the connection was closed may be one.
            match self.live.connection.close_reason() {
                Some(ConnectionError::ApplicationClosed(close)) if close.error_code == code::ENDED.into() => Ok(()),
                _ => Err(ClientError::GatewayAway(GatewayAway::Lost)),
            }
        };
        let lost = Err(ClientError::GatewayAway(GatewayAway::Lost));
        let outcome = tokio::time::timeout(FAREWELL, told).await.unwrap_or(lost);
        connect::close(&self.live.endpoint, &self.live.connection).await;
        // Nothing is cut off by the end of the process.
        while self.learning.join_next().await.is_some() {}
        outcome
    }

    fn end(&mut self, error: ClientError) {
        self.shared.phase.send_replace(Phase::Over(Arc::clone(&self.live), error.clone()));
        let _ = self.shared.events.send(Event::Over(error));
    }
}

/// Listens to the gateway until the connection is gone. One source for its words and for its end, so that a word that was said
/// before the end is never heard after it.
fn listen(
    number: u64,
    connection: Connection,
    mut recv: RecvStream,
    reports: mpsc::Sender<Report>,
) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        loop {
            match read_frame::<Notice>(&mut recv).await {
                Ok(notice) => {
                    if reports.send(Report::Notice(number, notice)).await.is_err() {
                        return;
                    }
                }
                Err(FramedError::Lost(_)) => break,
                // It has said all and is about to close, as at every sign-off. One that says nothing more and stays is left.
                Err(FramedError::Ended) => {
                    let _ = tokio::time::timeout(CLOSE_WITHIN, connection.closed()).await;
                    connection.close(code::PROTOCOL.into(), b"");
                    break;
                }
                Err(error) => {
                    tracing::warn!(%error, "the gateway broke the protocol on the control stream");
                    connection.close(code::PROTOCOL.into(), b"");
                    break;
                }
            }
        }
        let reason = connection.closed().await;
        tracing::debug!(%reason, "the connection is gone");
        let _ = reports.send(Report::Broke(number)).await;
    }))
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}
