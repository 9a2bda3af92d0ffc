//! Datagrams that wait, within bounds.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Bytes that wait in one queue at most. Several datagrams of the largest size fit.
pub const FLOW_QUEUE: usize = 256 << 10;

/// What one that waits takes beside its payload, so that empty ones are not for free.
const OVERHEAD: usize = 64;

/// What all queues of a connection share.
#[derive(Debug)]
pub(super) struct Budget {
    left: AtomicUsize,
}

impl Budget {
    pub(super) fn new(bytes: usize) -> Self {
        Self { left: AtomicUsize::new(bytes) }
    }

    fn take(&self, bytes: usize) -> bool {
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes)).is_ok()
    }

    fn give(&self, bytes: usize) {
        self.left.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Payloads in the order in which they came. What finds no room is not taken.
#[derive(Debug)]
pub struct DatagramQueue {
    waiting: Mutex<Waiting>,
    came: Notify,
    budget: Arc<Budget>,
}

#[derive(Debug, Default)]
struct Waiting {
    payloads: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl Default for DatagramQueue {
    /// With [`FLOW_QUEUE`] bytes of its own.
    fn default() -> Self {
        Self::within(Arc::new(Budget::new(FLOW_QUEUE)))
    }
}

impl DatagramQueue {
    pub(super) fn within(budget: Arc<Budget>) -> Self {
        Self { waiting: Mutex::default(), came: Notify::new(), budget }
    }

    /// Puts one behind the others. False if there is no room for it.
    pub fn push(&self, payload: Vec<u8>) -> bool {
        let bytes = payload.len() + OVERHEAD;
        let mut waiting = self.waiting();
        if waiting.bytes + bytes > FLOW_QUEUE || !self.budget.take(bytes) {
            return false;
        }
        waiting.bytes += bytes;
        waiting.payloads.push_back(payload);
        drop(waiting);
        self.came.notify_one();
        true
    }

    /// Waits for the first. Cancel-safe; who waits is alone.
    pub async fn pop(&self) -> Vec<u8> {
        loop {
            if let Some(payload) = self.try_pop() {
                return payload;
            }
            self.came.notified().await;
        }
    }

    /// Waits until there is one. Cancel-safe; who waits here or in [`DatagramQueue::pop`] is alone.
    pub async fn filled(&self) {
        while self.waiting().payloads.is_empty() {
            self.came.notified().await;
        }
    }

    /// The first, if there is one.
    pub fn try_pop(&self) -> Option<Vec<u8>> {
        let mut waiting = self.waiting();
        let payload = waiting.payloads.pop_front()?;
        let bytes = payload.len() + OVERHEAD;
        waiting.bytes -= bytes;
        self.budget.give(bytes);
        Some(payload)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for DatagramQueue {
    fn drop(&mut self) {
        self.budget.give(self.waiting().bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn payloads_come_in_order_and_what_has_no_room_is_not_taken() {
        let queue = DatagramQueue::default();
        let size = 60_000;
        let fits = FLOW_QUEUE / (size + OVERHEAD);
        for number in 0..fits {
            assert!(queue.push(vec![number as u8; size]));
        }
        assert!(!queue.push(vec![0; size]));
        assert_eq!(queue.pop().await, vec![0; size]);
        assert!(queue.push(Vec::new()) && queue.push(vec![9]));
        for number in 1..fits {
            assert_eq!(queue.pop().await[0], number as u8);
        }
        assert_eq!((queue.pop().await, queue.pop().await), (Vec::new(), vec![9]));
        assert_eq!(queue.try_pop(), None);
    }

    #[tokio::test]
    async fn who_waits_is_told() {
        let queue = Arc::new(DatagramQueue::default());
        let waits = tokio::spawn({
            let queue = queue.clone();
            async move { queue.pop().await }
        });
        tokio::task::yield_now().await;
        assert!(queue.push(vec![1]));
        assert_eq!(waits.await.unwrap(), [1]);
    }

    #[test]
    fn empty_ones_are_not_for_free_and_queues_share_a_budget_that_comes_back() {
        let queue = DatagramQueue::default();
        let taken = (0..).take_while(|_| queue.push(Vec::new())).count();
        assert_eq!(taken, FLOW_QUEUE / OVERHEAD);
        let budget = Arc::new(Budget::new(2 * FLOW_QUEUE));
        let queues = [0; 3].map(|_| DatagramQueue::within(budget.clone()));
        let full = |queue: &DatagramQueue| (0..).take_while(|_| queue.push(vec![0; 1_000])).count();
        assert!(full(&queues[0]) > 200 && full(&queues[1]) > 200);
        assert!(full(&queues[2]) < 5, "what two queues left");
        drop(queues);
        assert_eq!(budget.left.load(Ordering::Relaxed), 2 * FLOW_QUEUE);
    }
}
