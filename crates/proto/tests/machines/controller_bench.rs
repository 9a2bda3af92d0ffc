//! A controller on the bench, and knocks made by hand to put into it.

use crate::common::{Person, Realm, address, start};
use std::net::SocketAddr;
use std::time::Duration;
use vestibule_proto::entropy::SeededEntropy;
use vestibule_proto::id::{GatewayId, KnockId, LinkRequest, Now, Stamp};
use vestibule_proto::outer::{
    AwaitGuidance, Guidance, Knock, KnockFlags, Message, Status, Unreadable, Versions, seal_knock,
};
use vestibule_proto::recognition::{Answer, Command, Limits, LinkState, Recognition};

pub(crate) const HOME: &str = "192.0.2.1:4000";

/// A controller with one linked gateway and one person.
pub(crate) struct Bench {
    pub(crate) realm: Realm,
    pub(crate) person: Person,
    pub(crate) controller: Recognition,
    pub(crate) now: Now,
    pub(crate) entropy: SeededEntropy,
}

/// A knock made by hand: what the tests change of it.
#[derive(Clone)]
pub(crate) struct Made {
    pub(crate) stamp: Stamp,
    pub(crate) challenge: Option<[u8; 24]>,
    pub(crate) cookie: Option<[u8; 16]>,
    pub(crate) versions: Versions,
}

/// A knock that was made, and what awaits its answer.
pub(crate) struct Sent {
    pub(crate) k1: Message,
    pub(crate) expect: AwaitGuidance,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    pub(crate) fn with_limits(limits: Limits) -> Self {
        let (mut realm, now, mut entropy) = (Realm::new(1), start(), SeededEntropy::new(2));
        let person = realm.person();
        let mut controller = Recognition::new(realm.controller.clone(), now, limits, &mut entropy);
        controller.upsert_row(person.row.clone()).unwrap();
        controller.set_link(realm.gateway.id, LinkState::Up);
        Self { realm, person, controller, now, entropy }
    }

    /// The controller is killed and started again, with what was on its disk.
    pub(crate) fn restart(&mut self, last: Stamp) {
        let limits = Limits::default();
        self.controller = Recognition::new(self.realm.controller.clone(), self.now, limits, &mut self.entropy);
        self.controller.upsert_row(vestibule_proto::recognition::Row { last, ..self.person.row.clone() }).unwrap();
        self.controller.set_link(self.realm.gateway.id, LinkState::Up);
    }

    pub(crate) fn gateway(&self) -> GatewayId {
        self.realm.gateway.id
    }

    /// Time passes, with every time-out on time.
    pub(crate) fn pass(&mut self, by: Duration) {
        let end = self.now.after(by);
        while let Some(next) = self.controller.poll_timeout().filter(|next| *next <= end.mono) {
            let at = self.now.after(next.saturating_duration_since(self.now.mono));
            self.controller.handle_timeout(at);
        }
        self.now = end;
    }

    /// Time passes, and what it brings about is of no interest: knocks that nobody answered are told so.
    pub(crate) fn skip(&mut self, by: Duration) {
        self.pass(by);
        self.commands();
    }

    pub(crate) fn plain(&self) -> Made {
        Made { stamp: self.now.wall, challenge: None, cookie: None, versions: Versions::OURS }
    }

    /// A knock of now.
    pub(crate) fn knock(&mut self) -> Sent {
        let made = self.plain();
        self.make(&made)
    }

    pub(crate) fn make(&mut self, made: &Made) -> Sent {
        let device = self.person.device.clone();
        let knock = Knock {
            versions: made.versions,
            flags: KnockFlags { link: false },
            digest: device.digest,
            stamp: made.stamp,
            knock_id: KnockId::random(&mut self.entropy),
            challenge: made.challenge,
            inner: Some([7; 192]),
        };
        let cookie = made.cookie.as_ref();
        let (k1, expect) =
            seal_knock(&device.controller, &device.d_out, &device.psk_c, &knock, cookie, &mut self.entropy).unwrap();
        Sent { k1, expect }
    }

    pub(crate) fn deliver(&mut self, from: &str, datagram: &[u8]) -> Vec<Command> {
        self.controller.handle_input(address(from), datagram, self.now, &mut self.entropy);
        self.commands()
    }

    pub(crate) fn answer(&mut self, gateway: GatewayId, request: LinkRequest, answer: Answer) -> Vec<Command> {
        self.controller.handle_answer(gateway, request, answer, self.now);
        self.commands()
    }

    pub(crate) fn commands(&mut self) -> Vec<Command> {
        std::iter::from_fn(|| self.controller.poll_command()).collect()
    }

    /// Delivers a knock that must be put before a gateway.
    pub(crate) fn admitted(&mut self, from: &str, k1: &[u8]) -> (GatewayId, LinkRequest) {
        let commands = self.deliver(from, k1);
        let [Command::Admit { gateway, request, .. }] = commands.as_slice() else { panic!("{}", tell(&commands)) };
        (*gateway, *request)
    }

    /// Delivers a knock that must be answered at once.
    pub(crate) fn answered(&mut self, from: &str, sent: &mut Sent) -> Guidance {
        let commands = self.deliver(from, sent.k1.as_slice());
        sent.read(from, &commands).unwrap()
    }
}

impl Sent {
    /// Reads the one reply there must be.
    pub(crate) fn read(&mut self, to: &str, commands: &[Command]) -> Result<Guidance, Unreadable> {
        let [Command::Reply { to: replied, datagram }] = commands else { panic!("{}", tell(commands)) };
        assert_eq!(*replied, address(to));
        self.expect.open_guidance(datagram).map(|(guidance, _)| guidance)
    }
}

/// The answer of a gateway that opened.
pub(crate) fn ready() -> Answer {
    Answer::Ready { addresses: vec![gateway_address()], inner: [9; 208], window_ms: 10_000 }
}

pub(crate) fn gateway_address() -> SocketAddr {
    address("198.51.100.9:443")
}

pub(crate) fn is_status(guidance: &Guidance, status: Status) -> bool {
    guidance.status == status
}

/// Names of commands, for a failed test's report.
pub(crate) fn tell(commands: &[Command]) -> String {
    let name = |command: &Command| match command {
        Command::Reply { to, datagram } => format!("Reply({to}, {} bytes)", datagram.len()),
        Command::Admit { request, .. } => format!("Admit({request})"),
        Command::Withdraw { request, .. } => format!("Withdraw({request})"),
        Command::OpenLink { .. } => "OpenLink".to_owned(),
    };
    format!("{:?}", commands.iter().map(name).collect::<Vec<_>>())
}
