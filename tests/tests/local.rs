//! Local authentication fails on the screen, with an exit code of its own and without a single packet (step 1, P4, T10).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use vestibule_lab::{Capture, Context, Fixture, Host, Invocation, Person, Result, Service, Upstream, program};

/// The one credential in a client's directory.
fn credential(dir: &Path) -> Result<PathBuf> {
    let files = fs::read_dir(dir)?.flatten().map(|entry| entry.path());
    files.into_iter().find(|path| path.extension().is_some_and(|end| end == "credential")).context("a credential")
}

/// Runs a connect that must fail with `code` and `words`, and proves by capture and by the kernel's counters that nothing was sent.
fn fails_silently(host: &Host, connect: Invocation, code: i32, words: &str) -> Result<()> {
    let capture = Capture::start(host)?;
    let before = host.counters()?;
    connect.run()?.exits(code)?.says(words)?;
    let sent = host.counters()?.since(&before).udp_sent();
    let packets = capture.stop()?.sent_by(host).without_housekeeping();
    packets.expect_none(&format!("a connect that ended with exit code {code}"))?;
    // The capture's own mark goes over loopback and is counted by the kernel, too.
    assert!(sent <= 2, "{sent} datagrams were counted by the kernel");
    Ok(())
}

fn pipe(person: &Person, host: &Host, dir: &Path, password: &str) -> Result<Invocation> {
    let _ = person;
    Ok(host
        .command(program()?)
        .args(["pipe", "echo", "--alone", "--password-stdin"])
        .arg(format!("--dir={}", dir.display()))
        .stdin(format!("{password}\n")))
}

fn fixture() -> Result<(Fixture, Person, Upstream)> {
    let mut fixture = Fixture::start()?;
    fixture.notice_typos()?;
    let inside = fixture.network.host("inside")?;
    let echo = Upstream::echo(&inside, fixture.dir())?;
    fixture.add_service("echo", Service::Tcp(echo.address()), &["everyone"])?;
    let alice = fixture.add_person("alice", &[])?;
    Ok((fixture, alice, echo))
}

#[test]
fn t10_what_does_not_open_sends_nothing() -> Result<()> {
    let (fixture, alice, _echo) = fixture()?;
    let own = credential(alice.dir())?;

    // The right one comes in: what is refused below is not refused for another reason.
    pipe(&alice, &alice.host, alice.dir(), &alice.password)?.run()?.ok()?;

    fails_silently(&alice.host, pipe(&alice, &alice.host, alice.dir(), "quite another password")?, 10, "password")?;

    // Another machine, with a copy of all that the client keeps.
    let thief = fixture.network.host("thief")?;
    let stolen = fixture.dir().join("stolen");
    fs::create_dir(&stolen)?;
    fs::set_permissions(&stolen, fs::Permissions::from_mode(0o700))?;
    thief.become_machine("thief", &stolen)?;
    let copy = stolen.join(own.file_name().context("a name")?);
    fs::copy(&own, &copy)?;
    fails_silently(&thief, pipe(&alice, &thief, &stolen, &alice.password)?, 10, "Nothing was sent")?;

    // Another user's name on the same file.
    let renamed = fixture.dir().join("renamed");
    fs::create_dir(&renamed)?;
    fs::set_permissions(&renamed, fs::Permissions::from_mode(0o700))?;
    let name = own.file_name().and_then(|name| name.to_str()).context("a name")?.replace("alice", "mallory");
    fs::copy(&own, renamed.join(name))?;
    fails_silently(&alice.host, pipe(&alice, &alice.host, &renamed, &alice.password)?, 10, "Nothing was sent")?;
    Ok(())
}

#[test]
fn a_credential_that_is_cut_open_to_others_or_missing_is_told_exactly() -> Result<()> {
    let (fixture, alice, _echo) = fixture()?;
    let own = credential(alice.dir())?;
    let whole = fs::read(&own)?;
    let connect = || pipe(&alice, &alice.host, alice.dir(), &alice.password);

    fs::set_permissions(&own, fs::Permissions::from_mode(0o644))?;
    fails_silently(&alice.host, connect()?, 11, "chmod")?;
    fs::set_permissions(&own, fs::Permissions::from_mode(0o600))?;

    for length in [0, 1, whole.len() / 2, whole.len() - 1] {
        fs::write(&own, &whole[..length])?;
        fails_silently(&alice.host, connect()?, 11, "Nothing was sent")?;
    }

    fs::remove_file(&own)?;
    fails_silently(&alice.host, connect()?, 11, "enroll")?;

    fs::write(&own, &whole)?;
    fs::set_permissions(&own, fs::Permissions::from_mode(0o600))?;
    connect()?.run()?.ok()?;
    let _ = fixture;
    Ok(())
}
