//! Why the program in the driver does not stand where it should.

use std::error::Error;
use std::io;
use std::net::IpAddr;

use rustix::io::Errno;

/// Why the back end `xdp` can't be used, or could not carry something out. Nothing is open that should not be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum XdpError {
    /// The process may not load a program into the network's drivers.
    #[error("xdp: the process lacks the capabilities CAP_BPF and CAP_NET_ADMIN, or may not lock enough memory")]
    NoPrivilege,
    /// The kernel has no eBPF, or a filter of system calls keeps the process from it.
    #[error("xdp: the kernel has no eBPF, or the process may not call it")]
    NoBpf,
    /// The kernel has not all that the program is made of.
    #[error("xdp: the kernel is older than 5.18")]
    TooOld,
    /// The kernel's verifier refused the program.
    #[error("xdp: the kernel refused the program: {}", io::Error::from_raw_os_error(*.errno))]
    Refused {
        /// The number of the system's error.
        errno: i32,
    },
    /// The object does not fit this machine.
    #[error("xdp: the program is not one for this machine")]
    Object,
    /// An interface that the owner named does not exist.
    #[error("xdp: there is no interface {name}")]
    NoInterface {
        /// Its name.
        name: String,
    },
    /// No interface has the address that the gateway listens at.
    #[error("xdp: no interface carries the address {address}")]
    NoCarrier {
        /// The address.
        address: IpAddr,
    },
    /// A loopback interface slows down with a program at it, so it is guarded only where the owner wants that.
    #[error("xdp: only a loopback interface carries the address {address}, and none is named")]
    Loopback {
        /// The address.
        address: IpAddr,
    },
    /// Somebody else's program is at the interface.
    #[error("xdp: another program is at the interface {interface}")]
    Taken {
        /// Its name.
        interface: String,
    },
    /// The packets of the interface begin neither with an Ethernet header nor with that of IP.
    #[error("xdp: packets of the interface {interface} begin with a header that the program does not know")]
    Framing {
        /// Its name.
        interface: String,
    },
    /// The interface takes no program, neither in its driver nor before the network's first queue.
    #[error("xdp: the interface {interface} takes no program: {}", io::Error::from_raw_os_error(*.errno))]
    NotAttachable {
        /// Its name.
        interface: String,
        /// The number of the system's error.
        errno: i32,
    },
    /// The interface's driver takes no program, and it was wanted nowhere else.
    #[error("xdp: the driver of the interface {interface} takes no program")]
    NotInDriver {
        /// Its name.
        interface: String,
    },
    /// A port that is chosen later can't be guarded beforehand.
    #[error("xdp: the port 0 can't be guarded")]
    NoPort,
    /// The machine's interfaces can't be listed.
    #[error("xdp: the interfaces can't be listed: {}", io::Error::from_raw_os_error(*.errno))]
    NoLinks {
        /// The number of the system's error.
        errno: i32,
    },
    /// The kernel refused a change of a map.
    #[error("xdp: the kernel refused a change: {}", io::Error::from_raw_os_error(*.errno))]
    Kernel {
        /// The number of the system's error.
        errno: i32,
    },
}

impl XdpError {
    /// What the owner of the machine can do about it.
    #[must_use]
    pub fn next_step(&self) -> &'static str {
        match self {
            Self::NoPrivilege => {
                "give it the capabilities: the systemd drop-in of the book's chapter `Doors`, or AmbientCapabilities=CAP_BPF CAP_NET_ADMIN; before kernel 5.11 also LimitMEMLOCK=infinity"
            }
            Self::NoBpf => {
                "take a kernel with CONFIG_BPF_SYSCALL; under systemd allow the call: SystemCallFilter=bpf in the unit"
            }
            Self::TooOld => "take a newer kernel, or door = \"nftables\"",
            Self::Refused { .. } => "see what the kernel says: VESTIBULE_LOG=debug, dmesg; or take door = \"nftables\"",
            Self::Object => {
                "the program is for machines whose numbers have the small end first: take door = \"nftables\""
            }
            Self::NoInterface { .. } => "see `ip link`, and correct `door_interfaces`",
            Self::NoCarrier { .. } => {
                "give an interface the address, or name in `door_interfaces` where packets to it come in"
            }
            Self::Loopback { .. } => "name it: door_interfaces = [\"lo\"]",
            Self::Taken { .. } => {
                "see whose it is: `ip link`, `bpftool prog`; one gateway of a machine has an interface, another takes door = \"nftables\" or \"socket\""
            }
            Self::Framing { .. } | Self::NotAttachable { .. } => {
                "name other interfaces in `door_interfaces`, or take door = \"nftables\""
            }
            Self::NotInDriver { .. } => "leave it so; or door = \"xdp\", which takes the generic mode as well",
            Self::NoPort => "name the port in `listen`",
            Self::NoLinks { .. } => "allow the address family: RestrictAddressFamilies=AF_NETLINK in the unit",
            Self::Kernel { .. } => "see what the kernel says: dmesg",
        }
    }

    /// Of an error while the program and its maps are loaded.
    pub(super) fn at_load(error: &(dyn Error + 'static)) -> Self {
        match errno(error) {
            Some(Errno::PERM | Errno::ACCESS) if !is_refusal(error) => Self::NoPrivilege,
            Some(Errno::NOSYS) => Self::NoBpf,
            Some(errno) => Self::Refused { errno: errno.raw_os_error() },
            None => Self::Object,
        }
    }

    /// Of an error while it is attached.
    pub(super) fn at_attachment(interface: &str, error: &(dyn Error + 'static)) -> Self {
        let interface = interface.to_owned();
        match errno(error) {
            Some(Errno::PERM) => Self::NoPrivilege,
            Some(Errno::BUSY | Errno::EXIST) => Self::Taken { interface },
            other => Self::NotAttachable { interface, errno: other.unwrap_or(Errno::IO).raw_os_error() },
        }
    }

    pub(super) fn at_change(error: &(dyn Error + 'static)) -> Self {
        Self::Kernel { errno: errno(error).unwrap_or(Errno::IO).raw_os_error() }
    }

    pub(super) fn no_links(errno: Errno) -> Self {
        Self::NoLinks { errno: errno.raw_os_error() }
    }
}

/// The system's error at the bottom of one of the loader's.
pub(super) fn errno(error: &(dyn Error + 'static)) -> Option<Errno> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<io::Error>() {
            return found.raw_os_error().map(Errno::from_raw_os_error);
        }
        next = error.source();
    }
    None
}

/// Whether the verifier had looked at the program: what it refuses lacks no privilege, but the kernel's agreement.
fn is_refusal(error: &(dyn Error + 'static)) -> bool {
    use aya::programs::ProgramError;
    match error.downcast_ref::<ProgramError>() {
        Some(ProgramError::LoadError { verifier_log, .. }) => !verifier_log.to_string().is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_lack_has_its_own_error_and_a_next_step() {
        let of = |errno: Errno| io::Error::from(errno);
        let lacks = [
            XdpError::at_load(&of(Errno::PERM)),
            XdpError::at_load(&of(Errno::NOSYS)),
            XdpError::at_load(&of(Errno::INVAL)),
            XdpError::at_load(&std::fmt::Error),
            XdpError::at_attachment("eth0", &of(Errno::BUSY)),
            XdpError::at_attachment("eth0", &of(Errno::OPNOTSUPP)),
            XdpError::no_links(Errno::AFNOSUPPORT),
            XdpError::at_change(&of(Errno::NOMEM)),
        ];
        for (number, lack) in lacks.iter().enumerate() {
            assert!(!lack.next_step().is_empty() && !lacks[..number].contains(lack), "{lack}");
            assert!(lack.to_string().starts_with("xdp: "));
        }
        assert_eq!(lacks[0], XdpError::NoPrivilege);
        assert_eq!(lacks[4], XdpError::Taken { interface: "eth0".to_owned() });
    }
}
