//! What a role keeps on disk, and how it is reached from the same machine.
//!
//! * [`Store`]: one SQLite file with one writer thread. Many writes share one fsync ([group commit](Store::write));
//!   a write that returned `Ok` survives `kill -9` and power loss.
//! * [`Migration`]: forward-only schema steps; a file of a newer program is refused.
//! * [`secret_file`]: small 0600 files that are created or replaced as a whole.
//! * [`RoleLock`]: one running role per data directory.
//! * [`local_socket`]: one line in, one line out, for the same user or root alone.
//!
//! Nothing here knows what is stored: tables and meaning belong to `controller` and `gateway`.

mod error;
pub mod local_socket;
mod migration;
mod private;
mod role_lock;
pub mod secret_file;
mod store;
mod writer;

pub use error::{StoreError, StoreErrorKind};
pub use migration::Migration;
pub use private::ensure_directory;
pub use role_lock::{LockError, RoleLock};
/// The SQLite binding whose `Connection` the closures of [`Store::write`] and [`Store::read`] receive.
pub use rusqlite;
pub use store::{Stats, Store};
