//! Processor time that a process has used.

use std::{fs, time::Duration};

use crate::run::Result;

/// The kernel's unit in `/proc/PID/stat`: fixed at 100 per second for programs on x86-64 and aarch64.
const TICKS_PER_SECOND: u64 = 100;

/// User and system time of process `pid`, all threads, also ended ones; in steps of 10 ms.
///
/// # Errors
/// There is no such process.
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    Ok(parse(&stat).ok_or("an unknown form of /proc/PID/stat")?)
}

/// The name, in parentheses, may hold anything; fields count from behind it.
fn parse(stat: &str) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let (user, system) = (fields.get(11)?.parse::<u64>().ok()?, fields.get(12)?.parse::<u64>().ok()?);
    Some(Duration::from_millis((user + system) * 1000 / TICKS_PER_SECOND))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_past_a_name_with_parentheses() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 100 0 0 0 150 25 0 0 20 0 4 0 1000 1 2";
        assert_eq!(parse(stat), Some(Duration::from_millis(1750)));
        assert_eq!(parse("42 (a) S 1"), None);
    }

    #[test]
    fn our_own_time_grows() {
        let before = cpu_time(std::process::id()).unwrap();
        let start = std::time::Instant::now();
        while start.elapsed() < Duration::from_millis(60) {
            std::hint::black_box(start.elapsed());
        }
        assert!(cpu_time(std::process::id()).unwrap() > before);
    }
}
