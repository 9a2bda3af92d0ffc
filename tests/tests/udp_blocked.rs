//! A network that lets small datagrams through and drops QUIC's: the client comes in over TCP, remembers it, and strangers see no more
//! of the gateway's TCP port than of one that nobody uses.

use std::net::SocketAddr;
use std::time::{Duration, Instant};
use vestibule_lab::{Capture, Context, Fixture, Host, Nat, Person, Result, Router, Service, Upstream, until};

/// How soon a person expects to go on.
const SOON: Duration = Duration::from_secs(15);

/// What a connect to the gateway's TCP port meets.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// As at a port that nobody uses.
    Refused,
    /// No answer.
    Nothing,
    /// It is accepted, and closed after so many bytes.
    Closed(String),
}

fn look(host: &Host, at: SocketAddr) -> Result<Seen> {
    let script = format!("exec 3<>/dev/tcp/{}/{} || exit 9; head -c 100 <&3 | wc -c", at.ip(), at.port());
    let tried = host.command("timeout").arg("5").arg("bash").arg("-c").arg(script).run()?;
    Ok(match tried.out().as_str() {
        "" if tried.code() == Some(124) => Seen::Nothing,
        "" => Seen::Refused,
        bytes => Seen::Closed(bytes.to_owned()),
    })
}

/// On the way to the gateway's port and back.
const BOTH_WAYS: &[&str] = &["dport", "sport"];
/// On the way back alone.
const ANSWERS: &[&str] = &["sport"];

/// What is larger than D0, as QUIC's packets are, is dropped on these ways.
fn drop_quic(router: &Router, ways: &[&str]) -> Result<()> {
    let nft = |rule: &str| router.host().command("nft").arg(rule).run()?.ok();
    nft("add table inet throttle")?;
    nft("add chain inet throttle forward { type filter hook forward priority 0 ; }")?;
    for port in ways {
        nft(&format!("add rule inet throttle forward udp {port} 4434 udp length > 200 counter drop"))?;
    }
    Ok(())
}

fn transport(person: &Person) -> Result<String> {
    let status = person.vestibule(&["status", "--json"])?.run()?.ok()?.json()?;
    Ok(status["transport"].as_str().context(format!("transport in {status}"))?.to_owned())
}

fn echoes(person: &Person) -> Result<()> {
    let script = "exec 3<>/dev/tcp/127.0.0.1/7000 && echo hello >&3 && timeout 2 head -n 1 <&3";
    until(SOON, "traffic through the tunnel", || {
        Ok((person.host.command("bash").arg("-c").arg(script).run()?.out() == "hello").then_some(()))
    })
}

#[test]
fn t08_where_quic_is_dropped_tcp_leads_in_and_strangers_see_a_port_that_nobody_uses() -> Result<()> {
    let fixture = Fixture::start()?;
    let inside = fixture.network.host("inside")?;
    let echo = Upstream::echo(&inside, fixture.dir())?;
    fixture.add_service("echo", Service::Tcp(echo.address()), &["everyone"])?;
    let home = Router::start(&fixture.network, "home", Nat::Common)?;
    let alice = fixture.add_person_on(home.inside(), "alice", &[])?;
    let neighbour = home.inside().host("neighbour")?;
    let stranger = fixture.network.host("stranger")?;
    let gateway = *fixture.gateway_addresses().first().context("an address")?;
    drop_quic(&home, BOTH_WAYS)?;

    assert_eq!(look(&stranger, gateway)?, Seen::Refused, "before");
    // While somebody is awaited, who gets no further than her tag datagram here: silence elsewhere, and for who shares the address a close
    // without a byte.
    let nft = |command: &str| home.host().command("nft").arg(command).run()?.ok();
    nft("add table inet hold")?;
    nft("add chain inet hold forward { type filter hook forward priority 1 ; }")?;
    nft(&format!("add rule inet hold forward ip saddr {} tcp dport 4434 drop", alice.host.v4()))?;
    let capture = Capture::start(fixture.gateway.host())?;
    std::thread::scope(|scope| -> Result<()> {
        let held_up = scope.spawn(|| alice.up(&[]).map(|mut up| up.terminate()));
        let listens =
            || Ok(fixture.gateway.host().command("ss").args(["-ltn"]).run()?.out().contains(":4434 ").then_some(()));
        until(SOON, "the listener", listens)?;
        let by_neighbour = scope.spawn(|| look(&neighbour, gateway));
        assert_eq!(look(&stranger, gateway)?, Seen::Nothing, "during");
        assert_eq!(by_neighbour.join().unwrap()?, Seen::Closed("0".to_owned()), "during, behind the same address");
        nft("delete table inet hold")?;
        // In time or not: she comes again.
        drop(held_up.join().unwrap());
        Ok(())
    })?;
    let packets = capture.stop()?;
    packets.sent_by(fixture.gateway.host()).tcp().to_ip(stranger.v4()).expect_none("an answer to the stranger")?;

    let begun = Instant::now();
    let mut up = alice.up(&["--forward", "7000=echo"])?;
    eprintln!("up over TCP after {:?}", begun.elapsed());
    assert_eq!(transport(&alice)?, "tcp");
    fixture.at_gateway(&["session", "list"])?.run()?.ok()?.says("connected over TCP")?;
    echoes(&alice)?;
    // She was heard: nobody is awaited any more.
    assert_eq!(look(&stranger, gateway)?, Seen::Refused, "after");
    assert_eq!(look(&neighbour, gateway)?, Seen::Refused, "after, behind the same address");
    echoes(&alice)?;
    assert_eq!(up.terminate()?, 0);

    let networks = std::fs::read_to_string(alice.dir().join("networks"))?;
    assert!(networks.starts_with("tcp ") && networks.lines().count() == 1, "{networks}");
    // TCP comes first now.
    let mut up = alice.up(&["--forward", "7000=echo"])?;
    assert_eq!(transport(&alice)?, "tcp");
    echoes(&alice)?;
    assert_eq!(up.terminate()?, 0);

    // And where nothing is dropped any more, QUIC can be asked for.
    nft("delete table inet throttle")?;
    let mut up = alice.up(&["--forward", "7000=echo", "--transport", "quic"])?;
    assert_eq!(transport(&alice)?, "quic");
    echoes(&alice)?;
    assert_eq!(up.terminate()?, 0);
    Ok(())
}

/// The gateway has a first contact then, by QUIC, which never goes on: it does not stand in the way of the one by TCP.
#[test]
fn where_only_the_gateways_answers_are_dropped_the_same_admission_leads_in_over_tcp() -> Result<()> {
    let fixture = Fixture::start()?;
    let inside = fixture.network.host("inside")?;
    let echo = Upstream::echo(&inside, fixture.dir())?;
    fixture.add_service("echo", Service::Tcp(echo.address()), &["everyone"])?;
    let home = Router::start(&fixture.network, "home", Nat::Common)?;
    let alice = fixture.add_person_on(home.inside(), "alice", &[])?;
    drop_quic(&home, ANSWERS)?;
    let mut up = alice.up(&["--forward", "7000=echo"])?;
    assert_eq!(transport(&alice)?, "tcp");
    echoes(&alice)?;
    assert_eq!(up.terminate()?, 0);
    Ok(())
}
