//! The thread that looks after the table: is it still ours, and does nothing end that must not.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::kernel::Kernel;
use super::lock;

/// How often it looks.
const EVERY: Duration = Duration::from_millis(500);

/// The thread, until it is stopped.
pub(super) struct Keeper(Option<(mpsc::Sender<()>, JoinHandle<()>)>);

impl Keeper {
    /// Starts it. If the system gives no thread, the door does without: what is wrong shows at the next admission.
    pub(super) fn start(kernel: Arc<Mutex<Kernel>>) -> Self {
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
    pub(super) fn stop(&mut self) {
        if let Some((stop, thread)) = self.0.take() {
            drop(stop);
            let _ = thread.join();
        }
    }
}
