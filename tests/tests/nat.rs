//! The networks that people have: each kind of NAT, neighbours behind one address, bad lines and narrow ones (T7).

use std::time::Duration;
use vestibule_lab::{
    Capture, Context, Fixture, Host, Line, Nat, Person, Proto, Result, Role, Router, Service, Upstream, until,
};

const BYTES: usize = 10_000_000;
const LISTEN: Duration = Duration::from_millis(1_000);

/// Controller, gateway and a web service; people are put behind routers by each scenario.
fn scene(dual_stack: bool) -> Result<(Fixture, Upstream)> {
    let fixture = if dual_stack { Fixture::start_dual_stack()? } else { Fixture::start()? };
    let inside = fixture.network.host("inside")?;
    let web = Upstream::web(&inside, fixture.dir())?;
    fixture.add_service("web", Service::Tcp(web.address()), &["everyone"])?;
    Ok((fixture, web))
}

/// Connects, and fetches 10 MB through the tunnel.
fn transfer(person: &Person) -> Result<Role> {
    let up = person.up(&["--forward=127.0.0.1:7000=web"])?;
    fetch(person)?;
    Ok(up)
}

fn fetch(person: &Person) -> Result<()> {
    let script = format!("curl -sS --max-time 170 http://127.0.0.1:7000/bytes/{BYTES} | wc -c");
    let got = person.host.command("bash").args(["-c", &script]).within(Duration::from_secs(180)).run()?.ok()?;
    assert_eq!(got.out(), BYTES.to_string(), "{}", got.err());
    Ok(())
}

/// Waits until the neighbours on the way to a host have found each other.
fn reaches(person: &Person, host: &Host, over_v6: bool) -> Result<()> {
    let nobody = if over_v6 { (host.v6(), 9).into() } else { (host.v4(), 9).into() };
    until(Duration::from_secs(20), "the way out", || {
        Ok(person.host.tcp_probe(nobody)?.is_err_and(|reason| reason.contains("refused")).then_some(()))
    })
}

/// From where the gateway serves a person.
fn remote(fixture: &Fixture) -> Result<String> {
    let sessions = fixture.at_gateway(&["session", "list", "--json"])?.run()?.ok()?.json()?;
    Ok(sessions[0]["live"]["remote"].as_str().context(format!("no live session in {sessions}"))?.to_owned())
}

#[test]
fn a_session_and_10_megabytes_pass_each_kind_of_nat() -> Result<()> {
    let (fixture, _web) = scene(false)?;
    for (n, nat) in [Nat::FullCone, Nat::Common, Nat::Symmetric, Nat::Pool(3)].into_iter().enumerate() {
        let router = Router::start(&fixture.network, &format!("router{n}"), nat)?;
        let person = fixture.add_person_on(router.inside(), &format!("person{n}"), &[])?;
        let capture = Capture::start(fixture.gateway.host())?;
        let mut up = transfer(&person)?;
        let seen = capture.stop()?.udp().to_port(4434);
        let behind = |ip| router.public().into_iter().any(|own| ip == own);
        seen.only(|packet| !packet.source.is_some_and(|source| behind(source.ip()))).expect_none("but the router's")?;
        assert!(!seen.is_empty());
        assert_eq!(up.terminate()?, 0, "{nat:?}");
    }
    Ok(())
}

#[test]
fn a_session_passes_a_home_behind_a_carrier() -> Result<()> {
    let (fixture, _web) = scene(false)?;
    let carrier = Router::start(&fixture.network, "carrier", Nat::Pool(3))?;
    let home = Router::start(carrier.inside(), "home", Nat::Common)?;
    let alice = fixture.add_person_on(home.inside(), "alice", &[])?;
    let _up = transfer(&alice)?;
    let seen = remote(&fixture)?;
    assert!(carrier.public().iter().any(|own| seen.starts_with(&own.to_string())), "{seen}");
    Ok(())
}

/// T7: the one's admission opens nothing for the other, who has the same address.
#[test]
fn t07_two_people_behind_one_address_open_nothing_for_each_other() -> Result<()> {
    let (fixture, _web) = scene(false)?;
    let router = Router::start(&fixture.network, "router", Nat::Common)?;
    let alice = fixture.add_person_on(router.inside(), "alice", &[])?;
    let neighbour = router.inside().host("neighbour")?;
    let at_alice = Capture::start(&alice.host)?;
    let _up = transfer(&alice)?;
    let to_gateway = at_alice.stop()?.sent_by(&alice.host).udp().to_port(4434);
    let recorded: Vec<(_, Vec<u8>)> = to_gateway
        .iter()
        .take(64)
        .filter_map(|packet| Some((packet.destination?, packet.payload().to_vec())))
        .collect();
    assert!(recorded.iter().any(|(_, bytes)| bytes.len() >= 1200), "her first packet was recorded");

    // A port that is not alice's, while her session lives; a router gives the same port to one of them at a time.
    let at_gateway = Capture::start(fixture.gateway.host())?;
    let replay = recorded.iter().map(|(to, bytes)| (*to, bytes.as_slice()));
    assert_eq!(neighbour.send_datagrams_from(40_123, replay, LISTEN)?, []);
    let packets = at_gateway.stop()?;
    packets
        .udp()
        .from_address((router.host().v4(), 40_123))
        .expect(recorded.len(), "from the same address as alice's")?;
    let sent = packets.sent_by(fixture.gateway.host());
    sent.to_address((router.host().v4(), 40_123)).expect_none("an answer")?;
    sent.only(|packet| matches!(packet.proto, Proto::Icmp(_))).expect_none("a word that nobody is there")?;
    fetch(&alice)
}

#[test]
fn ten_megabytes_pass_a_line_that_loses_and_reorders() -> Result<()> {
    let (fixture, _web) = scene(false)?;
    let router = Router::start(&fixture.network, "router", Nat::Common)?;
    let alice = fixture.add_person_on(router.inside(), "alice", &[])?;
    let delay = Duration::from_millis(5);
    let line = Line { loss: 5, delay, reordered: 5, late: delay, seed: 1 };
    let _bad = router.inside().worsen(&alice.host, line)?;
    let _up = transfer(&alice)?;
    Ok(())
}

#[test]
fn narrow_paths_carry_a_session_over_both_families() -> Result<()> {
    let (fixture, _web) = scene(true)?;
    for (name, mtu, family) in [("v4", 1_400, "-6"), ("v6", 1_280, "-4")] {
        let router = Router::start(&fixture.network, &format!("router-{name}"), Nat::Common)?;
        let person = fixture.add_person_on(router.inside(), name, &[])?;
        router.set_mtu(mtu)?;
        // The other family has no way out.
        person.host.command("ip").args([family, "route", "del", "default"]).run()?.ok()?;
        reaches(&person, fixture.controller.host(), family == "-4")?;
        let capture = Capture::start(fixture.gateway.host())?;
        let mut up = transfer(&person)?;
        let seen = capture.stop()?.udp().to_port(4434);
        seen.only(|packet| packet.source.is_some_and(|from| from.is_ipv6() != (name == "v6"))).expect_none(name)?;
        seen.only(|packet| packet.frame.len() > usize::from(mtu) + 14).expect_none("wider than the path")?;
        assert_eq!(up.terminate()?, 0);
    }
    Ok(())
}

/// P11: what a carrier does to the policy `strict` is told to the person whose connect it was.
#[test]
fn a_carrier_that_maps_each_flow_to_another_address_meets_a_strict_policy_and_the_person_reads_why() -> Result<()> {
    let (mut fixture, _web) = scene(false)?;
    // More addresses than flows of one connect: none comes round again.
    let carrier = Router::start(&fixture.network, "carrier", Nat::Pool(6))?;
    let alice = fixture.add_person_on(carrier.inside(), "alice", &[])?;
    alice.vestibule_with_password(&["why"])?.run()?.ok()?;
    fixture.configure_gateway(|text| text.replace("nat = \"follow\"", "nat = \"strict\""))?;
    // Every try over TCP is a flow of its own: with so many the right address comes round.
    std::fs::write(alice.dir().join("client.toml"), "transport = \"quic\"\n")?;
    let capture = Capture::start(fixture.gateway.host())?;
    let why = alice.vestibule_with_password(&["why"])?.run()?.exits(21)?;
    let why = why.says("uses several addresses")?.says("nat = \"strict\"")?;
    let said = format!("{}{}", why.out(), why.err());
    assert!(carrier.public().iter().any(|seen| said.contains(&seen.to_string())), "where it was seen: {said}");
    let packets = capture.stop()?.sent_by(fixture.gateway.host());
    packets
        .only(|packet| packet.source.is_some_and(|from| from.port() == 4434))
        .expect_none("an answer at the door")?;
    Ok(())
}
