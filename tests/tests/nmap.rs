//! nmap from a host of its own, before, during and after a session: nothing open, nothing answered.

use std::time::Duration;
use vestibule_lab::{Capture, Fixture, Result, Service, Upstream};
use vestibule_scenarios::installed;

#[test]
fn nmap_finds_nothing_before_during_and_after_a_session() -> Result<()> {
    let fixture = Fixture::start()?;
    let inside = fixture.network.host("inside")?;
    let echo = Upstream::echo(&inside, fixture.dir())?;
    fixture.add_service("echo", Service::Tcp(echo.address()), &["everyone"])?;
    let alice = fixture.add_person("alice", &[])?;
    let stranger = fixture.network.host("stranger")?;

    scan(&fixture, &stranger, "before")?;
    let mut up = alice.up(&["--forward=127.0.0.1:7777=echo"])?;
    let flow = alice.host.command("bash").arg("-c").arg("exec 3<>/dev/tcp/127.0.0.1/7777; echo hi >&3; head -n 1 <&3");
    flow.run()?.ok()?.says("hi")?;
    scan(&fixture, &stranger, "during")?;
    up.terminate()?;
    scan(&fixture, &stranger, "after")
}

/// Scans all ports in use, and some unused ones; nothing but what the kernel says for a port that nobody uses may come back.
fn scan(fixture: &Fixture, stranger: &vestibule_lab::Host, when: &str) -> Result<()> {
    let nmap = installed("nmap", "nmap")?;
    for role in [&fixture.controller, &fixture.gateway] {
        let target = role.host();
        let capture = Capture::start(stranger)?;
        let ran = stranger
            .command(&nmap)
            .args(["-n", "-Pn", "-sS", "-sU", "-sV", "--version-intensity", "2", "-T5", "--max-retries", "1"])
            .args(["-p", "T:4433,4434,4435,U:4433,4434", "--reason", "-oG", "-"])
            .arg(target.v4().to_string())
            .within(Duration::from_secs(240))
            .run()?
            .ok()?;
        let report = ran.out();
        assert!(report.contains("4433/"), "{when}: nmap told nothing of the ports:\n{report}");
        for open in ["/open/tcp", "/open/udp"] {
            assert!(!report.contains(open), "{when}: {} shows an open port:\n{report}", target.name());
        }
        let answers = capture.stop()?.sent_by(target).udp();
        answers.expect_none(&format!("{when}: UDP from {}", target.name()))?;
    }
    Ok(())
}
