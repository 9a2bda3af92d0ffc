//! Wrong passwords that the device itself does not notice: one durable counter per device, counted before the answer (m12, T12).

use std::fs;
use std::time::Duration;
use vestibule_lab::{Context, Fixture, Result, Service, Upstream, until};

/// Guesses that meet no delay.
const FREE: u64 = 5;

#[test]
fn t12_wrong_passwords_are_counted_across_kills_of_the_gateway() -> Result<()> {
    let mut fixture = Fixture::start()?;
    // Without typo bits every wrong password becomes a knock.
    let file = fixture.gateway_dir().join("gateway.toml");
    let text = fs::read_to_string(&file)?;
    assert!(text.contains("typo_bits = 10"), "{text}");
    fs::write(&file, text.replace("typo_bits = 10", "typo_bits = 0"))?;
    fixture.gateway.restart()?;
    fixture.wait_linked()?;
    let inside = fixture.network.host("inside")?;
    let echo = Upstream::echo(&inside, fixture.dir())?;
    fixture.add_service("echo", Service::Tcp(echo.address()), &["everyone"])?;
    let alice = fixture.add_person("alice", &[])?;
    let connect = |password: &str| {
        until(Duration::from_secs(20), "the gateway's new link", || {
            let pipe = alice.vestibule(&["pipe", "echo", "--alone", "--password-stdin"])?;
            let ran = pipe.stdin(format!("{password}\n")).run()?;
            // After a kill the controller holds the old link for a moment, and says that the gateway is away.
            Ok((ran.code() != Some(21)).then_some(ran))
        })
    };
    connect(&alice.password)?.ok()?;

    for guess in 1..=FREE {
        connect(&format!("guess number {guess}"))?.exits(22)?.says(&format!("{guess} of 20"))?;
        fixture.gateway.restart()?;
        fixture.wait_linked()?;
        assert_eq!(tries(&fixture)?, guess, "after a kill");
    }
    // The sixth is not evaluated: there is a delay now, for the right password, too.
    connect("guess number 6")?.exits(22)?.says("wait")?;
    connect(&alice.password)?.exits(22)?.says("wait")?;
    assert_eq!(tries(&fixture)?, FREE);
    let audit = fixture.at_gateway(&["audit", "--json"])?.run()?.ok()?.json()?;
    let wrong = audit.as_array().context("a list")?.iter().filter(|entry| entry["kind"] == "wrong-password").count();
    assert_eq!(wrong as u64, FREE, "{audit}");
    Ok(())
}

fn tries(fixture: &Fixture) -> Result<u64> {
    let devices = fixture.at_gateway(&["device", "list", "--json"])?.run()?.ok()?.json()?;
    devices[0]["tries"].as_u64().context(format!("no count in {devices}"))
}
