//! Direct services: after the login the kernel carries, at a port that says nothing to anybody else (P1, P7, P10).

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use vestibule_lab::{
    Capture, Context, Fixture, Host, Nat, Person, Result, Role, Router, Running, Upstream, program, until,
};
use vestibule_scenarios::Sshd;

const CUT_WITHIN: Duration = Duration::from_secs(1);
/// How long after a move the address that was left is given up, and a margin.
const SETTLED: Duration = Duration::from_secs(15);

fn owner(fixture: &Fixture, words: &[&str]) -> Result<()> {
    fixture.at_gateway(words)?.run()?.ok().map(drop)
}

/// A service at its own port of the gateway's machine.
fn add_direct(fixture: &Fixture, name: &str, upstream: SocketAddr, port: u16) -> Result<()> {
    let (upstream, port) = (upstream.to_string(), port.to_string());
    owner(fixture, &["service", "add", name, "--tcp", &upstream, "--direct", &port, "--allow", "everyone"])
}

/// The port of the gateway's machine does not answer a connection from there.
fn is_silent(fixture: &Fixture, from: &Host, port: u16) -> Result<()> {
    let at = SocketAddr::from((fixture.gateway.host().v4(), port));
    let script = format!("timeout 1 bash -c 'exec 3<>/dev/tcp/{}/{}'; echo ended $?", at.ip(), at.port());
    let ran = from.command("bash").args(["-c", &script]).run()?.ok()?;
    // 124: the time was over. A refusal would end it with 1, at once.
    ran.says("ended 124").map(drop)
}

fn direct_use(person: &Person) -> Result<(u64, u64, String)> {
    let status = person.vestibule(&["status", "--json"])?.run()?.ok()?.json()?;
    let direct = &status["direct"];
    let number = |key: &str| direct[key].as_u64().context(format!("no {key} in {status}"));
    Ok((number("opened")?, number("fell_back")?, direct["trouble"].to_string()))
}

fn flow(fixture: &Fixture, person: &Person, log: &str) -> Result<(Running, Role)> {
    let up = person.up(&["--forward=127.0.0.1:7000=ticks"])?;
    Ok((ticking(fixture, person, log)?, up))
}

/// A connection through the local port of `up`, which ticks.
fn ticking(fixture: &Fixture, person: &Person, log: &str) -> Result<Running> {
    let script = "exec 3<>/dev/tcp/127.0.0.1/7000; cat <&3";
    let mut running = person.host.command("bash").arg("-c").arg(script).spawn(fixture.dir().join(log))?;
    running.wait_for_log("100\n", Duration::from_secs(10))?;
    Ok(running)
}

/// What the kernel lets through to direct services.
fn flows(fixture: &Fixture) -> Result<String> {
    Ok(fixture.gateway.host().command("nft").arg("list set inet vestibule flows4").run()?.ok()?.out())
}

/// A ticking upstream on the gateway's own machine, direct.
fn scene() -> Result<(Fixture, Upstream, Person)> {
    let fixture = Fixture::start()?;
    let ticks = Upstream::ticking(fixture.gateway.host(), fixture.dir())?;
    add_direct(&fixture, "ticks", ticks.address(), ticks.address().port())?;
    let alice = fixture.add_person("alice", &[])?;
    Ok((fixture, ticks, alice))
}

/// 20 MB there and back by `scp`.
fn copies(fixture: &Fixture, sshd: &Sshd, person: &Person) -> Result<()> {
    let (original, there, back) =
        (fixture.dir().join("original"), fixture.dir().join("there"), fixture.dir().join("back"));
    person
        .host
        .command("dd")
        .args(["if=/dev/urandom", "bs=1M", "count=20"])
        .arg(format!("of={}", original.display()))
        .run()?
        .ok()?;
    let proxy = format!("{} pipe --dir={} host1", program()?.display(), person.dir().display());
    let remote = format!("scp://{}@host1/{}", sshd.user(), there.display());
    let scp = || sshd.client("scp", &person.host, &proxy).map(|scp| scp.within(Duration::from_secs(120)));
    scp()?.arg(&original).arg(&remote).run()?.ok()?;
    scp()?.arg(&remote).arg(&back).run()?.ok()?;
    let sent = fs::read(&original)?;
    assert!(sent.len() == 20 << 20 && fs::read(&there)? == sent && fs::read(&back)? == sent);
    Ok(())
}

#[test]
fn t01_scp_to_the_gateway_s_own_sshd_and_strangers_see_nothing_of_its_port() -> Result<()> {
    let fixture = Fixture::start()?;
    let gateway = fixture.gateway.host();
    let sshd = Sshd::start(gateway, fixture.dir())?;
    add_direct(&fixture, "host1", sshd.address(), sshd.address().port())?;
    let alice = fixture.add_person("alice", &[])?;
    let stranger = fixture.network.host("stranger")?;
    let capture = Capture::start(gateway)?;
    is_silent(&fixture, &stranger, 2222)?;
    is_silent(&fixture, &alice.host, 2222)?;
    let _up = alice.up(&[])?;
    is_silent(&fixture, &alice.host, 2222)?;
    copies(&fixture, &sshd, &alice)?;
    is_silent(&fixture, &stranger, 2222)?;
    is_silent(&fixture, &alice.host, 2222)?;
    assert_eq!(direct_use(&alice)?, (2, 0, "null".to_owned()));
    let seen = capture.stop()?;
    let answers = seen.tcp().from_port(2222);
    answers.only(|packet| packet.destination.is_none_or(|to| to.ip() != alice.host.v4())).expect_none("but Alice's")?;
    assert!(!answers.is_empty());
    seen.sent_by(gateway).sent_to(&stranger).without_housekeeping().expect_none("to the stranger")
}

#[test]
fn t07_behind_each_nat_a_routed_sshd_is_reached_directly_and_not_by_a_neighbour() -> Result<()> {
    let fixture = Fixture::start()?;
    let gateway = fixture.gateway.host();
    let inside = fixture.network.host("inside")?;
    let sshd = Sshd::start(&inside, fixture.dir())?;
    let words =
        ["service", "add", "host1", "--tcp", &sshd.address().to_string(), "--direct", "2200", "--allow", "everyone"];
    let refused = fixture.at_gateway(&words)?.run()?;
    assert!(refused.code() != Some(0) && refused.err().contains("net.ipv4.ip_forward=1"), "{}", refused.err());
    gateway.command("sysctl").args(["-qw", "net.ipv4.ip_forward=1"]).run()?.ok()?;
    owner(&fixture, &words)?;
    for (n, nat) in [Nat::Common, Nat::Symmetric].into_iter().enumerate() {
        let router = Router::start(&fixture.network, &format!("router{n}"), nat)?;
        let person = fixture.add_person_on(router.inside(), &format!("person{n}"), &[])?;
        let neighbour = router.inside().host("neighbour")?;
        let mut up = person.up(&[])?;
        copies(&fixture, &sshd, &person)?;
        is_silent(&fixture, &neighbour, 2200)?;
        is_silent(&fixture, &person.host, 2200)?;
        assert_eq!(direct_use(&person)?, (2, 0, "null".to_owned()), "{nat:?}");
        up.terminate()?;
    }
    Ok(())
}

#[test]
fn alone_t14_a_revoked_session_and_a_removed_service_cut_a_direct_flow_within_a_second() -> Result<()> {
    let (fixture, ticks, alice) = scene()?;
    let stranger = fixture.network.host("stranger")?;
    let revoke = |fixture: &Fixture| -> Result<()> {
        let found = fixture.at_gateway(&["session", "list", "--json"])?.run()?.ok()?.json()?;
        owner(fixture, &["session", "revoke", found[0]["id"].as_str().context("a session")?])
    };
    let remove = |fixture: &Fixture| owner(fixture, &["service", "remove", "ticks"]);
    type Harm<'a> = &'a dyn Fn(&Fixture) -> Result<()>;
    for (n, harm) in [&revoke as Harm<'_>, &remove].into_iter().enumerate() {
        let (mut running, mut up) = flow(&fixture, &alice, &format!("flow{n}.log"))?;
        assert_eq!(direct_use(&alice)?.0, 1);
        let given = Instant::now();
        harm(&fixture)?;
        until(Duration::from_secs(10), "the flow to end", || Ok((!running.is_running()?).then_some(())))?;
        assert!(given.elapsed() <= CUT_WITHIN, "{:?}", given.elapsed());
        is_silent(&fixture, &alice.host, ticks.address().port())?;
        is_silent(&fixture, &stranger, ticks.address().port())?;
        let _ = up.terminate();
    }
    Ok(())
}

#[test]
fn a_gateway_that_is_killed_or_stopped_leaves_the_port_shut() -> Result<()> {
    let (mut fixture, ticks, alice) = scene()?;
    let stranger = fixture.network.host("stranger")?;
    let port = ticks.address().port();
    let (running, up) = flow(&fixture, &alice, "flow.log")?;
    fixture.gateway.kill()?;
    is_silent(&fixture, &stranger, port)?;
    let listed = flows(&fixture)?;
    assert!(listed.contains("expires"), "its flows go by themselves: {listed}");
    drop((running, up));
    fixture.gateway.restart()?;
    is_silent(&fixture, &stranger, port)?;
    fixture.gateway.terminate()?;
    is_silent(&fixture, &stranger, port)?;
    // A door that sees no TCP can't stand before the port: better no gateway than an open one.
    let file = fixture.gateway_dir().join("gateway.toml");
    let text = fs::read_to_string(&file)?;
    fs::write(&file, text.replace("door = \"auto\"", "door = \"socket\""))?;
    let refused = fixture.at_gateway(&["gateway", "run"])?.run()?.exits(40)?;
    assert!(refused.err().contains("needs the door `nftables`"), "{}", refused.err());
    is_silent(&fixture, &stranger, port)
}

#[test]
fn where_tcp_does_not_get_through_the_tunnel_carries_and_says_so() -> Result<()> {
    let (fixture, ticks, alice) = scene()?;
    let firewall = format!(
        "add table inet theirs {{ chain input {{ type filter hook input priority 0; iifname eth0 tcp dport {} drop; }}; }}",
        ticks.address().port()
    );
    fixture.gateway.host().command("nft").arg(&firewall).run()?.ok()?;
    let (running, _up) = flow(&fixture, &alice, "flow.log")?;
    let (opened, fell_back, trouble) = direct_use(&alice)?;
    assert_eq!((opened, fell_back), (0, 1), "{trouble}");
    assert!(trouble.contains("nothing answers within two seconds"), "{trouble}");
    alice.vestibule(&["status"])?.run()?.ok()?.says("not direct")?;
    alice.vestibule_with_password(&["why", "ticks"])?.run()?.ok()?.says("through the tunnel")?;
    drop(running);
    Ok(())
}

#[test]
fn t24_a_move_ends_direct_flows_and_shuts_the_address_that_was_left() -> Result<()> {
    let fixture = Fixture::start()?;
    let ticks = Upstream::ticking(fixture.gateway.host(), fixture.dir())?;
    let port = ticks.address().port();
    add_direct(&fixture, "ticks", ticks.address(), port)?;
    let (home, mobile) = (
        Router::start(&fixture.network, "home", Nat::Common)?,
        Router::start(&fixture.network, "mobile", Nat::Symmetric)?,
    );
    let alice = fixture.add_person_on(home.inside(), "alice", &[])?;
    let neighbour = home.inside().host("neighbour")?;
    mobile.inside().join(&alice.host, "mobile0")?;
    let (mut running, _up) = flow(&fixture, &alice, "flow.log")?;
    let (left, found) = (home.host().v4().to_string(), mobile.host().v4().to_string());
    let held = flows(&fixture)?;
    assert!(held.contains(&left), "{held}");

    alice.host.unplug("eth0")?;
    alice.host.plug("mobile0")?;
    until(SETTLED, "the flow to end", || Ok((!running.is_running()?).then_some(())))?;
    let held = flows(&fixture)?;
    assert!(!held.contains(&left), "{held}");
    is_silent(&fixture, &neighbour, port)?;
    alice.vestibule(&["status"])?.run()?.ok()?.says("they can't follow to another address")?;

    // The same session, without a question: from where it is now.
    let mut running = ticking(&fixture, &alice, "flow-again.log")?;
    let held = flows(&fixture)?;
    assert!(held.contains(&found) && !held.contains(&left), "{held}");
    let status = alice.vestibule(&["status", "--json"])?.run()?.ok()?.json()?;
    let direct = &status["direct"];
    let counts = [&status["moves"], &status["resumptions"], &direct["opened"], &direct["fell_back"], &direct["moved"]];
    assert_eq!(counts.map(serde_json::Value::as_u64), [1, 0, 2, 0, 1].map(Some), "{status}");
    assert!(running.is_running()?);
    running.kill()
}
