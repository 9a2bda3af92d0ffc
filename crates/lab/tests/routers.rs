//! Routers map as they say, bad lines are as bad as they say, and a host that moves is elsewhere.

use std::{collections::BTreeSet, net::SocketAddr, path::Path, time::Duration};

use vestibule_lab::{Capture, Host, Line, Nat, Network, Reply, Result, Router, Upstream};

const SOON: Duration = Duration::from_millis(300);
/// The port that the host inside sends from, and the one that hosts outside are sent to.
const FROM: u16 = 5_000;
const TO: u16 = 6_000;

struct Scene {
    network: Network,
    router: Router,
    inside: Host,
    outside: [Host; 2],
}

fn scene(nat: Nat) -> Result<Scene> {
    let network = Network::new()?;
    let router = Router::start(&network, "router", nat)?;
    let inside = router.inside().host("inside")?;
    let outside = [network.host("one")?, network.host("other")?];
    for to in outside.iter().flat_map(|host| [v4(host), v6(host)]) {
        // A neighbour that isn't known yet is asked for once a second.
        assert!(inside.tcp_probe(to)?.is_err_and(|reason| reason.contains("refused")), "{to} is reached");
    }
    Ok(Scene { network, router, inside, outside })
}

impl Scene {
    /// Sends a datagram to each host outside, and gives the sources that they saw.
    fn mapped(&self, family: fn(&Host) -> SocketAddr) -> Result<Vec<SocketAddr>> {
        let captures = self.outside.iter().map(Capture::start).collect::<Result<Vec<_>>>()?;
        let to: Vec<SocketAddr> = self.outside.iter().map(family).collect();
        // One port for both families the peer can't have.
        let from = if to[0].is_ipv4() { FROM } else { 0 };
        self.inside.send_datagrams_from(from, to.iter().map(|to| (*to, &b"out"[..])), SOON)?;
        let mut seen = Vec::new();
        for (capture, to) in captures.into_iter().zip(to) {
            let packets = capture.stop()?.udp().to_address(to);
            packets.expect(1, "what was sent from inside")?;
            seen.extend(packets.iter().filter_map(|packet| packet.source));
        }
        Ok(seen)
    }

    /// Whether what a third host sends to `mapped` comes in to who listens there.
    fn lets_in(&self, mapped: SocketAddr) -> Result<bool> {
        let third = self.network.host("third")?;
        let capture = Capture::start(&self.inside)?;
        third.send_datagrams([(mapped, &b"in"[..])], SOON)?;
        Ok(!capture.stop()?.udp().from_ip(third.v4()).is_empty())
    }
}

fn v4(host: &Host) -> SocketAddr {
    (host.v4(), TO).into()
}

fn v6(host: &Host) -> SocketAddr {
    (host.v6(), TO).into()
}

#[test]
fn a_full_cone_is_one_mapping_that_lets_everybody_in() -> Result<()> {
    let scene = scene(Nat::FullCone)?;
    let mapped = scene.mapped(v4)?;
    assert_eq!(mapped, [SocketAddr::from((scene.router.host().v4(), FROM)); 2]);
    assert!(scene.lets_in(mapped[0])?);
    Ok(())
}

#[test]
fn a_common_nat_is_one_mapping_that_lets_in_who_was_sent_to() -> Result<()> {
    let mut scene = scene(Nat::Common)?;
    let mapped = scene.mapped(v4)?;
    assert_eq!(mapped, [SocketAddr::from((scene.router.host().v4(), FROM)); 2]);
    assert!(!scene.lets_in(mapped[0])?);
    assert_eq!(scene.mapped(v6)?[0].ip(), scene.router.host().v6());
    scene.router.rebind()?;
    let anew = scene.mapped(v4)?;
    assert_eq!(anew[0].ip(), mapped[0].ip());
    assert_ne!(anew[0].port(), mapped[0].port(), "another port after a rebind");
    Ok(())
}

#[test]
fn a_symmetric_nat_takes_another_port_for_each_destination() -> Result<()> {
    let scene = scene(Nat::Symmetric)?;
    let mapped = scene.mapped(v4)?;
    assert_eq!((mapped[0].ip(), mapped[1].ip()), (scene.router.host().v4().into(), scene.router.host().v4().into()));
    assert_ne!(mapped[0].port(), mapped[1].port());
    assert!(!scene.lets_in(mapped[0])?);
    Ok(())
}

#[test]
fn a_pool_takes_another_address_for_each_flow_and_may_stand_behind_another_nat() -> Result<()> {
    let scene = scene(Nat::Pool(3))?;
    let home = Router::start(scene.router.inside(), "home", Nat::Common)?;
    let scene = Scene { inside: home.inside().host("deep inside")?, ..scene };
    let mapped = scene.mapped(v4)?;
    assert_ne!(mapped[0].ip(), mapped[1].ip());
    assert!(mapped.iter().all(|seen| scene.router.public().iter().any(|own| *own == seen.ip())));
    Ok(())
}

#[test]
fn two_hosts_behind_one_router_share_its_address_and_it_answers_nothing_itself() -> Result<()> {
    let scene = scene(Nat::Common)?;
    let neighbour = scene.router.inside().host("neighbour")?;
    let capture = Capture::start(&scene.outside[0])?;
    for host in [&scene.inside, &neighbour] {
        host.send_datagrams_from(FROM, [(v4(&scene.outside[0]), &b"out"[..])], SOON)?;
    }
    let replies = scene.outside[0].send_datagrams([((scene.router.host().v4(), 9).into(), &b"in"[..])], SOON)?;
    assert_eq!(replies, Vec::<Reply>::new());
    let packets = capture.stop()?;
    let sources: BTreeSet<_> = packets.udp().to_port(TO).iter().filter_map(|packet| packet.source).collect();
    assert_eq!(sources.len(), 2, "{packets}");
    assert!(sources.iter().all(|source| source.ip() == scene.router.host().v4()));
    packets
        .from_ip(scene.router.host().v4())
        .only(|packet| packet.destination.is_some_and(|to| to.port() == 0))
        .expect_none("ICMP of the router's")
}

#[test]
fn an_mtu_is_kept_by_both_families() -> Result<()> {
    let scene = scene(Nat::Common)?;
    scene.router.set_mtu(1_280)?;
    for (to, overhead) in [(v4(&scene.outside[0]), 28), (v6(&scene.outside[0]), 48)] {
        let capture = Capture::start(&scene.outside[0])?;
        let (fits, exceeds) = (vec![1; 1_280 - overhead], vec![2; 1_281 - overhead]);
        scene.inside.send_datagrams([(to, &fits[..]), (to, &exceeds[..])], SOON)?;
        let arrived = capture.stop()?.udp().to_address(to);
        assert_eq!(arrived.of_payload(fits.len()).len(), 1, "{to}: {arrived}");
        assert_eq!(arrived.of_payload(exceeds.len()).len(), 0, "{to}: {arrived}");
    }
    Ok(())
}

#[test]
fn a_bad_line_loses_delays_and_reorders_and_is_good_again_after() -> Result<()> {
    let network = Network::new()?;
    let (one, other) = (network.host("one")?, network.host("other")?);
    let numbers: Vec<[u8; 2]> = (0..400_u16).map(u16::to_be_bytes).collect();
    let arrived = || -> Result<Vec<u16>> {
        // So many don't wait for a neighbour that isn't known yet.
        let _ = one.tcp_probe(v4(&other))?;
        let capture = Capture::start(&other)?;
        one.send_datagrams(numbers.iter().map(|bytes| (v4(&other), &bytes[..])), SOON)?;
        let packets = capture.stop()?.udp().to_address(v4(&other));
        Ok(packets.iter().filter_map(|packet| Some(u16::from_be_bytes(packet.payload().try_into().ok()?))).collect())
    };
    let late = Duration::from_millis(20);
    let line = Line { loss: 10, delay: Duration::from_millis(10), reordered: 10, late, seed: 7 };
    let bad = network.worsen(&one, line)?;
    let seen = arrived()?;
    assert!((300..400).contains(&seen.len()), "about 360 of 400 arrive: {}", seen.len());
    assert!(!seen.is_sorted(), "some are overtaken");
    drop(bad);
    assert_eq!(arrived()?, (0..400).collect::<Vec<_>>());
    // Streams live on it, too.
    let bad = network.worsen(&one, Line { delay: Duration::from_millis(10), ..Line::default() })?;
    let echo = Upstream::echo(&other, Path::new("/tmp"))?;
    assert_eq!(one.tcp_probe(echo.address())?, Ok(Vec::new()));
    drop(bad);
    Ok(())
}

#[test]
fn a_host_that_moves_leaves_by_another_router() -> Result<()> {
    let network = Network::new()?;
    let (home, mobile) =
        (Router::start(&network, "home", Nat::Common)?, Router::start(&network, "mobile", Nat::Symmetric)?);
    let (server, person) = (network.host("server")?, home.inside().host("person")?);
    mobile.inside().join(&person, "mobile0")?;
    let seen_from = || -> Result<Vec<SocketAddr>> {
        let capture = Capture::start(&server)?;
        person.send_datagrams([(v4(&server), &b"here"[..])], SOON)?;
        Ok(capture.stop()?.udp().to_port(TO).iter().filter_map(|packet| packet.source).collect())
    };
    assert_eq!(seen_from()?[0].ip(), home.host().v4());
    person.unplug("eth0")?;
    person.plug("mobile0")?;
    assert_eq!(seen_from()?[0].ip(), mobile.host().v4());
    person.unplug("mobile0")?;
    person.plug("eth0")?;
    assert_eq!(seen_from()?[0].ip(), home.host().v4());
    Ok(())
}
