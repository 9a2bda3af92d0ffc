//! Which way to the gateway: QUIC's own datagrams, or the same over TCP where a network drops those; and what has worked on which network.

use crate::address::source_towards;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use vestibule_dark::Way;
use vestibule_local_credential::file::{self, Durability, SaveError};

/// The file beside the credentials.
const FILE: &str = "networks";
/// Networks that are remembered, the latest ones.
const NETWORKS: usize = 32;
/// Longer files are not ours.
const FILE_LEN: u64 = 4_096;

/// Which ways a client may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Both, QUIC first; where it has not worked, TCP first.
    #[default]
    Auto,
    /// QUIC's datagrams alone.
    Quic,
    /// TCP alone.
    Tcp,
}

impl FromStr for Transport {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "quic" => Ok(Self::Quic),
            "tcp" => Ok(Self::Tcp),
            _ => Err("one of auto, quic, tcp"),
        }
    }
}

/// The choice, and where it is kept what has worked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ways {
    choice: Transport,
    /// The directory of the file; an invitation has none.
    dir: Option<PathBuf>,
}

/// The order in which the ways are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// This one alone.
    Only(Way),
    /// This one, and the other one later.
    First(Way),
}

impl Ways {
    pub(crate) fn beside(credential: &Path) -> Self {
        Self { choice: Transport::Auto, dir: credential.parent().map(Path::to_owned) }
    }

    pub(crate) fn choose(&mut self, choice: Transport) {
        self.choice = choice;
    }

    /// The ways to a gateway at `to`, by the network that this machine has towards it now.
    pub(crate) fn towards(&self, to: SocketAddr) -> Towards<'_> {
        let remembered = self.dir.as_deref().filter(|_| self.choice == Transport::Auto);
        let network = remembered.and_then(|dir| Some((dir, network(to)?)));
        let needs_tcp = network.as_ref().is_some_and(|(dir, network)| read(dir).contains(network));
        Towards { choice: self.choice, network, needs_tcp }
    }
}

/// See [`Ways::towards`].
pub(crate) struct Towards<'a> {
    choice: Transport,
    /// Where it is kept what has worked, and on which network that is; `None` if nothing is to be learnt.
    network: Option<(&'a Path, String)>,
    needs_tcp: bool,
}

impl Towards<'_> {
    /// How to begin.
    pub(crate) fn order(&self) -> Order {
        match self.choice {
            Transport::Quic => Order::Only(Way::Quic),
            Transport::Tcp => Order::Only(Way::Tcp),
            Transport::Auto if self.needs_tcp => Order::First(Way::Tcp),
            Transport::Auto => Order::First(Way::Quic),
        }
    }

    /// This way has worked. Without the file the next connect takes a moment longer.
    pub(crate) fn worked(&self, way: Way) {
        let needs_tcp = way == Way::Tcp;
        let Some((dir, network)) = self.network.as_ref().filter(|_| needs_tcp != self.needs_tcp) else { return };
        let mut known = read(dir);
        known.retain(|other| other != network);
        if needs_tcp {
            known.push(network.clone());
        }
        let skip = known.len().saturating_sub(NETWORKS);
        if let Err(error) = write(dir, &known[skip..]) {
            tracing::debug!(%error, "which way has worked can't be kept");
        }
    }
}

/// This machine's network on the way to `to`, by its address there: /24 of IPv4, /64 of IPv6.
fn network(to: SocketAddr) -> Option<String> {
    let prefix = match source_towards(to)?.to_canonical() {
        IpAddr::V4(v4) => format!("{}/24", std::net::Ipv4Addr::from(v4.to_bits() & !0xff)),
        IpAddr::V6(v6) => format!("{}/64", std::net::Ipv6Addr::from(v6.to_bits() >> 64 << 64)),
    };
    Some(prefix)
}

/// One network a line, the oldest first. What is no line of ours is left out; a file that can't be read is none.
fn read(dir: &Path) -> Vec<String> {
    let bytes = file::read(&dir.join(FILE), FILE_LEN).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines = text.lines().filter_map(|line| line.strip_prefix("tcp "));
    lines.map(str::to_owned).take(NETWORKS).collect()
}

fn write(dir: &Path, networks: &[String]) -> Result<(), SaveError> {
    let lines: String = networks.iter().map(|network| format!("tcp {network}\n")).collect();
    file::replace(&dir.join(FILE), lines.as_bytes(), Durability::Relaxed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn here() -> SocketAddr {
        "127.0.0.1:9".parse().unwrap()
    }

    #[test]
    fn what_has_worked_is_tried_first_the_next_time() {
        let dir = tempfile::tempdir().unwrap();
        let ways = Ways::beside(&dir.path().join("alice@home.credential"));
        assert_eq!(ways.towards(here()).order(), Order::First(Way::Quic));
        ways.towards(here()).worked(Way::Quic);
        assert!(!dir.path().join(FILE).exists(), "nothing to remember");
        ways.towards(here()).worked(Way::Tcp);
        assert_eq!(ways.towards(here()).order(), Order::First(Way::Tcp));
        let file = dir.path().join(FILE);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "tcp 127.0.0.0/24\n");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        ways.towards(here()).worked(Way::Quic);
        assert_eq!(ways.towards(here()).order(), Order::First(Way::Quic));
    }

    #[test]
    fn a_choice_is_obeyed_and_teaches_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut ways = Ways::beside(&dir.path().join("alice@home.credential"));
        for (choice, way) in [("tcp", Way::Tcp), ("quic", Way::Quic)] {
            ways.choose(choice.parse().unwrap());
            ways.towards(here()).worked(Way::Tcp);
            assert_eq!(ways.towards(here()).order(), Order::Only(way));
        }
        assert!(!dir.path().join(FILE).exists());
        assert!("udp".parse::<Transport>().is_err());
    }

    #[test]
    fn the_file_is_bounded_and_junk_in_it_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let many: Vec<String> = (0..NETWORKS).map(|n| format!("192.0.{n}.0/24")).collect();
        write(dir.path(), &many).unwrap();
        Ways::beside(&dir.path().join("x")).towards(here()).worked(Way::Tcp);
        let known = read(dir.path());
        assert_eq!((known.len(), known.last().map(String::as_str)), (NETWORKS, Some("127.0.0.0/24")));
        std::fs::write(dir.path().join(FILE), "junk\ntcp 10.0.0.0/24\nquic 1\n").unwrap();
        assert_eq!(read(dir.path()), ["10.0.0.0/24"]);
        std::fs::write(dir.path().join(FILE), "tcp 10.0.0.0/24\n".repeat(1_000)).unwrap();
        assert_eq!(read(dir.path()), Vec::<String>::new());
    }
}
