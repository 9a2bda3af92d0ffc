//! One look at one address.

use crate::packet::Ends;
use crate::plain;
use crate::probe::{OUR_PORTS, Plan, Question};
use crate::raw::Wire;
use crate::sight::{Means, Sight, Tally};
use serde::Serialize;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};
use vestibule_proto::entropy::{self, SystemEntropy};

/// Packets that are sent before what came back is read.
const BATCH: usize = 8;

/// Between two batches: some thousand packets a second, which no path takes for a flood.
const PAUSE: Duration = Duration::from_millis(2);

/// How long an answer to the last packet is waited for.
const PATIENCE: Duration = Duration::from_millis(1_200);

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Target {
    /// What it is called in the report.
    pub name: String,
    /// Where it is.
    pub address: SocketAddr,
}

/// Why it could not be looked at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookError {
    /// It is this machine's own address: whatever is sent there never goes out.
    #[error("{address} is this machine's own: from here nobody looks from outside")]
    OwnAddress {
        /// The address.
        address: IpAddr,
    },
    /// No packet gets there.
    #[error("{address} can't be reached from here: {why}")]
    NoWay {
        /// The address.
        address: IpAddr,
        /// What the system says.
        why: String,
    },
    /// The sockets for it can't be had.
    #[error("the probes for {address} can't be sent: {why}")]
    Sockets {
        /// The address.
        address: IpAddr,
        /// What the system says.
        why: String,
    },
}

/// Looks at an address as a stranger would. Takes about 2 s over raw sockets, up to 10 s without.
///
/// # Errors
/// Those of [`LookError`]; silence is none.
pub fn look(target: &Target) -> Result<Sight, LookError> {
    let address = target.address.ip();
    let source = way_to(target.address).map_err(|error| LookError::NoWay { address, why: error.to_string() })?;
    let ends = Ends::new(source, address).filter(|_| source != address).ok_or(LookError::OwnAddress { address })?;
    let question = question(ends, target.address.port());
    let seen = match Wire::open(ends) {
        Ok(wire) => over(&wire, &Plan::new(question)),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => plain::look(question, target.address),
        Err(error) => Err(error),
    };
    seen.map(|tally| tally.judge()).map_err(|error| LookError::Sockets { address, why: error.to_string() })
}

/// This machine's address towards it.
fn way_to(target: SocketAddr) -> io::Result<IpAddr> {
    let any: IpAddr = if target.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(target)?;
    Ok(socket.local_addr()?.ip())
}

fn question(ends: Ends, port: u16) -> Question {
    let random: [u8; 4] = entropy::bytes(&mut SystemEntropy);
    let [ours, unused] = [[random[0], random[1]], [random[2], random[3]]].map(u16::from_be_bytes);
    // Ours lie below those that systems choose for their programs, the unused one above what servers use.
    let ours = 20_000 + ours % 500 * OUR_PORTS;
    let unused = 50_000 + unused % 10_000;
    Question { ends, port, unused: if unused == port { unused + 1 } else { unused }, ours }
}

fn over(wire: &Wire, plan: &Plan) -> io::Result<Tally> {
    let mut tally = Tally::new(Means::Raw);
    for batch in plan.probes.chunks(BATCH) {
        for probe in batch {
            wire.send(&probe.packet)?;
            tally.sent(probe.group);
        }
        thread::sleep(PAUSE);
        wire.heard(|reply| tally.heard(plan, reply))?;
    }
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        thread::sleep(10 * PAUSE);
        wire.heard(|reply| tally.heard(plan, reply))?;
    }
    Ok(tally)
}
