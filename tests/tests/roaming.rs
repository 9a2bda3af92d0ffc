//! A device that moves: the session goes on from the new address, without the person.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;
use vestibule_lab::{Fixture, Person, Result, Service, Upstream, until};

/// An address of the same network that no host has.
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 251));
/// How soon a person expects to go on.
const SOON: Duration = Duration::from_secs(15);

fn traffic(person: &Person, within: Duration) -> Result<()> {
    let script = "exec 3<>/dev/tcp/127.0.0.1/7000 && echo hello >&3 && timeout 2 head -n 1 <&3";
    until(within, "traffic through the tunnel", || {
        Ok((person.host.command("bash").arg("-c").arg(script).run()?.out() == "hello").then_some(()))
    })
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
    let status = alice.vestibule(&["status", "--json"])?.run()?.ok()?.json()?;
    assert!(status["resumptions"].as_u64() >= Some(1), "{status}");

    // Off the wire for a moment, and back where it was.
    alice.host.set_plugged(false)?;
    alice.host.remove_address(ELSEWHERE, 24)?;
    alice.host.add_address(alice.host.v4().into(), 24)?;
    alice.host.set_plugged(true)?;
    traffic(&alice, 2 * SOON)?;
    let status = alice.vestibule(&["status", "--json"])?.run()?.ok()?.json()?;
    assert!(status["resumptions"].as_u64() >= Some(2), "{status}");
    Ok(())
}
