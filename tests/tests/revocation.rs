//! Revocation cuts live flows within a second, and says so in the audit log (P7, T14).

use std::time::{Duration, Instant};
use vestibule_lab::{Context, Fixture, Person, Result, Role, Running, Service, Upstream, until};
use vestibule_scenarios::installed;

/// The promise.
const CUT_WITHIN: Duration = Duration::from_secs(1);

/// A live flow: an upstream ticks a line per millisecond through the tunnel into a log.
struct Flow {
    running: Running,
    _up: Role,
}

impl Flow {
    fn start(fixture: &Fixture, person: &Person, port: u16, log: &str) -> Result<Self> {
        let up = person.up(&[&format!("--forward=127.0.0.1:{port}=ticks")])?;
        let script = format!("exec 3<>/dev/tcp/127.0.0.1/{port}; cat <&3");
        let running = person.host.command("bash").arg("-c").arg(script).spawn(fixture.dir().join(log))?;
        let mut flow = Self { running, _up: up };
        flow.running.wait_for_log("100\n", Duration::from_secs(10))?;
        Ok(flow)
    }

    /// Gives a command, and measures from there until the flow has ended.
    fn cut_by(&mut self, command: impl FnOnce() -> Result<()>) -> Result<Duration> {
        let given = Instant::now();
        command()?;
        until(Duration::from_secs(10), "the flow to end", || Ok((!self.running.is_running()?).then_some(())))?;
        Ok(given.elapsed())
    }
}

fn scene() -> Result<(Fixture, Upstream, Person)> {
    let fixture = Fixture::start()?;
    let inside = fixture.network.host("inside")?;
    let ticks = Upstream::ticking(&inside, fixture.dir())?;
    fixture.add_service("ticks", Service::Tcp(ticks.address()), &["everyone"])?;
    let alice = fixture.add_person("alice", &[])?;
    Ok((fixture, ticks, alice))
}

/// The value of `key` in the first line of a list.
fn first(fixture: &Fixture, list: &[&str], key: &str) -> Result<String> {
    let found = fixture.at_gateway(list)?.run()?.ok()?.json()?;
    found[0][key].as_str().map(str::to_owned).context(format!("no {key} in {found}"))
}

fn owner(fixture: &Fixture, words: &[&str]) -> Result<()> {
    fixture.at_gateway(words)?.run()?.ok().map(drop)
}

fn audited(fixture: &Fixture, kind: &str) -> Result<()> {
    let audit = fixture.at_gateway(&["audit", "--json"])?.run()?.ok()?.json()?;
    let found = audit.as_array().context("a list")?.iter().any(|entry| entry["kind"] == kind);
    if found { Ok(()) } else { None.context(format!("no `{kind}` in {audit}")) }
}

#[test]
fn alone_t14_every_level_of_revocation_cuts_within_a_second() -> Result<()> {
    let (fixture, _ticks, alice) = scene()?;

    let mut flow = Flow::start(&fixture, &alice, 7000, "session.log")?;
    let session = first(&fixture, &["session", "list", "--json"], "id")?;
    let cut = flow.cut_by(|| owner(&fixture, &["session", "revoke", &session]))?;
    assert!(cut <= CUT_WITHIN, "session: {cut:?}");
    audited(&fixture, "session-ended")?;
    drop(flow);

    let mut flow = Flow::start(&fixture, &alice, 7000, "user.log")?;
    let cut = flow.cut_by(|| owner(&fixture, &["user", "suspend", "alice"]))?;
    assert!(cut <= CUT_WITHIN, "user: {cut:?}");
    audited(&fixture, "user-suspended")?;
    owner(&fixture, &["user", "resume", "alice"])?;
    drop(flow);

    let mut flow = Flow::start(&fixture, &alice, 7000, "service.log")?;
    let cut = flow.cut_by(|| owner(&fixture, &["service", "remove", "ticks"]))?;
    assert!(cut <= CUT_WITHIN, "service: {cut:?}");
    audited(&fixture, "service-removed")?;
    drop(flow);

    fixture.add_service("ticks", Service::Tcp(_ticks.address()), &["everyone"])?;
    let mut flow = Flow::start(&fixture, &alice, 7000, "device.log")?;
    let device = first(&fixture, &["device", "list", "--json"], "id")?;
    let cut = flow.cut_by(|| owner(&fixture, &["device", "revoke", &device]))?;
    assert!(cut <= CUT_WITHIN, "device: {cut:?}");
    audited(&fixture, "device-revoked")?;
    drop(flow);

    // A revoked device: its row is withdrawn, the controller is silent, or the gateway refuses under seal.
    let again = alice.vestibule_with_password(&["pipe", "ticks", "--alone"])?.run()?;
    assert!(matches!(again.code(), Some(20 | 22)), "{:?}: {}", again.code(), again.err());
    Ok(())
}

/// A download that would take long is cut, and what comes afterwards gets nothing: neither a new one nor a new connect.
#[test]
fn alone_t14_a_revocation_cuts_a_download_within_a_second() -> Result<()> {
    let fixture = Fixture::start()?;
    let inside = fixture.network.host("inside")?;
    let web = Upstream::web(&inside, fixture.dir())?;
    fixture.add_service("files", Service::Web(web.address()), &["everyone"])?;
    let alice = fixture.add_person("alice", &[])?;
    let up = alice.up(&["--http=127.0.0.1:8118"])?;
    let curl = installed("curl", "curl")?;
    // Large enough to be still running, and read as fast as it comes: what lies in this device's buffers has got through.
    let words = ["-sS", "--fail", "--no-progress-meter", "-o", "/dev/null", "-w", "%{size_download}\n"];
    let url = "http://files.localhost:8118/bytes/1000000000000";
    let mut download = alice.host.command(&curl).args(words).arg(url).spawn(fixture.dir().join("download.log"))?;
    until(Duration::from_secs(10), "the download to begin", || Ok((web.accepted() > 0).then_some(())))?;
    std::thread::sleep(Duration::from_millis(500));
    assert!(download.is_running()?, "{}", download.log());

    let device = first(&fixture, &["device", "list", "--json"], "id")?;
    let given = Instant::now();
    owner(&fixture, &["device", "revoke", &device])?;
    until(Duration::from_secs(10), "the download to end", || Ok((!download.is_running()?).then_some(())))?;
    let cut = given.elapsed();
    assert!(cut <= CUT_WITHIN, "{cut:?}");
    let code = download.wait(Duration::from_secs(1))?;
    assert_ne!(code, 0, "it was not complete: {}", download.log());
    drop(up);
    let again = alice.vestibule_with_password(&["pipe", "files", "--alone"])?.run()?;
    assert!(matches!(again.code(), Some(20 | 22)), "{:?}: {}", again.code(), again.err());
    Ok(())
}

#[test]
fn signing_off_ends_the_session_at_the_gateway() -> Result<()> {
    let (fixture, _ticks, alice) = scene()?;
    let mut up = alice.up(&[])?;
    alice.vestibule(&["down"])?.run()?.ok()?;
    assert_eq!(up.wait(Duration::from_secs(5))?, 0);
    let sessions = fixture.at_gateway(&["session", "list", "--json"])?.run()?.ok()?.json()?;
    assert_eq!(sessions.as_array().map(Vec::len), Some(0), "{sessions}");
    alice.vestibule(&["status"])?.run()?.exits(42)?;
    Ok(())
}
