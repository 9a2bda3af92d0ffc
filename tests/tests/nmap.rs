//! nmap from a host of its own, before, during and after a session: nothing open, nothing answered.

use std::time::Duration;
use vestibule_lab::{Capture, Context, Fixture, Result, Service, Upstream};
use vestibule_scenarios::installed;

/// A TCP port that nobody ever uses, at either role.
const UNUSED: u16 = 4435;

#[test]
fn t01_nmap_finds_nothing_before_during_and_after_a_session() -> Result<()> {
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
            .args(["-p", "T:4433,4434,4435,U:4433,4434", "-oX", "-"])
            .arg(target.v4().to_string())
            .within(Duration::from_secs(240))
            .run()?
            .ok()?;
        let report = ran.out();
        let tcp = [4433, 4434, UNUSED].map(|port| seen_of(&report, "tcp", port));
        for (proto, port) in [("tcp", 4433), ("tcp", 4434), ("udp", 4433), ("udp", 4434)] {
            let seen =
                seen_of(&report, proto, port).context(format!("{when}: {proto} {port} is missing:\n{report}"))?;
            assert!(!seen.contains("\"open\""), "{when}: {} at {proto} {port}: {seen}", target.name());
        }
        assert!(
            tcp.iter().all(|seen| *seen == tcp[2]),
            "{when}: {} differs from an unused port: {tcp:?}",
            target.name()
        );
        let answers = capture.stop()?.sent_by(target).udp();
        answers.expect_none(&format!("{when}: UDP from {}", target.name()))?;
    }
    Ok(())
}

/// What nmap's report says of a port: its state, the reason for it, and the distance of what said so.
fn seen_of(report: &str, proto: &str, port: u16) -> Option<String> {
    let (_, port) = report.split_once(&format!("<port protocol=\"{proto}\" portid=\"{port}\">"))?;
    let (state, _) = port.trim_start().strip_prefix("<state ")?.split_once("/>")?;
    Some(state.to_owned())
}
