//! A gateway on the bench, inner parts made by hand, and a shell that confirms what it is told to.

use crate::common::{Person, Realm, address, start};
use std::collections::BTreeSet;
use std::time::Duration;
use vestibule_proto::admission::{
    AdmissibleDevice, AdmissionAudit, AdmissionCommand, AdmissionConfig, Admissions, Answer,
};
use vestibule_proto::entropy::SeededEntropy;
use vestibule_proto::guess::GuessCount;
use vestibule_proto::id::{DeviceId, KnockId, LinkRequest, Now, Stamp, TicketId};
use vestibule_proto::inner::{
    AwaitReady, I1_LEN, InnerKnock, Purpose, Ready, Refusal, Unreadable, Versions, open_refusal, seal_inner,
};
use vestibule_proto::knocker::Device;
use vestibule_proto::ticket::{Tag, Ticket};

pub(crate) const HOME: &str = "192.0.2.1:4000";
pub(crate) const HOME6: &str = "[2001:db8::1]:4000";

/// Numbers of requests begin here.
const FIRST_REQUEST: u64 = 1_000;

/// A gateway with one device.
pub(crate) struct Bench {
    pub(crate) realm: Realm,
    pub(crate) person: Person,
    pub(crate) gateway: Admissions,
    pub(crate) now: Now,
    pub(crate) entropy: SeededEntropy,
    pub(crate) audits: Vec<AdmissionAudit>,
    requests: u64,
}

/// An inner part that was made, and what awaits its answer.
pub(crate) struct Sent {
    pub(crate) i1: [u8; I1_LEN],
    pub(crate) knock: InnerKnock,
    expect: AwaitReady,
    psk_r: vestibule_proto::key::Psk,
}

/// The orders of the machine, without what belongs to the audit log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Count(DeviceId),
    Remember(KnockId, Stamp),
    Open(TicketId, Vec<Tag>),
    Shut(TicketId),
    Ready(Box<[u8; 208]>),
    Refused(Box<[u8; 208]>),
    Seen,
    Away,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(AdmissionConfig::default(), |_| {})
    }

    pub(crate) fn with(config: AdmissionConfig, change: impl FnOnce(&mut AdmissibleDevice)) -> Self {
        let (mut realm, now) = (Realm::new(1), start());
        let person = realm.person();
        let mut admissible = person.admissible.clone();
        change(&mut admissible);
        let config = AdmissionConfig { addresses: vec![address("198.51.100.9:443")], ..config };
        let mut gateway = Admissions::new(realm.gateway.clone(), config, now);
        gateway.upsert_device(admissible);
        let entropy = SeededEntropy::new(2);
        Self { realm, person, gateway, now, entropy, audits: Vec::new(), requests: FIRST_REQUEST }
    }

    /// The number that the next knock is brought under.
    pub(crate) fn next_request(&self) -> LinkRequest {
        LinkRequest::new(self.requests)
    }

    pub(crate) fn device(&self) -> DeviceId {
        self.person.admissible.device
    }

    pub(crate) fn guesses(&self) -> u8 {
        self.gateway.guesses(self.device()).count
    }

    pub(crate) fn plain(&mut self) -> InnerKnock {
        InnerKnock {
            versions: Versions::OURS,
            purpose: Purpose::Login,
            stamp: self.now.wall,
            knock_id: KnockId::random(&mut self.entropy),
            digest: self.person.device.digest,
            session: None,
            addresses: Vec::new(),
            expects: None,
        }
    }

    /// A right knock of now.
    pub(crate) fn right(&mut self) -> Sent {
        let knock = self.plain();
        self.make(knock)
    }

    /// A knock of now with a wrong password.
    pub(crate) fn wrong(&mut self, number: u8) -> Sent {
        let knock = self.plain();
        let device = self.person.with_wrong_password(number);
        self.make_by(&device, knock)
    }

    pub(crate) fn make(&mut self, knock: InnerKnock) -> Sent {
        let device = self.person.device.clone();
        self.make_by(&device, knock)
    }

    pub(crate) fn make_by(&mut self, device: &Device, knock: InnerKnock) -> Sent {
        let Device { gateway, gateway_key, d_in, psk_g, psk_r, .. } = device;
        let (i1, expect) = seal_inner(*gateway, gateway_key, d_in, psk_g, psk_r, &knock, &mut self.entropy).unwrap();
        Sent { i1, knock, expect, psk_r: psk_r.clone() }
    }

    /// The controller hands a knock over; gives its number and what the gateway orders.
    pub(crate) fn deliver(&mut self, from: &str, sent: &Sent) -> (LinkRequest, Vec<Order>) {
        let request = self.next_request();
        self.requests += 1;
        let digest = sent.knock.digest;
        self.gateway.handle_input(request, digest, address(from), &sent.i1, self.now, &mut self.entropy);
        (request, self.orders())
    }

    pub(crate) fn remembered(&mut self, request: LinkRequest, fresh: bool) -> Vec<Order> {
        self.gateway.handle_remembered(request, fresh, self.now, &mut self.entropy);
        self.orders()
    }

    pub(crate) fn opened(&mut self, request: LinkRequest, ok: bool) -> Vec<Order> {
        self.gateway.handle_opened(request, ok, self.now, &mut self.entropy);
        self.orders()
    }

    pub(crate) fn counted(&mut self, request: LinkRequest, count: u8) -> Vec<Order> {
        let count = GuessCount { count, last: self.now.wall };
        self.gateway.handle_counted(request, count, self.now, &mut self.entropy);
        self.orders()
    }

    pub(crate) fn withdraw(&mut self, request: LinkRequest) -> Vec<Order> {
        self.gateway.handle_withdraw(request);
        self.orders()
    }

    /// Time passes, with every time-out on time.
    pub(crate) fn pass(&mut self, by: Duration) -> Vec<Order> {
        let end = self.now.after(by);
        while let Some(next) = self.gateway.poll_timeout().filter(|next| *next <= end.mono) {
            self.gateway.handle_timeout(self.now.after(next.saturating_duration_since(self.now.mono)));
        }
        self.now = end;
        self.orders()
    }

    pub(crate) fn orders(&mut self) -> Vec<Order> {
        let commands: Vec<_> = std::iter::from_fn(|| self.gateway.poll_command()).collect();
        commands.into_iter().filter_map(|command| self.order(command)).collect()
    }

    fn order(&mut self, command: AdmissionCommand) -> Option<Order> {
        Some(match command {
            AdmissionCommand::CountGuess { device, .. } => Order::Count(device),
            AdmissionCommand::Remember { knock_id, stamp, device, .. } => {
                assert_eq!(device, self.device());
                Order::Remember(knock_id, stamp)
            }
            AdmissionCommand::Open { ticket_id, tags, .. } => Order::Open(ticket_id, tags.to_vec()),
            AdmissionCommand::Shut { ticket_id } => Order::Shut(ticket_id),
            AdmissionCommand::Answer { answer: Answer::Ready { inner, .. }, .. } => Order::Ready(Box::new(inner)),
            AdmissionCommand::Answer { answer: Answer::Refused { inner }, .. } => Order::Refused(Box::new(inner)),
            AdmissionCommand::Answer { answer: Answer::Seen, .. } => Order::Seen,
            AdmissionCommand::Answer { answer: Answer::Away, .. } => Order::Away,
            AdmissionCommand::Audit(audit) => {
                self.audits.push(audit);
                return None;
            }
        })
    }

    /// A right knock up to the open door.
    pub(crate) fn admit(&mut self, from: &str) -> (LinkRequest, Ticket) {
        let mut sent = self.right();
        self.admit_sent(from, &mut sent)
    }

    pub(crate) fn admit_sent(&mut self, from: &str, sent: &mut Sent) -> (LinkRequest, Ticket) {
        let (request, orders) = self.deliver(from, sent);
        assert_eq!(orders, [Order::Remember(sent.knock.knock_id, sent.knock.stamp)]);
        let orders = self.remembered(request, true);
        assert!(matches!(orders.last(), Some(Order::Open(..))), "{orders:?}");
        let orders = self.opened(request, true);
        let [Order::Ready(i2)] = orders.as_slice() else { panic!("{orders:?}") };
        (request, sent.ready(i2).unwrap().1)
    }

    /// A knock that is refused at once.
    pub(crate) fn refused(&mut self, sent: &Sent) -> Refusal {
        let (_, orders) = self.deliver(HOME, sent);
        sent.refusal(&orders)
    }

    /// The reasons for which refusals were audited.
    pub(crate) fn audited_refusals(&self) -> Vec<vestibule_proto::inner::RefusalCode> {
        let code = |audit: &AdmissionAudit| match audit {
            AdmissionAudit::Refused { code, .. } => Some(*code),
            AdmissionAudit::WrongPassword { .. }
            | AdmissionAudit::Suspended { .. }
            | AdmissionAudit::InvitationAltered { .. }
            | AdmissionAudit::ControllerSuspect { .. }
            | AdmissionAudit::Unused { .. } => None,
        };
        self.audits.iter().filter_map(code).collect()
    }
}

impl Sent {
    pub(crate) fn ready(&mut self, i2: &[u8; 208]) -> Result<(Ready, Ticket), Unreadable> {
        let (ready, hash) = self.expect.open_ready(i2)?;
        let ticket = Ticket::derive(hash, &ready.ticket_secret, ready.ticket);
        Ok((ready, ticket))
    }

    pub(crate) fn refusal(&self, orders: &[Order]) -> Refusal {
        let [Order::Refused(sealed)] = orders else { panic!("{orders:?}") };
        open_refusal(&self.psk_r, &self.i1, sealed).unwrap()
    }
}

/// A durable seen-set, as the shell keeps it.
#[derive(Default)]
pub(crate) struct SeenSet(BTreeSet<KnockId>);

impl SeenSet {
    pub(crate) fn insert(&mut self, knock: KnockId) -> bool {
        self.0.insert(knock)
    }
}
