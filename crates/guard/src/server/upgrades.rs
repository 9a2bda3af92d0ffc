//! What a connection has been upgraded to: it is the same connection, and counts as one until that ends.

use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// What passes bytes for one connection since it was upgraded. In the extensions of each request that asks for an upgrade.
#[derive(Clone, Debug, Default)]
pub(crate) struct Upgrades {
    running: TaskTracker,
    cut: CancellationToken,
}

impl Upgrades {
    /// Runs `passing` until it ends or whoever serves the connection gives up.
    pub(crate) fn spawn(&self, passing: impl Future<Output = ()> + Send + 'static) {
        let cut = self.cut.clone();
        self.running.spawn(async move {
            tokio::select! {
                biased;
                () = cut.cancelled() => {}
                () = passing => {}
            }
        });
    }

    /// Completes when nothing runs any more. To be asked when no request can follow.
    pub(super) async fn ended(&self) {
        self.running.close();
        self.running.wait().await;
    }

    /// Cuts what runs, when it is dropped.
    pub(super) fn cutter(&self) -> DropGuard {
        self.cut.clone().drop_guard()
    }
}
