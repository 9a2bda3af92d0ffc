//! `vestibule selftest --from-outside`: what it sees is what is there, of dark ports, of machines that answer, and of services.

use serde_json::Value;
use vestibule_lab::{Fixture, Host, Result, Upstream};
use vestibule_scenarios::installed;

/// The report of a selftest at this host.
fn report(host: &Host, words: &[&str], code: i32) -> Result<Value> {
    let words = [&["selftest", "--from-outside", "--json"], words].concat();
    host.command(vestibule_lab::program()?).args(words).run()?.exits(code)?.json()
}

/// Every row of a report: when, probes, verdict.
fn rows(report: &Value) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let scans = report["scans"].as_array().into_iter().flatten();
    let rows = scans.flat_map(|scan| scan["rows"].as_array().into_iter().flatten().map(move |row| (scan, row)));
    rows.map(|(scan, row)| (text(&scan["when"]), text(&row["probes"]), text(&row["verdict"]))).collect()
}

/// Lets in what is for the roles' ports, answers, and what neighbours must say to each other, and drops the rest.
fn firewall(host: &Host) -> Result<()> {
    let rules = "table inet firewall { chain in { type filter hook input priority 0; policy drop; iif lo accept; \
                 ct state established accept; udp dport { 4433, 4434 } accept; \
                 icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept; }; }";
    let nft = installed("nft", "nftables")?;
    host.command(&nft).args(["-f", "-"]).stdin(rules).run()?.ok()?;
    Ok(())
}

#[test]
fn behind_firewalls_a_stranger_sees_nothing_before_during_and_after_an_admission() -> Result<()> {
    let fixture = Fixture::start_dual_stack()?;
    let alice = fixture.add_person("alice", &[])?;
    [&fixture.controller, &fixture.gateway].into_iter().try_for_each(|role| firewall(role.host()))?;

    let seen = alice.vestibule_with_password(&["selftest", "--from-outside", "--json"])?.run()?.ok()?.json()?;
    let rows = rows(&seen);
    assert!(rows.iter().all(|(_, _, verdict)| verdict == "silent"), "{seen:#}");
    // Both roles by both families, three times, with seven kinds of probes.
    assert_eq!(rows.len(), 2 * 2 * 3 * 7, "{seen:#}");
    for when in ["before", "during", "after"] {
        assert_eq!(rows.iter().filter(|row| row.0 == when).count(), 2 * 2 * 7, "{when}");
    }
    assert!(seen["passed"] == true && seen["scans"][0]["means"] == "raw", "{seen:#}");

    // The same for somebody without a device, as a report to keep.
    let stranger = fixture.network.host("stranger")?;
    let gateway = fixture.gateway_addresses();
    let targets: Vec<String> = gateway.iter().map(|address| format!("--target={address}")).collect();
    let words = ["selftest", "--from-outside", "--markdown"];
    let seen = stranger.command(vestibule_lab::program()?).args(words).args(&targets).run()?.ok()?.out();
    assert!(seen.starts_with("# Seen from outside: nothing\n") && seen.contains("| fragments |"), "{seen}");
    Ok(())
}

#[test]
fn a_machine_that_answers_is_told_from_a_service_that_does() -> Result<()> {
    let fixture = Fixture::start()?;
    let stranger = fixture.network.host("stranger")?;
    let gateway = format!("--target={}", fixture.gateway_addresses()[0]);

    let seen = report(&stranger, &[&gateway], 60)?;
    let at = |probes: &str| rows(&seen).into_iter().find(|row| row.1 == probes).map(|row| row.2);
    assert_eq!(at("udp").as_deref(), Some("silent"), "{seen:#}");
    assert_eq!(at("fragments").as_deref(), Some("silent"), "{seen:#}");
    for probes in ["tcp", "icmp", "protocols", "unused-port"] {
        assert_eq!(at(probes).as_deref(), Some("machine"), "{seen:#}");
    }
    assert!(seen["scans"][0]["stands_out"] == true, "{seen:#}");
    report(&stranger, &[&gateway, "--known-machine"], 0)?;

    let inside = fixture.network.host("inside")?;
    let echo = Upstream::echo(&inside, fixture.dir())?;
    let echo = format!("--target={}", echo.address());
    let seen = report(&stranger, &[&echo, "--known-machine"], 60)?;
    let verdict = rows(&seen).into_iter().find(|row| row.1 == "tcp").map(|row| row.2);
    assert_eq!(verdict.as_deref(), Some("service"), "{seen:#}");

    // From the machine itself nobody looks from outside, and a name that stands for nothing is no address.
    let own = fixture.gateway.host().command(vestibule_lab::program()?).args(["selftest", "--from-outside", &gateway]);
    own.run()?.exits(1)?.says("this machine's own")?;
    let nothing = stranger.command(vestibule_lab::program()?).args(["selftest", "--from-outside", "--target=nothing"]);
    nothing.run()?.exits(2)?.says("HOST:PORT")?;
    Ok(())
}
