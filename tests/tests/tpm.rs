//! T13: a device with a TPM, from its enrolment to a lock-out; and a copy of its file, elsewhere.

use vestibule_lab::{Capture, Context, Fixture, Invocation, Person, Result, Service, Swtpm, Upstream};

/// As on a machine with this TPM.
fn with(invocation: Result<Invocation>, tpm: &Swtpm) -> Result<Invocation> {
    Ok(invocation?.env("VESTIBULE_TPM", tpm.socket()))
}

/// One connection on its own, with this password.
fn pipe(person: &Person, tpm: &Swtpm, password: &str) -> Result<Invocation> {
    let pipe = with(person.vestibule(&["pipe", "echo", "--alone", "--password-stdin"]), tpm)?;
    Ok(pipe.stdin(format!("{password}\n")))
}

fn own_pipe(person: &Person, tpm: &Swtpm) -> Result<Invocation> {
    with(person.vestibule_with_password(&["pipe", "echo", "--alone"]), tpm)
}

fn devices(person: &Person, tpm: &Swtpm) -> Result<serde_json::Value> {
    let mut list = with(person.vestibule(&["devices", "--json"]), tpm)?.run()?.ok()?.json()?;
    Ok(list[0].take())
}

struct World {
    fixture: Fixture,
    echo: Upstream,
    alice: Person,
}

/// A gateway with a service, and a user whose device is not enrolled yet.
fn world() -> Result<World> {
    let fixture = Fixture::start()?;
    let inside = fixture.network.host("inside")?;
    let echo = Upstream::echo(&inside, fixture.dir())?;
    fixture.add_service("echo", Service::Tcp(echo.address()), &["everyone"])?;
    fixture.add_user("alice", &[])?;
    let alice = fixture.add_device("alice", "alice")?;
    Ok(World { fixture, echo, alice })
}

#[test]
fn t13_a_copied_file_opens_with_its_own_tpm_alone() -> Result<()> {
    let World { fixture, echo, alice } = world()?;
    let (tpm, other) = (Swtpm::start(&fixture.dir().join("tpm"))?, Swtpm::start(&fixture.dir().join("other"))?);
    with(alice.enroll(&fixture.invite("alice")?), &tpm)?.run()?.ok()?.says("TPM seals the credential")?;
    own_pipe(&alice, &tpm)?.run()?.ok()?;
    assert_eq!(devices(&alice, &tpm)?["tpm"], "device");

    // A thief has the file, and imitates all that a fingerprint is made of.
    let thief = fixture.add_device("alice", "thief")?;
    thief.host.command("cp").arg("-a").arg(alice.dir()).arg(thief.dir()).run()?.ok()?;
    thief.host.become_machine("alice", thief.dir().parent().context("a folder")?)?;
    let capture = Capture::start(&thief.host)?;
    own_pipe(&thief, &other)?.run()?.exits(12)?.says("sealed to a TPM that isn't here")?;
    thief.vestibule_with_password(&["pipe", "echo", "--alone"])?.run()?.exits(12)?.says("this machine offers none")?;
    capture.stop()?.sent_by(&thief.host).without_housekeeping().expect_none("a packet of another machine")?;

    // It was the TPM that held it up.
    own_pipe(&thief, &tpm)?.run()?.ok()?;
    assert_eq!(echo.accepted(), 2);
    Ok(())
}

#[test]
fn t13_wrong_passwords_lock_the_tpm_and_its_owner_unlocks_it() -> Result<()> {
    let World { fixture, echo, alice } = world()?;
    let mut tpm = Swtpm::start(&fixture.dir().join("tpm"))?;
    tpm.reserve_lockout("of the owner")?;
    let enrolled = with(alice.enroll(&fixture.invite("alice")?), &tpm)?.arg("--tpm=require").run()?.ok()?;
    enrolled.says("the TPM limits wrong passwords")?;
    assert_eq!(devices(&alice, &tpm)?["tpm"], "password");

    let capture = Capture::start(&alice.host)?;
    for guess in 1..=3 {
        pipe(&alice, &tpm, &format!("guess {guess}"))?.run()?.exits(10)?;
    }
    own_pipe(&alice, &tpm)?.run()?.exits(13)?.says("try again in 17 min")?;
    capture.stop()?.sent_by(&alice.host).without_housekeeping().expect_none("a packet for a wrong password")?;
    tpm.reset_lockout()?;
    own_pipe(&alice, &tpm)?.run()?.ok()?;
    assert_eq!(echo.accepted(), 1);
    Ok(())
}

#[test]
fn new_keys_are_sealed_to_the_tpm_again() -> Result<()> {
    let World { fixture, alice, echo: _echo } = world()?;
    let tpm = Swtpm::start(&fixture.dir().join("tpm"))?;
    with(alice.enroll(&fixture.invite("alice")?), &tpm)?.run()?.ok()?;
    let former = devices(&alice, &tpm)?;
    with(alice.vestibule_with_password(&["passwd", "--keep-password"]), &tpm)?.run()?.ok()?;
    let renewed = devices(&alice, &tpm)?;
    assert_ne!(renewed["device"], former["device"]);
    assert_eq!(renewed["tpm"], "device");
    own_pipe(&alice, &tpm)?.run()?.ok()?;
    Ok(())
}

#[test]
fn without_a_tpm_an_enrolment_goes_on_or_not_as_asked() -> Result<()> {
    let World { fixture, alice, echo: _echo } = world()?;
    let tpm = Swtpm::start(&fixture.dir().join("tpm"))?;
    let link = fixture.invite("alice")?;
    alice.enroll(&link)?.arg("--tpm=require").run()?.exits(12)?.says("can't be sealed to a TPM")?;
    tpm.reserve_owner("of the owner")?;
    with(alice.enroll(&link), &tpm)?.arg("--tpm=require").run()?.exits(12)?.says("storage hierarchy")?;
    with(alice.enroll(&link), &tpm)?.arg("--tpm=never").run()?.ok()?.says("as you asked")?;
    assert_eq!(devices(&alice, &tpm)?["tpm"], serde_json::Value::Null);
    alice.vestibule_with_password(&["pipe", "echo", "--alone"])?.run()?.ok()?;
    Ok(())
}
