//! The thread that looks after the kernel's half: is it still as we made it, and does nothing end that must not.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often it looks.
const EVERY: Duration = Duration::from_millis(500);

/// What is looked after.
pub(crate) trait Kept: Send + 'static {
    /// Looks whether the kernel is as we made it, makes good what is not, and renews what would go.
    fn keep(&mut self, now: Instant);
}

/// The kernel's half, for one at a time.
pub(crate) fn lock<K>(kernel: &Mutex<K>) -> MutexGuard<'_, K> {
    // Nothing panics while it holds the lock; and if it did, the keeper would set right what the kernel holds.
    kernel.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread, until it is stopped.
pub(crate) struct Keeper(Option<(mpsc::Sender<()>, JoinHandle<()>)>);

impl Keeper {
    /// Starts it. If the system gives no thread, the door does without: what is wrong shows at the next admission.
    pub(crate) fn start(kernel: Arc<Mutex<impl Kept>>) -> Self {
        let (stop, stopped) = mpsc::channel();
        let keep = move || {
            while stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                lock(&kernel).keep(Instant::now());
            }
        };
        match std::thread::Builder::new().name("door-keeper".to_owned()).spawn(keep) {
            Ok(thread) => Self(Some((stop, thread))),
            Err(error) => {
                tracing::error!(%error, "nobody looks after the kernel's door");
                Self(None)
            }
        }
    }

    /// Stops it, and waits for its end.
    pub(crate) fn stop(&mut self) {
        if let Some((stop, thread)) = self.0.take() {
            drop(stop);
            let _ = thread.join();
        }
    }
}
