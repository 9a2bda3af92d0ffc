//! The program and its maps in the kernel.

use std::time::Instant;

use aya::maps::{Array, HashMap, MapData, MapError, PerCpuArray};
use aya::programs::links::FdLink;
use aya::programs::{Xdp, XdpMode};
use aya::util::KernelVersion;
use aya::{Ebpf, EbpfLoader};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};
use vestibule_proto::id::TicketId;
use vestibule_proto::ticket::NatPolicy;

use super::fault::{XdpError, errno};
use super::place::{Place, mapped};
use crate::links::{Framing, Interface};
use crate::{Admission, Limits};

/// Programs for packets that begin with an Ethernet header, and with that of IP.
const PROGRAMS: [&str; 2] = ["vestibule_door", "vestibule_ip"];
/// The first kernel that reads a packet at a computed place for a program without CAP_PERFMON (`bpf_xdp_load_bytes`). Links that close
/// with the process are older (5.9).
const KERNEL: KernelVersion = KernelVersion::new(5, 18, 0);

/// The program, loaded and attached to nothing, with empty maps.
pub(super) struct Program {
    ebpf: Ebpf,
    /// By which numbers the kernel knows the programs.
    pub(super) numbers: Vec<u32>,
    clock: Clock,
    guarded: HashMap<MapData, [u8; 20], u32>,
    first: Array<MapData, [u8; 20]>,
    tickets: HashMap<MapData, [u8; 8], [u8; 40]>,
    live: HashMap<MapData, [u8; 20], u64>,
    counts: PerCpuArray<MapData, u64>,
}

/// Where the program may be at an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Where {
    /// In the driver.
    InDriver,
    /// There, or else before the network's first queue.
    Anywhere,
}

/// The program at an interface. Dropped, it is there no more.
pub(super) struct Attached {
    _link: FdLink,
    /// Where it runs.
    pub(super) mode: &'static str,
}

impl Program {
    /// Loads it, with room for what the limits say.
    pub(super) fn load(ports: impl Iterator<Item = u16>, limits: Limits) -> Result<Self, XdpError> {
        if KernelVersion::current().is_ok_and(|version| version < KERNEL) {
            return Err(XdpError::TooOld);
        }
        let count = |each: usize| u32::try_from(each).unwrap_or(u32::MAX).max(1);
        let mut ebpf = EbpfLoader::new()
            .btf(None)
            .map_max_entries("tickets", count(limits.admissions))
            // What has gone takes its place until the keeper comes.
            .map_max_entries("live", count(limits.sources.saturating_mul(2)))
            .load(aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/xdp/door.bpf.o")))
            .map_err(|error| XdpError::at_load(&error))?;
        let numbers = load_programs(&mut ebpf)?;
        open_ports(&mut ebpf, ports)?;
        Ok(Self {
            numbers,
            clock: Clock::now(),
            guarded: map(&mut ebpf, "guarded")?,
            first: map(&mut ebpf, "first")?,
            tickets: map(&mut ebpf, "tickets")?,
            live: map(&mut ebpf, "live")?,
            counts: map(&mut ebpf, "counts")?,
            ebpf,
        })
    }

    /// Puts it into the interface's driver, or, if that takes none and it may be elsewhere, before the network's first queue.
    pub(super) fn attach(&mut self, interface: &Interface, place: Where) -> Result<Attached, XdpError> {
        let failed = |error: &_| XdpError::at_attachment(&interface.name, error);
        let name = PROGRAMS[usize::from(interface.framing == Framing::BareIp)];
        let program = program(&mut self.ebpf, name)?;
        let (link, mode) = match program.attach_to_if_index(interface.index, XdpMode::Driver) {
            Ok(link) => (link, "driver"),
            Err(error) if matches!(errno(&error), Some(Errno::PERM | Errno::BUSY | Errno::EXIST)) => {
                return Err(failed(&error));
            }
            Err(_) if place == Where::InDriver => {
                return Err(XdpError::NotInDriver { interface: interface.name.clone() });
            }
            Err(_) => {
                (program.attach_to_if_index(interface.index, XdpMode::Skb).map_err(|error| failed(&error))?, "generic")
            }
        };
        let link = program.take_link(link).map_err(|error| failed(&error))?;
        // What is no link of the kernel's would stay behind us.
        let link = FdLink::try_from(link).map_err(|_| XdpError::TooOld)?;
        Ok(Attached { _link: link, mode })
    }

    /// Packets to this place are the gateway's.
    pub(super) fn guard(&mut self, place: Place) -> Result<(), XdpError> {
        self.guarded.insert(place.0, 0, 0).map_err(|error| XdpError::at_change(&error))
    }

    /// They are no more.
    pub(super) fn leave(&mut self, place: Place) -> Result<(), XdpError> {
        removed(self.guarded.remove(&place.0))
    }

    /// Packets to this place, a guarded one, are recognized fastest; `None`: to no place.
    pub(super) fn expect(&mut self, place: Option<Place>) -> Result<(), XdpError> {
        let bytes = place.map_or([0; 20], |place| place.0);
        self.first.set(0, bytes, 0).map_err(|error| XdpError::at_change(&error))
    }

    /// The tags of an admission open as it says; `None` if there is no room for it.
    pub(super) fn open(&mut self, admission: &Admission) -> Result<Option<()>, XdpError> {
        let mask = mask(admission);
        let mut value = [0; 40];
        value[..8].copy_from_slice(&self.clock.at(admission.deadline).to_ne_bytes());
        value[8..24].copy_from_slice(&mask.to_be_bytes());
        value[24..].copy_from_slice(&(mapped(admission.announced.to_canonical()) & mask).to_be_bytes());
        has_room(self.tickets.insert(admission.ticket.as_bytes(), value, 0))
    }

    /// The tags of an admission open no longer than until then.
    pub(super) fn shorten(&mut self, ticket: &TicketId, until: Instant) -> Result<(), XdpError> {
        let Ok(mut value) = self.tickets.get(ticket.as_bytes(), 0) else { return Ok(()) };
        value[..8].copy_from_slice(&self.clock.at(until).to_ne_bytes());
        self.tickets.insert(ticket.as_bytes(), value, 0).map_err(|error| XdpError::at_change(&error))
    }

    /// No tag of the ticket opens any more.
    pub(super) fn close(&mut self, ticket: &TicketId) -> Result<(), XdpError> {
        removed(self.tickets.remove(ticket.as_bytes()))
    }

    /// A source is in until then; `None` if there is no room for it.
    pub(super) fn enter(&mut self, source: Place, until: Instant) -> Result<Option<()>, XdpError> {
        has_room(self.live.insert(source.0, self.clock.at(until), 0))
    }

    /// A source is out.
    pub(super) fn out(&mut self, source: Place) -> Result<(), XdpError> {
        removed(self.live.remove(&source.0))
    }

    /// Packets to the gateway that were dropped.
    pub(super) fn dropped(&self) -> Option<u64> {
        const DROPPED: u32 = 0;
        self.counts.get(&DROPPED, 0).ok().map(|each| each.iter().sum())
    }
}

/// The kernel's clock, which is that of `Instant`, as the program reads it.
struct Clock {
    instant: Instant,
    nanoseconds: u64,
}

impl Clock {
    fn now() -> Self {
        let (instant, time) = (Instant::now(), clock_gettime(ClockId::Monotonic));
        let nanoseconds = u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000;
        Self { instant, nanoseconds: nanoseconds + u64::try_from(time.tv_nsec).unwrap_or(0) }
    }

    fn at(&self, instant: Instant) -> u64 {
        let after = instant.saturating_duration_since(self.instant).as_nanos();
        let before = self.instant.saturating_duration_since(instant).as_nanos();
        let number = |nanoseconds: u128| u64::try_from(nanoseconds).unwrap_or(u64::MAX);
        self.nanoseconds.saturating_add(number(after)).saturating_sub(number(before))
    }
}

/// The bits in which a source's address must agree with the announced one.
fn mask(admission: &Admission) -> u128 {
    match admission.policy {
        NatPolicy::Follow => 0,
        NatPolicy::Strict => u128::MAX,
        NatPolicy::Net if admission.announced.to_canonical().is_ipv4() => u128::MAX << 8,
        NatPolicy::Net => u128::MAX << (128 - 56),
    }
}

fn load_programs(ebpf: &mut Ebpf) -> Result<Vec<u32>, XdpError> {
    let load = |name| {
        let program = program(ebpf, name)?;
        let loaded = program.load().and_then(|()| program.info());
        loaded.map(|info| info.id()).map_err(|error| {
            tracing::debug!(%error, "the kernel refused the program");
            XdpError::at_load(&error)
        })
    };
    PROGRAMS.into_iter().map(load).collect()
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp, XdpError> {
    ebpf.program_mut(name).and_then(|program| program.try_into().ok()).ok_or(XdpError::Object)
}

fn map<T: TryFrom<aya::maps::Map>>(ebpf: &mut Ebpf, name: &str) -> Result<T, XdpError> {
    ebpf.take_map(name).and_then(|map| map.try_into().ok()).ok_or(XdpError::Object)
}

fn open_ports(ebpf: &mut Ebpf, ports: impl Iterator<Item = u16>) -> Result<(), XdpError> {
    let mut words: Array<MapData, u64> = map(ebpf, "ports")?;
    for port in ports {
        let word = u32::from(port / 64);
        let set = words.get(&word, 0).and_then(|bits| words.set(word, bits | 1 << (port % 64), 0));
        set.map_err(|error| XdpError::at_change(&error))?;
    }
    Ok(())
}

fn has_room(inserted: Result<(), MapError>) -> Result<Option<()>, XdpError> {
    match inserted {
        Ok(()) => Ok(Some(())),
        Err(error) if errno(&error) == Some(Errno::TOOBIG) => Ok(None),
        Err(error) => Err(XdpError::at_change(&error)),
    }
}

/// What isn't there is out.
fn removed(removed: Result<(), MapError>) -> Result<(), XdpError> {
    match removed {
        Err(error) if errno(&error) != Some(Errno::NOENT) => Err(XdpError::at_change(&error)),
        Ok(()) | Err(_) => Ok(()),
    }
}
