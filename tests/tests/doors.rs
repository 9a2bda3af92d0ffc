//! The door in the kernel under the whole program: who has a device comes in, strangers end before the gateway, what ends is
//! shut (P1, P7), and the doctor tells what a machine lacks.

use std::time::{Duration, Instant};
use vestibule_lab::{Context, Fixture, Host, Person, Result, Role, Running, Service, Upstream, until};

/// How long answers are waited for.
const LISTEN: Duration = Duration::from_millis(500);
/// The promise of a revocation.
const CUT_WITHIN: Duration = Duration::from_secs(1);

fn scene(door: &str) -> Result<(Fixture, Upstream, Person)> {
    let mut fixture = Fixture::start_dual_stack()?;
    if door != "auto" {
        fixture.configure_gateway(|text| text.replace("door = \"auto\"", &format!("door = \"{door}\"")))?;
    }
    let inside = fixture.network.host("inside")?;
    let ticks = Upstream::ticking(&inside, fixture.dir())?;
    fixture.add_service("ticks", Service::Tcp(ticks.address()), &["everyone"])?;
    let alice = fixture.add_person("alice", &[])?;
    Ok((fixture, ticks, alice))
}

/// A live flow through the tunnel.
fn flow(fixture: &Fixture, person: &Person, log: &str) -> Result<(Running, Role)> {
    let up = person.up(&["--forward=127.0.0.1:7000=ticks"])?;
    let script = "exec 3<>/dev/tcp/127.0.0.1/7000; cat <&3";
    let mut running = person.host.command("bash").arg("-c").arg(script).spawn(fixture.dir().join(log))?;
    running.wait_for_log("100\n", Duration::from_secs(10))?;
    Ok((running, up))
}

fn nft(host: &Host, command: &str) -> Result<String> {
    Ok(host.command("nft").arg(command).run()?.ok()?.out())
}

/// Elements of the kernel's sets: tickets, live sources of either family.
fn elements(host: &Host) -> Result<usize> {
    let sets = ["tickets", "live4", "live6"].map(|set| nft(host, &format!("list set inet vestibule {set}")));
    sets.into_iter().map(|listed| Ok(listed?.matches("expires").count())).sum()
}

fn counter(fixture: &Fixture, name: &str) -> Result<u64> {
    let status = fixture.at_gateway(&["gateway", "status", "--json"])?.run()?.ok()?.json()?;
    let counters = status["running"]["counters"].as_array().context("counters")?;
    counters.iter().find(|counter| counter[0] == name).and_then(|counter| counter[1].as_u64()).context(name.to_owned())
}

#[test]
fn a_person_comes_in_through_the_kernel_s_door_and_strangers_end_in_it() -> Result<()> {
    let (fixture, _ticks, alice) = scene("nftables")?;
    let gateway = fixture.gateway.host();
    assert!(nft(gateway, "list tables")?.contains("inet vestibule"));
    let before = counter(&fixture, "datagrams.received")?;
    let stranger = fixture.network.host("stranger")?;
    let junk = [vec![0xc0; 1200], vec![0x40; 60], vec![0; 8]];
    let aimed = fixture.gateway_addresses();
    let all = aimed.iter().flat_map(|to| junk.iter().map(|bytes| (*to, bytes.as_slice())));
    assert_eq!(stranger.send_datagrams(all, LISTEN)?, []);
    assert_eq!(counter(&fixture, "datagrams.received")?, before, "the gateway itself saw none of them");
    assert!(nft(gateway, "list table inet vestibule")?.contains("counter packets"));

    let (mut running, up) = flow(&fixture, &alice, "flow.log")?;
    assert!(elements(gateway)? > 0);
    let given = Instant::now();
    fixture.at_gateway(&["user", "suspend", "alice"])?.run()?.ok()?;
    until(Duration::from_secs(10), "the flow to end", || Ok((!running.is_running()?).then_some(())))?;
    let cut = given.elapsed();
    assert!(cut <= CUT_WITHIN, "{cut:?}");
    // The ticket went when the device was heard; its moves go with the session.
    until(Duration::from_secs(15), "the kernel's sets to be empty", || Ok((elements(gateway)? == 0).then_some(())))?;
    drop(up);
    Ok(())
}

#[test]
fn a_table_deleted_under_a_live_session_cuts_nobody_and_is_made_anew() -> Result<()> {
    let (fixture, _ticks, alice) = scene("nftables")?;
    let gateway = fixture.gateway.host();
    let (mut running, _up) = flow(&fixture, &alice, "flow.log")?;
    nft(gateway, "flush ruleset")?;
    let is_back = || Ok(nft(gateway, "list tables")?.contains("inet vestibule").then_some(()));
    until(Duration::from_secs(3), "the table", is_back)?;
    assert!(elements(gateway)? > 0, "with who is in");
    let so_far = running.log().len();
    until(Duration::from_secs(5), "more ticks", || Ok((running.log().len() > so_far + 1_000).then_some(())))?;
    assert!(running.is_running()?);
    assert!(fixture.gateway.log().contains("changed or deleted by somebody else"), "the log says so");
    Ok(())
}

#[test]
fn a_killed_gateway_leaves_its_door_shut_and_comes_back_and_a_stopped_one_takes_it_away() -> Result<()> {
    let (mut fixture, _ticks, alice) = scene("nftables")?;
    let stranger = fixture.network.host("stranger")?;
    fixture.gateway.kill()?;
    let knock = |fixture: &Fixture| -> Result<usize> {
        let aimed = fixture.gateway_addresses();
        Ok(stranger.send_datagrams(aimed.iter().map(|to| (*to, &[0x40; 60][..])), LISTEN)?.len())
    };
    assert_eq!(knock(&fixture)?, 0);
    assert!(nft(fixture.gateway.host(), "list tables")?.contains("inet vestibule"), "it stands, without its process");
    fixture.gateway.restart()?;
    // For a while the controller takes the link of the killed one for a live one.
    until(Duration::from_secs(60), "the gateway to let her in again", || {
        Ok((alice.vestibule_with_password(&["why"])?.run()?.code() == Some(0)).then_some(()))
    })?;
    let (running, up) = flow(&fixture, &alice, "flow.log")?;
    drop((running, up));
    fixture.gateway.terminate()?;
    assert_eq!(nft(fixture.gateway.host(), "list tables")?, "");
    Ok(())
}

#[test]
fn the_doctor_tells_which_door_works_and_auto_takes_the_best() -> Result<()> {
    let (fixture, _ticks, _alice) = scene("auto")?;
    let rows = fixture.at_gateway(&["gateway", "doctor", "--json"])?.run()?.ok()?.json()?;
    assert_eq!(
        (&rows[0]["door"], &rows[0]["works"], &rows[0]["chosen"]),
        (&"nftables".into(), &true.into(), &true.into())
    );
    assert_eq!(
        (&rows[1]["door"], &rows[1]["works"], &rows[1]["chosen"]),
        (&"socket".into(), &true.into(), &false.into())
    );
    fixture.at_gateway(&["gateway", "doctor"])?.run()?.ok()?.says("nftables")?;
    assert!(nft(fixture.gateway.host(), "list tables")?.contains("inet vestibule"), "the running gateway took it");
    Ok(())
}

#[test]
fn without_the_capability_auto_takes_the_socket_and_nftables_does_not_start() -> Result<()> {
    let (mut fixture, _ticks, alice) = scene("auto")?;
    fixture.gateway.terminate()?;
    let powerless = |fixture: &Fixture, words: &[&str]| -> Result<_> {
        let dir = fixture.gateway_dir().display().to_string();
        let words = [words, &["--dir", &dir]].concat();
        let program = vestibule_lab::program()?;
        let without = ["-U", "-r", "--"];
        Ok(fixture.gateway.host().command("unshare").args(without).arg(program).args(words))
    };
    // Root of a user namespace of its own has no power over the host's network.
    let rows = powerless(&fixture, &["gateway", "doctor", "--json"])?.run()?.ok()?.json()?;
    assert_eq!((&rows[0]["works"], &rows[0]["chosen"]), (&false.into(), &false.into()));
    assert!(rows[0]["lacks"].as_str().context("why")?.contains("CAP_NET_ADMIN") && rows[0]["next"].is_string());
    assert_eq!(rows[1]["chosen"], true);
    let file = fixture.gateway_dir().join("gateway.toml");
    let text = std::fs::read_to_string(&file)?;
    std::fs::write(&file, text.replace("door = \"auto\"", "door = \"nftables\""))?;
    let refused = powerless(&fixture, &["gateway", "run"])?.run()?.exits(40)?;
    assert!(refused.err().contains("CAP_NET_ADMIN") && refused.err().contains("door = \"auto\""), "{}", refused.err());
    powerless(&fixture, &["gateway", "doctor"])?.run()?.exits(40)?;
    assert_eq!(nft(fixture.gateway.host(), "list tables")?, "", "nothing was changed");
    std::fs::write(&file, text)?;
    fixture.gateway.restart()?;
    fixture.wait_linked()?;
    drop(flow(&fixture, &alice, "flow.log")?);
    Ok(())
}
