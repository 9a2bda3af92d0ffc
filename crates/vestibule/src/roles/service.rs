//! What every running role does alike: tell systemd, watch its configuration, end on a signal.

use crate::fault::Fault;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How often the configuration file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What a running role is told from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// SIGTERM, SIGINT.
    Stop,
    /// SIGHUP, or the configuration file was changed.
    Reload,
}

/// The outside of a running role.
pub(crate) struct Outside {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    file: PathBuf,
    seen: Option<SystemTime>,
    look: tokio::time::Interval,
}

impl Outside {
    /// Listens for signals and looks at `file`.
    pub(crate) fn new(file: &Path) -> Result<Self, Fault> {
        let listen =
            |kind| signal(kind).map_err(|error| Fault::unexpected(format!("signals can't be handled: {error}")));
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
            file: file.to_owned(),
            seen: changed(file),
            look,
        })
    }

    /// Waits for the next word from outside.
    pub(crate) async fn next(&mut self) -> Told {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return Told::Stop,
                _ = self.interrupt.recv() => return Told::Stop,
                _ = self.hangup.recv() => {
                    self.seen = changed(&self.file);
                    return Told::Reload;
                }
                _ = self.look.tick() => {
                    let changed = changed(&self.file);
                    // An editor that writes a new file and renames it leaves a moment without any.
                    if changed.is_some() && changed != self.seen {
                        self.seen = changed;
                        return Told::Reload;
                    }
                }
            }
        }
    }
}

fn changed(file: &Path) -> Option<SystemTime> {
    std::fs::metadata(file).and_then(|metadata| metadata.modified()).ok()
}

/// Tells systemd that the role serves.
pub(crate) fn tell_ready(status: &str) {
    tell(&[sd_notify::NotifyState::Ready, sd_notify::NotifyState::Status(status)]);
}

/// Tells systemd that the role reloads its configuration; [`tell_ready`] ends it.
pub(crate) fn tell_reloading() {
    let mut states = vec![sd_notify::NotifyState::Reloading];
    if let Ok(stamp) = sd_notify::NotifyState::monotonic_usec_now() {
        states.push(stamp);
    }
    tell(&states);
}

/// Tells systemd that the role ends.
pub(crate) fn tell_stopping() {
    tell(&[sd_notify::NotifyState::Stopping]);
}

fn tell(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager could not be told");
    }
}
