//! The back end `nftables`: a table of our own in the kernel's packet filter, before connection tracking, that drops what
//! strangers send to the gateway's port, and behind it the back end `socket`, which is exact.
//!
//! The kernel's sets hold the tickets of the admissions and the live sources, and nothing else: what passes is a packet whose tag
//! begins with such a ticket, or one from a source that has spent a tag. Whether the ticket has that tag, from which network it may
//! come and that nobody else has spent it, user space decides; nothing is answered before. So an admission is one element, whatever
//! the number of its tags. Each change is written to the kernel before the call returns, over one long-lived netlink socket,
//! and each element has its own end, so that a table whose process died shuts by itself. An established flow is an element,
//! too, not an entry of connection tracking: taken out, the flow's next packet is dropped.
//!
//! With direct services (`gated`) the table also stands before their TCP ports: what passes there is a flow that was opened and
//! settled, looked up packet by packet, in both directions.
//!
//! Other tables of the host are neither read nor changed. A table of ours that somebody else changed or deleted is made
//! anew, at the latest half a second later; in between user space still lets nobody in who bears no tag.

mod book;
mod expression;
mod fault;
mod gated;
mod kernel;
mod message;
mod netlink;
mod rules;
mod shortcut;
mod table;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

pub(crate) use book::{AFTER_FIRST, Stay};
pub use fault::NftablesError;
pub(crate) use message::attribute;

use crate::direct::check;
use crate::keeper::{Keeper, lock};
use crate::socket::Source;
use crate::{
    Command, DirectError, DirectFlow, DirectPort, Door, DoorError, FLOW_WINDOW, FirstPacket, Hold, Leads, Limits,
    Opening, SocketDoor, TcpDoor,
};
use kernel::Kernel;
use table::{Key, Plan};

/// Elements of the kernel's sets for each that is of use: what has gone takes its place until the kernel tidies up, seconds later; who
/// comes while all places are taken is refused.
const SPARE: usize = 2;

/// The door in the kernel. Dropped, it takes its table away.
pub struct NftablesDoor {
    /// Ends first.
    keeper: Keeper,
    exact: SocketDoor,
    // Taken before the locks of `exact`, where both are needed.
    kernel: Arc<Mutex<Kernel>>,
    /// Addresses whose next connection to a direct service passes, and until when nobody else of the address is let begin.
    waiting: Mutex<HashMap<(IpAddr, u16), Instant>>,
}

impl NftablesDoor {
    /// A closed door before these UDP addresses, in the network namespace of the calling thread. A table of the same name
    /// is replaced: it is what a former process left.
    ///
    /// # Errors
    /// [`NftablesError`]; nothing was changed.
    pub fn open(listen: &[SocketAddr], limits: Limits) -> Result<Self, NftablesError> {
        let kernel = Arc::new(Mutex::new(Kernel::open(plan(listen, limits))?));
        Ok(Self {
            keeper: Keeper::start(kernel.clone()),
            exact: SocketDoor::new(limits),
            kernel,
            waiting: Mutex::default(),
        })
    }

    /// Whether this process could guard these addresses here: the kernel is shown the table, and nothing is changed.
    ///
    /// # Errors
    /// What it lacks.
    pub fn probe(listen: &[SocketAddr]) -> Result<(), NftablesError> {
        Kernel::probe(&plan(listen, Limits::default()))
    }

    /// Sees to it that a table which a gateway left that died does not keep everybody from one with another kind of door. Ports
    /// of direct services stay shut.
    pub(crate) fn clear_away() {
        match Kernel::clear_away() {
            Ok(()) | Err(NftablesError::Taken) => {}
            // Who may not look has no table to take away either; where one stands, nobody comes in.
            Err(lack) => tracing::debug!(%lack, "it is not known whether a table `inet vestibule` was left"),
        }
    }

    /// Whether it could stand before these direct services as well; nothing is changed.
    ///
    /// # Errors
    /// What is lacking.
    pub fn probe_direct(listen: &[SocketAddr], direct: &[DirectPort]) -> Result<(), DirectError> {
        check(direct)?;
        let plan = Plan { direct: direct.to_vec(), ..plan(listen, Limits::default()) };
        Ok(Kernel::probe(&plan)?)
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<(IpAddr, u16), Instant>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kernel(&self) -> MutexGuard<'_, Kernel> {
        lock(&self.kernel)
    }

    /// Writes to the kernel how a source stands now. Whoever changes that calls this afterwards: the last one writes what
    /// is true at last.
    fn write(&self, source: Source, now: Instant) -> Result<(), DoorError> {
        let mut kernel = self.kernel();
        kernel.stay(key(source), self.exact.stay(source, now), now)
    }

    fn admit(&self, command: &Command, admission: &crate::Admission, now: Instant) -> Result<(), DoorError> {
        let mut kernel = self.kernel();
        self.exact.apply(command, now)?;
        let admitted = kernel.admit(admission, now);
        if admitted.is_err() {
            self.exact.apply(&Command::Withdraw(admission.ticket), now)?;
        }
        admitted
    }
}

impl Door for NftablesDoor {
    fn name(&self) -> &'static str {
        "nftables"
    }

    fn apply(&self, command: &Command, now: Instant) -> Result<(), DoorError> {
        match command {
            Command::Admit(admission) => self.admit(command, admission, now),
            Command::Withdraw(ticket) => {
                let mut kernel = self.kernel();
                self.exact.apply(command, now)?;
                kernel.withdraw(ticket, now)
            }
            Command::Cut(source) => {
                self.exact.apply(command, now)?;
                self.write(Source::from(*source), now)
            }
        }
    }

    fn admitted(&self) -> usize {
        self.exact.admitted()
    }

    fn first_packet(&self, source: SocketAddr, dcid: &[u8], now: Instant) -> FirstPacket {
        let answer = self.exact.first_packet(source, dcid, now);
        if let FirstPacket::Spent(ticket) = answer {
            tell(self.write(Source::from(source), now), "a client's way in");
            tell(self.kernel().spent(&ticket, now), "a spent tag");
        }
        answer
    }

    fn hold(&self, source: SocketAddr, dcid: &[u8], now: Instant) -> Option<Hold> {
        let hold = self.exact.hold(source, dcid, now)?;
        tell(self.write(hold.source(), now), "a client's connection");
        Some(hold)
    }

    fn release(&self, hold: &Hold) {
        self.exact.release(hold);
        // The kernel's time is real.
        tell(self.write(hold.source(), Instant::now()), "the end of a connection");
    }

    fn is_live(&self, source: SocketAddr, now: Instant) -> bool {
        self.exact.is_live(source, now)
    }

    fn live(&self) -> usize {
        self.exact.live()
    }

    fn tcp(&self) -> &TcpDoor {
        self.exact.tcp()
    }

    fn guard(&self, ports: &[DirectPort], now: Instant) -> Result<(), DirectError> {
        check(ports)?;
        let mut kernel = self.kernel();
        let is_gone = |former: &&DirectPort| ports.iter().all(|direct| direct.port != former.port);
        let gone = kernel.direct().iter().filter(is_gone).map(|former| DirectPort { leads: Leads::Nowhere, ..*former });
        let all = ports.iter().copied().chain(gone).collect();
        Ok(kernel.guard(all, now)?)
    }

    fn open_flow(&self, opening: &Opening, now: Instant) -> Result<(), DirectError> {
        let mut kernel = self.kernel();
        if !kernel.direct().iter().any(|direct| direct.port == opening.port && direct.takes(opening.client)) {
            return Err(DirectError::NoService);
        }
        if opening.client_port.is_none() {
            let mut waiting = self.waiting();
            waiting.retain(|_, until| *until > now);
            match waiting.entry((opening.client.to_canonical(), opening.port)) {
                Entry::Occupied(_) => return Err(DirectError::Waiting),
                // What the kernel forgets by itself must be gone before the next one comes.
                Entry::Vacant(entry) => entry.insert(now + 2 * FLOW_WINDOW),
            };
        }
        let opened = kernel.open_flow(opening, now);
        if opened.is_err() && opening.client_port.is_none() {
            self.waiting().remove(&(opening.client.to_canonical(), opening.port));
        }
        Ok(opened?)
    }

    fn settle_flow(&self, opening: &Opening, now: Instant) -> Result<Option<DirectFlow>, DirectError> {
        let settled = self.kernel().settle_flow(opening, now);
        match settled {
            Ok(Some(_)) => drop(self.waiting().remove(&(opening.client.to_canonical(), opening.port))),
            Ok(None) | Err(_) => self.close_flow(opening, None, now),
        }
        Ok(settled?)
    }

    fn close_flow(&self, opening: &Opening, flow: Option<&DirectFlow>, now: Instant) {
        self.kernel().close_flow(opening, flow, now);
        if flow.is_none() && opening.client_port.is_none() {
            self.waiting().remove(&(opening.client.to_canonical(), opening.port));
        }
    }
}

impl Drop for NftablesDoor {
    fn drop(&mut self) {
        self.keeper.stop();
        self.kernel().remove();
    }
}

/// Nobody is let in by what the kernel does not know. The keeper makes good what it can.
fn tell(done: Result<(), DoorError>, what: &str) {
    if let Err(error) = done {
        tracing::warn!(%error, "the kernel's door does not know of {what}");
    }
}

fn plan(listen: &[SocketAddr], limits: Limits) -> Plan {
    let count = |each: usize| u32::try_from(each.saturating_mul(SPARE)).unwrap_or(u32::MAX);
    let tickets = count(limits.admissions);
    Plan { listen: listen.to_vec(), tickets, sources: count(limits.sources), direct: Vec::new(), own: Vec::new() }
}

fn key(source: Source) -> Key {
    Key::source(source.ip(), source.port())
}
