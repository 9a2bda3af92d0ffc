//! The kernel's half of the door: the table, and the socket by which it is told.

use std::io;
use std::net::IpAddr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use vestibule_proto::id::TicketId;

use super::book::{Book, Change, Stay};
use super::fault::NftablesError;
use super::message::{Batch, Verb, attribute, dump, question};
use super::netlink::Netlink;
use super::shortcut;
use super::table::{self, Key, Plan};
use crate::direct::FLOW_WINDOW;
use crate::keeper::Kept;
use crate::links::Links;
use crate::{Admission, DirectFlow, DirectPort, DoorError, Opening};

/// Elements in one message; well below the 64 KiB that an attribute may have.
const PER_MESSAGE: usize = 512;

/// Whoever listens at this abstract address of the network namespace has the table to himself: two gateways would make it
/// anew by turns. The kernel takes it back from a process that dies.
const CLAIM: &[u8] = b"vestibule-door";

/// The table in the kernel and the list of what it should hold.
pub(super) struct Kernel {
    netlink: Netlink,
    /// Tells the machine's addresses, if the rules want them and the kernel tells.
    links: Option<Links>,
    _claim: UnixListener,
    plan: Plan,
    book: Book,
    /// Which state of all the host's rules was the last that we made or looked at.
    generation: u32,
    /// What our table and its rules are known by in the kernel.
    marks: Vec<u64>,
    /// The table could not be made anew: nothing passes, and nobody is admitted.
    fault: Option<NftablesError>,
}

impl Kernel {
    /// Lays the table, empty, in place of one that a former process may have left.
    pub(super) fn open(plan: Plan) -> Result<Self, NftablesError> {
        let (netlink, claim) = (connect(&plan)?, claim()?);
        let (book, links) = (Book::default(), links(&plan));
        let mut kernel =
            Self { netlink, links, _claim: claim, plan, book, generation: 0, marks: Vec::new(), fault: None };
        kernel.plan.own = kernel.own();
        kernel.lay().map_err(NftablesError::at_table)?;
        Ok(kernel)
    }

    /// Whether the table could be laid: the kernel looks at it, and changes nothing.
    pub(super) fn probe(plan: &Plan) -> Result<(), NftablesError> {
        let mut netlink = connect(plan)?;
        let mut batch = netlink.batch();
        table::lay(plan, &mut batch);
        netlink.trial(batch).map_err(NftablesError::at_table)
    }

    /// Opens the gateway's own port for another kind of door, if a process that died left it shut: see [`remove`](Self::remove). What
    /// a process that lives has is left alone.
    pub(super) fn clear_away() -> Result<(), NftablesError> {
        let mut netlink = Netlink::open().map_err(NftablesError::at_socket)?;
        if marks(&mut netlink).map_err(NftablesError::at_question)?.is_empty() {
            return Ok(());
        }
        let _claim = claim()?;
        let mut gated_alone = netlink.batch();
        table::enter_gated(&mut gated_alone);
        let cleared = match netlink.commit(gated_alone) {
            // There are no direct services in it. Anything else that the kernel may say leaves their ports shut.
            Err(Errno::NOENT) => {
                let mut all = netlink.batch();
                table::remove(&mut all);
                netlink.commit(all)
            }
            done => done,
        };
        cleared.map_err(NftablesError::at_table)?;
        tracing::info!("the table `inet vestibule` of a gateway that died no longer shuts this one's port");
        Ok(())
    }

    /// The tags of an admission open.
    pub(super) fn admit(&mut self, admission: &Admission, now: Instant) -> Result<(), DoorError> {
        self.mend(now)?;
        let change = self.book.admit(admission.ticket, admission.deadline, now);
        let done = self.carry_out(&change, now);
        if done.is_err() {
            self.book.withdraw(&admission.ticket, now);
        }
        done
    }

    /// No tag of the ticket opens any more.
    pub(super) fn withdraw(&mut self, ticket: &TicketId, now: Instant) -> Result<(), DoorError> {
        let change = self.book.withdraw(ticket, now);
        self.carry_out(&change, now)
    }

    /// A tag of the ticket was spent.
    pub(super) fn spent(&mut self, ticket: &TicketId, now: Instant) -> Result<(), DoorError> {
        let change = self.book.spent(ticket, now);
        self.carry_out(&change, now)
    }

    /// A source stands so now.
    pub(super) fn stay(&mut self, source: Key, stay: Stay, now: Instant) -> Result<(), DoorError> {
        let change = self.book.stay(source, stay, now);
        self.carry_out(&change, now)
    }

    /// What it stands before besides the gateway's own port.
    pub(super) fn direct(&self) -> &[DirectPort] {
        &self.plan.direct
    }

    /// Makes the table anew for other direct services; who is in stays in. If the kernel can't, all is as it was.
    pub(super) fn guard(&mut self, direct: Vec<DirectPort>, now: Instant) -> Result<(), NftablesError> {
        if direct == self.plan.direct && self.fault.is_none() {
            return Ok(());
        }
        let plan = Plan { direct, ..self.plan.clone() };
        let mut batch = self.netlink.batch();
        table::lay(&plan, &mut batch);
        self.netlink.trial(batch).map_err(NftablesError::at_table)?;
        self.plan = plan;
        self.restore(now).map_err(fault)
    }

    /// One flow may begin within [`FLOW_WINDOW`]: this one, or the first from its address.
    pub(super) fn open_flow(&mut self, opening: &Opening, now: Instant) -> Result<(), NftablesError> {
        self.mend(now).map_err(fault)?;
        match opening.client_port {
            Some(port) => {
                let key = Key::flow(opening.client, port, opening.port);
                self.stay(key, Stay::Until(now + FLOW_WINDOW), now).map_err(fault)
            }
            None => {
                let mut batch = self.netlink.batch();
                table::add_slot(&mut batch, &slot(opening), FLOW_WINDOW);
                self.commit(batch).map_err(NftablesError::at_table)
            }
        }
    }

    /// The flow that has begun is let through until it is closed. `None` if none has.
    pub(super) fn settle_flow(&mut self, opening: &Opening, now: Instant) -> Result<Option<DirectFlow>, NftablesError> {
        let port = match opening.client_port {
            Some(port) => port,
            None => match self.claimed(opening)?[..] {
                [port, ..] => port,
                [] => return Ok(None),
            },
        };
        let key = Key::flow(opening.client, port, opening.port);
        let settled = self.stay(key, Stay::Held, now).map_err(fault);
        self.take_back(opening);
        settled.map(|()| Some(DirectFlow { client: (opening.client, port).into(), port: opening.port }))
    }

    /// Nothing of the flow passes any more.
    pub(super) fn close_flow(&mut self, opening: &Opening, flow: Option<&DirectFlow>, now: Instant) {
        let port = flow.map(|flow| flow.client.port()).or(opening.client_port);
        if let Some(port) = port
            && let Err(error) = self.stay(Key::flow(opening.client, port, opening.port), Stay::Out, now)
        {
            tracing::error!(%error, "the kernel's door could not be told that a flow is over");
        }
        if flow.is_none() {
            self.take_back(opening);
        }
    }

    /// The opening's slot, and who has taken it, pass no more.
    fn take_back(&mut self, opening: &Opening) {
        if opening.client_port.is_some() {
            return;
        }
        self.delete(slot(opening));
        for port in self.claimed(opening).unwrap_or_default() {
            self.delete(Key::claim(opening.client, port, opening.port));
        }
    }

    /// Takes out one element that may have gone by itself.
    fn delete(&mut self, key: Key) {
        let mut batch = self.netlink.batch();
        table::delete(&mut batch, key.set, &[key]);
        // It ends by itself, within seconds.
        let _ = self.commit(batch);
    }

    /// The ports from which the opening's slot was taken.
    fn claimed(&mut self, opening: &Opening) -> Result<Vec<u16>, NftablesError> {
        let (slot, mut ports) = (slot(opening), Vec::new());
        let claims = Key::claim(opening.client, 0, opening.port).set;
        let asked = self.netlink.ask(
            |sequence| dump(Verb::GetElements, sequence, |message| table::set(message, claims)),
            |answer| ports.extend(table::keys(answer).into_iter().filter_map(|key| slot.claimed_port(key))),
        );
        asked.map_err(NftablesError::kernel).map(|()| ports)
    }

    /// Takes the table away: the gateway ends, and its port is one that nobody uses. Ports of direct services may be
    /// somebody's, and stay shut.
    pub(super) fn remove(&mut self) {
        let mut batch = self.netlink.batch();
        if self.plan.direct.is_empty() {
            table::remove(&mut batch);
        } else {
            table::lay(&Plan { listen: Vec::new(), ..self.plan.clone() }, &mut batch);
        }
        if let Err(errno) = self.netlink.commit(batch) {
            tracing::warn!(%errno, "the table `inet vestibule` stays");
        }
    }

    /// A table that could not be made anew is tried again.
    fn mend(&mut self, now: Instant) -> Result<(), DoorError> {
        if self.fault.is_some() { self.restore(now) } else { Ok(()) }
    }

    /// Whether the table and its rules are those that we made. Costs one short question as long as nobody has changed any
    /// rule of the host but we.
    fn is_ours(&mut self) -> Result<bool, Errno> {
        let generation = generation(&mut self.netlink)?;
        if generation != self.generation {
            if marks(&mut self.netlink)? != self.marks {
                return Ok(false);
            }
            self.generation = generation;
        }
        Ok(true)
    }

    /// Changes elements. If the kernel does not know them, the table isn't ours any more: it is made anew as the book has it.
    fn carry_out(&mut self, change: &Change, now: Instant) -> Result<(), DoorError> {
        let longest = [change.delete.len(), change.add.len(), change.arrive.len(), change.leave.len()];
        let steps = longest.into_iter().max().unwrap_or(0).div_ceil(PER_MESSAGE);
        for step in 0..steps {
            let part = step * PER_MESSAGE..(step + 1) * PER_MESSAGE;
            match self.write(&Step::of(change, &part)) {
                Ok(()) => {}
                Err(Errno::NFILE) => return Err(DoorError::Full { limit: self.plan.tickets as usize }),
                Err(errno) => {
                    tracing::warn!(%errno, "the kernel refused a change of the table `inet vestibule`: it is made anew");
                    return self.restore(now);
                }
            }
        }
        Ok(())
    }

    /// Makes the table anew, with all that the book has. Until the elements are in, the door is shut.
    fn restore(&mut self, now: Instant) -> Result<(), DoorError> {
        let restored = self.lay().and_then(|()| self.fill(now));
        self.fault = restored.err().map(NftablesError::at_table);
        match self.fault {
            None => Ok(()),
            Some(fault) => {
                tracing::error!(%fault, next = fault.next_step(), "the kernel's door can't be made anew: nobody is admitted");
                Err(fault.into())
            }
        }
    }

    fn lay(&mut self) -> Result<(), Errno> {
        let mut batch = self.netlink.batch();
        table::lay(&self.plan, &mut batch);
        self.netlink.commit(batch)?;
        self.remember()
    }

    /// Remembers the rules that stand as ours.
    fn remember(&mut self) -> Result<(), Errno> {
        self.marks = marks(&mut self.netlink)?;
        self.generation = generation(&mut self.netlink)?;
        Ok(())
    }

    fn fill(&mut self, now: Instant) -> Result<(), Errno> {
        let (addresses, elements) = (self.book.addresses(), self.book.all(now));
        addresses.chunks(PER_MESSAGE).try_for_each(|arrive| self.write(&Step { arrive, ..Step::default() }))?;
        elements.chunks(PER_MESSAGE).try_for_each(|add| self.write(&Step { add, ..Step::default() }))
    }

    fn write(&mut self, step: &Step<'_>) -> Result<(), Errno> {
        let mut batch = self.netlink.batch();
        for keys in step.arrive.chunk_by(|one, next| one.set == next.set) {
            table::add_lasting(&mut batch, keys[0].set, keys);
        }
        for keys in step.delete.chunk_by(|one, next| one.set == next.set) {
            table::delete(&mut batch, keys[0].set, keys);
        }
        for elements in step.add.chunk_by(|one, next| one.0.set == next.0.set) {
            table::add(&mut batch, elements[0].0.set, elements);
        }
        for keys in step.leave.chunk_by(|one, next| one.set == next.set) {
            table::delete(&mut batch, keys[0].set, keys);
        }
        self.commit(batch)
    }

    /// The addresses that the rules should know; those that they know, if the kernel does not tell.
    fn own(&mut self) -> Vec<IpAddr> {
        let Some(links) = &mut self.links else { return Vec::new() };
        match links.interfaces() {
            Ok(interfaces) => shortcut::addresses(&interfaces),
            Err(_) => self.plan.own.clone(),
        }
    }

    /// Writes the rules anew for addresses that have come or gone; who is in stays in.
    fn follow_addresses(&mut self, now: Instant) {
        let own = self.own();
        if own == self.plan.own {
            return;
        }
        self.plan.own = own;
        let mut batch = self.netlink.batch();
        table::enter(&self.plan, &mut batch);
        let written = self.netlink.commit(batch).and_then(|()| self.remember());
        if let Err(errno) = written {
            tracing::warn!(%errno, "the kernel refused rules for other addresses: the table is made anew");
            let _ = self.restore(now);
        }
    }

    /// Carries out a change of elements.
    fn commit(&mut self, batch: Batch) -> Result<(), Errno> {
        self.netlink.commit(batch)?;
        self.generation = self.generation.wrapping_add(1);
        Ok(())
    }
}

impl Kept for Kernel {
    /// Looks whether the table is as we made it, makes it anew if not, and renews what would go.
    fn keep(&mut self, now: Instant) {
        if self.mend(now).is_ok() {
            if !self.is_ours().unwrap_or(false) {
                tracing::warn!("the table `inet vestibule` was changed or deleted by somebody else: it is made anew");
                let _ = self.restore(now);
                return;
            }
            let change = self.book.renew(now);
            let _ = self.carry_out(&change, now);
            self.follow_addresses(now);
        }
    }
}

/// What one batch changes, in this order.
#[derive(Default)]
struct Step<'a> {
    arrive: &'a [Key],
    delete: &'a [Key],
    add: &'a [(Key, Duration)],
    leave: &'a [Key],
}

impl<'a> Step<'a> {
    fn of(change: &'a Change, part: &std::ops::Range<usize>) -> Self {
        Self {
            arrive: within(&change.arrive, part),
            delete: within(&change.delete, part),
            add: within(&change.add, part),
            leave: within(&change.leave, part),
        }
    }
}

/// Without the machine's addresses strangers' packets are dropped all the same, somewhat later.
fn links(plan: &Plan) -> Option<Links> {
    if shortcut::wants_addresses(&plan.listen) { Links::open().ok() } else { None }
}

fn slot(opening: &Opening) -> Key {
    Key::slot(opening.client, opening.port)
}

/// What of a door's error is the kernel's.
fn fault(error: DoorError) -> NftablesError {
    match error {
        DoorError::Nftables(error) => error,
        DoorError::Full { .. } => NftablesError::kernel(Errno::NFILE),
        DoorError::Duplicate | DoorError::NotItsTags | DoorError::TooLate | DoorError::Xdp(_) => {
            NftablesError::kernel(Errno::INVAL)
        }
    }
}

/// A socket to a kernel that has nf_tables and lets us change them.
fn connect(plan: &Plan) -> Result<Netlink, NftablesError> {
    let mut netlink = Netlink::open().map_err(NftablesError::at_socket)?;
    generation(&mut netlink).map_err(NftablesError::at_question)?;
    if plan.listen.iter().any(|address| address.port() == 0) {
        return Err(NftablesError::NoPort);
    }
    Ok(netlink)
}

fn claim() -> Result<UnixListener, NftablesError> {
    let claimed = SocketAddr::from_abstract_name(CLAIM).and_then(|address| UnixListener::bind_addr(&address));
    claimed.map_err(|error| {
        let errno = error.raw_os_error().unwrap_or_default();
        if error.kind() == io::ErrorKind::AddrInUse { NftablesError::Taken } else { NftablesError::Kernel { errno } }
    })
}

fn within<'a, T>(all: &'a [T], part: &std::ops::Range<usize>) -> &'a [T] {
    &all[part.start.min(all.len())..part.end.min(all.len())]
}

/// The number of the state of all the host's rules; every change of them has its own.
fn generation(netlink: &mut Netlink) -> Result<u32, Errno> {
    let mut found = None;
    let ask = |sequence| question(Verb::GetGeneration, sequence, |_| {});
    netlink.ask(ask, |answer| {
        found = attribute(answer, 1).and_then(|id| id.try_into().ok()).map(u32::from_be_bytes);
    })?;
    found.ok_or(Errno::IO)
}

/// What our table and its rules are known by; nothing if there is no such table.
fn marks(netlink: &mut Netlink) -> Result<Vec<u64>, Errno> {
    let mut found = Vec::new();
    let table = netlink.ask(
        |sequence| question(Verb::GetTable, sequence, table::table),
        |answer| {
            found.extend(table::mark_of_table(answer));
        },
    );
    match table {
        Ok(()) => {}
        Err(Errno::NOENT) => return Ok(found),
        Err(errno) => return Err(errno),
    }
    netlink.ask(
        |sequence| dump(Verb::GetRule, sequence, table::table),
        |answer| {
            found.extend(table::handle_of_rule(answer));
        },
    )?;
    Ok(found)
}
