//! A UDP service: a name server behind the gateway is asked through a local port, over a moving device's connection as well, and a
//! revocation makes it silent within a second.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};
use vestibule_lab::{Context, Fixture, Person, Result, Role, Service, Upstream, until};

/// The local port that leads to the name server.
const LOCAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5_353);
/// An address of the same network that no host has.
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 251));
/// What the name server says of every name.
const ANSWER: &str = "192.0.2.53";
/// The promise.
const CUT_WITHIN: Duration = Duration::from_secs(1);
/// How long an answer may take.
const ANSWERED_WITHIN: Duration = Duration::from_millis(500);

fn scene() -> Result<(Fixture, Upstream, Person)> {
    let fixture = Fixture::start()?;
    let inside = fixture.network.host("inside")?;
    let dns = Upstream::dns(&inside, fixture.dir())?;
    fixture.add_service("dns", Service::Udp(dns.address()), &["everyone"])?;
    let alice = fixture.add_person("alice", &[])?;
    Ok((fixture, dns, alice))
}

fn up(person: &Person) -> Result<Role> {
    person.up(&[&format!("--forward={LOCAL}/udp=dns")])
}

/// Whether a question is answered now.
fn is_answered(person: &Person, name: &str) -> Result<bool> {
    let asked = Upstream::ask(&person.host, LOCAL, name, ANSWERED_WITHIN)?.run()?;
    Ok(asked.code() == Some(0) && asked.out() == ANSWER)
}

fn answered(person: &Person, name: &str) -> Result<()> {
    until(Duration::from_secs(15), "an answer", || Ok(is_answered(person, name)?.then_some(())))
}

fn owner(fixture: &Fixture, words: &[&str]) -> Result<()> {
    fixture.at_gateway(words)?.run()?.ok().map(drop)
}

#[test]
fn a_name_server_is_asked_through_the_tunnel() -> Result<()> {
    let (fixture, dns, alice) = scene()?;
    let listed = fixture.at_gateway(&["service", "list", "--json"])?.run()?.ok()?.json()?;
    assert_eq!((&listed[0]["name"], &listed[0]["kind"]), (&"dns".into(), &"udp".into()), "{listed}");
    let shown = fixture.at_gateway(&["service", "show", "dns"])?.run()?.ok()?;
    assert!(shown.out().contains("udp"), "{}", shown.out());
    let up = up(&alice)?;
    for number in 0..20 {
        answered(&alice, &format!("host{number}.example"))?;
    }
    assert!(dns.accepted() >= 20);
    let offered = alice.vestibule(&["services", "--json"])?.run()?.ok()?.json()?;
    assert_eq!((&offered[0]["name"], &offered[0]["kind"]), (&"dns".into(), &"udp".into()), "{offered}");

    // What carries connections doesn't lead there, and says what does.
    let piped = alice.vestibule(&["pipe", "dns"])?.run()?.exits(2)?;
    assert!(piped.err().contains("vestibule forward PORT/udp=dns"), "{}", piped.err());
    drop(up);
    let crossed = alice.vestibule_with_password(&["forward", "5353=dns"])?.run()?.exits(2)?;
    assert!(crossed.err().contains("vestibule forward PORT/udp=dns"), "{}", crossed.err());
    let why = alice.vestibule_with_password(&["why", "dns"])?.run()?.exits(0)?;
    assert!(why.out().contains("'dns' opens"), "{}", why.out());
    Ok(())
}

#[test]
fn alone_t14_a_revocation_silences_a_udp_service_within_a_second() -> Result<()> {
    let (fixture, dns, alice) = scene()?;
    let _up = up(&alice)?;
    answered(&alice, "a.example")?;
    let sessions = fixture.at_gateway(&["session", "list", "--json"])?.run()?.ok()?.json()?;
    let session = sessions[0]["id"].as_str().context("an id")?;
    let flows = sessions[0]["live"]["flows"].to_string();
    assert!(flows.contains("dns"), "{sessions}");
    let given = Instant::now();
    owner(&fixture, &["session", "revoke", session])?;
    let took = given.elapsed();
    let heard = dns.accepted();
    assert!(!is_answered(&alice, "b.example")?, "it is silent");
    assert_eq!(dns.accepted(), heard, "the question has not even come there");
    assert!(took <= CUT_WITHIN, "{took:?}");
    Ok(())
}

#[test]
fn a_flow_goes_on_from_another_address() -> Result<()> {
    let (_fixture, _dns, alice) = scene()?;
    let _up = up(&alice)?;
    answered(&alice, "a.example")?;
    alice.host.remove_address(alice.host.v4().into(), 24)?;
    alice.host.add_address(ELSEWHERE, 24)?;
    answered(&alice, "b.example")?;
    let status = alice.vestibule(&["status", "--json"])?.run()?.ok()?.json()?;
    assert_eq!(status["resumptions"], 0, "{status}");
    Ok(())
}
