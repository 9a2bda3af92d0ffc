//! Steps 4 and 5 of the connect at the gateway: a thin shell around `proto::admission`.
//!
//! The machine decides; this carries out, in the order that it says: what must outlast a crash is on the disk, and what
//! must be in force is in force, before the next step. Whoever brings an input carries out what comes of it in his own
//! task, so that the way from K3 to K5 has no queue but that of the disk. The lock of the machine is held for its own work
//! alone; it is the runtime's lock, so that who waits for it keeps no thread from others' work.

use crate::audit;
use crate::link::Numbered;
use crate::shared::{Shared, entropy, now};
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, oneshot};
use vestibule_proto::admission::{
    AdmissibleDevice, AdmissionAudit, AdmissionCommand, AdmissionCounters, Admissions, Granted,
};
use vestibule_proto::gateway_key::KeyName;
use vestibule_proto::guess::GuessCount;
use vestibule_proto::id::{DeviceId, KnockId, LinkRequest, LoginDigest, Stamp, TicketId};
use vestibule_proto::inner::{I1_LEN, RefusalCode};
use vestibule_proto::link::Answer;

/// Without anything to wait for, the machine is looked at this often.
const NOTHING_DUE: Duration = Duration::from_secs(60);

/// Bits of the machine's request numbers that are the controller's own number; the link's number stands above.
const REQUEST_BITS: u32 = 48;

/// The machine and those who wait for its answers.
pub(crate) struct Admission {
    machine: tokio::sync::Mutex<Admissions>,
    waiting: Mutex<HashMap<LinkRequest, oneshot::Sender<Answer>>>,
    /// A deadline of the machine may now be earlier than its timer thinks.
    rescheduled: Notify,
}

/// A request as the machine knows it: each link counts from anew.
fn machines_number(link: u64, request: LinkRequest) -> LinkRequest {
    LinkRequest::new((link << REQUEST_BITS) ^ request.get())
}

impl Admission {
    pub(crate) fn new(machine: Admissions) -> Self {
        Self { machine: tokio::sync::Mutex::new(machine), waiting: Mutex::default(), rescheduled: Notify::new() }
    }

    /// K3 in, K5 out. After `within` the answer is of no use any more.
    pub(crate) async fn admit(
        &self,
        shared: &Arc<Shared>,
        (link, request): Numbered,
        digest: LoginDigest,
        source: SocketAddr,
        inner: &[u8; I1_LEN],
        within: Duration,
    ) -> Answer {
        let request = machines_number(link, request);
        let (sender, answer) = oneshot::channel();
        self.waiting().insert(request, sender);
        let answered = async {
            let input = |machine: &mut Admissions| {
                machine.handle_input(request, digest, source, inner, now(), &mut entropy());
            };
            self.step(shared, input).await;
            answer.await
        };
        let answer = tokio::time::timeout(within, answered).await;
        self.waiting().remove(&request);
        match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => {
                tracing::warn!("an admission was not decided in time");
                self.step(shared, |machine| machine.handle_withdraw(request)).await;
                Answer::Away
            }
        }
    }

    /// The controller no longer wants an admission.
    pub(crate) async fn withdraw(&self, shared: &Arc<Shared>, (link, request): Numbered) {
        let request = machines_number(link, request);
        self.step(shared, |machine| machine.handle_withdraw(request)).await;
    }

    /// The link is down.
    pub(crate) async fn link_down(&self, shared: &Arc<Shared>) {
        self.step(shared, Admissions::handle_link_down).await;
    }

    /// D1: a tag was spent. `None`: it opens nothing.
    pub(crate) async fn spend(&self, shared: &Arc<Shared>, ticket: TicketId, source: SocketAddr) -> Option<Granted> {
        self.step(shared, |machine| machine.handle_tag_spent(ticket, source, now())).await
    }

    /// What is known of a device has changed; `None`: it is gone.
    pub(crate) async fn know(&self, shared: &Arc<Shared>, digest: &LoginDigest, device: Option<AdmissibleDevice>) {
        let input = |machine: &mut Admissions| match device {
            // The directory's count holds: its owner may have reset it.
            Some(device) => {
                let (id, guesses) = (device.device, device.guesses);
                machine.upsert_device(device);
                machine.set_guesses(id, guesses);
            }
            None => {
                machine.remove_device(digest);
            }
        };
        self.step(shared, input).await;
    }

    /// A device's doors are shut, and no other is opened for it.
    pub(crate) async fn revoke(&self, shared: &Arc<Shared>, device: DeviceId) {
        self.step(shared, |machine| machine.revoke_device(device)).await;
    }

    /// The durable count of a device's wrong passwords is this now.
    pub(crate) async fn set_guesses(&self, device: DeviceId, count: GuessCount) {
        self.machine.lock().await.set_guesses(device, count);
    }

    /// Clients are told these addresses from now on.
    pub(crate) async fn set_addresses(&self, addresses: Vec<SocketAddr>) {
        self.machine.lock().await.set_addresses(addresses);
    }

    /// A device may expect these keys of the gateway from now on.
    pub(crate) async fn set_gateway_keys(&self, names: Vec<KeyName>) {
        self.machine.lock().await.set_gateway_keys(names);
    }

    /// Counts since the start, and requests and doors that are open.
    pub(crate) async fn counters(&self) -> (AdmissionCounters, (usize, usize)) {
        let machine = self.machine.lock().await;
        (*machine.counters(), machine.pending_count())
    }

    /// Lets the machine's deadlines pass.
    pub(crate) async fn keep_time(shared: Arc<Shared>) {
        let admission = &shared.admission;
        loop {
            let next = admission.machine.lock().await.poll_timeout().unwrap_or_else(|| Instant::now() + NOTHING_DUE);
            tokio::select! {
                () = tokio::time::sleep_until(next.into()) => {}
                () = admission.rescheduled.notified() => continue,
            }
            admission.step(&shared, |machine| machine.handle_timeout(now())).await;
        }
    }

    /// One input of the machine, and all that comes of it.
    async fn step<T>(&self, shared: &Arc<Shared>, input: impl FnOnce(&mut Admissions) -> T) -> T {
        let mut commands = VecDeque::new();
        let outcome = self.feed(&mut commands, input).await;
        while let Some(command) = commands.pop_front() {
            self.carry_out(shared, command, &mut commands).await;
        }
        outcome
    }

    async fn feed<T>(&self, commands: &mut VecDeque<AdmissionCommand>, input: impl FnOnce(&mut Admissions) -> T) -> T {
        let mut machine = self.machine.lock().await;
        let before = machine.poll_timeout();
        let outcome = input(&mut machine);
        while let Some(command) = machine.poll_command() {
            commands.push_back(command);
        }
        let after = machine.poll_timeout();
        drop(machine);
        if after.is_some_and(|after| before.is_none_or(|before| after < before)) {
            self.rescheduled.notify_one();
        }
        outcome
    }

    async fn carry_out(
        &self,
        shared: &Arc<Shared>,
        command: AdmissionCommand,
        commands: &mut VecDeque<AdmissionCommand>,
    ) {
        match command {
            AdmissionCommand::CountGuess { device, request, source } => {
                self.count(shared, (device, source), request, commands).await;
            }
            AdmissionCommand::Remember { request, device, knock_id, stamp } => {
                self.remember(shared, request, (device, knock_id, stamp), commands).await;
            }
            AdmissionCommand::Open { request, ticket_id: ticket, tags, tcp, announced, policy, deadline } => {
                let tcp = shared.settings().tcp.then(|| Box::new(tcp));
                let admission = vestibule_door::Admission { ticket, tags, tcp, announced, policy, deadline };
                let opened = shared.door.apply(&vestibule_door::Command::Admit(admission), Instant::now());
                if let Err(error) = &opened {
                    tracing::error!(%error, "the door stays shut");
                }
                let input = |machine: &mut Admissions| {
                    machine.handle_opened(request, opened.is_ok(), now(), &mut entropy());
                };
                self.feed(commands, input).await;
            }
            AdmissionCommand::Shut { ticket_id } => {
                if let Err(error) = shared.door.apply(&vestibule_door::Command::Withdraw(ticket_id), Instant::now()) {
                    tracing::error!(%error, "the door did not shut; its window ends it");
                }
            }
            AdmissionCommand::Answer { request, answer } => {
                // Whoever asked may have stopped waiting.
                if let Some(waiting) = self.waiting().remove(&request) {
                    let _ = waiting.send(answer);
                }
            }
            AdmissionCommand::Audit(audit) => {
                notice_expiry(shared, &audit).await;
                audit::tell(shared, audit);
            }
        }
    }

    /// m12: on the disk before anything is said.
    async fn count(
        &self,
        shared: &Arc<Shared>,
        (device, source): (DeviceId, SocketAddr),
        request: LinkRequest,
        commands: &mut VecDeque<AdmissionCommand>,
    ) {
        match shared.directory.count_guess(device, source, now().wall).await {
            Ok(count) => {
                let input = |machine: &mut Admissions| machine.handle_counted(request, count, now(), &mut entropy());
                self.feed(commands, input).await;
            }
            Err(error) => {
                tracing::error!(%error, "a wrong password could not be counted: it is not answered");
                self.give_up(shared, request, commands).await;
            }
        }
    }

    /// m2: written down, so that nothing but its stamp's being too old can follow from a crash, before the door opens.
    async fn remember(
        &self,
        shared: &Arc<Shared>,
        request: LinkRequest,
        (device, knock_id, stamp): (DeviceId, KnockId, Stamp),
        commands: &mut VecDeque<AdmissionCommand>,
    ) {
        let remembering = shared.directory.remember_soon(device, knock_id, stamp, now().wall);
        // While the disk's thread writes, this one computes.
        let (remembered, ()) = tokio::join!(biased; remembering, self.work_ahead(request));
        match remembered {
            Ok(fresh) => {
                let input = |machine: &mut Admissions| machine.handle_remembered(request, fresh, now(), &mut entropy());
                self.feed(commands, input).await;
            }
            Err(error) => {
                shared.fault(&error);
                self.give_up(shared, request, commands).await;
            }
        }
    }

    async fn work_ahead(&self, request: LinkRequest) {
        self.machine.lock().await.work_ahead(request);
    }

    /// Fail closed: nothing is admitted while the disk fails.
    async fn give_up(&self, shared: &Arc<Shared>, request: LinkRequest, commands: &mut VecDeque<AdmissionCommand>) {
        shared.counters.fault();
        self.feed(commands, |machine| machine.handle_withdraw(request)).await;
        commands.push_back(AdmissionCommand::Answer { request, answer: Answer::Away });
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<LinkRequest, oneshot::Sender<Answer>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An invitation that was refused as expired stays so: on the disk before the refusal, which comes behind, is sent. Should the
/// disk fail, the keeping notices it again.
async fn notice_expiry(shared: &Arc<Shared>, audit: &AdmissionAudit) {
    let AdmissionAudit::Refused { device, code: RefusalCode::InvitationExpired, .. } = audit else { return };
    if let Err(error) = shared.directory.invitation_expired(*device).await {
        shared.fault(&error);
    }
}
