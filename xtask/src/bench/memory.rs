//! Memory that a process holds.

use crate::run::Result;
use std::fs;

/// Resident memory of process `pid` that is no file's, in KiB: its heap and stacks. Pages of the program itself, which come in
/// as they are first run, are not in it.
///
/// # Errors
/// There is no such process.
pub(crate) fn anonymous_kib(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    Ok(parse(&status).ok_or("an unknown form of /proc/PID/status")?)
}

fn parse(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_right_line() {
        assert_eq!(parse("VmRSS:\t    9120 kB\nRssAnon:\t    1024 kB\nRssFile:\t    8096 kB\n"), Some(1024.0));
        assert_eq!(parse("VmRSS:\t    9120 kB\n"), None);
    }

    #[test]
    fn our_own_grows() {
        let before = anonymous_kib(std::process::id()).unwrap();
        let block = std::hint::black_box(vec![1_u8; 8 << 20]);
        let after = anonymous_kib(std::process::id()).unwrap();
        assert!(after - before > 4_096.0, "{before} {after}");
        drop(block);
    }
}
