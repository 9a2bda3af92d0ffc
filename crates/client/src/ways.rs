//! Which way to the gateway: QUIC's own datagrams, or the same over TCP where a network drops those; and what has worked on which network.

use crate::address::source_towards;
use serde::{Deserialize, Serialize};
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use vestibule_dark::Way;

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

    /// How to begin, on the network by which `to` is reached now.
    pub(crate) fn order(&self, to: SocketAddr) -> Order {
        match self.choice {
            Transport::Quic => Order::Only(Way::Quic),
            Transport::Tcp => Order::Only(Way::Tcp),
            Transport::Auto => match self.needs_tcp(to) {
                true => Order::First(Way::Tcp),
                false => Order::First(Way::Quic),
            },
        }
    }

    fn needs_tcp(&self, to: SocketAddr) -> bool {
        let known = self.dir.as_deref().map(read).unwrap_or_default();
        network(to).is_some_and(|network| known.contains(&network))
    }

    /// This way has worked. Without the file the next connect takes a moment longer.
    pub(crate) fn worked(&self, to: SocketAddr, way: Way) {
        let (Some(dir), Some(network)) = (&self.dir, network(to)) else { return };
        if self.choice != Transport::Auto {
            return;
        }
        let mut known = read(dir);
        match (way, known.contains(&network)) {
            (Way::Tcp, true) | (Way::Quic, false) => return,
            (Way::Tcp, false) => known.push(network),
            (Way::Quic, true) => known.retain(|other| *other != network),
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
    let path = dir.join(FILE);
    if std::fs::metadata(&path).map_or(true, |file| file.len() > FILE_LEN) {
        return Vec::new();
    }
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines = text.lines().filter_map(|line| line.strip_prefix("tcp "));
    lines.map(str::to_owned).take(NETWORKS).collect()
}

fn write(dir: &Path, networks: &[String]) -> io::Result<()> {
    let new = dir.join(format!("{FILE}.{}.new", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    let lines: String = networks.iter().map(|network| format!("tcp {network}\n")).collect();
    file.write_all(lines.as_bytes())?;
    std::fs::rename(new, dir.join(FILE))
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
        assert_eq!(ways.order(here()), Order::First(Way::Quic));
        ways.worked(here(), Way::Quic);
        assert!(!dir.path().join(FILE).exists(), "nothing to remember");
        ways.worked(here(), Way::Tcp);
        assert_eq!(ways.order(here()), Order::First(Way::Tcp));
        let file = dir.path().join(FILE);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "tcp 127.0.0.0/24\n");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        ways.worked(here(), Way::Quic);
        assert_eq!(ways.order(here()), Order::First(Way::Quic));
    }

    #[test]
    fn a_choice_is_obeyed_and_teaches_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut ways = Ways::beside(&dir.path().join("alice@home.credential"));
        for (choice, way) in [("tcp", Way::Tcp), ("quic", Way::Quic)] {
            ways.choose(choice.parse().unwrap());
            ways.worked(here(), Way::Tcp);
            assert_eq!(ways.order(here()), Order::Only(way));
        }
        assert!(!dir.path().join(FILE).exists());
        assert!("udp".parse::<Transport>().is_err());
    }

    #[test]
    fn the_file_is_bounded_and_junk_in_it_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let many: Vec<String> = (0..NETWORKS).map(|n| format!("192.0.{n}.0/24")).collect();
        write(dir.path(), &many).unwrap();
        Ways::beside(&dir.path().join("x")).worked(here(), Way::Tcp);
        let known = read(dir.path());
        assert_eq!((known.len(), known.last().map(String::as_str)), (NETWORKS, Some("127.0.0.0/24")));
        std::fs::write(dir.path().join(FILE), "junk\ntcp 10.0.0.0/24\nquic 1\n").unwrap();
        assert_eq!(read(dir.path()), ["10.0.0.0/24"]);
        std::fs::write(dir.path().join(FILE), "tcp 10.0.0.0/24\n".repeat(1_000)).unwrap();
        assert_eq!(read(dir.path()), Vec::<String>::new());
    }
}
