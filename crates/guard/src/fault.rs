//! Named points at which a test kills the process, to see what is left of a command after a crash there.
//!
//! The environment variable [`VARIABLE`] names the point: `once-synced` kills at the first passage, `once-synced:3` at the
//! third. A kill is SIGKILL to the process itself: nothing is unwound, flushed or answered. Points exist in builds with debug
//! assertions only, so that whoever sets the environment of an installed program can't crash it by name.

/// The environment variable that names the point to be killed at, with `:N` for the Nth passage.
pub const VARIABLE: &str = "VESTIBULE_FAULT";

/// Every point in the life of a command, in the order in which a command passes them. The test of crashes takes its list from
/// here: a point that is never passed fails it.
pub const POINTS: &[&str] = &[
    // A large command has begun, in memory.
    "start-claimed",
    // The record of its start is in the queue of the log.
    "start-queued",
    // Its start is on the disk; nothing was sent.
    "start-sending",
    // The application has got its beginning.
    "start-sent",
    // The command has a name; nobody knows of it yet.
    "once-named",
    // It is claimed in memory.
    "once-claimed",
    // Of a large one the record of its name is in the queue of the log.
    "start-named",
    // Of a large one the name is on the disk; its end was not sent.
    "start-whole",
    // Its record is in the queue of the log.
    "once-queued",
    // Its record is written, not synced.
    "once-written",
    // Its record is on the disk; the command's task doesn't know yet.
    "once-synced",
    // The command's task knows; nothing was sent.
    "once-sending",
    // The request was given to the application.
    "upstream-sent",
    // The application answered with a status.
    "upstream-status",
    // The first part of the answer was passed on.
    "tee-part",
    // The whole answer came; nothing of that is noted.
    "tee-whole",
    // The audit log has its line.
    "audit-line",
    // The answer is noted in memory; its record is in the queue.
    "once-answered",
    // Those who waited were told.
    "once-told",
    // The answer's record is written.
    "once-noted",
    // The answer itself is sealed, not stored.
    "answer-sealed",
    // The answer is stored.
    "answer-stored",
];

/// Kills the process when [`VARIABLE`] names this point. Nothing happens in builds without debug assertions.
#[inline]
pub fn point(name: &'static str) {
    #[cfg(debug_assertions)]
    armed::pass(name);
    #[cfg(not(debug_assertions))]
    let _ = name;
}

#[cfg(debug_assertions)]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    struct Armed {
        name: String,
        left: AtomicU32,
    }

    static ARMED: OnceLock<Option<Armed>> = OnceLock::new();

    pub(super) fn pass(name: &str) {
        let armed = ARMED.get_or_init(|| read(&std::env::var(super::VARIABLE).ok()?));
        let Some(armed) = armed else { return };
        if armed.name == name && armed.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            die();
        }
    }

    fn read(text: &str) -> Option<Armed> {
        let (name, passage) = text.split_once(':').unwrap_or((text, "1"));
        Some(Armed { name: name.to_owned(), left: AtomicU32::new(passage.parse().ok()?) })
    }

    fn die() -> ! {
        let own = rustix::process::getpid();
        // A signal to oneself can't be refused; should it be, the process ends all the same, without unwinding.
        let _ = rustix::process::kill_process(own, rustix::process::Signal::KILL);
        std::process::abort()
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_passage_is_counted_from_one() {
            let first = read("here").unwrap();
            assert_eq!((first.name.as_str(), first.left.into_inner()), ("here", 1));
            let third = read("here:3").unwrap();
            assert_eq!((third.name.as_str(), third.left.into_inner()), ("here", 3));
            assert!(read("here:x").is_none());
        }
    }
}
