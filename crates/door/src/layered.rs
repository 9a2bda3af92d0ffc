//! A door of two layers: the kernel ends what strangers send, and behind it the back end `socket`, which is exact.
//!
//! The kernel's half holds the tickets of the admissions and the live sources, and nothing else: what passes is a packet whose
//! tag begins with such a ticket, or one from a source that has spent a tag. Whether the ticket has that tag, and nobody has spent
//! it, user space decides; nothing is answered before. So an admission is one element, whatever the number of its tags, and a
//! stranger would have to guess 64 bits within the window to come as far as user space. Each change is written to the kernel before
//! the call returns, and each element has its own end.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use vestibule_proto::id::TicketId;

use crate::keeper::{Keeper, Kept, lock};
use crate::nftables::Stay;
use crate::socket::Source;
use crate::{Admission, Command, Door, DoorError, FirstPacket, Hold, Limits, SocketDoor, TcpDoor};

/// What a back end in the kernel does with what user space knows.
pub(crate) trait KernelHalf: Kept {
    /// The name of the back end.
    const NAME: &'static str;

    /// The tags of an admission open. After an error none of them does.
    fn admit(&mut self, admission: &Admission, now: Instant) -> Result<(), DoorError>;

    /// No tag of the ticket opens any more.
    fn withdraw(&mut self, ticket: &TicketId, now: Instant) -> Result<(), DoorError>;

    /// A tag of the ticket was spent: it opens for some time yet, for the others of its tags.
    fn spent(&mut self, ticket: &TicketId, now: Instant) -> Result<(), DoorError>;

    /// A source stands so now.
    fn stay(&mut self, source: Source, stay: Stay, now: Instant) -> Result<(), DoorError>;

    /// The gateway ends: takes away what was laid, so that its port is one that nobody uses.
    fn remove(&mut self);

    /// Packets that ended in the kernel, if it counts them.
    fn dropped(&self) -> Option<u64>;
}

/// Both layers. Dropped, it takes the kernel's away.
pub(crate) struct Layered<K: KernelHalf> {
    /// Ends first.
    keeper: Keeper,
    exact: SocketDoor,
    // Taken before the locks of `exact`, where both are needed.
    kernel: Arc<Mutex<K>>,
}

impl<K: KernelHalf> Layered<K> {
    pub(crate) fn new(kernel: K, limits: Limits) -> Self {
        let kernel = Arc::new(Mutex::new(kernel));
        Self { keeper: Keeper::start(kernel.clone()), exact: SocketDoor::new(limits), kernel }
    }

    fn kernel(&self) -> MutexGuard<'_, K> {
        lock(&self.kernel)
    }

    /// Writes to the kernel how a source stands now. Whoever changes that calls this afterwards: the last one writes what
    /// is true at last.
    fn write(&self, source: Source, now: Instant) -> Result<(), DoorError> {
        let mut kernel = self.kernel();
        kernel.stay(source, self.exact.stay(source, now), now)
    }

    fn admit(&self, command: &Command, admission: &Admission, now: Instant) -> Result<(), DoorError> {
        let mut kernel = self.kernel();
        self.exact.apply(command, now)?;
        let admitted = kernel.admit(admission, now);
        if admitted.is_err() {
            self.exact.apply(&Command::Withdraw(admission.ticket), now)?;
        }
        admitted
    }
}

impl<K: KernelHalf> Door for Layered<K> {
    fn name(&self) -> &'static str {
        K::NAME
    }

    fn apply(&self, command: &Command, now: Instant) -> Result<(), DoorError> {
        match command {
            Command::Admit(admission) => self.admit(command, admission, now),
            Command::Withdraw(ticket) => {
                let mut kernel = self.kernel();
                self.exact.apply(command, now)?;
                kernel.withdraw(ticket, now)
            }
            Command::Cut(source) => {
                self.exact.apply(command, now)?;
                self.write(Source::from(*source), now)
            }
        }
    }

    fn admitted(&self) -> usize {
        self.exact.admitted()
    }

    fn first_packet(&self, source: SocketAddr, dcid: &[u8], now: Instant) -> FirstPacket {
        let answer = self.exact.first_packet(source, dcid, now);
        if let FirstPacket::Spent(ticket) = answer {
            tell(self.write(Source::from(source), now), "a client's way in");
            tell(self.kernel().spent(&ticket, now), "a spent tag");
        }
        answer
    }

    fn hold(&self, source: SocketAddr, dcid: &[u8], now: Instant) -> Option<Hold> {
        let hold = self.exact.hold(source, dcid, now)?;
        tell(self.write(hold.source(), now), "a client's connection");
        Some(hold)
    }

    fn release(&self, hold: &Hold) {
        self.exact.release(hold);
        // The kernel's time is real.
        tell(self.write(hold.source(), Instant::now()), "the end of a connection");
    }

    fn is_live(&self, source: SocketAddr, now: Instant) -> bool {
        self.exact.is_live(source, now)
    }

    fn live(&self) -> usize {
        self.exact.live()
    }

    fn tcp(&self) -> &TcpDoor {
        self.exact.tcp()
    }

    fn dropped(&self) -> Option<u64> {
        self.kernel().dropped()
    }
}

impl<K: KernelHalf> Drop for Layered<K> {
    fn drop(&mut self) {
        self.keeper.stop();
        self.kernel().remove();
    }
}

/// Nobody is let in by what the kernel does not know. The keeper makes good what it can.
fn tell(done: Result<(), DoorError>, what: &str) {
    if let Err(error) = done {
        tracing::warn!(%error, "the kernel's door does not know of {what}");
    }
}
