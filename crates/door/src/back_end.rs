//! What every back end can do, and how it fails.

use std::time::Instant;

use crate::Command;

/// A back end that enforces admissions.
///
/// Fail closed: the gateway says *ready* only after [`Door::apply`] returned `Ok` for its [`Command::Admit`]; after an
/// error nothing is open that was not open before.
pub trait Door: Send + Sync {
    /// The name of the back end, as in configuration and logs: `socket`, `nftables`, `xdp`.
    fn name(&self) -> &'static str;

    /// Carries out one command; the change is in force when this returns. `now` is the caller's clock.
    ///
    /// # Errors
    /// Those of [`DoorError`]; then nothing was changed. [`Command::Withdraw`] and [`Command::Cut`] of something that isn't
    /// there succeed.
    fn apply(&self, command: &Command, now: Instant) -> Result<(), DoorError>;

    /// How many admissions the door holds. One whose window is over counts until the next command.
    fn admitted(&self) -> usize;
}

/// Why a door did not carry out a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DoorError {
    /// The door holds as many admissions as it may. The gateway answers *busy*.
    #[error("the door holds its limit of {limit} admissions")]
    Full {
        /// How many that is.
        limit: usize,
    },
    /// An admission of this ticket stands already. Tickets are random: the caller erred.
    #[error("an admission of this ticket stands already")]
    Duplicate,
    /// A tag does not begin with its ticket, or two tags of the admission are equal: the caller erred.
    #[error("the tags are not those of the ticket")]
    NotItsTags,
    /// The admission's window was over before it began.
    #[error("the admission window is over")]
    TooLate,
}
