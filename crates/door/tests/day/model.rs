//! What every door must say, in the plainest words: facts about tags and sources, and no table that could expire too late.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use vestibule_door::{Admission, Command, FIRST_FLIGHT, FirstPacket};
use vestibule_proto::id::TicketId;
use vestibule_proto::ticket::{NatPolicy, Tag};

/// What has become of everything that was ever admitted.
#[derive(Default)]
pub(crate) struct Model {
    tickets: HashMap<TicketId, Ticket>,
    sources: HashMap<SocketAddr, Source>,
    generations: u64,
}

struct Ticket {
    admission: Admission,
    open_until: Instant,
    spent: [Option<Spent>; 4],
}

#[derive(Clone, Copy)]
struct Spent {
    by: SocketAddr,
    until: Instant,
    taken_over: bool,
}

/// A source since it came in last.
#[derive(Clone, Copy)]
struct Source {
    generation: u64,
    holds: u32,
    unclaimed: u32,
    claim_until: Instant,
}

/// A hold, as the model knows it.
#[derive(Clone, Copy)]
pub(crate) struct Held {
    source: SocketAddr,
    generation: u64,
}

impl Model {
    pub(crate) fn apply(&mut self, command: &Command, now: Instant) {
        match command {
            Command::Admit(admission) => {
                let ticket = Ticket { admission: admission.clone(), open_until: admission.deadline, spent: [None; 4] };
                self.tickets.insert(admission.ticket, ticket);
            }
            Command::Withdraw(ticket) => {
                if let Some(ticket) = self.tickets.get_mut(ticket) {
                    ticket.open_until = ticket.open_until.min(now);
                }
            }
            Command::Cut(source) => drop(self.sources.remove(source)),
        }
    }

    pub(crate) fn first_packet(&mut self, source: SocketAddr, tag: Tag, now: Instant) -> FirstPacket {
        let live = self.is_live(source, now);
        let Some((ticket, n)) = self.ticket_of(tag) else { return FirstPacket::Stranger };
        let id = ticket.admission.ticket;
        if let Some(spent) = ticket.spent[n] {
            let again = spent.by == source && now < spent.until && live;
            return if again { FirstPacket::Again(id) } else { FirstPacket::Stranger };
        }
        if now >= ticket.open_until || !agrees(&ticket.admission, source.ip()) {
            return FirstPacket::Stranger;
        }
        let until = now + FIRST_FLIGHT;
        ticket.spent[n] = Some(Spent { by: source, until, taken_over: false });
        self.enter(source, until, now);
        FirstPacket::Spent(id)
    }

    fn enter(&mut self, source: SocketAddr, until: Instant, now: Instant) {
        if !self.is_live(source, now) {
            self.generations += 1;
            let generation = self.generations;
            self.sources.insert(source, Source { generation, holds: 0, unclaimed: 0, claim_until: until });
        }
        if let Some(source) = self.sources.get_mut(&source) {
            // Claims that nobody made in time are none.
            let stale = now >= source.claim_until;
            source.unclaimed = if stale { 1 } else { source.unclaimed + 1 };
            source.claim_until = until;
        }
    }

    pub(crate) fn hold(&mut self, source: SocketAddr, tag: Tag, now: Instant) -> Option<Held> {
        let live = self.is_live(source, now);
        let (ticket, n) = self.ticket_of(tag)?;
        let spent = ticket.spent[n].as_mut()?;
        if spent.by != source || now >= spent.until || spent.taken_over {
            return None;
        }
        spent.taken_over = true;
        let held = self.sources.get_mut(&source).filter(|_| live)?;
        held.unclaimed = held.unclaimed.saturating_sub(1);
        held.holds += 1;
        Some(Held { source, generation: held.generation })
    }

    pub(crate) fn release(&mut self, hold: Held) {
        let Some(source) = self.sources.get_mut(&hold.source) else { return };
        if source.generation == hold.generation {
            source.holds -= 1;
            if source.holds == 0 && source.unclaimed == 0 {
                self.sources.remove(&hold.source);
            }
        }
    }

    pub(crate) fn is_live(&self, source: SocketAddr, now: Instant) -> bool {
        self.lingers(source, now, Duration::ZERO)
    }

    /// Whether it is live, or was until `margin` ago and nobody said since that it is not.
    pub(crate) fn lingers(&self, source: SocketAddr, now: Instant, margin: Duration) -> bool {
        self.sources
            .get(&source)
            .is_some_and(|source| source.holds > 0 || (source.unclaimed > 0 && now < source.claim_until + margin))
    }

    /// The sources that may be live.
    pub(crate) fn sources(&self) -> impl Iterator<Item = SocketAddr> {
        self.sources.keys().copied()
    }

    /// How many admissions are of use to anybody, in the moment after a command.
    pub(crate) fn admitted(&self, now: Instant) -> usize {
        let ends = |ticket: &Ticket| {
            ticket.spent.iter().flatten().map(|spent| spent.until).fold(ticket.open_until, Instant::max)
        };
        self.tickets.values().filter(|ticket| ends(ticket) > now).count()
    }

    fn ticket_of(&mut self, tag: Tag) -> Option<(&mut Ticket, usize)> {
        let ticket = self.tickets.get_mut(&tag.ticket())?;
        let n = ticket.admission.tags.iter().position(|own| *own == tag)?;
        Some((ticket, n))
    }
}

/// PROTOCOL 3.5, NAT, for the addresses of [`client`].
fn agrees(admission: &Admission, comes: IpAddr) -> bool {
    match admission.policy {
        NatPolicy::Strict => admission.announced == comes,
        NatPolicy::Net => network(admission.announced) == network(comes),
        NatPolicy::Follow => true,
    }
}

/// The /24 or /56.
fn network(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets()[..3].to_vec(),
        IpAddr::V6(address) => address.octets()[..7].to_vec(),
    }
}

/// Random numbers that a seed gives again.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// Below `sides`.
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        // Splitmix.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }
}

/// Somewhere a client can be: several ports of several addresses of two networks of each family.
pub(crate) fn client(dice: &mut Dice) -> SocketAddr {
    let (net, host, port) = (dice.roll(2) as u8, dice.roll(2) as u8 + 2, 40_000 + dice.roll(3) as u16);
    if dice.roll(2) == 0 {
        SocketAddr::from(([198, 51, net, host], port))
    } else {
        SocketAddr::from(([0x2001, 0xdb8, 0, u16::from(net) << 8, 0, 0, 0, u16::from(host)], port))
    }
}

/// The admission of this number for a client there.
pub(crate) fn admission(number: u64, announced: SocketAddr, policy: NatPolicy, deadline: Instant) -> Admission {
    let ticket = TicketId::new(number.to_be_bytes());
    let tags = [0, 1, 2, 3].map(|n| {
        let mut tag = [n; Tag::SIZE];
        tag[..8].copy_from_slice(&number.to_be_bytes());
        Tag::new(tag)
    });
    Admission { ticket, tags, tcp: None, announced: announced.ip(), policy, deadline }
}

/// A door and the model of it, through the same events; whoever says something else fails.
pub(crate) struct Both<D> {
    pub(crate) door: D,
    pub(crate) model: Model,
    pub(crate) dice: Dice,
    window: Duration,
    admissions: Vec<Admission>,
    holds: Vec<(vestibule_door::Hold, Held)>,
    number: u64,
}

impl<D: vestibule_door::Door> Both<D> {
    pub(crate) fn new(door: D, seed: u64, window: Duration) -> Self {
        let (model, dice) = (Model::default(), Dice(seed));
        Self { door, model, dice, window, admissions: Vec::new(), holds: Vec::new(), number: 0 }
    }

    /// One event: an admission, a first packet of its bearer or of somebody else, a connection that begins or ends, a move to
    /// another address (which is a tag spent there), a withdrawal, a revocation.
    pub(crate) fn happen(&mut self, now: Instant) {
        match self.dice.roll(16) {
            0..=3 => self.admit(now),
            4..=8 => self.first_packet(now),
            9..=11 => self.connect(now),
            12..=13 => self.disconnect(),
            14 => {
                if let Some(admission) = self.some_admission() {
                    self.apply(&Command::Withdraw(admission.ticket), now);
                }
            }
            _ => {
                let source = client(&mut self.dice);
                self.apply(&Command::Cut(source), now);
            }
        }
    }

    /// Both say the same of every source.
    pub(crate) fn agree(&self, now: Instant) {
        for source in self.model.sources() {
            assert_eq!(self.door.is_live(source, now), self.model.is_live(source, now), "{source}");
        }
    }

    /// Every tag of a recent admission that the kernel may still let pass.
    pub(crate) fn open_tags(&self, now: Instant) -> Vec<Tag> {
        let open = |tag: &Tag| {
            let ticket = self.model.tickets.get(&tag.ticket())?;
            let n = ticket.admission.tags.iter().position(|own| own == tag)?;
            (ticket.spent[n].is_none() && now < ticket.open_until).then_some(())
        };
        let tags = self.admissions.iter().flat_map(|admission| admission.tags);
        tags.filter(|tag| open(tag).is_some()).collect()
    }

    fn apply(&mut self, command: &Command, now: Instant) {
        self.door.apply(command, now).expect("nothing is full, and no admission stands twice");
        self.model.apply(command, now);
        assert_eq!(self.door.admitted(), self.model.admitted(now), "{command:?}");
    }

    fn admit(&mut self, now: Instant) {
        self.number += 1;
        let policy = [NatPolicy::Follow, NatPolicy::Follow, NatPolicy::Net, NatPolicy::Strict];
        let policy = policy[self.dice.roll(4) as usize];
        let admission = admission(self.number, client(&mut self.dice), policy, now + self.window);
        self.apply(&Command::Admit(admission.clone()), now);
        self.admissions.push(admission);
        // The window's end comes to the older ones by itself.
        if self.admissions.len() > 64 {
            self.admissions.remove(0);
        }
    }

    fn some_admission(&mut self) -> Option<Admission> {
        let at = self.dice.roll(self.admissions.len().max(1) as u64) as usize;
        self.admissions.get(at).cloned()
    }

    fn some_tag(&mut self) -> Option<Tag> {
        let n = self.dice.roll(4) as usize;
        self.some_admission().map(|admission| admission.tags[n])
    }

    fn first_packet(&mut self, now: Instant) {
        let (source, Some(tag)) = (client(&mut self.dice), self.some_tag()) else { return };
        let said = self.door.first_packet(source, tag.as_bytes(), now);
        assert_eq!(said, self.model.first_packet(source, tag, now), "{source} {tag:?}");
    }

    /// A client that bears a tag comes in, and its connection takes the tag over.
    fn connect(&mut self, now: Instant) {
        let (source, Some(tag)) = (client(&mut self.dice), self.some_tag()) else { return };
        let said = self.door.first_packet(source, tag.as_bytes(), now);
        assert_eq!(said, self.model.first_packet(source, tag, now), "{source} {tag:?}");
        match (self.door.hold(source, tag.as_bytes(), now), self.model.hold(source, tag, now)) {
            (Some(hold), Some(held)) => self.holds.push((hold, held)),
            (None, None) => {}
            (hold, held) => panic!("{source} {tag:?}: {hold:?}, and the model says {}", held.is_some()),
        }
    }

    fn disconnect(&mut self) {
        if !self.holds.is_empty() {
            let at = self.dice.roll(self.holds.len() as u64) as usize;
            let (hold, held) = self.holds.swap_remove(at);
            self.door.release(&hold);
            self.model.release(held);
        }
    }
}
