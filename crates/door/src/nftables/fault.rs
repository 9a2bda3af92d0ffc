//! Why the kernel does not do what the door tells it.

use rustix::io::Errno;

/// Why the back end `nftables` can't be used, or could not carry something out. Nothing is open that should not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NftablesError {
    /// The process may not change the firewall of its network.
    #[error("nftables: the process lacks the capability CAP_NET_ADMIN")]
    NoPrivilege,
    /// The process may not even open the socket, or the kernel has no netfilter.
    #[error("nftables: no netlink socket to the kernel's netfilter")]
    NoNetlink,
    /// The kernel has no nf_tables.
    #[error("nftables: the kernel has no nf_tables")]
    NoNftables,
    /// The kernel has nf_tables, but not all that our rules are made of.
    #[error("nftables: the kernel lacks a part of nf_tables")]
    Incomplete,
    /// Another process on this machine has the table.
    #[error("nftables: another process has the table `inet vestibule`")]
    Taken,
    /// A port that is chosen later can't be guarded beforehand.
    #[error("nftables: the port 0 can't be guarded")]
    NoPort,
    /// The kernel refused what it should have taken.
    #[error("nftables: the kernel refused: {}", std::io::Error::from_raw_os_error(*.errno))]
    Kernel {
        /// The number of the system's error.
        errno: i32,
    },
}

impl NftablesError {
    /// What the owner of the machine can do about it.
    #[must_use]
    pub fn next_step(self) -> &'static str {
        match self {
            Self::NoPrivilege => {
                "give it the capability: the systemd drop-in of the book's chapter `Doors`, or AmbientCapabilities=CAP_NET_ADMIN"
            }
            Self::NoNetlink => {
                "allow the address family: RestrictAddressFamilies=AF_NETLINK in the unit; or load the module: modprobe nfnetlink"
            }
            Self::NoNftables => "load the module: modprobe nf_tables",
            Self::Incomplete => "load the modules: modprobe -a nf_tables nft_fib_inet (kernel 4.14 or later)",
            Self::Taken => {
                "one gateway of a machine has the table, another takes door = \"socket\"; who has it: ss -xlp src @vestibule-door"
            }
            Self::NoPort => "name the port in `listen`",
            Self::Kernel { .. } => "see what the kernel says: dmesg; nft list table inet vestibule",
        }
    }

    /// Of an error at the very first: opening the socket.
    pub(super) fn at_socket(errno: Errno) -> Self {
        match errno {
            Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT | Errno::ACCESS | Errno::PERM => Self::NoNetlink,
            other => Self::kernel(other),
        }
    }

    /// Of an error at the first question.
    pub(super) fn at_question(errno: Errno) -> Self {
        match errno {
            Errno::PERM => Self::NoPrivilege,
            Errno::INVAL | Errno::OPNOTSUPP => Self::NoNftables,
            other => Self::kernel(other),
        }
    }

    /// Of an error when the table is laid.
    pub(super) fn at_table(errno: Errno) -> Self {
        match errno {
            Errno::PERM => Self::NoPrivilege,
            Errno::OPNOTSUPP | Errno::NOENT | Errno::AFNOSUPPORT => Self::Incomplete,
            other => Self::kernel(other),
        }
    }

    pub(super) fn kernel(errno: Errno) -> Self {
        Self::Kernel { errno: errno.raw_os_error() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_lack_has_its_own_error_and_a_next_step() {
        let lacks = [
            NftablesError::at_socket(Errno::PROTONOSUPPORT),
            NftablesError::at_question(Errno::PERM),
            NftablesError::at_question(Errno::INVAL),
            NftablesError::at_table(Errno::NOENT),
            NftablesError::kernel(Errno::IO),
        ];
        for (number, lack) in lacks.iter().enumerate() {
            assert!(!lack.next_step().is_empty() && !lacks[..number].contains(lack), "{lack}");
            assert!(lack.to_string().starts_with("nftables: "));
        }
        assert_eq!(
            NftablesError::at_table(Errno::PERM).to_string(),
            "nftables: the process lacks the capability CAP_NET_ADMIN"
        );
        assert!(NftablesError::kernel(Errno::IO).to_string().contains("Input/output error"));
    }
}
