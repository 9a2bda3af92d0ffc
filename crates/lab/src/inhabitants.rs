//! Who lives in a network namespace, and the end of all of them.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process, thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

const END_WITHIN: Duration = Duration::from_secs(5);

/// A network namespace that is not `outside`: the only kind whose processes this module will kill.
pub struct Inside {
    /// What `/proc/PID/ns/net` of every process in it reads: `net:[4026532281]`.
    name: PathBuf,
}

impl Inside {
    /// The namespace of process `of`, where it differs from that named `outside`.
    ///
    /// # Errors
    /// It is the same one, or either isn't named as the kernel names namespaces: killing would hit strangers.
    pub fn of(of: &str, outside: &Path) -> io::Result<Self> {
        let name = name_of(of)?;
        let is_a_name =
            |name: &Path| name.to_str().is_some_and(|name| name.starts_with("net:[") && name.ends_with(']'));
        if !is_a_name(&name) || !is_a_name(outside) || name == outside {
            let (name, outside) = (name.display(), outside.display());
            return Err(io::Error::other(format!("{name} is no namespace of its own beside {outside}")));
        }
        Ok(Self { name })
    }

    /// Kills every process in it except ourselves and `spared`, and waits until they are gone. A fork may escape one
    /// look, so it looks until nobody is left; a zombie has no namespace any more and doesn't count.
    pub fn end_all(&self, spared: Option<u32>) {
        let start = Instant::now();
        while self.kill_each(spared) && start.elapsed() < END_WITHIN {
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Whether there was anybody.
    fn kill_each(&self, spared: Option<u32>) -> bool {
        let Ok(entries) = fs::read_dir("/proc") else { return false };
        let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let mut any = false;
        for pid in pids.filter(|pid| *pid != process::id() && Some(*pid) != spared) {
            any |= self.kill(pid).is_some();
        }
        any
    }

    fn kill(&self, pid: u32) -> Option<()> {
        // Taken before the look at its namespace: a process that gets the same id later is not hit.
        let handle = pidfd_open(Pid::from_raw(i32::try_from(pid).ok()?)?, PidfdFlags::empty()).ok()?;
        if name_of(&pid.to_string()).ok()? != self.name {
            return None;
        }
        pidfd_send_signal(handle, Signal::KILL).ok()
    }
}

/// The name of the network namespace of a process (an id, or `self`).
pub(crate) fn name_of(process: &str) -> io::Result<PathBuf> {
    fs::read_link(format!("/proc/{process}/ns/net"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_namespace_is_never_cleared() {
        let outside = name_of("self").unwrap();
        assert!(Inside::of("self", &outside).is_err());
        assert!(Inside::of("self", Path::new("")).is_err(), "an outside that can't be read");
        assert!(Inside::of("0", &outside).is_err(), "a process that isn't there");
    }
}
