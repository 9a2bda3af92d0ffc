//! Invitations: single use, expiry, alteration: a clear error at the client, a trace at the gateway (T26).

use std::time::Duration;
use vestibule_lab::{Capture, Context, Fixture, Result, until};

#[test]
fn a_used_invitation_is_told_and_audited() -> Result<()> {
    let fixture = Fixture::start()?;
    fixture.add_user("alice", &[])?;
    let link = fixture.invite("alice")?;
    let (first, second) = (fixture.add_device("alice", "laptop")?, fixture.add_device("alice", "thief")?);
    first.enroll(&link)?.run()?.ok()?;
    second.enroll(&link)?.run()?.exits(50)?.says("used")?;
    traced(&fixture, "invitation-refused")
}

#[test]
fn an_expired_invitation_is_told_and_audited() -> Result<()> {
    let fixture = Fixture::start()?;
    fixture.add_user("alice", &[])?;
    let invited = fixture.at_gateway(&["invite", "alice", "--expires=1s", "--json"])?.run()?.ok()?.json()?;
    let link = invited["link"].as_str().context("a link")?.to_owned();
    let laptop = fixture.add_device("alice", "laptop")?;
    std::thread::sleep(Duration::from_millis(1_500));
    laptop.enroll(&link)?.run()?.exits(50)?.says("expired")?;
    Ok(())
}

#[test]
fn a_cut_or_mistyped_invitation_is_told_without_a_packet() -> Result<()> {
    let fixture = Fixture::start()?;
    fixture.add_user("alice", &[])?;
    let link = fixture.invite("alice")?;
    let laptop = fixture.add_device("alice", "laptop")?;
    let mut mistyped = link.clone().into_bytes();
    let position = link.len() / 2;
    mistyped[position] = if mistyped[position] == b'A' { b'B' } else { b'A' };
    let mistyped = String::from_utf8(mistyped)?;
    for bad in [&link[..link.len() - 3], &mistyped, "vestibule:", "http://example.org/"] {
        let capture = Capture::start(&laptop.host)?;
        laptop.enroll(bad)?.run()?.exits(50)?;
        capture.stop()?.sent_by(&laptop.host).without_housekeeping().expect_none("a link that can't be read")?;
    }
    laptop.enroll(&link)?.run()?.ok()?;
    Ok(())
}

#[test]
fn two_hosts_at_once_enrol_one_device() -> Result<()> {
    let fixture = Fixture::start()?;
    fixture.add_user("alice", &[])?;
    let link = fixture.invite("alice")?;
    let (one, other) = (fixture.add_device("alice", "one")?, fixture.add_device("alice", "other")?);
    let codes = std::thread::scope(|scope| {
        let runs = [&one, &other].map(|person| {
            let link = &link;
            scope.spawn(move || person.enroll(link).and_then(|enroll| enroll.run()).map(|ran| ran.code()))
        });
        runs.map(|run| run.join().expect("no panic"))
    });
    let enrolled =
        codes.into_iter().map(|code| code.map(|code| usize::from(code == Some(0)))).sum::<Result<usize>>()?;
    assert_eq!(enrolled, 1, "exactly one of the two is enrolled");
    Ok(())
}

#[test]
fn weak_passwords_are_refused_before_anything_is_sent() -> Result<()> {
    let fixture = Fixture::start()?;
    fixture.add_user("alice", &[])?;
    let link = fixture.invite("alice")?;
    let mut laptop = fixture.add_device("alice", "laptop")?;
    let good = laptop.password.clone();
    for weak in ["short", "password123", "qwertyuiop", "alicealice"] {
        laptop.password = weak.to_owned();
        let capture = Capture::start(&laptop.host)?;
        laptop.enroll(&link)?.run()?.exits(51)?;
        capture.stop()?.sent_by(&laptop.host).without_housekeeping().expect_none("a weak password")?;
    }
    laptop.password = good;
    laptop.enroll(&link)?.run()?.ok()?;
    Ok(())
}

fn traced(fixture: &Fixture, kind: &str) -> Result<()> {
    until(Duration::from_secs(5), &format!("`{kind}` in the audit log"), || {
        let audit = fixture.at_gateway(&["audit", "--json"])?.run()?.ok()?.json()?;
        Ok(audit.as_array().context("a list")?.iter().any(|entry| entry["kind"] == kind).then_some(()))
    })
}
