//! Hosts come and go, and are separate machines.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use vestibule_lab::{Host, Network, Result, Upstream, until};

#[test]
fn a_host_has_a_loopback_interface_of_its_own() -> Result<()> {
    let host = Host::solitary("alone")?;
    let links = host.command("ip").args(["-brief", "link"]).run()?.ok()?.out();
    assert_eq!(links.lines().count(), 1, "{links}");
    assert!(links.starts_with("lo") && links.contains("UP"), "{links}");
    Ok(())
}

#[test]
fn hosts_on_a_wire_reach_each_other_by_both_families() -> Result<()> {
    let network = Network::new()?;
    let (left, right) = (network.host("left")?, network.host("right")?);
    let dir = tempfile::tempdir()?;
    let echo = Upstream::echo(&right, dir.path())?;
    assert_eq!(left.tcp_probe(echo.address())?, Ok(Vec::new()));
    until(Duration::from_secs(5), "the connection", || Ok((echo.accepted() == 1).then_some(())))?;

    let closed = left.tcp_probe(SocketAddr::from((right.v6(), 9)))?;
    assert!(closed.unwrap_err().contains("refused"), "a refusal shows that the packet arrived");
    let right_counters = right.counters()?;
    assert_eq!(right_counters.resets_sent(), 1);
    Ok(())
}

#[test]
fn every_process_in_a_host_ends_with_it() -> Result<()> {
    let host = Host::solitary("short-lived")?;
    let dir = tempfile::tempdir()?;
    let pids = dir.path().join("pids");
    // One that has left its parent, one that ignores signals that can be ignored.
    let script =
        format!("trap '' TERM HUP; (setsid sleep 1000 & echo $! >>{0}); echo $$ >>{0}; sleep 1000", pids.display());
    let running = host.command("sh").args(["-c", &script]).spawn(dir.path().join("log"))?;
    let two = || Ok(fs::read_to_string(&pids).ok().filter(|text| text.lines().count() == 2));
    let pids = until(Duration::from_secs(5), "both processes", two)?;
    let alive = |pid: &&str| is_alive(pid);
    assert_eq!(pids.lines().filter(alive).count(), 2);
    drop(host);
    assert_eq!(pids.lines().filter(alive).count(), 2, "a running command keeps its host");
    drop(running);
    until(Duration::from_secs(5), "the end of both", || Ok((pids.lines().filter(alive).count() == 0).then_some(())))
}

#[test]
fn a_panic_ends_a_host_too() -> Result<()> {
    let outcome = std::thread::spawn(|| {
        let host = Host::solitary("doomed").unwrap();
        let sleep = host.command("sleep").arg("1000").spawn("/dev/null").unwrap();
        std::panic::panic_any(sleep.pid());
    })
    .join();
    let pid = *outcome.unwrap_err().downcast::<u32>().unwrap();
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    Ok(())
}

/// What stands for a test: it keeps a host as the library does, runs something in it, and is then killed.
const VICTIM: &str = r#"
cd "$1"
mkfifo pipe
unshare -n -m -- "$2" hold "$(readlink /proc/self/ns/net)" <pipe &
holder=$!
exec 3>pipe
until [ "$(readlink /proc/$holder/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.01; done
nsenter -t $holder -n sleep 1000 3>&- &
echo $! >pid
wait
"#;

#[test]
fn the_watchdog_ends_a_host_when_the_test_is_killed() -> Result<()> {
    let (outer, dir) = (Host::solitary("outer")?, tempfile::tempdir()?);
    let peer = env!("CARGO_BIN_EXE_lab-peer");
    let victim = outer.command("sh").args(["-c", VICTIM, "victim"]).arg(dir.path()).arg(peer);
    let victim = victim.spawn(dir.path().join("log"))?;
    let pid_file = dir.path().join("pid");
    let pid = until(Duration::from_secs(20), "the victim's process", || {
        Ok(fs::read_to_string(&pid_file).ok().filter(|text| text.ends_with('\n')))
    })?;
    let alive = || is_alive(pid.trim());
    assert!(alive());
    drop(victim);
    until(Duration::from_secs(10), "the watchdog", || Ok((!alive()).then_some(())))
}

#[test]
fn a_machine_has_names_of_its_own_and_files_can_fail() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let (one, two) = (Host::solitary("one")?, Host::solitary("two")?);
    let id =
        |host: &Host| Ok::<_, vestibule_lab::Failure>(host.command("cat").arg("/etc/machine-id").run()?.ok()?.out());
    let own = id(&Host::here())?;
    one.become_machine("one", scratch.path())?;
    two.become_machine("two", scratch.path())?;
    assert!(id(&one)? != own && id(&two)? != own && id(&one)? != id(&two)?);
    assert_eq!(id(&Host::here())?, own);

    let disk = scratch.path().join("disk");
    fs::create_dir(&disk)?;
    one.mount_small(&disk, 64 * 1024)?;
    let fill = format!("dd if=/dev/zero of={}/file bs=1k count=100", disk.display());
    one.command("sh").args(["-c", &fill]).run()?.exits(1)?.says("No space left")?;
    two.mount_read_only(&disk)?;
    two.command("touch").arg(disk.join("file")).run()?.exits(1)?.says("Read-only")?;
    one.unmount(&disk)?;
    fs::write(disk.join("file"), "here it can be written")?;
    one.hide(Path::new("/etc/machine-id"))?;
    assert_eq!(id(&one)?, "");
    Ok(())
}

#[test]
fn this_machine_itself_is_never_mounted_over() {
    let failure = Host::here().mount_small(Path::new("/mnt"), 1).unwrap_err();
    assert!(failure.to_string().contains("not to this machine"));
}

#[test]
fn an_ordinary_user_is_not_root() -> Result<()> {
    let host = Host::solitary("plain")?;
    assert_eq!(host.command("id").arg("-u").run()?.ok()?.out(), "0");
    assert_ne!(host.command("id").arg("-u").as_ordinary_user().run()?.ok()?.out(), "0");
    host.command("ip").args(["link", "set", "lo", "down"]).as_ordinary_user().run()?.exits(2)?;
    Ok(())
}

#[test]
fn a_command_has_a_limit_and_its_failure_shows_its_words() -> Result<()> {
    let host = Host::here();
    let start = Instant::now();
    let slow = host.command("sh").args(["-c", "echo working; exec sleep 100"]).within(Duration::from_millis(300)).run();
    let failure = slow.err().expect("a limit").to_string();
    assert!(failure.contains("working") && failure.contains("in vain"), "{failure}");
    assert!(start.elapsed() < Duration::from_secs(10));

    let failure =
        host.command("sh").args(["-c", "echo why >&2; exit 7"]).run()?.ok().err().expect("a code").to_string();
    assert!(failure.contains("exit code 7") && failure.contains("why"), "{failure}");
    let env = host.command("env").env("ONE", "1").run()?.ok()?.out();
    assert!(env.contains("ONE=1") && !env.contains("CARGO"), "nothing of the test's environment: {env}");
    assert_eq!(host.command("cat").stdin("to be read").dir("/tmp").run()?.ok()?.out(), "to be read");
    Ok(())
}

/// Whether a process is there and no zombie.
fn is_alive(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}
