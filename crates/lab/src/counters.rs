//! What a host's kernel counted: an account of its own, beside any capture.

use std::{collections::BTreeMap, fmt, fs};

use crate::{Context, Result};

/// Counters of one network namespace at one moment. Names are the kernel's: `Udp.OutDatagrams`, `Tcp.OutRsts`
/// (`/proc/net/snmp`), `Udp6OutDatagrams` (`/proc/net/snmp6`), `eth0.tx_packets` (`/proc/net/dev`).
#[derive(Clone, PartialEq, Eq)]
pub struct Counters(BTreeMap<String, u64>);

const DEVICE_COLUMNS: [(usize, &str); 8] = [
    (0, "rx_bytes"),
    (1, "rx_packets"),
    (2, "rx_errors"),
    (3, "rx_dropped"),
    (8, "tx_bytes"),
    (9, "tx_packets"),
    (10, "tx_errors"),
    (11, "tx_dropped"),
];

impl Counters {
    /// Of the namespace of process `pid`, or of our own.
    pub(crate) fn read(pid: Option<u32>) -> Result<Self> {
        let who = pid.map_or_else(|| "self".to_owned(), |pid| pid.to_string());
        let file = |name: &str| {
            let path = format!("/proc/{who}/net/{name}");
            fs::read_to_string(&path).context(path)
        };
        let mut counters = BTreeMap::new();
        read_snmp(&file("snmp")?, &mut counters);
        // Absent where the kernel has no IPv6.
        read_snmp6(&file("snmp6").unwrap_or_default(), &mut counters);
        read_devices(&file("dev")?, &mut counters);
        Ok(Self(counters))
    }

    /// One counter by the kernel's name; 0 where the kernel has none of that name.
    pub fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// What was counted since `before`.
    pub fn since(&self, before: &Self) -> Self {
        Self(self.0.iter().map(|(name, now)| (name.clone(), now.saturating_sub(before.get(name)))).collect())
    }

    /// UDP datagrams sent, IPv4 and IPv6, loopback included.
    pub fn udp_sent(&self) -> u64 {
        self.get("Udp.OutDatagrams") + self.get("Udp6OutDatagrams")
    }

    /// UDP datagrams that reached a socket's reader, IPv4 and IPv6, loopback included.
    pub fn udp_received(&self) -> u64 {
        self.get("Udp.InDatagrams") + self.get("Udp6InDatagrams")
    }

    /// ICMP messages sent, IPv4 and IPv6; neighbour discovery is among the latter.
    pub fn icmp_sent(&self) -> u64 {
        self.get("Icmp.OutMsgs") + self.get("Icmp6OutMsgs")
    }

    /// TCP segments sent that carry a reset.
    pub fn resets_sent(&self) -> u64 {
        self.get("Tcp.OutRsts")
    }

    /// Frames of any kind sent by all interfaces but loopback.
    pub fn frames_sent(&self) -> u64 {
        self.over_devices(".tx_packets")
    }

    /// Frames of any kind received by all interfaces but loopback.
    pub fn frames_received(&self) -> u64 {
        self.over_devices(".rx_packets")
    }

    fn over_devices(&self, column: &str) -> u64 {
        let wanted = |name: &str| name.ends_with(column) && !name.starts_with("lo.");
        self.0.iter().filter(|(name, _)| wanted(name)).map(|(_, count)| count).sum()
    }
}

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().filter(|(_, count)| **count != 0)).finish()
    }
}

/// Pairs of lines: `Udp: InDatagrams NoPorts …` and `Udp: 17 0 …`.
fn read_snmp(text: &str, into: &mut BTreeMap<String, u64>) {
    let lines: Vec<&str> = text.lines().collect();
    for pair in lines.chunks_exact(2) {
        let (Some((group, names)), Some((_, values))) = (pair[0].split_once(':'), pair[1].split_once(':')) else {
            continue;
        };
        for (name, value) in names.split_whitespace().zip(values.split_whitespace()) {
            if let Ok(value) = value.parse() {
                into.insert(format!("{group}.{name}"), value);
            }
        }
    }
}

fn read_snmp6(text: &str, into: &mut BTreeMap<String, u64>) {
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if let (Some(name), Some(Ok(value))) = (words.next(), words.next().map(str::parse)) {
            into.insert(name.to_owned(), value);
        }
    }
}

fn read_devices(text: &str, into: &mut BTreeMap<String, u64>) {
    for line in text.lines().skip(2) {
        let Some((device, values)) = line.split_once(':') else { continue };
        let values: Vec<u64> = values.split_whitespace().filter_map(|value| value.parse().ok()).collect();
        for (column, name) in DEVICE_COLUMNS {
            if let Some(value) = values.get(column) {
                into.insert(format!("{}.{name}", device.trim()), *value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SNMP: &str = "Tcp: ActiveOpens OutRsts MaxConn\nTcp: 3 1 -1\nUdp: InDatagrams OutDatagrams\nUdp: 5 7\n";
    const DEV: &str = "Inter-| Receive | Transmit\n face |bytes packets\n  eth0: 100 4 0 0 0 0 0 0 200 6 0 0 0 0 0 0\n    lo: 9 9 0 0 0 0 0 0 9 9 0 0 0 0 0 0\n";

    fn sample() -> Counters {
        let mut counters = BTreeMap::new();
        read_snmp(SNMP, &mut counters);
        read_snmp6("Udp6OutDatagrams                \t2\nIcmp6OutMsgs 1\n", &mut counters);
        read_devices(DEV, &mut counters);
        Counters(counters)
    }

    #[test]
    fn reads_the_kernels_tables() {
        let counters = sample();
        assert_eq!(counters.get("Tcp.ActiveOpens"), 3);
        assert_eq!(counters.get("Tcp.MaxConn"), 0, "a negative limit is no count");
        assert_eq!((counters.udp_sent(), counters.udp_received()), (9, 5));
        assert_eq!((counters.resets_sent(), counters.icmp_sent()), (1, 1));
        assert_eq!((counters.frames_sent(), counters.frames_received()), (6, 4));
        assert_eq!(counters.get("eth0.rx_bytes"), 100);
    }

    #[test]
    fn counts_since_an_earlier_moment() {
        let before = sample();
        let mut after = sample();
        after.0.insert("Udp.OutDatagrams".into(), 10);
        assert_eq!(after.since(&before).udp_sent(), 3);
        assert_eq!(after.since(&before).frames_sent(), 0);
    }

    #[test]
    fn reads_this_machines_own() {
        assert!(Counters::read(None).unwrap().0.contains_key("Udp.OutDatagrams"));
    }
}
