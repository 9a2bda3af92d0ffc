//! A device that moves: its connection goes on from the new address, with all that is open over it, and without the person.
//! Where it can't, the session does.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};
use vestibule_lab::{
    Capture, Context, Fixture, Invocation, Nat, Packets, Person, Result, Role, Router, Running, Service, Upstream,
    program, until,
};
use vestibule_scenarios::Sshd;

/// An address of the same network that no host has.
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 251));
/// How soon a person expects to go on.
const SOON: Duration = Duration::from_secs(15);
/// How long answers are waited for.
const LISTEN: Duration = Duration::from_millis(500);
/// How long the gateway keeps the address that a connection left, and a margin.
const SETTLED: Duration = Duration::from_secs(10);

fn traffic(person: &Person, within: Duration) -> Result<()> {
    let script = "exec 3<>/dev/tcp/127.0.0.1/7000 && echo hello >&3 && timeout 2 head -n 1 <&3";
    until(within, "traffic through the tunnel", || {
        Ok((person.host.command("bash").arg("-c").arg(script).run()?.out() == "hello").then_some(()))
    })
}

/// How often the connection went on from another address, and how often the session took another connection.
fn moves_and_resumptions(person: &Person) -> Result<(u64, u64)> {
    let status = person.vestibule(&["status", "--json"])?.run()?.ok()?.json()?;
    let count = |name: &str| status[name].as_u64().context(format!("{name} in {status}"));
    Ok((count("moves")?, count("resumptions")?))
}

/// From where the gateway serves the one session that there is.
fn remote(fixture: &Fixture) -> Result<SocketAddr> {
    let sessions = fixture.at_gateway(&["session", "list", "--json"])?.run()?.ok()?.json()?;
    let remote = sessions[0]["live"]["remote"].as_str().context(format!("no live session in {sessions}"))?;
    Ok(remote.parse()?)
}

/// A person at home, who also has a mobile network; a server that counts, aloud, for whoever logs in there.
struct Scene {
    fixture: Fixture,
    sshd: Sshd,
    home: Router,
    mobile: Router,
    alice: Person,
}

impl Scene {
    fn new() -> Result<Self> {
        let fixture = Fixture::start()?;
        let inside = fixture.network.host("inside")?;
        let sshd = Sshd::start(&inside, fixture.dir())?;
        fixture.add_service("host1", Service::Tcp(sshd.address()), &["everyone"])?;
        let home = Router::start(&fixture.network, "home", Nat::Common)?;
        let mobile = Router::start(&fixture.network, "mobile", Nat::Symmetric)?;
        let alice = fixture.add_person_on(home.inside(), "alice", &[])?;
        mobile.inside().join(&alice.host, "mobile0")?;
        Ok(Self { fixture, sshd, home, mobile, alice })
    }

    fn ssh(&self) -> Result<Invocation> {
        let proxy = format!("{} pipe --dir={} %h", program()?.display(), self.alice.dir().display());
        let count = "i=0; while :; do echo tick $i; i=$((i+1)); sleep 0.05; done";
        let destination = format!("{}@host1", self.sshd.user());
        Ok(self.sshd.client("ssh", &self.alice.host, &proxy)?.arg(destination).arg(count))
    }

    /// Logs in, and begins to count.
    fn begin(&self) -> Result<(Role, Running)> {
        let up = self.alice.up(&[])?;
        let mut ssh = self.ssh()?.spawn(self.fixture.dir().join("ssh.log"))?;
        ssh.wait_for_log("tick 20\n", SOON)?;
        Ok((up, ssh))
    }

    fn go_mobile(&self) -> Result<()> {
        self.alice.host.unplug("eth0")?;
        self.alice.host.plug("mobile0")
    }

    fn go_home(&self) -> Result<()> {
        self.alice.host.unplug("mobile0")?;
        self.alice.host.plug("eth0")
    }
}

/// Waits until the counter has counted `more`, and checks that it has left nothing out.
fn counts_on(ssh: &mut Running, more: usize, within: Duration) -> Result<()> {
    let so_far = ssh.log().lines().count();
    until(within, "the counter to go on", || Ok((ssh.log().lines().count() >= so_far + more).then_some(())))?;
    assert!(ssh.is_running()?);
    for (number, line) in ssh.log().lines().enumerate() {
        assert_eq!(line, format!("tick {number}"));
    }
    Ok(())
}

/// "I moved", as it came to the gateway.
fn said(packets: &Packets) -> Packets {
    packets.udp().to_port(4434).of_payload(64).only(|packet| packet.payload().starts_with(&[5, 1]))
}

#[test]
fn t24_an_open_ssh_session_goes_on_from_another_network_and_a_copy_of_its_move_does_nothing() -> Result<()> {
    let scene = Scene::new()?;
    let (mut up, mut ssh) = scene.begin()?;
    let (home, mobile) = (scene.home.host().v4(), scene.mobile.host().v4());
    assert_eq!(remote(&scene.fixture)?.ip(), home);

    let mut capture = Capture::start(scene.fixture.gateway.host())?;
    let left = Instant::now();
    scene.go_mobile()?;
    counts_on(&mut ssh, 1, SOON)?;
    eprintln!("counting again {:?} after the network was left", left.elapsed());
    counts_on(&mut ssh, 40, SOON)?;
    assert_eq!(moves_and_resumptions(&scene.alice)?, (1, 0));
    let moved = said(&capture.so_far()?);
    assert!(!moved.is_empty());
    moved
        .only(|packet| packet.source.is_some_and(|from| from.ip() != mobile))
        .expect_none("but from the new network")?;
    let one = moved.iter().next().context("one")?.payload().to_vec();
    assert!(moved.iter().all(|packet| packet.payload() == one), "one word, if said more than once:\n{moved}");

    // A stranger's copy gets 0 bytes and moves nothing.
    let at = remote(&scene.fixture)?;
    assert_eq!(at.ip(), mobile);
    let stranger = scene.fixture.network.host("stranger")?;
    let gateway = scene.fixture.gateway_addresses()[0];
    assert_eq!(stranger.send_datagrams([(gateway, &one[..]); 3], LISTEN)?, []);
    assert_eq!(remote(&scene.fixture)?, at);
    counts_on(&mut ssh, 10, SOON)?;
    capture.stop()?.sent_by(scene.fixture.gateway.host()).to_ip(stranger.v4()).expect_none("a word to the stranger")?;

    // Once it has settled, nothing goes to where it was.
    std::thread::sleep(SETTLED);
    let capture = Capture::start(scene.fixture.gateway.host())?;
    counts_on(&mut ssh, 20, SOON)?;
    capture.stop()?.udp().to_ip(home).expect_none("to the network that was left")?;

    // And home again.
    scene.go_home()?;
    counts_on(&mut ssh, 40, SOON)?;
    assert_eq!(moves_and_resumptions(&scene.alice)?, (2, 0));
    assert_eq!(remote(&scene.fixture)?.ip(), home);
    ssh.kill()?;
    assert_eq!(up.terminate()?, 0);
    Ok(())
}

#[test]
fn an_open_ssh_session_outlives_a_router_that_forgets_its_flows() -> Result<()> {
    let mut scene = Scene::new()?;
    let (_up, mut ssh) = scene.begin()?;
    let before = remote(&scene.fixture)?;
    scene.home.rebind()?;
    // Nobody tells: the silence has to be noticed.
    counts_on(&mut ssh, 40, 3 * SOON)?;
    let after = remote(&scene.fixture)?;
    assert_eq!(after.ip(), before.ip());
    assert_ne!(after.port(), before.port());
    let (moves, resumptions) = moves_and_resumptions(&scene.alice)?;
    assert!(moves >= 1 && resumptions == 0, "{moves} {resumptions}");
    Ok(())
}

#[test]
fn where_the_policy_wants_the_address_the_session_goes_on_without_its_streams() -> Result<()> {
    let mut scene = Scene::new()?;
    scene.fixture.configure_gateway(|text| text.replace("nat = \"follow\"", "nat = \"strict\""))?;
    let (_up, mut ssh) = scene.begin()?;
    let capture = Capture::start(scene.fixture.gateway.host())?;
    scene.go_mobile()?;
    until(2 * SOON, "ssh to end", || Ok((!ssh.is_running()?).then_some(())))?;
    until(2 * SOON, "the session to go on", || Ok((moves_and_resumptions(&scene.alice)? == (0, 1)).then_some(())))?;
    let packets = capture.stop()?;
    assert!(!said(&packets).is_empty());
    assert_eq!(remote(&scene.fixture)?.ip(), scene.mobile.host().v4());
    // The person was not asked.
    let mut ssh = scene.ssh()?.spawn(scene.fixture.dir().join("ssh-again.log"))?;
    ssh.wait_for_log("tick 20\n", SOON)?;
    Ok(())
}

#[test]
fn a_new_address_takes_the_session_along_without_a_password() -> Result<()> {
    let (fixture, alice) = Fixture::with_person("alice")?;
    let inside = fixture.network.host("inside")?;
    let echo = Upstream::echo(&inside, fixture.dir())?;
    fixture.add_service("echo", Service::Tcp(echo.address()), &["everyone"])?;
    // The password is given here, once.
    let mut up = alice.up(&["--forward=127.0.0.1:7000=echo"])?;
    traffic(&alice, SOON)?;

    alice.host.remove_address(alice.host.v4().into(), 24)?;
    alice.host.add_address(ELSEWHERE, 24)?;
    traffic(&alice, SOON)?;
    assert!(up.is_running()?);
    assert_eq!(moves_and_resumptions(&alice)?, (1, 0));

    // Off the wire for a moment, and back where it was.
    alice.host.set_plugged(false)?;
    alice.host.remove_address(ELSEWHERE, 24)?;
    alice.host.add_address(alice.host.v4().into(), 24)?;
    alice.host.set_plugged(true)?;
    traffic(&alice, 2 * SOON)?;
    let (moves, resumptions) = moves_and_resumptions(&alice)?;
    assert!(moves >= 2 || resumptions >= 1, "{moves} {resumptions}");
    Ok(())
}
