//! `vestibule why`: each trouble is found at its step, and told to the person whose connect it was (P11).

use serde_json::Value;
use vestibule_lab::{Fixture, Host, Person, Result, Service, Upstream};

/// A fixture with an echo service and a web service for everybody, one of each that nobody serves, and one person.
fn scene() -> Result<(Fixture, Person, [Upstream; 2], Host)> {
    let mut fixture = Fixture::start()?;
    fixture.notice_typos()?;
    let inside = fixture.network.host("inside")?;
    let echo = Upstream::echo(&inside, fixture.dir())?;
    fixture.add_service("echo", Service::Tcp(echo.address()), &["everyone"])?;
    let nobody = (inside.v4(), 9).into();
    fixture.add_service("nobody", Service::Tcp(nobody), &["everyone"])?;
    fixture.add_service("nopages", Service::Web(nobody), &["everyone"])?;
    let pages = Upstream::web(&inside, fixture.dir())?;
    fixture.add_service("pages", Service::Web(pages.address()), &["everyone"])?;
    let alice = fixture.add_person("alice", &[])?;
    Ok((fixture, alice, [echo, pages], inside))
}

/// Asks why, and gives back which step failed; every step before it went well, none behind it was tried.
fn failed_at(person: &Person, words: &[&str], code: i32) -> Result<String> {
    let words = [&["why", "--json"], words].concat();
    let found = person.vestibule_with_password(&words)?.run()?.exits(code)?.json()?;
    Ok(failed(&found))
}

fn failed(found: &Value) -> String {
    let steps: Vec<(&str, &str)> = found
        .as_array()
        .into_iter()
        .flatten()
        .map(|line| (line["step"].as_str().unwrap_or_default(), line["outcome"].as_str().unwrap_or_default()))
        .collect();
    assert_eq!(steps.first().map(|(step, _)| *step), Some("device"), "{found}");
    let at = steps.iter().position(|(_, outcome)| *outcome != "good").unwrap_or(steps.len());
    assert!(steps.iter().skip(at + 1).all(|(_, outcome)| *outcome == "not-tried"), "{found}");
    steps.get(at).map_or_else(|| "none".to_owned(), |(step, outcome)| format!("{step} {outcome}"))
}

#[test]
fn each_step_that_fails_is_named() -> Result<()> {
    let (mut fixture, alice, _upstreams, _inside) = scene()?;
    let table = alice.vestibule_with_password(&["why", "echo"])?.run()?.ok()?.out();
    assert!(table.contains("STEP") && table.contains("'echo' opens"), "{table}");
    assert_eq!(failed_at(&alice, &["echo"], 0)?, "none");
    assert_eq!(failed_at(&alice, &["payroll"], 30)?, "service failed");
    assert_eq!(failed_at(&alice, &["nobody"], 31)?, "service failed");
    assert_eq!(failed_at(&alice, &["nopages"], 31)?, "service failed");
    assert_eq!(failed_at(&alice, &["pages"], 0)?, "none");

    let wrong = alice.vestibule(&["why", "--json", "--password-stdin"])?.stdin("quite another password\n");
    assert_eq!(failed(&wrong.run()?.exits(10)?.json()?), "password failed");

    // The way to the gateway alone is shut: its door opened, and nothing comes of it.
    let gateway = fixture.gateway.host().v4().to_string();
    alice.host.command("ip").args(["route", "add", "blackhole", &gateway]).run()?.ok()?;
    let why = alice.vestibule_with_password(&["why"])?.run()?.exits(21)?;
    why.says("can't be reached from here")?.says(&alice.host.v4().to_string())?;
    alice.host.command("ip").args(["route", "del", "blackhole", &gateway]).run()?.ok()?;

    fixture.at_gateway(&["user", "suspend", "alice"])?.run()?.ok()?;
    assert_eq!(failed_at(&alice, &[], 22)?, "admission failed");
    fixture.at_gateway(&["user", "resume", "alice"])?.run()?.ok()?;
    assert_eq!(failed_at(&alice, &[], 0)?, "none");

    fixture.gateway.terminate()?;
    assert_eq!(failed_at(&alice, &[], 21)?, "admission failed");
    fixture.controller.terminate()?;
    assert_eq!(failed_at(&alice, &[], 20)?, "controller failed");
    Ok(())
}
