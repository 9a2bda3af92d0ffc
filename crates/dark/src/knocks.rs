//! Knocks on their way from the receive path to the controller's machine: a queue of fixed size, allocated beforehand.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use vestibule_proto::header::MESSAGE_LEN;

/// How many knocks wait at most; more are dropped and counted. At 5,000 knocks a second this is the work of 0.8 s, after
/// which a client knocks again anyway.
pub const QUEUE_LIMIT: usize = 4096;

/// A knock that passed the [`KnockFilter`](crate::KnockFilter).
#[derive(Clone, PartialEq, Eq)]
pub struct ReceivedKnock {
    /// Where it came from; where an answer goes.
    pub from: SocketAddr,
    /// All of the datagram.
    pub bytes: [u8; MESSAGE_LEN],
}

impl fmt::Debug for ReceivedKnock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceivedKnock").field("from", &self.from).finish_non_exhaustive()
    }
}

/// The end of the queue that the controller reads.
#[derive(Debug)]
pub struct KnockQueue {
    shared: Arc<Shared>,
}

impl KnockQueue {
    /// The next knock; waits for one. `None` once the endpoint is closed or gone and the queue is empty. Cancel-safe.
    pub async fn recv(&mut self) -> Option<ReceivedKnock> {
        loop {
            // A permit is kept for one who isn't waiting yet, so that no wake-up is lost between these two lines.
            let woken = self.shared.arrived.notified();
            match self.shared.pop() {
                Ok((knock, None)) => return Some(knock),
                Ok((knock, Some(local))) => {
                    self.shared.return_paths().remember(knock.from, local);
                    return Some(knock);
                }
                Err(Nothing::EverAgain) => return None,
                Err(Nothing::Yet) => woken.await,
            }
        }
    }
}

/// The end that the receive path fills.
#[derive(Debug)]
pub(crate) struct KnockSink {
    shared: Arc<Shared>,
}

impl KnockSink {
    /// Copies a knock into the queue; `false` if there is no room, or nobody will read it. `local` is the address that the knock came to, if an
    /// answer must be told to leave from there.
    pub(crate) fn push(&self, from: SocketAddr, local: Option<IpAddr>, knock: &[u8; MESSAGE_LEN]) -> bool {
        let mut queue = self.shared.queue();
        if queue.closed || queue.waiting.len() >= QUEUE_LIMIT {
            return false;
        }
        queue.waiting.push_back((ReceivedKnock { from, bytes: *knock }, local));
        drop(queue);
        self.shared.arrived.notify_one();
        true
    }

    /// Tells the reader that no more will come.
    pub(crate) fn close(&self) {
        self.shared.queue().closed = true;
        self.shared.arrived.notify_one();
    }

    /// The address from which an answer to `to` must leave, if it knocked at one of several.
    pub(crate) fn return_path(&self, to: SocketAddr) -> Option<IpAddr> {
        self.shared.return_paths().to_local.get(&to).copied()
    }
}

impl Drop for KnockSink {
    fn drop(&mut self) {
        self.close();
    }
}

/// A queue, empty.
pub(crate) fn queue() -> (KnockSink, KnockQueue) {
    let queue = Queue { waiting: VecDeque::with_capacity(QUEUE_LIMIT), closed: false };
    let shared = Arc::new(Shared { queue: Mutex::new(queue), arrived: Notify::new(), return_paths: Mutex::default() });
    (KnockSink { shared: shared.clone() }, KnockQueue { shared })
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    arrived: Notify,
    return_paths: Mutex<ReturnPaths>,
}

#[derive(Debug)]
struct Queue {
    waiting: VecDeque<Waiting>,
    closed: bool,
}

/// A knock, and the address that it came to, if an answer must be told to leave from there.
type Waiting = (ReceivedKnock, Option<IpAddr>);

/// Why there is no knock.
enum Nothing {
    Yet,
    EverAgain,
}

impl Shared {
    fn pop(&self) -> Result<Waiting, Nothing> {
        let mut queue = self.queue();
        let nothing = if queue.closed { Nothing::EverAgain } else { Nothing::Yet };
        queue.waiting.pop_front().ok_or(nothing)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn return_paths(&self) -> MutexGuard<'_, ReturnPaths> {
        self.return_paths.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// At which of our addresses the latest knocks arrived. A socket bound to all of them would otherwise answer from the one
/// that the route suggests, and a NAT or a careful client would not take that for an answer.
#[derive(Debug, Default)]
struct ReturnPaths {
    to_local: HashMap<SocketAddr, IpAddr>,
    oldest_first: VecDeque<SocketAddr>,
}

impl ReturnPaths {
    fn remember(&mut self, from: SocketAddr, local: IpAddr) {
        if self.to_local.insert(from, local).is_none() {
            self.oldest_first.push_back(from);
        }
        if self.oldest_first.len() > 2 * QUEUE_LIMIT
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.to_local.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn source(number: usize) -> SocketAddr {
        let [_, _, a, b] = (number as u32).to_be_bytes();
        SocketAddr::from(([192, 0, a, b], 7))
    }

    #[tokio::test]
    async fn knocks_come_out_in_order_and_the_end_is_told() {
        let (sink, mut queue) = queue();
        for number in 0..3 {
            assert!(sink.push(source(number), None, &[number as u8; MESSAGE_LEN]));
        }
        drop(sink);
        for number in 0..3 {
            let expected = ReceivedKnock { from: source(number), bytes: [number as u8; MESSAGE_LEN] };
            assert_eq!(queue.recv().await, Some(expected));
        }
        assert_eq!(queue.recv().await, None);
    }

    #[tokio::test]
    async fn who_waits_is_woken() {
        let (sink, mut queue) = queue();
        let waiting = tokio::spawn(async move { (queue.recv().await, queue.recv().await) });
        tokio::task::yield_now().await;
        assert!(sink.push(source(1), None, &[1; MESSAGE_LEN]));
        tokio::task::yield_now().await;
        sink.close();
        assert!(!sink.push(source(2), None, &[2; MESSAGE_LEN]));
        let (knock, end) = waiting.await.unwrap();
        assert_eq!(knock.map(|knock| knock.from), Some(source(1)));
        assert_eq!(end, None);
    }

    #[test]
    fn a_full_queue_takes_no_more_and_grows_by_nothing() {
        let (sink, queue) = queue();
        let capacity = queue.shared.queue().waiting.capacity();
        let taken = (0..2 * QUEUE_LIMIT).filter(|n| sink.push(source(*n), None, &[0; MESSAGE_LEN])).count();
        assert_eq!(taken, QUEUE_LIMIT);
        assert_eq!(queue.shared.queue().waiting.capacity(), capacity);
    }

    #[tokio::test]
    async fn answers_leave_from_where_the_knock_arrived() {
        let (sink, mut queue) = queue();
        for number in 0..3 * QUEUE_LIMIT {
            assert!(sink.push(source(number), Some(LOCAL), &[0; MESSAGE_LEN]));
            queue.recv().await;
        }
        assert_eq!(sink.return_path(source(3 * QUEUE_LIMIT - 1)), Some(LOCAL));
        assert_eq!(sink.return_path(source(0)), None, "forgotten");
        assert_eq!(queue.shared.return_paths().to_local.len(), 2 * QUEUE_LIMIT);
        assert!(sink.push(source(1), None, &[0; MESSAGE_LEN]));
        queue.recv().await;
        assert_eq!(sink.return_path(source(1)), None, "a socket bound to one address");
    }
}
