//! Steps 2-5 of the connect at the controller: datagrams in, the machine's commands out.

use crate::controller::{Shared, entropy, now};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::task::TaskTracker;
use vestibule_dark::KnockQueue;
use vestibule_dark::framed::{read_frame, write_frame};
use vestibule_door::{Admission, Door};
use vestibule_proto::id::{GatewayId, LinkRequest};
use vestibule_proto::link::{Answer, ToGateway};
use vestibule_proto::recognition::{Command, LinkState};
use vestibule_proto::ticket::NatPolicy;

/// How long a gateway's knock keeps the controller's own door open for its link.
const LINK_WINDOW: Duration = Duration::from_secs(10);

/// Without anything to wait for, the machine is looked at this often.
const IDLE: Duration = Duration::from_secs(60);

/// Carries out the machine's commands.
#[derive(Clone)]
pub(crate) struct Executor {
    pub(crate) shared: Arc<Shared>,
    pub(crate) tasks: TaskTracker,
}

/// Feeds every knock that passed the cheap check to the machine.
pub(crate) async fn serve(executor: Executor, index: usize, mut queue: KnockQueue) {
    let mut dropped = 0;
    while let Some(knock) = queue.recv().await {
        // Knocks that found the queue full are a sign of load: from now on addresses must prove themselves.
        let queue_full = executor.shared.darks.get(index).map_or(0, |dark| dark.counters().queue_full);
        executor.step(index, |recognition| {
            if queue_full > dropped {
                recognition.handle_pressure(now());
            }
            recognition.handle_input(knock.from, &knock.bytes, now(), &mut entropy());
        });
        dropped = queue_full;
    }
}

/// Lets the machine's deadlines pass.
pub(crate) async fn keep_time(executor: Executor) {
    loop {
        let next = executor.shared.recognition().poll_timeout();
        let wait = next.map_or(IDLE, |at| at.saturating_duration_since(Instant::now()));
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = executor.shared.rescheduled.notified() => continue,
        }
        executor.step(0, |recognition| recognition.handle_timeout(now()));
    }
}

impl Executor {
    /// One step of the machine, and what it commands. `index` is the socket through which a new client is answered.
    pub(crate) fn step(&self, index: usize, input: impl FnOnce(&mut vestibule_proto::recognition::Recognition)) {
        let mut recognition = self.shared.recognition();
        let before = recognition.poll_timeout();
        input(&mut recognition);
        let mut commands = Vec::new();
        while let Some(command) = recognition.poll_command() {
            commands.push(command);
        }
        let moved = recognition.poll_timeout() != before;
        drop(recognition);
        let mut commands = commands.into_iter();
        while let Some(command) = commands.next() {
            if !self.execute(index, command) {
                // The next command would tell the gateway that the door is open for its link. It is not.
                commands.next();
            }
        }
        if moved {
            self.shared.rescheduled.notify_one();
        }
    }

    /// Carries out one command; false if the door did not open.
    fn execute(&self, index: usize, command: Command) -> bool {
        match command {
            Command::Reply { to, datagram } => self.reply(index, to, &datagram),
            Command::Admit { gateway, request, digest, source, inner, deadline } => {
                let deadline_ms = u32::try_from(deadline.as_millis()).unwrap_or(u32::MAX);
                let message = ToGateway::Admit { request, digest, source, inner, deadline_ms };
                self.ask(index, gateway, request, message, deadline);
            }
            Command::Withdraw { gateway, request } => {
                self.ask(index, gateway, request, ToGateway::Withdraw { request }, Duration::from_secs(5));
            }
            Command::OpenLink { gateway, temporary, ticket, source } => {
                let deadline = Instant::now() + LINK_WINDOW;
                let admission = Admission {
                    ticket: ticket.id,
                    tags: ticket.quic_tags(),
                    tcp: None,
                    announced: source.ip(),
                    policy: NatPolicy::Follow,
                    deadline,
                };
                self.shared.links.expect(ticket.id, gateway, temporary, deadline);
                if let Err(error) = self.shared.door.apply(&vestibule_door::Command::Admit(admission), Instant::now()) {
                    tracing::error!(%error, %gateway, "the door stays shut for a gateway's link");
                    return false;
                }
            }
        }
        true
    }

    /// A gateway's link is down: who waits for it is told.
    pub(crate) fn link_down(&self, gateway: GatewayId) {
        self.step(0, |recognition| {
            recognition.set_link(gateway, LinkState::Down);
            recognition.handle_timeout(now());
        });
    }

    /// The answer leaves through the socket that listens for the family of its addressee, preferably the one asked.
    fn reply(&self, index: usize, to: SocketAddr, datagram: &[u8]) {
        let fits = |dark: &&vestibule_dark::Dark| {
            dark.local_addr().is_ok_and(|local| local.is_ipv4() == to.is_ipv4() || local.is_ipv6())
        };
        let darks = &self.shared.darks;
        let dark = darks.get(index).filter(fits).or_else(|| darks.iter().find(fits));
        if let Some(Err(error)) = dark.map(|dark| dark.send(to, datagram)) {
            tracing::debug!(%error, "an answer could not be sent");
        }
    }

    /// One request to a gateway, in a stream of its own; its answer goes back to the machine.
    fn ask(&self, index: usize, gateway: GatewayId, request: LinkRequest, message: ToGateway, within: Duration) {
        let Some(connection) = self.shared.links.connection(&gateway) else {
            self.link_down(gateway);
            return;
        };
        let executor = self.clone();
        self.tasks.spawn(async move {
            let is_admit = matches!(message, ToGateway::Admit { .. });
            let exchange = async {
                let (mut send, mut recv) = connection.open_bi().await.ok()?;
                write_frame(&mut send, &message).await.ok()?;
                send.finish().ok()?;
                if is_admit {
                    // First it leaves, which is another task's work; then there is time until the gateway has decided.
                    tokio::task::yield_now().await;
                    executor.shared.recognition().work_ahead(request);
                }
                read_frame::<Answer>(&mut recv).await.ok()
            };
            let answer = tokio::time::timeout(within, exchange).await.ok().flatten();
            if is_admit {
                let answer = answer.unwrap_or(Answer::Away);
                executor.step(index, |recognition| {
                    recognition.handle_answer(gateway, request, answer, now());
                });
            }
        });
    }
}
