//! T10: a copy of a device's file, on another machine, and on one that imitates the device's fingerprint.

use vestibule_lab::{Capture, Context, Fixture, Person, Result, Service, Upstream};

fn counter(fixture: &Fixture, name: &str) -> Result<u64> {
    let status = fixture.at_gateway(&["gateway", "status", "--json"])?.run()?.ok()?.json()?;
    let counters = status["running"]["counters"].as_array().context("counters")?;
    let found = counters.iter().find(|counter| counter[0] == name).and_then(|counter| counter[1].as_u64());
    found.context(format!("no {name} in {status}"))
}

/// A machine of a thief's, with a copy of the folder.
fn thief(fixture: &Fixture, alice: &Person, name: &str) -> Result<Person> {
    let thief = fixture.add_device("alice", name)?;
    thief.host.command("cp").arg("-a").arg(alice.dir()).arg(thief.dir()).run()?.ok()?;
    Ok(thief)
}

#[test]
fn t10_a_copied_file_opens_no_door_and_alarms_the_owner() -> Result<()> {
    let mut fixture = Fixture::start()?;
    // Without typo bits every wrong password becomes a knock.
    fixture.configure_gateway(|text| text.replace("typo_bits = 10", "typo_bits = 0"))?;
    let inside = fixture.network.host("inside")?;
    let echo = Upstream::echo(&inside, fixture.dir())?;
    fixture.add_service("echo", Service::Tcp(echo.address()), &["everyone"])?;
    let alice = fixture.add_person("alice", &[])?;
    let ready = counter(&fixture, "admissions.ready")?;
    let guess =
        |thief: &Person| thief.vestibule(&["pipe", "echo", "--alone", "--password-stdin"])?.stdin("a guess\n").run();

    // As it is, it opens on the device alone: not one packet leaves, whatever the password.
    let elsewhere = thief(&fixture, &alice, "elsewhere")?;
    let capture = Capture::start(&elsewhere.host)?;
    let ran = guess(&elsewhere)?;
    assert!(!matches!(ran.code(), Some(0 | 22)), "{:?}: {}", ran.code(), ran.err());
    capture
        .stop()?
        .sent_by(&elsewhere.host)
        .without_housekeeping()
        .expect_none("a packet of a machine that is another")?;

    // Root can imitate a fingerprint.
    let imitating = thief(&fixture, &alice, "imitating")?;
    imitating.host.become_machine("alice", imitating.dir().parent().context("a folder")?)?;
    guess(&imitating)?.exits(22)?.says("1 of 20")?;
    guess(&imitating)?.exits(22)?.says("2 of 20")?;
    assert_eq!(counter(&fixture, "admissions.ready")?, ready, "no door was opened");
    assert_eq!(counter(&fixture, "admissions.doors_open")?, 0);
    let devices = fixture.at_gateway(&["device", "list", "--json"])?.run()?.ok()?.json()?;
    assert_eq!(devices[0]["tries"].as_u64(), Some(2), "{devices}");
    let audit = fixture.at_gateway(&["audit", "--json"])?.run()?.ok()?.json()?;
    let wrong = audit.as_array().context("a list")?.iter().filter(|entry| entry["kind"] == "wrong-password").count();
    assert_eq!(wrong, 2, "{audit}");

    // The owner of the device is not shut out by it.
    alice.vestibule_with_password(&["pipe", "echo", "--alone"])?.run()?.ok()?;
    assert_eq!(echo.accepted(), 1);
    Ok(())
}
