//! Black-box tests of the program: what its owner, a person at the keyboard, and a stranger on the wire can see.
//!
//! A scenario is a test in a file of `tests/tests/`, one file for one theme. It knows nothing of the crates: it starts
//! the real program on hosts of `vestibule_lab`, mostly from `Fixture`, and looks at exit codes, at what is printed,
//! at the kernel's counters and at captures. It returns `vestibule_lab::Result`, so that `?` ends it with a reason.
//!
//! Promises (P1 to P11 of the system's description) and attack tests (T1 to T28 of the protocol's) are named in the
//! doc comment of the scenario that keeps them. A scenario that measures time, or fills the machine, has `alone_`
//! before its name and runs by itself. A peer that is absent fails the scenario, and `cargo xtask test` installs it. What
//! only root can do (another user's programs, directories given away) ends early with a word for an ordinary user.

mod installed;
mod postgres;
mod sshd;

pub use installed::installed;
pub use postgres::Postgres;
pub use sshd::Sshd;
