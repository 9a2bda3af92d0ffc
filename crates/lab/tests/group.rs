//! What is started as a group ends as one.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

use rustix::process::Pid;
use std::io::{BufRead, BufReader};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use vestibule_lab::Group;

const SOON: Duration = Duration::from_secs(5);

/// A group whose leader has a child, and that child.
fn family() -> (Group, Pid) {
    let mut command = Group::command("sh");
    let mut group = Group::start(command.args(["-c", "sleep 300 & echo $!; wait"]).stdout(Stdio::piped())).unwrap();
    let mut line = String::new();
    BufReader::new(group.leader().stdout.take().unwrap()).read_line(&mut line).unwrap();
    (group, pid(&line).unwrap())
}

fn pid(text: &str) -> Option<Pid> {
    text.trim().parse().ok().and_then(Pid::from_raw)
}

fn runs(pid: Pid) -> bool {
    // One that nobody has waited for yet is still listed.
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    stat.is_ok_and(|text| !text.contains(") Z "))
}

fn ends(pid: Pid) -> bool {
    let start = Instant::now();
    while runs(pid) && start.elapsed() < SOON {
        std::thread::sleep(Duration::from_millis(10));
    }
    !runs(pid)
}

#[test]
fn descendants_end_with_the_value_also_by_a_panic() {
    let (group, child) = family();
    assert!(runs(child));
    let scenario = catch_unwind(AssertUnwindSafe(move || {
        let _group = group;
        panic!("a scenario fails");
    }));
    assert!(scenario.is_err() && ends(child));
}

#[test]
#[ignore = "the child process of the test below"]
fn keeper() {
    let (_group, child) = family();
    println!("\n{}", child.as_raw_nonzero());
    std::thread::sleep(Duration::from_secs(300));
}

#[test]
fn descendants_end_when_their_keeper_is_killed() {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "keeper", "--ignored", "--nocapture"]).stdout(Stdio::piped());
    let mut keeper = command.spawn().unwrap();
    let lines = BufReader::new(keeper.stdout.take().unwrap()).lines();
    let child = lines.map_while(Result::ok).find_map(|line| pid(&line)).unwrap();
    assert!(runs(child));
    keeper.kill().unwrap();
    keeper.wait().unwrap();
    assert!(ends(child));
}

#[test]
fn waiting_for_the_leader_ends_nothing() {
    let mut group = Group::start(Group::command("sh").args(["-c", "sleep 0.2; exit 7"])).unwrap();
    assert_eq!(group.leader().wait().unwrap().code(), Some(7));
}

#[test]
fn a_missing_program_is_told_by_the_exit_code() {
    let mut group = Group::start(Group::command("no-such-program").stderr(Stdio::null())).unwrap();
    assert_eq!(group.leader().wait().unwrap().code(), Some(127));
}
