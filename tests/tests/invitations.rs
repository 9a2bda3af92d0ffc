//! Invitations: single use, expiry, alteration: a clear error at the client, a trace at the gateway (T26).

use std::time::Duration;
use vestibule_lab::{Capture, Context, Fixture, Result, until};
use vestibule_scenarios::installed;

#[test]
fn t26_a_used_invitation_is_told_and_audited() -> Result<()> {
    let fixture = Fixture::start()?;
    fixture.add_user("alice", &[])?;
    let link = fixture.invite("alice")?;
    let (first, second) = (fixture.add_device("alice", "laptop")?, fixture.add_device("alice", "thief")?);
    first.enroll(&link)?.run()?.ok()?;
    second.enroll(&link)?.run()?.exits(50)?.says("used")?;
    traced(&fixture, "invitation-refused")
}

/// Typed at a terminal, which shows neither link nor password: nothing of them is in argv, in a file or on the screen.
#[test]
fn a_link_is_asked_for_on_a_terminal_and_not_shown() -> Result<()> {
    let fixture = Fixture::start()?;
    fixture.add_user("alice", &[])?;
    let link = fixture.invite("alice")?;
    let laptop = fixture.add_device("alice", "laptop")?;
    let shown = fixture.dir().join("shown");
    let typing = format!(
        "cd {dir} && mkfifo typed && exec 4<>typed
         {script} -qfec '{vestibule} enroll --dir={client}' shown <&4 >&2 &
         shows() {{ for _ in $(seq 300); do grep -q \"$1\" shown && sleep 0.3 && return 0; sleep 0.1; done; return 1; }}
         shows 'Invitation link' && echo '{link}' >&4 &&
         shows 'Choose a password' && echo '{password}' >&4 && shows Again && echo '{password}' >&4
         wait $!",
        dir = fixture.dir().display(),
        script = installed("script", "bsdutils")?.display(),
        vestibule = vestibule_lab::program()?.display(),
        client = laptop.dir().display(),
        password = laptop.password,
    );
    laptop.host.command("bash").arg("-c").arg(typing).run()?.ok()?;
    let shown = std::fs::read_to_string(shown)?;
    assert!(shown.contains("This device is enrolled"), "{shown}");
    assert!(!shown.contains(&link) && !shown.contains(&laptop.password), "{shown}");
    laptop.vestibule(&["devices"])?.run()?.ok()?.says("opens on this machine")?;

    // Without a terminal nobody can be asked.
    let other = fixture.add_device("alice", "other")?;
    let words = ["setsid", "--wait", &vestibule_lab::program()?.display().to_string(), "enroll"].map(str::to_owned);
    let unasked = other.host.command(&words[0]).args(&words[1..]).arg(format!("--dir={}", other.dir().display()));
    unasked.run()?.exits(2)?.says("enroll - --password-stdin")?;
    Ok(())
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
    traced(&fixture, "invitation-refused")
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
fn t26_two_hosts_at_once_enrol_one_device() -> Result<()> {
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
