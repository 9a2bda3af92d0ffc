//! More streams for who uses many.
//!
//! A connection begins with [`FIRST_STREAMS`], because every stream that may be opened takes memory, opened or not. Who accepts
//! a peer's streams counts them here, and the peer is allowed twice as many before it runs out, up to [`STREAMS_LIMIT`].

use std::sync::{Arc, Mutex, PoisonError};

use quinn::Connection;

use crate::transport::{FIRST_STREAMS, STREAMS_LIMIT};

/// How many streams a peer may have open, and how many it has. One per connection, beside its accept loop.
#[derive(Debug)]
pub struct Allowance {
    connection: Connection,
    count: Arc<Mutex<Count>>,
}

#[derive(Debug)]
struct Count {
    open: u32,
    allowed: u32,
}

/// One accepted stream; counts until it is dropped.
#[derive(Debug)]
pub struct AllowedStream(Arc<Mutex<Count>>);

impl Allowance {
    /// The allowance of a connection that was made with our [`transport`](crate::transport()).
    #[must_use]
    pub fn new(connection: &Connection) -> Self {
        let count = Count { open: 0, allowed: FIRST_STREAMS };
        Self { connection: connection.clone(), count: Arc::new(Mutex::new(count)) }
    }

    /// Counts a bidirectional stream that was just accepted. Keep what this returns as long as the stream.
    #[must_use]
    pub fn accepted(&self) -> AllowedStream {
        let raised = locked(&self.count).opened();
        if let Some(allowed) = raised {
            self.connection.set_max_concurrent_bi_streams(allowed.into());
        }
        AllowedStream(self.count.clone())
    }
}

impl Drop for AllowedStream {
    fn drop(&mut self) {
        locked(&self.0).open -= 1;
    }
}

impl Count {
    /// One more; what to allow from now on, if it has to be more.
    fn opened(&mut self) -> Option<u32> {
        self.open += 1;
        let runs_out = self.open > self.allowed / 4 * 3 && self.allowed < STREAMS_LIMIT;
        runs_out.then(|| {
            self.allowed = STREAMS_LIMIT.min(2 * self.allowed);
            self.allowed
        })
    }
}

fn locked(count: &Mutex<Count>) -> std::sync::MutexGuard<'_, Count> {
    count.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_allowance_doubles_before_it_is_used_up_and_ends_at_the_limit() {
        let mut count = Count { open: 0, allowed: FIRST_STREAMS };
        let mut raises = Vec::new();
        for open in 1..=2 * STREAMS_LIMIT {
            if let Some(allowed) = count.opened() {
                assert!(open < allowed);
                raises.push(allowed);
            }
        }
        assert_eq!(raises, [192, 384, 768, 1536, 3072, 4096]);
    }
}
