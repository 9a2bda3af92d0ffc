//! Strangers, recordings and wrong clocks: silence, unless the law of the protocol says otherwise (P1, P6, T1, T2, T24, T25).

use std::net::SocketAddr;
use std::time::Duration;
use vestibule_lab::{Capture, Context, Fixture, Host, Invocation, Packets, Person, Result, Service, Upstream};
use vestibule_scenarios::installed;

/// How long answers are waited for.
const LISTEN: Duration = Duration::from_millis(1_500);

fn scene() -> Result<(Fixture, Upstream, Person)> {
    let fixture = Fixture::start()?;
    let inside = fixture.network.host("inside")?;
    let echo = Upstream::echo(&inside, fixture.dir())?;
    fixture.add_service("echo", Service::Tcp(echo.address()), &["everyone"])?;
    let alice = fixture.add_person("alice", &[])?;
    Ok((fixture, echo, alice))
}

/// Everything that a host sent over UDP, with where to.
fn sent_by(packets: &Packets, host: &Host) -> Vec<(SocketAddr, Vec<u8>)> {
    let own = packets.sent_by(host).udp();
    own.iter().filter_map(|packet| Some((packet.destination?, packet.payload().to_vec()))).collect()
}

#[test]
fn t24_all_recorded_datagrams_are_worth_nothing_to_another_host() -> Result<()> {
    let (fixture, _echo, alice) = scene()?;
    let capture = Capture::start(&alice.host)?;
    alice.vestibule_with_password(&["pipe", "echo", "--alone"])?.stdin(format!("{}\n", alice.password)).run()?.ok()?;
    let recorded = sent_by(&capture.stop()?, &alice.host);
    assert!(recorded.iter().any(|(_, bytes)| bytes.len() == 1200 && bytes[0] == 1), "the knock was recorded");
    assert!(recorded.len() > 5, "the login was recorded: {} datagrams", recorded.len());

    let stranger = fixture.network.host("stranger")?;
    let replay = || recorded.iter().map(|(to, bytes)| (*to, bytes.as_slice()));
    let replies = stranger.send_datagrams(replay(), LISTEN)?;
    assert_eq!(replies, [], "at once, from another host");
    // From the very host that sent them, too: its ports are others now.
    let replies = alice.host.send_datagrams(
        recorded.iter().filter(|(_, bytes)| bytes[0] >> 6 != 0).map(|(to, bytes)| (*to, bytes.as_slice())),
        LISTEN,
    )?;
    assert_eq!(replies, [], "QUIC datagrams, from the same host");
    Ok(())
}

#[test]
fn t24_all_recorded_datagrams_are_worth_nothing_after_restarts() -> Result<()> {
    let (mut fixture, _echo, alice) = scene()?;
    let capture = Capture::start(&alice.host)?;
    alice.vestibule_with_password(&["pipe", "echo", "--alone"])?.run()?.ok()?;
    let recorded = sent_by(&capture.stop()?, &alice.host);
    let stranger = fixture.network.host("stranger")?;
    let admissions = || -> Result<u64> {
        let status = fixture.at_gateway(&["gateway", "status", "--json"])?.run()?.ok()?.json()?;
        let counters = status["running"]["counters"].as_array().context("counters")?;
        let granted = counters.iter().find(|counter| counter[0] == "admissions.ready");
        granted.and_then(|counter| counter[1].as_u64()).context("a count of admissions")
    };
    // Past the controller's flush of `last`, then a crash of both.
    std::thread::sleep(Duration::from_millis(2_500));
    let _ = admissions()?;
    fixture.controller.restart()?;
    fixture.gateway.restart()?;
    fixture.wait_linked()?;
    let replies = stranger.send_datagrams(recorded.iter().map(|(to, bytes)| (*to, bytes.as_slice())), LISTEN)?;
    assert_eq!(replies, []);
    let status = fixture.at_gateway(&["gateway", "status", "--json"])?.run()?.ok()?.json()?;
    let counters = status["running"]["counters"].as_array().context("counters")?;
    let ready = counters.iter().find(|counter| counter[0] == "admissions.ready").map(|counter| counter[1].clone());
    assert_eq!(ready, Some(0.into()), "no recording was admitted: {status}");
    Ok(())
}

#[test]
fn t01_malformed_truncated_oversized_and_wrong_version_datagrams_get_silence() -> Result<()> {
    let (fixture, _echo, alice) = scene()?;
    let capture = Capture::start(&alice.host)?;
    alice.vestibule_with_password(&["pipe", "echo", "--alone"])?.run()?.ok()?;
    let recorded = sent_by(&capture.stop()?, &alice.host);
    let (controller, knock) =
        recorded.iter().find(|(_, bytes)| bytes.len() == 1200 && bytes[0] == 1).context("a knock")?;
    let (gateway, initial) = recorded.iter().find(|(_, bytes)| bytes[0] & 0xc0 == 0xc0).context("an Initial")?;

    let mut bad: Vec<(SocketAddr, Vec<u8>)> = Vec::new();
    for (to, whole) in [(controller, knock), (gateway, initial), (controller, initial), (gateway, knock)] {
        for length in [0, 1, 15, 16, 47, 48, 100, whole.len() - 1] {
            bad.push((*to, whole[..length].to_vec()));
        }
        let mut longer = whole.clone();
        longer.push(0);
        bad.push((*to, longer));
        longer = whole.repeat(3);
        bad.push((*to, longer));
        for bit in (0..whole.len() * 8).step_by(37) {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            bad.push((*to, flipped));
        }
        for version in [0, 2, 3, 255] {
            let mut other = whole.clone();
            other[1] = version;
            bad.push((*to, other));
        }
    }
    let stranger = fixture.network.host("stranger")?;
    let logged = || fixture.controller.log() + &fixture.gateway.log();
    let before = logged().lines().count();
    let replies = stranger.send_datagrams(bad.iter().map(|(to, bytes)| (*to, bytes.as_slice())), LISTEN)?;
    assert_eq!(replies, [], "to {} datagrams", bad.len());
    // Nor does any of them cost a line of the log; the last words on the session before may still come in.
    let (lines, more) = (logged(), logged().lines().count() - before);
    assert!(more < 5 && bad.len() > 500, "{more} lines for {} datagrams", bad.len());
    assert!(!lines.contains(&stranger.v4().to_string()), "the log names the stranger:\n{lines}");
    // And the doors still work.
    alice.vestibule_with_password(&["pipe", "echo", "--alone"])?.run()?.ok()?;
    Ok(())
}

#[test]
fn t01_a_device_that_is_no_longer_known_gets_silence() -> Result<()> {
    let (fixture, _echo, alice) = scene()?;
    fixture.at_gateway(&["user", "remove", "alice"])?.run()?.ok()?;
    let capture = Capture::start(&alice.host)?;
    alice.vestibule_with_password(&["pipe", "echo", "--alone"])?.run()?.exits(20)?;
    let packets = capture.stop()?.without_housekeeping();
    assert!(!packets.sent_by(&alice.host).is_empty(), "it knocked");
    packets.sent_by(fixture.controller.host()).expect_none("an answer to an unknown digest")
}

/// A connect by a machine whose clock is off, as libfaketime writes it (`+1h`); the clock by which it measures durations is right.
fn with_clock(alice: &Person, offset: &str) -> Result<Invocation> {
    Ok(alice
        .host
        .command(installed("faketime", "faketime")?)
        .args(["-f", offset])
        .arg(vestibule_lab::program()?)
        .args(["pipe", "echo", "--alone", "--password-stdin"])
        .arg(format!("--dir={}", alice.dir().display()))
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .stdin(format!("{}\n", alice.password)))
}

#[test]
fn t25_a_clock_off_by_an_hour_is_told_under_seal_and_corrected() -> Result<()> {
    let (_fixture, _echo, alice) = scene()?;
    with_clock(&alice, "+1h")?.run()?.ok()?;
    with_clock(&alice, "-1h")?.run()?.ok()?;
    Ok(())
}

/// How often the controller has told somebody the time.
fn times_told(fixture: &Fixture) -> Result<Option<u64>> {
    let status = fixture.at_controller(&["controller", "status", "--json"])?.run()?.ok()?.json()?;
    let told = status["counters"].as_array().into_iter().flatten().find(|counter| counter[0] == "knocks.time_told");
    Ok(told.and_then(|counter| counter[1].as_u64()))
}

/// The controller tells the time once a minute: the second command knows it from the first, whichever way the clock is wrong.
#[test]
fn a_clock_that_stays_wrong_costs_one_answer_a_minute_and_no_command() -> Result<()> {
    for offset in ["+1h", "-1h"] {
        let (fixture, _echo, alice) = scene()?;
        let before = times_told(&fixture)?.context("it is counted")?;
        for _ in 0..3 {
            with_clock(&alice, offset)?.run()?.ok()?;
        }
        assert_eq!(times_told(&fixture)?, Some(before + 1), "{offset}");
        // Set right within the same minute: what was learned is forgotten.
        alice.vestibule_with_password(&["pipe", "echo", "--alone"])?.run()?.ok()?;
        alice.vestibule_with_password(&["pipe", "echo", "--alone"])?.run()?.ok()?;
        assert_eq!(times_told(&fixture)?, Some(before + 1), "{offset}");
    }
    Ok(())
}

#[test]
fn a_clock_off_by_days_is_left_to_the_person() -> Result<()> {
    let (_fixture, _echo, alice) = scene()?;
    with_clock(&alice, "+3d")?.run()?.exits(23)?.says("clock")?;
    Ok(())
}
