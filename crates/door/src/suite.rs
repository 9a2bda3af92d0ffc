//! What every back end must do, whatever it is made of. A back end passes if [`run`] returns.
//!
//! A back end takes part by a [`Rig`]: itself, a clock, and a way to knock at it. For the socket back end the clock is
//! simulated and a knock is a call; for one in the kernel time is real and a knock is a packet.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use vestibule_proto::id::TicketId;
use vestibule_proto::key::Secret;
use vestibule_proto::tcp::{TAG_DATAGRAM_LEN, TagDatagram, TcpTags};
use vestibule_proto::ticket::{NatPolicy, Tag, Ticket};

use crate::{Admission, Command, Door, DoorError, FIRST_FLIGHT, FirstPacket};

/// A door that can be knocked at.
pub trait Rig {
    /// The door, closed at first.
    fn door(&self) -> &dyn Door;
    /// Its clock.
    fn now(&self) -> Instant;
    /// Lets this much time pass.
    fn pass_time(&mut self, time: Duration);
    /// Sends a first packet with this destination connection id; whether it got through.
    fn first_packet(&mut self, source: SocketAddr, dcid: &[u8]) -> bool;
    /// Sends a later packet of a connection, one that bears no tag; whether it got through.
    fn later_packet(&mut self, source: SocketAddr) -> bool;
    /// Sends "I moved" with this tag (step R2; [`moved`](vestibule_proto::moving::moved)); whether it got through. A back end
    /// whose filter looks at more of a first packet than its tag must be shown the datagram itself.
    fn moved(&mut self, source: SocketAddr, tag: &Tag) -> bool {
        self.first_packet(source, tag.as_bytes())
    }
    /// Sends D0; whether it opened TCP for its source. A back end in the kernel must be shown the datagram itself.
    fn tag_datagram(&mut self, source: SocketAddr, datagram: &[u8; TAG_DATAGRAM_LEN]) -> bool {
        let now = self.now();
        let read = TagDatagram::read(datagram);
        read.is_some_and(|read| self.door().tcp().datagram(source, &read, now).is_some())
    }
    /// Lets a connection take over the source that spent this tag.
    fn connect(&mut self, source: SocketAddr, dcid: &[u8]) -> bool;
    /// The oldest connection from this source ends.
    fn disconnect(&mut self, source: SocketAddr);
    /// What stands in the kernel for admissions and sources; 0 for a back end that has nothing there, or is not asked.
    fn kept(&self) -> usize {
        0
    }
}

/// Runs every case, each on a rig of its own made by `rig` for doors that hold this many admissions.
///
/// # Panics
/// With the name of the case, if the back end fails it.
pub fn run(rig: impl Fn(usize) -> Box<dyn Rig>) {
    for (name, case) in CASES {
        let mut rig = rig(LIMIT);
        let name = format!("{name} ({})", rig.door().name());
        case(&mut Case { rig: rig.as_mut(), name });
    }
}

/// Runs the case of many admissions, on a rig whose door holds as many as one does by itself.
///
/// # Panics
/// If the back end fails it.
pub fn run_crowd(mut rig: Box<dyn Rig>) {
    let name = format!("{CROWD} admissions are live at once ({})", rig.door().name());
    crowd(&mut Case { rig: rig.as_mut(), name });
}

/// How many admissions the doors under test hold.
const LIMIT: usize = 8;
/// How many are live at once in the case of many, and how many of them somebody comes for.
const CROWD: u32 = 100_000;
const ASKED: u32 = 97;
const WINDOW: Duration = Duration::from_secs(10);
const SECOND: Duration = Duration::from_secs(1);
const HOME: &str = "198.51.100.7:40000";
const NEIGHBOUR: &str = "198.51.100.7:40001";
const SAME_NET: &str = "198.51.100.200:40000";
const AWAY: &str = "203.0.113.9:40000";

/// Name and body of a case.
type Named = (&'static str, fn(&mut Case<'_>));

const CASES: &[Named] = &[
    ("a closed door lets nothing through", closed),
    ("a tag opens once, for its first source", spent_once),
    ("further first packets pass from there for three seconds", first_flight),
    ("each of the four tags opens by itself", four_tags),
    ("only exactly a tag opens", exact),
    ("the window ends", window),
    ("a withdrawn admission opens nothing", withdrawn),
    ("who is in stays in when the window ends", stays_in),
    ("who has left is out at once", leaves),
    ("a cut source is out at once", cut),
    ("strict wants the announced address", strict),
    ("net wants the announced network", net),
    ("follow wants the tag alone", follow),
    ("a wrong address does not spend a tag", wrong_address_spends_nothing),
    ("IPv6 and mapped addresses", families),
    ("a full door refuses and keeps what it has", full),
    ("an admission that ended makes room", room_again),
    ("what cannot be admitted changes nothing", refused),
    ("a flow that moved is in at both places until it has settled", moves),
    ("a copy of a move from elsewhere moves nothing", move_copied),
    ("who moves must come from where the policy says", move_outside),
    ("a tag datagram opens TCP for its source alone", tcp_source),
    ("TCP ends with the window and with the admission", tcp_ends),
    ("a tag datagram is no first packet, and neither is a preface", tcp_is_no_quic),
];

struct Case<'a> {
    rig: &'a mut dyn Rig,
    name: String,
}

impl Case<'_> {
    fn admission(&self, number: u8, policy: NatPolicy) -> Admission {
        Admission {
            ticket: ticket(number),
            tags: [0, 1, 2, 3].map(|n| tag(number, n)),
            tcp: Some(Box::new(tcp(number))),
            announced: address(HOME).ip(),
            policy,
            deadline: self.rig.now() + WINDOW,
        }
    }

    fn apply(&self, command: &Command) -> Result<(), DoorError> {
        self.rig.door().apply(command, self.rig.now())
    }

    fn admit(&self, number: u8, policy: NatPolicy) {
        let admission = self.admission(number, policy);
        assert_eq!(self.apply(&Command::Admit(admission)), Ok(()), "{}: admit {number}", self.name);
    }

    fn passes(&mut self, from: &str, dcid: Tag) {
        assert!(self.first_packet(from, dcid.as_bytes()), "{}: {dcid:?} from {from} should pass", self.name);
    }

    fn stays_out(&mut self, from: &str, dcid: Tag) {
        assert!(!self.first_packet(from, dcid.as_bytes()), "{}: {dcid:?} from {from} should stay out", self.name);
    }

    fn first_packet(&mut self, from: &str, dcid: &[u8]) -> bool {
        self.rig.first_packet(address(from), dcid)
    }

    fn is_in(&mut self, from: &str, expected: bool) {
        let passed = self.rig.later_packet(address(from));
        assert_eq!(passed, expected, "{}: a later packet from {from}", self.name);
    }

    fn comes_in(&mut self, from: &str, dcid: Tag) {
        self.passes(from, dcid);
        let connected = self.rig.connect(address(from), dcid.as_bytes());
        assert!(connected, "{}: a connection from {from}", self.name);
    }
}

fn closed(case: &mut Case<'_>) {
    case.stays_out(HOME, tag(1, 0));
    case.is_in(HOME, false);
    assert_eq!(case.rig.door().admitted(), 0, "{}", case.name);
}

fn spent_once(case: &mut Case<'_>) {
    case.admit(1, NatPolicy::Follow);
    case.is_in(HOME, false);
    case.passes(HOME, tag(1, 0));
    case.is_in(HOME, true);
    for stranger in [NEIGHBOUR, SAME_NET, AWAY] {
        case.stays_out(stranger, tag(1, 0));
        case.is_in(stranger, false);
    }
}

fn first_flight(case: &mut Case<'_>) {
    case.admit(1, NatPolicy::Follow);
    case.passes(HOME, tag(1, 0));
    case.rig.pass_time(FIRST_FLIGHT - SECOND);
    case.passes(HOME, tag(1, 0));
    case.stays_out(AWAY, tag(1, 0));
    case.rig.pass_time(SECOND);
    case.stays_out(HOME, tag(1, 0));
    // Nobody took the source over.
    case.is_in(HOME, false);
}

fn four_tags(case: &mut Case<'_>) {
    case.admit(1, NatPolicy::Follow);
    for n in [2, 0, 3, 1] {
        case.passes(&format!("203.0.113.9:{}", 40000 + u16::from(n)), tag(1, n));
    }
}

fn exact(case: &mut Case<'_>) {
    case.admit(1, NatPolicy::Follow);
    let own = *tag(1, 0).as_bytes();
    for bit in 0..own.len() * 8 {
        let mut other = own;
        other[bit / 8] ^= 1 << (bit % 8);
        case.stays_out(HOME, Tag::new(other));
    }
    for shorter in 0..own.len() {
        assert!(!case.first_packet(HOME, &own[..shorter]), "{}: {shorter} bytes", case.name);
    }
    case.stays_out(HOME, tag(2, 0));
    case.passes(HOME, tag(1, 0));
}

fn window(case: &mut Case<'_>) {
    case.admit(1, NatPolicy::Follow);
    case.rig.pass_time(WINDOW - SECOND);
    case.passes(HOME, tag(1, 0));
    case.rig.pass_time(SECOND);
    case.stays_out(AWAY, tag(1, 1));
    // The flight that began inside the window ends outside it.
    case.passes(HOME, tag(1, 0));
}

fn withdrawn(case: &mut Case<'_>) {
    case.admit(1, NatPolicy::Follow);
    case.admit(2, NatPolicy::Follow);
    for _ in 0..2 {
        assert_eq!(case.apply(&Command::Withdraw(ticket(1))), Ok(()), "{}: twice is no error", case.name);
    }
    case.stays_out(HOME, tag(1, 0));
    case.passes(HOME, tag(2, 0));
}

fn stays_in(case: &mut Case<'_>) {
    case.admit(1, NatPolicy::Follow);
    case.comes_in(HOME, tag(1, 0));
    assert_eq!(case.apply(&Command::Withdraw(ticket(1))), Ok(()), "{}", case.name);
    case.passes(HOME, tag(1, 0));
    case.rig.pass_time(WINDOW);
    case.is_in(HOME, true);
    case.is_in(NEIGHBOUR, false);
    case.stays_out(HOME, tag(1, 1));
}

fn leaves(case: &mut Case<'_>) {
    case.admit(1, NatPolicy::Follow);
    case.comes_in(HOME, tag(1, 0));
    case.comes_in(HOME, tag(1, 1));
    case.comes_in(AWAY, tag(1, 2));
    case.rig.disconnect(address(HOME));
    case.is_in(HOME, true);
    case.rig.disconnect(address(HOME));
    case.is_in(HOME, false);
    case.stays_out(HOME, tag(1, 0));
    case.is_in(AWAY, true);
    case.comes_in(HOME, tag(1, 3));
}

fn cut(case: &mut Case<'_>) {
    case.admit(1, NatPolicy::Follow);
    case.comes_in(HOME, tag(1, 0));
    case.comes_in(AWAY, tag(1, 1));
    for _ in 0..2 {
        assert_eq!(case.apply(&Command::Cut(address(HOME))), Ok(()), "{}: twice is no error", case.name);
    }
    case.is_in(HOME, false);
    case.stays_out(HOME, tag(1, 0));
    case.is_in(AWAY, true);
    case.comes_in(HOME, tag(1, 2));
    case.is_in(HOME, true);
}

fn strict(case: &mut Case<'_>) {
    case.admit(1, NatPolicy::Strict);
    case.stays_out(SAME_NET, tag(1, 0));
    case.stays_out(AWAY, tag(1, 0));
    // The port is not part of an announcement: NATs choose it per destination.
    case.passes(NEIGHBOUR, tag(1, 0));
    case.passes(HOME, tag(1, 1));
}

fn net(case: &mut Case<'_>) {
    case.admit(1, NatPolicy::Net);
    case.stays_out(AWAY, tag(1, 0));
    case.passes(SAME_NET, tag(1, 0));
    case.passes(HOME, tag(1, 1));
}

fn follow(case: &mut Case<'_>) {
    case.admit(1, NatPolicy::Follow);
    case.passes(AWAY, tag(1, 0));
    case.passes("[2001:db8::1]:40000", tag(1, 1));
}

fn wrong_address_spends_nothing(case: &mut Case<'_>) {
    case.admit(1, NatPolicy::Strict);
    case.stays_out(AWAY, tag(1, 0));
    case.is_in(AWAY, false);
    case.passes(HOME, tag(1, 0));
}

fn families(case: &mut Case<'_>) {
    case.admit(1, NatPolicy::Strict);
    case.passes("[::ffff:198.51.100.7]:40000", tag(1, 0));
    case.is_in(HOME, true);
    let announced: IpAddr = address("[2001:db8:1:aa00::1]:1").ip();
    let admission = Admission { announced, ..case.admission(2, NatPolicy::Net) };
    assert_eq!(case.apply(&Command::Admit(admission)), Ok(()), "{}", case.name);
    case.stays_out("[2001:db8:1:bb00::1]:9", tag(2, 0));
    case.stays_out(HOME, tag(2, 0));
    case.passes("[2001:db8:1:aaff::1]:9", tag(2, 0));
}

fn full(case: &mut Case<'_>) {
    for number in 0..LIMIT {
        case.admit(number as u8, NatPolicy::Follow);
    }
    let more = Command::Admit(case.admission(100, NatPolicy::Follow));
    assert_eq!(case.apply(&more), Err(DoorError::Full { limit: LIMIT }), "{}", case.name);
    assert_eq!(case.rig.door().admitted(), LIMIT, "{}", case.name);
    case.stays_out(HOME, tag(100, 0));
    case.passes(HOME, tag(0, 0));
}

fn room_again(case: &mut Case<'_>) {
    for number in 0..LIMIT {
        case.admit(number as u8, NatPolicy::Follow);
    }
    assert_eq!(case.apply(&Command::Withdraw(ticket(3))), Ok(()), "{}", case.name);
    case.admit(100, NatPolicy::Follow);
    case.rig.pass_time(WINDOW);
    case.admit(101, NatPolicy::Follow);
    assert_eq!(case.rig.door().admitted(), 1, "{}: the others ended", case.name);
    case.passes(HOME, tag(101, 0));
}

/// Every other one is withdrawn, the others end by themselves. A sample of each comes in while it may, and no more afterwards.
fn crowd(case: &mut Case<'_>) {
    let sample = |from: u32| (from..CROWD).step_by((CROWD / ASKED) as usize & !1);
    let (withdrawn, ended) = (|| sample(0), || sample(1));
    let begun = case.rig.now();
    case.admit_each((0..CROWD).step_by(2), begun + FAR);
    // So long that the slowest machine has asked by then, and no longer.
    let until = case.rig.now() + 4 * (case.rig.now() - begun) + WINDOW;
    case.admit_each((1..CROWD).step_by(2), until);
    assert_eq!(case.rig.door().admitted(), CROWD as usize, "{}", case.name);
    for number in withdrawn().chain(ended()) {
        case.is_in(&bearer(number), false);
        case.stays_out(&bearer(number), crowd_tag(number + CROWD, 0));
        case.passes(&bearer(number), crowd_tag(number, 0));
        case.stays_out(AWAY, crowd_tag(number, 0));
    }
    assert!(case.rig.now() < until, "{}: this machine is too slow to ask {ASKED}", case.name);
    for number in (0..CROWD).step_by(2) {
        assert_eq!(case.apply(&Command::Withdraw(crowd_ticket(number))), Ok(()), "{}: withdraw {number}", case.name);
    }
    withdrawn().for_each(|number| case.stays_out(AWAY, crowd_tag(number, 1)));
    let left = until.saturating_duration_since(case.rig.now());
    // Spent tags stand as long as a first flight, and in the kernel a moment longer.
    case.rig.pass_time(left + FIRST_FLIGHT + 2 * SECOND);
    withdrawn().chain(ended()).for_each(|number| case.stays_out(&bearer(number), crowd_tag(number, 2)));
    assert_eq!(case.apply(&Command::Withdraw(crowd_ticket(0))), Ok(()), "{}", case.name);
    assert_eq!((case.rig.door().admitted(), case.rig.kept()), (0, 0), "{}: none is left", case.name);
}

impl Case<'_> {
    fn admit_each(&self, numbers: impl Iterator<Item = u32>, deadline: Instant) {
        for number in numbers {
            let ticket = crowd_ticket(number);
            let tcp = TcpTags::of(&Ticket::derive([0; 32], &Secret::new([1; 32]), ticket));
            let admission = Admission { tcp: Some(Box::new(tcp)), ..admission(ticket, address(HOME).ip(), deadline) };
            assert_eq!(self.apply(&Command::Admit(admission)), Ok(()), "{}: admit {number}", self.name);
        }
    }
}

/// Where one of the crowd comes from.
fn bearer(number: u32) -> String {
    format!("203.0.113.9:{}", 20_000 + number % 20_000)
}

fn crowd_ticket(number: u32) -> TicketId {
    let mut ticket = [0xc0; TicketId::SIZE];
    ticket[..4].copy_from_slice(&number.to_be_bytes());
    TicketId::new(ticket)
}

fn crowd_tag(number: u32, n: u8) -> Tag {
    let mut tag = [n; Tag::SIZE];
    tag[..TicketId::SIZE].copy_from_slice(crowd_ticket(number).as_bytes());
    Tag::new(tag)
}

fn refused(case: &mut Case<'_>) {
    case.admit(1, NatPolicy::Follow);
    let good = case.admission(2, NatPolicy::Follow);
    let late = Admission { deadline: case.rig.now(), ..good.clone() };
    assert_eq!(case.apply(&Command::Admit(late)), Err(DoorError::TooLate), "{}", case.name);
    let foreign = Admission { tags: [tag(2, 0), tag(2, 1), tag(3, 2), tag(2, 3)], ..good.clone() };
    assert_eq!(case.apply(&Command::Admit(foreign)), Err(DoorError::NotItsTags), "{}", case.name);
    let twice = Admission { tags: [tag(2, 0), tag(2, 1), tag(2, 2), tag(2, 0)], ..good };
    assert_eq!(case.apply(&Command::Admit(twice)), Err(DoorError::NotItsTags), "{}", case.name);
    let again = Command::Admit(case.admission(1, NatPolicy::Follow));
    assert_eq!(case.apply(&again), Err(DoorError::Duplicate), "{}", case.name);
    assert_eq!(case.rig.door().admitted(), 1, "{}", case.name);
    case.stays_out(HOME, tag(2, 0));
    case.passes(HOME, tag(1, 0));
}

/// How long a connection may move about: far longer than a window.
const FAR: Duration = Duration::from_secs(3_600);

impl Case<'_> {
    /// A connection from home that came in by ticket 1, and may move by the tags of ticket 2.
    fn begin_to_move(&mut self, policy: NatPolicy) {
        self.admit(1, NatPolicy::Follow);
        self.comes_in(HOME, tag(1, 0));
        let moves = Admission { deadline: self.rig.now() + FAR, ..self.admission(2, policy) };
        assert_eq!(self.apply(&Command::Admit(moves)), Ok(()), "{}: moves", self.name);
    }

    fn moves_to(&mut self, to: &str, tag: Tag) {
        assert!(self.rig.moved(address(to), &tag), "{}: a move to {to}", self.name);
        assert!(self.rig.connect(address(to), tag.as_bytes()), "{}: the connection is at {to}", self.name);
    }
}

fn moves(case: &mut Case<'_>) {
    case.begin_to_move(NatPolicy::Follow);
    case.rig.pass_time(WINDOW);
    case.is_in(AWAY, false);
    case.moves_to(AWAY, tag(2, 0));
    case.is_in(HOME, true);
    case.is_in(AWAY, true);
    case.rig.disconnect(address(HOME));
    case.is_in(HOME, false);
    case.is_in(AWAY, true);
    case.moves_to(NEIGHBOUR, tag(2, 1));
    assert_eq!(case.apply(&Command::Withdraw(ticket(2))), Ok(()), "{}", case.name);
    assert!(!case.rig.moved(address(HOME), &tag(2, 2)), "{}: a withdrawn move", case.name);
    case.is_in(HOME, false);
    case.is_in(NEIGHBOUR, true);
}

fn move_copied(case: &mut Case<'_>) {
    case.begin_to_move(NatPolicy::Follow);
    case.moves_to(AWAY, tag(2, 0));
    for copier in [SAME_NET, NEIGHBOUR, "203.0.113.9:40001", "[2001:db8::1]:40000"] {
        assert!(!case.rig.moved(address(copier), &tag(2, 0)), "{}: a copy from {copier}", case.name);
        case.is_in(copier, false);
    }
    case.is_in(HOME, true);
    case.is_in(AWAY, true);
    // The next tag moves the flow to whoever has it: the flow's own end alone.
    case.moves_to(NEIGHBOUR, tag(2, 1));
}

fn move_outside(case: &mut Case<'_>) {
    case.begin_to_move(NatPolicy::Strict);
    assert!(!case.rig.moved(address(AWAY), &tag(2, 0)), "{}", case.name);
    case.is_in(AWAY, false);
    // A NAT that gives the same device another port.
    case.moves_to(NEIGHBOUR, tag(2, 0));
}

fn tcp_source(case: &mut Case<'_>) {
    case.admit(1, NatPolicy::Follow);
    let bytes = |n: usize| tcp(1).datagram(&tcp(1).datagrams[n], None);
    let takes = |case: &Case<'_>, from| case.rig.door().tcp().takes(address(from), case.rig.now());
    let preface = |case: &Case<'_>, from| {
        case.rig.door().tcp().preface(address(from), &tcp(1).prefaces[0], case.rig.now()).is_some()
    };
    assert!(!takes(case, HOME) && !preface(case, HOME), "{}: before any datagram", case.name);
    let foreign = tcp(2).datagram(&tcp(2).datagrams[0], None);
    assert!(!case.rig.tag_datagram(address(HOME), &foreign), "{}: another admission's", case.name);
    assert!(case.rig.tag_datagram(address(HOME), &bytes(0)), "{}", case.name);
    assert!(case.rig.tag_datagram(address(HOME), &bytes(0)), "{}: said again", case.name);
    assert!(!case.rig.tag_datagram(address(AWAY), &bytes(0)), "{}: a copy", case.name);
    assert!(takes(case, HOME) && takes(case, NEIGHBOUR), "{}: TCP comes from another port", case.name);
    assert!(!takes(case, AWAY) && !preface(case, AWAY), "{}", case.name);
    assert!(case.rig.tag_datagram(address(AWAY), &bytes(1)), "{}: another tag, another address", case.name);
    assert!(preface(case, HOME) && !preface(case, HOME) && !preface(case, AWAY), "{}: once", case.name);
}

fn tcp_ends(case: &mut Case<'_>) {
    let bytes = |number| tcp(number).datagram(&tcp(number).datagrams[0], None);
    case.admit(1, NatPolicy::Follow);
    case.admit(2, NatPolicy::Follow);
    assert!(case.rig.tag_datagram(address(HOME), &bytes(1)), "{}", case.name);
    assert!(case.rig.tag_datagram(address(AWAY), &bytes(2)), "{}", case.name);
    assert_eq!(case.apply(&Command::Withdraw(ticket(2))), Ok(()), "{}", case.name);
    let takes = |case: &Case<'_>, from| case.rig.door().tcp().takes(address(from), case.rig.now());
    assert!(takes(case, HOME) && !takes(case, AWAY), "{}: withdrawn", case.name);
    assert!(!case.rig.tag_datagram(address(AWAY), &bytes(2)), "{}: withdrawn", case.name);
    case.rig.pass_time(WINDOW);
    assert!(!takes(case, HOME), "{}: the window is over", case.name);
    assert!(!case.rig.tag_datagram(address(HOME), &bytes(1)), "{}: the window is over", case.name);
    assert_eq!(case.rig.door().tcp().awaits(case.rig.now()), None, "{}", case.name);
}

fn tcp_is_no_quic(case: &mut Case<'_>) {
    case.admit(1, NatPolicy::Follow);
    let TcpTags { datagrams, prefaces, .. } = tcp(1);
    for tag in [datagrams[0], prefaces[0]] {
        let now = case.rig.now();
        let answer = case.rig.door().first_packet(address(HOME), tag.as_bytes(), now);
        assert_eq!(answer, FirstPacket::Stranger, "{}", case.name);
    }
    assert!(case.rig.tag_datagram(address(HOME), &tcp(1).datagram(&datagrams[0], None)), "{}", case.name);
    case.is_in(HOME, false);
}

/// An admission of a QUIC client, with tags that this ticket could have.
#[must_use]
pub fn admission(ticket: TicketId, announced: IpAddr, deadline: Instant) -> Admission {
    let tags = [0, 1, 2, 3].map(|n| {
        let mut tag = [n; Tag::SIZE];
        tag[..TicketId::SIZE].copy_from_slice(ticket.as_bytes());
        Tag::new(tag)
    });
    Admission { ticket, tags, tcp: None, announced, policy: NatPolicy::Follow, deadline }
}

fn tcp(number: u8) -> TcpTags {
    TcpTags::of(&Ticket::derive([number; 32], &Secret::new([1; 32]), ticket(number)))
}

fn ticket(number: u8) -> TicketId {
    TicketId::new([number, 0x5a, 0, 0, 0, 0, 0, number])
}

fn tag(number: u8, n: u8) -> Tag {
    // No two of them differ in one bit only.
    let mut tag = [n; Tag::SIZE];
    tag[..TicketId::SIZE].copy_from_slice(ticket(number).as_bytes());
    Tag::new(tag)
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("the addresses of the suite are addresses")
}
