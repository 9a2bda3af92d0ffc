//! How QUIC behaves over TCP, where nothing is lost and nothing overtakes.

use std::any::Any;
use std::sync::Arc;
use std::time::Instant;

use quinn::TransportConfig;
use quinn::congestion::{Controller, ControllerFactory};
use tokio::sync::oneshot;

use super::PACKET_MAX;

/// Bytes in flight: as much as the peer takes of one stream. How fast they go, TCP decides.
const WINDOW: u64 = 8 << 20;

/// A QUIC connection's life, told to the task that attends its TCP connection. quinn keeps a connection's parameters exactly as long
/// as the connection, and these hold this.
#[derive(Debug)]
pub(crate) struct Life(oneshot::Sender<()>);

impl Life {
    /// A life, and what ends with it.
    pub(crate) fn begin() -> (Self, oneshot::Receiver<()>) {
        let (sender, over) = oneshot::channel();
        (Self(sender), over)
    }

    /// Fits the parameters of the connection whose life this is.
    pub(crate) fn fit(self, config: &mut TransportConfig) {
        config
            .initial_mtu(PACKET_MAX)
            .mtu_discovery_config(None)
            .congestion_controller_factory(Arc::new(Lossless(Arc::new(self))));
    }
}

#[derive(Debug, Clone)]
struct Lossless(Arc<Life>);

impl ControllerFactory for Lossless {
    fn build(self: Arc<Self>, _: Instant, _: u16) -> Box<dyn Controller> {
        let Life(_alive) = &*self.0;
        Box::new((*self).clone())
    }
}

impl Controller for Lossless {
    fn on_congestion_event(&mut self, _: Instant, _: Instant, _: bool, _: u64) {}

    fn on_mtu_update(&mut self, _: u16) {}

    fn window(&self) -> u64 {
        WINDOW
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        WINDOW
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
