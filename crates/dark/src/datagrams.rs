//! T, datagrams: the flows of one connection, and what comes for them.
//!
//! Both ends of a connection have one [`Datagrams`] each. A flow is entered with its stream's number ([`Datagrams::enter`]) and carries
//! between its stream, the connection's DATAGRAM frames and a local side ([`DatagramFlow::carry`]). Everything here is bounded, and what
//! finds no room is dropped and counted, as on any network: no flow waits for another one.

mod carrying;
mod counters;
mod queue;

pub use carrying::{Answer, FlowEnd, LocalSide};
pub use counters::DatagramCounters;
pub use queue::{DatagramQueue, FLOW_QUEUE};

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use quinn::{Connection, SendStream};
use tokio_util::sync::CancellationToken;
use vestibule_proto::datagram::{self, FlowId};

use queue::Budget;

/// Flows of one connection at a time. One more ends the one that has been silent longest.
pub const FLOWS_LIMIT: usize = 256;

/// What no datagram is longer than, in bytes: room for any that a socket may hear.
pub const LONGEST: usize = 65_536;

/// Bytes that wait for all flows of a connection at most, at each end.
const CONNECTION_QUEUE: usize = 2 << 20;

/// The flows of datagrams of one connection.
#[derive(Debug)]
pub struct Datagrams {
    connection: Connection,
    flows: Mutex<HashMap<FlowId, Entry>>,
    budget: Arc<Budget>,
    counters: Arc<DatagramCounters>,
    begun: Instant,
}

#[derive(Clone, Debug)]
struct Entry {
    arrived: Arc<DatagramQueue>,
    used: Arc<Used>,
    /// Cancelled when the flow makes room for another one.
    crowded_out: CancellationToken,
}

/// When something passed last, in milliseconds since the connection's flows began to be counted.
#[derive(Debug, Default)]
struct Used(AtomicU64);

/// One flow, until it is dropped.
#[derive(Debug)]
pub struct DatagramFlow {
    id: FlowId,
    entry: Entry,
    /// What goes on the stream.
    records: DatagramQueue,
    all: Arc<Datagrams>,
}

impl Datagrams {
    /// Those of a connection that has none yet; counted with all others of this role.
    #[must_use]
    pub fn new(connection: &Connection, counters: Arc<DatagramCounters>) -> Arc<Self> {
        Arc::new(Self {
            connection: connection.clone(),
            flows: Mutex::default(),
            budget: Arc::new(Budget::new(CONNECTION_QUEUE)),
            counters,
            begun: Instant::now(),
        })
    }

    /// Hands what comes in DATAGRAM frames to the flows, until the connection is gone. Cancel-safe.
    pub async fn run(&self) {
        while let Ok(frame) = self.connection.read_datagram().await {
            self.take(&frame);
            tokio::task::coop::consume_budget().await;
        }
    }

    /// Enters the flow of a stream: on the client's side before it says anything on it, on the gateway's as soon as it is allowed.
    #[must_use]
    pub fn enter(self: &Arc<Self>, stream: &SendStream) -> DatagramFlow {
        // QUIC numbers streams below 2^60, so that the other number is nobody's.
        let id = FlowId::new(stream.id().index()).unwrap_or(LAST);
        let entry = Entry {
            arrived: Arc::new(DatagramQueue::within(self.budget.clone())),
            used: Arc::default(),
            crowded_out: CancellationToken::new(),
        };
        self.touch(&entry.used);
        let mut flows = self.flows();
        if flows.len() >= FLOWS_LIMIT {
            self.make_room(&mut flows);
        }
        flows.insert(id, entry.clone());
        drop(flows);
        DatagramFlow { id, entry, records: DatagramQueue::within(self.budget.clone()), all: self.clone() }
    }

    fn make_room(&self, flows: &mut HashMap<FlowId, Entry>) {
        let silent = flows.iter().min_by_key(|(id, entry)| (entry.used.0.load(Ordering::Relaxed), **id));
        if let Some(id) = silent.map(|(id, _)| *id)
            && let Some(entry) = flows.remove(&id)
        {
            entry.crowded_out.cancel();
            self.counters.crowded_out.add();
        }
    }

    fn take(&self, frame: &[u8]) {
        let Ok((id, payload)) = datagram::decode(frame) else { return self.counters.malformed.add() };
        let entry = self.flows().get(&id).cloned();
        let Some(entry) = entry else { return self.counters.unknown.add() };
        if !entry.arrived.push(payload.into()) {
            self.counters.dropped.add();
        }
    }

    fn touch(&self, used: &Used) {
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        used.0.store(now, Ordering::Relaxed);
    }

    /// How long ago something passed.
    fn silence(&self, used: &Used) -> Duration {
        self.begun.elapsed().saturating_sub(Duration::from_millis(used.0.load(Ordering::Relaxed)))
    }

    fn flows(&self) -> MutexGuard<'_, HashMap<FlowId, Entry>> {
        self.flows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const LAST: FlowId = match FlowId::new((1 << 60) - 1) {
    Some(id) => id,
    None => unreachable!(),
};

impl Drop for DatagramFlow {
    fn drop(&mut self) {
        let mut flows = self.all.flows();
        // One that was crowded out is not there any more.
        if flows.get(&self.id).is_some_and(|entry| Arc::ptr_eq(&entry.arrived, &self.entry.arrived)) {
            flows.remove(&self.id);
        }
    }
}
