//! The kernel's half of the door: the program, where it is, and what its maps hold.

use std::collections::{BTreeMap, BTreeSet};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::time::Instant;

use vestibule_proto::id::TicketId;

use super::book::{Book, Change};
use super::fault::XdpError;
use super::place::Place;
use super::plan::{Plan, check_interface};
use super::program::{Attached, Program, Where};
use crate::keeper::Kept;
use crate::layered::KernelHalf;
use crate::links::{Interface, Links};
use crate::nftables::Stay;
use crate::socket::Source;
use crate::{Admission, DoorError, Limits};

/// Whoever listens at this abstract address of the network namespace is a gateway with this door: the programs that are there
/// already may be its.
const NOTICE: &[u8] = b"vestibule-xdp";

/// The program in the kernel and the list of what its maps should hold.
pub(crate) struct Kernel {
    program: Program,
    links: Links,
    plan: Plan,
    limits: Limits,
    book: Book,
    guarded: BTreeSet<Place>,
    /// The interfaces that have it, by their number.
    attached: BTreeMap<u32, Attached>,
    /// It is not everywhere where it should be: nobody is admitted.
    fault: Option<XdpError>,
    /// Another gateway of this machine may have it.
    _notice: Option<UnixListener>,
}

impl Kernel {
    /// Attaches the program, with empty maps, to every interface of the plan.
    pub(super) fn open(plan: Plan, limits: Limits, place: Where) -> Result<Self, XdpError> {
        let (program, links) = load(&plan, limits)?;
        let (book, guarded, attached) = (Book::default(), BTreeSet::new(), BTreeMap::new());
        let mut kernel = Self { program, links, plan, limits, book, guarded, attached, fault: None, _notice: None };
        kernel.guard(place)?;
        kernel._notice = notice().and_then(|address| UnixListener::bind_addr(&address).ok());
        Ok(kernel)
    }

    /// Whether that could be done: the kernel looks at the program, which is attached to nothing. Where a gateway with this
    /// door runs, what is at the interfaces is taken for its.
    pub(super) fn probe(plan: &Plan) -> Result<(), XdpError> {
        match load(plan, Limits::default()) {
            Err(XdpError::Taken { .. }) if runs_already() => Program::load(plan.ports(), Limits::default()).map(drop),
            loaded => loaded.map(drop),
        }
    }

    /// Sees to it that the program is where it should be, and knows the gateway's addresses.
    fn guard(&mut self, place: Where) -> Result<(), XdpError> {
        let interfaces = self.links.interfaces().map_err(XdpError::no_links)?;
        self.write_places(&interfaces)?;
        let numbers = &self.program.numbers;
        let has_ours = |interface: &Interface| interface.programs.iter().any(|program| numbers.contains(program));
        self.attached.retain(|index, _| match interfaces.iter().find(|interface| interface.index == *index) {
            Some(interface) if !has_ours(interface) => {
                let interface = &interface.name;
                tracing::warn!(interface, "somebody took the door out of the driver: it is put back");
                false
            }
            there => there.is_some(),
        });
        let mut guarded = Ok(());
        for interface in self.plan.guarded(&interfaces) {
            if !self.attached.contains_key(&interface.index) {
                guarded = guarded.and(attach(&mut self.program, &mut self.attached, interface, place));
            }
        }
        guarded
    }

    fn write_places(&mut self, interfaces: &[Interface]) -> Result<(), XdpError> {
        let places = self.plan.places(interfaces);
        if places == self.guarded {
            return Ok(());
        }
        self.program.expect(None)?;
        for place in places.difference(&self.guarded) {
            self.program.guard(*place)?;
        }
        for place in self.guarded.difference(&places) {
            self.program.leave(*place)?;
        }
        self.guarded = places;
        self.program.expect(self.guarded.iter().find(|place| place.has_port()).copied())
    }

    fn mend(&mut self) -> Result<(), XdpError> {
        // A door that stands must go on standing: what comes later is guarded wherever it can be.
        let fault = self.guard(Where::Anywhere).err();
        if fault != self.fault {
            match &fault {
                Some(fault) => {
                    tracing::error!(%fault, next = fault.next_step(), "the door in the driver is not where it should be: nobody is admitted");
                }
                None => tracing::info!("the door in the driver is where it should be again"),
            }
        }
        self.fault.clone_from(&fault);
        fault.map_or(Ok(()), Err)
    }

    fn close_all(&mut self, tickets: &[TicketId]) -> Result<(), DoorError> {
        let closed: Vec<_> = tickets.iter().map(|ticket| self.program.close(ticket)).collect();
        Ok(closed.into_iter().collect::<Result<(), _>>()?)
    }

    fn change(&mut self, source: Place, change: Change, now: Instant) -> Result<(), DoorError> {
        let entered = match change {
            Change::Nothing => return Ok(()),
            Change::Remove => return Ok(self.program.out(source)?),
            Change::Until(until) => self.program.enter(source, until),
        };
        let full = DoorError::Full { limit: self.limits.sources };
        let entered = entered.map_err(DoorError::from).and_then(|entered| entered.ok_or(full));
        if entered.is_err() {
            self.book.missing(source, now);
        }
        entered
    }
}

impl KernelHalf for Kernel {
    const NAME: &'static str = "xdp";

    fn admit(&mut self, admission: &Admission, now: Instant) -> Result<(), DoorError> {
        if self.fault.is_some() {
            self.mend()?;
        }
        let over = self.book.over(now);
        self.close_all(&over)?;
        self.program.open(admission)?.ok_or(DoorError::Full { limit: self.limits.admissions })?;
        self.book.admit(admission.ticket, admission.deadline);
        Ok(())
    }

    fn withdraw(&mut self, ticket: &TicketId, _now: Instant) -> Result<(), DoorError> {
        if self.book.withdraw(ticket) {
            self.program.close(ticket)?;
        }
        Ok(())
    }

    fn spent(&mut self, ticket: &TicketId, now: Instant) -> Result<(), DoorError> {
        if let Some(until) = self.book.spent(ticket, now) {
            self.program.shorten(ticket, until)?;
        }
        Ok(())
    }

    fn stay(&mut self, source: Source, stay: Stay, now: Instant) -> Result<(), DoorError> {
        let place = Place::from(source);
        let change = self.book.stay(place, stay, now);
        self.change(place, change, now)
    }

    fn remove(&mut self) {
        self.attached.clear();
    }

    fn dropped(&self) -> Option<u64> {
        self.program.dropped()
    }
}

impl Kept for Kernel {
    fn keep(&mut self, now: Instant) {
        let _ = self.mend();
        let over = self.book.over(now);
        let mut done = vec![self.close_all(&over)];
        for (place, change) in self.book.renew(now) {
            done.push(self.change(place, change, now));
        }
        if let Some(error) = done.into_iter().find_map(Result::err) {
            tracing::warn!(%error, "the maps of the door in the driver could not be brought up to date");
        }
    }
}

/// The program, and the socket that tells of interfaces, if nothing is lacking.
fn load(plan: &Plan, limits: Limits) -> Result<(Program, Links), XdpError> {
    let mut links = Links::open().map_err(XdpError::no_links)?;
    let interfaces = links.interfaces().map_err(XdpError::no_links)?;
    plan.check(&interfaces, &[])?;
    Ok((Program::load(plan.ports(), limits)?, links))
}

fn notice() -> Option<SocketAddr> {
    SocketAddr::from_abstract_name(NOTICE).ok()
}

fn runs_already() -> bool {
    notice().is_some_and(|address| UnixStream::connect_addr(&address).is_ok())
}

fn attach(
    program: &mut Program,
    attached: &mut BTreeMap<u32, Attached>,
    interface: &Interface,
    place: Where,
) -> Result<(), XdpError> {
    check_interface(interface, &program.numbers)?;
    let link = program.attach(interface, place)?;
    tracing::info!(interface = interface.name, mode = link.mode, "the door is in the driver");
    attached.insert(interface.index, link);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn admission(number: u8) -> Admission {
        let deadline = Instant::now() + Duration::from_secs(60);
        crate::suite::admission(TicketId::new([number; 8]), [192, 0, 2, 1].into(), deadline)
    }

    /// The program in the kernel, at no interface. `None` where this process may not load it.
    fn kernel(limits: Limits) -> Option<Kernel> {
        let plan = Plan::new(&[], &[]);
        let program = match Program::load(plan.ports(), limits) {
            Err(XdpError::NoPrivilege) if !rustix::process::geteuid().is_root() => return None,
            loaded => loaded.unwrap(),
        };
        let (book, guarded, attached) = (Book::default(), BTreeSet::new(), BTreeMap::new());
        let links = Links::open().unwrap();
        Some(Kernel { program, links, plan, limits, book, guarded, attached, fault: None, _notice: None })
    }

    /// User space never asks for more than its limits; what follows if the kernel's map is full nevertheless.
    #[test]
    fn a_full_map_refuses_an_admission_and_keeps_what_it_has() {
        let Some(mut kernel) = kernel(Limits { admissions: 1, sources: 1 }) else { return };
        let now = Instant::now();
        assert_eq!(kernel.admit(&admission(1), now), Ok(()));
        assert_eq!(kernel.admit(&admission(2), now), Err(DoorError::Full { limit: 1 }));
        for number in [2, 1] {
            assert_eq!(kernel.withdraw(&admission(number).ticket, now), Ok(()));
        }
        assert_eq!(kernel.admit(&admission(3), now), Ok(()), "nothing of the others is left");
    }

    #[test]
    fn a_source_that_finds_no_room_is_written_when_there_is() {
        let Some(mut kernel) = kernel(Limits { admissions: 1, sources: 1 }) else { return };
        let now = Instant::now();
        let source = |port| Source::from(std::net::SocketAddr::from(([192, 0, 2, 1], port)));
        for port in 1..=2 {
            assert_eq!(kernel.stay(source(port), Stay::Held, now), Ok(()));
        }
        assert_eq!(kernel.stay(source(3), Stay::Held, now), Err(DoorError::Full { limit: 1 }));
        assert_eq!(kernel.stay(source(1), Stay::Out, now), Ok(()));
        kernel.keep(now);
        assert_eq!(
            kernel.stay(source(4), Stay::Held, now),
            Err(DoorError::Full { limit: 1 }),
            "the third has its place"
        );
    }
}
