//! Two address families: what one of them loses the other one carries, also half way: a knock by one, the connection by the other
//! (PROTOCOL 3.5, dual stack).

use std::net::{IpAddr, SocketAddr};
use vestibule_lab::{Capture, Context, Fixture, Host, Packets, Person, Result, Service, Upstream};

/// Nobody's hardware address: what is sent to it is lost without a word.
const NOWHERE: &str = "02:77:00:00:ff:ff";
const K6: usize = 1_200;

/// From now on everything that `host` sends to this address is lost.
fn lose(host: &Host, to: IpAddr) -> Result<()> {
    let words = ["neigh", "replace", &to.to_string(), "lladdr", NOWHERE, "nud", "permanent", "dev", "eth0"];
    host.command("ip").args(words).run()?.ok().map(drop)
}

fn scene() -> Result<(Fixture, Upstream, Person)> {
    let fixture = Fixture::start_dual_stack()?;
    let inside = fixture.network.host("inside")?;
    let echo = Upstream::echo(&inside, fixture.dir())?;
    fixture.add_service("echo", Service::Tcp(echo.address()), &["everyone"])?;
    let alice = fixture.add_person("alice", &[])?;
    Ok((fixture, echo, alice))
}

/// The address of each family: IPv4, IPv6.
fn both(addresses: &[SocketAddr]) -> Result<[SocketAddr; 2]> {
    addresses.try_into().ok().context("an address of each family")
}

/// Sends a word through a session of its own, and gives what was on the wire meanwhile.
fn connect(alice: &Person) -> Result<Packets> {
    let capture = Capture::start(&alice.host)?;
    let pipe = alice.vestibule_with_password(&["pipe", "echo", "--alone"])?;
    let said = pipe.stdin(format!("{}\nhello\n", alice.password)).run()?.ok()?;
    assert_eq!(said.out(), "hello");
    capture.stop()
}

/// With the controller reachable by one family alone and the gateway by the other one alone.
fn crossed(knock_by: usize, fixture: &Fixture, alice: &Person) -> Result<()> {
    let (controllers, gateways) = (both(&fixture.controller_addresses())?, both(&fixture.gateway_addresses())?);
    let connect_by = 1 - knock_by;
    lose(&alice.host, controllers[connect_by].ip())?;
    lose(&alice.host, gateways[knock_by].ip())?;
    let packets = connect(alice)?;
    let answers = packets.sent_to(&alice.host).udp();
    assert!(!answers.from_address(controllers[knock_by]).of_payload(K6).is_empty(), "guidance by one family");
    assert!(answers.from_address(gateways[connect_by]).len() > 5, "the session by the other");
    answers.from_address(controllers[connect_by]).expect_none("an answer by the family that loses knocks")?;
    answers.from_address(gateways[knock_by]).expect_none("an answer by the family that loses connections")?;
    let tried = packets.sent_by(&alice.host).udp();
    assert!(!tried.to_address(gateways[knock_by]).is_empty(), "the knock's own family was tried first");
    Ok(())
}

#[test]
fn a_knock_over_v4_leads_to_a_connection_over_v6() -> Result<()> {
    let (fixture, _echo, alice) = scene()?;
    crossed(0, &fixture, &alice)
}

#[test]
fn a_knock_over_v6_leads_to_a_connection_over_v4() -> Result<()> {
    let (fixture, _echo, alice) = scene()?;
    crossed(1, &fixture, &alice)
}

/// Where a tag leads in from the network alone that knocked, the other family takes a knock of its own.
#[test]
fn with_a_strict_gateway_each_family_knocks_for_itself() -> Result<()> {
    let (mut fixture, _echo, alice) = scene()?;
    fixture.configure_gateway(|text| text.replace("nat = \"follow\"", "nat = \"strict\""))?;
    let (controllers, gateways) = (both(&fixture.controller_addresses())?, both(&fixture.gateway_addresses())?);
    lose(&alice.host, gateways[0].ip())?;
    let packets = connect(&alice)?;
    let answers = packets.sent_to(&alice.host).udp();
    for controller in controllers {
        assert!(!answers.from_address(controller).of_payload(K6).is_empty(), "guidance by {controller}");
    }
    assert!(answers.from_address(gateways[1]).len() > 5, "the session over IPv6");
    answers.from_address(gateways[0]).expect_none("an answer by the family that loses connections")
}

#[test]
fn either_family_alone_suffices() -> Result<()> {
    let (fixture, _echo, alice) = scene()?;
    let (controllers, gateways) = (both(&fixture.controller_addresses())?, both(&fixture.gateway_addresses())?);
    for lost in [0, 1] {
        let bob = fixture.add_person(["bob", "carol"][lost], &[])?;
        lose(&bob.host, controllers[lost].ip())?;
        lose(&bob.host, gateways[lost].ip())?;
        let answers = connect(&bob)?.sent_to(&bob.host).udp();
        answers.from_address(gateways[lost]).expect_none("an answer by the family that loses everything")?;
        assert!(answers.from_address(gateways[1 - lost]).len() > 5);
    }
    // Where nothing is lost one family does all of it.
    let packets = connect(&alice)?.udp();
    let [v4, v6] = gateways.map(|gateway| packets.to_address(gateway).len());
    assert!(v4 == 0 || v6 == 0, "{v4} datagrams to the gateway over IPv4, {v6} over IPv6");
    Ok(())
}
