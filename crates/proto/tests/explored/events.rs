//! What can happen, how often, and which rules may be left out.

/// A rule that is left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Flaw {
    /// The gateway's seen-set goes with its process.
    SeenNotKept,
    /// The gateway is told *fresh* before the knock is written down.
    ToldBeforeWritten,
    /// The controller's disk keeps no `last`.
    LastNotKept,
}

/// Where a gateway is killed while it admits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Killed {
    Never,
    /// It has to write the knock down, and has not.
    BeforeWriting,
    /// The knock is written down, and the machine was not told.
    AfterWriting,
    /// The door stands open, and nobody was told.
    AfterOpening,
}

/// What can happen. Numbers are those of datagrams and frames in the order in which they were sent.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Event {
    /// The device begins a knock: a new K1, and what it waited for is forgotten.
    Knock,
    /// A K1 reaches the controller, from the device or from elsewhere.
    ToController {
        k1: usize,
        elsewhere: bool,
    },
    /// A knock reaches the gateway over the link.
    Admit {
        frame: usize,
        killed: Killed,
    },
    /// An evil controller puts I1 before the gateway under another number.
    AdmitAgain {
        k1: usize,
        killed: Killed,
    },
    /// The gateway's answer reaches the controller.
    Answer {
        frame: usize,
    },
    /// A K6 reaches the device.
    ToDevice {
        k6: usize,
    },
    /// A tag of the device reaches the door, for the first time or again.
    ToDoor {
        tag: usize,
    },
    KillController,
    KillGateway,
    /// `last` is written down.
    Flush,
    /// Time passes: more than a door stands open and a copy is answered, less than a knock is fresh.
    Moment,
    /// More than a knock is fresh.
    Minute,
}

/// How often each may happen in one run.
#[derive(Clone, Copy)]
pub(crate) struct Budget {
    pub(crate) knocks: usize,
    pub(crate) deliveries: usize,
    pub(crate) again: usize,
    pub(crate) kills: usize,
    pub(crate) flushes: usize,
    pub(crate) moments: usize,
    pub(crate) minutes: usize,
    pub(crate) tags: usize,
}
